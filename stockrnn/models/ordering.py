"""An ONNX graph in the one form that its structure gives: Keras' export leaves the order of nodes and copies to chance.

What is the same network in two processes is then the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COPY = "Identity"


def put_in_order(graph: Any) -> None:
    """Change a graph, and those inside it, in place: only the numbers that name its tensors are still by chance.

    Nodes stand as the outputs need them, tensors as they are used first, and a copy is made only of what else would be two
    outputs, or an output that no node makes. What no output needs is left out.
    """
    for inner in (inner for node in graph.node for inner in inner_graphs(node)):
        put_in_order(inner)
    _leave_out_copies(graph)
    makers = {name: node for node in graph.node for name in node.output}
    places: dict[str, int] = {}
    ordered: dict[int, Any] = {}
    waiting = [(output.name, False) for output in reversed(graph.output)]
    while waiting:
        name, has_needs = waiting.pop()
        places.setdefault(name, len(places))
        node = makers.get(name)
        if node is not None and has_needs:
            ordered.setdefault(id(node), node)
        elif node is not None and id(node) not in ordered:
            waiting += [(name, True), *((each, False) for each in reversed([*_needs(node)]))]
    tensors = sorted((tensor for tensor in graph.initializer if tensor.name in places), key=lambda tensor: places[tensor.name])
    _put(graph.node, list(ordered.values()))
    _put(graph.initializer, tensors)
    _forget_remarks(graph)


def inner_graphs(node: Any) -> Iterator[Any]:
    """The graphs that a node holds, such as the body of a loop."""
    yield from (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _needs(node: Any) -> Iterator[str]:
    """The names of all that a node reads, in the graphs inside it too."""
    yield from node.input
    for inner in inner_graphs(node):
        for each in inner.node:
            yield from _needs(each)


def _leave_out_copies(graph: Any) -> None:
    """Let all read the originals of copies; an output is one, where it is made here and is not an output already."""
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == COPY}
    nodes = [node for node in graph.node if node.op_type != COPY]
    for node in nodes:
        _read_originals(node, sources)
    free = {name for node in nodes for name in node.output}
    for place, output in enumerate(graph.output):
        original = _original(output.name, sources)
        if original in free:
            free.remove(original)
            output.name = original
        else:
            output.name = f"{original}/copy_{place}"
            nodes.append(graph.node.add(op_type=COPY, input=[original], output=[output.name]))
    _put(graph.node, nodes)


def _read_originals(node: Any, sources: Mapping[str, str]) -> None:
    """Let a node, and those inside it, read what was copied in the place of copies."""
    node.input[:] = [_original(name, sources) for name in node.input]
    for inner in inner_graphs(node):
        for each in inner.node:
            _read_originals(each, sources)


def _original(name: str, sources: Mapping[str, str]) -> str:
    while name in sources:
        name = sources[name]
    return name


def _forget_remarks(graph: Any) -> None:
    """Forget what changes nothing and counts what the process exported before: remarks, and names of unknown sizes."""
    graph.ClearField("doc_string")
    del graph.value_info[:]
    for each in (*graph.input, *graph.output):
        for size in each.type.tensor_type.shape.dim:
            size.ClearField("dim_param")


def _put(place: Any, parts: Sequence[Any]) -> None:
    """Let a repeated field hold these parts of it."""
    kept = [type(part).FromString(part.SerializeToString()) for part in parts]
    del place[:]
    place.extend(kept)
