"""What every side of a comparison is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import xlstm

from .shapes import Size

Host = Any
Results = dict[str, Host]
Step = Callable[..., Any]


class Case(NamedTuple):
    """The same for all sides."""

    size: Size
    weights: Results  # weight_ih (4H, D), weight_hh (4H, H), bias (4H,), gates in the order i, f, g, o
    x: Host  # (N, T, D)
    dh: Host  # (N, H), the gradient of the final h
    lengths: list[int] | None = None


def case_of(size: Size) -> Case:
    N, T, D, H = size
    layer = xlstm.LSTM(D, H, device="cpu", kernels="reference", seed=0, init="pytorch")
    weights = {name: np.array(layer.parameters[f"{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias")}
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((N, H), dtype=np.float32)
    return Case(size, weights, x, dh)
