"""Systems that are built of arrays."""

from . import loops as loops

__all__ = ["loops"]


def __dir__() -> list[str]:
    return __all__
