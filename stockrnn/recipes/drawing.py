"""`plot`, the pictures of `inspect`, and where those of a run are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stockrnn.dataconfig import NOTHING, Asked, DataConfig
from stockrnn.prices.loading import Prices, load_prices
from stockrnn.prices.sessions import missing_sessions
from stockrnn.reports.inspection import inspection_figures
from stockrnn.reports.plots import render_figures, run_figures, save_figures
from stockrnn.reports.tables import titled
from stockrnn.runs.directory import PLOTS, Run, add_files
from stockrnn.runs.files import read_history
from stockrnn.storage import lock_folder, make_folder
from stockrnn.types import DAILY, TICKER

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(run: Run, output: Path | None, picture_format: str) -> list[Path]:
    """Draw the pictures of a run into its own plots/ (and its manifest), or into another folder."""
    forecasts = run.forecasts()
    history = read_history(run.read("history.csv"))
    config, title = run.config, titled(list(forecasts[TICKER].unique()))
    figures = run_figures(forecasts, history, config.model.cell, title, column=config.target.column, step=run.step)
    return keep_pictures(run, figures, output, picture_format)


def keep_pictures(run: Run, figures: Mapping[str, Figure], output: Path | None, picture_format: str) -> list[Path]:
    """Write pictures into a run's plots/ (and its manifest), or into another folder. Raises StorageError and RunInUseError."""
    if output is None:
        pictures = render_figures(figures, picture_format)
        with lock_folder(run.folder):
            add_files(run, {f"{PLOTS}/{name}": data for name, data in pictures.items()})
        return [run.folder / PLOTS / name for name in pictures]
    make_folder(output)
    return save_figures(figures, output, picture_format)


def inspect(data: DataConfig, asked: Asked = NOTHING) -> Prices:
    """Read a price file, and add to what was found the sessions it lacks against its exchange's calendar.

    Args:
        data: the config's section.
        asked: what features need beside prices.
    """
    prices = load_prices(data, asked)
    if prices.step != DAILY:
        return prices
    return replace(prices, findings=(*prices.findings, *missing_sessions(prices.table, data.calendar, prices.readings[0].path)))


def inspection_pictures(prices: Prices, title: str, output: Path) -> list[Path]:
    """Draw the prices and the histograms of a price file into a folder."""
    make_folder(output)
    return save_figures(inspection_figures(prices.table, Path(title).name, step=prices.step), output, "png")
