"""`transfer` by block elimination against a solve for every line, and where it may not be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.analyses import transfer as module
from xbarjax.solvers import effective_matrix, elimination, products
from xbarjax.solvers.inverse import inverse

SOLVES = xb.LadderCG()
pytestmark = pytest.mark.usefixtures("by_elimination")
SHAPES = [(32, 32), (37, 20), (19, 41)]


def crossbar(shape: tuple[int, int], dtype: Any = float, **parts: Any) -> Any:
    """Segments of 0 to 100 ohm, shorts, breaks, dead cells and lines, and a strong cell."""
    rng = np.random.default_rng(shape[0])
    g, r_row, r_col = (rng.uniform(a, b, shape) for a, b in ((1e-6, 1e-4), (0, 100), (0, 100)))
    g[3, 4], g[:, 9], g[11], g[5, 6], r_row[7], r_col[:, 2] = 0, 0, 0, 0.1, 0, 0
    r_row[8, 5], r_col[4, 3], r_col[-1, 12], r_row[13, 0], r_row[2, 3] = (np.inf,) * 4 + (1e7,)
    of = lambda x: jnp.asarray(x, dtype)
    return xb.Crossbar(xb.Ohmic(of(g)), xb.Wires(of(r_row), of(r_col)), **parts)


def at(xbar: xb.Crossbar, g: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xbar.wires, xbar.drive, xbar.readout)


def error(got: Any, want: Any) -> float:
    return float(np.abs(np.asarray(got, float) - want).max() / np.abs(want).max())


@eqx.filter_jit
def eliminated(xbar: xb.Crossbar) -> Any:
    """What is compared with a solve, before it is."""
    lines = effective_matrix._eliminated(module._prepared(xbar, SOLVES)[0])
    return lines if xbar.shape[0] <= xbar.shape[1] else lines.T


@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elimination_equals_a_solve_a_line(shape: tuple[int, int], dtype: Any) -> None:
    xbar = crossbar(shape, dtype, drive=xb.Drive(20.0), readout=xb.VirtualGround(30.0))
    want = xb.transfer(crossbar(shape, drive=xbar.drive, readout=xbar.readout), solver=SOLVES)
    tolerance = 1e-11 if dtype == jnp.float64 else 1e-5
    assert error(eliminated(xbar), want) < tolerance
    got = xb.transfer(xbar)
    assert got.dtype == dtype and error(got, want) < tolerance
    assert not np.asarray(got)[:, 9].any() and not np.asarray(got)[11].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lines_with_two_terminals_are_left_to_solves(shape: tuple[int, int]) -> None:
    """Where the shorter lines are sensed at both ends, or driven at both, some current leaves where
    elimination does not look; the longer ones may end in two terminals."""
    both = {"drive": xb.Drive(20.0, 5.0), "readout": xb.VirtualGround(30.0, 10.0)}
    for part, of in both.items():
        xbar = crossbar(shape, **{part: of})
        want = xb.transfer(xbar, solver=SOLVES)
        assert error(xb.transfer(xbar), want) < 1e-11, part
        longer = "readout" if shape[0] < shape[1] else "drive"
        assert bool(jnp.any(eliminated(xbar))) == (part == longer)


def test_long_columns_of_equal_rows_do_not_add_up_rounding() -> None:
    """What a segment lets through is so near to one that its rounding in float32, the same in every
    row, would show after hundreds of them."""
    cells, r = (lambda dtype: xb.Ohmic(jnp.full((500, 16), 5e-5, dtype))), jnp.asarray(2.0)
    of = lambda dtype: xb.Crossbar(cells(dtype), xb.Wires(r.astype(dtype), r.astype(dtype)))
    want = np.asarray(eliminated(of(jnp.float64)))
    assert error(eliminated(of(jnp.float32)), want) < 3e-6
    matrix = eqx.filter_jit(lambda x: products.products(module._prepared(x, SOLVES)[0]).matrix)
    assert error(matrix(of(jnp.float32)), want) < 3e-6


@pytest.fixture
def own_compilations() -> Iterator[None]:
    """What is compiled in a test is not found by another, whether it passes or not."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("own_compilations")
