"""Where the time of the compiled kernels goes: each part of an LSTM's training step and inference alone.

Usage::

    python benchmarks/kernel_parts.py                              the instruction set in use
    python benchmarks/kernel_parts.py --targets avx512,avx2        some that this CPU has, in turns
    python benchmarks/kernel_parts.py --shapes mid --part gates    some parts: those whose names contain it
    python benchmarks/kernel_parts.py --out                        also writes benchmarks/results/kernel_parts-….json

lib/kernel_parts.cpp is compiled with the kernels' headers of this checkout for each instruction set, and runs in a
process of its own. A walk with a cell that computes no gates is its products, packing and stores alone. Before each
block of calls a loop of multiply-adds of the same instruction set measures what the machine can do at most. A part
with products has a share of that; the others have a limit of their own (divisions, bytes), and are told in percent of
the whole that they belong to. What is left of a whole, less its parts, is memory: the tape and the outputs.

Before and after each block a product runs whose numbers are all in the first-level cache. Where it has less than 0.88
of the peak, something else used the same core: on virtual machines most often a neighbour on its other hardware
thread, which takes instructions and cache from a product and nothing from the loop of multiply-adds. Such blocks are
left out where at least three others are left; the table says how many were counted, and what share of the peak that
product had beside them ("near"): more than that no product of this machine had then.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lib.checkout import ROOT
from lib.command import Row, announce, choices, finish, parser, table
from lib.harness import spread
from lib.shapes import LARGE, SHAPES
from xlstm.backends import cpu

SOURCE = ROOT / "benchmarks" / "lib" / "kernel_parts.cpp"
WHOLES = {"inference": ("inference",), "training": ("forward", "backward")}
"""Of which parts of the program a whole consists."""
UNDISTURBED, LEAST_BLOCKS = 0.88, 3
"""The share of the peak that a product in the first-level cache has where nothing disturbs it, or more."""


def main() -> int:
    made = parser("kernel_parts", __doc__)
    known = list(build()["TARGETS"].get(architecture(), {}))
    made.add_argument("--targets", type=choices(known), help="instruction sets (default: the one in use)")
    shapes = [name for name in SHAPES if name != "tiny"]
    made.add_argument("--shapes", type=choices(shapes), default=shapes, help=f"some of {','.join(shapes)}")
    made.add_argument("--threads", type=int, default=cpu.threads(), help="default: as the library would use")
    made.add_argument("--part", default="", help="only parts whose names contain this")
    made.add_argument("--rounds", type=int, default=5, help="blocks of each part (default: 5)")
    made.add_argument("--seconds", type=float, default=0.03, help="of calls in a block (default: 0.03)")
    options = made.parse_args()
    if cpu.target is None:
        print(cpu.why_not(), file=sys.stderr)
        return 1
    options.targets = options.targets or [cpu.target]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        programs = {target: compiled(target, Path(folder)) for target in options.targets}
        for name in options.shapes:
            announce(f"{name} {SHAPES[name]}")
            rows += measured(name, programs, options)
    results: Row = {"threads": options.threads, "rows": rows, "means": means(rows)}
    finish(options, "kernel_parts", results, text(results))
    return 0


def build() -> dict[str, Any]:
    """The tables of setup.py: flags, instruction sets, names of architectures."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    tables = ("FLAGS", "TARGETS", "ARCHITECTURES")
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned if node.targets[0].id in tables}


def architecture() -> str:
    return str(build()["ARCHITECTURES"].get(platform.machine(), platform.machine()))


