"""The pictures of what a trained network listens to. Reads no file, trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.prices.steps import row_name
from stockrnn.reports.sheet import COLORS, FAINT, INK, MUTED, SPARE, drawing, head, inert, label_axes, log_axis, number_axis, sheet
from stockrnn.reports.subject import is_log_scaled, trainings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from stockrnn.evaluation.explaining import Explanation

KINDS = {"feature": (COLORS["network"], "a feature alone"), "group": (COLORS["drift"], "related features together"), "all": (MUTED, "all")}
SAID = {"centre": "the forecast", "width": "its width"}
LINES = (("#0072b2", "-"), ("#d55e00", "-"), ("#009e73", "-"), *SPARE)
LABEL = 44
"""Most letters of a bar's name."""


def insight_figures(found: Explanation, history: pd.DataFrame, title: str, step: str = "") -> dict[str, Figure]:
    """The pictures of an explanation, by the names of their files.

    Args:
        found: from `evaluation.explaining.explain`.
        history: one row a member and epoch: member, epoch, gradient_norm; of a backtest also fold.
        title: the ticker or file, as it came from the user.
        step: what the rows are apart, by a name in `STEPS`.

    Returns:
        `importance`, `reliance`, `memory`, `gradient_norms`, and `attention` where there is one.
    """
    name = inert(title)
    with drawing():
        figures = {
            "importance": draw_importance(found, name),
            "reliance": draw_reliance(found, name, step),
            "memory": draw_memory(found, name, step),
            "gradient_norms": draw_gradient_norms(history, name),
        }
        return figures if found.attention is None else {**figures, "attention": draw_attention(found.attention, found, name, step)}


def draw_importance(found: Explanation, title: str) -> Figure:
    """How much the CRPS grows when a feature is permuted; the line is the standard deviation over the permutations."""
    rows = found.importance.iloc[::-1].reset_index(drop=True)
    figure, cells = sheet(["importance"], alone=(9.6, 0.7 + 0.34 * len(rows)))
    (axes,) = cells["importance"]
    for kind, (color, label) in KINDS.items():
        mine = rows[rows["kind"] == kind]
        bar: dict[str, Any] = {"height": 0.62, "color": color, "error_kw": {"ecolor": INK, "elinewidth": 1.2}}
        if len(mine):
            axes.barh(mine.index, 100 * mine["increase"], xerr=100 * mine["spread"], label=label, **bar)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(rows)), [inert(row, LABEL) for row in rows["name"]])
    axes.grid(visible=False, axis="y")
    number_axis(axes.xaxis, 8)
    label_axes(axes, "Increase of the CRPS when permuted over the windows (%)", "")
    head(
        figure,
        f"{title}: what the forecast loses without a feature",
        [_windows(found), "left of zero: better without", "line: sd over the permutations"],
    )
    return figure


def draw_reliance(found: Explanation, title: str, step: str) -> Figure:
    """A heat map of |gradient · input| by feature and session, for each thing the network says."""
    maps = found.reliance
    high = 0.75 + 0.3 * len(found.names)
    figure, cells = sheet(["map"], widths=(1.0, 0.02), heights=(1.0,) * len(maps), alone=(9.6, high * len(maps)))
    for place, (said, values) in enumerate(maps.items()):
        axes, scale = cells["map"][2 * place : 2 * place + 2]
        _heat(axes, scale, values.T, [inert(name, 24) for name in found.names])
        axes.set_title(f"of {SAID[said]}")
        label_axes(axes, _lag(step), "")
    notes = [_windows(found), "mean |gradient × input|, in units of the scaled target"]
    head(figure, f"{title}: which feature of which {row_name(step)} moves the forecast", notes)
    return figure


def draw_memory(found: Explanation, title: str, step: str) -> Figure:
    """How strongly the forecast depends on each session back: a straight fall is a gradient that vanishes geometrically."""
    figure, cells = sheet(["memory"])
    (axes,) = cells["memory"]
    members = [rows for _, rows in found.memory.groupby("member")]
    colors = dict(zip(dict.fromkeys(found.memory["cell"]), LINES, strict=False))
    fade, named = 1.0 if len(members) == 1 else max(0.3, 0.9 - 0.05 * len(members)), set()
    for rows in members:
        cell, known = rows["cell"].iloc[0], rows[rows["norm"] > 0]
        color, dashes = colors[cell]
        axes.plot(known["lag"], known["norm"], color=color, ls=dashes, marker=".", alpha=fade, label="" if cell in named else cell)
        named.add(cell)
    _decades(axes.yaxis, found.memory["norm"].to_numpy(float))
    _lags(axes, int(found.memory["lag"].max()))
    label_axes(axes, _lag(step), "Norm of d forecast / d input (scaled; log scale)")
    several = f"{len(members)} networks, a line each" if len(members) > 1 else ""
    head(figure, f"{title}: how far back the network remembers", [_windows(found), several, "mean over the windows"])
    return figure


