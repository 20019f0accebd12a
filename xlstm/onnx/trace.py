"""An ONNX graph run once on random sequences, and what its recurrent and dense nodes were given and gave.

So a reader need not know how an exporter writes its transpositions and slices: what a node was given is compared with
what it should be. Other operators are those of the package onnx.

Shapes: N batch, T time, D features, H hidden, S directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..cells import CELLS
from ..host import HostArray
from . import bounds
from .layout import GATES, package, rows

INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
WITH_SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")


class Refused(ValueError):
    """What a file has that cannot be expressed: the words after its name."""

    far = False  # whether the input was understood


class Recurrent(NamedTuple):
    """One recurrent node at work."""

    operator: str
    name: str
    cell: str
    parameters: list[dict[str, HostArray]]  # of each direction, by our names
    x: HostArray  # (T, N, D)
    lengths: HostArray | None  # (N,)
    outputs: HostArray  # (N, T, S·H)
    finals: list[list[HostArray]]  # of each direction, each state (N, H)


class Dense(NamedTuple):
    """One product with a matrix at work."""

    name: str
    given: HostArray
    weight: HostArray  # (K, F)
    bias: HostArray | None  # (K,)
    result: HostArray


class Sum(NamedTuple):
    """One sum at work."""

    terms: tuple[HostArray, HostArray]
    result: HostArray


class Trace:
    """What a graph did with one feed."""

    def __init__(self) -> None:
        self.recurrent: list[Recurrent] = []
        self.dense: list[Dense] = []
        self.sums: list[Sum] = []
        self.outputs: dict[str, HostArray] = {}


def check_node(node: Any) -> None:
    """Raise `Refused` where a recurrent node has an attribute that our cells lack."""
    get = package().helper.get_attribute_value
    has = {attribute.name: get(attribute) for attribute in node.attribute}
    text = {name: value.decode() if isinstance(value, bytes) else value for name, value in has.items()}
    where = f"the {node.op_type} node {node.name or node.output[0]!r}"
    direction = text.get("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise Refused(f"{where} has direction={direction!r}; read are 'forward' and 'bidirectional'")
    usual = ACTIVATIONS[node.op_type] * (2 if direction == "bidirectional" else 1)
    functions = tuple(each.decode() for each in has.get("activations", ())) or usual
    if [each.lower() for each in functions] != [each.lower() for each in usual]:
        raise Refused(f"{where} has activations={', '.join(functions)}; read are {', '.join(usual)}")
    if "clip" in has:
        raise Refused(f"{where} has clip={has['clip']:g}, and the cells here clip nothing")
    if has.get("input_forget"):
        raise Refused(f"{where} has input_forget=1, and the cells here have a forget gate of their own")


def check_constants(graph: Any) -> None:
    """Raise `Refused` where a constant cannot be read, or holds NaN."""
    for tensor in graph.initializer:
        try:
            values = package().numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(f"the constant {tensor.name!r:.80} is damaged: {error!s:.200}") from None
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise Refused(f"the constant {tensor.name!r} holds NaN")


def run(model: Any, feed: dict[str, HostArray]) -> Trace:
    """Run a checked model without subgraphs on these inputs.

    Raises
    ------
    Refused
        If it holds what cannot be expressed, does not run, or would take more memory than its size allows.
    """
    reference = package("onnx.reference")
    trace = Trace()
    try:
        evaluator = reference.ReferenceEvaluator(model, new_ops=_recording(trace))
        bounds.bind(evaluator, model.ByteSize())
        results = evaluator.run(None, feed)
    except Refused:
        raise
    except bounds.TooLarge as error:
        raise Refused(str(error)) from None
    except Exception as error:  # whatever an operator makes of what it was not made for
        cause = error.__cause__ if isinstance(error.__cause__, Refused) else None
        if cause is not None:
            raise cause from None
        raise Refused(f"it does not run: {type(error).__name__}: {str(error).splitlines()[0]:.200}") from error
    trace.outputs = {output.name: np.asarray(value) for output, value in zip(model.graph.output, results, strict=True)}
    return trace


def _recording(trace: Trace) -> list[Any]:
    """The operators that are looked at, in place of those of onnx."""
    op_run = package("onnx.reference.op_run")
    get = package().helper.get_attribute_value

    def attributes(op: Any) -> dict[str, Any]:
        return {attribute.name: get(attribute) for attribute in op.onnx_node.attribute}

    def recurrent(op: Any, *inputs: Any, **_: Any) -> tuple[HostArray, ...]:
        made, given = _computed(op.onnx_node, attributes(op), inputs)
        trace.recurrent.append(made)
        return given[: len(op.onnx_node.output)]

    def matmul(op: Any, a: Any, b: Any, **_: Any) -> tuple[HostArray, ...]:
        result = np.matmul(a, b)
        if np.ndim(b) == 2:
            trace.dense.append(Dense(op.onnx_node.name or op.onnx_node.output[0], a, b.T, None, result))
        return (result,)

    def gemm(op: Any, a: Any, b: Any, c: Any = None, **_: Any) -> tuple[HostArray, ...]:
        has = attributes(op)
        a = a.T if has.get("transA", 0) else a
        weight = has.get("alpha", 1.0) * (b if has.get("transB", 0) else b.T)
        bias = None if c is None else np.broadcast_to(has.get("beta", 1.0) * c, (a.shape[0], weight.shape[0]))
        result = a @ weight.T + (0 if bias is None else bias)
        if bias is None or (bias == bias[0]).all():
            row = None if bias is None else bias[0]
            trace.dense.append(Dense(op.onnx_node.name or op.onnx_node.output[0], a, weight, row, result))
        return (result.astype(a.dtype),)

    def add(op: Any, a: Any, b: Any, **_: Any) -> tuple[HostArray, ...]:
        result = np.add(a, b)
        trace.sums.append(Sum((np.asarray(a), np.asarray(b)), result))
        return (result,)

    functions = {"LSTM": recurrent, "GRU": recurrent, "RNN": recurrent, "MatMul": matmul, "Gemm": gemm, "Add": add}
    return [type(name, (op_run.OpRun,), {"op_domain": "", "_run": function}) for name, function in functions.items()]


def _computed(node: Any, has: dict[str, Any], inputs: Any) -> tuple[Recurrent, tuple[HostArray, ...]]:
    """What a node gives, computed in float64, as we have it and as ONNX has it."""
    operator, where = node.op_type, f"the {node.op_type} node {node.name or node.output[0]!r}"
    given = dict(zip(INPUTS[operator], (*inputs, *[None] * 8), strict=False))
    x, W, R, B = (given[name] for name in "XWRB")
    last = bool(has.get("layout", 0))
    S = 2 if has.get("direction", b"forward") == b"bidirectional" else 1
    _check_shapes(where, operator, S, x, W, R, B, has.get("hidden_size"))
    H = R.shape[2]
    if given.get("P") is not None and given["P"].any():
        raise Refused(f"{where} has peepholes (its input P), which the cells here lack")
    for name in ("initial_h", "initial_c"):
        if given.get(name) is not None and given[name].any():
            raise Refused(f"{where} begins at a state other than zero (its input {name}): states are passed to a layer")
    cell = {"LSTM": "lstm", "RNN": "rnn"}.get(operator, "gru" if has.get("linear_before_reset") else "gru_reset_before")
    B = np.zeros((S, 2 * R.shape[1]), W.dtype) if B is None else B
    parameters = [of_cell(cell, H, W[k], R[k], B[k]) for k in range(S)]
    wide = np.asarray(x if last else np.swapaxes(x, 0, 1), dtype=np.float64)  # (N, T, D)
    lengths = given["sequence_lens"]
    if lengths is not None and (lengths.shape != wide.shape[:1] or lengths.min() < 1 or lengths.max() > wide.shape[1]):
        raise Refused(f"{where} is given sequence_lens {lengths.tolist()!r:.80} for sequences {wide.shape[:2]}")
    own = None if lengths is None else [int(length) for length in lengths]
    outputs: list[Any] = []
    finals: list[list[Any]] = []
    for k, own_values in enumerate(parameters):
        in_float64 = {name: value.astype(np.float64) for name, value in own_values.items()}
        made, state, _ = CELLS[cell].forward(in_float64, wide, None, own, keep=False, reverse=k == 1)
        outputs.append(made)
        finals.append(list(CELLS[cell].split("state", state)))
    states = [np.stack([final[k] for final in finals], axis=1 if last else 0) for k in range(len(finals[0]))]
    y = np.stack(outputs, axis=2)  # (N, T, S, H)
    theirs = [y if last else np.transpose(y, (1, 2, 0, 3)), *states]
    record = Recurrent(
        operator, where, cell, parameters, np.swapaxes(wide, 0, 1), lengths, np.concatenate(outputs, axis=2), finals
    )
    return record, tuple(each.astype(x.dtype) for each in theirs)


def _check_shapes(where: str, operator: str, S: int, x: Any, W: Any, R: Any, B: Any, hidden: Any) -> None:
    if x is None or W is None or R is None:
        raise Refused(f"{where} lacks one of its inputs X, W and R")
    H = R.shape[2] if R.ndim == 3 else 0
    G = len(GATES[operator]) * H
    D = x.shape[2] if x.ndim == 3 else 0
    wanted = {"W": (S, G, D), "R": (S, G, H), "B": (S, 2 * G)}
    for name, array in (("R", R), ("W", W), ("B", B)):
        if array is not None and (array.shape != wanted[name] or not H or not D):
            raise Refused(
                f"{where} has {name} of shape {array.shape}, expected {wanted[name]} for X of shape {x.shape}, "
                f"R of shape {R.shape} and {S} direction{'s' * (S - 1)}"
            )
    if hidden is not None and hidden != H:
        raise Refused(f"{where} has hidden_size={hidden}, but R is of {H}")


def of_cell(cell: str, H: int, W: HostArray, R: HostArray, B: HostArray) -> dict[str, HostArray]:
    """Our parameters of one direction: the two biases are added, but for a candidate whose second has its own place."""
    order = rows(cell, H, back=True)
    first, second = np.split(B, 2)
    first, second = first[order], second[order]
    record = CELLS[cell]
    in_one = record.biases_in_one * H
    bias = np.concatenate([first[:in_one] + second[:in_one], first[in_one:]])
    made = {"weight_ih": W[order], "weight_hh": R[order], "bias": bias}
    return made if record.second_bias is None else {**made, record.second_bias: second[in_one:]}
