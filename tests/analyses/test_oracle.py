"""Every solver against the nodal reference: random circuits, a grid of sizes, hard circuits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import nodal
from reference.solvers import SOLVERS, every_solver

TOL = 1e-10
INF = np.inf
Circuit = dict[str, Any]
VOLTAGES = ("v_row_near", "v_row_far", "v_col_near", "v_col_far")
QUICK = "LadderCG", "LadderCG in JAX", "BlockElimination", "Dense"

# From one cell to 64 x 27: islands, split lines, broken, ideal and two-ended lines, outputs that
# are all 0, a circuit without any current, the most iterations.
FEW = (1, 16, 25, 38, 80, 82, 93, 94, 102, 118, 126, 153)


def reference(c: Circuit) -> nodal.Nodal:
    return nodal.solve(**{k: v for k, v in c.items() if k != "shape"})


def package(c: Circuit, solver: Any, dtype: Any = jnp.float64) -> xb.Solution:
    """The circuit as the package sees it; an island may be warned of, nothing else may happen."""
    c = {k: jnp.asarray(v, dtype) for k, v in c.items() if k != "shape"}
    xbar = xb.Crossbar(
        xb.Ohmic(c["g"]),
        xb.Wires(c["r_row"][:, :-1], c["r_col"][1:]),
        xb.Drive(0.0, c["r_row"][:, -1]),
        xb.VirtualGround(0.0, c["r_col"][0]),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no path to any source", category=UserWarning)
        return xb.read(xbar, xb.Bias(*(c[k] for k in VOLTAGES)), solver=solver)


def disagreement(c: Circuit, s: nodal.Nodal, sol: xb.Solution) -> dict[str, float]:
    """Largest difference of each quantity over what the circuit determines, relative to the
    largest terminal voltage, the largest current in cells and wires, the largest output. Where
    the circuit leaves no current but rounding, to what its cells could carry."""
    v = max(np.abs(c[k]).max() for k in VOLTAGES)
    i = max(np.nanmax(np.abs(x), initial=0) for x in (s.i_cell, s.i_row, s.i_col))
    i = i if i > 1e-14 * c["g"].max() * v else c["g"].max() * v
    o = np.abs(s.i_out).max()
    o = o if o > 1e-14 * i else i
    everywhere = np.ones(1, bool)
    result = {}
    for name, want, scale, known in (
        ("v_row", s.v_row, v, ~s.row_floating),
        ("v_col", s.v_col, v, ~s.col_floating),
        ("i_cell", s.i_cell, i, everywhere),
        ("i_row_segments", s.i_row, i, s.i_row_known),
        ("i_col_segments", s.i_col, i, s.i_col_known),
        ("i_out", s.i_out, o, everywhere),
    ):
        got = np.asarray(getattr(sol, name))
        assert got.shape == want.shape, name
        off = np.where(known, np.abs(got - want), 0).max()
        result[name] = float(off / scale) if scale > 0 else float(off > 0)
    return result


def assert_masks(s: nodal.Nodal, sol: xb.Solution) -> None:
    np.testing.assert_array_equal(sol.floating_row, s.row_floating)
    np.testing.assert_array_equal(sol.floating_col, s.col_floating)
    np.testing.assert_array_equal(sol.split_row, ~s.i_row_known.all(1))
    np.testing.assert_array_equal(sol.split_col, ~s.i_col_known.all(0))
    status = xb.Status(int(sol.status))
    assert not status.is_error
    assert (xb.Status.FLOATING in status) == bool(s.row_floating.any() or s.col_floating.any())
    assert (xb.Status.SPLIT in status) == bool(not s.i_row_known.all() or not s.i_col_known.all())


def assert_agrees(c: Circuit, solver: Any, tol: float = TOL) -> None:
    s = reference(c)
    sol = package(c, solver)
    assert_masks(s, sol)
    bad = {k: v for k, v in disagreement(c, s, sol).items() if not v <= tol}
    assert not bad, (bad, xb.explain(sol))


def cropped(seed: int, rows: int, cols: int) -> Circuit | None:
    """The upper left of a random circuit with the line ends of the whole, so that many circuits
    share one shape and one compilation. Every third has many more breaks and dead cells."""
    c = nodal.random_circuit(seed)
    if c["shape"][0] < rows or c["shape"][1] < cols:
        return None
    c["shape"] = (rows, cols)
    c["g"] = c["g"][:rows, :cols]
    c["r_row"] = np.hstack([c["r_row"][:rows, :cols], c["r_row"][:rows, -1:]])
    c["r_col"] = np.vstack([c["r_col"][:1, :cols], c["r_col"][-rows:, :cols]])
    for k in VOLTAGES:
        c[k] = c[k][: rows if "row" in k else cols]
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        c["g"] = np.where(rng.random(c["g"].shape) < 0.4, 0, c["g"])
        for k in ("r_row", "r_col"):
            c[k] = np.where(rng.random(c[k].shape) < 0.2, INF, c[k])
    c["v_row_far"] = np.where((c["r_row"] == 0).all(1), c["v_row_near"], c["v_row_far"])
    c["v_col_far"] = np.where((c["r_col"] == 0).all(0), c["v_col_near"], c["v_col_far"])
    return c


@pytest.mark.few(4)
@pytest.mark.parametrize("seed", FEW)
def test_random_circuits_agree(seed: int) -> None:
    c = nodal.random_circuit(seed)
    assert_agrees(c, xb.LadderCG())
    if np.prod(c["shape"]) <= 600:
        assert_agrees(c, xb.Dense())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_all_random_circuits_agree(seed: int) -> None:
    c = nodal.random_circuit(seed)
    for name in QUICK:
        assert_agrees(c, SOLVERS[name].solver)
    jax.clear_caches()  # hardly two have the same shape


@cache
def many() -> list[Circuit]:
    return [c for seed in range(1000, 2500) if (c := cropped(seed, 7, 5))]


@pytest.mark.few(1)
@every_solver(*QUICK)
def test_random_circuits_of_one_shape_agree(solver: Any) -> None:
    assert len(many()) > 300
    for c in many():
        assert_agrees(c, solver)


def test_iterations_in_float64_agree() -> None:
    for c in many()[::4]:
        assert_agrees(c, xb.LadderCG(mixed=False))


# 1e3 S take what float64 has: 1e-10 needs the fused multiplications of optimised code.
@pytest.mark.parametrize("g_one", [pytest.param(1e3, marks=pytest.mark.slow), 1e-42])
def test_a_cell_that_float32_can_hardly_hold(g_one: float) -> None:
    """One cell far beyond the others: a slow mode, or a number that is 0 in float32."""
    g = np.random.default_rng(0).uniform(1e-6, 1e-4, (7, 5))
    g[3, 2] = g_one
    r_row, r_col = np.full((7, 6), 50.0), np.full((8, 5), 70.0)
    r_row[:, -1] = r_col[0] = INF
    v, rest = np.linspace(0.1, 0.3, 7), np.zeros(5)
    c: Circuit = {"shape": (7, 5), "g": g, "r_row": r_row, "r_col": r_col}
    c |= dict(zip(VOLTAGES, (v, v, rest, rest)))
    assert_agrees(c, xb.LadderCG())


def test_float64_takes_over_where_float32_stagnates() -> None:
    """r g = 1e6: iterations in float32 alone leave an error of 1e-5, and are not converged."""
    g = jnp.asarray(1e6 * np.random.default_rng(0).uniform(1e-6, 1e-4, (8, 6)))
    xbar, v = xb.Crossbar(xb.Ohmic(g), xb.Wires(1e4, 1e4)), jnp.linspace(0.1, 0.3, 8)
    sol, want = xb.read(xbar, v), xb.read(xbar, v, solver=xb.Dense())
    assert np.abs(sol.v_row - want.v_row).max() <= 1e-8 * np.abs(want.v_row).max()


def test_the_shared_shape_has_every_feature() -> None:
    solved = [reference(c) for c in many()]
    assert sum(s.row_floating.any() for s in solved) > 30
    assert sum(s.col_floating.any() for s in solved) > 30
    assert sum((s.row_floating & s.col_floating).any() for s in solved) > 10
    assert sum((s.row_floating ^ s.col_floating).any() for s in solved) > 10
    assert sum(not s.i_row_known.all() for s in solved) > 3
    assert sum(not s.i_col_known.all() for s in solved) > 3
    assert sum(np.isinf(c["r_row"][:, 1:-1]).any() for c in many()) > 50
    assert sum((c["v_row_far"] != c["v_row_near"]).any() for c in many()) > 20


def square(n: int, rg: float, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.uniform(1e-6, 1e-4, (n, n)), rg / 1e-4, rng.uniform(0.05, 0.3, n)


def ordinary(g: Any, r: float, dtype: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g, dtype)), xb.Wires(r, r))


def sized(*fast: int, slow: tuple[int, ...]) -> Any:
    marked = [pytest.param(n, marks=pytest.mark.slow) for n in slow]
    return pytest.mark.parametrize("n", [*fast, *marked])


@sized(4, 16, 64, 256, slow=(1024,))
def test_kirchhoff_holds_on_a_grid_of_sizes_and_wires(n: int) -> None:
    for rg in (0.0, 1e-5, 1e-3, 1e-1):
        g, r, v = square(n, rg)
        sol = xb.read(ordinary(g, r, jnp.float64), jnp.asarray(v))
        i_cell, i_row, i_col = map(np.asarray, (sol.i_cell, sol.i_row_segments, sol.i_col_segments))
        off = max(
            np.abs(i_row[:, :-1] - i_row[:, 1:] - i_cell).max(),
            np.abs(i_col[1:] - i_col[:-1] - i_cell).max(),
            float(sol.residual),
        )
        assert int(sol.status) == 0
        assert off <= 1e-8 * np.abs(sol.i_out).max(), (rg, off)


@sized(16, 64, 256, slow=())
def test_float32_outputs_follow_float64(n: int) -> None:
    for rg in (0.0, 1e-5, 1e-4, 1e-3):
        g, r, v = square(n, rg)
        want = np.asarray(xb.read(ordinary(g, r, jnp.float64), jnp.asarray(v)).i_out)
        sol = xb.read(ordinary(g, r, jnp.float32), jnp.asarray(v, jnp.float32))
        assert sol.i_out.dtype == jnp.float32
        assert np.abs(np.asarray(sol.i_out) - want).max() <= 1e-5 * np.abs(want).max(), rg


# Hard circuits, all of one shape.

ROWS, COLS = 19, 14


def base(rng: np.random.Generator) -> Circuit:
    r_row, r_col = np.full((ROWS, COLS + 1), 2.0), np.full((ROWS + 1, COLS), 3.0)
    r_row[:, -1] = r_col[0] = INF
    v = rng.uniform(-0.3, 0.3, ROWS)
    zero = np.zeros(COLS)
    c = {"g": rng.uniform(1e-6, 1e-4, (ROWS, COLS)), "r_row": r_row, "r_col": r_col}
    return c | dict(zip(VOLTAGES, (v, v, zero, zero)))


def wide_range_of_cells(rng: np.random.Generator) -> Circuit:
    return base(rng) | {"g": 10 ** rng.uniform(-12, -3, (ROWS, COLS))}


def shorts_among_leaks(rng: np.random.Generator) -> Circuit:
    return base(rng) | {"g": np.where(rng.random((ROWS, COLS)) < 0.1, 1.0, 1e-9)}


def wires_worse_than_cells(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    return c | {"r_row": c["r_row"] * 1e6, "r_col": c["r_col"] * 1e6}


def wires_of_every_size(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    for k in ("r_row", "r_col"):
        c[k] = np.where(np.isinf(c[k]), INF, 10 ** rng.uniform(-9, 9, c[k].shape))
    return c


def floating_lines(rng: np.random.Generator) -> Circuit:
    """Only two rows are driven and two columns sensed: the rest hangs on the cells."""
    c = base(rng)
    c["r_row"][2:, 0] = c["r_col"][-1, 2:] = INF
    return c


def floating_lines_behind_leaks(rng: np.random.Generator) -> Circuit:
    c = floating_lines(rng)
    return c | {"g": 10 ** rng.uniform(-12, -3, (ROWS, COLS))}


def a_line_hangs_on_one_weak_cell(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    c["r_row"][3, 0] = c["r_col"][-1, 5] = INF
    c["g"][3] = c["g"][:, 5] = 0
    c["g"][3, 7] = 1e-15
    c["g"][6, 5] = 1e-14
    return c


def nearly_open_wires(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    for k in ("r_row", "r_col"):
        broken = rng.random(c[k].shape) < 0.1
        c[k] = np.where(broken, 10 ** rng.uniform(9, 15, c[k].shape), c[k])
    return c


def nearly_open_ends(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    c["r_row"][::2, 0] = 10 ** rng.uniform(9, 15, c["r_row"][::2, 0].shape)
    c["r_col"][-1, ::2] = 10 ** rng.uniform(9, 15, c["r_col"][-1, ::2].shape)
    return c


def every_end_has_a_megaohm(rng: np.random.Generator) -> Circuit:
    """What flows is a millionth of what would if the drops were 0."""
    c = base(rng)
    c["r_row"][:, 0], c["r_col"][-1] = 1e6, 2e6
    return c


def about_the_change_of_law(rng: np.random.Generator) -> Circuit:
    """Where a segment's law is rescaled there must be no step."""
    c = base(rng)
    for k in ("r_row", "r_col"):
        near = 1e6 * (1 + rng.choice([-1e-9, 0, 1e-9], c[k].shape))
        c[k] = np.where(rng.random(c[k].shape) < 0.3, near, c[k])
    return c


