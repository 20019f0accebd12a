"""The GPU that bench_gpu.py runs on: what it is, what is installed for it, and arrays on it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from importlib.util import find_spec
from typing import Any

import numpy as np

import xlstm
from xlstm import backends

from . import machine
from .command import Row
from .parts import Case, attempted

PRECISIONS = backends.PRECISIONS
LEVELS = ("reference", *reversed(backends.LEVELS))
Pair = tuple[str, str]
"""A level and a precision."""


def layer(cell: str, sizes: tuple[int, int], device: str, level: str, precision: str, **options: Any) -> Any:
    """A layer of a cell, features and hidden units; of full precision unless another one is named."""
    if precision != "highest":
        options["precision"] = precision
    return getattr(xlstm, cell.upper())(*sizes, device=device, kernels=level, **options)


def pairs(given: Row) -> list[Pair]:
    """The levels and precisions that are to be measured: those that were right, where that has been looked at.

    The array code computes in full precision whatever it is permitted.
    """
    every = [(level, precision) for precision in PRECISIONS for level in LEVELS if level in given["levels"]]
    every = [pair for pair in every if pair[0] != "reference" or pair[1] == "highest"]
    right = given.get("right")
    return every if right is None else [pair for pair in every if list(pair) in right]


def import_torch() -> None:
    """Before ours looks for a cuDNN: it then takes the one that PyTorch has loaded, and a process has no two."""
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401


def usable(given: Row) -> bool:
    """Whether this process can still use the device."""
    try:
        backend = backends.select(given["device"])
        backend.synchronize()
        return float(backend.to_host(backend.from_host(np.ones(1)))[0]) == 1.0
    except Exception:
        return False


# ---------------------------------------------------------------- what there is


def cases(given: Row) -> list[Case]:
    return [{"what": "gpu"}, {"what": "levels"}, {"what": "torch"}, {"what": "jax"}, {"what": "nvidia-smi"}]


def measure(case: Case, given: Row, seconds: float) -> Row:
    return FACTS[case["what"]](given)


def _gpu(given: Row) -> Row:
    backend = backends.select(given["device"])
    import cupy

    number = int(backend.device.partition(":")[2])
    properties, runtime = cupy.cuda.runtime.getDeviceProperties(number), cupy.cuda.runtime
    name = properties["name"]
    known = ("totalGlobalMem", "major", "minor", "multiProcessorCount", "l2CacheSize", "clockRate", "memoryBusWidth")
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "device": backend.device,
        **{key: int(properties[key]) for key in known if key in properties},
        "cupy": cupy.__version__,
        "cuda_of_the_driver": attempted(lambda: {"version": int(runtime.driverGetVersion())}),
        "cuda_runtime": attempted(lambda: {"version": int(runtime.runtimeGetVersion())}),
        "versions": machine.versions(),
        "host_cores": machine.cores(),
    }


def _levels(given: Row) -> Row:
    """Each level of each precision: the name of what then runs, or why it does not."""
    found: Row = {"devices": [" | ".join(map(str, entry)) for entry in xlstm.devices()]}
    for level, precision in pairs(given):

        def made(level: str = level, precision: str = precision) -> Row:
            return {"kernels": layer("lstm", (8, 32), given["device"], level, precision).kernels}

        found[f"{level}, {precision}"] = attempted(made)
    return found


def _torch(given: Row) -> Row:
    import torch

    if not torch.cuda.is_available():
        return {"error": f"torch {torch.__version__} has no CUDA device"}
    return {"version": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def _jax(given: Row) -> Row:
    if find_spec("jax") is None:
        return {"error": "jax is not installed"}
    import jax

    if jax.default_backend() != "gpu":
        return {"error": f"jax {jax.__version__} has no GPU: {jax.default_backend()}"}
    return {"version": jax.__version__, "devices": [str(device) for device in jax.devices()]}


def _nvidia_smi(given: Row) -> Row:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"error": "nvidia-smi is not installed"}
    asked = "name,driver_version,clocks.max.sm,clocks.max.memory,power.limit,persistence_mode,mig.mode.current"
    command = [program, f"--query-gpu={asked}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return {"asked": asked, "gpus": done.stdout.strip().splitlines()}


FACTS = {"gpu": _gpu, "levels": _levels, "torch": _torch, "jax": _jax, "nvidia-smi": _nvidia_smi}


# ---------------------------------------------------------------- arrays on the device


def error_on_device(cupy: Any, got: Any, true: Any) -> float:
    """The norm of the difference over the norm of `true`, both on the device; infinite where `got` is not finite."""
    difference, true = got.astype("float64") - true, true.astype("float64")
    norms = cupy.asnumpy(cupy.stack([cupy.sum(each * each) for each in (difference, true)]))
    error = float(np.sqrt(norms[0] / max(float(norms[1]), 1e-300)))
    return error if np.isfinite(error) else float("inf")
