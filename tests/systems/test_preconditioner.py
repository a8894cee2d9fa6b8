"""Analog inverses of domains against dense linear algebra, and within Krylov methods."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp
from experiments.preconditioner import ilu
from jax.experimental.sparse import BCOO

import xbarjax as xb
from xbarjax.systems import preconditioner as analog

PAIR = xb.DifferentialPair(1e-6, 1e-4)
MOST = 12


def poisson(n: int) -> sp.csr_matrix:
    """The five-point Laplacian of an n x n grid."""
    line = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    return sp.csr_matrix(sp.kron(line, sp.eye(n)) + sp.kron(sp.eye(n), line))


A = poisson(5)
SPARSE = BCOO.from_scipy_sparse(A)
LOOPS = partial(analog.by_loops, mapping=PAIR)


@pytest.fixture(scope="module")
def made() -> analog.Schwarz:
    """A preconditioner of ideal loops."""
    return analog.schwarz(SPARSE, LOOPS, jax.random.key(0), most=MOST)


def by_hand(a: np.ndarray, domains: analog.Domains, r: np.ndarray) -> np.ndarray:
    """One domain after another, then sums over smoothed domains, then the domains backwards."""
    n, z, spread, parts = len(a), np.zeros(len(a)), [], []
    for nodes, owned in zip(np.asarray(domains.nodes), np.asarray(domains.owned), strict=True):
        parts.append(nodes[nodes < n])
        ones = np.zeros(n)
        ones[nodes[owned]] = 1.0
        spread.append(ones - 2 / 3 * (a @ ones) / np.diag(a))
    p = np.stack(spread, axis=1)
    for mine in parts:
        z[mine] += np.linalg.solve(a[np.ix_(mine, mine)], (r - a @ z)[mine])
    z += p @ np.linalg.solve(p.T @ a @ p, p.T @ (r - a @ z))
    for mine in parts[::-1]:
        z[mine] += np.linalg.solve(a[np.ix_(mine, mine)], (r - a @ z)[mine])
    return z


def test_domains_cover_all_unknowns_and_their_neighbours() -> None:
    domains = analog.split(SPARSE, MOST)
    nodes, owned = np.asarray(domains.nodes), np.asarray(domains.owned)
    assert sorted(nodes[owned].tolist()) == list(range(25))
    for mine, own in zip(nodes, owned, strict=True):
        around = {int(j) for k in mine[own] for j in A[[k]].indices}
        assert around == set(mine[mine < 25].tolist())
    assert nodes.shape[1] == MOST


def test_domains_of_one_turn_do_not_touch() -> None:
    a = poisson(12)
    domains = analog.split(BCOO.from_scipy_sparse(a), 20)
    turn, nodes = np.asarray(domains.turn), np.asarray(domains.nodes)
    assert domains.turns == turn.max() + 1 < len(turn)
    for one, other in itertools.combinations(np.flatnonzero(turn >= 0), 2):
        if turn[one] == turn[other]:
            mine, its = (nodes[k][nodes[k] < 144] for k in (one, other))
            assert not set(mine) & set(its)
            assert not a[mine][:, its].nnz


def test_a_symmetric_matrix_has_a_symmetric_preconditioner(made: analog.Schwarz) -> None:
    """Positive definite, too: fit for conjugate gradients."""
    matrix = np.asarray(jax.vmap(made.operator.mv)(jnp.eye(25)))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_ideal_loops_apply_the_schwarz_method(made: analog.Schwarz) -> None:
    r = np.random.default_rng(1).normal(size=25)
    want = by_hand(A.toarray(), made.domains, r)
    np.testing.assert_allclose(made(jnp.asarray(r)), want, rtol=1e-9, atol=1e-12)


def test_a_step_takes_gmres_to_the_solution_in_fewer_steps(made: analog.Schwarz) -> None:
    """Restarts of lineax's GMRES of three steps each."""
    b = jnp.asarray(np.random.default_rng(2).normal(size=25))
    matrix = lx.MatrixLinearOperator(jnp.asarray(A.toarray()))
    solver = lx.GMRES(rtol=1e-10, atol=1e-10, restart=3)
    steps = {}
    for name, options in (("plain", {}), ("loops", {"preconditioner": made.operator})):
        found = lx.linear_solve(matrix, b, solver, options=options)
        np.testing.assert_allclose(found.value, np.linalg.solve(A.toarray(), b), rtol=1e-7)
        steps[name] = int(found.stats["num_steps"])
    assert steps["loops"] < steps["plain"] / 2


