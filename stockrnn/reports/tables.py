"""What the terminal shows: tables and paragraphs, made with rich.

Every function returns something to print and prints nothing. Text from files becomes `Text`,
which rich never reads as markup, without its control characters: a file can neither colour nor steer a terminal.
"""

from __future__ import annotations

import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from stockrnn.prices.steps import dated, row_name
from stockrnn.types import DAILY, DATE, FILLED, INTRADAY, PRICES, TICKER, VOLUME

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from stockrnn.prices.quality import Finding, Place

NOTHING = "\N{EN DASH}"
PIPE_WIDTH = 100
"""Letters in a line where the output is no terminal and COLUMNS does not say."""
LEAST_WIDTH = 10
"""Letters to which a column of words may be narrowed where a line is too short: a date is whole."""
TITLE_LETTERS = 40
"""Most letters of what a picture's title names."""
ROOMY_WIDTH = 92
"""Letters in a line from which a score table takes two spaces between its columns instead of one."""


def make_console(stream: Any = None) -> Console:
    """A console on a text stream (stdout when None): as wide as its terminal, plain and `PIPE_WIDTH` wide where it is none."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the reader of a pipe left early, which is no fault; rich itself would leave with 1

    target = sys.stdout if stream is None else stream
    encoding, reconfigure = getattr(target, "encoding", None), getattr(target, "reconfigure", None)
    if reconfigure is not None and (encoding or "").lower().replace("-", "") != "utf8":
        reconfigure(errors="replace")
    console = Quiet(file=target, highlight=False, markup=False, emoji=False)
    if not console.width or (not on_terminal(console) and not os.environ.get("COLUMNS", "").isdigit()):  # COLUMNS=0 says nothing
        console.width = PIPE_WIDTH
    return console


def on_terminal(console: Console) -> bool:
    """Whether a console's stream is a terminal: `FORCE_COLOR` lets rich take a pipe for one, which is to have colours, but no bars."""
    return console.is_terminal and console.file.isatty()


def show(renderable: Any, console: Console | None = None) -> None:
    """Print on stdout's console. A table that is wider is printed whole, for the terminal to fold: no digit of a number is cut off."""
    from rich.cells import cell_len
    from rich.table import Table

    console = console or make_console()
    if isinstance(renderable, Table):
        for column in renderable.columns:
            longest = max(cell_len(line) for text in (column.header, *column.cells) for line in str(text).split("\n"))
            column.min_width = longest if column.no_wrap else min(longest, LEAST_WIDTH)
        between = 1 + renderable.padding[1] + renderable.padding[3]
        console.width = max(console.width, sum((column.min_width or 0) + between for column in renderable.columns))
    console.print(renderable, crop=False)


