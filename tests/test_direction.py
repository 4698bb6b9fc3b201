"""P(up) is scored against what knowing nothing of today would say, and the verdict claims no more than that shows."""

import numpy as np
import pandas as pd
import pytest
from factories import cutoffs, gappy, history, panel, random_walk, spans_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stockrnn.config import TargetConfig
from stockrnn.errors import StockRNNError
from stockrnn.evaluation import metrics
from stockrnn.evaluation.direction import BASE_RATE, base_rates, direction_losses, direction_table
from stockrnn.evaluation.scoring import score_document
from stockrnn.evaluation.verdict import verdict
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import Forecast, forecast_table
from stockrnn.models.outputs import direction_quantiles
from stockrnn.types import CLOSE, DATE, FILLED, TICKER

FALLS, RISES = np.linspace(-0.03, -1e-4, 100)[None], np.linspace(1e-4, 0.03, 100)[None]


def saying(prices, probability):
    """The forecast table of naive and of a network that says a probability of each cutoff row."""
    spans = spans_of(prices)
    rows = cutoffs(prices, spans, 1)
    naive = BASELINES["naive"](1).fit(history(prices, spans), spans).forecast(prices, rows)
    last = prices[CLOSE].to_numpy()[rows][:, None]
    quantiles = last[..., None] * np.exp(direction_quantiles(probability(prices, rows)[:, None], FALLS, RISES))
    gru = Forecast(rows, quantiles[..., 9], quantiles)
    return pd.concat([forecast_table(prices, "naive", naive), forecast_table(prices, "gru", gru)], ignore_index=True)


def foresight(sure):
    def probability(prices, rows):
        close = prices[CLOSE].to_numpy()
        return np.where(close[rows + 1] > close[rows], sure, 1 - sure)

    return probability


def guessing(prices, rows):
    return np.random.default_rng(0).uniform(0.2, 0.8, len(rows))


def hesitating(prices, rows):
    return np.random.default_rng(0).uniform(0.49, 0.53, len(rows))


def rates_of(prices):
    return base_rates(prices, spans_of(prices).train_end, CLOSE, 1)


@settings(max_examples=50)
@given(arrays(float, 9, elements=st.floats(0.01, 0.99)), arrays(bool, 9))
def test_log_loss_equals_scikit_learns(probability, happened):
    from sklearn.metrics import log_loss

    wanted = log_loss(happened, probability, labels=[False, True])
    assert metrics.log_loss(happened, probability) == pytest.approx(wanted, rel=1e-9)


def test_a_coins_log_loss_is_the_logarithm_of_two_and_certainty_is_refused():
    assert metrics.log_loss([0, 1], [0.5, 0.5]) == pytest.approx(np.log(2))
    with pytest.raises(StockRNNError, match="strictly between"):
        metrics.log_loss([0, 1], [0.0, 0.5])


def test_the_base_rate_counts_the_training_spans_moves_by_hand():
    prices = pd.DataFrame({TICKER: "A", DATE: pd.bdate_range("2024-01-01", periods=7), CLOSE: [1.0, 2, 1, 2, 3, 9, 9], FILLED: False})
    rates = base_rates(prices, prices[DATE][4], CLOSE, 2)
    assert rates == {"A": (4 / 6, 2 / 5)}  # up, down, up, up · level, level, up: with one more of either kind
    assert base_rates(prices, prices[DATE][0], CLOSE, 2) == {"A": (0.5, 0.5)}
    prices.loc[3, FILLED] = True
    assert base_rates(prices, prices[DATE][4], CLOSE, 1) == {"A": (2 / 4,)}


@pytest.mark.parametrize("prices", [panel(), gappy()], ids=["panel", "gappy"])
def test_no_later_row_changes_the_base_rate(prices):
    end = spans_of(prices).train_end
    changed = prices.copy()
    changed.loc[changed[DATE] > end, CLOSE] *= np.random.default_rng(0).uniform(0.5, 2, int((changed[DATE] > end).sum()))
    assert base_rates(changed, end, CLOSE, 3) == base_rates(prices, end, CLOSE, 3)


def test_foresight_beats_the_base_rate_and_guessing_does_not():
    prices = random_walk(1500)
    scores = {
        name: direction_table(saying(prices, say), rates_of(prices)) for name, say in (("knows", foresight(0.9)), ("guess", guessing))
    }
    assert scores["knows"]["gru"]["log_loss"] == pytest.approx(-np.log(0.9), abs=0.02)
    assert scores["knows"]["gru"]["skill_brier"] > 0.9
    assert scores["guess"]["gru"]["skill_log_loss"] < 0
    assert scores["guess"][BASE_RATE]["skill_brier"] == scores["guess"][BASE_RATE]["skill_log_loss"] == 0
    assert abs(scores["guess"]["naive"]["skill_log_loss"]) < 0.01  # naive's quantiles hold the same base rate


def test_the_losses_by_date_add_up_to_the_table():
    prices = panel()
    table = saying(prices, guessing)
    losses, scores = direction_losses(table, rates_of(prices)), direction_table(table, rates_of(prices))
    rows = int(table["actual"].notna().sum()) // 2
    for name in losses:
        assert losses[name].sum() / rows == pytest.approx(scores[name]["log_loss"])
    assert losses.index.is_monotonic_increasing


@pytest.mark.parametrize(("say", "word"), [(foresight(0.7), "better than"), (hesitating, "no better than"), (foresight(0.3), "worse than")])
def test_the_verdict_judges_the_direction_by_its_log_loss(say, word):
    prices = random_walk(1500)
    table = saying(prices, say)
    sentences = verdict(table, "gru", direction_losses(table, rates_of(prices)))
    (said,) = [sentence for sentence in sentences if sentence.startswith("Direction")]
    assert said.startswith(f"Direction: {word} the base rate of up moves (log loss ")
    assert not any(sentence.startswith("Direction") for sentence in verdict(table, "gru"))


def test_the_document_scores_p_up_of_every_model_and_judges_it_for_a_direction_head():
    prices = random_walk(800)
    table, spans = saying(prices, guessing), spans_of(prices)
    document = score_document("gru", prices, TargetConfig(), spans, table, head="direction")
    for scores in document["test"]["models"].values():
        assert {"brier", "log_loss", "skill_brier", "skill_log_loss"} < set(scores)
    assert document["test"]["base_rate"]["up"] == rates_of(prices)
    assert any("Direction" in sentence for sentence in document["verdict"])
    other = score_document("gru", prices, TargetConfig(), spans, table, head="quantile")
    assert not any("Direction" in sentence for sentence in other["verdict"])
