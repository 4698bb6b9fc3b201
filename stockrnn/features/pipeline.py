"""Prices → windows and back: all that is learned before the network, fitted on the training span and kept as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import DataError
from stockrnn.features.ahead import Ahead, fit_ahead
from stockrnn.features.anchors import Anchor, fit_anchor
from stockrnn.features.indicators import make_features, split_available, unknown_columns
from stockrnn.features.renewal import Renewal
from stockrnn.features.scaling import Scaler, fit_scaler
from stockrnn.features.splits import Spans, label_spans
from stockrnn.features.targets import TRANSFORMS, make_targets
from stockrnn.features.windows import Windows, places_after_padding, window_ends, with_room
from stockrnn.prices.cleaning import OutlierLimits, fit_outliers
from stockrnn.prices.known import NOTHING_KNOWN, Known
from stockrnn.prices.schedule import Plan, plan_of
from stockrnn.prices.steps import dated
from stockrnn.prices.tickers import of_ticker, ticker_blocks, ticker_slices
from stockrnn.types import AHEAD, DATE, FILLED, TICKER, UNDATED, RowIndex

LEAST_SESSIONS = 20
"""Training sessions below which a ticker of a panel is left out: neither scaler nor baseline can learn from fewer."""


@dataclass(frozen=True)
class Prepared:
    """The windows of a price table.

    Attributes:
        windows: every window there is.
        rows: row of each window's cutoff in the price table, shape (n,).
        cleaned: the table the windows were cut from, outliers treated; its index holds the price table's rows.
    """

    windows: Windows
    rows: RowIndex
    cleaned: pd.DataFrame


@dataclass(frozen=True)
class Pipeline:
    """The fitted road from a price table to windows, and from scaled forecasts back to prices.

    Attributes:
        names: features in the order of the window tensor's last axis.
        absent: features that were asked for and that the training span cannot give, or in too few of its rows.
        limits: outlier limits.
        features: scaler of the features, for each ticker.
        target: scaler of the target (a column a step), for each ticker.
        column: the price that is forecast.
        transform: name in `TRANSFORMS`.
        lookback: timesteps of a window.
        shortest: fewest timesteps of a window that are sessions; those before its ticker's first session are NaN.
        horizon: steps ahead.
        anchors: location and scale of the target, for each ticker; none for a network without an anchor.
        ahead: what is known of the steps ahead.
        embedded: the tickers that the network tells apart, in the order of their numbers; none for one without an embedding.
    """

    names: tuple[str, ...]
    absent: tuple[str, ...]
    limits: OutlierLimits
    features: dict[str, Scaler]
    target: dict[str, Scaler]
    column: str
    transform: str
    lookback: int
    shortest: int
    horizon: int
    anchors: dict[str, Anchor]
    ahead: Ahead = field(default_factory=Ahead)
    embedded: tuple[str, ...] = ()

    @property
    def beside(self) -> dict[str, tuple[str, ...]]:
        """What a network is given beside a window: the name of each input, and of its columns."""
        inputs: dict[str, tuple[str, ...]] = {}
        if self.ahead.names:
            inputs[AHEAD] = self.ahead.columns
        if self.embedded:
            inputs[TICKER] = (TICKER,)
        return inputs

    def prepare(self, prices: pd.DataFrame) -> Prepared:
        """All windows of a price table.

        A window needs `shortest` sessions in a row with all features, and a cutoff whose close was observed and that knows what is
        known ahead of all its steps.
        """
        cleaned = self.limits.altered(prices)
        places = self.places(cleaned)
        size = int(places[-1]) + 1 if len(places) else 0
        series = with_room((size, len(self.names)), np.nan if self.shortest < self.lookback else 0.0)
        targets = with_room((size, self.horizon), np.nan)
        shapes = {AHEAD: (size, self.horizon, len(self.ahead.columns)), TICKER: (size, 1)}
        beside = {name: with_room(shapes[name], 0.0) for name in self.beside}
        usable, foreseen = np.zeros((2, len(cleaned)), bool)
        for rows, ticker, features, labels, ahead in self._scaled(cleaned):
            complete, known = np.isfinite(features).all(axis=1), np.isfinite(ahead).all(axis=(1, 2))
            usable[rows], foreseen[rows] = complete, known
            first = int(places[rows.start])
            placed = slice(first, first + len(features))  # where the ticker's rows stand in the series
            series[placed][complete] = features[complete]
            targets[placed][complete & known] = labels[complete & known]
            values = {AHEAD: np.nan_to_num(ahead), TICKER: self._number(ticker)}
            for name, array in beside.items():
                array[placed] = values[name]
        ends = window_ends(usable, cleaned[TICKER].to_numpy(), self.shortest)
        ends = ends[(foreseen & ~cleaned[FILLED].to_numpy())[ends]]
        return Prepared(Windows(series, targets, places[ends], self.lookback, beside), cleaned.index.to_numpy()[ends], cleaned)

    def _scaled(self, cleaned: pd.DataFrame) -> Iterator[tuple[slice, str, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each ticker: its rows, its name, and of each row the features, the labels, and what is known ahead, all float32."""
        for some in ticker_blocks(cleaned[TICKER]):
            part = cleaned.iloc[some]
            raw, targets = make_features(part, self.names), targets_of(part, self.column, self.horizon, self.transform)
            for ticker, rows in ticker_slices(part[TICKER]).items():
                its = part.iloc[rows]
                features = of_ticker(self.features, ticker).transform(raw[rows]).astype(np.float32)
                labels = self._labels(its, ticker, targets[rows]).astype(np.float32)
                mine = slice(some.start + rows.start, some.start + rows.stop)
                yield mine, ticker, features, labels, self.ahead.values(its, ticker, self.horizon)

    def changes(self, cleaned: pd.DataFrame, ticker: str) -> np.ndarray:
        """The scaled target of each of a ticker's rows and each step, NaN where it is unknown, float64, shape (rows, horizon)."""
        return self._labels(cleaned, ticker, targets_of(cleaned, self.column, self.horizon, self.transform))

    def _labels(self, cleaned: pd.DataFrame, ticker: str, targets: np.ndarray) -> np.ndarray:
        location, scale = self._start(cleaned, ticker)
        return of_ticker(self.target, ticker).transform((targets - location) / scale)

    def _number(self, ticker: str) -> int:
        """The number of a ticker that the network tells apart, from 1; 0 for another one."""
        return self.embedded.index(ticker) + 1 if ticker in self.embedded else 0

    def joined(self, other: Pipeline) -> Pipeline:
        """This pipeline for the tickers of another one, too, of the same config; its network does not tell these apart."""
        return replace(
            self,
            limits=replace(self.limits, fitted={**self.limits.fitted, **other.limits.fitted}),
            features={**self.features, **other.features},
            target={**self.target, **other.target},
            anchors={**self.anchors, **other.anchors},
            ahead=self.ahead.joined(other.ahead),
        )

    def places(self, cleaned: pd.DataFrame) -> RowIndex:
        """Row of each session in the windows' series, which has room before each ticker where windows may be short, shape (rows,)."""
        return places_after_padding(cleaned[TICKER].to_numpy(), self.lookback - 1 if self.shortest < self.lookback else 0)

    def windows_at(self, prices: pd.DataFrame, rows: RowIndex) -> Windows:
        """The windows that end at these rows. Raises DataError where one has too little history."""
        prepared = self.prepare(prices)
        cutoffs = prepared.rows
        found = np.searchsorted(cutoffs, rows)
        found = np.minimum(found, max(len(cutoffs) - 1, 0))
        if len(cutoffs) == 0 or (cutoffs[found] != rows).any():
            raise self._too_little(prices, int(rows[0] if len(cutoffs) == 0 else rows[cutoffs[found] != rows][0]))
        return prepared.windows.pick(found)

    def _too_little(self, prices: pd.DataFrame, row: int) -> DataError:
        """Why no window ends at a row: what it lacks of its past. Raises DataError itself where the future is not known."""
        ticker = str(prices[TICKER][row])
        self.ahead.refuse_unknown(prices.iloc[[row]], ticker, self.horizon)
        past = prices.iloc[: row + 1][prices[TICKER][: row + 1] == ticker]
        lacking = unknown_columns(past, self.names, self.shortest) if len(past) > self.shortest else []
        day = dated(prices[DATE][row], "" if self.ahead.known.dated else UNDATED)
        hint = f"Give a file with {', '.join(lacking)}" if lacking else "Give more history"
        return DataError(
            f"A forecast needs {self.shortest} complete rows up to its cutoff, and one more where a feature is a change. "
            f"Received: {len(past)} of {ticker} up to {day}. {hint}."
        )

    def to_prices(self, scaled: np.ndarray, prices: pd.DataFrame, rows: RowIndex) -> np.ndarray:
        """Scaled forecasts as prices in currency; any number of values a step.

        Args:
            scaled: forecasts in scaled target space, shape (n, horizon, values).
            prices: the price table that holds the cutoffs.
            rows: row of each cutoff, shape (n,).
        """
        base = prices[self.column].to_numpy()[rows]
        cleaned = self.limits.altered(prices)
        left = ticker_slices(cleaned[TICKER])
        result = np.empty(scaled.shape)
        for ticker, its in ticker_slices(prices[TICKER]).items():
            mine = np.flatnonzero((rows >= its.start) & (rows < its.stop))
            if not len(mine):
                continue
            past = cleaned.iloc[left[ticker]]
            inverted = of_ticker(self.target, ticker).inverse(np.moveaxis(scaled[mine].astype(np.float64), 1, 2))
            at = np.searchsorted(past.index.to_numpy(), rows[mine])
            location, scale = (part[at][:, None, :] for part in self._start(past, ticker))
            target = np.moveaxis(location + inverted * scale, 2, 1)
            result[mine] = TRANSFORMS[self.transform].inverse(target, base[mine][:, None, None])
        return result

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        plain = {name: getattr(self, name) for name in ("column", "transform", "lookback", "shortest", "horizon")}
        scalers = {name: {t: s.to_dict() for t, s in getattr(self, name).items()} for name in ("features", "target", "anchors")}
        known: dict[str, Any] = {"ahead": self.ahead.to_dict()} if self.ahead.names else {}
        known |= {"embedded": list(self.embedded)} if self.embedded else {}
        plans = {anchor.plan.name: anchor.plan.to_dict() for anchor in self.anchors.values() if anchor.plan is not None}
        known |= {"plans": [*plans.values()]} if plans else {}
        return {"names": list(self.names), "absent": list(self.absent), "limits": self.limits.to_dict(), **scalers, **plain, **known}

    @classmethod
    def from_dict(cls, state: dict[str, Any], known: Known = NOTHING_KNOWN) -> Pipeline:
        """The pipeline of a state written by `to_dict`, for a price file that tells what is known ahead."""
        features, target = ({t: Scaler.from_dict(s) for t, s in state[name].items()} for name in ("features", "target"))
        limits = OutlierLimits.from_dict(state["limits"])
        plain = {name: state[name] for name in ("column", "transform", "lookback", "horizon")}
        plain["shortest"] = state.get("shortest", state["lookback"])
        plans = {plan.name: plan for plan in map(Plan.from_dict, state.get("plans", ()))}
        anchors = {ticker: Anchor.from_dict(anchor, plans) for ticker, anchor in state.get("anchors", {}).items()}
        ahead = Ahead.from_dict(state["ahead"], known) if "ahead" in state else Ahead(known=known)
        names, absent, embedded = (tuple(state.get(name, ())) for name in ("names", "absent", "embedded"))
        return cls(names, absent, limits, features, target, **plain, anchors=anchors, ahead=ahead, embedded=embedded)

    def _start(self, prices: pd.DataFrame, ticker: str) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale that a ticker's target is told from and in units of at each of its rows, both (rows, horizon)."""
        if not self.anchors:
            return np.zeros((len(prices), self.horizon)), np.ones((len(prices), self.horizon))
        return of_ticker(self.anchors, ticker).start(prices)


