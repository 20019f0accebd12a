"""The tables: one LSTM layer at several sizes, forward, and forward and backward, beside PyTorch and JAX.

Times are those of CUDA events on the current stream, which our calls and PyTorch's share; the sides take turns call by
call. Before the first call, and once more at the end, the results of each side are compared with the array code in
float64; what the pool of CuPy gives for a result holds NaN then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from xlstm import backends

from .command import Row
from .errors import bounds_of
from .gpu_device import error_on_device, import_torch, pairs
from .gpu_sides import OVER_PADDING, Given, Ours, given_of, sides_of
from .gpu_trace import names_of, traced
from .harness import spread
from .parts import Case, attempted, failure, say
from .shapes import Size

SIZES: dict[str, Size] = {
    "anchor": (16, 1024, 768, 768),
    "H 256": (64, 100, 256, 256),
    "H 512": (64, 100, 512, 512),
    "H 1024": (128, 100, 1024, 1024),
    "series": (64, 100, 16, 64),
    "row": (32, 28, 28, 128),
}
"""(N, T, D, H). Of the first, torch's times in float16 are known: 2.0 ms forward, 5.2 ms forward and backward."""
ORDER = ("highest", "float16", "high", "bfloat16")
"""Of the precisions: where the time is short, the last ones are left out."""
RAGGED, HOST = ("H 256", "series"), ("H 256", "series")
QUICK: dict[str, Size] = {"tiny": (2, 3, 4, 5)}
WARM_UPS, CALLS, FEWEST = 5, 25, 3


def cases(given: Row) -> list[Case]:
    names = list(QUICK if given["quick"] else SIZES)
    full = [{"shape": name, "kind": "full", "precision": precision} for precision in ORDER[:2] for name in names]
    rest = [{"shape": name, "kind": "full", "precision": precision} for precision in ORDER[2:] for name in names]
    others = [
        {"shape": name, "kind": kind, "precision": "highest"}
        for kind, chosen in (("ragged", RAGGED), ("host", HOST))
        for name in names
        if name in chosen or given["quick"]
    ]
    return [*full, *others, *rest]


def measure(case: Case, given: Row, seconds: float) -> Row:
    import_torch()
    import cupy

    end = time.perf_counter() + seconds
    size, ragged = {**SIZES, **QUICK}[case["shape"]], case["kind"] == "ragged"
    inputs = given_of(size, ragged)
    makers = sides_of(inputs, given["device"], pairs(given), case["precision"], case["kind"] == "host")
    sides: dict[str, Any] = {}
    row: Row = {
        "size": list(size),
        "inputs": len(inputs.inputs),
        "failed": {},
        "errors": {},
        "wrong": [],
        "ran": {},
        "kernels": {},
        "algorithms": {},
    }
    if ragged:
        row["valid_steps"], row["all_steps"] = sum(inputs.lengths or []), size[0] * size[1]
    if case["kind"] == "host":
        row["host_data"] = "a call takes x from the host, and brings the outputs, with dx in training, back to it"
    true = truth(case["shape"], ragged, inputs, given["device"])

    def check(name: str) -> None:
        row["errors"][name] = compared(cupy, sides[name], true)

    def tried(name: str, call: Callable[[], object]) -> None:
        """A side that fails takes part no longer."""
        why = failure(call)
        if why is not None:
            row["failed"][name] = why
            sides.pop(name, None)

    for name, make in makers.items():
        tried(name, lambda name=name, make=make: sides.update({name: make()}))
    for name in list(sides):
        tried(name, lambda name=name: check(name))
    for what, part in (("infer", 0.4), ("train", 0.8)):
        calls = {name: getattr(side, what) for name, side in sides.items()}
        row[what], failed = timed(cupy, given["device"], calls, sides, part * (end - time.perf_counter()))
        for name, why in failed.items():
            row["failed"][name] = why
            del sides[name]
    bounds = bounds_of("float32", case["precision"])
    for name, side in list(sides.items()):
        tried(name, lambda name=name: check(name))  # once more: what was timed is what is right
        if name not in sides:
            continue
        right = all(error <= bounds[kind] for kind, error in row["errors"][name].items())
        if not right and name != OVER_PADDING:
            row["wrong"].append(name)
        row["ran"][name] = side.told
        if name == "cudnn":
            tried(name, lambda name=name, side=side: row["algorithms"].update({name: side.algorithm()}))
        if name != "reference":  # its kernels are many, and no secret
            row["kernels"][name] = attempted(lambda side=side: names_of(traced(side.train)))
    return row


