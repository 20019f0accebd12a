"""The compiled step of an optimiser against xlstm.optim in float64: clipping and step in one pass."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from xlstm.backends import cpu
from xlstm.backends.cpu.update import CompiledStep

import xlstm
from xlstm import backends, optim

from ..measure import relative_error

SETTINGS = [
    {"solver": "adam"},
    {"solver": "adam", "alpha": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    {"solver": "adamw", "alpha": 0.1},
    {"solver": "sgd", "momentum": 0.7},
    {"solver": "sgd", "momentum": 0.0, "alpha": 0.02},
]


@pytest.fixture(autouse=True)
def compiled(kernels):
    if kernels == "reference":
        pytest.skip("nothing is compiled in it")


CPU = backends.select("cpu")
COMPILED: dict[str, Any] = {"backend": CPU, "kernels": "compiled"}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: f"{settings['solver']}-{len(settings)}")
@pytest.mark.parametrize("max_norm", [None, 0.5, 1e9, np.inf])
@pytest.mark.parametrize("count", [1, 7, 64, 1001, 300_000])
def test_three_steps_are_those_of_the_reference(dtype, settings, max_norm, count):
    rng = np.random.default_rng(count)
    start, decayed = rng.normal(size=count), rng.integers(0, 2, count)
    truth, got = start.copy(), start.astype(dtype)
    reference = optim.Optimizer(truth, decayed.astype(float), **settings)
    optimizer = optim.Optimizer(got, decayed.astype(dtype), **settings, **COMPILED)
    for _ in range(3):
        gradients = rng.normal(size=count)
        given = gradients.astype(dtype)
        before = given.copy()
        reference.step(truth, gradients, 0.01, max_norm)
        optimizer.step(got, given, 0.01, max_norm)
        np.testing.assert_array_equal(given, before)
    assert optimizer.updates == 3
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    assert relative_error(got, truth) < tolerance
    for moment, expected in zip(optimizer.moments, reference.moments, strict=True):
        assert moment.dtype == dtype
        assert relative_error(moment, expected, floor=0.1) < tolerance


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_clipping_of_extreme_gradients(dtype, size):
    """Their squares leave the range of float32."""
    parameters, gradients = np.zeros(5, dtype), np.full(5, size, dtype)
    optimizer = optim.Optimizer(parameters, np.ones(5, dtype), "sgd", momentum=0.0, **COMPILED)
    optimizer.step(parameters, gradients, 1.0, 1.0)
    expected = min(size, 5**-0.5)
    np.testing.assert_allclose(parameters, -expected, rtol=1e-6)


def test_nan_is_seen(dtype):
    parameters, gradients = np.zeros(40, dtype), np.zeros(40, dtype)
    gradients[3] = np.nan
    optimizer = optim.Optimizer(parameters, np.ones(40, dtype), "adam", **COMPILED)
    optimizer.step(parameters, gradients, 1.0, 1.0)
    assert np.isnan(parameters[3])


def test_wrong_arrays_are_refused(dtype):
    parameters = np.zeros(4, dtype)
    optimizer = optim.Optimizer(parameters, np.ones(4, dtype), "adam", **COMPILED)
    with pytest.raises(ValueError, match="gradients"):
        optimizer.step(parameters, np.zeros(3, dtype), 0.1, None)
    assert not parameters.any()


def test_training_learns_the_same_on_either_path(dtype):
    """A whole training, compiled and by the reference: the losses agree as far as rounding lets them."""
    X, y = ["ab", "ba", "aab", "bba", "abab", "b"] * 4, ["b", "a", "b", "a", "b", "b"] * 4
    losses = {}
    for kernels in ("compiled", "reference"):
        clf = xlstm.SequenceClassifier(
            hidden_size=5, max_iter=8, batch_size=8, dtype=dtype, kernels=kernels, random_state=0, device="cpu"
        )
        losses[kernels] = clf.fit(X, y).loss_curve_
    np.testing.assert_allclose(losses["compiled"], losses["reference"], rtol={"float32": 2e-4, "float64": 1e-10}[dtype])


def test_what_is_no_choice_of_kernels_is_refused():
    with pytest.raises(ValueError, match=r"kernels must be 'auto', 'reference', .*, got 'nonsense'"):
        backends.find_step(CPU, "float32", "nonsense")


def test_find_step_follows_the_kernels(monkeypatch):
    backend = CPU
    assert backends.find_step(backend, "float32", "auto") is not None
    assert backends.find_step(backend, "float32", "reference") is None
    monkeypatch.setattr(cpu, "target", None)
    assert backends.find_step(backend, "float32", "auto") is None
    with pytest.raises(RuntimeError, match="Use kernels='auto' or kernels='reference'"):
        backends.find_step(backend, "float32", "compiled")


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf)), lambda clf: clf.to("cpu")]
)
def test_copies_keep_the_compiled_step(copied):
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, kernels="compiled", random_state=0, device="cpu")
    clf.fit(["ab", "ba", "b"], ["x", "y", "x"])
    other = copied(clf)
    for each in (clf, other):
        assert isinstance(each.fitted_state().trainer.optimizer.fast, CompiledStep)
        each.partial_fit(["ab", "ba", "b"], ["x", "y", "x"])
    np.testing.assert_array_equal(other.predict_proba(["ab", "c"]), clf.predict_proba(["ab", "c"]))
