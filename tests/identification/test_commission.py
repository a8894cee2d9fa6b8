"""Reads chosen by gradient, and a chip brought to multiply right through its terminals."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

import xbarjax as xb
from reference import nodal

N = 6
G = np.random.default_rng(7).uniform(1e-5, 1e-4, (N, N))
NOISE = 3e-8  # [A]
CELLS = xb.Unknown(lambda c: c.cell.g, sigma=4e-5)
R = 2.0


def currents(g: Any, v: Any, w: Any) -> tuple[Any, Any]:
    """Currents [A] out of the bit lines and into the word lines, by a nodal solve."""
    n, m = g.shape
    r_row = np.hstack([np.full((n, m), R), np.full((n, 1), np.inf)])
    r_col = np.vstack([np.full((1, m), np.inf), np.full((n, m), R)])
    found = [nodal.solve(g, r_row, r_col, a, a, b, b).i_cell for a, b in zip(v, w)]
    return np.sum(found, axis=1), np.sum(found, axis=2)


def measured(g: Any, v: Any, w: Any, seed: int) -> xb.Measured:
    rng = np.random.default_rng(seed)
    sensed = {k: x + NOISE * rng.standard_normal(x.shape) for k, x in
              zip(("i_out", "i_in"), currents(g, v, w))}  # fmt: skip
    return xb.Measured(v, sensed, NOISE, v_col=w)


def guess(n: int = N, m: int = N, r: float = R) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(jnp.full((n, m), 5e-5)), xb.Wires(r, r))


def test_chosen_reads_tell_as_much_as_they_say_and_as_twice_as_many_random_ones() -> None:
    rng = np.random.default_rng(0)
    still = lambda count: np.zeros((count, N))
    first = measured(G, rng.uniform(-0.2, 0.2, (1, N)), still(1), 0)
    begun = xb.identify(first, guess(), CELLS)
    twin = lambda reads: xb.identify([first, reads], guess(), CELLS)
    error = lambda reads: np.sqrt(np.mean((twin(reads).crossbar.cell.g - G) ** 2))
    plan = xb.next_reads(begun, N, 0.2)
    assert np.abs(plan.v_row).max() <= 0.2 and plan.v_row.shape == (N, N)
    np.testing.assert_array_equal(plan.v_col, 0)
    assert float(plan.after) < 0.2 * float(plan.before)
    chosen, random = [], []
    for k in range(12):
        chosen.append(error(measured(G, np.asarray(plan.v_row), still(N), k)))
        v = np.random.default_rng(k).uniform(-0.2, 0.2, (2 * N, N))
        random.append(error(measured(G, v, still(2 * N), k)))
    assert np.mean(chosen) < np.mean(random)
    # as expected: deviations of all cells, in units of their mean
    expected = float(plan.after) * float(np.mean(begun.crossbar.cell.g)) / N
    assert 0.7 * expected < np.sqrt(np.mean(np.square(chosen))) < 1.5 * expected


def test_reads_for_products_leave_them_better_known_than_reads_for_cells() -> None:
    first = measured(G, np.array([[0.2, 0.1, 0.2, 0.1, 0.05, 0.2]]), np.zeros((1, N)), 0)
    begun = xb.identify(first, guess(), CELLS)
    v = jnp.asarray([0.2, 0.2, 0.2, 0.0, 0.0, 0.0])
    product = lambda c: v @ xb.transfer(c)
    for_it = xb.next_reads(begun, 1, 0.2, wanted=product)
    left = begun.std_of(product)
    assert float(for_it.before) == pytest.approx(float(jnp.linalg.norm(left)), rel=1e-3)
    for_cells = xb.next_reads(begun, 1, 0.2)

    def after(plan: xb.NextReads) -> float:
        reads = measured(G, np.asarray(plan.v_row), np.zeros((1, N)), 1)
        twin = xb.identify([first, reads], guess(), CELLS)
        return float(jnp.linalg.norm(twin.std_of(product)))

    assert after(for_it) == pytest.approx(float(for_it.after), rel=0.3)
    assert after(for_it) < 0.7 * after(for_cells)


def test_plans_refuse_what_they_cannot_judge() -> None:
    twin = xb.identify(measured(G, 0.2 * np.eye(N), np.zeros((N, N)), 0), guess(), CELLS)
    with pytest.raises(ValueError, match="name 'row', 'col' or both"):
        xb.next_reads(twin, 2, 0.2, drive=("far",))
    with pytest.raises(ValueError, match="count is 0"):
        xb.next_reads(twin, 0, 0.2)
    both = xb.next_reads(twin, 2, 0.2, drive=("row", "col"), steps=3)
    assert both.v_row.shape == both.v_col.shape == (2, N) and np.any(both.v_col)


class Bench:
    """A chip by nodal solves, whose writes miss by 4 % of the cell's own and by 1 % each time."""

    def __init__(self, n: int, m: int) -> None:
        self.g, self.rng, self.reads = np.full((n, m), 5e-5), np.random.default_rng(1), 0
        self.own = self.rng.normal(1, 0.04, (n, m))

    def write(self, g: np.ndarray, cells: np.ndarray) -> None:
        missed = self.own * g * (1 + 0.01 * self.rng.standard_normal(g.shape))
        self.g = np.where(cells, missed, self.g)

    def read(self) -> xb.Measured:
        n, m = self.g.shape
        self.reads += 1
        rows, cols = 0.2 * hadamard(8)[:, :n], 0.2 * hadamard(8)[:, :m]
        v, w = np.concatenate([rows, 0 * rows]), np.concatenate([np.zeros((8, m)), cols])
        return measured(self.g, v, w, self.reads)


def test_a_chip_with_unknown_wires_and_writes_that_miss_comes_to_multiply_right() -> None:
    weights = np.random.default_rng(2).standard_normal((N, 3))
    mapping = xb.InterleavedPair(1e-5, 1e-4)
    chip = Bench(N, N)
    free = [
        CELLS,
        xb.Unknown(lambda c: (c.wires.r_row, c.wires.r_col), per="array", sigma=1.0),
    ]
    seen = []
    done = xb.commission(
        chip, guess(r=1.0), weights, mapping, free, on_round=lambda k, r: seen.append((k, r))
    )
    assert [k for k, _ in seen] == list(range(1, len(done.rounds) + 1))
    assert done.rounds[0].written == N * N > done.rounds[-1].written
    v = 0.2 * np.random.default_rng(3).uniform(0, 1, (50, N))
    i, _ = currents(chip.g, v, np.zeros((50, N)))
    got = np.asarray(mapping.combine(jnp.asarray(i)[None])) / np.asarray(done.gain) / float(done.k)
    error = np.linalg.norm(got - v @ weights) / np.linalg.norm(v @ weights)
    first = done.rounds[0].error
    assert error < 0.5 * first
    assert error < 2 * max(done.rounds[-1].error, done.rounds[-1].unknown)
    with pytest.raises(ValueError, match="takes 2 arrays"):
        xb.commission(chip, guess(), weights, xb.DifferentialPair(1e-5, 1e-4), free)
    with pytest.raises(ValueError, match="but the weights need"):
        xb.commission(chip, guess(5, 4), weights, mapping, free)


def test_a_twin_of_other_numbers_traces_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from xbarjax.identification import problem

    reads = lambda k: measured(G, 0.2 * np.eye(N), np.zeros((N, N)), k)
    xb.identify(reads(0), guess(), CELLS)
    traced = []
    plain = problem.predicted
    monkeypatch.setattr(problem, "predicted", lambda *x: traced.append(1) or plain(*x))
    xb.identify(reads(1), guess(r=1.5), CELLS)
    assert not traced
