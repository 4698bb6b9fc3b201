"""What the numbers allow one to say: a verdict in sentences, and alarms where a result looks wrong.

Both read the forecast table alone. A sentence claims a difference only where a test at 5 %, corrected by Holm for all
the tests of the verdict, shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stockrnn.evaluation.direction import BASE_RATE
from stockrnn.evaluation.metrics import LEVELS, REFERENCE, by_model
from stockrnn.evaluation.significance import Outcome, cosine_count, diebold_mariano, holm, kupiec, losses_by_date
from stockrnn.prices.steps import row_name
from stockrnn.types import CLOSE, DAILY, TICKER

SIGNIFICANT = 0.05
VOLATILITY_MODELS = ("ewma", "rolling", "garch", "har")
"""Baselines of the distribution, in the order of the sentences."""
LEAST_SESSIONS = 20
"""With fewer scored dates, nothing is claimed; for a long horizon see `least_sessions`."""
FEW_SESSIONS = 60
"""Fewer scored dates raise the alarm *few test sessions*: at 60, coverage of a 90 % interval is known to ± 7.6 points only."""
TOO_GOOD = 0.97
"""RMSE ratio to naive below which a leak is likelier than skill on daily prices: it means an R² of returns above 6 %."""
COPY_SLOPE, COPY_CORRELATION = 0.25, 0.5
"""A copy repeats at least a quarter of the last change, which explains at least a quarter of its variance."""
TRAILS = 0.8
"""Correlation of the forecast curve's changes with the last session's above which the curve is the price, one session late."""
COLLAPSED = 1e-3
"""A forecast that varies less than this share of the actual values' variation is constant."""


@dataclass(frozen=True)
class _Claim:
    """One comparison: its words, the relative loss, and the test."""

    what: str
    rival: str
    score: str
    ratio: float
    outcome: Outcome | None


def verdict(
    forecasts: pd.DataFrame, network: str, directions: pd.DataFrame | None = None, column: str = CLOSE, step: str = ""
) -> list[str]:
    """Plain sentences on the network's point forecast, distribution and 90 % interval, and on its P(up) where asked for.

    Losses are summed per cutoff date in units of each ticker's naive loss and compared by Diebold-Mariano with a
    variance that knows of dependence (`cosine_count`); the p shown is Holm's over all sentences.

    Args:
        forecasts: the forecast table, with `naive`.
        network: the name of the model that is judged.
        directions: from `direction.direction_losses`, to judge its P(up) as well.
        column: the price that is forecast.
        step: what the rows are apart, by a name in `STEPS`; empty where nobody says.
    """
    dates, horizon = _scored(forecasts, network)["cutoff"].nunique(), int(forecasts["step"].max())
    if dates < least_sessions(horizon):
        return [f"No verdict: {dates} scored {row_name(step, 2)} are too few for any claim; at least {least_sessions(horizon)} are needed."]
    claims = _claims(forecasts, network, column, step)
    if directions is not None:
        ratio, outcome = _compared(directions[network], directions[BASE_RATE], horizon)
        claims.append(_Claim("Direction", "the base rate of up moves", "log loss", ratio, outcome))
    coverage, outcome = _coverage(forecasts, network)
    outcomes = [*(claim.outcome for claim in claims), outcome]
    defined = iter(holm([o.p_value for o in outcomes if o is not None]))
    adjusted = [1.0 if o is None else next(defined) for o in outcomes]
    sentences = [_sentence(claim, p) for claim, p in zip(claims, adjusted, strict=False)]
    fits = "too wide" if coverage > 0.9 else "too narrow"
    word = fits if adjusted[-1] < SIGNIFICANT else "not shown to differ from 90 %"
    return [*sentences, f"90 % interval: it held {100 * coverage:.1f} % of the actual prices, {word} ({p_text(adjusted[-1])})."]


def least_sessions(horizon: int) -> int:
    """Fewest scored dates that allow a claim at this horizon: the forecasts of fewer dates all overlap."""
    return max(LEAST_SESSIONS, horizon + 1)


