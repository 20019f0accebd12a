"""cuDNN as a shared library: where it is found, how its functions are called, and what its errors mean.

Nothing here needs NVIDIA's headers: `SIGNATURES` says what each function takes, and `benchmarks/cudnn_signatures.py`
compares that with the headers, for somebody who has them.
"""

from __future__ import annotations

import ctypes as C
import os
import re
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

OLDEST, BEFORE = 90000, 100000
"""The versions that are used, as cudnnGetVersion counts: 9, and not 10."""

P, INT, U, Z = C.c_void_p, C.c_int, C.c_uint32, C.c_size_t
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "cudnnGetVersion": (Z, []),
    "cudnnGetCudartVersion": (Z, []),
    "cudnnGetErrorString": (C.c_char_p, [INT]),
    "cudnnGetLastErrorString": (None, [P, Z]),
    "cudnnCreate": (INT, [P]),
    "cudnnDestroy": (INT, [P]),
    "cudnnSetStream": (INT, [P, P]),
    "cudnnCreateRNNDescriptor": (INT, [P]),
    "cudnnDestroyRNNDescriptor": (INT, [P]),
    # algorithm, cell, bias, direction, input, types of data and of sums, mathematics, D, H, projection, layers,
    # dropout, flags
    "cudnnSetRNNDescriptor_v8": (INT, [P, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, INT, P, U]),
    "cudnnCreateRNNDataDescriptor": (INT, [P]),
    "cudnnDestroyRNNDataDescriptor": (INT, [P]),
    # data type, layout, T, N, width, lengths, what fills the padding
    "cudnnSetRNNDataDescriptor": (INT, [P, INT, INT, INT, INT, INT, P, P]),
    "cudnnCreateTensorDescriptor": (INT, [P]),
    "cudnnDestroyTensorDescriptor": (INT, [P]),
    "cudnnSetTensorNdDescriptor": (INT, [P, INT, INT, P, P]),
    "cudnnGetRNNWeightSpaceSize": (INT, [P, P, P]),
    # handle, cell, layer, size, weights, which matrix, its descriptor and address, its bias's descriptor and address
    "cudnnGetRNNWeightParams": (INT, [P, P, INT, Z, P, INT, P, P, P, P]),
    "cudnnGetRNNTempSpaceSizes": (INT, [P, P, INT, P, P, P]),
    # handle, cell, mode, lengths, x, y, h and c (descriptor, first, last), and sizes and addresses: weights,
    # workspace, reserve space
    "cudnnRNNForward": (INT, [P, P, INT, P, P, P, P, P, P, P, P, P, P, P, Z, P, Z, P, Z, P]),
    # handle, cell, lengths, y (descriptor, y, dy), x (descriptor, dx), h and c (descriptor, first, d_last, d_first), …
    "cudnnRNNBackwardData_v8": (INT, [P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, Z, P, Z, P, Z, P]),
    # handle, cell, whether it adds, lengths, x, h (descriptor, first), y, weights' gradient, …
    "cudnnRNNBackwardWeights_v8": (INT, [P, P, INT, P, P, P, P, P, P, P, Z, P, Z, P, Z, P]),
}

_WINDOWS = sys.platform == "win32"
_NAME = "cudnn64_9.dll" if _WINDOWS else "libcudnn.so.9"
_NOT_LOADED = "cuDNN's own parts could not be loaded, or are of different versions: remove all copies of it but one"
_NO_MEMORY = 4004
_REMEDIES = {
    1001: "the GPU or its driver does not work, or is too old for it: compare nvidia-smi with the version of cuDNN",
    1002: _NOT_LOADED,
    1008: _NOT_LOADED,
    _NO_MEMORY: "the GPU's memory is full: use a smaller batch",
}


