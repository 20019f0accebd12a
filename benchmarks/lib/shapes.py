"""The sizes that are measured, (N, T, D, H): batch, time, features, hidden; and the operations of their products."""

from __future__ import annotations

import math

from xlstm.stack import Sizes

Size = tuple[int, int, int, int]

SHAPES: dict[str, Size] = {
    "tiny": (1, 20, 8, 32),
    "row": (32, 28, 28, 128),
    "mid": (64, 100, 64, 256),
    "big": (128, 64, 128, 512),
    "huge": (128, 32, 256, 1024),
}
LARGE = ("mid", "big", "huge")
FEW_ROWS: dict[str, Size] = {"one": (1, 100, 16, 64), "one wide": (1, 100, 64, 256), "eight": (8, 100, 16, 64)}
BATCHES: dict[str, Size] = {f"batch {n}": (n, 100, 16, 64) for n in (2, 4, 16, 32, 64, 128)}
"""Of 1 and of 8 rows are "one" and "eight"."""
INFERENCE = {**SHAPES, **FEW_ROWS, **BATCHES}
STREAMS: dict[str, Size] = {"H 64": (1, 50, 16, 64), "H 256": (1, 50, 64, 256)}
"""Fed one step at a time; T is how many steps are compared with float64."""
RAGGED: dict[str, Size] = {"mid": (64, 100, 64, 256), "series": (32, 60, 12, 100)}


def inference_flops(size: Size, cell: str = "lstm") -> float:
    """Useful operations of the products of a forward pass of one layer, as the cell's record counts them."""
    N, T, D, H = size
    return T * Sizes(cell, D, H).flops_per_step(N)


def training_flops(size: Size, input_gradient: bool, cell: str = "lstm") -> float:
    """Those of a training step: forward, and twice as many backward; without `input_gradient`, less its product."""
    N, T, D, H = size
    of_input = 2.0 * N * T * math.prod(Sizes(cell, D, H).record.shapes(D, H)["weight_ih"])
    return 3 * inference_flops(size, cell) - (0 if input_gradient else of_input)
