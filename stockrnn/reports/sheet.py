"""What all pictures share: one style, a heading, a grid of panels, axes with units, and text that stays text.

Figures are matplotlib's own objects, never pyplot's. The style holds while a picture is made and is then put back, so
a user's matplotlib settings neither change our pictures nor are changed by them. Knows no forecasts and no prices.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stockrnn.errors import ConfigError
from stockrnn.prices.steps import row_name
from stockrnn.reports.tables import TITLE_LETTERS, plain_text
from stockrnn.storage import write_bytes
from stockrnn.types import UNDATED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, MUTED, FAINT = "#1f2328", "#59636e", "#d9dee3"
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": "#8c959f",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e7eaee",
    "grid.linewidth": 0.8,
    "xtick.color": "#8c959f",
    "ytick.color": "#8c959f",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "svg.hashsalt": "stockrnn",
}
"""The one style; `svg.hashsalt` makes the names inside an SVG the same every time."""

COLORS = {"actual": INK, "network": "#0072b2", "naive": "#e69f00", "drift": "#009e73", "ewma": "#d55e00"}
"""Okabe and Ito's colour-blind-safe palette (https://jfly.uni-koeln.de/color/), by role."""
SPARE = (("#cc79a7", "-"), ("#56b4e9", "-"), ("#7a5195", "--"), ("#8c6d31", "--"), (MUTED, ":"))
"""Colour and dashes of further models; they repeat after these."""

