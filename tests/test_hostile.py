"""A run sent by a stranger can do nothing but forecast: what is altered, foreign, huge or sly is refused, quickly and by name."""

import contextlib
import hashlib
import html.parser
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn import recipes, storage
from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError, DataError, RunDamagedError, StockRNNError, StorageError, inert
from stockrnn.prices import planned
from stockrnn.runs import graphs
from stockrnn.runs.directory import MANIFEST, _sealed, add_files, find_run, open_run
from stockrnn.runs.files import read_forecasts, to_csv
from stockrnn.runs.graphs import check_model
from stockrnn.runs.inference import load_forecaster
from stockrnn.runs.origin import MADE_IN, mark_of
from stockrnn.runs.vetting import largest_files, parse_json

GOLDEN = Path(__file__).parent / "golden" / "format1"
PRICES = GOLDEN.parent / "prices.csv"
CANARY = "canary-7f3a"


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "run")


# --- old runs ---------------------------------------------------------------------------------------------------------------


def golden_rows():
    return pd.DataFrame(json.loads((GOLDEN.parent / "format1.json").read_text()))


def assert_same_forecast(rows):
    wanted = golden_rows()
    assert [f"{date:%Y-%m-%d}" for date in rows["date"]] == wanted["date"].tolist()
    for name in ("forecast", "lower_80", "upper_80", "lower_90", "upper_90", "p_up"):
        np.testing.assert_allclose(rows[name], wanted[name], rtol=1e-5)


def test_a_run_of_format_1_loads_and_forecasts_the_same():
    assert_same_forecast(recipes.predict(open_run(GOLDEN), str(PRICES)).rows)


@pytest.mark.network
def test_a_run_of_format_1_is_restored_with_keras_too(run):
    change(run, {MANIFEST: lambda manifest: manifest.update(onnx_difference=1.0)})
    assert_same_forecast(recipes.predict(open_run(run), str(PRICES)).rows)


@pytest.mark.parametrize("number", [0, 2, 99, "1", 1.5, None, True, [1]])
def test_an_unknown_format_is_refused_with_the_version_that_wrote_it(run, number):
    (run / MANIFEST).write_text(json.dumps({"format": number, "versions": {"stockrnn": "9.8.7"}, "something": "new"}))
    with pytest.raises(RunDamagedError, match=r"written by stockrnn 9\.8\.7") as caught:
        open_run(run)
    assert caught.value.exit_code == 7


# --- bits -------------------------------------------------------------------------------------------------------------------


def flips(run, count, seed):
    """Runs with one bit flipped that were not refused by the name of the file, or not refused at all."""
    dice = random.Random(seed)
    with contextlib.suppress(FileExistsError):
        (run / "plots").mkdir()
        add_files(open_run(run), {"plots/a.png": bytes(range(256))})
    files = sorted(path for path in run.rglob("*") if path.is_file())
    missed = []
    for number in range(count):
        path = files[number % len(files)]
        data = path.read_bytes()
        at, bit = dice.randrange(len(data)), 1 << dice.randrange(8)
        path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        try:
            open_run(run)
            missed.append((path.name, at, bit, "loaded"))
        except RunDamagedError as error:
            if path.name not in str(error):
                missed.append((path.name, at, bit, str(error)))
        path.write_bytes(data)
    open_run(run)
    return missed


def test_a_flipped_bit_is_refused_by_the_name_of_its_file(run):
    missed = flips(run, 150, seed=0)
    assert missed == []


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_refused(run):
    missed = flips(run, 1000, seed=1)
    assert missed == []


# --- hostile runs -----------------------------------------------------------------------------------------------------------


def rehash(run):
    """Make the manifest true again, as an attacker would."""
    manifest = json.loads((run / MANIFEST).read_text())
    for name in manifest["files"]:
        if (run / name).is_file() and (run / name).stat().st_size < 1 << 28:
            manifest["files"][name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / MANIFEST).write_bytes(_sealed({name: value for name, value in manifest.items() if name != "sha256"}))


def change(run, changes):
    for name, edit in changes.items():
        document = json.loads((run / name).read_text())
        edit(document)
        (run / name).write_text(json.dumps(document, indent=2))
    rehash(run)


def test_a_run_of_thousands_of_tickers_opens(run):
    def edit(state):
        pipeline = state["parts"][0]["pipeline"]
        for name in ("features", "target"):
            (scaler,) = pipeline[name].values()
            pipeline[name] = {f"T{k:05}": scaler for k in range(10_000)}

    change(run, {"scaler.json": edit})
    assert (run / "scaler.json").stat().st_size > 5 << 20
    assert len(open_run(run).json("scaler.json")["parts"][0]["pipeline"]["target"]) == 10_000


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, value):
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def node(operation, inputs, outputs, domain=b"", attributes=()):
    parts = [field(1, name) for name in inputs] + [field(2, name) for name in outputs] + [field(4, operation)]
    return b"".join(parts + [field(7, domain)] * bool(domain) + [field(5, each) for each in attributes])


def values(shape, name):
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def tensor(name, dims, raw, kind=1, extra=b""):
    return b"".join(field(1, size) for size in dims) + field(2, kind) + field(8, name) + (field(9, raw) if raw is not None else b"") + extra


def model(nodes, tensors=(), inside=b"", outside=b"", out=(1, 19), features=4, ahead=0):
    graph = b"".join(field(1, each) for each in nodes) + field(2, b"g") + b"".join(field(5, each) for each in tensors) + inside
    graph += field(11, values([b"n", 4, features], b"window")) + (field(11, values([b"n", 1, ahead], b"ahead")) if ahead else b"")
    graph += field(12, values([b"n", *out], b"out"))
    return field(1, 8) + field(7, graph) + field(8, field(2, 15)) + outside


