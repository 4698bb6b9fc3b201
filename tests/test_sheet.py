"""Style, layout and text of all pictures."""

import datetime as dt
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from stockrnn.errors import ConfigError, StorageError
from stockrnn.reports.sheet import (
    FORMATS,
    MINUS,
    MISSING_GLYPH,
    drawing,
    head,
    inert,
    label_axes,
    log_axis,
    moments,
    number_axis,
    render_figures,
    save_figures,
    sheet,
    shown_of,
    time_axis,
)


def drawn(low, high, log=False, whole=False):
    with drawing():
        figure, cells = sheet(["one"])
        (axes,) = cells["one"]
        axes.set_ylim(low, high)
        if log:
            log_axis(axes.yaxis)
        else:
            number_axis(axes.yaxis, whole=whole)
        figure.draw_without_rendering()
        return [tick.label1.get_text() for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (50_000, 54_000, ["50,000", "51,000", "52,000", "53,000", "54,000"]),
        (0.00115, 0.001262, ["0.00116", "0.00118", "0.00120", "0.00122", "0.00124", "0.00126"]),
        (-0.5, 0.5, [f"{MINUS}0.4", f"{MINUS}0.2", "0.0", "0.2", "0.4"]),
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
    ],
)
def test_a_number_axis_writes_plain_numbers_with_as_many_decimals_as_they_need(low, high, expected):
    assert drawn(low, high) == expected


@pytest.mark.parametrize(("low", "high", "expected"), [(0.96, 1.04, ["1"]), (0.9, 2.1, ["1", "2"]), (0, 4, ["0", "1", "2", "3", "4"])])
def test_an_axis_of_whole_numbers_shows_no_parts_of_one(low, high, expected):
    assert drawn(low, high, whole=True) == expected


def test_a_log_axis_writes_plain_numbers_at_1_2_and_5():
    assert drawn(0.4, 120, log=True) == ["0.5", "1", "2", "5", "10", "20", "50", "100"]


@pytest.mark.parametrize(
    ("first", "days", "shown"),
    [("2008-01-02", 3, "%d %b %Y"), ("2008-03-03", 80, "%d %b %Y"), ("2008-03-03", 220, "%b %Y"), ("1990-01-02", 9000, "%Y")],
)
def test_dates_are_written_in_full_from_days_to_decades(first, days, shown):
    dates = np.datetime64(first) + np.arange(days).astype("timedelta64[D]")
    with drawing():
        figure, cells = sheet(["one"])
        (axes,) = cells["one"]
        axes.plot(dates, np.zeros(days))
        time_axis(axes, dates.astype("datetime64[ns]"))
        figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert 2 <= len(labels) <= 8
    stamps = [dt.datetime.strptime(label, shown) for label in labels]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize(("minutes", "shown"), [(60, "%d %b %H:%M"), (390, "%d %b %H:%M"), (5 * 1440, "%d %b %Y")])
def test_times_of_day_are_written_and_fill_the_picture(minutes, shown):
    dates = (np.datetime64("2024-01-12T09:31") + np.arange(minutes).astype("timedelta64[m]")).astype("datetime64[ns]")
    with drawing():
        figure, cells = sheet(["one"])
        (axes,) = cells["one"]
        axes.plot(dates, np.zeros(minutes))
        time_axis(axes, dates)
        figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert 2 <= len(labels) == len({dt.datetime.strptime(label, shown) for label in labels}) <= 8
    low, high = axes.get_xlim()
    assert minutes / 1440 > 0.9 * (high - low)


@pytest.mark.parametrize("first", ["2021-05-13", "2019-06-25"])
def test_no_date_stands_just_before_another(first):
    dates = (np.datetime64(first) + np.arange(26).astype("timedelta64[D]")).astype("datetime64[ns]")
    with drawing():
        figure, cells = sheet(["one"])
        (axes,) = cells["one"]
        time_axis(axes, dates, 8)
        figure.draw_without_rendering()
    gaps = np.diff(axes.get_xticks())
    assert len(gaps) >= 3
    assert gaps.min() >= 0.8 * np.median(gaps)


