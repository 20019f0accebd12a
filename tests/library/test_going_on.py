"""Trainings that go on: what counts between parts, what a model keeps, what it asks for again, and by what it stops.

What is right comes from the plain loops of `classifier.py`, from closed forms, and from scikit-learn's own estimators.
"""

import copy
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import xlstm

from .. import classifier as truth
from ..peers import peer

TEXTS = ["aab", "ba", "abab", "bbba", "b", "aa"]
LABELS = ["y", "n", "n", "y", "n", "y"]
PLAIN: dict[str, Any] = {
    "hidden_size": 3, "cell": "rnn", "random_state": 0, "device": "cpu", "dtype": "float64",
    "solver": "sgd", "momentum": 0.0,
    "learning_rate_init": 0.1, "learning_rate": "constant", "max_grad_norm": None, "max_iter": 1, "batch_size": 99,
}  # fmt: skip


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(**{"hidden_size": 3, "device": "cpu", "random_state": 0, "max_iter": 2, **settings})


def numbers(model: Any) -> np.ndarray:
    """A copy of all parameters."""
    return np.array(model.fitted_state().model.read())


def loaded(model: Any, folder: Any) -> Any:
    """What was saved, and read again."""
    model.save(folder / "model.xlstm")
    return xlstm.load(folder / "model.xlstm", "cpu")


def moved(model: Any, *rows: Any, **settings: Any) -> np.ndarray:
    """How far one `partial_fit` on these rows moves the parameters of a copy with these settings."""
    other = copy.deepcopy(model).set_params(**settings)
    weights = rows[2] if len(rows) == 3 else None
    other.partial_fit(*rows[:2], sample_weight=weights)
    return numbers(other) - numbers(model)


KINDS: dict[str, tuple[type, Any, Any]] = {
    "classes": (xlstm.SequenceClassifier, TEXTS, LABELS),
    "three classes": (xlstm.SequenceClassifier, TEXTS, ["y", "n", "m", "y", "n", "m"]),
    "several labels": (xlstm.SequenceClassifier, TEXTS, [["y"], ["n", "y"], [], ["n"], ["y"], ["n"]]),
    "steps": (xlstm.SequenceLabeler, TEXTS, [list(text.replace("a", "y").replace("b", "n")) for text in TEXTS]),
    "numbers": (xlstm.SequenceRegressor, TEXTS, [0.5, -1.0, 2.0, 3.0, 0.0, 1.0]),
}


# ---------------------------------------------------------------- weights between parts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after_loading", [False, True])
def test_the_step_of_a_part_is_linear_in_its_weights(kind, after_loading, tmp_path):
    """With plain SGD the step of weights a·u + b·v is a times that of u plus b times that of v: none is normalised."""
    cls, X, y = KINDS[kind]
    model = cls(**PLAIN).fit(X, y)
    model = loaded(model, tmp_path) if after_loading else model
    u, v = np.array([1.0, 0, 2, 0, 0.5, 1]), np.array([0, 3.0, 1, 0, 0, 0.25])
    expected = 7 * moved(model, X, y, u) + 0.5 * moved(model, X, y, v)
    np.testing.assert_allclose(moved(model, X, y, 7 * u + 0.5 * v), expected, rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(moved(model, X[:1], y[:1], [1000.0]), 1000 * moved(model, X[:1], y[:1]), rtol=1e-7)


@pytest.mark.parametrize("after_loading", [False, True])
def test_a_part_of_one_class_counts_as_its_class(after_loading, tmp_path):
    model = xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, LABELS)
    model = loaded(model, tmp_path) if after_loading else model
    expected = 1000 * moved(model, TEXTS[:1], LABELS[:1])
    found = moved(model, TEXTS[:1], LABELS[:1], class_weight={"y": 1000.0})
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    both = moved(model, TEXTS, LABELS, class_weight={"y": 3.0, "n": 0.5})
    as_rows = moved(model, TEXTS, LABELS, [3.0 if label == "y" else 0.5 for label in LABELS])
    np.testing.assert_allclose(both, as_rows, rtol=1e-9)


