"""Noise by the adjoint against noise that is sampled in a dense nodal solve of the circuit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.dense import Circuit

ROWS, COLS, SAMPLES = 6, 5, 10_000
R_ROW, R_COL, R_SOURCE = 4.0, 6.0, 50.0
K = 1.380649e-23
BAND, T, FLICKER, E_N, I_N = (1e3, 1e8), 350.0, 1e-7, 2e-8, 3e-12
R_F, GAIN = 2e3, 300.0


def array() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.uniform(1e-6, 1e-3, (ROWS, COLS)), random.uniform(-0.2, 0.2, ROWS)


def crossbar(kind: str) -> xb.Crossbar:
    readout = {
        "tia": lambda: xb.Tia(R_F, GAIN),
        "ground": lambda: xb.VirtualGround(30.0),
        "voltage": lambda: xb.VoltageSense(),
        "both": lambda: xb.VirtualGround(30.0, 40.0),
    }[kind]()
    return xb.Crossbar(
        xb.Ohmic(jnp.asarray(array()[0])), xb.Wires(R_ROW, R_COL), xb.Drive(R_SOURCE), readout
    )


def sampled(kind: str, sources: tuple[str, ...]) -> np.ndarray:
    """Outputs (cols, samples), with the noise of those sources."""
    g, v = array()
    random, width = np.random.default_rng(1), BAND[1] - BAND[0]
    i_cell = np.asarray(xb.read(crossbar(kind), jnp.asarray(v)).i_cell)
    c = Circuit()

    def normal(source: str, density: float) -> Any:
        on = source in sources
        return random.normal(size=SAMPLES) * np.sqrt(density * width) if on else np.zeros(SAMPLES)

    def wire(p: Any, q: Any, r: float) -> None:
        middle = ("wire", p, q)
        c.resistor(p, middle, r)
        c.voltage(middle, q, normal("wires", 4 * K * T * r))

    for i in range(ROWS):
        c.voltage(("source", i), None, np.full(SAMPLES, v[i]))
        wire(("source", i), ("w", i, 0), R_SOURCE + R_ROW)
        for j in range(COLS):
            if j:
                wire(("w", i, j - 1), ("w", i, j), R_ROW)
            c.conductor(("w", i, j), ("b", i, j), g[i, j])
            c.current(("w", i, j), ("b", i, j), normal("thermal", 4 * K * T * g[i, j]))
            flicker = FLICKER * i_cell[i, j] ** 2 * np.log(BAND[1] / BAND[0]) / width
            c.current(("w", i, j), ("b", i, j), normal("flicker", flicker))
    numbers, taken = [], []
    for j in range(COLS):
        for i in range(ROWS - 1):
            wire(("b", i, j), ("b", i + 1, j), R_COL)
        end, sense = ("b", ROWS - 1, j), ("sense", j)
        if kind == "voltage":
            c.current(end, None, normal("amplifier", I_N**2))
            taken.append(normal("amplifier", E_N**2))
            continue
        wire(end, sense, R_COL)
        c.current(sense, None, normal("amplifier", I_N**2))
        e_n = normal("amplifier", E_N**2)
        if kind == "tia":
            c.resistor(sense, ("out", j), R_F)
            c.current(sense, ("out", j), normal("feedback", 4 * K * T / R_F))
            c.amplifier(("out", j), e_n, sense, GAIN)
        else:
            c.resistor(sense, ("held", j), 30.0)
            numbers.append([c.voltage(("held", j), None, e_n)])
        if kind == "both":
            c.current(("b", 0, j), None, normal("amplifier", I_N**2))
            c.resistor(("b", 0, j), ("far", j), 40.0)
            e_n = normal("amplifier", E_N**2)
            numbers[-1].append(c.voltage(("far", j), None, e_n))
    v_node, currents = c.solve()
    if kind == "tia":
        return np.stack([v_node["out", j] for j in range(COLS)])
    if kind == "voltage":
        return np.stack([v_node["b", ROWS - 1, j] + taken[j] for j in range(COLS)])
    return np.stack([-currents[n].sum(0) for n in numbers])


PARTS = ("thermal", "flicker", "wires", "feedback", "amplifier")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("tia", PARTS),
        ("ground", ("thermal", "flicker", "wires", "amplifier")),
        ("voltage", ("thermal", "flicker", "wires", "amplifier")),
        ("both", ("thermal", "flicker", "wires", "amplifier")),
    ],
)
def test_the_adjoint_agrees_with_ten_thousand_samples(kind: str, parts: tuple[str, ...]) -> None:
    options = {"temperature": T, "flicker": FLICKER, "e_n": E_N, "i_n": I_N}
    found = xb.noise(crossbar(kind), jnp.asarray(array()[1]), band=BAND, **options)
    for part in parts:
        want = sampled(kind, (part,)).var(axis=1)
        # a variance of n samples has a relative deviation of sqrt(2 / n): four of them
        np.testing.assert_allclose(getattr(found, part), want, rtol=4 * np.sqrt(2 / SAMPLES))
    want = sampled(kind, parts).var(axis=1)
    np.testing.assert_allclose(found.variance, want, rtol=4 * np.sqrt(2 / SAMPLES))


def test_a_wrong_source_would_be_seen() -> None:
    found = xb.noise(crossbar("tia"), jnp.asarray(array()[1]), band=BAND, temperature=1.1 * T)
    want = sampled("tia", ("thermal",)).var(axis=1)
    assert np.max(np.abs(np.asarray(found.thermal) / want - 1)) > 4 * np.sqrt(2 / SAMPLES)


def test_one_cell_is_its_closed_form() -> None:
    """`4 k T (G + 1 / r_f) r_f^2` and `e_n^2 (1 + G r_f)^2` of an ideal amplifier."""
    g, r_f, e_n, i_n = 1e-4, 1e4, 5e-9, 1e-12
    x = xb.Crossbar(xb.Ohmic(jnp.full((1, 1), g)), readout=xb.Tia(r_f))
    n = xb.noise(x, jnp.full((1,), 0.1), band=(1.0, 1e6), temperature=300.0, e_n=e_n, i_n=i_n)
    width = 1e6 - 1.0
    np.testing.assert_allclose(n.thermal, 4 * K * 300 * g * r_f**2 * width, rtol=1e-12)
    np.testing.assert_allclose(n.feedback, 4 * K * 300 * r_f * width, rtol=1e-12)
    want = (e_n**2 * (1 + g * r_f) ** 2 + i_n**2 * r_f**2) * width
    np.testing.assert_allclose(n.amplifier, want, rtol=1e-12)


def test_straps_and_ends_without_resistance_have_their_closed_forms() -> None:
    """`i_n (1 - G / S)` into an input of r_in beside a strap, `S = G + 1 / r_strap + 1 / r_in`."""
    g, width = jnp.full((1, 1), 1e-3), 1e6 - 1.0
    at = lambda readout, **more: xb.noise(
        xb.Crossbar(xb.Ohmic(g), readout=readout), jnp.full((1,), 0.1), band=(1.0, 1e6), **more
    )
    n = at(xb.VirtualGround(100.0, r_strap=50.0), i_n=1e-12)
    want = 1e-24 * (1 - 1e-3 / (1e-3 + 1 / 50 + 1 / 100)) ** 2 * width
    np.testing.assert_allclose(n.amplifier, want, rtol=1e-12)
    for readout in (xb.Tia(0.0), xb.VoltageSense(0.0)):
        assert float(at(readout).variance[0]) == 0
    n = at(xb.VoltageSense(), e_n=1e-8, i_n=1e-12)
    np.testing.assert_allclose(n.amplifier, (1e-16 + (1e-12 / 1e-3) ** 2) * width, rtol=1e-12)
    near = at(xb.VoltageSense(1e7), e_n=1e-8, i_n=1e-12)
    np.testing.assert_allclose(near.amplifier, n.amplifier, rtol=1e-3)


@pytest.mark.slow
def test_noise_of_transistors_has_gradients() -> None:
    def rms(v_gate):
        fet = xb.Mosfet(beta=1e-3, v_t=0.4, v_gate=v_gate, n=1.3)
        cell = xb.Series(fet, xb.Ohmic(jnp.full((3, 2), 1e-4)))
        x = xb.Crossbar(cell, xb.Wires(1.0, 1.0), readout=xb.Tia(1e4, 1e3))
        v = jnp.asarray([0.1, 0.2, 0.05])
        return jnp.sum(xb.noise(x, v, band=(1.0, 1e6), flicker=1e-6).rms)

    slope, h = jax.grad(rms)(0.9), 1e-4
    np.testing.assert_allclose(slope, (rms(0.9 + h) - rms(0.9 - h)) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"band": (1e3, 1e3)}, "band is"),
        ({"band": (0.0, 1e3)}, "band is"),
        ({"band": (1.0, 2.0), "flicker": -1.0}, "flicker is -1"),
        ({"band": (1.0, 2.0), "e_n": np.inf}, "e_n is inf"),
    ],
)
def test_bad_noise_is_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        xb.noise(crossbar("ground"), jnp.asarray(array()[1]), **options)
    diode = xb.Diode(i_s=1e-12, n=1.0)
    junction = xb.Crossbar(xb.Series(diode, xb.Ohmic(jnp.ones((1, 1)))))
    with pytest.raises(ValueError, match="Diode is a junction"):
        xb.noise(junction, jnp.ones(1), band=(1.0, 2.0))
    clamped = xb.Crossbar(xb.Ohmic(jnp.ones((1, 1))), readout=xb.Tia(1.0, 9.0, v_low=-1, v_high=1))
    with pytest.raises(ValueError, match="linear readout"):
        xb.noise(clamped, jnp.ones(1), band=(1.0, 2.0))
