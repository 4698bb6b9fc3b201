"""One epoch of the compiled engine beside stock Keras, PyTorch and a matrix product of as many multiply-adds, interleaved.

    python -m tests.benchmarks.bench_engine [--peers PATH_OF_A_PYTHON_WITH_TORCH] [--only cells shapes grid] [--rounds 9] [--keep]

All but the product have the same windows, weights, order and updates. Each contender is a process of its own that times an
epoch when told to, so that threads and memory do not mix. The losses of the first epoch must agree, else the program stops:
then the contenders did not do the same work. Exit code 1 where a median misses its goal.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import functools
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __package__:  # a contender with PyTorch alone cannot import this, and need not
    from tests.benchmarks.figures import figure, keep, tell

FEATURES = 5
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
GOALS = {"lstm": (0.50, 0.35), "gru": (0.20, 0.20), "simple_rnn": (0.22, 0.15)}
"""Largest ratio allowed to PyTorch and to stock Keras at the reference job."""
PEAK_GOAL, SHAPE_GOAL, GRID_GOALS = 1.25, 0.40, (0.5, 1.0)
"""Largest ratio to what one core's matrix product needs; of other architectures to stock Keras; geometric mean and worst of the grid."""
SHAPES = {
    "bidirectional": {"bidirectional": True},
    "encoder-decoder with attention": {"architecture": "encoder_decoder", "attention": "additive"},
}
TOLERANCE, STEP = 2e-3, 1e-4
"""Of the first epoch's mean loss; and the step size, so small that rounding does not grow beyond it in networks of 256 units."""


def job(cell, units=50, batch=32, timesteps=60, steps=62, layers=2):
    return {"cell": cell, "units": units, "batch": batch, "timesteps": timesteps, "steps": steps, "layers": layers}


def shaped(cell, shape):
    """The reference job with another architecture, both layers' initial weights from one seed instead of from files."""
    return {**job(cell), "shape": SHAPES[shape], "horizon": 5 if "architecture" in SHAPES[shape] else 1}


def grid():
    """The sizes of issue 5, one layer, with fewer updates where one costs more."""
    for cell, units, batch, timesteps in itertools.product(GATES, (16, 64, 256), (32, 256), (20, 60, 250)):
        steps = max(2, round(2e10 / (GATES[cell] * units * (units + FEATURES) * batch * timesteps * 6)))
        yield job(cell, units, batch, timesteps, min(steps, 62), 1)


def multiply_adds(job):
    """Multiply-adds of an epoch: forward, and twice as many backward."""
    units, width = job["units"], [FEATURES] + [job["units"]] * (job["layers"] - 1)
    return 3 * job["steps"] * job["batch"] * job["timesteps"] * GATES[job["cell"]] * units * sum(w + units for w in width)


# ---- data and weights, the same for all: raw float32 files


def write_inputs(job, folder):
    """Series and targets, then each layer's kernel, recurrent kernel and bias in Keras' order, then the head's."""
    rng = random.Random(0)
    rows = job["steps"] * job["batch"] + job["timesteps"]
    units, gates = job["units"], GATES[job["cell"]]
    tensors = [("series", (rows, FEATURES), 1.0), ("targets", (rows, job.get("horizon", 1)), 1.0)]
    for layer in range(job["layers"]):
        width = FEATURES if layer == 0 else units
        bias = (2, gates * units) if job["cell"] == "gru" else (gates * units,)
        scale = 1 / math.sqrt(units)
        tensors += [(f"kernel{layer}", (width, gates * units), scale), (f"recurrent{layer}", (units, gates * units), scale)]
        tensors += [(f"bias{layer}", bias, 0.1)]
    tensors += [("head", (units, 1), 1 / math.sqrt(units)), ("head_bias", (1,), 0.1)]
    for name, shape, scale in tensors:
        array.array("f", (rng.gauss(0, scale) for _ in range(math.prod(shape)))).tofile((folder / name).open("wb"))
        (folder / f"{name}.json").write_text(json.dumps(shape))


def numpy_inputs(folder):
    import numpy as np

    return {p.stem: np.fromfile(p.with_suffix(""), np.float32).reshape(json.loads(p.read_text())) for p in Path(folder).glob("*.json")}


def weights_in_order(inputs, layers):
    names = [f"{kind}{layer}" for layer in range(layers) for kind in ("kernel", "recurrent", "bias")]
    return [inputs[name] for name in (*names, "head", "head_bias")]


# ---- contenders: a function that makes the epoch of a job; the epoch returns its mean loss


