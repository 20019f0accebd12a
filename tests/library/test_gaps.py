# ruff: noqa: E501 - a case of bad input is a line
"""Numbers that are missing: a model that reads them is one of columns that say so, made by hand."""

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm import encode
from xlstm.sequences import Series, read
from xlstm.sides import fingerprints
from xlstm.spelling import Spelling

from .. import classifier as truth
from ..peers import peer

RNG = np.random.default_rng(0)
SCALE, SHIFT = np.array([1.0, 30.0, 0.1]), np.array([0.0, 5.0, -2.0])
WHOLE = [RNG.standard_normal((RNG.integers(3, 9), 3)) * SCALE + SHIFT for _ in range(40)]
Y = np.array([int(row[:, 0].sum() > 0) for row in WHOLE])
GAPS = [np.where(RNG.random(row.shape) < 0.3, np.nan, row) for row in WHOLE]


def make(**chosen: Any) -> xlstm.SequenceClassifier:
    quick = {"hidden_size": 4, "max_iter": 3, "random_state": 0, "device": "cpu", "dtype": "float64"}
    return xlstm.SequenceClassifier(**{**quick, **chosen})


def masked(**chosen: Any) -> xlstm.SequenceClassifier:
    return make(missing="mask", **chosen)


def by_hand(rows: list[np.ndarray], of: list[np.ndarray], standardize: bool = True) -> list[np.ndarray]:
    """(time, 2·D): each feature at unit scale, the mean of the training in place of NaN; then what is there."""
    steps = np.concatenate(of)
    mean, deviation = np.nanmean(steps, axis=0), np.nanstd(steps, axis=0)
    columns = []
    for row in rows:
        there = ~np.isnan(row)
        filled = np.where(there, row, mean)
        columns.append(np.concatenate([(filled - mean) / deviation if standardize else filled, there], axis=1))
    return columns


# ---------------------------------------------------------------- what a model reads


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("rows", [GAPS, WHOLE], ids=["gaps", "no gap"])
def test_it_is_the_model_of_columns_made_by_hand(rows, standardize):
    found = masked(standardize=standardize, readout="mean").fit(rows, Y)
    columns = by_hand(rows, rows, standardize)
    expected = make(standardize=False, readout="mean").fit(columns, Y)
    np.testing.assert_allclose(found.predict_proba(rows), expected.predict_proba(columns), rtol=1e-9)
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-9)
    assert (found.n_features_in_, expected.n_features_in_) == (3, 6)
    assert found.predict_proba(WHOLE) == pytest.approx(expected.predict_proba(by_hand(WHOLE, rows, standardize)))


