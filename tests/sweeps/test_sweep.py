"""Guards sweeps: the same bytes on any number of devices and processes and after any interruption,
clear refusals, and statistics against closed forms."""

import dataclasses
import filecmp
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.small_sweep import build, build_other, cells, current, plan, small_die, vary
from xbarjax import variability as va
from xbarjax.sweeps import (
    Die,
    FailureRate,
    Sweep,
    failure_rate,
    good,
    limits_of,
    results,
    sensitivity,
    soft_yield,
    sweep,
    worst,
    yields,
)

KEY = jax.random.key(5)


def same_files(one: Path, other: Path) -> bool:
    names = [
        sorted(str(p.relative_to(at)) for p in at.rglob("*") if p.is_file()) for at in (one, other)
    ]
    return names[0] == names[1] and not filecmp.cmpfiles(one, other, names[0], shallow=False)[1]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "store"
    seen = []
    sweep(plan(), path, on_batch=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 18) for k in range(19)]
    return path


def test_every_die_is_the_function_of_its_settings_and_key(swept):
    found, made = results(swept), plan()
    assert found["total"].dims == ("sigma", "r", "die") and found["total"].shape == (3, 2, 10)
    for a, b, n in ((0, 0, 0), (2, 1, 9), (1, 0, 5)):
        settings = {"sigma": made.axes["sigma"][a], "r": made.axes["r"][b]}
        one = small_die().crossbar(jax.tree.map(jnp.asarray, settings), made.key(n))
        alone = xb.read(one, jnp.full(4, 0.2)).i_out.sum()
        np.testing.assert_allclose(found["total"][a, b, n], alone, rtol=1e-12)
    assert np.ptp(found["total"][0].values, axis=-1).max() == 0  # no spread, no difference
    assert not found["status"].any()


def test_settings_are_compared_on_the_same_dies(swept):
    i = results(swept)["total"]
    one, other = (np.log(i.sel(sigma=s, r=1.0) / i.sel(sigma=0.0, r=1.0)) for s in (0.1, 0.2))
    assert np.corrcoef(one, other)[0, 1] > 0.98


def test_a_finished_sweep_computes_nothing_again(swept):
    seen = []
    sweep(plan(), swept, on_batch=lambda done, total: seen.append(done))
    assert seen == [18]


def test_what_is_missing_is_computed_and_remains_are_removed(swept, tmp_path):
    path = tmp_path / "store"
    subprocess.run(["cp", "-r", swept, path], check=True)
    for name in ("total/c/0/0/1", "status/c/2/1/2"):
        (path / name).unlink()
    (path / "total" / "c" / "0" / "0" / "1.abc.partial").write_bytes(b"half")
    assert not same_files(swept, path)
    seen = []
    sweep(plan(), path, on_batch=lambda done, total: seen.append(done))
    assert seen == [16, 17, 18] and same_files(swept, path)


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", {devices})
if {processes} > 1:
    jax.distributed.initialize("localhost:{port}", {processes}, {rank})
