"""The one door to TensorFlow and Keras: imported once, in silence, on one thread.

TensorFlow reads its environment at import and its C++ start-up lines go straight to file descriptor 2, whatever the
log level; so the environment is set first and descriptor 2 points to a temporary file while the import lasts.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from stockrnn.engines import environment
from stockrnn.errors import StorageError
from stockrnn.garbage import uncollected
from stockrnn.models.marks import code_mark
from stockrnn.models.programs import VARIABLE, Programs, open_programs

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its products depend on the number of threads
}
_OPTIONAL = ("h5py", "matplotlib", "scipy", "sklearn")
"""What Keras loads where it is installed, for files, pictures and wrappers that nothing here uses: a quarter of the import's time."""
_KNOWS_OPTIONS = {"2.21.0"}
_XLA_OPTIONS = ("--xla_cpu_prefer_vector_width=512", "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling")
"""The first lets loops use the whole width of AVX-512, of which XLA uses half by default: 3 to 8 % of an epoch. The second leaves short
loops to the vectoriser instead of unrolling them into single numbers: a sixth of an epoch of 16 units, a twentieth of compiling. A
TensorFlow that does not know an option would end the process, so only versions that were seen to know them get them."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT_BYTES = -1, -3, 1 << 30
"""Options of glibc's allocator, as in its malloc.h, and what both are set to: smaller blocks and heap ends stay with the process."""


@contextlib.contextmanager
def quiet_descriptor() -> Iterator[None]:
    """Send what C++ writes to descriptor 2 into a temporary file; it is shown only if the block raises."""
    if sys.stderr is None:  # a process may be started without it
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def spare_memory() -> None:
    """Give memory that was freed back to the system, which glibc otherwise keeps between what is still used; elsewhere do nothing.

    Compiling a network takes 130 MiB, of which 85 are kept so, and a training would take its own on top.
    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def keep_memory() -> bool:
    """Let freed memory stay with the process instead of going back to the system; whether the C library (glibc) can do that.

    XLA allocates its working memory at each call and frees it afterwards; from the system, every page would be cleared and mapped anew,
    which takes a fifth of an epoch of few, large updates. `spare_memory` still gives free memory back.
    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    return change is not None and all(change(option, _KEPT_BYTES) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Make modules that are not loaded yet look uninstalled in the block: importing them raises ModuleNotFoundError.

    Source: https://docs.python.org/3/reference/import.html#the-module-cache
    """
    absent = [name for name in names if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def xla_flags(given: str) -> str:
    """XLA's options: those given, and ours where none of the same name is among them."""
    return " ".join((given, *(each for each in _XLA_OPTIONS if each.partition("=")[0] not in given))).strip()


def _open_programs() -> tuple[Programs | None, str]:
    try:
        return open_programs(os.environ), ""
    except StorageError as error:  # reported only if the user named the folder
        return None, f"Compiled programs are not kept. {error}" if os.environ.get(VARIABLE) else ""


for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
if importlib.metadata.version("tensorflow") in _KNOWS_OPTIONS:
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""))
PROGRAMS, PROGRAMS_NOTE = _open_programs()
CODE_MARK = code_mark()  # now: an upgrade may replace the files before a long command traces
with quiet_descriptor(), uncollected(lasting=True), _without(_OPTIONAL), environment(PROGRAMS.flags() if PROGRAMS else {}):
    import keras
    import tensorflow as tf

    HAS_GPU = bool(tf.config.list_physical_devices("GPU"))

# One thread an operation: the products of a recurrent network are too small to share (two threads were slower at the
# reference size), and a sum split over threads has other last digits. Several networks run in several processes.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
keep_memory()
tf.get_logger().setLevel("ERROR")  # it warns of each new shape that is compiled

__all__ = ["CODE_MARK", "HAS_GPU", "PROGRAMS", "PROGRAMS_NOTE", "keep_memory", "keras", "quiet_descriptor", "spare_memory", "tf"]