def test_converters_round_and_the_linear_part_does_not(made: analog.Schwarz) -> None:
    """Inputs of `b` bits err by half a step of each entry, outputs by half a step."""
    bits, out = 6, 12
    rounded = analog.by_loops(
        analog.blocks_of(SPARSE, made.domains),
        jax.random.key(0),
        mapping=PAIR,
        encode=partial(xb.encoding.sliced, bits=bits, slices=(3, 3)),
        converter=lambda v: xb.Adc(out, -v, v),
    )
    r = jnp.asarray(np.random.default_rng(3).normal(size=made.domains.nodes.shape))
    exact = np.asarray(made.local(r))
    norms = np.abs(np.asarray(made.local.matrix * made.local.scale[:, None, None])).sum(2)
    norms = norms.max(1) / made.local.v_max * np.abs(r).max(1)  # of the inverses, times max |r|
    steps = 0.1 * (0.5 / (2**bits - 1) + 2 / 2 / (2**out - 1))
    off = np.abs(np.asarray(rounded(r)) - exact).max(1)
    assert (off > 0).all() and (off <= norms * steps).all()
    whole = analog.Schwarz(SPARSE, made.domains, rounded, None, None)
    plain = analog.Schwarz(SPARSE, made.domains, made.local, None, None)
    x = jnp.asarray(np.random.default_rng(4).normal(size=25))
    np.testing.assert_allclose(whole.operator.mv(x), plain(x), rtol=1e-9)


def test_finite_gain_and_programming_errors_are_those_of_the_loops() -> None:
    """`x = -(G^T + U / A)^-1 v / r`, with the conductances at each input in `U`, of the block with
    rows and columns scaled to a diagonal of 1."""
    sides = np.array([0.3, 2.0, 1.0, 5.0, 0.1])
    block = A.toarray()[:5, :5] / 4
    scaled = block / sides[:, None] / sides
    vary = xb.variability.programming.Programming(jnp.asarray([0.0, 1e-6]), 1e-4)
    amplifier = partial(xb.elements.OpAmp, gain=1e3)
    key = jax.random.key(3)
    bank = analog.by_loops(
        jnp.asarray(scaled)[None], key, mapping=PAIR, vary=vary, amplifier=amplifier
    )
    k = PAIR.siemens_per_weight(jnp.asarray(block))
    plus, minus = vary(PAIR.program(jnp.asarray(block.T), k), jax.random.split(key, 1)[0])
    # inverters of gain 1e3 between two equal resistors
    inverted = -1 / (1 + 2 / 1e3)
    seen = np.asarray(plus + inverted * minus).T
    lossy = np.diag(np.asarray(plus + minus).sum(0) + 1e-5) / 1e3
    want = -np.linalg.inv(seen + lossy) * 1e-5
    np.testing.assert_allclose(bank.matrix[0], want, rtol=1e-9)
    np.testing.assert_allclose(bank.scale[0], -k * 1e5)
    np.testing.assert_allclose(bank.sides[0], sides)


@pytest.mark.parametrize("n", [4, 9])
def test_ilu_is_the_product_at_all_entries(n: int) -> None:
    """The definition of ILU(0), on a matrix that is not symmetric and has no order."""
    rng = np.random.default_rng(n)
    entries = rng.normal(size=(n * n, n * n)) * (rng.uniform(size=(n * n, n * n)) < 0.1)
    a = sp.csr_matrix(entries + 4 * np.eye(n * n))
    lower, upper = (x.toarray() for x in ilu.factors(a))
    there = a.toarray() != 0
    np.testing.assert_allclose((lower @ upper)[there], a.toarray()[there], rtol=1e-12)
    assert not (lower[~there]).any() and not (upper[~there]).any()
    np.testing.assert_array_equal(lower, np.tril(lower, -1) + np.eye(n * n))
    np.testing.assert_array_equal(upper, np.triu(upper))
    r = rng.normal(size=n * n)
    np.testing.assert_allclose(ilu.preconditioner(a)(r), np.linalg.solve(lower @ upper, r))


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (lambda: analog.split(cast(Any, A)), TypeError, "BCOO"),
        (lambda: analog.split(SPARSE[:3]), ValueError, "must be square"),
        (lambda: analog.split(SPARSE, 4), ValueError, "raise most to 5"),
        (lambda: LOOPS(-jnp.eye(3)[None], jax.random.key(0)), ValueError, "unstable"),
    ],
)
def test_bad_input_gets_a_sentence(build: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        build()
