"""Accuracy of a read: output error and current-law residual over size, wire resistance and dtype.

The reference is a sparse LU of the nodal matrix with one step of refinement. Errors are relative to
the largest output. Conductances are uniform in 0.01 to 1 times Gmax = 100 uS, inputs in 0 to 1 V.

    python -m experiments.accuracy.run
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb

from .. import reference
from ..common import machine, write_figure, write_json

HERE = Path(__file__).parent
SIZES = (4, 16, 64, 256, 1024)
R_GMAX = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
LARGEST_LU = 256


def measure(n: int, r_gmax: float) -> dict:
    rng = np.random.default_rng(n)
    g, v = rng.uniform(1e-6, 1e-4, (n, n)), rng.uniform(0, 1, n)
    r = r_gmax / 1e-4
    wanted = None
    if r == 0:
        wanted = v @ g
    elif n <= LARGEST_LU:
        wanted = reference.solve(g, r, r, v)
    row = {"n": n, "r_gmax": r_gmax}
    for dtype in (np.float64, np.float32):
        crossbar = xb.Crossbar(xb.Ohmic(jnp.asarray(g, dtype)), xb.Wires(r, r))
        solution = xb.read(crossbar, jnp.asarray(v, dtype))
        assert solution.i_out.dtype == dtype
        largest = float(jnp.max(jnp.abs(solution.i_out)))
        name = np.dtype(dtype).name
        row[f"{name}_residual"] = float(solution.residual) / largest
        row[f"{name}_iterations"] = int(solution.num_steps)
        if wanted is not None:
            off = np.abs(np.asarray(solution.i_out, np.float64) - wanted).max()
            row[f"{name}_error"] = off / np.abs(wanted).max()
    return row


def draw(rows: list[dict]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = dict(zip(SIZES, ("-o", "--s", ":^", "-.d", "-x")))
    for n, style in styles.items():
        mine = [r for r in rows if r["n"] == n and r["r_gmax"] > 0]
        x = [r["r_gmax"] for r in mine]
        for dtype, color in (("float64", "k"), ("float32", "0.55")):
            y = [r.get(f"{dtype}_error", np.nan) for r in mine]
            label = f"{n} x {n}, {dtype}" if n <= LARGEST_LU else None
            left.loglog(x, y, style, color=color, label=label, markersize=4)
        right.loglog(x, [r["float64_iterations"] for r in mine], "k" + style, label=f"{n} x {n}")
    left.set_ylabel("output error / largest output")
    left.legend(fontsize=7, ncols=2, loc=(0.03, 0.5))  # between the two dtypes
    right.set_ylabel("iterations to 1e-12, float64")
    right.legend(fontsize=7)
    for axis in (left, right):
        axis.set_xlabel("segment resistance times largest conductance")
        axis.grid(alpha=0.3)
    return figure


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    console = Console()
    rows = []
    for n in SIZES:
        for r_gmax in R_GMAX:
            rows.append(measure(n, r_gmax))
            console.print(f"{n} x {n}, r Gmax {r_gmax:g}")
    table = Table(title="Errors relative to the largest output")
    columns = ("float64_error", "float64_residual", "float64_iterations", "float32_error")
    for column in ("n", "r_gmax", *columns):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [f"{row[c]:.1e}" if c in row else "-" for c in columns if "iter" not in c]
        cells.insert(2, str(row["float64_iterations"]))
        table.add_row(str(row["n"]), f"{row['r_gmax']:g}", *cells)
    console.print(table)
    write_json(HERE / "result.json", {"rows": rows, "machine": machine()})
    write_figure(draw(rows), HERE / "figure.svg")


if __name__ == "__main__":
    main()
