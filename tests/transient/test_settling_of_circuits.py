"""Settling times of loops against exponentials, and their gradients against differences."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import brentq

import xbarjax as xb
from xbarjax import elements as el

N, GBW, EDGE, BITS, UNTIL = 3, 1e6, 1e-8, 6, 4e-6
RNG = np.random.default_rng(0)
G = RNG.uniform(1e-6, 1e-5, (N, N)) + np.eye(N) * 5e-5
I = RNG.uniform(-1e-6, 1e-6, N)  # noqa: E741


def loop(g: Any = G, gain: Any = np.inf, gbw: Any = GBW, r: Any = 0.0) -> xb.Circuit:
    return xb.Circuit(
        array=el.Array(xb.Ohmic(jnp.asarray(g)), xb.Wires(r, r), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=gain, gbw=gbw),
        source=el.CurrentSource(to="e", i=jnp.zeros(N)),
    )


def exact() -> np.ndarray:
    """Last entry into the band by the exponential of `dx/dt = -w U (G^T x + i)` after a ramp."""
    at = G.T
    rates = -2 * np.pi * GBW * at / at.sum(1)[:, None]
    end = -np.linalg.solve(at, I)
    band = np.abs(end).max() / 2 ** (BITS + 1)
    # after the ramp the distance is the mean of exponentials that began within it
    lag = np.linalg.solve(rates * EDGE, expm(rates * EDGE) - np.eye(N))
    off = lambda t: expm(rates * (t - EDGE)) @ lag @ -end
    ts = np.linspace(EDGE, UNTIL, 4000)
    outside = np.abs([off(t) for t in ts]) > band
    found = []
    for k in range(N):
        last = np.flatnonzero(outside[:, k])[-1]
        found.append(brentq(lambda t, k=k: abs(off(t)[k]) - band, ts[last], ts[last + 1]))
    return np.array(found)


def test_a_loop_settles_when_its_exponentials_do() -> None:
    options: Any = {"bus": "x", "edge": EDGE, "points": 64}
    got = xb.settling_time(loop(), I, BITS, until=UNTIL, **options)
    np.testing.assert_allclose(got, exact(), rtol=3e-3)
    short = xb.settling_time(loop(), {"source": I}, BITS, until=1e-7, **options)
    assert np.isinf(short).any()


def test_gradients_are_those_of_differences() -> None:
    """By every number of the loop, its input and the edge, to 1e-5."""
    at = {
        "g": jnp.asarray(G), "gain": jnp.asarray(1e3), "gbw": jnp.asarray(GBW),
        "r": jnp.asarray(20.0), "i": jnp.asarray(I), "edge": jnp.asarray(3e-8),
    }  # fmt: skip

    def times(p: dict[str, Any]) -> Any:
        made = loop(p["g"], p["gain"], p["gbw"], p["r"])
        options: Any = {"points": 48, "steps_per_interval": 2, "until": UNTIL}
        return xb.settling_time(made, p["i"], BITS, bus="x", edge=p["edge"], **options)

    @jax.jit
    def with_slopes(p: dict[str, Any]) -> Any:
        found, back = jax.vjp(times, p)
        return found, jax.vmap(back)(jnp.eye(N))[0]

    total, slopes = with_slopes(at)
    for name, x in at.items():
        h = 1e-5 * x * (1 if jnp.ndim(x) == 0 else jnp.asarray(RNG.uniform(-1, 1, x.shape)))
        ahead, back = (np.asarray(with_slopes(at | {name: x + s * h})[0]) for s in (1, -1))
        want = (ahead - back) / 2
        got = [float(jnp.vdot(slope, h)) for slope in slopes[name]]
        assert np.abs(got - want).max() < 1e-5 * np.abs(want).max(), name
    # with an edge that takes no time, times are in proportion to 1 / gbw
    np.testing.assert_allclose(slopes["gbw"] * GBW, -(total - 0.5 * at["edge"]), rtol=2e-2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bus": "y"}, "bus is 'y'; the buses of the circuit are 'e', 'x'"),
        ({"bus": None}, "bus is None; name the one that settles"),
        ({"v_in": {"amps": I}}, "v_in names 'amps', which is no source"),
        ({"points": 1}, "points is 1; it must be at least 2"),
        ({"until": EDGE}, "longer than the edge of"),
    ],
)
def test_bad_input_gets_a_sentence(change: dict[str, Any], said: str) -> None:
    given = {"v_in": I, "bus": "x", "edge": EDGE, "until": UNTIL, "bits": 4} | change
    with pytest.raises(ValueError, match=said):
        xb.settling_time(loop(), **given)


def test_an_array_takes_no_bus() -> None:
    array: Any = xb.Crossbar(xb.Ohmic(jnp.asarray(G)), xb.Wires(c_row=1e-15), xb.Drive(10.0))
    with pytest.raises(ValueError, match="are for circuits"):
        xb.settling_time(array, I, 4, edge=1e-12, until=1e-9, bus="x")
