"""Amplifiers, integrators and samplers in time, against exponentials of equations of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import xbarjax as xb
from reference.arrays_in_time import (
    C_CELL,
    C_COL,
    C_ROW,
    PS,
    R_COL,
    R_ROW,
    R_SOURCE,
    G,
    N,
    V,
    error,
    nodal,
)
from xbarjax.drive import waveform

TS = np.array([0.0, 20.0, 60.0, 200.0]) * PS
TIA = {
    "r_f": np.array([1e3, 2e3, 1.5e3, 3e3]),
    "gain": np.array([50.0, 1e3, 1e4, 200.0]),
    "v_offset": np.array([1e-3, -2e-3, 0.0, 3e-3]),
    "gbw": np.array([2e10, 1e11, 5e10, 3e10]),
    "c_f": np.array([3e-15, 1e-15, 2e-15, 4e-15]),
    "c_in": np.array([2e-15, 5e-15, 1e-15, 3e-15]),
}


def wave() -> waveform.Waveform:
    return waveform.pulse(V, np.linspace(30.0, 90.0, N) * PS, 10 * PS, start=5 * PS)


def array(readout: Any, **c: Any) -> xb.Crossbar:
    c = c or {"c_row": C_ROW, "c_col": C_COL, "c_cell": C_CELL}
    wires = xb.Wires(R_ROW, R_COL, **c)
    return xb.Crossbar(xb.Ohmic(jnp.asarray(G)), wires, xb.Drive(R_SOURCE), readout)


def amplified(x: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """`M dy/dt = s v_in + f - K y` of line nodes, the inputs `v` and the outputs of amplifiers."""
    c, k, s = nodal()
    lines = 2 * N * N
    size = lines + 2 * N
    m, big = np.zeros((size, size)), np.zeros((size, size))
    m[:lines, :lines], big[:lines, :lines] = c, k
    for i, j in np.ndindex(N, N):
        p, q = i * N + j, N * N + i * N + j
        big[[p, q], [p, q]] += G[i, j]
        big[[p, q], [q, p]] -= G[i, j]
    f = np.zeros(size)
    for j in range(N):
        last, v, out = N * N + (N - 1) * N + j, lines + j, lines + N + j
        lead = 1 / R_COL[-1, j]
        big[last, last] += lead - 1 / (R_COL[-1, j] + 100.0)  # what nodal() has there
        big[last, v] -= lead
        big[v, [last, v]] += -lead, lead
        big[v, [v, out]] += np.array([1, -1]) / x["r_f"][j]
        m[v, [v, out]] += x["c_in"][j] + x["c_f"][j], -x["c_f"][j]
        w = 2 * np.pi * x["gbw"][j]
        m[out, out] = 1
        big[out, [v, out]] = w, w / x["gain"][j]
        f[out] = w * x["v_offset"][j]
    return m, big, np.concatenate([s, np.zeros((2 * N, N))]), f


def exact(x: dict[str, Any], ts: Any) -> Any:
    """Outputs of the amplifiers, from corner to corner."""
    m, k, s, f = amplified(x)
    w, inverse = wave(), np.linalg.inv(m)
    volts = lambda t: np.array([np.interp(t, w.t[:, n], w.v[:, n]) for n in range(N)])
    knots = np.unique(np.concatenate([ts, np.ravel(w.t)]))
    knots = knots[(knots >= ts[0]) & (knots <= ts[-1])]
    y = np.linalg.solve(k, s @ volts(ts[0]) + f)
    found, size = {ts[0]: y}, len(k)
    for t_0, t_1 in zip(knots, knots[1:]):
        a = np.zeros((size + 2, size + 2))
        a[:size, :size] = -inverse @ k
        a[:size, -2] = inverse @ s @ (volts(t_1) - volts(t_0)) / (t_1 - t_0) * PS
        a[:size, -1] = inverse @ (s @ volts(t_0) + f)
        a[-2, -1] = 1 / PS
        y = (expm(a * (t_1 - t_0)) @ np.concatenate([y, [0.0, 1.0]]))[:size]
        found[t_1] = y
    return np.array([found[t][-N:] for t in ts])


def test_amplifiers_of_finite_bandwidth_agree_with_the_exact_solution() -> None:
    want = exact(TIA, TS)
    x = array(xb.Tia(**{k: jnp.asarray(v) for k, v in TIA.items()}))
    fine, finer = (xb.simulate(x, wave(), TS, steps_per_interval=n).output for n in (128, 256))
    assert 3.5 < error(fine, want) / error(finer, want) < 4.5
    assert error((4 * finer - fine) / 3, want) < 1e-7
    for rtol in (1e-3, 1e-5):
        s = xb.simulate(x, wave(), TS, rtol=rtol)
        assert error(s.output, want) < 3 * rtol
    rest = xb.read(x, np.zeros(N))
    np.testing.assert_allclose(s.output[0], rest.output, rtol=1e-9)


@pytest.mark.slow
def test_an_ideal_amplifier_and_what_a_static_one_is() -> None:
    plain = xb.Tia(1e3, 100.0, v_offset=1e-3)
    other = xb.Tia(1e3, 100.0, v_offset=1e-3, gbw=jnp.inf, c_f=0.0, c_in=0.0)
    want, got = (xb.simulate(array(r), wave(), TS, steps_per_interval=8) for r in (plain, other))
    np.testing.assert_allclose(got.output, want.output, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.q_out, want.q_out, rtol=1e-9, atol=1e-25)


def test_an_integrator_holds_the_charge() -> None:
    """An ideal one to rounding; with a leak, by the equation of its capacitor alone."""
    c, q = 50e-15, 1e-16
    x = array(xb.Integrator(c, 1e-9, q_injected=q))
    s = xb.simulate(x, wave(), TS, rtol=1e-3)
    np.testing.assert_allclose(s.output, -(s.q_out + q) / c, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(s.output[0], -q / c, rtol=1e-12)


@pytest.mark.slow
def test_an_integrator_of_finite_gain_agrees_with_the_ports() -> None:
    """Where the array has no capacitors, `integrate` is exact."""
    ns = 1e-9
    readout = xb.Integrator(20e-15, ns, r_leak=1e6, gain=40.0, v_offset=2e-3, q_injected=2e-16)
    x = array(readout, c_row=None)
    still = waveform.Waveform(np.array([0.0, ns]), np.array([V, V]))
    want = xb.integrate(x, V)
    s = xb.simulate(x, still, np.array([0.0, ns]), steps_per_interval=200)
    coarse = xb.simulate(x, still, np.array([0.0, ns]), steps_per_interval=100)
    assert error((4 * s.output[-1] - coarse.output[-1]) / 3, want) < 1e-8
    s = xb.simulate(x, still, np.array([0.0, ns]), rtol=1e-5)
    assert error(s.output[-1], want) < 1e-4


def test_a_floating_line_is_sampled() -> None:
    """Without wires and capacitors of their own, a column is a source behind a resistor."""
    c, r, start = 10e-15, 5e3, 0.02
    sense = xb.VoltageSense(r_load=1e6, c_sample=c, r_switch=r, v_sampled=start)
    x = xb.Crossbar(xb.Ohmic(jnp.asarray(G)), readout=sense)
    still = waveform.Waveform(np.array([0.0, 1e-9]), np.array([V, V]))
    ts = np.array([0.0, 50.0, 200.0, 1000.0]) * PS
    total = G.sum(0) + 1e-6
    rest, tau = V @ G / total, (r + 1 / total) * c
    want = rest + (start - rest) * np.exp(-ts[:, None] / tau)
    s = xb.simulate(x, still, ts, rtol=1e-7, max_steps=4096)
    assert error(s.output, want) < 1e-5
    np.testing.assert_allclose(s.output[0], start)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", ["tia", pytest.param("integrator", marks=slow), pytest.param("sample", marks=slow)]
)
def test_gradients_reach_what_readouts_are_made_of(kind: str) -> None:
    ts = TS[:3]
    of = {
        "tia": lambda p: xb.Tia(1e3 * p["r"], 100.0, gbw=5e10 * p["w"], c_f=3e-15 * p["c"]),
        "integrator": lambda p: xb.Integrator(5e-15 * p["c"], 1e-9, 1e5 * p["r"], gain=50 * p["w"]),
        "sample": lambda p: xb.VoltageSense(c_sample=5e-15 * p["c"], r_switch=1e3 * p["r"]),
    }[kind]

    @jax.jit
    @jax.value_and_grad
    def loss(p):
        w = waveform.pulse(V, 30 * PS * p["t"] * jnp.ones(N), 10 * PS, start=5 * PS)
        s = xb.simulate(array(of(p), c_col=C_COL), w, ts, steps_per_interval=6)
        return 1e2 * jnp.sum(s.output[1:] @ jnp.arange(1.0, N + 1))

    at = {k: jnp.asarray(1.0) for k in "rctw"}
    got = loss(at)[1]
    for name in at:
        to = lambda h, name=name: loss(at | {name: 1.0 + h})[0]
        h = 1e-3
        slope = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        np.testing.assert_allclose(got[name], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: xb.Tia(1e3, gbw=0.0), "gbw is 0 Hz"),
        (lambda: xb.Tia(1e3, c_f=-1e-15), "c_f is -1e-15 F"),
        (lambda: xb.Integrator(1e-15, 1e-9, c_in=jnp.inf), "c_in is inf F"),
        (lambda: xb.VoltageSense(c_sample=0.0), "c_sample is 0 F"),
        (lambda: xb.VoltageSense(0.0, c_sample=1e-15), "r_load is 0 ohm"),
        (
            lambda: xb.simulate(array(xb.Tia(1e3, 100.0, v_low=-1.0, v_high=1.0)), wave(), TS),
            "leave v_low",
        ),
    ],
)
def test_bad_input_is_named(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
