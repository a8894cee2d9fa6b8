"""Noise of a read, from every source to every output.

Around its operating point a read is a linear network `A x = b` with an output `c x`. A small
current or voltage `db` anywhere changes the output by `c A^-1 db = l db`, with `A^T l = c`. One
transposed solve per column gives the transfer functions from every cell, wire and amplifier
(R. Rohrer, L. Nagel, R. Meyer, L. Weber, IEEE J. Solid-State Circuits 6, 204 (1971); after
S. W. Director, R. A. Rohrer, IEEE Trans. Circuit Theory 16, 318 (1969),
doi:10.1109/TCT.1969.1082965). Sources are independent, so their powers add:

    var = sum_k |l_k|^2 S_k (f_high - f_low)         white noise of density S_k
        + sum_k |l_k|^2 K i_k^2 ln(f_high / f_low)   1/f noise of cells, of density K i^2 / f.
"""

from collections.abc import Mapping
from typing import NamedTuple, overload

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike

from .._types import (
    PerCol,
    Values,
    as_physical,
    require_nonnegative,
    widest,
)
from ..cells.constants import BOLTZMANN
from ..crossbar import Crossbar
from ..drive import Bias
from ..elements.circuit import Circuit
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import (
    bias_of,
    circuit_of,
    in_one_dtype,
    terminal_current,
)
from ..kirchhoff.islands import determined
from ..kirchhoff.network import Field
from ..kirchhoff.solution import usable
from ..readout import require_linear
from ..solvers import AutoLadder, factor, solve
from .circuit_noise import CircuitNoise, circuit_noise
from .noise_sources import around, ends_of, of_cells, require_no_junction, resistances
from .read import read


class Noise(NamedTuple):
    """Noise variances at the outputs, `(cols,)`, in the square of the output's unit: [V^2] for
    amplifiers and voltage senses, [A^2] otherwise."""

    thermal: PerCol  # of cells: 4 k T dI/dV
    flicker: PerCol  # of cells: K I^2 / f
    wires: PerCol  # of wires and sources: 4 k T r
    feedback: PerCol  # of resistors of readouts: 4 k T / r_f
    amplifier: PerCol  # of amplifiers: e_n^2 and i_n^2

    @property
    def variance(self) -> PerCol:
        """Variance of all sources together."""
        return self.thermal + self.flicker + self.wires + self.feedback + self.amplifier

    @property
    def rms(self) -> PerCol:
        """Standard deviation, in the output's unit."""
        return jnp.sqrt(self.variance)


@overload
def noise(
    crossbar: Crossbar,
    v_in: Values | Bias,
    *,
    band: tuple[float, float],
    temperature: ArrayLike = 300.0,
    flicker: ArrayLike = 0.0,
    e_n: ArrayLike = 0.0,
    i_n: ArrayLike = 0.0,
) -> Noise: ...


@overload
def noise(
    crossbar: Circuit,
    *,
    output: str,
    band: tuple[float, float],
    temperature: ArrayLike = 300.0,
    flicker: ArrayLike | Mapping[str, ArrayLike] = 0.0,
    points: int = 160,
) -> CircuitNoise: ...


