"""The stand-in for CuPy itself, and what it alone can tell of the library: launches, transfers, a GPU that goes away.

What holds on a real GPU as well is in test_gpu.py.
"""

import inspect
import operator
import sys

import numpy as np
import pytest

import xlstm
from xlstm import backends

from ..gpu import VARIANTS, D, H, N, T, classifier, labelled
from ..standin import FUNCTIONS, METHODS, SAME_AS_NUMPY, UFUNCS, CUDARuntimeError, Machine, machine


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine(devices=2) as gpu:
        yield gpu


@pytest.fixture
def cupy(gpu):
    import cupy

    return cupy


# ---------------------------------------------------------------- the stand-in itself


@pytest.mark.parametrize(
    "to_host",
    [float, int, bool, complex, operator.index, iter, list, np.asarray, np.array]
    + [operator.methodcaller(name) for name in ("item", "tolist", "tobytes")],
)
def test_it_refuses_to_go_to_the_host_unasked(to_host, cupy):
    with pytest.raises(
        TypeError, match=r"implicit conversion to a NumPy array is not allowed|interpreted as an integer"
    ):
        to_host(cupy.ones(()))


@pytest.mark.parametrize("operation", [operator.add, operator.matmul, operator.lt, operator.imul, operator.pow])
@pytest.mark.parametrize("other", [np.ones((2, 2)), [[1.0, 2.0], [3.0, 4.0]]])
def test_it_refuses_operands_of_the_host(operation, other, cupy):
    with pytest.raises(TypeError, match="Unsupported type"):
        operation(cupy.ones((2, 2)), other)
    with pytest.raises(TypeError, match="Unsupported type"):
        operation(other, cupy.ones((2, 2)))


def test_it_refuses_arrays_of_the_host_in_functions_and_assignments(cupy):
    a, host = cupy.ones((2, 2)), np.ones((2, 2))
    for call in (
        lambda: cupy.where(a > 0, a, host),
        lambda: cupy.concatenate([a, host]),
        lambda: cupy.exp(host),
        lambda: cupy.exp(a, out=host),
        lambda: cupy.take(a, [0, 1], axis=0),
        lambda: cupy.add.at(a, np.array([0]), cupy.ones((1, 2))),
        lambda: np.add(host, 1, out=a),
        lambda: np.concatenate([a, a]),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match=r"non-scalar numpy\.ndarray cannot be used for fill"):
        a[...] = host


def test_scalars_of_the_host_are_welcome(cupy):
    a = cupy.full((3,), 2.0, dtype="float32")
    for b in (a * 3, 3 * a, np.float32(3) * a, a * np.float32(3)):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(b.get(), 6)
    a[1] = np.float64(7)
    a[2:] = 5
    np.testing.assert_array_equal(a.get(), [2, 7, 5])


def test_it_computes_as_numpy_does(cupy):
    rng = np.random.default_rng(0)
    host, other = rng.standard_normal((3, 4)), rng.standard_normal((4, 3))
    a, b = cupy.asarray(host), cupy.asarray(other)
    for result, expected in (
        (a @ b, host @ other),
        (1 / a - a.T.T % 2, 1 / host - host % 2),
        (cupy.exp(-abs(a)), np.exp(-abs(host))),
        (a.sum(axis=0, keepdims=True), host.sum(axis=0, keepdims=True)),
        (cupy.stack([a, a + 1], axis=1), np.stack([host, host + 1], axis=1)),
        (a.transpose(1, 0).reshape(2, -1), host.T.reshape(2, -1)),
        (a[:, None, ::2], host[:, None, ::2]),
        (a[cupy.asarray([2, 0])], host[[2, 0]]),
        (cupy.take(a, cupy.asarray([3, 3]), axis=1), host[:, [3, 3]]),
        (a.max(), host.max()),
        (a > 0, host > 0),
    ):
        assert type(result) is cupy.ndarray
        assert result.shape == np.shape(expected)
        np.testing.assert_array_equal(cupy.asnumpy(result), expected)


def test_slices_are_views_and_operators_work_in_place(cupy):
    a = cupy.zeros((3, 4))
    a[1][2:] += 1
    a[:, 0] = cupy.asarray([1.0, 2.0, 3.0])
    first = a.reshape(12)[:4]
    first *= 10
    a.T[3, 0] = 5
    np.testing.assert_array_equal(a.get(), [[10, 0, 0, 5], [2, 0, 1, 1], [3, 0, 0, 0]])
    with pytest.raises(ValueError, match="overlapping"):
        a[1:] = a[:-1]
    with pytest.raises(ValueError, match="overlapping"):
        a[1:] += a[:-1]


