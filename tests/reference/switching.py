"""Rates and currents of devices with memory in NumPy, from their published equations: change per
second of the state `x` at the voltage `v` [V]. Shares no code with the library."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq

Q, K = 1.602176634e-19, 1.380649e-23


def stanford_current(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 1e-3 * np.exp(-x / 2.5e-10) * np.sinh(v / 0.25)


def stanford_rate(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    kt = K * (298.0 + np.abs(v * stanford_current(x, v)) * 2.1e3)
    gamma = 16.0 - 0.8 * (x * 1e9) ** 3
    gamma = np.where(gamma * np.abs(v) / 12e-9 < 1.4e9, 0.0, gamma)
    return -10.0 * np.exp(-Q * 0.6 / kt) * np.sinh(Q * gamma * 2.5e-10 * v / (12e-9 * kt))


def thermal_current(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    f = 0.5 + 0.5 * np.tanh(0.252796285 * (7.19357064 / 2 + 332.805839 - x))
    return v / (5.35882879e-3 * np.exp(5220.47417 / x) * f + 262.5 * 4.90025335)


def thermal_rate(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v * thermal_current(x, v) - 0.20558726e-3 * (x - 325)) / 49.62776831e-12


def ecram_rate(x: np.ndarray, v: np.ndarray, tau: float = np.inf) -> np.ndarray:
    """`v`: of the gate, in pulses of 1 V and 1 us."""
    up, down = 1 - 0.1153 * x / 1.1724, 1 + 0.5085 * x / 0.8276
    return 0.002 / 1e-6 * v * np.where(v > 0, up, down) - x / tau


def diffusive_current(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Of positive voltages."""
    return _diffusive(x, v)[1]


def diffusive_rate(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, _ = _diffusive(x, np.abs(v))
    kt = K * 300.0
    grows = np.exp(-Q * 0.99 / kt) * 1e2 * np.exp(Q * 0.28 * u / kt)
    return grows - np.exp(-Q * 0.65 / kt) * 3e-26 / np.maximum(x, 1e-10) ** 3


def _diffusive(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voltage across the gap and current, by Newton's method from above on a convex equation."""
    thin = lambda d: 2e-6 * 0.5 * 28e-9 / (1.5 * d)  # resistivity
    area = lambda d: np.pi * (d / 2) ** 2
    r_stub = thin(2e-9) * 4.8e-9 / area(2e-9)
    metal = area(x) / (thin(np.maximum(x, 1e-30)) * 2e-10)
    oxide = (area(2e-9) - area(x)) / (2e4 * 2e-10)
    through = lambda u: u * (oxide * (1 + 55e-9 * u / 2e-10) + metal)
    u = v * np.ones_like(x)
    for _ in range(8):
        slope = 1 + r_stub * (metal + oxide * (1 + 2 * 55e-9 * u / 2e-10))
        u = u - (u + r_stub * through(u) - v) / slope
    return u, through(u)


EPS0, H, M_E = 8.8541878128e-12, 6.62607015e-34, 9.1093837015e-31
JART_AREA = np.pi * 45e-9**2
JART_PLUG = 2.6e-9 / (20e26 * 2 * Q * 4e-6 * JART_AREA)


def jart_contact(v: np.ndarray, t: np.ndarray, n: np.ndarray, to_set: bool) -> np.ndarray:
    """Size of the current through the contact at a voltage of size `v`."""
    signed = -v if to_set else v
    lowering = Q**3 * 2 * n * np.maximum(0.08 - signed, 0) / (8 * np.pi**2 * (5.5 * EPS0) ** 3)
    phi = Q * np.where(signed < 0.08, np.maximum(0.18 - lowering**0.25, 0), 0.18)
    kt = K * t
    if not to_set:
        return JART_AREA * 6.01e5 * t**2 * np.exp(-phi / kt) * np.expm1(Q * v / kt)
    w_00 = Q * H / (4 * np.pi) * np.sqrt(2 * n / (M_E * 17 * EPS0))
    w_0 = w_00 / np.tanh(w_00 / kt)
    prime = w_00 / (w_00 / kt - np.tanh(w_00 / kt))
    root = np.sqrt(np.pi * w_00 * (Q * v + phi / np.cosh(w_00 / kt) ** 2))
    return JART_AREA * 6.01e5 * t / K * root * np.exp(-phi / w_0) * np.expm1(Q * v / prime)


def jart_inside(log_n: float, v: float) -> tuple[float, float, float, float]:
    """Size of the current, voltage of the contact, temperature, resistance of the disc: the least
    voltage of the contact that obeys Kirchhoff's law, first on a fine grid, then by Brent's
    method."""
    n, size, to_set = np.exp(log_n), abs(v), v < 0
    disc = 0.4e-9 / (n * 2 * Q * 4e-6 * JART_AREA)
    r, hot = disc + JART_PLUG + 650 + 719.2437, 719.2437**2 * 3.92e-3 * 90471.47

    def all_of(y):
        contact, rest = np.exp(y) * size, -np.expm1(y) * size
        i = rest / r
        for _ in range(20):  # Newton's method on a cubic
            i = i - (r * i + hot * i**3 - rest) / (r + 3 * hot * i**2)
        t = 293 + i * (contact + i * (disc + JART_PLUG)) * 1.572e7 * (1 if to_set else 0.27)
        off = np.log(jart_contact(contact, t, n, to_set)) - np.log(i)
        return off, i, contact, t

    grid = np.linspace(-16, -1e-9, 321)
    k = int(np.argmax(all_of(grid)[0] > 0))
    tight: Any = {"xtol": 1e-14, "rtol": 1e-14}
    y = brentq(lambda y: all_of(y)[0], grid[k - 1], grid[k], **tight)
    _, i, contact, t = all_of(y)
    return i, contact, t, disc


def jart_current(log_n: float, v: float) -> float:
    return np.sign(v) * jart_inside(log_n, v)[0] if v else 0.0


def jart_rate(log_n: float, v: float) -> float:
    if v == 0:
        return 0.0
    i, contact, t, disc = jart_inside(log_n, v)
    n = np.exp(log_n)
    field = i * disc / 0.4e-9 if v < 0 else (contact + i * (disc + JART_PLUG)) / 3e-9
    gamma = 2 * field * 0.25e-9 / (np.pi * 1.35)
    even = np.sqrt(1 - gamma**2) + gamma * np.arcsin(gamma)
    odd = gamma * np.pi / 2
    jumps = np.exp(-Q * 1.35 * (even - odd) / (K * t)) - np.exp(-Q * 1.35 * (even + odd) / (K * t))
    left = 1 - (n / 20e26) ** 10 if v < 0 else 1 - (0.008e26 / n) ** 10
    ions = 2 * Q * (20e26 + n) / 2 * 0.25e-9 * 2e13 * JART_AREA * jumps * left
    return -np.sign(v) * ions / (JART_AREA * 0.4e-9 * Q * 2) / n
