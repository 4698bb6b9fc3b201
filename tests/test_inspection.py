"""The first look at a price table."""

import re

import numpy as np
import pandas as pd
import pytest
from factories import gappy, garch_path, near_constant, panel, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stockrnn.reports.inspection import (
    SPARKS,
    bar,
    describe,
    histogram_rows,
    inspection_figures,
    log_ranges,
    log_returns,
    log_volumes,
    sparkline,
)
from stockrnn.reports.tables import counted
from stockrnn.types import CLOSE, HIGH, LOW, OPEN, TICKER, VOLUME

VALUES = arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


def texts(figure):
    return [text.get_text() for text in figure.texts]


def several(count):
    return pd.concat([random_walk(80, k, f"T{k}") for k in range(count)], ignore_index=True)


@pytest.mark.parametrize("days", [2, 40, 365, 700, 4000])
def test_panels_of_any_length_are_drawn_without_a_warning(days):
    table = several(2)
    dates = pd.date_range("2022-10-14", periods=80, freq=pd.Timedelta(days=days) / 80)
    for figure in inspection_figures(table.assign(date=[*dates, *dates]), "x").values():
        figure.canvas.draw()
        assert all(len(axes.get_xticks()) >= 2 for axes in figure.axes if axes.lines or axes.collections)


def test_prices_show_close_the_range_and_volume_with_units():
    table = garch_path(300)
    above, below = inspection_figures(table, "goog.csv")["prices"].axes
    assert np.array_equal(above.get_lines()[0].get_ydata(), table[CLOSE])
    assert set(table[LOW]) | set(table[HIGH]) <= set(above.collections[0].get_paths()[0].vertices[:, 1])
    assert np.array_equal([segment[1, 1] for segment in below.collections[0].get_segments()], table[VOLUME])
    assert [above.get_ylabel(), below.get_ylabel(), below.get_xlabel()] == [
        "Close (price in the file's currency)",
        "Volume (units)",
        "Date",
    ]
    assert above.get_xlim() == below.get_xlim()


@pytest.mark.parametrize(("ratio", "scale"), [(19.0, "linear"), (21.0, "log")])
def test_a_price_that_grew_more_than_twentyfold_is_drawn_on_a_log_scale_and_says_so(ratio, scale):
    table = near_constant(100)
    table[[OPEN, HIGH, LOW, CLOSE]] *= np.linspace(1.0, ratio, 100)[:, None]
    above = inspection_figures(table, "x")["prices"].axes[0]
    assert above.get_yscale() == scale
    assert above.get_ylabel().replace("\n", " ") == f"Close (price in the file's currency{'; log scale' if scale == 'log' else ''})"


def test_histograms_count_every_session_and_write_mean_and_spread():
    table = garch_path(300)
    panels = inspection_figures(table, "goog.csv")["histograms"].axes
    assert [axes.get_xlabel() for axes in panels] == ["Change (log return, %)", "Range (log of high/low, %)", "Volume (log10 of units)"]
    for axes, measure in zip(panels, (log_returns, log_ranges, log_volumes), strict=True):
        values = measure(table)[np.isfinite(measure(table))]
        assert sum(patch.get_height() for patch in axes.patches) == len(values)
        mean, spread = re.findall(r"[\d.]+", axes.get_title(loc="left"))
        assert float(mean) == pytest.approx(abs(values.mean()), abs=0.06)
        assert float(spread) == pytest.approx(values.std(ddof=1), rel=0.05)


@pytest.mark.parametrize("volume", [np.nan, 0.0])
def test_what_no_ticker_has_is_named_and_takes_no_room(volume):
    table = gappy(120)
    table[[OPEN, HIGH, LOW]] = np.nan
    table[VOLUME] = volume
    figures = inspection_figures(table, "gappy.csv")
    assert [axes.get_ylabel() for axes in figures["prices"].axes] == ["Close (price in the file's currency)"]
    assert [axes.get_xlabel() for axes in figures["histograms"].axes] == ["Change (log return, %)"]
    assert texts(figures["prices"])[1].endswith("no volume in the file")
    assert texts(figures["histograms"])[1].endswith("no range in the file  ·  no volume in the file")
    assert [text.get_text() for text in figures["prices"].legends[0].get_texts()] == ["close"]


