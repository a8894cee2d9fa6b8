"""IR drop for different ways of feeding an array.

    python -m experiments.feeding.run

Conductances are uniform in 1 to 100 uS, inputs uniform in 0 to 0.2 V; errors are against the
product with ideal wires. Three comparisons:

1. Ends: terminals at one end of each line, at both ends of one line family or of both, on
   alternating sides, and straps at inner nodes. To first order, a line held at both ends has a
   quarter of the drop of a line held at one end.
2. Pairs: a differential pair as two subtracted arrays, or as 2T2R cells, which subtract inside the
   cell. The shared sensed line of 2T2R cells carries the difference alone.
3. Level lines: a converter whose levels are shared by all rows, each level behind an output
   resistance, so that rows of the same code disturb each other.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax import feeding, pairs

from ..common import keep

HERE = Path(__file__).parent
SIZES = (32, 64, 128)
R_WIRES = (0.02, 0.1, 0.3, 1.0)  # [ohm per segment]
STRAP = 5.0  # [ohm] per strap, four straps per line
LEVELS = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # [ohm] output resistance of a level
BITS = 3  # of the shared converter
SEED = 0


def array(n: int) -> tuple[Any, Any]:
    random = np.random.default_rng(SEED)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (n, n)))
    return g, jnp.asarray(random.uniform(0, 0.2, n))


def straps(n: int) -> Any:
    """Strap resistances [ohm] along a line: four evenly spaced straps, inf elsewhere."""
    at = np.isin(np.arange(n), n // 4 * np.arange(4) + n // 8)
    return jnp.where(jnp.asarray(at), STRAP, jnp.inf)


def fed(kind: str, n: int, r: float) -> tuple[xb.Drive, xb.VirtualGround]:
    """Drive and readout. A far terminal is behind one more wire segment."""
    one = xb.Drive(), xb.VirtualGround()
    both = xb.Drive(0.0, r), xb.VirtualGround(0.0, r)
    if kind == "alternating":
        near, far = feeding.alternating(n)
        ends = near, far + r
        return xb.Drive(*ends), xb.VirtualGround(*ends)
    if kind == "straps":
        across = jnp.broadcast_to(straps(n), (n, n))
        return xb.Drive(r_strap=across), xb.VirtualGround(r_strap=across.T)
    rows, cols = kind in ("both ends of rows", "both ends"), kind in ("both ends of columns",
                                                                    "both ends")  # fmt: skip
    return (both if rows else one)[0], (both if cols else one)[1]


KINDS = (
    "one end",
    "alternating",
    "both ends of rows",
    "both ends of columns",
    "both ends",
    "straps",
)


def rms(x: Any) -> float:
    return float(jnp.sqrt(jnp.mean(x**2)))


def ends(console: Console) -> list[dict[str, Any]]:
    """Errors of products, relative to their rms, for every kind of feeding."""
    found = []
    for n in SIZES:
        g, v = array(n)
        for r in R_WIRES:
            errors = {}
            for kind in KINDS:
                x = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r), *fed(kind, n, r))
                errors[kind] = rms(xb.read(x, v).i_out - v @ g) / rms(v @ g)
            found.append({"n": n, "r": r, "errors": errors})
        console.print(f"ends, {n} x {n}: done")
    return found


def two_in_one(console: Console) -> list[dict[str, Any]]:
    """Largest drops [V] and errors of a differential pair, as two arrays and as 2T2R cells."""
    found = []
    for n in SIZES:
        random = np.random.default_rng(SEED)
        w = random.normal(0, 0.3, (n, n)).clip(-1, 1)
        g = jnp.asarray(1e-6 + 99e-6 * np.stack([np.maximum(w, 0), np.maximum(-w, 0)]))
        v, wires = jnp.asarray(random.uniform(0, 0.2, n)), xb.Wires(1.0, 1.0)
        want = v @ (g[0] - g[1])
        apart = [xb.read(xb.Crossbar(xb.Ohmic(x), wires), v) for x in g]
        cell, inside = pairs.in_cell(xb.Ohmic(g[0]), xb.Ohmic(g[1]), wires)
        one = xb.read(xb.Crossbar(cell, inside), pairs.opposed(v))
        largest = lambda solutions, name: max(
            float(jnp.max(jnp.abs(getattr(s, name)))) for s in solutions
        )
        found.append(
            {
                "n": n,
                "two arrays": {
                    "sensed_line_v": largest(apart, "drop_col"),
                    "driven_lines_v": largest(apart, "drop_row"),
                    "error": rms(apart[0].i_out - apart[1].i_out - want) / rms(want),
                },
                "2T2R": {
                    "sensed_line_v": largest([one], "drop_col"),
                    "driven_lines_v": largest([one], "drop_row"),
                    "error": rms(one.i_out - want) / rms(want),
                },
            }
        )
        console.print(f"pairs, {n} x {n}: done")
    return found


def level_lines(console: Console) -> list[dict[str, Any]]:
    """Errors of products for rows that share the levels of a converter, against ideal levels."""
    found = []
    for n in SIZES:
        g, _ = array(n)
        codes = jnp.asarray(np.random.default_rng(SEED).integers(0, 2**BITS, n))
        v = jnp.linspace(0, 0.2, 2**BITS)
        x = xb.Crossbar(xb.Ohmic(g), xb.Wires(0.1, 0.1))
        alone = xb.read(x, v[codes]).i_out
        errors = []
        for r in LEVELS:
            rows = feeding.levels(codes, v, r)
            i = feeding.read_shared(x, v[codes], rows=rows).i_out
            errors.append(rms(i - alone) / rms(alone))
        found.append({"n": n, "r_level": LEVELS, "errors": errors})
        console.print(f"level lines, {n} x {n}: done")
    return found


def show(result: dict, console: Console) -> None:
    table = Table(title="Error of products, relative to their rms")
    table.add_column("rows and columns, ohm per segment")
    for kind in KINDS:
        table.add_column(kind, justify="right")
    for row in result["ends"]:
        name = f"{row['n']}, {row['r']:g}"
        table.add_row(name, *(f"{row['errors'][kind]:.2e}" for kind in KINDS))
    console.print(table)
    table = Table(title="A differential pair at 1 ohm per segment")
    for name in ("rows and columns", "pair", "sensed line, mV", "driven lines, mV", "error"):
        table.add_column(name, justify="right")
    for row in result["pairs"]:
        for kind in ("two arrays", "2T2R"):
            x = row[kind]
            drops = (f"{1e3 * x[k]:.2f}" for k in ("sensed_line_v", "driven_lines_v"))
            table.add_row(str(row["n"]), kind, *drops, f"{x['error']:.2e}")
    console.print(table)


def draw(result: dict) -> Figure:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    styles = ("o-", "v--", "^-.", "s-.", "D-", "x:")
    rows = [row for row in result["ends"] if row["n"] == 64]
    for kind, style in zip(KINDS, styles):
        errors = [100 * row["errors"][kind] for row in rows]
        left.loglog([row["r"] for row in rows], errors, style, label=kind, color="0.1", ms=4)
    left.set_xlabel("wire [ohm per segment], 64 x 64")
    left.set_ylabel("error of products [% of their rms]")
    left.legend(fontsize=7)
    at = np.arange(len(result["pairs"]))
    for k, (kind, color) in enumerate((("two arrays", "0.75"), ("2T2R", "0.35"))):
        for m, (name, hatch) in enumerate((("sensed_line_v", ""), ("driven_lines_v", "//"))):
            label = f"{kind}, {'sensed line' if m == 0 else 'driven lines'}"
            middle.bar(
                at + 0.2 * (2 * m + k) - 0.3,
                [1e3 * row[kind][name] for row in result["pairs"]],
                0.2,
                color=color,
                hatch=hatch,
                edgecolor="0.1",
                label=label,
            )
    middle.set_xticks(at, [f"{row['n']} x {row['n']}" for row in result["pairs"]])
    middle.set_ylabel("largest drop [mV], 1 ohm per segment")
    middle.set_yscale("log")
    middle.legend(fontsize=7)
    for row, style in zip(result["level_lines"], ("o-", "s--", "^:")):
        errors = [100 * x for x in row["errors"]]
        label = f"{row['n']} x {row['n']}"
        right.plot(row["r_level"], errors, style, color="0.1", ms=4, label=label)
    right.set_xscale("symlog", linthresh=10)
    right.set_yscale("symlog", linthresh=1)
    right.set_xlabel("output resistance of a level [ohm]")
    right.set_ylabel("error of products [% of their rms]")
    right.legend(fontsize=7)
    return figure


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    result: dict[str, Any] = {
        "given": {
            "g_siemens": "uniform in 1e-6 to 1e-4",
            "v_in_volt": "uniform in 0 to 0.2",
            "strap_ohm": STRAP,
            "straps_a_line": 4,
            "level_bits": BITS,
            "seed": SEED,
        },
        "ends": ends(console),
        "pairs": two_in_one(console),
        "level_lines": level_lines(console),
    }
    show(result, console)
    console.print(keep(HERE, result, draw(result), start))


if __name__ == "__main__":
    main()
