"""Training through the circuit: one loop, whatever is in the forward pass."""

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
    """A training that cannot go on. `state` is the last good one."""

    def __init__(self, message: str, state: "State"):
        super().__init__(message)
        self.state = state


class State(eqx.Module):
    """State of a training: the model, the optimiser's memory, and the number of steps."""

    model: Any
    optimiser: Any
    step: Int[Array, ""]


class _Progress(eqx.Module):
    """Content of a checkpoint: the state, the best one, its value, and validations since."""

    state: State
    best: State
    least: Float[Array, ""]
    waited: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of a training.

    **Arguments:**

    - `loss`: `(model, batch, key) -> scalar`. The key is for noise; what is drawn from it is the
        same in the forward and in the backward pass.
    - `optimiser`: of optax.
    - `train`: which numbers are trained, a function of the model giving booleans of its form;
        by default `trainable`, of parts alone `only(where)`.
    - `fresh_dies`: whether every step sees a die of its own (of arrays with a `vary`): training
        against what dies may have. Otherwise each keeps the die that it has.
    - `seed`: of noise and dies.
    """

    loss: Loss
    optimiser: optax.GradientTransformation
    train: Callable[[Any], Any] | None = None
    fresh_dies: bool = False
    seed: int = 0

    def begin(self, model: Any) -> State:
        """Before the first step."""
        begun = State(model, self.optimiser.init(self._parts(model)[0]), jnp.asarray(0))
        return _placed(begun, model)

    def _parts(self, model: Any) -> tuple[Any, Any]:
        return eqx.partition(model, (self.train or trainable)(model))


def trainable(model: Any) -> Any:
    """True where numbers are trained by default: conductances, gains and offsets of arrays, biases,
    and all floating numbers of layers that are not on arrays. Of frozen arrays it is nothing."""

    def one(part: Any) -> Any:
        if not isinstance(part, (Arrays, Frozen)):
            return eqx.is_inexact_array(part)
        nothing = jax.tree.map(lambda _: False, part)
        if isinstance(part, Frozen):
            return nothing
        return eqx.tree_at(lambda a: (a.g_relative, a.gain, a.offset), nothing, (True, True, True))

    return jax.tree.map(one, model, is_leaf=lambda x: isinstance(x, (Arrays, Frozen)))


def only(where: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Selection of the part of a model that is trained, for `Training`; the rest stays as it is.
    `only(lambda model: model.layers[-1])` trains the last layer. `where` gives the part, or
    several."""

    def train(model: Any) -> Any:
        nothing = jax.tree.map(lambda _: False, model)
        return eqx.tree_at(where, nothing, trainable(where(model)))

    return train


def within_bounds(model: Any) -> Any:
    """The model with every conductance between its bounds."""
    return _over_arrays(
        lambda a: eqx.tree_at(lambda a: a.g_relative, a, jnp.clip(a.g_relative, 0, 1)), model
    )


def on_die(model: Any, key: PRNGKeyArray) -> Any:
    """The model on the die of a key: every stack of arrays that varies draws its own from it."""
    arrays = [a for a in jax.tree.leaves(model, is_leaf=_is_arrays) if _is_arrays(a)]
    keys = iter(jax.random.split(key, max(len(arrays), 1)))

    def one(a: Arrays) -> Arrays:
        mine = next(keys)
        if a.vary is None:
            return a
        return eqx.tree_at(lambda a: a.die, a, mine, is_leaf=lambda x: x is None)

    return _over_arrays(one, model)


def varying(model: Any, vary: AbstractPerturbation | None) -> Any:
    """The model on arrays whose conductances vary so, on no die yet (`on_die`)."""
    of, none = (lambda a: (a.vary, a.die)), (lambda x: x is None)
    return _over_arrays(lambda a: eqx.tree_at(of, a, (vary, None), is_leaf=none), model)


@eqx.filter_jit
def step(training: Training, state: State, batch: Any) -> tuple[State, Array, Array]:
    """One step: gradients through the circuit, the optimiser's update, bounds.

    **Returns:** the state after it, the loss before it, and whether that, what is trained and what
    the optimiser remembers are finite."""
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
    """Trains a model on batches until they end.

    **Arguments:**

    - `training`: loss, optimiser and what is drawn anew.
    - `model`: of layers on arrays, or any other.
    - `batches`: of whatever the loss takes, all of one shape.
    - `validate`: of a model, the lower the better, asked `every` so many steps and after the last;
        the best model is what is returned.
    - `patience`: validations without a better one after which training stops, for good where
        there is a checkpoint.
    - `checkpoint`: a file that holds the state, written at every validation and at the end, whole
        or not at all. If it is there, training goes on from it, and as many batches are skipped.
    - `on_step`: called with the number of the step and its loss, for progress.

    **Returns:** the state: the best model that was validated, or the last one.

    **Errors:** `TrainingError` where the loss or a number of the model is not finite; it holds the
    last good state, and so does the checkpoint. `ValueError` for a checkpoint of another model.
    """
    if every < 1 or (patience is not None and patience < 1):
        raise ValueError(f"every is {every} and patience {patience}; both must be at least 1.")
    if patience is not None and validate is None:
        raise ValueError(f"patience is {patience}, and nothing is validated: give validate, too.")
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
                f"The loss is {float(loss)} at step {number}, and it or what the step makes of"
                " the model is not finite; the state before it is kept. Lower the learning rate, or"
                " look at this batch, or at the arrays: one that is not solved computes NaN.",
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
    if int(now.state.step) % every != 0:  # not kept: with more batches it would be no validation
        now = _judged(now, float(validate(now.state.model)))
    return now.best if bool(jnp.isfinite(now.least)) else now.state


def _judged(now: _Progress, value: float) -> _Progress:
    if value < float(now.least):
        return _Progress(now.state, now.state, jnp.asarray(value), jnp.asarray(0))
    return dataclasses.replace(now, waited=now.waited + 1)


def _placed(x: Any, model: Any) -> Any:
    """A state or a batch where the arrays of a model are computed: on several cores a step finds it
    as it leaves it, and what lies on a single one could not be computed with."""
    held = any(map(_is_arrays, jax.tree.leaves(model, is_leaf=_is_arrays)))
    return replicate(x) if held else x


def _is_arrays(x: Any) -> bool:
    return isinstance(x, Arrays)


def _over_arrays(f: Callable[[Arrays], Arrays], model: Any) -> Any:
    return jax.tree.map(lambda x: f(x) if _is_arrays(x) else x, model, is_leaf=_is_arrays)
