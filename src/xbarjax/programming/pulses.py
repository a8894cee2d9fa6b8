"""Write pulses: their voltages from one to the next, their width and their gate."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Scalar, everywhere, optional, physical, require_finite, require_positive


class Staircase(eqx.Module):
    """Voltages of pulses that follow each other: `start + k step`, up to `stop`.

    **Arguments:** voltages [V] of either sign; without `stop` the steps go on. Raises
    `ValueError` for a step that leads away from `stop`.
    """

    start: Float[Array, ""] = eqx.field(converter=physical("start", whole=True))
    step: Float[Array, ""] = eqx.field(converter=physical("step", whole=True), default=0.0)
    stop: Float[Array, ""] | None = eqx.field(converter=optional("stop", whole=True), default=None)

    def __check_init__(self):
        for name in ("start", "step"):
            require_finite(getattr(self, name), name, "V")
        if self.stop is not None and not everywhere(
            lambda a, d, b: (b - a) * d >= 0, self.start, self.step, self.stop
        ):
            raise ValueError(
                f"step is {self.step} V, which leads from start = {self.start} V away from stop ="
                f" {self.stop} V."
            )

    def __call__(self, k: Int[Array, "..."]) -> Float[Array, "..."]:
        """Voltage [V] of pulse number `k`, from 0 on."""
        v = self.start + self.step * k.astype(self.start.dtype)
        if self.stop is None:
            return v
        return jnp.where(self.step >= 0, jnp.minimum(v, self.stop), jnp.maximum(v, self.stop))


def _staircase(v: Any) -> Staircase:
    return v if isinstance(v, Staircase) else Staircase(v)


class Pulses(eqx.Module):
    """Pulses of one polarity.

    **Arguments:**

    - `v`: voltage across the cell before IR drop, `v_row - v_col` [V]: a number, or a `Staircase`.
    - `width`: time [s] from the middle of the rising edge to that of the falling one.
    - `edge`: time [s] of each edge.
    - `v_gate`: gate voltage [V] of the selected row, a number or a `Staircase`; None without gates.

    Raises `ValueError` for a width that is not finite or not longer than an edge.
    """

    v: Staircase = eqx.field(converter=_staircase)
    width: Scalar = eqx.field(converter=physical("width"))
    edge: Scalar = eqx.field(converter=physical("edge"))
    v_gate: Staircase | None = eqx.field(
        converter=lambda v: None if v is None else _staircase(v), default=None
    )

    def __check_init__(self):
        require_positive(self.edge, "edge", "s")
        require_finite(self.width, "width", "s")
        if not everywhere(lambda width, edge: width > edge, self.width, self.edge):
            raise ValueError(
                f"width is {self.width} s, but edges take {self.edge} s: a pulse must be longer."
            )

    def between(self, share: Float[Array, "..."]) -> Float[Array, "..."]:
        """Voltages [V] at shares of the range, from `start` at 0 to `stop` at 1."""
        assert self.v.stop is not None
        return self.v.start + share * (self.v.stop - self.v.start)


def require_range(pulses: Pulses, name: str) -> None:
    """Raises `ValueError` for pulses without a strongest one."""
    if pulses.v.stop is None:
        raise ValueError(
            f"{name}.v has no stop: pass xb.Staircase(start, stop=...), whose ends are the weakest"
            " and the strongest pulse."
        )