ZEROS = tensor(b"w", [4, 19], bytes(4 * 76))
LAST = node(b"ReduceSum", [b"window", b"axis"], [b"last"], attributes=[field(1, b"keepdims") + field(3, 1) + field(20, 2)])
AXIS = tensor(b"axis", [1], struct.pack("<q", 1), kind=7)
HONEST = model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [ZEROS, AXIS])
EXTERNAL = field(13, field(1, b"location") + field(2, b"../canary.txt")) + field(14, 1)
DOUBLING = [
    node(
        b"Concat",
        [b"window" if k == 0 else b"c%d" % k] * 2,
        [b"c%d" % (k + 1)],
        attributes=[field(1, b"axis") + field(3, 1) + field(20, 2)],
    )
    for k in range(30)
]
WHOLE = [field(1, b"keepdims") + field(3, 0) + field(20, 2)]


def squared(times, first, side=1800):
    """A model that multiplies a matrix by itself many times; each product fits into memory."""
    products = [(b"m%d" % k, b"t%d" % k, b"m%d" % (k + 1)) for k in range(times)]
    nodes = [*first]
    for before, product, after in products:
        nodes += [node(b"MatMul", [before, before], [product]), node(b"Tanh", [product], [after])]
    nodes += [node(b"ReduceSum", [b"m%d" % times], [b"z"], attributes=WHOLE), LAST, node(b"MatMul", [b"last", b"w"], [b"o"])]
    sides = tensor(b"sides", [2], struct.pack("<2q", side, side), kind=7)
    return model([*nodes, node(b"Add", [b"o", b"z"], [b"out"])], [ZEROS, AXIS, sides])


OF_THE_WINDOW = [node(b"ReduceSum", [b"window"], [b"s"], attributes=WHOLE), node(b"Expand", [b"s", b"sides"], [b"m0"])]
OF_NOTHING = [node(b"ConstantOfShape", [b"sides"], [b"m0"])]
BODY = field(2, b"b") + field(1, node(b"Identity", [b"c"], [b"d"]))
LOOP = node(b"Loop", [b"times", b""], [b"out"], attributes=[field(1, b"body") + field(6, BODY) + field(20, 5)])


def onnx(data):
    def make(run):
        (run / "model.onnx").write_bytes(data)

    return make


def weights(edit):
    def make(run):
        path = run / "weights.safetensors"
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
        result = edit(header, body)
        if isinstance(result, bytes):
            path.write_bytes(result)
            return
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)

    return make


def first(header):
    return next(tensor for name, tensor in header.items() if name != "__metadata__")


def state(edit):
    return lambda run: change(run, {"scaler.json": edit})


def pipeline(**values):
    return state(lambda document: [part["pipeline"].update(values) for part in document["parts"]])


def text(name, data):
    return lambda run: (run / name).write_bytes(data)


def config(old, new):
    return lambda run: (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(old, new))


def link(name, target):
    def make(run):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return make


def pipe(run):
    (run / "history.csv").unlink()
    os.mkfifo(run / "history.csv")


def sparse(name, size):
    def make(run):
        with (run / name).open("ab") as file:
            file.truncate(size)

    return make


def named(name, digest="0" * 64):
    return lambda run: change(run, {MANIFEST: lambda manifest: manifest["files"].update({name: digest})})


def linked_plots(run):
    (run / "plots").symlink_to("..")
    change(run, {MANIFEST: lambda manifest: manifest["files"].update({"plots/canary.png": "0" * 64})})


def archive(run):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {"function": "os.system"}}))
        file.writestr("model.weights.h5", bytes(50_000_000))
    (run / "weights.safetensors").write_bytes(stream.getvalue())


def crowd_of_features(run, count=20_000):
    """A window as wide as a model asks for, made of one feature."""
    scaler = {"kind": "standard", "offset": [0.0] * count, "scale": [1.0] * count}
    pipeline(names=["range"] * count, features={"prices": scaler})(run)
    wide = tensor(b"w", [count, 19], bytes(76 * count))
    onnx(model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [wide, AXIS], features=count))(run)


def crowd_of_weekdays(run, count=100_000):
    """As many columns beside a window as a model asks for, all of them Mondays."""
    config("features:\n", "features:\n  known_ahead: [day_of_week]\n")(run)
    pipeline(ahead={"names": ["day_of_week"], "weekdays": [0] * count, "calendars": {"prices": "pattern"}})(run)
    onnx(model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [ZEROS, AXIS], ahead=count))(run)


def crowd_of_facts(run, count=3_000):
    config("features:\n", f"features:\n  known_ahead: [{'month_end, ' * count}]\n")(run)
    pipeline(ahead={"names": ["month_end"] * count, "weekdays": [0, 1, 2, 3, 4], "calendars": {"prices": "pattern"}})(run)
    onnx(model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [ZEROS, AXIS], ahead=count))(run)


class Evil:
    def __reduce__(self):
        return Path.write_text, (Path("/tmp/canary-pickled"), CANARY)


