"""Circuits solved by reads of their arrays: ngspice, a dense solve, differences, and bad input."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import LOOPS
from reference.loops import loop_of
from reference.mna import Net
from xbarjax import elements as el
from xbarjax.analyses.line_by_line import admittance
from xbarjax.kirchhoff.terminals import Ended
from xbarjax.systems import loops

BY_READS = xb.NewtonKrylov()
solve = partial(xb.solve, method=BY_READS)


def off(got: Any, want: Any) -> float:
    return float(np.abs(np.asarray(got) - want).max() / np.abs(want).max())


def signed(n: int, seed: int) -> tuple[Any, Any]:
    """Conductances [S] of two arrays, and currents [A]."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 1e-4, (2, n, n))
    g[0] += np.diag(rng.uniform(1e-4, 2e-4, n)) * n / 4
    return jnp.asarray(g), jnp.asarray(rng.uniform(-1e-5, 1e-5, n))


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["signed_offset_swing_4", "inverse_16", "signed_8"])
def test_loops_are_as_ngspice_solves_them(name: str) -> None:
    record = LOOPS.load(name)
    found, want = solve(loop_of(record["inputs"])), record["outputs"]
    assert off(found.v["x"], want["x"]) < 1e-9
    assert off(found.v["e"], want["e"]) < 1e-9
    assert off(found.i["amps"], want["i"]) < 1e-9
    assert int(found.status) == 0 and float(found.residual) < 1e-9 * np.abs(want["i"]).max()


def four_ends(g: Any, wires: xb.Wires) -> xb.Circuit:
    """An array with a resistor at each of its ends."""
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), wires, rows="a", cols="b", rows_far="c", cols_far="d"),
        source=el.VoltageSource(to="in", v=jnp.linspace(-0.1, 0.3, 4)),
        into=el.Resistor("in", "a", 30.0),
        cols=el.Resistor("b", "0", 10.0),
        rows_far=el.Resistor("c", "0", 50.0),
        cols_far=el.Resistor("d", "0", 2e3),
    )


@pytest.mark.parametrize("r", [0.5, 30.0, 3e3])
def test_an_array_with_all_ends_is_that_of_a_dense_solve(r: float) -> None:
    """Up to wires that leave nothing of the voltage, and beside a short and a dead cell."""
    rng = np.random.default_rng(1)
    g, r_row, r_col = (rng.uniform(a, b, (4, 5)) for a, b in ((1e-5, 1e-3), (r, 2 * r), (r, 3 * r)))
    g[1, 2], g[2, 0] = 1e3, 0
    found = solve(four_ends(jnp.asarray(g), xb.Wires(r_row, r_col)))
    net, bus = Net(), lambda name, n: [f"{name}{k}" for k in range(n)]
    ends = {"rows": bus("a", 4), "cols": bus("b", 5), "rows_far": bus("c", 4)}
    net.array(g, r_row, r_col, ends | {"cols_far": bus("d", 5)}, "array")
    for k, v in enumerate(np.linspace(-0.1, 0.3, 4)):
        net.voltage(f"in{k}", "0", v, 0.0)
        net.resistor(f"in{k}", f"a{k}", 30.0)
    for end, load, n in (("b", 10.0, 5), ("c", 50.0, 4), ("d", 2e3, 5)):
        for k in range(n):
            net.resistor(f"{end}{k}", "0", load)
    v = net.solve()[0]
    for end, n in (("a", 4), ("b", 5), ("c", 4), ("d", 5)):
        assert off(found.v[end], np.array([v[f"{end}{k}"] for k in range(n)])) < 1e-9


