"""Figure of the README: the circuit and its conventions, IR drop, and compensation.

python -m experiments.overview.run
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import xbarjax as xb

from ..common import keep

HERE = Path(__file__).parent


def schematic(axis, rows: int = 3, cols: int = 4) -> None:
    """Schematic: word lines from the left, bit lines to the bottom, one wire segment per cell."""
    wire, cell = {"color": "0.15", "lw": 1.2}, {"color": "0.15", "lw": 1.0}

    def resistor(x, y, along):
        n = np.linspace(-0.16, 0.16, 13)
        zigzag = 0.06 * np.array([0, *([1, -1] * 5), 0, 0])
        dx, dy = (n, zigzag) if along == "x" else (zigzag, n)
        axis.plot(x + dx, y + dy, lw=1.0, color="0.15")

    for i in range(rows):
        y = rows - i
        axis.plot([0.0, 0.0], [y, y], "o", color="k", markersize=5)
        axis.text(-0.15, y, f"v_in[{i}]", ha="right", va="center", fontsize=8)
        for j in range(cols):
            start = 0.0 if j == 0 else j
            axis.plot([start, j + 0.34], [y, y], **wire)
            resistor(j + 0.5, y, "x")
            axis.plot([j + 0.66, j + 1], [y, y], **wire)
    for j in range(cols):
        x = j + 1.28
        for i in range(rows):
            y = rows - i - 0.3
            axis.plot([x, x], [y, y - 0.32], **wire)
            resistor(x, y - 0.48, "y")
            axis.plot([x, x], [y - 0.64, y - 1], **wire)
            axis.plot([j + 1, x], [rows - i, y], **cell)
            middle = (j + 1.14, rows - i - 0.15)
            axis.plot(*middle, "s", color="w", markeredgecolor="k", markersize=8)
            axis.plot([j + 1, x], [rows - i, y], "k.", markersize=4)
        axis.plot(x, -0.3, "v", color="w", markeredgecolor="k", markersize=8)
        axis.text(x, -0.55, f"i_out[{j}]", ha="center", va="top", fontsize=8)
    axis.text(0.5, rows + 0.16, "r_row[0, 0]", ha="center", fontsize=6)
    axis.text(1.4, rows - 0.7, "r_col[0, 0]", ha="left", va="center", fontsize=6)
    axis.text(1.4, rows - 0.27, "g[0, 0]", ha="left", va="center", fontsize=6)
    axis.set_title("rows are inputs, columns outputs", fontsize=9)
    axis.set_xlim(-0.9, cols + 0.7)
    axis.set_ylim(-0.95, rows + 0.5)
    axis.set_aspect("equal")
    axis.axis("off")


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    weights = jnp.asarray(np.clip(rng.normal(0, 0.3, (64, 64)), -1, 1))
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 2.0))
    pair = xb.DifferentialPair(1e-6, 1e-4)
    answer = xb.compensate(weights, pair, build)
    plain = pair.program(weights, answer.k)
    attenuation = xb.transfer(build(plain[0])) / plain[0]
    errors = {"before": answer.before.error, "after": answer.after.error}

    figure = Figure(figsize=(11, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    schematic(left)
    strong = jnp.where(plain[0] > 2e-6, attenuation, jnp.nan)
    image = middle.imshow(strong, cmap="cividis")
    figure.colorbar(image, ax=middle, label="effective / programmed conductance")
    middle.set_title("conductance with 2 ohm per segment", fontsize=9)
    middle.set_xlabel("bit line")
    middle.set_ylabel("word line")
    for (name, error), style in zip(errors.items(), ("o-", "s-")):
        color = "0.55" if name == "before" else "0.1"
        label = f"{name} compensation"
        right.semilogy(error, style, color=color, label=label, markersize=3, lw=0.8)
    right.set_title("error of the effective weights", fontsize=9)
    right.set_xlabel("bit line")
    right.set_ylabel("relative rms error")
    right.legend(fontsize=8, loc="center right")
    result = {
        "rms_before": answer.before.rms,
        "rms_after": answer.after.rms,
        "steps": len(answer.history),
        "weakest_cell": jnp.nanmin(strong),
    }
    print(keep(HERE, result, figure, start))


if __name__ == "__main__":
    main()
