"""What is known of a session before it comes: the plan of its exchange, closings and recurring news, without a look ahead."""

import json

import numpy as np
import pandas as pd
import pytest
from factories import garch_path, panel, spans_of

from stockrnn.configfile import load_config
from stockrnn.features.agenda import AGENDA, CHANCE, NEIGHBOUR, OTHER_QUARTER, QUARTERS, SUREST, YEAR_BEFORE, coming
from stockrnn.features.anchors import GREATEST_SURPRISE, USUAL_GAP, Anchor, _ahead, fit_anchor
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.prices.schedule import YEARS_AHEAD, Plan, _plan, plan_of
from stockrnn.types import CLOSE, DATE, HIGH, LOW, OPEN, VOLUME

NEW_YORK = _plan("XNYS", 1990, 2029, (0, 1, 2, 3, 4))
PATTERN = _plan("pattern", 2000, 2029, (0, 1, 2, 3, 4))


def days(*texts):
    return np.array(texts, "datetime64[D]")


def on_sessions(prices, plan, first="2010-01-04"):
    """The table with the plan's sessions from a day on for its dates."""
    start = int(np.searchsorted(plan.sessions, np.datetime64(first)))
    return prices.assign(**{DATE: pd.DatetimeIndex(plan.sessions[start : start + len(prices)]).as_unit("ns")})


# --- the plan -----------------------------------------------------------------------------------------------------------------


def test_the_plan_knows_closings_and_early_closes_that_were_foreseen():
    assert NEW_YORK.weekdays == (0, 1, 2, 3, 4)
    assert np.isin(days("2001-09-11", "2018-12-05"), NEW_YORK.sessions).all(), "closed, which nobody foresaw"
    assert not np.isin(days("2019-07-04", "2019-11-28", "2019-12-25", "2019-07-06"), NEW_YORK.sessions).any()
    assert np.isin(days("2019-07-03", "2019-11-29", "2019-12-24"), NEW_YORK.short).all()
    assert not np.isin(days("2019-07-02", "2019-12-26"), NEW_YORK.short).any()
    seen = NEW_YORK.closed_between(days("2019-07-03", "2019-07-05", "2019-07-02"), days("2019-07-05", "2019-07-08", "2019-07-03"))
    np.testing.assert_array_equal(seen, [True, False, False])


def test_sessions_follow_the_plan_and_beyond_its_ends_the_weekdays():
    found = NEW_YORK.following(days("2019-07-03", "2029-12-28", "1989-12-30", "2019-07-06"), 2)
    wanted = [("2019-07-05", "2019-07-08"), ("2029-12-31", "2030-01-01"), ("1990-01-02", "1990-01-03"), ("2019-07-08", "2019-07-09")]
    np.testing.assert_array_equal(found, [days(*pair) for pair in wanted])


@pytest.mark.parametrize(
    "plan", [NEW_YORK, PATTERN, _plan("24/7", 2010, 2019, tuple(range(7))), _plan("XTAE", 2010, 2019, (0, 1, 2, 3, 6))]
)
def test_the_state_of_a_plan_brings_it_back(plan):
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert (again.name, again.start, again.end, again.weekdays) == (plan.name, plan.start, plan.end, plan.weekdays)
    np.testing.assert_array_equal(again.sessions, plan.sessions)
    np.testing.assert_array_equal(again.short, plan.short)


@pytest.mark.parametrize(
    "change",
    [
        {"start": "x"},
        {"end": "1989-12-31"},
        {"end": "2990-12-31"},
        {"weekdays": []},
        {"weekdays": [1, 0]},
        {"weekdays": [7]},
        {"closed": ["soon"]},
        {"special": ["2050-01-01"]},
        {"special": ["NaT"]},
        {"short": ["2019-12-25"]},
    ],
)
def test_a_state_that_is_no_plan_is_refused(change):
    with pytest.raises(ValueError):  # noqa: PT011 (NumPy's or ours)
        Plan.from_dict(NEW_YORK.to_dict() | change)


def test_a_ticker_has_the_plan_of_its_own_days_and_of_years_to_come():
    dates = pd.Series(pd.DatetimeIndex(NEW_YORK.sessions[3000:3600]).as_unit("ns"))
    plan = plan_of(dates, "A", "auto")
    assert plan.name.startswith("XNYS 2000-")
    assert plan.end >= dates.iloc[-1].to_datetime64() + np.timedelta64(366 * YEARS_AHEAD, "D")
    assert plan_of(dates, "A", "XKRX").name.startswith("XKRX 2000-")
    np.testing.assert_array_equal(plan.following(days("2010-07-02"), 1), [days("2010-07-06")])


