"""Latency and energy of searches in analog and ternary cells of the same words."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

import xbarjax as xb

from .tiles import G, scale, tile

ON, OFF = 150e-6, 1e-6  # [S], of memristors of ternary cells
LATE, END = 1.25, 2e-8  # of the latency; [s]


def ternary(words: np.ndarray) -> dict[str, Any]:
    """Cells that hold words of 0, 1 and 0.5."""
    of = lambda w, v_t: xb.Mosfet(w * 2.5e-4, v_t, 0.0, lam=0.05)
    opens = words == 0, words == 1  # whether a query of 1, of 0, discharges the line
    g = [np.where(x, ON, OFF) for x in opens]
    return {
        "16T": xb.cam.Ternary16T(*(x.astype(float) for x in opens), of(1, 0.3)),
        "2T2R": xb.cam.Ternary2T2R(*g, of(4, 0.2)),
        "4T2R": xb.cam.Ternary4T2R(*g, of(1, 0.2), of(1, 0.3)),
    }


def costs(of: xb.cam.Tile, queries: np.ndarray, truth: np.ndarray, bits: int) -> dict[str, Any]:
    """Latency, and energy per search and stored bit, sensed as soon as all lines tell."""
    many = eqx.filter_jit(jax.vmap(xb.cam.search, (None, 0, None)))
    ends = jnp.asarray([END])
    fall = np.asarray(many(of, queries, ends).t_fall)
    latency, hold = float(fall[~truth].max()), float(fall[truth].min())
    sensed = eqx.tree_at(lambda t: t.t_sense, of, jnp.full_like(of.t_sense, LATE * latency))
    found = many(sensed, queries, ends)
    margin = np.asarray(found.margin)
    case = {
        "latency_s": latency,
        "hold_s": hold if np.isfinite(hold) else None,
        "t_sense_s": LATE * latency,
        "wrong": int((np.asarray(found.match) != truth).sum()),
        "least_match_V": float(margin[truth].min()),
        "largest_mismatch_V": float(margin[~truth].max()),
    }
    for part in ("match", "static", "data"):
        case[f"{part}_J_per_bit"] = float(np.mean(getattr(found, f"energy_{part}"))) / bits
    return case


def asked_of(rng: np.random.Generator, words: np.ndarray, count: int) -> np.ndarray:
    """Stored words in levels, 16 of them, every other one with one level off; -1 is `x`."""
    rows = rng.choice(len(words), 16, replace=False)
    asked = np.where(words[rows] < 0, rng.integers(0, count, (16, words.shape[1])), words[rows])
    for k in range(1, 16, 2):
        c = rng.choice(np.flatnonzero(words[rows[k]] >= 0))
        asked[k, c] += 1 if asked[k, c] == 0 or (asked[k, c] < count - 1 and k % 4 == 1) else -1
    return asked


def energy() -> list[dict[str, Any]]:
    cases = []
    for n, count in ((16, 2), (64, 2), (16, 8)):
        rng = np.random.default_rng([7, n, count])
        words = rng.integers(0, count, (32, n))
        if count == 2:
            words[rng.random(words.shape) < 0.2] = -1
        asked = asked_of(rng, words, count)
        truth = np.all((asked[:, None] == words) | (words < 0), axis=-1)
        bits = words.size * (count - 1).bit_length()
        blank = tile(words.shape)
        edges, volts = scale(blank, count)
        known = words >= 0
        low = np.where(known, edges[np.maximum(words, 0)], -np.inf)
        high = np.where(known, edges[np.maximum(words, 0) + 1], np.inf)
        made = {"6T2M": (xb.cam.stored(blank, low, high, g_max=10 * G[1]), volts[asked])}
        if count == 2:
            for name, cell in ternary(np.where(known, words, 0.5)).items():
                made[name] = (xb.cam.Tile(cell, t_sense=END), asked.astype(float))
        for name, (one, queries) in made.items():
            one = eqx.tree_at(lambda t: t.c_data, one, jnp.full_like(one.c_data, 1e-15))
            case = {"cell": name, "cells": n, "levels": count}
            cases.append(case | costs(one, queries, truth, bits))
            print(cases[-1])
    return cases


def draw_energy(axes: Axes, cases: list[dict[str, Any]]) -> None:
    names = [f"{x['cell']}, {x['cells']} x {(x['levels'] - 1).bit_length()} bit" for x in cases]
    left = np.zeros(len(cases))
    parts = (("match", "0.2", "match lines"), ("data", "0.95", "data lines"))
    for part, shade, label in (*parts, ("static", "0.6", "search lines, static")):
        each = 1e15 * np.array([x[f"{part}_J_per_bit"] for x in cases])
        axes.barh(names, each, left=left, color=shade, edgecolor="k", lw=0.7, label=label)
        left += each
    for k, case in enumerate(cases):
        axes.annotate(f" {1e9 * case['latency_s']:.2g} ns", (left[k], k), va="center", fontsize=8)
    axes.set(xlabel="energy of a search per stored bit [fJ]", xlim=(0, 1.2 * left.max()))
    axes.set_title("at the bars: latency")
    axes.invert_yaxis()
    axes.legend(fontsize=8)
