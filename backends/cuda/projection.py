"""The input of a fused cell: packing it, its product with weight_ih, and the gradient of both.

What is valid of a batch stands "packed": step by step, in a step the rows that still run, longest first.

Shapes: N batch, T time, D features, G rows of weight_ih, V tokens, R the valid steps of all rows, W columns of z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .blas import Products
from .module import Module, contiguous, launch, strides
from .order import Walk

Array = Any
"""A CuPy array of the cell's dtype."""


class Saved(NamedTuple):
    """What the backward pass needs of the input."""

    features: Array | None  # (R, D); None where the tokens' own product stands for that of all steps
    ids: Array | None  # (R,)
    table: Array | None  # (V, D)


class Projection:
    """The input product of a cell, and its gradient.

    Parameters
    ----------
    cupy, kernels, products
        The module `cupy`; those of `steps.cu`; cuBLAS.
    from_x
        Which columns of dz the product has to do with: a block of H columns, the gate of which it is, and how many
        follow that in both.
    """

    def __init__(
        self, cupy: Any, kernels: Module, products: Products, from_x: tuple[tuple[int, int, int], ...]
    ) -> None:
        self._cupy, self._kernels, self._multiply, self._from_x = cupy, kernels, products.multiply, from_x

    def forward(
        self, weight: Array, x: Array | None, tokens: tuple[Array, Array | None] | None, walk: Walk, z: Array
    ) -> Saved:
        """The products of all steps with weight_ih (G, D), written to the first G columns of z (R, W)."""
        cupy, kernels, R, width = self._cupy, self._kernels, walk.total, z.shape[1]
        G, D = weight.shape
        where = (*walk.on_device, walk.rows, walk.steps)
        if tokens is None:
            features = cupy.empty((R, D), z.dtype)
            threads = walk.rows * walk.steps * D
            launch(kernels.pack_steps, threads, x, features, *where, D, int(walk.reverse), *strides(x))
            self._product(features, weight, z)
            return Saved(features, None, None)
        given, table = tokens[0], contiguous(tokens[1], z.dtype)
        if given.dtype != cupy.int64:
            given = given.astype(cupy.int64)
        V = D if table is None else table.shape[0]
        ids = cupy.empty((R,), cupy.int64)
        launch(kernels.pack_ids, walk.rows * walk.steps, given, ids, *where, V, int(walk.reverse), *strides(given))
        if table is None:
            launch(kernels.take_rows, R * G, weight, ids, z, R, G, width, 1, D)  # a column of weight_ih for each
            return Saved(None, ids, None)
        if V > R:  # a product of the whole table would cost more than one of the batch
            features = cupy.empty((R, D), z.dtype)
            launch(kernels.take_rows, R * D, table, ids, features, R, D, D, D, 1)
            self._product(features, weight, z)
            return Saved(features, ids, table)
        projected = cupy.empty((V, G), z.dtype)
        self._product(table, weight, projected)
        launch(kernels.take_rows, R * G, projected, ids, z, R, G, width, G, 1)
        return Saved(None, ids, table)

    def _product(self, features: Array, weight: Array, out: Array) -> None:
        """The first G columns of out (·, ·) = features (·, D) · weight (G, D)ᵀ."""
        G, D = weight.shape
        self._multiply(
            features.shape[0],
            G,
            D,
            features.data.ptr,
            D,
            weight.data.ptr,
            D,
            out.data.ptr,
            out.shape[1],
            b_turned=True,
        )

    def backward(
        self,
        weight: Array,
        saved: Saved,
        walk: Walk,
        dz: Array,
        d_weight: Array,
        input_gradient: bool,
        accumulate: bool,
        add_rows: Callable[[Array, Array, Array], None] | None,
    ) -> Array | None:
        """From dz (R, W) to the gradient of weight_ih, written or added to d_weight, and to that of the input.

        That is (N, T, D), zero after a row's length; for embedded tokens that of the table (V, D); None for one-hot
        tokens and without `input_gradient`. Tokens need `add_rows`.
        """
        cupy, D = self._cupy, weight.shape[1]
        features, ids, table = saved
        if features is None:
            # Those of the rows of the projected table come first, and take the place of dz.
            projected = cupy.zeros((D if table is None else table.shape[0], dz.shape[1]), dz.dtype)  # (V, W)
            add_rows(projected, ids, dz)  # type: ignore[misc]
            dz, features = projected, table
        H = weight.shape[0] // sum(count for _, _, count in self._from_x)
        for block, gate, count in self._from_x:
            target = d_weight[gate * H : (gate + count) * H]
            if features is not None:
                self._gradient_product(dz, block * H, features, target, accumulate)
            elif accumulate:
                target += dz[:, block * H : (block + count) * H].T
            else:
                target[...] = dz[:, block * H : (block + count) * H].T
        if not input_gradient or features is None:
            return None
        d_features = cupy.empty((dz.shape[0], D), dz.dtype)
        for k, (block, gate, count) in enumerate(self._from_x):
            self._multiply(
                dz.shape[0],
                D,
                count * H,
                dz.data.ptr + block * H * dz.itemsize,
                dz.shape[1],
                weight.data.ptr + gate * H * D * dz.itemsize,
                D,
                d_features.data.ptr,
                D,
                add=k > 0,
            )
        if saved.features is None:
            return d_features  # of the table
        if ids is not None:
            d_table = cupy.zeros(table.shape, dz.dtype)  # type: ignore[union-attr]
            add_rows(d_table, ids, d_features)  # type: ignore[misc]
            return d_table
        dx = cupy.empty((walk.rows, walk.time, D), dz.dtype)
        where = (*walk.on_device, walk.rows, walk.steps, D, int(walk.reverse), walk.time)
        launch(self._kernels.unpack_steps, dx.size, d_features, dx, *where)
        return dx

    def _gradient_product(self, dz: Array, column: int, features: Array, target: Array, accumulate: bool) -> None:
        """target (g, D) = the g columns of dz from `column` on, turned, times features: written or added."""
        D = features.shape[1]
        self._multiply(
            target.shape[0],
            D,
            dz.shape[0],
            dz.data.ptr + column * dz.itemsize,
            dz.shape[1],
            features.data.ptr,
            D,
            target.data.ptr,
            D,
            a_turned=True,
            add=accumulate,
        )
