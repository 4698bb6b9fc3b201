"""Which choices of a config go together, asked of the config's own agreements."""

import functools
import itertools

from stockrnn.config import ModelConfig
from stockrnn.configfile import build_config
from stockrnn.errors import ConfigError


def choices(field):
    return ModelConfig.model_fields[field].annotation.__args__


CELLS, ARCHITECTURES, HEADS = choices("cell"), choices("architecture"), choices("head")
OPTIONS = {
    "`window.lookback` above 1": {"window": {"lookback": 5}},
    "`model.bidirectional`": {"model": {"bidirectional": True}},
    **{f"`model.attention: {kind}`": {"model": {"attention": kind}} for kind in choices("attention")[1:]},
    "`model.layer_norm`": {"model": {"layer_norm": True}},
    "`model.residual`": {"model": {"residual": True}},
    "`train.teacher_forcing`": {"train": {"teacher_forcing": {"start": 0.5}}},
    **{f"`model.anchor: {kind}`": {"model": {"anchor": kind}} for kind in choices("anchor")[1:]},
    "`train.mc_dropout`": {"train": {"mc_dropout": 2}},
    "`target.transform: level`": {"target": {"transform": "level"}},
}
"""What may be added to a cell, an architecture and a head."""


def tree(cell, architecture, head, option=None):
    """A config of two equal layers with dropout and the longer lookback that its architecture takes, and an option."""
    for lookback in (5, 1):
        model = {"cell": cell, "architecture": architecture, "head": head, "units": [4, 4], "dropout": 0.1}
        base = {"model": model, "window": {"lookback": lookback, "horizon": 2}}
        if refusal(base) is None:
            break
    added = OPTIONS[option] if option else {}
    return {name: {**base.get(name, {}), **added.get(name, {})} for name in {**base, **added}}


def refusal(config):
    """Why a config is refused, or None."""
    try:
        build_config(config, "config")
    except ConfigError as error:
        return str(error)
    return None


@functools.cache
def allowed():
    """Each (cell, architecture, head, option) that is a config."""
    return frozenset(key for key in itertools.product(CELLS, ARCHITECTURES, HEADS, OPTIONS) if refusal(tree(*key)) is None)


def rows():
    """The table: options that go with the same architectures and heads stand together."""
    grouped = {}
    for option in OPTIONS:
        mine = {key[:3] for key in allowed() if key[3] == option}
        architectures, heads = (
            [name for name in names if name in {key[at] for key in mine}] for at, names in ((1, ARCHITECTURES), (2, HEADS))
        )
        assert mine == set(itertools.product(CELLS, architectures, heads)), f"{option} needs more than a row"
        grouped.setdefault((_said(architectures, ARCHITECTURES), _said(heads, HEADS)), []).append(option)
    return [(", ".join(options), *places) for places, options in grouped.items()]


def _said(names, every):
    return "all" if len(names) == len(every) else ", ".join(f"`{name}`" for name in names)
