"""A run of unlike networks on an anchor: the same by Keras and by ONNX, after an interruption, and refused when tampered with."""

import json
import subprocess
import sys

import numpy as np
import pytest

from stockrnn.configfile import build_config, load_config
from stockrnn.errors import InterruptedRunError, RunDamagedError
from stockrnn.prices.loading import load_prices
from stockrnn.recipes.training import train
from stockrnn.runs.inference import load_forecaster
from stockrnn.runs.vetting import check_state, check_weights
from stockrnn.training.recurrent import restore

pytestmark = pytest.mark.network
MEMBERS = [{"cell": "gru", "units": [3], "dropout": 0.3}, {"cell": "simple_rnn", "units": [2], "lookback": 4}]
CONFIG = build_config(
    {
        "model": {"anchor": "har", "anchor_renewal": 30, "location_shrinkage": 0.4, "filtered_history": 0.3},
        "window": {"lookback": 8, "horizon": 2},
        "split": {"calibration": 0.0},
        "train": {"epochs": 2, "batch_size": 128, "ensemble": MEMBERS},
    },
    "test",
)
FILES = ("weights.safetensors", "model.onnx", "scaler.json", "metrics.json", "forecasts.csv")


@pytest.fixture(scope="module")
def run(no_pictures, tmp_path_factory):
    return train(CONFIG, tmp_path_factory.mktemp("unlike") / "run").run


def test_onnx_and_keras_give_the_same_prices(run):
    prices = load_prices(CONFIG.data).table
    rows = np.arange(len(prices) - 30, len(prices))
    keras = restore(run.config, run.json("scaler.json")["parts"], run.read("weights.safetensors")).forecast(prices, rows)
    np.testing.assert_allclose(load_forecaster(run).forecast(prices, rows).quantiles, keras.quantiles, rtol=1e-5)


def test_the_forecast_is_made_without_tensorflow(run):
    code = f"""
import pathlib, sys
from stockrnn.recipes.prediction import predict
from stockrnn.runs.directory import open_run
predict(open_run(pathlib.Path({str(run.folder)!r})))
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_run(run, tmp_path):
    def interrupt(report):
        if (report.member, report.epoch) == (1, 1):
            raise InterruptedRunError("stop")

    with pytest.raises(InterruptedRunError):
        train(CONFIG, tmp_path / "again", interrupt)
    again = train(CONFIG, tmp_path / "again").run
    assert {name: again.read(name) for name in FILES} == {name: run.read(name) for name in FILES}


def test_each_member_is_seen_by_the_forecast(run):
    prices, parts, weights = load_prices(CONFIG.data).table, run.json("scaler.json")["parts"], run.read("weights.safetensors")
    outputs = restore(run.config, parts, weights).outputs
    windows = restore(run.config, parts, weights).fitted.pipeline.windows_at(prices, np.array([900]))
    raw = outputs(windows)
    assert raw.shape == (1, 2, 2, 19)
    assert not np.allclose(raw[:, 0], raw[:, 1])


def test_weights_of_other_members_are_refused(run):
    swapped = build_config(CONFIG.model_dump(mode="json") | {"train": {"ensemble": MEMBERS[::-1]}}, "test")
    data = run.read("weights.safetensors")
    assert check_weights(data, CONFIG, run.folder) == 1
    with pytest.raises(RunDamagedError):
        check_weights(data, swapped, run.folder)


@pytest.mark.parametrize("change", ["drop", "shorten", "widen", "steps", "never"])
def test_a_state_with_another_anchor_is_refused(run, change):
    state = run.json("scaler.json")
    check_state(state, CONFIG, run.folder, ["model.onnx"])
    state = json.loads(json.dumps(state))
    anchors = state["parts"][0]["pipeline"]["anchors"]
    ticker = next(iter(anchors))
    changes = {
        "drop": anchors.clear,
        "shorten": anchors[ticker]["weights"].pop,
        "widen": lambda: [row.append(0.0) for row in anchors[ticker]["weights"]],
        "steps": anchors[ticker]["reversal"].pop,
        "never": lambda: anchors[ticker].pop("renewal"),
    }
    changes[change]()
    with pytest.raises(RunDamagedError):
        check_state(state, CONFIG, run.folder, ["model.onnx"])


def test_the_shipped_recommendation_is_a_list_of_unlike_members():
    config = load_config("quantile")
    assert len({(model.cell, lookback) for model, lookback in config.networks()}) > 2
    assert config.model.anchor == "har"
