"""What is wrong with a price file: findings, each with its count, its first places and what is done about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd


MOST_PLACES = 5


@dataclass(frozen=True)
class Place:
    """Where something stands: the file, its row (1 is the first line), the date, the column and the value as written."""

    file: str
    row: int | None = None
    date: str | None = None
    column: str | None = None
    value: str | float | None = None


@dataclass(frozen=True)
class Finding:
    """One kind of defect: how many rows, the first of them, and the action taken."""

    kind: str
    count: int
    places: tuple[Place, ...]
    action: str

    def to_dict(self) -> dict[str, Any]:
        """As written in the JSON document."""
        return {"kind": self.kind, "count": self.count, "places": [asdict(place) for place in self.places], "action": self.action}


def date_text(stamp: pd.Timestamp | Any) -> str | None:
    """A date as `2020-01-31`, with the time where there is one."""
    stamp = pd.Timestamp(stamp)
    if stamp is pd.NaT:
        return None
    return stamp.strftime("%Y-%m-%d") if stamp == stamp.normalize() else stamp.isoformat()
