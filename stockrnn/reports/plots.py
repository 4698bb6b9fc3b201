"""The pictures of a run: forecast table and history in, figures out. Reads no file, trains nothing.

One step ahead is drawn; with a longer horizon the titles say so, and the calibration shows every step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.reports.evidence_plots import EVIDENCE
from stockrnn.reports.sheet import (
    COLORS,
    FAINT,
    INK,
    MUTED,
    UNIT,
    drawing,
    head,
    inert,
    label_axes,
    log_axis,
    minus,
    moments,
    number_axis,
    render_figures,
    save_figures,
    sheet,
    time_axis,
)
from stockrnn.reports.subject import (
    NAIVE,
    Subject,
    binomial_band,
    is_log_scaled,
    make_subject,
    model_styles,
    notes_of,
    returns_of,
    trainings_of,
)
from stockrnn.reports.tables import NOTHING
from stockrnn.types import DATE, QUANTILE_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("FIGURES", "Subject", "make_subject", "render_figures", "run_figures", "save_figures")

EWMA = "ewma"
CLOSEUP_SESSIONS = 60
BANDS = (
    ("q05", "q95", "90 % interval", "#dbe9f4"),
    ("q10", "q90", "80 % interval", "#b7d4ea"),
    ("q25", "q75", "50 % interval", "#86b8dd"),
)
DASHES = {NAIVE: (0, (1, 1)), EWMA: (0, (4, 2))}
LEVELS = {10 * k: (QUANTILE_COLUMNS[9 - k], QUANTILE_COLUMNS[9 + k]) for k in range(1, 10)}
"""Each nominal level in percent with its two quantile columns: 10 % is q45 … q55, 90 % is q05 … q95."""


def run_figures(
    forecasts: pd.DataFrame,
    history: pd.DataFrame,
    network: str,
    title: str,
    *,
    column: str = "close",
    names: Collection[str] | None = None,
    step: str = "",
) -> dict[str, Figure]:
    """The pictures of a run, by the names of their files.

    Args:
        forecasts: the forecast table of the test span: `network`, `naive` and any other models.
        history: one row a member and epoch: member, epoch, loss, validation_loss, restored.
        network: the network's name in the table.
        title: the ticker or file, as it came from the user.
        column: the price that was forecast.
        names: which of them; all when None.
        step: what the rows of the price file are apart, by a name in `STEPS`.

    Returns:
        `forecast`, `closeup`, `loss`, `residuals`, `change`, `calibration`, and those of `EVIDENCE`.

    Raises:
        DataError: the table holds no actual of the network or of `naive`.
    """
    with drawing():
        subject = make_subject(forecasts, history, network, title, column=column, step=step)
        return {name: draw(subject) for name, draw in FIGURES.items() if names is None or name in names}


def draw_forecast(subject: Subject) -> Figure:
    """Actual against the network's forecast and its intervals over the whole test span, as prices and as changes from the last close."""
    figure, cells = sheet(subject.shown, heights=(1.5, 1.0), alone=(9.6, 5.6), beside=(5.6, 4.3))
    for ticker, (prices, changes) in cells.items():
        rows = subject.rows(subject.network, ticker)
        few = len(rows) <= 250
        _fan(prices, subject, rows, 1.3 if few else 0.8)
        label_axes(prices, subject.when, subject.unit)
        returns = returns_of(rows)
        _fan(changes, subject, returns, 1.3 if few else 0.8, marker="o", ls="", mew=0, ms=4 if few else 2, alpha=1 if few else 0.6)
        changes.axhline(0, color=COLORS[NAIVE], lw=1.2, ls=DASHES[NAIVE], label=f"naive ({subject.last})")
        label_axes(changes, subject.when, "Change (log return, %)")
        for axes in (prices, changes):
            time_axis(axes, rows[DATE].to_numpy(), 8 if len(cells) == 1 else 4, dated=subject.dated)
    head(
        figure, f"{subject.title}: actual and forecast{subject.ahead}", notes_of(subject, f"test span; changes are from the {subject.last}")
    )
    return figure


