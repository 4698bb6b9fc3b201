"""A run directory: what it must hold, how it is written (manifest last), and how it is opened (manifest first).

Layout: config.yaml, manifest.json, weights.safetensors, model.onnx, scaler.json, metrics.json, history.csv,
forecasts.csv, plots/. Every file's SHA-256 stands in the manifest and is checked before a byte of it is used.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stockrnn.config import Config, build_config, to_yaml
from stockrnn.errors import ConfigError, RunDamagedError
from stockrnn.storage import LOCK_NAME, make_folder, read_bytes, sha256, storage_errors, write_bytes
from stockrnn.strictyaml import parse_yaml

FORMAT = 1
RUNS = "runs"
MANIFEST = "manifest.json"
PLOTS = "plots"
CHECKPOINTS = "checkpoint"
REQUIRED = ("config.yaml", "weights.safetensors", "model.onnx", "scaler.json", "metrics.json", "history.csv", "forecasts.csv")
MAX_MANIFEST_BYTES = 1024 * 1024


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
    def config(self) -> Config:
        """The resolved config. Raises RunDamagedError."""
        try:
            return build_config(parse_yaml(self.read("config.yaml"), "config.yaml"), "config.yaml")
        except ConfigError as error:
            raise RunDamagedError(f"{self.folder} must hold a config this version reads. Received: {error} Train again.") from None

    def read(self, name: str) -> bytes:
        """The checked bytes of a file. Raises RunDamagedError where it is missing or altered."""
        path = self.folder / name
        if path.is_symlink() or not path.is_file():
            raise RunDamagedError(f"{self.folder} must hold the file {name}. Received: none. Train again, or restore it.")
        data = read_bytes(path)
        if sha256(data) != self.manifest["files"].get(name):
            raise RunDamagedError(
                f"{path} must be as it was written. Received: other bytes than manifest.json says. Train again, or restore it."
            )
        return data

    def json(self, name: str) -> Any:
        """A checked JSON file."""
        return json.loads(self.read(name))


def write_run(folder: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write all files of a run, then its manifest, which makes it complete. Raises StorageError."""
    make_folder(folder / PLOTS)
    for name, data in files.items():
        write_bytes(folder / name, data)
    manifest = {"format": FORMAT, **facts, "files": {name: sha256(data) for name, data in sorted(files.items())}}
    write_bytes(folder / MANIFEST, to_json(manifest))


def add_files(run: Run, files: Mapping[str, bytes]) -> None:
    """Write files into a complete run and put their hashes into its manifest."""
    make_folder(run.folder / PLOTS)
    for name, data in files.items():
        write_bytes(run.folder / name, data)
    hashes = {**run.manifest["files"], **{name: sha256(data) for name, data in files.items()}}
    write_bytes(run.folder / MANIFEST, to_json({**run.manifest, "files": dict(sorted(hashes.items()))}))


def open_run(folder: Path) -> Run:
    """Open a run and check every file. Raises RunDamagedError."""
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise RunDamagedError(f"{folder} must be a complete run. Received: no manifest.json, which training writes last. Train again.")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise RunDamagedError(f"{path} must be at most {MAX_MANIFEST_BYTES} bytes. Received: {path.stat().st_size}.")
    try:
        manifest = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        raise RunDamagedError(f"{path} must be JSON. Received: something else. Train again, or restore it.") from None
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not set(REQUIRED) <= set(files):
        raise RunDamagedError(f"{path} must name the files of a run: {', '.join(REQUIRED)}. Received: another document.")
    if manifest.get("format") != FORMAT:
        version = manifest.get("versions", {}).get("stockrnn", "unknown")
        raise RunDamagedError(f"{path} must have format {FORMAT}. Received: {manifest.get('format')!r}, written by stockrnn {version}.")
    run = Run(folder, manifest)
    for name in files:
        _check_name(path, name)
        if not (name.startswith(f"{PLOTS}/") and not (folder / name).exists()):  # a picture may be deleted: it can be drawn again
            run.read(name)
    return run


def find_run(name: str | None) -> Path:
    """The folder a RUN argument means: a folder, else a name in runs/, else (no argument) the newest complete run there.

    Raises:
        ConfigError: there is none.
    """
    if name is None:
        newest = max(_complete(), key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns, default=None)
        if newest is None:
            raise ConfigError(f"There must be a run in {RUNS}/. Received: none. Run `stockrnn train` first, or name a run's folder.")
        return newest
    for candidate in (Path(name), Path(RUNS) / name):
        if candidate.is_dir():
            return candidate
    raise ConfigError(f"RUN must be a folder, or a name in {RUNS}/. Received: {name}. `stockrnn runs list` shows what there is.")


def list_runs() -> list[Path]:
    """The folders of complete runs in runs/, oldest first."""
    return sorted(_complete(), key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns)