def test_few_reads_are_enough_where_wires_lose_a_tenth() -> None:
    """And what too few of them leave is flagged."""
    g, i = signed(32, 2)
    loop = lambda r: loops.inverse(
        g, i, wires=xb.Wires(r, r), amplifier=partial(el.OpAmp, gain=1e4)
    )
    few = jax.jit(lambda r: xb.solve(loop(r), method=xb.NewtonKrylov(most=8)))
    want = jax.jit(lambda r: xb.solve(loop(r)))
    assert off(few(1.0).v["x"], np.asarray(want(1.0).v["x"])) < 1e-9
    assert int(few(1.0).status) == 0
    bad = few(1e3)
    assert off(bad.v["x"], np.asarray(want(1e3).v["x"])) > 1e-3
    assert xb.Status.NOT_CONVERGED in xb.Status(int(bad.status))
    total = lambda r: jnp.sum(xb.solve(loop(r), method=xb.NewtonKrylov(most=8)).v["x"])
    slope = jax.jit(jax.grad(total))
    assert np.isnan(slope(1e3)) and np.isfinite(slope(1.0))


def dense(g: Any, r_row: Any, r_col: Any, ends: dict[str, int]) -> np.ndarray:
    """Currents [A] into all terminals of an array for 1 V at one after another."""
    nodes = {end: [f"{end}{k}" for k in range(n)] for end, n in ends.items()}
    held = [node for some in nodes.values() for node in some]

    def column(unit: int) -> list[float]:
        net = Net()
        net.array(g, r_row, r_col, nodes, "array")
        through = [net.voltage(node, "0", float(k == unit)) for k, node in enumerate(held)]
        i = net.solve()[1]
        return [i[k] for k in through]

    return np.transpose([column(k) for k in range(len(held))])


@pytest.mark.parametrize("ideal", ["r_row", "r_col"])
def test_lines_beside_ideal_ones_are_exact(ideal: str) -> None:
    """Both ends of each line of one family, and all that these do to the other one."""
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-5, 1e-3, (3, 4))
    r = {"r_row": rng.uniform(1, 100, (3, 4)), "r_col": rng.uniform(1, 100, (3, 4))}
    r[ideal] = np.zeros((3, 4))
    far = "rows_far" if ideal == "r_col" else "cols_far"
    ends: dict[str, Any] = {"rows": "a", "cols": "b", far: "c"}
    array = Ended(el.Array(xb.Ohmic(g), xb.Wires(r["r_row"], r["r_col"]), **ends), {})
    got = np.asarray(admittance(array, array.crossbar, jnp.zeros(sum(array.widths.values()))))
    want = dense(g, r["r_row"], r["r_col"], array.widths)
    names = np.repeat(list(array.widths), list(array.widths.values()))
    seen = np.char.startswith(names, far[:4])
    apart = seen[:, None] | seen[None, :]
    assert off(got[apart], want[apart]) < 1e-9
    assert off(got[~apart], want[~apart]) > 1e-3  # ideal lines see each other through the others


def test_what_is_left_out_falls_with_the_wires() -> None:
    """A tenth of the resistance leaves a hundredth of the error between rows and columns, and a
    tenth of it among rows and among columns."""
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-5, 1e-4, (5, 6))
    apart = (np.arange(11) < 5)[:, None] != (np.arange(11) < 5)[None, :]

    def errors(r: float) -> np.ndarray:
        array = Ended(el.Array(xb.Ohmic(g), xb.Wires(r, r), rows="a", cols="b"), {})
        got = np.asarray(admittance(array, array.crossbar, jnp.zeros(11)))
        want = dense(g, np.full((5, 6), r), np.full((5, 6), r), array.widths)
        return np.array([off(got[which], want[which]) for which in (apart, ~apart)])

    assert np.abs(errors(1.0) / errors(0.1) / [100, 10] - 1).max() < 0.05


NUMBERS = {"g": 0, "i": 1, "gain": 2, "r": 3}


