# Longer than 500 lines: the tests of one source file stand in one file.
"""Files: nothing is lost in one, nothing wrong is read from one, and a save is whole or has not happened.

The format is written down here once more, independently of the library, to make files that are wrong in one place only:
their checksum fits.
"""

import base64
import copy
import hashlib
import io
import json
import os
import random
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.model import Architecture

from .. import classifier as truth

OLD = Path(__file__).parents[1] / "files" / "v1"
PREFIX = struct.Struct("<8sIQQ")  # magic, version, bytes of the header, bytes of the arrays


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(**{"device": "cpu", "hidden_size": 3, "max_iter": 2, "random_state": 0, **settings})


@pytest.fixture
def model(tmp_path):
    """A small file."""
    path = tmp_path / "model.xlstm"
    make(hidden_size=1).fit(["ab", "ba", "b"], ["x", "y", "x"]).save(path)
    return path


def loaded(clf: xlstm.SequenceClassifier, folder: Path) -> xlstm.SequenceClassifier:
    clf.save(folder / "saved.xlstm")
    return xlstm.load(folder / "saved.xlstm", "cpu")


# ---------------------------------------------------------------- there and back

KINDS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "characters": ({}, lambda: truth.last_letter(20)),
    "characters of all kinds": ({}, lambda: (["ß", "Straße", "日本", "a\n\t\0", '"\\', "\ud800"], list("xyxyxy"))),
    "cased characters": ({"fold_case": False}, lambda: truth.last_letter(20, letters="aAb")),
    "embedded characters": ({"embedding_size": 3}, lambda: truth.last_letter(20)),
    "words": ({}, lambda: ([["to", "be"], ["or"], ["not", "to"], ["be"]], list("abab"))),
    "integers": ({"encoding": "tokens"}, lambda: ([[5, -3], [2**62], [5, 5, 1]], [0, 1, 0])),
    "ragged series": ({}, lambda: truth.sign_of_sum(20)),
    "series of one feature": ({}, lambda: (lambda X, y: ([x[:, 0] for x in X], y))(*truth.sign_of_sum(20))),
    "three dimensions": ({"standardize": False}, lambda: truth.raised_channel(20)),
    "two dimensions": ({}, lambda: (lambda X, y: (X[:, :, 0], y))(*truth.raised_channel(20))),
    "float64": ({"dtype": "float64"}, lambda: truth.last_letter(20)),
    "a deep rnn": ({"cell": "rnn", "num_layers": 3, "bidirectional": True}, lambda: truth.last_letter(20)),
    "sgd": ({"solver": "sgd", "alpha": 0.1}, lambda: truth.last_letter(20)),
    "adamw": ({"solver": "adamw", "alpha": 0.1}, lambda: truth.last_letter(20)),
    "early stopping": ({"early_stopping": True, "validation_fraction": 0.3}, lambda: truth.last_letter(20)),
    "class weights": ({"class_weight": {"a": 2, "c": 0.5}}, lambda: truth.last_letter(20)),
    "class weights of numbers": ({"class_weight": {0: 2.0, 1: 1}}, lambda: truth.sign_of_sum(20)),
    "balanced": ({"class_weight": "balanced"}, lambda: truth.last_letter(20)),
    "no clip": ({"max_grad_norm": None}, lambda: truth.last_letter(20)),
    "dropout": ({"dropout": 0.4, "num_layers": 2}, lambda: truth.last_letter(20)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_classifier_is_the_saved_one(kind, tmp_path):
    settings, problem = KINDS[kind]
    X, y = problem()
    clf = make(**settings).fit(X, y)
    again = loaded(clf, tmp_path)

    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.predict_proba(X).dtype == clf.predict_proba(X).dtype
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    assert {**again.get_params(), "device": None} == {**clf.get_params(), "device": None}
    for name in (
        "classes_", "loss_curve_", "accuracy_curve_", "loss_", "n_iter_", "n_features_in_", "device_", "kernels_",
        "validation_scores_", "validation_loss_curve_", "best_validation_score_",
    ):  # fmt: skip
        assert hasattr(again, name) == hasattr(clf, name)
        np.testing.assert_array_equal(getattr(again, name, 0), getattr(clf, name, 0), err_msg=name)
    assert truth.whole_state(again) == truth.whole_state(clf)

    # And it goes on just where the other does: the same rows in the same order, masks, moments.
    for each in (clf, again):
        if each.class_weight == "balanced":  # of parts it is not known
            each.set_params(class_weight={"a": 2.0, "b": 1.0, "c": 0.5})
        each.partial_fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.loss_curve_ == clf.loss_curve_
    assert truth.whole_state(again) == truth.whole_state(clf)
    again.set_params(device="cpu").fit(X, y)


LABELS = {
    "strings": np.array(["no", "yes, maybe"]),
    "strings of all kinds": np.array(["ß", '日本"\\\n']),
    "objects": np.array(["no", "yes"], dtype=object),
    "variable strings": np.array(["no", "yes"], dtype=np.dtypes.StringDType()),
    "int64": np.array([-(2**62), 3]),
    "uint8": np.array([0, 255], dtype=np.uint8),
    "uint64": np.array([0, 2**64 - 1], dtype=np.uint64),
    "booleans": np.array([False, True]),
    "float64": np.array([-1.0, 1e300]),
    "float32": np.array([-1.0, 3.0], dtype=np.float32),
    "the other byte order": np.array([1, 500], dtype=">i4"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_type_come_back_as_they_were(kind, tmp_path):
    y = LABELS[kind][[0, 1, 1, 0, 1]]
    X = ["a", "b", "ba", "aa", "ab"]
    clf = make().fit(X, y)
    again = loaded(clf, tmp_path)
    if clf.classes_.dtype.kind in "UT":
        assert again.classes_.dtype.kind in "UT"
    else:
        assert again.classes_.dtype == clf.classes_.dtype.newbyteorder("=")
    assert again.classes_.tolist() == clf.classes_.tolist()
    assert again.predict(X).tolist() == clf.predict(X).tolist()
    again.partial_fit(X, y)
    assert again.score(X, y) >= 0


@pytest.mark.parametrize("y", [np.array([b"no", b"yes"]), np.array([0, 1], dtype="M8[s]")])
def test_labels_that_no_file_could_keep_are_refused_before_training(y, tmp_path):
    """Or kept: never an error after an hour of training."""
    clf = make()
    try:
        clf.fit(["a", "b"] * 5, np.tile(y, 5))
    except (ValueError, TypeError):
        return
    again = loaded(clf, tmp_path)
    assert again.classes_.tolist() == clf.classes_.tolist()


def test_a_clip_at_infinity_can_be_saved(tmp_path):
    X, y = truth.last_letter(20)
    clf = make(max_grad_norm=float("inf")).fit(X, y)
    again = loaded(clf, tmp_path)
    assert again.max_grad_norm in (None, float("inf"))
    clf.partial_fit(X, y)
    again.partial_fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("seed", [None, 3, np.random.default_rng(3), np.random.RandomState(3)])
def test_resumption_is_exact_whatever_the_seed_was(seed, tmp_path):
    X, y = truth.last_letter(20)
    clf = make(random_state=seed, batch_size=4, dropout=0.3).fit(X, y)
    again = loaded(clf, tmp_path)
    clf.partial_fit(X, y)
    again.partial_fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_other_generators_start_anew(tmp_path):
    X, y = truth.last_letter(20)
    clf = make(random_state=np.random.Generator(np.random.MT19937(3))).fit(X, y)
    again = loaded(clf, tmp_path)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.partial_fit(X, y)


def test_training_in_parts_between_files_is_training_in_one_go(tmp_path):
    X, y = truth.last_letter(40)
    settings = {"batch_size": 8, "dropout": 0.2, "num_layers": 2, "learning_rate": "constant"}
    whole = make(**settings, max_iter=5).fit(X, y)
    clf = make(**settings, max_iter=2).fit(X, y)
    for _ in range(3):
        clf = loaded(clf, tmp_path)
        clf.partial_fit(X, y)
    assert clf.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(clf.predict_proba(X), whole.predict_proba(X))


def test_settings_changed_since_training_count_alike_with_and_without_a_file(tmp_path):
    """Whether `partial_fit` heeds them or not."""
    X, y = truth.last_letter(20)
    clf = make().fit(X, y).set_params(alpha=0.5, beta_1=0.5, epsilon=1e-3, learning_rate_init=0.01)
    again = loaded(clf, tmp_path)
    clf.partial_fit(X, y)
    again.partial_fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_data_frames_keep_the_names_of_their_columns(tmp_path):
    class Frame:
        """As much of a data frame as is looked at."""

        columns = ("one", "two")

        def __init__(self, values: Any) -> None:
            self.values = np.asarray(values)

        def __len__(self) -> int:
            return len(self.values)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

    X, y = np.random.default_rng(0).standard_normal((6, 2)), [0, 1] * 3
    again = loaded(make().fit(Frame(X), y), tmp_path)
    assert again.feature_names_in_.tolist() == ["one", "two"]
    again.predict(Frame(X))


def test_loading_says_where(model, monkeypatch):
    assert xlstm.load(model, device="cpu").device_ == "cpu"
    assert xlstm.load(str(model)).device_ == "cpu"
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        xlstm.load(model, device="cuda")
    with pytest.raises(ValueError, match="tpu"):
        xlstm.load(model, device="tpu")
    monkeypatch.setenv("XLSTM_DEVICE", "cpu")
    assert xlstm.load(model).device_ == "cpu"


def test_a_file_does_not_depend_on_the_device_it_was_trained_on(tmp_path):
    X, y = truth.last_letter(10)
    make(device="auto").fit(X, y).save(tmp_path / "auto")
    make(device="cpu").fit(X, y).save(tmp_path / "cpu")
    assert (tmp_path / "auto").read_bytes() == (tmp_path / "cpu").read_bytes()


def test_saving_changes_nothing_and_twice_gives_the_same_bytes(tmp_path):
    X, y = truth.last_letter(10)
    clf = make().fit(X, y)
    before = clf.predict_proba(X)
    assert truth.whole_state(clf) == truth.whole_state(clf)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


# ---------------------------------------------------------------- damaged, foreign, newer


def refuse(path: Path, match: str = "") -> None:
    with pytest.raises(ValueError, match=match) as raised:
        xlstm.load(path, "cpu")
    assert str(path) in str(raised.value)


def test_every_flipped_bit_is_refused(model):
    content, bits = model.read_bytes(), random.Random(0)
    assert len(content) < 4000
    with open(model, "r+b", buffering=0) as file:
        for position, byte in enumerate(content):
            file.seek(position)
            file.write(bytes([byte ^ 1 << bits.randrange(8)]))
            refuse(model, "damaged|truncated|version|not a model file")
            file.seek(position)
            file.write(bytes([byte]))
    xlstm.load(model)


def test_every_truncation_is_refused(model):
    for length in reversed(range(model.stat().st_size)):
        os.truncate(model, length)
        refuse(model, "truncated" if length >= 8 else "truncated|not a model file")


@pytest.mark.parametrize("more", [b"\0", b"\n", b"x" * 1000])
def test_appended_bytes_are_refused(model, more):
    with open(model, "ab") as file:
        file.write(more)
    refuse(model, "damaged")


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.json", "{}")
    return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"text,label\nOLGA,female\n",
    "zip": a_zip(),
    "pickle": b"\x80\x04\x95\x00",
    "zeros": bytes(5000),
    "the magic alone": b"xlstm",
    "another end of line": b"xlstm\x00\n" + bytes(100),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_refused(name, tmp_path):
    (tmp_path / "foreign").write_bytes(FOREIGN[name])
    refuse(tmp_path / "foreign", "not a model file|truncated")


def test_what_cannot_be_read_is_an_oserror(tmp_path):
    for path in (tmp_path, tmp_path / "missing.xlstm", tmp_path / "missing" / "model.xlstm"):
        with pytest.raises(OSError, match=str(tmp_path.name)):
            xlstm.load(path)


# ---------------------------------------------------------------- wrong, with the right checksum


class File:
    """A model file taken apart; `write` puts it together, with sizes and checksum that fit."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.path = path
        self.magic, self.version, size, _ = PREFIX.unpack_from(content)
        self.header = json.loads(content[PREFIX.size : PREFIX.size + size])
        self.arrays = content[PREFIX.size + size : -32]
        self.sizes: tuple[int, int] | None = None

    def write(self, header: bytes | None = None) -> None:
        header = json.dumps(self.header).encode() if header is None else header
        sizes = self.sizes or (len(header), len(self.arrays))
        content = PREFIX.pack(self.magic, self.version, *sizes) + header + self.arrays
        self.path.write_bytes(content + hashlib.sha256(content).digest())


def test_the_format_is_as_written_down(model):
    file = File(model)
    assert (file.magic, file.version) == (b"xlstm\x00\r\n", 2)
    assert sum(4 * int(np.prod(entry["shape"])) for entry in file.header["arrays"]) == len(file.arrays)
    clf = xlstm.load(model)
    parameters = np.frombuffer(file.arrays, dtype="<f4")[: file.header["arrays"][0]["shape"][0]]
    np.testing.assert_array_equal(parameters, truth.flat(truth.parameters_of(clf)))
    file.write()
    xlstm.load(model)


@pytest.mark.parametrize("version", [0, 3, 2**32 - 1])
def test_other_versions_are_refused(model, version):
    file = File(model)
    file.version = version
    file.write()
    refuse(model, f"version {version}" if version else "damaged|version")


@pytest.mark.parametrize("sizes", [(2**63, 0), (0, 2**64 - 1), (2**64 - 1, 2**64 - 1), (0, 0), (10**12, 10)])
def test_sizes_are_checked_before_memory_is_taken(model, sizes):
    file = File(model)
    file.sizes = sizes
    file.write()
    peak = peak_of(lambda: refuse(model, "damaged|truncated"))
    assert peak < 1_000_000


def peak_of(function: Callable[[], Any]) -> int:
    """Bytes of memory taken at most."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HEADERS = {
    "no JSON": b"{",
    "nothing": b"",
    "no UTF-8": b'{"kind": "\xff"}',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "an empty object": b"{}",
    "arrays that are none": b'{"arrays": 3}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep arrays": b'{"arrays":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge number": b'{"arrays": [{"dtype": "float32", "shape": [' + b"9" * 5000 + b"]}]}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_none_are_refused(model, name):
    File(model).write(HEADERS[name])
    refuse(model, "cannot be understood")


