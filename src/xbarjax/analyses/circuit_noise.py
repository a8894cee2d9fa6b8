"""Noise of circuits around their operating point, over frequency.

With Jacobian `K` of the currents and `C` of the charges, a small source `s` anywhere changes the
unknowns by `-(K + j w C)^-1 b s`, where `b` says which laws it enters, and the voltage of node `k`
by `-a b s` with

    (K + j w C)^T a = e_k.

So one transposed system per frequency gives the transfer functions from every source to a node, as
for a read (noise.py). Sources inside an array act by the currents that they drive into its held
terminals. Their densities do not depend on the frequency, 1/f apart: they are those of `M` in

    S = a_t^H M a_t,    M = sum_k S_k h_k h_k^T,

with `a_t` of the array's terminals and `h_k` the currents [A] at all of them per unit of source
`k`: one solve of the adjoint network per terminal. Of resistors at one temperature `M` is
`4 k T Y` (R. Q. Twiss, J. Appl. Phys. 26, 599 (1955), doi:10.1063/1.1722048).
"""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar, as_physical, described, require_nonnegative
from ..cells.constants import BOLTZMANN
from ..elements import AbstractNoisyElement, Array as ArrayElement, Device
from ..elements.circuit import Circuit
from ..kirchhoff.circuit import circuit_of, in_one_dtype as crossbar_in_one_dtype
from ..kirchhoff.islands import determined
from ..kirchhoff.laws import asked
from ..kirchhoff.network import Field
from ..kirchhoff.solution import usable
from ..kirchhoff.terminals import Ended, Nodal, at_nodes, nodal_of, nodes_of
from ..solvers import AutoLadder, Solver, linear_of
from .admittance import adjoint
from .dc import finished, solved, with_growth
from .dense import equilibrated
from .nodal import in_one_dtype
from .noise_sources import around, ends_of, of_cells, require_no_junction, resistances
from .read import _read
from .small_signal import charges_of

ORDER = 8  # of the rule of Gauss in each part of the band
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
KEPT = [0, 2, 3, 4, 5, 7]  # of its points, those of a coarser rule, which has positive weights


class CircuitNoise(eqx.Module):
    """Noise of the voltages of a bus.

    **Attributes:**

    - `f`: frequencies [Hz], `(points,)`.
    - `density`: spectral density [V^2/Hz] at these frequencies that each element causes, by its
        name, `(points, nodes)`.
    - `parts`: the same over the band [V^2], `(nodes,)`.
    - `error`: relative change of the variance if it is integrated with 6 of every 8 points,
        `(nodes,)`: the error with all of them is smaller. More `points` reduce it.
    """

    f: Float[Array, "*batch points"]
    density: dict[str, Float[Array, "*batch points nodes"]]
    parts: dict[str, Float[Array, "*batch nodes"]]
    error: Float[Array, "*batch nodes"]

    @property
    def spectrum(self) -> Float[Array, "*batch points nodes"]:
        """Spectral density [V^2/Hz] of all elements together."""
        return sum(self.density.values())  # pyright: ignore[reportReturnType]

    @property
    def variance(self) -> Float[Array, "*batch nodes"]:
        """Variance [V^2] of all elements together, over the band."""
        return sum(self.parts.values())  # pyright: ignore[reportReturnType]

    @property
    def rms(self) -> Float[Array, "*batch nodes"]:
        """Standard deviation [V]."""
        return jnp.sqrt(self.variance)


def circuit_noise(
    circuit: Circuit,
    output: str | None,
    band: tuple[float, float],
    temperature: ArrayLike,
    flicker: ArrayLike | Mapping[str, ArrayLike],
    points: int,
    solver: Solver = AutoLadder(),
) -> CircuitNoise:
    """`noise` of a circuit."""
    if output not in circuit.buses:
        raise ValueError(
            f"output is {output!r}; it must be a bus of the circuit:"
            f" {', '.join(map(repr, circuit.buses))}."
        )
    if points < ORDER or points % ORDER:
        raise ValueError(f"points is {points}; it must be a multiple of {ORDER}.")
    arrays = [k for k, x in circuit.elements.items() if isinstance(x, ArrayElement)]
    given = dict(flicker) if isinstance(flicker, Mapping) else dict.fromkeys(arrays, flicker)
    for name in given:
        if name not in arrays:
            raise ValueError(f"flicker names {name!r}, which is no array of the circuit.")
    numbers = {name: as_physical(given.get(name, 0.0), "flicker") for name in arrays}
    temperature = as_physical(temperature, "temperature")
    require_nonnegative(temperature, "temperature", "K", open_allowed=False)
    for x in numbers.values():
        require_nonnegative(x, "flicker", "", open_allowed=False)
    for name, element in circuit.elements.items():
        if isinstance(element, (ArrayElement, Device)):
            require_no_junction(element.cell)
        elif not isinstance(element, AbstractNoisyElement):
            raise TypeError(
                f"element {name!r} is {described(element)}, which states no noise: make it an"
                " xb.elements.AbstractNoisyElement, with a method noise."
            )
    low, high = ends_of(band)
    found, status = _noise(circuit, output, low, high, temperature, numbers, points, solver)
    return finished(circuit, solver, found, status)


