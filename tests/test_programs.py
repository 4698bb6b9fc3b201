"""Kept programs: the same bytes with and without them, whatever lies in their folder, and nobody else's code."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockrnn.models.marks import code_mark, machine_mark
from stockrnn.models.programs import MOST_BYTES, OFF, VARIABLE, Entry, cache_folder

NETWORKS = """
import json, sys
import numpy as np
from stockrnn.models.backend import tf
from stockrnn.training.compiling import Program

def made(k):
    def double(x):
        return tf.while_loop(lambda i, _: i < 5, lambda i, y: (i + 1, tf.tanh(y @ y) + k), (0, x))[1]
    return Program(double, k)

x = tf.constant(np.random.default_rng(0).standard_normal((8, 8)), tf.float32)
order = json.loads(sys.argv[1])
for _ in range(order[0] * 7):
    x + 1  # TensorFlow numbers every tensor
print(json.dumps({k: made(k)(x).numpy().tobytes().hex() for k in order}, sort_keys=True))
"""
EIGHT = list(range(8))
ALONE = "from stockrnn.models.programs import open_programs\nimport os\nkept = open_programs(os.environ)\n"


def run(code, folder, *arguments, wrap=(), **changes):
    variables = {**os.environ, VARIABLE: str(folder), **changes}
    return subprocess.run([*wrap, sys.executable, "-c", code, *arguments], env=variables, capture_output=True, text=True, check=False)


def networks(folder, order=EIGHT, **options):
    done = run(NETWORKS, folder, json.dumps(list(order)), **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def kept_files(folder, kind="program"):
    return {path: path.stat().st_ino for path in Path(folder).glob(f"programs/*/*.{kind}")}


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A folder in which two processes that began together have kept eight programs, and what each said."""
    folder = tmp_path_factory.mktemp("cache")
    with ThreadPoolExecutor(2) as pool:
        said = [*pool.map(networks, [folder, folder], [EIGHT, EIGHT[::-1]])]
    return folder, said


@pytest.mark.network
def test_what_is_kept_is_loaded_to_the_same_bytes_in_any_order(cold):
    folder, said = cold
    before = kept_files(folder)
    assert len(before) == len(EIGHT)
    assert {*said, networks(folder, EIGHT[::-1]), networks(OFF)} == {said[0]}
    assert kept_files(folder) == before  # nothing was compiled again
    assert [*folder.glob("programs/at-hand/*")] == []


@pytest.mark.network
def test_what_was_damaged_is_compiled_again_and_never_read(cold):
    folder, said = cold
    paths = sorted(kept_files(folder))
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][: len(whole[0]) // 2])
    paths[1].write_bytes(b"")
    paths[2].write_bytes(whole[2][:-9] + bytes([whole[2][-9] ^ 1]) + whole[2][-8:])
    paths[3].write_bytes(whole[4])  # a good one under another's name
    paths[5].unlink()
    paths[5].symlink_to(paths[6])
    paths[7].unlink()
    os.mkfifo(paths[7])
    untouched = {path: number for path, number in kept_files(folder).items() if path in {paths[4], paths[6]}}
    assert networks(folder) == said[0]
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in paths[:5])
    for path, good in zip(paths[:5], whole[:5], strict=True):
        place = f"{path.parent.name}/{path.name}"
        assert Entry.unpack(path.read_bytes(), place).name == Entry.unpack(good, place).name
    assert untouched.items() <= kept_files(folder).items()


@pytest.mark.network
def test_an_entry_that_xla_refuses_is_compiled_again(cold):
    """Its hash is right: what it holds is not, as after an error of TensorFlow's own."""
    folder, said = cold
    path = min(kept_files(folder))
    place = f"{path.parent.name}/{path.name}"
    entry = Entry.unpack(path.read_bytes(), place)
    path.write_bytes(Entry(entry.name, entry.data[:500]).pack(place))
    assert networks(folder) == said[0]
    assert networks(folder, EIGHT[::-1]) == said[0]  # traced again, by other numbers of tensors: another name
    assert len(Entry.unpack(path.read_bytes(), place).data) > 500
    after = kept_files(folder)
    assert networks(folder) == said[0]
    assert kept_files(folder) == after  # and not compiled any more


