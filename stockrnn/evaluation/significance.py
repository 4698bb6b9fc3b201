"""Is a difference more than luck? Tests of losses, directions and coverage, each by its published formula.

A test that the data leave undefined (no variation, too few rows) returns None, never NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from stockrnn.evaluation.metrics import REFERENCE, by_model, crps_rows
from stockrnn.types import QUANTILE_COLUMNS, TICKER

ArrayLike = npt.ArrayLike
Key = TypeVar("Key", bound=Hashable)
MOST_AT_ONCE = 500_000
"""Row numbers that are drawn together."""
MOST_COSINES = 50
"""With more of them, the standard error of a resample is hardly better known."""


@dataclass(frozen=True)
class Outcome:
    """What a test found.

    Attributes:
        statistic: the test's statistic, without unit.
        p_value: two-sided (for likelihood ratios: the chi-square tail).
        p_less: one-sided, against "the true value is below the null": for losses, the first model is better.
        p_greater: one-sided, against "above the null".
    """

    statistic: float
    p_value: float
    p_less: float
    p_greater: float


def diebold_mariano(loss: ArrayLike, other: ArrayLike, horizon: int = 1, cosines: int | None = None) -> Outcome | None:
    """Equal expected loss of two forecasters; a negative statistic means that `loss` is the lower.

    d = loss - other; DM = mean(d) / sqrt(V / n) times sqrt((n + 1 - 2h + h(h-1)/n) / n). V sums the autocovariances of d up
    to lag h - 1 with equal weights, as h-step errors overlap that long, or with Bartlett weights where that sum is not
    positive; against Student's t with n - 1 degrees of freedom. Where losses depend on each other in other ways too, that V is too
    small: with `cosines`, it is the mean square of so many cosine transforms of d, and their number the degrees of freedom.

    Sources: Diebold and Mariano 1995, doi:10.1080/07350015.1995.10524599; Harvey, Leybourne and Newbold 1997,
    doi:10.1016/S0169-2070(96)00719-4; Newey and West 1987, doi:10.2307/1913610; on cosines Lazarus, Lewis, Stock and
    Watson 2018, doi:10.1080/07350015.2018.1506926.

    Args:
        loss: loss at each time, in time order, shape (n,).
        other: the other's loss at the same times, shape (n,).
        horizon: steps ahead of the forecasts, h.
        cosines: from `cosine_count`, for losses that depend on each other beyond the overlap; None for those that do not.

    Returns:
        None where the losses always differ by the same, or n is not above the horizon and 1.
    """
    difference = np.asarray(loss, dtype=float) - np.asarray(other, dtype=float)
    n = len(difference)
    if n <= max(horizon, 1) or np.ptp(difference) == 0:
        return None
    variance = long_run_variance(difference, horizon - 1) if cosines is None else cosine_variance(difference, cosines)
    if variance <= 0:
        return None
    small_sample = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = difference.mean() / np.sqrt(variance / n) * np.sqrt(small_sample)
    return _student(float(statistic), n - 1 if cosines is None else cosines)


def long_run_variance(values: np.ndarray, lags: int) -> float:
    """c[0] + 2 Σ c[k] over `lags` autocovariances c; where that is not above 0, c[k] (1 - k/(lags+1)), which never sum to less."""
    centred = values - values.mean()
    n = len(values)
    covariances = np.array([np.sum(centred[k:] * centred[: n - k]) / n for k in range(min(lags, n - 1) + 1)])
    twice = np.where(np.arange(len(covariances)) > 0, 2.0, 1.0)
    total = float(covariances @ twice)
    return total if total > 0 else float(covariances @ (twice * (1 - np.arange(len(covariances)) / (lags + 1))))


def cosine_variance(values: np.ndarray, count: int) -> float:
    """The mean of the squares of sqrt(2/n) Σ v[t] cos(π j (t - 1/2) / n), j = 1 … count: the variance of what varies slowly.

    Each sum is half the j-th Fourier coefficient, up to its phase, of the series followed by its mirror image (scipy.fft has these
    transforms by name, and takes a tenth of a second to load).
    """
    mirrored = np.fft.rfft(np.concatenate([values, values[::-1]]))[1 : count + 1]
    return float(np.mean(np.abs(mirrored) ** 2) / (2 * len(values)))


def cosine_count(n: int, horizon: int = 1) -> int:
    """Cosines for losses that stay dependent: 0.4 n^(2/3), none with a period under four horizons, at least 1.

    Source: Lazarus, Lewis, Stock and Watson 2018, doi:10.1080/07350015.2018.1506926. Where losses of 1 … 20 overlapping steps or
    of errors that stay were equal, 5 % of 20 … 500 dates were 1 to 6 %; by the variance of Newey and West up to 19 %.
    """
    return max(1, min(int(0.4 * n ** (2 / 3)), n // (2 * horizon)))


def skill_interval(
    loss: ArrayLike, reference: ArrayLike, seed: int, *, horizon: int = 1, level: float = 0.95, draws: int = 999
) -> tuple[float, float] | None:
    """Stationary-bootstrap studentised interval of the skill 1 - mean(loss) / mean(reference).

    Both losses are resampled together in blocks of random length, on average n^(1/3) and at least the horizon, wrapped
    at the end. Of each resample counts how far its skill is from the measured one in units of its own standard error, of
    `cosine_variance`; the interval lies as far from the measured skill, in units of that one's. Quantiles of the resampled skills
    themselves know of no dependence beyond a block: of 200 dates whose losses' difference had an autocorrelation of 0.8, 0.5
    and 0 they held a skill of 0 in 80, 89 and 93 % of draws, these in 91, 94 and 94 %.

    Sources: Politis and Romano 1994, doi:10.1080/01621459.1994.10476870; Götze and Künsch 1996, doi:10.1214/aos/1069362303.

    Args:
        loss: loss at each time, in time order, shape (n,).
        reference: the reference's loss at the same times, shape (n,).
        seed: of the resampling.
        horizon: steps ahead of the forecasts.
        level: nominal coverage.
        draws: resamples.

    Returns:
        None where n is not above the horizon and 1, and where losses hardly ever vary: where the reference lost nothing in a whole
        resample, or too many resamples have no standard error.
    """
    first, second = np.asarray(loss, dtype=float), np.asarray(reference, dtype=float)
    n = len(first)
    if n <= max(horizon, 1) or not second.any():
        return None
    cosines = _cosines(n, min(cosine_count(n, horizon), MOST_COSINES))
    (skill,), (error,) = _skills(first[None], second[None], cosines)
    pieces = stationary_rows(n, max(horizon, round(n ** (1 / 3))), draws, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a reference that lost nothing, and of no error
        skills, errors = np.concatenate([_skills(first[picked], second[picked], cosines) for picked in pieces], axis=1)
        distances = np.where(skills == skill, 0.0, (skills - skill) / errors)
        least, most = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2])
        low, high = float(skill - most * error), float(skill - least * error)
    return (low, high) if np.isfinite([*skills, low, high]).all() else None


def _skills(loss: np.ndarray, reference: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The skill of each series and its standard error by the delta method; from (series, n), twice, and (cosines, n) to (series,)."""
    unit = reference.mean(axis=1, keepdims=True)
    ratio = loss.mean(axis=1, keepdims=True) / unit
    sums = np.einsum("sn,cn->sc", (loss - ratio * reference) / unit, cosines)  # a matrix product's last bit depends on threads and rows
    return 1 - ratio[:, 0], np.sqrt(np.mean(sums**2, axis=1) / loss.shape[1])


