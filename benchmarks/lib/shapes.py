"""The sizes that are measured, (N, T, D, H): batch, time, features, hidden; and the operations of their products."""

from __future__ import annotations

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


def inference_flops(size: Size) -> float:
    """Useful operations of the products of a forward pass."""
    N, T, D, H = size
    return 2.0 * N * T * 4 * H * (D + H)


def training_flops(size: Size, input_gradient: bool) -> float:
    """Those of a training step: forward, and twice as many backward; without `input_gradient`, less its product."""
    N, T, D, H = size
    return 3 * inference_flops(size) - (0 if input_gradient else 2.0 * N * T * 4 * H * D)
