"""A circuit as modified nodal analysis takes it: its unknowns and their positions.

Unknowns are the voltages [V] of nodes and what elements have of their own: currents [A] of ideal
sources, drives of amplifiers. A bus that joins one end of an array with a voltage source to ground,
and with nothing else, is no unknown: the source is part of the array (`Ended`). What the laws say
of the unknowns is in laws.py. (C.-W. Ho, A. Ruehli, P. Brennan, IEEE Trans. Circuits Syst. 22, 504
(1975), doi:10.1109/TCS.1975.1084079.)
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..crossbar import Crossbar
from ..drive import Bias, Drive
from ..elements import AbstractElement, Array, Pick, VoltageSource
from ..elements.circuit import Circuit
from ..elements.element import GROUND
from ..readout import VirtualGround
from .solution import Solution

Unknowns = Float[jax.Array, " unknowns"]
Node = Any  # whole numbers (lanes,), of NumPy where no index is traced


class Ended(eqx.Module):
    """An array, with the voltage sources that drive whole ends of it and nothing else.

    Such an end is no unknown of the circuit: the source and its resistance are those of the array's
    own drive."""

    array: Array
    sources: dict[str, VoltageSource]  # by the name of the end

    @property
    def terminals(self) -> dict[str, Pick]:
        """The buses of its other ends."""
        return {k: bus for k, bus in self.array.terminals.items() if k not in self.sources}

    @property
    def widths(self) -> dict[str, int]:
        """Number of nodes of these ends."""
        return {name: self.array.widths[name] for name in self.terminals}

    @property
    def crossbar(self) -> Crossbar:
        """The array between ideal sources at its terminals, and its own sources at other ends."""
        there = self.array.terminals
        behind = lambda k: jnp.asarray(self.sources[k].r if k in self.sources else 0.0)
        r = {k: behind(k) if k in there else jnp.asarray(jnp.inf) for k in ENDS}
        drive, readout = Drive(r["rows"], r["rows_far"]), VirtualGround(r["cols"], r["cols_far"])
        return Crossbar(self.array.cell, self.array.wires, drive, readout)

    def bias(self, u: Float[jax.Array, " terminals"]) -> Bias:
        """The bias [V] of the array at the voltages of its terminals."""
        ends, at = {}, 0
        for key, width in self.array.widths.items():
            if key in self.sources:
                ends[key] = jnp.broadcast_to(self.sources[key].v, (width,)).astype(u.dtype)
            else:
                ends[key], at = u[at : at + width], at + width
        rows, cols = ends["rows"], ends["cols"]
        far = ends.get("rows_far", rows), ends.get("cols_far", cols)
        gate = None if self.array.v_gate is None else self.array.v_gate.astype(u.dtype)
        return Bias(rows, far[0], cols, far[1], gate)

    def entering(self, solution: Solution) -> dict[str, jax.Array]:
        """Currents [A] into the array at each of its ends."""
        there = self.array.terminals
        far = {"rows_far": solution.i_in_far, "cols_far": -solution.i_out_far}
        near = {
            "rows": solution.i_in_near if "rows_far" in there else _summed(solution),
            "cols": -solution.i_out_near if "cols_far" in there else -solution.i_out,
        }
        return {key: (near | far)[key] for key in there}

    def currents(self, solution: Solution) -> Float[jax.Array, " terminals"]:
        """Currents [A] into the array at its terminals."""
        i = self.entering(solution)
        return jnp.concatenate([i[key] for key in self.terminals] or [jnp.zeros((0,))])


ENDS = "rows", "rows_far", "cols", "cols_far"


def _summed(solution: Solution) -> jax.Array:
    """Currents [A] into the lines of the row family, as the sums of those of their cells."""
    return jnp.sum(solution.i_cell, axis=0 if solution.parallel else 1)


class Nodal(eqx.Module):
    """A circuit as nodal analysis takes it: arrays with the sources that drive whole ends of them,
    all other elements, and the buses whose voltages are unknown."""

    elements: dict[str, AbstractElement]
    arrays: dict[str, Ended]
    drives: tuple[tuple[str, str, str], ...] = eqx.field(static=True)  # array, end, its source
    _lanes: tuple[tuple[str, int], ...] = eqx.field(static=True)
    _buses: tuple[tuple[str, int], ...] = eqx.field(static=True)

    @property
    def layout(self) -> "Layout":
        """Positions of the unknowns: buses first, then elements' own."""
        buses, at = {}, 0
        for bus, width in self._buses:
            buses[bus] = at, width
            at += width
        nodes, own = at, {}
        for name, lanes in self._lanes:
            if self.elements[name].unknowns:
                own[name] = at, lanes
                at += self.elements[name].unknowns * lanes
        return Layout(buses, own, nodes, at)

    @property
    def lanes(self) -> dict[str, int]:
        """Number of lanes of each element."""
        return dict(self._lanes)

    @property
    def is_linear(self) -> bool:
        """Whether all its elements are linear."""
        linear = [e.is_linear for e in self.elements.values()]
        return all(linear + [a.array.is_linear for a in self.arrays.values()])


