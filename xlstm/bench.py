"""Which backend, at which size, on this machine: forward and training step of each device and kernel path there.

Every path is first compared with the float64 reference, then timed in turns with the others.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np

from . import backends
from .files import check_target, write_whole
from .layers import LSTM
from .stack import Sizes

Name = TypeVar("Name")

SIZES = ((1, 20, 8, 32), (32, 28, 28, 128), (64, 50, 64, 256), (128, 16, 128, 512))
"""(N, T, D, H): batch, time, features, hidden; from where overhead counts to where arithmetic does."""


def interleaved(
    functions: Mapping[Name, Callable[[], Any]], seconds: float = 0.2, rounds: int = 3, pause: float = 0.06
) -> dict[Name, list[float]]:
    """Seconds of single calls of each function, in blocks that take turns.

    A block begins with a pause, for threads of another library that still spin, and a call that is not counted; then
    come calls for `seconds`, two at least.
    """
    times: dict[Name, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            time.sleep(pause)
            function()
            block_end, calls = time.perf_counter() + seconds, 0
            while calls < 2 or time.perf_counter() < block_end:
                begin = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - begin)
                calls += 1
    return times


def training_flops(size: tuple[int, int, int, int], input_gradient: bool = True) -> float:
    """Useful operations of the products of a training step: forward, and twice as many backward.

    Without the gradient of the input, one product of all steps less.
    """
    N, T, D, H = size
    sizes = Sizes("lstm", D, H)
    of_the_input = 2.0 * N * T * math.prod(sizes.shapes()["weight_ih_l0"])
    return 3 * T * sizes.flops_per_step(N) - (0 if input_gradient else of_the_input)


def run(device: str | None = None, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure, and return the results as plain values: `rows`, one a size and path, and `crossing`.

    Parameters
    ----------
    device
        One device to measure; None measures all that can be used.
    """
    devices = [entry.device for entry in backends.report() if entry.usable] if device is None else [device]
    every = [(name, kernels) for name in devices for kernels in paths(name)]
    rows = []
    for size in SIZES:
        if progress is not None:
            progress(f"measuring (N, T, D, H) = {size}")
        rows += _measure(size, every)
    return {
        "machine": {
            "processor": backends.report()[0].detail,
            "system": platform.platform(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "rows": rows,
        "crossing": crossing_point(rows),
    }


def paths(device: str, cell: str = "lstm") -> list[str]:
    """What `kernels` may be for the different implementations of a cell on this device; the reference is the last."""
    backend, found = backends.select(device), []
    for kernels in ("compiled",) if backend.on_host else backends.LEVELS:
        try:
            backends.find(cell, backend, "float32", kernels)
        except (RuntimeError, MemoryError):
            continue  # `xlstm devices` says why
        found.append(kernels)
    return [*found, "reference"]


def _measure(size: tuple[int, int, int, int], every: list[tuple[str, str]]) -> list[dict[str, Any]]:
    N, T, D, H = size
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((1, N, H), dtype=np.float32)
    truth = _results(LSTM(D, H, dtype="float64", device="cpu", kernels="reference", seed=0), x, dh)
    forwards: dict[Any, Callable[[], None]] = {}
    steps: dict[Any, Callable[[], None]] = {}
    errors, kernels = {}, {}
    for path in every:
        layer = LSTM(D, H, device=path[0], kernels=path[1], seed=0)
        backend = layer.backend
        on_device = backend.from_host(x), backend.from_host(dh)
        results = [backend.to_host(array) for array in _results(layer, *on_device)]
        errors[path] = max(
            float(np.linalg.norm(ours - true) / np.linalg.norm(true)) for ours, true in zip(results, truth, strict=True)
        )
        kernels[path] = layer.kernels

        def forward(layer: LSTM = layer, x: Any = on_device[0]) -> None:
            layer(x)
            layer.backend.synchronize()

        def step(layer: LSTM = layer, x: Any = on_device[0], dh: Any = on_device[1]) -> None:
            _, _, tape = layer.forward(x)
            layer.backward(tape, d_state=(dh, None), input_gradient=False)
            layer.backend.synchronize()

        forwards[path], steps[path] = forward, step
    forward_times, step_times = interleaved(forwards), interleaved(steps)
    return [
        {
            "size": list(size),
            "flops_per_step": Sizes("lstm", D, H).flops_per_step(N),
            "device": path[0],
            "kernels": kernels[path],
            "forward_ms": 1e3 * median(forward_times[path]),
            "training_step_ms": 1e3 * median(step_times[path]),
            "training_gflops": training_flops(size, input_gradient=False) / median(step_times[path]) / 1e9,
            "error": errors[path],
        }
        for path in every
    ]


def _results(layer: LSTM, x: Any, dh: Any) -> list[Any]:
    outputs, (h, c), tape = layer.forward(x)
    layer.backward(tape, d_state=(dh, None), input_gradient=False)
    return [outputs, h, c, layer.gradients["weight_ih_l0"], layer.gradients["weight_hh_l0"]]


def crossing_point(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The smallest measured work a step from which on the first GPU trains faster than the CPU; None without one."""
    best: dict[str, dict[Any, dict[str, Any]]] = {}  # of each device and size the row of its fastest path
    for row in rows:
        of_device = best.setdefault(row["device"], {})
        size = tuple(row["size"])
        if size not in of_device or row["training_step_ms"] < of_device[size]["training_step_ms"]:
            of_device[size] = row
    gpu = min((device for device in best if device != "cpu"), default=None)
    if gpu is None or "cpu" not in best:
        return None
    ordered = sorted(best[gpu].values(), key=lambda row: row["flops_per_step"])
    first = None
    for row in reversed(ordered):
        if row["training_step_ms"] >= best["cpu"][tuple(row["size"])]["training_step_ms"]:
            break
        first = row
    if first is None:
        return {"flops_per_step": None, "size": None, "device": ordered[0]["device"]}
    return {"flops_per_step": first["flops_per_step"], "size": first["size"], "device": first["device"]}


def check_saving() -> None:
    """Raise, before anything is measured, where `save` could not keep it: RuntimeError without a GPU, or OSError."""
    if not any(entry.usable and entry.device == "cuda:0" for entry in backends.report()):
        raise RuntimeError(
            "there is no crossing point to save: no GPU can be used beside the CPU. `xlstm devices` says why."
        )
    path = backends.crossing.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    check_target(path)


def save(results: dict[str, Any]) -> Path:
    """Keep the crossing point for `device="auto"` to go by on this machine; returns the file.

    Raises
    ------
    ValueError
        If there is none, for the CPU and a GPU were not measured both. Nothing is then written.
    OSError
        If the file cannot be written; an older one is untouched.
    """
    found = results["crossing"]
    if found is None:
        raise ValueError("there is no crossing point to save: it takes the times of the CPU and of a GPU.")
    (gpu,) = (entry.detail for entry in backends.report() if entry.device == found["device"])
    machine = backends.crossing.Machine(results["machine"]["processor"], gpu)
    path = backends.crossing.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, [backends.crossing.content(machine, found["flops_per_step"])])
    return path


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['system']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}; LSTM, float32",
        "",
        f"{'N, T, D, H':>18}  {'device':<8} {'kernels':<10} {'forward':>10} {'training step':>14} {'GFLOP/s':>8}  "
        f"{'error':>8}",
    ]
    for row in results["rows"]:
        size = ", ".join(map(str, row["size"]))
        lines.append(
            f"{size:>18}  {row['device']:<8} {row['kernels']:<10} {row['forward_ms']:>7.2f} ms "
            f"{row['training_step_ms']:>11.2f} ms {row['training_gflops']:>8.1f}  {row['error']:>8.1e}"
        )
    crossing = results["crossing"]
    lines.append("")
    if crossing is None:
        lines.append("One kind of device: there is no crossing point to measure. `xlstm devices` says why.")
    elif crossing["size"] is None:
        lines.append("The CPU trains faster at every size measured.")
    else:
        lines.append(
            f"From (N, T, D, H) = {tuple(crossing['size'])} on, {crossing['flops_per_step'] / 1e6:.3g} million "
            f"operations a step, {crossing['device']} trains faster than the CPU. `xlstm bench --save` has "
            "device='auto' go by that."
        )
    return "\n".join(lines)
