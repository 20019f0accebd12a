"""A GPU that fails in the midst of a call, at an operation drawn from all that the call has: nothing is half done.

The GPU is the tests' stand-in for CuPy. What fails is a kernel or a copy, a request for memory or a wait for the
device, with CuPy's errors for no memory left and for a device that was lost. It fails where the call raises anything
but the error that says so, where parameters, answers or a model's history are other bits afterwards than before, or
where the same call, made again, gives other bits than where nothing fails.

    python -m tests.soak faults --tries 200
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from ..standin import machine
from ..standin_machine import Machine, OutOfMemoryError, Pool
from .row import Row

RNG = np.random.default_rng(0)
SERIES = [RNG.standard_normal((length, 2)).astype("float32") for length in (5, 3, 1, 7, 4, 6, 2, 5)]
TEXTS = ["abca", "b", "cab", "aa", "bcb", "c", "abc", "ba"]
CLASSES, NUMBERS = [0, 1, 1, 0, 1, 0, 0, 1], np.linspace(-1, 2, 8)


class CUDARuntimeError(RuntimeError):
    """As CuPy's, of a device that is lost: what ran before has failed."""

    status = 700


LOST = CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


class Case(NamedTuple):
    """Something that may be called, and what must not change where it fails."""

    what: str
    subject: Callable[[], Any]
    """Makes what is called, each time the same."""
    call: Callable[[Any], Any]
    """Gives what is compared."""
    state: Callable[[Any], Any]


@contextlib.contextmanager
def failing(gpu: Machine, at: int = 0, error: Exception | None = None) -> Iterator[list[int]]:
    """Counts the operations on the device; with an error, raises it at the one of this number and at all others."""
    seen = [0]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            seen[0] += 1
            if error is not None and seen[0] > at:
                raise error
            return original(*arguments, **named)

        return operation

    with (
        mock.patch.object(gpu, "launch", counted(gpu.launch)),
        mock.patch.object(gpu, "host_waits", counted(gpu.host_waits)),
        mock.patch.object(Pool, "malloc", counted(Pool.malloc)),
    ):
        yield seen


def digest(found: Any) -> str:
    """Of arrays, wherever they are, in whatever they stand."""
    if isinstance(found, (list, tuple)):
        return hashlib.sha256("".join(map(digest, found)).encode()).hexdigest()
    if hasattr(found, "get") and not isinstance(found, dict):
        found = found.get()
    if isinstance(found, np.ndarray) and found.dtype != object:
        return hashlib.sha256(found.tobytes() + repr((found.shape, found.dtype)).encode()).hexdigest()
    return hashlib.sha256(pickle.dumps(found)).hexdigest()


def layer_case(rng: np.random.Generator) -> Case:
    import xlstm

    kind, kernels = str(rng.choice(["LSTM", "GRU", "RNN"])), str(rng.choice(["auto", "reference"]))
    options = {"num_layers": int(rng.integers(1, 3)), "bidirectional": bool(rng.integers(2))}
    what = str(rng.choice(["inference", "forward", "backward", "step"]))
    values, lengths = rng.standard_normal((4, 6, 3)).astype("float32"), [6, 2, 3, 1]

    def subject() -> Any:
        layer = getattr(xlstm, kind)(3, 5, device="cuda", kernels=kernels, seed=1, **options)
        x = layer.backend.from_host(values)
        outputs, _, tape = layer.forward(x, lengths=lengths)
        layer.backward(tape, outputs)
        optimizer = xlstm.optim.Optimizer(layer.parameters, backend=layer.backend)
        return SimpleNamespace(layer=layer, x=x, outputs=outputs, tape=tape, optimizer=optimizer)

    def backward(on: Any) -> Any:
        dx, d_state = on.layer.backward(on.tape, on.outputs)
        return dx, d_state, on.layer.gradients.flat

    def step(on: Any) -> Any:
        on.optimizer.step(on.layer.parameters, on.layer.gradients, 0.1)
        return on.layer.parameters.flat

    calls: dict[str, Callable[[Any], Any]] = {
        "inference": lambda on: on.layer(on.x, lengths=lengths)[0],
        "forward": lambda on: on.layer.forward(on.x, lengths=lengths)[0],
        "backward": backward,
        "step": step,
    }
    return Case(f"{kind} {kernels} {options} {what}", subject, calls[what], lambda on: on.layer.parameters.flat)


