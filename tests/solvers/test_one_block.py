"""Guards the kernel for GPUs, as far as it goes without one: it does what its form in JAX does, and
lowers."""

from __future__ import annotations

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax._types import in_dtype
from xbarjax.kirchhoff.network import Network, Segments
from xbarjax.solvers import one_block
from xbarjax.solvers.conjugate_gradients import conjugate_gradients
from xbarjax.solvers.lines import Lines, factor

OURS = jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")


def lines(rng: Any, m: int, n: int, dtype: Any) -> Lines:
    """Of cells of 1 to 100 uS, some of them missing, and wires of up to 100 ohm, some of them
    ideal, some open."""
    g = np.where(rng.random((m, n)) < 0.1, 0, 10 ** rng.uniform(-6, -4, (m, n)))
    r_row, r_col = (rng.uniform(0, 100, s) for s in ((m, n + 1), (m + 1, n)))
    r_row[:, -1] = r_col[0] = np.inf
    r_row[rng.random(r_row.shape) < 0.1] = 0
    r_col[m // 2, n // 2] = np.inf
    wires = Segments(jnp.asarray(r_row)), Segments(jnp.asarray(r_col))
    network = Network(*wires, jnp.asarray(g), jnp.asarray(g), None, None, True)
    return in_dtype(factor(network), dtype)


@pytest.mark.few(5)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (32, 32), (20, 33)], ids=str)
def test_it_does_what_the_form_in_jax_does(shape: tuple[int, int], dtype: Any) -> None:
    rng, enough = np.random.default_rng(sum(shape)), jnp.asarray(1e-5, dtype)
    in_jax = jax.jit(lambda of, w, r: conjugate_gradients(of, None, w, r, enough, 1000))
    ours = jax.jit(
        lambda of, w, r: one_block.conjugate_gradients(of, w, r, enough, 1000, interpret=True)
    )
    for _ in range(3):
        of = lines(rng, *shape, dtype)
        r = rng.normal(size=shape)
        r, w = jnp.asarray(r / np.linalg.norm(r), dtype), jnp.asarray(rng.normal(size=shape), dtype)
        want, curved, steps = in_jax(of, w, r)
        got, gain, taken = ours(of, w, r)
        near = 1e-5 if dtype == jnp.float32 else 1e-12
        np.testing.assert_allclose(got, want, rtol=0, atol=near * float(jnp.max(jnp.abs(want))))
        np.testing.assert_allclose(gain, curved, rtol=1e-4)
        assert taken == steps and gain.dtype == dtype


def test_of_a_batch_each_stops_at_its_own() -> None:
    rng, enough = np.random.default_rng(0), jnp.asarray(1e-4, jnp.float32)
    each = [lines(rng, 16, 16, jnp.float32) for _ in range(3)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *each)
    r = jnp.asarray(rng.normal(size=(3, 16, 16)) * np.array([1, 1e-2, 1e-6])[:, None, None])
    r = r.astype(jnp.float32)
    solve = jax.jit(
        lambda of, r: one_block.conjugate_gradients(of, 0 * r, r, enough, 100, interpret=True)
    )
    w, _, steps = jax.jit(jax.vmap(solve))(together, r)
    for k, of in enumerate(each):
        alone, _, taken = solve(of, r[k])
        np.testing.assert_allclose(w[k], alone, rtol=1e-6)
        assert steps[k] == taken
    assert len(set(steps.tolist())) == 3 and steps[2] == 0


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_solver_has_it_on_a_gpu_alone(dtype: Any) -> None:
    solver = xb.LadderCG(one_block=True, native=False)
    read = jax.jit(
        lambda g: (
            xb.read(
                xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0)), 1.0 + 0 * g[:, 0], solver=solver
            ).i_out
        )
    )
    g = jnp.asarray(np.random.default_rng(1).uniform(1e-6, 1e-4, (3, 20, 12)), dtype)
    export = lambda *platforms: jax.export.export(
        jax.jit(jax.vmap(read)), platforms=platforms, disabled_checks=[OURS]
    )(g).mlir_module()
    assert "triton" in export("cuda")
    assert "triton" not in export("tpu", "cpu")
    want = xb.read(xb.Crossbar(xb.Ohmic(g[0]), xb.Wires(1.0, 1.0)), jnp.ones(20, dtype)).i_out
    np.testing.assert_allclose(read(g[0]), want, rtol=1e-5 if dtype == jnp.float32 else 1e-11)
