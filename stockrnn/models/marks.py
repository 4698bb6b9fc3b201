"""What kept programs depend on besides what they are made of: the machine, the libraries, and this code."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from stockrnn.storage import sha256

_CHANGING = {"processor", "cpu mhz", "bogomips", "core id", "apicid", "initial apicid", "physical id", "siblings", "cpu cores"}
"""What /proc/cpuinfo says of one processor of several, or of one moment."""


def machine_mark() -> str | None:
    """What compiled code depends on besides its program, in 32 digits: processors, settings, Python, where which TensorFlow lies.

    None where the system does not tell.
    """
    try:
        said = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
        library = [*_library()]
    except (OSError, ValueError):
        return None
    processors = sorted({line for line in said if line.partition(":")[0].strip().lower() not in _CHANGING})
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(("TF_", "XLA_"))]
    system = [platform.python_implementation(), platform.python_version(), platform.machine(), platform.release()]
    cores = [str(os.cpu_count()), str(len(os.sched_getaffinity(0)))]
    return sha256("\n".join([*processors, *settings, *system, *cores, *library, __file__]).encode())[:32]


def _library() -> Iterator[str]:
    """Which TensorFlow would be imported."""
    found = importlib.util.find_spec("tensorflow")
    folders = found.submodule_search_locations or () if found is not None else ()
    for folder, pattern in itertools.product(folders, ("__init__.py", "libtensorflow*")):
        for path in sorted(Path(folder).glob(pattern)):
            yield f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"


def code_mark() -> str:
    """What a traced function and an exported graph depend on besides what they are made of, in 32 digits: this code, and libraries."""
    versions = [importlib.metadata.version(name) for name in ("tensorflow", "keras", "onnx", "tf2onnx")]
    code = [sha256(path.read_bytes()) for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    return sha256("\n".join([*versions, *code]).encode())[:32]
