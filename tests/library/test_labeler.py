# ruff: noqa: E501 - a case is a line
"""The labeler, and its task: a class at every step. Judged by plain loops, PyTorch and closed forms."""

import copy
import json
import os
import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends, batch, convert, feed, steplabels
from xlstm.batch import Encoded
from xlstm.estimators import state
from xlstm.tasks import StepClasses
from xlstm.tasks.steps import Block

from .. import classifier as truth
from .. import oracle
from ..peers import REPEATED, checked_by_sklearn, peer

pytestmark = pytest.mark.filterwarnings("ignore:no label of y is")  # many a y here has no label that `ignore` names

CPU = backends.select("cpu")
TWO, THREE = np.array(["no", "yes"]), np.array([1, 5, 9])
LENGTHS = np.array([3, 1, 4, 2])


@pytest.fixture(params=["lstm", "gru", "gru_reset_before", "rnn"])
def cell(request):
    return request.param


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


def make(**settings: Any) -> xlstm.SequenceLabeler:
    return xlstm.SequenceLabeler(**{"hidden_size": 4, "max_iter": 2, "random_state": 0, "device": "cpu", **settings})


def odd_so_far(n: int, seed: int = 0, longest: int = 6) -> tuple[list[str], list[str]]:
    """Bit strings, and of each step whether the ones up to it are odd in number."""
    X = truth.random_texts(n, seed, "01", longest)
    return X, ["".join("eo"[text[: t + 1].count("1") % 2] for t in range(len(text))) for text in X]


def ragged(n: int, seed: int = 0, K: int = 3, D: int = 2) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((rng.integers(1, 6), D)) for _ in range(n)]
    return X, [rng.integers(0, K, len(row)) for row in X]


# ---------------------------------------------------------------- what it learns


def test_it_learns_what_every_step_needs():
    labeler = make(hidden_size=12, max_iter=60, learning_rate_init=0.02).fit(*odd_so_far(200))
    X, y = odd_so_far(100, seed=1)
    predicted = labeler.predict(X)
    assert ["".join(row) for row in predicted] == y or labeler.score(X, y) > 0.98
    right = [
        found == label
        for row, labels in zip(predicted, y, strict=True)
        for found, label in zip(row, labels, strict=True)
    ]
    assert labeler.score(X, y) == pytest.approx(np.mean(right))
    assert labeler.accuracy_curve_[-1] > 0.95 > labeler.accuracy_curve_[0]


def test_two_directions_see_what_comes():
    """A label that the next letter says: one direction cannot know it."""
    X = truth.random_texts(150, 0, "ab", 6)
    y = [text[1:] + "-" for text in X]
    settings = {"hidden_size": 8, "max_iter": 40, "learning_rate_init": 0.02}
    assert make(bidirectional=True, **settings).fit(X, y).score(X, y) > 0.97
    assert make(**settings).fit(X, y).score(X, y) < 0.8


# ---------------------------------------------------------------- the mathematics


