"""The emulator of GPUs itself: it computes what a kernel says, and sees what a GPU forbids or would leave to chance."""

import numpy as np
import pytest
from xlstm.backends.cuda import module

from ..standin import machine
from .emulator import COMPILER, Emulated, declared

pytestmark = pytest.mark.skipif(COMPILER is None, reason="the emulator needs g++ or clang++")

SOURCE = """
KERNEL void totals(const REAL* x, REAL* y, i64 n) {  // of each block's part
  SHARED(REAL, part, 256);
  i64 at = thread_of_all();
  part[thread_x()] = at < n ? x[at] : 0;
  for (i64 half = block_width() / 2; half > 0; half /= 2) {
    block_sync();
    if (thread_x() < half) part[thread_x()] += part[thread_x() + half];
  }
  if (thread_x() == 0) y[block_x()] = part[0];
}

KERNEL void no_barrier(const REAL* x, REAL* y, i64 n) {
  SHARED(REAL, part, 256);
  part[thread_x()] = x[thread_x()];
  if (n) block_sync();
  y[thread_x()] = part[block_width() - 1 - thread_x()];
}

KERNEL void one_barrier_too_few(REAL* y) {  // the second write may come before another thread has read
  SHARED(REAL, part, 256);
  part[thread_x()] = 1;
  block_sync();
  REAL other = part[(thread_x() + 1) % block_width()];
  part[thread_x()] = 2;
  block_sync();
  y[thread_x()] = other;
}

KERNEL void some_return(REAL* y, i64 n) {
  if (thread_x() >= n) return;
  block_sync();
  y[thread_x()] = 1;
}

KERNEL void reads_unwritten(REAL* y) {
  SHARED(REAL, part, 32);
  y[thread_x()] = part[thread_x()];
}

KERNEL void behind_shared(REAL* y) {
  SHARED(REAL, first, 8);
  SHARED(REAL, second, 8);
  second[thread_x()] = 5;
  block_sync();
  first[thread_x()] = 1;  // 9 threads
  block_sync();
  y[thread_x()] = second[thread_x() & 7];
}

KERNEL void much_shared(REAL* y) {
  SHARED(char, large, 48 * 1024);
  SHARED(char, more, 1);
  large[thread_x()] = more[0] = 1;
  y[0] = large[0];
}

KERNEL void all_shared(REAL* y) {
  SHARED(char, large, 48 * 1024);
  large[thread_x()] = 1;
  y[thread_x()] = large[thread_x()];
}

KERNEL void deep(REAL* y, i64 depth) {
  volatile char held[1024];
  for (i64 k = 0; k < 1024; k++) held[k] = char(k);
  if (depth > 0) deep(y, depth - 1);
  y[0] = held[5];
}

LONE_KERNEL void doubles(const REAL* x, REAL* y, i64 n, REAL by, int add) {
  i64 at = thread_of_all();
  if (at < n) y[at] = x ? x[at] * by + add : -1;
}

LONE_KERNEL void waits(REAL* y) { block_sync(); y[0] = 1; }

LONE_KERNEL void shares(REAL* y) { SHARED(REAL, part, 4); part[0] = y[0] = 1; }

LONE_KERNEL void neighbours(REAL* y, i64 n) {  // they share after all
  i64 at = thread_of_all();
  if (at + 1 < n) y[at] = y[at + 1];
}

KERNEL void numbers(i64* ids, i64 n) {
  i64 thread = thread_y() * block_width() + thread_x(), block = block_y() * grid_width() + block_x();
  i64 at = block * block_width() * 5 + thread;
  if (at < n) ids[at] = (((block_x() * 10 + block_y()) * 10 + thread_x()) * 10 + thread_y()) * 10 + grid_width();
}

KERNEL void turns(int* at, u32* order) { order[(*at)++] = u32(thread_x()); }

LONE_KERNEL void for_ever(REAL* y) { while (y[0] >= 0) y[0] += 1, y[0] -= 1; }

KERNEL void waits_for_ever(const REAL* flag, REAL* y) {
  while (flag[0] == 0) block_sync();
  y[0] = 1;
}
"""


@pytest.fixture(scope="module", params=["float32", "float64"])
def kernels(request):
    return request.param, Emulated(module.source("port.h") + SOURCE, module.options(request.param, ()))


