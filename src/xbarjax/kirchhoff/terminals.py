"""Kirchhoff's law at the buses of a circuit: modified nodal analysis.

Unknowns are the voltages [V] of nodes and what elements have of their own: currents [A] of ideal
sources, drives of amplifiers. A bus that joins one end of an array with a voltage source to ground,
and with nothing else, is no unknown: the source is part of the array (`Ended`). The first rows are
Kirchhoff's current law at the nodes, the others the elements' own laws. (C.-W. Ho, A. Ruehli, P.
Brennan, IEEE Trans. Circuits Syst. 22, 504 (1975), doi:10.1109/TCS.1975.1084079.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..cells import in_range
from ..crossbar import Crossbar
from ..drive import Bias, Drive
from ..elements import AbstractElement, Array, Device, Pick, VoltageSource
from ..elements.circuit import Circuit
from ..elements.element import GROUND, Lanes
from ..readout import VirtualGround
from .solution import Solution, Status

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


def everything(_: AbstractElement) -> bool:
    """Whether an element counts: all do."""
    return True


def asked(nodal: Nodal, z: Unknowns, counts: Callable[[AbstractElement], bool] = everything):
    """Each element that counts, with its nodes, its voltages and its own unknowns."""
    layout, voltages = nodal.layout, with_ground(z)
    for name, element in nodal.elements.items():
        if not counts(element):
            continue
        lanes = nodal.lanes[name]
        nodes = [layout.of(terminal, lanes) for terminal in element.terminals.values()]
        v = tuple(jnp.broadcast_to(voltages[node], (lanes,)) for node in nodes)
        start, _ = layout.own.get(name, (0, 0))
        own = tuple(z[start + k * lanes :][:lanes] for k in range(element.unknowns))
        yield name, element, nodes, v, own


def stated(
    nodal: Nodal,
    z: Unknowns,
    *,
    charges: bool = False,
    counts: Callable[[AbstractElement], bool] = everything,
) -> Unknowns:
    """Sums of the currents [A] from every node into elements other than arrays, followed by the
    violations of these elements' own laws. With `charges`, their charges [C] instead."""
    layout = nodal.layout
    total = jnp.zeros((layout.size + 2,), z.dtype)
    own_rows = {}
    for name, element, nodes, v, own in asked(nodal, z, counts):
        at_nodes, laws = (element.charge if charges else element.current)(v, own)
        for node, i in zip(nodes, at_nodes, strict=True):
            total = total.at[node].add(jnp.broadcast_to(i, v[0].shape).astype(z.dtype))
        own_rows[name] = [jnp.broadcast_to(law, v[0].shape).astype(z.dtype) for law in laws]
    silent = lambda name, lanes: [jnp.zeros((nodal.elements[name].unknowns * lanes,), z.dtype)]
    laws = [own_rows.get(name) or silent(name, lanes) for name, (_, lanes) in layout.own.items()]
    return jnp.concatenate([total[: layout.nodes], *(row for rows in laws for row in rows)])


class Triplets(NamedTuple):
    """A sparse matrix of derivatives: values at rows and columns. Entries of one place add up."""

    rows: Node
    cols: Node
    values: jax.Array

    def dense(self, size: int) -> jax.Array:
        """The matrix, without what lies at ground."""
        wide = jnp.zeros((size + 2, size + 2), self.values.dtype)
        return wide.at[self.rows, self.cols].add(self.values)[:-2, :-2]


def slopes(
    nodal: Nodal,
    z: Unknowns,
    *,
    charges: bool = False,
    counts: Callable[[AbstractElement], bool] = everything,
) -> Triplets:
    """The derivative of `stated`: that of each lane by its own voltages and unknowns."""
    found = [Triplets(np.zeros(0, int), np.zeros(0, int), jnp.zeros((0,), z.dtype))]
    for name, element, nodes, v, own in asked(nodal, z, counts):
        start, lanes = nodal.layout.own.get(name, (0, nodal.lanes[name]))
        of = element.charge if charges else element.current
        each = _lane_by_lane(of, v, own)
        places = [*nodes, *(start + k * lanes + np.arange(lanes) for k in range(element.unknowns))]
        known = all(isinstance(node, np.ndarray) for node in places)
        at = (np if known else jnp).stack(places)
        # an element has as many laws as inputs: currents of its terminals, and its own
        rows = (np if known else jnp).broadcast_to(at[None], each.shape)
        cols = (np if known else jnp).broadcast_to(at[:, None], each.shape)
        found.append(Triplets(rows.ravel(), cols.ravel(), each.ravel()))
    known = all(isinstance(one.rows, np.ndarray) for one in found)
    join = (np if known else jnp).concatenate
    rows, cols = join([one.rows for one in found]), join([one.cols for one in found])
    return Triplets(rows, cols, jnp.concatenate([one.values for one in found]))