def alarms(
    forecasts: pd.DataFrame, network: str, train_range: Mapping[str, tuple[float, float]] | None = None, step: str = ""
) -> list[str]:
    """What looks wrong with a network's forecasts, a sentence each; none is the good case.

    Args:
        forecasts: the forecast table, with `naive`; the network's one-step rows are looked at.
        network: the name of the model.
        train_range: least and greatest price of each ticker in the training span, in currency; give it for the `level`
            target, which can hardly follow prices beyond it, and whose easiest lesson is to repeat the last price.
        step: what the rows are apart, by a name in `STEPS`; empty where nobody says.
    """
    rows = _scored(forecasts, network)
    one_step = rows[rows["step"] == 1]
    found = [
        _shifted_copy(one_step),
        _too_good(one_step, step),
        _collapsed(one_step, row_name(step)),
        _few_sessions(rows, row_name(step, 2)),
    ]
    if train_range is not None:
        found[:1] = [found[0] or _repeated_level(one_step, row_name(step))]
        found.append(_range_left(rows, train_range))
    return [sentence for sentence in found if sentence]


def _scored(forecasts: pd.DataFrame, network: str) -> pd.DataFrame:
    return by_model(forecasts[forecasts["model"].isin([network, REFERENCE])])[network]


def _claims(forecasts: pd.DataFrame, network: str, column: str, step: str) -> list[_Claim]:
    yesterday = forecasts["step"].max() == 1 and step in {"", DAILY} and _is_daily(forecasts)
    last = f"yesterday's {column}" if yesterday else f"the last {column}"
    present = set(forecasts["model"])
    absolute, crps = losses_by_date(forecasts, "absolute"), losses_by_date(forecasts, "crps")
    horizon = int(forecasts["step"].max())
    rivals = [REFERENCE, *(name for name in VOLATILITY_MODELS if name in present)]
    return [
        _Claim("Point forecast", last, "MAE", *_compared(absolute[network], absolute[REFERENCE], horizon)),
        *(_Claim("Distribution", name, "CRPS", *_compared(crps[network], crps[name], horizon)) for name in rivals),
    ]


def _is_daily(forecasts: pd.DataFrame) -> bool:
    """Whether most sessions are a day after the one before."""
    return bool(pd.Series(np.sort(forecasts["cutoff"].unique())).diff().median() == pd.Timedelta(days=1))


def _compared(loss: pd.Series, other: pd.Series, horizon: int) -> tuple[float, Outcome | None]:
    """Ratio of the losses, infinite where the other has none, and the test that they differ."""
    ratio = float(loss.sum() / other.sum()) if other.sum() else np.inf if loss.sum() else 1.0
    return ratio, diebold_mariano(loss, other, horizon, cosine_count(len(loss), horizon))


def _coverage(forecasts: pd.DataFrame, network: str) -> tuple[float, Outcome | None]:
    """Measured coverage, and the test that its mean per date is 90 %; Kupiec's where every date is the same."""
    rows = _scored(forecasts, network)
    low, high = LEVELS[90]
    inside = ((rows[low] <= rows["actual"]) & (rows["actual"] <= rows[high])).astype(float)
    shares = inside.groupby(rows["cutoff"]).mean()
    horizon = int(rows["step"].max())
    outcome = diebold_mariano(shares, np.full(len(shares), 0.9), horizon, cosine_count(len(shares), horizon))
    return float(inside.mean()), outcome or kupiec(shares < 0.5, 0.1)


def _sentence(claim: _Claim, p: float) -> str:
    if claim.outcome is None and claim.ratio == 1:
        return f"{claim.what}: the same as {claim.rival}."
    better, word = claim.ratio < 1, "no better than"
    if p < SIGNIFICANT:
        praise = "sharper than" if claim.what == "Distribution" else "better than"
        word = praise if better else "worse than"
    percent = 100 * abs(1 - claim.ratio)
    size = f"{claim.score} {f'{percent:.1f}' if percent >= 0.05 else 'under 0.1'} % {'lower' if better else 'higher'}"
    size = size if np.isfinite(percent) else f"{claim.score} above its 0"
    return f"{claim.what}: {word} {claim.rival} ({size}, {p_text(p)})."


def p_text(p: float) -> str:
    """A p-value as a sentence gives it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _returns(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actual return, forecast return and last return of each cutoff, the first cutoff of each ticker left out."""
    actual, forecast = rows["actual"] / rows["last"] - 1, rows["forecast"] / rows["last"] - 1
    before = rows["last"] / rows.groupby(TICKER)["last"].shift(1) - 1
    known = before.notna()
    return actual[known].to_numpy(float), forecast[known].to_numpy(float), before[known].to_numpy(float)


def _ratio_to_naive(rows: pd.DataFrame) -> float | None:
    """RMSE of the returns divided by naive's, without unit; None where the price never moved."""
    actual, forecast = rows["actual"] / rows["last"] - 1, rows["forecast"] / rows["last"] - 1
    moved = float((actual**2).mean())
    return float(np.sqrt(((actual - forecast) ** 2).mean() / moved)) if moved > 0 else None


