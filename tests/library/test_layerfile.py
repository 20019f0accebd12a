"""Files of layers: nothing is lost, nothing wrong is read; and what is said of the files of other libraries."""

import hashlib
import json
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.recurrent import RecurrentLayer

from ..peers import peer
from ..standin import machine
from .test_checkpoint import File, peak_of, put, refuse

KINDS: dict[str, Callable[..., Any]] = {
    "lstm": xlstm.LSTM,
    "rnn": xlstm.RNN,
    "gru": xlstm.GRU,
    "gru, reset before": lambda *sizes, **options: xlstm.GRU(*sizes, reset_after=False, **options),
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


@pytest.fixture
def model(tmp_path):
    """A small file of a layer."""
    path = tmp_path / "layer.xlstm"
    xlstm.LSTM(2, 1, seed=0, device="cpu").save(path)
    return path


def same(layer: Any, other: Any) -> None:
    assert type(other) is type(layer)
    assert other.settings() == layer.settings()
    assert [*other.parameters] == [*layer.parameters]
    assert other.parameters.flat.tobytes() == layer.parameters.flat.tobytes()
    assert not other.gradients.flat.any()


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3, "init": "pytorch"}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_layer_is_the_saved_one(kind, options, dtype, tmp_path):
    layer = KINDS[kind](3, 4, seed=0, dtype=dtype, device="cpu", **options)
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    layer.forward(x)  # the generator has moved on
    layer.save(tmp_path / "layer.xlstm")
    loaded, by_class = xlstm.load(tmp_path / "layer.xlstm"), type(layer).load(tmp_path / "layer.xlstm", device="cpu")
    outputs, _, tape = layer.forward(x)  # with the dropout masks that come next
    dx, _ = layer.backward(tape, outputs)
    for again in (loaded, by_class):
        same(layer, again)
        assert repr(again) == repr(layer)
        found, _, tape = again.forward(x)
        np.testing.assert_array_equal(found, outputs)
        np.testing.assert_array_equal(again.backward(tape, found)[0], dx)
        np.testing.assert_array_equal(again.gradients.flat, layer.gradients.flat)
        np.testing.assert_array_equal(again(x)[0], layer(x)[0])


@pytest.mark.parametrize("kernels", ["auto", "reference", "compiled"])
def test_the_request_for_kernels_is_kept_as_far_as_it_is_portable(kernels, tmp_path):
    if kernels == "compiled" and xlstm.LSTM(2, 3, device="cpu").kernels == "reference":
        pytest.skip("there are no compiled kernels here")
    xlstm.LSTM(2, 3, kernels=kernels, device="cpu").save(tmp_path / "layer")
    again = xlstm.load(tmp_path / "layer")
    assert again.requested_kernels == {"compiled": "auto"}.get(kernels, kernels)
    assert (again.kernels == "reference") == (kernels == "reference") or kernels == "auto"


def test_values_of_all_kinds_come_back_to_the_bit(tmp_path):
    layer = xlstm.RNN(2, 3, device="cpu")
    layer.parameters.flat[:6] = [np.nan, np.inf, -np.inf, -0.0, 1e-45, np.float32(np.pi)]
    layer.save(tmp_path / "layer")
    assert xlstm.load(tmp_path / "layer").parameters.flat.tobytes() == layer.parameters.flat.tobytes()


def test_a_layer_from_matrices_and_one_of_another_generator(tmp_path):
    layer = xlstm.RNN.from_matrices(U=np.ones((2, 3)), V=np.ones((2, 2)), b_h=np.ones(2), device="cpu")
    layer.save(tmp_path / "layer")
    same(layer, xlstm.load(tmp_path / "layer"))
    layer = xlstm.LSTM(2, 3, 2, dropout=0.5, seed=np.random.Generator(np.random.MT19937(0)), device="cpu")
    layer.save(tmp_path / "layer")
    again = xlstm.load(tmp_path / "layer")
    same(layer, again)
    again.forward(np.ones((1, 2, 2)))


def test_to_a_gpu_and_back(tmp_path):
    layer = xlstm.LSTM(2, 3, seed=0, device="cpu")
    layer.save(tmp_path / "host")
    with machine(devices=2):
        there = xlstm.load(tmp_path / "host", device="cuda:1")
        assert there.device == "cuda:1"
        there.save(tmp_path / "device")
    assert (tmp_path / "device").read_bytes() == (tmp_path / "host").read_bytes()
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        xlstm.load(tmp_path / "host", device="cuda")
    with pytest.raises(ValueError, match="tpu"):
        xlstm.load(tmp_path / "host", device="tpu")


def test_loading_a_layer_may_be_the_first_thing(model):
    program = f"import xlstm; print(type(xlstm.load({str(model)!r})), type(xlstm.LSTM.load({str(model)!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == " ".join(["<class 'xlstm.layers.LSTM'>"] * 2), done.stderr


