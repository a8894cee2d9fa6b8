"""Gradients from two equilibria of a network of two arrays, against the exact gradient.

    python -m experiments.two_equilibria.run

Digits of scikit-learn, averaged to 4x4 pixels, are voltages of both signs at the rows of a first
array. Its columns end in antiparallel diodes and, through resistors, in the rows of a second array,
whose columns end in resistors. A score is the difference of two columns, the loss half the squared
distance of ten scores from a target. All is passive, so the circuit is reciprocal. In some cases an
amplifier, which inverts, senses every hidden node and drives the row behind it through a resistor.

`xb.equilibrium_propagation` estimates the gradient of the mean loss of a few images by all
conductances, and is compared with `jax.grad` through `xb.solve`, which in turn is compared with
differences of the loss. Shown are the angle between the two gradients and the relative error, over

- the nudge, on one side and on both, and with noise of the readings;
- the resistance of the wires, with voltages at the cells, and with those at the ends of the lines
    in their place;
- the gain of the amplifiers.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

import xbarjax as xb
from xbarjax import elements as el

from ..common import keep

HERE = Path(__file__).parent
SEED, IMAGES, HIDDEN, CLASSES = 0, 8, 16, 10
G_MIN, G_MAX = 1e-6, 1e-4  # [S]
V_PIXEL, V_TARGET = 0.3, 0.02  # [V] of a white pixel; score of the right class
R_LINK, R_DRIVE, R_LOAD = 2e3, 4e3, 1e4  # [ohm]
I_S = 1e-6  # [A] of the diodes
NUDGES = np.geomspace(1e-8, 1e-1, 15)  # [S]
NUDGE = 1e-6  # where something else is varied
NOISES = (1e-6, 1e-5)  # [V]
R_WIRE, R_WIRES = 1.0, np.concatenate([[0.0], np.geomspace(0.1, 100, 10)])  # [ohm per segment]
GAIN, GAINS = 5.0, np.geomspace(1e-3, 10, 13)

Arrays = dict[str, jax.Array]


def conductances() -> Arrays:
    """Conductances [S] of both arrays, uniform within their range."""
    one, two = jax.random.split(jax.random.key(SEED))
    draw = lambda key, shape: jax.random.uniform(key, shape, minval=G_MIN, maxval=G_MAX)
    return {"first": draw(one, (34, HIDDEN)), "second": draw(two, (HIDDEN, 2 * CLASSES))}


def images() -> tuple[jax.Array, jax.Array]:
    """Voltages [V] of the rows and the targets [V] of the scores, one row per image."""
    x, y = load_digits(return_X_y=True)
    x = x[:IMAGES].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
    x = V_PIXEL * np.concatenate([x, np.ones((IMAGES, 1))], axis=1)
    return jnp.asarray(np.concatenate([x, -x], axis=1)), V_TARGET * jnp.eye(CLASSES)[y[:IMAGES]]


def network(g: Arrays, v_in: jax.Array, r: Any, gain: Any = None) -> xb.Circuit:
    """The circuit of one image, with wires of `r` [ohm] per segment; amplifiers, if any."""
    wires = xb.Wires(r, r)
    parts: dict[str, Any] = {
        "source": el.VoltageSource(to="x", v=v_in),
        "first": el.Array(xb.Ohmic(g["first"]), wires, rows="x", cols="h"),
        "diodes": el.AntiparallelDiodes("h", "0", I_S),
        "link": el.Resistor("h", "m", R_LINK),
        "second": el.Array(xb.Ohmic(g["second"]), wires, rows="m", cols="y"),
        "load": el.Resistor("y", "0", R_LOAD),
    }
    if gain is not None:
        parts["amplifier"] = el.OpAmp(minus="h", out="a", gain=gain)
        parts["drive"] = el.Resistor("a", "m", R_DRIVE)
    return xb.Circuit(**parts)


def loss(target: jax.Array, v: jax.Array) -> jax.Array:
    """Half the squared distance [V^2] of the scores from a target."""
    return jnp.sum((v[:CLASSES] - v[CLASSES:] - target) ** 2) / 2


@jax.jit
def exact(g: Arrays, r: Any, gain: Any = None) -> tuple[jax.Array, Arrays]:
    """The mean loss of the images, and its gradient through `solve`."""

    def mean(g: Arrays) -> jax.Array:
        one = lambda v, target: loss(target, xb.solve(network(g, v, r, gain)).v["y"])
        return jnp.mean(jax.vmap(one)(*images()))

    return jax.value_and_grad(mean)(g)


@partial(jax.jit, static_argnames="symmetric")
def estimates(
    g: Arrays, nudge: Any, r: Any, v_noise: Any, key: Any, gain: Any = None, symmetric: bool = True
) -> tuple[Arrays, Arrays]:
    """The mean estimate from voltages at the cells, and the one from voltages at line ends."""

    def one(v: jax.Array, target: jax.Array, key: Any) -> tuple[Arrays, Arrays]:
        found = xb.equilibrium_propagation(
            network(g, v, r, gain), "y", partial(loss, target), nudge,
            symmetric=symmetric, v_noise=v_noise, key=key,
        )  # fmt: skip
        ends = {}
        for name, rows, cols in (("first", "x", "h"), ("second", "m", "y")):
            u = [s.v[rows][:, None] - s.v[cols] for s in (found.ahead, found.behind)]
            ends[name] = (u[0] ** 2 - u[1] ** 2) / (4 * nudge if symmetric else 2 * nudge)
        return {name: cell.g for name, cell in found.gradient.items()}, ends

    all_of_them = jax.vmap(one)(*images(), jax.random.split(key, IMAGES))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), all_of_them)


def apart(got: Arrays, want: Arrays) -> dict[str, float]:
    """Angle [degrees] between two gradients, and the relative error, of all cells and per array."""
    found = {}
    for name, of in (("all", list(want)), ("first", ["first"]), ("second", ["second"])):
        a, b = (np.concatenate([np.ravel(x[k]) for k in of]) for x in (got, want))
        unit_a, unit_b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        # not the arc cosine, which rounds small angles to 0
        half = np.arctan2(np.linalg.norm(unit_a - unit_b), np.linalg.norm(unit_a + unit_b))
        found[f"{name}_degrees"] = float(np.degrees(2 * half))
        found[f"{name}_error"] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return found


def differences(g: Arrays, *case: Any) -> float:
    """Relative error of the exact gradient against a difference of the loss, for changes that all
    raise the loss, so that they do not cancel."""
    rng, slope = np.random.default_rng(1), exact(g, *case)[1]
    size = lambda x: 1e-4 * x * jnp.asarray(rng.uniform(size=x.shape))
    step = {k: size(x) * jnp.sign(slope[k]) for k, x in g.items()}
    along = sum(float(jnp.vdot(slope[k], step[k])) for k in g)
    moved = [{k: g[k] + s * step[k] for k in g} for s in (1, -1)]
    want = float(exact(moved[0], *case)[0] - exact(moved[1], *case)[0]) / 2
    return abs(along / want - 1)


def run(on_case: Callable[[str], None]) -> dict[str, Any]:
    g, keys = conductances(), iter(jax.random.split(jax.random.key(SEED + 1), 1000))
    result: dict[str, Any] = {"nudge": {}, "wires": {}, "amplifiers": {}}

    def series(want: Arrays, *, noise: float = 0.0, **case: Any) -> list[dict[str, float]]:
        return [
            apart(estimates(g, nudge, R_WIRE, noise, next(keys), **case)[0], want)
            for nudge in NUDGES
        ]

    on_case("nudge")
    passive, active = exact(g, R_WIRE)[1], exact(g, R_WIRE, GAIN)[1]
    curves = {"one-sided": series(passive, symmetric=False), "symmetric": series(passive)}
    for noise in NOISES:
        curves[f"symmetric, {1e6 * noise:g} µV of noise"] = series(passive, noise=noise)
    curves[f"symmetric, amplifiers of gain {GAIN:g}"] = series(active, gain=GAIN)
    result["nudge"] = {"nudge_S": NUDGES, "r_wire_ohm": R_WIRE, "curves": curves}

    on_case("wires")
    rows = []
    for r in R_WIRES:
        want = exact(g, r)[1]
        cells, ends = estimates(g, NUDGE, r, 0.0, next(keys))
        rows.append({"cells": apart(cells, want), "ends": apart(ends, want)})
    result["wires"] = {"r_wire_ohm": R_WIRES, "nudge_S": NUDGE, "rows": rows}

    on_case("amplifiers")
    rows = []
    for gain in GAINS:
        want = exact(g, R_WIRE, gain)[1]
        found = estimates(g, NUDGE, R_WIRE, 0.0, next(keys), gain)[0]
        rows.append(apart(found, want) | {"differences": differences(g, R_WIRE, gain)})
    result["amplifiers"] = {"gain": GAINS, "nudge_S": NUDGE, "rows": rows}
    result["differences"] = differences(g, R_WIRE)
    return result


def orders(result: dict[str, Any]) -> dict[str, float]:
    """Powers of the nudge that the errors fall with, between 1e-5 and 1e-4 S."""
    at = [int(np.argmin(np.abs(np.log(NUDGES / x)))) for x in (1e-5, 1e-4)]
    curves = result["nudge"]["curves"]
    error = lambda name, k: curves[name][k]["all_error"]
    of = lambda name: np.log10(error(name, at[1]) / error(name, at[0]))
    return {name: float(of(name)) for name in ("one-sided", "symmetric")}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    looks = ["k-", "k--", "k:", "k-.", "-"]
    for (name, rows), look in zip(result["nudge"]["curves"].items(), looks, strict=True):
        more = {"color": "0.6", "lw": 2.5} if look == "-" else {}
        left.loglog(NUDGES, [row["all_degrees"] for row in rows], look, label=name, **more)
    left.set(xlabel="nudge [S]", ylabel="angle to the exact gradient [degrees]")
    left.set_title(f"wires of {R_WIRE:g} ohm per segment", fontsize=10)
    left.set_ylim(1e-15, 1e3)  # room for the legend
    rows = result["wires"]["rows"]
    for key, look, label in (("ends", "ks--", "line ends"), ("cells", "ko-", "cells")):
        angles = [row[key]["all_degrees"] for row in rows]
        middle.loglog(R_WIRES[1:], angles[1:], look, ms=4, label=f"voltages at the {label}")
    middle.set(xlabel="wire resistance [ohm per segment]", ylabel="angle [degrees]")
    middle.set_title(f"symmetric, nudge of {NUDGE:g} S", fontsize=10)
    rows = result["amplifiers"]["rows"]
    for key, look in (("first", "ko-"), ("second", "ks--"), ("all", "k:")):
        label = {"first": "first array", "second": "second array", "all": "both"}[key]
        right.semilogx(GAINS, [row[f"{key}_degrees"] for row in rows], look, ms=4, label=label)
    right.set(xlabel="gain of the amplifiers [1]", ylabel="angle [degrees]")
    right.set_yticks(range(0, 181, 30))
    right.set_title(f"symmetric, nudge of {NUDGE:g} S", fontsize=10)
    for panel, where in ((left, "lower center"), (middle, "center right"), (right, "upper left")):
        panel.legend(fontsize=8, loc=where)
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    result = run(lambda case: console.print(f"{case} ..."))
    result["orders"] = orders(result)
    table = Table("case", "smallest angle [degrees]", "at a nudge of [S]", "smallest error")
    for name, rows in result["nudge"]["curves"].items():
        best = min(range(len(rows)), key=lambda k: rows[k]["all_degrees"])
        best_row = rows[best]
        table.add_row(
            name,
            f"{best_row['all_degrees']:.1e}",
            f"{NUDGES[best]:.0e}",
            f"{best_row['all_error']:.1e}",
        )
    console.print(table)
    console.print(f"orders: {result['orders']}")
    worst = max(row["differences"] for row in result["amplifiers"]["rows"])
    console.print(f"jax.grad against differences: {result['differences']:.1e}, {worst:.1e}")
    assert worst < 1e-6 and result["differences"] < 1e-6
    console.print(keep(HERE, result, figure(result), began))


if __name__ == "__main__":
    main()
