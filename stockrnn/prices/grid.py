"""A file's cells: where the table begins, what separates cells, which rows are ragged. Knows no prices."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from stockrnn.errors import DataError
from stockrnn.prices.dates import looks_like_date, looks_like_epoch
from stockrnn.prices.header import Head, find_head, is_typed
from stockrnn.prices.numerals import has_other_digits, is_nothing, looks_like_number, plain_digits
from stockrnn.prices.quality import shown
from stockrnn.prices.words import meanings

SEPARATORS = {",": ",", ";": ";", "\t": "\t", "|": "|", " ": " ", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
MOST_COLUMNS = 20_000
_HEAD_BYTES, _HEAD_LINES = 1 << 16, 60
_THREADED_COLUMNS, _BLOCK_BYTES = 500, 1 << 22


@dataclass(frozen=True)
class Grid:
    """The cells of one table.

    Attributes:
        headers: the header of each column; empty texts where there is none.
        above: second header line, such as yfinance's tickers; empty when there is none.
        columns: one Arrow array a column.
        rows: row of the file that each row of the table stands in, 1 is the first line. Shape (rows,).
        preamble: lines above the header.
        short: numbers of the table's rows with fewer cells than the header.
        unfinished: whether the last line has no line end, as after a broken download.
        title: of the worksheet.
        evidence: why this worksheet was taken; empty where it is the only one.
    """

    headers: tuple[str, ...]
    columns: tuple[Any, ...]
    rows: np.ndarray
    above: tuple[str, ...] = ()
    preamble: tuple[str, ...] = ()
    headerless: bool = False
    separator: str | None = None
    short: tuple[int, ...] = ()
    unfinished: bool = False
    title: str = ""
    evidence: str = ""

    def name(self, i: int) -> str:
        """What a column is called: its header, or its position where it has none."""
        return self.headers[i] or f"column {i + 1}"

    def take(self, kept: np.ndarray) -> Grid:
        """The rows of a mask."""
        picked = pa.array(np.flatnonzero(kept))
        inverse = np.cumsum(kept) - 1
        short = tuple(int(inverse[i]) for i in self.short if kept[i])
        return replace(self, columns=tuple(c.take(picked) for c in self.columns), rows=self.rows[kept], short=short)


def read_text(text: bytes, path: Path, separator: str = "auto") -> Grid:
    """The grid of UTF-8 text. Raises DataError."""
    evidence = "digits of another script" if has_other_digits(text[:_HEAD_BYTES].decode("utf-8", "ignore")) else ""
    text = _straight(plain_digits(text.decode("utf-8", "replace")).encode() if evidence else text)
    lines = text[:_HEAD_BYTES].decode("utf-8", "ignore").split("\n")[:_HEAD_LINES]
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} must hold rows of prices. Received: an empty file. Give another file.")
    chosen = _separator(lines, separator, path)
    if chosen == " ":
        text = _single_blanks(text.decode("utf-8", "replace")).encode()
        lines = [_single_blanks(line) for line in lines]
    head = find_head([_reunited(row) for row in _split(lines, chosen)], path)
    return replace(_read_cells(text, head, chosen, path), evidence=evidence)


def _single_blanks(text: str) -> str:
    """Columns that are kept apart by as many blanks as make them straight have one blank between them."""
    return re.sub(r"(?m)^ | $", "", re.sub(r" +", " ", text))  # in this order time grows with the length alone


def _straight(text: bytes) -> bytes:
    """Cells without blanks before their quotes, and lines that are not quoted as a whole."""
    head = text[:4096]
    for mark in (b",", b";", b"\t"):
        if mark + b' "' in head:
            text = text.replace(mark + b' "', mark + b'"')
    lines = [line for line in head.split(b"\n")[:-1] if line.strip()]
    if b'"' not in head and sum(bool(re.search(_APOSTROPHES, line)) for line in lines) > len(lines) / 2:
        text = re.sub(rb"(?m)(?<![^,;\t\n])'|'(?=[,;\t\r\n]|$)", b'"', text)
    if len(lines) > 1 and all(re.fullmatch(rb'"[^"]*[,;\t][^"]*"[,;]*\s*', line) for line in lines):
        text = re.sub(rb'(?m)^"|"[,;]*\s*$', b"", text)
    return text


_APOSTROPHES = rb"(?:^|[,;\t])'[^']*'(?:[,;\t\r]|$)"
"""A cell that stands between apostrophes."""


def _split(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return [[cell.strip() for cell in row] for line in lines for row in (list(csv.reader([line], delimiter=separator)) or [[]])]
    except csv.Error:
        return [[cell.strip() for cell in line.split(separator)] for line in lines]


def _reunited(row: list[str]) -> list[str]:
    """A header that is separated otherwise than its rows, by tabs or gaps, as brokers' programs in China write it."""
    if len(row) != 1:
        return row
    parts, words = re.split(r"\t\s*|\s{2,}", row[0]), row[0].split()
    if len(words) > 3 and all(map(meanings, words)):
        return words
    return parts if sum(bool(meanings(part)) for part in parts) >= 3 else row


