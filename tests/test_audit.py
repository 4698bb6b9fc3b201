"""The audit finds every leak that is planted, names its stage, and finds none in the pipeline as it is."""

import dataclasses
import json
import sys

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import load_config
from stockrnn.errors import DivergedError
from stockrnn.evaluation import audit as audits
from stockrnn.evaluation import conformal, learning, trials
from stockrnn.evaluation.audit import CHANGES, STAGES, audit
from stockrnn.evaluation.scoring import cutoff_rows, forecast_span
from stockrnn.features import anchors, history, indicators, pipeline, scaling, splits, targets, windows
from stockrnn.features.windows import Windows
from stockrnn.models.rules import Baseline
from stockrnn.prices import cleaning, loading
from stockrnn.training import loop, recurrent
from stockrnn.training.loop import History
from tests.factories import panel, random_walk
from tests.test_cli import stockrnn
from tests.writing import bars

pytestmark = pytest.mark.network
SMALL = ["model.units=[3]", "train.epochs=2", "window.lookback=5", "window.horizon=2", "train.early_stopping.patience=1"]
SMALL += ["features.indicators=[log_return,abs_return,range,overnight,relative_volume]"]
CONFIGS = {
    "shipped": ["split.calibration=0"],
    "anchored": ["model.anchor=har", "model.anchor_renewal=15", "model.filtered_history=0.5"],
    "clipped": ["data.outliers.threshold=2", "data.outliers.action=clip", "data.outliers.window=10", "data.missing=interpolate"],
    "separate": ["data.panel=separate", "model.head=point", "target.transform=difference", "data.outliers=iqr", "data.missing=ffill"],
    "level": ["target.transform=level", "features.columns=[open,high,low,volume,close]", "features.scaler=minmax", "train.ensemble=2"],
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """Two tickers, the second listed later, with gaps in the closes and in the volumes."""
    prices = panel(120, seed=6)
    prices.loc[[40, 41, 77, 150], ["open", "high", "low", "close", "volume"]] = np.nan
    prices.loc[[20, 90, 91, 140], "volume"] = np.nan
    path = tmp_path_factory.mktemp("data") / "f.csv"
    frame = prices[["ticker", "date", "open", "high", "low", "close", "volume"]]
    frame.rename(columns=str.capitalize).to_csv(path, index=False, date_format="%Y-%m-%d")
    return path


def small(csv, *overrides):
    return load_config(None, [*SMALL, f"data.path={csv}", *overrides])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_pipeline_as_it_is_leaks_nowhere(name, csv):
    found = audit(small(csv, *CONFIGS[name]))
    assert found.leaks == ()
    assert found.stage is None
    assert min(found.checks.values()) > 0
    assert set(found.checks) == set(STAGES)
    assert found.epochs == 2


def plant(monkeypatch, original, wrong):
    """Put a function in the place of another, wherever it was imported."""
    name = original.__name__
    places = [module for key, module in sys.modules.items() if key.startswith("stockrnn") and getattr(module, name, None) is original]
    assert places
    for module in places:
        monkeypatch.setattr(module, name, wrong)


def plain_training(network, train, validation, **options):
    """No training at all: for leaks before it, which need none."""
    del train, validation, options
    loop.network_weights(network)
    return History((), 0, 0)


def indicator(name, formula):
    return lambda patch: patch.setitem(indicators.INDICATORS, name, (formula, indicators.INDICATORS[name][1]))


def log_close(prices):
    return np.log(prices["close"])


def centred_volume(prices):
    logged = np.log1p(prices["volume"])
    return logged - logged.groupby(prices["ticker"]).transform(lambda s: s.rolling(7, center=True, min_periods=1).mean())


def backfilled_features(prices, names):
    columns = {n: indicators.INDICATORS[n][0](prices) if n in indicators.INDICATORS else prices[n] for n in names}
    return pd.DataFrame(columns).groupby(prices["ticker"], sort=False).bfill().to_numpy(dtype=np.float64)


def last_price_is_one(rows, adjust, real=loading._adjusted):
    values, columns = real(rows, adjust)
    return {
        name: value / np.nanmax(value) if name in ("open", "high", "low", "close") else value for name, value in values.items()
    }, columns


def clipped_to_the_whole_file(frame, sources, real=cleaning.clean, **options):
    table, found = real(frame, sources, **options)
    limit = table["volume"].quantile(0.95)
    return table.assign(volume=table["volume"].clip(upper=limit)), found


def centred_bounds(limits, table, returns):
    del limits
    rolled = pd.Series(returns).groupby(table["ticker"].to_numpy()).rolling(11, center=True, min_periods=3)
    return rolled.median().to_numpy(), np.maximum(rolled.std().to_numpy(), 1e-9)


def outliers_of_all(prices, train_end, real=cleaning.fit_outliers, **options):
    fitted = real(prices, prices["date"].max(), **options)
    return dataclasses.replace(fitted, train_end=pd.Timestamp(train_end).isoformat())


def label_later(price, usable, groups, horizon, transform, real=targets.make_targets):
    return real(price, usable, groups, horizon + 1, transform)[:, 1:]


def label_of_today(price, usable, groups, horizon, transform, real=targets.make_targets):
    made = real(price, usable, groups, horizon, transform)
    return np.vstack([np.full((1, horizon), np.nan), made[:-1]])


def label_smoothed(price, usable, groups, horizon, transform, real=targets.make_targets):
    return real(pd.Series(price).rolling(5, center=True, min_periods=1).mean().to_numpy(), usable, groups, horizon, transform)


def shuffled(prices, spans, horizon, real=splits.label_spans):
    numbers = real(prices, spans, horizon)
    known = np.flatnonzero(numbers >= 0)
    numbers[known] = np.random.default_rng(0).permutation(numbers[known])
    return numbers


def straddling(prices, spans, horizon, real=splits.label_spans):
    numbers = real(prices, spans, horizon)
    cutoffs = np.clip(spans.numbers(prices["date"]), 0, 3)
    return np.where((numbers < 0) & (cutoffs < 2) & (prices.groupby("ticker").cumcount(ascending=False) >= horizon), cutoffs, numbers)


def learns_from_all(made, prices, spans, calibrate, real=recurrent.split_windows):
    parts = real(made, prices, spans, calibrate)
    every = np.sort(np.concatenate([part.ends for part in parts.values()]))
    return {**parts, "train": dataclasses.replace(parts["train"], ends=every)}


def stops_on_calibration(made, prices, spans, calibrate, real=recurrent.split_windows):
    parts = real(made, prices, spans, calibrate)
    return {**parts, "validation": parts["calibration"]}


def scaled_on_all(prices, spans, config, *known, real=pipeline.fit_pipeline):
    fitted = real(prices, spans, config, *known)
    later = real(prices, dataclasses.replace(spans, train_end=spans.calibration_end), config, *known)
    return dataclasses.replace(fitted, features=later.features)


def target_scaled_on_all(prices, spans, config, *known, real=pipeline.fit_pipeline):
    fitted = real(prices, spans, config, *known)
    labels = pipeline.targets_of(prices, fitted.column, fitted.horizon, fitted.transform)
    every = {t: scaling.fit_scaler(labels[(prices["ticker"] == t) & np.isfinite(labels).all(axis=1)], "standard") for t in fitted.target}
    return dataclasses.replace(fitted, target=every)


def one_group(usable, groups, lookback, real=windows.window_ends):
    return real(usable, np.zeros(len(groups)), lookback)


def centred_series(self, prices, real=pipeline.Pipeline.prepare):
    made = real(self, prices)
    series = made.windows.series - made.windows.series.mean(axis=0, dtype=np.float32)
    return dataclasses.replace(made, windows=dataclasses.replace(made.windows, series=series))


def tomorrow_inside(self, prices, real=pipeline.Pipeline.prepare):
    made = real(self, prices)
    ends = np.minimum(made.windows.ends + 1, len(made.windows.series) - 1)
    return dataclasses.replace(made, windows=dataclasses.replace(made.windows, ends=ends))


def every_window(some: Windows) -> Windows:
    known = np.isfinite(some.targets).all(axis=1)
    return dataclasses.replace(some, ends=np.flatnonzero(known)[some.lookback :])


def stops_on_test(network, train, validation, real=loop.train_network, **options):
    return real(network, train, every_window(validation), **options)


def trains_on_test(network, train, validation, real=loop.train_network, **options):
    return real(network, every_window(train), validation, **options)


def uncut(patch):
    patch.setattr(learning, "history_until", lambda prices, _: prices)


def calibrated_on_test(config, prices, spans, *rest, real=learning.learn, **known):
    learned = real(config, prices, spans, *rest, **known)
    rows = np.intersect1d(cutoff_rows(prices, spans, "test", config.window.horizon), learned.possible_rows(prices))
    if len(rows) < conformal.LEAST_ROWS:
        return learned
    return dataclasses.replace(learned, conformal=conformal.calibrate(forecast_span([learned.network], prices, rows)))


def width_of_today(rows, rate, real=conformal._tracked):
    return np.append(real(rows, rate)[1:], 1.0)


def told_tomorrow(self, prices, rows, real=recurrent.RecurrentForecaster.forecast):
    made = real(self, prices, rows)
    ahead = prices["close"].to_numpy()[np.minimum(rows + 1, len(prices) - 1)]
    half = 0.5 * ahead[:, None]
    return dataclasses.replace(made, point=0.5 * made.point + half, quantiles=0.5 * made.quantiles + half[:, :, None])


def from_tomorrow(self, scaled, prices, rows, real=pipeline.Pipeline.to_prices):
    return real(self, scaled, prices, np.minimum(rows + 1, len(prices) - 1))


def naive_of_tomorrow(self, prices, rows, real=Baseline.forecast):
    return real(self, prices.assign(close=prices["close"].shift(-1).fillna(prices["close"])), rows)


def uncut_arena(config, prices, folds, known, real=trials.make_arena):
    return dataclasses.replace(real(config, prices, folds, known), prices=prices)


def history_of_tomorrow(pipeline, prices, rows, sessions, real=history.recent_quantiles):
    return real(pipeline, prices, np.minimum(rows + 1, len(prices) - 1), sessions)


def learned_later(self, seen, real=anchors.Anchor._renewed):
    return ((max(first - 8, 0), anchor) for first, anchor in real(self, seen))


LEAKS = {
    "missing closes filled from behind": ("reading", lambda p: p.setitem(cleaning._FILLERS, "ffill", lambda close: close.bfill())),
    "prices as shares of the highest ever": ("reading", lambda p: plant(p, loading._adjusted, last_price_is_one)),
    "volumes clipped at a quantile of the whole file": ("reading", lambda p: plant(p, cleaning.clean, clipped_to_the_whole_file)),
    "outlier limits of all rows": ("limits", lambda p: plant(p, cleaning.fit_outliers, outliers_of_all)),
    "outliers judged by a centred window": ("limits", lambda p: p.setitem(cleaning._BOUNDS, "iqr", centred_bounds)),
    "centred rolling mean": ("features", indicator("relative_volume", centred_volume)),
    "tomorrow's return": ("features", indicator("log_return", lambda t: log_close(t).groupby(t["ticker"]).diff().shift(-1))),
    "return of the wrong sign of time": ("features", indicator("abs_return", lambda t: log_close(t).groupby(t["ticker"]).diff(-1))),
    "range less its mean of all rows": (
        "features",
        indicator("range", lambda t: np.log(t["high"] / t["low"]) - np.log(t["high"] / t["low"]).mean()),
    ),
    "return from another ticker": ("features", indicator("log_return", lambda t: log_close(t).diff())),
    "features filled from behind": ("features", lambda p: plant(p, indicators.make_features, backfilled_features)),
    "label one session late": ("labels", lambda p: plant(p, targets.make_targets, label_later)),
    "label of today": ("labels", lambda p: plant(p, targets.make_targets, label_of_today)),
    "label smoothed over later prices": ("labels", lambda p: plant(p, targets.make_targets, label_smoothed)),
    "shuffled split": ("split", lambda p: plant(p, splits.label_spans, shuffled)),
    "labels across a border": ("split", lambda p: plant(p, splits.label_spans, straddling)),
    "training on all windows": ("split", lambda p: plant(p, recurrent.split_windows, learns_from_all)),
    "early stopping on the calibration span": ("split", lambda p: plant(p, recurrent.split_windows, stops_on_calibration)),
    "scaler on all rows": ("scaler", lambda p: plant(p, pipeline.fit_pipeline, scaled_on_all)),
    "target scaler on all rows": ("scaler", lambda p: plant(p, pipeline.fit_pipeline, target_scaled_on_all)),
    "windows across tickers": ("windows", lambda p: plant(p, windows.window_ends, one_group)),
    "series centred on its mean of all rows": ("windows", lambda p: p.setattr(pipeline.Pipeline, "prepare", centred_series)),
    "tomorrow inside the window": ("windows", lambda p: p.setattr(pipeline.Pipeline, "prepare", tomorrow_inside)),
    "early stopping on test": ("weights", lambda p: (uncut(p), plant(p, loop.train_network, stops_on_test))),
    "training on test": ("weights", lambda p: (uncut(p), plant(p, loop.train_network, trains_on_test))),
    "calibration on test": ("calibration", lambda p: plant(p, learning.learn, calibrated_on_test)),
    "width that knows today's miss": ("calibration", lambda p: plant(p, conformal._tracked, width_of_today)),
    "forecast that is told tomorrow": ("forecasts", lambda p: p.setattr(recurrent.RecurrentForecaster, "forecast", told_tomorrow)),
    "forecast from tomorrow's price": ("forecasts", lambda p: p.setattr(pipeline.Pipeline, "to_prices", from_tomorrow)),
    "changes that are known tomorrow": ("forecasts", lambda p: plant(p, history.recent_quantiles, history_of_tomorrow)),
    "an anchor that is learned eight sessions later": ("forecasts", lambda p: p.setattr(anchors.Anchor, "_renewed", learned_later)),
    "search of the whole file": ("search", lambda p: plant(p, trials.make_arena, uncut_arena)),
    "baseline from tomorrow's price": ("baselines", lambda p: p.setattr(Baseline, "forecast", naive_of_tomorrow)),
}
TRAINED = ("weights", "calibration", "forecasts", "baselines")
FAST = ["tomorrow's return", "label of today", "shuffled split", "scaler on all rows", "windows across tickers", "calibration on test"]


NEEDS = {
    "windows across tickers": ["features.columns=[close]", "features.indicators=[]"],
    "changes that are known tomorrow": ["model.anchor=har", "model.filtered_history=0.5"],
    "an anchor that is learned eight sessions later": ["model.anchor=har", "model.anchor_renewal=15"],
}
"""An indicator is unknown in a ticker's first session, which parts the windows of two tickers already."""


def few_cutoffs(subject):
    """A session early in the second ticker's history, the ends of the spans, and one in the test span."""
    dates = np.sort(subject.prices.table["date"].unique())
    return [pd.Timestamp(dates[33]), *audits._learning_ends(subject.spans), pd.Timestamp(dates[-5])]


def stage_of(name, csv, patch):
    stage, put = LEAKS[name]
    if stage not in TRAINED:
        patch.setattr(recurrent, "train_network", plain_training)
    put(patch)
    overrides = ["data.missing=ffill", "data.outliers.method=iqr", "data.outliers.threshold=2", "split.calibration=0.2"]
    return audit(small(csv, *overrides, *NEEDS.get(name, []))).stage


@pytest.mark.parametrize("name", FAST)
def test_a_planted_leak_is_caught_from_a_few_cutoffs(name, csv, monkeypatch):
    monkeypatch.setattr(audits, "_cutoffs", few_cutoffs)
    assert stage_of(name, csv, monkeypatch) == LEAKS[name][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAKS)
def test_every_planted_leak_is_caught_and_its_stage_named(name, csv, monkeypatch):
    assert stage_of(name, csv, monkeypatch) == LEAKS[name][0]


def test_nothing_is_caught_where_nothing_is_planted(csv, monkeypatch):
    monkeypatch.setattr(audits, "_cutoffs", few_cutoffs)
    found = audit(small(csv, *CONFIGS["clipped"]))
    assert found.leaks == ()
    assert min(found.checks.values()) > 0


def test_at_least_twenty_leaks_are_planted_in_all_stages():
    assert len(LEAKS) >= 20
    assert {stage for stage, _ in LEAKS.values()} == set(STAGES)


def test_the_document_says_where_when_and_how(csv, monkeypatch):
    monkeypatch.setattr(recurrent, "train_network", plain_training)
    monkeypatch.setattr(audits, "_cutoffs", few_cutoffs)
    LEAKS["tomorrow's return"][1](monkeypatch)
    steps = []
    document = audit(small(csv), lambda done, of: steps.append((done, of))).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["passed"], document["stage"]) == (False, "features")
    assert {leak["change"] for leak in document["leaks"]} <= {*CHANGES, audits.UNSEEN}
    assert set(document["cutoffs"]) >= {leak["cutoff"] for leak in document["leaks"]}
    assert steps == [(k, len(document["cutoffs"])) for k in range(len(steps))]


