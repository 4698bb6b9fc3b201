"""What the tests of several files share."""

import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor

import pytest

from stockrnn.models.programs import VARIABLE


def pytest_configure(config):
    """One folder of compiled programs for all tests of a session, as a user has one for all commands."""
    if not hasattr(config, "workerinput"):  # the processes of pytest-xdist inherit it
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="stockrnn-tests-")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[VARIABLE], ignore_errors=True)


@pytest.fixture(scope="module")
def child():
    """A process for networks, replaced after 40 of them: TensorFlow keeps each program it compiled until the memory maps run out."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=40) as pool:
        yield pool
