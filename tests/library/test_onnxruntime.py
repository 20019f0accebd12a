"""Layers beside onnxruntime's LSTM, GRU and RNN operators: lengths, states and both directions, in float32.

The models are one node each, written here in the wire format of ONNX's protocol buffers, so that no package is needed
to build them. Sources: onnx.proto (the numbers of the fields) and the operators' specification.
"""

import functools
from typing import Any

import numpy as np
import pytest

import xlstm

from ..measure import FORWARD, relative_error
from ..peers import peer

FLOAT, INT32 = 1, 6
GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
"""Where our gates go: ONNX has the order i, o, f, c for ours, i, f, g, o, and z, r, h for ours, r, u, n."""
LAYERS: dict[str, Any] = {
    "lstm": xlstm.LSTM,
    "rnn": xlstm.RNN,
    "gru": xlstm.GRU,
    "gru, reset before": functools.partial(xlstm.GRU, reset_after=False),
}


# ---------------------------------------------------------------- a model of one node


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    """A ValueInfoProto."""
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def model(
    operator: str,
    inputs: dict[str, np.ndarray],
    names: list[str],
    hidden: int,
    direction: str,
    outputs: list[str],
    linear_before_reset: bool = False,
) -> bytes:
    """A ModelProto with one node; `names` has an empty string for each optional input that is left out."""
    attributes = field(5, field(1, "hidden_size") + field(3, hidden) + field(20, 2))
    attributes += field(5, field(1, "direction") + field(4, direction) + field(20, 3))
    if linear_before_reset:
        attributes += field(5, field(1, "linear_before_reset") + field(3, 1) + field(20, 2))
    node = b"".join(field(1, name) for name in names) + b"".join(field(2, name) for name in outputs)
    node += field(4, operator) + attributes
    graph = field(1, node) + field(2, "one")
    for name, array in inputs.items():
        graph += field(11, tensor(name, INT32 if array.dtype == np.int32 else FLOAT, array.shape))
    for name in outputs:
        graph += field(12, field(1, name) + field(2, field(1, field(1, FLOAT))))
    return field(1, 8) + field(7, graph) + field(8, field(2, 14))


def reordered(blocks: np.ndarray, order: list[int]) -> np.ndarray:
    """(G, …) row blocks of our gates in ONNX's order."""
    H = blocks.shape[0] // len(order)
    return np.concatenate([blocks[k * H : (k + 1) * H] for k in order])


def run(layer: Any, x: np.ndarray, lengths: list[int] | None, state: list[np.ndarray] | None) -> list[Any]:
    """Y (N, T, S·H), Y_h and, of an LSTM, Y_c, as onnxruntime computes them with the layer's weights."""
    ort = peer("onnxruntime")
    ends = ["l0", "l0_reverse"][: layer.directions]
    operator = type(layer).__name__
    order = GATES[operator]
    bias = np.stack([reordered(layer.parameters[f"bias_{end}"], order) for end in ends])
    second = np.zeros_like(bias)
    reset_after = getattr(layer, "reset_after", False)
    if reset_after:
        second[:, -layer.hidden_size :] = [layer.parameters[f"bias_hn_{end}"] for end in ends]
    inputs = {
        "X": x.transpose(1, 0, 2),
        "W": np.stack([reordered(layer.parameters[f"weight_ih_{end}"], order) for end in ends]),
        "R": np.stack([reordered(layer.parameters[f"weight_hh_{end}"], order) for end in ends]),
        "B": np.concatenate([bias, second], axis=1),
    }
    names = ["X", "W", "R", "B", "", "", ""][: 7 if operator == "LSTM" else 6]
    if lengths is not None:
        inputs["lengths"], names[4] = np.array(lengths, np.int32), "lengths"
    for k, half in enumerate(state or []):
        inputs[f"initial_{k}"], names[5 + k] = half, f"initial_{k}"
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    direction = "bidirectional" if layer.directions == 2 else "forward"
    content = model(operator, inputs, names, layer.hidden_size, direction, outputs, reset_after)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    y, *finals = session.run(None, {name: np.ascontiguousarray(array) for name, array in inputs.items()})
    T, S, N, H = y.shape
    return [y.transpose(2, 0, 1, 3).reshape(N, T, S * H), *finals]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("cell", LAYERS)
def test_layers_are_those_of_onnxruntime(cell: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    N, T, D, H = (int(rng.choice([1, 2, 5, 9])) for _ in range(4))
    layer = LAYERS[cell](D, H, bidirectional=bool(seed % 2), device="cpu", seed=seed)
    for name in layer.parameters:
        layer.parameters[name] = rng.normal(0, 0.6, layer.parameters[name].shape)
    x = rng.standard_normal((N, T, D)).astype(np.float32)
    lengths = rng.integers(1, T + 1, N).tolist() if seed % 3 else None
    halves = 2 if cell == "lstm" else 1
    state = (
        [rng.standard_normal((layer.directions, N, H)).astype(np.float32) for _ in range(halves)] if seed % 4 else None
    )

    given = None if state is None else tuple(state) if cell == "lstm" else state[0]
    outputs, final = layer(x, given, lengths)
    finals = final if cell == "lstm" else (final,)
    expected = run(layer, x, lengths, state)
    for ours, theirs in zip((outputs, *finals), expected, strict=True):
        assert ours.shape == theirs.shape
        assert relative_error(ours, theirs) <= FORWARD["float32"]
