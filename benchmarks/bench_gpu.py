"""Everything about a GPU, in eight minutes: are the levels right, do the tests pass, how fast is it, what does it take?

Usage::

    python benchmarks/bench_gpu.py --out             also writes benchmarks/results/bench_gpu-<GPU>.json
    python benchmarks/bench_gpu.py --quick           tiny sizes, to see whether it works
    python benchmarks/bench_gpu.py --parts device,right,times --minutes 4

It needs a CUDA GPU and CuPy; no network, and nothing is installed. PyTorch with CUDA, JAX with CUDA, pytest, nsys and
compute-sanitizer take part where they are there. A level is "reference" (array code), "fused" (kernels of ours) or
"cudnn". In this order:

    device      the GPU, its driver and libraries; which levels there are
    right       each level, precision and cell, ragged, both directions, against float64 on the CPU
    tests       the tests of tests/backends that need a device
    times       an LSTM layer, forward, and forward and backward, beside torch.nn.LSTM (cuDNN) and JAX
    epochs      an epoch of the first names on the CPU, each level and PyTorch; data on the host and on the device
    usage       memory, launches, transfers and time of the host for a training step; has it the same bits again?
    sanitizer   compute-sanitizer's memcheck and racecheck, on small layers

What is not right is not timed. Each part runs in processes of its own, and each of its cases has a limit: what fails,
hangs or dies is noted with its reason, and the others go on. The file is written anew after every part. The exit code
is 1 where there is no GPU, where a level is wrong, and where a test fails.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from lib import gpu_device, gpu_epochs, gpu_programs, gpu_report, gpu_right, gpu_times, gpu_usage, machine
from lib.checkout import RESULTS
from lib.command import Row, announce, choices, described, parser, write
from lib.parts import LATE, Part, run, work

PARTS = {
    "device": Part("The GPU", 100, 100, gpu_device.cases, gpu_device.measure),
    "right": Part("Is each level right?", 75, 45, gpu_right.cases, gpu_right.measure),
    "tests": Part("The tests that need a device", 110, 400, gpu_programs.test_cases, gpu_programs.run_tests),
    "times": Part("Times of a layer", 140, 45, gpu_times.cases, gpu_times.measure),
    "epochs": Part("Epochs of a training", 50, 30, gpu_epochs.cases, gpu_epochs.measure),
    "usage": Part("What a training step takes", 40, 30, gpu_usage.cases, gpu_usage.measure),
    "sanitizer": Part("compute-sanitizer", 40, 60, gpu_programs.sanitizer_cases, gpu_programs.sanitize),
}
"""In the order in which they run. What one part leaves of its time is shared by the later ones."""
LAST_SECONDS = 8.0
"""Kept for the end: killing what does not end by itself, and the last file."""


def main() -> int:
    options = arguments()
    if options.process is not None:
        name, folder, first = options.process
        return work(PARTS[name], Path(folder), int(first), gpu_device.usable)
    # A command that is told to end takes the processes of its parts along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # JAX would take most of the GPU's memory when it is imported.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return measured(options)


def arguments() -> argparse.Namespace:
    made = parser("bench_gpu", __doc__)
    made.add_argument("--device", default="cuda", help='"cuda", the first GPU (default), or "cuda:N"')
    made.add_argument("--minutes", type=float, default=8.0, help="in which all of it ends (default: 8)")
    made.add_argument("--parts", type=choices(list(PARTS)), default=list(PARTS), help=f"default: {','.join(PARTS)}")
    made.add_argument(
        "--levels", type=choices(gpu_device.LEVELS), default=list(gpu_device.LEVELS), help="default: all of them"
    )
    made.add_argument("--longest", type=float, help="seconds that one case may take (default: those of its part)")
    made.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, in seconds")
    made.add_argument("--process", nargs=3, help=argparse.SUPPRESS)  # a part, by `run` in lib/parts.py
    return made.parse_args()


def measured(options: argparse.Namespace) -> int:
    """All parts, one after another; each is printed, and the file written, when it has ended."""
    end = time.monotonic() + 60 * options.minutes - LAST_SECONDS
    results: Row = {"parts": {}}
    given: Row = {"device": options.device, "levels": options.levels, "quick": options.quick, "right": None}
    # What has started this process starts those of its parts: the same interpreter, and the same script.
    started = [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]]
    for name in options.parts:
        part = PARTS[name]
        later = sum(PARTS[other].share for other in options.parts[options.parts.index(name) :])
        seconds = (end - time.monotonic()) * part.share / later
        announce(f"{name}: {part.title} (at most {seconds:.0f} s)")
        longest = options.longest or part.longest
        results["parts"][name] = run([*started, "--process", name], given, seconds, longest)
        if name == "right":
            given["right"] = gpu_right.right_pairs(results["parts"][name]["rows"])
        keep(options, results)
        if not options.json:
            print(gpu_report.section(name, part.title, results), end="\n\n", flush=True)
        if name == "device" and gpu_name(results) is None:
            announce(f"{why_no_gpu(results)}: nothing else is measured")
            break
    if options.json:
        print(json.dumps(described(options, "bench_gpu", results)), flush=True)
    return gpu_report.code(results)


def gpu_name(results: Row) -> str | None:
    """What the GPU is called, where there is one."""
    rows = results["parts"].get("device", {}).get("rows", [])
    return next((str(row["name"]) for row in rows if row["what"] == "gpu" and "name" in row), None)


def why_no_gpu(results: Row) -> str:
    """A GPU that is not there, or one of which nothing is known since its time was over: the first start is slow."""
    part = results["parts"]["device"]
    error = next((row.get("error", "") for row in part["rows"] if row["what"] == "gpu"), part.get("error", ""))
    if error.startswith(LATE) or error.endswith("seconds were over"):
        return f"the GPU has not answered in time ({error}; try again, or give it more --minutes)"
    return "there is no GPU that can be used"


def keep(options: argparse.Namespace, results: Row) -> None:
    """Write the file, where one was asked for; a disk that is full does not end the measurements."""
    if options.out is None:
        return
    path = (
        Path(options.out) if options.out else RESULTS / f"bench_gpu-{machine.slug(gpu_name(results) or 'no GPU')}.json"
    )
    try:
        write(path, described(options, "bench_gpu", results))
        announce(f"written: {path}")
    except OSError as error:
        announce(f"NOT WRITTEN: {path}: {error}")


if __name__ == "__main__":
    sys.exit(main())
