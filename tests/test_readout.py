"""What networks say as quantiles: the mean of the members, and how much of their location counts."""

import json

import numpy as np
import pytest

from stockrnn.config import ModelConfig
from stockrnn.configfile import build_config, load_config
from stockrnn.errors import ConfigError
from stockrnn.models.outputs import resting_quantiles
from stockrnn.models.windowed import Readout, fit_readout

DICE = np.random.default_rng(3)
RAW = np.sort(DICE.normal(0.3, 1.0, (40, 3, 2, 19)), axis=-1)
TRAIN = DICE.standard_t(4, (900, 2)) + np.array([0.1, -0.2])


def learned(**model):
    nothing = np.empty((0, 3, 2, 19)), np.empty((0, 2))
    return fit_readout(ModelConfig(anchor="har", **model), TRAIN, *nothing)


def test_as_much_of_the_location_is_taken_back_as_is_asked_for_and_nothing_of_the_width():
    plain = learned().quantiles(RAW)
    np.testing.assert_array_equal(plain, RAW.mean(axis=1))
    middle = resting_quantiles(TRAIN).mean(axis=-1)
    for share in (0.25, 0.999):
        drawn = learned(location_shrinkage=share).quantiles(RAW)
        np.testing.assert_allclose(drawn.mean(axis=-1), (1 - share) * plain.mean(axis=-1) + share * middle, atol=1e-12)
        np.testing.assert_allclose(np.diff(drawn), np.diff(plain), atol=1e-12)


def test_the_state_brings_it_back_and_a_state_of_before_is_not_drawn():
    readout = learned(location_shrinkage=0.5)
    state = json.loads(json.dumps(readout.to_dict()))
    assert Readout.from_dict(state).quantiles(RAW).tobytes() == readout.quantiles(RAW).tobytes()
    before = learned().to_dict()
    assert set(before) == {"head", "residuals", "moves"}
    assert Readout.from_dict(before).quantiles(RAW).tobytes() == learned().quantiles(RAW).tobytes()


def test_it_needs_an_anchor():
    with pytest.raises(ConfigError, match=r"`model.anchor` must be ewma or har for `model.location_shrinkage`. Received: none"):
        build_config({"model": {"location_shrinkage": 0.5}}, "test")


def test_the_shipped_recommendation_learns_all_its_epochs_and_keeps_the_last():
    train = load_config("quantile").train
    assert train.restore == "last"
    assert train.early_stopping.patience >= train.epochs
