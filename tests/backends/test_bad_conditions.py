"""What goes wrong on a GPU while it works: errors that name the cause and the remedy, and what is whole afterwards."""

import importlib.metadata
import os
import sys
from unittest import mock

import numpy as np
import pytest
from xlstm.backends.cuda.cudnn.library import CudnnError
from xlstm.backends.cuda.errors import LOST, NO_KERNEL, DeviceLost

import xlstm
from xlstm import backends

from ..standin import machine
from .planted import planted, right

D, H = 3, 4
X, Y = [[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]] * 8, [0, 1] * 8


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine(devices=2) as gpu:
        yield gpu


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""

    def __init__(self, status):
        super().__init__(f"cudaErrorOfNumber{status}: what CUDA says")
        self.status = status


class CUDADriverError(CUDARuntimeError):
    """As CuPy's."""


FULL = OutOfMemoryError("Out of memory allocating 4,096 bytes (allocated so far: 8,589,930,496 bytes).")

# What CuPy raises: what the user gets, and what it says.
ERRORS = {
    "memory": (FULL, MemoryError, r"cuda:0 has no memory left \(Out of memory .* 4,096 .*batch_size.*hidden_size"),
    "memory, as CUDA says it": (CUDARuntimeError(2), MemoryError, r"cuda:0 has no memory left .*nvidia-smi"),
    **{
        f"lost, {status}": (
            kind(status),
            DeviceLost,
            rf"cuda:0 was lost .*{status}: what CUDA says\): .*start the process again.*check --device cuda:0",
        )
        for status in LOST
        for kind in (CUDARuntimeError, CUDADriverError)[: 2 if status in (700, 719) else 1]
    },
    "forked": (CUDARuntimeError(3), RuntimeError, r"cuda:0 cannot be used here: CUDA was used before .*'spawn'"),
    **{
        f"architecture, {status}": (CUDADriverError(status), RuntimeError, r"no code for its architecture .*update")
        for status in NO_KERNEL
    },
}  # fmt: skip
error = pytest.mark.parametrize("error", ERRORS)


def wrong(name, gpu):
    """From now on every operation on a device fails so."""
    gpu.launch_error = ERRORS[name][0]
    return pytest.raises(ERRORS[name][1], match=ERRORS[name][2])


@error
def test_a_layer_says_what_happened_and_keeps_its_parameters(error, gpu):
    layer = xlstm.LSTM(D, H, device="cuda", kernels="reference", seed=0)
    x = layer.backend.from_host(np.ones((2, 5, D), np.float32))
    before = layer.backend.to_host(layer.parameters.flat)
    outputs, _, tape = layer.forward(x)
    for call in (
        lambda: layer(x),
        lambda: layer.forward(x),
        lambda: layer.backward(tape, outputs),
        lambda: layer.to("cuda:0"),
    ):
        with wrong(error, gpu) as raised:
            call()
        assert raised.value.__cause__ is ERRORS[error][0]
        gpu.launch_error = None
        assert gpu.current == 0
    np.testing.assert_array_equal(layer.backend.to_host(layer.parameters.flat), before)
    layer.backward(tape, outputs)  # the tape is whole too


