"""Things by name: a file names its estimator and its task, and whoever adds one registers it under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

Entry = TypeVar("Entry", bound=type)


class Registry:
    """Classes of one kind by the names that files have for them.

    Parameters
    ----------
    what
        What they are, for messages: "task".
    modules
        Of some names, the module that registers them: it is imported when the name is first looked for.
    """

    def __init__(self, what: str, modules: Mapping[str, str] | None = None) -> None:
        self.what, self._modules = what, dict(modules or {})
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator: the class gets this name, also as its attribute `kind`."""

        def registered(entry: Entry) -> Entry:
            self._entries[name] = entry
            entry.kind = name  # type: ignore[attr-defined]
            return entry

        return registered

    def find(self, name: object) -> Any:
        """The class of a name that a file holds.

        Raises
        ------
        ValueError
            If there is none: the file was written by a newer version.
        """
        if isinstance(name, str) and name in self._modules:
            import_module(self._modules[name])
        if not isinstance(name, str) or name not in self._entries:
            raise ValueError(
                f"it holds the {self.what} {name!r}, which this version of xlstm does not know (it knows "
                f"{', '.join({**self._modules, **self._entries})}): it was written by a newer xlstm, or is damaged"
            )
        return self._entries[name]


ESTIMATORS = Registry("estimator", {"SequenceClassifier": "xlstm.estimators.classifier"})
"""Each a subclass of `xlstm.estimators.base.SequenceEstimator`."""

TASKS = Registry("task")
"""Each a subclass of `xlstm.tasks.task.Task`."""
