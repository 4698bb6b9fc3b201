"""The heads' numbers read without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stockrnn.models.outputs import direction_quantiles, move_sizes, probability_up, quantiles_of
from stockrnn.types import QUANTILES


def test_the_quantiles_of_a_student_are_scipys():
    generator = np.random.default_rng(0)
    raw = np.stack([generator.normal(size=(5, 2)), generator.uniform(0.1, 3, (5, 2)), generator.uniform(2.1, 90, (5, 2))], axis=-1)
    wanted = stats.t.ppf(np.array(QUANTILES), raw[..., 2:], raw[..., :1], raw[..., 1:2])
    np.testing.assert_allclose(quantiles_of("student_t", raw), wanted, rtol=1e-9)
    np.testing.assert_allclose(quantiles_of("student_t", raw)[..., 9], raw[..., 0], atol=1e-12)


def test_quantiles_are_given_as_they_are_and_a_point_at_every_level():
    raw = np.sort(np.random.default_rng(0).normal(size=(3, 2, 19)), axis=-1)
    np.testing.assert_array_equal(quantiles_of("quantile", raw), raw)
    np.testing.assert_array_equal(quantiles_of("point", raw[..., :1]), np.repeat(raw[..., :1], 19, axis=-1))


def test_a_direction_says_no_quantiles_alone():
    with pytest.raises(KeyError):
        quantiles_of("direction", np.zeros((1, 1, 1)))


def test_the_probability_of_up_is_the_logistic_of_the_logit_and_stable():
    logits = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])[:, None, None]
    np.testing.assert_allclose(probability_up(logits)[:, 0], [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1], atol=1e-15)


@settings(max_examples=100)
@given(p=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_mixture_of_falls_and_rises_is_ordered_and_crosses_zero_at_its_probability(p, seed):
    falls, rises = move_sizes(np.random.default_rng(seed).standard_t(4, (300, 2)))
    quantiles = direction_quantiles(np.full((3, 2), p), falls, rises)
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    levels = np.array(QUANTILES)
    assert (quantiles[..., levels < 1 - p - 1e-9] <= 0).all()
    assert (quantiles[..., levels > 1 - p + 1e-9] > 0).all()


def test_the_base_rate_gives_the_past_distribution_back():
    past = np.random.default_rng(0).normal(size=(20000, 1))
    p = np.full((1, 1), (past > 0).mean())
    quantiles = direction_quantiles(p, *move_sizes(past))
    np.testing.assert_allclose(quantiles[0, 0], np.quantile(past, QUANTILES), atol=0.03)


def test_reading_outputs_loads_no_tensorflow():
    code = "import sys, stockrnn.models.outputs; print([m for m in ('tensorflow', 'keras', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
