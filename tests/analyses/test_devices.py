"""Nonlinear cells against circuits solved by ngspice (tests/golden/devices) and by tests/newton."""

from __future__ import annotations

import shutil
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import DEVICES
from reference import devices as of, newton

TOL = 1e-9
every_circuit = pytest.mark.parametrize("name", DEVICES.stored())
QUANTITIES = ("v_row", "v_col", "i_cell", "i_out")


def difference(got: Any, want: Any, name: str) -> float:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (name, got.shape, want.shape)
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


large = lambda name: pytest.param(name, marks=pytest.mark.slow if name.endswith("_32") else ())
main_ones = ("sinh_high_32", "sinh_float_32", "ekv_row_32", "level1_col_along_32")


@pytest.mark.few(20)
@pytest.mark.parametrize(
    "name", [name if name in main_ones else large(name) for name in DEVICES.stored()]
)
def test_a_read_agrees_with_ngspice(name: str) -> None:
    record = DEVICES.load(name)
    crossbar, bias = of.circuit(record["inputs"])
    solution = xb.read(crossbar, bias)
    assert int(solution.status) == 0 and int(solution.newton_steps) <= 12
    for quantity, want in record["outputs"].items():
        assert difference(getattr(solution, quantity), want, quantity) < TOL, quantity


def test_a_change_of_a_millionth_in_one_cell_would_be_seen() -> None:
    record = DEVICES.load("ekv_row")
    crossbar, bias = of.circuit(record["inputs"])
    cell = crossbar.cell
    assert isinstance(cell, xb.Series) and isinstance(cell.second, xb.Ohmic)
    g = jnp.asarray(cell.second.g)
    at = np.unravel_index(np.argmax(np.asarray(record["outputs"]["i_cell"])), g.shape)
    changed = eqx.tree_at(lambda x: x.cell.second.g, crossbar, g.at[at].multiply(1 + 1e-6))
    got = xb.read(changed, bias)
    assert difference(got.i_out, record["outputs"]["i_out"], "i_out") > 10 * TOL


@pytest.mark.parametrize("name", ["selector_float", "level1_col_along", "schottky"])
def test_ngspice_still_gives_the_stored_values(name: str) -> None:
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not on PATH: the stored circuits are not rerun")
    record = DEVICES.load(name)
    again = DEVICES.simulate(DEVICES.inputs(name))
    for quantity, want in record["outputs"].items():
        assert difference(again[quantity], want, quantity) < 1e-12, quantity


@every_circuit
def test_the_newton_reference_agrees_with_ngspice(name: str) -> None:
    record = DEVICES.load(name)
    x = record["inputs"]
    cell = newton.build(x["cell"])
    solution = newton.solve(cell, **{k: v for k, v in x.items() if k != "cell"})
    for quantity, want in record["outputs"].items():
        assert difference(getattr(solution, quantity), want, quantity) < 1e-11, quantity
