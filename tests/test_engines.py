"""Units give the same wherever they run, each is counted once, and no worker outlives its driver."""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from stockrnn import wear, workers
from stockrnn.engines import ALONE
from stockrnn.errors import ConfigError, DataError, MissingExtraError
from stockrnn.interrupts import interruptible
from stockrnn.places import Place, open_engine
from tests.units import (
    add,
    add_slowly,
    die_there,
    die_while_sending,
    end_after_this,
    kill_once,
    kill_workers,
    loaded,
    meet,
    nest,
    policies,
    refuse,
    say,
    threads,
)

pytestmark = pytest.mark.usefixtures("light_workers")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_each_unit_is_told_of_once(count, tmp_path):
    done, told = [], []
    with open_engine(count) as engine:
        for _ in range(2):  # the workers stay for the next run
            units = list(range(6))
            results = engine.run(meet, (tmp_path, count), units, lambda number, result: done.append((number, result)), told.append)
            assert [found for found, _ in results] == [100, 101, 102, 103, 104, 105]
    assert sorted(number for number, _ in done) == sorted([*range(6), *range(6)])
    assert len({pid for _, (_, pid) in done}) == count
    assert {unit for unit, _ in told} == set(range(6))
    assert engine.notes == []


def test_one_unit_starts_no_worker_and_no_unit_gives_nothing():
    with open_engine(2) as engine:
        assert engine.run(add, 1, [1])[0] == (2, os.getpid())
        assert engine.run(add, 1, []) == []
        assert engine._pool is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/sys/vm/max_map_count").exists(), reason="the kernel grants any number of maps")
def test_a_process_that_is_full_of_compiled_programs_gets_no_more_units(monkeypatch, tmp_path):
    assert not wear.is_worn(os.getpid())
    monkeypatch.setattr(wear, "WORN", 0.0)
    with open_engine(1) as engine:
        pids = [engine.run(add, 1, range(count))[0][1] for count in (1, 2)]
    assert os.getpid() not in pids
    assert len(set(pids)) == 2
    with open_engine(2) as engine:
        found = engine.run(kill_workers, (tmp_path, os.getpid(), 0), range(3))
    assert found == [0, 1, 2]  # where every worker dies, it must do


def test_a_run_inside_a_unit_runs_where_the_unit_does():
    with open_engine(2) as engine:
        found = engine.run(nest, engine, [10, 20, 30, 40])
    assert [numbers for numbers, _ in found] == [[10 * k, 10 * k + 1, 10 * k + 2] for k in (1, 2, 3, 4)]
    assert ALONE.run(nest, ALONE, [5])[0] == ([5, 6, 7], os.getpid())


def test_every_process_computes_on_one_thread():
    with open_engine(2) as engine:
        assert engine.run(threads, None, range(8)) == [{1}] * 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no other system knows SCHED_BATCH")
def test_no_thread_pushes_another_process_off_its_core_while_an_engine_is_open(monkeypatch):
    monkeypatch.setattr(wear, "is_worn", lambda pid: pid == os.getpid())  # so that a worker does the unit
    before = os.sched_getscheduler(0)
    with open_engine(2) as engine:
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        assert policies(None, 0, None) == ({os.SCHED_BATCH}, os.getpid())
        found, pid = engine.run(policies, None, [0])[0]
        assert found == {os.SCHED_BATCH}
        assert pid != os.getpid()
    assert os.sched_getscheduler(0) == before == os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with open_engine():
            pass
        assert os.sched_getscheduler(0) == os.SCHED_BATCH  # somebody else's choice stays
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))


def test_what_a_unit_raises_comes_out_and_ends_the_workers():
    with open_engine(2) as engine:
        with pytest.raises(DataError, match="must not be 7"):
            engine.run(refuse, 7, range(300))
        assert engine._pool is None
        assert len(engine.run(refuse, -1, range(20))) == 20


def test_few_and_short_units_start_no_worker_by_themselves_and_many_do(monkeypatch, tmp_path):
    """By a clock that each report and result moves on, as a process that waits for a core takes long to do little."""
    now = [0.0]

    def later(*_):
        now[0] += 0.04

    monkeypatch.setattr(workers, "_cores", lambda: 2)
    monkeypatch.setattr(workers, "time", types.SimpleNamespace(**{**vars(time), "monotonic": lambda: now[0]}))
    with open_engine("auto") as engine:
        engine.run(add, 0, range(4), later, later)
        engine.run(say, 0, range(370), later)
        assert engine._pool is None
        assert len({pid for _, pid in engine.run(meet, (tmp_path, 2), range(400), later, later)}) == 2


