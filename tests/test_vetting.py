"""What a stranger's run may hold follows from its config: every part of its state, every tensor, every size."""

import copy
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from factories import panel, spans_of

from stockrnn.config import Config
from stockrnn.configfile import build_config, load_config
from stockrnn.errors import RunDamagedError
from stockrnn.features.pipeline import fit_pipeline
from stockrnn.prices.known import Known
from stockrnn.runs.vetting import LARGEST, LEAST_S, check_state, check_weights, largest_files, most_seconds, parse_json
from stockrnn.types import DATE, QUANTILES

WORDS = ["data.ticker=null", "features.columns=[]", "features.indicators=[log_return,range]", "window.lookback=3", "window.horizon=2"]
CONFIG = load_config(
    "lstm",
    [
        *WORDS,
        "model.units=[2]",
        "model.anchor=har",
        "model.ticker_embedding=2",
        "train.ensemble=1",
        "features.known_ahead=[day_of_week,event]",
    ],
)
MODELS = ["model.onnx"]
HERE = Path("scaler.json")


def state_of(config, known=True):
    prices = panel(260)
    days = {ticker: rows[DATE].to_numpy("datetime64[D]") for ticker, rows in prices.groupby("ticker")}
    told = Known(("event",), days, {ticker: np.arange(len(each), dtype=float)[:, None] for ticker, each in days.items()})
    pipeline = fit_pipeline(prices, spans_of(prices), config, *([told] if known else []))
    horizon = config.window.horizon
    zeros = np.zeros((horizon, len(QUANTILES))).tolist()
    readout = {"head": config.model.head, "residuals": zeros if config.model.head == "point" else None, "moves": None}
    part = {"ticker": "", "model": "model.onnx", "pipeline": pipeline.to_dict(), "readout": readout}
    return json.loads(json.dumps({"parts": [part], "conformal": zeros, "widths": {"rolling": [1.5, 0.5]}}))


@pytest.fixture(scope="module")
def whole():
    state = state_of(CONFIG)
    check_state(state, CONFIG, HERE, MODELS)
    return state


def pipeline(edit):
    return lambda state: edit(state["parts"][0]["pipeline"])


def ahead(edit):
    return pipeline(lambda pipeline: edit(pipeline["ahead"]))


