"""Guards training through arrays: it lowers the loss, on one device or two, is compiled once, goes
on where it stopped and stops where it should, and keeps the last good state."""

import dataclasses
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import xbarjax as xb
from reference.networks import HIGH, KEY, LOW, data, ideal, loss, network
from xbarjax import nn
from xbarjax.variability import Lognormal


def test_training_lowers_the_loss_within_the_bounds_and_goes_on_where_it_stopped(tmp_path):
    batches, file = [data()] * 30, tmp_path / "state"
    training = nn.Training(loss, optax.adam(0.03), fresh_dies=True)
    net = network(vary=Lognormal(0.05), noise=1e-6)
    seen = []
    whole = nn.fit(training, net, batches, on_step=lambda k, x: seen.append(x))
    assert seen[-1] < 0.7 * seen[0] and len(seen) == 30
    share = whole.model.layers[0].arrays.g_relative
    assert (
        share.min() >= 0 and share.max() <= 1 and np.any(share != net.layers[0].arrays.g_relative)
    )
    nn.fit(training, net, batches[:13], checkpoint=file)
    again = nn.fit(training, net, batches, checkpoint=file)
    for one, other in zip(
        *(jax.tree.leaves(eqx.filter(s, eqx.is_inexact_array)) for s in (whole, again))
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="is of another model"):
        nn.fit(training, network(key=KEY, vary=None).layers[0], batches, checkpoint=file)
    others = [
        lambda a: dataclasses.replace(a, mapping=xb.ConstantSumPair(LOW, HIGH)),
        lambda a: dataclasses.replace(a, mapping=xb.DifferentialPair(LOW, 2 * HIGH)),
        lambda a: dataclasses.replace(a, build=lambda g: ideal(g)),
        lambda a: dataclasses.replace(a, noise=2 * a.noise),
        lambda a: dataclasses.replace(a, die=jax.random.key(3)),
    ]
    for change in others:
        other = eqx.tree_at(lambda n: n.layers[0].arrays, net, replace_fn=change)
        with pytest.raises(ValueError, match="is of another model, hardware, die"):
            nn.fit(training, other, batches, checkpoint=file)
    (tmp_path / "other").write_text("nothing")
    with pytest.raises(ValueError, match="is no checkpoint"):
        nn.fit(training, net, batches, checkpoint=tmp_path / "other")


def test_the_last_layer_is_trained_alone_for_the_die_that_is_there():
    net = nn.on_die(network(vary=Lognormal(0.3)), jax.random.key(9))
    for where, alone in (
        (lambda net: net.layers[1], False),
        (lambda net: (net.layers[1].arrays, net.layers[1].bias), False),
        (lambda net: net.layers[1].bias, True),
    ):
        training = nn.Training(loss, optax.adam(0.03), train=nn.only(where))
        tuned = nn.fit(training, net, [data()] * 5).model
        changed = lambda of, tuned=tuned: np.any(np.asarray(of(net)) != np.asarray(of(tuned)))
        assert changed(lambda net: net.layers[1].bias)
        assert changed(lambda net: net.layers[1].arrays.g_relative) != alone
        assert not changed(lambda net: net.layers[0].arrays.conductances)
        assert not changed(lambda net: net.layers[0].arrays.gain)
        assert not changed(lambda net: net.layers[0].bias)
        assert loss(tuned, data(), KEY) < loss(net, data(), KEY)


def test_training_is_traced_once():
    traces = []

    def counted(net, batch, key):
        traces.append(0)
        return loss(net, batch, key)

    training = nn.Training(counted, optax.adam(0.01), fresh_dies=True)
    net = network(vary=Lognormal(0.05), noise=1e-7)
    x, y = data()
    nn.fit(training, net, [(x, y), (2 * x, y), (-x, y)])
    stronger = eqx.tree_at(lambda n: n.layers[0].arrays.k, net, replace_fn=lambda k: 2 * k)
    nn.fit(training, stronger, [(x, y)] * 2)
    assert len(traces) == 1


