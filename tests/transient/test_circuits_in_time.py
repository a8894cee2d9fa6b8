"""Transients of circuits: exponentials, an integrator of SciPy, differences, poles, bad input."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import xbarjax as xb
from reference.mna import Net
from xbarjax import elements as el

N, GBW, EDGE = 3, 1e6, 1e-8
RNG = np.random.default_rng(0)
G = RNG.uniform(1e-6, 1e-5, (N, N)) + np.eye(N) * 5e-5
I = RNG.uniform(-1e-6, 1e-6, N)  # noqa: E741
TS = jnp.linspace(0, 2e-6, 11)


def inverse(g: Any, gain: Any = 1e3, gbw: Any = GBW, r: Any = 0.0, **swing: Any) -> xb.Circuit:
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), xb.Wires(r, r), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=gain, gbw=gbw, **swing),
        source=el.CurrentSource(to="e", i=jnp.zeros(N)),
    )


def ramp(i: Any = I, edge: Any = EDGE) -> xb.Waveform:
    i = jnp.asarray(i)
    return xb.Waveform(jnp.stack([0 * edge, jnp.asarray(edge)]), jnp.stack([0 * i, i]))


def exact(t: float) -> Any:
    """Outputs of ideal gain under a ramp of currents: `du/dt = -w U (G u + i)`."""
    at, w = G.T, 2 * np.pi * GBW
    u = 1 / at.sum(1)
    system = np.zeros((N + 2, N + 2))
    system[:N, :N], system[:N, N], system[N, N + 1] = -w * u[:, None] * at, -w * u * I, 1 / EDGE
    z = expm(system * min(t, EDGE)) @ np.eye(N + 2)[-1]
    system[N, N + 1] = 0
    return (expm(system * max(t - EDGE, 0)) @ z)[:N]


@pytest.mark.few(1)
@pytest.mark.parametrize("rtol", [1e-7, 1e-4])
def test_the_inverse_settles_as_the_exponential_of_its_poles(rtol: float) -> None:
    want = np.stack([exact(float(t)) for t in TS])
    found = xb.simulate(inverse(jnp.asarray(G), jnp.inf), ramp(), TS, rtol=rtol)
    # errors of steps add up, and there are some hundred at the smaller one
    assert np.abs(np.asarray(found.v["x"]) - want).max() < 50 * rtol * np.abs(want).max()
    assert int(found.status) == 0 and int(found.accepted) > len(TS)


def test_equal_steps_err_with_the_square_of_their_length() -> None:
    want = np.stack([exact(float(t)) for t in TS])

    def error(steps: int) -> float:
        found = xb.simulate(inverse(jnp.asarray(G), jnp.inf), ramp(), TS, steps_per_interval=steps)
        return float(np.abs(np.asarray(found.v["x"]) - want).max())

    assert 3.5 < error(4) / error(8) < 4.5


def test_a_saturating_loop_is_as_an_integrator_of_scipy_follows_it() -> None:
    """The amplifier's own equation, `p / A + (1 / w) d y(p)/dt = x`, in terms of its drive `p`."""
    h, gain, w = 0.05, 20.0, 2 * np.pi * GBW
    at = G.T

    def rate(t: float, p: Any) -> Any:
        i = 4 * I * min(t / EDGE, 1)
        e = (at @ (h * np.tanh(p / h)) + i) / at.sum(1)
        return w * (-e - p / gain) * np.cosh(p / h) ** 2

    want = solve_ivp(rate, (0, 2e-6), np.zeros(N), "LSODA", np.asarray(TS), rtol=1e-9, atol=1e-12)
    loop = inverse(jnp.asarray(G), gain, v_low=-h, v_high=h)
    found = xb.simulate(loop, {"source": ramp(4 * I)}, TS, rtol=1e-6)
    y = h * np.tanh(want.y.T / h)
    assert np.abs(y[-1]).max() > 0.9 * h
    assert np.abs(np.asarray(found.v["x"]) - y).max() < 1e-4 * h


