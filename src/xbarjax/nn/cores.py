"""Stacks of arrays on all the cores that JAX was given as devices."""

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
    """`f` of each entry: on a CPU one after the other on each of its devices, elsewhere at once."""
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
    """A tree whose arrays lie on every core, before a step as after it: a step that found them
    elsewhere than it leaves them would be compiled twice."""
    mesh = _mesh()
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    arrays, rest = eqx.partition(tree, eqx.is_array)
    if not is_concrete(arrays):
        return eqx.filter_shard(tree, everywhere)
    return eqx.combine(jax.device_put(arrays, everywhere), rest)


def _mesh() -> Mesh | None:
    """Mesh of the devices of a CPU, if there are several."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu" or len(devices) == 1:
        return None
    return Mesh(np.array(devices), ("arrays",))
