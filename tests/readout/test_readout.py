"""Amplifiers, floating bit lines, straps and 2T2R cells against ngspice (tests/golden/readouts),
closed forms, and a dense nodal solve that is written here."""

from __future__ import annotations

import shutil
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import READOUTS
from reference import devices as of
from reference.solvers import every_solver
from xbarjax import spice
from xbarjax.kirchhoff.solution import Status
from xbarjax.readout import mirror_mismatch, normalised

TOL = 1e-9
rng = np.random.default_rng


def circuit(x: dict[str, Any], dtype: Any = float) -> tuple[xb.Crossbar, xb.Bias]:
    crossbar, bias = of.circuit(x, dtype)
    array: Any = lambda a: None if a is None else jnp.asarray(a, dtype)
    taps = [array(x[k]) for k in ("r_tap_row", "r_tap_col")]
    drive = xb.Drive(0.0, crossbar.drive.r_source_far, taps[0])
    readout = crossbar.readout
    if x["tia"] is not None:
        tia = {k: array(v) for k, v in x["tia"].items() if k != "v_plus"}
        readout = xb.Tia(v_ref=array(x["tia"]["v_plus"]), **tia)
        v = readout.voltage(crossbar.shape[1])
        bias = eqx.tree_at(lambda b: (b.v_col, b.v_col_far), bias, (v, v))
    elif taps[1] is not None:
        readout = xb.VirtualGround(0.0, readout.r_in_far, r_strap=taps[1])
    elif np.isinf(np.asarray(x["r_col"])[-1]).all():
        r_col = crossbar.wires.r_col.at[-1].set(1.0)  # of the lead-out: no current flows there
        crossbar = eqx.tree_at(lambda c: c.wires.r_col, crossbar, r_col)
        readout = xb.VoltageSense()
    return xb.Crossbar(crossbar.cell, crossbar.wires, drive, readout), bias


def difference(got: Any, want: Any) -> float:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


SLOW = ("clamp_32", "float_32", "pairs_32", "pairs_ekv", "taps_along")
slow = lambda name: pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())


@pytest.mark.few(9)
@pytest.mark.parametrize("name", [slow(name) for name in READOUTS.stored()])
def test_a_read_agrees_with_ngspice(name: str) -> None:
    record = READOUTS.load(name)
    crossbar, bias = circuit(record["inputs"])
    solution = xb.read(crossbar, bias)
    assert int(solution.status) == 0 and int(solution.newton_steps) <= 20
    for quantity, want in record["outputs"].items():
        if quantity == "i_out" and name.startswith("float"):
            largest = np.max(np.abs(np.asarray(solution.i_cell)))
            assert np.max(np.abs(np.asarray(solution.i_out))) < 1e-12 * largest
        else:
            assert difference(getattr(solution, quantity), want) < TOL, quantity
    power = float(solution.p_delivered), float(solution.p_dissipated)
    assert abs(power[0] - power[1]) < 1e-10 * abs(power[0])
    if name.startswith("clamp"):
        assert isinstance(crossbar.readout, xb.Tia)
        saturated = crossbar.readout.saturated(solution.output)
        assert bool(saturated.any()) and not bool(saturated.all())


@pytest.mark.parametrize("name", ["tia", "taps_32"])
def test_a_small_change_would_be_seen(name: str) -> None:
    record = READOUTS.load(name)
    crossbar, bias = circuit(record["inputs"])
    of: Any = (lambda c: c.readout.gain) if name == "tia" else (lambda c: c.drive.r_strap)
    changed = eqx.tree_at(of, crossbar, of(crossbar) * (1 + 1e-4))
    got = xb.read(changed, bias)
    assert difference(got.v_col, record["outputs"]["v_col"]) > 10 * TOL


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
@pytest.mark.parametrize("name", ["tia_sinh", "float", "load", "taps_sinh", "pairs"])
def test_the_netlist_of_a_circuit_is_that_circuit(name: str) -> None:
    crossbar, bias = circuit(READOUTS.load(name)["inputs"])
    found, solution = spice.simulate(crossbar, bias), xb.read(crossbar, bias)
    assert difference(found.v_col, solution.v_col) < TOL
    assert difference(found.v_row, solution.v_row) < TOL
    if name.startswith("tia"):
        assert difference(found.v_amp, solution.output) < TOL
    else:
        assert np.isnan(found.v_amp).all()


