"""Refresh: an array that ages is written anew on a schedule."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from .._types import PerCell
from ..crossbar import Crossbar
from .writing import AbstractProgramming, Programmed


class Refresh(AbstractProgramming):
    """Programming, and then `times` intervals of ageing, each of which ends with the same
    programming again. Conductances that have aged out of their windows are brought back; those
    within them get no pulses, if `method` verifies.

    The answer is the array after the last programming, with all pulses and their energy. How far it
    is off at the end of an interval is `ageing` of it.

    **Arguments:**

    - `method`: the programming, such as `xb.WriteVerify(...)`.
    - `ageing`: what one interval does, `(crossbar, key) -> crossbar`, such as a perturbation `At`
        the states of the devices.
    - `times`: number of intervals.

    Raises `ValueError` for a negative number of times, and for what `method` refuses.
    """

    method: AbstractProgramming
    ageing: Callable[[Crossbar, PRNGKeyArray], Crossbar]
    times: int = eqx.field(static=True)

    def __check_init__(self):
        if self.times < 0:
            raise ValueError(f"times is {self.times}; an array ages 0 times or more often.")

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        self.method.require(crossbar, target)

    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        rows_cols = crossbar.shape
        full = lambda x: jnp.broadcast_to(x, rows_cols)
        crossbar = eqx.tree_at(lambda c: c.cell, crossbar, jax.tree.map(full, crossbar.cell))

        def one(crossbar: Crossbar, given: tuple[Array, Array]) -> tuple[Crossbar, Programmed]:
            ages, key = given
            for_ageing, for_writing = jax.random.split(key)
            aged = self.ageing(crossbar, for_ageing)
            kept = lambda new, old: jnp.where(ages, new, old)
            crossbar = jax.tree.map(kept, aged, crossbar)
            done = self.method.written(crossbar, target, for_writing)
            return done.crossbar, eqx.tree_at(lambda d: d.crossbar, done, None)

        passes = jnp.arange(self.times + 1)
        keys = jax.random.split(key, self.times + 1)
        after, each = lax.scan(one, crossbar, (passes > 0, keys))
        last = jax.tree.map(lambda x: x[-1], each)
        total = lambda x: jnp.sum(x, axis=0)
        in_order = lambda x: jnp.moveaxis(x, 0, -2).reshape(*rows_cols, -1)
        return Programmed(
            after,
            last.g,
            last.good,
            total(each.sets),
            total(each.resets),
            total(each.energy),
            last.disturb,
            in_order(each.v),
            in_order(each.v_gate),
            jnp.bitwise_or.reduce(each.status),
        )
