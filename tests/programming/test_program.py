"""Write-verify through wires and gates: what it leaves against reads and transients of the whole
array, half-selected cells, noise, and bad input."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import schemes

US = 1e-6
KEY = jax.random.key(3)


def devices(shape: tuple[int, int], **more: Any) -> xb.VTEAM:
    w = np.random.default_rng(0).uniform(1.0, 2.5, shape) * 1e-9
    rates = {"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4} | more
    return xb.VTEAM(jnp.asarray(w), 5e3, 2e5, alpha_on=3.0, alpha_off=3.0, **rates)


def targets(shape: tuple[int, int]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).uniform(1e-5, 9e-5, shape))


def gated(shape: tuple[int, int] = (3, 4), parallel: bool = False) -> xb.Crossbar:
    cell = xb.Series(xb.Mosfet(2e-3, 0.4, 0.0), devices(shape))
    return xb.Crossbar(cell, xb.Wires(2.0, 1.0, parallel=parallel), xb.Drive(5.0))


def method(**more: Any) -> xb.WriteVerify:
    given: dict[str, Any] = {
        "set": xb.Pulses(xb.Staircase(-0.45, -0.05, -2.0), 0.1 * US, 0.01 * US, v_gate=2.0),
        "reset": xb.Pulses(xb.Staircase(0.45, 0.05, 2.0), 0.1 * US, 0.01 * US, v_gate=3.0),
        "acceptance": 2e-6,
        "v_read": 0.2,
        "v_gate_read": 3.0,
        "read_noise": 2e-7,
        "v_spread": 0.01,
    }
    return xb.WriteVerify(**(given | more))


def row_bias(shape: tuple[int, int], row: int, v: Any, v_gate: float) -> xb.Bias:
    """All rows at 0 V but one, and columns below it by the voltages of its cells."""
    top = jnp.maximum(jnp.max(v), 0)
    rows = jnp.arange(shape[0]) == row
    v_row, v_col = jnp.where(rows, top, 0.0), top - v
    return xb.Bias(v_row, v_row, v_col, v_col, jnp.where(rows, v_gate, -1.0))


def test_every_cell_of_a_gated_array_comes_into_its_window() -> None:
    crossbar, target = gated(), targets((3, 4))
    done = xb.program(crossbar, target, method(), key=KEY)
    assert done.good.all() and int(done.status) == 0
    # the last verify found all cells of a row in their windows at once, but for its noise
    assert np.abs(np.asarray(done.g - target)).max() < 2e-6 + 4 * 2e-7
    assert (done.energy > 0).all() and (done.disturb == 0).all()
    assert (done.pulses >= 1).all() and int(done.pulses.max()) < 50
    counted = np.isfinite(np.asarray(done.v)).sum(-1)
    np.testing.assert_array_equal(counted, done.pulses)
    np.testing.assert_array_equal((np.asarray(done.v) < 0).sum(-1), done.sets)
    assert set(np.unique(np.asarray(done.v_gate)[np.isfinite(done.v)])) == {2.0, 3.0}
    # the whole array, with the gates of one row on
    for row in range(3):
        bias = row_bias((3, 4), row, jnp.full((4,), 0.2), 3.0)
        read = xb.read(done.crossbar, bias)
        np.testing.assert_allclose(read.i_out / 0.2, done.g[row], rtol=1e-6)


def test_a_row_alone_is_written_as_in_the_whole_array() -> None:
    crossbar = gated()
    strong = {
        name: xb.Pulses(
            xb.Staircase(sign * 0.9, sign * 0.05, sign * 2.0), 0.1 * US, 0.01 * US, gate
        )
        for name, sign, gate in (("set", -1, 2.0), ("reset", 1, 3.0))
    }
    done = xb.program(crossbar, targets((3, 4)), method(most=1, v_spread=0.0, **strong), key=KEY)
    cell: Any = crossbar.cell
    want = np.asarray(cell.second.w)
    for row in range(3):
        for polarity in (1, -1):
            v = np.asarray(done.v)[row, :, 0]
            v = jnp.asarray(np.where(np.isfinite(v) & (np.sign(v) == -polarity), v, 0.0))
            top = row_bias((3, 4), row, v, 2.0 if polarity > 0 else 3.0)
            at = jnp.asarray([0, 0.01, 0.1, 0.11]) * US
            up_down = lambda x, at=at: xb.Waveform(at, jnp.stack([0 * x, x, x, 0 * x]))
            assert top.v_gate is not None
            gate = xb.Waveform(at[:1], top.v_gate[None])
            wave = xb.BiasWaveform(up_down(top.v_row), up_down(top.v_col), gate)
            crossbar = whole(crossbar, wave, at[jnp.asarray([0, 3])]).crossbar
    left: Any = crossbar.cell
    after: Any = done.crossbar.cell
    np.testing.assert_allclose(after.second.w, left.second.w, rtol=0, atol=2e-3 * 3e-9)
    assert np.abs(want - np.asarray(left.second.w)).max() > 0.05 * 3e-9


@eqx.filter_jit
def whole(crossbar: xb.Crossbar, wave: xb.BiasWaveform, ts: jax.Array) -> Any:
    return xb.simulate(crossbar, wave, ts)


def test_cells_one_by_one_are_written_by_ramps_of_their_gates() -> None:
    """With source lines along the bit lines."""
    crossbar, target = gated((2, 3), parallel=True), targets((2, 3))
    writing = method(
        set=xb.Pulses(-1.2, 0.1 * US, 0.01 * US, v_gate=xb.Staircase(0.6, 0.02, 2.5)),
        acceptance=4e-6,
        select=xb.SelectCells(),
    )
    done = xb.program(crossbar, target, writing, key=KEY)
    assert done.good.all()
    v, gate = np.asarray(done.v), np.asarray(done.v_gate)
    assert np.unique(v[v < 0]).tolist() == [-1.2] and len(np.unique(gate[v < 0])) > 3


def passive(scheme: Any, v: float, times: int = 1, **more: Any) -> xb.Programmed:
    """A passive array after write-verify by a select scheme, with voltages from `v` [V] on, once or
    several times."""
    shape = (3, 3)
    pulses = lambda sign: xb.Pulses(
        xb.Staircase(sign * v, sign * 0.05, sign * 0.75), 0.1 * US, 0.01 * US
    )
    writing = method(
        set=pulses(-1),
        reset=pulses(1),
        v_gate_read=None,
        select=xb.SelectCrosspoints(scheme),
        most=200,  # with some keys a cell takes more than the usual 50
    )
    crossbar, done = xb.Crossbar(devices(shape, **more), xb.Wires(2.0, 2.0)), None
    for key in (KEY, *jax.random.split(KEY, times - 1)):
        done = xb.program(crossbar, targets(shape), writing, key=key)
        crossbar = done.crossbar
    assert done is not None
    return done


@pytest.mark.parametrize("scheme", [schemes.half, schemes.third])
def test_half_selected_cells_below_their_threshold_stay(scheme: Any) -> None:
    done = passive(scheme, 0.45)
    assert done.good.all() and np.abs(done.disturb).max() < 1e-15


def test_lower_thresholds_leave_a_disturb_that_v_over_3_makes_smaller() -> None:
    weak: dict[str, Any] = {"v_on": -0.15, "v_off": 0.15, "k_on": -3e-5, "k_off": 3e-5}
    half, third = (passive(s, 0.25, **weak) for s in (schemes.half, schemes.third))
    most = lambda done: np.abs(done.disturb).max()
    assert most(half) > 1e-8 and most(third) < 0.3 * most(half)
    for done in (half, third):
        cell: Any = done.crossbar.cell
        now = cell.current(jnp.full((3, 3), 0.2), jnp.zeros((3, 3))) / 0.2
        off = np.abs(now - done.g - done.disturb)  # reads pass the wires
        assert done.good.all() and off.max() < 2e-3 * np.asarray(now).max()
        assert done.disturb[-1, -1] == 0  # nothing came after it


def test_cells_that_pulses_of_others_pulled_out_come_back_when_written_again() -> None:
    weak: dict[str, Any] = {"v_on": -0.15, "v_off": 0.15, "k_on": -3e-4, "k_off": 3e-4}
    once, again, third = (passive(schemes.half, 0.25, times, **weak) for times in (1, 2, 3))
    off = lambda done: np.abs(done.g - targets((3, 3)) + done.disturb)
    assert once.good.all() and (off(once) > 3e-6).sum() >= 2
    assert again.good.all() and (off(again) < 3e-6).all()
    stay = off(again) < 1e-6  # in their windows, whatever the noise of a read
    assert stay.any() and (np.asarray(third.pulses)[stay] == 0).all()


def test_cells_that_miss_are_told_and_the_rest_is_kept() -> None:
    wide = jnp.where(jnp.arange(3)[:, None] == 0, 1e-3, 2e-6) * jnp.ones((1, 4))
    done = xb.program(gated(), targets((3, 4)), method(acceptance=wide, most=1), key=KEY)
    assert done.good[0].all() and (done.pulses[0] == 0).all()
    missed = ~np.asarray(done.good)
    assert missed[1:].any() and (np.asarray(done.pulses)[missed] == 1).all()


def test_arrays_of_a_batch_are_written_alike() -> None:
    writing, target, keys = method(most=6), targets((2, 2)), jax.random.split(KEY, 2)
    alone = [xb.program(gated((2, 2)), target, writing, key=key) for key in keys]
    run = lambda key: xb.program(gated((2, 2)), target, writing, key=key)
    batch = jax.jit(jax.vmap(run))(keys)
    for k, one in enumerate(alone):
        np.testing.assert_allclose(batch.g[k], one.g, rtol=1e-6)
        np.testing.assert_array_equal(batch.sets[k], one.sets)
    assert not np.array_equal(batch.g[0], batch.g[1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: xb.program(gated(), targets((3, 4)) * 1e3, method(), key=KEY),
            r"target\[0, 0\] is",
        ),
        (lambda: xb.program(gated(), targets((3, 3)), method(), key=KEY), "target has shape"),
        (lambda: method(read_noise=1.5e-6), "chase the noise"),
        (lambda: method(v_read=0.0), "a voltage other than 0"),
        (lambda: xb.Staircase(0.5, -0.1, 1.0), "leads from start"),
        (lambda: xb.Pulses(0.5, 1e-9, 1e-8), "a pulse must be longer"),
        (
            lambda: xb.program(gated(), targets((3, 4)), method(v_gate_read=None), key=KEY),
            "v_gate_read is None",
        ),
        (
            lambda: xb.program(xb.Crossbar(devices((3, 4))), targets((3, 4)), method(), key=KEY),
            "the cells have none",
        ),
        (
            lambda: xb.program(
                gated(),
                targets((3, 4)),
                method(set=xb.Pulses(-1.0, 1e-7, 1e-8, v_gate=xb.Staircase(1.0, 0.1))),
                key=KEY,
            ),
            "set.v_gate rises in steps",
        ),
        (
            lambda: xb.program(
                xb.Crossbar(xb.Ohmic(jnp.ones((2, 2)) * 1e-5)), targets((2, 2)), method(), key=KEY
            ),
            "moves the states of devices, and Ohmic has none",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
