"""Many runs of the command line for the price of one import: a process that has loaded everything, and forks.

`with Forks(folder) as run: done = run("train", "--run", "a", kill_after=1.3)`. Each run is a process of its own, with its own
signals, locks and death; only the imports, which no run can lose, are shared. TensorFlow has started no thread before the fork.
Processes that a run leaves behind become children of the one that forks, which names and ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ORPHANS_S = 5.0
"""How long a process may outlive the run that started it."""
SUBREAPER = 36
"""prctl(2): orphans of a process's descendants become its children."""


@dataclass(frozen=True)
class Done:
    code: int
    seconds: float
    late: float
    out: str
    err: str
    orphans: tuple[str, ...]


class Forks:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self):
        command = [sys.executable, "-m", "tests.forks", str(self.folder)]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __call__(self, *arguments, kill_after=None, kill_once=None, number=signal.SIGKILL) -> Done:
        """Run `stockrnn` with these arguments; send a signal after so many seconds, or once there is a file of this pattern."""
        job = {"arguments": [str(each) for each in arguments], "kill_after": kill_after, "kill_once": kill_once, "signal": int(number)}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        done = json.loads(self.process.stdout.readline())
        return Done(**{**done, "orphans": tuple(done["orphans"])})


def serve(folder: str) -> None:
    import stockrnn.commands
    import stockrnn.training.recurrent
    from stockrnn.reports import plots

    del stockrnn, plots
    import arch  # noqa: F401
    import exchange_calendars  # noqa: F401
    import matplotlib.figure
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import rich.console
    import tf2onnx  # noqa: F401

    del matplotlib, rich
    assert ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0) == 0
    os.chdir(folder)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


def run(arguments, kill_after, kill_once, signal) -> dict:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(arguments, out.fileno(), err.fileno())
        late = 0.0
        status = _wait(child, None if kill_after is None else started + kill_after, kill_once)
        if status is None:
            sent = time.monotonic()
            os.kill(child, signal)
            status = _wait(child)
            late = time.monotonic() - sent
        orphans = _orphans()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": time.monotonic() - started, "late": late, "out": texts[0], "err": texts[1], "orphans": orphans}


def _wait(child, end=None, once=None):
    """The status of a process that ends; None if the time, or a file of a pattern, comes first."""
    while (end is None or time.monotonic() < end) and not (once and any(Path().glob(once))):
        found, status = os.waitpid(child, 0 if end is once is None else os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    return None


def _orphans() -> list[str]:
    """What a run started and did not end, ended here: the command line of each."""
    until, orphans = time.monotonic() + ORPHANS_S, {}
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        if not left:
            return list(orphans.values())
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(OSError):
                    orphans[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _become(arguments, out, err) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have started the tests
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        from stockrnn.cli import main

        sys.argv = ["stockrnn", *arguments]
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(err, traceback.format_exc().encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
