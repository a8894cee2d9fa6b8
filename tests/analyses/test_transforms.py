"""A read is an ordinary JAX function: jit, vmap, grad, export, dtypes, and a status for faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import chex
import equinox as eqx
import jax
import jax.export
import jax.monitoring
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import xbarjax as xb
from reference.solvers import SOLVERS, crossbar as circuit, every_pair, every_solver, solved

ROWS, COLS, BATCH = 6, 5, 4
rng = np.random.default_rng(0)
G = jnp.asarray(rng.uniform(1e-6, 1e-4, (BATCH, ROWS, COLS)))
R = jnp.asarray(rng.uniform(1.0, 50.0, (BATCH, ROWS, COLS)))
V = jnp.asarray(rng.uniform(0.0, 0.3, (BATCH, ROWS)))
NAMES = ("i_out", "v_row", "v_col", "i_cell", "i_row_segments", "i_col_segments", "p_dissipated")


def crossbar(g: Any, r: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 2 * r))


def read(g: Any, r: Any, v: Any, solver: Any = xb.LadderCG()) -> xb.Solution:
    return xb.read(crossbar(g, r), v, solver=solver)


def i_out(g: Any, r: Any, v: Any) -> Any:
    return read(g, r, v).i_out


def assert_same(got: xb.Solution, want: list[xb.Solution], tol: float = 1e-12) -> None:
    """A batch against its members, each relative to the member's largest number."""
    for name in NAMES:
        a, b = np.asarray(getattr(got, name)), np.stack([getattr(s, name) for s in want])
        assert a.shape == b.shape, name
        size = np.abs(b).max(axis=tuple(range(1, b.ndim)), keepdims=True)
        assert (np.abs(a - b) <= tol * size).all(), name
    assert got.status.shape == (len(want),) and not np.asarray(got.status).any()


@every_solver("LadderCG", "Dense")
def test_jit_equals_eager(solver: Any) -> None:
    want = read(G[0], R[0], V[0], solver)
    got = jax.jit(lambda g, r, v: read(g, r, v, solver))(G[0], R[0], V[0])
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-20)
    np.testing.assert_array_equal(got.i_out, eqx.filter_jit(read)(G[0], R[0], V[0], solver).i_out)


@every_solver("LadderCG")
def test_vmap_equals_a_loop(solver: Any) -> None:
    """Over inputs of one array, and over whole crossbars as pytrees with an input each."""
    one = lambda g, r, v: read(g, r, v, solver)
    inputs = jax.vmap(one, (None, None, 0))(G[0], R[0], V)
    assert_same(inputs, [one(G[0], R[0], v) for v in V])

    want = [one(g, r, v) for g, r, v in zip(G, R, V)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(crossbar(g, r) for g, r in zip(G, R)))
    over = lambda x, v: xb.read(x, v, solver=solver)
    assert_same(jax.vmap(over)(stacked, V), want)
    assert_same(eqx.filter_vmap(over)(eqx.filter_vmap(crossbar)(G, R), V), want)
    assert_same(jax.vmap(one)(G, R, V), want)


def test_vmap_over_arrays_of_one_input_equals_a_loop() -> None:
    assert_same(jax.vmap(read, (0, 0, None))(G, R, V[0]), [read(g, r, V[0]) for g, r in zip(G, R)])


def test_vmap_of_vmap_equals_a_loop() -> None:
    """Every array with every input."""
    every = jax.jit(jax.vmap(jax.vmap(i_out, (None, None, 0)), (0, 0, None)))(G, R, V)
    want = np.stack([[i_out(g, r, v) for v in V] for g, r in zip(G, R)])
    np.testing.assert_allclose(every, want, rtol=1e-12)


def test_a_batch_member_does_not_depend_on_the_others() -> None:
    """Easy arrays beside one that takes many iterations."""
    hard = R.at[2].mul(1e4)
    batch = jax.vmap(read)(G, hard, V)
    want = [read(g, r, v) for g, r, v in zip(G, hard, V)]
    assert_same(batch, want, 1e-10)
    assert int(batch.num_steps[2]) > 2 * int(batch.num_steps[0])
    # sums in another order may end the hard one an iteration sooner or later
    np.testing.assert_allclose(batch.num_steps, [s.num_steps for s in want], rtol=0, atol=1)


def test_every_member_of_a_batch_stops_at_its_own_last_iteration() -> None:
    """On a CPU, where they run one after the other: exactly the single read."""
    scale = jnp.asarray([1.0, 1e2, 1e4, 1.0])[:, None, None]
    each = jax.jit(jax.vmap(lambda r: read(G[0], r, V[0]).num_steps))(R * scale)
    want = [int(jax.jit(read)(G[0], r, V[0]).num_steps) for r in R * scale]
    assert each.tolist() == want and max(want) > 2 * min(want)


