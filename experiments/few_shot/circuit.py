"""Hashes of a crossbar, and their search in a ternary memory."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax.systems import cam
from xbarjax.variability import Lognormal, Spread

LONGEST, BITS = 256, 64  # of a word, and of an array that hashes
V_MAX = 0.2  # [V]
G, SCATTER = 1e-5, 0.5  # [S], median of the hashing array, and spread of ln g
STATES = 1e-8, 2e-6  # [S], of the cells of the memory: slow lines, whose falls can be told apart
LEVELS = (0.0, 0.5, 1.0)
T_END = 1e-6  # [s], of exact searches


@jax.jit
def _differences(g: Any, v: Any, r: Any) -> Any:
    return jax.vmap(lambda g: cam.differences(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r)), v))(g)


@jax.jit
def _one_by_one(g: Any, v: Any, r: Any, noise: Any, key: Any) -> Any:
    def of(x):
        v, key = x
        return _differences(Spread(noise)(g, key), v[None], r)[:, 0]

    return jax.lax.map(of, (v, jax.random.split(key, v.shape[0])), batch_size=16)


def hashed(x: np.ndarray, *, r: float, noise: float, seed: int, bits: int = LONGEST) -> np.ndarray:
    """Differences [A], `(images, bits)`, by arrays of 64 bits each with wires of `r` [ohm].

    Every image is read with a relative fluctuation `noise` of all conductances of its own."""
    shape = (bits // BITS, x.shape[1], 2 * BITS)
    g = Lognormal(SCATTER)(jnp.full(shape, G), jax.random.key(seed))
    v, r = jnp.asarray(V_MAX * x), jnp.asarray(float(r))  # pyright: ignore[reportAssignmentType]
    if noise:
        found = _one_by_one(g, v, r, jnp.asarray(noise), jax.random.key(seed + 1000))
    else:
        found = _differences(g, v, r).swapaxes(0, 1)
    return np.asarray(found).reshape(len(x), bits)


def random_planes(x: np.ndarray, seed: int) -> np.ndarray:
    """The same by a matrix of normal numbers, in software."""
    return x @ np.random.default_rng([4, seed]).standard_normal((x.shape[1], LONGEST))


def fall_times(cols: int) -> Any:
    """Times [s] of lines with 0, 1, ... cells that do not match, of a memory without variation."""
    ladder = cam.TernaryCam(np.tri(cols + 1, cols, -1), g_low=STATES[0], g_high=STATES[1])
    return cam.lookup(cam.Curves.of(ladder, (0.0, 1.0)), np.zeros(cols, int)).t_fall


@partial(jax.jit, static_argnames="cols")
def _searched(words, asked, times, spread, offset, clock, keys, *, cols):
    def episode(x):
        words, asked, key = x

        def tile(words, asked, key):
            low, high, off = jax.random.split(key, 3)
            vary = lambda g, key: Lognormal(spread)(jnp.full(words.shape, g), key)
            offsets = offset * jax.random.normal(off, words.shape[:1])
            g_low, g_high = vary(STATES[0], low), vary(STATES[1], high)
            made = cam.TernaryCam(words, g_low=g_low, g_high=g_high, v_offset=offsets)
            curves = cam.Curves.of(made, jnp.asarray(LEVELS), volts=17)
            return cam.lookup(curves, asked)

        blocks = lambda x: x.reshape(x.shape[0], -1, cols).swapaxes(0, 1)
        a, b = blocks(words), blocks((2 * asked).astype(int))
        seen = jax.vmap(tile)(a, b, jax.random.split(key, a.shape[0]))
        if a.shape[0] == 1:
            return cam.nearest(jax.tree.map(lambda x: x[0], seen), t_clock=clock).row[:, 0]
        return jnp.argmin(cam.mismatches(seen, times, t_clock=clock).sum(0), axis=-1)

    return jax.lax.map(episode, (words, asked, keys), batch_size=10)


def searched(
    words: np.ndarray,
    asked: np.ndarray,
    *,
    cols: int = 64,
    spread: float = 0.0,
    offset: float = 0.0,
    clock: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """The best row for each query, `(episodes, queries)`, of words `(episodes, rows, bits)`.

    Words that fit into one tile are compared by the line that falls last. Of longer ones the falls
    of each tile are counted as numbers of cells that do not match, which are added up.

    `spread` is that of ln g, `offset` [V] the standard deviation of the comparators', `clock` [s]
    the period at which they are read; 0 for none of them. Every episode has a die of its own.
    """
    cols = min(cols, words.shape[-1])
    keys = jax.random.split(jax.random.key(seed), len(words))
    numbers = (jnp.asarray(float(x)) for x in (spread, offset, clock or 1e-18))
    found = _searched(
        jnp.asarray(words), jnp.asarray(asked), fall_times(cols), *numbers, keys, cols=cols
    )
    return np.asarray(found)


def counted(words: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The best row for each query by the digital Hamming distance, the first of equal ones."""
    return np.asarray(jax.vmap(lambda w, q: jnp.argmin(cam.distances(w, q), -1))(words, asked))


def exact(words: np.ndarray, asked: np.ndarray, r_match: float) -> dict[str, Any]:
    """Exact searches of one episode with wires of match lines, against the tables without."""
    made = cam.TernaryCam(words, g_low=STATES[0], g_high=STATES[1], r_match=r_match, t_sense=2e-9)
    search = jax.jit(jax.vmap(lambda q: cam.search(made, q, jnp.asarray([T_END]))))
    found = search(jnp.asarray(asked))
    seen = cam.lookup(cam.Curves.of(made, LEVELS), (2 * asked).astype(int))
    a, b = np.asarray(found.t_fall), np.asarray(seen.t_fall)
    fell = np.isfinite(a)
    apart = np.asarray(cam.distances(words, asked))
    least = lambda found: np.take_along_axis(apart, np.asarray(cam.nearest(found).row), 1)[:, 0]
    return {
        "r_match_ohm": r_match,
        "rows": words.shape[0],
        "cells": words.shape[1],
        "queries": len(asked),
        "largest_difference_of_t_fall": float(np.abs(b[fell] / a[fell] - 1).max()),
        "lines_up_at_the_end": int((~fell).sum()),
        "best_row_at_least_distance": float(np.mean(least(found) == apart.min(-1))),
        "of_the_tables": float(np.mean(least(seen) == apart.min(-1))),
        "median_t_fall_of_best_s": float(np.median(b.max(-1))),
        "energy_J": float(np.mean(found.energy)),
    }