def test_it_counts(gpu: Machine, cupy):
    a = cupy.zeros((2, 3), dtype="float32")
    with gpu.counting() as views:
        a[0], a.T, a[:, None], a.reshape(3, 2), cupy.flip(a, axis=1), a.view(), cupy.transpose(a), a.shape, len(a)
    assert not any(vars(views).values())
    for work, launches, allocations, allocated_bytes in (
        (lambda: a + 1, 1, 1, 24),
        (lambda: a @ a.T, 1, 1, 16),
        (lambda: a.copy(), 1, 1, 24),
        (lambda: operator.iadd(a, 1), 1, 0, 0),
        (lambda: operator.setitem(a, 0, a[1]), 1, 0, 0),
        (lambda: operator.setitem(a, 0, 3.0), 1, 0, 0),
        (lambda: cupy.sum(a, axis=0), 1, 1, 12),
        (lambda: cupy.concatenate([a, a]), 1, 1, 48),
        (lambda: cupy.exp(a, out=a), 1, 0, 0),
        (lambda: cupy.empty((2, 3)), 0, 1, 48),
    ):
        with gpu.counting() as seen:
            work()
        assert (seen.launches, seen.allocations, seen.allocated_bytes) == (launches, allocations, allocated_bytes)
        assert (seen.to_device, seen.to_host) == (0, 0)
    with gpu.counting() as there:
        cupy.asarray([1, 2])
        a.set(np.zeros((2, 3), "float32"))
    assert (there.to_device, there.to_host, there.launches) == (2, 0, 0)
    with gpu.counting() as back:
        a.get()
        cupy.asnumpy(a)
        cupy.nonzero(a)  # its size is read
        a[a > 0]
    assert (back.to_device, back.to_host) == (0, 4)


def test_uninitialised_memory_is_not_zero(cupy):
    assert np.isnan(cupy.empty((2,)).get()).all()
    assert np.isnan(cupy.ndarray((2,), "float32").get()).all()


def test_an_array_is_used_on_its_own_device(gpu: Machine, cupy):
    a = cupy.ones((2,))
    with cupy.cuda.Device(1):
        b = cupy.ones((2,))
        assert (b.device.id, a.device.id, gpu.current) == (1, 0, 1)
        for work in (lambda: a + 1, lambda: a + b, lambda: operator.setitem(a, 0, 1), lambda: cupy.stack([b, a])):
            with pytest.raises(ValueError, match="Array device must be same as the current device"):
                work()
        assert a[1:].get().shape == (1,)  # views, and copies to the host, may be taken
    assert gpu.current == 0
    with pytest.raises(CUDARuntimeError, match="cudaErrorInvalidDevice"), cupy.cuda.Device(2):
        pass
    assert gpu.current == 0


def test_signatures_are_those_of_cupy(cupy):
    a = cupy.ones((2, 2))
    for call in (
        lambda: cupy.sum(a, where=a > 0),
        lambda: cupy.max(a, initial=0),
        lambda: cupy.zeros((2,), device="cpu"),
        lambda: cupy.stack([a], 0, None, "float32"),
    ):
        with pytest.raises(TypeError):
            call()
    assert not hasattr(cupy, "vecdot")  # array_api_compat has it, CuPy 14.2 has not


def test_its_names_are_those_of_cupy():
    if not backends.cupy_arrays.installed():
        pytest.skip("CuPy is not installed: the stand-in's names were not compared with it")
    import cupy

    for name in (*SAME_AS_NUMPY.split(), *UFUNCS.split()):
        assert hasattr(cupy, name)
    for name in METHODS.split():
        assert hasattr(cupy.ndarray, name)
    for name, *parameters in map(str.split, FUNCTIONS.strip().splitlines()):
        known = inspect.signature(getattr(cupy, name)).parameters
        assert "args" in known or set(parameters) <= set(known), name


