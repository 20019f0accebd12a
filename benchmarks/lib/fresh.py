"""What only fresh processes tell: memory and import times; and the size of what is installed.

`python -m lib.fresh SIDE N T D H STEPS THREADS`, in the folder benchmarks/, is the process that `memory` starts.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xlstm

from .case import Case, case_of
from .checkout import BENCHMARKS
from .harness import between
from .shapes import Size
from .sides import SIDES

IMPORTS = {"thinc": "thinc.api"}  # else a distribution's name
TIME = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"


def memory(size: Size, sides: list[str], threads: int, processes: int) -> dict[str, Any]:
    """By how much some training steps raise the memory of a fresh process at most, for each side: `bytes`, the median
    of some processes.

    A step of a tiny layer comes first, so that what a library loads and compiles at its first use does not count; what
    that raised is `start`.
    """
    steps = 5
    row: dict[str, Any] = {"steps": steps, "processes": processes, "bytes": {}, "start": {}}
    for side in sides:
        command = [sys.executable, "-m", "lib.fresh", side, *map(str, (*size, steps, threads))]
        runs = [json.loads(output_of(command, BENCHMARKS)) for _ in range(processes)]
        row["how"] = runs[0]["how"]
        for kind in ("bytes", "start"):
            row[kind][side] = statistics.median(run[kind] for run in runs)
    return row


def output_of(command: list[str], folder: Path | str) -> str:
    """What it prints, once it has ended with 0. Byte code is written whatever this process does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def python(code: str, folder: Path | str) -> str:
    return output_of([sys.executable, "-c", code], folder)


def import_seconds(names: list[str], rounds: int) -> dict[str, list[float]]:
    """How long each import takes in a fresh process; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:  # what is imported is what is installed, not the working folder
        for turn in range(rounds + 1):
            for name, times in seconds.items():
                took = python(TIME.format(IMPORTS.get(name, name)), folder)
                if turn > 0:  # the first writes byte code, and fills the system's cache
                    times.append(float(took.split()[-1]))
    return seconds


def against_numpy(seconds: dict[str, list[float]]) -> dict[str, float]:
    """How many times as long as NumPy's import ours takes: of the pairs, of which each was measured in one round."""
    return between([ours / theirs for ours, theirs in zip(seconds["xlstm"], seconds["numpy"], strict=True)])


def memory_here(side: str, size: Size, steps: int, threads: int) -> dict[str, Any]:
    """In this process. The library, the weights and the input are there before; the gradients are not."""

    def raised(case: Case, steps: int) -> int:
        made = SIDES[side](case, threads)
        if side == "jax":
            made.compile()  # the compiler's memory is not the step's
        before = peak_memory(reset=True)[0]
        for _ in range(steps):
            made.train()
        return peak_memory()[0] - before

    start = raised(case_of((1, 2, 8, 8)), 1)
    return {"start": start, "bytes": raised(case_of(size), steps), "how": peak_memory()[1]}


def peak_memory(reset: bool = False) -> tuple[int, str]:
    """The most bytes that were resident, since the last reset where the system can do that.

    Linux counts what a process's parent had when it started it into `ru_maxrss`; VmHWM it does not, and can begin anew.
    """
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), "VmHWM"
    except (OSError, StopIteration):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10, "ru_maxrss"


def sizes(peers: list[str]) -> dict[str, Any]:
    """How much pip installs."""
    files = own_files()
    compiled = total(path for path in files if path.name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)))
    with_all = {name: dependencies(name) for name in ("xp-lstm", "numpy", *peers)}
    own = total(files)
    return {
        "compiled_bytes": compiled or None,
        "bytes": {"xlstm": own, **{name: disk(name) for name in ("numpy", *peers)}},
        "bytes_with_dependencies": {
            "xlstm": own + sum(map(disk, with_all["xp-lstm"] - {"xp-lstm"})),
            **{name: sum(map(disk, with_all[name])) for name in ("numpy", *peers)},
        },
        "dependencies": {name: sorted(with_all[name] - {name}) for name in ("xp-lstm", *peers)},
    }


def own_files() -> set[Path]:
    """What an installed copy of this library consists of; in a checkout the backends' sources lie beside it."""
    folders = [Path(folder) for module in (xlstm, xlstm.backends) for folder in module.__path__]
    files = {path for folder in folders for path in folder.resolve().rglob("*")}
    return {path for path in files if path.suffix not in (".cpp", ".h", ".o")}


def disk(distribution: str) -> int:
    """Bytes of the files that pip installed."""
    return total(Path(str(file.locate())) for file in importlib.metadata.files(distribution) or [])


def total(paths: Iterable[Path]) -> int:
    """Bytes of the files among these, without byte code."""
    return sum(path.stat().st_size for path in paths if "__pycache__" not in path.parts and path.is_file())


def dependencies(distribution: str) -> set[str]:
    """A distribution and all that pip installs with it, where it is installed; without extras."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            needed = map(Requirement, importlib.metadata.requires(name) or [])
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [line.name for line in needed if line.marker is None or line.marker.evaluate({"extra": ""})]
    return found


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[2:]]
    print(json.dumps(memory_here(sys.argv[1], tuple(numbers[:4]), *numbers[4:])))