from reference.small_sweep import plan
from xbarjax.sweeps import sweep
sweep(plan(), {path!r}, on_batch=lambda done, total: print(done, flush=True))
"""


def begin(path, *, devices=1, processes=1, rank=0, port=0) -> subprocess.Popen:
    code = SCRIPT.format(
        tests=str(Path(__file__).parents[1]),
        devices=devices,
        processes=processes,
        rank=rank,
        port=port,
        path=str(path),
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_eight_devices_give_the_bytes_of_one(swept, tmp_path):
    process = begin(tmp_path / "store", devices=8)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert same_files(swept, tmp_path / "store")


def test_dies_and_rare_failures_lower_for_every_platform():
    made, at = plan(), {"sigma": jnp.asarray(0.1), "r": jnp.asarray(1.0)}
    some = jax.vmap(lambda n: made.die(at, made.key(n))["total"])

    def margin(drawn):
        return 1e-4 - small_die().measure(at, drawn)["total"]

    rare = lambda key: failure_rate(margin, small_die().draw(at, key), key, samples=50).probability
    for f, x in ((some, jnp.arange(4, dtype=jnp.uint32)), (rare, KEY)):
        jax.export.export(jax.jit(f), platforms=("cpu", "cuda", "tpu"))(x)


def test_two_processes_share_the_work(swept, tmp_path):
    port = 20000 + os.getpid() % 20000
    both = [begin(tmp_path / "store", processes=2, rank=k, port=port) for k in (0, 1)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.split()[-1] for out, _ in said] == ["9", "9"]
    assert same_files(swept, tmp_path / "store")


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(swept, tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(10):
        process = begin(tmp_path / "store", devices=2)
        time.sleep(rng.uniform(2, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = begin(tmp_path / "store", devices=2)
    assert process.wait() == 0 and same_files(swept, tmp_path / "store")


def test_killed_while_it_writes_it_goes_on(swept, tmp_path):
    path = tmp_path / "store"
    for last in (1, 5):
        process = begin(path)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= last:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    assert (results(path)["status"] == 0).sum() >= 5  # finished before it was killed, and kept
    sweep(plan(), path)
    assert same_files(swept, path)


def test_a_second_run_at_one_store_is_refused_and_then_goes_on(swept, tmp_path):
    path, refused = tmp_path / "store", []

    def second(done, total):
        if done == 3:
            with pytest.raises(ValueError, match="is being written by another run"):
                sweep(plan(), path)
            refused.append(done)

    sweep(plan(), path, on_batch=second)
    assert refused == [3] and same_files(swept, path)
    assert [p.name for p in tmp_path.glob(".*")] == [".store.lock"]


def test_killed_while_the_store_is_made_it_makes_it_anew(swept, tmp_path):
    remains = tmp_path / ".store.new"
    (remains / "total").mkdir(parents=True)
    (remains / "zarr.json").write_text("{")
    sweep(plan(), tmp_path / "store")
    assert same_files(swept, tmp_path / "store") and not remains.exists()


def test_dies_that_fail_are_counted_and_the_others_are_right(tmp_path):
    def die(settings, key):
        x = jax.random.normal(key)
        return {"x": jnp.where(x > 1, jnp.nan, x)}

    made = Sweep(die, {}, dies=1000, batch=300, limits={"x": (-1.0, 1.0)})
    found = sweep(made, tmp_path / "store")
    x = np.asarray(jax.vmap(lambda n: jax.random.normal(made.key(n)))(jnp.arange(1000)))
    np.testing.assert_array_equal(found["x"], np.where(x > 1, np.nan, x))
    stated = yields(found)
    assert stated["failed"] == (x > 1).sum() and stated["dies"] == 1000
    assert stated["good"] == (abs(x) <= 1).mean()


def test_a_read_that_fails_gives_no_number(tmp_path):
    hasty = dataclasses.replace(small_die(), solver=xb.LadderCG(max_steps=1))
    made = plan(die=hasty, axes={"r": [1e5], "sigma": [0.1]}, dies=4)
    found = sweep(made, tmp_path / "store")
    assert found["total"].isnull().all() and (found["status"] == xb.Status.NOT_CONVERGED).all()
    seen = []
    sweep(made, tmp_path / "store", on_batch=lambda done, total: seen.append(done))
    assert seen == [1]  # results that are NaN throughout are results
    assert yields(found, {"total": (0.0, 1.0)})["failed"] == 4


@pytest.mark.parametrize(
    "change, said",
    [
        ({"seed": 4}, "another seed (3 there, 4 here)"),
        ({"dies": 11}, "another dies (10 there, 11 here)"),
        ({"batch": 5}, "another batch"),
        ({"axes": {"sigma": [0.0], "r": [1.0]}}, "another axes"),
        ({"axes": {"r": [1.0, 5.0], "sigma": [0.0, 0.1, 0.2]}}, "another axes"),
        ({"die": Die(build_other, jnp.full(4, 0.2), {"total": current}, vary)}, "computation"),
        ({"die": Die(build, jnp.full(4, 0.3), {"total": current}, vary)}, "another computation"),
    ],
)
def test_the_store_of_another_sweep_is_refused(swept, change, said):
    with pytest.raises(ValueError) as error:
        sweep(plan(**change), swept)
    assert said in str(error.value) and str(swept) in str(error.value)


def test_limits_and_units_may_change_and_dies_stay(swept, tmp_path):
    path = tmp_path / "store"
    subprocess.run(["cp", "-r", swept, path], check=True)
    for limits in ({"total": (0.0, np.inf)}, {"total": (0.0, 1e-4)}):
        found = sweep(plan(limits=limits), path)
        assert limits_of(found) == limits
        within = (found["total"] <= limits["total"][1]).mean("die")
        np.testing.assert_array_equal(yields(found)["good"], within)
    found = sweep(plan(units={"total": "A", "r": "ohm"}), path)
    assert found["total"].units == "A" and found["r"].units == "ohm"


@pytest.mark.parametrize(
    "axes, said",
    [
        ({"sigma": [0.1, -0.1], "r": [1.0]}, "sigma is -0.1"),
        ({"sigma": [0.1], "r": [1.0, -1.0]}, "r_row is -1.0"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_computed(tmp_path, axes, said):
    with pytest.raises(ValueError) as error:
        sweep(plan(axes=axes), tmp_path / "store")
    assert said in str(error.value) and not list(tmp_path.iterdir())


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "nothing"):
        with pytest.raises(ValueError, match="no store of a sweep"):
            results(tmp_path / name)
    with pytest.raises(ValueError, match="no store of a sweep"):
        sweep(plan(), tmp_path / "folder")


def test_a_full_disk_leaves_what_was_finished(swept, tmp_path, monkeypatch):
    import zarr.storage._local as local

    path, put, writes = tmp_path / "store", local._put, []

    def full(where, *args, **kwargs):
        if "/c/" in str(where):
            writes.append(where)
            if len(writes) > 9:
                raise OSError(28, "No space left on device")
        return put(where, *args, **kwargs)

    monkeypatch.setattr(local, "_put", full)
    with pytest.raises(OSError, match="could not be written.*3 of 18 batches are there"):
        sweep(plan(), path)
    monkeypatch.undo()
    left = results(path)
    assert (left["status"] == 0).sum() == 10  # batches of 4, 4 and 2 dies
    assert not (left["total"].isnull() & (left["status"] == 0)).any()
    sweep(plan(), path)
    assert same_files(swept, path)


def test_a_device_that_fails_leaves_what_was_finished(swept, tmp_path, monkeypatch):
    run = importlib.import_module("xbarjax.sweeps.run")

    real = run.compute

    def failing(*args):
        for k, one in enumerate(real(*args)):
            if k == 4:
                raise jax.errors.JaxRuntimeError("device is gone")
            yield one

    monkeypatch.setattr(run, "compute", failing)
    with pytest.raises(RuntimeError, match="device is gone.*4 of 18 batches are there"):
        sweep(plan(), tmp_path / "store")
    monkeypatch.undo()
    sweep(plan(), tmp_path / "store")
    assert same_files(swept, tmp_path / "store")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"dies": 0}, "dies is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"axes": {"sigma": []}}, "axes['sigma']"),
        ({"axes": {"sigma": [0.1, 0.1]}}, "one twice"),
        ({"axes": {"die": [0.1]}}, "'die'"),
        ({"limits": {"total": (1.0, 0.0)}}, "limits['total']"),
    ],
)
def test_plans_that_cannot_be_are_refused(change, said):
    with pytest.raises(ValueError) as error:
        plan(**change)
    assert said in str(error.value)


def test_metrics_that_cannot_be_stored_are_refused(tmp_path):
    for die, said in (
        (lambda s, k: {"x": jnp.ones(3)}, "shape (3,)"),
        (lambda s, k: {"y": jnp.ones(())}, "limits has 'x'"),
        (lambda s, k: {"x/y": jnp.ones(())}, "the name 'x/y'"),
        (lambda s, k: {"die": jnp.ones(())}, "'die'"),
    ):
        with pytest.raises(ValueError) as error:
            sweep(Sweep(die, {}, dies=2, limits={"x": (0.0, 1.0)}), tmp_path / "store")
        assert said in str(error.value)
    no_metrics: Any = lambda s, k: jnp.ones(())
    with pytest.raises(TypeError, match="dict of scalars"):
        sweep(Sweep(no_metrics, {}, dies=2), tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_whole_or_true_are_kept_as_numbers(tmp_path):
    die = lambda s, k: {"odd": jnp.asarray(True), "count": jnp.asarray(3, jnp.uint8)}
    found = sweep(Sweep(die, {}, dies=3, batch=2), tmp_path / "store")
    assert (found["odd"] == 1.0).all() and (found["count"] == 3.0).all()


def test_the_yield_lies_in_its_interval_as_often_as_it_says():
    import xarray

    rng, dies, truth = np.random.default_rng(1), 200, 0.93
    x = (rng.uniform(size=(4000, dies)) < truth).astype(float)
    found = xarray.Dataset(
        {"x": (("a", "die"), x), "status": (("a", "die"), np.zeros(x.shape, int))}
    )
    stated = yields(found, {"x": (0.5, 2.0)}, confidence=0.9)
    covered = ((stated["low"] <= truth) & (truth <= stated["high"])).mean()
    assert 0.87 < covered < 0.94
    # 81 of 263 (Newcombe, Statistics in Medicine 17, 857, 1998, table I, method 3).
    one = xarray.Dataset({"x": ("die", [1.0] * 81 + [0.0] * 182), "status": ("die", [0] * 263)})
    stated = yields(one, {"x": (0.5, 2.0)})
    np.testing.assert_allclose([stated["low"], stated["high"]], [0.2553, 0.3662], atol=5e-5)


def test_the_worst_dies_can_be_one(swept):
    made, found = plan(), results(swept)
    first, second = worst(found, "total", 2)
    assert first["total"] == found["total"].max() and first["total"] >= second["total"]
    settings = {name: jnp.asarray(first[name]) for name in made.axes}
    again = xb.read(small_die().crossbar(settings, made.key(first["die"])), jnp.full(4, 0.2))
    np.testing.assert_allclose(again.i_out.sum(), first["total"], rtol=1e-12)
    assert worst(found, "total", 1, largest=False)[0]["total"] == found["total"].min()
    for die in (made.dies, -made.dies - 1):
        with pytest.raises(IndexError, match=f"die is {die}; there are {made.dies}"):
            made.key(die)


def test_a_metric_that_is_not_there_is_named(swept):
    with pytest.raises(ValueError, match="metric is 'i'; the results have status, total"):
        worst(results(swept), "i")


def test_sensitivities_are_differences_and_are_ranked():
    made, where = plan(), {"sigma": 0.1, "r": 5.0}
    ranked = sensitivity(made, where, "total", dies=20)

    def mean(settings):
        return jax.vmap(lambda n: made.die(settings, made.key(n))["total"])(jnp.arange(20)).mean()

    for name, (value, _) in ranked.items():
        up, down = ({**where, name: where[name] * (1 + e)} for e in (1e-4, -1e-4))
        up, down = (jax.tree.map(jnp.asarray, s) for s in (up, down))
        np.testing.assert_allclose(value, (mean(up) - mean(down)) / 2e-4, rtol=1e-5)
    sizes = [abs(value) for value, _ in ranked.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_a_soft_yield_has_the_gradient_of_its_differences_and_tends_to_the_yield(swept):
    i = results(swept)["total"].sel(sigma=0.2, r=5.0).values
    limit = float(np.sort(i)[6:8].mean())
    made = plan(limits={"total": (0.0, limit)})
    at = lambda s: {"sigma": s, "r": jnp.asarray(5.0)}
    soft = lambda s, width: soft_yield(made, at(s), {"total": width}, dies=10)
    np.testing.assert_allclose(soft(jnp.asarray(0.2), 1e-12), 0.7, atol=1e-6)
    width = float(np.std(i))
    slope = (soft(jnp.asarray(0.2 + 1e-5), width) - soft(jnp.asarray(0.2 - 1e-5), width)) / 2e-5
    np.testing.assert_allclose(jax.grad(soft)(jnp.asarray(0.2), width), slope, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigma", "r", "g_min", "g_max"])
def test_a_soft_yield_has_gradients_by_spread_wires_and_range(name):
    w = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (6, 5)))
    v, centre = jnp.linspace(0.05, 0.2, 6), {"sigma": 0.05, "r": 3.0, "g_min": 5e-6, "g_max": 1e-4}
    die = Die(
        build=lambda s: xb.Crossbar(
            xb.Ohmic(s["g_min"] + w * (s["g_max"] - s["g_min"])), xb.Wires(s["r"], s["r"])
        ),
        v_in=v,
        metrics={"error": lambda s, d: jnp.max(jnp.abs(s.i_out / (v @ cells(d)) - 1))},
        vary=lambda s: va.Chain(
            va.At(cells, va.Lognormal(s["sigma"])),
            va.At(lambda c: c.wires.r_row, va.Spread(s["sigma"]), (6, 5)),
        ),
    )
    made = Sweep(die, {k: [x] for k, x in centre.items()}, dies=60, limits={"error": (0.0, 0.06)})

    def proxy(x):
        settings = {k: jnp.asarray(y) for k, y in centre.items()} | {name: x * centre[name]}
        return soft_yield(made, settings, {"error": 0.01}, dies=60)

    with_one = jax.jit(proxy)
    assert 0.1 < with_one(1.0) < 0.9
    slope = (with_one(1 + 1e-5) - with_one(1 - 1e-5)) / 2e-5
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(jax.grad(proxy)(1.0), slope, rtol=1e-5)


def test_dies_without_a_number_have_no_part_in_sensitivities_and_are_bad_in_yields():
    def die(settings, key):
        x = jax.random.normal(key)
        return {"x": jnp.where(x > 0, settings["a"] * x, jnp.nan)}

    made = Sweep(die, {"a": [2.0]}, dies=100, limits={"x": (-np.inf, 3.0)})
    x = np.asarray(jax.vmap(lambda n: jax.random.normal(made.key(n)))(jnp.arange(100)))
    found = sensitivity(made, {"a": 2.0}, "x", dies=100)["a"][0]
    np.testing.assert_allclose(found, 2 * x[x > 0].mean(), rtol=1e-12)
    soft = lambda a: soft_yield(made, {"a": a}, {"x": 1e-9}, dies=100)
    np.testing.assert_allclose(soft(jnp.asarray(2.0)), np.mean((x > 0) & (2 * x < 3)), rtol=1e-9)
    assert np.isfinite(jax.grad(soft)(jnp.asarray(2.0)))
    with pytest.raises(ValueError, match="metric is 'y'"):
        sensitivity(made, {"a": 2.0}, "y")
    with pytest.raises(ValueError, match="settings has"):
        sensitivity(made, {"b": 2.0}, "x")


def test_rare_failures_of_a_plane_and_of_two():
    weights = jnp.linspace(1.0, 3.0, 50)
    beta = 4.753424  # P(xi > beta) = 1e-6
    size = jnp.linalg.norm(weights)
    one = lambda u: beta - weights @ u / size
    two = lambda u: jnp.stack([one(u), beta + weights @ u / size])
    for margins, truth in ((one, 1e-6), (two, 2e-6)):
        for seed in range(3):
            rate = failure_rate(margins, jnp.zeros(50), jax.random.key(seed))
            assert isinstance(rate, FailureRate) and rate.found.all() and rate.reads < 100_000
            np.testing.assert_allclose(rate.distance, beta, rtol=1e-6)
            assert abs(rate.probability - truth) < 5 * rate.standard_error < 0.2 * truth


def test_rare_failures_of_many_outputs_with_curved_margins():
    # Each of 20 lognormal numbers may exceed its own limit: 1 - (1 - p)^20 = 1e-6.
    p = -np.expm1(np.log1p(-1e-6) / 20)
    beta = statistics.NormalDist().inv_cdf(1 - p)
    margins = lambda u: jnp.exp(0.3 * beta) - jnp.exp(0.3 * u["cells"][:20])
    like = {"cells": jnp.zeros(30), "wires": jnp.zeros((2, 3))}
    for seed in range(3):
        rate = failure_rate(margins, like, jax.random.key(seed))
        np.testing.assert_allclose(rate.distance, beta, rtol=1e-3)
        assert abs(rate.probability - 1e-6) < 5 * rate.standard_error < 0.2e-6


def test_rare_failures_of_a_circuit_agree_with_plain_sampling():
    made = plan()
    settings = {"sigma": jnp.asarray(0.2), "r": jnp.asarray(5.0)}
    measure = jax.jit(jax.vmap(lambda n: made.die(settings, made.key(n))["total"]))
    i = measure(jnp.arange(20_000))
    limit = jnp.quantile(i, 0.995)
    margins = lambda drawn: limit / small_die().measure(settings, drawn)["total"] - 1
    rate = failure_rate(margins, small_die().draw(settings, KEY), KEY, samples=1000)
    error = np.hypot(rate.standard_error, np.sqrt(0.005 / 20_000))
    assert abs(rate.probability - 0.005) < 5 * error and rate.standard_error < 0.15 * 0.005


def test_a_die_that_fails_without_variation_and_margins_without_a_number():
    rate = failure_rate(lambda u: u[0] - 8.0, jnp.zeros(3), KEY)
    assert abs(rate.probability - 1) < 5 * rate.standard_error + 1e-12
    # Beyond 3 there is no number: as bad as a failure, P(xi > 3) = 1.349898e-3.
    rate = failure_rate(lambda u: jnp.where(u[0] > 3, jnp.nan, 4.0 - u[0]), jnp.zeros(3), KEY)
    assert rate.unusable > 0 and not rate.found.any()
    assert abs(rate.probability - 1.349898e-3) < 5 * rate.standard_error < 1.5e-3


def test_margins_that_cannot_fail_are_said():
    with pytest.raises(RuntimeError, match="No failure was found"):
        failure_rate(lambda u: 1.0 + 0 * u.sum(), jnp.zeros(3), KEY, samples=10)


def test_limits_are_named():
    import xarray

    one = xarray.Dataset({"x": ("die", [1.0])}, attrs={"limits": json.dumps({})})
    with pytest.raises(ValueError, match="limits is empty"):
        good(one)
    with pytest.raises(ValueError, match="limits has 'y'"):
        good(one, {"y": (0.0, 1.0)})
    with pytest.raises(ValueError, match="confidence is 2.0"):
        yields(one, {"x": (0.0, 1.0)}, confidence=2.0)
