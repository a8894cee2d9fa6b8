"""Bounds trained through the circuit: wires and a fresh die are in every step."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from xbarjax.systems import cam
from xbarjax.variability import Lognormal

from .circuit import Die, Wanted

STEPS, RATE, DECADES = 40, 4e-3, 0.25  # rate in V
ADAM = optax.adam(optax.cosine_decay_schedule(RATE, STEPS, 0.1))


class Bound(NamedTuple):
    low: Any  # [V], `(along, rows, cols)`
    high: Any


class Task(NamedTuple):
    """What stays the same in training."""

    tile: cam.Tile
    begin: Bound
    free: Bound  # which bounds are finite
    value: Any  # (rows, outputs)
    queries: Any
    parts: Any  # levels of samples, (samples, along, cols)
    classes: Any
    sigma: Any
    offset: Any
    g_open: Any


def train(
    goal: Wanted, tile: cam.Tile, g_open: float, queries: Any, x: Any, y: Any, die: Die
) -> tuple[Wanted, list[float]]:
    """New bounds of a table on tiles, one block high, and the losses of the steps.

    Cross-entropy of the training samples `x`, in levels, with a fresh draw of the die's spread and
    offsets in every step, by Adam. Bounds at infinity stay there. Bounds that have crossed are
    parted at their mean.
    """
    if goal.low.shape[0] != 1:
        raise ValueError(f"the table takes {goal.low.shape[0]} blocks of tiles; pass one of one.")
    begin = Bound(jnp.asarray(goal.low[0]), jnp.asarray(goal.high[0]))
    free = jax.tree.map(jnp.isfinite, begin)
    value = np.zeros((goal.low.shape[2], goal.table.value.shape[1]))
    value[: goal.tiles.rows] = goal.table.value
    parts = np.asarray(cam.split(goal.tiles, x)).astype(int)
    number = jnp.asarray
    task = Task(
        tile, begin, free, number(value), queries, number(parts), number(y),
        number(die.sigma), number(die.offset), number(g_open),
    )  # fmt: skip
    # an infinite bound would make NaN of the moments of Adam
    bound = jax.tree.map(lambda b, f: jnp.where(f, b, 0.0), begin, free)
    state, losses = ADAM.init(bound), []
    for k in range(STEPS):
        key = jax.random.fold_in(jax.random.key(10_000 + die.seed), k)
        bound, state, value, finite = _step(task, bound, state, key)
        if not bool(finite):
            raise FloatingPointError(f"a gradient of step {k} is not finite.")
        losses.append(float(value))
    low, high = (np.asarray(b)[None] for b in _filled(task, bound))
    return goal._replace(low=low, high=high), losses


@eqx.filter_jit
def _step(task: Task, bound: Bound, state: Any, key: Any):
    value, slope = jax.value_and_grad(partial(_loss, task))(bound, key)
    finite = jnp.stack([jnp.all(jnp.isfinite(s)) for s in jax.tree.leaves(slope)]).all()
    change, state = ADAM.update(slope, state)
    low, high = optax.apply_updates(bound, change)  # pyright: ignore
    crossed = task.free.low & task.free.high & (low > high)
    middle = (low + high) / 2
    parted = Bound(jnp.where(crossed, middle, low), jnp.where(crossed, middle, high))
    return parted, state, value, finite


def _filled(task: Task, bound: Bound) -> Bound:
    return jax.tree.map(jnp.where, task.free, bound, task.begin)


def _loss(task: Task, bound: Bound, key: Any) -> Any:
    low, high = _filled(task, bound)
    spread, late = Lognormal(task.sigma), []
    for j in range(low.shape[0]):
        one, other, third = jax.random.split(jax.random.fold_in(key, j), 3)
        made: Any = cam.stored(task.tile, low[j], high[j], g_max=task.g_open, hold=True)
        varied = (
            spread.apply(made.cell.g_low, spread.draw(made.cell.g_low, one)),
            spread.apply(made.cell.g_high, spread.draw(made.cell.g_high, other)),
            task.offset * jax.random.normal(third, made.v_offset.shape),
        )
        of = lambda t: (t.cell.g_low, t.cell.g_high, t.v_offset)
        curves = cam.Curves.of(eqx.tree_at(of, made, varied), task.queries)
        t = cam.lookup(curves, task.parts[:, j]).t_fall / curves.t_sense
        late.append(jnp.log10(jnp.clip(t, 1e-6, 1e6)))
    # A soft match of how late a line falls: the voltage at the sense time says nothing more once
    # it is 0. The earliest of the tiles of a row decides.
    soft = jax.nn.sigmoid(jnp.min(jnp.stack(late), axis=0) / DECADES)
    logits = soft @ task.value
    return optax.softmax_cross_entropy_with_integer_labels(logits, task.classes).mean()
