"""The twin of a chip: cells and wires of an array from reads at its terminals, where the chip has
parasitics that the model lacks, and what the twin is good for.

    python -m experiments.twin.run [--only accuracy,sizes,table,product,coverage,nonlinear,chosen]

The chips are a nodal solve of their own (chip.py). Cells have 1 to 100 uS. Every wire segment has a
spread of 10 %, and the contact of every driver 5 to 15 ohm; the model has one resistance for all
segments of a family. Reads are Hadamard inputs of 0.2 V with random signs, on rows and then on
columns, with all ends but the driven at 0 V; a set is one read per row and one per column. Currents
are sensed at the drivers and at the ammeters. Noise is relative to the largest current of each kind
of reading, which is also the full scale of the converters. The first guess has cells of 50 uS and
wires 30 % above the truth.

The model of the contacts is one of

- `one`: one resistance for all, found from a first guess 30 % off;
- `each`: one per line, known before to be 10 ohm with a deviation of 3 ohm.

Parts:

- `accuracy`: 32 x 32 cells of one chip, over the sets of reads, at 0.1 % and 12 bits; also of one
  without the parasitics (`plain`). Sets that are not read are NaN: all share one compiled search.
- `sizes`: 64 x 64 and 128 x 128 cells in one set, by `one`; also 64 x 64 with 10 parameters of the
  wires, where four bands of columns and five of rows have wires of their own.
- `table`: 16 x 16 cells, two sets, over noise and bits, by `each`.
- `product`: 32 x 16 weights on pairs of columns in one array of 32 x 32: errors of products with
  held-out inputs on the chip, read without noise. The chip is identified at other conductances, in
  two sets at 0.1 % and 12 bits; then it is programmed, without error, to conductances that are
  compensated for the wires that each way assumes. `truth` knows the means of all wires; `segments`
  knows every segment and contact, a check of the nodal solve.
- `coverage`: the share of true values within one deviation of the twin's, on 8 x 8 cells in two
  sets; the wire resistance is 1 to 2 ohm. On `plain` chips without the parasitics the one contact
  resistance is drawn from the normal distribution that is known before, 10 and 3 ohm, and the model
  is complete.
- `nonlinear`: 8 x 8 cells of `I = (g / b) sinh(b v)`, b = 3 /V, read at 0.1, 0.3 and 0.5 V: b for
  the array and g of each, and wires and contacts (`each`), found together. `ohmic` is the twin of
  the same reads with ohmic cells.
- `chosen`: 12 x 12 cells without the parasitics, known before to 30 uS, wires to 0.5 ohm; two reads
  at random, then more on rows: chosen by `next_reads`, Hadamard inputs without random signs, one
  row at a time, random signs, and random voltages up to 0.2 V. Noise is 20 nA in all of them.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import hadamard

import xbarjax as xb

from ..parts import SAY, main
from .chip import V_READ, inputs, made, reads
from .figure import figure
from .sizes import case as size_case
from .twins import (
    CONTACT_STD,
    OFF,
    R_COL,
    R_CONTACT,
    R_ROW,
    found,
    guess,
    mean_of,
    measured,
    ohmic,
    twin_of,
    unknowns,
)

HERE = Path(__file__).parent
NOISE, BITS = 1e-3, 12
SETS = (1, 2, 4, 8)
NOISES, CONVERTERS = (1e-4, 1e-3, 1e-2), (8, 10, 12)
COUNTS, MOST, SMALL = (12, 15, 18, 24, 36, 48), 48, 2e-8  # reads; [A]
VOLTS, B = (0.1, 0.3, 0.5), 3.0  # [V], [1/V]


def accuracy(n: int = 32) -> dict[str, Any]:
    cases = []
    for name, contacts, parts in (
        ("plain", "one", {"spread": 0.0, "contact": 0.0}),
        ("one", "one", {}),
        ("each", "each", {}),
    ):
        rng = np.random.default_rng(1)
        chip = made(rng, (n, n), R_ROW, R_COL, R_CONTACT, **parts)
        all_reads = reads(rng, chip, *inputs(rng, (n, n), SETS[-1]), NOISE, BITS)
        for sets in SETS:
            count = sets * 2 * n
            began = time.perf_counter()
            of = found(chip, twin_of(chip, measured(all_reads, count), contacts))
            seconds = {"seconds": time.perf_counter() - began}
            cases.append({"chip": name, "sets": sets, "reads": count} | of | seconds)
            SAY(cases[-1])
    return {"rows": n, "noise": NOISE, "bits": BITS, "cases": cases}


def sizes() -> dict[str, Any]:
    cases = []
    for n, banded in ((64, False), (64, True), (128, False)):
        cases.append(size_case(n, banded, NOISE, BITS))
        SAY(cases[-1])
    return {"noise": NOISE, "bits": BITS, "cases": cases}


def table(n: int = 16, chips: int = 4) -> dict[str, Any]:
    cases = []
    for noise in NOISES:
        for bits in CONVERTERS:
            rows = []
            for seed in range(chips):
                rng = np.random.default_rng([2, seed])
                chip = made(rng, (n, n), R_ROW, R_COL, R_CONTACT)
                of = measured(reads(rng, chip, *inputs(rng, (n, n), 2), noise, bits))
                rows.append(found(chip, twin_of(chip, of, "each")))
            cases.append({"noise": noise, "bits": bits} | mean_of(rows))
    return {"rows": n, "sets": 2, "cases": cases}


class Build(eqx.Module):
    """An array with given wires."""

    wires: xb.Wires
    drive: xb.Drive

    def __call__(self, g: jax.Array) -> xb.Crossbar:
        return xb.Crossbar(xb.Ohmic(g), self.wires, self.drive)


def full(r: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of one shape, so that every way shares one compiled solve."""
    return np.broadcast_to(np.asarray(r, float), shape)


