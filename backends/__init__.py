"""Where arrays live, and what makes them fast. Imported as `xlstm.backends`; imports nothing of `xlstm`.

The array namespace is the backend of the mathematics. This package answers only what a namespace cannot:

- which devices this machine has, which one is used, and why not the others: `select`, `report`;
- how arrays get there and back, and how rows are added to rows of a table: a `Backend`;
- which fast implementation of a whole cell exists, and of an optimiser's step, and why not: `find`, `find_step`.
"""

from __future__ import annotations

if __name__ != "xlstm.backends":
    raise ImportError(
        f"this folder was imported as {__name__!r}: it is the package 'xlstm.backends'. "
        "Import that; a second copy would have a second registry."
    )

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from . import crossing, cupy_arrays, notices, numpy_arrays
from .auto import AUTO_MIN_FLOPS_PER_STEP, AutoRule, auto_rule, automatic
from .cuda import Unsupported
from .cuda.array_code import Agreement, ArrayCode, hand_in
from .fast import LEVELS, PRECISIONS, Fast, meant
from .notices import say_once

__all__ = [
    "AUTO_MIN_FLOPS_PER_STEP",
    "KERNELS",
    "LEVELS",
    "PRECISIONS",
    "Agreement",
    "ArrayCode",
    "AutoRule",
    "Backend",
    "Choice",
    "DeviceReport",
    "Fast",
    "Unsupported",
    "auto_rule",
    "crossing",
    "elsewhere",
    "find",
    "find_loss",
    "find_step",
    "hand_in",
    "is_device",
    "is_on_gpu",
    "meant",
    "notices",
    "owner",
    "portable",
    "report",
    "select",
    "taken",
]

KERNELS = ("auto", "reference", "compiled", *reversed(LEVELS))
"""What may be asked for: the fastest there is, never a fast one, or an error where there is no fast one; and the levels
of CUDA GPUs by name, an error where that one cannot be used."""


class Backend(Protocol):
    """One device and the library whose arrays live on it."""

    @property
    def device(self) -> str:
        """`"cpu"`, `"cuda:0"`, …"""

    @property
    def library(self) -> str:
        """`"numpy"` or `"cupy"`."""

    @property
    def on_host(self) -> bool:
        """Whether its arrays are NumPy arrays, so that lists and numbers need no transfer to become some."""

    @property
    def namespace(self) -> Any:
        """The array-API namespace."""

    @property
    def levels(self) -> Any:
        """Of a GPU its `cuda.levels.Levels`; None on the CPU, which has none."""

    def owns(self, array: object) -> bool:
        """Whether `array` is of this library and lives on this device."""

    def from_host(self, array: Any) -> Any:
        """A copy of a NumPy array on this device."""

    def adopt(self, array: Any) -> Any:
        """A NumPy array that nobody else will use, on this device: itself where it is there already."""

    def to_host(self, array: Any) -> Any:
        """A NumPy array with the values of an array of this device."""

    def free_bytes(self) -> int:
        """How much memory new arrays may still take, as far as the device knows."""

    def upload(self, array: Any) -> Any:
        """`from_host` of an array that may be large: the memory that it takes on the way is not."""

    def conveyor(self) -> Any:
        """What brings host arrays here one after another, the next one on its way while this one is computed (see
        `xlstm.backends.conveyor`); None where host arrays are here already."""

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        """Rows as one block, (N, time) or (N, time, D).

        Parameters
        ----------
        steps
            (S,) or (S, D): all steps of all sequences, one after another.
        starts, lengths
            (N,) int64, on this device: where each row begins in `steps`, and how many steps are its own. What stands
            after them in the block is whatever follows the row in `steps`, or anything: nothing reads it.
        time
            T, the greatest of the lengths.
        """

    def add_rows(self, target: Any, ids: Any, rows: Any) -> None:
        """target[ids[k]] += rows[k] for every k, repeated ids included. target (V, G), ids (K,), rows (K, G)."""

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        """For each host array of booleans an array on this device: `scale` where it is true, else zero."""

    def put(self, ids: Any, where: Any, value: int) -> None:
        """ids[where] = value. ids (N, T) int64 on this device, where (N, T) a host array of booleans."""

    def fast_cell(self, cell: str, dtype: str, kernels: str, precision: str) -> Fast:
        """The fast implementation of a cell on this device, or why there is none.

        `kernels` is one of `KERNELS` that may be fast, and `precision` one of `PRECISIONS`: see `find`.
        """

    def fast_step(self, dtype: str) -> Fast:
        """The fast step of an optimiser on this device, or why there is none."""

    def fast_loss(self, kind: str, dtype: str) -> Fast:
        """The fast form of a loss on this device, "logistic" or "softmax" (`xlstm.losses`), or why there is none."""

    def current(self) -> AbstractContextManager[Any]:
        """A context in which this device is the library's current one: work on its arrays belongs inside."""

    def quiet(self) -> AbstractContextManager[Any]:
        """`current`, in which NaN and infinity come out as such, without a warning of overflow on the way."""

    def synchronize(self) -> None:
        """Return when all work that was started on this device has ended."""