def _lane_by_lane(of: Callable, v: Lanes, x: Lanes) -> jax.Array:
    """Derivatives of what an element states by its voltages and unknowns, `(inputs, laws, lanes)`,
    each of its own lane."""
    whole = lambda y: jnp.broadcast_to(y, v[0].shape).astype(v[0].dtype)
    laws = lambda inputs: [whole(y) for part in of(*inputs) for y in part]
    count = len(v) + len(x)
    units = jnp.eye(count, dtype=v[0].dtype)[..., None]
    units = jnp.broadcast_to(units, (count, count, *v[0].shape))
    along = lambda by: jax.jvp(laws, ((v, x),), ((tuple(by[: len(v)]), tuple(by[len(v) :])),))[1]
    return jnp.stack(jax.vmap(along)(units), axis=1)


def stored(nodal: Nodal) -> np.ndarray:
    """Positions of the unknowns that charges of a circuit depend on."""
    arrays = [a for a in nodal.arrays.values() if a.array.has_capacitance]
    ends = [end for array in arrays for end in array.terminals.values()]
    of = lambda element: element.stores
    return _positions(nodal, of, ends)


def bent(nodal: Nodal) -> np.ndarray:
    """Positions of the unknowns that nonlinear elements and arrays connect to."""
    arrays = [a for a in nodal.arrays.values() if not a.array.is_linear]
    ends = [end for array in arrays for end in array.terminals.values()]
    all_of = lambda element: (*element.terminals, *range(element.unknowns))
    of = lambda element: () if element.is_linear else all_of(element)
    return _positions(nodal, of, ends)


def _positions(nodal: Nodal, of: Callable, ends: list[Pick]) -> np.ndarray:
    """Positions of the nodes of some buses, and of terminals and own unknowns of elements. A bus of
    which nodes are picked counts as a whole: which ones may be known only at run time."""
    layout, found, ends = nodal.layout, set(), list(ends)
    for name, element in nodal.elements.items():
        start, lanes = layout.own.get(name, (0, 0))
        own = [k for k in of(element) if isinstance(k, int)]
        found |= {start + k * lanes + j for k in own for j in range(lanes)}
        ends += [element.terminals[k] for k in of(element) if isinstance(k, str)]
    for bus in {end.bus for end in ends} - {GROUND}:
        first, width = layout.buses[bus]
        found |= set(range(first, first + width))
    return np.asarray(sorted(found), int)


def through(nodal: Nodal, z: Unknowns) -> dict[str, jax.Array]:
    """The current [A] through each element other than an array."""
    return {
        name: jnp.broadcast_to(element.through(v, own), v[0].shape)
        for name, element, _, v, own in asked(nodal, z)
    }


def faults_of(nodal: Nodal, z: Unknowns) -> dict[Status, jax.Array]:
    """Faults of the cells that are elements: impossible parameters, voltages beyond the range of
    their model, negative differential resistance."""
    found: dict[Status, list[jax.Array]] = {}
    for _, element, _, v, _ in asked(nodal, z):
        if isinstance(element, Device):
            cell = element.cell
            _, g_a, g_b = cell.linearise(*v)
            found.setdefault(Status.INVALID_CELL, []).append(jnp.any(~cell.valid()))
            found.setdefault(Status.OUT_OF_RANGE, []).append(jnp.any(~in_range(cell, *v)))
            negative = jnp.any((g_a < 0) | (g_b < 0))
            found.setdefault(Status.NEGATIVE_RESISTANCE, []).append(negative)
    return {flag: jnp.any(jnp.stack(each)) for flag, each in found.items()}


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


def voltages_of(
    nodal: Nodal, z: Unknowns, arrays: dict[str, Solution]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Voltages [V] of all buses and currents [A] of all elements, those of sources that drive ends
    of arrays included."""
    v = {bus: z[first : first + width] for bus, (first, width) in nodal.layout.buses.items()}
    i = through(nodal, z)
    for name, end, source_name in nodal.drives:
        source, flown = nodal.arrays[name].sources[end], nodal.arrays[name].entering(arrays[name])
        i[source_name] = flown[end]
        v[source.to.bus] = source.v - source.r * flown[end]
    return v, i