def test_changes_touch_nothing_up_to_the_cutoff_and_everything_after(csv):
    subject = audits._Subject.of(small(csv, "data.missing=drop"))
    table = subject.prices.table
    cutoff = table["date"].sort_values().iloc[100]
    for change in CHANGES:
        other = subject.changed(cutoff, change).table
        past, future = (other[other["date"] <= cutoff], other[other["date"] > cutoff])
        pd.testing.assert_frame_equal(past.reset_index(drop=True), table[table["date"] <= cutoff].reset_index(drop=True), check_exact=True)
        assert len(future) == (0 if change == "deleted" else (table["date"] > cutoff).sum())
        assert not np.isin(future["close"].to_numpy(), table["close"].to_numpy()).any()


def test_an_undated_file_is_audited_in_the_order_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(recurrent, "train_network", plain_training)
    closes = random_walk(120, seed=1)["close"]
    (tmp_path / "f.csv").write_text("Close\n" + "\n".join(f"{close:.4f}" for close in closes) + "\n")
    monkeypatch.setattr(audits, "_cutoffs", lambda subject: audits._learning_ends(subject.spans))
    config = small(tmp_path / "f.csv", "data.order=ascending", "split.calibration=0.2", "window.horizon=1", "train.ensemble=1")
    assert audit(config).leaks == ()


