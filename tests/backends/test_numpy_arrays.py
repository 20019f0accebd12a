"""The CPU's backend: what a namespace cannot answer, against plain loops."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import backends

numpy_arrays = backends.numpy_arrays
BACKEND = numpy_arrays.BACKEND


def test_it_is_the_cpu_and_numpy():
    assert (BACKEND.device, BACKEND.library, BACKEND.namespace) == ("cpu", "numpy", np)
    assert numpy_arrays.version() == f"numpy {np.__version__}"


def test_it_owns_numpy_arrays_alone():
    assert BACKEND.owns(np.zeros(2))
    assert BACKEND.owns(np.zeros((2, 2))[:, 0])
    for other in ([1.0], 1.0, np.float64(1), memoryview(b"a")):
        assert not BACKEND.owns(other)


def test_from_host_copies():
    host = np.arange(6, dtype="float32").reshape(2, 3)
    array = BACKEND.from_host(host)
    assert array.dtype == host.dtype
    np.testing.assert_array_equal(array, host)
    host[...] = 0
    assert array.any()
    np.testing.assert_array_equal(BACKEND.to_host(array), array)


def test_adopt_takes_the_array_itself():
    host = np.arange(6, dtype="float32")
    assert BACKEND.adopt(host) is host


def test_there_is_nothing_to_make_current_or_to_wait_for():
    with BACKEND.current():
        assert BACKEND.synchronize() is None


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.data())
def test_add_rows_is_a_loop_of_additions(data):
    V, G = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([1, 3]))
    ids = data.draw(st.lists(st.integers(0, V - 1), max_size=12))
    rng = np.random.default_rng(len(ids))
    target, rows = rng.standard_normal((V, G)), rng.standard_normal((len(ids), G))
    expected = target.copy()
    for k, row in zip(ids, rows, strict=True):
        expected[k] += row
    given_ids, given_rows = np.array(ids, dtype=np.int64), rows.copy()
    BACKEND.add_rows(target, given_ids, given_rows)
    np.testing.assert_allclose(target, expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(given_ids, ids)
    np.testing.assert_array_equal(given_rows, rows)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_add_rows_takes_ids_of_any_integer_type(dtype):
    target = np.zeros((3, 2), "float32")
    BACKEND.add_rows(target, np.array([2, 0, 2], dtype), np.ones((3, 2), "float32"))
    np.testing.assert_array_equal(target, [[1, 1], [0, 0], [2, 2]])
    assert target.dtype == np.float32


def test_add_rows_writes_into_a_view():
    table = np.zeros((4, 6))
    BACKEND.add_rows(table[1:, ::2], np.array([0, 2, 0]), np.ones((3, 3)))
    np.testing.assert_array_equal(table[1, ::2], 2)
    np.testing.assert_array_equal(table[3, ::2], 1)
    assert table.sum() == 9


def test_many_rows_of_one_id_lose_no_precision():
    rows = np.full((50_000, 2), 0.1, "float32")
    target = np.zeros((1, 2), "float32")
    BACKEND.add_rows(target, np.zeros(len(rows), np.int64), rows)
    exact = len(rows) * float(np.float32(0.1))
    assert np.abs(target / exact - 1).max() < 1e-5, "of the precision of a gradient in float32"


def test_the_processor_has_a_name(monkeypatch):
    assert numpy_arrays.processor().strip()

    def no_such_file(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_such_file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert numpy_arrays.processor() == "arm64"
