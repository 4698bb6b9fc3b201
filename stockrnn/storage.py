"""The one way to write a file, the lock of a folder, and where the shipped files lie.

Nothing else in the package opens a file for writing. A write is atomic: bytes in memory, then a temporary file in the
same folder, write, fsync, rename, fsync of the folder. A reader sees the old file or the new one, never a mix.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stockrnn.errors import RunDamagedError, RunInUseError, StorageError

LOCK_NAME = ".lock"
TEMPORARY = ".tmp"
"""How the name of a file that is being written ends; one that stays was left by a process that died."""
_PACKAGE = Path(__file__).resolve().parent
_PIECE = 1 << 20
MOST_BYTES = 4 << 30
"""The most bytes of any file that is read."""
_numbers = itertools.count()


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
    """Write atomically and durably.

    Raises:
        StorageError: what stood at `path` before is then untouched; only where the folder's own fsync failed, the whole new
            file stands there already. A pipe or a device such as /dev/null is refused: a rename would put a file in its place.
    """
    with storage_errors(path, "writable"):
        _refuse_special(path)
        temporary = path.with_name(f".{os.getpid()}-{next(_numbers)}{TEMPORARY}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            _write_out(handle, data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically and durably. Raises StorageError."""
    write_bytes(path, text.encode("utf-8"))


def sha256(data: bytes | memoryview) -> str:
    """The hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a whole file, or the one a link leads to.

    Raises:
        StorageError: it cannot be read, is a folder, a pipe or a device, or is longer than `most` bytes, whatever its size says.
    """
    with storage_errors(path, "readable"):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            plain = stat.S_ISREG(found.st_mode)
            data = b"".join(_pieces(handle, most + 1, found.st_size + 1)) if plain and found.st_size <= most else b""
        finally:
            os.close(handle)
    if not plain or max(found.st_size, len(data)) > most:
        received = f"more: {found.st_size}, or without an end" if plain else "something else, such as a folder, a pipe or a device"
        raise StorageError(f"{path} must be a file of at most {most} bytes. Received: {received}. Give another file.")
    return data


def read_plain_file(path: Path, most: int) -> bytes:
    """The bytes of a file that was sent by a stranger.

    Raises:
        RunDamagedError: it is not there, a link, a pipe or a device, or longer than `most` bytes.
        StorageError: it cannot be read.
    """
    with _plain_file(path, most) as handle:
        return b"".join(_pieces(handle, most))


def hash_plain_file(path: Path, most: int) -> str:
    """The hexadecimal SHA-256 of such a file, read piece by piece. Raises as `read_plain_file`."""
    digest = hashlib.sha256()
    with _plain_file(path, most) as handle:
        for piece in _pieces(handle, most):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the only writer's lock of a folder, which is made where there is none; the kernel frees it with the process.

    Raises:
        RunInUseError: another process holds it.
        StorageError: the folder cannot be written.
    """
    handle = None
    while handle is None:
        make_folder(folder)
        with storage_errors(folder, "writable"):
            handle = _try_lock(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held; a lock file that stays does no harm
            os.unlink(folder / LOCK_NAME)
        with contextlib.suppress(OSError):
            os.close(handle)


def refuse_used(folder: Path) -> None:
    """Make sure that no process is writing a folder. Raises RunInUseError."""
    if (folder / LOCK_NAME).exists():
        with lock_folder(folder):
            pass


def _try_lock(folder: Path) -> int | None:
    """The held lock; None where its last holder took the file away meanwhile, so that holding it means nothing."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.lstat(folder / LOCK_NAME)):
                return handle
    except BlockingIOError:
        os.close(handle)
        raise RunInUseError(
            f"{folder} must have one writer at a time. Received: another process is writing it. Wait for it, or choose another --run."
        ) from None
    os.close(handle)
    return None


def _refuse_special(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        stream = path.is_symlink() and os.readlink(path).startswith("/proc/")  # /dev/stdout, be it a file at its end
        if stream or not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(
                f"{path} must be a plain file, or not exist yet. Received: a folder, a pipe or a device. Choose another name."
            )


def _write_out(handle: int, data: bytes) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _plain_file(path: Path, most: int) -> Iterator[int]:
    """A descriptor of a file that neither leads elsewhere nor waits or acts when it is opened."""
    must = f"{path} must be a plain file of at most {most} bytes. Received:"
    with storage_errors(path, "readable"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            raise RunDamagedError(f"{must} {_ABSENT[error.errno]}. Train again, or restore it.") from None
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise RunDamagedError(f"{must} something else. Train again, or restore it.")
            if found.st_size > most:
                raise RunDamagedError(f"{must} {found.st_size}. Train again, or restore it.")
            yield handle
        finally:
            os.close(handle)


_ABSENT = {errno.ENOENT: "none", errno.ENOTDIR: "none", errno.ELOOP: "a link", errno.ENXIO: "a socket", errno.ENAMETOOLONG: "none"}


def _pieces(handle: int, most: int, size: int = _PIECE) -> Iterator[bytes]:
    """What a descriptor holds, `most` bytes of it, in pieces of `size` or a MiB where that is more."""
    while most > 0 and (piece := os.read(handle, min(most, max(size, _PIECE)))):
        most -= len(piece)
        yield piece
