"""ngspice decks of arrays and circuits, and what ngspice finds of them."""

from collections.abc import Mapping
from typing import overload

from jaxtyping import ArrayLike

from ..crossbar import Crossbar
from ..drive import Bias
from ..drive.waveform import Waveform
from ..elements.circuit import Circuit
from . import circuits, crossbars
from .circuits import CircuitPoint
from .crossbars import OperatingPoint
from .deck import DATA, require_writable


@overload
def netlist(
    crossbar: Crossbar, v_in: ArrayLike | Bias, *, title: str = "crossbar", data: str = DATA
) -> str: ...


@overload
def netlist(
    crossbar: Circuit,
    *,
    waveforms: Waveform | Mapping[str, Waveform] | None = None,
    ts: ArrayLike | None = None,
    title: str = "circuit",
    data: str = DATA,
) -> str: ...


def netlist(
    crossbar: Crossbar | Circuit,
    v_in: ArrayLike | Bias | None = None,
    *,
    waveforms: Waveform | Mapping[str, Waveform] | None = None,
    ts: ArrayLike | None = None,
    title: str | None = None,
    data: str = DATA,
) -> str:
    """Deck for `ngspice -b` of the circuit that `read(crossbar, v_in)`, `solve(circuit)` or
    `simulate(circuit, waveforms, ts)` solves.

    Nodes of an array are `w_i_j` (word lines or source lines), `b_i_j` (bit lines) and `m_i_j`
    (inside a series cell); in a circuit the name of the array and `__` stand in front. Node `k` of
    a bus is `BUS_k`. Names keep their letters and digits alone; the deck lists those that change.
    Islands, broken wires, open resistors and cells without conductance are left out. Ideal wires
    and shorted cells are 0 V sources. Exponentials are not continued linearly beyond the range of a
    model, where `read` raises an error.

    In a circuit, every lane of an element has the lines that `element` returns for it. Capacitors
    of lines are part of the deck. A deck in time starts from the operating point at `ts[0]`, which
    is time 0 of ngspice; its sources are piecewise linear. States of devices with memory move in
    time, as `motion` says, and stop within 1e-6 of their range before a bound.

    Limits of ngspice: it keeps voltages to 1e-16 of the largest, and its currents of wires are
    differences of voltages.

    - An output current has an error of about 1e-16 V / r for wires of r ohm per segment. For a
        small output this can matter: a relative error of 2e-5 in a half-selected array of diodes
        whose selected cell is in reverse.
    - Lines that float behind junctions in reverse may have no operating point in ngspice, from any
        start: the currents that hold these lines are below the rounding of the other currents.

    `read` solves such arrays.

    **Arguments:**

    - `crossbar`, `v_in`: as in `read`; one array of concrete numbers. Or a `Circuit` alone.
    - `waveforms`, `ts`: of a circuit, as in `simulate`; the operating point without them.
    - `title`: the first line of the deck.
    - `data`: path of the file that ngspice writes: a line of names, and a line of numbers per time
        (one, at rest). Of an array these are all node voltages, branch currents and output currents
        `i_out_j`; of a circuit the voltages of all buses, `BUS_k`, and the currents of elements
        with an ammeter, `v_ELEMENT_k#branch`.

    **Returns:** the text of the deck.

    **Errors:** `ValueError` for traced values (under `jit`, `vmap` or `grad`), for a batch, for
    parameters that no circuit can have, and for a `title` or `data` that cannot be written;
    `TypeError` for a class of cells or elements that `element` does not know.
    """
    if isinstance(crossbar, Circuit):
        if v_in is not None:
            raise ValueError("v_in is given, but a circuit has sources of its own: leave it out.")
        title = "circuit" if title is None else title
        require_writable(title, data)
        return circuits.deck_of(crossbar, waveforms, ts, title, data)
    if v_in is None or waveforms is not None or ts is not None:
        raise ValueError(
            "an array alone has a deck at rest, netlist(crossbar, v_in): pass v_in, and neither"
            " waveforms nor ts."
        )
    title = "crossbar" if title is None else title
    require_writable(title, data)
    return crossbars.deck_of(crossbar, v_in, title, data)


@overload
def simulate(crossbar: Crossbar, v_in: ArrayLike | Bias) -> OperatingPoint: ...


@overload
def simulate(
    crossbar: Circuit,
    *,
    waveforms: Waveform | Mapping[str, Waveform] | None = None,
    ts: ArrayLike | None = None,
) -> CircuitPoint: ...


def simulate(
    crossbar: Crossbar | Circuit,
    v_in: ArrayLike | Bias | None = None,
    *,
    waveforms: Waveform | Mapping[str, Waveform] | None = None,
    ts: ArrayLike | None = None,
) -> OperatingPoint | CircuitPoint:
    """What ngspice finds of the deck of `netlist`: the operating point of an array or a circuit, or
    the transient of a circuit.

    The time of a run grows with the fifth power of the side of an array: below a second at 32 x 32,
    minutes at 128 x 128.

    **Arguments:** as in `netlist`. **Returns:** an `OperatingPoint`, or a `CircuitPoint` of a
    circuit.

    **Errors:** those of `netlist`; `FileNotFoundError` if ngspice is not installed; `RuntimeError`
    if ngspice finds no operating point or does not reach the last time (with its last lines), and
    if its result for an array breaks the laws of the circuit: a node voltage beyond all terminals,
    or currents that do not add up.
    """
    if isinstance(crossbar, Circuit):
        text = netlist(crossbar, waveforms=waveforms, ts=ts)
        return circuits.point_of(crossbar, ts, text)
    text = netlist(crossbar, v_in, waveforms=waveforms, ts=ts)  # pyright: ignore
    assert v_in is not None
    return crossbars.point_of(crossbar, v_in, text)
