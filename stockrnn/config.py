"""The config: one frozen class a section, read from YAML or built in code.

Each key is documented once, under its field; the README's table, the JSON Schema and the shipped files follow it.
A section's fields are the keyword arguments of what it configures. This file knows no prices and no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from stockrnn.dataconfig import Asked, Count, DataConfig, Fraction, Positive, Section

Units = Annotated[int, Field(ge=1, le=10_000)]
Cell = Literal["simple_rnn", "lstm", "gru"]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Indicator = Literal["log_return", "abs_return", "range", "overnight", "relative_volume", "close_location"]
OURS = ("open", "high", "low", "close", "volume")
"""The columns of every price table that may be features as they are."""
CALENDAR = ("day_of_week", "month_end", "days_since_last_session")
"""What a calendar tells of a session before it comes."""


class FeatureConfig(Section):
    """What the network sees of each session."""

    columns: tuple[ColumnName, ...] = Field(default=(), strict=False)
    """Columns used as they are: open, high, low, close, volume, or another column of the price file, by its header. They are
    seen up to the cutoff, never ahead; an empty cell takes the last value before it."""
    indicators: tuple[Indicator, ...] = Field(default=("log_return", "abs_return", "range", "overnight"), strict=False)
    """Computed from prices up to each session, in this order: log return, its absolute value, log(high/low), log(open/previous
    close), log volume minus its mean over the 60 sessions before, place of the close between low (-1) and high (1)."""
    known_ahead: tuple[ColumnName, ...] = Field(default=(), strict=False)
    """What is known in advance about the sessions to forecast, in daily files: `day_of_week`, `month_end` (the last session of its month)
    and `days_since_last_session` of the planned session, or a column of the price file, by its header, such as earnings dates. That column
    needs a value in every row, and the file needs rows for the coming sessions, with date and value but no prices."""
    scaler: Literal["minmax", "standard", "robust"] = "standard"
    """Scaling of features and target, fitted on the training span."""

    @field_validator("columns", "indicators", "known_ahead")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"a name must stand once. Received: {', '.join(twice)} more often")
        return names


class TargetConfig(Section):
    """What the network learns to forecast."""

    column: Literal["open", "high", "low", "close"] = "close"
    """The price that is forecast."""
    transform: Literal["log_return", "difference", "level"] = "log_return"
    """`log_return` and `difference` are changes from that price at the cutoff; `level` is the price itself."""


class WindowConfig(Section):
    """The shape of one sample."""

    lookback: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Sessions (timesteps) in a window; the last one is the cutoff."""
    shortest: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Fewest sessions in a window: those missing before a ticker's first session are masked, so that tickers with less history than
    `lookback` can be learned from and forecast; null means `lookback`."""
    horizon: Annotated[int, Field(ge=1, le=1000)] = 1
    """Sessions forecast after the cutoff."""


class SplitConfig(Section):
    """Fractions of time, in time order: the rest, at the start, is for training."""

    validation: Fraction = 0.15
    """Share for early stopping and for choosing settings."""
    calibration: Fraction = 0.1
    """Share for calibrating intervals, on forecasts of sessions not learned from: a `point` head takes its quantiles from there; those
    of other heads, and with them the median forecast, are shifted by split conformal prediction; 0 for no calibration."""
    test: Fraction = 0.15
    """Share that is scored, once, at the end."""

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitConfig:
        if self.validation + self.calibration + self.test >= 1.0 or self.validation == 0.0 or self.test == 0.0:
            raise ValueError("validation and test must be above 0, and validation + calibration + test below 1")
        return self


class ModelConfig(Section):
    """The network."""

    cell: Cell = "lstm"
    """The recurrent cell."""
    architecture: Literal["many_to_one", "many_to_many", "encoder_decoder", "one_to_many"] = "many_to_one"
    """`many_to_one` forecasts the whole horizon from the last state; `many_to_many` learns from every timestep of a window;
    `encoder_decoder` forecasts step by step, each from the one before; `one_to_many` sees the cutoff's session only."""
    units: tuple[Units, ...] = Field(default=(32,), min_length=1, strict=False)
    """Units of each stacked recurrent layer."""
    bidirectional: bool = False
    """Read the window forward and backward; it ends at the cutoff, so nothing after that is read."""
    attention: Literal["none", "additive", "dot"] = "none"
    """Weigh the states of all timesteps, by Bahdanau's `additive` score or Luong's `dot` product."""
    layer_norm: bool = False
    """Normalise the output of each recurrent layer."""
    residual: bool = False
    """From the second layer on, add the input of a recurrent layer to its output where their widths are equal."""
    dropout: Fraction = 0.0
    """Share of a layer's inputs dropped in training."""
    recurrent_dropout: Fraction = 0.0
    """Share of the recurrent state dropped in training, the same units at every timestep."""
    l1: Annotated[float, Field(ge=0.0)] = 0.0
    """L1 penalty on input and recurrent kernels."""
    l2: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 penalty on input and recurrent kernels."""
    head: Literal["point", "quantile", "student_t", "direction"] = "quantile"
    """`point` forecasts one value, with intervals from the calibration residuals, which may all lie on one side of it; `quantile`
    forecasts q05 … q95; `student_t` location, scale and degrees of freedom; `direction` the probability of a price above the cutoff's."""
    ticker_embedding: Annotated[int, Field(ge=0, le=64)] = 0
    """Width of a vector learned for each ticker of a shared network and seen beside every session, so that tickers may differ in more
    than scale; 0 for none. A ticker that was not learned gets the mean of the vectors."""
    anchor: Literal["none", "ewma", "har"] = "none"
    """Volatility model that the network starts from, so that it only learns what that leaves out: `ewma` (RiskMetrics), or `har`, a
    regression, fitted on the training span, on past ranges, returns and volume, on planned closings of the exchange and on news that recurs
    every 13 weeks, as earnings do. `har` also starts a little below the last close where that was near the session's high, and above it
    where it was near the low, by as much as prices came back from there in the past."""
    anchor_renewal: Annotated[int, Field(ge=0)] = 0
    """Refit `har` each time so many sessions have passed since training, on all that is known by then; 0 for never."""
    location_shrinkage: Fraction = 0.0
    """Share by which the centre of an anchored forecast is pulled back to where the network started: direction is mostly noise."""
    filtered_history: Fraction = 0.0
    """Weight of the quantiles of the last changes, in units of the anchor's scale at their time, in a forecast's; less for few changes."""
    filtered_sessions: tuple[Count, ...] = Field(default=(250,), min_length=1, strict=False)
    """How many changes that is; for several numbers, their quantiles are averaged."""


