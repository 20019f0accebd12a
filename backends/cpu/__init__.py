"""The compiled kernels of the CPU: which there are, which run here, on how many threads, and why not the others.

The instruction set is chosen once, when this module is loaded: the best that the CPU has, or the one that the
environment variable XLSTM_CPU_TARGET names. `find` in the package above asks here.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from typing import Any, NamedTuple

from .cell import CompiledCell
from .update import CompiledStep

_kernels: Any = None
_error: ImportError | None = None
try:
    _kernels = importlib.import_module("._kernels", __name__)
except ImportError as error:  # installed without a compiler, or not for this system
    _error = error.with_traceback(None)

CELLS = ("lstm", "rnn", "gru")
"""The cells that have kernels in this version, built or not: those of kernels/cells.h."""


def targets() -> dict[str, bool]:
    """The instruction sets that this package was compiled for, best first, and whether this CPU has each."""
    return {} if _kernels is None else dict(_kernels.targets())


def _choose() -> tuple[str | None, str | None]:
    """The instruction set to use; or, where one that is not there was asked for, what to tell who wants kernels."""
    usable = [name for name, runs in targets().items() if runs]
    wanted = os.environ.get("XLSTM_CPU_TARGET")
    if not wanted or not usable:
        return (usable[0] if usable else None), None
    if wanted in usable:
        return wanted, None
    return None, (
        f"the environment variable XLSTM_CPU_TARGET is {wanted!r}: expected one of {', '.join(usable)}, the "
        "instruction sets that were compiled and that this CPU has. Set it to one of them, or unset it."
    )


target, _refusal = _choose()
"""The instruction set in use; None where there are no kernels, or XLSTM_CPU_TARGET names none of them."""


def check_target() -> None:
    """Refuse an instruction set that is not there, where compiled kernels are wanted: not when the module is loaded.

    Raises
    ------
    ValueError
        If XLSTM_CPU_TARGET names one that was not compiled or that this CPU lacks.
    """
    if target is None and _refusal is not None:
        raise ValueError(_refusal)


def compiled() -> list[tuple[str, str, str]]:
    """The names of all kernels that were compiled: instruction set, dtype and cell."""
    return [] if _kernels is None else list(_kernels.table())


def find_cell(cell: str, dtype: str) -> CompiledCell | None:
    """The compiled kernels of a cell and dtype, or None where there are none: `why_not` says why.

    Raises
    ------
    ValueError
        As in `check_target`.
    """
    if cell in CELLS:
        check_target()
    found = None if target is None else _kernels.find(target, dtype, cell)
    return None if found is None or target is None else CompiledCell(_kernels, found, target, dtype)


def find_step(dtype: str) -> CompiledStep | None:
    """The compiled step of an optimiser, or None where there is none. Raises as `find_cell`."""
    check_target()
    found = None if target is None else _kernels.find_update(target, dtype)
    return None if found is None else CompiledStep(_kernels, found)


def about() -> str:
    """Which kernels there are."""
    others = [f"{name}{'' if runs else ' (not of this CPU)'}" for name, runs in targets().items()]
    number = threads()
    return f"compiled: {', '.join(others)}; {number} thread{'s' * (number != 1)}"


def why_not(cell: str | None = None, dtype: str | None = None) -> str:
    """Why there are no kernels, of any cell or of this one, and what would change that."""
    global _explained
    if cell is not None and (target is not None or cell not in CELLS):
        return f"no compiled kernels of the {cell} cell in {dtype} come with this version for a CPU"
    if not mendable():
        return "this version has no compiled kernels for this system, the reference path runs"
    if _explained is None:
        from .missing import explain

        _explained = explain(_error or ModuleNotFoundError("no extension module"))
    return _explained


def mendable() -> bool:
    """Whether there are no kernels for want of something that the user could install or build."""
    return target is None and sys.platform != "win32"  # as in setup.py


_explained: str | None = None


# ---------------------------------------------------------------- threads


def threads() -> int:
    """How many threads a call of the kernels may use now."""
    return 1 if _kernels is None else int(_kernels.threads())


def set_threads(number: int | None) -> None:
    """Use at most `number` threads from now on; None goes back to as many as the process may use.

    That is OMP_NUM_THREADS if it is set, else the processors that it is allowed to run on or the share that its control
    group has of them; and what threadpoolctl set. Small work runs on fewer, down to one (`crew` tells). Where
    the threads of a call mostly waited, because other programs had the processors, or its cores were far apart, the
    next calls use fewer for a while, unless a number is given here. A child process made by fork runs on one, whatever
    is set.
    """
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ValueError(f"the number of threads must be an integer, 1 or more, or None; got {number!r}.")
    if _kernels is not None:
        _kernels.set_threads(min(number or _share_of_control_group() or 0, 2**31 - 1), number is not None)


def _share_of_control_group() -> int | None:
    """How many processors' time a container may use, rounded up; None where nothing limits it, or it is said openly.

    OpenMP knows the processors that a process may run on, but not this.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return None
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # version 2
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:  # version 1
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                period = file.read().strip()
        except OSError:
            return None
    return math.ceil(int(quota) / int(period)) if quota.isdigit() and period.isdigit() else None


class Crew(NamedTuple):
    """On what one call of the kernels ran."""

    threads: int
    """That had work: as many as the operations of the call are worth, and no more than may be used."""
    woken: int
    """That OpenMP woke for it: more than these only in the second after a call that was worth more."""
    tasks: int
    """Into which the rows of the batch went, each through all steps."""
    teams: int
    """That shared the tasks."""
    members: int
    """Of each team, which shared the hidden units of a step."""
    walk: float
    """What part of the operations of all steps the busiest thread had, if all tasks are equal."""
    gradients: float
    """What part of those of the weight gradients, behind a backward walk."""


def crew() -> Crew:
    """That of the last call of a layer or an optimiser, on whatever thread of Python; one of one thread before any."""
    return Crew(1, 1, 1, 1, 1, 1.0, 1.0) if _kernels is None else Crew(*_kernels.crew())


def force_cores(answer: str) -> None:
    """Whether threads may share the steps of small batches: `"near"`, `"apart"`, or `"measured"`, as it is by itself.

    For tests and `benchmarks/near_cores.py`: kernels/near_cores.h says what is measured. The results are the same bits.
    """
    if _kernels is not None:
        _kernels.force_cores(answer)


def cores_found() -> tuple[int, int]:
    """How many calls found their cores near and how many apart, since `force_cores` or `set_threads`."""
    near, apart = (0, 0) if _kernels is None else _kernels.cores()
    return near, apart


set_threads(None)