DEEP = b"[" * 100_000 + b"]" * 100_000
CROWDED = b'{"a": [' + b"[]," * 1_000_000 + b"0]}"
NAN = struct.pack("<f", float("nan"))
HOSTILE = {
    "weights: a shape that asks for a terabyte": weights(lambda header, _: first(header).update(shape=[1 << 20, 1 << 18])),
    "weights: a shape of negative sizes": weights(lambda header, _: first(header).update(shape=[-4, -19])),
    "weights: overlapping tensors": weights(lambda header, _: first(header).update(data_offsets=[0, 4], shape=[1])),
    "weights: a header of 2**60 bytes": weights(lambda *_: (1 << 60).to_bytes(8, "little") + b"{}"),
    "weights: a deeply nested header": weights(lambda *_: len(DEEP).to_bytes(8, "little") + DEEP),
    "weights: a crowded header": weights(lambda *_: len(CROWDED).to_bytes(8, "little") + CROWDED),
    "weights: not a number": weights(lambda _, body: body.__setitem__(slice(4, 8), NAN)),
    "weights: infinity": weights(lambda _, body: body.__setitem__(slice(-4, None), struct.pack("<f", float("inf")))),
    "weights: another type": weights(lambda header, _: first(header).update(dtype="F64")),
    "weights: a member too few": weights(lambda header, _: header.pop(next(iter(header)))),
    "weights: other units than the config's": config("- 3", "- 4"),
    "weights: units that ask for gigabytes": config("- 3", "- 10000"),
    "weights: a Keras archive with a Lambda and a zip bomb": archive,
    "weights: HDF5": text("weights.safetensors", b"\x89HDF\r\n\x1a\n" + bytes(4000)),
    "weights: a pickle": text("weights.safetensors", pickle.dumps(Evil())),
    "weights: trailing bytes": weights(lambda _, body: body.extend(b"more")),
    "weights: half a file": lambda run: (run / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes()[:900]),
    "weights: a tensor that no network has": weights(
        lambda header, body: (
            header.update({"part0/member0/x": {"dtype": "F32", "shape": [1 << 22], "data_offsets": [len(body), len(body) + (4 << 22)]}}),
            body.extend(bytes(4 << 22)),
        )[0]
    ),
    "weights: empty": text("weights.safetensors", b""),
    "weights: a terabyte of nothing": sparse("weights.safetensors", 1 << 40),
    "model: external data": onnx(
        model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [tensor(b"w", [4, 19], None, extra=EXTERNAL), AXIS])
    ),
    "model: a custom domain": onnx(
        model([node(b"Anything", [b"window"], [b"out"], b"com.evil")], outside=field(8, field(1, b"com.evil") + field(2, 1)))
    ),
    "model: an operation of Microsoft's domain": onnx(model([node(b"Gelu", [b"window"], [b"out"], b"com.microsoft")])),
    "model: functions": onnx(model([LAST], [AXIS], outside=field(25, field(1, b"f")))),
    "model: training": onnx(model([LAST], [AXIS], outside=field(20, b""))),
    "model: a branch": onnx(model([node(b"If", [b"window"], [b"out"])])),
    "model: a tensor of a terabyte": onnx(model([LAST], [AXIS, tensor(b"w", [1 << 20, 1 << 18], b"")])),
    "model: a constant of not a number": onnx(
        model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [tensor(b"w", [4, 19], NAN * 76), AXIS])
    ),
    "model: doubled thirty times": onnx(model([*DOUBLING, node(b"ReduceSum", [b"c30", b"axis"], [b"out"])], [AXIS], out=(1, 4))),
    "model: large products, again and again": onnx(squared(200, OF_THE_WINDOW)),
    "model: large products of constants": onnx(squared(200, OF_NOTHING)),
    "model: another number of members": onnx(HONEST),
    "model: a loop of 2**62": onnx(model([LOOP], [tensor(b"times", [], struct.pack("<q", 1 << 62), kind=7)])),
    "model: a loop of unknown length": onnx(model([LOOP])),
    "model: random numbers": onnx(model([node(b"RandomNormalLike", [b"window"], [b"out"])])),
    "model: texts": onnx(model([LAST], [AXIS, tensor(b"s", [1], None, kind=8, extra=field(6, b"x"))])),
    "model: a sparse tensor": onnx(model([LAST], [AXIS], inside=field(15, field(3, 1 << 40)))),
    "model: another shape of windows": onnx(HONEST.replace(field(1, field(1, 4)) * 2, field(1, field(1, 9)) * 2)),
    "model: another output": onnx(model([LAST], [AXIS], out=(1, 4))),
    "model: a hundred megabytes": sparse("model.onnx", 100 << 20),
    "model: not protocol buffers": onnx(os.urandom(5000)),
    "model: a number without an end": onnx(b"\x08" + b"\xff" * 50),
    "scaler: a horizon of a billion": pipeline(horizon=10**9),
    "scaler: another lookback": pipeline(lookback=10**9),
    "scaler: a scale of zero": state(lambda s: next(iter(s["parts"][0]["pipeline"]["target"].values())).update(scale=[0.0])),
    "scaler: a number beyond floats": lambda run: text(
        "scaler.json", (run / "scaler.json").read_bytes().replace(b'"lookback": 4', b'"lookback": 1e999')
    )(run),
    "scaler: NaN": lambda run: text("scaler.json", (run / "scaler.json").read_bytes().replace(b'"threshold": 8.0', b'"threshold": NaN'))(
        run
    ),
    "scaler: nested": text("scaler.json", DEEP),
    "scaler: crowded": text("scaler.json", CROWDED),
    "scaler: a list": text("scaler.json", b"[]"),
    "scaler: a model elsewhere": state(lambda s: s["parts"][0].update(model="../canary.txt")),
    "scaler: a width of text": state(lambda s: s.update(widths={"A": ["1"]})),
    "scaler: a width below zero": state(lambda s: s.update(widths={"A": [-1.0]})),
    "scaler: a width beyond floats": state(lambda s: s.update(widths={"A": [10**400]})),
    "scaler: widths in a list": state(lambda s: s.update(widths=[1.0])),
    "scaler: a feature twenty thousand times": crowd_of_features,
    "scaler: a hundred thousand Mondays": crowd_of_weekdays,
    "config: three thousand ends of a month": crowd_of_facts,
    "scaler: a calendar that there is not": pipeline(ahead={"names": [], "weekdays": [0], "calendars": {"prices": "../canary.txt"}}),
    "scaler: a hundred thousand calendars": pipeline(
        ahead={"names": [], "weekdays": [0], "calendars": {f"ticker {k}": "pattern" for k in range(100_000)}}
    ),
    "scaler: no parts": state(lambda s: s.update(parts=[])),
    "config: a tag": config("data:", "data: !!python/object/apply:os.system [id]\nx:"),
    "config: anchors": text("config.yaml", b"a: &a [x]\nb: [*a, *a]\n"),
    "config: a megabyte": text("config.yaml", b"# " + b"x" * (1 << 20)),
    "config: bytes that are no text": text("config.yaml", b"\xff\xfe\x00"),
    "config: a horizon of a billion": config("horizon: 1", "horizon: 1000000000"),
    "config: a class to load": config("model:", "model:\n  class_name: Lambda"),
    "metrics: nested": text("metrics.json", DEEP),
    "metrics: other scores": text("metrics.json", b'{"network": "lstm", "test": {"models": {"lstm": {"mae": "high"}}}}'),
    "manifest: a path upward": named("../canary.txt"),
    "manifest: a path from the root": named("/etc/passwd"),
    "manifest: a path with NUL": named("plots/a\0.png"),
    "manifest: a file of no known kind": named("model.keras"),
    "manifest: fifty megabytes": sparse(MANIFEST, 50 << 20),
    "manifest: nested": text(MANIFEST, DEEP),
    "manifest: a difference that is a text": lambda run: change(run, {MANIFEST: lambda m: m.update(onnx_difference="0")}),
    "manifest: another format": lambda run: change(run, {MANIFEST: lambda m: m.update(format=7)}),
    "manifest: files in a list": lambda run: change(run, {MANIFEST: lambda m: None}) or text(MANIFEST, b'{"format": 1, "files": []}')(run),
    "link: the weights": link("weights.safetensors", "../canary.txt"),
    "link: the config": link("config.yaml", "/etc/passwd"),
    "link: the manifest": link(MANIFEST, "../canary.txt"),
    "link: the pictures": linked_plots,
    "link: a device": link("history.csv", "/dev/zero"),
    "a pipe that never ends": pipe,
    "a terabyte of forecasts": sparse("forecasts.csv", 1 << 40),
}
KEEPS_MANIFEST = {name for name in HOSTILE if name.startswith(("manifest", "link: the manifest"))}


