"""Every benchmark, one after the other, each printing its table: python -m tests.benchmarks [NAME …].

The peers live in an environment of their own, `.bench/`, made at the first call from `peers.txt`.
"""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEERS = Path(".bench")


def peers():
    """The interpreter of the peers' environment, which is made where there is none."""
    python = PEERS / "bin" / "python"
    if not (PEERS / "ready").exists():
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "peers.txt"], check=True)
        (PEERS / "ready").touch()
    return python


def main(chosen):
    names = chosen or sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    failed = 0
    for name in names:
        print(f"\n== {name}", flush=True)
        extra = ["--torch", peers()] if name == "engine" else []
        failed |= subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{name}", *extra], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
