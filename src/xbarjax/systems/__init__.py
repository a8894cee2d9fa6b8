"""Systems that are built of arrays."""

from importlib import import_module as _import_module
from typing import Any as _Any

from . import (
    cam as cam,
    learning as learning,
    loops as loops,
    networks as networks,
)

__all__ = ["cam", "learning", "loops", "networks"]
_WHEN_USED = ("preconditioner",)  # imports scipy.sparse, which filters warnings


def __dir__() -> list[str]:
    return [*__all__, *_WHEN_USED]


def __getattr__(name: str) -> _Any:
    if name in _WHEN_USED:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
