"""How countries write a date in words: weekdays, months, eras, halves of a day and time zones; cells are made English and Western."""

from __future__ import annotations

import re

import pandas as pd

from stockrnn.errors import DataError

_MONTHS = {
    1: "jan january januar janvier janv enero ene gennaio gen janeiro januari января янв январь ocak oca sty stycznia",
    2: "feb february februar février févr fevr fév febrero febbraio fevereiro fev februari февраля фев февраль şubat şub subat lut lutego",
    3: "mar march märz mär mrz mars marzo março maart mrt марта мар март mart marca maret",
    4: "apr april avril avr abril abr aprile апреля апр апрель nisan nis kwi kwietnia",
    5: "may mai mayo maggio mag maio mei мая май mayıs mayis maj maja",
    6: "jun june juni juin junio giugno giu junho июня июн июнь haziran haz cze czerwca",
    7: "jul july juli juillet juill juil julio luglio lug julho июля июл июль temmuz tem lip lipca",
    8: "aug august août aout agosto ago agustus agt agu августа авг август ağustos agustos ağu sie sierpnia",
    9: "sep sept september septembre septiembre settembre set setembro сентября сен сент сентябрь eylül eylul eyl wrz września",
    10: "oct october oktober okt octobre octubre ottobre ott outubro out октября окт октябрь ekim eki paź października",
    11: "nov november novembre noviembre novembro ноября ноя ноябрь kasım kasim kas lis listopada",
    12: "dec december dezember dez décembre déc diciembre dic dicembre dezembro desember des декабря дек декабрь aralık ara gru grudnia",
}
MONTH_OF = {word: number for number, words in _MONTHS.items() for word in words.split()}
ENGLISH = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = (
    "(?:mon|tue|tues|wed|thu|thur|thurs|fri|sat|sun)[a-z]*|[월화수목금토일]요일|mo|di|mi|do|fr|sa|so|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|"
    "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo|(?:lune|marte|mercole|giove|vener)dì|"
    "sabato|domenica|(?:segunda|terça|quarta|quinta|sexta)(?:-feira)?|понедельник|вторник|среда|четверг|пятница"
)
WEEKDAY = re.compile(rf"^(?:{_WEEKDAYS})(?:\.,?|,)?\s+", re.IGNORECASE)
_WEEKDAY_AFTER = r"(?<=[\d日일])\s*(?:[(（]\s*[월화수목금토일月火水木金土日一二三四五六]\s*[)）]|,\s*[一二三四五六日])(?=\s|$)"
_ORDINAL = r"(?<=\d)(?:st|nd|rd|th|er|º)(?=[\s,.])|(?<=\d)\s*г\.?$"
_ZONE = re.compile(
    r"(?<=[\d.])\s*(?:Z|UTC|GMT(?:[+-]\d{4})?(?:\s*\([A-Za-z ]+\))?|[+-]\d{2}:?\d{2}(?::\d{2})?|[+-]\d{2}"
    r"|E[SD]T|C[SD]T|P[SD]T|KST|JST)(?:\[[\w/+-]+\])?$"
)


_BUDDHIST = r"(?<!\d)2[45]\d\d(?!\d)"
"""A year of Thailand's calendar, 543 ahead."""


