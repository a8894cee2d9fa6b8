"""Output of the commands: error messages of one sentence, tables, files and figures."""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from .._files import require_writable, write_whole
from .._units import UnitWarning
from .inputs import require_given

FIGURES = (".png", ".svg", ".pdf")


@contextlib.contextmanager
def refusing(*faults: type[Exception]) -> Iterator[None]:
    """A context that ends the program with one sentence: with status 2 for `faults` of the input,
    with status 1 for a `RuntimeError`, a solve that did not converge."""
    try:
        yield
    except faults as error:
        _stop(error, 2)
    except RuntimeError as error:
        _stop(error, 1)


def _stop(error: Exception, code: int) -> NoReturn:
    said = str(error)
    if isinstance(error, OSError) and error.strerror:  # str(error) begins with an error number
        said = f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    typer.echo(f"Error: {' '.join(said.split())}", err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def units_said() -> Iterator[None]:
    """A context without Python's warnings about units: the command prints its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitWarning)
        yield


def say_warnings(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        typer.echo(f"Warning: {sentence}", err=True)


def check_outputs(
    out: str | None, plot: str | None, suffixes: tuple[str, ...] = (".npz", ".json")
) -> ModuleType | None:
    """The plotting module if there is a figure to draw. Raises `ValueError` or `OSError` for output
    files that could not be written after the solve."""
    if out is not None:
        require_given(out, "--out")
        if Path(out).name in ("", "..") or out.endswith(("/", os.sep)):
            raise ValueError(
                f"--out is {out}, a folder; give a name in the folder, as {Path(out, 'run')}."
            )
        if Path(out).suffix in suffixes:
            added = f"{', '.join(suffixes[:-1])} and {suffixes[-1]}"
            raise ValueError(f"--out is {out}; leave out the suffix: {added} are added.")
        for suffix in suffixes:
            require_writable(Path(out + suffix), "--out")
    if plot is None:
        return None
    require_given(plot, "--plot")
    file = Path(plot)
    if file.suffix.lower() not in FIGURES:
        raise ValueError(f"--plot is {plot}; its name must end in {', '.join(FIGURES)}.")
    require_writable(file, "--plot")
    try:
        from ..plot import arrays as plots  # late: matplotlib imports slowly and is optional
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--plot needs {error.name}: run pip install 'xbarjax[plot]' first."
        ) from error
    return plots


def save_figure(figure: Any, name: str) -> None:
    path = Path(name)
    kind = path.suffix.lower().lstrip(".")
    write_whole({path: lambda stream: figure.savefig(stream, format=kind, dpi=150)})
    say_written(path)


def say_written(*paths: Path) -> None:
    for path in paths:
        typer.echo(f"wrote {path}")


def print_table(title: str, lines: list[tuple[str, str]]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, value)
    Console(markup=False, highlight=False).print(table)
