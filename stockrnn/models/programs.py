"""A cache of compiled programs and exported graphs, from process to process: XLA's own persistent cache, made safe.

XLA runs whatever lies in its cache folder. A truncated entry would end every training of its shape, one for another processor would
end the process, and one of somebody else's would run. So XLA is shown a folder of this process alone, and in it only the one program
that is about to be called for the first time, after a check. What XLA writes there is kept as one file a program, written as a
whole, with its SHA-256, for this machine and these versions.

Nothing here ends a command: where a folder cannot be made, written or trusted, programs are compiled as if there were no cache.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stockrnn.errors import StockRNNError, StorageError
from stockrnn.interrupts import safe_place
from stockrnn.models.marks import machine_mark
from stockrnn.storage import make_folder, read_plain_file, sha256, storage_errors, write_bytes

VARIABLE, OFF = "STOCKRNN_CACHE", "off"
"""The environment variable that names the folder of the cache, and its value for no cache."""
MOST_BYTES = 256 << 20
"""Size of all kept programs, beyond which those used longest ago are removed; one takes 0.2 to 3 MB."""
MOST_ENTRY = 64 << 20
ROOM = 16 << 20
"""Space that must be free where XLA writes: a full disk would end the training."""
PATIENCE_S = 60.0
"""How long to wait for a program that another process is compiling: the largest networks take that long."""
FLAGS, FLAG = "TF_XLA_FLAGS", "tf_xla_persistent_cache_directory"
_FORMAT = b"stockrnn program 1"
_SUFFIX, _GRAPHS, _AT_HAND, _SHOWN = ".program", ".graph", "at-hand", "shown"
_GRAPH = "graph"
"""The name of entries that are not XLA's programs: graphs that Keras exported, and functions that TensorFlow traced."""
_ENTRY = re.compile(r"xla_compile_cache__\d{1,20}__\d{1,20}__XLA_CPU_JIT\.pb")
_KEPT = re.compile(rf"[0-9a-f]{{32}}/[0-9a-f]{{32}}\{_SUFFIX}")
_CLAIM = ".claim"
_LOOK_S = 0.02
_YOUNG_S = 60.0
Result = TypeVar("Result")


def cache_folder(variables: Mapping[str, str]) -> Path | None:
    """Where programs are kept: in `STOCKRNN_CACHE`, else in the user's cache folder; None where that is `off`, or there is no home.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if given := variables.get(VARIABLE):
        return None if given == OFF else Path(given).absolute() / "programs"
    base = variables.get("XDG_CACHE_HOME", "")
    base = base if base.startswith("/") else os.path.expanduser("~/.cache")  # noqa: PTH111  the other one raises without a home
    return Path(base) / "stockrnn" / "programs" if base.startswith("/") else None


def open_programs(variables: Mapping[str, str]) -> Programs | None:
    """The kept programs of this machine; None where none can be.

    Args:
        variables: the environment.

    Raises:
        StorageError: the folder cannot be made, or is not the user's alone.
    """
    folder = cache_folder(variables)
    own = FLAG in variables.get(FLAGS, "")  # the user has set up XLA's cache already
    machine = None if folder is None or own or sys.platform != "linux" or "tensorflow" in sys.modules else machine_mark()
    if folder is None or machine is None:
        return None
    root = _own_folder(folder)
    return Programs(root, _own_folder(root / machine))


def _own_folder(folder: Path) -> Path:
    """A folder, made where there is none, without the links that lead to it. Raises StorageError where it is not the user's alone."""
    make_folder(folder.parent)
    with storage_errors(folder, "a writable folder"):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        real = folder.resolve(strict=True)
        doubt = _others_may_write(real)
    if doubt:
        raise StorageError(
            f"{folder} must be a folder that nobody else can write or replace: compiled programs are executed. Received: one where others "
            f"may write {doubt}. Set `{VARIABLE}` to a folder of yours, or to `{OFF}`."
        )
    return real


def _others_may_write(folder: Path) -> str:
    """The first folder on the way to one, itself included, in which somebody else may change what lies there; empty for none."""
    me = os.geteuid()
    own = folder.stat()
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != me or own.st_mode & 0o077:
        return str(folder)
    for parent in folder.parents:
        found = parent.stat()
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != me)  # a user's own group has his number
        if found.st_uid not in {0, me} or (shared and not found.st_mode & stat.S_ISVTX):
            return str(parent)
    return ""


