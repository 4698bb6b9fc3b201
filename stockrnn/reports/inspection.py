"""A first look at a price table, as one would take by hand: pictures, a summary of each column, and text histograms.

Looks and counts only; what is wrong with the file is said by `prices/quality.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.prices.steps import dated, row_name
from stockrnn.reports import tables
from stockrnn.reports.sheet import (
    COLORS,
    INK,
    MUTED,
    UNIT,
    drawing,
    head,
    inert,
    label_axes,
    log_axis,
    moments,
    number_axis,
    sheet,
    shown_of,
    time_axis,
    when,
)
from stockrnn.types import CLOSE, DATE, HIGH, LOW, PRICES, TICKER, UNDATED, VOLUME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

    from stockrnn.prices.quality import Finding

LOG_SCALE_RATIO = 20.0
"""Highest close over lowest beyond which the price axis is logarithmic."""
NOT_HELD = "not in the file"
FILL, RANGE = "#9ecae9", "#f2bd62"
DESCRIBED = (*PRICES, VOLUME)
SPARKS = "▁▂▃▄▅▆▇█"
BLOCKS = " ▏▎▍▌▋▊▉█"


def inspection_figures(prices: pd.DataFrame, title: str, step: str = "") -> dict[str, Figure]:
    """The pictures of a price table, by the names of their files.

    Args:
        prices: a price table with at least one row.
        title: the file or ticker, as it came from the user.
        step: what the file's rows are apart, by a name in `STEPS`.

    Returns:
        `prices` (close, high to low, volume) and `histograms` (change, range, volume), at most six tickers each; what no ticker
        has is named instead of drawn.
    """
    with drawing():
        return {"prices": draw_prices(prices, inert(title), step), "histograms": draw_histograms(prices, inert(title), step)}


def draw_prices(prices: pd.DataFrame, title: str, step: str) -> Figure:
    """Close with the range from low to high over it, and the volume below where there is any."""
    traded = bool((prices[VOLUME] > 0).any())
    tickers = list(prices[TICKER].unique())
    heights, tall = ((3.0, 1.0), 1.2) if traded else ((3.0,), 0.0)
    figure, cells = sheet(tickers, heights=heights, alone=(9.6, 4.2 + tall), beside=(5.6, 2.7 + tall))
    for ticker, (above, *below) in cells.items():
        rows = prices[prices[TICKER] == ticker]
        few = len(rows) <= 250
        if rows[LOW].notna().any():
            above.fill_between(rows[DATE], rows[LOW], rows[HIGH], color=RANGE, lw=0, label="low to high")
        above.plot(rows[DATE], rows[CLOSE], color=COLORS["network"], lw=1.4 if few else 0.7, label="close")
        spread = rows[CLOSE].max() / rows[CLOSE].min() if rows[CLOSE].min() > 0 else 1.0
        (log_axis if spread > LOG_SCALE_RATIO else number_axis)(above.yaxis)
        for axes in (above, *below):
            time_axis(axes, rows[DATE].to_numpy(), 8 if len(cells) == 1 else 4, dated=step != UNDATED)
        label_axes(above, when(step), f"Close ({UNIT}{'; log scale' if spread > LOG_SCALE_RATIO else ''})")
        for axes in below:
            _draw_volume(axes, rows, 1.4 if few else 0.6)
            label_axes(axes, when(step), "Volume (units)")
    missing = [] if traded else ["no volume in the file"]
    head(figure, f"{title}: prices{' and volume' * traded}", [_span(prices, step), *missing, shown_of(tickers)])
    return figure


def _draw_volume(axes: Axes, rows: pd.DataFrame, width: float) -> None:
    from matplotlib.ticker import FuncFormatter

    if rows[VOLUME].max() > 0:
        axes.vlines(rows[DATE], 0, rows[VOLUME], color=MUTED, lw=width)
        axes.set_ylim(0, 1.05 * rows[VOLUME].max())
        number_axis(axes.yaxis, 3)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tables.counted(value)))
    else:
        _say_nothing(axes, NOT_HELD)
        axes.set_yticks([])


def draw_histograms(prices: pd.DataFrame, title: str, step: str) -> Figure:
    """How change, range and volume are distributed, with mean and standard deviation; the change beside a normal curve."""
    tickers, values = list(prices[TICKER].unique()), {label: measure(prices) for label, measure, _ in MEASURES}
    change, *others = values
    drawn = [change, *(label for label in others if np.isfinite(values[label]).any())]
    across = max(2, len(drawn))  # room for the head, too
    figure, cells = sheet(tickers, widths=(1.0,) * len(drawn), alone=(1.8 + 3.0 * across, 3.4), beside=(0.8 + 2.0 * across, 2.5))
    for ticker, panels in cells.items():
        mine = (prices[TICKER] == ticker).to_numpy()
        for axes, label in zip(panels, drawn, strict=True):
            found = values[label][mine & np.isfinite(values[label])]
            _draw_histogram(axes, found, row_name(step, 2), normal=label == change)
            label_axes(axes, label, row_name(step, 2).capitalize())
            prefix = f"{inert(ticker, 16)}: " if len(cells) > 1 and label == change else ""
            axes.set_title(prefix + moments(found), weight="normal")
    missing = [f"no {label.split()[0].lower()} in the file" for label in others if label not in drawn]
    head(figure, f"{title}: histograms", [_span(prices, step), *missing, shown_of(tickers)])
    return figure


def _draw_histogram(axes: Axes, values: np.ndarray, names: str, *, normal: bool) -> None:
    if len(values) < 2 or values.std() <= 1e-12:
        _say_nothing(axes, "no two values differ" if len(values) else NOT_HELD)
        axes.set(xticks=[], yticks=[])
        return
    number_axis(axes.xaxis, 5)
    number_axis(axes.yaxis, 5)
    _, edges, _ = axes.hist(values, bins=min(60, max(8, round(2 * len(values) ** 0.4))), color=FILL, ec="white", lw=0.4, label=names)
    axes.axvline(values.mean(), color=INK, lw=1.2, ls=(0, (4, 2)), label="mean")
    if normal:
        x = np.linspace(edges[0], edges[-1], 200)
        z = (x - values.mean()) / values.std()
        height = len(values) * (edges[1] - edges[0]) / (values.std() * np.sqrt(2 * np.pi))
        axes.plot(x, height * np.exp(-0.5 * z * z), color=COLORS["ewma"], lw=1.4, label="normal curve of the same mean and sd")


def _say_nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def inspection_parts(document: Mapping[str, Any], prices: pd.DataFrame, step: str, findings: Iterable[Finding]) -> Iterator[Table]:
    """What the terminal shows of a price file, one after the other.

    Args:
        document: the file as `inspect --json` holds it.
        prices: its price table.
        step: what its rows are apart, by a name in `STEPS`.
        findings: what is wrong with it.
    """
    keys = ("dialect", "encoding", "separator", "decimal", "date_format", "order", "step", "close", "sureness")
    columns = ", ".join(f"{name} from {source}" for name, source in document["columns"].items())
    facts = {"file": document["path"], **{key: document[key] for key in keys}, "columns": columns}
    if document["other_columns"]:
        facts["other columns"] = f"{', '.join(document['other_columns'])} (`features.columns` or `features.known_ahead` may name them)"
    if document["known_until"]:
        facts["known ahead until"] = ", ".join(sorted(set(document["known_until"].values())))
    yield tables.facts(facts)
    several = prices[TICKER].nunique() > 1
    if several:
        yield tables.tickers_table(document["tickers"], step=step)
    yield from (tables.price_rows(prices, step=step), tables.describe_table(describe(prices)), tables.findings_table(findings))
    for name, measure, _ in MEASURES:
        if rows := histogram_rows(measure(prices)):
            yield tables.histogram_table(name, rows, step)
    if not several:
        yield tables.facts({name: line for name in (CLOSE, VOLUME) if (line := sparkline(prices[name].to_numpy()))})


def describe(prices: pd.DataFrame) -> pd.DataFrame:
    """Count, missing, mean, standard deviation, minimum, quartiles and maximum of each column.

    Returns:
        One row a column that holds any value (open, high, low, close, volume), in the units of the file.
    """
    held = [name for name in DESCRIBED if prices[name].notna().any()]
    table = prices[held].describe().T
    table.insert(1, "missing", [int(prices[name].isna().sum()) for name in held])
    return table.astype({"count": int})


def log_returns(prices: pd.DataFrame) -> np.ndarray:
    """Change of the close from one session of a ticker to its next, log return in percent, missing for each first. Shape (rows,)."""
    logs = np.log(prices[CLOSE].where(prices[CLOSE] > 0))
    return np.asarray(100 * logs.groupby(prices[TICKER], sort=False).diff(), dtype=float)


def log_ranges(prices: pd.DataFrame) -> np.ndarray:
    """Log of high over low in percent, missing where the file lacks either. Shape (rows,)."""
    return np.asarray(100 * np.log(prices[HIGH].where(prices[HIGH] > 0) / prices[LOW].where(prices[LOW] > 0)), dtype=float)


def log_volumes(prices: pd.DataFrame) -> np.ndarray:
    """Base-10 logarithm of the volume, missing where it is zero or absent. Shape (rows,)."""
    return np.asarray(np.log10(prices[VOLUME].where(prices[VOLUME] > 0)), dtype=float)


MEASURES: tuple[tuple[str, Callable[[pd.DataFrame], np.ndarray], str], ...] = (
    ("Change (log return, %)", log_returns, "change %"),
    ("Range (log of high/low, %)", log_ranges, "range %"),
    ("Volume (log10 of units)", log_volumes, "log10 volume"),
)
"""What is counted in histograms: the label with its unit, the measure, and its short name on the terminal."""


def histogram_rows(values: np.ndarray, bins: int = 9, width: int = 40) -> list[tuple[float, float, int, str]]:
    """A text histogram: from, to, count and a bar of at most `width` letters, one row a bin; empty where nothing is finite.

    The outer bins are open: they hold all values beyond the 1 % and 99 % quantiles, whose true extremes are their ends.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    low, high = np.quantile(finite, (0.01, 0.99))
    inner = np.linspace(low, high, bins - 1)
    edges = np.unique(np.concatenate([[finite.min()], inner, [finite.max()]]))
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0]])
    counts = np.histogram(finite, edges)[0] if edges[0] < edges[-1] else np.array([len(finite)])
    return [(float(a), float(b), int(n), bar(n / counts.max(), width)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 … 1) of `width` letters, to an eighth of a letter."""
    eighths = round(share * width * 8)
    return (BLOCKS[8] * (eighths // 8) + BLOCKS[eighths % 8]).strip()


def sparkline(values: np.ndarray, width: int = 60) -> str:
    """A line of at most `width` letters, each as high as the mean of its share of the finite values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    means = np.array([part.mean() for part in np.array_split(finite, min(width, len(finite)))])
    spread = means.max() - means.min()
    heights = np.round((means - means.min()) / spread * (len(SPARKS) - 1)).astype(int) if spread > 0 else np.zeros(len(means), dtype=int)
    return "".join(SPARKS[height] for height in heights)


def _span(prices: pd.DataFrame, step: str) -> str:
    return f"{dated(prices[DATE].min(), step)} to {dated(prices[DATE].max(), step)}, {len(prices):,} rows"