def test_text_of_a_file_is_drawn_as_it_is_and_never_as_mathematics():
    with drawing():
        figure, _ = sheet(["one"])
        head(figure, inert("$\\frac{a}{0$ _x ^2"), [])
        texts = {text.get_text(): text for text in figure.texts}
    assert not texts["$\\frac{a}{0$ _x ^2"].get_parse_math()
    assert render_figures({"x": figure}, "png")  # as mathematics this could not be parsed


def test_what_the_font_lacks_becomes_a_square_and_control_characters_vanish():
    assert inert("삼성 A\x1b[31m\n\u202eb") == f"{MISSING_GLYPH * 2} A[31m b"
    assert inert("x" * 99, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], "mean 2.0, sd 1.0"),
        ([-4e-5, 2e-5], f"mean {MINUS}0.000010, sd 0.000042"),
        ([50_000.0, 54_000.0], "mean 52,000, sd 2,828"),
        ([-1.0, 0.98], "mean 0.0, sd 1.4"),
        ([7.0, 7.0], "mean 7.00, sd 0.00"),
        ([7.0], ""),
    ],
)
def test_moments_are_written_to_two_digits_of_the_spread(values, expected):
    assert moments(np.array(values)) == expected


def test_a_sheet_makes_six_cells_at_most_and_says_how_many_are_left():
    names = [f"T{k}" for k in range(8)]
    with drawing():
        figure, cells = sheet(names, widths=(2.0, 1.0))
    assert list(cells) == names[:6]
    assert len(figure.axes) == 12
    assert shown_of(names) == "first 6 of 8 tickers, 2 not shown"
    assert shown_of(names[:6]) == ""


def test_a_picture_of_a_user_with_other_settings_is_the_same_and_leaves_them(tmp_path):
    def picture():
        with drawing():
            figure, cells = sheet(["one"])
            cells["one"][0].plot([1, 2], [3, 4], label="line")
            label_axes(cells["one"][0], "x (unit)", "y - z (unit)")
            head(figure, "title", ["note"])
        return render_figures({"p": figure}, "png")["p.png"]

    plain = picture()
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30, "text.usetex": True}):
        before = dict(mpl.rcParams)
        assert picture() == plain
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_has_the_same_bytes_every_time_and_no_date(form):
    def picture():
        with drawing():
            figure, cells = sheet(["one"])
            cells["one"][0].fill_between([1, 2], [3, 4], label="band")
            head(figure, "title", ["note"])
        return render_figures({"p": figure}, form)[f"p.{form}"]

    data = picture()
    assert data == picture()
    for mark in (b"CreationDate", b"dc:date", str(dt.datetime.now(tz=dt.UTC).year).encode() + b"-"):
        assert mark not in data


def test_pictures_are_saved_under_their_names_and_a_wrong_format_or_folder_is_an_error(tmp_path):
    with drawing():
        figure, _ = sheet(["one"])
    assert save_figures({"a": figure}, tmp_path, "png") == [tmp_path / "a.png"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"`--format` must be one of png, svg, pdf\. Received: jpg"):
        save_figures({"a": figure}, tmp_path, "jpg")
    with pytest.raises(StorageError):
        save_figures({"a": figure}, tmp_path / "absent", "png")


def test_drawing_never_loads_pyplot_and_says_nothing(tmp_path):
    code = """
import sys
from stockrnn.reports import plots, inspection, tables
assert not {"matplotlib", "rich", "scipy"} & set(sys.modules)
from stockrnn.reports.sheet import drawing, sheet, head, render_figures
with drawing():
    figure, _ = sheet(["one"]); head(figure, "x", [])
render_figures({"x": figure}, "png")
assert "matplotlib.pyplot" not in sys.modules
"""
    unusable = tmp_path / "file"
    unusable.write_text("")
    environment = {"MPLCONFIGDIR": str(unusable), "PATH": ""}  # matplotlib would say so, and make its font cache anew
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("most", [4, 6, 8])
def test_every_span_of_days_has_labels_enough_and_not_too_many(most):
    """matplotlib knows no interval of a year in months, and says so where few labels stand for two or three years."""
    with drawing():
        (axes,) = sheet(["one"])[1]["one"]
        for days in np.unique(np.geomspace(2, 30_000, 60).astype(int)):
            time_axis(axes, np.datetime64("2020-03-11") + np.array([0, days]).astype("timedelta64[D]"), most)
            assert 2 <= len(axes.get_xticks()) <= most + 1, days
