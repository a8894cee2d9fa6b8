"""Training through the circuit: one loop for any model and loss."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import promoting
from ..variability import AbstractPerturbation
from .analog import Arrays
from .checkpoint import Checkpoint
from .cores import replicate
from .frozen import Frozen

Loss = Callable[[Any, Any, PRNGKeyArray], Array]


class TrainingError(RuntimeError):
    """Raised for a training that cannot go on; `state` is the last good state."""

    def __init__(self, message: str, state: "State"):
        super().__init__(message)
        self.state = state


class State(eqx.Module):
    """State of a training: the model, the state of the optimiser, and the number of steps done."""

    model: Any
    optimiser: Any
    step: Int[Array, ""]


class _Progress(eqx.Module):
    """Content of a checkpoint: the present state, the best validated state, its validation value,
    and the number of validations since."""

    state: State
    best: State
    least: Float[Array, ""]
    waited: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of a training.

    **Arguments:**

    - `loss`: `(model, batch, key) -> scalar`. The key is for noise, one per step; forward and
        backward pass see the same noise.
    - `optimiser`: an optax gradient transformation.
    - `train`: function from the model to a pytree of booleans of the same structure, true for
        trained leaves; by default `trainable`, for parts of a model `only(where)`.
    - `fresh_dies`: whether every step draws a new die for arrays with a `vary`, which makes the
        training robust against variation. Otherwise arrays keep their die.
    - `seed`: of the keys for noise and dies.
    """

    loss: Loss
    optimiser: optax.GradientTransformation
    train: Callable[[Any], Any] | None = None
    fresh_dies: bool = False
    seed: int = 0

    def begin(self, model: Any) -> State:
        """The state before the first step."""
        begun = State(model, self.optimiser.init(self._parts(model)[0]), jnp.asarray(0))
        return _placed(begun, model)

    def _parts(self, model: Any) -> tuple[Any, Any]:
        return eqx.partition(model, (self.train or trainable)(model))


def trainable(model: Any) -> Any:
    """The leaves that are trained by default, as a pytree of booleans: conductances, gains and
    offsets of arrays, biases, and all floating-point leaves of layers that are not on arrays.
    Nothing of frozen arrays is trained."""

    def one(part: Any) -> Any:
        if not isinstance(part, (Arrays, Frozen)):
            return eqx.is_inexact_array(part)
        nothing = jax.tree.map(lambda _: False, part)
        if isinstance(part, Frozen):
            return nothing
        return eqx.tree_at(lambda a: (a.g_relative, a.gain, a.offset), nothing, (True, True, True))

    return jax.tree.map(one, model, is_leaf=lambda x: isinstance(x, (Arrays, Frozen)))


