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

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike

from .._types import (
    PerCol,
    Values,
    as_physical,
    everywhere,
    require_nonnegative,
    widest,
)
from ..cells.constants import BOLTZMANN
from ..cells.junction import Junction
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import (
    at_rest,
    bias_of,
    circuit_of,
    in_one_dtype,
    network_of,
    terminal_current,
)
from ..kirchhoff.islands import determined
from ..kirchhoff.network import Field
from ..kirchhoff.solution import usable
from ..readout import require_linear
from ..solvers import AutoLadder, factor, solve
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


def noise(
    crossbar: Crossbar,
    v_in: Values | Bias,
    *,
    band: tuple[float, float],
    temperature: ArrayLike = 300.0,
    flicker: ArrayLike = 0.0,
    e_n: ArrayLike = 0.0,
    i_n: ArrayLike = 0.0,
) -> Noise:
    """Noise at the outputs of a read, by one transposed solve per column.

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

    **Arguments:**

    - `crossbar`, `v_in`: as for `read`.
    - `band`: lowest and highest frequency [Hz]. A readout that settles with a time constant `tau`
        has a noise bandwidth of `1 / (4 tau)`; the lowest frequency matters mostly for 1/f noise.
    - `temperature`: [K].
    - `flicker`: `K` of the cells' 1/f noise [1], a scalar or `(rows, cols)`.
    - `e_n`, `i_n`: noise of the amplifiers [V/sqrt(Hz)] and [A/sqrt(Hz)], scalars or `(cols,)`.

    **Returns:** a `Noise`, NaN where the read failed under a transformation.

    **Errors:** those of `read`; `ValueError` for an amplifier with a swing, for junctions, for
    negative arguments, and for a band without a width.
    """
    bias = bias_of(crossbar, v_in)
    require_linear(crossbar.readout, "noise")
    low, high = (as_physical(f, "band") for f in band)
    if not everywhere(lambda low, high: (0 < low) & (low < high) & (high < np.inf), low, high):
        raise ValueError(f"band is {band} Hz; it must be two frequencies, 0 < lowest < highest.")
    scalars = {"temperature": temperature, "flicker": flicker, "e_n": e_n, "i_n": i_n}
    values = {name: as_physical(x, name) for name, x in scalars.items()}
    for name, x in values.items():
        require_nonnegative(x, name, "", open_allowed=False)
    for part in jax.tree.leaves(crossbar.cell, is_leaf=_is_junction):
        if _is_junction(part):
            raise ValueError(
                f"{type(part).__name__} is a junction, whose shot noise is not modelled: replace"
                " it by a conductance."
            )
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
    a, w = solution.drop_row, solution.drop_col
    if crossbar.cell.is_linear:
        network = at_rest(circuit)
    else:
        tangents = circuit.cell.linearise(*circuit.voltages(a, w))
        network = network_of(circuit, *tangents[1:])
    network, cut = determined(network)
    adjoint = factor(network.transpose(), AutoLadder())
    network = adjoint.network.transpose()  # with shorts as unknowns
    shorts = network.shorts
    floating = cut.row | cut.col

    (rows, cols), dtype, readout = a.shape, a.dtype, crossbar.readout
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
        of_cell = jnp.where(floating, 0, x.row + x.col) + current
        of_short = jnp.zeros_like(of_cell)
        if shorts is not None and x.cell is not None:
            # Norton to Thevenin: a current `i` beside a short is a voltage `beta i` in series
            of_short = shorts.alpha * x.cell
            of_cell = jnp.where(shorts.alpha > 0, shorts.beta * of_short, of_cell)
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
        r_row, r_col = _resistances(crossbar, circuit)
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


def _resistances(crossbar: Crossbar, circuit) -> tuple[Array, Array]:
    """Noisy resistance [ohm] of each segment, 0 for an open segment."""
    row, total = circuit.row.r, circuit.col.r
    wire = jnp.broadcast_to(crossbar.wires.r_col, crossbar.shape)
    col = jnp.concatenate([jnp.zeros_like(wire[:1]), wire])  # end resistances belong to readouts
    return jnp.where(jnp.isinf(row), 0, row), jnp.where(jnp.isinf(total) | jnp.isinf(col), 0, col)


def _is_junction(part) -> bool:
    return isinstance(part, Junction)
