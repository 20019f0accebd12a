"""Numbers that are read, checked, scaled and answered some at a time: the same as all at once, in little memory."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xlstm
from xlstm import blocks, encode, fitted, series
from xlstm.sequences import read
from xlstm.spelling import Spelling

TYPES = ["float32", "float64", "float16", "int8", "uint32", "int64", "bool", ">f4", "longdouble"]


@pytest.fixture
def small(monkeypatch):
    """Blocks of a few numbers, so that they end everywhere."""
    monkeypatch.setattr(blocks, "BLOCK", 7)


def made(lengths, D, kinds, seed=0, turned=False):
    """Rows of these lengths, of the types by turns; `turned`: the numbers of a step do not lie side by side."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 2, (D, length)) * 3 for length in lengths]
    rows = [row.astype(kinds[k % len(kinds)]) for k, row in enumerate(rows)]
    return [row.T if turned else np.ascontiguousarray(row.T) for row in rows]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=7),
    st.integers(1, 4),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2),
    st.booleans(),
    st.integers(1, 30),
)
def test_some_at_a_time_are_all(lengths, D, kinds, turned, size):
    rows = made(lengths, D, kinds, turned=turned)
    whole = np.concatenate([row.astype("float64") for row in rows])
    dtype = np.float32 if all(row.dtype == np.float32 for row in rows) else np.float64
    one = np.concatenate([row.astype(dtype) for row in rows])
    before, blocks.BLOCK = blocks.BLOCK, size
    try:
        for X in (rows, xlstm.Sequences(one, lengths)):
            data = read(X)
            assert data.dtype == data.values.dtype == dtype
            np.testing.assert_array_equal(data.values, whole)
            some = [np.array(values) for values in data.blocks()]
            assert all(values.size <= max(size, D) for values in some)
            np.testing.assert_array_equal(np.concatenate(some), whole)
            groups = [(part, np.array(values)) for part, values in blocks.groups(data.steps, data.lengths)]
            assert [k for part, _ in groups for k in range(part.start, part.stop)] == list(range(len(rows)))
            assert [len(values) for _, values in groups] == [sum(lengths[part]) for part, _ in groups]
            np.testing.assert_array_equal(np.concatenate([values for _, values in groups]), whole)
            chosen = np.arange(len(rows))[::-2]
            taken = series.take(data, chosen)
            np.testing.assert_array_equal(taken.values, np.concatenate([rows[k].astype("f8") for k in chosen]))
            np.testing.assert_array_equal(taken.lengths, np.array(lengths)[chosen])
            parts = list(series.parts(data, size))
            np.testing.assert_array_equal(np.concatenate([part.values for _, part in parts]), whole)
            assert [length for _, part in parts for length in part.lengths] == lengths
    finally:
        blocks.BLOCK = before


def test_some_rows_are_read_as_all_are():
    """Also those that alone would be float32."""
    rows = [np.ones((2, 3), "f4"), np.ones((1, 3), "f4"), np.ones((4, 3), "f8")]
    data = read(rows)
    assert data.dtype == np.float64
    some = [part for _, part in series.parts(data, 1)] + [series.take(data, np.array([1, 0]))]
    assert [part.dtype for part in some] == [np.float64] * len(some)


def test_a_few_rows_of_many_are_taken_alone():
    """Of one array no view of any other row is made: counted by the memory that it takes."""
    data = read(np.zeros((50_000, 1, 1), "f4"))
    assert peak_of(lambda: series.take(data, np.array([49_999, 7]))) < 2.5e6
    np.testing.assert_array_equal(series.take(data, np.array([3, 1])).values, np.zeros((2, 1)))


@pytest.mark.parametrize("kind", TYPES)
def test_arrays_are_read_where_they_lie(kind, small):
    X = np.arange(240).reshape(5, 6, 8).astype(kind)
    for view in (X, X[::2], X[:, :, 1:4], X.transpose(0, 2, 1), X[:, ::-1]):
        data = read(view)
        np.testing.assert_array_equal(data.values, view.astype("f8").reshape(-1, view.shape[2]))
        steps = data.steps.rows if isinstance(data.steps, blocks.Separate) else [data.steps]
        assert all(np.shares_memory(row, X) for row in steps)
    rows = read(list(X)).steps.rows
    assert all(row is X[k] or np.shares_memory(row, X) for k, row in enumerate(rows))


