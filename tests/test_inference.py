"""An exported model is opened within bounds that follow from its config, and what it gives is looked at."""

import dataclasses
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_hostile import AXIS, GOLDEN, HONEST, LAST, OF_THE_WINDOW, PRICES, field, model, node, onnx, rehash, squared, tensor, values

from stockrnn.config import Config
from stockrnn.errors import RunDamagedError
from stockrnn.features.ahead import Ahead
from stockrnn.features.pipeline import Pipeline
from stockrnn.features.splits import Spans
from stockrnn.models.windowed import Readout
from stockrnn.prices.loading import load_prices
from stockrnn.recipes import prediction
from stockrnn.runs import inference
from stockrnn.runs.directory import Run, open_run
from stockrnn.runs.inference import ARENA_BYTES, BATCH, OnnxForecaster, export_difference, load_forecaster, run_session
from stockrnn.types import QUANTILES

RUN = open_run(GOLDEN)
PIPELINE = Pipeline.from_dict(RUN.json("scaler.json")["parts"][0]["pipeline"])
HERE = Path("model.onnx")


def weighted(parameters, weight=0.0, kind="FLOAT"):
    """A model of so many parameters a step, each the sum of a window times a weight."""
    from onnx import TensorProto, helper, numpy_helper

    given = getattr(TensorProto, kind)
    kernel = np.full((4, parameters), weight, helper.tensor_dtype_to_np_dtype(given))
    nodes = [
        helper.make_node("ReduceSum", ["window", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["last"], to=given),
        helper.make_node("MatMul", ["last", "w"], ["product"]),
        helper.make_node("Unsqueeze", ["product", "axis"], ["out"]),
    ]
    taken = helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", 4, 4])
    out = helper.make_tensor_value_info("out", given, ["n", 1, 1, parameters])
    tensors = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(np.array([1]), "axis")]
    graph = helper.make_graph(nodes, "g", [taken], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


def config_of(**changes):
    tree = RUN.config.model_dump(mode="json")
    for path, value in changes.items():
        section, key = path.split("__")
        tree[section][key] = value
    return Config.model_validate(tree)


ALONE = config_of(train__ensemble=1)


def opened(data, config=ALONE, head="quantile", pipeline=PIPELINE):
    return OnnxForecaster(config, pipeline, Readout(head), data, HERE)


@pytest.fixture(scope="module")
def windows():
    return PIPELINE.prepare(load_prices(config_of(data__path=str(PRICES)).data).table).windows.pick(np.arange(3))


@pytest.mark.parametrize(("head", "parameters"), [("point", 1), ("quantile", len(QUANTILES)), ("student_t", 3), ("direction", 1)])
def test_a_model_gives_the_numbers_of_its_head(windows, head, parameters):
    sums = windows.tensors()[0].sum(axis=(1, 2))
    given = opened(weighted(parameters, 0.5), head=head)._outputs(windows)
    np.testing.assert_allclose(given, np.broadcast_to(0.5 * sums[:, None, None, None], (3, 1, 1, parameters)), rtol=1e-4)
    for other in (parameters - 1, parameters + 1):
        if other:
            with pytest.raises(RunDamagedError, match=r"^model\.onnx must give members × steps × numbers"):
                opened(weighted(other), head=head)._outputs(windows)


@pytest.mark.parametrize("given", [weighted(19, float("inf")), weighted(19, float("nan")), weighted(19, kind="DOUBLE")])
def test_a_model_gives_finite_floats(windows, given):
    with pytest.raises(RunDamagedError, match=r"^model\.onnx must give finite numbers"):
        opened(given)._outputs(windows)


@pytest.mark.parametrize("given", [HONEST + field(20, b""), HONEST + field(7, field(2, b"g"))], ids=["learning", "two graphs"])
def test_a_model_is_looked_at_before_it_is_opened(tmp_path, given, monkeypatch):
    run = shutil.copytree(GOLDEN, tmp_path / "run")
    onnx(given)(run)
    rehash(run)
    monkeypatch.setattr(inference, "open_session", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(RunDamagedError, match=r"model\.onnx must hold (what our exports hold|one graph)"):
        load_forecaster(open_run(run))


def test_a_loop_may_repeat_as_often_as_there_are_steps_of_a_window_or_of_a_forecast():
    seen = []
    assert (RUN.config.window.lookback, RUN.config.window.horizon) == (4, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "check_model", lambda data, origin, longest: seen.append(longest))
        load_forecaster(RUN)
    assert seen == [4]


def limits(monkeypatch, *given, **named):
    """The bytes and seconds within which a model is opened."""
    seen = []
    real = inference.open_session

    def spy(data, most, seconds):
        seen.append((most, seconds))
        return real(data, most, seconds)

    monkeypatch.setattr(inference, "open_session", spy)
    forecaster = opened(*given, **named)
    return (*seen[0], forecaster._batch)


def test_memory_and_time_follow_from_the_network_by_hand(monkeypatch):
    """Four numbers of a window of four features and 32 states of three units, four timesteps each: 1,600 bytes."""
    assert limits(monkeypatch, HONEST) == (ARENA_BYTES + 4 * len(HONEST) + 4 * 1600, 0.5 * 1.1, BATCH)
    wide = config_of(train__ensemble=1, model__units=[2000, 1000])
    window = 4 * 4 * (4 + 32 * 3000)
    assert limits(monkeypatch, HONEST, wide) == (ARENA_BYTES + 4 * len(HONEST) + 4 * window, 0.5 * 1.1, 20 * 1024 * 1024 // window)
    huge = config_of(model__units=[10_000] * 5)
    assert limits(monkeypatch, HONEST, huge)[2] == 1
    many = config_of(train__ensemble=5, train__mc_dropout=4, model__dropout=0.1)
    assert limits(monkeypatch, HONEST, many)[1] == 0.5 * 3.0
    unlike = config_of(train__ensemble=[{"units": [2]}, {"units": [9]}])
    assert limits(monkeypatch, HONEST, unlike)[0] == ARENA_BYTES + 4 * len(HONEST) + 4 * 4 * 4 * (4 + 32 * 9)


def test_what_is_known_ahead_takes_memory_of_each_network(monkeypatch):
    ahead = Ahead(("month_end", "days_since_last_session"), (0, 1, 2, 3, 4), {"prices": "pattern"})
    known = dataclasses.replace(PIPELINE, ahead=ahead)
    data = model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [tensor(b"w", [4, 19], bytes(304)), AXIS], ahead=2)
    window = 1600 + 4 * 1 * 2 * (1 + 5)
    assert limits(monkeypatch, data, config_of(train__ensemble=5), pipeline=known)[0] == ARENA_BYTES + 4 * len(data) + 4 * window


def test_a_model_takes_what_its_pipeline_gives():
    ahead = Ahead(("month_end",), (0, 1, 2, 3, 4), {"prices": "pattern"})
    known, told = dataclasses.replace(PIPELINE, ahead=ahead), dataclasses.replace(PIPELINE, embedded=("A", "B"))
    nodes, tensors = [LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [tensor(b"w", [4, 19], bytes(304)), AXIS]
    second = field(7, field(11, values([b"n", 1], b"ticker")))  # what is told twice of a graph is put together
    cases = {"plain": (PIPELINE, HONEST), "known": (known, model(nodes, tensors, ahead=1)), "told": (told, HONEST + second)}
    for name, (pipeline, _) in cases.items():
        for other, (_, data) in cases.items():
            if name == other:
                opened(data, pipeline=pipeline)
            else:
                with pytest.raises(RunDamagedError, match=r"^model\.onnx must take windows of"):
                    opened(data, pipeline=pipeline)


def test_windows_are_run_in_pieces_and_put_together(windows):
    session = inference.open_session(weighted(2, 1.0))
    whole = run_session(session, windows)
    np.testing.assert_array_equal(run_session(session, windows, batch=2), whole)
    assert whole.shape == (3, 1, 1, 2)


def test_the_difference_of_an_export_is_relative_to_its_largest_output(windows):
    data = weighted(1, 1.0)
    given = run_session(inference.open_session(data), windows)
    assert export_difference(data, windows, given) == 0.0
    off = given.copy()
    off[1] += 0.5
    assert export_difference(data, windows, off) == pytest.approx(0.5 / np.abs(off).max())
    assert export_difference(data, windows, np.zeros_like(given)) == pytest.approx(np.abs(given).max() / 1e-12)


def test_a_model_is_trusted_where_it_is_off_by_a_hundred_thousandth_at_most(monkeypatch):
    monkeypatch.setitem(sys.modules, "stockrnn.training.recurrent", SimpleNamespace(restore=lambda *_: "keras"))
    for difference, trusted in ((0.0, True), (1e-5, True), (1.01e-5, False), (1.0, False)):
        run = Run(GOLDEN, {**RUN.manifest, "onnx_difference": difference})
        assert (prediction._forecaster(run, Pipeline.from_dict) != "keras") == trusted


def test_an_opened_model_has_learned_and_takes_one_thread():
    forecaster = opened(HONEST)
    assert forecaster.fit(pd.DataFrame(), Spans(*[pd.Timestamp("2020-01-01")] * 4)) is forecaster
    options = forecaster._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_model_takes_no_more_memory_than_it_is_given(windows):
    data = squared(1, OF_THE_WINDOW, side=700)  # two MB a matrix
    assert run_session(inference.open_session(data, 64 << 20), windows.pick(np.arange(1))).shape == (1, 1, 19)
    small = inference.open_session(data, 1 << 20)
    with pytest.raises(inference._refusals()):
        run_session(small, windows.pick(np.arange(1)))


def test_a_model_is_stopped_after_its_time_and_not_before(windows):
    session = inference.open_session(squared(30, OF_THE_WINDOW, side=1000), 256 << 20)
    one = windows.pick(np.arange(1))
    assert run_session(session, one, seconds=60.0).shape == (1, 1, 19)
    with pytest.raises(inference._refusals()):
        run_session(session, one, seconds=0.01)


def test_a_signal_that_ends_the_block_before_it_begins_leaves_no_thread_to_wait_for(monkeypatch):
    started, start = [], threading.Thread.start

    def start_and_leave(thread):
        start(thread)
        started.append(thread)
        raise SystemExit(143)

    monkeypatch.setattr(threading.Thread, "start", start_and_leave)
    with pytest.raises(SystemExit), inference._stopped_after(0.0, lambda: None):
        pass
    assert started[0].daemon  # else the process would wait for it, and it for the process to compute
    started[0].join()