def array(rows: int = 8, cols: int = 6, seed: int = 0) -> tuple[Any, Any]:
    random = rng(seed)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (rows, cols)))
    return g, jnp.asarray(random.uniform(-0.2, 0.2, rows))


def test_an_amplifier_without_wires_is_its_closed_form() -> None:
    g, v = array()
    r_f, gain, v_ref, v_offset = 3e3, 200.0, 0.05, 2e-3
    s = xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.Tia(r_f, gain, v_ref, v_offset)), v)
    # sum G (v_i - v) = (v - v_out) / r_f and v_out = A (v_plus - v), for v
    total, through, plus = jnp.sum(g, 0), v @ g, v_ref + v_offset
    sensed = (through + gain * plus / r_f) / (total + (1 + gain) / r_f)
    np.testing.assert_allclose(s.v_sense, sensed, rtol=1e-12)
    np.testing.assert_allclose(s.output, gain * (plus - sensed), rtol=1e-12)
    ideal = xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.Tia(r_f)), v)
    np.testing.assert_allclose(ideal.output, -r_f * through, rtol=1e-12)


def test_an_offset_adds_its_error_current() -> None:
    """`v_offset (sum G + 1 / r_f)` of an ideal amplifier, times `r_f`."""
    g, v = array()
    outputs = [xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.Tia(2e3, v_offset=x)), v).output
               for x in (0.0, 3e-3)]  # fmt: skip
    want = 3e-3 * (jnp.sum(g, 0) + 1 / 2e3) * 2e3
    np.testing.assert_allclose(outputs[1] - outputs[0], want, rtol=1e-12)


def test_a_saturated_amplifier_is_its_equation() -> None:
    g, v = array(seed=1)
    v = jnp.abs(v)
    tia = xb.Tia(3e4, 1e3, 0.01, v_low=-0.3, v_high=0.2)
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 2.0), xb.Drive(30.0), tia)
    s = xb.read(x, v)
    wanted = 1e3 * (0.01 - s.v_sense)
    np.testing.assert_allclose(s.output, -0.05 + 0.25 * jnp.tanh((wanted + 0.05) / 0.25), rtol=1e-9)
    np.testing.assert_allclose(s.i_out, (s.v_sense - s.output) / 3e4, rtol=1e-9)
    assert jnp.max(s.v_sense) > 0.02  # no virtual ground any more


def test_all_amplifiers_saturated_are_flagged() -> None:
    g, v = array()
    x = xb.Crossbar(xb.Ohmic(g), readout=xb.Tia(1e6, 1e4, v_low=-0.01, v_high=0.01))
    with pytest.warns(UserWarning, match="amplifier"):
        s = xb.read(x, jnp.abs(v))
    assert int(s.status) == Status.SATURATED


@pytest.mark.few(1)
@pytest.mark.parametrize("limits", [(None, None), (-0.1, 0.08)])
def test_gradients_of_an_amplifier_are_those_of_differences(limits: tuple) -> None:
    g, v = array()
    tia = xb.Tia(jnp.full(6, 3e3), 1e3, 0.01, 1e-3, *limits)
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, jnp.full((8, 6), 3.0)), xb.Drive(30.0), tia)
    total = lambda xv: jnp.sum(xb.read(*xv).output ** 2 * jnp.arange(1.0, 7.0))
    loss = jax.jit(jax.value_and_grad(total))
    grads = jax.tree.leaves(loss((x, v))[1])
    leaves, tree = jax.tree.flatten((x, v))
    for k, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        if not np.isfinite(np.asarray(leaf)).all():
            continue
        direction = jnp.asarray(rng(k).normal(size=leaf.shape)) * jnp.maximum(jnp.abs(leaf), 1e-3)
        moved = lambda t, k=k, leaf=leaf, direction=direction: tree.unflatten(
            [*leaves[:k], leaf + t * direction, *leaves[k + 1 :]]
        )
        at = lambda t, moved=moved: loss(moved(t))[0]
        h = 1e-3
        want = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        got = jnp.sum(grad * direction)
        assert abs(got - want) < 1e-6 * abs(want) + 1e-12, (k, got, want)


