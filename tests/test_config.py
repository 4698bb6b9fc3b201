"""The config: one meaning a key, nearest names, no silent conversion; and YAML that means what a person meant."""

import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.config import Config
from stockrnn.configfile import build_config, config_changes, config_fields, load_config, shipped_configs, to_yaml
from stockrnn.errors import ConfigError, StorageError
from stockrnn.runs.directory import begin_run
from stockrnn.strictyaml import parse_scalar, parse_yaml


def fault(*overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return str(caught.value)


def test_the_defaults_are_a_valid_config_and_survive_yaml():
    assert build_config(parse_yaml(to_yaml(Config()).encode(), "x"), "x") == Config()


def test_numbers_of_changes_that_no_share_is_taken_from_are_refused():
    anchored = ["model.anchor=har", "model.filtered_sessions=[100]"]
    assert "`model.filtered_history` must be above 0 for `model.filtered_sessions`. Received: none." in fault(*anchored)
    with pytest.raises(ConfigError, match=r"`model\.filtered_history` must be above 0"):
        load_config("lstm", ["model.filtered_sessions=[100]"])
    assert load_config(None, [*anchored, "model.filtered_history=0.1"]).model.filtered_sessions == (100,)
    off = load_config("quantile", ["model.filtered_history=0"])
    assert build_config(parse_yaml(to_yaml(off).encode(), "x"), "x") == off


def test_changes_name_the_key_and_both_values_of_a_list_as_one():
    before = parse_yaml(to_yaml(load_config(None, ["model.units=[32, 16]", "train.epochs=7"])).encode(), "x")
    now = load_config(None, ["model.units=[16]", "train.ensemble=[{cell: gru}]", "data.start=2020-01-02"])
    assert config_changes(before, now)[:3] == [
        "`data.start` was null and is '2020-01-02'",
        "`model.units` was [32, 16] and is [16]",
        "`train.epochs` was 7 and is 100",
    ]
    assert config_changes(before, now)[3].startswith("`train.ensemble` was 1 and is [{cell: gru")
    before["model"].pop("units")
    assert "`model.units` was not given and is [16]" in config_changes(before, now)
    assert config_changes(now.model_dump(mode="json"), now) == []


def test_an_unfinished_run_names_what_its_config_differs_in(tmp_path):
    begin_run(tmp_path, load_config(None, ["model.units=[32, 16]"]))
    with pytest.raises(ConfigError, match=r"difference: `model\.units` was \[32, 16\] and is \[16, 32\]\. Ask for the same"):
        begin_run(tmp_path, load_config(None, ["model.units=[16, 32]"]))
    begin_run(tmp_path, load_config(None, ["model.units=[32, 16]"]))


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_parses_and_survives_yaml(name):
    config = load_config(name)
    assert build_config(parse_yaml(to_yaml(config).encode(), name), name) == config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.cel=lstm", ["model.cel", "Did you mean `cell`?"]),
        ("modle.cell=lstm", ["modle", "Did you mean `model`?"]),
        ("model.cell=ltsm", ["model.cell", "'ltsm'", "Did you mean `lstm`?"]),
        ("train.epochs=many", ["train.epochs", "'many'"]),
        ("train.epochs=2.5", ["train.epochs", "2.5"]),
        ("train.epochs=true", ["train.epochs", "True"]),
        ("model.units=[0]", ["model.units.0", "0"]),
        ("model.units=[]", ["model.units"]),
        ("split.test=0.9", ["split", "below 1"]),
        ("train.loss=mse", ["train.loss", "quantile", "mse"]),
        ("train.learning_rate=.inf", ["train.learning_rate"]),
        ("train.epochs=1000001", ["train.epochs", "1000000", "1000001"]),
        ("train.batch_size=1000001", ["train.batch_size", "1000000", "1000001"]),
        ("train.early_stopping.patience=1000001", ["train.early_stopping.patience", "1000000", "1000001"]),
        ("train.teacher_forcing.epochs=1000001", ["train.teacher_forcing.epochs", "1000000", "1000001"]),
        ("model.units=[10001]", ["model.units.0", "10000", "10001"]),
        ("data.missing.limit=10001", ["data.missing.limit", "10000", "10001"]),
        ("data.outliers.window=10001", ["data.outliers.window", "10000", "10001"]),
        ("nonsense", ["section.key=value", "nonsense"]),
        ("model=5", ["model"]),
        ("train.seed={a: 1}", ["train.seed"]),
    ],
)
def test_a_wrong_override_is_named_with_its_value(override, words):
    message = fault(override)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message


def test_features_may_not_be_empty():
    assert "features" in fault("features.indicators=[]")


def test_a_point_head_needs_calibration():
    assert "split.calibration" in fault("model.head=point", "split.calibration=0")


def test_a_decoder_of_one_step_has_nothing_to_be_taught():
    assert load_config("encoder_decoder", ["window.horizon=1"]).window.horizon == 1
    assert "`train.teacher_forcing` must be left out for `window.horizon: 1`" in fault(
        "model.architecture=encoder_decoder", "train.teacher_forcing.start=0.5"
    )


