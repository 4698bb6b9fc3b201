"""What an exported model may hold, read from its bytes before ONNX Runtime sees them.

Only the operations that our own networks are exported to, no other domain, no functions, no data outside of the file, numbers
that are finite and fill their shapes, and loops of a known length. The format is protocol buffers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stockrnn.runs.vetting import hold

_EXPORTED = (
    "Abs Add And Cast Clip Concat Constant ConstantOfShape CumSum Div Equal Erf Exp Expand Flatten GRU Gather GatherND Gemm "
    "GlobalAveragePool Greater GreaterOrEqual Identity IsNaN LSTM Less LessOrEqual Log Loop MatMul Max Min Mul Neg Not Or Pow RNN "
    "Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape ReverseSequence Shape Sigmoid Sign Slice "
    "Softmax Softplus Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where"
)
OPERATIONS = frozenset(_EXPORTED.split())
DOMAINS = frozenset({b"", b"ai.onnx", b"ai.onnx.ml"})
NUMBERS = {1: "<f4", 6: "<i4", 7: "<i8", 9: "|b1", 11: "<f8"}
"""The element types of tensors, by their number in the format."""

# The fields read or known to be harmless, by the format's names; any other one is refused, such as functions and data outside of the file.
_MODEL = {
    1: "ir_version",
    2: "producer_name",
    3: "producer_version",
    4: "domain",
    5: "model_version",
    6: "doc_string",
    7: "graph",
    8: "opset_import",
    14: "metadata_props",
}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 10: "doc_string", 11: "input", 12: "output", 13: "value_info"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 6: "doc_string", 7: "domain"}
_ATTRIBUTE = {
    1: "name",
    2: "f",
    3: "i",
    4: "s",
    5: "t",
    6: "g",
    7: "floats",
    8: "ints",
    9: "strings",
    13: "doc_string",
    20: "type",
}
_TENSOR = {
    1: "dims",
    2: "data_type",
    4: "float_data",
    5: "int32_data",
    7: "int64_data",
    8: "name",
    9: "raw_data",
    12: "doc_string",
}
_FEW = 64


@dataclass
class _Found:
    """What a walk has met: whole numbers among the outer tensors, and the loops with the names of their lengths."""

    scalars: dict[bytes, int] = field(default_factory=dict)
    lengths: list[bytes] = field(default_factory=list)


def check_model(data: bytes, origin: Path, longest: int) -> None:
    """Check the bytes of an exported model. Raises RunDamagedError.

    Args:
        data: an ONNX file.
        origin: its name.
        longest: most repetitions of a loop.
    """
    found = _Found()
    graphs = 0
    for name, value in _fields(data, _MODEL, origin):
        if name == "graph":
            graphs += 1
            _check_graph(_bytes(value, origin), found, origin, depth=0)
        elif name == "opset_import":
            domains = [part for number, part in _wire(_bytes(value, origin), origin) if number == 1]
            hold(set(domains) <= DOMAINS, origin, "use the standard operations", domains)
    hold(graphs == 1, origin, "hold one graph", graphs)
    for length in found.lengths:
        times = found.scalars.get(length, -1)
        hold(0 <= times <= longest, origin, f"repeat a loop at most {longest} times", times)


def _check_graph(data: bytes, found: _Found, origin: Path, depth: int) -> None:
    for name, value in _fields(data, _GRAPH, origin):
        if name == "node":
            _check_node(_bytes(value, origin), found, origin, depth)
        elif name == "initializer":
            _check_tensor(_bytes(value, origin), found if depth == 0 else _Found(), origin)


def _check_node(data: bytes, found: _Found, origin: Path, depth: int) -> None:
    inputs, operation, domain = [], b"", b""
    for name, value in _fields(data, _NODE, origin):
        if name == "input":
            inputs.append(_bytes(value, origin))
        elif name == "op_type":
            operation = _bytes(value, origin)
        elif name == "domain":
            domain = _bytes(value, origin)
        elif name == "attribute":
            _check_attribute(_bytes(value, origin), found, origin, depth)
    hold(operation.decode("ascii", "replace") in OPERATIONS and domain in DOMAINS, origin, "use the operations of our networks", operation)
    if operation == b"Loop":
        hold(depth == 0, origin, "hold no loop in a loop", "one")
        hold(inputs[:1] not in ([], [b""]), origin, "tell the length of each loop", "none")
        found.lengths.append(inputs[0])


def _check_attribute(data: bytes, found: _Found, origin: Path, depth: int) -> None:
    for name, value in _fields(data, _ATTRIBUTE, origin):
        if name == "t":
            _check_tensor(_bytes(value, origin), _Found(), origin)
        elif name == "g":
            hold(depth == 0, origin, "hold no graph in a graph in a graph", "one")
            _check_graph(_bytes(value, origin), found, origin, depth + 1)


def _check_tensor(data: bytes, found: _Found, origin: Path) -> None:
    dims: list[int] = []
    kind, label, raw, listed = 0, b"", None, 0
    for name, value in _fields(data, _TENSOR, origin):
        if name == "dims":
            dims += [value] if isinstance(value, int) else list(_varints(value, origin))
        elif name == "data_type":
            kind = value if isinstance(value, int) else 0
        elif name == "name":
            label = _bytes(value, origin)
        elif name == "raw_data":
            raw = _bytes(value, origin)
        elif name in {"float_data", "int32_data", "int64_data"}:
            listed += 8 if isinstance(value, int) else len(value)
    hold(kind in NUMBERS, origin, "hold tensors of numbers", f"type {kind}")
    size = math.prod(dims)
    if raw is None:
        hold(size <= _FEW and listed <= 10 * _FEW, origin, "hold the numbers of each tensor", f"shape {dims[:4]}")
        return
    numbers = np.dtype(NUMBERS[kind])
    hold(
        listed == 0 and size * numbers.itemsize == len(raw),
        origin,
        "hold tensors that fill their shapes",
        f"{dims[:4]} in {len(raw)} bytes",
    )
    values = np.frombuffer(raw, numbers)
    hold(bool(np.isfinite(values).all()), origin, "hold finite numbers", "others")
    if size == 1 and kind in (6, 7):
        hold(label not in found.scalars, origin, "name each tensor once", label)
        found.scalars[label] = int(values[0])


def _fields(data: bytes, known: dict[int, str], origin: Path) -> Iterator[tuple[str, int | bytes]]:
    for number, value in _wire(data, origin):
        hold(number in known, origin, f"hold what our exports hold ({', '.join(known.values())})", f"field {number}")
        yield known[number], value


def _wire(data: bytes, origin: Path) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value: a whole number, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at, origin)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at, origin)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind, -1)
        if kind == 2:
            size, at = _varint(data, at, origin)
        hold(0 <= size <= len(data) - at, origin, "be an ONNX file", f"a field of {size} bytes")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int, origin: Path) -> tuple[int, int]:
    """A whole number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        hold(at < len(data), origin, "be an ONNX file", "one cut short")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    hold(False, origin, "be an ONNX file", "a number without an end")
    raise AssertionError


def _varints(data: bytes, origin: Path) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at, origin)
        yield value


def _bytes(value: int | bytes, origin: Path) -> bytes:
    hold(isinstance(value, bytes), origin, "be an ONNX file", "a number for a text")
    return value if isinstance(value, bytes) else b""
