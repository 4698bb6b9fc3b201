"""Heads and losses: quantiles that cannot cross, and losses against hand arithmetic."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from stockrnn.config import LOSSES_OF_HEAD, Config, ModelConfig, TrainConfig
from stockrnn.models.heads import HEADS, LOSSES, OrderedQuantiles, StudentParameters, raw_quantiles
from stockrnn.models.outputs import resting_quantiles
from stockrnn.types import QUANTILES

pytestmark = pytest.mark.network
ANY_FLOAT = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=100)
@given(raw=arrays(np.float32, (3, 2, 19), elements=ANY_FLOAT))
def test_quantiles_never_cross_whatever_the_network_says(raw):
    quantiles = OrderedQuantiles()(raw).numpy()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_training_starts_from_the_quantiles_of_a_standard_normal():
    quantiles = OrderedQuantiles()(np.zeros((1, 1, 19), "float32")).numpy()[0, 0]
    np.testing.assert_allclose(quantiles, [NormalDist().inv_cdf(q) for q in QUANTILES], atol=1e-6)


def test_every_ordered_set_of_quantiles_can_be_said():
    """The head loses nothing: solving for its inputs gives any strictly increasing quantiles back."""
    wanted = np.sort(np.random.default_rng(0).normal(size=19)) + np.linspace(0, 0.1, 19)
    raw = raw_quantiles(wanted)
    np.testing.assert_allclose(OrderedQuantiles()(raw[None].astype("float32")).numpy()[0], wanted, atol=1e-5)


ACTUAL = np.array([[1.0, -2.0], [0.0, 0.5]], np.float32)
POINT = np.array([[[1.5], [0.0]], [[0.0], [0.25]]], np.float32)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("mse", [[0.25, 4.0], [0.0, 0.0625]]), ("mae", [[0.5, 2.0], [0.0, 0.25]]), ("huber", [[0.125, 1.5], [0.0, 0.03125]])],
)
def test_point_losses_equal_hand_arithmetic(name, wanted):
    np.testing.assert_allclose(LOSSES[name](ACTUAL, POINT), wanted, rtol=1e-6)


def test_pinball_is_asymmetric_as_its_level_says():
    """An actual of 1 above quantiles of 0 costs q, one below costs 1 - q; the mean of both over the symmetric levels is 1/2."""
    quantiles = np.zeros((2, 1, 19), np.float32)
    actual = np.array([[1.0], [-1.0]], np.float32)
    np.testing.assert_allclose(LOSSES["pinball"](actual, quantiles), [[np.mean(QUANTILES)], [1 - np.mean(QUANTILES)]], rtol=1e-6)


def test_pinball_at_the_median_is_half_the_absolute_error():
    generator = np.random.default_rng(0)
    actual, point = generator.normal(size=(50, 1)).astype("float32"), generator.normal(size=(50, 1, 1)).astype("float32")
    at_all = np.repeat(point, 19, axis=-1)
    above = actual[:, 0] > point[:, 0, 0]
    losses = LOSSES["pinball"](actual, at_all).numpy()
    weight = np.where(above, np.mean(QUANTILES), 1 - np.mean(QUANTILES))
    np.testing.assert_allclose(losses[:, 0], weight * np.abs(actual - point[..., 0])[:, 0], rtol=1e-5)
    np.testing.assert_allclose(losses, 0.5 * LOSSES["mae"](actual, point), rtol=1e-5)


def test_pinball_is_least_at_the_true_quantiles():
    generator = np.random.default_rng(1)
    actual = generator.normal(size=(4000, 1)).astype("float32")
    truth = np.quantile(actual, QUANTILES).astype("float32")
    best = float(np.mean(LOSSES["pinball"](actual, np.broadcast_to(truth, (4000, 1, 19)))))
    for moved in (truth + 0.1, truth - 0.1, truth * 1.2, truth * 0.8):
        assert float(np.mean(LOSSES["pinball"](actual, np.broadcast_to(moved, (4000, 1, 19))))) > best


@settings(max_examples=200)
@given(
    actual=st.floats(-1e3, 1e3),
    location=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e3),
    freedom=st.floats(2.1, 102.0),
)
def test_the_students_loss_is_scipys(actual, location, scale, freedom):
    got = float(LOSSES["nll"](np.array([actual]), np.array([[location, scale, freedom]]))[0])
    np.testing.assert_allclose(got, -stats.t.logpdf(actual, freedom, location, scale), rtol=1e-6, atol=1e-6)


def test_the_students_loss_is_scipys_in_single_precision_too():
    generator = np.random.default_rng(0)
    scale, freedom = 10 ** generator.uniform(-3, 3, 500), generator.uniform(2.1, 102, 500)
    actual = scale * generator.standard_t(freedom)
    output = np.stack([np.zeros(500), scale, freedom], axis=-1).astype("float32")
    got = LOSSES["nll"](actual.astype("float32"), output)
    np.testing.assert_allclose(got, -stats.t.logpdf(actual, freedom, 0, scale), rtol=1e-5, atol=2e-6)


@settings(max_examples=100)
@given(raw=arrays(np.float32, (3, 2, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_the_students_parameters_are_always_a_distribution(raw):
    parameters = StudentParameters()(raw).numpy()
    assert np.isfinite(parameters).all()
    assert (parameters[..., 1] > 0).all()
    assert ((parameters[..., 2] >= 2) & (parameters[..., 2] <= 102)).all()


def test_the_students_training_starts_from_a_standard_scale():
    np.testing.assert_allclose(StudentParameters()(np.zeros((1, 1, 3), "float32")).numpy()[0, 0], [0, 1, 8], rtol=1e-3)


def test_cross_entropy_is_that_of_the_logits_event_and_stable():
    logit = np.array([0.3, -2.0, 0.3, 90.0, -90.0])
    up = np.array([1.0, 1.0, -1.0, 1.0, 1.0])
    p = 1 / (1 + np.exp(-logit))
    wanted = -np.where(up > 0, np.log(p), np.log1p(-np.minimum(p, 1 - 1e-12)))
    np.testing.assert_allclose(LOSSES["cross_entropy"](up, logit[:, None]), wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_decoder_is_taught_what_it_would_feed_itself(head):
    """A perfect output feeds back what its actual teaches."""
    actual = np.array([1.5, -0.7], np.float32)
    perfect = {
        "point": actual[:, None],
        "quantile": np.repeat(actual[:, None], 19, axis=1),
        "student_t": np.stack([actual, [1, 1], [5, 5]], axis=1),
        "direction": 1e3 * np.sign(actual)[:, None],
    }
    fed = HEADS[head].feedback(perfect[head].astype("float32"))
    np.testing.assert_allclose(np.asarray(fed), np.asarray(HEADS[head].teach(actual)), rtol=1e-6)


def test_choices_of_the_config_are_the_names_here():
    assert set(ModelConfig.model_fields["head"].annotation.__args__) == set(HEADS) == set(LOSSES_OF_HEAD)
    assert set(TrainConfig.model_fields["loss"].annotation.__args__) == {"auto", *LOSSES}
    assert {loss for losses in LOSSES_OF_HEAD.values() for loss in losses} == set(LOSSES)


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_loss_that_does_not_fit_the_head_is_refused(head, loss):
    tree = {"model": {"head": head}, "train": {"loss": loss}}
    if loss in LOSSES_OF_HEAD[head]:
        assert Config.model_validate(tree).train.loss == loss
    else:
        with pytest.raises(ValueError, match="must fit"):
            Config.model_validate(tree)


def test_resting_quantiles_are_the_targets_where_there_are_many_and_the_usual_shape_where_there_are_few():
    draws = np.random.default_rng(0)
    many, few = draws.exponential(2.0, (400_000, 1)), draws.exponential(2.0, (20, 2))
    np.testing.assert_allclose(resting_quantiles(many)[0], -2.0 * np.log1p(-np.array(QUANTILES)), atol=0.08)
    resting = resting_quantiles(few)
    assert resting.shape == (2, 19)
    assert (resting[:, 0] < -1.5 * few.mean(axis=0)).all()
    assert (np.diff(resting, axis=-1) > 0).all()
