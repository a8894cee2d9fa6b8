"""MNIST, from the folder named by XBARJAX_DATA or from the public original. Checksums of both are
verified."""

import gzip
import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path

import numpy as np

FILE = "mnist/mnist_70k_uint8.npz"
ORIGINAL = "https://storage.googleapis.com/cvdf-datasets/mnist"
# name: file of the original, bytes of its header, shape, SHA-256 of the bytes after the header
PARTS = {
    "x_train": (
        "train-images-idx3-ubyte.gz",
        16,
        (60_000, 784),
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    "y_train": (
        "train-labels-idx1-ubyte.gz",
        8,
        (60_000,),
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    "x_test": (
        "t10k-images-idx3-ubyte.gz",
        16,
        (10_000, 784),
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    "y_test": (
        "t10k-labels-idx1-ubyte.gz",
        8,
        (10_000,),
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}
MEAN, DEVIATION = 0.1307, 0.3081  # of pixels between 0 and 1


def mnist() -> dict[str, np.ndarray]:
    """`x_train` `(60000, 784)`, `y_train`, `x_test` `(10000, 784)`, `y_test`. Pixels are float32,
    normalised to mean 0 and standard deviation 1."""
    folder = os.environ.get("XBARJAX_DATA")
    if folder and (Path(folder) / FILE).exists():
        with np.load(Path(folder) / FILE, allow_pickle=False) as stored:
            found = {name: stored[name].astype(np.uint8) for name in PARTS}
    else:
        found = {name: _original(name) for name in PARTS}
    for name, (_, _, shape, checksum) in PARTS.items():
        if hashlib.sha256(found[name].tobytes()).hexdigest() != checksum:
            raise SystemExit(
                f"{name} of MNIST has the wrong checksum; remove the file and try again."
            )
        found[name] = found[name].reshape(shape)
    for name in ("x_train", "x_test"):
        found[name] = ((found[name] / 255 - MEAN) / DEVIATION).astype(np.float32)
    return found


def _original(name: str) -> np.ndarray:
    """A part of the original, downloaded once and kept in the temporary folder."""
    file, header, _, _ = PARTS[name]
    kept = Path(tempfile.gettempdir()) / f"xbarjax-{file}"
    if not kept.exists():
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as part:
            with urllib.request.urlopen(f"{ORIGINAL}/{file}", timeout=60) as answer:
                part.write(answer.read())
        os.replace(part.name, kept)
    return np.frombuffer(gzip.decompress(kept.read_bytes())[header:], np.uint8)
