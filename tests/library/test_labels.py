"""Labels and weights of rows: what is read, what is refused, and the balance that scikit-learn has."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm.labels import classes_of, known, mean_one, row_weights

from ..peers import peer

AB = np.array(["a", "b"])


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "c", "a"], ["a", "b", "c"]),
        (("b", "a"), ["a", "b"]),
        (np.array(["b", "a"], dtype=object), ["a", "b"]),
        (np.array(["b", np.str_("a")], dtype=object), ["a", "b"]),
        (np.array(["b", "a"], dtype=np.dtypes.StringDType()), ["a", "b"]),
        ([10, 9, -1], [-1, 9, 10]),
        (np.array([3, 1], np.uint8), [1, 3]),
        (np.array([3, 1], dtype=object), [1, 3]),
        ([2.0, 1.0, 2.0], [1.0, 2.0]),
        ([True, False], [False, True]),
        (["é", "z", "Z"], ["Z", "z", "é"]),
        (["only"], ["only"]),
    ],
)
def test_classes_are_sorted_and_rows_numbered(y, classes):
    found, numbers = classes_of(y)
    assert found.tolist() == classes
    assert numbers.dtype == np.int64
    assert [classes[number] for number in numbers] == list(y)


def test_labels_of_pandas():
    pandas = peer("pandas")
    for kind in (object, "str", "string", "category"):
        found, numbers = classes_of(pandas.Series(["b", "a", "b"], index=[7, 8, 9]).astype(kind))
        assert found.tolist() == ["a", "b"]
        assert numbers.tolist() == [1, 0, 1]


@given(st.lists(st.integers(-5, 5) | st.booleans(), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_numbers_say_which_label(y):
    found, numbers = classes_of(y)
    assert found.tolist() == sorted(set(y))
    assert found[numbers].tolist() == y


# ---------------------------------------------------------------- known classes


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "b"], ["a", "b", "c"]),
        ([2, 1, 2], [1, 2, 3]),
        ([2.0, 1.0], [1, 2, 3]),
        (np.array([2, 1], np.int8), [1.0, 2.0]),
        ([True, False], [False, True]),
    ],
)
def test_known_labels_are_numbered(y, classes):
    numbers = known(y, np.array(classes))
    assert numbers.dtype == np.int64
    assert [classes[number] for number in numbers] == list(y)


@pytest.mark.parametrize(
    ("y", "classes", "row"),
    [(["a", "b", "x", "y"], ["a", "b"], 2), ([1, 7], [1, 2], 1), (["A"], ["a", "b"], 0), ([1], ["1", "2"], 0)],
)
def test_an_unknown_label_is_named_with_its_row(y, classes, row):
    with pytest.raises(ValueError, match=rf"row {row} has the label .*{y[row]}.*none of the classes"):
        known(y, np.array(classes))


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan])
@pytest.mark.parametrize("others", [["a", "b"], [1, 2], [1.0, 2.0]])
@pytest.mark.parametrize("form", ["list", "objects"])
def test_a_missing_label_is_named_with_its_row(missing, others, form):
    y = [*others, missing]
    if form == "objects":
        y = np.array(y, dtype=object)
    with pytest.raises(ValueError, match=r"y\[2\]"):
        classes_of(y)
    with pytest.raises(ValueError, match=r"y\[2\]"):
        known(y, np.unique(others))


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_missing_labels_of_numpys_variable_strings(nothing):
    y = np.array(["a", nothing], dtype=np.dtypes.StringDType(na_object=nothing))
    with pytest.raises(ValueError, match=r"y\[1\]"):
        classes_of(y)


@pytest.mark.parametrize("kind", [None, "string", "Int64", "category", "object"])
def test_pandas_missing_labels(kind):
    pandas = peer("pandas")
    values = [1, None] if kind == "Int64" else ["a", None]
    with pytest.raises(ValueError, match=r"y\[1\]"):
        classes_of(pandas.Series(values, dtype=kind))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_no_label(value):
    with pytest.raises(ValueError, match=r"y\[1\] is -?inf: Input contains NaN or infinity"):
        classes_of([1.0, value])


@pytest.mark.parametrize("y", [[1.0, 2.5], np.array([0.1], np.float32), np.array([1.0, 2.5], dtype=object)])
def test_numbers_with_fractions_are_no_classes(y):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classes_of(y)


@pytest.mark.parametrize("y", [["a", 1], [1, "a"], [True, "a"], [1.5, "a"], ["a", ("b",)], ["a", b"b"]])
@pytest.mark.parametrize("form", ["list", "objects"])
def test_labels_of_several_kinds(y, form):
    if form == "objects":
        objects = np.empty(2, dtype=object)
        objects[0], objects[1] = y
        y = objects
    with pytest.raises(ValueError, match="y"):
        classes_of(y)


def test_no_labels():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        classes_of(None)


@pytest.mark.parametrize("shape", [(), (3, 2), (1, 3), (3, 1, 1)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match="y should be a 1d array"):
        classes_of(np.ones(shape, int))


def test_complex_labels():
    with pytest.raises(ValueError, match="Complex data not supported"):
        classes_of(np.array([1j, 2]))


@pytest.mark.parametrize("read", [classes_of, lambda y, rows: known(y, np.array([1, 2]), rows)])
def test_as_many_labels_as_rows(read):
    with pytest.raises(ValueError, match="X has 3 sequences, but y has 2 labels"):
        read([1, 2], 3)


def test_a_column_is_taken_with_a_warning():
    with pytest.warns(Warning, match="A column-vector y was passed when a 1d array was expected") as caught:
        found, numbers = classes_of(np.array([[2], [1]]))
    assert found.tolist() == [1, 2]
    assert numbers.tolist() == [1, 0]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes_of([2, 1])


def test_the_warning_is_scikit_learns_where_it_is_there():
    kind = peer("sklearn.exceptions").DataConversionWarning
    with pytest.warns(kind):
        classes_of(np.array([["b"], ["a"]]))


def test_labels_are_not_written_to():
    y = np.array([3, 1, 3])
    y.setflags(write=False)
    classes_of(y)
    known(y, np.array([1, 3]))
    assert y.tolist() == [3, 1, 3]


# ---------------------------------------------------------------- weights


def test_without_weights_each_row_has_one():
    np.testing.assert_array_equal(row_weights(None, None, AB, np.array([0, 1, 1])), [1, 1, 1])


@pytest.mark.parametrize("weights", [[1, 0, 2.5], (1, 0, 2.5), np.array([1, 0, 2.5], np.float32)])
def test_row_weights(weights):
    found = row_weights(weights, None, AB, np.array([0, 1, 1]))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1, 0, 2.5])


def test_one_number_is_for_all_rows():
    np.testing.assert_array_equal(row_weights(2, None, AB, np.array([0, 1])), [2, 2])


def test_class_weights_by_name():
    """A class that is not named has the weight 1."""
    labels = np.array([0, 1, 2, 1])
    classes = np.array(["a", "b", "c"])
    np.testing.assert_array_equal(row_weights(None, {"b": 3, "c": 0}, classes, labels), [1, 3, 0, 3])
    np.testing.assert_array_equal(row_weights([1, 2, 3, 4], {"b": 3, "c": 0}, classes, labels), [1, 6, 0, 12])
    np.testing.assert_array_equal(row_weights(None, {0: 5.0}, np.array([0, 1]), np.array([1, 0])), [1, 5])


def test_balanced_by_hand():
    """n / (number of classes · rows of the class): each class weighs the same in sum."""
    labels = np.array([0, 0, 0, 1])
    found = row_weights(None, "balanced", AB, labels)
    np.testing.assert_allclose(found, [2 / 3, 2 / 3, 2 / 3, 2])
    weighted = row_weights([1, 2, 3, 4], "balanced", AB, labels)
    assert weighted[:3].sum() == pytest.approx(weighted[3:].sum()) == pytest.approx(5)


def test_balanced_as_scikit_learns():
    compute = peer("sklearn.utils.class_weight").compute_class_weight
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b", "c", "d"])
    labels = rng.choice(4, 50, p=[0.6, 0.2, 0.15, 0.05])
    of_class = compute("balanced", classes=classes, y=classes[labels])
    np.testing.assert_allclose(row_weights(None, "balanced", classes, labels), of_class[labels], rtol=1e-13)
    own = rng.uniform(0, 2, 50)
    of_class = compute("balanced", classes=classes, y=classes[labels], sample_weight=own)
    np.testing.assert_allclose(row_weights(own, "balanced", classes, labels), own * of_class[labels], rtol=1e-13)
    given_ = {"a": 2.0, "c": 0.5}
    of_class = compute(given_, classes=classes, y=classes[labels])
    np.testing.assert_allclose(row_weights(None, given_, classes, labels), of_class[labels])


def test_balanced_where_a_class_is_absent():
    """As in a later part of the data: the classes that are there share the weight."""
    found = row_weights(None, "balanced", np.array(["a", "b", "c"]), np.array([0, 0, 0, 2]))
    np.testing.assert_allclose(found, [2 / 3, 2 / 3, 2 / 3, 2])
    found = row_weights([1, 1, 0], "balanced", AB, np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [1, 1, 0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"sample_weight\.shape == \(2,\), expected \(3,\)"),
        ([[1], [2], [3]], r"sample_weight\.shape == \(3, 1\), expected \(3,\)"),
        ([1, -0.5, -1], r"sample_weight\[1\] is -0\.5"),
        ([1, 1, float("nan")], r"sample_weight\[2\] is nan"),
        ([float("inf"), 1, 1], r"sample_weight\[0\] is inf"),
        ([1, None, 1], r"sample_weight\[1\]"),
        ([0, 0, 0], "sample_weight is zero for every row"),
        (-1, r"sample_weight\[0\] is -1"),
        (0, "sample_weight is zero for every row"),
        (["x", "y", "z"], "."),
    ],
)
def test_other_row_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        row_weights(weights, None, AB, np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"x": 1.0}, r"class_weight names 'x', which is no class of y: \['a', 'b'\]"),
        ({"a": -1.0}, "class_weight must hold finite weights"),
        ({"a": float("nan")}, "class_weight must hold finite weights"),
        ({"a": float("inf")}, "class_weight must hold finite weights"),
        ({"a": 0, "b": 0}, "class_weight must hold finite weights of 0 or more, not all 0"),
        ("auto", "class_weight must be None, 'balanced' or a dict, got 'auto'"),
        ([1.0, 2.0], "class_weight must be None, 'balanced' or a dict"),
        (2.0, "class_weight must be None, 'balanced' or a dict"),
    ],
)
def test_other_class_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        row_weights(None, weights, AB, np.array([0, 1, 1]))


def test_weights_are_not_written_to():
    own = np.array([1.0, 2.0])
    for class_weight in (None, "balanced", {"a": 3.0}):
        mean_one(row_weights(own, class_weight, AB, np.array([0, 1])))
        assert own.tolist() == [1, 2]


def test_mean_one():
    found = mean_one(np.array([1.0, 0.0, 5.0]))
    np.testing.assert_allclose(found, [0.5, 0, 2.5])
    with pytest.raises(ValueError, match="weight zero"):
        mean_one(np.zeros(3))


@pytest.mark.parametrize("label", ["a\0", "\0", "\ud83d\ude00", "a\udc00"])
@pytest.mark.parametrize("kind", [list, lambda y: np.array(y, dtype=object)])
def test_labels_that_numpy_or_a_file_would_change_are_refused(label, kind):
    with pytest.raises(ValueError, match=r"y\[1\] is .*(null character|surrogate)"):
        classes_of(kind(["a", label, "b"]))


def test_labels_of_any_text_are_kept():
    assert classes_of(["a\0b", "\U0001f600", "ab"])[0].tolist() == ["a\0b", "ab", "\U0001f600"]
