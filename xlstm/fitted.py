"""All that training made, in one object: so that it is replaced, moved, copied and saved as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import batch, columns, encode, sequences, train
from .backends import Backend
from .batch import Encoded
from .labels import weights_of
from .model import Model
from .sequences import HostArray
from .sides import Sides
from .tasks import Task


class Fitted:
    """A trained model and what belongs to it. An estimator has one; a fit that fails leaves the old one in place."""

    def __init__(
        self,
        trainer: train.Trainer,
        encoder: encode.Encoder,
        columns: int | None,  # of a two-dimensional X
        feature_names: HostArray | None,
        owner: str,  # the name of the estimator's class, for messages
        sides: Sides | None = None,  # where rows were ever set aside: which they were
    ) -> None:
        self.trainer, self.encoder, self.sides = trainer, encoder, sides
        self.columns, self.feature_names, self.owner = columns, feature_names, owner

    @property
    def model(self) -> Model:
        return self.trainer.model

    @property
    def task(self) -> Task:
        return self.trainer.task

    @property
    def summary(self) -> str:
        """Whose model it is, and its cell: for those that are made of it to say what they are."""
        part = self.model.architecture
        return f"{self.owner}(cell={part.cell!r}, hidden_size={part.hidden_size}, num_layers={part.num_layers})"

    def check(self, data: sequences.Series | sequences.Texts, X: Any) -> None:
        """Raise where X, read as `data`, is not like what the model was trained on."""
        encode.check_kind(self.encoder, data)
        columns.check(data, X, self.columns, self.feature_names, self.owner)

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
        data = sequences.read(X, *reading)
        self.check(data, X)
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
        return Fitted(trainer, self.encoder, self.columns, self.feature_names, self.owner, self.sides)
