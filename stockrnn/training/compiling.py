"""A function of tensors as one XLA program, traced and compiled once for its shapes on this machine."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stockrnn.models.backend import CODE_MARK, HAS_GPU, PROGRAMS, tf
from stockrnn.models.programs import Programs
from stockrnn.storage import sha256

_CALLED_BY_DEFINITION = {"2.21.0"}
"""Versions of TensorFlow in which calling a function by its definition, which is not public, was seen to work."""
_KEPT = None if HAS_GPU or tf.__version__ not in _CALLED_BY_DEFINITION else PROGRAMS
_definitions: dict[str, bytes] = {}
"""The definitions that this process has registered by name: none may change under its name."""


class Program:
    """A function as one XLA program for each shape; on a GPU a graph, whose layers are cuDNN's. Its loops are `tf.while_loop`s already.

    Where programs are kept, so are the functions that TensorFlow traced: an epoch takes half a second to trace, and 10 ms to read back.

    Attributes:
        ready: the compiled function, by the shapes of its arguments.
    """

    def __init__(self, function: Callable[..., Any], key: Any, variables: Callable[[], Sequence[Any]] = tuple) -> None:
        """Store; nothing is compiled before the first call.

        Args:
            function: takes tensors and gives some, in dictionaries or lists; changes only variables, and those to the same values when
                called again.
            key: what tells it from other functions of this code, printed.
            variables: gives all Keras variables that it reads or changes, in an order that the key fixes.
        """
        self._python, self._variables = function, variables
        self.key = f"{function.__name__} {key!r}"
        self.ready: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Call it, compiled for these shapes; looking these up in TensorFlow's way would take 0.2 ms more."""
        shapes = tuple((tuple(each.shape), each.dtype) for each in tf.nest.flatten(arguments))
        if shapes in self.ready:
            return self.ready[shapes](*arguments)

        def traced() -> Any:
            self.ready[shapes] = self._trace(arguments)
            return self.ready[shapes](*arguments)

        return traced() if _KEPT is None else self._first_call(_KEPT, shapes, arguments, traced)

    def _trace(self, arguments: tuple[Any, ...]) -> Any:
        return tf.function(self._python, autograph=False, jit_compile=not HAS_GPU).get_concrete_function(*arguments)

    def _first_call(self, programs: Programs, shapes: Any, arguments: tuple[Any, ...], traced: Callable[[], Any]) -> Any:
        """Call it as an earlier process traced and compiled it, or trace and keep it now; by `traced` where that cannot be used."""
        name = f"traced {CODE_MARK} {self.key} {shapes!r}"

        def kept() -> Any:
            handles = [variable.value.handle for variable in self._variables()]
            if name not in _definitions:
                _definitions[name] = programs.graph(name, lambda: _definition(self._trace(arguments), handles, sha256(name.encode())))
            self.ready[shapes] = _by_definition(_definitions[name], handles)
            return self.ready[shapes](*arguments)

        def again() -> Any:
            _definitions.pop(name, None)
            programs.forget(name)
            return traced()

        return programs.first_call(name, kept, again)


def _definition(traced: Any, handles: Sequence[Any], name: str) -> bytes:
    """A traced function as bytes: a line that says how to call it, then its definition, then those of the functions it calls.

    The functions are renamed: under their old names XLA would take them for those just traced, whose lines of Python it knows, and keep a
    program that no other process finds.

    Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/function.proto
    """
    library = traced.graph.as_graph_def().library
    library.function.insert(0, traced.function_def)
    names = {each.signature.name: f"stockrnn_{name}_{number}" for number, each in enumerate(library.function)}
    for each in library.function:
        each.signature.name = names[each.signature.name]
        for attribute in itertools.chain.from_iterable(node.attr.values() for node in each.node_def):
            for called in (*attribute.list.func, *([attribute.func] if attribute.HasField("func") else [])):
                called.name = names[called.name]
    numbers = itertools.count()
    how = {
        "captured": [next(number for number, handle in enumerate(handles) if handle is captured) for captured in traced.captured_inputs],
        "outputs": tf.nest.map_structure(lambda _: next(numbers), traced.structured_outputs),
    }
    return json.dumps(how).encode() + b"\n" + bytes(library.SerializeToString())


def _by_definition(definition: bytes, handles: Sequence[Any]) -> Callable[..., Any]:
    """A Python function that calls this definition with these variables."""
    from tensorflow.core.framework.function_pb2 import FunctionDefLibrary
    from tensorflow.python.eager.context import context

    line, _, packed = definition.partition(b"\n")
    how, functions = json.loads(line), FunctionDefLibrary.FromString(packed).function
    for each in functions:
        context().add_function_def(each)
    captured = [handles[number] for number in how["captured"]]
    name, size = functions[0].signature.name.encode(), len(functions[0].signature.output_arg)
    in_order = how["outputs"] == [*range(size)]

    def call(*arguments: Any) -> Any:
        outputs = context().call_function(name, [*tf.nest.flatten(arguments), *captured], size)
        return outputs if in_order else tf.nest.map_structure(outputs.__getitem__, how["outputs"])

    return call


def as_it_lies(array: np.ndarray) -> Any:
    """An aligned array, which must not be written to any more, as a tensor of the same memory; a GPU gets a copy."""
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.identity(tensor) if HAS_GPU else tensor