def draw_attention(weights: np.ndarray, found: Explanation, title: str, step: str) -> Figure:
    """The mean weight of each session of the window: bars, or a heat map where each step ahead asks for itself."""
    several = len(weights) > 1
    figure, cells = sheet(["map"], widths=(1.0, 0.02) if several else (1.0,), alone=(9.6, 1.2 + 0.34 * len(weights) if several else 4.2))
    axes, *scale = cells["map"]
    if several:
        _heat(axes, scale[0], 100 * weights, [str(step) for step in range(1, len(weights) + 1)])
        label_axes(axes, _lag(step), "Step ahead")
    else:
        lags = np.arange(weights.shape[1])[::-1]
        axes.bar(lags, 100 * weights[0], color=COLORS["network"], width=0.7)
        axes.axhline(100 / len(lags), color=INK, lw=1, ls=(0, (4, 2)), label="the same for all")
        _lags(axes, int(lags.max()))
        number_axis(axes.yaxis)
        label_axes(axes, _lag(step), "Mean weight (%)")
    notes = [
        _windows(found),
        "mean weight in percent, over windows and networks",
        "a row sums to 100 %" if several else "they sum to 100 %",
    ]
    head(figure, f"{title}: which {row_name(step, 2)} the attention listens to", notes)
    return figure


def draw_gradient_norms(history: pd.DataFrame, title: str) -> Figure:
    """The norm of the whole gradient in each epoch, before clipping, one line a member and refit."""
    figure, cells = sheet(["norms"])
    (axes,) = cells["norms"]
    members = trainings_of(history)
    for place, rows in enumerate(members):
        color, dashes = LINES[place % len(LINES)] if len(members) <= len(LINES) else (COLORS["network"], "-")
        label = f"network {place + 1}" if 1 < len(members) <= len(LINES) else ""
        dot = "." if len(rows) <= 12 else ""
        axes.plot(rows["epoch"], rows["gradient_norm"], color=color, ls=dashes, marker=dot, alpha=0.8, lw=1.3, label=label)
    norms = history["gradient_norm"].to_numpy(float)
    logarithmic = is_log_scaled(norms)
    if logarithmic:
        _decades(axes.yaxis, norms)
    else:
        number_axis(axes.yaxis)
    number_axis(axes.xaxis, 10, whole=True)
    label_axes(axes, "Epoch", "Norm of the whole gradient" + (" (log scale)" if logarithmic else ""))
    head(figure, f"{title}: gradient norms in training", ["mean over the updates of an epoch, before clipping"])
    return figure


def _lag(step: str) -> str:
    return f"{row_name(step, 2).capitalize()} before the cutoff"


def _windows(found: Explanation) -> str:
    return f"{found.windows:,} windows of the test span"


def _heat(axes: Axes, scale: Axes, values: np.ndarray, names: Sequence[str]) -> None:
    """Rows of values, the last timestep right under lag 0, and their scale beside them."""
    timesteps = values.shape[1]
    edges = np.arange(timesteps, -1, -1) - 0.5
    mesh = axes.pcolormesh(edges, np.arange(len(values) + 1) - 0.5, values, cmap="Blues", vmin=0.0, rasterized=False)
    axes.set_yticks(range(len(values)), names)
    axes.invert_yaxis()
    axes.grid(visible=False)
    _lags(axes, timesteps - 1)
    axes.figure.colorbar(mesh, cax=scale)
    number_axis(scale.yaxis, 4)
    scale.grid(visible=False)


def _lags(axes: Axes, last: int) -> None:
    """Time runs to the right: the cutoff, lag 0, stands at the right end."""
    axes.set_xlim(last + 0.5, -0.5)
    number_axis(axes.xaxis, 10, whole=True)


def _decades(axis: Axis, values: np.ndarray) -> None:
    """A logarithmic axis: plain numbers within three decades, else powers of ten; a linear one where there is nothing above zero."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        number_axis(axis)
        return
    log_axis(axis)
    if known.min() > 1e-6 and known.max() < 1e3 * known.min():
        return
    axis.set_major_locator(LogLocator(numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"10{f'{round(np.log10(value)):d}'.translate(RAISED)}"))
    axis.axes.grid(color=FAINT)


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
