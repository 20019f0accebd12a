"""What a header takes is known before it is made, and no file takes more than its size allows: nor is one refused that
was saved."""

import itertools
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import xlstm
from xlstm import foreign, headers, messages
from xlstm.estimators.state import MOST

from .test_checkpoint import File, make, peak_of, refuse

MB = 10**6


def taken(text: bytes) -> int:
    """Bytes that the text takes, decoded and as objects."""
    tracemalloc.start()
    try:
        json.loads(text.decode())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


REPEATED = [
    "{}", "[]", "[1]", '{"":0}', '{"a":{}}', "-9", "999", "0.5", "1e5", "true", "null", '"a"', '"ab"', '"\\u0101"',
    '"é"', '"\\u0101' + "x" * 300 + '"', '"' + "x" * 300 + '\\ud83d\\ude00"', '"\\n"', '"\\"a"', '"\\\\"', '"[{,:"',
    '"\\\\\\","', '"' + "x" * 300 + '"', "9" * 300, "[[[[]]]]", '["word",1.0]',
]  # fmt: skip


@pytest.mark.parametrize("value", REPEATED)
def test_no_text_takes_more_than_it_claims(value):
    text = f"[{','.join([value] * (200_000 // len(value)))}]".encode()
    assert taken(text) <= headers.claim(text)
    names = "{" + ",".join(f'"{k}":{value}' for k in range(50_000 // (len(value) + 6))) + "}"
    assert taken(names.encode()) <= headers.claim(names.encode())


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=30,
)


@settings(max_examples=40, deadline=None)
@given(value=some.lists(JSON, min_size=1), ascii_alone=some.booleans())
def test_what_is_written_is_read(value, ascii_alone):
    one = json.dumps(value, ensure_ascii=ascii_alone).encode("utf-8", "surrogatepass")
    text = b"[" + b",".join([one] * (5_000 // len(one) + 1)) + b"]"
    try:
        text.decode()
    except UnicodeDecodeError:  # half a surrogate pair that is not escaped is no UTF-8
        return
    assert taken(text) <= headers.claim(text)
    assert headers.parsed(headers.decoded(one)) == value


@pytest.mark.parametrize("size", [0, 10, 2 * MB])
@pytest.mark.parametrize("value", ["{}", '"ab"', "0.5"])
def test_a_text_that_is_filled_up_is_read(value, size):
    one = headers.claim(f"[{value},{value}]".encode()) - headers.claim(f"[{value}]".encode())
    text = f"[{','.join([value] * ((15 * MB + size // 4) // (one - 3 * len(value) - 3)))}]".encode()
    with pytest.raises(headers.TooLarge, match=r"would take .* MB of memory, where"):
        headers.decoded(text, size)
    filled = headers.filled(text, arrays=size)
    assert headers.decoded(filled, size) == text.decode()
    with pytest.raises(headers.TooLarge):
        headers.decoded(filled[:-1], size)
    small = b'{"a":[1,2]}'
    assert headers.filled(small) == small


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(text):
    with pytest.raises(ValueError, match="which is not finite"):
        headers.parsed(f"[{text}]")


def test_what_is_told_costs_its_beginning():
    for found in ("x" * MB, ["x" * 1000] * MB, {k: "x" * 1000 for k in range(100_000)}, 10**4000, [[[[["x" * MB]]]]]):
        assert peak_of(lambda found=found: messages.told(found)) < 2 * MB
        assert len(messages.told(found)) <= 80
    assert messages.told("a b") == "'a b'"


# ---------------------------------------------------------------- files


def padded(text: bytes, file: File) -> bytes:
    return b'{"more":[' + text * (3 * MB // 2 // len(text)) + b"0]," + json.dumps(file.header).encode()[1:]


@pytest.mark.parametrize("value", [b"{},", b"[],", b'{"":0},', b"-9,", b'"ab",', b'"\\u0101",'])
def test_a_padded_header_is_refused_before_it_is_made(tmp_path, value):
    make(hidden_size=1).fit(["ab", "ba", "b"], ["x", "y", "x"]).save(tmp_path / "model")
    file = File(tmp_path / "model")
    file.write(padded(value, file))
    size = file.path.stat().st_size
    assert peak_of(lambda: refuse(file.path, "its header would take")) < 3 * size + 16 * 2**20


def many_labels(file: File) -> None:
    values = sorted([f"{k:05}" for k in range(2000)] + ["x" * 100_000])
    file.header["task"]["classes"] = {"dtype": "U100000", "values": values}


def wide_labels(file: File) -> None:
    file.header["task"]["classes"] = {"dtype": "U1000000", "values": ["x", "y" * 10 * MB]}


BOMBS: dict[str, Callable[[File], None]] = {
    "labels of which one is long": many_labels,
    "a label that is long": wide_labels,
    "sizes beyond all numbers": lambda file: file.header["architecture"].update(input_size=10**400),
    "a deep setting": lambda file: file.header["settings"].update(cell=json.loads("[" * 900 + "]" * 900)),
    "a long setting": lambda file: file.header["settings"].update(cell="x" * MB),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_as_much_memory_as_its_size_allows(tmp_path, bomb):
    make(hidden_size=1).fit(["ab", "ba", "b"], ["x", "y", "x"]).save(tmp_path / "model")
    file = File(tmp_path / "model")
    BOMBS[bomb](file)
    file.write()
    size = file.path.stat().st_size
    assert peak_of(lambda: refuse(file.path, "cannot be understood")) < 3 * size + 16 * 2**20
    with pytest.raises(ValueError, match="cannot be understood") as raised:
        xlstm.load(file.path)
    assert len(str(raised.value)) < 1000


def test_a_layer_of_very_many_layers_is_refused(tmp_path):
    xlstm.RNN(1, 1, seed=0).save(tmp_path / "layer")
    file = File(tmp_path / "layer")
    file.header["layer"]["num_layers"] = 300_000
    file.header["arrays"][0]["shape"] = [900_000]
    file.arrays = bytes(3_600_000)
    file.write()
    assert peak_of(lambda: refuse(file.path, "num_layers must be 1000 or less, got 300000")) < 20 * MB


@pytest.mark.parametrize("shape", [[250_000, 10], [2_500_000]])
def test_an_array_of_the_wrong_shape_is_not_copied(tmp_path, shape):
    make(hidden_size=1).fit(["ab", "ba", "b"], ["x", "y", "x"]).save(tmp_path / "model")
    file = File(tmp_path / "model")
    file.header["arrays"], file.arrays = [{"dtype": "float32", "shape": shape}], bytes(10 * MB)
    file.write()
    assert peak_of(lambda: refuse(file.path, "the arrays are")) < 11 * MB


@pytest.mark.parametrize("what", ["an estimator", "a layer"])
def test_a_large_file_takes_at_most_three_times_its_size(tmp_path, what):
    path = tmp_path / "large"
    if what == "a layer":
        xlstm.LSTM(400, 400, seed=0).save(path)
    else:
        make(hidden_size=300, max_iter=1).fit(["ab", "ba"], ["x", "y"]).save(path)
    assert path.stat().st_size > 4 * MB
    assert peak_of(lambda: xlstm.load(path, "cpu")) < 3 * path.stat().st_size + MB


def test_arrays_of_two_kinds_begin_where_they_may(tmp_path):
    from xlstm import checkpoint

    arrays = [np.arange(3, dtype=np.float32), np.arange(2.0), np.zeros((0, 4), dtype=np.float32), np.ones((2, 3))]
    checkpoint.write_header(tmp_path / "file", {}, arrays)
    content = checkpoint.read_file(tmp_path / "file")
    for array, expected in zip(content.arrays, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
        assert array.flags.aligned


def test_what_was_saved_is_never_too_large(tmp_path):
    """A vocabulary of many small words, and a history of very many epochs, in a model of few numbers."""
    model = make(hidden_size=1, max_iter=1, solver="sgd", embedding_size=1, cell="rnn", split="words")
    words = ["".join(letters) for letters in itertools.product("abcdefghijklmno", repeat=3)]
    model.fit([" ".join(words[k::50]) for k in range(50)], list("xy" * 25))
    history = model.fitted_state().trainer.history
    history.loss, history.scores["accuracy"] = [0.5] * 260_000, [1.0] * 260_000
    path = tmp_path / "model"
    model.save(path)
    assert b"  " * 1000 in path.read_bytes()
    assert peak_of(lambda: xlstm.load(path, "cpu")) < 3 * path.stat().st_size + 16 * 2**20
    again = xlstm.load(path, "cpu")
    assert again.loss_curve_ == history.loss
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


WRONG: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "weights of nothing": (("settings", "class_weight"), [["x", -1.0]], "class_weight must hold finite weights"),
    "weights of lists": (("settings", "class_weight"), [[None, 1.0]], "class_weight must name labels"),
    "weights that are text": (("settings", "class_weight"), [["x", "1"]], "class_weight must hold a number"),
    "a weight by another name": (("settings", "class_weight"), "auto", "class_weight must be None, 'balanced' or"),
    "a negative seed": (("settings", "random_state"), -1, "random_state must be None, an integer of 0"),
    "a seed that is none": (("settings", "random_state"), "now", "random_state must be None, an integer of 0"),
    "more updates than can be": (("updates",), MOST, "is no count"),
    "a class that ends with a null character": (("task", "classes", "values"), ["x", "y\0"], "null character"),
    "a class that is half a letter": (("task", "classes", "values"), ["x", "\ud800"], "surrogate"),
    "a class with a fraction": (("task", "classes"), {"dtype": "f8", "values": [0.0, 0.5]}, "continuous"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_loads_is_what_the_constructor_and_fit_would_take(tmp_path, name):
    make(hidden_size=1).fit(["ab", "ba", "b"], ["x", "y", "x"]).save(tmp_path / "model")
    (*keys, last), value, match = WRONG[name]
    file = File(tmp_path / "model")
    part = file.header
    for key in keys:
        part = part[key]
    part[last] = value
    file.write()
    refuse(file.path, match)


# ---------------------------------------------------------------- files of others


def test_files_of_others_are_recognised_at_little_cost(tmp_path):
    path = tmp_path / "other"
    header = b'{"a":[' + b"{}," * 2 * MB + b"{}]}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with open(path, "rb") as file:
        assert peak_of(lambda: foreign.told(str(path), file)) < MB
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(15_000):
            archive.writestr(f"{k}", "")
    with open(path, "rb") as file:
        assert peak_of(lambda: foreign.told(str(path), file)) < 2 * MB
    header = json.dumps({f"w{k}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in range(1000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with open(path, "rb") as file:
        assert "safetensors" in foreign.told(str(path), file)


def test_numbers_of_very_many_columns_are_refused_before_they_are_made(tmp_path):
    xlstm.SequenceRegressor(hidden_size=1, max_iter=1, device="cpu").fit(["ab", "b"], [1.0, 2.0]).save(
        tmp_path / "model"
    )
    file = File(tmp_path / "model")
    file.header["task"]["columns"] = 10**7
    file.write()
    assert peak_of(lambda: refuse(file.path, "its center is")) < 2 * MB