def plain_text(text: object, limit: int | None = None) -> str:
    """Text as one line without control, formatting and unassigned characters, shortened to `limit` letters."""
    kept = "".join(letter for letter in str(text) if letter.isspace() or not unicodedata.category(letter).startswith("C"))
    line = " ".join(kept.split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def titled(tickers: Sequence[str]) -> str:
    """The tickers as the title of a picture: their names where a title has room for them, else how many they are."""
    names = listed(tickers)
    return names if len(tickers) == 1 or len(names) <= TITLE_LETTERS else f"{len(tickers):,} tickers"


def decimals_of(value: float) -> int:
    """How many decimals show a price or score of this size: 2 for 362.71, 0 for 52,300, 7 for 0.0012345."""
    if not math.isfinite(value) or value == 0:
        return 2
    magnitude = math.floor(math.log10(abs(value)))
    return 2 if 1 <= magnitude <= 3 else min(12, max(0, 4 - magnitude))


def number(value: float | None, decimals: int, sign: str = "") -> str:
    """A number with thousands apart; a dash for None and what is not finite."""
    return NOTHING if value is None or not math.isfinite(value) else f"{round(value, decimals) + 0.0:{sign},.{decimals}f}"


COUNTS: Mapping[float, str] = {1e12: "T", 1e9: "B", 1e6: "M", 1e3: "K"}
"""The letters of large counts, largest first."""


def counted(value: float) -> str:
    """A large count in short: 950, 12K, 3.4M, 1.2B, 5T."""
    for unit, letter in COUNTS.items():
        if abs(value) >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def score_table(
    scores: Mapping[str, Mapping[str, float | None]],
    network: str,
    width: int | None = None,
    base_rate: Mapping[str, float | None] | None = None,
    *,
    pooled: bool = False,
) -> Table:
    """The scores of each model, the network's first.

    Args:
        scores: `models` of metrics.json: model, metric, value; None and absent metrics are shown as a dash.
        network: the name of the network.
        width: letters in a line, stdout's when None; below `ROOMY_WIDTH` the columns stand closer.
        base_rate: for a `direction` head, the scores of the base rate of up moves; those of P(up) are then shown.
        pooled: whether they are those of several tickers.
    """
    roomy = (make_console().width if width is None else width) >= ROOMY_WIDTH
    if base_rate is not None:
        scores = {**scores, "base rate": base_rate}
    metrics = DISTRIBUTION_COLUMNS if base_rate is None else DIRECTION_COLUMNS
    table = empty_table(["Model", *(SCORE_COLUMNS[metric][0] for metric in metrics)], left=1, gap=1 if roomy else 0)
    forms = {metric: score_form(metric, scores) for metric in metrics}
    for model in sorted(scores, key=lambda name: name != network):
        cells = [form(scores[model].get(metric)) for metric, form in forms.items()]
        table.add_row(*map(literal, [plain_text(model, 20), *cells]), style="bold" if model == network else "")
    table.caption = "MAE, RMSE, CRPS and width in the prices' currency. Skill against naive: above 0 is better."
    if base_rate is not None:
        table.caption = (
            "Brier score and log loss (nats) of P(up), their skill against the base rate of up moves in the training span; MAE and CRPS "
            "in the prices' currency, their skill against naive. Skill above 0 is better."
        )
    if pooled:
        table.caption += f" {POOLED}"
    table.caption_justify = "left"
    return table


POOLED = "Of several tickers, those of high prices count most in this table; each counts alike in what is said below."
"""Why a table of scores in currency and the tests, whose losses are in units of each ticker's naive loss, may differ."""

SCORE_COLUMNS: Mapping[str, tuple[str, float, int | None]] = {
    "mae": ("MAE", 1.0, None),
    "rmse": ("RMSE", 1.0, None),
    "mape": ("MAPE\n%", 1.0, 2),
    "mase": ("MASE", 1.0, 3),
    "directional_accuracy": ("Right\nway %", 100.0, 1),
    "crps": ("CRPS", 1.0, None),
    "coverage_90": ("90 %\ncover", 100.0, 1),
    "width_90": ("90 %\nwidth", 1.0, None),
    "skill_mae": ("Skill\nMAE %", 100.0, 1),
    "skill_crps": ("Skill\nCRPS %", 100.0, 1),
    "coverage_50": ("50 %\ncover", 100.0, 1),
    "coverage_80": ("80 %\ncover", 100.0, 1),
    "winkler_90": ("90 %\nWinkler", 1.0, None),
    "skill_winkler_90": ("Skill\nWinkler %", 100.0, 1),
    "r2": ("R² of\nreturns %", 100.0, 2),
    "ic": ("IC", 1.0, 3),
    "rank_ic": ("Rank\nIC", 1.0, 3),
    "icir": ("ICIR", 1.0, 3),
    "brier": ("Brier", 1.0, 4),
    "log_loss": ("Log\nloss", 1.0, 4),
    "skill_brier": ("Skill\nBrier %", 100.0, 1),
    "skill_log_loss": ("Skill\nlog l. %", 100.0, 1),
}
"""Each metric's header, factor and decimals; None takes four significant digits of the column's largest value."""

DISTRIBUTION_COLUMNS = (
    *("mae", "rmse", "mape", "mase", "directional_accuracy"),
    *("crps", "coverage_90", "width_90", "skill_mae", "skill_crps"),
)
DIRECTION_COLUMNS = ("brier", "log_loss", "skill_brier", "skill_log_loss", "directional_accuracy", "mae", "crps", "skill_mae", "skill_crps")
"""What is shown of a network, by what its head says."""


def score_form(metric: str, scores: Mapping[str, Mapping[str, float | None]]) -> Callable[[float | None], str]:
    """How a column of scores is written: as `SCORE_COLUMNS` says, and prices under a thousandth with an exponent."""
    _, factor, decimals = SCORE_COLUMNS[metric]
    largest = max((abs(values.get(metric) or 0.0) for values in scores.values()), default=0.0)
    if decimals is None and 0 < largest < 1e-3:
        return lambda value: NOTHING if value is None else f"{value:.2e}"
    if decimals is None:
        decimals = max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 2
    sign = "+" if metric.startswith("skill") else ""
    return lambda value: number(None if value is None else factor * value, decimals, sign)


def anchor_text(kind: str, parts: Mapping[str, float]) -> str:
    """What was left as it is of the anchor that a network starts from, and what its parts add, by name: increases of the CRPS without."""
    words = {"location": "the place of the close in its range", "agenda": "planned closings and recurring news"}
    added = [f"{100 * increase:+.2f} % without {words[name]}" for name, increase in parts.items()]
    text = f"The volatility forecast that the network starts from (`model.anchor: {kind}`) was left as it is."
    return f"{text} The CRPS would change by {' and '.join(added)}." if added else text


def importance_table(rows: pd.DataFrame) -> Table:
    """What the forecast loses without a feature, a group of related ones, or all: `importance` of an explanation."""
    table = empty_table(["Permuted over the windows", "CRPS grows\nby %", "±"], left=1)
    for row in rows.to_dict("records"):
        numbers = number(100 * row["increase"], 2, "+"), number(100 * row["spread"], 2)
        table.add_row(*map(literal, [plain_text(row["name"]), *numbers]), style="" if row["kind"] == "feature" else "dim")
    return table


def forecast_rows(rows: pd.DataFrame, step: str = "") -> Table:
    """The next sessions: step, date, weekday, forecast, 80 % and 90 % interval, P(up).

    Args:
        rows: ticker, step, date, forecast, lower_80, upper_80, lower_90, upper_90 (prices) and p_up (0 … 1).
        step: what the file's rows are apart, by a name in `STEPS`.
    """
    several = rows[TICKER].nunique() > 1
    weekdays = step in {"", DAILY, INTRADAY}
    headers = ["Step", "Date", *["Day"] * weekdays, "Forecast", "80 % interval", "90 % interval", "P(up) %"]
    table = empty_table(["Ticker", *headers] if several else headers, left=1 if several else 0)
    decimals = {ticker: decimals_of(float(group.median())) for ticker, group in rows.groupby(TICKER)["forecast"]}
    for row in rows.to_dict("records"):
        digits = decimals[row[TICKER]]
        intervals = [f"{number(row[f'lower_{level}'], digits)} to {number(row[f'upper_{level}'], digits)}" for level in (80, 90)]
        step_to_day = [str(row["step"]), dated(row[DATE], step), *[f"{row[DATE]:%a}"] * weekdays]
        cells = [*step_to_day, number(row["forecast"], digits), *intervals, number(100 * row["p_up"], 1)]
        table.add_row(*map(literal, [plain_text(row[TICKER], 24), *cells] if several else cells))
    return table


def most_and_least(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """The next sessions of the `count` tickers with the highest P(up) at the last step, and of the `count` with the lowest."""
    last = rows[rows["step"] == rows["step"].max()].sort_values("p_up", ascending=False, kind="stable")[TICKER]
    return rows.set_index(TICKER).loc[[*last.head(count), *last.tail(count)]].reset_index()


def runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """One run a line; each run is a mapping with keys of `RUN_COLUMNS`, absent ones are shown as a dash."""
    table = empty_table([header for header, _ in RUN_COLUMNS.values()], left=4)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for run in runs:
        table.add_row(*(literal(NOTHING if run.get(key) is None else form(run[key])) for key, (_, form) in RUN_COLUMNS.items()))
    return table


RUN_COLUMNS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "name": ("Run", lambda value: plain_text(value, 32)),
    "created": ("Created", lambda value: plain_text(value)[:16].replace("T", " ")),
    "data": ("Data", lambda value: plain_text(value, 24)),
    "network": ("Network", lambda value: plain_text(value, 16)),
    "forecasts": ("Forecasts", lambda value: f"{value:,}"),
    "coverage_90": ("90 %\ncover", lambda value: number(100 * value, 1)),
    "skill_mae": ("Skill\nMAE %", lambda value: number(100 * value, 1, "+")),
    "skill_crps": ("Skill\nCRPS %", lambda value: number(100 * value, 1, "+")),
}
"""What is shown of a run: the key, its header, and how its value is written."""


def findings_table(findings: Iterable[Finding]) -> Table:
    """What is wrong with a price file: how often, where first, and what was done about it; one line says so where nothing is."""
    table = empty_table(["Finding", "Count", "First place", "What was done"], left=4)
    table.columns[1].justify = "right"
    for finding in findings:
        first = _place(finding.places[0]) if finding.places else NOTHING
        table.add_row(*map(literal, [plain_text(finding.kind), f"{finding.count:,}", first, plain_text(finding.action)]))
    if not table.row_count:
        table.add_row(literal("none found"), literal("0"), literal(NOTHING), literal(NOTHING))
    return table


def _place(place: Place) -> str:
    parts = [place.file.replace("\\", "/").rpartition("/")[2], place.row and f"row {place.row:,}", place.date, place.column]
    value = "" if place.value is None else f" = {plain_text(place.value, 24)}"
    return ", ".join(plain_text(part, 40) for part in parts if part) + value


def describe_table(summary: pd.DataFrame) -> Table:
    """The summary made by `inspection.describe`: one row a column of the file."""
    table = empty_table(["Column", *map(str, summary.columns)], left=1)
    for name, row in summary.iterrows():
        decimals = decimals_of(row["max"])
        counts = [number(row[column], 0) for column in ("count", "missing")]
        values = [  # the deviation of one value alone is none
            number(value, decimals) if name in PRICES or not math.isfinite(value) else counted(value) for value in row.iloc[len(counts) :]
        ]
        table.add_row(*map(literal, [str(name), *counts, *values]))
    return table


def price_rows(prices: pd.DataFrame, count: int = 5, step: str = "") -> Table:
    """The first and last `count` rows of a price table, whose file has this step, and a line of dots for those between."""
    several = prices[TICKER].nunique() > 1
    columns = [TICKER] * several + [DATE, *PRICES, VOLUME]
    table = empty_table([name.capitalize() for name in columns], left=1 + several)
    decimals = decimals_of(float(prices[PRICES[-1]].median()))
    forms: dict[str, Callable[[Any], str]] = {
        TICKER: lambda value: plain_text(value, 24),
        DATE: lambda value: dated(value, step),
        VOLUME: lambda value: number(value, 0),
    }
    whole = len(prices) <= 2 * count
    for part in (prices,) if whole else (prices.head(count), prices.tail(count)):
        for row in part.to_dict("records"):
            cells = [forms.get(name, lambda value: number(value, decimals))(row[name]) for name in columns]
            table.add_row(*map(literal, cells), style="dim" if row.get(FILLED) else "")
        if not whole and part.index[0] == prices.index[0]:
            table.add_row(*(literal("…") for _ in columns))
    return table


def tickers_table(tickers: Mapping[str, Mapping[str, Any]], most: int = 10, step: str = "") -> Table:
    """The tickers of a panel and their rows, as `inspect --json` holds them: the `most` with the fewest, which may not be learned."""
    table = empty_table(["Ticker", row_name(step, 2).capitalize(), "First", "Last", "First close", "Last close"], left=1)
    shortest = sorted(tickers.items(), key=lambda item: item[1]["rows"])
    for name, held in shortest[:most]:
        first, last = held["first"], held["last"]
        closes = [number(end["close"], decimals_of(end["close"])) for end in (first, last)]
        dates = [NOTHING if end["date"] is None else end["date"] for end in (first, last)]
        table.add_row(*map(literal, [plain_text(name, 24), f"{held['rows']:,}", *dates, *closes]))
    if left := shortest[most:]:
        table.caption = literal(f"and {len(left):,} more, with {left[0][1]['rows']:,} to {left[-1][1]['rows']:,} {row_name(step, 2)}")
        table.caption_justify = "left"
    return table


def histogram_table(name: str, rows: Iterable[tuple[float, float, int, str]], step: str = "") -> Table:
    """A text histogram made by `inspection.histogram_rows`, under the name and unit of what is counted."""
    table = empty_table(["From", "To", row_name(step, 2).capitalize(), ""], left=0)
    table.title, table.title_justify, table.title_style = literal(name), "left", "bold"
    table.columns[3].justify = "left"
    for low, high, count, drawn in rows:
        table.add_row(*map(literal, [f"{low:,.2f}", f"{high:,.2f}", f"{count:,}", drawn]))
    return table


def facts(pairs: Mapping[str, object]) -> Table:
    """Names and what they stand for, a line each; None is shown as a dash."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        grid.add_row(literal(name), literal(NOTHING if value is None else plain_text(value)))
    return grid


def verdict(sentences: Iterable[str]) -> Table:
    """The verdict, a bullet a sentence, wrapped to the terminal."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row(literal("•"), literal(plain_text(sentence)))
    return grid


def empty_table(headers: Sequence[str], left: int, gap: int = 1) -> Table:
    """An empty table whose first `left` columns are text and whose others are numbers, `gap` + 1 spaces apart."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for place, header in enumerate(headers):
        number_like = place >= left
        table.add_column(literal(header), justify="right" if number_like else "left", vertical="top", no_wrap=number_like, overflow="fold")
    return table


def literal(text: str) -> Text:
    """Text that rich shows as it is."""
    from rich.text import Text

    return Text(text)