def test_it_goes_without_a_trace():
    before = {
        name for name in sys.modules if name.partition(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")
    }
    path, known = list(sys.meta_path), dict(backends.cupy_arrays._backends)
    with machine():
        xlstm.LSTM(2, 3, device="cuda")
        assert "array_api_compat.cupy" in sys.modules
        inner_before = backends.select("cuda")
        with machine(driver=False), pytest.raises(RuntimeError, match="driver"):
            backends.select("cuda")
        assert backends.select("cuda") is inner_before
    after = {
        name for name in sys.modules if name.partition(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")
    }
    assert after == before
    assert sys.meta_path == path
    assert backends.cupy_arrays._backends == known
    import array_api_compat

    assert hasattr(array_api_compat, "cupy") == ("array_api_compat.cupy" in before)


# ---------------------------------------------------------------- launches and transfers of layers, counted


@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "bidirectional": True, "dropout": 0.4}], ids=["one", "all"])
@pytest.mark.parametrize("lengths", [None, [3, 6, 1, 5]], ids=["full", "ragged"])
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_a_layer_works_where_it_lives_and_nowhere_else(cls, lengths, options, gpu: Machine, cupy):
    """On the GPU each call launches work there; on the CPU none touches the GPU."""
    rng = np.random.default_rng(7)
    for device, move in (("cpu", np.array), ("cuda", cupy.asarray)):
        layer = cls(D, H, device=device, seed=3, **options)
        x, d_outputs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, layer.directions * H))
        x, d_outputs = move(x.astype(np.float32)), move(d_outputs.astype(np.float32))
        with gpu.counting() as inference:
            outputs, _ = layer(x, lengths=lengths)
        with gpu.counting() as forward:
            _, _, tape = layer.forward(x, lengths=lengths, seed=5)
        with gpu.counting() as backward:
            dx, _ = layer.backward(tape, d_outputs)
        for seen in (inference, forward, backward):
            if device == "cpu":
                assert not any(vars(seen).values())
            else:
                assert seen.launches > 0
                assert seen.to_host == 0
        for array in (outputs, dx, *layer.gradients.values()):
            assert type(array) is (np.ndarray if device == "cpu" else cupy.ndarray)


@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN])
def test_launches_of_a_step_are_few(cls, gpu: Machine, cupy):
    layer = cls(D, H, device="cuda", seed=0)

    def launches(steps):
        x = cupy.ones((N, steps, D), dtype="float32")
        with gpu.counting() as forward:
            outputs, _, tape = layer.forward(x)
        with gpu.counting() as backward:
            layer.backward(tape, outputs)
        assert (forward.to_host, backward.to_host, forward.to_device, backward.to_device) == (0, 0, 0, 0)
        return np.array([forward.launches, backward.launches])

    few, many = launches(10), launches(50)
    per_step = (many - few) / 40
    # Seen: 23 forward and 25 backward for an LSTM, 4 and 7 for an RNN.
    assert (per_step <= ([23, 25] if cls is xlstm.LSTM else [4, 7])).all(), f"{per_step} launches a step"
    assert (few - 10 * per_step <= 30).all(), f"{few - 10 * per_step} for the whole sequence"


def test_launches_do_not_grow_with_the_rows(gpu: Machine, cupy):
    layer = xlstm.LSTM(D, H, device="cuda", bidirectional=True, seed=0)

    def work(rows):
        x = cupy.ones((rows, T, D), dtype="float32")
        with gpu.counting() as seen:
            outputs, state, tape = layer.forward(x, lengths=[T] + [2] * (rows - 1))
            layer.backward(tape, outputs, state)
        return seen.launches, seen.to_device, seen.to_host

    assert work(2) == work(40)
    assert work(2)[2] == 0


# ---------------------------------------------------------------- those of a classifier, and a GPU that goes away


@pytest.mark.parametrize("variant", VARIANTS)
def test_within_an_epoch_nothing_comes_to_the_host(variant, gpu: Machine):
    """Transfers do not grow with the batches: ten of them bring no more to the host than one."""
    kind, options = VARIANTS[variant]
    X, y = labelled(kind, n=20)
    backends.select("cuda")  # tries the device once

    def to_host(batch_size, epochs):
        clf = classifier("cuda", **options, n_iter_no_change=99)
        clf.set_params(batch_size=batch_size, max_iter=epochs)
        with gpu.counting() as seen:
            clf.fit(X, y)
        return seen.to_host

    one, two, three = (to_host(2, epochs) for epochs in (1, 2, 3))
    assert one == to_host(20, 1)
    # One for loss and accuracy, one for the weights that Ctrl-C falls back to, and one for the validation part.
    assert two - one == three - two == (3 if "early_stopping" in options else 2)


def test_a_batch_is_the_same_launches_whatever_its_rows(gpu: Machine):
    X, y = np.random.default_rng(0).standard_normal((64, 5, 2)), [0, 1] * 32
    backends.select("cuda")  # tries the device once

    def launches(n, batch_size):
        clf = classifier("cuda", max_iter=1, batch_size=batch_size)
        with gpu.counting() as one:
            clf.fit(X[:n], y[:n])
        return one.launches

    assert launches(16, 16) == launches(64, 64)


def test_a_file_from_a_gpu_opens_where_there_is_none(gpu: Machine, tmp_path):
    X, y = labelled("series")
    clf = classifier("cuda").fit(X, y)
    clf.save(tmp_path / "model.xlstm")
    probabilities = clf.predict_proba(X)
    with machine(distributions=()):
        loaded = xlstm.load(tmp_path / "model.xlstm")
        assert loaded.device_ == "cpu"
        np.testing.assert_allclose(loaded.predict_proba(X), probabilities, rtol=1e-9)
        with pytest.raises(RuntimeError, match="CuPy is not installed"):
            xlstm.load(tmp_path / "model.xlstm", device="cuda")
