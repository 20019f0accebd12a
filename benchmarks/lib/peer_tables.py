"""The tables of peers.py, for docs/performance.md and the README."""

from __future__ import annotations

from collections.abc import Iterator

from .command import Row, digits, held_to, of_each_kind
from .pages import NOTHING, SHAPE, heading, in_order, line, measured_on, paragraph, size
from .shapes import LARGE

TITLES = {
    "train": "ms for a training step, from a gradient of the final state to those of all parameters",
    "inference": "ms for inference, with the outputs of all steps",
    "stream": "ms for one step of a stream, the state passed on",
    "ragged": "ms for a training step of a batch of different lengths",
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


def beside_others(cell: str) -> Iterator[str]:
    """A cell beside other libraries, on each kind of CPU that there is a result of."""
    results = of_each_kind(f"peers-{cell}")
    if not results:
        yield f"**Not measured yet**: `python benchmarks/peers.py --cell {cell} --out`."
    for number, result in enumerate(results):
        yield from ("",) * (number > 0)
        if (target := held_to(result)) is None:
            yield from of_a_kind(cell.upper(), result)
        else:
            yield from of_a_lower_kind(cell.upper(), target, result)


def of_a_kind(cell: str, result: Row) -> Iterator[str]:
    """What its CPU does by itself."""
    machine = result["machine"]
    yield from paragraph(
        f"float32, {measured_on(result)}, {result['settings']['rounds']} rounds; kernels: {result['kernels']}; NumPy "
        f"{machine['versions']['numpy']}, {libraries(result)}."
    )
    for part, title in TITLES.items():
        if result.get(part):
            yield from speeds(f"{cell}, {title}", result[part])
    if result.get("ragged"):
        header = [SHAPE, "valid steps", "all steps", "a valid step against one of a full batch"]
        yield from heading("How many of the steps are valid, and what one costs xlstm", header)
        for row in in_order(result["ragged"]):
            cost, valid, steps = row["step_against_full"]["xlstm"], row["valid_steps"], row["all_steps"]
            yield line([size(row), str(valid), str(steps), f"{cost:.2f} ×"])


def libraries(result: Row) -> str:
    return ", ".join(f"{name} {number}" for name, number in result["peers"].items())


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
        yield line([size(row), *cells, factor(row), share(row)])


def factor(row: Row) -> str:
    """How many times as fast as the fastest other library that is right."""
    found = row["times_as_fast"].get(row["fastest_peer"])
    peer = NAMES.get(row["fastest_peer"], row["fastest_peer"])
    return NOTHING if found is None else f"{found['median']:.2f} × {peer}"


def share(row: Row) -> str:
    found = row["share_of_peak"].get(row["ours"])
    return NOTHING if found is None else f"{found:.2f}"


def of_a_lower_kind(cell: str, target: str, result: Row) -> Iterator[str]:
    """What its CPU does when the kernels are held to a lower instruction set: one table."""
    yield from paragraph(
        f"The kernels held to {target} (`XLSTM_CPU_TARGET={target}`) on a CPU that has more; float32, "
        f"{measured_on(result)}, {result['settings']['rounds']} rounds. The share is that of {target}'s own peak. The "
        f"other libraries are not held: they use all that the CPU has ({libraries(result)}), and the ratios to them "
        f"are not those of a CPU that stops at {target}."
    )
    parts = {part: {row["shape"]: row for row in result.get(part, [])} for part in ("train", "inference")}
    shown = {shape: row for rows in parts.values() for shape, row in rows.items()}
    header = [SHAPE]
    for what in ("training", "inference"):
        header += [f"{what}, ms", "of the peak", "against the fastest other"]
    yield from heading(f"{cell} on {target}", header)
    for row in in_order(list(shown.values())):
        cells = []
        for rows in parts.values():
            found = rows.get(row["shape"])
            timed = None if found is None else found["seconds"].get(found["ours"])
            cells += [NOTHING] * 3 if found is None or timed is None else [
                digits(1e3 * timed["median"]), share(found), factor(found)
            ]  # fmt: skip
        yield line([size(row), *cells])


def in_a_sentence() -> Iterator[str]:
    """For the README: an LSTM on each kind of CPU, in the shapes of the chart."""
    for number, result in enumerate(of_each_kind("peers-lstm")):
        yield from ("",) * (number > 0)
        parts = {part: list(filter(drawn, result.get(part, []))) for part in ("train", "inference")}
        told, target = f"One LSTM layer in float32, {measured_on(result)}", held_to(result)
        shares = [extremes([row["share_of_peak"].get(row["ours"]) for row in large(rows)]) for rows in parts.values()]
        if target is not None:
            yield from paragraph(
                f"{told}, the kernels held to {target}: large layers run at {shares[0]} of its peak in training, at "
                f"{shares[1]} in inference."
            )
            continue
        ratios = [extremes([row["times_as_fast"][row["fastest_peer"]]["median"] for row in rows])
                  for rows in parts.values()]  # fmt: skip
        yield from paragraph(
            f"{told}, {result['kernels']}: a training step is {ratios[0]} times as fast as the fastest other library "
            f"whose results are right, inference {ratios[1]} times. Large layers run at {shares[0]} and {shares[1]} of "
            f"the processor's highest possible rate of multiply-adds."
        )


def drawn(row: Row) -> bool:
    """Whether the chart has this shape: it leaves out how inference goes with the batch."""
    return row["fastest_peer"] is not None and not row["shape"].startswith("batch")


def large(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["shape"] in LARGE]


def extremes(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.2f} to {max(known):.2f}" if known else NOTHING
