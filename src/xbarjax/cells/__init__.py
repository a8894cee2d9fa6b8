from .cell import AbstractCell as AbstractCell
from .ohmic import Ohmic as Ohmic
