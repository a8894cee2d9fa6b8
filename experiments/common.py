"""Helpers of the experiments: the description of the machine, and atomic writing of files."""

import json
import os
import platform
import tempfile
import time
from pathlib import Path

import jax
import jaxlib
import numpy as np

import xbarjax


def machine() -> dict:
    """Description of the machine and the versions behind a result."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "xbarjax": xbarjax.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((x.split(":")[1].strip() for x in lines if "model name" in x), platform.machine())


def keep(folder: Path, result: dict, figure, began: float) -> str:
    """Writes `result.json`, with the machine and the seconds since `began`
    (`time.perf_counter()`), and the figure into a folder. Returns a message about both."""
    seconds = time.perf_counter() - began
    write_json(folder / "result.json", result | {"machine": machine(), "seconds": seconds})
    write_figure(figure, folder / "figure.svg")
    write_figure(figure, folder / "figure.png")
    return f"{seconds:.0f} s; {folder.name}/result.json and figure"


def write_json(path: Path, result: dict) -> None:
    """Writes a result completely or not at all."""

    def plain(x):
        if isinstance(x, (np.ndarray, np.generic, jax.Array)):
            return np.asarray(x).tolist()
        raise TypeError(f"a result cannot hold a {type(x).__name__}; give numbers or arrays.")

    _write(path, (json.dumps(result, indent=1, default=plain) + "\n").encode())


def write_figure(figure, path: Path) -> None:
    """Saves a figure completely or not at all, in the format of its suffix."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        figure.savefig(part, dpi=150)
        os.replace(part, path)


def write_arrays(path: Path, **arrays) -> None:
    """Saves arrays to `.npz` completely or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        np.savez_compressed(part, **{name: np.asarray(x) for name, x in arrays.items()})
        os.replace(part, path)


def measured(name: str) -> Path:
    """Path of a file or folder of measurements within the folder named by XBARJAX_DATA."""
    folder = os.environ.get("XBARJAX_DATA")
    if not folder:
        raise SystemExit(f"XBARJAX_DATA is not set: set it to the folder that holds {name}.")
    path = Path(folder) / name
    if not path.exists():
        raise SystemExit(f"{path} does not exist: set XBARJAX_DATA to the folder with {name}.")
    return path


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        part.write(content)
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)
