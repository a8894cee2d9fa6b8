"""Noise of circuits: closed forms, ngspice, a dense solve of every branch, the theorem of Nyquist,
reads of the same arrays, differences, and bad input."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import xbarjax as xb
from golden import CIRCUIT_NOISE
from reference.mna import Net
from xbarjax import elements as el

K, T = 1.380649e-23, 300.0
BAND = (1e3, 1e9)


def off(got: Any, want: Any) -> float:
    return float(np.abs(np.asarray(got) / np.asarray(want) - 1).max())


@pytest.mark.parametrize("r", [1e2, 1e5, 1e9])  # below and beyond where a resistor's law changes
def test_a_resistor_and_a_capacitor_have_their_closed_form(r: float) -> None:
    """`k T / C` in all, of which the band has the part that an arctangent says."""
    c = 1e-12
    circuit = xb.Circuit(
        source=el.VoltageSource(to="in", v=0.3),
        r=el.Resistor("in", "out", r),
        c=el.Capacitor("out", "0", c),
    )
    low, high = 1e-3, 1e15
    found = xb.noise(circuit, output="out", band=(low, high), temperature=T, points=320)
    tau = 2 * np.pi * r * c
    want = 4 * K * T * r / (1 + (tau * np.asarray(found.f)) ** 2)
    assert off(found.spectrum[:, 0], want) < 1e-10
    part = 2 / np.pi * (np.arctan(tau * high) - np.arctan(tau * low))
    assert off(found.variance, K * T / c * part) < 1e-7
    np.testing.assert_allclose(found.rms**2, found.variance, rtol=1e-12)
    assert 1e-7 < float(found.error[0]) < 1e-2
    few = xb.noise(circuit, output="out", band=(low, high), temperature=T, points=24)
    assert 1e-4 < off(few.variance, K * T / c * part) < float(few.error[0])
    assert set(found.parts) == {"source", "r", "c"} and float(found.parts["c"][0]) == 0


def golden(x: dict[str, Any]) -> tuple[xb.Circuit, str]:
    x = {k: jnp.asarray(v, float) for k, v in x.items()}
    out = "o" if "r_f" in x else "x"
    amplifier = {k: x[k] for k in ("gain", "gbw", "r_out", "e_n")}
    wires = xb.Wires(x["r_row"], x["r_col"])
    elements: dict[str, Any] = {
        "array": el.Array(xb.Ohmic(x["g"]), wires, rows="x", cols="e"),
        "amps": el.OpAmp(minus="e", out=out, **amplifier),
    }
    if "r_f" in x:
        elements["r_f"] = el.Resistor("e", "o", x["r_f"])
        elements["c_f"] = el.Capacitor("e", "o", x["c_f"])
        elements["source"] = el.VoltageSource(to="x", v=0.1 * jnp.ones(3), r=x["r_source"])
    return xb.Circuit(**elements), out


@pytest.mark.parametrize("name", CIRCUIT_NOISE.circuits)
def test_spectra_are_those_of_ngspice(name: str) -> None:
    """To 1e-6: its constant of Boltzmann is that of CODATA 2014, 3.5e-7 below."""
    record = CIRCUIT_NOISE.load(name)
    x = record["inputs"]
    circuit, out = golden(x)
    found = xb.noise(circuit, output=out, band=tuple(x["band"]), points=8)
    np.testing.assert_allclose(found.f, x["f"], rtol=1e-11)
    error = off(found.spectrum, record["outputs"]["density"])
    print(name, error)
    assert error < 1e-6
    other = xb.noise(circuit, output=out, band=tuple(x["band"]), points=8, temperature=300.01)
    assert off(other.spectrum, record["outputs"]["density"]) > 1e-6


RNG = np.random.default_rng(0)
NUMBERS = {
    "g": RNG.uniform(1e-6, 1e-5, (3, 3)) + np.eye(3) * 1e-4,
    "r_row": RNG.uniform(5, 50, (3, 3)),
    "r_col": RNG.uniform(5, 50, (3, 3)),
    "gain": RNG.uniform(500, 2000, 3),
    "e_n": RNG.uniform(1e-9, 9e-9, 3),
    "i_n": RNG.uniform(1e-13, 5e-13, 3),
    "load": np.array([1e3, 2e3, 5e8]),
    "c": np.array([1e-12, 2e-12, 5e-13]),
    "v": np.array([0.05, 0.02, -0.04]),
    "flicker": np.asarray(1e-8),
}


def loop(p: dict[str, Any]) -> xb.Circuit:
    """An inverse with loads and far ends, whose currents come out of resistors."""
    p = {k: jnp.asarray(x) for k, x in p.items()}
    return xb.Circuit(
        array=el.Array(
            xb.Ohmic(p["g"]), xb.Wires(p["r_row"], p["r_col"]),
            rows="x", cols="e", rows_far="far",
        ),
        amps=el.OpAmp(minus="e", plus="ref", out="x", gain=p["gain"], gbw=1e7, r_out=40.0,
                      e_n=p["e_n"], i_n=p["i_n"]),
        ref=el.VoltageSource(to="ref", v=0.01, r=100.0),
        load=el.Resistor("far", "0", p["load"]),
        c=el.Capacitor("far", "0", p["c"]),
        source=el.VoltageSource(to="in", v=p["v"]),
        into=el.Resistor("in", "e", 2e4),
    )  # fmt: skip


def dense(p: dict[str, Any]) -> tuple[Net, dict[str, list[int]], dict[int, dict[str, float]]]:
    """The loop branch by branch, the branches of each element, and densities that are not thermal
    but those of 1/f, which are left to `at`."""
    net, of = Net(), {}
    bus = lambda name: [f"{name}{k}" for k in range(3)]
    of["amps"] = [
        net.amplifier(f"e{k}", f"ref{k}", f"x{k}", p["gain"][k], 1e7, r=40.0) for k in range(3)
    ]
    of["ref"] = [net.voltage(f"ref{k}", "0", 0.01, 100.0) for k in range(3)]
    of["load"] = [net.resistor(f"far{k}", "0", p["load"][k]) for k in range(3)]
    for k in range(3):
        net.capacitor(f"far{k}", "0", p["c"][k])
    of["source"] = [net.voltage(f"in{k}", "0", p["v"][k]) for k in range(3)]
    of["into"] = [net.resistor(f"in{k}", f"e{k}", 2e4) for k in range(3)]
    first = len(net.branches)
    ends = {"rows": bus("x"), "cols": bus("e"), "rows_far": bus("far")}
    net.array(p["g"], p["r_row"], p["r_col"], ends, "a")
    of["array"] = list(range(first, len(net.branches)))
    more = {k: {"e": e**2, "i": i**2} for k, e, i in zip(of["amps"], p["e_n"], p["i_n"])}
    return net, of, more


def at(p: dict[str, Any], node: str, f: float) -> dict[str, float]:
    """Density [V^2/Hz] of a node that each element causes."""
    net, of, more = dense(p)
    _, i = net.solve()
    for k, (kind, names, x) in enumerate(net.branches):
        if kind == "R" and names[0].startswith("aw") and names[1].startswith("ab"):
            more[k] = {"e": float(p["flicker"]) * (i[k] * x["r"]) ** 2 / f}  # of a cell, in series
    each = net.noise(node, f, T, more)
    return {name: float(each[branches].sum()) for name, branches in of.items()}


def test_every_element_causes_what_a_dense_solve_says() -> None:
    p = NUMBERS
    options = {"output": "x", "band": BAND, "temperature": T, "flicker": p["flicker"]}
    found = xb.noise(loop(p), **options)
    at_points = list(range(0, len(found.f), 23))
    for k in at_points:
        for node in range(3):
            want = at(p, f"x{node}", float(found.f[k]))
            largest = max(want.values())
            for name, x in want.items():
                got = float(found.density[name][k, node])
                assert abs(got - x) < 1e-8 * largest, (name, k, node)
    total = lambda log: np.exp(log) * sum(at(p, "x1", float(np.exp(log))).values())
    want = quad(total, *np.log(BAND), epsrel=1e-8, limit=200)[0]
    assert abs(float(found.variance[1]) / want - 1) < 1e-6
    assert {name for name, x in found.parts.items() if (np.asarray(x) == 0).all()} == {
        "c",
        "source",
    }


def test_resistances_at_one_temperature_obey_the_theorem_of_nyquist() -> None:
    """`4 k T Re Z` at every node, whatever is between: wires, shorts, islands, capacitors."""
    g = RNG.uniform(1e-5, 1e-4, (4, 3))
    g[1, 1], g[2, 0], g[3, 2] = np.inf, 0.0, 0.09
    r_row = RNG.uniform(1, 20, (4, 3))
    r_row[0, 2] = np.inf
    wires = xb.Wires(jnp.asarray(r_row), 30.0)
    passive = lambda i: xb.Circuit(
        array=el.Array(xb.Ohmic(jnp.asarray(g)), wires, rows="x", cols="e", cols_far="t"),
        rows=el.Resistor("x", "0", jnp.asarray([1e3, 2e3, 5e2, 1e4])),
        cols=el.Resistor("e", "0", 1e3),
        top=el.Switch("t", "0", closed=jnp.asarray([1.0, 0.0, 1.0]), r_on=50.0, r_off=1e5),
        drive=el.CurrentSource(to="e", i=i),
    )
    voltages = lambda i: xb.solve(passive(i)).v["e"]
    impedance = np.asarray(jax.jit(jax.jacfwd(voltages))(jnp.zeros(3)))
    found = xb.noise(passive(jnp.zeros(3)), output="e", band=BAND, temperature=T, points=8)
    assert off(found.spectrum, np.tile(4 * K * T * np.diag(impedance), (8, 1))) < 1e-9


def test_transistors_of_an_array_are_those_of_devices() -> None:
    """The adjoint of cells that see both terminals apart, between ideal wires, at every node."""
    beta = RNG.uniform(1e-4, 5e-4, (2, 2))
    at = lambda *nodes: el.Pick("n", jnp.asarray(nodes))  # rows are 0 and 1, columns 2 and 3
    ends: dict[str, Any] = {
        "source": el.VoltageSource(to="s", v=jnp.asarray([0.25, 0.1])),
        "rows": el.Resistor("s", at(0, 1), jnp.asarray([3e3, 5e3])),
        "cols": el.Resistor(at(2, 3), "0", jnp.asarray([4e3, 2e3])),
    }
    array = el.Array(xb.Mosfet(jnp.asarray(beta), 0.5, 1.8), rows=at(0, 1), cols=at(2, 3))
    cell = xb.Mosfet(jnp.asarray(beta.ravel()), 0.5, 1.8)
    device = el.Device(cell, at(0, 0, 1, 1), at(2, 3, 2, 3))
    options: dict[str, Any] = {"buses": {"n": 4}}
    found, want = (
        xb.noise(xb.Circuit(array=x, **options, **ends), output="n", band=BAND, points=8)
        for x in (array, device)
    )
    for name in set(found.parts) - {"source"}:  # which has no resistance
        got, exact = np.asarray(found.density[name][0]), np.asarray(want.density[name][0])
        for nodes in (slice(0, 2), slice(2, 4)):
            assert off(got[nodes], exact[nodes]) < 1e-8


def test_a_read_by_amplifiers_has_the_noise_of_the_same_circuit() -> None:
    g = jnp.asarray(RNG.uniform(1e-5, 1e-4, (4, 3)))
    wires, v = xb.Wires(5.0, 8.0), jnp.asarray([0.1, -0.2, 0.3, 0.05])
    read = xb.Crossbar(xb.Ohmic(g), wires, xb.Drive(20.0), xb.Tia(5e3, 400.0))
    noise: dict[str, Any] = {"e_n": 4e-9, "i_n": 2e-13}
    want = xb.noise(read, v, band=BAND, temperature=T, flicker=1e-7, **noise)
    circuit = xb.Circuit(
        array=el.Array(xb.Ohmic(g), wires, rows="x", cols="e"),
        source=el.VoltageSource(to="x", v=v, r=20.0),
        amps=el.OpAmp(minus="e", out="o", gain=400.0, **noise),
        r_f=el.Resistor("e", "o", 5e3),
    )
    options = {"output": "o", "band": BAND, "temperature": T, "flicker": {"array": 1e-7}}
    found = xb.noise(circuit, **options).parts
    inside = want.thermal + want.wires + want.flicker
    assert off(found["array"] + found["source"], inside) < 1e-9
    assert off(found["r_f"], want.feedback) < 1e-9
    assert off(found["amps"], want.amplifier) < 1e-9


def test_gradients_are_those_of_differences() -> None:
    def value(p: dict[str, Any]) -> Any:
        options = {"output": "x", "band": BAND, "flicker": p["flicker"], "points": 48}
        return 1e9 * jnp.sum(xb.noise(loop(p), **options).variance)

    p = {k: jnp.asarray(x) for k, x in NUMBERS.items()}
    run = jax.jit(jax.value_and_grad(value))
    slope = run(p)[1]
    for name, x in p.items():
        change = 1e-4 * x * RNG.normal(size=x.shape)
        ahead, back = (run(p | {name: x + s * change})[0] for s in (1, -1))
        want = float(ahead - back) / 2
        assert abs(float(jnp.vdot(slope[name], change)) - want) < 1e-5 * abs(want), name


def test_it_works_in_float32_and_traces_once() -> None:
    traces = []

    @jax.jit
    def variance(p: dict[str, Any]) -> Any:
        traces.append(1)
        return xb.noise(loop(p), output="x", band=BAND, points=80).variance

    p = {k: jnp.asarray(x, jnp.float32) for k, x in NUMBERS.items()}
    got = variance(p)
    want = xb.noise(loop(NUMBERS), output="x", band=BAND, points=80).variance
    assert got.dtype == jnp.float32 and off(np.asarray(got, float), want) < 1e-3
    assert np.isfinite(variance(p | {"g": 2 * p["g"]})).all() and len(traces) == 1


def test_a_failure_is_not_a_number_under_a_transformation() -> None:
    p = {k: jnp.asarray(x) for k, x in NUMBERS.items()}
    turned = lambda: eqx.tree_at(
        lambda c: (c.elements["amps"].minus, c.elements["amps"].plus),
        loop(p),
        (el.Pick("ref"), el.Pick("e")),
    )
    found = jax.jit(lambda: xb.noise(turned(), output="x", band=BAND, points=8).variance)()
    assert np.isnan(found).all()
    with pytest.raises(ValueError, match="the loop is unstable"):
        xb.noise(turned(), output="x", band=BAND, points=8)


class Gyrator(el.AbstractStaticElement):
    """An element without a statement about noise."""

    a: el.Pick = eqx.field(converter=el.terminal)
    b: el.Pick = eqx.field(converter=el.terminal)
    unknowns: ClassVar[int] = 0
    holds: ClassVar[tuple[str, ...]] = ("a", "b")

    @property
    def terminals(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return True

    def valid(self) -> Any:
        return jnp.asarray(True)

    def current(self, v: Any, x: Any) -> Any:
        return (1e-3 * v[1], -1e-3 * v[0]), ()

    def through(self, v: Any, x: Any) -> jax.Array:
        return 1e-3 * v[1]


ENDS: dict[str, Any] = {"r": el.Resistor("x", "0", 1e3), "s": el.VoltageSource(to="x", v=0.1)}
SMALL = xb.Circuit(**ENDS)


def bad(circuit: xb.Circuit = SMALL, output: Any = "x", band: Any = BAND, **more: Any) -> Any:
    return lambda: xb.noise(circuit, output=output, band=band, **more)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (bad(output="y"), "output is 'y'; it must be a bus of the circuit: 'x'"),
        (bad(band=(1e3, 1e2)), "two frequencies"),
        (bad(points=12), "points is 12; it must be a multiple of 8"),
        (bad(flicker={"r": 1e-8}), "flicker names 'r', which is no array"),
        (bad(temperature=-1.0), "temperature is -1.0 K"),
        (bad(e_n=1e-9), "a circuit has sources and amplifiers of its own"),
        (bad(xb.Circuit(d=el.Diode("x", "0", 1e-12), **ENDS)), "Diode is a junction"),
        (
            bad(
                xb.Circuit(
                    a=el.Array(xb.Diode(jnp.full((1, 1), 1e-12)), rows="x", cols="e"),
                    e=el.Resistor("e", "0", 1e3),
                    **ENDS,
                )
            ),
            "Diode is a junction",
        ),
        (bad(xb.Circuit(g=Gyrator("x", "0"), **ENDS)), "'g' is .*Gyrator.* states no noise"),
        (
            lambda: xb.noise(xb.Crossbar(xb.Ohmic(jnp.full((1, 1), 1e-5))), band=BAND),  # pyright: ignore
            "pass v_in and a number",
        ),
        (lambda: el.OpAmp(minus="a", out="b", e_n=-1e-9), "e_n is -1e-09 V/sqrt.Hz."),
    ],
)
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make()