def test_it_ends_where_solve_says_and_capacitors_count() -> None:
    """Every branch against the exponential of a dense netlist."""
    r, c, v = 1e3, 2e-12, 0.4
    circuit = xb.Circuit(
        source=el.VoltageSource(to="in", v=0.0, r=50.0),
        r=el.Resistor("in", "out", r),
        c=el.Capacitor("out", "0", c),
        load=el.Resistor("out", "0", 5e3),
    )
    wave = xb.Waveform(jnp.asarray([0.0, 1e-10]), jnp.asarray([[0.0], [v]]))
    ts = jnp.linspace(0, 2e-8, 9)
    found = xb.simulate(circuit, wave, ts, rtol=1e-7)
    tau = c / (1 / 5e3 + 1 / (r + 50))
    end = v * 5e3 / (r + 50 + 5e3)
    late = np.asarray(ts[1:]) - 1e-10
    slope = lambda t: t - tau * (1 - np.exp(-t / tau))
    want = end * (slope(late + 1e-10) - slope(late)) / 1e-10
    np.testing.assert_allclose(found.v["out"][1:, 0], want, rtol=1e-5)
    current = (np.asarray(found.v["in"]) - np.asarray(found.v["out"]))[:, 0] / r
    np.testing.assert_allclose(found.i["r"][:, 0], current, rtol=1e-9, atol=1e-18)
    net = Net()
    net.voltage("in", "0", v, 50.0)
    net.resistor("in", "out", r)
    net.resistor("out", "0", 5e3)
    settled = xb.simulate(circuit, wave, jnp.asarray([0.0, 1e-6]), rtol=1e-6)
    assert abs(float(settled.v["out"][-1, 0]) / net.solve()[0]["out"] - 1) < 1e-9


def test_gradients_are_those_of_differences() -> None:
    """By cells, wires, gain, bandwidth, input and the time of a corner, with equal steps."""
    at = {
        "g": jnp.asarray(G), "gain": jnp.asarray(1e3), "gbw": jnp.asarray(GBW),
        "r": jnp.asarray(20.0), "i": jnp.asarray(I), "edge": jnp.asarray(3e-8),
    }  # fmt: skip

    @jax.jit
    @jax.value_and_grad
    def value(p: dict[str, Any]) -> Any:
        loop = inverse(p["g"], p["gain"], p["gbw"], p["r"])
        wave = ramp(p["i"], p["edge"])
        found = xb.simulate(loop, wave, TS[:4], steps_per_interval=3)
        return jnp.sum(found.v["x"] @ jnp.asarray([1.0, 2.0, -1.0]))

    slope = value(at)[1]
    for name, x in at.items():
        h = 1e-4 * x
        ahead, back = (value(at | {name: x + s * h})[0] for s in (1, -1))
        want = float(ahead - back) / 2
        assert abs(float(jnp.vdot(slope[name], h)) - want) < 1e-6 * abs(want), name


def at_end(g: Any) -> xb.Circuit:
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3, gbw=GBW),
        source=el.CurrentSource(to="e", i=1e-6 * jnp.ones(3)),
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: xb.simulate(at_end(G), {"amps": ramp()}, TS), "'amps', which is no source"),
        (lambda: xb.simulate(at_end(G), ramp([1e-6] * 2), TS), "has 2 lines, but the source has 3"),
        (
            lambda: xb.simulate(
                xb.Circuit(
                    a=el.VoltageSource(to="x", v=1.0),
                    b=el.CurrentSource(to="x", i=1e-6),
                    r=el.Resistor("x", "0", 1e3),
                ),
                ramp(),
                TS,
            ),
            "one for 2 sources .a, b.: pass a dictionary",
        ),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_errors_are_judged_by_voltages_that_are_there() -> None:
    """An integrator: at rest under its pulse it would put out 1e4 V, and it never comes to one."""
    circuit = xb.Circuit(
        s=el.VoltageSource(to="i", v=0.0),
        r=el.Resistor("i", "e", 1e4),
        c=el.Capacitor("e", "o", 1e-12),
        a=el.OpAmp(minus="e", out="o", gain=1e5, gbw=1e9),
        r2=el.Resistor("o", "q", 1e3),
        c2=el.Capacitor("q", "0", 1e-12),
    )
    corners = jnp.asarray([0.0, 1e-10, 5e-9, 5.1e-9])
    wave = xb.Waveform(corners, jnp.asarray([[0.0], [0.1], [0.1], [0.0]]))
    ts = jnp.asarray([0.0, 1e-8])
    want = xb.simulate(circuit, wave, ts, steps_per_interval=400).v["q"][-1]
    found = xb.simulate(circuit, wave, ts, rtol=1e-4)
    np.testing.assert_allclose(found.v["q"][-1], want, rtol=2e-3)
    assert set(found.i) == {"s", "r", "a", "r2"}  # capacitors have no current but in time