@eqx.filter_jit
def _noise(circuit: Circuit, output: str, low, high, temperature, flicker, points: int, solver):
    circuit = in_one_dtype(circuit)
    nodal = nodal_of(circuit, driven=False)
    z, by, solution = solved(circuit, solver, driven=False)
    dtype = z.dtype
    low, high, temperature = (x.astype(dtype) for x in (low, high, temperature))
    flicker = {name: x.astype(dtype) for name, x in flicker.items()}
    status = with_growth(circuit, solver, z, by, solution, driven=False).status
    parts = {
        name: _correlations(
            array, at_nodes(z, nodes_of(nodal, array)), solver, temperature, flicker[name]
        )
        for name, array in nodal.arrays.items()
    }
    stiffness, charge = by.matrix.T, charges_of(nodal, linear_of(solver), z).T
    first, width = nodal.layout.buses[output]
    size = nodal.layout.size
    wanted = jnp.eye(width, 2 * size, first, dtype=dtype)

    def at(f) -> dict[str, Array]:
        moved = 2 * np.pi * f * charge
        whole = jnp.block([[stiffness, -moved], [moved, stiffness]])  # of real and imaginary parts
        found = equilibrated(whole).solve(wanted.T).T
        of_nodes = jax.vmap(lambda a: _powers(nodal, z, parts, a, f, temperature))
        real, imaginary = (of_nodes(x) for x in (found[:, :size], found[:, size:]))
        return jax.tree.map(jnp.add, real, imaginary)

    count = points // ORDER
    share = ((np.arange(count)[:, None] + (1 + POINTS) / 2) / count).ravel()
    wide = jnp.log(high / low)
    f = low * jnp.exp(wide * jnp.asarray(share, dtype))
    density = lax.map(at, f)
    integral = lambda weights, s: (jnp.asarray(np.tile(weights / 2, count), dtype) * f) @ s
    over = lambda weights: jax.tree.map(lambda s: wide / count * integral(weights, s), density)
    band = over(WEIGHTS)
    fine, coarse = (sum(parts.values()) for parts in (band, over(_coarse())))
    some = jnp.where(fine > 0, fine, 1)  # without noise there is no error
    error = lax.stop_gradient(jnp.abs(fine - coarse) / some)
    found, good = CircuitNoise(f, density, band, error), usable(status)
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), found), status


def _coarse() -> np.ndarray:
    """Weights of a rule of fewer points, exact for polynomials of as many terms."""
    terms = np.polynomial.legendre.legvander(POINTS[KEPT], len(KEPT) - 1).T
    weights = np.zeros(ORDER)
    weights[KEPT] = np.linalg.solve(terms, 2 * np.eye(len(KEPT))[0])
    return weights


class _Correlations(NamedTuple):
    """Densities of the currents [A^2/Hz] into the terminals of an array whose voltages are held."""

    white: Float[Array, "terminals terminals"]
    flicker: Float[Array, "terminals terminals"]  # at 1 Hz


def _powers(nodal: Nodal, z, parts: dict[str, _Correlations], a: Array, f, temperature):
    """Densities [V^2/Hz] that each element causes, by one part, real or imaginary, of the transfer
    functions `a`."""
    found = {}
    for (name, element, nodes, v, own), (*_, a_v, a_own) in zip(asked(nodal, z), asked(nodal, a)):
        total = jnp.zeros_like(f)
        assert isinstance(element, AbstractNoisyElement)
        for source in element.noise(v, own, temperature):
            h = sum(x * y for x, y in zip((*source.currents, *source.laws), (*a_v, *a_own)))
            total += jnp.sum(h**2 * source.density)
        found[name] = total
        del nodes
    for name, part in parts.items():
        u = at_nodes(a, nodes_of(nodal, nodal.arrays[name]))
        found[name] = u @ (part.white + part.flicker / f) @ u
    return found


def _correlations(
    array: Ended, u: Array, solver: Solver, temperature: Scalar, flicker: Array
) -> _Correlations:
    """Densities of the currents into an array at terminal voltages `u` [V], from its cells and
    wires."""
    crossbar, bias = crossbar_in_one_dtype(array.crossbar, array.bias(u))
    solution, circuit = _read(crossbar, bias, solver, None), circuit_of(crossbar, bias)
    network, cut = determined(around(circuit, solution))
    network, x = adjoint(array, network, linear_of(solver))
    shorts, floating = network.shorts, cut.row | cut.col

    def transfers(x: Field):
        cell, short = of_cells(network, x, jnp.where(floating, 0, x.row + x.col))
        return cell, short, network.i_row(x), network.i_col(x)

    cell, short, row, col = jax.vmap(transfers)(x)
    joined = lambda h, s: jnp.tensordot(h * s[None], h, ((1, 2), (1, 2)))
    four = 4 * BOLTZMANN * temperature
    white = joined(cell, (network.g_rc + network.g_cr) / 2)
    if shorts is not None:
        white += joined(short, shorts.beta)
    for h, r in zip((row, col), resistances(crossbar, circuit)):
        white += joined(h, r)
    return _Correlations(four * white, joined(cell, flicker * solution.i_cell**2))
