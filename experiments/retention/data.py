"""Measured relaxation of HfOx cells over time and in bakes (MIT licence, (c) 2021 Akash Levy,
github.com/akashlevy/RRAM-Relaxation-Master-Model), from the folder named by XBARJAX_DATA or from
the public original. Checksums of both are verified."""

import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = "rram_relaxation"
COMMIT = "ca0cfff655a7392dc8955585f7345303b3cffde8"
ORIGINAL = f"https://raw.githubusercontent.com/akashlevy/RRAM-Relaxation-Master-Model/{COMMIT}/data"
# name: file within the folder and within the original, SHA-256
PARTS = {
    "B": (
        "techB/relaxdata_10k.min.tsv.gz",
        "dfd40fc2035d5358f01aea8cc24d50d46ceed487b9c4efcd01b46e1f5e92b922",
    ),
    "C": (
        "techC/relaxdata.min.tsv.gz",
        "e34def7515f45eb1ad8b9e14c78c805e32588dc94def02d5fe34177466d788db",
    ),
    "bake": (
        "techB/bake.tsv.gz",
        "a13efb08fdf47bffec60fddb10d156010fb3086a7e8899f92d9c173ce1165a50",
    ),
}
RANGE = {"B": 128e-6, "C": 40e-6}  # largest conductance of the cells of a chip [S]
BAKES = (100, 140)  # [C], on both sides of 125 C


class Reads(NamedTuple):
    """Cells at one time after programming: `(cells,)` each."""

    address: np.ndarray
    first: np.ndarray  # conductance right after programming [S]
    later: np.ndarray  # [S]


def over_time(chip: str) -> dict[float, Reads]:
    """Reads of a chip, `B` or `C`, at room temperature, by time [s]."""
    address, _, _, later, first, _, time = _table(chip).T
    reads = {}
    for t in np.unique(time[time > 0]):
        mine = (time == t) & (first <= RANGE[chip])
        reads[float(t)] = Reads(address[mine].astype(int), first[mine], later[mine])
    return reads


def baked() -> dict[int, Reads]:
    """Reads of chip `B` after bakes of an hour, by temperature [C]. The later read comes 1.5 hours
    after the first."""
    address, time, _, g, celsius = _table("bake").T
    reads = {}
    for at in BAKES:
        before, after = (np.flatnonzero((celsius == at) & when) for when in (time == 0, time > 100))
        before, after = (k[np.argsort(address[k])] for k in (before, after))
        assert np.array_equal(address[before], address[after]), "the two reads have other cells"
        mine = g[before] <= RANGE["B"]
        reads[at] = Reads(address[before][mine].astype(int), g[before][mine], g[after][mine])
    return reads


def _table(name: str) -> np.ndarray:
    file, checksum = PARTS[name]
    stored = Path(os.environ.get("XBARJAX_DATA", "")) / FOLDER / file
    path = stored if stored.is_file() else _original(name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != checksum:
        raise SystemExit(f"{path} has the wrong checksum; remove the file and try again.")
    return np.loadtxt(gzip.decompress(content).decode().splitlines())


def _original(name: str) -> Path:
    """The original, downloaded once and kept in the temporary folder."""
    file, _ = PARTS[name]
    kept = Path(tempfile.gettempdir()) / f"xbarjax-relaxation-{name}.tsv.gz"
    if not kept.exists():
        try:
            with urllib.request.urlopen(f"{ORIGINAL}/{file}", timeout=60) as answer:
                content = answer.read()
        except urllib.error.URLError as error:
            raise SystemExit(
                f"{ORIGINAL}/{file} cannot be downloaded ({error.reason}): put it into {FOLDER}/"
                f"{file} within the folder named by XBARJAX_DATA."
            ) from None
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as part:
            part.write(content)
        os.replace(part.name, kept)
    return kept
