"""Make the golden run of today's format: `python -m tests.golden.make` in the project's folder.

Once a format is released, its run stays as it is.
"""

import json
import shutil
from pathlib import Path

from stockrnn import recipes
from stockrnn.configfile import load_config
from stockrnn.runs.directory import FORMAT
from tests.factories import random_walk

HERE = Path(__file__).parent
SETTINGS = [
    "model.units=[3]",
    "window.lookback=4",
    "train.epochs=3",
    "train.ensemble=2",
    "data.calendar=XNYS",
    "data.path=tests/golden/prices.csv",
]


def make() -> None:
    prices = random_walk(170, seed=7)[["date", "open", "high", "low", "close", "volume"]].round(4)
    prices.to_csv(HERE / "prices.csv", index=False, date_format="%Y-%m-%d")
    folder = HERE / f"format{FORMAT}"
    shutil.rmtree(folder, ignore_errors=True)
    config = load_config("lstm", SETTINGS)
    run = recipes.train(config, folder).run
    for picture in (folder / "plots").iterdir():
        picture.unlink()
    (folder / "plots").rmdir()
    rows = recipes.predict(run, str(HERE / "prices.csv")).rows
    document = [{**row, "date": f"{row['date']:%Y-%m-%d}"} for row in rows.to_dict("records")]
    (HERE / f"format{FORMAT}.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    make()
