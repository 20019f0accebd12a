"""The compiled kernels of the CPU: which there are, which run here, on how many threads, and why not the others.

The instruction set is chosen once, when this module is loaded: the best that the CPU has, or the one that the
environment variable XLSTM_CPU_TARGET names. `find` in the package above asks here.
"""

from __future__ import annotations

import importlib
import math
import operator
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ..fast import LOSSES
from ..notices import say_once
from .cell import CompiledCell
from .loss import CompiledLoss
from .update import CompiledStep


def _forked_with_openmp() -> bool:
    """Whether this process was forked, without a new program, from one in which OpenMP was loaded.

    Another library may have started its threads there, which are not here, and GNU's OpenMP would wait for them for
    ever. Forks that come later the kernels see themselves.
    """
    PF_FORKNOEXEC = 0x40  # of Linux: include/linux/sched.h
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            flags = int(file.read().rpartition(")")[2].split()[6])
        if not flags & PF_FORKNOEXEC:
            return False
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            return "libgomp" in file.read()
    except (OSError, ValueError, IndexError):  # another system
        return False


_kernels: Any = None
_error: ImportError | None = None
_forked = _forked_with_openmp()
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


def find_loss(kind: str, dtype: str) -> CompiledLoss | None:
    """A compiled loss, or None where there is none. Raises as `find_cell`."""
    check_target()
    there = target is not None and kind in LOSSES and dtype in ("float32", "float64")
    return CompiledLoss(_kernels, kind, dtype) if there else None


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
    next calls use fewer for a while, unless a number is given here: then they wait, and where threads are more than
    processors, for the whole turn of another one. A logged warning says so. A child process made by fork runs on one,
    whatever is set, and so does a call for which the system would start no more threads; that is logged, too.

    Parameters
    ----------
    number : int or None
        1 or more.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if number is not None:
        try:
            given = 0 if isinstance(number, bool) else operator.index(number)
        except TypeError:
            given = 0
        if given < 1:
            raise ValueError(f"the number of threads must be an integer, 1 or more, or None; got {number!r}.")
        number = given
    if _kernels is None:
        return
    _kernels.set_threads(min(number or _share_of_control_group() or 0, 2**31 - 1), number is not None)
    processors, used = _processors(), threads()
    if number is not None and processors is not None and used > processors:
        say_once(
            "more threads than processors",
            f"{used} threads share the {processors} processor{'s' * (processors != 1)} that this process may run on, "
            "and calls wait for each of them: small ones take many times as long. Use fewer by xlstm.set_threads, or "
            "set_threads(None) to go by what helps.",
        )


def _processors() -> int | None:
    """On how many processors this process may run; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _tell_refused() -> None:
    say_once(
        "no more threads",
        "the system starts no more threads for this process (ulimit -u, pids.max of its control group, or its limit of "
        "memory): calls run on those that there are, with the same results. Raise it, or set OMP_NUM_THREADS=1.",
    )


def _share_of_control_group(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """How many processors' time this process may use, rounded up; None where nothing limits it, or it is said openly.

    OpenMP knows the processors that a process may run on, but not this. Of the process's own control group and all that
    are around it the least counts.

    Parameters
    ----------
    root, own
        Where control groups are mounted, and the file that names those of this process.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return None
    places = {(root, "/"), (f"{root}/cpu", "/")}  # in a container its own group stands there, whatever its name outside
    try:
        with open(own, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if not controllers:  # version 2
                    places |= {(root, path), (f"{root}/unified", path)}
                elif "cpu" in controllers.split(","):
                    places |= {(f"{root}/{controllers}", path), (f"{root}/cpu", path)}
    except (OSError, ValueError):
        pass
    shares = [
        share
        for mount, path in places
        for folder in [mount + path.rstrip("/"), *(mount + str(around).rstrip("/") for around in Path(path).parents)]
        if (share := _share_of(folder)) is not None
    ]
    return min(shares, default=None)


def _share_of(folder: str) -> int | None:
    """That of one control group."""

    def read(name: str) -> str:
        with open(f"{folder}/{name}", encoding="ascii") as file:
            return file.read()

    try:
        quota, period = read("cpu.max").split()  # version 2
    except (OSError, ValueError):
        try:
            quota, period = read("cpu.cfs_quota_us").strip(), read("cpu.cfs_period_us").strip()  # version 1
        except (OSError, ValueError):
            return None
    return math.ceil(int(quota) / int(period)) if quota.isdigit() and period.isdigit() and int(period) else None


# ---------------------------------------------------------------- memory


def release_memory() -> int:
    """Give the memory that is kept for the next calls back to the system; returns how many bytes that was.

    Layers and estimators on the CPU keep up to 512 MB for calls to come, because the first touch of fresh memory costs
    more than the work on it. What no call has taken for half a minute goes by itself with the next call; this is for
    a process that computes no more, or is to have the memory for something else now. Memory in use stays: that of
    tapes, of layers prepared for inference, of calls that run.

    Returns
    -------
    int
        Bytes; 0 without compiled kernels.

    Examples
    --------
    >>> import xlstm
    >>> freed = xlstm.release_memory()
    >>> xlstm.release_memory()
    0
    """
    return 0 if _kernels is None else int(_kernels.release_memory())


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


if _kernels is not None:
    _kernels.tell_refused(_tell_refused)
    if _forked:
        _kernels.forked()
set_threads(None)