def block(K: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Outputs (N, T, K) with NaN after each row's length, numbers (N, T) of which some do not count, weights (N,)."""
    rng, N, T = np.random.default_rng(seed), len(LENGTHS), max(LENGTHS)
    outputs, numbers = rng.normal(0, 2, (N, T, K)), rng.integers(0, max(K, 2), (N, T))
    valid = np.arange(T) < LENGTHS[:, None]
    outputs[~valid] = np.nan
    numbers[~valid | (rng.random((N, T)) < 0.2)] = steplabels.IGNORED
    return outputs, numbers, rng.uniform(0.2, 2, N)


@pytest.mark.parametrize("factors", [None, (0.5, 2.0, 0.7)])
@pytest.mark.parametrize("classes", [TWO, THREE])
def test_the_loss_is_the_mean_over_the_labels_that_count_and_its_gradient_is_right(classes, factors):
    task = StepClasses(classes)
    outputs, numbers, weights = block(task.outputs)
    each = None if factors is None else np.array(factors[: len(classes)])
    counted = [(n, t) for n, t in np.ndindex(*numbers.shape) if numbers[n, t] >= 0]
    assert len(counted) not in (0, LENGTHS.sum())

    def mean(z: Any) -> Any:
        terms = [
            weights[n]
            * (1 if each is None else each[numbers[n, t]])
            * truth.row_losses(z[n, t][None], [numbers[n, t]])[0]
            for n, t in counted
        ]
        return sum(terms) / len(counted)

    loss, d_outputs = task.loss(outputs, Block(numbers, each), weights)
    assert loss == pytest.approx(float(mean(outputs)), rel=1e-12)
    for n, t, k in np.ndindex(*outputs.shape):
        moved = outputs.astype(complex)
        moved[n, t, k] += 1e-30j
        expected = np.imag(mean(moved)) / 1e-30 if (n, t) in counted else 0
        assert d_outputs[n, t, k] == pytest.approx(expected, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_loss_and_score_on_every_array_library(xp, classes):
    task = StepClasses(classes)
    outputs, numbers, weights = block(task.outputs)
    factors = np.linspace(0.5, 2, len(classes))
    arrays = [xp.asarray(values) for values in (outputs, numbers, factors, weights)]
    loss, d_outputs = task.loss(arrays[0], Block(arrays[1], arrays[2]), arrays[3])
    expected, d_expected = task.loss(outputs, Block(numbers, factors), weights)
    np.testing.assert_allclose(xp.to_host(loss), expected, rtol=1e-12)
    np.testing.assert_allclose(xp.to_host(d_outputs), d_expected, rtol=1e-10, atol=1e-14)
    (hits,) = task.score_sums(arrays[0], Block(arrays[1], None))
    z = np.concatenate([0 * outputs, outputs], axis=2) if task.outputs == 1 else outputs
    assert xp.to_host(hits) == ((z.argmax(axis=2) == numbers) & (numbers >= 0)).sum() > 0


@pytest.mark.parametrize(("bidirectional", "K"), [(False, 3), (True, 2)])
def test_gradients_are_right(cell, bidirectional, K):
    X, y = ragged(8, K=K)
    y[2][:1] = -100
    labeler = make(
        cell=cell, bidirectional=bidirectional, hidden_size=2, max_iter=1, ignore=-100, class_weight="balanced"
    )
    labeler.fit(X, y)
    assert xlstm.check_gradients(labeler).passed
    assert xlstm.check_gradients(labeler, (X, y)).passed


def of_every_step(cell: str, parameters: dict[str, Any], row: Any) -> Any:
    """(time, K) The logits of one sequence, by the oracle."""
    recurrent = {name.removeprefix("recurrent."): value for name, value in parameters.items() if "recurrent" in name}
    outputs = oracle.forward(cell, recurrent, row[None]).outputs[0]
    return outputs @ parameters["head.weight"].T + parameters["head.bias"]


@pytest.mark.parametrize(("bidirectional", "K"), [(False, 2), (True, 3)])
def test_its_answers_are_those_of_plain_loops(cell, bidirectional, K):
    X, y = ragged(9, K=K)
    labeler = make(cell=cell, bidirectional=bidirectional, num_layers=2, dtype="float64").fit(X, y)
    parameters, classes = truth.parameters_of(labeler), np.arange(K)
    made = [labeler.decision_function(X), labeler.predict_proba(X), labeler.predict_log_proba(X), labeler.predict(X)]
    prepared = labeler.prepare()
    for row, z, p, log_p, labels, again in zip(truth.standardised(X), *made, prepared(X), strict=True):
        expected = of_every_step(cell, parameters, row)
        np.testing.assert_allclose(z, expected[:, 0] if K == 2 else expected, rtol=1e-9, atol=1e-12)
        both = np.concatenate([0 * expected, expected], axis=1) if K == 2 else expected
        e = np.exp(both)
        np.testing.assert_allclose(p, e / e.sum(axis=1, keepdims=True), rtol=1e-9)
        np.testing.assert_allclose(log_p, np.log(p), rtol=1e-9)
        np.testing.assert_allclose(again, p, rtol=1e-9)
        np.testing.assert_array_equal(labels, classes[both.argmax(axis=1)])
    found = [prepared.predict(X), labeler.predict(X)]
    assert [row.tolist() for row in found[0]] == [row.tolist() for row in found[1]]
    assert prepared.score(X, y) == labeler.score(X, y)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_as_pytorch_on_random_ragged_problems(bidirectional):
    """Loss, every gradient and the logits in float32, of an LSTM with a linear layer over packed sequences."""
    torch = peer("torch")
    for seed in range(int(os.environ.get("XLSTM_RANDOM_LABELERS", "8"))):
        rng = np.random.default_rng(seed)
        K, D, H = int(rng.integers(2, 6)), int(rng.integers(1, 6)), int(rng.integers(1, 9))
        X, y = ragged(int(rng.integers(2, 8)), seed, K, D)
        y = [np.where(rng.random(len(row)) < 0.2, -100, row) for row in y]
        y[0][0] = 0
        labeler = make(hidden_size=H, bidirectional=bidirectional, ignore=-100, standardize=False)
        labeler.partial_fit(X, y, classes=range(K))
        fitted = labeler.fitted_state()
        model, task = fitted.model, fitted.task
        twin = torch.nn.LSTM(D, H, batch_first=True, bidirectional=bidirectional)
        recurrent = {n.removeprefix("recurrent."): v for n, v in model.parameters.items() if "recurrent" in n}
        twin.load_state_dict({name: torch.tensor(v) for name, v in convert.to_torch(recurrent).items()})
        weight, bias = (
            torch.tensor(np.array(model.parameters[f"head.{n}"]), requires_grad=True) for n in ("weight", "bias")
        )
        packed = torch.nn.utils.rnn.pack_sequence([torch.tensor(row, dtype=torch.float32) for row in X], False)
        z = torch.nn.utils.rnn.pad_packed_sequence(twin(packed)[0], batch_first=True)[0] @ weight.T + bias
        labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in y], True, -100)
        both = torch.cat([torch.zeros_like(z), z], dim=2) if K == 2 else z
        loss = torch.nn.functional.cross_entropy(both.flatten(0, 1), labels.flatten())
        loss.backward()

        data = Encoded.of(np.concatenate(X).astype(np.float32), np.array(list(map(len, X))))
        given = feed.whole(model, data)
        logits, tape = model.forward(given, rng)
        targets = task.batch(task.read(y, len(y)), np.arange(len(y)), CPU, "float32")
        found, d_logits = task.loss(logits, targets, np.ones(len(y), dtype=np.float32))
        model.backward(tape, d_logits)
        assert found == pytest.approx(float(loss.detach()), rel=1e-5)
        for name, gradient in model.gradients.items():
            part = name.removeprefix("recurrent.")
            if "recurrent" in name:
                expected = getattr(twin, part.replace("bias", "bias_ih")).grad
            else:
                expected = (weight if "weight" in name else bias).grad
            scale = max(float(expected.norm()), 0.1 * float(twin.weight_hh_l0.grad.norm()), 1e-4)
            assert np.linalg.norm(gradient - expected.numpy()) < 1e-5 * scale, (seed, name)
        for row, made in zip(z.detach().numpy(), labeler.decision_function(X), strict=True):
            np.testing.assert_allclose(made, (row[:, 0] if K == 2 else row)[: len(made)], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- means over steps


def test_the_history_holds_exact_means_over_the_steps_that_count():
    """With a learning rate of next to nothing each batch is answered by the same weights."""
    X, y = ragged(23, K=3)
    y[4][:] = -1
    y[7][0] = -1
    weights = np.linspace(0.5, 2, 23)
    labeler = make(batch_size=5, learning_rate_init=1e-300, ignore=-1, dtype="float64", early_stopping=True)
    parts = []
    split = StepClasses.split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepClasses, "split", lambda *given: (parts.append(split(*given)), parts[-1])[1])
        labeler.fit(X, y, sample_weight=weights)
    log_p = labeler.predict_log_proba(X)

    def means(rows: Any) -> tuple[float, float, float]:
        counted = [(row, t) for row in rows for t in range(len(y[row])) if y[row][t] >= 0]
        own = np.array([weights[row] for row, _ in counted])
        losses = np.array([-log_p[row][t, y[row][t]] for row, t in counted])
        right = [log_p[row][t].argmax() == y[row][t] for row, t in counted]
        return np.average(losses, weights=own), np.mean(right), np.average(right, weights=own)

    kept, aside = parts[0]
    assert 4 not in aside
    assert sorted([*kept, *aside]) == list(range(23))
    np.testing.assert_allclose([labeler.loss_curve_[0], labeler.accuracy_curve_[0]], means(kept)[:2], rtol=1e-10)
    found = [
        labeler.validation_loss_curve_[0],
        labeler.history_["validation_accuracy"][0],
        labeler.validation_scores_[0],
    ]
    np.testing.assert_allclose(found, means(aside), rtol=1e-10)


