"""From codes to codes: gradients through every stage, to a loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax import encoding

ROWS, COLS, BITS = 8, 5, 4


def parameters() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "x": jnp.asarray(random.uniform(0.1, 0.9, ROWS)),
        "v_max": jnp.asarray(0.2),
        "g": jnp.asarray(random.uniform(1e-6, 1e-4, (ROWS, COLS))),
        "r_row": jnp.asarray(random.uniform(1.0, 5.0, (ROWS, COLS))),
        "r_source": jnp.asarray(40.0),
        "r_f": jnp.asarray(random.uniform(2e3, 4e3, COLS)),
        "gain": jnp.asarray(500.0),
        "lo": jnp.asarray(-0.4),
        "hi": jnp.asarray(-0.01),
    }


def product(p: dict[str, Any], dac: Any, adc: Any) -> Any:
    tia = xb.Tia(p["r_f"], p["gain"], v_low=-0.5, v_high=0.5)
    wires, drive = xb.Wires(p["r_row"], 2.0), xb.Drive(p["r_source"])
    crossbar = xb.Crossbar(xb.Ohmic(p["g"]), wires, drive, tia)
    return adc(xb.read(crossbar, dac(p["x"], p["v_max"])).output, p["lo"], p["hi"])


def test_gradients_through_drive_wires_amplifier_and_converter_reach_a_loss() -> None:
    """Straight through means: as if what rounding adds were constant. That is what differences are
    taken of; codes themselves do not move."""
    at = parameters()
    want = jnp.linspace(-0.3, -0.1, COLS)
    last = 2**BITS - 1

    def dac(x, v_max):
        return encoding.amplitude(x, encoding.Dac(BITS, v_max)).v[0]

    adc = lambda v, lo, hi: xb.Adc(BITS, lo, hi)(v)
    loss = lambda p: jnp.mean((product(p, dac, adc) - want) ** 2)
    grads = jax.jit(jax.grad(loss))(at)

    code_in = jnp.round(last * at["x"])
    v = product(at, dac, lambda v, lo, hi: v)
    u = last * (v - at["lo"]) / (at["hi"] - at["lo"])
    assert bool(jnp.all((u > 0) & (u < last)))
    added_in, added_out = code_in - last * at["x"], jnp.round(u) - u

    def smooth_dac(x, v_max):
        return v_max * (last * x + added_in) / last

    def smooth_adc(v, lo, hi):
        u = last * (v - lo) / (hi - lo)
        return lo + (hi - lo) * (u + added_out) / last

    smooth = jax.jit(lambda p: jnp.mean((product(p, smooth_dac, smooth_adc) - want) ** 2))
    np.testing.assert_allclose(smooth(at), loss(at), rtol=1e-12)
    for k, (name, leaf) in enumerate(at.items()):
        along = jnp.asarray(np.random.default_rng(k).normal(size=leaf.shape)) * jnp.abs(leaf)
        step = lambda t, name=name, leaf=leaf, along=along: smooth(at | {name: leaf + t * along})
        h = 1e-4
        slope = (8 * (step(h) - step(-h)) - (step(2 * h) - step(-2 * h))) / (12 * h)
        got = float(jnp.sum(grads[name] * along))
        # what rounding adds to the range of a converter has a slope of its own, in lo and hi
        assert abs(got - float(slope)) < 1e-6 * abs(float(slope)) + 1e-12, (name, got, slope)
