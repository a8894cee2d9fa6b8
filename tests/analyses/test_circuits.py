"""Circuits of arrays, amplifiers and sources: closed forms, a dense solve of every branch, laws,
gradients against differences, poles, and bad input."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import LOOPS
from reference.loops import loop_of
from reference.mna import Net
from xbarjax import elements as el
from xbarjax.analyses import small_signal

N = 5


def inverse(
    g: Any, i: Any, gain: Any = 1e4, r: Any = 0.0, wires: Any = None, **amplifier: Any
) -> xb.Circuit:
    """Amplifiers drive the rows until the columns' currents balance those of sources."""
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), wires or xb.Wires(r, r), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=gain, **amplifier),
        source=el.CurrentSource(to="e", i=i),
    )


def dominant(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Conductances [S] whose symmetric part is positive definite, and currents [A]."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 1e-5, (n, n)) + np.eye(n) * 1e-5 * n
    return jnp.asarray(g), jnp.asarray(rng.uniform(-1e-6, 1e-6, n))


def off(got: Any, want: Any) -> float:
    return float(np.abs(np.asarray(got) - want).max() / np.abs(want).max())


@pytest.mark.parametrize("gain", [1e3, 1e5, np.inf])
def test_the_inverse_is_that_of_finite_gain(gain: float) -> None:
    """Column `j` takes `sum_i g_ij (x_i - e_j) + i_j = 0` with `x = -A e`."""
    g, i = dominant(N)
    x = xb.solve(inverse(g, i, gain)).v["x"]
    at = np.asarray(g).T
    want = -np.linalg.solve(at + np.diag(at.sum(1)) / gain, np.asarray(i))
    assert off(x, want) < 1e-10
    ideal = -np.linalg.solve(at, np.asarray(i))
    expected = -np.linalg.solve(at, np.diag(at.sum(1)) @ ideal) / gain
    if np.isfinite(gain):  # to first order in 1 / A
        assert off(np.asarray(x) - ideal, expected) < 20 / gain


@pytest.mark.few(4)
@pytest.mark.parametrize("name", LOOPS.circuits)
def test_loops_are_as_ngspice_solves_them(name: str) -> None:
    """E sources to 1e-9 of the largest value; a swing goes through exponentials."""
    record = LOOPS.load(name)
    found, want = xb.solve(loop_of(record["inputs"])), record["outputs"]
    assert off(found.v["x"], want["x"]) < 1e-9
    assert off(found.v["e"], want["e"]) < 1e-9
    assert off(found.i["amps"], want["i"]) < 1e-9
    if record["inputs"]["swing"] is not None:  # some amplifiers are at an end, others are not
        used = np.abs(want["x"]) / record["inputs"]["swing"]
        assert used.max() > 0.98 and used.min() < 0.9


def test_it_solves_in_float32_and_flags_nothing() -> None:
    g, i = (x.astype(jnp.float32) for x in dominant(N))
    found = xb.solve(inverse(g, i, 1e3, 1.0))
    want = xb.solve(inverse(g.astype(float), i.astype(float), 1e3, 1.0))
    assert found.v["x"].dtype == jnp.float32 and int(found.status) == 0
    assert off(found.v["x"].astype(float), want.v["x"]) < 1e-4


def everything(p: dict[str, Any]) -> xb.Circuit:
    """Two arrays on one bus, far ends, a shared wire, switches, and all linear elements."""
    return xb.Circuit(
        buses={"wire": 1},
        one=el.Array(
            xb.Ohmic(p["g"]), xb.Wires(p["r_row"], p["r_col"]),
            rows="in", cols="e", rows_far="far", cols_far="top",
        ),
        two=el.Array(xb.Ohmic(p["h"]), xb.Wires(1.0, 2.0), rows="out", cols="e"),
        drive=el.VoltageSource(to="in", v=p["v"], r=20.0),
        end=el.Resistor("far", "wire", p["load"]),
        wire=el.Resistor("wire", "0", 3.0),
        top=el.Switch("top", "0", closed=jnp.asarray([1.0, 0, 1, 0]), r_on=5.0, r_off=1e9),
        amps=el.OpAmp(minus="e", plus="ref", out="out", gain=p["gain"], gbw=1e6, r_out=30.0,
                      v_offset=p["offset"]),
        reference=el.VoltageSource(to="ref", v=0.05),
        bleed=el.Resistor("ref", "e", jnp.inf),
        push=el.CurrentSource(to=el.Pick("in", jnp.asarray([2, 0])), back="wire", i=p["i"]),
        cap=el.Capacitor("out", "0", 1e-12),
    )  # fmt: skip


def numbers(seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    r_row, r_col = rng.uniform(0, 20, (3, 4)), rng.uniform(0, 20, (3, 4))
    r_row[1, 1] = r_col[0, 2] = 0.0
    made = {
        "g": rng.uniform(1e-5, 1e-4, (3, 4)),
        "h": rng.uniform(1e-6, 1e-5, (4, 4)) + np.eye(4) * 1e-4,
        "r_row": r_row,
        "r_col": r_col,
        "v": rng.uniform(-0.3, 0.3, 3),
        "load": np.array([10.0, 0.0, 1e4]),
        "gain": rng.uniform(1e2, 1e4, 4),
        "offset": rng.uniform(-1e-3, 1e-3, 4),
        "i": np.array([1e-5, -2e-5]),
    }
    return {k: jnp.asarray(x) for k, x in made.items()}


def same_net(p: dict[str, Any]) -> tuple[Net, dict[str, list[int]]]:
    """The circuit of `everything`, branch by branch."""
    p = {k: np.asarray(x) for k, x in p.items()}
    net, at = Net(), {}
    bus = lambda name, n: [f"{name}{k}" for k in range(n)]
    ends = {"rows": bus("in", 3), "cols": bus("e", 4), "rows_far": bus("far", 3)}
    net.array(p["g"], p["r_row"], p["r_col"], ends | {"cols_far": bus("top", 4)}, "one")
    ends = {"rows": bus("out", 4), "cols": bus("e", 4)}
    net.array(p["h"], np.full((4, 4), 1.0), np.full((4, 4), 2.0), ends, "two")
    at["drive"] = [net.voltage(f"in{k}", "0", p["v"][k], 20.0) for k in range(3)]
    at["end"] = [net.resistor(f"far{k}", "wire0", p["load"][k]) for k in range(3)]
    at["wire"] = [net.resistor("wire0", "0", 3.0)]
    at["top"] = [net.resistor(f"top{k}", "0", (5.0, 1e9)[k % 2]) for k in range(4)]
    at["amps"] = [
        net.amplifier(f"e{k}", "ref0" if False else f"ref{k}", f"out{k}", p["gain"][k], 1e6,
                      p["offset"][k], 30.0)
        for k in range(4)
    ]  # fmt: skip
    at["reference"] = [net.voltage(f"ref{k}", "0", 0.05) for k in range(4)]
    for k, node in enumerate(("in2", "in0")):
        net.current(node, "wire0", p["i"][k])
    for k in range(4):
        net.capacitor(f"out{k}", "0", 1e-12)
    return net, at


def test_every_branch_is_as_in_a_dense_solve() -> None:
    p = numbers()
    found, (net, at) = xb.solve(everything(p)), same_net(p)
    v, i = net.solve()
    for bus, got in found.v.items():
        want = np.array([v[f"{bus}{k}"] for k in range(len(got))])
        assert np.abs(np.asarray(got) - want).max() < 1e-10 * max(map(abs, v.values())), bus
    largest = max(abs(x) for x in i.values())
    for name, branches in at.items():
        want = np.array([i[k] for k in branches])
        assert np.abs(np.asarray(found.i[name]) - want).max() < 1e-10 * largest, name
    assert np.all(np.asarray(found.i["bleed"]) == 0)
    assert int(found.status) == 0 and float(found.residual) < 1e-12 * largest


def test_poles_are_those_of_a_dense_pencil() -> None:
    p = numbers()
    got, want = np.asarray(xb.poles(everything(p))), same_net(p)[0].poles()
    finite = got[np.isfinite(got)]
    assert len(finite) == len(want) and np.abs(finite - want).max() < 1e-8 * np.abs(want).max()
    growth = xb.solve(everything(p)).growth
    assert growth is not None and abs(float(growth) / want[0].real - 1) < 1e-8


LEAVES = list(numbers())


def test_gradients_by_every_leaf_are_those_of_differences() -> None:
    rng = np.random.default_rng(0)
    weights = {"out": rng.normal(size=4), "far": rng.normal(size=3)}

    @jax.jit
    @jax.value_and_grad
    def value(p: dict[str, Any]) -> Any:
        found = xb.solve(everything(p))
        parts = [jnp.vdot(jnp.asarray(w), found.v[bus]) for bus, w in weights.items()]
        return (
            sum(parts) + 1e3 * jnp.sum(found.i["end"]) + 1e2 * jnp.sum(found.arrays["one"].v_cell)
        )

    p = numbers() | {"load": jnp.asarray([10.0, 4.0, 1e4])}
    slope = value(p)[1]
    for name in LEAVES:
        change = np.asarray(p[name]) * rng.normal(size=np.shape(p[name])) * 1e-4
        ahead, back = (value(p | {name: p[name] + s * change})[0] for s in (1, -1))
        want = float(ahead - back) / 2
        assert abs(float(jnp.vdot(slope[name], change)) - want) < 1e-6 * abs(want), name


def test_a_saturated_loop_has_the_gradients_of_differences() -> None:
    g, i = dominant(3)

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1, 2))
    def value(g: Any, r: Any, swing: Any) -> Any:
        loop = inverse(g, 10 * i, 1e3, r, v_low=-swing, v_high=swing)
        return jnp.sum(xb.solve(loop).v["x"] * jnp.asarray([1.0, 2.0, 3.0]))

    at = g, jnp.asarray(5.0), jnp.asarray(0.3)
    slopes = value(*at)[1]
    for k, h in enumerate((1e-4 * g, 1e-3, 1e-4)):
        ahead, back = (value(*at[:k], at[k] + s * h, *at[k + 1 :])[0] for s in (1, -1))
        want = float(ahead - back) / 2
        assert abs(float(jnp.vdot(slopes[k], h)) - want) < 1e-6 * abs(want), k


