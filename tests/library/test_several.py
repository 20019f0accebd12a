# ruff: noqa: E501 - a case of bad input is a line
"""Several labels at once: the loss and its gradients, against plain formulas and PyTorch; forms of y, thresholds, files."""

import copy
import itertools
import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm import backends, convert
from xlstm.labelsets import are_several, indicator, is_indicator, lists
from xlstm.model import Architecture, Batch, Model
from xlstm.readout import READOUTS
from xlstm.tasks import SeveralLabels

from ..measure import FORWARD, check, gradient_errors, relative_error
from ..peers import peer

LETTERS = np.array(["a", "b", "d"])


def problem(n: int, seed: int = 0) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Texts, which of three letters are in each, and the same as a matrix."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("abcd"), rng.integers(1, 7))) for _ in range(n)]
    return (
        texts,
        [[c for c in LETTERS.tolist() if c in text] for text in texts],
        np.array([[int(c in text) for c in LETTERS] for text in texts]),
    )


X, LISTS, MATRIX = problem(60)


def make(**chosen: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(**{"hidden_size": 6, "max_iter": 2, "random_state": 0, "device": "cpu", **chosen})


def example(K: int = 3, n: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, targets and weights."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (n, K)), rng.integers(0, 2, (n, K)).astype(np.int8), rng.uniform(0.2, 2, n)


def plain_loss(z: Any, targets: np.ndarray, weights: np.ndarray, having: Any = None) -> Any:
    """The formula, of complex numbers too; `having` is the weight of each label where it is there, and 1 where not."""
    having = np.ones(z.shape[1]) if having is None else having
    having = having * np.ones(z.shape[1])
    total = 0.0
    for row, there, weight in zip(z, targets, weights, strict=True):
        for k, value in enumerate(row):
            p = 1 / (1 + np.exp(-value))
            total = total - weight * (having[k] * np.log(p) if there[k] else np.log(1 - p))
    return total / z.size


# ---------------------------------------------------------------- the loss


@pytest.mark.parametrize("K", [1, 3])
def test_the_loss_is_the_mean_binary_cross_entropy_and_its_gradient_is_right(K):
    task = SeveralLabels(np.arange(K), matrix=True)
    outputs, targets, weights = example(K)
    loss, d_outputs = task.loss(outputs, targets, weights)
    assert loss == pytest.approx(plain_loss(outputs, targets, weights), rel=1e-12)
    for index in np.ndindex(*outputs.shape):
        moved = outputs.astype(complex)
        moved[index] += 1e-30j
        assert d_outputs[index] == pytest.approx(np.imag(plain_loss(moved, targets, weights)) / 1e-30, rel=1e-10)


def test_it_is_finite_for_any_logit():
    task = SeveralLabels(np.arange(2), matrix=True)
    loss, d_outputs = task.loss(np.array([[1e4, -1e4]]), np.array([[0, 1]], np.int8), np.ones(1))
    assert loss == 1e4
    np.testing.assert_array_equal(d_outputs, [[0.5, -0.5]])
    np.testing.assert_array_equal(task.log_probabilities(np.array([[1e4, -1e4]])), [[0, -1e4]])


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 2: 0.25}])
def test_it_is_the_same_on_every_array_library(xp, class_weight):
    task = SeveralLabels(np.arange(3), matrix=True)
    outputs, targets, weights = example()
    task.class_weight = class_weight
    task.weights(targets, weights)
    there = [xp.asarray(array) for array in (outputs, targets, weights)]
    for found, expected in zip(task.loss(*there), task.loss(outputs, targets, weights), strict=True):
        np.testing.assert_allclose(xp.to_host(found), expected, rtol=1e-12)
    for found, expected in zip(task.score_sums(*there[:2]), task.score_sums(outputs, targets), strict=True):
        np.testing.assert_allclose(xp.to_host(found), expected, rtol=1e-12)


