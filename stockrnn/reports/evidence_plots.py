"""The pictures of a verdict: where a win comes from, whether the distribution holds, and when. Reads no file, trains nothing.

Losses are those of the verdict: summed per cutoff date, in units of each ticker's mean naive loss, so tickers pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.evaluation.metrics import LEVELS, crps_rows
from stockrnn.evaluation.significance import skill_interval
from stockrnn.evaluation.verdict import least_sessions
from stockrnn.reports.sheet import COLORS, FAINT, INK, MUTED, head, inert, label_axes, minus, number_axis, sheet, time_axis
from stockrnn.reports.subject import NAIVE, Subject, binomial_band, model_styles, notes_of
from stockrnn.reports.tables import number
from stockrnn.types import DATE, QUANTILE_COLUMNS, QUANTILES, TICKER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLLING = 250
"""Sessions of a rolling share; half of the test span where that is fewer."""
FAR = 4.0
"""How many times the median's extent a line may have before it is left to leave the picture."""
FAN_SESSIONS = 24
FAN_COLORS = ("#e3eef7", "#d0e3f1", "#bcd7eb", "#a7cae4", "#91bddd", "#7aafd6", "#62a1ce", "#4992c5", "#2f83bb")
"""Of the intervals from 90 % to 10 %, lightest first."""
RIVALS = (NAIVE, "garch", "har")
NAMED, WITH_INTERVAL = 12, 60
"""Most tickers whose names and rivals are drawn, and whose intervals are."""
SEED = 0
"""Of the bootstrap, so that the same table gives the same picture."""


def draw_edge(subject: Subject) -> Figure:
    """CRPS saved since the start of the test span against each other model: where the win comes from, and when it was lost."""
    figure, cells = sheet([""])
    (axes,) = cells[""]
    losses = _by_date(_losses(subject), subject)
    unit = losses[NAIVE].mean() or 1.0
    mine, dates = losses[subject.network], losses.index.to_numpy()
    axes.axhline(0, color=INK, lw=0.8)
    saved = {model: (losses[model] - mine).cumsum() / unit for model in subject.models if model != subject.network}
    for model, style in model_styles(subject):
        if model in saved:
            percent = 100 * (1 - mine.sum() / losses[model].sum()) if losses[model].sum() else 0.0
            label = f"against {inert(model, 24)} ({minus(number(percent, 1, '+'))} %)"
            axes.plot(dates, saved[model], label=label, **{**style, "lw": 1.6})
    outside = _leave_far(axes, saved)
    time_axis(axes, dates, 8, dated=subject.dated)
    number_axis(axes.yaxis)
    label_axes(axes, subject.when, f"CRPS saved so far ({subject.many}' worth of naive's mean)")
    notes = ["rising: the network is sharper, falling: the other", *subject.pooled, *outside]
    head(figure, f"{subject.title}: cumulative CRPS difference", notes)
    return figure


def _leave_far(axes: Axes, saved: Mapping[str, pd.Series]) -> list[str]:
    """Let y show the lines that lie near each other, and say which leave the picture."""
    extents = {model: float(line.abs().max()) for model, line in saved.items()}
    near = [model for model, extent in extents.items() if extent <= FAR * float(np.median(list(extents.values())))]
    if not near or len(near) == len(saved):
        return []
    values = np.concatenate([[0.0], *(saved[model].to_numpy() for model in near)])
    pad = 0.08 * max(float(np.ptp(values)), 1e-9)
    axes.set_ylim(values.min() - pad, values.max() + pad)
    return [f"{', '.join(inert(model, 24) for model in saved if model not in near)}: outside the picture"]


