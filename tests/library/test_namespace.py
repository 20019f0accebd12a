"""Which library an array belongs to, and the sigmoid."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

from xlstm.namespace import array_namespace, library, sigmoid

from ..conftest import Library
from ..peers import peer
from ..standin import machine


def test_the_library_of_each_supported_array(xp):
    array = xp.asarray([1.0, 2.0])
    expected = {"numpy": "numpy", "strict": "array_api_strict", "torch": "torch"}[xp.name.partition("-")[0]]
    assert library(array) == expected
    namespace = array_namespace(array, None, array)
    assert xp.to_host(namespace.exp(array * 0)).tolist() == [1, 1]
    assert type(namespace.zeros((2,))) is type(array)


def test_numpy_is_its_own_namespace():
    assert array_namespace(np.zeros(1), None) is np


class Subclass(np.ndarray):
    """An array of a user's own, with nothing special."""


def test_subclasses_belong_to_their_library(tmp_path):
    assert library(np.zeros(2).view(Subclass)) == "numpy"
    assert library(np.memmap(tmp_path / "a", dtype="float32", mode="w+", shape=(2,))) == "numpy"
    torch = peer("torch")
    assert library(torch.nn.Parameter(torch.zeros(2))) == "torch"
    assert library(torch.zeros(2, requires_grad=True)) == "torch"


def foreign(module: str, name: str = "Array") -> object:
    return type(name, (), {"__module__": module})()


@pytest.mark.parametrize("module", ["jax", "jaxlib._jax", "tensorflow.python.framework.ops", "mlx.core"])
def test_immutable_arrays_are_refused_by_name(module):
    with pytest.raises(
        TypeError, match=rf"^{module}\.Array: arrays of this library are immutable.*supported are NumPy"
    ):
        library(foreign(module))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_other_things_are_refused_by_name():
    for thing, name in [
        (np.matrix([[1.0]]), "matrix"),
        (np.ma.masked_array([1.0]), "MaskedArray"),
        (np.float64(1.0), "float64"),
        (np.ma.masked, "MaskedConstant"),
        (np.dtype("float32"), "DType"),
        (foreign("numpydantic"), "numpydantic.Array"),
        (foreign("dask.array.core"), "dask.array.core.Array"),
        ([1.0], "builtins.list"),
        (1.0, "builtins.float"),
        ("text", "builtins.str"),
        (None, "NoneType"),
    ]:
        with pytest.raises(TypeError, match=rf"{name} is not an array of a supported library: NumPy, CuPy, PyTorch"):
            library(thing)


def test_arrays_of_two_libraries_are_refused():
    strict, torch = peer("array_api_strict"), peer("torch")
    with pytest.raises(TypeError, match="one library, got NumPy and array-api-strict"):
        array_namespace(np.zeros(1), strict.zeros(1))
    with pytest.raises(TypeError, match="one library, got NumPy and PyTorch"):
        array_namespace(torch.zeros(1), None, np.zeros(1))
    with pytest.raises(TypeError, match="got none"):
        array_namespace(None)


def test_arrays_of_another_gpu_than_the_current_one_are_refused():
    """CuPy would compute on the current one, whatever its arrays are on; views compute nothing."""
    with machine(devices=2):
        import cupy

        here = cupy.zeros(2)
        with cupy.cuda.Device(1):
            there = cupy.zeros(2)
            assert array_namespace(there, None) is array_namespace(there, there)
        for arrays in ((there,), (there, here), (here, there), (None, there)):
            with pytest.raises(ValueError, match=r"device cuda:1, .*current device is cuda:0.*cupy.cuda.Device\(1\)"):
                array_namespace(*arrays)
            assert array_namespace(*arrays, anywhere=True) is array_namespace(here)
        with cupy.cuda.Device(1), pytest.raises(ValueError, match=r"device cuda:0, .*current device is cuda:1"):
            array_namespace(here)


def test_numpy_alone_imports_no_compatibility_layer():
    """It costs more than NumPy itself."""
    code = (
        "import sys, numpy as np; from xlstm import cells; from xlstm.cells import lstm;"
        "p = {'weight_ih': np.zeros((4, 1)), 'weight_hh': np.zeros((4, 1)), 'bias': np.zeros(4)};"
        "_, _, tape = lstm.forward(p, np.zeros((1, 2, 1)), lengths=[1]); lstm.backward(p, tape);"
        "print(sorted({'array_api_compat', 'cupy', 'torch', 'array_api_strict'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def true_sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > -700 else math.exp(z)


def test_sigmoid_keeps_its_relative_accuracy_where_it_is_nearly_zero(xp, dtype):
    lowest = -86.0 if dtype == "float32" else -700.0
    z = np.concatenate([np.linspace(lowest, 40, 1001), [-1e-8, 0, 1e-8]]).astype(dtype)
    array = xp.asarray(z)
    result = sigmoid(array_namespace(array), array)
    assert result.dtype == array.dtype
    assert result.device == array.device
    expected = np.array([true_sigmoid(value) for value in z.astype(float)])
    error = np.abs(xp.to_host(result) / expected - 1).max()
    assert error < 4 * np.finfo(dtype).eps  # exp of the library itself is within two units of the last place
    np.testing.assert_array_equal(xp.to_host(array), z)


def test_sigmoid_at_the_ends_of_the_number_range(xp, dtype):
    ends = np.array([-np.inf, -1e30, -1000, -90, 1000, 1e30, np.inf, np.nan, 0], dtype)
    array = xp.asarray(ends)
    with warnings.catch_warnings(), np.errstate(over="raise", divide="raise", invalid="raise"):
        warnings.simplefilter("error")
        result = xp.to_host(sigmoid(array_namespace(array), array))
    tiny = float(np.finfo(dtype).tiny)
    assert (result[:3] >= 0).all()
    assert (result[:3] <= tiny).all()
    assert 0 <= result[3] <= 1e-38
    # Nothing smaller than one over the largest number has a reciprocal; a library may flush it to zero.
    smallest = result[:3] if dtype == "float64" else result[:4]
    assert (smallest <= 1.02 / np.finfo(dtype).max).all()
    np.testing.assert_array_equal(result[4:], [1, 1, 1, np.nan, 0.5])


def test_sigmoid_takes_any_shape():
    for shape in ((), (0,), (2, 0), (1, 2, 3)):
        z = Library("numpy").asarray(np.zeros(shape))
        result = sigmoid(np, z)
        assert result.shape == shape
        assert (result == 0.5).all()