@pytest.mark.parametrize(
    "dates",
    [
        pd.date_range("2010-01-04", periods=300, freq="W-MON"),
        pd.date_range("2010-01-04 09:30", periods=300, freq="h"),
    ],
    ids=["weekly", "intraday"],
)
def test_rows_that_are_no_days_have_no_plan(dates):
    assert plan_of(pd.Series(dates.as_unit("ns")), "A", "auto") is None


# --- the terms ----------------------------------------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_calendar_on_the_wall():
    cutoffs = days("2019-07-01", "2019-07-02", "2019-07-03", "2019-11-29", "2019-12-24", "2019-12-31", "2020-01-31", "2020-02-10")
    told = coming(NEW_YORK, cutoffs, np.zeros(len(cutoffs)), 1)[:, 0]
    wanted = {
        "after_closing": [0, 0, 1, 0, 1, 1, 0, 0],
        "before_closing": [0, 1, 0, 0, 0, 0, 0, 0],
        "short": [0, 1, 0, 0, 0, 0, 0, 0],
        "after_short": [0, 0, 1, 1, 1, 0, 0, 0],
        "new_year": [0, 0, 0, 0, 0, 1, 0, 0],
        "new_month": [0, 0, 0, 1, 0, 1, 1, 0],
        "recurring": [0] * 8,
    }
    for name, column in zip(AGENDA, told.T, strict=True):
        np.testing.assert_array_equal(column, wanted[name], err_msg=name)
    ahead = coming(NEW_YORK, cutoffs, np.zeros(len(cutoffs)), 2)
    np.testing.assert_array_equal(ahead[0, :, list(AGENDA).index("short")], [0.0, 0.5])


def test_where_no_day_is_closed_nothing_but_months_is_told():
    always = _plan("24/7", 2010, 2019, tuple(range(7)))
    told = coming(always, always.sessions[:800], np.zeros(800), 3)
    names = [name for name, column in zip(AGENDA, np.moveaxis(told, 2, 0), strict=True) if column.any()]
    assert names == ["new_month"]


def recurring_by_hand(cutoffs, target, surprise):
    """Evidence of one session, from a dictionary and loops."""
    of_day, evidence = dict(zip(cutoffs.tolist(), surprise, strict=True)), 0.0
    for quarter in range(1, QUARTERS + 1):
        day = target - np.timedelta64(91 * quarter, "D")
        weight = (1 if quarter % 4 == 0 else OTHER_QUARTER) * YEAR_BEFORE ** max(quarter / 4 - 1, 0)
        near = [of_day.get((day + np.timedelta64(off, "D")).item(), 0.0) for off in (-1, 0, 1)]
        evidence += weight * (near[1] + NEIGHBOUR * (near[0] + near[2]))
    return min(max(evidence - CHANCE, 0.0), SUREST)


def test_evidence_of_recurring_news_is_that_of_plain_loops():
    cutoffs = NEW_YORK.sessions[2000:3500]
    surprise = np.random.default_rng(0).uniform(0, 1.5, len(cutoffs)) * (np.random.default_rng(1).uniform(size=len(cutoffs)) < 0.35)
    found = coming(NEW_YORK, cutoffs, surprise, 1)[:, 0, list(AGENDA).index("recurring")]
    targets = NEW_YORK.following(cutoffs, 1)[:, 0]
    wanted = [recurring_by_hand(cutoffs, target, surprise) for target in targets]
    assert 0.02 < np.mean(np.array(wanted) > 0) < 0.9
    assert found.max() == SUREST
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_no_step_however_far_sees_a_surprise_after_the_cutoff():
    cutoffs, dice = NEW_YORK.sessions[2000:2600], np.random.default_rng(0)
    surprise = dice.uniform(0, 1.5, len(cutoffs))
    whole = coming(NEW_YORK, cutoffs, surprise, 150)
    other = np.where(np.arange(600) <= 400, surprise, dice.uniform(0, 1.5, 600))
    np.testing.assert_array_equal(coming(NEW_YORK, cutoffs, other, 150)[:401], whole[:401])
    assert coming(NEW_YORK, cutoffs[:401], surprise[:401], 150).tobytes() == whole[:401].tobytes()
    assert (coming(NEW_YORK, cutoffs, other, 150)[401:] != whole[401:]).any()


