"""Which column is what: by the user's word, by header words, by what the cells hold; never by position alone."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stockrnn.dataconfig import ColumnsConfig
from stockrnn.errors import DataError
from stockrnn.prices.coherence import is_worth, like_bars, near_always
from stockrnn.prices.dates import counts_time
from stockrnn.prices.grid import Grid, kind_of, sample
from stockrnn.prices.header import CODE_NUMBER
from stockrnn.prices.headerless import guess_columns
from stockrnn.prices.quality import shown
from stockrnn.prices.stems import (
    CODE,
    PRICE_ROLES,
    VALUE_ROLES,
    Numbers,
    find_bracketed,
    find_codes,
    find_stems,
    is_letter,
    parts_of,
)
from stockrnn.prices.words import Word, is_currency, is_exchange_rate, meanings, names_market, names_no_price, normalise

_WORDY_TICKER = ("index", "name", "stock", "security", "company", "asset", "stock name", "company name")
_BLOOMBERG = re.compile(r"[A-Z0-9][A-Z0-9./]{0,11}(?: [A-Z]{2})? (?:Index|Equity|Comdty|Curncy|Corp|Govt)")
_COMPOUNDS = ("preis", "kurs")
"""How German writes the price of something as one word: Goldpreis, Wechselkurs."""
_MOST_SPARE, _MOST_COMPARED = 6, 1000
"""Columns of unknown numbers that are compared with each other, and rows of them."""
_VALUE = frozenset(
    normalise(word) for word in ("value", "values", "y", "valor", "valeur", "wert", "valore", "wartość", "значение", "值", "値")
)


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        date: number of the date column; None for a file without dates.
        time: number of the column that holds the time of day.
        ticker: number of the column that names the series.
        series: name of each series with its columns by role; one with an empty name where the file names none.
        language: of the header words.
        evidence: what decided, where header words did not.
        assumed: numbers of the columns that are taken for closes though no word says so.
        ignored: numbers of the columns that are called volumes and hold words.
    """

    date: int | None
    time: int | None
    ticker: int | None
    series: tuple[tuple[str, Mapping[str, int]], ...]
    language: str = "en"
    evidence: str = ""
    assumed: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()


_ALONE, _WIDE = "the only column of numbers is taken for the close", "one column of closes a ticker"


def find_layout(grid: Grid, given: ColumnsConfig, numbers: Numbers, own: Collection[int] = ()) -> Layout:
    """Decide what each column is.

    Args:
        grid: the table.
        given: the columns that the user named.
        numbers: gives a column's values, for what only values can tell.
        own: numbers of the columns that are features of the user's own.

    Raises:
        DataError: no price column, or more than one way to read the table.
    """
    named = {role: position(grid, f"data.columns.{role}", name) for role, name in given.model_dump().items() if name is not None}
    depth = 40 if len(grid.columns) < 200 else 4
    cells = [sample(column, depth) for column in grid.columns]
    kinds = [kind_of(part) for part in cells]
    letters = {"o", "h", "l", "c"} <= {header.strip().lower() for header in grid.headers}
    codes = find_codes(grid.headers, kinds, numbers)
    words = [() if i in codes else _usable(meanings(header), letters=letters) for i, header in enumerate(grid.headers)]
    date = named.get("date", _date_column(grid, words, kinds))
    if grid.headerless and "close" not in named:
        guess = guess_columns(grid, kinds, date, numbers)
        chosen = {**guess.roles, **{role: i for role, i in named.items() if role in VALUE_ROLES}}
        alone = (chosen["close"],) if len(guess.roles) == 1 else ()
        return Layout(guess.date, guess.time, guess.ticker, (("", chosen),), evidence=guess.evidence, assumed=alone)
    taken = set(named.values()) | ({date} if date is not None else set())
    time = named.get("time", _time_column(words, cells, taken))
    ticker = named.get("ticker", _ticker_column(words, kinds, taken, grid))
    taken |= {i for i in (time, ticker) if i is not None}
    free = [i for i in range(len(words)) if i not in taken and not (i in own and not words[i])]
    values = {role: i for role, i in named.items() if role in VALUE_ROLES}
    series, evidence = _series(grid, words, kinds, cells, free, values, numbers)
    assumed = tuple(roles["close"] for _, roles in series) if evidence in (_ALONE, _WIDE) else ()
    ignored = tuple(i for i in free if kinds[i] == "text" and any(word.role == "volume" for word in words[i]))
    return Layout(date, time, ticker, series, _language(words), evidence, assumed, ignored)