@dataclass(frozen=True)
class Lesson:
    """What may be learned from one ticker.

    Attributes:
        ticker: its name.
        rows: its rows in the table.
        table: these.
        features: of each row, not scaled, shape (rows, features).
        targets: of each row, not scaled, shape (rows, horizon).
        seen: whether a row is a session of the training span with all features, shape (rows,).
        labels: number of the span that holds all labels of a row, -1 where it has not all of them, shape (rows,).
    """

    ticker: str
    rows: slice
    table: pd.DataFrame
    features: np.ndarray
    targets: np.ndarray
    seen: np.ndarray
    labels: np.ndarray

    def spans(self, shortest: int) -> set[int]:
        """The numbers of the spans that hold a whole window and its labels."""
        ends = window_ends(np.isfinite(self.features).all(axis=1), np.zeros(len(self.labels)), shortest)
        return set(self.labels[ends].tolist())


def lessons(cleaned: pd.DataFrame, names: Sequence[str], spans: Spans, config: Config) -> Iterator[Lesson]:
    """That of each ticker of a table, outliers treated."""
    target, horizon = config.target, config.window.horizon
    for some in ticker_blocks(cleaned[TICKER]):
        part = cleaned.iloc[some]
        raw, targets = make_features(part, names), targets_of(part, target.column, horizon, target.transform)
        seen = (part[DATE] <= spans.train_end).to_numpy() & np.isfinite(raw).all(axis=1) & ~part[FILLED].to_numpy()
        labels = np.where(np.isfinite(targets).all(axis=1), label_spans(part, spans, horizon), -1)
        for ticker, rows in ticker_slices(part[TICKER]).items():
            mine = slice(some.start + rows.start, some.start + rows.stop)
            yield Lesson(ticker, mine, part.iloc[rows], raw[rows], targets[rows], seen[rows], labels[rows])


