"""Reads of nonlinear cells: against an independent Newton's method, transformed, and gone wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import devices as of, newton
from reference.random_devices import CELLS, kind_of, random_device_circuit
from reference.solvers import every_solver

SHAPE = ROWS, COLS = 6, 5


def uniform(seed: int, low: float, high: float, shape: Any = SHAPE) -> Any:
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def transistor(v_gate: Any = 1.8) -> xb.Mosfet:
    return xb.Mosfet(1e-3, 0.45, v_gate, lam=0.05)


def array(parallel: bool = False, g: Any = None, **parts: Any) -> xb.Crossbar:
    g = uniform(0, 1e-5, 1e-4) if g is None else g
    wires = xb.Wires(uniform(1, 5.0, 20.0), uniform(2, 5.0, 20.0), parallel)
    return xb.Crossbar(xb.Series(transistor(), xb.Ohmic(g)), wires, **parts)


def curved(b: Any = 3.0, r: float = 10.0) -> xb.Crossbar:
    return xb.Crossbar(xb.Sinh(uniform(0, 1e-5, 1e-4), b), xb.Wires(r, r))


def pair() -> xb.Crossbar:
    return xb.Crossbar(xb.Series(xb.AntiparallelDiodes(1e-9), xb.Ohmic(jnp.full(SHAPE, 1e-5))))


def linear_along() -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(jnp.full(SHAPE, 1e-5)), xb.Wires(1.0, 1.0, parallel=True))


V = jnp.linspace(0.1, 0.9, ROWS)


# Against the reference in tests/reference/newton.py


slow = lambda *x: pytest.param(*x, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", [slow("sinh"), "ekv", slow("ekv along")])
def test_64x64_agrees_with_the_newton_reference(kind: str) -> None:
    n, rng = 64, np.random.default_rng(4)
    g = 10 ** rng.uniform(-6, -4, (n, n))
    ekv = {"kind": "ekv", "beta": 1e-3, "v_t": 0.45, "lam": 0.05, "v_gate": 1.8, "n": 1.3}
    cells = {"sinh": {"kind": "sinh", "g": g, "b": 3.0}}
    cells["ekv"] = {"kind": "series", "a": ekv, "b": {"kind": "ohmic", "g": g}}
    along = kind.endswith("along")
    ends = np.full((1, n), np.inf)
    r = rng.uniform(0.5, 3, (n, n))
    r_row = np.concatenate([r, ends]) if along else np.concatenate([r, ends.T], axis=1)
    x = {"along": along, "cell": cells[kind.split()[0]], "r_row": r_row}
    x |= {"r_col": np.concatenate([ends, rng.uniform(0.5, 3, (n, n))])}
    v = rng.uniform(0, 1, n)
    x |= {"v_row_near": v, "v_row_far": v, "v_col_near": 0 * v, "v_col_far": 0 * v}
    got = xb.read(*of.circuit(x))
    want = newton.solve(newton.build(x["cell"]), **{k: y for k, y in x.items() if k != "cell"})
    for name in ("v_row", "v_col", "i_cell", "i_out"):
        a, b = np.asarray(getattr(got, name)), getattr(want, name)
        assert np.max(np.abs(a - b)) < 1e-11 * np.max(np.abs(b)), name
    assert int(got.newton_steps) <= 8


def compare(seeds: Iterable[int], sizes: tuple[int, ...]) -> list[int]:
    """Reads random circuits; every one has to agree with the reference. Returns Newton's steps."""
    steps = []
    for seed in seeds:
        x = random_device_circuit(seed, sizes)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = xb.read(*of.circuit(x))
        except (ValueError, RuntimeError) as error:
            got = error.solution  # type: ignore[union-attr]
        said = xb.Status(int(got.status))
        # Biases to 3 V may lie beyond the range of a model; that is no failure to solve it.
        assert not said & ~(xb.Status.OUT_OF_RANGE | xb.Status.GATES_OFF), (x["name"], said)
        cell = newton.build(x["cell"])
        of_circuit = {k: y for k, y in x.items() if k not in ("cell", "name", "g_max")}
        want = newton.solve(cell, **of_circuit)
        # Behind channels that are off, picoamperes flow, and what voltages are rounded by shows:
        # a few volts, gates included, by 1e-15 V.
        rounding = 1e-15 * want.v_row.shape[0] * x["g_max"]
        error = np.max(np.abs(np.asarray(got.i_out) - want.i_out))
        scale = max(np.max(np.abs(want.i_cell)), np.max(np.abs(want.i_out)))
        assert error < 1e-9 * scale + rounding, (x["name"], error, scale)
        steps.append(int(got.newton_steps))
    return steps


