"""What stands in the built extension, with nothing to see of it in the source and in the results here.

The products' sums stay in registers: a compiler that keeps them on the stack makes a kernel three times slower. That is
asked of GCC from version 12 on, by which the blocks' sizes were chosen. Where it fails the results are right, and the
blocks of matrix.h or gate_panels.h in backends/cpu/kernels want another size.

Instructions that only some CPUs of an instruction set have stand where the CPU was asked for them, and nowhere else.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

import pytest
from xlstm.backends import cpu

PRODUCTS = re.compile(r"(gate_panel|few_panels|input_panel|weight_block)<")
SPILL = re.compile(r"v?mov[au]p[sd]\s+%[xyz]mm\d+,.*\(%(r[sb]p)")  # a vector register written to the stack
FRAME = re.compile(
    r"(mov\s+%rsp|lea\s+\S*\(%rsp\)),%rbp"
)  # else %rbp is a register like any other, say for the results


def objdump(*arguments: str) -> str:
    path = cpu._kernels.__file__
    return subprocess.run(["objdump", *arguments, path], capture_output=True, text=True, check=True).stdout


def assembly() -> Iterator[tuple[str, str]]:
    """Every instruction of the extension, with the name of its function."""
    if cpu._kernels is None or "avx2" not in cpu.targets():
        pytest.skip("for the kernels of x86-64")
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    name = ""
    for line in objdump("-dC", "--no-show-raw-insn").splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            name = head[1]
        elif ":\t" in line:
            yield name, line.split(":\t", 1)[1]


SOME_CPUS = {"vpdp": "Int8<true>", "vdpbf16": "BFloat16Pairs"}
"""By the beginning of their names: AVX-512 VNNI and AVX-VNNI, AVX-512 BF16; and in whose functions they may stand."""


def test_instructions_of_some_cpus_stand_where_the_cpu_was_asked():
    wrong, named = set(), False
    for name, code in assembly():
        named |= "narrow" in name
        for begin, format_ in SOME_CPUS.items():
            if code.startswith(begin) and format_ not in name:
                wrong.add((code.split()[0], name))
    if not named:
        pytest.skip("the extension has no symbols")
    assert not wrong


@pytest.fixture(scope="module")
def functions() -> list[tuple[str, list[str]]]:
    """The products, of every instruction set and dtype: name and instructions."""
    instructions = list(assembly())
    compiler = re.search(r"GCC: .*? (\d+)\.\d+\.\d+", "".join(re.findall(r"  (.{16})$", objdump("-sj.comment"), re.M)))
    if compiler is None or int(compiler[1]) < 12:
        pytest.skip("for GCC from version 12 on")
    found = [(name, [code for _, code in lines]) for name, lines in groupby(instructions, lambda line: line[0])]
    found = [(name, code) for name, code in found if PRODUCTS.search(name)]
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
