"""Decks of circuits, run by ngspice, against solves and transients of the same circuits."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import LOOPS
from reference.loops import loop_of
from xbarjax import elements as el, spice
from xbarjax._types import physical

RNG = np.random.default_rng(0)
INF = jnp.inf
needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed"
)


def off(got: Any, want: Any) -> float:
    """Largest error, relative to the largest value."""
    want = np.asarray(want, float)
    return float(np.abs(np.asarray(got) - want).max() / np.abs(want).max())


def difference(circuit: xb.Circuit) -> float:
    """Largest error of voltages, and of currents, relative to the largest of the circuit."""
    found, want = spice.simulate(circuit), xb.solve(circuit)
    v = max(np.abs(np.asarray(x)).max() for x in want.v.values())
    i = max(np.abs(np.asarray(x)).max() for x in want.i.values())
    assert set(found.v) == set(want.v) and found.i
    errors = [np.abs(found.v[bus] - np.asarray(x)).max() / v for bus, x in want.v.items()]
    errors += [np.abs(x - np.asarray(want.i[name])).max() / i for name, x in found.i.items()]
    return float(max(errors))


@needs_ngspice
@pytest.mark.few(2)
@pytest.mark.parametrize("name", LOOPS.circuits)
def test_golden_loops_are_as_solve_finds_them(name: str) -> None:
    assert difference(loop_of(LOOPS.load(name)["inputs"])) < 1e-9


def ladder() -> xb.Circuit:
    """Resistors of 0 and inf, switches, picks, shared nodes, far ends, amplifiers of all kinds."""
    g = jnp.asarray(RNG.uniform(1e-5, 1e-4, (3, 4)))
    r_row, r_col = RNG.uniform(0, 20, (3, 4)), RNG.uniform(0, 20, (3, 4))
    r_row[1, 1] = r_col[0, 2] = 0.0
    return xb.Circuit(
        buses={"wire": 1},
        one=el.Array(
            xb.Ohmic(g), xb.Wires(jnp.asarray(r_row), jnp.asarray(r_col)),
            rows="in", cols="e", rows_far="far", cols_far="top",
        ),
        drive=el.VoltageSource(to="in", v=jnp.asarray([0.1, -0.2, 0.3]), r=20.0),
        end=el.Resistor("far", "wire", jnp.asarray([10.0, 0.0, 1e4])),
        wire=el.Resistor("wire", "0", 3.0),
        top=el.Switch("top", "0", closed=jnp.asarray([1.0, 0, 1, 0]), r_on=5.0, r_off=1e9),
        amps=el.OpAmp(minus="e", plus="ref", out="out", gain=1e3, gbw=1e6, r_out=30.0,
                      v_offset=jnp.asarray([1e-3, 0.0, -2e-3, 0.0])),
        back=el.Resistor("out", "e", jnp.asarray([1e3, 2e3, 1e3, 5e2])),
        ideal=el.OpAmp(minus="m", out="q", v_offset=1e-3),
        to_m=el.Resistor(el.Pick("out", jnp.asarray([2])), "m", 1e3),
        m_q=el.Resistor("m", "q", 4e3),
        reference=el.VoltageSource(to="ref", v=0.05),
        bleed=el.Resistor("ref", "e", INF),
        push=el.CurrentSource(to=el.Pick("in", jnp.asarray([2, 0])), back="wire",
                              i=jnp.asarray([1e-5, -2e-5])),
        cap=el.Capacitor("out", "0", 1e-12),
    )  # fmt: skip


def clamped() -> xb.Circuit:
    """A nonlinear array with transistors, diodes both ways, and an amplifier at its end."""
    g = jnp.asarray(RNG.uniform(5e-5, 1e-4, (2, 2)) + np.eye(2) * 2e-4)
    cell = xb.Series(xb.Ohmic(g), xb.Mosfet(1e-3, 0.5, 0.0))
    return xb.Circuit(
        array=el.Array(cell, xb.Wires(3.0, 2.0), rows="x", cols="e",
                       v_gate=jnp.asarray([1.8, 1.5])),
        source=el.VoltageSource(to="x", v=jnp.asarray([0.2, 0.1]), r=10.0),
        amps=el.OpAmp(minus="e", out="y", gain=1e4, v_low=-0.2, v_high=0.5),
        back=el.Resistor("y", "e", 8e3),
        pair=el.AntiparallelDiodes("e", "y", i_s=jnp.asarray([1e-9, 2e-9]), n=1.5),
        clamp=el.Diode("0", "d", i_s=1e-12, n=1.2),
        load=el.Resistor("y", "d", 1e3),
    )  # fmt: skip


def broken() -> xb.Circuit:
    """Source lines along the bit lines, broken wires with islands behind them, shorts, and names
    that ngspice does not take."""
    g = RNG.uniform(1e-5, 1e-4, (3, 2))
    g[0, 0], g[:2, 1] = np.inf, 0.0
    r_row, r_col = np.zeros((3, 2)), np.full((3, 2), 2.0)
    r_row[1, 1] = r_col[1, 1] = np.inf  # what is above has no path to a terminal
    return xb.Circuit(**{
        "An array": el.Array(
            xb.Ohmic(jnp.asarray(g)),
            xb.Wires(jnp.asarray(r_row), jnp.asarray(r_col), parallel=True),
            rows="x", cols="-x",
        ),
        "source": el.VoltageSource(to="x", v=jnp.asarray([0.2, 0.1]), r=5.0),
        "an_array": el.Resistor("-x", "0", 1e3),
    })  # fmt: skip


@needs_ngspice
@pytest.mark.parametrize(("make", "tol"), [(ladder, 1e-11), (clamped, 1e-9), (broken, 1e-11)])
def test_every_element_is_as_solve_finds_it(make: Any, tol: float) -> None:
    assert difference(make()) < tol


@needs_ngspice
def test_the_comparison_can_fail() -> None:
    circuit = ladder()
    other = eqx.tree_at(lambda c: c.elements["wire"].r, circuit, jnp.asarray(3.0 * (1 + 1e-6)))
    assert off(spice.simulate(circuit).v["wire"], xb.solve(other).v["wire"]) > 1e-8


@needs_ngspice
def test_numbers_of_float32_are_written_in_full() -> None:
    circuit = loop_of(LOOPS.load("inverse_4")["inputs"])
    single = jax.tree.map(lambda x: x.astype(jnp.float32), circuit)
    want = xb.solve(jax.tree.map(lambda x: x.astype(float), single))
    assert off(spice.simulate(single).v["x"], want.v["x"]) < 1e-11


def test_names_stay_apart() -> None:
    text = spice.netlist(broken())
    assert "* bus '-x' is x_2." in text and "* element 'An array' is an_array_2." in text
    assert "inf" not in text and "an_array_2__b_0_1" not in text  # of an island
    assert re.search(r"\nr_an_array_1 x_2_1 ", text)


def settling(**amplifier: Any) -> xb.Circuit:
    rng = np.random.default_rng(1)
    g = jnp.asarray(rng.uniform(1e-6, 1e-5, (3, 3)) + np.eye(3) * 5e-5)
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), xb.Wires(5.0, 3.0), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3, gbw=1e7, **amplifier),
        source=el.CurrentSource(to="e", i=jnp.zeros(3)),
        load=el.Capacitor("x", "0", 1e-12),
    )


@pytest.mark.few(1)
@needs_ngspice
@pytest.mark.parametrize("swing", [{"v_low": -0.05, "v_high": 0.08, "r_out": 50.0}, {}])
def test_transients_are_as_simulate_finds_them(swing: dict[str, float]) -> None:
    """From 1 us on, where the waveform is at work already."""
    circuit, i = settling(**swing), jnp.asarray([4e-6, -5e-6, 2e-6])
    corners = jnp.asarray([0.9e-6, 1.1e-6, 1.5e-6, 1.6e-6])
    wave = xb.Waveform(corners, jnp.stack([0 * i, i, i, -i]))
    ts = jnp.linspace(1e-6, 2e-6, 6)
    found = spice.simulate(circuit, waveforms={"source": wave}, ts=ts)
    want = xb.simulate(circuit, wave, ts, rtol=1e-6)
    assert found.v["x"].shape == (6, 3) and set(found.i) == {"amps", "source"}
    for name, x in (("x", found.v), ("e", found.v), ("amps", found.i), ("source", found.i)):
        whole = {**want.v, **want.i}
        assert off(x[name], whole[name]) < 1e-4, name


class Gyrator(el.AbstractStaticElement):
    """`i_a = g v_b`, `i_b = -g v_a`."""

    a: el.Pick = eqx.field(converter=el.terminal)
    b: el.Pick = eqx.field(converter=el.terminal)
    g: jax.Array = eqx.field(converter=physical("g"))
    unknowns: ClassVar[int] = 0
    holds: ClassVar[tuple[str, ...]] = ("a", "b")

    @property
    def terminals(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return True

    def valid(self) -> Any:
        return jnp.isfinite(self.g)

    def current(self, v: Any, x: Any) -> Any:
        return (self.g * v[1], -self.g * v[0]), ()

    def through(self, v: Any, x: Any) -> jax.Array:
        return self.g * v[1]


@needs_ngspice
def test_an_element_of_ones_own_is_registered() -> None:
    circuit = xb.Circuit(
        source=el.VoltageSource(to="in", v=jnp.asarray([0.5, 0.2]), r=1e3),
        turn=Gyrator("in", "out", jnp.asarray([1e-3, 2e-3])),
        load=el.Resistor("out", "0", 2e3),
    )
    with pytest.raises(TypeError, match=r"does not know Gyrator: .*part, name, \*nodes"):
        spice.netlist(circuit)

    @spice.element.register(Gyrator)
    def _(part: Any, name: str, a: str, b: str) -> list[str]:
        assert isinstance(part.g, float)
        return [
            f"v_{name} {a} {name}__i 0",
            f"g_{name}__a {name}__i 0 {b} 0 {part.g!r}",
            f"g_{name}__b 0 {b} {a} 0 {part.g!r}",
        ]

    assert difference(circuit) < 1e-12
    assert set(spice.simulate(circuit).i) == {"source", "turn", "load"}


@needs_ngspice
def test_a_deck_runs_as_it_is(tmp_path: Path) -> None:
    wave = xb.Waveform(jnp.asarray([0.0, 1e-9]), jnp.asarray([[0.0], [1e-6]]))
    options = {"waveforms": wave, "ts": jnp.asarray([0.0, 1e-7])}
    text = spice.netlist(settling(), **options, title="Run 7", data="Result.txt")
    assert text.startswith("* Run 7\n")
    (tmp_path / "a.cir").write_text(text)
    done = subprocess.run(["ngspice", "-b", "a.cir"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = (tmp_path / "Result.txt").read_text().split("\n")[0].split()
    assert {"time", "x_0", "e_2", "v_amps_1#branch"} <= set(names)


def test_a_start_of_a_capacitor_is_refused_in_time() -> None:
    circuit = xb.Circuit(
        source=el.CurrentSource(to="a", i=1e-6), r=el.Resistor("a", "0", 1e3),
        c=el.Capacitor("a", "0", 1e-12, v_start=0.1),
    )  # fmt: skip
    assert "c_c_0 a_0 0 1e-12" in spice.netlist(circuit)
    wave = xb.Waveform(jnp.asarray([0.0]), jnp.zeros((1, 1)))
    with pytest.raises(ValueError, match="capacitor 'c' has a v_start, but netlists"):
        spice.netlist(circuit, waveforms=wave, ts=jnp.asarray([0.0, 1e-6]))


def test_bad_input_gets_a_sentence() -> None:
    circuit, wave = settling(), xb.Waveform(jnp.asarray([0.0]), jnp.asarray([[0.0]]))
    with pytest.raises(ValueError, match="concrete"):
        jax.jit(lambda c: (spice.netlist(c), 0)[1])(circuit)
    with pytest.raises(ValueError, match="no batch"):
        spice.netlist(jax.tree.map(lambda x: jnp.stack([x, x]), circuit))
    with pytest.raises(ValueError, match="pass both, or neither"):
        spice.netlist(circuit, waveforms=wave)
    with pytest.raises(ValueError, match=r"at least two that rise"):
        spice.netlist(circuit, waveforms=wave, ts=jnp.asarray([1.0, 0.0]))
    with pytest.raises(ValueError, match="a circuit has sources of its own"):
        spice.netlist(circuit, jnp.ones(3))  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(ValueError, match="an array alone has a deck at rest"):
        spice.netlist(xb.Crossbar(xb.Ohmic(jnp.full((2, 2), 1e-5))))  # pyright: ignore
    with pytest.raises(ValueError, match=r"cell \(1, 2\) of element 'array' has parameters"):
        g = lambda c: c.elements["array"].cell.g
        spice.netlist(eqx.tree_at(g, circuit, g(circuit).at[1, 2].set(-1.0)))
    with pytest.raises(ValueError, match="gain is -1.0; it must be positive"):
        gain = lambda c: c.elements["amps"].gain
        spice.netlist(eqx.tree_at(gain, circuit, jnp.asarray(-1.0)))


@needs_ngspice
def test_a_circuit_that_ngspice_does_not_solve_is_told() -> None:
    circuit = xb.Circuit(
        a=el.VoltageSource(to="x", v=1.0),
        b=el.VoltageSource(to="x", v=2.0),
        r=el.Resistor("x", "0", 1e3),
    )
    with pytest.raises(RuntimeError, match="(?s)ngspice found no operating point.*OP: "):
        spice.simulate(circuit)


@needs_ngspice
def test_lines_with_capacitance_charge_in_decks_as_in_simulate() -> None:
    """Slow lines of selectors, a switch, picked sources and an amplifier with feedback."""
    at, side = jnp.asarray, (3, 2)
    wires = xb.Wires(
        at(RNG.uniform(50, 200, side)),
        at(RNG.uniform(50, 200, side)),
        c_row=at(RNG.uniform(1e-13, 4e-13, side)),
        c_col=2e-13,
        c_cell=5e-14,
    )
    cell = xb.AntiparallelDiodes(at(RNG.uniform(1e-8, 5e-8, side)), 1.5)
    circuit = xb.Circuit(
        array=el.Array(cell, wires, rows="x", cols="e"),
        source=el.VoltageSource(to="levels", v=at([0.0, 0.0])),
        select=el.Resistor(el.Pick("levels", at([1, 0, 1])), "x", 300.0),
        amps=el.OpAmp(minus="e", out="o", gain=2e3, gbw=5e7, r_out=20.0),
        r_f=el.Resistor("e", "o", 2e4),
        c_f=el.Capacitor("e", "o", 1e-12),
        hold=el.Switch("o", "h", closed=at([1.0, 0.0]), r_on=1e3, r_off=1e6),
        c_hold=el.Capacitor("h", "0", 5e-12),
    )
    wave = xb.Waveform(at([1e-8, 1.2e-8]), at([[0.0, 0.0], [0.12, -0.15]]))
    ts = jnp.linspace(0, 2e-7, 6)
    found = spice.simulate(circuit, waveforms={"source": wave}, ts=ts)
    want = xb.simulate(circuit, wave, ts, rtol=1e-6, max_steps=4096)
    final = np.abs(np.asarray(want.v["o"])[-1]).max()
    for bus, x in want.v.items():
        assert np.abs(found.v[bus] - np.asarray(x)).max() < 1e-4 * final, bus