def test_grad_of_vmap_equals_vmap_of_grad() -> None:
    weight = jnp.asarray(rng.normal(size=(BATCH, COLS)) * 1e5)
    total = lambda g, r, v, w: jnp.vdot(w, i_out(g, r, v))
    together = lambda g, r, v: jnp.sum(jax.vmap(total)(g, r, v, weight))
    got = jax.jit(jax.grad(together, (0, 1, 2)))(G, R, V)
    want = jax.jit(jax.vmap(jax.grad(total, (0, 1, 2))))(G, R, V, weight)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13 * np.abs(b).max())
    for a, b in zip(got, jax.grad(total, (0, 1, 2))(G[3], R[3], V[3], weight[3])):
        np.testing.assert_allclose(a[3], b, rtol=1e-11, atol=1e-13 * np.abs(b).max())


def test_a_shared_array_gathers_the_gradient_of_every_input() -> None:
    total = lambda g, v: jnp.sum(i_out(g, R[0], v) ** 2) * 1e10
    together = jax.jit(jax.grad(lambda g: jnp.sum(jax.vmap(total, (None, 0))(g, V))))(G[0])
    alone = sum(jax.grad(total)(G[0], v) for v in V)
    np.testing.assert_allclose(together, alone, rtol=1e-11)


def test_jacobian_of_a_read_is_the_transfer() -> None:
    forward = jax.jit(jax.jacfwd(i_out, 2))(G[0], R[0], V[0])
    reverse = jax.jit(jax.jacrev(i_out, 2))(G[0], R[0], V[0])
    want = np.asarray(xb.transfer(crossbar(G[0], R[0]))).T
    np.testing.assert_allclose(forward, want, rtol=1e-10)
    np.testing.assert_allclose(reverse, want, rtol=1e-10)


# Every solver, in every kind of circuit that it takes


def test_every_solver_of_the_package_is_in_the_registry() -> None:
    types = {x for x in vars(xb).values() if isinstance(x, type)}
    public = {x for x in types if issubclass(x, lx.AbstractLinearSolver)}
    assert {type(named.solver) for named in SOLVERS.values()} == public


@every_pair(taken=False)
def test_a_solver_refuses_what_it_does_not_take(solver: Any, kind: str) -> None:
    v = V[0, : COLS if kind == "parallel" else ROWS]
    with pytest.raises(ValueError, match=type(solver).__name__):
        xb.read(circuit(kind, G[0], R[0]), v, solver=solver)


@every_pair()
def test_every_solver_is_transformed(solver: Any, kind: str) -> None:
    """Arrays and inputs under one jit, a vmap and a gradient, traced once, against the reference
    and its differences."""
    g, r = G[:2, :3, :2], R[:2, :3, :2]
    v, weight = V[:2, : 2 if kind == "parallel" else 3], np.array([1e5, -2e5])

    def loss(*x: Any) -> tuple[Any, xb.Solution]:
        solution = xb.read(circuit(kind, *x[:2]), x[2], solver=solver)
        return jnp.vdot(weight, solution.i_out), solution

    chex.clear_trace_counter()  # it knows functions by where they are written
    slopes = jax.value_and_grad(chex.assert_max_traces(loss, n=1), (0, 1, 2), has_aux=True)
    every = jax.jit(jax.vmap(slopes))
    every(g[::-1], r[::-1], v[::-1])
    (_, got), gradient = every(g, r, v)
    assert not np.asarray(got.status).any()
    for k, x in enumerate(zip(g, r, v)):
        want = solved(kind, *x)
        for name in ("i_out", "v_row", "v_col", "i_cell"):
            a, b = np.asarray(getattr(got, name))[k], getattr(want, name)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())

        step = [np.asarray(y) * rng.uniform(-1, 1, y.shape) for y in x]
        at = lambda h, x=x, step=step: (
            weight @ solved(kind, *(np.asarray(y) + h * z for y, z in zip(x, step))).i_out
        )
        h = 1e-2
        slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        along = sum(np.vdot(y[k], z) for y, z in zip(gradient, step))
        assert along == pytest.approx(slope, rel=1e-7)


# Compilations


class Compilations:
    """Counts what XLA compiles while it is asked to."""

    def __init__(self) -> None:
        self.on, self.count = False, 0
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if self.on and event.endswith("backend_compile_duration"):
            self.count += 1


LISTENER = Compilations()


@pytest.fixture
def compilations() -> Iterator[Compilations]:
    LISTENER.on, LISTENER.count = True, 0
    yield LISTENER
    LISTENER.on = False


