"""How far a circuit is from where it settles, and when an error has come to stay within a band."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from .._types import Scalar, Values, as_physical
from ..analyses.dc import solve
from ..drive.waveform import step
from ..elements.circuit import Circuit, require_bus, sources_of, with_values
from ..solvers import Solver
from .simulate import simulate


def errors(
    circuit: Circuit,
    given: Values | Mapping[str, Values],
    edge: Scalar,
    ts: Array,
    bus: str,
    *,
    solver: Solver,
    **options,
) -> tuple[Array, Array, Array]:
    """Voltages [V] of a bus at times `ts` [s] after an edge of the sources from 0, less the settled
    ones, `(times, nodes)`; the settled voltages [V], `(nodes,)`; and the status of both.

    `given` has the values [V or A] of the sources after the edge, by name, or those of the only
    one. `options` are those of `simulate`. Raises `ValueError` for an unknown bus or source."""
    waves = {name: step(v, edge) for name, v in _values(circuit, given).items()}
    require_bus(circuit, bus)
    end = circuit
    for name, wave in waves.items():
        end = with_values(end, name, wave.v[-1])
    settled = solve(end, solver=solver)
    found = simulate(circuit, waves, ts, solver=solver, **options)
    off = found.v[bus] - settled.v[bus][None]
    return off, settled.v[bus], settled.status | found.status


def _values(circuit: Circuit, given: Values | Mapping[str, Values]) -> dict[str, Array]:
    """What sources set after the edge [V or A], per lane, by their names."""
    sources = sources_of(circuit)
    if not isinstance(given, Mapping):
        if len(sources) != 1:
            raise ValueError(
                f"v_in is for one of {len(sources)} sources ({', '.join(sources)}): pass a"
                " dictionary by their names."
            )
        given = {sources[0]: given}
    for name in given:
        if name not in sources:
            raise ValueError(
                f"v_in names {name!r}, which is no source of the circuit: its sources are"
                f" {', '.join(map(repr, sources)) or 'none'}."
            )
    full = lambda name, v: jnp.broadcast_to(as_physical(v, "v_in"), (circuit.lanes(name),))
    return {name: full(name, v) for name, v in given.items()}


def entered(t: Array, off: Array, band: Scalar, taken: Array) -> Array:
    """Time [s] from which on an error `off`, `(times, outputs)` at `t`, of which `taken` steps
    count, stays within the band."""
    steps = t.size - 1
    counts = jnp.arange(steps + 1) <= taken
    outside = (jnp.abs(off) > band) & counts[:, None]
    last = steps - jnp.argmax(outside[::-1], axis=0)  # last step that begins outside
    ever, never = jnp.any(outside, axis=0), last >= taken
    at = lambda x, k: jnp.take_along_axis(x, jnp.minimum(k, steps)[None], axis=0)[0]
    before, after = jnp.abs(at(off, last)), jnp.abs(at(off, last + 1))
    same = at(off, last) * at(off, last + 1) > 0
    safe = same & (before > after)
    ratio = jnp.where(safe, before / jnp.where(safe, after, 1), 2)
    inside = jnp.log(jnp.where(safe, before / band, 1)) / jnp.log(ratio)
    straight = (before - band) / jnp.where(before + after > 0, before + after, 1)
    part = jnp.where(safe, inside, straight)
    t_0, t_1 = t[jnp.minimum(last, steps)], t[jnp.minimum(last + 1, steps)]
    return jnp.where(ever, jnp.where(never, jnp.inf, t_0 + part * (t_1 - t_0)), 0.0)