def test_a_follower_close_to_the_end_of_its_swing_is_solved() -> None:
    """`v = h tanh(A (v_in - v) / h)`: what the law's rounding leaves of `A (v_in - v)` is more than
    Newton's method is asked for."""
    h, gain = 0.08, 1e9
    follower = lambda v: xb.Circuit(
        source=el.VoltageSource(to="in", v=v),
        amp=el.OpAmp(plus="in", minus="out", out="out", gain=gain, v_low=-h, v_high=h),
    )
    v = h * (1 - jnp.linspace(0.5e-7, 2e-7, 50))
    found = jax.vmap(lambda v: xb.solve(follower(v[None])))(v)
    assert (found.status == 0).all()
    want = np.asarray(v) - h / gain * np.arctanh(np.asarray(v) / h)
    np.testing.assert_allclose(found.v["out"][:, 0], want, rtol=1e-10)


def test_second_derivatives_are_those_of_differences() -> None:
    g, i = dominant(3)

    def value(r: Any) -> Any:
        return jnp.sum(xb.solve(inverse(g, i, 1e3, r)).v["x"] ** 2)

    slope = jax.jit(jax.value_and_grad(jax.grad(value)))
    at, h = jnp.asarray(50.0), 0.1
    want = float(slope(at + h)[0] - slope(at - h)[0]) / (2 * h)
    assert abs(float(slope(at)[1]) / want - 1) < 1e-6