def test_a_surprise_is_a_gap_on_more_volume_than_before():
    prices = on_sessions(garch_path(500), NEW_YORK)
    quarter = prices[DATE].searchsorted(prices[DATE][200] + pd.Timedelta(days=364)) - 1
    column = list(AGENDA).index("recurring")

    def evidence(gap, volume):
        table = prices.assign(**{OPEN: prices[CLOSE].shift().fillna(prices[OPEN]), VOLUME: 1000.0})
        table.loc[200, OPEN], table.loc[200, VOLUME] = table[CLOSE][199] * np.exp(gap), 1000.0 * volume
        return _ahead(NEW_YORK, table, True, -8.0, 1)[quarter, 0, column]

    unit = np.exp(np.log(np.log(prices[HIGH] / prices[LOW]))[178:200].mean())
    assert evidence(0.0, 20.0) == evidence(3 * unit, 1.0) == evidence(0.9 * USUAL_GAP * unit, 20.0) == 0.0
    for gap in (unit, -unit):
        assert evidence(gap, 5.0) == pytest.approx(np.sqrt(0.75 * np.log(5001 / 1001)) - CHANCE)
    assert evidence(9 * unit, 99.0) == GREATEST_SURPRISE - CHANCE


@pytest.mark.parametrize("missing", [[VOLUME], [OPEN], [OPEN, HIGH, LOW, VOLUME]])
def test_a_file_that_tells_no_surprises_expects_none(missing):
    prices = on_sessions(garch_path(600), NEW_YORK)
    prices[missing] = np.nan
    assert not _ahead(NEW_YORK, prices, False, -8.0, 2)[:, :, list(AGENDA).index("recurring")].any()


WEIGHTS = [0.2462214986, 0.1025871979, -0.05900164978, -0.2510185146, 0.2635610473, 0.183004322, 0.06449908889]
SCALE = [0.008371336019, 0.01549155403, 0.01082332715]

# --- in the anchor ------------------------------------------------------------------------------------------------------------


def changes_of(prices, horizon=1):
    logged = np.log(prices[CLOSE])
    return np.stack([(logged.shift(-step) - logged).to_numpy() for step in range(1, horizon + 1)], axis=1)


def fitted(prices, plan, rows=None, horizon=1):
    changes = changes_of(prices, horizon)
    return fit_anchor(
        "har", prices, changes, np.isfinite(changes).all(axis=1) & (np.arange(len(prices)) < (rows or len(prices))), plan=plan
    )


def eventful(rows=2600, size=5.0, volume=4.0):
    """Sessions with news every 13 weeks: a gap of `size` usual changes, and volume; and those sessions' rows."""
    prices = on_sessions(garch_path(rows), NEW_YORK, "2005-01-03")
    at = np.flatnonzero((prices[DATE] - pd.Timestamp("2005-01-27")).dt.days % 91 == 0)
    dice = np.random.default_rng(3)
    jump = np.zeros(rows)
    jump[at] = 0.01 * size * dice.choice([-1.0, 1.0], len(at)) * dice.uniform(0.5, 1.5, len(at))
    level = np.exp(np.cumsum(jump))
    before = np.exp(np.cumsum(jump) - jump)
    table = prices.assign(**{name: prices[name] * level for name in (HIGH, LOW, CLOSE)})
    table[OPEN] = np.where(jump != 0, prices[CLOSE].shift().fillna(prices[OPEN]) * level, prices[OPEN] * before)
    table[HIGH], table[LOW] = table[[OPEN, HIGH, CLOSE]].max(axis=1), table[[OPEN, LOW, CLOSE]].min(axis=1)
    table[VOLUME] = prices[VOLUME] * np.where(jump != 0, volume, 1.0)
    return table, at


def test_news_that_recur_are_expected_where_they_did_before():
    prices, at = eventful()
    anchor, plain = fitted(prices, NEW_YORK, 1800), fitted(prices, None, 1800)
    later = at[at > 1850] - 1
    scale, usual = anchor.scale(prices)[:, 0], plain.scale(prices)[:, 0]
    assert len(later) > 5
    assert np.median(scale[later] / usual[later]) > 1.4
    assert 0.8 < np.median(scale[later - 3] / usual[later - 3]) < 1.0, "what the news explain is no unrest of the other days"
    size, rows = np.abs(changes_of(prices)[:, 0]), slice(1850, -1)
    loss = [np.mean((size / each + np.log(each))[rows]) for each in (scale, usual)]
    assert loss[0] < loss[1] - 0.01


