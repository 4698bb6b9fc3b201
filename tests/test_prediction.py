"""What `predict` takes as its last date, and what it says of the tickers and calendars it forecasts with."""

import shutil

import pandas as pd
import pytest
from test_hostile import GOLDEN, PRICES

from stockrnn import commands
from stockrnn.errors import ConfigError
from stockrnn.recipes import prediction
from stockrnn.runs.directory import open_run

RUN = open_run(GOLDEN)


@pytest.mark.parametrize(("asof", "last"), [("2024-01-12", "15:59"), ("20240112", "15:59"), ("2024-01-12T12:00", "12:00")])
def test_a_day_is_known_to_its_end_and_a_time_as_it_is(asof, last):
    bars = pd.Series(pd.date_range("2024-01-12 09:30", "2024-01-12 15:59", freq="min"))
    bars = pd.concat([bars - pd.Timedelta(days=1), bars, bars + pd.Timedelta(days=1)])
    assert f"{bars[bars <= commands._last_instant(asof)].max():%d %H:%M}" == f"12 {last}"


@pytest.mark.parametrize("asof", ["2024-01-12T12:00+09:00", "2024-01-12T12:00Z", "2024-13-01", "9999-12-32", ""])
def test_what_is_no_date_of_the_file_s_own_clock_is_refused(asof):
    with pytest.raises(ConfigError, match=r"--asof must be a date such as 2024-06-28, without a time zone\. Received: "):
        commands._last_instant(asof)


def test_a_file_of_another_ticker_than_the_run_s_only_one_is_said_to_stand_in_for_it(tmp_path):
    other = shutil.copyfile(PRICES, tmp_path / "other.csv")
    said = "other is forecast as if it were prices, which the run learnt, and in its scale."
    assert said in prediction.predict(RUN, str(other)).notes
    assert not [note for note in prediction.predict(RUN, str(PRICES)).notes if "as if it were" in note]


def test_many_tickers_of_a_calendar_have_one_reason():
    reasons = {f"T{k}": f"{90 + k} % of its days agree" for k in range(8)}
    assert prediction._why(reasons) == "of T0: 90 % of its days agree"
    assert prediction._why(dict.fromkeys(reasons, "alike")) == "alike"
