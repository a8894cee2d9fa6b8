"""What word lines are driven with: sources, encodings of numbers as voltages, waveforms."""

from .sources import Bias as Bias, Drive as Drive
