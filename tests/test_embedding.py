"""A network of several tickers learns a vector of each, and forecasts a ticker it never saw through their mean."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import build_config, load_config
from stockrnn.errors import ConfigError, DataError, RunDamagedError
from stockrnn.features.pipeline import Pipeline, fit_newcomer, fit_pipeline
from stockrnn.models.exporting import export_onnx
from stockrnn.models.networks import build_network, call_network, network_weights, set_network_weights
from stockrnn.recipes import explain_run, predict, train
from stockrnn.runs.graphs import check_model
from stockrnn.runs.inference import open_session
from stockrnn.runs.vetting import check_state
from stockrnn.training.recurrent import RecurrentForecaster, network_specs
from tests.factories import history, panel, price_table, random_walk, spans_of

WORDS = ["model.units=[4]", "data.calendar=24/5", "train.epochs=2", "window.lookback=5", "train.ensemble=1", "train.workers=1"]
WIDE = "model.ticker_embedding=2"
SHAPES = [
    {"architecture": "many_to_one"},
    {"architecture": "many_to_one", "attention": "additive", "bidirectional": True},
    {"architecture": "many_to_many"},
    {"architecture": "one_to_many"},
    {"architecture": "encoder_decoder", "attention": "dot"},
]


def network(ahead=0, seed=0, masked=False, **model):
    lookback = 1 if model.get("architecture") == "one_to_many" else 5
    config = build_config({"model": {"units": [4, 4], "ticker_embedding": 2, **model}, "window": {"lookback": lookback}}, "test")
    net = build_network(features=3, lookback=lookback, horizon=2, model=config.model, seed=seed, ahead=ahead, tickers=4, masked=masked)
    generator = np.random.default_rng(seed)
    set_network_weights(net, {k: generator.normal(scale=0.5, size=v.shape).astype("float32") for k, v in network_weights(net).items()})
    return net


def given(net, numbers, seed=0):
    generator = np.random.default_rng(seed)
    return [
        np.array(numbers, np.float32)[:, None]
        if each.name == "ticker"
        else generator.normal(size=(len(numbers), *each.shape[1:])).astype("f4")
        for each in net.inputs
    ]


def said(net, inputs):
    return call_network(net, inputs).numpy()


@pytest.mark.network
@pytest.mark.parametrize(  # without what is known ahead, one shape is among the fast tests
    ("shape", "ahead"),
    [(shape, 3) for shape in SHAPES] + [(SHAPES[0], 0)] + [pytest.param(shape, 0, marks=pytest.mark.slow) for shape in SHAPES[1:]],
    ids=lambda each: "-".join(map(str, each.values())) if isinstance(each, dict) else str(each),
)
def test_the_exported_model_says_the_same_of_every_ticker_and_of_a_new_one(shape, ahead):
    nets = [network(ahead, seed, **shape) for seed in (1, 2)]
    inputs = given(nets[0], [0, 1, 2, 3, 4, 1])
    model = export_onnx([net.spec for net in nets], [network_weights(net) for net in nets])
    check_model(model, Path("model.onnx"), 5)
    session = open_session(model)
    names = [each.name for each in session.get_inputs()]
    assert names == ["window", *(["ahead"] if ahead else []), "ticker"]
    (made,) = session.run(None, dict(zip(names, inputs, strict=True)))
    for k, net in enumerate(nets):
        np.testing.assert_allclose(made[:, k], said(net, inputs), rtol=0, atol=5e-6)


@pytest.mark.network
@pytest.mark.parametrize("masked", [False, True])
def test_a_ticker_is_a_vector_beside_every_timestep_and_a_new_one_their_mean(masked):
    net = network(masked=masked)
    plain = build_network(
        features=5, lookback=5, horizon=2, model=net.spec.model.model_copy(update={"ticker_embedding": 0}), seed=0, masked=masked
    )
    weights = network_weights(net)
    vectors = weights.pop("embedding/vectors")
    set_network_weights(plain, weights)
    window, numbers = given(net, [0, 1, 2, 3, 4])
    if masked:
        window[:, :2] = np.nan
    table = np.concatenate([vectors.mean(axis=0, keepdims=True), vectors])
    beside = np.repeat(table[numbers[:, 0].astype(int)][:, None], 5, axis=1)
    beside = np.where(np.isnan(window[..., :1]), np.nan, beside)
    np.testing.assert_allclose(said(net, [window, numbers]), said(plain, [np.concatenate([window, beside], axis=-1)]), atol=1e-6)


def opposed(rows=600, seed=0):
    """Two tickers after whose rise the one rises and the other falls."""
    tables = []
    for k, (name, sign) in enumerate((("AAA", 1.0), ("BBB", -1.0))):
        generator = np.random.default_rng([seed, k])
        returns = np.empty(rows)
        returns[0] = 0.01
        for t in range(1, rows):
            returns[t] = sign * np.sign(returns[t - 1]) * 0.01 * np.exp(0.3 * generator.standard_normal())
            if t % 7 == 0:
                returns[t] *= generator.choice([-1.0, 1.0])
        tables.append(price_table(returns, np.full(rows, 0.01), seed + k, name, 100.0))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.network
@pytest.mark.parametrize(("width", "least", "most"), [(2, 0.0, 0.5), (0, 0.8, 1.3)])
def test_tickers_that_behave_unlike_are_told_apart_with_it_alone(width, least, most):
    prices = opposed()
    words = ["model.units=[8]", "train.epochs=40", "train.learning_rate=0.01", "window.lookback=1", "features.indicators=[log_return]"]
    config = load_config("lstm", [*WORDS, f"model.ticker_embedding={width}", *words])
    spans = spans_of(prices)
    model = RecurrentForecaster(config).fit(history(prices, spans), spans)
    at = np.flatnonzero((prices["date"] > spans.calibration_end).to_numpy() & (prices["ticker"] == prices["ticker"].shift(-1)).to_numpy())
    close = prices["close"].to_numpy()
    error = np.abs(model.forecast(prices, at).point[:, 0] - close[at + 1]).mean() / np.abs(close[at] - close[at + 1]).mean()
    assert least < error < most


def test_tickers_are_numbered_as_they_were_learned_whatever_the_file_holds():
    prices = panel(260)
    config = load_config("lstm", [*WORDS, WIDE, "window.shortest=2"])
    pipeline = fit_pipeline(prices, spans_of(prices), config)
    assert pipeline.embedded == ("AAA", "BBB")
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline
    alone = prices[prices["ticker"] == "BBB"].reset_index(drop=True)
    assert set(pipeline.prepare(alone).windows.inputs()[1].ravel()) == {2.0}
    new = random_walk(100, seed=9, ticker="NEW")
    both = pipeline.joined(fit_newcomer(new, config))
    assert both.embedded == pipeline.embedded
    table = pd.concat([alone, new], ignore_index=True)
    prepared = both.prepare(table)
    numbers = prepared.windows.inputs()[1].ravel()
    np.testing.assert_array_equal(numbers, np.where(table["ticker"].to_numpy()[prepared.rows] == "NEW", 0.0, 2.0))


def test_a_newcomer_is_scaled_by_its_own_history():
    config = load_config("lstm", [*WORDS, WIDE])
    new = random_walk(100, seed=9, ticker="NEW", volatility=0.05)
    values = fit_newcomer(new, config).prepare(new).windows.series
    known = values[np.isfinite(values).all(axis=1)]
    np.testing.assert_allclose(known[1:, 0].std(), 1.0, atol=0.02)
    with pytest.raises(DataError, match="need"):
        fit_newcomer(new.iloc[:10], config)


def test_without_an_embedding_nothing_is_beside_a_window():
    prices = panel(260)
    config = load_config("lstm", WORDS)
    pipeline = fit_pipeline(prices, spans_of(prices), config)
    assert pipeline.beside == {}
    assert "embedded" not in pipeline.to_dict()
    assert network_specs(config, 4)[0].beside == {}


def test_an_embedding_needs_one_network_of_several_tickers():
    with pytest.raises(ConfigError, match=r"`model\.ticker_embedding` must be 0 for `data\.panel: separate`"):
        load_config("panel", [WIDE, "data.panel=separate"])
    prices = random_walk(260)
    with pytest.raises(DataError, match="WALK alone"):
        fit_pipeline(prices, spans_of(prices), load_config("lstm", [*WORDS, WIDE]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("panel")
    for name, each in panel(260).groupby("ticker"):
        each[["date", "open", "high", "low", "close", "volume"]].to_csv(place / f"{name}.csv", index=False)
    return place


@pytest.fixture(scope="module")
def run(no_pictures, folder, tmp_path_factory):
    words = [*WORDS, WIDE, f"data.path={folder}", "train.ensemble=[{lookback: 5}, {lookback: 3}]", "window.shortest=3"]
    return train(load_config("lstm", [*words, "features.known_ahead=[day_of_week]"]), tmp_path_factory.mktemp("run") / "run").run


@pytest.mark.network
def test_a_run_forecasts_its_tickers_and_one_that_it_never_saw(run, folder, tmp_path):
    assert run.manifest["onnx_difference"] <= 1e-5
    before = predict(run)
    assert set(before.rows["ticker"]) == {"AAA", "BBB"}
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    random_walk(260, seed=4)[["date", "open", "high", "low", "close", "volume"]].to_csv(tmp_path / "NEW.csv", index=False)
    random_walk(12, seed=5)[["date", "open", "high", "low", "close", "volume"]].to_csv(tmp_path / "YOUNG.csv", index=False)
    after = predict(run, str(tmp_path))
    assert set(after.rows["ticker"]) == {"AAA", "BBB", "NEW"}
    pd.testing.assert_frame_equal(after.rows[after.rows["ticker"] != "NEW"].reset_index(drop=True), before.rows)
    assert any("by what its tickers have in common" in note and "NEW" in note for note in after.notes)
    assert any("Not forecast" in note and "YOUNG" in note for note in after.notes)
    alone = predict(run, str(tmp_path / "NEW.csv")).rows
    pd.testing.assert_frame_equal(alone, after.rows[after.rows["ticker"] == "NEW"].reset_index(drop=True))


@pytest.mark.network
def test_an_explanation_permutes_no_ticker(run):
    names = {row["name"] for row in explain_run(run, None, "png").to_dict()["importance"]}
    assert "day_of_week" in names
    assert "ticker" not in names


@pytest.mark.network
@pytest.mark.parametrize("embedded", [[], ["BBB", "AAA"], ["AAA"], ["AAA", "BBB", "CCC"]])
def test_a_state_that_numbers_other_tickers_is_refused(run, embedded):
    state = run.json("scaler.json")
    check_state(state, run.config, run.folder, ["model.onnx"])
    state["parts"][0]["pipeline"]["embedded"] = embedded
    with pytest.raises(RunDamagedError, match="number the tickers"):
        check_state(state, run.config, run.folder, ["model.onnx"])