def address(value):
    return (value.ctypes.data, value.dtype) if isinstance(value, np.ndarray) and value.ndim else None


@pytest.fixture
def launch(kernels):
    def run(name, grid, block, *arguments, seed=0):
        kernels[1].launch(name, grid, block, arguments, address, seed)

    run.dtype = kernels[0]
    run.emulated = kernels[1]
    return run


@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
@pytest.mark.parametrize("size", [1, 8, 256])
def test_blocks_compute_together(size, seed, launch):
    x = np.random.default_rng(0).integers(-9, 9, 300).astype(launch.dtype)
    blocks = -(-300 // size)
    y = np.full(blocks, np.nan, launch.dtype)
    launch("totals", (blocks,), (size,), x, y, 300, seed=seed)
    np.testing.assert_array_equal(y, np.pad(x, (0, blocks * size - 300)).reshape(blocks, size).sum(axis=1))


def test_threads_know_where_they_are(launch):
    ids = np.zeros(2 * 3 * 4 * 5, np.int64)
    launch("numbers", (2, 3), (4, 5), ids, ids.size)
    expected = [
        (((bx * 10 + by) * 10 + tx) * 10 + ty) * 10 + 2
        for by in range(3) for bx in range(2) for ty in range(5) for tx in range(4)
    ]  # fmt: skip
    np.testing.assert_array_equal(ids, expected)


def test_schedules_are_shuffled_and_the_same_for_a_seed(launch):
    def order(seed):
        at, order = np.zeros(1, np.int32), np.zeros(64, np.uint32)
        launch("turns", (1,), (64,), at, order, seed=seed)
        return order.tolist()

    assert order(0) == list(range(64))
    assert order(5) != order(0)
    assert order(5) == order(5)
    assert sorted(order(5)) == order(0)
    assert order(6) != order(5)


def test_a_missing_barrier_is_seen(launch):
    def reversed_(barrier, seed):
        x, y = np.arange(64).astype(launch.dtype), np.zeros(64, launch.dtype)
        launch("no_barrier", (1,), (64,), x, y, barrier, seed=seed)
        return np.array_equal(y, x[::-1])

    assert all(reversed_(1, seed) for seed in range(5))
    assert not any(reversed_(0, seed) for seed in range(5))


def test_a_barrier_too_few_is_seen_under_some_schedule(launch):
    wrong = 0
    for seed in range(8):
        y = np.zeros(32, launch.dtype)
        launch("one_barrier_too_few", (1,), (32,), y, seed=seed)
        wrong += (y != 1).any()
    assert wrong >= 7


def test_some_threads_may_not_return_while_others_wait(launch):
    y = np.zeros(8, launch.dtype)
    launch("some_return", (1,), (8,), y, 8)
    for seed in (0, 3):
        with pytest.raises(RuntimeError, match="some_return: some threads of a block wait for others that have retur"):
            launch("some_return", (1,), (8,), y, 5, seed=seed)
    launch("some_return", (1,), (8,), y, 8)  # and what was left waiting does no harm
    np.testing.assert_array_equal(y, 1)


def test_shared_memory_holds_nothing_at_first(launch):
    y = np.zeros(32, launch.dtype)
    launch("totals", (1,), (32,), np.ones(32, launch.dtype), np.zeros(1, launch.dtype), 32)
    launch("reads_unwritten", (3,), (32,), y)
    assert np.isnan(y).all()


def test_writing_behind_a_shared_array_is_seen(launch):
    y = np.zeros(9, launch.dtype)
    launch("behind_shared", (1,), (8,), y)
    np.testing.assert_array_equal(y[:8], 5)
    with pytest.raises(RuntimeError, match="a thread wrote behind the end of a shared array"):
        launch("behind_shared", (1,), (9,), y)


def test_there_is_so_much_memory_in_a_block(launch):
    y = np.zeros(1, launch.dtype)
    launch("all_shared", (1,), (1,), y)
    with pytest.raises(RuntimeError, match="more than 48 KB of shared memory"):
        launch("much_shared", (1,), (1,), y)
    launch("deep", (1,), (2,), y, 20)
    with pytest.raises(RuntimeError, match="more than 64 KB of local memory"):
        launch("deep", (1,), (1,), y, 62)


def test_lone_threads_neither_wait_nor_share(launch):
    y = np.zeros(1, launch.dtype)
    with pytest.raises(RuntimeError, match="waits: a LONE_KERNEL waited for its block"):
        launch("waits", (1,), (1,), y)
    with pytest.raises(RuntimeError, match="shares: a LONE_KERNEL asked for shared memory"):
        launch("shares", (1,), (1,), y)


def test_lone_threads_that_depend_on_each_other_are_seen(launch):
    results = set()
    for seed in (0, 2):
        y = np.arange(8).astype(launch.dtype)
        launch("neighbours", (1,), (8,), y, 8, seed=seed)
        results.add(tuple(y))
    assert len(results) == 2


def test_a_kernel_that_never_ends_ends_in_an_error(launch):
    y = np.zeros(1, launch.dtype)
    launch.emulated.seconds = 0.2
    try:
        with pytest.raises(RuntimeError, match="for_ever: it does not end"):
            launch("for_ever", (1,), (1,), y)
        with pytest.raises(RuntimeError, match="waits_for_ever: it does not end"):
            launch("waits_for_ever", (1,), (64,), y, y)
    finally:
        del launch.emulated.seconds
    launch("waits_for_ever", (2,), (64,), np.ones(1, launch.dtype), y)
    assert y[0] == 1


def test_many_launches_of_many_threads_are_quick(launch):
    """Stacks are made once: before, each block of a thousand threads wrote 64 MB."""
    x, y = np.ones(1024 * 200, launch.dtype), np.zeros(200, launch.dtype)
    launch.emulated.seconds = 10
    try:
        launch("no_barrier", (2000,), (256,), x, np.zeros(256, launch.dtype), 1)
        launch("totals", (800,), (256,), x, np.zeros(800, launch.dtype), x.size)
    finally:
        del launch.emulated.seconds
    assert y.size == 200


def test_small_numbers_are_flushed_in_float32_alone(launch):
    x, y = np.array([1e-30 if launch.dtype == "float32" else 1e-300], launch.dtype), np.ones(1, launch.dtype)
    launch("doubles", (1,), (1,), x, y, 1, x.dtype.type(1e-10), np.int32(0))
    assert y[0] == (0 if launch.dtype == "float32" else 1e-310)
    x = np.array([1e-40], launch.dtype)
    launch("doubles", (1,), (1,), x, y, 1, x.dtype.type(1e10), np.int32(0))
    assert (y[0] == 0) == (launch.dtype == "float32")
    assert np.float32(1e-30) * np.float32(1e-10) > 0, "the process is as it was"


# ---------------------------------------------------------------- arguments


def test_arguments_are_what_the_kernel_declares(launch):
    dtype, other = np.dtype(launch.dtype), np.dtype("float64" if launch.dtype == "float32" else "float32")
    x, y = np.arange(4).astype(dtype), np.zeros(4, dtype)
    launch("doubles", (1,), (4,), x, y, 4, dtype.type(3), np.int32(1))
    np.testing.assert_array_equal(y, x * 3 + 1)
    launch("doubles", (1,), (4,), None, y, np.int64(4), dtype.type(3), np.int32(1))
    np.testing.assert_array_equal(y, -1)
    good = (x, y, 4, dtype.type(3), np.int32(1))
    for place, wrong, message in (
        (0, x.astype(other), f"x holds {other}, the kernel expects {dtype}"),
        (0, np.arange(4), f"x holds int64, the kernel expects {dtype}"),
        (0, 0, "x is int, not an array"),
        (2, np.int32(4), "n is of int32, the kernel expects int64"),
        (2, 4.0, "n is of float64, the kernel expects int64"),
        (2, None, "n is NoneType, not a number"),
        (2, x, "n is ndarray, not a number"),
        (3, other.type(3), f"by is of {other}, the kernel expects {dtype}"),
        (3, 3, f"by is of int64, the kernel expects {dtype}"),
        (4, 1, "add is of int64, the kernel expects int32"),
        (4, True, "add is of bool, the kernel expects int32"),
    ):
        arguments = [*good[:place], wrong, *good[place + 1 :]]
        with pytest.raises(TypeError, match=f"doubles: the argument for {message}"):
            launch("doubles", (1,), (4,), *arguments)
    for count in (0, 4, 6):
        with pytest.raises(TypeError, match=f"doubles takes 5 arguments, got {count}"):
            launch("doubles", (1,), (4,), *(good * 2)[:count])


@pytest.mark.parametrize(
    ("grid", "block"),
    [((0,), (1,)), ((1,), (0,)), ((1,), (1025,)), ((1, 65536), (1,)), ((2**31,), (1,)), ((1,), (64, 32))],
)
def test_sizes_that_no_gpu_takes_are_refused(grid, block, launch):
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        launch("totals", grid, block, np.zeros(1, launch.dtype), np.zeros(1, launch.dtype), 1)


def test_declarations_are_read():
    source = "LONE_KERNEL void first(\n  const REAL* x,\n  i64 n, u32* bits, const int* k\n) {\n}\n"
    source += "KERNEL void next(REAL rate) {}"
    first, second = declared(source, "float")
    assert (first.name, first.lone, second.name, second.lone) == ("first", True, "next", False)
    assert [(p.name, p.kind, p.pointer, p.constant) for p in first.parameters] == [
        ("x", "float", True, True),
        ("n", "i64", False, False),
        ("bits", "u32", True, False),
        ("k", "int", True, True),
    ]
    for wrong in ("KERNEL void f(long n) {}", "KERNEL void f(REAL& n) {}", "KERNEL void f(short* n) {}"):
        with pytest.raises(AssertionError, match="is of no known"):
            declared(wrong, "float")


def test_what_does_not_compile_is_an_error():
    with pytest.raises(AssertionError, match="missing"):
        Emulated(module.source("port.h") + "KERNEL void f(REAL* y) { y[0] = missing; }", module.options("float32", ()))


# ---------------------------------------------------------------- on the stand-in

OUTSIDE = """
LONE_KERNEL void outside(const REAL* x, REAL* y, i64 at) { y[at] = x[0]; }
LONE_KERNEL void reads_outside(const REAL* x, REAL* y, i64 at) { y[0] = x[at]; }
"""


@pytest.mark.parametrize("at", [-1, 4, 5, 100, -128])
def test_what_is_outside_of_arrays_is_seen(at, monkeypatch):
    with machine():
        import cupy

        kernels = cupy.RawModule(code=module.source("port.h") + OUTSIDE, options=module.options("float32", ()))
        x, y = cupy.ones((4,), "float32"), cupy.zeros((4,), "float32")
        kernels.get_function("outside")((1,), (1,), (x, y, 3))
        np.testing.assert_array_equal(y.get(), [0, 0, 0, 1])
        with pytest.raises(AssertionError, match="a kernel wrote outside of an array"):
            kernels.get_function("outside")((1,), (1,), (x, y, at))
        y = cupy.zeros((4,), "float32")
        kernels.get_function("reads_outside")((1,), (1,), (x, y, at))
        assert np.isnan(y.get()[0])


def test_kernels_keep_the_order_of_streams():
    with machine() as gpu:
        import cupy

        kernels = cupy.RawModule(code=module.source("port.h") + SOURCE, options=module.options("float32", ()))
        x, y = cupy.ones((4,), "float32"), cupy.zeros((4,), "float32")
        arguments = (x, y, 4, np.float32(2), np.int32(0))
        with gpu.counting() as seen:
            kernels.get_function("doubles")((1,), (4,), arguments)
        assert (seen.launched, seen.allocations, seen.synchronizations) == ({"doubles": 1}, 0, 0)
        with pytest.raises(AssertionError, match="stream"), cupy.cuda.Stream(non_blocking=True):
            kernels.get_function("doubles")((1,), (4,), arguments)
        with pytest.raises(RuntimeError, match="named symbol not found"):
            kernels.get_function("missing")
        with pytest.raises(TypeError, match="Unsupported type"):
            kernels.get_function("doubles")((1,), (4,), (np.ones(4, np.float32), *arguments[1:]))
        with cupy.cuda.Device(0), pytest.raises(TypeError, match="tuples"):
            kernels.get_function("doubles")(1, 4, arguments)
