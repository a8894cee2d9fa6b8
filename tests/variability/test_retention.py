"""Functions of the experiment on retention."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from experiments.retention import ageing, law

from xbarjax.variability import Relaxation

BAKE = Relaxation([-2e-6], [5e-6], g_max=1e-4)
KEY = jax.random.key(0)


def cells(n: int = 20_000) -> ageing.Filaments:
    return ageing.fresh(jnp.full((n,), 5e-5), jnp.zeros(1), KEY)


def test_a_state_ages_as_its_conductance() -> None:
    w, xi = jnp.linspace(0.2e-9, 1.5e-9, 7), jnp.linspace(-1, 1, 7)
    of = ageing.OfResistance(BAKE, *map(jnp.asarray, (5e3, 2e5, 0.0, 3e-9)))
    r = lambda w: 5e3 + 1.95e5 * np.asarray(w) / 3e-9
    want = 1 / r(w) - 2e-6 + 5e-6 * np.asarray(xi)
    np.testing.assert_allclose(1 / r(of.apply(w, xi)), np.clip(want, 5e-6, 2e-4), rtol=1e-9)
    far = of.apply(w, jnp.full(7, -100.0))
    np.testing.assert_allclose(far, 3e-9, rtol=1e-12)
    assert (far <= 3e-9).all()  # not beyond the end of the state


def test_cells_walk_alike_in_one_step_and_in_many() -> None:
    """Mean and deviation are those of a bake after an hour, whatever the steps, and of the closed
    form at other times."""
    many = cells()
    for k, t in enumerate((1.0, 99.0, 3500.0)):
        many = many.later(t, jax.random.fold_in(KEY, k))
    for now in (many, cells().later(3600.0, KEY)):
        change = np.asarray(now.g(BAKE)) - 5e-5
        np.testing.assert_allclose(change.mean(), -2e-6, atol=4 * 5e-6 / np.sqrt(20_000))
        np.testing.assert_allclose(change.std(), 5e-6, rtol=0.02)
    part = np.log1p(1e7 / ageing.ONSET) / np.log1p(3600 / ageing.ONSET)
    late = ageing.after(1e7, BAKE)
    np.testing.assert_allclose(late.shift, -2e-6 * part, rtol=1e-6)
    np.testing.assert_allclose(late.size, 5e-6 * np.sqrt(part), rtol=1e-6)


def test_refresh_writes_the_cells_outside_of_their_windows_alone() -> None:
    target, none = jnp.full((20_000,), 5e-5), jnp.zeros(1)
    schedule = ageing.Schedule(3600.0, 4e-6, 0.0)
    old, new = ageing.refreshed(cells(), target, none, schedule, BAKE, (0, 1), KEY)
    outside = np.abs(np.asarray(old.g(BAKE)) - 5e-5) > 4e-6
    # beyond 4 uS of a normal change of -2 +- 5 uS: below -0.4, above 1.2 deviations
    np.testing.assert_allclose(outside.mean(), 0.3446 + 0.1151, atol=0.015)
    np.testing.assert_array_equal(new.writes, 1 + outside)
    np.testing.assert_array_equal(np.asarray(new.since), np.where(outside, 0, 3600))
    np.testing.assert_allclose(np.asarray(new.g(BAKE))[outside], 5e-5, rtol=1e-6)
    np.testing.assert_array_equal(new.g(BAKE)[~outside], old.g(BAKE)[~outside])
    # what stays moves less from then on
    _, later = ageing.refreshed(new, target, none, schedule, BAKE, (1, 20), KEY)
    assert float((later.writes - new.writes).mean()) / 19 < 0.6 * outside.mean()


def test_temperatures_between_the_bakes_lie_between_them() -> None:
    low, middle, high = (np.asarray(ageing.baked(t).size) for t in (110, 125, 130))
    part = (middle - low) / (high - low)
    want = (1 / 398.15 - 1 / 383.15) / (1 / 403.15 - 1 / 383.15)
    np.testing.assert_allclose(part, want, rtol=1e-3)


def test_fits_of_both_laws_find_their_onset() -> None:
    t = np.geomspace(1e-2, 1e5, 8)
    for shape in law.LAWS.values():
        of_bins = np.array([1e-6, 3e-6])
        onset, factor = law.fitted(shape, t, of_bins * shape(t / 3e-3)[:, None])
        np.testing.assert_allclose(onset, 3e-3, rtol=1e-3)
        np.testing.assert_allclose(factor, of_bins, rtol=1e-3)
