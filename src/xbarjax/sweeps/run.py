"""Running a sweep: batches of dies on every device, into a store that a later run can resume."""

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
    """Computes the missing batches of a sweep and returns all results.

    Results go to a Zarr store at `path`, batch by batch, in whole files. After an interruption of
    any kind the same call resumes. Two runs of one plan on one kind of device give the same bytes,
    whatever the number of devices and processes. Several processes (call
    `jax.distributed.initialize()` first; they need a common file system) compute a share each; if
    one of them ends early, JAX ends the others within minutes.

    **Arguments:**

    - `plan`: the sweep.
    - `path`: of the store, which is created, or must hold this very sweep.
    - `devices`: of this process, all by default. Two cores of a CPU are two devices if
        `jax.config.update("jax_num_cpu_devices", 2)` is called before any computation.
    - `on_batch`: called with the numbers of finished and of all batches in the share of this
        process, at the start and after every batch.

    **Returns:** the results, as from `results(path)`.

    **Errors:**

    - `ValueError` for a design or perturbation that is invalid at some value of an axis, and for
        devices of several kinds; `StoreError`, a `ValueError`, if `path` holds something else or
        another run writes there.
    - `OSError` if a batch cannot be written, `RuntimeError` if a device fails; finished batches
        stay.
    - `ModuleNotFoundError` without the extra `sweep`.
    """
    store_of = _with_zarr()
    shapes(plan)  # raises for metrics that cannot be stored, before anything is written
    path, store = Path(path), None
    devices = list(devices or jax.local_devices())
    if len(kinds := {(one.platform, one.device_kind) for one in devices}) > 1:
        raise ValueError(
            f"devices are of several kinds, {sorted(kinds)}, whose results would differ; give"
            " devices of one kind."
        )
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
    """Computes and stores the missing batches in the share of this process."""
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
    """The results of a sweep, finished or not: an xarray Dataset with one variable per metric over
    the axes and `die`.

    A metric is NaN if the measurement gave NaN, and for dies not yet computed, whose `status` is
    -1. Attributes: `limits` and `configuration` (JSON), `about`; axes and metrics carry their
    `units`.

    Raises `StoreError`, a `ValueError`, if `path` is no store of a sweep, and `ModuleNotFoundError`
    without the extra `sweep`.
    """
    _with_zarr().open_group(Path(path), mode="r")
    import xarray

    return xarray.open_zarr(path, consolidated=False, chunks=None)


def _with_zarr() -> ModuleType:
    """The module `store`, whose libraries (Zarr and xarray) are an optional extra."""
    try:
        import xarray  # noqa: F401

        from . import store
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Results of a sweep need {error.name}: run pip install 'xbarjax[sweep]'."
        ) from error
    return store
