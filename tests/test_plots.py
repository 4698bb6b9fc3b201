"""The pictures of a run: what they show, that it can be read, and that a copied yesterday shows."""

import itertools
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from factories import garch_path, random_walk
from matplotlib.text import Text
from scipy.stats import binom, norm

from stockrnn.errors import DataError
from stockrnn.evaluation.scores import score_groups
from stockrnn.reports.evidence_plots import EVIDENCE
from stockrnn.reports.plots import FIGURES, LEVELS, make_subject, render_figures, run_figures
from stockrnn.reports.sheet import MINUS, drawing
from stockrnn.reports.subject import binomial_band
from stockrnn.types import CLOSE, DATE, FORECAST_TABLE, QUANTILE_COLUMNS, QUANTILES, TICKER

NORMAL = norm.ppf(QUANTILES)


def forecasts_of(prices, sessions, models, horizon=1):
    """A forecast table; each model is a pair of functions of log prices and cutoff rows: forecast log change and its spread."""
    logs, dates = np.log(prices[CLOSE].to_numpy()), prices[DATE].to_numpy()
    cutoffs = np.arange(len(prices) - sessions - 1, len(prices) - 1)
    parts = []
    for step, (name, (change, spread)) in itertools.product(range(1, horizon + 1), models.items()):
        ahead = cutoffs + step
        inside = ahead < len(prices)
        reached = np.minimum(ahead, len(prices) - 1)
        center = logs[cutoffs] + change(logs, cutoffs)
        sigma = spread(logs, cutoffs) * np.sqrt(step)
        facts = {TICKER: prices[TICKER].iloc[0], "cutoff": dates[cutoffs], "step": step, "model": name}
        facts |= {DATE: np.where(inside, dates[reached], np.datetime64("NaT")), "actual": np.where(inside, np.exp(logs[reached]), np.nan)}
        quantiles = np.exp(center[:, None] + sigma[:, None] * NORMAL)
        parts.append(pd.DataFrame(facts | {"forecast": np.exp(center)} | dict(zip(QUANTILE_COLUMNS, quantiles.T, strict=True))))
    return pd.concat(parts, ignore_index=True)[list(FORECAST_TABLE)]


def flat(logs, cutoffs):
    return 0.01 + 0 * logs[cutoffs]


def noisy(logs, cutoffs):
    return 0.003 * np.sin(np.arange(len(cutoffs)))


def nothing(logs, cutoffs):
    return 0.0 * logs[cutoffs]


def seeing(logs, cutoffs):
    return logs[cutoffs + 1] - logs[cutoffs]


MODELS = {
    "lstm": (noisy, flat),
    "naive": (nothing, flat),
    "drift": (lambda x, c: 4e-4 + nothing(x, c), flat),
    "ewma": (nothing, lambda x, c: 1.1 * flat(x, c)),
}


def history_of(members=1, epochs=20, fall=0.5):
    epoch = np.arange(1, epochs + 1)
    validation = 0.3 + fall * np.exp(-epoch / 4) + 0.002 * epoch
    part = pd.DataFrame({"epoch": epoch, "loss": 0.25 + fall * np.exp(-epoch / 5), "validation_loss": validation, "learning_rate": 1e-3})
    part["restored"] = epoch == epoch[validation.argmin()]
    return pd.concat([part.assign(member=member) for member in range(members)], ignore_index=True)


def figure_of(name, *arguments):
    with drawing():
        return FIGURES[name](make_subject(*arguments))


def several(count, sessions=40):
    return pd.concat([forecasts_of(random_walk(120, k, f"T{k}", first=30.0 * (k + 1)), sessions, MODELS) for k in range(count)])


CASES = {
    "160 sessions": lambda: (forecasts_of(garch_path(400), 160, MODELS), history_of(), "GOOG"),
    "2500 sessions": lambda: (forecasts_of(garch_path(3000), 2500, MODELS), history_of(5, 60), "goog.csv"),
    "seven tickers": lambda: (several(7), history_of(), "folder"),
    "won, five steps": lambda: (
        forecasts_of(garch_path(300, 3, "삼성", 52_300.0), 120, MODELS, 5),
        history_of(),
        "삼성전자 $a_b$ 005930.KS",
    ),
    "tiny prices": lambda: (forecasts_of(garch_path(200, 4, first=0.0012), 60, MODELS), history_of(1, 6), "SHIB"),
    "few sessions": lambda: (forecasts_of(garch_path(100, 5), 8, MODELS), history_of(1, 1), "x" * 300),
}


