"""Nothing learns from a row after the cutoff: the future is replaced by garbage and the past is compared byte for byte."""

import json

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import load_config
from stockrnn.evaluation.scoring import history_until
from stockrnn.features.splits import split_time
from stockrnn.models.baselines import default_baselines
from stockrnn.prices.loading import load_prices
from stockrnn.training.fitted import Start
from stockrnn.training.recurrent import RecurrentForecaster
from tests.factories import panel, random_walk

pytestmark = pytest.mark.network
SMALL = ["model.units=[3]", "train.epochs=2", "window.lookback=5", "window.horizon=2", "model.dropout=0.2"]
TARGETS = {
    "log_return": ["data.outliers.threshold=2", "data.outliers.action=clip"],
    "difference": ["target.transform=difference", "model.head=point", "features.scaler=robust", "data.outliers=iqr"],
    "level": ["target.transform=level", "features.columns=[open,high,low,volume,close]", "features.scaler=minmax"],
}


def learn(prices, overrides):
    """Everything a run learns and forecasts, from a price table."""
    config = load_config(None, [*SMALL, *overrides])
    spans = split_time(prices["date"], config.split.validation, config.split.calibration, config.split.test)
    history = history_until(prices, spans.calibration_end)
    models = [RecurrentForecaster(config).fit(history, spans), *(b.fit(history, spans) for b in default_baselines("close", 2))]
    return spans, models


def garbage_after(prices, date, kind, seed):
    """The same table with every price and volume after a date replaced."""
    rng = np.random.default_rng(seed)
    after = (prices["date"] > date).to_numpy()
    other = prices.copy()
    columns = ["open", "high", "low", "close", "volume"]
    other.loc[after, columns] = {
        "noise": lambda: rng.lognormal(0, 5, (after.sum(), 5)),
        "huge": lambda: prices.loc[after, columns] * 1000,
        "reversed": lambda: prices.loc[after, columns].to_numpy()[::-1],
    }[kind]()
    return other


def facts(model, prices, rows):
    """Bytes of all that a fitted network is, and of its forecasts from some rows."""
    fitted = model.fitted
    weights = b"".join(w[name].tobytes() for w in fitted.members for name in sorted(w))
    learnt = json.dumps([fitted.pipeline.to_dict(), fitted.readout.to_dict()])
    prepared = fitted.pipeline.prepare(prices)
    known = prepared.rows <= rows.max()
    x, _ = prepared.windows.pick(known).tensors()
    return weights, learnt, x.tobytes()


@pytest.mark.parametrize("kind", ["noise", "huge", "reversed"])
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_garbage_after_the_last_learning_date_changes_nothing_before_it(target, kind):
    prices = random_walk(160, seed=7)
    spans, models = learn(prices, TARGETS[target])
    other = garbage_after(prices, spans.calibration_end, kind, 1)
    _, again = learn(other, TARGETS[target])
    rows = np.arange(20, int((prices["date"] <= spans.calibration_end).sum()))
    assert facts(models[0], prices, rows) == facts(again[0], other, rows)
    for before, after in zip(models, again, strict=True):
        first, second = before.forecast(prices, rows), after.forecast(other, rows)
        assert first.point.tobytes() == second.point.tobytes()
        assert first.quantiles.tobytes() == second.quantiles.tobytes()


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_garbage_after_any_test_cutoff_leaves_the_forecasts_up_to_it(target):
    prices = panel(150, seed=3)
    _, models = learn(prices, TARGETS[target])
    for share in (0.87, 0.93, 0.99):
        date = prices["date"].sort_values().iloc[int(share * len(prices))]
        other = garbage_after(prices, date, "noise", 2)
        rows = np.flatnonzero((prices["date"] <= date) & (prices.groupby("ticker").cumcount() > 20))
        for model in models:
            assert model.forecast(prices, rows).quantiles.tobytes() == model.forecast(other, rows).quantiles.tobytes()


@pytest.mark.filterwarnings("ignore::stockrnn.models.rules.BaselineWarning")  # garbage need not converge
def test_the_check_can_fail():
    prices = random_walk(160, seed=7)
    spans, models = learn(prices, TARGETS["level"])
    other = garbage_after(prices, spans.train_end, "noise", 1)
    rows = np.arange(20, 100)
    assert facts(models[0], prices, rows) != facts(learn(other, TARGETS["level"])[1][0], other, rows)


@pytest.mark.parametrize("policy", ["drop", "ffill", "interpolate"])
def test_reading_and_cleaning_a_file_is_causal(tmp_path, policy):
    prices = random_walk(160, seed=5)
    rng = np.random.default_rng(0)
    frame = prices[["date", "open", "high", "low", "close", "volume"]].astype({"volume": int})
    text = [",".join(map(str, row)) for row in frame.assign(date=frame["date"].dt.strftime("%Y-%m-%d")).to_numpy()]
    for k in (40, 41, 90, 119):
        text[k] = f"{frame['date'][k]:%Y-%m-%d},null,null,null,null,null"
    paths = []
    for name, last in (("a.csv", 160), ("b.csv", 120)):
        lines = text[:last] + [
            f"{frame['date'][k]:%Y-%m-%d},{v},{v * 1.1},{v * 0.9},{v},5"
            for k, v in zip(range(last, 160), rng.lognormal(3, 1, 160 - last).round(2), strict=True)
        ]
        paths.append(tmp_path / name)
        paths[-1].write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(lines) + "\n")
    config = load_config(None, [*SMALL, f"data.missing={policy}", "data.ticker=null"])
    tables = [load_prices(config.data.model_copy(update={"path": str(path)})).table for path in paths]
    cut = frame["date"][117]
    past = [t[(t["date"] <= cut)].drop(columns="ticker").reset_index(drop=True) for t in tables]
    pd.testing.assert_frame_equal(past[0], past[1], check_exact=True)
    assert [(~t["filled"]).sum() for t in past] == [118 - 3] * 2


@pytest.mark.parametrize("late", ["open", "volume"])
def test_a_refit_goes_on_from_weights_of_the_same_features_alone(late):
    """Two of three features each time: what one network knows of the second is nothing to another whose second is the third."""
    prices = random_walk(160, seed=7)
    config = load_config(None, [*SMALL, "features.indicators=[log_return, overnight, relative_volume]"])
    spans = split_time(prices["date"], 0.15, 0.1, 0.15)
    history = history_until(prices, spans.calibration_end)
    before = RecurrentForecaster(config).fit(history.assign(volume=np.nan), spans).fitted
    now = history.assign(**{late: np.nan})
    afresh, gone_on = (RecurrentForecaster(config, start=start).fit(now, spans).fitted for start in (None, Start(before, 2)))
    same = all(np.array_equal(one, gone_on.members[0][name]) for name, one in afresh.members[0].items())
    assert same == (late == "open")
