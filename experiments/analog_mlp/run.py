"""An analog perceptron from pixels to volts, trained through its circuit.

    python -m experiments.analog_mlp.run [--steps STEPS] [--scratch STEPS]

The images are those of MNIST, averaged over 2x2 pixels to 14x14, or scikit-learn's digits (8x8)
where XBARJAX_DATA names no folder with MNIST. Pixels are voltages at the rows of a pair of arrays;
`xb.systems.networks.perceptron` makes a network of 32 hidden outputs and 10 output voltages of it:
amplifiers of finite gain, rectifiers of diodes, wires of 1 ohm per segment, and nothing digital
between pixels and outputs. The loss is the cross-entropy of the output voltages over 50 mV.

Weights are trained in software, with ideal products and ReLU, and programmed as differential pairs
of 1 to 100 uS. Then all conductances are trained further through `xb.solve`, by Adam with clipping
to that range. A second network owes nothing to software: its conductances begin at random, and it
sees 50,000 training images, through `xb.solve`, with the cross-entropy over 100 mV. Accuracies are
those on all test images: in software, of the circuit as programmed, as trained further, and as
trained from scratch.

Chips that hold the conductances trained from scratch, with normal errors of 1 % or 5 % of each
conductance, are compared with the circuit without errors on the first 500 test images.

The gradient by all conductances is compared with a difference of the loss, before and after both
trainings. F. Kiani et al. (Sci. Adv. 7, eabj4801 (2021), doi:10.1126/sciadv.abj4801) report 93.63 %
for a two-layer network with analog activations.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xbarjax as xb
from xbarjax import elements as el
from xbarjax.systems import networks
from xbarjax.variability.programming import Programming

from ..common import keep
from ..mnist_wires import data as originals

HERE = Path(__file__).parent
SEED, HIDDEN, CLASSES, BATCH = 0, 32, 10, 50
G_MIN, G_MAX, R_FEEDBACK, R_WIRE = 1e-6, 1e-4, 1e4, 1.0
GAIN, I_S = 1e4, 1e-7  # of amplifiers; of diodes [A]
V_PIXEL, V_BIAS, V_SOFT = 0.2, 0.2, 0.05  # [V] of a white pixel, of the bias, per unit of a score
EPOCHS, RATE = 10, 3e-3  # in software
STEPS, RATE_IN_CIRCUIT = 150, 2e-3  # of a part of the range per step
# from scratch: steps, largest rate; middle of the pairs at the start, as a part of the range, and
# size of their differences over that of He et al. (doi:10.1109/ICCV.2015.123)
STEPS_SCRATCH, RATE_SCRATCH, MIDDLE, SIZE = 1000, 1.4e-2, 0.3, 0.5
V_SOFT_SCRATCH = 0.1  # [V] per unit of a score
ERRORS, CHIPS, CHIP_IMAGES = (0.01, 0.05), 4, 500  # of each conductance

PUBLISHED = 0.9363  # Kiani et al.

ROWS = {
    "software": "in software",
    "programmed": "programmed",
    "trained": "programmed,\ntrained further\nin circuit",
    "scratch": "from scratch\nin circuit",
}

Data = dict[str, Any]
Layers = list[jax.Array]


def images() -> tuple[str, Data]:
    """Name of the data, training and test images as voltages [V], and labels."""
    folder = os.environ.get("XBARJAX_DATA")
    if folder and (Path(folder) / originals.FILE).exists():
        found = originals.mnist()
        for name in ("x_train", "x_test"):
            pixels = found[name] * originals.DEVIATION + originals.MEAN
            pooled = pixels.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196)
            found[name] = V_PIXEL * pooled.astype(float)
        return "MNIST, 14x14", found
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16 * V_PIXEL, y, test_size=0.25, random_state=SEED, stratify=y)
    names = "x_train", "x_test", "y_train", "y_test"
    return "digits, 8x8", {name: np.asarray(x) for name, x in zip(names, parts, strict=True)}


def batches(data: Data, count: int, seed: int):
    """`count` batches of training images and labels, in a new order for every epoch."""
    rng, x, y = np.random.default_rng(seed), data["x_train"], data["y_train"].astype(int)
    order: list[int] = []
    for _ in range(count):
        if len(order) < BATCH:
            order = list(rng.permutation(len(x)))
        mine, order = order[:BATCH], order[BATCH:]
        yield jnp.asarray(x[mine]), jnp.asarray(y[mine])


def cross_entropy(v: jax.Array, y: jax.Array, v_soft: float = V_SOFT) -> jax.Array:
    """Mean cross-entropy of output voltages [V]."""
    return optax.softmax_cross_entropy_with_integer_labels(v / v_soft, y).mean()


def in_software(weights: Layers, x: jax.Array) -> jax.Array:
    """Output voltages [V] of ideal products and ReLU."""
    biased = lambda x: jnp.concatenate([x, jnp.full((len(x), 1), V_BIAS)], axis=1)
    return biased(jax.nn.relu(biased(x) @ weights[0])) @ weights[1]


def trained_in_software(data: Data) -> Layers:
    """Weights that fit the range of conductances."""
    keys = jax.random.split(jax.random.key(SEED))
    shapes = (data["x_train"].shape[1] + 1, HIDDEN), (HIDDEN + 1, CLASSES)
    weights = [
        jax.random.normal(k, s) * np.sqrt(2 / s[0]) for k, s in zip(keys, shapes, strict=True)
    ]
    top, count = R_FEEDBACK * (G_MAX - G_MIN), EPOCHS * len(data["x_train"]) // BATCH
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, count))

    @jax.jit
    def step(weights: Layers, state: Any, x: jax.Array, y: jax.Array) -> tuple[Layers, Any]:
        slope = jax.grad(lambda w: cross_entropy(in_software(w, x), y))(weights)
        change, state = optimiser.update(slope, state)
        moved: Any = optax.apply_updates(weights, change)
        return [jnp.clip(w, -top, top) for w in moved], state

    state = optimiser.init(weights)
    for x, y in batches(data, count, SEED):
        weights, state = step(weights, state, x, y)
    return weights


def at_random(inputs: int) -> Layers:
    """Pairs of conductances around the middle, as parts of their range."""
    rng, parts = np.random.default_rng(SEED), []
    for rows, outputs in (inputs + 1, HIDDEN), (HIDDEN + 1, CLASSES):
        half = rng.normal(size=(rows, outputs)) * SIZE * np.sqrt(2 / rows) / 2
        parts.append(jnp.asarray(np.clip([MIDDLE + half, MIDDLE - half], 0, 1)))
    return parts


def circuit(parts: Layers, x: jax.Array) -> xb.Circuit:
    """The circuit of one image; conductances as parts of their range, from 0 to 1."""
    g = [G_MIN + part * (G_MAX - G_MIN) for part in parts]
    return networks.perceptron(
        g, x, v_bias=V_BIAS, r_feedback=R_FEEDBACK, wires=xb.Wires(R_WIRE, R_WIRE),
        amplifier=partial(el.OpAmp, gain=GAIN), diode=partial(el.Diode, i_s=I_S),
    )  # fmt: skip


@jax.jit
def outputs(parts: Layers, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Output voltages [V] of a batch, and the largest current [A] that Kirchhoff's law misses."""
    one = lambda x: (lambda found: (found.v["y"], found.residual))(xb.solve(circuit(parts, x)))
    v, residual = jax.vmap(one)(x)
    return v, jnp.max(residual)