def treated(prices: pd.DataFrame, spans: Spans, config: Config) -> tuple[list[str], list[str], OutlierLimits, pd.DataFrame]:
    """The features that the training span can give, and those it cannot; the outlier limits, and the table that they leave."""
    names, absent = split_available(prices[prices[DATE] <= spans.train_end], config.features.columns, config.features.indicators)
    limits = fit_outliers(prices, spans.train_end, **config.data.outliers.model_dump())
    return names, absent, limits, limits.altered(prices)


def fit_pipeline(prices: pd.DataFrame, spans: Spans, config: Config, known: Known = NOTHING_KNOWN) -> Pipeline:
    """Learn outlier limits and scalers from the training span of a price table, whose file tells what is known ahead.

    Raises:
        DataError: too few training sessions for a window, a price that never changes, no usable feature, an embedding of one ticker.
    """
    names, absent, limits, cleaned = treated(prices, spans, config)
    window, target = config.window, config.target
    shape = window.lookback, config.shortest, window.horizon
    empty = Pipeline(tuple(names), tuple(absent), limits, {}, {}, target.column, target.transform, *shape, {})
    learn = np.zeros(len(cleaned), bool)
    features, scaled_target, anchors = {}, {}, {}
    for lesson in lessons(cleaned, names, spans, config):
        _check_history(lesson, names, spans, config)
        learn[lesson.rows] = lesson.seen
        features[lesson.ticker] = fit_scaler(lesson.features[lesson.seen], config.features.scaler)
        changes, labelled = lesson.targets, lesson.labels == 0
        if config.model.anchor != "none":
            anchors[lesson.ticker], changes = _anchored(lesson, spans, config, known)
        scaler = fit_scaler(changes[labelled], config.features.scaler)
        signed = config.model.head == "direction" or config.model.anchor != "none"  # no change must stay zero
        scaled_target[lesson.ticker] = replace(scaler, offset=(0.0,) * window.horizon) if signed else scaler
    ahead = fit_ahead(cleaned[learn], config.features, config.data.calendar, known)
    embedded = tuple(features) if config.model.ticker_embedding else ()
    if len(embedded) == 1:
        raise DataError(f"`model.ticker_embedding` must have several tickers to tell apart. Received: {embedded[0]} alone. Set it to 0.")
    return replace(empty, features=features, target=scaled_target, anchors=anchors, ahead=ahead, embedded=embedded)