def noise(
    crossbar: Crossbar | Circuit,
    v_in: Values | Bias | None = None,
    *,
    output: str | None = None,
    band: tuple[float, float],
    temperature: ArrayLike = 300.0,
    flicker: ArrayLike | Mapping[str, ArrayLike] = 0.0,
    e_n: ArrayLike | None = None,
    i_n: ArrayLike | None = None,
    points: int = 160,
) -> Noise | CircuitNoise:
    """Noise at the outputs of a read, by one transposed solve per column, or at the nodes of a bus
    of a circuit, by one transposed system per frequency.

    Densities of the sources (thermal noise after H. Nyquist, Phys. Rev. 32, 110 (1928),
    doi:10.1103/PhysRev.32.110):

    - currents [A^2/Hz] in parallel with each cell: `4 k T dI/dV`, and `K I^2 / f` of 1/f noise;
    - currents [A^2/Hz] at the input of each readout: `i_n^2`, and `4 k T / r` of the feedback
        resistor of a `Tia` or the load of a `VoltageSense`;
    - voltages [V^2/Hz] in series with each wire and source resistance: `4 k T r`;
    - voltages [V^2/Hz] at the reference of each readout, or at the sampled node of a
        `VoltageSense`: `e_n^2`.

    The input resistance of a readout is made by an amplifier and has no thermal noise of its own.
    `4 k T dI/dV` holds in thermal equilibrium, as in resistors and in transistors that are on.
    Junctions have shot noise instead and raise an error. For an `Integrator`, `band` must be as
    wide as its noise bandwidth `1 / (2 t_int)`, and `reset_noise` comes on top.

    In a circuit, elements state their sources: `4 k T r` of a `Resistor`, a `Switch` and a
    `VoltageSource`, `4 k T dI/dV` of a `Device`, `e_n` and `i_n` of an `OpAmp`. Amplifiers and
    capacitors shape them by `1 / (K + j w C)` around the operating point; an amplifier has the gain
    that it has there. Lines with capacitance count as in `poles`. The band is integrated by the
    rule of Gauss in the logarithm of the frequency, in `points / 8` equal parts of 8 points. One
    part per decade gives 7 digits where no pole resonates; a pole of quality `Q` needs `Q` parts
    per decade for 3 digits. The result has a bound of the `error`.

    **Arguments:**

    - `crossbar`, `v_in`: as for `read`; or a `Circuit` alone.
    - `output`: of a circuit, the name of a bus.
    - `band`: lowest and highest frequency [Hz]. A readout that settles with a time constant `tau`
        has a noise bandwidth of `1 / (4 tau)`; the lowest frequency matters mostly for 1/f noise.
    - `temperature`: [K].
    - `flicker`: `K` of the cells' 1/f noise [1], a scalar or `(rows, cols)`; of a circuit, of all
        its arrays or a dictionary by their names.
    - `e_n`, `i_n`: noise of the amplifiers [V/sqrt(Hz)] and [A/sqrt(Hz)], scalars or `(cols,)`. In
        a circuit each `OpAmp` has its own.
    - `points`: of a circuit, the number of frequencies, a multiple of 8.

    **Returns:** a `Noise`, or a `CircuitNoise` of a circuit; NaN where the read failed under a
    transformation.

    **Errors:** those of `read` or `solve`; `ValueError` for an amplifier with a swing in a read,
    for junctions, for negative arguments, and for a band without a width; `TypeError` for an
    element that states no noise.
    """
    if isinstance(crossbar, Circuit):
        if not (v_in is None and e_n is None and i_n is None):
            raise ValueError(
                "v_in, e_n and i_n are those of an array alone: a circuit has sources and"
                " amplifiers of its own, xb.elements.OpAmp(..., e_n=..., i_n=...)."
            )
        return circuit_noise(crossbar, output, band, temperature, flicker, points)
    if v_in is None or output is not None or isinstance(flicker, Mapping):
        raise ValueError(
            "the noise of an array alone is that of a read: pass v_in and a number as flicker, and"
            " no output."
        )
    e_n, i_n = (0.0 if x is None else x for x in (e_n, i_n))
    bias = bias_of(crossbar, v_in)
    require_linear(crossbar.readout, "noise")
    low, high = ends_of(band)
    scalars = {"temperature": temperature, "flicker": flicker, "e_n": e_n, "i_n": i_n}
    values = {name: as_physical(x, name) for name, x in scalars.items()}
    for name, x in values.items():
        require_nonnegative(x, name, "", open_allowed=False)
    require_no_junction(crossbar.cell)
    found, status = _noise(crossbar, bias, low, high, **values)
    return finish(found, status)


class _Transfers(NamedTuple):
    """Transfer functions from small sources anywhere in the array to one output."""

    cell: Array  # of a current in parallel with a cell, (rows, cols)
    short: Array  # of a voltage in series with a cell that is a short
    row: Array  # of a voltage in series with a segment, (rows, cols + 1)
    col: Array  # (rows + 1, cols)
    strap_row: Array  # of a current into a node, (rows, cols)
    strap_col: Array
    source: Array  # of the voltage of a readout below the last row, (cols,)
    source_far: Array  # and of one above row 0
    into: Array  # of a current out of a line into the readout below, (cols,)
    into_far: Array  # and into the readout above row 0


