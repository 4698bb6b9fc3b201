"""Every error a user can meet, and the exit code that goes with it.

StockRNNError                 1  a bug, or nothing more precise is known
├── ConfigError               2  command line or config
├── DataError                 3  the price file
├── DivergedError             4  the loss is no longer a finite number
├── StorageError              5  disk full, no permission, I/O
├── RunInUseError             6  another process writes to this run
├── RunDamagedError           7  a run that is incomplete, altered, foreign or of an unknown format
├── MissingExtraError         8  an optional package is not installed
├── NotFittedError            1  a programming mistake: forecast before fit
└── InterruptedRunError     130  SIGINT (143: SIGTERM)

A message is one line and says what must hold, what came (file, row, column, key path, value) and what to do.
"""

from __future__ import annotations

import unicodedata


class StockRNNError(Exception):
    """Base of all errors; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(StockRNNError):
    """The command line or the config asks for something that cannot be."""

    exit_code = 2


class DataError(StockRNNError):
    """The price file does not hold what is needed."""

    exit_code = 3


class DivergedError(StockRNNError):
    """Training produced a loss that is not a finite number, or forecasts beyond every price."""

    exit_code = 4


class StorageError(StockRNNError):
    """A file could not be read or written."""

    exit_code = 5


class RunInUseError(StockRNNError):
    """Another process holds the lock of the run directory."""

    exit_code = 6


class RunDamagedError(StockRNNError):
    """The run directory is incomplete, altered, foreign or of an unknown format."""

    exit_code = 7


class MissingExtraError(StockRNNError):
    """An optional package is needed and not installed."""

    exit_code = 8


class NotFittedError(StockRNNError):
    """A forecaster was asked for a forecast before `fit`."""


class InterruptedRunError(StockRNNError):
    """A signal ended the run after its state was saved."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        """Keep the exit code of the signal: 130 for SIGINT, 143 for SIGTERM."""
        super().__init__(message)
        self.exit_code = exit_code


def inert(text: str, keep: str = "\n\t") -> str:
    """Text that is shown and not obeyed: control and formatting characters, such as escape codes, become the sign �."""
    return "".join(sign if sign in keep or unicodedata.category(sign)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for sign in text)
