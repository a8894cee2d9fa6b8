import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray


class AbstractPerturbation(eqx.Module):
    """Effect of fabrication, programming, time or reading on a part of a circuit: `(x, key) -> x`.

    `x` is an array of conductances [S] or of segment resistances [ohm] or, with `At`, a circuit.
    One key is one die. A perturbation has two steps: `draw` takes the key and returns standard
    normal numbers, whatever the parameters; `apply` takes the parameters and these numbers. As a
    result

    - two settings under one key are compared on the same random numbers;
    - the derivative by a parameter is that of one given die (the reparameterisation of Kingma and
        Welling, 2013, arXiv:1312.6114);
    - rare dies can be searched for by moving the drawn numbers.

    Cycle-to-cycle variation is the same perturbation under a fresh key per cycle.

    Concrete parameters that are impossible (a negative spread, a value that is no probability, not
    finite) raise `ValueError`. Traced parameters cannot raise; `sweep` therefore makes each
    perturbation of concrete numbers first.
    """

    @abc.abstractmethod
    def draw(self, x: Any, key: PRNGKeyArray) -> Any:
        """Standard normal numbers, a pytree; depends on the shape and dtype of `x` alone."""

    @abc.abstractmethod
    def apply(self, x: Any, drawn: Any) -> Any:
        """`x` on the die whose random numbers are `drawn`."""

    def __call__(self, x: Any, key: PRNGKeyArray) -> Any:
        """`x` on the die of `key`."""
        return self.apply(x, self.draw(x, key))


def normals(x: Any, key: PRNGKeyArray) -> Array:
    """Standard normal numbers, one per entry of `x`, in its dtype."""
    return jax.random.normal(key, x.shape, x.dtype)


def of_finite(f: Callable[[Array], Array], x: Array) -> Array:
    """`f(x)` of finite entries, in the dtype of `x`. An infinite entry (open, broken) stays
    infinite and has no gradient."""
    finite = jnp.isfinite(x)
    return jnp.where(finite, f(jnp.where(finite, x, 0)), x).astype(x.dtype)


class Chain(AbstractPerturbation):
    """Perturbations in order, one after another.

    The random numbers of a stage depend on the key and on the number of stages before it, so later
    stages can change without any effect on them.

    **Arguments:** `stages`: perturbations.
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
    """Perturbation of one leaf of a circuit; the other leaves stay.
    `At(lambda crossbar: crossbar.cell.g, Lognormal(0.1))` takes a `Crossbar` to a `Crossbar`.

    **Arguments:**

    - `where`: function from the circuit to the leaf. Define it once: a new function compiles anew.
    - `perturbation`: perturbation of the leaf.
    - `shape`: shape to which the leaf is broadcast first, such as `(rows, cols)` for a scalar
        segment resistance, so that every segment has its own random number.

    Raises `TypeError` if the leaf is not an array.
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
