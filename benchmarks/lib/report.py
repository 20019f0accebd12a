"""What peers.py and footprint.py print: tables, where a peer wins, and what was asked of the kernels beside what they
reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping

from .command import Row, table
from .errors import TOLERANCE, told
from .shapes import FEW_ROWS, LARGE, SHAPES

TITLES = {
    "train": "A training step",
    "inference": "Inference, the outputs of all steps",
    "stream": "One streamed step, N = 1",
    "ragged": "A training step of a ragged batch",
}
"""The parts that are timed."""


def text(results: Row, asked: list[Row], quick: bool) -> str:
    timed = [(part, row) for part in TITLES for row in results.get(part, [])]
    parts = [f"float32, {results['threads']} threads; kernels: {results['kernels']}; peak: {results['peak']['how']}"]
    parts[0] += "".join(f"; {name} {number}" for name, number in results["peers"].items())
    if results["absent"]:
        parts.append(f"Not installed, and left out: {', '.join(results['absent'])}.")
    if quick:
        parts.append("A QUICK TEST: these figures mean nothing.")
    parts.append(
        "Milliseconds: median (quartiles) of the calls. Ratio: how many times as fast as this side is the one marked\n"
        "*, the median of the rounds. Of peak: useful operations of the products against multiply-adds alone. Errors:\n"
        "against float64, of the forward pass and of the gradients. (wrong): its results are wrong."
    )
    parts += [f"{title}\n\n{rows_table(results[part])}" for part, title in TITLES.items() if results.get(part)]
    for row in results.get("ragged", []):
        costs = ", ".join(f"{side} {cost:.2f}" for side, cost in row["step_against_full"].items())
        parts.append(
            f"{row['shape']}: {row['valid_steps']} of {row['all_steps']} steps are valid; "
            f"one costs, against one of a full batch: {costs}"
        )
    won = [
        f"{TITLES[part]}, {row['shape']}: {row['fastest_peer']} is {1 / factor:.2f} times as fast as ours"
        for part, row in timed
        if (factor := against(row, [row["fastest_peer"]]) or 1.0) < 1
    ]
    parts.append("Where a peer wins:\n" + ("\n".join(won) or "nowhere in this run"))
    parts.append(bars_text(asked))
    return "\n\n".join(parts)


def rows_table(rows: list[Row]) -> str:
    cells = []
    for row in rows:
        label = f"{row['shape']} {', '.join(map(str, row['size']))}"
        for side, each in row["errors"].items():
            errors = told(each.values())
            name = side + (f" by {row['onnxruntime_by']}" if side == "onnxruntime" else "")
            name += " *" * (side == row["ours"]) + " (wrong)" * (side in row["wrong"])
            if side not in row["seconds"]:
                cells.append([label, name, "not timed", "", "", "", errors])
                continue
            middle, (low, high) = (row["seconds"][side][key] for key in ("median", "quartiles"))
            factor = against(row, [side])
            cells.append([
                label,
                name + " (fastest peer)" * (side == row["fastest_peer"]),
                f"{1e3 * middle:.4g} ({1e3 * low:.4g}–{1e3 * high:.4g})",
                "" if factor is None else f"{factor:.2f}",
                f"{row['gflops'][side]:.1f}",
                f"{row['share_of_peak'][side]:.2f}",
                errors,
            ])  # fmt: skip
        cells.append([label, "peak", "", "", f"{row['peak_gflops']['median']:.1f}", "1.00", ""])
    return table(["N, T, D, H", "side", "ms", "ratio", "GFLOP/s", "of peak", "errors"], cells)


def bars_text(entries: list[Row]) -> str:
    words = {True: "met", False: "MISSED", None: "not judged"}
    lines = []
    for entry in entries:
        got = "not measured" if entry["got"] is None else f"{entry['got']:.4g}"
        sign = "≤" if entry["most"] else "≥"
        lines.append(f"{words[entry['met']]:>10}  {entry['what']}: asked {sign} {entry['asked']:g}, got {got}")
    return "What was asked, and what this run got\n\n" + "\n".join(lines)


# ---------------------------------------------------------------- footprint.py


def footprint_text(results: Row, asked: list[Row]) -> str:
    parts = [f"{results['threads']} threads"]
    if results.get("memory"):
        parts.append(memory_table(results["memory"]))
    if "size" in results:
        parts.append(size_table(results["size"]))
    return "\n\n".join([*parts, bars_text(asked)])


def memory_table(rows: list[Row]) -> str:
    sides = list(dict.fromkeys(side for row in rows for side in row["bytes"]))

    def cell(row: Row, side: str) -> str:
        return f"{row['bytes'][side] / 1e6:.1f} ({row['start'][side] / 1e6:.1f})" if side in row["bytes"] else ""

    cells = [[row["shape"], *(cell(row, side) for side in sides)] for row in rows]
    title = "Memory: MB that some training steps add at most in a fresh process (in brackets: a tiny one before)"
    return f"{title}\n\n{table(['', *sides], cells)}"


def size_table(size: Row) -> str:
    def megabytes(kind: str, name: str) -> str:
        return f"{size[kind][name] / 1e6:.1f}"

    rows = [
        [name, f"{1e3 * times['median']:.0f}", megabytes("bytes", name), megabytes("bytes_with_dependencies", name)]
        for name, times in size["import_seconds"].items()
    ]
    compiled = size["compiled_bytes"]
    told = "not built" if compiled is None else f"{compiled / 1e6:.2f} MB"
    header = ["", "import, ms", "installed, MB", "with its dependencies, MB"]
    both = {"thinc", "torch"} <= set(size["bytes"])
    note = "\n\nthinc imports PyTorch where that is installed, as here." if both else ""
    return f"Import and size (our compiled part: {told})\n\n{table(header, rows)}{note}"


# ---------------------------------------------------------------- what was asked

ASKED = {"lstm": (2.5, 1.25, 1.4, 1.05), "gru": (2.0, 1.0, 1.3, 1.0), "rnn": (1.0, 1.0, 1.0, 1.0)}
"""How many times as fast as PyTorch a training step is to be, as a mean over the shapes and at each; and as the better
of PyTorch and onnxruntime inference."""


def bars(results: Row) -> list[Row]:
    """What the kernels were asked to reach, and what they reached in this run."""
    found: list[Row] = []
    train, infer, stream, ragged = ({row["shape"]: row for row in results.get(part, [])} for part in TITLES)
    of_training, each_training, of_inference, each_inference = ASKED[results["cell"]]
    if train:
        ratios = {name: against(row, ["torch"]) for name, row in train.items()}
        found.append(mean_bar("training, times as fast as torch, geometric mean", of_training, ratios, SHAPES))
        found += [bar(f"training, {name}, times as fast as torch", each_training, ratios[name]) for name in ratios]
        found += peak_bars("training", train, 0.80, 0.74)
    infer = {name: row for name, row in infer.items() if name in {**SHAPES, **FEW_ROWS}}
    if infer:
        ratios = {name: against(row, ["torch", "onnxruntime"]) for name, row in infer.items()}
        what = "inference, times as fast as the better of torch and onnxruntime, geometric mean"
        found.append(mean_bar(what, of_inference, ratios, {**SHAPES, **FEW_ROWS}))
        for name, row in infer.items():
            found.append(
                bar(f"inference, {name} ({row['ours']}), times as fast as the better", each_inference, ratios[name])
            )
        found += peak_bars("inference", infer, 0.85, None)
    for name, row in stream.items():
        got = against(row, [side for side in row["times_as_fast"] if side.startswith("onnxruntime")])
        found.append(bar(f"one streamed step, {name}, times as fast as onnxruntime's fastest", 1.0, got))
    for name, row in ragged.items():
        cost = row["step_against_full"].get("xlstm")
        found.append(bar(f"ragged, {name}, a valid step against one of a full batch", 1.15, cost, most=True))
        found.append(bar(f"ragged, {name}, times as fast as torch, packed", 1.5, against(row, ["torch"])))
    every = [row["errors"] for part in TITLES for row in results.get(part, [])]
    ours = [each for errors in every for side, each in errors.items() if side.startswith("xlstm")]
    for kind, most in TOLERANCE["float32"].items():
        if values := [each[kind] for each in ours if kind in each]:
            found.append(bar(f"largest error of ours, {kind}", most, max(values), most=True))
    return found


def footprint_bars(results: Row) -> list[Row]:
    """The same of footprint.py."""
    found: list[Row] = []
    for row in results.get("memory", []):
        used, theirs = row["bytes"]["xlstm"], row["bytes"].get("torch")
        got = None if theirs is None else used / max(theirs, 1)
        found.append(bar(f"peak memory of a training step, {row['shape']}, against torch's", 1.0, got, most=True))
    if "size" in results:
        size = results["size"]
        found.append(bar("import, times as long as NumPy's", 1.3, size["import_against_numpy"]["median"], most=True))
        compiled = size["compiled_bytes"]
        found.append(bar("compiled part, MB", 2.0, None if compiled is None else compiled / 1e6, most=True))
    return found


def bar(what: str, asked: float, got: float | None, most: bool = False, complete: bool = True) -> Row:
    """One thing that was asked for; `asked` is the least, or with `most` the most. Judged if all of it was measured."""
    met = None if got is None or not complete else got <= asked if most else got >= asked
    return {"what": what, "asked": asked, "got": got, "most": most, "complete": complete, "met": met}


def against(row: Row, peers: Iterable[str | None]) -> float | None:
    """How many times as fast as the fastest of these."""
    factors = row["times_as_fast"]
    return min((factors[peer]["median"] for peer in peers if peer in factors), default=None)


def mean_bar(
    what: str, asked: float, values: Mapping[str, float | None], whole: Iterable[str],
    mean: Callable[[list[float]], float] = statistics.geometric_mean,
) -> Row:  # fmt: skip
    known = {name: value for name in whole if (value := values.get(name)) is not None}
    complete = list(known) == list(whole)
    if known and not complete:
        what += f" of {', '.join(known)} alone"
    return bar(what, asked, mean(list(known.values())) if known else None, complete=complete)


def peak_bars(part: str, rows: Mapping[str, Row], mean: float, each: float | None) -> list[Row]:
    shares = {name: rows[name]["share_of_peak"].get(rows[name]["ours"]) for name in LARGE if name in rows}
    if not shares:
        return []
    what = f"{part}, share of the peak, mean over mid, big, huge"
    found = [mean_bar(what, mean, shares, LARGE, statistics.mean)]
    if each is not None:
        found += [bar(f"{part}, {name}, share of the peak", each, share) for name, share in shares.items()]
    return found