TWO_DEVICES = """
import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax

import xbarjax as xb
from xbarjax import nn

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
)
wired = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(3.0, 5.0))
w = jnp.asarray(np.random.default_rng(0).normal(0, 0.3, (50, 18)))
layer = nn.Linear(nn.tile(w, xb.DifferentialPair(1e-6, 1e-4), wired, max_tile=18), jnp.zeros(18))
loss = lambda net, x, key: jnp.mean(jax.vmap(net)(x) ** 2)
x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 50)))

# three tiles of 17 x 18, large enough to be eliminated, on two devices: their gradient by solves
def by_solves(share):
    arrays = eqx.tree_at(lambda a: a.g_relative, layer.arrays, share)
    blocks = [[xb.transfer(wired(g), solver=xb.LadderCG()) for g in pair]
              for pair in arrays.conductances[:, 0]]
    t = jnp.stack([plus - minus for plus, minus in blocks])
    y = jnp.einsum("ndr,drc->nc", jnp.pad(x, ((0, 0), (1, 0))).reshape(8, 3, 17), t) / arrays.k
    return jnp.mean(y**2)

want = jax.grad(by_solves)(layer.arrays.g_relative)
got = eqx.filter_jit(eqx.filter_grad(lambda net: loss(net, x, None)))(layer).arrays.g_relative
assert np.abs(got - want).max() < 1e-9 * np.abs(want).max(), np.abs(got - want).max()

counts = []
seen = lambda step, value: counts.append(len(compiled))
there = jax.device_put(x, jax.devices()[0])  # as batches that were sent ahead are
nn.fit(nn.Training(loss, optax.adam(1e-2)), layer, [there] * 4, on_step=seen)
assert counts[0] == counts[-1] > 0, counts
"""


def test_on_two_devices_gradients_are_right_and_a_step_is_compiled_once():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_best_model_is_kept_and_training_stops_when_none_is_better():
    training = nn.Training(loss, optax.sgd(0.0))
    values = iter([3.0, 2.0, 2.5, 2.6, 1.0])
    done = nn.fit(
        training, network(), [data()] * 50, validate=lambda m: next(values), every=2, patience=2
    )
    assert int(done.step) == 4 and next(values) == 1.0


def test_what_stopped_stays_stopped_and_goes_on_to_the_same_end(tmp_path):
    training, file = nn.Training(loss, optax.adam(0.01)), tmp_path / "state"
    some, seen = [data()] * 50, []
    of: Any = dict(every=2, patience=2, on_step=lambda k, x: seen.append(k))
    for _ in range(2):
        done = nn.fit(training, network(), some, validate=lambda m: 1.0, checkpoint=file, **of)
        assert int(done.step) == 2 and seen == list(range(6))  # the first; none was better
    assert int(nn.fit(training, network(), some[:8], checkpoint=file).step) == 8  # the last
    bias = lambda model: float(jnp.sum(model.layers[1].bias))
    for name, parts in (("one", [11]), ("two", [5, 11])):
        values: list[float] = []
        judge = lambda model, values=values: values.append(bias(model)) or values[-1]
        kept = tmp_path / name
        ends = [
            nn.fit(training, network(), some[:k], validate=judge, every=3, checkpoint=kept)
            for k in parts
        ]
        assert bias(ends[-1].model) == min(values) and len(values) == (4 if name == "one" else 5)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_last_steps_are_validated_too():
    steps = []
    validate = lambda model: -float(steps[-1])
    on_step = lambda k, x: steps.append(k)
    training = nn.Training(loss, optax.sgd(0.1))
    done = nn.fit(training, network(), [data()] * 5, validate=validate, every=3, on_step=on_step)
    assert int(done.step) == 5


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(tmp_path):
    x, y = data()
    batches = [(x, y), (x, y), (x * jnp.nan, y)]
    training = nn.Training(loss, optax.sgd(0.1))
    with pytest.raises(nn.TrainingError, match="nan at step 2") as error:
        nn.fit(training, network(), batches, checkpoint=tmp_path / "state")
    assert int(error.value.state.step) == 2
    good = nn.fit(training, network(), batches[:2], checkpoint=tmp_path / "state")
    assert int(good.step) == 2 and np.isfinite(loss(good.model, (x, y), KEY))


def test_a_step_that_would_spoil_the_model_is_not_taken():
    def steep(net, batch, key):
        return loss(net, batch, key) + jnp.sqrt(jnp.sum(net.layers[0].bias ** 2))

    net = eqx.tree_at(lambda n: n.layers[0].bias, network(), jnp.zeros(5))
    with pytest.raises(nn.TrainingError, match="at step 0, and it or the updated model") as error:
        nn.fit(nn.Training(steep, optax.sgd(0.1)), net, [data()])  # finite, of infinite slope
    left = jax.tree.leaves(eqx.filter(error.value.state.model, eqx.is_inexact_array))
    assert all(np.isfinite(x).all() for x in left)


@pytest.mark.parametrize("of, said", [({"every": 0}, "every is 0"), ({"patience": 1}, "validated")])
def test_training_that_cannot_be_is_named(of, said):
    with pytest.raises(ValueError, match=said):
        nn.fit(nn.Training(loss, optax.sgd(0.1)), network(), [data()], **of)
