"""Mutated files end in a reading or in one of our own errors, soon, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPEN_FILES = ROOT.parent / "shared/data/open"
SLOWEST_S, MOST_MB = 2.0, 512


def run(first: int, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.fuzz.read_mutated", str(first), str(count), *([str(OPEN_FILES)] if OPEN_FILES.is_dir() else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(report: dict[str, float]) -> None:
    assert report["slowest_s"] < SLOWEST_S, report
    assert report["peak_mb"] < MOST_MB, report
    assert report["read"] > 0
    assert report["refused"] > 0


def test_a_few_mutated_files_raise_only_our_own_errors():
    check(run(0, 150))


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files_raise_only_our_own_errors():
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        reports = list(pool.map(lambda first: run(first, 5_000), range(0, 100_000, 5_000)))
    for report in reports:
        check(report)
