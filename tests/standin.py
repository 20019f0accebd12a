# Longer than 500 lines: the tests of one source file stand in one file.
"""A stand-in for CuPy and its GPUs, made of NumPy: what costs is counted, what a careful library avoids is refused.

    with machine(devices=2) as gpu:         # `import cupy` now gives the stand-in, array_api_compat.cupy on top of it
        with gpu.counting() as seen:
            layer.forward(x)
        assert seen.to_host == 0

Names, signatures and error types are those of CuPy 14. It is stricter where CuPy lets slow or racing code pass:

- No array becomes a Python number or a list of them: `float(a)`, `if a`, `a.item()`, `a.tolist()` are TypeErrors, and
  a loop over `a` gives arrays. Values come to the host by `a.get()`, `cupy.asnumpy(a)` and pickles alone, and are
  counted.
- NumPy arrays and lists are taken by `cupy.array` and `cupy.asarray`, and as indices, `a[rows]`: each is counted as an
  upload. NumPy's functions take none of these arrays.
- Work on an array is done while its device is the current one; views may be taken at any time.
- An array is not written while an overlapping part of it is read.
- Uninitialised memory holds NaN, and so does memory whose last array has gone.
- Work of two streams on one array, with nothing between that orders them, is an error (`Race`).

As CuPy does: float32 flushes subnormal numbers to zero; index arrays wrap; memory comes from a pool; `concatenate` and
`stack` launch once a piece. Else a launch is counted for each operation, however many kernels CuPy may need
for it (with a batch of one row it needs some more); views launch nothing.
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
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from xlstm.backends.cuda.cudnn import library

from xlstm import backends

from . import standin_machine
from .standin_kernels import CUBLAS, RawModule, gemm_ex
from .standin_machine import (
    Block,
    Counts,
    CUDADriverError,
    CUDARuntimeError,
    Event,
    Machine,
    MemoryPool,
    OutOfMemoryError,
    PinnedMemory,
    Race,
    Stream,
    alloc_pinned_memory,
    get_elapsed_time,
)
from .standin_machine import machine_now as _gpu

__all__ = ["CUDARuntimeError", "Counts", "Machine", "OutOfMemoryError", "Race", "machine", "ndarray"]

VERSION = "14.2.0"


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
        gpu = _gpu()
        gpu.check_device(self.id)
        gpu.host_waits(gpu.all_seen(self.id))

    @property
    def mem_info(self) -> tuple[int, int]:
        return _gpu().memory_info(self.id)

    @property
    def compute_capability(self) -> str:
        return "90"

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


# ---------------------------------------------------------------- arrays


class ndarray:
    """`cupy.ndarray`: a NumPy array that only this file may touch, and the number of the device it is said to be on."""

    __module__ = "cupy"
    __slots__ = ("_block", "_host", "_number")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in's arrays have memory of their own")
        new = _allocated(np.empty(shape, dtype, order), None)  # type: ignore[call-overload]
        self._host, self._number, self._block = new._host, new._number, new._block

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
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data, device_id=self._number, mem=self._block))
    T = property(lambda self: self._seen_as(self._host.T))
    mT = property(lambda self: self._seen_as(self._host.mT))

    def _seen_as(self, host: Any) -> ndarray:
        """A view of the same memory."""
        return _array(host, self._number, self._block)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"<cupy.ndarray {self.shape} {self.dtype} on cuda:{self._number}>"

    # ------------------------------------------------------------ to the host and from it

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        gpu = _gpu()
        stream = gpu.stream_of(self._number) if stream is None else stream
        if out is None:
            out = np.empty_like(self._host, order=order)  # type: ignore[call-overload]
        elif not isinstance(out, np.ndarray) or self.dtype != out.dtype:
            raise TypeError(f"{getattr(out, 'dtype', type(out))} array cannot be obtained from {self.dtype} array")
        elif self.shape != out.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        gpu.touch(stream, "a copy to the host", [self._block])
        gpu.fetched(self._host.nbytes)
        if blocking:
            out[...] = self._host
            stream.synchronize()
        else:
            gpu.will_fetch(out, np.array(self._host), stream)
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        gpu = _gpu()
        if stream is not None and stream.ptr and not gpu.is_pinned(arr):
            raise AssertionError("a copy from memory that is not pinned runs beside nothing")
        stream = gpu.stream_of(self._number) if stream is None else stream
        gpu.touch(stream, "a copy to the device", (), [self._block])
        self._host[...] = arr
        gpu.sent(arr, stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "data": (self._host.ctypes.data if self.size else 0, False),
            "strides": None if self.flags.c_contiguous else self.strides,
            "version": 3,
            "stream": _gpu().stream_of(self._number).ptr or 1,  # 1: the legacy default stream
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self._number)  # 2: CUDA

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        if stream is None:  # no consumer of the device: NumPy, which cannot read it
            raise BufferError("this array is on a GPU")
        return _Capsule(self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _run(ufunc, inputs, kwargs) if method == "__call__" else NotImplemented

    def __array_function__(self, function: Any, *rest: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was given a CuPy array: use the function of its own namespace.")

    # ------------------------------------------------------------ indexing

    def __getitem__(self, key: Any) -> ndarray:
        key, indices = self._host_key(key)
        if indices is None:
            return self._seen_as(self._host[key])
        self._check_device()
        gpu = _gpu()
        if any(index.dtype.kind == "b" for index in indices):
            gpu.reads_a_size()  # how many elements are true
        gpu.launch("getitem", [self._block, *(index._block for index in indices)])
        return _allocated(self._host[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key, indices = self._host_key(key)
        self._check_device()
        reads = [index._block for index in indices or ()]
        kind = None
        if isinstance(value, ndarray):
            value._check_device()
            reads.append(value._block)
            value = value._host
            if indices is None:
                target = self._host[key]
                if _same_memory(target, value):
                    return  # what a[key] += b ends with
                _refuse_overlap(target, value)
                same = target.shape == value.shape and target.strides == value.strides and target.dtype == value.dtype
                kind = "copies" if same and target.flags.c_contiguous else None
        elif np.ndim(value) > 0:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        _gpu().launch("memcpy" if kind else "setitem", reads, [self._block], kind=kind)
        with np.errstate(all="ignore"):
            self._host[key] = value

    def _host_key(self, key: Any) -> tuple[tuple[Any, ...], list[ndarray] | None]:
        """A key for the NumPy array that gives an array in any case, and the index arrays in it; None for a view.

        Indices of arrays that are out of range wrap, as CuPy's do. Those of the host are uploaded.
        """
        parts = tuple(
            _from_host(part, np.intp if len(part) == 0 else None) if isinstance(part, (list, np.ndarray)) else part
            for part in (key if isinstance(key, tuple) else (key,))
        )
        indices = [part for part in parts if isinstance(part, ndarray)]
        host_key: list[Any] = []
        axis, taken = 0, sum(_axes_of(part) for part in parts)
        for part in parts:
            if isinstance(part, ndarray):
                part._check_device()
                is_mask = part.dtype.kind == "b"
                host_key.append(part._host if is_mask else _wrapped(part._host, self.shape[axis]))
            elif part is None or part is Ellipsis or isinstance(part, slice):
                host_key.append(part)
            else:
                host_key.append(operator.index(part))
            axis += self.ndim - taken if part is Ellipsis else _axes_of(part)
        if not any(part is Ellipsis for part in host_key):
            host_key.append(Ellipsis)
        return tuple(host_key), indices or None

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
        kind = "copies" if self.flags.c_contiguous and np.dtype(dtype) == self.dtype else None
        result: ndarray = _run(lambda host: host.astype(dtype), (self,), {}, "astype", kind)
        return result

    def copy(self, order: str = "C") -> ndarray:
        kind = "copies" if self.flags.c_contiguous else None  # else a kernel
        result: ndarray = _run(lambda host: host.copy(order), (self,), {}, "copy", kind)
        return result

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_host, (self.get(),)

    def fill(self, value: Any) -> None:
        self[...] = value

    def view(self, dtype: Any = None) -> ndarray:
        return self._seen_as(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        return _run(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {"order": order})

    def transpose(self, *axes: Any) -> Any:
        return _run(np.transpose, (self, axes[0] if len(axes) == 1 else axes or None), {})


def _array(host: Any, number: int, block: Block) -> ndarray:
    array = ndarray.__new__(ndarray)
    array._host, array._number, array._block = host, number, block
    return array


_NOTHING: Any = object()


def _allocated(form: Any, values: Any = _NOTHING) -> ndarray:
    """A new array on the current device, like a NumPy array and with its values; None: with rubbish."""
    gpu = _gpu()
    gpu.check_device(gpu.current)
    gpu.counts.allocations += 1
    gpu.counts.allocated_bytes += form.nbytes
    block = Block(gpu, gpu.current, form.nbytes)
    # As CuPy keeps the order of the axes, without gaps.
    inside = np.ndarray(form.shape, form.dtype, block.bytes, 0, np.empty_like(form, order="K").strides)
    if values is not None:
        inside[...] = form if values is _NOTHING else values
        gpu.touch(gpu.stream_of(gpu.current), "the first values", (), [block])
    elif form.dtype.kind not in "fc":
        inside.fill(1)
    return _array(inside, gpu.current, block)


class _Capsule:
    """What `__dlpack__` gives: to be taken once."""

    def __init__(self, array: ndarray) -> None:
        self.array: ndarray | None = array


def _axes_of(part: Any) -> int:
    """How many axes of an array a part of a key is for."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, ndarray) and part.dtype.kind == "b" else 1


