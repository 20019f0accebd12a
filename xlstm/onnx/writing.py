"""To ONNX: an estimator's whole road, from what users have to answers, or a layer, as a graph for any runtime.

Shapes: N batch, T time, D features, V tokens, H hidden, L layers, S directions, F = S·H, K outputs. Inside the graph
time comes first, (T, N, …), as ONNX's recurrent operators have it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from ..checkpoint import VERSION
from ..encode import Encoder, Scaler, TokenEncoder
from ..estimators import state
from ..estimators.base import SequenceEstimator
from ..estimators.features import SequenceFeatures
from ..files import check_target, write_whole
from ..fitted import Fitted
from ..host import HostArray
from ..params import Parameters
from ..recurrent import RecurrentLayer
from ..spelling import Spelling
from ..stack import Sizes
from ..tasks.classes import Binary, Classes
from ..tasks.numbers import Numbers
from ..tasks.several import SeveralLabels
from ..tasks.steps import StepClasses
from .graph import Graph
from .layout import OPERATORS, rows
from .readout import Outputs, features_of, lengths_of


def to_onnx(model: Any, path: Any, *, stream: bool = False) -> None:
    """Write a fitted estimator, or a layer, as an ONNX file, whole or not at all.

    A runtime then answers for ragged batches as the estimator does, to rounding: the file holds the scaling or the
    vocabulary, the layers, the readout, the head and the labels. It is of opset 13 and IR version 7 (with opset 2 of
    ai.onnx.ml where there are tokens), which onnxruntime reads from 1.6 on. Needs the package onnx: the extra `onnx`.

    Inputs:

    - `x` (batch, time, D), in the dtype of the model; NaN for a missing number with `missing="mask"`. Or `tokens`
      (batch, time): strings, each a character or a word; int64 where tokens are integers. Texts and words have to be
      passed as `normalize` and `fold_case` have it, before texts are cut: docs/onnx.md says how. A labeler's characters
      are passed as they stand, and the upper case of a single character is folded in any file.
    - `lengths` (batch,) int64: how many steps of each row are valid, 1 or more. What stands after them never matters.

    Outputs: of a classifier `label` (batch,) and `probabilities` (batch, K); of several labels, 0 or 1 for each in
    `label` (batch, K); of a labeler both for each step; of a regressor `prediction` (batch,) or (batch, K); of
    `SequenceFeatures` `features` (batch, F); of a layer `outputs` (batch, time, F), `h` and `c` (L·S, batch, H).

    Parameters
    ----------
    model
        A fitted estimator or a layer, on any device.
    path
        The file; an older one of the name is replaced.
    stream
        Whether the file is to take sequences in parts: a step or more of each row a call. There are then no lengths,
        every input `name` of a state has an output `name_out` to be passed in the next call, and all states are zero
        at first.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If it is not fitted, if ONNX has no such cell, if its parameters hold NaN or infinity, if a bidirectional model
        is to stream, if the file would be larger than 2 GB.
    ImportError
        If onnx is missing.
    OSError
        If the file cannot be written. An older one is then untouched.

    Notes
    -----
    Products and states are float32, also of a model in float64: onnxruntime has no recurrent operators for float64.
    Features are scaled in float64 all the same, and so are a regressor's answers.
    """
    if isinstance(model, RecurrentLayer):
        made = _of_layer(model, stream)
    elif isinstance(model, SequenceEstimator):
        made = _of_estimator(model, stream)
    else:
        raise TypeError(f"to_onnx writes a fitted estimator or a layer, got {type(model).__name__}.")
    check_target(path)
    write_whole(path, [made.SerializeToString()])


def _version() -> str:
    from importlib.metadata import version

    return version("xp-lstm")


# ---------------------------------------------------------------- a layer


def _of_layer(layer: RecurrentLayer, stream: bool) -> Any:
    sizes = layer.sizes
    _check(sizes, stream)
    parameters = Parameters(layer.parameters.shapes, layer.backend.to_host(layer.parameters.flat))
    _check_finite(parameters)
    graph = Graph(f"{type(layer).__name__}")
    x = graph.input("x", layer.dtype, ("batch", "time", layer.input_size))
    lengths = None if stream else graph.input("lengths", "int64", ("batch",))
    x = _to_float32(graph, graph.op("Transpose", x, perm=[1, 0, 2]), layer.dtype)
    made = _recurrent(graph, sizes, parameters, x, lengths, stream)
    outputs = graph.op("Transpose", made.outputs, perm=[1, 0, 2])
    graph.output("outputs", outputs, "float32", ("batch", "time", sizes.output_size))
    for name, end in made.states.items():
        graph.output(f"{name}_out" if stream else name, end, "float32", _state_axes(sizes))
    metadata = {"layer": json.dumps({**layer.settings(), "stream": stream})}
    return graph.model(_version(), metadata, f"{layer!r}")


# ---------------------------------------------------------------- an estimator


def _of_estimator(estimator: Any, stream: bool) -> Any:
    fitted: Fitted = estimator.fitted_state()
    model, task = fitted.model, fitted.task
    architecture = model.architecture
    sizes = architecture.sizes
    _check(sizes, stream)
    write = _answers_of(estimator, task)
    parameters = Parameters(model.parameters.shapes, model.backend.to_host(model.parameters.flat))
    _check_finite(parameters)
    graph = Graph(type(estimator).__name__)
    x, recurrent = _input(graph, fitted.encoder, architecture.dtype, parameters, sizes)
    lengths = None if stream else graph.input("lengths", "int64", ("batch",))
    made = _recurrent(graph, sizes, recurrent, x, lengths, stream)
    features, carried = features_of(
        graph, model.readout, parameters.section("readout."), made, lengths_of(graph, lengths, made.outputs)
    )
    if isinstance(estimator, SequenceFeatures):
        graph.output("features", features, "float32", ("batch", model.width))
    else:
        weight = graph.constant(_float32(parameters["head.weight"]).T, "head.weight")
        logits = graph.op("MatMul", features, weight)
        logits = graph.op("Add", logits, graph.constant(_float32(parameters["head.bias"]), "head.bias"), name="logits")
        write(graph, task, logits)
    if stream:
        for name, end in made.states.items():
            graph.output(f"{name}_out", end, "float32", _state_axes(sizes))
        for name, (end, dtype, axes) in carried.items():
            graph.output(f"{name}_out", end, dtype, axes)
    metadata = {"header": json.dumps(_header(estimator, fitted)), "version": str(VERSION), "stream": json.dumps(stream)}
    return graph.model(_version(), metadata, fitted.summary)


def _header(estimator: Any, fitted: Fitted) -> dict[str, Any]:
    """What a model file keeps of the estimator, but for what belongs to its training alone."""
    return {**state.header_of(estimator, fitted), "updates": 0, "table": None, "sides": None}


def _check(sizes: Sizes, stream: bool) -> None:
    if sizes.cell not in OPERATORS:
        raise ValueError(f"ONNX has LSTM, GRU and RNN, and no operator of the cell {sizes.cell!r}.")
    if stream and sizes.bidirectional:
        raise ValueError("a bidirectional model cannot stream: its second direction begins at the end.")


def _check_finite(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        with np.errstate(over="ignore"):
            if not np.isfinite(_float32(parameters[name])).all():
                raise ValueError(f"the parameter {name} holds NaN, infinity or what is too large for float32.")


def _float32(values: HostArray) -> HostArray:
    return np.asarray(values, dtype=np.float32)


def _to_float32(graph: Graph, source: str, dtype: str) -> str:
    return source if dtype == "float32" else graph.cast(source, "float32")


# ---------------------------------------------------------------- what is read


def _input(
    graph: Graph, encoder: Encoder, dtype: str, parameters: Parameters, sizes: Sizes
) -> tuple[str, Mapping[str, HostArray]]:
    """What the first layer reads, (T, N, ·) float32, and the parameters of the layers that read it so."""
    recurrent = parameters.section("recurrent.")
    if isinstance(encoder, Scaler):
        x = graph.input("x", dtype, ("batch", "time", encoder.size), "the features of each step")
        return _scaled(graph, graph.op("Transpose", x, perm=[1, 0, 2]), encoder, dtype), recurrent
    ids = graph.op("Transpose", _numbers_of(graph, encoder), perm=[1, 0], name="ids")
    if "embedding.weight" in parameters:
        table = graph.constant(_float32(parameters["embedding.weight"]), "embedding.weight")
        return graph.op("Gather", table, ids, name="embedded"), recurrent
    first = [f"weight_ih_{suffix}" for suffix in sizes.suffixes()[: sizes.directions]]
    products = np.concatenate([_float32(recurrent[name]).T for name in first], axis=1)  # (V, S·G)
    V, width = products.shape
    if width >= V:
        depth = graph.constant(np.array([V], np.int64), "vocabulary_size")
        return graph.op("OneHot", ids, depth, graph.constant(np.array([0, 1], np.float32)), axis=-1), recurrent
    # Of a large vocabulary the product is looked up, and the first layer's own weight only hands it on.
    eye = np.eye(width, dtype=np.float32)
    parts = dict(zip(first, np.split(eye, len(first)), strict=True))
    return graph.op("Gather", graph.constant(products, "token_products"), ids), {**recurrent, **parts}


def _numbers_of(graph: Graph, encoder: TokenEncoder) -> str:
    """The numbers (N, T) of the tokens that are passed."""
    kind = "int64" if encoder.kind == "integers" else "str"
    told = _told(encoder.spelling)
    doc = {
        "integers": "integers",
        "characters": f"each one character{'' if encoder.apart else f' of a text {told}'}; what fills up short rows "
        "may be anything",
        "words": f"each one word, {told}",
    }[encoder.kind]
    tokens = graph.input("tokens", kind, ("batch", "time"), doc)
    numbers = {token: number for number, token in enumerate(encoder.vocabulary, start=1)}
    if encoder.kind == "characters":
        numbers |= {c: numbers[one] for c, one in _one_for(encoder.spelling).items() if one in numbers}
    if encoder.kind == "integers":
        keys: dict[str, Any] = {"keys_int64s": list(numbers)}
    else:  # half a pair of surrogates is no text elsewhere
        numbers = {token: number for token, number in numbers.items() if not any(map(_is_surrogate, token))}
        keys = {"keys_strings": list(numbers)}
    values: dict[str, Any] = {"values_int64s": list(numbers.values()), "default_int64": 0}
    made: str = graph.op("LabelEncoder", tokens, domain="ai.onnx.ml", name="token_numbers", **keys, **values)
    return made


@cache
def _one_for(spelling: Spelling) -> dict[str, str]:
    """What stands for each single character that is spelled in another way."""
    every = map(chr, range(sys.maxunicode + 1))
    others = [c for c in every if c.casefold() != c or not unicodedata.is_normalized("NFKD", c)]  # in whatever form
    return {character: one for character in others if (one := spelling.of(character)) != character}


def _told(spelling: Spelling) -> str:
    """How a text or a word has to be passed."""
    how = ["as str.casefold gives it"] if spelling.fold_case else []
    how += [f"in the form {spelling.normalize}"] if spelling.normalize is not None else []
    return ", ".join(how) or "as it stands"


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _scaled(graph: Graph, x: str, encoder: Scaler, dtype: str) -> str:
    """(T, N, D), or 2·D where numbers may be missing: computed in float64, as `Scaler.encode` does."""
    plain = bool((encoder.mean == 0).all() and (encoder.scale == 1).all())
    if plain and encoder.filling is None:
        return _to_float32(graph, x, dtype)
    scaled = graph.cast(x, "float64")
    if not plain:
        scaled = graph.op("Div", scaled, graph.constant(encoder.scale, "scale"))
        scaled = graph.op("Sub", scaled, graph.constant(encoder.mean / encoder.scale, "mean_over_scale"))
    if encoder.filling is None:
        return graph.cast(scaled, "float32")
    missing = graph.op("IsNaN", x)
    scaled = graph.op("Where", missing, graph.constant(encoder.filling, "filling"), scaled)
    there = graph.cast(graph.op("Not", missing), "float32")
    made: str = graph.op("Concat", graph.cast(scaled, "float32"), there, axis=2)
    return made


# ---------------------------------------------------------------- the layers


def _state_axes(sizes: Sizes) -> tuple[Any, ...]:
    return (sizes.num_layers * sizes.directions, "batch", sizes.hidden_size)


def _recurrent(
    graph: Graph, sizes: Sizes, parameters: Mapping[str, HostArray], x: str, lengths: str | None, stream: bool
) -> Outputs:
    """All layers over x (T, N, D). States are inputs where the sequence comes in parts."""
    S, H, record = sizes.directions, sizes.hidden_size, sizes.record
    suffixes, operator = sizes.suffixes(), OPERATORS[sizes.cell]
    starts = {name: graph.input(name, "float32", _state_axes(sizes)) for name in record.states} if stream else {}
    ends: dict[str, list[str]] = {name: [] for name in record.states}
    valid = "" if lengths is None else graph.cast(lengths, "int32")
    attributes: dict[str, Any] = {"linear_before_reset": int(sizes.cell == "gru")} if operator == "GRU" else {}
    direction = "bidirectional" if sizes.bidirectional else "forward"
    for layer in range(sizes.num_layers):
        own = [
            {name: _float32(parameters[f"{name}_{suffix}"]) for name in record.parameter_names}
            for suffix in suffixes[layer * S : (layer + 1) * S]
        ]
        values = [_of_operator(sizes.cell, H, each) for each in own]
        weights = [
            graph.constant(np.stack(each), f"{name}_l{layer}")
            for name, each in zip("WRB", zip(*values, strict=True), strict=True)
        ]
        inputs = [x, *weights, valid]
        for name in starts:
            start = starts[name]
            if sizes.num_layers > 1:
                one = graph.constant(np.array([layer], np.int64), "layer")
                start = graph.op("Gather", start, one, axis=0)
            inputs.append(start)
        y, *finals = graph.op(
            operator,
            *inputs,
            outputs=1 + len(record.states),
            name=f"{operator}_l{layer}",
            hidden_size=H,
            direction=direction,
            **attributes,
        )
        for name, final in zip(record.states, finals, strict=True):
            ends[name].append(final)
        x = _side_by_side(graph, y, S, H, (0, 2, 1, 3))
    final = _side_by_side(graph, ends[record.states[0]][-1], S, H, (1, 0, 2))
    states = {name: each[0] if len(each) == 1 else graph.op("Concat", *each, axis=0) for name, each in ends.items()}
    return Outputs(x, final, states, S * H)


def _side_by_side(graph: Graph, value: str, S: int, H: int, perm: tuple[int, ...]) -> str:
    """(…, S, N, H) as (…, N, S·H); `perm` brings the directions behind the batch."""
    if S == 1:
        return graph.squeeze(value, len(perm) - 3)
    return graph.reshape(graph.op("Transpose", value, perm=list(perm)), *[0] * (len(perm) - 2), S * H)


def _of_operator(cell: str, H: int, own: Mapping[str, HostArray]) -> tuple[HostArray, HostArray, HostArray]:
    """W (G, D), R (G, H) and B (2·G,) of one direction, with the gates in ONNX's order."""
    order = rows(cell, H)
    second = np.zeros_like(own["bias"])
    if "bias_hn" in own:  # of the candidate, the last of our gates
        second[-H:] = own["bias_hn"]
    return own["weight_ih"][order], own["weight_hh"][order], np.concatenate([own["bias"][order], second[order]])


