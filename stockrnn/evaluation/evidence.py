"""What each stage makes of the rows up to a cutoff, as text that two price tables can be compared by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stockrnn.evaluation.conformal import adapt
from stockrnn.evaluation.learning import Learned, table_of
from stockrnn.evaluation.scoring import forecast_span
from stockrnn.features.indicators import make_features
from stockrnn.features.pipeline import Pipeline, targets_of
from stockrnn.features.splits import Spans, label_spans
from stockrnn.storage import sha256
from stockrnn.types import DATE, FILLED, QUANTILE_COLUMNS, TICKER

FORECAST_SESSIONS = 250
"""Sessions up to a cutoff whose forecasts are compared."""


def same_past(before: pd.DataFrame, after: pd.DataFrame, cutoff: pd.Timestamp, policy: str) -> bool:
    """Whether two price tables agree up to a cutoff.

    How much of a gap at the cutoff is filled may depend on its end; what is filled may not, but by `interpolate`, from
    and to which no forecast is made inside a gap.
    """
    one, other = (table[table[DATE] <= cutoff] for table in (before, after))
    seen = [table_bytes(table[~table[FILLED]]) for table in (one, other)]
    if seen[0] != seen[1] or policy == "interpolate":
        return seen[0] == seen[1]
    filled = [table[table[FILLED]].set_index([TICKER, DATE]) for table in (one, other)]
    both = filled[0].index.intersection(filled[1].index)
    return table_bytes(filled[0].loc[both].reset_index()) == table_bytes(filled[1].loc[both].reset_index())


def made_of(learned: Learned, table: pd.DataFrame, cutoff: pd.Timestamp) -> dict[str, str]:
    """What the fitted pipelines make of the rows up to a cutoff."""
    evidence: dict[str, list[bytes]] = {stage: [] for stage in ("limits", "features", "labels", "windows")}
    for ticker, part in learned.parts.items():
        pipeline, mine = part.fitted.pipeline, table_of(table, ticker)
        cleaned, touched = pipeline.limits.apply(mine)
        seen = ((cleaned[DATE] <= cutoff) & ~cleaned[FILLED]).to_numpy()
        evidence["limits"].append(
            table_bytes(cleaned[seen]) + table_bytes(touched[(touched[DATE] <= cutoff) & ~mine.loc[touched.index, FILLED]])
        )
        evidence["features"].append(make_features(cleaned, pipeline.names)[seen].tobytes())
        evidence["labels"].append(_labels(pipeline, cleaned)[seen & _known(cleaned, cutoff, pipeline.horizon)].tobytes())
        evidence["windows"] += _windows(pipeline, mine, cutoff)
    return {stage: sha256(b"".join(parts)) for stage, parts in evidence.items()}


def _labels(pipeline: Pipeline, cleaned: pd.DataFrame) -> np.ndarray:
    """The target of every row and step, not scaled."""
    return targets_of(cleaned, pipeline.column, pipeline.horizon, pipeline.transform)


def _known(cleaned: pd.DataFrame, cutoff: pd.Timestamp, horizon: int) -> np.ndarray:
    """Rows whose last label was observed at or before the cutoff: a gap at the cutoff may be filled or not by where it ends."""
    ahead = cleaned[DATE].where(~cleaned[FILLED]).groupby(cleaned[TICKER], sort=False).shift(-horizon)
    return np.asarray((ahead <= cutoff).to_numpy())


def _windows(pipeline: Pipeline, table: pd.DataFrame, cutoff: pd.Timestamp) -> Iterator[bytes]:
    """Cutoff and content of every window that ends at or before a date."""
    prepared = pipeline.prepare(table)
    dates = table[DATE].to_numpy()[prepared.rows]
    chosen = dates <= cutoff.to_datetime64()
    yield dates[chosen].tobytes()
    for inputs in prepared.windows.pick(chosen).batches(4096):
        yield sha256(b"".join(each.tobytes() for each in inputs)).encode()


def labels_move(learned: Learned, table: pd.DataFrame, scaled: pd.DataFrame, cutoff: pd.Timestamp) -> bool:
    """Whether the first label of a window that ends at the cutoff follows the next session: one that does not forecasts nothing."""
    labels = []
    for each in (table, scaled):
        mine = [part.fitted.pipeline.limits.altered(table_of(each, ticker)) for ticker, part in learned.parts.items()]
        pairs = zip(learned.parts.values(), mine, strict=True)
        firsts = [_labels(part.fitted.pipeline, cleaned)[(cleaned[DATE] == cutoff).to_numpy(), 0] for part, cleaned in pairs]
        labels.append(np.concatenate(firsts))
    known = np.isfinite(labels[0]) & np.isfinite(labels[1]) if labels[0].shape == labels[1].shape else np.array([], dtype=int)
    return bool((labels[0][known] != labels[1][known]).all())


def learned_of(learned: Learned, table: pd.DataFrame, spans: Spans, cutoff: pd.Timestamp) -> dict[str, str]:
    """What was learned of the spans that end at or before a cutoff; nothing where the training span does not."""
    evidence = {}
    parts = [part.fitted for part in learned.parts.values()]
    if cutoff >= spans.train_end:
        evidence["limits"] = repr([fit.pipeline.limits.to_dict() for fit in parts])
        evidence["scaler"] = repr([fit.pipeline.to_dict() for fit in parts])
        evidence["split"] = repr(
            [_split(fit.pipeline, table_of(table, ticker), spans, cutoff) for ticker, fit in zip(learned.parts, parts, strict=True)]
        )
    if cutoff >= spans.validation_end:
        weights = [{name: sha256(array.tobytes()) for name, array in member.items()} for fit in parts for member in fit.members]
        losses = [(report.loss, report.validation_loss) for fit in parts for history in fit.histories for report in history.epochs]
        evidence["weights"] = repr((weights, losses))
    if cutoff >= spans.calibration_end:
        evidence["calibration"] = repr(([fit.readout.to_dict() for fit in parts], learned.conformal.to_list()))
        evidence["baselines"] = _forecast_digest(learned, table, cutoff, baselines=True)
    return evidence


def _split(pipeline: Pipeline, table: pd.DataFrame, spans: Spans, cutoff: pd.Timestamp) -> list[str]:
    """Cutoffs and labelled prices of each learning span that ends at or before a date."""
    cleaned = pipeline.limits.altered(table)
    numbers, dates, price = label_spans(cleaned, spans, pipeline.horizon), cleaned[DATE].to_numpy(), cleaned[pipeline.column].to_numpy()
    evidence = []
    for number, (_, end) in enumerate(list(spans.ends())[:3]):
        rows = np.flatnonzero(numbers == number)
        ahead = np.minimum(rows[:, None] + np.arange(1, pipeline.horizon + 1), len(cleaned) - 1)
        evidence += [sha256(dates[rows].tobytes() + dates[ahead].tobytes() + price[ahead].tobytes())] if end <= cutoff else []
    return evidence


def forecasts_of(learned: Learned, table: pd.DataFrame, cutoff: pd.Timestamp) -> dict[str, str]:
    """What is forecast from rows up to a cutoff."""
    return {name: _forecast_digest(learned, table, cutoff, baselines=name == "baselines") for name in ("forecasts", "baselines")}


def _forecast_digest(learned: Learned, table: pd.DataFrame, cutoff: pd.Timestamp, *, baselines: bool) -> str:
    dates = np.unique(table[DATE].to_numpy()[table[DATE] <= cutoff])[-FORECAST_SESSIONS:]
    possible = np.sort(learned.possible_rows(table))
    rows = possible[np.isin(table[DATE].to_numpy()[possible], dates)]
    made = forecast_span(learned.baselines if baselines else [learned.network], table, rows)
    made = made if baselines else learned.conformal.apply(made)
    return sha256(table_bytes(made[[TICKER, "cutoff", "step", "forecast", *QUANTILE_COLUMNS]]))


def adaptation_is_blind(learned: Learned, table: pd.DataFrame, begin: pd.Timestamp, cutoff: pd.Timestamp) -> bool:
    """Whether the width that follows the misses of a walk-forward knows no actual after its cutoff."""
    possible = np.sort(learned.possible_rows(table))
    rows = possible[table[DATE].to_numpy()[possible] >= begin.to_datetime64()]
    made = learned.conformal.apply(forecast_span([learned.network], table, rows))
    other = made.assign(actual=made["actual"].where(~(made[DATE] > cutoff), made["actual"] * 1000.0))
    past = (made["cutoff"] <= cutoff).to_numpy()
    one, two = (adapt(each.reset_index(drop=True))[past][list(QUANTILE_COLUMNS)] for each in (made, other))
    return table_bytes(one) == table_bytes(two)


def table_bytes(table: pd.DataFrame) -> bytes:
    """The content of a table, column by column; every NaN alike: equal tables give equal bytes."""
    parts = []
    for name in table.columns:
        column = table[name]
        if column.dtype == object:
            parts.append("\n".join(map(str, column)).encode())
        else:
            values = column.to_numpy()
            parts.append(np.where(np.isnan(values), np.nan, values).tobytes() if values.dtype.kind == "f" else values.tobytes())
    return b"\0".join(parts)
