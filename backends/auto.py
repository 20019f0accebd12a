"""What `device="auto"` stands for: from which size of work on it takes the GPU, and when it falls back."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import crossing, cupy_arrays, numpy_arrays
from .fast import LEVELS
from .notices import say_once

AUTO_MIN_FLOPS_PER_STEP = 10_000_000
"""`"auto"` takes the GPU where one time step of a batch is at least this many floating-point operations.

Array code launches some twenty kernels a step, at 5 to 12 microseconds each, whatever the size: about 150 microseconds
forward. A CPU core does some ten million operations in that time, so smaller steps end sooner on the CPU. This is an
estimate, not a measurement on a GPU, and a cautious one: the fused kernels have two launches a step, and
cuDNN none that Python sees, so that the true limit may well be a tenth of it. `xlstm bench --save` measures the
crossing point of a machine and keeps it, and `"auto"` goes by that.
"""


class AutoRule(NamedTuple):
    """From which size of work on `"auto"` takes the GPU."""

    flops_per_step: float
    """Of one time step of a batch; infinite where the CPU was faster at every size."""
    measured: bool
    """Whether `xlstm bench --save` measured it on this machine; else it is `AUTO_MIN_FLOPS_PER_STEP`."""

    @property
    def never(self) -> bool:
        """Whether it takes the CPU whatever the size."""
        return self.flops_per_step == math.inf

    def __str__(self) -> str:
        if self.never:
            return "the CPU was measured to be faster at every size"
        return (
            f"below {self.flops_per_step / 1e6:.3g} million the CPU "
            f"{'was measured' if self.measured else 'is expected'} to be faster"
        )


def auto_rule() -> AutoRule:
    """The rule that holds on this machine, where CuPy is installed.

    Raises
    ------
    RuntimeError
        If a figure was saved here, and no GPU can be used to compare it with.
    """
    if crossing.saved():
        here = crossing.Machine(numpy_arrays.processor(), cupy_arrays.processor(0))
        if (measured := crossing.of(here)) is not None:
            return AutoRule(measured, True)
    return AutoRule(AUTO_MIN_FLOPS_PER_STEP, False)


def automatic(flops_per_step: float | None, kernels: str = "auto") -> Any:
    """The backend that `"auto"` stands for. Only here may the choice fall back, and it says so once.

    Raises
    ------
    RuntimeError
        Where it would be the CPU, and `kernels` is a level of CUDA GPUs.
    """
    demanded = kernels in LEVELS
    if not demanded and not cupy_arrays.installed():
        return numpy_arrays.BACKEND  # nobody who has no GPU package expects a GPU
    hint = ""
    try:
        if demanded:
            cupy_arrays.backend(0)  # what is missing is told before what is small
        rule = auto_rule()
        work = math.inf if flops_per_step is None else flops_per_step
        if not rule.never and work >= rule.flops_per_step:
            return cupy_arrays.backend(0)
        size = "" if rule.never else f"a step of this work is {work / 1e6:.2g} million operations, and "
        kind, reason = "small work", f"{size}{rule}"
        if rule.measured:  # else nobody has looked whether there is a GPU that works
            hint = " (device='cuda' overrides)"
    except RuntimeError as error:
        kind, reason = "no usable GPU", str(error)
    if demanded:
        raise RuntimeError(
            f"kernels={kernels!r} is for CUDA GPUs, and device='auto' took the CPU: {reason.rstrip('.')}. "
            "Use device='cuda', or kernels='auto'."
        )
    say_once(kind, f"using the CPU: {reason}{hint}", usual=kind == "small work")
    return numpy_arrays.BACKEND
