"""Variation-aware training against training without variation, tested on unseen dies.

    python -m experiments.defect_aware.run

The network is 784-128-10 for MNIST, with one HfOx cell of 3 to 125 uS per weight (weights linear
over the range, offset and bias digital, one gain per layer), tiles of 64 rows and wires of 1 ohm
per segment. After programming, conductances change as those of a measured 64k chip in a bake at
130 C. Four trainings are compared:

- `plain`: in software.
- `clipped`: in software, with weights clipped at two standard deviations.
- `wires`: through the wires, without variation of the cells.
- `aware`: through the wires and the variation, with a new die at every step, drawn from a model
  fitted to half of the cells (`presets.hfox_bake`, experiments/relaxation).

The schedule is that of experiments/mnist_wires; neither the schedule nor `CLIP` was tuned.

Every network is tested on the same held-out dies: `model`, drawn from the model; and `measured`,
made of the other half of the cells, where every weight takes the measured change of one of the
`NEAREST` cells in conductance. For `retrained`, the last layer of `clipped` is trained again on
some of the measured dies and programmed again, without another bake. Published accuracies on
another measured chip are 93.4 % for training with its statistics, and 85.0 % without (R. Mao et
al., IEEE TCAS-II 69, 2468, 2022, doi:10.1109/TCSII.2022.3160591).
"""

import time
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

import xbarjax as xb
from xbarjax import nn
from xbarjax.variability import AbstractPerturbation

from ..common import keep
from ..mnist_wires.data import mnist
from ..mnist_wires.network import Network, accuracy, batches, in_software, loss, on, wired
from ..mnist_wires.run import BATCH, RATE, STEPS, through
from ..relaxation.run import cells

HERE = Path(__file__).parent
LOW, HIGH, SEGMENT, TILE, CELSIUS = 3e-6, 125e-6, 1.0, 64, 130
CLIP = 2.0  # standard deviations of the weights
SEEDS, DIES, NEAREST = 3, 20, 33
RETRAINED, RETRAIN_STEPS, RETRAIN_RATE = 3, 60, 3e-3  # dies per seed, each trained alone
ARMS = ("plain", "clipped", "wires", "aware")