class Choice(NamedTuple):
    """Which implementation of a cell runs."""

    implementation: Any
    """None for the reference. Else an object with the methods `order`, `forward` and `backward` of the reference's
    `Cell`, and with `pack`, `frozen`, `format_of` and `needs_context`, as `cpu.cell.CompiledCell` has them."""
    kernels: str
    """What to call it: `"reference"`, or the name of the compiled target."""
    reason: str
    """Why this one."""
    mendable: bool
    """Whether the reference runs for want of something that the user could install."""

    @property
    def needs_context(self) -> bool:
        """Whether it has to run inside `Backend.quiet()`."""
        return self.implementation is None or bool(self.implementation.needs_context)


class DeviceReport(NamedTuple):
    """What `xlstm devices` says of one device."""

    device: str
    usable: bool
    used: bool
    library: str
    kernels: str
    detail: str
    about_kernels: str = ""
    """Which there are, or why there are none and what would change that."""


def select(
    device: str | None,
    default: str = "auto",
    flops_per_step: float | None = None,
    near: Backend | None = None,
    kernels: str = "auto",
) -> Backend:
    """The backend for a device's name.

    Parameters
    ----------
    device
        `"auto"`, `"cpu"`, `"cuda"` or `"cuda:N"`. None stands for the environment variable XLSTM_DEVICE, and where that
        is not set for `default`.
    flops_per_step
        The size of the work, for `"auto"`: see `AUTO_MIN_FLOPS_PER_STEP`. None is taken as large.
    near
        The device on which the data lie: `"auto"` is that one. None where they lie on the host.
    kernels
        What `find` will be asked for.

    Raises
    ------
    ValueError
        If it is not such a name.
    RuntimeError
        If a GPU was asked for and cannot be used: what is missing, and the command that mends it. If `kernels` is a
        level of CUDA GPUs, and `"auto"` would be the CPU: why.
    """
    source = "device"
    if device is None:
        device = os.environ.get("XLSTM_DEVICE") or None
        source = "the environment variable XLSTM_DEVICE" if device else source
        device = device or default
    if device == "cpu":
        return numpy_arrays.BACKEND
    if device == "auto":
        return automatic(flops_per_step, kernels) if near is None else near
    if is_device(device):
        return cupy_arrays.backend(int(device.partition(":")[2] or 0))
    raise ValueError(f"{source} must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}.{meant(device)}")


def owner(array: object) -> Backend | None:
    """The backend on whose device an array lies; None where it is of another library than theirs."""
    return numpy_arrays.BACKEND if numpy_arrays.BACKEND.owns(array) else cupy_arrays.owner(array)


def is_on_gpu(values: object) -> bool:
    """Whether it is an array on a CUDA device, of whatever library: by its own word, nothing is imported."""
    return not isinstance(values, _PLAIN) and not numpy_arrays.BACKEND.owns(values) and cupy_arrays.is_on_gpu(values)


def taken(values: Any) -> tuple[Backend, Any]:
    """The backend on whose device such an array lies, and the array as one of that backend's, without a copy.

    Raises
    ------
    RuntimeError
        If the device cannot be used: what is missing, and the command that mends it.
    TypeError
        If CuPy cannot take it: what its owner or CuPy says.
    """
    return cupy_arrays.taken(values)


_PLAIN = (str, bytes, list, tuple, dict, int, float)
"""What is no array of any library, and comes often."""


