"""Transients against the exact solution of the same linear circuit, against an integrator of SciPy
over an independent nodal equation, and against their own laws."""

from __future__ import annotations

from collections.abc import Callable

import chex
import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import xbarjax as xb
from reference.arrays_in_time import (
    C_COL,
    C_ROW,
    PS,
    R_COL,
    R_IN,
    R_ROW,
    R_SOURCE,
    TS,
    G,
    N,
    V,
    array,
    error,
    exact,
    nodal,
    out,
    volts,
    wave,
)
from xbarjax.drive import waveform
from xbarjax.kirchhoff.solution import Status


def test_steps_are_of_second_order_towards_the_exact_solution() -> None:
    i, q = exact(wave(), TS)
    errors = []
    for steps in (8, 16):
        s = xb.simulate(array(), wave(), TS, steps_per_interval=steps)
        errors.append((error(s.i_out, i), error(s.q_out, q)))
    ratios = np.array(errors)[:-1] / np.array(errors)[1:]
    assert np.all((ratios > 3.5) & (ratios < 4.5)), ratios
    fine = xb.simulate(array(), wave(), TS, steps_per_interval=512)
    finer = xb.simulate(array(), wave(), TS, steps_per_interval=1024)
    assert error((4 * finer.i_out - fine.i_out) / 3, i) < 1e-8
    assert error((4 * finer.q_out - fine.q_out) / 3, q) < 1e-8


def test_charge_that_flows_is_charge_that_is_stored() -> None:
    s = xb.simulate(array(), wave(), TS, steps_per_interval=3)
    stored = np.sum(C_ROW * s.v_row) + np.sum(C_COL * s.v_col)
    flown = jnp.sum(s.q_in[-1]) - jnp.sum(s.q_out[-1])
    np.testing.assert_allclose(flown, stored, rtol=1e-10)


def test_it_ends_where_a_read_is() -> None:
    want = xb.read(array(), V).i_out
    s = xb.simulate(
        array(), waveform.step(V, PS), np.array([0.0, 1e-9, 2e-9]), steps_per_interval=20
    )
    np.testing.assert_allclose(s.i_out[-1], want, rtol=1e-9)
    np.testing.assert_allclose(s.i_in[-1].sum(), want.sum(), rtol=1e-9)


def test_without_capacitors_every_time_is_a_read() -> None:
    none = dict.fromkeys(("c_row", "c_col", "c_cell"))
    for cell in (None, xb.Sinh(jnp.asarray(G), 3.0)):
        x = array(cell, **none)
        s = xb.simulate(x, wave(), TS)
        want = jax.vmap(lambda v, x=x: xb.read(x, v).i_out)(s.v_in)
        np.testing.assert_allclose(s.i_out, want, rtol=1e-10, atol=1e-10 * float(want.max()))


@pytest.mark.slow
def test_steps_are_as_long_as_errors_allow() -> None:
    """Whether or not word lines are ten thousand times faster."""
    taken = {}
    for scale in (1.0, 1e-4):
        i, q = exact(wave(), TS, scale)
        for rtol in (1e-2, 1e-4, 1e-6):
            s = xb.simulate(array(scale=scale), wave(), TS, rtol=rtol, max_steps=2048)
            assert error(s.i_out, i) < 5 * rtol and error(s.q_out, q) < 5 * rtol
            taken[scale, rtol] = int(s.accepted)
        assert taken[scale, 1e-6] < 6 * taken[scale, 1e-4]  # by the third root
    assert taken[1e-4, 1e-4] < 1.3 * taken[1.0, 1e-4]
    with pytest.raises(ValueError, match="max_steps is too small to reach"):
        xb.simulate(array(), wave(), TS, max_steps=20)


@pytest.mark.slow
def test_nonlinear_cells_agree_with_an_integrator_of_their_own() -> None:
    b, (c, k, s) = 8.0, nodal()
    inverse, w = np.linalg.inv(c), wave()

    def slope(t, v):
        i = np.ravel(G / b * np.sinh(b * (v[: N * N] - v[N * N :]).reshape(N, N)))
        v_in = volts(w, t)
        return inverse @ (s @ v_in - k @ v + np.concatenate([-i, i]))

    v, want = np.zeros(2 * N * N), []
    knots = np.unique(np.concatenate([TS, np.ravel(w.t)]))
    for t_0, t_1 in zip(knots, knots[1:]):
        if t_1 > TS[-1]:
            break
        v = solve_ivp(slope, (t_0, t_1), v, "Radau", rtol=1e-10, atol=1e-13).y[:, -1]
        if t_1 in TS:
            want.append(out(v))
    x = array(xb.Sinh(jnp.asarray(G), b))
    fine, finer = (xb.simulate(x, w, TS, steps_per_interval=n).i_out[1:] for n in (32, 64))
    assert error((4 * finer - fine) / 3, np.array(want)) < 1e-6


