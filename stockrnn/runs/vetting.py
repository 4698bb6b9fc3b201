"""What a run sent by a stranger may hold, checked before anything is made of it: JSON, weights, and the state beside them.

Shapes and sizes follow from the config or from each other, so that a small file can never ask for much memory.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stockrnn.config import Config, ModelConfig
from stockrnn.errors import RunDamagedError
from stockrnn.features.agenda import AGENDA
from stockrnn.features.ahead import DAY_OF_WEEK
from stockrnn.features.anchors import PRIOR
from stockrnn.models.shapes import GATES
from stockrnn.prices.schedule import Plan, is_calendar
from stockrnn.types import QUANTILES, UNDATED

MIB = 1 << 20
LARGEST = {
    ".yaml": 64 * 1024,
    ".json": 32 * MIB,
    ".csv": 1024 * MIB,
    ".parquet": 4096 * MIB - 1,
    ".safetensors": 1024 * MIB,
    ".onnx": 1024 * MIB,
    ".png": 64 * MIB,
    ".svg": 64 * MIB,
    ".pdf": 64 * MIB,
}
"""The most bytes of a file, by its ending; no other file belongs to a run. A ticker of a panel takes some 6 KB of JSON."""
LEAST_BYTES_A_VALUE = 12
"""Ours have 20 and more; crowded JSON would take thirty times its size of memory."""
MAX_HORIZON = 1000
MOST_FEATURES = 16
MOST_TICKERS = 50_000
"""Those that an embedding may tell apart."""
MOST_WIDENED = 1e6
GRAPH_BYTES = 512 * 1024
LEAST_S = 0.5
SLOW = 1e8
"""Operations a second of the slowest machine thought of, a hundredth of a usual one's."""

Shapes = dict[str, tuple[int, ...]]


