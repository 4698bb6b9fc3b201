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
    if title:
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
