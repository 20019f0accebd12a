# Longer than 500 lines: the tests of one source file stand in one file.
"""A stand-in for CuPy and its GPUs, made of NumPy: what costs is counted, what a careful library avoids is refused.

    with machine(devices=2) as gpu:         # `import cupy` now gives the stand-in, array_api_compat.cupy on top of it
        with gpu.counting() as seen:
            layer.forward(x)
        assert seen.to_host == 0

Names, signatures and error types are those of CuPy 14. It is stricter where CuPy lets slow or racing code pass:

- No array becomes a Python number or a list: `float(a)`, `if a`, `a.item()`, a loop over `a` are TypeErrors. Values
  come to the host by `a.get()`, `cupy.asnumpy(a)` and pickles alone, and are counted.
- NumPy arrays and lists are taken by `cupy.array` and `cupy.asarray` alone, and counted; NumPy's functions take none of
  these arrays.
- Work on an array is done while its device is the current one; views may be taken at any time.
- An array is not written while an overlapping part of it is read.
- Uninitialised memory holds NaN.

A launch is counted for each operation, however many kernels CuPy may need for it; views launch nothing.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import importlib.metadata
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from xlstm import backends

from .emulator.emulator import Emulated

VERSION = "14.2.0"


# ---------------------------------------------------------------- the machine


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it: a status of CUDA's, its name and its meaning."""

    def __init__(self, status: int) -> None:
        super().__init__(
            {
                35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
                101: "cudaErrorInvalidDevice: invalid device ordinal",
                500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
            }[status]
        )
        self.status = status


@dataclass
class Counts:
    """What was done on the GPUs."""

    launches: int = 0
    products: int = 0
    """Those of the launches that cuBLAS was asked for by address."""
    allocations: int = 0
    allocated_bytes: int = 0
    to_device: int = 0
    to_host: int = 0


class Machine:
    """The GPUs of a machine, and what was done on them."""

    def __init__(self, devices: int, driver: bool | int, launch_error: Exception | None) -> None:
        self.devices, self.driver, self.launch_error = devices, driver is True, launch_error
        self.driver_version = driver if type(driver) is int else 13000 * driver
        self.counts = Counts()
        self.current = 0  # the number of the current device
        self.schedule = 0  # the seed of the schedule of kernels; 0 for the plain one

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """The counts of what is done inside: to be read once it has ended."""
        before, seen = Counts(**vars(self.counts)), Counts()
        try:
            yield seen
        finally:
            for field in fields(Counts):
                setattr(seen, field.name, getattr(self.counts, field.name) - getattr(before, field.name))

    def check_driver(self) -> None:
        if not self.driver:
            raise CUDARuntimeError(35)

    def check_device(self, number: int) -> None:
        self.check_driver()
        if not 0 <= number < self.devices:
            raise CUDARuntimeError(101)

    def launch(self) -> None:
        self.check_device(self.current)
        if self.launch_error is not None:
            raise self.launch_error
        self.counts.launches += 1

    def allocate(self, host: Any) -> ndarray:
        """`host`, which nobody else may hold, as a new array on the current device."""
        self.check_device(self.current)
        self.counts.allocations += 1
        self.counts.allocated_bytes += host.nbytes
        return _array(_guarded(host), self.current)


GUARD = 256
"""The bytes before and after each array, which no kernel may write: NaN in floats, so that reading them is seen too."""


def _guarded(host: Any) -> Any:
    """A copy of a NumPy array in memory of its own between two guards."""
    memory = np.full(host.nbytes + 2 * GUARD, 0xFF, dtype=np.uint8)
    strides = np.empty_like(host, order="K").strides  # as CuPy keeps the order of the axes, without gaps
    inside = np.ndarray(host.shape, host.dtype, memory, GUARD, strides)
    inside[...] = host
    return inside


