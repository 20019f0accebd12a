"""The optimiser's step on a GPU against xlstm.optim in float64: the same formulas, the norm never on the host."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlstm.backends.cuda import optimiser
from xlstm.backends.cuda.optimiser import CudaStep

import xlstm
from xlstm import backends, optim

from ..gpu import Gpu, classifier, gpu_or_standin, labelled
from ..measure import relative_error

SETTINGS: list[dict[str, Any]] = [
    {"solver": "adam"},
    {"solver": "adam", "alpha": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    {"solver": "adamw", "alpha": 0.1},
    {"solver": "sgd", "momentum": 0.7},
    {"solver": "sgd", "momentum": 0.0, "alpha": 0.02},
]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def three_steps(device: Gpu, dtype: str, count: int, max_norm: float | None, **options: Any) -> list[tuple[Any, Any]]:
    """Parameters and moments after three steps on the device, and by the array code in float64."""
    backend = backends.select(device.name)
    rng = np.random.default_rng(count)
    truth, decayed = rng.normal(size=count), rng.integers(0, 2, count).astype(float)
    got = device.asarray(truth.astype(dtype))
    reference = optim.Optimizer(truth, decayed, **options)
    optimizer = optim.Optimizer(got, device.asarray(decayed.astype(dtype)), **options, backend=backend)
    assert isinstance(optimizer.fast, CudaStep)
    for _ in range(3):
        gradients = rng.normal(size=count)
        given = device.asarray(gradients.astype(dtype))
        reference.step(truth, gradients, 0.01, max_norm)
        with device.launches(1 if max_norm in (None, np.inf) else 3):
            optimizer.step(got, given, 0.01, max_norm)
    assert optimizer.updates == 3
    pairs = [(got, truth), *zip(optimizer.moments, reference.moments, strict=True)]
    return [(device.get(array), expected) for array, expected in pairs]


@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: f"{options['solver']}-{len(options)}")
@pytest.mark.parametrize("max_norm", [None, 0.5, 1e9, np.inf])
@pytest.mark.parametrize("count", [1, 7, 1001])
def test_three_steps_are_those_of_the_reference(dtype, options, max_norm, count, device: Gpu):
    for k, (array, expected) in enumerate(three_steps(device, dtype, count, max_norm, **options)):
        assert array.dtype == dtype
        assert relative_error(array, expected, floor=0.1 if k else 0.0) < TOLERANCE[dtype]


def test_a_buffer_that_takes_more_than_all_blocks(dtype, device: Gpu, monkeypatch):
    """Each thread of the norm then sums more numbers."""
    monkeypatch.setattr(optimiser, "MOST_BLOCKS", 3)
    for array, expected in three_steps(device, dtype, 5003, 0.5, solver="sgd"):
        assert relative_error(array, expected) < TOLERANCE[dtype]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 2100), seed=st.integers(1, 2**16), max_norm=st.floats(1e-3, 100))
def test_any_size_in_any_order_of_blocks(count, seed, max_norm):
    """The norm's sums have a fixed order: a shuffled schedule gives the same bits."""
    runs = []
    with gpu_or_standin("cuda") as device:  # no fixture: Hypothesis looks at all modules before it draws
        for schedule in (0, seed):
            device.shuffle(schedule)
            runs.append(three_steps(device, "float32", count, max_norm, solver="sgd"))
    for (once, expected), (again, _) in zip(*runs, strict=True):
        np.testing.assert_array_equal(once, again)
        assert relative_error(once, expected, floor=0.1) < TOLERANCE["float32"]


# ---------------------------------------------------------------- clipping


def clipped(device: Gpu, gradients: Any, max_norm: float) -> Any:
    """What a step of plain descent at rate 1 takes away from zeros."""
    parameters = device.asarray(np.zeros_like(gradients))
    backend = backends.select(device.name)
    optimizer = optim.Optimizer(parameters, solver="sgd", momentum=0.0, backend=backend)
    given = device.asarray(gradients)
    optimizer.step(parameters, given, 1.0, max_norm)
    np.testing.assert_array_equal(device.get(given), gradients)
    return -device.get(parameters)


EXTREME = {
    "zero": [0.0, 0.0, 0.0],
    "huge": [3e38, -3e38, 1.0, 2e38, 3e38],
    "tiny": [1e-30, -2e-30, 0.0],
    "huge and tiny": [1e30, 1e-30, 1.0],
    "largest of float64": [1.7e308] * 5,
    "huge of float64": [1e200, -3e200, 1e-200, 1.0],
    "beside the limit of large": [2.0**486, 2.0**486 * (1 + 1e-9), 2.0**485],
    "tiny of float64": [1e-200, -3e-200, 0.0],
    "beside the limit of small": [2.0**-511, 2.0**-512, -(2.0**-513)],
}


