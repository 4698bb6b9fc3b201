"""The pictures of a verdict: each line and bar is what the forecast table says, for one ticker and for many."""

import numpy as np
import pandas as pd
import pytest
from factories import garch_path
from scipy.stats import binomtest
from test_plots import MODELS, figure_of, flat, forecasts_of, history_of, lines, nothing, overlapping, several, texts, tick_boxes

from stockrnn.evaluation.metrics import crps_rows
from stockrnn.evaluation.scores import score_groups
from stockrnn.evaluation.significance import skill_interval
from stockrnn.reports.evidence_plots import EVIDENCE
from stockrnn.reports.sheet import MINUS
from stockrnn.types import DATE, QUANTILE_COLUMNS

WIDE = {"garch": (nothing, lambda x, c: 1.3 * flat(x, c)), "har": (nothing, lambda x, c: 0.8 * flat(x, c))}


@pytest.fixture(scope="module")
def table():
    return forecasts_of(garch_path(900), 600, MODELS | WIDE)


def drawn(name, table):
    return figure_of(name, table, history_of(), "lstm", "GOOG")


def crps_of(table, model):
    rows = table[(table["model"] == model) & table["actual"].notna()].sort_values("cutoff")
    return crps_rows(rows["actual"], rows[list(QUANTILE_COLUMNS)])


def line_of(axes, start):
    return next(line for line in axes.get_lines() if line.get_label().startswith(start))


def test_the_edge_is_the_summed_difference_and_ends_at_the_skill(table):
    (axes,) = drawn("edge", table).axes
    for model in ("naive", "garch", "har"):
        mine, other, unit = (crps_of(table, name) for name in ("lstm", model, "naive"))
        line = line_of(axes, f"against {model} ")
        np.testing.assert_allclose(line.get_ydata(), np.cumsum(other - mine) / unit.mean(), atol=1e-9)
        percent = f"{100 * (1 - mine.sum() / other.sum()):+.1f}".replace("-", MINUS)
        assert line.get_label() == f"against {model} ({percent} %)"


def test_a_line_far_from_all_others_leaves_the_edge_and_is_named(table):
    far = forecasts_of(garch_path(900), 600, {"moving_average": (lambda x, c: 0.2 + nothing(x, c), flat)})
    figure = drawn("edge", pd.concat([table, far], ignore_index=True))
    assert texts(figure)[1].endswith("moving_average: outside the picture")
    low, high = figure.axes[0].get_ylim()
    inside = [line.get_ydata() for line in figure.axes[0].get_lines() if "moving" not in line.get_label()]
    assert low < min(map(min, inside)) <= max(map(max, inside)) < high
    assert line_of(figure.axes[0], "against moving_average").get_ydata()[-1] > high
    assert "outside" not in texts(drawn("edge", table))[1]