@pytest.mark.slow
def test_random_circuits_agree_with_the_newton_reference() -> None:
    assert np.median(compare(range(12), (12,))) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", CELLS)
def test_a_thousand_random_circuits_to_128(kind: str) -> None:
    """One kind of cell at a time, since circuits of one kind and size are compiled once."""
    jax.clear_caches()  # each keeps its memory
    seeds = [seed for seed in range(1000, 2000) if kind_of(seed) == kind]
    assert np.median(compare(seeds, (8, 32, 128))) <= 8


# Closed forms


def test_one_cell_behind_resistances() -> None:
    """`v = (r_row + r_col) i + V(i)` of one sinh cell, by bisection."""
    g, b, r, v = 1e-4, 4.0, 3e3, 1.5
    xbar = xb.Crossbar(xb.Sinh(jnp.full((1, 1), g), b), xb.Wires(r, 2 * r))
    low, high = 0.0, v
    for _ in range(100):
        middle = (low + high) / 2
        over = 3 * r * g / b * np.sinh(b * middle) + middle > v
        low, high = (low, middle) if over else (middle, high)
    s = xb.read(xbar, jnp.array([v]))
    assert float(s.v_cell[0, 0]) == pytest.approx(low, rel=1e-12)
    assert float(s.i_out[0]) == pytest.approx((v - low) / (3 * r), rel=1e-12)


def test_two_equal_cells_in_series_are_one_at_half_the_voltage() -> None:
    g, v = uniform(3, 1e-5, 1e-4), uniform(4, -2, 2)
    pair = xb.Series(xb.Sinh(g, 3.0), xb.Sinh(g, 3.0))
    want = xb.Sinh(g, 3.0).current(v / 2, 0 * v)
    np.testing.assert_allclose(pair.current(v, 0 * v), want, rtol=1e-13)


def test_b_of_0_is_ohmic_with_a_gradient() -> None:
    g = uniform(0, 1e-5, 1e-4)
    want = xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(10.0, 10.0)), V).i_out
    np.testing.assert_allclose(xb.read(curved(0.0), V).i_out, want, rtol=1e-13)
    slope = jax.grad(lambda b: jnp.sum(xb.read(curved(b), V).i_out))(0.0)
    assert float(slope) == 0.0
    curvature = jax.grad(jax.grad(lambda b: xb.Sinh(1e-4, b).current(jnp.ones(()), jnp.zeros(()))))
    assert float(curvature(0.0)) == pytest.approx(1e-4 / 3)


def test_rows_that_are_gated_off_are_disconnected() -> None:
    """The array without them, exactly, with a channel that is off to the last electron."""
    on = jnp.array([1.0, 0, 1, 1, 0, 1])
    g = uniform(0, 1e-5, 1e-4)
    level1 = xb.Level1Mosfet(1e-3, 0.45, 1.8, 0.05, 0.45, 0.8)
    full = xb.Crossbar(xb.Series(level1, xb.Ohmic(g)), xb.Wires(0.0, 5.0))
    s = xb.read(full, xb.schemes.gated(full, on, 0.2, 1.8))
    assert np.all(np.asarray(s.i_cell)[np.asarray(on) == 0] == 0)
    # the wires of rows that are off stay in their columns
    without = xb.Crossbar(xb.Series(level1, xb.Ohmic(jnp.where(on[:, None] > 0, g, 0))), full.wires)
    np.testing.assert_allclose(s.i_out, xb.read(without, jnp.full(ROWS, 0.2)).i_out, rtol=1e-12)


# Transformed


def test_a_batch_is_its_members_and_nothing_retraces() -> None:
    xbar, traced = curved(), []

    @jax.jit
    def currents(xbar: Any, v: Any) -> Any:
        traced.append(1)
        s = xb.read(xbar, v)
        return s.i_out, s.newton_steps

    inputs = uniform(5, -2, 2, (4, ROWS))
    batch, _ = jax.vmap(currents, (None, 0))(xbar, inputs)
    ones = jnp.stack([currents(xbar, v)[0] for v in inputs])
    np.testing.assert_allclose(batch, ones, rtol=1e-12)
    before = len(traced)
    currents(curved(2.5, 7.0), V)
    assert len(traced) == before