@contextlib.contextmanager
def seconds(most):
    """Fail whatever waits longer."""

    def late(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(most)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def hostile(case, folder):
    (folder / "canary.txt").write_text(CANARY)
    run = shutil.copytree(GOLDEN, folder / "run")
    HOSTILE[case](run)
    if case not in KEEPS_MANIFEST:
        with contextlib.suppress(OSError, ValueError):
            rehash(run)
    return run


WATCHED = """
import json, os, resource, sys, time
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from pathlib import Path
from stockrnn import recipes
from stockrnn.errors import RunDamagedError, ConfigError
from stockrnn.runs.directory import open_run
recipes.predict(open_run(Path(sys.argv[1])), sys.argv[2])
before, most = len(opened), 0
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
base = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
for folder in sys.argv[3:]:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    start, cpu, said, code = time.monotonic(), time.process_time(), "loaded", 0
    try:
        recipes.predict(open_run(Path(folder) / "run"), sys.argv[2])
    except RunDamagedError as error:
        said, code = str(error), error.exit_code
    except Exception as error:
        said, code = repr(error), 1
    seen = [name for name in opened[before:] if "canary" in name or "passwd" in name]
    print(json.dumps([folder, code, said, round(time.process_time() - cpu, 3), round(peak() - base, 1), seen]), flush=True)
    del opened[before:]
"""


def test_hostile_runs_are_refused_quickly_in_little_memory(tmp_path):
    assert len(HOSTILE) >= 40
    folders = {}
    for number, case in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        hostile(case, folder)
        folders[str(folder)] = case
    command = [sys.executable, "-c", WATCHED, GOLDEN, PRICES, *folders]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    found = {folders[folder]: rest for folder, *rest in map(json.loads, done.stdout.splitlines())}
    assert set(found) == set(HOSTILE), done.stderr
    print(f"cpu_s {max(each[2] for each in found.values())} mib {max(each[3] for each in found.values())}")
    assert {case: each for case, each in found.items() if each[0] != 7 or "\n" in each[1] or CANARY in each[1]} == {}
    assert {case: each for case, each in found.items() if each[2] > 1.0 or each[3] > 64 or each[4]} == {}
    assert not Path("/tmp/canary-pickled").exists()


REFUSED_FILE = {"weights": "weights.safetensors", "model": "model.onnx", "scaler": "scaler.json", "manifest": MANIFEST}
REFUSED_FILE |= {"config": "config.yaml", "metrics": "metrics.json", "link": "", "a pipe that never ends": "history.csv"}
REFUSED_FILE |= {"a terabyte of forecasts": "forecasts.csv"}
REFUSED_BY_OTHERS = {  # what is found first
    "weights: units that ask for a terabyte",
    "config: a horizon of a billion",
    "weights: other units than the config's",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_run_is_refused_by_the_name_of_its_file(case, tmp_path):
    with seconds(20), pytest.raises(RunDamagedError) as caught:
        recipes.predict(open_run(hostile(case, tmp_path)), str(PRICES))
    if case not in REFUSED_BY_OTHERS:
        assert re.search(rf"{re.escape(REFUSED_FILE[case.split(':')[0]])}\b", str(caught.value))


def times(count):
    return tensor(b"times", [], struct.pack("<q", count), kind=7)


def body(*nodes):
    return [field(1, b"body") + field(6, field(2, b"b") + b"".join(field(1, each) for each in nodes)) + field(20, 5)]


COPY = node(b"Identity", [b"c"], [b"d"])
ENDLESS = node(b"Loop", [], [b"out"], attributes=body(COPY))
IN_A_LOOP = node(b"Loop", [b"times", b""], [b"out"], attributes=body(node(b"Loop", [b"times"], [b"d"])))
IN_THREE = node(b"Loop", [b"times", b""], [b"out"], attributes=body(node(b"Scan", [b"c"], [b"d"], attributes=body(COPY))))


def holding(*tensors):
    return model([LAST, node(b"MatMul", [b"last", b"w"], [b"out"])], [ZEROS, AXIS, *tensors])


def listing(dims, bytes_of_numbers, number=4):
    """A tensor whose numbers are listed (4: floats, 5: ints, 7: longs), not raw."""
    return tensor(b"few", dims, None, kind={4: 1, 5: 6, 7: 7}[number], extra=field(number, bytes(bytes_of_numbers)))


def within(*parts):
    """A model with a graph in a node that is no loop."""
    return model([LAST, node(b"Identity", [b"last"], [b"out"], attributes=[field(1, b"body") + field(6, b"".join(parts))])], [AXIS])


def constant(of):
    return model([node(b"Constant", [], [b"out"], attributes=[field(1, b"value") + field(5, of)])])


LET_IN = {
    "sixty-four listed numbers": holding(listing([8, 8], 64 * 10)),
    "a longer number, listed by itself": holding(tensor(b"few", [1], None, kind=7, extra=field(7, 3))),
    "a fraction in four bytes": model(
        [node(b"Clip", [b"window"], [b"out"], attributes=[field(1, b"min") + bytes([2 << 3 | 5]) + struct.pack("<f", 0.5)])]
    ),
    "eighty of them": holding(tensor(b"few", [2], None, kind=7, extra=field(7, 3) * 80)),
    "a truth": holding(tensor(b"yes", [2], b"\0\1", kind=9)),
    "a double": holding(tensor(b"fine", [1], struct.pack("<d", 0.5), kind=11)),
    "one dimension after the other": holding(tensor(b"packed", [], bytes(24), extra=field(1, bytes([2, 3])))),
    "a graph in a graph": within(field(1, node(b"Identity", [b"c"], [b"d"])), field(2, b"g")),
    "a constant": constant(tensor(b"c", [2], bytes(8))),
    "two names of one number in graphs of their own": within(field(5, tensor(b"axis", [1], struct.pack("<q", 1), kind=7)), field(2, b"g")),
    "a loop of five, told in four bytes": model([LOOP], [tensor(b"times", [1], struct.pack("<i", 5), kind=6)]),
    "the standard operations by name": HONEST + field(8, field(1, b"ai.onnx") + field(2, 15)),
    "operations of learning declared": HONEST + field(8, field(1, b"ai.onnx.ml") + field(2, 3)),
    "no loop": HONEST,
    "a loop of five": model([LOOP], [times(5)]),
    "a loop of none": model([LOOP], [times(0)]),
}
KEPT_OUT = {
    "sixty-five listed numbers": (holding(listing([5, 13], 65 * 4)), "hold the numbers of each tensor"),
    "more floats than their shape": (holding(listing([2], 64 * 10 + 1)), "hold the numbers of each tensor"),
    "more ints than their shape": (holding(listing([2], 64 * 10 + 1, 5)), "hold the numbers of each tensor"),
    "more longs than their shape": (holding(listing([2], 64 * 10 + 1, 7)), "hold the numbers of each tensor"),
    "numbers listed one by one": (
        holding(tensor(b"few", [2], None, kind=7, extra=field(7, 3) * 81)),
        "hold the numbers of each tensor",
    ),
    "numbers listed and raw": (holding(tensor(b"few", [1], bytes(4), extra=field(7, 0))), "hold tensors that fill their shapes"),
    "too few numbers": (holding(tensor(b"few", [2, 2], bytes(12))), "hold tensors that fill their shapes"),
    "too many numbers": (holding(tensor(b"few", [2, 2], bytes(20))), "hold tensors that fill their shapes"),
    "longs as wide as ints": (holding(tensor(b"few", [2], bytes(8), kind=7)), "hold tensors that fill their shapes"),
    "no kind of number": (holding(tensor(b"few", [1], bytes(4), kind=0)), "hold tensors of numbers"),
    "a text for a kind": (holding(tensor(b"few", [1], bytes(4), extra=field(2, b"f"))), "hold tensors of numbers"),
    "infinity in a constant": (constant(tensor(b"c", [1], struct.pack("<f", float("inf")))), "hold finite numbers"),
    "infinity in a graph in a graph": (
        within(field(5, tensor(b"c", [1], struct.pack("<f", float("inf")))), field(2, b"g")),
        "hold finite numbers",
    ),
    "another operation in a graph in a graph": (within(field(1, node(b"If", [b"c"], [b"d"]))), "use the operations of our networks"),
    "a loop of a length that only another graph tells": (
        model(
            [LOOP, node(b"Identity", [b"window"], [b"o"], attributes=[field(1, b"b") + field(6, field(5, times(5)))])],
        ),
        "repeat a loop at most 5 times",
    ),
    "a loop of a length that only a constant tells": (
        model([node(b"Constant", [], [b"times"], attributes=[field(1, b"value") + field(5, times(5))]), LOOP]),
        "repeat a loop at most 5 times",
    ),
    "a loop of a fraction": (
        model([LOOP], [tensor(b"times", [1], struct.pack("<f", 5.0))]),
        "repeat a loop at most 5 times",
    ),
    "a loop of two lengths": (
        model([LOOP], [tensor(b"times", [2], struct.pack("<2q", 5, 5), kind=7)]),
        "repeat a loop at most 5 times",
    ),
    "a loop of six and another": (model([LOOP, LOOP], [times(6)]), "repeat a loop at most 5 times"),
    "a loop below a node": (within(field(1, node(b"Loop", [b"times", b""], [b"d"]))), "hold no loop in a loop"),
    "a loop of six": (model([LOOP], [times(6)]), "repeat a loop at most 5 times"),
    "a loop of less than none": (model([LOOP], [times(-1)]), "repeat a loop at most 5 times"),
    "a loop of a length told twice": (model([LOOP], [times(5), times(6)]), "name each tensor once"),
    "a loop without a length": (model([ENDLESS], [times(5)]), "tell the length of each loop"),
    "a loop that leaves its length out": (
        model([node(b"Loop", [b"", b""], [b"out"], attributes=body(COPY))], [tensor(b"", [], struct.pack("<q", 5), kind=7)]),
        "tell the length of each loop",
    ),
    "a loop of a length without a name": (
        model([node(b"Loop", [b"x"], [b"out"], attributes=body(COPY))], [field(2, 7) + field(9, struct.pack("<q", 5))]),
        "repeat a loop at most 5 times",
    ),
    "a loop in a loop": (model([IN_A_LOOP], [times(5)]), "hold no loop in a loop"),
    "a graph in a graph in a graph": (model([IN_THREE], [times(5)]), "hold no graph in a graph in a graph"),
    "two graphs": (HONEST + field(7, field(2, b"g")), "hold one graph"),
    "no graph": (field(1, 8), "hold one graph"),
    "our operation in another domain": (
        model([node(b"Add", [b"window"] * 2, [b"out"], b"evil")]),
        "use the operations of our networks",
    ),
    "an operation that is no text": (model([node(b"Add\xff", [b"window"] * 2, [b"out"])]), "use the operations of our networks"),
    "another domain": (model([LAST], [AXIS], outside=field(8, field(1, b"evil") + field(2, 1))), "use the standard operations"),
    "half a number": (HONEST + b"\x80", "be an ONNX file. Received: one cut short"),
    "a field cut short": (HONEST + b"\x0a\x05a", "be an ONNX file. Received: a field of 5 bytes"),
    "a fixed field cut short": (HONEST + b"\x09aaaaaaa", "be an ONNX file. Received: a field of 8 bytes"),
    "a field of no kind": (HONEST + b"\x0b", "be an ONNX file. Received: a field of -1 bytes"),
    "a number for a graph": (HONEST + field(7, 1), "be an ONNX file. Received: a number for a text"),
}


@pytest.mark.parametrize("case", LET_IN)
def test_a_model_with_a_loop_of_a_known_length_is_let_in(case):
    check_model(LET_IN[case], Path("m"), 5)


@pytest.mark.parametrize("case", KEPT_OUT)
def test_what_a_model_may_not_hold_is_named_before_it_is_opened(case):
    data, said = KEPT_OUT[case]
    with pytest.raises(RunDamagedError, match=rf"m must {re.escape(said)}"):
        check_model(data, Path("m"), 5)


NOT_OURS = {
    "ModelProto": {"training_info", "functions", "configuration"},
    "GraphProto": {"sparse_initializer", "quantization_annotation", "metadata_props"},
    "NodeProto": {"overload", "metadata_props", "device_configurations"},
    "AttributeProto": {"ref_attr_name", "tensors", "graphs", "sparse_tensor", "sparse_tensors", "tp", "type_protos"},
    "TensorProto": {"segment", "string_data", "external_data", "data_location", "double_data", "uint64_data", "metadata_props"},
}
"""What the format has and no export of ours, by the names of the onnx package."""


@pytest.mark.parametrize("message", NOT_OURS)
def test_of_an_exported_model_only_fields_that_ours_have_are_let_in(message):
    import onnx as library

    fields = getattr(library, message).DESCRIPTOR.fields
    assert NOT_OURS[message] <= {each.name for each in fields}
    ours = {"ModelProto": graphs._MODEL, "GraphProto": graphs._GRAPH, "NodeProto": graphs._NODE}
    ours |= {"AttributeProto": graphs._ATTRIBUTE, "TensorProto": graphs._TENSOR}
    assert ours[message] == {each.number: each.name for each in fields if each.name not in NOT_OURS[message]}
    for number in {each.number for each in fields} | {40, 1000}:
        name = next((each.name for each in fields if each.number == number), "unknown")
        for value in (0, b""):
            more = field(number, value)
            last = node(b"ReduceSum", [b"window", b"axis"], [b"last"], attributes=[more] if message == "AttributeProto" else [])
            last += more if message == "NodeProto" else b""
            axis = tensor(b"axis", [1], struct.pack("<q", 1), kind=7, extra=more if message == "TensorProto" else b"")
            inside, outside = (more if message == kind else b"" for kind in ("GraphProto", "ModelProto"))
            data = model([last, node(b"MatMul", [b"last", b"w"], [b"out"])], [ZEROS, axis], inside, outside)
            said = ""
            try:
                check_model(data, Path("model.onnx"), 10)
            except RunDamagedError as error:
                said = str(error)
            assert ("hold what our exports hold" in said) == (name in NOT_OURS[message] | {"unknown"}), (name, said)


def test_the_model_that_the_hostile_ones_are_made_from_is_accepted(run):
    onnx(HONEST)(run)
    rehash(run)
    check_model(HONEST, Path("m"), 5)
    load_forecaster(open_run(run))


def test_the_data_path_of_a_copied_run_is_not_followed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(GOLDEN.parents[2])
    for path in ("tests/golden/prices.csv", str(PRICES), "../x.csv", "/dev/zero", "**/*", "configs/../data/goog.csv"):
        text("config.yaml", (GOLDEN / "config.yaml").read_bytes().replace(b"tests/golden/prices.csv", json.dumps(path).encode()))(run)
        for made_in in ({}, {MADE_IN: run.stat().st_ino + 1}, {MADE_IN: True}, {MADE_IN: None}, {MADE_IN: [run.stat().st_ino]}):
            change(run, {MANIFEST: lambda manifest: manifest.update(made_in)})  # noqa: B023  it is called at once
            with pytest.raises(ConfigError, match="--data is needed with a run that was copied or made elsewhere"):
                recipes.predict(open_run(run))


def test_the_data_path_of_a_run_made_here_is_followed_wherever_its_folder_is_moved(run, tmp_path, monkeypatch):
    monkeypatch.chdir(GOLDEN.parents[2])
    change(run, {MANIFEST: lambda manifest: manifest.update({MADE_IN: mark_of(run)})})
    assert_same_forecast(recipes.predict(open_run(run)).rows)
    moved = run.rename(tmp_path / "moved")
    assert_same_forecast(recipes.predict(open_run(moved)).rows)
    copy = shutil.copytree(moved, tmp_path / "copy")
    with pytest.raises(ConfigError, match="--data"):
        recipes.predict(open_run(copy))


@pytest.mark.parametrize(
    "sessions",
    [[], 3, {}, {"version": "1"}, {"version": "1", "calendars": []}, {"version": "1", "calendars": {"XNYS": {}}}]
    + [
        {"version": "1", "calendars": {"XNYS": {"start": day, "end": day, "closed": [], "special": []}}}
        for day in ("x", None, "2024-02-30")
    ],
)
def test_what_a_run_keeps_of_calendars_is_days_or_the_run_is_damaged(run, monkeypatch, sessions):
    monkeypatch.chdir(GOLDEN.parents[2])
    change(run, {MANIFEST: lambda manifest: manifest.update({MADE_IN: mark_of(run), "sessions": sessions})})
    with pytest.raises(RunDamagedError, match="must keep the sessions of calendars by their days"):
        recipes.predict(open_run(run))


def test_the_calendars_of_a_copied_run_are_not_taken(run, monkeypatch):
    monkeypatch.setattr(planned, "_kept", {})
    closed = {
        "start": "2000-01-01",
        "end": "2009-12-31",
        "closed": [f"{day:%Y-%m-%d}" for day in pd.bdate_range("2000", "2009")],
        "special": [],
    }
    lie = {"version": planned.version(), "calendars": dict.fromkeys(("XNYS", "XKRX"), closed)}
    change(run, {MANIFEST: lambda manifest: manifest.update({"sessions": lie})})
    assert_same_forecast(recipes.predict(open_run(run), str(PRICES)).rows)
    assert planned._kept == {}


def test_a_run_made_elsewhere_of_shipped_data_needs_no_path(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text("config.yaml", (GOLDEN / "config.yaml").read_bytes().replace(b"tests/golden/prices.csv", b"goog.csv"))(run)
    rehash(run)
    assert len(recipes.predict(open_run(run)).rows) == 1


# --- honest models ----------------------------------------------------------------------------------------------------------

KINDS = {
    "model.cell": ["simple_rnn", "lstm", "gru"],
    "model.architecture": ["many_to_one", "many_to_many", "encoder_decoder", "one_to_many"],
    "model.units": ["[3]", "[2,2]", "[3,2,4]"],
    "model.bidirectional": ["false", "true"],
    "model.attention": ["none", "additive", "dot"],
    "model.layer_norm": ["false", "true"],
    "model.residual": ["false", "true"],
    "model.head": ["quantile", "point", "student_t", "direction"],
    "model.dropout": ["0.0", "0.3"],
    "window.horizon": ["1", "2", "7"],
    "window.lookback": ["1", "2", "5", "40"],
    "train.ensemble": ["1", "2"],
}
PRODUCT = ["model.bidirectional=true", "model.attention=additive", "window.lookback=5"]
"""Exported with an operation that few networks need."""


def exported(config):
    import keras

    from stockrnn.models.exporting import export_onnx
    from stockrnn.models.networks import build_network, network_weights

    sizes = {"features": 3, "horizon": config.window.horizon}
    networks = [build_network(**sizes, lookback=lookback, model=model, seed=k) for k, (model, lookback) in enumerate(config.networks())]
    data = export_onnx([network.spec for network in networks], [network_weights(network) for network in networks])
    keras.backend.clear_session()
    return data


def assert_vetted(words):
    settings = load_config("lstm", words)
    data = exported(settings)
    check_model(data, Path("m"), max(settings.window.lookback, settings.window.horizon))
    assert 2 * len(data) < largest_files(settings, 1)[".onnx"], words


@pytest.mark.network
@pytest.mark.parametrize("words", [["model.units=[3]", *PRODUCT], ["model.units=[2,2]", "model.cell=gru", *PRODUCT]])
def test_what_our_networks_are_exported_to_is_let_in(words):
    assert_vetted(words)


@pytest.mark.slow
@pytest.mark.network
def test_what_sixty_random_networks_are_exported_to_is_let_in():
    dice, left = random.Random(0), 60
    while left:
        words = [f"{name}={dice.choice(choices)}" for name, choices in KINDS.items()]
        with contextlib.suppress(ConfigError):
            load_config("lstm", words)
            assert_vetted(words)
            left -= 1


# --- names and texts ----------------------------------------------------------------------------------------------------------

PARTS = [
    "..",
    ".",
    "/",
    "\\",
    "\0",
    "\n",
    "~",
    "$HOME",
    "%00",
    "..%2f",
    "C:",
    "con",
    "nul",
    "a",
    "plots",
    "\u202e",
    "\uff0e\uff0e",
    "\u2044",
    "é",
    " ",
]


def hostile_names(count=200, seed=0):
    dice = random.Random(seed)
    known = [
        "../x",
        "/tmp/canary-name",
        "..\\x",
        "plots/../../x",
        "plots/..",
        "a/b/c.png",
        "plots//x.png",
        "x" * 300,
        "",
        ".hidden.csv",
        "plots/.x.png",
    ]
    return known + [
        "".join(dice.choice(PARTS) for _ in range(dice.randint(1, 6))) + dice.choice(["", ".png", ".json"])
        for _ in range(count - len(known))
    ]


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_no_name_in_a_run_leads_out_of_it(run, tmp_path):
    (tmp_path / "x").write_text(CANARY)
    before = everything(tmp_path)
    opened = open_run(run)
    allowed = set(opened.manifest["files"])
    for name in hostile_names():
        if name in allowed:
            continue
        with pytest.raises(RunDamagedError):
            opened.read(name)
        manifest = {**opened.manifest, "files": {**opened.manifest["files"], name: hashlib.sha256(CANARY.encode()).hexdigest()}}
        (run / MANIFEST).write_bytes(_sealed(manifest))
        with contextlib.suppress(RunDamagedError):  # a picture that is not there may be named
            assert not set(open_run(run).manifest["files"]) - allowed - {"plots/a.png"} or name.startswith("plots/")
        (run / MANIFEST).write_bytes(before[f"run/{MANIFEST}"])
    assert everything(tmp_path) == before


ACTIVE = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1", "\0=1", '=HYPERLINK("http://x")']
TAGS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=x>',
    "-->",
    "]]>",
    "&lt;b&gt;",
    "</title><script>x</script>",
]
ESCAPES = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x1b]8;;http://x\x1b\\link",
    "a\rb",
    "\x08\x08",
    "\u202eevil",
    "[red]x[/red]",
    ":smile:",
]
MATH = ["$x$", "$\\frac{1}{0}$", "$", "\\input{x}", "%s", "{0}", "{x.__class__}"]