def test_what_is_fast_is_damped_and_not_followed() -> None:
    """Word lines are ten thousand times faster than the step, which is as exact as without."""
    i, _ = exact(wave(), TS, scale=1e-4)
    s = xb.simulate(array(scale=1e-4), wave(), TS, steps_per_interval=16)
    assert error(s.i_out, i) < 2e-3


def test_gradients_reach_widths_capacitors_and_conductances() -> None:
    at = {"width": jnp.asarray(2.0), "c": jnp.asarray(1.0), "g": jnp.asarray(G)}

    @jax.jit
    @jax.value_and_grad
    def charge(p):
        w = waveform.pulse(V, p["width"] * PS * jnp.ones(N), 0.5 * PS, start=0.2 * PS)
        x = array(xb.Ohmic(p["g"]), c_row=p["c"] * C_ROW)
        s = xb.simulate(x, w, TS[:3], steps_per_interval=4)
        return jnp.sum(s.q_out[-1] * jnp.arange(1.0, N + 1)) * 1e18

    got = charge(at)[1]
    for name, leaf in at.items():
        along = jnp.ones_like(leaf) * leaf
        to = lambda h, name=name, leaf=leaf, along=along: charge(at | {name: leaf + h * along})[0]
        h = 1e-3
        slope = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        np.testing.assert_allclose(jnp.sum(got[name] * along), slope, rtol=1e-6)


@pytest.mark.slow
def test_gradients_hold_the_steps_by_the_corners() -> None:
    """Widths that are the same on all lines, each on its own, forward and backward; and second
    derivatives."""
    at = jnp.full(N, 2.0)

    def charge(width, **how):
        w = waveform.pulse(V, width * PS, 0.5 * PS, start=0.2 * PS)
        s = xb.simulate(array(), w, TS[:3], **how)
        return jnp.sum(s.q_out[-1] * jnp.arange(1.0, N + 1)) * 1e15

    got = jax.jit(jax.grad(lambda w: charge(w, rtol=1e-5)))(at)
    there = jax.jit(lambda w: charge(w, rtol=1e-7, max_steps=4096))
    for k in (0, 2):
        h = 2e-2 * jnp.eye(N)[k]
        slope = (8 * (there(at + h) - there(at - h)) - there(at + 2 * h) + there(at - 2 * h)) / 0.24
        np.testing.assert_allclose(got[k], slope, atol=1e-3 * float(jnp.max(jnp.abs(got))))
    forward = jax.jvp(lambda w: charge(w, rtol=1e-5), (at,), (at,))[1]
    np.testing.assert_allclose(forward, jnp.sum(got * at), rtol=1e-9)


@pytest.mark.slow
def test_second_derivatives_go_forward_over_reverse() -> None:
    def charge(x):
        w = waveform.pulse(V, 2 * x * PS * jnp.ones(N), 0.5 * PS, start=0.2 * PS)
        return xb.simulate(array(), w, TS[:3], steps_per_interval=2).q_out[-1].sum() * 1e15

    got = jax.hessian(charge)(1.0)
    slope, h = jax.jit(jax.grad(charge)), 1e-4
    np.testing.assert_allclose(got, (slope(1 + h) - slope(1 - h)) / (2 * h), rtol=1e-5)


def test_it_lowers_for_accelerators() -> None:
    seen = lambda x, w: xb.simulate(x, w, TS).output
    lowered = jax.export.export(jax.jit(seen), platforms=("cpu", "cuda", "tpu"))(array(), wave())
    assert lowered.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.slow
def test_times_beside_a_corner_rest_and_currents_that_do_not_stay() -> None:
    """Times that miss a corner by rounding; arrays without an input, but with an offset or a charge
    of their own; a sampler without a switch; amplifiers without a memory, on wires without one."""
    at = np.array([0.0, 0.7, 2.5, 6.0]) * PS  # of corners at 0.2 + 0.5
    s = xb.simulate(array(), wave(), at, steps_per_interval=8)
    near = xb.simulate(array(), wave(), at + np.array([0, 1e-4, 0, 0]) * PS, steps_per_interval=8)
    np.testing.assert_allclose(s.i_out, near.i_out, atol=1e-3 * float(jnp.max(s.i_out)))
    on = lambda readout, **c: xb.Crossbar(
        xb.Ohmic(jnp.asarray(G)), xb.Wires(R_ROW, R_COL, **c), xb.Drive(R_SOURCE), readout
    )
    lines = {"c_row": C_ROW, "c_col": C_COL}
    none = waveform.step(0 * V, PS)
    rest = xb.simulate(on(xb.VirtualGround(R_IN, v_ref=0.2), **lines), none, TS)
    np.testing.assert_allclose(rest.i_out[-1], rest.i_out[0], rtol=1e-9)
    amplifier = xb.Tia(1e3, 100.0, v_offset=1e-3, gbw=1e10, c_f=1e-15)
    rest = xb.simulate(on(amplifier, **lines), none, TS)
    np.testing.assert_allclose(rest.output[-1], rest.output[0], rtol=1e-9)
    sampler = xb.VoltageSense(c_sample=1e-14)
    s = xb.simulate(on(sampler, **lines), waveform.step(V, PS), np.array([0.0, 1e-9, 2e-8]))
    np.testing.assert_allclose(s.output[-1], xb.read(on(sampler), V).output, rtol=1e-4)
    x = xb.Crossbar(
        xb.Ohmic(jnp.asarray(G)), xb.Wires(c_cell=1e-15), readout=xb.Tia(1e3, gbw=jnp.inf)
    )
    s = xb.simulate(x, wave(), TS)
    want = np.array([volts(wave(), t) @ G for t in TS])  # between corners, cells alone
    np.testing.assert_allclose(s.i_out[2:], want[2:], rtol=1e-9, atol=1e-9 * want.max())


