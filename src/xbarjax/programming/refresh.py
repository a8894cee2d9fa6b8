"""Refresh: an array that ages is written anew on a schedule."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from .._types import PerCell, described
from ..crossbar import Crossbar
from .groups import AbstractPulseProgramming
from .writing import AbstractProgramming, Programmed


class Refresh(AbstractProgramming):
    """Programming, and then `times` intervals of ageing, each of which ends with the same
    programming again. Conductances that have aged out of their windows are brought back; those
    within them get no pulses, if `method` verifies.

    The answer is the array after the last programming, with all pulses and their energy. How far it
    is off at the end of an interval is `ageing` of it. Every interval ages all cells alike:
    `ageing` does not know which of them got pulses at its beginning.

    **Arguments:**

    - `method`: the programming, such as `xb.WriteVerify(...)`.
    - `ageing`: what one interval does, `(crossbar, key) -> crossbar`, such as a perturbation `At`
        the states of the devices. The array keeps its shapes; those of its cells are `(rows,
        cols)`.
    - `times`: number of intervals.

    Raises `TypeError` for a method or an ageing of another kind; `ValueError` for a number of times
    that is no whole number from 0 on, for an ageing that changes shapes, and for what `method`
    refuses.
    """

    method: AbstractProgramming
    ageing: Callable[[Crossbar, PRNGKeyArray], Crossbar]
    times: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.method, AbstractProgramming):
            raise TypeError(
                f"method is {described(self.method)}; pass one such as xb.WriteVerify(...)."
            )
        if not callable(self.ageing):
            raise TypeError(
                f"ageing is {described(self.ageing)}; pass a function (crossbar, key) -> crossbar."
            )
        if isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 0:
            raise ValueError(f"times is {self.times}; an array ages 0 times or more often.")

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        self.method.require(crossbar, target)
        before = jax.eval_shape(_full, crossbar)
        after = eqx.filter_eval_shape(self.ageing, before, jax.random.key(0))
        like = lambda x: [(a.shape, a.dtype) for a in jax.tree.leaves(x)]
        if jax.tree.structure(before) != jax.tree.structure(after) or like(before) != like(after):
            raise ValueError(
                "ageing changes the kind, the shape or the dtype of a part of the array: return the"
                " crossbar with other numbers alone."
            )

    def table(self, done: Programmed) -> np.ndarray:
        """The pulses of one array in the order in which an instrument has to play them, as of the
        method's own `table`: those after an interval come after all before it. Raises `TypeError`
        for a method without a table."""
        if not isinstance(self.method, AbstractPulseProgramming):
            raise TypeError(f"method is {described(self.method)}, which has no table of pulses.")
        v, v_gate = (np.split(np.asarray(x), self.times + 1, -1) for x in (done.v, done.v_gate))
        tables, begin = [], 0
        for mine in zip(v, v_gate):
            part = self.method.table(eqx.tree_at(lambda d: (d.v, d.v_gate), done, mine))
            part["step"] += begin
            begin = int(part["step"][-1]) + 1 if part.size else begin
            tables.append(part)
        return np.concatenate(tables)

    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        rows_cols = crossbar.shape
        crossbar = _full(crossbar)

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


def _full(crossbar: Crossbar) -> Crossbar:
    """The array with one number per cell, whose states can differ."""
    full = lambda x: jnp.broadcast_to(x, crossbar.shape)
    return eqx.tree_at(lambda c: c.cell, crossbar, jax.tree.map(full, crossbar.cell))