def test_one_word_stands_for_a_policy():
    assert load_config(None, ["data.missing=ffill"]).data.missing.policy == "ffill"


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("train: {epochs: 3, seed: 5}\n")
    config = load_config(path, ["train.epochs=4"])
    assert (config.train.epochs, config.train.seed) == (4, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1_000", 1000),
        ("ON", "ON"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("2020-01-01", "2020-01-01"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("[1, 2]", [1, 2]),
        ("", None),
        ("'5'", "5"),
        (".", "."),
        ("%d.%m.%Y", "%d.%m.%Y"),
        (",", ","),
        (";", ";"),
        ("*.csv", "*.csv"),
        ("a: b", "a: b"),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_mean_what_a_person_meant(text, value):
    got = parse_scalar(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("key", ["columns", "indicators", "known_ahead"])
def test_a_feature_is_named_once(key):
    name = {"columns": "close", "indicators": "range", "known_ahead": "month_end"}[key]
    assert f"`features.{key}`: a name must stand once. Received: {name} more often." in fault(f"features.{key}=[{name},{name}]")


def test_bytes_that_are_no_text_are_meant_as_they_stand():
    name = os.fsdecode(b"prices-\xe9.csv")
    assert parse_scalar(name) == name
    with pytest.raises(ConfigError, match=r"`model\.units` must be valid"):
        load_config(None, [os.fsdecode(b"model.units=[\xff]")])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2", "twice"),
        ("a: &x 1\nb: *x", "anchors"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: " + "[" * 50 + "]" * 50, "deep"),
        ("a: " + "x" * 70_000, "65536"),
        ("- 1", "sections"),
        ("a: [", "line"),
        ("1: 2", "text"),
        ("a: \x00", "YAML"),
    ],
)
def test_hostile_yaml_is_refused_in_one_line(text, word):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text.encode(), "c.yaml")
    assert word in str(caught.value)
    assert str(caught.value).startswith("c.yaml")


@settings(max_examples=300)
@given(st.text(alphabet="ab:{}[]-,&*!'\"#|>%@` \n\t0e.~?", max_size=60))
def test_any_text_is_yaml_or_our_error(text):
    try:
        tree = parse_yaml(text.encode(), "c.yaml")
    except ConfigError as error:
        tree = {"refused": str(error)}
    assert isinstance(tree, dict)
    assert "c.yaml" in tree.get("refused", "c.yaml")


def test_a_config_must_be_a_readable_file(tmp_path):
    for source, words in [(tmp_path, "folder"), ("lstn.yaml", "Did you mean `lstm.yaml`?"), (tmp_path / "no.yaml", "Received")]:
        with pytest.raises(ConfigError, match="--config") as caught:
            load_config(source)
        assert words.split("`")[0] in str(caught.value)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary)


def test_a_shipped_name_needs_no_ending():
    assert load_config("lstm") == load_config("lstm.yaml")


def test_every_key_is_documented_once():
    rows = list(config_fields())
    assert [path for path, _, _, meaning in rows if len(meaning) < 10] == []
    assert len({path for path, *_ in rows}) == len(rows)
    json.dumps(Config.model_json_schema())


def test_a_config_without_permission_is_a_storage_error(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text("")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        load_config(path)


MEMBERS = [{"cell": "gru", "units": [8, 4]}, {"lookback": 7, "dropout": 0.5}, {}]


def test_an_ensemble_of_a_number_repeats_the_model_and_a_list_changes_it():
    three = build_config({"train": {"ensemble": 3}}, "x")
    assert three.networks() == ((three.model, three.window.lookback),) * 3
    unlike = build_config({"train": {"ensemble": MEMBERS}, "model": {"units": [5], "dropout": 0.1}}, "x")
    assert [(model.cell, model.units, model.dropout, lookback) for model, lookback in unlike.networks()] == [
        ("gru", (8, 4), 0.1, 20),
        ("lstm", (5,), 0.5, 7),
        ("lstm", (5,), 0.1, 20),
    ]
    assert build_config(parse_yaml(to_yaml(unlike).encode(), "x"), "x") == unlike


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"train": {"ensemble": []}}, "`train.ensemble`"),
        ({"train": {"ensemble": 0}}, "Received: 0"),
        ({"train": {"ensemble": "many"}}, "Received: 'many'"),
        ({"train": {"ensemble": [{}, {"cel": "gru"}]}}, "`train.ensemble.1.cel` is not a key. Did you mean `cell`?"),
        ({"train": {"ensemble": [{"cell": "gry"}]}}, "Did you mean `gru`?"),
        ({"train": {"ensemble": [{"lookback": 30}]}}, "Received: 20 and 30"),
        ({"train": {"ensemble": [{"lookback": 10}]}}, "Received: 20 and 10"),
        ({"train": {"ensemble": [{"units": [3]}, {}]}, "model": {"units": [4, 4], "residual": True}}, "two equal neighbours"),
        ({"model": {"anchor": "har"}, "target": {"transform": "level"}}, "`target.transform` must be log_return"),
        ({"model": {"anchor": "ewma", "head": "point"}}, "`model.head` must be quantile or student_t"),
        ({"model": {"anchor": "garch"}}, "`model.anchor`"),
    ],
)
def test_members_and_anchors_that_do_not_fit_are_refused(tree, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        build_config(tree, "x")