@jax.jit
def slope(
    parts: Layers, x: jax.Array, y: jax.Array, v_soft: float = V_SOFT
) -> tuple[jax.Array, Layers]:
    """The loss of a batch and its gradient, from pixels through the circuit."""
    one = lambda parts, x: xb.solve(circuit(parts, x)).v["y"]
    v = lambda parts: jax.vmap(one, in_axes=(None, 0))(parts, x)
    return jax.value_and_grad(lambda parts: cross_entropy(v(parts), y, v_soft))(parts)


def accuracy(parts: Layers, x: Any, y: Any, progress: Progress) -> tuple[float, float]:
    """Accuracy of the circuit on some images, and the largest residual [A]."""
    right, worst = 0, 0.0
    for start in progress.track(range(0, len(x), BATCH), description="test"):
        mine = np.arange(start, start + BATCH) % len(x)  # the last batch begins again
        v, residual = outputs(parts, jnp.asarray(x[mine]))
        hits = np.argmax(np.asarray(v), axis=1) == y[mine]
        right += int(hits[: len(x) - start].sum())
        worst = max(worst, float(residual))
    return right / len(x), worst


def differences(parts: Layers, x: jax.Array, y: jax.Array) -> float:
    """Relative error of the gradient against a difference of the loss, for changes of all
    conductances that raise it."""
    rng, (_, by) = np.random.default_rng(SEED), slope(parts, x, y)
    step = [1e-6 * jnp.sign(s) * jnp.asarray(rng.uniform(size=s.shape)) for s in by]
    ahead, back = (
        slope([p + s * d for p, d in zip(parts, step, strict=True)], x, y)[0] for s in (1, -1)
    )
    along = sum(float(jnp.vdot(s, d)) for s, d in zip(by, step, strict=True))
    return abs(2 * along / float(ahead - back) - 1)