def test_a_waveform_of_one_line_drives_every_lane() -> None:
    circuit = xb.Circuit(
        buses={"w": 1},
        s=el.CurrentSource(to="w", i=jnp.full((3,), 1e-3)),
        r=el.Resistor("w", "0", 1e3),
    )
    wave = xb.Waveform(jnp.asarray([0.0]), jnp.asarray([[1e-3]]))
    found = xb.simulate(circuit, wave, jnp.asarray([0.0, 1e-9]))
    np.testing.assert_allclose(found.v["w"], 3.0, rtol=1e-12)


C = 3e-13, 2e-13, 1e-13  # [F] a node of a word line, a bit line, across a cell: slow lines
R = 300.0


def with_lines(g: Any = G, r: Any = R, c: Any = C, gbw: Any = GBW, gain: Any = 1e3) -> xb.Circuit:
    wires = xb.Wires(r, r, c_row=c[0], c_col=c[1], c_cell=c[2])
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), wires, rows="x", cols="e", rows_far="far"),
        amps=el.OpAmp(minus="e", out="x", gain=gain, gbw=gbw, r_out=100.0),
        load=el.Capacitor("far", "0", 1e-13),
        source=el.CurrentSource(to="e", i=jnp.zeros(N)),
    )


def test_lines_charge_within_a_loop_as_every_node_of_them_does() -> None:
    """Against the exponentials of a dense netlist of every node, under a ramp of the input."""
    net, full = Net(), np.full((N, N), 1.0)
    for k in range(N):
        net.amplifier(f"e{k}", "0", f"x{k}", 1e3, GBW, r=100.0)
        net.capacitor(f"far{k}", "0", 1e-13)
        net.current(f"e{k}", "0", I[k])
    ends = {name: [f"{bus}{k}" for k in range(N)]
            for name, bus in (("rows", "x"), ("cols", "e"), ("rows_far", "far"))}  # fmt: skip
    net.array(G, R * full, R * full, ends, "a", tuple(c * full for c in C))  # pyright: ignore[reportArgumentType]
    k, c, b, _ = net.matrices()
    end, m = np.linalg.solve(k, b), -np.linalg.solve(k, c)
    rate, v = np.linalg.eig(m)
    moving = np.abs(rate) > 1e-11 * np.abs(rate).max()
    weights = np.linalg.solve(v, m @ end)

    def rising(t: float) -> Any:
        """Under a ramp of slope 1 that begins at 0."""
        if t <= 0:
            return 0 * end
        modes = np.exp(t / np.where(moving, rate, 1)) * np.where(moving, weights, 0)
        return end * t + m @ end - np.real(v @ modes)

    want = np.stack([(rising(float(t)) - rising(float(t) - EDGE)) / EDGE for t in TS])
    found = xb.simulate(with_lines(jnp.asarray(G)), ramp(), TS, rtol=1e-7)
    for bus in ("x", "e", "far"):
        at = [net.nodes[f"{bus}{j}"] for j in range(N)]
        assert np.abs(np.asarray(found.v[bus]) - want[:, at]).max() < 1e-5 * np.abs(want).max()
    assert int(found.status) == 0


