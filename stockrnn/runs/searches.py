"""The directory of a search: its state while it is under way, and what it leaves.

Layout: best.yaml, trials.csv, ledger.json (what was searched, every result, every trial), plots/, and tune.json, written last: it
makes the search complete. Until then `checkpoint/` holds what is searched and a file for each result, so that no death loses one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockrnn.config import Config
from stockrnn.configfile import build_config, config_changes, result_tree
from stockrnn.errors import ConfigError
from stockrnn.runs.directory import CHECKPOINTS, PLOTS, RUNS, SEARCH, begin_state, in_runs
from stockrnn.runs.files import read_sealed, to_json, to_sealed
from stockrnn.runs.vetting import hold, hold_format, parse_json
from stockrnn.searchspace import Space, space_of
from stockrnn.storage import MOST_BYTES, make_folder, read_plain_file, sha256, storage_errors, write_bytes

FORMAT = 1
SUMMARY, LEDGER = "tune.json", "ledger.json"
_UNIT = re.compile(r"([0-9a-f]{16})\.(\d{1,4})\.json")

Results = dict[tuple[str, int], dict[str, Any]]
"""The result of each config and fold, by the config's digest and the fold's number."""


@dataclass(frozen=True)
class Terms:
    """What is searched; another search has other results.

    Attributes:
        config: the config whose keys are changed.
        space: what may be tried.
        folds: how many folds a config is scored over.
        data: what is known of the prices that trials see: sha256, start, end, sessions.
    """

    config: Config
    space: Space
    folds: int
    data: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "space": self.space.to_dict(),
            "folds": self.folds,
            "data": dict(self.data),
        }

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """What differs from the `to_dict` of other terms, a phrase each, with both values."""
        then, now = before["space"], self.space.to_dict()
        said = config_changes(before["config"], self.config)
        keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        said += [f"`{key}` of the space was {json.dumps(then.get(key))} and is {json.dumps(now.get(key))}" for key in keys]
        said += [f"--folds was {before['folds']} and is {self.folds}"] if before["folds"] != self.folds else []
        spans = [f"{data['sessions']} sessions to {data['end']}, SHA-256 {data['sha256'][:12]}…" for data in (before["data"], self.data)]
        others = before["data"]["sha256"] != self.data["sha256"]
        return said + ([f"the prices that trials see were {spans[0]} and are {spans[1]}"] if others else [])


def is_searching(folder: Path) -> bool:
    """Whether `tune --resume` can go on in a folder, be it only to say that all is done."""
    return (folder / CHECKPOINTS / SEARCH).is_file() or is_searched(folder)


def is_searched(folder: Path) -> bool:
    """Whether a folder holds a complete search."""
    return (folder / SUMMARY).is_file()


def read_summary(folder: Path) -> dict[str, Any]:
    """What tune.json holds. Raises RunDamagedError."""
    path = folder / SUMMARY
    summary: dict[str, Any] = parse_json(read_plain_file(path, MOST_BYTES), path)
    hold(isinstance(summary, dict), path, "be the summary of a search", "another document")
    hold_format(summary, path, FORMAT)
    hold(isinstance(summary.get("files"), dict), path, "name the files of a search", "another document")
    return summary


def unfinished_search(chosen: str | None) -> tuple[Path, dict[str, Any]]:
    """The search that `tune --resume` means, and its terms with the number of `trials`: the chosen folder, else the newest in runs/.

    A chosen search that is complete is meant too: more trials may be asked for.

    Raises:
        ConfigError: there is none.
    """
    found = in_runs(_is_unfinished) if chosen is None else [folder for folder in [Path(chosen)] if is_searching(folder)]
    if not found:
        raise ConfigError(f"--resume needs an unfinished search. Received: {chosen or 'none in ' + RUNS}. Tune without --resume.")
    folder = max(found, key=lambda each: each.stat().st_mtime_ns)
    if _is_unfinished(folder) and (kept := _read_terms(folder)) is not None:
        return folder, kept
    ledger = _read_ledger(folder)
    return folder, {**ledger, "trials": len(ledger["trials"]) - 1}


def terms_of(document: Mapping[str, Any], origin: Path) -> Terms:
    """The terms in a document of `unfinished_search`. Raises ConfigError where this version knows them no more."""
    config = build_config(document["config"], str(origin))
    return Terms(config, space_of(document["space"], str(origin)), int(document["folds"]), document["data"])


def begin_search(folder: Path, terms: Terms, trials: int | None) -> Results:
    """Note what is searched in a folder whose lock is held, and how many trials are asked for; the results that are there already.

    Raises:
        ConfigError: the folder holds a search of other terms, a complete one of more trials, or a run.
    """
    state = begin_state(folder)
    ledger = _read_ledger(folder) if is_searched(folder) else None
    for before in filter(None, (ledger, _read_terms(folder))):
        changed = terms.differences(before)
        if changed:
            raise ConfigError(
                f"--resume needs the config, space and data of the search. Received a difference: {'; '.join(changed)}. "
                "Ask for the same, or for another --run."
            )
    done = len(ledger["trials"]) - 1 if ledger is not None else 0
    if trials is not None and trials < done:
        raise ConfigError(f"--trials must be at least those that are done. Received: {trials}, but {done} are. Ask for as many or more.")
    for name, result in ({} if ledger is None else ledger["units"]).items():
        write_bytes(state / f"{name}.json", to_sealed(result))
    write_bytes(state / SEARCH, to_sealed({**terms.to_dict(), "trials": trials}))
    with storage_errors(folder, "writable"):
        (folder / SUMMARY).unlink(missing_ok=True)  # until more trials are done
    return _kept(state)


def keep_result(folder: Path, digest: str, fold: int, result: dict[str, Any]) -> None:
    """Keep the result of a config in a fold. Raises StorageError."""
    write_bytes(folder / CHECKPOINTS / f"{digest}.{fold}.json", to_sealed(result))


def write_search(folder: Path, files: Mapping[str, bytes], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Write all files of a search, then its summary, which makes it complete; what that holds. Raises StorageError."""
    make_folder(folder / PLOTS)
    for name, data in files.items():
        write_bytes(folder / name, data)
    document = {"format": FORMAT, **summary, "files": {name: sha256(data) for name, data in sorted(files.items())}}
    write_bytes(folder / SUMMARY, to_json(document))
    return document