def _wrapped(indices: Any, size: int) -> Any:
    return indices % size if size else indices


def _same_memory(a: Any, b: Any) -> bool:
    if a is b:
        return True
    alike = a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype  # before addresses, which are slow
    return bool(alike and a.ctypes.data == b.ctypes.data)


def _refuse_overlap(target: Any, source: Any) -> None:
    if np.may_share_memory(target, source) and not _same_memory(target, source) and np.shares_memory(target, source):
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


SMALLEST = np.finfo(np.float32).tiny


def _flushed(host: Any) -> Any:
    """As CuPy's kernels read and write float32: subnormal numbers are zero (it compiles with -ftz=true)."""
    if isinstance(host, np.ndarray) and host.dtype.char == "f":
        subnormal = (np.abs(host) < SMALLEST) & (host != 0)
        if subnormal.any():
            return np.where(subnormal, np.copysign(np.float32(0), host), host)
    return host


REDUCTIONS = (np.sum, np.mean, np.prod, np.cumsum, np.cumprod, np.max, np.min, np.std, np.var, np.diff, np.clip)


def _run(
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    name: str = "",
    kind: str | None = None,
    count: int = 1,
) -> Any:
    """The result of a NumPy function as arrays of the stand-in: launches, or else a view.

    `name` is that of the launch, for which NumPy's is the default.
    """
    arrays: list[ndarray] = []
    host_args = [_unwrap(value, arrays) for value in args]
    host_kwargs = {key: _unwrap(value, arrays) for key, value in kwargs.items() if key != "out"}
    out = kwargs.get("out")
    (out,) = out if isinstance(out, tuple) else (out,)
    computes = function is not np.matmul and (isinstance(function, np.ufunc) or function in REDUCTIONS)
    if computes:  # cuBLAS flushes nothing, nor does what only moves numbers
        host_args = [_flushed(value) for value in host_args]
    name = name or function.__name__
    reads = [array._block for array in arrays]
    if out is not None:
        if not isinstance(out, ndarray):
            raise TypeError(f"Unsupported type {type(out)}")
        for array in (*arrays, out):
            array._check_device()
            _refuse_overlap(out._host, array._host)
        _gpu().launch(name, reads, [out._block], kind=kind, count=count)
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            function(*host_args, **host_kwargs, out=out._host)
        if computes and (flushed := _flushed(out._host)) is not out._host:
            out._host[...] = flushed
        return out
    with np.errstate(all="ignore"):
        result = function(*host_args, **host_kwargs)
    if isinstance(result, np.ndarray):
        for array in arrays:
            if np.may_share_memory(result, array._host):
                return array._seen_as(result)
    for array in arrays:
        array._check_device()
    _gpu().launch(name, reads, kind=kind, count=count)
    if isinstance(result, (tuple, list)):
        return type(result)(_allocated(np.asarray(item)) for item in result)
    result = np.asarray(result)
    return _allocated(_flushed(result) if computes else result)


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
        target, places, values = (_unwrap(value, arrays) for value in (a, indices, b))
        for array in arrays:
            array._check_device()
        _gpu().launch(f"{self.name}.at", [array._block for array in arrays], [a._block])
        places = places if isinstance(places, tuple) else (places,)
        places = tuple(
            _wrapped(place, target.shape[axis]) if isinstance(place, np.ndarray) else place
            for axis, place in enumerate(places)
        )
        self._function.at(target, places, *(() if values is None else (_flushed(values),)))
        target[...] = _flushed(target)