@pytest.mark.slow
def test_gradients_of_loops_with_slow_lines_are_those_of_differences() -> None:
    """By what the circuit is made of, its input and the time of a corner, with equal steps."""
    ts = jnp.linspace(0, 4e-7, 3)
    at = {
        "g": G, "r": R, "c": C, "gbw": GBW, "gain": 1e3, "i": I, "edge": 3e-8,
    }  # fmt: skip
    at = {name: jnp.asarray(x) for name, x in at.items()}

    @jax.jit
    @jax.value_and_grad
    def value(p: Any) -> Any:
        circuit = with_lines(**{k: x for k, x in p.items() if k not in ("i", "edge")})
        found = xb.simulate(circuit, ramp(p["i"], p["edge"]), ts, steps_per_interval=3)
        return jnp.vdot(jnp.arange(1.0, N + 1), found.v["x"][-1])

    slope = value(at)[1]
    for name, x in at.items():
        way = RNG.uniform(0.5, 1, x.shape) * np.asarray(x) * 1e-5
        ends = [float(value(at | {name: x + sign * way})[0]) for sign in (1, -1)]
        want = (ends[0] - ends[1]) / 2
        assert abs(float(jnp.sum(slope[name] * way)) / want - 1) < 1e-6, name


@pytest.mark.slow
def test_an_array_of_selectors_charges_as_it_does_alone() -> None:
    """`simulate` of an array under drivers and a readout, and of the same as a circuit."""
    cell = xb.AntiparallelDiodes(jnp.asarray(RNG.uniform(1, 3, (3, 2)) * 1e-9), n=2.0)
    wires = xb.Wires(50.0, 80.0, c_row=1e-15, c_col=2e-15, c_cell=5e-16)
    v = jnp.asarray([[0.0] * 3, [0.3, -0.2, 0.4]])
    wave, ts = xb.Waveform(jnp.asarray([0.0, 1e-10]), v), jnp.linspace(0, 1e-9, 5)
    alone = xb.Crossbar(cell, wires, xb.Drive(1e4), xb.VirtualGround(1e4))
    circuit = xb.Circuit(
        array=el.Array(cell, wires, rows="x", cols="e"),
        source=el.VoltageSource(to="x", v=jnp.zeros(3), r=1e4),
        end=el.Resistor("e", "0", 1e4),
    )
    want = xb.simulate(alone, wave, ts, rtol=1e-6).i_out
    found = xb.simulate(circuit, wave, ts, rtol=1e-6)
    largest = np.abs(np.asarray(want)).max()
    assert np.abs(np.asarray(found.i["end"]) - np.asarray(want)).max() < 2e-4 * largest
    assert int(found.status) == 0


def test_float32_stays_float32() -> None:
    wave = xb.Waveform(*(jnp.asarray(x, jnp.float32) for x in ([0.0, EDGE], [0 * I, I])))
    loop = jax.tree.map(lambda x: x.astype(jnp.float32), inverse(jnp.asarray(G)))
    found = xb.simulate(loop, wave, TS.astype(jnp.float32))
    assert found.v["x"].dtype == jnp.float32 and int(found.status) == 0
    want = np.asarray(xb.simulate(inverse(jnp.asarray(G)), ramp(), TS).v["x"])
    assert np.abs(np.asarray(found.v["x"]) - want).max() < 1e-4 * np.abs(want).max()


def held(edge: float = 1e-7) -> tuple[Any, Any]:
    """A ramp to 1 within an edge, and times."""
    corners = jnp.asarray([0.0, edge, 1e-5])
    return xb.Waveform(corners, jnp.asarray([[0.0], [1.0], [1.0]])), jnp.linspace(0, 1e-5, 6)


def integral(t: Any, edge: float = 1e-7) -> Any:
    """Of the ramp, from 0 to `t`."""
    t = np.asarray(t)
    return np.where(t < edge, t**2 / (2 * edge), t - edge / 2)


