"""Whether a run was made where it lies: the path of its prices is then the user's own, and a stranger's word otherwise.

A copied, unpacked or downloaded folder has another inode than the one its training noted, and nobody elsewhere can know which.
"""

from __future__ import annotations

from pathlib import Path

from stockrnn.errors import ConfigError
from stockrnn.runs.directory import Run
from stockrnn.storage import shipped

MADE_IN = "made_in"
"""The manifest's key for `mark_of` the folder that was trained into."""


def mark_of(folder: Path) -> int:
    """What a folder keeps while it stays on its disk, under whatever name, and what no copy has: its inode."""
    return folder.stat().st_ino


def made_here(run: Run) -> bool:
    """Whether a run lies in the folder that was trained into."""
    mark = run.manifest.get(MADE_IN)
    return type(mark) is int and mark == mark_of(run.folder)


def prices_of_run(run: Run) -> str:
    """The path of the prices that a run learned from, to read what they are now.

    Raises:
        ConfigError: the run was not made in its folder, and they are no shipped file.
    """
    path = run.config.data.path
    if made_here(run) or _is_shipped(path):
        return path
    raise ConfigError(
        f"--data is needed with a run that was copied or made elsewhere: its word for a path is not followed. "
        f"Received: {run.folder}, which names {path}. Add --data {path} if you want that read."
    )


def _is_shipped(path: str) -> bool:
    return Path(path).name == path and (shipped("data") / path).is_file()
