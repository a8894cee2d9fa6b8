"""The verbs as compiled programs, and the size of their lowered code.

A test compares the sizes with a committed table. After an intended change, rewrite the table by

    python -m experiments.speed.verbs
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import xbarjax as xb

from ..common import write_json
from .circuits import circuit, crossbar

TABLE = Path(__file__).parent / "operations.json"
ROWS = 16  # of the arrays in the table
Program = tuple[Callable, tuple[Any, ...]]
VERBS = tuple(json.loads(TABLE.read_text()))


def programs(n: int) -> dict[str, Program]:
    """Functions to compile, with their arguments, for n x n arrays."""
    g, r_row, r_col, v = circuit(n, True)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(0.2 * v)
    wires = xbar.wires
    sinh = xb.Crossbar(xb.Sinh(xbar.cell.g, 4.0), wires)
    gated = xb.Series(xb.Mosfet(1e-3, 0.45, v_gate=1.8, n=1.3), xbar.cell)
    transistors = xb.Crossbar(gated, wires)
    moving = xb.Crossbar(xbar.cell, xb.Wires(wires.r_row, wires.r_col, c_row=1e-16, c_col=1e-16))
    total = lambda f: lambda *args: jnp.sum(f(*args) ** 2)
    current = lambda xbar, v: xb.read(xbar, v).i_out
    return {
        "read, currents": (current, (xbar, v_in)),
        "read, everything": (xb.read, (xbar, v_in)),
        "read, gradient": (jax.grad(total(current), (0, 1)), (xbar, v_in)),
        "sinh read": (current, (sinh, v_in)),
        "sinh read, gradient": (jax.grad(total(current), (0, 1)), (sinh, v_in)),
        "1T1R read": (current, (transistors, v_in)),
        "transfer": (xb.transfer, (xbar,)),
        "transfer, gradient": (jax.grad(total(xb.transfer)), (xbar,)),
        "solve, inverse": (_inverse, (xbar, 1e-6 * v_in)),
        "solve, gradient": (jax.grad(total(_inverse), (0, 1)), (xbar, 1e-6 * v_in)),
        "solve by reads, gradient": (
            jax.grad(total(partial(_inverse, method=xb.NewtonKrylov())), (0, 1)),
            (xbar, 1e-6 * v_in),
        ),
        "simulate": (_simulated, (moving, v_in)),
        "settling_time": (_settled, (moving, v_in)),
        "training step": _training(n),
    }


def _inverse(xbar: xb.Crossbar, i: Any, **how: Any) -> Any:
    """The inverse of the array's matrix times currents [A], by amplifiers of a gain of 1e4."""
    loop = xb.Circuit(
        array=xb.elements.Array(xbar.cell, xbar.wires, rows="x", cols="e"),
        amps=xb.elements.OpAmp(minus="e", out="x", gain=1e4),
        source=xb.elements.CurrentSource(to="e", i=i),
    )
    return xb.solve(loop, **how).v["x"]


def _simulated(xbar: xb.Crossbar, v_in: Any) -> Any:
    wave = xb.waveform.pulse(v_in, 1e-9, 1e-10)
    return xb.simulate(xbar, wave, jnp.linspace(0, 2e-9, 5)).i_out


def _settled(xbar: xb.Crossbar, v_in: Any) -> Any:
    return xb.settling_time(xbar, v_in, 8, edge=1e-10, until=1e-7)


def _training(n: int) -> Program:
    """A training step of a layer of n x n weights, with batches of 8 inputs."""
    pair = xb.DifferentialPair(1e-6, 1e-4)
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0))
    layer = eqx.nn.Linear(n, n, key=jax.random.key(0), dtype="float64")
    model = xb.nn.convert(layer, lambda weights: xb.nn.tile(weights, pair, build))
    loss = lambda model, x, _: jnp.mean(jax.vmap(model)(x) ** 2)
    training = xb.nn.Training(loss, optax.adam(1e-2))
    batch = jnp.asarray(np.random.default_rng(1).uniform(size=(8, n)))
    return lambda state, x: xb.nn.step(training, state, x)[1:], (training.begin(model), batch)


def size_of(text: str) -> dict[str, int]:
    """Number of operations and loops of a program in StableHLO."""
    operations = len(re.findall(r"^\s*%\S+ = ", text, re.MULTILINE))
    return {"operations": operations, "loops": text.count("stablehlo.while")}


def sizes() -> dict[str, dict[str, int]]:
    """Sizes of every verb, lowered for this machine."""
    of = lambda f, args: size_of(jax.jit(f).lower(*args).as_text())
    return {name: of(*program) for name, program in programs(ROWS).items()}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    write_json(TABLE, sizes())
