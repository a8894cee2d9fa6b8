"""Every linear solver that a user can name, and the circuits that each takes.

A new solver is one line of `SOLVERS`: the tests that are parametrised here then hold for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import lineax as lx
import numpy as np
import pytest
from jaxtyping import Array

import xbarjax as xb
from reference import newton

SYMMETRIC = "symmetric"  # lines that cross, and cells that see v_row - v_col alone
UNSYMMETRIC = "unsymmetric"  # lines that cross, and cells that see more than that
PARALLEL = "parallel"  # source lines along the bit lines
KINDS = SYMMETRIC, UNSYMMETRIC, PARALLEL


class Named(NamedTuple):
    """A solver, the kinds of circuits that quick tests give it, and what else it takes."""

    solver: lx.AbstractLinearSolver
    quick: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()

    def takes(self, kind: str) -> bool:
        return kind in self.quick + self.slow


SOLVERS = {
    "AutoLadder": Named(xb.AutoLadder(), (UNSYMMETRIC,), (SYMMETRIC, PARALLEL)),
    "LadderCG": Named(xb.LadderCG(), (SYMMETRIC,)),
    "LadderCG in JAX": Named(xb.LadderCG(native=False), (SYMMETRIC,)),
    "LadderCG in float64": Named(xb.LadderCG(mixed=False), (SYMMETRIC,)),
    "LadderBiCGStab": Named(xb.LadderBiCGStab(), (SYMMETRIC, UNSYMMETRIC)),
    "LadderBiCGStab in JAX": Named(xb.LadderBiCGStab(native=False), (), (SYMMETRIC, UNSYMMETRIC)),
    "TwinLadders": Named(xb.TwinLadders(), (PARALLEL,)),
    "BlockElimination": Named(xb.BlockElimination(), (SYMMETRIC,)),
    "Dense": Named(xb.Dense(), (SYMMETRIC,), (UNSYMMETRIC, PARALLEL)),
}


def every_solver(*quick: str, kind: str = SYMMETRIC) -> pytest.MarkDecorator:
    """Parametrises `solver` by all that take a kind of circuits: those named are for quick tests,
    the others for `make test-slow`."""
    names = [name for name, named in SOLVERS.items() if named.takes(kind)]
    assert set(quick) <= set(names)
    marks = {name: () if name in quick else pytest.mark.slow for name in names}
    cases = [pytest.param(SOLVERS[name].solver, marks=marks[name], id=name) for name in names]
    return pytest.mark.parametrize("solver", cases)


def every_pair(taken: bool = True) -> pytest.MarkDecorator:
    """Parametrises `solver, kind` by all solvers and the kinds of circuits that they take; or by
    those that they do not."""
    cases = []
    for name, named in SOLVERS.items():
        for kind in KINDS:
            if named.takes(kind) == taken:
                marks = [pytest.mark.slow] if kind in named.slow else []
                cases.append(pytest.param(named.solver, kind, marks=marks, id=f"{name}, {kind}"))
    return pytest.mark.parametrize("solver, kind", cases)


class Leaning(xb.AbstractCell):
    """`I = g (v_row - v_col) (1 + (v_row + v_col) / 4)`, which is not symmetric."""

    g: Array
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = False

    def current(self, v_row: Array, v_col: Array) -> Array:
        return self.g * (v_row - v_col) * (1 + (v_row + v_col) / 4)

    def valid(self) -> Array:
        return self.g >= 0


@dataclass(frozen=True)
class LeaningReference:
    """The same for the Newton reference."""

    g: Any

    def current(self, v_row: Any, v_col: Any) -> Any:
        return self.g * (v_row - v_col) * (1 + (v_row + v_col) / 4)

    def derivative(self, v_row: Any, v_col: Any) -> tuple[Any, Any]:
        return self.g * (1 + v_row / 2), -self.g * (1 + v_col / 2)


def crossbar(kind: str, g: Any, r: Any) -> xb.Crossbar:
    """A circuit of a kind, with cells of `g` [S] and segments of `r` and `2 r` [ohm]."""
    cell = Leaning(g) if kind == UNSYMMETRIC else xb.Ohmic(g)
    return xb.Crossbar(cell, xb.Wires(r, 2 * r, parallel=kind == PARALLEL))


def solved(kind: str, g: Any, r: Any, v: Any) -> newton.Solution:
    """The solution of that circuit by the Newton reference."""
    g, r, v = np.asarray(g), np.asarray(r), np.asarray(v)
    none = np.full((1, g.shape[1]), np.inf)
    along = kind == PARALLEL
    r_row = np.vstack([r, none]) if along else np.hstack([r, np.full((len(r), 1), np.inf)])
    cell = LeaningReference(g) if kind == UNSYMMETRIC else newton.Ohmic(g)
    ends = v, v, np.zeros(g.shape[1]), np.zeros(g.shape[1])
    return newton.solve(cell, r_row, np.vstack([none, 2 * r]), *ends, along=along)
