"""Encodings of numbers as word-line voltages.

An encoding turns one number per row into phases: the voltages of a stack of reads, and a weight for
the output of each read. The weighted sum of the outputs, on a capacitor or in a register, is the
product

    i = sum_k weight_k i_out(v_k),    with    sum_k weight_k v_k = v_max q,    sum_k weight_k = 1,

where `q` is `x` rounded to the codes of the encoding. In a linear array, wires included, all
encodings with the same `q` give the same product, `v_max q @ transfer(xbar)`. They differ in the
number of reads, in the response of nonlinear cells to their voltages, and in the effect of
converters on their outputs:

    phases = encoding.sliced(x, v_max=0.2, bits=8, slices=(2, 3, 3))
    outputs = jax.vmap(lambda v: xb.read(xbar, v).i_out)(phases.v)
    product = encoding.add_up(phases, outputs)

Numbers lie in -1 to 1. A negative number gives a negative voltage or, with `in_two_phases`, a
positive voltage in a second set of reads that is subtracted. Numbers are rounded to the nearest
code, ties to the even one. Gradients pass straight through the rounding, evenly into all phases
(Bengio, Leonard and Courville, 2013, arXiv:1308.3432), and are 0 beyond -1 and 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._types import (
    Values,
    as_physical,
    between,
    everywhere,
    physical,
    require_bits,
    require_finite,
    require_nonnegative,
    straight_through,
    widest,
)

__all__ = [
    "Dac",
    "Phases",
    "add_up",
    "amplitude",
    "few_rows",
    "in_two_phases",
    "pulse_number",
    "pulse_width",
    "sliced",
]


def __dir__() -> list[str]:
    return __all__


Numbers = Float[Array, " rows"]


class Phases(NamedTuple):
    """Encoded input: the voltages of a stack of reads, and the weights of their outputs."""

    v: Float[Array, "phases rows"]  # [V] on the word lines
    weight: Float[Array, " phases"]  # [1] of the outputs; their sum is 1 (0 in two phases)


class Dac(eqx.Module):
    """Digital-to-analog converter: `v = v_max (k + inl_k) / (2^bits - 1)`.

    The output resistance of the converter is the `r_source` of its line's `Drive`.

    **Arguments:**

    - `bits`: number of bits. Codes `k` are 0 to `2^bits - 1`, the nearest to a number, ties to the
        even code.
    - `v_max`: voltage [V] of the largest code, without nonlinearity.
    - `inl`: integral nonlinearity [steps], one per code, `(2^bits,)`, or a scalar.

    Raises `ValueError` for `bits` outside 1 to 16, a `v_max` that is negative or not finite, and an
    `inl` of another shape or not finite.
    """

    bits: int = eqx.field(static=True)
    v_max: Float[Array, ""] = eqx.field(converter=physical("v_max", whole=True))
    inl: Float[Array, "..."] = eqx.field(converter=physical("inl", whole=True), default=0.0)

    def __check_init__(self):
        require_bits(self.bits, "bits")
        require_nonnegative(self.v_max, "v_max", "V", open_allowed=False)
        require_finite(self.inl, "inl", "steps")
        if jnp.shape(self.inl) not in ((), (2**self.bits,)):
            raise ValueError(
                f"inl has shape {jnp.shape(self.inl)}; a {self.bits}-bit converter has"
                f" {2**self.bits} codes: inl must be ({2**self.bits},) or a scalar."
            )

    def __call__(self, x: Numbers) -> Float[Array, " rows"]:
        """Voltages [V], `(rows,)`, of numbers from -1 to 1, with the sign of the number.

        The dtype is that of `x`, or the wider one of `x` and `inl` if `inl` has one entry per code.
        """
        last = 2**self.bits - 1
        dtype = widest(x, self.inl) if self.inl.ndim else x.dtype
        size, sign = _size(x), _sign(x)
        code = jnp.round(last * size).astype(int)
        inl = jnp.broadcast_to(self.inl, (last + 1,))[code]
        steps = (y.astype(dtype) for y in (code, inl, straight_through(last * size)))
        v_max = self.v_max.astype(dtype)
        return sign.astype(dtype) * between(jnp.zeros_like(v_max), v_max, sum(steps) / last)


def amplitude(x: Values, dac: Dac) -> Phases:
    """Amplitude encoding: one read at the voltages of a converter."""
    v = dac(_numbers(x))
    return Phases(v[None], jnp.ones((1,), v.dtype))


def sliced(x: Values, v_max: ArrayLike, bits: int, slices: tuple[int, ...]) -> Phases:
    """Bit slicing: one read per slice of the number's bits, the most significant slice first.

    A slice of `s` bits has `2^s` voltages from 0 to `v_max` [V]; a slice of 1 bit is on or off.
    Longer slices need fewer reads, but a converter with more steps. Slices may differ in length,
    such as 2, 3 and 3 bits of 8. Raises `ValueError` if the slices do not add up to `bits`.
    """
    require_bits(bits, "bits")
    for s in slices:
        require_bits(s, "a slice")
    if sum(slices) != bits:
        raise ValueError(
            f"slices are {tuple(slices)}, {sum(slices)} bits in all; they must add up to"
            f" bits = {bits}."
        )
    x = _numbers(x)
    code = _code(x, bits)
    below = [sum(slices[k + 1 :]) for k in range(len(slices))]  # bits below each slice
    levels = [(code >> b) % 2**s / (2**s - 1) for b, s in zip(below, slices, strict=True)]
    weight = [2**b * (2**s - 1) / (2**bits - 1) for b, s in zip(below, slices, strict=True)]
    return _phases(x, jnp.stack(levels), v_max, weight)


def pulse_width(x: Values, v_max: ArrayLike, bits: int) -> Phases:
    """Pulse-width encoding: one pulse of `v_max` [V] per row, whose length is the number.

    Time is divided into `2^bits - 1` slots of one read each, with fewer rows on from slot to slot.
    """
    return _pulses(x, v_max, bits, lambda code, slots: code > slots)


def pulse_number(x: Values, v_max: ArrayLike, bits: int) -> Phases:
    """Pulse-count encoding: pulses of `v_max` [V] per row, whose count is the number.

    The pulses are spread evenly over `2^bits - 1` time slots of one read each, so that about as
    many rows are on in every slot."""

    def on(code, slots):
        fired = lambda k: k * code // (2**bits - 1)  # pulses before slot k
        return fired(slots + 1) > fired(slots)

    return _pulses(x, v_max, bits, on)


def in_two_phases(encode: Callable[[Numbers], Phases], x: Values) -> Phases:
    """Encoding with positive voltages only: positive numbers first, then negative ones, subtracted.

    Drivers need one sign, but there are twice as many reads. The weights sum to 0."""
    x = _numbers(x)
    plus, minus = encode(jnp.maximum(x, 0)), encode(jnp.maximum(-x, 0))
    weight = jnp.concatenate([plus.weight, -minus.weight])
    return Phases(jnp.concatenate([plus.v, minus.v]), weight)


def few_rows(phases: Phases, most: int) -> Phases:
    """Phases split into groups of at most `most` neighbouring rows, with all other rows at 0 V.

    Each phase becomes one read per group, of the same weight. Raises `ValueError` for `most` below
    1."""
    if most < 1:
        raise ValueError(f"most is {most}; at least one row must be active.")
    rows = phases.v.shape[1]
    groups = -(-rows // most)
    active = (jnp.arange(rows) // most)[None] == jnp.arange(groups)[:, None]
    v = jnp.where(active, phases.v[:, None], 0).reshape(-1, rows)
    return Phases(v, jnp.repeat(phases.weight, groups))


def add_up(phases: Phases, outputs: Float[Array, "phases ..."]) -> Float[Array, "..."]:
    """Product: the weighted sum of the outputs of all phases."""
    dtype = widest(phases.weight, outputs)
    return jnp.tensordot(phases.weight.astype(dtype), outputs.astype(dtype), axes=1)


def _pulses(x, v_max, bits: int, on: Callable) -> Phases:
    require_bits(bits, "bits")
    x, slots = _numbers(x), jnp.arange(2**bits - 1)[:, None]
    level = on(_code(x, bits)[None], slots).astype(x.dtype)
    return _phases(x, level, v_max, np.full(slots.size, 1 / slots.size))


def _phases(x: Numbers, levels: Float[Array, "phases rows"], v_max, weight) -> Phases:
    v_max = as_physical(v_max, "v_max", whole=True)
    require_nonnegative(v_max, "v_max", "V", open_allowed=False)
    v_max = v_max.astype(x.dtype)
    shares = levels.astype(x.dtype) + straight_through(_size(x))[None]
    v = _sign(x)[None] * between(jnp.zeros_like(v_max), v_max, shares)
    return Phases(v, jnp.asarray(weight, v.dtype))


def _numbers(x: Values) -> Numbers:
    x = as_physical(x, "x", whole=True)
    if not everywhere(lambda x: np.abs(x) <= 1, x):
        at = int(np.argmax(~(np.abs(np.ravel(x)) <= 1)))
        raise ValueError(f"x[{at}] is {np.ravel(x)[at]}; numbers must lie in -1 to 1: scale them.")
    return x


def _size(x: Numbers) -> Numbers:
    size = _sign(x) * x
    return jnp.where(size > 1, 1, size)  # full slope at exactly 1, a common value


def _sign(x: Numbers) -> Numbers:
    return jnp.where(x >= 0, 1, -1).astype(x.dtype)


def _code(x: Numbers, bits: int) -> Array:
    return jnp.round((2**bits - 1) * _size(x)).astype(int)
