"""Rows of tables on a GPU: sums of the rows of one id, blocks of ragged sequences, masks from bits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlstm.backends.cuda import rows as module

import xlstm
from xlstm import backends

from .. import standin_kernels
from ..gpu import Gpu, classifier, gpu_or_standin, labelled
from ..measure import FORWARD, relative_error
from ..standin import machine


def summed(device: Gpu, target: Any, ids: Any, rows: Any, seed: int = 0) -> Any:
    """`target` with the rows added on the device."""
    on_device = device.asarray(target)
    device.shuffle(seed)
    backends.select(device.name).add_rows(on_device, device.asarray(ids), device.asarray(rows))
    device.shuffle(0)
    return device.get(on_device)


def problem(V: int, K: int, G: int, dtype: str, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng([seed, V, K, G])
    return rng.normal(size=(V, G)).astype(dtype), rng.integers(0, V, K), rng.normal(size=(K, G)).astype(dtype)


def truth(target: Any, ids: Any, rows: Any) -> Any:
    expected = target.astype(np.float64)
    np.add.at(expected, ids, rows.astype(np.float64))
    return expected


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize(
    ("V", "K", "G"), [(1, 1, 1), (5, 200, 3), (40, 129, 33), (200, 7, 64), (3, 128, 31), (3, 1000, 5)]
)
def test_the_rows_of_an_id_are_summed(dtype, V, K, G, device: Gpu):
    given = problem(V, K, G, dtype)
    assert relative_error(summed(device, *given), truth(*given)) < FORWARD[dtype]


@pytest.mark.parametrize("V", [8, 9, 15, 16, 17, 80])
def test_a_large_table_is_sorted_for_in_two_passes(V, device: Gpu, monkeypatch):
    monkeypatch.setattr(module, "DIRECT", 4)
    given = problem(V, 150, 5, "float64")
    target, ids, rows = map(device.asarray, given)
    with device.launches(3):
        backends.select(device.name).add_rows(target, ids, rows)
    assert relative_error(device.get(target), truth(*given)) < FORWARD["float64"]
    np.testing.assert_array_equal(summed(device, *given, seed=5), device.get(target))


@settings(max_examples=40, deadline=None)
@given(V=st.integers(1, 30), K=st.integers(1, 300), G=st.integers(1, 40), seed=st.integers(1, 2**16))
def test_any_sizes_in_any_order_of_blocks(V, K, G, seed):
    """The same bits each time, although nobody says in which order blocks run."""
    given = problem(V, K, G, "float32", seed)
    with gpu_or_standin("cuda") as device:
        once, again = (summed(device, *given, seed=schedule) for schedule in (0, seed))
    np.testing.assert_array_equal(once, again)
    assert relative_error(once, truth(*given), floor=(1 + K / V) ** 0.5) < FORWARD["float32"]  # some cancel


@pytest.mark.parametrize("direct", [True, False])
def test_ids_that_are_no_rows_add_nothing(device: Gpu, direct, monkeypatch):
    """The stand-in has guards around each array, which nothing may write."""
    monkeypatch.setattr(module, "DIRECT", 100 if direct else 1)
    target, ids, rows = problem(6, 60, 4, "float64")
    outside = np.array([-1, 6, 7, 10**12, -(10**12)])
    ids[::12] = outside
    kept = (ids >= 0) & (ids < 6)
    assert relative_error(summed(device, target, ids, rows), truth(target, ids[kept], rows[kept])) < 1e-14
    nobody = np.full(60, -1)
    np.testing.assert_array_equal(summed(device, target, nobody, rows), target)


def test_a_table_that_is_far_larger_than_the_ids_needs_few_blocks(monkeypatch):
    """One for each place of the sorted ids, not one for each row of a vocabulary."""
    grids = {}
    own = standin_kernels.RawKernel.__call__

    def launch(kernel, grid, block, args, **options):
        grids[kernel.name] = grid
        return own(kernel, grid, block, args, **options)

    monkeypatch.setattr(standin_kernels.RawKernel, "__call__", launch)
    target, ids, rows = problem(5000, 9, 40, "float64")
    ids[:] = [4, 4999, 4, -1, 0, 4999, 5000, 4, 77]
    kept = (ids >= 0) & (ids < 5000)
    with machine() as gpu:
        found = summed(Gpu("cuda", gpu), target, ids, rows)
    assert relative_error(found, truth(target, ids[kept], rows[kept])) < 1e-14
    assert grids["add_sorted"] == (9 * 2,)


def test_only_the_rows_of_the_ids_are_touched(device: Gpu):
    """NaN elsewhere stays there."""
    target, rows = np.full((4, 3), np.nan), np.ones((3, 3))
    target[2] = 1
    got = summed(device, target, np.array([2, 2, 2]), rows)
    np.testing.assert_array_equal(got[2], 4)
    assert np.isnan(got[[0, 1, 3]]).all()


@pytest.mark.parametrize("ids", ["int32", "uint8", "int64"])
def test_views_and_types_of_ids(ids, device: Gpu):
    _, numbers, rows = problem(5, 20, 6, "float64")
    table, wide = device.asarray(np.zeros((5, 12))), device.asarray(np.repeat(rows, 2, axis=1))
    numbers = numbers.astype(ids)
    backends.select(device.name).add_rows(table[:, ::2], device.asarray(numbers), wide[:, ::2])
    got = device.get(table)
    np.testing.assert_array_equal(got[:, 1::2], 0)
    assert relative_error(got[:, ::2], truth(np.zeros((5, 6)), numbers, rows)) < 1e-14


def test_nothing_to_add(device: Gpu):
    target = np.ones((3, 2))
    np.testing.assert_array_equal(summed(device, target, np.zeros(0, np.int64), np.zeros((0, 2))), target)


def test_wrong_rows_are_refused(device: Gpu):
    backend, asarray = backends.select(device.name), device.asarray
    with pytest.raises(ValueError, match=r"rows must be \(3, 2\)"):
        backend.add_rows(asarray(np.ones((4, 2))), asarray(np.zeros(3, np.int64)), asarray(np.ones((3, 1))))
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        backend.add_rows(asarray(np.ones((4, 2), np.int64)), asarray(np.zeros(3, np.int64)), asarray(np.ones((3, 2))))


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_a_training_on_tokens_has_the_same_bits_each_time(kernels, device: Gpu):
    """The gradient of the embedding is a sum over all steps; blocks run in another order each time."""
    X, y = labelled("texts")
    parameters = []
    for seed in (0, 3, 12345):
        device.shuffle(seed)
        clf = classifier(device.name, embedding_size=4, max_iter=2, dtype="float32", kernels=kernels).fit(X, y)
        parameters.append(device.get(clf.fitted_state().model.parameters.flat))
    for other in parameters[1:]:
        np.testing.assert_array_equal(other, parameters[0])


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
@pytest.mark.parametrize("width", [None, 1, 3])
def test_blocks_of_ragged_sequences(kind, width, device: Gpu):
    rng = np.random.default_rng(3)
    lengths = np.array([4, 1, 7, 3])
    starts = np.array([11, 0, 4, 1])  # in any order, and one sequence twice in part
    steps = (100 * rng.normal(size=(18,) if width is None else (18, width))).astype(kind)
    expected = np.zeros((4, 7, *steps.shape[1:]), kind)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        expected[row, :length] = steps[start : start + length]
    backend = backends.select(device.name)
    arguments = [device.asarray(array) for array in (steps, starts, lengths)]
    with backend.current(), device.launches(1):
        block = backend.gather(*arguments, 7)
    np.testing.assert_array_equal(device.get(block), expected)
    assert block.dtype == kind


def test_a_block_of_a_view(device: Gpu):
    steps = np.arange(40.0).reshape(10, 4)
    backend, asarray = backends.select(device.name), device.asarray
    with backend.current():
        block = backend.gather(asarray(steps)[:, ::2], asarray(np.array([2])), asarray(np.array([3])), 3)
    np.testing.assert_array_equal(device.get(block)[0], steps[2:5, ::2])


# ---------------------------------------------------------------- masks


@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=3), seed=st.integers(0, 99)
)
def test_masks_are_those_of_the_host(shapes, seed):
    rng = np.random.default_rng(seed)
    kept = [rng.random(shape) < 0.6 for shape in shapes]
    expected = backends.select("cpu").masks(kept, 1.25, "float32")
    with gpu_or_standin("cuda") as device:
        got = [device.get(mask) for mask in backends.select(device.name).masks(kept, 1.25, "float32")]
    for mask, there, true in zip(got, expected, kept, strict=True):
        np.testing.assert_array_equal(mask, there)
        np.testing.assert_array_equal(mask, np.where(true, np.float32(1.25), 0))
        assert mask.dtype == there.dtype == "float32"


@pytest.fixture
def gpu():
    with machine() as gpu:
        yield gpu


def test_a_mask_takes_a_bit_of_each_number(gpu):
    """All of a pass travel at once."""
    layer = xlstm.LSTM(3, 8, num_layers=3, dropout=0.5, device="cuda", seed=0)
    x = backends.select("cuda").from_host(np.zeros((4, 10, 3), "float32"))
    layer.forward(x)
    with gpu.counting() as seen:
        layer.forward(x)
    assert seen.to_device == 1
    tape = layer.forward(x)[2]
    host = xlstm.LSTM(3, 8, num_layers=3, dropout=0.5, device="cpu", seed=0)
    for _ in range(3):
        expected = host.forward(np.zeros((4, 10, 3), "float32"))[2]
    for mask, there in zip(tape.dropout_masks, expected.dropout_masks, strict=True):
        np.testing.assert_array_equal(backends.select("cuda").to_host(mask), there)


@pytest.mark.parametrize("shape", [(1, 1), (3, 32), (5, 13)])
def test_numbers_are_put_where_a_bit_is_set(shape, device: Gpu):
    rng = np.random.default_rng(4)
    ids, where = rng.integers(0, 9, shape), rng.random(shape) < 0.4
    on_device = device.asarray(ids)
    with device.launches(1):
        backends.select(device.name).put(on_device, where, -7)
    np.testing.assert_array_equal(device.get(on_device), np.where(where, -7, ids))
    with pytest.raises(ValueError, match="ids must be contiguous, int64"):
        backends.select(device.name).put(on_device, where[:, :0], 1)