def _anchored(lesson: Lesson, spans: Spans, config: Config, known: Known) -> tuple[Anchor, np.ndarray]:
    """A ticker's fitted anchor, and its targets from there, in units of its scale."""
    kind, mine, labelled = config.model.anchor, lesson.table, lesson.labels == 0
    past = mine[DATE][(mine[DATE] <= spans.train_end) & ~mine[FILLED]]
    plan = plan_of(past, lesson.ticker, config.data.calendar) if kind == "har" and known.dated else None
    anchor = fit_anchor(kind, mine, lesson.targets, labelled, config.target.column, plan)
    location, scale = anchor.start(mine)
    every = config.model.anchor_renewal
    renewal = Renewal(every, spans.train_end.to_datetime64(), int(labelled.sum()), config.target.column) if every else None
    return replace(anchor, renewal=renewal), (lesson.targets - location) / scale


def fit_newcomer(prices: pd.DataFrame, config: Config, known: Known = NOTHING_KNOWN) -> Pipeline:
    """The pipeline of a ticker that no network learned, from all of its history: what it takes to forecast it through a shared one.

    Args:
        prices: a price table of the ticker up to the cutoff.
        config: the whole config.
        known: what the price file tells of days before they come.

    Raises:
        DataError: as `fit_pipeline`.
    """
    last = prices[DATE].max()
    alone = config.model_copy(update={"model": config.model.model_copy(update={"ticker_embedding": 0})})
    return fit_pipeline(prices, Spans(last, last, last, last), alone, known)


