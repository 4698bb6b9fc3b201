"""The recurrent forecaster: pipeline, networks of one or more seeds, and the readout, behind the one contract."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config, TrainConfig
from stockrnn.engines import ALONE, Engine, Tell
from stockrnn.errors import DataError, DivergedError, NotFittedError
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.features.splits import SPAN_NAMES, Spans, label_spans
from stockrnn.features.windows import Windows, roomy
from stockrnn.models.exporting import export_onnx
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.models.networks import NetworkSpec, first_weights, network_weights, rest_network, set_network_weights, shared_network
from stockrnn.models.panel import SeparateForecaster
from stockrnn.models.seeds import derive_seed
from stockrnn.models.thinning import Weights, thinned_members
from stockrnn.models.windowed import Readout, fit_readout, forecast_windows
from stockrnn.prices.known import NOTHING_KNOWN, Known
from stockrnn.training.checkpoint import Checkpoint
from stockrnn.training.context import NO_CONTEXT, TrainingContext
from stockrnn.training.fitted import Fitted, Start
from stockrnn.training.loop import EpochReport, History, calmer, is_shared, predict_windows, train_beside, train_network
from stockrnn.training.pairing import Address, Pair, PartedError
from stockrnn.types import RowIndex

LARGE_BATCH = 1024
"""Windows up to which a batch may be larger than all there are, so that folds and tickers of other lengths share what is compiled."""
BEYOND = 1e6
"""Times the price at its cutoff, from which on a forecast is that of a network that has diverged."""


class RecurrentForecaster(Forecaster):
    """A SimpleRNN, LSTM or GRU network as the config describes it; `name` is its cell."""

    def __init__(
        self,
        config: Config,
        on_epoch: Callable[[EpochReport], None] | None = None,
        checkpoints: Path | None = None,
        start: Start | None = None,
        engine: Engine = ALONE,
        known: Known = NOTHING_KNOWN,
        pipeline: Callable[[], Pipeline] | None = None,
    ) -> None:
        """Store what a TrainingContext says; `checkpoints` is what the files of an unfinished training begin with."""
        self.config = config
        self.on_epoch = on_epoch
        self.checkpoints = checkpoints
        self.start = start
        self.engine = engine
        self.known = known
        self.pipeline = pipeline
        self.name = config.model.cell
        self.horizon = config.window.horizon
        self.column = config.target.column
        self.fitted_: Fitted | None = None

    def fit(self, prices: pd.DataFrame, spans: Spans) -> RecurrentForecaster:
        """Train every member. Raises DataError (too little history) and DivergedError."""
        config = self.config
        pipeline = fit_pipeline(prices, spans, config, self.known) if self.pipeline is None else self.pipeline()
        parts = split_windows(pipeline, prices, spans, config.split.calibration > 0)
        specs = network_specs(config, len(pipeline.names), len(pipeline.ahead.columns), len(pipeline.embedded))
        before = None if self.start is None else self.start.fitted
        start = self.start if before and (before.specs, before.pipeline.names) == (specs, pipeline.names) else None
        lessons = _Lessons(config, specs, parts["train"], parts["validation"], start, self.checkpoints)
        with _pair(self.engine, lessons) as pair:
            trained = self.engine.run(_train_member, replace(lessons, pair=pair), range(len(specs)), on_report=self.on_epoch)
        members, histories = zip(*trained, strict=True)
        train, held_out = parts["train"], parts.get("calibration", parts["validation"].pick(np.arange(0)))
        outputs = member_outputs(*self._sampled(specs, members), held_out)
        readout = fit_readout(config.model, train.targets[train.ends], outputs, held_out.targets[held_out.ends])
        counts = {name: len(windows) for name, windows in parts.items()}
        self.fitted_ = Fitted(pipeline, readout, specs, members, histories, counts)
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from each cutoff row, averaging the members' outputs. Raises DivergedError where that is beyond every price."""
        fitted = self.fitted
        with np.errstate(over="ignore", invalid="ignore"):
            forecast = forecast_windows(fitted.pipeline, fitted.readout, self.outputs, prices, rows, self.config.model)
        largest = BEYOND * prices[self.column].to_numpy()[rows]
        if not (np.abs(forecast.quantiles) < largest[:, None, None]).all():  # nor where they are no numbers
            raise DivergedError(
                f"The forecasts of a trained network must be prices. Received: numbers beyond every price. {calmer(self.config.train)}"
            )
        return forecast

    def state(self) -> dict[str, Any]:
        """What else `restore` needs, as JSON."""
        return {"pipeline": self.fitted.pipeline.to_dict(), "readout": self.fitted.readout.to_dict()}

    def history_table(self) -> pd.DataFrame:
        """Each epoch of each member: member, epoch, loss, validation_loss, learning_rate, gradient_norm, restored."""
        names = ["member", "epoch", "loss", "validation_loss", "learning_rate", "gradient_norm"]
        tables = [
            pd.DataFrame([{name: getattr(report, name) for name in names} for report in history.epochs]).assign(
                restored=[report.epoch == history.restored_epoch for report in history.epochs]
            )
            for history in self.fitted.histories
        ]
        return pd.concat(tables, ignore_index=True)

    def onnx(self) -> bytes:
        """The ensemble as one ONNX model, from windows to the raw outputs of every member, or of its samples of dropout."""
        return export_onnx(*self._sampled(self.fitted.specs, self.fitted.members))

    def outputs(self, windows: Windows) -> np.ndarray:
        """The raw outputs of every member, or of its samples of dropout: shape (n, members · samples, horizon, parameters)."""
        return member_outputs(*self._sampled(self.fitted.specs, self.fitted.members), windows)

    def _sampled(self, specs: Sequence[NetworkSpec], members: Sequence[Weights]) -> tuple[tuple[NetworkSpec, ...], tuple[Weights, ...]]:
        """The networks that forecast: the trained ones, or samples of dropout of each."""
        return thinned_members(specs, members, self.config.train.mc_dropout, self.config.train.seed)

    @property
    def fitted(self) -> Fitted:
        """What `fit` learnt. Raises NotFittedError before it."""
        if self.fitted_ is None:
            raise NotFittedError(f"{self.name} must be fitted before it forecasts. Received: no fit. Call `fit` first.")
        return self.fitted_


