"""Which level does the work of a cell on a CUDA GPU: cuDNN, the fused kernels, or the array code.

A level is used once it was seen to work: at its first use for a cell, dtype and precision on a device, it is compared
with the array code. Which of those that are there does a call is decided by `in_order` alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..fast import LEVELS, Fast
from ..notices import say_once
from . import Unsupported
from .array_code import array_code, fault
from .errors import DeviceLost, first_line
from .order import Order

CELLS = ("lstm", "rnn", "gru")
"""The cells that the levels have."""

FEW_STEPS = 4
"""Below so many steps a call is the fused kernels'. An estimate, not a measurement on a GPU: see `in_order`."""


class Work(NamedTuple):
    """What decides, of all that a call has to do."""

    time: int  # T
    one_hot: bool


def in_order(work: Work, there: Sequence[str]) -> tuple[str, ...]:
    """The levels that are `there`, in the order in which they are tried for a call: the one place that decides it.

    The rule: cuDNN where it is installed and was seen to work. A call of it walks through all steps by itself, while
    the fused kernels are launched twice a step by Python, at 5 to 12 microseconds each, and it has kernels for numbers
    of 16 bits. The fused kernels come first

    - where cuDNN is not there, or is not to be trusted;
    - for less than `FEW_STEPS` steps, as in a stream: a call of cuDNN costs some 50 microseconds on the host, as much
      as that many steps of theirs;
    - for one-hot tokens: they read the columns of the weights that are in use, where cuDNN would multiply with a
      matrix that is nearly all zeros, and that has to be made.

    What the first one refuses, such as more steps than cuDNN takes, the next one does. The figures are estimates: none
    was measured on a GPU yet. The cell, the dtype, the precision and the other sizes decide nothing more: a level that
    lacks one of them is not there.
    """
    order = ("fused", "cudnn") if work.time < FEW_STEPS or work.one_hot else ("cudnn", "fused")
    return tuple(name for name in order if name in there)


def precision_of(level: str, dtype: str, precision: str) -> str:
    """With what a level computes where this precision is allowed: the same, or the next better one that it has."""
    if dtype == "float64":
        return "highest"
    if level == "fused" and precision in ("bfloat16", "float16"):
        return "high"  # TF32 has as many bits as float16, and the range of bfloat16
    return precision


class Level(NamedTuple):
    """A level that is there, for one cell, dtype and precision."""

    name: str
    told: str
    """What to call it: with cuDNN's version."""
    cell: Any
    """What does the work: `fused.FusedCell` or `cudnn.cell.CudnnCell`."""


class Verdict(NamedTuple):
    """What became of a level for one cell, dtype and precision."""

    level: Level | None
    """None where it is not to be used."""
    reason: str
    """What it is, or why it is not used."""
    distrusted: str = ""
    """What failed its check: the level, or such of its algorithms as it goes on without."""


class Levels:
    """The levels of one device.

    Parameters
    ----------
    cupy
        The module `cupy`.
    backend
        Of the device: see `xlstm.backends.Backend`.
    """

    cells = CELLS
    precision_of = staticmethod(precision_of)

    def __init__(self, cupy: Any, backend: Any) -> None:
        self._cupy, self._backend = cupy, backend
        self._verdicts: dict[tuple[str, str, str, str], Verdict] = {}
        self._lock = threading.RLock()

    def find_cell(self, cell: str, dtype: str, kernels: str, precision: str) -> Fast:
        """The implementation that runs a cell: see `xlstm.backends.find`."""
        names = (kernels,) if kernels in LEVELS else LEVELS
        with self._lock:
            verdicts = {name: self.verdict(name, cell, dtype, precision) for name in names}
        there = [verdict.level for verdict in verdicts.values() if verdict.level is not None]
        device = self._backend.device
        instead = f"{there[0].told} is" if there else "the array code is"
        for name, verdict in verdicts.items():
            if verdict.distrusted and (kernels not in LEVELS or verdict.level is not None):
                used = "its plain algorithm is" if verdict.level is not None else instead
                reason = f"{name} on {device} for {cell}, {dtype}, {precision}"
                say_once(reason, f"{verdict.distrusted}; {used} used instead")
        told = "; ".join(verdict.reason for verdict in verdicts.values())
        if not there:
            return Fast(None, "", f"{told}" if kernels in LEVELS else f"{told}; the array code runs")
        demanded = kernels if kernels in LEVELS else None
        implementation = LevelledCell(self._cupy, cell, there, demanded)
        return Fast(implementation, there[0].told, told)

    def verdict(self, name: str, cell: str, dtype: str, precision: str) -> Verdict:
        """Whether a level is used, worked out at the first question: made, and compared with the array code.

        A check that memory ends in is no verdict: MemoryError is raised, and the next question asks again.
        """
        own = precision_of(name, dtype, precision)
        key = (name, cell, dtype, own)
        if key not in self._verdicts:
            self._verdicts[key] = self._tried(name, cell, dtype, own)
        return self._verdicts[key]

    def _tried(self, name: str, cell: str, dtype: str, precision: str) -> Verdict:
        level, reason = self.made(name, cell, dtype, precision)
        if level is None:
            return Verdict(None, reason)
        wrong = self._fault(level, cell, dtype, precision)
        if wrong is None:
            return Verdict(level, reason)
        where = f"for the {cell} cell in {dtype} (precision {precision!r}) on {self._backend.device}"
        if getattr(level.cell, "persistent", False):  # the fault may be that of the algorithms which it may choose
            level.cell.persistent = False
            if self._fault(level, cell, dtype, precision) is None:
                told = f"{level.told} does without its persistent algorithms {where}: {wrong}"
                return Verdict(level, f"{reason}; {told}", told)
        told = f"{level.told} is not used {where}: {wrong}"
        return Verdict(None, told, told)

    def _fault(self, level: Level, cell: str, dtype: str, precision: str) -> str | None:
        """What is wrong with a level; None where it agrees with the array code."""

        def compared() -> Any:
            return array_code().agreement(cell, level.cell, self._backend, dtype, precision)

        try:
            return fault(compared)
        except MemoryError:
            pass  # and with the error go the arrays of the calls that it ended
        self._backend.free_pool()  # cuBLAS and cuDNN get nothing of what CuPy's pool keeps
        return fault(compared)

    def made(self, name: str, cell: str, dtype: str, precision: str) -> tuple[Level | None, str]:
        """A level before any check, and what it is; or None, and why it is not there."""
        if cell not in CELLS:
            return None, f"{name} has no kernels of the {cell} cell"
        try:
            with self._backend.current():
                return MAKERS[name](self._cupy, cell, dtype, precision)
        except (MemoryError, DeviceLost):
            raise
        except Exception as error:  # such as CuPy's CompileException
            return None, f"{name}: {first_line(error).rstrip('.')}"