def targets_of(cleaned: pd.DataFrame, column: str, horizon: int, transform: str) -> np.ndarray:
    """The target of every row and step, not scaled, NaN where it is unknown, float64, shape (rows, horizon)."""
    price = cleaned[column].to_numpy()
    usable = ~cleaned[FILLED].to_numpy() & np.isfinite(price)
    return make_targets(price, usable, cleaned[TICKER].to_numpy(), horizon, transform)


def need_of(config: Config) -> int:
    """Sessions of the training span that a ticker is learned from, at least."""
    return max(config.shortest, LEAST_SESSIONS) + config.window.horizon


def _check_history(lesson: Lesson, names: Sequence[str], spans: Spans, config: Config) -> None:
    need, have, ticker, column = need_of(config), int(lesson.seen.sum()), lesson.ticker, config.target.column
    trained = (lesson.table[DATE] <= spans.train_end).to_numpy() & ~lesson.table[FILLED].to_numpy()
    if have < need:
        known = np.isfinite(lesson.features[trained]).sum(axis=0)
        rare = [name for name, count in zip(names, known, strict=True) if count < need <= trained.sum()]
        hint = f"Leave {', '.join(rare)} out, known in too few of them," if rare else "Shorten the window"
        raise DataError(
            f"The training span needs `window.lookback`, or `window.shortest` (never under {LEAST_SESSIONS}) + `window.horizon` rows "
            f"of {ticker}. Received: need {need}, have {have}. {hint} or give more history."
        )
    price = lesson.table[column][lesson.seen]
    if price.nunique() < 2:
        raise DataError(f"The {column} of {ticker} must change. Received: {price.iloc[0]:g} in all {have} training rows.")
    if not (lesson.labels == 0).any():
        raise DataError(
            f"The training span needs a row of {ticker} with {config.window.horizon} observed ones after it. Received: none, "
            f"{have} observed. Shorten `window.horizon`, or set `data.missing` to drop."
        )
