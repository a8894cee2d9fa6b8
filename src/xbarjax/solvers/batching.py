"""Custom batching rule of linear solves, and the solver interfaces that opt out of it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import lineax as lx
from jax import lax
from jax.custom_batching import custom_vmap

from ..kirchhoff.network import Field, Network

SMALL = 144  # entries of the largest array of a system, from where a CPU solves a batch in turn


class Together(lx.AbstractLinearSolver):
    """Interface of solvers that take many right-hand sides at once by matrix products. A batch of
    right-hand sides never becomes a loop, not even on a CPU."""


class Settings(NamedTuple):
    """Settings of a solve by the kernel."""

    rtol: float
    max_steps: int
    mixed: bool
    hats: tuple[int, int] = (0, 0)  # numbers of coarse-grid hat functions; 0 for no grid
    slow: float = 0.0  # N^2 r g above which the coarse grid is used

    def attributes(self) -> dict[str, Any]:
        """The settings as attributes of a custom call."""
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
    """Interface of solvers that can run as the C++ kernel. The kernel takes a batch as one call and
    does the iterative refinement of refinement.py itself."""

    @abstractmethod
    def has_kernel(self, network: Network) -> bool:
        """Whether the kernel is available here and can solve such a network."""

    @abstractmethod
    def settings(self, shape: tuple[int, ...], dtype: Any) -> Settings:
        """Settings of the kernel for networks of a shape and dtype."""

    @property
    @abstractmethod
    def plain(self) -> lx.AbstractLinearSolver:
        """This solver in JAX alone, without the kernel."""

    @abstractmethod
    def refined(
        self, network: Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, dict[str, Any]]:
        """Refined solution and statistics by the kernel, as `refinement.refined` returns them."""


def sequential_vmap(f: Callable, own: Callable | None = None) -> Callable:
    """`f` with a custom batching rule: on a CPU, `jax.vmap` of it solves one system after another.

    On a CPU one system within the caches is solved faster than many at once in memory, and each
    system stops at its own last iteration. Arguments that the batch shares are not replicated.
    Accelerators solve all systems at once, and so does a CPU if they are small: what their
    operations cost is then mostly the call of each. `f` must not be differentiated: the derivative
    of a solve is another solve.

    `f(made, of, b)` may come with `own(of, b)`, which computes `made` from the system `of` itself.
    The batching rule calls `own` if each member of the batch has an `of` of its own.
    """
    mapped = custom_vmap(f)

    @mapped.def_vmap
    def rule(axis_size: int, in_batched: Any, *args: Any):
        leaves, structure = jax.tree.flatten(args)
        batched = jax.tree.leaves(in_batched)
        names = first_of(leaves)
        distinct = dict(zip(names, leaves, strict=True))  # an array passed twice is kept once
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

        size = max(distinct[n].size // axis_size for n in over) if over else 0
        if size <= SMALL:
            out = at_once(distinct)
        else:
            out = lax.platform_dependent(distinct, cpu=in_turn, default=at_once)
        return out, jax.tree.map(lambda _: True, out)

    return mapped


def first_of(leaves: list) -> list[int]:
    """For each leaf, the index of the first leaf that is the same array."""
    seen = {}
    return [seen.setdefault(id(x), k) for k, x in enumerate(leaves)]
