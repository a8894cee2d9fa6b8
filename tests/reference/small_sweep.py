"""A small sweep, in a module that other processes can import."""

import dataclasses
from typing import Any

import jax.numpy as jnp

import xbarjax as xb
from xbarjax import variability as va
from xbarjax.sweeps import Die, Sweep

cells = lambda crossbar: crossbar.cell.g


def build(settings) -> Any:
    g = jnp.linspace(1e-5, 1e-4, 12).reshape(4, 3)
    r = settings.get("r", jnp.asarray(1.0))
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r))


def build_other(settings):
    made = build(settings)
    return dataclasses.replace(made, cell=xb.Ohmic(made.cell.g.at[0, 0].add(1e-9)))


def vary(settings):
    return va.At(cells, va.Lognormal(settings.get("sigma", jnp.asarray(0.1))))


def current(solution, design):
    return solution.i_out.sum()


def small_die() -> Die:
    return Die(build, jnp.full(4, 0.2), {"total": current}, vary)


def plan(**changes):
    made = Sweep(small_die(), {"sigma": [0.0, 0.1, 0.2], "r": [1.0, 5.0]}, dies=10, batch=4, seed=3)
    return dataclasses.replace(made, **changes)
