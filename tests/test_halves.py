"""Halves of a batch: one update is that of the whole batch, and two processes make the bytes of one, whatever happens to the second."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stockrnn.config import ModelConfig, TrainConfig
from stockrnn.configfile import load_config
from stockrnn.engines import ALONE
from stockrnn.errors import InterruptedRunError
from stockrnn.features.splits import split_time
from stockrnn.features.windows import Windows, window_ends, with_room
from stockrnn.models.backend import tf
from stockrnn.models.networks import build_network, network_weights
from stockrnn.prices.loading import load_prices
from stockrnn.storage import sha256
from stockrnn.training import loop, pairing, recurrent, sizes
from stockrnn.training.recurrent import RecurrentForecaster
from stockrnn.types import DATE
from stockrnn.workers import Local

LARGE = [
    "model.units=[64]",
    "window.lookback=60",
    "train.batch_size=128",
    "train.epochs=6",
    "train.early_stopping.patience=99",
    "train.ensemble=1",
]
"""Some 140 million multiply-adds an update, and five updates an epoch of the shipped file."""


def windows(rows=300, horizon=1, lookback=6):
    rng = np.random.default_rng(1)
    series, targets = with_room((rows, 3), 0.0), with_room((rows, horizon), 0.0)
    series[:], targets[:] = rng.normal(size=series.shape), rng.normal(size=targets.shape)
    ends = window_ends(np.ones(rows, bool), np.zeros(rows, int), lookback)[:-horizon]
    whole = Windows(series, targets, ends, lookback)
    return whole.pick(ends < 200), whole.pick(ends >= 210)


def trained(halved, monkeypatch, horizon=1, train=None, **model):
    """Weights and losses of a training with or without halves, from the same first weights."""
    monkeypatch.setattr(sizes, "LARGE", 0 if halved else 10**12)
    spec = ModelConfig(**{"units": (5,), "head": "point", **model})
    network = build_network(features=3, lookback=6, horizon=horizon, model=spec, seed=4)
    settings = TrainConfig(**{"epochs": 4, "batch_size": 16, "learning_rate": 0.01, **(train or {})})
    assert loop.is_shared(network.spec, settings) == halved
    history = loop.train_network(network, *windows(horizon=horizon), train_config=settings, head=spec.head, seed=3, member=0)
    return network_weights(network), [(r.loss, r.validation_loss, r.gradient_norm) for r in history.epochs]


@pytest.mark.parametrize(
    "case",
    [
        {"cell": "lstm"},
        pytest.param({"cell": "gru", "bidirectional": True, "layer_norm": True, "l2": 0.01, "l1": 0.001}, marks=pytest.mark.slow),
        {"cell": "simple_rnn", "train": {"optimizer": "adamw", "clip_value": 0.02, "schedule": "cosine"}},
        pytest.param(
            {
                "architecture": "encoder_decoder",
                "horizon": 3,
                "attention": "dot",
                "train": {"teacher_forcing": {"start": 1.0, "epochs": 10**6}},
            },
            marks=pytest.mark.slow,
        ),
        {"architecture": "many_to_many", "horizon": 2, "train": {"optimizer": "sgd", "clip_norm": None}},
    ],
    ids=lambda case: case.get("architecture", case.get("cell")),
)
def test_two_halves_make_the_update_of_the_whole_batch(case, monkeypatch):
    whole, losses = trained(False, monkeypatch, **case)
    halves, losses_of_halves = trained(True, monkeypatch, **case)
    np.testing.assert_allclose(losses_of_halves, losses, rtol=2e-3)
    for name, value in whole.items():
        np.testing.assert_allclose(halves[name], value, rtol=0, atol=2e-4)


def test_halves_drop_units_of_their_own_and_repeat(monkeypatch):
    dropping = {"dropout": 0.4, "recurrent_dropout": 0.3}
    first, losses = trained(True, monkeypatch, **dropping)
    again, losses_again = trained(True, monkeypatch, **dropping)
    plain, _ = trained(True, monkeypatch)
    assert losses == losses_again
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != plain[name]).any() for name in first)


@pytest.mark.parametrize(("dropout", "alike"), [(0.0, True), (0.5, False)])
def test_the_same_windows_in_both_halves_have_other_units_dropped(dropout, alike, monkeypatch):
    monkeypatch.setattr(sizes, "LARGE", 0)
    network = build_network(features=3, lookback=6, horizon=1, model=ModelConfig(units=(5,), head="point", dropout=dropout), seed=4)
    engine = loop._engine(network.spec, TrainConfig(batch_size=16), "point")
    train, validation = windows()
    engine.borrow(network, train, validation, (0, 0))
    engine.prepare(1)
    rows, weights = np.tile(train.ends[:8], (32, 2)).astype(np.int32), np.ones((32, 16), np.float32)
    lesson = *engine.train_data, tf.constant(rows), tf.constant(weights), tf.constant(1), tf.constant(0.0), tf.constant(0, tf.uint32)
    held, told = tf.zeros(engine.vector.size + 3), tf.zeros(2)
    first, second = (engine.halves.turns(held, told, tf.constant((turn, turn + 1, 0, 1)), *lesson)[0].numpy() for turn in (0, 1))
    engine.give_back()
    assert np.array_equal(first, second) == alike


def test_an_ensemble_a_small_network_and_an_odd_batch_are_not_halved():
    one = load_config("lstm", LARGE)
    assert sizes.trainers(one) == 2
    for change, processes in (("train.ensemble=3", 3), ("model.units=[8]", 1), ("train.batch_size=127", 1)):
        assert sizes.trainers(load_config("lstm", [*LARGE, change])) == processes


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", sorted(sizes.GATES))
def test_the_size_of_an_update_follows_from_the_networks_weights(cell, bidirectional):
    model = ModelConfig(cell=cell, units=(5, 3), bidirectional=bidirectional)
    weights = network_weights(build_network(features=4, lookback=6, horizon=1, model=model, seed=0))
    counted = sum(value.size for name, value in weights.items() if name.startswith("recurrent_") and name.endswith("kernel"))
    assert sizes._recurrent_weights(model, 4) == counted


def test_the_least_update_that_is_halved_counts_columns_and_indicators(monkeypatch):
    config = load_config("lstm", [*LARGE, "features.columns=[open,close]", "features.indicators=[range]"])
    least = 128 * 60 * 4 * 64 * (3 + 64)
    for size, processes in ((least, 2), (least + 1, 1)):
        monkeypatch.setattr(sizes, "LARGE", size)
        assert sizes.trainers(config) == processes


def fitted(engine, on_epoch=None, checkpoints=None):
    """The weights' digest of a large network trained on the shipped file."""
    config = load_config("lstm", LARGE)
    prices = load_prices(config.data).table
    spans = split_time(prices[DATE], config.split.validation, config.split.calibration, config.split.test)
    prices = prices[prices[DATE] <= spans.calibration_end].reset_index(drop=True)
    forecaster = RecurrentForecaster(config, on_epoch, checkpoints, engine=engine).fit(prices, spans)
    assert len(forecaster.fitted.histories[0].epochs) == 6
    return sha256(b"".join(value.tobytes() for value in forecaster.fitted.members[0].values()))


