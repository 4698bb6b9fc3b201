"""Random trainings, backtests, kills, resumes, forecasts and pictures, as long as asked: `python -m tests.soak MINUTES [SEED [ROUND]]`.

Every run is checked after every step. Seed and round replay what was done, from that round on (not the instruction that a kill
struck). Each run is also made once without kills, and must have ended in the same bytes. No process may outlive its command.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError
from stockrnn.runs.directory import is_begun, is_complete, open_run
from tests.forks import Forks

SAME = ("weights.safetensors", "model.onnx", "metrics.json", "forecasts.csv", "history.csv", "scaler.json")
CHOICES = {
    "model.cell": ["simple_rnn", "lstm", "gru"],
    "model.architecture": ["many_to_one", "many_to_one", "many_to_many", "encoder_decoder", "one_to_many"],
    "model.units": ["[3]", "[2,2]"],
    "model.dropout": ["0.0", "0.3"],
    "model.recurrent_dropout": ["0.0", "0.2"],
    "model.bidirectional": ["false", "false", "true"],
    "model.attention": ["none", "additive", "dot"],
    "model.layer_norm": ["false", "true"],
    "model.head": ["quantile", "point", "student_t", "direction"],
    "model.anchor": ["none", "ewma", "har"],
    "window.horizon": ["1", "3"],
    "window.lookback": ["1", "2", "5"],
    "train.ensemble": ["1", "2"],
    "train.workers": ["1", "1", "2"],
    "train.optimizer": ["adam", "sgd"],
    "features.scaler": ["standard", "robust", "minmax"],
    "target.transform": ["log_return", "difference", "level"],
    "data.start": ["2006-01-01", "2007-06-01"],
    "data.outliers.action": ["flag", "clip"],
}
PLANS = {"--folds": ["2", "3"], "--refit": ["1", "2"], "--window": ["expanding", "rolling"], "--gap": ["0", "2"]}
MOST_LATE_S = 5.0


def settings(dice):
    """The words of a random config that is valid."""
    while True:
        chosen = {name: dice.choice(values) for name, values in CHOICES.items()}
        chosen |= {"train.epochs": str(dice.randint(2, 15)), "train.seed": str(dice.randrange(99))}
        words = [f"{name}={value}" for name, value in chosen.items()]
        try:
            load_config("lstm", words)
        except ConfigError:
            continue
        return [word for each in words for word in ("--set", each)]


def make(run, dice, command, folder, name, options, whole_s):
    """Train or walk with up to three deaths on the way; what was done, and the longest time that a signal took."""
    done, late = [], 0.0
    for _ in range(dice.randint(0, 3)):
        number, after = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]), dice.uniform(0, whole_s)
        arguments = ["--resume"] if is_begun(folder / name) else options
        ended = run(command, *arguments, "--run", name, kill_after=after, number=number)
        assert ended.code in (0, -signal.SIGKILL, -signal.SIGHUP, 130, 143), (done, number.name, after, ended)
        assert "Traceback" not in ended.err, ended
        assert ended.orphans == (), (number.name, after, ended)
        assert ended.late <= MOST_LATE_S, (number.name, after, ended)
        assert ended.code <= 0 or ("--resume" in ended.err) == is_begun(folder / name), ended
        late = max(late, ended.late)
        done.append(f"{number.name} {after:.2f} s: {ended.code}")
        if is_complete(folder / name):
            open_run(folder / name)
    arguments = ["--resume"] if is_begun(folder / name) else options
    ended = run(command, *arguments, "--run", name)
    assert (ended.code, ended.orphans) == (0, ()), (done, ended)
    return done, late


def use(run, dice, folder, name):
    """Forecast, explain, compare and draw, with a death now and then; the run stays whole."""
    first, second = (run("predict", name, "--json") for _ in range(2))
    assert (first.code, first.out) == (0, second.out), first
    ended = run("plot", name, "--format", dice.choice(["png", "svg"]), kill_after=dice.choice([None, dice.uniform(0, 3)]))
    assert ended.code in (0, -9), ended
    open_run(folder / name)
    for words in (("plot", name), ("explain", name, "--json"), ("runs", "compare", name, "whole", "--json")):
        ended = run(*words)
        assert (ended.code, ended.orphans) == (0, ()), (words, ended)
    assert run("predict", name, "--json").out == first.out


def play(run, folder, seed, number):
    """One round; what it did, in a line."""
    dice = random.Random(f"{seed} {number}")
    command, options = dice.choice(["train", "train", "backtest"]), settings(dice)
    if command == "backtest":
        options += [word for name, values in PLANS.items() for word in (name, dice.choice(values))]
    whole = run(command, *options, "--run", "whole")
    assert whole.code == 0, (command, options, whole)
    done, late = make(run, dice, command, folder, "broken", options, whole.seconds)
    for name in SAME:
        assert (folder / "whole" / name).read_bytes() == (folder / "broken" / name).read_bytes(), (name, command, options, done)
    use(run, dice, folder, "broken")
    left = {path.name for path in (folder / "broken").iterdir()} - {
        "plots",
        "manifest.json",
        *open_run(folder / "broken").manifest["files"],
    }
    assert left == set(), left
    for name in ("whole", "broken"):
        shutil.rmtree(folder / name)
    assert list(folder.iterdir()) == []
    words = " ".join(word for word in options if word != "--set")
    return f"{command} {words}: {', '.join(done) or 'no death'}; late {late:.1f} s"


def soak(minutes, seed, number=0):
    """Rounds until the time is over; how many broke an invariant, whose folders stay."""
    end, first, broken = time.monotonic() + 60 * minutes, number, 0
    while time.monotonic() < end:
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-{number}-"))
        with Forks(folder) as run:
            while time.monotonic() < end:
                print(f"seed {seed} round {number}: ", end="", flush=True)
                number += 1
                try:
                    print(play(run, folder, seed, number - 1), flush=True)
                except AssertionError:
                    print(f"BROKEN, see {folder}\n{traceback.format_exc()}", flush=True)
                    broken += 1
                    break
            else:
                shutil.rmtree(folder)
    print(f"{number - first} rounds, {broken} broken invariants")
    return broken


if __name__ == "__main__":
    seed_and_round = [int(word) for word in sys.argv[2:4]]
    sys.exit(soak(float(sys.argv[1]), *(seed_and_round or [random.randrange(1000)])) > 0)
