"""Tables inside documents: JSON as programs and services write it, and the pages and XML that some downloads called `.xls` are."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stockrnn.errors import DataError
from stockrnn.prices.dates import looks_like_date, looks_like_epoch
from stockrnn.prices.grid import Grid, read_rows
from stockrnn.prices.quality import shown
from stockrnn.prices.words import meanings

Table = tuple[str, list[list[Any]]]
"""The key that a table stands under, and its rows, the header first where it has one."""
_NAMES = ("columns", "column_names", "fields")
"""Keys under which the names of the columns of `data` stand: pandas and Moscow's exchange, Nasdaq Data Link, Taiwan's exchange."""
_FEW_ROWS, _MOST_SPANNED, _MOST_DIGITS, _MOST_BESIDE = 10, 1000, 300, 2
_PAGE = re.compile(rb"\s*<(?:!--|(?:!doctype|html|\?xml|table|head|body|meta\s|style)\b)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*[\[{])')


def read_document(text: bytes, path: Path) -> Grid | None:
    """The table of a page or of JSON; None for other text. Raises DataError where it holds none, or several."""
    if _PAGE.match(text):
        return _read_page(text.decode("utf-8", "replace"), path)
    return _read_json(text.decode("utf-8", "replace"), path) if _JSON.match(text) else None


def _read_json(text: str, path: Path) -> Grid:
    try:
        found = sorted((table for table in _tables(_parsed(text)) if len(table[1]) > 1), key=lambda table: -len(table[1]))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} must be intact JSON. Received: {shown(error)}. Download it again, or convert it to CSV.") from None
    long = [table for table in found if len(table[1]) > 0.9 * len(found[0][1]) or _is_rival(table[1], found[0][1])]
    named = [table for table in long if table[0] == "prices" or any(word.role == "close" for word in meanings(table[0]))]
    if len(long) != 1 and len(named) != 1:
        received = f"several, {shown(', '.join(name for name, _ in long))}" if long else "none"
        raise DataError(
            f"{path} must hold one table: a list of records, of rows or of columns. Received: {received}. Convert it to CSV, a row a line."
        )
    name, rows = (named if len(named) == 1 else long)[0]
    grid = read_rows(rows, path)
    return replace(grid, rows=grid.rows - (not grid.headerless), evidence=f"JSON, {shown(name)}" if name else "JSON")


def _is_rival(rows: list[list[Any]], longest: list[list[Any]]) -> bool:
    """Whether a shorter table may be the history of another ticker."""
    return len(rows) > _FEW_ROWS and len(rows[0]) == len(longest[0])


def _parsed(text: str) -> Any:
    """The value of JSON, of one such value a line, or of what Python prints of a list. Raises ValueError, RecursionError."""
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return [_loads(line) for line in text.split("\n") if line.strip()]
        if '"' in text and "'" not in text:
            raise
        return _loads(text.replace("'", '"'))


def _loads(text: str) -> Any:
    """The value of JSON, in which a whole number that no float can be is infinite."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < _MOST_DIGITS else float(digits))


def _tables(node: Any, name: str = "") -> Iterator[Table]:
    """Every table in a value: records, rows, columns, or records by their dates."""
    if isinstance(node, list) and node:
        if all(isinstance(part, dict) for part in node):
            yield name, _of_records(node)
        elif all(isinstance(part, list) for part in node):
            yield name, node
            return
        children = [(name, part) for part in node]
    elif isinstance(node, dict):
        table = _of_columns(node) or _of_index(node)
        if table:
            yield name, table
            return
        children = list(node.items())
    else:
        return
    for key, part in children:
        yield from _tables(part, key)


def _of_records(records: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    nested = {key for record in records[:1] for key, part in record.items() if isinstance(part, dict)}
    if len(nested) == 1:  # the one bar in each of OANDA's candles, where two would be of bid and ask
        (inner,) = nested
        records = [{**record, **part} if isinstance(part := record.get(inner), dict) else record for record in records]
    keys = list(dict.fromkeys(key for record in records for key in record))
    return [keys, *([_cell(record.get(key)) for key in keys] for record in records)]


def _of_columns(node: Mapping[str, Any]) -> list[list[Any]]:
    """Rows beside their names, or lists of one length under names, at any depth, as Yahoo's charts have them; else empty."""
    names = next((node[key] for key in _NAMES if isinstance(node.get(key), list)), None)
    rows = node.get("data")
    if names and isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(names) for row in rows):
        header = [name.get("name") if isinstance(name, dict) else name for name in names]
        index = node.get("index", range(len(rows)))
        first = "date" if _are_dates(map(str, index)) else ""
        return [[first, *header], *([label, *row] for label, row in zip(index, rows, strict=False))]
    found = [(key, part) for key, part in _leaves(node) if len(part) > 1]
    leaves = dict(found) if len(dict(found)) == len(found) else {}
    longest = max(map(len, leaves.values()), default=0)
    columns = {key: part for key, part in leaves.items() if len(part) == longest}
    if longest < 2 or len(columns) < 2:
        return []
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, list[Any]]]:
    """The lists of plain values in a value, each by the last key above it, not of several records beside each other."""
    if isinstance(node, dict):
        for key, part in node.items():
            yield from _leaves(_on_days_of(node.get("meta"), part) if key == "timestamp" else part, key)
    elif isinstance(node, list) and len(node) == 1 and isinstance(node[0], dict):
        yield from _leaves(node[0], name)
    elif isinstance(node, list) and not any(isinstance(part, (list, dict)) for part in node):
        yield name, node


