"""Circuits of golden/devices as the package has them, from their dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import xbarjax as xb

KINDS: dict[str, Any] = {
    "ohmic": xb.Ohmic,
    "sinh": xb.Sinh,
    "polynomial": xb.Polynomial,
    "poole_frenkel": xb.PooleFrenkel,
    "rectifying": xb.Rectifying,
    "schottky": xb.Schottky,
    "diode": xb.Diode,
    "antiparallel": xb.AntiparallelDiodes,
    "back_to_back": xb.BackToBackDiodes,
    "ekv": xb.Mosfet,
    "level1": xb.Level1Mosfet,
}


def cell(spec: Mapping[str, Any], dtype: Any = float) -> Any:
    parameters = dict(spec)
    kind = parameters.pop("kind")
    if kind == "series":
        return xb.Series(cell(parameters["a"], dtype), cell(parameters["b"], dtype))
    if "w" in parameters:
        parameters["v_knee"] = parameters.pop("w")
    return KINDS[kind](**{k: jnp.asarray(v, dtype) for k, v in parameters.items()})


def circuit(x: Mapping[str, Any], dtype: Any = float) -> tuple[xb.Crossbar, xb.Bias]:
    """The crossbar and its bias: the resistances of terminals are part of the end segments."""
    along = x["along"]
    r_row, r_col = np.asarray(x["r_row"]), np.asarray(x["r_col"])
    inner, far = (r_row[:-1], r_row[-1]) if along else (r_row[:, :-1], r_row[:, -1])
    array = lambda a: jnp.asarray(a, dtype)
    wires = xb.Wires(array(inner), array(r_col[1:]), parallel=along)
    drive, readout = xb.Drive(0.0, array(far)), xb.VirtualGround(r_in_far=array(r_col[0]))
    names = ("v_row_near", "v_row_far", "v_col_near", "v_col_far")
    bias = xb.Bias(*(array(x[name]) for name in names))
    return xb.Crossbar(cell(x["cell"], dtype), wires, drive, readout), bias
