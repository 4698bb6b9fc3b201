"""The state file: two generations, the newest whole one wins, another training's is refused."""

from pathlib import Path

import numpy as np
import pytest

from stockrnn.errors import RunDamagedError, StorageError
from stockrnn.training import checkpoint
from stockrnn.training.checkpoint import Checkpoint, TrainingState


def state(epoch):
    arrays = {"weights/a": np.full((2, 3), epoch, np.float32), "optimizer/0": np.array(epoch, np.int64), "best/a": np.zeros((0, 2))}
    return TrainingState(epoch, arrays, {"best_loss": 0.1 + epoch, "reports": [{"epoch": epoch}]})


def same(a, b):
    return a.epoch == b.epoch and a.facts == b.facts and all(np.array_equal(a.arrays[n], b.arrays[n]) for n in {*a.arrays, *b.arrays})


def files(folder):
    return sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)


def saved(folder, epochs):
    keeper = Checkpoint(folder / "state", every_s=0)
    for epoch in epochs:
        keeper.save(state(epoch), "job")
    return keeper


def test_what_was_saved_comes_back(tmp_path):
    saved(tmp_path, [1])
    assert same(Checkpoint(tmp_path / "state").load("job"), state(1))


def test_the_state_of_a_training_that_an_earlier_version_began_is_read():
    """Written by version 0.1.0; a format that was released keeps loading."""
    assert same(Checkpoint(Path(__file__).parent / "golden" / "state").load("job"), state(4))


def test_a_state_of_an_unknown_format_is_not_whole(tmp_path, monkeypatch):
    saved(tmp_path, [1])
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        (tmp_path / "later").mkdir()
        saved(tmp_path / "later", [2])
    assert Checkpoint(tmp_path / "later" / "state").load("job") is None
    assert Checkpoint(tmp_path / "state").load("job").epoch == 1


def test_parts_are_named_without_their_prefix():
    assert {name: array.shape for name, array in state(1).part("weights/").items()} == {"a": (2, 3)}
    assert state(1).part("nothing/") == {}


def test_nothing_saved_gives_nothing(tmp_path):
    assert Checkpoint(tmp_path / "state").load("job") is None


def test_the_newest_of_two_generations_wins(tmp_path):
    saved(tmp_path, [1, 2, 3, 4, 5])
    assert len(files(tmp_path)) == 2
    assert same(Checkpoint(tmp_path / "state").load("job"), state(5))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage"])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.97])
def test_a_damaged_newest_generation_falls_back_to_the_one_before(tmp_path, damage, place):
    saved(tmp_path, [1, 2])
    newest = next(f for f in files(tmp_path) if same(checkpoint._decode(f)[2], state(2)))
    data = bytearray(newest.read_bytes())
    at = int(place * len(data))
    if damage == "flip":
        data[at] ^= 1
    newest.write_bytes({"cut": data[:at], "flip": data, "empty": b"", "garbage": b"\xff" * len(data)}[damage])
    assert same(Checkpoint(tmp_path / "state").load("job"), state(1))


def test_two_damaged_generations_give_nothing(tmp_path):
    saved(tmp_path, [1, 2])
    for file in files(tmp_path):
        file.write_bytes(b"no")
    assert Checkpoint(tmp_path / "state").load("job") is None


def test_after_a_fall_back_the_damaged_one_is_overwritten_first(tmp_path):
    saved(tmp_path, [1, 2])
    newest = next(f for f in files(tmp_path) if checkpoint._decode(f)[2].epoch == 2)
    newest.write_bytes(b"no")
    keeper = Checkpoint(tmp_path / "state")
    keeper.load("job")
    keeper.save(state(9), "job")
    assert sorted(checkpoint._decode(f)[2].epoch for f in files(tmp_path)) == [1, 9]


def test_what_is_saved_after_going_on_is_the_newest(tmp_path):
    saved(tmp_path, [1, 2, 3])
    keeper = Checkpoint(tmp_path / "state", every_s=0)
    keeper.load("job")
    for epoch in (8, 9):
        keeper.save(state(epoch), "job")
        assert same(Checkpoint(tmp_path / "state").load("job"), state(epoch))


def test_the_state_of_another_training_is_refused(tmp_path):
    saved(tmp_path, [1])
    with pytest.raises(RunDamagedError, match="another"):
        Checkpoint(tmp_path / "state").load("other job")


def test_a_failed_write_leaves_the_generations_before(tmp_path, monkeypatch):
    keeper = saved(tmp_path, [1, 2])

    def full(path, data):
        raise StorageError(f"{path} must be writable. Received: No space left on device.")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(StorageError):
        keeper.save(state(3), "job")
    assert same(Checkpoint(tmp_path / "state").load("job"), state(2))


@pytest.mark.parametrize(("write_s", "wait_s"), [(0.01, 0.2), (0.5, 10.0), (9.0, 30.0)])
def test_writes_take_a_small_share_of_the_time_and_are_never_far_apart(tmp_path, monkeypatch, write_s, wait_s):
    now = [100.0]

    def write(path, data):
        now[0] += write_s

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "write_bytes", write)
    keeper = Checkpoint(tmp_path / "state")
    assert keeper.due()
    keeper.save(state(1), "job")
    now[0] += wait_s - 0.001
    assert not keeper.due()
    now[0] += 0.002
    assert keeper.due()


def test_a_write_may_be_wanted_after_each_epoch_however_short(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: 100.0)
    assert saved(tmp_path, [1]).due()


@pytest.mark.parametrize("what", ["dtype", "shape", "name"])
def test_an_array_that_means_something_else_is_not_whole(tmp_path, what):
    saved(tmp_path, [1, 2])
    newest = next(f for f in files(tmp_path) if checkpoint._decode(f)[2].epoch == 2)
    data = newest.read_bytes()
    old, new = {"dtype": (b'"F32"', b'"I32"'), "shape": (b"[2,3]", b"[3,2]"), "name": (b"weights/a", b"weights/b")}[what]
    assert old in data
    newest.write_bytes(data.replace(old, new))
    assert checkpoint._decode(newest) is None


@pytest.mark.parametrize("epochs", [[], [1], [1, 2]])
def test_remove_deletes_the_generations_that_there_are(tmp_path, epochs):
    saved(tmp_path, epochs).remove()
    assert files(tmp_path) == []


def test_a_generation_that_cannot_be_deleted_is_a_storage_error(tmp_path):
    (tmp_path / "state.1.safetensors").mkdir()
    with pytest.raises(StorageError, match=r"must be writable\. Received: Is a directory"):
        saved(tmp_path, [1]).remove()
