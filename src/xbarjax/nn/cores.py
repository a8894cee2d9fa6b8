"""Stacks of arrays spread over the CPU cores that JAX has as devices."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .._types import is_concrete

OVER = PartitionSpec("arrays")


def on_every_core(f: Callable[[Array], Array], stack: Array) -> Array:
    """`f` applied to each entry of `stack`. CPU devices share the entries and take theirs one after
    the other; an accelerator takes all at once."""
    mesh = _mesh()
    if mesh is None or len(stack) == 1:
        on_cpu = jax.local_devices()[0].platform == "cpu"
        return lax.map(f, stack) if on_cpu else jax.vmap(f)(stack)
    more = jnp.broadcast_to(stack[:1], (-len(stack) % mesh.size, *stack.shape[1:]))
    filled = jnp.concatenate([stack, more])
    each = jax.shard_map(
        lambda stack: lax.map(f, stack), mesh=mesh, in_specs=OVER, out_specs=OVER, check_vma=False
    )
    return each(filled)[: len(stack)]


def replicate(tree: Any) -> Any:
    """The pytree with its arrays replicated on every CPU device. A training step returns its state
    in this placement; a state placed otherwise would make JAX compile the step twice."""
    mesh = _mesh()
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    arrays, rest = eqx.partition(tree, eqx.is_array)
    if not is_concrete(arrays):
        return eqx.filter_shard(tree, everywhere)
    return eqx.combine(jax.device_put(arrays, everywhere), rest)


def _mesh() -> Mesh | None:
    """Mesh of the CPU devices; `None` for a single device or an accelerator."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu" or len(devices) == 1:
        return None
    return Mesh(np.array(devices), ("arrays",))
