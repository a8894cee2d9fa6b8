"""Circuits of golden loops."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import xbarjax as xb
from xbarjax import elements as el


def loop_of(x: dict[str, Any]) -> xb.Circuit:
    """The circuit of golden inputs."""
    x = {k: None if v is None else jnp.asarray(v, float) for k, v in x.items()}
    wires = xb.Wires(x["r_row"], x["r_col"])
    swing = {} if x["swing"] is None else {"v_low": -x["swing"], "v_high": x["swing"]}
    amplifier = {"gain": x["gain"], **swing}
    elements: dict[str, Any] = {
        "plus": el.Array(xb.Ohmic(x["g"][0]), wires, rows="x", cols="e"),
        "amps": el.OpAmp(minus="e", out="x", v_offset=x["offset"], **amplifier),
        "source": el.CurrentSource(to="e", i=x["i"]),
    }
    if x["r_inverter"] is None:
        elements |= {
            "minus": el.Array(xb.Ohmic(x["g"][1]), wires, rows="y", cols="e"),
            "plus again": el.Array(xb.Ohmic(x["g"][0]), wires, rows="y", cols="d"),
            "minus again": el.Array(xb.Ohmic(x["g"][1]), wires, rows="x", cols="d"),
            "amps again": el.OpAmp(minus="d", out="y", v_offset=x["offset"], **amplifier),
            "source": el.CurrentSource(to="e", i=x["i"], back="d"),
        }
    elif len(x["g"]) == 2:
        elements |= {
            "minus": el.Array(xb.Ohmic(x["g"][1]), wires, rows="y", cols="e"),
            "ahead": el.Resistor("x", "m", x["r_inverter"]),
            "back": el.Resistor("m", "y", x["r_inverter"]),
            "inverters": el.OpAmp(minus="m", out="y", **amplifier),
        }
    return xb.Circuit(**elements)
