"""Kernels and products by address on the stand-in for CuPy: `cupy.RawModule` and `cupy.cuda.cublas.gemmEx`."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .emulator.emulator import Emulated
from .standin_machine import CUDADriverError
from .standin_machine import machine_now as _gpu


def _is_array(value: Any) -> bool:
    return hasattr(value, "_block")


def _address(value: Any) -> tuple[int, Any] | None:
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return (value._host.ctypes.data if value.size else 0, value.dtype) if _is_array(value) else None


class RawModule:
    """`cupy.RawModule`: its kernels run in the emulator, by name."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: Any = None,
    ) -> None:
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        if code is None or path is not None or backend != "nvrtc" or enable_cooperative_groups or jitify:
            raise NotImplementedError("the stand-in compiles plain sources alone")
        self._emulated = Emulated(code, options)

    def get_function(self, name: str) -> RawKernel:
        if name not in self._emulated.kernels:
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return RawKernel(self._emulated, name)


class RawKernel:
    """`cupy.RawKernel`."""

    def __init__(self, emulated: Emulated, name: str) -> None:
        self._emulated, self.name = emulated, name

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        if not all(isinstance(value, tuple) for value in (grid, block, args)) or shared_mem:
            raise TypeError("grid, block and args are tuples, and the kernels here have no dynamic shared memory")
        reads, writes = [], []
        for parameter, argument in zip(self._emulated.kernels[self.name].parameters, args, strict=False):
            if _is_array(argument):
                argument._check_device()
                (reads if parameter.constant else writes).append(argument._block)
        gpu = _gpu()
        gpu.launch(self.name, reads, writes)
        self._emulated.launch(self.name, grid, block, args, _address, gpu.schedule)
        for touched in (*reads, *writes):
            touched.check_guards()


CUBLAS = {
    "CUBLAS_OP_N": 0,
    "CUBLAS_OP_T": 1,
    "CUBLAS_COMPUTE_32F": 68,
    "CUBLAS_COMPUTE_32F_FAST_TF32": 77,
    "CUBLAS_COMPUTE_64F": 70,
    "CUBLAS_GEMM_DEFAULT": -1,
}
CUDA_TYPES = {0: np.float32, 1: np.float64}  # CUDA_R_32F, CUDA_R_64F


def _matrix(address: int, rows: int, columns: int, leading: int, dtype: Any) -> tuple[Any, Any]:
    """A matrix in the order of Fortran that stands at an address, and the block that holds it."""
    if leading < max(1, rows):
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE: a leading dimension is less than the rows")
    itemsize = np.dtype(dtype).itemsize
    size = (leading * (columns - 1) + rows) * itemsize
    block = _gpu().block_at(address, size)
    start = address - block.address
    memory = np.ndarray((size // itemsize,), dtype, block.bytes, start)
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), (itemsize, itemsize * leading)), block


def _tf32(values: Any) -> Any:
    """Rounded to the 10 bits of a mantissa that TF32 reads."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)).view(np.float32)


def gemm_ex(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int, B: int,
    Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int,
) -> None:  # fmt: skip
    """`cupy.cuda.cublas.gemmEx`: C = alpha · op(A) · op(B) + beta · C, all in the order of Fortran, by addresses.

    `alpha` and `beta` are addresses on the host. An address of a device has to be that of memory which is still held.
    """
    gpu = _gpu()
    if handle != 1 + gpu.current:
        raise RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")
    if not Atype == Btype == Ctype or (computeType == 70) != (Ctype == 1) or computeType not in (68, 77, 70):
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")
    if min(m, n, k) < 0 or max(m, n, k, lda, ldb, ldc) >= 2**31 or transa not in (0, 1) or transb not in (0, 1):
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE")
    if not m * n:
        return
    dtype: Any = CUDA_TYPES[Ctype]
    scale_type: Any = ctypes.c_double if Ctype == 1 else ctypes.c_float
    a_scale, b_scale = (scale_type.from_address(address).value for address in (alpha, beta))
    c, c_block = _matrix(C, m, n, ldc, dtype)
    product, read = np.zeros((m, n), dtype), [c_block] if b_scale else []
    if k:
        a, a_block = _matrix(A, *((m, k) if transa == 0 else (k, m)), lda, dtype)
        b, b_block = _matrix(B, *((k, n) if transb == 0 else (n, k)), ldb, dtype)
        for block in (a_block, b_block, c_block):
            if block.number != gpu.current:
                raise RuntimeError(f"gemmEx on device {gpu.current} was given memory of device {block.number}")
        if np.shares_memory(a, c) or np.shares_memory(b, c):
            raise ValueError("a product is written over what it reads: on a GPU these race")
        read += [a_block, b_block]
        a, b = (a if transa == 0 else a.T), (b if transb == 0 else b.T)
        if computeType == 77:
            a, b = _tf32(a), _tf32(b)
    gpu.launch("gemmEx", read, [c_block], kind="products")
    with np.errstate(all="ignore"):
        if k:
            product = dtype(a_scale) * (a @ b)
        c[...] = product if b_scale == 0 else product + dtype(b_scale) * c
