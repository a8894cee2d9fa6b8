"""Demo: a digits classifier on arrays with real wires, before and after compensation.

Trains 64-128-10 networks on the 8x8 digits bundled with scikit-learn, maps both layers to arrays
at full scale, and measures test accuracy and product error in software, on ideal wires, without
compensation, with a linear calibration per column, and with compensated conductances.

    python -m experiments.digits.run --out out
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

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

from ..common import keep, write_arrays

ROWS = ("software", "ideal wires", "uncompensated", "linear calibration", "compensated")


class Case(NamedTuple):
    """Device and wires: resistances [ohm] of a cell in its on and off state, and per segment."""

    name: str
    r_on: float
    r_off: float
    r_wire: float


CASES = (Case("1 to 40 kohm, 2 ohm", 1e3, 40e3, 2.0), Case("1 to 100 uS, 1 ohm", 1e4, 1e6, 1.0))


class Layer(NamedTuple):
    weights: jax.Array
    bias: jax.Array


def digits(seed: int):
    """Training and test pixels in [0, 1], and labels; a quarter of the images is for the test."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=0.25, random_state=seed, stratify=y)
    return [jnp.asarray(part) for part in parts]


def forward(layers: list[Layer], x):
    """Class scores; ReLU between the layers."""
    *hidden, last = layers
    for layer in hidden:
        x = jax.nn.relu(x @ layer.weights + layer.bias)
    return x @ last.weights + last.bias


def train(seed: int, x, y, epochs: int = 100, batch: int = 64) -> list[Layer]:
    """A 64-128-10 network, trained by Adam with a rate of 1e-3 on the cross-entropy.

    Weights are clipped at 2.5 standard deviations of their layer, as is usual for analog arrays.
    Without clipping, a few outliers would put most cells near the bottom of the range.
    """
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = ((64, 128), (128, 10))
    layers = [
        Layer(jax.random.normal(key, shape) / np.sqrt(shape[0]), jnp.zeros(shape[1]))
        for key, shape in zip(keys, shapes)
    ]
    optimiser = optax.adam(1e-3)

    def loss(layers, i):
        scores = forward(layers, x[i])
        return optax.softmax_cross_entropy_with_integer_labels(scores, y[i]).mean()

    @jax.jit
    def epoch(layers, state, key):
        order = jax.random.permutation(key, len(x))[: len(x) // batch * batch]

        def step(carry, i):
            layers, state = carry
            updates, state = optimiser.update(jax.grad(loss)(layers, i), state)
            layers = optax.apply_updates(layers, updates)
            return ([Layer(_clip(w), bias) for w, bias in layers], state), None

        return jax.lax.scan(step, (layers, state), order.reshape(-1, batch))[0]

    state = optimiser.init(layers)
    for key in jax.random.split(keys[2], epochs):
        layers, state = epoch(layers, state, key)
    return layers


def _clip(weights):
    return jnp.clip(weights, *(jnp.array([-2.5, 2.5]) * jnp.std(weights)))


def on_arrays(layers: list[Layer], case: Case, mapping, x_train, on_step) -> dict:
    """The network on arrays: layers for every row of the table, and the compensations."""
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(case.r_wire, case.r_wire))
    ideal = lambda g: xb.Crossbar(xb.Ohmic(g))
    found = {"software": layers} | {name: [] for name in ROWS[1:]}
    programmed = []
    seen = x_train[:1000]  # random training images for the calibration
    for layer in layers:
        k = mapping.siemens_per_weight(layer.weights)
        plain = mapping.program(layer.weights, k)
        effective = lambda build, g: mapping.combine(jnp.stack([xb.transfer(build(a)) for a in g]))
        found["ideal wires"].append(Layer(effective(ideal, plain) / k, layer.bias))
        real = effective(build, plain) / k
        found["uncompensated"].append(Layer(real, layer.bias))

        inputs = seen
        for before in found["linear calibration"]:  # inputs from the calibrated layers before
            inputs = jax.nn.relu(inputs @ before.weights + before.bias)
        fit = xb.calibrate(inputs @ real, inputs @ layer.weights)
        calibrated = Layer(real * fit.gain, layer.bias + fit.offset)
        found["linear calibration"].append(calibrated)

        answer = xb.compensate(
            layer.weights, mapping, build, method=xb.FixedPoint(rtol=1e-4), on_step=on_step
        )
        products = effective(build, answer.g) / (k * answer.gain)
        found["compensated"].append(Layer(products, layer.bias))
        programmed.append(answer)
    return found | {"programmed": programmed}


