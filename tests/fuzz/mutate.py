"""Seeded mutations of price files: cut, spliced, re-encoded, cells swapped, NULs, long lines, many columns."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable

NASTY = (
    "",
    "null",
    "NaN",
    "inf",
    "-1",
    "0",
    "1e400",
    "1e-400",
    "abc",
    "=1+1",
    '"',
    "''",
    "\x1b[31m",
    "\u202e",
    "1,234",
    "1.234,5",
    "--",
    "٣",
    "9" * 400,
    "﹣5",
    "12.3M",
)
NASTY_DATES = (
    "2020-02-30",
    "0000-00-00",
    "9999-12-31",
    "31/12/2020",
    "12/31/20",
    "1e9",
    "253402300800",
    "20201301",
    "NaT",
    "today",
    "１/１/2020",
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-8-sig", "cp949", "cp1252", "utf-32", "shift_jis", "gb18030")


def _lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def behead(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def splice(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[a:b] + data[at:]


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randrange(1, 20)):
        if out:
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def nul(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + b"\0" * rng.choice((1, 3, 5000)) + data[at:]


def recode(data: bytes, rng: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


def swap_cells(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in _lines(data)]
    for _ in range(rng.randrange(1, 6)):
        one, two = rng.choice(rows), rng.choice(rows)
        i, j = rng.randrange(len(one)), rng.randrange(len(two))
        one[i], two[j] = two[j], one[i]
    return b"\n".join(b",".join(row) for row in rows)


def nasty_cells(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in _lines(data)]
    for _ in range(rng.randrange(1, 4)):
        row = rng.choice(rows)
        column = rng.randrange(len(row))
        row[column] = rng.choice(NASTY_DATES if column == 0 and rng.random() < 0.5 else NASTY).encode()
    return b"\n".join(b",".join(row) for row in rows)


def nasty_column(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in _lines(data)]
    column, value = rng.randrange(max(1, len(rows[0]))), rng.choice(NASTY + NASTY_DATES).encode()
    return b"\n".join(b",".join([*row[:column], value, *row[column + 1 :]]) for row in rows)


def shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    rows = _lines(data)
    rng.shuffle(rows)
    return b"\n".join(rows)


def repeat_lines(data: bytes, rng: random.Random) -> bytes:
    rows = _lines(data)
    at = rng.randrange(len(rows))
    return b"\n".join(rows[:at] + rows[at : at + rng.randrange(1, 9)] * rng.randrange(1, 4) + rows[at:])


def drop_column(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in _lines(data)]
    column = rng.randrange(max(1, len(rows[0])))
    return b"\n".join(b",".join(row[:column] + row[column + 1 :]) for row in rows)


def drop_cells(data: bytes, rng: random.Random) -> bytes:
    rows = [line.split(b",") for line in _lines(data)]
    for _ in range(rng.randrange(1, 4)):
        row = rng.choice(rows)
        if row:
            del row[rng.randrange(len(row))]
    return b"\n".join(b",".join(row) for row in rows)


def other_separator(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b",", rng.choice((b";", b"\t", b"|", b" ", b"  ", b",,", b", ", b"\x1f")))


def quotes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b'"', b'""', b'"\n', b"'", b'"' * 999)) + data[at:]


def blank_lines(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\n\n", b"\r\n\r\n", b"\r", b"\n,,,\n", b"\n#\n")))


def header_words(data: bytes, rng: random.Random) -> bytes:
    rows = _lines(data)
    names = rows[0].split(b",")
    rng.shuffle(names)
    return b"\n".join([b",".join(names), *rows[1:]])


def packed(data: bytes, rng: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("prices.csv", data)
    whole = rng.choice((gzip.compress(data), out.getvalue()))
    return flip(whole, rng) if rng.random() < 0.7 else cut(whole, rng)


def long_line(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b"9", b"a", b'"', b"1,", b" ")) * rng.choice((100_000, 5_000_000)) + data[at:]


def many_columns(data: bytes, rng: random.Random) -> bytes:
    extra = b"," + b",".join(rng.choice((b"x%d", b"%d.5", b"close", b"")).replace(b"%d", b"%d" % i) for i in range(10_000))
    rows = _lines(data)[:12]
    return b"\n".join(row + extra for row in rows) if rng.random() < 0.5 else b"\n".join([rows[0] + extra, *rows[1:]])


USUAL: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut, behead, splice, flip, nul, recode, swap_cells, nasty_cells, nasty_column, shuffle_lines, repeat_lines, drop_column, drop_cells,
    other_separator, quotes, blank_lines, header_words, packed,
)  # fmt: skip
HEAVY: tuple[Callable[[bytes, random.Random], bytes], ...] = (long_line, many_columns)


def mutated(data: bytes, seed: int) -> bytes:
    """One to three mutations, a heavy one in a two-hundredth of the cases."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(HEAVY if rng.random() < 0.005 else USUAL)(data, rng)
    return data
