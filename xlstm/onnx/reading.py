"""From ONNX: the recurrent nodes of a file as a layer, with a head as a fitted estimator.

What is read is proved before it is handed out: the graph is run on random sequences, and what it gives has to be what
the layer, its readout and its head give.

Shapes: N batch, T time, D features, V tokens, H hidden, L layers, S directions, F = S·H, K outputs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import backends, checkpoint
from ..host import HostArray
from ..layers import LAYERS
from ..losses import log_softmax, softmax
from ..params import zeros
from ..readout import READOUTS, Seen
from ..stack import Sizes
from . import bounds, own
from .layout import GATES, package
from .made import Found, estimator_of
from .trace import WITH_SUBGRAPHS, Dense, Recurrent, Refused, Trace, check_constants, check_node, run

OLDEST = 7
"""The lowest opset that is read: in it the recurrent operators took their present form."""
MOVING = {
    "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Cast", "Concat", "Slice", "Split", "Gather",
    "Shape", "Constant", "ConstantOfShape", "Expand", "Dropout", *GATES,
}  # fmt: skip
"""What may stand beside layers without a head: it moves numbers, and makes none."""
ROUNDING = 1e-4
N, T = 4, 5
"""Of the random sequences."""


def from_onnx(path: Any, *, classes: Any = None, device: str | None = None) -> Any:
    """Read the LSTM, GRU or RNN nodes of an ONNX file, with the head behind them if there is one.

    Parameters
    ----------
    path
        The file. It has one input of sequences, (batch, time, D) or (time, batch, D) numbers, or integers without D
        where an embedding is looked up; there may be lengths (batch,) and initial states. Weights are constants.
    classes
        The labels (K,) of the outputs; None numbers them from 0 on.
    device
        Where the result shall live: as for `xlstm.load`.

    Returns
    -------
    Whatever `to_onnx` was given
        Of its files, in float32's digits, its optimiser at the start; `SequenceFeatures`, without a head, are not.
    LSTM, GRU or RNN
        Of a file without a head, in its dtype.
    SequenceClassifier, SequenceLabeler or SequenceRegressor
        Fitted, of a file with one: a dense layer on the final step, the mean or the maximum over time (labels of
        sequences) or on every step (a labeler). Logits with or without a softmax are classes, one output with a sigmoid
        is two classes, several with one are several labels; a single number without any is a regressor's, unless two
        `classes` are given. Numbers are read as they are; tokens are the integers from 0 on, `encoding="tokens"`.

    Raises
    ------
    ValueError
        If the file is damaged, of an opset that is not read, or holds what cannot be expressed here: other activations,
        a clip, peepholes, input_forget, the reverse direction alone, another head. It is named.
    ImportError
        If onnx is missing.
    OSError
        If the file cannot be read.
    """
    model = _loaded(path)
    try:
        header = own.header_of(model)
        if header is None:
            return _read(model, classes, device)
        if classes is not None:
            raise Refused("it has its own labels: leave `classes` out")
        return own.restored(model, header, device)
    except (KeyError, IndexError, AttributeError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{os.fsdecode(path)} is damaged: {type(error).__name__}: {error!s:.200}.") from error
    except (Refused, bounds.TooLarge, checkpoint.NotUnderstood) as error:
        raise ValueError(f"{os.fsdecode(path)} cannot be read as recurrent layers: {error}.") from error


def _loaded(path: Any) -> Any:
    """The model of a file, checked."""
    onnx, name = package(), os.fsdecode(path)
    with open(path, "rb") as file:
        start = file.read(1)
    try:
        model = onnx.load(name, format="protobuf")
        if not start or not model.HasField("graph"):
            raise ValueError("it holds no graph")
        versions = {entry.domain: entry.version for entry in model.opset_import}
        newest, version = onnx.defs.onnx_opset_version(), versions.get("", versions.get("ai.onnx", 0))
        if not OLDEST <= version <= newest:
            raise ValueError(
                f"it is of opset {version}, and with onnx {onnx.__version__} opsets {OLDEST} to {newest} are read"
            )
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, of the checker, of data beside the file
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ValueError(f"{name} is no whole ONNX file that can be read: {reason:.300}.") from error
    return model


# ---------------------------------------------------------------- what the file holds


class _Inputs(NamedTuple):
    """The inputs of a graph by what they are."""

    data: Any
    lengths: str | None
    states: list[Any]


def _read(model: Any, classes: Any, device: str | None) -> Any:
    graph = model.graph
    operators = [node.op_type for node in graph.node]
    inside = sorted({name for name in operators if name in WITH_SUBGRAPHS})
    if inside:
        raise Refused(f"it has nodes with graphs inside: {', '.join(inside)}")
    recurrent = [node for node in graph.node if node.op_type in GATES and node.domain in ("", "ai.onnx")]
    if not recurrent:
        raise Refused(f"it has no LSTM, GRU or RNN node, but {', '.join(sorted(set(operators))) or 'nothing':.200}")
    for node in recurrent:
        check_node(node)
    check_constants(graph)
    inputs = _inputs(graph, recurrent)
    reasons: list[Refused] = []
    for batch_first in (True, False):
        try:
            found = _found(model, recurrent, inputs, batch_first)
            break
        except Refused as error:
            reasons.append(error)
    else:
        raise max(reversed(reasons), key=lambda error: error.far)
    if found.weight is None:
        moved = sorted(set(operators) - MOVING)
        if moved:
            raise Refused(f"behind its layers stand {', '.join(moved):.200}, which are no head of one dense layer")
        return _layer(found, device)
    return estimator_of(found, classes, device)


def _inputs(graph: Any, recurrent: list[Any]) -> _Inputs:
    constants = {tensor.name for tensor in graph.initializer}
    named = {value.name: value for value in graph.input if value.name not in constants}
    made_by = {output: node for node in graph.node for output in node.output}

    def sources(name: str, seen: set[str]) -> set[str]:
        if name in seen or not name:
            return set()
        seen.add(name)
        found = {name} & named.keys()
        for other in made_by[name].input if name in made_by else ():
            found |= sources(other, seen)
        return found

    first = recurrent[0]
    for node in recurrent:
        for k, name in enumerate("WRB", start=1):
            varying = sources(node.input[k], set()) if len(node.input) > k else set()
            if varying:
                raise Refused(
                    f"the {node.op_type} node has {name} from the input {varying.pop()!r}, not from a constant"
                )
    data = sources(first.input[0], set())
    lengths = set[str]().union(*(sources(node.input[4], set()) for node in recurrent if len(node.input) > 4)) - data
    if len(data) != 1 or len(lengths) > 1:
        raise Refused(
            f"its first layer reads {len(data)} inputs and {len(lengths)} lengths, expected one and at most one"
        )
    others = [value for name, value in named.items() if name not in data | lengths]
    begins = set[str]().union(*(sources(name, set()) for node in recurrent for name in node.input[5:7]))
    strange = [value.name for value in others if value.name not in begins]
    if strange and not lengths and len(strange) == 1:
        lengths, others = set(strange), [value for value in others if value.name not in strange]
    elif strange:
        raise Refused(f"it has the input {strange[0]!r} beside sequences, lengths and states")
    return _Inputs(named[data.pop()], lengths.pop() if lengths else None, others)


def _axes(value: Any) -> tuple[str, list[int | None]]:
    """The dtype of an input, and the sizes of its axes, None where any will do."""
    kind = package().helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in value.type.tensor_type.shape.dim]
    return str(kind), axes


def _found(model: Any, recurrent: list[Any], inputs: _Inputs, batch_first: bool) -> Found:
    """What the graph does with random sequences."""
    rng = np.random.default_rng(0)
    kind, axes = _axes(inputs.data)
    tokens = kind.startswith(("int", "uint"))
    if len(axes) != (2 if tokens else 3):
        raise Refused(f"its input {inputs.data.name!r} has {len(axes)} axes of {kind}; numbers have 3, integers 2")
    n, steps = (axes[0] or N, axes[1] or T) if batch_first else (axes[1] or N, axes[0] or T)
    shape = (n, steps) if batch_first else (steps, n)
    width = 0 if tokens else axes[2] or _first_width(model, recurrent[0])
    bounds.check_input(inputs.data.name, (*shape, max(1, width)), model.ByteSize())
    x = rng.integers(0, 2, shape) if tokens else rng.standard_normal((*shape, width))
    feed = {inputs.data.name: x.astype(kind)}
    lengths = np.full(n, steps)
    if inputs.lengths is not None:
        value = next(value for value in model.graph.input if value.name == inputs.lengths)
        lengths = np.maximum(1, steps - 2 * np.arange(n) % (steps + 1))
        lengths[0] = steps
        feed[inputs.lengths] = lengths.astype(_axes(value)[0])
    for value in inputs.states:
        dtype, sizes = _axes(value)
        bounds.check_input(value.name, [size or n for size in sizes], model.ByteSize())
        feed[value.name] = np.zeros([size or n for size in sizes], dtype)
    trace = run(model, feed)
    data = x if batch_first else np.swapaxes(x, 0, 1)  # (N, T, …)
    return _understood(model, trace, data.astype(kind), lengths, tokens)


def _first_width(model: Any, node: Any) -> int:
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            return int(tensor.dims[2])
    raise Refused("its input does not say how many features a step has")


def _understood(model: Any, trace: Trace, data: HostArray, lengths: HostArray, tokens: bool) -> Found:
    """What a run shows; `Refused` with what does not fit."""
    first = trace.recurrent[0]
    table = _table(model, data, first.x) if tokens else None
    if not tokens and not _close(np.swapaxes(first.x, 0, 1), data):
        raise Refused(f"between the input and {first.name} stands what is neither a transposition nor an embedding")
    try:
        return _behind_the_input(trace, lengths, table)
    except Refused as error:
        error.far = True  # batch and time are as was guessed: it is no guess that failed
        raise


def _behind_the_input(trace: Trace, lengths: HostArray, table: HostArray | None) -> Found:
    first, steps = trace.recurrent[0], len(trace.recurrent[0].x)
    for node in trace.recurrent:
        if (node.cell, len(node.parameters)) != (first.cell, len(first.parameters)):
            raise Refused(f"its layers differ: {first.name} and {node.name} are of different cells or directions")
        own = lengths if node.lengths is None and (lengths == steps).all() else node.lengths
        if own is None or (own != lengths).any():
            raise Refused(f"{node.name} does not go by the lengths of the sequences")
    sizes = _sizes(trace.recurrent)
    for below, node in zip(trace.recurrent[:-1], trace.recurrent[1:], strict=True):
        if not _close(np.swapaxes(node.x, 0, 1), below.outputs):
            raise Refused(f"{node.name} does not read the outputs of the layer below, {below.name}")
    found = Found(sizes, str(first.parameters[0]["weight_ih"].dtype), _values(trace.recurrent, sizes), table)
    if not trace.dense:
        if table is not None:
            raise Refused("it has an embedding, but no head: of such a file nothing is read")
        return found
    top = trace.recurrent[-1]
    valid = np.arange(steps)[None, :] < lengths[:, None]
    seen = Seen(top.outputs, [final[0] for final in top.finals], valid)
    for dense in trace.dense:
        for name in _readouts_of(dense, seen):
            return _with_head(found, name, dense, trace, seen)
    hint = " (at the last step a reverse direction has read one step alone)" if sizes.bidirectional else ""
    raise Refused(
        f"what its dense layer {trace.dense[0].name!r} reads is none of {', '.join(_candidates())} "
        f"over valid steps{hint}"
    )


def _close(a: HostArray, b: HostArray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=ROUNDING, atol=ROUNDING))


def _sizes(nodes: list[Recurrent]) -> Sizes:
    own = nodes[0].parameters
    H = own[0]["weight_hh"].shape[1]
    if any(node.parameters[0]["weight_hh"].shape[1] != H for node in nodes):
        raise Refused("its layers have different numbers of hidden units")
    return Sizes(nodes[0].cell, own[0]["weight_ih"].shape[1], H, len(nodes), len(own) == 2)


def _values(nodes: list[Recurrent], sizes: Sizes) -> dict[str, HostArray]:
    dtype = str(nodes[0].parameters[0]["weight_ih"].dtype)
    if dtype not in ("float32", "float64"):
        raise Refused(f"its weights are of {dtype}; read are float32 and float64")
    own = [parameters for node in nodes for parameters in node.parameters]
    pairs = zip(sizes.suffixes(), own, strict=True)
    return {f"{name}_{suffix}": value for suffix, parameters in pairs for name, value in parameters.items()}


def _table(model: Any, ids: HostArray, x: HostArray) -> HostArray:
    """The embedding (V, D) of which the first layer reads the rows."""
    for tensor in model.graph.initializer:
        table: HostArray = package().numpy_helper.to_array(tensor)
        fits = table.ndim == 2 and table.shape[1] == x.shape[2] and table.shape[0] > ids.max()
        if fits and table.dtype.kind == "f" and _close(table[ids], np.swapaxes(x, 0, 1)):
            return table
    raise Refused("its first layer reads no rows of a constant table, an embedding")


# ---------------------------------------------------------------- the head


def _candidates() -> list[str]:
    return [name for name, readout in READOUTS.items() if not readout.shapes(1)]


def _readouts_of(dense: Dense, seen: Seen) -> Iterator[str]:
    """The readouts whose features a dense layer reads; of every step, where batch and time may be either way."""
    for name in _candidates():
        features = READOUTS[name].forward({}, seen)[0]
        turned = np.swapaxes(features, 0, 1) if features.ndim == 3 else features
        flat = features.reshape(-1, features.shape[-1])
        if any(_close(dense.given, each) for each in (features, turned, flat)):
            yield name


def _with_head(found: Found, readout: str, dense: Dense, trace: Trace, seen: Seen) -> Found:
    bias, K = dense.bias, dense.weight.shape[0]
    if bias is None:
        for total in trace.sums:
            for one, other in (total.terms, total.terms[::-1]):
                if one.shape == dense.result.shape and _close(one, dense.result) and other.size in (1, K):
                    bias = np.broadcast_to(other.reshape(-1), (K,))
    bias = np.zeros(K, dense.weight.dtype) if bias is None else bias
    logits = READOUTS[readout].forward({}, seen)[0] @ dense.weight.T.astype(np.float64) + bias
    activations = {name: _activation(name, value, logits, seen) for name, value in trace.outputs.items()}
    if None in activations.values():
        strange = next(name for name, kind in activations.items() if kind is None)
        raise Refused(f"its output {strange!r} is no logits of one dense layer, nor their softmax, sigmoid or label")
    kinds = set(activations.values()) - {"label", "state"}
    activation = next((kind for kind in ("softmax", "sigmoid", "logits") if kind in kinds), None)
    if activation is None or {"softmax", "sigmoid"} <= kinds:
        raise Refused(f"its outputs {', '.join(activations)} do not give logits or probabilities of one kind")
    weight = np.ascontiguousarray(dense.weight)
    return found._replace(readout=readout, weight=weight, bias=np.asarray(bias), activation=str(activation))


def _activation(name: str, value: HostArray, logits: HostArray, seen: Seen) -> str | None:
    """What an output of the graph is; None where it is none of what is read."""
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-logits))
    flat = logits.reshape(-1, logits.shape[-1])
    made = {
        "logits": logits,
        "softmax": softmax(flat).reshape(logits.shape),
        "log_softmax": log_softmax(flat).reshape(logits.shape),
        "sigmoid": sigmoid,
    }
    for kind, right in made.items():
        if logits.shape[-1] == 1 and kind.endswith("softmax"):
            continue
        if any(_as(value, each) for each in _arrangements(right, seen.valid)):
            return "softmax" if kind == "log_softmax" else kind
    if value.dtype.kind in "iub":
        several = logits.shape[-1] > 1
        for right in (np.argmax(logits, axis=-1), (sigmoid > 0.5)[..., 0] if not several else sigmoid > 0.5):
            if value.size == right.size and (value.reshape(-1) == right.reshape(-1)).all():
                return "label"
    whole = np.concatenate([seen.outputs.reshape(-1), *[final.reshape(-1) for final in seen.finals]])
    parts = (seen.outputs.size, sum(final.size for final in seen.finals))
    if value.size in parts and np.isin(np.round(value, 3), np.round(whole, 3)).all():
        return "state"
    return None


def _arrangements(right: HostArray, valid: HostArray) -> Iterator[tuple[HostArray, HostArray | None]]:
    """An answer as it stands, and of every step with the time first; and which of it counts."""
    if right.ndim == 2:
        yield right, None
        return
    yield right, valid
    yield np.swapaxes(right, 0, 1), valid.T


def _as(value: HostArray, right: tuple[HostArray, HostArray | None]) -> bool:
    expected, counts = right
    if value.size != expected.size:
        return False
    value = value.reshape(expected.shape)
    return _close(value, expected) if counts is None else _close(value[counts], expected[counts])


# ---------------------------------------------------------------- the layer


def _layer(found: Found, device: str | None) -> Any:
    cls = next(kind for kind in LAYERS.values() if found.sizes.cell in kind.of_cells())
    host = zeros(found.sizes.shapes(), np.zeros(0, found.dtype))
    for name, value in found.recurrent.items():
        host[name] = value
    how = {"dropout": 0.0, "dtype": found.dtype, "init": "orthogonal", "kernels": "auto", "precision": "highest"}
    backends.select(device, "cpu", found.sizes.flops_per_step())  # what is wrong with it is said as it is
    return cls.of_settings({**found.sizes._asdict(), **how}, host.flat, np.random.default_rng(), device)