def test_a_near_start_saves_steps_and_keeps_the_answer() -> None:
    xbar = curved(r=300.0)
    v = 2 * V
    cold = xb.read(xbar, v)
    near = xb.read(xbar, v * 1.0001)
    warm = xb.read(xbar, v, start=near)
    assert int(warm.newton_steps) < int(cold.newton_steps)
    np.testing.assert_allclose(warm.i_out, cold.i_out, rtol=1e-11)


@every_solver()
def test_any_linear_solver_gives_the_same_read(solver: Any) -> None:
    want = xb.read(curved(), V)
    for told in (solver, xb.Newton(solver)):
        got = xb.read(curved(), V, solver=told)
        np.testing.assert_allclose(got.i_out, want.i_out, rtol=1e-11)
        np.testing.assert_allclose(got.v_col, want.v_col, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_dense_agrees_where_the_network_is_not_symmetric(parallel: bool) -> None:
    v = jnp.linspace(0.1, 0.4, COLS if parallel else ROWS)
    want = xb.read(array(parallel), v)
    got = xb.read(array(parallel), v, solver=xb.Dense())
    np.testing.assert_allclose(got.i_out, want.i_out, rtol=1e-11)


@pytest.mark.parametrize("parallel", [slow(False), True])
def test_gates_have_gradients(parallel: bool) -> None:
    """And both modes of differentiation agree, in an array that is not symmetric."""
    v = jnp.linspace(0.1, 0.4, COLS if parallel else ROWS)
    ends = v, v, jnp.zeros(COLS), jnp.zeros(COLS)
    weights = uniform(6, -1, 1, COLS)

    def value(gates: Any) -> Any:
        return 1e5 * jnp.sum(weights * xb.read(array(parallel), xb.Bias(*ends, gates)).i_out)

    gates = jnp.linspace(0.6, 1.5, ROWS)
    step = uniform(7, -1, 1, ROWS)
    both = jax.jit(jax.value_and_grad(value))
    got = float(jnp.vdot(both(gates)[1], step))
    forward = float(jax.jit(lambda x: jax.jvp(value, (x,), (step,))[1])(gates))
    h = 1e-4
    at = lambda t: float(both(gates + t * h * step)[0])
    want = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    assert got == pytest.approx(want, rel=1e-6) and forward == pytest.approx(got, rel=1e-9)


@pytest.mark.slow
def test_second_derivatives_match_differences_of_gradients() -> None:
    value = lambda b: jnp.sum(xb.read(curved(b, 300.0), V).i_out ** 2) * 1e8
    slope = jax.jit(jax.grad(value))
    h = 1e-4
    want = (float(slope(3.0 + h)) - float(slope(3.0 - h))) / (2 * h)
    got = float(jax.jvp(jax.grad(value), (3.0,), (1.0,))[1])
    assert got == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("kind", ["sinh", slow("1T1R"), slow("1T1R along")])
def test_float32_is_near_float64(kind: str) -> None:
    def circuit(dtype: Any) -> Any:
        parts = {"sinh": curved(), "1T1R": array(), "1T1R along": array(True)}
        xbar = jax.tree.map(lambda x: x.astype(dtype), parts[kind])
        return xbar, jnp.linspace(0.1, 0.4, COLS if "along" in kind else ROWS).astype(dtype)

    s, want = xb.read(*circuit(jnp.float32)), xb.read(*circuit(jnp.float64))
    assert s.i_out.dtype == jnp.float32
    off = np.asarray(s.i_out) - np.asarray(want.i_out)
    assert np.max(np.abs(off)) < 1e-5 * np.max(np.abs(want.i_out))


@pytest.mark.parametrize("kind", ["sinh", "1T1R", slow("1T1R along")])
def test_exports_to_every_platform_without_custom_calls(kind: str) -> None:
    xbar = {"sinh": curved(), "1T1R": array(), "1T1R along": array(True)}[kind]
    v = jnp.ones(COLS if "along" in kind else ROWS)
    f = jax.jit(jax.value_and_grad(lambda v: jnp.sum(xb.read(xbar, v).i_out)))
    text = jax.export.export(f, platforms=("cpu", "cuda", "tpu"))(v).mlir_module()
    assert "stablehlo.while" in text and "stablehlo.custom_call" not in text


# Gone wrong


def test_negative_resistance_names_the_cell() -> None:
    g = jnp.full(SHAPE, 1e-5)
    falling = xb.Crossbar(xb.Polynomial(g, 0 * g, -4 * g * jnp.eye(*SHAPE)))
    with pytest.raises(ValueError, match=r"cell \(2, 2\).*negative differential resistance"):
        xb.read(falling, jnp.array([0.1, 0.1, 0.5, 0.1, 0.1, 0.1]))
    s = jax.jit(xb.read)(falling, jnp.full(ROWS, 0.5))
    assert xb.Status.NEGATIVE_RESISTANCE in xb.Status(int(s.status))
    np.testing.assert_array_equal(s.negative, np.eye(*SHAPE, dtype=bool))
    assert int(xb.read(falling, jnp.full(ROWS, 0.1)).status) == 0


def test_a_bias_beyond_the_range_of_a_model_names_the_cell() -> None:
    xbar = xb.Crossbar(xb.presets.rram_milo(jnp.full(SHAPE, 1e-4)))
    with pytest.raises(ValueError, match=r"cell \(5, 0\).*at 0.6 V: the operating point is beyond"):
        xb.read(xbar, jnp.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.6]))
    diode = xb.Crossbar(xb.Diode(jnp.full(SHAPE, 1e-14)))
    with pytest.raises(ValueError, match="beyond the range") as caught:
        xb.read(diode, jnp.full(ROWS, 3.0))
    assert np.isfinite(caught.value.solution.i_out).all()  # type: ignore[attr-defined]


