"""What CUDA's errors mean: the one place that turns them into sentences with a cause and a remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

INSUFFICIENT_DRIVER, NOT_INITIALISED, OUT_OF_MEMORY = 35, 3, 2
NO_KERNEL = (209, 218, 222)
"""There is no code for the device's architecture, or none that its driver takes."""
LOST = (46, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999)
"""After one of these nothing works on the device any more, as long as the process lasts."""
CUBLAS_NOT_INITIALISED, CUBLAS_ALLOC_FAILED = 1, 3
"""What cuBLAS says where it gets no memory: it allocates by itself, past CuPy's pool."""
CUBLAS_NEEDS = 2**27
"""So many free bytes are enough for cuBLAS to begin: with its workspace it takes some tens of millions."""
CUDNN_LOST = range(5000, 6000)
"""The statuses of cuDNN's kernels that were started and died."""

_FORKED = (
    "CUDA was used before this process was forked from its parent, and does not survive that. Start processes with "
    "multiprocessing's 'spawn' (multiprocessing.set_start_method('spawn'); joblib's own 'loky' does), or use the GPU "
    "in the children alone"
)


class DeviceLost(RuntimeError):
    """A GPU that does not work any more in this process."""


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def status_of(error: BaseException) -> int | None:
    """The number of an error of CUDA's runtime or driver; None of all others."""
    if type(error).__name__ in ("CUDARuntimeError", "CUDADriverError"):
        return int(getattr(error, "status", -1))
    return None


def _is_out_of_memory(error: BaseException, free_bytes: Callable[[], int] | None) -> bool:
    """Whether it tells of a device's memory that is full."""
    kind, status = type(error).__name__, getattr(error, "status", None)
    if kind == "CUBLASError" and status == CUBLAS_NOT_INITIALISED:  # or its library does not fit
        return free_bytes is not None and free_bytes() < CUBLAS_NEEDS
    full = kind == "CUBLASError" and status == CUBLAS_ALLOC_FAILED
    return full or kind == "OutOfMemoryError" or status_of(error) == OUT_OF_MEMORY


def _is_lost(error: BaseException) -> bool:
    """Whether nothing works on the device after it."""
    died = type(error).__name__ == "CudnnError" and getattr(error, "status", None) in CUDNN_LOST
    return died or status_of(error) in LOST


def translated(
    error: BaseException | None, device: str, free_bytes: Callable[[], int] | None = None
) -> Exception | None:
    """The error to raise in place of one that came up while a device worked; None where it says enough.

    Parameters
    ----------
    error
        What came up; None where nothing did.
    device
        `"cuda:0"`, …
    free_bytes
        How much memory the driver has left: asked where an error alone does not tell whether that is the cause.
    """
    if error is None:
        return None
    if _is_out_of_memory(error, free_bytes):
        return MemoryError(
            f"{device} has no memory left ({first_line(error)}). Make the batches smaller (batch_size, or the rows of "
            "a call), the sequences shorter or the layers narrower (hidden_size); or free what else is there: "
            "nvidia-smi shows other processes, cupy.get_default_memory_pool().free_all_blocks() gives back what this "
            "one keeps."
        )
    if _is_lost(error):
        return DeviceLost(
            f"{device} was lost in the midst of its work ({first_line(error)}): it cannot be used in this process any "
            "more, nor can what lies on it. What was saved, or moved to the CPU, is whole: start the process again. "
            "Should it come again: nvidia-smi and the system's log (Xid) tell of broken hardware, xlstm check "
            f"--device {device} whether the kernels are right; kernels='reference' does without them."
        )
    status = status_of(error)
    if status == NOT_INITIALISED:
        return RuntimeError(f"{device} cannot be used here: {_FORKED}.")
    if status in NO_KERNEL:
        return RuntimeError(
            f"{device} has no code for its architecture ({first_line(error)}): update its driver, and CuPy to a "
            "version that knows this GPU."
        )
    return None


def why_no_device(error: Exception, cupy: Any) -> str:
    """What it means that the devices cannot be counted, and what mends it."""
    status = status_of(error)
    if status == NOT_INITIALISED:
        return _FORKED
    if status == INSUFFICIENT_DRIVER:
        version = int(cupy.cuda.runtime.driverGetVersion())  # 0 without a driver
        needed = int(cupy.cuda.runtime.runtimeGetVersion())
        if 0 < version // 1000 < needed // 1000:
            return (
                f"the NVIDIA driver is too old: it is for CUDA {_told(version)}, and CuPy {cupy.__version__} for CUDA "
                f"{_told(needed)}. Update the driver, or install the CuPy that fits it"
            )
    found = f" ({first_line(error)})"
    if status == INSUFFICIENT_DRIVER and not int(cupy.cuda.runtime.driverGetVersion()):
        found = ""  # there is no driver at all, of which CUDA says that it is too old
    return (
        f"CuPy {cupy.__version__} found no working NVIDIA driver{found}. Install the driver of your GPU; the command "
        "nvidia-smi then lists it. In a container, start that with --gpus all"
    )


def _told(version: int) -> str:
    """12020 is 12.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


class Working:
    """A context in which a device is the current one, and CUDA's errors come out as `translated` says.

    Parameters
    ----------
    device
        CuPy's object for it.
    name
        `"cuda:0"`, …
    process
        The number of the process in which it was first used.
    free_bytes
        How much memory the driver has left on CuPy's current device.
    """

    __slots__ = ("_device", "_free_bytes", "_name", "_process")

    def __init__(self, device: Any, name: str, process: int, free_bytes: Callable[[], int]) -> None:
        self._device, self._name, self._process, self._free_bytes = device, name, process, free_bytes

    def __enter__(self) -> Any:
        check_process(self._name, self._process)
        return self._device.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        told: Exception | None = None
        late: Exception | None = None
        try:
            try:
                told = translated(error, self._name, self._free_bytes)
            finally:
                # This calls CUDA, which may only now tell what became of work that was started before.
                self._device.__exit__(kind, error, traceback)
        except Exception as raised:
            late = raised
        try:
            if told is not None:
                raise told from error
            # Neither an interruption nor the first word on a lost device gives way to what comes late.
            if late is not None and isinstance(error, (Exception, type(None))) and not isinstance(error, DeviceLost):
                told = translated(late, self._name)
                if told is not None:
                    raise told from (error or late)
                if error is None:
                    raise late
        finally:
            # An error has this frame, and would for ever keep itself, and with it the arrays of all frames that it has.
            told = late = error = traceback = None


def check_process(device: str, process: int) -> None:
    """Raise in a process that was forked from the one that has used the device."""
    if os.getpid() != process:
        raise RuntimeError(f"{device} cannot be used here: {_FORKED}.")
