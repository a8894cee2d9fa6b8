"""Programming of an array: methods that write pulses, and what they leave."""

import abc

import equinox as eqx
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .._types import PerCell, as_physical, described, in_dtype, require_finite
from ..cells import has_memory
from ..crossbar import Crossbar, require_crossbar
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import working_dtype


class Programmed(eqx.Module):
    """An array after programming, and what it took.

    **Attributes:** arrays are `(rows, cols)`.

    - `crossbar`: the array with the states that its devices ended in.
    - `g`: conductance [S] of each cell, as the last verify of its group reads it, without noise.
    - `good`: whether the last verify found the cell in its window.
    - `sets`, `resets`: number of pulses of each polarity; `energy`: energy [J] that the pulses left
        in each cell.
    - `disturb`: change of the conductance [S] of the device at the read voltage by pulses after its
        own.
    - `v`, `v_gate`: voltage across the cell [V] and gate voltage [V] of each pulse before IR drop,
        `(rows, cols, pulses)`; NaN where there was none.
    - `status`: a `Status` of all pulses and reads.
    """

    crossbar: Crossbar
    g: Float[Array, "*batch rows cols"]
    good: Bool[Array, "*batch rows cols"]
    sets: Int[Array, "*batch rows cols"]
    resets: Int[Array, "*batch rows cols"]
    energy: Float[Array, "*batch rows cols"]
    disturb: Float[Array, "*batch rows cols"]
    v: Float[Array, "*batch rows cols pulses"]
    v_gate: Float[Array, "*batch rows cols pulses"]
    status: Int[Array, "*batch"]

    @property
    def pulses(self) -> Int[Array, "*batch rows cols"]:
        """Number of pulses."""
        return self.sets + self.resets


class AbstractProgramming(eqx.Module):
    """A method that writes an array."""

    @abc.abstractmethod
    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        """Raises `ValueError` for an array or a target that the method cannot write."""

    @abc.abstractmethod
    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        """The array after programming."""


def program(
    crossbar: Crossbar, target: ArrayLike, method: AbstractProgramming, *, key: PRNGKeyArray
) -> Programmed:
    """An array whose devices with memory are written to target conductances.

    Every pulse is a transient of the circuit (`xb.simulate`), and every verify a read: transistors,
    wires and drivers are as they are.

    **Arguments:**

    - `crossbar`: the array; its cells have a memory, alone or in series with transistors.
    - `target`: conductances [S], `(rows, cols)`, as the method reads them.
    - `method`: such as `xb.WriteVerify(...)`.
    - `key`: for read noise and the spread of pulses.

    **Returns:** a `Programmed`. Its mask `good` is False for cells that missed their window; their
    last states are kept.

    **Errors:** `ValueError` for cells without memory, and those of the method.
    """
    require_crossbar(crossbar)
    if not isinstance(method, AbstractProgramming):
        raise TypeError(f"method is {described(method)}; pass one such as xb.WriteVerify(...).")
    if not has_memory(crossbar.cell):
        raise ValueError(
            f"program moves the states of devices, and {type(crossbar.cell).__name__} has none: use"
            " a cell with memory, such as xb.VTEAM, alone or in xb.Series with a transistor."
        )
    goal = as_physical(target, "target")
    if goal.shape != crossbar.shape:
        raise ValueError(
            f"target has shape {goal.shape}, but the array is {crossbar.shape}: pass one"
            " conductance [S] per cell."
        )
    require_finite(goal, "target", "S")
    dtype = working_dtype(crossbar, goal)
    crossbar, goal, method = in_dtype((crossbar, goal, method), dtype)
    method.require(crossbar, goal)
    found = _written(crossbar, goal, method, key)
    return finish(found, found.status)


@eqx.filter_jit
def _written(crossbar, target, method, key) -> Programmed:
    return method.written(crossbar, target, key)
