"""Dropout at forecast time: a thinned network is the Keras network under those very masks, and its bytes repeat."""

import subprocess
import sys

import numpy as np
import pytest

from stockrnn.config import ModelConfig
from stockrnn.configfile import build_config
from stockrnn.errors import ConfigError
from stockrnn.models.backend import tf
from stockrnn.models.cells import CELLS, stock_layers
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.models.thinning import masks_of, thinned, thinned_members
from stockrnn.prices.loading import load_prices
from stockrnn.recipes import predict, train
from stockrnn.runs.inference import load_forecaster
from stockrnn.runs.vetting import check_weights
from stockrnn.training.recurrent import restore
from tests.test_architectures import SHAPES, name

pytestmark = pytest.mark.network
SHAPE = {"features": 3, "horizon": 2}


def network(**model):
    lookback = 1 if model.get("architecture") == "one_to_many" else 6
    settings = ModelConfig(**{"units": (4, 4), "head": "point", "dropout": 0.4, "recurrent_dropout": 0.3, **model})
    net = build_network(**SHAPE, lookback=lookback, model=settings, seed=1)
    generator = np.random.default_rng(0)  # biases too, as after training
    set_network_weights(net, {k: generator.normal(scale=0.6, size=v.shape).astype("float32") for k, v in network_weights(net).items()})
    return net


def windows(net, n=5):
    return np.random.default_rng(1).normal(size=(n, *net.input_shape[1:])).astype("float32")


def cells_of(net):
    """Every Keras cell by the name its weights begin with."""
    found = {}
    for layer in net.layers:
        if hasattr(layer, "cell"):
            found[layer.name] = layer.cell
        elif hasattr(layer, "forward_layer"):
            found |= {f"{layer.name}/forward_cell": layer.forward_layer.cell, f"{layer.name}/backward_cell": layer.backward_layer.cell}
        elif hasattr(layer, "cells"):
            found |= {f"{layer.name}/{cell.name}": cell for cell in layer.cells}
    return found


def under_masks(net, x, masks):
    """What the network says in training when these masks are the ones that Keras drew."""
    for place, cell in cells_of(net).items():
        for kernel, slot in (("kernel", "_dropout_mask"), ("recurrent_kernel", "_recurrent_dropout_mask")):
            if f"{place}/{kernel}" in masks:
                drawn = [tf.repeat(tf.constant(mask[None]), len(x), axis=0) for mask in masks[f"{place}/{kernel}"]]
                setattr(cell, slot, drawn if hasattr(cell, "dropout_mask_count") else drawn[0])
    return net(x, training=True).numpy()


@pytest.mark.parametrize("shares", [(0.4, 0.3), (0.4, 0.0), (0.0, 0.3)], ids=["both", "inputs", "states"])
@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_a_thinned_network_is_keras_own_under_those_masks(shape, shares):
    net = network(cell=sorted(CELLS)[SHAPES.index(shape) % 3], dropout=shares[0], recurrent_dropout=shares[1], **shape)
    x, weights = windows(net), network_weights(net)
    masks = masks_of(weights, net.spec.model, 0, 0, 0)
    drops = {kernel for kernel, share in zip(("kernel", "recurrent_kernel"), shares, strict=True) if share > 0}
    assert set(masks) == {f"{place}/{kernel}" for place in cells_of(net) for kernel in drops}  # every place where Keras drops
    wanted, plain = under_masks(net, x, masks), net(x).numpy()
    set_network_weights(net, thinned(weights, masks))
    np.testing.assert_allclose(net(x), wanted, rtol=0, atol=2e-6)
    assert np.abs(wanted - plain).max() > 1e-3


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_keras_stock_pass_agrees(cell):
    net = network(cell=cell)
    x, weights = windows(net), network_weights(net)
    masks = masks_of(weights, net.spec.model, 0, 0, 0)
    with stock_layers():
        wanted = under_masks(net, x, masks)
    set_network_weights(net, thinned(weights, masks))
    np.testing.assert_allclose(net(x), wanted, rtol=0, atol=2e-6)


def test_masks_repeat_and_differ_by_seed_member_sample_and_kernel():
    net = network(cell="gru", units=(30,))
    weights, model = network_weights(net), net.spec.model
    first = masks_of(weights, model, 0, 0, 0)
    again = masks_of(weights, model, 0, 0, 0)
    assert all(np.array_equal(first[kernel], again[kernel]) for kernel in first)
    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not np.array_equal(masks_of(weights, model, *other)["recurrent_1/recurrent_kernel"], first["recurrent_1/recurrent_kernel"])
    assert first["recurrent_1/recurrent_kernel"].shape == (3, 30)  # with recurrent dropout, Keras draws one a gate
    assert masks_of(weights, model.model_copy(update={"recurrent_dropout": 0.0}), 0, 0, 0)["recurrent_1/kernel"].shape == (1, 3)


