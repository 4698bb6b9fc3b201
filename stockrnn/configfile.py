"""YAML ⇄ Config: files and overrides in, one sentence for the first fault out, and what the keys are for the README."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stockrnn.config import ENSEMBLE_KINDS, WORKER_KINDS, Config, MemberConfig
from stockrnn.errors import ConfigError
from stockrnn.storage import read_bytes, shipped
from stockrnn.strictyaml import parse_scalar, parse_yaml


def load_config(source: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """The config from a YAML file, a shipped name, or the defaults, with `section.key=value` overrides.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a wrong value.
    """
    tree = {} if source is None else read_yaml(find_config(source))
    return _overridden(tree, overrides, str(source or "--set"))


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """The config with `section.key=value` overrides. Raises ConfigError: an unknown key, a wrong value."""
    return _overridden(config.model_dump(mode="json"), overrides, "--set")


def _overridden(tree: dict[str, Any], overrides: Iterable[str], origin: str) -> Config:
    for item in overrides:
        path, mark, text = item.partition("=")
        if not mark or not path.strip():
            raise ConfigError(f"--set must read section.key=value. Received: {item!r}. Write it so, such as --set train.epochs=10.")
        put(tree, path.strip(), parse_scalar(text), "--set")
    return build_config(tree, origin)


def build_config(tree: Mapping[str, Any], origin: str) -> Config:
    """The config of a parsed tree. Raises ConfigError with the key path of the first fault."""
    try:
        return Config.model_validate(dict(tree))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {sentence(error.errors()[0])}") from None


def find_config(source: str | Path) -> Path:
    """The file a config name means: a path, else a shipped name with or without `.yaml`. Raises ConfigError."""
    return _find(source, "--config", shipped("configs"))


def find_space(source: str | Path) -> Path:
    """The file that the name of a search space means, likewise. Raises ConfigError."""
    return _find(source, "--space", shipped("configs") / "spaces")


def _find(source: str | Path, option: str, folder: Path) -> Path:
    path = Path(source)
    candidates = [path] if path.is_file() else [folder / path.name, folder / f"{path.name}.yaml"] if path.name == str(source) else []
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise ConfigError(f"{option} must be a YAML file. Received: the folder {path}. Name a file in it.")
    names = _names(folder)
    raise ConfigError(f"{option} must be a file or a shipped name ({', '.join(names)}). Received: {source}.{nearest(str(source), names)}")


def shipped_configs() -> list[str]:
    """The names of the shipped configs."""
    return _names(shipped("configs"))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree of a YAML config file. Raises ConfigError."""
    try:
        return parse_yaml(read_bytes(path), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text. Received: byte {error.start} is not.") from None


def to_yaml(config: Config) -> str:
    """The whole config as YAML; reading it back gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_changes(before: Mapping[str, Any], config: Config) -> list[str]:
    """What a config differs in from the tree of another: the key path and both values of each, a list as one value.

    How many processes share the work makes no difference: it changes nothing of what comes out.
    """
    old, new = dict(_leaves(before)), dict(_leaves(config.model_dump(mode="json")))
    paths = [path for path in {**old, **new} if path != WORKERS and old.get(path, _ABSENT) != new.get(path, _ABSENT)]
    return [f"`{path}` was {_flow(old.get(path, _ABSENT))} and is {_flow(new.get(path, _ABSENT))}" for path in paths]


def result_tree(config: Config) -> dict[str, Any]:
    """A config as JSON holds it, without the number of processes, which changes nothing of what comes out."""
    tree = config.model_dump(mode="json")
    section, key = WORKERS.split(".")
    del tree[section][key]
    return tree


_ABSENT = object()
WORKERS = "train.workers"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key path of a tree with what stands there."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _flow(value: Any) -> str:
    """A value as YAML writes it in one line."""
    return "not given" if value is _ABSENT else yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def config_fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Each key as (path, values, default, meaning): what the README's table and `configs schema` show."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from config_fields(field.annotation, f"{prefix}{name}.")
        else:
            text = _flow(section().model_dump(mode="json")[name])
            yield (
                f"{prefix}{name}",
                _values(field.annotation),
                text,
                " ".join(_meanings(section).get(name, "").split()),
            )


def config_schema() -> dict[str, Any]:
    """The JSON Schema of a config, for editors, with what each key means."""
    schema = Config.model_json_schema()
    described = [(Config, schema), *((section, schema["$defs"][section.__name__]) for section in _sections(Config))]
    for section, part in described:
        for name, meaning in _meanings(section).items():
            part["properties"][name]["description"] = meaning
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _sections(section: Any) -> set[type[BaseModel]]:
    """The sections that the fields of one hold, at any depth, in lists too."""
    held = section.model_fields.values() if isinstance(section, type) and issubclass(section, BaseModel) else ()
    inner = {each for field in held for each in _sections(field.annotation)}
    own = {section} if held and section is not Config else set()
    return own | inner | {each for argument in get_args(section) for each in _sections(argument)}


@functools.cache
def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """The text under each field of a section: read from the source, as only the README and the schema show it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[name] = inspect.cleandoc(meaning)
    return found


def _values(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple:
        return "list of mappings" if isinstance(args[0], type) and issubclass(args[0], BaseModel) else f"list of {_values(args[0])}"
    if origin is Annotated:
        return _values(args[0])
    if origin is not None and type(None) in args:
        return " or ".join(_values(a) for a in args if a is not type(None)) + ", null"
    if origin is Union:
        return " or ".join(_values(a) for a in args)
    return {"str": "text", "bool": "true, false", "int": "whole number", "float": "number", "date": "date"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def put(tree: dict[str, Any], path: str, value: Any, origin: str) -> None:
    """Set the value at a key path of a config's tree. Raises ConfigError where a part of the path holds a single value."""
    *sections, key = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{origin} must name a key. Received: {path}, but {section} is a single value.")
    tree[key] = value


def sentence(fault: ErrorDetails) -> str:
    """What must hold and what came, of the first fault that pydantic found."""
    keys = [str(part) for part in fault["loc"] if part not in (*ENSEMBLE_KINDS, *WORKER_KINDS)]
    path, received = ".".join(keys), repr(fault.get("input"))[:80]
    if fault["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        return f"`{path}` is not a key.{nearest(keys[-1], known)} Keys here: {', '.join(known)}."
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{message}." if not path else f"`{path}`: {message}."
    hint = nearest(
        str(fault.get("input")), str(fault.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    )
    return f"`{path}` must be valid: {message[0].lower() + message[1:]}. Received: {received}.{hint}"


_LISTED = {"ensemble": MemberConfig}
"""The section that each key's list holds."""


def _known_keys(keys: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in keys:
        if key.isdigit():  # the place of a mapping in a list
            continue
        field = section.model_fields.get(key)
        annotation = _LISTED.get(key, field.annotation if field else None)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)


def nearest(word: str, known: Iterable[str]) -> str:
    """The question whether the nearest of the known words was meant; empty where none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean `{found[0]}`?" if found else ""
