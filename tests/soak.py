"""Random trainings, kills, resumes, predictions and pictures, for as long as asked: `python -m tests.soak MINUTES [SEED]`.

Every run is checked after every step; the seed replays what was done (not when a kill struck). Each training is also done
once without kills, and must have ended in the same bytes.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from stockrnn.runs.directory import is_complete, is_unfinished, open_run
from tests.forks import Forks

SAME = ("weights.safetensors", "metrics.json", "forecasts.csv")
CHOICES = {
    "model.cell": ["simple_rnn", "lstm", "gru"],
    "model.units": ["[3]", "[2,2]"],
    "model.dropout": ["0.0", "0.3"],
    "model.head": ["quantile", "point", "student_t"],
    "window.horizon": ["1", "3"],
    "window.lookback": ["2", "5"],
    "train.ensemble": ["1", "2"],
    "train.optimizer": ["adam", "sgd"],
    "features.scaler": ["standard", "robust", "minmax"],
    "target.transform": ["log_return", "difference", "level"],
}


def settings(dice):
    chosen = {name: dice.choice(values) for name, values in CHOICES.items()} | {"train.epochs": "15", "train.seed": str(dice.randrange(99))}
    return [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]


def train(run, dice, folder, name, options, whole_s):
    """Train with up to three deaths on the way; what was done."""
    done = []
    for _ in range(dice.randint(0, 3)):
        begun = is_unfinished(folder / name) or is_complete(folder / name)
        number = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        arguments = ["--resume"] if begun else options
        ended = run("train", *arguments, "--run", name, kill_after=dice.uniform(0, whole_s), number=number)
        assert ended.code in (0, -9, 130, 143), (ended.code, ended.err)
        assert "Traceback" not in ended.err, ended.err
        done.append(f"{number.name} {ended.code}")
        if is_complete(folder / name):
            open_run(folder / name)
    begun = is_unfinished(folder / name) or is_complete(folder / name)
    ended = run("train", *(["--resume"] if begun else options), "--run", name)
    assert ended.code == 0, ended.err
    return done


def use(run, dice, folder, name):
    """Forecast and draw, with a death now and then; the run stays whole."""
    first, second = (run("predict", name, "--json") for _ in range(2))
    assert (first.code, first.out) == (0, second.out), first.err
    ended = run("plot", name, "--format", dice.choice(["png", "svg"]), kill_after=dice.choice([None, dice.uniform(0, 3)]))
    assert ended.code in (0, -9), ended.err
    open_run(folder / name)


def soak(minutes, seed):
    end, rounds = time.monotonic() + 60 * minutes, 0
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    with Forks(folder) as run:
        while time.monotonic() < end:
            dice = random.Random(f"{seed} {rounds}")
            options = settings(dice)
            whole = run("train", *options, "--run", "whole")
            assert whole.code == 0, (options, whole.err)
            done = train(run, dice, folder, "broken", options, whole.seconds)
            for name in SAME:
                assert (folder / "whole" / name).read_bytes() == (folder / "broken" / name).read_bytes(), (name, options, done)
            use(run, dice, folder, "broken")
            for name in ("whole", "broken"):
                shutil.rmtree(folder / name)
            assert list(folder.iterdir()) == []
            rounds += 1
            print(f"seed {seed} round {rounds}: {' '.join(options[1::2])}: {', '.join(done) or 'no death'}", flush=True)
    shutil.rmtree(folder)
    print(f"{rounds} rounds, 0 broken invariants")


if __name__ == "__main__":
    soak(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
