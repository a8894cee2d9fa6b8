"""Identification of arrays whose reads come from independent nodal solves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

import xbarjax as xb
from reference import newton, nodal
from xbarjax.identification import words

N = 8
RNG = np.random.default_rng(4)
G = RNG.uniform(2e-6, 1e-4, (N, N))
R = {"row": 1.4, "col": 1.8, "source": 40.0, "in": 25.0}
V = 0.2 * hadamard(N)
NOISE = 2e-8  # [A]
FREE = [
    xb.Unknown(lambda c: c.cell.g),
    xb.Unknown(lambda c: c.wires.r_row, per="array", sigma=0.5),
    xb.Unknown(lambda c: c.wires.r_col, per="array", sigma=0.5),
]


def guess(n: int = N, /, **known: Any) -> xb.Crossbar:
    r = {"row": 1.0, "col": 1.0, "source": 40.0, "in": 25.0} | known
    cell = xb.Ohmic(jnp.full((n, n), 5e-5))
    drive, readout = xb.Drive(r["source"]), xb.VirtualGround(r["in"])
    return xb.Crossbar(cell, xb.Wires(r["row"], r["col"]), drive, readout)


def chip(g: Any, v_row: Any, v_col: Any, spread: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Currents [A] into the word lines and out of the bit lines, by a nodal solve."""
    rows, cols = g.shape
    rng = np.random.default_rng(seed)
    vary = lambda *shape: rng.lognormal(0.0, spread, shape)
    r_row = np.hstack([R["row"] * vary(rows, cols), np.full((rows, 1), np.inf)])
    r_col = np.vstack([np.full((1, cols), np.inf), R["col"] * vary(rows, cols)])
    r_row[:, 0] += R["source"]
    r_col[-1] += R["in"]
    found = [nodal.solve(g, r_row, r_col, v, v, w, w).i_cell for v, w in zip(v_row, v_col)]
    return np.sum(found, axis=2), np.sum(found, axis=1)


def reads(
    g: Any = G, noise: float = NOISE, seed: int = 1, spread: float = 0.0, **more: Any
) -> xb.Measured:
    """Each side driven in turn, and both sensed."""
    n = len(g)
    v = 0.2 * hadamard(n)
    v_row, v_col = np.concatenate([v, 0 * v]), np.concatenate([0 * v, v])
    i_in, i_out = chip(g, v_row, v_col, spread, seed)
    rng = np.random.default_rng(seed)
    noisy = lambda x: x + noise * rng.standard_normal(x.shape)
    sensed = {"i_out": noisy(i_out), "i_in": noisy(i_in)}
    return xb.Measured(v_row, sensed, noise, v_col=v_col, **more)


@pytest.fixture(scope="module")
def twin() -> xb.Twin:
    return xb.identify(reads(), guess(), FREE)


def test_cells_and_wires_are_those_of_the_chip_within_their_deviations(twin: xb.Twin) -> None:
    assert twin.converged and not twin.refuted and not twin.advice
    off = np.abs(np.asarray(twin.crossbar.cell.g) - G)
    std = np.asarray(twin.std.cell.g)
    assert off.max() < 5 * std.max() < 2e-6
    assert 0.5 < np.mean(off < std) < 0.85
    for name in ("r_row", "r_col"):
        found = np.asarray(getattr(twin.crossbar.wires, name))
        deviation = np.asarray(getattr(twin.std.wires, name))
        np.testing.assert_array_equal(found, found[0, 0])
        assert abs(found[0, 0] - R[name[2:]]) < 3 * deviation[0, 0] < 0.9
    assert float(twin.chi2) == pytest.approx(1, abs=0.5)
    np.testing.assert_array_equal(twin.std.drive.r_source, 0)


def test_without_noise_the_chip_is_found_to_a_millionth() -> None:
    free = [xb.Unknown(f.of, f.per) for f in FREE]
    quiet = reads(noise=1e-13)
    model = guess(**{k: R[k] for k in ("row", "col")})
    silent = xb.Measured.of(model, V, 0.0, jax.random.key(0))
    assert silent.sigma is None
    np.testing.assert_allclose(silent.sensed["i_out"][2], xb.read(model, V[2]).i_out, rtol=1e-10)
    twin = xb.identify(quiet, guess(), free, atol=1e-6)
    np.testing.assert_allclose(twin.crossbar.cell.g, G, rtol=1e-6)
    np.testing.assert_allclose(twin.crossbar.wires.r_row, R["row"], rtol=1e-5)
    np.testing.assert_allclose(twin.crossbar.wires.r_col, R["col"], rtol=1e-5)