STATES = {
    "a part more": (lambda s: s["parts"].append(s["parts"][0]), "name 1 models"),
    "another model": (lambda s: s["parts"][0].update(model="model.1.onnx"), "name 1 models"),
    "a ticker of a number": (lambda s: s["parts"][0].update(ticker=1), "name tickers"),
    "another head": (lambda s: s["parts"][0]["readout"].update(head="point"), "have the head quantile"),
    "a shrinkage that nobody asked for": (
        lambda s: s["parts"][0]["readout"].update(shrinkage=0.5),
        "draw each step's location as the config says",
    ),
    "a resting location of a step": (lambda s: s["parts"][0]["readout"].update(resting=[0.0]), "draw each step's location"),
    "shifts of a step": (lambda s: s["conformal"].pop(), "have conformal shifts of each step"),
    "no steps of widths": (lambda s: s["widths"].update(rolling=[]), "widen the intervals of at most 2 steps"),
    "three steps of widths": (lambda s: s["widths"].update(rolling=[1.0] * 3), "widen the intervals of at most 2 steps"),
    "a width beyond use": (lambda s: s["widths"].update(rolling=[1e6 + 1]), "widen the intervals of at most 2 steps"),
    "a width of next to nothing": (lambda s: s["widths"].update(rolling=[0.9e-6]), "widen the intervals of at most 2 steps"),
    "a width of truth": (lambda s: s["widths"].update(rolling=[True]), "widen the intervals of at most 2 steps"),
    "another column": (pipeline(lambda p: p.update(column="open")), "fit the config"),
    "another transform": (pipeline(lambda p: p.update(transform="level")), "fit the config"),
    "another lookback": (pipeline(lambda p: p.update(lookback=4)), "fit the config"),
    "another horizon": (pipeline(lambda p: p.update(horizon=1)), "fit the config"),
    "shorter windows": (pipeline(lambda p: p.update(shortest=2)), "fit the config"),
    "no features": (pipeline(lambda p: p.update(names=[])), "name features of the config once"),
    "a feature of another config": (pipeline(lambda p: p.update(names=["log_return", "open"])), "name features of the config once"),
    "a feature twice": (pipeline(lambda p: p.update(names=["range", "range"])), "name features of the config once"),
    "no tickers": (pipeline(lambda p: (p["features"].clear(), p["target"].clear())), "scale features and target of each ticker"),
    "a target of no features": (pipeline(lambda p: p["features"].pop("AAA")), "scale features and target of each ticker"),
    "an anchor less": (pipeline(lambda p: p["anchors"].pop("AAA")), "have anchors of 2 steps where"),
    "an anchor of a step": (pipeline(lambda p: p["anchors"]["AAA"]["weights"].pop()), "have anchors of 2 steps where"),
    "an anchor of another term": (
        pipeline(lambda p: [step.append(0.0) for step in p["anchors"]["AAA"]["weights"]]),
        "have anchors of 2 steps where",
    ),
    "a plan that no anchor names": (pipeline(lambda p: [a.pop("plan") for a in p["anchors"].values()]), "have anchors of 2 steps where"),
    "a plan of another name": (pipeline(lambda p: p["plans"][0].update(name="x")), "hold each plan that an anchor names, once"),
    "a plan twice": (pipeline(lambda p: p["plans"].append(p["plans"][0])), "hold each plan that an anchor names, once"),
    "no plan": (pipeline(lambda p: p.pop("plans")), "hold each plan that an anchor names, once"),
    "a plan without weekdays": (pipeline(lambda p: p["plans"][0].update(weekdays=[])), "hold pipelines, readouts"),
    "a plan of words": (pipeline(lambda p: p["plans"][0].update(short=["Friday"])), "hold pipelines, readouts"),
    "plans of text": (pipeline(lambda p: p.update(plans="x")), "hold pipelines, readouts"),
    "tickers embedded in another order": (pipeline(lambda p: p["embedded"].reverse()), "number the tickers of an embedding"),
    "no ticker embedded": (pipeline(lambda p: p.pop("embedded")), "number the tickers of an embedding"),
    "a scale of features less": (pipeline(lambda p: p["features"]["AAA"]["scale"].pop()), "scale 2 columns of features"),
    "an offset of features less": (pipeline(lambda p: p["features"]["AAA"]["offset"].pop()), "scale 2 columns of features"),
    "a scale of zero": (pipeline(lambda p: p["features"]["BBB"].update(scale=[1.0, 0.0])), "scale 2 columns of features by other than 0"),
    "targets of a step": (pipeline(lambda p: p["target"]["AAA"].update(offset=[0.0], scale=[1.0])), "scale 2 columns of target"),
    "nothing known ahead": (pipeline(lambda p: p.pop("ahead")), "know ahead"),
    "less known ahead": (ahead(lambda a: a["names"].pop()), "know ahead"),
    "known ahead in another order": (ahead(lambda a: a["names"].reverse()), "know ahead"),
    "no calendars": (ahead(lambda a: a["calendars"].clear()), "name a calendar of each ticker"),
    "a calendar that there is not": (ahead(lambda a: a["calendars"].update(AAA="XNOWHERE")), "name calendars of exchanges"),
    "a day twice": (ahead(lambda a: a["weekdays"].append(4)), "name weekdays once, in order"),
    "an eighth day": (ahead(lambda a: a["weekdays"].append(7)), "name weekdays once, in order"),
    "no scaler of what is known ahead": (ahead(lambda a: a.pop("scalers")), "scale what is known ahead of each ticker"),
    "one scaler of what is known ahead": (ahead(lambda a: a["scalers"].pop("BBB")), "scale what is known ahead of each ticker"),
    "two columns known ahead": (
        ahead(lambda a: a["scalers"]["AAA"].update(offset=[0.0] * 2, scale=[1.0] * 2)),
        "scale 1 columns of what is known ahead",
    ),
    "no conformal shifts": (lambda s: s.pop("conformal"), "hold pipelines, readouts and conformal shifts"),
    "a text for a shape": (pipeline(lambda p: p["target"]["AAA"].update(scale="1")), "scale 2 columns of target"),
    "lists of unlike lengths": (lambda s: s.update(conformal=[[0.0], []]), "hold pipelines, readouts and conformal shifts"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_does_not_fit_its_config_is_refused_by_what_does_not(whole, case):
    edit, said = STATES[case]
    state = copy.deepcopy(whole)
    edit(state)
    with pytest.raises(RunDamagedError, match=rf"^scaler\.json must {said}") as caught:
        check_state(state, CONFIG, HERE, MODELS)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("place", [0, 1])
def test_every_part_names_its_ticker(whole, place):
    state = copy.deepcopy(whole)
    state["parts"] = [copy.deepcopy(whole["parts"][0]) | {"ticker": name, "model": name} for name in ("AAA", "BBB")]
    check_state(state, CONFIG, HERE, ["AAA", "BBB"])
    state["parts"][place]["ticker"] = 1
    with pytest.raises(RunDamagedError, match="name tickers"):
        check_state(state, CONFIG, HERE, ["AAA", "BBB"])


def test_a_network_of_points_has_residuals_of_each_step():
    point = load_config("lstm", [*WORDS, "model.units=[2]", "model.head=point", "split.calibration=0.1"])
    state = state_of(point, known=False)
    check_state(state, point, HERE, MODELS)
    for residuals in (state["conformal"][:1], None):
        state["parts"][0]["readout"]["residuals"] = residuals
        with pytest.raises(RunDamagedError, match="have residuals of each step"):
            check_state(state, point, HERE, MODELS)


@pytest.mark.parametrize("widths", [{}, {"a": [1e6, 1e-6], "b": [1]}])
def test_a_state_may_widen_by_any_factor_that_can_be(whole, widths):
    check_state({**whole, "widths": widths}, CONFIG, HERE, MODELS)
    check_state({name: value for name, value in whole.items() if name != "widths"}, CONFIG, HERE, MODELS)


def test_what_a_config_does_not_ask_for_is_refused_in_the_state(whole):
    plain = load_config("lstm", [*WORDS, "model.units=[2]", "features.known_ahead=[day_of_week]", "model.head=quantile"])
    state = state_of(plain, known=False)
    check_state(state, plain, HERE, MODELS)
    for name in ("anchors", "embedded"):
        more = copy.deepcopy(state)
        more["parts"][0]["pipeline"][name] = whole["parts"][0]["pipeline"][name]
        with pytest.raises(RunDamagedError, match=r"anchors|embedding"):
            check_state(more, plain, HERE, MODELS)
    more = copy.deepcopy(state)
    more["parts"][0]["pipeline"]["ahead"]["scalers"] = whole["parts"][0]["pipeline"]["ahead"]["scalers"]
    with pytest.raises(RunDamagedError, match="scale what is known ahead"):
        check_state(more, plain, HERE, MODELS)


def test_a_state_of_an_earlier_version_has_windows_as_long_as_its_lookback(whole):
    state = copy.deepcopy(whole)
    state["parts"][0]["pipeline"].pop("shortest")
    check_state(state, CONFIG, HERE, MODELS)
    short = Config.model_validate(CONFIG.model_dump() | {"window": CONFIG.window.model_dump() | {"shortest": 2}})
    with pytest.raises(RunDamagedError, match="fit the config"):
        check_state(state, short, HERE, MODELS)


def test_a_horizon_has_an_end():
    for horizon, refused in ((1000, False), (1001, True)):
        config = CONFIG.model_construct(**dict(CONFIG) | {"window": CONFIG.window.model_copy(update={"horizon": horizon})})
        with pytest.raises(RunDamagedError) as caught:
            check_state({}, config, HERE, MODELS)
        assert ("a horizon of at most 1000" in str(caught.value)) == refused


# --- weights ----------------------------------------------------------------------------------------------------------------


def config_of(*members, **model):
    tree = {"model": model, "features": {"columns": [], "indicators": ["log_return"]}}
    return build_config(tree | ({"train": {"ensemble": list(members)}} if members else {}), "test")


def weights(tensors, metadata=None, more=b"", start=0):
    """A safetensors file of float32 tensors by their shapes, side by side from `start` on."""
    header, at, body = {} if metadata is None else {"__metadata__": metadata}, start, b""
    for number, (name, shape) in enumerate(tensors.items(), start=1):
        data = np.full(shape, number, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at, body = at + len(data), body + data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body + more


UNLIKE = config_of({"cell": "gru", "units": [3]}, {"cell": "simple_rnn", "units": [2, 2]})
ONE = {
    "part0/member0/recurrent_1/cell/recurrent_kernel": (3, 9),
    "part0/member0/recurrent_1/cell/kernel": (1, 9),
    "part0/member1/recurrent_1/cell/recurrent_kernel": (2, 2),
    "part0/member1/recurrent_2/cell/recurrent_kernel": (2, 2),
}
TWO = ONE | {name.replace("part0", "part1"): shape for name, shape in ONE.items()}
WEIGHTS = {
    "another kernel": (
        weights(ONE | {"part0/member0/recurrent_1/cell/recurrent_kernel": (3, 12)}),
        "have recurrent kernels (3, 9) in layer 1",
    ),
    "a second kernel of other units": (
        weights(ONE | {"part0/member0/recurrent_1/backward/recurrent_kernel": (4, 12)}),
        "have recurrent kernels (3, 9) in layer 1",
    ),
    "a layer less": (
        weights({name: shape for name, shape in ONE.items() if "recurrent_2" not in name}),
        "have recurrent kernels (2, 2) in layer 2",
    ),
    "a member less": (weights({name: shape for name, shape in ONE.items() if "member1" not in name}), "have 2 members in each part"),
    "a member more": (weights(ONE | {"part0/member2/x": (1,)}), "have 2 members in each part"),
    "no members": (weights({}), "have 2 members in each part"),
    "a part that begins with another number": (
        weights({name.replace("part0", "part1"): shape for name, shape in ONE.items()}),
        "have 2 members in each part",
    ),
    "a part of other shapes": (
        weights(TWO | {"part1/member0/recurrent_1/cell/kernel": (2, 8)}),
        "give member 0 the same shapes in each part",
    ),
    "a part of other names": (
        weights({name.replace("part1/member1/recurrent_2", "part1/member1/other"): shape for name, shape in TWO.items()}),
        "give member 1 the same shapes in each part",
    ),
    "tensors that begin later": (weights(ONE, start=4), "hold tensors side by side"),
    "an end of four bytes more": (weights(ONE, more=bytes(4)), "end with its tensors"),
    "a side of zero": (weights(ONE | {"part0/member0/x": (0, 3)}), "hold float32 tensors"),
    "a header of one byte": (struct.pack("<Q", 1) + b"1", "be a safetensors file"),
    "a header longer than the file": (struct.pack("<Q", 3) + b"{}", "be a safetensors file"),
    "a header of a list": (struct.pack("<Q", 2) + b"[]", "be a safetensors file"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit_their_config_are_refused_by_what_does_not(case):
    data, said = WEIGHTS[case]
    with pytest.raises(RunDamagedError) as caught:
        check_weights(data, UNLIKE, Path("w"))
    assert str(caught.value).startswith(f"w must {said}")


@pytest.mark.parametrize(("tensors", "parts"), [(ONE, 1), (TWO, 2), (TWO | {"part1/member0/recurrent_1/cell/kernel": (2, 9)}, 2)])
def test_weights_that_fit_are_counted_by_their_parts(tensors, parts):
    assert check_weights(weights(tensors), UNLIKE, Path("w")) == parts
    assert check_weights(weights(tensors, {"format": "np"}), UNLIKE, Path("w")) == parts


def test_tensors_of_a_wrong_type_are_refused():
    data = weights(ONE)
    for old, new in ((b'"F32"', b'"I32"'), (b"[3, 9]", b"[27.0]"), (b"[3, 9]", b'["3"]'), (b'"shape"', b'"shapx"')):
        assert old in data
        with pytest.raises(RunDamagedError, match=r"hold float32 tensors|be a safetensors file"):
            check_weights(data.replace(old, new.ljust(len(old)), 1), UNLIKE, Path("w"))


# --- sizes ------------------------------------------------------------------------------------------------------------------


def test_the_most_bytes_of_a_network_by_hand():
    """GRU of three units, both directions, on 16 + 1 columns, one step: 2 · 3 · (17 + 6 + 8) · 6 and 2 · 7 · 19 + 8 · 36 weights."""
    gru = config_of(cell="gru", units=[3]).model_copy(update={"window": CONFIG.window.model_copy(update={"horizon": 1, "lookback": 5})})
    gru = gru.model_copy(update={"features": gru.features.model_copy(update={"columns": ("close",)})})
    network = 8 * (1116 + 554) + 4096
    graph = 2 * 2 * 512 * 1024
    assert largest_files(gru, 1) == {".safetensors": network, ".onnx": network + graph}
    assert largest_files(gru, 3) == {".safetensors": 3 * network, ".onnx": network + graph}
    assert most_seconds(gru, 100) == pytest.approx(LEAST_S + 100 * (network // 4) * 6 / 1e8)
    assert largest_files(gru, 10**6)[".safetensors"] == LARGEST[".safetensors"]


def test_the_most_bytes_of_a_network_that_knows_days_and_tickers_by_hand():
    """Two plain layers of 2 and 4 units on 16 + 2 + 8 columns, two steps, of which each knows eight numbers."""
    features = CONFIG.features.model_copy(update={"columns": ()})
    model = CONFIG.model.model_copy(update={"cell": "simple_rnn", "units": (2, 4)})
    config = CONFIG.model_copy(update={"features": features, "model": model})
    layers = 2 * (26 + 4 + 8) * 4 + 2 * (4 + 8 + 8) * 8
    head = 2 * (8 + 2 * 8 + 1) * 2 * 19 + 8 * 64
    network = 8 * (layers + head + 2 * 50_000) + 4096
    thinned = config.model_copy(update={"train": config.train.model_copy(update={"mc_dropout": 3})})
    assert largest_files(config, 1) == {".safetensors": network, ".onnx": network + 2 * 3 * 512 * 1024}
    assert largest_files(thinned, 1) == {".safetensors": network, ".onnx": 3 * (network + 2 * 3 * 512 * 1024)}
    assert most_seconds(thinned, 10) == pytest.approx(LEAST_S + 10 * 3 * (network // 4) * 5 / 1e8)


def test_no_file_of_a_run_is_larger_than_this():
    mib = 1024 * 1024
    sizes = {
        ".yaml": 65_536,
        ".json": 32 * mib,
        ".csv": 1024 * mib,
        ".parquet": 4096 * mib - 1,
        ".safetensors": 1024 * mib,
        ".onnx": 1024 * mib,
    }
    assert sizes | dict.fromkeys((".png", ".svg", ".pdf"), 64 * mib) == LARGEST
    largest = largest_files(config_of(cell="lstm", units=[8000] * 3), 2)
    assert largest == {".safetensors": 1024 * mib, ".onnx": 1024 * mib}


def test_the_members_of_an_ensemble_take_their_bytes_together():
    one, two = (config_of(*members) for members in (UNLIKE.train.members[:1], UNLIKE.train.members[1:]))
    both, *apart = (largest_files(each, 1) for each in (UNLIKE, one, two))
    assert both == {name: apart[0][name] + apart[1][name] for name in both}


def test_json_is_crowded_beyond_a_value_in_twelve_bytes():
    few, many = (b"[" + b",".join([b"0"] * count) + b"]" for count in (1100, 1250))
    assert len(parse_json(few, Path("p"))) == 1100
    with pytest.raises(RunDamagedError, match=r"^p must hold at most a value in 12 bytes"):
        parse_json(many, Path("p"))
    for crowd in (b"[[]" + b",[]" * 700 + b"]", b"[{}" + b",{}" * 700 + b"]"):
        with pytest.raises(RunDamagedError, match="value in 12 bytes"):
            parse_json(crowd, Path("p"))
