"""Word-line drive: sources, encodings of numbers as voltages, waveforms."""

from .sources import Bias as Bias, Drive as Drive
