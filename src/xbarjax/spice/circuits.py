"""Decks of circuits, and what ngspice finds of them."""

import re
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .._types import described
from ..drive.waveform import Waveform
from ..elements import AbstractElement, Array, Capacitor
from ..elements.circuit import Circuit
from ..elements.sources import DRIVEN
from ..kirchhoff.circuit import circuit_of
from ..kirchhoff.terminals import Ended, nodal_of, nodes_of
from ..transient.circuits import require_moving, waves_of
from .deck import (
    CHECK,
    OPTIONS,
    WIRE,
    devices_of,
    floats,
    is_traced,
    last_lines,
    reached,
    run,
    segments,
)
from .elements import GROUND, Piecewise, element
from .ideal import Link, without_loops

# In time, charges of femtofarads count. A step in which an amplifier reaches its end takes many
# iterations, and the trapezoidal rule would ring from there on. STEPS are the least.
IN_TIME = (
    ".options reltol=1e-7 abstol=1e-16 vntol=1e-11 chgtol=1e-21 trtol=1 gmin=1e-20 itl1=500"
    " itl4=500 method=gear"
)
STEPS = 2000
PLAIN = "[a-z](_?[a-z0-9])*"  # names that ngspice takes, without double underscores


class CircuitPoint(NamedTuple):
    """What ngspice finds of a circuit: its operating point, or with an axis of times in front its
    transient."""

    v: dict[str, np.ndarray]  # voltages [V] of the nodes of each bus, (nodes,)
    i: dict[str, np.ndarray]  # currents [A] of elements that have an ammeter, (lanes,)


def deck_of(circuit: Circuit, waveforms, ts: ArrayLike | None, title: str, data: str) -> str:
    """The deck of a circuit, at rest or in time."""
    _require_whole(circuit, (waveforms, ts))
    times = _times(waveforms, ts)
    if times is not None:
        _require_at_rest(circuit)
        require_moving(circuit)
    waves = {} if waveforms is None else waves_of(circuit, waveforms)
    buses, shorts = _short(circuit.buses), _short(circuit.elements)
    nodes = [f"{buses[bus]}_{k}" for bus, n in circuit.buses.items() for k in range(n)]
    seen, body, written = [f"v({node})" for node in nodes], [], set()
    for name, lines in _parts(circuit, shorts, nodes, waves, times).items():
        # Lines that devices share, such as models and sources of gate voltages, are written once.
        body += ["", f"* {name}", *(x for x in dict.fromkeys(lines) if x not in written)]
        written.update(lines)
        own = [x.split()[0] for x in lines]
        seen += [f"i({x})" for x in own if re.fullmatch(rf"v_{shorts[name]}_\d+", x)]
    analysis = "op"
    if times is not None:
        end = float(times[-1] - times[0])
        corners = " ".join(f"{float(t - times[0])!r} {k % 2}" for k, t in enumerate(times))
        body += ["", "* Its corners make ngspice stop at the times that are asked for"]
        body += [f"v__times __times {GROUND} pwl({corners})", f"r__times __times {GROUND} 1"]
        analysis = f"tran {end / STEPS!r} {end!r} 0 {end / STEPS!r}"
    other = [f"* bus {k!r} is {v}." for k, v in buses.items() if k != v]
    other += [f"* element {k!r} is {v}." for k, v in shorts.items() if k != v]
    lines = [
        f"* {title}",
        "* Units V, A, ohm, F, s; indices count from 0. BUS_k: a node of a bus; ELEMENT_k: a lane;",
        "* ARRAY__w_i_j and ARRAY__b_i_j: the row and the column side of cell (i, j).",
        *other,
        OPTIONS if times is None else IN_TIME,
        *(WIRE if any(line.startswith("x_") for line in body) else []),
        *(*body, ""),
        *(".control", "set numdgt=16", "set wr_singlescale", "set wr_vecnames"),
        *(f"save {' '.join(seen[k : k + 8])}" for k in range(0, len(seen), 8)),
        *(analysis, *CHECK),
    ]
    return "\n".join([*lines, f"wrdata {data} all", "quit", ".endc", ".end", ""])