def test_an_effect_of_closings_is_learned_and_without_one_hardly_any_is_left():
    prices = on_sessions(garch_path(6000), NEW_YORK, "1995-01-03")
    after = NEW_YORK.closed_between(*(prices[DATE].to_numpy().astype("datetime64[D]")[part] for part in (slice(None, -1), slice(1, None))))
    changes = np.diff(np.log(prices[CLOSE]))
    weights = []
    for factor in (1.0, 4.0):
        close = 100 * np.exp(np.cumsum(np.r_[0.0, changes * np.where(after, factor, 1.0)]))
        anchor = fitted(prices.assign(**{CLOSE: close}), NEW_YORK)
        weights.append(anchor.weights[0, 1 + len(anchor.centre) - len(AGENDA) + list(AGENDA).index("after_closing")])
    assert weights[0] < AGENDA["after_closing"] < weights[1] - 0.05


def test_nothing_after_a_session_changes_its_start_nor_what_is_learned():
    prices, _ = eventful(1200)
    other = prices.copy()
    other.loc[900:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= np.random.default_rng(0).lognormal(size=(300, 1))
    other[DATE] = other[DATE].where(other.index < 900, other[DATE] + pd.Timedelta(days=1))
    first, second = fitted(prices, NEW_YORK, 880, 3), fitted(other, NEW_YORK, 880, 3)
    assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())
    for one, two, cut in zip(first.start(prices), second.start(other), first.start(prices[:900]), strict=True):
        assert one[:900].tobytes() == two[:900].tobytes() == cut.tobytes()
        assert (one[900:] != two[900:]).any()


def test_the_state_brings_back_the_anchor_and_one_of_before_there_was_a_plan():
    prices, _ = eventful(600)
    anchor, plain = fitted(prices, NEW_YORK, horizon=2), fitted(prices, None, horizon=2)
    state = json.loads(json.dumps(anchor.to_dict()))
    again = Anchor.from_dict(state, {NEW_YORK.name: NEW_YORK})
    assert again.scale(prices).tobytes() == anchor.scale(prices).tobytes()
    assert Anchor.from_dict(plain.to_dict(), {}).scale(prices).tobytes() == plain.scale(prices).tobytes()
    with pytest.raises(KeyError):
        Anchor.from_dict(state, {})
    for change in ({"weights": plain.to_dict()["weights"]}, {"centre": plain.to_dict()["centre"]}):
        with pytest.raises(ValueError, match="an anchor that does not fit"):
            Anchor.from_dict(state | change, {NEW_YORK.name: NEW_YORK})


def test_an_anchor_without_a_part_is_the_one_with_no_weight_on_it():
    prices, _ = eventful()
    anchor = fitted(prices, NEW_YORK)
    location, scale = anchor.start(prices)
    still, quiet = anchor.without_location(), anchor.without_agenda()
    assert location.any()
    assert not still.start(prices)[0].any()
    assert still.scale(prices).tobytes() == scale.tobytes()
    terms = _ahead(NEW_YORK, prices, anchor.ranged, anchor.floor, 1)[:, 0] - anchor.centre[-len(AGENDA) :]
    np.testing.assert_allclose(scale[:, 0] / quiet.scale(prices)[:, 0], np.exp(terms @ anchor.weights[0, -len(AGENDA) :]), rtol=1e-9)
    plain = fitted(prices, None)
    assert plain.without_agenda().scale(prices).tobytes() == plain.scale(prices).tobytes()


def test_the_weights_are_what_they_were_when_they_were_measured():
    """Numbers of a released scale: another prior, trust or look back would be another model."""
    prices, at = eventful()
    anchor = fitted(prices, NEW_YORK)
    np.testing.assert_allclose(anchor.weights[0, -len(AGENDA) :], WEIGHTS, rtol=1e-6)
    np.testing.assert_allclose(anchor.scale(prices)[at[[3, 9, 30]] - 1, 0], SCALE, rtol=1e-6)


def test_tickers_of_one_exchange_share_a_plan_in_the_state():
    prices = pd.concat([on_sessions(rows, NEW_YORK) for _, rows in panel(600).groupby("ticker")], ignore_index=True)
    config = load_config("lstm", ["data.ticker=null", "model.anchor=har", "features.columns=[]", "features.indicators=[log_return]"])
    pipeline = fit_pipeline(prices, spans_of(prices), config)
    state = json.loads(json.dumps(pipeline.to_dict()))
    assert len(state["plans"]) == 1
    assert {anchor["plan"] for anchor in state["anchors"].values()} == {state["plans"][0]["name"]}
    again = Pipeline.from_dict(state)
    assert again.to_dict() == pipeline.to_dict()
    assert again.prepare(prices).windows.targets.tobytes() == pipeline.prepare(prices).windows.targets.tobytes()
