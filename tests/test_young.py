"""Tickers with less history than `window.lookback`: the missing timesteps are masked, and a run forecasts as if they were not there."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

from stockrnn.configfile import build_config, load_config
from stockrnn.features.pipeline import Pipeline
from stockrnn.recipes import predict, train
from stockrnn.training.recurrent import restore
from tests.factories import garch_path, random_walk
from tests.test_cells import numpy_pass

pytestmark = [pytest.mark.network, pytest.mark.slow]
LOOKBACK, HORIZON, SESSIONS = 40, 2, 13
KNOWN = SESSIONS - 1  # the first session has no return
CELLS = ("simple_rnn", "lstm", "gru")
SMALL = [
    f"window.lookback={LOOKBACK}",
    f"window.horizon={HORIZON}",
    "window.shortest=5",
    "split.calibration=0",
    "train.epochs=2",
    "train.learning_rate=0.01",
    "train.ensemble=[" + ", ".join(f"{{cell: {cell}}}" for cell in CELLS) + "]",
]
SHAPES = {
    "stacked": ["model.units=[3, 3]"],
    "bidirectional": ["model.units=[3, 3]", "model.bidirectional=true"],
    "every_timestep": ["model.units=[3, 3]", "model.architecture=many_to_many", "model.layer_norm=true"],
    "attention": ["model.units=[3, 3]", "model.bidirectional=true", "model.attention=dot", "model.residual=true"],
    "decoder": ["model.units=[3, 3]", "model.architecture=encoder_decoder", "model.bidirectional=true", "model.attention=additive"],
}
WRITTEN_OUT = ("stacked", "bidirectional")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A ticker of 160 sessions, and one that was listed 80 sessions before the end."""
    path = tmp_path_factory.mktemp("young") / "prices.csv"
    tables = [random_walk(160, 1, "OLD"), garch_path(160, 2, "NEW").tail(80)]
    pd.concat(tables).drop(columns="filled").to_csv(path, index=False, date_format="%Y-%m-%d")
    return path


@pytest.fixture(scope="module", params=SHAPES)
def trained(request, no_pictures, file, tmp_path_factory):
    config = load_config(None, [*SMALL, *SHAPES[request.param], f"data.path={file}"])
    return request.param, train(config, tmp_path_factory.mktemp(request.param) / "run").run


def young(file):
    """All that is known on the day when the young ticker has 13 sessions, and the row of that day."""
    prices = pd.read_csv(file, parse_dates=["date"]).sort_values(["ticker", "date"])
    day = prices[prices["ticker"] == "NEW"]["date"].iloc[SESSIONS - 1]
    prices = prices[prices["date"] <= day].reset_index(drop=True).assign(filled=False)
    return prices, np.flatnonzero(prices["ticker"] == "NEW")[-1:], day


def returns(quantiles, close):
    return np.log(np.asarray(quantiles, float) / close)


def said(run, file):
    """The log returns to q05 … q95 that `predict` says for the young ticker on that day, and what 1 is in scaled space."""
    prices, row, day = young(file)
    table = predict(run, asof=day).table.query("ticker == 'NEW'")
    assert table["cutoff"].eq(day).all()
    assert table["step"].tolist() == [1, 2]
    scale = np.asarray(run.json("scaler.json")["parts"][0]["pipeline"]["target"]["NEW"]["scale"])
    return returns(table.filter(regex=r"^q\d\d$"), prices["close"][row].to_numpy()), scale[:, None]


def check(got, wanted, scale, tolerance):
    assert got.shape == wanted.shape == (HORIZON, 19)
    np.testing.assert_allclose(got / scale, wanted / scale, rtol=0, atol=tolerance)


def test_a_short_window_is_forecast_as_by_the_network_of_that_lookback(trained, file):
    """The same weights in networks built for twelve timesteps, without a mask."""
    _, run = trained
    tree, parts = run.config.model_dump(), json.loads(json.dumps(run.json("scaler.json")["parts"]))
    tree["window"] |= {"lookback": KNOWN, "shortest": None}
    parts[0]["pipeline"] |= {"lookback": KNOWN, "shortest": KNOWN}
    unpadded = restore(build_config(tree, "config"), parts, run.read("weights.safetensors"))
    assert not any(spec.masked for spec in unpadded.fitted.specs)
    prices, row, _ = young(file)
    wanted = returns(unpadded.forecast(prices, row).quantiles[0], prices["close"][row].to_numpy())
    got, scale = said(run, file)
    check(got, wanted, scale, 1e-6)


# ---- the equations, in double precision


def numpy_network(cell, weights, x, bidirectional):
    """The last states of a stack of cells, and from them q05 … q95 of each step, shape (steps, 19)."""
    for depth in (1, 2):
        sides = ("forward_cell", "backward_cell") if bidirectional else ("",)
        outputs, ends = [], []
        for side in sides:
            place = "/".join(filter(None, [f"recurrent_{depth}", side]))
            kernel, recurrent, bias = (weights[f"{place}/{name}"].astype(float) for name in ("kernel", "recurrent_kernel", "bias"))
            start = [np.zeros((len(x), len(recurrent)))] * (2 if cell == "lstm" else 1)
            back = slice(None, None, -1 if side == "backward_cell" else 1)
            sequence, states = numpy_pass(cell, x[:, back], kernel, recurrent, bias, start)
            outputs.append(sequence[:, back])
            ends.append(states[0])
        x = np.concatenate(outputs, axis=2)
    raw = np.concatenate(ends, axis=1) @ weights["head/kernel"].astype(float) + weights["head/bias"]
    return ordered(raw.reshape(HORIZON, 19))


def ordered(raw):
    """A median and distances from it: softplus(raw + offset), where raw = 0 is a standard normal."""
    normal = np.array([0.0, 0.12566135, 0.2533471, 0.38532047, 0.52440051, 0.67448975, 0.84162123, 1.03643339, 1.28155157, 1.64485363])
    offsets = np.log(np.expm1(np.diff(normal)))
    down, up = (np.cumsum(np.log1p(np.exp(side + offsets)), axis=1) for side in (raw[:, 8::-1], raw[:, 10:]))
    middle = raw[:, 9:10]
    return np.concatenate([(middle - down)[:, ::-1], middle, middle + up], axis=1)


def test_a_short_window_is_forecast_as_the_equations_say(trained, file):
    shape, run = trained
    if shape not in WRITTEN_OUT:
        pytest.skip("written out for stacks alone")
    prices, row, _ = young(file)
    state = run.json("scaler.json")["parts"][0]["pipeline"]
    pipeline = Pipeline.from_dict(state)
    x = pipeline.windows_at(prices, row).inputs()[0]
    assert np.isnan(x[:, :-KNOWN]).all()
    assert np.isfinite(x[:, -KNOWN:]).all()
    weights = load(run.read("weights.safetensors"))
    wanted = np.zeros((HORIZON, 19))
    for member, cell in enumerate(CELLS):
        prefix = f"part0/member{member}/"
        mine = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        wanted += numpy_network(cell, mine, x[:, -KNOWN:].astype(float), shape == "bidirectional") / len(CELLS)
    got, scale = said(run, file)
    offset = np.asarray(state["target"]["NEW"]["offset"])[:, None]
    check(got - offset, wanted * scale, scale, 2e-6)