def our_network(job, inputs):
    """The network of a job, with its weights."""
    from stockrnn.config import ModelConfig
    from stockrnn.models.networks import NetworkSpec, build_network, network_weights, set_network_weights

    model = ModelConfig(cell=job["cell"], units=(job["units"],) * job["layers"], head="point", **job.get("shape", {}))
    network = build_network(**vars(NetworkSpec(FEATURES, job["timesteps"], job.get("horizon", 1), model)), seed=0)
    if "shape" not in job:
        names = network_weights(network)
        set_network_weights(network, dict(zip(names, weights_in_order(inputs, job["layers"]), strict=True)))
    return network


def our_engine(job, folder, pair=None):
    """An engine that runs a job's windows in their order, from its first weights, and scores nothing."""
    import numpy as np

    from stockrnn.features.windows import Windows
    from stockrnn.models.backend import tf
    from stockrnn.models.seeds import derive_seed
    from stockrnn.training.engine import TrainingSpec, training_engine
    from stockrnn.training.sizes import is_halved

    inputs = numpy_inputs(folder)
    network = our_network(job, inputs)
    halved = is_halved(network.spec.model, FEATURES, job["timesteps"], job["batch"], 1)
    engine = training_engine(TrainingSpec(network.spec, "adam", "mse", job["batch"], clip_norm=1.0, halved=halved))
    wanted = np.arange(job["timesteps"] - 1, len(inputs["series"]) - 1)
    ends = np.empty_like(wanted)
    ends[np.random.default_rng(derive_seed(0, "order", 0, 1)).permutation(len(wanted))] = wanted  # as the first epoch shuffles them
    windows = Windows(inputs["series"], inputs["targets"], ends, job["timesteps"])
    engine.borrow(network, windows, windows, (0, 0), pair=pair)
    rows, weights, steps = engine.score_batches
    engine.score_batches = rows, weights, tf.zeros_like(steps)
    engine.optimizer.learning_rate = STEP
    return engine


OURS = contextlib.ExitStack()
"""What the last job of ours has taken."""


@functools.cache
def second_process():
    """The worker process that stands beside ours, for all jobs."""
    from stockrnn.workers import Local

    return Local(2)


def make_ours(job, folder):
    """The first epoch over and over, with the second process of the product where it has one."""
    from stockrnn.training.pairing import Pair

    OURS.close()
    pair = Pair.first()
    engine = our_engine(job, folder, pair)
    if engine.halves is None:
        pair.close()
    else:
        pair.gone = OURS.enter_context(second_process().beside(stand_beside, (job, folder, pair.address)))
        OURS.callback(pair.close)
    engine.prepare(1)
    while engine.halves is not None and not (pair.is_ready() or pair.gone()):
        time.sleep(0.01)
    return lambda: float(engine.run_epoch(1)["loss"])


def stand_beside(shared, unit, tell):
    """The second process."""
    from stockrnn.training.pairing import Pair, PartedError

    del unit, tell
    job, folder, address = shared
    with contextlib.suppress(PartedError), contextlib.closing(Pair.second(address)) as pair:
        our_engine(job, folder, pair).serve()
    return ""


def make_keras(job, folder):
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np

    inputs = numpy_inputs(folder)
    ends = np.arange(job["timesteps"] - 1, len(inputs["series"]) - 1)
    x = inputs["series"][ends[:, None] + np.arange(1 - job["timesteps"], 1)]
    y = inputs["targets"][ends]
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[job["cell"]]
    stack = [layer(job["units"], return_sequences=k + 1 < job["layers"]) for k in range(job["layers"])]
    net = keras.Sequential([keras.Input((job["timesteps"], FEATURES)), *stack, keras.layers.Dense(1)])
    net.set_weights(weights_in_order(inputs, job["layers"]))
    net.compile(keras.optimizers.Adam(STEP, global_clipnorm=1.0), "mse")
    return lambda: net.fit(x, y, batch_size=job["batch"], shuffle=False, verbose=0).history["loss"][0]