TRACED = """
import json, sys
from stockrnn.models.backend import keras, tf
from stockrnn.training.compiling import Program

if sys.argv[3:]:  # the code is replaced while this process runs
    from pathlib import Path
    Path.read_bytes = lambda path: b"other code"
traces = []
a, b, c = variables = [keras.Variable(float(value)) for value in sys.argv[1].split()]

def summed(given, step):
    traces.append(step)
    c.assign(c.value * 2.0)
    values = tf.while_loop(lambda i, _: i < step, lambda i, x: (i + 1, x + a.value), (0, given["x"]))[1]
    return {"last": values[-1], "both": [values, (b.value, c.value)]}

program = Program(summed, sys.argv[2], lambda: variables)
for _ in range(2):
    said = program({"x": tf.constant([1.0, 2.0])}, tf.constant(3))
print(json.dumps(tf.nest.map_structure(lambda each: each.numpy().tolist(), said)), float(c), len(traces))
"""


@pytest.mark.network
def test_what_one_process_traced_others_call_with_their_own_variables(tmp_path):
    def said(values, key="k", *replaced, folder=tmp_path):
        done = run(TRACED, folder, values, key, *replaced)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.rpartition(" ")

    cold, warm = said("10 5 1"), said("20 6 2")
    assert cold[0] == '{"last": 32.0, "both": [[31.0, 32.0], [5.0, 4.0]]} 4.0'
    assert warm[0] == '{"last": 62.0, "both": [[61.0, 62.0], [6.0, 8.0]]} 8.0'
    assert (cold[2], warm[2]) == ("1\n", "0\n")
    assert said("20 6 2", "k", "replaced") == warm
    assert said("10 5 1", "another")[::2] == (cold[0], "1\n")
    assert said("10 5 1", folder=OFF)[0] == cold[0]


@pytest.mark.network
def test_a_trace_that_cannot_be_called_is_made_again(tmp_path):
    """Its hash is right: what it holds is not, as after an error of ours."""
    first, wrong = run(TRACED, tmp_path, "10 5 1", "k").stdout, b'{"captured": [2, 1, 9], "outputs": 0}'
    (path,) = kept_files(tmp_path, "graph")
    place = f"{path.parent.name}/{path.name}"
    entry = Entry.unpack(path.read_bytes(), place)
    path.write_bytes(Entry(entry.name, wrong + b"\n" + entry.data.partition(b"\n")[2]).pack(place))
    assert [run(TRACED, tmp_path, "10 5 1", "k").stdout for _ in range(3)] == [first, first, first.replace(" 1\n", " 0\n")]


def test_what_was_traced_by_other_code_or_libraries_is_not_used(monkeypatch):
    own, read = code_mark(), Path.read_bytes
    assert (len(own), code_mark()) == (32, own)
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "heads.py"))
    assert code_mark() != own
    monkeypatch.undo()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.15.2" if name == "keras" else "1")
    assert code_mark() != own


@pytest.mark.network
def test_a_full_disk_and_one_that_cannot_be_written_end_nothing(cold, tmp_path):
    _, said = cold
    assert networks("/proc") == said[0]
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert networks(small) == said[0]  # two fit in, and XLA writes elsewhere
        assert 0 < len(kept_files(small)) < len(EIGHT)
        assert networks(small) == said[0]
    finally:
        subprocess.run(["umount", small], check=True)
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "-"]
    assert networks(tmp_path / "limited", wrap=limited) == said[0]  # no disk takes a program


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755])
def test_a_folder_that_is_not_the_users_alone_is_refused(tmp_path, mode):
    own = tmp_path / "programs"
    own.mkdir()
    own.chmod(mode)
    refused = run(ALONE, tmp_path)
    assert "must be a folder that nobody else can write or replace" in refused.stderr.splitlines()[-1]
    assert "Received: one where others may write" in refused.stderr
    assert [*own.iterdir()] == []


def test_a_folder_that_others_can_replace_is_refused(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    assert "must be a folder that nobody else" in run(ALONE, open_to_all / "cache").stderr
    open_to_all.chmod(0o1777)  # as /tmp: nobody may rename what is another's
    assert run(ALONE, open_to_all / "cache").stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "programs").mkdir(0o700)
    os.chown(tmp_path / "programs", 1234, 1234)
    assert "must be a folder that nobody else" in run(ALONE, tmp_path).stderr