def test_a_node_of_capacitors_starts_where_it_is_told() -> None:
    """A current into capacitors: `v = v_start + int i dt / c`, in every lane."""
    wave, ts = held()
    c, v = jnp.asarray([1e-12, 4e-12]), jnp.asarray([0.3, -0.2])
    made = lambda v: xb.Circuit(
        source=el.CurrentSource("a", jnp.zeros(2)), c=el.Capacitor("a", "0", c, v_start=v)
    )
    small = xb.Waveform(wave.t, 1e-7 * wave.v * jnp.ones((1, 2)))
    last = jax.jit(lambda v: xb.simulate(made(v), small, ts, rtol=1e-6).v["a"])
    want = np.asarray(v) + 1e-7 * integral(ts)[:, None] / np.asarray(c)
    np.testing.assert_allclose(last(v), want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jax.jacrev(lambda v: last(v)[-1])(v), np.eye(2), atol=1e-9)
    with pytest.raises(ValueError, match="node . of bus 'a'.* v_start"):
        xb.solve(made(v))  # there is no operating point


@pytest.mark.few(1)
@pytest.mark.parametrize("rtol", [1e-6, 1e-4])
def test_capacitors_share_their_charge(rtol: float) -> None:
    """Between floating nodes, through a resistor: an exponential, and no charge is lost."""
    c, v, r = np.array([1e-9, 2e-9]), np.array([1.0, -0.2]), 1e3
    ts = jnp.linspace(0, 3e-6, 7)
    made = lambda v: xb.Circuit(
        one=el.Capacitor("a", "0", c[0], v_start=v), r=el.Resistor("a", "b", r),
        two=el.Capacitor("b", "0", c[1], v_start=v_2), still=el.VoltageSource("z", 0.0),
        load=el.Resistor("z", "0", 1.0),
    )  # fmt: skip
    v_2 = v[1]
    wave = xb.Waveform(jnp.asarray([0.0]), jnp.zeros((1, 1)))

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def followed(v: Any) -> Any:
        found = xb.simulate(made(v), wave, ts, rtol=rtol)
        return found.v["a"][-1, 0], found.v

    (_, found), slope = followed(jnp.asarray(v[0]))
    end, tau = c @ v / c.sum(), r * c.prod() / c.sum()
    want = end + (v - end) * np.exp(-np.asarray(ts) / tau)[:, None]
    seen = np.stack([found["a"][:, 0], found["b"][:, 0]], axis=1)
    assert np.abs(seen - want).max() < 20 * rtol
    np.testing.assert_allclose(seen @ c, c @ v, rtol=1e-10)
    share = c[0] / c.sum()
    by_v = share + (1 - share) * np.exp(-float(ts[-1]) / tau)
    np.testing.assert_allclose(slope, by_v, atol=20 * rtol)


def test_an_ideal_integrator_has_a_start() -> None:
    """`v_out = -v_start - int v dt / (r c)`: without a gain there is no operating point."""
    wave, ts = held()
    made = lambda **start: xb.Circuit(
        source=el.VoltageSource("in", 0.0), r=el.Resistor("in", "e", 1e4),
        c=el.Capacitor("e", "out", 1e-9, **start), amplifier=el.OpAmp(minus="e", out="out"),
    )  # fmt: skip
    found = xb.simulate(made(v_start=0.25), wave, ts, rtol=1e-6)
    np.testing.assert_allclose(found.v["out"][:, 0], -0.25 - integral(ts) / 1e-5, rtol=1e-9)
    with pytest.raises(ValueError, match="node 0 of bus 'out'.* v_start"):
        xb.simulate(made(), wave, ts)


def test_starts_that_contradict_a_source_name_the_bus() -> None:
    wave, ts = held()
    made = xb.Circuit(
        source=el.VoltageSource("a", 0.0), c=el.Capacitor("a", "0", 1e-12, v_start=0.1),
        r=el.Resistor("a", "0", 1e3),
    )  # fmt: skip
    with pytest.raises(ValueError, match="element 'c'.*no unique solution"):
        xb.simulate(made, wave, ts)
