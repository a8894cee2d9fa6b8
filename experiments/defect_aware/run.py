"""Training that knows what cells do, against training that does not, on dies that neither has seen.

    python -m experiments.defect_aware.run

A 784-128-10 network for MNIST, one HfOx cell a weight of 3 to 125 uS (weights linear from end to
end, offset and bias digital, one gain a layer), tiles of 64 rows, wires of 1 ohm a segment. After
programming, cells change as those of a measured 64k chip do in a bake at 130 C: `plain` and
`clipped` are the network trained in software, with its weights as they are or within two of their
deviations; `wires` is trained through the wires, without what cells do; `aware` through both, on a
die of its own at every step, drawn from the model that was fitted to half of the cells
(`presets.hfox_bake`, experiments/relaxation). The schedule is that of experiments/mnist_wires;
neither it nor `CLIP` was searched for.

Each is then put on the same held-out dies: drawn from the model, and made of the other half of the
cells, where every weight takes the measured change of one of the `NEAREST` cells in conductance.
`retrained` are some of the latter, once the last layer of `clipped` was trained on that very die
and programmed again (it bakes no more). Published, on a chip that was measured too: 93.4 % for a
training that knows its statistics, 85.0 % for one that does not (R. Mao et al., IEEE TCAS-II 69,
2468, 2022, doi:10.1109/TCSII.2022.3160591).
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
CLIP = 2.0  # deviations
SEEDS, DIES, NEAREST = 3, 20, 33
RETRAINED, RETRAIN_STEPS, RETRAIN_RATE = 3, 60, 3e-3  # dies a seed, each of a training of its own
ARMS = ("plain", "clipped", "wires", "aware")


class Measured(AbstractPerturbation):
    """The change [S] of one of the cells that are nearest in conductance [S], `g` in order."""

    g: jax.Array
    change: jax.Array

    def draw(self, x: Any, key: Any) -> Any:
        return jax.random.randint(key, x.shape, -(NEAREST // 2), NEAREST // 2 + 1)

    def apply(self, x: Any, drawn: Any) -> Any:
        at = jnp.clip(jnp.searchsorted(self.g, x) + drawn, 0, len(self.g) - 1)
        return jnp.maximum(x + self.change[at], 0).astype(x.dtype)


def spanning(weights: jax.Array, clip: float | None) -> nn.Arrays:
    """Weights, clipped at so many deviations, over the whole range."""
    most = jnp.inf if clip is None else clip * jnp.std(weights)
    weights = jnp.clip(weights, -most, most)
    mapping, k = xb.DigitalOffset.spanning(weights, jnp.float32(LOW), jnp.float32(HIGH))
    vary = xb.presets.hfox_bake(CELSIUS)
    arrays = nn.tile(weights, mapping, wired(SEGMENT), max_tile=TILE, k=k, v_read=0.1, vary=vary)
    return arrays.calibrated(weights, columns=False)


def trained(net: Network, data: Any, seed: int, *, aware: bool) -> Network:
    """From the clipped weights on, through the wires, and through a fresh die a step if aware."""
    steps = STEPS["published"]
    some = track(batches(data, BATCH, steps, seed), f"aware {aware}, seed {seed}", total=steps)
    training = through(RATE["published"], steps, fresh_dies=aware)
    return nn.fit(training, on(net, lambda w: spanning(w, CLIP)), some).model


def retrained(net: Network, data: Any, seed: int, measured: Measured) -> list[float]:
    """Accuracies on dies of measured cells, whose last layers were trained again on each."""
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
    """Of held-out dies."""
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
    """The half of the cells that the model was not fitted to."""
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
