"""Every allowed combination is built and trained as it says; every other one has its sentence."""

import itertools

import numpy as np
import pytest

from stockrnn.config import LOSSES_OF_HEAD, Config, ModelConfig, TeacherForcingConfig, TrainConfig
from stockrnn.features.windows import Windows
from stockrnn.models.architectures import ARCHITECTURES
from stockrnn.models.attention import Attention
from stockrnn.models.backend import keras, tf
from stockrnn.models.cells import CELLS
from stockrnn.models.heads import HEADS
from stockrnn.models.networks import build_network, network_weights, set_network_weights
from stockrnn.training.engine import TrainingSpec, training_engine
from stockrnn.training.loop import predict_windows, train_network

pytestmark = pytest.mark.network
FEATURES, LOOKBACK, HORIZON = 2, 6, 3
BOTH, ATTENTIONS = (False, True), ("none", "additive", "dot")
SUMMARISING = ("many_to_one", "encoder_decoder")
SHAPES = [
    {"architecture": architecture, "bidirectional": bidirectional, "attention": attention}
    for architecture, bidirectional, attention in itertools.product(ARCHITECTURES, BOTH, ATTENTIONS)
    if architecture in SUMMARISING or not (bidirectional or attention != "none")
]


def lookback_of(model):
    return 1 if model.get("architecture") == "one_to_many" else LOOKBACK


def network(seed=0, lookback=None, masked=False, **model):
    settings = ModelConfig(**{"units": (4, 4), "head": "point", **model})
    return build_network(
        features=FEATURES, lookback=lookback or lookback_of(model), horizon=HORIZON, model=settings, seed=seed, masked=masked
    )


def batch(net, n=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *net.input_shape[1:])).astype("float32")