@eqx.filter_jit
def _noise(crossbar: Crossbar, bias: Bias, low, high, temperature, flicker, e_n, i_n):
    crossbar, bias = in_one_dtype(crossbar, bias)
    # densities are small and are squared: all in the widest dtype
    numbers = low, high, temperature, flicker, e_n, i_n
    wide = widest(*numbers)
    low, high, temperature, flicker, e_n, i_n = (x.astype(wide) for x in numbers)
    solution = read(crossbar, bias)
    circuit = circuit_of(crossbar, bias)
    network, cut = determined(around(circuit, solution))
    adjoint = factor(network.transpose(), AutoLadder())
    network = adjoint.network.transpose()  # with shorts as unknowns
    shorts = network.shorts
    floating = cut.row | cut.col

    (rows, cols), dtype, readout = floating.shape, solution.drop_row.dtype, crossbar.readout
    one, none = jnp.ones((cols,), dtype), jnp.zeros((cols,), dtype)
    at = solution.i_out, solution.v_sense
    _, of_i = jax.jvp(readout.output, at, (one, none))
    _, of_v = jax.jvp(readout.output, at, (none, one))
    full = lambda r: jnp.broadcast_to(r, (cols,)).astype(dtype)
    r_in, r_in_far = full(readout.r_in), full(readout.r_in_far)
    opened, opened_far = jnp.isinf(r_in), jnp.isinf(r_in_far)
    sampled = not readout.takes_current
    open_input = opened & sampled  # draws no current but its noise
    r_in, r_in_far = jnp.where(opened, 0, r_in), jnp.where(opened_far, 0, r_in_far)
    # the output as a combination of the line's current, the voltage of the last node at an open
    # input, and the readout's own voltage
    by_i = of_i + jnp.where(opened, 0, of_v) * r_in
    by_node, direct = jnp.where(opened, of_v, 0), jnp.where(opened, 0, of_v)

    def of_column(j) -> _Transfers:
        mine = jnp.arange(cols) == j
        current = jnp.where(mine[None] & ~floating, by_i[None], 0)
        at_end = jnp.zeros((rows, cols), dtype).at[-1].set(jnp.where(mine, by_node, 0))
        wanted = Field(
            -network.g_cr * current,
            jnp.zeros_like(circuit.e_row),
            -network.g_rc * current + at_end,
            jnp.zeros_like(circuit.e_col),
            None if shorts is None else -shorts.alpha * current,
        )
        x, _ = solve(adjoint, wanted)
        of_cell, of_short = of_cells(network, x, jnp.where(floating, 0, x.row + x.col) + current)
        e_col = network.i_col(x)
        straps = terminal_current(circuit.branches_col, x.col)
        straps = 0 if straps is None else jnp.sum(straps, axis=0)
        at_input = jnp.where(mine, direct, 0)
        source = e_col[-1] + straps + at_input
        own = jnp.where(mine, of_i, 0)
        return _Transfers(
            of_cell,
            of_short,
            network.i_row(x),
            e_col,
            x.row,
            x.col,
            source,
            -e_col[0],
            jnp.where(open_input, x.col[-1], -r_in * (e_col[-1] + at_input) - own),
            jnp.where(opened_far, 0, r_in_far * e_col[0] - own),
        )

    def powers(j) -> Noise:
        t, four = of_column(j), 4 * BOLTZMANN * temperature * (high - low)
        white = lambda h, s: jnp.sum(h.astype(wide) ** 2 * s.astype(wide))
        g = (network.g_rc + network.g_cr) / 2
        r_row, r_col = resistances(crossbar, circuit)
        wires = white(t.row, r_row) + white(t.col, r_col)
        for h, branches in (
            (t.strap_row, circuit.branches_row),
            (t.strap_col, circuit.branches_col),
        ):
            wires += sum(white(h, one.g) for one in branches)
        current = white(t.into, i_n**2) + white(t.into_far, i_n**2)
        if sampled:  # input noise adds to the sampled voltage
            voltage = jnp.sum(jnp.where(jnp.arange(cols) == j, e_n**2, 0))
        else:
            follows = jnp.asarray(readout.follows, wide)
            e_far = white(t.source_far, e_n**2)
            voltage = white(t.source, (e_n * follows) ** 2) + e_far
        thermal = white(t.cell, g) + (0 if shorts is None else white(t.short, shorts.beta))
        return Noise(
            four * thermal,
            white(t.cell * solution.i_cell, flicker) * jnp.log(high / low),
            four * wires,
            four * white(t.into, full(readout.noise_conductance())),
            (current + voltage) * (high - low),
        )

    found = lax.map(powers, jnp.arange(cols))
    good = usable(solution.status)
    found = jax.tree.map(lambda x: jnp.where(good, x, jnp.nan).astype(dtype), found)
    return found, solution.status
