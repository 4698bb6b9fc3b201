"""Files that are parts of one series, given out by year or month: their names differ in a date alone, which is theirs, and no days meet."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from stockrnn.prices.naming import clean_ticker, name_of
from stockrnn.prices.quality import MOST_PLACES, Finding, Place, date_text, shown
from stockrnn.prices.readings import Rows

Span = tuple[pd.Timestamp, pd.Timestamp]
"""First and last date of a file."""

_DAY = r"(?:[-_. ]?(?:0[1-9]|1[0-2])(?:[-_. ]?(?:0[1-9]|[12]\d|3[01]))?)"
_PERIOD = rf"(?:[qh][1-4][-_. ]?)?(?:19|20)\d\d(?:[-_. ]?[qh][1-4]|{_DAY})?(?!\d)"
_SPAN = rf"{_PERIOD}(?:[-_. ~]*(?:to)?[-_. ~]*{_PERIOD})?"
_NAMES = re.compile(rf"(?P<after>.*?)[-_. (]*(?<!\d){_SPAN}\)?|{_SPAN}[-_. ]+(?P<before>.*)", re.IGNORECASE)


def join_parts(files: Sequence[Rows], spans: Sequence[Span | None]) -> list[Rows]:
    """The files, those that are parts of one series under its name: what their names share, else the name of their folder.

    Args:
        files: how they were read; those that have another name than their file's stay as they are.
        spans: of each; None for one without dates.
    """
    joined, groups = list(files), dict[tuple[Path, str], list[tuple[Span, int]]]()
    for number, (rows, span) in enumerate(zip(files, spans, strict=True)):
        path = Path(rows.path)
        named_by_file = rows.tickers == (name_of(path),) and rows.date_format is not None
        if named_by_file and span and (match := _NAMES.fullmatch(name_of(path))):
            stem = match["after"] or match["before"] or ""
            if _begins_then(span, name_of(path).replace(stem, "", 1)):
                groups.setdefault((path.parent, stem), []).append((span, number))
    for (folder, stem), group in groups.items():
        parts = sorted(group)
        if len(parts) > 1 and all(before[1] < after[0] for (before, _), (after, _) in itertools.pairwise(parts)):
            name = clean_ticker(stem or folder.resolve().name) or "series"
            places = tuple(Place(files[number].path, None, date_text(first)) for (first, _), number in parts[:MOST_PLACES])
            found = [Finding("joined_files", len(parts), places, f"read as one series, {shown(name)}")]
            for _, number in parts:
                joined[number] = replace(files[number], tickers=(name,), findings=(*files[number].findings, *found))
                found = []
    return joined


def _begins_then(span: Span, period: str) -> bool:
    """Whether rows begin in the first year of a period, or in one beside it, as business years do: 1925 may be a ticker of Tokyo's."""
    year = re.search(r"(?:19|20)\d\d", period)
    return year is not None and abs(span[0].year - int(year[0])) <= 1


def span_of(dates: pd.Series) -> Span | None:
    """The first and the last of some dates; None where there is none."""
    return None if dates.isna().all() else (dates.min(), dates.max())
