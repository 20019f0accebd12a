"""What the scripts of this folder share: options, tables, files of results."""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import machine

RESULTS = Path(__file__).resolve().parent / "results"

SHAPES = {
    "tiny": (1, 20, 8, 32),
    "row": (32, 28, 28, 128),
    "mid": (64, 100, 64, 256),
    "big": (128, 64, 128, 512),
    "huge": (128, 32, 256, 1024),
}
"""(N, T, D, H): batch, time, features, hidden."""


def use_threads(threads: int) -> None:
    """For PyTorch, the compiled kernels and NumPy's BLAS; without threadpoolctl the last two go by OMP_NUM_THREADS."""
    import torch  # only the commands that call this need it

    try:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    except ImportError:
        print("threadpoolctl is not installed: only PyTorch's number of threads is set", file=sys.stderr)
    torch.set_num_threads(threads)


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The options that every script has; the rest is added by the script."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one line of JSON instead of the table")
    made.add_argument(
        "--out",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"also write the results as JSON, by default to benchmarks/results/{name}-<processor>-<date>.json",
    )
    return made


def finish(options: argparse.Namespace, name: str, results: dict[str, Any], text: str) -> None:
    """Print the results, and write them where --out was given, with the machine, its versions and the date."""
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "out", "folder")}
    today = datetime.date.today().isoformat()
    whole = {"benchmark": name, "date": today, "machine": machine.describe(), "settings": settings, **results}
    if options.json:
        print(json.dumps(whole), flush=True)
    else:
        versions = ", ".join(f"{package} {version}" for package, version in whole["machine"]["versions"].items())
        cores = whole["machine"]["cores_for_this_process"]
        print(f"{text}\n\n{machine.processor()}, {cores} cores, {whole['machine']['python']}; {versions}", flush=True)
    if options.out is not None:
        path = Path(options.out) if options.out else RESULTS / f"{name}-{machine.slug()}-{today}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}", file=sys.stderr)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table that can be read as it is: numbers to the right, text to the left."""
    cells = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    right = [all(row[k][:1].isdigit() or row[k] == "" for row in cells[1:]) for k in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    ruler = "|".join("-" * (width + 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True))
    return "\n".join([line(cells[0]), f"|{ruler}|", *map(line, cells[1:])])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and number of values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": middle, "quartiles": [low, high], "n": len(values)}


def seeds(text: str) -> list[int]:
    """For argparse: "5" is 0 to 4, "3,7" is these two."""
    numbers = [int(part) for part in text.split(",")]
    return numbers if "," in text else list(range(numbers[0]))


def choices(known: Sequence[str]) -> Callable[[str], list[str]]:
    """For argparse: names separated by commas, each one of `known`; in this order."""

    def chosen(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return chosen
