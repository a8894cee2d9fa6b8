"""The default solver: it is the one that fits, named or not."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.kirchhoff.network import Field, Network, Segments
from xbarjax.solvers import chosen

SHAPE = (5, 4)
RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.uniform(1e-6, 1e-4, SHAPE))
KINDS = {
    "crossing": (True, False, xb.LadderCG),
    "unsymmetric": (False, False, xb.LadderBiCGStab),
    "parallel": (True, True, xb.TwinLadders),
}
kinds = pytest.mark.parametrize("symmetric, parallel, fits", KINDS.values(), ids=KINDS)


def network(symmetric: bool, parallel: bool) -> Network:
    rows, cols = SHAPE
    r_row = np.full((rows + 1, cols) if parallel else (rows, cols + 1), 2.0)
    r_col = np.full((rows + 1, cols), 3.0)
    (r_row if parallel else r_row.T)[-1] = r_col[0] = np.inf
    back = G if symmetric else 0.6 * G
    lines = Segments(jnp.asarray(r_row)), Segments(jnp.asarray(r_col))
    return Network(*lines, G, back, None, None, symmetric, parallel)


@kinds
def test_it_chooses_what_fits(symmetric: bool, parallel: bool, fits: Any) -> None:
    assert isinstance(chosen(xb.AutoLadder(), symmetric=symmetric, parallel=parallel), fits)
    named = xb.Dense()
    assert chosen(named, symmetric=symmetric, parallel=parallel) is named


@kinds
def test_it_is_a_solver_of_lineax(symmetric: bool, parallel: bool, fits: Any) -> None:
    """Alone, in `init`, `compute` and `transpose`, against a dense solve of the network."""
    made, solver = network(symmetric, parallel), xb.AutoLadder()
    zeros = jnp.zeros_like
    b = jnp.asarray(RNG.normal(size=(2, *SHAPE)) * 1e-4)
    vector = Field(b[0], zeros(made.row.r), b[1], zeros(made.col.r))
    for at, operator in ((lambda s: s, made), (lambda s: solver.transpose(s, {})[0], made.T)):
        x, result, _ = solver.compute(at(solver.init(made, {})), vector, {})
        assert result == lx.RESULTS.successful
        off = jax.tree.map(jnp.subtract, operator.mv(x), vector)
        assert max(float(jnp.abs(part).max()) for part in jax.tree.leaves(off)) < 1e-9
    with pytest.raises(TypeError, match="AutoLadder solves a Network, not a Diagonal"):
        solver.init(lx.DiagonalLinearOperator(jnp.ones(3)), {})
