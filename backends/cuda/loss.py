"""A loss on a GPU: its gradient, its sum and the number of rows that are right, by one launch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..fast import check_loss
from .module import Module, blocks, contiguous

THREADS, LANES, ROWS = 64, 32, 8  # as in kernels/loss.cu


class CudaLoss:
    """The kernels of one loss and dtype.

    Parameters
    ----------
    cupy
        The module `cupy`.
    kind
        One of `xlstm.backends.fast.LOSSES`.
    dtype
        "float32" or "float64".

    Its methods run on the current device and stream, which has to be that of the arrays.
    """

    def __init__(self, cupy: Any, kind: str, dtype: str) -> None:
        self._cupy, self._kind, self._dtype = cupy, kind, dtype

    @cached_property
    def _kernels(self) -> Module:
        return Module(self._cupy, "loss.cu", self._dtype)

    def table(self, batches: int, rows: int) -> Any:
        """Where the sums of so many batches of at most so many rows go: (batches, ·, 2) float64, zero."""
        return self._cupy.zeros((batches, *self._grid(rows), 2), dtype="float64")

    def _grid(self, rows: int) -> tuple[int]:
        return blocks(rows, THREADS if self._kind == "logistic" else ROWS)

    def add(self, outputs: Any, targets: Any, weights: Any, sums: Any, gradient: bool = True) -> Any:
        """The gradient of the loss, and its sums.

        Parameters
        ----------
        outputs : (N, K)
            Logits of the dtype; K is 1 for "logistic".
        targets : (N,)
            Integers: the classes.
        weights : (N,)
        sums
            A row of the table: it gets in two columns Σ weight · loss and the number of right rows, in parts to be
            added up.
        gradient
            False returns None for it.

        Returns
        -------
        d_outputs : (N, K) or None
            Of the loss Σ weight · loss / N.
        """
        cupy, (N, K) = self._cupy, outputs.shape
        logistic = self._kind == "logistic"
        check_loss(outputs, targets, weights, logistic)
        outputs, weights = contiguous(outputs, self._dtype), contiguous(weights, self._dtype)
        targets = contiguous(targets, "int64")
        d_outputs = cupy.empty((N, K), dtype=self._dtype) if gradient else None
        arguments = (outputs, targets, weights, d_outputs, sums, N)
        if logistic:
            self._kernels.logistic(self._grid(N), (THREADS,), arguments)
        else:
            self._kernels.softmax(self._grid(N), (LANES, ROWS), (*arguments, K))
        return d_outputs