def through_the_circuit(
    parts: Layers, data: Data, steps: int, rate: Any, v_soft: float, progress: Progress
) -> tuple[Layers, dict[str, Any]]:
    """Conductances trained through `solve`; the losses and the time on the way."""
    optimiser, losses = optax.adam(rate), []
    state, began, worked = optimiser.init(parts), time.perf_counter(), time.process_time()
    task = progress.add_task("training through the circuit", total=steps)
    for x, y in batches(data, steps, SEED + 1):
        value, by = slope(parts, x, y, v_soft)
        change, state = optimiser.update(by, state)
        moved: Any = optax.apply_updates(parts, change)
        parts = [jnp.clip(part, 0, 1) for part in moved]
        losses.append(float(value))
        progress.update(task, advance=1)
    ended, rested = time.perf_counter(), time.process_time()
    return parts, {"loss": losses, "seconds": ended - began, "core_seconds": rested - worked}


def written(parts: Layers, error: float, key: jax.Array) -> Layers:
    """Conductances of a chip with normal errors, a part of each conductance."""
    vary = Programming(jnp.asarray([0.0, error * G_MAX]), G_MAX)
    keys = jax.random.split(key, len(parts))
    g = [vary(G_MIN + part * (G_MAX - G_MIN), k) for part, k in zip(parts, keys, strict=True)]
    return [(x - G_MIN) / (G_MAX - G_MIN) for x in g]


def chips(parts: Layers, data: Data, progress: Progress) -> dict[str, Any]:
    """Accuracies of the circuit and of chips with errors, on the same images."""
    x, y = data["x_test"][:CHIP_IMAGES], data["y_test"][:CHIP_IMAGES]
    found: dict[str, Any] = {"images": len(x), "exact": accuracy(parts, x, y, progress)[0]}
    found["errors"] = list(ERRORS)
    keys = jax.random.split(jax.random.key(SEED), CHIPS)
    of = lambda error: [accuracy(written(parts, error, k), x, y, progress)[0] for k in keys]
    return found | {"accuracy": [of(error) for error in ERRORS]}


def run(steps: int, steps_scratch: int, progress: Progress) -> dict[str, Any]:
    name, data = images()
    weights = trained_in_software(data)
    hits = jnp.argmax(in_software(weights, jnp.asarray(data["x_test"])), axis=1) == data["y_test"]
    mapping = xb.DifferentialPair(G_MIN, G_MAX)
    programmed = [mapping.program(w, 1 / R_FEEDBACK) for w in weights]
    parts = [(g - G_MIN) / (G_MAX - G_MIN) for g in programmed]
    result: dict[str, Any] = {"data": name, "layers": [p.shape for p in parts]}
    result |= {"batch": BATCH, "images": len(data["x_test"]), "software": float(jnp.mean(hits))}
    x, y = next(batches(data, 1, SEED + 2))
    test = lambda parts: accuracy(parts, data["x_test"], data["y_test"], progress)

    scratch = at_random(data["x_train"].shape[1])
    errors = {"random": differences(scratch, x, y), "programmed": differences(parts, x, y)}
    rate = optax.cosine_onecycle_schedule(
        steps_scratch, RATE_SCRATCH, pct_start=0.2, div_factor=5.0
    )
    scratch, how = through_the_circuit(scratch, data, steps_scratch, rate, V_SOFT_SCRATCH, progress)
    result["from_scratch"] = {"steps": steps_scratch} | how
    result["scratch"], worst = test(scratch)
    progress.console.print(f"from scratch: {100 * result['scratch']:.2f} %")
    result["chips"] = chips(scratch, data, progress)

    result["programmed"], _ = test(parts)
    rate = optax.cosine_decay_schedule(RATE_IN_CIRCUIT, steps)
    parts, how = through_the_circuit(parts, data, steps, rate, V_SOFT, progress)
    result["further"] = {"steps": steps} | how
    result["trained"], residual = test(parts)
    result["residual_A"] = max(worst, residual)
    errors |= {"scratch": differences(scratch, x, y), "trained": differences(parts, x, y)}
    result["differences"] = errors
    v = jnp.linspace(-0.2, 0.2, 81)
    result["activation"] = {"z_V": v, "x_V": activation(v)}
    return result