def test_poles_of_the_inverse_are_those_of_the_scaled_matrix() -> None:
    """Amplifiers without capacitance: `-w_t eig(U G)`, `U` one over the conductance at each."""
    g, i = dominant(N)
    at = np.asarray(g).T
    got = np.asarray(xb.poles(inverse(g, i, jnp.inf, gbw=1e6)))
    want = -2 * np.pi * 1e6 * np.linalg.eigvals(at / at.sum(1)[:, None])
    slowest = np.sort(np.real(want))[::-1]
    assert np.abs(np.real(got) - slowest).max() < 1e-8 * np.abs(slowest).max()


@pytest.mark.parametrize("c", [1e-15, 1e-14])
def test_lines_with_capacitance_count_as_their_charge_at_the_terminals(c: float) -> None:
    """The error of the slowest pole is of the order of the lines' time over the pole's."""
    g, i = dominant(4)
    fill = lambda x: np.full((4, 4), x)
    wires = xb.Wires(fill(2.0), fill(2.0), c_row=fill(c), c_col=fill(c), c_cell=fill(c))
    got = np.asarray(xb.poles(inverse(g, i, 1e3, wires=wires, gbw=1e6)))[0]
    net = Net()
    names = lambda bus: [f"{bus}{k}" for k in range(4)]
    ends = {"rows": names("x"), "cols": names("e")}
    net.array(np.asarray(g), fill(2.0), fill(2.0), ends, "a", (fill(c), fill(c), fill(c)))
    for k in range(4):
        net.amplifier(f"e{k}", "0", f"x{k}", 1e3, 1e6)
    want = net.poles()[0]
    none = np.asarray(xb.poles(inverse(g, i, 1e3, 2.0, gbw=1e6)))[0]
    assert abs(got - want) < 1e-2 * abs(none - want) + 1e-9 * abs(want)


