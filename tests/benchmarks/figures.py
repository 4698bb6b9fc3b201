"""What benchmarks leave: the figures of all of them in one file, from which the README's table is made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("stockrnn", "tensorflow", "keras", "numpy", "onnxruntime")
PEERS = ("neuralforecast", "darts", "torch")


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes:
        what: what was measured, and against what; the label of a row in the README's table.
        case: which of several of that kind, such as a cell; may be empty.
        low: the least of all rounds.
        median: the median of all rounds.
        high: the largest of all rounds.
        goal: what the median should not exceed, or with `at_least` not fall short of; None where there is no goal.
        at_least: whether more is better.
        detail: how it was done and what was compared, in a sentence.
    """

    what: str
    case: str
    low: float
    median: float
    high: float
    goal: float | None = None
    at_least: bool = False
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.goal is None or (self.median >= self.goal if self.at_least else self.median <= self.goal)

    def text(self) -> str:
        """The median and, where rounds differ, their range."""
        spread = "" if self.low == self.high else f" ({_short(self.low)}–{_short(self.high)})"
        return f"{_short(self.median)}{spread}"


def figure(what: str, case: str, values: Sequence[float], goal: float | None = None, **more: Any) -> Figure:
    """The figure of a value a round."""
    return Figure(what, case, min(values), statistics.median(values), max(values), goal, **more)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def take_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each side gives in each round; within a round they come one after the other."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def tell(found: Iterable[Figure]) -> bool:
    """Print a line for each figure, and say whether all reach their goals."""
    kept = list(found)
    for each in kept:
        goal = "" if each.goal is None else f"   goal {'≥' if each.at_least else '≤'} {each.goal:g}{'' if each.met else '   MISSED'}"
        print(f"{each.what}{f', {each.case}' if each.case else ''}: {each.text()}{goal}   {each.detail}", flush=True)
    return all(each.met for each in kept)


def keep(benchmark: str, found: Iterable[Figure], peers: Path | None = None, results: Path = RESULTS) -> None:
    """Put figures into the results of this machine, in the place of those of the same benchmark, `what` and `case`."""
    document = json.loads(results.read_text()) if results.exists() else {"format": 2, "machines": {}}
    benchmarks = document["machines"].setdefault(machine(), {})
    before = benchmarks.get(benchmark, {"figures": []})
    now = {(each.what, each.case): asdict(each) for each in found}
    old = {(each["what"], each["case"]): each for each in before["figures"]}
    benchmarks[benchmark] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": before.get("versions", {}) | _versions(peers),
        "figures": list((old | now).values()),
    }
    results.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def kept(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The results, by machine and benchmark."""
    return json.loads(results.read_text())["machines"] if results.exists() else {}


def table(results: Path = RESULTS) -> list[tuple[str, ...]]:
    """The README's rows, a header first: what, the goal, and each machine's figures case by case, in bold where they miss it."""
    machines = kept(results)
    rows: dict[str, dict[str, list[Figure]]] = {}
    for name, benchmarks in machines.items():
        for each in (Figure(**each) for document in benchmarks.values() for each in document["figures"]):
            rows.setdefault(each.what, {}).setdefault(name, []).append(each)
    header = "measured: median (least–most of all rounds)", "goal", *(name.partition(",")[0] for name in machines)
    return [
        header,
        *((what, _goals(cases), *(" · ".join(map(_cell, cases.get(name, []))) for name in machines)) for what, cases in rows.items()),
    ]


def caption(results: Path = RESULTS) -> str:
    """When and where it was measured."""
    machines = kept(results)
    documents = [document for benchmarks in machines.values() for document in benchmarks.values()]
    dates = {name: sorted({document["date"] for document in benchmarks.values()}) for name, benchmarks in machines.items()}
    when = [f"{name}, {' to '.join(dict.fromkeys((days[0], days[-1])))}" for name, days in dates.items()]
    versions = {name: version for document in documents for name, version in document["versions"].items()}
    return "; ".join(when) + "; " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()) if name != "stockrnn")


def machine() -> str:
    """Processor, cores and memory."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    name = " ".join(re.sub(r"\((R|TM)\)|CPU|@.*", "", names[0] if names else platform.machine()).split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def _versions(peers: Path | None) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    if peers is None:
        return found
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {PEERS!r}}}))"
    return found | json.loads(subprocess.run([peers, "-c", code], capture_output=True, text=True, check=True).stdout)


def _cell(each: Figure) -> str:
    text = f"{each.case} {each.text()}" if each.case else each.text()
    return text if each.met else f"**{text}**"


def _goals(cases: Mapping[str, Sequence[Figure]]) -> str:
    """The goals of a row, which are the same on every machine."""
    figures = (each for found in cases.values() for each in found if each.goal is not None)
    goals = (f"{'≥' if each.at_least else '≤'} {each.goal:g}" for each in figures)
    return " · ".join(dict.fromkeys(goals))


def _short(value: float) -> str:
    """Two digits behind the point; four of a ratio within 2 % of one, two that count of what is below a hundredth."""
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value - 1) < 0.02 else f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"