# ---------------------------------------------------------------- the answers


def _answers_of(estimator: Any, task: Any) -> Any:
    """What writes the answers of a task: a function of the graph, the task and the logits."""
    kinds = {Classes: _classes, StepClasses: _classes, SeveralLabels: _several, Numbers: _numbers}
    if type(task) not in kinds:
        raise ValueError(f"ONNX files hold classes, numbers and labels, no answers of the kind {task.kind!r}.")
    return kinds[type(task)]


def _classes(graph: Graph, task: Classes | StepClasses, logits: str) -> None:
    steps, K = isinstance(task, StepClasses), len(task.classes)
    axes = ("batch", "time") if steps else ("batch",)
    if steps:
        logits = graph.op("Transpose", logits, perm=[1, 0, 2])  # (N, T, K)
    if isinstance(task.form, Binary):  # a softmax of 0 and the logit; the sigmoid of some runtimes ends at 1e-8
        zeros = [0] * len(axes)
        logits = graph.op("Pad", logits, graph.constant(np.array([*zeros, 1, *zeros, 0], np.int64), "pads"))
    probabilities = graph.op("Softmax", logits, axis=-1)
    number = graph.op("ArgMax", probabilities, axis=-1, keepdims=0)
    labels, dtype = _labels(task.classes)
    graph.output("label", graph.op("Gather", graph.constant(labels, "classes"), number), dtype, axes)
    graph.output("probabilities", probabilities, "float32", (*axes, K))