def nodal_of(circuit: Circuit, *, driven: bool = True) -> Nodal:
    """A circuit as nodal analysis takes it. Unless `driven`, all sources are elements."""
    ends: dict[str, list[tuple[str, str, Pick]]] = {}
    for name, element in sorted(circuit.elements.items()):
        for key, end in element.terminals.items():
            ends.setdefault(end.bus, []).append((name, key, end))
    drives = []
    for bus, touching in ends.items():
        found = _drive(circuit, touching)
        # the last bus stays, so that there is a system
        if driven and bus != GROUND and found and len(drives) + 1 < len(circuit.buses):
            drives.append(found)
    gone = {circuit.elements[source].terminals["to"].bus for *_, source in drives}
    sources: dict[str, Any] = {}
    for array, end, source in drives:
        sources.setdefault(array, {})[end] = circuit.elements[source]
    elements, arrays = {}, {}
    for name, element in sorted(circuit.elements.items()):
        if isinstance(element, Array):
            arrays[name] = Ended(element, sources.get(name, {}))
        elif name not in {source for *_, source in drives}:
            elements[name] = element
    lanes = tuple((name, circuit.lanes(name)) for name in elements)
    buses = tuple((bus, n) for bus, n in circuit.buses.items() if bus not in gone)
    return Nodal(elements, arrays, tuple(drives), lanes, buses)


def _drive(circuit: Circuit, touching: list[tuple[str, str, Pick]]) -> tuple[str, str, str] | None:
    """The array, its end and the source of a bus that connects these two alone."""
    if len(touching) != 2 or any(end.index is not None for *_, end in touching):
        return None
    of = lambda kind: [(n, key) for n, key, _ in touching if isinstance(circuit.elements[n], kind)]
    sources, arrays = of(VoltageSource), of(Array)
    if len(sources) != 1 or len(arrays) != 1 or sources[0][1] != "to":
        return None
    source, (array, end) = sources[0][0], arrays[0]
    return (
        (array, end, source) if circuit.elements[source].terminals["back"].bus == GROUND else None
    )


class Layout(NamedTuple):
    """Positions of all unknowns of a circuit."""

    buses: dict[str, tuple[int, int]]  # position of the first node, and number of nodes
    own: dict[str, tuple[int, int]]  # of each element with unknowns of its own, and its lanes
    nodes: int
    size: int

    def of(self, terminal: Pick, lanes: int) -> Node:
        """Positions of the nodes of a terminal, one per lane; that of ground is `size`."""
        if terminal.bus == GROUND:
            return np.full(lanes, self.size)
        first, width = self.buses[terminal.bus]
        if terminal.index is not None:
            inside = (terminal.index >= 0) & (terminal.index < width)  # known ones are
            return jnp.where(inside, first + terminal.index, self.size + 1)
        return first + np.arange(lanes) % width

    def named(self, k: int) -> str:
        """The bus or element that an unknown belongs to, in words."""
        for bus, (first, width) in self.buses.items():
            if first <= k < first + width:
                return f"node {k - first} of bus {bus!r}"
        start = max(at for at, _ in self.own.values() if at <= k)
        name, lanes = next((n, lanes) for n, (at, lanes) in self.own.items() if at == start)
        return f"lane {(k - start) % lanes} of element {name!r}"


def with_ground(z: Unknowns) -> jax.Array:
    """Unknowns, the voltage of ground, and that of a node that does not exist, NaN."""
    return jnp.append(z, jnp.asarray([0, jnp.nan], z.dtype))


def nodes_of(nodal: Nodal, array: Ended) -> Node:
    """Positions of the nodes of all terminals of an array, in the order of its `terminals`."""
    nodes = [nodal.layout.of(bus, array.widths[key]) for key, bus in array.terminals.items()]
    known = all(isinstance(node, np.ndarray) for node in nodes)
    return (np if known else jnp).concatenate(nodes or [np.zeros(0, int)])


def at_nodes(z: Unknowns, nodes: Node) -> jax.Array:
    """Voltages [V] of nodes; that of ground is 0."""
    return with_ground(z)[nodes]


def added(total: Unknowns, nodes: Node, i: jax.Array) -> Unknowns:
    """The sums of currents [A] at all nodes, with `i` added at some; ground has no sum."""
    return jnp.pad(total, (0, 2)).at[nodes].add(i)[:-2]