def _shifted_copy(rows: pd.DataFrame) -> str | None:
    """Where the forecast change follows the last change, and the next one no more than by chance: yesterday, shifted."""
    actual, forecast, before = _returns(rows)
    if len(before) < LEAST_SESSIONS or not before.std() or not actual.std():
        return None
    if forecast.std() < COLLAPSED * actual.std() and abs(forecast.mean()) < COLLAPSED * actual.std():
        return "Shifted copy: the forecast is the last price itself; it says nothing about the next."
    if not forecast.std():
        return None
    slope = float(np.cov(forecast, before)[0, 1] / np.var(before, ddof=1))
    lag_one, lag_zero = float(np.corrcoef(forecast, before)[0, 1]), float(np.corrcoef(forecast, actual)[0, 1])
    ratio = _ratio_to_naive(rows) or 1.0
    if abs(slope) < COPY_SLOPE or abs(lag_one) < max(COPY_CORRELATION, 2 * abs(lag_zero)) or ratio < TOO_GOOD:
        return None
    return (
        f"Shifted copy: the forecast change follows the last change (correlation {lag_one:.2f}), not the next ({lag_zero:.2f}); "
        f"its RMSE is {ratio:.2f} times that of the last price."
    )


def _repeated_level(rows: pd.DataFrame, name: str) -> str | None:
    """Where a level forecast trails the price: it has learned to repeat its input."""
    lags, ratio = _lags(rows), _ratio_to_naive(rows)
    if lags is None or ratio is None or ratio < TOO_GOOD or not _trails(*lags):
        return None
    return (
        f"Shifted copy: the forecast repeats the last price: its changes correlate {lags[1]:.2f} with the last {name}'s, {lags[0]:.2f} "
        f"with the same {name}'s; its RMSE is {ratio:.2f} times that of the last price."
    )


def _lags(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Correlation of the forecast curve's relative changes with the price's of the same session, and of the one before."""
    values = rows[["forecast", "actual"]]
    changes = values / values.groupby(rows[TICKER]).shift(1) - 1
    before = changes["actual"].groupby(rows[TICKER]).shift(1)
    known = before.notna()
    table = pd.DataFrame({"forecast": changes["forecast"], "same": changes["actual"], "before": before})[known]
    if len(table) < LEAST_SESSIONS or not (table.std() > 0).all():
        return None
    correlations = table.corr().to_numpy()
    return float(correlations[0, 1]), float(correlations[0, 2])


def _trails(same: float, last: float) -> bool:
    return last >= TRAILS and abs(same) < last / 2


def _too_good(rows: pd.DataFrame, step: str) -> str | None:
    ratio = _ratio_to_naive(rows)
    if len(rows) < LEAST_SESSIONS or ratio is None or ratio >= TOO_GOOD:
        return None
    prices = "on daily prices " if step in {"", DAILY} else ""
    return f"Too good: the one-step RMSE is {ratio:.2f} times that of the last price; {prices}look for a leak before believing it."


def _collapsed(rows: pd.DataFrame, name: str) -> str | None:
    """Where the forecast is a constant level, or a constant change other than zero (which is a copy)."""
    actual, forecast, _ = _returns(rows)
    if len(actual) < LEAST_SESSIONS:
        return None
    levels = rows.groupby(TICKER)[["forecast", "actual"]].std()
    if bool((levels["forecast"] < COLLAPSED * levels["actual"]).any()):
        return f"Collapsed: the network forecasts one price for every {name}."
    if forecast.std() < COLLAPSED * actual.std() <= abs(forecast.mean()):
        return f"Collapsed: the network forecasts one change for every {name}."
    return None


def _few_sessions(rows: pd.DataFrame, names: str) -> str | None:
    dates = rows["cutoff"].nunique()
    return f"Few test {names}: {dates} are scored; below {FEW_SESSIONS} luck outweighs skill." if dates < FEW_SESSIONS else None


def _range_left(rows: pd.DataFrame, train_range: Mapping[str, tuple[float, float]]) -> str | None:
    """Min-max scaling of a level extrapolates beyond the training prices, where a saturating cell cannot follow."""
    low, high = (rows[TICKER].map({ticker: limits[end] for ticker, limits in train_range.items()}) for end in (0, 1))
    share = float(((rows["actual"] < low) | (rows["actual"] > high)).mean())
    if share == 0:
        return None
    return f"Range left: {100 * share:.0f} % of the scored prices lie outside the training prices; use `target.transform: log_return`."