def position(grid: Grid, key: str, name: str | int) -> int:
    """The number of the column that a key of the config names, by its header or by its position from 1. Raises DataError."""
    if isinstance(name, int) or (name.isdigit() and name not in grid.headers):
        if 1 <= int(name) <= len(grid.headers):
            return int(name) - 1
        raise DataError(f"`{key}` must be a column from 1 to {len(grid.headers)}. Received: {name}. Choose one.")
    called = [grid.name(i) for i in range(len(grid.headers))]
    for test in (lambda header: header == name, lambda header: normalise(header) == normalise(name)):
        found = [i for i, header in enumerate(called) if test(header)]
        if len(found) == 1:
            return found[0]
    near = difflib.get_close_matches(name, called, n=1)
    hint = f" Did you mean {shown(near[0])}?" if near else f" Columns: {shown(', '.join(called[:20]), 200)}."
    raise DataError(f"`{key}` must name one column of the file. Received: {shown(name)}.{hint}")


def _usable(found: Sequence[Word], *, letters: bool) -> tuple[Word, ...]:
    """Single letters mean prices only where o, h, l and c all stand in the header: C and V are tickers, too."""
    return tuple(word for word in found if letters or not is_letter(word))


def _language(words: Sequence[Sequence[Word]]) -> str:
    """The language that explains the most headers, the first of equals; English only when it explains as many as any."""
    counts: dict[str, int] = {}
    for options in words:
        for language in dict.fromkeys(word.language for word in options):
            counts[language] = counts.get(language, 0) + 1
    return max(counts, key=lambda name: (counts[name], name == "en")) if counts else "en"


def _date_column(grid: Grid, words: Sequence[Sequence[Word]], kinds: Sequence[str]) -> int | None:
    ranked = [
        (word.rank, i) for i, options in enumerate(words) for word in options if word.role == "date" and kinds[i] in ("date", "epoch")
    ]
    if ranked:
        return min(ranked)[1]
    values = [i for i, options in enumerate(words) if any(word.role in VALUE_ROLES for word in options)]
    dated = [i for i, kind in enumerate(kinds) if kind == "date" and (i not in values or i == 0)]
    dated += [i for i, kind in enumerate(kinds) if kind == "epoch" and i not in values and counts_time(sample(grid.columns[i]))]
    if dated:
        return dated[0]
    if grid.headerless and "epoch" in kinds[:2]:
        return kinds.index("epoch")
    unreadable = [
        (word.rank, i) for i, options in enumerate(words) for word in options if word.role == "date" and kinds[i] in ("text", "number")
    ]
    return min(unreadable)[1] if unreadable else None


