"""Sweeps in TOML files, as `xbarjax sweep` reads them."""

import dataclasses
import importlib
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import variability
from .._files import load_said as load_array
from .._types import as_physical
from .._units import UnitWarning, doubt_said, say, siemens, unit_named
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Drive
from ..readout import VirtualGround
from ..variability import AbstractPerturbation, At, Chain
from ..wires import Wires
from .die import Die, Metric, Settings
from .entries import is_number, known, limit, number, table, whole
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
ARRAY = ("rows", "cols", "g", "g_min", "g_max", "unit", "pattern", "v_in")
MOST = 2**26  # cells: more than any array has, and half a gigabyte of conductances
UNITS = {"error": "1", "error_rms": "1", "i_max": "A", "p": "W"}
WIRES = ("r_row", "r_col")
ENDS = ("r_source", "r_in")


class Described(NamedTuple):
    """A sweep from a file; phrases for the skipped parts of the file of conductances; and sentences
    of doubt about the unit of the conductances."""

    plan: Sweep
    skipped: tuple[str, ...]
    doubts: tuple[str, ...]


def load(path: str | Path) -> Sweep:
    """The sweep that a TOML file describes. A number in `[wires]`, `[ends]` or `[[vary]]` may be
    the name of an axis instead, unless it must be whole.

    - Top level: `dies`; optional `seed`, `batch`, `about`, `metrics`.
    - `[array]`: either `g`, a file of conductances `(rows, cols)` [S], as `xbarjax read` takes it;
        or `rows`, `cols`, `g_min`, `g_max` [S] for uniformly distributed conductances drawn from
        the seed `pattern`. Optional: `unit` of the conductances, by default S; `v_in` [V].
    - `[wires]`: `r_row`, `r_col` [ohm per segment].
    - `[ends]`: `r_source`, `r_in` [ohm].
    - `[[vary]]`, one per perturbation, applied in order: `kind`, a class of `xbarjax.variability`;
        the arguments of the class; `at`: `cell` (default), `r_row` or `r_col`.
    - `[axes]`: lists of values. `[limits]`: `[low, high]` by metric.

    Metrics: `error`, the largest deviation of an output current from that of the designed array on
    ideal wires, over the largest of the latter [1]; `error_rms`, the root mean square of these
    deviations [1]; `i_max`, the largest output current [A]; `p`, the dissipated power [W]; or
    `package.module:function` of `(solution, design)`.

    Raises `ValueError` with one sentence for an entry that is unknown, missing or of the wrong
    type; `FileNotFoundError` for a file that does not exist. Warns (`UnitWarning`) of conductances
    larger than those of any cell.
    """
    plan, _, doubts = load_said(path)
    for said in doubts:
        say(said)
    return plan


def load_said(path: str | Path) -> Described:
    """The sweep of `load`, with skipped parts and doubts about units returned instead of warned
    of."""
    path = Path(path)
    content = _content(path)
    known(content, (*TOP, *TABLES), str(path))
    axes = table(content, "axes")
    for name, values in axes.items():
        if not (isinstance(values, list) and values and all(map(is_number, values))):
            raise ValueError(f"axes[{name!r}] is {values!r}; it must be a list of numbers.")
    axes = {name: [float(x) for x in values] for name, values in axes.items()}
    array, wires, ends = (table(content, name) for name in ("array", "wires", "ends"))
    known(array, ARRAY, "[array]")
    known(wires, WIRES, "[wires]")
    known(ends, ENDS, "[ends]")
    values, skipped, doubts = _conductances(array, path.parent)
    g = jnp.asarray(values)
    r = {name: number(wires.get(name, 0.0), axes, name) for name in WIRES}
    end = {name: number(ends.get(name, 0.0), axes, name) for name in ENDS}
    v_in = array.get("v_in", 0.2)
    if not is_number(v_in) or not abs(v_in) < float("inf"):
        raise ValueError(f"v_in is {v_in!r}; it must be a finite number [V].")
    entries = content.get("vary", [])
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise ValueError("vary is not a list of tables; begin each perturbation with [[vary]].")
    vary = [_perturbation(entry, axes, g.shape) for entry in entries]

    def build(settings: Settings) -> Crossbar:
        at = lambda x: settings[x] if isinstance(x, str) else as_physical(x)
        lines = Wires(at(r["r_row"]), at(r["r_col"]))
        drive, readout = Drive(at(end["r_source"])), VirtualGround(at(end["r_in"]))
        return Crossbar(Ohmic(g), lines, drive, readout)

    volts = jnp.full(g.shape[0], float(v_in))
    names = content.get("metrics", ["error"])
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ValueError(f"metrics is {names!r}; it must be a list of names.")
    die = Die(
        build,
        volts,
        {name: _metric(name, volts @ g) for name in names},
        lambda settings: Chain(*(make(settings) for make in vary)),
    )
    limits = {name: limit(name, x) for name, x in table(content, "limits").items()}
    units = {name: UNITS[name] for name in names if name in UNITS}
    dies, rest = _counts(content, path)
    return Described(Sweep(die, axes, dies, limits=limits, units=units, **rest), skipped, doubts)


def _content(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a TOML file.")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give an existing TOML file.")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8; save it in UTF-8.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not valid TOML: it is nested too deep.") from error
    except ValueError as error:  # tomllib's own, and Python's of numbers of thousands of digits
        raise ValueError(f"{path} is not valid TOML: {error}.") from error


