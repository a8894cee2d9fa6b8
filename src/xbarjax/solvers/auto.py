"""The default linear solver: the ladder method that fits a network."""

from typing import Any

import equinox as eqx
import lineax as lx

from .._types import described
from ..kirchhoff.network import Field, Network
from .ladder_bicgstab import LadderBiCGStab
from .ladder_cg import LadderCG
from .twin_ladders import TwinLadders


class AutoLadder(lx.AbstractLinearSolver):
    """The default linear solver. It delegates to the ladder method that fits the network:

    - `TwinLadders` if source lines run parallel to the bit lines;
    - `LadderCG` if every cell depends on `v_row - v_col` alone, so that the network is symmetric;
    - `LadderBiCGStab` otherwise, for example for transistors.
    """

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> "Chosen":
        if not isinstance(operator, Network):
            raise TypeError(f"AutoLadder solves a Network, not a {type(operator).__name__}.")
        solver = chosen(self, symmetric=operator.symmetric, parallel=operator.parallel)
        return Chosen(solver, solver.init(operator, options))

    def compute(
        self, state: "Chosen", vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        return state.solver.compute(state.state, vector, options)

    def transpose(self, state: "Chosen", options: dict[str, Any]):
        turned, options = state.solver.transpose(state.state, options)
        return Chosen(state.solver, turned), options

    def conj(self, state: "Chosen", options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


class Chosen(eqx.Module):
    """The solver that `AutoLadder` chose for a network, and the state from its `init`."""

    solver: lx.AbstractLinearSolver = eqx.field(static=True)
    state: Any


def chosen(
    solver: lx.AbstractLinearSolver, *, symmetric: bool, parallel: bool
) -> lx.AbstractLinearSolver:
    """The linear solver to use for a kind of network.

    `AutoLadder` is replaced by the ladder method that fits; any other solver is returned unchanged.
    Raises TypeError if `solver` is not a linear solver."""
    if not isinstance(solver, lx.AbstractLinearSolver):
        raise TypeError(
            f"solver is {described(solver)}; pass a linear solver, such as xb.AutoLadder(),"
            " xb.LadderCG() or xb.Dense(), or xb.Newton(...) to read nonlinear cells."
        )
    if not isinstance(solver, AutoLadder):
        return solver
    if parallel:
        return TwinLadders()
    return LadderCG() if symmetric else LadderBiCGStab()
