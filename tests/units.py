"""Units of work for the tests of engines: importable by name in every process."""

import contextlib
import importlib
import os
import signal
import struct
import sys
import time
from pathlib import Path

from stockrnn.beside import begin
from stockrnn.errors import DataError


def add(shared, unit, tell):
    for step in range(3):
        time.sleep(0.01)
        tell((unit, step))
    return shared + unit, os.getpid()


def meet(shared, unit, tell):
    """Wait until as many processes work as should."""
    marks, count = shared
    (Path(marks) / f"{os.getpid()}.met").touch()
    while len(list(Path(marks).glob("*.met"))) < count:
        time.sleep(0.01)
        tell((unit, 0))
    tell((unit, 1))
    return 100 + unit, os.getpid()


def loaded(module, unit, tell):
    """Where a unit ran, and whether this module was there before."""
    return os.getpid(), module in sys.modules


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


def policies(shared, unit, tell):
    """How the threads of a process wait for a core, those of TensorFlow's pools too."""
    from stockrnn.models.backend import tf

    assert float(tf.reduce_sum(tf.ones(3))) == 3.0
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            found.add(os.sched_getscheduler(int(thread.name)))
    return found, os.getpid()


def end_after_this(shared, unit, tell):
    from stockrnn.cluster import _end_after_this

    _end_after_this()
    return unit, os.getpid()


def kill_once(marks, unit, tell):
    """Units 3 and 6 die in the middle of their first attempt."""
    mark = Path(marks) / str(unit)
    mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    tell(unit)
    if unit in (3, 6) and mark.read_text() == "x" and os.getpid() != int((Path(marks) / "driver").read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return unit * unit


def send_a_part():
    """Begin to send a result as loky does, which calls this in a worker."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        frame = frame.f_back
    os.write(frame.f_locals["result_queue"]._writer.fileno(), struct.pack("!i", 1 << 20) + b"a part")


def die_while_sending(shared, unit, tell):
    """A worker begins to send a result, and dies before its end; this process waits for that."""
    marks, driver = shared
    if os.getpid() == driver:
        while not (Path(marks) / "died").exists():
            time.sleep(0.01)
            tell(unit)
    elif not (Path(marks) / "died").exists():
        send_a_part()
        (Path(marks) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return unit * unit


def kill_workers(shared, unit, tell):
    """Workers die, and this process waits for their deaths."""
    marks, driver, deaths = shared
    if os.getpid() != driver:
        (Path(marks) / f"{os.getpid()}.died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while len(list(Path(marks).glob("*.died"))) < deaths:
        time.sleep(0.01)
        tell(unit)
    return unit


def die_there(marks, unit, tell):
    """A worker that is lent dies, and leaves a mark."""
    (Path(marks) / f"{os.getpid()}.died").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def say(shared, unit, tell):
    return shared


def wait_to_stop(marks, unit, tell):
    (Path(marks) / f"{os.getpid()}.began").touch()
    try:
        while True:
            time.sleep(0.02)
            tell(unit)
    finally:
        (Path(marks) / f"{os.getpid()}.saved").touch()


def workers_of(pid):
    """The worker processes that a process of this machine has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process that ends meanwhile
            children = (task / "children").read_text().split()
            found += [int(child) for child in children if "LokyProcess" in Path(f"/proc/{child}/cmdline").read_text()]
    return found


def where(value):
    return value, os.getpid()


def wait_for(path):
    """Where this ran, once there is such a file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


def die_elsewhere(pid):
    if os.getpid() != pid:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def note(path):
    """Leave a mark each time that this is done."""
    with Path(path).open("a") as file:
        file.write("x")


def send_on_errand(shared, unit, tell):
    """A unit that begins an errand, in the driver once other processes have nothing to do: where each of both was done."""
    engine, driver, marks = shared
    meet((marks, 2), unit, tell)
    time.sleep(0.5 if os.getpid() == driver else 0.0)
    wait = begin(engine, where, unit)
    time.sleep(0.3 * (os.getpid() == driver))
    return wait(), (unit, os.getpid())


def refuse_errand(word):
    raise DataError(word)


def load(names):
    for name in names:
        importlib.import_module(name)


def send_for_ever(path):
    send_a_part()
    Path(path).touch()
    time.sleep(60)


def undrawn(names, *_):
    """Stands for the pictures of a run."""
    return {f"{name}.png": b"" for name in names}
