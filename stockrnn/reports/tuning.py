"""The pictures and the table of a search. Reads no file, trains nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stockrnn.reports.sheet import COLORS, FAINT, INK, MUTED, drawing, head, inert, label_axes, minus, number_axis, sheet
from stockrnn.reports.tables import empty_table, literal, number, plain_text
from stockrnn.searchspace import Choices, Domain, Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

    from stockrnn.evaluation.tuning import Found, Trial

BEST, OWN = "best", "the config itself"
GOOD, BAD = "#0072b2", "#a9c8e0"
"""Colours of the lowest and of the highest CRPS."""
TICKS = 5


def tuning_figures(found: Found, space: Space, title: str) -> dict[str, Figure]:
    """The pictures of a search, by the names of their files.

    Args:
        found: what it found.
        space: what was searched.
        title: the file, as it came from the user.

    Returns:
        `history`, `parallel`, `learning`, and `importance` where there are trials enough.
    """
    name, unit = inert(title), "prices' currency" if found.in_currency else "in units of each ticker's naive MAE"
    with drawing():
        figures = {
            "history": draw_history(found, name, unit),
            "parallel": draw_parallel(found, space, name, unit),
            "learning": draw_learning(found, name),
        }
        return {**figures, "importance": draw_importance(found, name)} if found.importance else figures


def draw_history(found: Found, title: str, unit: str) -> Figure:
    """The CRPS of each complete trial in the order of the search, the lowest so far, and that of the config itself."""
    figure, cells = sheet(["history"])
    (axes,) = cells["history"]
    done = [trial for trial in found.trials if trial.state == "complete"]
    ended = [trial.number for trial in found.trials if trial.state != "complete"]
    numbers, scores = [trial.number for trial in done], [_score(trial) for trial in done]
    axes.plot(numbers, scores, ls="", marker="o", ms=5, color=COLORS["network"], label="complete trial")
    lowest = np.minimum.accumulate([_score(found.own), *scores])
    axes.step([0, *numbers], lowest, where="post", color=COLORS["ewma"], lw=1.6, label="lowest so far")
    axes.axhline(_score(found.own), color=INK, lw=1, ls=(0, (4, 2)), label=OWN)
    if ended:
        mark: dict[str, Any] = {"ls": "", "marker": "|", "ms": 9, "color": MUTED, "transform": axes.get_xaxis_transform()}
        axes.plot(ended, [0.02] * len(ended), label=_ended(found), **mark)
    number_axis(axes.xaxis, 9, whole=True)
    number_axis(axes.yaxis)
    label_axes(axes, "Trial", f"Mean CRPS ({unit})")
    head(figure, f"{title}: what the search found", [_counts(found), f"over {found.folds} folds", _saved(found)])
    return figure


def draw_parallel(found: Found, space: Space, title: str, unit: str) -> Figure:
    """A line a trial through the values of all keys to its CRPS: the darker, the lower; those ended early stop before it."""
    keys = list(space.domains)
    figure, cells = sheet(["parallel"], alone=(max(9.6, 1.35 * (len(keys) + 1)), 4.6))
    (axes,) = cells["parallel"]
    done = sorted((trial for trial in found.trials if trial.state == "complete"), key=_score, reverse=True)
    for trial in found.trials:
        if trial.state != "complete":
            axes.plot(range(len(keys)), _heights(trial, space), color=FAINT, lw=0.8, zorder=1)
    scores = [_score(trial) for trial in done] or [_score(found.own)]
    low, high = min(scores), max(scores)
    for trial in done:
        place = (high - _score(trial)) / (high - low) if high > low else 1.0
        width = 2.4 if trial is found.best else 1.2
        axes.plot(range(len(keys) + 1), [*_heights(trial, space), 1.0 - place], color=_blend(place), lw=width, zorder=2 + place)
    for at, key in enumerate(keys):
        _scale(axes, at, _ticks(space.domains[key]))
    digits = _digits(high - low or high)
    _scale(
        axes, len(keys), [(share, number(low + share * (high - low), digits)) for share in np.linspace(0, 1, TICKS if high > low else 1)]
    )
    axes.set_xticks(range(len(keys) + 1), [*(inert(key).replace(".", ".\n", 1) for key in keys), f"Mean CRPS\n({unit})"])
    axes.set_xlim(-0.25, len(keys) + 0.35)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    head(figure, f"{title}: which settings forecast best", [_counts(found), "dark: low CRPS", "thick: the best", f"grey: {_ended(found)}"])
    return figure


def draw_learning(found: Found, title: str) -> Figure:
    """The validation loss after each epoch of the first network of each trial, on the first fold."""
    figure, cells = sheet(["learning"])
    (axes,) = cells["learning"]
    for trial in found.trials:
        curve = _curve(trial)
        if curve and trial is not found.best:
            complete = trial.state == "complete"
            label = "complete" if complete else _ended(found)
            axes.plot(range(1, len(curve) + 1), curve, color=BAD if complete else FAINT, lw=1.0, label=label)
    for trial, color, name in ((found.own, INK, OWN), (found.best, COLORS["network"], BEST)):
        if curve := _curve(trial):
            axes.plot(range(1, len(curve) + 1), curve, color=color, lw=2.0, label=name)
    values = [value for trial in (found.own, *found.trials) for value in _curve(trial)]
    if values:
        low, top = min(values), _top(values, [*_curve(found.own), *_curve(found.best)])
        axes.set_ylim(low - 0.03 * (top - low), top)
    number_axis(axes.xaxis, 9, whole=True)
    number_axis(axes.yaxis)
    label_axes(axes, "Epoch", "Validation loss (scaled target)")
    head(
        figure,
        f"{title}: how the trials learned",
        ["first fold", "first network of each trial", "losses of other kinds are not comparable"],
    )
    return figure


def draw_importance(found: Found, title: str) -> Figure:
    """How much of the variance of the CRPS each key explains."""
    keys = list(found.importance)[::-1]
    figure, cells = sheet(["importance"], alone=(9.6, 0.9 + 0.36 * len(keys)))
    (axes,) = cells["importance"]
    axes.barh(range(len(keys)), [100 * found.importance[key] for key in keys], height=0.62, color=COLORS["network"])
    axes.set_yticks(range(len(keys)), [inert(key, 44) for key in keys])
    axes.grid(visible=False, axis="y")
    number_axis(axes.xaxis, 9)
    label_axes(axes, "Share of the variance of the first fold's CRPS (%)", "")
    head(
        figure, f"{title}: which settings matter", [_counts(found), "functional analysis of variance", "first fold, which all trials have"]
    )
    return figure


def trial_rows(found: Mapping[str, Any]) -> Table:
    """The lowest CRPS of a search, below the config itself.

    Args:
        found: the document in tune.json.
    """
    rows = found["lowest"]
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    short = [key.rpartition(".")[2] for key in keys]
    table = empty_table(
        ["Trial", "CRPS", *(name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True))], left=1
    )
    digits = 2 + _digits(max(row["crps"] for row in rows))
    for row in rows:
        cells = [_said(row["settings"][key]) if key in row["settings"] else "" for key in keys]
        table.add_row(
            *map(literal, [str(row["trial"] or "config"), number(row["crps"], digits), *(plain_text(cell, 16) for cell in cells)])
        )
    return table


def _digits(size: float) -> int:
    """Decimals that tell hundredths of a number of this size apart."""
    return max(0, 2 - math.floor(math.log10(size))) if size > 0 else 2


def _score(trial: Trial) -> float:
    return trial.score if trial.score is not None else math.nan


def _curve(trial: Trial) -> list[float]:
    """The validation losses of a trial's first network in its first fold."""
    curves = trial.folds[0].get("curves", []) if trial.folds else []
    return list(curves[0]) if curves else []


