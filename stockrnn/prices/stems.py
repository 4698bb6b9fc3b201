"""Series that column names tell apart: `AAPL.Close`, `Close_AAPL`, `('Close', 'AAPL')`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from stockrnn.prices.coherence import near_always
from stockrnn.prices.words import Word, is_currency, meanings, names_no_price

Numbers = Callable[..., np.ndarray]
"""Gives the values of a column by its number, or at most so many of them."""

VALUE_ROLES = ("open", "high", "low", "close", "adj_close", "volume", "adj_volume")
PRICE_ROLES = ("open", "high", "low", "close", "adj_close")
_NOT_A_TICKER = (
    r"(?i:lag|sma|ema|wma|avg|average|mean|prev|previous|scaled|norm|normali[sz]ed|change|chg|logret|diff|difference|rolling|shift|shifted|"
    r"tomorrow|yesterday|market|hours|purchase|current|cost)\d*|(?i:ma)\d+|\d+d?|(?:[Mm]a|[Ss]td|[Nn]ext|[Rr]et|[Rr]oll|[Rr]aw|[Ll]og|[Bb]id|[Aa]sk|[Pp]re|[Hh]igh|[Ll]ow|x|y)\d*"
)
"""Words beside `close` that make another series of it and name no ticker; MA and X in capitals are tickers."""


CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9^][A-Z0-9.\-=^&/]{0,14}")
"""A ticker as exchanges and vendors write it."""
_FEW, _MANY = 5, 20


def find_codes(headers: Sequence[str], kinds: Sequence[str], numbers: Numbers) -> frozenset[int]:
    """Columns of prices whose headers are tickers and words as well, in a table with a column for each ticker: LOW, MO, BAS.DE, DAY.

    A name of what is no price, such as PCT or CHG, or a short English one of a price, such as NAV, is a ticker only among very many. Beside
    few other codes a word is one where its values are not near those of any other. None where a column is called a close.
    """
    short = [i for i, name in enumerate(headers) if kinds[i] == "number" and CODE.fullmatch(name) and len(name.split(".")[0]) <= 5]
    means = [[word for word in meanings(name) if not is_letter(word)] for name in headers]
    plain = [i for i in short if not means[i] and not names_no_price(headers[i])]
    both = [i for i in short if means[i] and not any(word.role in ("volume", "other") for word in means[i])]
    many = len(plain) >= _MANY
    other = [i for i in short if names_no_price(headers[i]) or any(word.role == "other" for word in means[i])] if many else []
    for i, words in enumerate(means):
        foreign = i in both and len(headers[i]) <= 3 and (many or all(word.language != "en" for word in words))
        if any(word.role == "close" for word in words) and not foreign:
            return frozenset()
    if len(plain) >= max(_FEW, 4 * len(both + other)):
        return frozenset(both + other)
    if not both or len(plain) < max(2, len(both)):
        return frozenset()
    values = {i: numbers(i) for i in (*both, *plain)}
    near = any(near_always([values[i], values[j]]) for i, j in combinations((*both, *plain), 2) if i in both)
    return frozenset() if near else frozenset(both)


def is_letter(word: Word) -> bool:
    """Whether a word is a single letter, such as C for the close."""
    return (word.role, word.rank) in _LETTERS


_LETTERS = {(word.role, word.rank) for letter in "ohlcv" for word in meanings(letter)}


_BRACKETED = re.compile(r"\s*(?P<field>[^()\[\]]+?)\s*[(\[](?P<name>[^()\[\]]+)[)\]]\s*")


def find_bracketed(headers: Sequence[str], free: Sequence[int], kinds: Sequence[str]) -> dict[str, dict[str, int]]:
    """Series from names like `Close(SAND)` and `Close(ERIC)`; empty where brackets hold no name, or one only."""
    series: dict[str, dict[str, int]] = {}
    for i in free:
        match = _BRACKETED.fullmatch(headers[i])
        roles = [
            word.role for word in meanings(match["field"] if match else headers[i]) if word.role in VALUE_ROLES and not is_letter(word)
        ]
        name = match["name"].strip() if match else ""
        if roles and kinds[i] not in ("text", "blank"):
            named = bool(parts_of(name)) and _is_name(name, parts_of(name)) and not is_currency(name) and not meanings(f"{roles[0]} {name}")
            if named:
                series.setdefault(name, {}).setdefault(roles[0], i)
            elif roles[0] in PRICE_ROLES:
                return {}
    return series if len(series) > 1 and all("close" in roles for roles in series.values()) else {}


def find_stems(headers: Sequence[str], free: Sequence[int], kinds: Sequence[str]) -> dict[str, dict[str, int]]:
    """Series from names like `AAPL.Close`, `Close_AAPL`, `('Close', 'AAPL')`; empty unless every series has a close.

    A name that is a word as well, such as LOW, is a ticker beside two others of the same fields.
    """
    stems: dict[str, dict[str, int]] = {}
    words: dict[str, dict[str, int]] = {}
    for i in free:
        for name, role in () if kinds[i] in ("text", "blank") else _fields(parts_of(headers[i])):
            (words if meanings(name) else stems).setdefault(name, {}).setdefault(role, i)
    alike = [tuple(roles) for roles in stems.values()]
    stems |= {name: roles for name, roles in words.items() if alike.count(tuple(roles)) > 1}
    for roles in stems.values():
        if "close" not in roles and "adj_close" in roles:
            roles["close"] = roles.pop("adj_close")
    return stems if stems and all("close" in roles for roles in stems.values()) else {}


def _fields(parts: Sequence[str]) -> list[tuple[str, str]]:
    """The ticker and the role that a header's parts say: by the longest field at either end, as `Adj.Close` is one."""
    for length in range(len(parts) - 1, 0, -1):
        found = []
        for field, stem in ((parts[:length], parts[length:]), (parts[-length:], parts[:-length])):
            words = [word for word in meanings(" ".join(field)) if word.role in VALUE_ROLES and not is_letter(word)]
            if words and _is_name(".".join(stem), stem):
                found.append((".".join(stem), words[0].role))
        if found:
            return found
    return []


def _is_name(name: str, stem: Sequence[str]) -> bool:
    """Whether what stands beside a field's name can be a ticker; LOW and MO are words, too."""
    if meanings(name) and not (name.isupper() and len(name) <= 5):
        return False
    return not any(names_no_price(part) or re.fullmatch(_NOT_A_TICKER, part) for part in stem)


def parts_of(header: str) -> list[str]:
    """The words of a header."""
    return [part for part in re.split(r"[\s_.\-:|,()'\"]+", header.strip()) if part]
