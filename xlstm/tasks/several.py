"""Several labels at once, each there or not: a sigmoid and a threshold for each.

The loss is the binary cross-entropy, its mean over the labels; so it is of the size of one label's, however many there
are. With z the logit of a label, p = 1 / (1 + exp(-z)).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import guesses, labelsets
from ..host import HostArray
from ..labels import check_known_of_parts, check_named, from_state, listed, of_all_labels, to_state
from ..losses import logistic_cross_entropy
from ..messages import told
from ..namespace import Array, array_namespace, sigmoid
from ..registry import TASKS
from ..series import Series, Texts
from .survey import Survey
from .task import Task


class SeveralSurvey(Survey):
    """Which labels there are in all parts, and how often each is there."""

    task: SeveralLabels

    def __init__(self, task: SeveralLabels, is_open: bool) -> None:
        super().__init__(task, is_open)
        self._counts, self._own = np.zeros((2, task.outputs)), 0.0  # of each label the rows, and their weights; of all

    def read(self, y: Any, rows: int, own: HostArray) -> HostArray:
        if self.is_open and not self.task.matrix:
            before, (found, _) = self.task.classes, labelsets.lists(y, rows)
            every = before
            if len(found):  # of no label nobody knows of what kind it is
                every = of_all_labels(before, found) if len(before) else found
            if len(every) > len(before):
                counts = np.zeros((2, len(every)))
                counts[:, np.searchsorted(every, before)] = self._counts
                self.task, self._counts = self.task.with_classes(every), counts
        targets = self.task.read(y, rows)
        self._counts += [targets.sum(axis=0), own @ targets]
        self._own += float(own.sum())
        return targets

    def settle(self, whole: bool) -> None:
        self.task.check_counts(self._counts[0], self.rows, whole)
        self.task.balance(self._counts[1], self._own, whole)


@TASKS.register("several_labels")
class SeveralLabels(Task):
    """Targets are an indicator matrix (n, K) int8; answers have the form that the first y had.

    Parameters
    ----------
    classes : (K,)
        The labels, in the order of the outputs.
    matrix : bool
        Whether y is an indicator matrix; else it is for each row a list of its labels.

    Attributes
    ----------
    thresholds : (K,) float64
        A row has a label where the label's probability is above its threshold.
    """

    # The first is what early stopping goes by: thresholds are of no matter to it, and rare labels move it from the
    # first epoch on, while no row may yet be given one.
    score_names = ("log_loss", "f1_micro", "subset_accuracy")
    higher_is_better = False
    settings = ("class_weight",)
    offers: ClassVar[dict[str, str]] = {
        "classes_": "classes",
        "thresholds_": "thresholds",
        "predict_proba": "details",
        "predict_log_proba": "log_probabilities",
        "decision_function": "decision",
    }

    def __init__(self, classes: HostArray, matrix: bool, thresholds: HostArray | None = None) -> None:
        self.classes, self.matrix = classes, matrix
        self.thresholds = np.full(len(classes), 0.5) if thresholds is None else thresholds
        self.class_weight: Any = None
        self._factors: list[list[float]] | None = None  # of each label, where it is not there and where it is

    @classmethod
    def learn(cls, y: Any, rows: int, declared: Any = None) -> tuple[SeveralLabels, HostArray]:
        matrix = labelsets.is_indicator(y)
        known = None if declared is None else labelsets.declared_for(matrix, declared)
        labels, targets = (labelsets.indicator if matrix else labelsets.lists)(y, rows, known)
        return cls(labels, matrix), targets

    def declared(self, classes: Any) -> HostArray:
        return labelsets.declared_for(self.matrix, classes)

    def read(self, y: Any, rows: int) -> HostArray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        if not self.matrix:
            return labelsets.lists(y, rows, self.classes)[1]
        if not (labelsets.are_several(y) and labelsets.is_indicator(y)):
            raise ValueError(
                f"y should be an indicator matrix (n, {self.outputs}) of 0 and 1, as in training: this model gives "
                "several labels."
            )
        return labelsets.indicator(y, rows, self.classes)[1]

    def with_classes(self, classes: HostArray) -> SeveralLabels:
        """The same with other labels, and their thresholds where they begin."""
        other = copy.copy(self)
        other.classes, other.thresholds = classes, np.full(len(classes), 0.5)
        return other

    def survey(self, is_open: bool) -> SeveralSurvey:
        return SeveralSurvey(self, is_open)

    def doubts(self, data: Series | Texts, targets: HostArray, fold_case: bool) -> Iterable[str | None]:
        if not self.outputs:
            return
        sets, numbers = np.unique(targets, axis=0, return_inverse=True)
        numbers = numbers.reshape(-1)
        yield guesses.one_hot_as_several(targets, self.classes) if self.matrix else None
        yield guesses.steps_as_several(data, targets, self.matrix)
        yield guesses.steps_as_rows(data, numbers, len(sets))
        yield guesses.case_that_matters(data, numbers, fold_case)

    def check_enough(self, targets: HostArray, whole: bool) -> None:
        self.check_counts(targets.sum(axis=0), len(targets), whole)

    def check_counts(self, counts: HostArray, rows: int, whole: bool) -> None:
        """`check_enough` of targets of which (K,) rows have each label."""
        if not self.outputs:
            raise ValueError(
                "y holds no label in any row: nothing could be learned."
                if whole
                else "y holds no label in any row: pass all labels that will come as classes=."
            )
        if whole and ((counts == 0) | (counts == rows)).all():
            raise ValueError("every row of y has the same labels: nothing could be learned.")

    def weights(self, targets: HostArray, sample_weight: Any, whole: bool = True) -> HostArray:
        weights = super().weights(targets, sample_weight, whole)
        scaled = weights / (weights.max() or 1)  # sums of large weights could overflow
        self.balance(scaled @ targets, float(scaled.sum()), whole)
        return weights

    def balance(self, there: HostArray, total: float, whole: bool = True) -> None:
        """Take from `class_weight` what the loss of each label is multiplied with, where it is there and where not.

        Over the rows the mean is 1 for each label, so that all labels count alike. Of a part of them it counts as
        given: 1 where a label is not there.

        Parameters
        ----------
        there : (K,)
            The sum of the weights of the rows that have each label.
        total
            Of all rows.
        """
        if self.class_weight is None:
            self._factors = None
            return
        if not whole:
            check_known_of_parts(self.class_weight)
        absent = total - there
        ratio = np.ones(len(self.classes))
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            both = (there > 0) & (absent > 0)
            ratio[both] = absent[both] / there[both]
        elif isinstance(self.class_weight, dict):
            check_named("class_weight", self.class_weight, self.classes, "label")
            here = {label: self.class_weight[label] for label in self.classes.tolist() if label in self.class_weight}
            ratio = np.array([float(value) for value in self._by_label("class_weight", here, ratio)])
            if not (np.isfinite(ratio) & (ratio > 0)).all():
                raise ValueError(f"class_weight must hold finite weights above 0, got {self.class_weight}.")
        else:
            raise ValueError(f"class_weight must be None, 'balanced' or a dict, got {self.class_weight!r}.")
        without = total / (absent + ratio * there) if whole else np.ones(len(self.classes))
        self._factors = [without.tolist(), (ratio * without).tolist()]

    def _by_label(self, name: str, values: Mapping[Any, Any], otherwise: HostArray) -> list[float]:
        """A number for each label, of a dict that has some; ValueError where it names another, or is no number."""
        labels = self.classes.tolist()
        for label, value in values.items():
            if label not in labels:
                raise ValueError(f"{name} names {label!r:.80}, which is no label of y: {listed(self.classes)}.")
            if isinstance(value, str) or not np.isreal(value) or np.ndim(value):
                raise ValueError(f"{name} must hold a number for each label, got {value!r} for {label!r}.")
        return [float(values.get(label, default)) for label, default in zip(labels, otherwise, strict=True)]

    # ------------------------------------------------------------ on the device

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def loss(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        # Labels are the steps of that loss: their mean, and the gradient of it.
        if self._factors is not None:
            weights = weights[:, None] * self._of_each(targets, weights)
        loss, d_outputs = logistic_cross_entropy(outputs[:, :, None], targets, weights)
        return loss, d_outputs[:, :, 0]

    def _of_each(self, targets: Array, like: Array) -> Array:
        """(N, K): the factor of each label of each row."""
        xp = array_namespace(like)
        without, having = (xp.asarray(row, dtype=like.dtype, device=like.device) for row in self._factors or ())
        return xp.where(targets != 0, having[None, :], without[None, :])

    def predicted(self, outputs: Array) -> Array:
        """Whether each row has each label, (N, K) booleans: by the probabilities as they are given."""
        xp = array_namespace(outputs)
        thresholds = xp.asarray(self.thresholds.tolist(), dtype=xp.float64, device=outputs.device)
        return xp.astype(self.details(outputs), xp.float64) > thresholds[None, :]

    def score_sums(self, outputs: Array, targets: Array) -> tuple[Array, ...]:
        xp = array_namespace(outputs)
        found, there = self.predicted(outputs), targets != 0
        loss, _ = self.loss(outputs, targets, xp.ones_like(outputs[:, 0]))

        def count(flags: Array) -> Array:
            return xp.sum(xp.astype(flags, outputs.dtype))

        whole = xp.all(found == there, axis=1)
        return loss * outputs.shape[0], count(found & there), count(found), count(there), count(whole)

    # ------------------------------------------------------------ on the host

    def weighted_score(self, sums: list[float], loss: float) -> float:
        return loss

    def scores(self, sums: list[float], rows: int) -> dict[str, float]:
        loss, both, found, there, whole = sums
        f1 = 2 * both / (found + there) if found + there else 1.0  # nothing there, and nothing found
        return {"log_loss": loss / rows, "f1_micro": f1, "subset_accuracy": whole / rows}

    def score(self, outputs: HostArray, targets: HostArray, weights: HostArray) -> float:
        """As scikit-learn has it, the part of the rows of which every label is right; not the first score."""
        return float(np.average((self.predicted(outputs) == (targets != 0)).all(axis=1), weights=weights))

    def answers(self, outputs: HostArray) -> Any:
        """An indicator matrix (n, K), or a list of the labels of each row."""
        found = self.predicted(outputs)
        if self.matrix:
            return found.astype(np.int64)
        labels = self.classes.tolist()
        return [[label for label, there in zip(labels, row, strict=True) if there] for row in found.tolist()]

    def details(self, outputs: Array) -> Array:
        """The probability of each label, (n, K); they do not sum to 1."""
        return sigmoid(array_namespace(outputs), outputs)

    def log_probabilities(self, outputs: Array) -> Array:
        """The logarithm of the probability of each label, (n, K), also where that is too small for a number."""
        xp = array_namespace(outputs)
        return xp.minimum(outputs, xp.zeros_like(outputs)) - xp.log1p(xp.exp(-xp.abs(outputs)))

    def decision(self, outputs: Array) -> Array:
        """The logits (n, K), above 0 where the probability of a label is above 1/2."""
        return outputs

    # ------------------------------------------------------------ thresholds

    def with_thresholds(self, values: Any) -> SeveralLabels:
        """A copy with other thresholds: one number for all labels, K of them, or a dict of some labels'.

        Raises
        ------
        ValueError
            If one is not above 0 and below 1, if there are not K of them, or a label is unknown.
        """
        if isinstance(values, Mapping):
            values = self._by_label("thresholds", values, self.thresholds)
        try:
            thresholds = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"thresholds must be numbers: {error}.") from None
        if thresholds.ndim == 0:
            thresholds = np.full(self.outputs, float(thresholds))
        if thresholds.shape != (self.outputs,):
            raise ValueError(
                f"thresholds must be one number, or {self.outputs}, one for each label; got {values!r:.80}."
            )
        for label, threshold in zip(self.classes.tolist(), thresholds.tolist(), strict=True):
            if not 0 < threshold < 1:
                raise ValueError(f"the threshold of {label!r} must be above 0 and below 1, got {threshold}.")
        other = copy.copy(self)
        other.thresholds = np.array(thresholds)
        return other

    def tuned(self, outputs: HostArray, targets: HostArray) -> SeveralLabels:
        """A copy with the thresholds that give each label its highest F1 on these rows.

        A threshold stands in the middle between two probabilities; of several as good it is the highest. A label that
        no row has keeps its own.
        """
        probabilities = self.details(outputs).astype(np.float64)
        thresholds = self.thresholds.copy()
        for k in range(self.outputs):
            p, there = probabilities[:, k], targets[:, k] != 0
            if not there.any():
                continue
            order = np.argsort(-p, kind="stable")
            p, right = p[order], np.cumsum(there[order])
            f1 = 2 * right / (np.arange(1, len(p) + 1) + right[-1])  # were the first 1, 2, … rows given the label
            below = np.append(p[1:], 0.0)
            f1[p == below] = -1.0  # no threshold is between two that are alike
            best = int(np.argmax(f1))
            thresholds[k] = np.clip((p[best] + below[best]) / 2, np.finfo(np.float64).tiny, 1 - 2**-53)
        return self.with_thresholds(thresholds)

    # ------------------------------------------------------------ checks, files

    def random_targets(self, n: int, rng: np.random.Generator) -> HostArray:
        return rng.integers(0, 2, (n, self.outputs)).astype(np.int8)

    def state(self) -> dict[str, Any]:
        return {"labels": to_state(self.classes), "matrix": self.matrix, "thresholds": self.thresholds.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SeveralLabels:
        if state.keys() != {"labels", "matrix", "thresholds"}:
            raise ValueError(f"the task has {sorted(state)}, expected labels, matrix and thresholds")
        classes, matrix, thresholds = from_state(state["labels"]), state["matrix"], state["thresholds"]
        if len(classes) < 1 or len(np.unique(classes)) < len(classes):
            raise ValueError("the labels must be one or more, without repetition")
        if type(matrix) is not bool:
            raise ValueError(f"whether y is a matrix is {told(matrix)}, expected true or false")
        if not isinstance(thresholds, list) or any(type(value) is not float for value in thresholds):
            raise ValueError(f"the thresholds are {told(thresholds)}, expected numbers")
        return cls(classes, matrix).with_thresholds(thresholds)