def test_numbers_beyond_float64_are_infinity(small):
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("here it has no other range")
    for X in (np.full((2, 3, 1), np.longdouble("1e400")), [np.full((2, 1), np.longdouble("1e400"))] * 2):
        with pytest.raises(ValueError, match="row 0 of X holds infinity"):
            read(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_wherever_a_block_ends(value, small):
    rows = [np.zeros((length, 3), "f4") for length in (2, 9, 1, 4)]
    for k, row in enumerate(rows):
        for step in range(len(row)):
            row[step, 1] = value
            for X in (rows, xlstm.Sequences(np.concatenate(rows), [len(row) for row in rows])):
                with pytest.raises(ValueError, match=f"row {k} of X holds .* in step {step}, feature 1: remove"):
                    read(X)
                if np.isnan(value):
                    assert np.isnan(np.concatenate(list(map(np.array, read(X, missing="mask").blocks())))).sum() == 1
            row[step, 1] = 0


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("gaps", [False, True])
def test_mean_and_deviation_far_from_zero(kind, gaps):
    """Those of exact sums, although the numbers are large beside their deviation; over many blocks."""
    rng = np.random.default_rng(3)
    X = [(1e6 + rng.normal(0, 2, (length, 3))).astype(kind) for length in rng.integers(1, 400, 400)]
    X[0][0, 0] = -3e6
    if gaps:
        for row in X[::3]:
            row[len(row) // 2, 1] = np.nan
    whole = np.concatenate(X).astype(np.longdouble)
    assert whole.size > 3 * blocks.BLOCK
    found = encode.fit(read(X, missing="mask" if gaps else "error"), True, True, "mask" if gaps else "error")
    mean = np.nanmean(whole, axis=0)
    np.testing.assert_allclose(found.mean, mean.astype("f8"), rtol=1e-15)
    np.testing.assert_allclose(found.scale, np.sqrt(np.nanmean((whole - mean) ** 2, axis=0)).astype("f8"), rtol=1e-10)


def test_scaled_as_one_array_is(small):
    """The same bits, whatever the block."""
    rng = np.random.default_rng(4)
    for kind in ("float32", "float64", "int16"):
        X = [(rng.normal(3, 5, (length, 3)) * 9).astype(kind) for length in (5, 1, 8, 30)]
        encoder = encode.fit(read(X), Spelling(True, None, False), True)
        whole = np.concatenate(X)
        whole = whole if kind == "float32" else whole.astype("float64")
        for dtype in ("float32", "float64"):
            expected = (whole / encoder.scale - encoder.mean / encoder.scale).astype(dtype)
            np.testing.assert_array_equal(encode.encode(encoder, read(X), dtype), expected)


def settings(**others: Any) -> dict[str, Any]:
    return {"hidden_size": 4, "max_iter": 1, "device": "cpu", "random_state": 0, **others}


@pytest.mark.parametrize("kind", ["classifier", "labeler"])
@pytest.mark.parametrize("missing", ["error", "mask"])
def test_answers_in_parts_are_those_of_all(kind, missing, monkeypatch):
    rng = np.random.default_rng(5)
    X = [rng.normal(size=(length, 2)) for length in rng.integers(1, 9, 40)]
    if missing == "mask":
        X[3][0, 1] = X[17][-1, 0] = np.nan
    y = rng.integers(0, 2, 40) if kind == "classifier" else [rng.integers(0, 2, len(row)) for row in X]
    make = xlstm.SequenceClassifier if kind == "classifier" else xlstm.SequenceLabeler
    model = make(**settings(dtype="float64", missing=missing)).fit(X, y)
    whole = model.predict_proba(X)
    monkeypatch.setattr(fitted, "PART", 20)
    for found, expected in zip(model.predict_proba(X), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    texts = ["ab" * k for k in range(1, 9)]
    reader = xlstm.SequenceClassifier(**settings(dtype="float64")).fit(texts, [0, 1] * 4)
    found = reader.predict_proba(texts)
    monkeypatch.setattr(fitted, "PART", 2**22)
    np.testing.assert_allclose(found, reader.predict_proba(texts), rtol=1e-12)


def test_a_row_too_large_is_named_in_whatever_part_it_is(monkeypatch):
    rng = np.random.default_rng(6)
    X = [rng.normal(size=(4, 2)) for _ in range(20)]
    model = xlstm.SequenceClassifier(**settings()).fit(X, np.arange(20) % 2)
    monkeypatch.setattr(fitted, "PART", 24)
    X[13] = np.full((4, 2), 1e200)
    with pytest.raises(ValueError, match="row 13 of X holds numbers too large for float32"):
        model.predict(X)


# ---------------------------------------------------------------- memory


def peak_of(work: Callable[[], Any]) -> int:
    """The most bytes that Python and NumPy held beyond those from before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large(form: str, kind: str) -> Any:
    rng = np.random.default_rng(7)
    if form == "array":
        return rng.standard_normal((12_000, 50, 8)).astype(kind)
    if form == "every second":
        return rng.standard_normal((24_000, 50, 8)).astype(kind)[::2]
    rows = [rng.standard_normal((length, 8)).astype(kind) for length in rng.integers(20, 81, 12_000)]
    return rows if form == "list" else xlstm.Sequences(np.concatenate(rows), [len(row) for row in rows])


@pytest.mark.parametrize("form", ["array", "every second", "list", "sequences"])
@pytest.mark.parametrize("kind", ["float32", "float64", "int16"])
def test_a_fit_holds_its_numbers_once(form, kind):
    """Beside X, as many float32 as X has numbers, and not much else; and X stays as it is."""
    if form == "sequences" and kind == "int16":
        pytest.skip("they are floating before they are read")
    X = large(form, kind)
    first, last = np.array(X[0]), np.array(X[-1])
    numbers = len(X.values) * 8 if form == "sequences" else sum(row.size for row in X)
    y = np.arange(len(X)) % 2
    model = xlstm.SequenceClassifier(**settings(batch_size=64))
    model.fit(X[:200], y[:200])  # what is imported late is there
    assert peak_of(lambda: model.fit(X, y)) < 1.3 * 4 * numbers
    np.testing.assert_array_equal(X[0], first)
    np.testing.assert_array_equal(X[-1], last)


@pytest.mark.parametrize("form", ["array", "list"])
def test_answers_need_a_part_of_the_numbers_at_a_time(form, monkeypatch):
    monkeypatch.setattr(fitted, "PART", 2**18)
    X = large(form, "float64")
    numbers = sum(row.size for row in X)
    model = xlstm.SequenceClassifier(**settings(batch_size=64)).fit(X[:200], np.arange(200) % 2)
    model.predict(X[:200])
    size = 2 if model.kernels_ == "reference" else 1  # the array code keeps gates of a batch in NumPy's arrays
    assert peak_of(lambda: model.predict(X)) < size * 0.6 * 4 * numbers


def test_some_are_read_as_all_are():
    rows = [np.ones((2, 1), np.float32), np.ones((3, 1), np.float32), np.ones((1, 1))]
    lengths = np.array([2, 3, 1])
    every = blocks.Separate(rows, lengths)
    first = blocks.taken(every, lengths, np.array([0, 1]))
    assert every.dtype == every[:2].dtype == first.dtype == first.together(slice(None)).dtype == np.float64


def test_taking_some_rows_does_not_look_at_the_others():
    class Counted(np.ndarray):
        asked = 0

        def __getitem__(self, key):
            Counted.asked += 1
            return super().__getitem__(key)

    steps, lengths = np.arange(2000.0).reshape(1000, 2).view(Counted), np.full(500, 2)
    some = blocks.taken(steps, lengths, np.array([499, 3]))
    np.testing.assert_array_equal(some.rows[0], [[1996, 1997], [1998, 1999]])
    np.testing.assert_array_equal(some.rows[1], [[12, 13], [14, 15]])
    assert Counted.asked < 10
