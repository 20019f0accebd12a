"""The stand-in for CuPy itself, and what it alone can tell of the library: launches, transfers, a GPU that goes away.

What holds on a real GPU as well is in test_gpu.py.
"""

import inspect
import operator
import sys
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends, cells

from ..gpu import VARIANTS, D, H, N, T, classifier, labelled
from ..standin import FUNCTIONS, METHODS, SAME_AS_NUMPY, UFUNCS, CUDARuntimeError, Machine, Race, machine


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
    [float, int, bool, complex, operator.index, np.asarray, np.array]
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


def test_indices_of_the_host_are_uploaded(gpu: Machine, cupy):
    """As CuPy does, and as scikit-learn indexes."""
    host = np.arange(12.0).reshape(4, 3)
    a = cupy.asarray(host)
    keys: list[Any] = [
        np.array([3, 0, 3]),
        [1, 2],
        [],
        np.array([True, False, True, False]),
        [True, False, False, True],
        (slice(None), [2, 0]),
        (np.array([0, 1]), 2),
    ]
    for key in keys:
        with gpu.counting() as seen:
            found = a[key]
        assert seen.to_device == 1
        np.testing.assert_array_equal(found.get(), host[key])
    a[[0, 2]] = 7
    host[[0, 2]] = 7
    np.testing.assert_array_equal(a.get(), host)


def test_a_loop_gives_arrays_and_nothing_comes_to_the_host(gpu: Machine, cupy):
    a = cupy.asarray(np.arange(6.0).reshape(3, 2))
    with gpu.counting() as seen:
        rows, values = list(a), list(a[0])
    assert (seen.to_host, seen.to_device) == (0, 0)
    assert [row.get().tolist() for row in rows] == [[0, 1], [2, 3], [4, 5]]
    assert [value.shape for value in values] == [(), ()]
    with pytest.raises(TypeError, match="implicit conversion"):
        float(values[1])
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        iter(values[0])


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
        (lambda: cupy.concatenate([a, a]), 2, 1, 48),
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


# ---------------------------------------------------------------- memory, streams and transfers, as CuPy has them


def test_memory_comes_from_a_pool(gpu: Machine, cupy):
    pool = cupy.get_default_memory_pool()
    with gpu.counting() as seen:
        a = cupy.ones((100,))
        view = a[3:]
        del a
        b = cupy.ones((100,))  # the view still holds the first
    assert (seen.driver_allocations, pool.used_bytes(), pool.total_bytes()) == (2, 2048, 2048)
    del view
    assert (pool.used_bytes(), pool.free_bytes(), pool.n_free_blocks()) == (1024, 1024, 1)
    with gpu.counting() as seen:
        for _ in range(5):
            c, d = cupy.ones((64,)), cupy.ones((10,))  # two halves of the first one's memory
            del c, d
    assert (seen.driver_allocations, seen.allocations, pool.total_bytes()) == (0, 10, 2048)
    with gpu.counting() as seen:
        big = cupy.ones((200,))
    assert (seen.driver_allocations, pool.total_bytes()) == (1, 2048 + 2048)
    assert big.data.ptr % 512 == b.data.ptr % 512 == 0
    pool.free_all_blocks()
    assert (pool.free_bytes(), pool.used_bytes()) == (0, 1024 + 2048)
    with gpu.counting() as seen:
        cupy.ones((0, 5))
    assert seen.driver_allocations == 0


def test_blocks_that_were_split_are_one_again(gpu: Machine, cupy):
    pool = cupy.get_default_memory_pool()
    whole = cupy.ones((512,))
    del whole
    parts = [cupy.ones((64,)) for _ in range(8)]
    assert (pool.n_free_blocks(), pool.total_bytes()) == (0, 4096)
    for order in (0, 2, 1):
        parts[order] = None
    assert pool.n_free_blocks() == 1
    with gpu.counting() as seen:
        cupy.ones((192,))
    assert seen.driver_allocations == 0