def draw_closeup(subject: Subject) -> Figure:
    """The last sessions of the test span, where the forecast can be told from the last close, and `ewma`'s interval beside it."""
    figure, cells = sheet(subject.shown)
    for ticker, (axes,) in cells.items():
        rows = subject.rows(subject.network, ticker).tail(CLOSEUP_SESSIONS)
        _fan(axes, subject, rows, 1.5, marker="o", ms=3.2)
        label_axes(axes, subject.when, subject.unit)
        _compare(axes, subject.rows(NAIVE, ticker).tail(CLOSEUP_SESSIONS), NAIVE, ("forecast",), f"naive ({subject.last})")
        _compare(axes, subject.rows(EWMA, ticker).tail(CLOSEUP_SESSIONS), EWMA, ("q05", "q95"), "ewma 90 % interval")
        time_axis(axes, rows[DATE].to_numpy(), 8 if len(cells) == 1 else 4, dated=subject.dated)
    title = f"{subject.title}: actual and forecast{subject.ahead}, close-up"
    head(figure, title, notes_of(subject, "end of the test span", CLOSEUP_SESSIONS))
    return figure


def draw_loss(subject: Subject) -> Figure:
    """Training and validation loss of each epoch, member and refit; a ring marks the epoch whose weights were put back."""
    figure, cells = sheet(["loss"])
    (axes,) = cells["loss"]
    members = trainings_of(subject.history)
    _draw_losses(axes, members)
    logarithmic = is_log_scaled(subject.history[["loss", "validation_loss"]].to_numpy(float))
    (log_axis if logarithmic else number_axis)(axes.yaxis)
    number_axis(axes.xaxis, 10, whole=True)
    first, last = subject.history["epoch"].min(), subject.history["epoch"].max()
    pad = 0.1 + 0.02 * (last - first) if last > first else 0.6
    axes.set_xlim(first - pad, last + pad)
    label_axes(axes, "Epoch", "Loss (of the scaled target, no unit" + ("; log scale)" if logarithmic else ")"))
    head(figure, f"{subject.title}: loss of {inert(subject.network)}", [_members(members)])
    return figure


def _draw_losses(axes: Axes, members: list[pd.DataFrame]) -> None:
    fade = 1.0 if len(members) == 1 else max(0.25, 0.8 - 0.05 * len(members))
    ring: dict[str, Any] = {"marker": "o", "ls": "", "ms": 8, "mfc": "white", "mec": COLORS["ewma"], "mew": 1.8}
    for place, rows in enumerate(members):
        dot = "." if len(rows) <= 12 else ""
        for column, name, color in (("loss", "training", COLORS["naive"]), ("validation_loss", "validation", COLORS["network"])):
            axes.plot(rows["epoch"], rows[column], color=color, lw=1.5, alpha=fade, marker=dot, label="" if place else f"{name} loss")
        best = rows[rows["restored"].astype(bool)]
        axes.plot(best["epoch"], best["validation_loss"], label="" if place else "restored epoch", **ring)


def _members(members: list[pd.DataFrame]) -> str:
    restored = [int(epoch) for rows in members for epoch in rows.loc[rows["restored"].astype(bool), "epoch"]]
    several = f"{len(members)} networks, " if len(members) > 1 else ""
    if not restored:
        return f"{several}last epoch kept"
    low, high = min(restored), max(restored)
    return f"{several}weights of epoch {low if low == high else f'{low} to {high}'} restored"


def draw_residuals(subject: Subject) -> Figure:
    """Residuals over time, and their histogram beside it with naive's as an outline."""
    figure, cells = sheet(subject.shown, widths=(2.4, 1.0), beside=(6.4, 2.7))
    for ticker, (axes, pile) in cells.items():
        rows, other = subject.rows(subject.network, ticker), subject.rows(NAIVE, ticker)
        residuals, reference = rows["actual"] - rows["forecast"], other["actual"] - other["forecast"]
        axes.vlines(rows[DATE], 0, residuals, color=COLORS["network"], lw=1.4 if len(rows) <= 250 else 0.6)
        axes.axhline(0, color=INK, lw=0.8)
        bound = 1.08 * max(residuals.abs().max(), reference.abs().max(), 1e-12)
        bins = np.linspace(-bound, bound, 2 * min(20, max(4, round(0.6 * len(rows) ** 0.5))) + 2)
        side: dict[str, Any] = {"bins": bins, "orientation": "horizontal"}
        pile.hist(residuals, color=COLORS["network"], alpha=0.75, label=inert(subject.network, 24), **side)
        pile.hist(reference, histtype="step", color=COLORS["naive"], lw=1.6, label=f"naive ({subject.last})", **side)
        pile.set_title(moments(residuals.to_numpy()))
        pile.set_ylim(-1.04 * bound, 1.04 * bound)
        axes.sharey(pile)
        pile.tick_params(labelleft=False)
        time_axis(axes, rows[DATE].to_numpy(), 6 if len(cells) == 1 else 4, dated=subject.dated)
        for axis in (axes.yaxis, pile.xaxis):
            number_axis(axis, 7 if axis is axes.yaxis else 3)
        label_axes(axes, subject.when, f"Actual - forecast ({UNIT})")
        label_axes(pile, subject.many.capitalize(), "")
    head(figure, f"{subject.title}: residuals{subject.ahead}", notes_of(subject, "residual = actual - forecast"))
    return figure


