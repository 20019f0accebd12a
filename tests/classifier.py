"""What the tests of the classifier share: small problems, and the whole model once more in plain loops.

The model is judged by `oracle`: each sequence alone, nothing padded, tokens as rows of a table. Rows are lists of
arrays (time_i, D), or of token numbers (time_i,).
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import xlstm
from xlstm import batch

from . import oracle
from .oracle import Host

Rows = Sequence[Host]


# ---------------------------------------------------------------- small problems


def random_texts(n: int, seed: int = 0, letters: str = "abc", longest: int = 5) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), rng.integers(1, longest + 1))) for _ in range(n)]


def last_letter(n: int, seed: int = 0, letters: str = "abc") -> tuple[list[str], list[str]]:
    """Texts, and the last letter of each: what a classifier that reads padding for the last step cannot learn."""
    texts = random_texts(n, seed, letters)
    return texts, [text[-1] for text in texts]


def parity(n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of noughts and ones, and whether the ones are odd in number: every step counts."""
    texts = random_texts(n, seed, "01", 4)
    return texts, ["odd" if text.count("1") % 2 else "even" for text in texts]


def sign_of_sum(n: int, seed: int = 0, D: int = 2) -> tuple[list[Host], Host]:
    """Ragged series, and whether their sum is above 0."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((rng.integers(2, 7), D)) + rng.choice([-0.7, 0.7]) for _ in range(n)]
    return X, np.array([int(x.sum() > 0) for x in X])


def raised_channel(n: int, seed: int = 0, D: int = 3) -> tuple[Host, Host]:
    """An array (n, time, D) of noise, and which of the D features was raised."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, 6, D)), rng.integers(0, D, n)
    X[np.arange(n), :, y] += 1.5
    return X, y


# ---------------------------------------------------------------- looking into a classifier


def parameters_of(classifier: xlstm.SequenceClassifier) -> dict[str, Host]:
    """A copy of every parameter of a fitted classifier on the CPU, by its name."""
    return {name: np.array(view) for name, view in classifier.fitted_state().model.parameters.items()}


def flat(parameters: Mapping[str, Host]) -> Host:
    return np.concatenate([values.ravel() for values in parameters.values()])


class Split:
    """Watches which rows `fit` keeps for training, and which it sets aside for validation."""

    def __init__(self, monkeypatch: Any) -> None:
        self.kept = self.aside = np.zeros(0, int)
        right = batch.stratified_split

        def split(*arguments: Any) -> Any:
            self.kept, self.aside = right(*arguments)
            return self.kept, self.aside

        monkeypatch.setattr(batch, "stratified_split", split)


def whole_state(classifier: xlstm.SequenceClassifier) -> bytes:
    """Everything a fitted classifier is: parameters, moments, generator, history, settings, as its file has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.xlstm")
        classifier.save(path)
        with open(path, "rb") as file:
            return file.read()


# ---------------------------------------------------------------- the whole model in plain loops


def token_numbers(texts: Sequence[Sequence[Any]], vocabulary: Sequence[Any]) -> list[Host]:
    """1 for the first of the vocabulary, 0 for what is not in it."""
    return [np.array([vocabulary.index(token) + 1 if token in vocabulary else 0 for token in text]) for text in texts]


def standardised(X: Rows) -> list[Host]:
    """Each feature with mean 0 and standard deviation 1 over all steps of all rows."""
    steps = np.concatenate([np.asarray(row, dtype=np.float64) for row in X])
    return [(row - steps.mean(axis=0)) / steps.std(axis=0) for row in X]


def _input(parameters: Mapping[str, Host], row: Host) -> Host:
    """(1, time, D) as the first layer reads it; the gradient of a table is in `gradients`."""
    if row.ndim == 2:
        return row[None]
    if "embedding.weight" in parameters:
        return parameters["embedding.weight"][row][None]
    V = parameters["recurrent.weight_ih_l0"].shape[1]
    return np.eye(V)[row][None]


def _recurrent(parameters: Mapping[str, Host]) -> dict[str, Host]:
    return {n.removeprefix("recurrent."): v for n, v in parameters.items() if n.startswith("recurrent.")}


def _last_layer(parameters: Mapping[str, Host]) -> int:
    """The number of the states of the last layer: one a direction."""
    return 2 if "recurrent.weight_ih_l0_reverse" in parameters else 1


def features(cell: str, parameters: Mapping[str, Host], row: Host) -> Host:
    """The final h of the last layer of each direction, side by side; for a head of twice the width the maximum too."""
    outputs, state = oracle.forward(cell, _recurrent(parameters), _input(parameters, row))[:2]
    final = np.concatenate(list(state["h"][-_last_layer(parameters) :, 0]))
    return (
        final if parameters["head.weight"].shape[1] == len(final) else np.concatenate([final, outputs[0].max(axis=0)])
    )


def logits(cell: str, parameters: Mapping[str, Host], rows: Rows) -> Host:
    """(N, K)."""
    return np.stack(
        [parameters["head.weight"] @ features(cell, parameters, row) + parameters["head.bias"] for row in rows]
    )


def row_losses(z: Host, labels: Sequence[int]) -> Host:
    """(N,): the cross-entropy of each row, from logits (N, K), K = 1 for two classes; complex numbers too."""
    if z.shape[1] == 1:
        return np.array([np.log1p(np.exp(row[0])) - label * row[0] for row, label in zip(z, labels, strict=True)])
    return np.array([np.log(np.sum(np.exp(row))) - row[label] for row, label in zip(z, labels, strict=True)])


def cross_entropy(z: Host, labels: Sequence[int], weights: Host) -> tuple[Any, Host]:
    """The weighted sum of the rows' losses, divided by their number, and its gradient, like the logits (N, K)."""
    p = 1 / (1 + np.exp(-z)) if z.shape[1] == 1 else np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    target = np.array([[label] if z.shape[1] == 1 else np.eye(z.shape[1])[label] for label in labels])
    return np.mean(weights * row_losses(z, labels)), ((p - target) * weights[:, None] / len(z)).astype(z.dtype)


