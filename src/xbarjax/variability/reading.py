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
    """1/f noise of a conductance in one read: `g (1 + s xi)`, not below 0, standard normal `xi`.

    The spectral density is `K g^2/f` (Hooge, IEEE Trans. Electron Devices 41, 1926, 1994,
    10.1109/16.333808). A read sees the band between two frequencies: `s^2 = K ln(f_high/f_low)`,
    with `f_low` about one over the time since writing or calibration, `f_high` about one over the
    averaging time of the read. `trace` gives the same noise over time.

    **Arguments:** `k`: spectral density at 1 Hz relative to `g^2` [1]; `f_low`, `f_high`: [Hz].
    Raises `ValueError` for a negative `k`, and unless `0 < f_low <= f_high`.
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
        """Standard deviation `s` as a fraction of `g`."""
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
        """Conductances [S], `(times, ...)`, at the times `ts` [s], which must not decrease.

        The noise is a sum of independent fluctuations whose decay rates are evenly spaced in their
        logarithm, from `2 pi f_low` to `2 pi f_high` (Milotti, 2002, arXiv:physics/0204033). Each
        fluctuation is exact at any times (Gillespie, Phys. Rev. E 54, 2084, 1996,
        10.1103/PhysRevE.54.2084). With two modes per decade the density is `K/f` within 0.1 % far
        from both ends, within 6 % one decade from an end, and half of it at an end.

        **Arguments:** `modes`: number of rates; memory grows as `modes` times `x`. Raises
        `ValueError` for times that decrease and for `modes` below 1.
        """
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
            """`sqrt(1 - keep^2)`, with slope 0 where no time has passed."""
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
    """Random telegraph noise of one trap per cell: `g (1 - amplitude)` while full, else `g`.

    The trap stays empty for `tau_capture` and full for `tau_emission` on average, both
    exponentially distributed (Kirton and Uren, Adv. Phys. 38, 367, 1989,
    10.1080/00018738900101122). The trap is full with probability
    `tau_emission/(tau_capture + tau_emission)`. The covariance decays as `exp(-t/tau)`,
    `1/tau = 1/tau_capture + 1/tau_emission`.

    A call gives one read of a die in equilibrium; `trace` follows the cells over time.

    **Arguments:** `amplitude`: fraction of `g`, 0 to 1; `tau_capture`, `tau_emission`: [s]. Raises
    `ValueError` for another amplitude and for times that are not positive.
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
        """Fraction of the time in which a trap is full."""
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
        """Conductances [S], `(times, ...)`, at the times `ts` [s], which must not decrease.

        The trace is exact at any spacing of the times: from one time to the next, a trap keeps its
        state with probability `exp(-t/tau)`, and otherwise takes a new state in equilibrium. Raises
        `ValueError` for times that decrease."""
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
        raise ValueError("ts decreases; give the times in order.")