def test_the_step_of_a_part_by_plain_loops():
    """θ - η · the gradient of the weighted sum of the rows' losses, over their number."""
    model = make(**{**PLAIN, "readout": "final"}).fit(TEXTS, LABELS)
    before = truth.parameters_of(model)
    rows, own = truth.token_numbers(TEXTS[:3], model.fitted_state().encoder.vocabulary), np.array([2.0, 5.0, 0.0])
    labels = [model.classes_.tolist().index(label) for label in LABELS[:3]]
    weights = own * np.array([4.0 if label == "y" else 1.0 for label in LABELS[:3]])
    expected = truth.gradients("rnn", before, rows, labels, weights)
    model.set_params(class_weight={"y": 4.0}).partial_fit(TEXTS[:3], LABELS[:3], sample_weight=own)
    for name, values in truth.parameters_of(model).items():
        np.testing.assert_allclose(values, before[name] - 0.1 * expected[name], rtol=1e-9, atol=1e-13)


def test_steps_and_several_labels_count_their_class_weights_as_given():
    labeler = xlstm.SequenceLabeler(**PLAIN).fit(TEXTS, KINDS["steps"][2])
    one = [["y"] * len(text) for text in TEXTS]
    found = moved(labeler, TEXTS, one, class_weight={"y": 50.0})
    np.testing.assert_allclose(found, 50 * moved(labeler, TEXTS, one), rtol=1e-9)
    several = xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, KINDS["several labels"][2])
    having = [["n", "y"]] * 6
    found = moved(several, TEXTS, having, class_weight={"y": 50.0, "n": 50.0})
    np.testing.assert_allclose(found, 50 * moved(several, TEXTS, having), rtol=1e-9)
    lacking: list[list[str]] = [[]] * 6
    found = moved(several, TEXTS, lacking, class_weight={"y": 50.0, "n": 50.0})
    np.testing.assert_array_equal(found, moved(several, TEXTS, lacking))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_batches", [False, True])
def test_a_part_of_weight_0_changes_nothing(kind, in_batches):
    cls, X, y = KINDS[kind]
    model = cls(**{**PLAIN, "solver": "adam"}).fit(X, y)
    before = truth.whole_state(model)
    weights = np.zeros(len(X))
    if in_batches:
        model.partial_fit(xlstm.Batches([(X, y, weights)]))
    else:
        model.partial_fit(X, y, sample_weight=weights)
    assert truth.whole_state(model) == before
    with pytest.raises(ValueError, match="weight"):
        cls(**PLAIN).partial_fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("kind", ["classes", "three classes", "steps"])
def test_a_part_whose_classes_weigh_0_changes_nothing(kind):
    cls, X, y = KINDS[kind]
    model = cls(**{**PLAIN, "solver": "adam"}).fit(X, y).set_params(class_weight={"y": 0.0})
    before = truth.whole_state(model)
    part = [["y"] * len(text) for text in X] if kind == "steps" else ["y"] * 6
    assert truth.whole_state(model.partial_fit(X, part)) == before
    assert truth.whole_state(model.partial_fit(xlstm.Batches([(X, part)]))) == before


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_a_part_count_as_the_same_rows_at_once(kind):
    cls, X, y = KINDS[kind]
    weights = np.array([1.0, 3.0, 0.5, 2.0, 8.0, 1.0])
    settings = {} if kind == "numbers" else {"class_weight": {"y": 5.0}}
    model = cls(**PLAIN).fit(X, y).set_params(**settings)
    expected = moved(model, X, y, weights)
    batches = xlstm.Batches([(X[:2], y[:2], weights[:2]), (X[2:], y[2:], weights[2:])])
    found = numbers(copy.deepcopy(model).partial_fit(batches)) - numbers(model)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-13)


