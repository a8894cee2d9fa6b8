"""`xbarjax sweep`, `xbarjax plot` and `xbarjax presets`: Monte Carlo sweeps from the command
line."""

import inspect
import os
from typing import Annotated

import jax
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..presets import devices as presets
from ..sweeps import results, sweep, yields
from ..sweeps.file import load_said
from .inputs import require_given
from .outputs import check_outputs, refusing, save_figure, say_warnings, units_said


def sweep_command(
    file: Annotated[str, typer.Argument(help="TOML file that names axes, dies and limits.")],
    out: Annotated[str, typer.Option(help="Folder of the results, a Zarr store.")],
    devices: Annotated[
        int, typer.Option(min=1, help="Number of CPU cores that compute at a time.")
    ] = os.cpu_count() or 1,
    distributed: Annotated[
        bool, typer.Option(help="Run as one of several processes (Slurm, Open MPI, Kubernetes).")
    ] = False,
) -> None:
    """Compute the dies of a sweep, or resume an interrupted one.

    Tables of the file: [array] rows, cols, g_min, g_max [S] or g (a file), unit (of these
    conductances, if not S), v_in [V]; [wires] r_row, r_col [ohm per segment]; [ends] r_source, r_in
    [ohm]; [[vary]] kind (a class of xbarjax.variability), its arguments, at (cell, r_row or r_col);
    [axes] lists of values by name; [limits] [low, high] by metric. Top level: dies, seed, batch,
    about, metrics (error, error_rms, i_max, p or module:function). A number in [wires], [ends] or
    [[vary]] may be the name of an axis.
    """
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    with refusing(ValueError, OSError, ModuleNotFoundError), units_said():
        require_given(file, "FILE")
        require_given(out, "--out")
        if distributed:
            jax.distributed.initialize()
        plan, skipped, doubts = load_said(file)
        say_warnings(doubts)
        for part in skipped:
            typer.echo(f"skipped: {part}")
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches, {task.fields[rate]} dies per second"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True))
        task = bar.add_task("sweep", total=None, rate="-")

        def on_batch(finished: int, total: int) -> None:
            bar.start()  # not earlier: bad input gives one sentence and no bar
            speed = bar.tasks[0].speed
            rate = "-" if speed is None else f"{speed * plan.batch:.0f}"
            bar.update(task, completed=finished, total=total, rate=rate)

        try:
            found = sweep(plan, out, on_batch=on_batch)
        finally:
            if bar.live.is_started:
                bar.stop()
        if plan.limits:
            _print_yields(found)
    typer.echo(f"{plan.points * plan.dies} dies in {out}")


def _print_yields(found) -> None:
    stated = yields(found)
    table = Table(*map(str, stated.dims), "yield", "95 % confidence", "dies", "failed")
    frame = stated.stack(point=list(stated.dims)) if stated.dims else stated.expand_dims("point")
    for k in range(frame.sizes["point"]):
        one = frame.isel(point=k)
        at = [f"{float(one[axis]):g}" for axis in stated.dims]
        numbers = [f"{100 * float(one['good']):.2f} %"]
        numbers += [f"{100 * float(one['low']):.2f} to {100 * float(one['high']):.2f} %"]
        table.add_row(*at, *numbers, str(int(one["dies"])), str(int(one["failed"])))
    Console().print(table)


def plot_command(
    store: Annotated[str, typer.Argument(help="Store of a sweep.")],
    plot: Annotated[str, typer.Option(help="Figure to write: .png, .svg or .pdf.")],
) -> None:
    """Draw the yield curves of a sweep with limits and axes, else the distributions of its
    metrics."""
    with refusing(ValueError, OSError, ModuleNotFoundError):
        require_given(store, "STORE")
        check_outputs(None, plot)
        from ..plot import dies  # matplotlib takes long to import

        save_figure(dies(results(store)), plot)


def presets_command() -> None:
    """List published device parameters, with descriptions and sources."""
    for name, function in vars(presets).items():
        public = not name.startswith("_") and inspect.isfunction(function)
        if public and function.__module__.startswith(presets.__name__):
            typer.echo(f"{name}{inspect.signature(function)}")
            said = inspect.getdoc(function) or ""
            typer.echo("    " + said.split("\n\n")[0].replace("\n", "\n    ") + "\n")
