"""The figure of the experiment."""

from typing import Any

from matplotlib.figure import Figure


def figure(result: dict[str, Any]) -> Figure:
    return Figure()