def compiled(target: str, folder: Path) -> Path:
    """The program for an instruction set."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "c++", "g++", "clang++"))), None)
    if compiler is None:
        sys.exit("kernel_parts.py needs a C++ compiler: install GCC or Clang, or name one in CXX")
    program = folder / target
    flags = [*build()["FLAGS"], *build()["TARGETS"][architecture()][target], "-fopenmp", "-fno-exceptions"]
    subprocess.run([compiler, *flags, f"-I{ROOT / 'backends' / 'cpu'}", SOURCE, "-o", program], check=True)
    return program


def measured(shape: str, programs: dict[str, Path], options: Any) -> list[Row]:
    """One row a target; in each round the targets take turns."""
    found: dict[str, dict[str, Row]] = {target: {} for target in programs}
    for _ in range(options.rounds):
        for target, program in programs.items():
            call = [program, *SHAPES[shape], options.threads, 1, options.seconds, options.part]
            done = subprocess.run(list(map(str, call)), capture_output=True, text=True, check=True)
            for part, new in json.loads(done.stdout).items():
                kept = found[target].setdefault(part, {"flops": new["flops"], "seconds": [], "peak": [], "near": []})
                for name in ("seconds", "peak", "near"):
                    kept[name] += new[name]
    rows = []
    for target, parts in found.items():
        row: Row = {"shape": shape, "size": SHAPES[shape], "target": target, "parts": {}}
        row["peak_gflops"] = statistics.median(peak for kept in parts.values() for peak in kept["peak"]) / 1e9
        for part, kept in parts.items():
            blocks = undisturbed(kept, row["peak_gflops"] * 1e9)
            of_peak = [kept["seconds"][k] * kept["peak"][k] for k in blocks]
            row["parts"][part] = {
                "seconds": spread([kept["seconds"][k] for k in blocks]),
                "flops_at_peak": statistics.median(of_peak),
                "near_share": statistics.median(kept["near"][k] / kept["peak"][k] for k in blocks),
                "blocks": len(blocks),
                "blocks_of": len(kept["seconds"]),
            }
            if kept["flops"]:
                row["parts"][part]["share_of_peak"] = kept["flops"] / statistics.median(of_peak)
        for whole, pieces in WHOLES.items():
            if all(piece in parts for piece in pieces):
                time = sum(row["parts"][piece]["flops_at_peak"] for piece in pieces)
                row[f"{whole}_share"] = sum(parts[piece]["flops"] for piece in pieces) / time
        rows.append(row)
    return rows


def undisturbed(kept: Row, usual_peak: float) -> list[int]:
    """Which blocks of a part count: those that nothing disturbed, or all where those are too few."""
    calm = [
        k
        for k, (near, peak) in enumerate(zip(kept["near"], kept["peak"], strict=True))
        if near >= UNDISTURBED * peak and peak >= 0.9 * usual_peak
    ]
    return calm if len(calm) >= LEAST_BLOCKS else list(range(len(kept["near"])))


def means(rows: list[Row]) -> dict[str, Row]:
    """Of each target, over the large shapes."""
    made: dict[str, Row] = {}
    for target in dict.fromkeys(row["target"] for row in rows):
        large = [row for row in rows if row["target"] == target and row["shape"] in LARGE]
        for whole in WHOLES:
            shares = [row[f"{whole}_share"] for row in large if f"{whole}_share" in row]
            if len(shares) == len(LARGE):
                made.setdefault(target, {})[f"{whole}_share"] = statistics.mean(shares)
    return made


def text(results: Row) -> str:
    lines = []
    for row in results["rows"]:
        parts = row["parts"]
        for part, of in parts.items():
            whole = parts.get(part.split(",")[0])
            share = f"{of['share_of_peak']:.2f}" if "share_of_peak" in of else ""
            percent = f"{100 * of['flops_at_peak'] / whole['flops_at_peak']:.0f}" if whole else ""
            lines.append(
                [
                    row["shape"],
                    row["target"],
                    part,
                    f"{of['seconds']['median'] * 1e3:.3f}",
                    share,
                    f"{of['near_share']:.2f}",
                    percent,
                    f"{of['blocks']}/{of['blocks_of']}",
                ]
            )
        for whole in WHOLES:
            if f"{whole}_share" in row and whole not in parts:
                lines.append([row["shape"], row["target"], whole, "", f"{row[f'{whole}_share']:.2f}", "", "", ""])
    header = ["shape", "kernels", "part", "ms", "of the peak", "near", "% of its whole", "blocks"]
    told = [
        f"{target}: " + ", ".join(f"{name.removesuffix('_share')} {share:.3f}" for name, share in shares.items())
        for target, shares in results["means"].items()
    ]
    return "\n".join([table(header, lines), "", f"mean share of the peak over {', '.join(LARGE)}:", *told])


if __name__ == "__main__":
    raise SystemExit(main())
