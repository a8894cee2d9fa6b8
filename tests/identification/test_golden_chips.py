"""Twins of chips that are ngspice netlists, read with noise and by converters of 12 bits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from golden import CHIPS
from reference import devices as of

NOISE = 1e-3  # of full scale
BITS = 12
CHIP = {name: CHIPS.load(name) for name in CHIPS.stored()}


def measured(name: str, seed: int = 0, reads: Any = slice(None), noise: float = NOISE) -> xb.Measured:
    """What an instrument reads of a chip, which ranges by each read's largest current of each kind
    of terminal."""
    x, exact = CHIP[name]["inputs"], CHIP[name]["outputs"]
    rng = np.random.default_rng(seed)
    sensed, sigma = {}, {}
    for kind, i in exact.items():
        full = np.abs(i).max(axis=1, keepdims=True)
        step = 2 * full / 2**BITS
        noisy = i + noise * full * rng.standard_normal(i.shape)
        sensed[kind] = (step * np.round(noisy / step))[reads]
        sigma[kind] = np.sqrt((noise * full) ** 2 + step**2 / 12)[reads]
    return xb.Measured(x["v_row"][reads], sensed, sigma, **others(x, reads))


def others(x: dict[str, Any], reads: Any = slice(None)) -> dict[str, Any]:
    gate = None if x["v_gate"] is None else np.broadcast_to(
        x["v_gate"][:, None], x["v_row"].shape
    )[reads]
    return {"v_col": x["v_col"][reads], "v_gate": gate}


def complete(name: str) -> xb.Crossbar:
    """The chip with all of its parasitics."""
    x = CHIP[name]["inputs"]
    spec = x["cell"]
    if x["v_gate"] is not None:
        spec = spec | {"a": spec["a"] | {"v_gate": 1.8}}
    wires = xb.Wires(jnp.asarray(x["r_row"]), jnp.asarray(x["r_col"]))
    return xb.Crossbar(of.cell(spec), wires, xb.Drive(jnp.asarray(x["r_contact"])))
