"""`Sequences`: indexed as a list of arrays is, cut by scikit-learn with their names, taken by estimators as is."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xlstm
from xlstm import sequences

from ..peers import peer


def made(n: int = 8, seed: int = 0) -> tuple[xlstm.Sequences, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(time, 2)) for time in rng.integers(1, 5, n)]
    values = np.concatenate(rows) if rows else np.empty((0, 2))
    return xlstm.Sequences(values, np.array([len(row) for row in rows], dtype=int), ["a", "b"]), rows


def same(X: xlstm.Sequences, rows: list[np.ndarray]) -> None:
    assert len(X) == len(rows) == X.shape[0]
    assert X.names == ("a", "b")
    for one, row in zip(X, rows, strict=True):
        np.testing.assert_array_equal(one, row)


@given(
    st.integers(0, 6), st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([None, 1, 2, -1]), st.integers(0, 2**32)
)
def test_indexed_as_a_list(n, start, stop, step, seed):
    X, rows = made(n)
    rng = np.random.default_rng(seed)
    same(X[start:stop:step], rows[start:stop:step])
    mask = rng.random(n) < 0.5
    same(X[mask], [row for row, kept in zip(rows, mask, strict=True) if kept])
    if n:
        numbers = rng.integers(-n, n, rng.integers(0, 9)).tolist()
        same(X[numbers], [rows[k] for k in numbers])
        same(X[np.array(numbers, dtype=int), ...], [rows[k] for k in numbers])
        for k in numbers:
            np.testing.assert_array_equal(X[k], rows[k])
            np.testing.assert_array_equal(X[np.int64(k)], rows[k])


def test_slices_are_views_and_others_copies():
    X, _ = made()
    assert np.shares_memory(X[2:4].values, X.values)
    assert not np.shares_memory(X[[2, 3]].values, X.values)
    np.testing.assert_array_equal(X[[3, 2]].values, np.concatenate([X[3], X[2]]))


@pytest.mark.parametrize(
    ("X", "text"),
    [
        (made()[0], "<8 sequences of 1 to 4 steps: a, b>"),
        (xlstm.Sequences(np.ones(3), [3]), "<1 sequence of 3 steps: 1 feature>"),
        (xlstm.Sequences(np.ones((2, 2)), [1, 1]), "<2 sequences of 1 step: 2 features>"),
        (xlstm.Sequences(np.ones((0, 2)), []), "<0 sequences: 2 features>"),
        (xlstm.Sequences(np.ones((1, 9)), [1], list("abcdefghi")), "<1 sequence of 1 step: a, b, c, d, e, f, g, h, …>"),
    ],
)
def test_shown(X, text):
    assert repr(X) == text


def test_read_without_a_copy():
    for dtype in (np.float32, np.float64):
        values = np.ones((5, 2), dtype)
        X = xlstm.Sequences(values, [2, 3], ["a", "b"])
        series = sequences.read(X)
        assert series.values is X.values is values
        assert series.names == ("a", "b")
        assert series.columns is None


def test_read_as_a_list_of_arrays():
    X, rows = made()
    expected = sequences.read(rows)
    read = sequences.read(X)
    np.testing.assert_array_equal(read.values, expected.values)
    np.testing.assert_array_equal(read.lengths, expected.lengths)


def test_tokens():
    read = sequences.read(xlstm.Sequences([3, 1, 2], [2, 1]), "tokens")
    assert (read.tokens.tolist(), read.lengths.tolist(), read.kind) == ([3, 1, 2], [2, 1], "integers")
    for wrong in (xlstm.Sequences([0.5], [1]), xlstm.Sequences(np.ones((1, 2)), [1]), xlstm.Sequences([np.nan], [1])):
        with pytest.raises(
            TypeError, match="with encoding='tokens' each step is one whole number, which these are not"
        ):
            sequences.read(wrong, "tokens")


def test_what_is_missing_is_named():
    X = xlstm.Sequences([[1.0, 2.0], [3.0, np.nan]], [1, 1], ["a", "b"])
    with pytest.raises(ValueError, match="row 1 of X holds NaN in step 0, feature 'b': remove or replace it"):
        sequences.read(X)


def test_an_estimator_learns_from_them_and_matches_names():
    X, rows = made(20)
    y = np.arange(20) % 2
    values = X.values.copy()
    settings = {"hidden_size": 3, "max_iter": 2, "random_state": 0, "device": "cpu"}
    clf = xlstm.SequenceClassifier(**settings).fit(X, y)
    assert clf.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(X.values, values)
    expected = xlstm.SequenceClassifier(**settings).fit(rows, y).predict_proba(rows)
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    turned = xlstm.Sequences(X.values[:, ::-1], X.lengths, ["b", "a"])
    np.testing.assert_array_equal(clf.predict_proba(turned), expected)
    other = xlstm.Sequences(X.values, X.lengths, ["a", "c"])
    with pytest.raises(ValueError, match="it lacks 'b' and has 'c' too many"):
        clf.predict(other)
    with pytest.raises(ValueError, match="X is empty"):
        clf.predict(X[:0])


def test_scikit_learn_cuts_them():
    selection = peer("sklearn.model_selection")
    X, rows = made(20)
    y = np.arange(20) % 2
    train, test, y_train, _ = selection.train_test_split(X, y, random_state=0, stratify=y)
    expected, rest, _, _ = selection.train_test_split(rows, y, random_state=0, stratify=y)
    same(train, expected)
    same(test, rest)
    settings = {"hidden_size": 2, "max_iter": 1, "random_state": 0, "device": "cpu"}
    assert len(selection.cross_val_score(xlstm.SequenceClassifier(**settings), X, y, cv=2)) == 2
    search = selection.GridSearchCV(xlstm.SequenceClassifier(**settings), {"hidden_size": [2, 3]}, cv=2).fit(
        train, y_train
    )
    assert search.best_estimator_.feature_names_in_.tolist() == ["a", "b"]


def test_copied_to_other_processes():
    X, rows = made()
    same(pickle.loads(pickle.dumps(X)), rows)


# ---------------------------------------------------------------- X, y and ids together


TINY = {"hidden_size": 2, "max_iter": 2, "random_state": 0, "device": "cpu"}


def with_ids() -> xlstm.Dataset:
    return xlstm.Dataset(made()[0], np.arange(8) % 2, [0, 0, 0, 0, 5, 5, 5, 5])


def curves(clf: xlstm.SequenceClassifier) -> tuple[list[float], list[float]]:
    return clf.loss_curve_, clf.validation_loss_curve_


def test_the_ids_of_a_dataset_are_no_weights_of_a_batch_or_a_validation():
    data = with_ids()
    clf = xlstm.SequenceClassifier(**TINY)
    expected = curves(clf.fit(data.X, data.y, validation=(data.X, data.y)))
    assert curves(clf.fit(data.X, data.y, validation=data)) == expected
    batches = xlstm.Batches(lambda: iter([data]))
    plain = xlstm.Batches(lambda: iter([(data.X, data.y)]))
    expected = curves(clf.fit(plain, validation=plain))
    assert curves(clf.fit(batches, validation=batches)) == expected
    assert clf.score(batches) == clf.score(data.X, data.y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda clf, data: clf.fit(*data), "sample_weight got the ids of a Dataset: pass its X and y alone, "),
        (lambda clf, data: clf.score(*data), "sample_weight got the ids of a Dataset: pass its X and y alone, "),
        (lambda clf, data: clf.fit(data), r"X is a Dataset: pass its parts, data\.X, and as y data\.y\."),
        (lambda clf, data: clf.predict(data), r"X is a Dataset: pass its parts, data\.X, and as y data\.y\."),
        (lambda clf, data: clf.fit(data.X, data.y, validation=data._replace(y=None)), "validation has no y"),
    ],
)
def test_a_dataset_where_its_parts_are_expected(call, message):
    data = with_ids()
    clf = xlstm.SequenceClassifier(**TINY).fit(data.X, data.y)
    with pytest.raises(TypeError, match=message):
        call(clf, data)


def test_a_dataset_goes_to_other_processes_and_unpacks():
    data = pickle.loads(pickle.dumps(with_ids()))
    X, y, ids = data
    assert ids == data.ids == [0, 0, 0, 0, 5, 5, 5, 5]
    same(X, made()[1])
    assert y.tolist() == (np.arange(8) % 2).tolist()
    assert xlstm.Dataset(X).ids is None