def test_class_weights_are_those_of_where_a_label_is_and_their_mean_is_one():
    """Up to a factor of each label, the loss is that with the weights where labels are."""
    outputs, targets, weights = example(n=9)
    for class_weight, ratio in (
        ({0: 3.0, 2: 0.25}, np.array([3, 1, 0.25])),
        ("balanced", (weights @ (1 - targets)) / (weights @ targets)),
    ):
        task = SeveralLabels(np.arange(3), matrix=True)
        task.class_weight = class_weight
        np.testing.assert_array_equal(task.weights(targets, weights), weights)
        for k in range(3):
            own = SeveralLabels(np.arange(1), matrix=True)
            own.class_weight = {0: ratio[k]}
            one = targets[:, k : k + 1]
            own.weights(one, weights)
            mean = np.average(np.where(one[:, 0], ratio[k], 1), weights=weights)
            expected = plain_loss(outputs[:, k : k + 1], one, weights, ratio[k]) / mean
            assert own.loss(outputs[:, k : k + 1], one, weights)[0] == pytest.approx(expected, rel=1e-10)
        parts = [own_loss(outputs[:, k : k + 1], targets[:, k : k + 1], weights, ratio[k]) for k in range(3)]
        assert task.loss(outputs, targets, weights)[0] == pytest.approx(np.mean(parts), rel=1e-10)


def own_loss(z: np.ndarray, targets: np.ndarray, weights: np.ndarray, ratio: float) -> float:
    return float(
        plain_loss(z, targets, weights, ratio) / np.average(np.where(targets[:, 0], ratio, 1), weights=weights)
    )


def test_a_label_that_is_always_or_never_there_is_balanced_already():
    task = SeveralLabels(np.arange(2), matrix=True)
    task.class_weight = "balanced"
    targets = np.array([[0, 1], [0, 1]], np.int8)
    task.weights(targets, None)
    assert task.loss(np.zeros((2, 2)), targets, np.ones(2))[0] == pytest.approx(np.log(2))


def test_scores_by_hand():
    task = SeveralLabels(LETTERS, matrix=False)
    outputs, targets, weights = example(n=40)
    found, there = outputs > 0, targets == 1
    whole = (found == there).all(axis=1)
    assert 1 < whole.sum() < 39
    scores = task.scores([float(value) for value in task.score_sums(outputs, targets)], 40)
    assert scores == {
        "log_loss": pytest.approx(plain_loss(outputs, targets, np.ones(40))),
        "f1_micro": pytest.approx(2 * (found & there).sum() / (found.sum() + there.sum())),
        "subset_accuracy": pytest.approx(whole.mean()),
    }
    assert scores["f1_micro"] == pytest.approx(peer("sklearn.metrics").f1_score(there, found, average="micro"))
    assert task.score(outputs, targets, weights) == pytest.approx(float((whole * weights).sum() / weights.sum()))
    assert task.goodness(scores) == -scores["log_loss"]
    assert task.scores([0.0, 0.0, 0.0, 0.0, 4.0], 4)["f1_micro"] == 1.0
    np.testing.assert_allclose(task.details(outputs), 1 / (1 + np.exp(-outputs)), rtol=1e-12)
    np.testing.assert_allclose(task.log_probabilities(outputs), -np.log1p(np.exp(-outputs)), rtol=1e-12)
    assert task.answers(outputs[:3]) == [LETTERS[row].tolist() for row in found[:3]]


# ---------------------------------------------------------------- the whole model beside PyTorch


