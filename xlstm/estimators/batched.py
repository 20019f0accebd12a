"""Training on batches, for data that memory does not hold: a first pass that learns of them, and then epochs.

The first pass takes the place of what `training.py` asks of all rows at once: the vocabulary or the scaling
(`xlstm.survey`), and what the task learns of y (`xlstm.tasks.survey`).
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from .. import columns, guesses, ondevice, sources
from ..batch import size_for
from ..fitted import Fitted
from ..seeds import own_generator
from ..sources import Batches, naming, with_answers
from ..survey import Survey
from ..tasks.survey import Survey as TaskSurvey
from . import rows
from .training import Trainable

Self = TypeVar("Self", bound="BatchTrainable")


class BatchTrainable(Trainable):
    """What can be trained on batches as well."""

    def _train_on(
        self: Self, X: Any, y: Any, sample_weight: Any, old: Fitted | None, *, validation: Any = None, **how: Any
    ) -> Self:
        """See the base."""
        batches = sources.labelled(X, y, sample_weight)
        if batches is None:
            return super()._train_on(X, y, sample_weight, old, validation=validation, **how)
        return self._train_on_batches(batches, old, validation, **how)

    def _train_on_batches(
        self: Self,
        batches: Batches,
        old: Fitted | None,
        validation: Any,
        *,
        whole: bool,
        declared: Any = None,
        callbacks: Any = None,
        resume: Any = None,
    ) -> Self:
        """The road of training, for batches. For the arguments see `_train_on`."""
        if resume is not None:
            raise ValueError("resume is for data in memory: a training on batches can go on with warm_start=True.")
        self.check_parameters()
        told = self._told(callbacks)
        if self.early_stopping and whole and validation is None:
            raise ValueError(
                "early_stopping sets rows aside to validate, which cannot be done with batches: pass "
                "validation=(X, y) or other batches, or set early_stopping=False."
            )
        if old is not None:
            self._check_same_model(old)
        fitted = copy.deepcopy(old)
        data, survey, labels_there = self._survey(batches, fitted, declared)
        survey.settle(whole)
        n = survey.rows if batches.rows is None else batches.rows
        batch_size = size_for(n, self.plain_setting("batch_size"))
        if fitted is None:
            encoder, rng = data.encoder(), own_generator(self.random_state)
            architecture = self._architecture(encoder.width, data.tokens, survey.task)
            backend = self.backend_for(architecture, n, None)
            names = columns.kept(data.names)
            fitted = self._new(survey.task, encoder, architecture, backend, data.columns, names, rng)
            fitted.answers_there = labels_there
        self._follow_settings(fitted)
        fitted.sides = None  # of the rows of batches nobody keeps fingerprints
        reading = self.reading()
        training = rows.source_of(batches, fitted, survey, reading, n, batch_size)
        measured = None if validation is None else rows.validation_of(validation, fitted, survey, reading)
        return self._run(fitted, training, measured, n, whole, told)

    def _survey(self, batches: Batches, fitted: Fitted | None, declared: Any) -> tuple[Survey, TaskSurvey, bool]:
        """The first pass: what it learned of X, and of y; and whether y lies on a GPU.

        Parameters
        ----------
        fitted
            The model that is to go on, which the batches have to be like. Its task follows the settings then.
        declared
            See `_train_on`.
        """
        gaps, reading = self.missing == "mask", self.reading()
        data = Survey(bool(self.fold_case), bool(self.standardize), type(self).__name__, gaps)
        survey: TaskSurvey | None = None
        labels_there = False
        for given in with_answers(batches if batches.sample is None else [batches.sample]):
            with naming(given.number):
                some = rows.read(given, reading)
                if survey is None:
                    task = self._learn(some.y, len(some.own), declared)[0] if fitted is None else fitted.task
                    task.follow(self)
                    survey, labels_there = task.survey(fitted is None and declared is None), ondevice.are_there(given.y)
                    guesses.warn(guesses.numbers_as_text(some.data) if fitted is None else None)
                if fitted is None:
                    data.add(some.data)
                else:
                    fitted.matched(some.data)
                survey.add(some.y, some.data.lengths, some.own)
        if survey is None:
            raise ValueError("the batches gave nothing: expected (X, y) or (X, y, sample_weight), one or more.")
        return data, survey, labels_there