def estimator_case(rng: np.random.Generator, what: str | None = None) -> Case:
    import xlstm

    kind = str(rng.choice(["SequenceClassifier", "SequenceRegressor", "SequenceLabeler"]))
    X: Any = TEXTS if rng.integers(2) else SERIES
    y: Any = {"SequenceClassifier": CLASSES, "SequenceRegressor": NUMBERS}.get(kind)
    y = [[k % 2 for k in range(len(row))] for row in X] if y is None else y
    settings = {
        "cell": str(rng.choice(["lstm", "gru", "rnn"])), "hidden_size": 4, "max_iter": 2, "batch_size": 3,
        "dropout": float(rng.choice([0, 0.3])), "early_stopping": bool(rng.integers(2)), "random_state": 0,
        "device": "cuda",
    }  # fmt: skip
    what = what or str(rng.choice(["first fit", "fit on", "partial_fit", "predict", "prepare", "stream"]))

    def make() -> Any:
        return getattr(xlstm, kind)(**settings, warm_start=True)

    def state(model: Any) -> Any:
        return (model.predict(X), model.loss_curve_, model.n_iter_) if hasattr(model, "loss_curve_") else "not fitted"

    calls: dict[str, Callable[[Any], Any]] = {
        "first fit": lambda model: (model.fit(X, y), None)[1],
        "fit on": lambda model: (model.fit(X, y), None)[1],
        "partial_fit": lambda model: (model.partial_fit(X, y), None)[1],
        "predict": lambda model: model.predict(X),
        "prepare": lambda model: model.prepare().predict(X),
        "stream": lambda stream: stream.feed(X[0][1:]),
    }

    def subject() -> Any:
        if what == "first fit":
            return make()
        model = make().fit(X, y)
        if what != "stream":
            return model
        stream = model.stream()
        stream.feed(X[0][:1])
        return stream

    told = f"{kind} {settings} {what}"
    return Case(told, subject, calls[what], state if what != "stream" else lambda stream: stream.predict())


def try_one(seed: int, what: str | None = None) -> Iterator[str]:
    """What is not as it should be after a fault."""
    from xlstm.backends.cuda.errors import DeviceLost

    rng = np.random.default_rng(seed)
    with machine() as gpu:
        case = layer_case(rng) if what is None and rng.integers(3) == 0 else estimator_case(rng, what)
        twin, counted, on = (case.subject() for _ in range(3))
        expected = digest(
            [case.call(twin), case.state(twin)]
        )  # a first call may compile: the others have fewer operations
        with failing(gpu) as seen:
            case.call(counted)
        before, at = digest(case.state(on)), int(rng.integers(seen[0]))
        error, wanted = (OutOfMemoryError(512, 0), MemoryError) if rng.integers(2) else (LOST, DeviceLost)
        told = f"{case.what}, seed {seed}, operation {at} of {seen[0]}"
        with failing(gpu, at, error):
            try:
                case.call(on)
                yield f"{told}: no error"
            except wanted:
                pass
            except Exception as other:
                yield f"{told}: {type(other).__name__}: {other}"
        if digest(case.state(on)) != before:
            yield f"{told}: the state is another"
        if digest([case.call(on), case.state(on)]) != expected:
            yield f"{told}: the same call gives another result"


def soak(short: bool = False, planted: bool = False, tries: int | None = None) -> Row:
    """Planted: a fit goes on with the model itself, not with a copy."""
    tries = 5 if planted else 10 if short else 200 if tries is None else tries
    failures: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if planted:
            from xlstm.estimators import training

            itself = SimpleNamespace(deepcopy=lambda model: model)
            stack.enter_context(mock.patch.object(training, "copy", itself))
        for seed in range(tries):
            failures += try_one(seed, "fit on" if planted else None)
    return Row("faults", tries, failures)
