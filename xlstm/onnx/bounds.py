"""How much memory a graph of others takes as it runs: told of each node before it runs, so that no file is a bomb."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .layout import GATES

TIMES, MORE = 8, 256 * 2**20
"""All that a graph computes may take so many times its size, and so many bytes more."""
ITEM = 8
"""Bytes that a number takes at most."""


class TooLarge(ValueError):
    """What a node would compute is more than its file may."""


def bind(evaluator: Any, size: int) -> None:
    """Make an evaluator of a graph of so many bytes raise a `TooLarge`, of a node by name, where it would take more."""
    _bind(evaluator, [TIMES * size + MORE])


def check_input(name: str, shape: Any, size: int) -> None:
    """Raise a `TooLarge` where an input of this shape would take more than a file of so many bytes may."""
    _check(f"its input {name!r}", math.prod(shape) * ITEM, TIMES * size + MORE)


def _bind(evaluator: Any, left: list[int]) -> None:
    for node in evaluator.rt_nodes_:
        if hasattr(node, "impl_"):  # a function of the file, which is a graph of its own
            _bind(node.impl_, left)
        node.run = _bounded(node, node.run, left)


def _bounded(node: Any, run: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    made = node.onnx_node
    operator, where = made.op_type, f"the {made.op_type} node {made.name or ''.join(made.output[:1])!r}"
    has = {attribute.name: attribute for attribute in made.attribute}

    def bounded(*inputs: Any, **more: Any) -> Any:
        _check(where, _numbers(operator, has, inputs) * ITEM, left[0])
        outputs = run(*inputs, **more)
        taken = sum(np.asarray(value).nbytes for value in outputs if value is not None)
        _check(where, taken, left[0])
        left[0] -= taken
        return outputs

    return bounded


def _check(where: str, announced: int, left: int) -> None:
    if announced > left:
        raise TooLarge(
            f"{where} would compute {announced / 1e6:.0f} MB, where {max(0, left) / 1e6:.0f} MB are left of what is "
            "expected for the file's size"
        )


def _numbers(operator: str, has: dict[str, Any], inputs: tuple[Any, ...]) -> int:
    """How many numbers a node gives at most, by what it is given; one that it lacks is for the operator to refuse."""
    arrays = [np.asarray(value) for value in inputs if value is not None]
    together = sum(array.size for array in arrays)
    if not arrays:
        shape = has["shape"].ints if "shape" in has else ()  # of random numbers
        return math.prod(int(n) for n in shape)
    first = arrays[0]
    if operator == "ConstantOfShape":
        return _product(first)
    if len(arrays) == 1:
        return together * (max(1, *first.shape[-1:]) if operator == "Einsum" else 1)
    if operator == "Expand":
        return math.prod(np.broadcast_shapes(first.shape, tuple(int(n) for n in arrays[1].ravel())))
    if operator == "Tile" or (arrays[-1].dtype.kind == "f" and operator in ("Resize", "Upsample")):
        return max(1, first.size) * _product(arrays[-1])
    if operator == "Resize":
        return _product(arrays[-1])
    if operator == "Pad":
        pads = [abs(int(n)) for n in arrays[1].ravel()]
        ends = pads[first.ndim :] if len(pads) == 2 * first.ndim else [sum(pads)] * first.ndim
        return math.prod(n + a + b for n, a, b in zip(first.shape, pads, ends, strict=False))
    if operator == "Range" and len(arrays) == 3:
        start, limit, step = (float(array.reshape(-1)[0]) for array in arrays)
        return int(min(abs((limit - start) / (step or 1.0)), 2.0**60)) + 1
    if operator == "OneHot":
        return first.size * abs(int(arrays[1].reshape(-1)[0]))
    if operator in GATES and first.ndim == 3 and arrays[2].ndim == 3:
        return int(first.shape[0] * first.shape[1] * arrays[2].shape[0] * arrays[2].shape[2])
    if operator in ("Gather", "GatherND"):
        return first.size * max(1, arrays[1].size) // max(1, first.shape[0] if first.ndim else 1)
    if operator in ("MatMul", "Gemm", "Einsum", "Conv", "ConvTranspose"):
        return _outer(arrays)
    try:
        return max(together, math.prod(np.broadcast_shapes(*(array.shape for array in arrays))))
    except ValueError:  # they are not for each other by place
        return together


def _product(array: Any) -> int:
    """The product of numbers (n,) of which a few may be negative, for a size that is told elsewhere."""
    values = [float(n) for n in array.ravel()[:64]]
    return int(min(math.prod(max(1.0, abs(n)) for n in values if np.isfinite(n)), 2.0**60))


def _outer(arrays: list[Any]) -> int:
    """Of a product of matrices: its rows times its columns, in every batch of either."""
    a, b = arrays[:2]
    rows = a.size // max(1, min(a.shape[-2:], default=1))
    columns = b.size // max(1, min(b.shape[-2:], default=1))
    return int(max(1, rows) * max(1, columns))
