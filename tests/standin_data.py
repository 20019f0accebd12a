"""The part of the stand-in for CuPy that data needs: arrays of others, free memory, streams that run late.

`extend` puts it into the modules of a machine; what they have already stays.

The null stream runs at once. What another stream is asked for waits until the host or the null stream waits for an
event recorded after it: so memory that is changed or read too soon holds the wrong values, as it may on a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from . import standin

Work = Callable[[], None]


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._stream: Stream | None = None

    def record(self, stream: Any = None) -> None:
        (stream or Stream.null).record(self)

    def synchronize(self) -> None:
        if self._stream is not None:
            self._stream.run_up_to(self)


class Stream:
    """`cupy.cuda.Stream`."""

    null: Any = None

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self._waiting: list[Work | Event] | None = None if null else []
        self.ptr = 0 if null else id(self)
        if not null and not non_blocking:
            raise NotImplementedError("a stream that waits for the null stream gains nothing")

    def ask(self, work: Work) -> None:
        """Run it in the order of the stream."""
        if self._waiting is None:
            work()
        else:
            self._waiting.append(work)

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event._stream = self
        if self._waiting is not None:
            self._waiting = [each for each in self._waiting if each is not event]
            self._waiting.append(event)
        return event

    def run_up_to(self, event: Event) -> None:
        while self._waiting and event in self._waiting:
            first = self._waiting.pop(0)
            if not isinstance(first, Event):
                first()

    def wait_event(self, event: Event) -> None:
        self.ask(event.synchronize)

    def synchronize(self) -> None:
        while self._waiting:
            first = self._waiting.pop(0)
            if not isinstance(first, Event):
                first()


Stream.null = Stream(null=True)


class PinnedMemory(bytearray):
    """`cupy.cuda.PinnedMemoryPointer`."""


def set_late(array: Any, values: Any, stream: Any = None) -> None:
    """`ndarray.set`: from host memory that may change before its turn comes."""
    if not isinstance(values, np.ndarray):
        raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
    array._check_device()
    if stream is not None and not isinstance(_memory_of(values), PinnedMemory):
        raise AssertionError("a copy from memory that is not pinned runs beside nothing")
    standin._gpu().counts.to_device += 1
    standin._gpu().counts.to_device_bytes += array.nbytes

    def copy() -> None:
        array._host[...] = values

    (stream or Stream.null).ask(copy)


def _memory_of(values: Any) -> Any:
    while isinstance(values, np.ndarray):
        values = values.base
    return values.obj if isinstance(values, memoryview) else values


_lent: dict[int, int] = {}
"""Of the addresses that arrays told to others: the number of the device."""


def _interface(array: Any) -> dict[str, Any]:
    host = array._host
    _lent[host.ctypes.data] = array._number
    return {
        "shape": host.shape,
        "typestr": host.dtype.str,
        "descr": host.dtype.descr,
        "strides": None if host.flags.c_contiguous else host.strides,
        "data": (host.ctypes.data, False),
        "version": 3,
        "stream": 1,
    }


def _of_interface(told: dict[str, Any]) -> Any:
    """A view of the memory that an array of others tells of."""
    address, dtype = told["data"][0], np.dtype(told["typestr"])
    shape, strides = told["shape"], told.get("strides")
    steps = strides or np.empty(shape, dtype).strides
    size = sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) + dtype.itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return standin._array(np.ndarray(shape, dtype, memory, 0, strides), _lent[address])


class _Capsule:
    def __init__(self, array: Any) -> None:
        self.array = array


def _dlpack(self: Any, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
    if stream is None:
        raise BufferError("this array is on a GPU")  # what NumPy says of it
    return _Capsule(self)


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> Any:
    """`cupy.from_dlpack`."""
    kind, number = array.__dlpack_device__()
    if kind != 2 or device is not None or copy is not None:
        raise TypeError("CuPy can only take arrays of CUDA devices")
    host = array.__dlpack__(stream=1).array._host
    return standin._array(host, number)


def extend(modules: dict[str, ModuleType], gpu: Any) -> None:
    """Give the modules of a machine what they lack."""
    gpu.free = 8 * 2**30  # what a test may make small

    def names(module: str, **contents: Any) -> None:
        for name, value in contents.items():
            vars(modules[module]).setdefault(name, value)

    asarray = modules["cupy"].asarray

    def taking(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None) -> Any:
        if not isinstance(a, standin.ndarray) and hasattr(a, "__cuda_array_interface__"):
            a = _of_interface(a.__cuda_array_interface__)
        return asarray(a, dtype, order, copy=copy)

    modules["cupy"].asarray = taking  # type: ignore[attr-defined]
    names("cupy", from_dlpack=from_dlpack, get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0))
    names("cupy.cuda.runtime", memGetInfo=lambda: (gpu.free, 8 * 2**30))
    names("cupy.cuda", Event=Event, alloc_pinned_memory=PinnedMemory)
    if not isinstance(modules["cupy.cuda"].Stream, type):
        modules["cupy.cuda"].Stream = Stream  # type: ignore[attr-defined]
        modules["cupy.cuda"].get_current_stream = lambda device_id=-1: Stream.null  # type: ignore[attr-defined]


if not hasattr(standin.ndarray, "__cuda_array_interface__"):
    standin.ndarray.__cuda_array_interface__ = property(_interface)  # type: ignore[attr-defined]
    standin.ndarray.__dlpack__ = _dlpack  # type: ignore[method-assign]
    standin.ndarray.set = set_late  # type: ignore[method-assign]