def test_the_counter_of_compilations_counts(compilations: Compilations) -> None:
    jax.jit(lambda x: x * 2.5 + 1)(jnp.ones(17)).block_until_ready()
    assert compilations.count >= 1


def use(g: Any, r: Any, v: Any) -> None:
    """What a user looks at, with every kind of number a Python scalar can be."""
    sol = xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r), xb.Drive(10 * r)), v)
    for name in (*NAMES, "i_in", "p_delivered", "i_out_far", "i_row", "i_col"):
        np.asarray(getattr(sol, name))


def test_an_eager_read_compiles_once(compilations: Compilations) -> None:
    use(G[0], 1.0, V[0])
    compilations.count = 0
    for k, r in enumerate((2.0, 0.5, 0.0, 1e3)):
        use(G[k], r, V[k])
    assert compilations.count == 0


def test_an_eager_transfer_compiles_once(compilations: Compilations) -> None:
    xb.transfer(crossbar(G[0], R[0]))
    again = crossbar(G[1], R[1])
    compilations.count = 0
    xb.transfer(again)
    assert compilations.count == 0


def test_a_jitted_read_is_traced_once() -> None:
    traces = []

    @jax.jit
    def traced(xbar: xb.Crossbar, v: Any) -> Any:
        traces.append(None)
        return xb.read(xbar, v).i_out

    for k in range(BATCH):
        traced(crossbar(G[k], R[k]), V[k])
    assert len(traces) == 1
    traced(crossbar(G[0, :, :3], R[0, :, :3]), V[0])
    assert len(traces) == 2


def test_equal_solvers_share_a_compilation(compilations: Compilations) -> None:
    xb.read(crossbar(G[0], R[0]), V[0], solver=xb.LadderCG(rtol=1e-9))
    compilations.count = 0
    xb.read(crossbar(G[0], R[0]), V[0], solver=xb.LadderCG(rtol=1e-9))
    assert compilations.count == 0


# Dtypes


def floats(tree: Any) -> set[str]:
    return {x.dtype.name for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


@every_solver("LadderCG", "Dense")
def test_float32_in_is_float32_out(solver: Any) -> None:
    """x64 is on in these tests, so that nothing but the arrays asks for float32."""
    g, r, v = (x[0].astype(jnp.float32) for x in (G, R, V))
    sol = xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r)), v, solver=solver)
    assert floats(sol) == {"float32"}
    assert {getattr(sol, k).dtype.name for k in (*NAMES, "p_delivered")} == {"float32"}
    np.testing.assert_allclose(
        sol.i_out, xb.read(xb.Crossbar(xb.Ohmic(G[0]), xb.Wires(R[0], R[0])), V[0]).i_out, 1e-5
    )


def test_python_numbers_follow_the_arrays() -> None:
    g, v = G[0].astype(jnp.float32), V[0].astype(jnp.float32)
    xbar = xb.Crossbar(
        xb.Ohmic(g), xb.Wires(1.0, 2), xb.Drive(5.0, 7), xb.VirtualGround(1.0, 2.0, 0.1, 0)
    )
    sol = xb.read(xbar, v)
    assert floats(sol) == {"float32"} and sol.i_out.dtype == jnp.float32
    assert xb.transfer(xbar).dtype == jnp.float32
    assert xb.read(xbar, v.astype(jnp.float64)).i_out.dtype == jnp.float64


def test_float32_gradients_are_float32() -> None:
    g, r, v = (x[0].astype(jnp.float32) for x in (G, R, V))
    grads = jax.grad(lambda *x: jnp.sum(i_out(*x)) * 1e5, (0, 1, 2))(g, r, v)
    assert {x.dtype.name for x in grads} == {"float32"}
    exact = jax.grad(lambda *x: jnp.sum(i_out(*x)) * 1e5, (0, 1, 2))(G[0], R[0], V[0])
    for a, b in zip(grads, exact):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() <= 1e-4 * np.abs(b).max()


# Export


def text_of(f: Any) -> str:
    """StableHLO without the locations, which name the tests."""
    arguments = [jax.ShapeDtypeStruct(x.shape[1:], jnp.float32) for x in (G, R, V)]
    exported = jax.export.export(jax.jit(f), platforms=["cpu", "cuda", "tpu"])(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    return "\n".join(x for x in exported.mlir_module().splitlines() if not x.startswith("#loc"))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "f",
    [
        i_out,
        lambda *x: jax.grad(lambda *y: jnp.sum(i_out(*y)), (0, 1, 2))(*x),
        lambda g, r, v: jax.vmap(lambda u: i_out(g, r, u))(jnp.stack([v, 2 * v])),
        lambda g, r, v: xb.transfer(crossbar(g, r)),
        lambda g, r, v: read(g, r, v).status,
    ],
    ids=["read", "gradient", "batch", "transfer", "status"],
)
def test_exports_to_every_platform_without_custom_calls(f: Any) -> None:
    text = text_of(f)
    assert "stablehlo.while" in text
    assert not [line for line in text.splitlines() if "custom_call" in line]


