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
    """Columns as they are: open, high, low, close, volume, or a column of the price file by its header. It is seen up to
    the cutoff, never ahead; where it is empty, the last value stands."""
    indicators: tuple[Indicator, ...] = Field(default=("log_return", "abs_return", "range", "overnight"), strict=False)
    """Causal columns made from prices: log return, its size, log(high/low), log(open/previous close), log volume less its mean
    over the last 60 sessions."""
    known_ahead: tuple[ColumnName, ...] = Field(default=(), strict=False)
    """What is known of the sessions to come and enters the steps ahead, of daily files: `day_of_week`, `month_end` (its month's last) and
    `days_since_last_session` of the planned session, or a column of the price file by its header, such as a day of earnings. The file has a
    value in every row, and rows of the sessions to come with a date, that value and no price."""
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
    """Sessions (timesteps) a window holds; the last one is the cutoff."""
    shortest: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Fewest sessions of a window: those missing before a ticker's first session are masked, so that tickers younger than `lookback`
    are learned from and forecast; null for `lookback`."""
    horizon: Annotated[int, Field(ge=1, le=1000)] = 1
    """Sessions forecast after the cutoff."""


class SplitConfig(Section):
    """Fractions of time, in time order: the rest, at the start, is for training."""

    validation: Fraction = 0.15
    """Early stopping and the choice of settings."""
    calibration: Fraction = 0.1
    """Where intervals are calibrated, on forecasts of sessions not learned from: a `point` head takes its quantiles from there,
    those of other heads, and the forecast at their median, are shifted by split conformal; 0 leaves it out."""
    test: Fraction = 0.15
    """Scored once, at the end."""

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
    """`many_to_one` gives the whole horizon from the last state; `many_to_many` learns from every timestep of a window;
    `encoder_decoder` forecasts step after step, each from the one before; `one_to_many` sees the cutoff's session alone."""
    units: tuple[Units, ...] = Field(default=(32,), min_length=1, strict=False)
    """Units of each stacked recurrent layer."""
    bidirectional: bool = False
    """Read the window forward and backward; it ends at the cutoff, so nothing of the future is read."""
    attention: Literal["none", "additive", "dot"] = "none"
    """Weigh the states of all timesteps: by Bahdanau's `additive` score or Luong's `dot` product."""
    layer_norm: bool = False
    """Normalise the output of each recurrent layer."""
    residual: bool = False
    """Add the input of a recurrent layer to its output, from the second layer on, where their widths are equal."""
    dropout: Fraction = 0.0
    """Share of a layer's inputs dropped in training."""
    recurrent_dropout: Fraction = 0.0
    """Share of the recurrent state dropped in training, the same units at every timestep."""
    l1: Annotated[float, Field(ge=0.0)] = 0.0
    """L1 penalty on input and recurrent kernels."""
    l2: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 penalty on input and recurrent kernels."""
    head: Literal["point", "quantile", "student_t", "direction"] = "quantile"
    """`point` forecasts one value and takes its intervals from calibration residuals, which may lie to one side of it; `quantile`
    forecasts q05 … q95; `student_t` location, scale and degrees of freedom; `direction` the probability of a price above the cutoff's."""
    ticker_embedding: Annotated[int, Field(ge=0, le=64)] = 0
    """Width of a vector that one network of several tickers learns of each and sees beside every session, so that they may differ in more
    than scale; 0 for none. A ticker it did not learn gets the mean of the vectors."""
    anchor: Literal["none", "ewma", "har"] = "none"
    """Scale that the network starts from, so that it learns what a volatility model leaves out: `ewma` (RiskMetrics), or `har`, a
    regression on past ranges, returns and volume, on closings that the exchange planned and on news that recur every 13 weeks as earnings
    do, learned on the training span. `har` starts a little below the last close where that was near the session's high, and above it near
    the low, as far as the past has come back from there."""
    anchor_renewal: Annotated[int, Field(ge=0)] = 0
    """Sessions, counted from the end of training, after which `har` is learned anew from all that is known by then; 0 for never."""
    location_shrinkage: Fraction = 0.0
    """Share of what a network says of an anchored change's location that is taken back, as which way the price goes is mostly noise."""
    filtered_history: Fraction = 0.0
    """Share of a forecast's quantiles taken from the last changes, in units of the anchor's scale at their time; fewer count for less."""
    filtered_sessions: tuple[Count, ...] = Field(default=(250,), min_length=1, strict=False)
    """How many changes that is; of several numbers, the mean of their quantiles is taken."""


class EarlyStoppingConfig(Section):
    """When training stops; the best weights are put back."""

    patience: Count = 10
    """Epochs without improvement of the validation loss."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """The least improvement that counts."""


class TeacherForcingConfig(Section):
    """What a decoder is fed with in training: the actual of the step before, or its own forecast of it."""

    start: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of actuals in the first epoch."""
    epochs: Count = 20
    """Epochs over which the share falls to zero, in a straight line."""


class MemberConfig(Section):
    """How one network of an ensemble differs from `model` and `window`; what is not given is theirs."""

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
    """Most passes over the training windows."""
    batch_size: Count = 32
    """Windows per update."""
    optimizer: Literal["adam", "sgd", "rmsprop", "adamw"] = "adam"
    """The update rule."""
    learning_rate: Positive = 0.001
    """Its step size."""
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """`cosine` lets the step size fall to zero over all epochs; `plateau` halves it after 5 epochs without improvement."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the step size rises to `learning_rate`, in a straight line."""
    loss: Literal["auto", "mse", "mae", "huber", "pinball", "nll", "cross_entropy"] = "auto"
    """`auto` is `mse` for a `point` head, `pinball` for `quantile`, `nll` for `student_t`, `cross_entropy` for `direction`."""
    clip_norm: Positive | None = 1.0
    """Largest norm of the whole gradient; null for none."""
    clip_value: Positive | None = None
    """Largest size of one entry of the gradient, before `clip_norm`; null for none."""
    teacher_forcing: TeacherForcingConfig = TeacherForcingConfig()
    """What the decoder of an `encoder_decoder` is fed with in training."""
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    """When training stops."""
    restore: Literal["best", "last"] = "best"
    """Whose weights a network has afterwards: those of the epoch of lowest validation loss, or of the last one."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Every random number derives from it."""
    ensemble: Ensemble = 1
    """Networks trained from different seeds; their quantiles are averaged. A list gives each network's differences from `model`
    and `window`: cell, units, dropout, recurrent_dropout, lookback."""
    mc_dropout: Annotated[int, Field(ge=0, le=64)] = 0
    """Samples of dropout that each network also forecasts with, averaged like an ensemble; 0 drops in training alone."""
    workers: Workers = "auto"
    """Processes that train tickers, folds, members or halves of large batches at the same time, to the same result; `auto`: what pays."""

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
        calendar, ahead = (tuple(name for name in self.features.known_ahead if (name in CALENDAR) == ours) for ours in (True, False))
        return Asked(calendar, past, ahead, self.target.column)

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
