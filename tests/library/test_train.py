# Longer than 500 lines: the tests of one source file stand in one file.
"""Training: whole runs beside the same by hand, weights of rows and classes, early stopping, Ctrl-C, divergence.

By hand means: gradients of plain loops, the papers' formulas for the solvers, one array a parameter. Batches are the
whole data there, so that no order of the rows matters.
"""

import contextlib
import copy
import gc
import io
import os
import pickle
import re
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import batch, interrupts, optim, train

from .. import classifier as truth
from ..peers import peer

TEXTS = ["ab", "b", "cab", "ba", "aac", "c", "bb"]
LABELS = ["x", "y", "x", "x", "z", "y", "x"]
TWO = ["x", "y", "x", "x", "y", "y", "x"]
NUMBERS = {"x": 0, "y": 1, "z": 2}
FULL = {"hidden_size": 2, "dtype": "float64", "batch_size": 100, "kernels": "reference", "random_state": 0}
PLAIN = {**FULL, "solver": "sgd", "momentum": 0.0, "max_grad_norm": None, "learning_rate_init": 0.5, "max_iter": 1}
NO_STEP = 1e-300
"""A learning rate that moves no parameter by as much as its last bit."""


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(**{"device": "cpu", **settings})


def start_of(X: Any, y: Any, **settings: Any) -> dict[str, np.ndarray]:
    """The parameters before any update."""
    quiet = {**settings, "learning_rate_init": NO_STEP, "solver": "sgd", "alpha": 0.0, "max_iter": 1}
    return truth.parameters_of(make(**quiet).fit(X, y))


def step_of(X: Any, y: Any, sample_weight: Any = None, **settings: Any) -> np.ndarray:
    """The gradient of the whole loss at the start, as one step of plain SGD shows it."""
    clf = make(**{**PLAIN, **settings}).fit(X, y, sample_weight)
    rate = clf.learning_rate_init
    return (truth.flat(start_of(X, y, **{**PLAIN, **settings})) - truth.flat(truth.parameters_of(clf))) / rate


# ---------------------------------------------------------------- whole trainings by hand


class ByHand:
    """Some updates on the whole data, by the formulas of the papers."""

    def __init__(self, cell: str, parameters: Mapping[str, np.ndarray], rows: Any, labels: Any, weights: Any) -> None:
        self.cell, self.rows, self.labels = cell, rows, labels
        self.weights = np.asarray(weights, dtype=np.float64) / np.mean(weights)
        self.p = {name: np.array(values) for name, values in parameters.items()}
        self.m = {name: np.zeros_like(values) for name, values in parameters.items()}
        self.v = {name: np.zeros_like(values) for name, values in parameters.items()}
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def update(
        self, t: int, rate: float, solver: str, alpha: float, max_norm: float | None, settings: Mapping[str, float]
    ) -> None:
        z = truth.logits(self.cell, self.p, self.rows)
        found = (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)
        self.losses.append(float((self.weights * truth.row_losses(z, self.labels)).mean()))
        self.accuracies.append(float((found == self.labels).mean()))
        g = truth.gradients(self.cell, self.p, self.rows, self.labels, self.weights)
        norm = float(np.sqrt(sum(float((values**2).sum()) for values in g.values())))
        for name, gradient in g.items():
            decay = 0.0 if "bias" in name else alpha
            p = self.p[name]
            if max_norm is not None and norm > max_norm:
                gradient = gradient * (max_norm / norm)
            if solver != "adamw":
                gradient = gradient + decay * p
            if solver == "sgd":
                self.v[name] = settings["momentum"] * self.v[name] - rate * gradient
                self.p[name] = p + self.v[name]
                continue
            b1, b2 = settings["beta_1"], settings["beta_2"]
            self.m[name] = b1 * self.m[name] + (1 - b1) * gradient
            self.v[name] = b2 * self.v[name] + (1 - b2) * gradient**2
            m_hat, v_hat = self.m[name] / (1 - b1**t), self.v[name] / (1 - b2**t)
            shrunk = p - rate * decay * p if solver == "adamw" else p
            self.p[name] = shrunk - rate * m_hat / (np.sqrt(v_hat) + settings["epsilon"])


def rate_by_hand(t: int, total: int, top: float, schedule: str, warmup: int) -> float:
    """Of update t = 1, 2, …"""
    if t <= warmup:
        return top * t / warmup
    if schedule == "constant":
        return top
    return top * (1 + np.cos(np.pi * (t - 1 - warmup) / (total - warmup))) / 2


SERIES = [np.random.default_rng(k).normal(3.0, 2.0, (n, 2)) for k, n in enumerate([2, 3, 1, 2, 3, 1, 2])]
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.5},
    "sgd without momentum": {"solver": "sgd", "learning_rate_init": 0.5, "momentum": 0.0},
    "adam": {"solver": "adam"},
    "adam with other averages": {"solver": "adam", "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3},
    "adamw": {"solver": "adamw", "alpha": 0.5},
    "penalty of sgd": {"solver": "sgd", "alpha": 0.1, "learning_rate_init": 0.1},
    "penalty of adam": {"solver": "adam", "alpha": 0.1},
    "clipped": {"solver": "sgd", "learning_rate_init": 0.5, "max_grad_norm": 0.05},
    "clipped adam": {"solver": "adam", "max_grad_norm": 0.05},
    "a clip out of reach": {"solver": "sgd", "learning_rate_init": 0.5, "max_grad_norm": 1e6},
    "cosine": {"solver": "adam", "learning_rate": "cosine"},
    "constant": {"solver": "adam", "learning_rate": "constant"},
    "the last step alone": {"readout": "final", "bidirectional": True},
    "warm-up": {"solver": "adam", "learning_rate": "constant", "warmup": 2},
    "warm-up and cosine": {"solver": "adam", "learning_rate": "cosine", "warmup": 2},
    "warm-up longer than the training": {"solver": "adam", "warmup": 10},
    "two classes": {"y": TWO},
    "class weights": {"class_weight": {"x": 0.3, "z": 2.0}},
    "balanced": {"class_weight": "balanced"},
    "balanced, two classes": {"class_weight": "balanced", "y": TWO},
    "row weights": {"sample_weight": [1.0, 0.5, 0.0, 2.0, 3.0, 1.0, 0.25]},
    "both weights": {"sample_weight": [1, 2, 0, 1, 3, 1, 4], "class_weight": {"x": 0.3, "z": 2.0}},
    "balanced, of weighted rows": {"sample_weight": [1, 2, 0, 1, 3, 1, 4], "class_weight": "balanced"},
    "embedding": {"embedding_size": 2, "solver": "adamw", "alpha": 0.5},
    "rnn in both directions": {"cell": "rnn", "bidirectional": True},
    "two layers in both directions": {"num_layers": 2, "bidirectional": True, "max_grad_norm": 0.2},
    "series": {"X": SERIES},
    "series as they are": {"X": SERIES, "standardize": False},
    "more epochs": {"max_iter": 9, "learning_rate": "cosine"},
}


