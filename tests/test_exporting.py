"""The exported model computes what the networks compute, whatever their shape."""

from pathlib import Path

import numpy as np
import pytest

from stockrnn.config import ModelConfig
from stockrnn.errors import RunDamagedError, StockRNNError
from stockrnn.models import exporting
from stockrnn.models.cells import CELLS
from stockrnn.models.exporting import export_onnx
from stockrnn.models.heads import HEADS
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.runs.graphs import check_model
from stockrnn.runs.inference import open_session
from tests.test_architectures import SHAPES, name

pytestmark = pytest.mark.network


def network(seed=0, masked=False, **model):
    lookback = 1 if model.get("architecture") == "one_to_many" else 6
    settings = ModelConfig(**{"units": (4, 4), **model})
    net = build_network(features=2, lookback=lookback, horizon=3, model=settings, seed=seed, masked=masked)
    generator = np.random.default_rng(seed)
    trained = {key: generator.normal(scale=0.5, size=value.shape).astype("float32") for key, value in network_weights(net).items()}
    set_network_weights(net, trained)
    return net


def exported(networks):
    return export_onnx([net.spec for net in networks], [network_weights(net) for net in networks])


def run(data, x):
    session = open_session(data)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def windows(net, n=5):
    return np.random.default_rng(1).normal(size=(n, *net.input_shape[1:])).astype("float32")


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_every_shape_is_exported_as_it_is(shape):
    place = SHAPES.index(shape)
    chosen = {"cell": sorted(CELLS)[place % 3], "head": sorted(HEADS)[place % 4], "layer_norm": place % 2 == 0, "residual": place % 3 == 0}
    networks = [network(seed, **shape, **chosen) for seed in (0, 1)]
    data, x = exported(networks), windows(networks[0])
    np.testing.assert_allclose(run(data, x), np.stack([net(x).numpy() for net in networks], axis=1), rtol=2e-5, atol=2e-5)
    check_model(data, Path("model.onnx"), 6)


def test_a_masked_network_is_exported_with_its_mask():
    net = network(masked=True, cell="gru", bidirectional=True, head="point")
    x = windows(net)
    x[:, :2] = np.nan
    np.testing.assert_allclose(run(exported([net]), x)[:, 0], net(x), rtol=2e-5, atol=2e-5)


def test_weights_of_another_network_are_refused():
    one, other = network(), network(units=(4, 5))
    with pytest.raises(RunDamagedError):
        export_onnx([one.spec], [network_weights(other)])


def test_a_weight_that_the_export_lost_is_noticed(monkeypatch):
    plain = exporting._exported
    exporting._template.cache_clear()
    monkeypatch.setattr(exporting, "_exported", lambda net: plain(network()))
    with pytest.raises(StockRNNError, match="keep every weight"):
        exported([network()])