REFUSED = """
__array__ __float__ __int__ __bool__ __index__ __complex__ __contains__ item tolist tobytes tofile dump dumps
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
            _gpu().reads_a_size()
        if name in JOINED:
            return _joined(name, args, kwargs)
        if name == "take":
            kwargs = {**kwargs, "mode": "wrap"}
        if name == "take_along_axis":
            return _run(_take_along_axis, args, kwargs, name)
        return _run(getattr(np, name), args, kwargs)

    return function


JOINED = ("concatenate", "stack", "vstack")


def _joined(name: str, args: Any, kwargs: Any) -> Any:
    """Arrays put together: a launch each; one for all of nine and more, which need their addresses on the device."""
    pieces = list(args[0] if args else kwargs["tup"])
    arrays = [piece for piece in pieces if isinstance(piece, ndarray)]
    at_once = len(arrays) > 8 and len({piece.dtype for piece in arrays}) == 1
    at_once = at_once and sum(piece.nbytes for piece in arrays) < 2**21 * len(arrays)
    result = _run(getattr(np, name), args, kwargs, name, None, 1 if at_once else len(pieces))
    if at_once:
        same = len({piece.shape for piece in arrays}) == 1 and all(piece.flags.c_contiguous for piece in arrays)
        for count in (1,) if same else (1, 1, arrays[0].ndim):  # where they stand; sizes and strides
            _gpu().sent(np.zeros(count * len(arrays), np.int64), _gpu().stream_of(_gpu().current))
    return result


def _take_along_axis(a: Any, indices: Any, axis: Any = None) -> Any:
    return np.take_along_axis(a, indices % (a.size if axis is None else a.shape[axis]), axis)


def _creation(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> ndarray:
        _gpu().launch(name)
        return _allocated(function(*args, **kwargs))

    return create


def _imported(obj: Any) -> ndarray:
    """Another library's array on a device, as a view of the same memory."""
    gpu, interface = _gpu(), obj.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise ValueError("CuPy currently does not support masked arrays.")
    shape, dtype, strides = interface["shape"], np.dtype(interface["typestr"]), interface.get("strides")
    if interface.get("stream") is not None:
        gpu.stream_of(gpu.current).synchronize()  # CuPy waits for the stream that is named
    if 0 in shape:
        return _allocated(np.empty(shape, dtype), None)
    start = interface["data"][0]
    block = gpu.block_at(start)
    return _array(np.ndarray(shape, dtype, block.bytes, start - block.address, strides), block.number, block)


