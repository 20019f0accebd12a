"""Kernels of GPUs on the CPU: their own source, compiled over `simt.h`, called by name with checked arguments."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HEADER = Path(__file__).with_name("simt.h")
COMPILER = next((path for path in map(shutil.which, ("g++", "clang++")) if path), None)
SCALARS = {"i64": (np.dtype("int64"), ctypes.c_longlong), "int": (np.dtype("int32"), ctypes.c_int)}
POINTED = {"i64": "int64", "int": "int32", "u32": "uint32", "float": "float32", "double": "float64", "char": "uint8"}


class Parameter(NamedTuple):
    """One parameter of a kernel."""

    name: str
    kind: str  # "i64", "int", "float" or "double"; of a pointer what it points to
    pointer: bool
    constant: bool  # whether the kernel only reads what it points to


class Kernel(NamedTuple):
    """What the source declares."""

    name: str
    lone: bool
    parameters: tuple[Parameter, ...]


def declared(source: str, real: str) -> list[Kernel]:
    """The kernels of a source, REAL being `real`."""
    kernels = []
    for lone, name, inside in re.findall(r"^(LONE_)?KERNEL\s+void\s+(\w+)\s*\(([^)]*)\)", source, flags=re.MULTILINE):
        parameters = []
        for text in inside.split(","):
            match = re.fullmatch(r"\s*(const\s+)?(\w+)\s*(\*?)\s*(?:__restrict__\s+)?(\w+)\s*", text)
            assert match, f"{name}: the parameter {text!r} is of no known form"
            kind = real if match[2] == "REAL" else match[2]
            assert (match[3] and kind in POINTED) or kind in (*SCALARS, real), f"{name}: {text!r} is of no known type"
            parameters.append(Parameter(match[4], kind, bool(match[3]), bool(match[1])))
        kernels.append(Kernel(name, bool(lone), tuple(parameters)))
    return kernels


def _wrapped(source: str, kernels: list[Kernel]) -> str:
    """The source with a C function for each kernel that launches it."""
    lines = [f'#include "{HEADER}"', source]
    for kernel in kernels:
        types = [f"{p.kind}{'*' if p.pointer else ''}" for p in kernel.parameters]
        call = ", ".join(f"*({kind}*)a[{k}]" for k, kind in enumerate(types))
        lines.append(
            f'extern "C" const char *launch_{kernel.name}'
            "(i64 gx, i64 gy, i64 bx, i64 by, u32 seed, double seconds, void **a) {\n"
            f"  return simt::launch([](void **a) {{ {kernel.name}({call}); }}, a, {str(kernel.lone).lower()}, "
            "gx, gy, bx, by, seed, seconds);\n}"
        )
    return "\n".join(lines)


@functools.cache
def _built(source: str, flags: tuple[str, ...]) -> ctypes.PyDLL:
    """The library of a source; kept from run to run by what it is made of."""
    assert COMPILER is not None, "the emulator needs g++ or clang++"
    text = source + HEADER.read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([COMPILER, *flags, text]).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"xlstm-emulator-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            file, made = Path(work) / "kernels.cpp", Path(work) / "kernels.so"
            file.write_text(source, encoding="utf-8")
            command = [
                COMPILER,
                "-O1",
                "-ffp-contract=off",
                "-shared",
                "-fPIC",
                "-Wno-unused-function",
                "-U_FORTIFY_SOURCE",
                *flags,
            ]
            done = subprocess.run([*command, str(file), "-o", str(made)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            os.replace(made, library)  # several processes may build it at once
    return ctypes.PyDLL(str(library))  # which keeps the interpreter's lock: a launch has the fibres for itself


class Emulated:
    """The kernels of one source.

    Parameters
    ----------
    source
        As `xlstm.backends.cuda.module.source` gives it.
    flags
        Of the compiler: `-std=c++17`, `-DREAL=float`, ….

    Attributes
    ----------
    seconds
        How long a launch may keep the processor.
    """

    seconds = 60.0

    def __init__(self, source: str, flags: Sequence[str]) -> None:
        real = next(flag.partition("=")[2] for flag in flags if flag.startswith("-DREAL="))
        self.kernels = {kernel.name: kernel for kernel in declared(source, real)}
        self._library = _built(_wrapped(source, list(self.kernels.values())), tuple(flags))

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        address: Callable[[Any], tuple[int, Any] | None],
        seed: int = 0,
    ) -> None:
        """Run a kernel.

        Parameters
        ----------
        arguments
            Arrays, None, Python integers for i64, and NumPy numbers.
        address
            The address and dtype of an array; None for what is no array.
        seed
            Of the schedule; 0 for the plain one.

        Raises
        ------
        TypeError
            If the number or a type of the arguments is not as declared.
        RuntimeError
            If the kernel does what a GPU forbids.
        """
        kernel = self.kernels[name]
        if len(arguments) != len(kernel.parameters):
            raise TypeError(f"{name} takes {len(kernel.parameters)} arguments, got {len(arguments)}")
        values: list[Any] = []
        for parameter, argument in zip(kernel.parameters, arguments, strict=True):
            values.append(_value(name, parameter, argument, address))
        sizes = [*map(int, grid), 1, 1][:2] + [*map(int, block), 1, 1][:2]
        for size, most in zip(sizes, (2**31 - 1, 65535, 1024, 1024), strict=True):
            if not 1 <= size <= most:
                raise RuntimeError(f"{name}: CUDA_ERROR_INVALID_VALUE: grid {tuple(grid)}, block {tuple(block)}")
        if sizes[2] * sizes[3] > 1024:
            raise RuntimeError(f"{name}: CUDA_ERROR_INVALID_VALUE: a block of {sizes[2] * sizes[3]} threads")
        function = self._library[f"launch_{name}"]
        function.restype = ctypes.c_char_p
        function.argtypes = [
            *[ctypes.c_longlong] * 4,
            ctypes.c_uint32,
            ctypes.c_double,
            ctypes.POINTER(ctypes.c_void_p),
        ]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        fault = function(*sizes, seed, self.seconds, pointers)
        if fault is not None:
            raise RuntimeError(f"{name}: {fault.decode()}")


def _value(name: str, parameter: Parameter, argument: Any, address: Callable[[Any], tuple[int, Any] | None]) -> Any:
    """An argument as the C value that the kernel takes."""
    where = f"{name}: the argument for {parameter.name}"
    found = address(argument)
    if parameter.pointer:
        if argument is None:
            return ctypes.c_void_p(0)
        if found is None:
            raise TypeError(f"{where} is {type(argument).__name__}, not an array")
        if np.dtype(found[1]) != POINTED[parameter.kind]:
            raise TypeError(f"{where} holds {found[1]}, the kernel expects {POINTED[parameter.kind]}")
        return ctypes.c_void_p(found[0])
    if found is not None or argument is None:
        raise TypeError(f"{where} is {type(argument).__name__}, not a number")
    # CuPy passes a Python integer as 64 bits and a Python float as a double.
    given = np.dtype(np.int64) if type(argument) is int else getattr(argument, "dtype", np.dtype(type(argument)))
    wanted, kind = SCALARS.get(parameter.kind) or (
        np.dtype(POINTED[parameter.kind]),
        ctypes.c_float if parameter.kind == "float" else ctypes.c_double,
    )
    if given != wanted:
        raise TypeError(f"{where} is of {given}, the kernel expects {wanted}")
    return kind(argument)
