"""Whether memory grows: over steps of a training, models that are made and dropped, calls of changing shapes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

import xlstm

from .row import Row

MOST = 1.0
"""Megabytes by which a process may grow from the first third of the tries to the end."""


def resident() -> float:
    """Megabytes, without what is kept for calls to come."""
    gc.collect()
    xlstm.release_memory()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def grown(work: Callable[[int], Any], tries: int) -> float:
    """By how many megabytes a process grows in the last two thirds of so many tries: as a line through 20 points."""
    places = np.linspace(tries // 3, tries, 20).astype(int)
    points, done = [], 0
    for place in places:
        for k in range(done, place):
            work(k)
        done = int(place)
        points.append(resident())
    slope = np.polyfit(places, points, 1)[0]
    return float(slope * (tries - places[0]))


def works() -> dict[str, tuple[Callable[[int], Any], int]]:
    """What is tried, by name, and how often."""
    rng = np.random.default_rng(0)
    texts, labels = ["ab", "ba", "abb", "bab"], list("xyxy")
    layer = xlstm.LSTM(6, 20, seed=0)
    optimizer = xlstm.optim.Optimizer(layer.parameters)
    x = rng.normal(size=(9, 7, 6)).astype("float32")
    model = xlstm.SequenceClassifier(hidden_size=9, max_iter=2, random_state=0).fit(texts, labels)
    letters = "".join(rng.choice(list("abc"), 4000))

    def step(_: int) -> None:
        outputs, _, tape = layer.forward(x)
        layer.backward(tape, outputs)
        optimizer.step(layer.parameters, layer.gradients, learning_rate=1e-6)

    def made(k: int) -> None:
        xlstm.SequenceClassifier(hidden_size=3 + k % 20, max_iter=1, random_state=k).fit(texts, labels)

    def predict(k: int) -> None:
        rows, length = 1 + 37 * k % 50, 1 + 53 * k % 70
        model.predict([letters[row : row + length] for row in range(rows)])

    return {"steps": (step, 100_000), "models": (made, 10_000), "predict": (predict, 10_000)}


def soak(short: bool = False, planted: bool = False) -> Row:
    """Planted: something of 40 kB is kept of each try."""
    kept: list[Any] = []
    failures, total, told = [], 0, []
    for name, (work, tries) in works().items():

        def planting(k: int, work: Callable[[int], Any] = work) -> None:
            work(k)
            kept.append(np.ones(5000))

        tries = (600 if name == "steps" else 120) if short else tries
        megabytes = grown(planting if planted else work, tries)
        total += tries
        told.append(f"{name} {megabytes:+.2f} MB")
        if megabytes > MOST:
            failures.append(f"{tries} {name} took {megabytes:.2f} MB")
    return Row("memory", total, failures, ", ".join(told))
