"""What a network listens to is shown where it was planted, and nowhere else."""

import json

import numpy as np
import pandas as pd
import pytest
from factories import panel, price_table
from test_anchors import reversing
from test_plots import overlapping, texts, tick_boxes

from stockrnn.config import ModelConfig
from stockrnn.configfile import build_config
from stockrnn.errors import DataError
from stockrnn.evaluation.conformal import Calibration
from stockrnn.evaluation.explaining import ALL, Explanation, Subject, explain, shuffled
from stockrnn.models.attention import attention_weights
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.models.sensitivity import SAYINGS, sensitivities
from stockrnn.recipes import explain_run, predict, train
from stockrnn.reports.insight import insight_figures
from stockrnn.reports.tables import anchor_text
from stockrnn.runs.directory import open_run
from stockrnn.training.recurrent import RecurrentForecaster, restore
from tests.test_cli import write_prices

pytestmark = pytest.mark.network
LAG = 2  # sessions before the cutoff: three before the session that is forecast


def planted(rows=900):
    """Returns that repeat 90 % of the return three sessions before, and volume that says nothing."""
    generator = np.random.default_rng(0)
    returns = 0.01 * generator.standard_normal(rows)
    for t in range(3, rows):
        returns[t] = 0.9 * returns[t - 3] + 0.4 * returns[t]
    return price_table(returns, np.full(rows, 0.01), 0, "ECHO", 100.0)


def settings(path, **sections):
    tree = {
        "data": {"path": str(path), "outliers": "none", "calendar": "24/7"},
        "features": {"indicators": ["log_return", "relative_volume"]},
        "window": {"lookback": 6},
        "model": {"cell": "gru", "units": [8], "head": "quantile"},
        "train": {"epochs": 40, "batch_size": 32, "learning_rate": 0.01},
    }
    return build_config({**tree, **{name: {**tree.get(name, {}), **section} for name, section in sections.items()}}, "test")


