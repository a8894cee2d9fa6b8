from .dense import Dense as Dense
from .implicit import factor as factor, solve as solve
from .ladder_cg import LadderCG as LadderCG