def _parts(circuit: Circuit, shorts, nodes: list[str], waves, times) -> dict[str, list[str]]:
    """The lines of every element of a circuit whose buses have `nodes`."""
    nodal, found = nodal_of(circuit, driven=False), {}
    layout = nodal.layout
    node = lambda at: nodes[at] if at < len(nodes) else GROUND
    named = lambda at: [node(k) for k in np.asarray(at).tolist()]
    for name, part in circuit.elements.items():
        if isinstance(part, Array):
            at = nodes_of(nodal, nodal.arrays[name])
            found[name] = list(_of_array(nodal.arrays[name], f"{shorts[name]}__", named(at), times))
            continue
        lanes = circuit.lanes(name)
        ends = [named(layout.of(end, lanes)) for end in part.terminals.values()]
        found[name] = []
        for k in range(lanes):
            lane = _lane(part, lanes, k)
            if name in waves:
                where = attrgetter(DRIVEN[type(part)])
                lane = eqx.tree_at(where, lane, _piecewise(waves[name], k, times))
            found[name] += element(lane, f"{shorts[name]}_{k}", *(end[k] for end in ends))
    return found


def point_of(circuit: Circuit, ts: ArrayLike | None, text: str) -> CircuitPoint:
    """What ngspice finds of a circuit, by a run of its deck."""
    found, said = run(text)
    buses, shorts = _short(circuit.buses), _short(circuit.elements)
    nodes = [f"{buses[bus]}_{k}" for bus, n in circuit.buses.items() for k in range(n)]
    if not found or any(node not in found for node in nodes):
        what = "no operating point" if ts is None else "no transient"
        raise RuntimeError(f"ngspice found {what}. Its last lines:\n{last_lines(said)}")
    at: Any = 0
    if ts is not None:
        times = np.asarray(ts, float) - np.asarray(ts, float)[0]
        at = np.argmin(np.abs(found["time"][:, None] - times), axis=0)
        if np.abs(found["time"][at] - times).max() > 1e-9 * times[-1]:
            raise RuntimeError(
                f"ngspice stopped at {found['time'][-1]:.6g} s of {times[-1]:.6g} s. Its last"
                f" lines:\n{last_lines(said)}"
            )
    column = lambda name: found[name][at]
    lines = {line.split()[0] for line in text.splitlines() if line}
    currents = {}
    for name, short in shorts.items():
        if isinstance(circuit.elements[name], Array):
            continue
        lanes = [f"{short}_{k}" for k in range(circuit.lanes(name))]
        own = [f"v_{lane}#branch" if f"v_{lane}" in lines else "" for lane in lanes]
        if any(own) or not any(re.fullmatch(rf"[a-z]_{short}_\d+", x) for x in lines):
            zero = np.zeros_like(column(nodes[0]))
            currents[name] = np.stack([column(x) if x else zero for x in own], axis=-1)
    return CircuitPoint(
        {
            bus: np.stack([column(f"{buses[bus]}_{k}") for k in range(n)], axis=-1)
            for bus, n in circuit.buses.items()
        },
        currents,
    )


def _require_whole(circuit: Circuit, more: Any) -> None:
    """Raises `ValueError` unless a circuit is one of valid, concrete numbers."""
    arrays = [x for x in circuit.elements.values() if isinstance(x, Array)]
    if is_traced((circuit, more)) or any(len(x.cell.shape) != 2 for x in arrays):
        raise ValueError(
            "the circuit must be one of concrete numbers, no batch: call netlist outside of jit,"
            " vmap and grad."
        )
    for name, part in circuit.elements.items():
        if isinstance(part, Array):
            part.wires.__check_init__()
            cell, shape, what = part.cell, part.cell.shape, "cell"
        else:
            getattr(part, "__check_init__", lambda: None)()
            cell, shape, what = getattr(part, "cell", None), (circuit.lanes(name),), "lane"
        if cell is None:
            continue
        bad = np.argwhere(~np.broadcast_to(cell.valid(), shape))
        if len(bad):
            at = tuple(bad[0].tolist())
            raise ValueError(
                f"{what} {at} of element {name!r} has parameters that no device can have."
            )


def _require_at_rest(circuit: Circuit) -> None:
    """Raises `ValueError` for a capacitor that does not start from the operating point."""
    for name, part in circuit.elements.items():
        if isinstance(part, Capacitor) and part.v_start is not None:
            raise ValueError(
                f"capacitor {name!r} has a v_start, but netlists start from the operating point:"
                " leave v_start out, or use xb.simulate."
            )


