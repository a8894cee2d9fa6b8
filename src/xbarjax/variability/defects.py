import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._types import Scalar, everywhere, physical, require_nonnegative
from .perturbation import AbstractPerturbation


class Stuck(AbstractPerturbation):
    """Cells that do not answer: with probability `p_on` a cell is stuck at `g_on`, with `p_off` at
    `g_off`, with `p_open` it is absent (0 S), each cell on its own.

    One uniform number a cell decides, so that a cell that is stuck at some probability still is at
    a higher `p_open`, and the dies of two settings are the same but for the cells in between.
    Which cells are stuck has no derivative by the probabilities (it jumps); `g_on` and `g_off` have
    theirs, and so have the cells that work.

    **Arguments:** `p_on`, `p_off`, `p_open`: probabilities, in all at most 1; `g_on`, `g_off`: [S].
    """

    p_on: Scalar = physical("p_on", 0.0)
    p_off: Scalar = physical("p_off", 0.0)
    p_open: Scalar = physical("p_open", 0.0)
    g_on: Scalar = physical("g_on", 0.0)
    g_off: Scalar = physical("g_off", 0.0)

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

    def __call__(self, x: Float[Array, "..."], key: PRNGKeyArray) -> Float[Array, "..."]:
        u = jax.random.uniform(key, x.shape, x.dtype)
        gone = u < self.p_open
        off = ~gone & (u < self.p_open + self.p_off)
        on = u >= 1 - self.p_on
        x = jnp.where(on, self.g_on, jnp.where(off, self.g_off, x)).astype(x.dtype)
        return jnp.where(gone, jnp.zeros_like(x), x)


class Broken(AbstractPerturbation):
    """Broken wires: every segment is open (inf ohm) with probability `p`, each on its own. Goes on
    `wires.r_row` or `wires.r_col`, one number for each segment (`At(..., shape=...)`).

    **Arguments:** `p`: probability that a segment is broken.
    """

    p: Scalar = physical("p")

    def __check_init__(self):
        _require_probability(self.p, "p")

    def segments(self, shape: tuple[int, ...], key: PRNGKeyArray) -> Bool[Array, "..."]:
        """Which are broken."""
        return jax.random.uniform(key, shape) < self.p

    def __call__(self, x: Float[Array, "..."], key: PRNGKeyArray) -> Float[Array, "..."]:
        return jnp.where(self.segments(x.shape, key), jnp.inf, x).astype(x.dtype)


def _require_probability(p: Scalar, name: str) -> None:
    if not everywhere(lambda p: (p >= 0) & (p <= 1), p):
        raise ValueError(f"{name} is {p}; it must be a probability from 0 to 1.")