def built(r_row: Any, r_col: Any, r_contact: Any, n: int) -> Build:
    wires = xb.Wires(full(r_row, (n, n)), full(r_col, (n, n)))
    return Build(wires, xb.Drive(full(r_contact, (n,))))


def product(rows: int = 32, cols: int = 16, chips: int = 3, count: int = 500) -> dict[str, Any]:
    mapping = xb.InterleavedPair(1e-6, 1e-4)
    errors: dict[str, list[float]] = {}
    twins: dict[str, list[Any]] = {"one": [], "each": []}
    for seed in range(chips):
        rng = np.random.default_rng([3, seed])
        n = 2 * cols
        chip = made(rng, (rows, n), R_ROW, R_COL, R_CONTACT)
        all_reads = reads(rng, chip, *inputs(rng, (rows, n), SETS[-1]), NOISE, BITS)
        of = measured(all_reads, 2 * 2 * n)  # compiled once with those of `accuracy`
        w = rng.standard_normal((rows, cols))
        learning, held = (rng.uniform(-0.2, 0.2, (count, rows)) for _ in range(2))
        k = float(mapping.siemens_per_weight(jnp.asarray(w)))
        none = np.zeros((count, n))

        def products(g, gain, x, noise: float = 0.0, chip=chip, k=k, none=none, rng=rng):
            holding = chip.holding(np.asarray(g)[0])
            i = reads(rng, holding, x, none, noise, BITS).i_out if noise else None
            i = holding.currents(x, none)[1] if i is None else i
            return np.asarray(mapping.combine(jnp.asarray(i)[None])) / np.asarray(gain) / k

        def error(y, x=held, w=w) -> float:
            return float(np.linalg.norm(y - x @ w) / np.linalg.norm(x @ w))

        plain = mapping.program(jnp.asarray(w), k)
        seen = products(plain, 1.0, learning, NOISE)
        calibration = xb.calibrate(jnp.asarray(seen), jnp.asarray(learning @ w))
        y = products(plain, 1.0, held)
        got = {"plain": error(y), "calibrated": error(np.asarray(calibration(jnp.asarray(y))))}
        ways = {
            "wrong": built(OFF * R_ROW, OFF * R_COL, OFF * R_CONTACT, rows),
            "truth": built(chip.r_row.mean(), chip.r_col.mean(), chip.r_contact.mean(), rows),
            "segments": built(chip.r_row, chip.r_col, chip.r_contact, rows),
        }
        for contacts, those in twins.items():
            twin = twin_of(chip, of, contacts)
            those.append(found(chip, twin))
            ways[f"twin_{contacts}"] = Build(twin.crossbar.wires, twin.crossbar.drive)
        for name, build in ways.items():
            done = xb.compensate(w, mapping, build, method=xb.FixedPoint(rtol=1e-6))
            assert done.reached, done.summary()
            got[name] = error(products(done.g, done.gain, held))
        for name, x in got.items():
            errors.setdefault(name, []).append(x)
    mean = {name: float(np.mean(x)) for name, x in errors.items()}
    return {
        "weights": (rows, cols),
        "inputs": count,
        "error": mean,
        "error_of_chips": errors,
        "twin_over_truth": {x: mean[f"twin_{x}"] / mean["truth"] for x in twins},
        "twins": {name: mean_of(x) for name, x in twins.items()},
    }


