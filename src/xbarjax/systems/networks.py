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

SCHOTTKY = partial(el.Diode, i_s=1e-9)


def perceptron(
    g: Sequence[ArrayLike],
    v_in: ArrayLike,
    *,
    v_bias: ArrayLike | None = None,
    r_feedback: ArrayLike = 1e4,
    wires: Wires | None = None,
    amplifier: Amplifier = partial(OpAmp, gain=1e4),
    diode: Rectifier = SCHOTTKY,
) -> Circuit:
    """A multilayer perceptron with ReLU as one circuit, from input voltages to output voltages.

    The bit lines of an array come in pairs, plus before minus, and end in virtual grounds. A first
    amplifier turns the current of the plus line into a voltage, which draws it through a resistor
    from the virtual ground of the minus line. A second amplifier with the feedback resistor
    `r_feedback` then gives, if ideal,

        z = r_feedback (i_plus - i_minus).

    In all layers but the last, a diode between this amplifier and its output makes it a precision
    rectifier: the feedback divides the diode's voltage by the gain, and the output is `max(z, 0)`.
    A second diode conducts in place of the first for negative `z`, so that the virtual ground
    stays. Outputs drive the word lines of the next array. (Rectifiers: P. Horowitz, W. Hill, The
    Art of Electronics, Cambridge (2015); arrays with analog activations: F. Kiani et al., Sci.
    Adv. 7, eabj4801 (2021), doi:10.1126/sciadv.abj4801.)

    A weight of layer `k` is `w = r_feedback (g[k][:, 0::2] - g[k][:, 1::2])`, which
    `xb.InterleavedPair(g_min, g_max).program(w, 1 / r_feedback)[0]` programs.

    **Arguments:**

    - `g`: conductances [S] per layer, `(rows, 2 outputs)`, from the input on.
    - `v_in`: input voltages [V], one per row of the first array, without the bias.
    - `v_bias`: voltage [V] of one more row at the end of every array; None has no such rows.
    - `r_feedback`: all resistors [ohm].
    - `wires`: segments of every array; ideal by default.
    - `amplifier`: makes an amplifier from its buses; a gain of 1e4 by default. Behind a diode it
        must be finite.
    - `diode`: makes a diode from its buses `a` and `b`; `xb.elements.Diode` of 1 nA by default.

    **Returns:** the circuit. Its bus "y" has the output voltages `(outputs,)`, and bus "x1" the
    voltages of the rows behind the first layer, and so on. **Errors:** `ValueError` for arrays with
    an odd number of columns, or whose rows are not those of the layer before.
    """
    g, v_in = [as_physical(x, "g") for x in g], as_physical(v_in, "v_in", whole=True)
    biased = v_bias is not None
    _require_fitting(g, v_in, biased)
    bias = as_physical(v_bias, "v_bias", whole=True) if v_bias is not None else None
    if bias is not None:
        v_in = jnp.append(v_in, bias.astype(v_in.dtype))
    parts: dict[str, Any] = {"source": el.VoltageSource(to="x0", v=v_in)}
    buses = {}
    for k, g_layer in enumerate(g):
        last, outputs = k == len(g) - 1, g_layer.shape[1] // 2
        sums, negative, driven = f"e{k}", f"t{k}", f"o{k}"
        plus, minus = (Pick(sums, jnp.arange(side, 2 * outputs, 2)) for side in (0, 1))
        parts |= {
            f"array{k}": el.Array(Ohmic(g_layer), wires, rows=f"x{k}", cols=sums),
            f"first{k}": amplifier(minus=plus, out=negative),
            f"feedback{k}": el.Resistor(plus, negative, r_feedback),
            f"difference{k}": el.Resistor(negative, minus, r_feedback),
        }
        if last:
            parts[f"second{k}"] = amplifier(minus=minus, out="y")
            parts[f"gain{k}"] = el.Resistor(minus, "y", r_feedback)
            break
        buses[f"x{k + 1}"] = outputs + biased
        rows = Pick(f"x{k + 1}", jnp.arange(outputs)) if biased else f"x{k + 1}"
        parts |= {
            f"second{k}": amplifier(minus=minus, out=driven),
            f"gain{k}": el.Resistor(minus, rows, r_feedback),
            f"rectifier{k}": diode(a=driven, b=rows),
            f"clamp{k}": diode(a=minus, b=driven),
        }
        if bias is not None:
            end = Pick(f"x{k + 1}", jnp.asarray([outputs]))
            parts[f"bias{k + 1}"] = el.VoltageSource(to=end, v=bias)
    return Circuit(buses=buses, **parts)


def _require_fitting(g: list[Array], v_in: Array, biased: bool) -> None:
    if not g:
        raise ValueError("g is empty: pass the conductances of at least one layer.")
    if v_in.ndim != 1:
        raise ValueError(
            f"v_in has shape {v_in.shape}; it must be (inputs,) (batches go through jax.vmap)."
        )
    inputs, before = v_in.shape[0], "v_in"
    for k, g_layer in enumerate(g):
        if g_layer.ndim != 2 or g_layer.shape[1] % 2:
            raise ValueError(
                f"g[{k}] has shape {g_layer.shape}; it must be (rows, 2 outputs), plus before minus"
                " columns."
            )
        if g_layer.shape[0] != inputs + biased:
            more = " and one row for the bias" if biased else ""
            raise ValueError(
                f"g[{k}] has {g_layer.shape[0]} rows; {before} gives {inputs} inputs{more}."
            )
        inputs, before = g_layer.shape[1] // 2, f"g[{k}]"