def test_a_gpu_with_little_memory_runs_out_of_it():
    with machine(memory=10_000) as gpu:
        import cupy

        assert cupy.cuda.runtime.memGetInfo() == cupy.cuda.Device(0).mem_info == (10_000, 10_000)
        a = cupy.ones((1000,))
        assert cupy.cuda.runtime.memGetInfo() == (10_000 - 8192, 10_000)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 2,048 bytes"):
            a + cupy.ones((200,))
        assert gpu.pool(0).used == 8192
        del a
        assert cupy.ones((1100,)).shape == (1100,)  # what was free goes back to the driver first
        cupy.get_default_memory_pool().set_limit(size=1024)
        assert cupy.get_default_memory_pool().get_limit() == 1024
        cupy.get_default_memory_pool().free_all_blocks()
        with pytest.raises(MemoryError, match="limit set to: 1,024 bytes"):
            cupy.ones((200,))
        with pytest.raises(ValueError, match="same time"):
            cupy.get_default_memory_pool().set_limit(size=1, fraction=0.5)


def test_memory_that_is_gone_is_poisoned(gpu: Machine, cupy):
    a = cupy.ones((4,), dtype="float32")
    host = a._host
    address = a.data.ptr
    del a
    assert np.isnan(host).all()
    with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
        gpu.block_at(address)


def test_it_counts_what_the_host_waits_for(gpu: Machine, cupy):
    a, event = cupy.ones((2, 3), dtype="float32"), cupy.cuda.Event()
    event.record()
    for work in (
        lambda: cupy.cuda.Device(0).synchronize(),
        lambda: cupy.cuda.get_current_stream().synchronize(),
        lambda: cupy.cuda.Stream.null.synchronize(),
        lambda: cupy.cuda.runtime.deviceSynchronize(),
        event.synchronize,
        a.get,
        lambda: cupy.asnumpy(a),
        lambda: cupy.nonzero(a),
        lambda: cupy.unique(a),
        lambda: a[a > 0],
    ):
        with gpu.counting() as seen:
            work()
        assert seen.synchronizations == 1
    for work in (
        lambda: a + 1,
        lambda: cupy.asarray(np.ones(3)),
        lambda: a.set(np.ones((2, 3), np.float32)),
        lambda: a.get(blocking=False),
        lambda: operator.setitem(a, a > 0, 0),
        lambda: a[cupy.asarray([0])],
    ):
        with gpu.counting() as seen:
            work()
        assert seen.synchronizations == 0


def test_it_counts_bytes_and_names(gpu: Machine, cupy):
    with gpu.counting() as seen:
        a = cupy.asarray(np.ones((4, 2), np.float32))
        b = cupy.exp(a + 1) @ a.T
        a[0:2] = a[2:4]
        b.get()
    assert (seen.to_device, seen.to_device_bytes, seen.to_host, seen.to_host_bytes) == (1, 32, 1, 64)
    assert seen.launched == {"add": 1, "exp": 1, "matmul": 1, "memcpy": 1}
    assert (seen.launches, seen.copies, seen.products) == (4, 1, 0)


def test_copies_are_those_of_equal_form(gpu: Machine, cupy):
    a, b = cupy.zeros((4, 6)), cupy.ones((4, 6))
    for work, copies in (
        (lambda: operator.setitem(a, slice(None), b), 1),
        (lambda: operator.setitem(a, 0, b[1]), 1),
        (lambda: a.copy(), 1),
        (lambda: cupy.array(a), 1),
        (lambda: operator.setitem(a, 0, 1.0), 0),  # a kernel fills
        (lambda: operator.setitem(a, (slice(None), 0), b[:, 1]), 0),  # strided
        (lambda: operator.setitem(a, slice(None), b[:1]), 0),  # broadcast
        (lambda: operator.setitem(a, slice(None), cupy.ones((4, 6), "float32")), 0),
        (lambda: a.T.copy(), 0),
    ):
        with gpu.counting() as seen:
            work()
        assert seen.copies == copies


