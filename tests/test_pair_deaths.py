"""Two processes that train one network: whichever is killed or stopped, at whatever moment, changes no byte and leaves nothing behind."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stockrnn import recipes
from stockrnn.configfile import load_config
from stockrnn.errors import InterruptedRunError
from stockrnn.evaluation.learning import learn
from stockrnn.evaluation.scoring import score_document, scored_rows
from stockrnn.interrupts import interruptible
from stockrnn.places import open_engine
from stockrnn.runs.files import to_csv, to_json
from stockrnn.training import pairing
from stockrnn.training.context import TrainingContext
from stockrnn.training.sizes import trainers
from tests.factories import garch_path, spans_of
from tests.test_halves import pairs_of
from tests.units import workers_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.skipif(not pairing.can_pair(), reason="this system has no pairs"),
]
EPOCHS = 40
HALVED = [
    "model.cell=simple_rnn",
    "model.units=[40]",
    "model.dropout=0.2",
    "window.lookback=60",
    "train.batch_size=128",
    "train.ensemble=1",
    f"train.epochs={EPOCHS}",
    f"train.early_stopping.patience={EPOCHS}",
]
"""One network just large enough for two processes."""
SAME = ("weights.safetensors", "model.onnx", "metrics.json", "forecasts.csv", "scaler.json", "scores.csv", "history.csv")
PAIRS = []


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr(pairing.Pair, "first", noting_pairs(pairing.Pair.first))
    yield PAIRS
    PAIRS.clear()


def noting_pairs(first):
    def noted():
        PAIRS[:] = [first()]
        return PAIRS[0]

    return noted


def wait(done, what):
    until = time.monotonic() + 120
    while not done():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def striking(epoch, delay, strike):
    """What waits at the end of the first epoch until both processes train, and strikes so many seconds after another."""

    def on_epoch(report):
        if report.epoch == 1:
            wait(PAIRS[-1].is_ready, "the second process is never ready")
        if report.epoch == epoch:
            threading.Timer(delay, strike).start()

    return on_epoch


def work(engine, on_epoch=None):
    """What a training leaves on disk, in a digest each."""
    from stockrnn.training.recurrent import save_weights

    config, table = load_config("lstm", HALVED), garch_path(900, 1)
    spans = spans_of(table)
    learned = learn(config, table, spans, TrainingContext(on_epoch, engine=engine))
    forecasts, failed = learned.forecast(table, scored_rows(table, spans, "test", 1, learned.possible_rows(table)))
    metrics = score_document(learned.network.name, table, config.target, spans, forecasts)
    files = save_weights(learned.parts.values()), to_csv(forecasts), to_json(metrics), repr(failed).encode()
    return [hashlib.sha256(data).hexdigest() for data in files]


def test_a_second_process_killed_stopped_or_held_up_at_ten_moments_changes_no_byte(pairs, monkeypatch):
    monkeypatch.setattr(pairing, "PATIENCE_S", 0.5)
    assert trainers(load_config("lstm", HALVED)) == 2
    with open_engine(1) as engine:
        whole = work(engine)
    dice, deaths = random.Random(11), 0
    with open_engine(2) as engine:

        def strike(harm, held_s):
            pid = workers_of(os.getpid())[0]
            os.kill(pid, harm)
            if harm == signal.SIGSTOP:
                time.sleep(held_s)
                os.kill(pid, signal.SIGCONT)

        for number in range(10):
            harm, held_s = (signal.SIGKILL, signal.SIGSTOP)[number % 2], dice.choice([0.05, 0.3, 1.0])
            moment = dice.randint(1, EPOCHS - 5), dice.uniform(0, 0.05)
            found = work(engine, striking(*moment, lambda harm=harm, held_s=held_s: strike(harm, held_s)))
            assert found == whole, (number, harm, moment, held_s)
            deaths += harm == signal.SIGKILL
            wait(lambda: not any(isinstance(each, threading.Timer) for each in threading.enumerate()), "the harm is not done")
            assert len(engine.notes) == deaths, engine.notes
            engine._losses = 0  # three in a row would end it
            pairs.clear()
            assert pairs_of(os.getpid()) == 0
            for pid in workers_of(os.getpid()):
                wait(lambda pid=pid: pairs_of(pid) == 0, "the second process keeps the memory")
    assert workers_of(os.getpid()) == []


def train(folder, number, epoch, delay):
    """Be a process that trains with another, and gets a signal."""
    pairing.Pair.first = noting_pairs(pairing.Pair.first)

    def strike():
        print(*workers_of(os.getpid()), flush=True)
        os.kill(os.getpid(), number)

    config, struck = load_config("lstm", [*HALVED, "train.workers=2", f"data.path={folder / 'prices.csv'}"]), striking(epoch, delay, strike)
    with interruptible("Go on with: that") as check:
        recipes.train(config, folder / "killed", lambda report: (struck(report), check()))


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_first_process_killed_and_interrupted_at_random_moments_goes_on_to_the_same_bytes(tmp_path):
    garch_path(900, 1).drop(columns="filled").to_csv(tmp_path / "prices.csv", index=False)
    config = load_config("lstm", [*HALVED, "train.workers=1", f"data.path={tmp_path / 'prices.csv'}"])
    recipes.train(config, tmp_path / "whole")
    dice = random.Random(12)
    for first, number, code in ((2, signal.SIGTERM, 143), (12, signal.SIGKILL, -9), (22, signal.SIGINT, 130)):
        moment = dice.randint(first, first + 9), dice.uniform(0, 0.05)
        command = [sys.executable, "-m", "tests.test_pair_deaths", tmp_path, int(number), *moment]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, done.stderr
        wait(lambda said=done.stdout: all(map(gone, said.split())), "the second process outlives the first")
        assert done.stdout.split()
    recipes.resume(config, tmp_path / "killed")
    for name in SAME:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


if __name__ == "__main__":
    try:
        train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    except InterruptedRunError as interrupted:
        sys.exit(interrupted.exit_code)
