"""The compiled epoch: the same updates as Keras', from one seed the same bytes, and the best weights at the end."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from stockrnn.config import EarlyStoppingConfig, ModelConfig, TeacherForcingConfig, TrainConfig
from stockrnn.errors import DivergedError, InterruptedRunError, RunDamagedError
from stockrnn.features.windows import Windows, with_room
from stockrnn.models.backend import keras
from stockrnn.models.cells import stock_layers
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.models.seeds import derive_seed
from stockrnn.training import engine, loop
from stockrnn.training.checkpoint import Checkpoint
from stockrnn.training.loop import predict_windows, train_network

pytestmark = pytest.mark.network
LOOKBACK, HORIZON = 5, 2
DROPPING = {"dropout": 0.3, "recurrent_dropout": 0.3}


def sine(rows=140, seed=0):
    """A damped sine with noise features, and its next two values."""
    wave = np.sin(np.arange(rows + HORIZON) / 3.0) * np.exp(-np.arange(rows + HORIZON) / 400)
    noise = np.random.default_rng(seed).normal(size=(rows, 1))
    series = np.concatenate([wave[:rows, None], noise], axis=1).astype("float32")
    targets = np.stack([wave[k : rows + k] for k in range(1, HORIZON + 1)], axis=1).astype("float32")
    return series, targets


def split(rows=140, last_train=100):
    series, targets = sine(rows)
    ends = np.arange(LOOKBACK - 1, rows - HORIZON)
    return (Windows(series, targets, ends[ends < last_train], LOOKBACK), Windows(series, targets, ends[ends >= last_train], LOOKBACK))


def network(seed=0, **model):
    return build_network(
        features=2, lookback=LOOKBACK, horizon=HORIZON, model=ModelConfig(**{"units": (6,), "head": "point", **model}), seed=seed
    )


def trained(net=None, data=None, member=0, seed=0, on_epoch=None, checkpoint=None, **config):
    """A network and its history after a short training."""
    net = net or network()
    settings = TrainConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.01, **config})
    train, validation = data or split()
    history = train_network(
        net,
        train,
        validation,
        train_config=settings,
        head=net.spec.model.head,
        seed=seed,
        member=member,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    return net, history


def digest(net):
    return hashlib.sha256(b"".join(value.tobytes() for value in network_weights(net).values())).hexdigest()


def curve(history):
    return [(r.loss, r.validation_loss, r.gradient_norm) for r in history.epochs]


def keras_training(weights, config, epochs):
    """Stock Keras, batch by batch in the same order: the last batch is a smaller one."""
    with stock_layers():
        net = network()
        set_network_weights(net, weights)
        net.compile(keras.optimizers.Adam(config.learning_rate, global_clipnorm=config.clip_norm), "mse", jit_compile=False)
        train, validation = split()
        losses = []
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng(derive_seed(0, "order", 0, epoch)).permutation(len(train))
            x, y = train.pick(order).tensors()
            done = net.fit(x, y[..., None], batch_size=config.batch_size, shuffle=False, verbose=0)
            losses.append((done.history["loss"][0], net.evaluate(*validation.tensors(), verbose=0)))
    return losses, network_weights(net)


def test_five_epochs_make_the_updates_of_stock_keras():
    net = network(3)
    config = TrainConfig(epochs=5, batch_size=16, learning_rate=0.01)
    wanted, weights = keras_training(network_weights(net), config, epochs=5)
    _, history = trained(net, epochs=5)
    np.testing.assert_allclose([(r.loss, r.validation_loss) for r in history.epochs], wanted, rtol=2e-4)
    assert history.restored_epoch == 5
    for name, value in network_weights(net).items():
        np.testing.assert_allclose(value, weights[name], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_curves_of_stock_and_compiled_layers_agree():
    _, compiled = trained(network(cell="gru", units=(5, 4)), epochs=5)
    with stock_layers():
        _, stock = trained(network(cell="gru", units=(5, 4)), epochs=5)
    np.testing.assert_allclose(curve(compiled), curve(stock), rtol=1e-3)


def test_what_a_process_did_before_changes_nothing():
    first, history = trained(network(**DROPPING))
    trained(network(5, **DROPPING), member=1, seed=9)
    again, history_again = trained(network(**DROPPING))
    assert digest(first) == digest(again)
    assert curve(history) == curve(history_again)


def test_members_differ_in_order_and_dropout_alone_if_they_start_alike():
    digests = {digest(trained(network(**DROPPING), member=member)[0]) for member in (0, 1)}
    assert len(digests) == 2


def test_members_and_folds_of_short_series_share_one_compilation():
    net = network()
    spec = engine.TrainingSpec(net.spec, "adam", "mse", 8, clip_norm=1.0)
    shared = engine.training_engine(spec)
    before = len(shared.compiled_epoch.ready)
    for member, rows in enumerate((130, 134, 250)):
        trained(net, split(rows, 90 + 30 * member), member=member, epochs=1, batch_size=8)
    assert engine.training_engine(spec) is shared
    assert len(shared.compiled_epoch.ready) <= before + 1


@pytest.mark.parametrize("halved", [False, True])
def test_compiling_before_the_first_update_updates_nothing(halved):
    data = split(134, 96)
    net = network(**DROPPING)
    shared = engine.training_engine(engine.TrainingSpec(net.spec, "adam", "mse", 8, clip_norm=1.0, halved=halved))
    shared.borrow(net, *data, (3, 0))
    states = [variable.numpy() for variable in (*shared.network.trainable_variables, *shared.optimizer.variables)]
    shared.compiled_shapes.clear()
    shared.prepare(1)
    for before, variable in zip(states, (*shared.network.trainable_variables, *shared.optimizer.variables), strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)
    shared.give_back()


def test_the_series_is_not_copied_to_be_resident():
    series = with_room((3000, 3), 1.0)
    tensor = engine.resident(series)
    series[7] = 5.0  # which nobody does, but to see whether it is the same memory
    assert tensor.shape == (engine.roomy(3000), 3)
    assert tensor.numpy()[7].tolist() == [5.0] * 3
    assert tensor.shape[0] > 3000
    assert not tensor.numpy()[3000:].any()


def test_batches_hold_every_window_once_and_the_rest_weighs_nothing():
    ends = np.arange(100, 147)
    batches = engine.in_batches(ends, 10)
    assert batches.rows[batches.weights == 1].tolist() == ends.tolist()
    assert batches.weights.sum() == 47
    assert batches.steps == 5
    assert set(batches.rows[batches.weights == 0]) <= set(ends)


def test_the_best_weights_are_put_back_and_training_stops():
    net, history = trained(network(1), epochs=60, learning_rate=0.3, early_stopping=EarlyStoppingConfig(patience=3))
    losses = [r.validation_loss for r in history.epochs]
    best = int(np.argmin(losses)) + 1
    assert history.best_epoch == history.restored_epoch == best
    assert len(losses) in (best + 3, 60)
    _, validation = split()
    x, y = validation.tensors()
    np.testing.assert_allclose(np.mean((net(x).numpy()[..., 0] - y) ** 2), min(losses), rtol=1e-4)


def test_the_last_weights_stay_where_they_are_asked_for():
    settings = {"learning_rate": 0.3, "early_stopping": EarlyStoppingConfig(patience=3), "restore": "last"}
    net, history = trained(network(1), epochs=60, **settings)
    last = len(history.epochs)
    assert history.best_epoch < history.restored_epoch == last
    assert curve(history) == curve(trained(network(1), epochs=60, **{**settings, "restore": "best"})[1])
    _, validation = split()
    x, y = validation.tensors()
    np.testing.assert_allclose(np.mean((net(x).numpy()[..., 0] - y) ** 2), history.epochs[-1].validation_loss, rtol=1e-4)


def test_an_improvement_smaller_than_min_delta_does_not_count():
    _, history = trained(epochs=9, early_stopping=EarlyStoppingConfig(patience=2, min_delta=1e9))
    assert history.best_epoch == 1
    assert len(history.epochs) == 3


def test_a_loss_that_is_not_finite_ends_in_one_sentence():
    with pytest.raises(DivergedError, match=r"epoch 1 .*train.learning_rate` \(1e\+30\), or set `train.clip_norm`, such as 1"):
        trained(learning_rate=1e30, clip_norm=None, optimizer="sgd")


@pytest.mark.slow
def test_clipping_bounds_the_step_of_plain_descent():
    train, validation = split()
    before = network_weights(network(2))
    net, history = trained(network(2), (train.pick(np.arange(8)), validation), epochs=1, optimizer="sgd", clip_norm=1e-3, learning_rate=1.0)
    moved = np.sqrt(sum(np.square(value - before[name]).sum() for name, value in network_weights(net).items()))
    assert history.epochs[0].gradient_norm > 1e-2
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", sorted(engine.OPTIMIZERS))
def test_every_optimizer_learns(optimizer):
    _, history = trained(epochs=4, optimizer=optimizer, learning_rate=0.05 if optimizer == "sgd" else 0.01)
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_penalties_are_learned_from_and_not_scored():
    plain, penalised = trained(epochs=1)[1].epochs[0], trained(network(l2=0.1), epochs=1)[1].epochs[0]
    assert penalised.loss > plain.loss + 0.1
    assert penalised.validation_loss < penalised.loss - 0.1


def interrupt_after(epochs):
    def on_epoch(report):
        if report.epoch == epochs:
            raise InterruptedRunError("Interrupted.")

    return on_epoch


@pytest.mark.parametrize("when", [1, 3])
def test_a_resumed_training_ends_in_the_bytes_of_an_uninterrupted_one(tmp_path, when):
    whole, history = trained(network(**DROPPING), epochs=5)
    with pytest.raises(InterruptedRunError):
        trained(network(**DROPPING), epochs=5, on_epoch=interrupt_after(when), checkpoint=Checkpoint(tmp_path / "state"))
    seen = []
    resumed, again = trained(network(**DROPPING), epochs=5, on_epoch=seen.append, checkpoint=Checkpoint(tmp_path / "state"))
    assert [report.epoch for report in seen] == list(range(when + 1, 6))
    assert digest(resumed) == digest(whole)
    assert curve(again) == curve(history)
    assert (again.best_epoch, again.restored_epoch) == (history.best_epoch, history.restored_epoch)


@pytest.mark.parametrize("rule", ["adam", "rmsprop"])
def test_a_training_that_version_0_1_0_began_goes_on(tmp_path, rule):
    """Its optimizer saw each weight apart: Keras then keeps, weight by weight, each of its vectors."""
    whole, _ = trained(epochs=5, optimizer=rule)
    new, old = Checkpoint(tmp_path / "new"), Checkpoint(tmp_path / "old")
    with pytest.raises(InterruptedRunError):
        trained(epochs=5, optimizer=rule, on_epoch=interrupt_after(2), checkpoint=new)
    with safe_open(tmp_path / "new.0.safetensors", framework="numpy") as file:
        job = json.loads(file.metadata()["facts"])["job"]
    state, weights, apart = new.load(job), network().trainable_variables, engine.OPTIMIZERS[rule]()
    apart.build(weights)
    first, step, *vectors = state.part("optimizer/").values()
    cut = [np.split(vector, np.cumsum([weight.value.numpy().size for weight in weights])[:-1]) for vector in vectors]
    shaped = [part.reshape(weight.shape) for parts, weight in zip(zip(*cut, strict=True), weights, strict=True) for part in parts]
    assert [each.shape for each in shaped] == [variable.shape for variable in apart.variables[2:]]
    kept = {f"optimizer/{number:04d}": array for number, array in enumerate([first, step, *shaped])}
    old.save(replace(state, arrays={name: each for name, each in state.arrays.items() if "optimizer" not in name} | kept), job)
    assert digest(trained(epochs=5, optimizer=rule, checkpoint=Checkpoint(tmp_path / "old"))[0]) == digest(whole)


def test_a_finished_training_is_not_repeated(tmp_path):
    whole, history = trained(checkpoint=Checkpoint(tmp_path / "state"))
    resumed, again = trained(
        on_epoch=lambda report: pytest.fail(f"epoch {report.epoch} ran again"), checkpoint=Checkpoint(tmp_path / "state")
    )
    assert digest(resumed) == digest(whole)
    assert again == history


@pytest.mark.parametrize("change", [{"learning_rate": 0.02}, {"seed": 1}, {"member": 1}, {"net": "other"}, {"data": "other"}])
def test_the_state_of_another_training_is_not_gone_on_from(tmp_path, change):
    trained(epochs=1, checkpoint=Checkpoint(tmp_path / "state"))
    change = {**change, **({"net": network(7)} if "net" in change else {}), **({"data": split(139)} if "data" in change else {})}
    with pytest.raises(RunDamagedError, match="another"):
        trained(**{"epochs": 1, **change}, checkpoint=Checkpoint(tmp_path / "state"))


def test_each_epoch_is_told_as_it_ends():
    seen = []
    _, history = trained(on_epoch=seen.append, member=2)
    assert tuple(replace(report, last=False) for report in seen) == history.epochs
    assert [(r.member, r.epoch, r.last) for r in seen] == [(2, 1, False), (2, 2, False), (2, 3, True)]
    assert all(r.seconds > 0 and r.learning_rate == pytest.approx(0.01) for r in seen)


@pytest.mark.parametrize(("n", "batch"), [(1, 4), (4, 4), (9, 4), (0, 4)])
def test_forecasts_are_those_of_the_network_in_order(n, batch):
    windows = split()[0].pick(np.random.default_rng(0).permutation(50)[:n])
    net = network(4, head="quantile")
    got = predict_windows(net, windows, batch)
    assert got.shape == (n, HORIZON, 19)
    if n:
        np.testing.assert_allclose(got, net(windows.tensors()[0]), rtol=0, atol=1e-6)


def test_a_forecast_does_not_depend_on_the_rows_after_its_cutoff():
    train, _ = split()
    net = network(4)
    garbage = Windows(train.series.copy(), train.targets, train.ends, LOOKBACK)
    garbage.series[train.ends[10] + 1 :] = 1e6
    np.testing.assert_array_equal(predict_windows(net, train.pick(np.arange(11))), predict_windows(net, garbage.pick(np.arange(11))))


def test_seeds_of_different_purposes_do_not_meet():
    purposes = itertools.product((0, 1, 11), ("order", "dropout", "order/1"), (0, 1, 11), ("1", 11))
    seeds = [derive_seed(*purpose) for purpose in purposes]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, "order", 0, 1) == 4267980040  # a new number here is a change of every result


PROGRAM = """
import sys; sys.path.insert(0, {folder!r})
import test_loop as t
print(t.digest(t.trained(t.network(cell="lstm", dropout=0.2, units=(16, 16)), epochs=2, batch_size=32)[0]))
"""


@pytest.mark.slow
def test_fresh_processes_with_one_or_two_threads_give_the_same_bytes():
    program = PROGRAM.format(folder=str(Path(__file__).parent))
    results = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
        assert done.stderr == ""
        results.append(done.stdout)
    assert results[0] == results[1]


def test_a_training_lets_go_of_its_data_even_after_a_fault():
    with pytest.raises(DivergedError):
        trained(learning_rate=1e30, clip_norm=None, optimizer="sgd")
    assert not hasattr(engine.training_engine(engine.TrainingSpec(network().spec, "sgd", "mse", 16)), "train_data")


def rates(count, losses=(), **config):
    return [loop.learning_rate(TrainConfig(learning_rate=0.1, **config), epoch, list(losses)[: epoch - 1]) for epoch in range(1, count + 1)]


def test_the_step_size_follows_its_schedule():
    assert rates(3) == [0.1, 0.1, 0.1]
    np.testing.assert_allclose(rates(5, schedule="cosine", epochs=5), 0.05 * (1 + np.cos(np.pi * np.arange(5) / 5)))
    np.testing.assert_allclose(rates(4, warmup=2, epochs=4), [0.05, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(rates(4, warmup=2, schedule="cosine", epochs=4), [0.05, 0.1, 0.1, 0.05])


def test_a_plateau_halves_the_step_size_after_five_epochs_without_improvement():
    losses = [3, 2, *[2] * 5, 1, *[1] * 10]
    wanted = [0.1] * 7 + [0.05] * 6 + [0.025] * 5 + [0.0125]
    np.testing.assert_allclose(rates(19, losses, schedule="plateau"), wanted)


def test_training_uses_the_step_size_of_its_schedule():
    _, history = trained(epochs=4, schedule="cosine", warmup=1)
    np.testing.assert_allclose([r.learning_rate for r in history.epochs], [0.01, 0.01, 0.0075, 0.0025], rtol=1e-6)


def test_the_share_of_actuals_falls_in_a_straight_line():
    config = TeacherForcingConfig(start=0.8, epochs=4)
    np.testing.assert_allclose([loop.teaching_share(config, epoch) for epoch in range(1, 7)], [0.8, 0.6, 0.4, 0.2, 0, 0])


@pytest.mark.slow
def test_clipping_by_value_bounds_every_entry_of_the_step():
    train, validation = split()
    before = network_weights(network(2))
    small = (train.pick(np.arange(8)), validation)
    net, _ = trained(network(2), small, epochs=1, optimizer="sgd", clip_norm=None, clip_value=1e-3, learning_rate=1.0)
    moved = np.concatenate([np.abs(value - before[name]).ravel() for name, value in network_weights(net).items()])
    np.testing.assert_allclose(moved.max(), 1e-3, rtol=1e-3)


def test_the_module_offers_what_the_forecaster_uses():
    assert set(loop.__all__) == {"EpochReport", "History", "is_shared", "predict_windows", "train_beside", "train_network"}
