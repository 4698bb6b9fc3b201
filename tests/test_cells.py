"""The compiled layers against Keras' own, against the equations written in NumPy, and against finite differences."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.models import cells
from stockrnn.models.backend import keras, tf

pytestmark = pytest.mark.network
STOCK = {"simple_rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
CELL_NAMES = sorted(cells.CELLS)


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def numpy_pass(cell, x, kernel, recurrent, bias, states, keep=None):
    """Outputs (batch, timesteps, units) and final states, one timestep after the other, straight from the equations."""
    outputs = np.zeros((*x.shape[:2], recurrent.shape[0]))
    shown = np.zeros((x.shape[0], recurrent.shape[0]))
    for t in range(x.shape[1]):
        new = NUMPY_STEPS[cell](x[:, t], kernel, recurrent, bias, states)
        counts = np.ones((len(x), 1), bool) if keep is None else keep[:, t, None]
        states = [np.where(counts, a, b) for a, b in zip(new, states, strict=True)]
        shown = np.where(counts, new[0], shown)
        outputs[:, t] = shown
    return outputs, states


def numpy_simple(x, w, u, b, states):
    return [np.tanh(x @ w + states[0] @ u + b)]


def numpy_lstm(x, w, u, b, states):
    h, c = states
    i, f, g, o = np.split(x @ w + h @ u + b, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def numpy_gru(x, w, u, b, states):
    h = states[0]
    xz, xr, xn = np.split(x @ w + b[0], 3, axis=1)
    hz, hr, hn = np.split(h @ u + b[1], 3, axis=1)
    z = sigmoid(xz + hz)
    n = np.tanh(xn + sigmoid(xr + hr) * hn)
    return [z * h + (1 - z) * n]


NUMPY_STEPS = {"simple_rnn": numpy_simple, "lstm": numpy_lstm, "gru": numpy_gru}


def randomised(layer, shape, seed, scale=0.5):
    """Build a layer with random weights, biases too."""
    layer.build(shape)
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(size=w.shape, scale=scale).astype(w.dtype) for w in layer.get_weights()])
    return layer


def values_and_gradients(layer, x, states, mask, compiled):
    """All outputs of a layer, and the gradients of a curved function of them for input, states and weights."""

    def run(x, *states):
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            results = layer(x, initial_state=list(states) or None, mask=mask)
            results = list(results) if isinstance(results, list | tuple) else [results]
            loss = tf.add_n([tf.reduce_mean(tf.sin(3.0 * r + k)) for k, r in enumerate(results)])
        return results, tape.gradient(loss, [x, *states, *[v.value for v in layer.trainable_variables]])

    if compiled:
        return tf.function(run, jit_compile=True, reduce_retracing=True)(x, *states)
    with cells.stock_layers():
        return run(x, *states)


@st.composite
def cases(draw):
    return {
        "cell": draw(st.sampled_from(CELL_NAMES)),
        "batch": draw(st.integers(1, 4)),
        "timesteps": draw(st.integers(1, 7)),
        "features": draw(st.integers(1, 4)),
        "units": draw(st.integers(1, 6)),
        "masked": draw(st.booleans()),
        "given_states": draw(st.booleans()),
        "sequences": draw(st.booleans()),
        "backwards": draw(st.booleans()),
        "zero": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
    }


@settings(max_examples=8)
@given(case=cases())
def test_values_and_gradients_equal_those_of_the_stock_layer(case):
    check_against_the_stock_layer(case)


@pytest.mark.slow
@settings(max_examples=150)
@given(case=cases())
def test_values_and_gradients_equal_those_of_the_stock_layer_in_many_cases(case):
    check_against_the_stock_layer(case)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_layers_whose_products_are_widened_equal_the_stock_ones(cell, batch, masked):
    case = {"cell": cell, "batch": batch, "timesteps": 5, "features": 18, "units": 35, "masked": masked, "given_states": True, "seed": 9}
    check_against_the_stock_layer({**case, "sequences": masked, "backwards": False, "zero": False, "bias": True}, scale=0.1)


def check_against_the_stock_layer(case, scale=0.5):
    generator = np.random.default_rng(case["seed"])
    shape = (case["batch"], case["timesteps"], case["features"])
    layer = cells.CELLS[case["cell"]](
        case["units"],
        return_sequences=case["sequences"],
        return_state=True,
        go_backwards=case["backwards"],
        zero_output_for_mask=case["zero"],
        use_bias=case["bias"],
    )
    randomised(layer, shape, case["seed"], scale)
    x = tf.constant(generator.normal(size=shape), tf.float32)
    count = 2 if case["cell"] == "lstm" else 1
    states = [tf.constant(generator.normal(size=(case["batch"], case["units"])), tf.float32) for _ in range(count * case["given_states"])]
    mask = tf.constant(generator.random(shape[:2]) < 0.6) if case["masked"] else None
    values, gradients = values_and_gradients(layer, x, states, mask, compiled=True)
    wanted_values, wanted_gradients = values_and_gradients(layer, x, states, mask, compiled=False)
    for got, wanted in zip(values, wanted_values, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    for got, wanted in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_pass_follows_the_equations(cell, masked):
    generator = np.random.default_rng(1)
    layer = randomised(cells.CELLS[cell](5, return_sequences=True, return_state=True), (3, 8, 2), 2)
    x, states = generator.normal(size=(3, 8, 2)), [generator.normal(size=(3, 5)) for _ in range(2 if cell == "lstm" else 1)]
    keep = generator.random((3, 8)) < 0.6 if masked else None
    got, *finals = layer(x.astype("float32"), initial_state=[tf.constant(s, tf.float32) for s in states], mask=keep)
    outputs, wanted = numpy_pass(cell, x, *[w.astype(float) for w in layer.get_weights()], states, keep)
    np.testing.assert_allclose(got, outputs, rtol=0, atol=1e-5)
    for a, b in zip(finals, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_gradients_equal_finite_differences_in_double_precision(cell, masked):
    generator = np.random.default_rng(3)
    layer = randomised(cells.CELLS[cell](3, return_sequences=True, dtype="float64"), (2, 4, 2), 4)
    kernel, recurrent, bias = (np.asarray(w) for w in layer.get_weights())
    x, states = generator.normal(size=(2, 4, 2)), [generator.normal(size=(2, 3)) for _ in range(2 if cell == "lstm" else 1)]
    keep = np.array([[False, True, True, False], [True, True, False, True]]) if masked else None
    factors = generator.normal(size=(2, 4, 3))
    arrays = [x, *states, kernel, recurrent, bias]

    def loss(x, *rest):
        states, weights = rest[:-3], rest[-3:]
        return float((numpy_pass(cell, x, *weights, list(states), keep)[0] * factors).sum())

    variables = [tf.constant(a) for a in arrays[:-3]]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = tf.reduce_sum(layer(variables[0], initial_state=variables[1:], mask=keep) * factors)
    got = tape.gradient(total, [*variables, *[v.value for v in layer.trainable_variables]])
    np.testing.assert_allclose(total, loss(*arrays), rtol=1e-10)
    for number, array in enumerate(arrays):
        wanted = np.empty(array.shape)
        for place in np.ndindex(array.shape):
            moved = [a.copy() for a in arrays]
            moved[number][place] += 1e-5
            up = loss(*moved)
            moved[number][place] -= 2e-5
            wanted[place] = (up - loss(*moved)) / 2e-5
        np.testing.assert_allclose(got[number], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("units", "scale"), [(5, 0.5), (35, 0.2)])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_dropout_draws_the_masks_of_the_stock_layer(cell, units, scale):
    """Same seed, same masks: with both kinds of dropout, values and weight gradients agree."""
    x = tf.constant(np.random.default_rng(5).normal(size=(4, 6, 3)), tf.float32)
    results = []
    for compiled in (True, False):
        layer = randomised(cells.CELLS[cell](units, dropout=0.4, recurrent_dropout=0.3, seed=7), x.shape, 6, scale)

        def run(layer=layer):
            with tf.GradientTape() as tape:
                value = layer(x, training=True)
                loss = tf.reduce_sum(tf.sin(value))
            return value, tape.gradient(loss, [v.value for v in layer.trainable_variables])

        if compiled:
            results.append(tf.function(run)())
        else:
            with cells.stock_layers():
                results.append(tf.function(run)())
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=0, atol=1e-6)
    for got, wanted in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_dropout_changes_training_and_not_forecasts(cell):
    layer = randomised(cells.CELLS[cell](5, dropout=0.5, recurrent_dropout=0.5, seed=1), (4, 6, 3), 6)
    x = tf.constant(np.random.default_rng(5).normal(size=(4, 6, 3)), tf.float32)
    plain = layer(x)
    np.testing.assert_array_equal(layer(x), plain)
    assert float(tf.reduce_max(tf.abs(layer(x, training=True) - plain))) > 1e-3


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_left_padded_window_gives_the_states_of_the_window_unpadded(cell):
    layer = randomised(keras.layers.Bidirectional(cells.CELLS[cell](4)), (2, 9, 3), 8)
    x = np.random.default_rng(9).normal(size=(2, 9, 3)).astype("float32")
    x[:, :4] = 99.0
    mask = np.arange(9) >= 4
    np.testing.assert_allclose(layer(x, mask=np.stack([mask, mask])), layer(x[:, 4:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_bidirectional_equals_the_stock_one(cell):
    ours = randomised(keras.layers.Bidirectional(cells.CELLS[cell](4, return_sequences=True)), (2, 7, 3), 8)
    stock = randomised(keras.layers.Bidirectional(STOCK[cell](4, return_sequences=True)), (2, 7, 3), 8)
    x = np.random.default_rng(9).normal(size=(2, 7, 3)).astype("float32")
    mask = np.random.default_rng(9).random((2, 7)) < 0.7
    assert isinstance(ours.backward_layer, cells.CELLS[cell])
    np.testing.assert_allclose(ours(x, mask=mask), stock(x, mask=mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("cell", "times"), [("simple_rnn", 1), ("lstm", 5), ("gru", 3)])
def test_one_timestep_is_compiled_once(cell, times):
    """As often as its equations have a tanh: one that only shows its shapes would cost milliseconds for each, at every start."""
    layer = cells.CELLS[cell](3)
    layer.build((2, 4, 3))
    graph = tf.function(layer, autograph=False).get_concrete_function(tf.zeros((2, 4, 3))).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert sum(node.op == "Tanh" for node in nodes) == times


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_weights_and_config_are_those_of_keras(cell):
    ours, stock = cells.CELLS[cell](4, name="layer"), STOCK[cell](4, name="layer")
    ours.build((None, 6, 3))
    stock.build((None, 6, 3))
    assert [(w.path.split("/")[-1], w.shape) for w in ours.weights] == [(w.path.split("/")[-1], w.shape) for w in stock.weights]
    ours_config, stock_config = ours.get_config(), stock.get_config()
    for key in ("kernel_initializer", "recurrent_initializer", "bias_initializer"):
        ours_config.pop(key), stock_config.pop(key)
    assert ours_config == stock_config


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"activation": "relu"}, "activation"),
        ({"recurrent_activation": "hard_sigmoid"}, "recurrent_activation"),
        ({"unroll": True}, "unroll"),
    ],
)
def test_what_cannot_be_compiled_says_so_and_runs_as_keras_does(arguments, reason):
    with pytest.warns(RuntimeWarning, match=reason):
        layer = cells.LSTM(3, **arguments)
    stock = randomised(keras.layers.LSTM(3, **arguments), (2, 5, 2), 1)
    x = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("float32")
    np.testing.assert_allclose(randomised(layer, (2, 5, 2), 1)(x), stock(x), rtol=0, atol=1e-6)


def test_a_gru_with_the_reset_before_the_product_says_so():
    with pytest.warns(RuntimeWarning, match="reset_after"):
        cells.GRU(3, reset_after=False)


def test_the_switch_is_put_back_after_an_error():
    before = cells.layers_are_compiled()
    with pytest.raises(ZeroDivisionError), cells.stock_layers():
        raise ZeroDivisionError
    assert cells.layers_are_compiled() == before
    with cells.stock_layers():
        assert not cells.layers_are_compiled()


def test_the_usual_layers_do_not_warn():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for cell in cells.CELLS.values():
            cell(3, dropout=0.1, recurrent_dropout=0.1)
    assert [str(warning.message) for warning in said] == []