def only(where: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Selection of the trained part of a model, for `Training(train=...)`. `where` returns one
    part of the model or a tuple of several, and the rest stays unchanged:
    `only(lambda model: model.layers[-1])` trains the last layer."""

    def train(model: Any) -> Any:
        nothing = jax.tree.map(lambda _: False, model)
        return eqx.tree_at(where, nothing, trainable(where(model)))

    return train


def within_bounds(model: Any) -> Any:
    """The model with every conductance clipped to its bounds."""
    return _over_arrays(
        lambda a: eqx.tree_at(lambda a: a.g_relative, a, jnp.clip(a.g_relative, 0, 1)), model
    )


def on_die(model: Any, key: PRNGKeyArray) -> Any:
    """The model on the die of `key`: every `Arrays` with a `vary` gets a key of its own, split from
    it."""
    arrays = [a for a in jax.tree.leaves(model, is_leaf=_is_arrays) if _is_arrays(a)]
    keys = iter(jax.random.split(key, max(len(arrays), 1)))

    def one(a: Arrays) -> Arrays:
        mine = next(keys)
        if a.vary is None:
            return a
        return eqx.tree_at(lambda a: a.die, a, mine, is_leaf=lambda x: x is None)

    return _over_arrays(one, model)


def varying(model: Any, vary: AbstractPerturbation | None) -> Any:
    """The model with the perturbation `vary` on all arrays. No die is chosen yet: call `on_die`."""
    of, none = (lambda a: (a.vary, a.die)), (lambda x: x is None)
    return _over_arrays(lambda a: eqx.tree_at(of, a, (vary, None), is_leaf=none), model)


@eqx.filter_jit
def step(training: Training, state: State, batch: Any) -> tuple[State, Array, Array]:
    """One training step: gradients through the circuit, the optimiser's update, clipping to bounds.

    **Returns:** the state after the step; the loss before it; and a boolean, whether the loss, the
    trained leaves and the state of the optimiser are all finite."""
    noise, dies = jax.random.split(jax.random.fold_in(jax.random.key(training.seed), state.step))
    free, fixed = training._parts(state.model)
    seen = training._parts(on_die(state.model, dies))[1] if training.fresh_dies else fixed
    loss = lambda free: training.loss(eqx.combine(free, seen), batch, noise)
    value, slopes = eqx.filter_value_and_grad(loss)(free)
    with promoting():
        updates, optimiser = training.optimiser.update(slopes, state.optimiser, free)
        free = eqx.apply_updates(free, updates)
    moved = within_bounds(eqx.combine(free, fixed))
    after = _placed(State(moved, optimiser, state.step + 1), moved)
    trained = training._parts(moved)[0], optimiser, value
    numbers = jax.tree.leaves(eqx.filter(trained, eqx.is_inexact_array))
    return after, value, jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))


def fit(
    training: Training,
    model: Any,
    batches: Iterable[Any],
    *,
    validate: Callable[[Any], float] | None = None,
    every: int = 100,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> State:
    """Trains a model, one step per batch, until the batches end.

    **Arguments:**

    - `training`: settings: loss, optimiser, trained leaves, dies.
    - `model`: any pytree, with or without arrays.
    - `batches`: iterable of batches for the loss, all of one shape.
    - `validate`: function from a model to a number, lower is better. It is called every `every`
        steps and after the last one.
    - `patience`: number of validations without improvement after which training stops. A checkpoint
        stores this count: a stopped training does not go on.
    - `checkpoint`: file for the state, written every `every` steps and at the end, completely or
        not at all. If the file exists, training resumes from it and skips the batches already done.
    - `on_step`: called with the number of the step and its loss, for progress.

    **Returns:** the state with the best validated model, or the last state without `validate`.

    **Errors:** `TrainingError`, with the last good state, if the loss, a trained leaf or the state
    of the optimiser is not finite; the checkpoint keeps that state. `ValueError` for `every` or
    `patience` below 1, for `patience` without `validate`, and for a checkpoint of another model.
    """
    if every < 1 or (patience is not None and patience < 1):
        raise ValueError(f"every is {every} and patience {patience}; both must be at least 1.")
    if patience is not None and validate is None:
        raise ValueError(f"patience is {patience}, but nothing is validated; give validate, too.")
    begun, fixed = training.begin(model), training._parts(model)[1]
    now = _Progress(begun, begun, jnp.asarray(jnp.inf), jnp.asarray(0))
    file = None if checkpoint is None else Checkpoint.of(Path(checkpoint), now, model, fixed)
    if file is not None and file.path.exists():
        now = _placed(file.load(now), model)
    keep = (lambda: None) if file is None else (lambda: file.save(now))
    done = int(now.state.step)
    enough = lambda: patience is not None and int(now.waited) >= patience
    for number, batch in enumerate(batches):
        if number < done:
            continue
        if enough():
            break
        moved, loss, fine = step(training, now.state, _placed(batch, now.state.model))
        if not bool(fine):
            keep()
            raise TrainingError(
                f"The loss is {float(loss)} at step {number}, and it or the updated model is not"
                " finite; the state before the step is kept. Lower the learning rate, or check this"
                " batch and the arrays: a tile that is not solved gives NaN.",
                now.state,
            )
        now = dataclasses.replace(now, state=moved)
        if on_step is not None:
            on_step(number, float(loss))
        if (number + 1) % every == 0:
            now = now if validate is None else _judged(now, float(validate(moved.model)))
            keep()
    keep()
    if validate is None:
        return now.state
    if int(now.state.step) % every != 0:  # not in the checkpoint: a resumed run validates elsewhere
        now = _judged(now, float(validate(now.state.model)))
    return now.best if bool(jnp.isfinite(now.least)) else now.state


def _judged(now: _Progress, value: float) -> _Progress:
    if value < float(now.least):
        return _Progress(now.state, now.state, jnp.asarray(value), jnp.asarray(0))
    return dataclasses.replace(now, waited=now.waited + 1)


def _placed(x: Any, model: Any) -> Any:
    """A state or a batch, replicated on all CPU devices if the model has arrays. The tiles are
    computed on all of them, and JAX cannot mix these arrays with those on a single device."""
    held = any(map(_is_arrays, jax.tree.leaves(model, is_leaf=_is_arrays)))
    return replicate(x) if held else x


def _is_arrays(x: Any) -> bool:
    return isinstance(x, Arrays)


def _over_arrays(f: Callable[[Arrays], Arrays], model: Any) -> Any:
    return jax.tree.map(lambda x: f(x) if _is_arrays(x) else x, model, is_leaf=_is_arrays)
