"""One of some classes. What two classes are computed with, `Binary`, and what more are, `MultiClass`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import backends, batch, guesses, losses
from ..backends import Backend
from ..host import HostArray
from ..labels import classes_of, from_state, known, row_weights, to_state
from ..namespace import Array, array_namespace
from ..registry import TASKS
from ..series import Series, Texts
from .survey import ClassesSurvey
from .task import Task


class Binary:
    """Two classes: one output, the logit of the second."""

    outputs = 1
    loss_name = "logistic"  # as backends know it

    def loss(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        return losses.logistic_cross_entropy(outputs, targets, weights)

    def likeliest(self, outputs: Array) -> Array:
        """The number of the class with the higher logit in each row, (N,)."""
        xp = array_namespace(outputs)
        return xp.astype(outputs[:, 0] > 0, xp.int64)

    def probabilities(self, outputs: Array) -> Array:
        """The probability of each class, (N, 2)."""
        return losses.softmax(self._of_both(outputs))

    def log_probabilities(self, outputs: Array) -> Array:
        """The logarithm of the probability of each class, (N, 2)."""
        return losses.log_softmax(self._of_both(outputs))

    def _of_both(self, outputs: Array) -> Array:
        """A logit for each class, (N, 2)."""
        xp = array_namespace(outputs)
        return xp.concat([xp.zeros_like(outputs), outputs], axis=1)

    def decision(self, outputs: Array) -> Array:
        """(N,), above 0 where the second class is more probable."""
        return outputs[:, 0]


class MultiClass:
    """More classes: an output for each, and a softmax."""

    loss_name = "softmax"

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def loss(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        return losses.softmax_cross_entropy(outputs, targets, weights)

    def likeliest(self, outputs: Array) -> Array:
        """The number of the class with the highest logit in each row, (N,)."""
        return array_namespace(outputs).argmax(outputs, axis=1)

    def probabilities(self, outputs: Array) -> Array:
        """The probability of each class, (N, K)."""
        return losses.softmax(outputs)

    def log_probabilities(self, outputs: Array) -> Array:
        """The logarithm of the probability of each class, (N, K)."""
        return losses.log_softmax(outputs)

    def decision(self, outputs: Array) -> Array:
        """(N, K), the highest where the class is most probable."""
        return outputs


Form = Binary | MultiClass


def predicted(form: Form, outputs: Array) -> Array:
    """The number of the most probable class of each row, (N,): of several that are as probable, the first.

    It is made of the probabilities as they are given. Of logits that are next to each other the probabilities may be
    the same number: what has the higher logit is then `likeliest`, by which epochs count, at less cost.
    """
    probabilities = form.probabilities(outputs)
    return array_namespace(probabilities).argmax(probabilities, axis=1)


def weighted_hits(form: Form, outputs: Array, labels: Array, weights: Array) -> tuple[Array, Array]:
    """Of rows (N,): the sum of the weights of those that are right, and of all; each () float64."""
    xp = array_namespace(outputs)
    weights = xp.astype(weights, xp.float64)
    hits = form.likeliest(outputs) == labels
    return xp.sum(xp.where(hits, weights, xp.zeros_like(weights))), xp.sum(weights)


def share(sums: list[float]) -> float:
    """The weighted share of the rows that are right, of what `weighted_hits` gave; NaN where none has any weight."""
    right, weight = sums
    return right / weight if weight else float("nan")


@TASKS.register("classes")
class Classes(Task):
    """Targets are the numbers of the rows' classes, (n,) integers from 0 on; answers are the labels themselves.

    Parameters
    ----------
    classes : (C,)
        The labels, sorted.

    Attributes
    ----------
    form : Binary or MultiClass
        What is made of the model's outputs.
    """

    score_names = ("accuracy",)
    settings = ("class_weight",)
    offers: ClassVar[dict[str, str]] = {
        "classes_": "classes",
        "predict_proba": "details",
        "predict_log_proba": "log_probabilities",
        "decision_function": "decision",
    }
    anywhere = True

    def __init__(self, classes: HostArray) -> None:
        self.classes = classes
        self.form: Form = Binary() if len(classes) == 2 else MultiClass(len(classes))
        self.class_weight: Any = None

    @classmethod
    def learn(cls, y: Any, rows: int, declared: Any = None) -> tuple[Classes, HostArray]:
        if declared is None:
            classes, numbers = classes_of(y, rows)
            return cls(classes), numbers
        classes, _ = classes_of(declared)
        return cls(classes), known(y, classes, rows)

    def declared(self, classes: Any) -> HostArray:
        return classes_of(classes)[0]

    def read(self, y: Any, rows: int) -> HostArray:
        return known(y, self.classes, rows)

    def doubts(self, data: Series | Texts, targets: HostArray, fold_case: bool) -> Iterable[str | None]:
        yield guesses.steps_as_rows(data, targets, len(self.classes))
        yield guesses.numbers_as_classes(targets, self.classes)
        yield guesses.case_that_matters(data, targets, fold_case)
        yield guesses.tags_as_classes(data, targets, self.classes)

    def with_classes(self, classes: HostArray) -> Classes:
        """One with these classes, sorted, and the same settings."""
        other = type(self)(classes)
        other.follow(self)
        return other

    def check_enough(self, targets: HostArray, whole: bool) -> None:
        self.check_classes(np.unique(targets), whole)

    def check_classes(self, present: HostArray, whole: bool) -> None:
        """`check_enough`, of targets that hold the classes of these numbers."""
        if whole and len(present) == 1:
            raise ValueError(
                f"y holds a single class, {self.classes.tolist()[present[0]]!r}: a classifier needs two or more "
                "(1 class given)."
            )
        if len(self.classes) < 2:
            raise ValueError(
                f"a single class, {self.classes.tolist()[0]!r}: pass all labels that will come as classes=."
            )

    def survey(self, is_open: bool) -> ClassesSurvey:
        return ClassesSurvey(self, is_open)

    def weights(self, targets: HostArray, sample_weight: Any, whole: bool = True) -> HostArray:
        return row_weights(sample_weight, self.class_weight, self.classes, targets, whole)

    def split(self, targets: HostArray, fraction: float, rng: np.random.Generator) -> tuple[HostArray, HostArray]:
        return batch.stratified_split(targets, fraction, rng)

    @property
    def outputs(self) -> int:
        return self.form.outputs

    def loss(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        return self.form.loss(outputs, targets, weights)

    def fast_loss(self, backend: Backend, dtype: str, kernels: str) -> Any:
        kind = type(self)
        if kind.loss is not Classes.loss or kind.score_sums is not Classes.score_sums:
            return None
        if type(self.form) not in (Binary, MultiClass):  # the loss is the form's, and so are the right rows
            return None
        return backends.find_loss(self.form.loss_name, backend, dtype, kernels)

    def score_sums(self, outputs: Array, targets: Array) -> tuple[Array, ...]:
        xp = array_namespace(outputs)
        return (xp.sum(xp.astype(self.form.likeliest(outputs) == targets, outputs.dtype)),)

    def weighted_sums(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, ...]:
        return weighted_hits(self.form, outputs, targets, weights)

    def weighted_score(self, sums: list[float], loss: float) -> float:
        return share(sums)

    def scores(self, sums: list[float], rows: int) -> dict[str, float]:
        return {"accuracy": sums[0] / rows}

    def score(self, outputs: HostArray, targets: HostArray, weights: HostArray) -> float:
        return float(np.average(predicted(self.form, outputs) == targets, weights=weights))

    def answers(self, outputs: Array) -> HostArray:
        numbers = predicted(self.form, outputs)
        home = backends.owner(numbers)
        labels: HostArray = self.classes[numbers if home is None else home.to_host(numbers)]
        return labels

    def details(self, outputs: Array) -> Array:
        """The probability of each class, (n, C)."""
        return self.form.probabilities(outputs)

    def log_probabilities(self, outputs: Array) -> Array:
        """The logarithm of the probability of each class, (n, C), also where that is too small for a number."""
        return self.form.log_probabilities(outputs)

    def decision(self, outputs: Array) -> Array:
        """The logits (n, C), or for two classes (n,), above 0 where the second class is more probable."""
        return self.form.decision(outputs)

    def random_targets(self, n: int, rng: np.random.Generator) -> HostArray:
        return rng.integers(0, len(self.classes), n)

    def state(self) -> dict[str, Any]:
        return {"classes": to_state(self.classes)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Classes:
        if state.keys() != {"classes"}:
            raise ValueError(f"the task has {sorted(state)}, expected the classes")
        classes = from_state(state["classes"])
        if len(classes) < 2 or not (classes[:-1] < classes[1:]).all():
            raise ValueError("the classes must be two or more, sorted")
        return cls(classes)