class EarlyStoppingConfig(Section):
    """When training stops before its last epoch."""

    patience: Count = 10
    """Epochs without a lower validation loss after which training stops."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """How much lower the loss must be to count."""


class TeacherForcingConfig(Section):
    """What a decoder is fed with in training: the actual of the step before, or its own forecast of it."""

    start: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of actual values in the first epoch."""
    epochs: Count = 20
    """Epochs over which the share falls to zero, linearly."""


class MemberConfig(Section):
    """How one network of an ensemble differs from `model` and `window`; keys left out are as there."""

    cell: Cell | None = None
    """The recurrent cell."""
    units: Annotated[tuple[Units, ...], Field(min_length=1, strict=False)] | None = None
    """Units of each stacked recurrent layer."""
    dropout: Fraction | None = None
    """Share of a layer's inputs dropped in training."""
    recurrent_dropout: Fraction | None = None
    """Share of the recurrent state dropped in training."""
    lookback: Annotated[int, Field(ge=1)] | None = None
    """Sessions, counted back from the cutoff, that it sees of a window."""


WORKER_KINDS = ("auto", "a number")
Workers = Annotated[
    Annotated[Literal["auto"], Tag(WORKER_KINDS[0])] | Annotated[int, Field(ge=1, le=1024), Tag(WORKER_KINDS[1])],
    Discriminator(lambda value: WORKER_KINDS[isinstance(value, int)]),
]
ENSEMBLE_KINDS = ("a number", "a list")
Ensemble = Annotated[
    Annotated[int, Field(ge=1, le=64), Tag(ENSEMBLE_KINDS[0])]
    | Annotated[tuple[MemberConfig, ...], Field(min_length=1, max_length=64, strict=False), Tag(ENSEMBLE_KINDS[1])],
    Discriminator(lambda value: ENSEMBLE_KINDS[isinstance(value, list | tuple)]),
]


