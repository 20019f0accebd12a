"""Training: epochs over batches, the loss and accuracy of each, early stopping, and what resumption needs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import backends, losses, optim
from . import batch as batching
from .batch import Encoded
from .encode import UNKNOWN
from .model import Batch, Model
from .sequences import HostArray


class History:
    """What each epoch gave. Losses are means over rows, weighted as the rows are; accuracies are not weighted."""

    def __init__(
        self,
        loss: list[float] | None = None,
        accuracy: list[float] | None = None,
        validation_loss: list[float] | None = None,
        validation_accuracy: list[float] | None = None,
    ) -> None:
        self.loss, self.accuracy = loss or [], accuracy or []
        self.validation_loss, self.validation_accuracy = validation_loss or [], validation_accuracy or []


class Settings(NamedTuple):
    """How to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    warmup: int
    max_grad_norm: float | None
    token_dropout: float  # fraction of the tokens replaced by the unknown one
    patience: int | None  # epochs without a better validation score, or None to run to the end
    tol: float
    continued: bool = False  # the schedule goes on with the optimiser's updates, instead of beginning anew


class Rows(NamedTuple):
    """Labelled, weighted rows on the host."""

    data: Encoded
    labels: HostArray  # (n,) integers from 0 on
    weights: HostArray  # (n,), of mean 1


