"""The first pass over a y that memory does not hold: what a task learns of parts, of which none is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..host import HostArray
from ..labels import class_factors, column, of_all_labels

Task = Any
"""`xlstm.tasks.task.Task`, which imports this file."""


class Survey:
    """Takes y part by part, and makes of the task that learned the first of them the task for all.

    This one is for tasks that learn nothing but the form of y. A task that learns more of it (classes, a scale) gives a
    subclass of its own by `Task.survey`, which overrides `read` and `settle`, and `weights` where rows weigh by what
    their y is.

    Parameters
    ----------
    task
        Follows the estimator's settings already.
    is_open
        Whether parts may hold what the task does not know yet, such as a class. If not, that is an error.

    Attributes
    ----------
    rows : int
        How many there were so far.
    terms : int
        Of how many terms their loss is made.
    weight : float
        The sum of the weights of these.
    """

    def __init__(self, task: Task, is_open: bool) -> None:
        self.task, self.is_open = task, is_open
        self.rows, self.terms, self.weight = 0, 0, 0.0

    def add(self, y: Any, lengths: HostArray, own: HostArray) -> None:
        """A further part, the first included: what is wrong with it is an error that names the row.

        Parameters
        ----------
        y
            As the user gave it, for sequences of these lengths (n,).
        own
            (n,) float64, the weights of the rows as the user gave them.
        """
        rows = len(lengths)
        targets = self.read(y, rows, own)
        self.task.check_lengths(targets, lengths)
        terms = self.task.terms(targets)
        self.rows += rows
        self.terms += rows if terms is None else int(terms.sum())
        self.weight += float((own if terms is None else own * terms).sum())

    def read(self, y: Any, rows: int, own: HostArray) -> Any:
        """The targets of a part, of which `add` learns what it needs."""
        return self.task.read(y, rows)

    def settle(self, whole: bool) -> None:
        """After the last part: `task` becomes the one for all, `weight` the sum of what `weights` will give.

        Raises
        ------
        ValueError
            If nothing can be learned of them: see `Task.check_enough`.
        """

    def weights(self, targets: Any, own: HostArray) -> HostArray:
        """(n,): the weights of some rows when all is settled, not yet of mean 1: their own, and those of their y."""
        return own


class ClassesSurvey(Survey):
    """Which classes there are in all parts, and how much of each. The task has `classes` and `with_classes`."""

    def __init__(self, task: Task, is_open: bool) -> None:
        super().__init__(task, is_open)
        self._counts = np.zeros((2, len(task.classes)))  # of each class the labels, and their weights

    def labels(self, y: Any, rows: int) -> HostArray:
        """The labels of a part, checked."""
        return column(y, rows)

    def counted(self, targets: Any, own: HostArray) -> tuple[HostArray, HostArray]:
        """The number of the class of each label, and its weight."""
        return targets, own

    def read(self, y: Any, rows: int, own: HostArray) -> Any:
        if self.is_open:
            before = self.task.classes
            classes = of_all_labels(before, self.labels(y, rows))
            if len(classes) > len(before):
                counts = np.zeros((2, len(classes)))
                counts[:, np.searchsorted(classes, before)] = self._counts
                self.task, self._counts = self.task.with_classes(classes), counts
        targets, C = self.task.read(y, rows), len(self.task.classes)
        numbers, weights = self.counted(targets, own)
        self._counts += [np.bincount(numbers, minlength=C), np.bincount(numbers, weights=weights, minlength=C)]
        return targets

    def settle(self, whole: bool) -> None:
        self.task.check_classes(np.flatnonzero(self._counts[0]), whole)
        self.factors = np.ones(len(self.task.classes))
        if self.task.class_weight is not None:
            self.factors = class_factors(self.task.class_weight, self.task.classes, self._counts[1], whole)
        self.weight = float(self._counts[1] @ self.factors)

    def weights(self, targets: Any, own: HostArray) -> HostArray:
        weighted: HostArray = own * self.factors[targets]
        return weighted
