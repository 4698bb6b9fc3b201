"""What neuralforecast does in the comparisons; runs in the peers' environment: peer_neuralforecast.py COMMAND JOB.json.

    train     read the table, train, forecast the test span session by session, save the model, forecast the next session
    predict   load that model, read the table, forecast the next session
    skill     train with early stopping and the best weights, forecast the test span session by session

Prints one JSON document: the work done and the seconds of it.
"""

import collections
import copy
import json
import logging
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import GRU, LSTM
from pytorch_lightning.callbacks import Callback

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
DONE = collections.Counter()
"""Work done, counted by a callback; here, as the libraries copy callbacks."""

CELLS = {"lstm": LSTM, "gru": GRU}
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Count(Callback):
    """Counts updates."""

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        DONE["updates"] += 1


class Best(Callback):
    """Puts the weights of the least validation loss back; the library keeps the last."""

    def __init__(self):
        self.least, self.weights = float("inf"), None

    def on_validation_end(self, trainer, model):
        loss = trainer.callback_metrics.get("ptl/val_loss")
        if loss is not None and not trainer.sanity_checking and float(loss) < self.least:
            self.least, self.weights = float(loss), copy.deepcopy(model.state_dict())

    def on_fit_end(self, trainer, model):
        if self.weights is not None:
            model.load_state_dict(self.weights)


def read(job):
    """The table, long."""
    table = pd.read_csv(job["table"])
    return table.rename(columns={"t": "ds"}).assign(unique_id="series")


def model_of(job, features, seed, **more):
    return CELLS[job["cell"]](
        h=1,
        input_size=job["lookback"],
        encoder_n_layers=1,
        encoder_hidden_size=job["units"],
        decoder_layers=job["decoder_layers"],
        decoder_hidden_size=job["units"],
        hist_exog_list=features,
        loss=MQLoss(quantiles=job["quantiles"]),
        learning_rate=job["learning_rate"],
        windows_batch_size=job["batch"],
        scaler_type="identity",
        max_steps=job["updates"],
        num_lr_decays=-1,
        random_seed=seed,
        alias=f"peer{seed}",
        **QUIET,
        **more,
    )


def write(job, forecasts):
    """The forecasts as t and quantiles, the mean of all networks'."""
    columns = [[name for name in forecasts.columns if name.startswith(f"peer{seed}-")] for seed in job["seeds"]]
    mean = sum(forecasts[names].to_numpy() for names in columns) / len(columns)
    table = pd.DataFrame(mean, columns=[f"q{round(100 * q):02d}" for q in job["quantiles"]])
    table.assign(t=forecasts["ds"].to_numpy()).to_csv(job["forecasts"], index=False)


def fit(job, callbacks, **more):
    """Train, and forecast each session of the test span from the one before. `callbacks` makes a list anew: the library adds to it."""
    table = read(job)
    features = [name for name in table.columns if name not in {"ds", "y", "span", "unique_id"}]
    sizes = {"val_size": int((table["span"] == 1).sum()), "test_size": int((table["span"] == 3).sum())}
    nf = NeuralForecast([model_of(job, features, seed, callbacks=callbacks(), **more) for seed in job["seeds"]], freq=1)
    data = table[["unique_id", "ds", "y", *features]]
    write(job, nf.cross_validation(data, n_windows=None, step_size=1, refit=False, **sizes))
    return nf, data, sizes


def train(job):
    torch.set_num_threads(job["threads"])
    each = job["updates"] // job["epochs"]
    nf, data, sizes = fit(job, lambda: [Count()], val_check_steps=each, early_stop_patience_steps=-1)
    nf.save(job["model"], save_dataset=False, overwrite=True)
    write({**job, "forecasts": job["next"]}, nf.predict(df=data))
    model = nf.models[0]
    return {
        **DONE,
        **sizes,
        "parameters": sum(p.numel() for model in nf.models for p in model.parameters() if p.requires_grad),
        "batch": model.windows_batch_size,
        "lookback": model.input_size,
    }


def predict(job):
    nf = NeuralForecast.load(job["model"])
    table = read(job).drop(columns="span")
    forecast = nf.predict(df=table)
    print(forecast.to_string(), file=sys.stderr)
    return {"rows": len(forecast)}


def skill(job):
    torch.set_num_threads(job["threads"])
    nf, _, sizes = fit(job, lambda: [Best(), Count()], val_check_steps=job["check"], early_stop_patience_steps=job["patience"])
    return {**DONE, **sizes, "parameters": sum(p.numel() for model in nf.models for p in model.parameters())}


if __name__ == "__main__":
    started = time.perf_counter()
    command, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    work = {"train": train, "predict": predict, "skill": skill}[command](job)
    print(json.dumps({**work, "work_s": time.perf_counter() - started}))
