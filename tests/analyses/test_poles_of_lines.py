"""Poles of loops whose lines have capacitance, against the pencil of every node of the array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.mna import Net
from xbarjax import elements as el

N, GAIN = 5, 1e3
GBW = 10.0 ** np.arange(6, 12.6, 0.5)  # [Hz] from far slower than the lines to faster


def made(seed: int) -> tuple[Any, Any, Any]:
    """Conductances [S], segments [ohm] and capacitances [F] of a random array."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 1e-4, (N, N)) * rng.choice([0.1, 1]) + np.eye(N) * 5e-5 * N
    c = rng.uniform(0.1e-15, 2e-15, (3, N, N))
    return g, rng.uniform(0.5, 40, (N, N)), c


def array(g: Any, r: Any, c: Any) -> tuple[xb.Ohmic, xb.Wires]:
    return xb.Ohmic(g), xb.Wires(r, r, c_row=c[0], c_col=c[1], c_cell=c[2])


@jax.jit
def slowest(g: Any, r: Any, c: Any) -> Any:
    return xb.slowest_mode(xb.Crossbar(*array(g, r, c)))


@jax.jit
def poles(g: Any, r: Any, c: Any, gbw: Any) -> Any:
    return xb.poles(
        xb.Circuit(
            array=el.Array(*array(g, r, c), rows="x", cols="e"),
            amps=el.OpAmp(minus="e", out="x", gain=GAIN, gbw=gbw),
            source=el.CurrentSource(to="e", i=jnp.zeros(N)),
        )
    )


def exact(g: Any, r: Any, c: Any, gbw: float) -> np.ndarray:
    net, bus = Net(), lambda name: [f"{name}{k}" for k in range(N)]
    net.array(g, r, r, {"rows": bus("x"), "cols": bus("e")}, "a", tuple(c))
    for k in range(N):
        net.amplifier(f"e{k}", "0", f"x{k}", GAIN, gbw)
    return net.poles()


def errors(seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Of poles `p` up to a tenth of the rate of the lines: `|p|` times the lines' slowest time
    constant, and the relative error."""
    ratios, found = [], []
    for seed in seeds:
        at = made(seed)
        tau = float(slowest(*at))
        for gbw in GBW:
            got = np.asarray(poles(*at, gbw))
            for p in exact(*at, gbw):
                if tau * abs(p) < 0.1:
                    ratios.append(tau * abs(p))
                    found.append(np.abs(got - p).min() / abs(p))
    return np.array(ratios), np.array(found)


@pytest.mark.parametrize("count", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_the_error_of_a_pole_is_the_time_of_the_lines_over_its_own(count: int) -> None:
    """Nine in ten err by less than this ratio, the others by up to some times as much: those next
    to another pole. Poles slower than a thousandth of the lines err by a tenth of it at most."""
    ratio, error = errors(range(count))
    assert len(ratio) > 80 * count and ratio.max() > 0.05
    assert np.quantile(error / ratio, 0.9) < 1
    assert (error < 10 * ratio).all()
    slow, fast = ratio < 1e-3, ratio > 1e-2
    assert slow.sum() > 20 * count and (error < 0.1 * ratio)[slow].all()
    assert np.median(error[fast] / ratio[fast]) > 0.1  # no better than stated