def twin_gradients(
    torch: Any, model: Model, x: np.ndarray, lengths: list[int], targets: np.ndarray, weights: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and the gradients of the same network in PyTorch, float64, by automatic differentiation."""
    a = model.architecture
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[a.cell]
    twin = kind(
        a.input_size, a.hidden_size, a.num_layers, bidirectional=a.bidirectional, batch_first=True, dtype=torch.float64
    )
    own = {name: np.asarray(view, dtype=np.float64) for name, view in model.parameters.items()}
    recurrent = {
        name.removeprefix("recurrent."): values for name, values in own.items() if name.startswith("recurrent.")
    }
    twin.load_state_dict({name: torch.asarray(values) for name, values in convert.to_torch(recurrent).items()})
    weight, bias = (torch.tensor(own[f"head.{name}"], requires_grad=True) for name in ("weight", "bias"))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.asarray(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    outputs, state = twin(packed)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    valid = (torch.arange(outputs.shape[1])[None, :] < torch.tensor(lengths)[:, None])[..., None]
    if a.readout == "final":
        h = state[0] if a.cell == "lstm" else state
        features = torch.cat(list(h[-2 if a.bidirectional else -1 :]), dim=1)
    elif a.readout == "mean":
        features = (outputs * valid).sum(dim=1) / torch.tensor(lengths)[:, None]
    else:
        features = torch.where(valid, outputs, torch.tensor(-torch.inf, dtype=torch.float64)).amax(dim=1)
    logits = features @ weight.T + bias
    each = torch.nn.BCEWithLogitsLoss(reduction="none")(logits, torch.asarray(targets, dtype=torch.float64))
    loss = (each.mean(dim=1) * torch.asarray(weights)).mean()
    loss.backward()
    found = {f"recurrent.{name}": values for name, values in _as_ours(twin, a.cell).items()}
    return loss.item(), {**found, "head.weight": weight.grad.numpy(), "head.bias": bias.grad.numpy()}


def _as_ours(twin: Any, cell: str) -> dict[str, np.ndarray]:
    """PyTorch's gradients by our names: both biases of a gate have the same one."""
    found = {name: values.grad.numpy() for name, values in twin.named_parameters()}
    ours = {name: values for name, values in found.items() if name.startswith("weight")}
    for name, values in found.items():
        if name.startswith("bias_ih"):
            ours[name.replace("bias_ih", "bias")] = values
        elif name.startswith("bias_hh") and cell == "gru":
            ours[name.replace("bias_hh", "bias_hn")] = values[-len(values) // 3 :]
    return ours


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hundred_random_ragged_problems_beside_pytorch(dtype):
    torch, rng = peer("torch"), np.random.default_rng(5)
    bound = {"float32": 1e-5, "float64": 1e-11}[dtype]
    for case in range(100 if dtype == "float32" else 20):
        N, T, K = (int(rng.integers(low, high)) for low, high in ((1, 6), (1, 8), (1, 5)))
        architecture = Architecture(
            cell=str(rng.choice(["lstm", "gru", "rnn"])), input_size=int(rng.integers(1, 4)), tokens=False, embedding_size=None,
            hidden_size=int(rng.integers(2, 7)), num_layers=int(rng.integers(1, 3)), bidirectional=bool(rng.integers(2)), dropout=0.0,
            outputs=K, dtype=dtype, init="pytorch", readout=str(rng.choice(["final", "mean", "max"])),
        )  # fmt: skip
        backend = backends.select("cpu")
        model, task = Model(architecture, backend, "auto", rng), SeveralLabels(np.arange(K), matrix=True)
        x = rng.standard_normal((N, T, architecture.input_size))
        lengths = [T, *rng.integers(1, T + 1, N - 1).tolist()]
        targets, weights = rng.integers(0, 2, (N, K)).astype(np.int8), rng.uniform(0.5, 1.5, N)
        logits, tape = model.forward(Batch(x.astype(dtype), None, lengths), rng)
        loss, d_logits = task.loss(logits, targets, weights.astype(dtype))
        model.backward(tape, d_logits)
        x = x.astype(dtype).astype(np.float64)
        expected, gradients = twin_gradients(torch, model, x, lengths, targets, weights)
        assert loss == pytest.approx(expected, rel=bound), architecture
        check(gradient_errors(model.gradients, gradients), bound, (case, architecture))


@pytest.mark.parametrize("readout", [name for name, kind in READOUTS.items() if not kind.each_step])
@pytest.mark.parametrize("class_weight", [None, {"b": 3.0}])
def test_gradients_with_every_readout(readout, class_weight):
    clf = make(readout=readout, hidden_size=2, class_weight=class_weight, bidirectional=True, max_iter=1).fit(X, LISTS)
    for inputs in (None, (X[:6], LISTS[:6])):
        assert xlstm.check_gradients(clf, inputs).passed


# ---------------------------------------------------------------- training


def test_it_learns_and_answers_in_the_form_of_y():
    chosen = {"hidden_size": 12, "max_iter": 25, "learning_rate_init": 0.03}
    texts, given_lists, matrix = problem(200)
    new, expected, as_matrix = problem(100, seed=1)
    by_lists, by_matrix = make(**chosen).fit(texts, given_lists), make(**chosen).fit(texts, matrix)
    assert by_lists.score(new, expected) == by_matrix.score(new, as_matrix) >= 0.9
    np.testing.assert_array_equal(by_lists.predict_proba(new), by_matrix.predict_proba(new))
    assert (by_lists.classes_.tolist(), by_matrix.classes_.tolist()) == (["a", "b", "d"], [0, 1, 2])
    answers = by_matrix.predict(new)
    assert (answers.dtype, answers.shape) == (np.int64, (100, 3))
    assert by_lists.predict(new) == [LETTERS[row == 1].tolist() for row in answers]
    np.testing.assert_array_equal(by_matrix.decision_function(new) > 0, answers == 1)
    p = by_matrix.predict_proba(new)
    np.testing.assert_array_equal(p > 0.5, answers == 1)
    np.testing.assert_allclose(np.exp(by_matrix.predict_log_proba(new)), p, rtol=1e-5)
    assert by_matrix.subset_accuracy_curve_[-1] > by_matrix.subset_accuracy_curve_[0]
    assert by_matrix.f1_micro_curve_[-1] > 0.9
    np.testing.assert_allclose(by_matrix.log_loss_curve_, by_matrix.loss_curve_, rtol=1e-5)
    assert not hasattr(by_matrix, "accuracy_curve_")


@pytest.mark.parametrize(
    "form",
    [
        MATRIX.astype(bool), MATRIX.astype(float), MATRIX.astype(object), MATRIX.tolist(), [list(map(bool, row)) for row in MATRIX],
        list(MATRIX), tuple(map(tuple, MATRIX.tolist())), np.asfortranarray(MATRIX.astype(np.uint8)),
    ],
)  # fmt: skip
def test_forms_of_a_matrix(form):
    assert are_several(form)
    assert is_indicator(form)
    labels, flags = indicator(form, len(X))
    assert labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(flags, MATRIX)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, np.array])
