"""Measured reads as a dataset of xarray, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import OPEN, SIGMA, factor, measured_of, named_of, require_name, unit_of
from .measured import Measured
from .table import require_measured

if TYPE_CHECKING:
    import xarray

LINES = "v_row", "v_row_far", "v_gate", "i_in", "i_in_near", "i_in_far"


def to_dataset(measured: Measured) -> xarray.Dataset:
    """Reads as an `xarray.Dataset`, with one variable per quantity.

    Variables have the names of `load_measured`, the dimensions `read`, `line` and `col`, and their
    `units`. The attribute `open_ends` holds the ends that were left open, separated by blanks.

    Raises `TypeError` for no `Measured`, and `ModuleNotFoundError` without xarray, which the extra
    `sweep` brings.
    """
    try:
        import xarray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"A dataset needs {error.name}: run pip install 'xbarjax[sweep]'."
        ) from error
    require_measured(measured)
    variables = {}
    for name, x in named_of(measured).items():
        alone = name.startswith(SIGMA) and x.shape[1] == 1
        dims = ("read",) if alone else ("read", *_dims(name))[: x.ndim]
        variables[name] = dims, x[:, 0] if alone else x, {"units": unit_of(name)}
    attrs = {OPEN: " ".join(measured.open_ends)} if measured.open_ends else {}
    return xarray.Dataset(variables, attrs=attrs)


def measured_from(dataset: xarray.Dataset) -> Measured:
    """The reads in an `xarray.Dataset`, as `to_dataset` makes it.

    Its dimensions may stand in any order. `units` are those of `load_measured`, and are converted.
    A variable `sigma i_out` has the dimensions of `i_out`, or some of them.

    Raises `ValueError` for an unknown variable, a missing or unfitting unit, other dimensions, and
    what `Measured` refuses.
    """
    named: dict[str, Any] = {}
    for name, x in dataset.data_vars.items():
        said = f"dataset: variable {name!r}"
        name = str(name)
        require_name(name, said)
        if name == OPEN:
            raise ValueError(f"{said} is a variable; give the open ends as attribute {OPEN!r}.")
        dims = ("read", *_dims(name))
        allowed = [dims[:2]] if name != "v_gate" else [dims[:1], dims[:2], dims]
        if name.startswith(SIGMA):
            allowed += [dims[:1], dims[1:], ()]
        if set(x.dims) not in [set(d) for d in allowed]:
            raise ValueError(
                f"{said} has the dimensions {x.dims}; it must have"
                f" {' or '.join(map(str, allowed))}."
            )
        if "units" not in x.attrs:
            raise ValueError(f"{said} has no units; set its attribute 'units' to {unit_of(name)}.")
        ordered = x.transpose(*[d for d in dims if d in x.dims])
        values = np.asarray(ordered.values)
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{said} is of type {values.dtype}; it must hold real numbers.")
        values = values * factor(str(x.attrs["units"]), name, said)
        if name.startswith(SIGMA) and ordered.dims == ("read",):
            values = values[:, None]
        named[name] = values
    return measured_of(named, str(dataset.attrs.get(OPEN, "")).split(), "dataset")


def _dims(name: str) -> tuple[str, ...]:
    """Dimensions of a quantity beside `read`."""
    if name == "v_gate":
        return ("line", "col")
    return ("line",) if name.removeprefix(SIGMA) in LINES else ("col",)
