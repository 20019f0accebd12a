"""Fast losses, on a GPU and on the CPU, with their sums, against those of xlstm.losses and finite differences."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlstm.backends import cpu

from xlstm import backends, losses
from xlstm.tally import Tally
from xlstm.tasks.classes import Binary, Classes

from ..gpu import Gpu, classifier, gpu_or_standin, labelled
from ..measure import FORWARD, GRADIENTS, relative_error
from ..standin import machine


@pytest.fixture(params=["cpu", "cuda", "cuda:1"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Each device that has fast losses, in the words of a GPU."""
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    if request.param == "cpu":
        if cpu.target is None:
            pytest.skip("there are no compiled kernels here")
        yield Gpu("cpu", None)
    else:
        with gpu_or_standin(request.param) as gpu:
            yield gpu


def example(N: int, K: int, dtype: str = "float64", seed: int = 0, scale: float = 3.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng([seed, N, K])
    logits = rng.normal(0, scale, (N, K)).astype(dtype)
    return logits, rng.integers(0, max(K, 2), N), rng.uniform(0.1, 2, N).astype(dtype)


def kind_of(K: int) -> str:
    return "logistic" if K == 1 else "softmax"


def run(device: Gpu, logits: Any, labels: Any, weights: Any, schedule: int = 0) -> tuple[Any, Any]:
    """The gradient, and the two sums."""
    backend = backends.select(device.name)
    fast = backends.find_loss(kind_of(logits.shape[1]), backend, str(logits.dtype), "auto")
    given = [device.asarray(array) for array in (logits, labels, weights)]
    with backend.current():
        table = fast.table(3, len(logits))
        device.shuffle(schedule)
        with device.launches(1):
            gradient = fast.add(*given, table[1])
        device.shuffle(0)
    sums = device.get(table)
    assert not sums[[0, 2]].any()  # the rows of other batches
    return device.get(gradient), sums[1].sum(axis=0)


def truth(logits: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
    """By the array code in float64: the gradient; the loss times N, and how many rows are right."""
    logits, weights = logits.astype(np.float64), weights.astype(np.float64)
    loss_of = losses.logistic_cross_entropy if logits.shape[1] == 1 else losses.softmax_cross_entropy
    loss, gradient = loss_of(logits, labels, weights)
    predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    return gradient, np.array([loss * len(logits), (predicted == labels).sum()])


SIZES = [(1, 1), (64, 1), (65, 1), (200, 1), (1, 2), (7, 3), (8, 32), (9, 33), (33, 100), (64, 5)]


@pytest.mark.parametrize(("N", "K"), SIZES)
def test_it_is_the_loss_of_the_array_code(dtype, N, K, device: Gpu):
    given = example(N, K, dtype)
    gradient, sums = run(device, *given)
    expected, expected_sums = truth(*given)
    assert gradient.dtype == dtype
    assert relative_error(gradient, expected) < GRADIENTS[dtype]
    assert abs(sums[0] / expected_sums[0] - 1) < FORWARD[dtype]
    assert sums[1] == expected_sums[1]


@settings(max_examples=40, deadline=None)
@given(N=st.integers(1, 150), K=st.integers(1, 70), seed=st.integers(1, 2**16))
def test_any_sizes_in_any_order_of_blocks(N, K, seed):
    given = example(N, K, "float32", seed)
    with gpu_or_standin("cuda") as device:
        (gradient, sums), (again, sums_again) = (run(device, *given, schedule) for schedule in (0, seed))
    np.testing.assert_array_equal(gradient, again)
    np.testing.assert_array_equal(sums, sums_again)
    agree(given, gradient, sums)
    if cpu.target is not None:
        agree(given, *run(Gpu("cpu", None), *given))


def agree(given: Any, gradient: Any, sums: Any) -> None:
    N, expected, expected_sums = len(gradient), *truth(*given)
    # A label that is nearly certain leaves a small difference of numbers of size 1.
    assert relative_error(gradient, expected, floor=0.1 / N) < GRADIENTS["float32"]
    np.testing.assert_allclose(sums, expected_sums, rtol=FORWARD["float32"], atol=N * FORWARD["float32"])


@pytest.mark.parametrize(("N", "K"), [(5, 1), (4, 3), (3, 40)])
def test_its_gradient_is_that_of_its_sum(N, K, device: Gpu):
    """By finite differences of the kernel's own loss."""
    logits, labels, weights = example(N, K)
    gradient, _ = run(device, logits, labels, weights)
    step = 1e-5
    numeric = np.zeros((N, K))
    for row in range(N):
        for k in range(0, K, 7 if K > 7 else 1):
            moved = [logits.copy(), logits.copy()]
            moved[0][row, k] += step
            moved[1][row, k] -= step
            above, below = (run(device, each, labels, weights)[1][0] / N for each in moved)
            numeric[row, k] = (above - below) / (2 * step)
    measured = numeric != 0
    assert measured.any()
    assert relative_error(gradient[measured], numeric[measured]) < 1e-6


@pytest.mark.parametrize("K", [1, 2, 40])
def test_large_logits(dtype, K, device: Gpu):
    """Only differences from the largest are exponentiated."""
    logits, labels, weights = example(40, K, dtype, scale=200.0)
    gradient, sums = run(device, logits, labels, weights)
    expected, expected_sums = truth(logits, labels, weights)
    assert relative_error(gradient, expected) < GRADIENTS[dtype]
    np.testing.assert_allclose(sums, expected_sums, rtol=FORWARD[dtype])


@pytest.mark.parametrize("K", [1, 2, 40])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(wrong, K, device: Gpu):
    """In its own row of the gradient, and in the loss."""
    logits, labels, weights = example(9, K)
    logits[4, K - 1], labels[4] = wrong, 0
    gradient, sums = run(device, logits, labels, weights)
    with np.errstate(all="ignore"):
        expected, expected_sums = truth(logits, labels, weights)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(sums[0], expected_sums[0])


@pytest.mark.parametrize("K", [2, 5, 33, 64, 70])
def test_of_equal_logits_the_first_class_is_taken(K, device: Gpu):
    """As argmax takes it."""
    logits = np.zeros((K, K))
    logits[1, [K // 2, K - 1]] = 7.0
    for labels in (np.arange(K), np.zeros(K, np.int64), np.full(K, K // 2)):
        _, sums = run(device, logits, labels, np.ones(K))
        assert sums[1] == (logits.argmax(axis=1) == labels).sum()


@pytest.mark.parametrize("label", [-1, 5, 10**12])
def test_an_impossible_label_is_none_of_the_classes(label, device: Gpu):
    logits, labels, weights = example(6, 5)
    labels[2] = label
    gradient, sums = run(device, logits, labels, weights)
    others = np.arange(6) != 2
    expected, expected_sums = truth(logits[others], labels[others], weights[others])
    np.testing.assert_allclose(gradient[others] * 6, expected * 5, rtol=1e-12)
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-12)
    np.testing.assert_allclose(gradient[2] * 6, weights[2] * losses.softmax(logits[2]), rtol=1e-12)


def test_no_gradient_where_nobody_wants_it(device: Gpu):
    backend = backends.select(device.name)
    for K in (1, 4):
        logits, labels, weights = example(5, K)
        fast = backends.find_loss(kind_of(K), backend, "float64", "auto")
        with backend.current():
            table = fast.table(1, 5)
            given = [device.asarray(array) for array in (logits, labels, weights)]
            assert fast.add(*given, table[0], gradient=False) is None
        np.testing.assert_allclose(device.get(table)[0].sum(axis=0), truth(logits, labels, weights)[1], rtol=1e-12)


def test_what_does_not_fit_is_refused(device: Gpu):
    backend = backends.select(device.name)
    logits, labels, weights = (device.asarray(array) for array in example(5, 3))
    for kind, targets in (("softmax", labels[:4]), ("logistic", labels)):
        fast = backends.find_loss(kind, backend, "float64", "auto")
        with backend.current(), pytest.raises(ValueError, match=r"outputs \(5, 3\) need"):
            fast.add(logits, targets, weights, fast.table(1, 5)[0])


# ---------------------------------------------------------------- who asks for it


def test_who_has_a_fast_loss(device: Gpu):
    place = backends.select(device.name)
    for labels, kind in ((["a", "b"], "logistic"), (["a", "b", "c"], "softmax")):
        task = Classes(np.array(labels))
        found, made = task.fast_loss(place, "float32", "auto"), place.fast_loss(kind, "float32").implementation
        assert type(found) is type(made) is not type(None)
        assert task.fast_loss(place, "float32", "reference") is None
    assert place.fast_loss("softmax", "float16").implementation is None
    assert place.fast_loss("hinge", "float32").implementation is None


def test_no_kernels_no_fast_loss(monkeypatch):
    monkeypatch.setattr(cpu, "target", None)
    assert Classes(np.array(["a", "b"])).fast_loss(backends.select("cpu"), "float32", "auto") is None


def test_a_task_with_a_loss_of_its_own_keeps_it(device: Gpu):
    """A subclass knows nothing of kernels, and they nothing of it."""

    class Doubled(Classes):
        def loss(self, outputs, targets, weights):
            loss, d_outputs = super().loss(outputs, targets, weights)
            return 2 * loss, 2 * d_outputs

    class Lenient(Classes):
        def score_sums(self, outputs, targets):
            return (0 * super().score_sums(outputs, targets)[0] + outputs.shape[0],)

    class Halved(Binary):
        def loss(self, outputs, targets, weights):
            loss, d_outputs = super().loss(outputs, targets, weights)
            return loss / 2, d_outputs / 2

    class Nameless:  # with all that a form has, but for the name that backends know a loss by
        outputs = 1
        loss = Binary.loss
        likeliest = Binary.likeliest
        probabilities = Binary.probabilities

    class OfAForm(Classes):
        form_of: Any = Halved

        def __init__(self, classes):
            super().__init__(classes)
            self.form = self.form_of()

    class OfANamelessForm(OfAForm):
        form_of = Nameless

    for kind in (Doubled, Lenient, OfAForm, OfANamelessForm):
        for place in ("cpu", device.name):
            assert kind(np.array(["a", "b"])).fast_loss(backends.select(place), "float32", "auto") is None


@pytest.mark.parametrize("kind", ["series", "texts"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_training_tells_the_same_losses_and_scores(kind, early_stopping, device: Gpu):
    X, y = labelled(kind)
    options: dict[str, Any] = {"early_stopping": early_stopping, "class_weight": "balanced", "max_iter": 3}
    on_cpu = classifier("cpu", kernels="reference", **options).fit(X, y)
    on_gpu = classifier(device.name, **options).fit(X, y)
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    assert on_gpu.accuracy_curve_ == on_cpu.accuracy_curve_
    if early_stopping:
        assert on_gpu.validation_scores_ == on_cpu.validation_scores_
        history, expected = (clf.fitted_state().trainer.history for clf in (on_gpu, on_cpu))
        np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-10)


def test_an_epoch_brings_one_thing_to_the_host_at_its_end():
    """However many batches it has: no list of their sums is brought together."""
    with machine() as gpu:
        X, y = labelled("series")
        clf = classifier("cuda", max_iter=1).fit(X, y)
        model, task = clf.fitted_state().model, clf.fitted_state().task
        counts = []
        for batches in (2, 30):
            rows = [np.arange(8)] * batches
            outputs, labels, weights = (model.backend.from_host(array) for array in example(8, 1))
            tally = Tally(model, task, rows, [8] * batches)
            for _ in rows:
                tally.add(outputs, labels, weights)
            with gpu.counting() as seen:
                tally.totals()
            counts.append((seen.launches, seen.to_host))
        assert counts[0] == counts[1]
        assert counts[0][1] == 1
