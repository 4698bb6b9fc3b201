"""Tests of significance against other implementations and published examples, and their size on simulated nulls."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap
from factories import history, near_constant, panel, random_walk, spans_of
from scipy.signal import lfilter
from scipy.stats import chi2_contingency
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from stockrnn.evaluation import significance
from stockrnn.evaluation.significance import (
    christoffersen,
    christoffersen_independence,
    cosine_count,
    cosine_variance,
    diebold_mariano,
    holm,
    kupiec,
    long_run_variance,
    losses_by_date,
    pesaran_timmermann,
    significance_document,
    skill_interval,
    stationary_rows,
)
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import forecast_table


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([2026, seed])


def rejections(p_of_draw: Callable[[np.random.Generator], float], draws: int) -> float:
    return float(np.mean([p_of_draw(generator(seed)) < 0.05 for seed in range(draws)]))


def within_monte_carlo_error(rate: float, draws: int) -> bool:
    return abs(rate - 0.05) < 3 * np.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("horizon", [1, 4])
def test_diebold_mariano_equals_a_regression_on_a_constant_by_statsmodels(horizon):
    difference = np.convolve(generator(0).standard_normal(300), np.ones(4), mode="valid") + 0.2
    n = len(difference)
    bandwidth = {"maxlags": horizon - 1, "kernel": "uniform"}
    theirs = sm.OLS(difference, np.ones(n)).fit(cov_type="HAC", cov_kwds=bandwidth).tvalues[0]
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    ours = diebold_mariano(difference + 5, np.full(n, 5.0), horizon)
    assert ours.statistic == pytest.approx(theirs * correction, rel=1e-9)


def test_diebold_mariano_by_hand():
    outcome = diebold_mariano([1.0, 2.0, 4.0, 1.0, 2.0], [2.0, 2.0, 2.0, 2.0, 2.0])
    mean, variance = 0.0, (1 + 0 + 4 + 1 + 0) / 5
    assert (outcome.statistic, outcome.p_value, outcome.p_less) == (mean / variance, 1.0, 0.5)


def test_p_values_are_students_with_one_degree_less_than_rows():
    outcome = diebold_mariano([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    variance = ((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2) / 3
    statistic = 7 / 3 / np.sqrt(variance / 3) * np.sqrt(2 / 3)
    assert outcome.statistic == pytest.approx(statistic)
    assert outcome.p_greater == pytest.approx(0.5 - statistic / (2 * np.sqrt(2 + statistic**2)))  # Student's t, 2 degrees of freedom


def test_two_rows_are_enough_and_the_unit_of_the_loss_does_not_matter():
    assert diebold_mariano([1.0, 3.0], [0.0, 0.0]).statistic == pytest.approx(2.0)
    loss, other = np.abs(generator(9).standard_normal((2, 60)))
    small, large = (diebold_mariano(unit * loss, unit * other, 3).statistic for unit in (1e-4, 1e4))
    assert small == pytest.approx(large)


def test_a_lower_first_loss_gives_a_negative_statistic_and_one_sided_p_values_add_up():
    better = generator(1).random(80)
    outcome = diebold_mariano(better, better + 0.1 + 0.1 * generator(2).standard_normal(80))
    assert outcome.statistic < 0
    assert outcome.p_less < 0.001 < outcome.p_greater
    assert outcome.p_less + outcome.p_greater == pytest.approx(1)
    assert outcome.p_value == pytest.approx(2 * outcome.p_less)


def test_equal_losses_or_too_few_rows_have_no_test():
    assert diebold_mariano([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert diebold_mariano([1.0], [2.0]) is None
    assert diebold_mariano([1.0, 2.0, 4.0], [0.0, 0.0, 1.0], horizon=3) is None


def test_a_negative_rectangular_variance_gives_way_to_bartlett_weights():
    alternating = np.tile([1.0, -1.0], 20)
    assert long_run_variance(alternating, 1) == pytest.approx(1 - 2 * 0.5 * 39 / 40)  # with equal weights 1 - 2 · 39/40


@pytest.mark.parametrize("horizon", [1, 3])
def test_diebold_mariano_holds_its_size_under_overlap(horizon):
    def p(random: np.random.Generator) -> float:
        shocks = random.standard_normal((2, 200 + horizon - 1))
        errors = [np.convolve(s, np.ones(horizon), mode="valid") for s in shocks]
        return diebold_mariano(errors[0] ** 2, errors[1] ** 2, horizon).p_value

    rate = rejections(p, 1500)
    assert within_monte_carlo_error(rate, 1500) if horizon == 1 else 0.02 < rate < 0.085


def test_diebold_mariano_finds_a_real_difference():
    def p(random: np.random.Generator) -> float:
        return diebold_mariano(random.standard_normal(300) ** 2, (1.3 * random.standard_normal(300)) ** 2).p_less

    assert rejections(p, 200) > 0.9


def overlapping(random: np.random.Generator, n: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute errors, summed over the steps, of two forecasters of a random walk who drift from it by the same, up and down."""
    walk = np.concatenate([[0.0], random.standard_normal(n + horizon).cumsum()])
    moves = [(step, walk[step : step + n] - walk[:n]) for step in range(1, horizon + 1)]
    up, down = (sum(np.abs(move - drift * step) for step, move in moves) for drift in (0.1, -0.1))
    return up, down


