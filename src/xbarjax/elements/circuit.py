"""A circuit: named buses, and the elements between them."""

from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from .._types import described, is_concrete
from .array import Array
from .element import GROUND, AbstractElement, Pick
from .sources import DRIVEN


class Circuit(eqx.Module):
    """Elements between buses.

        loop = xb.Circuit(
            array=el.Array(xb.Ohmic(g), wires, rows="x", cols="e"),
            amps=el.OpAmp(minus="e", out="x", gain=1e4),
            source=el.CurrentSource(to="e", i=i_in),
        )

    A bus is a vector of nodes. It exists since an element names it, and has as many nodes as the
    arrays and the parameters of its elements say; "0" is ground. Lane `k` of an element connects
    node `k` of each of its buses. A bus with one node is shared by all lanes.

    **Arguments:**

    - elements, by name: `xb.elements` and whatever else is an `AbstractElement`.
    - `buses`: number of nodes of buses for which it does not follow from the elements, as of a
        ground wire that all lanes of a resistor share: `{"wire": 1}`.

    Raises `TypeError` for what is no element, and `ValueError` for

    - a bus of two widths, or of none;
    - a bus that one terminal alone touches: a name that is misspelt, or an end that is left open;
    - a bus that no element can bring a current to.

    **Attributes:** `elements`: a dictionary of them; `buses`: the number of nodes of each bus.
    """

    elements: dict[str, AbstractElement | Array]
    _widths: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __init__(
        self, *, buses: Mapping[str, int] | None = None, **elements: AbstractElement | Array
    ):
        for name, element in elements.items():
            if not isinstance(element, (AbstractElement, Array)):
                raise TypeError(
                    f"element {name!r} is {described(element)}; pass one of xb.elements, such as"
                    " xb.elements.Resistor(a, b, r)."
                )
        self.elements = dict(elements)
        self._widths = tuple(sorted(_widths(self.elements, dict(buses or {})).items()))

    def __check_init__(self):
        _require_connected(self)

    @property
    def buses(self) -> dict[str, int]:
        """Number of nodes of each bus, without ground."""
        return dict(self._widths)

    def lanes(self, name: str) -> int:
        """Number of lanes of an element that is no array."""
        element = self.elements[name]
        assert isinstance(element, AbstractElement)
        buses = [end.bus for end in element.terminals.values() if end.index is None]
        wide = [self.buses[bus] for bus in buses if bus != GROUND]
        return max(wide + [element.width or 1])


def _widths(elements: dict, given: dict[str, int]) -> dict[str, int]:
    """Number of nodes of all buses: those that are given, those of arrays, and for the others the
    widest that an element connects them to."""
    found: dict[str, tuple[int, str]] = {}
    for bus, n in given.items():
        if not (isinstance(n, int) and n >= 1):
            raise ValueError(f"buses[{bus!r}] is {n!r}; it must be a number of nodes from 1 on.")
        found[bus] = n, "buses"

    def settle(bus: str, n: int, name: str) -> None:
        if bus != GROUND and found.setdefault(bus, (n, name))[0] != n:
            raise ValueError(
                f"bus {bus!r} has {found[bus][0]} nodes by {found[bus][1]!r} and {n} by {name!r}:"
                " connect elements of one width, or pick nodes by xb.elements.Pick."
            )

    for name, element in elements.items():
        if isinstance(element, Array):
            for key, end in element.terminals.items():
                n = element.widths[key]
                if end.index is None:
                    settle(end.bus, n, name)
                elif end.index.shape != (n,):
                    raise ValueError(
                        f"{key} of array {name!r} picks {end.index.shape[0]} nodes of {end.bus!r},"
                        f" but the array has {n} such lines."
                    )
    lanes = {k: x for k, x in elements.items() if isinstance(x, AbstractElement)}
    whole = lambda x: [end.bus for end in x.terminals.values() if end.index is None]
    ends = {name: whole(element) for name, element in lanes.items()}
    # widths of more than one node spread from element to element, whatever their order
    while True:
        wide: dict[str, tuple[int, str]] = {}
        for name, element in lanes.items():
            n = max([element.width or 0, *(found[b][0] for b in ends[name] if b in found)])
            for bus in ends[name]:
                if n > 1 and bus != GROUND and bus not in found:
                    wide[bus] = max(wide.get(bus, (0, "")), (n, name))
        if not wide:
            break
        found |= wide
    for name in lanes:
        for bus in ends[name]:
            if bus != GROUND and bus not in found:
                found[bus] = 1, name
    for name, element in lanes.items():
        widths = {bus: found[bus] for bus in ends[name] if bus != GROUND}
        n = max([element.width or 1, *(w for w, _ in widths.values())])
        for bus, (w, by) in widths.items():
            if w not in (1, n):
                raise ValueError(
                    f"bus {bus!r} has {w} nodes by {by!r} and {n} by {name!r}: connect elements of"
                    " one width, or pick nodes by xb.elements.Pick."
                )
        if element.width not in (None, 1, n):
            raise ValueError(
                f"element {name!r} has parameters of shape ({element.width},), but connects {n}"
                " nodes: give a scalar or one number per node."
            )
    for name, element in elements.items():
        for end in element.terminals.values():
            if end.index is not None:
                _require_inside(end, end.index, found, name)
    return {bus: n for bus, (n, _) in found.items()}


