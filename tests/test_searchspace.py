"""A search space is read strictly, says what is wrong in one line, and gives configs."""

import pytest

from stockrnn.configfile import find_space, load_config, shipped_configs
from stockrnn.errors import ConfigError
from stockrnn.searchspace import Choices, Range, Space, fitting, read_space, refuse_settled, space_of


def space(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read_space(path)


def test_keys_may_be_nested_or_dotted_and_numbers_are_put_in_order(tmp_path):
    found = space(
        tmp_path, "model: {units: [[8], [16, 16]]}\nwindow.lookback: [20, 5]\ntrain: {early_stopping.patience: {low: 3, high: 9}}"
    )
    assert dict(found.domains) == {
        "model.units": Choices(([8], [16, 16])),
        "train.early_stopping.patience": Range(3, 9, whole=True),
        "window.lookback": Choices((5, 20)),
    }
    assert found.domains["window.lookback"].ordered
    assert not found.domains["model.units"].ordered


def test_a_range_of_a_number_holds_fractions_whatever_its_bounds_look_like(tmp_path):
    found = space(tmp_path, "model: {l2: {low: 0, high: 1}}\ntrain: {learning_rate: {low: 1e-4, high: 1e-2, log: true}}").domains
    assert found["model.l2"] == Range(0, 1)
    assert found["train.learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert found["train.learning_rate"].trim(0.0012345678) == 0.001235
    assert Range(0.12344, 1.0).trim(0.123441) == 0.12344


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name a key of the config"),
        ("model: {unit: [[1], [2]]}", "`model.unit` is not a key. Did you mean `model.units`?"),
        ("lookbak: [5, 10]", "`lookbak` is not a key. Did you mean `window.lookback`?"),
        ("model: 3", "`model` must hold keys"),
        ("model: {units: [8, 16]}", "`model.units` must be valid.*Received: 8"),
        ("model: {cell: [lstm, gruu]}", "Received: 'gruu'. Did you mean `gru`?"),
        ("model: {dropout: 0.3}", "a list of choices or a range.*Received: 0.3"),
        ("model: {dropout: [0.3]}", "two or more different choices"),
        ("model: {dropout: [0.3, 0.3]}", "two or more different choices"),
        ("model: {dropout: {low: 0, high: 2}}", "less than 1. Received: 2"),
        ("model: {dropout: {low: 0.3}}", "numbers low < high"),
        ("model: {dropout: {low: 0.3, high: 0.1}}", "numbers low < high"),
        ("model: {dropout: {low: 0, hihg: 2}}", "Received: hihg. Did you mean `high`?"),
        ("model: {dropout: {low: 0.0, high: 0.5, step: 0.9}}", "a step above 0"),
        ("train: {learning_rate: {low: 0, high: 1, log: true}}", "low above 0"),
        ("train: {epochs: {low: 2.5, high: 9}}", "valid integer. Received: 2.5"),
        ("features: {indicators: {low: 1, high: 2}}", "as it is no number"),
        ("split: {test: [0.1, 0.2]}", "`split.test` must stay as it is"),
        ("data: {path: [a.csv, b.csv]}", "`data.path` must stay as it is"),
        ("train: {seed: [1, 2]}", "lucky seed"),
        ("model: {units: [[1], [2]]}\nmodel.units: [[1], [2]]", "`model.units` must stand once"),
        ("model: {dropout: [0.1, 0.2], dropout: [0.3, 0.4]}", "stands twice"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        space(tmp_path, text)
    assert "space.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_how_prices_are_learned_from_may_be_searched(tmp_path):
    found = space(tmp_path, "data: {panel: [together, separate], outliers: {action: [flag, clip]}}")
    assert set(found.domains) == {"data.panel", "data.outliers.action"}


def test_a_point_of_the_space_gives_a_config_or_says_why_not():
    base = load_config("lstm").model_dump(mode="json")
    found = Space({}).config(base, {"model.units": [8, 8], "train.early_stopping.patience": 3})
    assert (found.model.units, found.train.early_stopping.patience) == ((8, 8), 3)
    assert base == load_config("lstm").model_dump(mode="json")
    with pytest.raises(ConfigError, match="two equal neighbours"):
        Space({}).config(base, {"model.units": [8, 4], "model.residual": True})


def test_a_space_is_found_by_path_or_name_and_is_no_config(tmp_path):
    shipped = read_space(find_space("recommended"))
    assert {"model.units", "train.learning_rate"} <= set(shipped.domains)
    assert "recommended.yaml" not in shipped_configs()
    assert find_space(find_space("recommended.yaml")) == find_space("recommended")
    with pytest.raises(ConfigError, match=r"--space must be a file or a shipped name \(recommended.yaml\)"):
        find_space("recomended.yaml")


LEFT_OUT = {
    "one_to_many.yaml": "window.lookback",
    "panel.yaml": "model.cell; window.lookback 5, 10",
    "quantile.yaml": "model.cell; window.lookback 5, 10",
    "stacked_bidirectional.yaml": "model.units",
}
"""What of the recommended space a shipped config has no use for."""


@pytest.mark.parametrize("name", shipped_configs())
def test_what_fits_of_the_recommended_space_goes_with_every_shipped_config_and_the_rest_is_said(name):
    config, shipped = load_config(name), read_space(find_space("recommended"))
    fitted, said = fitting(shipped, config)
    assert said == (
        f"Left out of the space, as it changes nothing in this config or does not go with it: {LEFT_OUT[name]}." if name in LEFT_OUT else ""
    )
    refuse_settled(fitted, config)
    base = config.model_dump(mode="json")
    firsts = {path: domain.values[0] if isinstance(domain, Choices) else domain.low for path, domain in fitted.domains.items()}
    assert len(firsts) >= 4
    for path, domain in fitted.domains.items():
        for value in domain.values if isinstance(domain, Choices) else (domain.low, domain.high):
            assert fitted.config(base, {**firsts, path: value}) != config


def test_a_key_that_every_network_has_of_its_own_is_refused():
    config = load_config("quantile")
    with pytest.raises(ConfigError, match=r"Received: `model.cell`, which every network of `train.ensemble` has of its own"):
        refuse_settled(space_of({"model": {"cell": ["lstm", "gru"]}}, "s"), config)
    refuse_settled(space_of({"window": {"lookback": [40, 60]}}, "s"), config)  # one network has none of its own
