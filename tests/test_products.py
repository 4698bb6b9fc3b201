"""Products that are wider than what is wanted, against the plain ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockrnn.models import products
from stockrnn.models.backend import tf

pytestmark = pytest.mark.network


@given(columns=st.integers(1, 2000), rows=st.none() | st.integers(1, 500))
def test_a_width_holds_all_columns_and_is_never_a_whole_block_more(columns, rows):
    assert 0 <= products.width(columns, rows) - columns < 32
    assert products.width(products.width(columns, rows), rows) == products.width(columns, rows)


@pytest.mark.parametrize(("inputs", "columns"), [(3, 5), (40, 50), (5, 200), (64, 64)])
def test_a_wide_product_is_the_product_and_zeros_and_has_its_gradients(inputs, columns):
    generator = np.random.default_rng(0)
    x, kernel, weights = (tf.constant(generator.normal(size=shape)) for shape in ((7, inputs), (inputs, columns), (7, columns)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((x, kernel))
        wide, plain = products.wide_product(x, kernel), tf.matmul(x, kernel)
        got, wanted = tf.reduce_sum(wide[:, :columns] * weights), tf.reduce_sum(plain * weights)
    np.testing.assert_allclose(wide[:, :columns], plain, atol=1e-12)
    np.testing.assert_array_equal(wide[:, columns:], 0)
    for a, b in zip(tape.gradient(got, (x, kernel)), tape.gradient(wanted, (x, kernel)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
