"""Circuits for the timings, and helpers for timing and errors."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

G_MAX = 1e-4  # [S]


def circuit(n: int, per_segment: bool, r_g: float = 1e-4, seed: int = 0):
    """Conductances [S] of 1 to 100 uS, segment resistances [ohm] for an `r Gmax` of `r_g`, and
    inputs [V] of an n x n array."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(G_MAX / 100, G_MAX, (n, n))
    r = r_g / G_MAX
    wire = (lambda: r * rng.uniform(0.5, 1.5, (n, n))) if per_segment else (lambda: r)
    return g, wire(), wire(), rng.uniform(0, 1, n)


def crossbar(g, r_row, r_col, dtype="float64") -> xb.Crossbar:
    wires = (r if np.isscalar(r) else jnp.asarray(r, dtype) for r in (r_row, r_col))
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g, dtype)), xb.Wires(*wires))


def current(g, v_in):
    """Output currents [A] of an array with 1 ohm per segment."""
    return xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0)), v_in).i_out


def seconds(f, least: int = 5, most: float = 10.0) -> list[float]:
    """Run times of `f` [s]: at least `least` of them, or fewer if they take more than `most` [s] in
    all."""
    times = []
    while len(times) < 2 or (len(times) < least and sum(times) < most):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return times


def error(got, wanted) -> float:
    """Largest error, relative to the largest output."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())
