"""The figure of the experiment."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

MODELS = {
    "plain": ("k^:", "chip without the parasitics"),
    "one": ("ks--", "one contact resistance in the model"),
    "each": ("ko-", "one per line"),
}
WAYS = {
    "plain": "not compensated",
    "calibrated": "linear calibration",
    "wrong": "wires 30 % off",
    "twin_one": "twin, one contact",
    "twin_each": "twin, contact per line",
    "truth": "true means of wires",
}
CHOICES = {
    "chosen": ("k*", "chosen by gradient"),
    "hadamard": ("kD", "Hadamard"),
    "one_row": ("k^:", "one row at a time"),
    "signs": ("ks--", "random signs"),
    "uniform": ("ko-", "random voltages"),
}
KINDS = {"cells": "cells", "r_row": "word-line wires", "r_col": "bit-line wires"}
KINDS |= {"r_contact": "contacts"}
SHADES = ("0.15", "0.45", "0.7", "0.9")


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(14, 11), layout="constrained")
    panels = made.subplot_mosaic([["a", "b", "c"], ["d", "e", "f"], ["g", "g", "g"]])
    over, wires, noise, products, share, curve, plan = panels.values()
    _accuracy(over, wires, result["accuracy"])
    _table(noise, result["table"])
    _products(products, result["product"])
    _coverage(share, result["coverage"])
    _nonlinear(curve, result["nonlinear"])
    _chosen(plan, result["chosen"])
    return made


def _accuracy(over: Any, wires: Any, of: dict[str, Any]) -> None:
    for name, (mark, label) in MODELS.items():
        mine = [case for case in of["cases"] if case["chip"] == name]
        x = [case["reads"] for case in mine]
        over.loglog(x, [100 * c["median_relative"] for c in mine], mark, label=label)
    of_each = [case for case in of["cases"] if case["chip"] == "each"]
    marks = {"r_row": ("ko-", "word lines"), "r_col": ("ks--", "bit lines")}
    marks |= {"r_contact": ("k^:", "contacts, mean")}
    for name, (mark, label) in marks.items():
        y = [100 * abs(case[f"{name}_error"]) for case in of_each]
        wires.loglog([case["reads"] for case in of_each], y, mark, mfc="none", label=label)
    ticks = sorted({case["reads"] for case in of["cases"]})
    for panel in (over, wires):
        panel.set_xticks(ticks, labels=map(str, ticks))
        panel.minorticks_off()
        panel.set(xlabel="reads")
    _plain_ticks(over, (0.05, 0.1, 0.2, 0.5, 1))
    _plain_ticks(wires, (0.2, 0.5, 1, 2, 5))
    over.legend(fontsize=8, loc="upper right")
    wires.legend(fontsize=8, loc="upper left")
    over.set(ylabel="median error of a cell [%]", title="Cells of 32 x 32, noise 0.1 %, 12 bits")
    wires.set(ylabel="error of resistance [%]", title="Wires of 32 x 32, contacts per line")


def _plain_ticks(panel: Any, ticks: tuple[float, ...]) -> None:
    panel.set_yticks(ticks, labels=[f"{x:g}" for x in ticks])
    panel.set_ylim(ticks[0], ticks[-1])
    panel.minorticks_off()


def _table(panel: Any, of: dict[str, Any]) -> None:
    for bits, mark in ((8, "k^:"), (10, "ks--"), (12, "ko-")):
        mine = [case for case in of["cases"] if case["bits"] == bits]
        x = [100 * case["noise"] for case in mine]
        y = [100 * case["median_relative"] for case in mine]
        panel.loglog(x, y, mark, mfc="none", label=f"{bits} bits")
    panel.set(
        xlabel="noise [% of the largest current]",
        ylabel="median error of a cell [%]",
        title="16 x 16, 64 reads, contacts per line",
    )
    panel.set_xticks([0.01, 0.1, 1], labels=["0.01", "0.1", "1"])
    _plain_ticks(panel, (0.05, 0.1, 0.2, 0.5, 1, 2))
    panel.legend(fontsize=8)


def _products(panel: Any, of: dict[str, Any]) -> None:
    names = list(WAYS)[::-1]
    y = np.arange(len(names))
    x = [100 * of["error"][name] for name in names]
    panel.barh(y, x, color=["0.75" if name.startswith("twin") else "0.45" for name in names])
    for at, name in zip(y, names):
        each = [100 * e for e in of["error_of_chips"][name]]
        panel.plot(each, [at] * len(each), "k|", ms=10)
        panel.text(1.15 * max(each), at, f"{100 * of['error'][name]:.2g} %", va="center")
    panel.set_yticks(y, labels=[WAYS[name] for name in names])
    panel.set(
        xscale="log",
        xlim=(0.03, 8),
        xlabel="error of products [%]; ticks: chips",
        title="Products with 32 x 16 weights",
    )


def _coverage(panel: Any, of: dict[str, Any]) -> None:
    said = {"prior": "one contact", "each": "per line"}
    for k, (name, label) in enumerate(KINDS.items()):
        y = [100 * case["within_1_std"][name] for case in of["cases"]]
        at = np.arange(len(y)) + 0.2 * (k - 1.5)
        panel.bar(at, y, 0.2, color=SHADES[k], edgecolor="k", lw=0.5, label=label)
    labels = [
        f"{'complete' if case['chip'] == 'plain' else said[case['contacts']]}\n"
        f"{100 * case['noise']:g} %\n{100 * case['refuted']:.0f} %"
        for case in of["cases"]
    ]
    panel.axhspan(63, 73, color="0.93", zorder=0)
    panel.axhline(68.3, color="0.6", lw=0.8, zorder=0)
    panel.set_xticks(range(len(labels)), labels=labels, fontsize=8)
    panel.set(
        ylim=(0, 119),
        ylabel="true values within one deviation [%]",
        xlabel="model of the contacts; noise; share of twins refuted",
        title=f"Intervals on {of['chips']} chips of 8 x 8",
    )
    panel.legend(fontsize=8, ncols=2, loc="upper right")


def _nonlinear(panel: Any, of: dict[str, Any]) -> None:
    chips = of["sinh"]["chips"]
    x = np.arange(1, len(chips) + 1)
    off = [100 * (chip["b_per_V"] / of["b_per_V"] - 1) for chip in chips]
    std = [100 * chip["b_std_per_V"] / of["b_per_V"] for chip in chips]
    panel.errorbar(x, off, std, fmt="ko", mfc="none", capsize=3, label="b, with its deviation")
    y = [100 * chip["median_relative"] for chip in chips]
    panel.plot(x, y, "s", color="0.5", label="g of a cell, median of |error|")
    panel.axhline(0, color="0.7", lw=0.8, zorder=0)
    panel.set(
        xlabel="chip",
        ylabel="error [%]",
        title=f"8 x 8 cells of sinh, b = {of['b_per_V']:g} /V, {of['reads']} reads",
    )
    panel.legend(fontsize=8)


def _chosen(panel: Any, of: dict[str, Any]) -> None:
    for way, (mark, label) in CHOICES.items():
        mine = sorted((c["reads"], 1e6 * c["rms_S"]) for c in of["cases"] if c["way"] == way)
        panel.loglog(*zip(*mine), mark, mfc="none", label=label)
    ticks = sorted({case["reads"] for case in of["cases"]})
    panel.set_xticks(ticks, labels=map(str, ticks))
    panel.minorticks_off()
    _plain_ticks(panel, (0.03, 0.05, 0.1, 0.2))
    panel.legend(fontsize=8, loc="upper right")
    panel.set(xlabel="reads after the first two", ylabel="error of a cell, rms [µS]")
    panel.set_title(f"{of['rows']} x {of['rows']}, noise {1e9 * of['noise_A']:g} nA")
