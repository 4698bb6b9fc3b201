"""What a command does between its arguments and the terminal: config in, recipe run, result printed."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import glob
import json as jsonlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stockrnn import recipes
from stockrnn.config import Config
from stockrnn.configfile import config_schema, find_config, find_space, load_config, override_config, shipped_configs, to_yaml
from stockrnn.errors import RunDamagedError, StockRNNError, StorageError, inert
from stockrnn.interrupts import interruptible
from stockrnn.places import Place
from stockrnn.prices.loading import inspect_document
from stockrnn.prices.steps import asked_for, dated, is_number, numbered, row_name, spoken, told
from stockrnn.reports import tables
from stockrnn.reports.progress import step_progress, training_progress, walk_progress
from stockrnn.runs.directory import PLOTS, Run, find_run, is_begun, list_runs, new_run_folder, open_run, unfinished_run
from stockrnn.runs.files import to_csv
from stockrnn.storage import write_bytes
from stockrnn.types import DATE, TICKER, UNDATED

NAMED_TICKERS, MOST_TICKERS = 5, 20
"""Most tickers whose names are listed, and most whose forecasts are."""
DEFAULT_CONFIG, DEFAULT_SPACE = "lstm.yaml", "recommended.yaml"


def train(
    config: str | None,
    data: str | None,
    overrides: Sequence[str],
    run: str | None,
    resume: bool,
    json: bool,
    place: dict[str, Any],
) -> None:
    """`stockrnn train`. `place` holds the fields of `Place`."""
    where = Place(**place)
    if resume:
        folder, kept = unfinished_run(run)
        settings = _resumed(kept, config, data, overrides)
    else:
        settings = _settings(config, data, overrides)
        folder = _new_folder(run, config)
    progress = training_progress(settings.train.epochs, len(settings.train.members))
    how = f"Go on with: stockrnn train --resume --run {folder}"
    with interruptible(how, lambda: is_begun(folder)) as check, progress as tell:

        def on_epoch(report: Any) -> None:
            tell(report)
            check()

        trained = (recipes.resume if resume else recipes.train)(settings, folder, on_epoch, where)
    _tell(trained.notes)
    if json:
        _print_json({"run": str(folder), **trained.metrics})
    else:
        _print_scores(trained.run, trained.metrics)


def backtest(
    config: str | None,
    data: str | None,
    overrides: Sequence[str],
    run: str | None,
    resume: bool,
    json: bool,
    plan: dict[str, Any],
    place: dict[str, Any],
) -> None:
    """`stockrnn backtest`. `plan` holds the options that were given; the others are those of `Plan`, or of the unfinished backtest."""
    where = Place(**place)
    given = {name: value for name, value in plan.items() if value is not None}
    if "start" in given and not is_number(given["start"]):
        given["start"] = _iso(asked_for(given["start"], "--start", ""))
    if resume:
        folder, kept, begun = recipes.unfinished_backtest(run)
        settings, walk = _resumed(kept, config, data, overrides), dataclasses.replace(begun, **given)
    else:
        walk, settings = recipes.Plan(**given), _settings(config, data, overrides)
        folder = _new_folder(run, config, "-backtest")
    how = f"Go on with: stockrnn backtest --resume --run {folder}"
    with interruptible(how, lambda: is_begun(folder)) as check, walk_progress(walk.folds, walk.refit) as progress:

        def on_epoch(report: Any) -> None:
            progress.epoch(report)
            check()

        def on_fold(fold: Any) -> None:
            progress.fold(fold)
            check()

        done = (recipes.resume_backtest if resume else recipes.backtest)(settings, walk, folder, on_epoch, on_fold, where)
    _tell(done.notes)
    if json:
        _print_json({"run": str(folder), **done.metrics})
    else:
        _print_scores(done.run, done.metrics)


def tune(
    config: str | None,
    data: str | None,
    overrides: Sequence[str],
    space: str | None,
    effort: dict[str, Any],
    run: str | None,
    resume: bool,
    json: bool,
    place: dict[str, Any],
) -> None:
    """`stockrnn tune`. `effort` holds the options that were given; the others are those of `Effort`, or of the search that goes on."""
    from stockrnn.reports import tuning
    from stockrnn.runs.searches import is_searching
    from stockrnn.searchspace import fitting, read_space

    where, left_out = Place(**place), ""
    given = {name: value for name, value in effort.items() if value is not None}
    if "time_s" in given:
        given.setdefault("trials", None)
    if resume:
        folder, kept, searched, begun = recipes.unfinished_tune(run)
        settings, asked = _resumed(kept, config, data, overrides), dataclasses.replace(begun, **given)
        searched = searched if space is None else read_space(find_space(space))
    else:
        asked, searched = recipes.Effort(**given), read_space(find_space(space or DEFAULT_SPACE))
        settings = _settings(config, data, overrides)
        searched, left_out = (searched, "") if space else fitting(searched, settings)
        folder = _new_folder(run, config, "-tune")
    how = f"Go on with: stockrnn tune --resume --run {folder}"
    with interruptible(how, lambda: is_searching(folder)) as check, step_progress("tune") as tell:

        def on_report(_: Any) -> None:
            check()

        def on_trial(done: int) -> None:
            tell(done, asked.trials)
            check()

        tuned = recipes.tune(settings, searched, folder, asked, on_report, on_trial, where)
    _tell((*filter(None, [left_out]), *tuned.notes))
    if json:
        _print_json({"run": str(folder), **tuned.summary})
        return
    counts = tuned.summary["trials"]
    _show(f"{sum(counts.values())} trials: {', '.join(f'{count} {state}' for state, count in counts.items())}; CRPS {_unit(tuned.summary)}")
    _show(tuning.trial_rows(tuned.summary))
    _show(tables.verdict(tuned.summary["sentences"]))
    _show(f"Best config: {folder / 'best.yaml'}\nPictures: {folder / PLOTS}\nTrain it: stockrnn train --config {folder / 'best.yaml'}")


def _unit(summary: dict[str, Any]) -> str:
    return "in the prices' currency" if summary["in_currency"] else "in units of each ticker's naive MAE"


def audit(config: str | None, data: str | None, overrides: Sequence[str], json: bool) -> None:
    """`stockrnn audit`. Raises StockRNNError, exit code 1, where a stage leaks: that is a bug, whatever the data and the config."""
    from stockrnn.evaluation.audit import STAGES

    with step_progress("audit") as tell:
        found = recipes.audit(_settings(config, data, overrides), tell)
    if json:
        _print_json(found.to_dict())
    else:
        leaks = collections.Counter(leak.stage for leak in found.leaks)
        counts = found.checks.items()
        said = {stage: f"changed in {leaks[stage]} of {made}" if leaks[stage] else f"the same in {made}" for stage, made in counts}
        _show(f"All after each of {len(found.cutoffs)} cutoffs was changed. What came before it, in how many comparisons:")
        _show(tables.facts({stage: f"{said[stage]}: {meaning}" for stage, meaning in STAGES.items()}))
        _show(f"Networks were trained for {found.epochs} epochs: a leak needs no good network.")
    if found.leaks:
        first = found.leaks[0]
        raise StockRNNError(
            f"Nothing before a cutoff may follow from what comes after it. Received: `{first.stage}` ({STAGES[first.stage]}) changed with "
            f"the future after {spoken(first.cutoff, '')} ({first.change}). This is a bug: please report it with the config."
        )


def predict(run: str | None, data: str | None, asof: str | None, output: Path | None, json: bool) -> None:
    """`stockrnn predict`."""
    opened = open_run(find_run(run))
    predicted = recipes.predict(opened, data, None if asof is None else _last_instant(asof, opened.step))
    step = predicted.data_step
    if output is not None:
        write_bytes(output, to_csv(numbered(predicted.table, step)))
    _tell(predicted.notes)
    rows = predicted.rows
    if json:
        told_rows = ({**row, **{name: told(row[name], step) for name in ("cutoff", DATE)}} for row in rows.to_dict("records"))
        _print_json({"format": 1, "forecasts": list(told_rows)})
        return
    ends = dict.fromkeys(dated(predicted.table["cutoff"].agg(end), step) for end in ("min", "max"))
    tickers = rows[TICKER].nunique()
    which = ", ".join(rows[TICKER].unique()) if tickers <= NAMED_TICKERS else f"{tickers} tickers"
    _show(f"{which}: forecast from {' to '.join(ends)}, prices in the file's currency")
    if tickers <= MOST_TICKERS:
        _show(tables.forecast_rows(rows, step))
        return
    half = MOST_TICKERS // 2
    _show(tables.forecast_rows(tables.most_and_least(rows, half), step))
    _show(f"The {half} tickers with the highest P(up) and the {half} with the lowest. All: --output FILE, or --json.")


def plot(run: str | None, output: Path | None, picture_format: str) -> None:
    """`stockrnn plot`."""
    for path in recipes.plot(open_run(find_run(run)), output, picture_format):
        print(inert(str(path)))


def explain(run: str | None, output: Path | None, picture_format: str, data: str | None, json: bool) -> None:
    """`stockrnn explain`."""
    opened = open_run(find_run(run))
    with step_progress("explain") as tell:
        explained = recipes.explain_run(opened, output, picture_format, data, tell)
    found = explained.found
    if json:
        _print_json({"run": str(opened.folder), **explained.to_dict()})
        return
    _show(f"{explained.title}: {found.windows:,} windows of the test span, CRPS {found.crps:.4g} in the file's currency")
    _show(tables.importance_table(found.importance))
    if opened.config.model.anchor != "none":
        _show(tables.anchor_text(opened.config.model.anchor, found.anchor))
    for path in explained.pictures:
        print(inert(str(path)))


def inspect(path: str, output: Path | None, overrides: Sequence[str], json: bool) -> None:
    """`stockrnn inspect`."""
    config = load_config(None, overrides)
    prices = recipes.inspect(config.data.model_copy(update={"path": path}), config.asked)
    pictures = recipes.inspection_pictures(prices, path, output) if output is not None else []
    if json:
        _print_json(inspect_document(prices, path))
        return
    from stockrnn.reports import inspection

    for part in inspection.inspection_parts(inspect_document(prices, path), prices.table, prices.step, prices.findings):
        _show(part)
    _tell([f"Picture: {picture}" for picture in pictures] or ["The price plot and the histograms as pictures: add --output DIR."])


def runs_list(json: bool) -> None:
    """`stockrnn runs list`."""
    rows, damaged = [], []
    for folder in list_runs():
        try:
            rows.append(_row(open_run(folder)))
        except (RunDamagedError, StorageError) as error:  # one of many must not hide the others
            damaged.append(f"{folder.name} is left out: {error}")
    _tell(damaged)
    if json:
        _print_json(rows)
    elif rows:
        _show(tables.runs_table(rows))
    else:
        _tell(["No complete run in runs/. `stockrnn train` makes one."])


def runs_show(run: str | None, json: bool) -> None:
    """`stockrnn runs show`."""
    opened = open_run(find_run(run))
    metrics = opened.json("metrics.json")
    if json:
        _print_json({"run": str(opened.folder), "manifest": dict(opened.manifest), "metrics": metrics})
        return
    from stockrnn.reports import evidence_tables

    print(to_yaml(opened.config))
    _print_scores(opened, metrics)
    test = {key: value for key, value in metrics["test"].items() if key != "years" or opened.step != UNDATED}
    tests = evidence_tables.significance_tables(metrics.get("significance", {}), metrics["network"])
    for part in (*evidence_tables.evidence_tables(test, metrics["network"]), *tests):
        _show(part)


def runs_compare(runs: Sequence[str], output: Path | None, json: bool) -> None:
    """`stockrnn runs compare`."""
    found = recipes.compare_runs([open_run(find_run(run)) for run in runs], output)
    if json:
        _print_json(found.to_dict())
        return
    from stockrnn.reports import comparing

    span = found.forecasts["cutoff"]
    names, ends = row_name(found.step, 2), (dated(span.agg(end), found.step) for end in ("min", "max"))
    _show(f"{found.sessions} {names} in common, forecast from {' to '.join(ends)}")
    _show(comparing.comparison_table(found))
    _show(comparing.pairs_table(found))
    _show(tables.verdict(found.sentences))
    _tell([f"Picture: {output}" if output is not None else "A picture of it: add --output FILE."])


def configs_list(json: bool) -> None:
    """`stockrnn configs list`."""
    first_lines = {name: find_config(name).read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for name in shipped_configs()}
    if json:
        _print_json(first_lines)
        return
    for name, line in first_lines.items():
        print(f"{name:28} {line}")


def configs_show(name: str, overrides: Sequence[str], json: bool) -> None:
    """`stockrnn configs show`."""
    config = load_config(name, overrides)
    if json:
        _print_json(config.model_dump(mode="json"))
    else:
        print(to_yaml(config), end="")


def configs_schema() -> None:
    """`stockrnn configs schema`."""
    _print_json(config_schema())


def _settings(config: str | None, data: str | None, overrides: Sequence[str]) -> Config:
    """The config that a command line asks for, by default the shipped one."""
    return _with_data(load_config(config or DEFAULT_CONFIG, overrides), data)


def _resumed(kept: Config, config: str | None, data: str | None, overrides: Sequence[str]) -> Config:
    """What a command line with --resume asks for: of what it does not name, what the unfinished run was begun with."""
    if config is not None:
        return _settings(config, data, overrides)
    return _with_data(override_config(kept, overrides), data) if data is not None or overrides else kept


def _new_folder(run: str | None, config: str | None, suffix: str = "") -> Path:
    """The folder of a new run: the one that --run names, else one named after today, the config and the command."""
    name = f"{find_config(config or DEFAULT_CONFIG).stem}{suffix}"
    return new_run_folder(run, name, dt.datetime.now().astimezone().date())


def _with_data(settings: Config, data: str | None) -> Config:
    """The config with the path of its prices, or of these, made absolute where there is such a file."""
    path = settings.data.path if data is None else data
    if Path(path).exists():  # so that the run's data are found from any folder
        path = str(Path(path).resolve())
    elif glob.glob(path, recursive=True):  # noqa: PTH207 (as `find_files` does)
        path = str(Path(glob.escape(str(Path.cwd()))) / path)
    return settings.model_copy(update={"data": settings.data.model_copy(update={"path": path})})


def _print_scores(run: Run, metrics: dict[str, Any]) -> None:
    test = metrics["test"]
    ends = (spoken(test[end], run.step) for end in ("start", "end"))
    _show(f"Test span {' to '.join(ends)}: {test['n']} forecasts, prices in the file's currency")
    base_rate = test.get("base_rate") if run.config.model.head == "direction" else None
    _show(tables.score_table(test["models"], metrics["network"], base_rate=base_rate, pooled="ticker_skill" in test))
    _show(tables.verdict([*metrics["verdict"], *metrics["alarms"]]))
    _show(f"Run: {run.folder}\nPictures: {run.folder / PLOTS}")


def _row(run: Run) -> dict[str, Any]:
    metrics = run.json("metrics.json")
    scores = metrics["test"]["models"][metrics["network"]]
    facts = {
        "name": run.name,
        "network": metrics["network"],
        "created": run.manifest.get("created"),
        "data": Path(run.config.data.path).name,
    }
    return {**facts, "forecasts": metrics["test"]["n"], **scores}


def _last_instant(asof: str, step: str = "") -> pd.Timestamp:
    """What `--asof` takes in: a day to its end, a time or the number of a session as it is."""
    date = asked_for(asof, "--asof", step)
    with contextlib.suppress(ValueError):
        return pd.Timestamp(dt.datetime.combine(dt.date.fromisoformat(asof), dt.time.max))
    return date


def _show(renderable: Any) -> None:
    tables.show(inert(renderable) if isinstance(renderable, str) else renderable)
    print()


def _iso(date: pd.Timestamp) -> str:
    return date.strftime("%Y-%m-%d" if date == date.normalize() else "%Y-%m-%dT%H:%M:%S")


def _print_json(document: Any) -> None:
    print(inert(jsonlib.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)))


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(inert(line), file=sys.stderr)
