"""What the tests of several files share."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import types
from concurrent.futures import ProcessPoolExecutor

import hypothesis
import pytest

from stockrnn.models.programs import VARIABLE

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)  # no test fails by chance, or by a busy machine
hypothesis.settings.load_profile("repeatable")

TERMINAL = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
"""What the environment may say of a terminal: no test is to look at the colours and widths of the one that it was started from."""
CORES = "LOKY_MAX_CPU_COUNT"
"""How many cores a command takes to be its own, and starts workers for: tests of workers say how many they want."""


def pytest_configure(config):
    """One folder of compiled programs for all tests of a session, as a user has one for all commands, and its share of the cores."""
    for name in TERMINAL:
        os.environ.pop(name, None)
    os.umask(0o022)  # the usual one: tests of permissions count on it
    if hasattr(config, "workerinput"):  # a process of pytest-xdist inherits the folder, and leaves the others' cores to them
        cores = len(os.sched_getaffinity(0)) // config.workerinput["workercount"]
        os.environ.setdefault(CORES, str(max(1, cores)))
    else:
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="stockrnn-tests-")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[VARIABLE], ignore_errors=True)


@pytest.fixture(scope="module")
def child():
    """Calls a function in a process for networks, replaced after 40 of them: TensorFlow keeps each program until the memory maps run out.

    Replaced by hand, as a pool with `max_tasks_per_child` may wait for ever. Source: https://github.com/python/cpython/issues/115634
    """
    context, pools, numbers = multiprocessing.get_context("spawn"), contextlib.ExitStack(), itertools.count()

    def call(function, *given):
        nonlocal pool
        if next(numbers) % 40 == 0:
            pools.close()
            pool = pools.enter_context(ProcessPoolExecutor(1, context))
        return pool.submit(function, *given).result()

    pool = None
    with pools:
        yield call


@pytest.fixture(scope="module")
def no_pictures():
    """Runs whose pictures are empty files, as drawing takes as long as a small training; other tests look at pictures."""
    from stockrnn.recipes import assembly  # not before its arrays are checked
    from tests.units import undrawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "_draw", undrawn)
        yield


@pytest.fixture(scope="module")
def light_workers():
    """Workers that load what their units need, and not what this process has: TensorFlow, after the tests of another file."""
    from stockrnn import workers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "sys", types.SimpleNamespace(**{**vars(sys), "modules": {}}))
        yield