def measure(found: dict, layers: list[Layer], x, y) -> dict[str, tuple[float, float]]:
    """Test accuracy [%] and relative rms error of the hidden products, for every row."""
    wanted = x @ layers[0].weights
    rows = {}
    for name in ROWS:
        network = found[name]
        accuracy = 100 * jnp.mean(jnp.argmax(forward(network, x), axis=1) == y)
        first = network[0]
        products = x @ first.weights + first.bias - layers[0].bias
        error = jnp.linalg.norm(products - wanted) / jnp.linalg.norm(wanted)
        rows[name] = (float(accuracy), float(error))
    return rows


def run(seeds: int, progress: Progress) -> tuple[dict, dict]:
    """Results of both cases with differential pairs, and of the first one with a single array."""
    jobs = [(case, xb.DifferentialPair) for case in CASES] + [(CASES[0], xb.OffsetColumn)]
    results, arrays = [], {}
    bar = progress.add_task("training", total=seeds * len(jobs) * 2)
    trained = []
    for seed in range(seeds):
        x_train, x_test, y_train, y_test = digits(seed)
        trained.append((train(seed, x_train, y_train), x_train, x_test, y_test))
    for case, kind in jobs:
        mapping = kind(1 / case.r_off, 1 / case.r_on)
        runs, reports = [], []
        for seed, (layers, x_train, x_test, y_test) in enumerate(trained):
            name = f"{kind.__name__}, {case.name}, seed {seed}"
            report = lambda step, error, name=name: progress.update(
                bar, description=f"{name}: step {step + 1}, error {error:.1e}"
            )
            found = on_arrays(layers, case, mapping, x_train, report)
            runs.append(measure(found, layers, x_test, y_test))
            for n, answer in enumerate(found["programmed"]):
                key = f"{kind.__name__}_{'ABC'[CASES.index(case)]}_seed{seed}_layer{n}"
                arrays |= {f"{key}_g": answer.g, f"{key}_gain": answer.gain}
                reports.append(
                    {
                        "seed": seed,
                        "layer": n,
                        "weights_rms_before": answer.before.rms,
                        "weights_rms_after": answer.after.rms,
                        "gain_min": jnp.min(answer.gain),
                        "gain_max": jnp.max(answer.gain),
                        "saturated": jnp.sum(answer.after.saturated),
                        "steps": len(answer.history),
                        "reached": answer.reached,
                    }
                )
                progress.advance(bar)
        results.append(
            {
                "case": case._asdict(),
                "mapping": kind.__name__,
                "accuracy": {row: [r[row][0] for r in runs] for row in ROWS},
                "product_error": {row: [r[row][1] for r in runs] for row in ROWS},
                "compensation": reports,
            }
        )
    return {"tables": results, "seeds": seeds}, arrays


def show(result: dict, console: Console) -> None:
    """Prints medians over seeds, one table per mapping."""
    for kind, title in (
        ("DifferentialPair", "Differential pairs, full scale"),
        ("OffsetColumn", "A single array with an offset column, full scale"),
    ):
        blocks = [t for t in result["tables"] if t["mapping"] == kind]
        table = Table(title=f"{title} (median of {result['seeds']} seeds)")
        table.add_column("64-128-10 on digits")
        for block in blocks:
            table.add_column(f"{block['case']['name']}\naccuracy [%]", justify="right")
            table.add_column("product\nerror", justify="right")
        for row in ROWS:
            cells = []
            for block in blocks:
                cells.append(f"{np.median(block['accuracy'][row]):.1f}")
                cells.append(f"{np.median(block['product_error'][row]):.1e}")
            table.add_row(row, *cells)
        console.print(table)


def draw(result: dict) -> Figure:
    """Accuracy of every row, one panel per table; dots are seeds, bars are medians."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, len(result["tables"]), sharey=True)
    for axis, block in zip(axes, result["tables"]):
        medians = [np.median(block["accuracy"][row]) for row in ROWS]
        axis.barh(ROWS, medians, color="0.75", edgecolor="0.2")
        for n, row in enumerate(ROWS):
            axis.plot(block["accuracy"][row], [n] * result["seeds"], "k.", markersize=5)
            axis.text(medians[n] - 1, n, f"{medians[n]:.1f}", va="center", ha="right", fontsize=8)
        kind = "pair" if block["mapping"] == "DifferentialPair" else "single array"
        axis.set_title(f"{kind}, {block['case']['name']}", fontsize=9)
        axis.set_xlabel("test accuracy [%]")
        axis.set_xlim(0, 100)
    axes[0].invert_yaxis()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    with Progress(console=console) as progress:
        result, arrays = run(arguments.seeds, progress)
    show(result, console)
    write_arrays(arguments.out / "conductances.npz", **arrays)
    said = keep(arguments.out, result, draw(result), start)
    console.print(f"{said}; conductances in {arguments.out}/")


if __name__ == "__main__":
    main()