def test_class_weights_are_of_the_labels_and_of_mean_1():
    task = StepClasses(THREE, ignore=0)
    targets = task.read([[1, 1, 0], [9, 5, 1, 1], [9]], 3)
    rows = np.array([1.0, 2.0, 0.0])
    labels, own = np.array([1, 1, 9, 5, 1, 1]), np.array([1, 1, 2, 2, 2, 2])  # those that count and weigh
    for given, each in (({9: 3.0, 1: 0.5}, {1: 0.5, 5: 1, 9: 3}), ("balanced", {1: 1 / 6, 5: 1 / 2, 9: 1 / 2})):
        task.class_weight = given
        assert task.weights(targets, rows).tolist() == rows.tolist()
        factors = task.batch(targets, np.arange(3), CPU, "float64").factors
        expected = np.array([each[label] for label in labels])
        expected *= own.sum() / (own * expected).sum()
        np.testing.assert_allclose(factors[np.searchsorted(THREE, labels)], expected)
    task.class_weight = None
    task.weights(targets, None)
    assert task.batch(targets, np.arange(3), CPU, "float64").factors is None
    task.class_weight = {7: 1.0}
    with pytest.raises(ValueError, match="names 7, which is no class"):
        task.weights(targets, None)


def test_a_weight_of_0_is_as_good_as_no_row():
    X, y = ragged(12)
    settings = {"batch_size": 12, "dtype": "float64", "standardize": False}
    with_it = make(**settings).fit(X, y, sample_weight=[1.0] * 11 + [0])
    without = make(**settings).fit(X[:-1], y[:-1])
    counts = sum(map(len, y)), sum(map(len, y[:-1]))
    # Of mean 1 over all labels: the sum over those that weigh is divided by the number of all.
    np.testing.assert_allclose(with_it.loss_curve_[0], without.loss_curve_[0], rtol=1e-9)
    assert counts[0] > counts[1]
    assert with_it.score(X, y, sample_weight=[1.0] * 11 + [0]) == pytest.approx(with_it.score(X[:-1], y[:-1]))