def _cosines(n: int, count: int) -> np.ndarray:
    """sqrt(2/n) cos(π j (t - 1/2) / n), j = 1 … count, t = 1 … n, shape (count, n): the mean square of their sums is `cosine_variance`."""
    return np.asarray(np.sqrt(2 / n) * np.cos(np.pi * np.outer(np.arange(1, count + 1), np.arange(n) + 0.5) / n))


def stationary_rows(n: int, block: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of stationary bootstrap resamples, shape (some of the draws, n): at each place a new start with probability 1/block.

    All starts come before all other numbers of the generator, of which a second one, ahead by them, spares the memory.
    """
    at_once = max(1, MOST_AT_ONCE // n)
    shapes = [(min(at_once, draws - done), n) for done in range(0, draws, at_once)]
    first, ahead = np.random.default_rng(seed), np.random.default_rng(seed)
    for shape in shapes:
        ahead.integers(0, n, size=shape)
    place = np.arange(n)
    for shape in shapes:
        starts, fresh = first.integers(0, n, size=shape), ahead.random(shape) < 1 / block
        fresh[:, 0] = True
        began = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
        yield (np.take_along_axis(starts, began, axis=1) + place - began) % n


def pesaran_timmermann(actual_change: ArrayLike, forecast_change: ArrayLike) -> Outcome | None:
    """Do the forecast directions hit more often than two independent series of the same base rates would?

    S = (P - P*) / sqrt(V(P) - V(P*)), standard normal; P is the share of hits, P* = y x + (1 - y)(1 - x) from the shares
    of ups, y of the actual and x of the forecast changes. Rows where either change is zero are left out.
    Source: Pesaran and Timmermann 1992, doi:10.1080/07350015.1992.10509922.

    Args:
        actual_change: actual price minus the cutoff's, one-step and in time order, shape (n,).
        forecast_change: forecast minus the cutoff's price, shape (n,).

    Returns:
        None where one of the two always has the same sign. `p_greater` is the test for skill.
    """
    actual, forecast = np.asarray(actual_change, dtype=float), np.asarray(forecast_change, dtype=float)
    moved = (actual != 0) & (forecast != 0)
    up, said_up = actual[moved] > 0, forecast[moved] > 0
    n = len(up)
    if n == 0 or up.all() or said_up.all() or not up.any() or not said_up.any():
        return None
    hits, y, x = float(np.mean(up == said_up)), float(up.mean()), float(said_up.mean())
    expected = y * x + (1 - y) * (1 - x)
    of_hits = expected * (1 - expected) / n
    of_expected = ((2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y) + 4 * y * x * (1 - y) * (1 - x) / n) / n
    return _normal((hits - expected) / np.sqrt(of_hits - of_expected)) if of_hits > of_expected else None


def kupiec(missed: ArrayLike, rate: float) -> Outcome | None:
    """Is the share of misses the nominal one? LR = 2 log(L(x/n) / L(rate)), chi-square with 1 degree of freedom.

    Source: Kupiec 1995, doi:10.3905/jod.1995.407942.

    Args:
        missed: whether each actual lay outside its interval, shape (n,).
        rate: nominal share of misses, 0.1 for a 90 % interval.
    """
    misses = np.asarray(missed, dtype=bool)
    return _chi_square(_coverage_ratio(misses, rate), 1) if len(misses) else None


def christoffersen_independence(missed: ArrayLike) -> Outcome | None:
    """Do misses come in clusters? Likelihood ratio of a first-order Markov chain to independence, chi-square(1).

    Source: Christoffersen 1998, doi:10.2307/2527341. `missed` as for `kupiec`, one-step and in time order; None without
    both a miss and a hit before the last row.
    """
    misses = np.asarray(missed, dtype=bool)
    before = misses[:-1]
    return _chi_square(_independence_ratio(misses), 1) if before.any() and not before.all() else None


def christoffersen(missed: ArrayLike, rate: float) -> Outcome | None:
    """Conditional coverage: the right share and no clusters; LR of Kupiec plus that of independence, chi-square(2).

    Arguments as for `kupiec`, source and None as for `christoffersen_independence`.
    """
    misses = np.asarray(missed, dtype=bool)
    before = misses[:-1]
    if not before.any() or before.all():
        return None
    return _chi_square(_coverage_ratio(misses, rate) + _independence_ratio(misses), 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order: below 0.05, the claim holds among all that were tested together.

    Source: Holm 1979, https://www.jstor.org/stable/4615733.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in adjusted]


def significance_document(forecasts: pd.DataFrame, network: str, seed: int) -> dict[str, Any]:
    """Every test of a network's forecasts, as JSON-able values; what the data leave undefined is None.

    Returns:
        `diebold_mariano`: `{baseline: {loss: {"statistic", "p_value", "p_holm"}}}` for `squared`, `absolute` and `crps` loss
        per date, Holm over all of them; a negative statistic favours the network.
        `skill_interval_95`: `{loss: [low, high]}` of the skill against naive.
        `pesaran_timmermann`, `kupiec`, `christoffersen`: `{ticker: {"statistic", "p_value", "p_holm"}}` of the one-step
        forecasts, for the direction (one-sided) and for the 90 % interval; Holm over the tickers of each.
        `undefined`: `{test: reason}` of those that are None somewhere; absent where none is.
    """
    losses = {loss: losses_by_date(forecasts, loss) for loss in LOSSES}
    horizon = int(forecasts["step"].max())
    cosines = cosine_count(len(losses["crps"]), horizon)
    rivals = [(model, loss) for model in losses["crps"] if model != network for loss in LOSSES]
    compared = _corrected({key: diebold_mariano(losses[key[1]][network], losses[key[1]][key[0]], horizon, cosines) for key in rivals})
    tables = by_model(forecasts[forecasts["model"].isin([network, REFERENCE])])
    found: dict[str, dict[Any, Any]] = {
        "diebold_mariano": {model: {loss: compared[model, loss] for loss in LOSSES} for model, _ in rivals[:: len(LOSSES)]},
        "skill_interval_95": {loss: _interval(table, network, seed, horizon) for loss, table in losses.items()},
        **_ticker_tests(tables[network][tables[network]["step"] == 1]),
    }
    outcomes: dict[str, dict[Any, Any]] = found | {"diebold_mariano": compared}
    undefined = {name: why for name, why in UNDEFINED.items() if None in outcomes[name].values()}
    return {**found, **({"undefined": undefined} if undefined else {})}


UNDEFINED = {
    "diebold_mariano": "the losses always differ by the same, or there are no more dates than steps",
    "skill_interval_95": "losses hardly ever vary, or there are no more dates than steps",
    "pesaran_timmermann": "the actual prices, or the forecasts, all go one way",
    "kupiec": "no forecast is one step ahead",
    "christoffersen": "the interval holds all actual prices but the last, or none of them",
}
"""Why a test can be None."""


def losses_by_date(forecasts: pd.DataFrame, loss: str) -> pd.DataFrame:
    """The losses of every model summed per cutoff date, in units of each ticker's mean naive loss.

    One date is one observation however many tickers and steps it holds, so that a crowded day does not count as many. A ticker that
    never moved, and so has no unit, does not count beside others.

    Args:
        forecasts: the forecast table; rows without an actual do not count.
        loss: `squared`, `absolute` or `crps`.

    Returns:
        Index cutoff, increasing; one column a model. Without unit.
    """
    tables = by_model(forecasts)
    reference = tables[REFERENCE]
    unit = pd.Series(LOSSES[loss](reference)).groupby(reference[TICKER].to_numpy()).transform("mean").to_numpy()
    unit = np.where(unit > 0, unit, np.inf if (unit > 0).any() else 1.0)
    dates = reference["cutoff"].to_numpy()
    return pd.DataFrame({name: pd.Series(LOSSES[loss](rows) / unit).groupby(dates).sum() for name, rows in tables.items()})


LOSSES: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {
    "squared": lambda rows: ((rows["actual"] - rows["forecast"]) ** 2).to_numpy(float),
    "absolute": lambda rows: (rows["actual"] - rows["forecast"]).abs().to_numpy(float),
    "crps": lambda rows: crps_rows(rows["actual"].to_numpy(float), rows[list(QUANTILE_COLUMNS)].to_numpy(float)),
}
"""The losses that are compared, from rows of the forecast table to shape (rows,)."""


def _interval(losses: pd.DataFrame, network: str, seed: int, horizon: int) -> list[float] | None:
    ends = skill_interval(losses[network], losses[REFERENCE], seed, horizon=horizon)
    return ends and list(ends)


def _ticker_tests(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float] | None]]:
    found: dict[str, dict[str, Outcome | None]] = {"pesaran_timmermann": {}, "kupiec": {}, "christoffersen": {}}
    for ticker, mine in rows.groupby(TICKER, sort=True):
        missed = (mine["actual"] < mine["q05"]) | (mine["actual"] > mine["q95"])
        direction = pesaran_timmermann(mine["actual"] - mine["last"], mine["forecast"] - mine["last"])
        found["pesaran_timmermann"][str(ticker)] = direction and replace(direction, p_value=direction.p_greater)
        found["kupiec"][str(ticker)] = kupiec(missed, 0.1)
        found["christoffersen"][str(ticker)] = christoffersen(missed, 0.1)
    return {name: _corrected(outcomes) for name, outcomes in found.items()}


def _corrected(outcomes: Mapping[Key, Outcome | None]) -> dict[Key, dict[str, float] | None]:
    """Each outcome with its p-value after Holm's correction for all that are defined."""
    tested = {key: outcome for key, outcome in outcomes.items() if outcome is not None}
    adjusted = dict(zip(tested, holm([outcome.p_value for outcome in tested.values()]), strict=True))
    return {
        key: None if outcome is None else {"statistic": outcome.statistic, "p_value": outcome.p_value, "p_holm": adjusted[key]}
        for key, outcome in outcomes.items()
    }


def _coverage_ratio(misses: np.ndarray, rate: float) -> float:
    n, x = len(misses), int(misses.sum())
    return 2 * (_log_likelihood(x, n, x / n) - _log_likelihood(x, n, rate))


def _independence_ratio(misses: np.ndarray) -> float:
    before, after = misses[:-1], misses[1:]
    total = _log_likelihood(int(after.sum()), len(after), float(after.mean()))
    parts = [after[~before], after[before]]
    return 2 * (sum(_log_likelihood(int(part.sum()), len(part), float(part.mean())) for part in parts) - total)


def _log_likelihood(x: int, n: int, rate: float) -> float:
    """Of x misses in n at a rate: x log(rate) + (n - x) log(1 - rate), with 0 log 0 = 0."""
    return (x * float(np.log(rate)) if x else 0.0) + ((n - x) * float(np.log(1 - rate)) if n > x else 0.0)


def _student(statistic: float, freedom: int) -> Outcome:
    from scipy.special import stdtr  # what scipy.stats calls, which takes half a second to load

    tails = [float(stdtr(freedom, value)) for value in (-abs(statistic), statistic, -statistic)]
    return Outcome(statistic, 2 * tails[0], tails[1], tails[2])


def _normal(statistic: float) -> Outcome:
    from scipy.special import ndtr

    tails = [float(ndtr(value)) for value in (-abs(statistic), statistic, -statistic)]
    return Outcome(float(statistic), 2 * tails[0], tails[1], tails[2])


def _chi_square(statistic: float, freedom: int) -> Outcome:
    from scipy.special import chdtrc

    value = max(statistic, 0.0)
    tail = float(chdtrc(freedom, value))
    return Outcome(value, tail, 1 - tail, tail)