def _top(values: list[float], named: list[float]) -> float:
    """Where to cut the axis, so that a trial that went astray does not flatten the others; the named ones have twice the room."""
    low, most = min(values), float(np.quantile(values, 0.95))
    if most == low:
        return low + 1.0
    return most + (most - low) * max(0.25, min(1.25, 0.05 + (max(named, default=low) - most) / (most - low)))


def _heights(trial: Trial, space: Space) -> list[float]:
    return [_height(domain, trial.point[key]) for key, domain in space.domains.items()]


def _height(domain: Domain, value: Any) -> float:
    """Where a value lies on the axis of its key, 0 … 1."""
    if isinstance(domain, Choices):
        return domain.values.index(value) / (len(domain.values) - 1)
    low, high, at = (math.log(number) if domain.log else number for number in (domain.low, domain.high, value))
    return float((at - low) / (high - low))


def _ticks(domain: Domain) -> list[tuple[float, str]]:
    if isinstance(domain, Choices):
        return [(_height(domain, value), _said(value)) for value in domain.values]
    shares = np.linspace(0.0, 1.0, TICKS)
    if domain.log:
        return [(share, minus(f"{domain.low * (domain.high / domain.low) ** share:.2g}")) for share in shares]
    return [(share, minus(f"{domain.low + share * (domain.high - domain.low):.3g}")) for share in shares]


def _said(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return inert(text, 18)


def _scale(axes: Axes, at: int, ticks: list[tuple[float, str]]) -> None:
    axes.vlines(at, 0, 1, color=MUTED, lw=0.8, zorder=4)
    for height, text in ticks:
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
        axes.text(at + 0.04, height, text, va="center", ha="left", size=8, color=INK, zorder=5, bbox=box)


def _blend(share: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(float(value) for value in (1 - share) * np.array(to_rgb(BAD)) + share * np.array(to_rgb(GOOD)))


def _ended(found: Found) -> str:
    """What became of the trials that are not complete."""
    return "ended early or failed" if any(trial.state == "failed" for trial in found.trials) else "ended early"


def _counts(found: Found) -> str:
    complete = sum(trial.state == "complete" for trial in found.trials)
    return f"{len(found.trials)} trials, {complete} complete"


def _saved(found: Found) -> str:
    saved = found.epochs_saved
    return "" if saved is None else f"ending trials early saved {100 * saved:.0f} % of epochs"