def test_targets_of_some_rows():
    task = StepClasses(THREE, ignore=0)
    targets = task.read([[1, 5], [0], [9, 9, 0, 1]], 3)
    some = task.take(targets, np.array([2, 0]))
    assert (some.steps.tolist(), some.lengths.tolist(), some.starts.tolist()) == ([2, 2, -1, 0, 0, 1], [4, 2], [0, 4])
    made = task.batch(targets, np.array([0, 2, 1]), CPU, "float32")
    assert made.numbers.tolist() == [[0, 1, -1, -1], [2, 2, -1, 0], [-1, -1, -1, -1]]
    assert task.terms(targets).tolist() == [2, 0, 3]
    marks = task.marks(task.read([[1], [5], [1], [1, 1]], 4), 4)
    assert marks[0] == marks[2]
    assert len(set(marks)) == 3


# ---------------------------------------------------------------- what it reads


def test_labels_come_in_any_form():
    X = np.random.default_rng(0).standard_normal((6, 3))
    y = [["a", "b", "a"], ["b", "b", "a"], ["a", "a", "a"], ["b", "a", "a"], ["a", "b", "b"], ["a", "a", "b"]]
    expected = make().fit(X, y).predict_proba(X)
    strings = ["".join(row) for row in y]
    forms = [
        np.array(y), np.array(y, dtype=object), strings, tuple(strings), np.array(strings), np.array(strings, dtype=object),
        [np.array(row) for row in y], tuple(map(tuple, y)), [np.array(row, dtype=object) for row in y], [y[0], *map(np.array, y[1:])],
    ]  # fmt: skip
    for form in forms:
        labeler = make().fit(X, form)
        assert labeler.classes_.tolist() == ["a", "b"]
        np.testing.assert_array_equal(labeler.predict_proba(X), expected)
    numbers = [[int(label == "b") for label in row] for row in y]
    for form in (numbers, np.array(numbers), np.array(numbers, dtype=float), np.array(numbers) == 1):
        np.testing.assert_array_equal(make().fit(X, form).predict_proba(X), expected)
    pandas = peer("pandas")
    for form in (pandas.Series(y), pandas.DataFrame(y), [pandas.Series(row) for row in y]):
        np.testing.assert_array_equal(make().fit(X, form).predict_proba(X), expected)