@pytest.fixture(scope="module")
def alone():
    return fitted(ALONE)


class Two:
    """A second process, and what the first sees of it: pairs made, rows that came from the other."""

    def __init__(self, monkeypatch, engine):
        self.engine, self.pairs, self.swaps = engine, [], []
        first, swap = pairing.Pair.first, pairing.Pair.swap

        def noted_first():
            self.pairs.append(first())
            return self.pairs[-1]

        def noted_swap(pair, own):
            self.swaps.append(swap(pair, own) is not None)
            return pair._sum if self.swaps[-1] else None

        monkeypatch.setattr(pairing.Pair, "first", noted_first)
        monkeypatch.setattr(pairing.Pair, "swap", noted_swap)
        monkeypatch.setattr(pairing, "PATIENCE_S", 300.0)  # a second process that only waits for a core has come to no harm

    def wait(self):
        until = time.monotonic() + 120
        while not self.pairs[-1].is_ready():
            assert time.monotonic() < until, self.engine.notes
            time.sleep(0.05)

    def worker(self):
        return next(iter(self.engine._pool._executor._processes))


@pytest.fixture
def two(monkeypatch):
    if not pairing.can_pair():
        pytest.skip("this system has no pairs")
    made = Two(monkeypatch, Local(2))
    yield made
    made.engine.close()


@pytest.fixture(scope="module")
def engine():
    made = Local(2)
    yield made
    made.close()


@pytest.fixture
def again(monkeypatch, engine):
    """As `two`, but its worker stays from test to test."""
    if not pairing.can_pair():
        pytest.skip("this system has no pairs")
    yield Two(monkeypatch, engine)
    assert not engine.notes


