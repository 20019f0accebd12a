# Longer than 500 lines: the tests of one source file stand in one file.
"""The classifier as users meet it: what it reads, what it refuses, scikit-learn's manners, streams, copies."""

import copy
import html
import inspect
import pickle
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends
from xlstm.estimators import state

from .. import classifier as truth
from ..peers import REPEATED, checked_by_sklearn, peer
from ..standin import machine

QUICK = {"hidden_size": 4, "max_iter": 2, "random_state": 0}


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(**{"device": "cpu", **QUICK, **settings})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


# ---------------------------------------------------------------- what it learns

LEARNED = {
    "last letter": (truth.last_letter, {"max_iter": 30}),
    "last letter, folded": (lambda n, seed: truth.last_letter(n, seed, "aA"), {"max_iter": 30, "fold_case": False}),
    "last letter, embedded": (truth.last_letter, {"embedding_size": 4, "max_iter": 30}),
    "last letter, in float64": (truth.last_letter, {"dtype": "float64", "max_iter": 30}),
    "last letter, two layers": (truth.last_letter, {"num_layers": 2, "bidirectional": True, "max_iter": 25}),
    "last letter, rnn": (truth.last_letter, {"cell": "rnn", "max_iter": 30}),
    "last letter, pytorch's start": (truth.last_letter, {"init": "pytorch", "max_iter": 40}),
    "parity": (truth.parity, {"hidden_size": 16, "max_iter": 60}),
    "sign of a sum": (truth.sign_of_sum, {"max_iter": 60}),
    "raised channel": (truth.raised_channel, {"max_iter": 60}),
}


@pytest.mark.parametrize("task", LEARNED)
def test_it_learns(task):
    problem, settings = LEARNED[task]
    clf = make(**{"hidden_size": 12, "learning_rate_init": 0.02, **settings})
    clf.fit(*problem(200, 0))
    assert clf.score(*problem(150, 1)) >= 0.93


def test_words_and_integers_are_tokens():
    rng = np.random.default_rng(0)
    tokens = [rng.integers(10, 14, rng.integers(1, 5)) for _ in range(120)]
    y = [int(row[-1]) for row in tokens]
    settings = {"hidden_size": 8, "max_iter": 30, "learning_rate_init": 0.03}
    words = [[f"word{token}" for token in row] for row in tokens]
    assert make(**settings).fit(words, y).score(words, y) >= 0.95
    integers = make(**settings, encoding="tokens").fit(tokens, y)
    assert integers.score(tokens, y) >= 0.95
    assert integers.score([row.tolist() for row in tokens], y) >= 0.95
    square = np.array([[10, 11], [11, 10], [12, 13]])
    np.testing.assert_array_equal(integers.predict(square), integers.predict(list(square)))


# ---------------------------------------------------------------- what it reads


def test_numbers_are_series_integers_too():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 9, (12, 5)), np.arange(12) % 2
    forms = [
        X, X.astype(np.float64), X.astype("f4"), X.astype(">i2"), X.astype(object), np.asfortranarray(X), X[::-1][::-1],
        X.tolist(), list(X), X[:, :, None], [row[:, None] for row in X], tuple(map(tuple, X.tolist())),
    ]  # fmt: skip
    expected = make(dtype="float64").fit(X, y).predict_proba(X)
    for form in forms:
        clf = make(dtype="float64").fit(form, y)
        np.testing.assert_allclose(clf.predict_proba(form), expected, rtol=1e-12)


def test_texts_come_in_any_form():
    X, y = truth.last_letter(12)
    expected = make().fit(X, y).predict_proba(X)
    for form in (tuple(X), np.array(X), np.array(X, dtype=object), np.array(X, dtype=np.dtypes.StringDType())):
        np.testing.assert_array_equal(make().fit(form, y).predict_proba(form), expected)
    characters = [list(text) for text in X]  # tokens are strings: here of one letter each
    np.testing.assert_array_equal(make().fit(characters, y).predict_proba(characters), expected)


def test_case_is_folded_unless_asked_not_to():
    X, y = truth.last_letter(20)
    upper = [text.upper() for text in X]
    clf = make().fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(upper), clf.predict_proba(X))
    clf = make(fold_case=False).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(upper), clf.predict_proba(["?" * len(text) for text in X]))


def test_channels_first_comes_in_by_its_name():
    X, y = truth.raised_channel(20)
    clf = make().fit(X, y)
    there = np.swapaxes(X, 1, 2)
    np.testing.assert_array_equal(clf.predict_proba(xlstm.from_channels_first(there)), clf.predict_proba(X))


def test_features_are_brought_to_one_scale():
    X, y = truth.raised_channel(40)
    moved = 1000 * X * [1, 10, 100] + [5, -3, 1e4]
    settings = {"dtype": "float64", "max_iter": 3}
    np.testing.assert_allclose(make(**settings).fit(moved, y).loss_curve_, make(**settings).fit(X, y).loss_curve_)
    raw = [make(**settings, standardize=False).fit(x, y).loss_curve_ for x in (X, moved)]
    assert raw[0] != raw[1]


def test_a_constant_feature_and_enormous_numbers_are_scaled():
    X, y = truth.raised_channel(20)
    X = X.copy()
    X[:, :, 1] = 7.0
    assert np.isfinite(make().fit(X, y).predict_proba(X)).all()
    np.testing.assert_allclose(make().fit(1e300 * X, y).predict_proba(1e300 * X), make().fit(X, y).predict_proba(X),
                               atol=1e-5)  # fmt: skip


def test_the_validation_part_is_no_part_of_training(monkeypatch):
    """Neither its values nor its labels change anything but the validation curves: no scaling, no vocabulary."""
    split = truth.Split(monkeypatch)
    X, y = truth.raised_channel(40)
    settings = {"hidden_size": 3, "max_iter": 3, "n_iter_no_change": 9, "early_stopping": True, "random_state": 0}
    first = make(**settings).fit(X, y)
    changed = X.copy()
    changed[split.aside] = 1e3 * changed[split.aside] + 50
    second = make(**settings).fit(changed, y)
    assert first.loss_curve_ == second.loss_curve_
    assert first.validation_loss_curve_ != second.validation_loss_curve_

    texts, labels = truth.last_letter(40, letters="ab")
    first = make(**settings).fit(texts, labels)
    for row in split.aside:
        texts[row] += "z" + texts[row]
    second = make(**settings).fit(texts, labels)
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(second.predict_proba(["za", "bz"]), second.predict_proba(["?a", "b?"]))


def test_input_is_not_written_to():
    X, y = truth.raised_channel(12)
    weights = np.ones(12)
    for array in (X, y, weights):
        array.setflags(write=False)
    clf = make(class_weight="balanced", early_stopping=True, validation_fraction=0.3).fit(X, y, weights)
    clf.set_params(class_weight=None).partial_fit(X, y, sample_weight=weights)
    clf.predict(X)
    clf.score(X, y, weights)
    clf.stream().feed(X[0])


# ---------------------------------------------------------------- labels