def name(shape):
    return "-".join([shape["architecture"], *(["bidirectional"] if shape["bidirectional"] else []), shape["attention"]])


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_every_allowed_shape_gives_the_heads_numbers(shape):
    place = SHAPES.index(shape)
    cell, head = sorted(CELLS)[place % 3], sorted(HEADS)[place % 4]
    assert Config(model={**shape, "cell": cell}, window={"lookback": lookback_of(shape)}).model.cell == cell
    net = network(**shape, cell=cell, head=head, layer_norm=place % 2 == 0, residual=place % 3 == 0)
    output = net(batch(net)).numpy()
    assert output.shape == (5, HORIZON, HEADS[head].params)
    assert np.isfinite(output).all()
    assert len({*network_weights(net)}) == len(net.weights)
    rebuilt = network(7, **shape, cell=cell, head=head, layer_norm=place % 2 == 0, residual=place % 3 == 0)
    set_network_weights(rebuilt, network_weights(net))
    np.testing.assert_array_equal(rebuilt(batch(net)), output)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"model": {"architecture": "many_to_many", "bidirectional": True}}, "model.bidirectional"),
        ({"model": {"architecture": "one_to_many", "bidirectional": True}, "window": {"lookback": 1}}, "model.bidirectional"),
        ({"model": {"architecture": "many_to_many", "attention": "dot"}}, "model.attention"),
        ({"model": {"architecture": "one_to_many", "attention": "additive"}, "window": {"lookback": 1}}, "model.attention"),
        ({"model": {"attention": "dot"}, "window": {"lookback": 1}}, "window.lookback"),
        ({"model": {"architecture": "one_to_many"}}, "window.lookback"),
        ({"model": {"residual": True}}, "model.units"),
        ({"model": {"residual": True, "units": [4, 5, 4]}}, "model.units"),
        ({"model": {"recurrent_dropout": 0.1}, "window": {"lookback": 1}}, "model.recurrent_dropout"),
        ({"model": {"recurrent_dropout": 0.1, "architecture": "one_to_many"}, "window": {"lookback": 1}}, "model.recurrent_dropout"),
        ({"train": {"teacher_forcing": {"start": 0.5}}}, "train.teacher_forcing"),
        ({"model": {"architecture": "encoder_decoder"}, "train": {"teacher_forcing": {"start": 0.5}}}, "train.teacher_forcing"),
        ({"model": {"head": "direction"}, "target": {"transform": "level"}}, "target.transform"),
        ({"train": {"warmup": 100}}, "train.warmup"),
        ({"train": {"schedule": "plateau", "early_stopping": {"patience": 5}}}, "train.early_stopping.patience"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(tree, sentence):
    with pytest.raises(ValueError, match=rf"`{sentence}` must"):
        Config.model_validate(tree)


def test_choices_of_the_config_are_the_names_here():
    fields = ModelConfig.model_fields
    assert set(fields["architecture"].annotation.__args__) == set(ARCHITECTURES)
    assert set(fields["cell"].annotation.__args__) == set(CELLS)
    assert set(fields["attention"].annotation.__args__) == set(ATTENTIONS)


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_attention_follows_its_equations(kind):
    generator = np.random.default_rng(0)
    layer = Attention(kind, 0)
    query, states = generator.normal(size=(2, 4)).astype("float32"), generator.normal(size=(2, 7, 4)).astype("float32")
    context = layer(query, states).numpy()
    if kind == "additive":
        w, u, v = (np.asarray(weight) for weight in (layer.query, layer.key, layer.score))
        scores = (np.tanh((query @ w)[:, None] + states @ u) * v).sum(-1)
    else:
        scores = np.einsum("bu,btu->bt", query, states)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(layer.weights_of(query, layer.keys(states)), weights, atol=1e-6)
    np.testing.assert_allclose(context, np.einsum("bt,btu->bu", weights, states), atol=1e-6)


def test_a_residual_stack_adds_what_went_in():
    net, plain = network(residual=True, units=(4, 4, 4)), network(units=(4, 4, 4))
    set_network_weights(plain, network_weights(net))
    x, layers = batch(net), [plain.get_layer(f"recurrent_{k}") for k in (1, 2, 3)]
    first = layers[0](x)
    second = first + layers[1](first)
    last = second[:, -1] + layers[2](second)
    wanted = plain.get_layer("head")(last)
    np.testing.assert_allclose(net(x).numpy()[..., 0], wanted, atol=1e-6)


def test_layer_norm_stands_after_each_recurrent_layer():
    net = network(layer_norm=True)
    probe = keras.Model(net.input, [net.get_layer("norm_1").output, net.get_layer("norm_2").output])
    for output in probe(batch(net)):
        np.testing.assert_allclose(np.asarray(output).mean(-1), 0, atol=1e-5)


def test_both_directions_start_from_different_weights():
    weights = network_weights(network(bidirectional=True))
    assert not np.array_equal(weights["recurrent_1/forward_cell/kernel"], weights["recurrent_1/backward_cell/kernel"])


def test_many_to_many_forecasts_with_its_last_timestep_and_no_timestep_sees_a_later_one():
    net = network(architecture="many_to_many", head="quantile")
    x = batch(net)
    learned = net.learning.model(x).numpy()
    assert learned.shape == (5, LOOKBACK, HORIZON, 19)
    np.testing.assert_allclose(net(x), learned[:, -1], atol=1e-6)
    x[:, 4:] = 99.0
    np.testing.assert_array_equal(net.learning.model(x).numpy()[:, :4], learned[:, :4])


def test_one_to_many_differs_along_its_path():
    net = network(architecture="one_to_many")
    path = net(batch(net)).numpy()[..., 0]
    assert (np.abs(np.diff(path, axis=1)) > 1e-6).all()


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_an_untaught_decoder_is_the_forecasting_one(cell, attention):
    net = network(architecture="encoder_decoder", cell=cell, attention=attention)
    x, taught = batch(net), np.zeros((5, HORIZON, 2), np.float32)
    taught[..., 0] = 7.0
    np.testing.assert_allclose(net.learning.model([x, taught]), net(x), atol=1e-6)


def test_a_taught_decoder_never_sees_the_actual_of_its_step_or_a_later_one():
    net = network(architecture="encoder_decoder", units=(4,))
    engine = training_engine(TrainingSpec(net.spec, "adam", "mse", 8))
    x, y = batch(net), np.random.default_rng(1).normal(size=(5, HORIZON)).astype("float32")
    seed = tf.constant([1, 2], tf.uint32)

    def outputs(y):
        return net.learning.model([tf.constant(x), engine._taught(tf.constant(y), 1.0, seed)]).numpy()

    before = outputs(y)
    for step in range(HORIZON):
        changed = y.copy()
        changed[:, step] += 5.0
        after = outputs(changed)
        np.testing.assert_array_equal(after[:, : step + 1], before[:, : step + 1])
        assert step == HORIZON - 1 or (np.abs(after[:, step + 1] - before[:, step + 1]) > 1e-6).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_actuals_is_what_was_asked_for(share):
    engine = training_engine(TrainingSpec(network(architecture="encoder_decoder", units=(4,)).spec, "adam", "mse", 8))
    taught = engine._taught(tf.ones((4000, HORIZON)), share, tf.constant([1, 2], tf.uint32)).numpy()
    np.testing.assert_allclose(taught[..., 1].mean(), share, atol=0.02)
    assert (taught[:, 0, 0] == 0).all()


@pytest.mark.parametrize("units", [4, 35])
def test_a_decoder_follows_the_equations(units):
    """GRU, point head, no attention: each step is fed with the forecast before it."""
    net = network(architecture="encoder_decoder", cell="gru", units=(units,))
    x = batch(net)
    w = {n.removeprefix("decoder/"): v.astype(float) for n, v in network_weights(net).items() if n.startswith("decoder/")}
    encoder = net.get_layer("recurrent_1")
    h = encoder(x)[-1].numpy().astype(float)
    fed, wanted = np.zeros((5, 1)), []

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for _ in range(HORIZON):
        xz, xr, xn = np.split(fed @ w["cell_1/kernel"] + w["cell_1/bias"][0], 3, axis=1)
        hz, hr, hn = np.split(h @ w["cell_1/recurrent_kernel"] + w["cell_1/bias"][1], 3, axis=1)
        z = sigmoid(xz + hz)
        h = z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn)
        fed = h @ w["head/kernel"] + w["head/bias"]
        wanted.append(fed)
    np.testing.assert_allclose(net(x), np.stack(wanted, axis=1), atol=1e-5)


