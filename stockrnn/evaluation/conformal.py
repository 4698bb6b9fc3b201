"""Intervals that hold what they promise: corrected on a calibration span, and width that follows the misses.

Both read and write the forecast table, of one model or of many, and look at an actual only from its date on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.types import DATE, QUANTILE_COLUMNS, QUANTILES, TICKER

COLUMNS = list(QUANTILE_COLUMNS)
LEVELS = np.array(QUANTILES)
LEAST_ROWS = 19
"""Fewest calibration rows a step needs: with n rows, the 1/(n+1) quantile is the lowest that can be promised."""
MEDIAN = QUANTILES.index(0.5)
NOMINAL_MISS = 0.1
"""Share of actuals that may lie outside q05 … q95."""
RATE = 0.02
"""How fast the width of a walk-forward follows its misses: log k grows by 1.8 % after a miss and falls by 0.2 % after a hit. The slowest
rate that kept every 250 sessions of twelve series above 80 % coverage, for ewma, garch and har before the test span."""


@dataclass(frozen=True)
class Calibration:
    """Split-conformal shifts of every quantile.

    Attributes:
        shifts: what is added to each quantile of each step, in units of the forecast's scale q90 - q10, so that wide days
            are moved more, shape (horizon, 19).
    """

    shifts: np.ndarray

    @classmethod
    def none(cls, horizon: int) -> Calibration:
        """Shifts that change nothing."""
        return cls(np.zeros((horizon, len(QUANTILES))))

    @classmethod
    def from_list(cls, shifts: list[list[float]]) -> Calibration:
        """The shifts that `to_list` gave."""
        return cls(np.array(shifts, dtype=float))

    def to_list(self) -> list[list[float]]:
        """The shifts as JSON holds them, to the last bit."""
        return [[float(shift) for shift in step] for step in self.shifts]

    def apply(self, forecasts: pd.DataFrame) -> pd.DataFrame:
        """The table with shifted quantiles, sorted so that they do not cross, and the forecast at their median as it was before.

        Shifts that change nothing leave the forecast of a `point` head, which is no median, where it is.
        """
        quantiles = forecasts[COLUMNS].to_numpy(float)
        shifted = np.sort(quantiles + self.shifts[forecasts["step"].to_numpy() - 1] * _scale(quantiles), axis=1)
        moved = _with_quantiles(forecasts, shifted)
        return moved.assign(forecast=shifted[:, MEDIAN]) if self.shifts.any() else moved


def calibrate(forecasts: pd.DataFrame) -> Calibration:
    """Learn the shifts from one model's forecasts of a span it has not learned from.

    With the scores (actual - quantile) / scale of a step's n rows in order, an upper level takes the ceil((n+1) level)-th
    and a lower level the floor((n+1) level)-th. Where rows are exchangeable, each actual then lies below an upper
    quantile with at least its level's probability, below a lower one with at most that, and in q05 … q95 with at least 90 %.

    Sources: Lei et al. 2018, doi:10.1080/01621459.2017.1307116; for quantiles Romano, Patterson and Candès 2019,
    arXiv:1905.03222.

    Args:
        forecasts: the forecast table of one model; rows without an actual do not count.

    Raises:
        DataError: a step has fewer than 19 rows.
    """
    known = forecasts[forecasts["actual"].notna()]
    shifts = []
    for step in range(1, int(forecasts["step"].max()) + 1):
        rows = known[known["step"] == step]
        check_count(len(rows), step)
        quantiles = rows[COLUMNS].to_numpy(float)
        scores = np.sort((rows[["actual"]].to_numpy(float) - quantiles) / _scale(quantiles), axis=0)
        shifts.append(scores[_ranks(len(rows)) - 1, np.arange(len(LEVELS))])
    return Calibration(np.stack(shifts))


def check_count(rows: int, step: int = 1, instead: str = "set it to 0") -> None:
    """Make sure that shifts of a step can be learned from so many forecasts; `instead` is what needs none. Raises DataError."""
    if rows < LEAST_ROWS:
        raise DataError(
            f"The calibration span must hold {LEAST_ROWS} forecasts of step {step}. Received: {rows}. Enlarge `split.calibration`, or "
            f"{instead}; shorten `window.horizon`, or give more history."
        )


@dataclass(frozen=True)
class Widths:
    """What the spread around the median is multiplied by.

    Attributes:
        factors: of each ticker, the factor of each step, above 0; a ticker that is not named keeps its spread.
    """

    factors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, factors: Mapping[str, Sequence[float]]) -> Widths:
        """The factors that `to_dict` gave."""
        return cls({ticker: tuple(map(float, steps)) for ticker, steps in factors.items()})

    def to_dict(self) -> dict[str, list[float]]:
        """The factors as JSON holds them, to the last bit."""
        return {ticker: list(steps) for ticker, steps in self.factors.items()}

    def apply(self, forecasts: pd.DataFrame) -> pd.DataFrame:
        """The table with wider or narrower quantiles; where the factors know one ticker only, they are any ticker's."""
        only = next(iter(self.factors.values())) if len(self.factors) == 1 else ()

        def factor(ticker: str, step: int) -> float:
            steps = self.factors.get(ticker, only)
            return steps[step - 1] if step <= len(steps) else 1.0

        factors = [factor(ticker, step) for ticker, step in zip(forecasts[TICKER], forecasts["step"], strict=True)]
        return _widened(forecasts, np.array(factors, dtype=float))