def _separator(lines: Sequence[str], given: str, path: Path) -> str:
    if given != "auto":
        if given not in SEPARATORS:
            raise DataError(f"`data.separator` must be one of {', '.join(map(repr, SEPARATORS))}. Received: {given!r}. Choose one.")
        return SEPARATORS[given]
    usable = [line for line in lines if line.strip()]
    scores = {mark: _fitness(_split(usable, mark)) for mark in (",", ";", "\t", "|")}
    scores[" "] = _fitness(_split([_single_blanks(line) for line in usable], " "))
    best = max(scores, key=lambda mark: scores[mark])
    if scores[best] <= 0:
        raise DataError(
            f"{path} must be a table of dates and prices. Received: {shown(usable[0])}. Give another file or set `data.separator`."
        )
    return best


def _fitness(rows: Sequence[Sequence[str]]) -> float:
    """How much the cells look like a table of prices: known header words, and the share of cells that are dates or numbers."""
    words = max(sum(bool(meanings(cell)) for cell in row) for row in rows[:30])
    tail = rows[len(rows) // 3 :] or rows
    cells = [cell for row in tail for cell in row[:200] if cell]
    typed = sum(is_typed(cell) for cell in cells)
    divided = sum(len(row) > 1 for row in tail) >= len(tail) / 2
    return (min(words, 20) + 8 * typed / max(1, len(cells))) * (1 if divided else 0.25)


def _read_cells(text: bytes, head: Head, separator: str, path: Path) -> Grid:
    if head.width > MOST_COLUMNS:
        raise DataError(f"{path} must have at most {MOST_COLUMNS} columns. Received: {head.width}. Give a smaller file.")
    bad: list[tuple[int, str]] = []
    threads = head.width <= _THREADED_COLUMNS and len(text) > _BLOCK_BYTES
    table = _parse(text, head, separator, path, bad, threads=threads)
    if bad and threads:  # only one thread knows the numbers of the rows it leaves out
        bad.clear()
        table = _parse(text, head, separator, path, bad, threads=False)
    columns = [table.column(i).combine_chunks() for i in range(head.width)]
    columns = [c if isinstance(c, pa.Array) else pa.concat_arrays(c.chunks) for c in columns]
    records = np.delete(np.arange(head.lines, head.lines + len(table) + len(bad)), [number - 1 - head.lines for number, _ in bad]) + 1
    grid = Grid(head.headers, tuple(columns), records, head.above, head.preamble, head.headerless, separator, (), not text.endswith(b"\n"))
    return _without_blank(_with_ragged(grid, bad, path))


def _parse(text: bytes, head: Head, separator: str, path: Path, bad: list[tuple[int, str]], *, threads: bool) -> Any:
    names = [str(i) for i in range(head.width)]

    def keep(row: Any) -> str:
        bad.append((row.number or 0, row.text))
        return "skip"

    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(text),
            pyarrow.csv.ReadOptions(use_threads=threads, column_names=names, skip_rows=head.lines, block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(delimiter=separator, ignore_empty_lines=False, invalid_row_handler=keep),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} must be rows of cells. Received: {shown(str(error).splitlines()[0])}. Mend the file or set `data.separator`."
        ) from None


