"""Features: what the head sees, beside plain loops and the head itself; what is trained, what is taken over, files."""

from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.estimators.features import are_numbers

from .. import classifier as truth
from ..peers import REPEATED, checked_by_sklearn, peer
from ..standin import machine

QUICK = {"hidden_size": 4, "max_iter": 2, "random_state": 0, "device": "cpu"}


def make(**settings: Any) -> xlstm.SequenceFeatures:
    return xlstm.SequenceFeatures(**{**QUICK, **settings})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


def numbers(n: int = 30) -> tuple[list[Any], Any]:
    X, _ = truth.sign_of_sum(n)
    return X, np.array([x.sum() for x in X])


def test_they_are_what_plain_loops_give():
    X, y = truth.last_letter(20)
    features = make(dtype="float64", bidirectional=True, num_layers=2, dropout=0.5).fit(X, y)
    fitted = features.fitted_state()
    parameters = {name: np.array(view) for name, view in fitted.model.parameters.items()}
    rows = truth.token_numbers(X, fitted.encoder.vocabulary)
    expected = np.stack([truth.features("lstm", parameters, row) for row in rows])
    np.testing.assert_allclose(features.transform(X), expected, rtol=1e-10)
    assert expected.shape == (20, 16)


@pytest.mark.parametrize("readout", ["final", "mean", "max", "attention", "final+max", "final+mean+max"])
@pytest.mark.parametrize("two", [False, True])
def test_the_head_makes_the_answers_of_them(readout, two):
    X, y = truth.sign_of_sum(20)
    clf = xlstm.SequenceClassifier(**QUICK, readout=readout, bidirectional=two, dtype="float64").fit(X, y)
    features = xlstm.SequenceFeatures.of(clf)
    seen, parameters = features.transform(X), truth.parameters_of(clf)
    assert seen.shape == (20, 4 * (1 + two) * len(readout.split("+")))
    assert seen.dtype == np.float64
    logits = seen @ parameters["head.weight"].T + parameters["head.bias"]
    np.testing.assert_allclose(logits[:, 0], clf.decision_function(X), rtol=1e-10)
    assert [*features.get_feature_names_out()] == [f"sequencefeatures{k}" for k in range(seen.shape[1])]


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_it_is_trained_as_the_estimator_of_its_y(kind):
    X, y = truth.sign_of_sum(30) if kind == "classes" else numbers()
    estimator = (xlstm.SequenceClassifier if kind == "classes" else xlstm.SequenceRegressor)(**QUICK).fit(X, y)
    expected = xlstm.SequenceFeatures.of(estimator)
    for task in ("auto", kind):
        features = make(task=task)
        assert features.fit_transform(X, y, sample_weight=np.ones(30)).dtype == np.float32
        np.testing.assert_array_equal(features.transform(X), expected.transform(X))
        np.testing.assert_array_equal(features.predict(X), estimator.predict(X))
        assert features.score(X, y) == estimator.score(X, y)
        assert hasattr(features, "classes_") == (kind == "classes")
    assert expected.task == kind
    assert expected.hidden_size == 4


def test_what_is_taken_over_is_a_copy(tmp_path):
    X, y = numbers()
    model = xlstm.SequenceRegressor(**QUICK, loss="huber", huber_delta=0.5, warm_start=True).fit(X, y)
    features = xlstm.SequenceFeatures.of(model)
    before = features.transform(X)
    assert (features.loss, features.huber_delta) == ("huber", 0.5)
    model.fit(X, y)
    np.testing.assert_array_equal(features.transform(X), before)
    features.save(tmp_path / "features.xlstm")
    again = xlstm.load(tmp_path / "features.xlstm", "cpu")
    assert type(again) is xlstm.SequenceFeatures
    assert again.get_params() == features.get_params()
    for each in (features, again):
        each.fit(X, y)  # a warm start: it goes on where the other was
    np.testing.assert_array_equal(again.transform(X), features.transform(X))
    np.testing.assert_array_equal(again.transform(X), xlstm.SequenceFeatures.of(model).transform(X))


