"""What a training step costs on a GPU once the first ones are over, counted by the stand-in.

Between two steps nothing is hidden: no waiting for the device, nothing brought to the host or fetched from it but the
bits of dropout masks, no memory asked of the driver, and a handful of launches beside those of the cell.
"""

from collections import Counter
from typing import Any
from unittest import mock

import numpy as np
import pytest

import xlstm
from xlstm import optim
from xlstm.stack import Stack

from ..standin import machine

BESIDE_THE_CELL = 25
"""The launches of a step that are not the cell's own, at most."""


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine() as gpu:
        yield gpu


class Watched:
    """A cell whose launches are counted on the way."""

    launches = 0  # of all of them

    def __init__(self, cell: Any, gpu: Any) -> None:
        self._cell, self._gpu = cell, gpu

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cell, name)
        if name not in ("order", "forward", "backward"):
            return method

        def counted(*arguments: Any, **options: Any) -> Any:
            with self._gpu.counting() as seen:
                result = method(*arguments, **options)
            Watched.launches += seen.launches
            return result

        return counted


class Step:
    """One step, from the end of the one before: what was counted, and how many launches were not the cell's."""

    def __init__(self, counts: Any, of_cell: int) -> None:
        self.counts, self.beside = counts, counts.launches - of_cell


def data(kind: str, n: int, time: int) -> tuple[Any, Any]:
    """Full rows of one length, or "ragged" ones; of features, or of letters."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(2, time + 1, n) if "ragged" in kind else np.full(n, time)
    if "texts" in kind:
        X = ["".join(rng.choice(list("abcdef"), length)) for length in lengths]
    else:
        X = [rng.standard_normal((length, 3)).astype("float32") for length in lengths]
    return X, np.arange(n) % 2


def steps_of(gpu: Any, X: Any, y: Any, estimator: Any = xlstm.SequenceClassifier, **options: Any) -> list[Step]:
    """The steps of the last epoch of three, without its first, which has the epoch's own work before it."""
    fixed = {"hidden_size": 5, "batch_size": 8, "max_iter": 3, "random_state": 0, "max_grad_norm": 1.0}
    settings = {**fixed, "readout": "final", **options}
    marks = []
    real_step, real_forward = optim.Optimizer.step, Stack.forward

    def step(self: Any, *arguments: Any) -> None:
        real_step(self, *arguments)
        marks.append((gpu.counts.copy(), Watched.launches))

    def forward(self: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(self.cell, Watched):
            self.cell = Watched(self.cell, gpu)
        return real_forward(self, *arguments, **options)

    with mock.patch.object(optim.Optimizer, "step", step), mock.patch.object(Stack, "forward", forward):
        estimator(device="cuda", **settings).fit(X, y)
    per_epoch = -(-len(X) // settings["batch_size"])
    last = marks[len(marks) - per_epoch :]
    pairs = zip(last[1:], last[:-1], strict=True)
    return [Step(after.minus(before), cell - cell_before) for (after, cell), (before, cell_before) in pairs]


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "series": ("series", {}),
    "series in float64": ("series", {"dtype": "float64"}),
    "ragged series": ("ragged series", {}),
    "texts": ("texts", {}),
    "embedded texts": ("texts", {"embedding_size": 4}),
    "ragged embedded texts": ("ragged texts", {"embedding_size": 4}),
    "token dropout": ("texts", {"embedding_size": 4, "token_dropout": 0.3}),
    "dropout": ("series", {"dropout": 0.3}),
    "descent": ("series", {"solver": "sgd", "alpha": 0.01}),
    "class weights": ("series", {"class_weight": "balanced", "solver": "adamw"}),
    "both directions": ("series", {"bidirectional": True}),
    "layers with dropout": ("ragged series", {"num_layers": 3, "dropout": 0.3}),
    "mean": ("ragged series", {"readout": "mean"}),
    "maximum": ("ragged series", {"readout": "max"}),
    "attention": ("ragged series", {"readout": "attention"}),
    "last beside maximum": ("ragged series", {"readout": "final+max"}),
}


CASES = [*((variant, "lstm") for variant in VARIANTS), ("series", "gru"), ("ragged embedded texts", "rnn")]


@pytest.mark.parametrize("kernels", ["fused", "reference"])
@pytest.mark.parametrize(("variant", "cell"), CASES)
def test_nothing_is_hidden_in_a_step(variant, cell, kernels, gpu):
    kind, options = VARIANTS[variant]
    with_masks = "dropout" in "".join(options)
    for step in steps_of(gpu, *data(kind, 40, 9), kernels=kernels, cell=cell, **options):
        counts = step.counts
        assert (counts.synchronizations, counts.to_host) == (0, 0)
        if "ragged" not in kind:  # there a batch may have a shape that none had before
            assert counts.driver_allocations == 0
        if kernels == "fused":  # the array code makes its orders and turns from the host's lengths
            assert counts.to_device == int(with_masks)
        if kernels == "fused" and "readout" not in options:
            assert step.beside <= BESIDE_THE_CELL


@pytest.mark.parametrize("loss", ["squared", "huber", "quantile"])
def test_nothing_is_hidden_in_a_step_of_numbers(loss, gpu):
    X, _ = data("series", 40, 9)
    options = {"loss": loss, "quantile": [0.1, 0.9], "kernels": "fused"}
    for step in steps_of(gpu, X, np.linspace(-5, 5, 40), xlstm.SequenceRegressor, **options):
        counts = step.counts
        assert counts.synchronizations == counts.to_host == counts.to_device == counts.driver_allocations == 0


def test_the_figures_of_a_long_batch(gpu):
    """T = 100 and N = 64, one layer: two launches a time step each way and 25; of them 12 beside the cell."""
    steps = steps_of(gpu, *data("series", 192, 100), kernels="fused", batch_size=64, hidden_size=3)
    assert len(steps) == 2
    for step in steps:
        assert step.counts.launches <= 4 * 100 + 25
        assert step.counts.to_device == step.counts.to_host == step.counts.synchronizations == 0
        assert step.counts.driver_allocations == 0
        assert step.beside == 12
    # Gathering 3, the head 2, the loss 1, the head's gradients 3, the optimiser with its clipping 3.
    ours = "gather take take matmul add logistic matmul matmul sum squares clipping update_adam"
    assert Counter(ours.split()) <= steps[0].counts.launched


def test_masks_travel_as_bits(gpu):
    """Of two layers and the readout at once: a bit for each number."""
    (step, *_) = steps_of(gpu, *data("series", 40, 9), num_layers=2, dropout=0.5, kernels="fused")
    numbers = 8 * 9 * 5 + 8 * 5
    assert step.counts.to_device == 1
    assert numbers / 8 <= step.counts.to_device_bytes < numbers / 8 + 8


def test_a_training_in_a_stream_of_the_caller(gpu):
    """All work goes to the current stream: the stand-in knows of races between streams."""
    import cupy

    X, y = data("ragged texts", 24, 6)
    options = {"embedding_size": 3, "hidden_size": 4, "batch_size": 8, "max_iter": 2, "random_state": 0, "dropout": 0.2}
    parameters = []
    for stream in (None, cupy.cuda.Stream(non_blocking=True)):
        clf = xlstm.SequenceClassifier(device="cuda", **options)
        if stream is None:
            clf.fit(X, y)
        else:
            with stream:
                clf.fit(X, y)
            stream.synchronize()
        parameters.append(clf.fitted_state().model.read())
    np.testing.assert_array_equal(*parameters)
