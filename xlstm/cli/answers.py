"""How the answers of each task are told: to people, in JSON, in tables. One class a kind of answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar


class Answers:
    """The answers for some sequences, in their order.

    Attributes
    ----------
    columns : tuple of str
        What a table of answers has for each, beside the sequence itself.
    """

    columns: ClassVar[tuple[str, ...]] = ()

    def texts(self) -> list[str]:
        """Of each, what people read."""
        raise NotImplementedError

    def members(self) -> list[str]:
        """Of each, the members of a JSON object, without its braces."""
        raise NotImplementedError

    def rows(self) -> list[list[tuple[str, ...]]]:
        """Of each, its rows in a table: fields for the `columns`."""
        raise NotImplementedError


class OfClasses(Answers):
    """A class for each sequence, and how probable it is."""

    columns = ("label", "probability")

    def __init__(self, estimator: Any, X: Sequence[Any]) -> None:
        self._names = [str(label) for label in estimator.classes_.tolist()]
        self._found: list[tuple[int, list[float]]] = []  # the best class, and the probability of each
        if len(X):
            probabilities = estimator.predict_proba(X)
            self._found = list(zip(probabilities.argmax(axis=1).tolist(), probabilities.tolist(), strict=True))

    def texts(self) -> list[str]:
        return [f"{self._names[best]}  {row[best]:.3f}" for best, row in self._found]

    def members(self) -> list[str]:
        names = [json.dumps(name) for name in self._names]
        # One form for all rows: %r of a number is what JSON has for it.
        form = ", ".join(f"{name.replace('%', '%%')}: %r" for name in names)
        return [f'"label": {names[best]}, "probabilities": {{{form % tuple(row)}}}' for best, row in self._found]

    def rows(self) -> list[list[tuple[str, ...]]]:
        return [[(self._names[best], f"{row[best]:.6g}")] for best, row in self._found]