@pytest.mark.parametrize("whole", [list, tuple, lambda rows: rows_of_objects(rows)])
def test_forms_of_lists(kind, whole):
    y = whole([kind(row) for row in LISTS])
    assert are_several(y)
    assert not is_indicator(y)
    labels, flags = lists(y, len(X))
    assert labels.tolist() == LETTERS.tolist()
    np.testing.assert_array_equal(flags, MATRIX)


def rows_of_objects(rows: list[Any]) -> np.ndarray:
    made = np.empty(len(rows), dtype=object)
    for k, row in enumerate(rows):
        made[k] = row
    return made


def test_frames_of_pandas():
    pandas = peer("pandas")
    frame = pandas.DataFrame(MATRIX, columns=["x", "z", "y"])
    clf = make().fit(X, frame)
    assert clf.classes_.tolist() == ["x", "z", "y"]
    np.testing.assert_array_equal(clf.predict(X), make().fit(X, MATRIX).predict(X))
    assert clf.score(X, frame[["y", "x", "z"]]) == clf.score(X, frame) == clf.score(X, MATRIX)
    with pytest.raises(ValueError, match=r"y has the columns \['x', 'z', 'w'\], but the labels of this model are"):
        clf.score(X, frame.rename(columns={"y": "w"}))
    assert are_several(pandas.Series(LISTS))
    np.testing.assert_array_equal(lists(pandas.Series(LISTS), len(X))[1], MATRIX)
    assert not are_several(pandas.Series(["a", "b"]))
    with pytest.raises(ValueError, match=r"y\[1, 0\] is <NA> \(in the column 'x'\)"):
        indicator(pandas.DataFrame({"x": pandas.array([1, None], dtype="Int64"), "z": [1, 0]}), 2)


def test_one_label_each_is_a_column_as_it_always_was():
    for y in (["a", "b"], [["a"], ["b"]], np.array([[1], [0]]), [1, 0], np.array(["a", "b"]), np.zeros((2, 2, 2))):
        assert not are_several(y)
    for y in ([["a"], []], [{"a"}, {"b"}], [["a"], "b"], [[1, 0], [0, 1]]):
        assert are_several(y)
    assert not is_indicator([[0, 2], [2, 0]])
    assert not is_indicator([[0, 1], [0]])