@pytest.fixture(scope="module")
def drawn():
    made = {}

    def figures(case):
        if case not in made:
            table, history, title = CASES[case]()
            made[case] = run_figures(table, history, "lstm", title)
        return made[case]

    return figures


def overlapping(boxes):
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]


def tick_boxes(axis):
    low, high = sorted(axis.get_view_interval())
    ticks = [
        tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text()
    ]
    return [(tick.label1.get_text(), tick.label1.get_window_extent()) for tick in ticks]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


@pytest.mark.parametrize("case", CASES)
def test_nothing_in_a_picture_overlaps_or_leaves_it(case, drawn):
    for name, figure in drawn(case).items():
        figure.draw_without_rendering()
        whole = figure.bbox
        axes_boxes = [(place, axes.get_tightbbox()) for place, axes in enumerate(figure.axes)]
        heading = [(text.get_text(), text.get_window_extent()) for text in figure.texts]
        legends = [("legend", legend.get_window_extent()) for legend in figure.legends]
        assert overlapping([*axes_boxes, *heading, *legends]) == [], name
        for label, box in [*axes_boxes, *heading, *legends]:
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1, (name, label)  # noqa: PT018 (one box)
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                assert overlapping(tick_boxes(axis)) == [], (name, axes.get_xlabel())


@pytest.mark.parametrize("case", CASES)
def test_every_axis_has_a_label_with_its_unit(case, drawn):
    for name, figure in drawn(case).items():
        for axes in figure.axes:
            labels = [axes.get_xlabel()] + [axes.get_ylabel()] * any(text for text, _ in tick_boxes(axes.yaxis))
            for label in labels:
                assert label in ("Date", "Epoch", "Sessions", "Year", "Ticker") or re.search(r"\(.+\)$", label), (name, label)


def test_the_layout_has_settled_when_a_picture_is_rendered(drawn):
    figure = drawn("tiny prices")["change"]
    render_figures({"change": figure}, "png")
    before = [axes.get_window_extent().bounds for axes in figure.axes]
    figure.draw_without_rendering()
    assert np.allclose(before, [axes.get_window_extent().bounds for axes in figure.axes], atol=3)


def test_a_run_has_its_pictures_at_screen_size(drawn):
    figures = drawn("160 sessions")
    assert list(figures) == list(FIGURES) == ["forecast", "closeup", "loss", "residuals", "change", "calibration", *EVIDENCE]
    for figure in figures.values():
        width, height = figure.get_size_inches() * figure.dpi
        assert 900 <= width <= 1000
        assert 400 <= height <= 700
        assert min(text.get_fontsize() for axes in figure.axes for text in axes.get_xticklabels()) >= 9


def test_prices_are_labelled_in_the_files_currency(drawn):
    figures = drawn("2500 sessions")
    assert figures["forecast"].axes[0].get_ylabel() == "Close (price in the file's currency)"
    assert figures["residuals"].axes[0].get_ylabel() == f"Actual {MINUS} forecast (price in the file's currency)"


def test_the_forecast_shows_actual_forecast_and_three_nested_intervals():
    table = forecasts_of(garch_path(400), 160, MODELS)
    rows = table[table["model"] == "lstm"]
    prices, changes = figure_of("forecast", table, history_of(), "lstm", "GOOG").axes
    assert np.array_equal(lines(prices, "actual")[0].get_ydata(), rows["actual"])
    assert np.array_equal(lines(prices, "lstm forecast")[0].get_ydata(), rows["forecast"])
    last = table[table["model"] == "naive"]["forecast"].to_numpy()
    assert np.allclose(lines(changes, "actual")[0].get_ydata(), 100 * np.log(rows["actual"] / last))
    bands = {band.get_label(): band.get_paths()[0].vertices[:, 1] for band in prices.collections}
    for label, low, high in (("90 % interval", "q05", "q95"), ("80 % interval", "q10", "q90"), ("50 % interval", "q25", "q75")):
        assert set(np.concatenate([rows[low], rows[high]])) <= set(bands[label])


