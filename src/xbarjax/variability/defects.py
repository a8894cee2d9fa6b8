from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, everywhere, in_dtype, physical, require_nonnegative
from .perturbation import AbstractPerturbation, normals

Parts = Float[Array, "..."]


class Stuck(AbstractPerturbation):
    """Stuck-at faults: each cell is independently stuck at `g_on` with probability `p_on`, stuck at
    `g_off` with `p_off`, or absent (0 S) with `p_open`.

    One random number per cell decides: cells of low numbers are absent or stuck off, cells of high
    numbers stuck on. Two settings under one key thus differ only in the cells whose number lies
    between the two thresholds. The choice of cells jumps with the probabilities and has no
    derivative; `g_on`, `g_off` and working cells have theirs.

    **Arguments:** `p_on`, `p_off`, `p_open`: probabilities, in all at most 1; `g_on`, `g_off`: [S].
    Raises `ValueError` for other probabilities, for a negative conductance, and for `g_on = 0` with
    `p_on > 0`.
    """

    p_on: Scalar = eqx.field(converter=physical("p_on"), default=0.0)
    p_off: Scalar = eqx.field(converter=physical("p_off"), default=0.0)
    p_open: Scalar = eqx.field(converter=physical("p_open"), default=0.0)
    g_on: Scalar = eqx.field(converter=physical("g_on"), default=0.0)
    g_off: Scalar = eqx.field(converter=physical("g_off"), default=0.0)

    def __check_init__(self):
        for name in ("p_on", "p_off", "p_open"):
            _require_probability(getattr(self, name), name)
        for name in ("g_on", "g_off"):
            require_nonnegative(getattr(self, name), name, "S", open_allowed=False)
        if not everywhere(
            lambda on, off, gone: on + off + gone <= 1, self.p_on, self.p_off, self.p_open
        ):
            raise ValueError("p_on, p_off and p_open add up to more than 1: lower one of them.")
        if not everywhere(lambda p, g: (p == 0) | (g > 0), self.p_on, self.g_on):
            raise ValueError("g_on is 0 S, but p_on is not 0: give the conductance of stuck cells.")

    def draw(self, x: Any, key: PRNGKeyArray) -> Parts:
        return normals(x, key)

    def apply(self, x: Parts, drawn: Parts) -> Parts:
        self = in_dtype(self, x.dtype)
        below, above = ndtr(drawn), ndtr(-drawn)  # uniform, both tails to full precision
        found = jnp.where(below < self.p_open + self.p_off, self.g_off, x)
        found = jnp.where(below < self.p_open, 0, found)
        return jnp.where(above < self.p_on, self.g_on, found).astype(x.dtype)


class Broken(AbstractPerturbation):
    """Broken wires: each segment is independently open (inf ohm) with probability `p`.

    Applies to `wires.r_row` or `wires.r_col` with one number per segment (`At(..., shape=...)`).

    **Arguments:** `p`: probability that a segment is broken. Raises `ValueError` outside 0 to 1.
    """

    p: Scalar = eqx.field(converter=physical("p"))

    def __check_init__(self):
        _require_probability(self.p, "p")

    def draw(self, x: Any, key: PRNGKeyArray) -> Parts:
        return normals(x, key)

    def apply(self, x: Parts, drawn: Parts) -> Parts:
        self = in_dtype(self, x.dtype)
        return jnp.where(ndtr(drawn) < self.p, jnp.inf, x).astype(x.dtype)


def _require_probability(p: Scalar, name: str) -> None:
    if not everywhere(lambda p: (p >= 0) & (p <= 1), p):
        raise ValueError(f"{name} is {p}; it must be a probability from 0 to 1.")