def is_device(name: object) -> bool:
    """Whether it is one of `"auto"`, `"cpu"`, `"cuda"` and `"cuda:N"`; not whether the machine has it."""
    return isinstance(name, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", name) is not None


def find(cell: str, backend: Backend, dtype: str, kernels: str, precision: str = "highest") -> Choice:
    """Which implementation of a cell over whole sequences runs: the one place that decides it.

    Parameters
    ----------
    cell
        The name of a cell. One that no kernels are known for has the reference.
    backend, dtype
        Where its arrays live, and `"float32"` or `"float64"`.
    kernels
        `"auto"`, `"reference"` (never a fast one), `"compiled"` (an error where there is none), or by name a level of
        CUDA GPUs, `"fused"` or `"cudnn"` (an error where that one cannot be used).
    precision
        The least that products in float32 may be computed with, one of `PRECISIONS`. It is a permission: the CPU, the
        array code and float64 have the highest in any case.

    Raises
    ------
    ValueError
        If `kernels` or `precision` is none of these; or, unless `kernels` is `"reference"`, if the environment variable
        XLSTM_CPU_TARGET names an instruction set that is not there.
    RuntimeError
        If fast kernels were demanded and there are none for this cell, device and dtype, or a level by name and it
        cannot be used.
    """
    _check(kernels, precision)
    if kernels == "reference":
        return Choice(None, "reference", "asked for", False)
    fast = backend.fast_cell(cell, dtype, kernels, precision)
    if fast.implementation is None:
        if kernels != "auto":
            raise RuntimeError(f"{fast.reason}. Use {_instead_of(kernels, backend)}.")
        return Choice(None, "reference", fast.reason, fast.mendable)
    return Choice(fast.implementation, fast.name, fast.reason, False)


def _check(kernels: str, precision: str = "highest") -> None:
    for name, value, known in (("kernels", kernels, KERNELS), ("precision", precision, PRECISIONS)):
        if not isinstance(value, str) or value not in known:  # see checks.checked
            names = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
            raise ValueError(f"{name} must be {names}, got {value!r}.{meant(value)}")


def _instead_of(kernels: str, backend: Backend) -> str:
    """What messages advise where `kernels` were demanded, and are not there."""
    other = "kernels='auto' or kernels='reference'"
    return f"device='cuda', {other}" if kernels in LEVELS and backend.on_host else other


def portable(kernels: str) -> str:
    """What to ask for instead of `kernels` where fast ones may be missing: never an error."""
    return "reference" if kernels == "reference" else "auto"


def elsewhere(kernels: str, new: Backend) -> str:
    """What a copy on another device asks for: a level of GPUs that was asked for by name says nothing of a CPU."""
    return "auto" if kernels in LEVELS and new.on_host else kernels


def find_step(backend: Backend, dtype: str, kernels: str) -> Any:
    """A faster step for an optimiser to take (see `xlstm.backends.cpu.update`), or None for that of `xlstm.optim`.

    Parameters and errors as in `find`. The levels of a GPU are those of cells, and share one step, which is one of our
    own kernels: `"fused"` demands it as `"compiled"` does, `"cudnn"` does not.
    """
    _check(kernels)
    if kernels == "reference":
        return None
    if kernels in LEVELS and backend.on_host:
        raise RuntimeError(f"{numpy_arrays.no_level(kernels)}. Use {_instead_of(kernels, backend)}.")
    fast = backend.fast_step(dtype)
    if fast.implementation is None and kernels in ("compiled", "fused"):
        raise RuntimeError(f"{fast.reason}. Use kernels='auto' or kernels='reference'.")
    return _trusted(fast)


def find_loss(kind: str, backend: Backend, dtype: str, kernels: str) -> Any:
    """A loss with its sums by one call (see `xlstm.backends.cpu.loss`), or None for that of `xlstm.losses`.

    Parameters as in `find`. None is no error for any `kernels`: of the cells and the optimiser it is said that they are
    compiled.
    """
    return None if kernels == "reference" else _trusted(backend.fast_loss(kind, dtype))


def _trusted(fast: Fast) -> Any:
    """What does the work, or None; of one that was seen to be wrong it is said once what runs instead."""
    if fast.warning:
        say_once(fast.warning, fast.warning)
    return fast.implementation


def report() -> list[DeviceReport]:
    """Every device of this machine: whether it can be used, whether it would be, and why not.

    Nothing is raised: a device that cannot be used is an entry whose detail says what is missing.

    Returns
    -------
    list of DeviceReport
        `device`, `usable`, `used` (by an estimator or a command that names no device, for work that is not small),
        `library`, `kernels`, `detail` and `about_kernels`.
    """
    devices = [_entry(numpy_arrays.BACKEND, numpy_arrays.version(), numpy_arrays.processor())]
    try:
        found = cupy_arrays.count()
    except RuntimeError as error:
        found = 0
        devices.append(DeviceReport("cuda", False, False, "", "", str(error)))
    for number in range(found):
        try:
            entry = _entry(cupy_arrays.backend(number), cupy_arrays.version(), cupy_arrays.processor(number))
            about = "; ".join(filter(None, (entry.about_kernels, cupy_arrays.about_products())))
            devices.append(entry._replace(about_kernels=about))
        except (RuntimeError, MemoryError) as error:  # the second of a check at first use, where others fill the memory
            devices.append(DeviceReport(f"cuda:{number}", False, False, "", "", str(error) or type(error).__name__))
    wanted = os.environ.get("XLSTM_DEVICE") or "auto"
    usable = [entry.device for entry in devices if entry.usable]
    automatic = "cuda:0" if "cuda:0" in usable and not auto_rule().never else "cpu"
    used = {"auto": automatic, "cuda": "cuda:0"}.get(wanted, wanted)
    return [entry._replace(used=entry.usable and entry.device == used) for entry in devices]


def _entry(backend: Backend, library: str, detail: str) -> DeviceReport:
    try:
        choice = find("lstm", backend, "float32", "auto")
    except ValueError as error:  # of XLSTM_CPU_TARGET
        choice = Choice(None, "reference", f"{error} Until then only kernels='reference' works.", False)
    return DeviceReport(backend.device, True, False, library, choice.kernels, detail, choice.reason)


def say_which_kernels(choice: Choice) -> None:
    """Say once, where training begins, that the reference path runs for want of kernels that could be had."""
    if choice.mendable:
        say_once("no kernels", choice.reason)