def test_the_closeup_shows_the_last_60_sessions_with_naive_and_the_ewma_interval(drawn):
    (axes,) = drawn("160 sessions")["closeup"].axes
    assert {len(line.get_xdata()) for line in axes.get_lines()} == {60}
    table = CASES["160 sessions"]()[0]
    naive = table[table["model"] == "naive"]["forecast"].tail(60)
    assert np.array_equal(lines(axes, "naive (last close)")[0].get_ydata(), naive)
    assert len([line for line in axes.get_lines() if line.get_color() == "#d55e00"]) == 2


@pytest.mark.parametrize("members", [1, 3])
def test_the_loss_shows_two_curves_a_member_and_rings_the_restored_epoch(members):
    history = history_of(members)
    table = forecasts_of(garch_path(100), 30, MODELS)
    figure = figure_of("loss", table, history, "lstm", "GOOG")
    (axes,) = figure.axes
    rings = [line for line in axes.get_lines() if line.get_label() == "restored epoch" or line.get_markersize() == 8]
    assert len(axes.get_lines()) == 3 * members
    best = history[history["restored"]]
    assert [float(ring.get_xdata()[0]) for ring in rings] == list(best["epoch"])
    assert [float(ring.get_ydata()[0]) for ring in rings] == list(best["validation_loss"])
    assert f"weights of epoch {best['epoch'].iloc[0]} restored" in texts(figure)[1]


def test_a_loss_that_falls_far_is_drawn_on_a_log_scale_and_says_so():
    table = forecasts_of(garch_path(100), 30, MODELS)
    for fall, scale in ((0.5, "linear"), (50.0, "log")):
        (axes,) = figure_of("loss", table, history_of(fall=fall), "lstm", "GOOG").axes
        assert axes.get_yscale() == scale
        assert ("log scale" in axes.get_ylabel()) == (scale == "log")


def test_residuals_are_actual_minus_forecast_beside_naives():
    table = forecasts_of(garch_path(400), 160, MODELS)
    rows = table[table["model"] == "lstm"]
    residuals = (rows["actual"] - rows["forecast"]).to_numpy()
    over_time, pile = figure_of("residuals", table, history_of(), "lstm", "GOOG").axes
    ends = [segment[1, 1] for segment in over_time.collections[0].get_segments()]
    assert np.allclose(ends, residuals)
    assert sum(bar.get_width() for bar in pile.patches[:-1]) == 160  # the last patch is naive's outline
    assert pile.get_title(loc="left") == f"mean {residuals.mean():.2f}, sd {residuals.std(ddof=1):.2f}".replace("-", MINUS)
    assert over_time.get_ylim() == pile.get_ylim()


def lags(axes):
    return [float(value.replace(MINUS, "-")) for value in re.findall(r"[+−]\d\.\d\d", axes.get_title(loc="left"))]


def change_of(model):
    table = forecasts_of(garch_path(500), 200, MODELS | {"lstm": model})
    return figure_of("change", table, history_of(), "lstm", "GOOG").axes


def test_pictures_of_another_price_name_it():
    table = forecasts_of(garch_path(260), 100, MODELS)
    figures = run_figures(table, history_of(), "lstm", "GARCH", column="open", names=("forecast", "closeup", "residuals", "change"))
    said = {name: " ".join(each.get_text() for each in figure.findobj(Text)) for name, figure in figures.items()}
    assert all("last open" in text and "last close" not in text for text in said.values())


def test_pictures_of_a_file_without_dates_count_its_sessions():
    """Rows without a date count as days from 1970 on: nobody is to read these as dates."""
    prices = garch_path(700)
    table = forecasts_of(prices.assign(date=pd.date_range("1970-01-01", periods=700)), 100, MODELS)
    figures = run_figures(table, history_of(), "lstm", "data", step="none")
    for name, figure in figures.items():
        figure.draw_without_rendering()
        said = " ".join(each.get_text() for each in figure.findobj(Text))
        assert not re.search("19[67]|Date|Year", said), name
    axes = figures["forecast"].axes[0]
    numbers = [(place, int(label.get_text())) for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)]
    assert len(numbers) >= 3
    assert all(number % 10 == 0 and place == number - 1 for place, number in numbers)
    assert axes.get_xlim()[0] < 600 < axes.get_xlim()[1]
    assert "session 601 to session 700, 100 sessions" in texts(figures["forecast"])[1]