def test_pieces_are_put_together_one_by_one(gpu: Machine, cupy):
    for function, length in ((cupy.concatenate, 2), (cupy.stack, 1)):
        for count, launches, to_device in ((2, 2, 0), (8, 8, 0), (9, 1, 1), (30, 1, 1)):
            pieces = [cupy.ones((3, length))] * count
            with gpu.counting() as seen:
                function(pieces)
            assert (seen.launches, seen.to_device) == (launches, to_device)
    uneven = [cupy.ones((1 + k % 2, 3)) for k in range(9)]
    with gpu.counting() as seen:
        cupy.concatenate(uneven)
    assert (seen.launches, seen.to_device) == (1, 3)
    mixed = [cupy.ones((1, 3), dtype=("float32", "float64")[k % 2]) for k in range(9)]
    with gpu.counting() as seen:
        cupy.concatenate(mixed)
    assert (seen.launches, seen.to_device) == (9, 0)


def test_small_numbers_are_flushed_in_float32(cupy):
    small = 1e-40
    a = cupy.asarray(np.array([small, -small, 1.0], dtype=np.float32))
    np.testing.assert_array_equal((a * 1).get(), [0, 0, 1])
    np.testing.assert_array_equal((a > 0).get(), [False, False, True])  # they are read as zero as well
    np.testing.assert_array_equal(a.copy().get(), np.array([small, -small, 1], np.float32))  # what moves is kept
    assert cupy.exp(cupy.full((), -90, dtype="float32")).get() == 0
    assert (cupy.full((), 1e-30, dtype="float32") * np.float32(1e-10)).get() == 0
    assert cupy.sum(a[:1]).get() == 0
    b = cupy.full((1,), 1e-30, dtype="float32")
    b *= 1e-10
    assert b.get() == 0
    wide = cupy.asarray(np.array([1e-310]))
    assert (wide * 1).get() == 1e-310, "float64 is not flushed"


def test_indices_wrap(cupy):
    host = np.arange(12.0).reshape(4, 3)
    a, ids = cupy.asarray(host), cupy.asarray([4, 5, -5])
    np.testing.assert_array_equal(cupy.take(a, ids, axis=0).get(), host[[0, 1, 3]])
    np.testing.assert_array_equal(a[ids].get(), host[[0, 1, 3]])
    np.testing.assert_array_equal(a[:, cupy.asarray([3, -1])].get(), host[:, [0, 2]])
    np.testing.assert_array_equal(a[..., cupy.asarray([3])].get(), host[..., [0]])
    np.testing.assert_array_equal(cupy.take_along_axis(a, cupy.asarray([[5]]), axis=0).get(), host[1:2])
    total = cupy.zeros((4, 3))
    cupy.add.at(total, ids, cupy.ones((3, 3)))
    np.testing.assert_array_equal(total.get()[:, 0], [1, 1, 0, 1])
    a[cupy.asarray([4])] = 7
    assert (a.get()[0] == 7).all()
    with pytest.raises(IndexError):
        a[4]


def test_work_of_two_streams_has_to_be_ordered(gpu: Machine, cupy):
    def streams():
        return cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)

    one, two = streams()
    assert one.ptr != two.ptr != cupy.cuda.Stream.null.ptr == 0
    with one:
        assert cupy.cuda.get_current_stream().ptr == one.ptr
        a = cupy.ones((3,))
        with two:
            with pytest.raises(Race, match="an event or a synchronisation has to stand between"):
                a + 1
            two.wait_event(one.record())
            b = a + 1
        with pytest.raises(Race, match="used"):
            a *= 2  # the other stream may still read it
        c = a + 0  # reading beside it is fine
        two.synchronize()
        a *= 2
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    with pytest.raises(Race):
        c + 1
    cupy.cuda.Device().synchronize()
    np.testing.assert_array_equal((a + b + c).get(), 5)


def test_plain_streams_wait_for_the_null_stream(cupy):
    plain, a = cupy.cuda.Stream(), cupy.ones((3,))
    with plain:
        b = a + 1  # it waited for the null stream
    b + 1  # and the null stream for it
    with plain:
        b += 1
    with pytest.raises(Race), cupy.cuda.Stream():
        b + 1


