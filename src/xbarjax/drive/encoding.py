"""Encodings of numbers as voltages on word lines.

An encoding turns one number per row into phases: voltages for a stack of reads, and a weight for
the output of each. Added up, on a capacitor or in a register, the product is

    i = sum_k weight_k i_out(v_k),    with    sum_k weight_k v_k = v_max q,    sum_k weight_k = 1,

where `q` is the number that the encoding has for `x`. So in a linear array, wires included, all
encodings of one `q` give the same product, `v_max q @ transfer(xbar)`. They differ in how many
reads they take, in what nonlinear cells make of their voltages, and in what converters make of
their outputs:

    phases = encoding.sliced(x, v_max=0.2, bits=8, slices=(2, 3, 3))
    outputs = jax.vmap(lambda v: xb.read(xbar, v).i_out)(phases.v)
    product = encoding.add_up(phases, outputs)

Numbers lie in -1 to 1; negative ones turn the voltage round, or, `in_two_phases`, are read after
the positive ones and subtracted. The nearest code stands for a number, halfway between two the
even one. Gradients go straight through the rounding, evenly into all
phases (Bengio, Leonard and Courville, 2013, arXiv:1308.3432), and are 0 beyond -1 and 1.
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
    """An encoded input: a stack of reads, and how their outputs are combined."""

    v: Float[Array, "phases rows"]  # [V] of the word lines
    weight: Float[Array, " phases"]  # [1] of the outputs; they sum to 1


class Dac(eqx.Module):
    """A converter from codes to voltages, `v = v_max (k + inl_k) / (2^bits - 1)`.

    Its output resistance is the line's `Drive.r_source`.

    **Arguments:**

    - `bits`: how many; the codes `k` are 0 to `2^bits - 1`, the nearest to a number, halfway
        between two the even one.
    - `v_max`: [V] at the largest code, without nonlinearity.
    - `inl`: integral nonlinearity of each code in steps, shape `(2^bits,)`, or a scalar for all.
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
                f"inl has shape {jnp.shape(self.inl)}; a converter of {self.bits} bits has"
                f" {2**self.bits} codes: it must be ({2**self.bits},), or a scalar."
            )

    def __call__(self, x: Numbers) -> Float[Array, " rows"]:
        """Voltages [V] of numbers from -1 to 1, negative ones by turning the voltage round.

        Their dtype is that of the numbers, or of `inl` where each code has its own."""
        last = 2**self.bits - 1
        dtype = widest(x, self.inl) if self.inl.ndim else x.dtype
        size, sign = _size(x), _sign(x)
        code = jnp.round(last * size).astype(int)
        inl = jnp.broadcast_to(self.inl, (last + 1,))[code]
        steps = (y.astype(dtype) for y in (code, inl, straight_through(last * size)))
        v_max = self.v_max.astype(dtype)
        return sign.astype(dtype) * between(jnp.zeros_like(v_max), v_max, sum(steps) / last)


def amplitude(x: Values, dac: Dac) -> Phases:
    """One read at the voltages of a converter."""
    v = dac(_numbers(x))
    return Phases(v[None], jnp.ones((1,), v.dtype))


def sliced(x: Values, v_max: ArrayLike, bits: int, slices: tuple[int, ...]) -> Phases:
    """A read for each slice of the number's bits, the most significant first: a slice of `s` bits
    has `2^s` voltages from 0 to `v_max` [V], and 1 bit is on or off.

    Slices of several sizes, as 2, 3 and 3 bits of 8, trade reads for steps of the converter.
    Raises `ValueError` if the slices do not add up to the bits.
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
    below = [sum(slices[k + 1 :]) for k in range(len(slices))]  # bits of less weight
    levels = [(code >> b) % 2**s / (2**s - 1) for b, s in zip(below, slices, strict=True)]
    weight = [2**b * (2**s - 1) / (2**bits - 1) for b, s in zip(below, slices, strict=True)]
    return _phases(x, jnp.stack(levels), v_max, weight)


def pulse_width(x: Values, v_max: ArrayLike, bits: int) -> Phases:
    """A pulse of `v_max` [V] that is as long as the number is large: one read for each of the
    `2^bits - 1` slots of time, in which fewer and fewer rows are on."""
    return _pulses(x, v_max, bits, lambda code, slots: code > slots)


def pulse_number(x: Values, v_max: ArrayLike, bits: int) -> Phases:
    """As many pulses of `v_max` [V] as the number says, spread evenly over `2^bits - 1` slots of
    time, so that about as many rows are on in each."""

    def on(code, slots):
        fired = lambda k: k * code // (2**bits - 1)  # up to slot k
        return fired(slots + 1) > fired(slots)

    return _pulses(x, v_max, bits, on)


def in_two_phases(encode: Callable[[Numbers], Phases], x: Values) -> Phases:
    """Positive numbers first, then the negative ones, both as positive voltages, and the outputs
    subtracted: twice as many reads, with drivers of one sign. Weights then sum to 0."""
    x = _numbers(x)
    plus, minus = encode(jnp.maximum(x, 0)), encode(jnp.maximum(-x, 0))
    weight = jnp.concatenate([plus.weight, -minus.weight])
    return Phases(jnp.concatenate([plus.v, minus.v]), weight)


def few_rows(phases: Phases, most: int) -> Phases:
    """At most so many neighbouring rows at a time, the others at 0 V: every phase becomes as many
    as there are such groups, of the same weight."""
    if most < 1:
        raise ValueError(f"most is {most}; at least one row has to be active.")
    rows = phases.v.shape[1]
    groups = -(-rows // most)
    active = (jnp.arange(rows) // most)[None] == jnp.arange(groups)[:, None]
    v = jnp.where(active, phases.v[:, None], 0).reshape(-1, rows)
    return Phases(v, jnp.repeat(phases.weight, groups))


def add_up(phases: Phases, outputs: Float[Array, "phases ..."]) -> Float[Array, "..."]:
    """The product: outputs of all phases, weighted."""
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
    return jnp.where(size > 1, 1, size)  # all of the slope at 1, which numbers often are


def _sign(x: Numbers) -> Numbers:
    return jnp.where(x >= 0, 1, -1).astype(x.dtype)


def _code(x: Numbers, bits: int) -> Array:
    return jnp.round((2**bits - 1) * _size(x)).astype(int)
