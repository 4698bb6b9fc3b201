"""Units give the same wherever they run, each is counted once, and no worker outlives its driver."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stockrnn import workers
from stockrnn.engines import ALONE, open_engine
from stockrnn.errors import DataError
from stockrnn.interrupts import interruptible


def add(shared, unit, tell):
    for step in range(3):
        time.sleep(0.01)
        tell((unit, step))
    return shared + unit, os.getpid()


def add_slowly(shared, unit, tell):
    time.sleep(0.2)
    return add(shared, unit, tell)


def refuse(shared, unit, tell):
    if unit == shared:
        raise DataError(f"A unit must not be {unit}.")
    return unit


def nest(engine, unit, tell):
    return [number for number, _ in engine.run(add, unit, range(3), on_report=tell)], os.getpid()


def threads(shared, unit, tell):
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    time.sleep(0.05)
    return {library["num_threads"] for library in threadpool_info()}


def kill_once(marks, unit, tell):
    """Units 3 and 6 die in the middle of their first attempt."""
    mark = Path(marks) / str(unit)
    mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    tell(unit)
    if unit in (3, 6) and mark.read_text() == "x" and os.getpid() != int((Path(marks) / "driver").read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return unit * unit


def kill_workers(driver, unit, tell):
    if os.getpid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.4)
    return unit


def wait_to_stop(marks, unit, tell):
    (Path(marks) / f"{os.getpid()}.began").touch()
    try:
        while True:
            time.sleep(0.02)
            tell(unit)
    finally:
        (Path(marks) / f"{os.getpid()}.saved").touch()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_each_unit_is_told_of_once(count):
    done, told = [], []
    with open_engine(count) as engine:
        for _ in range(2):  # the workers stay for the next run
            results = engine.run(add_slowly, 100, list(range(6)), lambda number, result: done.append((number, result)), told.append)
            assert [sum_ for sum_, _ in results] == [100, 101, 102, 103, 104, 105]
    assert sorted(number for number, _ in done) == sorted([*range(6), *range(6)])
    assert len({pid for _, (_, pid) in done}) == count
    assert {unit for unit, _ in told} == set(range(6))
    assert engine.notes == []


def test_one_unit_starts_no_worker_and_no_unit_gives_nothing():
    with open_engine(2) as engine:
        assert engine.run(add, 1, [1])[0] == (2, os.getpid())
        assert engine.run(add, 1, []) == []
        assert engine._pool is None


def test_a_run_inside_a_unit_runs_where_the_unit_does():
    with open_engine(2) as engine:
        found = engine.run(nest, engine, [10, 20, 30, 40])
    assert [numbers for numbers, _ in found] == [[10 * k, 10 * k + 1, 10 * k + 2] for k in (1, 2, 3, 4)]
    assert ALONE.run(nest, ALONE, [5])[0] == ([5, 6, 7], os.getpid())


def test_every_process_computes_on_one_thread():
    with open_engine(2) as engine:
        assert engine.run(threads, None, range(8)) == [{1}] * 8


def test_what_a_unit_raises_comes_out_and_ends_the_workers():
    with open_engine(2) as engine:
        with pytest.raises(DataError, match="must not be 7"):
            engine.run(refuse, 7, range(300))
        assert engine._pool is None
        assert len(engine.run(refuse, -1, range(20))) == 20


def test_few_and_short_units_start_no_worker_by_themselves_and_many_do(monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    with open_engine("auto") as engine:
        engine.run(add, 0, range(4))
        assert engine._pool is None
        assert len({pid for _, pid in engine.run(add, 0, range(400))}) == 2


def test_units_in_the_hands_of_a_killed_worker_run_again_and_count_once(tmp_path):
    (tmp_path / "driver").write_text(str(os.getpid()))
    done = []
    with open_engine(3) as engine:
        assert engine.run(kill_once, tmp_path, range(40), lambda number, _: done.append(number)) == [k * k for k in range(40)]
    assert sorted(done) == list(range(40))
    died = sum(len((tmp_path / str(unit)).read_text()) > 1 for unit in (3, 6))
    assert bool(died) == bool(engine.notes)
    assert all("died with unit" in note for note in engine.notes)


def test_where_every_worker_dies_this_process_does_the_work():
    with open_engine(2) as engine:
        assert engine.run(kill_workers, os.getpid(), range(8)) == list(range(8))
    assert len(engine.notes) == workers.MOST_LOSSES
    assert "goes on alone" in engine.notes[-1]


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


DRIVER = """
import sys
from stockrnn.engines import open_engine
from stockrnn.errors import InterruptedRunError
from stockrnn.interrupts import interruptible
from tests.test_engines import wait_to_stop
try:
    with interruptible("Go on with: that") as check, open_engine(3) as engine:
        engine.run(wait_to_stop, sys.argv[1], range(9), on_report=lambda _: check())
except InterruptedRunError as error:
    sys.exit(error.exit_code)
"""


def drive(folder, number):
    """Send a signal to a driver whose three processes work; (exit code, seconds, what was said, processes that live on)."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)], stderr=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True
    )
    while len(list(folder.glob("*.began"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    pids = {int(path.stem) for path in folder.glob("*.began")} - {process.pid}
    process.send_signal(number)
    sent = time.monotonic()
    _, said = process.communicate(timeout=60)
    took = time.monotonic() - sent
    until = time.monotonic() + 3
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return process.returncode, took, said, {pid for pid in pids if alive(pid)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_every_worker_save_and_leaves_none(tmp_path, number, code):
    left, took, said, orphans = drive(tmp_path, number)
    assert (left, said, orphans) == (code, "", set())
    assert took < 5
    assert len(list(tmp_path.glob("*.saved"))) == 3


def test_a_killed_driver_leaves_no_worker(tmp_path):
    left, _, said, orphans = drive(tmp_path, signal.SIGKILL)
    assert (left, orphans) == (-signal.SIGKILL, set())
    assert said == ""


def test_no_signal_is_lost_or_left_changed():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible("x"), open_engine(2) as engine:
        engine.run(add, 0, range(8))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
