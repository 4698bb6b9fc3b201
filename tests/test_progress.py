"""Progress: shown on a terminal alone, with what is done, of how many, and the time that is left."""

import contextlib
import io
import itertools
import os
import pty
import types

import pytest

from stockrnn.reports import progress


def report(member, epoch, last=False, parts=1, done=0):
    return types.SimpleNamespace(member=member, epoch=epoch, loss=0.30214, validation_loss=0.33091, last=last, parts=parts, done=done)


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_progress_is_silent_where_there_is_no_terminal(name, capsys, monkeypatch):
    """Also where a pipe is to have colours, as where a server tests."""
    monkeypatch.setenv(name, "1")
    stream = io.StringIO()
    with progress.training_progress(10, 1, stream) as show:
        show(report(0, 1))
    with progress.training_progress(10, 1) as show:
        show(report(0, 1))
    with progress.step_progress("reading", stream) as step:
        step(1, 2)
    with progress.walk_progress(2, 1, stream):
        pass
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def on_terminal(reports, monkeypatch):
    """What a terminal gets to see of a training of two networks, whose epochs take 10 s each."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, progress.training_progress(10, 2, terminal) as show:
        for each in reports:
            show(each)
    pieces = []
    with contextlib.suppress(OSError):  # the other end is closed; one read may give a part
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    os.close(leader)
    seen = b"".join(pieces).decode()
    assert seen.rstrip("\r\n").endswith("\x1b[2K")  # the line is taken away at the end
    return seen


def test_a_training_shows_network_epoch_losses_and_the_longest_time_left(monkeypatch):
    seen = on_terminal([report(0, 1, last=True), report(1, 3)], monkeypatch)  # the first stopped early
    assert "network 2/2" in seen
    assert "epoch 3/10  loss 0.3021  validation 0.3309  at most 1:10 left" in seen


def test_tickers_with_networks_of_their_own_show_how_many_are_done(monkeypatch):
    seen = on_terminal([report(0, 1, parts=100), report(1, 4, parts=100, done=4)], monkeypatch)
    assert "ticker 5/100" in seen
    assert "epoch 4/10  loss 0.3021  validation 0.3309  about 8:00 left" in seen


def test_networks_that_learn_at_the_same_time_are_counted_apart():
    count = progress.EpochCount(10, 4, 0.0)
    done = [count.add(report(*each))[1] for each in ((0, 1), (1, 1), (0, 2), (1, 2, True), (2, 1), (0, 10, True), (3, 1))]
    assert done == [1, 2, 3, 12, 13, 21, 22]
    assert count.left(7.0) == "at most 0:18 left"
    resumed = progress.EpochCount(10, 4, 0.0)
    assert resumed.add(report(2, 5)) == ("network 3/4", 25, 40)  # two were finished before


def test_tickers_that_were_done_before_cost_no_time():
    count = progress.TickerCount(0.0)
    assert count.add(report(0, 1, parts=10, done=6)) == ("ticker 7/10", 6, 10)
    assert count.left(5.0) == ""
    count.add(report(0, 1, parts=10, done=8))
    assert count.left(30.0) == "about 0:30 left"


@pytest.mark.parametrize(("seconds", "expected"), [(0.2, "0:00"), (61.0, "1:01"), (3599.7, "60:00")])
def test_the_time_left_is_minutes_and_seconds(seconds, expected):
    assert progress.clock(seconds) == expected
