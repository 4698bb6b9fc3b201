"""Networks from the config: names, rebuilding, seeds, ONNX."""

import numpy as np
import pytest

from stockrnn.config import ModelConfig
from stockrnn.errors import RunDamagedError
from stockrnn.models.cells import CELLS
from stockrnn.models.exporting import export_onnx
from stockrnn.models.networks import build_network, network_weights, rest_network, set_network_weights
from stockrnn.models.outputs import resting_quantiles

pytestmark = pytest.mark.network
SHAPE = {"features": 3, "lookback": 6, "horizon": 2}


def network(seed=0, **model):
    return build_network(**SHAPE, model=ModelConfig(**{"units": (4, 5), **model}), seed=seed)


def windows(n=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, SHAPE["lookback"], SHAPE["features"])).astype("float32")


@pytest.mark.parametrize(("head", "params"), [("point", 1), ("quantile", 19)])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_network_goes_from_windows_to_the_heads_numbers(cell, head, params):
    assert network(cell=cell, head=head)(windows()).shape == (7, 2, params)


def test_weights_have_names_that_do_not_depend_on_what_was_built_before():
    names = ["recurrent_1/kernel", "recurrent_1/recurrent_kernel", "recurrent_1/bias", "recurrent_2/kernel"]
    names += ["recurrent_2/recurrent_kernel", "recurrent_2/bias", "head/kernel", "head/bias"]
    assert list(network_weights(network(cell="gru"))) == list(network_weights(network(cell="gru"))) == names


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (network_weights(network(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first if name.endswith("kernel"))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_config_and_weights_are_all_there_is(cell):
    model = {"cell": cell, "dropout": 0.2, "recurrent_dropout": 0.1}
    original, rebuilt = network(1, **model), network(2, **model)
    set_network_weights(rebuilt, network_weights(original))
    np.testing.assert_array_equal(rebuilt(windows()), original(windows()))


def test_every_unit_of_every_layer_is_there():
    weights = network_weights(network(cell="lstm", units=(4, 5, 6)))
    assert [weights[f"recurrent_{k}/recurrent_kernel"].shape for k in (1, 2, 3)] == [(4, 16), (5, 20), (6, 24)]


@pytest.mark.parametrize(
    "change",
    [lambda w: w.pop("head/bias"), lambda w: w.update(stranger=np.zeros(3)), lambda w: w.update({"head/bias": np.zeros(99)})],
)
def test_weights_of_another_network_are_refused_before_any_is_set(change):
    target = network()
    before, weights = network_weights(target), network_weights(network(1))
    change(weights)
    with pytest.raises(RunDamagedError):
        set_network_weights(target, weights)
    assert all(np.array_equal(value, before[name]) for name, value in network_weights(target).items())


@pytest.mark.parametrize(
    ("shape", "cells"),
    [
        ({}, ("recurrent_1", "recurrent_2")),
        ({"architecture": "many_to_many"}, ("recurrent_1", "recurrent_2")),
        ({"bidirectional": True, "units": (4,), "attention": "dot"}, ("recurrent_1/forward_cell", "recurrent_1/backward_cell")),
        ({"architecture": "encoder_decoder", "attention": "additive"}, ("recurrent_1", "recurrent_2", "decoder/cell_1", "decoder/cell_2")),
    ],
)
def test_penalties_are_those_of_the_kernels_alone(shape, cells):
    net = network(cell="gru", l1=0.1, l2=0.01, **shape)
    weights = network_weights(net)
    kernels = [weights[f"{cell}/{name}"] for cell in cells for name in ("kernel", "recurrent_kernel")]
    wanted = sum(0.1 * np.abs(k).sum() + 0.01 * np.square(k).sum() for k in kernels)
    np.testing.assert_allclose(float(sum(net.learning.model.losses)), wanted, rtol=1e-5)


@pytest.mark.parametrize("change", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"layer_norm": True}, {"residual": True}], ids=str)
@pytest.mark.parametrize("architecture", ["many_to_one", "many_to_many", "encoder_decoder", "one_to_many"])
def test_an_option_changes_what_is_said_in_training_and_dropout_nothing_else(architecture, change):
    plain, other = (network(architecture=architecture, units=(4, 4), cell="lstm", **options) for options in ({}, change))
    taught = [np.zeros((7, SHAPE["horizon"], 2), np.float32)] if plain.learning.taught else []
    drops = any("dropout" in name for name in change)
    for training, model in ((True, lambda net: net.learning.model), (False, lambda net: net)):
        inputs = [windows(), *(taught if training else [])]
        was, now = (model(net)(inputs if taught and training else inputs[0], training=training).numpy() for net in (plain, other))
        assert (np.abs(now - was).max(axis=0) > 1e-4).any() == (training or not drops)