@pytest.mark.few(1)
@pytest.mark.parametrize("swing", [pytest.param(0.02, marks=pytest.mark.slow), None])
def test_gradients_by_every_number_are_those_of_differences(swing: float | None) -> None:
    """In a loop that clips, too; and second derivatives."""
    g, i = signed(4, 5)
    wires, limits = jnp.asarray(3.0), {} if swing is None else {"v_low": -swing, "v_high": swing}

    def loss(p: tuple) -> Any:
        g, i, gain, r = p
        make = partial(el.OpAmp, gain=gain, **limits)
        loop = loops.inverse(g, i, wires=xb.Wires(r, r), amplifier=make, r_inverter=1e3 + r)
        return 1e3 * jnp.sum(solve(loop).v["x"] ** 2)

    p = (g, i, jnp.full(4, 1e3), wires)

    @jax.jit
    def derived(p: tuple, way: tuple) -> Any:
        """The loss and its gradient, and how the gradient changes along a way."""
        (value, by), (_, change) = jax.jvp(jax.value_and_grad(loss), (p,), (way,))
        return value, by, change

    if swing is not None:
        assert float(jnp.max(jnp.abs(solve(loops.inverse(g, i, amplifier=partial(
            el.OpAmp, gain=1e3, **limits))).v["x"]))) > 0.9 * swing  # fmt: skip
    rng = np.random.default_rng(0)
    for k, x in enumerate(p):
        dx = 1e-5 * x * jnp.asarray(rng.uniform(0.5, 1, jnp.shape(x)))
        way = tuple(dx if j == k else 0 * y for j, y in enumerate(p))
        _, by, second = derived(p, way)
        ends = jax.tree.map(jnp.add, p, way), jax.tree.map(jnp.subtract, p, way)
        there, back = (derived(end, way) for end in ends)
        want = (there[0] - back[0]) / 2
        assert abs(float(jnp.vdot(by[k], dx) / want) - 1) < 1e-6, list(NUMBERS)[k]
        change = (there[1][1] - back[1][1]) / 2
        assert off(second[1], np.asarray(change)) < 1e-4, list(NUMBERS)[k]


def test_nonlinear_cells_take_a_preconditioner_at_their_own_point() -> None:
    """Kirchhoff's law at both buses, cell by cell."""
    rng = np.random.default_rng(3)
    g, i = jnp.asarray(rng.uniform(1e-5, 1e-4, (6, 6))) + jnp.eye(6) * 3e-4, 1e-5
    loop = xb.Circuit(
        array=el.Array(xb.Sinh(g, 100.0), xb.Wires(2.0, 2.0), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3),
        source=el.CurrentSource(to="e", i=jnp.asarray(rng.uniform(-i, i, 6))),
    )
    found = solve(loop)
    array, v = found.arrays["array"], found.v
    into = np.asarray(loop.elements["source"].i)  # pyright: ignore[reportAttributeAccessIssue]
    cells = np.asarray(g / 100 * jnp.sinh(100 * (array.v_row - array.v_col)))
    assert off(-cells.sum(0), into) < 1e-9
    assert off(cells.sum(1), np.asarray(found.i["amps"])) < 1e-9
    assert off(v["x"], -1e3 * np.asarray(v["e"])) < 1e-9
    assert np.max(np.abs(array.v_row - array.v_col)) > 0.015  # a cell conducts twice as much


def test_a_batch_float32_and_export() -> None:
    g, i = signed(8, 7)
    loop = lambda g, i: loops.inverse(
        g, i, wires=xb.Wires(1.0, 1.0), amplifier=partial(el.OpAmp, gain=1e3)
    )
    many = jnp.stack([i, 2 * i, -i])
    found = jax.jit(jax.vmap(lambda i: solve(loop(g, i)).v["x"]))
    want = np.stack([np.asarray(xb.solve(loop(g, x)).v["x"]) for x in many])
    assert off(found(many), want) < 1e-11
    single = jax.jit(lambda g, i: solve(loop(g, i)))(g.astype(jnp.float32), i.astype(jnp.float32))
    assert single.v["x"].dtype == jnp.float32 and int(single.status) == 0
    assert off(single.v["x"].astype(float), want[0]) < 1e-4
    slopes = jax.jit(jax.grad(lambda g: jnp.sum(solve(loop(g, i)).v["x"])))
    jax.export.export(slopes, platforms=("cpu", "cuda", "tpu"))(g)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: xb.NewtonKrylov(rtol=0.0), "rtol is 0.0; it must be above 0, or None"),
        (lambda: xb.NewtonKrylov(most=0), "most is 0; it must be at least 1 step"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make()
