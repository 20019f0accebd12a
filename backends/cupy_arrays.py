"""CUDA GPUs, by CuPy. CuPy is imported when a GPU is first asked for, never before."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from . import conveyor
from .conveyor import Conveyor
from .cuda.checked import Checked, CheckedRows
from .cuda.errors import DeviceLost, Working, check_process, first_line, why_no_device
from .cuda.levels import Levels
from .cuda.loss import CudaLoss
from .cuda.module import DTYPES
from .cuda.optimiser import CudaStep
from .cuda.rows import Rows
from .fast import LOSSES, Fast

_INSTALL = (
    "pip install 'cupy-cuda12x[ctk]>=14' for a driver of CUDA 12, 'cupy-cuda13x[ctk]>=14' for one of CUDA 13 "
    "(nvidia-smi shows it)"
)


def installed() -> bool:
    """Whether a package of the name cupy can be imported, found without importing it."""
    from importlib.util import find_spec

    return find_spec("cupy") is not None


def _distributions() -> list[str]:
    """The installed distributions that bring the package `cupy`: more than one destroy each other."""
    from importlib.metadata import distributions  # loads more than all of this package: only where it is needed

    # What a broken uninstallation leaves behind has no metadata, or no name in it.
    found = [dist.metadata for dist in distributions()]
    names = {metadata["Name"] for metadata in found if metadata and "Name" in metadata}
    return sorted(name for name in names if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm")))


def _import() -> Any:
    """The module `cupy`, once one operation has been seen to work on some device.

    Raises
    ------
    RuntimeError
        Where it cannot be used: what is missing, and the command that mends it.
    """
    if not installed():
        raise RuntimeError(f"no GPU can be used: CuPy is not installed. Install it with: {_INSTALL}.")
    several = _distributions()
    if len(several) > 1:
        raise RuntimeError(
            f"no GPU can be used: {' and '.join(several)} are installed together and overwrite each other's files. "
            f"Remove all with: pip uninstall -y {' '.join(several)}; then {_INSTALL}."
        )
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:
        # A broken wheel fails in many ways: ImportError for a missing library, OSError from the loader, and others.
        raise RuntimeError(f"no GPU can be used: importing CuPy failed ({error}). Reinstall it: {_INSTALL}.") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise RuntimeError(f"no GPU can be used: {why_no_device(error, cupy)}.") from error
    if count < 1:
        raise RuntimeError(
            f"no GPU can be used: CuPy {cupy.__version__} and the driver work, but there is no CUDA device. "
            "Check nvidia-smi, and that CUDA_VISIBLE_DEVICES does not hide it."
        )
    return cupy


def count() -> int:
    """How many CUDA devices there are; RuntimeError where none can be used."""
    return int(_import().cuda.runtime.getDeviceCount())


class CuPyBackend:
    """See `xlstm.backends.Backend`."""

    library = "cupy"
    on_host = False

    def __init__(self, cupy: Any, number: int) -> None:
        from array_api_compat import cupy as namespace

        self.device = f"cuda:{number}"
        self.namespace = namespace
        self._cupy = cupy
        self._number = number
        self._process = os.getpid()
        self.levels = Levels(cupy, self)
        self._checked = Checked(self)
        self._rows = CheckedRows(cupy, self, self._checked, Rows(cupy))
        self._steps: dict[str, CudaStep] = {}
        self._losses: dict[tuple[str, str], CudaLoss] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return backend, (self._number,)  # a copy of what uses a device, or its pickle, uses the same device

    def owns(self, array: object) -> bool:
        return isinstance(array, self._cupy.ndarray) and array.device.id == self._number

    def from_host(self, array: Any) -> Any:
        with self.current():
            return self._cupy.array(array)

    def adopt(self, array: Any) -> Any:
        return self.from_host(array)

    def to_host(self, array: Any) -> Any:
        with self.current():
            return self._cupy.asnumpy(array)

    def free_bytes(self) -> int:
        with self.current():
            pool = self._cupy.get_default_memory_pool()
            room, limit = self._driver_free_bytes() + int(pool.free_bytes()), int(pool.get_limit())  # 0: no limit
            return min(room, max(0, limit - int(pool.used_bytes()))) if limit else room

    def _driver_free_bytes(self) -> int:
        """Without what CuPy's pool keeps, on the current device."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free)

    def free_pool(self) -> None:
        """Give back to the driver what CuPy's pool keeps unused: cuBLAS and cuDNN allocate past the pool."""
        with self.current():
            self._cupy.get_default_memory_pool().free_all_blocks()

    def upload(self, array: Any) -> Any:
        if array.nbytes <= conveyor.PIECE:
            return self.from_host(array)
        with self.current():
            return self.conveyor().whole(array)

    def conveyor(self) -> Conveyor:
        return Conveyor(self._cupy, self._number)

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        with self.current():
            return self._rows.gather(steps, starts, lengths, time)

    def add_rows(self, target: Any, ids: Any, rows: Any) -> None:
        with self.current():
            self._rows.add(target, ids, rows)

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        with self.current():
            return self._rows.masks(kept, scale, dtype)

    def put(self, ids: Any, where: Any, value: int) -> None:
        with self.current():
            self._rows.put(ids, where, value)

    def fast_cell(self, cell: str, dtype: str, kernels: str, precision: str) -> Fast:
        return self.levels.find_cell(cell, dtype, kernels, precision)

    def fast_step(self, dtype: str) -> Fast:
        if dtype not in DTYPES:
            return Fast(None, "", f"no compiled step of an optimiser for {self.device} computes in {dtype}")
        step = self._steps.setdefault(dtype, CudaStep(self, self._cupy, dtype))
        return self._checked.fast("step", step, dtype, "the compiled step of the optimiser")

    def fast_loss(self, kind: str, dtype: str) -> Fast:
        if kind not in LOSSES or dtype not in DTYPES:
            return Fast(None, "", f"no compiled loss {kind} for {self.device} in {dtype}")
        loss = self._losses.setdefault((kind, dtype), CudaLoss(self._cupy, kind, dtype))
        return self._checked.fast(kind, loss, dtype, f"the compiled {kind} loss")

    def current(self) -> AbstractContextManager[Any]:
        return Working(self._cupy.cuda.Device(self._number), self.device, self._process, self._driver_free_bytes)

    quiet = current  # a GPU warns of nothing

    def synchronize(self) -> None:
        with self.current():  # where what failed on the way comes up
            self._cupy.cuda.Device(self._number).synchronize()

    def check_process(self) -> None:
        """Raise in a process that was forked from the one that has used the device."""
        check_process(self.device, self._process)