def _base(host: Any) -> Any:
    """The memory of an array with its guards."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def check_guards(array: ndarray) -> None:
    memory = _base(array._host)
    assert memory.dtype == np.uint8
    whole = (memory[:GUARD] == 0xFF).all() and (memory[-GUARD:] == 0xFF).all()
    assert whole, "a kernel wrote outside of an array"


_machine: Machine | None = None


def _gpu() -> Machine:
    assert _machine is not None, "an array of the stand-in for CuPy was used after its machine had gone"
    return _machine


class Device:
    """`cupy.cuda.Device`."""

    def __init__(self, device: Any = None) -> None:
        self.id = _gpu().current if device is None else int(device)
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None  # type: ignore[assignment]

    def __enter__(self) -> Device:
        self._before.append(_gpu().current)
        self.use()
        return self

    def __exit__(self, *exception: object) -> None:
        _gpu().current = self._before.pop()

    def use(self) -> None:
        _gpu().check_device(self.id)
        _gpu().current = self.id

    def synchronize(self) -> None:
        _gpu().check_device(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


# ---------------------------------------------------------------- arrays


class ndarray:
    """`cupy.ndarray`: a NumPy array that only this file may touch, and the number of the device it is said to be on."""

    __module__ = "cupy"
    __slots__ = ("_host", "_number")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        host = np.empty(shape, dtype)
        host.fill(np.nan if host.dtype.kind in "fc" else 1)
        new = _gpu().allocate(host)
        self._host, self._number = new._host, new._number

    # What the host knows without asking the device.
    device = property(lambda self: Device(self._number))
    dtype = property(lambda self: self._host.dtype)
    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data, device_id=self._number))
    T = property(lambda self: _array(self._host.T, self._number))
    mT = property(lambda self: _array(self._host.mT, self._number))

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"<cupy.ndarray {self.shape} {self.dtype} on cuda:{self._number}>"

    # ------------------------------------------------------------ to the host and from it

    def get(self, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
        _gpu().counts.to_host += 1
        if out is None:
            return np.array(self._host, order=order)  # type: ignore[call-overload]
        out[...] = self._host
        return out

    def set(self, values: Any, stream: Any = None) -> None:
        if not isinstance(values, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        self._check_device()
        _gpu().counts.to_device += 1
        self._host[...] = values

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self._number)  # 2: CUDA

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise BufferError("this array is on a GPU")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _run(ufunc, inputs, kwargs) if method == "__call__" else NotImplemented

    def __array_function__(self, function: Any, *rest: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was given a CuPy array: use the function of its own namespace.")

    # ------------------------------------------------------------ indexing

    def __getitem__(self, key: Any) -> ndarray:
        key, gathers = self._host_key(key)
        result = self._host[key]
        if not gathers:
            return _array(result, self._number)
        self._check_device()
        _gpu().launch()
        return _gpu().allocate(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        key, scatters = self._host_key(key)
        self._check_device()
        if isinstance(value, ndarray):
            value._check_device()
            value = value._host
            if not scatters:
                if _same_memory(self._host[key], value):
                    return  # what a[key] += b ends with
                _refuse_overlap(self._host[key], value)
        elif np.ndim(value) > 0:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        _gpu().launch()
        with np.errstate(all="ignore"):
            self._host[key] = value

    def _host_key(self, key: Any) -> tuple[tuple[Any, ...], bool]:
        """A key for the NumPy array that gives an array in any case, and whether it holds index arrays."""
        host_key: list[Any] = []
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, ndarray):
                part._check_device()
                if part.dtype.kind == "b":
                    _gpu().counts.to_host += 1  # CuPy reads how many elements are true
                host_key.append(part._host)
            elif part is None or part is Ellipsis or isinstance(part, slice):
                host_key.append(part)
            else:
                host_key.append(operator.index(part))
        if not any(part is Ellipsis for part in host_key):
            host_key.append(Ellipsis)
        return tuple(host_key), any(isinstance(part, np.ndarray) for part in host_key)

    def _check_device(self) -> None:
        if self._number != _gpu().current:
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {self._number} while current = {_gpu().current}"
            )

    # ------------------------------------------------------------ methods; those that are functions too stand below

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        result: ndarray = _run(lambda host: host.astype(dtype), (self,), {})
        return result

    def copy(self, order: str = "C") -> ndarray:
        result: ndarray = _run(lambda host: host.copy(order), (self,), {})
        return result

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_host, (self.get(),)

    def fill(self, value: Any) -> None:
        self[...] = value

    def view(self) -> ndarray:
        return _array(self._host.view(), self._number)

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        return _run(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {"order": order})

    def transpose(self, *axes: Any) -> Any:
        return _run(np.transpose, (self, axes[0] if len(axes) == 1 else axes or None), {})


def _array(host: Any, number: int) -> ndarray:
    array = ndarray.__new__(ndarray)
    array._host, array._number = host, number
    return array


def _same_memory(a: Any, b: Any) -> bool:
    return bool(a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype)


def _refuse_overlap(target: Any, source: Any) -> None:
    if not _same_memory(target, source) and np.may_share_memory(target, source) and np.shares_memory(target, source):
        raise ValueError("an array is written while an overlapping part of it is read: on a GPU these race")


# ---------------------------------------------------------------- operations


def _unwrap(value: Any, arrays: list[ndarray]) -> Any:
    """What NumPy is given for an argument; the arrays in it are collected."""
    if isinstance(value, ndarray):
        arrays.append(value)
        return value._host
    if isinstance(value, tuple) or (isinstance(value, list) and all(isinstance(item, ndarray) for item in value)):
        return tuple(_unwrap(item, arrays) for item in value)
    if isinstance(value, (list, np.ndarray)) or hasattr(value, "__dlpack__"):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _run(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of a NumPy function as arrays of the stand-in: a launch, or else a view."""
    arrays: list[ndarray] = []
    host_args = [_unwrap(value, arrays) for value in args]
    host_kwargs = {name: _unwrap(value, arrays) for name, value in kwargs.items() if name != "out"}
    out = kwargs.get("out")
    (out,) = out if isinstance(out, tuple) else (out,)
    if out is not None:
        if not isinstance(out, ndarray):
            raise TypeError(f"Unsupported type {type(out)}")
        for array in (*arrays, out):
            array._check_device()
            _refuse_overlap(out._host, array._host)
        _gpu().launch()
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            function(*host_args, **host_kwargs, out=out._host)
        return out
    with np.errstate(all="ignore"):
        result = function(*host_args, **host_kwargs)
    if isinstance(result, np.ndarray) and any(np.may_share_memory(result, array._host) for array in arrays):
        return _array(result, arrays[0]._number)
    for array in arrays:
        array._check_device()
    _gpu().launch()
    if isinstance(result, (tuple, list)):
        return type(result)(_gpu().allocate(np.array(item)) for item in result)
    return _gpu().allocate(np.array(result))