def _times(waveforms, ts: ArrayLike | None) -> np.ndarray | None:
    if (waveforms is None) != (ts is None):
        raise ValueError("a transient has waveforms and times ts: pass both, or neither.")
    if ts is None:
        return None
    times = np.asarray(ts, float)
    if times.ndim != 1 or times.size < 2 or not (np.diff(times) > 0).all():
        raise ValueError(f"ts is {described(ts)}; it must be (times,), at least two that rise.")
    return times


def _short(names: Mapping[str, Any]) -> dict[str, str]:
    """Names that ngspice takes: of small letters, digits and single underscores, all different."""
    found: dict[str, str] = {name: name for name in names if re.fullmatch(PLAIN, name)}
    for name in (name for name in names if name not in found):
        plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
        plain = plain if plain[:1].isalpha() else f"n{plain}"
        taken, k = set(found.values()), 2
        short = plain
        while short in taken:
            short, k = f"{plain}_{k}", k + 1
        found[name] = short
    return {name: found[name] for name in names}


def _lane(part: AbstractElement, lanes: int, k: int) -> AbstractElement:
    """A lane of an element, with Python floats."""
    numbers, rest = eqx.partition(part, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda x: float(floats(x, (lanes,))[k]), numbers), rest)


def _piecewise(wave: Waveform, k: int, times: np.ndarray | None) -> Piecewise:
    """The values of a line of a waveform from the first time on, which is ngspice's time 0."""
    assert times is not None
    k = k if wave.lines > 1 else 0
    t, v = np.asarray(wave.t, float), np.asarray(wave.v, float)[:, k]
    t = (t if t.ndim == 1 else t[:, k]) - times[0]
    start = float(np.interp(0.0, t, v))
    corners = [(0.0, start), *((float(a), float(b)) for a, b in zip(t, v) if a > 0)]
    return Piecewise(f"pwl({' '.join(f'{a!r} {b!r}' for a, b in corners)})")


def _of_array(ended: Ended, prefix: str, nodes: list[str], times: Any) -> Iterator[str]:
    """The lines of an array whose terminals are `nodes`. Its islands are left out. In time, its
    devices with memory move."""
    array, ends, at = ended.array, {}, 0
    for key, width in array.widths.items():
        ends[key], at = nodes[at : at + width], at + width
    rows, cols = shape = array.cell.shape
    wires = array.wires
    across = [[(i, j) for j in range(cols)] for i in range(rows)]
    down = [[(i, j) for i in range(rows)] for j in range(cols)]
    along, against = down if wires.parallel else across, [line[::-1] for line in down]
    links: list[Link] = []
    for key, letter, of, r in (
        ("rows", "w", along, floats(wires.r_row, shape)),
        ("cols", "b", against, floats(wires.r_col, shape)),
    ):
        for k, line in enumerate(of):
            inside = [f"{prefix}{letter}_{i}_{j}" for i, j in line]
            tags = [f"{prefix}{key}_{i}_{j}" for i, j in line]
            chain = [float(r[x]) for x in line]
            far = ends.get(f"{key}_far")
            whole = [ends[key][k], *inside]
            if far is None:
                links += segments(tags, whole, [*chain, np.inf])
            else:
                tags = [*tags, f"{prefix}{key}_far_{k}"]
                links += segments(tags, [*whole, far[k]], [*chain, 0.0])
    cell = circuit_of(ended.crossbar, ended.bias(jnp.zeros(len(nodes)))).cell  # at its gates
    links += devices_of(cell, prefix, moves=times is not None)
    held = reached(links, set(nodes) | {GROUND})
    for a, _, lines in without_loops(links):
        if a in held:
            yield from lines
    c = wires.c_row, wires.c_col, wires.c_cell
    for i, j in np.ndindex(shape):
        w, b = f"{prefix}w_{i}_{j}", f"{prefix}b_{i}_{j}"
        for tag, one, a, b_ in zip("wbx", c, (w, b, w), (GROUND, GROUND, b)):
            x = 0.0 if one is None else float(floats(one, shape)[i, j])
            if x > 0 and a in held and b_ in held:
                yield f"c_{prefix}{tag}_{i}_{j} {a} {b_} {x!r}"