def test_stability_is_flagged_by_the_poles_alone() -> None:
    """`G + G^T` positive definite is stable, positive feedback is not; in between the poles say."""
    safe = [dominant(4, seed) for seed in range(30)]
    mixed = np.random.default_rng(0).uniform(1e-6, 1e-4, (30, 4, 4)) + 4e-5 * np.eye(4)
    status = jax.jit(lambda g, i: xb.solve(inverse(g, i, jnp.inf)).status)
    unstable = []
    for (g, i), other in zip(safe, mixed, strict=True):
        assert int(status(g, i)) == 0
        at = other.T
        unstable.append(np.linalg.eigvals(at / at.sum(1)[:, None]).real.min() < 0)
        assert bool(int(status(jnp.asarray(other), i)) & xb.Status.UNSTABLE) == unstable[-1]
    assert 5 < sum(unstable) < 25
    g, i = dominant(3)
    turned = xb.Circuit(
        array=el.Array(xb.Ohmic(g), rows="x", cols="e"),
        amps=el.OpAmp(minus="0", plus="e", out="x", gain=1e4),
        source=el.CurrentSource(to="e", i=i),
    )
    with pytest.raises(ValueError, match=r"element 'amps': the loop is unstable"):
        xb.solve(turned)


def test_a_batch_of_inputs_is_solved_at_once_and_alike() -> None:
    g, _ = dominant(3)
    i = jnp.asarray(np.random.default_rng(0).uniform(-1e-6, 1e-6, (7, 3)))
    many = jax.vmap(lambda i: xb.solve(inverse(g, i, 1e3, 2.0)).v["x"])(i)
    each = jnp.stack([xb.solve(inverse(g, one, 1e3, 2.0)).v["x"] for one in i])
    np.testing.assert_allclose(many, each, rtol=1e-12)


def test_a_nonlinear_array_and_a_diode_obey_kirchhoffs_law() -> None:
    """Checked by the array's own read at the voltages found, and the diode's own equation."""
    rng = np.random.default_rng(0)
    g = jnp.asarray(rng.uniform(1e-5, 1e-4, (3, 3)) + np.eye(3) * 2e-4)
    cell, i = xb.Sinh(g, 0.5), jnp.asarray([2e-5, -1e-5, 3e-5])
    loop = xb.Circuit(
        array=el.Array(cell, xb.Wires(3.0, 3.0), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3),
        source=el.CurrentSource(to="e", i=i),
        clamp=el.Diode("x", "d", i_s=1e-12, n=1.5),
        load=el.Resistor("d", "0", 1e5),
    )
    found = xb.solve(loop)
    x, e, d = (np.asarray(found.v[bus]) for bus in ("x", "e", "d"))
    np.testing.assert_allclose(x, -1e3 * e, rtol=1e-10)
    bias = xb.Bias(x, x, e, e)
    read = xb.read(xb.Crossbar(cell, xb.Wires(3.0, 3.0)), bias)
    np.testing.assert_allclose(read.i_out, -i, rtol=1e-10)
    v_t = 1.5 * 1.380649e-23 * 300.15 / 1.602176634e-19
    np.testing.assert_allclose(d / 1e5, 1e-12 * np.expm1((x - d) / v_t), rtol=1e-8, atol=1e-20)


def test_a_transistor_in_the_loop_has_its_unsymmetric_admittance() -> None:
    g = jnp.asarray(np.random.default_rng(1).uniform(5e-5, 1e-4, (2, 2)) + np.eye(2) * 2e-4)
    cell = xb.Series(xb.Mosfet(1e-3, 0.5, v_gate=2.0), xb.Ohmic(g))
    loop = xb.Circuit(
        array=el.Array(cell, xb.Wires(3.0, 3.0), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3),
        source=el.CurrentSource(to="e", i=jnp.asarray([-2e-5, -1e-5])),
    )
    found = xb.solve(loop)
    x, e = found.v["x"], found.v["e"]
    read = xb.read(xb.Crossbar(cell, xb.Wires(3.0, 3.0)), xb.Bias(x, x, e, e))
    np.testing.assert_allclose(read.i_out, [2e-5, 1e-5], rtol=1e-9)
    np.testing.assert_allclose(x, -1e3 * e, rtol=1e-9)
    assert int(found.newton_steps) < 10