def test_an_exported_read_gives_the_same_numbers() -> None:
    arguments = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in (G, R, V)]
    exported = jax.export.export(jax.jit(i_out), platforms=["cpu", "cuda", "tpu"])(*arguments)
    np.testing.assert_allclose(exported.call(G[1], R[1], V[1]), i_out(G[1], R[1], V[1]), rtol=1e-13)


# Status under a transformation

jitted = jax.jit(lambda g, r, v: read(g, r, v))


def status(g: Any, r: Any, v: Any) -> xb.Status:
    return xb.Status(int(jitted(g, r, v).status))


@pytest.mark.parametrize("bad", [np.nan, -np.inf, -1e-5])
def test_a_bad_cell_flags_its_own_batch_member_alone(bad: float) -> None:
    batch = jax.jit(jax.vmap(read))(G.at[1, 2, 3].set(bad), R, V)
    flagged = [xb.Status(int(s)) for s in batch.status]
    assert xb.Status.INVALID_CELL in flagged[1]
    assert [bool(s) for s in flagged] == [False, True, False, False]
    good = np.array([0, 2, 3])
    assert_same(jax.tree.map(lambda x: x[good], batch), [read(G[k], R[k], V[k]) for k in good])


def test_status_under_jit_names_the_fault() -> None:
    assert status(G[0], R[0], V[0]) == xb.Status.OK
    assert xb.Status.INVALID_CELL in status(-G[0], R[0], V[0])
    assert xb.Status.INVALID_CELL in status(G[0].at[1, 1].set(np.nan), R[0], V[0])
    assert xb.Status.INVALID_CELL in status(G[0].at[1, 1].set(-np.inf), R[0], V[0])
    assert status(G[0].at[1, 1].set(np.inf), R[0], V[0]) == xb.Status.OK  # a short
    assert xb.Status.INVALID_WIRE in status(G[0], R[0].at[2, 2].set(-1.0), V[0])
    assert xb.Status.INVALID_WIRE in status(G[0], R[0].at[2, 2].set(np.nan), V[0])
    assert xb.Status.NOT_FINITE in status(G[0], R[0], V[0].at[3].set(np.nan))
    assert xb.Status.NOT_FINITE in status(G[0], R[0], V[0].at[3].set(np.inf))
    for s in ("NOT_CONVERGED", "NOT_FINITE", "INVALID_CELL", "INVALID_WIRE", "SHORT_CIRCUIT"):
        assert xb.Status[s].is_error


def test_a_good_read_is_good_under_jit_with_broken_wires() -> None:
    assert status(G[0], R[0].at[2, 2].set(np.inf), V[0]) == xb.Status.OK
    floats = G[0].at[2, 2:].set(0.0), R[0].at[2, 2].set(np.inf), V[0]
    assert status(*floats) == xb.Status.FLOATING
    assert not status(*floats).is_error


def test_status_under_jit_names_a_short_circuit() -> None:
    def ideal_row(v_near: Any, v_far: Any) -> Any:
        xbar = xb.Crossbar(xb.Ohmic(G[0]), xb.Wires(0.0, 2.0), xb.Drive(0.0, 0.0))
        return xb.read(xbar, xb.Bias(v_near, v_far, jnp.zeros(COLS), jnp.zeros(COLS))).status

    status = jax.jit(ideal_row)
    assert xb.Status(int(status(V[0], V[0]))) == xb.Status.SPLIT
    assert xb.Status.SHORT_CIRCUIT in xb.Status(int(status(V[0], V[0].at[2].add(1e-3))))


def test_status_under_jit_says_that_iterations_ran_out() -> None:
    few = jax.jit(lambda g, r, v: read(g, r, v, xb.LadderCG(max_steps=1)))
    sol = few(G[0], 1e5 * R[0], V[0])
    assert xb.Status(int(sol.status)) == xb.Status.NOT_CONVERGED
    with pytest.raises(RuntimeError, match="max_steps"):
        read(G[0], 1e5 * R[0], V[0], xb.LadderCG(max_steps=1))


def test_transfer_of_a_bad_array_is_nan_under_jit() -> None:
    bad = jax.jit(lambda g, r: xb.transfer(crossbar(g, r)))(G[0].at[1, 1].set(-1e-5), R[0])
    assert np.isnan(bad).all()
