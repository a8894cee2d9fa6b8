"""A 4 x 4 array with capacitors on every node, as an `xb.Crossbar` and as matrices of its own:
the exact solution by matrix exponentials from corner to corner of a waveform."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

import xbarjax as xb
from xbarjax import waveform

N = 4
R_SOURCE, R_IN = 50.0, 100.0
RNG = np.random.default_rng(0)
G = RNG.uniform(1e-6, 1e-4, (N, N))
R_ROW, R_COL = RNG.uniform(1, 5, (2, N, N))
C_ROW, C_COL, C_CELL = RNG.uniform(0.2e-15, 1e-15, (3, N, N))
V = np.linspace(0.05, 0.2, N)
PS = 1e-12
TS = np.array([0.0, 1.0, 2.5, 6.0]) * PS


def array(cell: Any = None, scale: float = 1.0, **more: Any) -> xb.Crossbar:
    c = {"c_row": scale * C_ROW, "c_col": C_COL, "c_cell": C_CELL} | more
    wires = xb.Wires(jnp.asarray(R_ROW), jnp.asarray(R_COL), **c)
    cell = xb.Ohmic(jnp.asarray(G)) if cell is None else cell
    return xb.Crossbar(cell, wires, xb.Drive(R_SOURCE), xb.VirtualGround(R_IN))


def wave() -> waveform.Waveform:
    """A pulse of another length on every line."""
    return waveform.pulse(V, np.linspace(1.0, 3.0, N) * PS, 0.5 * PS, start=0.2 * PS)


def nodal(scale: float = 1.0) -> tuple[Any, Any, Any]:
    """`C dv/dt = s v_in - K v` over row nodes, then column nodes, without the cells."""
    row, col = np.arange(N * N).reshape(N, N), N * N + np.arange(N * N).reshape(N, N)
    size = 2 * N * N
    c, k, s = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, N))

    def join(m, p, q, x):
        m[p, p] += x
        if q is not None:
            m[q, q] += x
            m[p, q] -= x
            m[q, p] -= x

    for i, j in np.ndindex(N, N):
        join(c, row[i, j], None, scale * C_ROW[i, j])
        join(c, col[i, j], None, C_COL[i, j])
        join(c, row[i, j], col[i, j], C_CELL[i, j])
        if j > 0:
            join(k, row[i, j], row[i, j - 1], 1 / R_ROW[i, j])
        else:
            join(k, row[i, 0], None, 1 / (R_ROW[i, 0] + R_SOURCE))
            s[row[i, 0], i] = 1 / (R_ROW[i, 0] + R_SOURCE)
        if i < N - 1:
            join(k, col[i, j], col[i + 1, j], 1 / R_COL[i, j])
        else:
            join(k, col[i, j], None, 1 / (R_COL[i, j] + R_IN))
    return c, k, s


def volts(w: waveform.Waveform, t: float) -> Any:
    return np.array([np.interp(t, w.t[:, n], w.v[:, n]) for n in range(N)])


def out(v: Any) -> Any:
    return v[..., -N:] / (R_COL[-1] + R_IN)


def exact(wave: waveform.Waveform, ts: Any, scale: float = 1.0) -> tuple[Any, Any]:
    """Output currents and charges at some times, by exponentials from corner to corner."""
    c, k, s = nodal(scale)
    for i, j in np.ndindex(N, N):
        p, q = i * N + j, N * N + i * N + j
        k[[p, q], [p, q]] += G[i, j]
        k[[p, q], [q, p]] -= G[i, j]
    size, inverse = len(c), np.linalg.inv(c)
    knots = np.unique(np.concatenate([ts, np.ravel(wave.t)]))
    knots = knots[(knots >= ts[0]) & (knots <= ts[-1])]
    v, q = np.linalg.solve(k, s @ volts(wave, ts[0])), np.zeros(N)
    found = {ts[0]: (out(v), q)}
    for t_0, t_1 in zip(knots, knots[1:]):
        v_0, v_1 = volts(wave, t_0), volts(wave, t_1)
        # voltages, their integral, time and 1
        m = np.zeros((2 * size + 2, 2 * size + 2))
        m[:size, :size] = -inverse @ k
        m[:size, -2] = inverse @ s @ (v_1 - v_0) / (t_1 - t_0) * PS
        m[:size, -1] = inverse @ s @ v_0
        m[size:-2, :size] = np.eye(size)
        m[-2, -1] = 1 / PS
        z = expm(m * (t_1 - t_0)) @ np.concatenate([v, np.zeros(size + 1), [1.0]])
        v, q = z[:size], q + out(z[size:-2])
        found[t_1] = (out(v), q)
    return np.array([found[t][0] for t in ts]), np.array([found[t][1] for t in ts])


def error(got: Any, want: Any) -> float:
    return float(np.abs(np.asarray(got) - want).max() / np.abs(want).max())
