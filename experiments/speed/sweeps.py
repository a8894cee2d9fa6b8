"""Time of a complete Monte Carlo sweep: drawn, solved, measured and stored."""

import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax.variability import At, Lognormal

from .circuits import error

SIGMA, R = 0.1, 1.0  # spread of ln g; wire [ohm per segment]


def _plan(n: int, dies: int, batch: int) -> xb.Sweep:
    g = jnp.asarray(np.random.default_rng(0).uniform(1e-6, 1e-4, (n, n)))
    v = jnp.full(n, 0.2)
    off = lambda s, design: jnp.max(jnp.abs(s.i_out - v @ design.cell.g))
    cells = lambda crossbar: crossbar.cell.g
    die = xb.Die(
        build=lambda s: xb.Crossbar(xb.Ohmic(g), xb.Wires(R, R)),
        v_in=v,
        metrics={"error": lambda s, design: off(s, design) / jnp.max(v @ design.cell.g)},
        vary=lambda s: At(cells, Lognormal(s["sigma"])),
    )
    return xb.Sweep(die, {"sigma": [SIGMA]}, dies=dies, batch=batch)


def stored(n: int, dies: int, batch: int) -> dict:
    """Time and memory of a sweep into a store, compilation included, on every device."""
    plan, ends = _plan(n, dies, batch), []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        tick = lambda done, of: ends.append(time.perf_counter() - began)
        found = xb.sweep(plan, Path(folder) / "dies", on_batch=tick)
        took = time.perf_counter() - began
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
        values, status = found["error"].values.ravel(), found["status"].values
    assert not status.any() and np.isfinite(values).all()
    some = list(range(0, dies, max(dies // 16, 1)))
    settings = {"sigma": jnp.asarray(SIGMA)}
    oracle = dataclasses.replace(plan.die, solver=xb.Dense()) if n <= 64 else plan.die
    wrong = error(values[some], [oracle(settings, plan.key(k))["error"] for k in some])
    assert wrong < 1e-9, wrong
    devices = jax.device_count()
    return {
        "n": n,
        "dies": dies,
        "batch": batch,
        "devices": devices,
        "all_s": took,
        # the first batch of every device includes compilation
        "a_second": (len(ends) - devices) * batch / (ends[-1] - ends[devices - 1]),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "store_bytes": size,
        "error": wrong,
    }
