import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

Perturb = Callable[[Any, PRNGKeyArray], Any]


class AbstractPerturbation(eqx.Module):
    """What fabrication, programming, time and reading do to a part of a circuit: `(x, key) -> x`.

    `x` is an array of conductances [S] or of segments' resistances [ohm], or (`At`) a circuit.
    All randomness is in `key`, so that one key is one die, and two settings under one key are
    compared on the same random numbers. A draw is a function of the sizes and of numbers that do
    not depend on them, so that its derivative by a size is that of this very die (the
    reparameterisation of Kingma and Welling, 2013, arXiv:1312.6114). Whatever differs from cycle
    to cycle is the same thing under a fresh key each cycle.
    """

    @abc.abstractmethod
    def __call__(self, x: Any, key: PRNGKeyArray) -> Any:
        """`x` as it is found on the die of `key`."""


class Chain(AbstractPerturbation):
    """One perturbation after another. The random numbers of a stage depend on the key and on how
    many stages stand before it, so that what comes later can be changed without changing them.

    **Arguments:** `stages`, functions `(x, key) -> x`.
    """

    stages: tuple[Perturb, ...]

    def __init__(self, *stages: Perturb):
        self.stages = stages

    def __call__(self, x: Any, key: PRNGKeyArray) -> Any:
        for k, stage in enumerate(self.stages):
            x = stage(x, jax.random.fold_in(key, k))
        return x


class At(AbstractPerturbation):
    """A perturbation of one leaf of a circuit, the others as they are:
    `At(lambda crossbar: crossbar.cell.g, Lognormal(0.1))` takes a `Crossbar` to a `Crossbar`.

    **Arguments:**

    - `where`: the leaf of the circuit. Define it once: a new function compiles anew.
    - `perturbation`: `(x, key) -> x`, what happens to that leaf.
    - `shape`: what a leaf is broadcast to before: `(rows, cols)` for a segment resistance that
        is one number, so that every segment has its own draw.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    perturbation: Perturb
    shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def __call__(self, x: Any, key: PRNGKeyArray) -> Any:
        leaf = self.where(x)
        if not eqx.is_array_like(leaf):
            raise TypeError(
                f"where picks a {type(leaf).__name__}; it must pick one array of the circuit, as"
                " lambda crossbar: crossbar.cell.g does."
            )
        leaf = leaf if self.shape is None else jnp.broadcast_to(leaf, self.shape)
        return eqx.tree_at(self.where, x, self.perturbation(leaf, key))
