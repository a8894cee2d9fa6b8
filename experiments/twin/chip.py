"""Chips that are not the model: a nodal solve by SciPy, and an instrument that is noisy and rounds.

Every node of every line is an unknown, and the matrix is factored by sparse LU. Nothing comes from
xbarjax. A chip has two parasitics that its model lacks: every wire segment has a resistance of its
own, and so has the contact of every driver.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse
from scipy.linalg import hadamard
from scipy.sparse.linalg import splu

V_READ = 0.2  # [V]


@dataclasses.dataclass(frozen=True)
class Chip:
    """A crossbar with drivers at column 0 and ammeters at 0 ohm below the last row.

    `g`: conductances [S] at 0 V; `b`: nonlinearity [1/V] of `I = (g / b) sinh(b v)`, 0 for ohmic
    cells; `r_row`, `r_col`: resistance [ohm] of each segment, towards the driver and towards the
    ammeter; `r_contact`: resistance [ohm] of each driver's contact.
    """

    g: np.ndarray
    r_row: np.ndarray
    r_col: np.ndarray
    r_contact: np.ndarray
    b: float = 0.0

    def currents(self, v_row: np.ndarray, v_col: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Currents [A] out of the drivers and into the ammeters, `(reads, lines)` each, for their
        voltages [V]."""
        rows, cols = self.g.shape
        row = np.arange(rows * cols).reshape(rows, cols)
        col = row + rows * cols
        size = 2 * rows * cols
        lead_in = 1 / (self.r_row[:, 0] + self.r_contact)
        lead_out = 1 / self.r_col[-1]
        parts = [
            _edges(row[:, 1:], row[:, :-1], 1 / self.r_row[:, 1:], size),
            _edges(col[1:], col[:-1], 1 / self.r_col[:-1], size),
            _grounded(row[:, 0], lead_in, size),
            _grounded(col[-1], lead_out, size),
        ]
        wires = sum(parts[1:], parts[0])
        across = _incidence(row.ravel(), col.ravel(), size)
        driven = np.zeros((size, len(v_row)))
        driven[row[:, 0]] = lead_in[:, None] * v_row.T
        driven[col[-1]] = lead_out[:, None] * v_col.T
        v = splu((wires + _conductor(across, self.g.ravel())).tocsc()).solve(driven)
        if self.b > 0:
            for k in range(len(v_row)):
                v[:, k] = self._newton(wires, across, driven[:, k], v[:, k])
        into = lead_in[:, None] * (v_row.T - v[row[:, 0]])
        out = lead_out[:, None] * (v[col[-1]] - v_col.T)
        return into.T, out.T

    def _newton(self, wires, across, driven, v):
        g = self.g.ravel()
        for _ in range(50):
            drop = across @ v
            current = g / self.b * np.sinh(self.b * drop)
            slope = g * np.cosh(self.b * drop)
            off = wires @ v + across.T @ current - driven
            step = splu((wires + _conductor(across, slope)).tocsc()).solve(off)
            v = v - step
            if np.abs(step).max() < 1e-13:
                return v
        raise ArithmeticError("Newton's method did not converge")

    def holding(self, g: np.ndarray) -> "Chip":
        """The same chip, its cells programmed to other conductances [S]."""
        return dataclasses.replace(self, g=np.asarray(g, float))


def _incidence(a, b, size):
    at = np.arange(a.size)
    ones = np.concatenate([np.ones(a.size), -np.ones(a.size)])
    where = np.concatenate([at, at]), np.concatenate([a, b])
    return sparse.csr_matrix((ones, where), shape=(a.size, size))


def _conductor(incidence, g):
    return incidence.T @ sparse.diags(g) @ incidence


def _edges(a, b, g, size):
    return _conductor(_incidence(a.ravel(), b.ravel(), size), g.ravel())


def _grounded(nodes, g, size):
    return sparse.csr_matrix((g, (nodes, nodes)), shape=(size, size))


def made(
    rng: np.random.Generator,
    shape: tuple[int, int],
    r_row: float | np.ndarray,
    r_col: float | np.ndarray,
    r_contact: float,
    *,
    spread: float = 0.1,
    contact: float = 0.5,
    b: float = 0.0,
) -> Chip:
    """A chip with cells of 1 to 100 uS, a normal spread of every segment and a uniform one of every
    contact, both relative to their means [ohm]."""
    segment = lambda mean: mean * (1 + spread * rng.standard_normal(shape)).clip(0.1)
    contacts = r_contact * (1 + contact * rng.uniform(-1, 1, shape[0]))
    return Chip(rng.uniform(1e-6, 1e-4, shape), segment(r_row), segment(r_col), contacts, b)


class Reads(NamedTuple):
    """What an instrument drove [V] and read [A], with the deviations [A] of its noise and of its
    converters together, `(reads, 1)`."""

    v_row: np.ndarray
    v_col: np.ndarray
    i_in: np.ndarray
    i_out: np.ndarray
    sigma_in: np.ndarray
    sigma_out: np.ndarray


def inputs(
    rng: np.random.Generator,
    shape: tuple[int, int],
    sets: int,
    volts: tuple[float, ...] = (V_READ,),
) -> tuple[np.ndarray, np.ndarray]:
    """Voltages [V] of rows and of columns in Hadamard reads: all lines of a family have plus or
    minus one voltage, those of the other are at 0 V. Rows are driven first, then columns.

    Lines have random signs of their own, anew in each set: so no read drives all lines alike, whose
    current would widen the range of the converter tenfold."""
    every = []
    for _ in range(sets):
        for v in volts:
            for family in (0, 1):
                n = shape[family]
                signs = v * hadamard(n) * rng.choice([-1.0, 1.0], n)
                pair = [np.zeros((n, m)) for m in shape]
                pair[family] = signs
                every.append(pair)
    v_row, v_col = (np.concatenate(x) for x in zip(*every))
    return v_row, v_col


def reads(
    rng: np.random.Generator,
    chip: Chip,
    v_row: np.ndarray,
    v_col: np.ndarray,
    noise: float,
    bits: int | None,
) -> Reads:
    """What the instrument reads. It ranges by the largest current of each kind of terminal, apart
    for reads that drive rows and such that drive columns, and for each voltage. That is the full
    scale of its converters, on both sides of 0, and `noise` is relative to it.
    A reading that noise carries beyond full scale is clipped, which takes about 1 % off chi2."""
    kinds = np.stack([np.abs(v_row).max(1), np.abs(v_col).max(1)], 1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    seen, sigmas = [], []
    for i in chip.currents(v_row, v_col):
        full = np.array([np.abs(i[kind == k]).max() for k in range(kind.max() + 1)])[kind][:, None]
        i = i + noise * full * rng.standard_normal(i.shape)
        lsb = 0.0 * full
        if bits is not None:
            lsb = 2 * full / 2**bits
            i = (lsb * np.round(i / lsb)).clip(-full, full)
        seen.append(i)
        sigmas.append(np.sqrt((noise * full) ** 2 + lsb**2 / 12))
    return Reads(v_row, v_col, *seen, *sigmas)