class CudnnError(RuntimeError):
    """A call of cuDNN's that failed: `status` is its number, the text says what it means and what to do."""

    def __init__(self, function: str, status: int, meaning: str, details: str) -> None:
        remedy = _REMEDIES.get(status, "")
        if 5000 <= status < 6000:
            # The kernel was started and died: whatever comes next on this device may fail for that reason alone.
            remedy = "the device may be unusable in this process from now on: start it again"
        told = f"{meaning}: {details}" if details else meaning
        super().__init__(f"{function} failed with {told} (status {status}){f'; {remedy}' if remedy else ''}.")
        self.function, self.status = function, status

    @property
    def not_supported(self) -> bool:
        """Whether cuDNN is in order and only cannot do this call."""
        return 3000 <= self.status < 4000


class Library:
    """A loaded cuDNN, with a handle for each thread and device.

    Parameters
    ----------
    path
        Of the shared library, or its name where the loader finds it.
    cuda
        The major version of CUDA that CuPy is for: cuDNN has to be for the same.
    mode
        As for `ctypes.CDLL`.

    Attributes
    ----------
    path : str
    version : int
        As cudnnGetVersion counts: 92800 is 9.28.0.

    Raises
    ------
    RuntimeError
        If it cannot be loaded, is of another version than 9, or is for another CUDA than CuPy.
    """

    def __init__(self, path: str, cuda: int, mode: int = C.DEFAULT_MODE) -> None:
        self.path = path
        try:
            self._dll = C.CDLL(path, mode=mode)
        except OSError as error:
            raise RuntimeError(f"cuDNN could not be loaded from {path} ({error}). {_install(cuda)}") from error
        for name, (result, arguments) in SIGNATURES.items():
            try:
                function = getattr(self._dll, name)
            except AttributeError:
                raise RuntimeError(f"{path} is no cuDNN 9: it has no function {name}. {_install(cuda)}") from None
            function.restype, function.argtypes = result, arguments
            if name == "cudnnGetVersion":
                self.version = int(function())
                if not OLDEST <= self.version < BEFORE:
                    age = "older" if self.version < OLDEST else "newer"
                    raise RuntimeError(
                        f"cuDNN {self.name} in {path} is {age} than 9, the version that is used. {_install(cuda)}"
                    )
        its_cuda = int(self._dll.cudnnGetCudartVersion()) // 1000
        if its_cuda != cuda:
            raise RuntimeError(f"cuDNN in {path} is for CUDA {its_cuda}, but CuPy is for CUDA {cuda}. {_install(cuda)}")
        self._threads = threading.local()
        self._process: int | None = None  # the one that made the first handle

    @property
    def name(self) -> str:
        """The version in words: "9.28.0", and as 8 and older counted, "8.9.7"."""
        major, rest = divmod(self.version, 10000) if self.version >= OLDEST else divmod(self.version, 1000)
        return f"{major}.{rest // 100}.{rest % 100}"

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call a function of cuDNN's; CudnnError where it fails, MemoryError where the device has none left."""
        status = getattr(self._dll, name)(*arguments)
        if status:
            text = C.create_string_buffer(1024)
            self._dll.cudnnGetLastErrorString(text, len(text))
            meaning = self._dll.cudnnGetErrorString(status) or b"an unknown status"
            error = CudnnError(name, status, meaning.decode(), text.value.decode(errors="replace").strip())
            raise error if status != _NO_MEMORY else MemoryError(str(error))

    def make(self, kind: str) -> Made:
        """A new object of cuDNN's: `"RNNDescriptor"`, `"RNNDataDescriptor"`, `"TensorDescriptor"`; `""` is a handle."""
        return Made(self, kind)

    def handle(self, device: int, stream: int) -> C.c_void_p:
        """This thread's handle for the current device, of the number `device`, set to the stream at an address.

        Raises
        ------
        RuntimeError
            In a process that was forked from one that had used it: CUDA does not survive that.
        """
        process = os.getpid()
        if self._process is None:
            self._process = process
        elif self._process != process:
            raise RuntimeError(
                "CUDA was used before this process was forked from its parent, and cannot be used here. Start "
                "processes with multiprocessing's 'spawn' or 'forkserver', or fork before the first use of the GPU."
            )
        handles: dict[int, Made] | None = getattr(self._threads, "handles", None)
        if handles is None:
            handles = self._threads.handles = {}
        if device not in handles:
            handles[device] = self.make("")
        handle = handles[device].pointer
        self("cudnnSetStream", handle, stream)
        return handle

    def destroy(self, kind: str, pointer: C.c_void_p) -> None:
        """Release what `make` made, but not at the end of the process, nor in one that was forked from the user's."""
        if not sys.is_finalizing() and self._process in (None, os.getpid()):
            getattr(self._dll, f"cudnnDestroy{kind}")(pointer)


