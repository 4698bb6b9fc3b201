"""Does anything up to a cutoff depend on what comes after it? On the user's own data and config, stage by stage, byte by byte.

Everything after a cutoff is replaced, deleted or scaled, in memory, as if the file had said so; then what the stages make of
the rows up to the cutoff is compared with what they made before. Training is shortened: a leak needs no good network.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.dataconfig import DataConfig
from stockrnn.errors import DataError, DivergedError
from stockrnn.evaluation.evidence import adaptation_is_blind, forecasts_of, labels_move, learned_of, made_of, same_past
from stockrnn.evaluation.learning import Learned, learn, table_of
from stockrnn.evaluation.scoring import history_until
from stockrnn.evaluation.trials import make_arena, searched_spans
from stockrnn.features.learnable import learnable_tickers
from stockrnn.features.splits import SPAN_NAMES, Spans, split_time
from stockrnn.prices.intake import read_files
from stockrnn.prices.loading import Prices, find_files, prices_of
from stockrnn.prices.ordering import row_days, to_days
from stockrnn.prices.parts import join_parts, span_of
from stockrnn.prices.readings import Rows
from stockrnn.prices.steps import told
from stockrnn.training.context import TrainingContext
from stockrnn.types import DATE, FILLED, INTRADAY, PRICES, TICKER, UNDATED, VOLUME

STAGES: dict[str, str] = {
    "reading": "prices as read, adjusted and cleaned",
    "limits": "limits of outliers, and what they flag or alter",
    "features": "features of every row",
    "labels": "what each row is to forecast",
    "split": "which rows train, validate and calibrate",
    "scaler": "scaling of features and target",
    "windows": "windows the network sees",
    "weights": "weights and losses of every epoch",
    "calibration": "spread and shifts of the intervals, and their width in a walk-forward",
    "forecasts": "forecasts of the network",
    "baselines": "forecasts of the baselines",
    "search": "prices that the trials of a search see",
}
"""What is compared, in the order in which data pass; the first that differs is the one that leaks."""
EPOCHS, MEMBERS = 3, 2
"""Most epochs and networks of a training inside the audit."""


def _replaced(values: np.ndarray, after: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).lognormal(0.0, 1.0, len(values))
    return np.where(after, values * noise, values)


def _scaled(values: np.ndarray, after: np.ndarray, seed: int) -> np.ndarray:
    del seed
    return np.where(after, values * 1000.0, values)


CHANGES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None] = {"replaced": _replaced, "scaled": _scaled, "deleted": None}
"""What is done to everything after a cutoff: (column, rows after it, seed) → column; None removes the rows."""
UNSEEN = "none"
"""Named in place of a change by checks that make none: of dates, and of labels that must follow their price."""


@dataclass(frozen=True)
class Leak:
    """A stage whose past changed with the future.

    Attributes:
        stage: a name in `STAGES`.
        cutoff: last row left alone: its date as ISO 8601, or its number where the file has no dates.
        change: a name in `CHANGES`, or `UNSEEN`.
    """

    stage: str
    cutoff: str | int
    change: str


@dataclass(frozen=True)
class Audited:
    """What an audit found.

    Attributes:
        cutoffs: the rows after which everything was changed, likewise.
        checks: comparisons made of each stage.
        leaks: those that failed, in the order of the stages.
        epochs: epochs each network was trained.
    """

    cutoffs: tuple[str | int, ...]
    checks: Mapping[str, int]
    leaks: tuple[Leak, ...]
    epochs: int

    @property
    def stage(self) -> str | None:
        """The stage that leaks: the first one, as those after it are made from it. None where nothing leaks."""
        return self.leaks[0].stage if self.leaks else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `audit`."""
        facts = {
            "passed": not self.leaks,
            "stage": self.stage,
            "cutoffs": list(self.cutoffs),
            "changes": list(CHANGES),
            "epochs": self.epochs,
        }
        return {"format": 1, **facts, "checks": dict(self.checks), "leaks": [asdict(leak) for leak in self.leaks]}


def audit(config: Config, on_probe: Callable[[int, int], None] | None = None) -> Audited:
    """Change the future of a price file in every way and compare what the past becomes.

    Args:
        config: the whole config; its training is cut to `EPOCHS` epochs and `MEMBERS` networks.
        on_probe: called with the number of cutoffs done and of all.

    Raises:
        DataError: what `train` raises for these data and this config.
    """
    subject = _Subject.of(_shortened(config))
    cutoffs = _cutoffs(subject)
    ledger = _Ledger(subject.prices.step)
    for done, cutoff in enumerate(cutoffs):
        if on_probe is not None:
            on_probe(done, len(cutoffs))
        _probe(subject, cutoff, ledger)
    _check_split(subject, ledger)
    _check_search(subject, ledger)
    leaks = sorted(dict.fromkeys(ledger.leaks), key=lambda leak: list(STAGES).index(leak.stage))
    checks = {stage: ledger.checks[stage] for stage in STAGES}
    return Audited(tuple(told(cutoff, ledger.step) for cutoff in cutoffs), checks, tuple(leaks), subject.config.train.epochs)


