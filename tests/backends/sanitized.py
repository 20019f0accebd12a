"""Run the tests of the compiled kernels on a build with the address and undefined-behaviour sanitizers.

    python tests/backends/sanitized.py [arguments for pytest]

Builds the package in a temporary folder, with memory that is filled with NaN before each use, and runs the tests there;
with arguments, those instead of the tests named below. Exits with 0 only if all pass and no sanitizer has anything to
report. Needs Linux and GCC.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# -g1 has the line numbers; with -g each compilation takes minutes. A fault ends the process that it happens in.
FLAGS = "-g1 -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DXLSTM_POISON"
# Memory is not compared: the sanitizer keeps what was freed for a while.
TESTS = [
    ["tests/backends/test_cpu.py", "-k", "not give_their_memory_back"],
    ["tests/library/test_layers.py", "-k", "avx or sse or neon or generic or tokens"],
]


def build(folder: Path) -> None:
    """The package as it is installed, xlstm.backends in its place, and its tests; the extension compiled in there."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    without_builds = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
    for name in ("xlstm", "backends", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=without_builds)
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", "built", "--build-temp", "objects"],
        cwd=folder, env={**os.environ, "XLSTM_BUILD_FLAGS": FLAGS}, check=True,
    )  # fmt: skip
    extension = next((folder / "built").rglob("_kernels*.so"), None)  # the extension is optional: its failure is none
    if extension is None:
        raise SystemExit("the kernels were not built")
    shutil.copy(extension, folder / "backends" / "cpu")
    shutil.move(folder / "backends", folder / "xlstm" / "backends")


def main(arguments: list[str]) -> int:
    library = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        environment = {
            **os.environ,
            "LD_PRELOAD": library,
            # Python frees little of what it has at its end. A few freed blocks are kept, to see who still uses them.
            "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=64",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONPATH": str(folder),
            "PYTHONMALLOC": "malloc",
        }
        where = subprocess.run(
            [sys.executable, "-c", "from xlstm.backends import cpu; print(cpu._kernels.__file__, cpu.targets())"],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        print(where, flush=True)
        if not where.startswith(str(folder / "xlstm")):
            raise SystemExit("another build of the kernels was found")
        for tests in [arguments] if arguments else TESTS:
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