@pytest.fixture(params=["whole", "in pieces"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches whole, or in pieces of at most four steps."""
    if request.param == "in pieces":
        monkeypatch.setattr(batch, "MAX_STEPS", 4)
        monkeypatch.setattr(batch, "MOST_STEPS", 4)


@pytest.mark.parametrize("name", RUNS)
def test_training_is_what_it_is_by_hand(name, batches):
    given = {"X": TEXTS, "y": LABELS, "sample_weight": None, **RUNS[name]}
    X, y, sample_weight = (given.pop(part) for part in ("X", "y", "sample_weight"))
    settings = {**FULL, "max_iter": 4, "learning_rate_init": 0.05, "max_grad_norm": None, "alpha": 0.0, **given}
    clf = make(**settings).fit(X, y, sample_weight)

    rows = truth.token_numbers(X, "abc") if X is TEXTS else X if not clf.standardize else truth.standardised(X)
    labels = [NUMBERS[label] for label in y]
    weights = np.ones(len(y)) if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    factors = clf.class_weight or {}
    if factors == "balanced":  # each class weighs as much as each other, all together as much as there are rows
        factors = {label: weights.sum() / 3 / weights[np.array(y) == label].sum() for label in "xyz"[: len(set(y))]}
    weights = weights * [factors.get(label, 1.0) for label in y]
    hand = ByHand(clf.cell, start_of(X, y, **settings), rows, labels, weights)
    for t in range(1, clf.max_iter + 1):
        rate = rate_by_hand(t, clf.max_iter, clf.learning_rate_init, clf.learning_rate, clf.warmup)
        numbers = {number: getattr(clf, number) for number in ("momentum", "beta_1", "beta_2", "epsilon")}
        hand.update(t, rate, clf.solver, clf.alpha, clf.max_grad_norm, numbers)

    np.testing.assert_allclose(clf.loss_curve_, hand.losses, rtol=1e-9)
    np.testing.assert_allclose(clf.accuracy_curve_, hand.accuracies, rtol=1e-12)
    for parameter, values in truth.parameters_of(clf).items():
        np.testing.assert_allclose(values, hand.p[parameter], rtol=1e-8, atol=1e-10, err_msg=parameter)
    assert not np.allclose(truth.flat(hand.p), truth.flat(start_of(X, y, **settings)), atol=1e-3)


OF_STEPS = [list(labels) for labels in ("xy", "xyz", "x", "xx", "zxz", "y", "zy")]
PIECES: dict[str, dict[str, Any]] = {
    "numbers": {"estimator": xlstm.SequenceRegressor, "loss": "huber", "y": np.arange(7.0)},
    "weighted": {"sample_weight": [1.0, 0.5, 0.0, 2.0, 3.0, 1.0, 0.25]},
    "more numbers": {"estimator": xlstm.SequenceRegressor, "readout": "attention", "y": np.eye(7)[:, :2]},
    "several labels": {"y": [[], ["p"], ["p", "q"], ["q"], ["p"], [], ["q", "r"]]},
    "steps": {"estimator": xlstm.SequenceLabeler, "class_weight": "balanced", "y": OF_STEPS},
    "steps of which some count": {"estimator": xlstm.SequenceLabeler, "ignore": "x", "y": OF_STEPS},
}


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("kind", PIECES)
def test_the_pieces_of_a_batch_are_one_update(kind, solver, monkeypatch):
    settings = {**FULL, "max_iter": 3, "batch_size": 4, "bidirectional": True, "solver": solver, **PIECES[kind]}
    estimator, weights = settings.pop("estimator", xlstm.SequenceClassifier), settings.pop("sample_weight", None)
    y = settings.pop("y", LABELS)

    def trained(steps: int) -> xlstm.SequenceClassifier:
        monkeypatch.setattr(batch, "MAX_STEPS", steps)
        monkeypatch.setattr(batch, "MOST_STEPS", steps)
        return estimator(device="cpu", **settings).fit(SERIES, y, weights)

    whole, parted = trained(10**6), trained(1)
    np.testing.assert_allclose(
        truth.flat(truth.parameters_of(parted)), truth.flat(truth.parameters_of(whole)), rtol=1e-10
    )
    np.testing.assert_allclose(parted.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert parted.fitted_state().trainer.optimizer.updates == whole.fitted_state().trainer.optimizer.updates == 6


def test_pieces_have_their_randomness_from_the_seed(monkeypatch):
    monkeypatch.setattr(batch, "MAX_STEPS", 3)
    monkeypatch.setattr(batch, "MOST_STEPS", 3)
    settings = {**FULL, "num_layers": 2, "dropout": 0.4, "token_dropout": 0.2, "max_iter": 3}
    first, again, other = (make(**{**settings, "random_state": seed}).fit(TEXTS, LABELS) for seed in (0, 0, 1))
    assert first.loss_curve_ == again.loss_curve_ != other.loss_curve_
    np.testing.assert_array_equal(first.predict_proba(TEXTS), again.predict_proba(TEXTS))


@pytest.mark.parametrize("estimator", [xlstm.SequenceClassifier, xlstm.SequenceLabeler])
def test_memory_goes_with_the_steps_that_are_there(estimator):
    """Of one long row among many short ones: padded to it they would take a hundred times as much."""
    lengths = [3] * 127 + [20_000]
    X = [np.sin(np.arange(n)) for n in lengths]
    y: Any = [k % 2 for k in range(128)]
    if estimator is xlstm.SequenceLabeler:
        y = [np.arange(n) % 2 for n in lengths]
    model = estimator(hidden_size=2, max_iter=1, batch_size=128, random_state=0, device="cpu")
    order = np.random.default_rng(0).permutation(128)
    tracemalloc.start()
    try:
        model.fit(X, y)
        answers, others = model.predict_proba(X), model.predict_proba([X[k] for k in order])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 300 * sum(lengths)  # bytes: kernels, or plain NumPy with its tape
    for place, row in enumerate(order):
        np.testing.assert_array_equal(others[place], answers[row])


@pytest.mark.parametrize("schedule", [{}, {"learning_rate": "constant", "warmup": 2}])
def test_a_second_training_has_a_schedule_of_its_own(schedule):
    settings = {**PLAIN, **schedule, "max_iter": 3, "warm_start": True}
    clf = make(**settings).fit(TEXTS, LABELS).fit(TEXTS, LABELS)
    rows, numbers = truth.token_numbers(TEXTS, "abc"), [NUMBERS[label] for label in LABELS]
    hand = ByHand("lstm", start_of(TEXTS, LABELS, **PLAIN), rows, numbers, np.ones(7))
    for t in (1, 2, 3, 1, 2, 3):
        hand.update(t, rate_by_hand(t, 3, 0.5, clf.learning_rate, clf.warmup), "sgd", 0.0, None, {"momentum": 0.0})
    np.testing.assert_allclose(clf.loss_curve_, hand.losses[3:], rtol=1e-9)
    for name, values in truth.parameters_of(clf).items():
        np.testing.assert_allclose(values, hand.p[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_the_loss_of_an_epoch_is_the_mean_over_its_rows_whatever_the_batches():
    weights = np.array([1.0, 0.5, 0.0, 2.0, 3.0, 1.0, 0.25])
    settings = {**PLAIN, "learning_rate_init": NO_STEP, "max_iter": 2}
    start = start_of(TEXTS, LABELS, **PLAIN)
    numbers = [NUMBERS[label] for label in LABELS]
    expected = truth.loss("lstm", start, truth.token_numbers(TEXTS, "abc"), numbers, weights / weights.mean())
    for size in (1, 3, 4, 7):
        clf = make(**{**settings, "batch_size": size}).fit(TEXTS, LABELS, weights)
        np.testing.assert_allclose(clf.loss_curve_, [expected, expected], rtol=1e-12)
        assert clf.accuracy_curve_[0] == pytest.approx(clf.score(TEXTS, LABELS))
        assert clf.loss_ == clf.loss_curve_[-1]


# ---------------------------------------------------------------- weights


def test_whole_weights_are_repetitions():
    """The gradient of the loss is the same, to the last digits."""
    weights = [1, 3, 0, 2, 1, 4, 1]
    repeated = [k for k, weight in enumerate(weights) for _ in range(weight)]
    texts, labels = [TEXTS[k] for k in repeated], [LABELS[k] for k in repeated]
    for class_weight in (None, "balanced", {"x": 3.0}):
        expected = step_of(texts, labels, class_weight=class_weight)
        found = step_of(TEXTS, LABELS, weights, class_weight=class_weight)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_rows_of_weight_zero_are_as_if_removed():
    texts, labels = [*TEXTS, "abc", "cb"], [*LABELS, "y", "z"]
    expected = step_of(TEXTS, LABELS)
    np.testing.assert_allclose(step_of(texts, labels, [1] * 7 + [0] * 2), expected, rtol=1e-9, atol=1e-12)
    assert not np.allclose(step_of(texts, labels), expected, atol=1e-3)


def test_rows_of_weight_zero_that_say_the_contrary_do_no_harm():
    X, y = truth.last_letter(120, letters="ab")
    wrong = ["a" if label == "b" else "b" for label in y]
    clf = make(hidden_size=8, max_iter=30, learning_rate_init=0.02, random_state=0)
    clf.fit(X + X, y + wrong, sample_weight=[1] * 120 + [0] * 120)
    assert clf.score(X, y) == 1.0


def test_the_scale_of_all_weights_is_of_no_effect():
    weights = np.array([1.0, 0.5, 0.0, 2.0, 3.0, 1.0, 0.25])
    np.testing.assert_allclose(step_of(TEXTS, LABELS, 10 * weights), step_of(TEXTS, LABELS, weights), rtol=1e-9)
    np.testing.assert_array_equal(step_of(TEXTS, LABELS, 2.0), step_of(TEXTS, LABELS))


def test_the_gradient_is_linear_in_the_class_weights():
    """With each class alone, and from these with any weights: n_k·w_k·g_k summed, over the sum of n_k·w_k."""
    alone = {k: step_of(TEXTS, LABELS, class_weight={other: float(other == k) for other in "xyz"}) for k in "xyz"}
    chosen = {"x": 0.2, "y": 3.0, "z": 1.5}
    sums = {k: LABELS.count(k) * chosen[k] for k in "xyz"}
    expected = sum(sums[k] * alone[k] for k in "xyz") / sum(sums.values())
    np.testing.assert_allclose(step_of(TEXTS, LABELS, class_weight=chosen), expected, rtol=1e-9, atol=1e-12)
    assert not np.allclose(step_of(TEXTS, LABELS), expected, atol=1e-3)


def test_balanced_weights_raise_the_recall_of_the_rare_class():
    rng = np.random.default_rng(0)
    y = np.array([0] * 180 + [1] * 20)
    X = rng.normal(y * 1.2, 1.0, (3, 200)).T[:, :, None]
    settings = {"hidden_size": 4, "max_iter": 20, "learning_rate_init": 0.02, "random_state": 0}
    recall = {}
    for class_weight in (None, "balanced"):
        clf = make(**settings, class_weight=class_weight).fit(X, y)
        recall[class_weight] = clf.score(X[180:], y[180:])
    assert recall["balanced"] > recall[None] + 0.2, recall


# ---------------------------------------------------------------- clipping


@pytest.mark.parametrize("bound", [1e-3, 1e-6])
def test_a_step_is_never_longer_than_the_clip(bound):
    unclipped = step_of(TEXTS, LABELS)
    clipped = step_of(TEXTS, LABELS, max_grad_norm=bound)
    assert np.linalg.norm(unclipped) > bound
    assert np.linalg.norm(clipped) == pytest.approx(bound, rel=1e-6)
    np.testing.assert_allclose(clipped / bound, unclipped / np.linalg.norm(unclipped), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- what is learned


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
def test_every_solver_learns(solver):
    X, y = truth.last_letter(150)
    rate = {"adam": 0.02, "adamw": 0.02, "sgd": 0.5}[solver]
    clf = make(hidden_size=8, max_iter=25, solver=solver, learning_rate_init=rate, random_state=0, alpha=1e-4)
    clf.fit(X, y)
    assert clf.score(*truth.last_letter(100, seed=1)) >= 0.97
    assert clf.loss_curve_[-1] < 0.3 * clf.loss_curve_[0]
    assert clf.accuracy_curve_[-1] > 0.95


@pytest.mark.parametrize("settings", [{"learning_rate": "cosine"}, {"warmup": 20}, {"dropout": 0.2, "num_layers": 2}])
def test_every_schedule_learns(settings):
    X, y = truth.last_letter(150)
    clf = make(hidden_size=12, max_iter=30, learning_rate_init=0.02, random_state=0, **settings).fit(X, y)
    assert clf.score(*truth.last_letter(100, seed=1)) >= 0.97


# ---------------------------------------------------------------- the unknown token


def unknown_weights(clf: xlstm.SequenceClassifier) -> np.ndarray:
    """All by which a token that training never held could act."""
    p = truth.parameters_of(clf)
    if "embedding.weight" in p:
        return p["embedding.weight"][0]
    return np.concatenate([p[name][:, 0] for name in p if "weight_ih_l0" in name])


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("embedding_size", [None, 3])
def test_the_unknown_token_stays_silent_through_all_training(solver, embedding_size):
    X, y = truth.last_letter(60, letters="ab")
    clf = make(
        hidden_size=4, embedding_size=embedding_size, bidirectional=True, solver=solver, alpha=0.1, max_iter=3,
        warm_start=True, random_state=0,
    )  # fmt: skip
    strange = [text.replace("a", "?") for text in X]
    for train_more in (clf.fit, clf.fit, clf.partial_fit, lambda X, y: clf.partial_fit(strange, y)):
        train_more(X, y)
        assert (unknown_weights(clf) == 0).all()
    # Nothing but the length can tell two texts of unknown letters from each other.
    np.testing.assert_array_equal(clf.predict_proba(["??", "?", "??!"]), clf.predict_proba(["zz", "é", "123"]))
    without = {name: values for name, values in truth.parameters_of(clf).items() if name != "embedding.weight"}
    width = without["recurrent.weight_ih_l0"].shape[1]
    z = truth.logits("lstm", without, [np.zeros((2, width)), np.zeros((1, width)), np.zeros((3, width))])
    np.testing.assert_allclose(clf.decision_function(["??", "?", "??!"]), z[:, 0], rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- the same again


DRAWN = {"hidden_size": 5, "max_iter": 4, "batch_size": 8, "dropout": 0.3, "num_layers": 2, "early_stopping": True}


def test_the_same_seed_gives_the_same_bits():
    X, y = truth.last_letter(60)
    first, second = (make(**DRAWN, random_state=7).fit(X, y) for _ in range(2))
    assert truth.whole_state(first) == truth.whole_state(second)
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    other = make(**DRAWN, random_state=8).fit(X, y)
    assert other.loss_curve_ != first.loss_curve_
    assert not np.array_equal(other.predict_proba(X), first.predict_proba(X))


def test_a_generator_and_no_seed_are_drawn_from():
    X, y = truth.last_letter(40)
    clfs = [make(**DRAWN, random_state=np.random.default_rng(7)).fit(X, y) for _ in range(2)]
    np.testing.assert_array_equal(clfs[0].predict_proba(X), clfs[1].predict_proba(X))
    one = make(**DRAWN, random_state=np.random.RandomState(3)).fit(X, y)
    two = make(**DRAWN, random_state=np.random.RandomState(3)).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    fresh = [make(**DRAWN).fit(X, y) for _ in range(2)]
    assert not np.array_equal(fresh[0].predict_proba(X), fresh[1].predict_proba(X))


# ---------------------------------------------------------------- how long


def test_without_max_iter_there_is_a_budget_of_updates():
    """More rows, more updates an epoch: fewer epochs."""
    epochs = {}
    for n in (6, 48, 96):
        X, y = truth.last_letter(n, letters="ab")
        epochs[n] = make(hidden_size=1, batch_size=2, random_state=0).fit(X, y).n_iter_
    assert epochs[6] > epochs[48] >= epochs[96] > 1


def test_max_iter_counts_epochs():
    X, y = truth.last_letter(20)
    clf = make(hidden_size=2, max_iter=3, batch_size=2, random_state=0).fit(X, y)
    assert clf.n_iter_ == len(clf.loss_curve_) == len(clf.accuracy_curve_) == 3


def count_updates(monkeypatch: Any) -> list[int]:
    """The number of rows of no interest, one entry an update."""
    seen: list[int] = []
    right = optim.Optimizer.step

    def step(self: Any, *arguments: Any) -> None:
        seen.append(1)
        right(self, *arguments)

    monkeypatch.setattr(optim.Optimizer, "step", step)
    return seen


@pytest.mark.parametrize(("size", "updates"), [(1, 20), (3, 7), (10, 2), (20, 1), (1000, 1)])
def test_batch_size_says_how_many_updates_an_epoch_has(monkeypatch, size, updates):
    seen = count_updates(monkeypatch)
    X, y = truth.last_letter(20)
    make(hidden_size=2, max_iter=2, batch_size=size, random_state=0).fit(X, y)
    assert len(seen) == 2 * updates


def test_the_batch_size_grows_with_the_data(monkeypatch):
    seen = count_updates(monkeypatch)
    updates = {}
    for n in (20, 200, 6400):
        seen.clear()
        X, y = ["ab", "b"] * (n // 2), [0, 1] * (n // 2)
        make(hidden_size=1, max_iter=1, random_state=0).fit(X, y)
        updates[n] = len(seen)
    assert updates[20] == 1
    assert 3 <= updates[200] <= 20
    assert 20 <= updates[6400] <= 200


# ---------------------------------------------------------------- early stopping


@pytest.fixture
def split(monkeypatch):
    return truth.Split(monkeypatch)


NOISY = (truth.random_texts(80, 5), ["xy"[k] for k in np.random.default_rng(5).integers(0, 2, 80)])
"""Labels drawn at random: what is learned is of no use elsewhere, and accuracy there wanders."""
STOPPING = {"hidden_size": 8, "learning_rate_init": 0.05, "early_stopping": True, "validation_fraction": 0.3,
            "random_state": 0}  # fmt: skip


def part(values: Sequence[Any], rows: np.ndarray) -> list[Any]:
    return [values[k] for k in rows]


def test_early_stopping_restores_the_best_weights(split):
    X, y = NOISY
    for seed in range(10):
        settings = {**STOPPING, "random_state": seed}
        clf = make(**settings, max_iter=25, n_iter_no_change=25).fit(X, y)
        scores = clf.validation_scores_
        assert len(scores) == len(clf.validation_loss_curve_) == clf.n_iter_ == 25
        assert clf.best_validation_score_ == max(scores)
        assert clf.score(part(X, split.aside), part(y, split.aside)) == pytest.approx(max(scores))
        assert len(split.aside) == 24  # 0.3 of 80
        assert set(split.kept) | set(split.aside) == set(range(80))
        if scores[-1] < max(scores):
            break
    else:
        pytest.fail("no training ended worse than at its best: the example shows nothing")


def test_of_two_epochs_alike_the_one_with_the_lower_loss_is_kept(split):
    X, y = truth.last_letter(80)  # all right soon, and surer of it with each epoch
    clf = make(**STOPPING, max_iter=40, n_iter_no_change=40).fit(X, y)
    assert clf.validation_scores_.count(1.0) > 1
    best = max(zip(clf.validation_scores_, (-loss for loss in clf.validation_loss_curve_), strict=True))
    p = clf.predict_proba(part(X, split.aside))
    columns = [list(clf.classes_).index(label) for label in part(y, split.aside)]
    assert -np.log(p[np.arange(len(columns)), columns]).mean() == pytest.approx(-best[1], rel=1e-4)


def test_early_stopping_stops_early():
    X, y = NOISY
    clf = make(**STOPPING, max_iter=200, n_iter_no_change=5).fit(X, y)
    assert 5 < clf.n_iter_ < 200
    best = int(np.argmax(clf.validation_scores_))
    assert clf.n_iter_ == best + 1 + 5


def test_tol_is_how_much_better_an_epoch_has_to_be():
    X, y = truth.last_letter(80)
    settings = {**STOPPING, "learning_rate_init": 0.01, "max_iter": 30, "n_iter_no_change": 5}
    assert make(**settings).fit(X, y).n_iter_ > 6
    assert make(**settings, tol=1.0).fit(X, y).n_iter_ == 6


def test_early_stopping_is_off_by_default(split):
    X, y = NOISY
    clf = make(hidden_size=2, max_iter=3, random_state=0).fit(X, y)
    assert not clf.early_stopping
    assert len(split.aside) == 0
    for name in ("validation_scores_", "validation_loss_curve_", "best_validation_score_"):
        assert not hasattr(clf, name)


def test_the_validation_part_has_each_class_in_its_proportion(split):
    y = np.array([0] * 60 + [1] * 30 + [2] * 10)
    X = np.random.default_rng(0).standard_normal((100, 3))
    make(hidden_size=2, max_iter=1, early_stopping=True, validation_fraction=0.2, random_state=0).fit(X, y)
    assert np.bincount(y[split.aside]).tolist() == [12, 6, 2]


# ---------------------------------------------------------------- Ctrl-C


class CtrlC(io.StringIO):
    """A stderr in whose line of the given epoch the user presses Ctrl-C."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.trigger = f"epoch {epoch}/"

    def write(self, text: str) -> int:
        if self.trigger in text:
            raise KeyboardInterrupt
        return super().write(text)


def interrupt_update(monkeypatch: Any, number: int) -> None:
    """Ctrl-C in one of the updates, 1 the first."""
    seen = [0]

    right = optim.Optimizer.step

    def step(self: Any, *arguments: Any) -> None:
        right(self, *arguments)
        seen[0] += 1
        if seen[0] == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(optim.Optimizer, "step", step)


SHORT = {"hidden_size": 4, "batch_size": 10, "random_state": 0, "learning_rate_init": 0.02, "learning_rate": "constant"}


def cell(code: str, **names: Any) -> dict[str, Any]:
    """Run code as a cell of a notebook does: each time a run of its own. Gives the names that it has then."""
    exec(compile(code, "<cell>", "exec"), names)
    return names


INTERRUPTED = (
    r"training interrupted after (1 whole epoch|\d whole epochs); the model of the best of them is kept.*"
    "Ctrl-C once more"
)


def test_ctrl_c_leaves_the_model_of_the_last_whole_epoch(monkeypatch):
    X, y = truth.last_letter(30)
    expected = {epochs: make(**SHORT, max_iter=epochs).fit(X, y) for epochs in (2, 3)}

    after_an_epoch, within_an_epoch = make(**SHORT, max_iter=9, verbose=True), make(**SHORT, max_iter=9)
    monkeypatch.setattr(sys, "stderr", CtrlC(epoch=3))
    with pytest.warns(xlstm.InterruptedFit, match="after 3 whole epochs"):
        cell("clf.fit(X, y)", clf=after_an_epoch, X=X, y=y)
    monkeypatch.undo()
    interrupt_update(monkeypatch, 8)  # of the third epoch's three, the second
    with pytest.warns(xlstm.InterruptedFit, match="after 2 whole epochs"):
        cell("clf.fit(X, y)", clf=within_an_epoch, X=X, y=y)
    monkeypatch.undo()

    for clf, epochs in ((after_an_epoch, 3), (within_an_epoch, 2)):
        assert clf.n_iter_ == epochs
        assert clf.loss_curve_ == expected[epochs].loss_curve_
        np.testing.assert_array_equal(clf.predict_proba(X), expected[epochs].predict_proba(X))
        clf.partial_fit(X, y)
        assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("epoch", [1, 2, 5, 6])
@pytest.mark.parametrize("rising", [True, False])
def test_ctrl_c_leaves_the_best_validated_model(monkeypatch, split, rising, epoch):
    """Where scores rise, it is that of the very epoch that was interrupted as it was told of."""
    X, y = truth.last_letter(80) if rising else NOISY
    monkeypatch.setattr(sys, "stderr", CtrlC(epoch))
    settings = {**STOPPING, "learning_rate_init": 0.01} if rising else STOPPING
    clf = make(**settings, max_iter=40, n_iter_no_change=40, verbose=True)
    with pytest.warns(xlstm.InterruptedFit, match=INTERRUPTED):
        cell("clf.fit(X, y)", clf=clf, X=X, y=y)
    assert clf.n_iter_ == len(clf.validation_scores_) == epoch
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert clf.score(part(X, split.aside), part(y, split.aside)) == pytest.approx(max(clf.validation_scores_))


def test_ctrl_c_before_the_first_epoch_ended_is_raised_again(monkeypatch):
    X, y = truth.last_letter(30)
    new, old = make(**SHORT, max_iter=9), make(**SHORT, max_iter=2, warm_start=True).fit(X, y)
    before = truth.whole_state(old)
    for clf in (new, old):
        interrupt_update(monkeypatch, 2)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, y)
        monkeypatch.undo()
    interrupt_update(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        old.partial_fit(X, y)
    assert not hasattr(new, "classes_")
    assert truth.whole_state(old) == before


def ctrl_c_after(epoch: int) -> Callable[..., None]:
    """A `progress` that is interrupted when it is told of that epoch."""

    def progress(number: int, *_: Any) -> None:
        if number == epoch:
            raise KeyboardInterrupt

    return progress


def test_a_second_ctrl_c_ends_the_run_and_changes_nothing():
    """One after the other in a loop; what was trained before the second stays as it was."""
    X, y = truth.last_letter(30)
    models = [make(**SHORT, max_iter=5, warm_start=True) for _ in range(3)]
    for clf in models:
        clf.progress = ctrl_c_after(2)
    code = """
for clf in models:
    clf.fit(X, y)
"""
    with pytest.warns(xlstm.InterruptedFit) as caught, pytest.raises(KeyboardInterrupt):
        cell(code, models=models, X=X, y=y)
    assert [(warning.filename, warning.lineno) for warning in caught] == [("<cell>", 3)]
    assert models[0].n_iter_ == 2
    assert [hasattr(clf, "classes_") for clf in models] == [True, False, False]
    before = truth.whole_state(models[0])
    with pytest.warns(xlstm.InterruptedFit), pytest.raises(KeyboardInterrupt):
        cell(code, models=[models[1], models[0]], X=X, y=y)
    assert truth.whole_state(models[0]) == before
    assert models[1].n_iter_ == 2


def test_each_cell_has_a_ctrl_c_of_its_own():
    """The same code once more is another cell; a function of another cell belongs to the one that calls it."""
    X, y = truth.last_letter(30)
    names = cell(
        """
def train(X, y):
    return [make().fit(X, y) for _ in range(2)][0]
""",
        make=lambda: interrupted_in_its_second_epoch(),
    )
    made: list[xlstm.SequenceClassifier] = []

    def interrupted_in_its_second_epoch() -> xlstm.SequenceClassifier:
        made.append(make(**SHORT, max_iter=5))
        if len(made) % 2:
            made[-1].progress = ctrl_c_after(2)
        return made[-1]

    for _ in range(3):
        with pytest.warns(xlstm.InterruptedFit):
            cell("train(X, y)", train=names["train"], X=X, y=y)
    assert [clf.n_iter_ for clf in made] == [2, 5] * 3


def test_where_warnings_are_errors_the_model_is_kept_all_the_same():
    X, y = truth.last_letter(30)
    clf = make(**SHORT, max_iter=5)
    clf.progress = ctrl_c_after(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(xlstm.InterruptedFit, match="after 1 whole epoch"):
            cell("clf.fit(X, y)", clf=clf, X=X, y=y)
    assert clf.n_iter_ == 1
    assert clf.predict(X).shape == (30,)


def test_an_interrupted_run_keeps_no_data_alive():
    X, y = truth.raised_channel(30)
    clf = make(**SHORT, max_iter=5)
    clf.progress = ctrl_c_after(1)
    alive = weakref.ref(X)
    with pytest.warns(xlstm.InterruptedFit):
        cell("clf.fit(X, y)", clf=clf, X=X, y=y)
    del X
    gc.collect()
    assert alive() is None


PROGRAM = """
import os, signal, sys, warnings
import numpy as np
import xlstm
{prelude}

trained = []

class Watched(xlstm.SequenceClassifier):
    def fit(self, X, y):
        trained.append(self)
        self.progress = lambda epoch, *_: epoch == 2 and len(trained) <= {times} and os.kill(os.getpid(), signal.SIGINT)
        return super().fit(X, y)

X, y = ["ab", "b", "ba", "aa"] * 10, ["b", "b", "a", "a"] * 10
clf = Watched(hidden_size=2, max_iter=4, random_state=0, device="cpu")
try:
    {body}
except KeyboardInterrupt:
    print("stopped", end=" ")
print(len(trained), [getattr(clf, "n_iter_", None) for clf in trained])
"""


def program(body: str, times: int, prelude: str = "") -> tuple[str, str]:
    """What a program in which Ctrl-C comes `times` times, once in each fit, writes to stdout and to stderr."""
    code = PROGRAM.format(body=body, times=times, prelude=prelude)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    return done.stdout.strip(), done.stderr


SEARCH = {
    "a loop": ("[Watched(hidden_size=2, max_iter=4, device='cpu').fit(X, y) for _ in range(4)]", ""),
    "a grid search": (
        "GridSearchCV(clf, {'hidden_size': [2, 3]}, cv=2, refit=False).fit(X, y)",
        "from sklearn.model_selection import GridSearchCV",
    ),
}


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("loop", SEARCH)
def test_a_loop_of_trainings_ends_at_the_second_ctrl_c(loop):
    body, prelude = SEARCH[loop]
    if prelude:
        peer("sklearn")
    out, err = program(body, 0, prelude)
    assert (out, err) == ("4 [4, 4, 4, 4]", "")
    out, err = program(body, 1, prelude)
    assert out == "4 [2, 4, 4, 4]"
    assert err.count("InterruptedFit: training interrupted after 2 whole epochs") == 1
    out, err = program(body, 2, prelude)
    assert out == "stopped 2 [2, None]"
    assert err.count("InterruptedFit: training interrupted after 2 whole epochs") == 1


# ---------------------------------------------------------------- early stopping over warm starts


class Sides:
    """Watches which rows train and which validate: of each fit, two lists of the first numbers of series."""

    def __init__(self, monkeypatch: Any) -> None:
        self.trained: list[list[float]] = []
        self.aside: list[list[float]] = []
        right = train.Trainer.fit

        def fit(trainer: Any, training: Any, validation: Any, *more: Any) -> bool:
            for side, rows in ((self.trained, training), (self.aside, validation)):
                side.append([] if rows is None else rows.data.steps[rows.data.starts, 0].tolist())
            return right(trainer, training, validation, *more)

        monkeypatch.setattr(train.Trainer, "fit", fit)


@pytest.fixture
def sides(monkeypatch):
    return Sides(monkeypatch)


def numbered(n: int, first: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Series that begin with their number, and two classes."""
    rng = np.random.default_rng(first)
    numbers = np.arange(first, first + n)
    return [np.array([k, *rng.standard_normal(1 + k % 3)]) for k in numbers], numbers % 2


WARM = {
    "hidden_size": 2, "early_stopping": True, "validation_fraction": 0.25, "warm_start": True, "max_iter": 2,
    "standardize": False, "random_state": 0,
}  # fmt: skip


def saved_and_loaded(clf: xlstm.SequenceClassifier) -> xlstm.SequenceClassifier:
    with tempfile.TemporaryDirectory() as folder:
        clf.save(Path(folder) / "model")
        return xlstm.load(Path(folder) / "model", "cpu")


COPIES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda clf: clf,
    "saved and loaded": saved_and_loaded,
    "to": lambda clf: clf.to("cpu"),
    "deepcopy": copy.deepcopy,
    "pickle": lambda clf: pickle.loads(pickle.dumps(clf)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_what_validated_never_trains_over_warm_starts(sides, kind):
    """Rows in other orders, more of them, fewer of them."""
    X, y = numbered(40)
    clf = make(**WARM).fit(X, y)
    for seed in range(3):
        clf = COPIES[kind](clf)
        order = np.random.default_rng(seed).permutation(40)
        clf.fit(part(X, order), y[order])
        assert sorted(sides.aside[-1]) == sides.aside[0]
        assert sorted(sides.trained[-1]) == sides.trained[0]
    more, labels = numbered(8, first=40)
    clf = COPIES[kind](clf).fit([*more, *X], np.concatenate([labels, y]))
    assert len(sides.aside[-1]) == 10 + 2  # of the new ones, the same part
    assert sum(number >= 40 for number in sides.aside[-1]) == 2
    some = [*X[::2], *more[1:]]
    COPIES[kind](clf).fit(some, np.concatenate([y[::2], labels[1:]]))
    trained, aside = (set().union(*side) for side in (sides.trained, sides.aside))
    assert not trained & aside
    assert trained | aside == set(range(48))


def test_the_first_part_is_drawn_as_ever(sides):
    """The seed's first draws: before the weights, and none more than before rows were remembered."""
    X, y = numbered(40)
    make(**WARM).fit(X, y)
    kept, aside = batch.stratified_split(y, 0.25, np.random.default_rng(0))
    assert sides.trained == [kept.tolist()]
    assert sides.aside == [aside.tolist()]


def test_the_same_row_twice_is_two_rows(sides):
    X, y = numbered(8)
    twice = [x for x in X for _ in range(3)]
    clf = make(**WARM).fit(twice, np.repeat(y, 3))
    order = np.random.default_rng(0).permutation(24)
    clf.fit(part(twice, order), np.repeat(y, 3)[order])
    assert len(sides.aside[0]) == 6
    for side in (sides.trained, sides.aside):
        assert sorted(side[1]) == side[0]


def test_a_row_with_another_answer_is_another_row(sides):
    X, y = numbered(40)
    clf = make(**WARM).fit(X, y)
    clf.fit([*X, *X], np.concatenate([y, 1 - y]))
    assert len(sides.aside[1]) == 20
    assert set(sides.aside[0]) <= set(sides.aside[1])


def test_parts_are_remembered_as_trained_on(sides):
    X, y = numbered(40)
    clf = make(**WARM)
    clf.partial_fit(X[:20], y[:20])
    clf.partial_fit(X[10:24], y[10:24])
    clf.fit(X, y)
    assert len(sides.aside[-1]) == 4  # of the sixteen that are new
    assert min(sides.aside[-1]) >= 24
    # What validated and is trained on now, by a part or without early stopping, validates no more.
    moved = [int(number) for number in sides.aside[-1][:2]]
    clf.set_params(early_stopping=False).partial_fit(part(X, moved), y[moved])
    clf.set_params(early_stopping=True).fit(X, y)
    assert sides.aside[-1] == sides.aside[-3][2:]
    assert set(moved) <= set(sides.trained[-1])


def test_where_nothing_is_left_to_validate_a_new_part_is_drawn(sides):
    X, y = numbered(40)
    clf = make(**{**WARM, "early_stopping": False}).fit(X, y)
    with pytest.warns(UserWarning, match="rows that were trained on before are set aside to validate"):
        clf.set_params(early_stopping=True).fit(X, y)  # nothing was remembered
    assert len(sides.aside[-1]) == 10
    again = [int(number) for number in sides.trained[-1]]
    with pytest.warns(UserWarning, match="rows that were trained on before"):
        clf.fit(part(X, again), y[again])  # all of it trained
    assert len(sides.aside[-1]) == 8
    assert not set(sides.aside[-1]) & set(sides.trained[-1])
    rest = [int(number) for number in sides.aside[-1]]
    clf.fit(part(X, rest), y[rest])  # all of it validated
    assert len(sides.aside[-1]) == 2
    assert len(sides.trained[-1]) == 6


def test_new_rows_that_are_too_few_to_split_train(sides):
    X, y = numbered(41)
    clf = make(**WARM).fit(X[:40], y[:40])
    clf.fit(X, y)
    assert sides.aside[1] == sides.aside[0]
    assert 40 in sides.trained[1]


def test_a_cold_start_forgets(sides):
    X, y = numbered(40)
    clf = make(**{**WARM, "random_state": np.random.RandomState(0), "warm_start": False}).fit(X, y)
    clf.fit(X, y)
    assert len(sides.aside[1]) == 10
    assert sides.aside[1] != sides.aside[0]


# ---------------------------------------------------------------- divergence

WILD = {"hidden_size": 4, "solver": "sgd", "max_grad_norm": None, "learning_rate_init": 3e38, "batch_size": 100,
        "random_state": 0}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow|invalid:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_is_an_error_that_changes_nothing(dtype):
    X, y = truth.sign_of_sum(30)
    rate = {"float32": 3e38, "float64": 1e308}[dtype]
    new = make(**{**WILD, "dtype": dtype, "learning_rate_init": rate}, max_iter=50)
    with pytest.raises(FloatingPointError, match=r"learning_rate_init.*max_grad_norm"):
        new.fit(X, y)
    assert not hasattr(new, "classes_")

    old = make(**SHORT, dtype=dtype, max_iter=2).fit(X, y)
    curve, before = old.loss_curve_.copy(), old.predict_proba(X)
    old.set_params(**{**WILD, "dtype": dtype, "learning_rate_init": rate}, max_iter=50)
    with pytest.raises(FloatingPointError):
        old.fit(X, y)
    assert old.loss_curve_ == curve
    np.testing.assert_array_equal(old.predict_proba(X), before)


def test_divergence_is_no_warning():
    """What a user reads is the error, whether or not warnings are errors for him."""
    X, y = truth.sign_of_sum(30)
    with pytest.raises(FloatingPointError):
        make(**WILD, max_iter=50).fit(X, y)


@pytest.mark.filterwarnings("ignore:overflow|invalid:RuntimeWarning")
def test_divergence_in_the_last_update_is_an_error_too():
    """The loss of that epoch was measured before it."""
    X, y = truth.sign_of_sum(30)
    with pytest.raises(FloatingPointError):
        make(**{**WILD, "learning_rate_init": 1e39}, max_iter=1).fit(X, y)
    clf = make(**{**WILD, "learning_rate_init": 0.1}, max_iter=1).fit(X, y)
    before = truth.whole_state(clf)
    with pytest.raises(FloatingPointError):
        clf.set_params(learning_rate_init=1e39).partial_fit(X, y)
    clf.set_params(learning_rate_init=0.1)
    assert truth.whole_state(clf) == before


def test_the_usual_clip_keeps_a_large_rate_finite():
    X, y = truth.sign_of_sum(30)
    clf = make(hidden_size=4, learning_rate_init=10.0, max_iter=20, random_state=0).fit(X, y)
    assert np.isfinite(clf.loss_curve_).all()
    assert np.isfinite(clf.predict_proba(X)).all()


# ---------------------------------------------------------------- progress


def test_verbose_writes_a_line_an_epoch_to_stderr(capsys):
    X, y = truth.last_letter(20)
    make(hidden_size=2, max_iter=3, verbose=True, random_state=0).fit(X, y)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    make(hidden_size=2, max_iter=3, random_state=0).fit(X, y)
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- Ctrl-C at any line


class Interrupting:
    """Raises KeyboardInterrupt at the k-th line that these modules run; with none, counts them."""

    def __init__(self, k: int | None, *modules: Any) -> None:
        self.k, self.files, self.lines = k, {module.__file__ for module in modules}, 0

    def __enter__(self) -> "Interrupting":
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.settrace(self.before)

    def _call(self, frame: Any, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename in self.files else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.k:
                raise KeyboardInterrupt
        return self._line


def assert_whole(clf: xlstm.SequenceClassifier, X: Any, path: Any) -> None:
    """All that the estimator says of its training belongs together, and it can be saved and loaded."""
    n = clf.n_iter_
    assert n == len(clf.loss_curve_) == len(clf.accuracy_curve_) > 0
    assert n == len(clf.validation_loss_curve_) == len(clf.validation_scores_)
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert clf.predict_proba(X).shape[1] == len(clf.classes_)
    clf.save(path)
    assert np.array_equal(xlstm.load(path, "cpu").predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("fitted_before", [False, True])
def test_ctrl_c_at_any_line_leaves_the_old_model_or_a_whole_new_one(fitted_before, tmp_path, monkeypatch):
    from xlstm.estimators import base, classifier

    settings = {"hidden_size": 2, "max_iter": 3, "early_stopping": True, "validation_fraction": 0.25, "device": "cpu"}
    X, y = ["ab", "b", "ba", "aa", "abb", "bba", "b", "a"], list("bbaabaab")
    other = [f"{text}c" for text in X], list("abcabcab")  # other classes, and as many rows
    modules = (train, base, classifier)

    def start() -> xlstm.SequenceClassifier:
        clf = xlstm.SequenceClassifier(random_state=0, **settings)
        return clf.fit(*other) if fitted_before else clf

    with Interrupting(None, *modules) as counting:
        start().fit(X, y)
    total = counting.lines
    ends = set()
    for k in range(1, total + 1, max(1, total // 300)):
        clf = start()
        before = dict(clf.__dict__)
        monkeypatch.setattr(interrupts, "_kept_in", interrupts._nowhere)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xlstm.InterruptedFit)
            try:
                with Interrupting(k, *modules):
                    clf.fit(X, y)
                ends.add("kept")
            except KeyboardInterrupt:
                ends.add("raised")
        if clf.__dict__ == before:
            assert hasattr(clf, "classes_") == fitted_before
        else:
            assert clf.classes_.tolist() == ["a", "b"]
            assert_whole(clf, X, tmp_path / "model")
    assert ends == {"kept", "raised"}


def test_ctrl_c_at_any_line_of_a_stream():
    from xlstm import stream as streams

    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=2, random_state=0, device="cpu").fit(["ab", "ba"], [0, 1])
    whole = clf.predict_proba(["abbac"])[0]
    with Interrupting(None, streams) as counting:
        clf.stream().feed("ab")
    for k in range(1, counting.lines + 1):
        stream = clf.stream()
        stream.feed("ab")
        with contextlib.suppress(KeyboardInterrupt), Interrupting(k, streams):
            stream.feed("ba")
        fed = int(re.search(r"(\d+) steps fed", repr(stream))[1])
        assert fed in (2, 4)
        probabilities = stream.feed("ba" + "c" if fed == 2 else "c")  # the part again where it does not count
        assert np.allclose(probabilities, whole, atol=1e-6)