def tidy(cells: pd.Series) -> tuple[pd.Series, str, str]:
    """Cells made English and Western: without weekdays and time zones, with English months and the years of the common calendar.

    Returns:
        The cells, the zones that were cut off, and whose years were changed.
    """
    calendar = ""
    cells = cells.str.strip().str.replace(_WEEKDAY_AFTER, "", regex=True)
    if cells.str.fullmatch(_ERA_DATE).any():
        cells, calendar = cells.str.replace(f"^{_ERA_DATE}$", _of_era, regex=True), "Japan's eras"
    if len(cells) and cells.str.contains(rf"\D{_BUDDHIST}|{_BUDDHIST}\D", regex=True).mean() > 0.9:
        cells, calendar = cells.str.replace(_BUDDHIST, lambda year: str(int(year.group()) - 543), regex=True), "Thailand's years"
    if cells.str.fullmatch(r"1\d{2}\D\d{1,2}\D\d{1,2}\D?").any() and cells.str.fullmatch(_ROC_DATE).mean() > 0.5:
        _refuse_western(cells)
        cells, calendar = western(cells), "Taiwan's years"
    if cells.str.contains("오전|오후|上午|下午").any():
        cells = cells.str.replace(r"(오전|오후|上午|下午)\s*([\d:]+)", _half_day, regex=True)
    cells = _with_centuries(cells)
    sample = cells.iloc[:: max(1, len(cells) // 50)]
    zone = ""
    if sample.str.contains(_ZONE).any():
        timed = cells.str.contains(r"\d:\d|\dT\d|[AP]M", regex=True)
        zones = cells.where(timed, "").str.extract(f"({_ZONE.pattern})", expand=False).fillna("")
        zone = ", ".join(sorted({z.strip() for z in zones.unique() if z}))[:60]
        cells = cells.where(~timed, cells.str.replace(_ZONE, "", regex=True))
    if sample.str.contains(r"[^\W\d_]{2}|г\.?$", regex=True).any():
        cells = (
            cells.str.replace(WEEKDAY, "", regex=True)
            .str.replace(_ORDINAL, "", regex=True)
            .str.replace(r"[^\W\d_]+", _english_month, regex=True)
        )
    return cells, zone, calendar


_ERAS = {"R": 2018, "令和": 2018, "H": 1988, "平成": 1988, "S": 1925, "昭和": 1925}
"""Japan's era → the year before its first."""
_ERA_DATE = r"(R|H|S|令和|平成|昭和)\s?(\d{1,2}|元)([./年]\d{1,2}[./月]\d{1,2}日?)"


def _of_era(match: re.Match[str]) -> str:
    return f"{_ERAS[match[1]] + (1 if match[2] == '元' else int(match[2]))}{match[3]}"


_ROC_DATE = r"\d{2,3}\D\d{1,2}\D\d{1,2}\D?"


def _refuse_western(cells: pd.Series) -> None:
    """A spreadsheet makes a day of 1996 of 96/12/26, where it is one of 2007, and leaves 107/01/29 as it is."""
    found = cells[cells.str.match(r"(?:19|20)\d{2}\D")]
    if len(found):
        raise DataError(
            f"dates must have the years of one calendar. Received: Taiwan's in most rows, and {found.iloc[0]!r}, which a spreadsheet may "
            "have made of one of them. Write all of them alike."
        )


def western(cells: pd.Series) -> pd.Series:
    """Cells with Taiwan's years made Western: 92/06/30 and 107/01/29 are days of 2003 and 2018."""
    return cells.str.replace(r"^\d{2,3}(?=\D)", lambda match: str(int(match.group()) + 1911), regex=True)


def _with_centuries(cells: pd.Series) -> pd.Series:
    """Years of two digits beside years of four, as a spreadsheet leaves what it took for a date beside what it did not."""
    short = cells.str.fullmatch(r"\d{1,2}([-/.])\d{1,2}\1\d{2}")
    if not short.any() or not cells.str.fullmatch(r"\d{1,2}([-/.])\d{1,2}\1(?:19|20)\d{2}").any():
        return cells
    latest = pd.Timestamp.now().year % 100 + 1
    return cells.mask(short, cells.str.replace(r"(\d{2})$", lambda year: f"{19 if int(year[1]) > latest else 20}{year[1]}", regex=True))


def _half_day(match: re.Match[str]) -> str:
    return f"{match[2]} {'AM' if match[1] in ('오전', '上午') else 'PM'}"


def _english_month(match: re.Match[str]) -> str:
    number = MONTH_OF.get(match.group().lower())
    return match.group() if number is None else ENGLISH[number - 1]