@pytest.fixture(scope="module")
def run(no_pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return train(settings(write_prices(folder / "echo.csv", planted())), folder / "run").run


@pytest.fixture(scope="module")
def explained(run):
    return explain_run(run, None, "png")


def test_the_feature_and_the_session_that_matter_are_on_top(explained):
    rows = explained.found.importance.set_index("name")
    assert explained.found.importance["name"].iloc[0] == "log_return"
    assert rows.loc["log_return", "increase"] > 0.2
    assert abs(rows.loc["relative_volume", "increase"]) < 0.05
    assert rows.loc[ALL, "increase"] == pytest.approx(rows.loc["log_return", "increase"], rel=0.2)
    reliance = explained.found.reliance["centre"]
    names = list(explained.found.names)
    assert np.unravel_index(reliance.argmax(), reliance.shape) == (len(reliance) - 1 - LAG, names.index("log_return"))
    memory = explained.found.memory
    assert memory.loc[memory["norm"].idxmax(), "lag"] == LAG


def test_the_crps_is_the_one_in_the_runs_scores(run, explained):
    test = run.json("metrics.json")["test"]
    assert explained.found.crps == pytest.approx(test["models"]["gru"]["crps"], rel=1e-5)
    assert explained.found.windows == test["n"]


def test_the_pictures_join_the_run_which_stays_whole(run, explained):
    again = open_run(run.folder)
    names = {path.name for path in explained.pictures}
    assert names == {"importance.png", "reliance.png", "memory.png", "gradient_norms.png"}
    assert {f"plots/{name}" for name in names} < set(again.manifest["files"])
    assert len(predict(again).table) == 1


def test_bytes_and_numbers_repeat_and_another_folder_leaves_the_run_alone(run, explained, tmp_path):
    before = (run.folder / "manifest.json").read_bytes()
    again = explain_run(open_run(run.folder), tmp_path / "pictures", "png")
    assert (run.folder / "manifest.json").read_bytes() == before
    for path in explained.pictures:
        assert (tmp_path / "pictures" / path.name).read_bytes() == path.read_bytes()
    pictures = [str(tmp_path / "pictures" / path.name) for path in explained.pictures]
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(explained.to_dict() | {"pictures": pictures}, allow_nan=False)


def test_data_without_the_test_span_are_refused(run, tmp_path):
    later = planted().assign(date=pd.bdate_range("2020-01-01", periods=900))
    with pytest.raises(DataError, match="test span"):
        explain_run(open_run(run.folder), tmp_path, "png", str(write_prices(tmp_path / "later.csv", later)))


def subject_of(run, change=lambda weights: weights):
    """The run's network with other weights, and every window of the last year."""
    state = run.json("scaler.json")
    part = restore(run.config, state["parts"], run.read("weights.safetensors"))
    assert isinstance(part, RecurrentForecaster)
    changed = tuple(change(dict(weights)) for weights in part.fitted.members)
    part.fitted_ = part.fitted.__class__(**{**vars(part.fitted), "members": changed})
    prices = planted()
    rows = np.arange(len(prices) - 200, len(prices) - 1)
    inputs = part.fitted.pipeline.windows_at(prices, rows).inputs()
    return Subject(part, prices, rows, inputs, prices["close"].to_numpy()[rows + 1][:, None], Calibration.none(1))


def test_a_feature_that_no_weight_reads_has_no_importance_at_all(run):
    def deaf(weights):
        kernel = weights["recurrent_1/kernel"].copy()
        kernel[1] = 0.0
        return {**weights, "recurrent_1/kernel": kernel}

    found = explain([subject_of(run, deaf)], 0)
    row = found.importance.set_index("name").loc["relative_volume"]
    assert (row["increase"], row["spread"]) == (0.0, 0.0)
    assert (found.reliance["centre"][:, 1] == 0).all()
    assert (found.reliance["centre"][:, 0] > 0).all()


def test_copies_of_a_feature_share_its_importance_and_have_it_together(run):
    """Two inputs that always agree, each read with half of the weight."""
    subject = subject_of(run)

    def halved(weights):
        kernel = weights["recurrent_1/kernel"].copy()
        kernel[1] = kernel[0] = 0.5 * kernel[0]
        return {**weights, "recurrent_1/kernel": kernel}

    twin = subject_of(run, halved)
    inputs = subject.inputs[0].copy()
    inputs[:, :, 1] = inputs[:, :, 0]
    found = explain([Subject(twin.part, twin.prices, twin.rows, [inputs], twin.actual, twin.conformal)], 0)
    rows = found.importance.set_index("name")
    together = rows.loc["log_return + relative_volume"]
    assert together["kind"] == "group"
    assert together["increase"] > 1.5 * rows.loc["log_return", "increase"] > 0


def test_tickers_are_never_mixed_and_padded_windows_stay():
    tickers, fixed = np.repeat(["A", "B"], 50), np.arange(100) % 10 == 0
    places = shuffled(tickers, fixed, 3)
    assert sorted(places) == list(range(100))
    assert (tickers[places] == tickers).all()
    assert (places[fixed] == np.flatnonzero(fixed)).all()
    assert (places != np.arange(100)).sum() > 60


NETWORKS = [
    pytest.param({"head": "quantile", "cell": "lstm", "units": (4, 4), "bidirectional": True}, marks=pytest.mark.slow),
    {"head": "student_t", "cell": "gru", "architecture": "encoder_decoder", "attention": "additive"},
    {"head": "direction", "cell": "simple_rnn", "architecture": "many_to_many"},
    {"head": "point", "cell": "gru", "architecture": "one_to_many"},
    {"head": "point", "cell": "lstm", "attention": "dot", "layer_norm": True},
]


def network(seed=0, **model):
    lookback = 1 if model.get("architecture") == "one_to_many" else 5
    return build_network(features=2, lookback=lookback, horizon=3, model=ModelConfig(**{"units": (4,), **model}), seed=seed)


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: f"{model['cell']}-{model['head']}")
def test_gradients_equal_finite_differences(model):
    net = network(**model)
    x = np.random.default_rng(0).normal(size=(3, *net.input_shape[1:])).astype("float32")
    (seen,) = sensitivities([net.spec], [network_weights(net)], x, batch=4)
    assert seen.gradients.keys() == SAYINGS[model["head"]].keys()
    for said, say in SAYINGS[model["head"]].items():
        for place in np.ndindex(x.shape[1:]):
            up, down = x.copy(), x.copy()
            up[(slice(None), *place)] += 0.01
            down[(slice(None), *place)] -= 0.01
            wanted = (np.asarray(say(net(up))).mean(axis=1) - np.asarray(say(net(down))).mean(axis=1)) / 0.02
            np.testing.assert_allclose(seen.gradients[said][(slice(None), *place)], wanted, rtol=0, atol=3e-4)


def test_the_memory_of_a_small_linear_cell_falls_geometrically(run):
    """Near zero tanh is the identity: d forecast / d x[t - k] = v u^k w, to the third power of the states."""
    net = build_network(features=1, lookback=8, horizon=1, model=ModelConfig(cell="simple_rnn", units=(1,), head="point"), seed=0)
    set_network_weights(
        net,
        {
            name: np.full(
                w.shape, {"recurrent_1/recurrent_kernel": 0.5, "recurrent_1/kernel": 0.8, "head/kernel": 3.0}.get(name, 0.0), np.float32
            )
            for name, w in network_weights(net).items()
        },
    )
    x = 1e-3 * np.random.default_rng(0).normal(size=(20, 8, 1)).astype("float32")
    (seen,) = sensitivities([net.spec], [network_weights(net)], x)
    np.testing.assert_allclose(np.abs(seen.gradients["centre"]).mean(axis=0)[::-1, 0], 3.0 * 0.8 * 0.5 ** np.arange(8), rtol=1e-4)


@pytest.mark.parametrize(("architecture", "queries"), [("many_to_one", 1), ("encoder_decoder", 3)])
@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_attention_weights_sum_to_one_and_pass_over_unknown_timesteps(architecture, queries, kind):
    settings = ModelConfig(architecture=architecture, attention=kind, units=(4,), head="point")
    net = build_network(features=2, lookback=5, horizon=3, model=settings, seed=0, masked=True)
    x = np.random.default_rng(0).normal(size=(7, 5, 2)).astype("float32")
    x[2, :3] = np.nan
    weights = attention_weights(net, x, batch=4)
    assert weights.shape == (7, queries, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-6)
    assert (weights[2, :, :3] == 0).all()
    assert (weights[0] > 0).all()
    assert attention_weights(network(), x[:1]) is None


