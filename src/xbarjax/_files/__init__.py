"""Arrays and reports in files: loaders of numbers, atomic writers, no pickles."""

from .loading import Loaded as Loaded, load as load, load_said as load_said
from .writing import (
    require_writable as require_writable,
    save_results as save_results,
    write_whole as write_whole,
)
