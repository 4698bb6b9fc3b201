"""Anchors learned anew as sessions come: by a schedule that dates fix, from what is known, and never from the future."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factories import gappy, garch_path, panel, spans_of

from stockrnn.configfile import build_config, load_config
from stockrnn.errors import ConfigError
from stockrnn.features.anchors import DIGITS, Anchor, fit_anchor
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.features.renewal import Renewal
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, OPEN, TICKER, VOLUME

BEFORE, EVERY = 400, 60


def changing(rows=700, seed=0):
    """A table whose volatility listens to its past the less the later it is."""
    prices = garch_path(rows, seed)
    noise = np.random.default_rng(seed).normal(0, 0.01, rows)
    share = np.clip((np.arange(rows) - BEFORE) / 200, 0.0, 1.0)
    logged = np.log(prices[CLOSE].to_numpy())
    factor = np.exp(np.cumsum((1 - share) * np.diff(logged, prepend=logged[0]) + share * noise)) * 100 / prices[CLOSE].to_numpy()
    return prices.assign(**{name: prices[name] * factor for name in (OPEN, HIGH, LOW, CLOSE)})


def learned(prices, horizon=1, before=BEFORE, column=CLOSE):
    """The anchor of the first sessions, and the same one with a renewal."""
    after = prices[DATE].to_numpy()[before - 1]
    settings = Renewal(EVERY, after, 1, column)
    changes = settings.changes(prices, horizon)
    rows = np.isfinite(changes).all(axis=1) & (np.arange(len(prices)) < before - horizon)
    anchor = fit_anchor("har", prices, changes, rows, column)
    return anchor, replace(anchor, renewal=replace(settings, learned=int(rows.sum())))


@pytest.mark.parametrize("horizon", [1, 3])
def test_each_time_it_is_what_a_fit_on_what_is_known_by_then_gives(horizon):
    prices = changing()
    first, anchor = learned(prices, horizon)
    location, scale = anchor.start(prices)
    times = [BEFORE + EVERY * k for k in range(1, 6)]
    assert list(anchor.renewal.times(prices[DATE].to_numpy())) == times
    np.testing.assert_array_equal(scale[: times[0] - 1], first.scale(prices)[: times[0] - 1])
    for known, until in zip(times, [*(time - 1 for time in times[1:]), len(prices)], strict=True):
        past = prices[:known]
        changes = anchor.renewal.changes(past, horizon)
        by_then = fit_anchor("har", past, changes, np.isfinite(changes).all(axis=1))
        for mine, its in zip((location, scale), by_then.start(prices), strict=True):
            np.testing.assert_allclose(mine[known - 1 : until], its[known - 1 : until], rtol=0.02)
    assert np.abs(np.log(scale / first.scale(prices)))[-100:].mean() > 0.05


def test_nothing_after_a_cutoff_changes_what_it_starts_from():
    prices = changing()
    _, anchor = learned(prices, 2)
    whole = anchor.start(prices)
    for cut in (BEFORE + 5, BEFORE + EVERY - 1, BEFORE + EVERY, BEFORE + 3 * EVERY + 7, 690):
        other = prices.copy()
        later = len(prices) - cut
        other.loc[cut:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= np.random.default_rng(cut).lognormal(size=(later, 1))
        other.loc[cut + 1 :, FILLED] = True
        for part, changed, alone in zip(whole, anchor.start(other), anchor.start(prices[:cut]), strict=True):
            assert part[:cut].tobytes() == changed[:cut].tobytes() == alone.tobytes()
    other = prices.copy()
    other.loc[BEFORE + 5 : BEFORE + 9, [OPEN, HIGH, LOW, CLOSE]] *= 1.3
    moved = anchor.start(other)[1][-1] / whole[1][-1]
    quiet = replace(anchor, renewal=None)
    assert np.abs(np.log(moved / (quiet.scale(other)[-1] / quiet.scale(prices)[-1]))).min() > 1e-3, "it learns from what came"


def test_a_table_that_tells_less_than_was_learned_from_keeps_the_weights():
    prices = changing()
    first, anchor = learned(prices)
    short = prices[BEFORE - 50 :].reset_index(drop=True)
    for mine, its in zip(anchor.start(short), first.start(short), strict=True):
        assert mine.tobytes() == its.tobytes()
    empty = prices.assign(**{FILLED: True})
    assert anchor.scale(empty).tobytes() == first.scale(empty).tobytes()


def test_the_days_decide_when_not_the_row_a_table_begins_with():
    prices = changing()
    longer = pd.concat([garch_path(150, 9).assign(**{DATE: prices[DATE][:150] - pd.Timedelta(days=400)}), prices], ignore_index=True)
    anchor = learned(prices)[1]
    times = anchor.renewal.times(prices[DATE].to_numpy())
    assert [time + 150 for time in times] == list(anchor.renewal.times(longer[DATE].to_numpy()))


def test_what_is_left_out_stays_out():
    prices = changing()
    _, anchor = learned(prices)
    still = anchor.without_location()
    assert not still.start(prices)[0].any()
    np.testing.assert_allclose(still.scale(prices), anchor.scale(prices), rtol=1e-12)
    assert not learned(prices, column=OPEN)[1].start(prices)[0].any(), "a location is of changes of the close"


def test_the_last_bits_of_what_is_learned_anew_are_left_out():
    prices = gappy(700)
    _, anchor = learned(prices)
    ((_, renewed), *_) = anchor._renewed(_seen(anchor, prices))
    for values in (renewed.weights, renewed.reversal, renewed.middle):
        np.testing.assert_array_equal(np.round(values, DIGITS), values)


def _seen(anchor, prices):
    from stockrnn.features.anchors import _Seen

    return _Seen(prices, anchor.ranged, anchor.floor, anchor.plan, len(anchor.weights))


def test_the_state_brings_it_back_and_a_state_of_before_never_learns_anew():
    prices = changing()
    first, anchor = learned(prices)
    state = json.loads(json.dumps(anchor.to_dict()))
    assert Anchor.from_dict(state, {}).scale(prices).tobytes() == anchor.scale(prices).tobytes()
    del state["renewal"]
    assert Anchor.from_dict(state, {}).scale(prices).tobytes() == first.scale(prices).tobytes()


@pytest.mark.parametrize("change", [{"every": 0}, {"learned": 0}, {"column": "volume"}, {"after": "NaT"}, {"after": "soon"}])
def test_a_state_that_is_none_is_refused(change):
    state = learned(changing())[1].renewal.to_dict()
    with pytest.raises(ValueError):  # noqa: PT011 (some come from pandas)
        Renewal.from_dict({**state, **change})


def test_a_pipeline_counts_from_the_end_of_training_for_each_ticker():
    prices = panel(500)
    config = build_config({"model": {"anchor": "har", "anchor_renewal": 40}, "window": {"lookback": 5, "horizon": 2}}, "test")
    spans = spans_of(prices)
    pipeline = fit_pipeline(prices, spans, config)
    for ticker, its in prices.groupby(TICKER):
        past = int((its[DATE] <= spans.train_end).sum())
        assert pipeline.anchors[ticker].renewal == Renewal(40, spans.train_end.to_datetime64(), past - 2, CLOSE)
    again = Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict())))
    changed, alone = prices.copy(), fit_pipeline(prices[prices[DATE] <= spans.train_end], spans, config)
    changed.loc[changed[DATE] > spans.train_end, [OPEN, HIGH, LOW, CLOSE]] *= 2.0
    assert fit_pipeline(changed, spans, config).to_dict() == pipeline.to_dict() == again.to_dict() == alone.to_dict()


@pytest.mark.parametrize("anchor", ["none", "ewma"])
def test_it_needs_weights_to_learn(anchor):
    with pytest.raises(ConfigError, match=f"`model.anchor` must be har for `model.anchor_renewal`. Received: {anchor}"):
        build_config({"model": {"anchor": anchor, "anchor_renewal": 250}}, "test")


def test_the_shipped_recommendations_learn_anew():
    for name in ("quantile", "panel"):
        assert load_config(name).model.anchor_renewal == 250