def _labels(classes: HostArray) -> tuple[HostArray, str]:
    """Labels as a runtime gives them, and in which dtype: strings, int64, booleans or float64."""
    if classes.dtype.kind == "U":
        return classes, "str"
    dtype = {"i": "int64", "u": "int64", "b": "bool", "f": "float64"}[classes.dtype.kind]
    if classes.dtype.kind == "u" and int(classes.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"the label {int(classes.max())} does not fit the int64 of an ONNX file.")
    return classes.astype(dtype), dtype


def _several(graph: Graph, task: SeveralLabels, logits: str) -> None:
    K, one = len(task.classes), graph.constant(np.array(1, np.float32), "one")
    # Not the operator Sigmoid: that of some runtimes ends at 1e-8.
    denominator = graph.op("Add", one, graph.op("Exp", graph.op("Neg", logits)))
    probabilities = graph.op("Reciprocal", denominator)
    above = graph.op("Greater", graph.cast(probabilities, "float64"), graph.constant(task.thresholds, "thresholds"))
    graph.output("label", graph.cast(above, "int64"), "int64", ("batch", K))
    graph.output("probabilities", probabilities, "float32", ("batch", K))


def _numbers(graph: Graph, task: Numbers, logits: str) -> None:
    wide = graph.op("Mul", graph.cast(logits, "float64"), graph.constant(task.scale, "y_scale"))
    wide = graph.op("Add", wide, graph.constant(task.center, "y_center"))
    flat = task.columns is None and task.outputs == 1 and not np.ndim((task.followed or {}).get("quantile", 0.5))
    made = graph.cast(graph.squeeze(wide, 1) if flat else wide, task.dtype)
    graph.output("prediction", made, task.dtype, ("batch",) if flat else ("batch", task.outputs))
