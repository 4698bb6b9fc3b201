"""What the tests of several files share."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest


@pytest.fixture(scope="module")
def child():
    """A process for networks, replaced after 40 of them: TensorFlow keeps each program it compiled until the memory maps run out."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=40) as pool:
        yield pool
