"""Random models from and to PyTorch and Keras, ragged lengths in all: the worst errors against the real libraries.

    python benchmarks/exchanged.py [--models 200] [--seed 0] [--libraries torch keras]

Relative Frobenius norms, in float32: of the outputs at valid steps and the final states, and of a classifier's
probabilities. Without Keras's own choice (KERAS_BACKEND) it runs on PyTorch.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch

import xlstm

KINDS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
    "rnn": ("RNN", {}),
}


def relative(found: Any, expected: Any) -> float:
    """The Frobenius norm of the difference, against that of what is expected; infinite where one is NaN."""
    error = float(np.linalg.norm(np.asarray(found, "float64") - expected) / np.linalg.norm(expected))
    return error if np.isfinite(error) else float("inf")


class Case:
    """A random layer's sizes, and ragged input for it."""

    def __init__(self, rng: np.random.Generator, cells: list[str]) -> None:
        self.cell = str(rng.choice(cells))
        self.D, self.H = int(rng.integers(1, 20)), int(rng.integers(1, 40))
        self.layers, self.bidirectional = int(rng.integers(1, 4)), bool(rng.integers(2))
        self.bias = bool(rng.random() < 0.8)
        N, self.T = int(rng.integers(1, 6)), int(rng.integers(1, 30))
        self.lengths = rng.integers(1, self.T + 1, N)
        self.lengths[rng.integers(N)] = self.T
        self.mask = np.arange(self.T)[None, :] < self.lengths[:, None]
        self.x = rng.normal(size=(N, self.T, self.D)).astype("float32") * self.mask[:, :, None]
        self.outputs = int(rng.integers(2, 6))
        self.rng = rng

    def kind(self) -> tuple[Any, dict[str, Any]]:
        name, more = KINDS[self.cell]
        return getattr(xlstm, name), more

    def ours(self) -> Any:
        kind, more = self.kind()
        layer = kind(self.D, self.H, self.layers, self.bidirectional, seed=self.rng, device="cpu", **more)
        layer.parameters.flat[...] = self.drawn(layer.parameters.flat.shape)
        return layer

    def drawn(self, shape: tuple[int, ...]) -> Any:
        return self.rng.normal(size=shape) * min(1.0, 1.5 * self.H**-0.5)


def of_torch(module: Any, case: Case) -> tuple[Any, Any]:
    """Outputs (N, T, S·H) and h of all layers."""
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(case.x), torch.from_numpy(case.lengths), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        outputs, state = module(packed)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True, total_length=case.T)
    return outputs.numpy(), (torch.cat(state) if isinstance(state, tuple) else state).numpy()


def ours_of(layer: Any, case: Case) -> tuple[Any, Any]:
    outputs, state = layer(case.x, lengths=case.lengths)
    return outputs, np.concatenate(state) if isinstance(state, tuple) else state


def with_torch(case: Case, folder: Path) -> tuple[float, float]:
    """The worst error of states, and of probabilities: to PyTorch, from a module, and from files."""
    layer = case.ours()
    module = layer.to_torch()
    errors = [relative(a, b) for a, b in zip(ours_of(layer, case), of_torch(module, case), strict=True)]
    kind = type(module)
    module = kind(case.D, case.H, case.layers, bias=case.bias, batch_first=True, bidirectional=case.bidirectional)
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.from_numpy(case.drawn(tuple(values.shape))))
    expected = of_torch(module, case)
    torch.save(module.state_dict(), folder / "model.pt")
    back = type(layer).from_torch(module)
    back.to_safetensors(folder / "model.safetensors")
    for source in (module, folder / "model.pt", folder / "model.safetensors"):
        found = ours_of(type(layer).from_torch(source), case)
        errors += [relative(a, b) for a, b in zip(found, expected, strict=True)]
    linear = torch.nn.Linear(case.H * (1 + case.bidirectional), case.outputs)
    classifier = xlstm.SequenceClassifier.from_torch(module, linear, classes=range(case.outputs), device="cpu")
    with torch.no_grad():
        last = expected[0][np.arange(len(case.x)), case.lengths - 1]
        if case.bidirectional:
            last = np.concatenate([last[:, : case.H], expected[0][:, 0, case.H :]], axis=1)
        probabilities = torch.softmax(linear(torch.from_numpy(last)), 1).numpy()
    rows = [row[:length] for row, length in zip(case.x, case.lengths, strict=True)]
    return max(errors), relative(classifier.predict_proba(rows), probabilities)


def of_keras(model: Any, case: Case) -> Any:
    """Outputs at valid steps, zero after them."""
    import keras

    outputs = case.x
    for layer in model.layers:
        outputs = layer(outputs, mask=keras.ops.convert_to_tensor(case.mask))
    return keras.ops.convert_to_numpy(outputs) * case.mask[:, :, None]


def with_keras(case: Case, folder: Path) -> tuple[float, float]:
    """As `with_torch`; the probabilities are those of a softmax layer on the final step."""
    import keras

    layer = case.ours()
    errors = [relative(ours_of(layer, case)[0], of_keras(layer.to_keras(), case))]
    name, more = KINDS[case.cell]
    kind = getattr(keras.layers, {"RNN": "SimpleRNN"}.get(name, name))
    model = keras.Sequential([keras.Input((None, case.D))])
    for _ in range(case.layers):
        made = kind(case.H, return_sequences=True, use_bias=case.bias, **more)
        model.add(keras.layers.Bidirectional(made) if case.bidirectional else made)
    model.set_weights([case.drawn(values.shape) for values in model.get_weights()])
    model.save(folder / "model.keras")
    expected = of_keras(model, case)
    sources = [model, folder / "model.keras"]
    if case.bias:  # without, weights alone do not tell one GRU from the other
        model.save_weights(folder / "model.weights.h5")
        sources.append(folder / "model.weights.h5")
    for source in sources:
        back = type(layer).from_keras(source)
        errors.append(relative(ours_of(back, case)[0], expected))
    head = keras.layers.Dense(case.outputs, activation="softmax")
    last = expected[np.arange(len(case.x)), case.lengths - 1]
    if case.bidirectional:
        last = np.concatenate([last[:, : case.H], expected[:, 0, case.H :]], axis=1)
    probabilities = keras.ops.convert_to_numpy(head(last))
    kernel, bias = head.get_weights()
    linear = {"weight": kernel.T, "bias": bias}
    classifier = xlstm.SequenceClassifier.from_torch(back, linear, classes=range(case.outputs), device="cpu")
    rows = [row[:length] for row, length in zip(case.x, case.lengths, strict=True)]
    return max(errors), relative(classifier.predict_proba(rows), probabilities)


LIBRARIES = {
    "torch": (with_torch, ["lstm", "gru", "rnn"]),
    "keras": (with_keras, ["lstm", "gru", "gru_reset_before", "rnn"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    given = parser.parse_args()
    worst_of_all = []
    for name in given.libraries:
        compare, cells = LIBRARIES[name]
        rng = np.random.default_rng(given.seed)
        with tempfile.TemporaryDirectory() as folder:
            errors = [compare(Case(rng, cells), Path(folder)) for _ in range(given.models)]
        states, probabilities = (max(each) for each in zip(*errors, strict=True))
        print(f"{name}: {given.models} models from and to it, worst relative error {states:.1e} in outputs and states, "
              f"{probabilities:.1e} in probabilities")  # fmt: skip
        worst_of_all.append(states <= 5e-6 and probabilities <= 1e-5)
    if not all(worst_of_all):
        raise SystemExit("more than 5e-6 in states, or 1e-5 in probabilities")


if __name__ == "__main__":
    main()
