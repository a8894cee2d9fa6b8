"""Open-loop programming and programming by gradient descent, and the table of their pulses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import variability as va

SHAPE = (3, 4)
KEY = jax.random.key(3)


def gated(r: float = 2.0) -> xb.Crossbar:
    w = jnp.asarray(np.random.default_rng(0).uniform(1.0, 2.5, SHAPE) * 1e-9)
    rates = {"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4}
    device = xb.VTEAM(w, 5e3, 2e5, alpha_on=3.0, alpha_off=3.0, **rates)
    cell = xb.Series(xb.Mosfet(2e-3, 0.4, 0.0), device)
    return xb.Crossbar(cell, xb.Wires(r, r), xb.Drive(25.0 * r))


def pulses(sign: float) -> xb.Pulses:
    stairs = xb.Staircase(sign * 0.45, sign * 0.05, sign * 2.0)
    return xb.Pulses(stairs, 1e-7, 1e-8, v_gate=2.0 if sign < 0 else 3.0)


COMMON: dict[str, Any] = {"set": pulses(-1), "reset": pulses(1), "v_read": 0.2, "v_gate_read": 3.0}
TARGET = jnp.asarray(np.random.default_rng(1).uniform(1e-5, 9e-5, SHAPE))


def product_error(method: xb.GradientProgramming, crossbar: xb.Crossbar) -> float:
    x = 0.2 * np.random.default_rng(2).choice([-1.0, 1.0], (40, SHAPE[0]))
    of = jax.jit(jax.vmap(lambda x: method.product(crossbar, x).i_out))
    want = x @ np.asarray(TARGET)
    return float(np.linalg.norm(of(jnp.asarray(x)) - want) / np.linalg.norm(want))


def test_one_pulse_of_an_exact_model_brings_every_cell_to_its_target() -> None:
    """Also cells whose voltages depend on what their neighbours take. A model without wires
    misses."""
    method = xb.OpenLoop(**COMMON, acceptance=5e-7, model=gated())
    done = xb.program(gated(), TARGET, method, key=KEY)
    assert done.good.all() and int(done.status) == 0
    assert np.abs(np.asarray(done.g - TARGET)).max() < 5e-7
    np.testing.assert_array_equal(done.pulses, 1)
    blind = xb.OpenLoop(**COMMON, acceptance=5e-7, model=gated(0.0))
    missed = xb.program(gated(), TARGET, blind, key=KEY)
    assert missed.good.mean() < 0.2 and int(missed.status) == 0
    # the wires take voltage: all pulses do too little
    way = np.where(np.asarray(missed.sets) > 0, 1, -1)
    assert (way * np.asarray(missed.g - TARGET) < 0).mean() > 0.8


def test_pulses_down_the_gradient_make_products_right_as_currents_of_all_rows_flow() -> None:
    method = xb.GradientProgramming(**COMMON, acceptance=4e-6, least=1e-6, steps=40, inputs=64)
    done = xb.program(gated(), TARGET, method, key=KEY)
    assert int(done.status) == 0 and done.v.shape == (*SHAPE, 40)
    assert product_error(method, done.crossbar) < 0.02 < product_error(method, gated())
    np.testing.assert_array_equal(np.isfinite(np.asarray(done.v)).sum(-1), done.pulses)
    # step by step, row by row, sets before resets
    table = method.table(done)
    assert len(table) == int(done.pulses.sum())
    assert (np.diff(table["step"]) >= 0).all() and table["step"][-1] < 40 * SHAPE[0] * 2
    for pulse in table[:: len(table) // 7]:
        assert pulse["v"] in np.asarray(done.v)[pulse["row"], pulse["col"]]
        assert pulse["v_gate"] == (2.0 if pulse["v"] < 0 else 3.0)
    # a cell climbs its staircase while the polarity stays, also over steps without a pulse
    for v in np.asarray(done.v).reshape(-1, 40):
        given = v[np.isfinite(v)]
        same = np.sign(given[1:]) == np.sign(given[:-1])
        climbed = np.where(same, np.minimum(np.abs(given[:-1]) + 0.05, 2.0), 0.45)
        np.testing.assert_allclose(np.abs(given), [0.45, *climbed], rtol=1e-12)
    at_once = table[table["step"] == table["step"][0]]
    assert len(set(at_once["row"])) == 1 and len(set(np.sign(at_once["v"]))) == 1


def test_orthogonal_inputs_show_each_row_without_the_others() -> None:
    wide = xb.GradientProgramming(**COMMON, acceptance=4e-6, least=1e-6, orthogonal=True, inputs=8)
    seen = [np.asarray(wide.signs(6, np.float64, key)) for key in jax.random.split(KEY, 3)]
    for x in seen:
        assert set(x.ravel()) == {-1, 1}
        np.testing.assert_array_equal(x.T @ x, 8 * np.eye(6))
    assert (seen[0] != seen[1]).any() and (seen[1] != seen[2]).any()


def test_numbers_of_the_array_and_its_targets_set_the_dtype() -> None:
    """A method made before float64 was enabled is taken in float64."""
    with jax.enable_x64(False):
        pairs = {"set": pulses(-1), "reset": pulses(1), "v_read": 0.2, "v_gate_read": 3.0}
        single = xb.WriteVerify(**pairs, acceptance=4e-6, most=1)
    assert single.set.v.start.dtype == jnp.float32
    done = jax.eval_shape(lambda c: xb.program(c, TARGET, single, key=KEY), gated())
    assert done.g.dtype == done.v.dtype == jnp.float64


def test_a_refresh_brings_back_what_has_aged() -> None:
    verify = xb.WriteVerify(**COMMON, acceptance=2e-6, most=60)
    ageing = va.At(lambda c: c.cell.second.w, va.Spread(0.1))
    once = xb.Refresh(verify, ageing, 0)
    first = xb.program(gated(), TARGET, once, key=KEY)
    done = xb.program(gated(), TARGET, xb.Refresh(verify, ageing, 2), key=KEY)
    assert first.good.all() and done.good.all() and int(done.status) == 0
    # cells that were still in their windows got no pulses, the others some
    more = np.asarray(done.pulses - first.pulses)
    assert (more > 0).any() and (more == 0).any()
    assert (np.asarray(done.energy - first.energy)[more > 0] > 0).all()
    assert np.abs(np.asarray(done.g - TARGET)).max() < 2e-6
    # the table plays all pulses of one writing before those of the next, row by row within each
    table = xb.Refresh(verify, ageing, 2).table(done)
    passes = np.isfinite(np.asarray(done.v)).reshape(*SHAPE, 3, 60)
    begin = 0
    for number in np.moveaxis(passes.sum(-1), -1, 0):
        mine = table[begin : begin + number.sum()]
        np.testing.assert_array_equal(
            [((mine["row"] == r) & (mine["col"] == c)).sum() for r, c in np.ndindex(SHAPE)],
            number.ravel(),
        )
        assert (np.diff(mine["row"].astype(int)) >= 0).all()
        begin += len(mine)
    assert begin == len(table) and (np.diff(table["step"].astype(int)) >= 0).all()
    with pytest.raises(ValueError, match="holds up to 180 pulses of a cell"):
        verify.table(done)


def test_pulses_of_one_sign_have_no_table() -> None:
    of = lambda sign: xb.Pulses(xb.Staircase(sign * 0.5), 1e-7, 1e-8)
    none = jnp.full((1, 1, 1), jnp.nan)
    zero = jnp.zeros((1, 1))
    count = zero.astype(int)
    left = xb.Programmed(
        gated(), zero, zero > 0, count, count, zero, zero, none, none, jnp.zeros((), int)
    )
    method = xb.WriteVerify(of(1.0), of(2.0), acceptance=1e-6, v_read=0.1)
    with pytest.raises(ValueError, match="set pulses start at 0.5 V and reset pulses at 1 V"):
        method.table(left)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: xb.OpenLoop(
                xb.Pulses(-0.5, 1e-7, 1e-8), pulses(1), acceptance=1e-6, v_read=0.2
            ),
            "set.v has no stop",
        ),
        (
            lambda: xb.program(
                gated(),
                TARGET,
                xb.OpenLoop(**COMMON, acceptance=1e-6, model=xb.Crossbar(xb.Ohmic(TARGET))),
                key=KEY,
            ),
            "model has (3, 4) cells of Ohmic; pass a Crossbar of (3, 4) cells with memory",
        ),
        (
            lambda: xb.GradientProgramming(**COMMON, acceptance=1e-6, least=0.0),
            "least is 0 S; it must be positive",
        ),
        (
            lambda: xb.GradientProgramming(
                **COMMON, acceptance=1e-6, least=1e-6, inputs=6, orthogonal=True
            ),
            "inputs is 6; orthogonal inputs come in powers of two, such as 8",
        ),
        (
            lambda: xb.program(
                gated(),
                TARGET,
                xb.GradientProgramming(
                    **COMMON, acceptance=1e-6, least=1e-6, inputs=2, orthogonal=True
                ),
                key=KEY,
            ),
            "inputs is 2, but the array has 3 rows",
        ),
        (
            lambda: xb.Refresh(xb.OpenLoop(**COMMON, acceptance=1e-6), lambda c, key: c, -1),
            "times is -1; an array ages 0 times or more often",
        ),
        (
            lambda: xb.program(
                gated(),
                TARGET,
                xb.Refresh(
                    xb.WriteVerify(**COMMON, acceptance=1e-6),
                    va.At(lambda c: c.wires.r_row, va.Lognormal(0.1), SHAPE),
                    1,
                ),
                key=KEY,
            ),
            "ageing changes the kind, the shape or the dtype of a part of the array",
        ),
        (
            lambda: xb.GradientProgramming(**COMMON, acceptance=1e-6, least=1e-6, inputs=0),
            "inputs is 0; it must be at least 1",
        ),
        (
            lambda: xb.program(
                xb.Crossbar(gated().cell, xb.Wires(1.0, 1.0, parallel=True)),
                TARGET,
                xb.GradientProgramming(**COMMON, acceptance=1e-6, least=1e-6),
                key=KEY,
            ),
            "crossbar.wires.parallel is True: inputs would run along the bit lines",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert said in str(caught.value)
