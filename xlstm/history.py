"""What the epochs of a training gave, and how far it is: what callbacks are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Measured = tuple[float, dict[str, float]]
"""A mean loss, and the scores by name."""
NAN = float("nan")


class History:
    """What each epoch gave. Losses are means over rows, weighted as the rows are; scores, by name, are not weighted.

    Where every step has an answer, they are means over the steps whose answers count. Where rows or classes have
    weights, `validation_scores` has the score that early stopping goes by weighted as well, as the loss is, such as
    "weighted_accuracy" beside "accuracy".

    Attributes
    ----------
    loss, validation_loss : list of float
        The second is shorter where the last epochs had no validation part, such as those of `partial_fit`.
    scores, validation_scores : dict of str to list of float
    """

    def __init__(
        self,
        loss: list[float] | None = None,
        scores: dict[str, list[float]] | None = None,
        validation_loss: list[float] | None = None,
        validation_scores: dict[str, list[float]] | None = None,
    ) -> None:
        self.loss, self.scores = loss or [], scores or {}
        self.validation_loss, self.validation_scores = validation_loss or [], validation_scores or {}

    def after(self, epoch: Measured, validation: Measured | None) -> History:
        """One that has another epoch. This one stays as it is: an interrupted training has whole epochs alone."""

        def longer(scores: dict[str, list[float]], more: dict[str, float]) -> dict[str, list[float]]:
            return {name: [*scores.get(name, ()), score] for name, score in more.items()}

        trained = ([*self.loss, epoch[0]], longer(self.scores, epoch[1]))
        if validation is None:
            return History(*trained, self.validation_loss, self.validation_scores)
        gap = [NAN] * (len(self.loss) - len(self.validation_loss))  # each number stays beside its epoch
        before = {name: [*self.validation_scores.get(name, ()), *gap] for name in validation[1]}
        return History(*trained, [*self.validation_loss, *gap, validation[0]], longer(before, validation[1]))

    def __deepcopy__(self, memo: dict[int, Any]) -> History:
        return self  # nobody changes it: of many calls of `partial_fit` each would copy the numbers of all before

    def columns(self) -> dict[str, list[float]]:
        """All of it as lists by name: "loss", the scores, and with a validation part the same, "validation" before.

        All are of one length: NaN stands where an epoch had no validation part.
        """
        found = {"loss": self.loss, **self.scores}
        if self.validation_loss:
            found["validation_loss"] = self.validation_loss
            found |= {f"validation_{name}": scores for name, scores in self.validation_scores.items()}
        return {name: [*numbers, *[NAN] * (len(self.loss) - len(numbers))] for name, numbers in found.items()}

    def last(self) -> dict[str, float]:
        """The numbers of the last epoch by the names of `columns`; those of a validation part only where it had one."""
        validated = len(self.validation_loss) == len(self.loss)
        columns = (self if validated else History(self.loss, self.scores)).columns()
        return {name: numbers[-1] for name, numbers in columns.items() if numbers}


@dataclass(frozen=True)
class Progress:
    """How far a training is. Callbacks are given one, each time another.

    Attributes
    ----------
    epoch : int
        Whole epochs so far: 0 before the first, and in `on_epoch_end` the number of the epoch that has just ended.
    epochs : int
        How many there will be, unless the training ends early.
    history : History
        What each of them gave; `history.last()` has the numbers of the last by name.
    seconds : float
        Since the training began; of one that goes on from a file, with what it had taken before.
    left : float or None
        The seconds that the other epochs will take, if they are like those so far; None before one has ended.
    estimator : estimator
        Whose `fit` it is: its settings. What it learns it gets at the end; until then `snapshot` has it.
    """

    epoch: int
    epochs: int
    history: History
    seconds: float
    left: float | None
    estimator: Any
    _snapshot: Callable[[], Any] = field(repr=False)
    _stop: Callable[[], None] = field(repr=False)

    def snapshot(self) -> Any:
        """A fitted estimator as the training is now: to predict with, to score or to save. It is a copy.

        To be called inside the callback: afterwards the training has gone on.
        """
        return self._snapshot()

    def stop(self) -> None:
        """End the training after the epoch that runs, or has just ended, as early stopping does."""
        self._stop()