def test_deviations_are_the_spread_over_repeated_reads(twin: xb.Twin) -> None:
    """Of a cell, of a wire, and of a product with the twin."""
    product = lambda c: jnp.full((N,), 0.2) @ xb.transfer(c)
    every = [xb.identify(reads(seed=k), guess(), FREE) for k in range(40)]
    cells = np.std([t.crossbar.cell.g for t in every], axis=0)
    ratio = cells / np.asarray(twin.std.cell.g)
    assert 0.85 < np.sqrt(np.mean(ratio**2)) < 1.15
    told = np.asarray(twin.std_of(product))
    seen = np.std([product(t.crossbar) for t in every], axis=0)
    assert 0.75 < np.sqrt(np.mean((seen / told) ** 2)) < 1.25
    drawn = twin.sample(jax.random.key(0), 400)
    np.testing.assert_allclose(np.std(drawn.cell.g, axis=0), twin.std.cell.g, rtol=0.2)


def test_many_parameters_are_found_by_products_with_the_jacobian_as_by_the_jacobian(
    twin: xb.Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("identify", "uncertainty"):
        monkeypatch.setattr(f"xbarjax.identification.{module}.EXACT", 10)
    jax.clear_caches()
    by_products = xb.identify(reads(), guess(), FREE, samples=400)
    jax.clear_caches()
    assert by_products.converged
    off = np.abs(np.asarray(by_products.crossbar.cell.g - twin.crossbar.cell.g))
    assert np.all(off < 0.05 * np.asarray(twin.std.cell.g))
    ratio = np.asarray(by_products.std.cell.g / twin.std.cell.g)
    assert np.abs(np.log(ratio)).max() < 0.2  # sampled: 3.5 % is one deviation
    assert by_products.singular_values.min() > 0.1
    assert "Not all deviations" not in by_products.advice
    assert "Not all deviations" in words.advice(by_products, False)


def test_two_resistances_in_series_are_told_only_as_their_sum() -> None:
    """Source and lead-in, of wires that are ideal otherwise, change nothing but their sum."""
    crossbar = guess(row=1.0, source=40.0)
    lead = jnp.zeros((N, N)).at[:, 0].set(10.0).at[:, 1:].set(1e-3)
    crossbar = xb.Crossbar(crossbar.cell, xb.Wires(lead, 1.8), crossbar.drive, crossbar.readout)
    free = [
        FREE[0],
        xb.Unknown(lambda c: c.wires.r_row, per="array"),
        xb.Unknown(lambda c: c.drive.r_source, per="array"),
    ]
    measured = xb.Measured.of(
        crossbar, np.concatenate([V, 0 * V]), NOISE, jax.random.key(2),
        sense=("i_out", "i_in"), v_col=np.concatenate([0 * V, V]),
    )  # fmt: skip
    twin = xb.identify(measured, crossbar, free)
    alone = np.asarray(twin.std.drive.r_source)[0]
    total = lambda c: c.drive.r_source[0] + c.wires.r_row[0, 0]
    assert float(twin.std_of(total)) < 1.0 < 10 * 1.0 < alone
    assert "the reads tell their combination" in twin.advice or "No read shows" in twin.advice
    assert "r_source" in twin.advice and "r_row" in twin.advice


def test_a_direction_that_no_read_shows_is_named_and_has_no_deviation() -> None:
    """Reads with the last word line at 0 V and no current of it sensed do not show its cells."""
    v_row = V.copy()
    v_row[:, -1] = 0
    _, i_out = chip(G, v_row, 0 * V)
    ideal = guess(row=1e-9, col=1e-9, source=1e-9, **{"in": 1e-9})
    twin = xb.identify(xb.Measured(v_row, {"i_out": i_out}, NOISE), ideal, FREE[0])
    std = np.asarray(twin.std.cell.g)
    assert np.isinf(std[-1]).all() and np.isfinite(std[:-1]).all()
    assert "known to" not in twin.advice
    assert f"({N - 1}, " in twin.advice and "No read shows cell.g" in twin.advice


def test_a_chip_unlike_the_model_refutes_it_and_the_line_is_named() -> None:
    broken = G.copy()
    measured = reads(broken)
    i_out = np.array(measured.sensed["i_out"])
    i_out[:, 3] *= 1.02  # the amplifier of one column
    sensed = dict(measured.sensed, i_out=i_out)
    measured = xb.Measured(measured.v_row, sensed, NOISE, v_col=measured.v_col)
    twin = xb.identify(measured, guess(), FREE)
    assert twin.refuted and float(twin.chi2) > 2
    assert "refute" in twin.advice


def test_single_bad_reads_do_not_move_the_twin_and_are_counted(twin: xb.Twin) -> None:
    measured = reads()
    i_out = np.array(measured.sensed["i_out"])
    i_out[3, 2] += 1e-5
    i_out[9, 5] -= 3e-6
    i_out[2, 4] = np.nan
    sensed = dict(measured.sensed, i_out=i_out)
    measured = xb.Measured(measured.v_row, sensed, NOISE, v_col=measured.v_col)
    assert measured.missing == 1 and measured.count == 4 * N * N - 1
    robust = xb.identify(measured, guess(), FREE)
    off = np.abs(np.asarray(robust.crossbar.cell.g - twin.crossbar.cell.g))
    assert off.max() < 4 * np.asarray(twin.std.cell.g).max()
    assert robust.outliers == 2 and robust.missing == 1 and not robust.refuted
    assert "2 readings" in robust.advice and "1 readings are NaN" in robust.advice
    moved = xb.identify(measured, guess(), FREE, robust=float("inf"))
    worst = np.abs(np.asarray(moved.crossbar.cell.g - twin.crossbar.cell.g)).max()
    assert worst > 4 * off.max()


def test_a_number_that_fell_to_its_bound_climbs_back() -> None:
    """As fast as it fell: a step is in units of the first guess."""
    from xbarjax.identification.unknown import parameters_of

    _, (cells,) = parameters_of((FREE[0],), guess(), jnp.float64)
    fallen = cells.moved(jnp.full((N, N), -1e6))
    (low,) = fallen.values(fallen.start)
    assert 0 < np.max(low) < 1e-9
    (back,) = fallen.values(fallen.start + 1.0)
    assert np.all(np.abs(np.asarray(back) - 5e-5) < 1e-8)


def test_resistances_per_zone_are_found() -> None:
    """Segments of the right half of a chip have twice the resistance of those of the left."""
    zone = np.repeat([0, 1], N // 2)
    zones = np.broadcast_to(zone, (N, N))
    r = np.array([1.0, 2.0])
    r_row = np.hstack([r[zones], np.full((N, 1), np.inf)])
    r_row[:, 0] += R["source"]
    r_col = np.vstack([np.full((1, N), np.inf), np.full((N, N), R["col"])])
    r_col[-1] += R["in"]
    v_row, v_col = np.concatenate([V, 0 * V]), np.concatenate([0 * V, V])
    cells = [nodal.solve(G, r_row, r_col, v, v, w, w).i_cell for v, w in zip(v_row, v_col)]
    sensed = {"i_in": np.sum(cells, axis=2), "i_out": np.sum(cells, axis=1)}
    noise = 1e-9
    rng = np.random.default_rng(8)
    sensed = {k: x + noise * rng.standard_normal(x.shape) for k, x in sensed.items()}
    free = [FREE[0], xb.Unknown(lambda c: c.wires.r_row, per=zones), FREE[2]]
    measured = xb.Measured(v_row, sensed, noise, v_col=v_col)
    twin = xb.identify(measured, guess(), free)
    found, std = twin.crossbar.wires.r_row, twin.std.wires.r_row
    assert np.all(np.abs(found - r[zones]) < 3 * np.asarray(std))
    assert np.all(std < 0.05)
    with pytest.raises(ValueError, match="per has no entry 1"):
        xb.Unknown(lambda c: c.wires.r_row, per=2 * zones)
    with pytest.raises(ValueError, match="per has shape"):
        xb.identify(measured, guess(), xb.Unknown(lambda c: c.wires.r_row, per=zone))


def test_dead_cells_come_out_dead() -> None:
    dead = G.copy()
    dead[1, 2] = dead[6, 6] = 0
    twin = xb.identify(reads(dead), guess(), FREE)
    found = np.asarray(twin.crossbar.cell.g)
    assert twin.converged
    assert found[1, 2] < 5e-7 and found[6, 6] < 5e-7
    assert np.abs(found - dead).max() < 2e-6


def test_resistances_per_line_and_an_offset_are_found() -> None:
    """Of one read set with open far ends and of another driven from both ends."""
    far = xb.Drive(40.0, 30.0)
    r = jnp.asarray(RNG.uniform(20, 60, N))
    true = xb.Crossbar(
        xb.Ohmic(jnp.asarray(G)), xb.Wires(1.5, 1.5), xb.Drive(r, 30.0), xb.VirtualGround(25.0)
    )
    v_row, v_col = np.concatenate([V, 0 * V]), np.concatenate([0 * V, V])
    of = lambda key, **more: xb.Measured.of(
        true, v_row, NOISE, jax.random.key(key), v_col=v_col, **more
    )
    sets = [
        of(1, sense=("i_out", "i_in_near"), open_ends=("row_far",)),
        of(2, sense=("i_out", "i_in_near", "i_in_far"), v_row_far=0 * v_row),
    ]
    start = xb.Crossbar(guess().cell, xb.Wires(1.5, 1.5), far, xb.VirtualGround(25.0))
    free = [FREE[0], xb.Unknown(lambda c: c.drive.r_source, low=1.0, high=300.0)]
    twin = xb.identify(sets, start, free)
    off = np.abs(np.asarray(twin.crossbar.drive.r_source - r))
    assert np.all(off < 4 * np.asarray(twin.std.drive.r_source)) and off.max() < 10


def test_nonlinear_cells_are_found_from_reads_at_several_voltages() -> None:
    n, b = 4, 3.0
    g = G[:n, :n]
    v_row = np.concatenate([s * hadamard(n) for s in (0.1, 0.3, 0.5)])
    r_row = np.hstack([np.full((n, n), 1.4), np.full((n, 1), np.inf)])
    r_col = np.vstack([np.full((1, n), np.inf), np.full((n, n), 1.8)])
    zero = np.zeros(n)
    of = lambda v: newton.solve(newton.Sinh(g, b), r_row, r_col, v, v, zero, zero).i_out
    rng = np.random.default_rng(3)
    i_out = np.stack([of(v) for v in v_row])
    i_out += NOISE * rng.standard_normal(i_out.shape)
    start = xb.Crossbar(xb.Sinh(jnp.full((n, n), 5e-5), 2.0), xb.Wires(1.4, 1.8))
    free = [FREE[0], xb.Unknown(lambda c: c.cell.b, per="array")]
    twin = xb.identify(xb.Measured(v_row, {"i_out": i_out}, NOISE), start, free)
    assert twin.converged
    found, std = np.asarray(twin.crossbar.cell.b)[0, 0], np.asarray(twin.std.cell.b)[0, 0]
    assert abs(found - b) < 4 * std < 0.1
    assert np.abs(np.asarray(twin.crossbar.cell.g) - g).max() < 5e-7


def test_noise_that_is_not_stated_comes_from_the_residuals(twin: xb.Twin) -> None:
    measured = reads()
    untold = xb.Measured(measured.v_row, measured.sensed, v_col=measured.v_col)
    found = xb.identify(untold, guess(), FREE)
    ratio = np.asarray(found.std.cell.g / twin.std.cell.g)
    assert 0.7 < np.median(ratio) < 1.4 and not found.refuted


def test_what_cannot_be_is_refused_in_one_sentence() -> None:
    measured = reads()
    with pytest.raises(ValueError, match="256 readings for 66 parameters|readings for"):
        few = xb.Measured(V[:2], {"i_out": np.zeros((2, N)) + 1e-5}, NOISE)
        xb.identify(few, guess(), FREE)
    with pytest.raises(ValueError, match="divide by 1e[+]?06"):
        micro = {k: 1e6 * x for k, x in measured.sensed.items()}
        xb.identify(xb.Measured(measured.v_row, micro, 1.0, v_col=measured.v_col), guess(), FREE)
    with pytest.raises(ValueError, match="this end is open"):
        sensed = {"i_in_far": measured.sensed["i_in"]}
        xb.identify(xb.Measured(measured.v_row, sensed, 1e-8), guess(), FREE)
    with pytest.raises(ValueError, match="has 8 lines, but the array of 4 x 4"):
        xb.identify(measured, guess(4), FREE)
    with pytest.raises(ValueError, match="first guess above 0"):
        xb.identify(measured, guess(source=0.0), xb.Unknown(lambda c: c.drive.r_source))
    with pytest.raises(ValueError, match="cell.g starts at 0 S"):
        dead = xb.Crossbar(xb.Ohmic(jnp.asarray(G).at[0, 0].set(0.0)), xb.Wires(1.0, 1.0))
        xb.identify(measured, dead, FREE)
    with pytest.raises(ValueError, match="picked twice"):
        xb.identify(measured, guess(), [FREE[0], FREE[0]])
    with pytest.raises(TypeError, match="Unknown"):
        xb.identify(measured, guess(), [lambda c: c.cell.g])  # pyright: ignore
    with pytest.raises(ValueError, match="per must be 'each' or 'array'"):
        xb.identify(measured, guess(), xb.Unknown(lambda c: c.drive.r_source, per="row"))
    with pytest.raises(ValueError, match="one of i_in"):
        xb.Measured(V, {"i_word": V}, 1e-9)
    with pytest.raises(ValueError, match="must be positive"):
        xb.Measured(V, {"i_out": V}, 0.0)
    with pytest.raises(ValueError, match="outside of jax.jit"):
        jax.jit(lambda v: xb.identify(xb.Measured(v, {"i_out": v}, 1e-9), guess(), FREE).u)(
            jnp.asarray(V)
        )


def test_products_with_the_jacobian_are_those_of_differences() -> None:
    """Of the admittance between all ends, by every number of the crossbar."""
    from xbarjax.identification.terminal_admittance import Few, admittance

    def of(p: Any) -> jax.Array:
        drive = xb.Drive(p["source"], p["far"])
        crossbar = xb.Crossbar(
            xb.Ohmic(p["g"]), xb.Wires(p["row"], p["col"]), drive, xb.VirtualGround(p["in"], 30.0)
        )
        return admittance(crossbar, xb.AutoLadder())[0]

    def of_few(p: Any) -> jax.Array:
        """The same, with all but the cells put in as few numbers."""
        start = xb.Crossbar(
            xb.Ohmic(p["g"]), xb.Wires(1.0, 1.0), xb.Drive(1.0, 1.0), xb.VirtualGround(1.0, 30.0)
        )
        few = {k: x for k, x in p.items() if k != "g"}

        def put(c: xb.Crossbar, few: Any) -> xb.Crossbar:
            drive = xb.Drive(few["source"], few["far"])
            wires = xb.Wires(few["row"], few["col"])
            return xb.Crossbar(c.cell, wires, drive, xb.VirtualGround(few["in"], 30.0))

        return admittance(start, xb.AutoLadder(), few=Few(few, put))[0]

    rng = np.random.default_rng(5)
    p = {"g": G[:4, :5], "row": rng.uniform(1, 3, (4, 5)), "col": 2.0, "source": 9.0, "far": 7.0}
    p = {k: jnp.asarray(x) for k, x in (p | {"in": 5.0}).items()}
    d = {k: x * rng.standard_normal(x.shape) for k, x in p.items()}
    _, change = jax.jvp(of, (p,), (d,))
    moved = lambda s: of({k: p[k] + s * d[k] for k in p})
    numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert np.abs(change - numeric).max() < 1e-8 * np.abs(numeric).max()
    y, pull = jax.vjp(of, p)
    weight = jnp.asarray(rng.standard_normal(y.shape))
    back = sum(float(jnp.vdot(pull(weight)[0][k], d[k])) for k in p)
    assert back == pytest.approx(float(jnp.vdot(weight, change)), rel=1e-10)
    y_few, change_few = jax.jvp(of_few, (p,), (d,))
    np.testing.assert_allclose(y_few, y, rtol=1e-12, atol=1e-20)
    assert np.abs(change_few - change).max() < 1e-12 * np.abs(change).max()


def test_gain_and_offset_of_the_instruments_are_found_per_column() -> None:
    """Where the cells of one row are known, the gain of a column is more than a factor of cells."""
    gain, offset = RNG.uniform(0.97, 1.03, N), RNG.uniform(-2e-7, 2e-7, N)
    v_row = np.concatenate([V, 0 * V[:2]])
    _, i_out = chip(G, v_row, 0 * v_row)
    shown = gain * i_out + offset + 1e-9 * np.random.default_rng(8).standard_normal(i_out.shape)
    start = xb.Crossbar(
        xb.Ohmic(jnp.asarray(G)), xb.Wires(R["row"], R["col"]), xb.Drive(40.0), xb.Ammeter(25.0)
    )
    tied = jnp.full((N, N), 1e-6).at[0].set(1e-12)
    free = [
        xb.Unknown(lambda c: c.cell.g, sigma=tied),
        xb.Unknown(lambda c: c.readout.gain),
        xb.Unknown(lambda c: c.readout.offset),
    ]
    twin = xb.identify(xb.Measured(v_row, {"output": shown}, 1e-9), start, free)
    readout, std = twin.crossbar.readout, twin.std.readout
    assert np.all(np.abs(readout.gain - gain) < 4 * np.asarray(std.gain))
    assert np.all(np.abs(readout.offset - offset) < 4 * np.asarray(std.offset))
    assert np.max(std.gain) < 1e-3 and np.max(std.offset) < 2e-9
