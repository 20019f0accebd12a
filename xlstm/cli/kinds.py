"""The kinds of answers that the command line knows, each in one place: its estimator, its labels, its scores.

To add one: a subclass of `Kind` here, its name in `KINDS`, and in `answers.py` how its answers are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..estimators.features import SequenceFeatures
from ..readers import fields
from ..registry import ESTIMATORS
from ..sources import Batches
from ..tables import counted
from . import tags
from .answers import Answers, OfClasses, OfFeatures, OfLabels, OfNumbers, OfSteps
from .common import Failure

Where = Callable[[int], str]
"""How messages call a sequence, by its place."""


class Kind:
    """A kind of answer.

    Attributes
    ----------
    name : str
        What `--task` calls it.
    estimator : str
        Its estimator, by the name that files have for it.
    of_task : str
        Its task, in the same way.
    answers : type of Answers
        How its answers are told.
    empty : bool
        Whether an empty field is a label like others.
    settings : tuple of str
        Flags of settings that it has and not all have.
    """

    name: ClassVar[str]
    estimator: ClassVar[str]
    of_task: ClassVar[str]
    answers: ClassVar[type[Answers]]
    empty: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()

    def new(self, **settings: Any) -> Any:
        """An estimator with these settings."""
        return ESTIMATORS.find(self.estimator)(**settings)

    def wrong(self, label: str, text: str, split: str) -> str | None:
        """What is wrong with the label of a text in a table; None where nothing is."""
        return None

    def of_fields(self, labels: Sequence[str], split: str, separator: str) -> Any:
        """y, from the labels of texts in a table that have nothing wrong."""
        return list(labels)

    def of_data(self, y: Any, separator: str, where: Where) -> Any:
        """y, from what a reader gave.

        Raises
        ------
        Failure
            If it is of another kind: the sequence is named.
        """
        raise NotImplementedError

    def check_known(self, y: Any, model: Any, where: Where) -> None:
        """Raise a Failure where a label of y is none that the model knows."""
        known = self.known(model)
        assert known is not None
        names = set(known)
        for k, label in enumerate(y):
            for one in self.classes_in(label):
                if one not in names:
                    raise Failure(f"{where(k)} has the label {one!r}, which the model does not know: {_some(names)}")

    def known(self, model: Any) -> list[str] | None:
        """The labels that may stand in what a model is measured on; None where any may."""
        return [str(label) for label in model.classes_.tolist()]

    def classes_in(self, label: Any) -> Sequence[str]:
        """The classes in what y holds of one sequence."""
        return [label]

    def as_learned(self, y: Any, model: Any) -> Any:
        """y as the model itself takes it, whose labels may be numbers: what files have of them is written."""
        names = self.known(model)
        if names is None:
            return y
        labels = dict(zip(names, [*model.classes_.tolist(), getattr(model, "ignore", None)], strict=False))
        return [labels[label] if isinstance(label, str) else [labels[one] for one in label] for label in y]

    def strata(self, y: Any) -> Any:
        """(n,) By what the rows are held out in proportion; None where by chance alone."""
        return None

    def scores(self, model: Any, X: Any, y: Any) -> dict[str, Any]:
        """The scores of a model on these sequences, by their names, the most telling first."""
        raise NotImplementedError

    def told(self, scores: dict[str, Any]) -> str:
        """The first of them, in words."""
        raise NotImplementedError

    def details(self, scores: dict[str, Any]) -> list[str]:
        """The others, in lines."""
        return []


class Classes(Kind):
    """One of some classes."""

    name = "classes"
    estimator = "SequenceClassifier"
    of_task = "classes"
    answers = OfClasses
    settings = ("class_weight", "readout")

    def of_data(self, y: Any, separator: str, where: Where) -> Any:
        return [str(label) for label in _one_each(y, where, "classes")]

    def strata(self, y: Any) -> Any:
        return y

    def scores(self, model: Any, X: Any, y: Any) -> dict[str, Any]:
        return of_classes(y, model.predict(X))

    def told(self, scores: dict[str, Any]) -> str:
        return f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}"

    def details(self, scores: dict[str, Any]) -> list[str]:
        return [f"{label}: {recall:.4f} right" for label, recall in scores["recall"].items()]


class Number(Kind):
    """A number, or several."""

    name = "number"
    estimator = "SequenceRegressor"
    of_task = "numbers"
    answers = OfNumbers
    settings = ("loss", "readout")

    def wrong(self, label: str, text: str, split: str) -> str | None:
        return None if _is_number(label) else f"has the label {label!r:.60}, which is no number"

    def of_fields(self, labels: Sequence[str], split: str, separator: str) -> Any:
        return np.array([float(label) for label in labels])

    def of_data(self, y: Any, separator: str, where: Where) -> Any:
        array = y if isinstance(y, np.ndarray) else None
        if array is not None and array.dtype.kind in "biuf" and array.ndim in (1, 2):
            return array.astype(np.float64)
        labels = _one_each(y, where, "number")
        for k, label in enumerate(labels):
            if not _is_number(str(label)):
                raise Failure(f"{where(k)} has the label {label!r:.60}, which is no number: leave --task number out")
        return np.array([float(label) for label in labels])

    def check_known(self, y: Any, model: Any, where: Where) -> None:
        pass

    def known(self, model: Any) -> list[str] | None:
        return None

    def scores(self, model: Any, X: Any, y: Any) -> dict[str, Any]:
        errors = model.errors(X) if isinstance(X, Batches) else model.errors(X, y)  # of which each has its own y
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in errors.items()}

    def told(self, scores: dict[str, Any]) -> str:
        names = {"r2": "R²", "d2": "D²", "mae": "mean absolute error", "rmse": "root mean squared error"}
        return ", ".join(
            f"{names.get(name, name.replace('_', ' '))} {value:.4g}"
            for name, value in scores.items()
            if isinstance(value, float)
        )


class Steps(Kind):
    """A class at every step."""

    name = "steps"
    estimator = "SequenceLabeler"
    of_task = "step_classes"
    answers = OfSteps
    settings = ("class_weight", "ignore")

    def wrong(self, label: str, text: str, split: str) -> str | None:
        return tags.mismatch(label, text, split)

    def of_fields(self, labels: Sequence[str], split: str, separator: str) -> Any:
        return [list(tags.cut(label, split)) for label in labels]

    def of_data(self, y: Any, separator: str, where: Where) -> Any:
        if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind != "O":
            raise Failure(
                f"{where(0)} has one label, {y.tolist()[0]!r:.60}: --task steps needs a list of them, one for each "
                "step; for one class of each sequence leave --task steps out"
            )
        return [list(map(str, np.asarray(row).tolist())) for row in y]

    def classes_in(self, label: Any) -> Sequence[str]:
        return list(label)

    def known(self, model: Any) -> list[str] | None:
        return [str(label) for label in model.classes_.tolist()] + _ignored(model)

    def scores(self, model: Any, X: Any, y: Any) -> dict[str, Any]:
        ignored = _ignored(model)
        predicted = [str(label) for row in model.predict(X) for label in row.tolist()]
        truth = [label for row in y for label in row]
        counted_too = [(a, b) for a, b in zip(truth, predicted, strict=True) if a not in ignored]
        if not counted_too:
            raise Failure(f"no label counts: all of them are {model.ignore!r}")
        return of_classes(*zip(*counted_too, strict=True)) | {"n_steps": len(counted_too)}

    def told(self, scores: dict[str, Any]) -> str:
        return f"{Classes().told(scores)}, over {counted(scores['n_steps'], 'step')}"

    def details(self, scores: dict[str, Any]) -> list[str]:
        return Classes().details(scores)


class Labels(Kind):
    """Several labels at once, or none."""

    name = "labels"
    estimator = "SequenceClassifier"
    of_task = "several_labels"
    answers = OfLabels
    empty = True
    settings = ("class_weight", "readout", "separator")

    def of_fields(self, labels: Sequence[str], split: str, separator: str) -> Any:
        return [fields.several(label, separator) for label in labels]

    def of_data(self, y: Any, separator: str, where: Where) -> Any:
        if isinstance(y, np.ndarray) and y.ndim == 2:
            return y  # an indicator matrix
        return [
            fields.several(str(label), separator) if np.ndim(label) == 0 else list(map(str, np.asarray(label).tolist()))
            for label in y
        ]

    def classes_in(self, label: Any) -> Sequence[str]:
        return label if isinstance(label, list) else []

    def as_learned(self, y: Any, model: Any) -> Any:
        found = _indicator(y, [str(label) for label in model.classes_.tolist()])
        whole = model.fitted_state().task.matrix
        return found.astype(np.int64) if whole else [model.classes_[row].tolist() for row in found]

    def scores(self, model: Any, X: Any, y: Any) -> dict[str, Any]:
        predicted, names = model.predict(X), [str(label) for label in model.classes_.tolist()]
        truth, found = _indicator(y, names), _indicator(predicted, names)
        both, either = (truth & found).sum(axis=0), truth.sum(axis=0) + found.sum(axis=0)
        f1 = np.where(either == 0, 1.0, 2 * both / np.maximum(either, 1))
        return {
            "f1_micro": float(2 * both.sum() / either.sum()) if either.sum() else 1.0,
            "f1_macro": float(f1.mean()),
            "subset_accuracy": float((truth == found).all(axis=1).mean()),
            "f1": dict(zip(names, f1.tolist(), strict=True)),
        }

    def told(self, scores: dict[str, Any]) -> str:
        return (
            f"F1 {scores['f1_micro']:.4f} of all labels, {scores['f1_macro']:.4f} the mean over them; all labels right "
            f"of {scores['subset_accuracy']:.4f}"
        )

    def details(self, scores: dict[str, Any]) -> list[str]:
        return [f"{label}: F1 {f1:.4f}" for label, f1 in scores["f1"].items()]


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Classes(), Number(), Steps(), Labels())}
"""By the names that --task has for them."""


def of_model(model: Any) -> Kind:
    """The kind of a trained model's answers.

    Raises
    ------
    Failure
        If the command line has none for its task; if it gives features, not answers.
    """
    if isinstance(model, SequenceFeatures):
        raise Failure("the model makes features of sequences, which predict writes: it gives no answers to be measured")
    task = model.fitted_state().task.kind
    for kind in KINDS.values():
        if kind.of_task == task:
            return kind
    raise Failure(f"the command line does not know answers of the kind {task!r}: use Python")


def answers_of(model: Any) -> type[Answers]:
    """How what a trained model gives is told: the answers of its kind, or the features that it makes.

    Raises
    ------
    Failure
        As `of_model`.
    """
    return OfFeatures if isinstance(model, SequenceFeatures) else of_model(model).answers


def by_default(labels: Any, name: str) -> Kind:
    """The kind where none was asked for: classes.

    Raises
    ------
    Failure
        If the labels seem to be of another kind: which flag says which.
    """
    if isinstance(labels, list) and labels and not isinstance(labels[0], str):
        raise Failure(
            f"{name} has several labels for a sequence: say --task steps if each is of a step, --task labels if all "
            "are of the whole"
        )
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        raise Failure(
            f"{name} has {labels.shape[1]} columns of labels: say --task number, or --task labels where 1 says that a "
            "sequence has one"
        )
    if all(_is_number(str(value)) for value in values):
        broken = next((value for value in values if not float(value).is_integer()), None)
        if broken is not None:
            raise Failure(
                f"the labels of {name} are numbers with fractions, {broken} among them: say --task number to have them "
                "predicted, or --task classes to take each for a class of its own"
            )
    return KINDS["classes"]


def of_classes(truth: Sequence[str], predicted: Sequence[Any]) -> dict[str, Any]:
    """Accuracy, its mean over the classes (balanced accuracy), and the part of each class that is right."""
    right = np.array([str(a) == str(b) for a, b in zip(truth, predicted, strict=True)])
    labels = np.array(truth)
    recall = {str(label): float(right[labels == label].mean()) for label in np.unique(labels)}
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(list(recall.values()))),
        "recall": recall,
    }


def _one_each(y: Any, where: Where, task: str) -> list[Any]:
    """The labels of a y that has one for each sequence."""
    labels = y.tolist() if isinstance(y, np.ndarray) else list(y)
    for k, label in enumerate(labels):
        if not isinstance(label, (str, int, float, bool)):
            raise Failure(f"{where(k)} has several labels: --task {task} needs one for each sequence")
    return labels


def _ignored(model: Any) -> list[str]:
    """The label that does not count, as files have it; none where all count, one that is called None too."""
    return [] if model.ignore is None else [str(model.ignore)]


def _indicator(y: Any, names: list[str]) -> Any:
    """(n, K) booleans: which of the labels each sequence has."""
    if isinstance(y, np.ndarray) and y.ndim == 2:
        if y.shape[1] != len(names):
            raise Failure(
                f"there are {y.shape[1]} columns of labels, but the model has {len(names)}: {_some({*names})}"
            )
        return y != 0
    places = {name: k for k, name in enumerate(names)}
    found = np.zeros((len(y), len(names)), dtype=bool)
    for row, labels in enumerate(y):
        found[row, [places[str(label)] for label in labels]] = True
    return found


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label)) and "_" not in label
    except ValueError:
        return False


def _some(names: set[str], shown: int = 10) -> str:
    return ", ".join(sorted(names)[:shown]) + (", ..." if len(names) > shown else "")
