"""Memory of training steps, import times and installed sizes, beside every other library that is installed.

Usage::

    python benchmarks/footprint.py
    python benchmarks/footprint.py --only size --rounds 3
    python benchmarks/footprint.py --out             also writes benchmarks/results/footprint-….json

Memory: in a fresh process for each side, a step of a tiny layer, then five of the shape; told is by how much these
raise the most that was ever resident. Imports are timed in fresh processes that take turns. Sizes are those of the
files that pip installed. See README.md.
"""

from __future__ import annotations

import argparse
import sys

from lib import fresh, sides
from lib.command import Row, announce, choices, finish, parser
from lib.harness import spread
from lib.report import footprint_bars, footprint_text
from lib.shapes import SHAPES, training_flops

PARTS = ("memory", "size")


def main() -> int:
    options = arguments()
    results: Row = {"absent": sides.begin(options), "threads": options.threads}
    if "memory" in options.only:
        results["memory"] = [memory(name, options) for name in options.shapes]
    if "size" in options.only:
        announce("import times and sizes")
        seconds = fresh.import_seconds(["numpy", "xlstm", *options.peers], options.rounds)
        results["size"] = {
            "import_seconds": {name: spread(times) for name, times in seconds.items()},
            "import_against_numpy": fresh.against_numpy(seconds),
            **fresh.sizes(options.peers),
        }
    finish(options, "footprint", results, footprint_text(results, footprint_bars(results)))
    return 0


def arguments() -> argparse.Namespace:
    made = parser("footprint", __doc__)
    made.add_argument("--only", type=choices(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    made.add_argument("--shapes", type=choices(list(SHAPES)), default=list(SHAPES), help="of the memory; default: all")
    made.add_argument("--processes", type=int, default=3, help="of each side and shape, for the memory (default: 3)")
    made.add_argument("--rounds", type=int, default=7, help="imports of each library (default: 7)")
    sides.add_options(made)
    return made.parse_args()


def memory(name: str, options: argparse.Namespace) -> Row:
    size = SHAPES[name]
    announce(f"memory, {name} {size}")
    names = sides.taking_part("train", options.peers, training_flops(size, input_gradient=False))
    return {"shape": name, "size": list(size), **fresh.memory(size, names, options.threads, options.processes)}


if __name__ == "__main__":
    sys.exit(main())
