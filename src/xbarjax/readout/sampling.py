"""Between amplifier and converter: sampling, holding, counting, sharing charge."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from .._types import physical, require_nonnegative, require_positive, straight_through
from .integrator import reset_noise

Signal = Float[Array, "..."]


class SampleHold(eqx.Module):
    """A voltage on a capacitor, until its converter comes round.

        v(t) = v exp(-t / (r_leak c)) + sqrt(k T / c) xi,    xi normal.

    **Arguments:** `c`: capacitance [F]; `r_leak`: what it leaks through [ohm], inf by default;
    `temperature`: [K]. Raises `ValueError` for a capacitance or a leak that is not positive.
    """

    c: Float[Array, "..."] = eqx.field(converter=physical("c"))
    r_leak: Float[Array, "..."] = eqx.field(converter=physical("r_leak"), default=float("inf"))
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=300.0)

    def __check_init__(self):
        require_positive(self.c, "c", "F")
        require_positive(self.r_leak, "r_leak", "ohm", open_allowed=True)
        require_nonnegative(self.temperature, "temperature", "K", open_allowed=False)

    def __call__(
        self, v: Signal, t_hold: Signal | float = 0.0, *, key: Key[Array, ""] | None = None
    ) -> Signal:
        """The voltage [V] after a time [s]; with a `key`, with the noise of its sampling."""
        held = v * jnp.exp(-jnp.asarray(t_hold) / self.r_leak / self.c)
        if key is None:
            return held
        noise = jax.random.normal(key, jnp.shape(v), held.dtype)
        return held + (reset_noise(self.c, self.temperature) * noise).astype(held.dtype)


def turns(cols: int, shared_by: int, t_conversion: float) -> Float[Array, " cols"]:
    """Waiting time [s] of each column for a converter that serves `shared_by` neighbouring columns
    in turn, at `t_conversion` a conversion."""
    if shared_by < 1:
        raise ValueError(f"shared_by is {shared_by}; a converter serves one column at least.")
    return (jnp.arange(cols) % shared_by).astype(float) * t_conversion


class Cco(eqx.Module):
    """A current-controlled oscillator whose periods are counted: a converter of time.

        f = min(k i, f_max), 0 below 0 A,    code = floor(f t + phase).

    A code stands for `y = (code + 1/2) / (k t)`. What is left of a period stays in the oscillator:
    given to the next conversion as its `phase`, codes add up without an error but that of the last
    one, and each stands for `y = code / (k t)`. Gradients go straight through, and are 0 beyond the
    range. (The core of R. Khaddam-Aljameh et al., IEEE J. Solid-State
    Circuits 57, 1027 (2022), doi:10.1109/JSSC.2022.3140414, converts in this way.)

    **Arguments:** `k`: [Hz/A], a scalar or one per column; `t_count`: how long it counts [s];
    `f_max`: [Hz], inf by default. Raises `ValueError` for one that is not positive.
    """

    k: Float[Array, "..."] = eqx.field(converter=physical("k"))
    t_count: Float[Array, "..."] = eqx.field(converter=physical("t_count"))
    f_max: Float[Array, "..."] = eqx.field(converter=physical("f_max"), default=float("inf"))

    def __check_init__(self):
        require_positive(self.k, "k", "Hz/A")
        require_positive(self.t_count, "t_count", "s")
        require_positive(self.f_max, "f_max", "Hz", open_allowed=True)

    def periods(self, i: Signal, phase: Signal | float = 0.0) -> Signal:
        """Number of periods [1] that have passed, whole and part."""
        f = self.k * jnp.where(i <= 0, 0, i)
        return jnp.where(f > self.f_max, self.f_max, f) * self.t_count + phase

    def code(self, i: Signal, phase: Signal | float = 0.0) -> Int[Array, "..."]:
        """Whole periods of a current [A]."""
        return jnp.floor(self.periods(i, phase)).astype(int)

    def __call__(self, i: Signal, phase: Signal | float | None = None) -> Signal:
        """The current [A] that a code stands for; without a phase, of an oscillator that begins
        anew."""
        begun, half = (0.0, 0.5) if phase is None else (phase, 0.0)
        periods = self.periods(i, begun)
        code = jnp.floor(periods) + straight_through(periods)
        return (code + half) / (self.k * self.t_count)


def share_charge(
    outputs: Float[Array, "phases ..."], c_sample: Signal | float, c_hold: Signal | float
) -> Float[Array, "..."]:
    """Phases added up by charge sharing, the least significant first.

        v <- (c_hold v + c_sample x) / (c_hold + c_sample),    from 0 V on:

    with equal capacitors every step halves what is there, so that `n` bits come out as
    `sum_k 2^(k - n) x_k` without a register. Capacitors that do not match bend the weights.

    **Arguments:** `outputs`: voltages [V], phases in front; `c_sample`, `c_hold`: [F].
    """
    c_sample, c_hold = jnp.asarray(c_sample, float), jnp.asarray(c_hold, float)
    require_positive(c_sample, "c_sample", "F")
    require_positive(c_hold, "c_hold", "F")
    share = (c_sample / (c_sample + c_hold)).astype(outputs.dtype)
    step = lambda v, x: ((1 - share) * v + share * x, None)
    return lax.scan(step, jnp.zeros_like(outputs[0]), outputs)[0]
