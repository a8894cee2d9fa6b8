"""Netlists run by ngspice against reads of the same arrays."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import DEVICES
from reference import devices as of
from xbarjax import spice
from xbarjax._types import physical
from xbarjax.spice import elements as spice_elements, ideal
from xbarjax.spice.deck import OPTIONS, run

TOL = 1e-9
INF = np.inf
needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed"
)


def difference(crossbar: xb.Crossbar, v_in: Any, solution: xb.Solution | None = None) -> float:
    """Largest error of what ngspice finds, each quantity relative to its largest."""
    if solution is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of islands
            solution = xb.read(crossbar, v_in)
    found = spice.simulate(crossbar, v_in)
    errors = []
    for name in ("i_out", "v_row", "v_col"):
        got = getattr(found, name)
        want = np.asarray(getattr(solution, name))
        assert got.shape == want.shape and np.abs(want).max() > 0
        errors.append(np.abs(got - want).max() / np.abs(want).max())
    return max(errors)


def array(seed: int, low: float, high: float, shape: tuple[int, ...] = (5, 4)) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def decades(seed: int, low: float, high: float) -> jax.Array:
    return 10 ** array(seed, low, high)


G = decades(1, -6, -4)
HALF = jnp.asarray(np.arange(20).reshape(5, 4) % 2, float)  # in every row and column
CELLS = {
    "ohmic": (xb.Ohmic(G * HALF), 0.3),
    "sinh": (xb.Sinh(G, array(2, 1, 3)), 1.0),
    "sinh_straight": (xb.Sinh(G, 0.0), 1.0),
    "polynomial": (xb.presets.rram_milo(array(3, 5e-5, 2e-4)), 0.4),
    "poole_frenkel": (xb.PooleFrenkel(G, array(4, 0.05, 0.2)), 1.0),
    "rectifying": (xb.Rectifying(G, array(5, 1, 3), decades(6, 2, 4)), 1.0),
    "schottky": (xb.Schottky(decades(7, -8, -6), array(8, 0.05, 0.2), 1.2, 310.0), 0.4),
    "schottky_fixed": (xb.Schottky(decades(7, -8, -6), INF), 0.4),
    "diode": (xb.Diode(decades(9, -12, -11), 1.5), 0.6),
    "antiparallel": (xb.AntiparallelDiodes(decades(10, -12, -11), 1.5, 350.0), 0.6),
    "back_to_back": (xb.BackToBackDiodes(decades(11, -7, -5), 1.5), 0.5),
    "ekv_below_threshold": (xb.Mosfet(array(12, 1e-3, 2e-3), 0.9, 0.0, lam=0.05), 0.2),
    "ekv_bulk": (xb.Mosfet(1e-3, array(13, 0.4, 0.5), 1.2, v_bulk=-0.3), 0.2),
    "level1": (
        xb.Level1Mosfet(1e-3, array(14, 0.4, 0.5), 1.2, 0.05, 0.45, 0.8, v_bulk=-0.35),
        0.3,
    ),
    "threshold": (xb.ThresholdSwitch(HALF, decades(15, -8, -7), 0.1, 1.2, 0.3, 2e3), 1.0),
    "vteam": (xb.VTEAM(array(16, 0, 3e-9)), 0.2),
    "team": (
        xb.TEAM(array(16, 0, 3e-9), 50.0, 1e3, 0.0, 3e-9, -1e-9, 1e-8, -5e-6, 8e-6, 3.0, 2.0),
        0.2,
    ),
    "drift": (xb.LinearIonDrift(array(16, 0, 1e-8), 50.0, 1e3), 0.2),
    "messaris": (xb.Messaris(array(18, 3e3, 16e3)), 1.0),
    "ecram": (xb.Ecram(array(21, -0.8, 1.1), 1e-6, 2e-5, 1.0, 1e-3), 0.3),
    "thermal": (xb.ThermalSwitch(array(22, 326, 345)), 1.0),
    "diffusive": (xb.Diffusive(array(23, 0, 2e-9)), 0.5),
    "dynamic": (xb.DynamicMemristor(array(25, 0.05, 0.95), 1e-3), 1.0),
    "jart": (xb.JartVCM(array(24, 56, 62.5)), 0.8),
    "stanford": (xb.StanfordPKU(array(17, 0.2e-9, 1.7e-9)), 0.3),
    "yakopcic": (
        xb.Yakopcic(
            array(18, 0, 1),
            3e-5,
            4e-5,
            1.5,
            k_p=4e3,
            k_n=6e3,
            v_p=0.5,
            x_p=0.3,
            x_n=0.4,
            alpha_p=1.0,
            alpha_n=5.0,
        ),
        1.0,
    ),
    "p-channel ekv": (xb.PChannel(xb.Mosfet(G, 0.35, 0.0, 1.3, 0.05), -0.4, 0.5), 0.5),
    "p-channel level1": (
        xb.PChannel(xb.Level1Mosfet(G, 0.35, 0.0, 0.05, 0.4, 0.7), -0.4, 0.5),
        0.5,
    ),
    "parallel": (xb.Parallel(xb.Sinh(G, 2.0), xb.Mosfet(G, 0.3, 1.0)), 1.0),
    "series": (xb.Series(xb.AntiparallelDiodes(decades(19, -12, -11), 1.5), xb.Ohmic(G)), 1.0),
}


@needs_ngspice
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_carries_its_current(name: str) -> None:
    """Between ideal wires a read is a sum of cell currents, so that nothing is to be compiled."""
    cell, v = CELLS[name]
    v_row = array(20, 0.2 * v, v, (5,)) * jnp.asarray([1.0, -1, 1, -1, 1])
    v_col = array(21, -0.1 * v, 0.1 * v, (4,))
    if name.startswith(("ekv", "level1", "parallel")):
        v_row, v_col = jnp.abs(v_row), jnp.abs(v_col)  # the channel, not the bulk below it
    found = spice.simulate(xb.Crossbar(cell), xb.Bias(v_row, v_row, v_col, v_col))
    at = jnp.broadcast_to(v_row[:, None], (5, 4)), jnp.broadcast_to(v_col, (5, 4))
    want = np.asarray(cell.current(*at).sum(0))
    assert np.abs(found.i_out - want).max() < 1e-11 * np.abs(want).max()
    np.testing.assert_allclose(found.v_row, at[0], rtol=1e-14)
    np.testing.assert_allclose(found.v_col, at[1], rtol=1e-14)


MOVING = [name for name, (cell, _) in CELLS.items() if xb.cells.has_memory(cell)]


@needs_ngspice
@pytest.mark.parametrize("name", [name for name in MOVING if name != "jart"])
def test_decks_state_the_rates_of_devices_with_memory(name: str) -> None:
    cell, _ = CELLS[name]
    volts = array(30, -1.5, 1.5)
    if isinstance(cell, xb.Ecram):
        cell = cell.gated(volts)
    want = cell.rate(volts, 0 * volts)
    scale = [float(np.abs(x).max()) for x in want]
    leaves, tree = jax.tree.flatten(cell)
    leaves = [np.broadcast_to(np.asarray(x), (5, 4)) for x in leaves]
    lines = []
    for k in range(20):
        one = jax.tree.unflatten(tree, [float(x.flat[k]) for x in leaves])
        p = {
            key: spice_elements.constant(x) for key, x in vars(one).items() if isinstance(x, float)
        }
        current, rates = spice.motion(one, spice_elements.constant(volts[k // 4, k % 4]), p)
        assert len(rates) == len(one.states)
        lines.append(f"b_i{k} i_{k} 0 V=1e3*({current})")
        for n, rate in enumerate(rates):
            lines.append(f"b_{n}_{k} rate_{n}_{k} 0 V=({rate})/{scale[n]!r}")
    control = ".control", "set numdgt=16", "set wr_singlescale", "set wr_vecnames", "op"
    found, said = run(
        "\n".join(["* rates", OPTIONS, *lines, *control, "wrdata out.dat all", ".endc", ".end"])
    )
    assert found, said
    got = np.array([found[f"i_{k}"] for k in range(20)]).reshape(5, 4) / 1e3
    np.testing.assert_allclose(got, cell.current(volts, 0 * volts), rtol=1e-11)
    for n, rate in enumerate(want):
        got = np.array([found[f"rate_{n}_{k}"] for k in range(20)]).reshape(5, 4)
        np.testing.assert_allclose(got, np.asarray(rate) / scale[n], rtol=1e-10, atol=1e-14)


@needs_ngspice
def test_series_cells_may_be_nested() -> None:
    vteam = xb.VTEAM(array(16, 0, 3e-9))
    cell = xb.Series(xb.Series(xb.Ohmic(G), vteam), xb.Ohmic(2 * G))
    r = 1 / G + 50 + 950 * vteam.w / 3e-9 + 1 / (2 * G)
    crossbar, v_in = xb.Crossbar(cell, xb.Wires(2.0, 3.0)), array(20, 0.1, 0.3, (5,))
    assert re.search(r"\nr_cell_0_0a.* m_0_0a m_0_0 ", spice.netlist(crossbar, v_in))
    solution = xb.read(xb.Crossbar(xb.Ohmic(1 / r), xb.Wires(2.0, 3.0)), v_in)
    assert difference(crossbar, v_in, solution) < 1e-12


def test_every_cell_of_the_package_is_here() -> None:
    def types(cell: Any) -> set[type]:
        parts = [getattr(cell, name, None) for name in ("first", "second")]
        inner = [types(x) for x in parts if isinstance(x, xb.AbstractCell)]
        return {type(cell)}.union(*inner)

    here = set().union(*(types(cell) for cell, _ in CELLS.values()))
    every = {x for x in vars(xb).values() if isinstance(x, type) and issubclass(x, xb.AbstractCell)}
    assert here == {x for x in every if not x.__name__.startswith("Abstract")}


@needs_ngspice
@pytest.mark.parametrize("name", ["sinh_wires", "ekv_wires"])
def test_wires_and_ends_agree_with_a_read(name: str) -> None:
    crossbar, bias = of.circuit(DEVICES.load(name)["inputs"])
    assert difference(crossbar, bias) < TOL


@needs_ngspice
def test_an_array_of_transistors_and_resistors_agrees_with_a_read() -> None:
    crossbar, bias = of.circuit(DEVICES.load("ekv_row_32")["inputs"])
    assert difference(crossbar, bias) < 1e-10


@needs_ngspice
@pytest.mark.parametrize("parallel", [False, True])
def test_gates_of_a_bias_and_offsets_reach_the_netlist(parallel: bool) -> None:
    cell = xb.Series(xb.Ohmic(G), xb.Level1Mosfet(jnp.full((5, 4), 1e-3), 0.45, 0.0, gamma=0.4))
    readout = xb.VirtualGround(30.0, array(21, 5, 50, (4,)), 0.05, array(22, -1e-3, 1e-3, (4,)))
    crossbar = xb.Crossbar(cell, xb.Wires(2.0, 1.0, parallel), xb.Drive(10.0, 5.0), readout)
    v_row = array(23, 0.1, 0.3, (crossbar.lines,))
    v_col = readout.voltage(4)
    v_gate = jnp.asarray([1.8, 0.0, 1.2, -0.25, 1.8])
    bias = xb.Bias(v_row, v_row + 0.01, v_col, v_col - 0.01, v_gate)
    assert difference(crossbar, bias) < TOL
    text = spice.netlist(crossbar, bias)
    assert text.count("\nv_gate_1p8 ") == 1 and "\nv_gate_m0p25 gate_m0p25 0 -0.25\n" in text
    assert text.count(".model ") == 1


def faulty() -> tuple[xb.Crossbar, jax.Array]:
    """Broken, ideal and very resistive wires, islands, an ideal line between two ideal ends."""
    r_row, r_col = np.full((5, 4), 2.0), np.full((5, 4), 3.0)
    r_row[0], r_col[:, 1] = 0, 0
    r_row[2, 2], r_col[2, 0], r_row[1, 3] = INF, INF, 1e7
    r_row[4, :3] = INF  # cell (4, 0) has a node to itself, and
    g = np.array(G)
    g[4, :2] = 0  # so have they: islands
    ends = xb.Drive(jnp.asarray([0.0, 10, 0, 5, INF]), jnp.asarray([0.0, INF, 20, INF, 30]))
    readout = xb.VirtualGround(jnp.asarray([0.0, 0, INF, 4]), jnp.asarray([INF, 0, 50, 0]))
    wires = xb.Wires(jnp.asarray(r_row), jnp.asarray(r_col))
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g)), wires, ends, readout), array(24, 0.1, 0.3, (5,))


@needs_ngspice
def test_ideal_and_broken_wires_and_islands_agree_with_a_read() -> None:
    assert difference(*faulty()) < TOL
    text = spice.netlist(*faulty())
    assert "inf" not in text and " w_4_0 " not in text and "v_col_far_1 " not in text


@needs_ngspice
@pytest.mark.parametrize("r", [1.0, 0.01])
def test_lines_that_float_lose_no_digits_in_wires(r: float) -> None:
    ends = np.where(np.arange(8) == 3, 0, INF)
    ends = xb.Drive(jnp.asarray(ends)), xb.VirtualGround(jnp.asarray(ends))
    g = 1e-3 * 10 ** array(25, -5, -3, (8, 8))
    crossbar = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r), *ends)
    assert difference(crossbar, jnp.ones(8)) < 1e-11


@needs_ngspice
def test_diodes_and_resistors_on_lines_that_float_agree_with_a_read() -> None:
    cell = xb.Series(xb.Diode(jnp.full((4, 4), 1e-12)), xb.Ohmic(decades(28, -6, -4)[:4]))
    crossbar, bias = xb.schemes.floating(xb.Crossbar(cell, xb.Wires(1.0, 1.0)), 0, 3, 1.0)
    solution, found = xb.read(crossbar, bias), spice.simulate(crossbar, bias)
    i_out = np.asarray(solution.i_out)
    assert np.abs(found.i_out - i_out).max() < 1e-11 * np.abs(i_out).max()
    np.testing.assert_allclose(found.v_row, solution.v_row, atol=1e-7)
    np.testing.assert_allclose(found.v_col, solution.v_col, atol=1e-7)


@needs_ngspice
def test_what_ngspice_cannot_hold_is_said(tmp_path: Path) -> None:
    """Lines that float behind reversed diodes, held by less than 1e-16 of what flows."""
    cell = xb.Diode(jnp.full((2, 2), 9e-11))
    circuit = xb.schemes.floating(xb.Crossbar(cell), 0, 1, -2.0)
    with pytest.raises(RuntimeError, match="lines that float behind junctions in reverse.*read"):
        spice.simulate(*circuit)
    (tmp_path / "a.cir").write_text(spice.netlist(*circuit))
    done = subprocess.run(["ngspice", "-b", "a.cir"], cwd=tmp_path, capture_output=True, text=True)
    assert "no operating point: ngspice did not converge" in done.stdout
    assert "no such vector" not in done.stdout + done.stderr
    assert not (tmp_path / "out.dat").exists()


class Written(xb.AbstractCell):
    """A conductance whose netlist is another: of a user who errs, or of one who shorts."""

    g: jax.Array = eqx.field(converter=physical("g"))
    is_linear = True
    is_reciprocal = True

    def current(self, v_row, v_col):
        return self.g * (v_row - v_col)

    def valid(self):
        return self.g >= 0


@needs_ngspice
@pytest.mark.parametrize(
    "line, said",
    [
        ("i_x_{} {} {} 1e-3", "puts node .* beyond all terminals"),
        ("r_x_{} {} {} 1e3", "currents do not add up.*column"),
    ],
)
def test_an_operating_point_that_is_none_is_refused(line: str, said: str) -> None:
    @spice.element.register(Written)
    def _(cell: Written, name: str, plus: str, minus: str) -> list[str]:
        return [line.format(name, plus, minus)]

    crossbar = xb.Crossbar(Written(G), xb.Wires(2.0, 3.0), xb.Drive(1e4))
    with pytest.raises(RuntimeError, match=said):
        spice.simulate(crossbar, jnp.ones(5))


@needs_ngspice
@pytest.mark.parametrize("r", [0.0, 2.0])
def test_cells_that_short_are_sources_of_no_voltage(r: float) -> None:
    """Against a chain of resistors; with ideal wires shorts close loops, which are cut."""

    g = jnp.asarray([[INF, 1e-3, INF], [INF, 0.0, 1e-3]])
    ends = xb.Drive(jnp.asarray([10.0, 20.0])), xb.VirtualGround(jnp.asarray([5.0, 5.0, 5.0]))
    crossbar, volts = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 0.0), *ends), jnp.asarray([1.0, 0.5])
    text = spice.netlist(crossbar, volts)
    assert "inf" not in text and ("\nv_cell_0_0 w_0_0 b_0_0 0\n" in text)
    found = spice.simulate(crossbar, volts)
    # nodes: both rows meet in column 0; what follows is the same circuit by hand
    n = {"a0": 0, "a1": 1, "a2": 2, "b1": 3, "b2": 4, "c1": 5, "t": None}
    y, i = np.zeros((6, 6)), np.zeros(6)

    def join(p: str, q: str, x: float) -> None:
        for one, other in ((p, q), (q, p)):
            if n[one] is not None:
                y[n[one], n[one]] += x
                if n[other] is not None:
                    y[n[one], n[other]] -= x

    wire = 1 / (r or 1e-6)
    for p, q, x in (("a0", "a1", wire), ("a1", "a2", wire), ("a0", "b1", wire)):
        join(p, q, x)
    for p, q, x in (("b1", "b2", wire), ("a1", "c1", 1e-3), ("b2", "a2", 1e-3)):
        join(p, q, x)
    for p in ("a0", "c1", "a2"):
        join(p, "t", 0.2)
    for v, source in ((1.0, 10.0), (0.5, 20.0)):
        join("a0", "t", 1 / (source + r))
        i[0] += v / (source + r)
    v = np.linalg.solve(y, i)
    want = 0.2 * v[[0, 5, 2]]
    np.testing.assert_allclose(found.i_out, want, rtol=1e-9 if r else 1e-5)
    np.testing.assert_allclose(xb.read(crossbar, volts).i_out, want, rtol=1e-9 if r else 1e-5)


def test_a_loop_of_sources_that_contradict_each_other_is_named() -> None:
    shorts = [
        ("row_0", "0", ["v_row_0 row_0 0 1.0"]),
        ("row_0", "b", ["v_cell_0_0 row_0 b 0"]),
        ("b", "col_0", ["v_wire_col_0_0 b col_0 0"]),
        ("col_0", "0", ["v_col_0 col_0 0 0.25"]),
    ]
    with pytest.raises(ValueError, match=r"v_(cell|wire)_.* 0\.75 V apart: give a terminal"):
        ideal.without_loops(shorts)
    same = [*shorts[:3], ("col_0", "0", ["v_col_0 col_0 0 1.0"])]
    kept = [line for *_, lines in ideal.without_loops(same) for line in lines]
    assert len(kept) == 3 and kept[0] == same[0][2][0] and kept[-1] == same[-1][2][0]


@needs_ngspice
def test_the_comparison_can_fail() -> None:
    crossbar = xb.Crossbar(xb.Ohmic(G), xb.Wires(2.0, 3.0))
    v_in = array(26, 0.1, 0.3, (5,))
    solution = xb.read(crossbar, v_in)
    other = eqx.tree_at(lambda x: x.cell.g, crossbar, G.at[2, 1].multiply(1 + 1e-6))
    assert difference(crossbar, v_in, solution) < 1e-12
    assert difference(other, v_in, solution) > TOL


class Cubic(xb.AbstractCell):
    """Of a user: `I = g v + g_3 v^3`."""

    g: jax.Array = eqx.field(converter=physical("g"))
    g_3: jax.Array = eqx.field(converter=physical("g_3"))
    is_linear = False
    is_reciprocal = True

    def current(self, v_row, v_col):
        v = v_row - v_col
        return self.g * v + self.g_3 * v**3

    def valid(self):
        return self.g >= 0


@needs_ngspice
def test_a_cell_of_the_user_is_registered() -> None:
    crossbar = xb.Crossbar(Cubic(G, 1e-5), xb.Wires(2.0, 3.0))
    v_in = array(27, 0.1, 1, (5,))
    with pytest.raises(TypeError, match=r"does not know Cubic: .*element\.register\(Cubic\)"):
        spice.netlist(crossbar, v_in)

    @spice.element.register(Cubic)
    def _(cell: Cubic, name: str, plus: str, minus: str) -> list[str]:
        assert isinstance(cell.g, float) and isinstance(cell.g_3, float)
        v = f"V({plus},{minus})"
        return [
            f"r_user_{name} {plus} {minus} {1 / cell.g!r}",
            f"b_user_{name} {plus} {minus} I={cell.g_3!r}*{v}*{v}*{v}",
        ]

    assert difference(crossbar, v_in) < TOL


@needs_ngspice
def test_a_netlist_runs_as_it_is(tmp_path: Path) -> None:
    crossbar = xb.Crossbar(xb.Ohmic(G))
    text = spice.netlist(crossbar, jnp.ones(5), title="Vector 7", data="Result.txt")
    assert text.startswith("* Vector 7\n* 5 rows x 4 columns")
    (tmp_path / "a.cir").write_text(text)
    done = subprocess.run(["ngspice", "-b", "a.cir"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names, numbers = ((tmp_path / "Result.txt").read_text().split("\n") + [""])[:2]
    found = dict(zip(names.split(), map(float, numbers.split())))
    assert found["i_out_2"] == pytest.approx(float(G[:, 2].sum()), rel=1e-12)
    assert found["w_4_3"] == 1.0


def test_errors() -> None:
    crossbar, v_in = xb.Crossbar(xb.Ohmic(G)), jnp.ones(5)
    with pytest.raises(ValueError, match="concrete"):
        jax.jit(lambda v: (spice.netlist(crossbar, v), v)[1])(v_in)
    with pytest.raises(ValueError, match="concrete"):
        jax.vmap(lambda g: (spice.netlist(xb.Crossbar(xb.Ohmic(g)), v_in), g)[1])(G[None])
    with pytest.raises(ValueError, match="no batch"):
        spice.netlist(jax.tree.map(lambda x: x[None], crossbar), v_in)
    with pytest.raises(ValueError, match=r"v_in has shape \(4,\)"):
        spice.netlist(crossbar, jnp.ones(4))
    with pytest.raises(ValueError, match=r"bias\.v_col has shape \(5,\).*must be \(4,\)"):
        spice.netlist(crossbar, xb.Bias(v_in, v_in, v_in, v_in))
    four = jnp.zeros(4)
    with pytest.raises(ValueError, match="has no gate"):
        spice.netlist(crossbar, xb.Bias(v_in, v_in, four, four, v_in))
    with pytest.raises(ValueError, match=r"bias\.v_gate has shape \(3,\)"):
        spice.netlist(crossbar, xb.Bias(v_in, v_in, four, four, jnp.ones(3)))
    with pytest.raises(ValueError, match=r"cell \(1, 2\) has parameters"):
        bad = eqx.tree_at(lambda x: x.cell.g, crossbar, G.at[1, 2].set(-1.0))
        spice.netlist(bad, v_in)
    with pytest.raises(ValueError, match="r_row"):
        spice.netlist(eqx.tree_at(lambda x: x.wires.r_row, crossbar, jnp.asarray(-1.0)), v_in)
    with pytest.raises(ValueError, match="line 0 of the rows is ideal wire"):
        both = xb.Crossbar(xb.Ohmic(G), drive=xb.Drive(0.0, 0.0))
        spice.netlist(both, xb.Bias(v_in, 2 * v_in, four, four))
    with pytest.raises(ValueError, match="no line of the array ends"):
        nothing = xb.Drive(INF), xb.VirtualGround(INF)
        spice.netlist(xb.Crossbar(xb.Ohmic(G), xb.Wires(1.0, 1.0), *nothing), v_in)
    with pytest.raises(ValueError, match="one line"):
        spice.netlist(crossbar, v_in, title="a\nb")
    for name in ("out", "a b.dat", ""):
        with pytest.raises(ValueError, match="data is"):
            spice.netlist(crossbar, v_in, data=name)


def test_without_ngspice_a_simulation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="ngspice is not installed"):
        spice.simulate(xb.Crossbar(xb.Ohmic(G)), jnp.ones(5))


@needs_ngspice
def test_a_failure_of_ngspice_is_told() -> None:
    class Broken(Written):
        """One whose netlist ngspice does not take."""

    @spice.element.register(Broken)
    def _(cell: Any, name: str, plus: str, minus: str) -> list[str]:
        return [f"x_{name} {plus} {minus} nowhere"]

    with pytest.raises(RuntimeError, match=r"(?s)found no operating point.*nowhere"):
        spice.simulate(xb.Crossbar(Broken(G)), jnp.ones(5))