LABELS = {
    "strings": (["no", "yes"], "U3"),
    "strings of several lengths": (["a", "longer"], "U6"),
    "objects": (np.array(["no", "yes"], dtype=object), "U3"),
    "integers": ([3, -7], "i8"),
    "small integers": (np.array([3, 200], dtype=np.uint8), "u1"),
    "booleans": ([False, True], "?"),
    "booleans in objects": (np.array([False, True], dtype=object), "?"),
    "whole floats": ([0.0, 2.0], "f8"),
    "float32": (np.array([-1.0, 1.0], dtype=np.float32), "f4"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_type_come_back_as_they_were(kind):
    two, dtype = LABELS[kind]
    texts, letters = truth.last_letter(60, letters="ab")
    y = np.asarray(two)[[int(letter == "b") for letter in letters]]
    clf = make(max_iter=25, learning_rate_init=0.03).fit(texts, y)
    assert clf.classes_.tolist() == sorted(np.asarray(two).tolist())
    assert clf.classes_.dtype == clf.predict(texts).dtype == np.dtype(dtype)
    assert clf.score(texts, y) >= 0.95
    assert (clf.predict(texts) == y).mean() == clf.score(texts, y)
    clf.partial_fit(texts, y.tolist())


def test_probabilities_are_in_the_order_of_the_classes():
    X, y = truth.last_letter(100)
    clf = make(hidden_size=8, max_iter=30, learning_rate_init=0.02).fit(X, y)
    p, z = clf.predict_proba(X), clf.decision_function(X)
    assert p.shape == z.shape == (100, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(clf.classes_[p.argmax(axis=1)], clf.predict(X))
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("labels", [["x", "y", "x"], ["x", "y", "z"]])
def test_the_logarithms_of_probabilities_are_right_where_these_underflow(labels):
    clf = make(dtype="float32").fit(TEXTS, labels)
    clf.fitted_state().model.parameters["head.weight"][...] *= 5000
    z = clf.decision_function(TEXTS).astype(np.float64)
    z = np.stack([np.zeros(3), z], axis=1) if z.ndim == 1 else z
    assert np.ptp(z, axis=1).max() > 110  # exp(-104) is 0 in float32
    assert (clf.predict_proba(TEXTS) == 0).any()
    shifted = z - z.max(axis=1, keepdims=True)
    expected = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_p = clf.predict_log_proba(TEXTS)
    assert log_p.dtype == np.float32
    np.testing.assert_allclose(log_p, expected, rtol=1e-6, atol=1e-12)


def test_two_classes_have_one_number_and_two_probabilities():
    X, y = truth.sign_of_sum(60)
    clf = make(max_iter=10, learning_rate_init=0.02).fit(X, y)
    p, z = clf.predict_proba(X), clf.decision_function(X)
    assert p.shape == (60, 2)
    assert z.shape == (60,)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-4)
    np.testing.assert_array_equal(clf.predict(X), (z > 0).astype(int))


def test_score_is_accuracy_weighted():
    X, y = truth.last_letter(40)
    clf = make().fit(X, y)
    right = clf.predict(X) == np.array(y)
    weights = np.linspace(0, 1, 40)
    assert clf.score(X, y) == pytest.approx(right.mean())
    assert clf.score(X, y, sample_weight=weights) == pytest.approx((weights * right).sum() / weights.sum())


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("kind", ["texts", "series"])
def test_a_prediction_does_not_depend_on_the_other_rows(kind, dtype, tolerance):
    X, y = truth.last_letter(30) if kind == "texts" else truth.sign_of_sum(30)
    clf = make(dtype=dtype, bidirectional=True, num_layers=2).fit(X, y)
    together = clf.predict_proba(X)
    assert together.dtype == dtype
    for chosen in ([0], [5, 3], list(range(30))[::-1]):
        np.testing.assert_allclose(clf.predict_proba([X[k] for k in chosen]), together[chosen], atol=tolerance)


def test_predictions_are_those_of_plain_loops():
    X, y = truth.sign_of_sum(20)
    clf = make(bidirectional=True, num_layers=2, dtype="float64").fit(X, y)
    z = truth.logits("lstm", truth.parameters_of(clf), truth.standardised(X))
    np.testing.assert_allclose(clf.decision_function(X), z[:, 0], rtol=1e-10)


def test_predicting_changes_nothing():
    X, y = truth.last_letter(20)
    clf = make(dropout=0.5, num_layers=2).fit(X, y)
    before = truth.whole_state(clf)
    first = clf.predict_proba(X)
    clf.stream().feed(X[0])
    clf.score(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), first)
    assert truth.whole_state(clf) == before


# ---------------------------------------------------------------- what is refused

TEXTS, SERIES, SQUARE = ["ab", "ba", "b"], [np.ones((2, 2)), np.ones((3, 2)), np.ones((1, 2))], np.ones((3, 4))
BAD_X = {
    "an empty text": (["ab", "", "b"], ValueError, r"row 1\b"),
    "an empty list of words": ([["a"], ["b"], []], ValueError, r"row 2\b"),
    "an empty series": ([SERIES[0], np.ones((0, 2)), SERIES[2]], ValueError, r"row 1\b"),
    "NaN in a series": ([*SERIES[:2], np.array([[1, np.nan]])], ValueError, r"row 2\b.*NaN"),
    "infinity in a series": ([SERIES[0], np.array([[1, -np.inf]]), SERIES[2]], ValueError, r"row 1\b"),
    "NaN in an array": (np.where(np.arange(12).reshape(3, 4) == 6, np.nan, 1.0), ValueError, r"row 1\b.*NaN"),
    "other features": ([SERIES[0], np.ones((3, 1)), SERIES[2]], ValueError, r"row 1\b.*features"),
    "other dimensions": ([SERIES[0], np.ones(3), SERIES[2]], ValueError, r"row 1\b"),
    "text among numbers": ([SERIES[0], "ab", SERIES[2]], TypeError, r"row (0|1)\b"),
    "a number among texts": (["ab", 3, "b"], TypeError, r"row 1\b"),
    "a number among words": ([["a"], ["b", 3], ["c"]], TypeError, r"row 1\b.*3"),
    "None among texts": (["ab", "b", None], TypeError, r"row 2\b"),
    "no rows": ([], ValueError, "empty"),
    "no rows in an array": (np.ones((0, 4)), ValueError, "empty"),
    "one text alone": ("abc", TypeError, "list"),
    "four dimensions": (np.ones((3, 2, 2, 2)), ValueError, r"\(3, 2, 2, 2\)"),
    "one dimension": (np.ones(3), ValueError, r"1D|\(3,\)"),
    "complex numbers": (np.ones((3, 4)) * 1j, ValueError, "[Cc]omplex"),
    "no sequence": (3, TypeError, "int"),
    "ragged inside": ([[[1], [1, 2]], [[1]], [[1]]], ValueError, r"row 0\b"),
}
BAD_Y = {
    "too few": ([0, 1], r"3 sequences.*2 labels"),
    "too many": ([0, 1, 0, 1], r"3 sequences.*4 labels"),
    "one class": ([1, 1, 1], r"1\b.*class"),
    "None": (None, "y"),
    "NaN": ([0.0, np.nan, 1.0], r"1\b.*nan"),
    "fractions": ([0.5, 1.0, 2.0], "[Uu]nknown label type"),
    "None among them": (["a", None, "b"], r"y\[1\]"),
    "mixed": (np.array(["a", 1, "b"], dtype=object), "mixes"),
    "two columns of no flags": (np.array([[0, 2], [1, 0], [1, 1]]), r"y\[0, 1\] is 2: a y of several columns"),
    "three dimensions": (np.zeros((3, 2, 2)), r"\(3, 2, 2\)"),
}
BAD_WEIGHTS = {
    "too few": ([1, 1], r"sample_weight.*\(2,\)"),
    "negative": ([1, -1, 1], r"sample_weight\[1\]"),
    "NaN": ([1, 1, np.nan], r"sample_weight\[2\]"),
    "all zero": ([0, 0, 0], "zero"),
}
BAD_SETTINGS = [
    ("cell", "gated"), ("solver", "lbfgs"), ("learning_rate", "adaptive"), ("encoding", "bytes"), ("init", "zeros"),
    ("dtype", "float16"), ("kernels", "fast"), ("device", "tpu"),
    ("hidden_size", 0), ("hidden_size", 2.5), ("num_layers", 0), ("embedding_size", 0), ("max_iter", 0),
    ("max_iter", 1.5), ("batch_size", 0), ("batch_size", "all"), ("n_iter_no_change", 0), ("warmup", -1),
    ("dropout", 1.0), ("dropout", -0.1), ("learning_rate_init", 0), ("learning_rate_init", -1.0),
    ("learning_rate_init", float("nan")), ("learning_rate_init", float("inf")), ("alpha", -1), ("momentum", 1.0),
    ("beta_1", 1.0), ("beta_2", -0.1), ("epsilon", 0), ("validation_fraction", 0), ("validation_fraction", 1.0),
    ("tol", -1), ("max_grad_norm", 0), ("max_grad_norm", -1.0), ("max_grad_norm", float("nan")),
    ("class_weight", "equal"), ("class_weight", {"q": 1.0}), ("class_weight", {0: -1.0}), ("class_weight", 3),
    ("random_state", -1), ("random_state", "seed"),
]  # fmt: skip


def refused(clf: xlstm.SequenceClassifier, error: Any, match: str, *arguments: Any) -> None:
    """`fit` raises, and leaves a fitted classifier as it was, an unfitted one unfitted."""
    fitted = hasattr(clf, "classes_")
    before = truth.whole_state(clf) if fitted else None
    with pytest.raises(error, match=f"(?s){match}"):
        clf.fit(*arguments)
    assert hasattr(clf, "classes_") == fitted
    if fitted:
        assert truth.whole_state(clf) == before


@pytest.mark.parametrize("name", BAD_X)
def test_bad_sequences_are_named_by_their_row_and_change_nothing(name):
    X, error, match = BAD_X[name]
    refused(make(embedding_size=2), error, match, X, [0, 1, 0])
    old = make().fit(TEXTS, [0, 1, 0])
    refused(old, error, match, X, [0, 1, 0])
    with pytest.raises(error, match=match):
        make().partial_fit(X, [0, 1, 0])
    if name not in ("no rows", "no rows in an array"):
        series = make().fit(SERIES, [0, 1, 0])
        with pytest.raises(error):
            (old if "text" in name or "word" in name else series).predict(X)


@pytest.mark.parametrize("name", BAD_Y)
def test_bad_labels_are_refused(name):
    y, match = BAD_Y[name]
    refused(make(), ValueError, match, TEXTS, y)
    refused(make().fit(TEXTS, [0, 1, 0]), ValueError, match, TEXTS, y)


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_refused(name):
    weights, match = BAD_WEIGHTS[name]
    refused(make().fit(TEXTS, [0, 1, 0]), ValueError, match, TEXTS, [0, 1, 0], weights)


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_bad_settings_are_named(name, value):
    clf = make()
    clf.set_params(**{name: value})
    match = "seed" if name == "random_state" else name
    with pytest.raises((ValueError, TypeError), match=match):
        clf.fit(TEXTS, [0, 1, 0])
    assert not hasattr(clf, "classes_")


@pytest.mark.parametrize("value", [("init", "foo"), ("kernels", "nonsense"), ("device", "tpu"), ("verbose", "yes")])
def test_a_bad_setting_of_a_fitted_classifier_is_not_saved(value, tmp_path):
    name, wrong = value
    clf = make(max_iter=1).fit(TEXTS, [0, 1, 0])
    clf.set_params(**{name: wrong})
    for use in (lambda: clf.save(tmp_path / "model.xlstm"), lambda: clf.partial_fit(TEXTS, [0, 1, 0])):
        with pytest.raises(ValueError, match=f"{name} must be .*got '{wrong}'"):
            use()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verbose", [0, 2, np.bool_(False), np.int64(1)])
def test_verbose_may_be_a_number(verbose, capsys, tmp_path):
    clf = make(max_iter=1, verbose=verbose).fit(TEXTS, [0, 1, 0])
    assert capsys.readouterr().err.count("epoch") == bool(verbose)
    clf.save(tmp_path / "model.xlstm")
    assert xlstm.load(tmp_path / "model.xlstm").verbose == verbose


def test_compiled_kernels_are_used_or_an_error():
    clf = make(kernels="compiled")
    if backends.find("lstm", backends.select("cpu"), "float32", "auto").kernels == "reference":
        with pytest.raises(RuntimeError, match="kernels"):
            clf.fit(TEXTS, [0, 1, 0])
    else:
        assert clf.fit(TEXTS, [0, 1, 0]).kernels_ != "reference"


@pytest.mark.parametrize("standardize", [True, False])
def test_numbers_beyond_the_dtype_are_named_by_their_row_or_read(standardize):
    """Never a NaN for an answer: 1e300 is no float32."""
    X, y = truth.sign_of_sum(10)
    clf = make(standardize=standardize).fit(X, y)
    large = [*X[:3], 1e300 * X[3], *X[4:]]
    for call in (clf.predict_proba, lambda X: make(standardize=standardize).fit(X, y).predict_proba(X)):
        try:
            p = call(large)
        except ValueError as error:
            message = str(error)
        else:
            message = "row 3" if np.isfinite(p).all() else "not finite"
        assert "row 3" in message


def test_unknown_labels_are_named_by_their_row():
    clf = make().fit(TEXTS, ["x", "y", "x"])
    before = truth.whole_state(clf)
    for call in (clf.partial_fit, clf.score, clf.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=r"row 1\b.* 'z'"):
            call(TEXTS, ["x", "z", "x"])
    clf.set_params(warm_start=False)
    assert truth.whole_state(clf) == before


def test_what_was_trained_on_one_kind_refuses_the_others():
    fitted = {
        "characters": make().fit(TEXTS, [0, 1, 0]),
        "words": make().fit([["to", "be"], ["or"], ["not"]], [0, 1, 0]),
        "integers": make(encoding="tokens").fit([[1, 2], [3], [1]], [0, 1, 0]),
        "series": make().fit(SERIES, [0, 1, 0]),
    }
    other = {"characters": SERIES, "words": TEXTS, "integers": TEXTS, "series": TEXTS}
    for kind, clf in fitted.items():
        with pytest.raises(ValueError, match=kind):
            clf.predict(other[kind])
        with pytest.raises(ValueError, match=kind):
            clf.partial_fit(other[kind], [0, 1, 0])
    with pytest.raises(ValueError, match="feature"):
        fitted["series"].predict([np.ones((2, 3))])
    columns = make().fit(SQUARE * np.arange(3)[:, None], [0, 1, 0])
    with pytest.raises(ValueError, match=r"5.*4"):
        columns.predict(np.ones((2, 5)))


def test_before_fit_there_is_nothing_to_predict_with():
    for call in (
        lambda clf: clf.predict(TEXTS),
        lambda clf: clf.predict_proba(TEXTS),
        lambda clf: clf.decision_function(TEXTS),
        lambda clf: clf.score(TEXTS, [0, 1, 0]),
        lambda clf: clf.stream(),
        lambda clf: clf.to("cpu"),
        lambda clf: clf.save("nowhere.xlstm"),
    ):
        with pytest.raises(ValueError, match="not fitted yet"):
            call(make())


# ---------------------------------------------------------------- settings and copies


def test_settings_are_scikit_learns():
    clf = xlstm.SequenceClassifier()
    names = set(clf.get_params())
    assert names >= {
        "cell", "hidden_size", "num_layers", "bidirectional", "dropout", "solver", "alpha", "batch_size",
        "learning_rate_init", "max_iter", "tol", "early_stopping", "validation_fraction", "n_iter_no_change",
        "warm_start", "random_state", "verbose", "class_weight", "device", "kernels", "momentum", "beta_1", "beta_2",
        "epsilon", "max_grad_norm", "encoding", "embedding_size", "dtype", "init",
    }  # fmt: skip
    assert clf.get_params()["max_iter"] is None
    assert clf.set_params(hidden_size=5, solver="sgd") is clf
    assert (clf.hidden_size, clf.get_params(deep=False)["solver"]) == (5, "sgd")
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        clf.set_params(hidden_size=6, hidden_layer_sizes=7)
    assert clf.hidden_size == 5
    assert repr(clf) == "SequenceClassifier(hidden_size=5, solver='sgd')"
    assert repr(xlstm.SequenceClassifier()) == "SequenceClassifier()"
    assert xlstm.SequenceClassifier(**clf.get_params()).get_params() == clf.get_params()


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("not shown")


def test_notebooks_show_a_table_or_scikit_learns_diagram(monkeypatch):
    clf = make(class_weight={"<b>": 2.0, "a&b": 1.0})
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "sklearn", raising=False)
        text = clf._repr_html_()
        assert "sklearn" not in sys.modules
        assert make(class_weight=Unshowable())._repr_html_() is None
        assert "<td>all settings are the defaults</td>" in xlstm.SequenceClassifier()._repr_html_()
    assert text.startswith(
        "<table><caption>SequenceClassifier</caption><tr><th>hidden_size</th><td><code>4</code></td>"
    )
    assert "&lt;b&gt;" in text
    assert "a&amp;b" in text
    assert "<b>" not in text
    assert "cell" not in text
    root = xml.etree.ElementTree.fromstring(text)
    shown = {row[0].text: row[1][0].text for row in root.iter("tr")}
    assert shown == {"hidden_size": "4", "max_iter": "2", "device": "'cpu'", "random_state": "0",
                     "class_weight": repr(clf.class_weight)}  # fmt: skip

    fitted = make().fit(TEXTS, [0, 1, 0])
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "sklearn", raising=False)
        tables = xml.etree.ElementTree.fromstring(f"<div>{fitted._repr_html_()}</div>")
    trained = {row[0].text: row[1][0].text for row in tables[1].iter("tr")}
    assert trained["answers"] == "2 classes: 0, 1"
    assert trained["epochs"] == "2"
    assert trained["loss"] == f"{fitted.loss_:.4g}"
    count = fitted.fitted_state().model.parameters.flat.size
    assert trained["network"] == f"lstm, 1 layer of 4; {count:,} parameters, float32"

    sklearn = peer("sklearn")
    assert "<caption>trained</caption>" in fitted._repr_html_()
    for estimator in (clf, fitted):
        assert "sk-estimator" in estimator._repr_html_()
        assert html.escape(repr(estimator)) in estimator._repr_html_()
    with sklearn.config_context(display="text"):
        assert clf._repr_html_() is None
    monkeypatch.setattr("sklearn.utils.estimator_html_repr", Unshowable().__repr__)
    assert clf._repr_html_() == text
    assert make(class_weight=Unshowable())._repr_html_() is None


