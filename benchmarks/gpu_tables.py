"""Make the tables of GPUs in docs/devices.md: what a model of cost computes, and what bench_gpu.py has measured.

    python benchmarks/gpu_tables.py              prints them
    python benchmarks/gpu_tables.py --write      writes them between their markers in the page

What is measured comes from the newest file of bench_gpu.py in results/; without one the page says so. Nothing is
measured here. The tests compare the page with what is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from lib import gpu_cost
from lib.checkout import RESULTS, ROOT
from lib.command import Row, digits
from lib.gpu_report import WHATS
from lib.gpu_sides import OVER_PADDING
from lib.pages import between
from lib.parts import rows_of

PAGE = ROOT / "docs" / "devices.md"
NOTHING = gpu_cost.NOTHING


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--write", action="store_true", help="into docs/devices.md")
    made.add_argument("--results", type=Path, help="a file of bench_gpu.py (default: the newest in results/)")
    made.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    options = made.parse_args()
    results = result_of(options.results) if options.results else newest_result()
    if options.write and options.page == PAGE and results is not None and results["settings"]["quick"]:
        sys.exit(
            "a quick result is a test of the benchmark, and its figures mean nothing: it is not written to the page"
        )
    blocks = {"measured": "\n".join(measured(results)), "computed": "\n".join(computed(results))}
    if not options.write:
        print("\n\n".join(blocks.values()))
        return 0
    page = options.page.read_text(encoding="utf-8")
    for name, text in blocks.items():
        page = between(page, name, "gpu_tables.py", text)
    options.page.write_text(page, encoding="utf-8")
    return 0


def result_of(path: Path) -> Row:
    """What bench_gpu.py wrote to this file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{path} is no result of bench_gpu.py: {error}")
    parts = ("date", "machine", "settings", "parts")
    lacking = [part for part in parts if not isinstance(found, dict) or part not in found]
    if lacking:
        sys.exit(f"{path} is no result of bench_gpu.py: it lacks {', '.join(lacking)}")
    return dict(found)


def newest_result() -> Row | None:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("bench_gpu-*.json")]
    return max(found, key=lambda result: str(result["date"]), default=None)


