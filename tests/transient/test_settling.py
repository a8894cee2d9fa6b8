"""Delays, modes and settling times against dense matrices, closed forms and transients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh

import xbarjax as xb
from reference.arrays_in_time import C_ROW, PS, G, N, V, array, nodal, out
from xbarjax.drive import waveform


def matrices() -> tuple[Any, Any, Any]:
    c, k, s = nodal()
    for i, j in np.ndindex(N, N):
        p, q = i * N + j, N * N + i * N + j
        k[[p, q], [p, q]] += G[i, j]
        k[[p, q], [q, p]] -= G[i, j]
    return c, k, s


def test_the_delay_is_the_first_moment() -> None:
    c, k, s = matrices()
    settled = np.linalg.solve(k, s @ V)
    want = out(np.linalg.solve(k, c @ settled)) / out(settled)
    np.testing.assert_allclose(xb.elmore_delay(array(), V), want, rtol=1e-9)
    # what a pulse that is long enough lacks at its end
    long = xb.simulate(
        array(), waveform.step(V, PS), np.array([0.0, 200.0]) * PS, steps_per_interval=400
    )
    i = np.asarray(xb.read(array(), V).i_out)
    lacks = i * 199.5 * PS - np.asarray(long.q_out[-1])
    np.testing.assert_allclose(lacks, i * want, rtol=1e-3)


def test_a_line_without_cells_has_the_delay_of_elmore() -> None:
    """`R_s N c + r c N (N - 1) / 2`, with the lead-in in `R_s`, seen by a cell that barely is."""
    n, r, c, r_s = 16, 3.0, 0.4e-15, 70.0
    cell = xb.Ohmic(jnp.zeros((1, n)).at[0, -1].set(1e-12))
    x = xb.Crossbar(cell, xb.Wires(r, 0.0, c_row=c), xb.Drive(r_s))
    want = (r_s + r) * n * c + r * c * n * (n - 1) / 2
    np.testing.assert_allclose(xb.elmore_delay(x, np.array([0.2]))[-1], want, rtol=1e-6)


def test_the_slowest_mode_is_an_eigenvalue() -> None:
    c, k, _ = matrices()
    want = eigh(c, k, eigvals_only=True)[-1]
    np.testing.assert_allclose(xb.slowest_mode(array()), want, rtol=1e-5)
    g = jnp.asarray(G)
    mode = lambda c, g: xb.slowest_mode(array(xb.Ohmic(g), c_row=c * C_ROW))
    slopes = jax.grad(mode, (0, 1))(1.0, g)

    def exactly(scale: float, more: float) -> float:
        c, k, _ = matrices()
        of_rows = np.arange(N * N)
        c[of_rows, of_rows] += (scale - 1) * C_ROW.ravel()
        k[[1, 17], [1, 17]] += more
        k[[1, 17], [17, 1]] -= more
        return float(eigh(c, k, eigvals_only=True)[-1])

    h = 1e-4
    slope = (exactly(1 + h, 0) - exactly(1 - h, 0)) / (2 * h)
    np.testing.assert_allclose(slopes[0], slope, rtol=1e-2)
    slope = (exactly(1, h * 1e-4) - exactly(1, -h * 1e-4)) / (2e-4 * h)
    np.testing.assert_allclose(slopes[1][0, 1], slope, rtol=1e-2)


@pytest.mark.few(1)
@pytest.mark.parametrize("bits", [4, 10])
def test_one_time_constant_settles_as_its_exponential(bits: int) -> None:
    g, r_s, c, edge = 1e-4, 2e3, 1e-15, 1 * PS
    cell = xb.Ohmic(jnp.asarray([[g]]))
    x = xb.Crossbar(cell, xb.Wires(c_row=c), xb.Drive(r_s))
    tau = c / (g + 1 / r_s)
    at_the_edge = tau / edge * (1 - np.exp(-edge / tau))
    want = edge + tau * np.log(at_the_edge * 2 ** (bits + 1))
    got = xb.settling_time(x, np.array([0.2]), bits, edge=edge, until=100 * PS)
    np.testing.assert_allclose(got, [want], rtol=1e-2)
    assert np.isinf(xb.settling_time(x, np.array([0.2]), 10, edge=edge, until=3 * PS)).all()


def test_no_mode_is_missed_by_symmetry() -> None:
    """Of one cell, both sides alike, `(c + 2 c_cell) / (1 / r + 2 g)` is between them."""
    c, g, r = 1e-15, 1e-6, 1e3
    wires = xb.Wires(c_row=c, c_col=c, c_cell=c)
    x = xb.Crossbar(xb.Ohmic(jnp.asarray([[g]])), wires, xb.Drive(r), xb.VirtualGround(r))
    np.testing.assert_allclose(xb.slowest_mode(x), 3 * c / (1 / r + 2 * g), rtol=1e-6)


def test_an_amplifier_that_rings_settles_when_it_has_rung() -> None:
    """`w_0 = sqrt(w / (r_f c)), 2 d = 1 / (r_f c)` of a current into an input capacitance."""
    r_f, c_in, gbw = 1e3, 200e-15, 1e10
    cell = xb.Ohmic(jnp.asarray([[1e-6]]))
    x = xb.Crossbar(cell, readout=xb.Tia(r_f, gbw=gbw, c_in=c_in))
    bits, edge = 6, 1 * PS
    got = float(xb.settling_time(x, np.array([0.2]), bits, edge=edge, until=3e-9)[0])
    # the envelope, which the last crossing lies within half a period of
    decay = (1 / r_f + 1e-6) / (2 * c_in)
    w_0 = np.sqrt(2 * np.pi * gbw / (r_f * c_in))
    envelope = np.log(2 ** (bits + 1)) / decay
    assert envelope - np.pi / w_0 < got < envelope + np.pi / w_0


def test_bad_input_is_named() -> None:
    still = xb.Crossbar(xb.Ohmic(jnp.asarray(G)))
    for call, said in (
        (lambda: xb.slowest_mode(still), "no capacitance"),
        (lambda: xb.elmore_delay(array(xb.Sinh(jnp.asarray(G), 3.0)), V), "needs linear cells"),
        (lambda: xb.settling_time(array(), V, 4, edge=PS, until=PS), "longer than the edge of"),
        (
            lambda: xb.settling_time(
                xb.Crossbar(xb.Ohmic(jnp.asarray(G)), readout=xb.Integrator(1e-15, 1e-9)),
                V,
                4,
                edge=PS,
                until=2 * PS,
            ),
            "does not settle",
        ),
        (lambda: xb.settling_time(array(), V, 0, edge=PS, until=2 * PS), "bits is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
