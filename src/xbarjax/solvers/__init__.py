from . import elimination as elimination
from .batching import one_by_one as one_by_one
from .dense import Dense as Dense
from .implicit import factor as factor, solve as solve
from .ladder_cg import LadderCG as LadderCG
