"""Training: epochs over batches, the loss and the scores of each, early stopping, and what resumption needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import batch as batching
from . import interrupts, optim
from .backends import Backend
from .batch import Encoded
from .callbacks import Watch
from .feed import Feed
from .history import History, Measured
from .host import HostArray
from .model import Batch, Model
from .tally import Seen, Tally
from .tasks import Task

UPDATE_BUDGET = 1000
"""Number of updates that `max_iter=None` aims at."""
MIN_EPOCHS = 20
"""The fewest epochs of `max_iter=None`, however many updates they are."""
MAX_EPOCHS = 400
"""The most epochs of `max_iter=None`, however few updates they are."""


def epochs_for(rows: int, batch_size: int) -> int:
    """The number of epochs with which so many rows make `UPDATE_BUDGET` updates, within the limits."""
    per_epoch = -(-rows // batch_size)
    return max(MIN_EPOCHS, min(MAX_EPOCHS, -(-UPDATE_BUDGET // per_epoch)))


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


class Standing(NamedTuple):
    """Where a training stands after a whole epoch, beside its model, optimiser, generator and history."""

    epoch: int  # whole epochs so far
    first_update: int  # the optimiser's updates before the first of them
    best: Any = None  # with a validation part: the weights of the best epoch (P,), on the host
    best_score: tuple[float, float] = (-np.inf, -np.inf)  # the goodness of its score, and its loss downwards
    since_best: int = 0  # epochs without a better score

    def after(self, measured: Measured | None, goodness: float, weights: HostArray, tol: float) -> Standing:
        """One epoch later, with these weights and what the validation part gave; this one stays as it is."""
        if measured is None:
            return self._replace(epoch=self.epoch + 1)
        # The epoch with the better score is the better one; of two alike, the one with the lower loss.
        score = (goodness, -measured[0])
        first = self.best is None
        since = 0 if first or score[0] > self.best_score[0] + tol else self.since_best + 1
        now = self._replace(epoch=self.epoch + 1, since_best=since)
        return now._replace(best=weights, best_score=score) if first or score > self.best_score else now

    def is_over(self, settings: Settings) -> bool:
        """Whether no epoch is to come."""
        patient = settings.patience is None or self.since_best < settings.patience
        return self.epoch >= settings.epochs or not patient


class Labelled(NamedTuple):
    """Rows with their targets and weights, on the host; the steps may be on the model's device."""

    data: Encoded
    targets: Any  # as the task has them
    weights: HostArray  # (n,), of mean 1, or as given where they are a part of all rows


class Source(Protocol):
    """Rows that are never in memory all at once: each pass over them asks for them anew, part after part."""

    @property
    def rows(self) -> int:
        """How many a pass is expected to give: a schedule goes by it."""

    @property
    def weighted(self) -> bool:
        """Whether not all rows weigh alike."""

    def parts(self, rng: np.random.Generator | None) -> Iterator[Labelled]:
        """All rows once: to train on in an order that `rng` draws, or with None in their own, to be measured."""


class _Piece(NamedTuple):
    """Rows of a batch that are computed at once, mostly all: its gradient is the sum of those of its pieces."""

    rows: HostArray
    share: float  # of the terms of the batch: what the gradient of the piece's own mean loss counts
    is_last: bool  # of its batch: the optimiser's step comes after it


