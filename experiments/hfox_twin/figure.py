"""The figure of the experiment."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

DRAWN = {"Ohmic": ("0.55", "--"), "Sinh + r_s": ("k", "-")}
MARKS = {
    "Ohmic": ("0.55", "--", ""),
    "Sinh": ("0.55", "-", ""),
    "Sinh + r_s": ("k", "-", "o"),
    "Sinh + r_s, offset of each": ("0.35", "-", "s"),
    "Sinh + r_s, b of each": ("0.35", ":", "^"),
}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(12, 8), layout="constrained")
    panels = made.subplots(2, 2, width_ratios=(1, 1.15))
    models = result["training"]["models"] | result["own"]["models"]
    _currents(panels[0, 0], result["training"])
    _residuals(panels[0, 1], result["training"]["v"], models)
    _offsets(panels[1, 0], result["training"]["zero"], models)
    _errors(panels[1, 1], result["held_out"])
    return made


def _currents(panel: Any, of: dict[str, Any]) -> None:
    v = np.asarray(of["v"])
    seen = 1e6 * np.asarray(of["shown"]["measured_A"])
    panel.plot(v, seen.T, "o", color="0.3", ms=3, mfc="w")
    for name, (color, style) in DRAWN.items():
        i = 1e6 * np.asarray(of["models"][name]["shown_A"])
        label = [f"twin, {name}"] + [None] * (len(i) - 1)
        panel.plot(v, i.T, style, color=color, lw=1, label=label)
    panel.set(
        xlabel="bit-line voltage [V]",
        ylabel="current shown, with offset [µA]",
        title=f"six of {of['cells']} training cells, measured (circles)",
    )
    panel.legend(fontsize=8)


def _residuals(panel: Any, v: list[float], of: dict[str, Any]) -> None:
    for name, (color, style, mark) in MARKS.items():
        y = of[name]["rms_by_voltage"]
        look = {"ls": style, "marker": mark, "ms": 4, "mfc": "w", "lw": 1.2}
        chi2 = of[name]["chi2"]
        panel.plot(v, y, color=color, label=f"{name} (chi2 {chi2:.2f})", **look)
    panel.axhline(1, color="0.8", lw=0.8, zorder=0)
    panel.set(
        ylim=(0.85, 2.7),
        xlabel="bit-line voltage [V]",
        ylabel="residual [standard deviations], rms over cells",
        title="residuals of all training cells",
    )
    panel.legend(fontsize=8, loc="upper center")


def _offsets(panel: Any, zero: dict[str, Any], of: dict[str, Any]) -> None:
    mean, std = 1e6 * zero["mean_A"], 1e6 * zero["std_A"]
    panel.axvspan(mean - std, mean + std, color="0.88", zorder=0)
    panel.axvline(mean, color="0.5", lw=0.8, zorder=0, label="mean of the reads at 0 V, ± 1 std")
    for k, name in enumerate(MARKS):
        value, std = (1e6 * x for x in of[name]["shared"]["offset_A"])
        panel.errorbar(value, k, xerr=std, fmt="ko", ms=5, capsize=3)
    panel.set_yticks(range(len(MARKS)), list(MARKS), fontsize=8)
    panel.invert_yaxis()
    panel.grid(alpha=0.3, axis="x")
    panel.set(
        xlabel="offset of the ammeters [µA] (of each: mean)",
        title="offset found with all else, ± 1 std",
    )
    panel.legend(fontsize=8, loc="lower left")


def _errors(panel: Any, of: dict[str, Any]) -> None:
    rows = [(f"twin: {name}", row, "k", "o") for name, row in of["models"].items()]
    rows += [(f"device_fit: {name}", row, "0.5", "s") for name, row in of["device_fit"].items()]
    rows.append(("noise alone (device_fit)", of["noise_alone"], "0.5", "d"))
    for k, (_, row, color, mark) in enumerate(rows):
        median, p90 = (100 * row["above"][x] for x in ("median", "p90"))
        panel.plot([median, p90], [k, k], "-", color=color, lw=1)
        panel.plot(median, k, mark, color=color, ms=5)
        panel.plot(p90, k, "|", color=color, ms=9)
    panel.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_xticks([1, 2, 5, 10, 20, 30], ["1", "2", "5", "10", "20", "30"])
    panel.minorticks_off()
    panel.grid(alpha=0.3, axis="x")
    panel.set(
        xlabel="rms error / current at 0.35 V [%]\nmark: median, bar: 90th percentile",
        title=f"{of['cells']} held-out cells, predicted above 0.175 V",
    )
