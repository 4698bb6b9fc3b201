"""An ensemble → one ONNX model, which computes without TensorFlow what its networks compute.

Keras takes about a second to export a network, and far more to export many at once. So each shape is exported once, with a
mark in the place of every weight; the networks are then copies of that graph with their own weights, side by side.
Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stockrnn.errors import StockRNNError
from stockrnn.models.backend import CODE_MARK, PROGRAMS, quiet_descriptor
from stockrnn.models.cells import stock_layers
from stockrnn.models.networks import NetworkSpec, build_network, call_network, network_weights, set_network_weights, shared_network
from stockrnn.models.ordering import inner_graphs, put_in_order

FIRST_MARK = 0x71000000
"""The bits of the first mark as a float32: from 6e29 on, where no number of ours lies, there are 200 million."""
INPUT, OUTPUT = "window", "members"


def export_onnx(specs: Sequence[NetworkSpec], members: Sequence[Mapping[str, np.ndarray]]) -> bytes:
    """One ONNX model of the whole ensemble: window (batch, lookback, features) → (batch, members, horizon, parameters).

    Its other inputs are those of the networks.

    Args:
        specs: each network's; the window has the longest lookback, of which each sees the end.
        members: each network's weights.

    Raises:
        RunDamagedError: weights that do not fit the network.
    """
    import onnx
    from onnx import TensorProto, helper

    templates = {spec: _template(spec) for spec in dict.fromkeys(specs)}
    longest = max(spec.lookback for spec in specs)
    window = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", longest, specs[0].features])
    beside = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in specs[0].beside.items()]
    graph = onnx.GraphProto(name="ensemble", input=[window, *beside])
    one = onnx.numpy_helper.from_array(np.array([1]), "one")
    graph.initializer.append(one)
    for lookback in sorted({spec.lookback for spec in specs} - {longest}):
        bounds = {f"from_{lookback}": longest - lookback, f"to_{lookback}": longest}
        graph.initializer.extend(onnx.numpy_helper.from_array(np.array([value]), name) for name, value in bounds.items())
        graph.node.append(helper.make_node("Slice", [INPUT, *bounds, "one"], [f"{INPUT}_{lookback}"]))
    for number, (spec, weights) in enumerate(zip(specs, members, strict=True), start=1):
        seen = INPUT if spec.lookback == longest else f"{INPUT}_{spec.lookback}"
        graph.MergeFrom(templates[spec].member(weights, f"member_{number}", seen))
    names = [f"member_{number}" for number in range(1, len(specs) + 1)]
    graph.node.extend(helper.make_node("Unsqueeze", [name, "one"], [f"{name}_apart"]) for name in names)
    graph.node.append(helper.make_node("Concat", [f"{name}_apart" for name in names], [OUTPUT], axis=1))
    shape = ["batch", len(specs), *templates[specs[0]].steps]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    first = templates[specs[0]].model
    return bytes(onnx.ModelProto(ir_version=first.ir_version, opset_import=first.opset_import, graph=graph).SerializeToString())


@dataclass(frozen=True)
class _Template:
    """The exported model of a spec.

    Attributes:
        network: what was exported, whose weights are replaced.
        model: ONNX's own object, with numbers for names.
        places: for each tensor that holds weights, the place of each entry in the network's flat weights, -1 for a constant.
        steps: horizon and parameters of the output.
    """

    network: Any
    model: Any
    places: dict[str, np.ndarray]
    steps: tuple[int, int]

    def member(self, weights: Mapping[str, np.ndarray], name: str, seen: str) -> Any:
        """The nodes and tensors of a network with these weights: from the tensor `seen` to the tensor `name`."""
        import onnx

        set_network_weights(self.network, weights)
        flat = np.concatenate([weight.reshape(-1) for weight in network_weights(self.network).values()])
        graph = onnx.GraphProto()
        graph.node.extend(self.model.graph.node)
        for tensor in self.model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if tensor.name in self.places:
                places = self.places[tensor.name]
                values = np.where(places >= 0, flat[places], values)
            graph.initializer.append(onnx.numpy_helper.from_array(values, tensor.name))
        given = zip(self.model.graph.input, (seen, *self.network.spec.beside), strict=True)
        _rename(graph, {**{each.name: outer for each, outer in given}, self.model.graph.output[0].name: name}, f"{name}/")
        return graph


@functools.lru_cache(maxsize=32)  # tickers with networks of their own share a shape
def _template(spec: NetworkSpec) -> _Template:
    """Export a network whose weights are marks, and look where they went. Raises StockRNNError where one is not found."""
    import onnx

    network = shared_network(spec)
    weights = network_weights(network)
    ends = np.cumsum([weight.size for weight in weights.values()])
    marks = np.arange(FIRST_MARK, FIRST_MARK + ends[-1], dtype=np.int32).view(np.float32)
    pieces = zip(weights.items(), np.split(marks, ends[:-1]), strict=True)
    set_network_weights(network, {name: piece.reshape(weight.shape) for (name, weight), piece in pieces})
    model = onnx.load_from_string(_kept(network))
    put_in_order(model.graph)
    _rename(model.graph, {}, "", itertools.count())
    places: dict[str, np.ndarray] = {}
    found = np.zeros(ends[-1], bool)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            at = np.ascontiguousarray(values).view(np.int32).astype(np.int64) - FIRST_MARK
            at = np.where((at >= 0) & (at < ends[-1]), at, -1)
            found[at[at >= 0]] = True
            places |= {tensor.name: at} if (at >= 0).any() else {}
    if not found.all():
        lost = int(np.count_nonzero(~found))
        raise StockRNNError(
            f"The export must keep every weight. Received: {lost} of {ends[-1]} lost. This is a bug: please report the config."
        )
    return _Template(network, model, places, network.output_shape[1:])


def _rename(graph: Any, known: dict[str, str], prefix: str, numbers: Iterator[int] | None = None) -> None:
    """Give every name of a graph and of the graphs inside it a prefix, or a number; `known` names get what stands there."""

    def named(name: str) -> str:
        if name and name not in known:
            known[name] = f"t{next(numbers)}" if numbers is not None else prefix + name
        return known.get(name, "")

    graph.name = graph.name and "graph"
    for place in (*graph.input, *graph.initializer):
        place.name = named(place.name)
    for node in graph.node:
        node.name = ""
        for inner in inner_graphs(node):
            _rename(inner, known, prefix, numbers)
        node.input[:] = [named(name) for name in node.input]
        node.output[:] = [named(name) for name in node.output]
    for place in graph.output:
        place.name = named(place.name)


def _kept(network: Any) -> bytes:
    """A network by Keras' own export, as an earlier process kept it where one did."""
    if PROGRAMS is None:
        return _exported(network)
    return PROGRAMS.graph(f"exported {CODE_MARK} {network.spec!r}", functools.partial(_exported, network))


def _exported(network: Any) -> bytes:
    """A network by Keras' own export."""
    with stock_layers(), _silence(), tempfile.TemporaryDirectory() as folder:
        copy = build_network(**vars(network.spec), seed=0)  # traced here, with the layers that Keras can export
        set_network_weights(copy, network_weights(network))
        call_network(copy, [np.zeros((1, *each.shape[1:]), np.float32) for each in copy.inputs])  # Keras exports only what was called
        path = Path(folder) / "model.onnx"
        copy.export(path, format="onnx", verbose=False)
        return path.read_bytes()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep tf2onnx's log lines, its deprecation warnings and C++'s messages off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), quiet_descriptor():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
