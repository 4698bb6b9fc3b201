"""What darts does in the comparisons; runs in the peers' environment: peer_darts.py COMMAND JOB.json.

    walk      `historical_forecasts(retrain=True)`: learn anew for each of `folds` forecasts
    skill     train with early stopping and the best weights, forecast the test span session by session

Prints one JSON document: the work done and the seconds of it.
"""

import collections
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from darts import TimeSeries
from darts.models import BlockRNNModel
from darts.utils.likelihood_models import QuantileRegression
from pytorch_lightning.callbacks import Callback, EarlyStopping

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
logging.getLogger("darts").setLevel(logging.ERROR)
DONE = collections.Counter()
"""Work done, counted by a callback; here, as the libraries copy callbacks."""

CELLS = {"lstm": "LSTM", "gru": "GRU"}
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Count(Callback):
    """Counts trainings and updates."""

    def on_train_start(self, trainer, model):
        DONE["refits"] += 1
        DONE["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        DONE["updates"] += 1


def series_of(table):
    """Target and past covariates, float32, on a range index."""
    features = [name for name in table.columns if name not in {"t", "y", "span"}]
    return (TimeSeries.from_values(table[names].to_numpy(np.float32)) for names in (["y"], features))


def model_of(job, seed, callbacks, **more):
    return BlockRNNModel(
        model=CELLS[job["cell"]],
        input_chunk_length=job["lookback"],
        output_chunk_length=1,
        hidden_dim=job["units"],
        n_rnn_layers=1,
        hidden_fc_sizes=job["hidden_fc_sizes"],
        dropout=0.0,
        likelihood=QuantileRegression([float(q) for q in job["quantiles"]]),
        optimizer_kwargs={"lr": job["learning_rate"]},
        batch_size=job["batch"],
        n_epochs=job["epochs"],
        random_state=seed,
        pl_trainer_kwargs={**QUIET, "callbacks": callbacks},
        **more,
    )


def write(job, forecasts):
    """The forecasts as t and quantiles, the mean of all networks'."""
    mean = sum(each.values() for each in forecasts) / len(forecasts)
    names = [f"q{round(100 * q):02d}" for q in job["quantiles"]]
    pd.DataFrame(mean, columns=names).assign(t=forecasts[0].time_index).to_csv(job["forecasts"], index=False)
    return len(mean)


def walk(job):
    torch.set_num_threads(job["threads"])
    target, past = series_of(pd.read_csv(job["table"]))
    forecasts = model_of(job, job["seeds"][0], [Count()]).historical_forecasts(
        target,
        past_covariates=past,
        start=job["start"],
        start_format="position",
        stride=job["stride"],
        forecast_horizon=1,
        retrain=True,
        predict_likelihood_parameters=True,
        last_points_only=True,
        verbose=False,
    )
    return {**DONE, "forecasts": write(job, [forecasts])}


def skill(job):
    torch.set_num_threads(job["threads"])
    table = pd.read_csv(job["table"])
    target, past = series_of(table)
    train, validation, test = (int((table["span"] == span).sum()) for span in (0, 1, 3))
    reach = slice(train - job["lookback"], train + validation)
    made = []
    for seed in job["seeds"]:
        stop = EarlyStopping("val_loss", patience=job["patience"])
        place = {"work_dir": job["folder"], "model_name": f"peer{seed}"}
        model = model_of(job, seed, [Count(), stop], **place, save_checkpoints=True, force_reset=True)
        model.fit(target[:train], past_covariates=past[:train], val_series=target[reach], val_past_covariates=past[reach])
        best = BlockRNNModel.load_from_checkpoint(**place, best=True, trusted=True)
        made.append(
            best.historical_forecasts(
                target,
                past_covariates=past,
                start=len(target) - test,
                start_format="position",
                forecast_horizon=1,
                retrain=False,
                predict_likelihood_parameters=True,
                last_points_only=True,
                verbose=False,
            )
        )
    return {**DONE, "forecasts": write(job, made)}


if __name__ == "__main__":
    started = time.perf_counter()
    command, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    work = {"walk": walk, "skill": skill}[command](job)
    print(json.dumps({**work, "work_s": time.perf_counter() - started}))
