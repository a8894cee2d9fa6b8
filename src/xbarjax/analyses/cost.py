"""Energy, power and time of a product, from a solution and from figures of merit.

The energy of the array follows from its solution: `sum v i` over the sources, times the read time.
The periphery is not part of the circuit: converters cost energy by their figure of merit,
amplifiers by the power that they draw, drivers by the capacitance that they charge. Area depends on
the layout and is left out.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar, as_physical, require_nonnegative
from ..kirchhoff.solution import Solution


class Cost(NamedTuple):
    """Energies [J], time [s] and operations of one product."""

    array: Scalar  # delivered by the sources of the array
    amplifiers: Scalar  # drawn by the amplifiers of the outputs
    converters: Scalar  # taken by the converters of the outputs
    drivers: Scalar  # delivered by drivers that charge word lines
    t_product: Scalar  # [s], time of the product
    operations: int  # a multiplication and an addition per cell, so four per pair of cells

    @property
    def energy(self) -> Scalar:
        """Total energy [J] of one product."""
        return self.array + self.amplifiers + self.converters + self.drivers

    @property
    def power(self) -> Scalar:
        """Power [W] of products one after the other."""
        return self.energy / self.t_product

    @property
    def operations_per_joule(self) -> Scalar:
        """Efficiency [1/J]; 1e12 / J is one TOPS/W."""
        return self.operations / self.energy

    @property
    def operations_per_second(self) -> Scalar:
        """Throughput [1/s]; 1e12 / s is one TOPS."""
        return self.operations / self.t_product


def adc_energy(bits: ArrayLike, fom: ArrayLike) -> Float[Array, "..."]:
    """Energy [J] of one conversion, `fom 2^bits`, with the effective number of bits and the figure
    of merit `fom` [J per conversion step] (R. H. Walden, IEEE J. Sel. Areas Commun. 17, 539 (1999),
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

    A driver that charges a line of capacitance `c` from `v_{k-1}` to `v_k`, away from 0 V, delivers
    `c v_k (v_k - v_{k-1})`. Discharging the line towards 0 V takes no energy. Lines start at 0 V
    and keep their voltage from one phase to the next.

    **Arguments:**

    - `solution`: a read, or a batch of reads that make one product, such as the phases of an
        encoding in their order.
    - `t_read`: time of one read [s].
    - `adc_bits`, `adc_fom`: effective number of bits of the output converters, and their figure of
        merit [J per conversion step].
    - `p_amplifier`: power [W] of each column's amplifier, supply voltage times current.
    - `c_line`: capacitance [F] of each word line.
    - `conversions`: number of conversions per column and product; by default one per phase. An
        integrator that adds up all phases needs one.

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
        raise ValueError(f"conversions is {conversions}; it must be at least 0.")
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