def test_init_keeps_what_it_is_given():
    weights = {0: 1.0}
    clf = xlstm.SequenceClassifier(class_weight=weights, hidden_size=-1, cell="anything")
    assert clf.class_weight is weights
    assert clf.hidden_size == -1
    assert clf.fit.__doc__


def test_attributes_after_fit():
    X, y = truth.raised_channel(20)
    clf = make()
    assert clf.fit(X, y) is clf
    assert clf.n_features_in_ == 3
    assert (clf.device_, clf.n_iter_, len(clf.loss_curve_), len(clf.accuracy_curve_)) == ("cpu", 2, 2, 2)
    assert clf.kernels_
    assert clf.loss_ == clf.loss_curve_[-1]
    assert make().fit(X[:, :, 0], y).n_features_in_ == 6
    assert make().fit([x[:, :2] for x in X], y).n_features_in_ == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))])
@pytest.mark.parametrize("kind", ["texts", "series"])
def test_copies_and_pickles_predict_and_train_alike(kind, copied):
    X, y = truth.last_letter(20) if kind == "texts" else truth.sign_of_sum(20)
    clf = make(dropout=0.2, num_layers=2, embedding_size=3).fit(X, y)
    before = truth.whole_state(clf)
    twin = copied(clf)
    assert truth.whole_state(twin) == before
    assert twin.get_params() == clf.get_params()
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    twin.partial_fit(X, y)
    assert truth.whole_state(clf) == before
    clf.partial_fit(X, y)
    assert truth.whole_state(twin) == truth.whole_state(clf) != before
    assert twin.loss_curve_ == clf.loss_curve_
    unfitted = copied(make(hidden_size=7))
    assert unfitted.get_params() == make(hidden_size=7).get_params()