def failing_after(gpu, launches, error):
    """A context in which so many operations work, and the next ones fail: in mid-step."""
    left, launch = [launches], gpu.launch

    def counted(*args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise ERRORS[error][0]
        return launch(*args, **options)

    return mock.patch.object(gpu, "launch", counted)


@error
def test_a_training_that_fails_leaves_the_old_model(error, gpu):
    clf = xlstm.SequenceClassifier(hidden_size=H, max_iter=2, device="cuda", random_state=0, warm_start=True)
    with failing_after(gpu, 20, error), pytest.raises(ERRORS[error][1], match=ERRORS[error][2]):
        clf.fit(X, Y)
    assert not hasattr(clf, "classes_")
    clf.fit(X, Y)
    before, loss = clf.predict_proba(X), clf.loss_
    for call in (clf.fit, clf.partial_fit, clf.predict):
        data = (X,) if call == clf.predict else (X, Y)
        fails = failing_after(gpu, 1 if call == clf.predict else 20, error)
        with fails, pytest.raises(ERRORS[error][1], match=ERRORS[error][2]):
            call(*data)
        assert clf.loss_ == loss
        np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_an_optimiser_that_fails_leaves_the_parameters(gpu):
    layer = xlstm.LSTM(D, H, device="cuda", kernels="reference", seed=0)
    optimizer = xlstm.optim.Optimizer(layer.parameters, backend=layer.backend)
    before = layer.backend.to_host(layer.parameters.flat)
    with wrong("memory", gpu):
        optimizer.step(layer.parameters, layer.gradients, 0.1)
    gpu.launch_error = None
    np.testing.assert_array_equal(layer.backend.to_host(layer.parameters.flat), before)


def test_errors_of_ones_own_stay_what_they_are(gpu):
    backend = backends.select("cuda")
    for own in (ValueError("mine"), MemoryError("the host's"), KeyboardInterrupt(), CUDARuntimeError(1)):
        with pytest.raises(type(own)) as raised, backend.current():
            raise own
        assert raised.value is own


def leaving_fails(error):
    """A context in which leaving a device calls CUDA and gets this: cudaSetDevice tells of work started before."""
    import cupy

    leave = cupy.cuda.Device.__exit__

    def fails(self, *args):
        leave(self, *args)
        raise error

    return mock.patch.object(cupy.cuda.Device, "__exit__", fails)


def test_an_error_that_comes_up_on_leaving_is_translated_and_hides_none(gpu):
    backend, late = backends.select("cuda"), CUDARuntimeError(719)
    with leaving_fails(late):
        with pytest.raises(DeviceLost, match=r"cuda:0 was lost .*719") as raised, backend.current():
            pass
        assert raised.value.__cause__ is late
        for own, kind, told in (
            (CUDARuntimeError(700), DeviceLost, "cuda:0 was lost .*700"),
            (FULL, MemoryError, "cuda:0 has no memory left"),
            (ValueError("what came of it"), DeviceLost, "cuda:0 was lost .*719"),
        ):
            with pytest.raises(kind, match=told) as raised, backend.current():
                raise own
            assert raised.value.__cause__ is own
        with pytest.raises(DeviceLost, match=r"cuda:0 was lost .*700") as raised, backend.current(), backend.current():
            raise CUDARuntimeError(700)
        with pytest.raises(KeyboardInterrupt), backend.current():
            raise KeyboardInterrupt
    other = CUDARuntimeError(1)
    with leaving_fails(other):
        with pytest.raises(CUDARuntimeError) as raised, backend.current():
            pass
        assert raised.value is other
        with pytest.raises(ValueError, match="mine"), backend.current():
            raise ValueError("mine")


@pytest.mark.parametrize(("status", "is_lost"), [(4999, False), (5000, True), (5999, True), (6000, False)])
def test_a_kernel_of_cudnns_that_died_has_lost_the_device(status, is_lost, gpu):
    error = CudnnError("cudnnRNNForward", status, "what cuDNN says", "")
    with (
        pytest.raises(DeviceLost if is_lost else CudnnError, match="what cuDNN says"),
        backends.select("cuda").current(),
    ):
        raise error


# ---------------------------------------------------------------- drivers and libraries


def test_a_driver_that_is_too_old_is_told_from_none(gpu):
    with machine(driver=False):
        import cupy

        old = mock.patch.object(cupy.cuda.runtime, "driverGetVersion", return_value=11040)
        with (
            old,
            pytest.raises(RuntimeError, match=r"driver is too old: it is for CUDA 11\.4, and CuPy 14.* CUDA 12\.9"),
        ):
            backends.select("cuda")
        with pytest.raises(RuntimeError, match="found no working NVIDIA driver"):
            backends.select("cuda")


@pytest.mark.parametrize(
    "line",
    [
        "CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object file",
        "libcublas.so.13: cannot open shared object file: No such file or directory",
        "NVRTC_ERROR_INVALID_OPTION: invalid value for --gpu-architecture (-arch)",
    ],
)
def test_libraries_that_are_missing_or_of_another_cuda(line, caplog):
    with machine(launch_error=ImportError(line)):
        with pytest.raises(RuntimeError, match=r"cuda:0 is there, but .*\(cuBLAS, NVRTC\): pip install") as raised:
            backends.select("cuda")
        assert line in str(raised.value)
        assert backends.select("auto").device == "cpu"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", ["memory", "lost, 700"])
def test_a_gpu_that_is_full_or_lost_from_the_start(error, caplog):
    with machine(launch_error=ERRORS[error][0]):
        with pytest.raises(RuntimeError, match=f"cuda:0 cannot be used: {ERRORS[error][2]}"):
            backends.select("cuda")
        assert backends.select("auto").device == "cpu"
        assert not backends.report()[1].usable
    assert len(caplog.records) == 1


def test_kernels_that_do_not_compile_leave_the_array_code(caplog):
    class CompileException(Exception):
        """As `cupy.cuda.compiler.CompileException`, of an architecture that the compiler does not know."""

    def make(cell, dtype, precision):
        level = right(cell, dtype, precision)
        level._error = CompileException("nvrtc: error: invalid value for --gpu-architecture (-arch)\nmore")
        return level

    with planted(fused=make):
        layer = xlstm.LSTM(D, H, device="cuda", seed=0)
        assert layer.kernels == "reference"
        xlstm.LSTM(D, H, device="cuda")
        layer(layer.backend.from_host(np.ones((2, 3, D), np.float32)))
        with pytest.raises(RuntimeError, match="--gpu-architecture"):
            xlstm.LSTM(D, H, device="cuda", kernels="fused")
    (record,) = caplog.records
    assert "CompileException: nvrtc: error: invalid value for --gpu-architecture (-arch)); the array code is used" in (
        record.getMessage()
    )


def test_two_packages_of_cupy_are_told_of(gpu):
    with machine(distributions=("cupy-cuda12x", "cupy-cuda13x")), pytest.raises(RuntimeError, match="pip uninstall -y"):
        backends.select("cuda")
    assert importlib.metadata.distributions is not None


# ---------------------------------------------------------------- forks, devices


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_is_told_what_to_do():
    layer = xlstm.LSTM(D, H, device="cuda", seed=0)
    x = layer.backend.from_host(np.ones((2, 5, D), np.float32))
    calls = [
        lambda: layer(x),
        lambda: layer.to("cpu"),
        lambda: layer.backend.from_host(np.ones(3)),
        lambda: xlstm.LSTM(D, H, device="cuda"),
        lambda: layer.backend.synchronize(),
    ]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        told = []
        try:
            for call in calls:
                try:
                    call()
                    told.append("nothing")
                except RuntimeError as raised:
                    told.append(str(raised))
            told.append(backends.select("auto").device)
        finally:
            os.write(write, "\n".join(told).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        *told, automatic = file.read().splitlines()
    os.waitpid(child, 0)
    assert len(told) == len(calls)
    for sentence in told:
        assert sentence.startswith("cuda:0 cannot be used here: CUDA was used before this process was forked")
        assert "'spawn'" in sentence
    assert automatic == "cpu"
    layer(x)  # the parent goes on