def test_transistors_of_an_array_are_those_of_devices() -> None:
    """Their derivatives by both terminals, in gradients and poles; between ideal wires."""
    row, col = jnp.asarray([0, 0, 1, 1]), jnp.asarray([0, 1, 0, 1])
    beta = jnp.asarray(np.random.default_rng(2).uniform(1e-4, 5e-4, (2, 2)))

    def circuit(beta: Any, v: Any, *, whole: bool) -> xb.Circuit:
        array = el.Array(xb.Mosfet(beta, 0.5, 1.8), rows="x", cols="e")
        cell = xb.Mosfet(jnp.ravel(beta), 0.5, 1.8)
        device = el.Device(cell, el.Pick("x", row), el.Pick("e", col))
        return xb.Circuit(
            cells=array if whole else device,
            source=el.VoltageSource(to="s", v=v),
            rows=el.Resistor("s", "x", jnp.asarray([3e3, 5e3])),
            cols=el.Resistor("e", "0", jnp.asarray([4e3, 2e3])),
            c_row=el.Capacitor("x", "0", 1e-12),
            c_col=el.Capacitor("e", "0", 2e-12),
        )

    at = beta, jnp.asarray([0.25, 0.1])

    def slopes(whole: bool) -> Any:
        value = lambda beta, v: jnp.sum(xb.solve(circuit(beta, v, whole=whole)).v["e"])
        return jax.jit(jax.grad(value, argnums=(0, 1)))(*at)

    got, want = slopes(True), slopes(False)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    got, want = (xb.poles(circuit(*at, whole=whole)) for whole in (True, False))
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_lines_of_transistors_charge_as_those_of_devices() -> None:
    """The slowest pole of an array, and of its wires, cells and capacitors one by one."""
    beta, r, at = np.random.default_rng(3).uniform(1e-4, 5e-4, (2, 2)), 2e4, jnp.asarray
    ends: dict[str, Any] = {
        "source": el.VoltageSource(to="s", v=at([0.5, 0.4])),
        "rows": el.Resistor("s", "x", at([1e4, 2e4])),
        "cols": el.Resistor("e", "0", at([8e3, 2e4])),
        "c_end": el.Capacitor("e", "0", 2e-12),
    }
    options: dict[str, Any] = {"v_t": 0.3, "v_gate": 0.6}

    def whole(c: float) -> xb.Circuit:
        wires = xb.Wires(r, r, c_row=3 * c, c_col=c)
        cell = xb.Mosfet(at(beta), **options)
        return xb.Circuit(array=el.Array(cell, wires, rows="x", cols="e"), **ends)

    def parts(c: float) -> xb.Circuit:
        node = lambda bus, *k: el.Pick(bus, at(k))  # cell (i, j) is node 2 i + j
        return xb.Circuit(
            buses={"w": 4, "b": 4},
            cells=el.Device(xb.Mosfet(at(beta.ravel()), **options), "w", "b"),
            lead_in=el.Resistor("x", node("w", 0, 2), r),
            along=el.Resistor(node("w", 0, 2), node("w", 1, 3), r),
            down=el.Resistor(node("b", 0, 1), node("b", 2, 3), r),
            lead_out=el.Resistor(node("b", 2, 3), "e", r),
            c_w=el.Capacitor("w", "0", 3 * c),
            c_b=el.Capacitor("b", "0", c),
            **ends,
        )

    slowest = lambda circuit: complex(xb.poles(circuit)[0])
    c = 1e-15
    got, want, none = slowest(whole(c)), slowest(parts(c)), slowest(parts(0.0))
    assert abs(got - want) < 1e-2 * abs(none - want)


G = jnp.full((3, 3), 1e-5)


def arrayed(**more: Any) -> xb.Circuit:
    return xb.Circuit(array=el.Array(xb.Ohmic(G), rows="x", cols="e"), **more)


