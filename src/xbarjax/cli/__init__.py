"""The command line: `xbarjax read`, `compensate`, `program`, `identify`, `search`, `sweep`, `plot`,
`presets` and `info`."""

import importlib.metadata
from typing import Annotated

import jax

try:
    import typer
except ModuleNotFoundError as error:  # the script is installed also without the extra
    raise SystemExit(
        f"The command line needs {error.name}: run pip install 'xbarjax[cli]'."
    ) from error

from .compensating import compensate_command
from .identifying import identify_command
from .info import info_command
from .programming import program_command
from .reading import read_command
from .searching import search_command
from .sweeping import plot_command, presets_command, sweep_command

app = typer.Typer(
    name="xbarjax",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # units stand in brackets, which are markup to rich
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The program `xbarjax`."""
    app()


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"xbarjax {importlib.metadata.version('xbarjax')}")
        raise typer.Exit()
    return wanted


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Exact simulation of analog crossbar arrays, wires included.

    Rows are word lines (inputs), columns bit lines (outputs). Everything is in SI units without
    prefixes: S, ohm, V, A, W; --unit reads conductances in another unit. Arrays come from .npy,
    .npz (file.npz:name picks one of several), .csv, .tsv or .txt files. Text has one row of the
    array per line; a header of names and an index are skipped and reported.

    Exit status: 0 for a result, 2 for unusable input, 1 for a solve that did not converge.
    """
    del version
    jax.config.update("jax_enable_x64", True)


app.command("read", short_help="Output currents and IR drops of one read.")(read_command)
app.command("compensate", short_help="Conductances that compute given weights on real wires.")(
    compensate_command
)
app.command("program", short_help="Pulses that write given conductances through real wires.")(
    program_command
)
app.command("identify", short_help="Cells and wires that explain measured reads.")(identify_command)
app.command("search", short_help="Rows of a content-addressable memory that match queries.")(
    search_command
)
app.command("sweep", short_help="Many dies on a grid of settings, into a store.")(sweep_command)
app.command("plot", short_help="Distributions and yield of a sweep.")(plot_command)
app.command("presets", short_help="Published numbers and their sources.")(presets_command)
app.command("info", short_help="Versions, devices, and state of the kernel.")(info_command)
