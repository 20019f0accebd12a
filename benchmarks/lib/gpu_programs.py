"""Other programs on the device: the tests that need one, and compute-sanitizer on small layers.

`python -m lib.gpu_programs DEVICE LEVEL`, in the folder benchmarks/, is the process that the sanitizer watches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkout import BENCHMARKS, ROOT
from .command import Row
from .gpu_device import pairs
from .gpu_right import CELLS, compared
from .parts import Case

OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
MOST_FAILURES = 40
TOOLS = ("memcheck", "racecheck")
SANITIZED_SIZES = ((3, 4, 5, 7), (2, 3, 8, 32))


# ---------------------------------------------------------------- the tests


def test_cases(given: Row) -> list[Case]:
    return [{"what": "tests/backends"}]


def run_tests(case: Case, given: Row, seconds: float) -> Row:
    """The tests that use a device, by pytest; where the time ends, what had been told by then."""
    asked = ["--maxfail=2", "tests/backends/test_gpu.py"] if given["quick"] else ["tests/backends"]
    plain = ["-m", "pytest", "-v", "--tb=line", "-p", "lib.device_tests", "-p", "no:cacheprovider"]
    command = [sys.executable, *plain, *asked]
    paths = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "XLSTM_REQUIRE_GPU": "1", "PYTHONPATH": paths, "COLUMNS": "200"}
    text, code = output_within(command, ROOT, environment, seconds - 3)  # before its process is killed
    lines = [line for line in text.splitlines() if line.strip()]
    outcomes = OUTCOME.findall(text)
    return {
        "code": code,
        "closing_line": lines[-1].strip("= ") if lines else "",
        "counts": dict(Counter(outcome for _, outcome in outcomes)),
        "failed": [name for name, outcome in outcomes if outcome in ("FAILED", "ERROR")][:MOST_FAILURES],
        **({"stopped": f"its {seconds:.0f} seconds were over"} if code is None else {}),
    }


def output_within(
    command: list[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> tuple[str, int | None]:
    """What a program prints, and its code; None where its time ended first. What it printed until then is kept."""
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            code: int | None = process.wait(max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait(5)
        file.seek(0)
        return file.read().decode("utf-8", "replace"), code


# ---------------------------------------------------------------- the sanitizer


def sanitizer_cases(given: Row) -> list[Case]:
    return [
        {"tool": tool, "level": level} for tool in TOOLS for level, precision in pairs(given) if precision == "highest"
    ]


def sanitize(case: Case, given: Row, seconds: float) -> Row:
    program = sanitizer()
    if program is None:
        return {"error": "compute-sanitizer is not installed"}
    command = [program, "--tool", case["tool"], "--error-exitcode", "9", sys.executable, "-m", "lib.gpu_programs",
               given["device"], case["level"]]  # fmt: skip
    text, code = output_within(command, BENCHMARKS, os.environ, seconds - 1)
    told = [line.strip("= ") for line in text.splitlines() if line.startswith("=========")]
    if code is None:
        return {"error": f"its {seconds:.0f} seconds were over", "told": told[:10]}
    return {"code": code, "clean": code == 0, "closing_line": told[-1] if told else "", "told": told[:-1][:10]}


def sanitizer() -> str | None:
    """Where the program is: on the path, or where CUDA's toolkit puts it."""
    usual = Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"), "bin", "compute-sanitizer")
    return shutil.which("compute-sanitizer") or (str(usual) if usual.exists() else None)


def main(arguments: list[str]) -> None:
    """Each cell in small shapes, forward and backward; without CuPy's pool, within which no fault would be seen."""
    import cupy

    cupy.cuda.set_allocator(None)
    device, level = arguments
    for cell in CELLS:
        case: Any = {"cell": cell, "level": level, "precision": "highest", "dtype": "float32"}
        for seed, size in enumerate(SANITIZED_SIZES):
            errors, kernels = compared(case, device, size, 2, seed)
            print(cell, kernels, errors, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
