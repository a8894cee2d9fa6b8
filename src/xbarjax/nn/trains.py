"""Trains of pulses on the rows and columns of an array, whose coincidences move its devices."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from .._types import PerCol, PerRow, Scalar


class AbstractTrains(eqx.Module):
    """Trains of pulses on rows and columns, whose coincidences move the devices."""

    length: eqx.AbstractVar[int]

    @abc.abstractmethod
    def counts(
        self, x: PerRow, delta: PerCol, key: PRNGKeyArray
    ) -> tuple[Int[Array, "rows cols"], Int[Array, " rows"], Int[Array, " cols"], Int[Array, ""]]:
        """Coincidences, pulses of each row and column, and slots, for the magnitudes `x` and
        `delta` whose outer product is the wanted number of coincidences."""


class Stochastic(AbstractTrains):
    """Stochastic trains: in each slot a row fires with a probability in proportion to its input, a
    column with one in proportion to its error. The mean number of coincidences is the wanted one.

    A train has as many slots as the cell with the most pulses wants, rounded up, and at most
    `length`. The largest probabilities of rows and columns are equal. (T. Gokmen and Y. Vlasov,
    Front. Neurosci. 10, 333, 2016, doi:10.3389/fnins.2016.00333; the length and the balance are
    those of IBM's AIHWKit, `update_bl_management` and `update_management`.)
    """

    length: int = eqx.field(static=True, default=31)

    def __check_init__(self):
        _require_length(self.length)

    def counts(self, x, delta, key):
        most = jnp.max(x) * jnp.max(delta)
        slots = jnp.clip(jnp.ceil(most), 1, self.length)
        rows, cols = jax.random.split(key)
        fires = lambda p, key: (
            (jax.random.uniform(key, (self.length, p.size), p.dtype) < p[None])
            & (jnp.arange(self.length, dtype=slots.dtype) < slots)[:, None]
        )
        of_rows, of_cols = (fires(p, k) for p, k in zip(_shares(x, delta, slots), (rows, cols)))
        both = jnp.einsum("kr,kc->rc", of_rows.astype(x.dtype), of_cols.astype(x.dtype))
        total = lambda fired: jnp.sum(fired, axis=0, dtype=int)
        return both.astype(int), total(of_rows), total(of_cols), slots.astype(int)


class Deterministic(AbstractTrains):
    """Deterministic trains: a column fires in the first slots, a row in slots evenly spread, so
    that they coincide `round(p round(q length))` times, for their shares `p` and `q` of the slots.
    This is off the wanted number by at most 1; changes of less than half a step are lost.
    """

    length: int = eqx.field(static=True, default=31)

    def __check_init__(self):
        _require_length(self.length)

    def counts(self, x, delta, key):
        p, q = _shares(x, delta, jnp.asarray(self.length, x.dtype))
        whole = lambda share: jnp.floor(share + 0.5).astype(int)
        cols = whole(q * self.length)
        both = whole(p[:, None] * cols[None].astype(p.dtype))
        return both, whole(p * self.length), cols, jnp.asarray(self.length)


def _shares(x: PerRow, delta: PerCol, slots: Scalar) -> tuple[PerRow, PerCol]:
    """Shares of the slots in which rows and columns fire. A cell that wants more pulses than slots
    scales the whole update down."""
    high, deep = jnp.max(x), jnp.max(delta)
    top = jnp.sqrt(jnp.minimum(high * deep / slots, 1))
    share = lambda values, most: top * values / jnp.where(most > 0, most, 1)
    return share(x, high), share(delta, deep)


def _require_length(length: int) -> None:
    if not (isinstance(length, (int, np.integer)) and length >= 1):
        raise ValueError(f"length is {length}; a train needs at least 1 slot.")