def test_gates_below_threshold_on_every_row_are_said() -> None:
    xbar = array()
    off = xb.schemes.gated(xbar, jnp.zeros(ROWS), 0.2, 1.8)
    with pytest.warns(UserWarning, match="no row has a gate above threshold"):
        s = xb.read(xbar, off)
    assert xb.Status(int(s.status)) == xb.Status.GATES_OFF
    assert float(jnp.max(jnp.abs(s.i_out))) < 1e-8
    one = xb.schemes.gated(xbar, jnp.zeros(ROWS).at[2].set(1.0), 0.2, 1.8)
    assert int(xb.read(xbar, one).status) == 0


def test_what_did_not_converge_comes_with_its_best_point() -> None:
    xbar = curved(4.0, 3e3)
    with pytest.raises(RuntimeError, match="stopped before") as caught:
        xb.read(xbar, 3 * V, solver=xb.Newton(max_steps=2))
    s = caught.value.solution  # type: ignore[attr-defined]
    assert np.isfinite(s.i_out).all() and int(s.newton_steps) == 2
    assert float(s.residual) > 1e-8 * float(jnp.max(jnp.abs(s.i_cell)))
    assert int(xb.read(xbar, 3 * V).status) == 0


def test_floating_lines_of_cells_that_are_off_are_islands() -> None:
    """A row without a terminal, all of whose channels are off, has no voltage."""
    gates = jnp.full(ROWS, 1.8).at[1].set(-5.0)
    xbar = array(drive=xb.Drive(jnp.zeros(ROWS).at[1].set(jnp.inf)))
    level1 = xb.Level1Mosfet(1e-3, 0.45, gates[:, None])
    xbar = eqx.tree_at(lambda x: x.cell.first, xbar, level1)
    with pytest.warns(UserWarning, match=r"word-line node \(1, 0\)"):
        s = xb.read(xbar, V)
    assert np.all(np.asarray(s.i_cell)[1] == 0)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: xb.Sinh(-jnp.ones((2, 2)), 1.0), "g"),
        (lambda: xb.Diode(jnp.ones((2, 2)), temperature=float("nan")), "temperature"),
        (lambda: xb.Crossbar(xb.Sinh(1e-5, 2.0)), "shape"),
        (lambda: xb.read(curved(), jnp.ones(COLS)), "v_in"),
        (lambda: xb.read(array(True), jnp.ones(ROWS)), "source line"),
        (lambda: xb.read(curved(), xb.schemes.gated(curved(), jnp.ones(ROWS), 0.2, 1.8)), "gate"),
        (
            lambda: xb.read(pair(), xb.schemes.gated(pair(), jnp.ones(ROWS), 0.2, 1.8)),
            "has no gate",
        ),
        (lambda: xb.transfer(linear_along()), "source line"),
        (lambda: xb.schemes.gated(array(), jnp.ones(COLS), 0.2, 1.8), r"\(6,\)"),
        (lambda: xb.schemes.half(array(True), 0, 0, 1.0), "gates"),
        (lambda: xb.transfer(curved()), "linear"),
        (lambda: xb.switched(curved(), xb.read(curved(), V)), "switch"),
        (lambda: xb.read(array(), V, solver=xb.LadderCG()), "LadderBiCGStab"),
        (lambda: xb.read(array(True), V[:COLS], solver=xb.LadderBiCGStab()), "TwinLadders"),
        (lambda: xb.read(array(), V, solver=xb.TwinLadders()), "parallel=True"),
    ],
)
def test_bad_input_gets_one_clear_sentence(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# Select schemes and switches


@pytest.mark.parametrize("shape", [(8, 8), (5, 12)])
def test_the_floating_sneak_path_has_its_closed_form(shape: Any) -> None:
    rows, cols = shape
    r, load = 1e4, 2e3
    want = r / (cols - 1) + r / ((rows - 1) * (cols - 1)) + r / (rows - 1)
    xbar = xb.Crossbar(xb.Ohmic(jnp.full(shape, 1 / r)))
    assert 0.5 / float(xb.schemes.sneak_current(xbar, 1, 2, 0.5)) == pytest.approx(want, rel=1e-9)
    margin = lambda v_on, v_off: v_on - v_off
    divider = lambda r_cell: load / (1 / (1 / r_cell + 1 / want) + load)
    readout = xb.VirtualGround(r_in=load)
    on, off = (
        xb.Crossbar(xb.Ohmic(jnp.full(shape, 1 / r).at[1, 2].set(1 / x)), readout=readout)
        for x in (r, 100 * r)
    )
    got = xb.schemes.read_margin(on, off, 1, 2, 0.5)
    assert float(got) == pytest.approx(margin(divider(r), divider(100 * r)), rel=1e-9)


def test_a_margin_of_a_bad_array_is_nan_under_jit() -> None:
    good = xb.Crossbar(xb.Ohmic(jnp.full((2, 2), 1e-5)), readout=xb.VirtualGround(1e5))
    bad = lambda g: xb.Crossbar(xb.Ohmic(g), readout=xb.VirtualGround(1e5))
    margin = jax.jit(lambda g: xb.schemes.read_margin(bad(g), good, 0, 1, 1.0))
    assert np.isnan(margin(jnp.full((2, 2), -1e-5)))
    assert np.isfinite(margin(jnp.full((2, 2), 1e-5)))


def test_half_selected_cells_see_their_share() -> None:
    xbar = xb.Crossbar(xb.Sinh(jnp.full(SHAPE, 1e-5), 3.0), readout=xb.VirtualGround(v_ref=0.1))
    row, col, v = 1, 2, 1.2
    i = lambda v: 1e-5 / 3 * np.sinh(3 * v)
    for scheme, (on_row, on_col, else_) in {
        xb.schemes.half: (v / 2, v / 2, 0.0),
        xb.schemes.third: (v / 3, v / 3, -v / 3),
        xb.schemes.grounded: (v, 0.0, 0.0),
    }.items():
        s = xb.read(*scheme(xbar, row, col, v))
        want = np.full(SHAPE, else_)
        want[row], want[:, col], want[row, col] = on_row, on_col, v
        np.testing.assert_allclose(s.v_cell, want, atol=1e-14)
        np.testing.assert_allclose(s.i_in[row], i(v) + (COLS - 1) * i(on_row), rtol=1e-12)


SCHEMES = [xb.schemes.half, xb.schemes.third, xb.schemes.grounded, xb.schemes.floating]
PICKS = [
    *SCHEMES,
    lambda x, row, col, v: xb.read(*xb.schemes.half(x, row, col, v)).i_out,
    xb.schemes.sneak_current,
    lambda x, row, col, v: xb.schemes.read_margin(x, x, row, col, v),
]
FEW = xb.Crossbar(xb.Ohmic(jnp.full((3, 2), 1e-5)), xb.Wires(1.0, 1.0), None, xb.VirtualGround(9.0))


@pytest.mark.parametrize("pick", PICKS)
def test_a_cell_outside_of_the_array_is_refused(pick: Any) -> None:
    for row, col, said in (
        (3, 0, "row is 3; there are 3"),
        (-4, 0, "row is -4"),
        (0, 2, "col is 2; there are 2"),
        (np.int32(0), jnp.asarray(-3), "col is -3"),
    ):
        with pytest.raises(IndexError, match=said):
            pick(FEW, row, col, 0.5)
    for row, said in ((1.0, "1.0"), (True, "True"), (None, "None"), ([1], r"\[1\]")):
        with pytest.raises(TypeError, match=f"row is {said}; it must be one whole number"):
            pick(FEW, row, 0, 0.5)


@pytest.mark.parametrize("pick", PICKS)
def test_negative_rows_and_columns_count_from_the_end(pick: Any) -> None:
    want = jax.tree.leaves(pick(FEW, 2, 1, 0.5))
    for found in (pick(FEW, -1, -1, 0.5), jax.jit(lambda k: pick(FEW, k, k, 0.5))(-1)):
        for x, y in zip(jax.tree.leaves(found), want, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_traced_cell_outside_of_the_array_is_flagged(scheme: Any) -> None:
    rows = jnp.asarray([0, 2, 3, -3, -4])
    read = jax.jit(jax.vmap(lambda k: xb.read(*scheme(FEW, k, 0, 0.5)).status))
    flagged = (np.asarray(read(rows)) & int(xb.Status.NOT_FINITE)) > 0
    np.testing.assert_array_equal(flagged, [False, False, True, False, True])
    for found in (
        jax.vmap(lambda k: xb.schemes.sneak_current(FEW, k, 0, 0.5, scheme))(rows),
        jax.vmap(lambda k: xb.schemes.read_margin(FEW, FEW, k, 0, 0.5, scheme))(rows),
    ):
        np.testing.assert_array_equal(np.isnan(found), flagged)


def test_a_write_map_is_one_read_a_cell() -> None:
    xbar = curved(r=50.0)
    found = xb.schemes.write_map(xbar, 2.0)
    assert not np.any(found.status)
    s = xb.read(*xb.schemes.half(xbar, 3, 1, 2.0))
    assert float(found.v_selected[3, 1]) == pytest.approx(float(s.v_cell[3, 1]), rel=1e-12)
    others = np.abs(np.asarray(s.v_cell).copy())
    others[3, 1] = 0
    assert float(found.v_disturb[3, 1]) == pytest.approx(others.max(), rel=1e-12)


@pytest.mark.slow
def test_a_threshold_switch_fires_holds_and_lets_go() -> None:
    off = xb.ThresholdSwitch(0.0, 1e-9, 0.05, 1.2, 0.7, 1e3, 1e-6)
    xbar = xb.Crossbar(xb.Series(off, xb.Ohmic(jnp.full(SHAPE, 1e-5))), xb.Wires(1.0, 1.0))
    v = jnp.array([1.5, 1.5, 1.0, 0.0, 1.0, 0.5])
    on = lambda crossbar: crossbar.cell.first.on
    fired, s = xb.settle_switches(xbar, v)
    np.testing.assert_array_equal(on(fired), np.outer(v > 1.2, np.ones(COLS)))
    assert int(s.status) == 0
    held, _ = xb.settle_switches(fired, jnp.full(ROWS, 1.0))  # below the threshold, above the hold
    np.testing.assert_array_equal(on(held), on(fired))
    gone, _ = xb.settle_switches(fired, jnp.full(ROWS, 0.5))
    assert not np.any(on(gone))
    with pytest.raises(ValueError, match="beyond the range"):
        xb.read(xbar, v)  # off, where it would have fired


def test_tangents_of_saturated_cells_lead_nowhere_and_are_not_followed() -> None:
    """Cells that saturate at 0.1 V, at 3 V behind floating lines: their tangents, nearly flat,
    cross far beyond the sources, where nothing conducts and every node is an island."""
    rng = np.random.default_rng(1)
    cell = xb.BackToBackDiodes(jnp.asarray(10 ** rng.uniform(-9, -7, (24, 9))), 2.0)
    chosen = xb.schemes.floating(xb.Crossbar(cell, xb.Wires(5.0, 5.0)), 3, 4, 3.0)
    s = xb.read(*chosen)
    assert int(s.status) == 0 and int(s.newton_steps) <= 12
    assert float(jnp.min(s.v_row)) >= -1e-12 and float(jnp.max(s.v_col)) <= 3 + 1e-12