def test_to_gives_a_copy():
    X, y = truth.last_letter(20)
    clf = make().fit(X, y)
    before = truth.whole_state(clf)
    there = clf.to("cpu")
    assert there is not clf
    assert there.device_ == "cpu"
    np.testing.assert_array_equal(there.predict_proba(X), clf.predict_proba(X))
    there.partial_fit(X, y)
    assert truth.whole_state(clf) == before
    clf.partial_fit(X, y)
    np.testing.assert_array_equal(there.predict_proba(X), clf.predict_proba(X))


def test_a_gpu_that_is_not_there_is_an_error_with_its_remedy(monkeypatch):
    X, y = truth.last_letter(20)
    clf = make().fit(X, y)
    before = truth.whole_state(clf)
    with machine(distributions=()):
        for call in (
            lambda: clf.to("cuda"),
            lambda: make(device="cuda").fit(X, y),
            lambda: make(device="cuda").partial_fit(X, y),
        ):
            with pytest.raises(RuntimeError, match=r"CuPy.*pip install"):
                call()
        monkeypatch.setenv("XLSTM_DEVICE", "cuda")
        with pytest.raises(RuntimeError, match=r"pip install"):
            make(device=None).fit(X, y)
        monkeypatch.setenv("XLSTM_DEVICE", "auto")
        assert make(device=None).fit(X, y).device_ == "cpu"
    assert truth.whole_state(clf) == before


# ---------------------------------------------------------------- going on


