"""How the answers of each kind are told: to people, in JSON, in tables. One class a kind."""

from __future__ import annotations

import json
from typing import Any


class Answers:
    """The answers of a model for sequences X, none or more, in their order.

    Attributes
    ----------
    columns : tuple of str
        What a table of answers has for each, beside the sequence itself.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        raise NotImplementedError

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

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        self._names = [str(label) for label in model.classes_.tolist()]
        self._found: list[tuple[int, list[float]]] = []  # the best class, and the probability of each
        if len(X):
            probabilities = model.predict_proba(X)
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


class OfNumbers(Answers):
    """A number for each sequence, or several."""

    columns: tuple[str, ...] = ("value",)

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        found = model.predict(X) if len(X) else None
        self._take(() if found is None else found.reshape(len(found), -1))
        self._several = found is not None and found.ndim == 2
        outputs = model.fitted_state().task.outputs
        if outputs > 1:
            self.columns = tuple(f"value_{k}" for k in range(1, outputs + 1))

    def _take(self, rows: Any) -> None:
        """(n, K) numbers, or none."""
        self._found: list[list[float]] = [row.tolist() for row in rows]
        # The fewest digits that stand for the same number in the model's own precision.
        self._written = [tuple([str(value) for value in row]) for row in rows]

    def texts(self) -> list[str]:
        return ["  ".join(row) for row in self._written]

    def members(self) -> list[str]:
        if self._several:
            return [f'"values": [{", ".join(map(repr, row))}]' for row in self._found]
        return [f'"value": {row[0]!r}' for row in self._found]

    def rows(self) -> list[list[tuple[str, ...]]]:
        return [[row] for row in self._written]


class OfSteps(Answers):
    """A class at each step, and how probable it is; in a table a row for each step."""

    columns = ("step", "label", "probability")

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        names = [str(label) for label in model.classes_.tolist()]
        self._found: list[tuple[list[str], list[float]]] = []
        for probabilities in model.predict_proba(X) if len(X) else ():
            labels = [names[best] for best in probabilities.argmax(axis=1).tolist()]
            self._found.append((labels, probabilities.max(axis=1).tolist()))

    def texts(self) -> list[str]:
        return [" ".join(labels) for labels, _ in self._found]

    def members(self) -> list[str]:
        return [
            f'"labels": {json.dumps(labels)}, "probabilities": [{", ".join(map(repr, probabilities))}]'
            for labels, probabilities in self._found
        ]

    def rows(self) -> list[list[tuple[str, ...]]]:
        return [
            [(str(step), label, f"{p:.6g}") for step, (label, p) in enumerate(zip(*row, strict=True), start=1)]
            for row in self._found
        ]


class OfLabels(Answers):
    """The labels that each sequence has, none or more."""

    columns = ("label",)

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        self._separator = separator
        self._names = [str(label) for label in model.classes_.tolist()]
        self._found: list[tuple[list[str], list[float]]] = []
        if len(X):
            probabilities = model.predict_proba(X)
            there = probabilities > model.thresholds_
            labels = [[self._names[k] for k, one in enumerate(row) if one] for row in there.tolist()]
            self._found = list(zip(labels, probabilities.tolist(), strict=True))

    def texts(self) -> list[str]:
        return [self._separator.join(labels) or "(none)" for labels, _ in self._found]

    def members(self) -> list[str]:
        names = [json.dumps(name) for name in self._names]
        form = ", ".join(f"{name.replace('%', '%%')}: %r" for name in names)
        return [
            f'"labels": {json.dumps(labels)}, "probabilities": {{{form % tuple(row)}}}' for labels, row in self._found
        ]

    def rows(self) -> list[list[tuple[str, ...]]]:
        return [[(self._separator.join(labels),)] for labels, _ in self._found]


class OfFeatures(OfNumbers):
    """What the head of a model sees of each sequence: numbers, with the names that scikit-learn has for them."""

    def __init__(self, model: Any, X: Any, separator: str) -> None:
        self.columns = tuple(model.get_feature_names_out().tolist())
        self._take(model.transform(X) if len(X) else ())

    def members(self) -> list[str]:
        return [f'"features": [{", ".join(map(repr, row))}]' for row in self._found]
