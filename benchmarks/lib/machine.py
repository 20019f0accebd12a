"""What a figure was measured on: processor, threads and versions, as plain values."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xlstm.backends import cpu

import xlstm
from xlstm import backends

from .checkout import ROOT

PACKAGES = (
    "xp-lstm", "numpy", "array-api-compat", "torch", "onnxruntime", "onnx", "jax", "jaxlib", "thinc", "scikit-learn",
    "threadpoolctl", "cupy-cuda12x", "cupy-cuda13x", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13",
)  # fmt: skip
THREADS = re.compile(r"(OMP|OPENBLAS|MKL|BLIS|VECLIB|NUMEXPR)_\w*THREADS|XLSTM_\w+|OPENBLAS_CORETYPE")
"""Environment variables that change how fast, or on what, something runs."""


def describe() -> dict[str, Any]:
    """This machine and process. Call it after the measurement: then every library that took part is loaded."""
    return {
        "processor": processor(),
        "kind": kind(),
        "cores": os.cpu_count(),
        "cores_for_this_process": cores(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions(),
        "commit": commit(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if THREADS.fullmatch(name)},
        "thread_pools": thread_pools(),
    }


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The CPU's name; no GPU is asked."""
    return backends.numpy_arrays.processor()


def kernels() -> str:
    """The instruction set of the compiled kernels in use, or "reference" where there are none."""
    return str(xlstm.LSTM(1, 1, device="cpu").kernels)


def kind() -> str:
    """The best instruction set that the CPU has kernels for; and after it the one that XLSTM_CPU_TARGET forced."""
    best = next((name for name, runs in cpu.targets().items() if runs), "reference")
    forced = f"-as-{cpu.target}" if cpu.target not in (None, best) else ""
    return best + forced


def slug(name: str = "") -> str:
    """A name for a file's name: by default the CPU's with its kind, for CPUs of one name may be of several."""
    return re.sub(r"[^a-z0-9]+", "-", (name or f"{processor()} {kind()}").lower()).strip("-") or "unknown"


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of those that are installed, used or not."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path = ROOT) -> str | None:
    """The commit of a checkout, with a plus where the library has been changed since; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "xlstm", "backends", "benchmarks/*.py")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def thread_pools() -> list[dict[str, Any]] | None:
    """The BLAS and OpenMP libraries that are loaded, and how many threads each uses; None without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    kept = ("user_api", "internal_api", "version", "threading_layer", "architecture", "num_threads", "prefix")
    return [{name: pool[name] for name in kept if pool.get(name) is not None} for pool in threadpool_info()]
