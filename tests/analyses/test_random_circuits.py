"""Right or flagged: random circuits against nodes that are merged, in 2048-bit arithmetic."""

from __future__ import annotations

from functools import partial
from typing import Any

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import merged
from reference.random_circuits import SHAPES, circuits, of_usual_parts
from xbarjax.kirchhoff.solution import Status, usable

CURRENT, VOLTAGE, SLOPE = 1e-9, 1e-9, 1e-6
USUAL = [(12, 12), (1, 1), (2, 7), (5, 4), (8, 8), (1, 6), (12, 9), (3, 12), (6, 6), (10, 3)]
REST = 1e-60  # [A]: less is the rounding of the reference


def build(g, r_row, r_col):
    drive, readout = xb.Drive(0.0, r_row[:, -1]), xb.VirtualGround(0.0, r_col[0])
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(r_row[:, :-1], r_col[1:]), drive, readout)


def one(args, solver: Any = xb.AutoLadder()):
    s = xb.read(build(*args[:3]), xb.Bias(*args[3:]), solver=solver)
    ends = s.i_out_near + s.i_out_far
    return s.v_row, s.v_col, s.i_cell, s.i_row_segments, s.i_col_segments, ends, s.i_in, s.status


reads = jax.jit(lambda stack: jax.lax.map(one, stack))
NAMES = "v_row", "v_col", "i_cell", "i_row", "i_col", "i_out", "i_in"


def errors(found, want: merged.Merged, status: int, v: float) -> tuple[float, float]:
    """Of currents relative to the largest, and of voltages relative to the sources'."""
    known = {n: np.asarray(getattr(want, n)) for n in NAMES}
    off = {n: np.abs(x - known[n])[np.isfinite(known[n])] for n, x in zip(NAMES, found)}
    flows = [np.abs(known[n])[np.isfinite(known[n])].max(initial=0) for n in NAMES[2:]]
    largest = max(flows) if max(flows) > REST else 1.0
    # what flows in loops of ideal wires and shorts is open
    judged = NAMES[3:5] if status & Status.SPLIT else NAMES[2:]
    of_i = max(off[n].max(initial=0) for n in judged) / largest
    return of_i, max(off[n].max(initial=0) for n in NAMES[:2]) / v


def judged(seed: int, count: int, shape, shorts: bool) -> dict[str, int]:
    return tallied(circuits(seed, count, shape, shorts), reads, (seed, shape))


def tallied(cases: list, reads, of) -> dict[str, int]:
    """How many circuits were right and flagged; none may be wrong and not flagged."""
    *found, status = map(np.asarray, reads(tuple(map(np.stack, zip(*cases)))))
    tally = {"right": 0, "flagged": 0, "flagged though right": 0, "shorted sources": 0}
    for k, args in enumerate(cases):
        bad = not usable(jnp.asarray(status[k]))
        try:
            want = merged.solve(*args)
        except merged.ShortCircuit:
            assert bad, (of, k)
            tally["shorted sources"] += 1
            continue
        v = max(np.abs(np.concatenate(args[3:])).max(), 1e-300)
        of_i, of_v = errors([x[k] for x in found], want, int(status[k]), v)
        right = of_i <= CURRENT and of_v <= VOLTAGE
        assert right or bad, (of, k, int(status[k]), of_i, of_v)
        tally["right" if not bad else "flagged though right" if right else "flagged"] += 1
    return tally


@pytest.mark.parametrize("shorts", [False, True], ids=["plain", "shorts"])
def test_random_circuits_are_right_or_flagged(shorts: bool) -> None:
    tally = judged(5, 40, (5, 4), shorts)
    print(tally)
    assert tally["right"] >= 30


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_thousand_circuits_with_shorts(shape) -> None:
    tally = judged(11, 250, shape, True)
    print(shape, tally)
    assert tally["right"] >= 0.85 * 250


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_node_of_ten_thousand_circuits(shape) -> None:
    tally = judged(12, 2500, shape, False)
    print(shape, tally)
    assert tally["right"] >= 0.97 * 2500


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False], ids=["kernel", "JAX"])
@pytest.mark.parametrize("shape", USUAL, ids=str)
def test_every_node_of_three_thousand_usual_circuits(shape, native: bool) -> None:
    """To a billionth of what sources may give, 1 V, by both forms of the solver."""
    rng = np.random.default_rng([7, *shape])
    cases = [of_usual_parts(rng, *shape) for _ in range(300)]
    solver = xb.LadderCG(native=native)
    reads = jax.jit(lambda stack: jax.lax.map(lambda args: one(args, solver), stack))
    before, flint.ctx.prec = flint.ctx.prec, 640
    try:
        tally = tallied(cases, reads, shape)
    finally:
        flint.ctx.prec = before
    print(shape, tally)
    assert tally["right"] >= 0.97 * 300


@partial(np.vectorize, otypes=[object])
def moved(x, way, step):
    return flint.arb(x) + step * flint.arb(way) if way else x


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_gradients_of_circuits_with_shorts(shape) -> None:
    """By every finite conductance and resistance at once, against a difference of 1e-200."""
    rng = np.random.default_rng(13)
    cases = circuits(13, 60, shape, True)
    weights = rng.normal(size=shape[1])

    def loss(g, r_row, r_col, *v):
        s = xb.read(build(g, r_row, r_col), xb.Bias(*v))
        return jnp.sum(weights * (s.i_out_near + s.i_out_far)), s.status

    slope = jax.grad(loss, (0, 1, 2), has_aux=True)
    slopes = jax.jit(lambda stack: jax.lax.map(lambda args: slope(*args), stack))
    found, status = slopes(tuple(map(np.stack, zip(*cases))))
    step, checked = flint.arb(10) ** -200, 0
    for k, args in enumerate(cases):
        if int(status[k]) & ~Status.FLOATING:
            continue
        inner = [(0 < x) & np.isfinite(x) for x in args[:3]]
        ways = [np.where(on, x * rng.normal(size=x.shape), 0) for on, x in zip(inner, args)]
        there = [moved(x, way, step) for x, way in zip(args, ways)]
        begin = merged.solve(*args, exact=True).i_out
        end = merged.solve(*there, *args[3:], exact=True).i_out
        if any(isinstance(x, float) for x in (*begin, *end)):  # open splits
            continue
        terms = [w * float(((b - a) / step).mid()) for w, a, b in zip(weights, begin, end)]
        each = [np.where(d == 0, 0, np.asarray(s[k]) * d) for s, d in zip(found, ways)]
        size = max(sum(map(abs, terms)), sum(np.abs(e).sum() for e in each), 1e-30)
        assert abs(sum(terms) - sum(e.sum() for e in each)) <= SLOPE * size, (shape, k)
        checked += 1
    print(shape, checked)
    assert checked >= 25