_backends: dict[int, CuPyBackend] = {}


def backend(number: int) -> CuPyBackend:
    """The backend of one CUDA device; RuntimeError where it cannot be used."""
    if number in _backends:
        _backends[number].check_process()
        return _backends[number]
    cupy = _import()
    found = int(cupy.cuda.runtime.getDeviceCount())
    if number >= found:
        devices = ", ".join(f"cuda:{n}" for n in range(found))
        raise RuntimeError(f"there is no device cuda:{number}: this machine has {devices}.")
    try:
        candidate = CuPyBackend(cupy, number)
        # One product and one elementwise kernel: these need cuBLAS and NVRTC, which a bare CuPy wheel does not bring.
        with candidate.current():
            ones = cupy.ones((2, 2), dtype="float32")
            works = cupy.asnumpy(cupy.tanh(ones @ ones))[0, 0] > 0.9
    except (MemoryError, DeviceLost) as error:
        raise RuntimeError(f"cuda:{number} cannot be used: {error}") from error
    except Exception as error:
        raise RuntimeError(
            f"cuda:{number} is there, but a first operation on it failed ({first_line(error)}). CuPy needs CUDA's "
            f"libraries (cuBLAS, NVRTC): {_INSTALL} brings them."
        ) from error
    if not works:
        raise RuntimeError(f"cuda:{number} is there, but computes wrong results. Update its driver and CuPy.")
    return _backends.setdefault(number, candidate)


def owner(array: Any) -> CuPyBackend | None:
    """The backend of the device on which a CuPy array lies; None for anything else. It imports nothing."""
    if not any(kind.__module__.partition(".")[0] == "cupy" for kind in type(array).__mro__):
        return None
    return backend(array.device.id) if hasattr(array, "device") else None


def is_on_gpu(values: Any) -> bool:
    """See `xlstm.backends.is_on_gpu`.

    Tensors of PyTorch are asked for their device: one that requires gradients raises where it is asked for more.
    """
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(values).__mro__}
    if "cupy.ndarray" in names:
        return True
    if "torch.Tensor" in names:
        return str(values.device.type) == "cuda"
    if hasattr(values, "__cuda_array_interface__"):
        return True
    try:
        kind = int(values.__dlpack_device__()[0]) if hasattr(values, "__dlpack_device__") else 0
    except Exception:  # a foreign object's own code
        return False
    return kind in (_DLPACK_CUDA, _DLPACK_CUDA_MANAGED)


_DLPACK_CUDA, _DLPACK_CUDA_MANAGED = 2, 13


def taken(values: Any) -> tuple[CuPyBackend, Any]:
    """See `xlstm.backends.taken`."""
    cupy = importlib.import_module("cupy") if _backends else _import()  # a list may have very many rows
    if not isinstance(values, cupy.ndarray):
        values = _without_a_copy(cupy, values)
    return backend(values.device.id), values


def _without_a_copy(cupy: Any, values: Any) -> Any:
    said = []
    # By DLPack first: its exporter lets CuPy's current stream wait for its own.
    for interface, way in (("__dlpack__", cupy.from_dlpack), ("__cuda_array_interface__", cupy.asarray)):
        try:
            if hasattr(values, interface):
                return way(values)
        except Exception as error:  # of the exporter's own code, too
            said.append(error)
    raise TypeError(first_line(said[0])) from said[0]


def version() -> str:
    return f"cupy {_import().__version__}"


def about_products() -> str:
    """What changes the products of CuPy, which are those of the array code; "" where nothing does."""
    value = os.environ.get("CUPY_TF32", "0")
    if value in ("", "0"):
        return ""
    return (
        f"CUPY_TF32={value} is set: the array code multiplies float32 as TF32, whatever precision says; unset it for "
        "full precision"
    )


def processor(number: int) -> str:
    """The GPU's name and memory."""
    cupy = _import()
    properties = cupy.cuda.runtime.getDeviceProperties(number)
    name = properties["name"]
    name = name.decode() if isinstance(name, bytes) else name
    return f"{name}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"
