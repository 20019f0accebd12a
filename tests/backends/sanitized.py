"""Run the tests of the compiled kernels on a build with the address and undefined-behaviour sanitizers.

    python tests/backends/sanitized.py [arguments for pytest]
    python tests/backends/sanitized.py --threads [arguments for pytest]      with the thread sanitizer instead

Builds the package in a temporary folder, with memory that is filled with NaN before each use, and runs the tests there;
with arguments, those instead of the tests named below. Exits with 0 only if all pass and no sanitizer has anything to
report. Needs Linux and GCC.

The thread sanitizer does not know OpenMP's own threads. Those of plain_threads.cpp stand in for them there: what it
then sees of waiting is the kernels' own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# -g1 has the line numbers; with -g each compilation takes minutes. A fault ends the process that it happens in.
FLAGS = "-g1 -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DXLSTM_POISON"
THREAD_FLAGS = "-g1 -O1 -fno-omit-frame-pointer -fsanitize=thread"
THREAD_TESTS = [
    ["tests/backends/test_cpu.py", "-k", "same_bits or several_python_threads or (larger_shapes and float32)"]
]
# Memory is not compared: the sanitizer keeps what was freed for a while.
TESTS = [
    ["tests/backends/test_cpu.py", "-k", "not give_their_memory_back"],
    ["tests/library/test_layers.py", "-k", "avx or sse or neon or generic or tokens"],
]


def build(folder: Path, flags: str, change: Callable[[], None] = lambda: None) -> None:
    """The package as it is installed, xlstm.backends in its place, and its tests; the extension compiled in there.

    `change` is called on the sources before they are compiled.
    """
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    without_builds = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
    for name in ("xlstm", "backends", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=without_builds)
    change()
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", "built", "--build-temp", "objects"],
        cwd=folder, env={**os.environ, "XLSTM_BUILD_FLAGS": flags}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    extension = next((folder / "built").rglob("_kernels*.so"), None)  # the extension is optional: its failure is none
    if extension is None:
        raise SystemExit("the kernels were not built")
    shutil.copy(extension, folder / "backends" / "cpu")
    shutil.move(folder / "backends", folder / "xlstm" / "backends")


def library(name: str) -> str:
    """Where GCC has a library."""
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def plain_threads(folder: Path) -> str:
    """The threads that stand in for OpenMP's, as a library."""
    made, source = str(folder / "plain_threads.so"), str(ROOT / "tests" / "backends" / "plain_threads.cpp")
    subprocess.run(["g++", *THREAD_FLAGS.split(), "-shared", "-fPIC", source, "-o", made], check=True)
    return made


def main(arguments: list[str]) -> int:
    threads = arguments[:1] == ["--threads"]
    arguments = arguments[threads:]
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, THREAD_FLAGS if threads else FLAGS)
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONMALLOC": "malloc", "XLSTM_PATIENCE": "20"}
        if threads:
            environment["LD_PRELOAD"] = f"{library('libtsan.so')} {plain_threads(folder)}"
            environment["TSAN_OPTIONS"] = "halt_on_error=1"
            environment["OPENBLAS_NUM_THREADS"] = "1"  # the sanitizer does not see its waiting either
        else:
            environment["LD_PRELOAD"] = library("libasan.so")
            # Python frees little of what it has at its end. A few freed blocks are kept, to see who still uses them.
            environment["ASAN_OPTIONS"] = "detect_leaks=0:quarantine_size_mb=64"
            environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
        where = subprocess.run(
            [sys.executable, "-c", "from xlstm.backends import cpu; print(cpu._kernels.__file__, cpu.targets())"],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        print(where, flush=True)
        if not where.startswith(str(folder / "xlstm")):
            raise SystemExit("another build of the kernels was found")
        for tests in [arguments] if arguments else THREAD_TESTS if threads else TESTS:
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-s",
                "-p",
                "no:cacheprovider",
                *tests,
            ]  # -s: reports are seen
            done = subprocess.run(command, cwd=folder, env=environment, check=False)
            failed = failed or done.returncode != 0
    print("FAILED" if failed else "passed, and nothing was reported")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