@pytest.mark.parametrize("horizon", [1, 4])
def test_fans_open_from_the_price_at_the_cutoff_and_do_not_overlap(horizon):
    table = forecasts_of(garch_path(400), 100, MODELS, horizon)
    table = table[table["actual"].notna()]
    (axes,) = drawn("fan", table).axes
    rows = table[table["model"] == "lstm"]
    last = table[table["model"] == "naive"].set_index(["cutoff", "step"])["forecast"]
    cutoffs = np.sort(rows["cutoff"].unique())[::-horizon][: 24 // horizon]
    (median,) = lines(axes, "median of the forecast")
    dates, values = median.get_xdata(), median.get_ydata()
    pieces = np.split(np.arange(len(values)), np.flatnonzero(np.isnan(values)) + 1)
    assert [*map(len, pieces[len(cutoffs) :])] == [0]  # the line ends with each fan
    for piece, cutoff in zip(pieces, cutoffs, strict=False):
        fan = rows[rows["cutoff"] == cutoff].sort_values("step")
        np.testing.assert_array_equal(dates[piece[:-1]], np.append(cutoff, fan["date"].to_numpy()))
        np.testing.assert_allclose(values[piece[:-1]], [last[cutoff, 1], *fan["q50"]])
    assert len(axes.collections[0].get_paths()) == len(cutoffs)
    outer = axes.collections[0].get_paths()[0].vertices
    fan = rows[rows["cutoff"] == cutoffs[0]].sort_values("step")
    assert {*fan["q05"], *fan["q95"], last[cutoffs[0], 1]} == set(outer[:, 1])
    actual = lines(axes, "actual")[0]
    came = rows[rows["date"] > cutoffs.min()].drop_duplicates("date").sort_values("date")
    assert list(actual.get_ydata()) == came["actual"].tolist()
    assert axes.get_xlim()[1] > axes.convert_xunits(dates.max())


def test_reliability_counts_the_actuals_below_each_quantile_and_between_two(table):
    square, pile = drawn("reliability", table).axes
    for model in ("lstm", "garch"):
        rows = table[table["model"] == model]
        below = [100 * (rows["actual"] <= rows[name]).mean() for name in QUANTILE_COLUMNS]
        np.testing.assert_allclose(lines(square, model)[0].get_ydata(), below)
    rows = table[table["model"] == "lstm"]
    below = np.array([0.0, *((rows["actual"] <= rows[name]).mean() for name in QUANTILE_COLUMNS), 1.0])
    heights = pile.patches[1].get_data().values
    np.testing.assert_allclose(heights, 100 * np.diff(below))
    assert heights.sum() == pytest.approx(100)
    assert pile.get_title(loc="left") == "bars: lstm, line: har"


def test_coverage_is_that_of_the_last_250_sessions_of_the_pooled_tickers():
    parts = [forecasts_of(garch_path(1200, k, name, 50.0), 800, MODELS) for k, name in enumerate(("A", "B"))]
    figure = drawn("coverage", pd.concat(parts, ignore_index=True))
    assert "the 250 sessions up to it  ·  2 tickers pooled" in texts(figure)[1]
    beside, own = figure.axes
    both = pd.concat(parts)
    both = both[both["model"] == "lstm"].assign(inside=lambda rows: rows["actual"].between(rows["q05"], rows["q95"]))
    expected = 100 * both.groupby(DATE)["inside"].mean().rolling(250).mean().dropna()
    np.testing.assert_allclose(lines(beside, "lstm")[0].get_ydata(), expected)
    np.testing.assert_allclose(own.get_lines()[1].get_ydata(), expected)


@pytest.mark.parametrize(
    ("wide", "named"), [("q05", ["50 %, 80 %", "90 %"]), ("q25", ["80 %, 90 %", "50 %"]), ("all", ["50 %, 80 %, 90 %"])]
)
def test_lines_of_coverage_that_end_together_are_named_together(wide, named):
    table = forecasts_of(garch_path(400), 300, MODELS)
    for low, high in (("q05", "q95"), ("q10", "q90"), ("q25", "q75")):
        table[low], table[high] = (0.0, 1e6) if wide in (low, "all") else (1e6, 2e6)  # every actual lies inside, or none
    _, own = drawn("coverage", table).axes
    assert [text.get_text() for text in own.texts] == named


@pytest.mark.parametrize(("sessions", "window"), [(60, 30), (300, 150), (507, 250), (900, 250), (9, 5)])
def test_a_short_test_span_rolls_over_fewer_sessions_and_says_how_many(sessions, window):
    table = forecasts_of(garch_path(sessions + 60), sessions, MODELS)
    figure = drawn("coverage", table)
    assert f"each point: the {window} sessions up to it" in texts(figure)[1]
    assert len(lines(figure.axes[0], "lstm")[0].get_ydata()) == sessions - window + 1


def test_skill_by_year_and_step_is_that_of_the_score_tables_with_its_bootstrap_interval():
    table = forecasts_of(garch_path(900), 600, MODELS | WIDE, 2)
    by_year, by_step = drawn("skill", table).axes
    for axes, by in ((by_year, "year"), (by_step, "step")):
        groups = score_groups(table, {}, by)
        shown = lines(axes, "against naive")[0].get_ydata()
        np.testing.assert_allclose(shown, [100 * scores["lstm"]["skill_crps"] for scores in groups.values()], atol=1e-9)
        assert [label.get_text() for label in axes.get_xticklabels()] == list(groups)
    one = table[(table["step"] == 1) & table["actual"].notna()]
    low, high = skill_interval(crps_of(one, "lstm"), crps_of(one, "naive"), 0, horizon=2)
    (x0, y0), (x1, y1) = by_step.collections[0].get_segments()[0]
    assert (y0, y1) == pytest.approx((100 * low, 100 * high))
    assert x0 == x1


def test_a_year_of_fewer_dates_than_carry_a_claim_has_a_skill_and_no_interval():
    table = forecasts_of(garch_path(900), 130, MODELS)
    (axes,) = drawn("skill", table).axes
    dates = table.drop_duplicates("cutoff")[DATE].dt.year.value_counts().sort_index()
    assert dates.min() < 20 < dates.max()
    heights = [np.ptp(np.array(line)[:, 1]) for line in axes.collections[0].get_segments()]
    assert [height > 0 for height in heights] == list(dates >= 20)


def test_a_difference_too_small_to_be_shown_has_no_minus():
    table = forecasts_of(garch_path(900), 600, MODELS)
    like = table[table["model"] == "naive"]
    mine, columns = table["model"] == "lstm", list(QUANTILE_COLUMNS)
    table.loc[mine, columns] = like[columns].to_numpy() * (1 + 1e-6 * np.arange(-9, 10))
    (axes,) = drawn("edge", table).axes
    assert line_of(axes, "against naive").get_label() == "against naive (+0.0 %)"


def test_many_tickers_are_ranked_by_skill_and_counted():
    table = several(15, 30)
    figure = drawn("skill", table)
    ranked = figure.axes[1]
    skills = [scores["lstm"]["skill_crps"] for scores in score_groups(table, {}, "ticker").values()]
    np.testing.assert_allclose(ranked.get_lines()[1].get_ydata(), 100 * np.sort(skills), atol=1e-9)
    assert ranked.get_title(loc="left") == f"against naive: above 0 for {sum(s > 0 for s in skills)} of 15 tickers"
    figure.draw_without_rendering()
    assert all(overlapping(tick_boxes(axis)) == [] for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))


