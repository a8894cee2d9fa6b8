"""The library names every promotion that it means: verbs run under JAX's strict modes, in which no
dtype and no rank is promoted by itself. Tracing alone meets what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.perturbations import EVERY
from xbarjax import encoding, feeding, nn, schemes, variability as va, waveform

ROWS, COLS = 4, 3
KEY = jax.random.key(0)
G = jnp.linspace(1e-6, 1e-4, ROWS * COLS).reshape(ROWS, COLS)
V = jnp.linspace(0.1, 0.3, ROWS)
WIRES = xb.Wires(1.0, 2.0, c_row=1e-15, c_col=1e-15, c_cell=1e-16)
STRAPS = jnp.full((ROWS, COLS), 3.0)
SELECTED = xb.Series(xb.Mosfet(1e-3, 0.45, 1.8), xb.Ohmic(G))
PAIR = xb.DifferentialPair(1e-6, 1e-4)
SIGNAL = jnp.linspace(-1, 1, 2 * COLS).reshape(2, COLS)
WEIGHTS = jnp.linspace(-1, 1, 20).reshape(5, 4)


def array(cell: Any = None, readout: Any = None, drive: Any = None, **wires: Any) -> xb.Crossbar:
    segments = xb.Wires(1.0, 2.0, **wires) if wires else WIRES
    return xb.Crossbar(xb.Ohmic(G) if cell is None else cell, segments, drive, readout)


def every(s: xb.Solution) -> Any:
    """A solution and what follows from it."""
    names = "i_out v_row v_cell i_in p_row p_col p_dissipated p_delivered".split()
    return s, [getattr(s, name) for name in names]


def read(x: xb.Crossbar, v: Any = V) -> Any:
    return every(xb.read(x, v))


def slope(of: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of the sum of what a verb puts out."""
    total = lambda x, *args: sum(jnp.sum(y) for y in jax.tree.leaves(of(x, *args)))
    return eqx.filter_grad(total)


def phases(encode: Callable[..., Any]) -> Callable[..., Any]:
    def product(x):
        few = encoding.few_rows(encoding.in_two_phases(encode, x), 2)
        return encoding.add_up(few, few.v)

    return product


def shared(x: xb.Crossbar) -> Any:
    levels = feeding.levels(jnp.asarray([0, 1, 2, 1]), jnp.asarray([0.1, 0.2, 0.3]), 5.0)
    ground = feeding.ground_return(COLS, 2.0)
    return every(feeding.read_shared(x, jnp.zeros(ROWS), rows=levels, cols=ground))


def simulated(x: xb.Crossbar) -> Any:
    wave = waveform.pulse(V, 1e-9, 1e-10)
    seen = xb.simulate(x, wave, jnp.linspace(0, 2e-9, 3))
    return seen.output, seen.i_out


def mapped(mapping: Any) -> Callable[..., Any]:
    def there_and_back(w):
        k = mapping.siemens_per_weight(w)
        g = mapping.program(w, k)
        moved = mapping.move(g, 1e-7 * w, jnp.ones_like(g))
        return mapping.combine(g), moved, mapping.used(g), mapping.saturated(g), mapping.zero

    return there_and_back


def tiled(w: jax.Array) -> jax.Array:
    return nn.tile(w, PAIR, lambda g: array(xb.Ohmic(g)), max_tile=3)(jnp.ones(5))


TIA, SWING = xb.Tia(1e3, gain=1e4, v_offset=1e-3), xb.Tia(1e3, gain=1e4, v_low=-0.4, v_high=0.4)
CONVERTERS = {
    "adc": xb.Adc(4, -1.0, 1.0),
    "adc_cols": xb.Adc(4, -jnp.ones(COLS), jnp.ones(COLS)),
    "sar": xb.Sar(4, -1.0, 1.0, jnp.zeros((COLS, 4)), 0.1),
    "flash": xb.Flash(3, -1.0, 1.0, jnp.zeros((COLS, 7))),
    "ramp": xb.Ramp(jnp.linspace(0, 1, 8), 0.1),
    "cco": xb.Cco(1e9, 1e-6),
}
ENCODINGS = {
    "amplitude": lambda x: encoding.amplitude(x, encoding.Dac(3, 0.2, jnp.zeros(8))),
    "slices": lambda x: encoding.sliced(x, 0.2, 8, (2, 3, 3)),
    "width": lambda x: encoding.pulse_width(x, 0.2, 3),
    "number": lambda x: encoding.pulse_number(x, 0.2, 3),
}
VARIATIONS = EVERY | {
    "relaxation": va.Relaxation([0.0, 1e-6], [1e-6], 1e-4, va.logarithmic(1.0, 2.0, 1.0))
}
MAPPINGS = (PAIR, xb.ConstantSumPair(1e-6, 1e-4), xb.InterleavedPair(1e-6, 1e-4),
            xb.OffsetColumn(1e-6, 1e-4), xb.DigitalOffset(1e-6, 1e-4, 5e-5))  # fmt: skip