@given(st.lists(st.sets(st.integers(-3, 3)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_labels_there_and_back(rows):
    if not any(rows):
        assert len(lists(rows, len(rows))[0]) == 0
        return
    labels, flags = lists(rows, len(rows))
    assert labels.tolist() == sorted(set().union(*rows))
    task = SeveralLabels(labels, matrix=False)
    assert [set(row) for row in task.answers(np.where(flags == 1, 1.0, -1.0))] == rows
    np.testing.assert_array_equal(task.read(rows, len(rows)), flags)


def test_early_stopping_goes_by_the_log_loss():
    texts, y, _ = problem(120)
    clf = make(early_stopping=True, max_iter=40, validation_fraction=0.25, n_iter_no_change=5, hidden_size=12).fit(
        texts, y
    )
    assert clf.best_validation_score_ == min(clf.validation_scores_)
    assert clf.validation_scores_[0] > clf.best_validation_score_
    history = clf.fitted_state().trainer.history
    assert set(history.validation_scores) == {"log_loss", "f1_micro", "subset_accuracy"}
    first = clf.fitted_state().sides
    clf.set_params(warm_start=True, max_iter=1).fit(texts[::-1], y[::-1])
    np.testing.assert_array_equal(clf.fitted_state().sides.aside, first.aside)


def test_partial_fit_and_declared_labels():
    clf = make().partial_fit(X[:10], [["a"] if row else [] for row in LISTS[:10]], classes=["d", "b", "a"])
    assert clf.classes_.tolist() == ["a", "b", "d"]
    clf.partial_fit(X, LISTS).partial_fit(X, LISTS, classes=["a", "b", "d"])
    assert clf.n_iter_ == 3
    named = make().partial_fit(X, MATRIX, classes=["z", "x", "y"])
    assert named.classes_.tolist() == ["z", "x", "y"]
    for classes in (["x", "y", "z"], ["z", "x"]):
        with pytest.raises(ValueError, match="are not those of the first call"):
            named.partial_fit(X, MATRIX, classes=classes)


def test_a_fit_with_classes_after_one_with_labels_keeps_nothing_of_it():
    clf = make().fit(X, LISTS)
    clf.fit(X, MATRIX[:, 0])
    assert not any(hasattr(clf, name) for name in ("thresholds_", "f1_micro_curve_", "log_loss_curve_"))
    assert hasattr(clf, "accuracy_curve_")
    assert clf.predict(X).shape == (60,)


def test_sample_weights_are_those_of_rows():
    twice = make(batch_size=200, dtype="float64").fit(X + X[:20], np.concatenate([MATRIX, MATRIX[:20]]))
    weighted = make(batch_size=200, dtype="float64").fit(
        X, MATRIX, sample_weight=np.where(np.arange(60) < 20, 2.0, 1.0)
    )
    np.testing.assert_allclose(twice.predict_proba(X), weighted.predict_proba(X), rtol=1e-6)


def test_files_copies_streams_and_prepared(tmp_path):
    clf = make(class_weight={"a": 2.0}).fit(X, LISTS).set_thresholds({"b": 0.4})
    clf.save(tmp_path / "several.xlstm")
    prepared = clf.prepare()
    for other in (xlstm.load(tmp_path / "several.xlstm", "cpu"), copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert other.predict(X) == clf.predict(X)
        assert other.thresholds_.tolist() == [0.5, 0.4, 0.5]
        assert other.subset_accuracy_curve_ == clf.subset_accuracy_curve_
        np.testing.assert_array_equal(
            other.partial_fit(X, LISTS).predict_proba(X), copy.deepcopy(clf).partial_fit(X, LISTS).predict_proba(X)
        )
    assert prepared.predict(X) == clf.predict(X)
    assert prepared.score(X, LISTS) == clf.score(X, LISTS)
    stream = clf.stream()
    for letter in X[0]:
        p = stream.feed(letter)
    assert relative_error(p, clf.predict_proba(X[:1])[0]) < FORWARD["float32"]
    assert stream.predict() == clf.predict(X[:1])[0]
    by_matrix = make().fit(X, MATRIX)
    by_matrix.save(tmp_path / "matrix.xlstm")
    np.testing.assert_array_equal(xlstm.load(tmp_path / "matrix.xlstm", "cpu").predict(X), by_matrix.predict(X))


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 3.0, "d": 0.5}])
@pytest.mark.parametrize("matrix", [False, True])
def test_batches_train_as_all_rows_at_once(class_weight, matrix):
    if matrix:
        y: Any = MATRIX
        class_weight = {0: 3.0, 2: 0.5} if isinstance(class_weight, dict) else class_weight
        parts = [slice(0, 3), slice(3, 30), slice(30, 60)]
    else:  # labels appear one after another, the last of them first; the first batch has none
        keys = [("a" in row, "b" in row, "d" in row) for row in LISTS]
        order = sorted(range(60), key=lambda k: keys[k])
        y = [LISTS[k] for k in order]
        ends = [sum(key <= last for key in keys) for last in ((False,) * 3, (False, False, True), (False, True, True))]
        parts = [slice(*part) for part in itertools.pairwise([0, *ends, 60])]
        assert [sorted(set().union(*y[part])) for part in parts] == [[], ["d"], ["b", "d"], ["a", "b", "d"]]
    texts = X if matrix else [X[k] for k in order]
    weights = np.linspace(0.5, 2, 60)
    chosen = {"class_weight": class_weight, "dtype": "float64", "max_iter": 3}
    source = xlstm.Batches(lambda: ((texts[part], y[part], weights[part]) for part in parts), buffer=100)
    found, expected = make(**chosen).fit(source), make(**chosen).fit(texts, y, weights)
    assert found.classes_.tolist() == expected.classes_.tolist()
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(found.predict_proba(texts), expected.predict_proba(texts), rtol=1e-9)
    in_parts = found.predict(xlstm.Batches(lambda: (texts[part] for part in parts)))
    assert list(map(list, in_parts)) == list(map(list, found.predict(texts)))
    assert found.score(source) == pytest.approx(found.score(texts, y, weights))
    with pytest.raises(ValueError, match="nothing could be learned"):
        make().fit(xlstm.Batches(lambda: ((texts[part], [{"a"}] * len(texts[part])) for part in parts[1:])))


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("labels", {"dtype": "U1", "values": ["a", "a"]}, "without repetition"),
        ("labels", {"dtype": "U1", "values": ["a", 1]}, "of dtype 'U1'"),
        ("labels", {"dtype": "i8", "values": []}, "one or more"),
        ("matrix", 1, "expected true or false"),
        ("thresholds", [0.5], "one for each label"),
        ("thresholds", [0.5, 1.0], "must be above 0 and below 1"),
        ("thresholds", [0.5, None], "expected numbers"),
        ("more", 1, "expected labels, matrix and thresholds"),
    ],
)  # fmt: skip
def test_a_wrong_state_is_refused(part, wrong, message):
    good = SeveralLabels(np.array(["a", "b"]), matrix=False).state()
    assert SeveralLabels.from_state(good).classes.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=message):
        SeveralLabels.from_state({**good, part: wrong})


