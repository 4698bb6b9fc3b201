"""A run directory: what it must hold, how it is written (manifest last), and how it is opened (manifest first).

Layout: config.yaml, manifest.json, weights.safetensors, model.onnx, scaler.json, metrics.json, history.csv,
forecasts.csv (forecasts.parquet where that is long), scores.csv, plots/. Every file's SHA-256 stands in the manifest, and the
manifest's own at its end; they are checked before a byte is used.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stockrnn.config import Config
from stockrnn.configfile import build_config, config_changes, to_yaml
from stockrnn.errors import ConfigError, RunDamagedError, RunInUseError, StorageError
from stockrnn.prices.planned import NO_SESSIONS, keep_sessions
from stockrnn.runs.files import FORECASTS, read_forecasts, to_json
from stockrnn.runs.parquet import read_parquet
from stockrnn.runs.vetting import LARGEST, check_metrics, check_state, check_weights, hold, hold_format, largest_files, parse_json
from stockrnn.storage import (
    LOCK_NAME,
    TEMPORARY,
    hash_plain_file,
    lock_folder,
    make_folder,
    read_plain_file,
    refuse_used,
    sha256,
    storage_errors,
    write_bytes,
)
from stockrnn.strictyaml import parse_yaml
from stockrnn.types import STEPS

FORMAT = 1
RUNS = "runs"
MANIFEST = "manifest.json"
PLOTS = "plots"
CHECKPOINTS = "checkpoint"
DATA_HASH = "data.sha256"
SEARCH = "search.json"
"""In the state of a search: what is searched."""
REQUIRED = ("config.yaml", "weights.safetensors", "model.onnx", "scaler.json", "metrics.json", "history.csv")
_NAME = re.compile(rf"(?:{PLOTS}/)?[A-Za-z0-9_][A-Za-z0-9._-]{{0,99}}")
_TRIES = 5


@dataclass(frozen=True)
class Run:
    """A complete run whose manifest was read and whose files were checked.

    Attributes:
        folder: where it lies.
        manifest: format, files, data hash, versions, seed, windows, elapsed_s.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def step(self) -> str:
        """The step of the rows that it learned from, a name in `STEPS`; empty where the manifest does not say."""
        held = self.manifest.get("data")
        said = held.get("step") if isinstance(held, dict) else None
        return said if isinstance(said, str) and said in STEPS else ""

    @functools.cached_property
    def config(self) -> Config:
        """The resolved config. Raises RunDamagedError."""
        try:
            return build_config(parse_yaml(self.read("config.yaml"), "config.yaml"), "config.yaml")
        except ConfigError as error:
            raise RunDamagedError(f"{self.folder} must hold a config this version reads. Received: {error} Train again.") from None

    def read(self, name: str) -> bytes:
        """The checked bytes of a file. Raises RunDamagedError where it is missing or altered."""
        digest = self.manifest["files"].get(name)
        hold(digest is not None, self.folder / MANIFEST, f"name the file {name[:80]!r}", "no such name")
        data = read_plain_file(self.folder / name, LARGEST[Path(name).suffix])
        _same(sha256(data), digest, self.folder / name)
        return data

    def forecasts(self) -> pd.DataFrame:
        """The forecast table of the test span. Raises RunDamagedError."""
        table, large = FORECASTS
        if table in self.manifest["files"]:
            return read_forecasts(self.read(table))
        return read_parquet(self.read(large), self.folder / large)

    def json(self, name: str) -> Any:
        """A checked JSON file. Raises RunDamagedError."""
        return parse_json(self.read(name), self.folder / name)

    def recall_sessions(self) -> None:
        """Let calendars answer from the sessions that the run keeps, so that none is loaded. Raises RunDamagedError."""
        try:
            keep_sessions(self.manifest.get("sessions", NO_SESSIONS))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            path = self.folder / MANIFEST
            raise RunDamagedError(
                f"{path} must keep the sessions of calendars by their days. Received: {error!r:.80}. Train again."
            ) from None

    def check(self) -> None:
        """Check every file: its name, size and SHA-256, then weights and state against the config. Raises RunDamagedError."""
        path, files, config = self.folder / MANIFEST, self.manifest["files"], self.config
        limits = LARGEST | largest_files(config, sum(name.endswith(".onnx") for name in files))
        for name, digest in files.items():
            hold(_NAME.fullmatch(name) is not None and Path(name).suffix in LARGEST, path, "name files of a run", repr(name[:80]))
            file = self.folder / name
            hold(not file.parent.is_symlink() or "/" not in name, file.parent, "be a folder", "a link")
            if name not in REQUIRED and not file.exists() and "/" in name:  # a picture may be deleted: it can be drawn again
                continue
            _same(hash_plain_file(file, limits[file.suffix]), digest, file)
        parts = check_weights(self.read("weights.safetensors"), config, self.folder / "weights.safetensors")
        check_state(self.json("scaler.json"), config, self.folder / "scaler.json", model_names(parts))
        check_metrics(self.json("metrics.json"), self.folder / "metrics.json", self.step)