def _from_dlpack(array: Any, *, device: Any = None, copy: bool | None = None) -> ndarray:
    """`cupy.from_dlpack`: a view of the same memory; of the host's a copy."""
    if array.__dlpack_device__()[0] not in (2, 13):
        raise RuntimeError("CPU arrays cannot be directly imported to CuPy. Use `cupy.array(numpy.from_dlpack(...))`.")
    capsule = array.__dlpack__(stream=_gpu().stream_of(array.__dlpack_device__()[1]).ptr or 1)
    taken, capsule.array = capsule.array, None
    if taken is None:
        raise ValueError("A DLPack tensor object can only be consumed once")
    view = taken._seen_as(taken._host)
    return view.copy() if copy else view


def _from_host(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", subok: bool = False) -> ndarray:
    """`cupy.array`: with `cupy.asarray`, the way to the device."""
    if not isinstance(obj, ndarray) and hasattr(obj, "__cuda_array_interface__"):
        obj = _imported(obj)
    if isinstance(obj, ndarray):
        if copy or (dtype is not None and np.dtype(dtype) != obj.dtype):
            same = obj.flags.c_contiguous and dtype in (None, obj.dtype)
            result: ndarray = _run(
                lambda host: np.array(host, dtype=dtype), (obj,), {}, "array", "copies" if same else None
            )
            return result
        return obj
    host = np.array(obj, dtype=dtype)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    result = _allocated(host)
    _gpu().sent(obj if isinstance(obj, np.ndarray) else host, _gpu().stream_of(_gpu().current))
    return result


NAMES: dict[str, Any] = {
    **{name: getattr(np, name) for name in SAME_AS_NUMPY.split()},
    **{name: ufunc(getattr(np, name)) for name in UFUNCS.split()},
    **{name: _function(name, parameters) for name, *parameters in map(str.split, FUNCTIONS.strip().splitlines())},
    "ndarray": ndarray,
    "ufunc": ufunc,
    "array": _from_host,
    "asarray": lambda a, dtype=None, order=None, *, copy=None: _from_host(a, dtype, bool(copy)),
    "from_dlpack": _from_dlpack,
    "ascontiguousarray": lambda a, dtype=None: (
        a if a.flags.c_contiguous and dtype in (None, a.dtype) else a.astype(dtype or a.dtype).copy()
    ),
    "asnumpy": lambda a, stream=None, order="C", out=None, *, blocking=True: (
        a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)
    ),
    "empty": lambda shape, dtype=float, order="C": ndarray(shape, dtype),
    "zeros": _creation("zeros", lambda shape, dtype=float, order="C": np.zeros(shape, dtype)),
    "ones": _creation("ones", lambda shape, dtype=float, order="C": np.ones(shape, dtype)),
    "full": _creation("full", lambda shape, fill_value, dtype=None, order="C": np.full(shape, fill_value, dtype)),
    "arange": _creation("arange", lambda start, stop=None, step=1, dtype=None: np.arange(start, stop, step, dtype)),
    "linspace": _creation(
        "linspace",
        lambda start, stop, num=50, endpoint=True, dtype=None: np.linspace(start, stop, num, endpoint, dtype=dtype),
    ),
    "eye": _creation("eye", lambda N, M=None, k=0, dtype=float: np.eye(N, M, k, dtype)),
    "RawModule": RawModule,
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


# ---------------------------------------------------------------- the modules, and a machine that has them


def _modules(gpu: Machine) -> dict[str, ModuleType]:
    """`cupy` and its submodules, by name."""

    def device_count() -> int:
        gpu.check_driver()
        return gpu.devices

    def properties(number: int) -> dict[str, Any]:
        gpu.check_device(number)
        return {"name": b"Stand-in GPU", "totalGlobalMem": gpu.memory, "major": 9, "minor": 0}

    def set_device(number: int) -> None:
        gpu.check_device(number)
        gpu.current = number

    def memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
        """To (1) and from (2) a device, and on it (3)."""
        if kind not in (1, 2, 3):
            raise CUDARuntimeError(1)
        on = next((each for each in gpu.clocks.values() if each.ptr == stream), gpu.null_stream(gpu.current))
        read = [gpu.block_at(src, size)] if kind != 1 else []
        written = [gpu.block_at(dst, size)] if kind != 2 else []
        gpu.touch(on, "memcpyAsync", read, written)
        source, target = (np.frombuffer((ctypes.c_char * size).from_address(at), dtype=np.uint8) for at in (src, dst))
        if kind == 2:
            gpu.fetched(size)
            gpu.will_fetch(target, source.copy(), on)
            return
        if kind == 3:
            gpu.launch("memcpy", kind="copies")
        target[...] = source
        if kind == 1:
            gpu.sent(source, on)

    pool = MemoryPool(gpu)
    default_stream = type("Stream", (Stream,), {"null": Stream.default(gpu, 0, anywhere=True)})
    contents: dict[str, dict[str, Any]] = {
        "cupy": {**NAMES, "get_default_memory_pool": lambda: pool},
        "cupy.cuda": {
            "Device": Device,
            "Stream": default_stream,
            "Event": Event,
            "MemoryPool": MemoryPool,
            "PinnedMemoryPointer": PinnedMemory,
            "alloc_pinned_memory": alloc_pinned_memory,
            "get_elapsed_time": get_elapsed_time,
            "is_available": lambda: gpu.driver and gpu.devices > 0,
            "get_current_stream": lambda device_id=-1: gpu.stream_of(gpu.current if device_id < 0 else device_id),
        },
        "cupy.cuda.runtime": {
            "CUDARuntimeError": CUDARuntimeError,
            "driverGetVersion": lambda: 12080 * gpu.driver,
            "getDeviceCount": device_count,
            "runtimeGetVersion": lambda: 12090,
            "getDeviceProperties": properties,
            "getDevice": lambda: gpu.current,
            "setDevice": set_device,
            "deviceSynchronize": lambda: Device().synchronize(),
            "streamSynchronize": lambda stream: gpu.stream_of(gpu.current).synchronize(),
            "memGetInfo": lambda: gpu.memory_info(gpu.current),
            "memcpyAsync": memcpy_async,
            "memcpyHostToDevice": 1,
            "memcpyDeviceToHost": 2,
            "memcpyDeviceToDevice": 3,
        },
        "cupy.cuda.driver": {"CUDADriverError": CUDADriverError},
        "cupy.cuda.memory": {"OutOfMemoryError": OutOfMemoryError, "MemoryPool": MemoryPool},
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


ATTRIBUTES = ("cupy.cuda.cublas", "cupy.cuda.driver")
"""Modules that are found as attributes alone: `import cupy.cuda.cublas` fails with the real CuPy too."""


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes `import cupy` find the stand-in, or fail as a broken installation does."""

    def __init__(self, modules: dict[str, ModuleType], error: Exception | None) -> None:
        self._modules, self._error = modules, error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._modules or name in ATTRIBUTES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name in ("cupy", "cupy.cuda"))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        if self._error is not None:
            raise self._error


_load_cudnn = library.load


def _no_cudnn(cupy: Any) -> Any:
    """In place of `library.load`, unless a test brings its own: a real cuDNN would take our arrays for a GPU's."""
    raise RuntimeError("cuDNN is not installed.")


@contextmanager
def machine(
    devices: int = 1,
    *,
    driver: bool = True,
    import_error: Exception | None = None,
    launch_error: Exception | None = None,
    memory: int = 8 * 2**30,
    distributions: tuple[str, ...] = ("cupy-cuda12x",),
) -> Iterator[Machine]:
    """A machine with the stand-in for CuPy in place of whatever this one has; all is as before when it ends.

    Parameters
    ----------
    devices
        How many GPUs it has.
    driver
        False: every call of CUDA says that the driver is missing.
    import_error
        What `import cupy` raises.
    launch_error
        What an operation on a device raises, as where a library of CUDA is missing.
    memory
        The bytes of each device.
    distributions
        The installed distributions that bring CuPy. None of them: it is not installed.
    """
    gpu = Machine(devices, driver, launch_error, memory)
    importer = _Importer(_modules(gpu), import_error)
    installed = [SimpleNamespace(name=name, metadata={"Name": name}) for name in ("numpy", *distributions)]
    with (
        _without_modules("cupy", "cupyx", "array_api_compat.cupy"),
        mock.patch.object(sys, "meta_path", [importer, *sys.meta_path]),
        mock.patch.object(importlib.metadata, "distributions", return_value=installed),
        mock.patch.dict(backends.cupy_arrays._backends, clear=True),
        mock.patch.object(backends.notices, "said", {}),
        mock.patch.object(library, "load", _no_cudnn if library.load is _load_cudnn else library.load),
    ):
        if not distributions:
            sys.modules["cupy"] = None  # type: ignore[assignment]
        standin_machine.machines.append(gpu)
        try:
            yield gpu
        finally:
            standin_machine.machines.remove(gpu)


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
