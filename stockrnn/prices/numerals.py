"""Cells to numbers: decimal marks, thousands, currency signs, `12.3M`, and the words for nothing.

Works on whole Arrow columns; no Python object is made per row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NOTHING = (
    "",
    "null",
    "nan",
    "na",
    "n/a",
    "#n/a",
    "#na",
    "#value!",
    "#ref!",
    "none",
    "-",
    "--",
    ".",
    "…",
    "...",
    "..",
    "n/d",
    "s/d",
    "b/d",
    "k.a.",
    "n.a.",
    "n.d.",
    "n/v",
    "n/e",
    "s/c",
    "nd",
    "\\n",
    "(null)",
    "---",
    "－",
    "?",
    "#div/0!",
    "#num!",
    "#name?",
    "―",
    "—",
    "–",
    "nil",
    "<na>",
    "nat",
)
"""Cells that hold no number, lower case."""
_TERMINAL = "#n/a "
"""How a terminal's words for nothing begin: `#N/A N/A`, `#N/A Field Not Applicable`."""

MULTIPLIERS = {
    "k": 1e3,
    "m": 1e6,
    "b": 1e9,
    "t": 1e12,
    "천": 1e3,
    "만": 1e4,
    "백만": 1e6,
    "억": 1e8,
    "조": 1e12,
    "千": 1e3,
    "万": 1e4,
    "萬": 1e4,
    "亿": 1e8,
    "億": 1e8,
    "mn": 1e6,
    "mm": 1e6,
    "mio": 1e6,
    "mln": 1e6,
    "bn": 1e9,
    "mrd": 1e9,
    "mld": 1e9,
    "lakh": 1e5,
    "cr": 1e7,
    "crore": 1e7,
    "тыс": 1e3,
    "млн": 1e6,
    "млрд": 1e9,
}
"""Suffix of a volume → factor."""

_CURRENCY = "$€£¥₩￦₹₽₺₫฿"
_SIGNS = rf"(?i)(?:[{_CURRENCY}'’\s\x{{a0}}\x{{202f}}\x{{2009}}원円元주株股手张]|r\$|krw|usd|eur|gbp|jpy|brl|inr|rs\.)"
_SIGNS_PY = _SIGNS.replace(r"\x{a0}", "\xa0").replace(r"\x{202f}", "\u202f").replace(r"\x{2009}", "\u2009")
_SUFFIX = "|".join(sorted(map(re.escape, MULTIPLIERS), key=len, reverse=True))
_NUMBER = re.compile(rf"(?i)(?!\d+\.[a-z]+$)[+-]?(?:\d[\d.,]*|[.,]\d+)(?:e[+-]?\d+)?\s?(?:%|(?:{_SUFFIX})\.?)?$")
_POINT_PROOF = r"\d,\d{3}[.]\d|\d,\d{2,3},\d{3}|^[^\d.]*[.]\d|\d[.]\d{1,2}(?:\D*$|[eE])|[.]\d{4,}|^\D*0[.]\d"
_COMMA_PROOF = r"\d[.]\d{3},\d|\d[.]\d{3}[.]\d{3}|\d,\d{1,2}(?:[^\d,]*$|[eE])|,\d{4,}|^\D*0,\d"


_OTHER_DIGITS = "٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹०१२३४५६७८९০১২৩৪৫৬৭৮৯๐๑๒๓๔๕๖๗๘๙０１２３４５６７８９"
_TO_DIGITS = {ord(digit): str(i % 10) for i, digit in enumerate(_OTHER_DIGITS)}
_MARKS_BETWEEN = {"，": "", "٬": "", "．": ".", "٫": ".", "／": "/", "－": "-", "：": ":"}


def has_other_digits(text: str) -> bool:
    """Whether digits of Arabic, Persian, Hindi, Bengali, Thai or wide letters stand in a text."""
    return not text.isascii() and bool(re.search(f"[{_OTHER_DIGITS}]", text))


