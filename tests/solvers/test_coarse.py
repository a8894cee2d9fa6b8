"""The coarse grid: exact where as fine as the array, worth it where used, and never wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.solvers import coarse

PLAIN = xb.LadderCG(coarse=False)


def array(shape: tuple[int, int], r: float, seed: int = 0) -> tuple[Any, Any]:
    """1 to 100 uS, and resistances around `r` in every segment."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 1e-4, shape)
    r_row, r_col = (jnp.asarray(r * rng.uniform(0.5, 1.5, shape)) for _ in range(2))
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(r_row, r_col)), jnp.asarray(
        rng.uniform(0.1, 0.3, shape[0])
    )


def difference(got: xb.Solution, want: xb.Solution) -> float:
    return float(jnp.max(jnp.abs(got.i_out - want.i_out)) / jnp.max(jnp.abs(want.i_out)))


@pytest.mark.few(5)
@pytest.mark.parametrize("native", [True, False], ids=["kernel", "JAX"])
@pytest.mark.parametrize("shape", [(12, 9), (7, 14), (1, 8), (8, 1)])
def test_a_grid_as_fine_as_the_array_is_its_inverse(
    shape: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the preconditioner is `S^-1` itself, by Woodbury's identity."""
    monkeypatch.setattr(coarse, "hats", lambda rows, cols: (rows, cols))
    monkeypatch.setattr(coarse, "SLOW", -1.0)
    xbar, v = array(shape, 2e3)
    exact = xb.LadderCG(mixed=False, native=native)
    plain = xb.LadderCG(mixed=False, coarse=False, native=native)
    got, want = xb.read(xbar, v, solver=exact), xb.read(xbar, v, solver=plain)
    assert int(got.num_steps) <= 2, int(got.num_steps)
    if min(shape) > 1:
        assert int(want.num_steps) > 6, int(want.num_steps)
    assert difference(got, want) < 1e-11


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("shape", "r", "gain"), [((200, 160), 300.0, 2), ((256, 256), 1e3, 4), ((40, 700), 200.0, 1.5)]
)
def test_fewer_iterations_lead_to_the_same_answer(
    shape: tuple[int, int], r: float, gain: float
) -> None:
    xbar, v = array(shape, r)
    got, want = xb.read(xbar, v), xb.read(xbar, v, solver=PLAIN)
    assert difference(got, want) < 1e-11
    assert gain * int(got.num_steps) < int(want.num_steps), (got.num_steps, want.num_steps)


def test_breaks_shorts_and_dead_cells_do_not_mislead_it() -> None:
    shape = (170, 160)
    xbar, v = array(shape, 500.0)
    rng = np.random.default_rng(3)
    g, r_row, r_col = (np.array(x) for x in (xbar.cell.g, xbar.wires.r_row, xbar.wires.r_col))
    g[rng.random(shape) < 0.05] = 0.0
    g[rng.random(shape) < 0.01] = 0.1
    g[:, 7] = 0.0
    r_row[rng.random(shape) < 0.003] = np.inf
    r_col[rng.random(shape) < 0.003] = 0.0
    r_row[11] = 0.0
    spoilt = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(jnp.asarray(r_row), jnp.asarray(r_col)))
    both = jax.jit(lambda x, v: (xb.read(x, v), xb.read(x, v, solver=PLAIN)))
    got, want = both(spoilt, v)
    assert xb.Status(int(got.status)) in (xb.Status.OK, xb.Status.FLOATING)
    assert difference(got, want) < 1e-10
    assert int(got.num_steps) < int(want.num_steps)


def test_an_array_that_is_easy_is_left_alone() -> None:
    xbar, v = array((160, 160), 1.0)
    assert int(xb.read(xbar, v).num_steps) == int(xb.read(xbar, v, solver=PLAIN).num_steps)
