"""How long `import xlstm` takes beside `import numpy`, and what it does not import.

Usage::

    python benchmarks/import_time.py
    python benchmarks/import_time.py --out           also writes benchmarks/results/import_time-….json

Each import is timed inside a fresh process; the two take turns. Byte code is written before, by a run that is not
counted. The exit code is 1 if `import xlstm` imports a package that is to be imported late or never.
"""

from __future__ import annotations

import sys
import tempfile

from lib.command import finish, parser, table
from lib.fresh import against_numpy, import_seconds, python
from lib.harness import spread

LATE = ("array_api_compat", "cupy", "torch", "sklearn", "tqdm")
LOADED = "import sys; before = set(sys.modules); import xlstm; print(*sorted(set(sys.modules) - before))"
WRITTEN = "import os, xlstm; print(*(os.path.exists(m.__spec__.cached) for m in (xlstm, xlstm.layers)))"


def main() -> int:
    made = parser("import_time", __doc__)
    made.add_argument("--rounds", type=int, default=15, help="fresh processes of each (default: 15)")
    options = made.parse_args()
    seconds = import_seconds(["numpy", "xlstm"], options.rounds)
    with tempfile.TemporaryDirectory() as folder:  # not the working folder: what is imported is what is installed
        loaded = python(LOADED, folder).split()
        written = "False" not in python(WRITTEN, folder)

    too_early = sorted({name.partition(".")[0] for name in loaded} & set(LATE))
    times = {name: spread(each) for name, each in seconds.items()}
    of_pairs, of_medians = against_numpy(seconds), times["xlstm"]["median"] / times["numpy"]["median"]
    rows = []
    for module, each in times.items():
        middle, (low, high) = each["median"], each["quartiles"]
        rows.append([f"import {module}", f"{1e3 * middle:.1f}", f"{1e3 * low:.1f}–{1e3 * high:.1f}"])
    text = (
        f"{table(['', 'median, ms', 'quartiles'], rows)}\n\n"
        f"ratio of the medians {of_medians:.2f}; median of the pairs' ratios {of_pairs['median']:.2f}; "
        f"{options.rounds} fresh processes each; byte code {'was' if written else 'was NOT'} written\n"
        + (f"WRONG: imported with xlstm: {', '.join(too_early)}" if too_early else f"not imported: {', '.join(LATE)}")
    )
    results = {
        "seconds": times,
        "ratio_of_medians": of_medians,
        "ratios": of_pairs,
        "byte_code_written": written,
        "imported_too_early": too_early,
    }
    finish(options, "import_time", results, text)
    return int(bool(too_early) or not written)


if __name__ == "__main__":
    sys.exit(main())
