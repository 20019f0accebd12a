"""What a backend answers when it is asked for a fast implementation."""

from __future__ import annotations

from typing import Any, NamedTuple

LEVELS = ("cudnn", "fused")
"""The fast implementations of cells for CUDA GPUs, by the names that `kernels` takes."""

PRECISIONS = ("highest", "high", "bfloat16", "float16")
"""What products in float32 may be computed with: float32, TF32, or numbers of 16 bits; sums are float32 in any case."""


class Fast(NamedTuple):
    """A fast implementation, or why there is none."""

    implementation: Any
    """What does the work; None where there is none."""
    name: str
    """What to call it."""
    reason: str
    """What there is, or why there is none."""
    mendable: bool = False
    """Whether the user could install what is missing: `reason` then says how."""
    warning: str = ""
    """What to say where something else runs, because this one was seen to be wrong."""
