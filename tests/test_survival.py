"""Runs survive failing operations, kills, signals, full disks and each other: the state is old or new, and goes on to the same bytes.

After SQLite's tests (https://www.sqlite.org/testing.html): every file operation fails in turn, once and for good, and dies in turn.
"""

import datetime as dt
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError, DivergedError, InterruptedRunError, RunDamagedError, RunInUseError, StorageError
from stockrnn.interrupts import PATIENCE_S, interruptible, safe_place
from stockrnn.runs.directory import (
    add_files,
    begin_run,
    end_run,
    is_complete,
    is_unfinished,
    new_run_folder,
    note_data,
    open_run,
    remove_unfinished,
    write_run,
)
from stockrnn.storage import lock_folder, write_bytes
from stockrnn.training.checkpoint import Checkpoint, TrainingState
from tests.forks import Forks

GOLDEN = Path(__file__).parent / "golden" / "format1"
TINY = ["--set", "train.epochs=60", "--set", "train.early_stopping.patience=60", "--set", "model.cell=simple_rnn"]
TINY += ["--set", "model.units=[3]", "--set", "window.lookback=3", "--set", "model.dropout=0.2", "--set", "model.recurrent_dropout=0.1"]
PAIR = [*TINY, "--set", "train.ensemble=2", "--set", "train.workers=2"]
PAIR += ["--set", "train.epochs=600", "--set", "train.early_stopping.patience=600"]
"""Two networks, each trained for longer than a worker takes to start."""
SAME = ("weights.safetensors", "model.onnx", "metrics.json", "forecasts.csv", "history.csv", "scaler.json")


# --- every file operation, one at a time -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """The disk of a test need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Died(BaseException):
    """Stands for the death of the process: whatever it does to files after it has no effect."""


