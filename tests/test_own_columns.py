"""The user's own columns: read as numbers, what has happened is seen to the cutoff, what is known ahead at its day, never filled."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError, DataError
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.prices.known import Known
from stockrnn.prices.loading import inspect_document, load_prices
from stockrnn.recipes import Plan, audit, backtest, explain_run, inspect, predict, train
from stockrnn.training.recurrent import RecurrentForecaster
from stockrnn.types import own
from tests.factories import history, price_table, random_walk, spans_of

WORDS = ["data.calendar=24/5", "model.units=[4]", "window.lookback=5", "window.horizon=2", "train.epochs=2", "train.ensemble=1"]
AHEAD, PAST = "features.known_ahead=[event, day_of_week]", "features.columns=[mood]"


def rows(count=300, coming=2, seed=0):
    """A file's rows: an event now and then, a mood each day, and days to come without prices."""
    prices = random_walk(count, seed=seed)[["date", "open", "high", "low", "close", "volume"]]
    days = pd.bdate_range(prices["date"].iloc[0], periods=count + coming)
    table = prices.reindex(range(count + coming)).assign(date=days)
    generator = np.random.default_rng(seed)
    return table.assign(event=(generator.random(len(days)) < 0.2).astype(int), mood=generator.normal(size=len(days)))


def written(tmp_path, table, name="prices.csv"):
    table.to_csv(tmp_path / name, index=False)
    return tmp_path / name


def config_of(path, *words):
    return load_config("lstm", [*WORDS, AHEAD, PAST, f"data.path={path}", *words])


def loaded(path, *words):
    config = config_of(path, *words)
    return load_prices(config.data, config.asked)


# --- reading -------------------------------------------------------------------------------------------------------------------


def test_rows_to_come_tell_what_is_known_and_are_no_sessions(tmp_path):
    table = rows()
    prices = loaded(written(tmp_path, table))
    assert len(prices.table) == 300
    assert [(each.kind, each.count) for each in prices.findings if each.kind == "row_to_come"] == [("row_to_come", 2)]
    np.testing.assert_array_equal(prices.table[own("mood")], table["mood"][:300])
    (ticker,) = prices.known.days
    days = table["date"].to_numpy("datetime64[D]")
    np.testing.assert_array_equal(prices.known.at(ticker, days)[:, 0], table["event"])
    assert np.isnan(prices.known.at(ticker, days[-1:] + 1)).all()
    assert np.isnan(prices.known.at("ANOTHER", days)).all()


def test_a_file_that_is_not_asked_for_columns_gives_what_it_gave(tmp_path):
    table = rows(coming=0)
    one, two = (
        load_prices(load_config("lstm", [f"data.path={written(tmp_path, each)}"]).data)
        for each in (table.drop(columns=["event", "mood"]), table)
    )
    assert one.data_hash == two.data_hash
    assert list(one.table) == list(two.table)
    assert loaded(tmp_path / "prices.csv").data_hash != two.data_hash


@pytest.mark.parametrize("column", ["mood", "event"])
def test_other_values_are_other_data(tmp_path, column):
    table = rows()
    before = loaded(written(tmp_path, table)).data_hash
    table.loc[301 if column == "event" else 7, column] += 1
    assert loaded(written(tmp_path, table)).data_hash != before


def test_words_for_true_and_false_are_one_and_zero(tmp_path):
    table = rows()
    words = table.assign(event=np.where(table["event"] == 1, "TRUE", " false"))
    assert loaded(written(tmp_path, words, "words.csv")).data_hash == loaded(written(tmp_path, table, "words.csv")).data_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="event"), r"`features\.known_ahead` must name one column"),
        (lambda t: t.drop(columns="mood"), r"`features\.columns` must name one column"),
        (lambda t: t.rename(columns={"event": "events"}), r"Did you mean 'events'"),
        (lambda t: t.assign(event=t["event"].where(t.index != 17)), r"row 19, column 'event': must hold a number in every row.*2010-01-27"),
        (
            lambda t: t.assign(mood=t["mood"].astype(object).where(t.index != 17, "high")),
            r"row 19, column 'mood': must be a number.*'high'",
        ),
        (lambda t: t.assign(date=pd.date_range("2010-01-04", periods=len(t), freq="7D")), r"daily dates.*weekly rows"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, change, said):
    with pytest.raises(DataError, match=said):
        loaded(written(tmp_path, change(rows())))


def test_a_column_for_each_ticker_is_refused(tmp_path):
    table = rows(coming=0)[["date", "close", "event", "mood"]].rename(columns={"close": "AAPL.Close"})
    table["MSFT.Close"] = 2 * table["AAPL.Close"]
    with pytest.raises(DataError, match="a row for each ticker and date"):
        loaded(written(tmp_path, table))


