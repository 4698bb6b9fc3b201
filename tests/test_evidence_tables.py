"""What `runs show` says beside the scores: a page for one ticker and a page for five hundred."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_plots import MODELS, forecasts_of, several
from test_tables import printed

from stockrnn.evaluation.scores import GROUPS, extremes, reasons, score_groups, score_table
from stockrnn.evaluation.significance import significance_document
from stockrnn.reports.evidence_tables import MOST_ROWS, evidence_tables, significance_tables
from tests.factories import garch_path

GOLDEN = Path(__file__).parent / "golden" / "format1"


def scored(table):
    test = {"models": score_table(table, {}), **{f"{by}s": score_groups(table, {}, by) for by in GROUPS}}
    test |= {"ticker_skill": extremes(test["tickers"], "lstm")} if table["ticker"].nunique() > 1 else {}
    test["undefined"] = reasons([test["models"]])
    return test


def page(test):
    return "\n".join(part if isinstance(part, str) else printed(part) for part in evidence_tables(test, "lstm"))


def test_intervals_and_groups_stand_with_their_figures():
    table = forecasts_of(garch_path(900), 600, MODELS, 2)
    test = scored(table)
    shown = page(test)
    (line,) = (line for line in shown.splitlines() if line.startswith("lstm ") and "by" not in line)
    assert line.split()[1] == f"{100 * test['models']['lstm']['coverage_50']:.1f}"
    for by in ("step", "year"):
        assert f"lstm by {by}" in shown
        for key, scores in test[f"{by}s"].items():
            (line,) = (line for line in shown.splitlines() if line.split()[:1] == [key])
            assert f"{100 * scores['lstm']['skill_crps']:+.1f}" in line.split()
    assert "lstm by ticker" not in shown
    assert "directional accuracy: no row where both" in shown
    assert "IC" not in shown


def test_many_steps_are_shown_by_their_best_and_worst():
    test = scored(forecasts_of(garch_path(400), 60, MODELS, 15))
    shown = page(test)
    assert "lstm by step: best and worst 6 of 15 by CRPS skill" in shown
    ranked = sorted(test["steps"], key=lambda step: -test["steps"][step]["lstm"]["skill_crps"])
    rows = [line.split()[0] for line in shown.splitlines() if line[:1].isdigit()]
    assert [row for row in rows if row in test["steps"]][:MOST_ROWS] == [*ranked[:6], *ranked[-6:]]


@pytest.mark.parametrize("kept", [True, False])
def test_many_tickers_take_no_more_room_than_a_page(kept):
    table = several(40, 30).reset_index(drop=True)
    table["forecast"] *= 1 + 0.001 * np.random.default_rng(0).standard_normal(len(table))  # else the tickers' forecast returns are the same
    test = scored(table)
    skill = test["ticker_skill"]
    if not kept:  # as metrics.json holds a crowd
        del test["tickers"]
    shown = page(test)
    assert f"above 0 for {skill['above_0']} of 40" in shown
    best = next(iter(skill["best"]))
    assert f"best {best} {100 * skill['best'][best]:+.1f} %" in shown
    assert len(shown.splitlines()) < 50
    assert "Rank" in shown


def test_a_run_of_an_earlier_version_adds_nothing():
    test = json.loads((GOLDEN / "metrics.json").read_text())["test"]
    network = json.loads((GOLDEN / "metrics.json").read_text())["network"]
    assert list(evidence_tables(test, network)) == []


def proof_of(document):
    return "\n".join(part if isinstance(part, str) else printed(part) for part in significance_tables(document, "lstm"))


def shown_p(outcome):
    if outcome is None:
        return "\N{EN DASH}"
    return "<0.001" if outcome["p_holm"] < 0.001 else f"{outcome['p_holm']:.3f}"


def test_the_tests_stand_with_their_statistics_and_corrected_p():
    document = significance_document(forecasts_of(garch_path(500), 300, MODELS), "lstm", 0)
    shown = proof_of(document)
    for rival, outcomes in document["diebold_mariano"].items():
        (line,) = (line for line in shown.splitlines() if line.split()[:1] == [rival])
        wanted = [f"{outcomes[loss]['statistic']:+.2f}" for loss in ("squared", "absolute", "crps")]
        assert line.split()[1::2] == wanted
        assert line.split()[2::2] == [shown_p(outcomes[loss]) for loss in ("squared", "absolute", "crps")]
    low, high = document["skill_interval_95"]["crps"]
    assert f"CRPS {100 * low:+.1f} % to {100 * high:+.1f} %" in " ".join(shown.split())
    (row,) = (line.split() for line in shown.splitlines() if line.startswith("GARCH"))
    named = (document[name]["GARCH"] for name in ("pesaran_timmermann", "kupiec", "christoffersen"))
    assert row[1:] == [shown_p(each) for each in named]
    assert ("Where a dash stands" in shown) == ("\N{EN DASH}" in row)


def test_a_test_that_is_not_defined_is_a_dash_with_its_reason():
    table = forecasts_of(garch_path(300), 100, MODELS)
    table.loc[table["model"] == "lstm", ["q05", "q95"]] = 0.0, 1e9  # no miss
    document = significance_document(table, "lstm", 0)
    assert document["christoffersen"] == {"GARCH": None}
    assert document["undefined"]["christoffersen"].startswith("the interval holds all")
    assert "clusters: the interval holds all actual prices" in " ".join(proof_of(document).split())
    assert "kupiec" not in document["undefined"]


def test_tests_of_many_tickers_are_counted():
    document = significance_document(several(40, 30).reset_index(drop=True), "lstm", 0)
    shown = proof_of(document)
    below = sum(each is not None and each["p_holm"] < 0.05 for each in document["kupiec"].values())
    assert f"coverage {below} of 40" in shown
    assert "one step ahead" not in shown


def test_a_run_without_tests_shows_none():
    assert list(significance_tables({}, "lstm")) == []
