"""A library with cuDNN's functions that computes on host memory, compiled here: see stub.cpp."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ...emulator.emulator import COMPILER

FOLDER = Path(__file__).parent
SOURCES = [FOLDER / name for name in ("stub.cpp", "arithmetic.h", "cudnn.h")]


def built() -> Path:
    """The library's file, compiled once for its sources."""
    if COMPILER is None:
        pytest.skip("the stand-in for cuDNN needs g++ or clang++")
    key = hashlib.sha256(b"\0".join([COMPILER.encode(), *(file.read_bytes() for file in SOURCES)])).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"xlstm-cudnn-stub-{os.getuid() if hasattr(os, 'getuid') else 0}" / key
    library = folder / "stub_for_tests.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / library.name
            command = [COMPILER, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
            done = subprocess.run(
                [*command, str(SOURCES[0]), "-o", str(made)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            os.replace(made, library)  # several processes may build it at once
    return library


def copy(folder: Path, name: str = "libcudnn.so.9") -> Path:
    """A copy of it, which the loader takes for a library of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(built(), folder / name))


class Stub:
    """What a library does and has seen: `stub["padding"] = 1`, `stub["living"]`.

    padding: 1 leaves the padding of y unwritten and reads that of all else. "supports nothing", "dies", "no device",
    "no memory", "persistent algorithms are wrong",
    "another layout", "more weights" (bytes): what it is told to fail with. "refuses persistent algorithms": 1 when
    asked for sizes, 2 forward, 3 backward. Counts: "calls of cudnnRNNForward" and of the others, "living" (objects),
    "handles", "small" and "persistent" (uses of these algorithms), "data descriptors set"; "stream": the last one.
    """

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        self._dll.stub_get.restype = ctypes.c_long
        self._dll.stub_set.argtypes = [ctypes.c_char_p, ctypes.c_long]
        self._told: set[str] = set()

    def __setitem__(self, name: str, value: int) -> None:
        self._told.add(name)
        self._dll.stub_set(name.encode(), value)

    def __getitem__(self, name: str) -> int:
        return int(self._dll.stub_get(name.encode()))

    def reset(self) -> None:
        """Back to what it does by itself."""
        for name in self._told:
            self._dll.stub_set(name.encode(), 0)
        self._told.clear()

    def calls(self) -> Any:
        """How often each of the three calls was made: forward, of the data, of the weights."""
        names = ("cudnnRNNForward", "cudnnRNNBackwardData_v8", "cudnnRNNBackwardWeights_v8")
        return tuple(self[f"calls of {name}"] for name in names)
