"""Circuits of closed loops."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike

from ... import elements as el
from ..._types import as_physical
from ...cells import Ohmic
from ...elements import OpAmp
from ...elements.circuit import Circuit
from ...elements.element import GROUND
from ...wires import Wires

Amplifier: TypeAlias = Callable[..., OpAmp]  # from its buses, by name


def inverse(
    g: ArrayLike,
    i: ArrayLike,
    *,
    wires: Wires | None = None,
    amplifier: Amplifier = OpAmp,
    r_inverter: ArrayLike | None = 1e4,
) -> Circuit:
    """A loop that solves a linear system: `x = -G^-T i`.

    The bit lines of the array end in the inputs "e" of amplifiers, whose outputs "x" drive the word
    lines, so that with ideal amplifiers `G^T x + i = 0` at every input. With a gain `A`

        x = -(G^T + U^-1 / A)^-1 i,    U^-1 = diag(sum of all conductances at each input).

    The loop is stable if `G + G^T` is positive definite, whatever `U` is; `xb.poles` tells others.
    `xb.compensate` with an `xb.InverseLoop` finds conductances that make up for wires and gain.

    A balanced loop of a signed matrix has the same answer, with `U` over the conductances of both
    arrays, and `-x` at bus "-x". Both modes must be stable: differences of the halves, which
    `G = g[0] - g[1]` moves, and sums, which `S = g[0] + g[1]` moves. With alike amplifiers of one
    pole and ideal wires, its poles are `-2 pi gbw (1 / A + l)` for the eigenvalues `l` of
    `U G^T` and of `U S^T`. So it is stable if `G + G^T` and `S + S^T` are positive definite. The
    same conductances added to the diagonals of both arrays leave `G` as it is; with enough of them,
    `S` is diagonally dominant and its mode stable.

    (Z. Sun et al., PNAS 116, 4123 (2019), doi:10.1073/pnas.1815682116.)

    **Arguments:**

    - `g`: conductances [S], `(n, n)` or `(2, n, n)` of a signed matrix.
    - `i`: currents [A] into the inputs, `(n,)`.
    - `wires`: segments of every array; ideal by default.
    - `amplifier`: makes an amplifier from its buses, such as
        `functools.partial(xb.elements.OpAmp, gain=1e4, gbw=1e8)`; ideal by default.
    - `r_inverter`: resistors [ohm] of the inverters; None is a balanced loop.

    **Returns:** the circuit, with buses "x" and "e", and a current source "source".
    **Errors:** `ValueError` for a matrix that is not square.
    """
    g = _stack(g)
    if g.shape[1] != g.shape[2]:
        raise ValueError(f"g has shape {g.shape}; the matrix of an inverse must be square.")
    balanced = _is_balanced(g, r_inverter)
    half = _product("array", g, wires, "x", "e", amplifier, r_inverter)
    half["amplifiers"] = amplifier(minus="e", out="x")
    return Circuit(**_whole(half, balanced), source=_source("e", i, balanced))


def least_squares(
    g: ArrayLike,
    i: ArrayLike,
    *,
    r_feedback: ArrayLike = 1e4,
    wires: Wires | None = None,
    amplifier: Amplifier = OpAmp,
    integrator: Amplifier | None = None,
    r_inverter: ArrayLike | None = 1e4,
) -> Circuit:
    """A loop that fits a linear model: `x = -G^+ i` minimises `|G x + i|`.

    A first array and the source feed amplifiers with feedback. Their outputs are the residual
    `v = -r_feedback (G x + i)`. A second array sums the currents `G^T v` at the inputs of
    amplifiers without feedback, which drive "x" until the sum is 0. The loop is stable with
    amplifiers of one pole if `G` has full column rank and no inverters are needed. The poles of
    inverters may make a signed loop unstable. It is stable with an `integrator` that is slower than
    all other amplifiers by enough. A balanced loop is stable without: it needs that `g[0] + g[1]`
    has full column rank, too. (Z. Sun, G. Pedretti, A. Bricalli, D. Ielmini, Sci. Adv. 6,
    eaay2378 (2020), doi:10.1126/sciadv.aay2378.)

    **Arguments:** as for `inverse`, with

    - `g`: conductances [S], `(samples, features)`, or `(2, samples, features)` of a signed matrix.
    - `i`: currents [A], `(samples,)`: the negative targets.
    - `r_feedback`: feedback resistors [ohm].
    - `integrator`: makes the amplifiers that drive "x"; those of `amplifier` by default.

    **Returns:** the circuit, with buses "x" `(features,)` and "v" `(samples,)`.
    """
    g = _stack(g)
    balanced = _is_balanced(g, r_inverter)
    half = _product("forward", jnp.swapaxes(g, 1, 2), wires, "x", "p", amplifier, r_inverter)
    half |= _product("back", g, wires, "v", "q", amplifier, r_inverter)
    half |= {
        "feedback": el.Resistor("p", "v", r_feedback),
        "residual": amplifier(minus="p", out="v"),
        "amplifiers": (integrator or amplifier)(minus="0", plus="q", out="x"),
    }
    return Circuit(**_whole(half, balanced), source=_source("p", i, balanced))


def eigenvector(
    g: ArrayLike,
    g_eigenvalue: ArrayLike,
    *,
    wires: Wires | None = None,
    amplifier: Amplifier,
    r_inverter: ArrayLike | None = 1e4,
) -> Circuit:
    """A loop that settles along the eigenvector of the largest eigenvalue of `G^T`.

    Amplifiers with feedback conductance `g_eigenvalue` give `-G^T x / g_eigenvalue`, and inverters
    feed it back as `x`. In a balanced loop each half feeds it to the other one, also for a matrix
    without negative entries. The loop gain along an eigenvector of eigenvalue `l` is
    `l / g_eigenvalue`. It must be a little above 1 for the largest one and below 1 for all others:
    then "x" grows along that eigenvector until the amplifiers saturate, which sets its size. In a
    balanced loop, `-(g[0] + g[1])^T` may have no eigenvalue above `g_eigenvalue`, either: the sum
    of the halves would grow. (Z. Sun et al., PNAS 116, 4123 (2019),
    doi:10.1073/pnas.1815682116.)

    The circuit also rests at `x = 0`, where it is unstable. `resting` finds its answer at once;
    `xb.simulate` follows it from 0 to there after a pulse of current into a node of "e".

    **Arguments:** as for `inverse`, with

    - `g_eigenvalue`: feedback conductance [S], a little below the largest eigenvalue.
    - `amplifier`: makes an amplifier with a swing and a `gbw` from its buses.

    **Returns:** the circuit, with buses "x", "e" and, of a loop with inverters, "t".
    """
    g = _stack(g)
    if g.shape[1] != g.shape[2]:
        raise ValueError(f"g has shape {g.shape}; a matrix with eigenvectors must be square.")
    r = 1 / as_physical(g_eigenvalue, "g_eigenvalue")
    half = _product("array", g, wires, "x", "e", amplifier, r_inverter)
    out = "-x" if r_inverter is None else "t"
    half |= {"feedback": el.Resistor("e", out, r), "products": amplifier(minus="e", out=out)}
    if r_inverter is not None:
        half |= {
            "ahead": el.Resistor("t", "m", r_inverter),
            "behind": el.Resistor("m", "x", r_inverter),
            "inverters": amplifier(minus="m", out="x"),
        }
    return Circuit(**_whole(half, r_inverter is None))


def sparse_code(
    g: ArrayLike,
    i: ArrayLike,
    i_threshold: ArrayLike,
    *,
    r_feedback: ArrayLike = 1e4,
    v_threshold: ArrayLike = 0.1,
    gain_threshold: ArrayLike = 1e3,
    wires: Wires | None = None,
    amplifier: Amplifier = OpAmp,
    integrator: Amplifier | None = None,
    r_inverter: ArrayLike | None = 1e4,
) -> Circuit:
    """A loop that fits a linear model with few nonzero coefficients: `x` minimises

        r_feedback / 2 |G x + i|^2 + i_threshold |x|_1.

    It is a `least_squares` loop with one more current into each node "q", through a resistor
    `v_threshold / i_threshold`. The resistor is driven by an amplifier that inverts the sign of `x`
    and saturates at `+-v_threshold`. Where `x` is 0, its current balances that of the residual, up
    to `i_threshold`. These are the conditions of rest of the locally competitive algorithm with a
    soft threshold (C. Rozell, D. Johnson, R. Baraniuk, B. Olshausen, Neural Computation 20, 2526
    (2008)). Zeros come out as voltages below about `v_threshold / gain_threshold`.

    The gain of the signs is within the loop: it is stable with an `integrator` that is slower than
    the other amplifiers by more than that gain.

    **Arguments:** as for `least_squares`, with

    - `g`: conductances [S] of the dictionary, `(samples, atoms)` or `(2, samples, atoms)`.
    - `i`: currents [A], `(samples,)`: the negative signal.
    - `i_threshold`: threshold [A].
    - `v_threshold`, `gain_threshold`: swing [V] and gain of the amplifiers that take the sign.

    **Returns:** the circuit, with buses "x" `(atoms,)` and "v" `(samples,)`.
    """
    loop = least_squares(
        g,
        i,
        r_feedback=r_feedback,
        wires=wires,
        amplifier=amplifier,
        integrator=integrator,
        r_inverter=r_inverter,
    )
    v = as_physical(v_threshold, "v_threshold")
    more: dict[str, Any] = {
        "signs": OpAmp(minus="x", out="s", gain=gain_threshold, v_low=-v, v_high=v),
        "thresholds": el.Resistor("s", "q", v / as_physical(i_threshold, "i_threshold")),
    }
    elements: dict[str, Any] = loop.elements | _whole(more, _is_balanced(_stack(g), r_inverter))
    return Circuit(**elements)


def _stack(g: ArrayLike) -> Array:
    g = as_physical(g, "g")
    if g.ndim == 2:
        return g[None]
    if g.ndim != 3 or g.shape[0] not in (1, 2):
        raise ValueError(
            f"g has shape {g.shape}; it must be (rows, cols), or (2, rows, cols) for a signed"
            " matrix."
        )
    return g


def _product(
    name: str,
    g: Array,
    wires: Wires | None,
    rows: str,
    cols: str,
    amplifier: Amplifier,
    r_inverter: ArrayLike | None,
) -> dict[str, Any]:
    """The elements that bring the product of a matrix with voltages of a bus to another one."""
    found: dict[str, Any] = {name: el.Array(Ohmic(g[0]), wires, rows=rows, cols=cols)}
    if len(g) == 2:
        inner, negative = f"{name} inverter", f"-{rows}"
        found[f"{name}_minus"] = el.Array(Ohmic(g[1]), wires, rows=negative, cols=cols)
        if r_inverter is not None:
            found |= {
                f"{name}_ahead": el.Resistor(rows, inner, r_inverter),
                f"{name}_behind": el.Resistor(inner, negative, r_inverter),
                f"{name}_inverters": amplifier(minus=inner, out=negative),
            }
    return found


def _is_balanced(g: Array, r_inverter: ArrayLike | None) -> bool:
    """Whether a second loop supplies the negative voltages of a signed matrix."""
    return r_inverter is None and len(g) == 2


def _whole(half: dict[str, Any], balanced: bool) -> dict[str, Any]:
    """The elements of a loop. Those of a balanced one are followed by their mirror image, at the
    buses of opposite sign."""
    if not balanced:
        return half
    is_end = lambda x: isinstance(x, el.Pick)
    image = lambda x: el.Pick(_negative(x.bus), x.index) if is_end(x) else x
    return half | {
        f"{name}_mirror": jax.tree.map(image, element, is_leaf=is_end)
        for name, element in half.items()
    }


def _source(bus: str, i: ArrayLike, balanced: bool) -> el.CurrentSource:
    """The source of a loop; of a balanced one from the bus of opposite sign."""
    back = _negative(bus) if balanced else GROUND
    return el.CurrentSource(to=bus, i=as_physical(i, "i"), back=back)


def _negative(bus: str) -> str:
    """The name of the bus of opposite sign."""
    if bus == GROUND:
        return bus
    return bus[1:] if bus.startswith("-") else f"-{bus}"
