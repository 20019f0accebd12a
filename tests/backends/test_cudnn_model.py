"""Layers and classifiers by cuDNN's cells, chosen as users choose them: on the stand-ins for CuPy and for cuDNN."""

import gc
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from xlstm.backends.cuda.cudnn import cell as cudnn_cell
from xlstm.backends.cuda.cudnn import library

import xlstm
from xlstm import backends

from ..gpu import VARIANTS, classifier, labelled, relative
from ..standin import Machine, machine
from .cudnn_stub import Stub, built


class Checked(cudnn_cell.CudnnCell):
    """A level of the tests' own, which is checked each time."""


class Both(SimpleNamespace):
    """The two stand-ins."""

    standin: Machine
    stub: Stub


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    gc.collect()
    stub, found = Stub(built()), library.Library(str(built()), 12)
    with machine() as standin, mock.patch.object(library, "load", return_value=found):
        yield Both(standin=standin, stub=stub)
        stub.reset()


@pytest.mark.parametrize(
    ("cell", "variant"), [*(("lstm", variant) for variant in VARIANTS), ("rnn", "texts"), ("gru", "dropout")]
)
def test_a_classifier_ends_with_the_weights_of_the_cpu(cell: str, variant: str, gpu: Both) -> None:
    kind, options = VARIANTS[variant]
    options = {**options, "cell": cell}
    X, y = labelled(kind)
    weights = []
    for device, kernels in (("cpu", "reference"), ("cuda", "cudnn")):
        made = classifier(device, kernels=kernels, **options).fit(X, y)
        weights.append(made._fitted.model.read())
        probabilities = np.asarray(made.predict_proba(X))
        weights.append(probabilities)
    assert gpu.stub.calls()[1] > 0
    assert relative(weights[2], weights[0]) < 1e-9
    assert relative(weights[3], weights[1]) < 1e-9


