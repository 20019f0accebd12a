"""A whole epoch of training: the embedded first names on the CPU, on each level of the GPU, and the same in PyTorch;
and series that lie on the host beside the same series on the device."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any

import numpy as np

from xlstm import SequenceClassifier, backends

from .command import Row
from .gpu_device import pairs
from .jobs import Job, first_names
from .parts import Case

EPOCHS = 4
"""The first of them is not counted: there memory is allocated and code is loaded."""
SERIES = (2048, 100, 16, 64)
"""n, T, D, H"""
WAYS = ("packed", "gathered")


def cases(given: Row) -> list[Case]:
    levels = [level for level, precision in pairs(given) if precision == "highest"]
    torch = [f"torch, {way}, {place}" for way in WAYS for place in ("cpu", "cuda")]
    names = [{"job": "first names", "side": side} for side in ("cpu", *levels, *torch)]
    places = ("host", "device")
    return names + [{"job": "series", "side": level, "data": place} for level in levels for place in places]


def measure(case: Case, given: Row, seconds: float) -> Row:
    job = job_of(case, given)
    if case["side"].startswith("torch"):
        _, way, place = case["side"].split(", ")
        return of_torch(job, way, place, seconds)
    return of_ours(job, case, given, seconds)


def job_of(case: Case, given: Row) -> Job:
    if case["job"] == "first names":
        whole = first_names()
        rows = range(len(whole.y))
        if given["quick"]:
            rows = sorted(rows, key=lambda k: len(whole.X[k]))[:16]
        X, y = ([values[k] for k in rows] for values in (whole.X, whole.y))
        return Job({**whole.settings, "max_iter": 2 if given["quick"] else EPOCHS}, X, y, [], [])
    n, T, D, H = (64, 3, 4, 5) if given["quick"] else SERIES
    rng = np.random.default_rng(0)
    X: Any = rng.standard_normal((n, T, D), dtype=np.float32)
    settings = {"hidden_size": H, "readout": "final", "batch_size": 64, "max_iter": 2 if given["quick"] else EPOCHS}
    return Job(settings, X, (X[:, 0, 0] > 0).astype(int).tolist(), [], [])


class EnoughError(Exception):
    """There is no time for another epoch."""


def of_ours(job: Job, case: Case, given: Row, seconds: float) -> Row:
    device, kernels = ("cpu", "auto") if case["side"] == "cpu" else (given["device"], case["side"])
    made = SequenceClassifier(**job.settings, device=device, kernels=kernels, random_state=0)
    begin = last = time.perf_counter()
    times: list[float] = []
    losses: list[float] = []

    def ended(epoch: int, epochs: int, history: Any) -> None:
        nonlocal last  # the loss has been read by now: all work of the epoch is done
        now = time.perf_counter()
        times.append(now - last)
        losses.append(float(history.loss[-1]))
        last = now
        if len(times) > 1 and now - begin + times[-1] > seconds:
            raise EnoughError

    made.progress = ended
    X = backends.select(device).from_host(job.X) if case.get("data") == "device" else job.X
    with contextlib.suppress(EnoughError):
        made.fit(X, job.y)
    return {**told(times, losses), "rows": len(job.y), "batch_size": job.settings["batch_size"]}


def of_torch(job: Job, way: str, place: str, seconds: float) -> Row:
    import torch

    from .torch_training import Encoder, Network, Padded, Training

    if place == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} has no CUDA device")
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    settings = {**SequenceClassifier(**job.settings).get_params()}
    encoder, classes = Encoder(job.X), np.unique(job.y)
    weights = np.array([(settings["class_weight"] or {}).get(label, 1.0) for label in job.y])
    labels = np.searchsorted(classes, job.y)
    rows = Padded([encoder(x) for x in job.X], labels, weights / weights.mean(), device=place)
    outputs = 1 if len(classes) == 2 else len(classes)
    network = Network(encoder, settings, outputs, way, settings["dropout"]).to(place)
    training = Training(network, rows, settings, 0)
    begin, times = time.perf_counter(), []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        training.epoch()  # reads the loss at its end
        times.append(time.perf_counter() - start)
        if len(times) > 1 and time.perf_counter() - begin + times[-1] > seconds:
            break
    return {**told(times, training.losses), "rows": len(job.y), "batch_size": settings["batch_size"]}


def told(times: list[float], losses: list[float]) -> Row:
    return {
        "seconds": statistics.median(times[1:] or times),
        "first": times[0],
        "epochs": len(times),
        "loss": losses[-1],
    }