def _time_column(words: Sequence[Sequence[Word]], cells: Sequence[Sequence[str]], taken: set[int]) -> int | None:
    for i, options in enumerate(words):
        clock = all(re.fullmatch(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?|\d{1,6}(?:\.0)?", cell) for cell in cells[i])
        if i not in taken and any(word.role == "time" for word in options) and cells[i] and clock:
            return i
    return None


def _ticker_column(words: Sequence[Sequence[Word]], kinds: Sequence[str], taken: set[int], grid: Grid) -> int | None:
    ranked = []
    for i, options in enumerate(words):
        for word in options:
            numeric = kinds[i] in ("number", "date") and normalise(grid.headers[i]) not in _WORDY_TICKER
            if word.role == "ticker" and i not in taken and (kinds[i] == "text" or numeric):
                ranked.append((word.rank, i))
    return min(ranked)[1] if ranked else None


def _series(
    grid: Grid,
    words: Sequence[Sequence[Word]],
    kinds: Sequence[str],
    cells: Sequence[Sequence[str]],
    free: Sequence[int],
    values: Mapping[str, int],
    numbers: Numbers,
) -> tuple[tuple[tuple[str, Mapping[str, int]], ...], str]:
    """The series of the table, in the four forms that files have."""
    above = (
        {name: _roles(part, words, kinds, cells, {}, grid, numbers) for name, part in _grouped(grid, free).items()} if not values else {}
    )
    if not all("close" in roles for roles in above.values()):
        above = {}
    if named := above or ({} if values else find_bracketed(grid.headers, free, kinds)):
        return tuple(named.items()), "tickers in the second header line" if above else "tickers in the column names"
    roles = _roles(free, words, kinds, cells, values, grid, numbers)
    close = roles.get("close", _value_in_range(grid, free, kinds, roles, numbers))
    if close is not None:
        evidence = "" if "close" in roles else f"{shown(grid.headers[close])} lies between low and high"
        roles, counted = _with_shares({**roles, "close": close}, free, words, kinds, numbers)
        evidence = (
            f"{shown(grid.headers[roles['volume']])} counts what {shown(grid.headers[counted])} is worth"
            if counted is not None
            else evidence
        )
        return (("", roles),), evidence
    stems = find_stems(grid.headers, free, kinds)
    if stems and not _one_of_many(stems, grid.headers, words, kinds, free) and not _one_bar(stems, numbers):
        if len(stems) == 1 and is_currency(*stems):
            return (("", {**roles, **next(iter(stems.values()))}),), "a currency in the column names"
        return tuple(stems.items()), "tickers in the column names"
    wide = _wide(grid, words, kinds, cells, free, numbers)
    if wide and not roles:
        if len(wide) == 1:
            return (("", {"close": wide[0]}),), _ALONE
        return tuple((grid.headers[i].strip(), {"close": i}) for i in wide), _WIDE
    empty = [i for i in free if kinds[i] == "blank" and any(word.role == "close" for word in words[i])]
    if empty:
        raise DataError(
            f"column {empty[0] + 1} {shown(grid.headers[empty[0]])} must hold closes. Received: empty cells. "
            "Fill them, or open and save a workbook of formulas with a spreadsheet, which keeps what they give."
        )
    names = shown(", ".join(grid.headers[:20]), 160)
    raise DataError(f"the file must have a price column. Received: {names}. Name it with `data.columns.close` (header or position).")


def _with_shares(
    roles: dict[str, int],
    free: Sequence[int],
    words: Sequence[Sequence[Word]],
    kinds: Sequence[str],
    numbers: Numbers,
) -> tuple[dict[str, int], int | None]:
    """The roles, whose volume counts what another column is worth at prices between low and high; and that other column."""
    if not {"high", "low"} <= roles.keys():
        return roles, None
    spare = [i for i in free if i not in roles.values() and kinds[i] in ("number", "epoch")][:_MOST_SPARE]
    amounts = [roles["volume"]] if "volume" in roles else spare
    counts = [i for i in spare if all(word.role == "volume" for word in words[i])]
    values = {i: numbers(i, _MOST_COMPARED) for i in {roles["low"], roles["high"], *amounts, *counts}} if counts else {}
    for i, amount in itertools.product(counts, amounts):
        if i != amount and is_worth(values[amount], values[i], values[roles["low"]], values[roles["high"]]):
            return {**roles, "volume": i}, amount
    return roles, None


def _one_bar(stems: Mapping[str, Mapping[str, int]], numbers: Numbers) -> bool:
    """Whether what stands beside a word for a price in small letters names prices of one bar, and no tickers: `kurs otwarcia`."""
    if len(stems) < 2 or any(len(roles) > 1 for roles in stems.values()) or any(CODE.fullmatch(name) for name in stems):
        return False
    return near_always([numbers(roles["close"]) for roles in stems.values()])


def _value_in_range(grid: Grid, free: Sequence[int], kinds: Sequence[str], roles: Mapping[str, int], numbers: Numbers) -> int | None:
    """The one column called a value, or something's price, that lies between low and high, where none is called a close."""
    if not {"high", "low"} <= roles.keys():
        return None
    found = [i for i in free if normalise(grid.headers[i]) in _VALUE]
    found = found or [i for i in free if "close" in map(str.lower, parts_of(grid.headers[i])) and i not in roles.values()]
    if not found and len(stems := list(find_stems(grid.headers, free, kinds).values())) == 1 and stems[0].keys() == {"close"}:
        found = [stems[0]["close"]]
    if len(found) != 1:
        return None
    value, high, low = numbers(found[0]), numbers(roles["high"]), numbers(roles["low"])
    known = (value > 0) & (high > 0) & (low > 0)
    inside = (value <= high) & (value >= low)
    return found[0] if known.sum() >= 5 and np.mean(inside[known]) >= 0.95 else None


def _wide(
    grid: Grid,
    words: Sequence[Sequence[Word]],
    kinds: Sequence[str],
    cells: Sequence[Sequence[str]],
    free: Sequence[int],
    numbers: Numbers,
) -> list[int]:
    """The columns of a table of closes, one a ticker: all unknown words, no part of which means a price, unlike the prices of a bar."""
    if any(kinds[i] == "text" for i in free) or _is_other(grid.title):
        return []
    named = [i for i in free if kinds[i] not in ("blank", "date") and grid.headers[i].strip()]
    wide = [i for i in named if not _is_counter(grid.headers[i], cells[i])]
    if len(wide) == 1 and normalise(grid.headers[wide[0]]) in _VALUE and not any(words[i] for i in free if i != wide[0]):
        return wide
    codes = find_codes(grid.headers, kinds, numbers)
    if any(words[i] for i in free) or any(names_no_price(grid.headers[i]) for i in free if i not in codes):
        return []
    if len(wide) == 1:
        header = grid.headers[wide[0]].strip()
        priced = any(word.role == "close" and not is_letter(word) for part in parts_of(header) for word in meanings(part))
        coded = CODE.fullmatch(header) or CODE_NUMBER.fullmatch(header) or is_exchange_rate(header) or names_market(header)
        return wide if priced or coded or _BLOOMBERG.fullmatch(header) or header.lower().endswith(_COMPOUNDS) else []
    if any(_names_value(part) for i in wide if i not in codes for part in parts_of(grid.headers[i])):
        return []
    return [] if 4 <= len(wide) <= 8 and like_bars([numbers(i) for i in wide]) else wide


def _is_other(title: str) -> bool:
    """Whether the name of a worksheet says that it holds no closes, but volumes, turnovers or returns."""
    return names_no_price(title) or any(word.role not in ("close", "adj_close", "date", "ticker") for word in meanings(title))


def _is_counter(header: str, cells: Sequence[str]) -> bool:
    return header.lower().startswith("unnamed") or (
        header.lower() in ("index", "id", "no", "sno", "idx", "#") and all(c.isdigit() for c in cells)
    )


def _grouped(grid: Grid, free: Sequence[int]) -> dict[str, list[int]]:
    """Columns by the ticker in the second header line; an empty cell repeats the one before it (merged cells)."""
    groups: dict[str, list[int]] = {}
    last = ""
    for i in free if grid.above else ():
        last = grid.above[i].strip() or last
        groups.setdefault(last, []).append(i)
    return groups if "" not in groups else {}


def _roles(
    free: Sequence[int],
    words: Sequence[Sequence[Word]],
    kinds: Sequence[str],
    cells: Sequence[Sequence[str]],
    values: Mapping[str, int],
    grid: Grid,
    numbers: Numbers,
) -> dict[str, int]:
    """The best column of each role among some columns."""
    found = dict(values)
    for role in VALUE_ROLES:
        if role in found:
            continue
        ranked = sorted(
            (word.rank + 100 * _idle(role, kinds[i], cells[i]), i)
            for i in free
            if i not in found.values()
            for word in words[i]
            if word.role == role and (kinds[i] != "text" or role in PRICE_ROLES) and not (kinds[i] == "blank" and role != "volume")
        )
        if ranked:
            found[role] = ranked[0][1]
            same = [i for rank, i in ranked[1:] if rank == ranked[0][0] and i != ranked[0][1]]
            if role != "volume" and not _all_equal([ranked[0][1], *same], numbers):
                names = ", ".join(f"column {i + 1} {shown(grid.headers[i])}" for i in (ranked[0][1], *same[:4]))
                raise DataError(
                    f"the file must have one {role} column. Received: {names}. Choose with `data.columns.{role}` (header or position)."
                )
    if "close" not in found and "adj_close" in found and "close" not in values:
        found["close"] = found.pop("adj_close")
    return found


def _all_equal(columns: Sequence[int], numbers: Numbers) -> bool:
    """Whether a few columns hold the same values; many of one meaning are never looked at."""
    return len(columns) <= 8 and all(np.array_equal(numbers(i), numbers(columns[0]), equal_nan=True) for i in columns[1:])


def _idle(role: str, kind: str, cells: Sequence[str]) -> bool:
    """A volume column of zeros or of nothing: another one is better."""
    return role == "volume" and (kind == "blank" or all(re.fullmatch(r"0+(?:\.0+)?", cell) for cell in cells))


def _one_of_many(
    stems: Mapping[str, Mapping[str, int]],
    headers: Sequence[str],
    words: Sequence[Sequence[Word]],
    kinds: Sequence[str],
    free: Sequence[int],
) -> bool:
    """Whether a single `Oil_Price` stands beside columns that may be prices as well: then nothing says which is meant."""
    if len(stems) > 1 or any(len(roles) > 1 for roles in stems.values()):
        return False
    used = {i for roles in stems.values() for i in roles.values()}
    return any(kinds[i] == "number" and not words[i] and may_be_price(headers[i]) for i in free if i not in used)


def may_be_price(header: str) -> bool:
    """Whether an unknown header names something that can be a price: it has a name, and no word of it says otherwise."""
    return bool(header.strip()) and not header.lower().startswith("unnamed") and not names_no_price(header)


def _names_value(part: str) -> bool:
    return any(word.role in VALUE_ROLES and not is_letter(word) for word in meanings(part))