def test_attention_weights_are_those_that_the_forecast_uses():
    """With states that are handed in, the context is their mean under the weights."""
    net = network(attention="dot", head="point")
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("float32")
    states = net.get_layer("recurrent_1")(x)
    scores = np.einsum("bu,btu->bt", states[:, -1], states)
    wanted = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(attention_weights(net, x)[:, 0], wanted, atol=1e-6)


@pytest.mark.slow
def test_every_kind_of_run_is_explained(tmp_path):
    """Unlike members on an anchor, a network a ticker, a decoder with attention."""
    members = [{"cell": "gru", "units": [3]}, {"cell": "simple_rnn", "units": [2], "lookback": 4}]
    config = settings(
        write_tickers(tmp_path / "panel.csv"),
        data={"path": str(tmp_path / "panel.csv"), "panel": "separate"},
        window={"lookback": 8, "horizon": 2},
        model={"architecture": "encoder_decoder", "attention": "additive", "anchor": "har"},
        train={"epochs": 1, "ensemble": members},
    )
    found = explain_run(train(config, tmp_path / "run").run, tmp_path / "out", "svg").found
    assert found.attention.shape == (2, 8)
    np.testing.assert_allclose(found.attention.sum(axis=1), 1.0, atol=1e-5)
    assert found.memory.groupby("member")["lag"].max().tolist() == [7, 3]
    assert np.isfinite(found.importance[["increase", "spread"]].to_numpy()).all()
    assert set(found.anchor) == {"location", "agenda"}


@pytest.mark.slow
def test_what_an_anchor_adds_is_what_is_lost_without_it(tmp_path):
    prices = reversing(900, -1.0)
    config = settings(
        write_prices(tmp_path / "back.csv", prices), model={"anchor": "har", "units": [1]}, train={"epochs": 1, "ensemble": 1}
    )
    made = train(config, tmp_path / "run").run
    found = explain_run(made, tmp_path / "out", "svg").found
    assert 0.02 < found.anchor["location"] < 1.0
    assert abs(found.anchor.get("agenda", 0.0)) < 0.02
    text = anchor_text("har", found.anchor)
    assert f"{100 * found.anchor['location']:+.2f} % without the place of the close" in text
    assert anchor_text("ewma", {}).endswith("was left as it is.")


def write_tickers(path):
    frame = panel(500)[["ticker", "date", "open", "high", "low", "close", "volume"]]
    frame.to_csv(path, index=False)
    return path


def pictured(queries, members, features=5, timesteps=20):
    generator = np.random.default_rng(0)
    names = [f"feature_{k}" for k in range(features)]
    rows = [{"name": name, "features": (name,), "kind": "feature", "increase": 0.01 * k, "spread": 0.004} for k, name in enumerate(names)]
    rows.append({"name": " + ".join(names), "features": tuple(names), "kind": "group", "increase": 0.2, "spread": 0.01})
    lags = np.tile(np.arange(timesteps), members)
    number = np.repeat(np.arange(members), timesteps)
    cells = np.where(number % 2 == 0, "lstm", "gru")
    memory = pd.DataFrame({"member": number, "cell": cells, "lag": lags, "norm": np.exp(-(0.2 + 0.3 * (number % 2)) * lags)})
    reliance = {said: generator.random((timesteps, features)) for said in ("centre", "width")}
    attention = generator.dirichlet(np.ones(timesteps), queries) if queries else None
    return Explanation(157, 4.2, pd.DataFrame(rows), tuple(names), reliance, memory, attention)


@pytest.mark.parametrize(("queries", "members"), [(0, 1), (1, 9), (5, 3)])
def test_nothing_in_a_picture_overlaps_or_leaves_it(queries, members):
    epochs = pd.DataFrame({"member": np.repeat(np.arange(members), 20), "epoch": np.tile(np.arange(1, 21), members)})
    history = epochs.assign(gradient_norm=0.1 + 5.0 * np.exp(-epochs["epoch"] / 3))
    figures = insight_figures(pictured(queries, members), history, "삼성전자 $a_b$ 005930.KS")
    assert ("attention" in figures) == (queries > 0)
    for name, figure in figures.items():
        figure.draw_without_rendering()
        whole = figure.bbox
        boxes = [(place, axes.get_tightbbox()) for place, axes in enumerate(figure.axes)]
        boxes += [(text.get_text(), text.get_window_extent()) for text in figure.texts]
        boxes += [("legend", legend.get_window_extent()) for legend in figure.legends]
        assert overlapping(boxes) == [], name
        for label, box in boxes:
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1, (name, label)  # noqa: PT018 (one box)
        for axes in figure.axes:
            assert overlapping(tick_boxes(axes.xaxis)) == overlapping(tick_boxes(axes.yaxis)) == [], name
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert "157" in " ".join(texts(figure)) or name == "gradient_norms"
