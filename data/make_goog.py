"""Write goog.csv from the sample array that matplotlib ships: python data/make_goog.py."""

from pathlib import Path

import pandas as pd
from matplotlib.cbook import get_sample_data

HEADER = {
    "date": "Date",
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
}

with get_sample_data("goog.npz") as archive:
    prices = pd.DataFrame(archive["price_data"]).rename(columns=HEADER)[list(HEADER.values())]
prices.to_csv(Path(__file__).with_name("goog.csv"), index=False, date_format="%Y-%m-%d")
