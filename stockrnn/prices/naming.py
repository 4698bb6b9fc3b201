"""Names of series and of files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TypeVar

AnyPath = TypeVar("AnyPath", bound=PurePath)

SUFFIXES = (".csv", ".txt", ".tsv", ".xlsx", ".parquet", ".feather", ".zip", ".gz", ".bz2", ".xz")
"""How the names of price files end."""
RARER = (".json", ".jsonl", ".ndjson", ".xls", ".xlsb", ".ods", ".orc", ".html", ".htm")
"""The same, of files that lie beside price files for other reasons more often: they are left out of a folder that holds those above."""


def price_files(paths: Iterable[AnyPath]) -> list[AnyPath]:
    """Those of some files that hold prices by their names, in order."""
    seen = sorted(path for path in paths if not path.name.startswith("."))
    common = [path for path in seen if path.suffix.lower() in SUFFIXES]
    return common or [path for path in seen if path.suffix.lower() in RARER]


def clean_ticker(name: str) -> str:
    """A ticker without control characters, outer blanks and a spreadsheet's apostrophe, composed."""
    kept = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c)[0] != "C")
    return kept.strip().removeprefix("'").strip()[:80]


def name_of(path: Path) -> str:
    """The ticker that a file's name gives: the name without its packing and its type."""
    name = path.name
    for suffix in (".gz", ".bz2", ".xz", ".zip", *SUFFIXES, *RARER):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) and len(name) > len(suffix) else name
    return clean_ticker(name) or "series"
