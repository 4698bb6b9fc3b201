"""Which settings to try next, and which trials to end early. Only this file knows Optuna.

Settings come from a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS), and trials end by successive halving over
their folds (Li et al. 2020, arXiv:1810.05934). What is asked and decided depends on the seed and on what was told before, in the
order of the trials, never on who computed it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from stockrnn.errors import MissingExtraError
from stockrnn.models.seeds import derive_seed
from stockrnn.searchspace import Choices, Domain, Range, Space

KEPT = 2
"""One trial in so many goes on after the 1st, 2nd, 4th … fold."""
STARTUP = 8
"""Trials drawn at random before the estimator is used."""
LEAST_TRIALS = 10
"""Fewest trials from which importances are computed."""


class Search:
    """A search that is asked for settings and told how they did."""

    def __init__(self, space: Space, seed: int) -> None:
        """Begin.

        Args:
            space: what may be tried.
            seed: what is drawn derives from it.

        Raises:
            MissingExtraError: Optuna is not installed.
        """
        self._optuna = _optuna()
        self._space, self._seed = space, seed
        self._distributions = {path: _distribution(self._optuna, domain) for path, domain in space.domains.items()}
        sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, seed=derive_seed(seed, "tune"), multivariate=True, constant_liar=True
        )
        pruner = self._optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=KEPT)
        self._study = self._optuna.create_study(sampler=sampler, pruner=pruner)
        self._asked: list[Any] = []

    def ask(self) -> dict[str, Any]:
        """The settings of the next trial: a value for each key of the space. Trials are numbered from 0 as they are asked."""
        trial = self._study.ask(self._distributions)
        self._asked.append(trial)
        return {path: _value(domain, trial.params[path]) for path, domain in self._space.domains.items()}

    def goes_on(self, trial: int, folds: int, score: float) -> bool:
        """Report the mean score of a trial over its first `folds` folds; whether it is among the best so far and goes on."""
        self._asked[trial].report(score, folds)
        return not self._asked[trial].should_prune()

    def end(self, trial: int, score: float | None) -> None:
        """Report the final score of a trial, or None if it was ended early or failed."""
        state = self._optuna.trial.TrialState
        if score is None:
            self._study.tell(self._asked[trial], state=state.PRUNED)
        else:
            self._study.tell(self._asked[trial], score)

    def importance(self, scores: Mapping[int, float]) -> dict[str, float]:
        """How much of the variance of scores each key explains, 0 … 1, largest first; empty where there are too few.

        By functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown 2014, ICML).

        Args:
            scores: a score that trials have in common, by trial.
        """
        if len(scores) < LEAST_TRIALS or len(set(scores.values())) < 2:
            return {}
        study = self._optuna.create_study()
        for number, score in scores.items():
            params = self._asked[number].params
            study.add_trial(self._optuna.create_trial(params=params, distributions=self._distributions, value=score))
        judge = self._optuna.importance.FanovaImportanceEvaluator(seed=derive_seed(self._seed, "importance"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._optuna.importance.get_param_importances(study, evaluator=judge)
        return {str(path): float(share) for path, share in found.items()}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError(
            "`stockrnn tune` needs the package optuna. Received: it is not installed. Install it: pip install 'stockrnn[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, domain: Domain) -> Any:
    """What Optuna draws from: of choices their place, on a line where they are numbers."""
    kinds = optuna.distributions
    if isinstance(domain, Range):
        if domain.whole:
            return kinds.IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
        return kinds.FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    places = range(len(domain.values))
    return kinds.IntDistribution(0, places[-1]) if domain.ordered else kinds.CategoricalDistribution(tuple(places))


def _value(domain: Domain, drawn: Any) -> Any:
    return domain.values[int(drawn)] if isinstance(domain, Choices) else domain.trim(drawn)
