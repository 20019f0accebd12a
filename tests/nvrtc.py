"""CUDA's own compiler, which needs no GPU: kernels to machine code, and what it says of registers and local memory."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .peers import peer

OPTIONS = ("-ftz=true", "--ptxas-options=-v")
"""What CuPy adds to the options of every kernel; and that the compiler tells what it used."""


class Used(NamedTuple):
    """What one kernel needs of a GPU."""

    registers: int  # of each thread
    local: int  # bytes of each thread that are no registers: arrays with indices that only the run tells
    spilled: int  # bytes that found no place in the registers
    shared: int  # bytes of each block


class CompileError(Exception):
    """What the compiler says of a source."""


@functools.cache
def _library() -> Any:
    """NVRTC, from NVIDIA's wheel."""
    folder = Path(next(iter(peer("nvidia.cuda_nvrtc").__path__))) / "lib"
    for builtins in sorted(folder.glob("libnvrtc-builtins.so*")):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)  # NVRTC looks for it where the loader does
    library = ctypes.CDLL(str(next(iter(sorted(folder.glob("libnvrtc.so*"))))))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _text(ask_size: Any, ask: Any, program: Any) -> bytes:
    size = ctypes.c_size_t()
    ask_size(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    ask(program, text)
    return text.raw


def compiled(source: str, arch: str, options: Sequence[str]) -> dict[str, Used]:
    """The kernels of a source for an architecture such as "sm_90", by name.

    Raises
    ------
    CompileError
        With the compiler's log.
    """
    nvrtc, program = _library(), ctypes.c_void_p()
    given = [option.encode() for option in (*options, *OPTIONS, f"-arch={arch}")]
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if status:
            raise CompileError(f"{nvrtc.nvrtcGetErrorString(status).decode()}: {log}")
        cubin = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert cubin.startswith(b"\x7fELF"), "machine code, not PTX"
    kernels = used(log)
    assert all(name.encode() in cubin for name in kernels)
    return kernels


def used(log: str) -> dict[str, Used]:
    """What a log tells of each kernel."""
    kernels = {}
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):

        def number(pattern: str, text: str = text) -> int:
            found = re.search(pattern, text)
            return int(found[1]) if found else 0

        assert "Used" in text, f"the compiler says nothing of {name}: {log}"
        kernels[name] = Used(
            number(r"Used (\d+) registers"),
            number(r"(\d+) bytes stack frame"),
            number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            number(r"(\d+) bytes smem"),
        )
    return kernels
