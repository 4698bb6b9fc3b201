"""What the terminal shows of a run's evidence: its intervals, its scores by step, year and ticker, and runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stockrnn.reports.tables import SCORE_COLUMNS, empty_table, listed, literal, number, plain_text, score_form

if TYPE_CHECKING:
    from rich.table import Table

Scores = Mapping[str, float | None]
MOST_ROWS = 12
"""Most groups of a kind that are shown."""
INTERVALS = (
    "coverage_50",
    "coverage_80",
    "coverage_90",
    "winkler_90",
    "skill_winkler_90",
    "r2",
    "brier",
    "log_loss",
    "ic",
    "rank_ic",
    "icir",
)
OF_A_GROUP = ("mae", "crps", "skill_mae", "skill_crps", "coverage_90", "width_90", "directional_accuracy")
OF_A_TICKER = ("mape", "mase", "skill_mae", "skill_crps", "skill_winkler_90", "coverage_80", "coverage_90", "directional_accuracy")
"""Without unit: prices of unlike tickers do not compare."""
OF_ONE_STEP = {
    "pesaran_timmermann": ("Direction\np", "direction", "more right ones than base rates give (Pesaran-Timmermann)"),
    "kupiec": ("Coverage\np", "coverage", "other than 90 % inside the 90 % interval (Kupiec)"),
    "christoffersen": ("Clusters\np", "clusters", "that, or misses that follow each other (Christoffersen)"),
}
"""Tests of one-step forecasts: their headers, their names in a sentence, and what a small p tells of."""
SIGNIFICANT = 0.05


def evidence_tables(test: Mapping[str, Any], network: str) -> Iterator[Table | str]:
    """What `runs show` adds to the scores, from `test` of metrics.json; a run of before these were scored has nothing.

    Args:
        test: the scores of the test span.
        network: the name of the network.
    """
    models = test["models"]
    known = [metric for metric in INTERVALS if any(scores.get(metric) is not None for scores in models.values())]
    if set(known) - {"coverage_90", "r2"}:
        order = sorted(models, key=lambda name: name != network)
        yield metric_table("Model", {model: models[model] for model in order}, known, bold=network)
    for kind in ("step", "year", "ticker"):
        groups = test.get(f"{kind}s", {})
        rows = {key: table[network] for key, table in groups.items() if network in table}
        if 1 < len(rows) <= MOST_ROWS:
            yield metric_table(kind.capitalize(), rows, _shown_of(kind), title=f"{network} by {kind}")
        elif len(rows) > MOST_ROWS:
            yield _summary(kind, rows, network)
    if "ticker_skill" in test and not 1 < len(test.get("tickers", {})) <= MOST_ROWS:
        yield _ticker_summary(test["ticker_skill"])
    lacking = {metric: why for metric, why in test.get("undefined", {}).items() if metric in SCORE_COLUMNS}
    if lacking:
        told = "; ".join(f"{metric.replace('_', ' ')}: {why}" for metric, why in lacking.items())
        yield f"Where a dash stands, a score is not defined. {told}."


def significance_tables(tests: Mapping[str, Any], network: str) -> Iterator[Table | str]:
    """The tests of a run, from `significance` of metrics.json: of each loss against each baseline, then of each ticker, one step ahead.

    Args:
        tests: what `significance_document` made.
        network: the name of the network.
    """
    if rivals := tests.get("diebold_mariano"):
        yield _rivals_table(rivals, tests.get("skill_interval_95", {}), network)
    named = {name: tests[name] for name in OF_ONE_STEP if tests.get(name)}
    tickers = list(next(iter(named.values()), {}))
    if not tickers:
        return
    if len(tickers) > MOST_ROWS:
        counts = [f"{OF_ONE_STEP[name][1]} {_below(outcomes)} of {len(outcomes)}" for name, outcomes in named.items()]
        yield f"One-step tests with p below 0.05, corrected by Holm for all tickers: {', '.join(counts)}. All: metrics.json."
        return
    table = empty_table(["Ticker", *(OF_ONE_STEP[name][0] for name in named)], left=1)
    for ticker in tickers:
        cells = [p_cell((outcomes.get(ticker) or {}).get("p_holm")) for outcomes in named.values()]
        table.add_row(*map(literal, [plain_text(ticker, 32), *cells]))
    yield _titled(table, f"Tests of {network}, one step ahead")
    meant = "; ".join(f"{header.partition(chr(10))[0].lower()}: {meaning}" for header, _, meaning in map(OF_ONE_STEP.__getitem__, named))
    lacking = [f"{OF_ONE_STEP[name][1]}: {why}" for name, why in tests.get("undefined", {}).items() if name in named]
    dash = f" Where a dash stands, a test is not defined: {'; '.join(lacking)}." if lacking else ""
    yield f"p, corrected by Holm for all tickers, that there is no more to it than luck. {meant[0].upper()}{meant[1:]}.{dash}"


def _rivals_table(rivals: Mapping[str, Any], intervals: Mapping[str, Any], network: str) -> Table:
    """A row a baseline: Diebold-Mariano statistics and Holm's p, by loss."""
    losses = {"squared": "Squared\nt", "absolute": "Absolute\nt", "crps": "CRPS\nt"}
    table = empty_table(["Against", *(header for loss in losses.values() for header in (loss, "p"))], left=1)
    for rival, outcomes in rivals.items():
        found = [outcomes.get(loss) or {} for loss in losses]
        cells = [text for each in found for text in (number(each.get("statistic"), 2, "+"), p_cell(each.get("p_holm")))]
        table.add_row(*map(literal, [plain_text(rival, 20), *cells]))
    known = {"CRPS" if loss == "crps" else loss: ends for loss, ends in intervals.items() if ends and loss in losses}
    spans = [f"{loss} {_percent(low)} to {_percent(high)}" for loss, (low, high) in known.items()]
    table.caption = "t below 0: the network loses less. p corrected by Holm for all in this table."
    table.caption += f" Skill against naive, 95 % bootstrap intervals: {', '.join(spans)}." if spans else ""
    table.caption_justify = "left"
    return _titled(table, f"Diebold-Mariano tests of {network}, by loss")


