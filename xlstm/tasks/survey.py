"""The first pass over a y that memory does not hold: what a task learns of parts, of which none is kept."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ..host import HostArray

AnyTask = TypeVar("AnyTask")


class Survey(Generic[AnyTask]):
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
    weight : float
        The sum of their weights.
    """

    def __init__(self, task: AnyTask, is_open: bool) -> None:
        self.task, self.is_open, self.rows, self.weight = task, is_open, 0, 0.0

    def add(self, y: Any, rows: int, own: HostArray) -> None:
        """A further part, the first included: what is wrong with it is an error that names the row.

        Parameters
        ----------
        own
            (rows,) float64, the weights of the rows as the user gave them.
        """
        self.read(y, rows, own)
        self.rows += rows
        self.weight += float(own.sum())

    def read(self, y: Any, rows: int, own: HostArray) -> None:
        """What `add` learns of a part."""
        self.task.read(y, rows)  # type: ignore[attr-defined]

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
