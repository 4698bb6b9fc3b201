"""What is known ahead reaches the steps ahead, and nothing else does: calendars by hand, networks by an oracle, forecasts by causality."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import build_config, load_config
from stockrnn.errors import ConfigError, DataError, InterruptedRunError, RunDamagedError
from stockrnn.features.ahead import Ahead, fit_ahead
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.models.exporting import export_onnx
from stockrnn.models.networks import build_network, call_network, network_weights, set_network_weights
from stockrnn.models.thinning import masks_of, thinned
from stockrnn.models.windowed import Readout
from stockrnn.prices.loading import load_prices
from stockrnn.prices.schedule import expected_sessions, planned_days
from stockrnn.prices.sessions import calendar_days
from stockrnn.recipes import Plan, audit, backtest, explain_run, predict, train
from stockrnn.runs.graphs import check_model
from stockrnn.runs.inference import OnnxForecaster, open_session
from stockrnn.runs.vetting import check_state
from stockrnn.training.engine import predict_windows
from stockrnn.training.recurrent import RecurrentForecaster
from tests.factories import history, panel, price_table, random_walk, spans_of

CALENDAR = ("day_of_week", "month_end", "days_since_last_session")
KNOWN = f"features.known_ahead=[{','.join(CALENDAR)}]"
SMALL = ["model.units=[4]", "data.calendar=24/5", "train.epochs=2", "window.lookback=5", "window.horizon=3", "train.ensemble=1"]
SHAPES = [
    {"architecture": "many_to_one"},
    {"architecture": "many_to_one", "attention": "dot", "bidirectional": True},
    {"architecture": "many_to_many"},
    {"architecture": "one_to_many"},
    {"architecture": "encoder_decoder"},
    {"architecture": "encoder_decoder", "attention": "additive", "bidirectional": True},
]


def day(*texts):
    return np.array(texts, "datetime64[D]")


# --- the plan of an exchange ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calendar", "cutoff", "wanted"),
    [
        ("XNYS", "2001-09-10", ["2001-09-11", "2001-09-12"]),  # nobody knew
        ("XNYS", "2012-10-26", ["2012-10-29", "2012-10-30"]),  # the storm closed both
        ("XNYS", "2024-12-24", ["2024-12-26", "2024-12-27"]),  # Christmas was known
        ("XKRX", "2024-02-08", ["2024-02-13", "2024-02-14"]),  # the lunar new year too
        ("XKRX", "2020-09-29", ["2020-10-05", "2020-10-06"]),  # the harvest's moon, and the weekend
        ("XKRX", "2020-08-14", ["2020-08-17", "2020-08-18"]),  # a day off that was decided in July
        ("XKRX", "2025-06-02", ["2025-06-03", "2025-06-04"]),  # an election of that year
        ("XNYS", "2024-07-06", ["2024-07-08", "2024-07-09"]),  # a Saturday
        ("pattern", "2024-12-24", ["2024-12-25", "2024-12-26"]),
        ("24/7", "2024-12-24", ["2024-12-25", "2024-12-26"]),
    ],
)
def test_expected_sessions_are_those_of_the_plan(calendar, cutoff, wanted):
    np.testing.assert_array_equal(expected_sessions(day(cutoff), 2, calendar, (0, 1, 2, 3, 4)), [day(*wanted)])


@pytest.mark.parametrize("calendar", ["XPAR", "XTKS", "XHKG", "XSHG", "XSTO", "24/5"])
def test_the_plan_is_the_calendar_where_nothing_was_cancelled_on_short_notice(calendar):
    known = calendar_days(calendar, pd.Timestamp("2005-01-01"), pd.Timestamp("2020-12-31"))
    np.testing.assert_array_equal(planned_days(calendar, 2005, 2020, (0, 1, 2, 3, 4)), known.to_numpy("datetime64[D]"))


def test_beyond_the_ends_of_a_calendar_weekdays_are_planned():
    plan = pd.DatetimeIndex(planned_days("XSHG", 1988, 1992, (0, 1, 2, 3, 4)))
    assert (plan.year == 1988).sum() == len(pd.bdate_range("1988-01-01", "1988-12-31"))
    assert pd.Timestamp("1991-10-01") not in plan
    assert len(planned_days("XKRX", 2262, 2262, (0, 1, 2, 3, 4))) == 261


def table_of_days(days):
    return random_walk(len(days)).assign(date=pd.DatetimeIndex(days))


def test_a_market_of_two_days_a_week_is_planned_as_far_as_it_is_asked_for():
    (sessions,) = expected_sessions(day("2012-04-02"), 201, "pattern", (0, 3))  # a Monday
    np.testing.assert_array_equal(sessions[1::2], day("2012-04-09") + 7 * np.arange(100))
    np.testing.assert_array_equal(sessions[::2], day("2012-04-05") + 7 * np.arange(101))


def test_calendar_facts_by_hand():
    prices = table_of_days(["2024-05-23", "2024-05-24", "2024-05-29"])  # a holiday on Monday 27, month's end on Friday 31
    ahead = Ahead(CALENDAR, (0, 1, 2, 3, 4), {"WALK": "XNYS"})
    values = ahead.values(prices, "XNYS", 2)
    assert ahead.columns == (*["day_of_week"] * 5, "month_end", "days_since_last_session")
    friday, tuesday, wednesday, thursday = (np.eye(5)[k].tolist() for k in (4, 1, 2, 3))
    wanted = [
        [[*friday, 0, 0], [*tuesday, 0, np.log(4)]],
        [[*tuesday, 0, np.log(4)], [*wednesday, 0, 0]],
        [[*thursday, 0, 0], [*friday, 1, 0]],
    ]
    np.testing.assert_allclose(values, wanted, atol=1e-7)


def test_the_calendar_is_chosen_from_the_rows_learned_from():
    days = calendar_days("XKRX", pd.Timestamp("2015-01-01"), pd.Timestamp("2018-12-31"))
    prices = table_of_days(days)
    features = load_config("lstm", [KNOWN]).features
    fitted = fit_ahead(prices.iloc[:500], features, "auto")
    assert fitted.calendars == {"WALK": "XKRX"}
    assert fit_ahead(prices.iloc[:500], features, "XNYS").calendars == {"WALK": "XNYS"}
    with pytest.raises(ConfigError, match=r"`data\.calendar` must"):
        fit_ahead(prices, features, "NYSE-ish")


@pytest.mark.parametrize("place", ["after", "before"])
def test_which_dates_the_file_holds_later_is_not_looked_at(place):
    """A session that is cancelled changes nothing that was known before it."""
    prices = random_walk(300, seed=3)
    row = 250
    gone = prices.drop(index=[row + 1, row + 2] if place == "after" else [row]).reset_index(drop=True)
    config = load_config("lstm", [*SMALL, KNOWN])
    one, other = (fit_pipeline(each, spans_of(prices), config) for each in (prices, gone))
    assert one.ahead == other.ahead
    values = [pipeline.ahead.values(each, "XNYS", 3) for pipeline, each in ((one, prices), (other, gone))]
    np.testing.assert_array_equal(values[0][:row], values[1][:row])
    if place == "after":
        np.testing.assert_array_equal(values[0][row], values[1][row])


def test_the_state_is_json_and_comes_back():
    config = load_config("lstm", [*SMALL, KNOWN, "data.ticker=null"])
    prices = panel(260)
    pipeline = fit_pipeline(prices, spans_of(prices), config)
    back = Pipeline.from_dict(pipeline.to_dict())
    assert back.ahead == pipeline.ahead
    assert set(back.ahead.calendars) == {"AAA", "BBB"}
    windows = pipeline.prepare(prices).windows
    assert windows.beside["ahead"].shape == (len(windows.series), 3, 7)
    assert "ahead" not in fit_pipeline(prices, spans_of(prices), load_config("lstm", SMALL)).to_dict()


def test_every_day_of_the_week_may_be_traded_on_and_no_eighth():
    state = {"names": ["day_of_week"], "weekdays": list(range(7)), "calendars": {"A": "pattern"}}
    assert Ahead.from_dict(state).to_dict() == state
    with pytest.raises(ValueError, match="0 to 6"):
        Ahead.from_dict({**state, "weekdays": [4, 7]})


def test_padding_leaves_what_is_known_ahead_at_its_rows():
    config = load_config("lstm", [*SMALL, KNOWN, "window.shortest=2"])
    prices = panel(260)
    plain = fit_pipeline(prices, spans_of(prices), load_config("lstm", [*SMALL, KNOWN])).prepare(prices)
    short = fit_pipeline(prices, spans_of(prices), config).prepare(prices)
    shared = np.isin(short.rows, plain.rows)
    assert shared.sum() == len(plain.rows) < len(short.rows)
    np.testing.assert_array_equal(short.windows.pick(shared).inputs()[1], plain.windows.inputs()[1])
    assert np.isfinite(short.windows.beside["ahead"]).all()


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("Open,Close\n" + "".join(f"{100 + k % 7},{101 + k % 7}\n" for k in range(300)), "a file without dates"),
        (
            "Date,Close\n"
            + "".join(f"{d:%Y-%m-%d},{100 + k % 7}\n" for k, d in enumerate(pd.date_range("2015-01-02", periods=300, freq="7D"))),
            "weekly",
        ),
    ],
)
def test_a_file_without_daily_dates_is_refused(tmp_path, text, received):
    path = tmp_path / "prices.csv"
    path.write_text(text)
    config = load_config("lstm", [KNOWN, f"data.path={path}", "data.order=ascending"])
    with pytest.raises(DataError, match=f"known_ahead.*Received: {received}"):
        load_prices(config.data, config.asked)
    assert len(load_prices(config.data).table) == 300


# --- networks ------------------------------------------------------------------------------------------------------------------


def network(ahead=2, seed=0, lookback=None, **model):
    lookback = lookback or (1 if model.get("architecture") == "one_to_many" else 5)
    config = build_config({"model": {"units": [4, 4], "head": "point", **model}, "window": {"lookback": lookback}}, "test")
    net = build_network(features=2, lookback=lookback, horizon=3, model=config.model, seed=seed, ahead=ahead)
    generator = np.random.default_rng(seed)
    set_network_weights(net, {k: generator.normal(scale=0.5, size=v.shape).astype("float32") for k, v in network_weights(net).items()})
    return net


def given(net, n=4, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, *each.shape[1:])).astype("float32") for each in net.inputs]


def said(net, inputs):
    return call_network(net, inputs).numpy()


@pytest.mark.network
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(map(str, s.values())))
class TestNetworks:
    def test_every_step_hears_its_own_values_and_a_path_no_later_ones(self, shape):
        net = network(**shape)
        inputs = given(net)
        before = said(net, inputs)
        for step in range(3):
            other = [inputs[0], inputs[1].copy()]
            other[1][:, step] += 1.0
            moved = np.abs(said(net, other) - before).max(axis=(0, 2)) > 1e-6
            assert moved[step]
            if shape["architecture"] in ("encoder_decoder", "one_to_many"):  # those that go from step to step
                assert not moved[:step].any()

    def test_the_exported_model_says_the_same(self, shape):
        nets = [network(seed=seed, **shape) for seed in (1, 2)]
        inputs = given(nets[0])
        model = export_onnx([net.spec for net in nets], [network_weights(net) for net in nets])
        check_model(model, Path("model.onnx"), 5)
        session = open_session(model)
        assert [each.name for each in session.get_inputs()] == ["window", "ahead"]
        (made,) = session.run(None, {"window": inputs[0], "ahead": inputs[1]})
        for k, net in enumerate(nets):
            np.testing.assert_allclose(made[:, k], said(net, inputs), rtol=0, atol=2e-6)

    def test_dropout_samples_are_networks_too(self, shape):
        net = network(dropout=0.4, **shape)
        weights, inputs = network_weights(net), given(net)
        masks = masks_of(weights, net.spec.model, 0, 0, 0)
        assert all(mask.shape[1] == weights[kernel].shape[0] for kernel, mask in masks.items())
        before = said(net, inputs)
        set_network_weights(net, thinned(weights, masks))
        assert np.abs(said(net, inputs) - before).max() > 1e-4


@pytest.mark.network
def test_members_of_unlike_lookbacks_share_what_is_known_ahead():
    nets = [network(seed=1), network(seed=2, lookback=3)]
    inputs = given(nets[0])
    (made,) = open_session(export_onnx([net.spec for net in nets], [network_weights(net) for net in nets])).run(
        None, {"window": inputs[0], "ahead": inputs[1]}
    )
    np.testing.assert_allclose(made[:, 0], said(nets[0], inputs), atol=2e-6)
    np.testing.assert_allclose(made[:, 1], said(nets[1], [inputs[0][:, -3:], inputs[1]]), atol=2e-6)


@pytest.mark.network
def test_a_network_that_knows_nothing_ahead_has_one_input():
    net = network(ahead=0)
    assert [each.name for each in net.inputs] == ["window"]
    session = open_session(export_onnx([net.spec], [network_weights(net)]))
    assert [each.name for each in session.get_inputs()] == ["window"]


# --- learning ------------------------------------------------------------------------------------------------------------------


def weekly_prices(rows=700, seed=0):
    """Returns of which those of Mondays are five times as wide, and of a sign that the weekday decides."""
    days = pd.bdate_range("2010-01-04", periods=rows)
    generator = np.random.default_rng(seed)
    size = np.array([0.05, 0.005, 0.03, 0.01, 0.02])[days.dayofweek]
    sign = np.array([1, -1, -1, 1, -1])[days.dayofweek]
    return price_table(sign * size * np.exp(0.1 * generator.standard_normal(rows)), np.full(rows, 0.01), seed, "WEEK", 100.0)


def trained(prices, *words):
    config = load_config("lstm", ["model.units=[8]", "train.ensemble=1", "train.epochs=40", "train.learning_rate=0.01",
                                  "features.indicators=[relative_volume]", "data.calendar=24/5", *words])  # fmt: skip
    spans = spans_of(prices)
    return RecurrentForecaster(config).fit(history(prices, spans), spans), spans


def error(model, prices, spans):
    """Mean absolute error of each step in the test span, over that of no change."""
    horizon = model.horizon
    rows = np.flatnonzero((prices["date"] >= spans.calibration_end).to_numpy())[:-horizon]
    close = prices["close"].to_numpy()
    actual = close[rows[:, None] + np.arange(1, horizon + 1)]
    made = model.forecast(prices, rows)
    return np.abs(made.point - actual).mean(axis=0) / np.abs(close[rows][:, None] - actual).mean(axis=0)


@pytest.mark.network
@pytest.mark.parametrize("architecture", ["many_to_one", "many_to_many", "one_to_many", "encoder_decoder"])
def test_what_only_the_day_ahead_tells_is_learned_with_it(architecture):
    lookback = 1 if architecture == "one_to_many" else 3
    words = [f"model.architecture={architecture}", f"window.lookback={lookback}", "window.horizon=2"]
    prices = weekly_prices()
    model, spans = trained(prices, *words, "features.known_ahead=[day_of_week]")
    assert (error(model, prices, spans) < 0.3).all()


@pytest.mark.network
def test_without_it_the_same_network_learns_nothing():
    prices = weekly_prices()
    model, spans = trained(prices, "window.lookback=3", "window.horizon=2")
    assert (error(model, prices, spans) > 0.8).all()


@pytest.mark.network
def test_a_future_that_is_not_known_changes_no_forecast():
    prices = random_walk(260, seed=5)
    model, _ = trained(prices, KNOWN, "train.epochs=2", "window.horizon=3", "window.lookback=5")
    cutoff = 240
    other = prices.drop(index=range(cutoff + 2, cutoff + 5)).reset_index(drop=True)  # three sessions do not take place
    other.loc[cutoff + 1 :, ["open", "high", "low", "close", "volume"]] *= 7.0
    rows = np.arange(200, cutoff + 1)
    one, two = model.forecast(prices, rows), model.forecast(other, rows)
    assert one.quantiles.tobytes() == two.quantiles.tobytes()


# --- runs ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ahead") / "prices.csv"
    random_walk(260, seed=7)[["date", "open", "high", "low", "close", "volume"]].to_csv(path, index=False)
    return path


WORDS = ["window.lookback=5", "window.horizon=2", "model.units=[4]", "train.epochs=2", "train.workers=1", KNOWN]
UNLIKE = [*WORDS, "train.ensemble=[{lookback: 5}, {lookback: 3}]", "model.dropout=0.2", "train.mc_dropout=2"]
DECODER = [*WORDS, "model.architecture=encoder_decoder", "model.attention=additive", "train.ensemble=1"]


@pytest.fixture(scope="module")
def unlike(no_pictures, file, tmp_path_factory):
    return train(load_config("lstm", [*UNLIKE, f"data.path={file}"]), tmp_path_factory.mktemp("unlike") / "run").run


@pytest.mark.network
def test_a_run_forecasts_with_it_and_without_tensorflow_the_same(unlike):
    assert unlike.manifest["onnx_difference"] <= 1e-5
    assert predict(unlike).rows["forecast"].notna().all()
    (part,) = unlike.json("scaler.json")["parts"]
    assert part["pipeline"]["ahead"]["names"] == list(CALENDAR)


@pytest.mark.network
def test_an_explanation_tells_what_is_known_ahead_too(unlike):
    found = explain_run(unlike, None, "png").to_dict()
    assert {row["name"] for row in found["importance"] if row["kind"] == "feature"} == {*found["features"], *CALENDAR}
    assert all(np.isfinite(row["increase"]) for row in found["importance"])
    assert not set(CALENDAR) & set(found["features"])


@pytest.mark.network
@pytest.mark.parametrize(
    "change",
    [
        lambda ahead: ahead["names"].pop(),
        lambda ahead: ahead["names"].reverse(),
        lambda ahead: ahead["calendars"].update(dict.fromkeys(ahead["calendars"], "XNOWHERE")),
        lambda ahead: ahead["calendars"].clear(),
        lambda ahead: ahead.pop("weekdays"),
        lambda ahead: ahead["weekdays"].append(0),
    ],
    ids=["fewer", "reordered", "no-calendar", "none", "no-weekdays", "twice"],
)
def test_a_state_that_knows_something_else_ahead_is_refused(unlike, change):
    state = unlike.json("scaler.json")
    check_state(state, unlike.config, unlike.folder, ["model.onnx"])
    change(state["parts"][0]["pipeline"]["ahead"])
    with pytest.raises(RunDamagedError):
        check_state(state, unlike.config, unlike.folder, ["model.onnx"])


@pytest.mark.network
def test_a_model_with_other_inputs_than_those_two_is_refused(unlike):
    (part,) = unlike.json("scaler.json")["parts"]
    pipeline, readout = Pipeline.from_dict(part["pipeline"]), Readout.from_dict(part["readout"])
    knows_less = replace(pipeline, ahead=replace(pipeline.ahead, names=CALENDAR[:1]))
    for other in (replace(pipeline, ahead=Ahead()), knows_less):
        with pytest.raises(RunDamagedError, match="take windows of"):
            OnnxForecaster(unlike.config, other, readout, unlike.read("model.onnx"), unlike.folder)


def command(place, *words):
    done = subprocess.run([sys.executable, "-m", "stockrnn", *map(str, words)], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.network
@pytest.mark.slow
def test_the_commands_train_forecast_and_repeat_it(file, tmp_path):
    words = ["--data", file, *(word for each in DECODER for word in ("--set", each))]
    command(tmp_path, "train", *words, "--run", "one")
    rows = json.loads(command(tmp_path, "predict", "one", "--json"))["forecasts"]
    assert [row["step"] for row in rows] == [1, 2]
    again = train(load_config("lstm", [*DECODER, f"data.path={file}"]), tmp_path / "two").run
    for name in ("weights.safetensors", "scaler.json", "forecasts.csv"):
        assert (tmp_path / "one" / name).read_bytes() == again.read(name)


@pytest.mark.network
def test_an_interrupted_training_goes_on_to_the_same_run(unlike, tmp_path):
    def interrupt(report):
        if (report.member, report.epoch) == (1, 1):
            raise InterruptedRunError("stop")

    with pytest.raises(InterruptedRunError):
        train(unlike.config, tmp_path / "again", interrupt)
    again = train(unlike.config, tmp_path / "again").run
    assert all(again.read(name) == unlike.read(name) for name in ("weights.safetensors", "scaler.json", "forecasts.csv"))


@pytest.mark.slow
@pytest.mark.network
def test_an_audit_and_a_backtest_pass_with_it(file, tmp_path):
    config = load_config("lstm", [*DECODER, f"data.path={file}"])
    found = audit(config)
    assert found.leaks == ()
    done = backtest(config, Plan(folds=2), tmp_path / "walk")
    assert predict(done.run).rows["forecast"].notna().all()
    assert explain_run(done.run, None, "png").found.windows > 0


@pytest.mark.network
def test_forecasts_of_windows_are_those_of_the_network_called_directly():
    prices = random_walk(260, seed=5)
    model, _ = trained(prices, KNOWN, "train.epochs=1", "window.horizon=3", "window.lookback=5")
    windows = model.fitted.pipeline.windows_at(prices, np.arange(100, 140))
    net = build_network(**vars(model.fitted.specs[0]), seed=0)
    set_network_weights(net, model.fitted.members[0])
    np.testing.assert_allclose(predict_windows(net, windows), said(net, windows.inputs()), atol=2e-6)
