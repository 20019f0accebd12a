"""What both ways share: the package onnx when it is needed, the versions that are written, the order of the gates."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .. import extras
from ..cells import CELLS
from ..host import HostArray

OPSET, ML_OPSET, IR_VERSION = 13, 2, 7
"""What is written: of the standard operators, of those for machine learning (LabelEncoder), and of the format. They are
those of onnx 1.8, of December 2020: the lowest in which axes are inputs and softmax has a single axis."""

GATES: dict[str, tuple[str, ...]] = {"LSTM": ("i", "o", "f", "g"), "GRU": ("u", "r", "n"), "RNN": ("h",)}
"""The order of the gates of each operator, by the names of our cells' records."""
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "gru_reset_before": "GRU", "rnn": "RNN"}
"""The operator of each cell that has one."""

METADATA = "xlstm."
"""How the names of our entries in a file's metadata begin."""


def package(name: str = "onnx") -> Any:
    """The package onnx, or a module of it, or an ImportError that says how to install it."""
    return extras.imported(name, "ONNX files are read and written by the package onnx", "'xp-lstm[onnx]'")


def digest(model: Any) -> str:
    """SHA-256 of a model's graph: whether it is still what was written."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def rows(cell: str, H: int, back: bool = False) -> HostArray:
    """Where each row of the operator's gates stands among those of our cell, or `back`: (G·H,) numbers of rows."""
    ours, theirs = CELLS[cell].gates, GATES[OPERATORS[cell]]
    order = [theirs.index(gate) for gate in ours] if back else [ours.index(gate) for gate in theirs]
    return (np.array(order)[:, None] * H + np.arange(H)).reshape(-1)
