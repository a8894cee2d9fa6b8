"""Tables of trained trees against scikit-learn and the files of X-TIME against NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import ensemble, tree
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_regression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from xbarjax.systems import cam

DATA = Path(os.environ.get("XBARJAX_DATA", "/nowhere")) / "xtime"


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other on busy cores take seconds."""
    with threadpool_limits(1, "openmp"):
        yield


def regression() -> Any:
    return make_regression(400, 6, noise=5.0, random_state=0)


def whole():
    """Features of few whole numbers, so that many thresholds are 0 or .5 and many votes tie."""
    x = np.random.default_rng(1).integers(-2, 3, (300, 5)).astype(float)
    x[:, :2] *= 2  # no sample lies at odd numbers: thresholds are whole
    return x, (x.sum(1) + x[:, 0] * x[:, 1] > 1).astype(int)


def cancer() -> Any:
    return load_breast_cancer(return_X_y=True)


def wine():
    return load_wine(return_X_y=True)


def digits():
    return load_digits(return_X_y=True)


SEED: dict[str, Any] = {"random_state": 0}
MODELS = [
    (cancer, tree.DecisionTreeClassifier(**SEED)),
    (cancer, ensemble.RandomForestClassifier(10, max_depth=5, **SEED)),
    (cancer, ensemble.GradientBoostingClassifier(n_estimators=10, **SEED)),
    (cancer, ensemble.HistGradientBoostingClassifier(max_iter=10, max_depth=4, **SEED)),
    (cancer, ensemble.GradientBoostingClassifier(n_estimators=5, init="zero", loss="exponential")),
    (wine, ensemble.ExtraTreesClassifier(10, **SEED)),
    (wine, ensemble.GradientBoostingClassifier(n_estimators=5, **SEED)),
    (wine, ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, **SEED)),
    (digits, ensemble.RandomForestClassifier(7, max_depth=6, **SEED)),
    (regression, tree.DecisionTreeRegressor(max_depth=6, **SEED)),
    (regression, tree.ExtraTreeRegressor(max_depth=6, **SEED)),
    (regression, ensemble.RandomForestRegressor(10, max_depth=5, **SEED)),
    (regression, ensemble.ExtraTreesRegressor(5, max_depth=5, **SEED)),
    (regression, ensemble.GradientBoostingRegressor(n_estimators=20, **SEED)),
    (regression, ensemble.HistGradientBoostingRegressor(max_iter=10, **SEED)),
    (whole, ensemble.RandomForestClassifier(4, max_depth=3, **SEED)),
    (whole, ensemble.HistGradientBoostingClassifier(max_iter=5, **SEED)),
]


def raw(model, x):
    """What the outputs of the table are, by scikit-learn alone."""
    if hasattr(model, "decision_function"):
        return model.decision_function(x).reshape(len(x), -1)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(x) * len(getattr(model, "estimators_", [model]))
    return model.predict(x)[:, None]


def thresholds(model) -> list[tuple[int, float]]:
    """Features and thresholds of all inner nodes, by scikit-learn's own arrays."""
    if hasattr(model, "_predictors"):
        nodes = np.concatenate([p.nodes for stage in model._predictors for p in stage])
        nodes = nodes[nodes["is_leaf"] == 0]
        return list(zip(nodes["feature_idx"], nodes["num_threshold"]))
    trees = [one.tree_ for one in np.ravel(getattr(model, "estimators_", [model]))]
    return [(f, t) for one in trees for f, t in zip(one.feature, one.threshold) if f >= 0]


def at_thresholds(model, x) -> np.ndarray:
    """Samples on thresholds, and just below and above them in float64 and in float32."""
    rng = np.random.default_rng(0)
    found = thresholds(model)
    picked = [found[k] for k in rng.permutation(len(found))[:60]]
    samples = []
    for feature, t in picked:
        near = np.float32(t)
        steps = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
        middle = [(float(near) + float(step)) / 2 for step in steps]
        points = [t, *steps, *middle]
        points += [np.nextafter(p, side) for p in (t, *middle) for side in (-np.inf, np.inf)]
        for point in points:
            sample = x[rng.integers(len(x))].copy()
            sample[feature] = point
            samples.append(sample)
    all_at_once = x[rng.integers(len(x), size=200)].copy()
    for sample in all_at_once:
        for k in rng.permutation(len(found)):
            sample[found[k][0]] = found[k][1]
    return np.concatenate([samples, all_at_once])