def test_a_run_goes_on_after_its_end(tmp_path):
    settings = {"max_iter": 4, "early_stopping": True, "class_weight": "balanced"}
    expected = make(**settings).fit(X, LISTS)
    found = make(**settings).fit(X, LISTS, resume=tmp_path / "run.xlstm")
    again = make(**settings).fit(X, LISTS, resume=tmp_path / "run.xlstm")
    for clf in (found, again):
        np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))


def test_searches_of_scikit_learn():
    selection = peer("sklearn.model_selection")
    for scoring in ("f1_micro", "roc_auc"):
        scores = selection.cross_val_score(make(), np.array(X), MATRIX, cv=2, scoring=scoring, error_score="raise")
        assert np.isfinite(scores).all()


# ---------------------------------------------------------------- thresholds


def test_thresholds_are_what_predict_goes_by():
    clf = make().fit(X, MATRIX)
    p, logits = clf.predict_proba(X), clf.decision_function(X)
    before, stream = clf.predict(X), clf.stream()
    stream.feed(X[0])
    cuts = np.array([np.unique(column)[20:22].astype(np.float64).mean() for column in p.T])
    clf.set_thresholds(cuts)
    np.testing.assert_array_equal(clf.predict(X) == 1, p > cuts)
    np.testing.assert_array_equal(clf.decision_function(X), logits)
    assert not np.array_equal(clf.predict(X), before)
    np.testing.assert_array_equal(stream.predict(), before[0])  # what was opened before stays as it was
    assert clf.set_thresholds(0.3).thresholds_.tolist() == [0.3, 0.3, 0.3]
    assert clf.set_thresholds({1: 0.6}).thresholds_.tolist() == [0.3, 0.6, 0.3]
    assert clf.partial_fit(X, MATRIX).thresholds_.tolist() == [0.3, 0.6, 0.3]
    assert clf.fit(X, MATRIX).thresholds_.tolist() == [0.5, 0.5, 0.5]


def test_tuned_thresholds_have_the_best_f1_there_is():
    f1_score = peer("sklearn.metrics").f1_score
    clf = make(max_iter=3).fit(X, MATRIX)
    new, _, expected = problem(40, seed=2)
    expected[:, 2] = 0
    p = clf.predict_proba(new)
    clf.set_thresholds({2: 0.7}).tune_thresholds(new, expected)
    in_batches = (
        copy.deepcopy(clf)
        .set_thresholds(0.5)
        .tune_thresholds(xlstm.Batches(lambda: [(new[:30], expected[:30]), (new[30:], expected[30:])]))
    )
    np.testing.assert_allclose(in_batches.thresholds_[:2], clf.thresholds_[:2], rtol=1e-6)
    found = clf.predict(new)
    for k in range(2):
        best = max(f1_score(expected[:, k], p[:, k] > cut, zero_division=0.0) for cut in [0, *np.unique(p[:, k])])
        assert f1_score(expected[:, k], found[:, k]) == pytest.approx(best)
    assert clf.thresholds_[2] == 0.7


