"""A network on arrays whose cells age, with and without refresh."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress

import xbarjax as xb
from xbarjax import nn

from ..mnist_wires.data import mnist
from ..mnist_wires.network import accuracy, in_software, wired
from ..programming.run import NOISE, WINDOW
from .ageing import Schedule, baked, fresh, refreshed
from .arrays import INTERVAL, SEGMENT

SEEDS = (0, 1, 2, 3, 4)
LOW, HIGH = 6e-6, 130e-6  # [S]
TILE, V_READ = 64, 0.1  # [V] per unit of a normalised pixel
ALONE = (1.0, 10.0, 1e2, 1e3, 5e3, 1e4, 1e5, 1e6, 1e7)  # times without refresh [s]
NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)  # refreshes, the last at 1e7 s


def on_arrays(net: Any) -> Any:
    """The network on differential pairs, for ideal wires."""
    mapping = xb.DifferentialPair(jnp.float32(LOW), jnp.float32(HIGH))
    make = partial(nn.tile, max_tile=TILE, v_read=jnp.float32(V_READ))
    return nn.convert(net, lambda w: make(w, mapping, wired(SEGMENT)))


def shares(net: Any) -> list[jax.Array]:
    """Positions of all cells in their range, by layer."""
    return [net.first.arrays.g_relative, net.second.arrays.g_relative]


def cells(net: Any) -> jax.Array:
    """Conductances [S] of all cells, `(cells,)`."""
    return LOW + jnp.concatenate([x.ravel() for x in shares(net)]) * jnp.float32(HIGH - LOW)


def holding(net: Any, g: jax.Array) -> Any:
    """The network with other conductances [S], which may leave the range."""
    parts = shares(net)
    ends = np.cumsum([x.size for x in parts])
    split = jnp.split((g - LOW) / jnp.float32(HIGH - LOW), ends[:-1])
    made = [s.reshape(x.shape) for s, x in zip(split, parts)]
    return eqx.tree_at(shares, net, made)


def used(net: Any) -> np.ndarray:
    """Mask of the cells that exist: the last tiles of a layer may have fewer rows."""
    of = lambda a: jnp.broadcast_to(a.tiling.filled[:, :, None] > 0, a.g_relative.shape)
    return np.concatenate(
        [np.asarray(of(a)).ravel() for a in (net.first.arrays, net.second.arrays)]
    )


def one(seed: int, errors: np.ndarray, data: Any, progress: Progress) -> dict[str, Any]:
    """Accuracies of one network on one die, and what the refreshes rewrite."""
    task = progress.add_task(f"network {seed}", total=len(ALONE) + 2 * len(NUMBERS))
    net = in_software(data, seed)
    model = on_arrays(net)
    target, real, left = cells(model), used(model), jnp.asarray(errors, jnp.float32)
    bake = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), baked())
    keys = jax.random.split(jax.random.key(seed), 4)

    def seen(g: jax.Array) -> dict[str, float]:
        progress.update(task, advance=1)
        error = np.asarray(g - target)[real]
        rms = float(np.sqrt(np.mean(error**2)))
        return {"accuracy": accuracy(holding(model, g), data), "error_rms_S": rms}

    new = fresh(target, left, keys[0])
    found: dict[str, Any] = {
        "software": accuracy(net, data),
        "mapped": accuracy(model, data),
        "written": seen(new.g(bake)),
    }
    # the same walk at all times
    alone, at, none = new, 0.0, []
    for k, t in enumerate(ALONE):
        alone, at = alone.later(t - at, jax.random.fold_in(keys[1], k)), t
        none.append(seen(alone.g(bake)))
    schedule = Schedule(*map(jnp.float32, (INTERVAL, WINDOW, NOISE)))
    verified, again = new, []
    before, writes = 0, np.asarray(new.writes)[real]
    for number in NUMBERS:
        steps = jnp.asarray(before), jnp.asarray(number)
        old, verified = refreshed(verified, target, left, schedule, bake, steps, keys[2])
        now = np.asarray(verified.writes)[real]
        share = float((now - writes).mean()) / (number - before)
        again.append(seen(old.g(bake)) | {"rewritten": share, "writes": float(now.mean() - 1)})
        before, writes = number, now
    every = []
    for number in NUMBERS:  # intervals of cells that are all written anew do not differ
        first, walk = jax.random.split(jax.random.fold_in(keys[3], number))
        every.append(seen(fresh(target, left, first).later(INTERVAL, walk).g(bake)))
    found |= {"none": none, "verified": again, "every": every, "cells": int(real.sum())}
    return found


def network(array: dict[str, Any]) -> dict[str, Any]:
    """All seeds. `array`: what `refresh` found: the errors that writing leaves, and what writing a
    cell anew takes."""
    data, errors = mnist(), np.asarray(array["error_S"]["written"])
    with Progress() as progress:
        found = [one(seed, errors, data, progress) for seed in SEEDS]
    several = lambda rows, what: summary(np.array([[x[what] for x in row] for row in rows]))
    out: dict[str, Any] = {
        "seeds": len(SEEDS),
        "cells": found[0]["cells"],
        "interval_s": INTERVAL,
        "acceptance_S": WINDOW,
        "read_noise_S": NOISE,
        "software": summary(np.array([f["software"] for f in found])),
        "mapped": summary(np.array([f["mapped"] for f in found])),
        "written": summary(np.array([f["written"]["accuracy"] for f in found])),
    }
    times = {"none": ALONE, "verified": np.array(NUMBERS) * INTERVAL}
    for way, t in (times | {"every": times["verified"]}).items():
        rows = [f[way] for f in found]
        out[way] = {"times_s": t} | {name: several(rows, name) for name in rows[0][0]}
    writes = out["verified"]["writes"]["mean"][-1]
    out["cost"] = {
        "writes": writes,
        "pulses": writes * array["pulses_rewritten"],
        "energy_J": writes * array["energy_rewritten_J"],
    }
    return out


def summary(x: np.ndarray) -> dict[str, Any]:
    """Mean and standard deviation over the first axis."""
    return {"mean": x.mean(axis=0), "deviation": x.std(axis=0, ddof=1)}
