"""Confusion, ROC and calibration, against scikit-learn and their meaning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import measures

drawn = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(max_examples=50, deadline=None)
@given(drawn)
def test_the_area_is_the_probability_that_a_positive_has_the_higher_score(rng):
    n = int(rng.integers(4, 30))
    positive = np.r_[True, False, rng.random(n - 2) < 0.5]
    scores, weights = rng.integers(0, 6, n) / 5, rng.integers(1, 4, n).astype(float)
    pairs = weights[positive][:, None] * weights[~positive]
    higher = scores[positive][:, None] - scores[~positive]
    expected = (((higher > 0) + 0.5 * (higher == 0)) * pairs).sum() / pairs.sum()
    found = measures.roc(positive, scores, weights)
    assert found.area == pytest.approx(expected)
    assert found.false_positive_rate[0] == found.true_positive_rate[0] == 0
    assert found.false_positive_rate[-1] == found.true_positive_rate[-1] == 1


@settings(max_examples=30, deadline=None)
@given(drawn)
def test_they_are_what_scikit_learn_gives(rng):
    metrics, calibration = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.calibration")
    n, K = int(rng.integers(10, 60)), int(rng.integers(2, 5))
    true, answers, weights = rng.integers(0, K, n), rng.integers(0, K, n), rng.random(n)
    expected = metrics.confusion_matrix(true, answers, labels=range(K), sample_weight=weights)
    np.testing.assert_allclose(measures.confusion(true, answers, K, weights), expected)
    positive, p = np.r_[True, False, rng.random(n - 2) < 0.4], rng.random(n).round(2)
    x, y, _ = metrics.roc_curve(positive, p, sample_weight=weights, drop_intermediate=False)
    found = measures.roc(positive, p, weights)
    np.testing.assert_allclose(found.false_positive_rate, x, atol=1e-12)
    np.testing.assert_allclose(found.true_positive_rate, y, atol=1e-12)
    assert found.area == pytest.approx(metrics.auc(x, y))
    p = rng.random(n)  # on no edge of a bin
    observed, mean = calibration.calibration_curve(positive, p, n_bins=7)
    bins = measures.calibration(positive, p, 7)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, mean)
    assert bins.weights.sum() == n


def test_probabilities_that_are_right_have_no_error():
    p = np.repeat([0.05, 0.25, 1.0], 20)
    positive = np.concatenate([np.arange(20) < 1, np.arange(20) < 5, np.arange(20) < 20])
    assert measures.calibration(positive, p).error == pytest.approx(0)
    assert measures.calibration(~positive, p).error == pytest.approx(np.mean([0.9, 0.5, 1.0]))


@pytest.mark.parametrize(("positive", "told"), [([True, True], "negative"), ([False, False], "positive")])
def test_a_curve_of_one_side_is_none(positive, told):
    with pytest.raises(ValueError, match=f"no row is {told}"):
        measures.roc(np.array(positive), np.array([0.1, 0.2]))
