"""Layers and classifiers from PyTorch, Keras and safetensors and to them, against these libraries themselves."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm.convert import to_torch
from xlstm.exchange import safetensors

from ..measure import relative_error
from ..peers import peer
from .test_checkpoint import peak_of

# Keras reads its own tensors in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

MB = 2**20
STACKS = [(1, False), (2, True), (3, False)]
CELLS = [xlstm.LSTM, xlstm.GRU, xlstm.RNN]
LENGTHS = [6, 2, 1, 4]
VALID = np.arange(6)[None, :] < np.array(LENGTHS)[:, None]
X = np.random.default_rng(5).normal(size=(4, 6, 3)).astype("float32") * VALID[:, :, None]


def module_of(cell: type, layers: int = 1, bidirectional: bool = False, **options: Any) -> Any:
    torch = peer("torch")
    torch.manual_seed(0)
    kind = getattr(torch.nn, cell.__name__)
    return kind(3, 4, layers, bidirectional=bidirectional, batch_first=True, **options)


def of_torch(module: Any) -> tuple[Any, Any]:
    """Outputs, zero after a row's length, and the final state (L·S, N, H) of each part."""
    torch = peer("torch")
    rnn = torch.nn.utils.rnn
    dtype = next(module.parameters()).dtype
    packed = rnn.pack_padded_sequence(
        torch.from_numpy(X).to(dtype), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        outputs, state = module(packed)
    outputs, _ = rnn.pad_packed_sequence(outputs, batch_first=True)
    return outputs.numpy(), (torch.cat(state) if isinstance(state, tuple) else state).numpy()


def of_layer(layer: Any) -> tuple[Any, Any]:
    outputs, state = layer(X, lengths=LENGTHS)
    return outputs, np.concatenate(state) if isinstance(state, tuple) else state


def assert_same(layer: Any, module: Any) -> None:
    for found, expected in zip(of_layer(layer), of_torch(module), strict=True):
        assert relative_error(found, expected) < (1e-14 if layer.dtype == "float64" else 2e-6)


def random_layer(cell: type, layers: int = 2, bidirectional: bool = True, **options: Any) -> Any:
    layer = cell(3, 4, layers, bidirectional, device="cpu", **options)
    layer.parameters.flat[...] = np.random.default_rng(1).normal(0, 0.6, layer.parameters.flat.shape)
    return layer


def bits(layer: Any) -> bytes:
    return layer.parameters.flat.tobytes()


# ---------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_from_a_module_its_state_and_its_files(cell, layers, bidirectional, bias, tmp_path):
    torch = peer("torch")
    module = module_of(cell, layers, bidirectional, bias=bias)
    layer = cell.from_torch(module)
    assert_same(layer, module)
    assert (layer.num_layers, layer.bidirectional, layer.dtype) == (layers, bidirectional, "float32")
    torch.save(module.state_dict(), tmp_path / "model.pt")
    torch.save({"epoch": 3, "model": {"net": module.state_dict()}}, tmp_path / "checkpoint.pt")
    peer("safetensors.torch").save_file(module.state_dict(), tmp_path / "model.safetensors")
    for other in (
        cell.from_torch(module.state_dict()),
        cell.from_torch(tmp_path / "model.pt"),
        cell.from_torch(str(tmp_path / "checkpoint.pt"), prefix="model.net"),
        cell.from_torch(tmp_path / "model.safetensors"),
        cell.from_safetensors(tmp_path / "model.safetensors"),
    ):
        assert bits(other) == bits(layer)


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize("cell", CELLS)
def test_to_a_module(cell, layers, bidirectional, dtype):
    torch = peer("torch")
    layer = random_layer(cell, layers, bidirectional, dtype=dtype, dropout=0.25)
    before = torch.random.get_rng_state()
    module = layer.to_torch()
    assert torch.equal(torch.random.get_rng_state(), before), "PyTorch's generator was drawn from"
    assert type(module) is getattr(torch.nn, cell.__name__)
    assert module.dropout == (0.25 if layers > 1 else 0)
    module.eval()
    assert_same(layer, module)
    back = cell.from_torch(module)
    assert bits(back) == bits(layer)
    assert back.dropout == module.dropout


def test_a_part_of_a_larger_module_and_another_dtype():
    torch = peer("torch")
    net = torch.nn.ModuleDict({"lstm": module_of(xlstm.LSTM), "fc": torch.nn.Linear(4, 2)})
    layer = xlstm.LSTM.from_torch(net.state_dict(), prefix="lstm", dtype="float64")
    assert layer.dtype == "float64"
    assert_same(layer, net["lstm"].double())
    half = net["lstm"].to(torch.bfloat16)
    assert_same(xlstm.LSTM.from_torch(half, dtype="float32"), half.float())


# ---------------------------------------------------------------- safetensors


@pytest.mark.parametrize("cell", CELLS)
def test_the_safetensors_of_a_layer_load_in_pytorch(cell, dtype, tmp_path):
    layer = random_layer(cell, dtype=dtype)
    layer.to_safetensors(tmp_path / "a.safetensors")
    module = module_of(cell, 2, True).to(getattr(peer("torch"), dtype))
    module.load_state_dict(peer("safetensors.torch").load_file(tmp_path / "a.safetensors"))
    assert_same(layer, module)
    assert bits(cell.from_safetensors(tmp_path / "a.safetensors")) == bits(layer)
    module_of(cell, 2, True).load_state_dict(peer("safetensors.torch").load_file(tmp_path / "a.safetensors"))


def test_files_with_other_dtypes(tmp_path):
    torch = peer("torch")
    state = module_of(xlstm.GRU).state_dict()
    for dtype in (torch.float16, torch.bfloat16):
        rounded = {name: values.to(dtype) for name, values in state.items()}
        peer("safetensors.torch").save_file({**rounded, "n": torch.tensor([3])}, tmp_path / "half.safetensors")
        found = safetensors.read(tmp_path / "half.safetensors")
        assert found["n"].tolist() == [3]
        for name, values in rounded.items():
            assert (found[name] == values.float().numpy()).all(), name


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with a checksum."""
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    random_layer(xlstm.LSTM, 1, False).to_safetensors(path)
    return path.read_bytes()


def test_no_flipped_bit_and_no_cut_passes(content, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    right = {name: values.tobytes() for name, values in safetensors.read(path).items()}
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        with contextlib.suppress(ValueError):  # what passes was in the metadata, which is no array
            found = safetensors.read(path)
            assert {name: values.tobytes() for name, values in found.items()} == right, place
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"truncated|damaged"):
            safetensors.read(path)


@settings(max_examples=60, deadline=None)
@given(header=st.recursive(st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["F32", "BF16"]),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                               st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner),
                           max_leaves=12))  # fmt: skip
def test_whatever_stands_in_a_header_is_read_or_refused(header, tmp_path_factory):
    path = tmp_path_factory.mktemp("header") / "x.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with contextlib.suppress(ValueError):
        safetensors.read(path)


# ---------------------------------------------------------------- Keras


def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return peer("keras")


FORMS = [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("RNN", {})]


def of_keras(model: Any) -> Any:
    """Outputs at valid steps, zero after them, of a model of layers that answer at every step."""
    ops, outputs = keras().ops, X
    for layer in model.layers:
        outputs = layer(outputs, mask=ops.convert_to_tensor(VALID))
    return ops.convert_to_numpy(outputs) * VALID[:, :, None]


def keras_layer(kind: str, units: int = 4, each_step: bool = True, **options: Any) -> Any:
    layers = keras().layers
    return getattr(layers, {"RNN": "SimpleRNN"}.get(kind, kind))(units, return_sequences=each_step, **options)


def keras_model(kind: str, layers: int = 1, bidirectional: bool = False, **options: Any) -> Any:
    model = keras().Sequential([keras().Input((None, 3))])
    for _ in range(layers):
        made = keras_layer(kind, **options)
        model.add(keras().layers.Bidirectional(made) if bidirectional else made)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(0, 0.6, values.shape) for values in model.get_weights()])
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize(("kind", "more"), FORMS)
def test_from_keras_and_its_files(kind, more, layers, bidirectional, bias, tmp_path):
    cell, model = getattr(xlstm, kind), keras_model(kind, layers, bidirectional, use_bias=bias, **more)
    layer = cell.from_keras(model)
    assert relative_error(layer(X, lengths=LENGTHS)[0], of_keras(model)) < 2e-6
    assert bits(cell.from_keras(model.layers)) == bits(layer)
    model.save(tmp_path / "model.keras")
    assert bits(cell.from_keras(tmp_path / "model.keras")) == bits(layer)
    model.save_weights(tmp_path / "model.weights.h5")
    if kind == "GRU" and not bias:
        with pytest.raises(ValueError, match="do not tell whether reset_after"):
            cell.from_keras(tmp_path / "model.weights.h5")
    else:
        assert bits(cell.from_keras(tmp_path / "model.weights.h5")) == bits(layer)


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize(("kind", "more"), FORMS)
def test_to_keras(kind, more, layers, bidirectional):
    keras()
    layer = random_layer(getattr(xlstm, kind), layers, bidirectional, **more)
    model = layer.to_keras()
    assert relative_error(layer(X, lengths=LENGTHS)[0], of_keras(model)) < 2e-6
    assert bits(type(layer).from_keras(model)) == bits(layer)
    final = keras().ops.convert_to_numpy(layer.to_keras(return_sequences=False)(X[:1]))
    h = layer(X[:1])[1]
    h = h[0] if isinstance(h, tuple) else h
    assert relative_error(final, np.concatenate(list(h[-layer.directions :]), axis=1)) < 2e-6


def test_float64_goes_to_keras_and_back():
    keras()
    layer = random_layer(xlstm.LSTM, dtype="float64")
    model = layer.to_keras()
    assert bits(xlstm.LSTM.from_keras(model)) == bits(layer)
    assert relative_error(keras().ops.convert_to_numpy(model(X[:1].astype("float64"))), layer(X[:1])[0]) < 1e-13


def test_more_than_ten_layers_and_a_functional_model_from_a_file(tmp_path):
    model = keras_model("RNN", 12)
    model.save_weights(tmp_path / "deep.weights.h5")
    assert bits(xlstm.RNN.from_keras(tmp_path / "deep.weights.h5")) == bits(xlstm.RNN.from_keras(model))
    given = keras().Input((None, 3))
    made = keras().Model(given, keras_layer("GRU", each_step=False)(keras_layer("GRU", name="first")(given)))
    made.save(tmp_path / "functional.keras")
    assert bits(xlstm.GRU.from_keras(tmp_path / "functional.keras")) == bits(xlstm.GRU.from_keras(made))


# ---------------------------------------------------------------- a classifier


@pytest.mark.parametrize(("classes", "rows"), [(["b", "a"], 2), (["b", "a"], 1), (["a", "b"], 1), ([3, 1, 2], 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_classifier_of_pytorchs_parts(cell, classes, rows, tmp_path):
    torch = peer("torch")
    module, linear = module_of(cell, 2, True), torch.nn.Linear(8, rows)
    mean, scale = np.array([0.5, -1.0, 0.0]), np.array([2.0, 1.0, 0.5])
    clf = xlstm.SequenceClassifier.from_torch(module, linear, classes=classes, mean=mean, scale=scale, device="cpu")
    series = [row[:length] for row, length in zip(X, LENGTHS, strict=True)]
    expected = []
    with torch.no_grad():
        for one in series:
            _, state = module(torch.from_numpy(((one - mean) / scale).astype("float32"))[None])
            h = state[0] if isinstance(state, tuple) else state
            z = linear(torch.cat([h[-2], h[-1]], dim=1))[0]
            p = torch.sigmoid(z)
            expected.append(torch.softmax(z, 0).numpy() if rows > 1 else torch.cat([1 - p, p]).numpy())
    expected = np.array(expected)[:, np.argsort(classes)]
    found = clf.predict_proba(series)
    assert clf.classes_.tolist() == sorted(classes)
    assert relative_error(found, expected) < 2e-6
    assert clf.predict(series).tolist() == [sorted(classes)[k] for k in expected.argmax(axis=1)]
    assert relative_error(clf.prepare().predict_proba(series), expected) < 2e-6
    clf.save(tmp_path / "model.xlstm")
    assert (xlstm.load(tmp_path / "model.xlstm", device="cpu").predict_proba(series) == found).all()
    clf.partial_fit(series, [*classes, *classes][:4])
    assert not (clf.predict_proba(series) == found).all()


def test_a_classifier_that_streams():
    torch = peer("torch")
    module, linear = module_of(xlstm.LSTM), torch.nn.Linear(4, 3)
    clf = xlstm.SequenceClassifier.from_torch(
        module.state_dict(), linear.state_dict(), classes=list("abc"), device="cpu"
    )
    stream = clf.stream()
    for step in X[0]:
        answer = stream.feed(step[None])
    with torch.no_grad():
        expected = torch.softmax(linear(module(torch.from_numpy(X[:1]))[1][0][-1]), 1)[0].numpy()
    assert relative_error(np.ravel(answer), expected) < 2e-6


@pytest.mark.parametrize("form", ["words", "characters", "integers"])
@pytest.mark.parametrize("embedded", [True, False])
def test_a_classifier_of_tokens(form, embedded, tmp_path):
    torch = peer("torch")
    torch.manual_seed(1)
    tokens = {"words": ["the", "cat", "Sat"], "characters": ["z", "B", "a"], "integers": [7, -3, 5]}[form]
    vocabulary = [None, *tokens] if form != "characters" else {token: row for row, token in enumerate(tokens, 1)}
    table = torch.nn.Embedding(5, 4)
    module, linear = torch.nn.GRU(4 if embedded else 5, 6, batch_first=True), torch.nn.Linear(6, 2)
    how = {"embedding": table, "unknown": 4} if embedded else {}
    clf = xlstm.SequenceClassifier.from_torch(
        module, linear, classes=["no", "yes"], vocabulary=vocabulary, device="cpu",
        split="words" if form == "words" else "characters", **how,
    )  # fmt: skip
    rows = [[1, 3, 2], [2], [3, 3, 1, 2], [1, 0, 2]]  # 0 stands for a token that is not known
    unknown = {"words": "dog", "characters": "q", "integers": 99}[form]
    given = [[tokens[k - 1] if k else unknown for k in row] for row in rows]
    texts = given if form == "integers" else [{"words": " ", "characters": ""}[form].join(row) for row in given]
    expected = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([[k or 4 for k in row]])
            x = table(ids) if embedded else torch.eye(5)[ids] * (torch.tensor([row]) > 0)[:, :, None]
            expected.append(torch.softmax(linear(module(x)[1][-1]), 1)[0].numpy())
    found = clf.predict_proba(texts)
    assert relative_error(found, np.array(expected)) < 2e-6
    clf.save(tmp_path / "model.xlstm")
    assert (xlstm.load(tmp_path / "model.xlstm", device="cpu").predict_proba(texts) == found).all()


@pytest.mark.parametrize("readout", ["mean", "max", "final+max", "final+mean+max"])
def test_a_classifier_with_another_readout(readout):
    torch = peer("torch")
    module = module_of(xlstm.LSTM)
    linear = torch.nn.Linear(4 * len(readout.split("+")), 2)
    clf = xlstm.SequenceClassifier.from_torch(module, linear, classes=[0, 1], readout=readout, device="cpu")
    with torch.no_grad():
        outputs = module(torch.from_numpy(X[:1]))[0][0]
        parts = {"final": outputs[-1], "mean": outputs.mean(dim=0), "max": outputs.amax(dim=0)}
        z = linear(torch.cat([parts[name] for name in readout.split("+")]))
        expected = torch.softmax(z, 0).numpy()
    assert relative_error(clf.predict_proba([X[0]])[0], expected) < 2e-6


def test_a_classifier_of_a_layer_from_keras():
    model = keras_model("LSTM")
    head = keras().layers.Dense(3, activation="softmax")
    expected = keras().ops.convert_to_numpy(head(of_keras(model)[0, -1:]))
    kernel, bias = head.get_weights()
    clf = xlstm.SequenceClassifier.from_torch(
        xlstm.LSTM.from_keras(model), {"weight": kernel.T, "bias": bias}, classes=["a", "b", "c"], device="cpu"
    )
    assert relative_error(clf.predict_proba([X[0]]), expected) < 2e-6


# ---------------------------------------------------------------- what is wrong is named


def refused(message: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """The call raises a sentence with this in it."""
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        call(*arguments, **named)
    assert "\n" not in str(raised.value)


def state(cell: type = xlstm.LSTM, layers: int = 2, bidirectional: bool = True, **changes: Any) -> dict[str, Any]:
    """A good state_dict of NumPy arrays, with changes; None takes a name away."""
    found = {**to_torch(random_layer(cell, layers, bidirectional).parameters), **changes}
    return {name: values for name, values in found.items() if values is not None}


def f32(*shape: int) -> Any:
    return np.ones(shape, "float32")


def spoiled(name: str, value: float) -> dict[str, Any]:
    found = state()
    found[name].flat[3] = value
    return found


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
BAD_STATES: dict[str, tuple[Any, str]] = {
    "none": ({}, "the state_dict is empty"),
    "a list": ([1], "got list"),
    "a number": (3, "got int"),
    "a missing matrix": (state(weight_hh_l1=None), "there is no weight_hh_l1 beside"),
    "a missing bias": (state(bias_hh_l0=None), "there is no bias_hh_l0 beside"),
    "a missing direction": (state(**{f"{k}_l1_reverse": None for k in KINDS}),
                            "there is no bias_hh_l1_reverse"),
    "a missing layer": (state(**{f"{k}_l0{d}": None for k in KINDS
                                 for d in ("", "_reverse")}), "there is no bias_hh_l0"),
    "a far layer": (state(weight_ih_l4000=f32(16, 8)), "there is no bias_hh_l2"),
    "a head": (state(**{"fc.weight": f32(2, 8)}), r"fc.weight is no parameter of an LSTM"),
    "a part": ({f"net.lstm.{name}": values for name, values in state().items()}, "pass prefix='net.lstm'"),
    "an unknown name": (state(gain=f32(4)), "gain is no parameter"),
    "a layer with a leading zero": (state(weight_ih_l00=f32(4)), "weight_ih_l00 is no parameter"),
    "a projection": (state(weight_hr_l0=f32(2, 4)), r"weight_hr_l0 is a projection \(proj_size\)"),
    "the gates of a GRU": (state(xlstm.GRU), r"weight_hh_l0 has shape \(12, 4\), expected \(4·H, H\) for lstm"),
    "the gates of an RNN": (state(xlstm.RNN), r"weight_hh_l0 has shape \(4, 4\), expected .*a wrong number of gates"),
    "a vector for a matrix": (state(weight_hh_l0=f32(16)), r"weight_hh_l0 has shape \(16,\)"),
    "a matrix for a bias": (state(bias_ih_l0=f32(16, 1)), r"bias_ih_l0 has shape \(16, 1\), expected \(16,\)"),
    "a matrix of no columns": (state(weight_ih_l0=f32(16, 0)), r"weight_ih_l0 has shape \(16, 0\)"),
    "a transposed matrix": (state(weight_ih_l1=f32(8, 16)), r"weight_ih_l1 has shape \(8, 16\), expected \(16, 8\)"),
    "another H above": (state(weight_hh_l1=f32(20, 5)), r"weight_hh_l1 has shape \(20, 5\), expected \(16, 4\)"),
    "another D in reverse": (state(weight_ih_l0_reverse=f32(16, 2)), r"weight_ih_l0_reverse .* expected \(16, 3\)"),
    "a short bias": (state(bias_hh_l1=f32(12)), r"bias_hh_l1 has shape \(12,\), expected \(16,\): 4 gates of 4"),
    "float16": ({name: values.astype("float16") for name, values in state().items()}, "is float16, .*dtype='float32'"),
    "integers": (state(bias_ih_l0=np.ones(16, int)), "bias_ih_l0 must hold floating-point numbers, got dtype int64"),
    "complex numbers": (state(bias_ih_l0=np.ones(16, complex)), "bias_ih_l0 must be an array of real numbers"),
    "two dtypes": (state(bias_ih_l0=np.ones(16)), "is float32, but bias_ih_l0 float64"),
    "text": (state(bias_ih_l0="x"), "bias_ih_l0 must be an array of real numbers, got str"),
    "None": ({**state(), "bias_ih_l0": None}, "bias_ih_l0 must be an array of real numbers"),
    "a ragged list": (state(bias_ih_l0=[[1.0], [1.0, 2.0]]), "bias_ih_l0 is a ragged list"),
    "NaN": (spoiled("weight_hh_l1_reverse", np.nan), "weight_hh_l1_reverse holds NaN or infinity"),
    "infinity": (spoiled("bias_hh_l0", -np.inf), "bias_hh_l0 holds NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_bad_state_is_refused_by_name(case):
    found, message = BAD_STATES[case]
    refused(message, xlstm.LSTM.from_torch, found)


def test_a_prefix_of_nothing_and_of_a_module():
    with pytest.raises(ValueError, match=r"nothing below the prefix 'rnn'; there is lstm.weight_ih_l0"):
        xlstm.LSTM.from_torch({f"lstm.{name}": values for name, values in state().items()}, prefix="rnn")
    with pytest.raises(ValueError, match=r"pass its part, module.lstm"):
        xlstm.LSTM.from_torch(module_of(xlstm.LSTM), prefix="lstm.")
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        xlstm.LSTM.from_torch({name: np.float64(values) * 1e300 for name, values in state().items()}, dtype="float32")


def bad_modules() -> list[tuple[type, Any, str]]:
    torch = peer("torch")
    lstm = module_of(xlstm.LSTM)
    return [
        (xlstm.LSTM, torch.nn.LSTM(3, 4, proj_size=2), r"a projection \(proj_size=2\)"),
        (xlstm.RNN, torch.nn.RNN(3, 4, nonlinearity="relu"), "nonlinearity='relu'"),
        (xlstm.GRU, lstm, "the module is a torch.nn.LSTM, expected one of the cell gru"),
        (xlstm.LSTM, torch.nn.Linear(3, 4), "Linear is no torch.nn.LSTM"),
        (xlstm.LSTM, torch.nn.Sequential(lstm, torch.nn.ReLU()), r"pass its part, module\.0"),
        (xlstm.LSTM, torch.nn.LSTMCell(3, 4), "LSTMCell is no torch.nn.LSTM"),
        (xlstm.LSTM, module_of(xlstm.LSTM).bfloat16(), "bfloat16"),
        (xlstm.LSTM, module_of(xlstm.LSTM).half(), "is float16"),
    ]


def test_bad_modules_are_refused_by_name():
    for cell, module, message in bad_modules():
        refused(message, cell.from_torch, module)
    with pytest.raises(ValueError, match="no layer of the cell 'gru_reset_before': there the reset gate"):
        xlstm.GRU(3, 4, reset_after=False).to_torch()
    with pytest.raises(ValueError, match="PyTorch has no recurrent layer"):
        xlstm.GRU(3, 4, reset_after=False).to_safetensors("nowhere.safetensors")


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def test_bad_files_are_refused_by_name_and_no_code_is_run(tmp_path, monkeypatch, content):
    torch = peer("torch")
    monkeypatch.chdir(tmp_path)
    module = module_of(xlstm.LSTM)
    torch.save({"weight_ih_l0": Evil()}, "evil.pt")
    torch.save(module, "module.pt")
    torch.save([1, 2], "list.pt")
    torch.save(module.state_dict(), "good.pt")
    good = Path("good.pt").read_bytes()
    Path("half.pt").write_bytes(good[: len(good) // 2])
    Path("empty.pt").write_bytes(b"")
    Path("text.pt").write_text("weight_ih_l0")
    Path("raw.pkl").write_bytes(b"\x80\x04}.")
    Path("half.safetensors").write_bytes(content[:-9])
    cases = {
        "evil.pt": "holds objects beside arrays",
        "module.pt": "holds objects beside arrays",
        "list.pt": "holds a list, expected a state_dict",
        "half.pt": "is damaged or truncated",
        "empty.pt": "is truncated",
        "text.pt": "is no file of torch.save or safetensors",
        "raw.pkl": "is no file of torch.save or safetensors",
        "half.safetensors": "is damaged",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            xlstm.LSTM.from_torch(name)
    assert not Path("harm").exists()
    with pytest.raises(FileNotFoundError):
        xlstm.LSTM.from_torch("nowhere.pt")


def test_files_of_pytorch_take_no_more_memory_than_their_size_allows(tmp_path, monkeypatch):
    torch = peer("torch")
    monkeypatch.chdir(tmp_path)
    module = module_of(xlstm.LSTM)
    torch.save(module.state_dict(), "good.pt")
    torch.save({"weight_ih_l0": torch.zeros(1, 1).expand(12, 10**12)}, "expanded.pt")
    one = torch.zeros(MB)
    torch.save({f"weight_ih_l{k}": one[: MB - k] for k in range(50)}, "shared.pt")
    torch.save({"weight_ih_l0": torch.zeros(24 * MB)}, "zeros.pt")
    twice: Any = {"a": one}
    for _ in range(30):
        twice = {"a": twice, "b": twice}
    torch.save(twice, "twice.pt")
    itself: dict[str, Any] = {}
    itself["a"] = itself
    torch.save(itself, "itself.pt")
    for name in ("good", "zeros"):
        with zipfile.ZipFile(f"{name}.pt") as given, zipfile.ZipFile(f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as made:
            for part in given.namelist():
                made.writestr(part, given.read(part))
    assert bits(xlstm.LSTM.from_torch("good.zip")) == bits(xlstm.LSTM.from_torch(module))
    too_large = "what it holds would take .* MB of memory"
    cases = {"expanded.pt": too_large, "shared.pt": too_large, "zeros.zip": too_large, "twice.pt": "more than 1000000",
             "itself.pt": "nested too deeply"}  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
            xlstm.LSTM.from_torch(name)


def test_what_is_wrong_with_the_state_in_a_file_is_said_with_its_path(tmp_path, monkeypatch):
    torch = peer("torch")
    monkeypatch.chdir(tmp_path)
    good = module_of(xlstm.LSTM).state_dict()
    torch.save({}, "empty.pt")
    torch.save({**good, "extra": torch.ones(2)}, "extra.pt")
    torch.save({**good, "weight_hh_l0": torch.ones(5, 4)}, "gates.pt")
    torch.save({name: values.int() for name, values in good.items()}, "integers.pt")
    safetensors.write("extra.safetensors", {"extra": f32(2)})
    cases = {"empty.pt": (ValueError, "the state_dict is empty"), "extra.pt": (ValueError, "extra is no parameter"),
             "gates.pt": (ValueError, "weight_hh_l0 has shape"), "integers.pt": (TypeError, "must hold floating-point"),
             "extra.safetensors": (ValueError, "extra is no parameter")}  # fmt: skip
    for name, (kind, message) in cases.items():
        with pytest.raises(kind, match=f"^{name}: .*{message}"):
            xlstm.LSTM.from_torch(name)
    with pytest.raises(ValueError, match=r"^extra\.safetensors: extra is no parameter"):
        xlstm.LSTM.from_safetensors("extra.safetensors")


def headed(header: Any, content: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD_SAFETENSORS = {
    "too short": (b"\x01\x00", "truncated"),
    "a huge header": (struct.pack("<Q", 2**60) + b"{}", "truncated"),
    "no JSON": (struct.pack("<Q", 2) + b"{]", "damaged"),
    "a list": (headed([1]), "damaged"),
    "no dtype": (headed({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), "it has no 'dtype'"),
    "an unknown dtype": (headed({"a": {**ENTRY, "dtype": "F8_E4M3"}}, bytes(8)), "a is of the dtype 'F8_E4M3'"),
    "a negative size": (headed({"a": {**ENTRY, "shape": [-2]}}, bytes(8)), "a has the shape"),
    "a shape that does not fit": (headed({"a": {**ENTRY, "shape": [3]}}, bytes(8)), r"a of shape \(3,\) does not fit"),
    "beyond the end": (headed({"a": ENTRY}, bytes(4)), "does not fit the bytes 0 to 8"),
    "a gap": (headed({"a": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)), "leave a gap"),
    "overlap": (headed({"a": ENTRY, "b": ENTRY}, bytes(8)), "overlap"),
    "more bytes": (headed({"a": ENTRY}, bytes(9)), "9 bytes of arrays where 8 are announced"),
    "a name twice": (struct.pack("<Q", 15) + b'{"a":1, "a":2} ', "twice"),
    "more axes than any array": (headed({"a": {**ENTRY, "shape": [10**9] * 20000}}, bytes(8)), "a has 20000 axes"),
    "another checksum": (headed({"__metadata__": {safetensors.CHECKSUM: "0"}, "a": ENTRY}, bytes(8)), "checksum"),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_bad_safetensors_are_refused(case, tmp_path):
    given, message = BAD_SAFETENSORS[case]
    (tmp_path / "a.safetensors").write_bytes(given)
    with pytest.raises(ValueError, match=message):
        xlstm.LSTM.from_safetensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("entry", ["{},", '"ab",'])
def test_a_header_of_safetensors_is_refused_before_it_takes_much_memory(entry, tmp_path):
    text = b'{"a":[' + entry.encode() * (4 * MB // len(entry)) + b"0]}"
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    for read in (xlstm.LSTM.from_safetensors, xlstm.LSTM.from_torch):
        refuse = partial(refused, r"a\.safetensors is damaged.*its header would take", read, tmp_path / "a.safetensors")
        assert peak_of(refuse) < 3 * len(text) + 16 * MB


def test_arrays_of_safetensors_that_lie_on_each_other_are_not_copied(tmp_path):
    entries = {f"a{k}": {"dtype": "U8", "shape": [MB], "data_offsets": [0, MB]} for k in range(50)}
    (tmp_path / "a.safetensors").write_bytes(headed(entries, bytes(MB)))
    assert peak_of(lambda: refused("overlap", xlstm.LSTM.from_safetensors, tmp_path / "a.safetensors")) < 16 * MB


def test_very_many_small_arrays_that_we_wrote_are_read(tmp_path):
    arrays = {f"weight_ih_l{k}": f32(1 if k else 0) for k in range(20_000)}
    safetensors.write(tmp_path / "a.safetensors", arrays)
    assert len(safetensors.read(tmp_path / "a.safetensors")) == len(arrays)
    safetensors.write(tmp_path / "a.safetensors", {"none": f32(0, 3)})
    assert safetensors.read(tmp_path / "a.safetensors")["none"].shape == (0, 3)


def test_keras_layers_that_cannot_be_expressed_are_refused_by_name():
    layers = keras().layers
    built: Callable[..., Any] = lambda layer: (layer.build((2, 5, 3)), layer)[1]  # noqa: E731
    lstm, gru = built(layers.LSTM(4, return_sequences=True)), built(layers.GRU(4))
    cases = [
        (built(layers.LSTM(4, activation="relu")), "has activation='relu', and layers here have 'tanh'"),
        (built(layers.LSTM(4, recurrent_activation="hard_sigmoid")), "has recurrent_activation='hard_sigmoid'"),
        (built(layers.LSTM(4, go_backwards=True)), "has go_backwards=True"),
        (built(layers.LSTM(4, stateful=True)), "has stateful=True"),
        (built(layers.LSTM(4, return_state=True)), "has return_state=True"),
        (built(layers.Bidirectional(layers.LSTM(4), merge_mode="sum")), "has merge_mode='sum'"),
        (built(layers.Bidirectional(layers.LSTM(4, activation="elu"))), "has activation='elu'"),
        (layers.LSTM(4), "has no weights yet"),
        (built(layers.Dense(4)), "is a Dense, expected LSTM"),
        (gru, "is of the cell 'gru', expected lstm"),
        ([lstm, gru], "is of another kind than"),
        ([built(layers.LSTM(4)), lstm], "has return_sequences=False, but another layer reads"),
        ([lstm, lstm], r"kernel of .* has shape \(3, 16\), expected \(4, 16\)"),
        ([], "there is no layer"),
        (3, "expected layers of Keras"),
        (keras().Sequential([keras().Input((None, 3)), layers.Masking(), layers.LSTM(4)]), "Masking"),
    ]
    for source, message in cases:
        refused(message, xlstm.LSTM.from_keras, source)
    lstm.set_weights([np.full_like(values, np.nan) for values in lstm.get_weights()])
    with pytest.raises(ValueError, match=r"kernel of .* holds NaN"):
        xlstm.LSTM.from_keras(lstm)


def test_bad_files_of_keras_are_refused(tmp_path, monkeypatch):
    h5py = peer("h5py")
    monkeypatch.chdir(tmp_path)
    model = keras_model("LSTM", 2)
    model.save("good.keras")
    model.save_weights("good.weights.h5")
    good = Path("good.keras").read_bytes()
    for name, whole in (("half.keras", good), ("half.weights.h5", Path("good.weights.h5").read_bytes())):
        Path(name).write_bytes(whole[: len(whole) // 2])
    Path("text.keras").write_text("no")
    Path("empty.h5").write_bytes(b"")
    dense = keras().Sequential(
        [keras().Input((None, 3)), keras_layer("LSTM", each_step=False), keras().layers.Dense(2)]
    )
    dense.save("dense.keras")
    dense.save_weights("dense.weights.h5")
    mixed = keras().Sequential([keras().Input((None, 3)), keras_layer("LSTM"), keras_layer("GRU")])
    mixed.save_weights("mixed.weights.h5")
    with zipfile.ZipFile("other.keras", "w") as archive:
        archive.writestr("a.txt", "")

    def changed(name: str, change: Callable[[Any], None]) -> None:
        Path(name).write_bytes(Path("good.weights.h5").read_bytes())
        with h5py.File(name, "r+") as file:
            change(file["layers"])

    def link(group: Any) -> None:
        del group["lstm/cell/vars/1"]
        group["lstm/cell/vars/1"] = h5py.ExternalLink("good.weights.h5", "layers/lstm/cell/vars/1")

    def other(values: Any) -> Callable[[Any], None]:
        def change(group: Any) -> None:
            del group["lstm/cell/vars/1"]
            group["lstm/cell/vars/1"] = values

        return change

    changed("missing.weights.h5", lambda group: group["lstm/cell/vars"].__delitem__("1"))
    changed("cell.weights.h5", lambda group: group["lstm"].__delitem__("cell"))
    changed("link.weights.h5", link)
    changed("shape.weights.h5", other(f32(4, 12)))
    changed("integers.weights.h5", other(np.ones((4, 16), int)))
    with h5py.File("legacy.h5", "w") as file:
        file.create_group("model_weights")
    cases = {
        "half.keras": "is damaged", "half.weights.h5": "is damaged", "text.keras": "is no .keras or .weights.h5 file",
        "empty.h5": "truncated", "dense.keras": "has the layer 'dense", "dense.weights.h5": "has the layer 'dense'",
        "mixed.weights.h5": "do not tell the order", "other.keras": "is no file of Keras 3",
        "missing.weights.h5": "has 0, 2, expected 0, 1", "cell.weights.h5": "it has no lstm.cell.vars",
        "link.weights.h5": "is no array in this file",
        "shape.weights.h5": r"recurrent_kernel of lstm has shape \(4, 12\), expected \(4, 16\)",
        "integers.weights.h5": "holds no floating-point numbers", "legacy.h5": "was written by Keras 2",
    }  # fmt: skip
    for name, message in cases.items():
        refused(rf"^{name}.*{message}", xlstm.LSTM.from_keras, name)


def zipped(path: Path, method: int = zipfile.ZIP_DEFLATED, **parts: bytes) -> None:
    names = {"config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(names[name], part)


def test_files_of_keras_take_no_more_memory_than_their_size_allows(tmp_path, monkeypatch):
    h5py = peer("h5py")
    monkeypatch.chdir(tmp_path)
    keras_model("LSTM", 2).save("good.keras")
    with zipfile.ZipFile("good.keras") as archive:
        config, weights = archive.read("config.json"), archive.read("model.weights.h5")

    def with_array(name: str, **how: Any) -> None:
        with h5py.File(name, "w") as file:
            cell = file.create_group("layers/lstm/cell/vars")
            cell.create_dataset("0", dtype="f4", **how)
            cell["1"], cell["2"] = f32(3, 12), f32(12)

    with_array("unwritten.weights.h5", shape=(8333333, 12), chunks=(1000, 12))
    with_array("packed.weights.h5", data=np.zeros((20 * MB, 1), "f4"), chunks=(MB, 1), compression="gzip")
    with h5py.File("linked.weights.h5", "w") as file:
        file["0"], file["1"], file["2"] = f32(MB), f32(3, 12), f32(12)
        for k in range(50):
            cell = file.create_group(f"layers/lstm{f'_{k}' if k else ''}/cell/vars")
            for name in "012":
                cell[name] = file[name]
    zipped(Path("config.keras"), config=b"[" + b"{}," * (5 * MB) + b"0]", weights=weights)
    zipped(Path("zeros.keras"), config=config, weights=bytes(90 * MB))
    zipped(Path("bzip2.keras"), zipfile.ZIP_BZIP2, config=config, weights=weights)
    zipped(Path("lying.keras"), config=config + b" " * (90 * MB), weights=weights)
    lying, size = Path("lying.keras").read_bytes(), struct.pack("<I", len(config) + 90 * MB)
    Path("lying.keras").write_bytes(lying.replace(size, struct.pack("<I", len(config))))
    cases = {
        "unwritten.weights.h5": "lacks a part of its numbers",
        "packed.weights.h5": "is packed, which Keras does not write",
        "linked.weights.h5": "its arrays announce 20",
        "config.keras": "its header would take",
        "zeros.keras": "what it holds would take 94 MB",
        "bzip2.keras": "is packed by another method",
        "lying.keras": "is damaged",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"^{name}.*{message}"):  # what is imported only once
            xlstm.LSTM.from_keras(name)
        assert peak_of(partial(refused, message, xlstm.LSTM.from_keras, name)) < 48 * MB, name
    zipped(Path("again.keras"), config=config, weights=weights)
    assert bits(xlstm.LSTM.from_keras("again.keras")) == bits(xlstm.LSTM.from_keras("good.keras"))


@pytest.mark.parametrize("bias", [True, False])
def test_a_classifier_of_the_state_of_a_whole_module(tmp_path, bias):
    torch = peer("torch")
    module = torch.nn.ModuleDict({"lstm": module_of(xlstm.LSTM), "fc": torch.nn.Linear(4, 3, bias=bias)})
    torch.save({"epoch": 3, "model": module.state_dict()}, tmp_path / "checkpoint.pt")
    torch.save(module.state_dict(), tmp_path / "module.pt")
    parts = {"classes": ["b", "c", "a"], "device": "cpu"}
    expected = xlstm.SequenceClassifier.from_torch(module["lstm"], module["fc"], **parts).predict_proba(X)
    for source, above in (
        (module.state_dict(), ""), (tmp_path / "module.pt", ""), (tmp_path / "checkpoint.pt", "model.")
    ):  # fmt: skip
        found = xlstm.SequenceClassifier.from_torch(source, f"{above}fc", prefix=f"{above}lstm", **parts)
        np.testing.assert_array_equal(found.predict_proba(X), expected)


def test_bad_parts_of_a_classifier_are_refused_by_name():
    torch = peer("torch")
    lstm, linear, table = module_of(xlstm.LSTM), torch.nn.Linear(4, 2), torch.nn.Embedding(5, 3)
    tokens = {"embedding": table, "vocabulary": "abcde"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"classes": [1]}, "classes must be two labels or more"),
        ({"classes": [1, 1]}, "all different"),
        ({"classes": [1, 2, 3]}, r"weight of linear has shape \(2, 4\), expected \(3, 4\)"),
        ({"linear": torch.nn.Linear(5, 2)}, r"weight of linear has shape \(2, 5\), expected \(2, 4\)"),
        ({"linear": torch.nn.ReLU()}, "linear must be a torch.nn.Linear"),
        ({"linear": {"weight": f32(2, 4), "gain": f32(2)}}, "linear must have weight and bias, it has weight, gain"),
        ({"linear": {"weight": f32(2, 4), "bias": f32(3)}}, r"bias of linear has shape \(3,\)"),
        ({"linear": {"weight": f32(2, 4) * np.nan}}, "weight of linear holds NaN"),
        ({"linear": "fc"}, "linear='fc' is where the head stands in a state_dict or its file, and recurrent is none"),
        ({"linear": "fc", "recurrent": lstm.state_dict()}, "there is nothing below the prefix 'fc'; there is"),
        ({"linear": {"fc.weight": f32(2, 4), "fc.bias": f32(2)}}, "Pass where the head stands in it, linear='fc'"),
        ({"linear": 3}, "linear must be a torch.nn.Linear, its state_dict, or where it stands"),
        ({"readout": "attention"}, "readout must be one without weights"),
        ({"mean": [1.0]}, r"mean has shape \(1,\), expected \(3,\)"),
        ({"scale": [1.0, 0.0, 1.0]}, "scale must be finite, and above 0"),
        ({"embedding": table}, "pass their vocabulary"),
        ({**tokens, "mean": [0.0] * 3}, "pass one of them"),
        ({**tokens, "vocabulary": "abca"}, "a token twice"),
        ({**tokens, "vocabulary": "abcdef"}, "a token of row 5, but the embedding has 5 rows"),
        ({**tokens, "vocabulary": ["a", 1]}, "must hold strings, or integers"),
        ({**tokens, "vocabulary": []}, "must hold strings, or integers; got nothing"),
        ({**tokens, "vocabulary": {"a": 0, "b": 0}}, "two tokens with the same row"),
        ({**tokens, "vocabulary": {"a": "x"}}, "must map each token to its row"),
        ({**tokens, "vocabulary": "Ab", "fold_case": True}, "holds 'A', which no token is with fold_case=True"),
        ({**tokens, "vocabulary": "a\u212b", "normalize": "NFC"}, "which no token is with .* normalize='NFC'"),
        ({**tokens, "normalize": "NF"}, "normalize must be None or one of"),
        ({**tokens, "unknown": 5}, "unknown must be a row of the embedding, 0 to 4"),
        ({"vocabulary": "abc", "unknown": 1}, "unknown is a row of the embedding"),
        ({**tokens, "embedding": torch.nn.Embedding(5, 2)}, r"the embedding has shape \(5, 2\), expected \(V, 3\)"),
        ({**tokens, "embedding": torch.nn.Embedding(5, 3, max_norm=1.0)}, "max_norm=1.0"),
        ({"recurrent": torch.nn.Linear(3, 4)}, "Linear is no torch.nn.LSTM"),
        ({"recurrent": xlstm.LSTM(3, 4), "dtype": "float64"}, "a layer of xlstm is taken as it is"),
        ({"kernels": "fast"}, "kernels"),
    ]
    for changes, message in cases:
        parts = {"recurrent": lstm, "linear": linear, "classes": ["a", "b"], **changes}
        refused(message, xlstm.SequenceClassifier.from_torch, **parts)


# ---------------------------------------------------------------- what is imported


def test_nothing_is_imported_unasked_and_what_is_missing_is_told(tmp_path):
    """safetensors need neither PyTorch nor their own package; files of Keras do not need Keras."""
    program = """
import sys
for name in ("torch", "keras", "h5py", "safetensors"):
    assert name not in sys.modules
    sys.modules[name] = None
import xlstm
layer = xlstm.LSTM(2, 3)
layer.to_safetensors("a.safetensors")
assert (xlstm.LSTM.from_safetensors("a.safetensors").parameters.flat == layer.parameters.flat).all()
open("a.pt", "wb").write(b"PK\\x03\\x04")
open("a.h5", "wb").write(b"\\x89HDF\\r\\n\\x1a\\n")
calls = layer.to_torch, lambda: xlstm.LSTM.from_torch("a.pt"), layer.to_keras, lambda: xlstm.LSTM.from_keras("a.h5")
for call in calls:
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = done.stdout.splitlines()
    assert first == second == "this needs PyTorch, which is not installed: pip install torch."
    assert third.endswith("is not installed: pip install keras, and torch, jax or tensorflow.")
    assert fourth == "files of Keras are read by h5py, which is not installed: pip install 'xp-lstm[keras]'."
