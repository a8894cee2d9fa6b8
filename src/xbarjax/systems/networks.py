"""Analog neural networks: arrays and amplifiers in a row, without a converter between them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike

from .. import elements as el
from .._types import as_physical
from ..cells import Ohmic
from ..elements import Device, OpAmp, Pick
from ..elements.circuit import Circuit
from ..wires import Wires

__all__ = ["perceptron"]


def __dir__() -> list[str]:
    return __all__


Amplifier: TypeAlias = Callable[..., OpAmp]  # from its buses, by name
Rectifier: TypeAlias = Callable[..., Device]  # from the buses a and b, by name

SIDES = "plus", "minus"


def perceptron(
    g: Sequence[ArrayLike],
    v_in: ArrayLike,
    *,
    v_bias: ArrayLike | None = None,
    r_feedback: ArrayLike = 1e4,
    wires: Wires | None = None,
    amplifier: Amplifier = partial(OpAmp, gain=1e4),
    diode: Rectifier = partial(el.Diode, i_s=1e-9),
) -> Circuit:
    """A multilayer perceptron with ReLU as one circuit, from input voltages to output voltages.

    Every layer has two arrays, whose bit lines end in virtual grounds. A first amplifier turns the
    current of the positive array into a voltage, which draws the same current from the virtual
    ground of the negative array. A second amplifier there gives, if ideal,

        z = r_feedback (i_plus - i_minus).

    In all layers but the last, a diode between this amplifier and the output makes it a precision
    rectifier: the output is `max(z, 0)`, since the feedback divides the voltage across the diode by
    the gain. A second diode takes the current where `z` is negative. The leakage of the first one
    then leaves up to `-r_feedback i_s` at the output. Outputs drive the word lines of the next
    layer. (Arrays with analog activations: F. Kiani et al., Sci. Adv. 7, eabj4801 (2021),
    doi:10.1126/sciadv.abj4801.)

    The weights of a layer are `r_feedback (g[0] - g[1])`; conductances for weights `w` are
    `xb.DifferentialPair(g_min, g_max).program(w, 1 / r_feedback)`.

    **Arguments:**

    - `g`: conductances [S] of the layers, `(2, rows, outputs)` each, from the input on.
    - `v_in`: input voltages [V], `(inputs,)`. Both arrays of the first layer have ideal sources of
        their own.
    - `v_bias`: voltage [V] of one more row at the end of every array; None has no such rows.
    - `r_feedback`: all resistors [ohm].
    - `wires`: segments of every array; ideal by default.
    - `amplifier`: makes an amplifier from its buses, here one with a gain of 1e4.
    - `diode`: makes a diode from its buses `a` and `b`, here one of 1 nA.

    **Returns:** the circuit. Its bus "y" has the output voltages, and buses "x1", "x2" those of the
    word lines behind each layer. **Errors:** `ValueError` for layers that are no pairs of arrays,
    or whose rows are not the outputs of the layer before and the bias.
    """
    g, v_in = [as_physical(x, "g") for x in g], as_physical(v_in, "v_in", whole=True)
    bias = None if v_bias is None else as_physical(v_bias, "v_bias", whole=True)
    _require_fitting(g, v_in, bias is not None)
    if bias is not None:
        v_in = jnp.append(v_in, bias.astype(v_in.dtype))
    parts: dict[str, Any] = {side: el.VoltageSource(to=f"x0 {side}", v=v_in) for side in SIDES}
    buses: dict[str, int] = {}
    for k, (g_plus, g_minus) in enumerate(g):
        x = [f"x0 {side}" if k == 0 else f"x{k}" for side in SIDES]
        plus, minus, turned, driven = f"plus{k}", f"minus{k}", f"turned{k}", f"driven{k}"
        parts |= {
            f"array {plus}": el.Array(Ohmic(g_plus), wires, rows=x[0], cols=plus),
            f"array {minus}": el.Array(Ohmic(g_minus), wires, rows=x[1], cols=minus),
            f"first{k}": amplifier(minus=plus, out=turned),
            f"feedback{k}": el.Resistor(plus, turned, r_feedback),
            f"difference{k}": el.Resistor(turned, minus, r_feedback),
        }
        if k == len(g) - 1:
            parts[f"second{k}"] = amplifier(minus=minus, out="y")
            parts[f"gain{k}"] = el.Resistor(minus, "y", r_feedback)
            break
        outputs, end = g_plus.shape[1], f"x{k + 1}"
        if bias is not None:
            buses[end] = outputs + 1
            parts[f"bias{k + 1}"] = el.VoltageSource(to=Pick(end, jnp.asarray([outputs])), v=bias)
        rows = end if bias is None else Pick(end, jnp.arange(outputs))
        parts |= {
            f"second{k}": amplifier(minus=minus, out=driven),
            f"gain{k}": el.Resistor(minus, rows, r_feedback),
            f"rectifier{k}": diode(a=driven, b=rows),
            f"clamp{k}": diode(a=minus, b=driven),
        }
    return Circuit(buses=buses, **parts)


def _require_fitting(g: list[Array], v_in: Array, biased: bool) -> None:
    if not g:
        raise ValueError("g is empty: pass the conductances of at least one layer.")
    if v_in.ndim != 1:
        raise ValueError(
            f"v_in has shape {v_in.shape}; it must be (inputs,) (batches go through jax.vmap)."
        )
    inputs, before = v_in.shape[0], "v_in"
    for k, pair in enumerate(g):
        if pair.ndim != 3 or pair.shape[0] != 2:
            raise ValueError(
                f"g[{k}] has shape {pair.shape}; it must be (2, rows, outputs), a pair of arrays."
            )
        if pair.shape[1] != inputs + biased:
            more = " and one row for the bias" if biased else ""
            raise ValueError(
                f"g[{k}] has {pair.shape[1]} rows; {before} gives {inputs} inputs{more}."
            )
        inputs, before = pair.shape[2], f"g[{k}]"
