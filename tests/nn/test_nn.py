"""Guards layers on arrays: their products are those of reads, tile by tile, their gradients those
of differences, and a die is the same in both passes."""

import dataclasses

import equinox as eqx
import jax
import jax.core
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import xbarjax as xb
from reference.networks import HIGH, KEY, LOW, MAPPINGS, data, ideal, loss, network, weights, wired
from xbarjax import nn
from xbarjax.nn import composed, methods, routes
from xbarjax.nn.training import on_die
from xbarjax.variability import Lognormal

OFFSET = xb.Tia(r_f=1e3, gain=1e3, v_offset=0.01)


def floating(g):
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0), readout=xb.VoltageSense())


def linear():
    return eqx.nn.Linear(3, 2, key=KEY)


@pytest.mark.parametrize("most", [4, (20, 20), (3, 5), (1, 2)])
def test_tiles_hold_a_matrix_and_their_products_add_up(most):
    tiling, w = nn.Tiling(11, 7, most), weights()
    blocks = tiling.split(w)
    rows, cols = most if isinstance(most, tuple) else (most, most)
    assert blocks.shape == (tiling.down, tiling.across, tiling.rows, tiling.cols)
    assert tiling.rows <= rows and tiling.cols <= cols
    np.testing.assert_array_equal(tiling.join(blocks), w)
    x = jnp.linspace(-1, 1, 11)
    y = tiling.outputs_of(jnp.einsum("dr,darc->dac", tiling.inputs_of(x), blocks))
    np.testing.assert_allclose(y, x @ w, rtol=1e-12)
    assert tiling.filled.sum() == 11


