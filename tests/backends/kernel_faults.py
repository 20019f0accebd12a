# ruff: noqa: E501 - the table of faults is read by the line
"""Known faults, each planted into the source of the compiled kernels: their tests have to catch every one of them.

    python tests/backends/kernel_faults.py              all of them: about a minute each
    python tests/backends/kernel_faults.py gru.h        those of one file

As tests/test_mutants.py does for what needs no compiler. The package is copied with the fault, and the kernels compiled
for SSE2 alone, which every x86-64 CPU has. Exits with 0 only if the tests pass without a fault and fail with each.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sanitized import build

LAYERS, LARGER, EVERY, SAME = "every_shape", "larger_shapes", "every_shape or of_every_vocabulary", "same_bits"


class Fault(NamedTuple):
    """What stands once in a file of backends/cpu/kernels, and what is written there instead."""

    what: str
    file: str
    right: str
    wrong: str
    tests: str  # which of test_cpu.py, as pytest's -k has it


FAULTS = [
    Fault("r left out of a GRU's candidate", "gru.h", "store(zr, load(zr) + r * from_h)", "store(zr, load(zr) + from_h)", LAYERS),
    Fault("r left out of it in inference", "gru.h", "load(zr) + from_h / r_below", "load(zr) + from_h", LAYERS),
    Fault("u and 1 - u changed", "gru.h", "(1 - u) * whole + u * h_before", "u * whole + (1 - u) * h_before", LAYERS),
    Fault("a GRU's gradient that passes the products by lost", "gru.h", "store(passing + row * TILE + k, d * u);", "store(passing + row * TILE + k, d * 0);", LAYERS),
    Fault("the gradient of r without the product of h", "gru.h", "dr = dx * from_h * (r * (1 - r))", "dr = dx * (r * (1 - r))", LAYERS),
    Fault("the second bias summed as the first", "gru.h", "store(db + 3 * TILE + k, bh);", "store(db + 3 * TILE + k, bx);", LAYERS),
    Fault("the product of h left without r backwards", "gru.h", "d_h = dx * r;", "d_h = dx;", LAYERS),
    Fault("the older h = o · tanh(c) of the c before", "lstm.h", "if constexpr (IN_TWO_PASSES) store(zr, c_new);", "if constexpr (IN_TWO_PASSES) store(zr, c_before);", LAYERS),
    Fault("a cell's gradient without the forget gate", "lstm.h", "store(dc + r * TILE + k, dc_r * f);", "store(dc + r * TILE + k, dc_r);", LAYERS),
    Fault("a span's gates counted from the cell's first", "cell.h", "return Cell::COLUMNS[FIRST / TILE + k].gate;", "return Cell::COLUMNS[k].gate;", LAYERS),
    Fault("blocks of inputs that begin with the first weights", "gate_panels.h", "by_h(p.weights, P, p.K_x, p.K_h) + p.h_before * HN * W,", "by_h(p.weights, P, p.K_x, p.K_h),", LARGER),
    Fault("gates of a block before its product is whole", "gate_panels.h", "if (last && P == COUNT - 1) done(r, size);", "if (P == COUNT - 1) done(r, size);", LARGER),
    Fault("few rows' next tile begun as the first", "gate_panels.h", "p.start + g / PANELS * p.start_tiles", "p.start + 0 * g", LAYERS),
    Fault("the first tiles of few rows again and again", "forward.h", ": units.begin + done, 0, R);", ": units.begin + 0 * done, 0, R);", LAYERS),
    Fault("the steps ahead taken from the block's begin", "forward.h", "input_packed ? task.start[t] - packed_from", "input_packed ? task.start[t] - task.start[0] + 0 * packed_from", LARGER),
    Fault("each block of steps begun anew", "forward.h", "    if (t0 == 0) {\n", "    if (t0 >= 0) {\n", LARGER),
    Fault("a row's end not at its last valid step", "forward.h", "r = running < 0 ? 0 : running; r < rows", "r = running < 0 ? 0 : running + 1; r < rows", LAYERS),
    Fault("a block of time's first gradients lost", "backward.h", "block == blocks - 1, everyone);", "true, everyone);", LARGER),
    Fault("bias sums of the first group alone", "backward.h", "for (long j = 0; j < bias_sums; ++j) sum", "for (long j = 0; j < 1; ++j) sum", LARGER),
    Fault("a limit that NaN does not pass", "vector.h", "INLINE vec at_most(vec a, real limit) { return OF_LIMIT(min); }", "INLINE vec at_most(vec a, real limit) { return a < all(limit) ? a : all(limit); }", "nan_comes_out"),
    Fault("a portion of the weight gradients by every thread", "backward.h", "share(panels, item / cuts % portions, portions)", "share(panels, 0 * (item / cuts) % portions, portions)", SAME),
]  # fmt: skip


def for_sse2_alone(folder: Path) -> None:
    """What is built in a copy of the package."""
    setup = (folder / "setup.py").read_text(encoding="utf-8")
    setup = setup.replace(
        "\nclass BuildKernels", '\nTARGETS = {"x86_64": {"sse2": ["-msse2"]}}\n\n\nclass BuildKernels'
    )
    (folder / "setup.py").write_text(setup, encoding="utf-8")
    table = folder / "backends" / "cpu" / "targets.h"
    source = re.sub(r"XLSTM_DECLARE\(avx\w+\)\n", "", table.read_text(encoding="utf-8"))
    table.write_text(re.sub(r"    XLSTM_TARGET_ROW\(avx[^\n]*(\n {8}[^\n]*)*\n", "", source), encoding="utf-8")


def caught(fault: Fault | None, tests: str) -> tuple[bool, str]:
    """Whether a test fails, and which: of a build with the fault, or of one without any."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def change() -> None:
            for_sse2_alone(folder)
            if fault is not None:
                file = folder / "backends" / "cpu" / "kernels" / fault.file
                source = file.read_text(encoding="utf-8")
                if source.count(fault.right) != 1:
                    raise SystemExit(f"{fault.what}: {fault.right!r} does not stand once in {fault.file}")
                file.write_text(source.replace(fault.right, fault.wrong), encoding="utf-8")

        build(folder, "-O1", change)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-n", "0"]
        command += ["tests/backends/test_cpu.py", "-k", f"({tests}) and (sse2 or not float)"]
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or (done.returncode == 1) != bool(failed):
            raise SystemExit(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return bool(failed), failed[1] if failed else ""


def main(arguments: list[str]) -> int:
    faults = [fault for fault in FAULTS if not arguments or fault.file in arguments]
    wrong, which = caught(None, " or ".join(dict.fromkeys(fault.tests for fault in faults)))
    if wrong:
        print(f"fails without a fault: {which}")
        return 1
    missed = 0
    for fault in faults:
        found, which = caught(fault, fault.tests)
        print(f"{fault.file}: {fault.what}: {which if found else 'NOT CAUGHT'}", flush=True)
        missed += not found
    print(f"{len(faults) - missed} of {len(faults)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