def _below(outcomes: Mapping[str, Any]) -> int:
    return sum(each is not None and each["p_holm"] < SIGNIFICANT for each in outcomes.values())


def p_cell(value: float | None) -> str:
    """A p-value as a table gives it."""
    return number(value, 3) if value is None or value >= 0.001 else "<0.001"


def metric_table(kind: str, rows: Mapping[str, Scores], metrics: Sequence[str], *, bold: str = "", title: str = "") -> Table:
    """Scores, a row a model or group: a dash where one is None or absent.

    Args:
        kind: what the rows are.
        rows: the scores of each row, by its name.
        metrics: keys of `SCORE_COLUMNS`.
        bold: the name of the row that stands out.
        title: above the table.
    """
    table = empty_table([kind, *(SCORE_COLUMNS[metric][0] for metric in metrics)], left=1)
    forms = {metric: score_form(metric, rows) for metric in metrics}
    for name, scores in rows.items():
        cells = [form(scores.get(metric)) for metric, form in forms.items()]
        table.add_row(*map(literal, [plain_text(name, 32), *cells]), style="bold" if name == bold else "")
    return _titled(table, title) if title else table


def _titled(table: Table, title: str) -> Table:
    table.title, table.title_justify, table.title_style = literal(plain_text(title)), "left", "bold"
    return table


def _summary(kind: str, rows: Mapping[str, Scores], network: str) -> Table:
    """The best and the worst of more steps or years than are shown; of tickers, metrics.json has a summary of its own."""
    ranked = sorted((key for key in rows if rows[key].get("skill_crps") is not None), key=lambda key: -(rows[key]["skill_crps"] or 0.0))
    half = MOST_ROWS // 2
    shown = {key: rows[key] for key in dict.fromkeys([*ranked[:half], *ranked[-half:]])}
    return metric_table(
        kind.capitalize(), shown, _shown_of(kind), title=f"{network} by {kind}: best and worst {half} of {len(rows)} by CRPS skill"
    )


def _shown_of(kind: str) -> tuple[str, ...]:
    return OF_A_TICKER if kind == "ticker" else OF_A_GROUP


def _ticker_summary(skill: Mapping[str, Any]) -> str:
    ends = {end: [f"{plain_text(ticker, 16)} {_percent(value)}" for ticker, value in skill[end].items()] for end in ("best", "worst")}
    positive = f"above 0 for {skill['above_0']} of {skill['tickers']}, median {_percent(skill['median'])}"
    return f"CRPS skill by ticker: {positive}; best {listed(ends['best'])}; worst {listed(ends['worst'])}. All: scores.csv."


def _percent(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{number(100 * value, 1, '+')} %"
