"""Forecasts of the return distribution beside those of neuralforecast and darts: the same series, split and inputs.

    python -m tests.benchmarks.bench_skill FOLDER [--peers PATH_OF_THE_PEERS_PYTHON] [--horizon 5] [--cut 0.85] [--series spy gld] [--keep]

FOLDER holds price files, a series each. Ours is `quantile.yaml` as shipped. Peers are the ones that did best before: a GRU of
neuralforecast with MQLoss and without its scaler, whose best weights are put back, and a BlockRNN of darts with quantile
regression; two seeds of each, their quantiles averaged. All learn on the same sessions, stop early on the same, see the
same scaled columns and forecast the test span session by session without learning anew, one step ahead: several steps are forecast
by ours and the classical models alone. Our anchor also knows the place of the
close in its range; peers are not given it (`close_location`), as with it neuralforecast did worse on rows before the last 15 %.

`--cut` keeps the first share of each file's sessions, before anything else sees it: develop with 0.85, so that the last 15 %
stay unread. What was made is kept in `.bench/skill/` and not made again, but ours by other code; a call for some series leaves
the others out of the table. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import stockrnn
from stockrnn.configfile import load_config
from stockrnn.dataconfig import DataConfig
from stockrnn.evaluation.metrics import KEYS
from stockrnn.evaluation.scores import score_table
from stockrnn.evaluation.significance import cosine_count, diebold_mariano, losses_by_date
from stockrnn.prices.loading import load_prices
from stockrnn.types import DATE, FORECAST_TABLE, PRICES, QUANTILES, TICKER, VOLUME
from tests.benchmarks.figures import Figure, figure, keep, tell
from tests.benchmarks.inputs import inputs_of

HERE = Path(__file__).parent
KEPT = Path(".bench") / "skill"
OURS, CONFIG = "quantile.yaml", "quantile"
PEERS = {"neuralforecast GRU": "neuralforecast", "darts BlockRNN": "darts"}
CLASSICAL = ("garch", "har", "naive", "ewma")
COMMON = {"cell": "gru", "units": 32, "learning_rate": 1e-3, "seeds": [1, 2], "threads": 1, "quantiles": list(QUANTILES), "patience": 6}
TUNED: dict[str, dict[str, Any]] = {
    "neuralforecast": {"decoder_layers": 2, "batch": 128, "updates": 2000, "check": 50},
    "darts": {"hidden_fc_sizes": [32], "batch": 64, "epochs": 100},
}
"""What the peers did best with on the validation span of such series."""
SIGNIFICANT = 0.05
STRETCH = 250
"""Sessions in a row over which coverage is measured."""
GARCH_GOALS = {1: 0.985}
"""Largest ratio to `garch` by the number of steps; 1 for others."""


@dataclass(frozen=True)
class Series:
    """A price file, cut, the folder of all that is made from it, and the steps that are forecast."""

    name: str
    folder: Path
    horizon: int

    @property
    def prices(self) -> Path:
        """The prices that all sides read."""
        return self.folder / "prices.csv"

    def once(self, side: str, make: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, float]:
        """The forecast table that a side made, and the seconds it took; made where it is not yet there."""
        table, seconds = self.folder / f"{side}.csv", self.folder / f"{side}.json"
        if not seconds.exists():
            start = time.perf_counter()
            make().to_csv(table, index=False)
            seconds.write_text(json.dumps(time.perf_counter() - start))
        made = pd.read_csv(table, parse_dates=[DATE, "cutoff"])
        return made.assign(**{TICKER: self.name}), json.loads(seconds.read_text())


def series_of(path: Path, cut: float, horizon: int) -> Series:
    """The series of a file. What is kept depends on the file's bytes, the cut and the config."""
    config = load_config(CONFIG, [f"window.horizon={horizon}"])
    content = path.read_bytes() + f"{cut} {config.model_dump_json()} {COMMON} {TUNED}".encode()
    folder = KEPT / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}"
    if not (folder / "prices.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = load_prices(DataConfig(path=str(path))).table
        table.head(round(cut * len(table)))[[DATE, *PRICES, VOLUME]].to_csv(folder / "prices.csv", index=False)
    return Series(path.stem, folder, horizon)


@functools.cache
def our_side() -> str:
    """A name for what this code makes."""
    package = Path(stockrnn.__file__).parent
    return f"ours-{hashlib.sha256(b''.join(path.read_bytes() for path in sorted(package.rglob('*.py')))).hexdigest()[:12]}"


def ours(series: Series) -> pd.DataFrame:
    """Our forecasts of the test span, and those of the classical models, from the shipped command."""
    run = series.folder / f"{our_side()}-run"
    steps = "--set", f"window.horizon={series.horizon}"
    call(sys.executable, "-m", "stockrnn", "train", "--config", CONFIG, *steps, "--data", series.prices, "--run", run)
    network = json.loads((run / "metrics.json").read_text())["network"]
    made = pd.read_csv(run / "forecasts.csv")
    made = made[made["model"].isin((network, *CLASSICAL))]
    return made.assign(model=made["model"].replace({network: OURS}))


def theirs(series: Series, name: str, python: Path) -> pd.DataFrame:
    """A peer's forecasts of the test span."""
    script, folder = PEERS[name], series.folder.absolute()
    config = load_config(CONFIG, [f"data.path={series.prices}"])
    inputs = inputs_of(config)
    job = {
        **COMMON,
        **TUNED[script],
        "lookback": config.window.lookback,
        "folder": str(folder),
        "forecasts": str(folder / f"{script}-q.csv"),
    }
    job["table"] = str(inputs.write(folder / f"{script}-table.csv"))
    (folder / f"{script}-job.json").write_text(json.dumps(job))
    call(python, "-W", "ignore", HERE / f"peer_{script}.py", "skill", folder / f"{script}-job.json")
    return inputs.forecast_table(name, pd.read_csv(job["forecasts"]))


def call(*command: Any) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def forecasts_of(series: Series, python: Path | None) -> tuple[pd.DataFrame, dict[str, float]]:
    """All sides' forecasts of one series, of the same sessions and prices, and the seconds that each took."""
    made, seconds = {}, {}
    made[OURS], seconds[OURS] = series.once(our_side(), lambda: ours(series))
    for name, script in PEERS.items() if python else ():
        made[name], seconds[name] = series.once(script, lambda name=name: theirs(series, name, python))
    mine = made[OURS][made[OURS]["model"] == OURS].set_index(KEYS)["actual"].sort_index()
    for name, table in made.items():
        actual = table[table["model"] == name].set_index(KEYS)["actual"].sort_index()
        if not actual.index.equals(mine.index) or abs(actual / mine - 1).max() > 1e-6:
            raise SystemExit(f"not the same work: {series.name}: {name} forecast other sessions or prices than {OURS}")
    print(f"{series.name:10} " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()), flush=True)
    return pd.concat(made.values(), ignore_index=True)[list(FORECAST_TABLE)], seconds


