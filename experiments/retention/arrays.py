"""Arrays that pulses write and refresh: transistors and VTEAM devices, whose states age."""

import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax import presets
from xbarjax.variability import At, Relaxation

from ..programming.run import GATED, NOISE, WINDOW, gated, targets
from .ageing import OfResistance, Schedule, after, baked, fresh, refreshed
from .law import relaxation

ROWS = 32
INTERVAL = 5e3  # [s]
REFRESHES = 4
SEGMENT = 1.0  # [ohm]
VERIFY = xb.WriteVerify(**GATED, read_noise=NOISE, most=100)

# The second comparison, with the window and the conductances of the chip in Wan et al.
NARROW = 1e-6  # [S]
LOW, HIGH = 6e-6, 38e-6  # [S]
STEPS = (0.03, 0.1)  # [V]
STAGES = {"1 s": (1.0, 0), "1 day": (1e5, 1)}  # read of chip C [s], days of the preset
THIRDS = 3


def device(crossbar: Any) -> Any:
    return crossbar.cell.second


def ageing(relaxed: Relaxation, crossbar: xb.Crossbar) -> At:
    """Ageing of the states of the devices of an array."""
    d = device(crossbar)
    return At(lambda c: c.cell.second.w, OfResistance(relaxed, d.r_on, d.r_off, d.w_on, d.w_off))


def read(crossbar: xb.Crossbar, target: jax.Array, key: jax.Array) -> np.ndarray:
    """Conductances [S] as a verify without noise reads them, with no pulses."""
    look = dataclasses.replace(VERIFY, acceptance=jnp.asarray(1.0), read_noise=jnp.asarray(0.0))
    return np.asarray(xb.program(crossbar, target, look, key=key).g)


def refresh() -> dict[str, Any]:
    """An array that is written once, and one that is refreshed, over the same time."""
    a, b, c, d, e = jax.random.split(jax.random.key(11), 5)
    chip, target = gated(ROWS, SEGMENT, a), targets(ROWS, b)
    ages = ageing(after(INTERVAL, baked()), chip)
    began = time.perf_counter()
    once = xb.program(chip, target, VERIFY, key=c)
    done = xb.program(chip, target, xb.Refresh(VERIFY, ages, REFRESHES), key=d)
    seconds = time.perf_counter() - began
    long = ageing(after(INTERVAL * REFRESHES, baked()), chip)
    aged = read(ages(once.crossbar, e), target, e)
    alone = read(long(once.crossbar, e), target, e)
    passes = np.isfinite(np.asarray(done.v)).reshape(ROWS, ROWS, REFRESHES + 1, -1).sum(-1)
    error = lambda g: np.asarray(g) - np.asarray(target)
    first, later = passes[..., 0], passes[..., 1:]
    spent = float(done.energy.mean() - once.energy.mean()) / REFRESHES
    levels = np.linspace(0, 1, 201)
    left, goal = jnp.asarray(error(once.g).ravel()), target.ravel()
    one = refreshed(
        fresh(goal, left, c), goal, left, Schedule(INTERVAL, WINDOW, NOISE), baked(), (0, 1), d
    )
    return {
        "rows": ROWS,
        "interval_s": INTERVAL,
        "refreshes": REFRESHES,
        "status": int(once.status | done.status),
        "in_window": {"written": float(once.good.mean()), "refreshed": float(done.good.mean())},
        "error_rms_S": {
            "written": rms(error(once.g)),
            "aged": rms(error(aged)),
            "never_refreshed": rms(error(alone)),
            "refreshed": rms(error(done.g)),
        },
        "error_S": {
            "written": np.quantile(error(once.g), levels),
            "aged": np.quantile(error(aged), levels),
            "refreshed": np.quantile(error(done.g), levels),
        },
        "pulses_written": float(first.mean()),
        "pulses_refresh": later.mean(axis=(0, 1)),
        "rewritten": (later > 0).mean(axis=(0, 1)),
        "without_pulses": {  # the first refresh, as in `network`
            "rewritten": float(one[1].writes.mean() - 1),
            "aged_error_rms_S": rms(one[0].g(baked()) - goal),
        },
        "pulses_rewritten": float(later[later > 0].mean()),
        "energy_written_J": float(once.energy.mean()),
        "energy_refresh_J": spent,
        "energy_rewritten_J": spent / float((later > 0).mean()),
        "seconds": seconds,
    }


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.asarray(x) ** 2)))


def verify() -> dict[str, Any]:
    """Residual spread of write-verify, after the relaxation of chip C, beside the published one."""
    a, b, c, d = jax.random.split(jax.random.key(12), 4)
    chip = gated(ROWS, SEGMENT, a)
    target = jax.random.uniform(b, (ROWS, ROWS), minval=LOW, maxval=HIGH)
    edges = np.linspace(LOW, HIGH, THIRDS + 1)
    which = np.clip(np.searchsorted(edges, np.asarray(target)) - 1, 0, THIRDS - 1)
    part = lambda x: [rms(np.asarray(x)[which == k]) for k in range(THIRDS)]
    published = {
        name: part(presets.rram_programming_wan(days).size(target))
        for name, (_, days) in STAGES.items()
    }
    staircases = {}
    for step in STEPS:
        method = dataclasses.replace(
            VERIFY,
            acceptance=jnp.asarray(NARROW),
            set=stairs(VERIFY.set, -step),
            reset=stairs(VERIFY.reset, step),
        )
        done = xb.program(chip, target, method, key=c)
        error = lambda g: np.asarray(g) - np.asarray(target)
        found = {"verified": part(error(done.g))}
        for name, (t, _) in STAGES.items():
            found[name] = part(error(relaxation("C", t)(done.g, d)))
        staircases[f"{step:g}"] = {
            "deviation_S": found,
            "pulses": float(done.pulses.mean()),
            "pulses_median": float(np.median(done.pulses)),
            "in_window": float(done.good.mean()),
            "energy_J": float(done.energy.mean()),
            "status": int(done.status),
        }
    return {
        "edges_S": edges,
        "acceptance_S": NARROW,
        "read_noise_S": NOISE,
        "published_S": published,
        "by_step_V": staircases,
    }


def stairs(pulses: xb.Pulses, step: float) -> xb.Pulses:
    return eqx.tree_at(lambda p: p.v.step, pulses, jnp.asarray(step, pulses.v.step.dtype))