def test_partial_fit_is_one_more_epoch():
    X, y = truth.last_letter(40)
    settings = {"batch_size": 8, "dropout": 0.2, "num_layers": 2, "learning_rate": "constant"}
    whole, parts = make(**settings, max_iter=4).fit(X, y), make(**settings, max_iter=2).fit(X, y)
    for epoch in (3, 4):
        assert parts.partial_fit(X, y) is parts
        assert len(parts.loss_curve_) == epoch
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_from_the_start():
    X, y = truth.last_letter(40)
    clf, whole = make(), make(max_iter=3, learning_rate="constant").fit(X, y)
    for _ in range(3):
        clf.partial_fit(X, y, classes=["a", "b", "c"])
    np.testing.assert_array_equal(clf.predict_proba(X), whole.predict_proba(X))
    assert clf.loss_curve_ == whole.loss_curve_


def test_partial_fit_may_see_one_class_at_a_time():
    clf = make()
    with pytest.raises(ValueError, match="classes"):
        clf.partial_fit(["ab", "b"], ["x", "x"])
    clf.partial_fit(["ab", "b"], ["x", "x"], classes=["z", "y", "x"])
    assert clf.classes_.tolist() == ["x", "y", "z"]
    assert clf.predict_proba(["ab"]).shape == (1, 3)
    clf.partial_fit(["ba"], ["z"])
    clf.partial_fit(["ba"], ["y"], classes=["x", "y", "z"])
    with pytest.raises(ValueError, match="classes"):
        clf.partial_fit(["ba"], ["y"], classes=["x", "y"])
    with pytest.raises(ValueError, match=r"row 1\b.*'q'"):
        make().partial_fit(["ab", "b"], ["x", "q"], classes=["x", "y"])


def test_partial_fit_takes_weights():
    X, y = truth.last_letter(30)
    weights = np.linspace(0, 2, 30)
    clf = make(max_iter=1).fit(X, y, weights)
    part = make().partial_fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(clf.predict_proba(X), part.predict_proba(X))
    assert not np.array_equal(make().partial_fit(X, y).predict_proba(X), part.predict_proba(X))


def test_warm_start_goes_on_and_a_cold_one_begins_anew():
    X, y = truth.last_letter(60)
    clf = make(max_iter=10, learning_rate_init=0.02).fit(X, y)
    first, end = clf.loss_curve_[0], clf.loss_curve_[-1]
    again = copy.deepcopy(clf).fit(X, y)
    assert again.loss_curve_ == clf.loss_curve_
    warm = copy.deepcopy(clf).set_params(warm_start=True).fit(X, y)
    assert warm.n_iter_ == len(warm.loss_curve_) == 10
    assert warm.loss_curve_[0] < (first + end) / 2
    assert warm.loss_curve_[-1] < end
    # The encoding too is that of the first fit: a new letter stays unknown.
    warm.fit([text.replace("a", "q") for text in X], y)
    np.testing.assert_array_equal(warm.predict_proba(["q"]), warm.predict_proba(["?"]))
    fresh = make(warm_start=True, max_iter=10, learning_rate_init=0.02).fit(X, y)
    assert fresh.loss_curve_ == clf.loss_curve_


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
def test_a_stream_gives_the_probabilities_of_the_whole(cell, dtype, tolerance):
    settings = {"cell": cell, "dtype": dtype, "num_layers": 2}
    texts, letters = truth.last_letter(30)
    series, signs = truth.sign_of_sum(30)
    words = [list(text) for text in texts]
    integers = [np.array([ord(letter) for letter in text]) for text in texts]
    square = np.random.default_rng(0).standard_normal((30, 6))
    for X, y, more in (
        (texts, letters, {}),
        (words, letters, {"embedding_size": 3}),
        (integers, letters, {"encoding": "tokens"}),
        (series, signs, {}),
        (square, signs, {}),
        (square[:, :, None], signs, {}),
    ):
        clf = make(**settings, **more).fit(X, y)
        for n in (0, 7):
            row = X[n]
            for cuts in (range(1, len(row)), [1], []):  # step by step, in two parts, whole
                stream = clf.stream()
                parts = [row[a:b] for a, b in zip([0, *cuts], [*cuts, len(row)], strict=True) if a < b]
                for part in parts:
                    p = stream.feed(part)
                np.testing.assert_allclose(p, clf.predict_proba(X[n : n + 1])[0], atol=tolerance)


@pytest.mark.parametrize("embedding_size", [None, 3])
def test_a_prepared_classifier_is_the_classifier_frozen(embedding_size):
    texts = ["abba", "b", "ab", "bbbab", "a", "ba"]
    labels = ["yes", "no", "no", "yes", "no", "yes"]
    clf = make(embedding_size=embedding_size, max_iter=3).fit(texts, labels)
    prepared = clf.prepare()
    p, predicted = clf.predict_proba(texts), clf.predict(texts)
    np.testing.assert_allclose(prepared(texts), p, rtol=1e-6)
    np.testing.assert_array_equal(prepared.predict(texts), predicted)
    stream = prepared.stream()
    for letter in "abba":
        last = stream.feed(letter)
    np.testing.assert_allclose(last, p[0], rtol=1e-5)
    clf.partial_fit(texts, labels)
    assert not np.array_equal(clf.predict_proba(texts), p)
    np.testing.assert_allclose(prepared(texts), p, rtol=1e-6)
    np.testing.assert_array_equal(prepared.predict(texts), predicted)