class Made:
    """An object of cuDNN's, released when nobody has it any more."""

    def __init__(self, library: Library, kind: str) -> None:
        pointer = C.c_void_p()
        library(f"cudnnCreate{kind}", C.byref(pointer))
        self.pointer, self._library, self._kind = pointer, library, kind

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self._library.destroy(self._kind, self.pointer)


# ---------------------------------------------------------------- where it is


def _install(cuda: int) -> str:
    return f"Install a fitting one with: pip install 'nvidia-cudnn-cu{cuda}>=9,<10' (the extra cudnn{cuda})."


def loaded() -> list[str]:
    """The files of cuDNN that this process has loaded, by itself or through other packages; known on Linux alone."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return sorted(set(re.findall(r"(/\S.*/libcudnn[\w]*\.so[.\d]*)$", maps, flags=re.MULTILINE)))


def candidates(cuda: int) -> list[str]:
    """Where a cuDNN for this major version of CUDA is looked for on disk, the first that is there being taken.

    pip's package, conda's, and then the name alone, for the system's loader to find.
    """
    places = []
    try:
        wheel = metadata.distribution(f"nvidia-cudnn-cu{cuda}")
    except metadata.PackageNotFoundError:
        pass
    else:
        places.append(Path(str(wheel.locate_file("nvidia/cudnn"))) / ("bin" if _WINDOWS else "lib") / _NAME)
    for prefix in dict.fromkeys(filter(None, (os.environ.get("CONDA_PREFIX"), sys.prefix))):
        places.append(Path(prefix) / ("Library/bin" if _WINDOWS else "lib") / _NAME)
    return [str(place) for place in places if place.is_file()] + [_NAME]


_lock = threading.Lock()
_found: dict[int, Library] = {}


def load(cupy: Any) -> Library:
    """The cuDNN of this process: one that is loaded already (PyTorch brings its own), else one that is found on disk.

    Parameters
    ----------
    cupy
        The module `cupy`.

    Raises
    ------
    RuntimeError
        If there is none that can be used, or parts of two copies are loaded: what is wrong, and what mends it.
    """
    cuda = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
    with _lock:
        if cuda not in _found:
            _found[cuda] = _load(cuda)
        return _found[cuda]


def _load(cuda: int) -> Library:
    _refuse_two()
    here = [path for path in loaded() if Path(path).name.startswith(("libcudnn.so.", "libcudnn-"))]
    if here:
        # RTLD_NOLOAD gives what is there, and never a second copy, were the file replaced since.
        library = Library(here[0], cuda, os.RTLD_NOLOAD)
    else:
        places = candidates(cuda)
        try:
            library = Library(places[0], cuda)
        except RuntimeError as error:
            if places == [_NAME] and isinstance(error.__cause__, OSError):
                raise RuntimeError(f"cuDNN is not installed. {_install(cuda)}") from error
            raise
    _refuse_two()
    return library


def _refuse_two() -> None:
    """Raise where parts of cuDNN from two folders are loaded: they call each other, and do not fit."""
    folders = sorted({str(Path(path).parent) for path in loaded()})
    if len(folders) > 1:
        raise RuntimeError(
            f"parts of cuDNN from {' and '.join(folders)} are loaded into this process together, which breaks both. "
            "Uninstall all but one: PyTorch's wheel brings one as the package nvidia-cudnn, which is used here too."
        )