def test_several_labels_and_batches():
    X = ["abb", "bbb", "bab", "aa", "ccc", "cabb"]
    y = [sorted(set(text)) for text in X]
    features = make().fit(X, y)
    assert features.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(
        features.transform(X), xlstm.SequenceFeatures.of(xlstm.SequenceClassifier(**QUICK).fit(X, y)).transform(X)
    )
    batches = xlstm.Batches([(X[:4], y[:4]), (X[4:], y[4:])])
    in_parts = make().fit(batches)
    np.testing.assert_allclose(in_parts.transform(batches), in_parts.transform(X), rtol=1e-5)


def test_features_of_what_has_none():
    X, _ = truth.last_letter(10)
    with pytest.raises(ValueError, match="is not fitted yet"):
        xlstm.SequenceFeatures.of(xlstm.SequenceClassifier())
    with pytest.raises(ValueError, match="is not fitted yet"):
        make().transform(X)
    for other in (xlstm.LSTM(2, 3), "model.xlstm"):
        with pytest.raises(
            TypeError, match="features are those of a fitted SequenceClassifier or SequenceRegressor, got"
        ):
            xlstm.SequenceFeatures.of(other)
    with pytest.raises(TypeError, match="got SequenceLabeler"):
        xlstm.SequenceFeatures.of(xlstm.SequenceLabeler(**QUICK).fit(X, X))


def test_another_kind_of_answers_is_another_model():
    X, y = numbers()
    features = make(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="task is 'classes', but the model to go on from has learned numbers: set it"):
        features.set_params(task="classes").fit(X, y)
    with pytest.raises(ValueError, match="loss is 'huber', but the model to go on from has 'squared'"):
        features.set_params(task="auto", loss="huber").fit(X, y)
    with pytest.raises(ValueError, match=r"task must be one of \('auto', 'classes', 'numbers'\), got 'labels'"):
        make(task="labels").fit(X, y)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([1.5, 2.0], True),
        (np.array([0.1, 0.2], "f4"), True),
        ([[1.0, 2.5], [3.0, 4.0]], True),
        ([[1, 2], [3, 4]], False),
        (np.array([[1, 2], [3, 4]]), True),
        (np.array([0.5, 1], dtype=object), True),
        ([1.0, 2.0], False),
        ([1, 2], False),
        ([True, False], False),
        (["a", "b"], False),
        (["1.5", "b"], False),
        ([[0, 1], [1, 1]], False),
        ([[1], [2, 3]], False),
        ([np.nan, 1.5], True),
        ([], False),
        (None, False),
    ],
)
def test_what_is_taken_for_numbers(y, expected):
    assert are_numbers(y) is expected


def test_another_training_leaves_nothing_of_the_one_before():
    X, y = truth.sign_of_sum(30)
    features = make(early_stopping=True).fit(X, y)
    assert {"classes_", "accuracy_curve_", "validation_scores_"} <= vars(features).keys()
    features.mine_, features.early_stopping = "kept", False
    features.fit(*numbers())
    expected = make().fit(*numbers())
    assert vars(features).keys() == vars(expected).keys() | {"mine_"}
    assert not hasattr(features, "classes_")


def test_parts_of_classes_that_are_declared():
    features = make()
    with pytest.raises(ValueError, match="a single class, 'x': pass all labels that will come as classes="):
        features.partial_fit(["ab", "b"], ["x", "x"])
    features.partial_fit(["ab", "b"], ["x", "x"], classes=["y", "x"]).partial_fit(["a"], ["y"])
    assert features.classes_.tolist() == ["x", "y"]
    clf = xlstm.SequenceClassifier(**QUICK).partial_fit(["ab", "b"], ["x", "x"], ["y", "x"]).partial_fit(["a"], ["y"])
    np.testing.assert_array_equal(features.predict(["ab"]), clf.predict(["ab"]))
    with pytest.raises(ValueError, match=r"classes \['x'\] are not those of the first call: \['x', 'y'\]"):
        features.partial_fit(["a"], ["y"], classes=["x"])
    of_numbers = make().partial_fit(*numbers())
    with pytest.raises(ValueError, match="answers of the kind 'numbers' have no classes: leave `classes` out"):
        of_numbers.partial_fit(*numbers(), classes=[1, 2])
    with pytest.raises(ValueError, match="classes are of labels, and y is to be numbers here: leave `classes` out"):
        make(task="numbers").partial_fit(*numbers(), classes=[1, 2])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        make().partial_fit(*numbers(), classes=[1, 2])