def test_floating_lines_settle_at_averages() -> None:
    g, v = array()
    for r_load in (float("inf"), 2e4):
        s = xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.VoltageSense(r_load)), v)
        total = jnp.sum(g, 0) + 1 / r_load
        np.testing.assert_allclose(s.output, v @ g / total, rtol=1e-12)
        np.testing.assert_allclose(normalised(s.output, total), v @ g, rtol=1e-12)


def test_a_mirror_copies_what_its_low_resistance_takes_in() -> None:
    g, v = array()
    x = xb.CurrentConveyor(g_m=1e-3, gain=50.0, ratio=0.5, mismatch=jnp.full(6, 0.01))
    s = xb.read(xb.Crossbar(xb.Ohmic(g), readout=x), v)
    i = v @ g / (1 + jnp.sum(g, 0) / (1e-3 * 51))
    np.testing.assert_allclose(s.output, 0.5 * 1.01 * i, rtol=1e-12)
    np.testing.assert_allclose(mirror_mismatch(1e-12, 0.2, 3e-9, 1e-8), 0.0316227766, rtol=1e-8)


def nodal(g: Any, r_row: float, r_col: float, r_strap: Any, r_tap_col: Any, v: Any):
    """Cell currents of an array with straps, by a dense nodal matrix."""
    rows, cols = g.shape
    w, b = np.arange(g.size).reshape(rows, cols), g.size + np.arange(g.size).reshape(rows, cols)
    y, i = np.zeros((2 * g.size, 2 * g.size)), np.zeros(2 * g.size)

    def join(p: Any, q: Any, s: float, held: float = 0.0) -> None:
        y[p, p] += s
        if q is None:
            i[p] += s * held
        else:
            y[q, q] += s
            y[p, q] -= s
            y[q, p] -= s

    for r, c in np.ndindex(rows, cols):
        join(w[r, c], w[r, c - 1] if c else None, 1 / r_row, v[r])
        join(b[r, c], b[r + 1, c] if r + 1 < rows else None, 1 / r_col)
        join(w[r, c], b[r, c], g[r, c])
        join(w[r, c], None, 1 / r_strap[r, c], v[r])
        join(b[r, c], None, 1 / r_tap_col[r, c])
    x = np.linalg.solve(y, i)
    return g * (x[w] - x[b])


@every_solver("AutoLadder", "Dense", "LadderBiCGStab")
def test_straps_agree_with_a_nodal_solve_in_every_solver(solver: Any) -> None:
    g, v = array(7, 9, 2)
    random = rng(3)
    r = [np.where(random.random((7, 9)) < 0.3, random.uniform(1, 9, (7, 9)), np.inf) for _ in "ab"]
    drive, readout = xb.Drive(r_strap=r[0]), xb.VirtualGround(r_strap=r[1])
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 3.0), drive, readout)
    s = xb.read(x, v, solver=solver)
    want = nodal(np.asarray(g), 2.0, 3.0, r[0], r[1], np.asarray(v))
    assert difference(s.i_cell, want) < 1e-11
    assert s.i_strap_col is not None
    into = s.i_out_near + s.i_out_far + jnp.sum(s.i_strap_col, 0)
    np.testing.assert_allclose(into, s.i_out, rtol=1e-9)
    np.testing.assert_allclose(jnp.sum(s.i_in), jnp.sum(s.i_out), rtol=1e-9)
    assert difference(v @ xb.transfer(x), s.i_out) < 1e-10


def test_a_strap_alone_holds_a_line() -> None:
    """A bit line without any end is no island where a strap holds it."""
    g, v = array()
    r = np.full((8, 6), np.inf)
    r[3] = 10.0
    s = xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.VirtualGround(np.inf, r_strap=r)), v)
    assert int(s.status) == 0
    np.testing.assert_allclose(s.i_out, v @ g / (1 + 10 * jnp.sum(g, 0)), rtol=1e-12)


def test_straps_alone_hold_lines_of_nonlinear_cells() -> None:
    """Beyond the voltages of all line ends, of which there are none in the family of rows."""
    g, v = array()
    r = np.full((8, 6), np.inf)
    r[:, 2] = 10.0
    drive = xb.Drive(np.inf, r_strap=r)
    s = xb.read(xb.Crossbar(xb.Sinh(g, 3.0), xb.Wires(0.0, 0.0), drive), 5 * v)
    assert int(s.status) == 0
    at = np.asarray(s.v_row[:, 0])
    drawn = np.sum(np.asarray(g) / 3 * np.sinh(3 * at[:, None]), axis=1)
    np.testing.assert_allclose((5 * np.asarray(v) - at) / 10, drawn, rtol=1e-9)
    np.testing.assert_allclose(s.i_in, drawn, rtol=1e-9)


