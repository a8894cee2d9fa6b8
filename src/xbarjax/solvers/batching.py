"""Batches of systems on the hardware at hand."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import lineax as lx
from jax import lax
from jax.custom_batching import custom_vmap

from ..kirchhoff.network import Field, Network


class Together(lx.AbstractLinearSolver):
    """A solver of many right-hand sides at once, by matrix products: a batch is no loop for it, on
    a CPU either."""


class Settings(NamedTuple):
    """Settings of the kernel's solves."""

    rtol: float
    max_steps: int
    mixed: bool
    hats: tuple[int, int] = (0, 0)  # of the coarse grid
    slow: float = 0.0  # N^2 r g from which it is used

    def attributes(self) -> dict[str, Any]:
        """As numbers."""
        rows, cols = self.hats
        return {
            "rtol": self.rtol,
            "max_steps": self.max_steps,
            "mixed": self.mixed,
            "hats_rows": rows,
            "hats_cols": cols,
            "slow": self.slow,
        }


class Kernel(lx.AbstractLinearSolver):
    """A solver that may have a kernel of its own for a network, which takes batches as they come
    and does the rounds of refinement.py itself."""

    @abstractmethod
    def has_kernel(self, network: Network) -> bool:
        """Whether there is one for such a network, here."""

    @abstractmethod
    def settings(self, shape: tuple[int, ...], dtype: Any) -> Settings:
        """Settings of the kernel for networks of that shape."""

    @property
    @abstractmethod
    def plain(self) -> lx.AbstractLinearSolver:
        """The same solver in JAX alone."""

    @abstractmethod
    def refined(
        self, network: Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, dict[str, Any]]:
        """Solution and statistics as of `refinement.refined`, by the kernel."""


def sequential_vmap(f: Callable, own: Callable | None = None) -> Callable:
    """`f`, except that on a CPU `jax.vmap` of it runs one system after the other.

    There a system within the caches is solved faster than many at once in memory, and each stops
    at its own last iteration. What the batch shares is computed once. Accelerators run all at
    once. Nothing may differentiate `f`: the derivative of a solve is another solve.

    `f(made, of, b)` may come with `own(of, b)`, which makes what is `made` of the system on the
    way. It is run instead where each system of a batch is its own.
    """
    mapped = custom_vmap(f)

    @mapped.def_vmap
    def rule(axis_size: int, in_batched: Any, *args: Any):
        leaves, structure = jax.tree.flatten(args)
        batched = jax.tree.leaves(in_batched)
        names = first_of(leaves)
        distinct = dict(zip(names, leaves, strict=True))  # equal arguments are one array
        over = {n for n, b in zip(names, batched, strict=True) if b}
        anew = own if own is not None and any(jax.tree.leaves(in_batched[1])) else None

        def filled(*parts):
            values = {n: x for part in parts for n, x in part.items()}
            return structure.unflatten(values[n] for n in names)

        def in_turn(distinct):
            shared = {n: x for n, x in distinct.items() if n not in over}

            def one(turn):
                args = filled(shared, turn)
                return (
                    sequential_vmap(f, own)(*args)
                    if anew is None
                    else sequential_vmap(anew)(*args[1:])
                )

            return lax.map(one, {n: x for n, x in distinct.items() if n in over})

        def at_once(distinct):
            axes = structure.unflatten(0 if b else None for b in batched)
            return jax.vmap(f, axes, axis_size=axis_size)(*filled(distinct))

        out = lax.platform_dependent(distinct, cpu=in_turn, default=at_once)
        return out, jax.tree.map(lambda _: True, out)

    return mapped


def first_of(leaves: list) -> list[int]:
    """For each of some arrays, the index of the first that is the same one."""
    seen = {}
    return [seen.setdefault(id(x), k) for k, x in enumerate(leaves)]