@dataclass(frozen=True)
class _Lessons:
    """What all members of a forecaster learn from, wherever they are trained."""

    config: Config
    specs: tuple[NetworkSpec, ...]
    train: Windows
    validation: Windows
    start: Start | None
    checkpoints: Path | None
    pair: Pair | None = None

    def first_network(self, member: int) -> Any:
        """The network of a member before its first epoch."""
        spec, start, config = self.specs[member], self.start, self.config
        weights = first_weights(spec, derive_seed(config.train.seed, "member", member)) if start is None else start.fitted.members[member]
        network = shared_network(spec)
        set_network_weights(network, weights)
        if start is None and config.model.anchor != "none":
            rest_network(network, self.train.targets[self.train.ends])
        return network

    def settings(self) -> TrainConfig:
        """How a member learns: in batches that are not much larger than all there is to learn from."""
        train = self.config.train
        epochs = train.epochs if self.start is None else self.start.epochs
        return train.model_copy(update={"epochs": epochs, "batch_size": min(train.batch_size, roomy(len(self.train), LARGE_BATCH))})

    def checkpoint(self, member: int) -> Checkpoint | None:
        """Where a member's state is kept."""
        path = self.checkpoints
        return None if path is None else Checkpoint(path.with_name(f"{path.name}.member{member}"))

    def given(self, member: int) -> dict[str, Any]:
        """What a member is trained with, besides its network."""
        lookback, config = self.specs[member].lookback, self.config
        windows = {"train": self.train.last(lookback), "validation": self.validation.last(lookback)}
        return {**windows, "train_config": self.settings(), "head": config.model.head, "seed": config.train.seed, "member": member}


def _train_member(lessons: _Lessons, member: int, tell: Tell) -> tuple[dict[str, np.ndarray], History]:
    """A unit of work: one network, from its first weights to its best."""
    network = lessons.first_network(member)
    history = train_network(network, **lessons.given(member), on_epoch=tell, checkpoint=lessons.checkpoint(member), pair=lessons.pair)
    return network_weights(network), history


@contextlib.contextmanager
def _pair(engine: Engine, lessons: _Lessons) -> Iterator[Pair | None]:
    """Another process that trains the one network with this one, where it is large and there is one."""
    pair = Pair.first() if is_shared(lessons.specs[0], lessons.settings()) else None
    if pair is None:
        yield None
        return
    with engine.beside(_train_beside, (lessons, pair.address)) as pair.gone:
        try:
            yield pair
        finally:
            pair.close()


def _train_beside(shared: tuple[_Lessons, Address], unit: None, tell: Tell) -> str:
    """What the other process does; why it could not, if so."""
    del unit, tell
    lessons, address = shared
    try:
        with contextlib.suppress(PartedError), contextlib.closing(Pair.second(address)) as pair:
            train_beside(shared_network(lessons.specs[0]), **lessons.given(0), pair=pair)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "Cannot allocate memory"
        return f"No second process could help to train ({reason}): one trained alone."
    return ""


def network_forecaster(config: Config, context: TrainingContext = NO_CONTEXT) -> Forecaster:
    """One network for all tickers, or one for each, as `data.panel` says; not fitted yet."""
    numbers, folder, engine = itertools.count(), context.checkpoints, context.engine

    def of_ticker(ticker: str) -> RecurrentForecaster:
        state = folder and folder / f"part{next(numbers) if ticker else 0}"
        of_all = () if ticker else (context.pipeline,)
        return RecurrentForecaster(
            config, None if ticker else context.on_epoch, state, context.starts.get(ticker), engine, context.known, *of_all
        )

    kinds: dict[str, Callable[[], Forecaster]] = {
        "together": lambda: of_ticker(""),
        "separate": lambda: SeparateForecaster(of_ticker, engine=engine, on_epoch=context.on_epoch),
    }
    return kinds[config.data.panel]()