def payloads(count=100, seed=0):
    dice = random.Random(seed)
    known = ACTIVE + TAGS + ESCAPES + MATH
    return known + ["".join(dice.sample(known, 2)) for _ in range(count - len(known))]


def forecasts_of(tickers):
    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes())
    table = table[table["model"].isin(["lstm", "naive"])]
    return pd.concat([table.groupby("model").head(30).assign(ticker=ticker) for ticker in tickers], ignore_index=True)


def test_texts_in_csv_are_inert_and_come_back_as_they_were():
    tickers = payloads()
    table = forecasts_of(tickers).assign(forecast=-1.5)
    data = to_csv(table)
    cells = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    assert [cell for cell in cells["ticker"] if cell[:1] in "=+-@\t\r\n\0＝" and cell] == []
    assert set(cells["forecast"]) == {"-1.5"}
    assert read_forecasts(data)["ticker"].tolist() == [inert(ticker, keep="") for ticker in table["ticker"]]


def test_texts_are_inert_on_the_terminal(capsys):
    from stockrnn import cli, commands
    from stockrnn.reports import tables

    for payload in payloads():
        rows = pd.DataFrame([{"ticker": payload, "step": 1, "date": pd.Timestamp("2026-01-02"), "forecast": 1.0, "p_up": 0.5}])
        rows = rows.assign(**{f"{end}_{level}": 1.0 for end in ("lower", "upper") for level in (80, 90)})
        commands._show(tables.forecast_rows(rows))
        commands._tell([payload])
        commands._print_json({"ticker": payload})
        with pytest.raises(SystemExit):
            cli._leave(f"Received: {payload}.", 3)
    said = capsys.readouterr()
    assert {sign for sign in said.out + said.err if not sign.isprintable()} <= {"\n", "\t"}
    assert inert("a\x1b[1mb\n") == "a\N{REPLACEMENT CHARACTER}[1mb\n"


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.found |= {name for name, value in attrs if name.startswith("on") or ("http" in str(value) and not name.startswith("xmlns"))}


