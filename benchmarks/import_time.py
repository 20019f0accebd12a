"""How long `import xlstm` takes beside `import numpy`, and what it does not import.

Usage::

    python benchmarks/import_time.py
    python benchmarks/import_time.py --out           also writes benchmarks/results/import_time-….json

Each import is timed inside a fresh process; the two take turns. Byte code is written before, by a run that is not
counted. The exit code is 1 if `import xlstm` imports a package that is to be imported late or never.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from common import finish, parser, spread, table

LATE = ("array_api_compat", "cupy", "torch", "sklearn", "tqdm")
TIME = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
LOADED = "import sys; before = set(sys.modules); import xlstm; print(*sorted(set(sys.modules) - before))"
WRITTEN = "import os, xlstm; print(*(os.path.exists(m.__spec__.cached) for m in (xlstm, xlstm.layers)))"


def main() -> int:
    made = parser("import_time", __doc__)
    made.add_argument("--rounds", type=int, default=15, help="fresh processes of each (default: 15)")
    options = made.parse_args()
    # In a folder of its own: what is imported is what is installed, not what lies in the working folder.
    with tempfile.TemporaryDirectory() as folder:
        loaded = python(LOADED, folder).split()
        written = "False" not in python(WRITTEN, folder)
        seconds: dict[str, list[float]] = {"numpy": [], "xlstm": []}
        for module in seconds:
            python(TIME.format(module), folder)
        for _ in range(options.rounds):
            for module, times in seconds.items():
                times.append(float(python(TIME.format(module), folder)))

    too_early = sorted({name.partition(".")[0] for name in loaded} & set(LATE))
    pairs = [ours / theirs for ours, theirs in zip(seconds["xlstm"], seconds["numpy"], strict=True)]
    of_medians = statistics.median(seconds["xlstm"]) / statistics.median(seconds["numpy"])
    rows = []
    for module, times in seconds.items():
        middle, (low, high) = statistics.median(times), spread(times)["quartiles"]
        rows.append([f"import {module}", f"{1e3 * middle:.1f}", f"{1e3 * low:.1f}–{1e3 * high:.1f}"])
    text = (
        f"{table(['', 'median, ms', 'quartiles'], rows)}\n\n"
        f"ratio of the medians {of_medians:.2f}; median of the pairs' ratios {statistics.median(pairs):.2f}; "
        f"{options.rounds} fresh processes each; byte code {'was' if written else 'was NOT'} written\n"
        + (f"WRONG: imported with xlstm: {', '.join(too_early)}" if too_early else f"not imported: {', '.join(LATE)}")
    )
    results = {
        "seconds": seconds,
        "ratio_of_medians": of_medians,
        "median_of_ratios": statistics.median(pairs),
        "byte_code_written": written,
        "imported_too_early": too_early,
    }
    finish(options, "import_time", results, text)
    return int(bool(too_early) or not written)


def python(code: str, folder: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"python -c {code!r} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
