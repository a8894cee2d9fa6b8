"""A sweep as a TOML file: what `xbarjax sweep` reads."""

import difflib
import importlib
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import variability
from .._types import as_physical
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Drive
from ..readout import VirtualGround
from ..variability import AbstractPerturbation, At, Chain
from ..wires import Wires
from .die import Die, Metric, Settings
from .plan import Sweep

PERTURBATIONS = {
    name: kind
    for name, kind in vars(variability).items()
    if isinstance(kind, type)
    and issubclass(kind, AbstractPerturbation)
    and kind not in (AbstractPerturbation, At, Chain)
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "cell": lambda crossbar: crossbar.cell.g,
    "r_row": lambda crossbar: crossbar.wires.r_row,
    "r_col": lambda crossbar: crossbar.wires.r_col,
}
TOP = ("about", "dies", "seed", "batch", "metrics")
TABLES = ("array", "wires", "ends", "vary", "axes", "limits")
ARRAY = ("rows", "cols", "g", "g_min", "g_max", "pattern", "v_in")
UNITS = {"error": "1", "error_rms": "1", "i_max": "A", "p": "W"}
WIRES = ("r_row", "r_col")
ENDS = ("r_source", "r_in")


def load(path: str | Path) -> Sweep:
    """The sweep that a TOML file describes.

    A number may be replaced by the name of an axis. Top level: `dies`, and `seed`, `batch`,
    `about`, `metrics`. `[array]`: `g`, a file of conductances (rows, cols) [S], or `rows`, `cols`,
    `g_min`, `g_max` [S] for uniform ones of the seed `pattern`; `v_in` [V]. `[wires]`: `r_row`,
    `r_col` [ohm a segment]. `[ends]`: `r_source`, `r_in` [ohm]. `[[vary]]`, one for each
    perturbation, in order: `kind`, a class of `xbarjax.variability`, its arguments, and `at`:
    `cell` (the default), `r_row` or `r_col`. `[axes]`: lists of values. `[limits]`: by metric,
    `[low, high]`.

    Metrics: `error` (largest deviation of an output current from that on ideal wires as designed,
    over the largest of these), `error_rms` (root mean square of the same), `i_max` [A], `p` [W]
    dissipated; or `package.module:function` of `(solution, design)`.

    Raises `ValueError` with one sentence for what is unknown, missing or of another kind;
    `FileNotFoundError` where there is no such file.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    _known(content, (*TOP, *TABLES), str(path))
    axes = _table(content, "axes")
    for name, values in axes.items():
        if not (isinstance(values, list) and values and all(map(_is_number, values))):
            raise ValueError(f"axes[{name!r}] is {values!r}; it must be a list of numbers.")
    array, wires, ends = (_table(content, name) for name in ("array", "wires", "ends"))
    _known(array, ARRAY, "[array]")
    _known(wires, WIRES, "[wires]")
    _known(ends, ENDS, "[ends]")
    g = _conductances(array, path.parent)
    number = lambda table, name, default: _number(table.get(name, default), axes, name)
    r = {name: number(wires, name, 0.0) for name in WIRES}
    end = {name: number(ends, name, 0.0) for name in ENDS}
    v_in = _number(array.get("v_in", 0.2), axes, "v_in")
    if isinstance(v_in, str):
        raise ValueError("v_in is the name of an axis; give volts, the same for every die.")
    entries = content.get("vary", [])
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise ValueError("vary is no list of tables; begin each perturbation with [[vary]].")
    vary = [_perturbation(entry, axes, g.shape) for entry in entries]

    def build(settings: Settings) -> Crossbar:
        at = lambda x: settings[x] if isinstance(x, str) else as_physical(x)
        lines = Wires(at(r["r_row"]), at(r["r_col"]))
        drive, readout = Drive(at(end["r_source"])), VirtualGround(at(end["r_in"]))
        return Crossbar(Ohmic(g), lines, drive, readout)

    volts = jnp.full(g.shape[0], v_in)
    names = content.get("metrics", ["error"])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"metrics is {names!r}; it must be a list of names.")
    die = Die(
        build,
        volts,
        {name: _metric(name, volts @ g) for name in names},
        lambda settings: Chain(*(make(settings) for make in vary)),
    )
    if "dies" not in content:
        raise ValueError(f"{path} has no dies; say how many.")
    rest = {name: content[name] for name in ("seed", "batch", "about") if name in content}
    limits = {name: _limit(name, x) for name, x in _table(content, "limits").items()}
    units = {name: UNITS[name] for name in names if name in UNITS}
    return Sweep(die, axes, content["dies"], limits=limits, units=units, **rest)


def _known(table: Mapping[str, Any], names: Any, where: str) -> None:
    for name in table:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}."
            raise ValueError(f"{where} has an unknown key {name!r}; {hint}")


def _table(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} is {table!r}; it must be a table, [{name}].")
    return table


def _number(x: Any, axes: Mapping[str, Any], name: str) -> float | str:
    """A number, or the name of an axis."""
    if isinstance(x, str):
        if x not in axes:
            raise ValueError(f"{name} is {x!r}, which is no axis; give a number, or an axis.")
        return x
    if not _is_number(x):
        raise ValueError(f"{name} is {x!r}; it must be a number or the name of an axis.")
    return float(x)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and not math.isnan(x)


def _limit(name: str, x: Any) -> tuple[float, float]:
    if not (isinstance(x, list) and len(x) == 2 and all(map(_is_number, x))):
        raise ValueError(f"limits.{name} is {x!r}; it must be [low, high].")
    return float(x[0]), float(x[1])


def _conductances(array: Mapping[str, Any], folder: Path) -> jax.Array:
    if "g" in array:
        g = np.load(folder / array["g"])
        if g.ndim != 2:
            raise ValueError(f"g in {array['g']} has the shape {g.shape}; it must be (rows, cols).")
        return jnp.asarray(g)
    missing = [name for name in ("rows", "cols", "g_min", "g_max") if name not in array]
    if missing:
        raise ValueError(f"[array] has no {missing[0]}; give rows, cols, g_min, g_max, or g.")
    for name in ("g_min", "g_max"):
        if not _is_number(array[name]):
            raise ValueError(f"{name} is {array[name]!r}; it must be a number [S].")
    whole = {name: array.get(name, 0) for name in ("rows", "cols", "pattern")}
    for name, x in whole.items():
        if not (isinstance(x, int) and not isinstance(x, bool) and x >= (name != "pattern")):
            raise ValueError(f"{name} is {x!r}; it must be a whole number.")
    rng = np.random.default_rng(whole["pattern"])
    shape = whole["rows"], whole["cols"]
    return jnp.asarray(rng.uniform(array["g_min"], array["g_max"], shape))


def _perturbation(
    entry: Mapping[str, Any], axes: Mapping[str, Any], shape: tuple[int, ...]
) -> Callable[[Settings], AbstractPerturbation]:
    kind, place = entry.get("kind"), entry.get("at", "cell")
    if kind not in PERTURBATIONS:
        known = ", ".join(PERTURBATIONS)
        raise ValueError(f"kind in [[vary]] is {kind!r}; it must be one of {known}.")
    if place not in PLACES:
        raise ValueError(f"at in [[vary]] is {place!r}; it must be one of {', '.join(PLACES)}.")
    made = PERTURBATIONS[kind]
    fields = made.__dataclass_fields__
    arguments = {name: x for name, x in entry.items() if name not in ("kind", "at")}
    _known(arguments, fields, f"[[vary]] {kind}")
    for name, x in arguments.items():
        if not (fields[name].metadata.get("static") or isinstance(x, list)):
            arguments[name] = _number(x, axes, name)

    def make(settings: Settings) -> AbstractPerturbation:
        given = {k: settings[x] if isinstance(x, str) else x for k, x in arguments.items()}
        return At(PLACES[place], made(**given), shape)

    try:
        eqx.filter_eval_shape(make, {name: jnp.asarray(float(x[0])) for name, x in axes.items()})
    except TypeError as error:
        raise ValueError(f"[[vary]] {kind} lacks an argument: {error}.") from error
    return make


def _metric(name: str, wanted: jax.Array) -> Metric:
    """By name; `wanted`: currents [A] of the array as designed, on ideal wires."""
    deviation = lambda solution: jnp.abs(solution.i_out - wanted) / jnp.max(jnp.abs(wanted))

    known: dict[str, Metric] = {
        "error": lambda solution, design: jnp.max(deviation(solution)),
        "error_rms": lambda solution, design: jnp.sqrt(jnp.mean(deviation(solution) ** 2)),
        "i_max": lambda solution, design: jnp.max(jnp.abs(solution.i_out)),
        "p": lambda solution, design: solution.p_dissipated,
    }
    if name in known:
        return known[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(
            f"metrics has {name!r}; known are {', '.join(known)}, or name module:function."
        )
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"metrics has {name!r}, which cannot be imported: {error}.") from error