@pytest.mark.parametrize(
    ("ignore", "y", "classes"),
    [
        (-100, [[1, -100], [2]], [1, 2]),
        (-100, [np.array([1, -100]), np.array([2])], [1, 2]),
        (-100, [np.array([1.0, -100.0]), np.array([2])], [1, 2]),
        ("O", ["AO", "B"], ["A", "B"]),
        ("O", [np.array(["A", "O"]), np.array(["B"])], ["A", "B"]),
        ("O", [["A", "O"], ("B",)], ["A", "B"]),
        (-1, [["A", -1], ["B"]], ["A", "B"]),
        (np.int64(0), [[1, 0], [2]], [1, 2]),
    ],
)
def test_a_label_that_does_not_count(ignore, y, classes):
    X = [np.ones((2, 1)), np.ones((1, 1))]
    labeler = make(ignore=ignore).fit(X, y)
    assert labeler.classes_.tolist() == classes
    assert {label for row in labeler.predict(X) for label in row.tolist()} <= set(classes)
    right = [labeler.predict(X)[0][0] == y[0][0], labeler.predict(X)[1][0] == y[1][0]]
    assert labeler.score(X, y) == np.mean(right)
    other = copy.deepcopy(y)
    labeler.partial_fit(X, other)
    with pytest.raises(ValueError, match="step 0 of row 1 has the label"):
        make(ignore=ignore).partial_fit(X, y, classes=[classes[0], type(classes[0])(7)])