@pytest.mark.parametrize("load, model", MODELS, ids=lambda p: getattr(p, "__name__", None))
def test_a_table_answers_as_the_model(load, model):
    x, y = load()
    train, test, y_train, _ = train_test_split(x, y, random_state=0)
    model.fit(train, y_train)
    table = cam.from_forest(model)
    edges = at_thresholds(model, x)
    # subnormal numbers count as 0
    edges[np.abs(edges) < np.finfo(np.float32).tiny] = 0
    samples = np.concatenate([test, edges])

    y_table = np.asarray(cam.predict(table, samples))
    y_model = raw(model, samples)
    assert np.max(np.abs(y_table - y_model)) <= 1e-13 * np.max(np.abs(y_model))
    if hasattr(model, "classes_"):
        assert (model.classes_[cam.classify(table, samples)] == model.predict(samples)).all()

    matched = np.asarray(cam.matches(table, samples))
    trees = np.asarray(table.tree)
    hits = np.stack([matched[:, trees == k].sum(1) for k in np.unique(trees)], axis=1)
    assert (hits == 1).all()


def test_samples_in_float64_are_rounded_as_the_model_rounds_them():
    """Ties of float32 go to the even neighbour, and one ulp beside them decides otherwise."""
    one = np.float32(1000)
    up = np.nextafter(one, np.float32(2000))
    upper = np.nextafter(up, np.float32(2000))
    x = np.array([[one], [up], [up], [upper]], dtype=np.float32)
    for targets in ([0, 1, 1, 1], [0, 0, 0, 1]):
        model = tree.DecisionTreeClassifier().fit(x, targets)
        table = cam.from_forest(model)
        points = np.array([(float(a) + float(b)) / 2 for a, b in ((one, up), (up, upper))])
        points = np.concatenate([points, np.nextafter(points, 0), np.nextafter(points, 2000)])[
            :, None
        ]
        got = cam.classify(table, points)
        assert (np.asarray(got) == model.predict(points)).all()
        assert 0 < np.sum(got) < len(points)


def test_a_threshold_at_zero_keeps_zero_on_its_left():
    x = np.array([[-1.0], [1.0]])
    for model in (
        tree.DecisionTreeRegressor(),
        ensemble.HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=1),
    ):
        table = cam.from_forest(model.fit(x, [0.0, 1.0]))
        assert thresholds(model) == [(0, 0.0)]
        at = np.array([[-0.0], [0.0], [1e-30]])
        np.testing.assert_allclose(cam.predict(table, at)[:, 0], model.predict(at), atol=1e-15)


def test_infinite_samples_are_as_in_the_histogram_model():
    x, y = regression()
    model = ensemble.HistGradientBoostingRegressor(max_iter=3).fit(x, y)
    ends = np.where(np.random.default_rng(0).random((50, 6)) < 0.5, np.inf, -np.inf)
    got = cam.predict(cam.from_forest(model), ends)[:, 0]
    np.testing.assert_allclose(got, model.predict(ends), rtol=1e-13)


def test_a_tree_without_a_question_is_one_row():
    table = cam.from_forest(tree.DecisionTreeRegressor().fit(np.ones((3, 2)), [2.0, 2.0, 2.0]))
    assert table.low.shape == (1, 2)
    np.testing.assert_array_equal(cam.predict(table, [-9.0, 9.0]), [2.0])


def test_without_64_bits_a_table_answers_for_float32():
    x, y = regression()
    x = x.astype(np.float32)
    for model in (
        ensemble.HistGradientBoostingRegressor(max_iter=5),
        ensemble.RandomForestRegressor(5, random_state=0),
    ):
        model.fit(x[:200], y[:200])
        edges = at_thresholds(model, x).astype(np.float32)
        with jax.enable_x64(False):
            table = cam.from_forest(model)
            got = np.asarray(cam.predict(table, edges))[:, 0]
        assert got.dtype == np.float32
        want = model.predict(edges)
        assert np.max(np.abs(got - want)) < 1e-5 * np.max(np.abs(want))


