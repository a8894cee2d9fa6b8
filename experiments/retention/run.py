"""Retention of conductances at 125 C, and refresh: of a network, and of an array with pulses.

    python -m experiments.retention.run [--only law,refresh,network,verify]

- `law`: how HfOx cells relax over time, from 0.01 to 1e4 s on chip B (up to 128 uS) and 1e5 s on
  chip C (up to 40 uS), at room temperature (github.com/akashlevy/RRAM-Relaxation-Master-Model, MIT
  licence). Two laws for the deviation of the change are fitted to cells of even address and tested
  on those of odd address: the root of ln(1 + t/t_0), as of cells that walk at random, and
  ln(1 + t/t_0), as of cells that each keep a pace. Changes after bakes of an hour at 100 and 140 C
  are compared with `presets.hfox_bake`.
- `refresh`: 32 x 32 transistors and VTEAM devices, targets of 10 to 90 uS, written by write-verify
  with a window of +-2 uS and read noise of 0.2 uS. The states age for 5e3 s at 125 C, and
  `xb.Refresh` writes the array anew, four times. Ageing restarts at each refresh, also for cells
  without pulses, which would move less: `xb.Refresh` keeps no time since a cell was written.
  `without_pulses` is one refresh of the same targets by the statistics of `network`. A verify of
  the array sees changes that are about a tenth smaller than those of the devices: the cells of a
  row, read at once, share their driver and wires.
- `network`: MNIST, 784-128-10, on differential pairs of 6 to 130 uS in tiles of 64 rows with wires
  of 1 ohm per segment, without converters. Its cells age for 1e7 s at 125 C: without refresh; with
  a refresh every 5e3 s that writes cells outside of +-2 uS; and with one that writes every cell.
  Writing leaves the errors of `refresh`, drawn at random, and takes no time. Accuracies are those
  at the end of an interval, on the 10,000 test images, of five networks on a die each. `rewritten`
  is the mean share of cells in the refreshes since the time before. `cost` is that of a cell until
  1e7 s, if each writing takes the mean pulses and energy of `refresh`.
- `verify`: write-verify of 32 x 32 cells, targets of 6 to 38 uS, window of +-1 uS. What it leaves,
  also after the relaxation of chip C, is compared with the error that Wan et al. published
  (`presets.rram_programming_wan`). The devices are no model of theirs: numbers of pulses belong to
  these devices and staircases alone.

Retention at 125 C is `presets.hfox_bake`, interpolated in 1/T between the bakes at 110 and 130 C:
between two measured temperatures, without an activation energy. Its files do not say how long a
bake was. It counts as an hour here, as in the bakes on chip B, whose deviations are alike (`law`;
their mean changes are larger). Were it ten hours, all deviations would be 7 % smaller.
Over time, the mean change goes as ln(1 + t/t_0) and its variance too, with the onset t_0 of chip B.
This law was measured at room temperature; at 125 C it is an assumption, and beyond an hour an
extrapolation. A cell that is written anew walks anew. That refresh selects cells which move little
follows from this; Wan et al. (Nature 608, 504, 2022, doi:10.1038/s41586-022-04992-8, Extended Data
Fig. 3e) measured that iterative programming lowers the deviation. The model has no tails beyond the
normal distribution, no read noise in use, no wear by pulses, and no failure of whole filaments,
which the bakes at 220 C and above show on another chip.

Xiang et al. (IEEE Trans. Electron Devices 66, 4517, 2019, doi:10.1109/TED.2019.2931135) found that
an 11-layer network on CIFAR-10 loses 16.3 % at 125 C within 1e4 s, and nothing within 1e7 s with a
better cell and a refresh every 5e3 s. Their devices and network are others: the trend is compared.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console

from ..common import keep
from .arrays import refresh, verify
from .law import LAWS, law
from .network import network

HERE = Path(__file__).parent
PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "law": law,
    "refresh": refresh,
    "network": network,
    "verify": verify,
}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(11, 6.4), layout="constrained")
    (over, baked, left), (accuracy, again, spread) = made.subplots(2, 3)
    for name, k, mark, color in (("B", 1, "o", "k"), ("C", 2, "s", "0.5")):
        of = result["law"][name]
        t, fine = np.array(of["times_s"]), np.geomspace(5e-3, 2e5, 100)
        label = f"chip {name}, {1e6 * of['g_S'][k]:.0f} µS"
        over.plot(t, 1e6 * np.array(of["deviation_S"])[:, k], mark, color=color, label=label)
        for kind, style in (("walk", "-"), ("pace", ":")):
            fit = of["laws"][kind]
            y = fit["factor_S"][k] * LAWS[kind](fine / fit["onset_s"])
            over.plot(fine, 1e6 * y, style, color=color, lw=1)
    over.plot([], [], "k-", lw=1, label="root of the logarithm")
    over.plot([], [], "k:", lw=1, label="logarithm")
    over.set(xscale="log", ylim=(0, None), title="Relaxation at room temperature")
    over.set(xlabel="time after writing [s]", ylabel="deviation of the change [µS]")
    over.legend(fontsize=7)

    of = result["law"]["bakes"]
    g = 1e6 * np.array(of["g_S"])
    for at, mark in (("100", "ko"), ("140", "k^")):
        baked.plot(g, 1e6 * np.array(of["measured_S"][at]), mark, label=f"chip B, {at} °C, 1 h")
    baked.plot(g, 1e6 * np.array(of["preset_S"]["125"]), "k-", label="here: 125 °C")
    for at, style in (("110", ":"), ("130", "--")):
        y = 1e6 * np.array(of["preset_S"][at])
        baked.plot(g, y, style, color="0.5", label=f"preset, {at} °C")
    baked.set(xlabel="conductance before [µS]", ylabel="deviation of the change [µS]")
    baked.set(ylim=(0, None), title="Bakes")
    baked.legend(fontsize=7)

    of = result["refresh"]
    levels = 100 * np.linspace(0, 1, len(of["error_S"]["written"]))
    shown = {"written": "k-", "aged": "k:", "refreshed": "k--"}
    names = {"written": "written", "aged": "5e3 s later", "refreshed": "after 4 refreshes"}
    for name, style in shown.items():
        left.plot(1e6 * np.array(of["error_S"][name]), levels, style, label=names[name])
    left.axvspan(-2, 2, color="0.92")
    left.set(xlabel="error of conductance [µS]", ylabel="cells below [%]", xlim=(-25, 25))
    left.set_title(f"{of['rows']} x {of['rows']} cells, refreshed by pulses")
    left.legend(fontsize=7)

    of = result["network"]
    ways = {
        "none": ("ko:", "no refresh"),
        "every": ("^-", "every cell written anew"),
        "verified": ("ks-", "cells outside the window"),
    }
    for name, (style, label) in ways.items():
        t, y = np.array(of[name]["times_s"]), of[name]["accuracy"]
        bars = dict(yerr=100 * np.array(y["deviation"]), capsize=2, lw=1, ms=4, mfc="w")
        more = {"color": "0.6"} if name == "every" else {}
        loss = 100 * (1 - np.array(y["mean"]))
        accuracy.errorbar(t, loss, fmt=style, label=label, **bars, **more)
    accuracy.axhline(100 * (1 - of["written"]["mean"]), color="0.7", lw=0.8, label="just written")
    accuracy.set(xscale="log", ylim=(0, 8), xlabel="time at 125 °C [s]")
    accuracy.set(ylabel="test error [%]", title="MNIST, refresh every 5e3 s")
    accuracy.legend(fontsize=7)

    t, of = np.array(of["verified"]["times_s"]), of["verified"]
    again.plot(t, 100 * np.array(of["rewritten"]["mean"]), "ks-", mfc="w", ms=4)
    again.set(xscale="log", ylim=(0, None), xlabel="time at 125 °C [s]")
    again.set(ylabel="cells written in a refresh [%]", title="What refresh takes")
    twin = again.twinx()
    twin.plot(t, 1e6 * np.array(of["error_rms_S"]["mean"]), "o:", color="0.5", ms=4)
    twin.set(ylim=(0, None))
    twin.set_ylabel("rms error before it [µS] (dotted)", color="0.4")

    of = result["verify"]
    edges = 1e6 * np.array(of["edges_S"])
    middle = (edges[1:] + edges[:-1]) / 2
    mine = of["by_step_V"]["0.03"]["deviation_S"]
    stages = {"verified": ("o", "verified"), "1 s": ("s", "1 s later"), "1 day": ("^", "1 day")}
    for name, (mark, label) in stages.items():
        spread.plot(middle, 1e6 * np.array(mine[name]), f"k{mark}-", mfc="w", label=label)
        if name in of["published_S"]:
            y = 1e6 * np.array(of["published_S"][name])
            label = f"{label}, Wan et al."
            spread.plot(middle, y, f"{mark}--", color="0.5", label=label)
    spread.set(xlabel="target [µS]", ylabel="rms error [µS]", ylim=(0, 6.5))
    spread.set_title("Write-verify, window of ±1 µS")
    spread.legend(fontsize=7, ncols=2)
    return made


def main(
    only: Annotated[str, typer.Option(help="Parts to run, by commas; the others stay.")] = "",
) -> None:
    """Writes result.json and the figure."""
    began, console = time.perf_counter(), Console()
    stored = HERE / "result.json"
    result = json.loads(stored.read_text()) if only and stored.exists() else {}
    unknown = set(only.split(",")) - set(PARTS) if only else set()
    if unknown:
        raise SystemExit(f"only names {sorted(unknown)}; the parts are {', '.join(PARTS)}.")
    for name in only.split(",") if only else PARTS:
        at = time.perf_counter()
        if name == "network":  # in float32, as in use
            if "refresh" not in result:
                raise SystemExit("network needs the errors of refresh: run refresh as well.")
            result[name] = network(result["refresh"])
        else:
            with jax.enable_x64(True):
                result[name] = PARTS[name]()
        result[name]["seconds_part"] = time.perf_counter() - at
        console.print(f"{name}: {result[name]['seconds_part']:.0f} s")
    result = json.loads(json.dumps(result, default=lambda x: np.asarray(x).tolist()))
    for name in ("machine", "seconds"):
        result.pop(name, None)
    if set(PARTS) <= set(result):
        console.print(keep(HERE, result, figure(result), began))
    else:
        raise SystemExit(f"missing parts: {sorted(set(PARTS) - set(result))}; run without --only.")


if __name__ == "__main__":
    typer.run(main)