@pytest.mark.parametrize(
    "words",
    ["columns=[range]", "columns=[day_of_week]", "columns=[mood,mood]", "known_ahead=[close]", "known_ahead=[log_return]", "columns=['']"],
)
def test_names_that_cannot_be_are_refused(words):
    with pytest.raises(ConfigError, match=r"features\.(columns|known_ahead)"):
        load_config("lstm", [f"features.{words}"])


def test_an_inspection_names_the_columns_that_features_may_name(tmp_path):
    path = written(tmp_path, rows())
    found = inspect_document(inspect(load_config(None, [f"data.path={path}", "data.calendar=24/5"]).data), "prices.csv")
    assert found["other_columns"] == ["event", "mood"]
    assert found["known_until"] == {}
    config = config_of(path)
    told = inspect_document(inspect(config.data, config.asked), "prices.csv")
    assert told["other_columns"] == []
    assert set(told["known_until"].values()) == {f"{rows()['date'].iloc[-1]:%Y-%m-%d}"}
    (ticker,) = told["tickers"].values()
    assert set(ticker["last"]["own"]) == {"event", "mood"}


def test_a_column_without_a_header_is_named_as_an_inspection_names_it(tmp_path):
    path = tmp_path / "prices.csv"
    table = rows(coming=0)
    table.insert(0, "", np.arange(len(table)) % 7)
    table.to_csv(path, index=False)
    found = inspect_document(inspect(load_config(None, [f"data.path={path}", "data.calendar=24/5"]).data), "prices.csv")
    assert found["other_columns"] == ["column 1", "event", "mood"]
    config = load_config(None, [f"data.path={path}", "features.columns=[column 1]"])
    read = load_prices(config.data, config.asked).table
    np.testing.assert_array_equal(read[own("column 1")], table[""])
    config = load_config(None, [f"data.path={path}", "features.columns=[wind]"])
    with pytest.raises(DataError, match=r"Columns: 'column 1, date, "):
        load_prices(config.data, config.asked)


# --- windows -------------------------------------------------------------------------------------------------------------------


def test_steps_get_the_values_of_their_days_scaled_by_the_training_span(tmp_path):
    table = rows()
    config = config_of(written(tmp_path, table))
    prices = load_prices(config.data, config.asked)
    spans = spans_of(prices.table)
    pipeline = fit_pipeline(prices.table, spans, config, prices.known)
    learned = table["event"][: (prices.table["date"] <= spans.train_end).sum()].iloc[1:]  # the first session has no return
    prepared = pipeline.prepare(prices.table)
    inputs = prepared.windows.inputs()[1][:, :, 0]
    wanted = np.stack([table["event"].to_numpy()[prepared.rows + step] for step in (1, 2)], axis=1)
    np.testing.assert_allclose(inputs, (wanted - learned.mean()) / learned.std(ddof=0), rtol=1e-5)
    assert prepared.rows[-1] == 299
    back = Pipeline.from_dict(json.loads(json.dumps(pipeline.to_dict())), prices.known)
    assert back == pipeline
    np.testing.assert_array_equal(back.prepare(prices.table).windows.inputs()[1], prepared.windows.inputs()[1])


@pytest.mark.parametrize("coming", [0, 1])
def test_a_step_of_which_nothing_is_known_is_refused_by_its_date(tmp_path, coming):
    config = config_of(written(tmp_path, rows(coming=coming)))
    prices = load_prices(config.data, config.asked)
    pipeline = fit_pipeline(prices.table, spans_of(prices.table), config, prices.known)
    missing = pd.bdate_range(prices.table["date"].iloc[-1], periods=3)[1 + coming]
    with pytest.raises(DataError, match=f"event must be known ahead.*{missing:%Y-%m-%d}, step {coming + 1} after"):
        pipeline.windows_at(prices.table, np.array([299]))
    assert pipeline.prepare(prices.table).rows[-1] == 297 + coming


def test_a_planned_session_without_a_row_is_never_filled_and_said(tmp_path):
    table = rows().drop(index=150)
    config = config_of(written(tmp_path, table))
    prices = load_prices(config.data, config.asked)
    pipeline = fit_pipeline(prices.table, spans_of(prices.table), config, prices.known)
    (ticker,) = prices.known.days
    assert pipeline.ahead.untold(prices.table, ticker, 2) == [f"{rows()['date'][150]:%Y-%m-%d}"]
    assert not {148, 149} & set(pipeline.prepare(prices.table).rows)
    told = rows()
    told.loc[150, ["open", "high", "low", "close", "volume"]] = np.nan  # a row that tells of it, without prices
    whole = loaded(written(tmp_path, told))
    later = loaded(written(tmp_path, rows().drop(index=300)))  # the next one, of which a later row says nothing
    assert pipeline.ahead.untold(later.table, ticker, 2) == [f"{rows()['date'][150]:%Y-%m-%d}"]
    known = dataclasses.replace(pipeline.ahead, known=later.known)
    assert known == pipeline.ahead  # what a file tells is no part of what was learned
    assert known.untold(later.table, ticker, 2) == [f"{rows()['date'][300]:%Y-%m-%d}"]
    assert {148, 149} <= set(fit_pipeline(whole.table, spans_of(whole.table), config, whole.known).prepare(whole.table).rows)