@pytest.mark.parametrize("labels", [["yes", "no"], [3, 7, 5]])
def test_a_prepared_classifier_answers_all_that_the_classifier_does(labels):
    X = truth.random_texts(30)
    y = np.array(labels)[[len(text) % len(labels) for text in X]]
    clf = make(max_iter=3).fit(X, y)
    prepared, weights = clf.prepare(), np.linspace(0, 1, 30)
    for name in ("predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_allclose(getattr(prepared, name)(X), getattr(clf, name)(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(prepared.predict(X), clf.predict(X))
    assert prepared.score(X, y) == clf.score(X, y) == np.mean(clf.predict(X) == y)
    assert prepared.score(X, y, sample_weight=weights) == pytest.approx(
        np.average(clf.predict(X) == y, weights=weights)
    )
    np.testing.assert_array_equal(prepared.classes_, sorted(labels))
    with pytest.raises(ValueError, match="row 0 has the label"):
        prepared.score(X, [{"yes": "maybe", 3: 99}[labels[0]], *y[1:]])
    assert repr(prepared) == "<Prepared SequenceClassifier(cell='lstm', hidden_size=4, num_layers=1) on cpu>"
    before = prepared.predict_proba(X)
    clf.partial_fit(X, y)
    np.testing.assert_array_equal(prepared.predict_proba(X), before)


@pytest.mark.parametrize("labels", [["yes", "no"], [3, 7, 5]])
def test_a_stream_says_its_answer_and_what_it_is(labels):
    X = truth.random_texts(30, longest=7)
    y = np.array(labels)[[len(text) % len(labels) for text in X]]
    clf = make(max_iter=20, hidden_size=5, learning_rate_init=0.1, learning_rate="constant").fit(X, y)
    assert len(set(clf.predict(X))) > 1
    for source in (clf, clf.prepare()):
        stream = source.stream()
        np.testing.assert_array_equal(stream.classes_, sorted(labels))
        about = "<Stream of SequenceClassifier(cell='lstm', hidden_size=5, num_layers=1): "
        assert repr(stream) == f"{about}0 steps fed>"
        with pytest.raises(ValueError, match="fed nothing yet"):
            stream.predict()
        for n in range(1, 8):
            stream.feed("abcabca"[n - 1])
            assert stream.predict() == clf.predict(["abcabca"[:n]])[0]
            assert repr(stream) == f"{about}{n} step{'s' * (n > 1)} fed>"
        answer = stream.predict()
        with pytest.raises(ValueError, match="empty"):
            stream.feed("")
        assert (stream.predict(), repr(stream)) == (answer, f"{about}7 steps fed>")


def test_a_prepared_classifier_of_series():
    X, y = truth.sign_of_sum(20)
    clf = make(max_iter=3).fit(X, y)
    np.testing.assert_allclose(clf.prepare()(X), clf.predict_proba(X), rtol=1e-6)
    with pytest.raises(ValueError, match="trained on series, got characters"):
        clf.prepare()(["ab"])


def test_a_stream_is_one_sequence_of_its_own():
    X, y = truth.last_letter(30)
    clf = make().fit(X, y)
    one, two = clf.stream(), clf.stream()
    expected = clf.predict_proba(["ab", "c"])
    one.feed("a")
    two.feed("c")
    np.testing.assert_allclose(one.feed("b"), expected[0], atol=1e-6)
    clf.partial_fit(X, y)  # a stream goes on as the classifier was when it began
    again = clf.stream()
    assert not np.allclose(again.feed("ab"), expected[0], atol=1e-9)
    with pytest.raises(ValueError, match="empty"):
        two.feed("")
    with pytest.raises(ValueError, match="characters"):
        two.feed([1.0])
    old = make().fit(X, y).stream()
    old.feed("c")
    np.testing.assert_array_equal(two.feed("a"), old.feed("a"))  # what was refused left no trace


def test_no_stream_reads_backwards():
    X, y = truth.last_letter(10)
    with pytest.raises(ValueError, match="bidirectional"):
        make(bidirectional=True).fit(X, y).stream()


# ---------------------------------------------------------------- without scikit-learn


def test_it_works_without_scikit_learn():
    program = """
        import copy, pickle, sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("sklearn", "tqdm", "pandas", "scipy"):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Blocked())
        import numpy as np
        import xlstm

        X, y = ["ab", "ba", "b", "aa"] * 5, [1, 0, 1, 0] * 5
        clf = xlstm.SequenceClassifier(hidden_size=4, max_iter=3, random_state=0, early_stopping=True)
        try:
            clf.predict(X)
        except ValueError as error:
            assert "not fitted yet" in str(error), error
        else:
            raise SystemExit("an unfitted classifier predicts")
        clf.fit(X, y, sample_weight=np.ones(20))
        clf.partial_fit(X, y)
        assert clf.predict_proba(X).shape == (20, 2)
        assert 0 <= clf.score(X, y) <= 1
        for twin in (copy.deepcopy(clf), pickle.loads(pickle.dumps(clf)), clf.to("cpu")):
            assert (twin.predict(X) == clf.predict(X)).all()
        assert repr(clf.set_params(hidden_size=5)).startswith("SequenceClassifier(hidden_size=5")
        assert xlstm.SequenceClassifier(**clf.get_params()).get_params() == clf.get_params()
        clf.stream().feed("ab")
        assert clf._repr_html_().startswith("<table>")
        assert callable(clf.set_fit_request)
        np.testing.assert_allclose(np.exp(clf.prepare().predict_log_proba(X)), clf.predict_proba(X), rtol=1e-5)
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("fine", 0), done.stderr


def test_an_unfitted_classifier_is_a_value_error_and_scikit_learns():
    exceptions = peer("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError):
        make().predict(TEXTS)


# ---------------------------------------------------------------- with scikit-learn

ESTIMATOR = {"hidden_size": 6, "max_iter": 15, "learning_rate_init": 0.03, "random_state": 0, "device": "cpu"}


def test_check_estimator():
    """Every check of scikit-learn; all that fail are listed."""
    results = checked_by_sklearn(xlstm.SequenceClassifier(**ESTIMATOR), REPEATED)
    assert sum(result["status"] == "passed" for result in results) >= 50


def test_tags_and_clone():
    base, utils = peer("sklearn.base"), peer("sklearn.utils")
    clf = make(class_weight={"a": 2.0}).fit(*truth.last_letter(20))
    twin = base.clone(clf)
    assert twin.get_params() == clf.get_params()
    assert not hasattr(twin, "classes_")
    assert base.is_classifier(clf)
    tags = utils.get_tags(clf).input_tags
    assert tags.two_d_array
    assert tags.three_d_array
    assert not utils.get_tags(clf).no_validation


@pytest.fixture
def routing():
    """Metadata routing enabled, for the time of a test."""
    sklearn = peer("sklearn")
    with sklearn.config_context(enable_metadata_routing=True):
        yield sklearn


def scikit_learns() -> Any:
    """One of its own classifiers whose methods take what ours take."""
    return peer("sklearn.naive_bayes").GaussianNB()


def test_requests_are_those_of_scikit_learns_own_classifiers(routing):
    clone = peer("sklearn.base").clone
    kinds = [make(), scikit_learns()]

    def requests(estimator: Any) -> Any:
        return [repr(each.get_metadata_routing()) for each in (estimator, clone(estimator), copy.deepcopy(estimator))]

    assert requests(kinds[0]) == requests(kinds[1])
    for change in (
        lambda estimator: estimator.set_fit_request(sample_weight=True),
        lambda estimator: estimator.set_score_request(sample_weight="weights"),
        lambda estimator: estimator.set_partial_fit_request(classes=True),
        lambda estimator: estimator.set_partial_fit_request(sample_weight=False),
        lambda estimator: estimator.set_fit_request(),
        lambda estimator: type(estimator).set_fit_request(estimator, sample_weight=None),
    ):
        for estimator in kinds:
            assert change(estimator) is estimator
        assert requests(kinds[0]) == requests(kinds[1])
    assert requests(pickle.loads(pickle.dumps(kinds[0]))) == requests(kinds[1])
    twin = clone(kinds[0]).set_fit_request(sample_weight=True)
    assert requests(twin) != requests(kinds[0]) == requests(kinds[1])  # of each its own
    for estimator in kinds:
        for wrong, error in (({"weight": True}, TypeError), ({"sample_weight": "no name"}, ValueError)):
            with pytest.raises(error):
                estimator.set_fit_request(**wrong)
        with pytest.raises(TypeError):
            estimator.set_fit_request(True)
    assert requests(kinds[0]) == requests(kinds[1])
    for name in ("fit", "partial_fit", "score"):
        ours, theirs = (inspect.signature(getattr(each, f"set_{name}_request")).parameters for each in kinds)
        assert [(p.name, p.kind, p.default) for p in ours.values()] == [
            (p.name, p.kind, p.default) for p in theirs.values() if p.name != "self"
        ]


def test_requests_need_routing():
    peer("sklearn")
    for estimator in (make(), scikit_learns()):
        with pytest.raises(RuntimeError, match="only available when metadata routing is enabled"):
            estimator.set_fit_request(sample_weight=True)
        assert repr(estimator.get_metadata_routing()) == repr(scikit_learns().get_metadata_routing())


def test_weights_go_through_searches_and_cross_validation(routing):
    """Each fit is given the weights of its rows, each score too; without a request there is an error."""
    selection, exceptions = peer("sklearn.model_selection"), peer("sklearn.exceptions")
    X, y = truth.raised_channel(30)
    weights = np.arange(1.0, 31.0)
    seen: list[tuple[str, Any]] = []

    class Watched(xlstm.SequenceClassifier):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            seen.append(("fit", sample_weight))
            return super().fit(X, y, sample_weight)

        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
            seen.append(("score", sample_weight))
            return super().score(X, y, sample_weight)

    folds = selection.KFold(3)
    clf = Watched(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    found = selection.cross_validate(clf, X, y, cv=folds, params={"sample_weight": weights})["test_score"]
    asked, plain = seen.copy(), make()
    for k, (kept, aside) in enumerate(folds.split(X)):
        for (name, given), (expected, part) in zip(asked[2 * k :], (("fit", kept), ("score", aside)), strict=False):
            assert name == expected
            np.testing.assert_array_equal(given, weights[part])
        plain.fit(X[kept], y[kept], weights[kept])
        assert found[k] == plain.score(X[aside], y[aside], weights[aside])
    search = selection.GridSearchCV(clf, {"hidden_size": [2, 3]}, cv=folds)
    seen.clear()
    search.fit(X, y, sample_weight=weights)
    assert [name for name, _ in seen] == ["fit", "score"] * 6 + ["fit"]
    assert all(given is not None for _, given in seen)
    np.testing.assert_array_equal(seen[-1][1], weights)
    with pytest.raises(exceptions.UnsetMetadataPassedError, match="sample_weight"):
        selection.cross_validate(Watched(**QUICK), X, y, cv=folds, params={"sample_weight": weights})


PROBLEMS = {
    "texts": truth.last_letter,
    "ragged series": truth.sign_of_sum,
    "three dimensions": truth.raised_channel,
    "two dimensions": lambda n: (lambda X, y: (X[:, :, 0], y))(*truth.raised_channel(n)),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_cross_validation_pipelines_and_searches(problem):
    selection, pipeline = peer("sklearn.model_selection"), peer("sklearn.pipeline")
    X, y = PROBLEMS[problem](60)
    clf = xlstm.SequenceClassifier(**{**ESTIMATOR, "max_iter": 6})
    scores = selection.cross_val_score(clf, X, y, cv=3)
    assert scores.shape == (3,)
    assert (scores > 0.15).all()
    pipe = pipeline.Pipeline([("classifier", clf)])
    assert pipe.fit(X, y).score(X, y) == clf.fit(X, y).score(X, y)
    search = selection.GridSearchCV(pipe, {"classifier__hidden_size": [2, 6]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert search.best_params_["classifier__hidden_size"] in (2, 6)
    assert search.predict(X).shape == (60,)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_calibration_and_stacking(problem):
    calibration, ensemble = peer("sklearn.calibration"), peer("sklearn.ensemble")
    X, y = PROBLEMS[problem](60)
    clf = xlstm.SequenceClassifier(**{**ESTIMATOR, "max_iter": 4})
    calibrated = calibration.CalibratedClassifierCV(clf, cv=2).fit(X, y)
    p = calibrated.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    votes = ensemble.VotingClassifier([("a", clf), ("b", make())], voting="soft")
    assert votes.fit(X, y).predict(X).shape == (60,)
    stacked = ensemble.StackingClassifier([("a", clf)], cv=2).fit(X, y)
    assert stacked.predict(X).shape == (60,)


def test_what_a_search_found_can_be_saved(tmp_path):
    """Settings that come out of arrays are NumPy's numbers."""
    X, y = truth.last_letter(20)
    settings = {
        "hidden_size": np.int64(3), "num_layers": np.int32(1), "embedding_size": np.int64(2),
        "dropout": np.float32(0.25), "bidirectional": np.bool_(True), "max_iter": np.int64(1),
        "learning_rate_init": np.float32(0.01), "random_state": np.int64(3), "alpha": np.float64(0.1),
        "cell": np.str_("lstm"), "batch_size": np.int64(5), "max_grad_norm": np.float32(2.0), "warmup": np.int8(1),
        "class_weight": {np.str_("a"): np.float32(2)},
    }  # fmt: skip
    clf = make(**settings).fit(X, y)
    clf.save(tmp_path / "model.xlstm")
    np.testing.assert_array_equal(xlstm.load(tmp_path / "model.xlstm").predict_proba(X), clf.predict_proba(X))


# ---------------------------------------------------------------- settings and the state they meet


def test_numpys_numbers_are_numbers():
    """Grids are made of NumPy's float64, which would turn all that it touches into float64."""
    plain = {"alpha": 1e-3, "momentum": 0.9, "max_grad_norm": 0.5, "learning_rate_init": 0.01, "dropout": 0.2}
    results = []
    for kind in (float, np.float64, np.float32):
        settings = {name: kind(value) for name, value in plain.items()}
        if kind is np.float32:
            plain_32 = {name: float(value) for name, value in settings.items()}
            results.append(make(**plain_32).fit(TEXTS, [0, 1, 0]).predict_proba(TEXTS))
        results.append(make(**settings).fit(TEXTS, [0, 1, 0]).predict_proba(TEXTS))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[2], results[3])