@pytest.mark.few(2)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_ideal_arrays_compute_with_the_weights(mapping):
    w, x = weights(), jnp.linspace(-1, 1, 11)
    arrays = nn.tile(w, mapping, ideal, max_tile=4, scale=0.9, v_read=0.2)
    np.testing.assert_allclose(arrays.weights(), w, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(arrays(x), x @ w, rtol=1e-9)
    of_numpy = nn.tile(np.asarray(w), mapping, ideal, max_tile=4, scale=0.9, v_read=0.2)
    np.testing.assert_array_equal(of_numpy.g_relative, arrays.g_relative)
    assert np.all((arrays.g_relative >= 0) & (arrays.g_relative <= 1))


@pytest.mark.few(4)
@pytest.mark.parametrize("readout", [None, xb.VirtualGround(10.0, v_ref=0.03), OFFSET], ids=str)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_a_product_is_a_read_of_every_array(mapping, readout):
    build = lambda g: (
        wired(g) if readout is None else dataclasses.replace(wired(g), readout=readout)
    )
    w, x = weights(), jnp.linspace(-1, 1, 11)
    arrays = nn.tile(w, mapping, build, max_tile=(4, 7), v_read=0.2)
    k, total = mapping.siemens_per_weight(w), jnp.zeros(7)
    # three arrays of 3, 4 and 4 rows, with bit lines as long as they are filled
    for rows in (slice(0, 3), slice(3, 7), slice(7, 11)):
        v = 0.2 * x[rows]
        i = jnp.stack([xb.read(build(g), v).i_out for g in mapping.program(w[rows], k)])
        total += (mapping.combine(i) - mapping.zero * v.sum()) / (k * 0.2)
    np.testing.assert_allclose(arrays(x), total, rtol=1e-9, atol=1e-12)
    matrix = arrays(x) - arrays(0 * x)
    np.testing.assert_allclose(x @ arrays.weights(), matrix, rtol=1e-9, atol=1e-12)
    assert np.abs(total - x @ w).max() > 1e-3  # the wires do something
    at_rest = np.abs(arrays(0 * x)).max()
    assert at_rest == 0 if readout is None else at_rest > 1e-4  # that of a pair nearly cancels


def test_columns_that_are_left_over_have_the_cells_of_no_weight():
    w, x, pair = weights(), jnp.linspace(-1, 1, 11), MAPPINGS[0]
    arrays = nn.tile(w, pair, wired, max_tile=(11, 4))  # eight columns, of which one is left over
    k, padded = pair.siemens_per_weight(w), jnp.pad(w, ((0, 0), (0, 1)))
    each = [padded[:, :4], padded[:, 4:]]
    i = [[xb.read(wired(g), x).i_out for g in pair.program(part, k)] for part in each]
    found = jnp.concatenate([(one - other) / k for one, other in i])
    np.testing.assert_allclose(arrays(x), found[:7], rtol=1e-9)


def test_cells_behind_a_resistance_have_gradients_beside_rows_without_cells():
    build = lambda g: xb.Crossbar(xb.Ohmic(1 / (1 / g + 2e3)), xb.Wires(3.0, 5.0))
    arrays = nn.tile(weights((5, 3)), MAPPINGS[0], build, max_tile=3)  # two and three rows

    def total(share):
        return jnp.sum(eqx.tree_at(lambda a: a.g_relative, arrays, share).weights() ** 2)

    slope, moved = jax.grad(total)(arrays.g_relative), arrays.g_relative.at[1, 0, 0, 1, 1].add(1e-5)
    assert np.all(np.isfinite(slope)) and np.all(slope[0, 0, :, 0] == 0)
    rise = (total(moved) - total(arrays.g_relative)) / 1e-5
    np.testing.assert_allclose(slope[1, 0, 0, 1, 1], rise, rtol=1e-3)


@pytest.mark.few(1)
@pytest.mark.parametrize("mapping", MAPPINGS[::4], ids=lambda m: type(m).__name__)
def test_calibration_is_the_least_squares_of_every_column(mapping):
    w = weights()
    arrays = nn.tile(w, mapping, wired, max_tile=(4, 7), v_read=0.2)
    better = arrays.calibrated(w)
    effective, off = arrays.effective(), better.weights() - w
    assert np.linalg.norm(off) < 0.5 * np.linalg.norm(arrays.weights() - w)
    for n, rows in enumerate((slice(0, 3), slice(3, 7), slice(7, 11))):
        t = effective[n, 0, -(rows.stop - rows.start) :]
        np.testing.assert_allclose(off[rows].sum(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose((off[rows] * t).sum(axis=0) / t.max(), 0, atol=1e-9)
    x = jnp.linspace(-1, 1, 11)
    np.testing.assert_allclose(better(x), x @ better.weights(), rtol=1e-9)


def test_calibration_of_the_whole_matrix_is_one_least_squares():
    w = weights()
    arrays = nn.tile(w, MAPPINGS[4], wired, max_tile=(4, 7), v_read=0.2)
    better = arrays.calibrated(w, columns=False)
    assert better.gain.shape == better.offset.shape == (1, 1, 1)
    t = np.asarray(arrays.tiling.join(arrays.effective() / arrays.k))
    (gain, offset), *_ = np.linalg.lstsq(
        np.stack([t.ravel(), -np.ones(t.size)], axis=1), np.ravel(w)
    )
    np.testing.assert_allclose(better.gain.ravel(), gain, rtol=1e-9)
    np.testing.assert_allclose(better.offset.ravel(), offset, rtol=1e-9)
    x = jnp.linspace(-1, 1, 11)
    np.testing.assert_allclose(better(x), x @ (gain * t - offset), rtol=1e-9)


def test_cells_that_are_not_linear_are_read_for_every_input():
    w, x = weights((5, 3)), jnp.linspace(0.1, 1, 5)
    pair = MAPPINGS[0]
    curved = lambda g: xb.Crossbar(xb.Sinh(g, 3.0), xb.Wires(3.0, 5.0))
    arrays = nn.tile(w, pair, curved, max_tile=3, v_read=0.5)
    k, total = pair.siemens_per_weight(w), jnp.zeros(3)
    for rows in (slice(0, 2), slice(2, 5)):
        v = 0.5 * x[rows]
        i = [xb.read(curved(g), v).i_out for g in pair.program(w[rows], k)]
        total += (i[0] - i[1]) / (k * 0.5)
    np.testing.assert_allclose(arrays(x), total, rtol=1e-9)


def chosen(arrays, v, of=(), limit=6):
    """Which route `nn.cheapest` takes with matrices from `limit` inputs on: 1 for the matrix."""
    many = routes._at_least(limit, 1)(*jax.lax.stop_gradient((v, of)))
    kind = jnp.sum(v * arrays)
    if not isinstance(many, jax.core.Tracer):
        return jnp.where(bool(many), 1.0, 0.0) + 0 * kind
    return jax.lax.cond(many, lambda k: 1 + 0 * k, lambda k: 0 * k, kind)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_route_knows_the_batch_at_every_level(wrap):
    one, few, many, grid = (jnp.ones((*n, 3)) for n in ((), (5,), (6,), (2, 3)))
    a, dies = jnp.ones(3), jnp.ones((6, 3))
    over = lambda f, *axes: wrap(jax.vmap(f, axes))
    inputs = over(chosen, None, 0)
    assert wrap(chosen)(a, one) == 0
    assert np.all(inputs(a, few) == 0) and np.all(inputs(a, many) == 1)
    assert np.all(over(inputs, None, 0)(a, grid) == 1)  # two times three
    assert np.all(jax.vmap(jax.jit(chosen), (None, 0))(a, many) == 1)
    of_dies = lambda g, v: chosen(g, v, of=g)
    assert np.all(over(of_dies, 0, 0)(dies, many) == 0)  # an input a die
    assert np.all(over(jax.vmap(of_dies, (None, 0)), 0, None)(dies, few) == 0)
    assert np.all(over(jax.vmap(of_dies, (None, 0)), 0, None)(dies, many) == 1)
    through = lambda a: jnp.sum(inputs(a, many) + jax.vmap(jnp.vdot, (None, 0))(a, many))
    np.testing.assert_allclose(wrap(jax.grad(through))(a), 6.0)
    np.testing.assert_allclose(jax.vmap(wrap(jax.grad(chosen, 1)), (None, 0))(a, many), 0.0)


def test_every_route_gives_the_same_and_may_be_named():
    w, x = weights((5, 3)), jnp.linspace(-1, 1, 10).reshape(2, 5)
    build = lambda g: dataclasses.replace(wired(g), readout=OFFSET)
    found = []
    for named in (nn.by_matrix, nn.by_reads, nn.cheapest):
        arrays = nn.tile(w, MAPPINGS[0], build, max_tile=3, v_read=0.2, route=named)

        def total(share, arrays=arrays):
            y = jax.vmap(eqx.tree_at(lambda a: a.g_relative, arrays, share))(x)
            return jnp.sum(y**2), y

        (_, y), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(arrays.g_relative)
        found.append((y, slope))
    for y, slope in found[1:]:
        np.testing.assert_allclose(y, found[0][0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(slope, found[0][1], rtol=1e-7, atol=1e-10)


def solves(f, *x) -> int:
    """How many solves a function traces."""
    return str(jax.make_jaxpr(lambda *x: f(*x))(*x)).count("custom_linear_solve")


def test_a_frozen_model_gives_the_same_without_a_solve():
    made = network(noise=1e-7, converter=xb.Adc(bits=10, lo=-3e-4, hi=3e-4))
    model = on_die(nn.varying(made, Lognormal(0.1)), KEY)
    kept, x = nn.frozen(model), data()[0][:4]
    keys = jax.random.split(KEY, 4)
    each = lambda m: jax.vmap(lambda x, k: m(x, key=k))(x, keys)
    np.testing.assert_allclose(each(kept), each(model), rtol=1e-9, atol=1e-12)
    assert np.abs(each(kept) - jax.vmap(kept)(x)).max() > 1e-6  # there is noise
    assert solves(model, x[0]) > 0 and solves(kept, x[0]) == 0
    np.testing.assert_allclose(eqx.filter_jit(kept)(x[0]), kept(x[0]), rtol=1e-9, atol=1e-12)
    assert not any(jax.tree.leaves(nn.trainable(kept.layers[0].arrays)))
    slope = eqx.filter_grad(lambda m: jnp.sum(m(x[0]) ** 2))(kept)
    still = eqx.filter(slope.layers[0].arrays, eqx.is_inexact_array)
    assert all(np.all(s == 0) for s in jax.tree.leaves(still))
    assert np.any(slope.layers[0].bias != 0)


def test_products_and_arrays_with_a_current_at_rest_are_frozen():
    build = lambda g: dataclasses.replace(wired(g), readout=OFFSET)
    arrays = nn.tile(weights((4, 4)), MAPPINGS[0], build, max_tile=4, route=nn.by_matrix)
    order = jnp.asarray([2, 0, 3, 1])
    made = composed.Chain(composed.Permuted(arrays, order, order), composed.Sum((arrays, arrays)))
    kept, x = nn.frozen(made), jnp.linspace(-1, 1, 4)
    np.testing.assert_allclose(kept(x), made(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kept.weights(), made.weights(), rtol=1e-9, atol=1e-12)
    assert solves(kept, x) == 0
    slope, moved = jax.grad(lambda x: kept(x)[0])(x), jax.jacrev(made)(x)[0]
    np.testing.assert_allclose(slope, moved, rtol=1e-7, atol=1e-10)


def test_what_cannot_be_frozen_is_named():
    curved = lambda g: xb.Crossbar(xb.Sinh(g, 3.0), xb.Wires(3.0, 5.0))
    layer = nn.Linear(nn.tile(weights((4, 3)), MAPPINGS[0], curved, max_tile=4), None)
    with pytest.raises(ValueError, match=r"layers\[1\]\.arrays has cells .* no matrix"):
        nn.frozen(nn.MLP((eqx.nn.Identity(), layer), jax.nn.relu, lambda x: x))
    with pytest.raises(ValueError, match="no arrays to freeze"):
        nn.frozen(linear())


@pytest.mark.few(1)
@pytest.mark.parametrize("cell", [xb.Ohmic, lambda g: xb.Sinh(g, 3.0)], ids=["linear", "sinh"])
def test_arrays_are_solved_as_they_are_told(cell):
    w, x = weights((5, 3)), jnp.linspace(0.1, 1, 5)
    build = lambda g: xb.Crossbar(cell(g), xb.Wires(3e3, 5e3))
    of = lambda solver: nn.tile(w, MAPPINGS[0], build, max_tile=3, v_read=0.5, solver=solver)
    seen: list[bool] = []

    class Watched(xb.Dense):
        def compute(self, state, vector, options):
            seen.append(True)
            return super().compute(state, vector, options)

    for solver in (Watched(), xb.Newton(Watched())):
        np.testing.assert_allclose(of(solver)(x), of(xb.AutoLadder())(x), rtol=1e-8)
    assert seen
    if of(xb.AutoLadder()).is_linear:
        told = methods.Hardware(MAPPINGS[0], build, 3, scale=0.1, rest={"solver": Watched()})
        seen.clear()
        methods.compensated(w, told)
        assert seen


def test_what_is_not_solved_is_said_and_is_nan_under_jit():
    w, hasty = weights(), xb.LadderCG(max_steps=1)
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(3e4, 5e4))
    arrays = nn.tile(w, MAPPINGS[0], build, max_tile=11, solver=hasty)
    for call in (lambda a: a(jnp.ones(11)), lambda a: a.weights(), lambda a: a.calibrated(w).gain):
        with pytest.raises(RuntimeError, match="A tile is not solved"):
            call(arrays)
        assert np.any(np.isnan(eqx.filter_jit(call)(arrays)))
    curved = lambda g: xb.Crossbar(xb.Sinh(g, 3.0), xb.Wires(3e3, 5e3))
    one_step = nn.tile(w, MAPPINGS[0], curved, max_tile=11, solver=xb.Newton(max_steps=1))
    total = lambda arrays: jnp.sum(arrays(jnp.ones(11)))
    value, slope = eqx.filter_jit(eqx.filter_value_and_grad(total))(one_step)
    assert np.isnan(value) and np.all(np.isnan(slope.g_relative))  # and no gradient of 0


@pytest.mark.few(1)
@pytest.mark.parametrize("padding, stride, dilation", [(0, 1, 1), (1, 2, 1), ("SAME", 1, 2)])
def test_a_convolution_is_that_of_equinox(padding, stride, dilation):
    layer = eqx.nn.Conv2d(2, 3, (3, 2), stride, padding, dilation, key=KEY)
    on_arrays = nn.convert(layer, lambda w: nn.tile(w, MAPPINGS[0], ideal, max_tile=5))
    image = jax.random.normal(KEY, (2, 7, 6))
    np.testing.assert_allclose(on_arrays(image), layer(image), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(nn.frozen(on_arrays)(image), layer(image), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_perceptron_is_that_of_equinox_and_gives_every_layer_noise(depth):
    net = eqx.nn.MLP(3, 2, 4, depth, jax.nn.softplus, jnp.tanh, key=KEY, dtype=float)
    on = lambda noise: nn.convert(net, lambda w: nn.tile(w, MAPPINGS[0], ideal, noise=noise))
    x, keys = jnp.linspace(-1, 1, 3), jax.random.split(KEY, depth + 1)
    np.testing.assert_allclose(on(0.0)(x, key=KEY), net(x), rtol=1e-8)
    z = x
    for k, layer in enumerate(on(1e-6).layers):
        z = layer(z, key=keys[k])
        last = k == depth
        z = (z if depth == 0 else jnp.tanh(z)) if last else jax.nn.softplus(z)
    got = on(1e-6)(x, key=KEY)
    np.testing.assert_allclose(got, z, rtol=1e-9)
    assert np.abs(got - on(1e-6)(x)).min() > 1e-4  # and the noise is there
    kept = nn.convert([net, net.layers[0]], lambda w: w, where=lambda x: x is net.layers[0])
    first, *others = kept[0].layers
    assert isinstance(first, nn.Linear) and first.arrays.shape == (3, 4 if depth else 2)
    assert all(one is other for one, other in zip(others, net.layers[1:], strict=True))


def test_an_attention_is_converted_where_it_needs_no_key():
    net = eqx.nn.MultiheadAttention(2, 4, key=KEY, dtype=float)
    on = lambda noise: nn.convert(net, lambda w: nn.tile(w, MAPPINGS[0], ideal, noise=noise))
    x = jax.random.normal(KEY, (3, 4))
    np.testing.assert_allclose(on(0.0)(x, x, x), net(x, x, x), rtol=1e-7)
    with pytest.raises(ValueError, match="gives its projections no key"):
        on(1e-6)


def test_weights_are_trained_as_weights_where_a_model_is_converted_in_the_loss():
    net, (x, y) = eqx.nn.Linear(6, 3, key=KEY, dtype=float), data()
    make = lambda w: nn.tile(w, MAPPINGS[0], wired, max_tile=4, k=4e-5)

    @eqx.filter_jit
    def total(net):
        made = nn.convert(net, make)
        assert made.arrays.still is wired  # nothing flows at rest, and it is known here too
        z = jax.vmap(made)(x)
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    at = np.random.default_rng(0).normal(size=(3, 6))
    moved = lambda s: total(eqx.tree_at(lambda n: n.weight, net, net.weight + s * at))
    slope = jnp.vdot(eqx.filter_grad(total)(net).weight, at)
    np.testing.assert_allclose(slope, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)
    trained = nn.fit(nn.Training(lambda n, *_: total(n), optax.adam(0.01)), net, [0] * 5).model
    assert total(trained) < total(net)


def test_a_network_keeps_what_has_no_matrix():
    net = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 2, 3, key=KEY),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.LayerNorm(8),
            eqx.nn.Linear(8, 2, key=KEY),
        ]
    )
    image = jax.random.normal(KEY, (1, 4, 4))
    made = nn.convert(net, lambda w: nn.tile(w, MAPPINGS[0], ideal))
    assert isinstance(made[0], nn.Conv2d) and isinstance(made[3], nn.Linear)
    assert made[2] is net[2]
    np.testing.assert_allclose(made(image), net(image), rtol=1e-8)
    part = nn.convert(net, lambda w: nn.tile(w, MAPPINGS[0], ideal), where=lambda x: x is net[3])
    assert part[0] is net[0] and isinstance(part[3], nn.Linear)


class Frozen(xb.AbstractConverter):
    """Adds what an ideal converter of some bits did to other currents: rounding without steps."""

    bits: int = eqx.field(static=True)
    lo: jax.Array
    hi: jax.Array
    off: jax.Array

    def code(self, x):
        raise NotImplementedError

    def __call__(self, x):
        return x + self.off


def test_gradients_through_tiles_wires_converters_and_dies_are_differences():
    top = jnp.asarray(5e-5)
    adc = xb.Adc(6, -top, top)
    net = network(converter=adc, vary=Lognormal(0.1), v_read=0.2)
    net = nn.on_die(net, jax.random.key(9))
    x, y = jax.random.normal(KEY, (4, 6)), jnp.array([0, 2, 1, 0])

    def loss(net):
        z = jax.vmap(net)(x)
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    def frozen(net):
        """The same network whose roundings stay what they are here."""

        def hidden(layer, x):
            plain = eqx.tree_at(lambda a: a.converter, layer.arrays, None)
            v = plain.v_read * plain.tiling.inputs_of(x)
            i = jnp.einsum("dr,darc->dac", v, plain.effective())
            return adc(i) - i

        first, second = net.layers
        offs = [jax.vmap(lambda x: hidden(first, x))(x)]
        z = jax.nn.relu(jax.vmap(first)(x))
        offs.append(jax.vmap(lambda x: hidden(second, x))(z))
        return offs

    offs = eqx.filter_jit(frozen)(net)

    def smooth(net):
        first, second = net.layers

        def layer(one, x, off):
            convert = Frozen(6, -top, top, off)
            return eqx.tree_at(lambda n: n.arrays.converter, one, convert)(x)

        z = jax.vmap(lambda x, off: layer(first, x, off))(x, offs[0])
        z = jax.vmap(lambda x, off: layer(second, x, off))(jax.nn.relu(z), offs[1])
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    value, slopes = eqx.filter_jit(eqx.filter_value_and_grad(loss))(net)
    np.testing.assert_allclose(eqx.filter_jit(smooth)(net), value, rtol=1e-12)
    rng = np.random.default_rng(4)
    parts = lambda n: (
        *(a.arrays.g_relative for a in n.layers),
        n.layers[0].arrays.gain,
        n.layers[0].bias,
    )

    @jax.jit
    def moved(way):
        return smooth(
            eqx.tree_at(parts, net, [x + d for x, d in zip(parts(net), way, strict=True)])
        )

    for k in range(4):
        at = [np.zeros(x.shape) for x in parts(net)]
        at[k] = rng.normal(size=at[k].shape)
        slope = (moved([1e-6 * x for x in at]) - moved([-1e-6 * x for x in at])) / 2e-6
        np.testing.assert_allclose(jnp.vdot(parts(slopes)[k], at[k]), slope, rtol=1e-5, atol=1e-9)


def test_noise_of_a_key_is_the_same_in_both_passes():
    net, batch = network(noise=2e-6), data()
    share = lambda net: net.layers[0].arrays.g_relative
    at = np.random.default_rng(1).normal(size=share(net).shape)

    @jax.jit
    def moved(s, key):
        return loss(eqx.tree_at(share, net, share(net) + s * at), batch, key)

    assert abs(moved(0.0, KEY) - moved(0.0, jax.random.key(3))) > 1e-4  # another key, other noise
    for key in (KEY, jax.random.key(3)):
        slope = jnp.vdot(share(eqx.filter_grad(loss)(net, batch, key)), at)
        difference = (moved(1e-5, key) - moved(-1e-5, key)) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_one_key_is_one_die_and_one_noise():
    net = network(vary=Lognormal(0.2))
    x = jnp.linspace(-1, 1, 6)
    one, same, other = (nn.on_die(net, jax.random.key(k))(x) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    later = nn.varying(network(), Lognormal(0.2))
    np.testing.assert_array_equal(nn.on_die(later, jax.random.key(1))(x), one)
    np.testing.assert_array_equal(nn.varying(net, None)(x), net(x))
    assert np.abs(one - other).min() > 0 and np.abs(one - net(x)).max() > 0
    arrays = network(noise=1e-6).layers[0].arrays
    noisy = jax.vmap(lambda k: arrays(x, k))(jax.random.split(KEY, 4000))
    tiles = arrays.tiling.down
    expected = np.sqrt(tiles) * 1e-6 / float(arrays.k * arrays.v_read)
    np.testing.assert_allclose(noisy.std(axis=0), expected, rtol=0.06)


# by solves, and by elimination on a CPU, which takes a minute to lower
@pytest.mark.parametrize("most", [4, pytest.param(18, marks=pytest.mark.slow)])
def test_a_loss_and_its_gradient_export_to_every_platform(most):
    w, r = jnp.asarray(weights((36, 18)), jnp.float32), jnp.float32(3.0)
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r))
    arrays = nn.tile(
        w, xb.DifferentialPair(jnp.float32(LOW), jnp.float32(HIGH)), build, max_tile=most
    )

    @jax.jit
    def slope(share, x):
        of = lambda share: eqx.tree_at(lambda a: a.g_relative, arrays, share)
        return jax.value_and_grad(lambda share: jnp.sum(jax.vmap(of(share))(x) ** 2))(share)

    x = jnp.ones((8, 36), jnp.float32)
    exported = jax.export.export(slope, platforms=("cpu", "cuda", "tpu"))(arrays.g_relative, x)
    text = exported.mlir_module()
    assert "custom_call" not in text
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products and all("HIGHEST" in line for line in products)  # as a GPU's default is not
    for got, wanted in zip(
        exported.call(arrays.g_relative, x), slope(arrays.g_relative, x), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: nn.tile(jnp.ones(3), MAPPINGS[0], ideal), "weights has shape (3,)"),
        (lambda: nn.tile(weights() * jnp.inf, MAPPINGS[0], ideal), "weights"),
        (lambda: nn.tile(weights(), MAPPINGS[0], ideal, k=1.0), "k is 1.0 S"),
        (lambda: nn.tile(weights(), MAPPINGS[0], ideal, k=0.0), "k is 0"),
        (lambda: nn.tile(weights(), MAPPINGS[0], ideal, scale=0.0), "scale is 0"),
        (lambda: nn.tile(weights(), MAPPINGS[0], ideal, v_read=0), "v_read is 0"),
        (lambda: nn.tile(weights(), MAPPINGS[0], ideal, noise=-1.0), "noise is -1.0 A"),
        (lambda: nn.tile(weights(), MAPPINGS[0], floating), "columns that float"),
        (lambda: nn.Tiling(11, 7, 4).inputs_of(jnp.ones((2, 11))), "Use jax.vmap"),
        (lambda: nn.Tiling(0, 3, 4), "inputs is 0"),
        (lambda: nn.Tiling(3, 3, 0), "max_tile is 0"),
        (lambda: nn.convert(eqx.nn.LayerNorm(3), lambda w: w), "no layer to convert"),
        (lambda: nn.convert(eqx.nn.GRUCell(2, 2, key=KEY), lambda w: w), "has a GRUCell"),
        (lambda: nn.convert(eqx.nn.Conv1d(2, 2, 1, key=KEY), lambda w: w), "has a Conv1d"),
        (
            lambda: nn.convert(eqx.nn.Conv2d(2, 2, 1, groups=2, key=KEY), lambda w: w),
            "of 2 groups",
        ),
        (lambda: nn.convert(eqx.nn.WeightNorm(linear()), lambda w: w), "has a WeightNorm"),
        (lambda: nn.convert(eqx.nn.MLP(2, 2, 2, 3, scan=True, key=KEY), lambda w: w), "scan=False"),
        (lambda: xb.DigitalOffset(LOW, HIGH, 2e-4), "g_zero is"),
    ],
)
def test_what_cannot_be_is_named(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)
