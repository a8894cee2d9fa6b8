"""The forms that run on accelerators, on this CPU: beside plain recurrences, and in whole reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.solvers import ladder, recurrences, scans

LANES = 300
TOLERANCE = {"float64": 1e-14, "float32": 1e-5}


def lines(n: int, dtype: str) -> tuple[Any, Any]:
    """Segments and shunts of ordinary lines, and of lines with breaks, shorts and dead cells."""
    rng = np.random.default_rng(n)
    r = rng.choice([0, 1e-3, 1, 100, 1e4, 1e7, 1e12, np.inf], (n + 1, LANES))
    shunt = rng.choice([0, 1e-9, 1e-6, 1e-4, 1e-2], (n, LANES))
    r[:, ::3] = rng.uniform(0.5, 1.5, r[:, ::3].shape)
    shunt[:, ::3] = rng.uniform(1e-6, 1e-4, shunt[:, ::3].shape)
    r[-1 if n % 2 else 0, ::2] = np.inf
    return jnp.asarray(r, dtype), jnp.asarray(shunt, dtype)


@pytest.mark.few(5)
@pytest.mark.parametrize("near_last", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 100])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scans_equal_recurrences(dtype: str, n: int, near_last: bool) -> None:
    """Conductances node by node (sums of terms that are not negative), the rest for each line
    relative to its largest number."""
    r, shunt = lines(n, dtype)
    want = np.asarray(recurrences.conductances(near_last, r, shunt))
    got = np.asarray(scans.conductances(near_last, r, shunt))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype])
    assert n < 3 or (np.isinf(want).any() and (want == 0).any())

    factored = ladder.factor(r, shunt, near_last=near_last)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(n, LANES)), dtype)
    for f, args in (
        ("gather", (factored.kappa, x)),
        ("spread", (factored.kappa, factored.rho, x, x[-1 if near_last else 0])),
        ("running_sum", (x,)),
    ):
        want = np.asarray(getattr(recurrences, f)(near_last, *args))
        got = np.asarray(getattr(scans, f)(near_last, *args))
        error = np.abs(got - want).max(axis=0) / np.abs(want).max(axis=0)
        assert error.max() < TOLERANCE[dtype], (f, error.max())


@pytest.fixture
def as_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever depends on the platform is compiled as it is for accelerators."""
    jax.clear_caches()
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, cpu, default: default(*x))
    yield
    jax.clear_caches()


def circuit(dtype: str) -> tuple[xb.Crossbar, Any]:
    rng = np.random.default_rng(5)
    shape = (12, 9)
    g, r_row, r_col = (rng.uniform(a, b, shape) for a, b in ((1e-6, 1e-4), (0, 50), (0, 50)))
    g[3, 4], g[:, 6], r_row[5, 7], r_col[2, 3], r_row[7] = 0, 0, np.inf, np.inf, 0
    of = lambda x: jnp.asarray(x, dtype)
    drive = xb.Drive(of(10.0), of(np.where(np.arange(12) % 2, 3.0, np.inf)))
    xbar = xb.Crossbar(
        xb.Ohmic(of(g)), xb.Wires(of(r_row), of(r_col)), drive, xb.VirtualGround(of(5.0), of(0.0))
    )
    return xbar, of(rng.uniform(0.1, 0.3, shape[0]))


@pytest.mark.few(1)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
def test_a_read_as_on_an_accelerator(
    dtype: str, tolerance: float, request: pytest.FixtureRequest
) -> None:
    """Against dense LU, which has no ladder in it; and as a batch, all at once."""
    xbar, v = circuit("float64")
    want = xb.read(xbar, v, solver=xb.Dense())
    weights = jnp.arange(1.0, 10)
    total = lambda xbar, v: jnp.vdot(weights, xb.read(xbar, v).i_out) * 1e3
    want_grad = jax.grad(total, (0, 1))(xbar, v)

    request.getfixturevalue("as_an_accelerator")
    xbar, v = circuit(dtype)
    got = xb.read(xbar, v)
    many = jax.jit(jax.vmap(xb.read, (None, 0)))(xbar, jnp.stack([v, 2 * v, 0 * v]))
    assert int(got.status) == 0 and not many.status.any()
    largest = float(jnp.max(jnp.abs(want.i_out)))
    for k, scale in enumerate((1, 2, 0)):
        assert jnp.max(jnp.abs(many.i_out[k] - scale * want.i_out)) <= tolerance * scale * largest
    for name in ("i_out", "i_in", "drop_row", "drop_col", "i_row_segments", "i_col_segments"):
        a, b = np.asarray(getattr(got, name)), np.asarray(getattr(want, name))
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), name
    if dtype == "float64":
        grad = jax.jit(jax.grad(total, (0, 1)))(xbar, v)
        for a, b in zip(jax.tree.leaves(grad), jax.tree.leaves(want_grad), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max())


def test_no_line_is_swept_on_an_accelerator() -> None:
    def loops(f: Any, platform: str, *args: Any) -> int:
        exported = jax.export.export(jax.jit(f), platforms=[platform])(*args)
        return exported.mlir_module().count("stablehlo.while")

    r, shunt = lines(64, "float32")
    solve = lambda r, g, b: ladder.drops(ladder.factor(r, g, near_last=True), b)
    assert loops(solve, "cpu", r, shunt, shunt) == 3
    assert loops(solve, "cuda", r, shunt, shunt) == loops(solve, "tpu", r, shunt, shunt) == 0
