"""Series that column names tell apart: `AAPL.Close`, `Close_AAPL`, `('Close', 'AAPL')`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stockrnn.prices.words import Word, meanings, names_no_price

VALUE_ROLES = ("open", "high", "low", "close", "adj_close", "volume", "adj_volume")
PRICE_ROLES = ("open", "high", "low", "close", "adj_close")
_NOT_A_TICKER = (
    r"(?i:lag|sma|ema|wma|avg|average|mean|prev|previous|scaled|norm|normali[sz]ed|change|chg|logret|diff|difference|rolling|shift|shifted|"
    r"tomorrow|yesterday|market|hours|purchase|current|cost)\d*|(?i:ma)\d+|\d+d?|(?:[Mm]a|[Ss]td|[Nn]ext|[Rr]et|[Rr]oll|[Rr]aw|[Ll]og|[Bb]id|[Aa]sk|[Pp]re|[Hh]igh|[Ll]ow|x|y)\d*"
)
"""Words beside `close` that make another series of it and name no ticker; MA and X in capitals are tickers."""
_CURRENCIES = (
    "usd eur gbp jpy cny krw inr chf cad aud brl rub try pln usdt twd hkd sgd sek nok dkk czk huf zar mxn idr thb vnd myr php ils sar aed"
)


CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9^][A-Z0-9.\-=^&/]{0,14}")
"""A ticker as exchanges and vendors write it."""
_FEW, _MANY = 5, 20


def find_codes(headers: Sequence[str], kinds: Sequence[str]) -> frozenset[int]:
    """Columns of prices whose headers are tickers and words as well, in a table with a column for each of many: LOW, MO, BAS.DE, DAY.

    A name of what is no price, such as PCT, or a short English one of a price, such as NAV, is a ticker only among very many. None
    where a column is called a close.
    """
    short = [i for i, name in enumerate(headers) if kinds[i] == "number" and CODE.fullmatch(name) and len(name.split(".")[0]) <= 5]
    means = [[word for word in meanings(name) if not is_letter(word)] for name in headers]
    plain = [i for i in short if not means[i] and not names_no_price(headers[i])]
    both = [i for i in short if means[i] and not any(word.role in ("volume", "other") for word in means[i])]
    many = len(plain) >= _MANY
    other = [i for i in short if not means[i] and names_no_price(headers[i])] if many else []
    for i, words in enumerate(means):
        foreign = i in both and len(headers[i]) <= 3 and (many or all(word.language != "en" for word in words))
        if any(word.role == "close" for word in words) and not foreign:
            return frozenset()
    return frozenset(both + other) if len(plain) >= max(_FEW, 4 * len(both + other)) else frozenset()


def is_currency(stem: str) -> bool:
    """Whether what stands beside a field's name says in what its prices are, and of what not: `Close USD`."""
    return stem.lower() in _CURRENCIES.split()


def is_letter(word: Word) -> bool:
    """Whether a word is a single letter, such as C for the close."""
    return (word.role, word.rank) in _LETTERS


_LETTERS = {(word.role, word.rank) for letter in "ohlcv" for word in meanings(letter)}


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
