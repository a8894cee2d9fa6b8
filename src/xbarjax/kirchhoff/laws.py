"""What the elements of a circuit state, summed at its nodes: currents, charges, their derivatives.

The first rows are Kirchhoff's current law at the nodes, the others the elements' own laws. Arrays
are added by those who solve them (analyses/nodal.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..cells import in_range
from ..elements import AbstractElement, Device, Pick
from ..elements.element import GROUND, Lanes
from .solution import Solution, Status
from .terminals import Nodal, Node, Unknowns, with_ground


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


def impossible(nodal: Nodal) -> dict[str, jax.Array]:
    """Whether each element other than an array has a parameter that is impossible."""
    drives = {source: nodal.arrays[name].sources[end] for name, end, source in nodal.drives}
    elements: dict[str, AbstractElement] = nodal.elements | drives
    return {name: ~jnp.all(element.valid()) for name, element in elements.items()}


def faults_of(nodal: Nodal, z: Unknowns) -> dict[Status, jax.Array]:
    """Faults of the elements: impossible parameters; of cells that are elements also voltages
    beyond the range of their model, and negative differential resistance."""
    found = {Status.INVALID_ELEMENT: list(impossible(nodal).values())}
    for _, element, _, v, _ in asked(nodal, z):
        if isinstance(element, Device):
            cell = element.cell
            _, g_a, g_b = cell.linearise(*v)
            found.setdefault(Status.OUT_OF_RANGE, []).append(jnp.any(~in_range(cell, *v)))
            negative = jnp.any((g_a < 0) | (g_b < 0))
            found.setdefault(Status.NEGATIVE_RESISTANCE, []).append(negative)
    return {flag: jnp.any(jnp.stack(each)) for flag, each in found.items() if each}


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