def huge_voltages(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    return c | {k: 1e6 * c[k] for k in VOLTAGES}


def tiny_voltages(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    return c | {k: 1e-12 * c[k] for k in VOLTAGES}


def tiny_currents(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    return c | {"g": 10 ** rng.uniform(-12, -9, (ROWS, COLS)), "v_row_near": 1e-2 * c["v_row_near"]}


def a_small_signal_on_a_large_offset(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    v, zero = 5 + 1e-3 * rng.uniform(-1, 1, ROWS), np.full(COLS, 5.0)
    return c | dict(zip(VOLTAGES, (v, v, zero, zero)))


def two_ended_at_different_voltages(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    c["r_row"][:, -1] = 10 ** rng.uniform(-6, 12, ROWS)
    c["r_col"][0] = 10 ** rng.uniform(-6, 12, COLS)
    c["v_row_far"], c["v_col_far"] = rng.uniform(-1, 1, ROWS), rng.uniform(-1, 1, COLS)
    return c


def one_column_takes_everything(rng: np.random.Generator) -> Circuit:
    c = base(rng)
    c["r_col"][-1, 1:] = INF
    return c | {"g": 10 ** rng.uniform(-9, -4, (ROWS, COLS))}


Kind = Callable[[np.random.Generator], Circuit]
KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        wide_range_of_cells,
        shorts_among_leaks,
        wires_worse_than_cells,
        wires_of_every_size,
        floating_lines,
        floating_lines_behind_leaks,
        a_line_hangs_on_one_weak_cell,
        nearly_open_wires,
        nearly_open_ends,
        every_end_has_a_megaohm,
        about_the_change_of_law,
        huge_voltages,
        tiny_voltages,
        tiny_currents,
        a_small_signal_on_a_large_offset,
        two_ended_at_different_voltages,
        one_column_takes_everything,
    )
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_solver(*QUICK)
@every_kind
def test_hard_circuits_agree(solver: Any, kind: str) -> None:
    for seed in range(5):
        assert_agrees(KINDS[kind](np.random.default_rng(seed)), solver)


@pytest.mark.parametrize("kind", ["tiny_currents", "tiny_voltages", "huge_voltages", "base"])
def test_float32_bears_small_and_large_numbers(kind: str) -> None:
    """The reference solves the circuit that float32 sees, so that its rounding is not counted."""
    for seed in range(5):
        c = (KINDS | {"base": base})[kind](np.random.default_rng(seed))
        c = {k: np.asarray(v, np.float32).astype(float) for k, v in c.items()}
        s = reference(c)
        sol = package(c, xb.LadderCG(), jnp.float32)
        assert_masks(s, sol)
        bad = {k: v for k, v in disagreement(c, s, sol).items() if not v <= 1e-5}
        assert not bad, bad


@every_solver(*QUICK)
def test_a_circuit_without_current_is_no_failure(solver: Any) -> None:
    """Every word line floats, so that all of the array takes the voltage of the readout."""
    for seed in range(5):
        c = base(np.random.default_rng(seed))
        c["r_row"][:, 0] = INF
        c["v_col_near"] = np.full(COLS, 0.1)
        assert_agrees(c, solver)


@pytest.mark.parametrize("r_end", [1e9, 1e10, 1e11, 1e12, 1e14])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_what_the_dtype_cannot_resolve_is_said_not_returned(dtype: Any, r_end: float) -> None:
    """Every end is nearly open: the currents are what remains of others up to 1e10 times larger.
    They are right to the tolerance of a status, or the read raises."""
    c = base(np.random.default_rng(0))
    c["r_row"][:, 0], c["r_col"][-1] = r_end, 10 * r_end
    c = {k: np.asarray(v, dtype).astype(float) for k, v in c.items()}
    s = reference(c)
    try:
        sol = package(c, xb.LadderCG(), dtype)
    except RuntimeError as error:
        assert "float64" in str(error)
        assert dtype == jnp.float32 or r_end > 1e10
        return
    off = disagreement(c, s, sol)
    tol = 1e-7 if dtype == jnp.float64 else 1e-3
    assert all(off[k] <= tol for k in off if k != "i_out"), off
    assert np.abs(np.asarray(sol.i_out) - s.i_out).max() <= COLS * tol * np.abs(s.i_cell).max()
