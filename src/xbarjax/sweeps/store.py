"""Stores of sweep results: Zarr stores with one chunk per batch, each complete or absent."""

import contextlib
import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jaxlib
import numpy as np
import zarr
import zarr.errors
from filelock import FileLock, Timeout

from .batches import Batch, fingerprint, shapes
from .plan import Sweep


class StoreError(ValueError):
    """Raised for a path that holds no store of a sweep, or the store of another sweep."""


@dataclasses.dataclass(frozen=True)
class Store:
    """The store of a sweep, one Zarr array per metric. Each metric of a batch is written as one
    file, which takes its name when complete; a batch is finished when the files of all metrics
    exist."""

    path: Path
    arrays: Mapping[str, zarr.Array]

    def finished(self, plan: Sweep, batch: Batch) -> bool:
        return all(self._chunk(name, plan, batch).exists() for name in self.arrays)

    def write(self, plan: Sweep, batch: Batch, values: Mapping[str, np.ndarray]) -> None:
        for name, array in self.arrays.items():
            array[batch.place(plan)] = values[name]

    def tidy(self, plan: Sweep) -> None:
        """Removes partial files of a killed run, and updates units, limits and description from the
        plan: these may change, the dies may not."""
        group = open_group(self.path, mode="r+")
        _say(group, _said(plan))
        for name, array in group.arrays():
            _say(array, _unit(plan, name))
            for part in (self.path / name).rglob("*.partial"):
                part.unlink(missing_ok=True)

    def _chunk(self, name: str, plan: Sweep, batch: Batch) -> Path:
        *at, dies = batch.place(plan)
        key = self.arrays[name].metadata.encode_chunk_key((*at, dies.start // plan.batch))
        return self.path / name / key


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """A lock that keeps other runs from writing at `path`: a file `.name.lock` beside it, which
    remains. Raises `StoreError` if another run holds the lock. On some network file systems locks
    work only between the runs of one machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"{path} is being written by another run; wait for it, or stop it."
        ) from error
    try:
        yield
    finally:
        lock.release()


def configuration(plan: Sweep, devices: Sequence[Any]) -> dict[str, Any]:
    """The configuration of a run. Runs of equal configuration give the same bytes."""
    return {
        "axes": [[name, [float(x) for x in values]] for name, values in plan.axes.items()],
        "dies": plan.dies,
        "batch": plan.batch,
        "seed": plan.seed,
        "computation": fingerprint(plan, devices),
        "device": f"{devices[0].platform}, {devices[0].device_kind}",
        "versions": {"jax": jax.__version__, "jaxlib": jaxlib.__version__},
    }


def open_store(path: Path, plan: Sweep, devices: Sequence[Any], *, create: bool = True) -> Store:
    """The store of this sweep at `path`, opened or, with `create`, made anew in one step.

    Raises `StoreError` if `path` holds another sweep or something else.
    """
    kinds = shapes(plan)
    wanted = configuration(plan, devices)
    if create and not path.exists():
        _create(path, plan, kinds, wanted)
    group = open_group(path, mode="r+")
    there = json.loads(str(group.attrs["configuration"]))
    for name, value in wanted.items():
        if there.get(name) != value:
            raise StoreError(
                f"{path} holds a sweep with another {_difference(name, there.get(name), value)};"
                " name another store, or remove it."
            )
    # A batch of nothing but NaN is a result too, but by default Zarr writes no chunk for it.
    with zarr.config.set({"array.write_empty_chunks": True}):
        arrays = {name: array for name, array in group.arrays() if name not in plan.axes}
    # The status is written last: a die with a status has all its metrics.
    return Store(
        path, {name: arrays[name] for name in sorted(arrays, key=lambda n: (n == "status", n))}
    )


def open_group(path: Path, *, mode: Literal["r", "r+"]) -> zarr.Group:
    """The Zarr group of a store of results; raises `StoreError` for anything else."""
    try:
        group = zarr.open_group(path, mode=mode)
    except (
        FileNotFoundError,
        zarr.errors.GroupNotFoundError,
        NotADirectoryError,
        FileExistsError,
    ) as error:
        raise StoreError(f"{path} is no store of a sweep; name another one.") from error
    if "configuration" not in group.attrs:
        raise StoreError(f"{path} is a Zarr store, but not of a sweep; name another one.")
    return group


def _difference(name: str, there: Any, here: Any) -> str:
    if name == "computation":
        return "computation: die, or a number that die uses, has changed since"
    return f"{name} ({there} there, {here} here)"


def _create(
    path: Path, plan: Sweep, kinds: dict[str, jax.ShapeDtypeStruct], wanted: dict[str, Any]
) -> None:
    aside = path.parent / f".{path.name}.new"  # no other run uses it: this run holds the lock
    shutil.rmtree(aside, ignore_errors=True)  # left by a run that was killed here
    aside.mkdir()
    try:
        group = zarr.create_group(
            aside, attributes=_said(plan) | {"configuration": json.dumps(wanted)}
        )
        for name, values in plan.axes.items():
            values = np.asarray(values, float)
            axis = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                dimension_names=[name],
                attributes=_unit(plan, name),
            )
            axis[:] = values
        for name, kind in kinds.items():
            floating = np.issubdtype(kind.dtype, np.floating)
            group.create_array(
                name,
                shape=plan.shape,
                dtype=kind.dtype,
                fill_value=np.nan if floating else -1,
                chunks=(*[1] * len(plan.axes), plan.batch),
                dimension_names=[*plan.axes, "die"],
                attributes=_unit(plan, name),
            )
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _say(where: zarr.Group | zarr.Array, attributes: dict[str, Any]) -> None:
    if any(where.attrs.get(name) != value for name, value in attributes.items()):
        where.update_attributes(attributes)


def _unit(plan: Sweep, name: str) -> dict[str, Any]:
    return {"units": plan.units[name]} if name in plan.units else {}


def _said(plan: Sweep) -> dict[str, str]:
    """Attributes stored with the results: description and limits. A limit of inf is null in
    JSON."""
    end = lambda x: float(x) if math.isfinite(x) else None
    limits = {name: [end(x) for x in limit] for name, limit in plan.limits.items()}
    return {"about": plan.about, "limits": json.dumps(limits)}
