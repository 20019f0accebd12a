"""All that training made, in one object: so that it is replaced, moved, copied and saved as a whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import batch, columns, encode, guesses, sequences, train
from .backends import Backend
from .batch import Encoded
from .host import HostArray
from .labels import weights_of
from .model import Model
from .names import are_numbers
from .sides import Sides
from .tasks import Task


class Table(NamedTuple):
    """The table that the command line trained a model on: so that it reads others like it without being told how."""

    text: str  # the name of the column of the texts
    label: str  # and of the labels
    delimiter: str  # what separates the columns, one character
    held_out: str | None  # SHA-256 of the file of held-out rows that was last written for a model of its name


class Fitted:
    """A trained model and what belongs to it. An estimator has one; a fit that fails leaves the old one in place."""

    def __init__(
        self,
        trainer: train.Trainer,
        encoder: encode.Encoder,
        columns: int | None,  # of a two-dimensional X
        feature_names: HostArray | None,
        owner: str,  # the name of the estimator's class, for messages
        table: Table | None = None,  # where the command line trained it on a table; of no effect in Python
        sides: Sides | None = None,  # where rows were ever set aside: which they were
    ) -> None:
        self.trainer, self.encoder, self.sides = trainer, encoder, sides
        self.columns, self.feature_names, self.owner = columns, feature_names, owner
        self.table = table

    @property
    def model(self) -> Model:
        return self.trainer.model

    @property
    def task(self) -> Task:
        return self.trainer.task

    def attributes(self) -> dict[str, Any]:
        """What an estimator says of its training, by the names of its attributes."""
        history, model, task = self.trainer.history, self.model, self.task
        found: dict[str, Any] = {
            "n_iter_": len(history.loss),
            "loss_curve_": list(history.loss),
            "loss_": history.loss[-1] if history.loss else float("nan"),
            "n_features_in_": self.columns if self.columns is not None else self.encoder.size,
            "device_": model.backend.device,
            "kernels_": model.kernels,
        }
        found |= {f"{name}_curve_": list(history.scores.get(name, ())) for name in task.score_names}
        if history.validation_loss:
            found["validation_loss_curve_"] = list(history.validation_loss)
            found["validation_scores_"] = list(history.validation_scores[task.first_score])
            found["best_validation_score_"] = task.best(found["validation_scores_"])
        if self.feature_names is not None and not are_numbers(self.feature_names):
            found["feature_names_in_"] = self.feature_names
        return found

    @property
    def summary(self) -> str:
        """Whose model it is, and its cell: for those that are made of it to say what they are."""
        part = self.model.architecture
        return f"{self.owner}(cell={part.cell!r}, hidden_size={part.hidden_size}, num_layers={part.num_layers})"

    def matched(
        self, data: sequences.Series | sequences.Texts, quiet: bool = False
    ) -> sequences.Series | sequences.Texts:
        """`data` with its features in the order of the training; raises where it is not like what was trained on.

        `quiet` does not warn where one of the two has names of features and the other has none.
        """
        encode.check_kind(self.encoder, data)
        if self.encoder.size == 1:
            guesses.warn(guesses.one_sequence_as_many(data, self.columns))
        return columns.check(data, self.columns, self.feature_names, self.owner, quiet)

    def encoded(self, data: sequences.Series | sequences.Texts) -> Encoded:
        """`data` as the model reads it."""
        with np.errstate(over="ignore"):  # said below, with the row
            steps = encode.encode(self.encoder, data)
            if not self.model.architecture.tokens:
                steps = steps.astype(self.model.architecture.dtype)
        if not np.isfinite(steps).all():
            step = int(np.argmin(np.isfinite(steps).all(axis=1)))
            row = int(np.searchsorted(np.cumsum(data.lengths), step, side="right"))
            dtype = self.model.architecture.dtype
            raise ValueError(
                f"row {row} of X holds numbers too large for {dtype}: rescale them, or use dtype='float64'."
            )
        return Encoded.of(steps, data.lengths)

    def outputs(self, X: Any, reading: sequences.Reading) -> HostArray:
        """(n, K) for the sequences X, on the host, in the model's dtype: what the task makes its answers of."""
        data = self.matched(sequences.read(X, *reading))
        encoded = self.encoded(data)
        model = self.model
        outputs: HostArray = np.empty((len(data.lengths), model.architecture.outputs), dtype=model.architecture.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the end of the range saturate the gates
            for rows in batch.by_length(encoded.lengths):
                outputs[rows] = model.backend.to_host(model.logits(train.on_device(model, encoded, rows)))
        return outputs

    def predict(self, X: Any, reading: sequences.Reading) -> HostArray:
        """The answer for each sequence, (n,)."""
        return self.task.answers(self.outputs(X, reading))

    def score(self, X: Any, y: Any, sample_weight: Any, reading: sequences.Reading) -> float:
        """How good the answers for X are beside y, weighted by `sample_weight`."""
        outputs = self.outputs(X, reading)
        targets = self.task.read(y, len(outputs))
        return self.task.score(outputs, targets, weights_of(sample_weight, len(outputs)))

    def to(self, backend: Backend) -> Fitted:
        """A copy on another device, the optimiser included."""
        trainer = self.trainer.to(backend)
        return Fitted(trainer, self.encoder, self.columns, self.feature_names, self.owner, self.table, self.sides)
