"""The command line: argv → one recipe; errors → one line on stderr and an exit code.

Imports nothing heavy: `--help` must answer at once. Results go to stdout, progress and warnings to stderr.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import tempfile
import traceback
from enum import StrEnum
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Annotated

import typer

from stockrnn import __version__
from stockrnn.errors import InterruptedRunError, StockRNNError, StorageError, inert
from stockrnn.garbage import uncollected
from stockrnn.interrupts import leave_on_signals
from stockrnn.streams import prepare_streams


class PictureFormat(StrEnum):
    """File formats of a picture."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


class Window(StrEnum):
    """What each fold of a backtest learns from."""

    expanding = "expanding"
    rolling = "rolling"


class Baselines(StrEnum):
    """Which baselines stand beside the network in a backtest."""

    default = "default"
    all = "all"


class EngineKind(StrEnum):
    """Where work that can be shared runs."""

    local = "local"
    ray = "ray"


app = typer.Typer(
    help="An honest recurrent-network forecast from any daily price file.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs_app = typer.Typer(help="List, show and compare runs.")
configs_app = typer.Typer(help="List and show configs, and the schema of their keys.")
app.add_typer(runs_app, name="runs")
app.add_typer(configs_app, name="configs")

Config = Annotated[str | None, typer.Option("--config", help="A YAML file, else the name of a shipped config; lstm.yaml by default.")]
Data = Annotated[str | None, typer.Option("--data", help="A price file, folder or glob, instead of the config's.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key of the config; may be repeated.")
]
RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder, else a name in runs/, else the newest there.")]
Engine = Annotated[
    EngineKind,
    typer.Option("--engine", help="`local`: processes on this machine, as train.workers says; `ray`: all cores of a Ray cluster."),
]
Address = Annotated[str | None, typer.Option("--address", help="Address of a running Ray cluster; else Ray starts one on this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def _commands() -> ModuleType:
    with uncollected(lasting=True):
        from stockrnn import commands
    return commands


@app.callback(invoke_without_command=True)
def _root(ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"stockrnn {__version__}")
        raise typer.Exit
    _help_without_command(ctx)


@runs_app.callback(invoke_without_command=True)
@configs_app.callback(invoke_without_command=True)
def _help_without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


@app.command()
def train(
    config: Config = None,
    data: Data = None,
    overrides: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="Folder of the new run; runs/<date>-<config> by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --run, else with the newest in runs/.")
    ] = False,
    engine: Engine = EngineKind.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Train a network, score it beside the baselines and write a run.

    Example: stockrnn train --config lstm.yaml --data prices.csv
    """
    _commands().train(config, data, overrides or [], run, resume, json, {"engine": engine.value, "address": address})


@app.command()
def backtest(
    config: Config = None,
    data: Data = None,
    overrides: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="Folder of the new run; runs/<date>-<config>-backtest by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished backtest in --run, else with the newest in runs/.")
    ] = False,
    folds: Annotated[int | None, typer.Option("--folds", metavar="N", help="Parts of the test span; 10 by default.")] = None,
    refit: Annotated[int | None, typer.Option("--refit", metavar="K", help="Relearn in every K-th fold; in each one by default.")] = None,
    window: Annotated[
        Window | None, typer.Option("--window", help="Learn from all earlier sessions (the default), or from as many as the first fold.")
    ] = None,
    gap: Annotated[
        int | None, typer.Option("--gap", metavar="G", help="Sessions between learning and the first forecast; 0 by default.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="DATE", help="First date of the test span, or its number in a file without dates.")
    ] = None,
    warm_start: Annotated[
        int | None,
        typer.Option("--warm-start", metavar="EPOCHS", help="Start each refit from the last one's weights, for so many epochs."),
    ] = None,
    baselines: Annotated[
        Baselines | None, typer.Option("--baselines", help="`all` adds ARIMA and Theta, which take minutes, to the default ones.")
    ] = None,
    engine: Engine = EngineKind.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Walk forward through the test span fold by fold, relearning from the past before each, and score it beside all baselines.

    Example: stockrnn backtest --folds 50 --refit 10
    """
    plan = {"folds": folds, "refit": refit, "window": window and window.value, "gap": gap, "start": start}
    plan |= {"warm_start": warm_start, "baselines": baselines and baselines.value}
    _commands().backtest(config, data, overrides or [], run, resume, json, plan, {"engine": engine.value, "address": address})


@app.command()
def tune(
    config: Config = None,
    data: Data = None,
    overrides: Set = None,
    space: Annotated[
        str | None, typer.Option("--space", help="A YAML file of what to try, else the name of a shipped one; recommended.yaml by default.")
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", metavar="N", help="Settings to try; 40 by default, without --time.")] = None,
    time: Annotated[float | None, typer.Option("--time", metavar="SECONDS", help="Begin no more trials after so many seconds.")] = None,
    folds: Annotated[int | None, typer.Option("--folds", metavar="N", help="Folds that score each config; 4 by default.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Folder of the search; runs/<date>-<config>-tune by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --run, else with the newest unfinished one in runs/.")
    ] = False,
    engine: Engine = EngineKind.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Search for the settings with the lowest CRPS on the data before the calibration span, and write them as a config.

    Example: stockrnn tune --config lstm.yaml --data prices.csv --trials 40
    """
    effort = {"trials": trials, "time_s": time, "folds": folds}
    _commands().tune(config, data, overrides or [], space, effort, run, resume, json, {"engine": engine.value, "address": address})


@app.command()
def audit(config: Config = None, data: Data = None, overrides: Set = None, json: Json = False) -> None:
    """Change the future of your data and prove, byte by byte, that nothing before it changes.

    A leak is a bug: one line names the stage, and the exit code is 1. The training is shortened to a few epochs.

    Example: stockrnn audit --config lstm.yaml --data prices.csv
    """
    _commands().audit(config, data, overrides or [], json)


@app.command()
def predict(
    run: RunArgument = None,
    data: Data = None,
    asof: Annotated[
        str | None, typer.Option("--asof", metavar="DATE", help="Last date known, or its number in a file without dates.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write the forecast table to this CSV file too.")] = None,
    json: Json = False,
) -> None:
    """Forecast the next sessions after the data's last row.

    Example: stockrnn predict --data prices.csv --asof 2024-06-28
    """
    _commands().predict(run, data, asof, output, json)


@app.command()
def plot(
    run: RunArgument = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder of the pictures; the run's plots/ by default.")] = None,
    picture_format: Annotated[PictureFormat, typer.Option("--format", help="File format.")] = PictureFormat.png,
) -> None:
    """Draw the pictures of a run.

    Example: stockrnn plot --format svg --output pictures
    """
    _commands().plot(run, output, picture_format.value)


@app.command()
def explain(
    run: RunArgument = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder of the pictures; the run's plots/ by default.")] = None,
    picture_format: Annotated[PictureFormat, typer.Option("--format", help="File format.")] = PictureFormat.png,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show which features, and which sessions before the cutoff, a run's network relies on.

    Example: stockrnn explain --output pictures
    """
    _commands().explain(run, output, picture_format.value, data, json)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A price file, folder or glob.")],
    output: Annotated[Path | None, typer.Option("--output", help="Write the price plot and the histograms into this folder.")] = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Show what a price file holds and what is wrong with it.

    Example: stockrnn inspect prices.csv --output pictures
    """
    _commands().inspect(path, output, overrides or [], json)


@runs_app.command("list")
def runs_list(json: Json = False) -> None:
    """List the complete runs in runs/.

    Example: stockrnn runs list
    """
    _commands().runs_list(json)


@runs_app.command("show")
def runs_show(run: RunArgument = None, json: Json = False) -> None:
    """Show what a run was made from and how it scored.

    Example: stockrnn runs show
    """
    _commands().runs_show(run, json)


@runs_app.command("compare")
def runs_compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Two or more runs: each a folder, else a name in runs/.")],
    output: Annotated[Path | None, typer.Option("--output", help="Draw the comparison into this file: .png, .svg or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Compare runs on the sessions that all of them forecast.

    Example: stockrnn runs compare 2024-06-28-lstm 2024-06-28-gru --output comparison.png
    """
    _commands().runs_compare(runs, output, json)


@configs_app.command("list")
def configs_list(json: Json = False) -> None:
    """List the shipped configs.

    Example: stockrnn configs list
    """
    _commands().configs_list(json)


@configs_app.command("show")
def configs_show(
    name: Annotated[str, typer.Argument(help="A shipped name, or a YAML file.")] = "lstm.yaml",
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Print a config with every default filled in.

    Example: stockrnn configs show gru.yaml --set model.units=[64]
    """
    _commands().configs_show(name, overrides or [], json)


@configs_app.command("schema")
def configs_schema() -> None:
    """Print the JSON Schema of a config, for editors.

    Example: stockrnn configs schema > stockrnn.schema.json
    """
    _commands().configs_schema()


def main() -> None:
    """Run the command line and leave with its exit code."""
    if os.name != "posix":  # locks and atomic writes need POSIX
        _leave("The system must be Linux or macOS. Received: Windows. Run it in WSL 2: https://learn.microsoft.com/windows/wsl/install", 2)
    sys.excepthook = _report_bug
    atexit.register(_end)  # first, so that it is called last
    prepare_streams()
    leave_on_signals()
    try:
        code = typer.main.get_command(app)(standalone_mode=False)  # not `app()`, which would take the excepthook back
        sys.stdout.flush()
    except InterruptedRunError as error:
        _say(str(error))
        os._exit(error.exit_code)  # all is on disk; unloading TensorFlow would take seconds
    except StockRNNError as error:
        _leave(str(error), error.exit_code)
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        hint = f" See `{where.command_path} --help`." if where else ""
        _leave(f"{error.format_message().rstrip('.')}.{hint}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _leave("Interrupted.", 130)
    except BrokenPipeError:  # the reader of a pipe left early, as in `| head`
        os._exit(0)  # any other exit would flush into the closed pipe
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer turns it into exit code 1
            os._exit(0)
        raise
    except OSError as error:  # such as a full disk behind standard output
        _leave(f"{error.filename or 'The output'} must be readable and writable. Received: {error.strerror or error}.", 5)
    _exit(code if isinstance(code, int) else 0)


_codes: list[int] = []
"""The exit code, once a command is done or has failed."""


def _end() -> None:
    """Leave at once, after all other exit handlers: unloading TensorFlow would take 0.2 s, or hang."""
    if _codes:
        with contextlib.suppress(OSError):  # a full disk, which was reported before
            sys.stdout.flush()
        os._exit(_codes[0])


def _exit(code: int) -> None:
    gc.freeze()  # the process ends: nothing is worth collecting
    _codes.append(code)
    sys.exit(code)


def _leave(message: str, code: int) -> None:
    _say(message)
    _exit(code)


def _say(message: str) -> None:
    typer.echo(f"stockrnn: {inert(' '.join(message.split()))}", err=True)


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from stockrnn.storage import write_text

    log = Path(tempfile.gettempdir()) / f"stockrnn-error-{os.getuid()}.log"
    where = f"The traceback is in {log}"
    try:
        write_text(log, "".join(traceback.format_exception(kind, error, trace)))
    except StorageError:
        where = f"Its traceback could not be kept in {log}"
    _codes.append(1)
    _say(f"this is a bug ({kind.__name__}: {' '.join(str(error).split())[:200]}). {where}.")