def with_missing():
    x = np.where(np.arange(20) % 2, np.nan, 1.0)[:, None]
    return tree.DecisionTreeRegressor().fit(x, np.arange(20) % 2)


def with_missing_by_histogram():
    x = np.where(np.arange(60) % 2, np.nan, 1.0)[:, None]
    return ensemble.HistGradientBoostingRegressor(max_iter=1).fit(x, np.arange(60) % 2)


def categorical():
    x = np.arange(60)[:, None] % 3.0
    categories: Any = [0]
    model = ensemble.HistGradientBoostingRegressor(max_iter=1, categorical_features=categories)
    return model.fit(x, x[:, 0])


def from_an_estimator():
    x, y = cancer()
    return ensemble.GradientBoostingClassifier(
        n_estimators=1, init=LogisticRegression(max_iter=10_000, tol=1.0)
    ).fit(x / x.max(0), y)


def several_outputs():
    x = np.arange(8.0)[:, None]
    return tree.DecisionTreeClassifier().fit(x, np.stack([x[:, 0] > 3, x[:, 0] > 5], axis=1))


@pytest.mark.parametrize(
    "make, kind, words",
    [
        (with_missing, ValueError, ["feature 0", "missing", "before model.fit"]),
        (with_missing_by_histogram, ValueError, ["feature 0", "missing", "before model.fit"]),
        (categorical, ValueError, ["feature 0", "categories", "one-hot"]),
        (from_an_estimator, ValueError, ["LogisticRegression", "init='zero'"]),
        (several_outputs, ValueError, ["2 outputs", "a model for each"]),
        (tree.DecisionTreeRegressor, ValueError, ["not fitted", "model.fit"]),
        (LogisticRegression, TypeError, ["LogisticRegression", "decision tree"]),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_models_that_are_no_table_are_refused(make, kind, words):
    with pytest.raises(kind) as refused:
        cam.from_forest(make())
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.skipif(not DATA.is_dir(), reason="XBARJAX_DATA has no xtime")
@pytest.mark.parametrize("name, accuracy", [("ex01", 0.88), ("ex02", 0.98)])
def test_tables_of_xtime(name, accuracy):
    table, x, y = cam.from_xtime(DATA / name)
    files = {
        part: np.loadtxt(DATA / name / f"{part}.csv", delimiter=",", dtype=int)
        for part in ("T_quant", "L_quant", "t_ids", "X_test_quant", "y_test")
    }
    want = np.zeros((len(x), len(files["L_quant"])), bool)
    for k, sample in enumerate(files["X_test_quant"]):
        for row, bounds in enumerate(files["T_quant"]):
            want[k, row] = all(lo <= v < hi for v, lo, hi in zip(sample, bounds[::2], bounds[1::2]))
    np.testing.assert_array_equal(cam.matches(table, x), want)
    for t in np.unique(files["t_ids"]):
        assert (want[:, files["t_ids"] == t].sum(1) == 1).all()
    np.testing.assert_array_equal(cam.predict(table, x)[:, 0], want @ files["L_quant"])
    got = np.asarray(cam.classify(table, x))
    np.testing.assert_array_equal(got, want @ files["L_quant"] > 0)
    np.testing.assert_array_equal(y, files["y_test"])
    assert (got == files["y_test"]).mean() >= accuracy
    top = np.full((1, 3), 15.0)  # bounds at the last level are no limit
    assert (jnp.bincount(table.tree[cam.matches(table, top)[0]]) == 1).all()


def test_files_of_xtime_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no T_quant\.csv; pass a folder with"):
        cam.from_xtime(tmp_path)
    for name in ("T_quant", "L_quant", "t_ids", "c_ids", "X_test_quant", "y_test"):
        (tmp_path / f"{name}.csv").write_text("0,15\n" if name == "T_quant" else "1\n")
    assert cam.from_xtime(tmp_path).table.low.shape == (1, 1)
    (tmp_path / "X_test_quant.csv").write_text("1,2\n")
    with pytest.raises(ValueError, match="2 columns.*2 x features"):
        cam.from_xtime(tmp_path)
    (tmp_path / "t_ids.csv").write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"t_ids.csv has shape \(2, 1\); T_quant.csv has 1 rows"):
        cam.from_xtime(tmp_path)
