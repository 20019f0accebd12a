"""What learns labels of which a first part may not hold all: `partial_fit` that is told them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ..labels import listed
from ..ondevice import brought
from .base import SequenceEstimator

Self = TypeVar("Self", bound="LabelEstimator")


class LabelEstimator(SequenceEstimator):
    """The base of the estimators whose answers are, or may be, labels."""

    def partial_fit(  # type: ignore[override]  # classes stand where scikit-learn's classifiers have them
        self: Self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """One more epoch, on these rows alone, with the optimiser where it was.

        A warm-up goes on over the calls; after it the learning rate is constant, for nobody knows how many calls there
        will be.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes
            All labels that will ever come: needed in the first call, where y does not hold them all. With an indicator
            matrix they are the labels of its columns.

        Raises
        ------
        ValueError
            As `fit`; if a label is not one of the classes: the row is named, of labels of steps the step too; and if
            y is numbers, which have no classes.
        """
        old, classes = self._fitted if self.__sklearn_is_fitted__() else None, brought("classes", classes)
        if old is not None and classes is not None:
            known: Any = old.task
            if not np.array_equal(known.declared(classes), known.classes):
                raise ValueError(f"classes {classes!r:.400} are not those of the first call: {listed(known.classes)}.")
        return self._train_on(X, y, sample_weight, old, whole=False, declared=classes)