def draw_change(subject: Subject) -> Figure:
    """Whether the forecast foresees today's change or repeats yesterday's.

    Left, the change forecast from the last close against the change that came: a forecast that adds nothing to the last
    close is the vertical line. Right, the forecast line's own change from session to session against yesterday's change: a
    shifted copy of yesterday is the diagonal, while foresight leaves a cloud.
    """
    figure, cells = sheet(subject.shown, widths=(1.0, 1.0), alone=(9.6, 4.9), beside=(6.8, 3.6))
    turn = "day" if subject.now == "today" else subject.row
    before = f"{subject.before.capitalize()}'s change"
    panels = (
        ("foreseen", "today", f"Does it foresee {subject.now}?", f"Forecast - {subject.last}", "Actual change"),
        ("line", "yesterday", f"Does it copy {subject.before}?", f"Forecast line, {turn} to {turn}", before),
    )
    for ticker, both in cells.items():
        changes = _changes(subject.rows(subject.network, ticker))
        bound = 1.06 * max(np.nanmax(np.abs(changes.to_numpy()), initial=0.0), 1e-6)
        for axes, (x, y, question, label_x, label_y) in zip(both, panels, strict=True):
            axes.axhline(0, color=MUTED, lw=0.8)
            axes.axvline(0, color=MUTED, lw=0.8)
            axes.axline((0, 0), slope=1, color=COLORS["ewma"], lw=1.2, ls=(0, (4, 2)), label="equal changes", zorder=2)
            axes.scatter(
                changes[x], changes[y], s=16, color=COLORS["network"], alpha=0.55, lw=0, label=inert(subject.network, 24), zorder=3
            )
            axes.set(xlim=(-bound, bound), ylim=(-bound, bound), box_aspect=1)
            number_axis(axes.xaxis, 5)
            number_axis(axes.yaxis, 5)
            label_axes(axes, f"{label_x} (log return, %)", f"{label_y} (log return, %)")
            prefix = f"{inert(ticker, 16)}: " if len(cells) > 1 else ""
            lags = f"r = {_correlation(changes[x], changes['today'])} at lag 0, {_correlation(changes[x], changes['yesterday'])} at lag 1"
            axes.set_title(f"{prefix}{question}\n{lags}", weight="normal")
    notes = (
        f"a copy of {subject.before} is a vertical line at left, the diagonal at right",
        f"r: with the change of {subject.now} (lag 0), {subject.before} (lag 1)",
    )
    head(figure, f"{subject.title}: forecast change and actual change{subject.ahead}", [*notes, subject.choice])
    return figure


