"""The verb: dies by the batch, on every device, into a store that any later run goes on with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
from jax.experimental.multihost_utils import sync_global_devices

from .batches import Batch, compute, shapes
from .plan import Sweep

if TYPE_CHECKING:
    import xarray

    from .store import Store


def sweep(
    plan: Sweep,
    path: str | Path,
    *,
    devices: Sequence[Any] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    """Computes what is missing of a sweep and returns all of it.

    Results go to a Zarr store at `path`, a batch at a time and whole files at a time. Stopped at
    any point, by whatever, the same call goes on where it stopped; two runs of one plan give the
    same bytes on one kind of device, whatever the number of devices and processes. With several
    processes (`jax.distributed.initialize()` before, and a file system that they share) each
    computes its share; where one ends early, JAX ends the others within minutes.

    **Arguments:**

    - `plan`: what to compute.
    - `path`: of the store. A new one appears there, or it holds this very sweep.
    - `devices`: of this process; all by default. Two cores of a CPU are two devices if
        `jax.config.update("jax_num_cpu_devices", 2)` comes before anything is computed.
    - `on_batch`: called with how many batches are finished and how many there are, of this
        process's share, at the start and after every one.

    **Returns:** the results as `results(path)` gives them.

    Raises `ValueError` for a design or a perturbation that cannot be at some value of an axis, for
    devices of several kinds, and (`StoreError`) where `path` holds something else or another run
    writes there; `OSError` where a batch cannot be written, `RuntimeError` where a device fails
    (what was finished stays); `ModuleNotFoundError` without the extra `sweep`.
    """
    store_of = _with_zarr()
    shapes(plan)  # refuses what cannot be stored, before anything is written
    path, store = Path(path), None
    devices = list(devices or jax.local_devices())
    if len(kinds := {(one.platform, one.device_kind) for one in devices}) > 1:
        raise ValueError(f"devices are of several kinds, {sorted(kinds)}; results would differ.")
    rank, processes = jax.process_index(), jax.process_count()
    with contextlib.ExitStack() as until_the_end:
        if rank == 0:
            plan.check()
            until_the_end.enter_context(store_of.alone(path))
            store = store_of.open_store(path, plan, devices)
            store.tidy(plan)
        if processes > 1:
            sync_global_devices("the store is there")
        store = store or store_of.open_store(path, plan, devices, create=False)
        _compute_missing(plan, store, devices, on_batch or (lambda finished, total: None))
        if processes > 1:
            sync_global_devices("every share is there")
    return results(path)


def _compute_missing(
    plan: Sweep, store: Store, devices: Sequence[Any], on_batch: Callable[[int, int], None]
) -> None:
    """This process's share of the batches that are not there."""
    everything = [Batch(point, k) for point in range(plan.points) for k in range(plan.batches)]
    mine = everything[jax.process_index() :: jax.process_count()]
    missing = [batch for batch in mine if not store.finished(plan, batch)]
    finished = len(mine) - len(missing)
    on_batch(finished, len(mine))
    kept = lambda: f"{finished} of {len(mine)} batches are there: run it again to go on."
    computed = compute(plan, missing, devices)
    while finished < len(mine):
        try:
            batch, values = next(computed)
        except jax.errors.JaxRuntimeError as error:
            raise RuntimeError(f"A device failed: {error}. {kept()}") from error
        try:
            store.write(plan, batch, values)
        except OSError as error:
            raise OSError(
                error.errno, f"{store.path} could not be written: {error}. {kept()}"
            ) from error
        finished += 1
        on_batch(finished, len(mine))


def results(path: str | Path) -> xarray.Dataset:
    """The results of a sweep, finished or not: a variable for each metric over the axes and `die`.

    A metric is NaN where it was, and where nothing has been computed (there `status` is -1).
    Attributes: `limits` and `configuration` (JSON), `about`; axes and metrics have their `units`.

    Raises `StoreError` (a `ValueError`) where there is no store of a sweep.
    """
    _with_zarr().open_group(Path(path), mode="r")
    import xarray

    return xarray.open_zarr(path, consolidated=False, chunks=None)


def _with_zarr() -> ModuleType:
    """The module of stores, whose libraries are an extra."""
    try:
        import xarray  # noqa: F401

        from . import store
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Results of a sweep need {error.name}: run pip install 'xbarjax[sweep]'."
        ) from error
    return store