def score(tables: dict[str, pd.DataFrame], seconds: dict[str, dict[str, float]], horizon: int, title: str) -> list[Figure]:
    """The table of all models, and the figures that have goals."""
    crps = pd.DataFrame({name: {model: row["crps"] for model, row in score_table(table, {}).items()} for name, table in tables.items()})
    ratios = crps / crps.loc["garch"]
    losses = losses_by_date(pd.concat(tables.values(), ignore_index=True), "crps")
    print(f"\n{title}: CRPS ÷ garch\n\n{ratios.T.round(4).to_string()}\n")
    found, steps = [], "one step" if horizon == 1 else f"{horizon} steps"
    for model in ratios.index:
        known = [each[model] for each in seconds.values() if model in each]
        test = None if model == OURS else diebold_mariano(losses[OURS], losses[model], horizon, cosine_count(len(losses), horizon))
        p = "" if test is None else f"   pooled DM of ours against it: t {test.statistic:+.2f}, p {test.p_value:.2g}"
        time_s = f"{sum(known) / len(known):6.1f} s a series" if known else " " * 17
        print(f"{model:20} {ratios.loc[model].mean():.4f}   below garch on {(ratios.loc[model] < 1).sum()} of {len(tables)}   {time_s}{p}")
        if model == OURS:
            continue
        what, case = f"CRPS of `quantile.yaml` ÷ another's, {steps}, mean of {len(tables)} series: {title}", model
        goal = {"garch": GARCH_GOALS.get(horizon, 1.0)}.get(model, 1.0) if model in (*PEERS, "garch") else None
        found.append(figure(what, case, [float((crps.loc[OURS] / crps.loc[model]).mean())], goal, detail=p.strip()))
        if model in PEERS and test is not None:
            found.append(figure(what, f"p of the pooled DM test against {model}", [test.p_value], SIGNIFICANT, detail=p.strip()))
    return found + (also_asked(tables, crps, losses, found[0].what) if horizon == 1 and found else [])


