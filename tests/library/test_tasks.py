"""Tasks by hand: classes, and what every task has unless it says otherwise. One on trial: `test_trial_task.py`."""

import json

import numpy as np
import pytest

from xlstm import backends
from xlstm.tasks import Classes, Task

from .. import classifier as truth

CPU = backends.select("cpu")
TWO, THREE = np.array(["no", "yes"]), np.array([1, 5, 9])


def example(K: int, n: int = 6, seed: int = 0):
    """Outputs, numbers of classes and weights; K outputs."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (n, K)), rng.integers(0, max(K, 2), n), rng.uniform(0.2, 2, n)


def test_classes_are_learned_from_y_or_declared():
    task, targets = Classes.learn(["yes", "no", "yes"], 3)
    assert (task.classes.tolist(), targets.tolist(), task.outputs) == (["no", "yes"], [1, 0, 1], 1)
    task, targets = Classes.learn([9, 5], 2, declared=[9, 1, 5, 1])
    assert (task.classes.tolist(), targets.tolist(), task.outputs) == ([1, 5, 9], [2, 1], 3)
    assert task.read([1, 1, 9], 3).tolist() == [0, 0, 2]
    with pytest.raises(ValueError, match="row 1 has the label 7"):
        task.read([1, 7], 2)
    with pytest.raises(ValueError, match="2 sequences, but y has 1 labels"):
        task.read([1], 2)
    with pytest.raises(ValueError, match="row 0 has the label 2"):
        Classes.learn([2], 1, declared=[1, 3])


def test_one_class_is_too_few():
    task, targets = Classes.learn(["x", "x"], 2)
    with pytest.raises(ValueError, match=r"y holds a single class, 'x'.*two or more"):
        task.check_enough(targets, whole=True)
    with pytest.raises(ValueError, match=r"a single class, 'x': pass all labels that will come as classes="):
        task.check_enough(targets, whole=False)
    known = Classes(THREE)
    known.check_enough(np.array([2, 2]), whole=False)
    with pytest.raises(ValueError, match="y holds a single class, 9"):
        known.check_enough(np.array([2, 2]), whole=True)


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_the_loss_is_the_weighted_cross_entropy_and_its_gradient_is_right(classes):
    task = Classes(classes)
    outputs, targets, weights = example(task.outputs)
    loss, d_outputs = task.loss(outputs, targets, weights)
    assert loss == pytest.approx(float((weights * truth.row_losses(outputs, targets)).mean()), rel=1e-12)
    for index in np.ndindex(*outputs.shape):
        moved = outputs.astype(complex)
        moved[index] += 1e-30j
        expected = np.imag((weights * truth.row_losses(moved, targets)).mean()) / 1e-30
        assert d_outputs[index] == pytest.approx(expected, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_scores_answers_and_probabilities(classes):
    task = Classes(classes)
    outputs, targets, weights = example(task.outputs, n=40)
    logits = np.concatenate([np.zeros((40, 1)), outputs], axis=1) if task.outputs == 1 else outputs
    best = [max(range(len(classes)), key=lambda k: row[k]) for row in logits]
    right = np.array([found == target for found, target in zip(best, targets, strict=True)])
    assert 5 < right.sum() < 35
    sums = task.score_sums(outputs, targets)
    assert task.scores([float(value) for value in sums], 40) == {"accuracy": right.mean()}
    assert task.score(outputs, targets, weights) == pytest.approx(float((right * weights).sum() / weights.sum()))
    assert task.answers(outputs).tolist() == [classes[k] for k in best]
    e = np.exp(logits)
    np.testing.assert_allclose(task.details(outputs), e / e.sum(axis=1, keepdims=True), rtol=1e-12)
    log_p = logits - np.log(e.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(task.log_probabilities(outputs), log_p, rtol=1e-12, atol=1e-14)
    assert task.offered("classes_") is task.classes
    for name, made in (("predict_proba", "details"), ("predict_log_proba", "log_probabilities")):
        np.testing.assert_array_equal(task.offered(name)(outputs), getattr(task, made)(outputs))
    np.testing.assert_array_equal(task.offered("decision_function")(outputs), task.decision(outputs))
    np.testing.assert_array_equal(task.decision(outputs), outputs[:, 0] if task.outputs == 1 else outputs)
    assert (task.score_names, task.goodness({"accuracy": 0.2}), task.best([0.2, 0.7, 0.5])) == (("accuracy",), 0.2, 0.7)


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_scores_on_every_array_library(xp, classes):
    task = Classes(classes)
    outputs, targets, _ = example(task.outputs, n=20)
    (hits,) = task.score_sums(xp.asarray(outputs), xp.asarray(targets))
    (expected,) = task.score_sums(outputs, targets)
    assert xp.to_host(hits) == expected > 0


def test_weights_are_those_of_the_rows_times_those_of_their_classes():
    task, targets = Classes(THREE), np.array([0, 2, 2, 1])
    assert task.weights(targets, None).tolist() == [1, 1, 1, 1]
    assert task.weights(targets, [1, 2, 0, 3]).tolist() == [1, 2, 0, 3]
    task.class_weight = {9: 3.0, 1: 0.5}
    assert task.weights(targets, [1, 2, 0, 3]).tolist() == [0.5, 6, 0, 3]
    task.class_weight = "balanced"
    np.testing.assert_allclose(task.weights(targets, None), [4 / 3, 2 / 3, 2 / 3, 4 / 3])
    task.class_weight = {7: 1.0}
    with pytest.raises(ValueError, match="names 7, which is no class"):
        task.weights(targets, None)


def test_a_task_follows_the_settings_of_its_estimator():
    class Estimator:
        class_weight = "balanced"

    task = Classes(TWO)
    task.follow(Estimator())
    assert task.class_weight == "balanced"


def test_the_split_keeps_the_proportion_of_the_classes():
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    kept, aside = Classes(THREE).split(targets, 0.2, np.random.default_rng(0))
    assert np.bincount(targets[aside]).tolist() == [12, 6, 2]
    assert sorted([*kept, *aside]) == list(range(100))


@pytest.mark.parametrize(
    "classes", [TWO, THREE, np.array([-1.0, 1e300]), np.array([False, True]), np.array(["ß", "日"])]
)
def test_classes_come_back_from_a_file(classes):
    task = Classes(classes)
    again = Classes.from_state(json.loads(json.dumps(task.state())))
    assert again.classes.dtype == classes.dtype
    assert again.classes.tolist() == classes.tolist()


def test_random_targets_are_targets():
    drawn = Classes(THREE).random_targets(200, np.random.default_rng(0))
    assert set(drawn.tolist()) == {0, 1, 2}


# ---------------------------------------------------------------- unless a task says otherwise


class Plain(Task):
    """A task that says nothing."""

    higher_is_better = False
    score_names = ("error", "other")


def test_rows_of_targets():
    task, rows = Plain(), np.array([3, 0])
    assert task.take(np.arange(5), rows).tolist() == [3, 0]
    for values, dtype in ((np.arange(5.0), "float32"), (np.arange(5), "int64"), (np.ones((5, 2)), "float32")):
        batch = task.batch(values, rows, CPU, "float32")
        assert str(batch.dtype) == dtype
        np.testing.assert_array_equal(batch, values[rows])


def test_the_split_is_at_random():
    kept, aside = Plain().split(np.zeros(10), 0.25, np.random.default_rng(0))
    other, _ = Plain().split(np.zeros(10), 0.25, np.random.default_rng(1))
    assert len(aside) == 3
    assert sorted([*kept, *aside]) == list(range(10))
    assert kept.tolist() == sorted(kept)
    assert kept.tolist() != other.tolist()
    with pytest.raises(ValueError, match="2 rows are too few to set 2 of them aside"):
        Plain().split(np.zeros(2), 0.9, np.random.default_rng(0))


def test_what_a_task_does_not_offer_is_missed_in_a_sentence():
    with pytest.raises(AttributeError, match=r"there is no classes_ for .* kind '', which have predict, score\."):
        Plain().offered("classes_")
    with pytest.raises(AttributeError, match=r"there is no transform .* 'classes', which have .*predict_proba"):
        Classes(TWO).offered("transform")


def test_what_tells_targets_apart():
    marks = Plain().marks(np.array([1.0, 2.0, 1.0]), 3)
    assert marks[0] == marks[2] != marks[1]
    assert Plain().marks(np.array([1, 2], dtype=np.float32), 2) == marks[:2]
    assert len(set(Plain().marks(np.array([[1, 2], [2, 1], [1, 1]]), 3))) == 3


def test_plain_weights_details_and_the_best_score():
    task = Plain()
    assert task.weights(np.zeros(3), None).tolist() == [1, 1, 1]
    assert task.weights(np.zeros(3), 2).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"sample_weight\[1\] is -1"):
        task.weights(np.zeros(2), [1, -1])
    outputs = np.ones((2, 3))
    assert task.details(outputs) is outputs
    assert task.best([0.5, 0.2, 0.7]) == 0.2
    assert task.goodness({"error": 0.2, "other": 9.0}) > task.goodness({"error": 0.5, "other": 0.0})
