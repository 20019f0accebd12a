# ruff: noqa: E501 - a case is a line
"""What people get told who pass something else than was expected: what it was, where it stood, and what to pass."""

import datetime
import re
import warnings
from typing import Any, ClassVar

import numpy as np
import pytest

import xlstm

from ..peers import peer

ROWS = [np.arange(2.0 * time).reshape(time, 2) for time in (3, 4, 5, 6)]
Y = [0, 1, 0, 1]
STREAMED = ["abba", "b", "ab", "bba"]


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(hidden_size=3, max_iter=1, random_state=0, device="cpu", **settings)


def on_series() -> xlstm.SequenceClassifier:
    return make().fit(ROWS, Y)


def on_texts() -> xlstm.SequenceClassifier:
    return make().fit(STREAMED, Y)


def on_words() -> xlstm.SequenceClassifier:
    return make().fit([list(text) for text in STREAMED], Y)


def on_integers() -> xlstm.SequenceClassifier:
    return make(encoding="tokens").fit([[1, 2], [3], [2], [1]], Y)


def with_value(value: float, row: int, step: int, feature: int) -> list[Any]:
    rows = [values.copy() for values in ROWS]
    rows[row][step, feature] = value
    return rows


class OnAGPU:
    """An array as CuPy has it, as far as anyone can see without a GPU."""

    __cuda_array_interface__: ClassVar = {"shape": (4,), "typestr": "<f8", "data": (0, False), "version": 3}
    shape, ndim, dtype = (4,), 1, np.dtype(float)

    def __len__(self) -> int:
        return 4

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def pandas() -> Any:
    return peer("pandas")


def long_table() -> Any:
    return pandas().DataFrame({"id": [0, 0, 1, 1], "a": [1.0, 2, 3, 4], "s": ["x", "y", "x", "y"]})


def nested_table() -> Any:
    cells = [pandas().Series([1.0, 2.0]), pandas().Series([1.0])]
    return pandas().DataFrame({"a": cells, "b": cells})


def tensor(*shape: int, **settings: Any) -> Any:
    return peer("torch").zeros(shape, **settings)