def also_asked(tables: dict[str, pd.DataFrame], crps: pd.DataFrame, losses: pd.DataFrame, what: str) -> list[Figure]:
    """Figures of our one-step forecasts that are more than a mean: the tests, the best rival of each series, and coverage.

    Args:
        tables: the forecast table of each series.
        crps: the CRPS of each model, a row each, on each series, a column each.
        losses: CRPS of each model by date, from `losses_by_date`.
        what: the label of these figures.
    """
    classical = crps.loc[crps.index.intersection(CLASSICAL)]
    below = (crps.loc[OURS] < classical.loc["garch"]).mean()
    found = [
        figure(what, "the best classical model of each series, in hindsight", [float((crps.loc[OURS] / classical.min()).mean())], 0.995),
        figure(what, "share of series below garch", [float(below)], 0.9, at_least=True),
    ]
    for model in ("garch", "har"):
        test = diebold_mariano(losses[OURS], losses[model], 1, cosine_count(len(losses)))
        found += [figure(what, f"p of the pooled DM test against {model}", [test.p_value], 0.01)] if test else []
    inside = [rows.sort_values("cutoff").eval("q05 <= actual <= q95") for rows in (each[each["model"] == OURS] for each in tables.values())]
    points = 100 * abs(sum(each.mean() for each in inside) / len(inside) - 0.9)
    least = min(float(each.rolling(min(STRETCH, len(each))).mean().min()) for each in inside)
    return [
        *found,
        figure(what, "points between the mean coverage of the 90 % interval and 90 %", [float(points)], 1.5),
        figure(what, f"least coverage of {STRETCH} sessions in a row", [least], 0.8, at_least=True),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", type=Path, help="the Python of the peers' environment; without it only ours and the classical models")
    parser.add_argument("--horizon", type=int, default=1, help="steps; peers forecast one")
    parser.add_argument("--cut", type=float, default=1.0, help="share of each file's sessions that is used")
    parser.add_argument("--series", nargs="+", help="names of the files to use, without ending; all by default")
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    files = [path for path in sorted(options.folder.glob("*.csv")) if not options.series or path.stem in options.series]
    if not files:
        raise SystemExit(f"no price file of these names in {options.folder}")
    tables, seconds = {}, {}
    peers = options.peers.absolute() if options.peers and options.horizon == 1 else None
    for path in files:
        series = series_of(path, options.cut, options.horizon)
        tables[series.name], seconds[series.name] = forecasts_of(series, peers)
    title = "last 15 % of each file" if options.cut == 1 else f"last 15 % of the first {100 * options.cut:g} % of each file"
    found = score(tables, seconds, options.horizon, title)
    good = tell(found)
    if options.keep:
        keep("skill", found, peers)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
