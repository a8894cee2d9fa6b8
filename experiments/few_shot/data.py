"""Features of images, with classes for training and others for the episodes, and the episodes."""

import os
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from ..common import measured

SPLITS, WAYS, FEATURES = 5, 5, 64
PER_CLASS = 60  # images of a class that is held out


class Split(NamedTuple):
    """Features of one division of the classes, centred on the mean of the classes for training and
    within -1 to 1 on them."""

    known_x: np.ndarray  # of classes for training, not of the images that trained an embedding
    known_y: np.ndarray
    x: np.ndarray  # of classes that are held out
    y: np.ndarray


def sets() -> list[str]:
    return ["digits", "mnist"] if os.environ.get("XBARJAX_DATA") else ["digits"]


def split(name: str, seed: int) -> Split:
    classes = np.random.default_rng([1, seed]).permutation(10)
    old, new = classes[:WAYS], classes[WAYS:]
    if name == "digits":
        images: Any = load_digits()
        x, y, fit = images.data / 16, images.target, None
    else:
        stored = np.load(measured("mnist/mnist_70k_uint8.npz"))
        x, y = stored["x_test"].reshape(-1, 784) / 255, stored["y_test"]
        fit = stored["x_train"].reshape(-1, 784) / 255, stored["y_train"]
    if fit is not None:
        x = _embedding(*_some(*fit, old, 1000, seed), seed)(x)
    known_x, known_y = _some(x, y, old, PER_CLASS, seed)
    x, y = _some(x, y, new, PER_CLASS, seed)
    middle = known_x.mean(axis=0)
    size = np.abs(known_x - middle).max()
    of = lambda x: np.clip((x - middle) / size, -1, 1)
    return Split(of(known_x), known_y, of(x), y)


def _some(x, y, classes, most, seed):
    """At most so many images of each class."""
    rng = np.random.default_rng([2, seed])
    keep = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:most] for c in classes])
    return x[keep], y[keep]


def _embedding(x, y, seed):
    """The hidden units, 64 after 128, of a network that tells the classes for training apart."""
    net = MLPClassifier((128, FEATURES), max_iter=12, random_state=seed).fit(x, y)

    def units(x):
        for w, b in zip(net.coefs_[:2], net.intercepts_[:2]):
            x = np.maximum(x @ w + b, 0)
        return x

    return units


class Episode(NamedTuple):
    """Positions of images: `(episodes, ways * shots)` and `(episodes, queries)`."""

    stored: np.ndarray
    asked: np.ndarray


def episodes(y: np.ndarray, shots: int, count: int, seed: int, queries: int = 10) -> Episode:
    """Five classes, so many shots and other images of the same classes as queries."""
    rng = np.random.default_rng([3, seed, shots])
    stored, asked = [], []
    for _ in range(count):
        drawn = [rng.permutation(np.flatnonzero(y == c))[: shots + queries] for c in np.unique(y)]
        stored.append(np.concatenate([d[:shots] for d in drawn]))
        asked.append(np.concatenate([d[shots:] for d in drawn]))
    return Episode(np.array(stored), np.array(asked))
