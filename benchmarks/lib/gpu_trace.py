"""What a call does on a GPU: its kernels by name, copies, and waiting for the device.

Any tracer of CUDA sees all of a process, whoever launched it. PyTorch has one; where there is no PyTorch for CUDA,
`nsys` is taken, which traces a process of its own.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .command import Row

LONGEST_NAME, MOST_NAMES = 90, 8


class Trace(Counter[str]):
    """How often each kernel, copy and call of CUDA ran, by `kernel: name`, `copy: name`, `call: name`."""

    def counts(self) -> Row:
        found = {"launches": 0, "copies_to_device": 0, "copies_to_host": 0, "synchronisations": 0, "allocations": 0}
        for told, count in self.items():
            kind, _, name = told.partition(": ")
            low = name.lower()
            if kind == "kernel":
                found["launches"] += count
            elif kind == "copy":
                found["copies_to_device"] += count * ("htod" in low or "host-to-device" in low)
                found["copies_to_host"] += count * ("dtoh" in low or "device-to-host" in low)
            else:
                found["synchronisations"] += count * ("synchronize" in low)
                found["allocations"] += count * low.startswith(("cudamalloc", "cumemalloc", "cudafree", "cumemfree"))
        return found


def names_of(trace: Trace) -> Row:
    """The kernels that ran most often, with their counts."""
    kernels = Counter({name[8:][:LONGEST_NAME]: n for name, n in trace.items() if name.startswith("kernel: ")})
    return {"launches": kernels.total(), "names": dict(kernels.most_common(MOST_NAMES))}


def traced(call: Callable[[], Any]) -> Trace:
    """By PyTorch's profiler.

    Raises
    ------
    RuntimeError
        Where there is no PyTorch with a CUDA device, or nothing was seen.
    """
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError as error:
        raise RuntimeError(f"not counted: PyTorch's profiler is not there ({error})") from error
    if not torch.cuda.is_available():
        raise RuntimeError("not counted: PyTorch's profiler needs a PyTorch with CUDA")
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    trace = of_events((event.name, event.device_type.name == "CUDA") for event in profiler.events())
    if not trace:
        raise RuntimeError("not counted: PyTorch's profiler has seen nothing")
    return trace


def of_events(events: Iterable[tuple[str, bool]]) -> Trace:
    """Of names, and whether each ran on the device."""
    trace = Trace()
    for name, on_device in events:
        if on_device and name.startswith("Memcpy"):
            trace[f"copy: {name}"] += 1
        elif on_device and not name.startswith("Memset"):
            trace[f"kernel: {name}"] += 1
        elif not on_device and name.startswith(("cuda", "cu")):
            trace[f"call: {name}"] += 1
    return trace


def traced_by_nsys(command: list[str], folder: Path, seconds: float) -> Trace:
    """Of a process that starts and stops CUDA's profiler where counting begins and ends; kernels and copies alone.

    Raises
    ------
    RuntimeError
        Where nsys is not installed.
    """
    program = shutil.which("nsys")
    if program is None:
        raise RuntimeError("not counted: neither a PyTorch with CUDA nor nsys is installed")
    with tempfile.TemporaryDirectory() as place:
        report = str(Path(place, "trace"))
        profile = [program, "profile", "--trace=cuda", "--sample=none", "--capture-range=cudaProfilerApi",
                   "--capture-range-end=stop", "--output", report]  # fmt: skip
        subprocess.run([*profile, *command], cwd=folder, check=True, timeout=seconds, stdout=subprocess.DEVNULL)
        stats = [program, "stats", "--report", "cuda_gpu_trace", "--format", "csv", f"{report}.nsys-rep"]
        done = subprocess.run(stats, check=True, timeout=seconds, capture_output=True, text=True)
    return of_csv(done.stdout)


def of_csv(text: str) -> Trace:
    """Of the table that nsys writes: its header is the line with the column Name."""
    lines = text.splitlines()
    header = next((k for k, line in enumerate(lines) if "Name" in next(csv.reader([line]), [])), len(lines))
    rows = csv.DictReader(io.StringIO("\n".join(lines[header:])))
    trace = Trace()
    for row in rows:
        name = row.get("Name") or ""
        if name.startswith("[CUDA memcpy"):
            trace[f"copy: {name}"] += 1
        elif name and not name.startswith("[CUDA memset"):
            trace[f"kernel: {name}"] += 1
    return trace
