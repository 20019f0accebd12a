"""What a backend answers when it is asked for a fast implementation."""

from __future__ import annotations

from typing import Any, NamedTuple

LEVELS = ("cudnn", "fused")
"""The fast implementations of cells for CUDA GPUs, by the names that `kernels` takes."""

PRECISIONS = ("highest", "high", "bfloat16", "float16")
"""What products in float32 may be computed with: float32, TF32, or numbers of 16 bits; sums are float32 in any case."""

LOSSES = ("logistic", "softmax")
"""The fast losses: `logistic_cross_entropy` and `softmax_cross_entropy` of `xlstm.losses`, for logits (N, K)."""

_MEANT = {
    "tf32": "high", "half": "float16", "fp16": "float16", "bf16": "bfloat16", "float32": "highest", "fp32": "highest",
    "gpu": "cuda",
}  # fmt: skip
"""What people call precisions and devices elsewhere, and its name here."""


def meant(value: object) -> str:
    """The end of a message about a name that is none: which name was meant, where one can tell; else nothing."""
    name = value.lower() if isinstance(value, str) else ""
    known = _MEANT.get(name, name if name in (*PRECISIONS, "cpu", "cuda", "auto") and name != value else None)
    return "" if known is None else f" Did you mean {known!r}?"


def check_loss(outputs: Any, targets: Any, weights: Any, logistic: bool) -> None:
    """Refuse what a fast loss cannot take: outputs are (N, K), targets and weights (N,); for one logit K is 1."""
    N, K = outputs.shape
    if targets.shape != (N,) or weights.shape != (N,) or (logistic and K != 1):
        raise ValueError(
            f"outputs {(N, K)} need targets and weights {(N,)}, and for one logit K = 1; "
            f"got {tuple(targets.shape)} and {tuple(weights.shape)}."
        )


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