GROUNDED = {"x": el.Resistor("x", "0", 1.0)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: arrayed(r=el.Resistor("x", "0", 1.0)), "bus 'e' ends in 'array' .cols. alone"),
        (
            lambda: arrayed(r=el.Resistor("x", "e", jnp.ones(4))),
            "bus 'x' has 3 nodes by 'array' and 4",
        ),
        (
            lambda: arrayed(a=el.Array(xb.Ohmic(jnp.ones((2, 2)) * 1e-5), rows="x", cols="e")),
            "bus 'x' has 3 nodes by 'array' and 2 by 'a'",
        ),
        (
            lambda: xb.Circuit(s=el.CurrentSource(to="a", i=1e-6), c=el.Capacitor("a", "0", 1e-12)),
            "bus 'a' is touched by 's', 'c' alone, none of which can set its voltage",
        ),
        (lambda: xb.Circuit(), "the circuit has no elements"),
        (lambda: arrayed(r=el.Resistor(el.Pick("y", [0]), "x", 1.0)), "picks nodes of 'y'"),
        (lambda: arrayed(r=el.Resistor(el.Pick("x", [3]), "e", 1.0)), "picks node 3 of bus 'x'"),
        (lambda: el.Resistor("a", "b", -1.0), r"r is -1.0 ohm; it must be 0 .ideal. to inf"),
        (lambda: el.OpAmp(minus="a", out="b", gain=-1.0), "gain is -1.0; it must be positive"),
        (lambda: el.OpAmp(minus="a", out="b", v_low=-1.0), "a swing needs two ends"),
        (lambda: xb.poles(inverse(G, G[0])), "amplifier 'amps' has no gbw"),
        (lambda: xb.poles(arrayed(r=el.Resistor("x", "e", 1.0))), "the circuit has no poles"),
        (
            lambda: xb.solve(
                xb.Circuit(
                    a=el.VoltageSource(to="x", v=1.0),
                    b=el.VoltageSource(to="x", v=2.0),
                    r=el.Resistor("x", "0", 1e3),
                )
            ),
            "element 'a', lane 0 of element 'b': .*ideal sources or wires in a loop",
        ),
        (
            lambda: xb.solve(
                xb.Circuit(
                    s=el.VoltageSource(to="x", v=1.0),
                    r=el.Resistor("x", "0", 1e3),
                    open=el.Resistor("x", "y", jnp.inf),
                    c=el.Capacitor("y", "0", 1e-12),
                )
            ),
            "node 0 of bus 'y'.* no current reaches",
        ),
        (lambda: xb.solve(inverse(G, G[0], jnp.inf)), "node 0 of bus 'x'.*no unique solution"),
    ],
)
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_a_status_takes_the_place_of_an_error_under_a_transformation() -> None:
    status = jax.jit(lambda g: xb.solve(inverse(g, G[0], jnp.inf)).status)(G)
    assert int(status) & xb.Status.SINGULAR


def test_a_circuit_is_a_pytree_of_numbers_and_traces_once() -> None:
    """It goes through `jax.jit` and `jax.vmap` as an argument; numbers compile nothing again."""
    traces = []

    @jax.jit
    def answer(circuit: xb.Circuit) -> Any:
        traces.append(1)
        return xb.solve(circuit).v["out"]

    first, second = (everything(numbers(seed)) for seed in (3, 4))
    np.testing.assert_allclose(answer(first), xb.solve(first).v["out"], rtol=1e-12)
    np.testing.assert_allclose(answer(second), xb.solve(second).v["out"], rtol=1e-12)
    assert len(traces) == 1
    both = jax.tree.map(lambda *x: jnp.stack(x), first, second)
    np.testing.assert_allclose(jax.vmap(answer)(both)[1], answer(second), rtol=1e-10)


def test_a_circuit_exports_to_every_platform() -> None:
    g, i = dominant(3)
    answer = jax.jit(lambda g: jax.value_and_grad(lambda g: xb.solve(inverse(g, i)).v["x"][0])(g))
    exported = jax.export.export(answer, platforms=("cpu", "cuda", "tpu"))(g)
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("seed", range(5))
def test_the_norm_of_an_exponential_tells_the_largest_real_part(seed: int) -> None:
    """The way of accelerators, which have no eigenvalues of unsymmetric matrices."""
    rates = np.random.default_rng(seed).normal(size=(6, 6)) * 1e7
    want = np.linalg.eigvals(rates).real.max()
    got = float(small_signal._by_norms(jnp.asarray(np.linalg.inv(rates))))
    assert abs(got - want) < 1e-9 * np.abs(rates).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, 8])
def test_dependent_columns_are_flagged(n: int, dtype: str) -> None:
    """Rounding leaves pivots of such a matrix that are not 0."""
    status = jax.jit(lambda g, i: xb.solve(inverse(g, i, jnp.inf)).status)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        g = rng.uniform(1e-6, 1e-4, (n, n))
        g[:, -1] = g[:, :-1] @ rng.dirichlet(np.ones(n - 1))
        found = status(jnp.asarray(g, dtype), jnp.full((n,), 1e-6, dtype))
        assert int(found) & (xb.Status.SINGULAR | xb.Status.UNSTABLE), seed