def make_stock(job, folder):
    """Keras' `fit` of the same network, every cell run by Keras' own pass, with TensorFlow's own threads and kernels."""
    import os

    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    import numpy as np

    from stockrnn.models.backend import keras, tf
    from stockrnn.models.cells import stock_layers

    if not make_stock.begun:  # before the first operation alone
        tf.config.threading.set_intra_op_parallelism_threads(0)
        tf.config.threading.set_inter_op_parallelism_threads(0)
        make_stock.begun = True
    inputs = numpy_inputs(folder)
    ends = np.arange(job["timesteps"] - 1, len(inputs["series"]) - 1)
    x, y = inputs["series"][ends[:, None] + np.arange(1 - job["timesteps"], 1)], inputs["targets"][ends][..., None]
    with stock_layers():
        network = our_network(job, inputs)
        network.compile(keras.optimizers.Adam(STEP, global_clipnorm=1.0), "mse")

    def epoch():
        with stock_layers():
            return network.fit(x, y, batch_size=job["batch"], shuffle=False, verbose=0).history["loss"][0]

    return epoch


make_stock.begun = False


def make_torch(job, folder):
    import torch

    torch.set_num_threads(2)
    folder = Path(folder)

    def load(name):
        data = bytearray((folder / name).read_bytes())
        return torch.frombuffer(data, dtype=torch.float32).reshape(json.loads((folder / f"{name}.json").read_text())).clone()

    def in_torch_order(kernel):
        """Keras' GRU gates are z, r, n; PyTorch's r, z, n. The other cells agree."""
        if job["cell"] != "gru":
            return kernel
        z, r, n = kernel.split(job["units"], dim=-1)
        return torch.cat([r, z, n], dim=-1)

    cell = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}[job["cell"]]
    recurrent, head = cell(FEATURES, job["units"], num_layers=job["layers"], batch_first=True), torch.nn.Linear(job["units"], 1)
    with torch.no_grad():
        for k in range(job["layers"]):
            getattr(recurrent, f"weight_ih_l{k}").copy_(in_torch_order(load(f"kernel{k}")).T)
            getattr(recurrent, f"weight_hh_l{k}").copy_(in_torch_order(load(f"recurrent{k}")).T)
            bias = in_torch_order(load(f"bias{k}"))
            getattr(recurrent, f"bias_ih_l{k}").copy_(bias if bias.dim() == 1 else bias[0])
            getattr(recurrent, f"bias_hh_l{k}").copy_(torch.zeros_like(bias) if bias.dim() == 1 else bias[1])
        head.weight.copy_(load("head").T)
        head.bias.copy_(load("head_bias"))
    if job["cell"] != "gru":  # Keras has one bias: the second stays what it is
        for k in range(job["layers"]):
            getattr(recurrent, f"bias_hh_l{k}").requires_grad_(False)
    parameters = [p for p in (*recurrent.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=STEP, eps=1e-7)
    series, targets = load("series"), load("targets")
    x = series.unfold(0, job["timesteps"], 1)[: job["steps"] * job["batch"]].transpose(1, 2).contiguous()
    y = targets[job["timesteps"] - 1 :][: len(x)]

    def epoch():
        total = 0.0
        for first in range(0, len(x), job["batch"]):
            optimizer.zero_grad()
            outputs, _ = recurrent(x[first : first + job["batch"]])
            loss = torch.nn.functional.mse_loss(head(outputs[:, -1]), y[first : first + job["batch"]])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            total += loss.item()
        return total / job["steps"]

    return epoch


def make_peak(job, folder):
    """A square matrix product of about as many multiply-adds as the job's epoch, on one core."""
    import os

    del folder
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    a = np.ones((round(multiply_adds(job) ** (1 / 3)),) * 2, np.float32)
    out = np.empty_like(a)
    return lambda: float(np.matmul(a, a, out=out)[0, 0])


MAKERS = {"ours": make_ours, "keras": make_keras, "stock": make_stock, "torch": make_torch, "peak": make_peak}
TRIES = {"peak": 3}
"""Times of which the least counts, in each round; one for all others."""


def serve(name):
    """Make an epoch for each job on stdin, then time one for each empty line."""
    epoch = None
    for line in sys.stdin:
        if line.strip():
            request = json.loads(line)
            epoch = MAKERS[name](request["job"], request["folder"])
        start = time.perf_counter()
        loss = epoch()
        print(json.dumps([time.perf_counter() - start, loss]), flush=True)


class Contender:
    """A process that times epochs."""

    def __init__(self, name, python):
        command = [python, str(Path(__file__)), "--serve", name]
        root = Path(__file__).parents[2]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root, env=_environment(root)
        )

    def ask(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended early")
        return json.loads(answer)


def _environment(root):
    import os

    return {**os.environ, "PYTHONPATH": str(root)}


def compare(job, contenders, rounds):
    """Seconds of `rounds` epochs of each contender, one after the other in turn."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(job, Path(folder))
        first = {c.name: c.ask(json.dumps({"job": job, "folder": folder}))[1] for c in contenders}
        losses = [loss for name, loss in first.items() if name != "peak"]
        if max(losses) - min(losses) > TOLERANCE * max(losses):
            raise SystemExit(f"{job}: not the same work, first losses {first}")
        seconds = {c.name: [] for c in contenders}
        for _ in range(rounds):
            for c in contenders:
                seconds[c.name].append(min(c.ask()[0] for _ in range(TRIES.get(c.name, 1))))
    return seconds


def ratios(seconds, other):
    """Ours over another's, round by round: median, minimum, maximum."""
    each = rounds_of(seconds, other)
    return statistics.median(each), min(each), max(each)


def report(job, seconds):
    ours = statistics.median(seconds["ours"])
    shape = " ".join(map(str, job.get("shape", {}).values()))
    words = (
        f"{job['cell']} {job['layers']}x{job['units']}, batch {job['batch']}, {job['timesteps']} timesteps, {job['steps']} updates {shape}"
    )
    cells = [words.rstrip(), f"{ours:.3f} s"]
    cells += ["÷ {} {:.2f} ({:.2f}-{:.2f})".format(other, *ratios(seconds, other)) for other in seconds if other != "ours"]
    print(", ".join(cells), flush=True)


def rounds_of(seconds, other):
    return [a / b for a, b in zip(seconds["ours"], seconds[other], strict=True)]


def bench_cells(contenders, rounds):
    """The reference job of each cell."""
    found = []
    for cell, (torch_goal, keras_goal) in GOALS.items():
        each = job(cell)
        seconds = compare(each, [contender for name, contender in contenders.items() if name != "stock"], rounds)
        report(each, seconds)
        if "torch" in seconds:
            found.append(figure("epoch of the reference job ÷ PyTorch `nn`, 2 threads", cell, rounds_of(seconds, "torch"), torch_goal))
        found.append(figure("epoch of the reference job ÷ stock Keras `fit`", cell, rounds_of(seconds, "keras"), keras_goal))
        rate = 2 * multiply_adds(each) / statistics.median(seconds["peak"]) / 1e9
        detail = f"{statistics.median(seconds['ours']):.3f} s; one core's peak {rate:.0f} GFLOP/s"
        times = rounds_of(seconds, "peak")
        found.append(figure("the same ÷ what its multiply-adds need at one core's measured peak", cell, times, PEAK_GOAL, detail=detail))
    return sorted(found, key=lambda each: each.what)


def bench_shapes(contenders, rounds):
    """Other architectures beside the same layers run by Keras."""
    both, found = [contenders["ours"], contenders["stock"]], []
    for shape, cell in itertools.product(SHAPES, ("lstm", "gru")):
        each = shaped(cell, shape)
        seconds = compare(each, both, rounds)
        report(each, seconds)
        found.append(figure(f"the same, {shape} ÷ stock Keras", cell, rounds_of(seconds, "stock"), SHAPE_GOAL))
    return found


def bench_grid(contenders, rounds):
    """Sizes, against PyTorch."""
    chosen, medians = [contenders[name] for name in ("ours", "torch", "peak")], []
    for each in grid():
        seconds = compare(each, chosen, min(rounds, 5))
        report(each, seconds)
        medians.append(statistics.median(rounds_of(seconds, "torch")))
    what = "grid of 18 sizes × 3 cells ÷ PyTorch"
    values = statistics.geometric_mean(medians), max(medians)
    return [figure(what, case, [value], goal) for case, value, goal in zip(("geometric mean", "worst"), values, GRID_GOALS, strict=True)]


PARTS = {"cells": bench_cells, "shapes": bench_shapes, "grid": bench_grid}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=MAKERS)
    parser.add_argument("--peers", type=Path, help="a Python with PyTorch; without it only stock Keras is compared")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    good = True
    with contextlib.ExitStack() as stack:
        pythons = dict.fromkeys(("ours", "keras", "stock", "peak"), sys.executable)
        pythons |= {"torch": options.peers.absolute()} if options.peers else {}
        contenders = {name: Contender(name, python) for name, python in pythons.items()}
        for contender in contenders.values():
            stack.callback(contender.process.kill)
        print(f"Seconds and ratios: median (minimum-maximum) of {options.rounds} rounds.", flush=True)
        for name in options.only or (PARTS if options.peers else ("cells", "shapes")):
            found = PARTS[name](contenders, options.rounds)
            good = tell(found) and good
            if options.keep:
                keep("engine", found, options.peers)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
