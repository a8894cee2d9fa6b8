"""Laws that every resistive circuit obeys, whatever its numbers: Kirchhoff to monotonicity."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.kirchhoff.network import Network, Segments

INF = np.inf
ROWS, COLS = 6, 5
SEEDS = range(12)
Params = dict[str, Any]


def circuit(seed: int) -> Params:
    """Random numbers, one- and two-ended lines, ideal and broken segments, free ends, offsets."""
    rng = np.random.default_rng(seed)
    p = {k: rng.uniform(1.0, 500.0, (ROWS, COLS)) for k in ("r_row", "r_col")}
    p |= {"g": 10 ** rng.uniform(-6, -3, (ROWS, COLS))}
    p |= {k: rng.uniform(1.0, 500.0, ROWS) for k in ("r_source", "r_source_far")}
    p |= {k: rng.uniform(1.0, 500.0, COLS) for k in ("r_in", "r_in_far")}
    p |= {k: rng.uniform(-0.3, 0.3, ROWS) for k in ("v_row", "v_row_far")}
    p |= {k: rng.uniform(-0.1, 0.1, COLS) for k in ("v_col", "v_col_far")}
    if seed % 2:
        p["r_source_far"][:] = p["r_in_far"][:] = INF
    if seed % 3 == 0:
        p["r_row"][rng.random((ROWS, COLS)) < 0.2] = 0
        p["r_col"][rng.random((ROWS, COLS)) < 0.2] = 0
        p["g"][rng.random((ROWS, COLS)) < 0.1] = 0
    if seed % 4 == 0:
        p["r_row"][2, 3] = p["r_col"][3, 1] = p["r_source"][4] = p["r_in_far"][2] = INF
    if seed % 5 == 0:
        p["r_source"][:], p["r_in"][:] = 0, 0
    return p


def build(p: Params) -> xb.Crossbar:
    return xb.Crossbar(
        xb.Ohmic(jnp.asarray(p["g"])),
        xb.Wires(p["r_row"], p["r_col"]),
        xb.Drive(p["r_source"], p["r_source_far"]),
        xb.VirtualGround(p["r_in"], p["r_in_far"]),
    )


def read(p: Params) -> xb.Solution:
    bias = xb.Bias(*(p[k] for k in ("v_row", "v_row_far", "v_col", "v_col_far")))
    return xb.read(build(p), bias)


def currents(s: xb.Solution) -> tuple[Any, Any, Any]:
    """Cell, row-segment and column-segment currents, near to far and top to bottom."""
    row = np.concatenate([s.i_row, np.asarray(s.i_row_far)[:, None]], axis=1)
    col = np.concatenate([np.asarray(s.i_col_far)[None], s.i_col], axis=0)
    return np.asarray(s.i_cell), row, col


def largest(s: xb.Solution) -> float:
    return max(np.abs(x).max() for x in currents(s))


every_seed = pytest.mark.parametrize("seed", SEEDS)


@every_seed
def test_kirchhoffs_current_law_holds_at_every_node(seed: int) -> None:
    s = read(circuit(seed))
    cell, row, col = currents(s)
    tol = 1e-12 * largest(s)
    assert np.abs(row[:, :-1] - row[:, 1:] - cell).max() <= tol
    assert np.abs(col[1:] - col[:-1] - cell).max() <= tol
    for family, ends in ((row, (s.i_in_near, s.i_in_far)), (col.T, (-s.i_out_far, s.i_out_near))):
        first = np.asarray(ends[0]) - family[:, 0]
        last = family[:, -1] + (np.asarray(ends[1]) if family is row else -np.asarray(ends[1]))
        assert np.abs(first).max() == 0 and np.abs(last).max() == 0
    assert np.abs(s.i_in - cell.sum(1)).max() <= tol
    assert np.abs(s.i_out - (np.asarray(s.i_out_near) + np.asarray(s.i_out_far))).max() <= tol
    assert np.abs(np.sum(s.i_in) - np.sum(s.i_out)) <= 10 * tol
    assert float(s.residual) <= tol


@every_seed
def test_ohms_law_holds_on_every_cell_and_segment(seed: int) -> None:
    p = circuit(seed)
    s = read(p)
    cell, row, col = currents(s)
    v_row, v_col = np.asarray(s.v_row), np.asarray(s.v_col)
    assert np.abs(cell - p["g"] * (v_row - v_col)).max() <= 1e-12 * largest(s)
    r_row = np.concatenate([p["r_row"], p["r_source_far"][:, None]], 1)
    r_row[:, 0] += p["r_source"]
    r_col = np.concatenate([p["r_in_far"][None], p["r_col"]])
    r_col[-1] += p["r_in"]
    along_row = -np.diff(np.column_stack([p["v_row"], v_row, p["v_row_far"]]), axis=1)
    along_col = -np.diff(np.vstack([p["v_col_far"], v_col, p["v_col"]]), axis=0)
    for r, i, drop in ((r_row, row, along_row), (r_col, col, along_col)):
        whole = np.isfinite(r)
        assert (i[~whole] == 0).all()
        assert np.abs((drop - np.where(whole, r, 0) * i)[whole]).max() <= 1e-12


def test_drops_are_counted_from_their_reference() -> None:
    p = circuit(4)  # row 4 has no near source: its far one is the reference
    s = read(p)
    reference = np.where(np.isinf(p["r_source"]), p["v_row_far"], p["v_row"])
    np.testing.assert_allclose(s.v_row, reference[:, None] - np.asarray(s.drop_row), atol=1e-15)
    np.testing.assert_allclose(s.v_col, p["v_col"] + np.asarray(s.drop_col), atol=1e-15)


@every_seed
def test_tellegen_what_sources_deliver_is_dissipated(seed: int) -> None:
    s = read(circuit(seed))
    assert float(s.p_dissipated) == pytest.approx(float(s.p_delivered), rel=1e-10)
    parts = np.sum(s.p_cell) + np.sum(s.p_row) + np.sum(s.p_col)
    assert float(s.p_dissipated) == pytest.approx(float(parts), rel=1e-14)
    for part in (s.p_cell, s.p_row, s.p_col):
        assert np.isfinite(part).all() and np.min(part) >= -1e-13 * float(s.p_dissipated)


@every_seed
def test_power_of_every_wire_is_r_i_squared(seed: int) -> None:
    p = circuit(seed)
    s = read(p)
    _, row, col = currents(s)
    r_row = np.concatenate([p["r_row"], p["r_source_far"][:, None]], 1)
    r_row[:, 0] += p["r_source"]
    r_col = np.concatenate([p["r_in_far"][None], p["r_col"]])
    r_col[-1] += p["r_in"]
    for r, i, got in ((r_row, row, s.p_row), (r_col, col, s.p_col)):
        want = np.where(np.isinf(r), 0, np.where(np.isinf(r), 0, r) * i**2)
        assert np.abs(np.asarray(got) - want).max() <= 1e-12 * float(s.p_dissipated)


BIAS = ("v_row", "v_row_far", "v_col", "v_col_far")


@every_seed
def test_superposition_of_sources(seed: int) -> None:
    p, rng = circuit(seed), np.random.default_rng(100 + seed)
    other = {k: rng.uniform(-0.3, 0.3, p[k].shape) for k in BIAS}
    a, b = 0.7, -1.9
    first, second = read(p), read(p | other)
    both = read(p | {k: a * p[k] + b * other[k] for k in BIAS})
    for name in ("i_out", "v_row", "v_col", "i_cell", "i_row", "i_col", "i_in", "i_out_far"):
        x, y, z = (np.asarray(getattr(s, name)) for s in (first, second, both))
        tol = 1e-12 * (1 if name[0] == "v" else largest(first) + largest(second))
        assert np.abs(a * x + b * y - z).max() <= 10 * tol, name


@every_seed
def test_scaling_conductances_and_resistances_scales_currents(seed: int) -> None:
    """Every impedance divided by k: the same voltages, k times the currents."""
    p, k = circuit(seed), 37.0
    scaled = {x: p[x] * k if x == "g" else p[x] / k if x[0] == "r" else p[x] for x in p}
    a, b = read(p), read(scaled)
    assert np.abs(np.asarray(a.v_row) - b.v_row).max() <= 1e-12
    assert np.abs(np.asarray(a.v_col) - b.v_col).max() <= 1e-12
    for x, y in zip(currents(a), currents(b)):
        assert np.abs(k * x - y).max() <= 1e-12 * largest(b)


@every_seed
@pytest.mark.parametrize("k", [-1.0, 1e-9, 1e6])
def test_scaling_voltages_scales_everything(seed: int, k: float) -> None:
    p = circuit(seed)
    a, b = read(p), read(p | {x: k * p[x] for x in BIAS})
    for x, y in zip(currents(a), currents(b)):
        assert np.abs(k * x - y).max() <= 1e-11 * largest(b)
    assert float(b.p_dissipated) == pytest.approx(k * k * float(a.p_dissipated), rel=1e-10)


@every_seed
def test_equal_voltages_drive_no_current(seed: int) -> None:
    p = circuit(seed)
    s = read(p | {k: np.full_like(p[k], 0.37) for k in BIAS})
    for x in currents(s):
        assert (x == 0).all()
    assert (np.asarray(s.v_row) == 0.37).all() and (np.asarray(s.v_col) == 0.37).all()
    assert float(s.p_dissipated) == 0 == float(s.p_delivered) and int(s.status) == 0


@every_seed
def test_a_common_voltage_changes_no_current(seed: int) -> None:
    p = circuit(seed)
    a, b = read(p), read(p | {k: p[k] + 2.0 for k in BIAS})
    for x, y in zip(currents(a), currents(b)):
        assert np.abs(x - y).max() <= 1e-11 * largest(a)


def transposed(p: Params) -> Params:
    """Rows become columns. A row runs from its near end at the left, a column from its near end
    at the bottom: so both axes are turned round as well."""
    turn = lambda x: np.flip(x).T.copy()
    g = turn(p["g"])
    q = {"g": g}
    # row segment (i, j) enters cell (i, j); turned, it leaves cell (cols - 1 - j, rows - 1 - i)
    q["r_col"], q["r_row"] = turn(p["r_row"]), turn(p["r_col"])
    for row, col in (("r_source", "r_in"), ("r_source_far", "r_in_far")):
        q[row], q[col] = p[col][::-1].copy(), p[row][::-1].copy()
    for row, col in (("v_row", "v_col"), ("v_row_far", "v_col_far")):
        q[row], q[col] = p[col][::-1].copy(), p[row][::-1].copy()
    return q


@every_seed
def test_rows_and_columns_are_interchangeable(seed: int) -> None:
    """The same circuit with its word lines named bit lines: every number stays."""
    p = circuit(seed)
    a, b = read(p), read(transposed(p))
    back = lambda x: np.flip(np.asarray(x).T)
    assert np.abs(np.asarray(a.v_row) - back(b.v_col)).max() <= 1e-12
    assert np.abs(np.asarray(a.v_col) - back(b.v_row)).max() <= 1e-12
    assert np.abs(np.asarray(a.i_cell) + back(b.i_cell)).max() <= 1e-12 * largest(a)
    assert np.abs(np.asarray(a.i_row) + back(b.i_col)).max() <= 1e-12 * largest(a)
    assert np.abs(np.asarray(a.i_in) + np.asarray(b.i_out)[::-1]).max() <= 1e-12 * largest(a)
    assert float(a.p_dissipated) == pytest.approx(float(b.p_dissipated), rel=1e-12)


@every_seed
def test_reciprocity_driver_and_sense_exchange(seed: int) -> None:
    """The current out of column j for 1 V on row i is that out of row i for 1 V on column j."""
    p = circuit(seed)
    direct = np.asarray(xb.transfer(build(p)))
    exchanged = np.asarray(xb.transfer(build(transposed(p))))
    assert direct.shape == (ROWS, COLS) and exchanged.shape == (COLS, ROWS)
    assert np.abs(direct - np.flip(exchanged).T).max() <= 1e-11 * np.abs(direct).max()


@every_seed
def test_transfer_is_the_matrix_of_a_read(seed: int) -> None:
    p, rng = circuit(seed), np.random.default_rng(200 + seed)
    matrix = np.asarray(xb.transfer(build(p)))
    assert (matrix >= -1e-15 * matrix.max()).all()
    p |= {"v_row": rng.uniform(-1, 1, ROWS), "v_col": np.zeros(COLS), "v_col_far": np.zeros(COLS)}
    p["v_row_far"] = p["v_row"]
    want = np.asarray(read(p).i_out)
    assert np.abs(p["v_row"] @ matrix - want).max() <= 1e-11 * np.abs(want).max()


def test_transfer_is_the_jacobian_of_a_read() -> None:
    jacobian = jax.jit(jax.jacfwd(lambda v, x: xb.read(x, v).i_out))
    for seed in SEEDS:
        xbar = build(circuit(seed))
        want = np.asarray(xb.transfer(xbar))
        got = np.asarray(jacobian(jnp.zeros(ROWS), xbar)).T
        assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_transfer_does_not_depend_on_its_chunks(chunk: int) -> None:
    p = circuit(1)
    want = np.asarray(xb.transfer(build(p), solver=xb.Dense()))
    got = np.asarray(xb.transfer(build(p), chunk=chunk))
    assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()


def ideal(p: Params) -> Params:
    zero = {k: np.zeros_like(p[k]) for k in ("r_row", "r_col", "r_source", "r_in")}
    free = {k: np.full_like(p[k], INF) for k in ("r_source_far", "r_in_far")}
    return p | zero | free | {"v_col": np.zeros(COLS)}


@every_seed
def test_ideal_wires_multiply_exactly(seed: int) -> None:
    p = ideal(circuit(seed))
    s = read(p)
    want = p["v_row"] @ p["g"]
    np.testing.assert_allclose(s.i_out, want, rtol=0, atol=1e-15 * np.abs(want).max())
    np.testing.assert_array_equal(s.v_row, np.broadcast_to(p["v_row"][:, None], (ROWS, COLS)))
    assert (np.asarray(s.v_col) == 0).all()
    np.testing.assert_allclose(xb.transfer(build(p)), p["g"], rtol=1e-15)
    assert float(s.residual) <= 1e-15 * largest(s) and int(s.status) == 0


def test_small_resistances_lead_to_the_ideal_product() -> None:
    p = ideal(circuit(1))
    want = p["v_row"] @ p["g"]
    off = []
    for r in (1e-2, 1e-4, 1e-6, 1e-9):
        got = read(p | {k: np.full((ROWS, COLS), r) for k in ("r_row", "r_col")}).i_out
        off.append(np.abs(np.asarray(got) - want).max() / np.abs(want).max())
    for a, b in zip(off, off[1:]):
        assert b <= 1.1e-2 * a + 1e-15  # of first order in r
    assert off[0] < 1e-3 and off[-1] < 1e-11


def test_flipping_rows_of_columns_sensed_at_both_ends_flips_nodes() -> None:
    """Mirrored at the middle row: near and far ends of the columns exchange."""
    for seed in (0, 2, 4, 6):
        p = circuit(seed)
        q = {
            k: v[::-1].copy() if k in ("g", "r_row") or v.shape == (ROWS,) else v
            for k, v in p.items()
        }
        r_col = np.concatenate([p["r_in_far"][None], p["r_col"]])
        r_col[-1] += p["r_in"]
        q["r_in_far"], q["r_col"] = r_col[-1], r_col[-2::-1].copy()
        q["r_in"] = np.zeros(COLS)
        q["v_col"], q["v_col_far"] = p["v_col_far"], p["v_col"]
        a, b = read(p), read(q)
        assert np.abs(np.asarray(a.v_col) - np.asarray(b.v_col)[::-1]).max() <= 1e-12
        assert np.abs(np.asarray(a.i_out) - b.i_out).max() <= 1e-12 * largest(a)
        assert np.abs(np.asarray(a.i_out_near) - b.i_out_far).max() <= 1e-12 * largest(a)
        assert np.abs(np.asarray(a.i_in) - np.asarray(b.i_in)[::-1]).max() <= 1e-12 * largest(a)


def test_flipping_columns_of_rows_driven_at_both_ends_flips_nodes() -> None:
    for seed in (0, 2, 4, 6):
        p = circuit(seed)
        q = {
            k: v[..., ::-1].copy() if k in ("g", "r_col") or v.shape == (COLS,) else v
            for k, v in p.items()
        }
        r_row = np.concatenate([p["r_row"], p["r_source_far"][:, None]], 1)
        r_row[:, 0] += p["r_source"]
        q["r_source_far"], q["r_row"] = r_row[:, 0], r_row[:, :0:-1].copy()
        q["r_source"] = np.zeros(ROWS)
        q["v_row"], q["v_row_far"] = p["v_row_far"], p["v_row"]
        a, b = read(p), read(q)
        assert np.abs(np.asarray(a.v_row) - np.asarray(b.v_row)[:, ::-1]).max() <= 1e-12
        assert np.abs(np.asarray(a.i_in_near) - b.i_in_far).max() <= 1e-12 * largest(a)
        assert np.abs(np.asarray(a.i_out) - np.asarray(b.i_out)[::-1]).max() <= 1e-12 * largest(a)


def test_columns_sensed_symmetrically_share_their_current() -> None:
    """An array that is its own mirror image gives both ends of a column the same."""
    p = circuit(0)
    half = {k: v[: ROWS // 2] for k, v in p.items() if v.shape[0] == ROWS}
    p |= {k: np.concatenate([v, v[::-1]]) for k, v in half.items()}
    p |= {
        "r_col": np.full((ROWS, COLS), 3.0),
        "r_in": np.full(COLS, 2.0),
        "r_in_far": np.full(COLS, 5.0),
    }
    p |= {"v_col": np.zeros(COLS), "v_col_far": np.zeros(COLS)}
    s = read(p)
    np.testing.assert_allclose(s.i_out_near, s.i_out_far, rtol=1e-11)


@pytest.mark.parametrize("k", ["r_row", "r_col", "r_source", "r_in"])
def test_total_output_falls_when_a_resistance_rises(k: str) -> None:
    """Rayleigh: with one voltage on every row, the current into the grounds is the voltage times
    a conductance between two terminals. A single output may rise: current moves elsewhere."""
    rng = np.random.default_rng(3)
    p = circuit(1) | {"v_row": np.full(ROWS, 0.3), "v_col": np.zeros(COLS)}
    before = float(np.sum(read(p).i_out))
    for _ in range(10):
        at = tuple(rng.integers(n) for n in p[k].shape)
        q = p | {k: p[k].copy()}
        q[k][at] *= 3
        after = float(np.sum(read(q).i_out))
        assert after < before
        assert float(read(q).p_delivered) < float(read(p).p_delivered)


def test_every_output_falls_when_every_row_wire_worsens() -> None:
    p = circuit(1) | {"v_row": np.full(ROWS, 0.3), "v_col": np.zeros(COLS)}
    outputs = [
        np.asarray(read(p | {"r_source": p["r_source"] + r}).i_out) for r in (0, 10, 100, 1e3)
    ]
    for a, b in zip(outputs, outputs[1:]):
        assert (b < a).all()


def test_total_output_rises_with_any_conductance() -> None:
    p = circuit(1) | {"v_row": np.full(ROWS, 0.3), "v_col": np.zeros(COLS)}
    before = float(np.sum(read(p).i_out))
    for at in ((0, 0), (2, 3), (5, 4)):
        q = p | {"g": p["g"].copy()}
        q["g"][at] *= 2
        assert float(np.sum(read(q).i_out)) > before


@every_seed
def test_no_node_leaves_the_range_of_the_terminals(seed: int) -> None:
    """The maximum principle."""
    p = circuit(seed)
    s = read(p)
    low, high = (f([f(p[k]) for k in BIAS]) for f in (min, max))
    for v in (s.v_row, s.v_col):
        assert np.min(v) >= low - 1e-14 and np.max(v) <= high + 1e-14


@pytest.mark.parametrize("parallel", [False, True])
def test_a_transposed_network_is_the_transpose_of_its_matrix(parallel: bool) -> None:
    """Of cells that see their two nodes differently, with shunts; what is left violated as well."""
    rng = np.random.default_rng(0)
    rows, cols = 3, 4
    draw = lambda *shape: jnp.asarray(rng.uniform(0.5, 2, shape))
    row = Segments(draw(rows + 1, cols) if parallel else draw(rows, cols + 1))
    g_rc, g_cr, *shunts = (draw(rows, cols) for _ in range(4))
    col = Segments(draw(rows + 1, cols))
    network = Network(row, col, g_rc, g_cr, shunts[0], shunts[1], False, parallel)
    turned = network.transpose()
    np.testing.assert_allclose(turned.as_matrix(), network.as_matrix().T, rtol=1e-15)
    np.testing.assert_array_equal(turned.transpose().as_matrix(), network.as_matrix())
    for of in (network, turned):
        x, b = (jax.tree.map(lambda s: draw(*s.shape), of.in_structure()) for _ in range(2))
        off = jax.tree.map(jnp.subtract, b, of.mv(x))
        for got, want in zip(jax.tree.leaves(of.violation(b, x)), jax.tree.leaves(off)):
            np.testing.assert_allclose(got, want, atol=1e-14)
