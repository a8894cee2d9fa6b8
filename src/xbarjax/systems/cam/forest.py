"""Trained trees and ensembles of scikit-learn as tables of intervals."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._types import described
from .table import Table

__all__ = ["from_forest"]


def __dir__() -> list[str]:
    return __all__


class _Tree(NamedTuple):
    """A tree of nodes: a sample goes left if `x[feature] <= threshold`."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    is_leaf: np.ndarray
    value: np.ndarray  # (nodes, outputs)


def from_forest(model: Any) -> Table:
    """A trained tree or ensemble of scikit-learn as a table with one row per leaf.

    | model | outputs |
    |---|---|
    | decision tree, random forest, extra trees: classifiers | the sum of `predict_proba` over all \
trees, per class |
    | the same: regressors | `predict`, the mean over all trees |
    | gradient boosting and its histogram form: classifiers | `decision_function` (one output for \
two classes) |
    | the same: regressors | `predict`; its logarithm for the losses "poisson" and "gamma" |

    `classify` gives positions in `model.classes_`. An output of exactly 0 of a boosted classifier
    is class 0, which only `GradientBoostingClassifier` counts as 1.

    The table matches exactly the leaf that scikit-learn reaches, on thresholds too. `x <= t` is
    `x < next`, where `next` is the least number above `t`. Models that round samples to float32
    give tables in float32, which round them too. Histogram models compare in float64, and so does
    their table if JAX has 64 bits; else samples are rounded to float32 first. Numbers nearer to 0
    than the least normal number count as 0, as in compiled code.

    Raises `ValueError` for models that are not fitted, have categories, classify several outputs,
    ask whether a value is missing, or start from an estimator; `TypeError` for other models; and
    `ModuleNotFoundError` without scikit-learn, which the extra `trees` brings.
    """
    try:
        import sklearn.ensemble as ensemble
        import sklearn.tree as tree
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Trained trees need {error.name}: run pip install 'xbarjax[trees]'."
        ) from error

    forests = (
        ensemble.RandomForestClassifier, ensemble.RandomForestRegressor,
        ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor,
    )  # fmt: skip
    single = (tree.DecisionTreeClassifier, tree.DecisionTreeRegressor)
    boosted = (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
    histogram = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
    if not isinstance(model, (*forests, *single, *boosted, *histogram)):
        raise TypeError(
            f"model is {described(model)}; pass a decision tree, a random forest, extra trees, or a"
            " (histogram) gradient boosting model of scikit-learn."
        )
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise ValueError("model is not fitted: call model.fit(x, y) first.") from error
    fitted: Any = model
    features = fitted.n_features_in_
    if isinstance(model, histogram):
        trees, base = _histogram(fitted)
        return _table(trees, base, features, np.dtype(jnp.zeros(()).dtype))
    if isinstance(model, boosted):
        trees, base = _boosted(fitted)
    else:
        trees = _averaged([fitted] if isinstance(model, single) else fitted.estimators_, fitted)
        base = np.zeros(trees[0].value.shape[1])
    return _table(trees, base, features, np.dtype(np.float32))


def _averaged(estimators: list[Any], model: Any) -> list[_Tree]:
    """Trees that vote with the probabilities of classes, or whose mean is the answer."""
    votes = hasattr(model, "classes_")
    if votes and model.n_outputs_ > 1:
        raise ValueError(
            f"model classifies {model.n_outputs_} outputs at once; pass a model for each of them."
        )
    if votes:
        return [_nodes(one.tree_, one.tree_.value[:, 0, :]) for one in estimators]
    return [_nodes(one.tree_, one.tree_.value[:, :, 0] / len(estimators)) for one in estimators]


def _boosted(model: Any) -> tuple[list[_Tree], np.ndarray]:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if not (model.init_ == "zero" or isinstance(model.init_, (DummyClassifier, DummyRegressor))):
        raise ValueError(
            f"model starts from {described(model.init_)}, which is no table; pass a model with"
            " init=None or init='zero'."
        )
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    outputs = np.eye(base.size)
    trees = [
        _nodes(one.tree_, model.learning_rate * one.tree_.value[:, 0, :] * outputs[k])
        for stage in model.estimators_
        for k, one in enumerate(stage)
    ]
    return trees, base


def _histogram(model: Any) -> tuple[list[_Tree], np.ndarray]:
    if model.is_categorical_ is not None and np.any(model.is_categorical_):
        k = int(np.flatnonzero(model.is_categorical_)[0])
        raise ValueError(
            f"model takes feature {k} for categories, which are no interval; encode them, such as"
            " one-hot, and fit without categorical_features."
        )
    base = np.ravel(model._baseline_prediction)
    outputs = np.eye(base.size)
    trees = []
    for stage in model._predictors:
        for k, one in enumerate(stage):
            n = one.nodes
            trees.append(
                _Tree(
                    np.asarray(n["feature_idx"]), np.asarray(n["num_threshold"]),
                    np.asarray(n["left"]), np.asarray(n["right"]),
                    np.asarray(n["is_leaf"], bool), n["value"][:, None] * outputs[k],
                )
            )  # fmt: skip
    return trees, base


def _nodes(tree: Any, value: np.ndarray) -> _Tree:
    left, right = tree.children_left, tree.children_right
    return _Tree(tree.feature, tree.threshold, left, right, left == right, value)


def _table(trees: list[_Tree], base: np.ndarray, features: int, dtype: np.dtype) -> Table:
    parts = [_rows(tree, features, dtype) for tree in trees]
    low, high, value = (np.concatenate(part) for part in zip(*parts))
    number = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Table(low, high, value, number, base)


def _rows(tree: _Tree, features: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds and values of the leaves, from left to right."""
    asks = ~tree.is_leaf
    if not np.isfinite(tree.threshold[asks]).all():
        node = np.flatnonzero(asks & ~np.isfinite(tree.threshold))[0]
        raise ValueError(
            f"model asks whether feature {tree.feature[node]} is missing, which is no interval;"
            " replace missing values by numbers before model.fit."
        )
    cut = _above(np.where(asks, tree.threshold, 0.0), dtype)
    lows, highs, values = [], [], []
    todo = [(0, np.full(features, -np.inf, dtype), np.full(features, np.inf, dtype))]
    while todo:
        node, low, high = todo.pop()
        if tree.is_leaf[node]:
            lows.append(low)
            highs.append(high)
            values.append(tree.value[node])
            continue
        at, upper, lower = tree.feature[node], high.copy(), low.copy()
        upper[at] = min(high[at], cut[node])
        lower[at] = max(low[at], cut[node])
        todo += [(tree.right[node], lower, high), (tree.left[node], low, upper)]
    return np.stack(lows), np.stack(highs), np.stack(values)


def _above(threshold: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The least number of a dtype above each float64 threshold, among 0 and normal numbers.

    Compiled code takes subnormal numbers for 0, so that 0 would not lie below one of them."""
    near = threshold.astype(dtype)
    above = np.where(near > threshold, near, np.nextafter(near, np.asarray(np.inf, dtype)))
    tiny = np.finfo(dtype).tiny
    above = np.where((above > 0) & (above < tiny), tiny, above)
    return np.where((above < 0) & (above > -tiny), np.zeros((), dtype), above).astype(dtype)