class Faults:
    """Counts the file operations under a folder, and lets the n-th fail: `once`, from then on (`always`), or by death (`die`)."""

    OPERATIONS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "close")

    def __init__(self, root, monkeypatch, at=None, how="once"):
        self.root, self.at, self.how, self.count, self.handles, self.dead = str(root), at, how, 0, set(), False
        for name in self.OPERATIONS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def operation(first, *rest, **options):
            at = first in self.handles if isinstance(first, int) else str(first).startswith(self.root)
            ours = at or options.get("dir_fd") in self.handles
            reads = name == "open" and not (rest and rest[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if not ours:
                return real(first, *rest, **options)
            if self.dead:
                raise Died
            if not reads:
                self.count += 1
                if self.at is not None and (self.count == self.at or (self.how == "always" and self.count > self.at)):
                    if self.how == "die":
                        self.dead = True
                        if name == "write":  # a part of it may have reached the disk
                            real(first, rest[0][: len(rest[0]) // 2])
                        raise Died
                    if name == "close":
                        real(first)
                        self.handles.discard(first)
                    raise OSError(28, "No space left on device")
            result = real(first, *rest, **options)
            if name == "open":
                self.handles.add(result)
            elif name == "close":
                self.handles.discard(first)
            return result

        return operation


HOWS = ("once", "always", "die")


def each_fault(act, check, folder, how):
    """Run `act` in a fresh folder with its n-th operation failing, for every n; `check(told)` after each. The number of n."""
    at = 0
    while True:
        at += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepared = act(folder)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(folder, patch, at, how)
            told = "saved"
            try:
                prepared()
            except StorageError:
                told = "failed"
            except Died:
                told = "died"
        for handle in faults.handles:  # as the system does for the dead
            os.close(handle)
        check(folder, told)
        if faults.count < at:
            assert told == "saved"
            return at - 1


@pytest.mark.parametrize("how", HOWS)
def test_a_write_is_old_or_new_whatever_operation_fails(tmp_path, how):
    def act(folder):
        write_bytes(folder / "f", b"old" * 100)
        return lambda: write_bytes(folder / "f", b"new" * 200)

    def check(folder, told):
        found = (folder / "f").read_bytes()
        assert found in (b"old" * 100, b"new" * 200)
        assert told != "saved" or found == b"new" * 200
        assert told == "died" or how == "always" or [p.name for p in folder.iterdir()] == ["f"]

    assert each_fault(act, check, tmp_path / "d", how) >= 7


def training_state(epoch):
    return TrainingState(epoch, {"w": np.full(50, epoch, np.float32)}, {"epoch": epoch})


@pytest.mark.parametrize("how", HOWS)
def test_a_checkpoint_is_the_last_or_the_one_before_whatever_operation_fails(tmp_path, how):
    def act(folder):
        keeper = Checkpoint(folder / "state", every_s=0)
        for epoch in (1, 2):
            keeper.save(training_state(epoch), "job")
        return lambda: keeper.save(training_state(3), "job")

    def check(folder, told):
        found = Checkpoint(folder / "state").load("job")
        assert found.epoch in (2, 3)
        assert (found.arrays["w"] == found.epoch).all()
        assert told != "saved" or found.epoch == 3

    assert each_fault(act, check, tmp_path / "d", how) >= 7


def golden_files():
    run = open_run(GOLDEN)
    return {name: run.read(name) for name in run.manifest["files"] if "/" not in name}, run


@pytest.mark.parametrize("how", HOWS)
def test_a_run_is_complete_or_unfinished_whatever_operation_fails(tmp_path, how):
    """The whole life of a run's folder, with the learning left out."""
    files, golden = golden_files()
    config = golden.config

    def act(folder):
        run = folder / "run"

        def live():
            try:
                with lock_folder(run):
                    begin_run(run, config)
                    keeper = Checkpoint(run / "checkpoint" / "state", every_s=0)
                    keeper.save(training_state(1), "job")
                    write_run(run, files, {})
                    end_run(run)
            except BaseException:
                remove_unfinished(run, existed=False)
                raise

        return live

    def check(folder, told):
        run = folder / "run"
        if is_complete(run):
            assert open_run(run).read("metrics.json") == files["metrics.json"]
        else:
            assert told != "saved"
        with lock_folder(run):  # freed by the process that died, and what is there can be gone on with
            if not is_complete(run):
                begin_run(run, config)
                write_run(run, files, {})
            end_run(run)
        assert {p.name for p in run.iterdir()} - {"plots"} == {*files, "manifest.json"}
        open_run(run)

    assert each_fault(act, check, tmp_path / "d", how) > 60


@pytest.mark.parametrize("how", HOWS)
def test_new_pictures_leave_a_run_whole_whatever_operation_fails(tmp_path, how):
    def act(folder):
        shutil.copytree(GOLDEN, folder / "run")
        with lock_folder(folder / "run"):
            add_files(open_run(folder / "run"), {"plots/a.png": b"old"})
        run = open_run(folder / "run")
        return lambda: add_files(run, {"plots/a.png": b"new", "plots/b.png": b"new"})

    def check(folder, told):
        run = open_run(folder / "run")
        assert (folder / "run/plots/a.png").read_bytes() in (b"old", b"new")
        assert told != "saved" or run.read("plots/b.png") == b"new"

    assert each_fault(act, check, tmp_path / "d", how) >= 21


def short_config():
    settings = [TINY[k] for k in range(1, len(TINY), 2)]
    return load_config("lstm", [*settings, "train.epochs=3", "train.ensemble=1", "train.workers=1", "data.start=2007-06-01"])


def remembered(function):
    results = []
    return lambda *arguments, **options: (results or results.append(function(*arguments, **options)) or results)[0]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("how", HOWS)
def test_a_short_training_survives_every_failing_operation(tmp_path, how, monkeypatch):
    """Real epochs and real files; the export and the pictures, which write nothing here, are made once."""
    from stockrnn import recipes
    from stockrnn.recipes import assembly

    config = short_config()
    monkeypatch.setattr(assembly, "_export_and_draw", remembered(assembly._export_and_draw))
    wanted = recipes.train(config, tmp_path / "whole").run

    def check(folder, told):
        run = folder / "run"
        assert told == "saved" or not is_complete(run) or open_run(run)
        again = recipes.resume(config, run)
        assert all(again.run.read(name) == wanted.read(name) for name in SAME if name != "history.csv")

    count = each_fault(lambda folder: lambda: recipes.train(config, folder / "run"), check, tmp_path / "d", how)
    assert count > 100
    print(f"{how}: {count} operations")


# --- kills ------------------------------------------------------------------------------------------------------------------


def digests(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SAME}


def finish(run, folder, name, words, **death):
    """Begin, or go on with what was begun, as a script would."""
    arguments = ("--resume",) if is_unfinished(folder / name) or is_complete(folder / name) else words
    done = run("train", *arguments, "--run", name, **death)
    assert done.orphans == ()
    return done


def kill_often(folder, words, singles, chains, kills=5, seed=0):
    """Kill trainings at random moments; how many were killed, and whether each ended in the bytes of the uninterrupted one."""
    dice = random.Random(seed)
    killed, ends = 0, []
    with Forks(folder) as run:
        whole = finish(run, folder, "whole", words)
        assert whole.code == 0, whole.err
        wanted, seconds = digests(folder / "whole"), whole.seconds
        for number in range(singles + chains):
            name, left = f"k{number}", 1 if number < singles else kills
            for _ in range(left):
                fresh = not (folder / name).exists()
                done = finish(run, folder, name, words, kill_after=dice.uniform(0, seconds / (left**0.5)))
                killed += done.code == -signal.SIGKILL
                assert done.code in (0, -signal.SIGKILL), done.err
                seconds = min(seconds, done.seconds) if fresh and done.code == 0 else seconds  # the machine was busier before
                if is_complete(folder / name):
                    open_run(folder / name)
            done = finish(run, folder, name, words)
            ends.append(done.code == 0 and digests(folder / name) == wanted)
            print(number, killed, ends[-1], done.code, done.err, flush=True)
            shutil.rmtree(folder / name)
    return killed, ends


@pytest.mark.network
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    with Forks(tmp_path) as run:
        whole = finish(run, tmp_path, "whole", TINY)
        killed = finish(run, tmp_path, "killed", TINY, kill_once="killed/checkpoint/*.safetensors")
        done = finish(run, tmp_path, "killed", TINY)
    assert (whole.code, killed.code, done.code) == (0, -signal.SIGKILL, 0), done.err
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.network
def test_trainings_killed_at_sixty_moments_end_in_the_same_bytes(tmp_path):
    killed, ends = kill_often(tmp_path, TINY, singles=50, chains=10)
    assert killed >= 80  # a few trainings end before their moment
    assert ends == [True] * 60


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("seed", range(3))
def test_trainings_with_two_processes_killed_at_random_moments_end_in_the_same_bytes(tmp_path, seed):
    killed, ends = kill_often(tmp_path, PAIR, singles=6, chains=1, seed=seed)
    assert killed >= 9
    assert ends == [True] * 7


# --- signals ----------------------------------------------------------------------------------------------------------------

DEAF = """
import hashlib, sys
from stockrnn import interrupts
from stockrnn.interrupts import interruptible
from stockrnn.cli import _leave
from stockrnn.errors import InterruptedRunError
interrupts.PATIENCE_S = float(sys.argv[3])
interrupts.at_signal.append(lambda: print("noticed", flush=True))
try:
    with interruptible("Go on with: \\x1bthat\\udce9") as check:  # a folder's name may hold anything
        print("ready", flush=True)
        for _ in range(int(sys.argv[1])):
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(sys.argv[2]))  # deaf: no bytecode runs meanwhile
            check()
except InterruptedRunError as error:
    _leave(str(error), error.exit_code)
"""

SAID = "stockrnn: Interrupted. Go on with: \N{REPLACEMENT CHARACTER}that\N{REPLACEMENT CHARACTER}\n"


def deaf(times, length, patience_s=PATIENCE_S):
    command = [sys.executable, "-c", DEAF, str(times), str(length), str(patience_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_at_the_next_safe_place(number, code):
    process = deaf(10_000, 10_000)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (code, SAID)


def test_a_signal_ends_deaf_work_within_five_seconds():
    process = deaf(1, 2**31 - 1)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, SAID)
    assert time.monotonic() - sent > PATIENCE_S


def wait_for_signal(number):
    os.kill(os.getpid(), number)
    while True:
        safe_place()


def test_what_is_said_of_going_on_follows_from_what_was_begun():
    for begun, said in ((True, "Interrupted. Go on with: that"), (False, "Interrupted.")):
        with pytest.raises(InterruptedRunError) as caught, interruptible("Go on with: that", lambda begun=begun: begun):
            wait_for_signal(signal.SIGTERM)
        assert (str(caught.value), caught.value.exit_code) == (said, 143)


def test_a_backtest_that_only_read_its_data_has_nothing_to_go_on_with(tmp_path, monkeypatch, capsys):
    import typer

    from stockrnn import cli
    from stockrnn.recipes import backtesting

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backtesting, "load_prices", lambda *_: wait_for_signal(signal.SIGINT))
    with pytest.raises(InterruptedRunError, match=r"^Interrupted\.$"):
        typer.main.get_command(cli.app)(["backtest", "--run", "b"], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_leaves_at_once():
    process = deaf(1, 2**31 - 1, patience_s=600)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noticed\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_signals_are_the_process_own_again_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible("x"):
        os.kill(os.getpid(), 0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    safe_place()


def interrupt_often(folder, words, moments, seed=1):
    """Signals at random moments; (code, seconds until the exit, what was said, whether the folder is valid) of each."""
    dice = random.Random(seed)
    found, number = [], 0
    with Forks(folder) as run:
        whole = min((finish(run, folder, name, words) for name in ("whole", "again")), key=lambda done: done.seconds)
        while len(found) < moments:
            number += 1
            name = f"s{number}"
            which = (signal.SIGINT, signal.SIGTERM)[number % 2]
            moment = dice.uniform(0.05, whole.seconds)  # before, Python itself imports the command line and answers signals
            done = finish(run, folder, name, words, kill_after=moment, number=which)
            left = {path.name for path in (folder / name).iterdir()} if (folder / name).is_dir() else set()
            if is_complete(folder / name):
                open_run(folder / name)
            valid = is_complete(folder / name) or is_unfinished(folder / name) or not left
            if "--resume" in done.err:
                valid &= finish(run, folder, name, words).code == 0 and digests(folder / name) == digests(folder / "whole")
            print(which.name, done.code, round(done.late, 2), valid, flush=True)
            if done.code:  # it had not ended before
                found.append((done.code, round(done.late, 2), done.err, valid, sorted(left)))
    return found


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("words", [TINY, PAIR], ids=["one process", "two processes"])
def test_signals_at_twenty_moments_leave_within_five_seconds(tmp_path, words):
    found = interrupt_often(tmp_path, words, 20)
    assert {code for code, *_ in found} == {130, 143}
    assert [each for each in found if (each[1] > 5 or each[2].count("\n") != 1 or "Traceback" in each[2])] == []
    assert all(valid for *_, valid, _ in found)


# --- one writer -------------------------------------------------------------------------------------------------------------

STARTS = """
import os, signal, sys
from pathlib import Path
from stockrnn import recipes
from stockrnn.configfile import load_config
from stockrnn.errors import StockRNNError
from stockrnn.recipes import training
from stockrnn.runs.directory import new_run_folder
config = load_config("lstm", ["data.path=" + sys.argv[1], "window.lookback=4"])
ends, wait = os.pipe(), os.pipe()

def work(*_):
    os.write(ends[1], b"w")
    os.read(wait[0], 1)  # until the others have tried

training._train = work

def start():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            recipes.train(config, new_run_folder("run", "x", None))
        except StockRNNError as error:
            code = error.exit_code
            os.write(ends[1], b"l")
        finally:
            os._exit(code)
    return child

for _ in range(int(sys.argv[2])):
    children = [start() for _ in range(20)]
    words = b"".join(os.read(ends[0], 1) for _ in children)
    codes = []
    while len(codes) < 19:
        child, status = os.wait()
        children.remove(child)
        codes.append(os.waitstatus_to_exitcode(status))
    os.kill(children[0], signal.SIGKILL)
    os.wait()
    again = os.fork()
    if again == 0:
        training._train = lambda *_: os._exit(42)
        recipes.train(config, Path("run"))
    _, status = os.wait()
    print(words.count(b"w"), codes.count(6), os.waitstatus_to_exitcode(status), flush=True)
    os.system("rm -rf run")
"""


def starts(folder, rounds):
    command = [sys.executable, "-c", STARTS, str(GOLDEN.parent / "prices.csv"), str(rounds)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_of_twenty_starts_one_wins_and_its_death_frees_the_lock(tmp_path):
    assert starts(tmp_path, 2) == ["1 19 42"] * 2


@pytest.mark.slow
def test_of_twenty_starts_one_wins_twenty_times(tmp_path):
    assert starts(tmp_path, 20) == ["1 19 42"] * 20


def test_a_run_that_ends_while_another_starts_keeps_one_writer(tmp_path):
    """The lock's file is taken away by its holder; one who had opened it before must not hold the lock of nothing."""
    opened = os.open
    inside = []

    def slow_open(path, *rest, **options):
        handle = opened(path, *rest, **options)
        if str(path).endswith(".lock") and inside:
            inside.pop().__exit__(None, None, None)  # the holder leaves between our open and our lock
        return handle

    holder = lock_folder(tmp_path)
    holder.__enter__()
    inside.append(holder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", slow_open)
        with lock_folder(tmp_path), pytest.raises(RunInUseError), lock_folder(tmp_path):
            pass


# --- what is gone on with ---------------------------------------------------------------------------------------------------


def test_other_data_or_another_config_are_refused_by_name(tmp_path):
    config = open_run(GOLDEN).config
    begin_run(tmp_path, config)
    note_data(tmp_path, "a" * 64, "prices.csv")
    with pytest.raises(ConfigError, match=r"prices\.csv with SHA-256 bbbbbbbbbbbb"):
        note_data(tmp_path, "b" * 64, "prices.csv")
    other = config.model_copy(update={"train": config.train.model_copy(update={"seed": 9})})
    with pytest.raises(ConfigError, match=r"seed.* 9"):
        begin_run(tmp_path, other)


def test_a_failed_start_takes_nothing_from_the_one_who_writes(tmp_path):
    with lock_folder(tmp_path):
        begin_run(tmp_path, open_run(GOLDEN).config)
        remove_unfinished(tmp_path, existed=False)
        assert is_unfinished(tmp_path)
    remove_unfinished(tmp_path, existed=False)
    assert not tmp_path.exists()


def test_what_a_dead_process_was_writing_is_taken_away(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    for place in (tmp_path, tmp_path / "checkpoint"):
        (place / ".77-0.tmp").write_bytes(b"half")
    begin_run(tmp_path, open_run(GOLDEN).config)
    assert {path.name for path in tmp_path.rglob("*")} == {"checkpoint", "config.yaml"}


def test_a_folder_in_which_nothing_was_begun_counts_as_empty(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / ".5-1.tmp").write_bytes(b"half")
    (tmp_path / ".lock").write_bytes(b"")
    assert new_run_folder(str(tmp_path), "x", dt.date(2026, 1, 1)) == tmp_path


# --- no space, no permission ------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path):
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_ends_a_run_and_harms_none(full_disk):
    files, golden = golden_files()
    shutil.copytree(GOLDEN, full_disk / "before")

    def fill():
        for number in range(9):
            begin_run(full_disk / f"new{number}", golden.config)
            write_run(full_disk / f"new{number}", files, {})

    with pytest.raises(StorageError, match="No space left"):
        fill()
    for folder in full_disk.iterdir():
        assert not is_complete(folder) or open_run(folder)
    assert open_run(full_disk / "before").manifest == golden.manifest
    with pytest.raises(StorageError, match="No space left"):
        add_files(open_run(full_disk / "before"), {"plots/a.png": os.urandom(400_000)})
    open_run(full_disk / "before")


@pytest.mark.network
def test_a_full_disk_is_exit_5_in_one_line(full_disk):
    (full_disk / "filler").write_bytes(bytes(380_000))
    command = [sys.executable, "-m", "stockrnn", "train", *TINY, "--set", "train.epochs=2", "--run", full_disk / "run"]
    done = subprocess.run(command, cwd=full_disk.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (5, 1, "")
    assert "No space left" in done.stderr


def test_a_full_standard_output_is_exit_5():
    command = [sys.executable, "-m", "stockrnn", "configs", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_a_read_only_folder_is_a_storage_error_and_its_run_loads(tmp_path):
    place = tmp_path / "place"
    shutil.copytree(GOLDEN, place)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(StorageError, match="Read-only"), lock_folder(tmp_path / "run"):
            pass
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    open_run(place)


# --- a loss that is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.network
def test_a_training_that_diverges_keeps_its_last_finite_state(tmp_path):
    from stockrnn import recipes
    from stockrnn.training.checkpoint import _decode

    config = short_config()
    wild = {"learning_rate": 1e38, "clip_norm": None, "optimizer": "sgd"}
    config = config.model_copy(update={"train": config.train.model_copy(update=wild)})
    with pytest.raises(DivergedError, match=r"loss of epoch \d+ must be finite.*train.learning_rate"):
        recipes.train(config, tmp_path / "run")
    states = [found[2] for path in (tmp_path / "run").glob("checkpoint/*.safetensors") if (found := _decode(path))]
    assert all(np.isfinite(array).all() for state in states for array in state.part("best/").values())
    assert not is_complete(tmp_path / "run")


def test_a_backtest_killed_just_after_it_was_complete_is_only_opened(tmp_path):
    from stockrnn import recipes

    run = shutil.copytree(GOLDEN, tmp_path / "run")
    with pytest.raises(ConfigError, match="a training"):
        recipes.unfinished_backtest(str(run))
    plan, golden = recipes.Plan(folds=3), open_run(GOLDEN)
    write_run(run, golden_files()[0], {"backtest": plan.to_dict()})
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "forecasts0.json").write_text("{}")
    assert recipes.unfinished_backtest(str(run)) == (run, golden.config, plan)
    with pytest.raises(ConfigError, match="the plan of the backtest"):
        recipes.resume_backtest(golden.config, recipes.Plan(folds=4), run)
    done = recipes.resume_backtest(golden.config, plan, run)
    assert done.metrics == golden.json("metrics.json")
    assert not (run / "checkpoint").exists()
    with pytest.raises(ConfigError, match="needs the config"):
        recipes.resume_backtest(golden.config.model_copy(update={"train": load_config("lstm").train}), plan, run)


PLANS = {"empty": "", "cut short": '{"plan": {"folds": 3', "a list": "[]", "no plan": '{"data": "x"}', "no fold": '{"plan": {"folds": 0}}'}
PLANS |= {"a word": '{"plan": {"folds": "many", "refit": 1, "gap": 0, "warm_start": null}}', "endless": "[" * 5_000_000}


@pytest.mark.parametrize("what", [*PLANS, "a link", "a long config", "a linked config"])
def test_an_unfinished_run_of_a_stranger_says_what_is_wrong_with_it(tmp_path, what):
    from stockrnn import recipes

    golden, outside = open_run(GOLDEN), tmp_path / "outside"
    begin_run(tmp_path / "run", golden.config)
    plan, config = (tmp_path / "run" / "checkpoint" / name for name in ("backtest.json", "config.yaml"))
    plan.write_text(PLANS.get(what, '{"plan": {}}'))
    outside.write_bytes(config.read_bytes())
    changed = config if "config" in what else plan
    if "link" in what:
        changed.unlink()
        changed.symlink_to(outside)
    elif what == "a long config":
        config.write_bytes(bytes(70_000))
    with pytest.raises(RunDamagedError, match=rf"{changed.name} must"):
        recipes.unfinished_backtest(str(tmp_path / "run"))
