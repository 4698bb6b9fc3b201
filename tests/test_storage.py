"""Files are old or new, never a mix; a folder has one writer; errors name file and remedy."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from stockrnn.errors import RunInUseError, StorageError
from stockrnn.storage import lock_folder, read_bytes, write_bytes, write_text


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "f"
    write_text(path, "old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"f must be writable\. Received: No space left on device"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_write_goes_on_where_the_system_took_a_part(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]))
    write_bytes(tmp_path / "f", b"ten bytes!")
    assert read_bytes(tmp_path / "f") == b"ten bytes!"


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "f"
    write_bytes(path, b"a long old text")
    write_bytes(path, b"new")
    assert read_bytes(path) == b"new"
    assert path.stat().st_mode & 0o077 == 0o044


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_bytes(tmp_path / "no" / "f", b"")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a pipe"])
def test_a_pipe_a_device_and_a_folder_are_not_replaced_by_a_file(tmp_path, kind):
    path = tmp_path / "f"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("making a device needs root")
    else:
        os.mkfifo(path if kind == "pipe" else tmp_path / "pipe")
        if kind != "pipe":
            path.symlink_to(tmp_path / "pipe")
    before = path.lstat()
    with pytest.raises(StorageError, match=r"f must be a plain file, or not exist yet\. Received: a folder, a pipe or a device"):
        write_bytes(path, b"new")
    assert path.lstat()[:6] == before[:6]
    assert {each.name for each in tmp_path.iterdir()} <= {"f", "pipe"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="streams have other names here")
def test_a_link_to_a_stream_such_as_dev_stdout_stays_one_though_a_file_is_behind_it(tmp_path):
    with (tmp_path / "behind").open("wb") as stream:
        (tmp_path / "f").symlink_to(f"/proc/self/fd/{stream.fileno()}")
        with pytest.raises(StorageError, match=r"f must be a plain file, or not exist yet\. Received: a folder, a pipe or a device"):
            write_bytes(tmp_path / "f", b"new")
    assert (tmp_path / "f").is_symlink()


@pytest.mark.parametrize("path", ["", ".", "..", "/", "/.", "a/.."])
def test_a_folder_by_any_name_is_not_written(path, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"must be a plain file, or not exist yet\. Received: a folder"):
        write_bytes(Path(path), b"new")


def _hold(folder, ready, release):
    with lock_folder(folder):
        ready.set()
        release.wait(300)


def test_a_folder_has_one_writer_and_a_dead_one_frees_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, release))
    holder.start()
    assert ready.wait(120)
    with pytest.raises(RunInUseError, match="another process"), lock_folder(tmp_path):
        pass
    holder.kill()
    holder.join()
    with lock_folder(tmp_path):
        pass
