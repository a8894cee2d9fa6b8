"""Incomplete LU factors without fill, ILU(0)."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu


def factors(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """`L`, with a unit diagonal, and `U`, with `L U` equal to the matrix at its nonzero entries and
    no entries elsewhere (Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd edition, SIAM
    2003, algorithm 10.4)."""
    found = sp.csr_matrix(matrix, dtype=float, copy=True)
    found.sum_duplicates()
    start, cols, values = found.indptr, found.indices, found.data
    places = [
        dict(zip(cols[a:b].tolist(), range(a, b), strict=True))
        for a, b in zip(start[:-1], start[1:], strict=True)
    ]
    for i, mine in enumerate(places):
        for k in sorted(j for j in mine if j < i):
            values[mine[k]] /= values[places[k][k]]
            for j, at in places[k].items():
                if j > k and j in mine:
                    values[mine[j]] -= values[mine[k]] * values[at]
    lower = sp.tril(found, -1) + sp.eye(found.shape[0])
    return sp.csr_matrix(lower), sp.csr_matrix(sp.triu(found))


def preconditioner(matrix: sp.csr_matrix) -> Callable[[np.ndarray], np.ndarray]:
    """The function that applies `(L U)^-1`."""
    keep = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    lower, upper = (splu(sp.csc_matrix(x), **keep) for x in factors(matrix))
    return lambda r: upper.solve(lower.solve(r))
