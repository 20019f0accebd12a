"""From the sources of the kernels to functions of CuPy's: compiled at first use for the device's architecture.

CuPy keeps what it has compiled on disk, so that the compiler runs once a machine.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "kernels"
_REALS = {"float32": "float", "float64": "double"}
DTYPES = tuple(_REALS)
"""Those that kernels are compiled for."""
THREADS = 256
"""Of a block, in kernels with a thread a number."""


@functools.cache
def source(name: str) -> str:
    """The text of a file of `kernels/`, with the text of each file that it includes in its place, once."""
    seen: set[str] = set()

    def text(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        own = (FOLDER / name).read_text(encoding="utf-8")
        return re.sub(r'^#include "(\w+\.h)"$', lambda match: text(match[1]), own, flags=re.MULTILINE)

    return text(name)


VARIANTS = {
    "steps.cu": (("CELL_LSTM",), ("CELL_RNN",), ("CELL_GRU",)),
    "sixteen.cu": (("FLOAT16",), ("BFLOAT16",)),
}
"""The macros of the sources that are compiled in several ways; all others are compiled without any."""


def variants() -> list[tuple[str, tuple[str, ...]]]:
    """Every source with the macros that it is compiled with: all that `Module` takes."""
    names = sorted(path.name for path in FOLDER.glob("*.cu"))
    return [(name, defines) for name in names for defines in VARIANTS.get(name, ((),))]


def options(dtype: str, defines: tuple[str, ...]) -> tuple[str, ...]:
    """The options of the compiler; CuPy adds -ftz=true, by which float32 subnormals are zero."""
    return ("-std=c++17", f"-DREAL={_REALS[dtype]}", *(f"-D{define}" for define in defines))


class Module:
    """The kernels of one source file for one dtype.

    Parameters
    ----------
    cupy
        The module `cupy`.
    name
        A file of `kernels/`.
    dtype
        `"float32"` or `"float64"`: what REAL is in it.
    defines
        Macros that are defined.
    """

    def __init__(self, cupy: Any, name: str, dtype: str, defines: tuple[str, ...] = ()) -> None:
        if defines not in VARIANTS.get(name, ((),)):
            raise ValueError(f"{name} is not compiled with {defines}: VARIANTS has what the tests compile")
        self._module = cupy.RawModule(code=source(name), options=options(dtype, defines))
        self._functions: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """The kernel of this name: `kernel(grid, block, arguments)`, on CuPy's current device and stream.

        Arguments are CuPy's arrays, None for a null pointer, int for i64, NumPy numbers of the dtype for REAL.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        function = self._functions[name] = self._module.get_function(name)
        setattr(self, name, function)  # found at once from the second time on
        return function


def contiguous(array: Any, dtype: Any) -> Any:
    """An array of CuPy's as kernels read it: itself where it is contiguous and of that dtype, else a copy; or None."""
    if array is None:
        return None
    if array.dtype != dtype:
        array = array.astype(dtype)
    return array if array.flags.c_contiguous else array.copy()


def strides(array: Any) -> list[int]:
    """How many numbers lie between two neighbours of each axis."""
    return [stride // array.itemsize for stride in array.strides]


def blocks(threads: int, size: int) -> tuple[int]:
    """A grid in one dimension of as many blocks of `size` threads as hold so many threads."""
    return (max(1, -(-threads // size)),)


def launch(kernel: Any, threads: int, *arguments: Any) -> None:
    """A kernel with a thread a number."""
    kernel(blocks(threads, THREADS), (THREADS,), arguments)
