"""Every benchmark, one after the other, each printing its figures and keeping them: python -m tests.benchmarks [NAME …] [-- ARGUMENT …].

NAME is engine, memory, process, reading, workers (all by default), tune, which takes most of an hour on one core, or skill, which
takes a folder of price files: `skill -- FOLDER`.
The peers live in an environment of their own, `.bench/`, made at the first call from `peers.txt`. The figures go into
`results.json`, and from there into the README's table. Exit code 1 where a goal is missed.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEERS = Path(".bench")
BESIDE_PEERS = {"engine", "process", "skill"}
BY_NAME = {"skill", "tune"}
"""Benchmarks that run only where they are named."""


def peers():
    """The interpreter of the peers' environment, which is made where there is none, or another than is asked for."""
    python, wanted, ready = PEERS / "bin" / "python", (HERE / "peers.txt").read_text(), PEERS / "ready"
    if not ready.exists() or ready.read_text() not in ("", wanted):
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "peers.txt"], check=True)
        ready.write_text(wanted)
    return python


def main(arguments):
    split = arguments.index("--") if "--" in arguments else len(arguments)
    chosen, more = arguments[:split], arguments[split + 1 :]
    names = chosen or sorted({path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")} - BY_NAME)
    failed = 0
    for name in names:
        print(f"\n== {name}", flush=True)
        extra = [*more, "--keep", *(["--peers", peers()] if name in BESIDE_PEERS else [])]
        failed |= subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{name}", *extra], check=False).returncode
    subprocess.run([sys.executable, "-m", "tests.generate", "README.md"], check=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
