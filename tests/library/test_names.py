"""Features are matched by name, through every entry, in whatever order they come."""

import copy
import itertools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.names import features_of, matched, names_of
from xlstm.sequences import read

from ..peers import peer

NAMES = ("a", "b", "c")
RNG = np.random.default_rng(0)
ROWS = [RNG.standard_normal((time, 3)) + np.array([0, 3, -3]) for time in (4, 6, 5, 3, 7, 4, 5, 6)]
LABELS = [0, 1, 0, 1, 0, 1, 0, 1]


def frame(values: Any, names: Any = NAMES) -> Any:
    """A pandas frame whose columns have these names in this order."""
    return peer("pandas").DataFrame(np.asarray(values), columns=list(NAMES))[list(names)]


def fields(values: Any, names: Any = NAMES) -> Any:
    """An array (time,) with these fields in this order."""
    array = np.empty(len(values), [(name, float) for name in names])
    for name in names:
        array[name] = np.asarray(values)[:, NAMES.index(name)]
    return array


def polars_frame(values: Any, names: Any = NAMES) -> Any:
    return peer("polars").DataFrame({name: np.asarray(values)[:, NAMES.index(name)] for name in names})


FORMS = {"pandas": frame, "fields": fields, "polars": polars_frame}
ORDERS = list(itertools.permutations(NAMES))


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(hidden_size=5, max_iter=4, random_state=0, **settings)


@pytest.fixture(scope="module")
def trained() -> xlstm.SequenceClassifier:
    """On plain arrays in the order of NAMES: what every table has to give."""
    return make().fit(ROWS, LABELS)


@pytest.fixture(scope="module", params=list(FORMS))
def form(request: pytest.FixtureRequest) -> Any:
    return FORMS[request.param]


@pytest.fixture(scope="module")
def named(form: Any) -> xlstm.SequenceClassifier:
    """On tables whose columns stand in the order of NAMES."""
    return make().fit([form(row) for row in ROWS], LABELS)


def in_all_orders(form: Any) -> list[Any]:
    """The rows as tables, each with its columns in another order."""
    return [form(row, ORDERS[k % 6]) for k, row in enumerate(ROWS)]


# Each entry gives probabilities (8, 2) for tables whose columns stand in any order: those of the plain arrays.
def loaded(clf: Any, X: Any, folder: Any) -> Any:
    clf.save(folder / "model")
    return xlstm.load(folder / "model").predict_proba(X)


def streamed(clf: Any, X: Any, folder: Any) -> Any:
    results = []
    for row in X:
        stream = clf.stream()
        stream.feed(row[:2])
        results.append(stream.feed(row[2:]))
    return results


ENTRIES = {
    "predict_proba": lambda clf, X, folder: clf.predict_proba(X),
    "a tuple": lambda clf, X, folder: clf.predict_proba(tuple(X)),
    "an array of objects": lambda clf, X, folder: clf.predict_proba(as_objects(X)),
    "decision_function": lambda clf, X, folder: expand(clf.decision_function(X)),
    "prepare": lambda clf, X, folder: clf.prepare()(X),
    "stream": streamed,
    "a prepared stream": lambda clf, X, folder: streamed(clf.prepare(), X, folder),
    "after save and load": loaded,
    "after pickle": lambda clf, X, folder: pickle.loads(pickle.dumps(clf)).predict_proba(X),
    "after deepcopy": lambda clf, X, folder: copy.deepcopy(clf).predict_proba(X),
    "after to": lambda clf, X, folder: clf.to("cpu").predict_proba(X),
}


def as_objects(X: list[Any]) -> Any:
    array = np.empty(len(X), object)
    for k, row in enumerate(X):
        array[k] = row
    return array


