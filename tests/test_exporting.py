"""The exported model computes what the networks compute, whatever their shape."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from stockrnn.config import ModelConfig
from stockrnn.errors import RunDamagedError, StockRNNError
from stockrnn.models import exporting
from stockrnn.models.cells import CELLS
from stockrnn.models.exporting import export_onnx
from stockrnn.models.heads import HEADS
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.models.ordering import inner_graphs, put_in_order
from stockrnn.runs.graphs import check_model
from stockrnn.runs.inference import open_session
from stockrnn.storage import sha256
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


LONG = {"bidirectional-none", "bidirectional-dot"}
"""Ends of the names of shapes that take long to export; those with another attention stand for them among the fast tests."""


@pytest.mark.parametrize(
    "shape", [pytest.param(each, marks=pytest.mark.slow) if name(each).partition("-")[2] in LONG else each for each in SHAPES], ids=name
)
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
    monkeypatch.setattr(exporting, "_kept", lambda _: plain(network()))
    with pytest.raises(StockRNNError, match="keep every weight"):
        exported([network()])


# ---- the same bytes from every process

SEVERAL = {
    "masked": {"masked": True, "cell": "gru", "bidirectional": True},
    "attention": {"architecture": "encoder_decoder", "attention": "additive"},
    "stack": {"cell": "lstm", "units": (4, 4, 4), "residual": True, "layer_norm": True},
    "masked decoder": {"masked": True, "cell": "simple_rnn", "architecture": "encoder_decoder", "attention": "dot", "bidirectional": True},
    "every timestep": {"architecture": "many_to_many", "cell": "gru", "head": "student_t"},
    "path": {"architecture": "one_to_many", "cell": "simple_rnn", "head": "direction"},
}


def digests():
    """The sha256 of each network's export."""
    return {name: sha256(exported([network(**shape), network(1, **shape)])) for name, shape in SEVERAL.items()}


@pytest.mark.slow
def test_networks_are_the_same_bytes_whichever_process_exports_them():
    code = "from tests.test_exporting import digests; print(digests())"
    said = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        for seed in ("1", "2")
    ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stdout.strip() == str(digests())


def shaken(graph, generator):
    """The same graph as another process may export it: another order, a copy in the place of what it copies, other remarks."""
    graph.doc_string = str(generator)
    for each in graph.input:
        for size in each.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param += "9"
    for inner in (inner for node in graph.node for inner in inner_graphs(node)):
        shaken(inner, generator)
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        outputs = [output.name for output in graph.output]
        if {node.input[0], node.output[0]} <= {*outputs}:
            swapped = {node.input[0]: node.output[0], node.output[0]: node.input[0]}
            for output in graph.output:
                output.name = swapped.get(output.name, output.name)
    for field in (graph.node, graph.initializer):
        parts = [type(part).FromString(part.SerializeToString()) for part in field]
        del field[:]
        field.extend(parts[place] for place in generator.permutation(len(parts)))


def test_the_order_of_an_exported_graph_is_that_of_its_structure():
    net = network(masked=True, cell="gru", bidirectional=True, units=(4,))
    model = onnx.load_from_string(exporting._exported(net))
    orders = []
    for seed in (None, 0, 1):
        graph = onnx.GraphProto.FromString(model.graph.SerializeToString())
        if seed is not None:
            shaken(graph, np.random.default_rng(seed))
        changed = graph.SerializeToString()
        put_in_order(graph)
        orders.append(graph.SerializeToString())
        assert orders[-1] != changed
    assert orders[0] == orders[1] == orders[2]
