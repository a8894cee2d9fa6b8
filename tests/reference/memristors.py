"""Memristor models in NumPy, from their papers: rates and currents as functions of state and
voltage. Parameters are keyword arguments under the names of the library; no code is shared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from .memory import Rate


def vteam(v: Any, w: Any, p: dict[str, Any]) -> np.ndarray:
    return _threshold(v, p["v_off"], p["k_off"], p["alpha_off"]) + _threshold(
        v, p["v_on"], p["k_on"], p["alpha_on"]
    )


def team(v: Any, w: Any, p: dict[str, Any]) -> np.ndarray:
    share = (w - p["w_on"]) / (p["w_off"] - p["w_on"])
    i = v / ((1 - share) * p["r_on"] + share * p["r_off"])
    off = _threshold(i, p["i_off"], p["k_off"], p["alpha_off"])
    return off + _threshold(i, p["i_on"], p["k_on"], p["alpha_on"])


def linear_ion_drift(v: Any, w: Any, p: dict[str, Any]) -> np.ndarray:
    x = w / p["length"]
    i = v / (p["r_off"] - x * (p["r_off"] - p["r_on"]))
    speed = p["mobility"] * p["r_on"] * i / p["length"]
    return speed * WINDOWS[p["window"]](x, i, p.get("p"))


def yakopcic(v: Any, x: Any, p: dict[str, Any]) -> np.ndarray:
    v, x = np.broadcast_arrays(np.asarray(v, float), np.asarray(x, float))
    g = np.zeros_like(x)
    g = np.where(v > p["v_p"], p["k_p"] * (np.exp(v) - math.exp(p["v_p"])), g)
    g = np.where(v < -p["v_n"], -p["k_n"] * (np.exp(-v) - math.exp(p["v_n"])), g)
    w_p, w_n = (p["x_p"] - x) / (1 - p["x_p"]) + 1, x / (1 - p["x_n"])
    up = np.where(x >= p["x_p"], np.exp(-p["alpha_p"] * (x - p["x_p"])) * w_p, 1.0)
    down = np.where(x <= 1 - p["x_n"], np.exp(p["alpha_n"] * (x + p["x_n"] - 1)) * w_n, 1.0)
    return p["eta"] * g * np.where(p["eta"] * v >= 0, up, down)


def messaris(v: Any, r: Any, p: dict[str, Any]) -> np.ndarray:
    v, r = np.broadcast_arrays(np.asarray(v, float), np.asarray(r, float))
    up, down = p["r_p0"] + p["r_p1"] * v - r, r - p["r_n0"] - p["r_n1"] * v
    raised = p["k_p"] * (np.exp(p["t_p"] * np.abs(v)) - 1) * (np.exp(p["c_p"] * up) - 1)
    lowered = p["k_n"] * (np.exp(p["t_n"] * np.abs(v)) - 1) * (np.exp(p["c_n"] * down) - 1)
    return np.where((v > 0) & (up > 0), raised, np.where((v < 0) & (down > 0), lowered, 0.0))


def _threshold(x: Any, x_0: float, k: float, alpha: float) -> np.ndarray:
    above = np.asarray(x) / x_0 > 1
    return np.where(above, k * np.abs(np.asarray(x) / x_0 - 1) ** alpha, 0.0)


WINDOWS: dict[str, Any] = {
    "none": lambda x, i, p: 1.0,
    "joglekar": lambda x, i, p: 1 - np.abs(2 * x - 1) ** (2 * p),
    "biolek": lambda x, i, p: 1 - np.abs(x - np.where(i < 0, 1.0, 0.0)) ** (2 * p),
    "prodromakis": lambda x, i, p: 1 - ((x - 0.5) ** 2 + 0.75) ** p,
}


def explicit_steps(
    rate: Rate, corners: np.ndarray, x: np.ndarray, want: np.ndarray, most: float, limit: int
) -> int:
    """Fewest accepted steps of SciPy's explicit RK45 between all corners that end within `most` of
    `want`, among tolerances of one per factor of 3; `limit` if that many are not enough."""
    least = limit
    for rtol in 3.0 ** -np.arange(6, 24):
        y, steps = np.asarray(x, float), 0
        for start, end in zip(corners[:-1], corners[1:]):
            slope = lambda t, y: _inside(rate, t, y)
            found = solve_ivp(slope, (start, end), y, method="RK45", rtol=rtol, atol=rtol * 1e-2)
            y, steps = np.clip(found.y[:, -1], 0, 1), steps + found.t.size - 1
            if not found.success or steps >= limit:
                steps = limit
                break
        if steps >= limit:
            break
        if np.abs(y - want).max() <= most:
            least = min(least, steps)
            break
    return least


def _inside(rate: Rate, t: Any, y: np.ndarray) -> np.ndarray:
    inside = np.clip(y, 0, 1)
    dy = rate(t, inside)
    return np.where(((y <= 0) & (dy < 0)) | ((y >= 1) & (dy > 0)), 0, dy)