def test_a_worker_that_was_prepared_takes_units_too_short_for_another(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    with open_engine("auto") as engine:
        engine.prepare(1, ["colorsys"])
        assert engine._pool is None
        engine.prepare(2, ["colorsys"])
        (pid,) = engine._pool._executor._processes
        assert len({pid for _, pid in engine.run(meet, (tmp_path, 2), range(8))} - {os.getpid()}) == 1
        assert (pid, True) in engine.run(loaded, "colorsys", range(300))
        engine.crowded = True  # a GPU has come to light: it is this process's alone
        assert {where for where, _ in engine.run(loaded, "colorsys", range(300))} == {os.getpid()}
    with open_engine(1) as engine:
        engine.prepare(2, ())
        assert engine._pool is None


def test_many_units_call_more_workers_beside_a_prepared_one(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_cores", lambda: 3)
    with open_engine("auto") as engine:
        engine.prepare(9, ())
        assert engine._pool.size == 1
        assert len({pid for _, pid in engine.run(meet, (tmp_path, 3), range(600))}) == 3
        assert engine._pool.size == 2


def test_units_in_the_hands_of_a_killed_worker_run_again_and_count_once(tmp_path):
    (tmp_path / "driver").write_text(str(os.getpid()))
    done = []
    with open_engine(3) as engine:
        assert engine.run(kill_once, tmp_path, range(40), lambda number, _: done.append(number)) == [k * k for k in range(40)]
    assert sorted(done) == list(range(40))
    died = sum(len((tmp_path / str(unit)).read_text()) > 1 for unit in (3, 6))
    assert bool(died) == bool(engine.notes)
    assert all("died with unit" in note for note in engine.notes)


@pytest.mark.parametrize("processes", [2, 3])
def test_a_worker_that_dies_while_it_sends_a_result_holds_up_nobody(tmp_path, processes):
    with open_engine(processes) as engine:
        assert engine.run(die_while_sending, (tmp_path, os.getpid()), range(12)) == [k * k for k in range(12)]
    assert ["died with unit" in note for note in engine.notes] == [True]


def test_where_every_worker_dies_this_process_does_the_work(tmp_path):
    with open_engine(2) as engine:
        assert engine.run(kill_workers, (tmp_path, os.getpid(), workers.MOST_LOSSES), range(8)) == list(range(8))
    assert len(engine.notes) == workers.MOST_LOSSES
    assert "goes on alone" in engine.notes[-1]


def test_deaths_with_units_done_between_do_not_add_up(tmp_path):
    with open_engine(2) as engine:
        for number in range(workers.MOST_LOSSES + 1):
            marks = tmp_path / str(number)
            (marks / "met").mkdir(parents=True)
            engine.run(die_while_sending, (marks, os.getpid()), range(3))
            assert not any("goes on alone" in note for note in engine.notes)
            engine.run(meet, (marks / "met", 2), range(4))
    assert len(engine.notes) == workers.MOST_LOSSES + 1


def lend(engine, function, shared):
    """Lend a worker to this process until it is done."""
    with engine.beside(function, shared) as gone:
        until = time.monotonic() + 60
        while not gone():
            assert time.monotonic() < until
            time.sleep(0.01)


def test_in_the_place_of_a_lent_worker_that_died_another_starts_until_three_died_in_a_row(tmp_path):
    with open_engine(2) as engine:
        for function, shared in [(die_there, tmp_path), (say, "What it said."), *[(die_there, tmp_path)] * 5]:
            lend(engine, function, shared)
        assert len(list(tmp_path.glob("*.died"))) == 1 + workers.MOST_LOSSES
        assert len(engine.notes) == 2 + workers.MOST_LOSSES
        assert engine.notes[1] == "What it said."
        assert all("died while it helped to train, which went on without it." in note for note in engine.notes[:1] + engine.notes[2:])
        assert ["goes on alone" in note for note in engine.notes] == [False] * 4 + [True]
        assert engine.run(add, 1, range(3)) == [(1, os.getpid()), (2, os.getpid()), (3, os.getpid())]


@pytest.mark.parametrize("spare", [1, 4, 7, 10, 14, 16])
def test_where_no_worker_can_be_started_this_process_does_the_work(spare):
    """A system that has no more files, processes or semaphores to give."""
    code = f"""
import os, resource
import joblib.externals.loky.process_executor
from stockrnn.places import open_engine
from tests.units import add
free = os.dup(0)
os.close(free)
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + {spare}, before[1]))
with open_engine(3) as engine:
    print(*(found for found, _ in engine.run(add, 1, range(6))), *engine.notes)
    if engine.notes:
        for _ in range(2):  # it is not tried, and told of, again and again
            with engine.beside(add, 1) as gone:
                assert gone() and len(engine.notes) == 1
left = os.dup(0)
assert left == free or not engine.notes, (left, free)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 2 3 4 5 6")
    assert "No worker process could be started (Too many open files): this process goes on alone." in done.stdout


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


DRIVER = """
import sys
from stockrnn.places import open_engine
from stockrnn.errors import InterruptedRunError
from stockrnn.interrupts import interruptible
from tests.units import wait_to_stop
try:
    with interruptible("Go on with: that") as check, open_engine(3) as engine:
        engine.run(wait_to_stop, sys.argv[1], range(9), on_report=lambda _: check())
except InterruptedRunError as error:
    sys.exit(error.exit_code)
"""


def drive(folder, number):
    """Send a signal to a driver whose three processes work; (exit code, what was said, processes that live on)."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)], stderr=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True
    )
    while len(list(folder.glob("*.began"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    pids = {int(path.stem) for path in folder.glob("*.began")} - {process.pid}
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    until = time.monotonic() + 3
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return process.returncode, said, {pid for pid in pids if alive(pid)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_every_worker_save_and_leaves_none(tmp_path, number, code):
    assert drive(tmp_path, number) == (code, "", set())
    assert len(list(tmp_path.glob("*.saved"))) == 3


def test_a_killed_driver_leaves_no_worker(tmp_path):
    assert drive(tmp_path, signal.SIGKILL) == (-signal.SIGKILL, "", set())


def test_two_threads_may_tell_the_workers_to_stop_at_once():
    """That of a signal, and the one that closes the engine: neither may close what the other has closed."""
    errors, before = [], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3000):
            pool = workers._Pool.__new__(workers._Pool)
            pool._lock, (pool._alive, pool._life) = threading.RLock(), multiprocessing.Pipe(duplex=False)
            together = threading.Barrier(2)

            def stop(pool=pool, together=together):
                together.wait()
                try:
                    pool.stop()
                except OSError as error:
                    errors.append(error)

            other = threading.Thread(target=stop)
            other.start()
            stop()
            other.join()
            pool._alive.close()
    finally:
        sys.setswitchinterval(before)
    assert errors == []


def test_no_signal_is_lost_or_left_changed():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible("x"), open_engine(2) as engine:
        engine.run(add, 0, range(8))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


# --- Ray: the real thing, on nodes of this machine ---------------------------------------------------------------------------

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs stockrnn[ray]")


@pytest.fixture(scope="module")
def nodes():
    """A cluster whose head does no work, and two nodes of one core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.skipif(bool(importlib.util.find_spec("ray")), reason="Ray is there")
def test_ray_that_is_not_installed_is_named():
    with pytest.raises(MissingExtraError, match=r"stockrnn\[ray\]"), open_engine(place=Place("ray")):
        pass


def test_an_address_without_a_cluster_is_refused():
    with pytest.raises(ConfigError, match="--engine ray"):
        Place(address="10.0.0.1:6379")


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_what_this_process_gives_and_says_what_a_unit_raised(nodes):
    done = []
    with open_engine(place=Place("ray", nodes.address)) as engine:
        assert [each for each, _ in engine.run(add, 100, range(20), lambda number, _: done.append(number))] == list(range(100, 120))
        assert sorted(done) == list(range(20))
        with pytest.raises(DataError, match="must not be 7"):
            engine.run(refuse, 7, range(9))
        assert engine.run(threads, None, range(4)) == [{1}] * 4
        assert [numbers for numbers, _ in engine.run(nest, engine, [10, 20])] == [[10, 11, 12], [20, 21, 22]]
        assert engine.notes == []


@needs_ray
@pytest.mark.slow
def test_a_process_of_a_node_that_is_worn_is_replaced_after_its_unit(nodes):
    with open_engine(place=Place("ray", nodes.address)) as engine:
        found = engine.run(end_after_this, None, range(6))
        assert [unit for unit, _ in found] == list(range(6))
        assert len({pid for _, pid in found}) == 6
        assert engine.notes == []


@needs_ray
@pytest.mark.slow
def test_units_of_a_node_that_dies_run_on_another_and_count_once(nodes):
    extra, done = nodes.add_node(num_cpus=1), []

    def keep(number, _):
        done.append(number)
        if len(done) == 4:
            extra.kill_raylet()

    with open_engine(place=Place("ray", nodes.address)) as engine:
        assert [each for each, _ in engine.run(add_slowly, 0, range(30), keep)] == list(range(30))
        assert sorted(done) == list(range(30))
        assert all("run again" in note for note in engine.notes)


@needs_ray
@pytest.mark.slow
def test_no_cluster_at_an_address_is_exit_2():
    with pytest.raises(ConfigError, match="running Ray cluster"), open_engine(place=Place("ray", "127.0.0.1:1")):
        pass
