"""What the README says goes together is built and gives numbers; everything else is refused with its sentence."""

import itertools
import re

import numpy as np
import pytest

from stockrnn.configfile import build_config
from stockrnn.models.backend import tf
from stockrnn.models.heads import HEADS as HEAD_MATH
from stockrnn.models.networks import build_network
from stockrnn.training.recurrent import network_specs
from tests.combinations import ARCHITECTURES, CELLS, HEADS, OPTIONS, allowed, refusal, rows, tree

pytestmark = pytest.mark.network
EVERY = list(itertools.product(CELLS, ARCHITECTURES, HEADS, OPTIONS))


def check_builds(key):
    config = build_config(tree(*key), "config")
    (spec,) = network_specs(config, 3)
    net = build_network(**vars(spec), seed=0)
    with tf.GradientTape() as tape:
        output = net(np.random.default_rng(0).normal(size=(2, spec.lookback, 3)).astype("float32"))
        total = tf.reduce_sum(output**2)
    assert output.shape == (2, 2, HEAD_MATH[key[2]].params)
    assert np.isfinite(output.numpy()).all()
    gradients = tape.gradient(total, [weight.value for weight in net.trainable_variables])
    deaf = [weight.path for weight, gradient in zip(net.trainable_variables, gradients, strict=True) if gradient is None]
    assert deaf == []  # else it could not be trained


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_yes_is_built_and_gives_numbers(architecture, option):
    """One cell and head of each; the slow test takes them all."""
    place = ARCHITECTURES.index(architecture) + list(OPTIONS).index(option)
    yes = [key for key in sorted(allowed()) if (key[1], key[3]) == (architecture, option)]
    if yes:
        check_builds(yes[5 * place % len(yes)])


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(allowed()), ids="-".join)
def test_every_yes_is_built_and_gives_numbers(key, child):
    child(check_builds, key)


def test_every_no_has_its_sentence():
    for key in EVERY:
        sentence = refusal(tree(*key))
        assert (sentence is None) == (key in allowed())
        assert sentence is None or re.search(r"`(model|window|train|target)\.\w+` must .*", sentence), sentence


def test_every_cell_goes_with_every_architecture_and_head():
    assert [key for key in itertools.product(CELLS, ARCHITECTURES, HEADS) if refusal(tree(*key))] == []


def test_the_table_is_short_and_names_every_option_once():
    table = rows()
    assert len(table) <= 8
    assert sorted(option for row in table for option in row[0].split(", ")) == sorted(OPTIONS)