class _Part:
    """Labelled rows, as epochs ask for them: batches on the model's device, and their targets and weights.

    On a GPU the targets and weights of all rows are brought there once. It is the one part of itself; a `Source` has
    others in each pass.
    """

    def __init__(self, labelled: Labelled, model: Model, task: Task) -> None:
        self._labelled, self._model, self._task, self._backend = labelled, model, task, model.backend
        self._dtype, self._feed = model.architecture.dtype, Feed(model, labelled.data)
        self.lengths, self._of_rows = labelled.data.lengths, task.terms(labelled.targets)
        self.rows, self.weighted = len(labelled.weights), bool((labelled.weights != labelled.weights[0]).any())
        self.terms = len(labelled.weights) if self._of_rows is None else int(self._of_rows.sum())
        self._targets = self._weights = None
        if not self._backend.on_host:
            self._targets = task.placed(labelled.targets, self._backend, self._dtype)
            self._weights = self._backend.from_host(labelled.weights)

    def parts(self, rng: np.random.Generator | None) -> Iterator[_Part]:
        yield self

    def pieces(self, drawn: list[HostArray]) -> list[_Piece]:
        """What batches are computed in: see `xlstm.batch.pieces`."""
        found = []
        for batch in drawn:
            cut = batching.pieces(self.lengths, batch)
            terms = [self._terms(rows) for rows in cut]
            of_all = max(1, sum(terms))
            found += [_Piece(rows, own / of_all, rows is cut[-1]) for rows, own in zip(cut, terms, strict=True)]
        return found

    def tally(self, chosen: list[HostArray]) -> Tally:
        """For batches of these row numbers, or pieces of them."""
        return Tally(self._model, self._task, chosen, [self._terms(rows) for rows in chosen])

    def _terms(self, rows: HostArray) -> int:
        return len(rows) if self._of_rows is None else int(self._of_rows[rows].sum())

    def batches(
        self, chosen: Sequence[HostArray], token_dropout: float = 0.0, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[Batch, Any, Any]]:
        """Of each of the `chosen` row numbers a batch, its targets and weights. In the context of the device."""
        xp = self._backend.namespace
        for rows, places, batch in self._feed.batches(chosen, token_dropout, rng):
            if self._targets is None:
                targets = self._task.batch(self._labelled.targets, rows, self._backend, self._dtype)
            else:
                targets = self._task.gathered(self._targets, rows, places, self._backend)
            if self._weights is None:
                weights = self._backend.adopt(self._labelled.weights[rows])
            else:
                weights = xp.take(self._weights, places, axis=0)
            yield batch, targets, weights


class _Source:
    """A `Source` on its way to the model's device, one part at a time."""

    def __init__(self, source: Source, model: Model, task: Task) -> None:
        self._source, self._model, self._task = source, model, task
        self.rows, self.weighted = source.rows, source.weighted

    def parts(self, rng: np.random.Generator | None) -> Iterator[_Part]:
        for labelled in self._source.parts(rng):
            yield _Part(labelled, self._model, self._task)


