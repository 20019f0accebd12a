"""One layer beside every other library that is installed: training, inference, streaming, ragged batches.

Usage::

    python benchmarks/peers.py                               everything; some ten minutes on a quiet machine
    python benchmarks/peers.py --only train --shapes tiny,row
    python benchmarks/peers.py --cell gru --only train,inference    another cell: beside PyTorch and onnxruntime
    python benchmarks/peers.py --quick                       whether it works at all; its figures mean nothing
    python benchmarks/peers.py --out                         also writes benchmarks/results/peers-<cell>-….json
    XLSTM_CPU_TARGET=avx2 python benchmarks/peers.py --only train,inference --out       kernels of less than the CPU has

Memory, import times and sizes of the same libraries: footprint.py.

The sides are this library, its array code, PyTorch, onnxruntime, JAX and thinc, as far as they are installed: the
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
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from lib import errors, machine, sides
from lib.case import case_of
from lib.command import Row, announce, choices, finish, parser
from lib.harness import Rounds, between, of_all, speed, take_turns
from lib.peak import Peak
from lib.report import TITLES, bars, text
from lib.shapes import INFERENCE, RAGGED, SHAPES, STREAMS, Size, inference_flops, training_flops

from xlstm.layers import LAYERS

PREPARED = ("tiny", "one")
"""Where a call's overhead counts most, and inference is judged through `prepare()`."""

Calls = dict[str, Callable[[], Any]]
Errors = dict[str, dict[str, float]]


def main() -> int:
    options = arguments()
    absent = sides.begin(options)
    peak = Peak(options.threads)
    results: Row = {
        "cell": options.cell,
        "threads": options.threads,
        "dtype": "float32",
        "kernels": machine.kernels(),
        "peers": machine.versions(name for peer in options.peers for name in sides.CONSISTS_OF[peer]),
        "absent": absent,
        "peak": {"how": peak.how},
    }
    measures = {"train": training, "inference": inference, "stream": streaming, "ragged": ragged}
    for part in TITLES:
        if part in options.only:
            results[part] = measures[part](options, peak)
    finish(options, "peers", results, text(results, bars(results), options.quick), of=options.cell)
    return int(any(row["ours_wrong"] for part in TITLES for row in results.get(part, [])))


def arguments() -> argparse.Namespace:
    shapes = list({**INFERENCE, **STREAMS, **RAGGED})
    made = parser("peers-<cell>", __doc__)
    made.add_argument("--cell", choices=list(LAYERS), default="lstm", help="default: lstm")
    made.add_argument("--only", type=choices(list(TITLES)), default=list(TITLES), help=f"some of {','.join(TITLES)}")
    made.add_argument("--shapes", type=choices(shapes), help=f"some of {','.join(shapes)} (default: all of a part)")
    made.add_argument("--rounds", type=int, help="blocks of each side (default: 7)")
    made.add_argument("--seconds", type=float, help="of calls in a block, two calls at least (default: 0.1)")
    made.add_argument("--quick", action="store_true", help="a short round of the small shapes: a test, no measurement")
    sides.add_options(made)
    options = made.parse_args()
    if options.quick and options.out == "":
        made.error("figures of --quick mean nothing, and are not kept among the results: name a file, --out FILE")
    if options.cell != "lstm":
        options.peers = [peer for peer in options.peers if peer in sides.OF_EVERY_CELL]
    options.rounds = options.rounds or (1 if options.quick else 7)
    options.seconds = options.seconds or (0.002 if options.quick else 0.1)
    if options.quick and options.shapes is None:
        options.shapes = ["tiny", "row", "one", "eight", "batch 2", *STREAMS, "series"]
    return options


def chosen(options: argparse.Namespace, what: str, sizes: Mapping[str, Size]) -> Iterator[tuple[str, Size]]:
    """The shapes that were asked for, each announced."""
    for name, size in sizes.items():
        if options.shapes is None or name in options.shapes:
            announce(f"{what}, {name} {size}")
            yield name, size


# ---------------------------------------------------------------- the parts


def training(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "training step", SHAPES):
        head: Row = {
            "shape": name,
            "size": list(size),
            "ours": "xlstm",
            "flops": training_flops(size, input_gradient=False, cell=options.cell),
        }
        rows.append(of_layer(head, "train", options, peak))
    return rows


def inference(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "inference", INFERENCE):
        ours = "xlstm prepared" if name in PREPARED else "xlstm"
        head: Row = {"shape": name, "size": list(size), "ours": ours, "flops": inference_flops(size, options.cell)}
        rows.append(of_layer(head, "infer", options, peak))
    return rows


