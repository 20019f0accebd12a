"""The products' sums stay in registers: a compiler that keeps them on the stack makes a kernel three times slower, with
nothing to see in the source, and with the same results.

Read off the built extension, if GCC 12 or a later one built it: the blocks' sizes were chosen by that. Where the test
fails the results are right, and the blocks of backends/cpu/kernels/matrix.h want another size.
"""

import re
import shutil
import subprocess
from collections import Counter

import pytest
from xlstm.backends import cpu

PRODUCTS = re.compile(r"(gate_panel|input_panel|weight_block)<")
SPILL = re.compile(r"v?mov[au]p[sd]\s+%[xyz]mm\d+,.*\(%(r[sb]p)")  # a vector register written to the stack
FRAME = re.compile(
    r"(mov\s+%rsp|lea\s+\S*\(%rsp\)),%rbp"
)  # else %rbp is a register like any other, say for the results


def objdump(*arguments: str) -> str:
    path = cpu._kernels.__file__
    return subprocess.run(["objdump", *arguments, path], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def functions() -> list[tuple[str, list[str]]]:
    """The products, of every instruction set and dtype: name and instructions."""
    if cpu._kernels is None or "avx2" not in cpu.targets():
        pytest.skip("for the kernels of x86-64")
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    compiler = re.search(r"GCC: .*? (\d+)\.\d+\.\d+", "".join(re.findall(r"  (.{16})$", objdump("-sj.comment"), re.M)))
    if compiler is None or int(compiler[1]) < 12:
        pytest.skip("for GCC from version 12 on")
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in objdump("-dC", "--no-show-raw-insn").splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            inside = PRODUCTS.search(head[1]) is not None
            if inside:
                found.append((head[1], []))
        elif inside and ":\t" in line:
            found[-1][1].append(line.split(":\t", 1)[1])
    if not found:
        pytest.skip("the extension has no symbols")
    return found


def test_no_sum_is_kept_on_the_stack(functions):
    spilled: Counter[str] = Counter()
    for name, code in functions:
        stack = ("rsp", "rbp") if any(map(FRAME.match, code)) else ("rsp",)
        spilled[name] += sum(found[1] in stack for found in map(SPILL.match, code) if found)
    assert not +spilled


def test_products_use_vectors_of_every_width(functions):
    """That the test above looks at the right code: at AVX-512's, AVX2's and SSE2's, each with its multiplications."""
    for multiplication in (r"vfmadd\w+p[sd].*%zmm", r"vfmadd\w+p[sd].*%ymm", r"mulp[sd].*%xmm"):
        products = [name for name, code in functions if re.search(multiplication, "\n".join(code))]
        assert len(products) > 8, multiplication
