"""Circuits between amplifier and converter: sample-and-hold, counter, charge sharing."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from .._types import physical, require_nonnegative, require_positive, straight_through
from .integrator import reset_noise

Signal = Float[Array, "..."]


class SampleHold(eqx.Module):
    """Sample-and-hold: a voltage on a capacitor until its converter is free,

        v(t) = v exp(-t / (r_leak c)) + sqrt(k T / c) xi,    xi standard normal.

    **Arguments:** `c`: capacitance [F]; `r_leak`: leakage resistance [ohm], inf by default;
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
        """Held voltage [V] after a time `t_hold` [s]; a `key` adds the sampling noise."""
        held = v * jnp.exp(-jnp.asarray(t_hold) / self.r_leak / self.c)
        if key is None:
            return held
        noise = jax.random.normal(key, jnp.shape(v), held.dtype)
        return held + (reset_noise(self.c, self.temperature) * noise).astype(held.dtype)


def turns(cols: int, shared_by: int, t_conversion: float) -> Float[Array, " cols"]:
    """Waiting time [s] of each column, `(cols,)`, for a converter that serves `shared_by`
    neighbouring columns in turn.

    **Arguments:** `t_conversion`: time [s] per conversion. Raises `ValueError` for `shared_by`
    below 1."""
    if shared_by < 1:
        raise ValueError(f"shared_by is {shared_by}; a converter serves at least one column.")
    return (jnp.arange(cols) % shared_by).astype(float) * t_conversion


class Cco(eqx.Module):
    """Current-controlled oscillator with a counter of its periods, an analog-to-digital converter:

        f = min(k i, f_max), 0 below 0 A,    code = floor(f t + phase).

    A code stands for the current `y = (code + 1/2) / (k t)`. The fraction of a period that is not
    counted stays in the oscillator. When each conversion gets this fraction as its `phase`, the sum
    of the codes has the error of the last conversion alone, and a code stands for
    `y = code / (k t)`. Gradients pass straight through, and are 0 beyond the range. (The core of R.
    Khaddam-Aljameh et al., IEEE J. Solid-State Circuits 57, 1027 (2022),
    doi:10.1109/JSSC.2022.3140414, converts in this way.)

    **Arguments:**

    - `k`: frequency per current [Hz/A], a scalar or one per column.
    - `t_count`: counting time `t` [s].
    - `f_max`: highest frequency [Hz], inf by default.

    Raises `ValueError` for an argument that is not positive.
    """

    k: Float[Array, "..."] = eqx.field(converter=physical("k"))
    t_count: Float[Array, "..."] = eqx.field(converter=physical("t_count"))
    f_max: Float[Array, "..."] = eqx.field(converter=physical("f_max"), default=float("inf"))

    def __check_init__(self):
        require_positive(self.k, "k", "Hz/A")
        require_positive(self.t_count, "t_count", "s")
        require_positive(self.f_max, "f_max", "Hz", open_allowed=True)

    def periods(self, i: Signal, phase: Signal | float = 0.0) -> Signal:
        """Number of periods [1], with its fraction, at a current [A] and from a `phase` [1] on."""
        f = self.k * jnp.where(i <= 0, 0, i)
        return jnp.where(f > self.f_max, self.f_max, f) * self.t_count + phase

    def code(self, i: Signal, phase: Signal | float = 0.0) -> Int[Array, "..."]:
        """Number of whole periods at a current [A]."""
        return jnp.floor(self.periods(i, phase)).astype(int)

    def __call__(self, i: Signal, phase: Signal | float | None = None) -> Signal:
        """Current [A] that the code of a current [A] stands for; without a `phase`, the oscillator
        starts afresh."""
        begun, half = (0.0, 0.5) if phase is None else (phase, 0.0)
        periods = self.periods(i, begun)
        code = jnp.floor(periods) + straight_through(periods)
        return (code + half) / (self.k * self.t_count)


def share_charge(
    outputs: Float[Array, "phases ..."], c_sample: Signal | float, c_hold: Signal | float
) -> Float[Array, "..."]:
    """Sum of phases by charge sharing, the least significant phase first:

        v <- (c_hold v + c_sample x) / (c_hold + c_sample),    from 0 V on.

    With equal capacitors every step halves the voltage held, so that `n` bits give
    `sum_k 2^(k - n) x_k` without a register. Mismatched capacitors distort the weights.

    **Arguments:** `outputs`: voltages [V], `(phases, ...)`; `c_sample`, `c_hold`: [F]. Raises
    `ValueError` for a capacitance that is not positive.
    """
    c_sample, c_hold = jnp.asarray(c_sample, float), jnp.asarray(c_hold, float)
    require_positive(c_sample, "c_sample", "F")
    require_positive(c_hold, "c_hold", "F")
    share = (c_sample / (c_sample + c_hold)).astype(outputs.dtype)
    step = lambda v, x: ((1 - share) * v + share * x, None)
    return lax.scan(step, jnp.zeros_like(outputs[0]), outputs)[0]
