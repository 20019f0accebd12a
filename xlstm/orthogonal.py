"""Random orthogonal matrices, for the start of recurrent weights.

`numpy.linalg.qr` would give them, but by a BLAS that may start threads for it. In a process that forks at that moment,
as one that loads data in others does, these can wait for each other for ever; and on a busy machine a small matrix
takes seconds. The products here are of blocks so small that no BLAS starts threads for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 64
"""The columns that are made orthogonal to all before them at once."""
ROWS = 64
"""OpenBLAS computes a product of up to 64 · 64 · 64 steps on the calling thread."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def orthogonal(size: int, rng: np.random.Generator) -> Matrix:
    """An orthogonal matrix, uniform over all of them.

    It is the Q of the decomposition QR of a matrix of independent normal numbers, R with a positive diagonal: Mezzadri,
    "How to generate random matrices from the classical compact groups" (2007). Q comes by the Gram-Schmidt process,
    each projection done twice, which is enough: Giraud, Langou, Rozložník and van den Eshof, "Rounding error analysis
    of the classical Gram-Schmidt orthogonalization process" (2005).

    Parameters
    ----------
    size
        Its rows and columns.
    rng
        Where the size² numbers are drawn.

    Returns
    -------
    numpy.ndarray
        (size, size) float64.
    """
    q: Matrix = np.asfortranarray(rng.standard_normal((size, size)))  # its columns are what is walked along
    for start in range(0, size, BLOCK):
        before, block = q[:, :start], q[:, start : start + BLOCK]
        for _ in range(2):
            block -= _product(before, _product(before.T, block))
        for k in range(block.shape[1]):
            before, column = block[:, :k], block[:, k]
            for _ in range(2):
                column -= (before * (before * column[:, None]).sum(axis=0)).sum(axis=1)
            column /= np.sqrt((column * column).sum())
    return q


def _product(a: Matrix, b: Matrix) -> Matrix:
    """a @ b for up to `BLOCK` columns of b, by products of small blocks."""
    product: Matrix = np.zeros((a.shape[0], b.shape[1]), order="F")
    for k in range(0, a.shape[1], ROWS):
        right = b[k : k + ROWS]
        for r in range(0, a.shape[0], ROWS):
            product[r : r + ROWS] += a[r : r + ROWS, k : k + ROWS] @ right
    return product