def _refuse(what: str) -> Callable[..., Any]:
    def refuse(self: ndarray, *args: object, **kwargs: object) -> Any:
        raise TypeError(f"{what}: implicit conversion to a NumPy array is not allowed. Use `.get()`.")

    return refuse


def _operator(ufunc: Any, reflected: bool = False, in_place: bool = False) -> Callable[..., Any]:
    def apply(self: ndarray, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        return _run(ufunc, operands, {"out": self} if in_place else {})

    return apply


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


class ufunc:
    """`cupy.ufunc`."""

    def __init__(self, function: Any) -> None:
        self._function, self.name = function, function.__name__

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        return _run(self._function, args, {"out": out, "dtype": dtype, "casting": casting})

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        arrays: list[ndarray] = []
        operands = [_unwrap(value, arrays) for value in (a, indices, b)]
        for array in arrays:
            array._check_device()
        _gpu().launch()
        self._function.at(*operands)


REFUSED = """
__array__ __float__ __int__ __bool__ __index__ __complex__ __iter__ __contains__ item tolist tobytes tofile dump dumps
"""

ARITHMETIC = """
add add, sub subtract, mul multiply, truediv true_divide, floordiv floor_divide, mod remainder, pow power, and
bitwise_and, or bitwise_or, xor bitwise_xor, lshift left_shift, rshift right_shift
"""

OTHER_OPERATORS = """
lt less, le less_equal, eq equal, ne not_equal, gt greater, ge greater_equal, neg negative, pos positive, abs absolute,
invert invert, matmul matmul
"""

UFUNCS = """
abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil conj
copysign cos cosh divide equal exp exp2 expm1 floor floor_divide fmax fmin greater greater_equal hypot invert isfinite
isinf isnan left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor
maximum minimum multiply negative not_equal positive power reciprocal remainder right_shift rint sign signbit sin sinh
sqrt square subtract tan tanh true_divide trunc
"""

# With the names of CuPy's parameters: it takes no `where=` and no `initial=`, and no `device=`, where NumPy does.
FUNCTIONS = """
all a axis out keepdims
any a axis out keepdims
argmax a axis dtype out keepdims
argmin a axis dtype out keepdims
argsort a axis kind
argwhere a
bincount x weights minlength
broadcast_to array shape
clip a a_min a_max out
concatenate tup axis out dtype casting
count_nonzero a axis
cumprod a axis dtype out
cumsum a axis dtype out
diagonal a offset axis1 axis2
diff a n axis prepend append
dot a b out
empty_like prototype dtype order subok shape
expand_dims a axis
flatnonzero a
flip a axis
full_like a fill_value dtype order subok shape
isin element test_elements assume_unique invert
matmul a b casting dtype order out
max a axis out keepdims
mean a axis dtype out keepdims
min a axis out keepdims
moveaxis a source destination
nan_to_num x copy nan posinf neginf
nonzero a
ones_like a dtype order subok shape
outer a b out
prod a axis dtype out keepdims
ravel a order
repeat a repeats axis
reshape a newshape order copy
roll a shift axis
round a decimals out
searchsorted a v side sorter
sort a axis kind
split ary indices_or_sections axis
squeeze a axis
stack tup axis out dtype casting
std a axis dtype out ddof keepdims
sum a axis dtype out keepdims
swapaxes a axis1 axis2
take a indices axis out
take_along_axis a indices axis
tensordot a b axes
tile A reps
trace a offset axis1 axis2 dtype out
transpose a axes
tril m k
triu m k
unique ar return_index return_inverse return_counts axis equal_nan
vdot a b
var a axis dtype out ddof keepdims
vstack tup dtype casting
where condition x y
zeros_like a dtype order subok shape
"""

METHODS = """
all any argmax argmin argsort clip cumprod cumsum diagonal dot max mean min nonzero prod ravel repeat round squeeze std
sum swapaxes take trace var
"""

READ_SIZES = ("argwhere", "flatnonzero", "nonzero", "unique")
"""Functions with a result whose size CuPy must first read from the device."""

SAME_AS_NUMPY = """
bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intp float16 float32 float64 complex64 complex128 dtype generic
number integer signedinteger unsignedinteger inexact floating complexfloating finfo iinfo pi e inf nan newaxis
issubdtype isdtype result_type promote_types can_cast broadcast_shapes
"""


def _function(name: str, parameters: list[str]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if len(args) > len(parameters) or not kwargs.keys() <= set(parameters):
            raise TypeError(f"cupy.{name} takes {', '.join(parameters)}; got {len(args)} arguments and {list(kwargs)}")
        if name in READ_SIZES:
            _gpu().counts.to_host += 1
        return _run(getattr(np, name), args, kwargs)

    return function


def _creation(function: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> ndarray:
        _gpu().launch()
        return _gpu().allocate(function(*args, **kwargs))

    return create


def _from_host(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", subok: bool = False) -> ndarray:
    """`cupy.array`: with `cupy.asarray`, the way to the device."""
    if isinstance(obj, ndarray):
        if copy or (dtype is not None and np.dtype(dtype) != obj.dtype):
            result: ndarray = _run(lambda host: np.array(host, dtype=dtype), (obj,), {})
            return result
        return obj
    host = np.array(obj, dtype=dtype)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    _gpu().counts.to_device += 1
    return _gpu().allocate(host)


NAMES: dict[str, Any] = {
    **{name: getattr(np, name) for name in SAME_AS_NUMPY.split()},
    **{name: ufunc(getattr(np, name)) for name in UFUNCS.split()},
    **{name: _function(name, parameters) for name, *parameters in map(str.split, FUNCTIONS.strip().splitlines())},
    "ndarray": ndarray,
    "ufunc": ufunc,
    "array": _from_host,
    "asarray": lambda a, dtype=None, order=None, *, copy=None: _from_host(a, dtype, bool(copy)),
    "asnumpy": lambda a, stream=None, order="C", out=None: (
        a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a)
    ),
    "empty": lambda shape, dtype=float, order="C": ndarray(shape, dtype),
    "zeros": _creation(lambda shape, dtype=float, order="C": np.zeros(shape, dtype)),
    "ones": _creation(lambda shape, dtype=float, order="C": np.ones(shape, dtype)),
    "full": _creation(lambda shape, fill_value, dtype=None, order="C": np.full(shape, fill_value, dtype)),
    "arange": _creation(lambda start, stop=None, step=1, dtype=None: np.arange(start, stop, step, dtype)),
    "linspace": _creation(
        lambda start, stop, num=50, endpoint=True, dtype=None: np.linspace(start, stop, num, endpoint, dtype=dtype)
    ),
    "eye": _creation(lambda N, M=None, k=0, dtype=float: np.eye(N, M, k, dtype)),
    "__version__": VERSION,
}

for _name in REFUSED.split():
    setattr(ndarray, _name, _refuse(_name))
for _name in METHODS.split():
    setattr(ndarray, _name, _method(NAMES[_name]))
for _name, _ufunc in (pair.split() for pair in f"{ARITHMETIC},{OTHER_OPERATORS}".split(",")):
    setattr(ndarray, f"__{_name}__", _operator(getattr(np, _ufunc)))
for _name, _ufunc in (pair.split() for pair in f"{ARITHMETIC},matmul matmul".split(",")):
    setattr(ndarray, f"__r{_name}__", _operator(getattr(np, _ufunc), reflected=True))
for _name, _ufunc in (pair.split() for pair in ARITHMETIC.split(",")):
    setattr(ndarray, f"__i{_name}__", _operator(getattr(np, _ufunc), in_place=True))


# ---------------------------------------------------------------- kernels, and products by address


def _address(value: Any) -> tuple[int, Any] | None:
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return (value._host.ctypes.data, value.dtype) if isinstance(value, ndarray) else None


class RawModule:
    """`cupy.RawModule`: its kernels run in the emulator, by name."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        if code is None or path is not None or backend != "nvrtc" or enable_cooperative_groups or jitify:
            raise NotImplementedError("the stand-in compiles plain sources alone")
        self._emulated = Emulated(code, options)

    def get_function(self, name: str) -> RawKernel:
        if name not in self._emulated.kernels:
            raise CUDARuntimeError(500)
        return RawKernel(self._emulated, name)


class RawKernel:
    """`cupy.RawKernel`."""

    def __init__(self, emulated: Emulated, name: str) -> None:
        self._emulated, self.name = emulated, name

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        if not all(isinstance(value, tuple) for value in (grid, block, args)) or shared_mem:
            raise TypeError("grid, block and args are tuples, and the kernels here have no dynamic shared memory")
        arrays = [argument for argument in args if isinstance(argument, ndarray)]
        for array in arrays:
            array._check_device()
        gpu = _gpu()
        gpu.launch()
        self._emulated.launch(self.name, grid, block, args, _address, gpu.schedule)
        for array in arrays:
            check_guards(array)


NAMES["RawModule"] = RawModule

CUBLAS = {
    "CUBLAS_OP_N": 0,
    "CUBLAS_OP_T": 1,
    "CUBLAS_COMPUTE_32F": 68,
    "CUBLAS_COMPUTE_32F_FAST_TF32": 77,
    "CUBLAS_COMPUTE_64F": 70,
    "CUBLAS_GEMM_DEFAULT": -1,
}
CUDA_TYPES = {0: np.float32, 1: np.float64}  # CUDA_R_32F, CUDA_R_64F


def _host_matrix(address: int, rows: int, columns: int, leading: int, dtype: Any) -> Any:
    """A matrix in the order of Fortran that stands at an address."""
    if leading < rows:
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE: a leading dimension is less than the rows")
    size = (leading * (columns - 1) + rows) * np.dtype(dtype).itemsize
    memory = np.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype)
    itemsize = memory.itemsize
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), (itemsize, itemsize * leading))


def _tf32(values: Any) -> Any:
    """Rounded to the 10 bits of a mantissa that TF32 reads."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)).view(np.float32)


def gemm_ex(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int, B: int,
    Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int,
) -> None:  # fmt: skip
    """`cupy.cuda.cublas.gemmEx`: C = alpha · op(A) · op(B) + beta · C, all in the order of Fortran, by addresses."""
    if handle != 1 + _gpu().current:
        raise RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")
    if not Atype == Btype == Ctype or (computeType == 70) != (Ctype == 1) or computeType not in (68, 77, 70):
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")
    dtype: Any = CUDA_TYPES[Ctype]
    scale_type: Any = ctypes.c_double if Ctype == 1 else ctypes.c_float
    a_scale, b_scale = (scale_type.from_address(address).value for address in (alpha, beta))
    _gpu().launch()
    _gpu().counts.products += 1
    a = _host_matrix(A, *((m, k) if transa == 0 else (k, m)), lda, dtype)
    b = _host_matrix(B, *((k, n) if transb == 0 else (n, k)), ldb, dtype)
    c = _host_matrix(C, m, n, ldc, dtype)
    a, b = (a if transa == 0 else a.T), (b if transb == 0 else b.T)
    if computeType == 77:
        a, b = _tf32(a), _tf32(b)
    with np.errstate(all="ignore"):
        product = dtype(a_scale) * (a @ b)
        c[...] = product if b_scale == 0 else product + dtype(b_scale) * c


# ---------------------------------------------------------------- the modules, and a machine that has them


def _modules(gpu: Machine) -> dict[str, ModuleType]:
    """`cupy` and its submodules, by name."""

    def device_count() -> int:
        gpu.check_driver()
        return gpu.devices

    def properties(number: int) -> dict[str, Any]:
        gpu.check_device(number)
        return {"name": b"Stand-in GPU", "totalGlobalMem": 8 * 2**30, "major": 9, "minor": 0}

    def synchronize() -> None:
        gpu.check_device(gpu.current)

    contents: dict[str, dict[str, Any]] = {
        "cupy": NAMES,
        "cupy.cuda": {
            "Device": Device,
            "Stream": SimpleNamespace(null=SimpleNamespace(synchronize=synchronize)),
            "is_available": lambda: gpu.driver and gpu.devices > 0,
            "get_current_stream": lambda: SimpleNamespace(ptr=0, synchronize=synchronize),
        },
        "cupy.cuda.runtime": {
            "CUDARuntimeError": CUDARuntimeError,
            "driverGetVersion": lambda: gpu.driver_version,
            "getDeviceCount": device_count,
            "runtimeGetVersion": lambda: 12090,
            "getDeviceProperties": properties,
            "getDevice": lambda: gpu.current,
            "deviceSynchronize": synchronize,
        },
        "cupy.cuda.device": {"Device": Device, "get_cublas_handle": lambda: 1 + gpu.current},
        "cupy.cuda.cublas": {**CUBLAS, "gemmEx": gemm_ex},
        "cupy.linalg": {"lstsq": None},  # array_api_compat asks for this name
        "cupy.fft": {},
    }
    modules = {name: ModuleType(name) for name in contents}
    for name, names in contents.items():
        vars(modules[name]).update(names)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(modules[parent], last, modules[name])
    return modules


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes `import cupy` find the stand-in, or fail as a broken installation does."""

    def __init__(self, modules: dict[str, ModuleType], error: Exception | None) -> None:
        self._modules, self._error = modules, error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._modules:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name in ("cupy", "cupy.cuda"))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        if self._error is not None:
            raise self._error


@contextmanager
def machine(
    devices: int = 1,
    *,
    driver: bool | int = True,
    import_error: Exception | None = None,
    launch_error: Exception | None = None,
    distributions: tuple[str, ...] = ("cupy-cuda12x",),
) -> Iterator[Machine]:
    """A machine with the stand-in for CuPy in place of whatever this one has; all is as before when it ends.

    Parameters
    ----------
    devices
        How many GPUs it has.
    driver
        False: every call of CUDA says that the driver is missing. A number is the version of one that is too old.
    import_error
        What `import cupy` raises.
    launch_error
        What an operation on a device raises, as where a library of CUDA is missing.
    distributions
        The installed distributions that bring CuPy. None of them: it is not installed.
    """
    global _machine
    gpu, previous = Machine(devices, driver, launch_error), _machine
    importer = _Importer(_modules(gpu), import_error)
    installed = [SimpleNamespace(name=name, metadata={"Name": name}) for name in ("numpy", *distributions)]
    with (
        _without_modules("cupy", "array_api_compat.cupy"),
        mock.patch.object(sys, "meta_path", [importer, *sys.meta_path]),
        mock.patch.object(importlib.metadata, "distributions", return_value=installed),
        mock.patch.dict(backends.cupy_arrays._backends, clear=True),
        mock.patch.object(backends.notices, "said", set()),
    ):
        if not distributions:
            sys.modules["cupy"] = None  # type: ignore[assignment]
        _machine = gpu
        try:
            yield gpu
        finally:
            _machine = previous


@contextmanager
def _without_modules(*names: str) -> Iterator[None]:
    """These modules and all below them as if never imported; those that were there are back at the end."""

    def take_away() -> dict[str, ModuleType]:
        inside = [name for name in sys.modules if name in names or name.startswith(tuple(f"{top}." for top in names))]
        taken = {name: sys.modules.pop(name) for name in inside}
        compat, helpers = sys.modules.get("array_api_compat"), sys.modules.get("array_api_compat.common._helpers")
        if compat is not None:
            vars(compat).pop("cupy", None)
        for value in vars(helpers).values() if helpers is not None else ():
            getattr(value, "cache_clear", lambda: None)()  # it remembers the namespace of each class of arrays
        return taken

    before = take_away()
    try:
        yield
    finally:
        take_away()
        sys.modules.update(before)
        if "array_api_compat.cupy" in before:
            sys.modules["array_api_compat"].cupy = before["array_api_compat.cupy"]  # type: ignore[attr-defined]