def _require_inside(pick: Pick, index: jax.Array, found: dict, name: str) -> None:
    if pick.bus not in found:
        raise ValueError(
            f"element {name!r} picks nodes of {pick.bus!r}, whose number nothing states: pass"
            f" buses={{{pick.bus!r}: ...}}."
        )
    n = found[pick.bus][0]
    if is_concrete(index):
        bad = np.flatnonzero((np.asarray(index) < 0) | (np.asarray(index) >= n))
        if len(bad):
            raise ValueError(
                f"element {name!r} picks node {int(index[bad[0]])} of bus {pick.bus!r}, which"
                f" has {n}: they count from 0."
            )


def _require_connected(circuit: Circuit) -> None:
    touched: dict[str, list[tuple[str, str]]] = {}
    for name, element in circuit.elements.items():
        for key, end in element.terminals.items():
            touched.setdefault(end.bus, []).append((name, key))
    for bus, ends in touched.items():
        if bus == GROUND:
            continue
        if len(ends) == 1:
            raise ValueError(
                f"bus {bus!r} ends in {ends[0][0]!r} ({ends[0][1]}) alone: connect a second"
                " element, or leave the terminal out; perhaps the name is misspelt."
            )
        holds = [key in circuit.elements[name].holds for name, key in ends]
        if not any(holds):
            names = ", ".join(repr(name) for name, _ in ends)
            raise ValueError(
                f"bus {bus!r} is touched by {names} alone, none of which can set its voltage:"
                " connect a resistor, an array or a voltage source to it, or give a capacitor a"
                " v_start, from which a transient starts."
            )
    if not touched:
        raise ValueError("the circuit has no elements: pass them by name.")
    for bus in circuit.buses:
        if bus not in touched:
            raise ValueError(f"buses names {bus!r}, but no element touches it.")


def sources_of(circuit: Circuit) -> list[str]:
    """Names of the sources of a circuit."""
    return [name for name, element in circuit.elements.items() if type(element) in DRIVEN]


def with_values(circuit: Circuit, source: str, values: Float[jax.Array, " lanes"]) -> Circuit:
    """The circuit with other values [A or V] of a source."""
    field = DRIVEN[type(circuit.elements[source])]
    return eqx.tree_at(lambda c: getattr(c.elements[source], field), circuit, values)


def require_bus(circuit: Circuit, bus: str) -> None:
    """Raises `ValueError` for a bus that the circuit does not have."""
    if bus not in circuit.buses:
        raise ValueError(
            f"bus is {bus!r}; the buses of the circuit are {', '.join(map(repr, circuit.buses))}."
        )