def test_a_wrong_elimination_does_not_get_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = elimination.near_currents
    wrong = lambda network: right(network).at[17, 5].mul(1 + 1e-7)
    xbar = crossbar((40, 24))
    want = xb.transfer(xbar, solver=SOLVES)
    monkeypatch.setattr(elimination, "near_currents", wrong)
    assert error(eliminated(xbar), want) > 1e-10
    assert error(xb.transfer(xbar), want) < 1e-12


def test_currents_are_those_of_the_oracle() -> None:
    """Dense LU shares no code with either."""
    xbar = crossbar((16, 17))
    v = jnp.asarray(np.random.default_rng(0).uniform(-0.3, 0.3, 16))
    want = xb.read(xbar, v, solver=xb.Dense()).i_out
    assert error(v @ xb.transfer(xbar), np.asarray(want)) < 1e-11


def test_its_gradient_is_that_of_the_solves() -> None:
    xbar = crossbar((18, 16))
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(18, 16)))

    def total(xbar: Any, solver: Any = xb.AutoLadder()) -> Any:
        return jnp.vdot(weight, xb.transfer(xbar, solver=solver)) * 1e4

    for got, want in zip(
        jax.tree.leaves(jax.jit(jax.grad(total))(xbar)),
        jax.tree.leaves(jax.jit(jax.grad(lambda xbar: total(xbar, SOLVES)))(xbar)),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())
    g = xbar.cell.g
    along = lambda solver: jax.jit(
        lambda g: jax.jvp(lambda g: total(at(xbar, g), solver), (g,), (g,))
    )(g)
    for got, want in zip(along(xb.AutoLadder()), along(SOLVES), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11)


BOTH = {"drive": xb.Drive(20.0, 0.0), "readout": xb.VirtualGround(30.0, 10.0)}


@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=str)
@pytest.mark.parametrize("parts", [{}, BOTH], ids=["one end", "both ends"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_its_gradient_by_cells_is_that_of_the_solves(shape: Any, parts: Any, dtype: Any) -> None:
    weight = jnp.asarray(np.random.default_rng(1).normal(size=shape))

    def total(g: Any, xbar: Any, solver: Any = xb.AutoLadder()) -> Any:
        return jnp.sum(weight.astype(g.dtype) * xb.transfer(at(xbar, g), solver=solver)) * 1e4

    exact, xbar = crossbar(shape, **parts), crossbar(shape, dtype, **parts)
    value, got = jax.jit(jax.value_and_grad(total))(xbar.cell.g, xbar)
    solves = jax.jit(jax.value_and_grad(lambda g: total(g, exact, SOLVES)))
    total_of_solves, want = solves(exact.cell.g)
    double = dtype == jnp.float64
    assert error(got, np.asarray(want)) < (1e-10 if double else 1e-4)
    np.testing.assert_allclose(value, total_of_solves, rtol=1e-10 if double else 1e-4)


def test_its_second_derivatives_are_those_of_the_solves() -> None:
    """Forward over reverse, by cells and, of a gradient by cells, along the wires."""
    xbar = crossbar((18, 16))
    along = jnp.asarray(np.random.default_rng(4).normal(size=(18, 16))) * 1e-5

    def total(g: Any, r: Any, solver: Any = xb.AutoLadder()) -> Any:
        array = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 3.0))
        return jnp.sum((1e4 * xb.transfer(array, solver=solver)) ** 2)

    def second(solver: Any) -> tuple[Any, Any]:
        slope = lambda g, r: jax.grad(total)(g, r, solver)
        r = jnp.asarray(5.0)
        _, by_cells = jax.jvp(lambda g: slope(g, r), (xbar.cell.g,), (along,))
        _, by_wire = jax.jvp(lambda r: slope(xbar.cell.g, r), (r,), (jnp.asarray(1.0),))
        return by_cells, by_wire

    both = jax.jit(lambda: (second(xb.AutoLadder()), second(SOLVES)))()
    for got, want in zip(*both, strict=True):
        assert np.abs(want).max() > 0 and error(got, np.asarray(want)) < 1e-9


