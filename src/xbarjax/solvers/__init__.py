from . import effective_matrix as effective_matrix, products as products
from .auto import AutoLadder as AutoLadder, chosen as chosen
from .batching import sequential_vmap as sequential_vmap
from .blocks import BlockElimination as BlockElimination
from .dense import Dense as Dense
from .implicit import Factored as Factored, factor as factor, roughly as roughly, solve as solve
from .ladder_bicgstab import LadderBiCGStab as LadderBiCGStab
from .ladder_cg import LadderCG as LadderCG
from .newton import (
    Begin as Begin,
    Equations as Equations,
    Newton as Newton,
    Solver as Solver,
    Stats as Stats,
    linear_of as linear_of,
    newton_of as newton_of,
    root as root,
)
from .shorts import parted as parted
from .turns import Frame as Frame
from .twin_ladders import TwinLadders as TwinLadders