@pytest.mark.parametrize(
    ("name", "value"),
    [("cell", "rnn"), ("hidden_size", 9), ("num_layers", 2), ("bidirectional", True), ("dropout", 0.5),
     ("embedding_size", 3), ("dtype", "float64")],
)  # fmt: skip
def test_going_on_with_another_model_is_refused(name, value):
    clf = make(warm_start=True).fit(TEXTS, [0, 1, 0])
    before = truth.whole_state(clf)
    clf.set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        clf.fit(TEXTS, [0, 1, 0])
    with pytest.raises(ValueError, match=name):
        clf.partial_fit(TEXTS, [0, 1, 0])
    clf.set_params(**{name: make(warm_start=True).get_params()[name]})
    assert truth.whole_state(clf) == before


def test_a_warm_up_goes_on_over_partial_fits(monkeypatch):
    from xlstm import optim

    rates = []
    step = optim.Optimizer.step
    monkeypatch.setattr(
        optim.Optimizer, "step", lambda self, p, g, rate, norm: (rates.append(rate), step(self, p, g, rate, norm))[1]
    )
    clf = make(learning_rate="cosine", warmup=6, learning_rate_init=0.06, batch_size=2)
    for _ in range(4):
        clf.partial_fit(["ab", "ba", "aa", "bb"], [0, 1, 0, 1])
    np.testing.assert_allclose(rates, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.06, 0.06])


def test_weights_of_a_score_are_checked():
    clf = make().fit(TEXTS, [0, 1, 0])
    for weights, match in (([1, 1], r"sample_weight"), ([0, 0, 0], "zero"), ([1, -1, 1], r"sample_weight\[1\]")):
        with pytest.raises(ValueError, match=match):
            clf.score(TEXTS, [0, 1, 0], sample_weight=weights)
    predicted = clf.predict(TEXTS)
    truth_0 = np.array([0, 1, 0])
    expected = np.average(predicted == truth_0, weights=[1, 2, 5])
    assert clf.score(TEXTS, truth_0, sample_weight=[1, 2, 5]) == pytest.approx(expected)


