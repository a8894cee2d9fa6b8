"""Programming by gradient descent on the error of products: no cell is read."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    optional,
    physical,
    require_nonnegative,
    require_positive,
)
from ..analyses.read import read
from ..cells import has_gate
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.solution import Solution
from .groups import (
    AbstractPulseProgramming,
    Log,
    by_groups,
    logged,
    next_level,
    pulsed,
    require_cells,
    require_read_voltage,
    verified,
    with_group,
)
from .pulses import Pulses
from .selection import AbstractSelection, SelectRows
from .writing import Programmed


class GradientProgramming(AbstractPulseProgramming):
    """Programming by gradient descent: what is read are products of the whole array with random
    inputs, and pulses follow the gradient of their squared error.

    A step applies `inputs` vectors `x` of random signs times `v_read` to all lines at once, and
    reads the currents `i` of the bit lines. With target conductances `G` the gradient is

        D = mean(x (i - x G)) / v_read^2    [S]

    and a cell gets one pulse against it where `|D|` is at least `least`. Pulses of one polarity
    follow their staircase, which starts anew when the polarity changes. Currents of all rows flow
    at once, so that the drop in the wires of a product is part of what is programmed.

    Random signs of different rows are alike by chance, so that `D` of a cell contains errors of the
    other cells of its column, `sqrt(rows/inputs)` of their rms. With `orthogonal` inputs, random
    rows and signs of a Hadamard matrix, `D` is free of them: it is the error of the cell as
    products see it, with read noise averaged over all inputs.

    Source: J. Buechel et al., IEDM (2022), doi:10.1109/IEDM45625.2022.10019486, for phase-change
    memory, with random inputs.

    **Arguments:**

    - `set`, `reset`: the `Pulses` that raise and lower the conductance.
    - `acceptance`: half the width of the window around the target [S] for `Programmed.good`, by a
        read of each cell at the end.
    - `least`: smallest gradient [S] that leads to a pulse.
    - `v_read`: input voltage [V]; `v_gate_read`: gate voltage [V] of all rows in a product.
    - `steps`: number of steps, and most pulses of a cell.
    - `inputs`: number of input vectors per step.
    - `orthogonal`: whether the inputs of a step are orthogonal in place of independent. `inputs`
        must then be a power of two, at least the number of rows.
    - `read_noise`: standard deviation [A] of an output current.
    - `v_spread`: standard deviation [V] of the voltage of a pulse.
    - `select`, `rtol`: of a write, as in `xb.WriteVerify`.

    Raises `ValueError` for a window or `least` that is not positive, for counts below 1 and for
    orthogonal inputs whose number is no power of two; `xb.program` for fewer orthogonal inputs than
    rows, for source lines along the bit lines, where a product has no rows, and for what
    `xb.WriteVerify` refuses.
    """

    set: Pulses
    reset: Pulses
    acceptance: Float[Array, "*rows_cols"] = eqx.field(converter=physical("acceptance"))
    least: Scalar = eqx.field(converter=physical("least"))
    v_read: Scalar = eqx.field(converter=physical("v_read", whole=True))
    v_gate_read: Scalar | None = eqx.field(
        converter=optional("v_gate_read", whole=True), default=None
    )
    steps: int = eqx.field(static=True, default=30)
    inputs: int = eqx.field(static=True, default=64)
    read_noise: Scalar = eqx.field(converter=physical("read_noise"), default=0.0)
    v_spread: Scalar = eqx.field(converter=physical("v_spread"), default=0.0)
    select: AbstractSelection = eqx.field(default_factory=SelectRows)
    rtol: Scalar = eqx.field(converter=physical("rtol"), default=1e-3)
    orthogonal: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require_positive(self.acceptance, "acceptance", "S")
        require_positive(self.least, "least", "S")
        require_positive(self.rtol, "rtol", "")
        require_nonnegative(self.read_noise, "read_noise", "A", open_allowed=False)
        require_nonnegative(self.v_spread, "v_spread", "V", open_allowed=False)
        require_read_voltage(self.v_read)
        for name in ("steps", "inputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.orthogonal and self.inputs & (self.inputs - 1):
            raise ValueError(
                f"inputs is {self.inputs}; orthogonal inputs come in powers of two, such as"
                f" {1 << self.inputs.bit_length()}."
            )

    @property
    def rounds(self) -> int:
        return self.steps

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        if crossbar.wires.parallel:
            raise ValueError(
                "crossbar.wires.parallel is True: inputs would run along the bit lines, where a"
                " product has no rows. Use xb.WriteVerify, or wires with parallel=False."
            )
        rows, _ = crossbar.shape
        if self.orthogonal and self.inputs < rows:
            raise ValueError(
                f"inputs is {self.inputs}, but the array has {rows} rows: so few inputs are not"
                f" orthogonal on all rows. Pass at least {1 << (rows - 1).bit_length()}."
            )
        require_cells(self, crossbar, target)

    def signs(self, rows: int, dtype: Any, key: PRNGKeyArray) -> Float[Array, "inputs rows"]:
        """Signs of the inputs of a step."""
        if not self.orthogonal:
            return jax.random.rademacher(key, (self.inputs, rows), dtype)
        of_rows, of_signs = jax.random.split(key)
        number = jnp.arange(self.inputs)
        # Sylvester's matrix: the sign of (k, j) is the parity of the bits that k and j share
        odd = lax.population_count(number[:, None] & number[None]) % 2
        chosen = jax.random.permutation(of_rows, self.inputs)[:rows]
        plain = (1 - 2 * odd)[:, chosen].astype(dtype)
        return plain * jax.random.rademacher(of_signs, (1, rows), dtype)

    def product(self, crossbar: Crossbar, x: Float[Array, " rows"]) -> Solution:
        """The array read with inputs `x` [V] on all lines."""
        rows, cols = crossbar.shape
        v_col = crossbar.readout.voltage(cols).astype(x.dtype)
        gate = None
        if has_gate(crossbar.cell):
            assert self.v_gate_read is not None
            gate = jnp.full((rows,), self.v_gate_read)
        return read(crossbar, Bias(x, x, v_col, v_col, gate))

    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        rows, cols = crossbar.shape
        dtype = target.dtype

        def step(carry: tuple[Crossbar, Array, Array], key: PRNGKeyArray):
            crossbar, level, last = carry
            for_inputs, for_read, for_write = jax.random.split(key, 3)
            x = self.v_read * self.signs(rows, dtype, for_inputs)
            found = jax.vmap(lambda x: self.product(crossbar, x))(x)
            noise = self.read_noise * jax.random.normal(for_read, (self.inputs, cols), dtype)
            off = found.i_out + noise - x @ target
            slope = jnp.einsum("bi,bj->ij", x, off) / self.inputs / self.v_read**2
            way = jnp.where(jnp.abs(slope) < self.least, 0, -jnp.sign(slope)).astype(int)
            level = next_level(way, last, level)
            given = way, level
            after, log, disturb = by_groups(self, crossbar, self._pulse, given, for_write)
            status = log.status | jnp.bitwise_or.reduce(found.status)
            last = jnp.where(way == 0, last, way)
            return (after, level, last), (log._replace(status=status), disturb)

        keys = jax.random.split(key, self.steps + 1)
        full = lambda x: jnp.broadcast_to(x, (rows, cols))
        crossbar = eqx.tree_at(lambda c: c.cell, crossbar, jax.tree.map(full, crossbar.cell))
        begin = crossbar, full(0), full(0)
        (after, *_), (logs, disturb) = lax.scan(step, begin, keys[1:])
        window = full(self.acceptance)
        _, last, _ = by_groups(self, after, self._judged, (target, window), keys[0])
        total = lambda x: jnp.sum(x, axis=0)
        in_order = lambda x: jnp.moveaxis(x[:, 0], 0, -1)
        return Programmed(
            after,
            last.g.astype(dtype),
            last.good,
            total(logs.sets),
            total(logs.resets),
            total(logs.energy),
            total(disturb),
            in_order(logs.v),
            in_order(logs.v_gate),
            jnp.bitwise_or.reduce(logs.status) | last.status,
        )

    @staticmethod
    def in_order(group: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return number, group

    def _pulse(self, part: Crossbar, group: Any, way: Array, level: Array, key: PRNGKeyArray):
        """One pulse on each cell of a group."""
        n, dtype = way.size, self.set.v.start.dtype
        v = jnp.where(way > 0, self.set.v(level), self.reset.v(level))
        seen = v + self.v_spread * jax.random.normal(key, (n,), dtype)
        given = pulsed(self, part, group, way, seen, level)
        log = logged(jnp.zeros_like(v), way == 0, way, v, given, jnp.zeros_like(given.status))
        return with_group(part, given.states), log

    def _judged(self, part: Crossbar, group: Any, target: Array, window: Array, key: PRNGKeyArray):
        """The cells of a group as they are."""
        del key
        g, status = verified(self, part, group)
        none, nothing = jnp.zeros((g.size,), int), jnp.full((1, g.size), jnp.nan, g.dtype)
        good = jnp.abs(g - target) <= window
        return part, Log(g, good, none, none, jnp.zeros_like(g), nothing, nothing, status)
