"""Runs side by side: the tables and the picture of `runs compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stockrnn.evaluation.significance import losses_by_date
from stockrnn.prices.steps import row_name
from stockrnn.reports.evidence_tables import metric_table, p_cell
from stockrnn.reports.sheet import COLORS, INK, SPARE, drawing, head, inert, label_axes, number_axis, sheet, time_axis, when
from stockrnn.reports.subject import NAIVE
from stockrnn.reports.tables import POOLED, empty_table, literal, number, plain_text
from stockrnn.types import TICKER, UNDATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from stockrnn.evaluation.comparison import Comparison

COMPARED = ("mae", "rmse", "crps", "skill_mae", "skill_crps", "coverage_90", "width_90", "directional_accuracy")
RUN_STYLES = ((COLORS["network"], "-"), (COLORS["ewma"], "-"), (COLORS["drift"], "-"), *SPARE)
"""Colour and dashes of runs that are compared."""


def comparison_table(found: Comparison) -> Table:
    """Runs side by side on the sessions they have in common, naive below them."""
    table = metric_table("Run", found.scores, COMPARED, bold=found.best)
    table.caption = "In the prices' currency; skill against naive, above 0 is better."
    if found.forecasts[TICKER].nunique() > 1:
        table.caption += f" {POOLED}"
    table.caption_justify = "left"
    return table


def pairs_table(found: Comparison) -> Table:
    """Each pair of runs: by how much the first one's CRPS and MAE differ from the second's, with Holm's p."""
    table = empty_table(["Run", "against", "CRPS\n%", "p", "MAE\n%", "p"], left=2)
    for pair in found.pairs:
        cells = [
            text for loss in ("crps", "absolute") for text in (number(100 * (pair.ratios[loss] - 1), 2, "+"), p_cell(pair.p_holm[loss]))
        ]
        table.add_row(*map(literal, [plain_text(pair.first, 32), plain_text(pair.second, 32), *cells]))
    table.caption = "p of Diebold-Mariano tests, corrected by Holm for all in this table; below 0.05 the difference is shown."
    table.caption_justify = "left"
    return table


def draw_comparison(found: Comparison) -> Figure:
    """Runs side by side on the sessions they have in common: CRPS saved against naive over time, and in all with its interval."""
    figure, cells = sheet([""], heights=(1.7, 1.0), alone=(9.6, 5.4))
    over_time, in_all = cells[""]
    losses = losses_by_date(found.forecasts, "crps")
    runs, unit, dates = list(found.intervals), losses[NAIVE].mean() or 1.0, losses.index.to_numpy()
    over_time.axhline(0, color=INK, lw=0.8)
    for place, run in enumerate(runs):
        color, dashes = RUN_STYLES[place % len(RUN_STYLES)]
        over_time.plot(dates, (losses[NAIVE] - losses[run]).cumsum() / unit, color=color, ls=dashes, lw=1.8, label=inert(run, 40))
        value = 100 * (1 - losses[run].sum() / losses[NAIVE].sum()) if losses[NAIVE].any() else 0.0
        low, high = (100 * end for end in found.intervals[run] or (value / 100, value / 100))
        in_all.hlines(place, low, high, color=color, lw=3, alpha=0.6)
        in_all.plot(value, place, color=color, marker="o", ms=6)
    time_axis(over_time, dates, 8, dated=found.step != UNDATED)
    number_axis(over_time.yaxis)
    names = row_name(found.step, 2)
    label_axes(over_time, when(found.step), f"CRPS saved ({names}' worth)")
    in_all.axvline(0, color=INK, lw=0.8)
    in_all.set_yticks(range(len(runs)), [inert(run, 28) for run in runs])
    in_all.set_ylim(len(runs) - 0.5, -0.5)
    in_all.grid(visible=False, axis="y")
    number_axis(in_all.xaxis, 9)
    label_axes(in_all, "CRPS skill against naive (%)", "")
    tickers = found.forecasts[TICKER].nunique()
    pooled = f"{tickers} tickers pooled" if tickers > 1 else ""
    notes = [f"{found.sessions:,} {names} in common", pooled, "lines: 95 % bootstrap intervals"]
    head(figure, f"{len(runs)} runs compared", notes)
    return figure


def comparison_figure(found: Comparison) -> Figure:
    """The picture of `runs compare`."""
    with drawing():
        return draw_comparison(found)
