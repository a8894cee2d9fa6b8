"""IR-drop mitigation for a network trained in software: every method of `xb.nn.methods`, on MNIST,
784-128-10.

    python -m experiments.compensation.run

Arrays are differential pairs of cells between 25 uS and 1 mS, with ideal drivers and sense inputs.
`scale` is the part of the conductance range for the largest weight of a tile. `error` is the
relative rms error of the effective weights of the first layer; `accuracy` is that of the 10,000
test images.

- methods: all methods at scale 1, over rows of a tile, over wire resistances, and over programming
  errors (a normal error of every cell, relative to the range).
- scales: the fixed point, over scales, with read noise of every tile or with converters. Full scale
  is the largest current of a tile of the layer on 1000 training images, at scale 1 and on ideal
  wires; it is the same for all scales. Noise is given relative to full scale, and full scale is the
  range of the converters. A small scale has less IR drop, but less signal.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console

import xbarjax as xb
from xbarjax import nn
from xbarjax.nn import methods
from xbarjax.variability import Programming

from ..common import keep, write_json
from ..mnist_wires.data import mnist
from ..mnist_wires.network import (
    HRS,
    LRS,
    Network,
    accuracy,
    batches,
    bounds,
    in_software,
    loss,
    on,
    wired,
)

HERE = Path(__file__).parent
TILES, WIRES, SPREADS = (32, 64, 128), (0.5, 1.0, 2.0, 4.0), (0.01, 0.02, 0.05)
RANK, SEEDS, DRAWS = 32, 3, 5
SCALES, NOISES, BITS = (1.0, 0.5, 0.25, 0.1, 0.05), (1e-3, 3e-3, 1e-2), (6, 8, 10)
SPAN = 1 / LRS - 1 / HRS
Method = Callable[[Network, methods.Hardware, Any], Network]


def spread(size: float) -> Programming:
    """A normal error of every cell with standard deviation `size`, relative to the range."""
    return Programming(jnp.asarray([size * SPAN], jnp.float32), jnp.float32(1 / LRS))


DESCENT_STEPS = 100
ADAM = optax.adam(optax.cosine_decay_schedule(0.1, DESCENT_STEPS))


def by_descent(weights: jax.Array, hardware: methods.Hardware, *, aware: bool) -> Any:
    """Descent along the exact gradient, from plain programming: of the error, or, if `aware`, of
    its mean over programming errors."""
    start, programming = xb.FixedPoint(max_steps=1), spread(0.02) if aware else None
    of = dict(optimiser=ADAM, max_steps=DESCENT_STEPS, rtol=1e-4)
    method = xb.Descent(start=start, programming=programming, **of)
    return methods.compensated(weights, hardware, method=method)


def hardware(tile: int, r: float, scale: float) -> methods.Hardware:
    return methods.Hardware(xb.DifferentialPair(*bounds()), wired(r), tile, scale)


def as_weights(net: Network) -> Network:
    """The network in software with the effective weights of the arrays, which gives the same
    products in less time."""

    def one(layer: nn.Linear) -> eqx.nn.Linear:
        w = layer.arrays.weights()
        plain = eqx.nn.Linear(*w.shape, key=jax.random.key(0))
        return eqx.tree_at(lambda x: (x.weight, x.bias), plain, (w.T, layer.bias))

    return Network(one(net.first), one(net.second))


def stated(net: Network, on_arrays: Network, data: Any) -> dict[str, float]:
    seen, meant = as_weights(on_arrays), net.first.weight
    off = jnp.linalg.norm(seen.first.weight - meant) / jnp.linalg.norm(meant)
    return {"error": float(off), "accuracy": accuracy(seen, data)}


def trained(net: Network, hardware: methods.Hardware, data: Any, steps: int = 60) -> Network:
    """Training on the task: calibration, then an epoch through the wires."""
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, 10, steps)
    training = nn.Training(loss, optax.adam(rate, b2=0.99))
    begun = on(net, partial(methods.calibrated, hardware=hardware))
    return nn.fit(training, begun, batches(data, 1000, steps, 0)).model


def of_layers(method: methods.Method) -> Method:
    """The method applied to each layer on its own."""
    return lambda net, hardware, data: on(net, partial(method, hardware=hardware))


METHODS: dict[str, Method] = {
    "none": of_layers(methods.plain),
    "one factor": of_layers(methods.one_factor),
    "linear calibration": of_layers(methods.calibrated),
    "two-ended feed": of_layers(methods.two_ended),
    "two-ended, calibrated": of_layers(partial(methods.two_ended, then=methods.calibrated)),
    "permutation, calibrated": of_layers(partial(methods.permuted, then=methods.calibrated)),
    "truncated rank, calibrated": of_layers(
        lambda weights, hardware: methods.truncated(
            weights, hardware, min(RANK, *weights.shape), methods.calibrated
        )
    ),
    "task gradient": trained,
    "fixed point": of_layers(methods.compensated),
    "exact gradient": of_layers(partial(by_descent, aware=False)),
    "programming-aware": of_layers(partial(by_descent, aware=True)),
}
ONCE = ("exact gradient", "programming-aware")  # slow, so only at 64 rows and 2 ohm


def full_scale(net: Network, tile: int, data: Any) -> list[jax.Array]:
    """Full scale of each layer: the largest current [A] of a tile on 1000 training images, at scale
    1 and on ideal wires."""
    x, found = jnp.asarray(data["x_train"][:1000]), []
    for layer in (net.first, net.second):
        ideal = methods.compensated(layer.weight.T, hardware(tile, 0.0, 1.0))
        found.append(jnp.max(jnp.abs(jax.vmap(ideal.currents)(x))))
        x = jax.nn.relu(jax.vmap(layer)(x))
    return found


def read_out(net: Network, full: list[jax.Array], noise: float, bits: int | None) -> Network:
    """The network with noise, relative to full scale, and converters over full scale."""

    def one(layer: nn.Linear, most: jax.Array) -> nn.Linear:
        adc = None if bits is None else xb.Adc(bits=bits, lo=-most, hi=most)
        arrays = dataclasses.replace(layer.arrays, noise=noise * most, converter=adc)
        return dataclasses.replace(layer, arrays=arrays)

    return Network(one(net.first, full[0]), one(net.second, full[1]))


@eqx.filter_jit
def _correct(net: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    z = jax.vmap(lambda x, key: net(x, key=key))(x, jax.random.split(key, len(x)))
    return jnp.mean(jnp.argmax(z, axis=1) == y)


def with_noise(net: Network, data: Any) -> float:
    """Accuracy with noise, drawn anew for every read."""
    x, y = data["x_test"], data["y_test"].astype(np.int32)
    return float(_correct(net, x, y, jax.random.key(0)))


def over_methods(net: Network, data: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    cases = []
    where = [(tile, 2.0) for tile in TILES] + [(64, r) for r in WIRES if r != 2.0]
    for tile, r in where:
        for name, method in METHODS.items():
            if (tile, r) != (64, 2.0) and name in ONCE:
                continue
            made = method(net, hardware(tile, r, 1.0), data)
            case = {"method": name, "tile": tile, "r": r} | stated(net, made, data)
            if (tile, r) == (64, 2.0):
                case["spread"] = over_spreads(net, made, data)
            cases.append(case)
            say(f"{name}, {tile} rows, {r} ohm: error {case['error']:.2e}, {case['accuracy']:.2%}")
        jax.clear_caches()  # compiled programs of past cases would exhaust the memory maps
    return cases


def over_spreads(net: Network, made: Network, data: Any) -> list[dict[str, Any]]:
    found = []
    for size in SPREADS:
        each = [
            stated(net, nn.on_die(nn.varying(made, spread(size)), jax.random.key(k)), data)
            for k in range(DRAWS)
        ]
        mean = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        found.append({"spread": size} | mean)
    return found


def over_scales(nets: list[Network], data: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Seed 0 at every scale, noise and converter; other seeds at scale 1 with exact reads."""
    cases, full = [], {tile: full_scale(nets[0], tile, data) for tile in (64, 128)}
    where = [(tile, scale, 0) for tile in (64, 128) for scale in SCALES]
    where += [(tile, 1.0, seed) for tile in (64, 128) for seed in range(1, len(nets))]
    for tile, scale, seed in where:
        on_tiles = partial(methods.compensated, hardware=hardware(tile, 2.0, scale))
        made = on(nets[seed], on_tiles)
        case = {"tile": tile, "scale": scale, "seed": seed} | stated(nets[seed], made, data)
        words = f"{tile} rows, scale {scale}, seed {seed}: error {case['error']:.1e},"
        words += f" {case['accuracy']:.2%}"
        if seed == 0:
            case["noise"] = [with_noise(read_out(made, full[tile], x, None), data) for x in NOISES]
            case["bits"] = [with_noise(read_out(made, full[tile], 0.0, x), data) for x in BITS]
            each = " ".join(f"{x:.2%}" for x in (*case["noise"], *case["bits"]))
            words += f"; noise, bits: {each}"
        cases.append(case)
        say(words)
    return cases


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(10, 4), layout="constrained")
    left, right = made.subplots(1, 2)
    names = list(METHODS)[::-1]
    for tile, mark, color in ((32, "^", "0.6"), (64, "o", "0.0"), (128, "s", "0.0")):
        mine = [case for case in result["methods"] if (case["tile"], case["r"]) == (tile, 2.0)]
        x, y = [100 * c["accuracy"] for c in mine], [names.index(c["method"]) for c in mine]
        left.plot(x, y, mark, color=color, mfc="none", label=f"{tile} rows")
    left.axvline(100 * result["software"][0], color="0.7", zorder=0)
    left.set_yticks(range(len(names)), labels=names)
    left.set(xlabel="test accuracy [%], exact reads at full range")
    left.legend(fontsize=8, loc="lower left")
    of = {
        "exact reads, -": lambda case: case["accuracy"],
        "noise of 1 %, --": lambda case: case["noise"][-1],
        "6 bits, :": lambda case: case["bits"][0],
    }
    for tile, mark, color in ((64, "o", "0.0"), (128, "s", "0.5")):
        mine = [c for c in result["scales"] if (c["tile"], c["seed"]) == (tile, 0)]
        for name, value in of.items():
            label, dash = name.split(", ")
            y = [100 * value(case) for case in mine]
            style = dict(color=color, mfc="none", label=f"{tile} rows, {label}")
            right.plot(SCALES, y, dash + mark, **style)
    right.set(
        xscale="log", xlabel="part of the range for the weights [1]", ylabel="test accuracy [%]"
    )
    right.legend(fontsize=8)
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_num_cpu_devices", 2)
    data, say = mnist(), console.print
    nets = [in_software(data, seed) for seed in range(SEEDS)]
    result: dict[str, Any] = {"software": [accuracy(net, data) for net in nets]}
    result["scales"] = over_scales(nets, data, say)
    write_json(HERE / "result.json", result)  # kept if the rest is interrupted
    result["methods"] = over_methods(nets[0], data, say)
    console.print(keep(HERE, result, figure(result), began))


if __name__ == "__main__":
    main()