_truths: dict[tuple[str, bool], dict[str, Any]] = {}


def truth(shape: str, ragged: bool, inputs: Given, device: str) -> dict[str, Any]:
    """The results of the array code in float64 on the device, worked out once a process."""
    if (shape, ragged) not in _truths:
        side = Ours(inputs, device, "reference", "highest", dtype="float64")
        _truths[shape, ragged] = side.results(side.train())
    return _truths[shape, ragged]


def compared(cupy: Any, side: Any, true: dict[str, Any]) -> dict[str, float]:
    """The largest errors of a training step in memory that held NaN, by kind."""
    poison(cupy, true)
    found, kinds = side.results(side.train()), {"forward": 0.0, "gradient": 0.0}
    for name, values in found.items():
        kind = "gradient" if name.startswith("d") else "forward"
        kinds[kind] = max(kinds[kind], error_on_device(cupy, cupy.asarray(values), true[name]))
    return kinds


def poison(cupy: Any, like: dict[str, Any]) -> None:
    """NaN into the memory that the pool gives to the next arrays of these sizes."""
    blocks = [cupy.empty(values.shape, "float32") for values in like.values() for _ in range(3)]
    for block in blocks:
        block.fill(float("nan"))


def timed(
    cupy: Any, device: str, calls: dict[str, Callable[[int], Any]], sides: dict[str, Any], seconds: float
) -> tuple[Row, dict[str, str]]:
    """Seconds of each side, and why others failed: `CALLS` calls in turns, or as many as `seconds` allow.

    There are `FEWEST` at least. A side that has used its share of the time does not keep the others from theirs.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    share, used = max(seconds, 0.0) / max(1, len(calls)), dict.fromkeys(calls, 0.0)
    failed: dict[str, str] = {}
    synchronize = backends.select(device).synchronize

    def warm_up(name: str) -> None:
        for k in range(WARM_UPS):  # the first call compiles, allocates and looks for algorithms: it is not counted
            begin = time.perf_counter()
            calls[name](k)
            synchronize()
            used[name] += (time.perf_counter() - begin) * (k > 0)
            if used[name] > share / 3:
                return

    def take(name: str, turn: int) -> None:
        begin = time.perf_counter()
        times[name].append(one(cupy, calls[name], turn, sides[name].clock))
        used[name] += time.perf_counter() - begin

    for turn in range(-1, CALLS):
        names = [name for name in calls if name not in failed]
        for name in names[turn % len(names) :] + names[: turn % len(names)] if names else []:
            if turn >= FEWEST and used[name] > share:
                continue
            why = failure(lambda name=name: warm_up(name) if turn < 0 else take(name, turn))  # noqa: B023
            if why is not None:
                failed[name] = why
    found = {name: spread(values) for name, values in times.items() if values and name not in failed}
    for name, measured in found.items():
        measured["clock"] = sides[name].clock
        say(f"    {name}: {1e3 * measured['median']:.3f} ms")
    return found, failed


def one(cupy: Any, call: Callable[[int], Any], turn: int, clock: str) -> float:
    """Seconds of one call."""
    if clock == "host":
        begin = time.perf_counter()
        call(turn)
        return time.perf_counter() - begin
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    returned = call(turn)  # held, so that freeing it is no part of the time
    last.record()
    last.synchronize()
    del returned
    return float(cupy.cuda.get_elapsed_time(first, last)) / 1e3
