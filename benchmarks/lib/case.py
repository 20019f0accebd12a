"""What every side of a comparison is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xlstm.layers import LAYERS

from .shapes import Size

Host = Any
Results = dict[str, Host]
Step = Callable[..., Any]


class Case(NamedTuple):
    """The same for all sides."""

    size: Size
    weights: Results  # those of one layer of xlstm, by its names without "_l0": weight_ih (4H, D), … of an LSTM
    x: Host  # (N, T, D)
    dh: Host  # (N, H), the gradient of the final h
    lengths: list[int] | None = None
    cell: str = "lstm"


def case_of(size: Size, cell: str = "lstm") -> Case:
    N, T, D, H = size
    layer = LAYERS[cell](D, H, device="cpu", kernels="reference", seed=0, init="pytorch")
    weights = {name.removesuffix("_l0"): np.array(values) for name, values in layer.parameters.items()}
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((N, H), dtype=np.float32)
    return Case(size, weights, x, dh, cell=cell)