def coverage(n: int = 8, chips: int = 200) -> dict[str, Any]:
    cases = []
    for name, contacts, noise in (
        ("plain", "prior", 1e-3),
        ("parasitics", "prior", 1e-3),
        ("parasitics", "each", 1e-3),
        ("parasitics", "prior", 1e-4),
        ("parasitics", "each", 1e-4),
    ):
        inside: dict[str, list[float]] = {x: [] for x in ("cells", "r_row", "r_col", "r_contact")}
        chi2, refuted, converged, stds = [], [], [], []
        for seed in range(chips):
            rng = np.random.default_rng([4, seed])
            r_row, r_col = rng.uniform(1, 2, 2)
            plain = {"spread": 0.0, "contact": 0.0} if name == "plain" else {}
            r = max(1.0, R_CONTACT + CONTACT_STD * rng.standard_normal())
            chip = made(rng, (n, n), r_row, r_col, r if plain else R_CONTACT, **plain)
            of = measured(reads(rng, chip, *inputs(rng, (n, n), 2), noise, 16))
            twin = twin_of(chip, of, contacts, 1.5 / OFF, 1.5 / OFF)
            mine: Any = twin.crossbar
            std: Any = twin.std
            one = lambda x: np.asarray(x).mean()
            contact = (mine.drive.r_source, std.drive.r_source, chip.r_contact)
            if contacts == "prior":
                contact = tuple(map(one, contact))
            for which, x, s, true in (
                ("cells", mine.cell.g, std.cell.g, chip.g),
                ("r_row", one(mine.wires.r_row), one(std.wires.r_row), chip.r_row.mean()),
                ("r_col", one(mine.wires.r_col), one(std.wires.r_col), chip.r_col.mean()),
                ("r_contact", *contact),
            ):
                inside[which].append(float(np.mean(np.abs(np.asarray(x) - true) <= s)))
            chi2.append(float(twin.chi2))
            refuted.append(bool(twin.refuted))
            converged.append(bool(twin.converged))
            wires = one(std.wires.r_row), one(std.wires.r_col), one(std.drive.r_source)
            stds.append([np.median(np.asarray(std.cell.g) / chip.g), *wires])
        median = np.median(stds, axis=0)
        cases.append(
            {
                "chip": name,
                "contacts": contacts,
                "noise": noise,
                "bits": 16,
                "within_1_std": {k: float(np.mean(x)) for k, x in inside.items()},
                "chi2": float(np.mean(chi2)),
                "refuted": float(np.mean(refuted)),
                "converged": float(np.mean(converged)),
                "std_of_cells_relative": median[0],
                "std_ohm": dict(zip(("r_row", "r_col", "r_contact"), median[1:])),
            }
        )
    return {"rows": n, "chips": chips, "sets": 2, "cases": cases}


