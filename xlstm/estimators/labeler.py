"""The labeler that users type: a class at every step of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..host import HostArray
from ..namespace import Array
from ..registry import ESTIMATORS
from ..tasks import StepClasses, Task
from .constraints import ClassWeight, Constraint, Label, OneOf
from .declared import LabelEstimator
from .going_on import another_model


@ESTIMATORS.register("SequenceLabeler")
@dataclass(eq=False, repr=False)
class SequenceLabeler(LabelEstimator):
    """A recurrent network that answers at every step of a sequence: many-to-many.

    X is as for `SequenceClassifier`. y holds a label for each step: a list with the labels of each sequence, each a
    list, an array (time,) or a string of which every character is a label; or an array (n, time). All answers come in
    that form too, a list with an array for each sequence.

    A step's answer is made of the steps up to it, and with `bidirectional=True` of those after it as well. Two classes
    have one logit, more have a softmax; the loss is the mean of the cross-entropies of all steps whose labels count,
    over the sequences of a batch, and scores are means over the steps in the same way.

    Parameters
    ----------
    ignore : str, number or None
        A label that does not count, such as -100: it is in no loss and in no score, is no class and never an answer.
    class_weight : dict, "balanced" or None
        A weight for each class; "balanced" makes them inverse to their frequency among the steps.

    The others are those of `SequenceClassifier`, but for its `readout`: there is one here for each step. And since a
    character of a string has an answer of its own, `fold_case` and `normalize` are of each character by itself, which
    stays one step: ß is then a letter of its own, and e with an accent behind it two. A string that `normalize` would
    make longer or shorter is told by an `xlstm.AmbiguousDataWarning`.

    Attributes
    ----------
    classes_ : (K,)
        The labels, sorted.
    accuracy_curve_, validation_scores_ : list of float
        Of each epoch, the fraction of the steps whose answer is right.

    The others are those of `SequenceClassifier`.

    Examples
    --------
    >>> import xlstm
    >>> X = ["aab", "ba", "abab", "bbba", "b", "aa", "abba", "baab"]
    >>> y = ["-" + text[:-1] for text in X]  # at each step, the letter before
    >>> labeler = xlstm.SequenceLabeler(hidden_size=8, max_iter=60, learning_rate_init=0.05, random_state=0)
    >>> [row.tolist() for row in labeler.fit(X, y).predict(["bbabaa", "ab"])]
    [['-', 'b', 'b', 'a', 'b', 'a'], ['-', 'a']]
    """

    tasks = (StepClasses,)
    readout: ClassVar[str] = "steps"  # type: ignore[misc]  # no setting: it says what the estimator is
    constraints: ClassVar[dict[str, Constraint]] = {
        **LabelEstimator.constraints,
        "readout": OneOf(("steps",)),
        "ignore": Label(),
        "class_weight": ClassWeight(),
    }

    class_weight: Any = None
    ignore: Any = None

    def _learn(self, y: Any, rows: int, declared: Any) -> tuple[Task, Any]:
        """See the base."""
        return StepClasses.learn(y, rows, declared, self.plain_setting("ignore"))

    def _check_same_model(self, fitted: Any) -> None:
        """See the base: a model's answers are of one kind for ever."""
        if self.ignore != fitted.task.ignore:
            raise another_model("ignore", self.ignore, repr(fitted.task.ignore))
        super()._check_same_model(fitted)

    def attributes_of(self, fitted: Any) -> dict[str, Any]:
        """See the base."""
        return {**super().attributes_of(fitted), "classes_": fitted.task.classes}

    def predict(self, X: Any) -> list[HostArray]:
        """Of each sequence the most probable label at each step, (time,). On a GPU if y was, and X is."""
        labels: list[HostArray] = super().predict(X)
        return labels

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The fraction of the steps whose answer is right, of those whose label counts.

        Parameters
        ----------
        X, y
            As for `fit`.
        sample_weight
            (n,) weights of the sequences: each of their steps has it.

        Raises
        ------
        ValueError
            If y is not like that of the training, a label not one of `classes_`: the row and the step are named. If
            the labels of a sequence are not as many as its steps. If no label counts.
        """
        return super().score(X, y, sample_weight)

    def decision_function(self, X: Any) -> list[Array]:
        """Of each sequence its logits: (time, K), or for two classes (time,), above 0 where the second is likelier."""
        return self._made("decision_function", X)

    def predict_proba(self, X: Any) -> list[Array]:
        """Of each sequence the probability of each class at each step, (time, K), in the order of `classes_`."""
        return self._made("predict_proba", X)

    def predict_log_proba(self, X: Any) -> list[Array]:
        """Its logarithm, (time, K), also where the probability is too small for a number: computed from the logits."""
        return self._made("predict_log_proba", X)

    def _made(self, name: str, X: Any) -> list[Array]:
        """What the task makes of the outputs for X under this name, where X lies."""
        made: list[Array] = super()._made(name, X)
        return made