def lasting(random: np.random.Generator, n: int, _: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute one-step errors of two forecasters whose faults last for some sessions."""
    faults = lfilter([0.3], [1.0, -0.9], random.standard_normal((2, n)))
    up, down = np.abs(random.standard_normal(n) - faults)
    return up, down


@pytest.mark.parametrize(("world", "n", "horizon"), [(overlapping, 157, 5), (overlapping, 60, 5), (overlapping, 60, 20), (lasting, 157, 1)])
def test_a_verdicts_diebold_mariano_holds_its_size_whatever_the_dependence(world, n, horizon):
    def p(random: np.random.Generator) -> float:
        return diebold_mariano(*world(random, n, horizon), horizon, cosine_count(n, horizon)).p_value

    assert rejections(p, 1500) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_cosines_are_few_and_slower_than_the_overlap():
    assert [cosine_count(n) for n in (1, 20, 100, 500, 5000)] == [1, 2, 8, 25, 116]
    assert [cosine_count(100, horizon=h) for h in (5, 12, 60)] == [8, 4, 1]


def test_the_variance_by_cosines_is_the_mean_square_of_the_transforms_and_its_p_has_as_many_degrees():
    values, count = generator(2).standard_normal(60), 7
    times = np.arange(1, 61)
    sums = [np.sqrt(2 / 60) * np.sum(values * np.cos(np.pi * j * (times - 0.5) / 60)) for j in range(1, count + 1)]
    assert cosine_variance(values, count) == pytest.approx(np.mean(np.square(sums)))
    outcome = diebold_mariano(values, np.zeros(60), 3, count)
    statistic = values.mean() / np.sqrt(np.mean(np.square(sums)) / 60) * np.sqrt((61 - 6 + 6 / 60) / 60)
    assert (outcome.statistic, outcome.p_value) == pytest.approx((statistic, 2 * student.sf(abs(statistic), count)))


def test_stationary_rows_are_blocks_of_the_asked_mean_length_that_wrap():
    rows = np.concatenate(list(stationary_rows(500, 8, 400, seed=0)))
    continued = np.mean((rows[:, 1:] - rows[:, :-1]) % 500 == 1)
    assert continued == pytest.approx(1 - 1 / 8, abs=0.01)
    assert rows.min() == 0
    assert rows.max() == 499
    assert abs(rows.mean() - 249.5) < 5


def test_the_skill_interval_of_a_year_of_minutes_takes_no_more_memory_than_that_of_a_month(monkeypatch):
    loss, reference = np.abs(generator(1).standard_normal((2, 30_000)))
    tracemalloc.start()
    in_pieces = skill_interval(loss, reference, seed=0, draws=199)
    assert tracemalloc.get_traced_memory()[1] < 120 << 20
    tracemalloc.stop()
    monkeypatch.setattr(significance, "MOST_AT_ONCE", 10**9)
    assert skill_interval(loss, reference, seed=0, draws=199) == in_pieces


def test_the_skill_interval_agrees_with_arch():
    loss = np.abs(np.convolve(generator(3).standard_normal(404), np.ones(5), mode="valid"))
    reference = loss + 0.3 * generator(4).random(400)
    low, high = skill_interval(loss, reference, seed=0, draws=4000)
    theirs = StationaryBootstrap(round(400 ** (1 / 3)), loss, reference, seed=1)

    def skill(a, b):
        return np.array([1 - a.mean() / b.mean()])

    def error(_, a, b):
        influence = (a - a.mean() / b.mean() * b) / b.mean()
        return np.array([np.sqrt(cosine_variance(influence, cosine_count(400)) / 400)])

    limits = theirs.conf_int(skill, 4000, "studentized", std_err_func=error)[:, 0] - skill(loss, reference)
    theirs.reset()
    limits *= error(None, loss, reference) / np.sqrt(theirs.cov(skill, 4000)[0])  # they multiply by the deviation of the resampled skills
    np.testing.assert_allclose([low, high] - skill(loss, reference), limits, rtol=0.06)


def test_the_skill_interval_is_seeded_and_holds_the_measured_skill():
    loss, reference = generator(5).random((2, 150))
    low, high = skill_interval(loss, reference, seed=7)
    assert (low, high) == skill_interval(loss, reference, seed=7) != skill_interval(loss, reference, seed=8)
    assert low < 1 - loss.mean() / reference.mean() < high


def test_a_reference_that_loses_nothing_in_a_resample_has_no_skill_interval():
    loss = np.full(60, 0.5)
    assert skill_interval(loss, np.zeros(60), seed=0) is None
    moved_once = np.where(np.arange(60) == 59, 1.0, 0.0)  # most resamples leave that session out
    assert skill_interval(loss, moved_once, seed=0) is None
    assert skill_interval(moved_once, loss, seed=0) is None  # nor has what varies in one session a standard error
    low, high = skill_interval(loss, np.where(np.arange(60) % 2, 1.0, 0.0), seed=0)
    assert np.isfinite([low, high]).all()


def test_equal_losses_have_no_skill_for_certain_and_one_date_tells_nothing():
    loss = generator(0).random(40)
    assert skill_interval(loss, loss, seed=0) == (0.0, 0.0)
    assert skill_interval(loss[:1], loss[1:2], seed=0) is None
    assert skill_interval(loss[:5], loss[5:10], seed=0, horizon=5) is None


@pytest.mark.parametrize(("lasting", "n", "most"), [(0.0, 60, 0.12), (0.0, 300, 0.09), (0.5, 200, 0.09), (0.8, 200, 0.13)])
def test_the_skill_interval_misses_no_skill_at_about_the_nominal_rate(lasting, n, most):
    def missed(random: np.random.Generator) -> float:
        shocks, size = random.standard_normal((2, n + 100))
        carried = lfilter([np.sqrt(1 - lasting**2)], [1, -lasting], shocks)[100:]
        low, high = skill_interval(2 + np.abs(size[100:]) + 0.3 * carried, 2 + np.abs(size[100:]), seed=0, draws=399)
        return 1.0 if low <= 0 <= high else 0.0

    assert 0.02 < rejections(missed, 300) < most


def test_pesaran_timmermann_is_nearly_the_root_of_the_contingency_tables_chi_square():
    actual, forecast = generator(6).standard_normal((2, 4000)) + 0.3
    forecast = forecast + 0.05 * actual
    table = pd.crosstab(actual > 0, forecast > 0)
    theirs = chi2_contingency(table, correction=False).statistic
    assert pesaran_timmermann(actual, forecast).statistic ** 2 == pytest.approx(theirs, rel=0.02)


def test_pesaran_timmermann_by_hand():
    # 6 ups of 10, 5 forecast ups, 7 hits: P* = 0.6 0.5 + 0.4 0.5 = 0.5; V(P) = 0.025; V(P*) = (0.04 0.25 + 0 + 4 0.6 0.5 0.4 0.5 / 10) / 10
    actual = [1, 1, 1, 1, 1, 1, -1, -1, -1, -1]
    forecast = [1, 1, 1, 1, -1, -1, 1, -1, -1, -1]
    expected = (0.7 - 0.5) / np.sqrt(0.025 - (0.04 * 0.25 + 0.24 * 0.1) / 10)
    assert pesaran_timmermann(actual, forecast).statistic == pytest.approx(expected)


def test_pesaran_timmermann_does_not_credit_the_base_rate():
    def p(random: np.random.Generator) -> float:
        return pesaran_timmermann(random.standard_normal(250) + 0.4, random.standard_normal(250) + 0.4).p_greater

    assert within_monte_carlo_error(rejections(p, 1500), 1500)


def test_pesaran_timmermann_needs_both_signs_and_leaves_zero_changes_out():
    assert pesaran_timmermann([1.0, -1.0, 1.0], [1.0, 1.0, 1.0]) is None
    assert pesaran_timmermann([], []) is None
    assert pesaran_timmermann([1, -1, 1, 0, 1], [1, -1, -1, 1, 0]) == pesaran_timmermann([1, -1, 1], [1, -1, -1])


def misses_with(transitions: dict[tuple[int, int], int]) -> np.ndarray:
    """A sequence of misses with these counts of (before, after)."""
    singles = transitions[1, 0] - 1
    runs = [[1] * (transitions[1, 1] + 1), *([[1]] * singles)]
    zeros = transitions[0, 0]
    sequence = [0]
    for run in runs:
        sequence += [*run, 0]
    return np.array([0] * zeros + sequence)


def test_kupiec_and_christoffersen_reproduce_jorions_jp_morgan_example():
    """Jorion, Value at Risk, 3rd ed. 2006, chapter 6: 20 misses in 252 days at 5 %; 14 after a hit, 6 after a miss."""
    assert kupiec(np.arange(252) < 20, 0.05).statistic == pytest.approx(3.91, abs=0.005)
    sequence = misses_with({(0, 0): 218, (0, 1): 14, (1, 0): 14, (1, 1): 6})
    pairs = pd.Series(list(itertools.pairwise(sequence))).value_counts()
    assert pairs.to_dict() == {(0, 0): 218, (0, 1): 14, (1, 0): 14, (1, 1): 6}
    assert christoffersen_independence(sequence).statistic == pytest.approx(9.53, abs=0.005)


def test_conditional_coverage_adds_the_two_ratios():
    misses = generator(7).random(400) < 0.13
    parts = kupiec(misses, 0.1).statistic + christoffersen_independence(misses).statistic
    assert christoffersen(misses, 0.1).statistic == pytest.approx(parts)


@pytest.mark.parametrize("test", [lambda m: kupiec(m, 0.1), christoffersen_independence, lambda m: christoffersen(m, 0.1)])
def test_coverage_tests_hold_their_size(test):
    rate = rejections(lambda random: test(random.random(1000) < 0.1).p_value, 1500)
    assert within_monte_carlo_error(rate, 1500)


def test_clustered_misses_are_found_where_their_share_is_right():
    calm = np.repeat(generator(8).random(60) < 0.1, 10)
    assert christoffersen_independence(calm).p_value < 0.001


def test_kupiec_judges_even_no_miss_at_all_and_christoffersen_does_not():
    assert kupiec(np.zeros(100, bool), 0.1).statistic == pytest.approx(-200 * np.log(0.9))
    assert kupiec(np.ones(100, bool), 0.1).statistic == pytest.approx(-200 * np.log(0.1))
    assert christoffersen(np.zeros(100, bool), 0.1) is None
    assert kupiec([], 0.1) is None


def test_holm_equals_statsmodels():
    for seed in range(6):
        p_values = list(generator(seed).random(1 + seed % 12) ** 3)
        p_values += p_values[:1]
        np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def table(prices: pd.DataFrame, horizon: int) -> pd.DataFrame:
    spans = spans_of(prices)
    rows = np.flatnonzero(prices["date"] >= spans.calibration_end)
    made = {name: BASELINES[name](horizon).fit(history(prices, spans), spans).forecast(prices, rows) for name in ("naive", "drift", "ewma")}
    return pd.concat([forecast_table(prices, name, forecast) for name, forecast in made.items()], ignore_index=True)


@pytest.mark.parametrize(("loss", "power"), [("squared", 2), ("absolute", 1)])
def test_losses_are_summed_per_date_in_units_of_each_tickers_naive_loss(loss, power):
    forecasts = table(panel(), 2)
    losses = losses_by_date(forecasts, loss)
    known = forecasts[forecasts["actual"].notna()]
    assert losses.index.tolist() == sorted(known["cutoff"].unique())
    error = (known["actual"] - known["forecast"]).abs() ** power
    unit = error[known["model"] == "naive"].groupby(known["ticker"]).mean()
    expected = (error / known["ticker"].map(unit))[known["model"] == "drift"].groupby(known["cutoff"]).sum()
    np.testing.assert_allclose(losses["drift"], expected)
    assert losses["naive"].sum() == pytest.approx((known["model"] == "naive").sum())


def test_the_unit_of_prices_does_not_move_the_losses():
    forecasts = table(random_walk(), 1)
    prices = [c for c in forecasts if c.startswith("q") or c in {"actual", "forecast"}]
    pd.testing.assert_frame_equal(losses_by_date(forecasts.assign(**forecasts[prices] * 1000), "crps"), losses_by_date(forecasts, "crps"))


def test_a_ticker_that_never_moved_does_not_count_beside_others():
    forecasts = table(panel(), 1)
    still = forecasts["ticker"] == forecasts["ticker"].iloc[0]
    frozen = forecasts.assign(actual=forecasts["actual"].mask(still, 7.0), forecast=forecasts["forecast"].mask(still, 7.0))
    frozen.loc[still & (forecasts["model"] == "drift"), "forecast"] = 50_000.0  # currency units, were they counted
    alone = losses_by_date(forecasts[~still], "absolute")
    pd.testing.assert_frame_equal(losses_by_date(frozen, "absolute").loc[alone.index], alone)
    assert losses_by_date(frozen[still], "absolute")["drift"].min() > 0


def test_the_document_holds_every_test_corrected_and_json_able():
    forecasts = table(panel(), 2)
    document = significance_document(forecasts, "ewma", seed=0)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document.keys() == {"diebold_mariano", "skill_interval_95", "pesaran_timmermann", "kupiec", "christoffersen", "undefined"}
    assert document["diebold_mariano"]["naive"]["squared"] is None  # both forecast the last close
    assert document["undefined"].keys() == {"diebold_mariano", "pesaran_timmermann"}
    tests = [t for losses in document["diebold_mariano"].values() for t in losses.values() if t]
    assert set(document["diebold_mariano"]) == {"naive", "drift"}
    assert all(t["p_value"] <= t["p_holm"] <= 1 for t in tests)
    assert min(t["p_holm"] for t in tests) == pytest.approx(min(1, len(tests) * min(t["p_value"] for t in tests)))


def test_the_document_agrees_with_the_single_tests():
    forecasts = table(random_walk(), 1)
    document = significance_document(forecasts, "drift", seed=3)
    assert ("undefined" in document) == (document["pesaran_timmermann"]["WALK"] is None)
    losses = losses_by_date(forecasts, "squared")
    single = diebold_mariano(losses["drift"], losses["ewma"], 1, cosine_count(len(losses)))
    assert document["diebold_mariano"]["ewma"]["squared"]["statistic"] == single.statistic
    assert document["skill_interval_95"]["squared"] == list(skill_interval(losses["drift"], losses["naive"], 3))
    rows = forecasts[(forecasts["model"] == "drift") & forecasts["actual"].notna()]
    missed = ~rows["actual"].between(rows["q05"], rows["q95"])
    assert document["kupiec"]["WALK"]["p_value"] == kupiec(missed, 0.1).p_value
    assert document["christoffersen"]["WALK"]["statistic"] == christoffersen(missed, 0.1).statistic


def test_a_price_that_hardly_ever_moves_gives_a_document_json_can_hold():
    forecasts = table(near_constant(), 1)
    document = significance_document(forecasts, "ewma", seed=0)
    assert document["skill_interval_95"]["absolute"] is None
    json.dumps(document, allow_nan=False)


def test_what_is_undefined_is_none_in_the_document():
    forecasts = table(random_walk(), 1)
    flat = significance_document(forecasts.assign(actual=forecasts["forecast"]), "ewma", seed=0)
    assert flat["skill_interval_95"]["absolute"] is None
    assert flat["diebold_mariano"]["naive"]["squared"] is None
    assert flat["pesaran_timmermann"]["WALK"] is None
