"""Threads of Python that predict, train and set the number of threads, while the process forks.

Each thread compares what it computes with what one thread alone computed before, bit by bit; children do the same.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import numpy as np

import xlstm

from .row import Row


def soak(short: bool = False, planted: bool = False) -> Row:
    """Planted: somebody writes to the parameters that all read."""
    layer = xlstm.LSTM(12, 70, seed=0)
    x = np.random.default_rng(0).normal(size=(33, 9, 12)).astype("float32")
    texts, other = ["ab", "ba", "abb", "bab"] * 3, ["cd", "dc", "cdd", "ddc"] * 3
    labels, others = list("xyxy") * 3, list("pqpq") * 3
    refitted = xlstm.SequenceClassifier(hidden_size=5, max_iter=2, batch_size=6, random_state=0).fit(texts, labels)

    def trained() -> Any:
        model = xlstm.SequenceClassifier(hidden_size=17, max_iter=1, batch_size=6, random_state=0)
        return model.fit(texts, labels).predict_proba(texts)

    expected, expected_of_training = layer(x)[0], trained()
    failures: list[str] = []
    tries, stop = [0] * 16, threading.Event()

    def layers() -> str | None:
        return None if np.array_equal(layer(x)[0], expected) else "a layer gave other bits"

    def trains() -> str | None:
        return None if np.array_equal(trained(), expected_of_training) else "a training gave other bits"

    def refits() -> str | None:
        refitted.fit(other, others)
        refitted.fit(texts, labels)
        return None

    def predicts() -> str | None:
        found = set(refitted.predict(texts))
        return None if found <= {"x", "y"} or found <= {"p", "q"} else f"an answer of two models: {found}"

    def sets() -> str | None:
        xlstm.set_threads([None, 1, 2, 3][sum(tries) % 4])
        xlstm.release_memory()
        time.sleep(0.002)
        return None

    def forks() -> str | None:
        child = os.fork()
        if child == 0:
            os._exit(0 if layers() is None else 1)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return f"a child ended with {status}" if status else None
            time.sleep(0.002)
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "a child was still running after 20 seconds"

    works = [*[layers] * 5, *[trains] * 4, refits, *[predicts] * 4, sets, forks]

    def again(number: int) -> None:
        while not stop.is_set() and len(failures) < 20:
            try:
                failure = works[number]()
            except Exception as error:
                failure = f"{works[number].__name__}: {type(error).__name__}: {error}"
            tries[number] += 1
            if failure:
                failures.append(failure)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork in a process with threads; the state of warnings is the process's
        running = [threading.Thread(target=again, args=(number,)) for number in range(len(works))]
        for thread in running:
            thread.start()
        if planted:
            layer.parameters["bias_l0"][3] += 0.5
        time.sleep(1.0 if short else 120)
        stop.set()
        for thread in running:
            thread.join()
    xlstm.set_threads(None)
    return Row("threads", sum(tries), failures, f"of them {tries[-1]} forks")