class Trainer:
    """A model on its way: it, its optimiser, its generator and its history.

    Parameters
    ----------
    model
        Changed in place.
    optimizer
        On the model's buffer.
    rng
        Order of the rows and dropout masks.
    """

    def __init__(self, model: Model, optimizer: optim.Optimizer, rng: np.random.Generator) -> None:
        self.model, self.optimizer, self.rng = model, optimizer, rng
        self.history = History()

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles hold host arrays; the model says where they go back to.
        return {**self.__dict__, "optimizer": _detached(self.optimizer, self.model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _attach(self.optimizer, self.model)

    def to(self, backend: backends.Backend) -> Trainer:
        """A copy on another device."""
        optimizer = _detached(self.optimizer, self.model)
        model = self.model.to(backend)
        _attach(optimizer, model)
        other = Trainer(model, optimizer, copy.deepcopy(self.rng))
        other.history = copy.deepcopy(self.history)
        return other

    def fit(
        self,
        training: Rows,
        validation: Rows | None,
        settings: Settings,
        progress: Callable[[int, int, History], None] | None = None,
    ) -> None:
        """Run the epochs. With a validation part, the weights of its best epoch are restored at the end.

        Ctrl-C ends the training: the best validated weights are restored, or else those of the last whole epoch. Before
        the first epoch has ended, it is raised again. The optimiser and the generator stay where they were stopped.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite; the weights are then those of the last good epoch.
        """
        per_epoch = -(-len(training.labels) // settings.batch_size)
        first_update, total = 0 if settings.continued else self.optimizer.updates, settings.epochs * per_epoch
        best, best_score, since_best = None, (-np.inf, -np.inf), 0
        whole: Any = None  # the weights after the last whole epoch
        start = self.model.read()
        try:
            for epoch in range(settings.epochs):
                with np.errstate(over="ignore", invalid="ignore"):  # divergence is an error below, not a warning
                    loss, accuracy = self._epoch(training, settings, first_update, total)
                reached = self.model.read()
                if not np.isfinite(loss) or not np.isfinite(reached).all():
                    self.model.write(start if whole is None else whole)
                    raise FloatingPointError(
                        f"training diverged in epoch {epoch + 1} (loss {loss:g}): lower learning_rate_init "
                        f"(now {settings.learning_rate:g}) or set max_grad_norm."
                    )
                scores = None if validation is None else self.evaluate(validation)
                whole = reached
                self.history.loss.append(loss)
                self.history.accuracy.append(accuracy)
                if scores is not None:
                    self.history.validation_loss.append(scores[0])
                    self.history.validation_accuracy.append(scores[1])
                    # The more accurate epoch is the better one; of two alike, the one with the lower loss.
                    score = (scores[1], -scores[0])
                    since_best = 0 if best is None or score[0] > best_score[0] + settings.tol else since_best + 1
                    if best is None or score > best_score:
                        best, best_score = whole, score
                if progress is not None:
                    progress(epoch + 1, settings.epochs, self.history)
                if settings.patience is not None and since_best >= settings.patience:
                    break
        except KeyboardInterrupt:
            if whole is None:
                self.model.write(start)
                raise
            self.model.write(whole)
            import logging  # not at the top: it would be a good part of the time of `import xlstm`

            epochs = len(self.history.loss)
            logging.getLogger("xlstm").warning(
                "training interrupted after %d whole epochs: their model is kept", epochs
            )
        if best is not None:
            self.model.write(best)

    def _epoch(self, training: Rows, settings: Settings, first_update: int, total: int) -> tuple[float, float]:
        model, optimizer = self.model, self.optimizer
        backend, xp = model.backend, model.backend.namespace
        losses_seen: list[Any] = []
        hits_seen: list[Any] = []
        with backend.current():
            for rows in batching.shuffled(training.data.lengths, settings.batch_size, self.rng):
                labels, weights = backend.adopt(training.labels[rows]), backend.adopt(training.weights[rows])
                inputs = on_device(model, training.data, rows, settings.token_dropout, self.rng)
                logits, tape = model.forward(inputs, self.rng)
                loss, d_logits = cross_entropy(model, logits, labels, weights)
                model.backward(tape, d_logits)
                rate = optim.learning_rate_at(
                    optimizer.updates - first_update, total, settings.schedule, settings.learning_rate, settings.warmup
                )
                optimizer.step(model.parameters.flat, model.gradients.flat, rate, settings.max_grad_norm)
                losses_seen.append(loss * len(rows))
                hits_seen.append(xp.sum(xp.astype(predicted(model, logits) == labels, logits.dtype)))
            # The only numbers that leave the device, once an epoch.
            n = len(training.labels)
            sums = backend.to_host(xp.stack([xp.sum(xp.stack(losses_seen)), xp.sum(xp.stack(hits_seen))]))
        return float(sums[0]) / n, float(sums[1]) / n

    def evaluate(self, rows: Rows) -> tuple[float, float]:
        """Mean loss, weighted, and accuracy, not weighted, without dropout."""
        model, backend, xp = self.model, self.model.backend, self.model.backend.namespace
        sums = []
        with backend.current():
            for chosen in batching.by_length(rows.data.lengths):
                labels, weights = backend.adopt(rows.labels[chosen]), backend.adopt(rows.weights[chosen])
                logits = model.logits(on_device(model, rows.data, chosen))
                loss, _ = cross_entropy(model, logits, labels, weights)
                hits = xp.sum(xp.astype(predicted(model, logits) == labels, logits.dtype))
                sums.append(xp.stack([loss * len(chosen), hits]))
            loss_sum, hit_sum = backend.to_host(xp.sum(xp.stack(sums), axis=0))
        return float(loss_sum) / len(rows.labels), float(hit_sum) / len(rows.labels)


def optimizer_for(model: Model, solver: str, **numbers: float) -> optim.Optimizer:
    """An optimiser of the model's parameters, with the fastest step that there is for them."""
    with model.backend.current():
        return optim.Optimizer(model.parameters.flat, model.decayed(), solver, fast=_fast_step(model), **numbers)


def _fast_step(model: Model) -> optim.FastStep | None:
    step: optim.FastStep | None = backends.find_update(model.backend, model.architecture.dtype, model.kernels)
    return step


def _detached(optimizer: optim.Optimizer, model: Model) -> optim.Optimizer:
    """A copy that holds host arrays and nothing of a device."""
    other = copy.copy(optimizer)
    other.moments = [model.backend.to_host(moment) for moment in optimizer.moments]
    other.decayed = other.fast = None
    return other


def _attach(optimizer: optim.Optimizer, model: Model) -> None:
    """Bring what `_detached` gave to where the model is."""
    with model.backend.current():
        optimizer.moments = [model.backend.from_host(moment) for moment in optimizer.moments]
        optimizer.decayed, optimizer.fast = model.decayed(), _fast_step(model)


def on_device(
    model: Model, data: Encoded, rows: HostArray, token_dropout: float = 0.0, rng: np.random.Generator | None = None
) -> Batch:
    """These rows as a batch on the model's device, a part of its tokens drawn from `rng` made unknown."""
    block, lengths = data.padded(rows)
    if token_dropout and model.architecture.tokens and rng is not None:
        block[rng.random(block.shape) < token_dropout] = UNKNOWN
    block = model.backend.adopt(block)
    return Batch(None, block, lengths) if model.architecture.tokens else Batch(block, None, lengths)


def cross_entropy(model: Model, logits: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
    """The loss that goes with the model's number of outputs, and its gradient."""
    one_logit = model.architecture.outputs == 1
    return (losses.logistic_cross_entropy if one_logit else losses.softmax_cross_entropy)(logits, labels, weights)


def predicted(model: Model, logits: Any) -> Any:
    """The number of the more probable class of each row, (N,)."""
    xp = model.backend.namespace
    if model.architecture.outputs == 1:
        return xp.astype(logits[:, 0] > 0, xp.int64)
    return xp.argmax(logits, axis=1)