def loss(cell: str, parameters: Mapping[str, Host], rows: Rows, labels: Sequence[int], weights: Host) -> Any:
    """The weighted sum of the rows' losses, divided by their number."""
    return np.sum(weights * row_losses(logits(cell, parameters, rows), labels)) / len(rows)


def complex_step_gradients(
    cell: str, parameters: Mapping[str, Host], rows: Rows, labels: Sequence[int], weights: Host
) -> dict[str, Host]:
    """Of `loss`, without any backward pass; zero where the unknown token acts, which is held where it is."""
    gradients = {}
    for name, values in parameters.items():
        gradients[name] = np.zeros(values.shape)
        for index in np.ndindex(*values.shape):
            moved = values.astype(np.complex128)
            moved[index] += 1e-30j
            gradients[name][index] = np.imag(loss(cell, {**parameters, name: moved}, rows, labels, weights)) / 1e-30
    return _unknown_held(gradients, rows)


def gradients(
    cell: str, parameters: Mapping[str, Host], rows: Rows, labels: Sequence[int], weights: Host
) -> dict[str, Host]:
    """The same by the oracle's backward pass: much faster, for whole trainings."""
    found = {name: np.zeros(values.shape) for name, values in parameters.items()}
    S, H = _last_layer(parameters), parameters["recurrent.weight_hh_l0"].shape[1]
    for row, label, weight in zip(rows, labels, weights, strict=True):
        x, h = _input(parameters, row), features(cell, parameters, row)
        z = parameters["head.weight"] @ h + parameters["head.bias"]
        p = 1 / (1 + np.exp(-z)) if len(z) == 1 else np.exp(z) / np.sum(np.exp(z))
        target = np.array([label]) if len(z) == 1 else np.eye(len(z))[label]
        d_z = (p - target) * weight / len(rows)
        found["head.weight"] += np.outer(d_z, h)
        found["head.bias"] += d_z
        outputs, state = oracle.forward(cell, _recurrent(parameters), x)[:2]
        d_h = parameters["head.weight"].T @ d_z
        d_final, d_outputs = np.zeros_like(state["h"]), np.zeros_like(outputs)
        d_final[-S:, 0] = d_h[: S * H].reshape(S, H)
        if len(d_h) > S * H:  # the maximum beside the final step
            d_outputs[0, outputs[0].argmax(axis=0), np.arange(S * H)] = d_h[S * H :]
        d_x, _, d_parameters = oracle.backward(
            cell, _recurrent(parameters), x, d_outputs=d_outputs, d_state={"h": d_final}
        )
        for name, d in d_parameters.items():
            found[f"recurrent.{name}"] += d
        if "embedding.weight" in parameters:
            for token, d in zip(row, d_x[0], strict=True):
                found["embedding.weight"][token] += d
    return _unknown_held(found, rows)


def _unknown_held(gradients: dict[str, Host], rows: Rows) -> dict[str, Host]:
    if rows[0].ndim == 1 and "embedding.weight" in gradients:
        gradients["embedding.weight"][0] = 0
    elif rows[0].ndim == 1:
        for name in gradients:
            if "weight_ih_l0" in name:
                gradients[name][:, 0] = 0
    return gradients
