"""What the head sees, as nodes of a graph: each readout for whole sequences, and for sequences that come in parts.

Shapes: T time, N batch, F features of the last layer's outputs. All states of a stream begin as zeros; where that is no
start (of a maximum it is none), `steps` says that there was nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..host import HostArray
from ..readout import Attention, Beside, Final, Maximum, Mean, Readout, Steps
from .graph import Graph

Carried = dict[str, tuple[str, str, tuple[Any, ...]]]
"""Of each state of a readout what it is after this part, its dtype and its axes."""


class Outputs(NamedTuple):
    """What the layers give."""

    outputs: str  # (T, N, F)
    final: str  # (N, F)
    states: dict[str, str]  # (L·S, N, H) each
    width: int  # F


class Lengths(NamedTuple):
    """How far each row goes; all are None where a sequence comes in parts."""

    lengths: str | None  # (N,)
    valid: str | None  # (T, N, 1)


def lengths_of(graph: Graph, lengths: str | None, outputs: str) -> Lengths:
    """Which steps are valid, of outputs (T, N, F)."""
    if lengths is None:
        return Lengths(None, None)
    zero, one = (graph.constant(np.array(number, np.int64)) for number in (0, 1))
    T = graph.op("Gather", graph.op("Shape", outputs), zero, axis=0)
    steps = graph.unsqueeze(graph.op("Range", zero, T, one), 1)  # (T, 1)
    valid = graph.op("Less", steps, graph.unsqueeze(lengths, 0))  # (T, N)
    return Lengths(lengths, graph.unsqueeze(valid, 2))


def features_of(
    graph: Graph, readout: Readout, parameters: Mapping[str, HostArray], made: Outputs, lengths: Lengths
) -> tuple[str, Carried]:
    """The features, (N, width) or of every step (T, N, F), and the states of a stream.

    Raises
    ------
    ValueError
        If the readout is none of the library's.
    """
    parts = readout.parts if isinstance(readout, Beside) else (readout,)
    kinds = {type(part) for part in parts}
    strange = kinds - {Final, Steps, Mean, Maximum, Attention}
    if strange:
        raise ValueError(f"ONNX files hold the readouts of the library, no {strange.pop().__name__}.")
    reader = _Stream(graph, made) if lengths.lengths is None else _Whole(graph, made, lengths)
    if lengths.lengths is None and kinds & {Mean, Maximum, Attention}:
        reader.begin()
    query = parameters.get("query")
    each = []
    for part in parts:
        if isinstance(part, Final):
            each.append(made.final)
        elif isinstance(part, Steps):
            each.append(made.outputs)
        elif isinstance(part, Mean):
            each.append(reader.mean())
        elif isinstance(part, Maximum):
            each.append(reader.maximum())
        else:
            each.append(reader.attention(np.asarray(query, np.float32)[:, None]))
    return (each[0] if len(each) == 1 else graph.op("Concat", *each, axis=1)), reader.carried


class _Reader:
    """The readouts that go over steps."""

    def __init__(self, graph: Graph, made: Outputs) -> None:
        self.graph, self.made = graph, made
        self.carried: Carried = {}

    def begin(self) -> None:
        """Take the state that they all need."""

    def mean(self) -> str:
        raise NotImplementedError

    def maximum(self) -> str:
        raise NotImplementedError

    def attention(self, query: HostArray) -> str:
        raise NotImplementedError

    @cached_property
    def lowest(self) -> str:
        made: str = self.graph.constant(np.array(-np.inf, np.float32), "lowest")
        return made

    def score(self, query: HostArray) -> str:
        """h_t · q, (T, N, 1)."""
        made: str = self.graph.op("MatMul", self.made.outputs, self.graph.constant(query, "query"))
        return made


class _Whole(_Reader):
    def __init__(self, graph: Graph, made: Outputs, lengths: Lengths) -> None:
        super().__init__(graph, made)
        self.lengths, self.valid = str(lengths.lengths), str(lengths.valid)

    @cached_property
    def shown(self) -> str:
        """Zero after a row's length, whatever a runtime puts there."""
        zero = self.graph.constant(np.array(0, np.float32), "zero")
        made: str = self.graph.op("Where", self.valid, self.made.outputs, zero)
        return made

    def mean(self) -> str:
        total = self.graph.sum_over_time(self.shown)
        count = self.graph.unsqueeze(self.graph.cast(self.lengths, "float32"), 1)
        made: str = self.graph.op("Div", total, count)
        return made

    def maximum(self) -> str:
        candidates = self.graph.op("Where", self.valid, self.made.outputs, self.lowest)
        made: str = self.graph.op("ReduceMax", candidates, axes=[0], keepdims=0)
        return made

    def attention(self, query: HostArray) -> str:
        score = self.graph.op("Where", self.valid, self.score(query), self.lowest)
        weights = self.graph.op("Softmax", score, axis=0)
        return self.graph.sum_over_time(self.graph.op("Mul", weights, self.shown))


