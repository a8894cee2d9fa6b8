from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, everywhere, in_dtype, physical, require_nonnegative, require_positive
from .perturbation import AbstractPerturbation, normals

Conductances = Float[Array, "..."]


class Flicker(AbstractPerturbation):
    """1/f noise of the conductance as one read sees it: `g (1 + s xi)`, not below 0, with a normal
    `xi` a cell. Its density is `K g^2/f` (Hooge, IEEE Trans. Electron Devices 41, 1926, 1994,
    10.1109/16.333808), and a read takes what lies between two frequencies:
    `s^2 = K ln(f_high/f_low)`. About `f_low` is one over the time since the cells were written or
    calibrated, `f_high` one over the time that a read averages. `trace` is the same noise in time.

    **Arguments:** `k`: density of `g` relative to its square at 1 Hz [1]; `f_low`, `f_high`: [Hz].
    """

    k: Scalar = eqx.field(converter=physical("k"))
    f_low: Scalar = eqx.field(converter=physical("f_low"))
    f_high: Scalar = eqx.field(converter=physical("f_high"))

    def __check_init__(self):
        require_nonnegative(self.k, "k", "1", open_allowed=False)
        require_positive(self.f_low, "f_low", "Hz")
        require_positive(self.f_high, "f_high", "Hz")
        if not everywhere(lambda low, high: low <= high, self.f_low, self.f_high):
            raise ValueError(f"f_low is {self.f_low} Hz; it must not exceed f_high.")

    @property
    def relative(self) -> Scalar:
        """Standard deviation as a part of `g`."""
        power = self.k * jnp.log(self.f_high / self.f_low)
        return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1)), 0)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        return jnp.maximum(x * (1 + self.relative * drawn), 0).astype(x.dtype)

    def trace(
        self, x: Conductances, ts: Float[Array, " times"], key: PRNGKeyArray, modes: int = 24
    ) -> Float[Array, "times ..."]:
        """The conductances [S] at the times `ts` [s], which do not decrease: each the sum of
        independent fluctuations that decay with rates evenly spaced in their logarithm, from
        `2 pi f_low` to `2 pi f_high` (Milotti, 2002, arXiv:physics/0204033), each exact at any
        times (Gillespie, Phys. Rev. E 54, 2084, 1996, 10.1103/PhysRevE.54.2084). Two modes a
        decade give `K/f` within 0.1 % far from both ends, 6 % a decade from one, half of it there.

        **Arguments:** `modes`: how many rates; memory is this times `x`."""
        ts = jnp.asarray(ts)
        _require_order(ts)
        if modes < 1:
            raise ValueError(f"modes is {modes}; there must be at least 1.")
        self = in_dtype(self, x.dtype)
        decades = jnp.log(self.f_high / self.f_low)
        share = (jnp.arange(modes, dtype=self.k.dtype) + 0.5) / modes
        rates = 2 * jnp.pi * self.f_low * jnp.exp(share * decades)
        size = self.relative / modes**0.5
        fresh = lambda key: jax.random.normal(key, (modes, *x.shape), x.dtype)
        of_mode = lambda y: y.astype(x.dtype).reshape(modes, *[1] * x.ndim)
        keep = lambda passed: of_mode(jnp.exp(-rates * passed))

        def renew(passed):
            """`sqrt(1 - keep^2)`, whose slope where no time passed is that of nothing."""
            power = -jnp.expm1(-2 * rates * passed)
            some = power > 0
            return of_mode(jnp.where(some, jnp.sqrt(jnp.where(some, power, 1)), 0))

        def step(state, now):
            passed, key = now
            state = keep(passed) * state + renew(passed) * fresh(key)
            return state, jnp.maximum(x * (1 + size * state.sum(axis=0)), 0).astype(x.dtype)

        first, key = jax.random.split(key)
        keys = jax.random.split(key, len(ts))
        passed = jnp.diff(ts, prepend=ts[:1]).astype(x.dtype)
        return jax.lax.scan(step, fresh(first), (passed, keys))[1]


class RandomTelegraphNoise(AbstractPerturbation):
    """Random telegraph noise: one trap a cell, which lowers the conductance to `g (1 - amplitude)`
    while it is full. It stays empty for `tau_capture` on average and full for `tau_emission`; both
    times are exponentially distributed (Kirton and Uren, Adv. Phys. 38, 367, 1989,
    10.1080/00018738900101122). Full with probability
    `tau_emission/(tau_capture + tau_emission)`; the covariance decays as `exp(-t/tau)`,
    `1/tau = 1/tau_capture + 1/tau_emission`.

    Called, it is one read of a die at rest. `trace` is the same cells at given times.

    **Arguments:** `amplitude`: part of `g`, 0 to 1; `tau_capture`, `tau_emission`: [s].
    """

    amplitude: Scalar = eqx.field(converter=physical("amplitude"))
    tau_capture: Scalar = eqx.field(converter=physical("tau_capture"))
    tau_emission: Scalar = eqx.field(converter=physical("tau_emission"))

    def __check_init__(self):
        if not everywhere(lambda a: (a >= 0) & (a <= 1), self.amplitude):
            raise ValueError(f"amplitude is {self.amplitude}; it must be from 0 to 1.")
        require_positive(self.tau_capture, "tau_capture", "s")
        require_positive(self.tau_emission, "tau_emission", "s")

    @property
    def occupancy(self) -> Scalar:
        """Part of the time that a trap is full."""
        return self.tau_emission / (self.tau_capture + self.tau_emission)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        full = ndtr(drawn) < self.occupancy
        return jnp.where(full, x * (1 - self.amplitude), x).astype(x.dtype)

    def trace(
        self, x: Conductances, ts: Float[Array, " times"], key: PRNGKeyArray
    ) -> Float[Array, "times ..."]:
        """The conductances [S] at the times `ts` [s], which do not decrease: exact, however far
        apart they lie, since a trap forgets: from one time to the next it keeps its state with
        probability `exp(-t/tau)` and takes one at rest otherwise."""
        ts = jnp.asarray(ts)
        _require_order(ts)
        self = in_dtype(self, x.dtype)
        rate = 1 / self.tau_capture + 1 / self.tau_emission
        keeps = jnp.exp(-rate * jnp.diff(ts, prepend=-jnp.inf).astype(x.dtype))

        def step(full, now):
            keep, key = now
            whether, what = jax.random.split(key)
            drawn = jax.random.uniform(what, x.shape, x.dtype) < self.occupancy
            full = jnp.where(jax.random.uniform(whether, x.shape, x.dtype) < keep, full, drawn)
            return full, jnp.where(full, x * (1 - self.amplitude), x).astype(x.dtype)

        keys = jax.random.split(key, len(ts))
        return jax.lax.scan(step, jnp.zeros(x.shape, bool), (keeps, keys))[1]


def _require_order(ts: Float[Array, " times"]) -> None:
    if not everywhere(lambda ts: ts[1:] >= ts[:-1], ts):
        raise ValueError("ts decreases; give times in order.")
