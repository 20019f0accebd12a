"""A loss by compiled code: its gradient, its sum and the number of rows that are right, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..fast import check_loss


class CompiledLoss:
    """One loss and dtype, with the methods of `xlstm.backends.cuda.loss.CudaLoss`."""

    def __init__(self, kernels: Any, kind: str, dtype: str) -> None:
        self._loss, self._kind, self._dtype = kernels.loss, kind, np.dtype(dtype)

    def table(self, batches: int, rows: int) -> Any:
        """Where the sums of so many batches go: (batches, 1, 2) float64, zero."""
        return np.zeros((batches, 1, 2))

    def add(self, outputs: Any, targets: Any, weights: Any, sums: Any, gradient: bool = True) -> Any:
        """The gradient of the loss, like the outputs, or None; its sums are written to a row of the table."""
        N, K = outputs.shape
        logistic = self._kind == "logistic"
        check_loss(outputs, targets, weights, logistic)
        outputs, weights = (array.astype(self._dtype, copy=False) for array in (outputs, weights))
        targets = targets.astype(np.int64, copy=False)
        d_outputs = np.empty((N, K), self._dtype) if gradient else None
        self._loss(logistic, self._dtype.itemsize, N, K, outputs, targets, weights, d_outputs, sums)
        return d_outputs
