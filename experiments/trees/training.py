"""Bounds trained through the circuit: wires and a fresh die are in every step."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from xbarjax.systems import cam
from xbarjax.variability import Lognormal

from .circuit import Die, Wanted, folded, ideal, program

STEPS, RATE, DECADES = 30, 4e-3, 0.25  # rate in V
LEAST = 1e-2  # probability
ADAM = optax.adam(optax.cosine_decay_schedule(RATE, STEPS, 0.1))


class Bound(NamedTuple):
    low: Any  # [V], `(down * along, rows, cols)`
    high: Any


class Task(NamedTuple):
    """What stays the same in training."""

    tile: cam.Tile
    begin: Bound
    free: Bound  # which bounds are finite
    base: Any
    value: Any  # (down * rows, outputs)
    queries: Any
    parts: Any  # levels of samples, (samples, along, cols)
    y: Any  # classes, or numbers for a regression
    sigma: Any
    offset: Any
    g_open: Any


def train(
    goal: Wanted, tile: cam.Tile, g_open: float, queries: Any, x: Any, y: Any, die: Die
) -> tuple[Wanted, list[float]]:
    """New bounds of a table on tiles, to be stored as if wires were ideal, and the losses.

    The loss is that of the training samples `x`, in levels: the cross-entropy of the trees' mean
    probabilities for whole numbers `y`, else the squared error over the variance. Each step of Adam
    draws the die's spread and offsets anew. Training starts from the conductances that are
    compensated for the wires. Bounds at infinity stay there. Bounds that have crossed are parted at
    their mean.
    """
    down, along, rows, cols = goal.low.shape
    meant = Bound(*(jnp.asarray(b).reshape(-1, rows, cols) for b in (goal.low, goal.high)))
    free = jax.tree.map(jnp.isfinite, meant)
    held = []
    for low, high in zip(*meant):
        made = program(tile, low, high, jnp.asarray(g_open), True)
        held.append(cam.bounds(ideal(made)))
    found = Bound(*(jnp.stack(b) for b in zip(*held)))
    # a cell that compensation cannot hold starts from what it was meant to be
    begin = jax.tree.map(lambda b, m: jnp.where(jnp.isfinite(m + b), b, m), found, meant)
    begin = Bound(begin.low, jnp.maximum(begin.low, begin.high))
    value = np.zeros((down * rows, goal.table.value.shape[1]))
    value[: goal.tiles.rows] = goal.table.value
    parts = np.asarray(cam.split(goal.tiles, x)).astype(int)
    number = jnp.asarray
    task = Task(
        tile, begin, free, number(goal.table.base), number(value), queries, number(parts),
        number(y), number(die.sigma), number(die.offset), number(g_open),
    )  # fmt: skip
    # an infinite bound would make NaN of the moments of Adam
    bound = jax.tree.map(lambda b, f: jnp.where(f, b, 0.0), begin, free)
    state, losses = ADAM.init(bound), []
    for k in range(STEPS):
        key = jax.random.fold_in(jax.random.key(10_000 + die.seed), k)
        bound, state, loss, finite = _step(task, bound, state, key)
        if not bool(finite):
            raise FloatingPointError(f"a gradient of step {k} is not finite.")
        losses.append(float(loss))
    low, high = (np.asarray(b).reshape(goal.low.shape) for b in _filled(task, bound))
    return goal._replace(low=low, high=high), losses


@eqx.filter_jit
def _step(task: Task, bound: Bound, state: Any, key: Any):
    loss, slope = jax.value_and_grad(partial(_loss, task))(bound, key)
    finite = jnp.stack([jnp.all(jnp.isfinite(s)) for s in jax.tree.leaves(slope)]).all()
    change, state = ADAM.update(slope, state)
    low, high = optax.apply_updates(bound, change)  # pyright: ignore
    crossed = task.free.low & task.free.high & (low > high)
    middle = (low + high) / 2
    parted = Bound(jnp.where(crossed, middle, low), jnp.where(crossed, middle, high))
    return parted, state, loss, finite


def _filled(task: Task, bound: Bound) -> Bound:
    return jax.tree.map(jnp.where, task.free, bound, task.begin)


def _loss(task: Task, bound: Bound, key: Any) -> Any:
    low, high = _filled(task, bound)
    count, rows, _ = low.shape
    along = task.parts.shape[1]
    spread = Lognormal(task.sigma)

    @jax.checkpoint
    def of_tile(one):
        low, high, key, parts = one
        first, second, third = jax.random.split(key, 3)
        made: Any = cam.stored(task.tile, low, high, g_max=task.g_open, hold=True)
        varied = (
            spread.apply(made.cell.g_low, spread.draw(made.cell.g_low, first)),
            spread.apply(made.cell.g_high, spread.draw(made.cell.g_high, second)),
            task.offset * jax.random.normal(third, made.v_offset.shape),
        )
        of = lambda t: (t.cell.g_low, t.cell.g_high, t.v_offset)
        curves = cam.Curves.of(eqx.tree_at(of, made, varied), task.queries)
        t = cam.lookup(curves, parts).t_fall / curves.t_sense
        return jnp.log10(jnp.clip(t, 1e-6, 1e6))

    parts = jnp.moveaxis(task.parts, 1, 0)[jnp.arange(count) % along]
    late = lax.map(of_tile, (low, high, jax.random.split(key, count), parts))
    # A soft match of how late a line falls: the voltage at the sense time says nothing more once
    # it is 0. The earliest of the tiles of a row decides.
    late = jnp.min(folded(late, along), axis=1)  # (down, samples, rows)
    soft = jax.nn.sigmoid(jnp.moveaxis(late, 0, 1).reshape(late.shape[1], -1) / DECADES)
    y = task.base + soft @ task.value
    if jnp.issubdtype(task.y.dtype, jnp.integer):
        each = jnp.maximum(y, 0) + LEAST
        right = jnp.take_along_axis(each, task.y[:, None], axis=1)[:, 0]
        return -jnp.mean(jnp.log(right / each.sum(axis=1)))
    return jnp.mean((y[:, 0] - task.y) ** 2) / jnp.var(task.y)
