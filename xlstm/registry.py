"""Things by name: a file names its estimator and its task, and whoever adds one registers it under its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by the names that files have for them.

    Parameters
    ----------
    what
        What they are, for messages: "task".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """A decorator: the class gets this name, also as its attribute `kind`."""

        def registered(entry: type[T]) -> type[T]:
            self._entries[name] = entry
            entry.kind = name  # type: ignore[attr-defined]
            return entry

        return registered

    def find(self, name: object) -> type[T]:
        """The class of a name that a file holds.

        Raises
        ------
        ValueError
            If there is none: the file was written by a newer version.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise ValueError(
                f"it holds the {self.what} {name!r}, which this version of xlstm does not know "
                f"(it knows {', '.join(self._entries)}): it was written by a newer xlstm, or is damaged"
            )
        return self._entries[name]


ESTIMATORS: Registry[Any] = Registry("estimator")
"""Each a subclass of `xlstm.estimators.base.SequenceEstimator`."""

TASKS: Registry[Any] = Registry("task")
"""Each a subclass of `xlstm.tasks.task.Task`."""
