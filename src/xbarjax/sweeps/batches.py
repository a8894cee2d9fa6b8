"""Batches of dies of a sweep, computed one per device at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, UInt32

from .die import Metrics, Settings
from .plan import Sweep, require_name


class Batch(NamedTuple):
    """A batch of dies at one setting: a device computes it in one call, and the store holds it in
    one chunk.

    **Attributes:** `point`: of the grid of settings; `number`: of the batch at this point.
    """

    point: int
    number: int

    def place(self, plan: Sweep) -> tuple[Any, ...]:
        """Index of the batch in the result arrays of the sweep."""
        at = np.unravel_index(self.point, plan.shape[:-1]) if plan.axes else ()
        start = self.number * plan.batch
        return (*map(int, at), slice(start, min(start + plan.batch, plan.dies)))


def one_batch(
    plan: Sweep, settings: Settings, start: UInt32[Array, ""], *, singly: bool
) -> Metrics:
    """The metrics of `plan.batch` dies from number `start` on, `(batch,)` each.

    With `singly` the dies run one after another, which is fastest on a CPU core: the arrays of a
    die stay in cache and no die waits for the slowest. Otherwise all dies run at once, which is
    fastest on an accelerator.
    """
    numbers = start + jnp.arange(plan.batch, dtype=jnp.uint32)
    status = {"status": jnp.zeros((), jnp.int32)}  # marks a computed die
    measure = lambda n: _numbers(status | plan.die(settings, plan.key(n)))
    return lax.map(measure, numbers) if singly else jax.vmap(measure)(numbers)


def _numbers(found: Metrics) -> Metrics:
    """Metrics as floating-point numbers, in which NaN can mark a missing value; the status stays an
    integer."""
    floating = lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    found = {name: jnp.asarray(x) for name, x in found.items()}
    status = found.pop("status").astype(jnp.int32)
    return {"status": status} | {name: floating(x) for name, x in found.items()}


def shapes(plan: Sweep) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the status and the metrics of a die. Raises `TypeError` if `die` returns
    no dict, and `ValueError` for metrics that cannot be stored (an array, the name of an axis) and
    for limits of an unknown metric."""
    found = jax.eval_shape(lambda: plan.die(plan.settings(0), plan.key(0)))
    if not isinstance(found, dict) or not found:
        raise TypeError(f"die returns {found!r}; it must return a dict of scalars by name.")
    for name, value in found.items():
        require_name(name, "die")
        if name == "die" or name in plan.axes:
            raise ValueError(f"die returns a {name!r}, which is an axis; give it another name.")
        if value.shape != ():
            raise ValueError(f"the metric {name!r} has the shape {value.shape}; return a scalar.")
    if unknown := set(plan.limits) - set(found):
        raise ValueError(
            f"limits has {sorted(unknown)[0]!r}, which die does not return; it returns"
            f" {', '.join(sorted(found))}."
        )
    status = {"status": jax.ShapeDtypeStruct((), jnp.int32)}
    return jax.eval_shape(_numbers, status | found)


def fingerprint(plan: Sweep, devices: Sequence[Any]) -> str:
    """Identity of the computation of a batch on this kind of device: SHA-256 of its StableHLO,
    which includes all numbers that the functions of the plan close over."""
    one = devices[:1]
    text = _compiled(plan, one).lower(*_arguments(plan, [Batch(0, 0)], one)).as_text()
    return hashlib.sha256(text.encode()).hexdigest()


def compute(
    plan: Sweep, batches: Sequence[Batch], devices: Sequence[Any]
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """The results of the batches in order, as NumPy arrays; each device computes one batch at a
    time. The next batches run while the caller handles the present ones."""
    run = _compiled(plan, devices)
    pending: tuple[Sequence[Batch], dict[str, Array]] | None = None
    for k in range(0, len(batches), len(devices)):
        group = batches[k : k + len(devices)]
        started = group, run(*_arguments(plan, group, devices))
        if pending is not None:
            yield from _on_the_host(plan, *pending)
        pending = started
    if pending is not None:
        yield from _on_the_host(plan, *pending)


def _compiled(plan: Sweep, devices: Sequence[Any]) -> jax.stages.Wrapped:
    """The compiled function from settings and first dies, `(devices,)`, to metrics, `(devices,
    batch)`. Each device runs the same program for any number of devices, so that results do not
    depend on this number."""
    singly = devices[0].platform == "cpu"

    def on_one(settings: Settings, start: UInt32[Array, "1"]) -> Metrics:
        mine = {name: x[0] for name, x in settings.items()}
        found = one_batch(plan, mine, start[0], singly=singly)
        return {name: x[None] for name, x in found.items()}

    spec = PartitionSpec("devices")
    split = jax.shard_map(
        on_one,
        mesh=Mesh(np.array(devices), ("devices",)),
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    return jax.jit(split)


def _arguments(
    plan: Sweep, group: Sequence[Batch], devices: Sequence[Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    filled = [*group, *[group[-1]] * (len(devices) - len(group))]  # the last group may be short
    settings = [plan.settings(batch.point) for batch in filled]
    stacked = {name: np.stack([np.asarray(s[name]) for s in settings]) for name in plan.axes}
    return stacked, np.array([batch.number * plan.batch for batch in filled], np.uint32)


def _on_the_host(
    plan: Sweep, group: Sequence[Batch], values: dict[str, Array]
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    host = {name: np.asarray(x) for name, x in values.items()}
    for k, batch in enumerate(group):
        dies = batch.place(plan)[-1]
        yield batch, {name: x[k, : dies.stop - dies.start] for name, x in host.items()}
