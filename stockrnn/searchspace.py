"""What a search may change: keys of the config, each with its choices or its range, read from YAML and checked key by key."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stockrnn.config import Config
from stockrnn.configfile import build_config, config_fields, nearest, put, read_yaml, sentence
from stockrnn.errors import ConfigError

FIXED = {
    "data": "it says what is forecast",
    "split": "it says what is learned from",
    "features.known_ahead": "it is read with the prices",
    "target.column": "it says what is forecast",
    "window.horizon": "it says what is forecast",
    "train.seed": "a lucky seed is no better config",
    "train.workers": "it changes no result",
}
"""Sections and keys that a search may not change, and why: its scores would not compare configs."""
FREE = ("data.panel", "data.outliers")
"""What it may change of them: how the same prices are learned from."""
DIGITS = 4
"""Digits of a number drawn from a range: more would only look exact."""


@dataclass(frozen=True)
class Choices:
    """Values to choose from; numbers in ascending order, so that a search can tell near from far."""

    values: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Whether all of them are numbers."""
        return all(type(value) in (int, float) for value in self.values)


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether the exponent is spread evenly instead of the number.
        step: distance of the numbers from each other, beginning at `low`; None for all.
        whole: whether they are whole.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a file holds it."""
        more = {"log": True} if self.log else {"step": self.step} if self.step is not None else {}
        return {"low": self.low, "high": self.high, **more}

    def trim(self, value: float) -> float:
        """A number of the range with `DIGITS` digits."""
        return value if self.whole else min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))


Domain = Choices | Range


@dataclass(frozen=True)
class Space:
    """Each key that a search changes, by its path, with its domain."""

    domains: Mapping[str, Domain]

    def config(self, base: Mapping[str, Any], point: Mapping[str, Any]) -> Config:
        """The config of a tree with the values of a point. Raises ConfigError where they do not go together."""
        tree = copy.deepcopy(dict(base))
        for path, value in point.items():
            put(tree, path, value, "space")
        return build_config(tree, "space")

    def to_dict(self) -> dict[str, Any]:
        """As a file holds it: a list or a mapping for each key path; `space_of` reads it."""
        return {path: list(domain.values) if isinstance(domain, Choices) else domain.to_dict() for path, domain in self.domains.items()}


def refuse_settled(space: Space, config: Config) -> None:
    """Make sure that a search of this config would change something by every key. Raises ConfigError."""
    for path in space.domains:
        if path in _settled(config):
            raise ConfigError(
                f"The space must hold keys that change the config. Received: `{path}`, which every network of `train.ensemble` has of its "
                f"own. Leave it out, or search with `--set train.ensemble=1`."
            )


def fitting(space: Space, config: Config) -> tuple[Space, str]:
    """What of a space goes with a config: keys that change it, and of each two or more values that it may have; and what was left out."""
    base, kept, left = config.model_dump(mode="json"), {}, []
    for path, domain in space.domains.items():
        values = domain.values if isinstance(domain, Choices) else (domain.low, domain.high)
        good = tuple(value for value in values if path not in _settled(config) and _goes(space, base, path, value))
        if len(good) == len(values):
            kept[path] = domain
        elif isinstance(domain, Choices) and len(good) > 1:
            kept[path] = Choices(good)
            left.append(f"{path} {', '.join(str(value) for value in values if value not in good)}")
        else:
            left.append(path)
    said = f"Left out of the space, as it changes nothing in this config or does not go with it: {'; '.join(left)}."
    return Space(kept), said if left else ""


def _settled(config: Config) -> set[str]:
    """The keys that each network of the ensemble has of its own."""
    own = [member.model_dump(exclude_none=True) for member in config.train.members]
    return {f"{'window' if name == 'lookback' else 'model'}.{name}" for name in set.intersection(*(set(each) for each in own))}


def _goes(space: Space, base: Mapping[str, Any], path: str, value: Any) -> bool:
    try:
        space.config(base, {path: value})
    except ConfigError:
        return False
    return True


def read_space(path: Path) -> Space:
    """The space in a YAML file. Raises ConfigError: as `space_of`, or not YAML."""
    return space_of(read_yaml(path), str(path))


def space_of(tree: Mapping[str, Any], origin: str) -> Space:
    """The space in a tree: sections and keys as in a config, each key with a list or a mapping low, high, log, step.

    Raises:
        ConfigError: an unknown key, one that a search may not change, or a value that the key can never have.
    """
    domains: dict[str, Domain] = {}
    for key, given in _keys(tree, "", origin):
        if key in domains:
            raise ConfigError(f"{origin}: `{key}` must stand once. Received: twice. Remove one.")
        domains[key] = _domain(key, given, f"{origin}: `{key}`")
    if not domains:
        raise ConfigError(f"{origin} must name a key of the config. Received: none. Give one, such as model.dropout: [0.0, 0.2].")
    return Space(dict(sorted(domains.items())))


def _keys(tree: Mapping[str, Any], prefix: str, origin: str) -> Iterator[tuple[str, Any]]:
    """Each key path with what is given for it."""
    kinds = _kinds()
    for name, given in tree.items():
        path = f"{prefix}{name}"
        if path in kinds:
            why = next((why for fixed, why in FIXED.items() if _within(path, fixed)), None)
            if why is not None and not any(_within(path, free) for free in FREE):
                raise ConfigError(f"{origin}: `{path}` must stay as it is: {why}. Received: {given!r}. Change it with --set.")
            yield path, given
        elif any(_within(key, path) for key in kinds):
            if not isinstance(given, dict):
                raise ConfigError(f"{origin}: `{path}` must hold keys. Received: {str(given)[:80]!r}.")
            yield from _keys(given, f"{path}.", origin)
        else:
            raise ConfigError(f"{origin}: `{path}` is not a key.{_hint(path)} `stockrnn configs show` shows all keys.")


def _within(path: str, section: str) -> bool:
    return path == section or path.startswith(f"{section}.")


def _hint(path: str) -> str:
    """The nearest key, by its path or by its last part."""
    kinds = _kinds()
    last = {key.rpartition(".")[2]: key for key in kinds}
    hint = nearest(path, kinds) or nearest(path.rpartition(".")[2], last)
    name = hint.partition("`")[2].partition("`")[0]
    return hint.replace(f"`{name}`", f"`{last.get(name, name)}`")


@functools.cache
def _kinds() -> dict[str, str]:
    """The key paths of a config, each with the kind of its values as the README says it."""
    return {path: values for path, values, _, _ in config_fields()}


def _domain(key: str, given: Any, origin: str) -> Domain:
    if isinstance(given, list):
        return _choices(key, given, origin)
    if isinstance(given, dict):
        return _range(key, given, origin)
    raise ConfigError(f"{origin} must be a list of choices or a range {{low, high}}. Received: {given!r}. Give a single value with --set.")


def _choices(key: str, given: list[Any], origin: str) -> Choices:
    distinct = [value for place, value in enumerate(given) if not any(_same(value, other) for other in given[:place])]
    if len(distinct) < len(given) or len(given) < 2:
        raise ConfigError(f"{origin} must have two or more different choices. Received: {given}. Give a single value with --set.")
    for value in given:
        _check(key, value, origin)
    domain = Choices(tuple(given))
    return Choices(tuple(sorted(given))) if domain.ordered else domain


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _range(key: str, given: dict[str, Any], origin: str) -> Range:
    unknown = sorted(set(given) - {"low", "high", "log", "step"})
    if unknown:
        hint = nearest(unknown[0], ("low", "high", "log", "step"))
        raise ConfigError(f"{origin} must be a range of low, high, log and step. Received: {unknown[0]}.{hint}")
    if "number" not in _kinds()[key]:
        raise ConfigError(f"{origin} must be a list of choices, as it is no number ({_kinds()[key]}). Received: a range.")
    numbers: list[Any] = [given.get(name, 0 if name == "step" else None) for name in ("low", "high", "step")]
    low, high, step = numbers
    log: Any = given.get("log", False)
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers) or not low < high:
        raise ConfigError(f"{origin} must have numbers low < high. Received: {given}.")
    if not isinstance(log, bool) or (log and ("step" in given or low <= 0)) or ("step" in given and not 0 < step <= high - low):
        raise ConfigError(f"{origin} must have a step above 0, or log: true with low above 0. Received: {given}.")
    whole = "whole number" in _kinds()[key]
    for value in numbers if whole and "step" in given else numbers[:2]:
        _check(key, value, origin)
    return Range(low, high, log, step or None, whole)


def _check(key: str, value: Any, origin: str) -> None:
    """Whether a key could have a value at all; what goes together with other keys is seen when they are drawn."""
    tree: dict[str, Any] = {}
    put(tree, key, value, origin)
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["loc"]:
            raise ConfigError(f"{origin.partition(': ')[0]}: {sentence(fault)}") from None