# --- forecasts -----------------------------------------------------------------------------------------------------------------


def signed_prices(count=700, seed=0):
    """Returns whose sign a coin decides, and the coin as a column of the file."""
    generator = np.random.default_rng(seed)
    coin = np.where(generator.random(count) < 0.5, 1.0, -1.0)
    returns = coin * 0.02 * np.exp(0.1 * generator.standard_normal(count))
    prices = price_table(returns, np.full(count, 0.01), seed, "COIN", 100.0).assign(**{own("coin"): coin})
    days = prices["date"].to_numpy("datetime64[D]")
    return prices, Known(("coin",), {"COIN": days}, {"COIN": coin[:, None]})


def fitted(prices, known, *words):
    config = load_config("lstm", ["model.units=[8]", "train.ensemble=1", "train.epochs=40", "train.learning_rate=0.01",
                                  "features.indicators=[relative_volume]", "data.calendar=24/5", "window.lookback=3", *words])  # fmt: skip
    spans = spans_of(prices)
    return RecurrentForecaster(config, known=known).fit(history(prices, spans), spans)


def error(model, prices):
    """Mean absolute error of the first step in the last rows, over that of no change."""
    at, close = np.arange(len(prices) - 100, len(prices) - 5), prices["close"].to_numpy()
    return np.abs(model.forecast(prices, at).point[:, 0] - close[at + 1]).mean() / np.abs(close[at] - close[at + 1]).mean()


@pytest.mark.network
@pytest.mark.parametrize("horizon", [1, 2])
def test_what_only_the_column_tells_is_learned_where_it_is_known_ahead(horizon):
    prices, known = signed_prices()
    model = fitted(prices, known, "features.known_ahead=[coin]", f"window.horizon={horizon}")
    assert error(model, prices) < 0.3


@pytest.mark.network
def test_a_column_of_the_past_never_reaches_the_day_it_stands_at():
    prices, known = signed_prices()
    model = fitted(prices, known, "features.columns=[coin]", "window.horizon=1")
    assert error(model, prices) > 0.9
    cutoff = 600
    other = prices.copy()
    other.loc[cutoff + 1 :, own("coin")] *= -100.0
    at = np.arange(500, cutoff + 1)
    assert model.forecast(prices, at).quantiles.tobytes() == model.forecast(other, at).quantiles.tobytes()
    assert model.forecast(prices, at + 1).quantiles.tobytes() != model.forecast(other, at + 1).quantiles.tobytes()


@pytest.mark.network
def test_what_is_known_of_a_day_reaches_its_own_step_and_those_after_it():
    prices, known = signed_prices()
    words = ["model.architecture=encoder_decoder", "train.epochs=3", "window.horizon=3", "features.known_ahead=[coin]"]
    model = fitted(prices, known, *words)
    at = np.array([600])
    before = model.forecast(prices, at).quantiles
    flipped = known.values["COIN"].copy()
    flipped[602] *= -1
    model.fitted_ = model.fitted.__class__(
        **{**vars(model.fitted), "pipeline": told(model, Known(("coin",), known.days, {"COIN": flipped}))}
    )
    after = model.forecast(prices, at).quantiles
    assert (after[:, 0] == before[:, 0]).all()
    assert (after[:, 1] != before[:, 1]).any()


def told(model, known):
    return Pipeline.from_dict(model.fitted.pipeline.to_dict(), known)


# --- runs ----------------------------------------------------------------------------------------------------------------------


def command(place, code, *words):
    done = subprocess.run([sys.executable, "-m", "stockrnn", *map(str, words)], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.mark.network
def test_a_command_forecasts_and_asks_for_what_it_lacks(no_pictures, tmp_path):
    train(config_of(written(tmp_path, rows()), "train.workers=1"), tmp_path / "one")
    made = json.loads(command(tmp_path, 0, "predict", "one", "--json"))["forecasts"]
    assert [row["date"] for row in made] == [f"{day:%Y-%m-%d}" for day in rows()["date"][300:]]
    short = written(tmp_path, rows(coming=1), "short.csv")
    said = command(tmp_path, 3, "predict", "one", "--data", short)
    assert f"{rows()['date'].iloc[301]:%Y-%m-%d}" in said
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.network
def test_an_audit_a_backtest_and_an_explanation_pass_with_them(tmp_path):
    config = config_of(written(tmp_path, rows()), "train.workers=1")
    found = audit(config)
    assert found.leaks == ()
    done = backtest(config, Plan(folds=2), tmp_path / "walk")
    assert predict(done.run).rows["forecast"].notna().all()
    seen = explain_run(done.run, None, "png").to_dict()
    assert {"event", "mood", "day_of_week"} <= {row["name"] for row in seen["importance"]}
    again = train(config, tmp_path / "run").run
    assert again.manifest["onnx_difference"] <= 1e-5
