"""One LSTM layer beside every other library that is installed: training, inference, streaming, ragged batches, memory.

Usage::

    python benchmarks/peers.py                               everything; some ten minutes on a quiet machine
    python benchmarks/peers.py --only train --shapes tiny,row
    python benchmarks/peers.py --quick                       whether it works at all; its figures mean nothing
    python benchmarks/peers.py --out                         also writes benchmarks/results/peers-….json

The sides are this library, its reference path, PyTorch, onnxruntime, JAX and thinc, as far as they are installed: the
same weights and inputs, float32, the same number of threads, each in its own best layout. Results are compared with
float64 before anything is timed. A side of ours that is wrong is not timed, and the exit code is 1; another library's
is timed, marked, and does not count as the fastest. Then the sides take turns in blocks, and in the same turns a loop
of multiply-adds measures what the machine can do at most. See README.md.

A training step is a forward pass, and a backward pass from a gradient of the final h to the gradients of all parameters
but not of the input; nothing is packed before. thinc computes the input's gradient nevertheless, for it has no other
way, and on one thread. Inference returns the outputs of every step, and the final state.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import footprint
import numpy as np
import sides
from common import SHAPES, choices, finish, parser, spread
from peak import Peak
from peers_report import PARTS, TITLES, bars, text

import xlstm
from xlstm.bench import training_flops

PREPARED = ("tiny", "one")
"""Where a call's overhead counts most, and inference is judged through `prepare()`."""
PAUSE, WARM_UP = 0.06, 0.01  # seconds: onnxruntime's threads spin some 30 ms after a call, PyTorch's 3 ms
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # the last is JAX's

Calls = dict[str, Callable[[], Any]]
Errors = dict[str, dict[str, float]]
Row = dict[str, Any]


def main() -> int:
    options = arguments()
    with_threads(options.threads)
    absent = {peer: sides.missing(peer) for peer in options.peers if sides.missing(peer)}
    for peer, names in absent.items():
        print(f"*** {peer} IS LEFT OUT, NOT INSTALLED: {', '.join(names)} ***", file=sys.stderr, flush=True)
    options.peers = [peer for peer in options.peers if peer not in absent]
    peak = Peak(options.threads)
    results: dict[str, Any] = {
        "threads": options.threads,
        "dtype": "float32",
        "kernels": xlstm.LSTM(1, 1, device="cpu").kernels,
        "peers": versions((*options.peers, "jaxlib", "onnx")),
        "absent": [name for names in absent.values() for name in names],
        "peak": {"how": peak.how},
    }
    measures = {"train": training, "inference": inference, "stream": streaming, "ragged": ragged,
                "memory": memory, "size": import_and_size}  # fmt: skip
    for part in PARTS:
        if part in options.only:
            results[part] = measures[part](options, peak)
    results["bars"] = bars(results)
    finish(options, "peers", results, text(results, options.quick))
    return int(any(row["ours_wrong"] for part in TITLES for row in results.get(part, [])))


