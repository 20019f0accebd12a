"""Runs soaks, each in a process of its own: a line for each, with tries, failures, and whether a planted one is found.

python -m tests.soak              # all
python -m tests.soak memory       # one of them
python -m tests.soak --short      # the forms that the suite runs
python -m tests.soak mutated --tries 20000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import faults, killed, memory, mutated, resumed, starts, threads

SOAKS: dict[str, Any] = {
    "starts": starts.soak, "threads": threads.soak, "memory": memory.soak, "resumed": resumed.soak,
    "mutated": mutated.soak, "killed": killed.soak, "faults": faults.soak,
}  # fmt: skip
COUNTED = ("starts", "resumed", "mutated", "killed", "faults")
"""Those that may be tried more often or less."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="What the suite tries too briefly.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(SOAKS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="as the suite does")
    parser.add_argument("--tries", type=int, help=f"how often: of {' and '.join(COUNTED)} alone")
    parser.add_argument("--keep", metavar="FOLDER", help="where changed files that fail are put: of mutated alone")
    parser.add_argument("--alone", action="store_true", help="in this process: of one alone")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SOAKS]:
        parser.error(f"no soak is called {unknown[0]!r}: there are {', '.join(SOAKS)}")
    names = options.names or list(SOAKS)
    given: dict[str, Any] = {} if options.tries is None else {"tries": options.tries}
    given |= {} if options.keep is None else {"keep": Path(options.keep)}
    if ("tries" in given and not set(names) <= set(COUNTED)) or ("keep" in given and names != ["mutated"]):
        parser.error("name the soak that --tries or --keep is meant for")
    if not options.alone:
        how = [*(["--short"] if options.short else []), *(f"--{name}={value}" for name, value in given.items())]
        codes = [
            subprocess.run([sys.executable, "-m", "tests.soak", name, "--alone", *how]).returncode for name in names
        ]
        return int(any(codes))
    row, planted = SOAKS[names[0]](short=options.short, **given), SOAKS[names[0]](short=True, planted=True)
    print(f"{row}; a planted failure is {'found' if planted.failures else 'NOT FOUND'}", flush=True)
    for failure in row.failures:
        print(f"    {failure}", file=sys.stderr)
    return int(bool(row.failures) or not planted.failures)


if __name__ == "__main__":
    sys.exit(main())