def test_a_copy_of_yesterday_is_a_vertical_line_and_the_diagonal():
    foreseen, copied = change_of((nothing, flat))
    assert np.allclose(foreseen.collections[0].get_offsets()[:, 0], 0)
    points = copied.collections[0].get_offsets()
    points = points[~np.ma.getmaskarray(points).any(axis=1)]
    assert np.allclose(points[:, 0], points[:, 1])
    assert lags(copied)[1] == 1.0
    assert abs(lags(copied)[0]) < 0.3


def test_foresight_is_the_diagonal_at_left_and_a_cloud_at_right():
    foreseen, copied = change_of((seeing, flat))
    points = foreseen.collections[0].get_offsets()
    assert np.allclose(points[:, 0], points[:, 1])
    assert lags(foreseen)[0] == 1.0
    assert abs(lags(copied)[1]) < 0.3


def test_both_change_panels_are_square_about_zero_with_a_diagonal():
    for axes in change_of((noisy, flat)):
        assert axes.get_xlim() == axes.get_ylim() == (-axes.get_xlim()[1], axes.get_xlim()[1])
        assert axes.get_box_aspect() == 1
        assert any(line.get_label() == "equal changes" for line in axes.get_lines())
        bound = axes.get_xlim()[1]
        points = axes.collections[0].get_offsets()
        assert np.ma.abs(points).max() < bound


def test_the_band_of_a_share_is_the_binomial_distributions():
    levels = np.linspace(0.01, 0.99, 99)
    for count in (1, 2, 7, 250, 1571, 100_000):
        low, high = binomial_band(levels, count)
        np.testing.assert_array_equal(low, binom.ppf(0.025, count, levels) / count)
        np.testing.assert_array_equal(high, binom.ppf(0.975, count, levels) / count)


def test_calibration_measures_every_model_and_draws_the_binomial_band():
    table = forecasts_of(garch_path(500), 200, MODELS)
    square, detail = figure_of("calibration", table, history_of(), "lstm", "GOOG").axes
    levels = np.array(list(LEVELS))
    for model, rows in table.groupby("model"):
        measured = [100 * ((rows["actual"] >= rows[low]) & (rows["actual"] <= rows[high])).mean() for low, high in LEVELS.values()]
        assert np.allclose(lines(square, model)[0].get_ydata(), measured)
        assert np.allclose(lines(detail, model)[0].get_ydata(), measured - levels)
    vertices = square.collections[0].get_paths()[0].vertices
    assert {round(y, 6) for x, y in vertices if x == 90} >= {round(100 * binom.ppf(p, 200, 0.9) / 200, 6) for p in (0.025, 0.975)}
    assert LEVELS[90] == ("q05", "q95")
    assert LEVELS[10] == ("q45", "q55")


def test_calibration_pools_all_tickers_even_those_not_shown(drawn):
    figures = drawn("seven tickers")
    assert "280 forecasts  ·  7 tickers pooled" in texts(figures["calibration"])[1]
    for name in ("forecast", "closeup", "residuals", "change"):
        assert "best 3 and worst 3 of 7 tickers by CRPS skill, 1 not shown" in texts(figures[name])[1]
        titles = [axes.get_title(loc="left") for axes in figures[name].axes]
        assert [ticker for ticker in ranked_tickers() if any(ticker in title for title in titles)] == best_and_worst()


def ranked_tickers():
    """The seven tickers from highest to lowest CRPS skill, by the scores of the run."""
    scores = score_groups(several(7), {}, "ticker")
    return sorted(scores, key=lambda ticker: -scores[ticker]["lstm"]["skill_crps"])


def best_and_worst():
    ranked = ranked_tickers()
    return [*ranked[:3], *ranked[-3:]]


