"""Lines that settle at once, against lines with their capacitance."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

N, C = 4, 2e-13  # lines, [F] per node
RATES = {"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4, "alpha_on": 3, "alpha_off": 3}


def crossbar(c: float) -> xb.Crossbar:
    w = jnp.asarray(np.random.default_rng(0).uniform(0.5e-9, 2.5e-9, (N, N)))
    wires = xb.Wires(50.0, 50.0, c_row=c, c_col=c)
    return xb.Crossbar(xb.VTEAM(w, 5e3, 2e5, **RATES), wires, xb.Drive(200.0))


def test_what_is_left_out_is_of_the_order_of_the_time_constant_over_the_width() -> None:
    """States after one pulse; and the constant is that of the bare lines."""
    width = 1e-7
    off, steps = [], []
    for c in (C, C / 4):
        slow = crossbar(c)
        fast, tau = xb.settled_lines(slow)
        assert fast.wires.c_row is None and fast.wires.c_col is None
        # a row: 200 ohm, then 4 nodes, each C behind 50 ohm; the slowest mode of this ladder
        r = 200 + 50 * np.arange(1, N + 1)
        nodes = np.minimum.outer(r, r)
        assert float(tau) == pytest.approx(c * np.linalg.eigvalsh(nodes)[-1], rel=1e-5)
        pulse = xb.waveform.pulse(1.0 * jnp.eye(N)[1], width, width / 10)
        states: list[Any] = []
        for array in (slow, fast):
            found = xb.simulate(array, pulse, jnp.asarray([0.0, 1.5 * width]), rtol=1e-6)
            states.append(np.asarray(found.crossbar.cell.w))  # pyright: ignore
            steps.append(int(found.accepted))
        moved = np.abs(states[1] - np.asarray(slow.cell.w)).max()  # pyright: ignore
        off.append(np.abs(states[0] - states[1]).max() / moved)
        assert 0 < off[-1] < float(tau) / width
    assert off[1] < 0.4 * off[0] and steps[1] < steps[0]


def test_lines_without_capacitance_have_nothing_to_leave_out() -> None:
    plain = xb.Crossbar(xb.Ohmic(jnp.full((2, 2), 1e-5)), xb.Wires(1.0, 1.0))
    with pytest.raises(ValueError, match="no capacitance"):
        xb.settled_lines(plain)
