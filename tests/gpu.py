"""The GPU that a test runs on: a real one where there is one, else the stand-in; and small data to train on it."""

import functools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import numpy as np
import pytest
from xlstm.backends.cuda import levels
from xlstm.backends.cuda.cudnn import library

import xlstm
from xlstm import backends

from .backends.cudnn_stub import built
from .standin import Machine, machine

REQUIRE_GPU = "XLSTM_REQUIRE_GPU"
"""Set to 1, a machine without a usable GPU is a failure: somebody wants to know that the real one was tested."""


class Gpu:
    """What the fixture `device` gives: the device of a name, in the same words for a real GPU and for the stand-in.

    Attributes
    ----------
    name
        As users type it: "cuda" or "cuda:1".
    device
        As the library tells it: "cuda:0" or "cuda:1".
    """

    def __init__(self, name: str, standin: Machine | None) -> None:
        self.name, self._standin = name, standin
        self._backend = backends.select(name)
        self.device = self._backend.device

    def asarray(self, values: Any) -> Any:
        """A copy of a host array on this device."""
        return self._backend.from_host(np.asarray(values))

    def get(self, array: Any) -> Any:
        """A host array with the values of an array, which has to be of this device."""
        assert self.owns(array), f"{type(array)} is no array of {self.device}"
        return self._backend.to_host(array)

    def owns(self, array: Any) -> bool:
        return bool(self._backend.owns(array))

    def other(self) -> "Gpu | None":
        """Another GPU of the machine, where there is one."""
        names = [name for name in _gpus() if name != self.device]
        return Gpu(names[0], self._standin) if names else None

    def shuffle(self, seed: int) -> None:
        """From now on blocks and threads run in the order of this seed: on the stand-in; a real GPU has its own."""
        if self._standin is not None:
            self._standin.schedule = seed

    @contextmanager
    def launches(self, expected: int) -> Iterator[None]:
        """Seen by the stand-in: so many launches inside, and nothing that comes to the host."""
        with nullcontext() if self._standin is None else self._standin.counting() as seen:
            yield
        assert seen is None or (seen.launches, seen.to_host) == (expected, 0)

    @contextmanager
    def only(self, *names: str) -> Iterator[None]:
        """Of the levels these alone are there, whichever of them a call is for; without any the array code.

        cuDNN is the real one on a real GPU, else the library of `backends/cudnn_stub`. What is not there is skipped.
        """
        absent = {name: lambda *_: (None, "the test does without") for name in levels.LEVELS if name not in names}
        with ExitStack() as inside:
            inside.enter_context(mock.patch.dict(levels.MAKERS, absent))
            if "cudnn" in names and self._standin is not None:
                stub = library.Library(str(built()), 12)
                inside.enter_context(mock.patch.object(library, "load", return_value=stub))
            for name in names:
                found, why = self._backend.levels.made(name, "lstm", "float32", "highest")
                if found is None:
                    pytest.skip(why)
            yield

    @contextmanager
    def nothing_comes_to_the_host(self) -> Iterator[None]:
        """Seen by the stand-in, which counts; on a real GPU nothing is seen."""
        with nullcontext() if self._standin is None else self._standin.counting() as seen:
            yield
        assert seen is None or seen.to_host == 0


def current_device() -> int:
    """The number of the device that is CuPy's current one in this thread."""
    import cupy

    return int(cupy.cuda.Device().id)


def _gpus() -> list[str]:
    return [entry.device for entry in backends.report() if entry.usable and entry.device != "cpu"]


_real_gpus = functools.cache(_gpus)  # asked before any stand-in is there


@contextmanager
def gpu_or_standin(name: str) -> Iterator[Gpu]:
    """The real GPU of this name; where there is none at all the stand-in, which has two."""
    real = _real_gpus()
    if not real and os.environ.get(REQUIRE_GPU) == "1":
        pytest.fail(f"{REQUIRE_GPU}=1 asks for a real GPU: {backends.report()[-1].detail}")
    if real:
        if name.partition(":")[2] not in ("", *(each.partition(":")[2] for each in real)):
            pytest.skip(f"this machine has {', '.join(real)}: {name} is tested on the stand-in alone")
        yield Gpu(name, None)
        return
    with machine(devices=2) as standin:
        yield Gpu(name, standin)


def relative(actual: Any, expected: Any) -> float:
    """The norm of the difference, relative; NaN where there is one."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300))


# ---------------------------------------------------------------- small work for it

N, T, D, H = 4, 6, 3, 5


def labelled(kind: str, n: int = 40) -> tuple[list[Any], list[Any]]:
    """Sequences with a label that depends on what was seen early on."""
    rng = np.random.default_rng(11)
    if kind == "texts":
        texts = ["".join(rng.choice(list("abcde"), rng.integers(2, 9))) for _ in range(n)]
        return texts, [("low", "mid", "high")["abcde".index(text[0]) % 3] for text in texts]
    X = [rng.standard_normal((rng.integers(2, 9), 2)) for _ in range(n)]
    return X, [int(x[0, 0] > 0) for x in X]


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "series": ("series", {}),
    "texts": ("texts", {"embedding_size": 4, "class_weight": "balanced"}),
    "one-hot": ("texts", {"cell": "rnn", "solver": "sgd", "num_layers": 2}),
    "dropout": ("series", {"dropout": 0.3, "bidirectional": True, "solver": "adamw", "alpha": 0.01}),
    "early stopping": ("series", {"early_stopping": True, "learning_rate": "cosine", "warmup": 3}),
}


def classifier(device: str, **options: Any) -> xlstm.SequenceClassifier:
    """A small one, read at the last step, which takes the fewest operations: other readouts have tests of their own."""
    settings = {"hidden_size": 6, "max_iter": 4, "batch_size": 8, "dtype": "float64", "random_state": 2}
    return xlstm.SequenceClassifier(device=device, **{"readout": "final", **settings, **options})
