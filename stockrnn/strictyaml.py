"""YAML read the way a person means it: no tags, anchors or repeated keys, bounded size and depth, YAML 1.2 scalars.

`1e-3` is a number, `ON` and `NO` are text, `1_000` is a thousand. Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from stockrnn.errors import ConfigError

MAX_BYTES, MAX_DEPTH = 64 * 1024, 20
_CORE = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9](?:_?[0-9])*", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9](?:_?[0-9])*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars and refusing repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own class attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"keys must be text, not {key!r}", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in _CORE:
    for _letter in _first:
        _Loader.yaml_implicit_resolvers.setdefault("" if _letter == "\0" else _letter, []).append(
            (f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"))
        )
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(str(node.value).replace("_", "")))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(str(node.value).replace("_", "")))


def parse_yaml(data: bytes, origin: str) -> dict[str, Any]:
    """The mapping in a YAML document; an empty document is an empty mapping.

    Raises:
        ConfigError: not UTF-8, not YAML, not a mapping, too large or deep, a tag, an anchor, a repeated key.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{origin} must be at most {MAX_BYTES} bytes. Received: {len(data)}. Is it a config?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin} must be UTF-8 text. Received: byte {error.start} is not.") from None
    try:
        _check_events(text, origin)
        tree = _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin} must be YAML. Received: {_where(error)}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} must hold sections such as `model:`. Received: {type(tree).__name__}.")
    return tree


def parse_scalar(text: str) -> Any:
    """The value written behind `--set key=`: a YAML list, mapping or scalar; any other text is meant as it stands (`%d.%m.%Y`, `,`).

    Raises:
        ConfigError: a list or mapping that is not YAML.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # bytes that are not UTF-8, such as a file name's
        return text
    origin = f"--set …={text}"
    if text.strip()[:1] in ("[", "{"):
        return parse_yaml(f"value: {text}".encode(), origin)["value"]
    try:
        tree = parse_yaml(f"value: {text}".encode(), origin)
    except ConfigError:
        return text
    return tree["value"] if list(tree) == ["value"] and not isinstance(tree["value"], dict) else text


def _check_events(text: str, origin: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "its start"
        if depth > MAX_DEPTH:
            raise ConfigError(f"{origin} must nest at most {MAX_DEPTH} deep. Received: more, at {place}.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ConfigError(f"{origin} must have no anchors, aliases or tags. Received: one at {place}. Write the value out.")


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    return f"{problem} at line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)
