"""What a search shows tells its trials apart, whatever the prices."""

import pytest
from matplotlib.text import Text
from test_tables import printed

from stockrnn.evaluation.tuning import Found, Trial
from stockrnn.reports.tuning import trial_rows, tuning_figures
from stockrnn.searchspace import space_of

SPACE = space_of({"model.dropout": [0.0, 0.2, 0.4]}, "space")


def found_of(scale, failed=()):
    """A search whose trials lie half a percent apart."""
    trials = [
        Trial(number, {"model.dropout": 0.2}, None, "failed" if number in failed else "complete", ({"crps": scale * (1 - 0.005 * number)},))
        for number in range(1, 4)
    ]
    return Found(Trial(0, {}, None, "complete", ({"crps": scale},)), tuple(trials), 1, {}, True)


@pytest.mark.parametrize("scale", [2e-6, 0.0055, 0.31, 8.08, 812.3, 45_000.0])
def test_scores_half_a_percent_apart_look_different(scale):
    found = found_of(scale)
    rows = [line.split() for line in printed(trial_rows(found.to_dict())).splitlines()[2:]]
    assert [row[0] for row in rows] == ["config", "3", "2", "1"]
    assert len({row[1] for row in rows}) == 4
    for row, score in zip(rows, (1.0, 0.985, 0.99, 0.995), strict=True):
        assert float(row[1].replace(",", "")) == pytest.approx(scale * score, rel=1e-3)
    axes = tuning_figures(found, SPACE, "prices.csv")["parallel"].axes[0]
    shown = [text.get_text() for text in axes.findobj(Text) if text.get_position()[0] == 1.04]
    assert len(shown) == len(set(shown)) == 5


def test_a_scale_of_one_score_has_one_number():
    found = found_of(8.0, failed=(1, 2))
    axes = tuning_figures(found, SPACE, "prices.csv")["parallel"].axes[0]
    assert [text.get_text() for text in axes.findobj(Text) if text.get_position()[0] == 1.04] == ["7.88"]


@pytest.mark.parametrize(("failed", "said"), [((), "ended early"), ((2,), "ended early or failed")])
def test_a_trial_that_failed_is_not_said_to_have_been_ended_early(failed, said):
    figures = tuning_figures(found_of(8.0, failed), SPACE, "prices.csv")
    texts = [text.get_text() for text in figures["history"].findobj(Text)]
    assert (said in texts) == bool(failed)
    assert any(text.get_text().endswith(f"grey: {said}") for text in figures["parallel"].findobj(Text))


@pytest.mark.parametrize(("peak", "inside"), [(0.26, True), (0.30, True), (9.0, False)])
def test_the_curve_of_the_best_trial_leaves_the_picture_only_where_it_would_flatten_all_others(peak, inside):
    calm = [0.25, 0.24, 0.23, 0.22, 0.21, 0.20, 0.20, 0.20]
    curves = [[[0.24, peak, *calm[2:]]] if number == 2 else [calm] for number in range(4)]
    own, *trials = (Trial(n, {"model.dropout": 0.2}, None, "complete", ({"crps": 3.0 - (n == 2), "curves": curves[n]},)) for n in range(4))
    found = Found(own, tuple(trials), 1, {}, True)
    (axes,) = tuning_figures(found, SPACE, "prices.csv")["learning"].axes
    low, high = axes.get_ylim()
    assert 0.19 < low < 0.20 < 0.25 < high < 0.34
    assert (peak < high) == inside