@pytest.mark.parametrize(
    ("precision", "bound"), [("highest", 1e-3), ("high", 5e-2), ("bfloat16", 0.2), ("float16", 5e-2)]
)
def test_a_classifier_in_float32_and_in_each_precision(precision: str, bound: float, gpu: Both) -> None:
    X, y = labelled("series")
    options: dict[str, Any] = {"dtype": "float32", "solver": "sgd", "max_iter": 6}
    made = [
        classifier("cpu", kernels="reference", **options).fit(X, y)._fitted.model.read(),
        classifier("cuda", kernels="cudnn", precision=precision, **options).fit(X, y)._fitted.model.read(),
    ]
    assert made[1].dtype == np.float32  # the weights that are trained stay so
    assert relative(made[1], made[0]) < bound


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.4}], ids=["plain", "all"]
)
@pytest.mark.parametrize("kind", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_a_layer_gives_the_same_as_on_the_cpu(kind: Any, options: dict[str, Any], gpu: Both) -> None:
    import cupy

    rng = np.random.default_rng(3)
    x, d_outputs = rng.standard_normal((4, 6, 3)), None
    results = []
    for device, kernels, put, get in (
        ("cpu", "reference", np.asarray, np.asarray),
        ("cuda", "cudnn", cupy.asarray, cupy.asnumpy),
    ):
        layer = kind(3, 5, dtype="float64", seed=1, device=device, kernels=kernels, **options)
        outputs, final, tape = layer.forward(put(x), lengths=[3, 6, 1, 5], seed=5)
        d_outputs = rng.standard_normal(outputs.shape) if d_outputs is None else d_outputs
        dx, _ = layer.backward(tape, put(d_outputs))
        frozen, _ = layer.prepare()(put(x), lengths=[3, 6, 1, 5])
        final = final if isinstance(final, tuple) else (final,)
        results.append([get(array) for array in (outputs, dx, frozen, *final, layer.gradients.flat)])
    for theirs, ours in zip(*results, strict=True):
        assert relative(ours, theirs) < 1e-11


def test_it_comes_first_where_it_is_there(gpu: Both) -> None:
    backend = backends.select("cuda")
    choice = backends.find("lstm", backend, "float32", "auto")
    assert choice.kernels == "cudnn 9.28.0"
    assert "cudnn 9.28.0" in next(entry for entry in backends.report() if entry.device == "cuda:0").kernels


def test_the_launches_of_a_training_step_of_a_classifier(gpu: Both) -> None:
    """Beside cuDNN's own: at most 25 a step, whatever the number of steps, and no answer is waited for."""
    counts = {}
    backends.find("lstm", backends.select("cuda"), "float32", "cudnn")  # which checks it at its first use
    for T in (20, 100):
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((128, T, 3)), rng.integers(0, 2, 128)
        launches = []
        for epochs in (1, 2):  # their difference is an epoch without what comes but once
            options = {"dtype": "float32", "batch_size": 64, "max_iter": epochs, "kernels": "cudnn"}
            with gpu.standin.counting() as seen:
                classifier("cuda", **options).fit(X, y)
            launches.append(seen.launches)
        counts[T] = (launches[1] - launches[0]) / 2
    assert counts[20] == counts[100] <= 25


def test_persistent_algorithms_that_compute_wrong_are_not_used(
    gpu: Both, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check at first use goes on with the plain algorithm."""
    monkeypatch.setattr(cudnn_cell, "CudnnCell", Checked)
    gpu.stub["persistent algorithms are wrong"] = 1
    with caplog.at_level(logging.WARNING, "xlstm"):
        layer = xlstm.LSTM(3, 5, device="cuda", kernels="cudnn", seed=1)
    uses = gpu.stub["small"]
    import cupy

    _, (h, _) = layer(cupy.asarray(np.ones((2, 6, 3), np.float32)))
    expected = xlstm.LSTM(3, 5, device="cpu", seed=1)(np.ones((2, 6, 3), np.float32))[1][0]
    assert relative(cupy.asnumpy(h), expected) < 5e-6
    assert gpu.stub["small"] == uses
    assert "does without its persistent algorithms" in caplog.text


def test_the_persistent_algorithm_of_float16_is_checked_before_its_use(
    gpu: Both, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes wide layers alone, on large GPUs: no small problem meets it."""
    import cupy

    monkeypatch.setattr(cudnn_cell, "CudnnCell", Checked)
    properties = {**cupy.cuda.runtime.getDeviceProperties(0), "multiProcessorCount": 132}
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceProperties", lambda number: properties)
    for wrong in (0, 1):
        backends.cupy_arrays._backends.clear()  # so that it is checked again
        gpu.stub["persistent algorithms are wrong"] = wrong
        uses = gpu.stub["persistent"]
        with caplog.at_level(logging.WARNING, "xlstm"):
            layer = xlstm.LSTM(3, 5, device="cuda", kernels="cudnn", precision="float16", seed=1)
        assert layer.kernels.startswith("cudnn")
        assert gpu.stub["persistent"] >= uses + 2, "in training and in inference"
        assert ("does without its persistent algorithms" in caplog.text) == bool(wrong)
    assert "N=8, T=6, D=128, H=128, full rows" in caplog.text


def test_a_library_that_computes_wrong_is_not_used(
    gpu: Both, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check at first use sees it, and says so once."""
    monkeypatch.setattr(cudnn_cell, "CudnnCell", Checked)
    gpu.stub["another layout"] = 1
    with caplog.at_level(logging.WARNING, "xlstm"):
        choice = backends.find("lstm", backends.select("cuda"), "float64", "auto")
    assert choice.kernels == "fused"
    assert "cudnn 9.28.0 is not used for the lstm cell" in caplog.text
    with pytest.raises(RuntimeError, match="cudnn"):
        xlstm.LSTM(3, 5, dtype="float64", device="cuda", kernels="cudnn")
