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
        """A decorator: the class gets this name, also as its attribute `kind`.

        Raises
        ------
        ValueError
            If another class has the name: files that name it would be read as something else.
        """

        def registered(entry: Entry) -> Entry:
            if name in self._entries or self._modules.get(name, entry.__module__) != entry.__module__:
                raise ValueError(f"the name {name!r} of {entry.__name__} is that of another {self.what} already.")
            self._entries[name] = entry
            entry.kind = name  # type: ignore[attr-defined]
            return entry

        return registered

    def unregister(self, name: str) -> None:
        """Forget a name, where it is known; for tests, and for a class that is defined once more."""
        self._entries.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """All that there are."""
        return tuple({**self._modules, **self._entries})

    def find(self, name: object) -> Any:
        """The class of a name.

        Raises
        ------
        LookupError
            If there is none.
        """
        if isinstance(name, str) and name in self._modules:
            import_module(self._modules[name])
        if not isinstance(name, str) or name not in self._entries:
            raise LookupError(f"there is no {self.what} {name!r}; there are: {', '.join(self.names)}.")
        return self._entries[name]


ESTIMATORS = Registry(
    "estimator",
    {
        "SequenceClassifier": "xlstm.estimators.classifier",
        "SequenceRegressor": "xlstm.estimators.regressor",
        "SequenceFeatures": "xlstm.estimators.features",
        "SequenceLabeler": "xlstm.estimators.labeler",
    },
)
"""Each a subclass of `xlstm.estimators.base.SequenceEstimator`."""

TASKS = Registry("task")
"""Each a subclass of `xlstm.tasks.task.Task`."""
