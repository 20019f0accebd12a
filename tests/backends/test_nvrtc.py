"""Every kernel for GPUs compiles for every architecture, and its threads keep what they work with in registers.

In the suite for the oldest, the newest and one between: no source asks which it is compiled for. With the environment
variable XLSTM_ALL_ARCHITECTURES=1 for all.
"""

import os
import platform
import sys

import pytest
from xlstm.backends.cuda import module

from ..emulator.emulator import declared
from ..nvrtc import CompileError, Used, compiled, used

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the extra dev brings NVRTC to Linux on x86-64 alone",
)

ALL = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
ARCHITECTURES = ALL if os.environ.get("XLSTM_ALL_ARCHITECTURES") == "1" else ("sm_75", "sm_90", "sm_120")
MOST = {True: 64, False: 128}
"""The registers of a thread in a kernel whose threads share nothing, and in one whose threads share memory."""
LARGEST_BLOCKS = {"add_sorted": 1024}
"""The threads of a block, of kernels that have more than 256: their registers have to fit into one processor."""

PORT = module.source("port.h")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "defines"), module.variants(), ids=["-".join([name, *defines]) for name, defines in module.variants()]
)
def test_kernels_compile_and_stay_in_registers(name, defines, dtype, arch):
    options = module.options(dtype, defines)
    kernels = compiled(module.source(name), arch, options)
    known = {
        kernel.name: kernel for kernel in declared(module.source(name), "float" if dtype == "float32" else "double")
    }
    assert kernels.keys() == known.keys()
    for kernel, need in kernels.items():
        assert need.spilled == need.local == 0, f"{kernel} on {arch}: {need}"
        assert 0 < need.registers <= MOST[known[kernel].lone], f"{kernel} on {arch}: {need}"
        assert need.registers * LARGEST_BLOCKS.get(kernel, 256) <= 65536, f"{kernel} on {arch}: {need}"
        assert need.shared <= 48 * 1024, f"{kernel} on {arch}: {need}"


def test_every_source_is_compiled():
    assert {name for name, _ in module.variants()} == {path.name for path in module.FOLDER.glob("*.cu")}


def test_no_source_asks_for_the_architecture():
    """Else what compiles for three of them says nothing of the others."""
    asking = [path.name for path in module.FOLDER.iterdir() if "__CUDA_ARCH" in path.read_text(encoding="utf-8")]
    assert not asking


SPILLS = """
extern "C" __global__ void __launch_bounds__(1024) spills(const REAL* x, REAL* y, i64 n) {
  REAL held[150];
#pragma unroll
  for (int k = 0; k < 150; k++) held[k] = x[k * n + thread_of_all()];
  block_sync();
#pragma unroll
  for (int k = 0; k < 150; k++) y[k * n + thread_of_all()] = held[149 - k] * held[k];
}
"""
INDEXED = """
LONE_KERNEL void indexed(const i64* where, REAL* y, i64 n) {
  REAL held[64] = {};
  for (i64 k = 0; k < n; k++) held[where[k] & 63] += y[k];
  y[thread_of_all()] = held[where[thread_of_all()] & 63];
}
"""


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
def test_what_does_not_stay_in_registers_is_seen(arch):
    options = module.options("float32", ())
    assert compiled(PORT + SPILLS, arch, options)["spills"].spilled > 0
    assert compiled(PORT + INDEXED, arch, options)["indexed"].local >= 256


def test_what_does_not_compile_is_seen():
    with pytest.raises(CompileError, match=r'identifier "missing" is undefined'):
        compiled(PORT + "LONE_KERNEL void wrong(REAL* y) { y[0] = missing; }", "sm_90", module.options("float32", ()))
    with pytest.raises(CompileError, match="NVRTC_ERROR_INVALID_OPTION"):
        compiled(PORT, "sm_11", module.options("float32", ()))


def test_shared_memory_is_seen():
    source = PORT + "KERNEL void shares(REAL* y) { SHARED(REAL, part, 256); part[thread_x()] = y[0]; block_sync();"
    source += " y[thread_x()] = part[255 - thread_x()]; }"
    assert compiled(source, "sm_90", module.options("float64", ()))["shares"].shared >= 2048


def test_a_log_is_read():
    log = (
        "ptxas info    : 0 bytes gmem\nptxas info    : Compiling entry function 'first' for 'sm_90'\n"
        "ptxas info    : Function properties for first\n"
        "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 1024 bytes smem\n"
        "ptxas info    : Compiling entry function 'second' for 'sm_90'\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nptxas info    : Used 9 registers\n"
    )
    assert used(log) == {"first": Used(40, 8, 28, 1024), "second": Used(9, 0, 0, 0)}