class Trainer:
    """A model on its way: it, its task, its optimiser, its generator and its history.

    Parameters
    ----------
    model
        Changed in place.
    task
        What it learns: the loss, and the scores.
    optimizer
        On the model's buffer.
    rng
        Order of the rows and dropout masks.
    """

    def __init__(self, model: Model, task: Task, optimizer: optim.Optimizer, rng: np.random.Generator) -> None:
        self.model, self.task, self.optimizer, self.rng = model, task, optimizer, rng
        self.history = History()

    def to(self, backend: Backend) -> Trainer:
        """A copy on another device."""
        optimizer, rng = self.optimizer.to(backend), copy.deepcopy(self.rng)
        other = Trainer(self.model.to(backend), copy.deepcopy(self.task), optimizer, rng)
        other.history = copy.deepcopy(self.history)
        return other

    def fit(
        self,
        training: Labelled | Source,
        validation: Labelled | Source | None,
        settings: Settings,
        watch: Watch | None = None,
        standing: Standing | None = None,
        note: Callable[[Standing], None] | None = None,
    ) -> bool:
        """Run the epochs. With a validation part, the weights of its best epoch are restored at the end.

        Ctrl-C ends the training: the best validated weights are restored, or else those of the last whole epoch. Before
        the first epoch has ended, and where it is the second in one run (`xlstm.interrupts`), it is raised again. The
        optimiser and the generator stay where they were stopped.

        Parameters
        ----------
        watch
            The callbacks.
        standing
            Where the training stood that is to go on; the model, the optimiser, the generator and the history are as
            they were then. None begins one.
        note
            Called after each epoch, before the callbacks, for a training that can go on from there.

        Returns
        -------
        bool
            Whether it was interrupted.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite; the weights are then those of the last good epoch.
        """
        training_part = self._placed(training)
        validation_part = None if validation is None else self._placed(validation)
        per_epoch = -(-training_part.rows // settings.batch_size)
        if standing is None:
            standing = Standing(0, 0 if settings.continued else self.optimizer.updates)
        start, interrupted = self.model.read(), False
        whole: Any = start if standing.epoch else None  # the weights after the last whole epoch

        def tell(hook: str, now: Standing) -> None:
            if watch is not None:
                watch.tell(hook, now.epoch, settings.epochs, self.history)

        try:
            tell("on_train_begin", standing)
            while not standing.is_over(settings):
                tell("on_epoch_begin", standing)
                with np.errstate(over="ignore", invalid="ignore"):  # divergence is an error below, not a warning
                    trained = self._epoch(training_part, settings, standing.first_update, settings.epochs * per_epoch)
                reached, loss = self.model.read(), trained[0]
                if not np.isfinite(loss) or not np.isfinite(reached).all():
                    self.model.write(start if whole is None else whole)
                    raise FloatingPointError(
                        f"training diverged in epoch {standing.epoch + 1} (loss {loss:g}): lower learning_rate_init "
                        f"(now {settings.learning_rate:g}) or set max_grad_norm."
                    )
                measured = None if validation_part is None else self._evaluate(validation_part)
                history = self.history.after(trained, measured)
                goodness = 0.0 if measured is None else self.task.goodness(measured[1])
                now = standing.after(measured, goodness, reached, settings.tol)
                # At once: Ctrl-C comes before the epoch counts, or after it.
                whole, self.history, standing = reached, history, now
                if note is not None:
                    note(standing)
                tell("on_epoch_end", standing)
                if watch is not None and watch.stopped:
                    break
        except KeyboardInterrupt:
            if whole is None:
                self.model.write(start)
                raise
            self.model.write(whole)
            if not interrupts.ends_training_alone():
                raise
            interrupted = True
        if standing.best is not None:
            self.model.write(standing.best)
        tell("on_train_end", standing)
        return interrupted

    def _placed(self, rows: Labelled | Source) -> _Part | _Source:
        if isinstance(rows, Labelled):
            return _Part(rows, self.model, self.task)
        return _Source(rows, self.model, self.task)

    def _epoch(
        self, training: _Part | _Source, settings: Settings, first_update: int, total: int
    ) -> tuple[float, dict[str, float]]:
        model, optimizer, seen = self.model, self.optimizer, Seen()
        with model.backend.current():
            for part in training.parts(self.rng):
                pieces = part.pieces(batching.shuffled(part.lengths, settings.batch_size, self.rng))
                chosen = [piece.rows for piece in pieces]
                tally = part.tally(chosen)
                batches = part.batches(chosen, settings.token_dropout, self.rng)
                earlier, gradients = None, model.gradients.flat
                for piece, (inputs, targets, weights) in zip(pieces, batches, strict=True):
                    outputs, tape = model.forward(inputs, self.rng)
                    d_outputs = tally.add(outputs, targets, weights)
                    model.backward(tape, d_outputs if piece.share == 1.0 else d_outputs * piece.share)
                    del outputs, d_outputs, tape  # the next forward pass takes their memory
                    if earlier is not None:
                        gradients += earlier
                    earlier = None if piece.is_last else model.backend.namespace.asarray(gradients, copy=True)
                    if not piece.is_last:
                        continue
                    done, top = optimizer.updates - first_update, settings.learning_rate
                    rate = optim.learning_rate_at(done, total, settings.schedule, top, settings.warmup)
                    optimizer.step(model.parameters.flat, gradients, rate, settings.max_grad_norm)
                seen.add(tally.totals(), part.terms)  # the only numbers that leave the device, once a part
        return seen.means(self.task)

    def evaluate(self, rows: Labelled | Source) -> tuple[float, dict[str, float]]:
        """Mean loss, weighted, and the scores, not weighted, without dropout.

        Where not all terms of the loss weigh alike, the first score is there once more, weighted as the loss is.
        """
        return self._evaluate(self._placed(rows))

    def _evaluate(self, rows: _Part | _Source) -> tuple[float, dict[str, float]]:
        model, seen, is_weighted = self.model, Seen(), rows.weighted or self.task.weighs_terms
        with model.backend.current():
            for part in rows.parts(None):
                chosen = list(batching.by_length(part.lengths))
                tally, weighted = part.tally(chosen), np.zeros(0)
                sums: list[Any] = []
                for inputs, targets, weights in part.batches(chosen):
                    with np.errstate(over="ignore", invalid="ignore"):  # what is far off is told as infinity
                        outputs = model.logits(inputs)
                        tally.add(outputs, targets, weights, gradient=False)
                        if is_weighted and (found := self.task.weighted_sums(outputs, targets, weights)):
                            sums.append(model.backend.namespace.stack(list(found)))
                if sums:
                    weighted = model.backend.to_host(sum(sums[1:], sums[0]))
                seen.add(tally.totals(in_turn=True), part.terms, weighted if is_weighted else None)
        return seen.means(self.task)
