"""Bytes to UTF-8 text: what a file is packed in, and which encoding its words are written in."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path

from stockrnn.errors import DataError
from stockrnn.prices.words import meanings

MOST_BYTES = 1 << 30
"""Largest content of a packed file."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEGACY = ("cp949", "cp932", "gb18030", "big5", "cp1252", "cp1251", "cp1254", "cp1250")
"""Encodings without a mark: Korean, Japanese, Chinese (two), Western, Cyrillic, Turkish, Central European."""


def unpack(raw: bytes, path: Path) -> bytes:
    """The one file inside a zip or gz, or the bytes themselves. A workbook is left as it is.

    Raises:
        DataError: damaged, empty, or more than one file inside.
    """
    if raw.startswith(b"\x1f\x8b"):
        return _bounded(lambda: gzip.GzipFile(fileobj=io.BytesIO(raw)).read(MOST_BYTES + 1), path)
    if not raw.startswith(b"PK\x03\x04") or is_workbook(raw):
        return raw
    with _opened(raw, path) as archive:
        names = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX") and "/." not in f"/{i.filename}"]
        if len(names) != 1:
            raise DataError(f"{path} must hold one file. Received: {len(names)} in the archive. Unpack it and name the folder.")
        if names[0].file_size > MOST_BYTES:
            raise DataError(
                f"{path} must unpack to at most {MOST_BYTES >> 20} MB. Received: {names[0].file_size >> 20} MB. Unpack it yourself."
            )
        return _bounded(lambda: archive.open(names[0]).read(MOST_BYTES + 1), path)


def is_workbook(raw: bytes) -> bool:
    """Whether the bytes are an xlsx workbook."""
    return raw.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in raw and b"xl/" in raw


def _opened(raw: bytes, path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path} must be an intact archive. Received: {error}. Download it again.") from None


def _bounded(read: object, path: Path) -> bytes:
    try:
        data: bytes = read()  # type: ignore[operator]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} must be an intact archive. Received: {str(error)[:80]}. Download it again.") from None
    if len(data) > MOST_BYTES:
        raise DataError(f"{path} must unpack to at most {MOST_BYTES >> 20} MB. Received: more. Unpack it yourself.")
    return data


def decode(raw: bytes, path: Path, encoding: str = "auto") -> tuple[bytes, str]:
    """The text as UTF-8 bytes without a mark, and the name of its encoding.

    Raises:
        DataError: bytes that the encoding does not have, or NUL characters.
    """
    name = _detect(raw, path) if encoding == "auto" else encoding
    if name in ("ascii", "utf-8", "utf-8-sig"):
        text = raw if encoding == "auto" else _text(raw, name, path).encode()
    else:
        text = _text(raw, name, path).encode("utf-8", "replace")
    text = text.removeprefix(codecs.BOM_UTF8)
    nul = text.find(b"\0")
    if nul >= 0:
        row = text[:nul].count(b"\n") + 1
        raise DataError(f"{path}: text must hold no NUL character. Received: one in row {row}. Save the file anew.")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text, name


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
        return "utf-16-le" if head[1::2].count(b"\0") > head[::2].count(b"\0") else "utf-16-be"
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
    return sum(bool(meanings(cell)) for cell in cells if not cell.isascii())
