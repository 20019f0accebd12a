"""What a training step takes beside time: memory, launches, transfers, allocations, time of the host; and whether its
bits are the same again.

`python -m lib.gpu_usage DEVICE LEVEL PRECISION ROWS PLACE`, in the folder benchmarks/, is the process that nsys traces.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xlstm import SequenceClassifier, backends

from .checkout import BENCHMARKS
from .command import Row
from .gpu_device import import_torch, pairs
from .gpu_sides import Ours, Torch, given_of
from .gpu_trace import Trace, traced, traced_by_nsys
from .harness import spread
from .parts import Case
from .shapes import Size

LAYER: Size = (64, 100, 256, 256)
SERIES: Size = (64, 100, 16, 64)
"""(N, T, D, H) of the layer, and of the classifier whose launches are counted."""
CALLS, EQUAL_STEPS = 25, 3


def cases(given: Row) -> list[Case]:
    sides = [*pairs(given), ("torch", "highest"), ("torch", "float16")]
    layers = [
        {"what": what, "side": side, "precision": precision}
        for what in ("memory", "host", "bits")
        for side, precision in sides
    ]
    places = [
        {"what": "launches", "side": level, "precision": precision, "data": place}
        for level, precision in pairs(given)
        for place in ("host", "device")
    ]
    return [*layers, *places]


def measure(case: Case, given: Row, seconds: float) -> Row:
    import_torch()
    if case["what"] == "launches":
        return launches(case, given, seconds)
    size = (2, 3, 4, 5) if given["quick"] else LAYER
    inputs = given_of(size, False)
    if case["side"] == "torch":
        side: Any = Torch(inputs, case["precision"])
        memory: Callable[[Any], Row] = memory_of_torch
    else:
        side = Ours(inputs, given["device"], case["side"], case["precision"])
        memory = memory_of_ours
    if case["what"] == "bits":
        return {"size": list(size), **same_bits(side)}
    side.train()
    found = memory(side) if case["what"] == "memory" else host_seconds(side, given["device"], seconds)
    return {"size": list(size), **found}


# ---------------------------------------------------------------- memory


def memory_of_ours(side: Any) -> Row:
    """Bytes of CuPy's pool that are in use at most in a step, and by how much a step raises them.

    `allocations` are those from the driver in one more step, once the pool is warm.
    """
    import cupy

    class Watch(cupy.cuda.MemoryHook):  # type: ignore[misc]
        name = "peak"
        live = most = allocations = 0

        def malloc_postprocess(self, **told: Any) -> None:
            self.live += told["mem_size"]
            self.most = max(self.most, self.live)

        def free_postprocess(self, **told: Any) -> None:
            self.live -= told["mem_size"]

        def alloc_postprocess(self, **told: Any) -> None:
            self.allocations += 1

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before, first, warm = pool.used_bytes(), Watch(), Watch()
    with first:
        side.train()
    with warm:
        side.train()
    side.backend.synchronize()
    return {
        "peak_bytes": before + first.most,
        "added_bytes": first.most,
        "held_bytes": pool.total_bytes(),
        "allocations": warm.allocations,
    }


def memory_of_torch(side: Any) -> Row:
    cuda = side.torch.cuda
    cuda.empty_cache()
    cuda.synchronize()
    for tensor in (*side.x, *side.parameters):
        tensor.grad = None
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    side.train()
    cuda.synchronize()
    most = cuda.max_memory_allocated()
    return {"peak_bytes": most, "added_bytes": most - before, "held_bytes": cuda.max_memory_reserved()}


# ---------------------------------------------------------------- time of the host


def host_seconds(side: Any, device: str, seconds: float) -> Row:
    """Until the calls of a step return, the device being idle before; and until it is done."""
    synchronize = backends.select(device).synchronize
    returned, done = [], []
    end = time.perf_counter() + seconds / 2
    for _ in range(CALLS):
        synchronize()
        begin = time.perf_counter()
        kept = side.train()
        returned.append(time.perf_counter() - begin)
        synchronize()
        done.append(time.perf_counter() - begin)
        del kept
        if time.perf_counter() > end and len(done) > 2:
            break
    return {"returned": spread(returned), "done": spread(done)}


# ---------------------------------------------------------------- bits


def same_bits(side: Any) -> Row:
    """Whether equal steps give equal bits, and of which results not: no library promises it of all its algorithms."""
    first = results_on_host(side)
    differ: set[str] = set()
    for _ in range(EQUAL_STEPS - 1):
        again = results_on_host(side)
        differ |= {name for name in first if first[name].tobytes() != again[name].tobytes()}
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")  # which cuBLAS needs for it on several streams
    return {"runs": EQUAL_STEPS, "equal": not differ, "differ": sorted(differ), "CUBLAS_WORKSPACE_CONFIG": workspace}


def results_on_host(side: Any) -> dict[str, Any]:
    """Of one training step."""
    results: dict[str, Any] = side.results(side.train(0))
    return {
        name: value if isinstance(value, np.ndarray) else side.backend.to_host(value) for name, value in results.items()
    }


# ---------------------------------------------------------------- launches


def launches(case: Case, given: Row, seconds: float) -> Row:
    """Of one step of a classifier on series: what a fit of two batches does more than a fit of one."""
    size = (2, 3, 4, 5) if given["quick"] else SERIES
    rows, traces = size[0], []
    for many in (rows, 2 * rows):
        call = fit_of(case, given["device"], size, many)
        call()
        call()  # what is loaded, compiled and allocated once is there now
        try:
            trace, by = traced(call), "torch.profiler"
        except RuntimeError:
            started = [sys.executable, "-m", "lib.gpu_usage", given["device"], case["side"], case["precision"],
                       *map(str, size), str(many), case["data"]]  # fmt: skip
            trace, by = traced_by_nsys(started, BENCHMARKS, seconds / 2), "nsys"
        traces.append(trace)
    once, twice = traces
    step = Trace({name: twice[name] - once[name] for name in twice})
    common = sorted(((n, name) for name, n in step.items() if n > 0), reverse=True)
    return {
        "size": list(size),
        "by": by,
        "step": step.counts(),
        "fit_of_one": once.counts(),
        "most": {name[:100]: n for n, name in common[:12]},
    }


def fit_of(case: Case, device: str, size: Size, rows: int) -> Callable[[], Any]:
    """One epoch of so many full rows; the data are on the host or on the device."""
    N, T, D, H = size
    options = {} if case["precision"] == "highest" else {"precision": case["precision"]}
    made = SequenceClassifier(
        hidden_size=H, readout="final", batch_size=N, device=device, kernels=case["side"], random_state=0, **options
    )
    X = np.random.default_rng(0).standard_normal((rows, T, D), dtype=np.float32)
    y = [k % 2 for k in range(rows)]
    values = X if case["data"] == "host" else backends.select(device).from_host(X)
    made.partial_fit(values, y, classes=[0, 1])
    return lambda: made.partial_fit(values, y)


def main(arguments: list[str]) -> None:
    import cupy

    device, level, precision, *numbers, many, place = arguments
    N, T, D, H = map(int, numbers)
    call = fit_of({"side": level, "precision": precision, "data": place}, device, (N, T, D, H), int(many))
    call()
    call()
    cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.profilerStart()
    call()
    cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.profilerStop()


if __name__ == "__main__":
    main(sys.argv[1:])