@jax.jit
def activation(z: jax.Array) -> jax.Array:
    """Voltage [V] of a word line behind the rectifier, over that of an ideal amplifier [V]."""

    def one(z):
        g = [jnp.asarray([[[1e-4]], [[0.0]]]), jnp.full((2, 1, 1), 1e-5)]
        return xb.solve(
            networks.perceptron(
                g, z[None], amplifier=partial(el.OpAmp, gain=GAIN), diode=partial(el.Diode, i_s=I_S)
            )
        ).v["x1"][0]

    return jax.vmap(one)(z)


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(10, 3.4), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    of = {k: 1e3 * np.asarray(x) for k, x in result["activation"].items()}
    left.plot(of["z_V"], of["x_V"], "k-", label="circuit")
    left.plot(of["z_V"], np.maximum(of["z_V"], 0), "--", color="0.6", lw=2.5, label="ideal")
    left.set(xlabel="difference of currents x feedback [mV]", ylabel="next word line [mV]")
    left.set_title("rectifier", fontsize=10)
    left.legend(fontsize=8)
    for key, color, label in (("from_scratch", "0.6", "from scratch"), ("further", "k", "further")):
        loss, width = result[key]["loss"], max(len(result[key]["loss"]) // 20, 1)
        mean = np.convolve(loss, np.ones(width) / width, "valid")
        seen = result["batch"] * (np.arange(len(mean)) + width / 2)
        middle.plot(seen, mean, "-", color=color, label=f"{label}, mean of {width} batches")
    middle.set(xlabel="images through the circuit", ylabel="cross-entropy [1]", yscale="log")
    middle.set_ylim(top=5)  # room for the legend
    middle.legend(fontsize=8, loc="upper right")
    right.plot([100 * result[row] for row in ROWS], list(ROWS.values()), "ko")
    for n, row in enumerate(ROWS):
        right.text(100 * result[row], n - 0.14, f"{100 * result[row]:.2f}", ha="center", fontsize=8)
    right.axvline(100 * PUBLISHED, color="0.6", ls="--", lw=1)
    right.text(100 * PUBLISHED, 0.5, " published", color="0.3", fontsize=8)
    right.set(xlabel="test accuracy [%]", xlim=(93, 98.5), ylim=(3.6, -0.6))
    right.set_title(result["data"], fontsize=10)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="steps through the circuit")
    parser.add_argument("--scratch", type=int, default=STEPS_SCRATCH, help="steps from scratch")
    arguments = parser.parse_args()
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    with Progress(console=console) as progress:
        result = run(arguments.steps, arguments.scratch, progress)
    table = Table("", "accuracy [%]", title=f"{result['data']}: {result['layers']}")
    for row, words in ROWS.items():
        table.add_row(words.replace("\n", " "), f"{100 * result[row]:.2f}")
    found = result["chips"]
    table.add_row(f"from scratch, {found['images']} images", f"{100 * found['exact']:.2f}")
    for error, of_chips in zip(found["errors"], found["accuracy"], strict=True):
        shown = ", ".join(f"{100 * part:.1f}" for part in of_chips)
        table.add_row(f"chips, errors of {100 * error:g} %", shown)
    console.print(table)
    for error in result["differences"].items():
        console.print("gradient against differences: {}, {:.1e}".format(*error))
    for key in ("from_scratch", "further"):
        how = result[key]
        spent = f"{how['seconds']:.0f} s, {how['core_seconds']:.0f} s of a core"
        console.print(f"{key}: {how['steps']} steps, {spent}")
    assert max(result["differences"].values()) < 1e-6, result["differences"]
    console.print(keep(HERE, result, figure(result), began))


if __name__ == "__main__":
    main()
