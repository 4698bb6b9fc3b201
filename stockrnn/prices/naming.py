"""Names of series and of files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

SUFFIXES = (".csv", ".txt", ".tsv", ".xlsx", ".parquet", ".zip", ".gz")
"""How the names of price files end."""


def clean_ticker(name: str) -> str:
    """A ticker without control characters, outer blanks and a spreadsheet's apostrophe, composed."""
    kept = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c)[0] != "C")
    return kept.strip().removeprefix("'").strip()[:80]


def name_of(path: Path) -> str:
    """The ticker that a file's name gives: the name without its packing and its type."""
    name = path.name
    for suffix in (".gz", ".zip", *SUFFIXES):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) and len(name) > len(suffix) else name
    return clean_ticker(name) or "series"