def test_bars_of_minutes_are_audited_from_the_first_one_on(tmp_path, monkeypatch):
    """A lone bar, all that is left after the first cutoff, does not tell that the file holds times of day."""
    monkeypatch.setattr(recurrent, "train_network", plain_training)
    dates = pd.date_range("2024-01-02 09:30", periods=120, freq="min")
    random_walk(120, seed=1).assign(date=dates).drop(columns=["ticker", "filled"]).to_csv(tmp_path / "f.csv", index=False)
    monkeypatch.setattr(audits, "_cutoffs", lambda subject: [dates[0], dates[1], *audits._learning_ends(subject.spans)])
    found = audit(small(tmp_path / "f.csv", "split.calibration=0.2", "window.horizon=1", "train.ensemble=1"))
    assert found.leaks == ()
    assert found.checks["reading"] == 5 * 3 - 1


def test_bars_that_have_highs_and_lows_later_only_are_audited_without_an_alarm(tmp_path, monkeypatch):
    """What comes later does not tell that a bar without any is one of a halt."""
    monkeypatch.setattr(recurrent, "train_network", plain_training)
    table = bars(120)
    table.loc[:10, ["open", "high", "low"]] = np.nan
    table.to_csv(tmp_path / "f.csv", index=False)
    monkeypatch.setattr(audits, "_cutoffs", lambda subject: [table["date"][4], table["date"][40], *audits._learning_ends(subject.spans)])
    found = audit(small(tmp_path / "f.csv", "split.calibration=0.2", "window.horizon=1", "train.ensemble=1"))
    assert found.leaks == ()
    assert found.checks["reading"] == 5 * 3


