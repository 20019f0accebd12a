"""A class at every step on a GPU: ragged targets and outputs there, gathered without a word to the host."""

from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends, steplabels
from xlstm.tasks import StepClasses

from ..gpu import Gpu
from ..standin import Machine, machine

pytestmark = pytest.mark.filterwarnings("ignore:no label of y is")  # many a y here has no label that `ignore` names
n = 16
RNG = np.random.default_rng(5)
LENGTHS = RNG.integers(1, 8, n)
X = [RNG.standard_normal((time, 2)) for time in LENGTHS]
Y = [RNG.integers(0, 3, time) for time in LENGTHS]
HIDDEN = [np.where(np.arange(len(row)) % 4 == 3, -100, row) for row in Y]


def make(device: str, **options: Any) -> xlstm.SequenceLabeler:
    settings = {"hidden_size": 5, "max_iter": 3, "batch_size": 5, "dtype": "float64", "random_state": 0, "ignore": -100}
    return xlstm.SequenceLabeler(**{**settings, "device": device, "kernels": "reference", **options})


@pytest.mark.parametrize(
    ("K", "options"), [(2, {}), (3, {"bidirectional": True, "class_weight": "balanced", "early_stopping": True})]
)
def test_training_and_answers_are_those_of_the_cpu(options, K, device: Gpu):
    y = [np.where(row >= 0, row % K, row) for row in HIDDEN]
    there, labels = [device.asarray(row) for row in X], [device.asarray(row) for row in y]
    on_cpu, of_host, of_gpu = make("cpu", **options).fit(X, y), make(device.name, **options), make("auto", **options)
    of_host.fit(X, y)
    of_gpu.fit(there, labels)
    assert of_gpu.device_ == device.device
    assert of_gpu.loss_curve_ == of_host.loss_curve_
    np.testing.assert_allclose(of_host.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    assert of_host.accuracy_curve_ == on_cpu.accuracy_curve_
    for name in ("predict_proba", "predict_log_proba", "decision_function"):
        expected = getattr(on_cpu, name)(X)
        for row, wanted in zip(getattr(of_gpu, name)(there), expected, strict=True):
            np.testing.assert_allclose(device.get(row), wanted, rtol=1e-9)
        for row, wanted in zip(getattr(of_host, name)(X), expected, strict=True):
            assert type(row) is np.ndarray
            np.testing.assert_allclose(row, wanted, rtol=1e-9)
    for row, wanted in zip(on_cpu.predict(X), of_gpu.predict(there), strict=True):
        np.testing.assert_array_equal(row, device.get(wanted))  # since the labels of the training lay there
    assert all(type(row) is np.ndarray for row in of_host.predict(there))
    assert of_gpu.score(there, labels) == of_gpu.score(X, y) == on_cpu.score(X, y)


def test_a_task_that_knows_numpy_alone(device: Gpu, monkeypatch):
    labeler = make(device.name).fit(X, HIDDEN)
    there = [device.asarray(row) for row in X]
    expected = [device.get(row) for row in labeler.predict_proba(there)]
    seen = []
    details = StepClasses.details
    monkeypatch.setattr(StepClasses, "anywhere", False)
    monkeypatch.setattr(StepClasses, "details", lambda *given: (seen.append(type(given[1].steps)), details(*given))[1])
    for row, wanted in zip(labeler.predict_proba(there), expected, strict=True):
        np.testing.assert_allclose(device.get(row), wanted, rtol=1e-12)
    assert seen == [np.ndarray]
    assert [row.tolist() for row in labeler.predict(there)] == [row.tolist() for row in labeler.predict(X)]


def test_gathered_targets_are_those_of_the_host(device: Gpu):
    backend, task = backends.select(device.name), StepClasses(np.arange(3), -100)
    targets, rows = task.read(HIDDEN, n), np.array([7, 2, 9, 0])
    with backend.current():
        placed = task.placed(targets, backend, "float32")
        made = task.gathered(placed, rows, device.asarray(rows), backend)
    expected = task.batch(targets, rows, backends.select("cpu"), "float32").numbers
    np.testing.assert_array_equal(device.get(made.numbers), expected)
    for row, numbers in zip(rows, expected, strict=True):
        assert numbers.tolist() == [*np.where(HIDDEN[row] < 0, steplabels.IGNORED, HIDDEN[row])] + [-1] * (
            len(numbers) - len(HIDDEN[row])
        )


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine(devices=2) as gpu:
        backends.select("cuda")  # tries the device once
        yield gpu


@pytest.mark.parametrize("host", [False, True], ids=["on the device", "on the host"])
def test_a_training_step_has_no_transfer(host, gpu: Machine):
    """Eight batches an epoch take as many as one: those of the epoch, one to the device, two back."""
    import cupy

    there = X if host else [cupy.asarray(row) for row in X]

    def transfers(batch_size: int, epochs: int) -> Any:
        labeler = make("cuda", max_iter=epochs, batch_size=batch_size, class_weight="balanced")
        with gpu.counting() as seen:
            labeler.fit(there, HIDDEN)
        return np.array([seen.to_host, seen.to_device])

    assert (transfers(2, 1) == transfers(16, 1)).all()
    assert (transfers(2, 3) - transfers(2, 2)).tolist() == [2, 1]


def test_a_stream_is_fed_there(device: Gpu):
    labeler = make(device.name).fit([device.asarray(row) for row in X], [device.asarray(row) for row in Y])
    row = X[int(np.argmax(LENGTHS))]
    whole, labels = labeler.predict_proba([row])[0], labeler.predict([row])[0]
    there, of_host = labeler.stream(), labeler.prepare().stream()
    begin = 0
    for end in (1, 3, len(row)):
        found, host = there.feed(device.asarray(row[begin:end])), of_host.feed(row[begin:end])
        np.testing.assert_allclose(device.get(found), whole[begin:end], rtol=1e-9)
        np.testing.assert_allclose(host, whole[begin:end], rtol=1e-9)
        np.testing.assert_array_equal(device.get(there.predict()), labels[begin:end])
        begin = end
    for prepared, wanted in zip(labeler.prepare()([device.asarray(row)]), [whole], strict=True):
        np.testing.assert_allclose(device.get(prepared), wanted, rtol=1e-9)
