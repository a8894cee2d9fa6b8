"""Energy, power and time of a product, from the solve and from figures of merit.

What the array takes comes out of the solve: `sum v i` over its sources, for as long as it is read.
What surrounds it is not in the circuit: converters are priced by their figure of merit, amplifiers
by the power that they draw, drivers by the capacitance that they charge. Area is layout, and left
to what publications quote.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar, as_physical, require_nonnegative
from ..kirchhoff.solution import Solution


class Cost(NamedTuple):
    """Energies [J] of one product, and what follows from them."""

    array: Scalar  # what the sources of the array deliver
    amplifiers: Scalar  # what those of the outputs draw
    converters: Scalar  # of the outputs
    drivers: Scalar  # charging word lines
    t_product: Scalar  # a product
    operations: int  # a multiplication and an addition a cell; a pair of cells is one weight

    @property
    def energy(self) -> Scalar:
        """[J] of one product."""
        return self.array + self.amplifiers + self.converters + self.drivers

    @property
    def power(self) -> Scalar:
        """[W], one product after the other."""
        return self.energy / self.t_product

    @property
    def operations_per_joule(self) -> Scalar:
        """[1/J]: 1e12 of them are one TOPS/W."""
        return self.operations / self.energy

    @property
    def operations_per_second(self) -> Scalar:
        """[1/s]: 1e12 of them are one TOPS."""
        return self.operations / self.t_product


def adc_energy(bits: ArrayLike, fom: ArrayLike) -> Float[Array, "..."]:
    """Energy [J] of one conversion, `fom 2^bits`, of effective bits and a figure of merit
    [J per conversion step] (R. H. Walden, IEEE J. Sel. Areas Commun. 17, 539 (1999),
    doi:10.1109/49.761034)."""
    return as_physical(fom, "fom") * 2.0 ** as_physical(bits, "bits")


def cost(
    solution: Solution,
    *,
    t_read: ArrayLike,
    adc_bits: ArrayLike,
    adc_fom: ArrayLike,
    p_amplifier: ArrayLike = 0.0,
    c_line: ArrayLike = 0.0,
    conversions: int | None = None,
) -> Cost:
    """Energy, power and time of one product.

        E = sum_phases ((sum v i) t + cols p_amplifier t) + cols conversions fom 2^bits
            + c_line sum_phases,lines max(0, v_k (v_k - v_{k-1}))

    A driver that takes a line of capacitance `c` from `v_{k-1}` to `v_k` delivers
    `c v_k (v_k - v_{k-1})` if it has to move away from 0 V, and nothing to let it go back. Lines
    begin at 0 V and keep their voltage from one phase to the next.

    **Arguments:**

    - `solution`: a read, or a batch of reads that make one product, such as the phases of an
        encoding, one after the other.
    - `t_read`: how long one read takes [s].
    - `adc_bits`, `adc_fom`: effective bits of the outputs' converters, and their figure of merit
        [J per conversion step].
    - `p_amplifier`: what the amplifier of a column draws [W]: its supply times its current.
    - `c_line`: capacitance [F] of a word line.
    - `conversions`: of a column, in a product; by default one per phase. What an integrator adds up
        over all phases is converted once.

    **Returns:** a `Cost`. **Errors:** `ValueError` for negative arguments.
    """
    values = {"t_read": t_read, "adc_bits": adc_bits, "adc_fom": adc_fom}
    values |= {"p_amplifier": p_amplifier, "c_line": c_line}
    values = {name: as_physical(x, name) for name, x in values.items()}
    units = {"t_read": "s", "adc_fom": "J", "p_amplifier": "W", "c_line": "F"}
    for name, x in values.items():
        require_nonnegative(x, name, units.get(name, ""), open_allowed=False)
    t_read = values["t_read"]
    rows, cols = solution.i_cell.shape[-2:]
    phases = solution.status.size
    conversion = adc_energy(values["adc_bits"], values["adc_fom"])
    conversions = phases if conversions is None else conversions
    if conversions < 0:
        raise ValueError(f"conversions is {conversions}; a column has none or some.")
    v = solution.bias.v_row.reshape(phases, -1)
    charged = jnp.sum(jnp.maximum(v * jnp.diff(v, axis=0, prepend=0), 0))
    return Cost(
        jnp.sum(solution.p_delivered) * t_read,
        phases * cols * values["p_amplifier"] * t_read,
        conversions * cols * conversion,
        values["c_line"] * charged,
        phases * t_read,
        2 * rows * cols,
    )
