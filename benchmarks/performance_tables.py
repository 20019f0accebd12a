"""Print the tables of docs/performance.md from the files in results/.

    python benchmarks/performance_tables.py

takes the newest result of each command; nothing is measured. The tests compare what it prints with the page.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

from lib.command import Row, digits, newest, of_each_kind

SHAPE = "batch, time, features, hidden"
TITLES = {
    "train": "LSTM, ms for a training step, from a gradient of the final state to those of all parameters",
    "inference": "LSTM, ms for inference, with the outputs of all steps",
    "stream": "LSTM, ms for one step of a stream, the state passed on",
    "ragged": "LSTM, ms for a training step of a batch of different lengths",
}
NAMES = {
    "reference": "xlstm, array code",
    "xlstm prepared": "xlstm, prepared",
    "onnxruntime run, 1 thread": "onnxruntime, plain run, 1 thread",
    "onnxruntime run, 2 threads": "onnxruntime, plain run, 2 threads",
    "onnxruntime binding, 1 thread": "onnxruntime, bound memory, 1 thread",
    "onnxruntime binding, 2 threads": "onnxruntime, bound memory, 2 threads",
}
"""What the columns are called, where that is not the name in the results."""
NOTHING = "–"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("\n".join([*peers(), *footprint(), *layers(), *epochs(), *quality()]))


def heading(title: str, cells: list[str]) -> Iterator[str]:
    yield from ("", f"{title}:", "", line(cells), f"|---|{'---:|' * (len(cells) - 1)}")


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def size(row: Row) -> str:
    return ", ".join(map(str, row["size"]))


def in_order(rows: list[Row]) -> list[Row]:
    """By the hidden units, then by the batch, then by the rest."""
    return sorted(rows, key=lambda row: (row["size"][3], row["size"][0], row["size"]))


def peers() -> Iterator[str]:
    """The compiled kernels beside other libraries, on each kind of CPU that there is a result of."""
    for number, result in enumerate(of_each_kind("peers")):
        yield from ("",) * (number > 0)
        yield from beside_others(result)


def beside_others(result: Row) -> Iterator[str]:
    machine, known = result["machine"], ", ".join(f"{name} {number}" for name, number in result["peers"].items())
    yield (
        f"float32, {machine['processor']}, {result['threads']} threads on all sides, kernels: {result['kernels']}, "
        f"NumPy {machine['versions']['numpy']}, {known}, {result['date']}."
    )
    for part, title in TITLES.items():
        yield from speeds(title, result.get(part, []))
    header = [SHAPE, "valid steps", "all steps", "a valid step against one of a full batch"]
    yield from heading("How many of the steps are valid, and what one costs xlstm", header)
    for row in in_order(result.get("ragged", [])):
        cost, valid, steps = row["step_against_full"]["xlstm"], row["valid_steps"], row["all_steps"]
        yield line([size(row), str(valid), str(steps), f"{cost:.2f} ×"])


def speeds(title: str, rows: list[Row]) -> Iterator[str]:
    """One row a shape: each side's milliseconds, the fastest in bold, and how ours does against the fastest peer."""
    timed = dict.fromkeys(side for row in rows for side in row["seconds"])
    sides = [side for side in timed if not side.endswith("full batch")]
    names = [NAMES.get(side, side) for side in sides]
    yield from heading(title, [SHAPE, *names, "against the fastest other", "of the peak"])
    for row in in_order(rows):
        seconds = {side: row["seconds"][side]["median"] for side in sides if side in row["seconds"]}
        right = {side: value for side, value in seconds.items() if side not in row["wrong"]}
        fastest = min(right, key=lambda side: right[side], default=None)
        cells = []
        for side in sides:
            cell = digits(1e3 * seconds[side]) if side in seconds else "wrong" if side in row["wrong"] else NOTHING
            cell += " (wrong)" * (side in row["wrong"] and side in seconds)
            cells.append(f"**{cell}**" if side == fastest else cell)
        factor = row["times_as_fast"].get(row["fastest_peer"])
        peer = NAMES.get(row["fastest_peer"], row["fastest_peer"])
        cells.append(NOTHING if factor is None else f"{factor['median']:.2f} × {peer}")
        share = row["share_of_peak"].get(row["ours"])
        cells.append(NOTHING if share is None else f"{share:.2f}")
        yield line([size(row), *cells])


def footprint() -> Iterator[str]:
    result = newest("footprint")
    rows, sizes = result["memory"], result["size"]
    sides = list(dict.fromkeys(side for row in rows for side in row["bytes"]))
    title = "LSTM, MB that training steps add at most, in a fresh process"
    yield from heading(title, [SHAPE, *(NAMES.get(side, side) for side in sides)])
    for row in in_order(rows):
        cells = (f"{row['bytes'][side] / 1e6:.1f}" if side in row["bytes"] else NOTHING for side in sides)
        yield line([size(row), *cells])
    header = ["library", "import, ms", "size, MB", "with its dependencies, MB"]
    yield from heading("Imports in fresh processes, and files as pip installs them", header)
    for name, times in sizes["import_seconds"].items():
        alone, whole = sizes["bytes"][name] / 1e6, sizes["bytes_with_dependencies"][name] / 1e6
        yield line([name, f"{1e3 * times['median']:.0f}", f"{alone:.1f}", f"{whole:.1f}"])
    ratio = newest("import_time")["ratios"]["median"]
    yield f"\n`import xlstm` takes {ratio:.2f} times as long as `import numpy`, which it includes."


def layers() -> Iterator[str]:
    result = newest("layers")
    versions = result["machine"]["versions"]
    title = (
        f"LSTM, ms for a training step, the input's gradient included, {result['torch_threads']} threads, "
        f"NumPy {versions['numpy']}, torch {versions['torch']}, {result['date']}"
    )
    yield from heading(title, [SHAPE, "xlstm, array code", "torch", "against torch"])
    for row in in_order(result["rows"]):
        torch, ours = (1e3 * row["seconds"][side]["median"] for side in ("torch", "reference"))
        yield line([size(row), digits(ours), digits(torch), f"{row['times_as_fast']['torch']['median']:.2f} ×"])


def epochs() -> Iterator[str]:
    header = ["job", "xlstm", "torch, packed", "torch, gathered", "against the faster of these"]
    yield from heading("ms for an epoch of training, and for the same model written by hand in PyTorch", header)
    for row in newest("epochs")["rows"]:
        cells = (digits(1e3 * row["seconds"][side]["median"]) for side in ("xlstm", "packed", "gathered"))
        yield line([row["job"], *cells, f"{row['got']:.2f} ×"])


def quality() -> Iterator[str]:
    names = newest("names")
    header = ["classifier", "mean accuracy", "median time of a fit"]
    yield from heading("The whole of training, with five seeds", header)
    told = f"first names, held-out fifth (balanced {names['means']['balanced_accuracy']:.3f})"
    yield line([told, f"{names['means']['accuracy']:.3f}", f"{fit_seconds(names['runs']):.1f} s"])
    for entry in newest("datasets")["sets"]:
        accuracy = statistics.mean(run["accuracy"] for run in entry["runs"])
        yield line([f"{entry['set']}, its test part", f"{accuracy:.3f}", f"{fit_seconds(entry['runs']):.1f} s"])


def fit_seconds(runs: list[Row]) -> float:
    return statistics.median(run["seconds"] for run in runs)


if __name__ == "__main__":
    main()