def nonlinear(n: int = 8, chips: int = 8) -> dict[str, Any]:
    rows, refuted = [], []
    for seed in range(chips):
        rng = np.random.default_rng([5, seed])
        chip = made(rng, (n, n), R_ROW, R_COL, R_CONTACT, b=B)
        of = measured(reads(rng, chip, *inputs(rng, (n, n), 1, VOLTS), NOISE, BITS))
        cell = xb.Sinh(np.full((n, n), 5e-5), B / 2)
        free = [*unknowns("each"), xb.Unknown(lambda c: c.cell.b, per="array")]
        twin = xb.identify(of, guess(cell, R_ROW, R_COL, "each"), free)
        sinh: Any = twin.crossbar.cell
        std: Any = twin.std.cell
        b, b_std = float(np.mean(sinh.b)), float(np.mean(std.b))
        rows.append(found(chip, twin) | {"b_per_V": b, "b_std_per_V": b_std})
        other = twin_of(chip, of, "each")
        refuted.append(found(chip, other))
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))
    return {
        "rows": n,
        "volts": VOLTS,
        "reads": 2 * n * len(VOLTS),
        "b_per_V": B,
        "b_error": rms([row["b_per_V"] / B - 1 for row in rows]),
        "sinh": mean_of(rows),
        "ohmic": mean_of(refuted),
    }


def cells_of(crossbar: Any) -> Any:
    return 1e6 * crossbar.cell.g


def chosen(n: int = 12, chips: int = 8) -> dict[str, Any]:
    free = [
        xb.Unknown(lambda c: c.cell.g, sigma=3e-5),
        xb.Unknown(lambda c: c.wires.r_row, per="array", sigma=0.5),
        xb.Unknown(lambda c: c.wires.r_col, per="array", sigma=0.5),
    ]
    start = xb.Crossbar(ohmic((n, n)), xb.Wires(OFF * R_ROW, OFF * R_COL), xb.Drive(R_CONTACT))
    sign = lambda rng, k: V_READ * rng.choice([-1.0, 1.0], (k, n))
    uniform = lambda rng, k: rng.uniform(-V_READ, V_READ, (k, n))
    repeated = lambda v, k: np.resize(V_READ * v, (k, n))
    errors: dict[str, dict[int, list[float]]] = {}
    for seed in range(chips):
        rng = np.random.default_rng([7, seed])
        chip = made(rng, (n, n), R_ROW, R_COL, R_CONTACT, spread=0.0, contact=0.0)
        first = uniform(rng, 2)

        def twin(more: np.ndarray, chip=chip, rng=rng, first=first) -> xb.Twin:
            """From the first reads and more; those not taken are NaN, for one compiled search."""
            v = np.zeros((2 + MOST, n))
            v[: 2 + len(more)] = np.concatenate([first, more])
            taken = np.arange(len(v))[:, None] < 2 + len(more)
            exact = chip.currents(v, np.zeros((len(v), n)))
            noisy = [i + SMALL * rng.standard_normal(i.shape) for i in exact]
            sensed = {k: np.where(taken, i, np.nan) for k, i in zip(("i_in", "i_out"), noisy)}
            return xb.identify(xb.Measured(v, sensed, SMALL), start, free)

        plan = xb.next_reads(twin(first[:0]), n, V_READ, wanted=cells_of)
        ways = {
            "chosen": {n: np.asarray(plan.v_row)},
            "hadamard": {16: repeated(hadamard(16)[:, :n], 16)},
            "one_row": {k: repeated(np.eye(n), k) for k in (n, 2 * n, MOST)},
            "signs": {k: sign(rng, k) for k in COUNTS},
            "uniform": {k: uniform(rng, k) for k in COUNTS},
        }
        for way, every in ways.items():
            for count, v in every.items():
                cell: Any = twin(v).crossbar.cell
                error = float(np.sqrt(np.mean((np.asarray(cell.g) - chip.g) ** 2)))
                errors.setdefault(way, {}).setdefault(count, []).append(error)
    cases = [
        {"way": way, "reads": count, "rms_S": float(np.sqrt(np.mean(np.square(e)))), "chips_S": e}
        for way, every in errors.items()
        for count, e in every.items()
    ]
    for case in cases:
        SAY({k: v for k, v in case.items() if k != "chips_S"})
    return {"rows": n, "noise_A": SMALL, "cases": cases}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "accuracy": accuracy,
    "sizes": sizes,
    "table": table,
    "product": product,
    "coverage": coverage,
    "nonlinear": nonlinear,
    "chosen": chosen,
}


if __name__ == "__main__":
    main(HERE, PARTS, figure)
