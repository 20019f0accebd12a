"""Data that may be read in two ways: what is said of them, that nothing is said of others, and how to silence it."""

import warnings
from typing import Any

import numpy as np
import pytest

import xlstm

from ..peers import peer

RNG = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "ran", "off", "with", "its", "hat"]


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(hidden_size=3, max_iter=1, random_state=0, device="cpu", **settings)


def said(X: Any, y: Any, **settings: Any) -> list[str]:
    """What a fit says, and that it says it of the line that called it; the model is trained all the same."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = make(**settings).fit(X, y)
    assert len(clf.predict(X)) == len(y)
    doubts = [warning for warning in caught if warning.category is xlstm.AmbiguousDataWarning]
    assert all(warning.filename == __file__ for warning in doubts)
    return [str(warning.message) for warning in doubts]


def long_form(noise: float = 0.1, in_order: bool = False) -> Any:
    """(values, labels, numbers of the sequences) of a table with one time step a row."""
    kinds = np.arange(12) // 6 if in_order else np.arange(12) % 2
    t = np.linspace(0, 3, 25)[:, None]
    values = [np.sin(t + kind + np.arange(3)) + noise * RNG.standard_normal((25, 3)) for kind in kinds]
    return np.concatenate(values), np.repeat(kinds, 25), np.repeat(np.arange(12), 25)


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize("noise", [0.01, 0.1, 5.0])
def test_a_table_in_long_form(as_frame, noise):
    values, labels, _ = long_form(noise=noise)
    X = peer("pandas").DataFrame(values, columns=["x", "y", "z"]) if as_frame else values
    (message,) = said(X, labels)
    assert "each of the 300 rows of X was taken for a sequence of 3 steps with one feature" in message
    assert "X, y, ids = xlstm.from_long(table, id=..., time=..., label=...)" in message
    assert ("(x, y, z)" in message) == as_frame


def test_a_table_in_long_form_whose_labels_are_sorted():
    values, labels, _ = long_form(noise=0.01, in_order=True)
    (message,) = said(values, labels)
    assert "one step of a longer sequence" in message


def test_a_table_in_long_form_of_noise():
    """Nothing in the numbers tells it: the names of the columns do, which are no names of time steps."""
    table = peer("pandas").DataFrame(RNG.standard_normal((200, 2)), columns=["x", "z"])
    (message,) = said(table, np.repeat(["no", "yes"], 100))
    assert "its columns (x, z) are the steps" in message
    assert said(table.set_axis(["t0", "t1"], axis=1), np.repeat(["no", "yes"], 100)) == []


@pytest.mark.parametrize("part", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_a_rare_class_is_no_sign_of_runs(part):
    for _ in range(20):
        y = RNG.random(300) < part
        if y.any():
            assert said(RNG.standard_normal((300, 20)), y.astype(int)) == []


def test_numbers_of_any_size():
    for X in (1e20 * RNG.standard_normal((40, 3)).astype("float32"), -1e308 * RNG.random((40, 3)), np.zeros((40, 3))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make(standardize=True, dtype="float64").fit(X, np.arange(40) % 2)


def test_case_that_matters():
    (message,) = said(["US", "us", "it"] * 3, [1, 0, 0] * 3)
    assert message.startswith("'US' and 'us' have different labels, but upper and lower case are one to the model")
    assert "fold_case=False" in message
    assert len(said([["Go", "x"], ["go", "x"]], [1, 0])) == 1
    assert said(["US", "us"] * 3, [1, 0] * 3, fold_case=False) == []
    assert said(["US", "us", "it"] * 3, [1, 1, 0] * 3) == []
    assert said(["us", "us", "it"] * 3, [1, 0, 0] * 3) == []


def test_what_it_advises_for_a_table_in_long_form_works():
    pandas = peer("pandas")
    values, labels, ids = long_form()
    table = pandas.DataFrame(values, columns=["x", "y", "z"]).assign(id=ids, t=np.arange(len(ids)), label=labels)
    turned = table.sort_values(["id", "t"], ascending=[True, False])
    X, y, _ = xlstm.from_long(turned, id="id", time="t", label="label")
    np.testing.assert_array_equal(X.values, values)
    assert said(X, y) == []
    clf = make().set_params(max_iter=200).fit(X, y)
    assert clf.score(X, y) > 0.9
    assert clf.n_features_in_ == 3


def test_tables_of_sequences():
    """Nothing is said of wide tables: labels in any order or sorted, noise or curves, few rows or many."""
    n, time = 60, 12
    labels = RNG.integers(0, 3, n)
    curves = np.sin(np.linspace(0, 6, time) + labels[:, None]) + 0.3 * RNG.standard_normal((n, time))
    noise = RNG.standard_normal((n, 4))
    for X in (curves, noise, curves[:15], np.ones((n, 4))):
        for order in (np.arange(len(X)), np.argsort(labels[: len(X)], kind="stable")):
            assert said(X[order], labels[: len(X)][order]) == []


@pytest.mark.parametrize(
    ("X", "settings"),
    [
        ([["1.0", "2"], ["3.5"], ["-1e3", "0.5"], ["2", "2"]], {}),
        ([["1", "2"], ["3"], ["4"], ["2", "2"]], {}),
        (["1.2 -0.3 4", "0.5 1", "2.5", "1 2"], {}),
        (["1,2,3", "4,5", "7,8", "1,2"], {}),
        (["1.5; 2", "3;1", "0; 1", "2; 2"], {}),
        (["1.5", "2.25", "3.0", "0.1"], {}),
        (["1.2 0.3", "0.5 1", "2.5 1", "1 2"], {"split": "words"}),
    ],
)
def test_numbers_written_as_text(X, settings):
    (message,) = said(X, [0, 1, 0, 1], **settings)
    assert message.startswith("X holds numbers written as text, such as '")
    assert "a series" in message or "series pass numbers" in message


@pytest.mark.parametrize(
    ("X", "settings"),
    [
        (["0110", "1", "00", "101"], {}),  # characters, as in the parity of bits
        (["12", "345", "6", "78"], {}),
        (["1.2 a", "0.5", "2", "1"], {}),
        ([["1.0", "x"], ["2"], ["3"], ["4"]], {}),
        ([["nan", "inf"], ["nan"], ["inf"], ["nan"]], {}),  # words of an Indian bread, of a unit
        (["abc", "a", "b", "ba"], {}),
        ([[1, 2], [3], [2], [1]], {"encoding": "tokens"}),
        ([[1.0, 2.0], [3.0], [2.0], [1.0]], {}),
    ],
)
def test_texts_that_are_texts(X, settings):
    assert said(X, [0, 1, 0, 1], **settings) == []


def test_the_first_names_are_texts():
    from xlstm import data

    texts, labels = data.first_names()
    assert said(texts[:300], labels[:300]) == []


@pytest.mark.parametrize("kind", ["int64", "uint8", "float64"])
def test_numbers_as_classes(kind):
    X = [RNG.standard_normal((4, 2)) for _ in range(40)]
    (message,) = said(X, RNG.permutation(40).astype(kind))
    assert message.startswith("y holds 40 different numbers in 40 rows: each was taken for a class")
    assert said(X, (np.arange(40) % 20).astype(kind)) == []
    assert said(X, np.array([f"name {k}" for k in range(40)])) == []
    assert said(X[:20], np.arange(20).astype(kind)) == []  # as scikit-learn has it, of 20 rows nothing is said


def test_tags_as_classes():
    X = [["dogs", "see", "cats"], ["the", "dog", "sees", "it"], ["cats", "run"]]
    (message,) = said(X, ["NVN", "DNVN", "NV"])
    assert message.startswith("each label is as long as its sequence, such as 'NVN'")
    assert len(said(["abc", "abd", "bcd"], ["NVN", "VVN", "NNV"])) == 1
    assert said(["ab", "ba", "aa", "bb", "ab"], ["up", "no", "up", "no", "up"]) == []
    assert said(["a", "b"], ["x", "y"]) == []
    assert said(["abc", "ab", "b"], ["NVN", "NV", "NV"]) == []


def test_one_sequence_as_many():
    clf = make().fit([RNG.standard_normal((t, 1)) for t in (3, 4, 5, 6)], [0, 1, 0, 1])
    x = RNG.standard_normal((5, 1))
    for call in (clf.predict, clf.predict_proba, clf.prepare()):
        with pytest.warns(xlstm.AmbiguousDataWarning, match=r"^X of shape \(5, 1\) was taken for 5 sequences"):
            assert len(call(x)) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict([x])
        clf.predict(x[:, :, None])
        clf.predict(x[:1])
        clf.stream().feed(x)
        make().fit(x, [0, 1, 0, 1, 0]).predict(x)  # trained on sequences of one step


def test_only_the_first_part_is_doubted():
    clf = make()
    with pytest.warns(xlstm.AmbiguousDataWarning):
        clf.partial_fit([["1.5"], ["2"]], [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.partial_fit([["1.5"], ["2"]], [0, 1])


def test_warnings_can_be_silenced_and_made_errors():
    X, y = [["1.0"], ["2.0"]], [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=xlstm.AmbiguousDataWarning)
        make().fit(X, y)
    assert issubclass(xlstm.AmbiguousDataWarning, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("error", xlstm.AmbiguousDataWarning)
        clf = make()
        with pytest.raises(xlstm.AmbiguousDataWarning):
            clf.fit(X, y)
        assert not hasattr(clf, "classes_")  # as any other error, it leaves the estimator as it was


@pytest.mark.parametrize("form", [np.asarray, list])
def test_few_steps_of_many_features_may_have_their_channels_first(form):
    X, y = RNG.standard_normal((20, 3, 20)), [0, 1] * 10
    (message,) = said(form(X), y)
    assert "each sequence of X was taken for 3 steps of 20 features, (n, time, features)" in message
    assert "If it is 3 channels of 20 steps, (n, channels, time), pass xlstm.from_channels_first(X)" in message
    assert not said(xlstm.from_channels_first(X), y)


def test_other_arrays_have_their_steps_first():
    y = [0, 1] * 10
    assert not said(RNG.standard_normal((20, 20, 3)), y)
    assert not said(RNG.standard_normal((20, 5, 20)), y)
    assert not said([RNG.standard_normal((3 + k % 2, 40)) for k in range(20)], y)  # of several lengths


@pytest.mark.parametrize("encoding", ["auto", "tokens"])
def test_tokens_alone_may_be_the_steps_of_longer_sequences(encoding):
    y = [0, 1] * 10
    X: Any = [[k % 4] for k in range(20)] if encoding == "tokens" else [[word] for word in (WORDS * 2)[:20]]
    (message,) = said(X, y, encoding=encoding)
    assert message.startswith("each of the 20 sequences of X is one token alone")
    assert "xlstm.from_long(table, id=..., text=..., label=...)" in message
    assert not said([*X[:19], X[19] * 2], y, encoding=encoding)
    assert not said(X[:19], y[:19], encoding=encoding)
