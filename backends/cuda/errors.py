"""What CUDA's errors mean: the one place that turns them into sentences with a cause and a remedy."""

from __future__ import annotations

import os
from typing import Any

INSUFFICIENT_DRIVER, NOT_INITIALISED, OUT_OF_MEMORY = 35, 3, 2
NO_KERNEL = (209, 218, 222)
"""There is no code for the device's architecture, or none that its driver takes."""
LOST = (46, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999)
"""After one of these nothing works on the device any more, as long as the process lasts."""

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


def translated(error: BaseException | None, device: str) -> Exception | None:
    """The error to raise in place of one that came up while a device worked; None where it says enough."""
    if type(error).__name__ == "OutOfMemoryError" or status_of(error or ValueError()) == OUT_OF_MEMORY:
        assert error is not None
        return MemoryError(
            f"{device} has no memory left ({first_line(error)}). Make the batches smaller (batch_size, or the rows of "
            "a call), the sequences shorter or the layers narrower (hidden_size); or free what else is there: "
            "nvidia-smi shows other processes, cupy.get_default_memory_pool().free_all_blocks() gives back what this "
            "one keeps."
        )
    status = None if error is None else status_of(error)
    if status is None:
        return None
    assert error is not None
    if status in LOST:
        return DeviceLost(
            f"{device} was lost in the midst of its work ({first_line(error)}): it cannot be used in this process any "
            "more, nor can what lies on it. What was saved, or moved to the CPU, is whole: start the process again. "
            "Should it come again: nvidia-smi and the system's log (Xid) tell of broken hardware, xlstm check "
            f"--device {device} whether the kernels are right; kernels='reference' does without them."
        )
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
    """

    __slots__ = ("_device", "_name", "_process")

    def __init__(self, device: Any, name: str, process: int) -> None:
        self._device, self._name, self._process = device, name, process

    def __enter__(self) -> Any:
        check_process(self._name, self._process)
        return self._device.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._device.__exit__(kind, error, traceback)
        if error is not None and (told := translated(error, self._name)) is not None:
            raise told from error


def check_process(device: str, process: int) -> None:
    """Raise in a process that was forked from the one that has used the device."""
    if os.getpid() != process:
        raise RuntimeError(f"{device} cannot be used here: {_FORKED}.")