def _changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Log returns in percent: `today` and `foreseen` from the last close, `yesterday`'s, the forecast `line`'s own."""
    returns = returns_of(rows)
    yesterday, foreseen = 100 * np.log(rows["last"].where(rows["last"] > 0)).diff(), returns["forecast"]
    return pd.DataFrame({"today": returns["actual"], "foreseen": foreseen, "yesterday": yesterday, "line": foreseen.diff() + yesterday})


def _correlation(x: pd.Series, y: pd.Series) -> str:
    both = pd.concat([x, y], axis=1).dropna()
    spread = both.std()
    if len(both) < 3 or (spread <= 1e-9).any():
        return NOTHING
    return minus(f"{np.corrcoef(both.to_numpy().T)[0, 1]:+.2f}")


def draw_calibration(subject: Subject) -> Figure:
    """Measured against nominal coverage, and the difference enlarged; with a longer horizon also the 90 % interval by step."""
    longer = subject.horizon > 1
    figure, cells = sheet([""], widths=(1.2, 1.25, 1.1) if longer else (1.0, 1.25), alone=(13.2 if longer else 9.6, 4.2))
    square, detail = cells[""][:2]
    levels = np.array(list(LEVELS), dtype=float)
    _coverage_by_level(square, subject, levels)
    _coverage_by_level(detail, subject, 0 * levels)
    square.set(ylim=(0, 100), box_aspect=1)
    square.set_yticks(range(0, 101, 20))
    number_axis(detail.yaxis)
    label_axes(square, "Nominal coverage (%)", "Measured coverage (%)")
    label_axes(detail, "Nominal coverage (%)", "Measured - nominal (percentage points)")
    if longer:
        _coverage_by_step(cells[""][2], subject)
    apart = ["the band k steps ahead is of every k-th forecast"] if longer else []
    notes = [f"{len(subject.rows(subject.network)):,} forecasts", *subject.band, *apart, "below the line: too narrow, above: too wide"]
    head(figure, f"{subject.title}: calibration of the intervals{subject.ahead}", notes)
    return figure


def _coverage_by_level(axes: Axes, subject: Subject, line: np.ndarray) -> None:
    """Measured coverage of every level, drawn so that a perfect forecaster lies on `line`."""
    levels = np.array(list(LEVELS), dtype=float)
    low, high = (100 * bound - levels + line for bound in binomial_band(levels / 100, len(subject.rows(subject.network))))
    axes.fill_between(levels, low, high, color=FAINT, lw=0, label="95 % band of a perfect forecaster")
    axes.plot(levels, line, color=MUTED, lw=1)
    for model, style in model_styles(subject):
        rows = subject.rows(model)
        measured = np.array([_coverage(rows, *columns) for columns in LEVELS.values()])
        axes.plot(levels, measured - levels + line, marker="o", ms=4, label=inert(model, 24), **style)
    axes.set_xlim(5, 95)
    axes.set_xticks(levels)


def _coverage_by_step(axes: Axes, subject: Subject) -> None:
    """Measured coverage of each step; the band counts every k-th forecast k steps ahead, as those between overlap and err together."""
    steps = list(range(1, subject.horizon + 1))
    counts = [max(1, len(subject.rows(subject.network, step=step)) // step) for step in steps]
    bounds = np.array([binomial_band(np.array([0.9]), count) for count in counts])[:, :, 0]
    axes.fill_between(steps, 100 * bounds[:, 0], 100 * bounds[:, 1], color=FAINT, lw=0)
    axes.axhline(90, color=MUTED, lw=1)
    for model, style in model_styles(subject):
        axes.plot(steps, [_coverage(subject.rows(model, step=step), *LEVELS[90]) for step in steps], marker="o", ms=4, **style)
    number_axis(axes.yaxis)
    number_axis(axes.xaxis, whole=True)
    label_axes(axes, f"Step ({subject.many} ahead)", "Measured coverage of the 90 % interval (%)")


def _coverage(rows: pd.DataFrame, low: str, high: str) -> float:
    return float(100 * rows["actual"].between(rows[low], rows[high]).mean())


def _fan(axes: Axes, subject: Subject, rows: pd.DataFrame, width: float, **style: Any) -> None:
    """Intervals from wide to narrow, the forecast, and the actual on top in its own style."""
    for low, high, label, color in BANDS:
        axes.fill_between(rows[DATE], rows[low], rows[high], color=color, lw=0, label=label)
    axes.plot(rows[DATE], rows["forecast"], color=COLORS["network"], lw=width, label=f"{inert(subject.network, 24)} forecast")
    axes.plot(rows[DATE], rows["actual"], color=COLORS["actual"], label="actual", **{"lw": 0.8 * width, **style})
    number_axis(axes.yaxis)


def _compare(axes: Axes, rows: pd.DataFrame, model: str, columns: tuple[str, ...], label: str) -> None:
    """A baseline's columns as one kind of dashed line; nothing where the table lacks the baseline."""
    for place, column in enumerate(columns if len(rows) else ()):
        axes.plot(rows[DATE], rows[column], color=COLORS[model], ls=DASHES[model], lw=1.3, label="" if place else label)


FIGURES: Mapping[str, Callable[[Subject], Figure]] = {
    "forecast": draw_forecast,
    "closeup": draw_closeup,
    "loss": draw_loss,
    "residuals": draw_residuals,
    "change": draw_change,
    "calibration": draw_calibration,
    **EVIDENCE,
}
"""The pictures of a run, by the names of their files."""