@dataclass(frozen=True)
class Entry:
    """A program as XLA writes it, the name and the bytes of a file; or an exported graph."""

    name: str
    data: bytes

    def pack(self, place: str) -> bytes:
        """As it is kept, under this name."""
        body = b"\n".join([place.encode(), self.name.encode(), self.data])
        return b"\n".join([_FORMAT, sha256(body).encode(), body])

    @classmethod
    def unpack(cls, packed: bytes, place: str) -> Entry | None:
        """What was kept under this name; None where it is not that, to the last bit."""
        magic, _, rest = packed.partition(b"\n")
        digest, _, body = rest.partition(b"\n")
        if magic != _FORMAT or digest != sha256(body).encode():
            return None
        at, name, data = body.split(b"\n", 2)
        known = name.decode() == _GRAPH or _ENTRY.fullmatch(name.decode())
        return cls(name.decode(), data) if at == place.encode() and known else None


class Programs:
    """The cache that all processes of this user and machine share.

    XLA takes one path for the life of the process: that of a descriptor, so that the folder behind it can be changed. The folder is
    locked by its process. One without a lock was left by a process that died: the program shown in it is not trusted again.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        """Make a folder for XLA; `root` holds the programs of all machines, `folder` those of this one. Raises StorageError."""
        self.root, self.folder = root, folder
        self._process, self._lock = os.getpid(), threading.Lock()
        self._descriptor = self._new_folder(self.root)
        self._find_room()
        if not self._is_roomy():
            raise StorageError(f"{folder} must have {ROOM >> 20} MiB of room. Received: less. Free some, or set `{VARIABLE}` to `{OFF}`.")

    def flags(self) -> dict[str, str]:
        """The environment in which TensorFlow is to be imported."""
        return {FLAGS: f"{os.environ.get(FLAGS, '')} --{FLAG}={self._shown}".strip()}

    def graph(self, name: str, export: Callable[[], bytes]) -> bytes:
        """A graph that takes long to make: the kept one, or else a new one, which is kept.

        Args:
            name: tells the graph from all others.
            export: makes it where it is not kept.
        """
        place = self._place(name, _GRAPHS)
        entry = self._find(place)
        if entry is not None and entry.name == _GRAPH:
            with contextlib.suppress(OSError):
                os.utime(self.root / place)
            return entry.data
        data = export()
        with contextlib.suppress(OSError, StockRNNError):
            write_bytes(self.root / place, Entry(_GRAPH, data).pack(place))
            self._trim()
        return data

    def forget(self, name: str) -> None:
        """Keep a graph no longer."""
        self._forget(self._place(name, _GRAPHS))

    def first_call(self, name: str, call: Callable[[], Result], again: Callable[[], Result]) -> Result:
        """Make a call that compiles a program, or loads it if it was kept; wait for it if another process is compiling it.

        Args:
            name: tells the program from others; if the program of a name has changed, it is compiled and replaces the kept one.
            call: makes it.
            again: makes it without anything kept, where that fails; not `call` again, as TensorFlow does not forget an error.
        """
        if os.getpid() != self._process:  # a forked process must not use its parent's folder
            return call()
        with self._lock, contextlib.ExitStack() as held:
            self._find_room()
            place = self._place(name)
            entry = self._find(place)
            if entry is None:
                held.enter_context(self._alone(place))
                entry = self._find(place)  # another process may have kept it by now
            try:
                return self._call(call, place, entry)
            except Exception:
                self._forget(place)
                self._find_room()
            return self._call(again, place, None)

    @contextlib.contextmanager
    def _alone(self, place: str) -> Iterator[None]:
        """Be the only process that compiles a program: wait for one that does, `PATIENCE_S` at most."""
        try:
            handle = os.open(self.root / f"{place}{_CLAIM}", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            yield
            return
        began = time.monotonic()
        try:
            while not _claim(handle) and time.monotonic() - began < PATIENCE_S:
                safe_place()
                time.sleep(_LOOK_S)
            yield
        finally:
            os.close(handle)

    def _call(self, call: Callable[[], Result], place: str, entry: Entry | None) -> Result:
        """Make the call while XLA is shown an entry, and keep what it writes meanwhile."""
        shown = self._show(place, entry)
        try:
            result = call()
            self._keep(place, shown)
        finally:
            self._clear()
        return result

    def _place(self, name: str, suffix: str = _SUFFIX) -> str:
        """Where what has this name is kept, below `root`."""
        return f"{self.folder.name}/{sha256(name.encode())[:32]}{suffix}"

    @property
    def _shown(self) -> Path:
        """What XLA takes for its folder."""
        return Path(f"/proc/self/fd/{self._descriptor}")

    def _find_room(self) -> None:
        """Give XLA a folder on another disk if the one of its folder is full."""
        for base in () if self._is_roomy() else (self.root, Path(tempfile.gettempdir()), Path("/dev/shm")):  # noqa: S108  nobody else's
            with contextlib.suppress(StorageError):
                handle = self._new_folder(base)
                os.dup2(handle, self._descriptor, inheritable=False)
                os.close(handle)
                if self._is_roomy():
                    return

    def _new_folder(self, base: Path) -> int:
        """A locked folder of this process, removed at its end. Raises StorageError."""
        with storage_errors(base, "writable"):
            if base == self.root:
                base = _own_folder(self.root / _AT_HAND)
                self._sweep(base)
            made = tempfile.mkdtemp(prefix=f"stockrnn-{self._process}-", dir=base)
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a disk without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle

    def _is_roomy(self) -> bool:
        with contextlib.suppress(OSError):
            handle = os.open("room", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._descriptor)
            try:
                os.unlink("room", dir_fd=self._descriptor)
                os.posix_fallocate(handle, 0, ROOM)
            finally:
                os.close(handle)
            return True
        return False

    def _find(self, place: str) -> Entry | None:
        """The entry that is kept there, if any; a damaged one is removed."""
        path = self.root / place
        try:
            if path.lstat().st_uid != os.geteuid():
                return None
            entry = Entry.unpack(read_plain_file(path, MOST_ENTRY), place)
        except (OSError, StockRNNError):
            return None
        if entry is None:
            self._forget(place)
        return entry

    def _show(self, place: str, entry: Entry | None) -> str:
        """Put an entry where XLA looks, with a link that names its place; the name of its file, empty where there is none."""
        self._clear()
        if entry is None:
            return ""
        try:
            (self._shown / _SHOWN).symlink_to(place)
            write_bytes(self._shown / entry.name, entry.data)
        except (OSError, StorageError):
            return ""
        return entry.name

    def _keep(self, place: str, shown: str) -> None:
        """Keep the one entry that XLA has written."""
        with contextlib.suppress(OSError, StockRNNError):
            new = [path for path in self._shown.iterdir() if _ENTRY.fullmatch(path.name) and path.name != shown]
            if len(new) == 1:
                entry = Entry(new[0].name, read_plain_file(new[0], MOST_ENTRY))
                write_bytes(self.root / place, entry.pack(place))
                self._trim()
            elif not new and shown:
                os.utime(self.root / place)

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._shown.iterdir():
                path.unlink()

    def _forget(self, place: str) -> None:
        with contextlib.suppress(OSError):
            (self.root / place).unlink()

    def _trim(self) -> None:
        """Remove the entries used longest ago until `MOST_BYTES` are left, and files that a dead process left half written."""
        found = []
        for path in self.root.glob("*/*"):
            with contextlib.suppress(OSError):
                at = path.lstat()
                if path.suffix in {_SUFFIX, _GRAPHS}:
                    found.append((at.st_mtime, at.st_size, path))
                elif path.parent.name != _AT_HAND and time.time() - at.st_mtime > _YOUNG_S:
                    path.unlink()
        total = 0
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > MOST_BYTES:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _sweep(self, base: Path) -> None:
        """Remove the folders of dead processes, and the programs that they were shown when they died."""
        for path in base.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _YOUNG_S and _is_free(path):
                    with contextlib.suppress(OSError):
                        place = str((path / _SHOWN).readlink())
                        if _KEPT.fullmatch(place):
                            self._forget(place)
                    shutil.rmtree(path, ignore_errors=True)


def _claim(handle: int) -> bool:
    """Lock a file; False if another process holds the lock. A disk without locks counts as locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        pass
    return True


def _is_free(folder: Path) -> bool:
    """Whether no living process has locked a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
