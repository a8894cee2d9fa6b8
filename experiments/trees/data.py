"""Data, forests, and their tables in levels."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_friedman1
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import train_test_split

from xbarjax.systems import cam

from .circuit import LEVELS


class Set(NamedTuple):
    load: Any  # gives x and y
    trees: int
    leaves: int  # of a tree, at most
    splits: int
    regression: bool = False


SETS = {
    "breast cancer": Set(lambda: load_breast_cancer(return_X_y=True), 16, 8, 5),
    "wine": Set(lambda: load_wine(return_X_y=True), 16, 8, 5),
    "digits": Set(lambda: load_digits(return_X_y=True), 16, 24, 2),
    "friedman1": Set(
        lambda: make_friedman1(1200, 10, noise=1.0, random_state=0), 12, 32, 3, regression=True
    ),
}


class Case(NamedTuple):
    """A forest on a split of a set, and its table in levels."""

    x: np.ndarray  # training samples in levels
    y: np.ndarray
    x_test: np.ndarray  # a quarter, which no step saw
    y_test: np.ndarray
    table: cam.Table  # in levels
    software: float
    digital: float
    regression: bool

    def score(self, outputs: np.ndarray, y: np.ndarray | None = None) -> float:
        """Accuracy, or R^2 of a regression, on the test samples by default."""
        y = self.y_test if y is None else y
        if self.regression:
            return float(1 - np.mean((outputs[:, 0] - y) ** 2) / np.var(y))
        return float(np.mean(outputs.argmax(1) == y))


def case(name: str, split: int) -> Case:
    one = SETS[name]
    x, y = one.load()
    stratify = None if one.regression else y
    x, x_test, y, y_test = train_test_split(x, y, random_state=split, stratify=stratify)
    kind = RandomForestRegressor if one.regression else RandomForestClassifier
    model: Any = kind(one.trees, max_leaf_nodes=one.leaves, random_state=split).fit(x, y)
    whole = cam.from_forest(model)
    cuts = cam.cut_points(whole, LEVELS)
    table = cam.quantised(whole, cuts).table
    levels = [np.asarray(cam.digitise(part, cuts)) for part in (x, x_test)]
    found = Case(levels[0], y, levels[1], y_test, table, 0.0, 0.0, one.regression)
    digital = found.score(np.asarray(cam.predict(table, levels[1])))
    return found._replace(software=float(model.score(x_test, y_test)), digital=digital)
