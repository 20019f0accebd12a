"""The transformer that users type: what the head of a trained network sees of a sequence, as a row of numbers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..fitted import Fitted
from ..host import HostArray, on_host
from ..registry import ESTIMATORS
from ..tasks import Numbers, Task
from .base import SequenceEstimator
from .classifier import SequenceClassifier
from .constraints import ClassWeight, Constraint, OneOf
from .declared import LabelEstimator
from .going_on import another_model
from .manners import Framed
from .regressor import NUMBERS_CONSTRAINTS, SequenceRegressor, check_same_loss

Self = TypeVar("Self", bound="SequenceFeatures")

TASKS = ("auto", "classes", "numbers")


@ESTIMATORS.register("SequenceFeatures")
@dataclass(eq=False, repr=False)
class SequenceFeatures(Framed, LabelEstimator):
    """Sequences to rows of numbers: a network is trained with y, and what its last layer of answers reads is handed on.

    `transform` gives (n, F): the numbers of the readout, without dropout. For the readout "final" these are the hidden
    units of each direction, for "final+max" as many for each of the two, side by side. Whatever learns from tables may
    go on from there: a pipeline of this and a boosted tree, say, or a nearest neighbour. A trained estimator gives its
    features by `SequenceFeatures.of`.

    It trains as `SequenceClassifier` or as `SequenceRegressor`, and `predict` and `score` are what theirs would be.

    Parameters
    ----------
    task : {"auto", "classes", "numbers"}
        What y is. "auto": where any has a fraction they are numbers, and so is an array (n, K) that is no indicator
        matrix; anything else is classes, whole numbers too, and whatever comes with `classes`. Of batches the first
        one decides.
    class_weight
        As for `SequenceClassifier`; of no effect on numbers.
    loss, huber_delta, quantile
        As for `SequenceRegressor`; of no effect on classes.
    **others
        All other settings are those of `SequenceClassifier`.

    Attributes
    ----------
    classes_ : (K,)
        The labels, sorted, where y is classes.
    n_iter_, loss_curve_, n_features_in_, device_, kernels_, …
        As for the estimator that it trains as.

    Examples
    --------
    >>> import xlstm
    >>> X, y = ["aab", "ba", "abab", "bbba", "b", "aa"], ["b", "a", "b", "a", "b", "a"]  # the last letter
    >>> features = xlstm.SequenceFeatures(hidden_size=8, max_iter=20, random_state=0)
    >>> features.fit_transform(X, y).shape
    (6, 16)
    """

    tasks = (*SequenceClassifier.tasks, *SequenceRegressor.tasks)
    constraints: ClassVar[dict[str, Constraint]] = {
        **SequenceEstimator.constraints,
        **NUMBERS_CONSTRAINTS,
        "task": OneOf(TASKS),
        "class_weight": ClassWeight(),
    }

    task: str = "auto"
    class_weight: Any = None
    loss: str = "squared"
    huber_delta: float = 1.0
    quantile: Any = 0.5

    @classmethod
    def of(cls: type[Self], estimator: Any) -> Self:
        """The features of a fitted classifier or regressor, without a training.

        Parameters
        ----------
        estimator
            A fitted `SequenceClassifier` or `SequenceRegressor`. What it has learned is copied: neither changes the
            other.

        Returns
        -------
        SequenceFeatures
            With the settings of the estimator, where it has them too.

        Raises
        ------
        ValueError
            If the estimator is not fitted.
        TypeError
            If it is none of these two.
        """
        fitted = estimator.fitted_state() if isinstance(estimator, SequenceEstimator) else None
        if fitted is None or not isinstance(fitted.task, cls.tasks):
            raise TypeError(
                "features are those of a fitted SequenceClassifier or SequenceRegressor, got "
                f"{type(estimator).__name__}."
            )
        own = cls().get_params()
        features = cls(**{name: value for name, value in estimator.get_params().items() if name in own})
        features.task = _kind(fitted.task)
        fitted = copy.deepcopy(fitted)
        fitted.owner = cls.__name__
        features.take_over(fitted)
        return features

    def transform(self, X: Any) -> Any:
        """What the head sees of each sequence, (n, F), in the dtype of the model, where X lies; or see `set_output`.

        Raises
        ------
        ValueError, TypeError
            If X is not like what was trained on.
        """
        fitted, reading = self.fitted_state(), self.reading()
        return self._contained(self._for_each_batch(lambda X: fitted.features(X, reading), X), X)

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> Any:
        """`fit(X, y, …)`, and then `transform(X)`."""
        return self.fit(X, y, **options).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> HostArray:
        """The names of what `transform` gives, (F,): "sequencefeatures0" and so on.

        Parameters
        ----------
        input_features
            As scikit-learn's pipelines hand them on; no name is made of them, for nothing comes of a single one.

        Raises
        ------
        ValueError
            If they are not as many as the features of X, or not those that it was trained on.
        """
        columns, names = getattr(self, "n_features_in_", 0), getattr(self, "feature_names_in_", None)
        if input_features is not None and len(input_features) != columns:
            raise ValueError(
                f"input_features should have length equal to number of features ({columns}), got {len(input_features)}."
            )
        if input_features is not None and names is not None and list(input_features) != list(names):
            raise ValueError(f"input_features is not equal to feature_names_in_, which are {list(names)}.")
        width = self.fitted_state().model.width
        return np.array([f"{type(self).__name__.lower()}{k}" for k in range(width)], dtype=object)

    def attributes_of(self, fitted: Any) -> dict[str, Any]:
        """See the base."""
        classes = getattr(fitted.task, "classes", None)
        return {**super().attributes_of(fitted), **({} if classes is None else {"classes_": classes})}

    def _learn(self, y: Any, rows: int, declared: Any) -> tuple[Task, Any]:
        """See the base."""
        # Where classes are declared, y is to be such: what is wrong with it is said then.
        numbers = declared is None and are_numbers(y) if self.task == "auto" else self.task == "numbers"
        of: SequenceEstimator = SequenceRegressor() if numbers else SequenceClassifier()
        return of._learn(y, rows, declared)

    def _check_same_model(self, fitted: Fitted) -> None:
        super()._check_same_model(fitted)
        learned = _kind(fitted.task)
        if self.task not in ("auto", learned):
            raise another_model("task", self.task, f"learned {learned}")
        if learned == "numbers":
            check_same_loss(self, fitted.task)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=[])  # float64 in, float32 out
        tags.target_tags.multi_output = True
        return tags


def _kind(task: Task) -> str:
    return "numbers" if isinstance(task, Numbers) else "classes"


def are_numbers(y: Any) -> bool:
    """Whether a y is one of numbers rather than of classes: what is wrong with it is not said here."""
    if y is None:
        return False
    try:
        values = np.array(y) if isinstance(y, (list, tuple)) else on_host("y", y)
        values = values.astype(np.float64) if values.dtype.kind == "O" else values
    except (TypeError, ValueError):
        return False
    if values.dtype.kind not in "iuf" or not values.size:
        return False
    whole = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
    several = values.ndim == 2 and values.shape[1] > 1 and not np.isin(values, (0, 1)).all()
    return not whole or (several and not isinstance(y, (list, tuple)))  # lists of whole numbers are labels