class _Stream(_Reader):
    def begin(self) -> None:
        graph = self.graph
        steps = graph.input("steps", "int64", ("batch",), "how many steps came before")
        zero = graph.constant(np.array(0, np.int64))
        T = graph.op("Gather", graph.op("Shape", self.made.outputs), zero, axis=0)
        self.steps = graph.op("Add", steps, T)
        self.nothing = graph.unsqueeze(graph.op("Equal", steps, zero), 1)  # (N, 1): whether this is the first part
        self.carried["steps"] = (self.steps, "int64", ("batch",))

    def _carry(self, name: str, dtype: str, width: int) -> str:
        return self.graph.input(name, dtype, ("batch", width))

    def _keep(self, name: str, value: str, dtype: str, width: int) -> None:
        self.carried[name] = (value, dtype, ("batch", width))

    # Sums are carried in float64: one sum after another would lose a digit of float32 in every ten thousand steps.

    def mean(self) -> str:
        graph, F = self.graph, self.made.width
        part = graph.cast(graph.sum_over_time(self.made.outputs), "float64")
        total = graph.op("Add", self._carry("sum", "float64", F), part)
        self._keep("sum", total, "float64", F)
        return graph.cast(graph.op("Div", total, graph.unsqueeze(graph.cast(self.steps, "float64"), 1)), "float32")

    def maximum(self) -> str:
        graph, F = self.graph, self.made.width
        before = graph.op("Where", self.nothing, self.lowest, self._carry("max", "float32", F))
        largest: str = graph.op("Max", before, graph.op("ReduceMax", self.made.outputs, axes=[0], keepdims=0))
        self._keep("max", largest, "float32", F)
        return largest

    def attention(self, query: HostArray) -> str:
        """As `Attention.carried`: both parts are brought to the larger of their two maxima."""
        graph, F = self.graph, self.made.width
        score = self.score(query)  # (T, N, 1)
        before = graph.op("Where", self.nothing, self.lowest, self._carry("largest", "float32", 1))
        largest = graph.op("Max", before, graph.op("ReduceMax", score, axes=[0], keepdims=0))  # (N, 1)
        self._keep("largest", largest, "float32", 1)
        weights = graph.op("Exp", graph.op("Sub", score, largest))
        fades = graph.cast(graph.op("Exp", graph.op("Sub", before, largest)), "float64")  # (N, 1)
        sums = []
        for name, value, width in (("weighted", graph.op("Mul", weights, self.made.outputs), F), ("total", weights, 1)):
            old = graph.op("Mul", self._carry(name, "float64", width), fades)
            sums.append(graph.op("Add", old, graph.cast(graph.sum_over_time(value), "float64")))
            self._keep(name, sums[-1], "float64", width)
        return graph.cast(graph.op("Div", *sums), "float32")