def test_impossible_amplifiers_are_flagged_where_nothing_can_be_raised() -> None:
    g, v = array()
    at = lambda gain: (
        xb.read(
            xb.Crossbar(xb.Ohmic(g), readout=xb.Tia(1e3, gain, v_low=-1.0, v_high=1.0)), v
        ).status
    )
    assert int(jax.jit(at)(-1e3)) & Status.INVALID_CELL
    assert int(jax.jit(at)(1e3)) == 0


def test_gradients_of_straps_are_those_of_differences() -> None:
    g, v = array()
    r = np.full((8, 6), np.inf)
    r[2, 3], r[5, 1] = 4.0, 7.0
    at = lambda r: jnp.sum(
        xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(5.0, 5.0), xb.Drive(r_strap=r)), v).i_out ** 2
    )
    grad = jax.grad(at)(jnp.asarray(r))
    h = 1e-3
    want = (at(jnp.asarray(r).at[2, 3].add(h)) - at(jnp.asarray(r).at[2, 3].add(-h))) / (2 * h)
    np.testing.assert_allclose(grad[2, 3], want, rtol=1e-6)
    assert np.isfinite(np.asarray(grad)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: xb.Tia(1e3, gain=0.0), "gain is 0"),
        (lambda: xb.Tia(-1.0), "r_f is -1"),
        (lambda: xb.Tia(1e3, 1e4, v_low=0.0), "both v_low and v_high"),
        (lambda: xb.Tia(1e3, 1e4, v_low=0.1, v_high=0.1), "must lie below"),
        (lambda: xb.Tia(1e3, v_low=-1.0, v_high=1.0), "finite"),
        (lambda: xb.Tia(0.0, 1e3, v_low=-1.0, v_high=1.0), "needs a feedback"),
        (lambda: xb.Drive(r_strap=0.0), "r_strap is 0 ohm"),
        (lambda: xb.VirtualGround(r_strap=jnp.full((2, 3), -1.0)), "r_strap"),
        (lambda: xb.CurrentConveyor(-1.0), "g_m is -1"),
        (
            lambda: xb.Crossbar(xb.Ohmic(jnp.ones((2, 3))), readout=xb.Tia(jnp.ones(2))),
            r"readout.r_f has shape \(2,\)",
        ),
        (
            lambda: xb.Crossbar(xb.Ohmic(jnp.ones((2, 3))), drive=xb.Drive(r_strap=jnp.ones(2))),
            r"drive.r_strap has shape \(2,\)",
        ),
        (
            lambda: xb.transfer(
                xb.Crossbar(
                    xb.Ohmic(jnp.ones((2, 3))), readout=xb.Tia(1.0, 9.0, v_low=0.0, v_high=1.0)
                )
            ),
            "linear readout",
        ),
    ],
)
def test_bad_readouts_are_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.few(1)
@pytest.mark.parametrize("swing", [(None, None), (-0.05, 0.05)])
def test_single_precision_transformations_and_export(swing: tuple) -> None:
    g, v = (x.astype(jnp.float32) for x in array())
    at = lambda g, v: xb.read(
        xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0), readout=xb.Tia(2e3, 1e4, 0.0, 1e-3, *swing)), v
    )
    single, double = at(g, v), at(g.astype(float), v.astype(float))
    assert int(single.status) == 0 and single.output.dtype == jnp.float32
    assert difference(single.output, double.output) < 1e-5
    many = jax.jit(jax.vmap(at, (None, 0)))(g, jnp.stack([v, -v]))
    assert difference(many.output[0], single.output) < 1e-5
    jax.export.export(jax.jit(lambda g, v: at(g, v).output), platforms=("cpu", "cuda", "tpu"))(g, v)


def test_a_read_with_amplifiers_begins_from_another() -> None:
    g, v = array()
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0), readout=xb.Tia(2e4, 1e3, v_low=-1, v_high=1))
    first = xb.read(x, v)
    again = xb.read(x, v, start=first)
    assert int(again.newton_steps) < int(first.newton_steps)
    np.testing.assert_allclose(again.output, first.output, rtol=1e-12)