def lines(header: list[str], rows: list[list[str]], words: int = 1) -> Iterator[str]:
    """A Markdown table, of which so many columns hold words."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * words}{'---:|' * (len(header) - words)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


# ---------------------------------------------------------------- measured


def measured(results: Row | None) -> Iterator[str]:
    gpu = None if results is None else next((row for row in rows_of(results, "device") if row["what"] == "gpu"), None)
    if results is None or gpu is None:
        yield "**Not measured yet.** No figure on this page comes from a GPU."
        return
    facts = {row["what"]: row for row in rows_of(results, "device")}
    others = [f"torch {facts['torch']['version']} (cuDNN {facts['torch']['cudnn']})"] if "torch" in facts else []
    others += [f"JAX {facts['jax']['version']}"] if "jax" in facts else []
    told = [f"{gpu['name']}, CuPy {gpu['cupy']}", *others, results["machine"]["processor"], str(results["date"])]
    yield f"Measured: {', '.join(told)}."
    if results["settings"]["quick"]:
        yield "\nA QUICK TEST: these figures mean nothing."
    yield from right(results)
    yield from times(results)
    yield from epochs(results)
    yield from usage(results)


def right(results: Row) -> Iterator[str]:
    """The largest error of each level and precision, over its cells."""
    worst: dict[tuple[str, str, str], tuple[float, float, bool]] = {}
    for row in rows_of(results, "right"):
        kind = row["level"], row["precision"], row["dtype"]
        forward, gradient, good = worst.get(kind, (0.0, 0.0, True))
        errors = row["errors"]
        worst[kind] = max(forward, errors["forward"]), max(gradient, errors["gradient"]), good and row["right"]
    if worst:
        rows = [
            [*kind, f"{forward:.0e}", f"{gradient:.0e}", "yes" if good else "**NO**"]
            for kind, (forward, gradient, good) in worst.items()
        ]
        yield "\nThe largest error against float64 on the CPU, of LSTM, GRU and RNN, ragged, in both directions:\n"
        yield from lines(["level", "precision", "dtype", "forward", "gradients", "within its bound"], rows, 3)


def times(results: Row) -> Iterator[str]:
    """For each kind of data: the milliseconds of each side, the fastest that is right in bold."""
    titles = {
        "full": "An LSTM layer, ms, data on the device",
        "ragged": "The same with different lengths; torch by packed sequences, or over the padding with other results",
        "host": "The same with x on the host, and results brought back to it",
    }
    found = list(rows_of(results, "times"))
    for kind, title in titles.items():
        rows = [row for row in found if row["kind"] == kind]
        sides = list(dict.fromkeys(side for row in rows for what in WHATS for side in row[what]))
        if not sides:
            continue
        told = []
        for row in rows:
            for what, name in WHATS.items():
                medians = {side: row[what][side]["median"] for side in sides if side in row[what]}
                good = {side: value for side, value in medians.items() if side not in (*row["wrong"], OVER_PADDING)}
                fastest = min(good, key=lambda side: good[side], default=None)
                cells = [cell(medians.get(side), side in row["wrong"], side == fastest) for side in sides]
                told.append([", ".join(map(str, row["size"])), row["precision"], name, *cells])
        yield f"\n{title}:\n"
        yield from lines(["batch, time, features, hidden", "precision", "", *sides], told, 3)


def cell(seconds: float | None, wrong: bool, fastest: bool) -> str:
    if seconds is None:
        return NOTHING
    text = digits(1e3 * seconds) + " (wrong)" * wrong
    return f"**{text}**" if fastest else text


def epochs(results: Row) -> Iterator[str]:
    rows = [
        [row["job"], row["side"], row.get("data", "host"), digits(1e3 * row["seconds"])]
        for row in rows_of(results, "epochs")
    ]
    if rows:
        yield "\nAn epoch of training, ms:\n"
        yield from lines(["job", "side", "data", "ms"], rows, 3)


def usage(results: Row) -> Iterator[str]:
    found = list(rows_of(results, "usage"))
    memory = [
        [row["side"], row["precision"], f"{row['peak_bytes'] / 1e6:.1f}", f"{row['added_bytes'] / 1e6:.1f}"]
        for row in found
        if row["what"] == "memory"
    ]
    if memory:
        yield "\nMemory of a training step of a layer, MB, weights and data included, and what the step adds:\n"
        yield from lines(["side", "precision", "at most", "added"], memory, 2)
    steps = [row for row in found if row["what"] == "launches"]
    if steps:
        names = list(steps[0]["step"])
        rows = [
            [row["side"], row["precision"], row["data"], *(str(row["step"][name]) for name in names)] for row in steps
        ]
        yield "\nA training step of a classifier on series of 100 steps, counted:\n"
        yield from lines(["level", "precision", "data", *(name.replace("_", " ") for name in names)], rows, 3)


# ---------------------------------------------------------------- computed


def computed(results: Row | None) -> Iterator[str]:
    """The model's table; beside it the microseconds that were measured, where they were."""
    gpu = gpu_cost.H100
    yield (
        f"COMPUTED for {gpu.name}, NOT MEASURED: microseconds a time step of an LSTM layer in float32, T = 100, as "
        "many features as hidden units. A range is from the best to the worst that the assumptions allow."
    )
    yield ""
    header, rows = [*gpu_cost.HEADER], gpu_cost.table()
    found = {} if results is None else measured_steps(results)
    if found:
        header += ["measured: forward", "both"]
        for row in rows:
            row += found.get((row[0].partition(",")[0], row[1], row[2]), [NOTHING, NOTHING])
    yield from lines(header, rows, 3)


def measured_steps(results: Row) -> dict[tuple[str, str, str], list[str]]:
    """By shape, level and precision: the microseconds a step, forward, and forward and backward.

    Rows of equal lengths in float16, as they were timed, are those of cuDNN's persistent kernel in the model.
    """
    found = {}
    for row in rows_of(results, "times"):
        for side in row["infer"].keys() & row["train"].keys() if row["kind"] == "full" else ():
            steps = row["size"][1]
            medians = [row[what][side]["median"] for what in WHATS]
            level = "cudnn, persistent" if (side, row["precision"]) == ("cudnn", "float16") else side
            found[row["shape"], level, row["precision"]] = [digits(1e6 * value / steps) for value in medians]
    return found


if __name__ == "__main__":
    sys.exit(main())
