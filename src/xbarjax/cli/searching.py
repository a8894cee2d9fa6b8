"""`xbarjax search`: a content-addressable memory in files, searched for queries in a file."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .._files import save_results
from ..kirchhoff.advice import finish
from ..systems.cam.search import Found, search
from ..systems.cam.tile import Tile
from .inputs import VALUE, Inputs, Out, PlotFile
from .memories import (
    KP,
    TECHNOLOGY,
    CellChoice,
    Memory,
    analog,
    blank,
    matching_words,
    require_width,
    said_technology,
    ternary,
    transistors,
    words,
)
from .outputs import check_outputs, print_table, refusing, save_figure, say_warnings, say_written
from .searched import RESULT_UNITS, describe, doubts, stored_arrays, text

BATCH = 16  # queries of one call
TIMES = 60  # of match lines in a figure


def _said(of: Callable[[Any], float]) -> str:
    return ", ".join(f"{of(tech):g} {choice}" for choice, tech in TECHNOLOGY.items())


def search_command(
    stored: Annotated[
        list[str],
        typer.Argument(
            metavar="LOW HIGH|WORDS",
            help="Two files of shape (rows, cols): lower and upper bounds [V] of analog cells, -inf"
            " and inf for none. Or one file of ternary words: text with a word per line, such as"
            " 10x1 or 1,0,x,1, where x is either.",
        ),
    ],
    query: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Queries, one per line, (queries, cols): voltages [V] of the data lines, or"
            " words.",
        ),
    ],
    levels: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Bounds and queries are levels: a query from 0 to N - 1, and low <= query < high"
            " matches. The voltages of levels are chosen.",
        ),
    ] = None,
    cell: Annotated[
        CellChoice | None,
        typer.Option(help="Kind of cell. [default: 6t2m for bounds, 2t2r for words]"),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=X",
            help=f"A parameter of the transistors; may be given repeatedly: kp {KP:g} A/V^2,"
            f" slope factor n 1.3, lam 0.05 1/V, and W/L and threshold [V] of each in"
            f" {said_technology()}.",
        ),
    ] = None,
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="Choose conductances of analog cells with which the bounds, wires and leakage"
            " included, are the given ones.",
        ),
    ] = False,
    r_match: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="Match-line wire [ohm per cell]: a number, or a file of shape (rows, cols).",
        ),
    ] = "0",
    r_high: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="Wire of the high search line, or of the data line of 4t2r [ohm per cell].",
        ),
    ] = "0",
    r_low: Annotated[
        str, typer.Option(metavar=VALUE, help="Wire of the low search line [ohm per cell].")
    ] = "0",
    c_match: Annotated[
        str, typer.Option(metavar=VALUE, help="Capacitance [F] of a match line per cell.")
    ] = "1e-15",
    c_sense: Annotated[
        str, typer.Option(metavar=VALUE, help="Capacitance [F] of a sense amplifier.")
    ] = "5e-15",
    c_data: Annotated[
        str, typer.Option(metavar=VALUE, help="Capacitance [F] of a data line per cell.")
    ] = "1e-16",
    v_high: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Voltage [V] of a high search line, and of a raised gate or data line of ternary"
            f" cells. [default: {_said(lambda tech: tech.v_high)}]",
        ),
    ] = None,
    v_pre: Annotated[float, typer.Option(metavar="X", help="Precharge voltage [V].")] = 0.8,
    v_ref: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Reference [V] of the comparators. [default: half of --v-pre]"
        ),
    ] = None,
    v_offset: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="Offset [V] of the comparators: a number, or a file of one per row.",
        ),
    ] = "0",
    t_sense: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Time [s] from the end of the precharge to the decision."
            f" [default: {_said(lambda tech: tech.t_sense)}]",
        ),
    ] = None,
    g_min: Annotated[
        float,
        typer.Option(metavar="X", help="Smallest conductance [S] of a bound (--levels) or a bit."),
    ] = 1e-6,
    g_max: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest conductance [S], which analog cells without an upper bound have; bounds"
            " of --levels use a tenth. [default: 1e-3 analog, 1.5e-4 ternary]",
        ),
    ] = None,
    out: Out = None,
    plot: PlotFile = None,
) -> None:
    """Search a content-addressable memory: which rows match each query, on real match lines.

    Besides PREFIX.npz and PREFIX.json, --out writes PREFIX.csv with one line per query and row. The
    figure has the match lines of the first query in time, and the margins of all. Rows that answer
    otherwise than the stored bounds or words say are a warning.

    \b
    Examples:
      printf '10x1\\n0011\\n' > words.txt; printf '1001\\n0011\\n' > asked.txt
      xbarjax search words.txt --query asked.txt --r-match 10 --out found
      printf '0,3\\n2,0\\n' > low.csv; printf '2,6\\n8,8\\n' > high.csv; printf '1,4\\n' > q.csv
      xbarjax search low.csv high.csv --levels 8 --query q.csv --r-high 5 --compensate
    """
    with refusing(ValueError, OSError):
        plots = check_outputs(out, plot, (".npz", ".json", ".csv"))
        if plots is not None:
            from ..plot import cam as plots
        inputs = Inputs()
        choice = _choice(stored, cell, levels, compensate)
        tech = TECHNOLOGY[choice]
        on = tech.v_high if v_high is None else v_high
        fets = transistors(choice, parameter or [], inputs)
        is_analog = choice is CellChoice.analog
        g = (g_min, (1e-3 if is_analog else 1.5e-4) if g_max is None else g_max)
        reference = v_pre / 2 if v_ref is None else v_ref
        end = tech.t_sense if t_sense is None else t_sense

        def tile(cells: Any) -> Tile:
            return Tile(
                cells,
                r_match=inputs.value("--r-match", r_match),
                r_high=inputs.value("--r-high", r_high),
                r_low=inputs.value("--r-low", r_low),
                c_match=inputs.value("--c-match", c_match),
                c_sense=inputs.value("--c-sense", c_sense),
                c_data=inputs.value("--c-data", c_data),
                v_offset=inputs.line("--v-offset", v_offset, cells.shape[0], "row"),
                v_pre=v_pre,
                v_ref=reference,
                t_sense=end,
            )

        if is_analog:
            low, high = (inputs.array(name, path) for name, path in zip(("LOW", "HIGH"), stored))
            if low.ndim != 2 or low.shape != high.shape:
                raise ValueError(
                    f"LOW has shape {low.shape} and HIGH {high.shape}; both must be (rows, cols)."
                )
            asked = np.atleast_2d(inputs.array("--query", query))
            how: dict[str, Any] = {"levels": levels, "g": g, "compensate": compensate}
            memory = analog(low, high, asked, tile(blank(low.shape, fets, on)), **how)
        else:
            word, asked = words("WORDS", stored[0], inputs), words("--query", query, inputs)
            require_width(asked, word)
            made = tile(ternary(word, choice, fets, on, g))
            memory = Memory(made, asked, matching_words(word, asked), None)
        inputs.used |= {
            "--cell": str(choice),
            "--levels": levels,
            "--compensate": compensate,
            "--v-high": on,
            "--v-pre": v_pre,
            "--v-ref": reference,
            "--t-sense": end,
            "--g-min": g[0],
            "--g-max": g[1],
        }
        ts = jnp.linspace(0, end, TIMES + 2)[1:-1] if plot is not None else jnp.zeros(0)
        found = _searched(memory, ts)
    results, lines = describe(memory, found, choice)
    lines += [("skipped", part) for part in inputs.skipped]
    print_table(f"Search of {' and '.join(stored)}", lines)
    say_warnings(doubts(results))
    with refusing(OSError):
        if out is not None:
            arrays, units = stored_arrays(memory, found, is_analog)
            report = {
                "command": "search",
                "inputs": inputs.used,
                "warnings": doubts(results),
                "units": units | RESULT_UNITS,
                "results": results,
            }
            say_written(*save_results(out, arrays, report, {".csv": text(found, memory)}))
        if plot is not None and plots is not None:
            save_figure(plots.searches(found, ts, memory.tile), plot)


def _choice(
    stored: list[str], cell: CellChoice | None, levels: int | None, compensate: bool
) -> CellChoice:
    """The kind of cell, which fits the number of files."""
    if len(stored) > 2:
        raise ValueError(
            f"{len(stored)} files are given; give two files of bounds, or one of ternary words."
        )
    bounded = len(stored) == 2
    choice = cell or (CellChoice.analog if bounded else CellChoice.switches)
    if bounded != (choice is CellChoice.analog):
        needs = "two files, LOW and HIGH" if not bounded else "one file of words"
        raise ValueError(f"--cell is {choice}, which stores {needs}; {len(stored)} are given.")
    for name, given in (("--levels", levels is not None), ("--compensate", compensate)):
        if given and not bounded:
            raise ValueError(f"{name} is for analog cells; leave it out with ternary words.")
    return choice


def _searched(memory: Memory, ts: Any) -> Found:
    """Searches of all queries, in batches of one size."""
    memory.tile.cell.require_query(jnp.asarray(memory.queries))
    count = len(memory.queries)
    size = min(BATCH, count)
    many = eqx.filter_jit(jax.vmap(search, (None, 0, None)))
    parts = []
    with _progress(count) as on_batch:
        for k in range(0, count, size):
            rows = np.minimum(np.arange(k, k + size), count - 1)
            part = many(memory.tile, jnp.asarray(memory.queries[rows]), ts)
            parts.append(jax.tree.map(lambda x, n=count - k: np.asarray(x[:n]), part))
            on_batch(min(k + size, count))
    found = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return finish(found, jnp.asarray(np.bitwise_or.reduce(found.status)))


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr if there is more than one batch: stdout holds results alone."""
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("queries"), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("search", total=count)

    def on_batch(done: int) -> None:
        if count > BATCH:
            bar.start()  # not earlier: bad input gives one sentence and no bar
        bar.update(task, completed=done)

    try:
        yield on_batch
    finally:
        if bar.live.is_started:
            bar.stop()
