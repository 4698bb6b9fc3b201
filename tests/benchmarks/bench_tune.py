"""What `tune` finds in 40 trials against as many drawn by chance from the same space, on the shipped data, seed by seed.

    python -m tests.benchmarks.bench_tune [--seeds 0 1 2 3 4] [--trials 40] [--folder FOLDER] [--set section.key=value ...] [--keep]

Both sides are whole searches of the recommended space: the same folds, the same halving, another sampler. Each is kept in the
folder, so that an interrupted benchmark goes on. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from stockrnn import recipes
from stockrnn.configfile import find_space, load_config
from stockrnn.evaluation.search import Search
from stockrnn.models.seeds import derive_seed
from stockrnn.recipes import Effort, tuning
from stockrnn.runs.searches import is_searched, read_summary
from stockrnn.searchspace import read_space
from tests.benchmarks.figures import figure, keep, ratios, tell

SETTINGS = ("train.ensemble=1", "train.epochs=30", "train.workers=1")
"""One network a trial, as a search on a laptop would have it."""


class ByChance(Search):
    """The same search, whose settings are drawn by chance."""

    def __init__(self, *given: Any) -> None:
        """Begin."""
        super().__init__(*given)
        self._study.sampler = self._optuna.samplers.RandomSampler(seed=derive_seed(given[1], "chance"))


SIDES = {"tpe": Search, "chance": ByChance}


def searched(side: str, seed: int, trials: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    """The summary of one side's search, made or found in the folder."""
    run = folder / f"{side}{seed}"
    if not is_searched(run):
        config = load_config("lstm", [*SETTINGS, *settings, f"train.seed={seed}"])
        with mock.patch.object(tuning, "Search", SIDES[side]):
            recipes.tune(config, read_space(find_space("recommended")), run, Effort(trials=trials))
    return read_summary(run)


def main() -> int:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    options.add_argument("--trials", type=int, default=40)
    options.add_argument("--folder", type=Path)
    options.add_argument("--set", action="append", default=[], dest="settings")
    options.add_argument("--keep", action="store_true", help="put the figures into results.json")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for seed in chosen.seeds:
            for side, summaries in found.items():
                summary = searched(side, seed, chosen.trials, chosen.folder or Path(scratch), chosen.settings)
                summaries.append(summary)
                check = summary["check"] or {"gain": 0.0}
                print(
                    f"seed {seed}, {side}: CRPS {summary['best']['crps']:.4f} (the config's {summary['config']['crps']:.4f}), "
                    f"{summary['epochs']} epochs, {100 * summary['epochs_saved']:.0f} % saved, {summary['trials']}, "
                    f"gain {100 * summary['gain']:.1f} %, on the check {100 * check['gain']:.1f} %",
                    flush=True,
                )
    best = {side: [summary["best"]["crps"] for summary in summaries] for side, summaries in found.items()}
    saved = [100 * summary["epochs_saved"] for summary in found["tpe"]]
    what = f"`tune`, {chosen.trials} trials and {len(chosen.seeds)} seeds, on one core"
    told = [
        figure(what, "validation CRPS ÷ that of as many trials by chance", ratios(best["tpe"], best["chance"]), 1.0),
        figure(what, "epochs saved by ending trials early (%)", saved, 40.0, at_least=True),
    ]
    if chosen.keep:
        keep("tune", told)
    return 0 if tell(told) else 1


if __name__ == "__main__":
    sys.exit(main())
