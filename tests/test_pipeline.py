"""The road from prices to windows and back: by hand for one ticker, apart for each of a panel, learned from training alone."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from factories import gappy, panel, random_walk

from stockrnn.configfile import load_config
from stockrnn.errors import DataError
from stockrnn.evaluation import learning
from stockrnn.evaluation.conformal import Calibration
from stockrnn.evaluation.learning import Learned
from stockrnn.features import pipeline
from stockrnn.features.learnable import learnable_tickers
from stockrnn.features.pipeline import LEAST_SESSIONS, Pipeline, fit_pipeline
from stockrnn.features.splits import split_time
from stockrnn.models.baselines import BASELINES
from stockrnn.prices.tickers import ticker_blocks, ticker_slices
from stockrnn.types import CLOSE, DATE, FILLED, TICKER, VOLUME, own

PLAIN = ["features.columns=[]", "features.indicators=[log_return]", "model.units=[2]", "data.outliers.method=none"]
SMALL = [*PLAIN, "window.lookback=3", "window.horizon=2", "features.scaler=standard"]
ANCHORED = "model.anchor=ewma"


def spans_of(prices):
    return split_time(prices[DATE], 0.15, 0.1, 0.15)


def fitted(prices, *words):
    return fit_pipeline(prices, spans_of(prices), load_config("lstm", [*SMALL, *words]))


def log_changes(prices, step):
    logged = np.log(prices[CLOSE].to_numpy())
    return np.r_[logged[step:] - logged[:-step], [np.nan] * step]


def test_the_scalers_are_learned_from_the_training_span_alone_by_hand():
    prices = random_walk(200)
    learned = fitted(prices)
    feature = np.log(prices[CLOSE]).diff()[1:120]  # the first 60 % of 200 sessions, less the first, which has no return
    (scaler,) = learned.features.values()
    np.testing.assert_allclose([scaler.offset[0], scaler.scale[0]], [feature.mean(), feature.std(ddof=0)], rtol=1e-12)
    (target,) = learned.target.values()
    for step in (1, 2):  # both labels lie in the span, so the last cutoff is its third last session
        labels = log_changes(prices, step)[: 120 - 2]
        wanted = [labels.mean(), labels.std()]
        np.testing.assert_allclose([target.offset[step - 1], target.scale[step - 1]], wanted, rtol=1e-12)
    assert (learned.names, learned.absent, learned.anchors) == (("log_return",), (), {})
    assert (learned.column, learned.transform, learned.lookback, learned.horizon) == ("close", "log_return", 3, 2)


def test_nothing_after_the_training_span_is_learned_from():
    prices = random_walk(200)
    for words in ([], [ANCHORED], ["data.outliers.method=hampel", "data.outliers.threshold=2"]):
        other = prices.copy()
        other.loc[120:, ["open", "high", "low", "close", "volume"]] *= np.linspace(1.1, 9, 80)[:, None]
        assert fitted(prices, *words).to_dict() == fitted(other, *words).to_dict()


def test_a_window_is_the_scaled_features_before_its_cutoff():
    prices = random_walk(200)
    learned = fitted(prices)
    prepared = learned.prepare(prices)
    assert prepared.rows.tolist() == list(range(3, 200))  # three sessions with a return
    x, y = prepared.windows.tensors()
    feature = (np.log(prices[CLOSE]).diff().to_numpy() - learned.features["WALK"].offset[0]) / learned.features["WALK"].scale[0]
    np.testing.assert_allclose(x[10, :, 0], feature[11:14], rtol=1e-6)
    scaled = (log_changes(prices, 2) - learned.target["WALK"].offset[1]) / learned.target["WALK"].scale[1]
    np.testing.assert_allclose(y[:, 1], scaled[3:], rtol=1e-5)
    assert (x.dtype, y.dtype) == (np.float32, np.float32)
    assert np.isfinite(prepared.windows.series).all()


def test_each_ticker_is_scaled_and_anchored_by_its_own():
    both = panel(200)
    learned, spans = fitted(both, ANCHORED), spans_of(both)
    assert set(learned.features) == set(learned.target) == set(learned.anchors) == {"AAA", "BBB"}
    for ticker in ("AAA", "BBB"):
        mine = both[both[TICKER] == ticker].reset_index(drop=True)
        alone = fit_pipeline(mine, spans, load_config("lstm", [*SMALL, ANCHORED]))
        for part in ("features", "target", "anchors"):
            assert getattr(alone, part)[ticker].to_dict() == getattr(learned, part)[ticker].to_dict()
        rows = both.index[both[TICKER] == ticker][[50, 90]].to_numpy()
        own = rows - both.index[both[TICKER] == ticker][0]
        np.testing.assert_array_equal(learned.windows_at(both, rows).tensors()[0], alone.windows_at(mine, own).tensors()[0])
        scaled = np.linspace(-1, 1, 12).reshape(2, 2, 3)
        np.testing.assert_array_equal(learned.to_prices(scaled, both, rows), alone.to_prices(scaled, mine, own))


@pytest.mark.parametrize("anchor", ["none", "ewma", "har"])
@pytest.mark.parametrize("transform", ["log_return", "difference", "level"])
def test_scaled_targets_go_back_to_the_prices_they_came_from(anchor, transform):
    if anchor != "none" and transform != "log_return":
        return
    both = panel(200)
    learned = fitted(both, f"model.anchor={anchor}", f"target.transform={transform}")
    prepared = learned.prepare(both)
    known = np.isfinite(prepared.windows.tensors()[1]).all(axis=1)
    rows, y = prepared.rows[known], prepared.windows.tensors()[1][known]
    prices = learned.to_prices(np.stack([y, y], axis=2), both, rows)
    assert prices.shape == (len(rows), 2, 2)
    for step in (1, 2):
        for value in (0, 1):
            np.testing.assert_allclose(prices[:, step - 1, value], both[CLOSE].to_numpy()[rows + step], rtol=1e-4)


def test_the_first_and_the_last_row_of_a_ticker_have_prices_too():
    both = panel(200)
    learned = fitted(both, "target.transform=difference")
    rows = np.array([row for ticker in ("AAA", "BBB") for row in both.index[both[TICKER] == ticker][[0, -1]]])
    offset = np.array([learned.target[both[TICKER][row]].offset for row in rows])
    wanted = both[CLOSE].to_numpy()[rows, None] + offset
    np.testing.assert_allclose(learned.to_prices(np.zeros((4, 2, 1)), both, rows)[..., 0], wanted, rtol=1e-12)


def test_a_target_whose_sign_matters_is_scaled_without_an_offset():
    prices = random_walk(300)
    assert set(fitted(prices).target["WALK"].offset) != {0.0}
    for words in (["model.head=direction"], [ANCHORED]):
        assert fitted(prices, *words).target["WALK"].offset == (0.0, 0.0)


def test_a_filled_close_ends_no_window_and_is_no_label():
    prices = gappy(400)
    learned = fitted(prices)
    prepared = learned.prepare(prices)
    filled = prices[FILLED].to_numpy()
    assert filled.sum() > 20
    assert not filled[prepared.rows].any()
    y = prepared.windows.tensors()[1]
    steps = np.minimum(prepared.rows[:, None] + [1, 2], len(prices) - 1)
    wanted = ~filled[steps] & (prepared.rows[:, None] + [1, 2] < len(prices))
    np.testing.assert_array_equal(np.isfinite(y), wanted)
    usable = (np.arange(400) < 240) & ~filled
    returns = np.log(prices[CLOSE]).diff().to_numpy()
    assert learned.features["GAPPY"].offset[0] == pytest.approx(returns[usable & np.isfinite(returns)].mean())


def test_a_session_without_the_price_that_is_forecast_teaches_no_step():
    prices = random_walk(200)
    opens = prices["open"].where(prices.index != 50)
    pipeline = fitted(prices.assign(open=opens), "target.column=open")
    logged = np.log(opens.to_numpy())
    changes = np.stack([np.roll(logged, -step) - logged for step in (1, 2)], axis=1)[
        : (prices[DATE] <= spans_of(prices).train_end).sum() - 2
    ]
    learned = changes[np.isfinite(changes).all(axis=1)]
    assert len(changes) - len(learned) == 3
    (target,) = pipeline.target.values()
    np.testing.assert_allclose([target.offset, target.scale], [learned.mean(axis=0), learned.std(axis=0)], rtol=1e-9)


def test_the_state_is_json_and_brings_back_the_same_windows():
    both = panel(200)
    for words in ([], ["model.anchor=har", "data.outliers.method=hampel"]):
        learned = fitted(both, *words)
        again = Pipeline.from_dict(json.loads(json.dumps(learned.to_dict())))
        assert again.to_dict() == learned.to_dict()
        assert again.prepare(both).windows.series.tobytes() == learned.prepare(both).windows.series.tobytes()
        assert again.prepare(both).windows.targets.tobytes() == learned.prepare(both).windows.targets.tobytes()
        assert set(learned.to_dict()) == {
            *("names", "absent", "limits", "features", "target", "anchors"),
            *("column", "transform", "lookback", "shortest", "horizon"),
            *(["plans"] if words else []),
        }
    older = {name: value for name, value in fitted(both).to_dict().items() if name not in ("anchors", "shortest")}
    assert Pipeline.from_dict(older).anchors == {}
    assert Pipeline.from_dict(older).shortest == learned.lookback


def test_windows_are_found_by_their_cutoffs_or_refused_by_name():
    prices = random_walk(200)
    learned = fitted(prices)
    rows = np.array([199, 3, 77])
    np.testing.assert_array_equal(learned.windows_at(prices, rows).ends, rows)
    for short, row, have in ((prices, 2, 3), (prices[:3], 2, 3), (prices[:1], 0, 1)):
        with pytest.raises(DataError, match=rf"needs 3 complete rows .* Received: {have} of WALK up to {prices[DATE][row]:%Y-%m-%d}"):
            learned.windows_at(short, np.array([row]))
    both = panel(200)
    start = int(np.flatnonzero(both[TICKER] == "BBB")[0])
    with pytest.raises(DataError, match="Received: 2 of BBB"):
        fitted(both).windows_at(both, np.array([start + 1, start + 3]))


def test_a_run_of_one_ticker_takes_another_and_one_of_several_does_not():
    prices, both = random_walk(200), panel(200)
    other = prices.assign(ticker="OTHER")
    assert fitted(prices).prepare(other).windows.series.tobytes() == fitted(prices).prepare(prices).windows.series.tobytes()
    with pytest.raises(DataError, match=r"one of the run's 2\. Received: OTHER"):
        fitted(both).prepare(other)


def test_too_little_or_unchanging_history_is_refused_by_its_number():
    config = load_config("lstm", SMALL)
    need = LEAST_SESSIONS + 2
    for sessions in (need + 1, need):
        prices = random_walk(60)
        spans = split_time(prices[DATE], 0.1, 0.1, 0.1)
        table = pd.concat([prices[48 - sessions : 48], prices[48:]], ignore_index=True)
        spans = type(spans)(prices[DATE][47], prices[DATE][50], prices[DATE][53], prices[DATE][59])
        if sessions == need + 1:  # the first has no return
            fit_pipeline(table, spans, config)
        else:
            with pytest.raises(DataError, match=f"need {need}, have {need - 1}"):
                fit_pipeline(table, spans, config)
    flat = random_walk(200).assign(close=5.0)
    with pytest.raises(DataError, match=r"close of WALK must change\. Received: 5 in all 119 training rows"):
        fitted(flat)
    long = load_config("lstm", [*SMALL, "window.lookback=30"])
    with pytest.raises(DataError, match=r"need 32, have 29"):
        fit_pipeline(random_walk(50), spans_of(random_walk(50)), long)


def test_tickers_of_a_panel_with_too_little_or_unchanging_history_are_left_out():
    config = load_config("lstm", SMALL)
    whole = random_walk(200, ticker="WHOLE")
    assert LEAST_SESSIONS == 20
    need = 20 + 2 + 1
    spans = spans_of(whole)
    enough, short = (whole[120 - count :].assign(ticker=name) for name, count in (("ENOUGH", need), ("SHORT", need - 1)))
    flat, late = whole.assign(ticker="FLAT", close=5.0), whole[130:].assign(ticker="LATE")
    gaps = enough.assign(ticker="GAPS", filled=enough.index == 110)
    prices = pd.concat([whole, enough, short, flat, late, gaps], ignore_index=True)
    assert learnable_tickers(prices, spans, config) == (["WHOLE", "ENOUGH"], ["SHORT", "FLAT", "LATE", "GAPS"])
    assert learnable_tickers(short.reset_index(drop=True), spans, config) == (["SHORT"], [])
    longer = load_config("lstm", [*SMALL, "window.lookback=30"])
    assert learnable_tickers(prices, spans, longer)[0] == ["WHOLE"]
    fit_pipeline(prices[prices[TICKER] == "ENOUGH"].reset_index(drop=True), spans, config)


def test_a_ticker_of_a_panel_without_what_features_need_is_left_out_and_alone_told_so():
    """A volume is compared with that of five sessions before, so 27 of them make 22."""
    whole, spans = random_walk(200, ticker="WHOLE"), spans_of(random_walk(200))
    index = whole.assign(ticker="INDEX", volume=np.nan)
    enough, short = (whole[120 - count :].assign(ticker=name) for name, count in (("ENOUGH", 27), ("SHORT", 26)))
    words = [*SMALL, "features.indicators=[log_return, relative_volume]"]
    config = load_config("lstm", words)
    several = pd.concat([whole, index, enough, short], ignore_index=True)
    fit, left_out = learnable_tickers(several, spans, config)
    assert (fit, left_out) == (["WHOLE", "ENOUGH"], ["INDEX", "SHORT"])
    fit_pipeline(several[several[TICKER].isin(fit)].reset_index(drop=True), spans, config)
    alone = load_config("lstm", [*words, "data.panel=separate"])
    assert learnable_tickers(several, spans, alone)[0] == ["WHOLE", "INDEX", "ENOUGH"]  # whose network has its own features
    assert fit_pipeline(index, spans, alone).names == ("log_return",)
    with pytest.raises(DataError, match=r"must have 22 training rows with all features.* Received: none of 2\. Shorten"):
        learnable_tickers(pd.concat([short, short.assign(ticker="OTHER")], ignore_index=True), spans, config)
    mostly = pd.concat([index, short], ignore_index=True)
    assert learnable_tickers(mostly, spans, config)[1] == []  # what most rows lack costs no ticker
    assert fit_pipeline(mostly, spans, config).absent == ("relative_volume",)
    assert learnable_tickers(pd.concat([index, index.assign(ticker="OTHER")]), spans, config)[1] == []  # whose network has no such feature
    rare = whole.assign(volume=whole[VOLUME].where(whole.index > 100))
    assert fit_pipeline(rare, spans, config).absent == ("relative_volume",)
    soon = whole[80:].assign(volume=whole[VOLUME].where(whole.index >= 100)).reset_index(drop=True)
    with pytest.raises(DataError, match=r"need 22, have 15\. Leave relative_volume out, known in too few of them, or give more history"):
        fit_pipeline(soon, spans, config)


def test_a_forecast_without_what_features_need_names_the_columns_to_give():
    prices = random_walk(200).assign(**{own("mood"): 1.5})
    learned = fitted(prices, "features.indicators=[relative_volume, range]", "features.columns=[mood]")
    some = prices[own("mood")].where(prices.index == 199)  # of the last window two are unknown
    lacking = {
        "volume": {VOLUME: np.nan},
        "high": {"high": np.nan},
        "low, volume, mood": {"low": np.nan, VOLUME: np.nan, own("mood"): some},
    }
    for columns, changes in lacking.items():
        with pytest.raises(DataError, match=rf"Received: 200 of WALK up to .*\. Give a file with {columns}\.$"):
            learned.windows_at(prices.assign(**changes), np.array([199]))
    with pytest.raises(DataError, match=r"Received: 3 of WALK up to .*\. Give more history\.$"):
        learned.windows_at(prices.iloc[:3], np.array([2]))


def test_a_column_that_begins_after_the_training_span_is_as_one_that_is_not_there():
    prices = random_walk(200)
    late = prices.assign(volume=prices[VOLUME].where(prices[DATE] > spans_of(prices).train_end))
    words = "features.indicators=[log_return, relative_volume]"
    assert fitted(late, words) == fitted(prices.assign(volume=np.nan), words)
    assert fitted(late, words).absent == ("relative_volume",)


def test_rows_that_teach_nothing_as_a_column_begins_later_are_told_by_ticker():
    whole = random_walk(200, ticker="WHOLE")
    late, soon = (whole.assign(ticker=name, high=whole["high"].where(whole.index >= rows)) for name, rows in (("LATE", 30), ("SOON", 5)))
    prices = pd.concat([late, soon, whole], ignore_index=True)
    pipeline = fitted(prices, "features.indicators=[log_return, range]")
    parts = {"": SimpleNamespace(fitted=SimpleNamespace(pipeline=pipeline))}
    learned = Learned(BASELINES["naive"](2), parts, (), Calibration.none(2))
    said = "Training rows before the first value of a column that features need teach nothing: the first 30 of 120 of LATE (high)."
    assert learning._late(learned, prices, spans_of(prices)) == (said,)
    assert learning._late(learned, whole, spans_of(prices)) == ()
    assert learning._absent(learned) == ()
    parts[""].fitted.pipeline = fitted(prices.assign(low=np.nan), "features.indicators=[log_return, range]")
    assert learning._absent(learned) == ("Features left out, as most training rows lack the columns they need: range.",)
    parts["LATE"] = parts.pop("")
    assert learning._absent(learned) == ("Features left out, as most training rows of LATE lack the columns they need: range.",)


def test_a_horizon_that_no_stretch_of_observed_sessions_holds_is_refused():
    prices = gappy(400)  # every 17th session is filled
    fit_pipeline(prices, spans_of(prices), load_config("lstm", [*SMALL, "window.horizon=15"]))
    with pytest.raises(DataError, match=r"a row of GAPPY with 16 observed ones after it\. Received: none, 225 observed\. Shorten `window"):
        fit_pipeline(prices, spans_of(prices), load_config("lstm", [*SMALL, "window.horizon=16"]))


@pytest.mark.parametrize(("share", "alone"), [(0.1, ["WHOLE"]), (0.0, ["WHOLE", "DELISTED"])])
def test_a_ticker_that_was_delisted_before_a_span_teaches_a_common_network_alone(share, alone):
    """Of 200 sessions it has 142: it ends in the validation span (121 to 150), before a calibration span."""
    whole = random_walk(200, ticker="WHOLE")
    gone = whole[:110].assign(ticker="GONE")
    prices = pd.concat([whole, whole[:142].assign(ticker="DELISTED"), gone], ignore_index=True)
    words = [*SMALL, f"split.calibration={share}"]
    spans = split_time(prices[DATE], 0.15, 0.1, 0.15)
    assert learnable_tickers(prices, spans, load_config("lstm", words))[0] == ["WHOLE", "DELISTED", "GONE"]
    assert learnable_tickers(prices, spans, load_config("lstm", [*words, "data.panel=separate"]))[0] == alone


def test_outliers_are_treated_before_features_and_actuals_are_left_alone():
    prices = random_walk(200)
    prices.loc[100:, CLOSE] *= 1.5
    words = ["data.outliers.method=zscore", "data.outliers.action=clip", "data.outliers.threshold=4"]
    raw, treated = fitted(prices), fitted(prices, *words)
    assert treated.features["WALK"].scale[0] < 0.8 * raw.features["WALK"].scale[0]
    rows = np.array([99, 150])
    zero = np.zeros((2, 2, 1))
    for learned in (raw, treated):
        wanted = prices[CLOSE].to_numpy()[rows, None] * np.exp(learned.target["WALK"].offset)
        np.testing.assert_allclose(learned.to_prices(zero, prices, rows)[..., 0], wanted, rtol=1e-9)


def test_short_windows_begin_with_unknown_timesteps_and_never_with_another_ticker():
    both = panel(200)
    plain, short = fitted(both), fitted(both, "window.shortest=1")
    whole, cut = plain.prepare(both), short.prepare(both)
    added = ~np.isin(cut.rows, whole.rows)
    np.testing.assert_array_equal(cut.rows[~added], whole.rows)
    np.testing.assert_array_equal(cut.windows.tensors()[0][~added], whole.windows.tensors()[0])
    np.testing.assert_array_equal(cut.windows.tensors()[1][~added], whole.windows.tensors()[1])
    assert (len(whole.windows.series), len(cut.windows.series)) == (len(both), len(both) + 2 * 2)  # two rows more for each of two tickers
    x, _ = cut.windows.tensors()
    first = both.groupby(TICKER, sort=False).head(1).index
    for start in first:  # the first session has no return, so the second ends a window of one
        for length in (1, 2):
            window = x[cut.rows == start + length][0]
            assert np.isnan(window[: 3 - length]).all()
            np.testing.assert_array_equal(window[3 - length :], x[cut.rows == start + 3][0][:length])


def test_a_ticker_younger_than_the_lookback_needs_short_windows():
    old = panel(200)
    young = old[(old[TICKER] != old[TICKER].iloc[0]) | (old.index >= 90)].reset_index(drop=True)  # 30 sessions in training
    words = ["window.lookback=40", "window.horizon=2"]
    name = young[TICKER].iloc[0]
    assert learnable_tickers(young, spans_of(old), load_config("lstm", [*SMALL, *words]))[1] == [name]
    config = load_config("lstm", [*SMALL, *words, "window.shortest=5"])
    assert learnable_tickers(young, spans_of(old), config)[1] == []
    rows = fit_pipeline(young, spans_of(old), config).prepare(young).rows
    assert (young[TICKER][rows] == name).sum() == (young[TICKER] == name).sum() - 5


def test_tickers_are_looked_at_some_at_a_time_each_whole():
    tickers = pd.Series(np.repeat(list("abcdefg"), [5, 1, 3, 9, 2, 2, 1]))
    slices = list(ticker_slices(tickers).values())
    for least in (1, 4, 8, 100):
        blocks = list(ticker_blocks(tickers, least))
        np.testing.assert_array_equal(np.concatenate([np.arange(len(tickers))[block] for block in blocks]), np.arange(len(tickers)))
        assert {block.start for block in blocks} <= {each.start for each in slices}
        assert all(least <= block.stop - block.start for block in blocks[:-1])
    assert list(ticker_blocks(tickers, 1)) == slices


@pytest.mark.parametrize("words", [[ANCHORED], ["window.shortest=2", "model.ticker_embedding=2", "features.known_ahead=[day_of_week]"]])
def test_how_many_tickers_are_looked_at_together_changes_nothing(monkeypatch, words):
    prices = panel(300)
    words = [*words, "data.panel=together", "features.indicators=[log_return, relative_volume]"]
    whole = fitted(prices, *words)
    windows = whole.prepare(prices).windows
    monkeypatch.setattr(pipeline, "ticker_blocks", functools.partial(ticker_blocks, least=1))
    apart = fitted(prices, *words)
    assert apart.to_dict() == whole.to_dict()
    others = apart.prepare(prices).windows
    for name in ("series", "targets", "ends"):
        np.testing.assert_array_equal(getattr(others, name), getattr(windows, name), strict=True)
    assert set(others.beside) == set(windows.beside)
    for name, array in windows.beside.items():
        np.testing.assert_array_equal(others.beside[name], array, strict=True)