def parts_of(network: Forecaster) -> dict[str, RecurrentForecaster]:
    """The fitted networks by ticker; one that all tickers share stands under the empty name."""
    parts = network.parts if isinstance(network, SeparateForecaster) else {"": network}
    return {ticker: part for ticker, part in parts.items() if isinstance(part, RecurrentForecaster)}


def histories_table(parts: Mapping[str, RecurrentForecaster]) -> pd.DataFrame:
    """Each epoch of each network: ticker, member (numbered over all tickers), epoch, losses, learning_rate, gradient_norm, restored."""
    tables = [part.history_table().assign(ticker=ticker) for ticker, part in parts.items()]
    size = max(int(table["member"].max()) + 1 for table in tables)
    table = pd.concat([each.assign(member=each["member"] + k * size) for k, each in enumerate(tables)], ignore_index=True)
    return table[["ticker", *(name for name in table.columns if name != "ticker")]]


def save_weights(parts: Iterable[RecurrentForecaster]) -> bytes:
    """The weights of every member of every part as a safetensors file, named part<k>/member<j>/<layer>/<weight>."""
    from safetensors.numpy import save

    named = {
        f"part{k}/member{j}/{name}": np.asarray(value, order="C")
        for k, part in enumerate(parts)
        for j, weights in enumerate(part.fitted.members)
        for name, value in weights.items()
    }
    return bytes(save({name: named[name] for name in sorted(named)}))


def restore(
    config: Config,
    parts: Sequence[Mapping[str, Any]],
    weights: bytes,
    pipeline_of: Callable[[dict[str, Any]], Pipeline] = Pipeline.from_dict,
) -> Forecaster:
    """The forecaster of a finished run.

    Args:
        config: its config.
        parts: what scaler.json holds of each network.
        weights: its weights.safetensors.
        pipeline_of: makes a pipeline of its state.
    """
    from safetensors.numpy import load

    members: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, value in load(weights).items():
        part, member, weight = name.split("/", 2)
        members.setdefault((part, member), {})[weight] = value
    restored = {}
    for number, state in enumerate(parts):
        pipeline, readout = pipeline_of(state["pipeline"]), Readout.from_dict(state["readout"])
        specs = network_specs(config, len(pipeline.names), len(pipeline.ahead.columns), len(pipeline.embedded))
        mine = tuple(members[f"part{number}", f"member{k}"] for k in range(len(specs)))
        restored[state["ticker"]] = RecurrentForecaster(config)
        restored[state["ticker"]].fitted_ = Fitted(pipeline, readout, specs, mine, (), {})
    return restored[""] if "" in restored else SeparateForecaster(lambda ticker: restored[ticker], restored)


def network_specs(config: Config, features: int, ahead: int = 0, tickers: int = 0) -> tuple[NetworkSpec, ...]:
    """The shape of each network of the ensemble, for so many features, columns known ahead, and tickers told apart."""
    horizon = config.window.horizon
    return tuple(
        NetworkSpec(features, lookback, horizon, model, config.shortest < lookback, ahead, tickers) for model, lookback in config.networks()
    )


def member_outputs(specs: Sequence[NetworkSpec], members: Sequence[Weights], windows: Windows) -> np.ndarray:
    """Every member's raw outputs, float64, shape (n, members, horizon, parameters)."""
    outputs = []
    for spec, weights in zip(specs, members, strict=True):
        network = shared_network(spec)
        set_network_weights(network, weights)
        outputs.append(predict_windows(network, windows.last(spec.lookback)).astype(np.float64))
    return np.stack(outputs, axis=1)


def split_windows(pipeline: Pipeline, prices: pd.DataFrame, spans: Spans, calibrate: bool) -> dict[str, Windows]:
    """The windows of each learning span: all labels of a window lie in it. Raises DataError where a span has none."""
    prepared = pipeline.prepare(prices)
    windows = prepared.windows
    complete = np.isfinite(windows.targets[windows.ends]).all(axis=1)
    rows = np.searchsorted(pipeline.places(prepared.cleaned), windows.ends)
    numbers = np.where(complete, label_spans(prepared.cleaned, spans, pipeline.horizon)[rows], -1)
    parts = {}
    for number, name in enumerate(SPAN_NAMES[: 3 if calibrate else 2]):
        parts[name] = windows.pick(numbers == number)
        if len(parts[name]) == 0:
            sessions = int((spans.numbers(prices["date"]) == number).sum())
            raise DataError(
                f"The {name} span must hold a whole window: `window.lookback` or `window.shortest` {pipeline.shortest} + `window.horizon` "
                f"{pipeline.horizon} rows. Received: {sessions}. Shorten the window, or give more history."
            )
    return parts
