"""Runs soaks, each in a process of its own: a line for each, with tries, failures, and whether a planted one is found.

python -m tests.soak              # all
python -m tests.soak memory       # one of them
python -m tests.soak --short      # the forms that the suite runs
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import memory, resumed, starts, threads

SOAKS = {"starts": starts.soak, "threads": threads.soak, "memory": memory.soak, "resumed": resumed.soak}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="What the suite tries too briefly.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(SOAKS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="as the suite does")
    parser.add_argument("--alone", action="store_true", help="in this process: of one alone")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SOAKS]:
        parser.error(f"no soak is called {unknown[0]!r}: there are {', '.join(SOAKS)}")
    names = options.names or list(SOAKS)
    if not options.alone:
        how = ["--short"] if options.short else []
        codes = [
            subprocess.run([sys.executable, "-m", "tests.soak", name, "--alone", *how]).returncode for name in names
        ]
        return int(any(codes))
    row, planted = SOAKS[names[0]](short=options.short), SOAKS[names[0]](short=True, planted=True)
    print(f"{row}; a planted failure is {'found' if planted.failures else 'NOT FOUND'}", flush=True)
    for failure in row.failures:
        print(f"    {failure}", file=sys.stderr)
    return int(bool(row.failures) or not planted.failures)


if __name__ == "__main__":
    sys.exit(main())
