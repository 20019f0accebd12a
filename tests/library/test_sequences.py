"""What may be passed as X: every form that is read, every one that is refused, and how the row is named."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm.batch import Encoded
from xlstm.sequences import Series, Texts, read

from ..peers import peer


def rows_of(data):
    """Each sequence by itself, cut out of what `read` gave."""
    ends = np.cumsum(data.lengths)
    steps = data.values if isinstance(data, Series) else data.tokens
    return [steps[end - length : end] for end, length in zip(ends, data.lengths, strict=True)]


def assert_series(X, expected, columns=None, encoding="auto"):
    """`read(X)` is these sequences, each (time_i, D)."""
    data = read(X, encoding)
    assert isinstance(data, Series)
    assert data.columns == columns
    assert data.values.dtype in (np.float32, np.float64)
    assert data.values.ndim == 2
    assert data.lengths.dtype == np.int64
    assert len(data.values) == data.lengths.sum()
    found = rows_of(data)
    assert len(found) == len(expected)
    for got, row in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, np.asarray(row, dtype=float))
    return data


def assert_texts(X, expected, kind, encoding="auto"):
    """`read(X)` is these sequences of tokens."""
    data = read(X, encoding)
    assert isinstance(data, Texts)
    assert data.kind == kind
    assert data.lengths.dtype == np.int64
    assert [list(row) for row in rows_of(data)] == [list(row) for row in expected]
    return data


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    "X",
    [
        ["ab", "c", "dce"],
        ("ab", "c", "dce"),
        np.array(["ab", "c", "dce"]),
        np.array(["ab", "c", "dce"], dtype=object),
        np.array(["ab", "c", "dce"], dtype=np.dtypes.StringDType()),
        [np.str_("ab"), "c", np.str_("dce")],
        collections.deque(["ab", "c", "dce"]),
    ],
    ids=["list", "tuple", "array", "objects", "StringDType", "NumPy's strings", "deque"],
)
@pytest.mark.parametrize("encoding", ["auto", "tokens"])
def test_strings_are_sequences_of_characters(X, encoding):
    data = assert_texts(X, ["ab", "c", "dce"], "characters", encoding)
    assert data.tokens == "abcdce"


def test_any_character_counts_as_one():
    assert_texts(
        ["aé", "\U0001f600b", "\ud83d", " ", "e\u0301"], ["aé", "\U0001f600b", "\ud83d", " ", "e\u0301"], "characters"
    )


@pytest.mark.parametrize(
    "X",
    [
        [["the", "cat"], ["sat"]],
        (("the", "cat"), ("sat",)),
        [np.array(["the", "cat"]), ["sat"]],
        np.array([["the", "cat"], ["sat"]], dtype=object),
        [np.array(["the", "cat"], dtype=object), np.array(["sat"])],
    ],
    ids=["lists", "tuples", "array", "objects", "arrays"],
)
@pytest.mark.parametrize("encoding", ["auto", "tokens"])
def test_lists_of_strings_are_sequences_of_words(X, encoding):
    data = assert_texts(X, [["the", "cat"], ["sat"]], "words", encoding)
    assert all(type(token) is str for token in data.tokens)


def test_tables_of_strings():
    table = np.array([["the", "cat"], ["a", "dog"]])
    for X in (table, table.astype(object), table.astype(np.dtypes.StringDType()), table.tolist()):
        assert_texts(X, table.tolist(), "words")


def test_an_empty_word_is_a_token():
    assert_texts([["a", ""], [""]], [["a", ""], [""]], "words")


@pytest.mark.parametrize(
    "X",
    [
        [[3, 1, -4], [1]],
        [np.array([3, 1, -4]), np.array([1])],
        [np.array([3, 1, -4], np.int8), np.array([1], np.uint16)],
        np.array([np.array([3, 1, -4]), np.array([1])], dtype=object),
        [(3, 1, -4), range(1, 2)],
    ],
    ids=["lists", "arrays", "types", "objects", "tuple and range"],
)
def test_integers_are_tokens_where_asked_for(X):
    assert_texts(X, [[3, 1, -4], [1]], "integers", "tokens")
    assert_series(X, [[[3], [1], [-4]], [[1]]])


def test_a_table_of_integers():
    table = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert_texts(table, table.tolist(), "integers", "tokens")
    assert_series(table, table[:, :, None], columns=3)


def test_no_two_integers_become_one_token():
    rows = [np.array([2**60, -1], np.int64), np.array([2**60 + 1, 2**63 - 1], np.uint64)]
    assert_texts(rows, [[2**60, -1], [2**60 + 1, 2**63 - 1]], "integers", "tokens")


# ---------------------------------------------------------------- series


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int8", "uint64", "bool", "object"])
def test_arrays(kind):
    values = np.array([[[0, 1], [1, 1], [1, 0]], [[1, 1], [0, 0], [1, 0]]])
    data = assert_series(values.astype(kind), values)
    assert data.values.dtype == ("float32" if kind == "float32" else "float64")
    table = values[:, :, 0]
    assert_series(table.astype(kind), table[:, :, None], columns=3)


def test_arrays_of_any_layout():
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    for layout in (np.asfortranarray(values), values[::-1], values[:, ::-1], values.transpose(2, 1, 0)):
        assert_series(layout, layout.copy())
    read_only = values.copy()
    read_only.setflags(write=False)
    assert_series(read_only, values)


@pytest.mark.parametrize(
    "X",
    [
        [[[1, 2], [3, 4]], [[5, 6]]],
        ([(1.0, 2.0), (3.0, 4.0)], [(5.0, 6.0)]),
        [np.array([[1, 2], [3, 4]]), np.array([[5.0, 6.0]])],
        [np.array([[1, 2], [3, 4]]), [[5, 6]]],
        np.array([np.array([[1, 2], [3, 4]]), np.array([[5, 6]])], dtype=object),
        [np.array([[1, 2], [3, 4]], dtype=object), np.array([[5, 6]], dtype=np.float32)],
    ],
    ids=["lists", "tuples", "arrays", "mixed", "objects", "types"],
)
def test_ragged_lists(X):
    assert_series(X, [[[1, 2], [3, 4]], [[5, 6]]])


@pytest.mark.parametrize(
    "X",
    [[[1, 2, 3], [4]], ([1.0, 2.0, 3.0], np.array([4])), np.array([[1, 2, 3], [4]], dtype=object), [range(1, 4), [4]]],
    ids=["lists", "mixed", "objects", "range"],
)
def test_ragged_lists_of_one_feature(X):
    assert_series(X, [[[1], [2], [3]], [[4]]])


def test_a_list_of_equal_rows_is_the_table():
    table = np.arange(6.0).reshape(2, 3)
    for X in (table, table.tolist(), list(table), tuple(table)):
        assert_series(X, table[:, :, None], columns=3)
    assert_series([table, table], [table, table])


def test_float32_stays_and_everything_else_is_float64():
    rows = [np.ones((2, 1), np.float32), np.ones((3, 1), np.float32)]
    assert read(rows).values.dtype == np.float32
    assert read([*rows, np.ones((1, 1))]).values.dtype == np.float64
    assert read([np.full((1, 1), 2**40 + 1)]).values.item() == 2**40 + 1


def test_one_step_and_one_row():
    assert_series(np.ones((1, 1)), [[[1]]], columns=1)
    assert_series([[5]], [[[5]]], columns=1)
    assert_texts(["x"], ["x"], "characters")


def test_tensors():
    values = np.arange(6.0).reshape(2, 3)
    torch = peer("torch")
    assert_series(torch.asarray(values), values[:, :, None], columns=3)
    assert_series([torch.asarray(row) for row in values], values[:, :, None], columns=3)


def test_what_pandas_holds():
    pandas = peer("pandas")
    table = pandas.DataFrame({"a": [1.0, 2.0], "b": [3, 4]}, index=[7, 9])
    assert_series(table, [[[1], [3]], [[2], [4]]], columns=2)
    assert_series(table.astype(object), [[[1], [3]], [[2], [4]]], columns=2)
    for kind in (object, "str", "string", "category"):
        assert_texts(pandas.Series(["ab", "c"], index=[7, 9]).astype(kind), ["ab", "c"], "characters")
    assert_texts(pandas.Series([["a", "b"], ["c"]], index=[7, 9]), [["a", "b"], ["c"]], "words")
    assert_series(pandas.Series([[1.0, 2.0], [3.0]], index=[7, 9]), [[[1], [2]], [[3]]])


def test_groups_of_a_pandas_table():
    """One frame or column a sequence, with the index it has in the table."""
    pandas = peer("pandas")
    table = pandas.DataFrame({"id": [5, 5, 6, 6, 6], "x": [1.0, 2.0, 3.0, 4.0, 5.0], "y": [0.0, 1.0, 0.0, 1.0, 0.0]})
    assert_series([group[["x", "y"]] for _, group in table.groupby("id")], [[[1, 0], [2, 1]], [[3, 0], [4, 1], [5, 0]]])
    assert_series([group["x"] for _, group in table.groupby("id")], [[[1], [2]], [[3], [4], [5]]])


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.integers(0, 10_000),
    st.sampled_from(["float32", "float64", "int64"]),
    st.data(),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_padded_batch_gives_each_sequence_back(D, lengths, seed, kind, data):
    rng = np.random.default_rng(seed)
    X = [rng.integers(-9, 9, (length, D)).astype(kind) for length in lengths]
    series = assert_series(X, X)
    encoded = Encoded.of(series.values, series.lengths)
    chosen = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1, max_size=8))
    block, batch_lengths = encoded.padded(np.array(chosen))
    assert block.shape == (len(chosen), max(lengths[k] for k in chosen), D)
    assert batch_lengths == [lengths[k] for k in chosen]
    assert all(type(length) is int for length in batch_lengths)
    for k, values, length in zip(chosen, block, batch_lengths, strict=True):
        np.testing.assert_array_equal(values[:length], X[k])


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_text_is_given_back(X):
    assert_texts(X, X, "characters")


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("X", "row"),
    [
        (["ab", "c", ""], 2),
        ([["a"], [], ["b"]], 1),
        ([[], ["a"]], 0),
        ([[1.0], [2.0], []], 2),
        ([np.ones((2, 3)), np.ones((0, 3))], 1),
        ([np.ones((2, 3)), np.ones((2, 0))], 1),
        (np.array([[1.0], []], dtype=object), 1),
    ],
)
def test_an_empty_sequence(X, row):
    with pytest.raises(ValueError, match=rf"row {row} of X is an empty sequence"):
        read(X)


def test_an_empty_sequence_of_integer_tokens():
    with pytest.raises(ValueError, match="row 1 of X is an empty sequence"):
        read([[1], []], "tokens")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float32", "float64", "object"])
def test_not_a_number(value, kind):
    series = np.ones((4, 3, 2))
    series[2, 1, 0] = series[3, 0, 0] = value
    what = {"nan": "NaN", "inf": r"infinity \(inf\)", "-inf": r"minus infinity \(-inf\)"}[str(value)]
    several, one = (
        rf"^row 2 of X holds {what} in step 1, feature 0: remove",
        rf"^row 2 of X holds {what} in step 1: remove",
    )
    forms = [(series, several), (series[:, :, 0], one), (list(series), several), (list(series[:, :, 0]), one)]
    for X, message in forms:
        X = X.astype(kind) if isinstance(X, np.ndarray) else [row.astype(kind) for row in X]
        with pytest.raises(ValueError, match=message):
            read(X)
    with pytest.raises(ValueError, match=several):
        read(series.tolist())


def test_none_is_no_number():
    for X in ([[1.0, 2.0], [1.0, None]], [[[1.0]], [[None]]]):
        with pytest.raises((ValueError, TypeError), match="row 1 of X"):
            read(X)


@pytest.mark.parametrize(
    ("X", "row"),
    [
        ([np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 2))], 2),
        ([np.ones((2, 3)), np.ones(3)], 1),
        ([np.ones(3), np.ones((3, 1))], 1),
        ([[[1, 2]], [[1, 2], [3, 4]], [[1]]], 2),
    ],
)
def test_another_number_of_features(X, row):
    with pytest.raises(ValueError, match=rf"row {row} of X has shape .* row 0 has .*same features"):
        read(X)


@pytest.mark.parametrize("X", [[[[1, 2]], [[1, 2], [3]]], [[[1]], [1, [2]]]])
def test_a_row_that_is_ragged_inside(X):
    with pytest.raises(ValueError, match="row 1 of X is ragged inside"):
        read(X)


def test_a_row_of_tokens_that_is_ragged_inside():
    with pytest.raises((ValueError, TypeError), match="row 1 of X"):
        read([[1], [1, [2]]], "tokens")


@pytest.mark.parametrize(
    ("X", "row"),
    [
        (["ab", 3], 1),
        (["ab", None], 1),
        (["ab", "c", float("nan")], 2),
        (["ab", ["c"]], 1),
        ([["c"], "ab"], 0),
        (["ab", b"c"], 1),
        ([b"ab", b"c"], 0),
        (np.array([b"ab", b"c"]), 0),
        ([["a", "b"], ["c", 3]], 1),
        ([["a", "b"], [3, "c"]], 1),
        ([["a", "b"], ["c", None]], 1),
        ([["a", "b"], [1.0, 2.0]], 1),
        ([[1, 2], [1, "c"]], 1),
        (np.array([["a", "b"], ["c", 3]], dtype=object), 1),
        ([[1.0, 2.0], None], 1),
        ([[1.0, 2.0], {1: 2.0}], 1),
        ([[1.0, 2.0], {3.0}], 1),
        ([[1.0, 2.0], object()], 1),
        ([[1.0, 2.0], np.array(["2000-01-01"], dtype="M8[D]")], 1),
    ],
)
def test_mixed_types(X, row):
    with pytest.raises(TypeError, match=rf"\brow {row}\b"):
        read(X)


@pytest.mark.parametrize("X", [[[1.0, 2.0], 3.0], [np.ones((2, 2)), np.float64(1)], [np.ones(2), np.array(1.0)]])
def test_a_number_among_the_sequences(X):
    with pytest.raises((TypeError, ValueError), match="row 1"):
        read(X)


def test_complex_numbers():
    for X in (np.ones((2, 3), complex), np.ones((2, 3, 1), np.complex64)):
        with pytest.raises(ValueError, match="Complex data not supported"):
            read(X)
    with pytest.raises(ValueError, match="Complex data not supported: row 1 of X"):
        read([[1.0], [1j]])


@pytest.mark.parametrize("X", [[[1, 2], [1, 10**400]], [[[1]], [[10**400]]]])
def test_an_integer_beyond_every_float(X):
    with pytest.raises((ValueError, TypeError), match="row 1 of X"):
        read(X)


@pytest.mark.parametrize("X", ["abc", np.str_("abc"), b"abc", np.array("abc"), np.array("abc", dtype=object)])
def test_one_string_is_not_a_list_of_them(X):
    with pytest.raises(TypeError, match=r"list of sequences"):
        read(X)


@pytest.mark.parametrize("X", [{"ab": 1, "c": 2}, {"ab", "c"}, frozenset({(1.0, 2.0)}), {0: [1.0], 1: [2.0]}])
def test_what_has_no_order_or_has_keys(X):
    with pytest.raises(TypeError, match=type(X).__name__):
        read(X)


@pytest.mark.parametrize("X", [None, 3, 3.0, object(), (text for text in ["ab"]), iter(["ab"])])
def test_what_is_no_list(X):
    with pytest.raises(TypeError, match=f"list of sequences or an array, got {type(X).__name__}"):
        read(X)


@pytest.mark.parametrize("X", [[1, 2, 3], [1.5, 2.5], np.arange(3.0), range(3), np.array([1, 2], dtype=object)])
@pytest.mark.parametrize("encoding", ["auto", "tokens"])
def test_numbers_without_an_axis_for_time(X, encoding):
    with pytest.raises(ValueError, match=r"Expected 2D array .*Reshape your data"):
        read(X, encoding)


@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1), (2, 3, 4, 5)])
def test_other_numbers_of_axes(shape):
    with pytest.raises(ValueError, match=r"\(n, time\) or 3D array \(n, time, features\), got an array of shape"):
        read(np.ones(shape))
    if shape:
        with pytest.raises(ValueError, match=r"row 0 of X has shape .*: each must be \(time, features\) or \(time,\)"):
            read(list(np.ones(shape)))


@pytest.mark.parametrize("X", [[], (), np.ones((0, 3)), np.ones((0, 3, 2)), np.array([], dtype=str)])
def test_no_rows(X):
    with pytest.raises(ValueError, match="X is empty: Found array with 0 sample"):
        read(X)


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3), (2, 3, 0)])
def test_no_steps_or_features(shape):
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        read(np.ones(shape))


@pytest.mark.parametrize("base", [object, dict])  # one of SciPy's formats is a dict
def test_sparse_data(base):
    class Sparse(base):
        nnz = 3

        def __len__(self):
            raise TypeError("sparse array length is ambiguous")

        def toarray(self):
            raise AssertionError("it must not be made dense unasked")

    with pytest.raises(TypeError, match=r"sparse .*X\.toarray\(\)"):
        read(Sparse())


def test_data_on_a_gpu():
    class OnGPU:
        __cuda_array_interface__ = {"shape": (2, 3)}  # noqa: RUF012

        def __len__(self):
            return 2

        def __array__(self, *rest, **options):
            raise AssertionError("it must not come to the host unasked")

    with pytest.raises(TypeError, match=r"X lies on a GPU, but .*cupy\.asnumpy"):
        read(OnGPU())


@pytest.mark.parametrize("kind", ["M8[D]", "m8[s]", "V4"])
def test_arrays_of_no_numbers(kind):
    with pytest.raises(TypeError, match=r"must hold numbers or strings, got dtype"):
        read(np.zeros((2, 2), dtype=kind))


@pytest.mark.parametrize(
    "X",
    [np.ones((2, 3)), np.ones((2, 3, 1), int), np.ones((2, 3), bool), [[1, 2], [1.5]], [[1], [True]], [[1], [[2]]]],
)
def test_tokens_that_are_no_integers(X):
    with pytest.raises(TypeError, match=r"encoding='tokens'.*integers"):
        read(X, "tokens")


def test_tokens_are_named_by_row():
    with pytest.raises(TypeError, match="row 1 of X"):
        read([[1, 2], [1.5]], "tokens")


def test_an_unknown_encoding():
    with pytest.raises(ValueError, match="encoding must be 'auto' or 'tokens', got 'onehot'"):
        read(["ab"], "onehot")


def test_nothing_passed_is_written_to_nor_shared():
    values = np.ones((2, 3, 1))
    data = read([[[1.0], [2.0]], [[3.0]]])
    assert data.values.flags.writeable
    before = values.copy()
    read(values)
    read(list(values))
    np.testing.assert_array_equal(values, before)


# ---------------------------------------------------------------- channels first


def test_from_channels_first():
    X = np.arange(24.0).reshape(2, 3, 4)  # two series of three channels and four steps
    turned = xlstm.from_channels_first(X)
    assert turned.shape == (2, 4, 3)
    assert turned.flags.c_contiguous
    for n, channel, t in np.ndindex(2, 3, 4):
        assert turned[n, t, channel] == X[n, channel, t]
    np.testing.assert_array_equal(xlstm.from_channels_first(X.tolist()), turned)
    assert xlstm.from_channels_first(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 3, 4)])
def test_from_channels_first_guesses_no_axis(shape):
    with pytest.raises(ValueError, match=r"expected \(n, channels, time\), got an array of shape"):
        xlstm.from_channels_first(np.ones(shape))


def test_ragged_channels_first():
    rows = [np.arange(6.0).reshape(2, 3), np.arange(10.0).reshape(2, 5)]
    ragged = np.empty(2, dtype=object)
    ragged[:] = rows
    for X in (rows, ragged, tuple(rows), [row.tolist() for row in rows]):
        turned = xlstm.from_channels_first(X)
        assert [row.shape for row in turned] == [(3, 2), (5, 2)]
        for row, before in zip(turned, rows, strict=True):
            np.testing.assert_array_equal(row, before.T)
    np.testing.assert_array_equal(xlstm.from_channels_first([rows[0], rows[0] + 1]), [rows[0].T, rows[0].T + 1])
    with pytest.raises(ValueError, match="row 1 of X has 3 channels, row 0 has 2"):
        xlstm.from_channels_first([np.ones((2, 4)), np.ones((3, 5))])
    with pytest.raises(ValueError, match=r"row 1 is of shape \(4,\)"):
        xlstm.from_channels_first([np.ones((2, 4)), np.ones(4)])
    with pytest.raises(ValueError, match="X is empty"):
        xlstm.from_channels_first([])


@pytest.mark.parametrize(
    ("X", "told"),
    [
        (None, "expected \\(n, channels, time\\) or a list .* got <class 'NoneType'>"),
        ((row for row in ()), "got <class 'generator'>"),
        ([[[1, 2], [3]], [[1, 2], [3, 4]]], "row 0 is ragged itself: its channels have several lengths"),
        (np.zeros((0, 3, 4)), "X is empty"),
        ([np.ones((2, 4)), np.ones((3, 5))], "give all rows the same channels"),
    ],
)
def test_what_cannot_be_turned_is_said(X, told):
    with pytest.raises(ValueError, match=told):
        xlstm.from_channels_first(X)


def test_nested_frames_are_channels_first():
    pandas = peer("pandas")
    x, y = [np.arange(3.0), np.arange(5.0)], [np.arange(3.0) * 2, np.arange(5.0) + 7]
    turned = xlstm.from_channels_first(pandas.DataFrame({"x": [pandas.Series(each) for each in x], "y": y}))
    assert [list(frame.columns) for frame in turned] == [["x", "y"]] * 2
    for k, frame in enumerate(turned):
        np.testing.assert_array_equal(frame.to_numpy(), np.stack([x[k], y[k]], axis=1))
    with pytest.raises(ValueError, match=r"row 1 of X has cells of the shapes \(3,\), \(5,\)"):
        xlstm.from_channels_first(pandas.DataFrame({"x": [x[0], x[0]], "y": [y[0], y[1]]}))
    with pytest.raises(ValueError, match=r"row 0 of X has cells of the shapes \(\): expected a nested frame"):
        xlstm.from_channels_first(pandas.DataFrame({"x": [1.0], "y": [2.0]}))


def test_many_features_of_few_steps_are_told():
    rng, y = np.random.default_rng(0), [0, 1] * 5
    settings = {"hidden_size": 2, "max_iter": 1, "device": "cpu"}
    for shape, told in (
        ((10, 3, 20), "3 steps of 20 features.*3 channels of 20"),
        ((10, 1, 20), "1 step of 20 features"),
    ):
        X = rng.standard_normal(shape)
        with pytest.warns(xlstm.AmbiguousDataWarning, match=rf"{told}.*from_channels_first\(X\)"):
            xlstm.SequenceClassifier(**settings).fit(X, y)
        xlstm.SequenceClassifier(**settings).fit(xlstm.from_channels_first(X), y)  # warnings are errors in these tests
    xlstm.SequenceClassifier(**settings).fit(rng.standard_normal((10, 3, 15)), y)
    xlstm.SequenceClassifier(**settings).fit([rng.standard_normal((3 + k % 2, 20)) for k in range(10)], y)