def test_on_a_gpu():
    X, y = truth.sign_of_sum(6)
    expected = make(max_iter=1).fit(X, y).transform(X)
    with machine():
        import cupy

        there = [cupy.asarray(row) for row in X]
        seen = make(max_iter=1, device="cuda").fit(there, y).transform(there)
        assert isinstance(seen, cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(seen), expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_check_estimator(task):
    """Every check of scikit-learn for transformers; all that fail are listed."""
    checks = peer("sklearn.utils.estimator_checks")
    results = checked_by_sklearn(make(task=task), REPEATED)
    ran = {result["check_name"] for result in results if result["status"] == "passed"}
    assert {"check_transformer_general", "check_transformer_n_iter"} <= ran
    checks.check_transformer_get_feature_names_out("SequenceFeatures", make(task=task))
    peer("pandas")
    checks.check_transformer_get_feature_names_out_pandas("SequenceFeatures", make(task=task))


def test_in_a_pipeline():
    pipeline, linear = peer("sklearn.pipeline"), peer("sklearn.linear_model")
    X, y = truth.last_letter(80)
    steps = pipeline.make_pipeline(make(max_iter=30, learning_rate_init=0.03), linear.LogisticRegression())
    assert steps.fit(X, y).score(*truth.last_letter(40, seed=1)) > 0.9
    assert steps[:-1].get_feature_names_out().tolist() == [f"sequencefeatures{k}" for k in range(8)]


# ---------------------------------------------------------------- frames


def test_frames_of_pandas():
    pandas = peer("pandas")
    X, y = truth.last_letter(12)
    features = make().fit(X, y)
    plain, names = features.transform(X), features.get_feature_names_out()
    assert features.set_output() is features
    assert type(features.transform(X)) is np.ndarray
    assert features.set_output(transform="pandas").set_output() is features  # None changes nothing
    index = [f"row {k}" for k in range(12)]
    for given, expected in ((X, range(12)), (pandas.Series(X, index=index), index)):
        frame = features.transform(given)
        pandas.testing.assert_frame_equal(frame, pandas.DataFrame(plain, columns=names, index=expected))
    assert type(make().set_output(transform="pandas").fit_transform(X, y)) is pandas.DataFrame
    batches = xlstm.Batches([(X[:5], y[:5]), (X[5:], y[5:])])
    assert features.transform(batches).shape == (12, len(names))
    with machine():
        there = make(device="cuda").fit(X, y).set_output(transform="pandas").transform(X)
        assert type(there) is pandas.DataFrame
    assert type(features.set_output(transform="default").transform(X)) is np.ndarray
    for wrong in ("numpy", 3, ["pandas"]):
        with pytest.raises(
            ValueError, match=r"transform must be one of \('default', 'pandas', 'polars'\) or None, got "
        ):
            features.set_output(transform=wrong)


def test_frames_of_polars():
    polars = peer("polars")
    X, y = truth.last_letter(12)
    features = make().fit(X, y)
    plain = features.transform(X)
    frame = features.set_output(transform="polars").transform(X)
    assert type(frame) is polars.DataFrame
    assert frame.columns == features.get_feature_names_out().tolist()
    np.testing.assert_array_equal(frame.to_numpy(), plain)


def test_frames_as_scikit_learn_asks_for_them():
    sklearn, pandas = peer("sklearn"), peer("pandas")
    pipeline, preprocessing = peer("sklearn.pipeline"), peer("sklearn.preprocessing")
    X, y = truth.last_letter(12)
    steps = pipeline.make_pipeline(make(), preprocessing.StandardScaler()).set_output(transform="pandas")
    frame = steps.fit(X, y).transform(X)
    assert frame.columns.tolist() == steps[0].get_feature_names_out().tolist()
    assert type(peer("sklearn.base").clone(steps[0]).fit(X, y).transform(X)) is pandas.DataFrame
    features = make().fit(X, y)
    with sklearn.config_context(transform_output="pandas"):
        assert type(features.transform(X)) is pandas.DataFrame
        assert type(features.set_output(transform="default").transform(X)) is np.ndarray
