"""The one way to write a file, the lock of a folder, and where the shipped files lie.

Nothing else in the package opens a file for writing. A write is atomic: bytes in memory, then a temporary file in the
same folder, write, flush, fsync, rename, fsync of the folder. A reader sees the old file or the new one, never a mix.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stockrnn.errors import RunInUseError, StorageError

LOCK_NAME = ".lock"
_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The folder of shipped files of a kind (`configs` or `data`): inside a wheel, or beside the package in a checkout."""
    packed = _PACKAGE / "shipped" / kind
    return packed if packed.is_dir() else _PACKAGE.parent / kind


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an operating-system error into one line that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} must be {doing}. Received: {error.strerror or error}. Check space and permissions.") from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; an existing one is fine. Raises StorageError."""
    with storage_errors(path, "a writable folder"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically and durably. Raises StorageError; what stood at `path` before is then untouched."""
    with storage_errors(path, "writable"):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically and durably. Raises StorageError."""
    write_bytes(path, text.encode("utf-8"))


def sha256(data: bytes) -> str:
    """The hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path) -> bytes:
    """Read a whole file. Raises StorageError."""
    with storage_errors(path, "readable"):
        return path.read_bytes()


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the only writer's lock of a folder; the kernel frees it with the process. Raises RunInUseError."""
    with storage_errors(folder, "writable"):
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUseError(
                f"{folder} must have one writer at a time. Received: another process is writing it. Wait for it, or choose another --run."
            ) from None
        yield
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