def of_layer(head: Row, kind: str, options: argparse.Namespace, peak: Peak) -> Row:
    """Training or inference of whole sequences: "train", "infer"."""
    case = case_of(tuple(head["size"]), options.cell)
    true = sides.truth(case, kind)
    calls: Calls = {}
    found: Errors = {}
    for side in sides.taking_part(kind, options.peers, head["flops"]):
        made = sides.SIDES[side](case, options.threads)
        found[side] = errors.errors_of(sides.outcome(made, kind), true)
        calls[side] = getattr(made, kind)
        if side == "onnxruntime":
            head["onnxruntime_by"] = made.way
    return measured(head, calls, found, dict.fromkeys(calls, head["flops"]), peak, options)


def streaming(options: argparse.Namespace, peak: Peak) -> list[Row]:
    rows = []
    for name, size in chosen(options, "one streamed step", STREAMS):
        case, one = case_of(size, options.cell), (1, 1, *size[2:])
        true = sides.truth(case, "infer")
        steps = [np.ascontiguousarray(case.x[:, t : t + 1]) for t in range(size[1])]
        calls, found = sides.streams(case, steps, options.peers, options.threads), {}
        for side, step in calls.items():
            h = [np.asarray(step(t)).copy().reshape(1, -1) for t in range(len(steps))]
            found[side] = errors.errors_of({"outputs": np.stack(h, axis=1)}, true)
        head: Row = {"shape": name, "size": list(one), "ours": "xlstm"}
        head["flops"] = inference_flops(one, options.cell)
        rows.append(measured(head, calls, found, dict.fromkeys(calls, head["flops"]), peak, options))
    return rows


def ragged(options: argparse.Namespace, peak: Peak) -> list[Row]:
    """A training step of rows of different lengths, and one of the same rows at full length."""
    rows = []
    for name, size in chosen(options, "ragged training step", RAGGED):
        N, T, D, H = size
        full = case_of(size, options.cell)
        lengths = np.random.default_rng(1).integers(T // 10, T + 1, size=N).tolist()
        valid = sum(lengths)
        calls, found, flops = {}, {}, {}
        names = sides.taking_part("ragged", options.peers)
        for case, label, steps in ((full._replace(lengths=lengths), "", valid), (full, ", full batch", N * T)):
            true = sides.truth(case, "train")
            for side in names:
                made = sides.SIDES[side](case, options.threads)
                found[side + label] = errors.errors_of(sides.outcome(made, "train"), true)
                calls[side + label] = made.train
                flops[side + label] = training_flops((1, steps, D, H), input_gradient=False, cell=options.cell)
        head: Row = {"shape": name, "size": list(size), "ours": "xlstm", "flops": flops["xlstm"],
                "valid_steps": valid, "all_steps": N * T}  # fmt: skip
        row = measured(head, calls, found, flops, peak, options)
        row["step_against_full"] = {
            side: N * T / valid / factor for side, factor in row.pop("against_full").items() if side in names
        }
        rows.append(row)
    return rows


# ---------------------------------------------------------------- time


def measured(
    head: Row, calls: Calls, found: Errors, flops: Mapping[str, float], peak: Peak,
    options: argparse.Namespace,
) -> Row:  # fmt: skip
    """The sides' errors, times, rates and shares of the peak."""
    row = {**head, **sides.judged(found)}
    right = {name: call for name, call in calls.items() if name not in row["ours_wrong"]}
    times = take_turns({**right, "peak": peak}, options.seconds, options.rounds)
    tops = times.pop("peak")
    work = peak()
    row["seconds"] = {name: of_all(times[name]) for name in right}
    row["peak_gflops"] = between([work / statistics.median(block) / 1e9 for block in tops])
    row["gflops"] = {name: flops[name] / row["seconds"][name]["median"] / 1e9 for name in right}
    row["share_of_peak"] = {name: flops[name] / work * speed(tops, times[name])["median"] for name in right}
    peers = [name for name in right if name in sides.NEEDS or name.startswith("onnxruntime")]
    peers = [name for name in peers if name not in row["wrong"]]
    row["fastest_peer"] = min(peers, key=lambda name: row["seconds"][name]["median"], default=None)
    row["times_as_fast"] = against(times, row["ours"])
    row["against_fastest"] = medians(times, row["fastest_peer"])
    row["against_full"] = {name: speed(times[full], times[name])["median"] for name in right
                           if (full := f"{name}, full batch") in times}  # fmt: skip
    return row


def against(times: Mapping[str, Rounds], own: str) -> dict[str, dict[str, float]]:
    """How many times as fast as each other side is `own`."""
    return {name: speed(times[name], times[own]) for name in times if own in times and name != own}


def medians(times: Mapping[str, Rounds], peer: str | None) -> dict[str, float]:
    """How many times as fast as this peer is each side."""
    return {name: speed(times[peer], times[name])["median"] for name in times} if peer is not None else {}


if __name__ == "__main__":
    sys.exit(main())