def test_a_gradient_that_a_solve_does_not_confirm_is_flagged(
    monkeypatch: pytest.MonkeyPatch, own_compilations: None
) -> None:
    right = products.products

    def wrong(network: Any) -> Any:
        found = right(network)
        return found._replace(matrix=found.matrix.at[3, 2].mul(1 + 1e-7))

    xbar = crossbar((24, 17))
    slope = lambda: jax.jit(jax.grad(lambda g: jnp.sum(xb.transfer(at(xbar, g)))))(xbar.cell.g)
    assert np.isfinite(slope()).all()
    monkeypatch.setattr(products, "products", wrong)
    jax.clear_caches()
    assert np.isnan(slope()).all()


@pytest.mark.few(1)
@pytest.mark.parametrize("shape", [(19, 17), (16, 21)], ids=str)
def test_many_right_hand_sides_are_solved_at_once_as_one_by_one(shape: tuple[int, int]) -> None:
    """With both families in two terminals, some of them ideal, through one factor."""
    rng = np.random.default_rng(2)
    ends = lambda n: (jnp.asarray(rng.uniform(0, 50, n)).at[2].set(0.0) for _ in range(2))
    parts = {"drive": xb.Drive(*ends(shape[0])), "readout": xb.VirtualGround(*ends(shape[1]))}
    xbar = crossbar(shape, **parts)
    v = jnp.asarray(rng.uniform(-0.3, 0.3, (4, shape[0])))
    together = jax.vmap(lambda v: xb.read(xbar, v, solver=xb.BlockElimination()).i_cell)(v)
    each = [xb.read(xbar, one, solver=xb.Dense()).i_cell for one in v]
    assert error(together, np.asarray(each)) < 1e-11


def test_what_it_cannot_eliminate_is_said() -> None:
    g = jnp.full((3, 3), 1e-5)
    array = xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0, parallel=True))
    with pytest.raises(ValueError, match="crossing lines"):
        xb.read(array, jnp.ones(3), solver=xb.BlockElimination())
    with pytest.raises(TypeError, match="solves a Network"):
        xb.BlockElimination().init(lx.MatrixLinearOperator(jnp.eye(2)), {})


@pytest.mark.slow
def test_a_batch_is_its_members() -> None:
    g = jnp.stack([crossbar((17, 16)).cell.g * k for k in (1.0, 2.0, 3.0)])
    one = lambda g: xb.transfer(xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 3.0)))
    want = np.stack([one(x) for x in g])
    assert error(jax.jit(jax.vmap(one))(g), want) < 1e-13
    slope = jax.grad(lambda g: jnp.sum(one(g) ** 2))
    want = np.stack([slope(x) for x in g])
    assert error(jax.jit(jax.vmap(slope))(g), want) < 1e-12


def test_bad_cells_are_flagged() -> None:
    xbar = crossbar((16, 16))
    bad = jax.jit(lambda g: xb.transfer(xb.Crossbar(xb.Ohmic(g), xbar.wires)))
    assert np.isnan(bad(xbar.cell.g.at[2, 2].set(-1e-5))).all()
    assert np.isnan(bad(xbar.cell.g.at[2, 2].set(np.nan))).all()
    assert np.isfinite(bad(xbar.cell.g)).all()


def test_it_exports_to_every_platform() -> None:
    f = jax.jit(lambda g: xb.transfer(xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0))))
    shape = jax.ShapeDtypeStruct((20, 18), jnp.float32)
    exported = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(shape)
    assert "custom_call" not in exported.mlir_module()
    g = crossbar((20, 18), jnp.float32).cell.g
    np.testing.assert_allclose(exported.call(g), f(g), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("n", [1, 5, 16, 33])
def test_inverse_of_a_conductance_matrix(n: int) -> None:
    rng = np.random.default_rng(n)
    a = -rng.uniform(0, 1, (n, n))
    np.fill_diagonal(a, 0)
    a += np.diag(rng.uniform(1e-3, 1, n) - a.sum(axis=0))
    got = np.asarray(inverse(jnp.asarray(a)))
    assert (got >= 0).all() and error(got @ a, np.eye(n)) < 1e-11