class Measured(AbstractPerturbation):
    """Perturbation by measured changes: every cell takes the change [S] of a random one of the
    `NEAREST` measured cells in conductance. `g`: sorted conductances of the measured cells [S]."""

    g: jax.Array
    change: jax.Array

    def draw(self, x: Any, key: Any) -> Any:
        return jax.random.randint(key, x.shape, -(NEAREST // 2), NEAREST // 2 + 1)

    def apply(self, x: Any, drawn: Any) -> Any:
        at = jnp.clip(jnp.searchsorted(self.g, x) + drawn, 0, len(self.g) - 1)
        return jnp.maximum(x + self.change[at], 0).astype(x.dtype)


def spanning(weights: jax.Array, clip: float | None) -> nn.Arrays:
    """Arrays with the weights, clipped at `clip` standard deviations, over the whole range."""
    most = jnp.inf if clip is None else clip * jnp.std(weights)
    weights = jnp.clip(weights, -most, most)
    mapping, k = xb.DigitalOffset.spanning(weights, jnp.float32(LOW), jnp.float32(HIGH))
    vary = xb.presets.hfox_bake(CELSIUS)
    arrays = nn.tile(weights, mapping, wired(SEGMENT), max_tile=TILE, k=k, v_read=0.1, vary=vary)
    return arrays.calibrated(weights, columns=False)


def trained(net: Network, data: Any, seed: int, *, aware: bool) -> Network:
    """Training through the wires from the clipped weights, with a new die per step if `aware`."""
    steps = STEPS["published"]
    some = track(batches(data, BATCH, steps, seed), f"aware {aware}, seed {seed}", total=steps)
    training = through(RATE["published"], steps, fresh_dies=aware)
    return nn.fit(training, on(net, lambda w: spanning(w, CLIP)), some).model


def retrained(net: Network, data: Any, seed: int, measured: Measured) -> list[float]:
    """Accuracies on dies of measured cells, with the last layer trained again on each die."""
    found, designed = [], on(net, lambda w: spanning(w, CLIP))
    for key in track(_keys(seed)[:RETRAINED], f"retrained, seed {seed}"):
        die = nn.on_die(nn.varying(designed, measured), key)
        die = Network(die.first, nn.varying(designed.second, None))
        some = batches(data, BATCH, RETRAIN_STEPS, seed)
        found.append(accuracy(nn.fit(_retraining(), die, some).model, data))
    return found


@cache
def _retraining() -> nn.Training:
    rate = optax.cosine_decay_schedule(RETRAIN_RATE, RETRAIN_STEPS)
    return nn.Training(loss, optax.adam(rate), train=nn.only(lambda net: net.second))


def _keys(seed: int) -> list[jax.Array]:
    """Keys of the held-out dies."""
    return [jax.random.fold_in(jax.random.key(10_000 + seed), k) for k in range(DIES)]


def held_out(net: Network, data: Any, seed: int, measured: Measured) -> dict[str, Any]:
    """Accuracy as designed, on dies of the model and on dies of measured cells."""
    dies = lambda net: [accuracy(nn.on_die(net, key), data) for key in _keys(seed)]
    return {
        "as_designed": accuracy(net, data),
        "model": dies(net),
        "measured": dies(nn.varying(net, measured)),
    }


def other_cells() -> Measured:
    """Changes of the half of the cells that the model was not fitted to."""
    before, after = (x[1::2] for x in cells(CELSIUS))
    order = np.argsort(before)
    g, change = before[order], (after - before)[order]
    return Measured(jnp.asarray(g, jnp.float32), jnp.asarray(change, jnp.float32))


def figure(cases: list[dict[str, Any]]) -> Figure:
    made = Figure(figsize=(6, 3.6), layout="constrained")
    panel = made.subplots()
    of = (
        (-0.15, "model", "^", "0.6"),
        (0.15, "measured", "o", "0.0"),
        (0.0, "retrained", "x", "0.0"),
    )
    labels = {"model": "dies of the model", "measured": "dies of measured cells"}
    labels |= {"retrained": "the same, last layer retrained"}
    for k, arm in enumerate(ARMS):
        mine = [case for case in cases if case["arm"] == arm]
        for shift, dies, mark, color in of:
            y = 100 * np.concatenate([case.get(dies, []) for case in mine])
            x = k + shift + np.linspace(-0.1, 0.1, len(y))
            label = labels.pop(dies, None) if len(y) else None
            panel.plot(x, y, mark, color=color, ms=3, mfc="none", label=label)
        y = [100 * case["as_designed"] for case in mine]
        panel.plot([k] * len(y), y, "k_", ms=24, label="as designed" if k == 0 else None)
    panel.set_xticks(range(len(ARMS)), labels=ARMS)
    panel.set(xlabel="training", ylabel="test accuracy [%]")
    panel.legend(fontsize=8, loc="lower right")
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_num_cpu_devices", 2)
    data, measured, cases = mnist(), other_cells(), []
    for seed in range(SEEDS):
        net = in_software(data, seed)
        made = {
            "plain": lambda net=net: on(net, lambda w: spanning(w, None)),
            "clipped": lambda net=net: on(net, lambda w: spanning(w, CLIP)),
            "wires": lambda net=net, seed=seed: trained(net, data, seed, aware=False),
            "aware": lambda net=net, seed=seed: trained(net, data, seed, aware=True),
        }
        for arm in ARMS:
            found = held_out(made[arm](), data, seed, measured)
            if arm == "clipped":
                found |= {"retrained": retrained(net, data, seed, measured)}
            cases.append({"arm": arm, "seed": seed, "software": accuracy(net, data)} | found)
            of = {name: np.mean(x) for name, x in found.items()}
            words = ", ".join(f"{name} {x:.2%}" for name, x in of.items())
            console.print(f"seed {seed}, {arm}: {words}")
    mean = lambda arm: np.mean([case["measured"] for case in cases if case["arm"] == arm])
    over = lambda arm: float(100 * (mean("aware") - mean(arm)))
    gains = {f"aware_over_{arm}_points": over(arm) for arm in ARMS[:3]}
    console.print(gains)
    console.print(keep(HERE, gains | {"cases": cases}, figure(cases), began))


if __name__ == "__main__":
    main()