def test_the_user_is_told_of_the_folder_that_he_named(tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs").chmod(0o777)
    code = "from stockrnn.recipes.assembly import Stopwatch, load_training\nfrom stockrnn.engines import Alone\n"
    done = run(f"{code}engine = Alone()\nload_training(Stopwatch(), engine, 1)\nprint(engine.notes)", tmp_path)
    assert "Compiled programs are not kept." in done.stdout
    assert str(tmp_path) in done.stdout


def test_a_process_that_dies_with_a_program_at_hand_takes_it_with_it(tmp_path):
    """It may have died of it: of an instruction that the processor does not have."""
    entry = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"
    writes = f"from pathlib import Path\nfirst = lambda: Path(kept._shown, '{entry}').write_bytes(b'code')\n"
    dies = "import os, signal\ndie = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
    assert run(f"{ALONE}{writes}kept.first_call('a', first, first)\nkept.first_call('b', first, first)", tmp_path).returncode == 0
    assert len(kept_files(tmp_path)) == 2
    assert run(f"{ALONE}{dies}kept.first_call('a', die, die)", tmp_path).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "programs" / "at-hand").iterdir()
    os.utime(left, (0, 0))
    handle = os.open(left, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert run(ALONE, tmp_path).returncode == 0
    assert left.is_dir()  # a living process has it
    os.close(handle)
    assert run(ALONE, tmp_path).returncode == 0
    assert not left.exists()
    assert len(kept_files(tmp_path)) == 1


def test_those_used_longest_ago_make_room(tmp_path):
    writes = "from pathlib import Path\nimport stockrnn.models.programs as module, sys\nmodule.MOST_BYTES = 2600\n"
    writes += "entry = 'xla_compile_cache__1__2__XLA_CPU_JIT.pb'\n"
    writes += "for name in sys.argv[1:]:\n    shown = kept._shown / entry\n"
    writes += "    write = lambda: shown.exists() or shown.write_bytes(bytes(1000))\n    kept.first_call(name, write, write)\n"
    run(f"{ALONE}{writes}", tmp_path, "a")
    (older,) = kept_files(tmp_path)
    run(f"{ALONE}{writes}", tmp_path, "b")
    (newer,) = kept_files(tmp_path).keys() - {older}
    run(f"{ALONE}{writes}", tmp_path, "a", "c")  # a is used once more
    assert older.exists()
    assert not newer.exists()
    assert len(kept_files(tmp_path)) == 2
    assert MOST_BYTES == 256 * 2**20


COMPILE = """
import sys, time
from pathlib import Path
entry = Path(kept._shown, "xla_compile_cache__1__2__XLA_CPU_JIT.pb")
def first():
    if not entry.exists():
        print("compiles", flush=True)
        time.sleep(float(sys.argv[1]))
        entry.write_bytes(b"code")
kept.first_call("a", first, first)
"""


def test_a_program_is_compiled_by_one_of_two_processes_and_waited_for_by_the_other(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        said = [done.stdout for done in pool.map(lambda _: run(f"{ALONE}{COMPILE}", tmp_path, "2"), range(2))]
    assert sorted(said) == ["", "compiles\n"]
    assert len(kept_files(tmp_path)) == 1


LATE = """
find, looks = kept._find, []
kept._find = lambda place: find(place) if looks else looks.append(place)
first = lambda: print([path.name for path in kept._shown.glob("*.pb")])
kept.first_call("a", first, first)
"""


def test_a_program_that_another_process_kept_just_after_a_look_is_loaded(tmp_path):
    assert run(f"{ALONE}{COMPILE}", tmp_path, "0").stdout == "compiles\n"
    assert run(f"{ALONE}{LATE}", tmp_path).stdout == "['xla_compile_cache__1__2__XLA_CPU_JIT.pb']\n"


def test_a_process_that_dies_while_it_compiles_is_not_waited_for(tmp_path):
    command = [sys.executable, "-c", f"{ALONE}{COMPILE}", "600"]
    with subprocess.Popen(command, env={**os.environ, VARIABLE: str(tmp_path)}, stdout=subprocess.PIPE) as dies:
        assert dies.stdout.readline() == b"compiles\n"
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(run, f"{ALONE}{COMPILE}", tmp_path, "0")
            dies.kill()
            assert waits.result().stdout == "compiles\n"
    assert len(kept_files(tmp_path)) == 1


GRAPH = """
import sys
def export():
    print("exported")
    return b"graph of " + sys.argv[1].encode()
print(kept.graph(sys.argv[1], export))
"""


def test_an_exported_graph_is_kept_and_one_that_was_damaged_made_again(tmp_path):
    def said(name):
        return run(f"{ALONE}{GRAPH}", tmp_path, name).stdout.split("\n")[:-1]

    assert said("a") == ["exported", "b'graph of a'"]
    assert said("a") == ["b'graph of a'"]
    (path,) = kept_files(tmp_path, "graph")
    assert said("b") == ["exported", "b'graph of b'"]
    (other,) = kept_files(tmp_path, "graph").keys() - {path}
    other.write_bytes(path.read_bytes())  # a good one under another's name
    assert said("b") == ["exported", "b'graph of b'"]
    path.write_bytes(path.read_bytes()[:-1] + b"b")
    assert said("a") == ["exported", "b'graph of a'"]
    assert said("a") == ["b'graph of a'"]


def test_where_programs_are_kept():
    assert cache_folder({VARIABLE: OFF, "XDG_CACHE_HOME": "/a"}) is None
    assert cache_folder({VARIABLE: "/b", "XDG_CACHE_HOME": "/a"}) == Path("/b/programs")
    assert cache_folder({"XDG_CACHE_HOME": "/a"}) == Path("/a/stockrnn/programs")
    assert cache_folder({"XDG_CACHE_HOME": "not/absolute"}) == Path.home() / ".cache/stockrnn/programs"
    flags = {"TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory=/own"}
    assert "None" in run(f"{ALONE}print(kept)", "/nowhere", **flags).stdout  # the user's own is left to him


def test_programs_of_other_machines_settings_and_versions_lie_apart(monkeypatch, tmp_path):
    mark = machine_mark()
    assert mark == machine_mark()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
    assert machine_mark() != mark
    monkeypatch.undo()
    assert machine_mark() == mark
    library = tmp_path / "tensorflow"
    library.mkdir()
    (library / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert machine_mark() != mark
    monkeypatch.undo()
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: read(path, *a, **k).replace("avx2", ""))
    assert machine_mark() != mark
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: f"{read(path, *a, **k)}\nprocessor : 9\ncpu MHz : 12.5\n")
    assert machine_mark() == mark


TRAIN = """
import hashlib, sys
import numpy as np
from stockrnn.configfile import load_config
from stockrnn.places import open_engine
from stockrnn.features.splits import split_time
from stockrnn.prices.loading import load_prices
from stockrnn.training.compiling import Program
from stockrnn.training.context import TrainingContext
from stockrnn.training.recurrent import network_forecaster, parts_of, save_weights

if sys.argv[2:]:
    Program._trace = None
config = load_config(sys.argv[1], ["train.epochs=2", "train.ensemble=1"])
prices = load_prices(config.data, config.asked)
spans = split_time(prices.table["date"], config.split.validation, config.split.calibration, config.split.test)
with open_engine(1) as engine:
    network = network_forecaster(config, TrainingContext(engine=engine)).fit(prices.table, spans)
    made = network.forecast(prices.table, np.arange(900, 1000))
for said in (save_weights(parts_of(network).values()), made.quantiles.tobytes(), repr(network.history_table().iloc[:, :4]).encode()):
    print(hashlib.sha256(said).hexdigest())
"""


@pytest.mark.network
@pytest.mark.parametrize(
    "config", ["lstm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gru", "simple_rnn", "encoder_decoder", "many_to_many"))]
)
def test_a_training_is_the_same_cold_warm_and_off(tmp_path, config):
    said = [run(TRAIN, tmp_path, config), run(TRAIN, tmp_path, config, "and trace nothing"), run(TRAIN, OFF, config)]
    assert [(done.returncode, done.stderr) for done in said] == [(0, "")] * 3
    assert len(kept_files(tmp_path)) == 2
    assert {done.stdout for done in said} == {said[0].stdout}
