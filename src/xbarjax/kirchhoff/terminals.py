"""Kirchhoff's law at the buses of a circuit: modified nodal analysis.

Unknowns are the voltages [V] of all nodes and what elements have of their own: currents [A] of
ideal sources, drives of amplifiers. The first rows are Kirchhoff's current law at the nodes, the
others the elements' own laws. (C.-W. Ho, A. Ruehli, P. Brennan, IEEE Trans. Circuits Syst. 22, 504
(1975), doi:10.1109/TCS.1975.1084079.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..drive import Bias
from ..elements import AbstractElement, Array, Pick
from ..elements.circuit import Circuit
from ..elements.element import GROUND
from .solution import Solution

Unknowns = Float[jax.Array, " unknowns"]
Node = Any  # whole numbers (lanes,), of NumPy where no index is traced


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


def layout_of(circuit: Circuit) -> Layout:
    """Positions of the unknowns: buses first, then elements' own."""
    buses, at = {}, 0
    for bus, width in circuit.buses.items():
        buses[bus] = at, width
        at += width
    nodes, own = at, {}
    for name, element in circuit.elements.items():
        if isinstance(element, AbstractElement) and element.unknowns:
            lanes = circuit.lanes(name)
            own[name] = at, lanes
            at += element.unknowns * lanes
    return Layout(buses, own, nodes, at)


def arrays_of(circuit: Circuit) -> dict[str, Array]:
    """The arrays of a circuit."""
    return {name: x for name, x in circuit.elements.items() if isinstance(x, Array)}


def with_ground(z: Unknowns) -> jax.Array:
    """Unknowns, the voltage of ground, and that of a node that does not exist, NaN."""
    return jnp.append(z, jnp.asarray([0, jnp.nan], z.dtype))


def _asked(circuit: Circuit, layout: Layout, z: Unknowns):
    """Each element other than an array, with its nodes, its voltages and its own unknowns."""
    voltages = with_ground(z)
    for name, element in circuit.elements.items():
        if not isinstance(element, AbstractElement):
            continue
        lanes = circuit.lanes(name)
        nodes = [layout.of(terminal, lanes) for terminal in element.terminals.values()]
        v = tuple(jnp.broadcast_to(voltages[node], (lanes,)) for node in nodes)
        start, _ = layout.own.get(name, (0, 0))
        own = tuple(z[start + k * lanes :][:lanes] for k in range(element.unknowns))
        yield name, element, nodes, v, own


def stated(circuit: Circuit, layout: Layout, z: Unknowns, *, charges: bool = False) -> Unknowns:
    """Sums of the currents [A] from every node into elements other than arrays, followed by the
    violations of these elements' own laws. With `charges`, their charges [C] instead."""
    total = jnp.zeros((layout.size + 2,), z.dtype)
    own_rows = []
    for _, element, nodes, v, own in _asked(circuit, layout, z):
        at_nodes, laws = (element.charge if charges else element.current)(v, own)
        for node, i in zip(nodes, at_nodes, strict=True):
            total = total.at[node].add(jnp.broadcast_to(i, v[0].shape).astype(z.dtype))
        own_rows += [jnp.broadcast_to(law, v[0].shape).astype(z.dtype) for law in laws]
    return jnp.concatenate([total[: layout.nodes], *own_rows])


def stored(circuit: Circuit, layout: Layout) -> np.ndarray:
    """Positions of the unknowns that charges of a circuit depend on."""
    found: set[int] = set()
    bus = lambda name: range(layout.buses[name][0], sum(layout.buses[name]))
    for name, element in circuit.elements.items():
        if isinstance(element, Array):
            named = list(element.terminals) if element.has_capacitance else []
        else:
            start, lanes = layout.own.get(name, (0, 0))
            own = [k for k in element.stores if isinstance(k, int)]
            found |= {start + k * lanes + j for k in own for j in range(lanes)}
            named = [k for k in element.stores if isinstance(k, str)]
        for where in (element.terminals[key].bus for key in named):
            found |= set() if where == GROUND else set(bus(where))
    return np.asarray(sorted(found), int)


def through(circuit: Circuit, layout: Layout, z: Unknowns) -> dict[str, jax.Array]:
    """The current [A] through each element other than an array."""
    return {
        name: jnp.broadcast_to(element.through(v, own), v[0].shape)
        for name, element, _, v, own in _asked(circuit, layout, z)
    }


def nodes_of(array: Array, layout: Layout) -> Node:
    """Positions of the nodes of all terminals of an array, in the order of its `terminals`."""
    nodes = [layout.of(bus, array.widths[key]) for key, bus in array.terminals.items()]
    known = all(isinstance(node, np.ndarray) for node in nodes)
    return (np if known else jnp).concatenate(nodes)


def bias_of(array: Array, u: Float[jax.Array, " terminals"]) -> Bias:
    """The bias [V] of an array at the voltages of its terminals."""
    ends, at = {}, 0
    for key, width in array.widths.items():
        ends[key], at = u[at : at + width], at + width
    rows, cols = ends["rows"], ends["cols"]
    far = ends.get("rows_far", rows), ends.get("cols_far", cols)
    gate = None if array.v_gate is None else array.v_gate.astype(u.dtype)
    return Bias(rows, far[0], cols, far[1], gate)


def currents_of(array: Array, solution: Solution) -> Float[jax.Array, " terminals"]:
    """Currents [A] into an array at its terminals."""
    far = {"rows_far": solution.i_in_far, "cols_far": -solution.i_out_far}
    near = {
        "rows": solution.i_in_near if "rows_far" in array.terminals else _summed(solution),
        "cols": -solution.i_out_near if "cols_far" in array.terminals else -solution.i_out,
    }
    return jnp.concatenate([(near | far)[key] for key in array.terminals])


def _summed(solution: Solution) -> jax.Array:
    """Currents [A] into the lines of the row family, as the sums of those of their cells."""
    return jnp.sum(solution.i_cell, axis=0 if solution.parallel else 1)