def test_direction_stands_beside_the_base_rate_with_wilsons_interval(table):
    over_time, by_year = drawn("direction", table).axes
    rows = table[table["model"] == "lstm"].reset_index(drop=True)
    last = table[table["model"] == "naive"]["forecast"].reset_index(drop=True)
    moved = rows["forecast"] != last  # all but the first
    rows, last = rows[moved], last[moved]
    up, said = rows["actual"] > last, rows["forecast"] > last
    np.testing.assert_allclose(lines(over_time, "the price went up (base rate)")[0].get_ydata(), 100 * up.rolling(250).mean().dropna())
    right = lines(over_time, "the network's direction is right")[0].get_ydata()
    np.testing.assert_allclose(right, 100 * (up == said).rolling(250).mean().dropna())
    first = (up == said)[rows[DATE].dt.year == rows[DATE].dt.year.min()]
    wanted = binomtest(int(first.sum()), len(first)).proportion_ci(method="wilson")
    (_, low), (_, high) = by_year.collections[0].get_segments()[0]
    assert (low, high) == pytest.approx((100 * wanted.low, 100 * wanted.high), rel=1e-6)


def test_a_forecast_of_no_change_has_no_direction_to_draw():
    table = forecasts_of(garch_path(300), 100, MODELS | {"lstm": (nothing, flat)})
    _, by_year = drawn("direction", table).axes
    assert [text.get_text() for text in by_year.texts] == ["no change is forecast"]


def test_the_same_table_gives_the_same_bytes_and_stays_as_it_was(table):
    from stockrnn.reports.sheet import render_figures

    before = table.copy()
    first, second = (render_figures({name: drawn(name, table) for name in EVIDENCE}, "svg") for _ in range(2))
    assert first == second
    pd.testing.assert_frame_equal(table, before)
