import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray


class AbstractPerturbation(eqx.Module):
    """An effect of fabrication, programming, time or reading on a part of a circuit: `(x, key) ->
    x`.

    `x` is an array of conductances [S] or of segments' resistances [ohm], or (`At`) a circuit. One
    key is one die. It happens in two steps: `draw` knows the key but no sizes and gives standard
    normal numbers; `apply` knows the sizes but no key. So two settings under one key are compared
    on the same random numbers, the derivative by a size is that of this very die (the
    reparameterisation of Kingma and Welling, 2013, arXiv:1312.6114), and rare dies can be looked
    for by moving what was drawn. What differs from cycle to cycle is the same thing under a fresh
    key each cycle.

    Sizes that cannot be (negative spreads, no probabilities, not finite) raise `ValueError` when a
    perturbation is made of plain numbers; under tracing nothing can be raised, and `sweep` makes
    each from plain numbers first.
    """

    @abc.abstractmethod
    def draw(self, x: Any, key: PRNGKeyArray) -> Any:
        """Standard normal numbers, a pytree, for an `x` of which only shape and dtype count."""

    @abc.abstractmethod
    def apply(self, x: Any, drawn: Any) -> Any:
        """`x` as it is on the die for which `drawn` was drawn."""

    def __call__(self, x: Any, key: PRNGKeyArray) -> Any:
        """`x` as it is on the die of `key`."""
        return self.apply(x, self.draw(x, key))


def normals(x: Any, key: PRNGKeyArray) -> Array:
    """A standard normal number for every entry of `x`, in its dtype."""
    return jax.random.normal(key, x.shape, x.dtype)


def of_finite(f: Callable[[Array], Array], x: Array) -> Array:
    """`f(x)` in the dtype of `x`, where `x` is finite: what is open or broken (inf) stays so, and
    has no part in a derivative."""
    finite = jnp.isfinite(x)
    return jnp.where(finite, f(jnp.where(finite, x, 0)), x).astype(x.dtype)


class Chain(AbstractPerturbation):
    """One perturbation after another. What is drawn for a stage depends on the key and on how many
    stages stand before it, so that what comes later can be changed without changing it.

    **Arguments:** `stages`, perturbations.
    """

    stages: tuple[AbstractPerturbation, ...]

    def __init__(self, *stages: AbstractPerturbation):
        self.stages = stages

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[Any, ...]:
        drawn = []
        for k, stage in enumerate(self.stages):
            drawn.append(stage.draw(x, jax.random.fold_in(key, k)))
            x = eqx.filter_eval_shape(stage.apply, x, drawn[-1])  # a stage may broadcast a leaf
        return tuple(drawn)

    def apply(self, x: Any, drawn: tuple[Any, ...]) -> Any:
        for stage, mine in zip(self.stages, drawn, strict=True):
            x = stage.apply(x, mine)
        return x


class At(AbstractPerturbation):
    """A perturbation of one leaf of a circuit, the others as they are:
    `At(lambda crossbar: crossbar.cell.g, Lognormal(0.1))` takes a `Crossbar` to a `Crossbar`.

    **Arguments:**

    - `where`: the leaf of the circuit. Define it once: a new function compiles anew.
    - `perturbation`: what happens to that leaf.
    - `shape`: what a leaf is broadcast to before: `(rows, cols)` for a segment resistance that
        is one number, so that every segment has its own draw.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    perturbation: AbstractPerturbation
    shape: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def draw(self, x: Any, key: PRNGKeyArray) -> Any:
        leaf = self.where(x)
        if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
            raise TypeError(
                f"where picks a {type(leaf).__name__}; it must pick one array of the circuit, as"
                " lambda crossbar: crossbar.cell.g does."
            )
        shape = leaf.shape if self.shape is None else self.shape
        return self.perturbation.draw(jax.ShapeDtypeStruct(shape, leaf.dtype), key)

    def apply(self, x: Any, drawn: Any) -> Any:
        leaf = self.where(x)
        leaf = leaf if self.shape is None else jnp.broadcast_to(leaf, self.shape)
        return eqx.tree_at(self.where, x, self.perturbation.apply(leaf, drawn))