def put(*keys: Any) -> Callable[[Any], None]:
    """A change: the last of `keys` is the value, the others say where."""

    def change(header: Any) -> None:
        *path, last, value = keys
        for key in path:
            header = header[key]
        header[last] = value

    return change


def side(*prints: int) -> str:
    return base64.b64encode(struct.pack(f"<{len(prints)}Q", *prints)).decode()


ENCODER = {"fold_case": True, "kind": "characters", "vocabulary": ["a", "b"]}
TABLE = {"text": "review", "label": "liked", "delimiter": ";", "held_out": None}
WRONG: dict[str, Callable[[Any], None]] = {
    "another kind": put("kind", "Regressor"),
    "an unknown key": put("more", 1),
    "a table that is none": put("table", 3),
    "a table of one column": put("table", {"text": "text"}),
    "a table with more": put("table", {**TABLE, "more": 1}),
    "a column that is no text": put("table", {**TABLE, "label": 1}),
    "a delimiter of two": put("table", {**TABLE, "delimiter": ";;"}),
    "a digest that is a number": put("table", {**TABLE, "held_out": 1}),
    "so many rows that are none": put("table", {**TABLE, "rows": -1}),
    "a device of the training that is none": put("table", {**TABLE, "device": 1}),
    "held-out scores that are none": put("table", {**TABLE, "scores": {"accuracy": "high"}}),
    "a missing key": lambda header: header.pop("updates"),
    "an unknown setting": put("settings", "depth", 3),
    "settings that are none": put("settings", 3),
    "a setting out of range": put("settings", "max_iter", 0),
    "a setting of another type": put("settings", "learning_rate_init", "fast"),
    "a clip that is text": put("settings", "max_grad_norm", "1"),
    "class weights that are none": put("settings", "class_weight", [1, 2]),
    "class weights of lists": put("settings", "class_weight", [[[1], 2.0]]),
    "an unknown part of the architecture": put("architecture", "depth", 3),
    "an architecture that is none": put("architecture", []),
    "an unknown cell": put("architecture", "cell", "transformer"),
    "a cell that is a list": put("architecture", "cell", []),
    "an unknown start": put("architecture", "init", "zeros"),
    "an unknown readout": put("architecture", "readout", "last"),
    "a readout that a class cannot be read from": put("architecture", "readout", "steps"),
    "a readout that is none": put("architecture", "readout", None),
    "another dtype": put("architecture", "dtype", "float64"),
    "an unknown dtype": put("architecture", "dtype", "float16"),
    "another size": put("architecture", "hidden_size", 2),
    "no size": put("architecture", "hidden_size", 0),
    "a negative size": put("architecture", "hidden_size", -1),
    "a size with a fraction": put("architecture", "hidden_size", 1.0),
    "a size that is true": put("architecture", "hidden_size", True),
    "an enormous size": put("architecture", "hidden_size", 10**9),
    "a size beyond all numbers": put("architecture", "hidden_size", 10**400),
    "enormous depth": put("architecture", "num_layers", 10**12),
    "an enormous embedding": put("architecture", "embedding_size", 10**9),
    "an embedding that is text": put("architecture", "embedding_size", "3"),
    "an embedding with a fraction": put("architecture", "embedding_size", 2.5),
    "an enormous input": put("architecture", "input_size", 10**9),
    "an input of another size": put("architecture", "input_size", 4),
    "no tokens": put("architecture", "tokens", False),
    "another direction": put("architecture", "bidirectional", True),
    "dropout of one": put("architecture", "dropout", 1.0),
    "dropout that is text": put("architecture", "dropout", "0"),
    "another number of outputs": put("architecture", "outputs", 3),
    "enormous outputs": put("architecture", "outputs", 10**9),
    "an encoder that is none": put("encoder", 3),
    "an unknown encoder": put("encoder", {"kind": "bytes"}),
    "a scaler": put("encoder", {"kind": "series", "mean": [0.0], "scale": [1.0]}),
    "a scaler of one size": put("encoder", {"kind": "series", "mean": [0.0] * 3, "scale": [1.0] * 3}),
    "a vocabulary of another size": put("encoder", {**ENCODER, "vocabulary": ["a"]}),
    "a vocabulary that repeats": put("encoder", {**ENCODER, "vocabulary": ["a", "a"]}),
    "a vocabulary out of order": put("encoder", {**ENCODER, "vocabulary": ["b", "a"]}),
    "a vocabulary of numbers": put("encoder", {**ENCODER, "vocabulary": [1, 2]}),
    "a vocabulary of texts for integers": put("encoder", {**ENCODER, "kind": "integers"}),
    "a vocabulary of huge integers": put("encoder", {**ENCODER, "kind": "integers", "vocabulary": [1, 10**30]}),
    "a vocabulary that is text": put("encoder", {**ENCODER, "vocabulary": "ab"}),
    "folding that is a number": put("encoder", {**ENCODER, "fold_case": 1}),
    "more in the encoder": put("encoder", {**ENCODER, "more": 1}),
    "classes that are none": put("task", "classes", 3),
    "one class": put("task", "classes", {"dtype": "U1", "values": ["x"]}),
    "three classes": put("task", "classes", {"dtype": "U1", "values": ["x", "y", "z"]}),
    "classes out of order": put("task", "classes", {"dtype": "U1", "values": ["y", "x"]}),
    "classes that repeat": put("task", "classes", {"dtype": "U1", "values": ["x", "x"]}),
    "mixed classes": put("task", "classes", {"dtype": "U1", "values": ["x", 3]}),
    "classes of an unknown type": put("task", "classes", {"dtype": "V8", "values": ["x", "y"]}),
    "classes of objects": put("task", "classes", {"dtype": "O", "values": ["x", "y"]}),
    "classes too large for their type": put("task", "classes", {"dtype": "i1", "values": [0, 300]}),
    "classes of a type that is none": put("task", "classes", {"dtype": "i3", "values": [0, 1]}),
    "classes of two types": put("task", "classes", {"dtype": "i8,i8", "values": [0, 1]}),
    "classes of an enormous type": put("task", "classes", {"dtype": "i8,(100000,100000)i8", "values": [0, 1]}),
    "NaN for a class": put("task", "classes", {"dtype": "f8", "values": [0.0, float("nan")]}),
    "a task that is none": put("task", 3),
    "a task without a name": put("task", {"classes": {"dtype": "U1", "values": ["x", "y"]}}),
    "a task that is a list": put("task", "kind", []),
    "more in the task": put("task", "more", 1),
    "columns that are text": put("columns", "4"),
    "negative columns": put("columns", -1),
    "names that are numbers": put("feature_names", [1, 2]),
    "names that are text": put("feature_names", "ab"),
    "a history that is none": put("history", [1]),
    "an unknown history": put("history", "norm", [1.0]),
    "a history of texts": put("history", "loss", ["low"]),
    "a history that is a number": put("history", "loss", 3),
    "scores that are none": put("history", "scores", [1.0]),
    "scores of no epoch": put("history", "scores", {}),
    "scores of other epochs": put("history", "scores", "accuracy", [1.0]),
    "an unknown score": put("history", "scores", "norm", [1.0, 2.0]),
    "validation scores of no epoch": put("history", "validation_scores", {"accuracy": [1.0]}),
    "a missing history": lambda header: header["history"].pop("loss"),
    "negative updates": put("updates", -1),
    "updates with a fraction": put("updates", 1.5),
    "another solver": put("solver", "sgd"),
    "an unknown solver": put("solver", "lbfgs"),
    "a generator that is none": put("generator", 3),
    "another generator": put("generator", "bit_generator", "MT19937"),
    "a generator without its state": put("generator", "state", {}),
    "a generator with texts": put("generator", "state", "state", "x"),
    "a negative generator": put("generator", "state", "state", -1),
    "an enormous generator": put("generator", "state", "state", 2**200),
    "sides that are none": put("sides", 3),
    "sides without one": put("sides", {"trained": ""}),
    "sides with more": put("sides", {"trained": "", "aside": "", "more": ""}),
    "a side that is a list": put("sides", {"trained": [1, 2], "aside": ""}),
    "a side that is no base64": put("sides", {"trained": "ä", "aside": ""}),
    "a side with characters between": put("sides", {"trained": "AAAA AAAAAAA=", "aside": ""}),
    "half a fingerprint": put("sides", {"trained": side(1)[:4], "aside": ""}),
    "a side out of order": put("sides", {"trained": side(2, 1), "aside": ""}),
    "a side that repeats": put("sides", {"trained": side(2, 2), "aside": ""}),
    "a row on both sides": put("sides", {"trained": side(1, 3), "aside": side(2, 3)}),
    "no arrays": put("arrays", []),
    "arrays that are none": put("arrays", [3, 4, 5]),
    "an array of another shape": lambda header: header["arrays"][0].update(shape=[header["arrays"][0]["shape"][0], 1]),
    "an array that is too long": put("arrays", 0, "shape", [10**12]),
    "an array beyond all numbers": put("arrays", 0, "shape", [10**30, 10**30]),
    "an array that is too short": put("arrays", 0, "shape", [1]),
    "an array of negative length": put("arrays", 0, "shape", [-1]),
    "an array of a length with a fraction": put("arrays", 0, "shape", [22.0]),
    "empty arrays of enormous width": put("arrays", 0, "shape", [0, 10**15]),
    "arrays of another type": put("arrays", 0, "dtype", "float64"),
    "arrays of an unknown type": put("arrays", 0, "dtype", "float16"),
    "arrays of objects": put("arrays", 0, "dtype", "O"),
    "one array in the place of two": lambda header: header.update(
        arrays=[{"dtype": "float32", "shape": [3 * header["arrays"][0]["shape"][0]]}]
    ),
    "too few arrays": lambda header: header["arrays"].pop(),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(model, name):
    file = File(model)
    WRONG[name](file.header)
    file.write()
    assert peak_of(lambda: refuse(model, "cannot be understood")) < 4_000_000


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    """A scale of zero, a mean of NaN."""
    make().fit(*truth.sign_of_sum(10)).save(tmp_path / "model")
    for part, value in (
        ("mean", float("nan")),
        ("scale", 0.0),
        ("scale", -1.0),
        ("scale", float("inf")),
        ("mean", "x"),
    ):
        file = File(tmp_path / "model")
        kept = copy.deepcopy(file.header)
        file.header["encoder"][part][0] = value
        file.write()
        refuse(tmp_path / "model", "cannot be understood")
        file.header = kept
        file.write()
    xlstm.load(tmp_path / "model")


@pytest.mark.parametrize("version", [1, 2])
def test_random_changes_are_refused_or_harmless(model, version):
    """Any value of the header replaced by any other: a ValueError, or a classifier that works."""
    if version == 1:
        shutil.copy(OLD / "text.xlstm", model)
    rng = random.Random(0)
    others = [None, True, -1, 0, 3, 10**30, 0.5, float("nan"), float("inf"), "", "x", [], {}, [[]], {"a": 1}]
    original = File(model).header

    def places(value: Any) -> list[tuple[Any, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [place for key, inner in items for place in ((value, key), *places(inner))]

    worked = 0
    for _ in range(600):
        file = File(model)
        container, key = rng.choice(places(file.header))
        container[key] = rng.choice(others)
        file.write()
        try:
            clf = xlstm.load(model, "cpu")
        except ValueError:
            pass
        else:
            worked += 1
            assert clf.predict_proba(["ab", "q"]).shape == (2, 2), (key, container[key])
        file.header = original
        file.write()
    assert worked < 300


NEWER: dict[str, tuple[Callable[[Any], None], str]] = {
    "an estimator": (put("kind", "SequenceTranslator"), "the estimator 'SequenceTranslator'"),
    "a task": (put("task", "kind", "words"), "the task 'words'"),
    "a setting": (put("settings", "depth", 3), "the setting 'depth'"),
    "a part of the architecture": (put("architecture", "gates", 3), "the part of the architecture 'gates'"),
    "a part": (put("schedule", {}), "the part 'schedule'"),
    "a score": (put("history", "scores", "recall", [1.0, 1.0]), "the score 'recall'"),
}


@pytest.mark.parametrize("what", NEWER)
def test_what_a_newer_version_wrote_is_refused_by_name(model, what):
    change, named = NEWER[what]
    file = File(model)
    change(file.header)
    file.write()
    refuse(model, f"{named}, which this version of xlstm does not know.*written by a newer xlstm")


LACKING: dict[str, tuple[Callable[[Any], None], str]] = {
    "a setting": (lambda header: header["settings"].pop("max_iter"), "lacks the setting 'max_iter'"),
    "a part of the architecture": (
        lambda header: header["architecture"].pop("init"),
        "lacks the part of the architecture 'init'",
    ),
    "a part": (lambda header: header.pop("updates"), "lacks the part 'updates'"),
    "a score": (lambda header: header["history"]["scores"].pop("accuracy"), "lacks the score 'accuracy'"),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_a_file_lacks_is_named(model, what):
    change, named = LACKING[what]
    file = File(model)
    change(file.header)
    file.write()
    refuse(model, named)


def test_a_task_of_another_estimator_is_refused(model, monkeypatch):
    monkeypatch.setattr(xlstm.SequenceClassifier, "tasks", ())
    refuse(model, "SequenceClassifier does not have the task 'classes'")


@pytest.mark.parametrize("version", [1, 2])
def test_a_setting_that_came_later_is_what_it_stood_for_before(model, version, monkeypatch):
    """Not what the constructor would choose today."""
    if version == 1:
        shutil.copy(OLD / "text.xlstm", model)
    file = File(model)
    del file.header["settings"]["n_iter_no_change"]
    file.write()
    monkeypatch.setattr(
        xlstm.SequenceClassifier,
        "settings_before",
        {**xlstm.SequenceClassifier.settings_before, "n_iter_no_change": 77, "tol": 3.0},
    )
    loaded = xlstm.load(model, "cpu")
    assert loaded.n_iter_no_change == 77
    assert loaded.tol == 1e-4  # this one the file has


def test_a_file_without_sides_is_of_one_that_remembers_none(model):
    """Those that were written before rows were remembered; and what a file of one that does remembers."""
    file = File(model)
    assert file.header["sides"] is None
    del file.header["sides"]
    file.write()
    assert xlstm.load(model, "cpu").fitted_state().sides is None
    file.header["sides"] = {"trained": side(1, 2**64 - 1), "aside": side(7)}
    file.write()
    again = xlstm.load(model, "cpu")
    again.save(model)
    assert File(model).header["sides"] == file.header["sides"]


def test_a_part_of_the_architecture_that_came_later_is_what_it_stood_for_before(model, monkeypatch):
    file = File(model)
    del file.header["architecture"]["init"]
    file.write()
    monkeypatch.setitem(Architecture._field_defaults, "init", "pytorch")
    assert xlstm.load(model, "cpu").fitted_state().model.architecture.init == "pytorch"


def test_nothing_in_a_file_is_executed(model):
    """No pickle: numpy.load and its kin are given no chance."""
    content = model.read_bytes()
    assert b"numpy" not in content
    assert b"\x80\x04" not in content[: PREFIX.size]
    file = File(model)
    assert set(file.header) >= {"kind", "settings", "architecture", "encoder", "task", "history", "arrays"}


def test_a_model_of_compiled_kernels_loads_without_them(model):
    expected = xlstm.load(model).predict_proba(["ab", "b"])
    file = File(model)
    file.header["settings"]["kernels"] = file.header["start"]["kernels"] = "compiled"
    file.write()
    clf = xlstm.load(model)
    np.testing.assert_allclose(clf.predict_proba(["ab", "b"]), expected, rtol=1e-5)
    np.testing.assert_allclose(clf.to("cpu").predict_proba(["ab", "b"]), expected, rtol=1e-5)
    clf.partial_fit(["ab", "ba"], ["x", "y"])


def test_a_reference_model_stays_one(tmp_path):
    clf = make(kernels="reference").fit(["ab", "ba"], [0, 1])
    assert loaded(clf, tmp_path).kernels_ == "reference"


# ---------------------------------------------------------------- whole or not at all


@pytest.fixture
def other():
    """A classifier to save over an older file."""
    return make(hidden_size=2, random_state=9).fit(["ab", "ba", "b"], ["x", "y", "x"])


def test_saving_over_an_older_file(model, other):
    other.save(model)
    assert model.read_bytes() == truth.whole_state(other)
    assert [file.name for file in model.parent.iterdir()] == ["model.xlstm"]


def test_a_name_alone_is_saved_in_the_working_folder(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    other.save("here.xlstm")
    assert xlstm.load("here.xlstm").classes_.tolist() == ["x", "y"]
    other.save(Path("there.xlstm"))


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_saved_file_may_be_read_like_any_other(tmp_path, other):
    other.save(tmp_path / "model")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Failing(io.FileIO):
    """A file on a full disk."""

    def write(self, content: Any) -> int:
        raise OSError(28, "No space left on device")


FAILURES = {
    "the disk is full": ("fdopen", Failing),
    "the disk fails to sync": ("fsync", lambda handle: (_ for _ in ()).throw(OSError(5, "Input/output error"))),
    "the name cannot be changed": ("replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied"))),
    "Ctrl-C before the name is changed": ("replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_save_leaves_the_old_file_and_nothing_else(model, other, monkeypatch, failure):
    before = model.read_bytes()
    name, replacement = FAILURES[failure]
    monkeypatch.setattr(os, name, replacement)
    with pytest.raises((OSError, KeyboardInterrupt)):
        other.save(model)
    monkeypatch.undo()
    assert model.read_bytes() == before
    assert [file.name for file in model.parent.iterdir()] == ["model.xlstm"]
    other.save(model)
    assert model.read_bytes() != before


def test_where_nothing_can_be_written_saving_is_an_oserror(tmp_path, other):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "model", tmp_path / "folder"):
        with pytest.raises(OSError, match=r"missing|folder"):
            other.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    assert list((tmp_path / "folder").iterdir()) == []