def test_a_label_that_is_not_to_count_and_never_comes_is_told():
    X = [np.ones((2, 1)), np.ones((1, 1))]
    with pytest.warns(
        xlstm.AmbiguousDataWarning, match=r"^no label of y is 'o', the one .*: write `ignore` as y has it"
    ):
        make(ignore="o").fit(X, [["A", "O"], ["B"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error", xlstm.AmbiguousDataWarning)
        make(ignore="O").fit(X, [["A", "O"], ["B"]])
        make(ignore="O").partial_fit(X, [["A", "A"], ["B"]], classes=["A", "B"])  # it may come later


def test_a_label_that_does_not_count_is_never_learned_from():
    X, y = ragged(20)
    hidden = [np.where(np.arange(len(row)) % 2, -100, row) for row in y]
    first = make(ignore=-100, batch_size=20, random_state=1).fit(X, hidden)
    other = [np.where(row == -100, 77, row) for row in hidden]
    second = make(ignore=77, batch_size=20, random_state=1).fit(X, other)
    np.testing.assert_array_equal(truth.flat(truth.parameters_of(first)), truth.flat(truth.parameters_of(second)))


# ---------------------------------------------------------------- refused

ROWS = [np.ones((2, 1)), np.ones((3, 1))]
FITS: dict[str, tuple[Any, str]] = {
    "none": (None, r"requires y to be passed, but the target y is None\."),
    "one string": ("abcde", r"y should be a list with the labels of each sequence, or an array \(n, time\), got one string\. One sequence is \[X\], its labels \[y\]\."),
    "three dimensions": (np.ones((2, 3, 1)), r"y should be a list .* got an array of shape \(2, 3, 1\)\."),
    "too few rows": ([[1, 2]], r"X has 2 sequences, but y has labels of 1: inconsistent numbers of samples\."),
    "a label a row": ([1, 2], r"y\[0\] is 1, a single label: expected a label for each step of row 0\. For one label of each whole sequence there is SequenceClassifier; one sequence is \[X\], its labels \[y\]\."),
    "a letter a row": (["a", "b"], r"row 0 of y has 1 label, but row 0 of X has 2 steps: each step needs one\. For one label of each whole sequence there is SequenceClassifier\."),
    "too few labels": ([[1, 2], [1, 2]], r"row 1 of y has 2 labels, but row 1 of X has 3 steps: each step needs one\."),
    "too many labels": ([[1, 2], [1, 2, 1, 2]], r"row 1 of y has 4 labels, but row 1 of X has 3 steps: each step needs one\..*"),
    "tags in a string": (["N V", "N V D"], r"row 0 of y has 3 labels, .* If its labels are one string, a character is a label: cut it into a list, y\[k\]\.split\(\)\."),
    "a column": ([[1, 2], np.ones((3, 1))], r"row 1 of y has the shape \(3, 1\), expected \(time,\), a label for each step\. Of one column, pass row\.ravel\(\)\."),
    "nothing": ([[1, 2], [1, None, 2]], r"y\[1\]\[1\] is None: each step needs a label\. Where there is none, write one that stands for that, and name it as `ignore`\."),
    "nan": ([[1, 2], np.array([1, 2, np.nan])], r"y\[1\]\[2\] is nan: .*"),
    "fractions": ([[1, 2], [1.5, 2, 1]], r"Unknown label type: continuous\. .*"),
    "mixed": ([[1, "a"], [1, 2, 1]], r"Unknown label type: y mixes numbers and strings\."),
    "nested": ([[1, 2], [1, [2], 1]], r"Unknown label type: y\[1\]\[1\] is list; expected strings or numbers, one for each step\."),
    "one class": ([[1, 1], [1, 1, 1]], r"y holds a single class, 1: a labeler needs two or more \(1 class given\)\."),
    "none that counts": ([[-100] * 2, [-100] * 3], r"no label of y counts: all are the one that `ignore` names, so nothing could be learned\."),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_is_no_y_is_refused_in_a_sentence(name):
    y, message = FITS[name]
    labeler = make(ignore=-100)
    with pytest.raises(ValueError, match=rf"^{message}$"):
        labeler.fit(ROWS, y)
    assert not hasattr(labeler, "classes_")
    labeler.fit(ROWS, [[1, 2], [2, 1, 1]])
    before = truth.whole_state(labeler)
    for call in (labeler.fit, labeler.partial_fit):
        if name != "one class" or call == labeler.fit:
            with pytest.raises(ValueError):  # noqa: PT011
                call(ROWS, y)
    assert truth.whole_state(labeler) == before


def test_a_later_y_has_to_be_like_the_first():
    labeler = make(ignore=-100).fit(ROWS, [[1, 2], [2, 1, 1]])
    unknown = r"^step 2 of row 1 has the label 3, which is none of the classes \[1, 2\]\.$"
    for call in (labeler.score, labeler.partial_fit, labeler.prepare().score):
        with pytest.raises(ValueError, match=unknown):
            call(ROWS, [[1, -100], [2, 1, 3]])
        with pytest.raises(ValueError, match="row 0 of y has 3 labels, but row 0 of X has 2 steps"):
            call(ROWS, [[1, 2, 1], [2, 1, 1]])
    with pytest.raises(ValueError, match="no label of y counts: there is nothing to score"):
        labeler.score(ROWS, [[-100] * 2, [-100] * 3])
    with pytest.raises(ValueError, match="every label of y is -100, which does not count: nothing could be learned"):
        labeler.partial_fit(ROWS, [[-100] * 2, [-100] * 3])
    with pytest.raises(ValueError, match=r"^classes \[1, 5\] are not those of the first call: \[1, 2\]\.$"):
        labeler.partial_fit(ROWS, [[1, 2], [2, 1, 1]], classes=[1, 5])
    labeler.partial_fit(ROWS, [[1, 1], [1, 1, 1]], classes=[2, 1, -100])
    labeler.set_params(ignore=2, warm_start=True)
    with pytest.raises(ValueError, match=r"^ignore is 2, but the model to go on from has -100: set it back, or train"):
        labeler.fit(ROWS, [[1, 2], [2, 1, 1]])
    for wrong in (float("nan"), float("inf"), ["a"]):
        message = re.escape(f"ignore must be None or a label, a string or a number, got {wrong!r}.")
        with pytest.raises(ValueError, match=rf"^{message}$"):
            make(ignore=wrong).fit(ROWS, [[1, 2], [2, 1, 1]])
    with pytest.raises(ValueError, match=r"a single class, 1: pass all labels that will come as classes="):
        make().partial_fit(ROWS, [[1, 1], [1, 1, 1]])
    with pytest.raises(ValueError, match=r"sample_weight\.shape"):
        labeler.score(ROWS, [[1, 2], [2, 1, 1]], sample_weight=[1, 2, 3])


# ---------------------------------------------------------------- parts, files, copies


def test_a_stream_gives_what_the_whole_has():
    X, y = odd_so_far(30)
    labeler = make(num_layers=2).fit(X, y)
    text = "0110100"
    whole, labels = labeler.predict_proba([text])[0], labeler.predict([text])[0]
    for stream in (labeler.stream(), labeler.prepare().stream()):
        with pytest.raises(ValueError, match="fed nothing yet"):
            stream.predict()
        begin = 0
        for end in (1, 4, 7):
            part = stream.feed(text[begin:end])
            assert part.shape == (end - begin, 2)
            np.testing.assert_allclose(part, whole[begin:end], rtol=1e-5)
            assert stream.predict().tolist() == labels[begin:end].tolist()
            begin = end
        assert stream.classes_.tolist() == ["e", "o"]
    with pytest.raises(ValueError, match="a bidirectional model cannot stream"):
        make(bidirectional=True).fit(X, y).stream()


@pytest.mark.parametrize("ignore", [None, "e", "?"])
def test_it_is_saved_and_goes_on_just_there(tmp_path, ignore):
    X, y = odd_so_far(60)
    y = [row.replace("o", "ox"[k % 2]) for k, row in enumerate(y)]
    labeler = make(early_stopping=True, batch_size=8, ignore=ignore, class_weight={"o": 2.0}).fit(X, y)
    labeler.save(tmp_path / "labeler.xlstm")
    again = xlstm.load(tmp_path / "labeler.xlstm", "cpu")
    assert type(again) is xlstm.SequenceLabeler
    assert again.get_params() == labeler.get_params()
    assert again.fitted_state().task.ignore == ignore
    assert again.best_validation_score_ == labeler.best_validation_score_
    for each in (labeler, again, copy.deepcopy(labeler), pickle.loads(pickle.dumps(labeler)), labeler.to("cpu")):
        if each is not labeler:
            for p, expected in zip(each.predict_proba(X), labeler.predict_proba(X), strict=True):
                np.testing.assert_array_equal(p, expected)
    for each in (labeler, again):
        each.partial_fit(X, y)
        each.partial_fit(X[:9], y[:9])
    assert truth.whole_state(again) == truth.whole_state(labeler)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("ignore", [1], "the label to ignore is"),
        ("ignore", "o", "the label to ignore is 'o'"),
        ("more", 1, "expected the classes and the label to ignore"),
    ],
)
def test_a_wrong_file_is_refused(part, value, message):
    header, arrays = state.of(make().fit(*odd_so_far(10)))
    wrong = json.loads(json.dumps(header))
    wrong["task"][part] = value
    with pytest.raises(ValueError, match=message):
        state.restored(wrong, arrays)
    wrong = json.loads(json.dumps(header))
    wrong["architecture"]["readout"] = "final"
    with pytest.raises(ValueError, match="readout must be one of"):
        state.restored(wrong, arrays)


def test_rows_stay_apart_over_warm_starts():
    X, y = odd_so_far(60, longest=9)
    labeler = make(early_stopping=True, warm_start=True, validation_fraction=0.25).fit(X, y)
    before = labeler.fitted_state().sides
    order = np.random.default_rng(0).permutation(60)
    labeler.fit([X[k] for k in order], [y[k] for k in order])
    assert labeler.fitted_state().sides.state() == before.state()
    assert len(before.aside) == 15
    first = make(warm_start=True, max_iter=5).fit(X, y)
    loss = first.loss_
    assert first.fit(X, y).loss_ < loss


def test_batches_of_many_lengths_give_the_rows_in_their_order(monkeypatch):
    X, y = ragged(40)
    labeler = make().fit(X, y)
    expected = labeler.predict_proba(X)
    by_length = batch.by_length
    monkeypatch.setattr(batch, "by_length", lambda lengths: by_length(lengths, 7))
    for made, p, row in zip(labeler.predict_proba(X), expected, X, strict=True):
        assert made.shape == (len(row), 3)
        np.testing.assert_allclose(made, p, rtol=1e-5)


# ---------------------------------------------------------------- with scikit-learn


def test_its_readout_is_no_setting():
    assert "readout" not in make().get_params()
    with pytest.raises(TypeError, match="readout"):
        xlstm.SequenceLabeler(readout="final")
    assert make().fit(*odd_so_far(10)).fitted_state().model.architecture.readout == "steps"


def test_searches_and_cross_validation():
    selection, base = peer("sklearn.model_selection"), peer("sklearn.base")
    X, y = odd_so_far(40)
    labeler = make(max_iter=3)
    assert not base.is_classifier(labeler)
    assert base.clone(labeler).get_params() == labeler.get_params()
    folds = selection.KFold(2)
    scores = selection.cross_val_score(labeler, X, y, cv=folds, error_score="raise")
    for (train, test), score in zip(folds.split(X), scores, strict=True):
        fitted = base.clone(labeler).fit([X[k] for k in train], [y[k] for k in train])
        assert fitted.score([X[k] for k in test], [y[k] for k in test]) == score
    search = selection.GridSearchCV(labeler, {"hidden_size": [2, 5]}, cv=folds, error_score="raise").fit(X, y)
    assert search.best_params_["hidden_size"] in (2, 5)


ONE_LABEL_A_ROW = re.findall(
    r"\w+",
    """
check_fit_score_takes_y check_estimators_overwrite_params check_dont_overwrite_parameters
check_estimators_fit_returns_self check_readonly_memmap_input check_n_features_in_after_fitting
check_positive_only_tag_during_fit check_estimators_dtypes check_sample_weights_pandas_series
check_sample_weights_not_an_array check_sample_weights_list check_all_zero_sample_weights_error
check_sample_weights_shape check_sample_weights_not_overwritten check_sample_weight_equivalence_on_dense_data
check_dtype_object check_pipeline_consistency check_estimators_nan_inf check_estimators_pickle
check_f_contiguous_array_estimator check_methods_sample_order_invariance check_methods_subset_invariance
check_fit2d_1sample check_fit2d_1feature check_dict_unchanged check_fit_idempotent check_fit_check_is_fitted
check_n_features_in check_fit2d_predict1d
""",
)
"""The checks of scikit-learn that fit with one label for each row, which is no y of a labeler."""


class Repeated(xlstm.SequenceLabeler):
    """A labeler for which each row has one label, which is that of all its steps: so that those checks can run."""

    @staticmethod
    def _labels(X: Any, y: Any) -> Any:
        shape, labels = np.asarray(X).shape, np.asarray(y)
        if len(shape) != 2 or labels.ndim != 1 or len(labels) != shape[0]:
            return y
        return np.repeat(labels[:, None], shape[1], axis=1)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X, self._labels(X, y), sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        return super().partial_fit(X, self._labels(X, y), classes, sample_weight)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return super().score(X, self._labels(X, y), sample_weight)

    def predict(self, X: Any) -> Any:
        return np.array([row[-1] for row in super().predict(X)])

    def _made(self, name: str, X: Any) -> Any:
        return np.array([row[-1] for row in super()._made(name, X)])


@pytest.mark.parametrize(
    ("kind", "expected_to_fail"),
    [
        (xlstm.SequenceLabeler, dict.fromkeys(ONE_LABEL_A_ROW, "y of a labeler has a label for each step")),
        (Repeated, REPEATED),
    ],
)
def test_check_estimator(kind, expected_to_fail):
    """Every check of scikit-learn; all that fail are listed."""
    settings = {"hidden_size": 3, "max_iter": 2, "random_state": 0, "device": "cpu"}
    checked_by_sklearn(kind(**settings), expected_to_fail)


@pytest.mark.parametrize(("ignore", "labels"), [(-100, ["x", "y"]), ("-", [1, 2]), (-100, [1, 2]), (0, [False, True])])
def test_the_label_that_does_not_count_may_be_among_the_declared_ones(ignore, labels):
    y = [[labels[0]] * len(row) for row in ROWS]
    declared = [*labels, ignore]
    labeler = make(ignore=ignore)
    if ignore == 0:  # False is 0, and would not count
        with pytest.raises(ValueError, match=r"a single class|no label of y counts|every label of y is"):
            labeler.partial_fit(ROWS, y, classes=declared)
        return
    for _ in range(2):
        labeler.partial_fit(ROWS, y, classes=declared)
        assert labeler.classes_.tolist() == labels
