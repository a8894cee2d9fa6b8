"""Exact, fast and differentiable simulation of analog crossbar circuits in JAX."""

from .cells import AbstractCell as AbstractCell, Ohmic as Ohmic
from .crossbar import Crossbar as Crossbar
from .drive import Bias as Bias, Drive as Drive
from .read import explain as explain, read as read
from .readout import VirtualGround as VirtualGround
from .solution import Solution as Solution, Status as Status
from .solvers import Dense as Dense, LadderCG as LadderCG
from .transfer import transfer as transfer
from .wires import Wires as Wires