def _fused(cupy: Any, cell: str, dtype: str, precision: str) -> tuple[Level | None, str]:
    from .fused import FusedCell

    return Level("fused", "fused", FusedCell(cupy, cell, dtype, precision)), "fused: compiled at first use"


def _cudnn(cupy: Any, cell: str, dtype: str, precision: str) -> tuple[Level | None, str]:
    from .cudnn import library
    from .cudnn.cell import CudnnCell

    loaded = library.load(cupy)
    told = f"cudnn {loaded.name}"
    return Level("cudnn", told, CudnnCell(loaded, cupy, cell, dtype, precision)), f"{told}: {loaded.path}"


MAKERS: dict[str, Callable[[Any, str, str, str], tuple[Level | None, str]]] = {"cudnn": _cudnn, "fused": _fused}
"""How each level is made, by its name."""


class LevelledCell:
    """A cell on one device by its levels, each call by the one that `in_order` names; what none can do, by array code.

    It has the methods of a fast cell: see `xlstm.backends.Choice`. A tape remembers who made it.

    Parameters
    ----------
    cupy, cell
        The module, and the cell's name.
    levels
        Those that are there.
    demanded
        The name of the level that was asked for: a call that it cannot do is then an error.
    """

    needs_context = True

    def __init__(self, cupy: Any, cell: str, levels: Sequence[Level], demanded: str | None) -> None:
        self._cupy, self._cell = cupy, cell
        self._levels, self._demanded = {level.name: level for level in levels}, demanded

    def order(self, xp: Any, lengths: list[int] | None, rows: int, time: int, device: Any) -> Order | None:
        """What `forward` takes for its `lengths`: the same for every level."""
        return None if lengths is None or min(lengths) == time else Order(self._cupy, lengths, time)

    def pack(self, params: Mapping[str, Any], precision: str | None = None) -> dict[str, Any]:
        """What each level makes of the parameters, by its name: for `forward`'s `packed`."""
        return {name: level.cell.pack(params) for name, level in self._levels.items()}

    def frozen(self, packed: Any) -> Callable[[Any, Any], Any]:
        """There is no shorter call than `forward` on a GPU: None asks for it."""
        return lambda x, state: None

    def forward(
        self,
        params: Mapping[str, Any],
        x: Any,
        state: Any = None,
        lengths: Any = None,
        *,
        tokens: Any = None,
        packed: Any = None,
        **options: Any,
    ) -> tuple[Any, Any, Any]:
        """As `xlstm.cells.walk.forward`. `packed` is what `pack` made of the same parameters."""
        N, T = (x if tokens is None else tokens[0]).shape[:2]
        if isinstance(lengths, list):
            lengths = self.order(None, lengths, N, T, None)
        work = Work(time=T, one_hot=tokens is not None and tokens[1] is None)
        for name in in_order(work, tuple(self._levels)):
            level = self._levels[name]
            own = {} if packed is None else {"packed": packed[name]}
            try:
                outputs, final, tape = level.cell.forward(params, x, state, lengths, tokens=tokens, **own, **options)
            except Unsupported as reason:
                if self._demanded is not None:
                    raise RuntimeError(
                        f"kernels={self._demanded!r} cannot do this call: {reason}. Use kernels='auto'."
                    ) from None
                say_once(f"{level.told}: {reason}", f"{level.told} leaves a call to others: {reason}")
                continue
            return outputs, final, None if tape is None else (level.cell, tape)
        record = array_code().cell(self._cell)
        if lengths is not None:
            like = params["weight_hh"]
            lengths = record.order(_namespace(like), lengths.lengths, N, T, like.device)
        outputs, final, tape = record.forward(params, x, state, lengths, tokens=tokens, **options)
        return outputs, final, None if tape is None else (record, tape)

    def backward(
        self, params: Mapping[str, Any], tape: Any, *gradients: Any, **options: Any
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """As `xlstm.cells.walk.backward`, by whoever made the tape."""
        made_by, own = tape
        result: tuple[Any, Any, Mapping[str, Any]] = made_by.backward(params, own, *gradients, **options)
        return result


def _namespace(array: Any) -> Any:
    from array_api_compat import array_namespace

    return array_namespace(array)
