"""An errand is done once, wherever it is, and its result is that of the call."""

import os
import time

import pytest

from stockrnn.beside import begin
from stockrnn.engines import ALONE
from stockrnn.errors import DataError
from stockrnn.places import open_engine
from tests.units import add, die_elsewhere, meet, note, refuse_errand, send_for_ever, send_on_errand, wait_for, where

pytestmark = pytest.mark.usefixtures("light_workers")


@pytest.fixture
def two(tmp_path):
    """An engine with a worker that has nothing to do."""
    with open_engine(2) as engine:
        (tmp_path / "met").mkdir()
        engine.run(meet, (tmp_path / "met", 2), range(2))
        yield engine


def test_where_no_worker_is_an_errand_is_done_when_it_is_asked_for():
    assert begin(ALONE, where, 3)() == (3, os.getpid())
    with open_engine(1) as engine:
        assert begin(engine, where, 3)() == (3, os.getpid())


def test_a_worker_does_errands_while_this_process_does_something_else(two):
    waits = [begin(two, where, number) for number in range(5)]
    added = two.run(add, 10, range(4))
    assert [value for value, _ in added] == [10, 11, 12, 13]
    done = [wait() for wait in waits]
    assert [value for value, _ in done] == list(range(5))
    assert os.getpid() != done[0][1]


def test_an_errand_that_waits_is_done_by_the_one_who_asks(two, tmp_path):
    busy, waits = begin(two, wait_for, tmp_path / "go"), begin(two, where, "waits")
    assert waits() == ("waits", os.getpid())
    assert two.run(add, 1, range(3)) == [(1, os.getpid()), (2, os.getpid()), (3, os.getpid())]
    (tmp_path / "go").touch()
    assert busy() != os.getpid()


def test_what_a_worker_died_of_is_done_here_and_the_rest_by_another(two):
    here = os.getpid()
    waits = [begin(two, die_elsewhere, here), begin(two, where, "after")]
    assert waits[0]() == here
    assert waits[1]() == ("after", here)
    assert [value for value, _ in two.run(add, 1, range(3))] == [1, 2, 3]


def test_a_worker_may_die_of_an_errand_while_units_run(two):
    here = os.getpid()
    wait = begin(two, die_elsewhere, here)
    assert [value for value, _ in two.run(add, 1, range(6))] == [1, 2, 3, 4, 5, 6]
    assert wait() == here


def test_what_is_done_is_not_done_again_once_workers_were_stopped(two, tmp_path):
    begin(two, note, tmp_path / "first")()
    two.close()
    (tmp_path / "again").mkdir()
    two.run(meet, (tmp_path / "again", 2), range(2))
    begin(two, note, tmp_path / "second")
    until = time.monotonic() + 60
    while not (tmp_path / "second").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert (tmp_path / "first").read_text() == "x"


def test_an_errand_of_a_unit_is_done_where_the_unit_is(two, tmp_path):
    found = two.run(send_on_errand, (two, os.getpid(), tmp_path), range(2))
    assert [errand for errand, _ in found] == [unit for _, unit in found]
    assert os.getpid() in {pid for _, (_, pid) in found}


def test_what_an_errand_raises_is_raised(two):
    with pytest.raises(DataError, match="no such thing"):
        begin(two, refuse_errand, "no such thing")()


def test_an_errand_that_nobody_asks_for_holds_up_no_end(two, tmp_path):
    """Its worker is told to leave while it sends a result."""
    begin(two, send_for_ever, tmp_path / "sends")
    while not (tmp_path / "sends").exists():
        time.sleep(0.01)
    two.close()
    assert [value for value, _ in two.run(add, 1, range(3))] == [1, 2, 3]