def _on_days_of(meta: Any, seconds: Any) -> Any:
    """Yahoo's timestamps of sessions, which count from a day of Greenwich, in the time of the exchange."""
    shift = meta.get("gmtoffset") if isinstance(meta, dict) else None
    moved = isinstance(shift, int) and isinstance(seconds, list) and all(isinstance(second, int) for second in seconds)
    return [second + shift for second in seconds] if moved else seconds


def _of_index(node: Mapping[str, Any]) -> list[list[Any]]:
    """Records or values by their dates, beside which something about them may stand, or columns of values by their dates or numbers."""
    dated = {key: part for key, part in node.items() if _are_dates([key])}
    if len(dated) > max(1, len(node) - _MOST_BESIDE):
        if all(isinstance(part, dict) and part for part in dated.values()):
            header, *rows = _of_records(list(dated.values()))
            return [["date", *header], *([day, *row] for day, row in zip(dated, rows, strict=True))]
        if not any(isinstance(part, (dict, list)) for part in dated.values()):
            return [["date", "value"], *map(list, dated.items())]
        return []
    parts = list(node.values())
    if not parts or not all(isinstance(part, dict) and part for part in parts):
        return []
    labels = list(dict.fromkeys(label for part in parts for label in part))
    if len(labels) > 1 and (_are_dates(labels) or all(label.isdigit() for label in labels)):
        first = "date" if _are_dates(labels) else ""
        return [[first, *node], *([label, *(_cell(part.get(label)) for part in parts)] for label in labels)]
    return []


def _are_dates(labels: Any) -> bool:
    texts = list(labels)[:20]
    return bool(texts) and all(looks_like_date(text) or looks_like_epoch(text) for text in texts)


def _cell(value: Any) -> Any:
    return str(value) if isinstance(value, (dict, list)) else value


class _Rows(html.parser.HTMLParser):
    """Gathers the rows of each table of a page, or of a workbook in XML, in which tables may stand in cells of others."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.open: list[list[list[str]]] = []
        self.words: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, a row or a cell; what spans several columns leaves the others empty."""
        if tag == "table":
            self.open.append([])
            self.tables.append(self.open[-1])
        elif tag in ("tr", "row") and self.open:
            self.open[-1].append([])
        elif tag in _CELLS and self.open and self.open[-1]:
            row, given = self.open[-1][-1], dict(attrs)
            place, spanned = int(given.get("ss:index") or len(row) + 1), int(given.get("colspan") or 1)
            if max(place, spanned, _MOST_SPANNED) > _MOST_SPANNED or (given.get("rowspan") or "1") != "1":
                raise ValueError("a cell of several rows")
            row += [""] * (place - len(row) - 1 + spanned)
            self.place, self.words = len(row) - spanned, []

    def handle_endtag(self, tag: str) -> None:
        """End a table or a cell."""
        if tag == "table" and self.open:
            self.open.pop()
        elif tag in _CELLS and self.words is not None and self.open:
            self.open[-1][-1][self.place] = " ".join("".join(self.words).split())
            self.words = None

    def handle_data(self, data: str) -> None:
        """Keep the words of a cell."""
        if self.words is not None:
            self.words.append(data)


_CELLS = ("td", "th", "cell")


def _read_page(text: str, path: Path) -> Grid:
    parser = _Rows()
    try:
        parser.feed(text)
    except (ValueError, IndexError, AssertionError) as error:
        raise DataError(f"{path} must be a plain table. Received: a web page or XML with {shown(error)}. Export it as CSV.") from None
    tables = sorted(parser.tables, key=len, reverse=True)
    if not tables or len(tables[0]) < 2:
        raise DataError(f"{path} must be a table of text. Received: a web page. Export it as CSV.")
    count = len(tables)
    return replace(
        read_rows(tables[0], path), evidence="a web page's table" if count == 1 else f"the longest of a web page's {count} tables"
    )