def test_a_longer_horizon_draws_step_1_and_says_so_and_covers_each_step(drawn):
    figures = drawn("won, five steps")
    for name in ("forecast", "closeup", "residuals", "change", "calibration"):
        assert "step 1 of 5" in texts(figures[name])[0]
    assert len(lines(figures["forecast"].axes[0], "actual")[0].get_xdata()) == 120
    table = CASES["won, five steps"]()[0]
    rows = table[(table["model"] == "lstm") & (table["step"] == 4) & table["actual"].notna()]
    by_step = [line for line in figures["calibration"].axes[2].get_lines() if line.get_linewidth() == 2.2]
    assert by_step[0].get_ydata()[3] == pytest.approx(100 * rows["actual"].between(rows["q05"], rows["q95"]).mean())
    vertices = figures["calibration"].axes[2].collections[0].get_paths()[0].vertices
    apart = len(rows) // 4  # those between overlap
    assert {round(y, 6) for x, y in vertices if x == 4} >= {round(100 * binom.ppf(p, apart, 0.9) / apart, 6) for p in (0.025, 0.975)}


def test_the_legend_names_every_line_and_its_title_every_ticker(drawn):
    figure = drawn("160 sessions")["calibration"]
    named = {text.get_text() for text in figure.legends[0].get_texts()}
    assert named == {"95 % band of a perfect forecaster", "lstm", "naive", "drift", "ewma"}
    assert [axes.get_title(loc="left") for axes in drawn("seven tickers")["closeup"].axes] == best_and_worst()


def test_models_never_share_a_line_style():
    more = {f"model{k}": (nothing, flat) for k in range(4)}
    table = forecasts_of(garch_path(100), 30, MODELS | more)
    axes = figure_of("calibration", table, history_of(), "lstm", "GOOG").axes[0]
    styles = [(line.get_color(), line.get_linestyle()) for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert len(styles) == 8 == len(set(styles))
    assert dict(styles)["#009e73"] == "--"  # drift's quantiles are often naive's: both must be seen where they lie on one another


def test_text_of_a_file_cannot_break_a_picture(drawn):
    assert texts(drawn("won, five steps")["loss"])[0] == "□□□□ $a_b$ 005930.KS: loss of lstm"
    assert len(texts(drawn("few sessions")["loss"])[0]) < 60


def test_drawing_leaves_its_tables_alone():
    table, history = forecasts_of(garch_path(100), 30, MODELS), history_of()
    before = table.copy(), history.copy()
    run_figures(table, history, "lstm", "GOOG")
    pd.testing.assert_frame_equal(table, before[0])
    pd.testing.assert_frame_equal(history, before[1])


@pytest.mark.parametrize("absent", ["lstm", "naive"])
def test_a_table_without_the_network_or_naive_is_refused(absent):
    table = forecasts_of(garch_path(100), 30, MODELS)
    with pytest.raises(DataError, match=f"must hold actuals for {absent}"):
        run_figures(table[table["model"] != absent], history_of(), "lstm", "GOOG")


def test_a_network_whose_first_step_is_never_known_is_refused():
    table = forecasts_of(garch_path(100), 30, MODELS, 2)
    unknown = (table["model"] == "lstm") & (table["step"] == 1)
    with pytest.raises(DataError, match="must hold actuals for lstm"):
        run_figures(table.assign(actual=table["actual"].mask(unknown)), history_of(), "lstm", "GOOG")


def test_prices_at_or_below_zero_are_drawn_without_their_log_returns():
    table = forecasts_of(garch_path(100), 30, MODELS)
    table.loc[table["cutoff"] == table["cutoff"].iloc[5], "actual"] = -37.63
    prices, changes = figure_of("forecast", table, history_of(), "lstm", "WTI").axes
    assert -37.63 in lines(prices, "actual")[0].get_ydata()
    assert np.isnan(lines(changes, "actual")[0].get_ydata()).sum() == 1


def test_pictures_hold_the_forecasts_once():
    """Those of a panel are most of what a command holds at its end."""
    table = several(40, 100)
    table = pd.concat([table.assign(**{TICKER: table[TICKER] + letter}) for letter in "abcd"], ignore_index=True)
    size = table.memory_usage(index=False).sum()
    figure_of("edge", table, history_of(), "lstm", "panel")  # what is loaded once is no forecast
    tracemalloc.start()
    try:
        figure_of("edge", table, history_of(), "lstm", "panel")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < most < 3 * size  # a copy, what it is sorted from a model at a time, and the losses