class TrainConfig(Section):
    """How the network learns."""

    epochs: Count = 100
    """Most passes over the training windows; early stopping may end sooner."""
    batch_size: Count = 32
    """Windows per update."""
    optimizer: Literal["adam", "sgd", "rmsprop", "adamw"] = "adam"
    """The update rule."""
    learning_rate: Positive = 0.001
    """Its step size."""
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """`cosine` lets the step size fall to zero over all epochs; `plateau` halves it after 5 epochs without improvement."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the step size rises to `learning_rate`, linearly."""
    loss: Literal["auto", "mse", "mae", "huber", "pinball", "nll", "cross_entropy"] = "auto"
    """`auto` is `mse` for a `point` head, `pinball` for `quantile`, `nll` for `student_t`, `cross_entropy` for `direction`."""
    clip_norm: Positive | None = 1.0
    """Largest norm of the whole gradient; null for none."""
    clip_value: Positive | None = None
    """Largest absolute value of one entry of the gradient, applied before `clip_norm`; null for none."""
    teacher_forcing: TeacherForcingConfig = TeacherForcingConfig()
    """What the decoder of an `encoder_decoder` is fed with in training."""
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    """When training stops."""
    restore: Literal["best", "last"] = "best"
    """Which weights a network keeps: those of the epoch with the lowest validation loss, or of the last epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Every random number derives from it."""
    ensemble: Ensemble = 1
    """How many networks are trained, from different seeds, and averaged by quantile; or a list that says how each one differs from
    `model` and `window`: cell, units, dropout, recurrent_dropout, lookback."""
    mc_dropout: Annotated[int, Field(ge=0, le=64)] = 0
    """Dropout samples of each network that a forecast averages, like an ensemble; 0 uses dropout in training only."""
    workers: Workers = "auto"
    """Processes that train tickers, folds, members or halves of large batches in parallel, to the same result; `auto`: as many as pay."""

    @property
    def members(self) -> tuple[MemberConfig, ...]:
        """The networks of the ensemble."""
        return (MemberConfig(),) * self.ensemble if isinstance(self.ensemble, int) else self.ensemble


class Config(Section):
    """All that a run depends on, besides the data."""

    data: DataConfig = DataConfig()
    features: FeatureConfig = FeatureConfig()
    target: TargetConfig = TargetConfig()
    window: WindowConfig = WindowConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def networks(self) -> tuple[tuple[ModelConfig, int], ...]:
        """The model section and the lookback of each network of the ensemble."""
        own = [member.model_dump(exclude_none=True) for member in self.train.members]
        lookbacks = [changes.pop("lookback", self.window.lookback) for changes in own]
        return tuple((self.model.model_copy(update=changes), lookback) for changes, lookback in zip(own, lookbacks, strict=True))

    @property
    def shortest(self) -> int:
        """The fewest sessions of a window."""
        return self.window.shortest or self.window.lookback

    @property
    def asked(self) -> Asked:
        """What the features need of the price file beside prices."""
        past = tuple(name for name in self.features.columns if name not in OURS)
        ahead = tuple(name for name in self.features.known_ahead if name not in CALENDAR)
        return Asked(tuple(name for name in self.features.known_ahead if name in CALENDAR), past, ahead, self.target.column)

    @property
    def samples(self) -> int:
        """How many networks each trained one forecasts as: thinned copies of it, or itself."""
        return max(1, self.train.mc_dropout)

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        for holds, message in _agreements(self):
            if not holds:
                raise ValueError(message)
        return self


MOST_NETWORKS = 64
"""Networks that a forecast may be the mean of."""
PLATEAU_PATIENCE = 5
"""Epochs without improvement after which `train.schedule: plateau` halves the step size."""
LOSSES_OF_HEAD = {"point": ("mse", "mae", "huber"), "quantile": ("pinball",), "student_t": ("nll",), "direction": ("cross_entropy",)}
"""The losses each head can learn with, its default first."""


def _agreements(config: Config) -> Iterator[tuple[bool, str]]:
    losses = LOSSES_OF_HEAD[config.model.head]
    loss, head = config.train.loss, config.model.head
    yield loss in ("auto", *losses), f"`train.loss` must fit `model.head: {head}`: {', '.join(losses)}. Received: {loss}"
    yield (
        head != "point" or config.split.calibration > 0,
        "`split.calibration` must be above 0 for `model.head: point`, which takes its intervals from it. Received: 0",
    )
    yield (
        bool(config.features.columns or config.features.indicators),
        "`features.columns` or `features.indicators` must name at least one feature. Received: none",
    )
    yield from _column_agreements(config.features)
    yield (
        config.shortest <= config.window.lookback,
        f"`window.shortest` must be at most `window.lookback` {config.window.lookback}. Received: {config.shortest}",
    )
    yield (
        config.model.ticker_embedding == 0 or config.data.panel == "together",
        f"`model.ticker_embedding` must be 0 for `data.panel: separate`, one network a ticker. Received: {config.model.ticker_embedding}",
    )
    for model, lookback in config.networks():
        yield from _network_agreements(model, config.window.model_copy(update={"lookback": lookback}))
    yield from _ensemble_agreements(config)
    yield from _sampling_agreements(config)
    yield from _training_agreements(config)


def _column_agreements(features: FeatureConfig) -> Iterator[tuple[bool, str]]:
    indicators = get_args(Indicator)
    for key, names, taken in (
        ("columns", features.columns, (*indicators, *CALENDAR)),
        ("known_ahead", features.known_ahead, (*indicators, *OURS)),
    ):
        ours = [name for name in names if name in taken]
        yield (
            not ours,
            f"`features.{key}` must name other columns than those made from prices or a calendar. Received: {', '.join(ours)}",
        )


