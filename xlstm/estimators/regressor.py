"""The regressor that users type: one or several numbers for a sequence. Half of this file is its public docstring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import batchwise, sources
from ..fitted import Fitted
from ..registry import ESTIMATORS
from ..tasks import Numbers
from ..tasks.numbers import LOSSES
from .base import SequenceEstimator
from .constraints import Constraint, Levels, Number, OneOf
from .going_on import another_model

NUMBERS_CONSTRAINTS: dict[str, Constraint] = {
    "loss": OneOf(LOSSES),
    "huber_delta": Number(0, float("inf"), "()"),
    "quantile": Levels(),
}
"""What the settings of the task of numbers may be."""


def check_same_loss(estimator: SequenceEstimator, task: Any) -> None:
    """Raise where the settings ask for another loss than the task to go on with."""
    for name, before in task.followed.items():
        if estimator.plain_setting(name) != before:
            raise another_model(name, getattr(estimator, name), repr(before))


@ESTIMATORS.register("SequenceRegressor")
@dataclass(eq=False, repr=False)
class SequenceRegressor(SequenceEstimator):
    """A recurrent network that reads a whole sequence and answers with a number, or with several.

    X is as for `SequenceClassifier`. y is (n,), or (n, K) for K numbers of each sequence; `predict` gives the same
    form, float32 where y was, else float64. Each column of y is brought to mean 0 and standard deviation 1, as measured
    on the training part, and answers are brought back to its unit: what y is measured in does not matter. With
    `partial_fit` it is measured on the first part, which should be like the whole.

    Parameters
    ----------
    loss : {"squared", "absolute", "huber", "quantile"}
        What an answer is to be: the mean of the numbers that such sequences have, their median, something between the
        two that outliers do not pull far, or a quantile of them. See `xlstm.losses`.
    huber_delta : float
        Where the Huber loss turns from squared to absolute, in standard deviations of y. Of no effect on other losses.
    quantile : float or list of float
        For the loss "quantile": which share of the numbers, between 0 and 1, is to lie below the answer. Of several,
        y being (n,), `predict` gives (n, Q), a column for each, and they are not kept from crossing. Of no effect on
        other losses.
    early_stopping : bool
        As for `SequenceClassifier`, with rows at random; what may not fall short for `n_iter_no_change` epochs is, on
        the validation part, R² for the squared loss, and the loss itself (of scaled numbers, each row alike) for the
        others: `tol` is in these terms.
    **others
        All other settings are those of `SequenceClassifier`, apart from `class_weight`.

    Attributes
    ----------
    n_iter_ : int
        Epochs run by the last `fit`, and since then by `partial_fit`.
    loss_ : float
        The last of `loss_curve_`.
    loss_curve_ : list of float
        Of each epoch, on the training part, in training mode: the loss of scaled numbers.
    r2_curve_, mae_curve_, rmse_curve_ : list of float
        The same of R², the mean absolute error and the root of the mean squared error, the last two in the unit of y;
        of several numbers the mean. Not there for quantiles.
    error_curve_ : list of float
        For all but the squared loss: the loss with each row alike, whatever its weight.
    validation_loss_curve_, validation_scores_ : list of float
        With early stopping or `fit(validation=...)`: the loss of each epoch on the validation part, and what early
        stopping goes by.
    best_validation_score_ : float
        The best of `validation_scores_`.
    n_features_in_, device_, kernels_, progress
        As for `SequenceClassifier`.

    Examples
    --------
    >>> import xlstm
    >>> X = ["a", "ab", "abab", "bb", "aab", "baa"]
    >>> y = [1.0, 1.0, 2.0, 0.0, 2.0, 2.0]  # how often there is an a
    >>> model = xlstm.SequenceRegressor(hidden_size=8, max_iter=200, learning_rate_init=0.02, random_state=0)
    >>> model.fit(X, y).predict(["ab", "baba"]).round().tolist()
    [1.0, 2.0]
    """

    _estimator_type = "regressor"
    tasks = (Numbers,)
    constraints: ClassVar[dict[str, Constraint]] = {**SequenceEstimator.constraints, **NUMBERS_CONSTRAINTS}

    loss: str = "squared"
    huber_delta: float = 1.0
    quantile: Any = 0.5

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.multi_output = True
        return tags

    def _check_same_model(self, fitted: Fitted) -> None:
        super()._check_same_model(fitted)
        check_same_loss(self, fitted.task)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R² of the answers for X beside y, weighted by `sample_weight`: 1 is perfect, 0 is no better than the mean.

        As scikit-learn's r2_score, of several numbers the mean. For the loss "quantile" it is D², as its
        d2_pinball_score: 1 is perfect, 0 is no better than the quantile of y itself; of several the mean.

        Raises
        ------
        ValueError
            If y is not like that of the training: the row is named.
        """
        return super().score(X, y, sample_weight)

    def errors(self, X: Any, y: Any = None, sample_weight: Any = None) -> dict[str, Any]:
        """How far the answers for X are from y, weighted by `sample_weight`, by name.

        Returns
        -------
        dict
            "r2"; "mae" and "rmse", the mean absolute error and the root of the mean squared error, in the unit of y; of
            several numbers each is the mean. For the loss "quantile": "d2"; "pinball", the mean loss in the unit of y;
            "coverage", the share of y that is not above the answer, which should be the quantile: of several (Q,).

        Raises
        ------
        ValueError
            If y is not like that of the training: the row is named.
        """
        fitted, reading = self.fitted_state(), self.reading()
        task: Any = fitted.task
        batches = sources.labelled(X, y, sample_weight)
        if batches is not None:
            beside = batchwise.beside(fitted, batches, reading)
        else:
            beside = fitted.beside(X, y, sample_weight, reading)
        errors: dict[str, Any] = task.errors(*beside)
        return errors