# Name: (a call, the whole message as a pattern). Rows, steps and features are counted from 0.
CASES: dict[str, tuple[Any, type[Exception], str]] = {
    # What is in X.
    "NaN": (lambda: make().fit(with_value(np.nan, 2, 3, 1), Y), ValueError, r"row 2 of X holds NaN in step 3, feature 1: remove or replace it, or read gaps with missing='mask'\."),
    "infinity": (lambda: on_series().predict(with_value(np.inf, 1, 0, 0)), ValueError, r"row 1 of X holds infinity \(inf\) in step 0, feature 0: remove or replace it\."),
    "minus infinity": (lambda: on_series().score(with_value(-np.inf, 3, 5, 0), Y), ValueError, r"row 3 of X holds minus infinity \(-inf\) in step 5, feature 0: .*"),
    "NaN in an array (n, time)": (lambda: make().fit(np.array([[1, 2], [3, np.nan]]), [0, 1]), ValueError, r"row 1 of X holds NaN in step 1: remove or replace it, or read gaps with missing='mask'; where it pads short sequences, pass a list of arrays of their own lengths instead\."),
    "NaN in a frame of series": (lambda: make().fit(pandas().DataFrame({"t0": [1, 2.0], "t1": [np.nan, 1]}), [0, 1]), ValueError, r"row 0 of X holds NaN in step 1 \('t1'\): .*"),
    "NaN in a frame": (lambda: make().fit([pandas().DataFrame({"a": [1.0, 2], "b": [1, None]})] * 2, [0, 1]), ValueError, r"row 0 of X holds NaN in step 1, feature 'b': remove or replace it, or read gaps with missing='mask'\."),
    "pandas.NA": (lambda: make().fit([pandas().array([1, None], dtype="Int64")] * 2, [0, 1]), ValueError, r"row 0 of X holds NaN in step 1: .*"),
    "None": (lambda: make().fit([[1.0, 2.0], [None, 3.0]], [0, 1]), ValueError, r"row 1 of X holds NaN in step 0: .*"),
    "a text among numbers": (lambda: make().fit([group for _, group in long_table().groupby("id")], [0, 1]), TypeError, r"row 0 of X holds 'x' in the column 's' where a number is expected: choose the columns that hold numbers\."),
    "complex numbers": (lambda: make().fit([[1j], [2j]], [0, 1]), ValueError, r"Complex data not supported: row 0 of X has dtype complex128\."),
    "dates": (lambda: make().fit([np.array(["2020-01-01"], "M8[D]")] * 2, [0, 1]), TypeError, r"row 0 of X must hold numbers or strings, got dtype datetime64\[D\]\."),
    "too large": (lambda: on_series().predict([np.full((3, 2), 1e300)]), ValueError, r"row 0 of X holds numbers too large for float32: rescale them, or use dtype='float64'\."),
    "an empty sequence": (lambda: make().fit([[1.0], []], [0, 1]), ValueError, r"row 1 of X is an empty sequence \(shape \(0,\)\): each needs at least one step\."),
    "an empty text": (lambda: make().fit(["a", ""], [0, 1]), ValueError, r"row 1 of X is an empty sequence: each needs at least one step\."),
    # One sequence that is passed alone.
    "one text": (lambda: on_texts().predict("abba"), TypeError, r"X must be a list of sequences or an array, got one str: one sequence is \[X\]\."),
    "one sequence of numbers": (lambda: on_series().predict([1.0, 2.0]), ValueError, r".*got a 1D array of numbers\. One sequence is \[X\]\. .*"),
    "one array (time,)": (lambda: on_series().predict(np.ones(3)), ValueError, r".*got an array of shape \(3,\)\. .*One sequence is \[X\]\."),
    "one array (time, features)": (lambda: on_series().predict(ROWS[0]), ValueError, r"X has 1 features a step, but this model was trained on 2\. Where X is one sequence \(time, features\), pass \[X\]\."),
    "one step of a stream": (lambda: on_series().stream().feed(np.ones(2)), ValueError, r"a part of shape \(2,\) has one feature a step, but this model was trained on 2: one step of a sequence is \(1, 2\), step\[None\]\."),
    "an empty part of a stream": (lambda: on_series().stream().feed(np.ones((0, 2))), ValueError, r"row 0 of X is an empty sequence \(shape \(0, 2\)\): each needs at least one step\."),
    # Tables and collections.
    "groups": (lambda: make().fit(long_table().groupby("id"), [0, 1]), TypeError, r"X is a DataFrameGroupBy: pass the sequences of its table, X, y, ids = xlstm\.from_long\(table, id=\.\.\., time=\.\.\., label=\.\.\.\)\."),
    "a whole long table": (lambda: make().fit(long_table(), long_table()["s"]), TypeError, r"X is a table of texts and other values\. Where a row is a step, X, y, ids = xlstm\.from_long\(table, id=\.\.\., time=\.\.\., label=\.\.\.\) reads it\."),
    "a list of batches": (lambda: make().fit([(ROWS, Y), (ROWS, Y)]), TypeError, r"X is a list of tuples \(X, y\), and y is missing\. If it gives batches, pass xlstm\.Batches\(X\)\."),
    "a function of batches": (lambda: make().fit(lambda: iter([(ROWS, Y)])), TypeError, r"X is a function, and y is missing\. If it gives batches, pass xlstm\.Batches\(X\)\."),
    "a list of groups": (lambda: make().fit(list(long_table().groupby("id")), [0, 1]), TypeError, r"row 0 of X is a pair of a group's key and its table: pass the sequences of the whole, X, y, ids = xlstm\.from_long\(table, id=\.\.\., time=\.\.\., label=\.\.\.\)\."),
    "a nested table": (lambda: make().fit(nested_table(), [0, 1]), TypeError, r"the cells of X are sequences themselves \(a nested table\): make one array \(time, features\) of each row, \[np\.column_stack\(list\(row\)\) for row in np\.asarray\(X\)\]\."),
    "ragged inside": (lambda: make().fit([[[1, 2], [3]], [[1, 2]]], [0, 1]), ValueError, r"row 0 of X is ragged inside: each must be \(time, features\) or \(time,\)\."),
    "ragged deep inside": (lambda: make().fit([[[1, 2], [3, [4]]], [[1, 2]]], [0, 1]), ValueError, r"row 0 of X is ragged inside: .*"),
    "another number of features": (lambda: make().fit([np.ones((2, 2)), np.ones((2, 3))], [0, 1]), ValueError, r"row 1 of X has shape \(2, 3\), but row 0 has \(2, 2\): all must have the same features\."),
    "a dictionary": (lambda: make().fit({"a": [1.0]}, [0]), TypeError, r"X must be a list of sequences or an array, got dict: pass list\(X\.values\(\)\)\."),
    "rows that are dictionaries": (lambda: make().fit([{"a": 1}, {"a": 2}], [0, 1]), TypeError, r"row 0 of X is dict, not a sequence like the others: pass an array \(time, features\) of its values\."),
    "a set": (lambda: make().fit({"ab", "b"}, [0, 1]), TypeError, r"X must be a list of sequences or an array, got set, which has no order\."),
    "a generator": (lambda: make().fit((row for row in ROWS), Y), TypeError, r"X must be a list of sequences or an array, got generator: pass list\(X\)\."),
    "bytes": (lambda: make().fit([b"ab", b"b"], [0, 1]), TypeError, r"X holds strings, but row 0 is bytes: decode it, row\.decode\(\)\."),
    "a column of texts": (lambda: make().fit(pandas().DataFrame({"a": ["x", "y"]}), [0, 1]), ValueError, r"X has one column of texts, shape \(2, 1\): pass the column itself, X\[:, 0\] or X\[name\]\."),
    "four dimensions": (lambda: make().fit(np.ones((2, 2, 2, 2)), [0, 1]), ValueError, r"Expected 2D array \(n, time\) or 3D array \(n, time, features\), got an array of shape \(2, 2, 2, 2\)\. .*"),
    "a masked array": (lambda: make().fit(np.ma.ones((2, 2)), [0, 1]), TypeError, r"masked arrays are not supported: pass X\.filled\(value\), or a ragged list without what is masked; for gaps X\.filled\(np\.nan\), with missing='mask'\."),
    "no sequences": (lambda: make().fit([], []), ValueError, r"X is empty: .*minimum of 1 is required\."),
    # Another kind than in training.
    "lists of characters": (lambda: on_texts().predict([["a", "b"]]), ValueError, r"this model was trained on characters, got words\. Pass strings, not lists of strings; a string is cut into characters\."),
    "strings for words": (lambda: on_words().predict(["a b"]), ValueError, r"this model was trained on words, got characters\. A list of words is one sequence: pass \[X\] where X is that\. Whole texts are cut into words at white space after set_params\(split='words'\)\."),
    "numbers for texts": (lambda: on_texts().predict(ROWS), ValueError, r"this model was trained on characters, got series\."),
    "integers as numbers": (lambda: on_integers().set_params(encoding="auto").predict([[1, 2]]), ValueError, r"this model was trained on integers, got series\. Integers are tokens with encoding='tokens'\."),
    "fractions for tokens": (lambda: on_integers().predict([[1.5]]), TypeError, r"with encoding='tokens' each row holds integers \(time_i,\), or strings; row 0 of X has dtype float64 and shape \(1,\)\."),
    "texts for numbers in a stream": (lambda: on_series().stream().feed("ab"), ValueError, r"this model was trained on series, got characters\."),
    # On a GPU, or PyTorch's.
    "X on a GPU": (lambda: make().fit(OnAGPU(), Y), TypeError, r"X lies on a GPU, but no GPU can be used: .* Or pass host data: cupy\.asnumpy\(X\) of a CuPy array\."),
    "a row on a GPU": (lambda: on_series().predict([OnAGPU()]), TypeError, r"row 0 of X lies on a GPU, but no GPU can be used: .* Or pass host data: cupy\.asnumpy\(row\) of a CuPy array\."),
    "y on a GPU": (lambda: make().fit(ROWS, OnAGPU()), TypeError, r"y lies on a GPU, but no GPU can be used: .* Or pass host data: cupy\.asnumpy\(y\) .*"),
    "sample_weight on a GPU": (lambda: make().fit(ROWS, Y, sample_weight=OnAGPU()), TypeError, r"sample_weight lies on a GPU, but no GPU can be used: .* Or pass host data: cupy\.asnumpy\(sample_weight\) .*"),
    "a part of a stream on a GPU": (lambda: on_series().stream().feed(OnAGPU()), TypeError, r"part lies on a GPU, but no GPU can be used: .* Or pass host data: cupy\.asnumpy\(part\) .*"),
    "a tensor with gradients": (lambda: on_series().predict([tensor(3, 2, requires_grad=True)]), TypeError, r"row 0 of X is a torch tensor that requires gradients: pass row\.detach\(\)\.numpy\(\)\."),
    "a tensor of bfloat16": (lambda: make().fit(tensor(4, 3, 2, dtype=peer("torch").bfloat16), Y), TypeError, r"X is a torch tensor of the dtype torch\.bfloat16: pass X\.float\(\)\.numpy\(\)\."),
    "a tensor on no device": (lambda: make().fit(tensor(4, 3, 2, device="meta"), Y), TypeError, r"X is a torch tensor on meta: pass X\.cpu\(\)\.numpy\(\)\."),
    "a tensor for a layer": (lambda: xlstm.LSTM(2, 3, device="cpu")(tensor(1, 3, 2)), TypeError, r"x is a torch tensor: pass x\.numpy\(\)\."),
    # y and weights.
    "no y": (lambda: make().fit(ROWS, None), ValueError, r"requires y to be passed, but the target y is None\."),
    "too few labels": (lambda: make().fit(ROWS, [0, 1]), ValueError, r"X has 4 sequences, but y has 2 labels: inconsistent numbers of samples\."),
    "labels with fractions": (lambda: make().fit(ROWS, [0.5, 1, 0, 1]), ValueError, r"Unknown label type: continuous\. .*np\.digitize makes classes of ranges\."),
    "one-hot labels": (lambda: on_series().score(ROWS, np.eye(4)), ValueError, r"y should be a 1d array of labels \(n,\), got an array of shape \(4, 4\) instead\. .*y\.argmax\(axis=1\)\."),
    "lists of labels": (lambda: on_series().score(ROWS, [["a"], ["b", "c"], ["a"], ["b"]]), ValueError, r"Unknown label type: y\[0\] is list; expected strings or numbers, one for each whole sequence\. For several labels of each, y is an indicator matrix or lists of labels\."),
    "several labels": (lambda: on_series().score(ROWS, np.array([[1, 1], [0, 1], [0, 0], [1, 0]])), ValueError, r"y should be a 1d array of labels \(n,\), got an array of shape \(4, 2\) instead\. Several labels of each sequence are for a model that was trained on them\."),
    "one sequence in fit": (lambda: make().fit(np.ones((6, 2)), [1]), ValueError, r"X has 6 sequences, but y has 1 labels: .*One sequence is \[X\], its label \[y\]\."),
    "a missing text": (lambda: make().fit(["a", None, "b"], [0, 1, 0]), TypeError, r"X holds strings, but row 1 is NoneType, a missing value: fill it, or leave the row and its label out\."),
    "NA in a column of floats": (lambda: make().fit([pandas().DataFrame({"a": pandas().array([1.0, None], dtype="Float64")})] * 2, [0, 1]), ValueError, r"row 0 of X holds NaN in step 1, feature 'a': remove or replace it, or read gaps with missing='mask'\."),
    "dates of polars": (lambda: make().fit([peer("polars").DataFrame({"a": [1.0], "day": [datetime.date(2020, 1, 1)]})] * 2, [0, 1]), TypeError, r"the column 'day' of row 0 of X holds Date: choose the columns that hold numbers\."),
    "a lazy frame": (lambda: make().fit(peer("polars").LazyFrame({"a": [1.0]}), [0]), TypeError, r"X is a LazyFrame, which is not computed yet: pass X\.collect\(\)\."),
    "a dictionary of tables": (lambda: make().fit({0: long_table()}, [0]), TypeError, r"X must be a list of sequences or an array, got dict: pass \[table\[features\] for table in X\.values\(\)\], where features is .*"),
    "groups of one column": (lambda: make().fit(long_table().groupby("id")["a"], [0, 1]), TypeError, r"X is a SeriesGroupBy: pass its groups as a list, \[group for _, group in X\]\."),
    "a missing label": (lambda: make().fit(ROWS, [0, 1, np.nan, 1]), ValueError, r"y\[2\] is nan: Input contains NaN or nothing, every row needs a label\."),
    "one class": (lambda: make().fit(ROWS, [1, 1, 1, 1]), ValueError, r"y holds a single class, 1: a classifier needs two or more \(1 class given\)\."),
    "an unknown label": (lambda: on_series().score(ROWS, [0, 1, 2, 1]), ValueError, r"row 2 has the label 2, which is none of the classes \[0, 1\]\."),
    "a negative weight": (lambda: make().fit(ROWS, Y, sample_weight=[1, -1, 1, 1]), ValueError, r"sample_weight\[1\] is -1\.0: weights must be finite and 0 or more\."),
    "ragged weights": (lambda: make().fit(ROWS, Y, sample_weight=[[1], [1, 2], 1, 1]), ValueError, r"sample_weight is ragged: make all its parts of one length\."),
}  # fmt: skip

NUMPYS = ("inhomogeneous", "setting an array element", "could not convert", "Implicit conversion", "Can't call numpy")
"""What NumPy, CuPy and PyTorch say of such calls: nobody should have to read that here."""


@pytest.mark.parametrize("case", list(CASES))
def test_message(case):
    call, kind, pattern = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kind) as caught:
            call()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert re.fullmatch(pattern, message, re.DOTALL), message
    assert not any(words in message for words in NUMPYS)


def test_there_are_enough_cases():
    assert len(CASES) >= 40


def test_objects_that_no_array_can_be_made_of():
    class Broken:
        def __len__(self) -> int:
            return 2

        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no\nway")

    with pytest.raises(
        TypeError, match=r"^X is of the type Broken, of which NumPy makes no array \(no\): pass a NumPy"
    ):
        make().fit(Broken(), [0, 1])