def test_widths_do_not_depend_on_the_order_of_elements() -> None:
    parts: dict[str, Any] = {
        "down": el.Resistor("w", "q", 1e3),
        "up": el.Resistor("q", "x", 1e3),
        "s": el.VoltageSource(to="x", v=jnp.asarray([1.0, 2.0, 6.0])),
        "g": el.Resistor("w", "0", 1e3),
    }
    for order in (list(parts), list(reversed(parts))):
        circuit = xb.Circuit(buses={"w": 1}, **{name: parts[name] for name in order})
        assert circuit.buses == {"q": 3, "w": 1, "x": 3}
        np.testing.assert_allclose(xb.solve(circuit).v["w"], [1.8], rtol=1e-12)


def test_an_array_takes_as_many_nodes_as_it_has_lines() -> None:
    with pytest.raises(ValueError, match="rows of array 'a' picks 2 nodes of 'x'.* 3 such lines"):
        xb.Circuit(
            buses={"x": 2, "y": 3},
            a=el.Array(xb.Ohmic(G), rows=el.Pick("x", [0, 1]), cols="y"),
            r=el.Resistor("x", "0", 1.0),
            s=el.Resistor("y", "0", 1.0),
        )


def test_a_traced_node_that_does_not_exist_is_flagged() -> None:
    def answer(k: Any) -> Any:
        return xb.solve(
            xb.Circuit(
                buses={"a": 2},
                s=el.VoltageSource(to="a", v=jnp.asarray([1.0, 2.0])),
                r=el.Resistor(el.Pick("a", k), "b", 1e3),
                load=el.Resistor("b", "0", 1e3),
            )
        )

    found = jax.jit(answer)(jnp.asarray([1, 0]))
    np.testing.assert_allclose(found.v["b"], [1.0, 0.5], rtol=1e-12)
    assert int(jax.jit(answer)(jnp.asarray([2, -1])).status) & xb.Status.NOT_FINITE


@pytest.mark.parametrize(("r", "want"), [(jnp.inf, 0.0), (0.0, 1 / 1e3), (1e3, 1 / 4e3)])
def test_resistors_have_slopes_at_their_ends(r: float, want: float) -> None:
    """A divider with 1 kohm: `v = r / (r + 1 kohm)`."""

    def middle(r: Any) -> Any:
        circuit = xb.Circuit(
            s=el.VoltageSource(to="a", v=1.0),
            up=el.Resistor("a", "b", 1e3),
            down=el.Resistor("b", "0", r),
        )
        return xb.solve(circuit).v["b"][0]

    np.testing.assert_allclose(jax.grad(middle)(jnp.asarray(r)), want, rtol=1e-10)


SHARES = jnp.asarray([[1.0, 3], [2, 4], [5, 1]])


@pytest.mark.parametrize(
    "cell", [xb.Ohmic(1e-5 * SHARES), xb.AntiparallelDiodes(1e-7 * SHARES, n=2.0)]
)
def test_a_source_that_drives_an_end_alone_is_as_one_that_does_not(cell: Any) -> None:
    """An open resistor at its bus makes the end an unknown of the circuit."""
    wires, far = xb.Wires(30.0, 40.0), jnp.asarray([5.0, 0.0])
    volts, behind = jnp.asarray([0.1, 0.2, -0.3]), jnp.asarray([0.0, 10.0, 1e3])

    def circuit(**more: Any) -> xb.Circuit:
        return xb.Circuit(
            array=el.Array(cell, wires, rows="x", cols="e", cols_far="f"),
            source=el.VoltageSource(to="x", v=volts, r=behind),
            far=el.VoltageSource(to="f", v=0.05, r=far),
            amps=el.OpAmp(minus="e", out="y", gain=1e3, gbw=1e6),
            feedback=el.Resistor("e", "y", 1e4),
            **more,
        )  # fmt: skip

    short = xb.solve(circuit())
    long = xb.solve(circuit(a=el.Resistor("x", "0", jnp.inf), b=el.Resistor("f", "0", jnp.inf)))
    assert short.v.keys() == long.v.keys()
    for at in ("v", "i"):
        largest = max(float(jnp.max(jnp.abs(x))) for x in getattr(long, at).values())
        for name, x in getattr(short, at).items():
            assert np.abs(np.asarray(x - getattr(long, at)[name])).max() < 1e-11 * largest, name
    assert short.growth is not None and long.growth is not None
    np.testing.assert_allclose(float(short.growth), float(long.growth), rtol=1e-8)


GOOD = {
    "r": 1e3, "c": 1e-12, "v": 0.1, "r_v": 5.0, "i": 1e-6, "gain": 1e4, "gbw": 1e6,
    "offset": 0.0, "r_out": 10.0, "high": 1.0, "r_on": 1.0, "i_s": 1e-12, "e_n": 0.0,
}  # fmt: skip