def parse_json(data: bytes, origin: Path) -> Any:
    """The document in JSON bytes. Raises RunDamagedError: not JSON, a number that is not finite, crowded or nested beyond use."""
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > len(data) / LEAST_BYTES_A_VALUE + 1000:
        raise _damaged(origin, f"hold at most a value in {LEAST_BYTES_A_VALUE} bytes", "more")
    try:
        return json.loads(data, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise _damaged(origin, "be JSON with finite numbers", str(error).splitlines()[0][:80]) from None


def largest_files(config: Config, models: int) -> dict[str, int]:
    """The most bytes of weights and of each model by their ending: twice what the config's network could need at most.

    A network has at most two directions and a decoder beside the encoder; its exported graph takes half a MiB a layer and member,
    and samples of dropout are networks of their own there.
    """
    networks = [model for model, _ in config.networks()]
    weights = sum(_most_bytes(model, config) for model in networks)
    graphs = sum(GRAPH_BYTES * (len(model.units) + 1) for model in networks)
    return {
        ".safetensors": min(LARGEST[".safetensors"], weights * models),
        ".onnx": min(LARGEST[".onnx"], config.samples * (weights + 2 * graphs)),
    }


def most_seconds(config: Config, windows: int) -> float:
    """The most seconds of the processor that an exported model may take for so many windows: two operations a weight and timestep."""
    horizon = config.window.horizon
    operations = sum(_most_bytes(model, config) // 4 * (lookback + horizon) for model, lookback in config.networks())
    return LEAST_S + windows * config.samples * operations / SLOW


def _most_bytes(model: ModelConfig, config: Config) -> int:
    """Twice what the weights of one network take at most."""
    horizon, ahead = config.window.horizon, sum(7 if name == DAY_OF_WEEK else 1 for name in config.features.known_ahead)
    gates = GATES[model.cell]
    widths = [MOST_FEATURES + len(config.features.columns) + model.ticker_embedding + ahead, *(2 * units for units in model.units)]
    layers = sum(2 * gates * (before + width + 8) * width for before, width in itertools.pairwise(widths))
    head = 2 * (widths[-1] + horizon * ahead + 1) * horizon * len(QUANTILES) + 8 * widths[-1] ** 2
    return 2 * 4 * (layers + head + model.ticker_embedding * MOST_TICKERS) + 4096


def check_weights(data: bytes, config: Config, origin: Path) -> int:
    """Check a weights file against the config, its header first, and return how many parts it has.

    Every tensor is float32, they lie side by side and fill the file, a member has the same ones in each part, but for the features that
    its first layer takes, the recurrent kernels have the config's units, and every number is finite.
    Format: https://huggingface.co/docs/safetensors/index#format

    Raises:
        RunDamagedError: one of these does not hold.
    """
    shapes, start = _header(data, origin)
    members: dict[tuple[str, str], Shapes] = {}
    for name, shape in shapes.items():
        part, _, rest = name.partition("/")
        member, _, weight = rest.partition("/")
        members.setdefault((part, member), {})[weight] = shape
    count = len({part for part, _ in members})
    networks = config.networks()
    wanted = {(f"part{k}", f"member{j}") for k in range(count) for j in range(len(networks))}
    hold(set(members) == wanted and count > 0, origin, f"have {len(networks)} members in each part", sorted(members)[:3])
    for j, (model, _) in enumerate(networks):
        first = members["part0", f"member{j}"]
        alike = all(_inner(members[f"part{k}", f"member{j}"]) == _inner(first) for k in range(count))
        hold(alike, origin, f"give member {j} the same shapes in each part", "different ones")
        _check_kernels(first, model, origin)
    hold(bool(np.isfinite(np.frombuffer(data, "<f4", offset=start)).all()), origin, "hold finite numbers", "others")
    return count


def _inner(shapes: Shapes) -> Shapes:
    """The shapes without the number of features, which the ticker of each part may have its own."""
    first, kernel = "recurrent_1/", "/kernel"
    return {name: shape[1:] if name.startswith(first) and name.endswith(kernel) else shape for name, shape in shapes.items()}


def _check_kernels(shapes: Shapes, model: ModelConfig, origin: Path) -> None:
    for depth, units in enumerate(model.units, start=1):
        kernel = (units, GATES[model.cell] * units)
        found = {s for name, s in shapes.items() if name.startswith(f"recurrent_{depth}/") and name.endswith("recurrent_kernel")}
        hold(found == {kernel}, origin, f"have recurrent kernels {kernel} in layer {depth}", sorted(found))


def check_state(state: Any, config: Config, origin: Path, models: Sequence[str]) -> None:
    """Check what scaler.json holds against the config: its parts, their models and the shapes of their scalers.

    Raises:
        RunDamagedError: it does not fit.
    """
    horizon = config.window.horizon
    hold(horizon <= MAX_HORIZON, origin, f"have a horizon of at most {MAX_HORIZON}", horizon)
    try:
        parts = state["parts"]
        hold([part["model"] for part in parts] == list(models), origin, f"name {len(models)} models", "others")
        hold(all(isinstance(part["ticker"], str) for part in parts), origin, "name tickers", "others")
        for part in parts:
            _check_pipeline(part["pipeline"], config, origin)
            _check_readout(part["readout"], config, origin)
        hold(_shape(state["conformal"]) == (horizon, len(QUANTILES)), origin, "have conformal shifts of each step", "others")
        _check_widths(state.get("widths", {}), horizon, origin)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(origin, "hold pipelines, readouts and conformal shifts", repr(error)[:80]) from None


def _check_readout(readout: Mapping[str, Any], config: Config, origin: Path) -> None:
    """The head, the residuals of a `point` head, and what a location is drawn to are those of the config."""
    head, horizon = config.model.head, config.window.horizon
    hold(readout["head"] == head, origin, f"have the head {head}", readout["head"])
    residuals = _shape(readout["residuals"])
    hold(residuals == (horizon, len(QUANTILES)) or head != "point", origin, "have residuals of each step", residuals)
    shrinkage = readout.get("shrinkage", 0.0)
    resting = _shape(readout["resting"]) if "resting" in readout else (horizon,)
    fits = shrinkage == config.model.location_shrinkage and resting == (horizon,)
    hold(fits, origin, "draw each step's location as the config says", (shrinkage, resting))


def _check_widths(widths: Mapping[str, Any], horizon: int, origin: Path) -> None:
    """Factors of a backtest's widths, at most one a step."""
    for steps in widths.values():
        fits = (
            isinstance(steps, list)
            and 0 < len(steps) <= horizon
            and all(type(step) in (int, float) and 1 / MOST_WIDENED <= step <= MOST_WIDENED for step in steps)
        )
        hold(fits, origin, f"widen the intervals of at most {horizon} steps by factors that can be", steps)


def check_metrics(metrics: Any, origin: Path, step: str) -> None:
    """Refuse a document of scores whose shape is not that of ours, but for what earlier versions did not write. Raises RunDamagedError."""
    try:
        test, tests = metrics["test"], metrics.get("significance", {})
        groups = [test.get(f"{by}s", {}) for by in ("step", "year", "ticker")]
        tables = [test["models"], *(table for group in groups for table in group.values())]
        scores = [value for table in tables for model in table.values() for value in model.values()]
        words = [*metrics["verdict"], *metrics["alarms"], *test["models"]]
        words += [why for lacking in (test, tests) for why in lacking.get("undefined", {}).values()]
        if skill := test.get("ticker_skill"):
            scores += [*(skill[key] for key in ("tickers", "above_0", "median")), *skill["best"].values(), *skill["worst"].values()]
        outcomes = [each for loss in tests.get("diebold_mariano", {}).values() for each in loss.values()]
        outcomes += [each for name in ("pesaran_timmermann", "kupiec", "christoffersen") for each in tests.get(name, {}).values()]
        scores += [value for each in outcomes if each is not None for value in (each["statistic"], each["p_holm"])]
        intervals = [ends for ends in tests.get("skill_interval_95", {}).values() if ends is not None]
        scores += [end for ends in intervals for end in ends]
        ends = [test[key] for key in ("start", "end")]
        whole = metrics["network"] in test["models"] and isinstance(test["n"], int) and all(len(pair) == 2 for pair in intervals)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(origin, "hold the scores of a run", repr(error)) from None
    plain = all(value is None or type(value) in (int, float) for value in scores) and all(isinstance(word, str) for word in words)
    plain = plain and all(isinstance(end, str) or (step == UNDATED and type(end) is int) for end in ends)
    hold(whole and plain, origin, "hold the scores of a run", "another document")


def hold_format(document: Mapping[str, Any], path: Path, known: int) -> None:
    """Refuse a document in a format that this version does not read, with the version that wrote it. Raises RunDamagedError."""
    if document.get("format") != known or isinstance(document["format"], bool):
        versions = document.get("versions")
        version = str(versions.get("stockrnn", "unknown") if isinstance(versions, dict) else "unknown")[:40]
        received = f"{str(document.get('format'))[:40]}, written by stockrnn {version}"
        raise RunDamagedError(f"{path} must have format {known}. Received: {received}. Read it with that version, or train again.")


def hold(condition: bool, origin: Path, must: str, received: Any) -> None:
    """Raise RunDamagedError unless a condition holds."""
    if not condition:
        raise _damaged(origin, must, str(received)[:80])


def _check_pipeline(pipeline: Mapping[str, Any], config: Config, origin: Path) -> None:
    target, window = config.target, config.window
    wanted = {"column": target.column, "transform": target.transform, "lookback": window.lookback, "horizon": window.horizon}
    wanted["shortest"] = config.shortest
    found = {name: pipeline[name] for name in wanted if name != "shortest"} | {"shortest": pipeline.get("shortest", pipeline["lookback"])}
    hold(found == wanted, origin, f"fit the config: {wanted}", found)
    names, asked = pipeline["names"], {*config.features.columns, *config.features.indicators}
    hold(0 < len(names) == len(asked & set(names)), origin, f"name features of the config once: {sorted(asked)}", names)
    hold(set(pipeline["features"]) == set(pipeline["target"]) != set(), origin, "scale features and target of each ticker", "others")
    _check_anchors(pipeline, config, origin)
    embedded = list(pipeline["features"]) if config.model.ticker_embedding else []
    hold(pipeline.get("embedded", []) == embedded, origin, "number the tickers of an embedding in their order", "others")
    _check_ahead(pipeline.get("ahead"), config, pipeline["target"], origin)
    for name, columns in (("features", len(pipeline["names"])), ("target", window.horizon)):
        for scaler in pipeline[name].values():
            _check_scaler(scaler, columns, name, origin)


def _check_anchors(pipeline: Mapping[str, Any], config: Config, origin: Path) -> None:
    """Each ticker has the anchor that the config asks for, and the plan that this names is there."""
    anchors, horizon, plans = pipeline.get("anchors", {}), config.window.horizon, pipeline.get("plans", [])
    shapes = {ticker: (_shape(each["weights"]), _shape(each.get("reversal", [0.0] * horizon))) for ticker, each in anchors.items()}
    tickers = [] if config.model.anchor == "none" else list(pipeline["target"])
    terms = {ticker: len(PRIOR) + (len(AGENDA) if "plan" in anchors.get(ticker, {}) else 0) for ticker in tickers}
    wanted = {ticker: ((horizon, 1 + terms[ticker]), (horizon,)) for ticker in tickers}
    hold(shapes == wanted, origin, f"have anchors of {horizon} steps where the config has one", shapes)
    every = [each["renewal"]["every"] if "renewal" in each else 0 for each in anchors.values()]
    hold({*every} <= {config.model.anchor_renewal}, origin, f"renew anchors after {config.model.anchor_renewal} sessions", every)
    named = {each["plan"] for each in anchors.values() if "plan" in each}
    names = [Plan.from_dict(plan).name for plan in plans]
    hold(sorted(named) == sorted(names), origin, "hold each plan that an anchor names, once", names)


def _check_scaler(scaler: Mapping[str, Any], columns: int, name: str, origin: Path) -> None:
    shapes = {_shape(scaler[key]) for key in ("offset", "scale")}
    hold(shapes == {(columns,)} and 0 not in scaler["scale"], origin, f"scale {columns} columns of {name} by other than 0", shapes)


def _check_ahead(ahead: Mapping[str, Any] | None, config: Config, tickers: Iterable[str], origin: Path) -> None:
    """What is known ahead is what the config asks for, by a calendar that there is for each ticker."""
    names = [] if ahead is None else ahead["names"]
    hold(names == list(config.features.known_ahead), origin, f"know ahead {list(config.features.known_ahead)}", names)
    if ahead is not None:
        own, scalers = config.asked.ahead, ahead.get("scalers", {})
        hold(set(scalers) == (set(tickers) if own else set()), origin, "scale what is known ahead of each ticker", "others")
        for scaler in scalers.values():
            _check_scaler(scaler, len(own), "what is known ahead", origin)
        hold(set(ahead["calendars"]) == set(tickers), origin, "name a calendar of each ticker", "others")
        unknown = [name for name in set(ahead["calendars"].values()) if not is_calendar(name)]
        hold(not unknown, origin, "name calendars of exchanges", unknown)
        weekdays = ahead["weekdays"]
        hold(weekdays == [day for day in range(7) if day in weekdays], origin, "name weekdays once, in order", weekdays)


def _shape(values: Any) -> tuple[int, ...]:
    """The shape of nested lists of numbers; None counts as a number."""
    return np.asarray(values, np.float64).shape


def _header(data: bytes, origin: Path) -> tuple[Shapes, int]:
    """The shape of each tensor, and where the numbers begin."""
    size = int.from_bytes(data[:8], "little")
    hold(2 <= size <= min(len(data) - 8, LARGEST[".json"]), origin, "be a safetensors file", f"{len(data)} bytes")
    tree = parse_json(data[8 : 8 + size], origin)
    hold(isinstance(tree, dict), origin, "be a safetensors file", "another document")
    shapes: Shapes = {}
    at = 0
    try:
        tensors = [(tuple(each["data_offsets"]), name, each) for name, each in tree.items() if name != "__metadata__"]
        for (begin, end), name, tensor in sorted(tensors, key=lambda each: each[0]):
            shape = tensor["shape"]
            hold(tensor["dtype"] == "F32" and all(type(n) is int and n > 0 for n in shape), origin, "hold float32 tensors", name)
            hold(begin == at and end == at + 4 * math.prod(shape), origin, "hold tensors side by side", name)
            shapes[name], at = tuple(shape), end
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(origin, "be a safetensors file", repr(error)[:80]) from None
    hold(8 + size + at == len(data), origin, "end with its tensors", f"{len(data)} bytes")
    return shapes, 8 + size


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]}")
    return number


def _damaged(origin: Path, must: str, received: str) -> RunDamagedError:
    return RunDamagedError(f"{origin} must {must}. Received: {received}. Train again, or restore it.")
