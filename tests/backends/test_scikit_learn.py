"""scikit-learn with X on a GPU: what it does there without knowing of GPUs, as docs/devices.md tells it.

It takes rows by index arrays of the host, which are uploaded, and asks an estimator for labels, which are NumPy's.
"""

import importlib.metadata
from typing import Any

import numpy as np
import pytest

import xlstm

from ..gpu import Gpu
from ..peers import peer

n = 24
RNG = np.random.default_rng(3)
X = RNG.standard_normal((n, 5, 3)).astype(np.float32)
Y = np.arange(n) % 2
_distributions = importlib.metadata.distributions


@pytest.fixture(autouse=True)
def _in_its_place(monkeypatch, device: Gpu):
    """The device is CuPy's current one, for scikit-learn indexes arrays without asking where they lie.

    Its own imports read the installed distributions, in place of which the stand-in for CuPy has put others.
    """
    import cupy

    monkeypatch.setattr(importlib.metadata, "distributions", _distributions)
    with cupy.cuda.Device(int(device.device.partition(":")[2])):
        yield


@pytest.fixture
def there(device: Gpu) -> Any:
    return device.asarray(X)


def make(**options: Any) -> xlstm.SequenceClassifier:
    settings = {"hidden_size": 4, "max_iter": 2, "random_state": 0, "kernels": "reference", "dtype": "float64"}
    return xlstm.SequenceClassifier(**{**settings, **options})


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_cross_validation_on_a_gpu_is_that_of_host_data(scoring, there, device: Gpu):
    selection = peer("sklearn.model_selection")
    arguments = {"cv": 2, "scoring": scoring, "error_score": "raise"}
    expected = selection.cross_val_score(make(device=device.name), X, Y, **arguments)
    for given in (there, [there[row] for row in range(n)]):
        np.testing.assert_array_equal(selection.cross_val_score(make(), given, Y, **arguments), expected)


def test_labels_there_need_folds_that_ask_for_none(there, device: Gpu):
    selection = peer("sklearn.model_selection")
    arguments = {"cv": selection.KFold(2), "error_score": "raise"}
    expected = selection.cross_val_score(make(device=device.name), X, Y, **arguments)
    np.testing.assert_array_equal(selection.cross_val_score(make(), there, device.asarray(Y), **arguments), expected)


def test_ragged_rows_there(device: Gpu):
    selection = peer("sklearn.model_selection")
    rows = [row[: 2 + k % 4] for k, row in enumerate(X)]
    expected = selection.cross_val_score(make(device=device.name), rows, Y, cv=2, error_score="raise")
    found = selection.cross_val_score(make(), [device.asarray(row) for row in rows], Y, cv=2, error_score="raise")
    np.testing.assert_array_equal(found, expected)


def test_rows_are_set_aside_there(there, device: Gpu):
    split = peer("sklearn.model_selection").train_test_split
    for labels, options in ((Y, {"stratify": Y}), (device.asarray(Y), {})):
        expected = split(X, Y, random_state=1, **options)
        found = split(there, labels, random_state=1, **options)
        for part, wanted in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(device.get(part), wanted)
        for part, wanted in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_array_equal(part if labels is Y else device.get(part), wanted)


def test_searches_pipelines_and_clones(there, device: Gpu):
    selection, pipeline = peer("sklearn.model_selection"), peer("sklearn.pipeline")
    steps, grid = [("classifier", make())], {"classifier__hidden_size": [2, 4]}
    search = selection.GridSearchCV(pipeline.Pipeline(steps), grid, cv=2, error_score="raise").fit(there, Y)
    on_host = [("classifier", make(device=device.name))]
    expected = selection.GridSearchCV(pipeline.Pipeline(on_host), grid, cv=2, error_score="raise").fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert search.best_params_ == expected.best_params_
    assert search.best_estimator_["classifier"].device_ == device.device
    np.testing.assert_array_equal(search.predict(there), expected.predict(X))
    clone = peer("sklearn.base").clone(search.best_estimator_)
    np.testing.assert_array_equal(clone.fit(there, Y).predict(there), expected.predict(X))


def test_answers_of_cross_validation_are_labels_of_the_host(there, device: Gpu):
    predict = peer("sklearn.model_selection").cross_val_predict
    np.testing.assert_array_equal(predict(make(), there, Y, cv=2), predict(make(device=device.name), X, Y, cv=2))


def test_what_needs_probabilities_takes_host_data_for_a_model_there(device: Gpu):
    selection, calibration = peer("sklearn.model_selection"), peer("sklearn.calibration")
    clf = make(device=device.name)
    for scoring in ("roc_auc", "neg_log_loss"):
        scores = selection.cross_val_score(clf, X, Y, cv=2, scoring=scoring, error_score="raise")
        expected = selection.cross_val_score(make(device="cpu"), X, Y, cv=2, scoring=scoring)
        np.testing.assert_allclose(scores, expected, rtol=1e-9)
    p = selection.cross_val_predict(clf, X, Y, cv=2, method="predict_proba")
    expected = selection.cross_val_predict(make(device="cpu"), X, Y, cv=2, method="predict_proba")
    np.testing.assert_allclose(p, expected, rtol=1e-9)
    assert calibration.CalibratedClassifierCV(clf, cv=2).fit(X, Y).predict_proba(X).shape == (n, 2)