def adapt(forecasts: pd.DataFrame, rate: float = RATE) -> pd.DataFrame:
    """Widen or narrow each forecast by what the intervals before it missed, so that coverage holds through a change of regime.

    The spread around the median is multiplied by k; after each actual, log k grows by rate (miss - 0.1), a miss being 1
    when the actual lay outside the interval that was given, else 0. That is the quantile tracker on the log of the
    normalised residual. Each model, ticker and step has its own k, which starts at 1: put the calibration span's rows
    before those that are scored. An actual counts from its date on, so step h learns h sessions late.

    Measured one step ahead with ewma, garch and har on 12 daily series without their last 15 %, learned on the first 60 %
    of the rest: the mean coverage error falls from 1.38 points to 0.30 and the mean CRPS by 0.10 %; the worst 250 sessions
    of any keep 78.8 %. Twice the rate: 0.18 points, 0.09 %, 81.2 %. Five times: 0.10 points, a CRPS 0.05 % higher than
    without, 85.2 %.

    Source: Angelopoulos, Candès and Tibshirani 2023, Conformal PID control for time series prediction, arXiv:2307.16895.

    Args:
        forecasts: the forecast table, in any order.
        rate: how fast the width follows.

    Returns:
        The same rows in the same order, with other quantiles.
    """
    factors = np.ones(len(forecasts))
    for places, tracked in _series(forecasts, rate):
        factors[places] = tracked[:-1]
    return _widened(forecasts, factors)


def widths_after(forecasts: pd.DataFrame) -> Widths:
    """The factors that `adapt` would multiply the next forecasts of one model by, all actuals of its table being known."""
    found: dict[str, dict[int, float]] = {}
    for places, tracked in _series(forecasts, RATE):
        ticker, step = forecasts[[TICKER, "step"]].iloc[places[0]]
        found.setdefault(str(ticker), {})[int(step)] = float(tracked[-1])
    return Widths({ticker: tuple(factors[step] for step in sorted(factors)) for ticker, factors in found.items()})


def _series(forecasts: pd.DataFrame, rate: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The places of each model's, ticker's and step's rows in order of the cutoff, and the factor of each and of the next."""
    numbered = forecasts.reset_index(drop=True)
    for _, rows in numbered.groupby(["model", TICKER, "step"], sort=False):
        ordered = rows.sort_values("cutoff")
        yield ordered.index.to_numpy(), _tracked(ordered, rate)


def _tracked(rows: pd.DataFrame, rate: float) -> np.ndarray:
    """The factor k of each row, in order of the cutoff, and of one after the last actual, shape (rows + 1,)."""
    cutoff, date, actual = (rows[name].to_numpy() for name in ("cutoff", DATE, "actual"))
    low, centre, high = (rows[name].to_numpy(float) for name in ("q05", "q50", "q95"))
    factors = np.ones(len(rows) + 1)
    log_factor, seen = 0.0, 0
    for row in range(len(rows) + 1):
        while seen < len(rows) and (row == len(rows) or date[seen] <= cutoff[row]):
            if np.isfinite(actual[seen]):
                k, residual = factors[seen], actual[seen] - centre[seen]
                missed = residual < k * (low[seen] - centre[seen]) or residual > k * (high[seen] - centre[seen])
                log_factor += rate * (missed - NOMINAL_MISS)
            seen += 1
        factors[row] = np.exp(log_factor)
    return factors


def _widened(forecasts: pd.DataFrame, factors: np.ndarray) -> pd.DataFrame:
    quantiles = forecasts[COLUMNS].to_numpy(float)
    centre = quantiles[:, [MEDIAN]]
    return _with_quantiles(forecasts, centre + factors[:, None] * (quantiles - centre))


def _ranks(n: int) -> np.ndarray:
    """Which of n ordered scores each level takes, from 1; the small term undoes the rounding of (n + 1) level."""
    exact = (n + 1) * LEVELS
    return np.where(LEVELS < 0.5, np.floor(exact + 1e-9), np.ceil(exact - 1e-9)).astype(int)


def _scale(quantiles: np.ndarray) -> np.ndarray:
    """q90 - q10 of each row, shape (rows, 1), in currency; a billionth of the median where there is no width."""
    width = quantiles[:, [QUANTILES.index(0.9)]] - quantiles[:, [QUANTILES.index(0.1)]]
    return np.asarray(np.maximum(width, 1e-9 * np.abs(quantiles[:, [MEDIAN]])))


def _with_quantiles(forecasts: pd.DataFrame, quantiles: np.ndarray) -> pd.DataFrame:
    return forecasts.assign(**dict(zip(COLUMNS, quantiles.T, strict=True)))