def _with_ragged(grid: Grid, bad: Sequence[tuple[int, str]], path: Path) -> Grid:
    """Put rows of another width back: short ones are filled up, long ones must end in empty cells."""
    if not bad:
        return grid
    width, rows, fixed, short = len(grid.headers), [], [], []
    for number, line in bad:
        cells = _split([line.rstrip("\n")], grid.separator or ",")[0]
        if any(cells[width:]):
            raise DataError(
                f"{path} row {number}: must have {width} cells, as its header. Received: {len(cells)}, {shown(line)}. "
                "Add the names that the header lacks, or quote cells that hold the separator."
            )
        if any(cells):
            rows.append(number)
            fixed.append((cells + [""] * width)[:width])
            short.append(len(cells) < width)
    if not rows:
        return grid
    order = np.argsort(np.r_[grid.rows, rows], kind="stable")
    columns = [
        pa.concat_arrays([c, pa.array([row[i] for row in fixed], pa.string())]).take(pa.array(order)) for i, c in enumerate(grid.columns)
    ]
    inverse = np.argsort(order)[len(grid.rows) :]
    return replace(
        grid,
        columns=tuple(columns),
        rows=np.r_[grid.rows, rows][order],
        short=tuple(int(i) for i, s in zip(inverse, short, strict=True) if s),
    )


def _without_blank(grid: Grid) -> Grid:
    blank = np.ones(len(grid.rows), dtype=bool)
    for column in grid.columns:
        blank[blank] = pa.compute.equal(column, "").to_numpy(zero_copy_only=False)[blank]
        if not blank.any():
            return grid
    return grid.take(~blank)


def read_rows(rows: Iterable[Sequence[Any]], path: Path) -> Grid:
    """The grid of a worksheet: cells are texts, numbers, dates or None. Raises DataError."""
    kept = [(i + 1, list(row)) for i, row in enumerate(rows) if any(cell is not None and cell != "" for cell in row)]
    if not kept:
        raise DataError(f"{path} must hold rows of prices. Received: an empty sheet. Set `data.sheet`.")
    texts = [["" if cell is None else as_text(cell) for cell in row] for _, row in kept[:_HEAD_LINES]]
    width = max(len(row) for row in texts)
    used = max((j + 1 for row in texts for j, cell in enumerate(row) if cell), default=1)
    head = find_head([(row + [""] * width)[:used] for row in texts], path)
    body = kept[head.lines :]
    columns = [_column([row[j] if j < len(row) else None for _, row in body]) for j in range(head.width)]
    return Grid(head.headers, tuple(columns), np.array([number for number, _ in body]), head.above, head.preamble, head.headerless)


def as_text(cell: Any) -> str:
    """A worksheet's cell as one would type it."""
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat(sep=" ") if hasattr(cell, "hour") and hasattr(cell, "year") else cell.isoformat())
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e19:
        return str(int(cell))
    return plain_digits(str(cell).strip())


def _column(cells: Sequence[Any]) -> Any:
    if all(cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool)) for cell in cells):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array(["" if cell is None else as_text(cell) for cell in cells], pa.string())


def sample(column: Any, count: int = 40) -> list[str]:
    """Some cells of a column that hold something, as text, spread over its length."""
    picked = column.take(spread(len(column), 4 * count)).to_pylist()
    texts = ["" if cell is None else as_text(cell).strip() for cell in picked]
    held = [text for text in texts if not is_nothing(text)]
    return held if len(held) <= count else [held[i] for i in spread(len(held), count).to_pylist()]


@functools.lru_cache(maxsize=64)
def spread(n: int, count: int) -> Any:
    """At most so many numbers of rows, evenly from the first to the last."""
    return pa.array(np.unique(np.linspace(0, n - 1, min(n, count)).astype(int)))


def kind_of(cells: Sequence[str]) -> str:
    """What a column's cells are, by majority: `date`, `epoch`, `number`, `text` or `blank`."""
    if not cells:
        return "blank"
    tests = (("date", looks_like_date), ("epoch", looks_like_epoch), ("number", looks_like_number))
    for name, test in tests:
        if sum(map(test, cells)) >= 0.7 * len(cells):
            return name
    return "text"
