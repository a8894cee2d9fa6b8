"""Read sweeps of cells in an array of one row, made by SciPy, and their twins by
experiments/hfox_twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from experiments.device_fit.data import Curves
from experiments.hfox_twin.twins import SHARED, identified, numbers, reads
from scipy.optimize import brentq

import xbarjax as xb

B, R_S, R_SHUNT, OFFSET = 4.5, 6e3, 560.0, 6e-7  # [1/V], [ohm], [ohm], [A]
G = np.geomspace(8e-6, 3e-4, 12)  # [S]
V = np.linspace(0.0, 0.7, 15)  # [V]
NOISE = 2e-8  # [A]
TRUE = {"offset_A": OFFSET, "b_per_V": B, "r_s_ohm": R_S}


def curves(g: np.ndarray, v: np.ndarray) -> Curves:
    """Sweeps of films in series with resistors: the current at which their voltages add up."""

    def current(g: float, v: float) -> float:
        off = lambda i: np.arcsinh(B * i / g) / B + (R_S + R_SHUNT) * i - v
        return brentq(off, -1e-12, g / B * np.sinh(B * v) + 1e-12, xtol=1e-18)  # pyright: ignore

    rng = np.random.default_rng(3)
    i = np.array([[current(a, x) for x in v] for a in g])
    return Curves(np.arange(len(g)), v, i + OFFSET + NOISE * rng.standard_normal(i.shape))


def twin_of(c: Curves) -> xb.Twin:
    return identified(SHARED[-1], c, reads(c, np.full(len(c.v), NOISE)), 3.0)


def test_offset_series_resistance_and_curves_are_found_together() -> None:
    twin = twin_of(curves(G, V))
    assert twin.converged and not twin.refuted
    for name, (value, std) in numbers(SHARED[-1], twin).items():
        assert abs(value - TRUE[name]) < 3 * std, name
        assert std < 0.02 * TRUE[name], name
    cell: Any = twin.crossbar.cell
    std: Any = twin.std.cell
    off = np.abs(np.asarray(cell.first.g)[0] - G) / np.asarray(std.first.g)[0]
    assert off.max() < 4 and 0.4 < np.mean(off < 1) <= 1
    assert float(twin.chi2) == pytest.approx(1, abs=5 * np.sqrt(2 / 165))


def test_equal_cells_at_low_voltages_do_not_tell_the_curve_from_the_resistance() -> None:
    """A curve that hardly bends has two numbers, a slope and a bend, for `g`, `b` and `r_s`."""
    twin = twin_of(curves(np.full_like(G, 1e-4), V / 3))
    assert not twin.refuted
    found = numbers(SHARED[-1], twin)
    for name in ("b_per_V", "r_s_ohm"):
        value, std = found[name]
        assert std > 0.5 * value, name
    assert "cell.first.b + " in twin.advice, twin.advice
    assert "cell.second.g is known" in twin.advice, twin.advice
    value, std = found["offset_A"]
    assert abs(value - OFFSET) < 3 * std < 0.05 * OFFSET