def test_balanced_is_refused_of_parts_as_scikit_learn_refuses_it():
    sgd = peer("sklearn.linear_model").SGDClassifier(class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        sgd.partial_fit(np.eye(6), LABELS, classes=["n", "y"])
    for kind in ("classes", "several labels", "steps"):
        cls, X, y = KINDS[kind]
        for model in (cls(**PLAIN), cls(**PLAIN).fit(X, y)):
            model.set_params(class_weight="balanced")
            with pytest.raises(ValueError, match="class_weight='balanced' is not known of a part"):
                model.partial_fit(X, y)
            with pytest.raises(ValueError, match="class_weight='balanced' is not known of a part"):
                model.partial_fit(xlstm.Batches([(X, y)]))


def test_a_weight_that_the_dtype_does_not_hold_is_named():
    model = xlstm.SequenceClassifier(**{**PLAIN, "dtype": "float32"}).fit(TEXTS, LABELS)
    before = numbers(model)
    with pytest.raises(ValueError, match=r"row 1 has the weight 1e\+40 .* too large for float32"):
        model.partial_fit(TEXTS[:2], LABELS[:2], sample_weight=[1.0, 1e40])
    np.testing.assert_array_equal(numbers(model), before)


# ---------------------------------------------------------------- class weights of classes that are not there


@pytest.mark.parametrize("kind", ["classes", "several labels", "steps"])
def test_a_dict_may_name_classes_that_are_not_there_if_it_names_all_that_are(kind):
    cls, X, y = KINDS[kind]
    plain = cls(**PLAIN, class_weight={"y": 3.0, "n": 2.0}).fit(X, y)
    more = cls(**PLAIN, class_weight={"y": 3.0, "n": 2.0, "z": 9.0}).fit(X, y)
    np.testing.assert_array_equal(numbers(more), numbers(plain))
    with pytest.raises(ValueError, match=r"class_weight names 'z', which is no .* of y"):
        cls(**PLAIN, class_weight={"y": 3.0, "z": 9.0}).fit(X, y)


def test_so_does_scikit_learn():
    compute = peer("sklearn.utils.class_weight").compute_class_weight
    from xlstm.labels import class_factors

    classes, labels = np.array(["n", "y"]), np.array([1, 0, 0, 1, 0, 1])
    for given in ({"y": 3.0, "n": 2.0, "z": 9.0}, {"y": 3.0}, {"n": 0.5, "y": 1.0}):
        expected = compute(given, classes=classes, y=np.array(LABELS))
        np.testing.assert_array_equal(class_factors(given, classes, np.bincount(labels)), expected)
    for wrong in ({"y": 3.0, "z": 9.0}, {"z": 9.0}):
        with pytest.raises(ValueError, match="class_weight"):
            compute(wrong, classes=classes, y=np.array(LABELS))
        with pytest.raises(ValueError, match="class_weight"):
            class_factors(wrong, classes, np.bincount(labels))


@pytest.mark.parametrize("after_loading", [False, True])
def test_a_warm_start_checks_a_dict_by_the_classes_of_the_model(after_loading, tmp_path):
    y = ["a", "b", "c"] * 2
    weights = {"a": 2.0, "b": 1.0, "c": 3.0}
    model = xlstm.SequenceClassifier(**PLAIN, warm_start=True, class_weight=weights).fit(TEXTS, y)
    model = loaded(model, tmp_path) if after_loading else model
    fold = ["a", "b"] * 3
    as_rows = copy.deepcopy(model).set_params(class_weight=None)
    as_rows.fit(TEXTS, fold, sample_weight=[weights[label] for label in fold])
    np.testing.assert_allclose(numbers(model.fit(TEXTS, fold)), numbers(as_rows), rtol=1e-12)


# ---------------------------------------------------------------- what validated stays apart


@pytest.mark.parametrize("after_loading", [False, True])
@pytest.mark.parametrize("kind", ["classes", "several labels", "steps", "numbers"])
def test_a_warm_start_validates_on_the_same_rows(kind, after_loading, tmp_path):
    """Of noise a model may learn its rows by heart: those that validate it are never among them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4, 2))
    drawn = rng.integers(0, 2, (40, 4))
    y = {"classes": drawn[:, 0], "several labels": drawn[:, :3], "steps": drawn, "numbers": rng.standard_normal(40)}[
        kind
    ]
    cls = KINDS[kind][0]
    settings = {"hidden_size": 3, "random_state": 0, "device": "cpu", "early_stopping": True, "warm_start": True}
    model = cls(**settings, max_iter=2, validation_fraction=0.25)
    for again in range(4):
        model.fit(X, y)
        if again == 0:
            aside = set(model.fitted_state().sides.aside.tolist())
            trained = set(model.fitted_state().sides.trained.tolist())
        model = loaded(model, tmp_path) if after_loading else model
        order = rng.permutation(40)  # rows are known again in any order
        X, y = X[order], y[order]
    assert len(aside) == 10
    assert not aside & trained
    assert set(model.fitted_state().sides.aside.tolist()) == aside
    assert set(model.fitted_state().sides.trained.tolist()) == trained


# ---------------------------------------------------------------- settings that made the model

OTHERS: dict[str, tuple[Any, Any]] = {
    "fold_case": (False, TEXTS),
    "normalize": (None, TEXTS),
    "kernels": ("reference", TEXTS),
    "standardize": (False, np.arange(24.0).reshape(6, 4)),
}


@pytest.mark.parametrize("setting", OTHERS)
@pytest.mark.parametrize("after_loading", [False, True])
@pytest.mark.parametrize("through", ["fit", "partial_fit", "batches"])
@pytest.mark.parametrize("kind", ["classes", "several labels", "numbers"])
def test_a_setting_that_made_the_model_is_an_error_when_it_goes_on(setting, after_loading, through, kind, tmp_path):
    value, X = OTHERS[setting]
    cls, _, y = KINDS[kind]
    model = cls(**PLAIN, warm_start=True).fit(X, y)
    before = getattr(model, setting)
    model.set_params(**{setting: value})
    model = loaded(model, tmp_path) if after_loading else model
    assert getattr(model, setting) == value
    state = truth.whole_state(model)
    with pytest.raises(
        ValueError, match=rf"{setting} is {value!r}, but the model to go on from has {before!r}: set it"
    ):
        model.fit(xlstm.Batches([(X, y)])) if through == "batches" else getattr(model, through)(X, y)
    assert truth.whole_state(model) == state
    model.set_params(**{setting: before}).partial_fit(X, y)


def test_the_same_device_by_another_name_is_none():
    model = xlstm.SequenceClassifier(**{**PLAIN, "device": None}).fit(TEXTS, LABELS)
    for same in ("cpu", "auto", None):
        model.set_params(device=same).partial_fit(TEXTS, LABELS)
    assert model.to("cpu").partial_fit(TEXTS, LABELS).device_ == "cpu"


def test_settings_of_no_effect_on_the_data_may_change():
    X = np.arange(24.0).reshape(6, 4)
    xlstm.SequenceClassifier(**PLAIN).fit(X, LABELS).set_params(fold_case=False).partial_fit(X, LABELS)
    xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, LABELS).set_params(standardize=False).partial_fit(TEXTS, LABELS)
    tokens = xlstm.SequenceClassifier(**PLAIN, encoding="tokens").fit([[1, 2], [3], [2]] * 2, LABELS)
    tokens.set_params(fold_case=False).partial_fit([[1, 2], [3]], LABELS[:2])


# ---------------------------------------------------------------- by what early stopping goes

WEIGHTED = {
    "classes": ({"class_weight": "balanced"}, "accuracy"),
    "three classes": ({"class_weight": {"y": 9.0, "n": 0.25, "m": 1.0}}, "accuracy"),
    "several labels": ({}, "log_loss"),
    "steps": ({}, "accuracy"),
    "numbers": ({}, "r2"),
}


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("in_batches", [False, True])
def test_validation_scores_are_weighted_as_the_training_is(kind, in_batches):
    """Compared with `score`, whose weights are given for each row, of a copy of the model of each epoch."""
    cls, X, y = KINDS[kind]
    settings, name = WEIGHTED[kind]
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 6, 40)
    X, y, own = [X[row] for row in rows], [y[row] for row in rows], rng.uniform(0.1, 4, 40)
    model = cls(**{**PLAIN, "solver": "adam", "max_iter": 6}, early_stopping=True, **settings)
    copies = []
    validation = (X[30:], y[30:], own[30:])
    given = xlstm.Batches([tuple(part[:4] for part in validation), tuple(part[4:] for part in validation)])
    model.fit(
        X[:30],
        y[:30],
        sample_weight=own[:30],
        validation=given if in_batches else validation,
        callbacks=lambda progress: copies.append(progress.snapshot()),
    )
    factors = np.ones(10)
    if kind in ("classes", "three classes"):
        counts = {label: sum(w for w, each in zip(own[:30], y, strict=False) if each == label) for label in set(y[:30])}
        balanced = {label: 1 / count for label, count in counts.items()}
        of_class = balanced if settings["class_weight"] == "balanced" else settings["class_weight"]
        factors = np.array([of_class[label] for label in y[30:]])
    if name == "log_loss":
        expected = model.validation_loss_curve_
        truth_of_it = []
        for each in copies:
            p, there = each.predict_proba(X[30:]), np.array([[label in row for label in ("n", "y")] for row in y[30:]])
            losses = -np.where(there, np.log(p), np.log1p(-p)).mean(axis=1)
            truth_of_it.append(np.average(losses, weights=own[30:]))
        assert expected == pytest.approx(truth_of_it, rel=1e-9)
    else:
        expected = [each.score(X[30:], y[30:], sample_weight=own[30:] * factors) for each in copies]
    assert model.validation_scores_ == pytest.approx(expected, rel=1e-9)
    assert model.history_[f"validation_weighted_{name}"] == model.validation_scores_
    if name != "log_loss":
        unweighted = [each.score(X[30:], y[30:]) for each in copies]
        assert model.history_[f"validation_{name}"] == pytest.approx(unweighted, rel=1e-9)
    best = int(np.argmax(expected) if name != "log_loss" else np.argmin(expected))
    assert model.best_validation_score_ == model.validation_scores_[best]


def test_class_weights_of_steps_weigh_their_validation():
    cls, X, y = KINDS["steps"]
    copies: list[Any] = []
    model = cls(**{**PLAIN, "max_iter": 4}, early_stopping=True, class_weight={"y": 5.0, "n": 0.5})
    model.fit(X, y, validation=(X[:4], y[:4]), callbacks=lambda progress: copies.append(progress.snapshot()))
    expected = []
    for each in copies:
        found, wanted = np.concatenate(each.predict(X[:4])), np.concatenate(y[:4])
        expected.append(np.average(found == wanted, weights=np.where(wanted == "y", 5.0, 0.5)))
    assert model.validation_scores_ == pytest.approx(expected, rel=1e-12)


def test_it_is_the_score_of_scikit_learn():
    """Accuracy with sample weights; and of balanced classes it is the balanced accuracy."""
    metrics = peer("sklearn.metrics")
    X, y = truth.raised_channel(120, D=2)
    y = np.where((y == 1) & (np.arange(120) % 4 > 0), 0, y)  # few of the second class
    snapshots: list[Any] = []
    model = make(hidden_size=3, max_iter=5, class_weight="balanced", early_stopping=True, learning_rate_init=0.05)
    model.fit(X, y, validation=(X, y), callbacks=lambda progress: snapshots.append(progress.snapshot()))
    balanced = [metrics.balanced_accuracy_score(y, each.predict(X)) for each in snapshots]
    assert model.validation_scores_ == pytest.approx(balanced, rel=1e-6)
    plain = [metrics.accuracy_score(y, each.predict(X)) for each in snapshots]
    assert model.history_["validation_accuracy"] == pytest.approx(plain, rel=1e-6)


def test_without_weights_there_is_one_score(tmp_path):
    model = make(early_stopping=True, validation_fraction=0.3, max_iter=2).fit(TEXTS, LABELS)
    assert "validation_weighted_accuracy" not in model.history_
    assert model.validation_scores_ == model.history_["validation_accuracy"]
    weighted = make(early_stopping=True, validation_fraction=0.5, max_iter=2)
    weighted.fit(TEXTS, LABELS, sample_weight=[1, 2, 3, 4, 5, 6])
    again = loaded(weighted, tmp_path)
    assert again.history_ == weighted.history_
    assert again.validation_scores_ == weighted.validation_scores_ == weighted.history_["validation_weighted_accuracy"]


# ---------------------------------------------------------------- ties


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-9, 3e-8, 1e-7])
def test_answers_are_the_argmax_of_the_probabilities(classes, distance):
    """Logits next to each other have one probability in float32: whoever takes the argmax finds the first class."""
    X = np.random.default_rng(0).standard_normal((4 * classes, 3))
    y = np.arange(4 * classes) % classes
    for model in (
        make(max_iter=1).fit(X, y),
        xlstm.SequenceLabeler(max_iter=1, device="cpu").fit(X[:, :, None], y[:, None].repeat(3, 1)),
    ):
        inner = model.fitted_state().model
        inner.write(0 * inner.read())
        inner.parameters["head.bias"][:] = distance * np.arange(len(inner.parameters["head.bias"])) + distance
        Z = X[:, :, None] if isinstance(model, xlstm.SequenceLabeler) else X
        probabilities = np.concatenate([np.atleast_2d(each) for each in model.predict_proba(Z)])
        expected = model.classes_[probabilities.argmax(axis=1)]
        for answers in (model.predict(Z), model.prepare().predict(Z)):
            np.testing.assert_array_equal(np.concatenate([np.atleast_1d(each) for each in answers]), expected)
        truths = model.classes_[probabilities.argmax(axis=1)].reshape(np.shape(Z)[:2] if Z.ndim == 3 else len(Z))
        assert model.score(Z, truths) == 1


def test_labels_are_those_whose_given_probability_is_above_the_threshold():
    y = [["y"], ["n", "y"], [], ["n"], ["y"], ["n"]]
    model = make(max_iter=1).fit(TEXTS, y)
    inner = model.fitted_state().model
    for logit in (0.0, 1e-12, 1e-9, 3e-8, 1e-7, 1e-3):
        inner.write(0 * inner.read())
        inner.parameters["head.bias"][:] = [logit, -logit]
        for thresholds in (0.5, {"n": 0.1, "y": 1e-9}):
            model.set_thresholds(thresholds)
            above = model.predict_proba(TEXTS) > model.thresholds_
            expected = [model.classes_[row].tolist() for row in above]
            assert model.predict(TEXTS) == model.prepare().predict(TEXTS) == expected


# ---------------------------------------------------------------- what the first part is told


def test_the_vocabulary_may_be_told(tmp_path):
    whole = make(fold_case=True).fit(["abC", "d"], ["y", "n"])
    for vocabulary in ("dCba", ["c", "A", "b", "d"], {"a", "b", "c", "d"}):
        model = make().partial_fit(["ab", "ba"], ["y", "n"], vocabulary=vocabulary)
        assert model.fitted_state().encoder.vocabulary == whole.fitted_state().encoder.vocabulary == list("abcd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(["cd", "dc"], ["y", "n"], vocabulary="abcd")
    loaded(model, tmp_path).partial_fit(["cd", "dc"], ["y", "n"], vocabulary="abcd")
    before = truth.whole_state(model)
    with pytest.raises(ValueError, match="vocabulary gives another vocabulary than the model to go on from has"):
        model.partial_fit(["cd", "dc"], ["y", "n"], vocabulary="abcde")
    assert truth.whole_state(model) == before
    words = make(split="words").partial_fit(["to be", "or"], ["y", "n"], vocabulary=["or", "Not", "to", "be"])
    assert words.fitted_state().encoder.vocabulary == ["be", "not", "or", "to"]
    integers = make(encoding="tokens").partial_fit([[1, 2], [3]], ["y", "n"], vocabulary=np.array([3, 9, 2, 1]))
    assert integers.fitted_state().encoder.vocabulary == [1, 2, 3, 9]
    batches = make().partial_fit(xlstm.Batches([(["ab"], ["y"]), (["ba"], ["n"])]), vocabulary="abcd")
    assert batches.fitted_state().encoder.vocabulary == list("abcd")
    number = xlstm.SequenceRegressor(max_iter=1, device="cpu").partial_fit(["ab", "b"], [1.0, 2.0], vocabulary="abcd")
    assert number.fitted_state().encoder.vocabulary == list("abcd")


def test_a_told_vocabulary_trains_as_a_learned_one():
    """On texts that hold every token both are the same training."""
    told, learned = (xlstm.SequenceClassifier(**PLAIN) for _ in range(2))
    told.partial_fit(TEXTS, LABELS, vocabulary="ab")
    np.testing.assert_array_equal(numbers(told), numbers(learned.partial_fit(TEXTS, LABELS)))


@pytest.mark.parametrize("in_batches", [False, True])
@pytest.mark.parametrize("missing", ["error", "mask"])
def test_the_scale_may_be_told(in_batches, missing, tmp_path):
    rng = np.random.default_rng(0)
    all_rows = rng.normal([5.0, -300.0], [2.0, 40.0], (50, 6, 2))
    part, y = all_rows[:4] * 0.01, [0, 1, 0, 1]
    scale_from = xlstm.Batches([(all_rows[:20], y), (all_rows[20:], y)]) if in_batches else all_rows
    for X in (part, xlstm.Batches([(part, y)])):
        model = make(missing=missing, dtype="float64")
        rows = (X, y) if X is part else (X,)
        model.partial_fit(*rows, scale_from=scale_from)
        encoder = model.fitted_state().encoder
        np.testing.assert_allclose(encoder.mean, all_rows.mean(axis=(0, 1)), rtol=1e-12)
        np.testing.assert_allclose(encoder.scale, all_rows.std(axis=(0, 1)), rtol=1e-12)
        again = loaded(model, tmp_path).partial_fit(*rows, scale_from=scale_from).partial_fit(*rows)
        with pytest.raises(ValueError, match="scale_from gives another scaling than the model to go on from has"):
            again.partial_fit(*rows, scale_from=part)


def test_features_to_scale_by_are_matched_by_name():
    pandas = peer("pandas")
    frame = pandas.DataFrame({"a": [1.0, 3.0], "b": [10.0, 50.0]})
    other = pandas.DataFrame({"b": [100.0, 300.0], "a": [7.0, 9.0]})
    encoder = make().partial_fit([frame, frame], [0, 1], scale_from=[other]).fitted_state().encoder
    np.testing.assert_array_equal(encoder.mean, [8.0, 200.0])


@pytest.mark.parametrize(
    ("X", "told", "message"),
    [
        (TEXTS, {"scale_from": [[1.0]]}, "scale_from is for numbers, but X holds tokens"),
        (np.eye(6), {"vocabulary": "ab"}, "vocabulary is for tokens, but X holds numbers"),
        (TEXTS, {"vocabulary": "ab", "scale_from": [[1.0]]}, "pass one of them"),
        (TEXTS, {"vocabulary": ""}, "vocabulary: it is empty"),
        (TEXTS, {"vocabulary": ["ab"]}, "vocabulary: expected single characters.*got 'ab'"),
        ([["to", "be"]] * 6, {"vocabulary": "to be"}, "vocabulary: expected a collection of words"),
        ([["to", "be"]] * 6, {"vocabulary": [1]}, "vocabulary: expected words.*got 1"),
        (np.ones((6, 3, 2)), {"scale_from": np.ones((2, 3, 3))}, "scale_from: it has 3 features a step, but X has 2"),
        (np.ones((6, 3, 2)), {"scale_from": ["ab"]}, "scale_from: .*expected sequences of numbers"),
    ],
)
def test_what_does_not_go_with_X_is_refused(X, told, message):
    model = xlstm.SequenceClassifier(**PLAIN)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, LABELS, **told)
    assert not hasattr(model, "classes_")
    with pytest.raises(ValueError, match="of no use with standardize=False"):
        model.set_params(standardize=False).partial_fit(np.eye(6), LABELS, scale_from=np.eye(6))


def test_a_part_of_unknown_tokens_is_told_once():
    for go_on in ("partial_fit", "fit", "batches"):
        model = make(warm_start=True).fit(TEXTS, LABELS)

        def call(texts, model=model, go_on=go_on):
            if go_on == "batches":
                return model.partial_fit(xlstm.Batches([(texts, LABELS)]))
            return getattr(model, go_on)(texts, LABELS)

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(["ax", "by", "ab", "a", "b", "b"])  # few of them
        with pytest.warns(xlstm.AmbiguousDataWarning, match=r"7 of the 9 tokens of X are none of the 2 .*vocabulary="):
            call(["xy", "xyz", "a", "b", "x", "z"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(["xy", "xyz", "a", "b", "x", "z"])


# ---------------------------------------------------------------- scikit-learn's metadata routing


def test_routing_in_pipelines_searches_and_cross_validation():
    sklearn, pipeline = peer("sklearn"), peer("sklearn.pipeline")
    selection, preprocessing = peer("sklearn.model_selection"), peer("sklearn.preprocessing")
    linear = peer("sklearn.linear_model")
    rng = np.random.default_rng(0)
    X, y, weights = rng.standard_normal((30, 4)), np.arange(30) % 2, rng.uniform(1, 2, 30)
    ours = {"hidden_size": 2, "max_iter": 1, "random_state": 0, "device": "cpu"}
    with sklearn.config_context(enable_metadata_routing=True):
        for make_one, grid in (
            (lambda: xlstm.SequenceClassifier(**ours), {"step__hidden_size": [1, 2]}),
            (linear.LogisticRegression, {"step__C": [1.0, 2.0]}),
        ):
            made = pipeline.Pipeline([("scale", preprocessing.StandardScaler()), ("step", make_one())])
            assert 0 <= made.fit(X, y).score(X, y) <= 1
            scores = selection.cross_validate(made, X, y, cv=3, error_score="raise")["test_score"]
            assert np.isfinite(scores).all()
            search = selection.GridSearchCV(made, grid, cv=2, error_score="raise").fit(X, y)
            assert 0 <= search.score(X, y) <= 1
            asking = make_one().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            scale = preprocessing.StandardScaler().set_fit_request(sample_weight=False)
            made = pipeline.Pipeline([("scale", scale), ("step", asking)])
            found = made.fit(X, y, sample_weight=weights).score(X, y, sample_weight=weights)
            right = made.predict(X) == y
            assert found == pytest.approx(np.average(right, weights=weights))
            params = {"sample_weight": weights}
            selection.cross_validate(made, X, y, cv=3, params=params, error_score="raise")
            unasked = pipeline.Pipeline([("step", make_one())])
            with pytest.raises(ValueError, match="sample_weight"):
                unasked.fit(X, y, sample_weight=weights)


# ---------------------------------------------------------------- messages have an end


def test_messages_do_not_list_thousands_of_classes():
    classes = np.array([f"class number {k}" for k in range(30_000)])
    from xlstm.labels import class_factors, known

    for call in (lambda: known(["new"], classes), lambda: class_factors({"new": 1.0}, classes, np.ones(30_000))):
        with pytest.raises(ValueError, match=r"'new'.*'class number 19', … and 29980 others\]") as caught:
            call()
        assert len(str(caught.value)) < 800
    with pytest.raises(ValueError, match="none of the classes") as caught:
        known(["x" * 10**6], np.array(["y" * 10**6]))
    assert len(str(caught.value)) < 300


def test_many_parts_keep_the_numbers_of_each():
    """What a part's epoch gave is added; earlier models, and copies, stay as they were."""
    model = make()
    lengths, kept = [], []
    for _ in range(5):
        model.partial_fit(TEXTS, LABELS)
        lengths.append(len(model.loss_curve_))
        kept.append((copy.deepcopy(model), list(model.loss_curve_)))
    assert lengths == [1, 2, 3, 4, 5]
    for number, (earlier, curve) in enumerate(kept):
        assert earlier.loss_curve_ == curve == model.loss_curve_[: number + 1]
        assert earlier.fitted_state().trainer.history.loss == curve
    kept[1][0].partial_fit(TEXTS, LABELS)
    assert kept[1][0].n_iter_ == 3
    assert model.n_iter_ == 5


def test_each_answer_is_of_one_model_while_it_is_fitted_again():
    """`predict` and its kin read once what was learned: a fit in another thread comes before a call or after it."""
    other, others = ["cd", "d", "cdcd"] * 2, ["p", "q", "r"] * 2
    model = make(max_iter=1).fit(TEXTS, LABELS)
    found: list[Any] = []
    stop = threading.Event()

    def answers() -> None:
        while not stop.is_set():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(
                    (set(model.predict(TEXTS)), model.predict_proba(TEXTS).shape, set(model.prepare().predict(TEXTS)))
                )

    threads = [threading.Thread(target=answers) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        model.fit(other, others)
        model.fit(TEXTS, LABELS)
    stop.set()
    for thread in threads:
        thread.join()
    assert found
    for labels, shape, prepared in found:
        assert shape in ((6, 2), (6, 3))
        for some in (labels, prepared):
            assert some <= {"y", "n"} or some <= {"p", "q", "r"}
