"""What every forecaster promises: each check crossed with each forecaster, and with a planted defect it must catch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from factories import INSTALLED, cutoffs, gappy, garch_path, history, near_constant, panel, random_walk, spans_of

from stockrnn.configfile import load_config
from stockrnn.errors import DivergedError, NotFittedError
from stockrnn.models.baselines import BaselineWarning, Naive
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.training import recurrent
from stockrnn.training.recurrent import network_forecaster
from stockrnn.types import CLOSE, DATE, FILLED, PRICES, QUANTILES, TICKER, VOLUME

Make = Callable[[int], Forecaster]
FORECASTERS: dict[str, Make] = {name: (lambda horizon, kind=kind: kind(horizon=horizon)) for name, kind in INSTALLED.items()}
SMALL = ["model.units=[3]", "train.epochs=2", "window.lookback=5"]
NETWORKS = {
    "lstm": ["split.calibration=0"],
    "gru-ensemble": ["model.cell=gru", "train.ensemble=2", "data.outliers.action=clip"],
    "simple_rnn-point": ["model.cell=simple_rnn", "model.head=point", "target.transform=difference", "features.scaler=robust"],
    "separate": ["data.panel=separate"],
    "anchored": [
        "model.anchor=har",
        "model.anchor_renewal=25",
        "model.filtered_history=0.3",
        "model.filtered_sessions=[50, 200]",
        "train.ensemble=[{cell: gru}, {cell: simple_rnn, lookback: 3}]",
        "split.calibration=0",
    ],
}
FORECASTERS |= {
    name: lambda horizon, settings=settings: network_forecaster(load_config(None, [*SMALL, *settings, f"window.horizon={horizon}"]))
    for name, settings in NETWORKS.items()
}
"""Every forecaster, made for a horizon."""
SAME = 1e-6
"""Relative difference allowed where a batch of another size may round otherwise: float32 of a network."""


def fitted(make: Make, prices: pd.DataFrame, horizon: int = 1) -> Forecaster:
    spans = spans_of(prices)
    return make(horizon).fit(history(prices, spans), spans)


def forecast(make: Make, prices: pd.DataFrame, horizon: int = 1) -> Forecast:
    return fitted(make, prices, horizon).forecast(prices, cutoffs(prices, spans_of(prices), horizon))


def assert_same_bytes(first: Forecast, second: Forecast) -> None:
    assert first.point.tobytes() == second.point.tobytes()
    assert first.quantiles.tobytes() == second.quantiles.tobytes()


def assert_close(first: Forecast, second: Forecast, factor: float = 1.0) -> None:
    np.testing.assert_allclose(first.point, second.point * factor, rtol=SAME)
    np.testing.assert_allclose(first.quantiles, second.quantiles * factor, rtol=SAME)


def check_fit_returns_the_forecaster_itself(make: Make) -> None:
    prices = random_walk()
    spans = spans_of(prices)
    forecaster = make(1)
    assert forecaster.fit(history(prices, spans), spans) is forecaster


def check_it_has_a_name_a_horizon_and_a_column(make: Make) -> None:
    forecaster = make(3)
    assert (bool(forecaster.name), forecaster.horizon, forecaster.column) == (True, 3, CLOSE)


def check_shapes_are_cutoffs_by_horizon_by_quantiles(make: Make) -> None:
    prices = garch_path()
    for horizon in (1, 3):
        rows = cutoffs(prices, spans_of(prices), horizon)
        made = forecast(make, prices, horizon)
        assert made.rows.tolist() == rows.tolist()
        assert made.point.shape == (len(rows), horizon)
        assert made.quantiles.shape == (len(rows), horizon, len(QUANTILES))


def check_forecasts_are_finite_and_quantiles_do_not_cross(make: Make) -> None:
    for prices in (garch_path(), panel(), gappy()):
        for horizon in (1, 3):
            made = forecast(make, prices, horizon)
            assert np.isfinite(made.point).all()
            assert np.isfinite(made.quantiles).all()
            assert (np.diff(made.quantiles, axis=-1) >= 0).all()


def check_a_near_constant_series_is_forecast_near_its_price(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BaselineWarning)
        made = forecast(make, near_constant(), 3)
    np.testing.assert_allclose(made.point, 50, rtol=0.01)
    np.testing.assert_allclose(made.quantiles, 50, rtol=0.01)


def check_the_tables_given_are_not_changed(make: Make) -> None:
    prices = panel()
    spans = spans_of(prices)
    past, rows = history(prices, spans), cutoffs(prices, spans, 1)
    copies = prices.copy(deep=True), past.copy(deep=True), rows.copy()
    make(1).fit(past, spans).forecast(prices, rows)
    pd.testing.assert_frame_equal(prices, copies[0])
    pd.testing.assert_frame_equal(past, copies[1])
    assert rows.tolist() == copies[2].tolist()


def check_the_same_seed_gives_the_same_bytes(make: Make) -> None:
    prices = garch_path()
    assert_same_bytes(forecast(make, prices, 3), forecast(make, prices, 3))


def check_forecasting_before_fit_is_refused(make: Make) -> None:
    with pytest.raises(NotFittedError):
        make(1).forecast(random_walk(), np.array([300]))


def check_a_forecast_looks_at_its_own_ticker_only(make: Make) -> None:
    prices = panel()
    forecaster = fitted(make, prices)
    alone = prices[prices[TICKER] == "BBB"].reset_index(drop=True)
    rows = cutoffs(alone, spans_of(prices), 1)
    assert_close(forecaster.forecast(prices, rows + len(prices) - len(alone)), forecaster.forecast(alone, rows))


def check_rows_after_the_cutoff_change_no_byte(make: Make) -> None:
    prices = garch_path()
    for horizon in (1, 3):
        forecaster = fitted(make, prices, horizon)
        rows = cutoffs(prices, spans_of(prices), horizon)[:5]
        damaged = prices.copy(deep=True)
        after = damaged.index > rows[-1]
        damaged.loc[after, [*PRICES, VOLUME]] = np.random.default_rng(0).uniform(1, 1e6, (after.sum(), len(PRICES) + 1))
        made = forecaster.forecast(prices, rows)
        assert_same_bytes(made, forecaster.forecast(damaged, rows))
        assert_same_bytes(made, forecaster.forecast(prices.iloc[: rows[-1] + 1], rows))


def check_one_cutoff_alone_is_forecast_as_among_many(make: Make) -> None:
    prices = garch_path()
    forecaster = fitted(make, prices, 3)
    rows = cutoffs(prices, spans_of(prices), 3)
    many = forecaster.forecast(prices, rows)
    assert_close(Forecast(rows[7:8], many.point[7:8], many.quantiles[7:8]), forecaster.forecast(prices, rows[7:8]))


def check_cutoffs_may_come_in_any_order(make: Make) -> None:
    prices = panel()
    forecaster = fitted(make, prices)
    rows = cutoffs(prices, spans_of(prices), 1)
    order = np.random.default_rng(0).permutation(len(rows))
    made = forecaster.forecast(prices, rows)
    assert_close(Forecast(rows[order], made.point[order], made.quantiles[order]), forecaster.forecast(prices, rows[order]))


def check_prices_in_another_unit_give_forecasts_in_that_unit(make: Make) -> None:
    prices = garch_path()
    for power in (-6, 9):
        scaled = prices.copy(deep=True)
        scaled[list(PRICES)] *= 2.0**power
        assert_close(forecast(make, scaled, 3), forecast(make, prices, 3), 2.0**power)


CHECKS: dict[str, Callable[[Make], None]] = {name: check for name, check in globals().items() if name.startswith("check_")}


@pytest.mark.parametrize("forecaster", FORECASTERS)
@pytest.mark.parametrize("check", CHECKS)
def test_every_forecaster_keeps_the_contract(check, forecaster):
    CHECKS[check](FORECASTERS[forecaster])


class Defective(Naive):
    """A naive forecaster with one planted defect."""

    def __init__(self, horizon: int, change: Callable[[pd.DataFrame, Forecast], Forecast]) -> None:
        super().__init__(horizon)
        self.change = change

    def forecast(self, prices, rows):
        return self.change(prices, super().forecast(prices, rows))


def _with(made: Forecast, factor: np.ndarray | float) -> Forecast:
    factor = np.broadcast_to(factor, made.rows.shape)
    return Forecast(made.rows, made.point * factor[:, None], made.quantiles * factor[:, None, None])


def _tomorrow(prices: pd.DataFrame, made: Forecast) -> Forecast:
    close = prices[CLOSE].to_numpy()
    return _with(made, close[np.minimum(made.rows + 1, len(close) - 1)] / close[made.rows])


def _mutating(prices: pd.DataFrame, made: Forecast) -> Forecast:
    prices.loc[0, VOLUME] = -1.0
    return made


UNSEEDED = np.random.default_rng(0)
DEFECTS: dict[str, tuple[str, Callable[[pd.DataFrame, Forecast], Forecast]]] = {
    "looks at tomorrow": ("check_rows_after_the_cutoff_change_no_byte", _tomorrow),
    "scales by the whole table": ("check_rows_after_the_cutoff_change_no_byte", lambda p, f: _with(f, p[CLOSE].mean() / 100)),
    "mixes tickers": ("check_a_forecast_looks_at_its_own_ticker_only", lambda p, f: _with(f, p[CLOSE].iloc[0])),
    "depends on the batch": ("check_one_cutoff_alone_is_forecast_as_among_many", lambda _, f: _with(f, 1 + 0.01 * len(f.rows))),
    "sorts the cutoffs": ("check_cutoffs_may_come_in_any_order", lambda _, f: Forecast(np.sort(f.rows), np.sort(f.point, 0), f.quantiles)),
    "crosses quantiles": (
        "check_forecasts_are_finite_and_quantiles_do_not_cross",
        lambda _, f: Forecast(f.rows, f.point, f.quantiles[..., ::-1]),
    ),
    "adds a cent": ("check_prices_in_another_unit_give_forecasts_in_that_unit", lambda _, f: Forecast(f.rows, f.point + 0.01, f.quantiles)),
    "writes into the table": ("check_the_tables_given_are_not_changed", _mutating),
    "forgets a step": (
        "check_shapes_are_cutoffs_by_horizon_by_quantiles",
        lambda _, f: Forecast(f.rows, f.point[:, :1], f.quantiles[:, :1]),
    ),
    "is unseeded": (
        "check_the_same_seed_gives_the_same_bytes",
        lambda _, f: _with(f, UNSEEDED.uniform(0.9, 1.1)),
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_caught(defect):
    check, change = DEFECTS[defect]
    with pytest.raises(AssertionError):
        CHECKS[check](lambda horizon: Defective(horizon, change))


@pytest.mark.parametrize("name", INSTALLED)
def test_a_baseline_learns_each_ticker_by_itself(name):
    prices = panel()
    spans = spans_of(prices)
    alone = prices[prices[TICKER] == "BBB"].reset_index(drop=True)
    rows = cutoffs(alone, spans, 3)
    together, apart = INSTALLED[name](3), INSTALLED[name](3)
    together.fit(history(prices, spans), spans)
    apart.fit(history(alone, spans), spans)
    assert_same_bytes(together.forecast(prices, rows + len(prices) - len(alone)), apart.forecast(alone, rows))


@pytest.mark.parametrize("name", INSTALLED)
def test_a_baseline_neither_learns_from_filled_rows_nor_looks_at_them(name):
    prices = gappy()
    absurd = prices.copy(deep=True)
    absurd.loc[absurd[FILLED], CLOSE] = 1e5
    assert_same_bytes(*(forecast(FORECASTERS[name], table) for table in (prices, absurd)))


@pytest.mark.parametrize("name", INSTALLED)
def test_a_baseline_learns_nothing_after_its_span(name):
    prices = garch_path()
    spans = spans_of(prices)
    changed = prices.copy(deep=True)
    after = changed[DATE] > dict(spans.ends())[INSTALLED[name].span]
    changed.loc[after, list(PRICES)] *= np.linspace(2, 3, after.sum())[:, None]
    rows = np.array([200])
    before, later = (INSTALLED[name](1).fit(table, spans).forecast(prices, rows) for table in (prices, changed))
    assert_same_bytes(before, later)


@pytest.mark.parametrize("transform", ["log_return", "difference"])  # infinite, and finite
def test_a_network_whose_forecasts_are_no_prices_has_diverged_though_its_loss_is_finite(transform):
    prices = random_walk(300)
    spans = spans_of(prices)
    config = load_config(
        None, [*SMALL, "train.optimizer=sgd", "train.learning_rate=1e15", "train.clip_norm=null", f"target.transform={transform}"]
    )
    network = network_forecaster(config).fit(history(prices, spans), spans)
    rows = cutoffs(prices, spans, 1)[:5]
    later = prices.assign(close=prices[CLOSE].where(prices.index <= rows[-1], 1e30))  # which is not known yet
    for table in (prices, later):
        with pytest.raises(DivergedError, match=r"must be prices\. Received: numbers beyond every price\. Lower `train.learning_rate`"):
            network.forecast(table, rows)


def test_a_batch_is_not_much_larger_than_all_windows(monkeypatch):
    """One of 100,000 windows would take gigabytes and minutes, for the 115 that there are."""
    prices = random_walk(200)
    spans = spans_of(prices)
    sizes, train = [], recurrent.train_network

    def noted(*args, train_config, **given):
        sizes.append(train_config.batch_size)
        return train(*args, train_config=train_config, **given)

    monkeypatch.setattr(recurrent, "train_network", noted)
    members = []
    for asked in (300, 1024, 100_000):
        network = network_forecaster(load_config(None, [*SMALL, f"train.batch_size={asked}"])).fit(history(prices, spans), spans)
        members.append(network.fitted.members[0])
    assert sizes == [300, 1024, 1024]
    assert all((members[1][name] == weights).all() for name, weights in members[2].items())