QUICK: dict[str, tuple[Callable[..., Any], Any]] = {
    "read": (read, array()),
    "read_by_dense": (lambda x: xb.read(x, V, solver=xb.Dense()).i_out, array()),
    "read_from": (lambda x: xb.read(x, V, start=xb.read(x, V)).i_out, array()),
    "sinh": (read, array(xb.Sinh(G, 3.0))),
    "selected": (read, array(SELECTED)),
    "straps": (
        read,
        array(readout=xb.VirtualGround(1.0, 2.0, r_strap=STRAPS), drive=xb.Drive(1.0, 2.0, STRAPS)),
    ),
    "amplifier": (read, array(readout=TIA)),
    "sense": (read, array(readout=xb.VoltageSense(1e6))),
    "transfer": (xb.transfer, array()),
    "ports": (lambda x: xb.ports(x).admittance, array()),
    "noise": (lambda x: xb.noise(x, V, band=(1e3, 1e7), flicker=1e-8, e_n=1e-8), array()),
    "delay": (lambda x: xb.elmore_delay(x, V), array()),
    "integrate": (
        lambda x: xb.integrate(x, V),
        array(readout=xb.Integrator(1e-12, 1e-9, gain=1e3)),
    ),
    "sneak": (lambda x: schemes.sneak_current(x, 1, 2, 0.5), array()),
    "write_map": (lambda x: schemes.write_map(x, 0.5, schemes.third), array()),
    "gated": (lambda x: read(x, schemes.gated(x, [1, 0, 1, 1], 1, 2)), array(SELECTED)),
    "transposed": (lambda x: read(x, schemes.transposed(x, V[:COLS])), array()),
    "shared": (shared, array()),
    "cost": (
        lambda x: xb.cost(xb.read(x, V), t_read=1e-6, adc_bits=8.0, adc_fom=1e-14, c_line=1e-12),
        array(),
    ),
    "calibrate": (lambda y: xb.quantised(xb.calibrate(y, y), 4)(y), SIGNAL),
    "tile": (tiled, WEIGHTS),
} | {
    **{f"converter_{n}": (lambda x, c=c: (c(x), c(x[0])), SIGNAL) for n, c in CONVERTERS.items()},
    **{f"of_{n}": (slope(lambda c: c(SIGNAL)), c) for n, c in CONVERTERS.items()},
    **{f"encoding_{n}": (slope(phases(e)), V) for n, e in ENCODINGS.items()},
    **{f"variation_{n}": (lambda p: p(G, KEY), p) for n, p in VARIATIONS.items()},
    **{f"of_variation_{n}": (slope(lambda p: p(G, KEY)), p) for n, p in VARIATIONS.items()},
    **{f"mapping_{type(m).__name__}": (mapped(m), WEIGHTS) for m in MAPPINGS},
}
SLOW: dict[str, tuple[Callable[..., Any], Any]] = {
    "of_selected": (slope(lambda x: xb.read(x, V).i_out), array(SELECTED)),
    "of_shared": (slope(lambda x: shared(x)[0].i_out), array()),
    "parallel": (lambda x: read(x, V[:COLS]), array(SELECTED, parallel=True)),
    "swing": (read, array(SELECTED, SWING)),
    "of_swing": (slope(lambda x: xb.read(x, V).output), array(readout=SWING)),
    "of_transfer": (slope(xb.transfer), array()),
    "eliminated": (xb.transfer, array(xb.Ohmic(jnp.full((20, 18), 1e-5)))),
    "of_eliminated": (
        jax.grad(lambda g: jnp.sum(xb.transfer(array(xb.Ohmic(g))) ** 2)),
        jnp.full((18, 20), 1e-5),
    ),
    "hessian": (
        jax.hessian(lambda s: jnp.sum(xb.transfer(array(xb.Ohmic(s * G))) ** 2)),
        jnp.asarray(1.0),
    ),
    "simulate": (simulated, array(readout=xb.Tia(1e3, gain=1e4, gbw=2e10, c_f=2e-14))),
    "of_simulate": (slope(simulated), array()),
    "settling": (lambda x: xb.settling_time(x, V, 8, edge=1e-11, until=1e-8), array()),
    "slowest": (slope(xb.slowest_mode), array()),
    "of_tile": (
        slope(lambda a: a(jnp.ones(5))),
        nn.tile(WEIGHTS, PAIR, lambda g: array(xb.Ohmic(g)), max_tile=3),
    ),
}


def strictly(of: Callable[..., Any], x: Any) -> Any:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        return eqx.filter_eval_shape(of, x)


@pytest.mark.parametrize("verb", QUICK)
def test_it_promotes_nothing_by_itself(verb: str) -> None:
    strictly(*QUICK[verb])


@pytest.mark.slow
@pytest.mark.parametrize("verb", SLOW)
def test_what_takes_long_to_trace_promotes_nothing_by_itself(verb: str) -> None:
    strictly(*SLOW[verb])


def test_single_precision_promotes_nothing_by_itself() -> None:
    """Where it is the default float, so that scalars have it too."""
    with jax.enable_x64(False):
        x = xb.Crossbar(xb.Ohmic(np.full((ROWS, COLS), 1e-5, np.float32)), xb.Wires(1.0, 2.0))
        found = strictly(lambda x: xb.read(x, jnp.full(ROWS, 0.2)).i_out, x)
    assert found.dtype == jnp.float32


def test_fits_and_compensations_promote_nothing_by_themselves() -> None:
    v = jnp.linspace(-1, 1, 9)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        cell = xb.fit(xb.Sinh(1.2e-5, 1.5), v, 1e-5 * jnp.sinh(2 * v)).cell
        answer = xb.compensate(WEIGHTS[:4, :3], PAIR, lambda g: xb.Crossbar(xb.Ohmic(g), WIRES))
    assert float(cell.b) == pytest.approx(2.0) and answer.reached
