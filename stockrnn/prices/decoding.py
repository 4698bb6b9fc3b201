"""Bytes to UTF-8 text: what a file is packed in, and which encoding its words are written in."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from stockrnn.errors import DataError
from stockrnn.prices.naming import clean_ticker, price_files
from stockrnn.prices.words import meanings, normalise

MOST_BYTES = 1 << 30
"""Largest content of a packed file."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_FOREIGN = {
    b"%PDF-": "PDF",
    **{b"\x80" + bytes([protocol]): "a pickle, whose reading could run anything" for protocol in (2, 3, 4, 5)},
    b"\x89HDF": "HDF5",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "a database",
    b"$FL2": "SPSS",
    b"<stata_dta>": "Stata",
    b"RDX2\n": "R's own form",
    b"RDX3\n": "R's own form",
    b"{\\rtf": "rich text",
    b"7z\xbc\xaf": "7z, to be unpacked",
    b"Rar!": "RAR, to be unpacked",
    b"\x28\xb5\x2f\xfd": "zstd, to be unpacked",
}
"""How files begin that hold no text, and what they are."""
_LEGACY = ("cp949", "cp932", "gb18030", "big5", "cp1252", "cp1251", "cp1254", "cp1250")
"""Encodings without a mark: Korean, Japanese, Chinese (two), Western, Cyrillic, Turkish, Central European."""


def unpack(raw: bytes, path: Path) -> Iterator[tuple[Path, bytes]]:
    """The files in an archive by their names in it, of a single one by the archive's; else the bytes themselves, as of a workbook.

    Raises:
        DataError: damaged, or no price file inside.
    """
    opened = next((kind for mark, kind in _PACKED if raw.startswith(mark)), None)
    if opened is not None:
        yield path, _bounded(lambda: opened(io.BytesIO(raw)).read(MOST_BYTES + 1), path)
    elif not raw.startswith(b"PK\x03\x04") or is_workbook(raw):
        yield path, raw
    else:
        with _opened(raw, path) as archive:
            yield from _members(archive, path)


def _members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[Path, bytes]]:
    """The price files of a zip, or its only file. Raises DataError."""
    members = (info for info in archive.infolist() if info.filename and not info.is_dir())
    held = [info for info in members if not info.filename.startswith("__MACOSX") and "/." not in f"/{info.filename}"]
    named = {PurePosixPath(info.filename): info for info in held}
    files = held if len(held) == 1 else [named[name] for name in price_files(named)]
    size = sum(info.file_size for info in files)
    if not files:
        raise DataError(f"{path} must hold price files. Received: an archive without any. Give another file.")
    if size > MOST_BYTES:
        raise DataError(f"{path} must unpack to at most {MOST_BYTES >> 20} MB. Received: {size >> 20} MB. Unpack it yourself.")
    for info in files:
        name = path if len(files) == 1 else path / clean_ticker(info.filename)
        yield name, _bounded(lambda info=info: archive.open(info).read(MOST_BYTES + 1), name)  # type: ignore[misc]


def is_workbook(raw: bytes) -> bool:
    """Whether the bytes are a workbook: xlsx or xlsb, or ods."""
    return raw.startswith(b"PK\x03\x04") and ((b"[Content_Types].xml" in raw and b"xl/" in raw) or is_open_document(raw))


def is_open_document(raw: bytes) -> bool:
    """Whether the bytes are an ods workbook, whose first file names what it is."""
    return b"application/vnd.oasis.opendocument.spreadsheet" in raw[:200]


def _opened(raw: bytes, path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path} must be an intact archive. Received: {error}. Download it again.") from None


def _bounded(read: Callable[[], bytes], path: Path) -> bytes:
    try:
        data = read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} must be an intact archive. Received: {str(error)[:80]}. Download it again.") from None
    if len(data) > MOST_BYTES:
        raise DataError(f"{path} must unpack to at most {MOST_BYTES >> 20} MB. Received: more. Unpack it yourself.")
    return data


def decode(raw: bytes, path: Path, encoding: str = "auto") -> tuple[bytes, str]:
    """The text as UTF-8 bytes without a mark, and the name of its encoding.

    Raises:
        DataError: bytes that are no text or that the encoding does not have, or NUL characters.
    """
    foreign = next((kind for mark, kind in _FOREIGN.items() if raw.startswith(mark)), "a tar archive" if raw[257:262] == b"ustar" else "")
    if foreign:
        raise _no_text(path, foreign)
    name = _detect(raw, path) if encoding == "auto" else encoding
    if name in ("ascii", "utf-8", "utf-8-sig"):
        text = raw if encoding == "auto" else _text(raw, name, path).encode()
    else:
        text = _text(raw, name, path).encode("utf-8", "replace")
    while text.startswith(codecs.BOM_UTF8):  # programs that add a mark add another one to a file that has one
        text = text.removeprefix(codecs.BOM_UTF8)
    nul = text.find(b"\0")
    if nul >= 0:
        row = text[:nul].count(b"\n") + 1
        raise DataError(f"{path}: text must hold no NUL character. Received: one in row {row}. Save the file anew.")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text, name


def _no_text(path: Path, received: str) -> DataError:
    return DataError(f"{path} must be text, a workbook, parquet, feather or ORC. Received: {received}. Save its table as CSV.")


def _text(raw: bytes, name: str, path: Path) -> str:
    try:
        return raw.decode(name)
    except LookupError:
        raise DataError(f"`data.encoding` must be a known encoding. Received: {name}. Try utf-8, cp949, utf-16.") from None
    except UnicodeError as error:
        row = raw.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise DataError(f"{path} must be {name} text. Received: other bytes in row {row}. Set `data.encoding`.") from None


def _detect(raw: bytes, path: Path) -> str:
    for mark, name in _BOMS:
        if raw.startswith(mark):
            if name == "utf-8-sig":
                _text(raw, name, path)
            return name
    if raw.isascii() and b"\0" not in raw[:4096]:
        return "ascii"
    head = raw[:4096]
    if head.count(b"\0") > len(head) // 4:
        name = "utf-16-le" if head[1::2].count(b"\0") > head[::2].count(b"\0") else "utf-16-be"
        with contextlib.suppress(UnicodeError):
            raw.decode(name)
            return name
        raise _no_text(path, "bytes that are none of these")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return _legacy(raw, error, path)
    return "utf-8"


def _legacy(raw: bytes, error: UnicodeDecodeError, path: Path) -> str:
    """The encoding in which the most words of the head are known; cp1252 where none is. Some of its bytes may be UTF-8 by chance."""
    scores = {}
    for name in _LEGACY:
        try:
            raw.decode(name)
        except UnicodeDecodeError:
            continue
        scores[name] = known_words(raw[:8192].decode(name, "ignore"))
    before = raw[: error.start]
    if any(byte >= 0xC2 for byte in before) and (known_words(before.decode()) or not any(scores.values())):
        row = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} must be text of one encoding. Received: UTF-8 up to row {row}, then other bytes. Set `data.encoding`.")
    if not scores:
        raise DataError(f"{path} must be text. Received: bytes of no known encoding. Set `data.encoding`.")
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] else "cp1252" if "cp1252" in scores else best


def known_words(head: str) -> int:
    """How many cells beyond ASCII in the first lines are words that price files use."""
    cells = {cell for line in head.splitlines()[:20] for cell in re.split(r"[,;\t|]", line)}
    return sum(bool(meanings(cell)) for cell in cells if not cell.isascii() and not re.fullmatch("[a-z]", normalise(cell)))
