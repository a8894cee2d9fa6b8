from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, everywhere, in_dtype, physical, require_nonnegative
from .perturbation import AbstractPerturbation, normals

Parts = Float[Array, "..."]


class Stuck(AbstractPerturbation):
    """Cells that do not answer: with probability `p_on` a cell is stuck at `g_on`, with `p_off` at
    `g_off`, with `p_open` it is absent (0 S), each cell on its own.

    One number a cell decides, so that the dies of two settings are the same but for the cells in
    between: those of low numbers are absent or stuck off, those of high ones stuck on.
    Which cells are stuck has no derivative by the probabilities (it jumps); `g_on` and `g_off` have
    theirs, and so have the cells that work.

    **Arguments:** `p_on`, `p_off`, `p_open`: probabilities, in all at most 1; `g_on`, `g_off`: [S].
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
            raise ValueError("p_on, p_off and p_open add up to more than 1; a cell has one fate.")
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
    """Broken wires: every segment is open (inf ohm) with probability `p`, each on its own. Goes on
    `wires.r_row` or `wires.r_col`, one number for each segment (`At(..., shape=...)`).

    **Arguments:** `p`: probability that a segment is broken.
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