def test_the_mean_is_that_of_the_training_part(monkeypatch):
    watch = truth.Split(monkeypatch)
    clf = masked(early_stopping=True, validation_fraction=0.3).fit(GAPS, Y)
    steps = np.concatenate([GAPS[k] for k in watch.kept])
    scaler = clf.fitted_state().encoder
    np.testing.assert_allclose(scaler.mean, np.nanmean(steps, axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, np.nanstd(steps, axis=0), rtol=1e-12)
    before = clf.fitted_state().sides
    clf.set_params(warm_start=True).fit(GAPS[::-1], Y[::-1])
    np.testing.assert_array_equal(clf.fitted_state().sides.aside, before.aside)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_scaling_counts_nothing_that_is_missing(data):
    number = st.floats(-1e300, 1e300) | st.just(float("nan"))
    table = np.array(data.draw(st.lists(st.lists(number, min_size=2, max_size=2), min_size=1, max_size=12)))
    scaler = encode.fit(read([table], missing="mask"), True, True, "mask")
    steps = encode.encode(scaler, read([table], missing="mask"))
    assert np.isfinite(steps).all()
    for k in range(2):
        there = ~np.isnan(table[:, k])
        np.testing.assert_array_equal(steps[:, 2 + k], there)
        assert (steps[~there, k] == 0).all()
        if there.any():  # the numbers that are there, as if they were all
            alone = read([table[there, k : k + 1]])
            expected = encode.fit(alone, True, True)
            np.testing.assert_allclose(
                scaler.mean[k], expected.mean[0], rtol=1e-12, atol=abs(table[there, k]).max() * 1e-14
            )
            np.testing.assert_allclose(scaler.scale[k], expected.scale[0], rtol=1e-6)
        else:
            assert (scaler.mean[k], scaler.scale[k]) == (0, 1)


def test_a_feature_of_which_nothing_is_known():
    rows = [np.column_stack([row[:, 0], np.full(len(row), np.nan)]) for row in WHOLE]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = masked().fit(rows, Y)
        nothing = [np.full((3, 2), np.nan)]
        assert np.isfinite(clf.predict_proba([*nothing, np.ones((2, 2))])).all()


def test_gradients_are_right():
    clf = masked(hidden_size=2, max_iter=1, cell="gru").fit(GAPS, Y)
    for inputs in (None, (GAPS[:5], Y[:5])):
        assert xlstm.check_gradients(clf, inputs).passed


@pytest.mark.parametrize("kind", ["float32", "object", "frames", "integers that may be missing", "padded", "Sequences"])
def test_forms_of_gaps(kind):
    rows = [row[:3].astype(np.float32).astype(np.float64) for row in GAPS]
    if kind == "integers that may be missing":
        rows = [np.round(row) for row in rows]
    expected = masked().fit(rows, Y).predict_proba(rows)
    given: Any = rows
    if kind == "float32":
        given = [row.astype(np.float32) for row in rows]
    elif kind == "object":
        given = [np.where(np.isnan(row), None, row).tolist() for row in rows]
    elif kind == "frames":
        pandas = peer("pandas")
        given = [pandas.DataFrame(row, columns=list("abc")).astype("Float64") for row in rows]
        clf = masked().fit(given, Y)
        assert clf.feature_names_in_.tolist() == ["a", "b", "c"]
        np.testing.assert_allclose(clf.predict_proba([frame[["c", "a", "b"]] for frame in given]), expected, rtol=1e-9)
    elif kind == "integers that may be missing":
        pandas = peer("pandas")
        given = [pandas.DataFrame(row, columns=list("abc")).astype("Int64") for row in rows]
    elif kind == "padded":
        given = np.stack(rows)
    else:
        given = xlstm.Sequences(np.concatenate(rows), [3] * len(rows))
    np.testing.assert_allclose(masked().fit(given, Y).predict_proba(given), expected, rtol=1e-9)


def test_a_table_and_its_columns():
    X = RNG.standard_normal((30, 6))
    X[RNG.random(X.shape) < 0.2] = np.nan
    y = np.arange(30) % 2
    table = masked().fit(X, y)
    assert table.n_features_in_ == 6
    np.testing.assert_array_equal(table.predict_proba(X), masked().fit(X[:, :, None], y).predict_proba(X[:, :, None]))
    frame = peer("pandas").DataFrame(X, columns=[f"t{k}" for k in range(6)])
    np.testing.assert_array_equal(masked().fit(frame, y).predict_proba(frame), table.predict_proba(X))


def test_streams_files_copies_and_warm_starts(tmp_path):
    clf = masked(early_stopping=True).fit(GAPS, Y)
    expected = clf.predict_proba(GAPS)
    clf.save(tmp_path / "gaps.xlstm")
    loaded = xlstm.load(tmp_path / "gaps.xlstm", "cpu")
    assert loaded.missing == "mask"
    for other in (loaded, copy.deepcopy(clf), pickle.loads(pickle.dumps(clf)), clf.prepare()):
        np.testing.assert_allclose(other.predict_proba(GAPS), expected, rtol=1e-12)
    np.testing.assert_array_equal(
        loaded.partial_fit(GAPS, Y).predict_proba(GAPS), clf.partial_fit(GAPS, Y).predict_proba(GAPS)
    )
    for stream in (clf.stream(), clf.prepare().stream()):
        for step in GAPS[0]:
            p = stream.feed(step[None])
        np.testing.assert_allclose(p, clf.predict_proba(GAPS[:1])[0], rtol=1e-9)


@pytest.mark.parametrize("standardize", [True, False])
def test_batches_train_as_all_rows_at_once(standardize):
    source = xlstm.Batches(lambda: ((GAPS[k : k + 9], Y[k : k + 9]) for k in range(0, 40, 9)), buffer=100)
    found, expected = masked(standardize=standardize).fit(source), masked(standardize=standardize).fit(GAPS, Y)
    np.testing.assert_allclose(
        found.fitted_state().encoder.filling, expected.fitted_state().encoder.filling, rtol=1e-12
    )
    np.testing.assert_allclose(found.predict_proba(GAPS), expected.predict_proba(GAPS), rtol=1e-9)


def test_of_no_effect_on_tokens():
    X, y = truth.last_letter(20)
    np.testing.assert_array_equal(masked().fit(X, y).predict_proba(X), make().fit(X, y).predict_proba(X))
    masked(warm_start=True).fit(X, y).set_params(missing="error").fit(X, y)


def test_rows_are_known_again_whatever_nan_it_is():
    other = np.array([0xFFF8000000000001, 0x7FF8000000000000], dtype=np.uint64).view(np.float64)
    prints = [
        fingerprints(
            read([np.array([[1.0], [nan]])], missing="mask"), [b""], Spelling(False, None, False), "float64"
        ).tolist()
        for nan in other
    ]
    assert prints[0] == prints[1]
    assert prints[0] != fingerprints(read([[1.0, 0.0]]), [b""], Spelling(False, None, False), "float64").tolist()


# ---------------------------------------------------------------- what is said


def cases() -> dict[str, tuple[Any, str]]:
    infinite = [row.copy() for row in GAPS]
    infinite[2][1, 0] = -np.inf
    clf, whole = masked().fit(GAPS, Y), make().fit(WHOLE, Y)
    return {
        "infinity": (lambda: masked().fit(infinite, Y), "row 2 of X holds minus infinity (-inf) in step 1, feature 0: remove or replace it."),
        "another word": (lambda: make(missing="drop").fit(GAPS, Y), "missing must be one of ('error', 'mask'), got 'drop'."),
        "set back": (
            lambda: copy.deepcopy(clf).set_params(missing="error").predict([np.array([[1.0, np.nan, 1.0]])]),
            "row 0 of X holds NaN in step 0, feature 1: remove or replace it, or read gaps with missing='mask'.",
        ),
        "set too late": (
            lambda: copy.deepcopy(whole).set_params(missing="mask").predict([np.ones((2, 3)), np.array([[1.0, np.nan, 1.0]])]),
            "row 1 of X holds NaN, but this model was trained with missing='error': remove or replace it, or train a model with missing='mask'.",
        ),
        "set before a warm start": (
            lambda: copy.deepcopy(whole).set_params(missing="mask", warm_start=True).fit(GAPS, Y),
            "missing is 'mask', but the model to go on from has 'error': set it back, or train a new one with fit and warm_start=False.",
        ),
        "set back before a part": (
            lambda: copy.deepcopy(clf).set_params(missing="error").partial_fit(WHOLE, Y),
            "missing is 'error', but the model to go on from has 'mask': set it back, or train a new one with fit and warm_start=False.",
        ),
        "a file whose filling is short": (
            lambda: encode.from_state({"kind": "series", "mean": [0.0, 0.0], "scale": [1.0, 1.0], "filling": [0.0]}),
            "what stands in for missing numbers must be a finite number of each feature.",
        ),
        "a file whose filling is text": (
            lambda: encode.from_state({"kind": "series", "mean": [0.0], "scale": [1.0], "filling": ["a"]}),
            "the filling of the features must be a list of numbers.",
        ),
    }  # fmt: skip


CASES = cases()


@pytest.mark.parametrize("case", list(CASES))
def test_message(case):
    call, message = CASES[case]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        call()
    assert str(caught.value) == message


def test_padding_with_nan_is_doubted():
    X = RNG.standard_normal((20, 6, 2))
    for k in range(8):
        X[k, 3 + k % 3 :] = np.nan
    with pytest.warns(
        xlstm.AmbiguousDataWarning, match="NaN stands at the ends of 8 of the 20 sequences of X, and nowhere"
    ):
        masked().fit(X, np.arange(20) % 2)
    X[9, 0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked().fit(X, np.arange(20) % 2)


def test_scikit_learn_knows_that_it_takes_gaps():
    utils, selection = peer("sklearn.utils"), peer("sklearn.model_selection")
    assert utils.get_tags(masked()).input_tags.allow_nan
    assert not utils.get_tags(make()).input_tags.allow_nan
    X = np.where(RNG.random((30, 5)) < 0.2, np.nan, RNG.standard_normal((30, 5)))
    scores = selection.cross_val_score(masked(), X, np.arange(30) % 2, cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_a_file_holds_what_is_read():
    scaler = encode.fit(read(GAPS, missing="mask"), True, False, "mask")
    again = encode.from_state(scaler.state())
    assert again.width == 2 * again.size == 6
    data = read(GAPS, missing="mask")
    assert isinstance(data, Series)
    np.testing.assert_array_equal(encode.encode(again, data), encode.encode(scaler, data))
    assert "filling" not in encode.fit(read(WHOLE), True, True).state()
