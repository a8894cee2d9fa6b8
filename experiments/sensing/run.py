"""Precision of outputs over the size of an array, and learned converters of 4 bits.

    python -m experiments.sensing.run

1. Precision in bits: log2 of the full range of an output over its rms error, after a gain and an
   offset per column, on inputs that these were not fitted on. The chain has converters of the
   inputs, conductances with programming errors, wires, drivers, a readout with offsets and noise,
   and converters of the outputs. The readout has either amplifiers (a differential pair on two
   arrays) or floating bit lines (pairs of constant sum in 2T2R cells). All values are in GIVEN;
   they were chosen before the first run, and are illustrative, of the order of published arrays.
   An ideal converter of b bits has b + 1.8 of these bits, since its rms error is 0.29 steps.
   Published precisions have other conductances and drivers, and possibly another definition; they
   are shown for orientation.
2. Test error of a digits network on arrays with wires, with 4-bit converters behind both layers:

   - uniform over the range of the training data;
   - uniform over the part of this range with the least squared error on the training data;
   - uniform over a learned range;
   - a ramp with learned levels, which start at the learned range.

   Both are learned on training data, with straight-through gradients.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax import encoding, pairs

from ..common import keep
from ..digits.run import CASES, Layer, digits, train

HERE = Path(__file__).parent
SIZES = ((8, 8), (16, 16), (32, 32), (64, 64), (128, 64))
SEEDS = 5
GIVEN = {
    "g_min_siemens": 1e-6,
    "g_max_siemens": 1e-4,
    "sigma_siemens": 1e-6,  # of programming errors, one percent of the range
    "wire_ohm": 0.35,  # per segment
    "driver_ohm": 50.0,
    "v_max_volt": 0.2,
    "dac_bits": 8,
    "adc_bits": 8,
    "amplifier_gain": 1e4,
    "offset_volt": 1e-3,  # standard deviation over columns
    "swing_volt": 0.5,  # of the largest output
    "e_n": 1e-8,  # V/sqrt(Hz)
    "band_hz": (1e3, 1e7),
    "inputs": 512,  # half of them for fitting the correction
}
PUBLISHED = {
    "bits": (5, 8),
    "words": "output precision of 5 to 8 bits, depending on the size of the array, 128 x 64 1T1R",
    "in": "C. Li et al., Nature Electronics 1, 52 (2018), doi:10.1038/s41928-017-0002-z",
}
NETWORKS = 10
BITS, STEPS, RATE = 4, 400, 0.02  # of the learned converters
CONVERTERS = ("none", "uniform", "least squares", "learned range", "learned ramp")
SCALES = np.linspace(0.2, 1, 33)  # parts of the filled range, for least squares


def precision(wanted: Any, measured: Any) -> float:
    """Precision [bits], mean over columns; both arguments are `(inputs, cols)`."""
    half = len(wanted) // 2
    fit = xb.calibrate(measured[:half], wanted[:half])
    missed = fit(measured[half:]) - wanted[half:]
    full = jnp.max(wanted[half:], axis=0) - jnp.min(wanted[half:], axis=0)
    return float(jnp.mean(jnp.log2(full / jnp.sqrt(jnp.mean(missed**2, axis=0)))))


@eqx.filter_jit
def read_all(crossbar: xb.Crossbar, v: Any) -> Any:
    """Outputs of the readout for every input, `(inputs, cols)`."""
    return lax.map(lambda v: xb.read(crossbar, v).output, v)


def converted(v: Any, noise: Any, random: Any) -> Any:
    """Outputs with noise, through converters over the range of the calibration inputs."""
    v = v + noise * jnp.asarray(random.normal(size=v.shape))
    half = len(v) // 2
    return xb.Adc(GIVEN["adc_bits"], jnp.min(v[:half]), jnp.max(v[:half]))(v)


def chain(rows: int, cols: int, seed: int) -> dict[str, float]:
    """Precision [bits] of both kinds of readout, for one array with all its errors."""
    random = np.random.default_rng(seed)
    w = jnp.asarray(random.uniform(-1, 1, (rows, cols)))
    x = jnp.asarray(random.uniform(0, 1, (GIVEN["inputs"], rows)))
    dac = encoding.Dac(GIVEN["dac_bits"], GIVEN["v_max_volt"])
    v = jax.vmap(dac)(x)
    wires = xb.Wires(GIVEN["wire_ohm"], GIVEN["wire_ohm"])
    drive = xb.Drive(GIVEN["driver_ohm"])
    offset = lambda n: jnp.asarray(GIVEN["offset_volt"] * random.normal(size=n))
    missed = lambda g: jnp.clip(g + GIVEN["sigma_siemens"] * random.normal(size=g.shape), 0)
    limits = GIVEN["g_min_siemens"], GIVEN["g_max_siemens"]
    noise_of = lambda crossbar, v: (
        xb.noise(crossbar, v, band=GIVEN["band_hz"], e_n=GIVEN["e_n"]).rms
    )

    mapping = xb.DifferentialPair(*limits)
    plus, minus = missed(mapping.program(w, mapping.siemens_per_weight(w)))
    largest = jnp.max(jnp.stack([v @ plus, v @ minus]))
    outputs = []
    for g in (plus, minus):
        gain = GIVEN["amplifier_gain"]
        tia = xb.Tia(GIVEN["swing_volt"] / largest, gain, v_offset=offset(cols))
        crossbar = xb.Crossbar(xb.Ohmic(g), wires, drive, tia)
        outputs.append(converted(read_all(crossbar, v), noise_of(crossbar, v[0]), random))
    current = precision(x @ w, outputs[1] - outputs[0])

    mapping = xb.ConstantSumPair(*limits)
    plus, minus = missed(mapping.program(w, mapping.siemens_per_weight(w)))
    cell, inside = pairs.in_cell(xb.Ohmic(plus), xb.Ohmic(minus), wires)
    crossbar = xb.Crossbar(cell, inside, drive, xb.VoltageSense())
    v_out = read_all(crossbar, pairs.opposed(v)) + offset(cols)
    noise = noise_of(crossbar, pairs.opposed(v[0]))
    return {
        "amplifiers": current,
        "floating lines": precision(x @ w, converted(v_out, noise, random)),
    }


def precisions(console: Console) -> list[dict[str, Any]]:
    found = []
    for rows, cols in SIZES:
        bits = [chain(rows, cols, seed) for seed in range(SEEDS)]
        found.append(
            {"rows": rows, "cols": cols, "bits": {k: [b[k] for b in bits] for k in bits[0]}}
        )
        console.print(f"precision, {rows} x {cols}: done")
    return found


def on_wires(layers: list[Layer]) -> list[Layer]:
    """The layers of the network with the effective weights of arrays with wires."""
    case, found = CASES[1], []
    mapping = xb.DifferentialPair(1 / case.r_off, 1 / case.r_on)
    for layer in layers:
        k = mapping.siemens_per_weight(layer.weights)
        build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(case.r_wire, case.r_wire))
        matrices = [xb.transfer(build(g)) for g in mapping.program(layer.weights, k)]
        found.append(Layer(mapping.combine(jnp.stack(matrices)) / k, layer.bias))
    return found


def scores(layers: list[Layer], converters: Any, x: Any) -> Any:
    """Class scores. Both products are converted; biases and the rectifier are digital."""
    hidden = jax.nn.relu(converters[0](x @ layers[0].weights) + layers[0].bias)
    return converters[1](hidden @ layers[1].weights) + layers[1].bias


def learned(layers: list[Layer], make: Any, start: Any, x: Any, y: Any) -> Any:
    """Learned parameters of converters, by Adam on the cross-entropy of the training data."""
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

    def loss(parameters, x, y):
        logits = scores(layers, make(parameters), x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def descend(parameters, x, y):
        def step(carry, _):
            parameters, state = carry
            updates, state = optimiser.update(jax.grad(loss)(parameters, x, y), state)
            return (optax.apply_updates(parameters, updates), state), None

        return lax.scan(step, (parameters, optimiser.init(parameters)), None, STEPS)[0][0]

    return descend(start, x, y)


def four_bits(seed: int) -> dict[str, float]:
    """Test errors [%] of one network with every kind of converter."""
    x_train, x_test, y_train, y_test = digits(seed)
    layers = on_wires(train(seed, x_train, y_train))
    wrong = lambda converters: float(
        100 * jnp.mean(jnp.argmax(scores(layers, converters, x_test), axis=1) != y_test)
    )
    through = [lambda z: z, lambda z: z]
    first = x_train @ layers[0].weights
    hidden = jax.nn.relu(first + layers[0].bias)
    signals = first, hidden @ layers[1].weights
    filled = [(jnp.min(z), jnp.max(z)) for z in signals]

    # parameters: ends relative to the filled range; for ramps also the shares of the steps
    def ranges(ends):
        return [xb.Adc(BITS, lo * e[0], hi * e[1]) for (lo, hi), e in zip(filled, ends)]

    def ramps(parameters):
        found = []
        for (lo, hi), (e, shares) in zip(filled, parameters):
            rises = (hi * e[1] - lo * e[0]) * jnp.cumsum(jax.nn.softmax(shares))
            found.append(xb.Ramp(lo * e[0] + jnp.concatenate([jnp.zeros(1), rises])))
        return found

    ends = [jnp.ones(2), jnp.ones(2)]
    uniform = ranges(ends)
    error = lambda z, adc: float(jnp.mean((adc(z) - z) ** 2))
    closest = [
        min((xb.Adc(BITS, lo * s, hi * s) for s in SCALES), key=lambda adc, z=z: error(z, adc))
        for z, (lo, hi) in zip(signals, filled)
    ]
    ends = learned(layers, ranges, ends, x_train, y_train)
    start = [(e, jnp.zeros(2**BITS - 1)) for e in ends]
    levels = learned(layers, ramps, start, x_train, y_train)
    converters = (through, uniform, closest, ranges(ends), ramps(levels))
    return dict(zip(CONVERTERS, map(wrong, converters), strict=True))


def show(result: dict, console: Console) -> None:
    table = Table(title="Precision of an output in bits, median of seeds")
    kinds = list(result["precision"][0]["bits"])
    for name in ("array", *kinds):
        table.add_column(name, justify="right")
    for row in result["precision"]:
        bits = (f"{np.median(row['bits'][k]):.2f}" for k in kinds)
        table.add_row(f"{row['rows']} x {row['cols']}", *bits)
    console.print(table)
    table = Table(title=f"Test error in %, a digits network, converters of {BITS} bits")
    for name in CONVERTERS:
        table.add_column(name, justify="right")
    table.add_row(*(f"{np.mean(result['four_bits'][k]):.2f}" for k in CONVERTERS))
    console.print(table)


def draw(result: dict) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    at = np.arange(len(result["precision"]))
    left.axhspan(*PUBLISHED["bits"], color="0.9", label="published, other arrays")
    for kind, style in (("amplifiers", "o-"), ("floating lines", "s--")):
        bits = [np.median(row["bits"][kind]) for row in result["precision"]]
        left.plot(at, bits, style, color="0.1", label=kind)
        for n, row in zip(at, result["precision"]):
            left.plot([n] * SEEDS, row["bits"][kind], ".", color="0.5", ms=3)
    left.set_xticks(at, [f"{row['rows']} x {row['cols']}" for row in result["precision"]])
    left.set_xlabel("rows x columns")
    left.set_ylabel("precision of an output [bits]")
    left.legend(fontsize=8)
    for n, kind in enumerate(CONVERTERS):
        errors = result["four_bits"][kind]
        right.bar(n, np.mean(errors), color="0.75", edgecolor="0.2")
        right.plot([n] * len(errors), errors, "k.", ms=5)
        right.text(n, 0.1, f"{np.mean(errors):.2f}", ha="center", va="bottom", fontsize=9)
    right.set_xticks(range(len(CONVERTERS)), [kind.replace(" ", "\n") for kind in CONVERTERS])
    right.set_xlabel(f"converters of {BITS} bits")
    right.set_ylabel("test error [%]")
    return figure


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    result: dict[str, Any] = {"given": GIVEN, "published": PUBLISHED}
    result["precision"] = precisions(console)
    networks = []
    for seed in range(NETWORKS):
        networks.append(four_bits(seed))
        console.print(f"converters of {BITS} bits, seed {seed}: {networks[-1]}")
    result["four_bits"] = {k: [x[k] for x in networks] for k in CONVERTERS}
    show(result, console)
    console.print(keep(HERE, result, draw(result), start))


if __name__ == "__main__":
    main()
