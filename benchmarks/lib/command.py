"""What every command does: options, tables for people, files of results."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import machine
from .checkout import RESULTS

Row = dict[str, Any]
KINDS = ("avx512", "avx2", "sse2", "neon", "generic", "reference")
"""Of CPUs: the instruction sets of the kernels, as in setup.py; the last where there are no kernels."""


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
        help=f"also write the results as JSON, by default to benchmarks/results/{name}-<processor>-<kind>.json",
    )
    return made


def finish(options: argparse.Namespace, name: str, results: dict[str, Any], text: str, of: str = "") -> None:
    """Print the results, and write them where --out was given, with the machine, its versions and the date.

    A command that keeps several files for one machine says what this one is of.
    """
    whole = described(options, name, results)
    if options.json:
        print(json.dumps(whole), flush=True)
    else:
        versions = ", ".join(f"{package} {version}" for package, version in whole["machine"]["versions"].items())
        cores = whole["machine"]["cores_for_this_process"]
        print(f"{text}\n\n{machine.processor()}, {cores} cores, {whole['machine']['python']}; {versions}", flush=True)
    if options.out is not None:
        path = (
            Path(options.out)
            if options.out
            else RESULTS / f"{'-'.join(filter(None, (name, of)))}-{machine.slug()}.json"
        )
        write(path, whole)
        print(f"written: {path}", file=sys.stderr)


def described(options: argparse.Namespace, name: str, results: dict[str, Any]) -> dict[str, Any]:
    """The results with the command, the date, the machine and the options."""
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "out", "folder")}
    today = datetime.date.today().isoformat()
    return {"benchmark": name, "date": today, "machine": machine.describe(), "settings": settings, **results}


def write(path: Path, whole: dict[str, Any]) -> None:
    """A file of results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(as_text(whole) + "\n", encoding="utf-8")
    os.replace(beside, path)


def as_text(value: Any, indent: int = 0) -> str:
    """JSON to read and to compare: lines of some 100 characters, and numbers of seven digits."""
    if isinstance(value, float) and not value.is_integer():
        return json.dumps(float(f"{value:.7g}"))
    if not isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    if isinstance(value, dict):
        parts = [f"{json.dumps(str(key))}: {as_text(each, indent + 1)}" for key, each in value.items()]
    else:
        parts = [as_text(each, indent + 1) for each in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        fits = len(joined) + indent <= 104 and "\n" not in joined
        lines = [*lines[:-1], joined] if fits or not lines[-1] else [*lines, part]
    inner = ",\n" + " " * (indent + 1)
    return f"{begin}{inner.join(lines)}{end}"


def newest(name: str) -> Row:
    """The last result of one command in results/, by its date; none of a CPU whose instruction set was forced."""
    found = [result for kind, result in kept(name) if "-as-" not in kind]
    if not found:
        sys.exit(f"there is no result of {name} in {RESULTS}: run benchmarks/{name}.py --out")
    return max(found, key=lambda result: str(result["date"]))


def of_each_kind(name: str) -> list[Row]:
    """The last result on each kind of CPU, the widest vectors first.

    For a kind that there is no result of stands that of a CPU whose kernels were held to it: see `held_to`.
    """
    found: dict[str, tuple[bool, str, Row]] = {}
    for kind, result in kept(name):
        own, _, forced = kind.partition("-as-")
        known = (not forced, str(result["date"]), result)
        used = forced or own
        if used not in found or found[used][:2] < known[:2]:
            found[used] = known
    return [found[kind][2] for kind in KINDS if kind in found]


def held_to(result: Row) -> str | None:
    """The instruction set below the CPU's best that XLSTM_CPU_TARGET held the kernels to."""
    return str(result["machine"].get("kind", "")).partition("-as-")[2] or None


def kept(name: str) -> list[tuple[str, Row]]:
    """All results in results/ whose files' names begin so, each with its kind of CPU."""
    paths = sorted(RESULTS.glob(f"{name}-*.json"))
    return [(kind_of(path), json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def kind_of(path: Path) -> str:
    """The kind of CPU in the name of a file of results: see `machine.kind`."""
    found = re.search(f"-({'|'.join(KINDS)})(-as-[a-z0-9]+)?$", path.stem)
    return "" if found is None else found[1] + (found[2] or "")


def each(names: Iterable[str], sizes: Mapping[str, Any], measure: Callable[[str], Row]) -> tuple[list[Row], int]:
    """What `measure` gives for each name, announced; and the exit code: 1 where any is not "correct"."""
    rows = []
    for name in names:
        announce(f"{name} {sizes[name]}".rstrip())
        rows.append(measure(name))
    return rows, int(not all(row["correct"] for row in rows))


def announce(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


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


def digits(value: float) -> str:
    """Three of them, or all before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def seeds(text: str) -> list[int]:
    """For argparse: "5" is 0 to 4, "3,7" is these two, "3," this one."""
    numbers = [int(part) for part in text.split(",") if part]
    return numbers if "," in text else list(range(numbers[0]))


def add_seeds(made: argparse.ArgumentParser) -> None:
    made.add_argument("--seeds", type=seeds, default=seeds("5"), help='"5" for 0 to 4, or "3,7" (default: 5)')


def choices(known: Sequence[str]) -> Callable[[str], list[str]]:
    """For argparse: names separated by commas, each one of `known`; in this order."""

    def chosen(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return chosen