def draw_fan(subject: Subject) -> Figure:
    """The last forecasts as fans that open from the price at the cutoff over the sessions ahead, and the prices that came."""
    figure, cells = sheet(subject.shown)
    for ticker, (axes,) in cells.items():
        rows = subject.rows(subject.network, ticker, step=None)
        cutoffs = np.sort(rows["cutoff"].unique())[:: -subject.horizon][: max(1, FAN_SESSIONS // subject.horizon)]
        fans = [rows[rows["cutoff"] == cutoff].sort_values("step") for cutoff in cutoffs]
        _draw_fans(axes, fans)
        known = rows[rows[DATE] > cutoffs.min()].drop_duplicates(DATE).sort_values(DATE)
        axes.plot(known[DATE], known["actual"], color=INK, lw=1.2, marker="o", ms=3, label="actual")
        number_axis(axes.yaxis)
        label_axes(axes, subject.when, subject.unit)
        time_axis(axes, np.append(cutoffs, known[DATE].to_numpy()), 8 if len(cells) == 1 else 4, dated=subject.dated)
    steps = f"{subject.horizon} {subject.many} ahead" if subject.horizon > 1 else f"one {subject.row} ahead"
    notes = [f"each fan opens from the price at its cutoff, {steps}", *notes_of(subject, "")[2:]]
    head(figure, f"{subject.title}: fan chart of the last {subject.many}", notes)
    return figure


def _draw_fans(axes: Axes, fans: Sequence[pd.DataFrame]) -> None:
    """All fans, each a row of prices from that at its cutoff on, with a gap behind it."""
    gap, columns = {DATE: fans[0]["cutoff"].iloc[0]}, [DATE, *QUANTILE_COLUMNS]
    begun = [pd.DataFrame([{DATE: fan["cutoff"].iloc[0], **dict.fromkeys(QUANTILE_COLUMNS, fan["last"].iloc[0])}]) for fan in fans]
    rows = pd.concat([part for start, fan in zip(begun, fans, strict=True) for part in (start, fan[columns], pd.DataFrame([gap]))])
    for place, color in enumerate(FAN_COLORS):
        label = f"{90 - 10 * place} % interval" if place in (0, 4, 8) else None
        axes.fill_between(rows[DATE], rows[QUANTILE_COLUMNS[place]], rows[QUANTILE_COLUMNS[-1 - place]], color=color, lw=0, label=label)
    axes.plot(rows[DATE], rows["q50"], color=COLORS["network"], lw=1.2, label="median of the forecast")


def draw_reliability(subject: Subject) -> Figure:
    """How often the actual price lay below each quantile, and in which of twenty equally likely ranges it fell."""
    figure, cells = sheet([""], widths=(1.0, 1.35), alone=(9.6, 4.2))
    square, pile = cells[""]
    levels, count = 100 * np.array(QUANTILES), len(subject.rows(subject.network))
    low, high = (100 * bound for bound in binomial_band(levels / 100, count))
    square.fill_between(levels, low, high, color=FAINT, lw=0, label="95 % band of a perfect forecaster")
    square.plot(levels, levels, color=MUTED, lw=1)
    for model, style in model_styles(subject):
        rows = subject.rows(model)
        below = 100 * (rows["actual"].to_numpy()[:, None] <= rows[list(QUANTILE_COLUMNS)].to_numpy()).mean(axis=0)
        square.plot(levels, below, label=inert(model, 24), **style)
    square.set(xlim=(0, 100), ylim=(0, 100), box_aspect=1, xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    label_axes(square, "Quantile level (%)", "Actual at or below it (%)")
    _draw_pit(pile, subject, count)
    notes = ["a perfect forecaster lies on the diagonal, and fills the ranges evenly", f"{count:,} forecasts", *subject.band]
    head(figure, f"{subject.title}: reliability{subject.ahead}", notes)
    return figure


def _draw_pit(axes: Axes, subject: Subject, count: int) -> None:
    """The probability integral transform in the ranges between the quantiles; the network's as bars, a rival's as an outline."""
    share = 1 / (len(QUANTILES) + 1)
    edges = 100 * share * np.arange(len(QUANTILES) + 2)
    low, high = (100 * float(bound[0]) for bound in binomial_band(np.array([share]), count))
    axes.axhspan(low, high, color=FAINT, lw=0)
    axes.stairs(_pit(subject.rows(subject.network)), edges, fill=True, color=COLORS["network"], alpha=0.75, zorder=2)
    styles = dict(model_styles(subject))
    for rival in [name for name in ("har", "garch", "ewma", NAIVE) if name in styles][:1]:
        axes.stairs(_pit(subject.rows(rival)), edges, color=styles[rival]["color"], lw=1.6, zorder=3)
        axes.set_title(f"bars: {inert(subject.network, 24)}, line: {rival}", weight="normal")
    axes.axhline(100 * share, color=MUTED, lw=1, zorder=4)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 10))
    number_axis(axes.yaxis)
    label_axes(axes, "Place of the actual price in the forecast distribution (%)", "Forecasts (%)")


def _pit(rows: pd.DataFrame) -> np.ndarray:
    """Percent of the rows in each range between the quantiles, shape (20,)."""
    place = (rows[list(QUANTILE_COLUMNS)].to_numpy() < rows["actual"].to_numpy()[:, None]).sum(axis=1)
    return 100 * np.bincount(place, minlength=len(QUANTILES) + 1) / len(rows)


def draw_coverage(subject: Subject) -> Figure:
    """Rolling coverage of the 90 % interval beside the other models', and of the network's 50, 80 and 90 % intervals."""
    figure, cells = sheet([""], heights=(1.25, 1.0), alone=(9.6, 5.0))
    beside, own = cells[""]
    sessions = _window(subject)
    low, high = (100 * float(bound[0]) for bound in binomial_band(np.array([0.9]), sessions))
    for axes in (beside, own):
        axes.axhspan(low, high, color=FAINT, lw=0, label="95 % band of a perfect forecaster")
    for model, style in model_styles(subject):
        shares = _rolling(_inside(subject.rows(model), 90), sessions)
        beside.plot(shares.index, 100 * shares, label=inert(model, 24), **{**style, "lw": min(style["lw"], 1.8)})
    ends: dict[str, float] = {}
    for percent, width in ((90, 1.8), (80, 1.4), (50, 1.0)):
        shares = _rolling(_inside(subject.rows(subject.network), percent), sessions)
        own.axhline(percent, color=MUTED, lw=1, ls=(0, (4, 2)))
        own.plot(shares.index, 100 * shares, color=COLORS["network"], lw=width)
        ends |= {f"{percent} %": 100 * shares.iloc[-1]} if len(shares) else {}
    for axes in (beside, own):
        _rolled_axis(axes, subject, sessions, 8)
        number_axis(axes.yaxis)
    if ends:
        _name_ends(own, shares.index[-1], ends)
    label_axes(beside, subject.when, "Coverage of 90 % (%)")
    label_axes(own, subject.when, f"Coverage, {inert(subject.network, 12)} (%)")
    notes = [f"each point: the {sessions} {subject.many} up to it", *subject.pooled]
    head(figure, f"{subject.title}: coverage over time{subject.ahead}", notes)
    return figure


def draw_skill(subject: Subject) -> Figure:
    """CRPS skill with bootstrap intervals by year, by step, and by ticker, where there are several."""
    losses = _losses(subject)
    panels = [(name, losses[name]) for name in ("year", "step", TICKER) if name == "year" or losses[name].nunique() > 1]
    figure, cells = sheet([""], heights=(1.0,) * len(panels), alone=(9.6, 0.9 + 2.6 * len(panels)))
    rivals = [name for name in RIVALS if name in subject.models] or subject.models[1:3]
    styles = dict(model_styles(subject))
    for axes, (name, keys) in zip(cells[""], panels, strict=True):
        axes.axhline(0, color=INK, lw=0.8)
        if keys.nunique() > NAMED and name == TICKER:
            _draw_ranked(axes, losses, keys, subject, styles)
            continue
        names = sorted(keys.unique())
        for place, rival in enumerate(rivals):
            x = np.arange(len(names)) + 0.22 * (place - (len(rivals) - 1) / 2)
            made = [_skill(losses[keys == key], subject, rival) for key in names]
            _draw_intervals(axes, x, made, color=styles[rival]["color"], label=f"against {inert(rival, 24)}")
        _category_axis(axes, [inert(key, 12) for key in names])
        number_axis(axes.yaxis)
        label_axes(axes, {"year": subject.era, "step": f"Step ({subject.many} ahead)", TICKER: "Ticker"}[name], "CRPS skill (%)")
    notes = [
        f"above 0: the network is sharper; lines: 95 % bootstrap intervals, of {least_sessions(subject.horizon)} {subject.many} or more",
        *subject.pooled,
    ]
    head(figure, f"{subject.title}: skill", notes)
    return figure


def _draw_ranked(axes: Axes, losses: pd.DataFrame, keys: pd.Series, subject: Subject, styles: Mapping[str, dict[str, Any]]) -> None:
    """The skill against naive of many tickers, from worst to best."""
    made = [_skill(rows, subject, NAIVE, interval=keys.nunique() <= WITH_INTERVAL) for _, rows in losses.groupby(keys)]
    made.sort()
    _draw_intervals(axes, np.arange(1, len(made) + 1), made, color=styles[NAIVE]["color"], label="")
    positive = sum(value > 0 for value, *_ in made)
    axes.set_title(f"against naive: above 0 for {positive} of {len(made)} tickers", weight="normal")
    number_axis(axes.xaxis, 10, whole=True)
    number_axis(axes.yaxis)
    label_axes(axes, "Tickers, from worst to best (rank)", "CRPS skill (%)")


def _draw_intervals(axes: Axes, x: np.ndarray, made: Sequence[tuple[float, float, float]], *, color: str, label: str) -> None:
    values, low, high = np.array(made).T
    axes.vlines(x, low, high, color=color, lw=2.2, alpha=0.6)
    axes.plot(x, values, color=color, marker="o", ms=5 if len(x) <= 60 else 2.5, ls="", label=label)


def _category_axis(axes: Axes, names: Sequence[str]) -> None:
    """Let x show names at 0, 1, 2 …, as many as there is room for."""
    every = -(-len(names) * max(map(len, names)) // 100)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(range(0, len(names), every), names[::every])
    axes.grid(visible=False, axis="x")


def draw_direction(subject: Subject) -> Figure:
    """Share of right directions over time and by year, beside the base rate: the share of up moves in the same sessions."""
    figure, cells = sheet([""], widths=(1.7, 1.0), alone=(9.6, 4.2))
    over_time, by_year = cells[""]
    moves = _moves(subject)
    sessions = _window(subject)
    over_time.axhline(50, color=MUTED, lw=1)
    for column, label, color, dashes in DIRECTIONS:
        shares = _rolling(moves[column], sessions)
        over_time.plot(shares.index, 100 * shares, color=COLORS[color], ls=dashes, lw=1.8, label=label)
    _rolled_axis(over_time, subject, sessions, 5)
    number_axis(over_time.yaxis)
    label_axes(over_time, subject.when, "Right direction (%)")
    if len(moves):
        _draw_years(by_year, moves, subject)
    else:
        by_year.text(0.5, 0.5, "no change is forecast", transform=by_year.transAxes, ha="center", va="center", color=MUTED)
        by_year.set(xticks=[], yticks=[])
    label_axes(by_year, subject.era, "Right direction (%)")
    notes = [f"left: the {sessions} {subject.many} up to each; right: 95 % intervals", *subject.pooled]
    head(figure, f"{subject.title}: direction{subject.ahead}", notes)
    return figure


def _draw_years(axes: Axes, moves: pd.DataFrame, subject: Subject) -> None:
    year_of = subject.years(moves.index.to_series())
    years = sorted(year_of.unique())
    for place, (column, _, color, _) in enumerate(DIRECTIONS):
        rows = [moves[column][year_of == year] for year in years]
        made = [(100 * each.mean(), *_wilson(float(each.mean()), len(each))) for each in rows]
        if column == "up":
            made = [(value, value, value) for value, *_ in made]
        _draw_intervals(axes, np.arange(len(years)) + 0.24 * (place - 0.5), made, color=COLORS[color], label="")
    axes.axhline(50, color=MUTED, lw=1)
    _category_axis(axes, [f"{year}" if len(years) <= 5 else f"’{year % 100:02}" for year in years])
    number_axis(axes.yaxis)


DIRECTIONS = (("hit", "the network's direction is right", "network", "-"), ("up", "the price went up (base rate)", "naive", (0, (4, 2))))


def _moves(subject: Subject) -> pd.DataFrame:
    """Per date the share of tickers whose direction was right (`hit`) and that went up (`up`), where price and forecast moved."""
    rows = subject.rows(subject.network)
    actual, forecast = np.sign(rows["actual"] - rows["last"]), np.sign(rows["forecast"] - rows["last"])
    moved = (actual != 0) & (forecast != 0)
    table = pd.DataFrame({"hit": (actual == forecast)[moved].astype(float), "up": (actual > 0)[moved].astype(float)})
    return table.groupby(rows.loc[moved, DATE]).mean()


def _wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share among `count` sessions, in percent. Source: Wilson 1927, doi:10.1080/01621459.1927.10502953."""
    z = 1.959964
    centre, spread = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return 100 * (centre - spread) / (1 + z * z / count), 100 * (centre + spread) / (1 + z * z / count)


def _losses(subject: Subject) -> pd.DataFrame:
    """The CRPS of every model in units of the ticker's mean naive CRPS, one row a ticker, cutoff and step; and the year."""
    tables, one = subject.tables, subject.tables[NAIVE]
    raw = {name: crps_rows(rows["actual"], rows[list(QUANTILE_COLUMNS)]) for name, rows in tables.items()}
    unit = pd.Series(raw[NAIVE]).groupby(one[TICKER]).transform("mean").to_numpy()
    scaled = {name: values / np.where(unit > 0, unit, 1.0) for name, values in raw.items()}
    return pd.DataFrame({TICKER: one[TICKER], "cutoff": one["cutoff"], "step": one["step"], "year": subject.years(one[DATE]), **scaled})


def _by_date(losses: pd.DataFrame, subject: Subject) -> pd.DataFrame:
    """The losses of every model summed per cutoff date."""
    return losses.groupby("cutoff")[subject.models].sum()


def _skill(losses: pd.DataFrame, subject: Subject, rival: str, *, interval: bool = True) -> tuple[float, float, float]:
    """The skill against a rival in percent, and its 95 % bootstrap interval; the skill alone of fewer dates than carry a claim."""
    table = _by_date(losses, subject)
    mine, other = table[subject.network], table[rival]
    if not other.sum():
        return 0.0, 0.0, 0.0
    value = 100 * (1 - mine.sum() / other.sum())
    several = interval and len(table) >= least_sessions(subject.horizon)
    ends = skill_interval(mine, other, SEED, horizon=subject.horizon) if several else None
    low, high = (100 * end for end in ends) if ends else (value, value)
    return value, low, high


def _inside(rows: pd.DataFrame, percent: int) -> pd.Series:
    """Per date the share of tickers whose actual price lay inside the interval."""
    low, high = LEVELS[percent]
    return rows["actual"].between(rows[low], rows[high]).astype(float).groupby(rows[DATE]).mean()


def _rolling(shares: pd.Series, sessions: int) -> pd.Series:
    """The mean of each stretch of sessions, at its last date."""
    return shares.sort_index().rolling(sessions).mean().dropna()


def _rolled_axis(axes: Axes, subject: Subject, sessions: int, most: int) -> None:
    """Let x show the dates that have a rolling share; all dates where none has."""
    dates = np.sort(subject.rows(subject.network)[DATE].unique())
    time_axis(axes, dates[sessions - 1 :] if len(dates) >= sessions else dates, most, dated=subject.dated)


def _name_ends(axes: Axes, last: pd.Timestamp, ends: Mapping[str, float]) -> None:
    """Name lines at their ends; those that end within a tenth of the axis of each other, such as at 100 %, have one text."""
    near = 0.1 * float(np.ptp(axes.get_ylim()))
    groups: list[list[str]] = []
    for name in sorted(ends, key=lambda name: (ends[name], name)):
        if groups and ends[name] - ends[groups[-1][0]] < near:
            groups[-1].append(name)
        else:
            groups.append([name])
    for names in groups:
        place = (last, float(np.mean([ends[name] for name in names])))
        axes.annotate(", ".join(names), place, xytext=(4, 0), textcoords="offset points", va="center", color=COLORS["network"])


def _window(subject: Subject) -> int:
    dates = int(subject.rows(subject.network)[DATE].nunique())
    return min(ROLLING, (dates + 1) // 2)


EVIDENCE: Mapping[str, Callable[[Subject], Figure]] = {
    "edge": draw_edge,
    "fan": draw_fan,
    "reliability": draw_reliability,
    "coverage": draw_coverage,
    "skill": draw_skill,
    "direction": draw_direction,
}
"""The pictures of a verdict, by the names of their files."""