def write_run(folder: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write all files of a run, then its manifest, which makes it complete. Raises StorageError."""
    make_folder(folder / PLOTS)
    for name, data in files.items():
        write_bytes(folder / name, data)
    manifest = {"format": FORMAT, **facts, "files": {name: sha256(data) for name, data in sorted(files.items())}}
    write_bytes(folder / MANIFEST, _sealed(manifest))


def add_files(run: Run, files: Mapping[str, bytes]) -> None:
    """Write pictures into a complete run, whose lock is held, and put their hashes into its manifest.

    The manifest forgets the old ones first: whenever this stops, the run is whole.
    """
    make_folder(run.folder / PLOTS)
    kept = {name: digest for name, digest in run.manifest["files"].items() if name not in files}
    write_bytes(run.folder / MANIFEST, _sealed({**run.manifest, "files": kept}))
    for name, data in files.items():
        write_bytes(run.folder / name, data)
    hashes = {**kept, **{name: sha256(data) for name, data in files.items()}}
    write_bytes(run.folder / MANIFEST, _sealed({**run.manifest, "files": dict(sorted(hashes.items()))}))


def open_run(folder: Path) -> Run:
    """Open a run and check every file. Raises RunDamagedError."""
    for _ in range(_TRIES):
        run = Run(folder, _read_manifest(folder))
        try:
            run.check()
        except RunDamagedError:
            if _read_manifest(folder) == run.manifest:
                raise
        else:
            return run
    raise RunDamagedError(f"{folder} must stay the same while it is read. Received: a writer. Try again.")  # that draws again and again


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.exists() and not path.is_symlink():
        raise RunDamagedError(f"{folder} must be a complete run. Received: no manifest.json, which training writes last. Train again.")
    data = read_plain_file(path, LARGEST[".json"])
    manifest: dict[str, Any] = parse_json(data, path)
    hold(isinstance(manifest, dict), path, "be the manifest of a run", "another document")
    hold_format(manifest, path, FORMAT)
    unsealed = {name: value for name, value in manifest.items() if name != "sha256"}
    hold(data == _sealed(unsealed), path, "be as it was written", "other bytes than its own SHA-256 says")
    files = manifest.get("files")
    named = (
        isinstance(files, dict)
        and set(REQUIRED) <= set(files)
        and len(set(FORECASTS) & set(files)) == 1
        and all(isinstance(digest, str) for digest in files.values())
    )
    hold(named, path, f"name the files of a run ({', '.join((*REQUIRED, FORECASTS[0]))})", "another document")
    hold(type(manifest.get("onnx_difference", 0.0)) in (int, float), path, "say how far the exported model is off", "another document")
    return unsealed


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """A manifest with its own SHA-256 at its end, of what it is without that."""
    return to_json({**manifest, "sha256": sha256(to_json(manifest))})


def _same(found: str, wanted: str, path: Path) -> None:
    hold(found == wanted, path, "be as it was written", "other bytes than manifest.json says")


def find_run(name: str | None) -> Path:
    """The folder a RUN argument means: a folder, else a name in runs/, else (no argument) the newest complete run there.

    Raises:
        ConfigError: there is none.
    """
    if name is None:
        if not (complete := list_runs()):
            raise ConfigError(f"There must be a run in {RUNS}/. Received: none. Run `stockrnn train` first, or name a run's folder.")
        return complete[-1]
    with contextlib.suppress(OSError):  # such as a name that is too long
        for candidate in (Path(name), Path(RUNS) / name):
            if candidate.is_dir():
                return candidate
    raise ConfigError(f"RUN must be a folder, or a name in {RUNS}/. Received: {name}. `stockrnn runs list` shows what there is.")


def list_runs() -> list[Path]:
    """The folders of complete runs in runs/, oldest first."""
    return sorted(in_runs(is_complete), key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns)


def in_runs(holds: Callable[[Path], bool]) -> list[Path]:
    """The folders in runs/ for which a condition holds; those of other users that cannot be read are passed over."""
    found, base = [], Path(RUNS)
    for folder in base.iterdir() if base.is_dir() else ():
        with contextlib.suppress(PermissionError):
            found += [folder] if holds(folder) else []
    return found


def new_run_folder(chosen: str | None, config_name: str, today: dt.date) -> Path:
    """The folder of a new run: the chosen one, else runs/<date>-<config name>, numbered when taken, and made so that nobody else takes it.

    Raises:
        RunInUseError: another process is writing the chosen folder.
        ConfigError: it holds something.
        StorageError: runs/ cannot be written.
    """
    if chosen is not None:
        folder = Path(chosen)
        refuse_used(folder)
        if is_unfinished(folder) or (folder / CHECKPOINTS / SEARCH).is_file():
            ways = "Add --resume to go on with it, or choose another"
            raise ConfigError(f"--run must be a new or empty folder. Received: {chosen}, an unfinished run. {ways}.")
        if folder.exists() and (not folder.is_dir() or _holds_something(folder)):
            raise ConfigError(f"--run must be a new or empty folder. Received: {chosen}, which is neither. Choose another.")
        return folder
    stem = f"{today:%Y-%m-%d}-{config_name}"
    numbered = (Path(RUNS) / (stem if k == 1 else f"{stem}-{k}") for k in itertools.count(1))
    return next(folder for folder in numbered if _is_made(folder))


def _is_made(folder: Path) -> bool:
    """Whether this process, and no other, made the folder now."""
    with storage_errors(folder, "writable"), contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        return True
    return False


def unfinished_run(chosen: str | None) -> tuple[Path, Config]:
    """The run that `--resume` means, and its config: the chosen folder, else the newest unfinished one in runs/.

    A chosen run that is complete is meant too: it may have been killed just after it was.

    Raises:
        ConfigError: there is none.
    """
    if chosen is not None and (Path(chosen) / MANIFEST).is_file():
        return Path(chosen), open_run(Path(chosen)).config
    found = in_runs(is_unfinished) if chosen is None else [folder for folder in [Path(chosen)] if is_unfinished(folder)]
    if not found:
        raise ConfigError(f"--resume needs an unfinished run. Received: {chosen or 'none in ' + RUNS}. Train without --resume.")
    folder = max(found, key=lambda each: (each / CHECKPOINTS).stat().st_mtime_ns)
    path = folder / CHECKPOINTS / "config.yaml"
    return folder, build_config(parse_yaml(read_plain_file(path, LARGEST[".yaml"]), str(path)), str(path))


def is_unfinished(folder: Path) -> bool:
    """Whether a training was begun in a folder and not ended."""
    return (folder / CHECKPOINTS / "config.yaml").is_file() and not is_complete(folder)


def is_begun(folder: Path) -> bool:
    """Whether `--resume` can go on in a folder, be it only to say that all is done."""
    return is_unfinished(folder) or is_complete(folder)


def is_complete(folder: Path) -> bool:
    """Whether a folder has the manifest that is written last."""
    return (folder / MANIFEST).is_file()


def begin_state(folder: Path) -> Path:
    """Make the folder of the state of work under way, in a folder whose lock is held.

    Raises:
        ConfigError: that holds a complete run.
        RunDamagedError: a link stands where a folder of ours should be.
    """
    if is_complete(folder):
        raise ConfigError(f"--run must be a new or empty folder. Received: {folder}, a complete run. Choose another.")
    for place in (folder / CHECKPOINTS, folder / PLOTS):
        hold(not place.is_symlink(), place, "be a folder", "a link")
    return make_folder(folder / CHECKPOINTS)


def begin_run(folder: Path, config: Config) -> None:
    """Note the config of a training in a folder whose lock is held, so that it can go on however its process ends.

    Raises:
        ConfigError: another config than before, or a complete run.
    """
    path, text = begin_state(folder) / "config.yaml", to_yaml(config)
    _remove_temporary(folder)
    if path.is_file():
        before = read_plain_file(path, LARGEST[".yaml"]).decode()
        changes = config_changes(parse_yaml(before.encode(), str(path)), config) if before != text else []
        if changes:
            raise ConfigError(
                f"--resume needs the config of the unfinished run. Received a difference: {'; '.join(changes)}. "
                "Ask for the same, or for another --run."
            )
    write_bytes(path, text.encode())


def note_data(folder: Path, data_hash: str, name: str) -> None:
    """Note which data are learned from. Raises ConfigError where the unfinished run has learned from others."""
    path = folder / CHECKPOINTS / DATA_HASH
    if path.is_file():
        before = read_plain_file(path, LARGEST[".json"]).decode("ascii", "replace")
        if before != data_hash:
            raise ConfigError(
                f"--resume needs the data of the unfinished run. Received: {name} with SHA-256 {data_hash[:12]}…, not {before[:12]}…. "
                "Give it those data, or train anew in another --run."
            )
    write_bytes(path, data_hash.encode())


def end_run(folder: Path) -> None:
    """Remove the state of a training that is complete."""
    with storage_errors(folder, "writable"):
        if (folder / CHECKPOINTS).exists():
            shutil.rmtree(folder / CHECKPOINTS)
        _remove_temporary(folder)


def remove_unfinished(folder: Path, existed: bool, *, in_vain: bool = False) -> None:
    """Remove what a failed run left: folders without any result or state of training. A folder in use is left alone.

    Args:
        folder: that of the run.
        existed: whether it was there before, and stays.
        in_vain: whether to remove a state of training too; the trials of a search always stay.
    """
    if not folder.is_dir():
        return
    state = folder / CHECKPOINTS
    with contextlib.suppress(RunInUseError, StorageError), lock_folder(folder), storage_errors(folder, "writable"):
        _remove_temporary(folder)
        names = {entry.name for entry in state.iterdir()} if state.is_dir() else set()
        if state.is_dir() and (names <= {"config.yaml", DATA_HASH, SEARCH} or (in_vain and SEARCH not in names)):
            shutil.rmtree(state)
        if (folder / PLOTS).is_dir() and not any((folder / PLOTS).iterdir()):
            (folder / PLOTS).rmdir()
        if existed or _holds_something(folder):
            return
        (folder / LOCK_NAME).unlink()
        folder.rmdir()
        if folder.parent == Path(RUNS) and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _remove_temporary(folder: Path) -> None:
    """Remove files that a process was writing when it died; the folder's lock is held, so nobody writes them now."""
    with storage_errors(folder, "writable"):
        for place in (folder, folder / CHECKPOINTS, folder / PLOTS):
            for left in place.glob(f".*{TEMPORARY}"):
                left.unlink(missing_ok=True)


def _holds_something(folder: Path) -> bool:
    """Whether a folder holds more than what a process leaves that died before it began: a lock, temporary files, empty state."""
    entries = [entry for entry in folder.iterdir() if entry.name != LOCK_NAME and not entry.name.endswith(TEMPORARY)]
    return any(entry.name != CHECKPOINTS or not entry.is_dir() or _holds_something(entry) for entry in entries)


def model_names(count: int) -> list[str]:
    """File names of a run's exported models: `model.onnx`, then `model.1.onnx` … where each ticker has its own."""
    return ["model.onnx" if k == 0 else f"model.{k}.onnx" for k in range(count)]