def ledger_bytes(terms: Terms, results: Results, trials: Iterable[dict[str, Any]]) -> bytes:
    """What ledger.json holds: the terms, each result under its config and fold, and each trial; no times, so that its bytes repeat."""
    units = {f"{digest}.{fold}": results[digest, fold] for digest, fold in sorted(results)}
    return to_json({**terms.to_dict(), "config": result_tree(terms.config), "units": units, "trials": list(trials)})


def _is_unfinished(folder: Path) -> bool:
    return (folder / CHECKPOINTS / SEARCH).is_file()


def _read_terms(folder: Path) -> dict[str, Any] | None:
    """What is searched in a folder, as it was noted; None where nothing whole was. Raises RunDamagedError."""
    path = folder / CHECKPOINTS / SEARCH
    noted = read_sealed(path)
    if noted is not None:
        hold_format(noted, path, FORMAT)
    return noted


def _kept(state: Path) -> Results:
    """The results that were kept whole."""
    named = [(path, _UNIT.fullmatch(path.name)) for path in sorted(state.iterdir())]
    read = {(found[1], int(found[2])): read_sealed(path) for path, found in named if found is not None}
    return {name: result for name, result in read.items() if result is not None}


def _read_ledger(folder: Path) -> dict[str, Any]:
    digest = read_summary(folder)["files"].get(LEDGER)
    path, data = folder / LEDGER, read_plain_file(folder / LEDGER, MOST_BYTES)
    hold(digest == sha256(data), path, "be as it was written", f"other bytes than {SUMMARY} says")
    return dict(json.loads(data))