def test_a_warning_names_the_line_of_the_user():
    y = np.array([[0], [1], [0]])
    clf = make(warm_start=True)
    for call in (clf.fit, clf.partial_fit, clf.fit, clf.score):
        with pytest.warns(UserWarning, match="column-vector") as caught:
            call(TEXTS, y)
        assert [warning.filename for warning in caught] == [__file__]


def test_progress_is_told_of_each_epoch_and_is_no_setting(capsys):
    seen = []
    clf = make(max_iter=2, verbose=True)
    clf.progress = lambda epoch, epochs, history: seen.append((epoch, epochs, len(history.loss), list(history.scores)))
    clf.fit(TEXTS, [0, 1, 0])
    assert seen == [(1, 2, 1, ["accuracy"]), (2, 2, 2, ["accuracy"])]
    assert capsys.readouterr() == ("", "")
    assert "progress" not in clf.get_params()


def test_a_generator_of_ones_own_is_not_shared():
    mine = np.random.default_rng(0)
    clf = make(random_state=mine).fit(TEXTS, [0, 1, 0])
    twin = make(random_state=np.random.default_rng(0)).fit(TEXTS, [0, 1, 0])
    mine.random(100)
    for each in (clf, twin):
        each.partial_fit(TEXTS, [0, 1, 0])
    np.testing.assert_array_equal(clf.predict_proba(TEXTS), twin.predict_proba(TEXTS))


def test_one_column_of_texts_is_no_row_of_words():
    X = np.array([["ab"], ["ba"], ["aa"]], dtype=object)
    with pytest.raises(ValueError, match="one column of texts"):
        make().fit(X, [0, 1, 0])


# ---------------------------------------------------------------- readouts


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("readout", ["mean", "max", "attention", "final+max", "final+mean+max"])
def test_a_classifier_may_read_all_steps(readout, cell, tmp_path):
    """Whether a letter occurs anywhere: trained, checked, streamed letter by letter, saved and loaded."""
    X = truth.random_texts(120, letters="abcd", longest=9)
    y = ["has d" if "d" in text else "has none" for text in X]
    settings = {"hidden_size": 8, "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0, "device": "cpu"}
    clf = xlstm.SequenceClassifier(cell=cell, readout=readout, **settings).fit(X, y)
    assert clf.score(X, y) > 0.95
    assert any(name.startswith("readout.") for name in truth.parameters_of(clf)) == (readout == "attention")
    xlstm.check_gradients(clf)
    clf.save(tmp_path / "model.xlstm")
    again = xlstm.load(tmp_path / "model.xlstm", device="cpu")
    assert again.readout == readout
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    stream = again.prepare().stream()
    for letter in "abcdabca":
        p = stream.feed(letter)
    np.testing.assert_allclose(p, clf.predict_proba(["abcdabca"])[0], rtol=1e-4)
    again.set_params(readout="final", warm_start=True)
    with pytest.raises(ValueError, match=re.escape(f"readout is 'final', but the model to go on from has '{readout}'")):
        again.fit(X, y)


def test_a_readout_that_a_class_cannot_be_read_from_is_refused():
    for readout in ("steps", "last", None):
        clf = xlstm.SequenceClassifier(readout=readout)
        with pytest.raises(
            ValueError, match=r"readout must be one of \('final', 'mean', 'max', 'attention', 'final\+max', "
        ):
            clf.fit(["a", "b"], [0, 1])


# ---------------------------------------------------------------- how strings are cut


def test_a_string_is_cut_into_words():
    texts = ["a good  film", "not good", "so good\n", "bad", "a bad film", "not so bad"]
    y = ["yes", "yes", "yes", "no", "no", "no"]
    by_string = xlstm.SequenceClassifier(split="words", hidden_size=4, max_iter=3, random_state=0).fit(texts, y)
    by_list = xlstm.SequenceClassifier(hidden_size=4, max_iter=3, random_state=0).fit([t.split() for t in texts], y)
    assert np.array_equal(by_string.predict_proba(texts), by_list.predict_proba([t.split() for t in texts]))
    assert np.array_equal(by_string.predict_proba([t.split() for t in texts]), by_string.predict_proba(texts))
    stream = by_string.stream()
    for part in ("a", "good film"):
        probabilities = stream.feed(part)
    assert np.allclose(probabilities, by_string.predict_proba(["a good film"]), atol=1e-6)
    with pytest.raises(ValueError, match=r"trained on words, got characters.*split='words'"):
        by_list.predict(texts)
    assert np.array_equal(by_list.set_params(split="words").predict(texts), by_string.predict(texts))
    with pytest.raises(ValueError, match="row 1 of X"):
        by_string.predict(["good", " \n"])


def test_how_strings_are_cut_is_saved(tmp_path):
    clf = xlstm.SequenceClassifier(split="words", hidden_size=4, max_iter=2, random_state=0)
    clf.fit(["a b", "b", "c b"], [0, 1, 0]).save(tmp_path / "model")
    assert np.array_equal(xlstm.load(tmp_path / "model").predict_proba(["c b"]), clf.predict_proba(["c b"]))


def test_a_warm_start_keeps_its_precision():
    X, y = ["ab", "ba", "aab", "bba"], [0, 1, 0, 1]
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cpu", warm_start=True, precision="high")
    clf.fit(X, y).fit(X, y)
    clf.set_params(precision="bfloat16")
    with pytest.raises(ValueError, match="precision is 'bfloat16', but the model to go on from has 'high'"):
        clf.fit(X, y)
    with pytest.raises(ValueError, match=r"precision must be one of .*'highest'.* got 'low'"):
        clf.set_params(precision="low").fit(X, y)


def test_a_file_keeps_the_precision_of_its_model(tmp_path):
    """As it keeps its architecture: settings may have been changed after the training."""
    X, y = ["ab", "ba", "aab", "bba"], [0, 1, 0, 1]
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cpu", precision="high").fit(X, y)
    clf.set_params(precision="bfloat16").save(tmp_path / "model")
    loaded = xlstm.load(tmp_path / "model")
    assert (loaded.precision, loaded.fitted_state().model.precision) == ("bfloat16", "high")
    with pytest.raises(ValueError, match="precision is 'bfloat16', but the model to go on from has 'high'"):
        loaded.partial_fit(X, y)


@pytest.mark.parametrize("damage", ["low", 1, ["high"]])
def test_a_file_of_no_known_precision_is_damaged(damage, tmp_path):
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cpu").fit(["ab", "ba"], [0, 1])
    header, arrays = state.of(clf)
    header["precision"] = damage
    with pytest.raises(ValueError, match="its precision is"):
        state.restored(header, arrays)
    header["precision"] = None  # as in a file that was written before
    assert state.restored(header, arrays).fitted_state().model.precision == "highest"


def test_the_cpu_computes_in_full_whatever_is_allowed():
    X, y = ["ab", "ba", "aab", "bba"], [0, 1, 0, 1]
    made = [
        xlstm.SequenceClassifier(hidden_size=3, max_iter=2, device="cpu", random_state=0, precision=precision)
        .fit(X, y)
        .predict_proba(X)
        for precision in ("highest", "high", "bfloat16", "float16")
    ]
    for other in made[1:]:
        np.testing.assert_array_equal(other, made[0])