def of_all_kinds(at: dict[str, Any]) -> xb.Circuit:
    """A circuit of every kind of element."""
    return xb.Circuit(
        v=el.VoltageSource(to="in", v=at["v"], r=at["r_v"]),
        r=el.Resistor("in", "e", at["r"]),
        i=el.CurrentSource(to="e", i=at["i"]),
        c=el.Capacitor("e", "out", at["c"]),
        feedback=el.Switch("e", "out", 1, at["r_on"]),
        amp=el.OpAmp(minus="e", out="out", gain=at["gain"], gbw=at["gbw"], v_offset=at["offset"],
                     r_out=at["r_out"], v_low=-1.0, v_high=at["high"], e_n=at["e_n"]),
        diode=el.Diode("out", "0", at["i_s"]),
    )  # fmt: skip


BAD = [
    ("r", -1e3), ("r", np.nan), ("c", -1e-12), ("c", np.inf), ("v", np.inf), ("r_v", -5.0),
    ("i", np.nan), ("gain", 0.0), ("gain", -1e4), ("gain", np.inf), ("gbw", 0.0), ("r_out", -1.0),
    ("offset", np.nan), ("high", -2.0), ("r_on", -1.0), ("i_s", -1e-12), ("e_n", -1.0),
]  # fmt: skip


def test_impossible_parameters_that_are_traced_set_the_status() -> None:
    """As known ones raise errors; in transients, too. Good ones set none."""
    solved = jax.jit(lambda at: xb.solve(of_all_kinds(at)).status)
    wave = {"v": xb.Waveform(jnp.asarray([0.0, 1e-6]), jnp.asarray([[0.0], [0.1]]))}
    ts = jnp.asarray([0.0, 1e-6])
    followed = jax.jit(
        lambda at: xb.simulate(of_all_kinds(at), wave, ts, steps_per_interval=4).status
    )
    for name, x in BAD:
        at = GOOD | {name: x}
        with pytest.raises(ValueError):
            of_all_kinds(at)
        assert int(solved(at)) & xb.Status.INVALID_ELEMENT, (name, x)
        if name != "v":  # which the waveform replaces
            assert int(followed(at)) & xb.Status.INVALID_ELEMENT, (name, x)
    assert int(solved(GOOD)) == int(followed(GOOD)) == 0


def test_an_impossible_parameter_gets_a_sentence_with_the_element() -> None:
    where: Any = lambda c: c.elements["r"].r
    bad = eqx.tree_at(where, of_all_kinds(GOOD), jnp.asarray(-1e3))
    with pytest.raises(ValueError, match="element 'r': an element .* impossible parameter"):
        xb.solve(bad)
    g = jnp.full((2, 2), 1e-5)
    source = lambda r: el.VoltageSource(to="x", v=jnp.full(2, 0.1), r=r)  # part of the array
    circuit = lambda r: xb.Circuit(
        array=el.Array(xb.Ohmic(g), rows="x", cols="e"), source=source(r),
        load=el.Resistor("e", "0", 1e3),
    )  # fmt: skip
    assert int(jax.jit(lambda r: xb.solve(circuit(r)).status)(-5.0)) & xb.Status.INVALID_ELEMENT


@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("r", [0.0, 1.0])
def test_ideal_wires_between_two_buses_get_a_sentence(end: str, r: float) -> None:
    """With a resistance in the wires or behind a source, there is an operating point."""
    far: dict[str, Any] = {f"{end}_far": "far"}
    at = lambda row, col, behind: xb.Circuit(
        array=el.Array(xb.Ohmic(jnp.full((2, 3), 1e-5)), xb.Wires(row, col), rows="x", cols="e",
                       **far),
        drive=el.VoltageSource(to="x", v=0.1, r=behind),
        beside=el.Resistor("x", "0", 1e6),
        load=el.Resistor("e", "0", 100.0),
        end=el.Resistor("far", "0", 1e3),
    )  # fmt: skip
    ideal = at(r, 0.0, 1.0) if end == "cols" else at(0.0, r, 1.0)
    bus = "e" if end == "cols" else "x"
    said = f"array 'array' join the buses '{bus}' \\({end}\\) and 'far' .* leave {end}_far out"
    with pytest.raises(ValueError, match=said):
        xb.solve(ideal)
    found = xb.solve(at(1.0, 1.0, 1.0))
    np.testing.assert_allclose(found.i["end"], found.v["far"] / 1e3, rtol=1e-9)