def test_memory_is_not_reused_under_another_streams_work(cupy):
    other, a = cupy.cuda.Stream(non_blocking=True), cupy.ones((3,))
    event = cupy.cuda.Event()
    event.record()
    other.wait_event(event)
    with other:
        a + 1
    del a
    with pytest.raises(Race):
        cupy.ones((3,))  # in its memory
    other.synchronize()
    cupy.ones((3,))


def test_events_tell_the_time_between_them(cupy):
    start, end, plain = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Event(disable_timing=True)
    start.record()
    cupy.ones((3,)) + 1
    end.record(cupy.cuda.Stream.null)
    plain.record()
    with pytest.raises(CUDARuntimeError, match="cudaErrorNotReady"):
        cupy.cuda.get_elapsed_time(start, end)
    end.synchronize()
    assert end.done
    assert cupy.cuda.get_elapsed_time(start, end) > 0
    with pytest.raises(CUDARuntimeError, match="cudaErrorInvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(start, plain)


def test_pinned_memory_is_the_copys_until_it_has_ended(gpu: Machine, cupy):
    memory = cupy.cuda.alloc_pinned_memory(8 * 3)
    assert memory.size() >= 24
    host = np.frombuffer(memory, np.float64, 3)
    stream, a = cupy.cuda.Stream(non_blocking=True), cupy.zeros((3,))
    cupy.cuda.Stream.null.synchronize()
    host[...] = 1
    with gpu.counting() as seen:
        a.set(host, stream=stream)
    assert (seen.to_device_bytes, seen.synchronizations) == (24, 0)
    with pytest.raises(Race):
        a + 1  # on the null stream
    stream.synchronize()
    np.testing.assert_array_equal(a.get(), 1)
    a.set(host, stream=stream)
    host[...] = 2
    with pytest.raises(Race, match="pinned memory was written"):
        stream.synchronize()
    a.set(host, stream=stream)
    with pytest.raises(Race, match="sent again"):
        a.set(host, stream=stream)
    with pytest.raises(AssertionError, match="not pinned"):
        a.set(np.zeros(3), stream=stream)


def test_a_copy_to_the_host_that_nobody_waited_for_is_not_there(gpu: Machine, cupy):
    a, out = cupy.ones((3,)), np.zeros(3)
    a.get(out=out, blocking=False)
    assert np.isnan(out).all()
    cupy.cuda.get_current_stream().synchronize()
    np.testing.assert_array_equal(out, 1)
    for wrong in (np.zeros(3, np.float32), [0.0] * 3):
        with pytest.raises(TypeError, match="cannot be obtained"):
            a.get(out=wrong)
    with pytest.raises(ValueError, match="Shape mismatch"):
        a.get(out=np.zeros(4))


def test_memory_is_copied_by_address(gpu: Machine, cupy):
    runtime, stream = cupy.cuda.runtime, cupy.cuda.get_current_stream()
    host, a, b = np.arange(4.0), cupy.zeros((4,)), cupy.zeros((4,))
    back = np.zeros(4)
    runtime.memcpyAsync(a.data.ptr, host.ctypes.data, 32, runtime.memcpyHostToDevice, stream.ptr)
    runtime.memcpyAsync(b.data.ptr, a.data.ptr, 32, runtime.memcpyDeviceToDevice, stream.ptr)
    runtime.memcpyAsync(back.ctypes.data, b.data.ptr, 32, runtime.memcpyDeviceToHost, stream.ptr)
    stream.synchronize()
    np.testing.assert_array_equal(back, host)
    with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
        runtime.memcpyAsync(a.data.ptr, b.data.ptr, 64, runtime.memcpyDeviceToDevice, stream.ptr)


class Foreign:
    """Another library's array on a device."""

    def __init__(self, array):
        self._array = array
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    @property
    def __cuda_array_interface__(self):
        return {**self._array.__cuda_array_interface__, "stream": None}


@pytest.mark.parametrize("take", ["asarray", "from_dlpack"])
def test_arrays_of_others_are_taken_without_a_copy(take, gpu: Machine, cupy):
    a = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    for foreign in (Foreign(a), Foreign(a.T), Foreign(a[1:, ::2])):
        with gpu.counting() as seen:
            b = getattr(cupy, take)(foreign)
        assert not any(vars(seen).values())
        assert (b.data.ptr, b.strides, b.dtype) == (foreign._array.data.ptr, foreign._array.strides, np.float32)
        np.testing.assert_array_equal(b.get(), foreign._array.get())
    with gpu.counting() as seen:
        cupy.array(Foreign(a))
    assert (seen.allocations, seen.copies, seen.to_device) == (1, 1, 0)
    pool, b = cupy.get_default_memory_pool(), cupy.asarray(Foreign(a))
    used = pool.used_bytes()
    del a, foreign
    assert pool.used_bytes() == used, "it holds the memory"
    np.testing.assert_array_equal(b.get()[0], [0, 1, 2, 3])
    with pytest.raises(BufferError):
        np.from_dlpack(b)
    with pytest.raises(RuntimeError, match="CPU arrays cannot be directly imported"):
        cupy.from_dlpack(np.ones(3))


def test_a_product_by_address_is_of_memory_that_is_held(gpu: Machine, cupy):
    import ctypes

    a, b, c = (cupy.ones((4, 4), dtype="float32") for _ in range(3))
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    handle = cupy.cuda.device.get_cublas_handle()

    def product(at_a, at_c, rows=4):
        scales = ctypes.addressof(one), ctypes.addressof(zero)
        cupy.cuda.cublas.gemmEx(
            handle, 0, 0, rows, 4, 4, scales[0], at_a, 0, 4, b.data.ptr, 0, 4, scales[1], at_c, 0, 4, 68, -1
        )

    with gpu.counting() as seen:
        product(a.data.ptr, c.data.ptr)
    assert (seen.products, seen.launched) == (1, {"gemmEx": 1})
    np.testing.assert_array_equal(c.get(), 4)
    gone = a.data.ptr
    del a
    with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
        product(gone, c.data.ptr)
    with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
        product(b.data.ptr, c.data.ptr + 16)
    with pytest.raises(RuntimeError, match="leading dimension"):
        product(b.data.ptr, c.data.ptr, 5)


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


@pytest.mark.parametrize("embedded", [False, True], ids=["one-hot", "embedded"])
def test_tokens_of_a_pure_cell_are_not_checked_on_a_gpu(embedded, gpu: Machine, cupy):
    """It would have to wait for them. NumPy says so; in the array code they wrap, and read no other memory.

    The fast cells give NaN, which `test_fused.py` and `test_cudnn.py` assert.
    """
    V, rng = 4, np.random.default_rng(0)
    host = {
        name: rng.standard_normal(shape) for name, shape in cells.CELLS["lstm"].shapes(D if embedded else V, H).items()
    }
    table = rng.standard_normal((V, D)) if embedded else None
    outside, inside = np.array([[V, 2 * V + 1]]), np.array([[0, 1]])
    with pytest.raises(IndexError):
        cells.lstm.forward(host, None, tokens=(outside, table))
    params = {name: cupy.asarray(values) for name, values in host.items()}
    there = None if table is None else cupy.asarray(table)
    ids = [cupy.asarray(values) for values in (outside, inside)]
    with gpu.counting() as seen:
        wrapped, right = (cells.lstm.forward(params, None, tokens=(each, there))[0] for each in ids)
    assert (seen.synchronizations, seen.to_host) == (0, 0)
    np.testing.assert_array_equal(wrapped.get(), right.get())


# ---------------------------------------------------------------- those of a classifier, and a GPU that goes away


@pytest.mark.parametrize("variant", VARIANTS)
def test_within_an_epoch_nothing_comes_to_the_host(variant, gpu: Machine):
    """Transfers do not grow with the batches: ten of them bring no more to the host than one."""
    kind, options = VARIANTS[variant]
    X, y = labelled(kind, n=20)
    classifier("cuda", **options).fit(X, y)  # the first use of a device tries it

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
    classifier("cuda", max_iter=1).fit(X, y)  # the first use of a device tries it

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
