"""What bench_gpu.py prints of each part, and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .command import Row, digits, table
from .errors import told
from .parts import rows_of, told_case

WHATS = {"infer": "forward", "train": "forward and backward"}
CASES = {
    "right": ("level", "precision", "dtype", "cell"),
    "times": ("shape", "kind", "precision"),
    "epochs": ("job", "side", "data"),
    "usage": ("what", "side", "precision", "data"),
}
"""The names that make a case of a part."""


def section(name: str, title: str, results: Row) -> str:
    """Of one part, from what has been measured so far."""
    part = results["parts"][name]
    lines = [f"{title}: {part['seconds']:.0f} s"]
    if "error" in part:
        lines.append(f"NOT WHOLE: {part['error']}")
    lines += SECTIONS[name](results)
    failures: dict[str, list[str]] = {}
    for row in part["rows"]:
        if "error" in row:
            names = CASES.get(name, tuple(key for key in row if key not in ("error", "told")))
            failures.setdefault(row["error"], []).append(told_case({key: row[key] for key in names if key in row}))
    for error, cases in failures.items():
        more = f" (and {len(cases) - 1} more)" if len(cases) > 1 else ""
        lines.append(f"- {cases[0]}{more}: {error[:300]}")
    return "\n".join(lines)


def code(results: Row) -> int:
    """1 where there is no GPU, where a level is wrong, and where a test failed."""
    parts = results["parts"]
    gpu = any(row["what"] == "gpu" for row in rows_of(results, "device")) or "device" not in parts
    wrong = any(not row["right"] for row in rows_of(results, "right"))
    wrong |= any(set(row["wrong"]) - {"torch", "jax"} for row in rows_of(results, "times"))
    # Stopped by their time they are no failure; of pytest 5 is "nothing collected", and others are faults of its own.
    failed = any(row["failed"] or row["code"] not in (0, None) for row in rows_of(results, "tests"))
    unclean = any(not row["clean"] for row in rows_of(results, "sanitizer"))
    return int(not gpu or wrong or failed or unclean)


# ---------------------------------------------------------------- the parts


def _device(results: Row) -> Iterator[str]:
    for row in rows_of(results, "device"):
        for key, value in row.items():
            if key != "what":
                yield f"  {key}: {value}"


def _right(results: Row) -> Iterator[str]:
    rows = [
        [
            *(row[key] for key in CASES["right"]),
            row["kernels"],
            told(row["errors"].values()),
            told(row["bounds"].values()),
            "right" if row["right"] else "WRONG",
        ]
        for row in rows_of(results, "right")
    ]
    if rows:
        yield "\n" + table([*CASES["right"], "what ran", "errors", "bounds", ""], rows)


def _tests(results: Row) -> Iterator[str]:
    for row in rows_of(results, "tests"):
        yield f"  {row['closing_line']}"
        yield f"  {row['counts']}" + (f", {row['stopped']}" if "stopped" in row else "")
        yield from (f"  {name}" for name in row["failed"])


def _times(results: Row) -> Iterator[str]:
    """One line a case and kind of call: the milliseconds of each side, and where nothing was measured why."""
    found = list(rows_of(results, "times"))
    sides = list(dict.fromkeys(side for row in found for what in WHATS for side in row[what]))
    if sides:
        header = ["N, T, D, H", "kind", "precision", "ms", *sides]
        rows = []
        for row in found:
            for what, name in WHATS.items():
                cells = [
                    digits(1e3 * row[what][side]["median"]) + " (wrong)" * (side in row["wrong"])
                    if side in row[what]
                    else "–"
                    for side in sides
                ]
                rows.append([", ".join(map(str, row["size"])), row["kind"], row["precision"], name, *cells])
        yield "\n" + table(header, rows)
    failures = {f"{side}: {why[:300]}" for row in found for side, why in row["failed"].items()}
    yield from (f"- {why}" for why in sorted(failures))
    for row in found:
        for side, algorithm in row.get("algorithms", {}).items():
            yield f"  cuDNN's algorithm, {row['shape']} {row['kind']} {row['precision']}, {side}: {algorithm}"
        for side, kernels in row["kernels"].items():
            if "names" in kernels:
                names = ", ".join(f"{n} × {name}" for name, n in list(kernels["names"].items())[:3])
                yield f"  kernels, {row['shape']} {row['kind']} {row['precision']}, {side}: {names}"


def _epochs(results: Row) -> Iterator[str]:
    rows = [
        [row["job"], row["side"], row.get("data", ""), digits(1e3 * row["seconds"]), digits(1e3 * row["first"]),
         f"{row['loss']:.4f}"]
        for row in rows_of(results, "epochs")
    ]  # fmt: skip
    if rows:
        yield "\n" + table(["job", "side", "data", "an epoch, ms", "the first, ms", "loss"], rows)


def _usage(results: Row) -> Iterator[str]:
    found = list(rows_of(results, "usage"))
    memory = [
        [row["side"], row["precision"], f"{row['peak_bytes'] / 1e6:.1f}", f"{row['added_bytes'] / 1e6:.1f}",
         f"{row['held_bytes'] / 1e6:.1f}", str(row.get("allocations", ""))]
        for row in found if row["what"] == "memory"
    ]  # fmt: skip
    if memory:
        yield "\n" + table(["side", "precision", "most, MB", "added, MB", "held, MB", "allocations once warm"], memory)
    host = [
        [row["side"], row["precision"], digits(1e3 * row["returned"]["median"]), digits(1e3 * row["done"]["median"])]
        for row in found
        if row["what"] == "host"
    ]
    if host:
        yield "\n" + table(["side", "precision", "the host's ms", "ms until done"], host)
    for row in found:
        if row["what"] == "bits":
            how = "the same bits" if row["equal"] else f"OTHER BITS in {', '.join(row['differ'])}"
            yield f"  {row['runs']} equal steps, {row['side']} {row['precision']}: {how}"
    steps = [
        [row["side"], row["precision"], row["data"], *(str(n) for n in row["step"].values())]
        for row in found
        if row["what"] == "launches"
    ]
    if steps:
        names = [name for row in found if row["what"] == "launches" for name in row["step"]][: len(steps[0]) - 3]
        yield "\nA training step of a classifier on series:\n"
        yield table(["level", "precision", "data", *(name.replace("_", " ") for name in names)], steps)


def _sanitizer(results: Row) -> Iterator[str]:
    for row in rows_of(results, "sanitizer"):
        yield f"  {row['tool']}, {row['level']}: {'clean' if row['clean'] else 'NOT CLEAN'}; {row['closing_line']}"


SECTIONS: dict[str, Callable[[Row], Iterator[str]]] = {
    "device": _device,
    "right": _right,
    "tests": _tests,
    "times": _times,
    "epochs": _epochs,
    "usage": _usage,
    "sanitizer": _sanitizer,
}
