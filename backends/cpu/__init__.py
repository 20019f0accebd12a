"""The compiled kernels of the CPU: which there are, which run here, and why not the others.

The instruction set is chosen once, when this module is loaded: the best that the CPU has, or the one that the
environment variable XLSTM_CPU_TARGET names. `find` in the package above asks here.
"""

from __future__ import annotations

import os
from typing import Any

from .layer import CompiledLayer

try:
    from . import _kernels
except ImportError as error:  # built without a compiler, or for another Python
    _kernels = None  # type: ignore[assignment]
    _missing = str(error)

CELLS = ("lstm", "rnn")
DTYPES = ("float32", "float64")
INSTALL = "install a C++ compiler (GCC or Clang), then: pip install --force-reinstall --no-deps xp-lstm"


def targets() -> dict[str, bool]:
    """The instruction sets that this package was compiled for, best first, and whether this CPU has each."""
    return {} if _kernels is None else dict(_kernels.targets())


def _choose() -> str | None:
    usable = [name for name, runs in targets().items() if runs]
    wanted = os.environ.get("XLSTM_CPU_TARGET")
    if not wanted or not usable:
        return usable[0] if usable else None
    if wanted not in usable:
        raise ImportError(
            f"the environment variable XLSTM_CPU_TARGET is {wanted!r}: expected one of {', '.join(usable)}, "
            "the instruction sets that were compiled and that this CPU has."
        )
    return wanted


target = _choose()
"""The instruction set in use; None where there are no kernels."""


def layer(cell: str, dtype: str) -> Any | None:
    """The compiled layer for a cell and dtype, or None where there is none."""
    if target is None:
        return None
    number = list(targets()).index(target)
    which = (number * len(DTYPES) + DTYPES.index(dtype)) * len(CELLS) + CELLS.index(cell)
    return CompiledLayer(_kernels, which, cell, dtype, threads=0)


def why_not() -> str:
    """Why there are no kernels, and what would change that."""
    return f"the compiled kernels were not built: {INSTALL}"