def test_what_one_ticker_of_several_lacks_is_said_instead_of_drawn():
    table = several(2)
    table.loc[table[TICKER] == table[TICKER].iloc[0], [HIGH, LOW, VOLUME]] = np.nan
    figures = inspection_figures(table, "folder")
    assert [len(figure.axes) for figure in figures.values()] == [4, 6]
    said = [text.get_text() for figure in figures.values() for axes in figure.axes for text in axes.texts]
    assert said == ["not in the file"] * 3


def test_a_constant_price_is_said_to_be_one():
    table = near_constant(50)
    table[[OPEN, HIGH, LOW, CLOSE]] = 5.0
    axes = inspection_figures(table, "flat.csv")["histograms"].axes[0]
    assert [text.get_text() for text in axes.texts] == ["no two values differ"]


def test_eight_tickers_are_six_cells_and_a_note():
    figures = inspection_figures(several(8), "folder")
    assert {name: len(figure.axes) for name, figure in figures.items()} == {"prices": 12, "histograms": 18}
    for figure in figures.values():
        assert "first 6 of 8 tickers, 2 not shown" in texts(figure)[1]
        figure.draw_without_rendering()
        boxes = [axes.get_tightbbox() for axes in figure.axes]
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_the_title_is_inert():
    assert texts(inspection_figures(random_walk(30), "삼\x1b[31m$x_1$.csv")["prices"])[0] == "□[31m$x_1$.csv: prices and volume"


def test_a_single_row_can_be_looked_at():
    figures = inspection_figures(random_walk(30).head(1), "one.csv")
    assert list(figures) == ["prices", "histograms"]


def test_returns_never_cross_tickers():
    table = panel(60)
    returns = log_returns(table)
    starts = table[TICKER].ne(table[TICKER].shift()).to_numpy()
    assert np.isnan(returns[starts]).all()
    assert not np.isnan(returns[~starts]).any()
    assert returns[1] == pytest.approx(100 * np.log(table[CLOSE][1] / table[CLOSE][0]))


def test_describe_gives_the_moments_and_quartiles_of_each_column_that_is_held():
    table = pd.concat([random_walk(5)], ignore_index=True)
    table[CLOSE] = [1.0, 2.0, 3.0, 4.0, 10.0]
    table[VOLUME] = [1.0, np.nan, 3.0, np.nan, 5.0]
    table[OPEN] = np.nan
    summary = describe(table)
    assert list(summary.index) == [HIGH, LOW, CLOSE, VOLUME]
    assert list(summary.columns) == ["count", "missing", "mean", "std", "min", "25%", "50%", "75%", "max"]
    assert list(summary.loc[CLOSE]) == pytest.approx([5, 0, 4.0, np.sqrt(12.5), 1, 2, 3, 4, 10])
    assert list(summary.loc[VOLUME])[:3] == [3, 2, 3.0]


@settings(max_examples=100)
@given(VALUES)
def test_a_text_histogram_counts_every_finite_value_once(values):
    rows = histogram_rows(values)
    finite = values[np.isfinite(values)]
    assert sum(count for _, _, count, _ in rows) == len(finite)
    if len(finite):
        assert rows[0][0] == finite.min()
        assert rows[-1][1] == finite.max()
        assert max(len(drawn) for *_, drawn in rows) == 40
    assert [a[1] for a in rows[:-1]] == [b[0] for b in rows[1:]]


@settings(max_examples=100)
@given(VALUES, st.integers(1, 80))
def test_a_sparkline_fits_its_width_and_marks_the_extremes(values, width):
    line = sparkline(values, width)
    finite = values[np.isfinite(values)]
    assert len(line) == min(width, len(finite))
    assert set(line) <= set(SPARKS)
    if len(line) == len(finite) > 0 and np.ptp(finite) > 0:
        assert line[finite.argmax()] == SPARKS[-1]
        assert line[finite.argmin()] == SPARKS[0]


def test_a_rising_series_is_a_rising_sparkline():
    assert sparkline(np.arange(8.0)) == SPARKS


@pytest.mark.parametrize(("share", "expected"), [(1.0, "████"), (0.5, "██"), (0.5625, "██▎"), (0.0, "")])
def test_a_bar_is_drawn_to_an_eighth_of_a_letter(share, expected):
    assert bar(share, 4) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (950.0, "950"), (12_300.0, "12.3K"), (3_400_000.0, "3.4M"), (1.2e9, "1.2B"), (5e12, "5T"), (0.5, "0.5")],
)
def test_large_counts_are_written_in_short(value, expected):
    assert counted(value) == expected