def test_a_failed_save_leaves_the_old_file(model, monkeypatch):
    before = model.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(PermissionError):
        xlstm.GRU(2, 3).save(model)
    monkeypatch.undo()
    assert model.read_bytes() == before
    assert [file.name for file in model.parent.iterdir()] == ["layer.xlstm"]


# ---------------------------------------------------------------- another kind


def test_a_file_of_another_kind_is_refused_by_name(model, tmp_path):
    with pytest.raises(
        ValueError, match=r"layer.xlstm holds a layer of the cell 'lstm', and GRU.load reads 'gru' and 'gru_"
    ):
        xlstm.GRU.load(model)
    clf = xlstm.SequenceClassifier(hidden_size=1, max_iter=1, device="cpu").fit(["ab", "b"], [0, 1])
    clf.save(tmp_path / "clf")
    with pytest.raises(
        ValueError, match=r"clf holds no layer, but the kind 'SequenceClassifier': load it with xlstm.load"
    ):
        xlstm.LSTM.load(tmp_path / "clf")
    assert type(xlstm.load(tmp_path / "clf", "cpu")) is xlstm.SequenceClassifier
    from xlstm.cli import main

    assert main(["predict", str(model), "ab"]) != 0


# ---------------------------------------------------------------- damaged, wrong, newer


def test_every_flipped_bit_is_refused(model):
    content, bits = model.read_bytes(), random.Random(0)
    for position, byte in enumerate(content):
        model.write_bytes(content[:position] + bytes([byte ^ 1 << bits.randrange(8)]) + content[position + 1 :])
        refuse(model, "damaged|truncated|version|not a model file")