# ---------------------------------------------------------------- what is said


def said(X: Any, y: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(max_iter=1).fit(X, y)
    assert all(warning.filename == __file__ for warning in caught if warning.category is xlstm.AmbiguousDataWarning)
    return [str(warning.message) for warning in caught if warning.category is xlstm.AmbiguousDataWarning]


def test_data_that_may_be_meant_in_another_way():
    (message,) = said(X, np.eye(3, dtype=int)[np.arange(60) % 3])
    assert message.startswith("every row of y has exactly one of its 3 labels")
    assert message.endswith("pass y.argmax(axis=1).")
    series = np.random.default_rng(0).standard_normal((30, 4, 2))
    (message,) = said(series, np.random.default_rng(1).integers(0, 2, (30, 4)))
    assert "as many columns as the sequences have steps" in message
    (message,) = said(["ab", "abc", "b"], [["x", "y"], ["z", "x", "y"], ["z"]])
    assert "as many labels in each row as its sequence has steps" in message
    (message,) = said(["ab", "AB", "b"], [["x"], ["y", "x"], []])
    assert "set fold_case=False" in message
    assert not said(X, LISTS)
    assert not said(X, MATRIX)


FOUR, M4, L4 = X[:4], MATRIX[:4].copy(), [["a"], [], ["b", "a"], ["b"]]
CASES: dict[str, tuple[Any, str]] = {
    "a number that is no flag": (lambda: make().fit(FOUR, np.array([[0, 1], [1, 2], [0, 0], [1, 1]])), r"Unknown label type: y\[1, 1\] is .*2.*: a y of several columns holds 0 or 1, whether a row has the label of a column\. Labels themselves go as lists, such as \[\['a', 'b'\], \['a'\], \[\]\]\."),
    "NaN in a matrix": (lambda: make().fit(FOUR, np.array([[0, 1], [1, np.nan], [0, 0], [1, 1]])), r"Unknown label type: y\[1, 1\] is .*nan.*: a y of several columns holds 0 or 1, .*"),
    "a matrix of strings": (lambda: make().fit(FOUR, np.array([["a", "b"]] * 4)), r"Unknown label type: y\[0, 0\] is .*'a'.*: .*"),
    "too few rows of a matrix": (lambda: make().fit(FOUR, M4[:3]), r"X has 4 sequences, but y has 3 rows of labels: inconsistent numbers of samples\."),
    "too few lists": (lambda: make().fit(FOUR, L4[:3]), r"X has 4 sequences, but y has 3 rows of labels: inconsistent numbers of samples\."),
    "a label that is no list": (lambda: make().fit(FOUR, [["a"], "b", [], []]), r"y\[1\] is 'b', but other rows of y are collections of labels: no label is \[\], a single one \['b'\]\."),
    "a missing list": (lambda: make().fit(FOUR, [["a"], None, [], []]), r"y\[1\] is None, but other rows of y are collections of labels: no label is \[\], a single one \[None\]\."),
    "a missing label": (lambda: make().fit(FOUR, [["a"], [None], [], []]), r"y\[1\] holds None: Input contains NaN or nothing; a row without labels is \[\]\."),
    "a label twice": (lambda: make().fit(FOUR, [["a"], ["b", "b"], [], []]), r"y\[1\] holds the label 'b' 2 times: of several labels a row has each once, \[set\(row\) for row in y\]\. Labels of the steps are learned by SequenceLabeler\."),
    "lists in lists": (lambda: make().fit(FOUR, [["a"], [["b"]], [], []]), r"Unknown label type: y\[1\] holds list, no label\. .*"),
    "labels of two kinds": (lambda: make().fit(FOUR, [["a"], [1], [], []]), r"Unknown label type: y mixes numbers and strings\."),
    "no label in a first part": (lambda: make().partial_fit(FOUR, [[], [], [], []]), r"y holds no label in any row: pass all labels that will come as classes=\."),
    "no label at all": (lambda: make().fit(FOUR, [[], [], [], []]), r"y holds no label in any row: nothing could be learned\."),
    "the same labels in every row": (lambda: make().fit(FOUR, [["a"], ["a"], {"a"}, ["a"]]), r"every row of y has the same labels: nothing could be learned\."),
    "an unknown label": (lambda: make().fit(FOUR, L4).score(FOUR, [["a"], ["c"], [], []]), r"row 1 has the label 'c', which is none of the classes \['a', 'b'\]\."),
    "a matrix for a model of lists": (lambda: make().fit(FOUR, L4).score(FOUR, M4), r"y should hold a list of labels for each row, got shape \(4, 3\) of something else\. .*"),
    "plain labels for a model of lists": (lambda: make().fit(FOUR, L4).score(FOUR, ["a", "b", "a", "b"]), r"y should hold a list of labels for each row, got list of something else\. .*"),
    "lists for a model of a matrix": (lambda: make().fit(FOUR, M4).score(FOUR, L4), r"y should be an indicator matrix \(n, 3\) of 0 and 1, as in training: this model gives several labels\."),
    "plain labels for a model of a matrix": (lambda: make().fit(FOUR, M4).partial_fit(FOUR, [0, 1, 0, 1]), r"y should be an indicator matrix \(n, 3\) .*"),
    "another number of columns": (lambda: make().fit(FOUR, M4).score(FOUR, M4[:, :2]), r"y has 2 columns, but there are 3 labels, one for each column\."),
    "no y": (lambda: make().fit(FOUR, M4).score(FOUR, None), r"requires y to be passed, but the target y is None\."),
    "declared labels of another number": (lambda: make().partial_fit(FOUR, M4, classes=["a", "b"]), r"y has 3 columns, but there are 2 labels, one for each column\."),
    "a declared label twice": (lambda: make().partial_fit(FOUR, M4, classes=["a", "b", "a"]), r"classes names a label twice: .*"),
    "a label that was not declared": (lambda: make().partial_fit(FOUR, L4, classes=["a", "c"]), r"row 2 has the label 'b', which is none of the classes \['a', 'c'\]\."),
    "a threshold of 1": (lambda: make().fit(FOUR, L4).set_thresholds({"b": 1}), r"the threshold of 'b' must be above 0 and below 1, got 1\.0\."),
    "thresholds of another number": (lambda: make().fit(FOUR, L4).set_thresholds([0.1, 0.2, 0.3]), r"thresholds must be one number, or 2, one for each label; got \[0\.1, 0\.2, 0\.3\]\."),
    "a threshold of an unknown label": (lambda: make().fit(FOUR, L4).set_thresholds({"z": 0.1}), r"thresholds names 'z', which is no label of y: \['a', 'b'\]\."),
    "a threshold that is no number": (lambda: make().fit(FOUR, L4).set_thresholds("high"), r"thresholds must be numbers: .*"),
    "a threshold in a dict that is no number": (lambda: make().fit(FOUR, L4).set_thresholds({"a": "high"}), r"thresholds must hold a number for each label, got 'high' for 'a'\."),
    "thresholds of one class each": (lambda: make().fit(FOUR, [0, 1, 0, 1]).set_thresholds(0.3), r"this model gives one class for each sequence; thresholds belong to several labels\."),
    "class_weight of an unknown label": (lambda: make(class_weight={"z": 1.0}).fit(FOUR, L4), r"class_weight names 'z', which is no label of y: \['a', 'b'\], of which 'a' is not named\."),
    "class_weight of 0": (lambda: make(class_weight={"a": 0}).fit(FOUR, L4), r"class_weight must hold finite weights above 0, got \{'a': 0\}\."),
    "class_weight of another kind": (lambda: make(class_weight=3).fit(FOUR, L4), r"class_weight must be None, 'balanced' or a dict, got 3\."),
    "class_weight that is no number": (lambda: make(class_weight={"a": "x"}).fit(FOUR, L4), r"class_weight must hold a number for each label, got 'x' for 'a'\."),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_message(case):
    call, pattern = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
            call()
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_bad_input_changes_nothing():
    clf = make().fit(X, LISTS)
    before = clf.predict_proba(X)
    for call in (
        lambda: clf.fit(X, [*LISTS[:-1], ["q", "q"]]),
        lambda: clf.partial_fit(X, [*LISTS[:-1], ["q"]]),
        lambda: clf.set_thresholds({"a": 0.2, "b": 7}),
    ):
        with pytest.raises(ValueError, match=r"q|threshold"):
            call()
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.thresholds_.tolist() == [0.5, 0.5, 0.5]
