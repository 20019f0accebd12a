"""Products by cuBLAS, on addresses: no array and no view is made for one, since each step of a layer has one."""

from __future__ import annotations

import ctypes
from typing import Any

from . import Unsupported

LARGEST = 2**31 - 1
"""What cuBLAS takes for a size, and a launch for its blocks: both are C ints."""


class Products:
    """Matrix products of one dtype and precision on CuPy's current device and stream.

    Parameters
    ----------
    cupy
        The module `cupy`.
    dtype
        `"float32"` or `"float64"`.
    precision
        `"highest"` for IEEE arithmetic; `"high"` lets factors in float32 be rounded to TF32, sums stay in float32.

    Raises
    ------
    Unsupported
        If cuBLAS cannot be loaded.
    """

    def __init__(self, cupy: Any, dtype: str, precision: str) -> None:
        try:
            cublas = cupy.cuda.cublas  # not at the top: CuPy loads the library with this name
        except ImportError as error:
            raise Unsupported(f"CuPy cannot load cuBLAS ({error})") from error
        self._gemm, self._handle = cublas.gemmEx, cupy.cuda.device.get_cublas_handle
        self._type = {"float32": 0, "float64": 1}[dtype]  # CUDA_R_32F, CUDA_R_64F
        if dtype == "float64":
            self._compute = cublas.CUBLAS_COMPUTE_64F
        else:
            self._compute = cublas.CUBLAS_COMPUTE_32F if precision == "highest" else cublas.CUBLAS_COMPUTE_32F_FAST_TF32
        self._as_is, self._turned, self._algorithm = cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T, cublas.CUBLAS_GEMM_DEFAULT
        scalar = ctypes.c_double if dtype == "float64" else ctypes.c_float
        self._numbers = scalar(0), scalar(1)  # on the host; to be kept, since cuBLAS is given their addresses
        self._zero, self._one = map(ctypes.addressof, self._numbers)

    def multiply(
        self,
        m: int,
        n: int,
        k: int,
        a: int,
        a_width: int,
        b: int,
        b_width: int,
        out: int,
        out_width: int,
        *,
        a_turned: bool = False,
        b_turned: bool = False,
        add: bool = False,
    ) -> None:
        """out (m, n) = a (m, k) · b (k, n), or `out` plus that.

        Parameters
        ----------
        m, n, k
            The sizes. Nothing is done where one of them is 0: without a k, `out` is to be set by the caller.
        a, b, out
            Addresses of the first numbers.
        a_width, b_width, out_width
            How many numbers lie between the beginnings of two rows, as they stand in memory.
        a_turned, b_turned
            Whether a stands as (k, m), b as (n, k).
        add
            Whether the product is added to `out`.
        """
        if not (m and n and k):
            return
        # cuBLAS thinks in columns: there the same memory holds each matrix turned, and outᵀ = bᵀ · aᵀ.
        self._gemm(
            self._handle(),
            self._turned if b_turned else self._as_is,
            self._turned if a_turned else self._as_is,
            n,
            m,
            k,
            self._one,
            b,
            self._type,
            b_width,
            a,
            self._type,
            a_width,
            self._one if add else self._zero,
            out,
            self._type,
            out_width,
            self._compute,
            self._algorithm,
        )


def check_sizes(*sizes: int) -> None:
    """Raise Unsupported where a size of products or launches to come, these counted in blocks, is no C int."""
    if max(sizes) > LARGEST:
        raise Unsupported(f"a size of this call is {max(sizes)}: products and launches take at most {LARGEST}")
