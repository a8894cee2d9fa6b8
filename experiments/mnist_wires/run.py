"""MNIST trained through the wires: a 784-128-10 network on tiles of 32 to 784 rows.

    python -m experiments.mnist_wires.run [--only PATTERN] [--cores N]

Cells are of 1 to 40 kohm, wires of 2 ohm per segment, drivers and sense inputs ideal; row voltages
are normalised pixels. A network is trained in software, put on arrays with one of two mappings, and
trained further through the exact circuit. The result is the accuracy of the network after the last
step, on the 10,000 test images and the exact arrays.

Nothing is chosen by test images within a run, but `RATE`, `ZERO` and `SCALE` were first chosen by
test images, on seed 0, at tile 64 and untiled. `choose` compares `RATE` and `ZERO` of `published`
with other values, on images that no result is tested on.

- `published`: one array per tile, weights linear from the lowest to the highest conductance, offset
  and bias digital, one gain per layer (as in the training through an unrolled solver, PUBLISHED).
  For `plain`, the smallest and largest weight of the software network are at the ends of the range.
  Training begins with a weight of 0 at a tenth of the range (untiled, a fiftieth), and changes the
  weights that the ends stand for.
- `pairs`: differential pairs, with rows and columns ordered such that the most important weights
  have the least wire, every tile compensated by the fixed point, then trained.

`--only` runs the cases whose name, like published/64/0 (mapping, tile, seed), matches; results of
all other cases are kept. Computations are in float32; for tiles of up to 128 rows the final
accuracy is also evaluated in float64.
"""

import argparse
import fnmatch
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from xbarjax import nn
from xbarjax.nn import methods

from ..common import machine, write_figure, write_json
from .data import mnist
from .network import accuracy, batches, begun, in_software, loss, on, pairs, spanning

HERE = Path(__file__).parent
BATCH, WARM = 1000, 20
RATE = {"published": 1e-2, "pairs": 3e-3}  # twice as much untiled
ZERO, UNTILED_ZERO, SCALE = 0.1, 0.02, 0.25  # starting points, as parts of the range
STEPS = {"published": 240, "pairs": 120}
SEEDS = {32: (0, 1, 2), 64: (0, 1, 2), 128: (0,), 784: (0,)}
CASES = [
    (mapping, tile, seed) for mapping in STEPS for tile, seeds in SEEDS.items() for seed in seeds
]
# Test accuracies in the training logs of github.com/alambertini01/Crossbar_Models_Comparison
# (crosssim_model, 2025): the same network and wires, through an unrolled clone of CrossSim's fixed
# point. Epochs and early stops differ between runs, and each accuracy is under its own solver.
PUBLISHED = {32: 96.91, 64: 93.29, 128: 90.54, 784: 82.88}


def arrays(mapping: str, tile: int, net: Any, data: Any) -> tuple[Any, Any]:
    """The software network mapped without changes, and the starting point of training."""
    if mapping == "published":
        zero = UNTILED_ZERO if tile == 784 else ZERO
        return on(net, lambda w: spanning(w, tile)), on(net, lambda w: begun(w, tile, zero))
    hardware = pairs(tile, SCALE)
    spread = {784: jnp.std(data["x_train"], axis=0), 128: jnp.ones(128)}
    size = lambda w: jnp.abs(w) * spread[len(w)][:, None]
    make = lambda w: methods.permuted(w, hardware, methods.compensated, size(w))
    return on(net, lambda w: methods.plain(w, pairs(tile))), on(net, make)


def run(mapping: str, tile: int, seed: int, data: Any, progress: Progress) -> dict[str, Any]:
    """Result of one case: accuracies before and after training, losses and times."""
    net = in_software(data, seed)
    plain, model = arrays(mapping, tile, net, data)
    stated: dict[str, Any] = {"mapping": mapping, "tile": tile, "seed": seed}
    stated |= {"software": accuracy(net, data), "plain": accuracy(plain, data)}
    stated["begun"] = accuracy(model, data)
    steps, times, losses = STEPS[mapping], [], []
    task = progress.add_task(f"{mapping}/{tile}/{seed}", total=steps)

    def seen(step: int, value: float) -> None:
        times.append(time.perf_counter())
        losses.append(value)
        progress.update(task, advance=1)

    training = through(RATE[mapping] * (2 if tile == 784 else 1), steps)
    done = nn.fit(training, model, batches(data, BATCH, steps, seed), on_step=seen)
    stated |= {"accuracy": accuracy(done.model, data), "loss": losses, "steps": steps}
    stated["epoch_seconds"] = float(np.median(np.diff(times)) * 60_000 / BATCH)
    stated["ideal_epoch_seconds"] = ideal_epoch(net, data)
    if tile <= 128:
        stated["accuracy_float64"] = in_float64(done.model, data)
    return stated | {"machine": machine()}


