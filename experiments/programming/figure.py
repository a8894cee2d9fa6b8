"""The figure of the experiment."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

WAYS = {
    "uncompensated": "not compensated, cells exact",
    "blind": "error of the write ignored",
    "moved": "targets moved by its mean",
    "verified": "verified through wires",
    "again": "and written once more",
    "third": "and a third time",
}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(14, 6), layout="constrained")
    panels = made.subplot_mosaic("abcd;efgg")
    pulses, errors, products, over, changes, left, ways = (panels[k] for k in "abcdefg")
    styles = {"wires": ("k-", "wires of 1 ohm"), "ideal": ("k:", "ideal wires")}
    for name, (style, label) in styles.items():
        of = result["write_verify"][name]
        share = 100 * np.array(of["pulses"]) / np.sum(of["pulses"])
        pulses.plot(np.arange(len(share)), share, style, label=label)
        levels = 100 * np.linspace(0, 1, len(of["error_S"]))
        errors.plot(1e6 * np.array(of["error_S"]), levels, style, label=label)
    pulses.set(xlabel="pulses of a cell", ylabel="cells [%]", title="Write-verify, 64 x 64 1T1R")
    pulses.legend(fontsize=8)
    errors.axvspan(-2, 2, color="0.92")
    errors.set(
        xlabel="error of conductance [µS]",
        ylabel="cells below [%]",
        title="What it leaves",
        xlim=(-6, 6),
    )
    marks = {
        "write_verify": ("ko-", "write-verify"),
        "gradient": ("ks--", "gradient descent on products"),
        "open_loop": ("^-", "one pulse, wires known"),
        "open_loop_blind": ("v--", "one pulse, wires ignored"),
    }
    for name, (mark, label) in marks.items():
        of = [x for x in result["methods"]["cases"] if x["method"] == name]
        more = {} if mark.startswith("k") else {"color": "0.5"}
        error = [100 * x["product_error"] for x in of]
        products.semilogy([x["r_ohm"] for x in of], error, mark, label=label, **more)
    products.set(
        xlabel="wire resistance [ohm per segment]",
        ylabel="error of products [%]",
        title="16 x 16, products with all rows on",
    )
    products.legend(fontsize=8, loc="upper right")
    products.set_ylim(0.2, 500)
    for name in ("write_verify", "gradient"):
        of = [x for x in result["effort"]["cases"] if x["method"] == name]
        mark, label = marks[name]
        x, y = [x["pulses"] for x in of], [100 * x["product_error"] for x in of]
        over.semilogy(x, y, mark, label=label)
    r = result["effort"]["r_ohm"]
    over.set(
        xlabel="pulses of a cell, mean", ylabel="error of products [%]", title=f"16 x 16, {r:g} ohm"
    )
    over.set_ylim(0.5, 120)
    over.legend(fontsize=8, loc="lower left")
    for scheme, mark in (("V/2", "ko-"), ("V/3", "ks--")):
        of = [x for x in result["disturb"]["cases"] if x["scheme"] == scheme]
        for r, fill, label in ((1, "k", scheme), (0, "w", f"{scheme}, 0 ohm")):
            cases = [x for x in of if x["r_ohm"] == r]
            x = [x["exponent"] for x in cases]
            rms, kept = ([x[name] for x in cases] for name in ("disturb_rms_S", "kept"))
            changes.semilogy(x, 1e6 * np.array(rms), mark, label=label, mfc=fill)
            left.plot(x, 100 * np.array(kept), mark, label=label, mfc=fill)
    changes.axhline(2, color="0.6", lw=0.8)
    changes.text(9.7, 2.2, "window", fontsize=8, color="0.4")
    n = result["disturb"]["rows"]
    title = f"Passive {n} x {n}, cell by cell"
    changes.set(xlabel="exponent of the rate", ylabel="rms disturb [µS]", title=title)
    left.set(xlabel="exponent of the rate", ylabel="cells in their windows [%]", ylim=(0, 105))
    left.set_title("after all pulses of the others")
    changes.legend(fontsize=8)
    left.legend(fontsize=8)
    bars(ways, result["compensation"]["arrays"])
    return made


def bars(axes: Axes, arrays: list[dict[str, Any]]) -> None:
    """Errors of products of every way to write compensated conductances: means and seeds."""
    shades = np.linspace(0.95, 0.2, len(WAYS))
    for k, way in enumerate(WAYS):
        for at, array in enumerate(arrays):
            each = [100 * x["product_error"] for x in array["cases"] if x["way"] == way]
            if not each:  # nothing to write again where pulses do not move other cells
                continue
            x = at + (k - (len(WAYS) - 1) / 2) * 0.14
            axes.bar(x, np.mean(each), 0.13, color=str(shades[k]), edgecolor="k")
            axes.plot([x] * len(each), each, "k_", ms=5)
    handles = [Patch(fc=str(c), ec="k", label=name) for c, name in zip(shades, WAYS.values())]
    axes.legend(handles=handles, fontsize=8)
    axes.set(ylabel="error of products [%]", title="Compensated, then written")
    axes.set_xticks(
        range(len(arrays)), [f"{x['array']}, {x['rows']} x {x['rows']}" for x in arrays]
    )
