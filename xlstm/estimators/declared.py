"""What learns labels of which a first part may not hold all: `partial_fit` that is told them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ..labels import listed
from ..ondevice import brought
from .base import SequenceEstimator
from .beforehand import Beforehand

Self = TypeVar("Self", bound="LabelEstimator")


class LabelEstimator(SequenceEstimator):
    """The base of the estimators whose answers are, or may be, labels."""

    def partial_fit(  # type: ignore[override]  # classes stand where scikit-learn's classifiers have them
        self: Self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        vocabulary: Any = None,
        scale_from: Any = None,
    ) -> Self:
        """One more epoch, on these rows alone, with the optimiser where it was.

        A warm-up goes on over the calls; after it the learning rate is constant, for nobody knows how many calls there
        will be.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes
            All labels that will ever come: needed in the first call, where y does not hold them all. With an indicator
            matrix they are the labels of its columns.
        sample_weight
            (n,) weights of 0 or more. They count as they are given, and so does a dict of `class_weight`: neither is
            brought to mean 1, so that parts weigh among each other as their rows do. "balanced" is an error, for it is
            not known of parts. Rows that all have weight 0 change nothing; in the first call they are an error.
        vocabulary
            All tokens that will ever come, in any order: characters, words or integers, as X has them. Characters are a
            string, or a collection of them in the form of `normalize`, in which a letter with an accent is one. Without
            it the first call settles the vocabulary: tokens that it does not hold stay unknown for ever, and the first
            later X most of whose tokens are unknown is told by an `xlstm.AmbiguousDataWarning`.
        scale_from
            Sequences of numbers as X, or batches of them, by which features are scaled, in place of the first X: mean
            and standard deviation of all their steps. Without it the first call settles the scale, for ever.

        Raises
        ------
        ValueError
            As `fit`; if `vocabulary` or `scale_from` do not go with X, or differ from what the first call settled; if a
            label is not one of the classes: the row is named, of labels of steps the step too; and if y is numbers,
            which have no classes.
        """
        old, classes = self._fitted if self.__sklearn_is_fitted__() else None, brought("classes", classes)
        if old is not None and classes is not None:
            known: Any = old.task
            if not np.array_equal(known.declared(classes), known.classes):
                raise ValueError(f"classes {classes!r:.400} are not those of the first call: {listed(known.classes)}.")
        told = Beforehand(vocabulary, scale_from)
        return self._train_on(X, y, sample_weight, old, whole=False, declared=classes, beforehand=told)