MASKED = [shape for shape in SHAPES if shape["architecture"] != "one_to_many"]


@pytest.mark.parametrize("shape", MASKED, ids=name)
def test_a_window_with_unknown_timesteps_gives_and_teaches_what_the_shorter_window_does(shape):
    cell = sorted(CELLS)[MASKED.index(shape) % 3]
    padded, short = network(masked=True, cell=cell, layer_norm=True, **shape), network(lookback=4, cell=cell, layer_norm=True, **shape)
    set_network_weights(padded, network_weights(short))
    x = batch(padded)
    x[:, : LOOKBACK - 4] = np.nan
    np.testing.assert_allclose(padded(x), short(x[:, LOOKBACK - 4 :]), rtol=0, atol=1e-6)
    (got, slopes), (wanted, right) = gradients(padded, x), gradients(short, x[:, LOOKBACK - 4 :])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    for a, b in zip(slopes, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def gradients(net, x):
    """What a network says in training of its last four timesteps, or of the window, and the gradients of a mean of it."""
    inputs = [x, np.full((len(x), HORIZON, 2), 0.5, np.float32)] if net.learning.taught else x
    with tf.GradientTape() as tape:
        output = net.learning.model(inputs)
        output = output[:, -4:] if net.learning.every_timestep else output
        total = tf.reduce_mean(tf.sin(output))
    return output, tape.gradient(total, [weight.value for weight in net.trainable_variables])


@pytest.mark.parametrize("shape", MASKED, ids=name)
def test_a_window_without_unknown_timesteps_is_not_changed_by_the_mask(shape):
    masked, plain = network(masked=True, cell="gru", **shape), network(cell="gru", **shape)
    np.testing.assert_allclose(masked(batch(plain)), plain(batch(plain)), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", MASKED, ids=name)
def test_windows_with_unknown_timesteps_are_learned_from(shape):
    train, validation = sine(LOOKBACK)
    train.series[3 : LOOKBACK + 3] = np.nan
    train.targets[3 : LOOKBACK + 3] = np.nan
    starting = Windows(train.series, train.targets, np.arange(LOOKBACK + 3, 320), LOOKBACK)
    net = network(masked=True, cell="gru", **shape)
    settings = TrainConfig(epochs=30, batch_size=32, learning_rate=0.02)
    history = train_network(net, starting, validation, train_config=settings, head="point", seed=0, member=0)
    assert history.epochs[-1].loss < history.epochs[0].loss / 3
    got = predict_windows(net, starting)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, net(starting.tensors()[0]), rtol=0, atol=1e-5)


# ---- training


def sine(lookback, rows=420):
    """A slowly damped sine and its derivative: from any session the path ahead is known."""
    time = np.arange(rows + HORIZON)
    fade = np.exp(-time / 4000)
    wave = np.sin(time / 4.0) * fade
    series = np.stack([wave[:rows], np.cos(time[:rows] / 4.0) * fade[:rows]], axis=1).astype("float32")
    targets = np.stack([wave[k : rows + k] for k in range(1, HORIZON + 1)], axis=1).astype("float32")
    ends = np.arange(LOOKBACK, rows - HORIZON)
    return Windows(series, targets, ends[ends < 320], lookback), Windows(series, targets, ends[ends >= 320], lookback)


def signs(rows=420):
    """Independent moves in which the sign of a step is that of the move three sessions before."""
    generator = np.random.default_rng(0)
    moves = np.sign(generator.normal(size=rows + HORIZON)).astype("float32")
    targets = np.stack([moves[np.arange(rows) - 3 + k] for k in range(1, HORIZON + 1)], axis=1)
    series = np.stack([moves[:rows], generator.normal(size=rows)], axis=1).astype("float32")
    ends = np.arange(LOOKBACK, rows - HORIZON)
    return Windows(series, targets, ends[ends < 320], LOOKBACK), Windows(series, targets, ends[ends >= 320], LOOKBACK)


def fitted(data, **model):
    net = network(**{"units": (16,), **model})
    settings = TrainConfig(epochs=150, batch_size=16, learning_rate=0.01, early_stopping={"patience": 40}, schedule="cosine")
    train_network(net, *data, train_config=settings, head=net.spec.model.head, seed=0, member=0)
    return predict_windows(net, data[1])


def points(head, raw):
    return raw[..., {"point": 0, "quantile": 9, "student_t": 0}[head]]


def check_learns(shape, cell, head):
    if head == "direction":
        data = signs()
        raw = fitted(data, **shape, cell=cell, head=head)
        assert ((raw[..., 0] > 0) == (data[1].targets[data[1].ends] > 0)).mean() > 0.95
        return
    data = sine(lookback_of(shape))
    raw = fitted(data, **shape, cell=cell, head=head)
    actual = data[1].targets[data[1].ends]
    naive = np.abs(actual - data[1].series[data[1].ends, :1]).mean()
    assert np.abs(points(head, raw) - actual).mean() < naive / 10


LEARNABLE = [
    (shape, head)
    for head, shape in itertools.product(sorted(HEADS), SHAPES)
    if (shape["architecture"], head) != ("one_to_many", "direction")  # one session does not hold the move of three sessions before
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "head"), LEARNABLE, ids=lambda part: name(part) if isinstance(part, dict) else part)
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_what_can_be_learned_is_learned(shape, head, cell, child):
    child(check_learns, shape, cell, head)


@pytest.mark.slow
def test_a_taught_decoder_learns():
    """Three epochs of the smallest decoder, taught and not, differ and both learn."""
    losses = {}
    for start in (0.0, 1.0):
        net = network(architecture="encoder_decoder", cell="simple_rnn", units=(4,))
        settings = TrainConfig(epochs=3, batch_size=32, learning_rate=0.02, teacher_forcing=TeacherForcingConfig(start=start))
        history = train_network(net, *sine(LOOKBACK), train_config=settings, head="point", seed=0, member=0)
        losses[start] = [report.loss for report in history.epochs]
        assert losses[start][-1] < losses[start][0]
    assert losses[0.0] != losses[1.0]


def test_every_head_has_a_loss():
    assert set(LOSSES_OF_HEAD) == set(HEADS)