TARGETS = np.random.default_rng(3).gamma(2.0, size=(500, 2))


@pytest.mark.parametrize("architecture", ["many_to_one", "many_to_many"])
def test_a_network_at_rest_says_the_quantiles_of_each_step_whatever_it_sees(architecture):
    net = network(architecture=architecture)
    rest_network(net, TARGETS)
    wanted = resting_quantiles(TARGETS)
    np.testing.assert_allclose(net(windows()).numpy(), np.broadcast_to(wanted, (7, 2, 19)), atol=1e-4)


@pytest.mark.parametrize(
    "model", [{"architecture": "encoder_decoder"}, {"head": "student_t"}, {"architecture": "encoder_decoder", "head": "student_t"}]
)
def test_a_network_at_rest_says_the_same_of_every_window(model):
    net = network(**model)
    rest_network(net, TARGETS)
    outputs = net(windows()).numpy()
    np.testing.assert_allclose(outputs, np.broadcast_to(outputs[:1, :1], outputs.shape), atol=1e-6)
    if "head" not in model:
        np.testing.assert_allclose(outputs[0, 0], resting_quantiles(TARGETS).mean(axis=0), atol=0.05)


def test_a_network_at_rest_still_learns_from_what_it_sees():
    net = network()
    rest_network(net, TARGETS)
    kernels = [name for name, weight in network_weights(net).items() if name.endswith("kernel") and weight.any()]
    assert "head/kernel" not in kernels
    assert len(kernels) == 4


@pytest.mark.slow
def test_the_onnx_model_of_unlike_members_shows_each_what_it_was_trained_on(capfd):
    import onnxruntime

    kinds = [("lstm", (4,), 6), ("gru", (3, 5), 2), ("simple_rnn", (2,), 6), ("gru", (3,), 1)]
    networks = [build_network(**SHAPE | {"lookback": n}, model=ModelConfig(cell=cell, units=units), seed=0) for cell, units, n in kinds]
    data = export_onnx([n.spec for n in networks], [network_weights(n) for n in networks])
    session, x = onnxruntime.InferenceSession(data), windows()
    got = session.run(None, {session.get_inputs()[0].name: x})[0]
    wanted = np.stack([n(x[:, -n.spec.lookback :]).numpy() for n in networks], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_the_onnx_model_gives_what_each_member_gives(cell, capfd):
    import onnxruntime

    model = ModelConfig(cell=cell, units=(4, 5), dropout=0.2, recurrent_dropout=0.2)
    networks = [build_network(**SHAPE, model=model, seed=seed) for seed in range(3)]
    data = export_onnx([n.spec for n in networks], [network_weights(n) for n in networks])
    session = onnxruntime.InferenceSession(data)
    for n in (1, 7):  # the batch is dynamic
        got = session.run(None, {session.get_inputs()[0].name: windows(n)})[0]
        wanted = np.stack([member(windows(n)).numpy() for member in networks], axis=1)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
        assert (np.diff(got, axis=-1) >= 0).all()
    assert capfd.readouterr() == ("", "")
