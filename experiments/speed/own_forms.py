"""Times of shared lines and of integrators, in the form that each has of its own and as circuits of
elements: why these forms stay."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax import elements as el, feeding

from .circuits import error
from .loops import compiled, in_turns

R_SOURCE, R_IN, R_LEVEL, R_GROUND = 30.0, 40.0, 50.0, 0.5  # [ohm]
LEVELS = 4
C, T, LEAK, GAIN = 1e-11, 1e-7, 1e6, 1e3  # [F], [s], [ohm], [1] of integrators
EDGE = 1e-6 * T  # [s] in which the inputs of a circuit rise
STEPS = 64  # equal steps of both transients


def _numbers(n: int) -> tuple[Any, Any]:
    """Conductances [S] of 1 to 100 uS, and inputs [V]."""
    rng = np.random.default_rng(n)
    return jnp.asarray(rng.uniform(1e-6, 1e-4, (n, n))), jnp.asarray(rng.uniform(0, 0.2, n))


def _wires() -> xb.Wires:
    return xb.Wires(1.0, 1.0)


def shared(g: Any, codes: Any) -> Any:
    """Output currents [A] with shared level lines and a shared ground wire."""
    n = g.shape[0]
    x = xb.Crossbar(xb.Ohmic(g), _wires(), xb.Drive(R_SOURCE), xb.VirtualGround(R_IN))
    rows = feeding.levels(codes, jnp.linspace(0, 0.2, LEVELS), R_LEVEL)
    cols = feeding.ground_return(n, R_GROUND)
    return feeding.read_shared(x, jnp.zeros(n), rows=rows, cols=cols).i_out


def shared_as_a_circuit(g: Any, codes: Any) -> Any:
    """The same currents [A]."""
    circuit = xb.Circuit(
        buses={"wire": 1},
        levels=el.VoltageSource(to="level", v=jnp.linspace(0, 0.2, LEVELS), r=R_LEVEL),
        switches=el.Resistor(el.Pick("level", codes), "row", R_SOURCE),
        array=el.Array(xb.Ohmic(g), _wires(), rows="row", cols="col"),
        inputs=el.Resistor("col", "wire", R_IN),
        wire=el.Resistor("wire", "0", R_GROUND),
    )
    return xb.solve(circuit).i["inputs"]


def _integrator(g: Any) -> xb.Crossbar:
    readout = xb.Integrator(C, T, r_leak=LEAK, gain=GAIN)
    return xb.Crossbar(xb.Ohmic(g), _wires(), xb.Drive(R_SOURCE), readout)


def integrated(g: Any, v: Any) -> Any:
    """Outputs [V] of integrators a time T after their reset."""
    return xb.integrate(_integrator(g), v)


def _ends(v: Any) -> tuple[xb.Waveform, Any]:
    """A rise of the inputs from 0, and the first and the last time [s]."""
    corners = jnp.asarray([0.0, EDGE])
    return xb.Waveform(corners, jnp.stack([0 * v, v])), jnp.asarray([0.0, T + EDGE / 2])


def followed(g: Any, v: Any) -> Any:
    """The same outputs [V] from a transient of the array with its readout."""
    wave, ts = _ends(v)
    return xb.simulate(_integrator(g), wave, ts, steps_per_interval=STEPS).output[-1]


def followed_as_a_circuit(g: Any, v: Any) -> Any:
    """The same outputs [V] from a transient of a circuit."""
    wave, ts = _ends(v)
    circuit = xb.Circuit(
        source=el.VoltageSource(to="row", v=jnp.zeros_like(v), r=R_SOURCE),
        array=el.Array(xb.Ohmic(g), _wires(), rows="row", cols="col"),
        amplifiers=el.OpAmp(minus="col", out="out", gain=GAIN),
        capacitors=el.Capacitor("col", "out", C),
        leaks=el.Resistor("col", "out", LEAK),
    )
    return xb.simulate(circuit, wave, ts, steps_per_interval=STEPS).v["out"][-1]


def _beside(
    what: dict[str, Any], forms: dict[str, Callable], args: tuple[Any, Any], enough: float
) -> list[dict]:
    """Times of several forms, over those of the first one, after their answers were compared."""
    calls = {name: compiled(f, *args, times=1) for name, f in forms.items()}
    found = [jax.tree.leaves(run()) for run, _ in calls.values()]
    wrong = [max(error(a, b) for a, b in zip(x, found[0], strict=True)) for x in found]
    assert max(wrong) < enough, (what, wrong)
    times = in_turns({name: run for name, (run, _) in calls.items()}, least=5)
    first = next(iter(forms))
    return [
        what
        | {"form": name, "s": took, "compile_s": calls[name][1], "times": took / times[first]}
        | {"compile_times": calls[name][1] / calls[first][1], "difference": off}
        for (name, took), off in zip(times.items(), wrong, strict=True)
    ]


def _slopes(of: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The gradient of the sum of squares by all conductances."""
    return jax.grad(lambda g, x: jnp.sum(of(g, x) ** 2))


def shared_lines(n: int, count: int = 1, *, gradient: bool = False) -> list[dict]:
    """Times of reads of an array with shared level lines and a ground wire, or of a gradient."""
    g, _ = _numbers(n)
    codes = jnp.asarray(np.random.default_rng(1).integers(0, LEVELS, (count, n)))
    forms = {"read_shared": shared, "circuit": shared_as_a_circuit}
    forms = {name: jax.vmap(f, (None, 0)) for name, f in forms.items()}
    if gradient:
        forms = {name: _slopes(f) for name, f in forms.items()}
    what = {"what": "gradient" if gradient else "answers", "n": n, "count": count}
    return _beside(what, forms, (g, codes), 1e-9)


def integrators(n: int) -> list[dict]:
    """Times of outputs of integrators of finite gain: exact, and by equal steps of transients."""
    forms = {"integrate": integrated, "readout": followed, "circuit": followed_as_a_circuit}
    return _beside({"n": n, "steps": STEPS}, forms, _numbers(n), 1e-6)