def test_a_future_that_leads_a_network_astray_is_compared_by_all_else(csv, monkeypatch):
    learnt = []

    def astray(*given, real=audits.learn):
        if learnt:
            raise DivergedError("beyond every price")
        learnt.append(real(*given))
        return learnt[0]

    monkeypatch.setattr(recurrent, "train_network", plain_training)
    monkeypatch.setattr(audits, "_cutoffs", lambda subject: [subject.spans.train_end])
    monkeypatch.setattr(audits, "learn", astray)
    found = audit(small(csv))
    assert found.leaks == ()
    assert (found.checks["reading"], found.checks["windows"], found.checks["scaler"]) == (3, 3, 0)


def test_files_of_one_series_keep_its_name_where_a_later_one_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(recurrent, "train_network", plain_training)
    table = bars(120, start="2019-10-01")
    for year, part in table.groupby(table["date"].dt.year):
        part.to_csv(tmp_path / f"spy_{year}.csv", index=False)
    monkeypatch.setattr(audits, "_cutoffs", lambda subject: [table["date"][20], *audits._learning_ends(subject.spans)])
    config = small(tmp_path, "split.calibration=0.2", "window.horizon=1", "train.ensemble=1")
    assert audit(config).leaks == ()


@pytest.mark.slow
def test_the_command_shows_every_stage_and_a_leak_is_one_line_and_a_failure(csv, tmp_path):
    short = [word for override in SMALL for word in ("--set", override)]
    done = stockrnn("audit", "--data", csv, *short, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [stage for stage in STAGES if stage not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []
