"""Ports, shared nodes, 2T2R cells, both sides and transposed reads."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.dense import Circuit
from xbarjax import feeding, pairs, schemes

ROWS, COLS = 8, 6


def array(seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (ROWS, COLS)))
    return g, jnp.asarray(random.uniform(-0.2, 0.2, ROWS))


def crossbar(cell: Any = None) -> xb.Crossbar:
    cell = xb.Ohmic(array()[0]) if cell is None else cell
    return xb.Crossbar(cell, xb.Wires(2.0, 3.0), xb.Drive(30.0), xb.VirtualGround(40.0))


def nodal(codes: Any, v: Any, r_level: float, r_ground: float) -> np.ndarray:
    """Cell currents of that array with level lines and a ground wire that are shared."""
    g, c = np.asarray(array()[0]), Circuit()
    for k, level in enumerate(v):
        c.voltage(("source", k), None, level)
        c.resistor(("source", k), ("level", k), r_level)
    c.resistor("ground", None, r_ground)
    for i, j in np.ndindex(g.shape):
        before = ("w", i, j - 1) if j else ("level", int(codes[i]))
        c.resistor(before, ("w", i, j), 2.0 + (0 if j else 30.0))
        c.conductor(("w", i, j), ("b", i, j), float(g[i, j]))
        last = i == ROWS - 1
        c.resistor(("b", i, j), "ground" if last else ("b", i + 1, j), 3.0 + (40.0 if last else 0))
    found, _ = c.solve()
    across = [[found["w", i, j] - found["b", i, j] for j in range(COLS)] for i in range(ROWS)]
    return g * np.array(across)


def test_shared_levels_and_ground_agree_with_a_nodal_solve() -> None:
    codes = jnp.asarray([0, 3, 1, 1, 2, 3, 3, 0])
    v = np.linspace(0, 0.2, 4)
    rows, cols = feeding.levels(codes, v, 500.0), feeding.ground_return(COLS, 20.0)
    s = feeding.read_shared(crossbar(), jnp.zeros(ROWS), rows=rows, cols=cols)
    want = nodal(codes, v, 500.0, 20.0)
    np.testing.assert_allclose(s.i_cell, want, atol=1e-12 * np.abs(want).max())
    assert int(s.status) == 0
    alone = xb.read(crossbar(), jnp.asarray(v)[codes])
    assert np.max(np.abs(alone.i_out - s.i_out)) > 0.05 * np.max(np.abs(s.i_out))


@pytest.mark.slow
def test_readouts_count_from_the_ground_that_they_share() -> None:
    _, v = array()
    for readout in (xb.VirtualGround(40.0, v_offset=5e-3), xb.Tia(4e3, 30.0, v_offset=5e-3)):
        x = eqx.tree_at(lambda x: x.readout, crossbar(), readout)
        still = feeding.read_shared(x, v, cols=feeding.ground_return(COLS, 0.0))
        np.testing.assert_allclose(still.i_out, xb.read(x, v).i_out, rtol=1e-12)
        lifted = feeding.read_shared(x, v, cols=feeding.ground_return(COLS, 0.0, 0.01))
        higher = eqx.tree_at(lambda x: x.readout.v_offset, x, jnp.asarray(5e-3 + 0.01))
        np.testing.assert_allclose(lifted.i_out, xb.read(higher, v).i_out, rtol=1e-12)


@pytest.mark.slow
def test_shared_nodes_in_single_precision() -> None:
    g, v = (x.astype(jnp.float32) for x in array())
    level = np.linspace(0, 0.2, 4, dtype=np.float32)
    rows = feeding.levels(jnp.asarray([0, 3, 1, 1, 2, 3, 3, 0]), level, 500.0)
    ground = feeding.ground_return(COLS, 20.0)
    s = feeding.read_shared(crossbar(xb.Ohmic(g)), v, rows=rows, cols=ground)
    want = feeding.read_shared(crossbar(), array()[1], rows=rows, cols=ground)
    assert s.i_out.dtype == jnp.float32
    np.testing.assert_allclose(s.i_out, want.i_out, rtol=1e-5)


def test_lines_without_a_shared_node_keep_their_voltage() -> None:
    _, v = array()
    rows = feeding.Shared(jnp.asarray([-1, 0, -1, -1, -1, -1, -1, -1]), jnp.asarray([0.1]), 0.0)
    s = feeding.read_shared(crossbar(), v, rows=rows)
    want = xb.read(crossbar(), v.at[1].set(0.1))
    np.testing.assert_allclose(s.i_out, want.i_out, rtol=1e-12)


@pytest.mark.slow
def test_shared_nodes_of_nonlinear_cells_hold_and_have_gradients() -> None:
    g, _ = array()
    codes = jnp.asarray([0, 1, 1, 1, 0, 1, 1, 0])

    def solution(r, v=0.8):
        cells = crossbar(xb.Sinh(g, 3.0))
        return feeding.read_shared(
            cells, jnp.zeros(ROWS), rows=feeding.levels(codes, jnp.asarray([0.0, v]), r)
        )

    s = solution(300.0)
    drawn = jnp.asarray([jnp.sum(jnp.where(codes == k, s.i_in, 0)) for k in (0, 1)])
    nodes = jnp.asarray([s.bias.v_row[0], s.bias.v_row[1]])
    np.testing.assert_allclose(nodes, jnp.asarray([0.0, 0.8]) - 300 * drawn, atol=1e-11)
    loss = lambda r: jnp.sum(solution(r).i_out ** 2)
    slope = (loss(300.1) - loss(299.9)) / 0.2
    np.testing.assert_allclose(jax.grad(loss)(300.0), slope, rtol=1e-6)


def test_ports_are_what_reads_say() -> None:
    _, v = array()
    x = crossbar()
    p = xb.ports(x)
    v_col = jnp.asarray(np.random.default_rng(1).uniform(-0.1, 0.1, COLS))
    s = xb.read(x, xb.Bias(v, v, v_col, v_col))
    np.testing.assert_allclose(p.g_row @ v - p.g_row_col @ v_col, s.i_in, atol=1e-18)
    np.testing.assert_allclose(p.g_row_col.T @ v - p.g_col @ v_col, s.i_out, atol=1e-18)
    np.testing.assert_allclose(p.admittance, p.admittance.T, atol=1e-18)
    np.testing.assert_allclose(p.g_row_col, xb.transfer(x), rtol=1e-10)
    eigenvalues = np.linalg.eigvalsh(np.asarray(p.admittance))  # one is 0: all at one voltage
    assert np.all(eigenvalues > -1e-15 * eigenvalues[-1]) and np.all(eigenvalues[1:] > 0)


def test_ports_of_an_array_without_wires() -> None:
    g, _ = array()
    p = xb.ports(xb.Crossbar(xb.Ohmic(g)), chunk=5)
    np.testing.assert_allclose(p.g_row, np.diag(g.sum(1)), atol=1e-18)
    np.testing.assert_allclose(p.g_row_col, g, atol=1e-18)
    np.testing.assert_allclose(p.g_col, np.diag(g.sum(0)), atol=1e-18)


def test_ports_of_source_lines_along_the_bit_lines() -> None:
    g, _ = array()
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 3.0, parallel=True))
    p = xb.ports(x)
    s = xb.read(x, jnp.arange(1.0, COLS + 1))
    np.testing.assert_allclose(p.g_row_col.T @ jnp.arange(1.0, COLS + 1), s.i_out, rtol=1e-12)
    assert p.g_row.shape == (COLS, COLS)


def test_a_transposed_read_is_the_same_array_from_the_other_side() -> None:
    """By reciprocity it multiplies with the transpose where both ends are alike."""
    x = crossbar()
    v = jnp.asarray(np.random.default_rng(2).uniform(-0.2, 0.2, COLS))
    s = xb.read(x, schemes.transposed(x, v))
    np.testing.assert_allclose(-s.i_in, xb.transfer(x) @ v, rtol=1e-10)


def test_terminals_on_alternating_sides() -> None:
    g, v = array()
    near, far = feeding.alternating(ROWS, 10.0)
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(5.0, 0.0), xb.Drive(near, far))
    s = xb.read(x, v)
    odd = jnp.arange(ROWS) % 2 == 1
    assert np.all(np.asarray(s.i_in_near)[np.asarray(odd)] == 0)
    # an odd row is an even one turned round, behind another segment less
    turned = xb.Crossbar(
        xb.Ohmic(jnp.where(odd[:, None], g[:, ::-1], g)),
        xb.Wires(jnp.full((ROWS, COLS), 5.0).at[:, 0].set(jnp.where(odd, 0.0, 5.0)), 0.0),
        xb.Drive(10.0),
    )
    t = xb.read(turned, v)
    back = jnp.where(odd[:, None], t.i_cell[:, ::-1], t.i_cell)
    np.testing.assert_allclose(s.i_cell, back, rtol=1e-10)


def differential(seed: int, rows: int, cols: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    w = random.normal(0, 0.3, (rows, cols)).clip(-1, 1)
    g = 1e-6 + 99e-6 * np.stack([np.maximum(w, 0), np.maximum(-w, 0)])
    plus, minus = (xb.Ohmic(jnp.asarray(x)) for x in g)
    return plus, minus, jnp.asarray(random.uniform(0, 0.2, rows))


def test_pairs_in_a_cell_subtract_there() -> None:
    """Without wires, a 2T2R cell is the difference of its devices."""
    plus, minus, v = differential(3, ROWS, COLS)
    cell, wires = pairs.in_cell(plus, minus)
    s = xb.read(xb.Crossbar(cell, wires), pairs.opposed(v))
    np.testing.assert_allclose(s.i_out, v @ (plus.g - minus.g), rtol=1e-12)
    fet = xb.Mosfet(beta=1e-3, v_t=0.4, v_gate=1.5, n=1.3)
    cell, _ = pairs.in_cell(xb.Series(fet, plus), xb.Series(fet, minus))
    assert cell.shape == (2 * ROWS, COLS)


def test_2t2r_lowers_the_drop_of_the_sensed_line_alone() -> None:
    """As published: the line that both devices share carries the difference of their currents, so
    that it drops less; the two lines that drive them carry what they did."""
    rows, cols = 64, 32
    plus, minus, v = differential(4, rows, cols)
    line = xb.Wires(1.0, 1.0)
    cell, wires = pairs.in_cell(plus, minus, line)
    both = xb.read(xb.Crossbar(cell, wires), pairs.opposed(v))
    single = [xb.read(xb.Crossbar(x, line), v) for x in (plus, minus)]
    shared = float(jnp.max(jnp.abs(both.drop_col)))
    apart = max(float(jnp.max(jnp.abs(s.drop_col))) for s in single)
    assert shared < 0.5 * apart
    driven = float(jnp.max(jnp.abs(both.drop_row)))
    before = max(float(jnp.max(jnp.abs(s.drop_row))) for s in single)
    assert abs(driven / before - 1) < 0.1


@pytest.mark.parametrize("r", [0.02, 0.05])
def test_both_ends_cut_the_error_of_small_drops(r: float) -> None:
    """Both families at both ends: 3 to 4 times less; one family alone: about 1.5 times."""
    n = 64
    random = np.random.default_rng(5)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (n, n)))
    v = jnp.asarray(random.uniform(0, 0.2, n))

    def error(rows: bool, cols: bool) -> float:
        # as many segments as cells and one more: both ends are alike
        far = lambda on: r if on else np.inf
        drive, readout = xb.Drive(0.0, far(rows)), xb.VirtualGround(0.0, far(cols))
        i = xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r), drive, readout), v).i_out
        return float(jnp.sqrt(jnp.mean((i - v @ g) ** 2)))

    one = error(False, False)
    assert 3 < one / error(True, True) < 4.2
    assert 1.3 < one / error(True, False) < 1.8
    assert 1.3 < one / error(False, True) < 1.8


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: feeding.levels(jnp.asarray([0, 4]), jnp.zeros(3), 1.0), r"of\[1\] is 4"),
        (lambda: feeding.levels(jnp.asarray([0, -1]), jnp.zeros(3), 1.0), r"codes\[1\] is -1"),
        (lambda: feeding.levels(jnp.asarray([0, 1]), jnp.zeros(3), -1.0), "r is -1"),
        (lambda: feeding.levels(jnp.asarray([0, 1]), jnp.zeros(3), jnp.ones(2)), "v has shape"),
        (
            lambda: feeding.read_shared(
                crossbar(), jnp.zeros(ROWS), rows=feeding.ground_return(3, 1.0)
            ),
            r"rows.of has shape \(3,\)",
        ),
        (lambda: xb.ports(crossbar(xb.Sinh(array()[0], 1.0))), "ports needs linear cells"),
        (lambda: xb.ports(crossbar(), chunk=0), "chunk is 0"),
        (
            lambda: pairs.in_cell(xb.Ohmic(array()[0]), xb.Ohmic(array()[0][:3])),
            "a pair has two cells",
        ),
    ],
)
def test_bad_feeding_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
    with pytest.raises(TypeError, match="counted by integers"):
        feeding.levels(jnp.ones(2), jnp.zeros(3), 1.0)


def test_a_traced_level_that_does_not_exist_is_flagged() -> None:
    x = xb.Crossbar(xb.Ohmic(jnp.full((2, 2), 1e-5)), xb.Wires(1.0, 1.0))
    level = jnp.asarray([0.1, 0.2, 0.3])

    @jax.jit
    def status(codes):
        return feeding.read_shared(x, jnp.zeros(2), rows=feeding.levels(codes, level, 1.0)).status

    assert int(status(jnp.asarray([0, 2]))) == 0
    for code in (3, -1):
        assert xb.Status.NOT_FINITE in xb.Status(int(status(jnp.asarray([0, code]))))