def test_two_processes_make_the_bytes_of_one(alone, two):
    waits = functools.lru_cache(lambda _: two.wait())
    assert fitted(two.engine, lambda report: waits(None)) == alone
    assert all(two.swaps)
    assert len(two.swaps) == 5 * (6 + 1)  # of five epochs after the first: six updates and the validation
    assert not two.engine.notes


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_a_second_process_that_dies_or_stands_still_changes_no_byte(harm, alone, two, monkeypatch):
    def on_epoch(report):
        if report.epoch == 1:
            two.wait()
        if report.epoch == 3:
            os.kill(two.worker(), harm)
            monkeypatch.setattr(pairing, "PATIENCE_S", 0.3)

    assert fitted(two.engine, on_epoch) == alone
    assert two.swaps.count(False) <= 1
    assert sum(two.swaps) >= 2 * 7
    os.kill(two.worker(), signal.SIGCONT) if harm == signal.SIGSTOP else None
    assert bool(two.engine.notes) == (harm == signal.SIGKILL)


def pairs_of(pid):
    """How many files a process holds that are a pair's memory."""
    found = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found += "memfd:stockrnn" in str(handle.readlink())
    return found


def test_trainings_one_after_the_other_share_one_worker_and_leave_no_file_open(alone, again):
    waits = functools.lru_cache(lambda number: again.wait())
    for number in range(2):
        assert fitted(again.engine, lambda report, number=number: waits(number)) == alone
        assert all(again.swaps)
        assert len(again.swaps) >= (number + 1) * 5 * 7  # a worker that has compiled is there from the first epoch on
        again.pairs.clear()
        until = time.monotonic() + 20
        while (pairs_of(os.getpid()), pairs_of(again.worker())) != (0, 0):
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize("call", ["ftruncate", "mmap"])
def test_where_the_system_refuses_the_memory_one_process_trains(call, alone, again, monkeypatch):
    def refuse(handle, size, *rest):
        if size > pairing._HEAD_BYTES:
            raise OSError(12, "Cannot allocate memory")
        return real(handle, size, *rest)

    owner = {"ftruncate": os, "mmap": pairing.mmap}[call]
    real = getattr(owner, call)
    monkeypatch.setattr(owner, call, refuse)
    assert fitted(again.engine) == alone
    assert len(again.pairs) == 1
    assert not again.swaps
    again.pairs.clear()
    assert pairs_of(os.getpid()) == 0


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), MemoryError()], ids=["system", "Python"])
def test_a_second_process_without_memory_says_that_one_trained_alone(error, monkeypatch):
    def refuse(address):
        raise error

    monkeypatch.setattr(pairing.Pair, "second", refuse)
    said = recurrent._train_beside((None, None), None, print)
    assert said == "No second process could help to train (Cannot allocate memory): one trained alone."


def test_a_worn_process_lends_no_worker_that_it_needs_itself(alone, two):
    two.engine._wear.full = True
    assert fitted(two.engine) == alone
    assert not two.swaps


def test_it_goes_on_after_an_interruption_to_the_same_bytes(alone, again, tmp_path):
    def stop(report):
        again.wait()
        if report.epoch == 3:
            raise InterruptedRunError("Stopped here.")

    with pytest.raises(InterruptedRunError):
        fitted(again.engine, stop, tmp_path / "state")
    assert fitted(ALONE, None, tmp_path / "state") == alone


def test_the_second_side_opens_no_other_file_under_the_number_of_a_closed_one(tmp_path):
    pair = pairing.Pair.first()
    if pair is None:
        pytest.skip("this system has no pairs")
    address, number = pair.address, int(Path(pair.address.path).name)
    with (tmp_path / "prices.csv").open("w+b") as file:
        file.write(b"kept")
        file.flush()
        pair.close()
        os.dup2(file.fileno(), number)
        with pytest.raises(pairing.PartedError):
            pairing.Pair.second(address)
        os.close(number)
        with pytest.raises(pairing.PartedError):
            pairing.Pair.second(address)
    assert (tmp_path / "prices.csv").read_bytes() == b"kept"


def test_a_pair_swaps_rows_in_turn_and_parts(two):
    first = pairing.Pair.first()
    second = pairing.Pair.second(first.address)
    for side in (first, second):
        side.share(3, 12)
    state = [np.array([1.5, -2.0], np.float32), np.array([7], np.int32)]
    with ThreadPoolExecutor(1) as other:
        epoch = other.submit(second.next_epoch)
        while not first.is_ready():
            time.sleep(0.001)
        first.begin(4, state)
        assert epoch.result() == 4
        assert [each.tolist() for each in second.state([np.zeros_like(each) for each in state])] == [[1.5, -2.0], [7]]
        for turn in range(5):
            theirs = other.submit(lambda k=turn: second.swap(np.array([k, 10, -0.5], np.float32)).tolist())
            assert first.swap(np.array([1, k := turn, 0.25], np.float32)).tolist() == [1 + k, 10 + k, -0.25] == theirs.result()
        parted = other.submit(second.next_epoch)
        first.close()
        with pytest.raises(pairing.PartedError):
            parted.result()
    second.close()