def test_what_no_circuit_has_is_flagged_under_jit() -> None:
    status = jax.jit(lambda x, w, t: xb.simulate(x, w, t, steps_per_interval=1).status)
    good = array(), wave(), jnp.asarray(TS)
    assert int(status(*good)) == 0
    backwards = Status.TIME_NOT_RISING
    assert (
        Status(int(status(array(), wave(), jnp.asarray(TS)[jnp.asarray([0, 2, 1, 3])])))
        == backwards
    )
    negative = eqx.tree_at(lambda x: x.wires.c_row, array(), -jnp.asarray(C_ROW))
    assert Status.INVALID_CELL in Status(int(status(negative, *good[1:])))


@pytest.mark.slow
def test_a_cell_that_leaves_the_range_of_its_model_on_the_way_is_said() -> None:
    x = array(xb.Polynomial(jnp.asarray(G), 0.0, 0.0, v_max=0.5))
    with pytest.raises(ValueError, match="beyond the range"):
        xb.simulate(x, waveform.step(20 * V, PS), TS)


@pytest.mark.slow
def test_batches_single_precision_and_other_ends() -> None:
    """Straps, a line that floats, corners beyond the times; and nothing retraces."""
    taps = jnp.full((N, N), jnp.inf).at[1, 2].set(30.0)
    drive = xb.Drive(R_SOURCE, r_strap=taps)

    def seen(v, c, dtype=jnp.float64):
        wires = xb.Wires(R_ROW, R_COL, c_row=c * C_ROW, c_col=C_COL)
        x = xb.Crossbar(xb.Ohmic(G), wires, drive, xb.VoltageSense())
        w = waveform.pulse(v, 3 * PS, 0.5 * PS, start=0.2 * PS)
        parts = jax.tree.map(lambda x: jnp.asarray(x, dtype), (x, w, jnp.asarray(TS[:3])))
        s = xb.simulate(*parts, steps_per_interval=4)
        return s.output, s.q_in, s.status

    batch = jnp.asarray([V, 2 * V])
    many = jax.jit(jax.vmap(chex.assert_max_traces(seen, n=1), (0, None)))
    output, q_in, status = many(batch, 1.0)
    assert not np.any(status)
    many(batch, 2.0)
    for k in (0, 1):
        np.testing.assert_allclose(output[k], seen(batch[k], 1.0)[0], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(output[1], 2 * output[0], rtol=1e-9, atol=1e-15)
    single, _, status = seen(V, 1.0, jnp.float32)
    assert single.dtype == jnp.float32 and not int(status)
    np.testing.assert_allclose(single, output[0], atol=1e-5 * float(jnp.max(output[0])))
    # the pulse lasts: in the end the line is where a read has it
    wires = xb.Wires(R_ROW, R_COL, c_row=C_ROW, c_col=C_COL)
    x = xb.Crossbar(xb.Ohmic(G), wires, drive, xb.VoltageSense())
    s = xb.simulate(x, waveform.step(V, PS), np.array([0.0, 1e-9, 1e-8]), steps_per_interval=20)
    np.testing.assert_allclose(s.output[-1], xb.read(x, V).output, rtol=1e-8)
    np.testing.assert_allclose(s.i_in[-1], xb.read(x, V).i_in, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: waveform.Waveform([0.0, 2.0, 1.0], np.ones((3, N))), "not rise after corner 1"),
        (lambda: waveform.Waveform([0.0, 1.0], np.ones(2)), "v must be"),
        (lambda: waveform.pulse(V, 1e-12, 2e-12), "a pulse must be longer"),
        (lambda: waveform.step(V, 0.0), "edge is 0 s"),
        (lambda: xb.simulate(array(), wave(), TS[::-1].copy()), "times must rise"),
        (lambda: xb.simulate(array(), wave(), TS[:1]), "at least two"),
        (
            lambda: xb.simulate(array(), wave(), TS, steps_per_interval=0),
            "steps_per_interval is 0; it must be at least 1",
        ),
        (lambda: xb.simulate(array(), waveform.step(V[:2], PS), TS), "waveform has 2 lines"),
        (lambda: xb.Wires(1.0, 1.0, c_row=-1e-15), "c_row is -1e-15 F"),
    ],
)
def test_bad_input_is_named(call: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