def _network_agreements(model: ModelConfig, window: WindowConfig) -> Iterator[tuple[bool, str]]:
    shape = model.architecture
    summarises = shape in ("many_to_one", "encoder_decoder")
    why = "its window is one session" if shape == "one_to_many" else "it would read what is to be forecast"
    yield (
        not model.bidirectional or summarises,
        f"`model.bidirectional` must be false for `model.architecture: {shape}`: {why}. Received: true",
    )
    yield (
        model.attention == "none" or summarises,
        f"`model.attention` must be none for `model.architecture: {shape}`, which has no summary to weigh. Received: {model.attention}",
    )
    yield (
        model.attention == "none" or window.lookback > 1,
        f"`window.lookback` must be above 1 for `model.attention: {model.attention}`: one timestep always has all the weight. Received: 1",
    )
    yield (
        not model.residual or any(a == b for a, b in zip(model.units, model.units[1:], strict=False)),
        f"`model.units` must hold two equal neighbours for `model.residual`. Received: {list(model.units)}",
    )
    span = "horizon" if shape == "one_to_many" else "lookback"
    yield (
        model.recurrent_dropout == 0 or shape == "encoder_decoder" or getattr(window, span) > 1,
        f"`model.recurrent_dropout` must be 0 for `window.{span}: 1`, where no state is handed on. Received: {model.recurrent_dropout:g}",
    )
    yield (
        shape != "one_to_many" or window.lookback == 1,
        f"`window.lookback` must be 1 for `model.architecture: one_to_many`, which sees one session. Received: {window.lookback}",
    )


def _ensemble_agreements(config: Config) -> Iterator[tuple[bool, str]]:
    longest = max(lookback for _, lookback in config.networks())
    yield (
        longest == config.window.lookback,
        f"`window.lookback` must be the longest lookback in `train.ensemble`. Received: {config.window.lookback} and {longest}",
    )
    for key, kinds in (("filtered_history", ("ewma", "har")), ("location_shrinkage", ("ewma", "har")), ("anchor_renewal", ("har",))):
        fits = getattr(config.model, key) == 0 or config.model.anchor in kinds
        yield fits, f"`model.anchor` must be {' or '.join(kinds)} for `model.{key}`. Received: {config.model.anchor}"
    given = config.model.model_fields_set & {"filtered_history", "filtered_sessions"}  # a config that holds both may turn the first off
    yield given != {"filtered_sessions"}, "`model.filtered_history` must be above 0 for `model.filtered_sessions`. Received: none"
    for name, value, allowed in (
        ("target.transform", config.target.transform, ("log_return",)),
        ("model.head", config.model.head, ("quantile", "student_t")),
    ):
        fits = config.model.anchor == "none" or value in allowed
        yield fits, f"`{name}` must be {' or '.join(allowed)} for `model.anchor: {config.model.anchor}`. Received: {value}"


def _sampling_agreements(config: Config) -> Iterator[tuple[bool, str]]:
    networks = config.networks()
    yield (
        config.train.mc_dropout == 0 or all(model.dropout > 0 or model.recurrent_dropout > 0 for model, _ in networks),
        "`model.dropout` or `model.recurrent_dropout` must be above 0 in every network for `train.mc_dropout`. Received: 0 for both",
    )
    yield (
        config.samples * len(networks) <= MOST_NETWORKS,
        f"`train.mc_dropout` must be at most {MOST_NETWORKS} over all networks. Received: {config.samples} in each of {len(networks)}",
    )


def _training_agreements(config: Config) -> Iterator[tuple[bool, str]]:
    train, patience = config.train, config.train.early_stopping.patience
    yield (
        config.model.architecture == "encoder_decoder" or train.teacher_forcing == TeacherForcingConfig(),
        f"`train.teacher_forcing` must be left out for `model.architecture: {config.model.architecture}`, which has no decoder to teach",
    )
    yield (
        config.window.horizon > 1 or train.teacher_forcing == TeacherForcingConfig(),
        "`train.teacher_forcing` must be left out for `window.horizon: 1`, where no step comes before the first",
    )
    yield (
        config.model.head != "direction" or config.target.transform != "level",
        "`target.transform` must be log_return or difference for `model.head: direction`, the sign of a change. Received: level",
    )
    yield (
        train.warmup < train.epochs,
        f"`train.warmup` must be smaller than `train.epochs`. Received: {train.warmup} and {train.epochs}",
    )
    yield (
        train.schedule != "plateau" or patience > PLATEAU_PATIENCE,
        f"`train.early_stopping.patience` must be above {PLATEAU_PATIENCE} for `train.schedule: plateau`. Received: {patience}",
    )