def extreme_cases() -> list[Any]:
    """Each with each limit and dtype, but for numbers that the dtype has not."""
    cases = []
    for name, values in EXTREME.items():
        for limit in (1.0, 1e-25, 1e-201, 1e100):
            cases.append(("float64", name, limit))
            if limit > 1e-38 and all(value == 0 or 1e-38 < abs(value) < 3.4e38 for value in values):
                cases.append(("float32", name, limit))
    # So far apart, no factor is a number: the step would stand still.
    return [case for case in cases if case[1:] not in (("largest of float64", 1e-201), ("huge of float64", 1e-201))]


@pytest.mark.parametrize(("dtype", "name", "max_norm"), extreme_cases())
def test_extreme_gradients(dtype, name, max_norm, device: Gpu):
    """Whose squares leave the range of the dtype: against the norm in wider numbers."""
    gradients = np.array(EXTREME[name], dtype)
    wide = gradients.astype(np.longdouble)
    norm = np.sqrt(np.sum(wide * wide))
    expected = (wide * min(np.longdouble(1), max_norm / norm) if norm else wide).astype(np.float64)
    got = clipped(device, gradients, max_norm)
    tolerance = TOLERANCE[dtype]
    lost = max(float(np.finfo(dtype).tiny), tolerance * np.abs(expected).max())  # beside what is much larger
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=lost)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_clips_nothing(dtype, wrong, device: Gpu):
    """As `clip_by_global_norm` has it: no scale is right, so all stay as they are, and are seen."""
    gradients = np.full(300, 5.0, dtype)
    gradients[271] = wrong
    expected = gradients.copy()
    with np.errstate(invalid="ignore"):
        optim.clip_by_global_norm(expected, 1.0)
    np.testing.assert_array_equal(clipped(device, gradients, 1.0), expected)


def test_a_limit_beyond_the_dtype(device: Gpu):
    gradients = np.full(5, 3e38, "float32")
    np.testing.assert_array_equal(clipped(device, gradients, 1e300), gradients)


# ---------------------------------------------------------------- what is given


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda g, device: g[::2], "gradients must be a contiguous array"),
        (lambda g, device: device.asarray(np.zeros(3)), "gradients must have the shape"),
    ],
)
def test_wrong_gradients_change_nothing(dtype, wrong, told, device: Gpu):
    backend = backends.select(device.name)
    parameters = device.asarray(np.ones(4, dtype))
    optimizer = optim.Optimizer(parameters, backend=backend)
    with pytest.raises(ValueError, match=told):
        optimizer.step(parameters, wrong(device.asarray(np.zeros(8, dtype)), device), 0.1, 1.0)
    assert optimizer.updates == 0
    np.testing.assert_array_equal(device.get(parameters), 1)
    assert not device.get(optimizer.moments[0]).any()


def test_arrays_of_another_device_are_refused(device: Gpu):
    other = device.other()
    if other is None:
        pytest.skip("a single GPU")
    parameters, gradients = device.asarray(np.ones(4)), other.asarray(np.ones(4))
    optimizer = optim.Optimizer(parameters, backend=backends.select(device.name))
    with pytest.raises(ValueError, match=f"gradients must be a contiguous array.* on {device.device}"):
        optimizer.step(parameters, gradients, 0.1, 1.0)
    assert optimizer.updates == 0


def test_layers_and_heads_are_stepped_together(dtype, device: Gpu):
    """Sets by name, which come as one buffer that is made for the step."""
    sets = []
    for name in ("cpu", device.name):
        layer = xlstm.LSTM(3, 4, dtype=dtype, device=name, seed=1)
        head = xlstm.head.parameters(4, 2, like=layer.parameters, seed=2)
        optimizer = optim.Optimizer([layer.parameters, head], kernels="reference" if name == "cpu" else "auto")
        move = np.array if name == "cpu" else device.asarray
        d_layer = {n: move(np.full(view.shape, 3.0, dtype)) for n, view in layer.parameters.items()}
        d_head = {n: move(np.full(view.shape, -2.0, dtype)) for n, view in head.items()}
        for _ in range(2):
            optimizer.step([layer.parameters, head], [d_layer, d_head], 0.1, 1.0)
        sets.append([np.asarray(v) if name == "cpu" else device.get(v) for v in (layer.parameters.flat, head.flat)])
    for got, expected in zip(sets[1], sets[0], strict=True):
        assert relative_error(got, expected) < TOLERANCE[dtype]


def test_other_dtypes_and_kernels(device: Gpu):
    backend = backends.select(device.name)
    found = backend.fast_step("float16")
    assert found.implementation is None
    assert "float16" in found.reason
    assert backends.find_step(backend, "float32", "reference") is None
    assert backends.find_step(backend, "float32", "compiled") is backend.fast_step("float32").implementation


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))])
def test_copies_keep_the_step(copied, device: Gpu):
    X, y = labelled("texts")
    clf = classifier(device.name, max_iter=1).fit(X, y)
    other = copied(clf)
    for each in (clf, other):
        assert isinstance(each.fitted_state().trainer.optimizer.fast, CudaStep)
        each.partial_fit(X, y)
    np.testing.assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
