"""Equilibrium propagation: a dense solve of both equilibria, orders of the error, what amplifiers
do to it, noise against its closed form, and bad input."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.mna import Net
from xbarjax import elements as el

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.uniform(1e-6, 1e-4, (4, 3)), RNG.uniform(1e-6, 1e-4, (3, 2))
V_IN, TARGET = np.array([0.3, -0.2, 0.25, -0.1]), np.array([0.05, -0.08])
R_SOURCE, R_LOAD, R_WIRE, R_LINK = 50.0, 2e4, 20.0, 3e3


def network(p: dict[str, Any], gain: Any = None, *, diodes: bool = True) -> xb.Circuit:
    """Sources, an array, a layer of diodes, an array, loads; an amplifier may bypass a resistor."""
    cell = xb.Sinh(p["first"], p["b"]) if "b" in p else xb.Ohmic(p["first"])
    wires = xb.Wires(R_WIRE, R_WIRE)
    parts: dict[str, Any] = {
        "source": el.VoltageSource(to="x", v=jnp.asarray(V_IN), r=R_SOURCE),
        "first": el.Array(cell, wires, rows="x", cols="h"),
        "link": el.Resistor("h", "m", R_LINK),
        "second": el.Array(xb.Ohmic(p["second"]), wires, rows="m", cols="y"),
        "load": el.Resistor("y", "0", R_LOAD),
    }
    if diodes:
        parts["limit"] = el.AntiparallelDiodes("h", "0", 1e-7, 2.0)
    if gain is not None:
        parts |= {
            "amplifier": el.OpAmp(minus="h", out="o", gain=gain),
            "drive": el.Resistor("o", "m", R_LINK),
        }
    return xb.Circuit(**parts)


def loss(v: Any) -> Any:
    return jnp.sum((v - jnp.asarray(TARGET, v.dtype)) ** 2) / 2


def conductances(**more: Any) -> dict[str, Any]:
    return {k: jnp.asarray(x) for k, x in {"first": FIRST, "second": SECOND, **more}.items()}


CASES: dict[str, Any] = {
    "ohmic": lambda p: network(p),
    "sinh": lambda p: network(p),
    "linear": lambda p: network(p, diodes=False),
    "amplified": lambda p: network(p, jnp.asarray(3.0)),
}
VALUES = {"sinh": {"b": np.full((4, 3), 8.0)}}


@cache
def with_slopes(case: str) -> Any:
    """Loss and its gradient through `solve`, of the conductances."""
    return jax.jit(jax.value_and_grad(lambda p: loss(xb.solve(CASES[case](p)).v["y"])))


def exact(case: str) -> Any:
    return with_slopes(case)(conductances(**VALUES.get(case, {})))


@cache
def estimator(case: str, symmetric: bool) -> Any:
    circuit = CASES[case](conductances(**VALUES.get(case, {})))
    # not under jit: one compiled solve serves all equilibria
    return lambda nudge: xb.equilibrium_propagation(circuit, "y", loss, nudge, symmetric=symmetric)


def errors(case: str, nudge: float, symmetric: bool) -> dict[str, float]:
    """Largest error of every gradient over its largest entry."""
    found = estimator(case, symmetric)(jnp.asarray(nudge))
    assert int(found.status) == 0
    first = found.gradient["first"]
    got = {"first": first.g, "second": found.gradient["second"].g}
    got |= {"b": first.b} if isinstance(first, xb.Sinh) else {}
    want = exact(case)[1]
    apart = lambda k: float(jnp.max(jnp.abs(got[k] - want[k])) / jnp.max(jnp.abs(want[k])))
    return {k: apart(k) for k in want}


def test_both_equilibria_are_those_of_a_dense_solve() -> None:
    """Cell voltages of every branch give `(u_1^2 - u_0^2) / (2 nudge)`."""
    nudge = 1e-4

    def voltages(push: Any) -> tuple[np.ndarray, ...]:
        net = Net()
        for k in range(4):
            net.voltage(f"x{k}", "0", V_IN[k], R_SOURCE)
        for k in range(3):
            net.resistor(f"h{k}", f"m{k}", R_LINK)
        for k in range(2):
            net.resistor(f"y{k}", "0", R_LOAD)
            net.current(f"y{k}", "0", push[k])
        fill = lambda g: np.full(g.shape, R_WIRE)
        for tag, g, rows, cols in (("a", FIRST, "x", "h"), ("b", SECOND, "m", "y")):
            ends = {"rows": [f"{rows}{i}" for i in range(g.shape[0])]}
            ends |= {"cols": [f"{cols}{j}" for j in range(g.shape[1])]}
            net.array(g, fill(g), fill(g), ends, tag)
        v = net.solve()[0]
        cell = lambda tag, i, j: v[f"{tag}w{i}_{j}"] - v[f"{tag}b{i}_{j}"]
        return (
            np.array([[cell("a", i, j) for j in range(3)] for i in range(4)]),
            np.array([[cell("b", i, j) for j in range(2)] for i in range(3)]),
            np.array([v[f"y{k}"] for k in range(2)]),
        )

    *free, y = voltages(np.zeros(2))
    slope = y - TARGET
    for symmetric in (False, True):
        ahead = voltages(-nudge * slope)
        behind = voltages(nudge * slope) if symmetric else free
        found = estimator("linear", symmetric)(jnp.asarray(nudge))
        assert float(found.loss) == pytest.approx(slope @ slope / 2, rel=1e-10)
        for k, name in enumerate(("first", "second")):
            want = (ahead[k] ** 2 - behind[k] ** 2) / (4 * nudge if symmetric else 2 * nudge)
            got = np.asarray(found.gradient[name].g)
            assert np.abs(got - want).max() < 1e-8 * np.abs(want).max()


@pytest.mark.parametrize("case", ["linear", "sinh"])
def test_the_error_of_reciprocal_networks_falls_as_the_nudge(case: str) -> None:
    """With wires, and an ohmic array behind one of sinh cells and diodes. Symmetric nudging of a
    linear network has no error."""
    for symmetric, factor in ((False, 2), (True, 4)):
        coarse, fine = (errors(case, nudge, symmetric) for nudge in (2e-5, 1e-5))
        for name in coarse:
            if symmetric and case == "linear":
                assert coarse[name] < 1e-9, name
            else:
                assert coarse[name] / fine[name] == pytest.approx(factor, rel=0.1), name
    finest = errors(case, 1e-7, True)
    assert all(error < 1e-6 for error in finest.values()), finest


def test_amplifiers_leave_an_error_and_the_adjoint_does_not_have_it() -> None:
    for nudge in (1e-5, 1e-7):
        error = errors("amplified", nudge, True)
        assert error["first"] > 0.5
    value = lambda p: with_slopes("amplified")(p)[0]
    p, (_, slope) = conductances(), exact("amplified")
    for name, g in p.items():
        change = g * jnp.asarray(RNG.normal(size=g.shape)) * 1e-4
        ahead, back = (value(p | {name: g + s * change}) for s in (1, -1))
        want = float(ahead - back) / 2
        assert abs(float(jnp.vdot(slope[name], change)) / want - 1) < 1e-6, name


def test_noise_has_the_deviation_of_two_readings() -> None:
    """Of `(u_1^2 - u_0^2) / (4 nudge)`: `s sqrt(u_1^2 + u_0^2) / (2 nudge)` for a small `s`."""
    nudge, noise, count = 1e-5, 1e-5, 4000
    circuit = CASES["ohmic"](conductances())
    once = lambda key: xb.equilibrium_propagation(
        circuit, "y", loss, nudge, v_noise=noise, key=key
    ).gradient["second"].g  # fmt: skip
    drawn = jax.vmap(once)(jax.random.split(jax.random.key(0), count))
    still = estimator("ohmic", True)(jnp.asarray(nudge))
    u = [np.asarray(x.arrays["second"].v_cell) for x in (still.ahead, still.behind)]
    want = noise * np.hypot(*u) / (2 * nudge)
    assert np.abs(np.std(drawn, axis=0) / want - 1).max() < 5 / np.sqrt(2 * count)
    apart = np.mean(drawn, axis=0) - np.asarray(still.gradient["second"].g)
    assert np.abs(apart / want).max() < 5 / np.sqrt(count)


def test_it_works_in_float32() -> None:
    circuit = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x,
        CASES["ohmic"](conductances()),
    )
    found = xb.equilibrium_propagation(circuit, "y", loss, 1e-4)
    got, want = found.gradient["first"].g, estimator("ohmic", True)(jnp.asarray(1e-4))
    assert got.dtype == jnp.float32 and int(found.status) == 0
    want = np.asarray(want.gradient["first"].g)
    assert np.abs(np.asarray(got) - want).max() < 1e-2 * np.abs(want).max()


def gated() -> xb.Circuit:
    cell = xb.Series(xb.Mosfet(1e-3, 0.4, 1.2), xb.Ohmic(jnp.ones((2, 2)) * 1e-5))
    return xb.Circuit(
        a=el.Array(cell, rows="x", cols="y"),
        s=el.VoltageSource(to="x", v=0.1),
        r=el.Resistor("y", "0", 1e3),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": "out"}, "output is 'out'; the buses of the circuit are"),
        ({"nudge": 0.0}, "nudge is 0 S"),
        ({"v_noise": 1e-6}, "noise needs both"),
        ({"loss": lambda v: v}, r"loss returns an array of shape \(2,\)"),
        ({"circuit": gated}, "array 'a' has cells of Series, which are not reciprocal"),
        ({"circuit": lambda: FIRST}, "circuit"),  # who speaks first depends on the type checker
        ({"circuit": lambda: xb.Circuit(s=el.VoltageSource(to="y", v=1.0),
                                        r=el.Resistor("y", "0", 1.0))}, "has no arrays"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(change: dict[str, Any], said: str) -> None:
    make = lambda: CASES["ohmic"](conductances())
    usual: dict[str, Any] = {"circuit": make, "output": "y", "loss": loss, "nudge": 1e-5}
    asked = usual | change
    with pytest.raises((ValueError, TypeError), match=said):
        xb.equilibrium_propagation(asked.pop("circuit")(), **asked)