def expand(logits: Any) -> Any:
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("entry", list(ENTRIES))
def test_names_in_another_order(form, named, trained, entry, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ENTRIES[entry](named, in_all_orders(form), tmp_path)
    assert np.allclose(found, trained.predict_proba(ROWS), atol=1e-6)


def test_answers_and_scores_in_another_order(form, named, trained):
    assert np.array_equal(named.predict(in_all_orders(form)), trained.predict(ROWS))
    assert named.score(in_all_orders(form), LABELS) == trained.score(ROWS, LABELS)


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_training_rows_follow_the_first(form, trained, order):
    rows = [form(ROWS[0], order), *in_all_orders(form)[1:]]
    clf = make().fit(rows, LABELS)
    by_place = make().fit([row[:, [NAMES.index(name) for name in order]] for row in ROWS], LABELS)
    assert clf.feature_names_in_.tolist() == list(order)
    assert np.array_equal(clf.predict_proba(in_all_orders(form)), by_place.predict_proba(
        [row[:, [NAMES.index(name) for name in order]] for row in ROWS]
    ))  # fmt: skip


@pytest.mark.parametrize("through", ["partial_fit", "warm_start"])
def test_later_training_follows_the_first(form, through):
    def trained_twice(first: Any, second: Any) -> Any:
        clf = make(warm_start=True)
        if through == "partial_fit":
            clf.partial_fit(first, LABELS).partial_fit(second, LABELS)
        else:
            clf.fit(first, LABELS).fit(second, LABELS)
        return clf.predict_proba([form(row) for row in ROWS])

    straight = [form(row) for row in ROWS]
    assert np.array_equal(trained_twice(straight, in_all_orders(form)), trained_twice(straight, straight))


WRONG = {
    "one missing": (("a", "b"), r"it lacks 'c'\."),
    "one unknown": (("a", "b", "c", "d"), r"it has 'd' too many\."),
    "one instead of another": (("a", "b", "d"), r"it lacks 'c' and has 'd' too many\."),
    "another case": (("a", "b", "C"), r"it lacks 'c' and has 'C' too many\."),
    "none right": (("x", "y", "z"), r"it lacks 'a', 'b', 'c' and has 'x', 'y', 'z' too many\."),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_missing_and_unknown_names(form, named, wrong):
    names, message = WRONG[wrong]
    if form is frame:
        table = peer("pandas").DataFrame({name: ROWS[0][:, 0] for name in names})
    elif form is fields:
        table = np.zeros(4, [(name, float) for name in names])
    else:
        table = peer("polars").DataFrame({name: ROWS[0][:, 0] for name in names})
    before = named.predict_proba([form(row) for row in ROWS])
    for call in (
        lambda: named.predict([table]),
        lambda: named.score([table], [0]),
        lambda: named.partial_fit([table], [0]),
        lambda: named.stream().feed(table),
        lambda: named.prepare()([table]),
    ):
        with pytest.raises(ValueError, match="the features of X are matched by name.*" + message):
            call()
    with pytest.raises(ValueError, match=r"the features of row 1 of X are matched by name with row 0: " + message):
        make().fit([form(ROWS[0]), table], [0, 1])
    assert np.array_equal(named.predict_proba([form(row) for row in ROWS]), before)


def test_a_name_that_is_there_twice(named, form):
    if form is not frame:
        pytest.skip("only pandas has columns of one name")
    table = frame(ROWS[0])[["a", "b", "c", "a"]]
    with pytest.raises(ValueError, match=r"X has more than one feature 'a'"):
        named.predict([table])
    with pytest.raises(ValueError, match=r"row 1 of X has more than one feature 'a'"):
        make().fit([frame(ROWS[0]), table], [0, 1])


def test_names_on_one_side_alone(form, named, trained):
    with pytest.warns(UserWarning, match="does not have valid feature names, but SequenceClassifier was fitted with"):
        found = named.predict_proba(ROWS)  # by place, as there is nothing else to go by
    assert np.allclose(found, trained.predict_proba(ROWS), atol=1e-6)
    with pytest.warns(UserWarning, match="X has feature names, but SequenceClassifier was fitted without"):
        assert np.array_equal(trained.predict_proba([form(row) for row in ROWS]), trained.predict_proba(ROWS))


def test_a_stream_says_it_once(named):
    stream = named.stream()
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        stream.feed(ROWS[0][:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.feed(ROWS[0][1:])


def test_rows_without_names_among_others():
    with pytest.warns(UserWarning, match=r"row 1 of X has no names of features, row 0 has some.*'a', 'b', 'c'"):
        data = read([fields(ROWS[0]), ROWS[1], fields(ROWS[2], "cba")])
    assert np.array_equal(data.values, np.concatenate(ROWS[:3]))
    assert data.names == NAMES


def test_arrays_of_fields_as_a_whole(trained):
    X = np.stack([fields(row[:3], "cab") for row in ROWS])  # (n, time) of fields: (n, time, features)
    clf = make().fit(np.stack([fields(row[:3]) for row in ROWS]), LABELS)
    plain = make().fit(np.stack([row[:3] for row in ROWS]), LABELS)
    assert clf.feature_names_in_.tolist() == list(NAMES)
    assert clf.n_features_in_ == 3
    assert np.array_equal(clf.predict_proba(X), plain.predict_proba(np.stack([row[:3] for row in ROWS])))
    table = fields(ROWS[0])  # (n,) of fields: a table whose columns are the steps
    data = read(table)
    assert data.columns == 3
    assert data.names == NAMES
    assert np.array_equal(data.values.ravel(), ROWS[0].ravel())
    with pytest.raises(TypeError, match=r"the field 's' of X must hold real numbers, got dtype <U2"):
        read(np.zeros(3, [("x", float), ("s", "U2")]))


def test_columns_that_are_steps_are_not_reordered():
    """A two-dimensional X has its time steps in its columns: as scikit-learn has it, another order is an error."""
    table = frame(np.concatenate(ROWS)[:8])
    clf = make().fit(table, LABELS)
    assert clf.feature_names_in_.tolist() == list(NAMES)
    with pytest.raises(ValueError, match="must be in the same order"):
        clf.predict(table[["b", "a", "c"]])
    with pytest.raises(ValueError, match=r"(?s)unseen at fit time:\n- d\n.*now missing:\n- c\n"):
        clf.predict(table.rename(columns={"c": "d"}))


def test_columns_with_numbers_for_names():
    pandas = peer("pandas")
    plain = [pandas.DataFrame(row) for row in ROWS]  # 0, 1, 2: these are no names
    clf = make().fit(plain, LABELS)
    assert not hasattr(clf, "feature_names_in_")
    by_place = make().fit(ROWS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reordered = [row[[1, 0, 2]] for row in plain]  # known as what they are
        assert np.array_equal(clf.predict_proba(reordered), by_place.predict_proba(ROWS))
        assert np.array_equal(clf.predict_proba(ROWS), by_place.predict_proba(ROWS))
        other_way = make().fit(reordered, LABELS)
        assert np.array_equal(other_way.predict_proba(plain), other_way.predict_proba(reordered))
        mixed = make().fit([plain[0], *reordered[1:]], LABELS)
        assert np.array_equal(mixed.predict_proba(ROWS), by_place.predict_proba(ROWS))
    with pytest.warns(UserWarning, match="X has feature names, but"):
        clf.predict([frame(row) for row in ROWS])
    numbered = make().fit([table.rename(columns={0: 7, 1: 8, 2: 9}) for table in plain], LABELS)
    assert numbered.feature_names_in_.tolist() == ["7", "8", "9"]
    found = numbered.predict_proba([table.rename(columns={0: 7, 1: 8, 2: 9})[[9, 7, 8]] for table in plain])
    assert np.array_equal(found, clf.predict_proba(plain))


def test_names_that_are_alike_as_text():
    pandas = peer("pandas")
    table = pandas.DataFrame(ROWS[0][:, :2], columns=[1, "1"])
    with pytest.raises(ValueError, match="two features have names that are alike as text"):
        make().fit([table, table[["1", 1]]], [0, 1])


def test_a_repeated_name_in_training_stands_for_nothing_later():
    pandas = peer("pandas")
    clf = make().fit([pandas.DataFrame(row[:, :2], columns=["a", "a"]) for row in ROWS], LABELS)
    for table in (
        pandas.DataFrame(ROWS[0][:, :1], columns=["a"]),
        pandas.DataFrame(ROWS[0][:, :2], columns=["a", "b"]),
    ):
        for call in (clf.predict, clf.prepare(), lambda X: clf.stream().feed(X[0])):
            with pytest.raises(ValueError, match="more than one feature 'a'"):
                call([table])


def test_fields_may_have_the_names_of_attributes():
    rows = [row[:, :2].copy().view([("columns", float), ("x", float)])[:, 0].view(np.recarray) for row in ROWS]
    clf = make().fit(rows, LABELS)
    assert clf.feature_names_in_.tolist() == ["columns", "x"]
    assert np.array_equal(
        clf.predict_proba(rows), make().fit([r[:, :2] for r in ROWS], LABELS).predict_proba([r[:, :2] for r in ROWS])
    )


def test_steps_with_names(trained):
    """Series of pandas and named tuples as steps: their names are those of the features."""
    table = frame(ROWS[0], "cab")
    as_series, as_tuples = [step for _, step in table.iterrows()], list(table.itertuples(index=False))
    clf = make().fit([frame(row) for row in ROWS], LABELS)
    for row in (as_series, as_tuples):
        assert np.allclose(clf.predict_proba([row]), trained.predict_proba([ROWS[0]]), atol=1e-6)
        stream = clf.stream()
        for step in row:
            found = stream.feed([step])
        assert np.allclose(found, trained.predict_proba([ROWS[0]])[0], atol=1e-6)
    with pytest.raises(ValueError, match="the steps of row 0 of X have other names"):
        clf.predict([[as_series[0], as_series[1][["a", "b", "c"]]]])
    with pytest.raises(ValueError, match=r"step\.to_frame\(\)\.T"):
        clf.stream().feed(as_series[0])
    assert np.allclose(clf.stream().feed(as_series[0].to_frame().T), trained.predict_proba([ROWS[0][:1]])[0], atol=1e-6)


def test_names_of_tables():
    assert names_of(np.ones((2, 2))) is None
    assert features_of([[1.0]]) is None
    assert names_of(fields(ROWS[0], "ba")) == ("b", "a") == features_of(fields(ROWS[0], "ba"))
    assert features_of(type("T", (), {"columns": [1, "b"]})()) == ("1", "b")
    assert names_of(type("T", (), {"columns": [1, "b"]})()) is None  # scikit-learn's rule
    assert features_of(type("T", (), {"columns": lambda self: 0})()) is None
    assert matched(("b", "a"), ("a", "b"), "X", "Y") == [1, 0]
    assert matched(("a",), ("a",), "X", "Y") is None


def test_files_with_other_names_than_features(tmp_path):
    from xlstm.estimators import state

    clf = make().fit([fields(row) for row in ROWS], LABELS)
    header, arrays = state.of(clf)
    for names in (["a", "b"], ["a", "b", "c", "d"], [1, 2, 3]):
        with pytest.raises(ValueError, match="names"):
            state.restored({**header, "feature_names": names}, arrays)


def test_a_name_that_a_file_would_change_is_refused():
    """A pair of surrogates: JSON has none, and gives back the character that they stand for."""
    pair = "\ud83d\ude00"
    table = np.zeros(3, dtype=[("a", "f8"), (pair, "f8")])
    with pytest.raises(ValueError, match=r"the feature '\\ud83d\\ude00' has a pair of surrogates"):
        xlstm.SequenceClassifier(device="cpu").fit([table, table], [0, 1])
    with pytest.raises(ValueError, match=r"ignore is '\\ud83d\\ude00', which holds a pair of surrogates"):
        xlstm.SequenceLabeler(device="cpu", ignore=pair).fit(["ab", "ba"], ["xy", "yx"])