@pytest.mark.parametrize("batch", range(3))
def test_texts_are_inert_in_pictures(batch, tmp_path):
    from stockrnn.reports.plots import render_figures, run_figures

    history = pd.read_csv(GOLDEN / "history.csv")
    for payload in payloads()[batch * 4 : 36 : 12]:
        table = forecasts_of([payload])
        pictures = render_figures({"forecast": run_figures(table, history, "lstm", payload, names=["forecast"])["forecast"]}, "svg")
        assert set(pictures) == {"forecast.svg"}
        tags = Tags()
        tags.feed(pictures["forecast.svg"].decode())
        assert not tags.found & {"script", "img", "a", "foreignobject", "iframe", "title2"}, payload
        assert not {name for name in tags.found if name.startswith("on")}, payload


def test_a_forecast_opens_no_socket(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    recipes.predict(open_run(GOLDEN), str(PRICES))
    with pytest.raises(StockRNNError):
        recipes.predict(open_run(GOLDEN), "http://127.0.0.1:9/prices.csv")


def test_a_run_argument_is_a_folder_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in hostile_names(60):
        with contextlib.suppress(StockRNNError):
            assert find_run(name).is_dir()


@pytest.mark.parametrize("name", ["history.csv", "forecasts.csv"])
@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\xff\xfe", b'"', b"member,epoch,loss,validation_loss\nx,y,z,=1\n", b"\0" * 99])
def test_pictures_are_drawn_from_whole_tables_alone(run, name, data):
    (run / name).write_bytes(data)
    rehash(run)
    with pytest.raises(RunDamagedError, match=name):
        recipes.plot(open_run(run), None, "png")


def test_json_of_a_stranger_is_bounded():
    assert parse_json(b'{"a": [1, 2.5, null, "x"]}', Path("p")) == {"a": [1, 2.5, None, "x"]}
    for data in (b"", b"NaN", b"[Infinity]", b"[-Infinity]", b"[1e999]", b"\xff", b'"\\ud800', b"1" * 5000, b"[" * 9999):
        with pytest.raises(RunDamagedError):
            parse_json(data, Path("p"))


# --- paths --------------------------------------------------------------------------------------------------------------------


def fifo(folder):
    os.mkfifo(folder / "p.csv")
    return "p.csv"


def listening(folder):
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.closing(listener), contextlib.chdir(folder):
        listener.bind("p.csv")
    return "p.csv"


def linked(target):
    def make(folder):
        (folder / "p.csv").symlink_to(target)
        return "p.csv"

    return make


def huge(folder):
    with (folder / "p.csv").open("wb") as file:
        file.truncate(1 << 40)
    return "p.csv"


def a_folder(folder):
    (folder / "p.csv").mkdir()
    return "p.csv"


def a_folder_of(make):
    def inside(folder):
        make(folder)
        return "."

    return inside


def globbed(make):
    def inside(folder):
        make(folder)
        return "*.csv"

    return inside


WAITING = {
    "a pipe": fifo,
    "a socket": listening,
    "an endless device": lambda _: "/dev/zero",
    "an empty device": lambda _: "/dev/null",
    "a device of random numbers": lambda _: "/dev/urandom",
    "a terminal": lambda _: "/dev/tty",
    "a glob of devices": lambda _: "/dev/[zrn]*",
    "a link to a device": linked("/dev/zero"),
    "a link to itself": linked("p.csv"),
    "a link to nothing": linked("nothing"),
    "a file that never ends": lambda _: "/proc/self/pagemap",
    "a file that waits": lambda _: "/proc/kmsg",
    "the memory": lambda _: "/proc/kcore",
    "a terabyte of nothing": huge,
    "a folder named as a file": a_folder,
    "a loop of folders": linked("."),
    **{f"a folder of {name}": a_folder_of(make) for name, make in {"pipes": fifo, "sockets": listening, "terabytes": huge}.items()},
    **{f"a glob of {name}": globbed(make) for name, make in {"pipes": fifo, "links": linked("/dev/zero"), "folders": a_folder}.items()},
}


@pytest.mark.parametrize("case", WAITING)
def test_a_price_path_that_waits_or_never_ends_is_refused_in_one_line(case, tmp_path, monkeypatch):
    from stockrnn.prices import loading

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage.read_bytes, "__defaults__", (64 << 20,))  # what never ends is read this far
    path = WAITING[case](tmp_path)
    with seconds(20), pytest.raises((DataError, StorageError)) as caught:
        loading.load_prices(load_config(None, [f"data.path={path}"]).data)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_as_far_as_it_may_be(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    assert storage.read_bytes(tmp_path / "f", 5) == b"12345"
    with pytest.raises(StorageError, match=r"at most 4 bytes\. Received: more: 5, or"):
        storage.read_bytes(tmp_path / "f", 4)
    (tmp_path / "link").symlink_to("f")
    assert storage.read_bytes(tmp_path / "link", 5) == b"12345"
    with pytest.raises(StorageError, match="a pipe or a device"):
        storage.read_bytes(Path("/dev/null"))
    with pytest.raises(StorageError, match="Received: more"):  # its size says 0
        storage.read_bytes(Path("/proc/self/maps"), 10)