def plain_digits(text: str) -> str:
    """Text with digits of other scripts as 0 to 9, and the marks between them as the usual ones."""
    if not has_other_digits(text):
        return text
    text = re.sub(rf"(?<=\d)[{''.join(_MARKS_BETWEEN)}](?=\d)", lambda mark: _MARKS_BETWEEN[mark.group()], text)
    return text.translate(_TO_DIGITS)


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number as someone would write it."""
    return bool(_NUMBER.match(re.sub(_SIGNS_PY, "", cell)))


def is_nothing(cell: str) -> bool:
    """Whether a cell stands for no value."""
    text = cell.strip().lower()
    return text in NOTHING or text.startswith(_TERMINAL)


def decimal_mark(columns: Iterable[Any]) -> str:
    """The decimal mark that the cells prove.

    Returns:
        `.` or `,` when a cell proves it (1,234.5 or 25,12); `both` when cells contradict each other; `none` when there is
        neither mark; `.?` or `,?` when every such mark is followed by three digits, so that it may stand for thousands.
    """
    texts = [column for column in columns if pa.types.is_string(column.type)]
    cells = pa.chunked_array(texts, pa.string())
    found = {mark: bool(pc.any(pc.match_substring(cells, mark)).as_py()) for mark in (".", ",")}
    for name, proof in (("point", _POINT_PROOF), ("comma", _COMMA_PROOF)):
        found[name] = any(found.values()) and bool(pc.any(pc.match_substring_regex(cells, proof)).as_py())
    if found["point"] and found["comma"]:
        return "both"
    if found["point"] or found["comma"]:
        return "." if found["point"] else ","
    if found[","]:
        return "both" if found["."] else ",?"
    return ".?" if found["."] else "none"


def to_numbers(column: Any, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a column.

    Args:
        column: an Arrow array of text, or of numbers already.
        decimal: `.` or `,`.

    Returns:
        float64 values, NaN where the cell holds nothing, and the mask of cells that are neither a number nor nothing
        (infinite ones among them). Both of shape (rows,).
    """
    plain = as_plain(column) if decimal == "." or not pa.types.is_string(column.type) else None
    values, bad = (_as_float64(plain), None) if plain is not None else _written(column, decimal)
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
    return values, infinite if bad is None else bad | infinite


def _as_float64(column: Any) -> np.ndarray:
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=float)


def as_plain(column: Any) -> Any:
    """The column as Arrow numbers by the fast way; None when a cell is neither empty nor a plain number with a point."""
    if not pa.types.is_string(column.type):
        return column
    try:
        return pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        empty = pc.equal(column, "")
    try:
        return pc.cast(pc.if_else(empty, pa.scalar(None, pa.string()), column), pa.float64()) if pc.any(empty).as_py() else None
    except pa.ArrowInvalid:
        return None


def _written(column: Any, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """The thorough way, on distinct cells: signs of currency, thousands, suffixes, words for nothing."""
    coded = pc.dictionary_encode(pc.fill_null(column, ""))
    cells = pc.utf8_lower(pc.utf8_trim_whitespace(coded.dictionary))
    nothing = pc.or_(pc.is_in(cells, value_set=pa.array(NOTHING)), pc.starts_with(cells, _TERMINAL))
    bare = pc.replace_substring_regex(cells, _SIGNS, "")
    bare = pc.replace_substring_regex(bare, r"^\((.*)\)$", r"-\1")
    parts = pc.extract_regex(bare, rf"^(?P<number>[+-]?(?:\d[\d.,]*|[.,]\d+)(?:e[+-]?\d+)?)(?P<suffix>(?:{_SUFFIX})?)[.]?$")
    number, suffix = pc.struct_field(parts, "number"), pc.struct_field(parts, "suffix")
    other, mark = (",", ".") if decimal == "." else (".", ",")
    grouped = pc.match_substring_regex(number, rf"^[+-]?\d{{1,3}}(?:[{other}]\d{{2,3}})*(?:[{other}]\d{{3}})(?:[{mark}]\d*)?$")
    usable = pc.or_(grouped, pc.invert(pc.match_substring(number, other)))
    clean = pc.replace_substring(pc.replace_substring(number, other, ""), mark, ".")
    plain = pc.match_substring_regex(clean, r"^[+-]?(?:\d+[.]?\d*|[.]\d+)(?:e[+-]?\d+)?$")
    good = pc.fill_null(pc.and_(pc.and_(usable, plain), pc.invert(nothing)), False)
    values = _as_float64(pc.cast(pc.replace_substring_regex(pc.if_else(good, clean, None), r"^[+]", ""), pa.float64()))
    factor = (
        np.array([MULTIPLIERS.get(text or "", 1.0) for text in suffix.to_pylist()]) if pc.any(pc.not_equal(suffix, "")).as_py() else 1.0
    )
    codes = coded.indices.to_numpy()
    bad = ~(good.to_numpy(zero_copy_only=False) | nothing.to_numpy(zero_copy_only=False))
    return np.asarray(values * factor)[codes], bad[codes]
