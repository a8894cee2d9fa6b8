"""Experiments in parts: each is kept when it is done, and can be run anew by itself."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console

from .common import keep, write_json

SAY = Console().print
Result = dict[str, Any]


def main(
    folder: Path,
    parts: dict[str, Callable[..., Any]],
    figure: Callable[[Result], Any],
    *,
    call: Callable[[Callable[..., Any], Result], Any] = lambda part, result: part(),
    finish: Callable[[Result], None] = lambda result: None,
    x64: bool = True,
) -> None:
    """The command line of an experiment, which writes `result.json` and the figure into a folder.

    - `parts`: what the result is made of, by name.
    - `figure`: draws a whole result.
    - `call`: calls a part, with the result so far for those that build on others.
    - `finish`: adds to a whole result what follows from its parts.
    - `x64`: whether numbers are float64.
    """

    def command(
        only: Annotated[str, typer.Option(help="Parts to run, by commas; the others stay.")] = "",
    ) -> None:
        """Writes result.json and the figure."""
        began = time.perf_counter()
        jax.config.update("jax_enable_x64", x64)
        file = folder / "result.json"
        result: Result = plain(json.loads(file.read_text())) if only and file.exists() else {}
        unknown = set(only.split(",") if only else ()) - set(parts)
        if unknown:
            raise SystemExit(f"--only names {sorted(unknown)}; the parts are {', '.join(parts)}.")
        for name in only.split(",") if only else parts:
            at = time.perf_counter()
            result[name] = plain(call(parts[name], result))
            seconds = time.perf_counter() - at
            result.setdefault("seconds_of_parts", {})[name] = seconds
            SAY(f"{name}: {seconds:.0f} s")
            write_json(file, result)  # kept if the rest is interrupted
        for name in ("machine", "seconds"):
            result.pop(name, None)
        missing = sorted(set(parts) - set(result))
        if missing:
            raise SystemExit(f"missing parts: {missing}; run them too.")
        finish(result)
        SAY(keep(folder, result, figure(result), began))

    typer.run(command)


def plain(x: Any) -> Any:
    """A result in lists and dicts, with null for inf and NaN, which JSON lacks."""
    if isinstance(x, dict):
        return {name: plain(one) for name, one in x.items()}
    if isinstance(x, list | tuple):
        return [plain(one) for one in x]
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(x).tolist())
    return None if isinstance(x, float) and not np.isfinite(x) else x