def _shortened(config: Config) -> Config:
    train = config.train.model_copy(update={"epochs": min(config.train.epochs, EPOCHS), "ensemble": config.train.members[:MEMBERS]})
    return config.model_copy(update={"train": train})


@dataclass
class _Ledger:
    """Comparisons made of rows of this step, and those that failed."""

    step: str
    checks: Counter[str] = field(default_factory=Counter)
    leaks: list[Leak] = field(default_factory=list)

    def note(self, stage: str, cutoff: pd.Timestamp, change: str, same: bool) -> None:
        """Count a comparison."""
        self.checks[stage] += 1
        if not same:
            self.leaks.append(Leak(stage, told(cutoff, self.step), change))

    def compare(self, cutoff: pd.Timestamp, change: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Compare the evidence of some stages."""
        for stage, digest in before.items():
            self.note(stage, cutoff, change, after[stage] == digest)


@dataclass(frozen=True)
class _Subject:
    """What is audited: the files in memory, and all that was learned from them.

    Attributes:
        config: the shortened config.
        data: how the files are read; the order of undated rows, which their values decide, is settled.
        files: their rows.
        prices: what the stages made of them.
        tickers: those with enough history to learn from.
        table: the price table of these tickers.
        spans: where each span ends.
        learned: what the table taught.
    """

    config: Config
    data: DataConfig
    files: Sequence[Rows]
    prices: Prices
    tickers: Sequence[str]
    table: pd.DataFrame
    spans: Spans
    learned: Learned

    @classmethod
    def of(cls, config: Config) -> _Subject:
        """Read and learn."""
        files = [rows for path in find_files(config.data.path) for rows in read_files(path, config.data, config.asked)]
        files = join_parts(files, [span_of(pd.Series(rows.stamps)) for rows in files])  # a file that is deleted renames no other
        prices = prices_of(files, config.data, config.asked)
        order = prices.readings[0].order if prices.step == UNDATED else config.data.order
        data = config.data.model_copy(update={"order": order})
        spans = split_time(prices.table[DATE], config.split.validation, config.split.calibration, config.split.test)
        tickers, _ = learnable_tickers(prices.table, spans, config)
        table = _only(prices.table, tickers)
        return cls(config, data, files, prices, tickers, table, spans, learn(config, table, spans, TrainingContext(known=prices.known)))

    def changed(self, cutoff: pd.Timestamp, change: str) -> Prices | None:
        """What the files would give if everything after a cutoff were different; None where too little is left to be read as before.

        A single bar, for example, does not tell whether there are times of day.
        """
        files = [_change(rows, self._dates(rows), cutoff, change, self.config.asked.ahead) for rows in self.files]
        with contextlib.suppress(DataError):
            whole = prices_of([rows for rows in files if len(rows.codes)], self.data, self.config.asked)
            return whole if (whole.step == INTRADAY) == (self.prices.step == INTRADAY) else None
        return None

    def _dates(self, rows: Rows) -> np.ndarray:
        """The date that each row of a file gets."""
        if self.prices.step != UNDATED:
            return rows.stamps if self.prices.step == INTRADAY else to_days(rows.stamps)
        return row_days(rows.codes, self.data.order)


def _only(table: pd.DataFrame, tickers: Sequence[str]) -> pd.DataFrame:
    return table[table[TICKER].isin(tickers)].reset_index(drop=True)


def _change(rows: Rows, dates: np.ndarray, cutoff: pd.Timestamp, change: str, ahead: Sequence[str]) -> Rows:
    after, changed = dates > cutoff.to_datetime64(), CHANGES[change]
    if changed is None and not ahead:
        kept, own = ({name: column[~after] for name, column in columns.items()} for columns in (rows.values, rows.own))
        return replace(rows, codes=rows.codes[~after], stamps=rows.stamps[~after], rows=rows.rows[~after], values=kept, own=own)
    changed = changed or _emptied  # a row that tells what is known ahead stays, without prices
    values = {name: changed(column, after, seed) for seed, (name, column) in enumerate(rows.values.items())}
    own = {name: column if name in ahead else changed(column, after, len(values) + k) for k, (name, column) in enumerate(rows.own.items())}
    return replace(rows, values=values, own=own)


def _emptied(values: np.ndarray, after: np.ndarray, _: int) -> np.ndarray:
    return np.where(after, np.nan, values)


def _cutoffs(subject: _Subject) -> list[pd.Timestamp]:
    """The first sessions, the ends of the spans, some of the test span, and where something is missing, as filling might look ahead."""
    table, spans = subject.prices.table, subject.spans
    dates = np.sort(table[DATE].unique())
    test = np.flatnonzero(dates > spans.calibration_end.to_datetime64())
    places = {0, 1, 5, subject.config.window.lookback + 1, *test[[len(test) // 3, len(test) // 2, -2 if len(test) > 1 else -1]]}
    chosen = {dates[place] for place in places if place < len(dates) - 1} | {end.to_datetime64() for end in _learning_ends(spans)}
    missing = table[FILLED] | table[[*PRICES, VOLUME]].isna().any(axis=1)
    begins = np.flatnonzero(missing & ~missing.shift(1, fill_value=False))
    for row in begins[np.linspace(0, len(begins) - 1, min(3, len(begins))).astype(int)]:
        chosen |= set(table[DATE].to_numpy()[max(row - 1, 0) : row + 1])
    return [pd.Timestamp(date) for date in sorted(chosen) if date < dates[-1]]


def _probe(subject: _Subject, cutoff: pd.Timestamp, ledger: _Ledger) -> None:
    """Change everything after one cutoff in every way."""
    spans, learned = subject.spans, subject.learned
    before = _evidence(learned, subject.table, spans, cutoff)
    learned_then = learned_of(learned, subject.table, spans, cutoff) if cutoff in set(_learning_ends(spans)) else {}
    for change in CHANGES:
        whole = subject.changed(cutoff, change)
        if whole is None:
            continue
        ledger.note("reading", cutoff, change, same_past(subject.prices.table, whole.table, cutoff, subject.config.data.missing.policy))
        table = _only(whole.table, subject.tickers)
        if table[TICKER].nunique() < len(subject.tickers):
            continue
        ledger.compare(cutoff, change, before, _evidence(learned, table, spans, cutoff))
        if change == "scaled":
            ledger.note("labels", cutoff, UNSEEN, labels_move(learned, subject.table, table, cutoff))
        if learned_then:
            with contextlib.suppress(DataError, DivergedError):  # a deleted span leaves nothing to learn from, a wild one may lead astray
                again = learn(subject.config, table, spans, TrainingContext(known=whole.known))
                ledger.compare(cutoff, change, learned_then, learned_of(again, table, spans, cutoff))
    if cutoff >= spans.calibration_end:
        ledger.note("calibration", cutoff, "scaled", adaptation_is_blind(learned, subject.table, spans.validation_end, cutoff))


def _evidence(learned: Learned, table: pd.DataFrame, spans: Spans, cutoff: pd.Timestamp) -> dict[str, str]:
    """What the fitted pipelines make of the past, and from the end of learning on what is forecast."""
    made = made_of(learned, table, cutoff)
    return made if cutoff < spans.calibration_end else {**made, **forecasts_of(learned, table, cutoff)}


def _learning_ends(spans: Spans) -> list[pd.Timestamp]:
    """The cutoffs at which everything is learned again; at later ones that would only repeat what the last of these shows."""
    return [end for _, end in spans.ends()][:3]


def _check_split(subject: _Subject, ledger: _Ledger) -> None:
    """Whether the windows of each learning span have all their labels in it, by date."""
    from stockrnn.training.recurrent import split_windows

    history = history_until(subject.table, subject.spans.calibration_end)
    ends = dict(subject.spans.ends())
    for ticker, part in subject.learned.parts.items():
        pipeline, mine = part.fitted.pipeline, table_of(history, ticker)
        cleaned = pipeline.limits.altered(mine)
        dates = cleaned[DATE].to_numpy()
        for name, windows in split_windows(pipeline, mine, subject.spans, subject.config.split.calibration > 0).items():
            begin = pd.Timestamp.min if name == SPAN_NAMES[0] else ends[SPAN_NAMES[SPAN_NAMES.index(name) - 1]]
            rows = np.searchsorted(pipeline.places(cleaned), windows.ends)
            first, last = dates[rows + 1], dates[rows + pipeline.horizon]
            inside = (first > begin.to_datetime64()) & (last <= ends[name].to_datetime64())
            ledger.note("split", ends[name], UNSEEN, bool(inside.all()))


def _check_search(subject: _Subject, ledger: _Ledger) -> None:
    """Whether the trials of `tune` see the prices up to the validation end alone. Deleting later ones would move that end."""
    config, prices = subject.config, subject.prices
    with contextlib.suppress(DataError):  # too little history for a search
        before, cutoff = make_arena(config, prices.table, 1, prices.known), searched_spans(config, prices.table[DATE]).validation_end
        for change in ("replaced", "scaled"):
            whole = subject.changed(cutoff, change)
            if whole is not None:
                after = make_arena(config, whole.table, 1, whole.known)
                inside = before.prices[DATE].max() <= cutoff and before.folds == after.folds
                ledger.note("search", cutoff, change, inside and same_past(before.prices, after.prices, cutoff, config.data.missing.policy))
