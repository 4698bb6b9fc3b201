"""Runs compared on what all of them forecast: the counts, the tests, the words, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import garch_path
from test_plots import MODELS, flat, forecasts_of, lines, noisy, nothing, texts
from test_tables import printed

from stockrnn.errors import ConfigError, DataError
from stockrnn.evaluation.comparison import compare
from stockrnn.evaluation.scores import score_table
from stockrnn.evaluation.significance import cosine_count, diebold_mariano, holm, losses_by_date
from stockrnn.recipes import compare_runs
from stockrnn.reports import comparing
from stockrnn.runs.directory import open_run
from stockrnn.types import QUANTILE_COLUMNS

GOLDEN = Path(__file__).parent / "golden" / "format1"
PRICES = garch_path(900)


def run_of(network="lstm", sessions=400, **models):
    """The forecast table of a run and the name of its network."""
    return forecasts_of(PRICES, sessions, {"naive": MODELS["naive"], **(models or {network: (noisy, flat)})}), network


def true_scale(logs, cutoffs):
    """The size of the last twenty changes, a fair volatility forecast."""
    returns = np.diff(logs)
    return np.array([returns[at - 20 : at].std() for at in cutoffs])


def runs():
    return {
        "good": run_of("gru", gru=(nothing, true_scale)),
        "wide": run_of("lstm", lstm=(nothing, lambda x, c: 4 * flat(x, c))),
        "other": run_of("lstm", 300, lstm=(noisy, flat)),
    }


def test_only_what_all_runs_forecast_is_scored():
    found = compare(runs())
    assert found.sessions == 300
    assert len(found.forecasts) == 300 * 4
    table, network = runs()["wide"]
    late = table[table["cutoff"].isin(found.forecasts["cutoff"])]
    alone = score_table(late[late["model"].isin([network, "naive"])], {})
    assert found.scores["wide"] == pytest.approx(alone[network], nan_ok=False)
    assert list(found.scores) == ["good", "wide", "other", "naive"]


def test_longer_horizons_meet_at_the_steps_they_share():
    long = forecasts_of(PRICES, 200, {"naive": MODELS["naive"], "gru": (noisy, flat)}, 3)
    found = compare({"one": run_of(), "three": (long, "gru")})
    assert set(found.forecasts["step"]) == {1}
    assert found.sessions == 200


def test_pairs_are_tested_together_and_the_best_is_named():
    found = compare(runs())
    tables = {loss: losses_by_date(found.forecasts, loss) for loss in ("crps", "absolute")}
    order = [(p.first, p.second, loss) for p in found.pairs for loss in tables]
    raw = [diebold_mariano(tables[loss][a], tables[loss][b], 1, cosine_count(300)) for a, b, loss in order]
    adjusted = iter(holm([each.p_value for each in raw if each is not None]))
    expected = [None if each is None else next(adjusted) for each in raw]
    assert [pair.p_holm[loss] for pair in found.pairs for loss in tables] == expected
    assert [(pair.first, pair.second) for pair in found.pairs] == [("good", "wide"), ("good", "other"), ("wide", "other")]
    ratio = tables["crps"]["good"].sum() / tables["crps"]["wide"].sum()
    assert found.pairs[0].ratios["crps"] == pytest.approx(ratio)
    assert found.best == "good"
    assert f"Distribution: good is sharper than wide (CRPS {100 * (1 - ratio):.2f} % lower, p < 0.001)." in found.sentences


def test_of_several_tickers_the_best_run_is_the_one_whose_sentence_says_so():
    """A run that is better on the dear ticker, and far worse on the cheap one, is not the sharper one of the two."""

    def one(spread):
        return forecasts_of(PRICES, 300, {"naive": MODELS["naive"], "lstm": (nothing, lambda x, c: spread * flat(x, c))})

    def both(dear, cheap):
        costly, prices = one(dear), ["actual", "forecast", *QUANTILE_COLUMNS]
        return pd.concat([costly.assign(**(1000 * costly[prices]), ticker="DEAR"), one(cheap).assign(ticker="CHEAP")]), "lstm"

    found = compare({"dear": both(1, 9), "even": both(1.5, 1.5)})
    assert found.scores["dear"]["crps"] < found.scores["even"]["crps"]
    assert found.best == "even"
    (sentence,) = found.sentences
    assert sentence.startswith("Distribution: even is sharper than dear (CRPS ")
    assert "(CRPS -" not in sentence
    figure = comparing.comparison_figure(found)
    for place, run in enumerate(("dear", "even")):
        low, high = found.intervals[run]
        (point,) = (line for line in figure.axes[1].lines if list(line.get_ydata()) == [place])
        assert 100 * low <= point.get_xdata()[0] <= 100 * high
    assert "count most in this table" in " ".join(printed(comparing.comparison_table(found)).split())


def test_runs_that_differ_by_luck_are_not_called_different():
    found = compare({"a": run_of("a", a=(noisy, flat)), "b": run_of("b", b=(lambda x, c: -noisy(x, c), flat))})
    assert "is not shown to be sharper than" in found.sentences[0]


def test_the_same_forecasts_are_the_same():
    found = compare({"a": run_of(), "b": run_of()})
    assert found.sentences == ("Distribution: a is the same as b.",)
    assert found.pairs[0].p_holm == {"crps": None, "absolute": None}
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    lacking = {metric for scores in told["runs"].values() for metric, value in scores.items() if value is None}
    assert "mase" in lacking
    assert lacking == set(told["undefined"])


def test_few_sessions_allow_no_claim():
    assert compare({"a": run_of(), "b": run_of(sessions=19)}).sentences[0].startswith("No verdict: 19 sessions in common")


def test_runs_without_a_session_in_common_or_on_other_prices_are_refused():
    table, network = run_of()
    with pytest.raises(DataError, match=r"a with GARCH from 2\S+ to 2\S+; b with OTHER"):
        compare({"a": (table, network), "b": (table.assign(ticker="OTHER"), network)})
    with pytest.raises(DataError, match=r"same prices\. Received: others in b than in a"):
        compare({"a": (table, network), "b": (table.assign(actual=table["actual"] * 1.01), network)})


def test_tables_show_every_run_and_every_pair():
    found = compare(runs())
    shown = printed(comparing.comparison_table(found))
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(("good", "wide", "other", "naive"))] == list(found.scores)
    pairs = printed(comparing.pairs_table(found))
    (line,) = (line for line in pairs.splitlines() if line.startswith("good") and "wide" in line)
    assert f"{100 * (found.pairs[0].ratios['crps'] - 1):+.2f}" in line
    assert "<0.001" in line


def test_the_picture_ends_at_each_runs_skill():
    found = compare(runs())
    figure = comparing.comparison_figure(found)
    over_time, in_all = figure.axes
    for place, run in enumerate(("good", "wide", "other")):
        end = lines(over_time, run)[0].get_ydata()[-1] / found.sessions
        assert 100 * end == pytest.approx(100 * found.scores[run]["skill_crps"])
        low, high = found.intervals[run]
        assert in_all.collections[place].get_segments()[0][:, 0] == pytest.approx([100 * low, 100 * high])
    assert texts(figure)[1].startswith("300 sessions in common")


@pytest.fixture
def two(tmp_path):
    return [open_run(Path(shutil.copytree(GOLDEN, tmp_path / name))) for name in ("one", "two")]


def test_complete_runs_are_compared_and_drawn(two, tmp_path):
    found = compare_runs(two, tmp_path / "picture.svg")
    assert list(found.scores) == ["one", "two", "naive"]
    assert (tmp_path / "picture.svg").read_bytes().startswith(b"<?xml")
    (tmp_path / "deep").mkdir()
    twin = open_run(Path(shutil.copytree(GOLDEN, tmp_path / "deep" / "one")))
    assert list(compare_runs([two[0], twin]).scores)[:2] == [str(two[0].folder), str(twin.folder)]


def test_one_run_the_same_run_twice_and_no_picture_format_are_refused(two, tmp_path):
    for chosen in (two[:1], [two[0], two[0]], [two[0], open_run(tmp_path / "two" / ".." / "one")]):
        with pytest.raises(ConfigError, match="two or more runs"):
            compare_runs(chosen)
    with pytest.raises(ConfigError, match=r"must end in one of \.png, \.svg, \.pdf\. Received: .*picture.bmp"):
        compare_runs(two, tmp_path / "picture.bmp")
    assert not list(tmp_path.glob("picture*"))


def test_drawing_leaves_the_tables_alone():
    given = runs()
    before = {name: table.copy() for name, (table, _) in given.items()}
    compare(given)
    for name, (table, _) in given.items():
        pd.testing.assert_frame_equal(table, before[name])