WRONG: dict[str, Callable[[Any], None]] = {
    "another kind": put("kind", "layers"),
    "an unknown part": put("more", 1),
    "no settings": lambda header: header.pop("layer"),
    "settings that are none": put("layer", 3),
    "a list of settings": put("layer", ["cell"]),
    "an unknown setting": put("layer", "depth", 1),
    "a missing setting": lambda header: header["layer"].pop("init"),
    "an unknown cell": put("layer", "cell", "transformer"),
    "a cell that is a list": put("layer", "cell", []),
    "another cell": put("layer", "cell", "rnn"),
    "another size": put("layer", "hidden_size", 2),
    "no size": put("layer", "hidden_size", 0),
    "a negative size": put("layer", "input_size", -1),
    "a size that is true": put("layer", "num_layers", True),
    "a size with a fraction": put("layer", "input_size", 2.0),
    "an enormous size": put("layer", "hidden_size", 10**9),
    "a size beyond all numbers": put("layer", "input_size", 10**400),
    "enormous depth": put("layer", "num_layers", 2**31 - 1),
    "another direction": put("layer", "bidirectional", True),
    "a direction that is a number": put("layer", "bidirectional", 0),
    "dropout of one": put("layer", "dropout", 1.0),
    "dropout that is text": put("layer", "dropout", "0"),
    "dropout of NaN": put("layer", "dropout", float("nan")),
    "another dtype": put("layer", "dtype", "float64"),
    "an unknown dtype": put("layer", "dtype", "f4"),
    "an unknown start": put("layer", "init", "zeros"),
    "unknown kernels": put("layer", "kernels", "fast"),
    "a generator that is none": put("generator", 3),
    "another generator": put("generator", "bit_generator", "MT19937"),
    "a generator without its state": put("generator", "state", {}),
    "an enormous generator": put("generator", "state", "state", 2**200),
    "no generator": lambda header: header.pop("generator"),
    "no arrays": put("arrays", []),
    "an array of another shape": put("arrays", 0, "shape", [1, 20]),
    "two arrays": put("arrays", [{"dtype": "float32", "shape": [10]}] * 2),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(model, name):
    file = File(model)
    WRONG[name](file.header)
    file.write()
    assert peak_of(lambda: refuse(model, "cannot be understood")) < 4_000_000
    with pytest.raises(ValueError, match=r"layer\.xlstm"):
        xlstm.LSTM.load(model)


def test_random_changes_are_refused_or_harmless(model):
    rng = random.Random(0)
    others = [None, True, -1, 0, 3, 10**30, 0.5, float("nan"), "", "x", [], {}, [[]], {"a": 1}]
    original = File(model).header

    def places(value: Any) -> list[tuple[Any, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [place for key, inner in items for place in ((value, key), *places(inner))]

    for _ in range(300):
        file = File(model)
        file.header = json.loads(json.dumps(original))
        container, key = rng.choice(places(file.header))
        container[key] = rng.choice(others)
        file.write()
        try:
            layer = xlstm.load(model)
        except ValueError:
            continue
        assert layer(np.ones((1, 3, 2)))[0].shape == (1, 3, 1), (key, container[key])


def test_what_a_newer_version_wrote_is_refused_by_name(model):
    original = File(model).header
    for change, named in (
        (put("layer", "depth", 3), "the setting of a layer 'depth'"),
        (put("schedule", {}), "the part 'schedule'"),
        (put("layer", "cell", "slstm"), "a layer of the cell 'slstm', which is not known here .known are lstm"),
    ):
        file = File(model)
        file.header = json.loads(json.dumps(original))
        change(file.header)
        file.write()
        refuse(model, named)


def test_the_format_is_as_written_down(model):
    file = File(model)
    assert file.version == 2
    assert set(file.header) == {"kind", "layer", "generator", "arrays"}
    assert file.header["kind"] == "layer"
    np.testing.assert_array_equal(np.frombuffer(file.arrays, "<f4"), xlstm.load(model).parameters.flat)


def test_a_class_of_ones_own(tmp_path):
    class Mine(xlstm.LSTM):
        """A layer with a name of its own."""

    Mine(2, 3, seed=0, device="cpu").save(tmp_path / "layer")
    assert type(Mine.load(tmp_path / "layer")) is Mine
    assert type(xlstm.load(tmp_path / "layer")) is xlstm.LSTM
    assert issubclass(Mine, RecurrentLayer)


# ---------------------------------------------------------------- files of other libraries


def zip_of(path: Any, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def safetensors(path: Any, arrays: dict[str, Any]) -> None:
    """As the format is written down: the header's length, the header, the bytes."""
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


FOREIGN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "m.pt": (
        lambda path: zip_of(path, "m/data.pkl", "m/version"),
        "It is a file of PyTorch .torch.save.*xlstm.LSTM.from_torch",
    ),
    "m.pth": (
        lambda path: path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
        "It is a file of PyTorch",
    ),
    "script.pt": (lambda path: zip_of(path, "m/data.pkl", "m/constants.pkl"), r"TorchScript.*torch.jit.load\("),
    "m.safetensors": (
        lambda path: safetensors(path, {"weight_ih_l0": np.zeros((4, 3), "f")}),
        "It is a safetensors file.*xlstm.LSTM.from_safetensors",
    ),
    "m.keras": (
        lambda path: zip_of(path, "metadata.json", "config.json", "model.weights.h5"),
        "It is a model file of Keras. xlstm takes .*xlstm.LSTM.from_keras",
    ),
    "m.h5": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
        "It is an HDF5 file.*xlstm.LSTM.from_keras",
    ),
    "m.onnx": (
        lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(50)),
        "It is an ONNX model: xlstm.from_onnx",
    ),
    "m.npz": (lambda path: np.savez(path, a=np.ones(2)), "It is a file of NumPy arrays: read it with numpy.load"),
    "m.npy": (lambda path: np.save(path, np.ones(2)), "It is a file of NumPy arrays"),
    "m.pkl": (lambda path: path.write_bytes(b"\x80\x04\x95\x00"), "It is a pickle, .* xlstm does not open it"),
}


@pytest.mark.parametrize("named", [True, False], ids=["by its name", "under another name"])
@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_libraries_are_named(name, named, tmp_path):
    make, message = FOREIGN[name]
    make(tmp_path / name)
    path = tmp_path / name if named else (tmp_path / name).rename(tmp_path / "model.bin")
    for load in (xlstm.load, xlstm.LSTM.load):
        with pytest.raises(ValueError, match=rf"(?s)is not a model file of xlstm: .*{message}") as raised:
            load(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(60), struct.pack("<Q", 5) + b'{"a":', b"\x08", bytes(64),
    *(struct.pack("<Q", len(text)) + text for text in (b'{"a":1}', b'{"a":"dtype"}', b'{"__metadata__":1}')),
])  # fmt: skip
def test_what_only_begins_like_one_is_no_model_file(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a model file|truncated") as raised:
        xlstm.load(tmp_path / "file")
    assert "safetensors" not in str(raised.value)


def test_the_line_to_type_is_right(tmp_path):
    """What the message says to type, typed."""
    torch = peer("torch")
    module = torch.nn.LSTM(3, 4, batch_first=True)
    path = tmp_path / "it's.pt"
    torch.save(module.state_dict(), path)
    with pytest.raises(ValueError, match="PyTorch") as raised:
        xlstm.load(path)
    line = " ".join(str(raised.value).split())  # as the command line prints it
    layer = eval(line[line.index("xlstm.LSTM.from_torch(") : line.index(", or from_torch")], {"xlstm": xlstm})
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    with torch.no_grad():
        np.testing.assert_allclose(layer(x)[0], module(torch.asarray(x))[0].numpy(), atol=1e-6)


def test_the_checksum_covers_all(model):
    content = model.read_bytes()
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