UNIT = "price in the file's currency"
"""Of prices, in a label."""
MISSING_GLYPH = "\N{WHITE SQUARE}"
MAX_TICKERS = 6
GRID = 4
"""Decimals of a panel's place, as a share of the figure: a tenth of a pixel."""
LETTER_INCHES = 0.067
"""Mean width of a letter."""
CROWDED = 0.8
"""Share of the usual distance at which a label is left out for the next."""
MINUS = "\N{MINUS SIGN}"
FORMATS: Mapping[str, Mapping[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""The picture formats, with the metadata that would put the time of day into the bytes."""


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Hold the style, and keep matplotlib's notes about its font cache off the terminal."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib.style

        with matplotlib.style.context(["default", STYLE]):
            yield
    finally:
        logger.setLevel(before)


def inert(text: object, limit: int = TITLE_LETTERS) -> str:
    """Text of a file as one short line that the font can draw; what it cannot becomes a white square."""
    known = _glyphs()
    return "".join(letter if ord(letter) in known else MISSING_GLYPH for letter in plain_text(text, limit))


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def sheet(
    names: Sequence[str],
    *,
    widths: Sequence[float] = (1.0,),
    heights: Sequence[float] = (1.0,),
    alone: tuple[float, float] = (9.6, 4.2),
    beside: tuple[float, float] = (5.6, 2.7),
) -> tuple[Figure, dict[str, list[Axes]]]:
    """An empty figure with one cell a name, two cells a row, each cut into panels.

    Args:
        names: cells, at most `MAX_TICKERS` are made.
        widths: relative widths of the panels in a cell.
        heights: relative heights of the panels in a cell.
        alone: width and height of a single cell, inches.
        beside: width and height of each of several cells, inches.

    Returns:
        The figure, and the axes of each cell, row by row; a cell of several carries its name as a title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(names[:MAX_TICKERS])
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    width, height = alone if len(shown) == 1 else (beside[0] * columns, beside[1] * rows)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    outer = figure.add_gridspec(rows, columns)
    cells = {}
    for place, name in enumerate(shown):
        inner = outer[divmod(place, columns)].subgridspec(len(heights), len(widths), width_ratios=widths, height_ratios=heights)
        cells[name] = [figure.add_subplot(inner[i, j]) for i in range(len(heights)) for j in range(len(widths))]
        if len(shown) > 1:
            cells[name][0].set_title(inert(name, 24), weight="bold")
    return figure, cells


def shown_of(names: Sequence[str]) -> str:
    """How many tickers a sheet leaves out, as a phrase; empty when none."""
    left = len(names) - MAX_TICKERS
    return f"first {MAX_TICKERS} of {len(names)} tickers, {left} not shown" if left > 0 else ""


def head(figure: Figure, title: str, notes: Sequence[str]) -> None:
    """Give a figure its title, a line of notes and one legend above the panels, and make room for them."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    width, panels = figure.get_size_inches()
    columns = _legend_columns([len(label) for label in handles], width)
    above = 0.66 + 0.22 * math.ceil(len(handles) / columns) + (0.08 if handles else 0.0)
    height = panels + above
    figure.set_size_inches(width, height)
    left = 0.12 / width
    figure.text(left, 1 - 0.12 / height, title, va="top", weight="bold", size=13)
    figure.text(left, 1 - 0.42 / height, _true_minus("  ·  ".join(filter(None, notes))), va="top", color=MUTED)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="upper left",
            bbox_to_anchor=(left, 1 - 0.64 / height),
            ncols=columns,
            borderpad=0,
            borderaxespad=0,
            columnspacing=1.6,
            handlelength=1.6,
        )
    box = (0.04 / width, 0.04 / height, 1 - 0.12 / width, 1 - (above + 0.04) / height)
    figure.set_layout_engine("constrained", rect=box, w_pad=0.06, h_pad=0.09)
    _settle(figure)


def _settle(figure: Figure) -> None:
    """Lay out, and put every panel on a fine grid, where it stays; one that is to be square lies in the middle of its place.

    The layout's solver differs in the last bit from one process to the next; the grid makes the pictures' bytes the same.
    """
    squares = {axes: axes.get_box_aspect() for axes in figure.axes}
    for axes in squares:
        axes.set_box_aspect(None)  # the layout would need a pass for each few pixels that a square shrinks by
    figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
    figure.set_layout_engine("none")
    for axes, square in squares.items():
        left, bottom, width, height = (round(float(side), GRID) for side in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))
        axes.set_box_aspect(square)


def _legend_columns(letters: Sequence[int], width: float) -> int:
    """How many columns of a legend fit into `width` inches: all in one row where they can."""
    entries = [0.55 + LETTER_INCHES * count for count in letters]
    return max(1, len(entries) if sum(entries) < width else int(width / max(entries)))


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes, with their units; a y label longer than its axis puts the unit on a second line."""
    long = LETTER_INCHES * len(y) > 1.2 * axes.bbox.height / axes.figure.dpi  # the layout will stretch it
    axes.set_xlabel(_true_minus(x))
    axes.set_ylabel(_true_minus(y.replace(" (", "\n(", 1) if long else y))


def when(step: str) -> str:
    """The label of an axis of time, of rows of this step."""
    return "Date" if step != UNDATED else f"{row_name(step).capitalize()} (number)"


def time_axis(axes: Axes, dates: np.ndarray, most: int = 7, *, dated: bool = True) -> None:
    """Let x show `dates` (datetime64) in full, with at most `most` labels that need no other to be understood; times where they tell.

    Where they stand for the rows of a file without dates, their numbers are shown.
    """
    from matplotlib.dates import DAILY, HOURLY, MINUTELY, MONTHLY, YEARLY, AutoDateFormatter, AutoDateLocator
    from matplotlib.ticker import FixedLocator

    first, last = dates.min(), dates.max()
    timed = bool((dates != dates.astype("datetime64[D]")).any())
    hours, days = (int((last - first) / np.timedelta64(1, unit)) for unit in ("h", "D"))
    margin = np.timedelta64(max(1, round(0.75 * hours)) if timed else 60 * max(12, round(0.3 * days)), "m")
    axes.set_xlim(first - margin, last + margin)
    if not dated:
        _count_days(axes, most)
        return
    least = max(2, most // 2)
    labels = {YEARLY: most, MONTHLY: most + 1, DAILY: most, HOURLY: most, MINUTELY: most}
    locator = AutoDateLocator(minticks=least if timed else min(least, days + 1), maxticks=labels, interval_multiples=True)
    for frequency, longest in ((MONTHLY, 12), (HOURLY, 24), (MINUTELY, 60)):  # it warns where few labels stand for some years, days, hours
        locator.intervald[frequency] = sorted({*locator.intervald[frequency], longest})
    formatter = AutoDateFormatter(locator)
    shorter = {1 / 1440: "%d %b %H:%M", 1 / 24: "%d %b %H:%M"} if timed else {1 / 24: "%d %b %Y"}
    formatter.scaled = {**shorter, 1.0: "%d %b %Y", 30.0: "%b %Y", 365.0: "%Y"}
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_locator(FixedLocator(_uncrowded(np.asarray(locator()))))
    axes.xaxis.set_major_formatter(formatter)


def _count_days(axes: Axes, most: int) -> None:
    """Let x show round numbers of days, the first one of 1970 being 1."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    numbers = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=True).tick_values(low + 1, high + 1))
    numbers = numbers[(numbers >= low + 1) & (numbers <= high + 1)]
    axes.set_xticks(list(numbers - 1), [f"{number:,.0f}" for number in numbers])


def _uncrowded(ticks: np.ndarray) -> list[float]:
    """The ticks without those just before another, such as a 29th before a 1st."""
    gaps = np.diff(ticks)
    kept = np.append(gaps >= CROWDED * np.median(gaps), True) if len(ticks) > 2 else slice(None)
    return [float(tick) for tick in ticks[kept]]


def number_axis(axis: Axis, most: int = 6, *, whole: bool = False) -> None:
    """Let an axis show plain numbers: thousands apart, as many decimals as its ticks need, no exponent and no offset."""
    from matplotlib.ticker import Formatter, MaxNLocator

    class Plain(Formatter):
        def __call__(self, value: float, pos: int | None = None) -> str:
            del pos
            return self.format_ticks([value])[0]

        def format_ticks(self, values: Sequence[float] | np.ndarray) -> list[str]:
            step = float(np.diff(values).min(initial=1e300))
            decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1e300 else 0 if whole else 4
            return [minus(f"{value + 0.0:,.{decimals}f}") for value in values]

    axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1 if whole else 2))
    axis.set_major_formatter(Plain())


def log_axis(axis: Axis) -> None:
    """Let an axis be logarithmic with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12f}".rstrip("0").rstrip(".")))
    axis.set_minor_formatter(NullFormatter())


def minus(text: str) -> str:
    """A number's text with a true minus sign, as wide as a plus."""
    return text.replace("-", MINUS)


def moments(values: np.ndarray) -> str:
    """Mean and standard deviation, to two digits of the latter; empty where there are no two values."""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    decimals = max(0, 1 - math.floor(math.log10(spread))) if spread > 0 else 2
    if len(values) < 2:
        return ""
    return minus(f"mean {round(values.mean(), decimals) + 0.0:,.{decimals}f}, sd {spread:,.{decimals}f}")


def _true_minus(text: str) -> str:
    return text.replace(" - ", f" {MINUS} ")


def render_figures(figures: Mapping[str, Figure], format: str) -> dict[str, bytes]:  # noqa: A002  matplotlib's and the command's own word
    """The bytes of each figure under the name of its file, the same every time.

    Raises:
        ConfigError: a format that is not in `FORMATS`.
    """
    if format not in FORMATS:
        raise ConfigError(f"`--format` must be one of {', '.join(FORMATS)}. Received: {format}. Choose one of them.")
    files = {}
    with drawing():
        for name, figure in figures.items():
            buffer = io.BytesIO()
            _SAVERS[format](figure, buffer, dict(FORMATS[format]))
            files[f"{name}.{format}"] = buffer.getvalue()
    return files


def _save(figure: Figure, buffer: io.BytesIO, metadata: dict[str, None], format: str) -> None:  # noqa: A002  as above
    figure.savefig(buffer, format=format, metadata=metadata)


def _save_png(figure: Figure, buffer: io.BytesIO, metadata: dict[str, None]) -> None:
    """As `savefig`, which first draws the whole figure once more to lay it out, and compresses half as fast for a tenth less."""
    figure.canvas.print_png(buffer, metadata=metadata, pil_kwargs={"compress_level": 3})  # type: ignore[attr-defined]


_SAVERS: Mapping[str, Callable[[Figure, io.BytesIO, dict[str, None]], None]] = {
    "png": _save_png,
    "svg": functools.partial(_save, format="svg"),
    "pdf": functools.partial(_save, format="pdf"),
}


def save_figures(figures: Mapping[str, Figure], folder: Path, format: str) -> list[Path]:  # noqa: A002  as above
    """Write each figure to `folder/name.format`. Raises StorageError and ConfigError."""
    files = render_figures(figures, format)
    for name, data in files.items():
        write_bytes(folder / name, data)
    return [folder / name for name in files]