def test_the_mean_of_many_samples_is_that_of_keras_own_draws():
    net = network(cell="gru", units=(6,))
    x, weights = windows(net, 3), network_weights(net)
    specs, samples = thinned_members([net.spec], [weights], 300, seed=0)
    assert specs == (net.spec,) * 300
    kernels = np.stack([each["recurrent_1/kernel"] for each in samples])
    np.testing.assert_allclose(kernels.mean(axis=0), weights["recurrent_1/kernel"], atol=0.25)
    ours = []
    for each in samples:
        set_network_weights(net, each)
        ours.append(net(x).numpy())
    set_network_weights(net, weights)
    theirs = net(np.repeat(x, 2000, axis=0), training=True).numpy().reshape(3, 2000, 2, 1)
    error = np.std(ours, axis=0) / np.sqrt(300) + theirs.std(axis=1) / np.sqrt(2000)
    np.testing.assert_array_less(np.abs(np.mean(ours, axis=0) - theirs.mean(axis=1)), 4 * error)


def test_without_samples_the_networks_are_themselves():
    net = network()
    weights = network_weights(net)
    assert thinned_members([net.spec], [weights], 0, seed=0) == ((net.spec,), (weights,))


# ---- a whole run

MC = {"cell": "gru", "units": [4], "dropout": 0.3, "recurrent_dropout": 0.2}
CONFIG = build_config(
    {"model": MC, "window": {"lookback": 5}, "train": {"epochs": 2, "batch_size": 128, "ensemble": 2, "mc_dropout": 3}}, "test"
)


@pytest.fixture(scope="module")
def run(no_pictures, tmp_path_factory):
    return train(CONFIG, tmp_path_factory.mktemp("mc") / "run").run


def test_the_run_holds_the_trained_weights_and_forecasts_with_samples(run):
    assert check_weights(run.read("weights.safetensors"), CONFIG, run.folder) == 1
    assert b"part0/member1/" in run.read("weights.safetensors")
    assert b"member2" not in run.read("weights.safetensors")
    keras = restore(run.config, run.json("scaler.json")["parts"], run.read("weights.safetensors"))
    prices = load_prices(CONFIG.data).table
    rows = np.arange(len(prices) - 30, len(prices))
    raw = keras.outputs(keras.fitted.pipeline.windows_at(prices, rows))
    assert raw.shape == (30, 6, 1, 19)
    assert (np.abs(np.diff(raw, axis=1)).max(axis=(0, 2, 3)) > 1e-4).all()
    theirs = keras.forecast(prices, rows).quantiles
    np.testing.assert_allclose(load_forecaster(run).forecast(prices, rows).quantiles, theirs, rtol=1e-5)
    assert run.manifest["onnx_difference"] < 1e-5


def test_the_forecast_is_made_without_tensorflow(run):
    code = f"""
import pathlib, sys
from stockrnn.recipes.prediction import predict
from stockrnn.runs.directory import open_run
predict(open_run(pathlib.Path({str(run.folder)!r})))
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_same_config_gives_the_same_bytes_and_without_samples_other_forecasts(run, tmp_path):
    again = train(CONFIG, tmp_path / "again").run
    for file in ("weights.safetensors", "scaler.json", "metrics.json", "forecasts.csv"):
        assert again.read(file) == run.read(file), file
    plain = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"mc_dropout": 0})})
    other = train(plain, tmp_path / "plain").run
    assert other.read("weights.safetensors") == run.read("weights.safetensors")
    assert other.read("forecasts.csv") != run.read("forecasts.csv")


@pytest.mark.slow
def test_as_many_samples_as_there_may_be_are_loaded_like_a_strangers(tmp_path):
    config = build_config({"model": {**MC, "units": [16, 16]}, "train": {"epochs": 1, "batch_size": 256, "mc_dropout": 64}}, "test")
    assert len(predict(train(config, tmp_path / "run").run).table) == 1


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"train": {"mc_dropout": 5}}, r"`model.dropout` or `model.recurrent_dropout` must be above 0"),
        ({"model": MC, "train": {"mc_dropout": 5, "ensemble": [{"dropout": 0.0, "recurrent_dropout": 0.0}, {}]}}, "in every network"),
        (
            {"model": MC, "train": {"mc_dropout": 33, "ensemble": 2}},
            r"`train.mc_dropout` must be at most 64 over all networks. Received: 33 in each of 2",
        ),
        ({"model": MC, "train": {"mc_dropout": 65}}, "mc_dropout"),
    ],
)
def test_samples_that_make_no_sense_are_refused_with_a_sentence(tree, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_config(tree, "test")