def _counts(content: Mapping[str, Any], path: Path) -> tuple[int, dict[str, Any]]:
    """Number of dies, and the given ones of seed, batch and description."""
    if "dies" not in content:
        raise ValueError(f"{path} has no dies; give their number, as dies = 1000.")
    dies = whole(content["dies"], "dies", 1, 2**32)  # a die's number is a word of its key
    rest: dict[str, Any] = {}
    for name, least, below in (("seed", 0, 2**63), ("batch", 1, 2**32)):
        if name in content:
            rest[name] = whole(content[name], name, least, below)
    if "about" in content:
        if not isinstance(content["about"], str):
            raise ValueError(f"about is {content['about']!r}; it must be a text in quotes.")
        rest["about"] = content["about"]
    return dies, rest


def _conductances(
    array: Mapping[str, Any], folder: Path
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Conductances [S], phrases for the skipped parts of their file, and doubts about their
    unit."""
    unit = array.get("unit")
    if unit is not None:
        if not isinstance(unit, str):
            raise ValueError(f'unit is {unit!r}; it must be a name in quotes, as "uS".')
        unit = unit_named(unit, "unit in [array]")
    if "g" in array:
        file = array["g"]
        if not (isinstance(file, str) and file.strip()):
            raise ValueError(f"g in [array] is {file!r}; it must be the name of a file.")
        values, skipped = load_array(folder / file)
        skipped = tuple(f"{file}, {part}" for part in skipped)
        if values.ndim != 2:
            raise ValueError(f"g in {file} has the shape {values.shape}; it must be (rows, cols).")
        g = siemens(values, unit or "S", "g")
    else:
        g, skipped = _uniform(array, unit or "S"), ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitWarning)  # the caller reports doubts about units
        Ohmic(jnp.asarray(g))  # raises for negative or NaN conductances
    doubted = doubt_said(g, "g in [array]", unit, 'unit = "{}"')
    return g, skipped, () if doubted is None else (doubted,)


def _uniform(array: Mapping[str, Any], unit: str) -> np.ndarray:
    """Conductances [S] drawn uniformly between `g_min` and `g_max`."""
    missing = [name for name in ("rows", "cols", "g_min", "g_max") if name not in array]
    if missing:
        raise ValueError(f"[array] has no {missing[0]}; give rows, cols, g_min, g_max, or g.")
    bounds = []
    for name in ("g_min", "g_max"):
        if not is_number(array[name]):
            raise ValueError(f"{name} is {array[name]!r}; it must be a number [S].")
        bounds.append(float(siemens(np.array(float(array[name])), unit, name)))
    if not 0 <= bounds[0] <= bounds[1] < float("inf"):
        raise ValueError(
            f"g_min is {bounds[0]:g} S and g_max {bounds[1]:g} S; they must be finite, with"
            " 0 <= g_min <= g_max."
        )
    rows, cols = (whole(array[name], name, 1, MOST + 1) for name in ("rows", "cols"))
    if rows * cols > MOST:
        raise ValueError(f"rows is {rows} and cols {cols}; an array has {MOST} cells at most.")
    rng = np.random.default_rng(whole(array.get("pattern", 0), "pattern", 0, 2**63))
    return rng.uniform(bounds[0], bounds[1], (rows, cols))


def _perturbation(
    entry: Mapping[str, Any], axes: Mapping[str, Any], shape: tuple[int, ...]
) -> Callable[[Settings], AbstractPerturbation]:
    kind, place = entry.get("kind"), entry.get("at", "cell")
    if not isinstance(kind, str) or kind not in PERTURBATIONS:
        names = ", ".join(PERTURBATIONS)
        raise ValueError(f"kind in [[vary]] is {kind!r}; it must be one of {names}.")
    if not isinstance(place, str) or place not in PLACES:
        raise ValueError(f"at in [[vary]] is {place!r}; it must be one of {', '.join(PLACES)}.")
    made = PERTURBATIONS[kind]
    fields = {field.name: field for field in dataclasses.fields(made)}
    arguments = {name: x for name, x in entry.items() if name not in ("kind", "at")}
    known(arguments, fields, f"[[vary]] {kind}")
    for name, field in fields.items():
        if name in arguments:
            static = bool(field.metadata.get("static"))
            arguments[name] = _argument(arguments[name], axes, name, static)
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"[[vary]] {kind} lacks an argument; give {name}.")

    def make(settings: Settings) -> AbstractPerturbation:
        given = {k: settings[x] if isinstance(x, str) else x for k, x in arguments.items()}
        return At(PLACES[place], made(**given), shape)

    settings = {name: jnp.asarray(float(x[0])) for name, x in axes.items()}
    try:
        eqx.filter_eval_shape(make, settings)
    except TypeError as error:
        raise ValueError(f"[[vary]] {kind} cannot be made: {error}.") from error
    return make


def _argument(x: Any, axes: Mapping[str, Any], name: str, static: bool) -> Any:
    """An argument of a perturbation: a whole number for a static one, else a number, the name of an
    axis or a list of numbers."""
    if static:
        return whole(x, name, 0, 2**31)
    if isinstance(x, list):
        if not (x and all(map(is_number, x))):
            raise ValueError(f"{name} is {x!r}; it must be a number or a list of numbers.")
        return [float(one) for one in x]
    return number(x, axes, name)


def _metric(name: str, wanted: jax.Array) -> Metric:
    """The metric of this name; `wanted`: output currents [A] of the designed array on ideal
    wires."""
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
    names = [*module.split("."), function]
    if not colon or not all(map(str.isidentifier, names)):
        raise ValueError(f"metrics has {name!r}; use {', '.join(known)}, or module:function.")
    try:
        metric = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"metrics has {name!r}, which cannot be imported: {error}.") from error
    if not callable(metric):
        raise ValueError(
            f"metrics has {name!r}, which is no function; name one of (solution, design)."
        )
    return cast(Metric, metric)