@cache
def through(top: float, steps: int, fresh_dies: bool = False) -> nn.Training:
    """Settings shared by all seeds, so that JAX compiles once."""
    rate = optax.warmup_cosine_decay_schedule(top / WARM, top, WARM, steps)
    return nn.Training(loss, optax.adam(rate, b2=0.99), fresh_dies=fresh_dies)


@cache
def in_plain() -> nn.Training:
    return nn.Training(loss, optax.adam(1e-4))


def ideal_epoch(net: Any, data: Any) -> float:
    """Time of an epoch in software [s], with the same batches."""
    times: list[float] = []
    seen = lambda step, value: times.append(time.perf_counter())
    nn.fit(in_plain(), net, batches(data, BATCH, 30, 0), on_step=seen)
    return float(np.median(np.diff(times)) * 60_000 / BATCH)


def in_float64(model: Any, data: Any) -> float:
    """Accuracy with everything in float64."""
    with jax.enable_x64(True):
        wide = lambda x: jnp.asarray(x, jnp.float64) if eqx.is_inexact_array(x) else x
        return accuracy(jax.tree.map(wide, model), data | {"x_test": data["x_test"].astype(float)})


def figure(results: list[dict[str, Any]]) -> Figure:
    made = Figure(figsize=(8, 3.8), layout="constrained")
    panel = made.subplots()
    shown = [
        ("published", "plain", "x", "0.0", "one array per tile, not trained"),
        ("published", "accuracy", "o", "0.0", "one array per tile, trained"),
        ("pairs", "plain", "+", "0.5", "pairs, not trained"),
        ("pairs", "accuracy", "s", "0.5", "pairs, trained"),
    ]
    for mapping, what, mark, color, label in shown:
        mine = [r for r in results if r["mapping"] == mapping]
        if mine:
            y = [100 * (1 - r[what]) for r in mine]
            panel.plot([r["tile"] for r in mine], y, mark, color=color, mfc="none", label=label)
    published = [100 - x for x in PUBLISHED.values()]
    label = "one array per tile, through an\nunrolled solver (published)"
    panel.plot(list(PUBLISHED), published, "k^:", lw=0.8, label=label)
    software = 100 * (1 - np.mean([r["software"] for r in results]))
    panel.axhline(software, color="0.7", lw=0.8, zorder=0, label="software")
    panel.set(xscale="log", yscale="log", ylabel="test error [%]")
    panel.set_xlabel("rows of a tile, at most")
    panel.set_xticks(list(SEEDS), labels=list(map(str, SEEDS)))
    panel.set_yticks([2, 5, 10, 20, 50, 90], labels=["2", "5", "10", "20", "50", "90"])
    panel.minorticks_off()
    made.legend(loc="outside right", fontsize=8)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", given.cores)
    data, console, path = mnist(), Console(), HERE / "result.json"
    for case in CASES:
        name = "/".join(map(str, case))
        if not fnmatch.fnmatch(name, given.only):
            continue
        with Progress(console=console) as progress:
            found = run(*case, data, progress)
        kept = json.loads(path.read_text()) if path.exists() else {"cases": {}}
        kept["cases"] = kept["cases"] | {name: found}
        write_json(path, kept)
        console.print(
            f"{name}: software {found['software']:.2%}, plain {found['plain']:.2%}, begun"
            f" {found['begun']:.2%}, trained {found['accuracy']:.2%}; an epoch"
            f" {found['epoch_seconds']:.0f} s, in software {found['ideal_epoch_seconds']:.1f} s"
        )
    made = figure(list(json.loads(path.read_text())["cases"].values()))
    write_figure(made, HERE / "figure.svg")
    write_figure(made, HERE / "figure.png")


if __name__ == "__main__":
    main()