def new_run_folder(chosen: str | None, config_name: str, today: dt.date) -> Path:
    """The folder of a new run: the chosen one, else runs/<date>-<config name>, numbered when taken.

    Raises:
        ConfigError: the chosen folder already holds something.
    """
    if chosen is not None:
        folder = Path(chosen)
        if is_unfinished(folder):
            raise ConfigError(f"--run must be a new or empty folder. Received: {chosen}, an unfinished run. Add --resume to go on with it.")
        if folder.exists() and (not folder.is_dir() or any(entry.name != LOCK_NAME for entry in folder.iterdir())):
            raise ConfigError(f"--run must be a new or empty folder. Received: {chosen}, which holds something. Choose another.")
        return folder
    stem = f"{today:%Y-%m-%d}-{config_name}"
    numbered = (Path(RUNS) / (stem if k == 1 else f"{stem}-{k}") for k in range(1, 100_000))
    return next(folder for folder in numbered if not folder.exists())


def unfinished_run(chosen: str | None) -> tuple[Path, Config]:
    """The unfinished run that `--resume` means, and its config: the chosen folder, else the newest one in runs/.

    Raises:
        ConfigError: there is none.
    """
    base = Path(RUNS)
    candidates = [Path(chosen)] if chosen is not None else list(base.iterdir()) if base.is_dir() else []
    found = [folder for folder in candidates if is_unfinished(folder)]
    if not found:
        raise ConfigError(f"--resume needs an unfinished run. Received: {chosen or 'none in ' + RUNS}. Train without --resume.")
    folder = max(found, key=lambda each: (each / CHECKPOINTS).stat().st_mtime_ns)
    path = folder / CHECKPOINTS / "config.yaml"
    return folder, build_config(parse_yaml(read_bytes(path), str(path)), str(path))


def is_unfinished(folder: Path) -> bool:
    """Whether a training was begun in a folder and not ended."""
    return (folder / CHECKPOINTS / "config.yaml").is_file() and not (folder / MANIFEST).is_file()


def begin_run(folder: Path, config: Config) -> None:
    """Note what is being trained, so that it can go on after any death. Raises ConfigError for another config than before."""
    path, text = make_folder(folder / CHECKPOINTS) / "config.yaml", to_yaml(config)
    if path.is_file():
        before = read_bytes(path).decode()
        changed = sorted(set(text.splitlines()) ^ set(before.splitlines()))
        if changed:
            raise ConfigError(
                f"--resume needs the config of the unfinished run. Received a difference: {'; '.join(map(str.strip, changed))}."
            )
    write_bytes(path, text.encode())


def end_run(folder: Path) -> None:
    """Drop the state of a training that is complete."""
    with storage_errors(folder, "writable"):
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=False)


def remove_unfinished(folder: Path, existed: bool) -> None:
    """Take away what a failed run left: its lock, and folders without any result or state of training."""
    state = folder / CHECKPOINTS
    with storage_errors(folder, "writable"):
        (folder / LOCK_NAME).unlink(missing_ok=True)
        if state.is_dir() and {entry.name for entry in state.iterdir()} == {"config.yaml"}:
            shutil.rmtree(state)
        for empty in (folder / PLOTS, *(() if existed else (folder,))):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        if not existed and folder.parent == Path(RUNS) and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def model_names(count: int) -> list[str]:
    """File names of a run's exported models: `model.onnx`, then `model.1.onnx` … where each ticker has its own."""
    return ["model.onnx" if k == 0 else f"model.{k}.onnx" for k in range(count)]


def to_json(document: Any) -> bytes:
    """JSON as this package writes it: sorted as given, floats to the last bit, NaN refused."""
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_csv(table: pd.DataFrame) -> bytes:
    """CSV as this package writes it: floats to the last bit, dates as ISO 8601 (with the time only where there is one)."""
    dated = table.copy()
    for name in table.select_dtypes("datetime"):
        midnight = (table[name].dropna() == table[name].dropna().dt.normalize()).all()
        dated[name] = table[name].dt.strftime("%Y-%m-%d" if midnight else "%Y-%m-%dT%H:%M:%S")
    return dated.to_csv(index=False, lineterminator="\n").encode()


def _complete() -> Iterator[Path]:
    base = Path(RUNS)
    folders: Iterable[Path] = base.iterdir() if base.is_dir() else ()
    yield from (folder for folder in folders if (folder / MANIFEST).is_file())


def _check_name(path: Path, name: str) -> None:
    parts = Path(name).parts
    if not parts or os.path.isabs(name) or ".." in parts or len(parts) > 2:  # noqa: PTH117 (a name from a file, not yet a path)
        raise RunDamagedError(f"{path} must name files inside the run. Received: {name[:80]!r}.")