def arguments() -> argparse.Namespace:
    shapes = list({**sides.INFERENCE, **sides.STREAMS, **sides.RAGGED})
    made = parser("peers", __doc__)
    made.add_argument("--only", type=choices(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    made.add_argument("--shapes", type=choices(shapes), help=f"some of {','.join(shapes)} (default: all of a part)")
    made.add_argument(
        "--peers", type=choices(list(sides.NEEDS)), default=list(sides.NEEDS), help="default: all installed"
    )
    made.add_argument("--rounds", type=int, help="blocks of each side (default: 7)")
    made.add_argument("--seconds", type=float, help="of calls in a block, two calls at least (default: 0.1)")
    made.add_argument("--threads", type=int, default=min(2, cores()), help="of every side (default: 2, or 1 of 1)")
    made.add_argument("--quick", action="store_true", help="a short round of the small shapes: a test, no measurement")
    options = made.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 7)
    options.seconds = options.seconds or (0.002 if options.quick else 0.1)
    if options.quick and options.shapes is None:
        options.shapes = ["tiny", "row", "one", "eight", "batch 2", *sides.STREAMS, "series"]
    return options


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_threads(threads: int) -> None:
    """Begin anew where the variables that set the number of threads say something else: most libraries read them
    only when they are loaded, and NumPy is by now."""
    wanted = {"JAX_PLATFORMS": "cpu", **{name: str(threads) for name in THREAD_VARIABLES}}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def chosen(options: argparse.Namespace, what: str, sizes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The shapes that were asked for, each announced."""
    for name, size in sizes.items():
        if options.shapes is None or name in options.shapes:
            print(f"{what}, {name} {size} ...", file=sys.stderr, flush=True)
            yield name, size


# ---------------------------------------------------------------- the parts


def training(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "training step", SHAPES):
        head: Row = {
            "shape": name,
            "size": list(size),
            "ours": "xlstm",
            "flops": training_flops(size, input_gradient=False),
        }
        rows.append(of_layer(head, "train", options, peak))
    return rows


def inference(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "inference", sides.INFERENCE):
        ours = "xlstm prepared" if name in PREPARED else "xlstm"
        head: Row = {"shape": name, "size": list(size), "ours": ours, "flops": inference_flops(size)}
        rows.append(of_layer(head, "infer", options, peak))
    return rows


def inference_flops(size: tuple[int, int, int, int]) -> float:
    """Of the products."""
    N, T, D, H = size
    return 2.0 * N * T * 4 * H * (D + H)


def of_layer(head: Row, kind: str, options: argparse.Namespace, peak: Peak) -> Row:
    """Training or inference of whole sequences: "train", "infer"."""
    case = sides.case_of(tuple(head["size"]))
    true = sides.truth(case, kind)
    calls: Calls = {}
    errors: Errors = {}
    for side in sides.taking_part(kind, options.peers, head["flops"]):
        made = sides.SIDES[side](case, options.threads)
        errors[side] = sides.errors_of(sides.outcome(made, kind), true)
        calls[side] = getattr(made, kind)
        if side == "onnxruntime":
            head["onnxruntime_by"] = made.way
    return measured(head, calls, errors, dict.fromkeys(calls, head["flops"]), peak, options)


def streaming(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "one streamed step", sides.STREAMS):
        case, one = sides.case_of(size), (1, 1, *size[2:])
        true = sides.truth(case, "infer")
        steps = [np.ascontiguousarray(case.x[:, t : t + 1]) for t in range(size[1])]
        calls, errors = sides.streams(case, steps, options.peers, options.threads), {}
        for side, step in calls.items():
            h = [np.asarray(step(t)).copy().reshape(1, -1) for t in range(len(steps))]
            errors[side] = sides.errors_of({"outputs": np.stack(h, axis=1)}, true)
        head: Row = {"shape": name, "size": list(one), "ours": "xlstm", "flops": inference_flops(one)}
        rows.append(measured(head, calls, errors, dict.fromkeys(calls, head["flops"]), peak, options))
    return rows


def ragged(options: argparse.Namespace, peak: Peak) -> list[Row]:
    """A training step of rows of different lengths, and one of the same rows at full length."""
    rows = []
    for name, size in chosen(options, "ragged training step", sides.RAGGED):
        N, T, D, H = size
        full = sides.case_of(size)
        lengths = np.random.default_rng(1).integers(T // 10, T + 1, size=N).tolist()
        valid = sum(lengths)
        calls, errors, flops = {}, {}, {}
        names = sides.taking_part("ragged", options.peers)
        for case, label, steps in ((full._replace(lengths=lengths), "", valid), (full, ", full batch", N * T)):
            true = sides.truth(case, "train")
            for side in names:
                made = sides.SIDES[side](case, options.threads)
                errors[side + label] = sides.errors_of(sides.outcome(made, "train"), true)
                calls[side + label] = made.train
                flops[side + label] = training_flops((1, steps, D, H), input_gradient=False)
        head: Row = {"shape": name, "size": list(size), "ours": "xlstm", "flops": flops["xlstm"],
                "valid_steps": valid, "all_steps": N * T}  # fmt: skip
        row = measured(head, calls, errors, flops, peak, options)
        row["step_against_full"] = {
            side: N * T / valid / ratio(row, f"{side}, full batch", side)
            for side in names
            if {side, f"{side}, full batch"} <= set(row["seconds"])
        }
        row["fastest_peer"] = "torch" if "torch" in names and "torch" not in row["wrong"] else None
        rows.append(row)
    return rows


def memory(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "memory", SHAPES):
        names = sides.taking_part("train", options.peers, training_flops(size, input_gradient=False))
        found = footprint.memory(size, names, options.threads, 1 if options.quick else 3)
        rows.append({"shape": name, "size": list(size), **found})
    return rows


def import_and_size(options: argparse.Namespace, peak: Peak) -> dict[str, Any]:
    print("import times and sizes ...", file=sys.stderr, flush=True)
    return footprint.sizes(options.peers, options.rounds)


# ---------------------------------------------------------------- time


def measured(
    head: Row, calls: Calls, errors: Errors, flops: Mapping[str, float], peak: Peak,
    options: argparse.Namespace,
) -> Row:  # fmt: skip
    """The sides' errors, times, rates and shares of the peak. What compares two sides, or a side with the peak, is the
    median of the rounds' ratios: two blocks of one round were measured within the same seconds."""
    row = {**head, **sides.judged(errors)}
    right = {name: call for name, call in calls.items() if name not in row["ours_wrong"]}
    times = take_turns({**right, "peak": peak}, options.seconds, options.rounds)
    medians = {name: [statistics.median(block) for block in blocks] for name, blocks in times.items()}
    work = peak()
    peaks = [work / seconds / 1e9 for seconds in medians["peak"]]
    row["seconds"] = {
        name: {**spread([single for block in times[name] for single in block]), "rounds": medians[name]}
        for name in right
    }
    row["peak_gflops"] = {"median": statistics.median(peaks), "rounds": peaks}
    row["gflops"] = {name: flops[name] / row["seconds"][name]["median"] / 1e9 for name in right}
    row["share_of_peak"] = {
        name: statistics.median(
            flops[name] / seconds / 1e9 / top for seconds, top in zip(medians[name], peaks, strict=True)
        )
        for name in right
    }
    peers = [name for name in right if not name.startswith(tuple(sides.OURS)) and name not in row["wrong"]]
    row["fastest_peer"] = min(peers, key=lambda name: row["seconds"][name]["median"], default=None)
    own = row["ours"]
    row["times_as_fast"] = {name: ratio(row, name, own) for name in right if own in right and name != own}
    return row


def take_turns(calls: Calls, seconds: float, rounds: int) -> dict[str, list[list[float]]]:
    """Seconds of single calls, by name and round, in blocks that take turns; each round begins with another side.

    A block begins with a pause, for threads of another library that still spin, and some calls that are not counted.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(block(calls[name], seconds))
    return times


def block(call: Callable[[], Any], seconds: float) -> list[float]:
    clock = time.perf_counter
    time.sleep(PAUSE)
    end = clock() + min(WARM_UP, seconds)
    call()
    while clock() < end:
        call()
    times: list[float] = []
    end = clock() + seconds
    while len(times) < 2 or clock() < end:
        begin = clock()
        call()
        times.append(clock() - begin)
    return times


def ratio(row: Row, slower: str, faster: str) -> float:
    """How many times as fast as `slower` is `faster`."""
    pairs = zip(row["seconds"][slower]["rounds"], row["seconds"][faster]["rounds"], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


if __name__ == "__main__":
    sys.exit(main())
