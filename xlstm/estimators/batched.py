"""Training on batches, for data that memory does not hold: a first pass that learns of them, and then epochs.

The first pass takes the place of what `training.py` asks of all rows at once: the vocabulary or the scaling
(`xlstm.survey`), and what the task learns of y (`xlstm.tasks.survey`).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any, TypeVar

import numpy as np

from .. import columns, guesses, ondevice, sources
from ..batch import size_for
from ..fitted import Fitted
from ..seeds import own_generator
from ..series import Texts
from ..sources import Batches, first_pass, naming
from ..survey import Survey
from ..tasks import Task
from ..tasks.survey import Survey as TaskSurvey
from . import rows
from .beforehand import Beforehand
from .resume import Resumable
from .run import Digest
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
        beforehand: Beforehand = Beforehand(),  # noqa: B008  # never changed
    ) -> Self:
        """The road of training, for batches. For the arguments see `_train_on`."""
        self.check_parameters()
        told = self._told(callbacks)
        if self.early_stopping and whole and validation is None:
            raise ValueError(
                "early_stopping sets rows aside to validate, which cannot be done with batches: pass "
                "validation=(X, y) or other batches, or set early_stopping=False."
            )
        kept_file = None if resume is None else Resumable(resume, self, None, old)
        going_on = None if kept_file is None else kept_file.fitted
        if old is not None and going_on is None:
            self._check_same_model(old)
            beforehand.check_same(self, old)
        fitted = copy.deepcopy(old) if going_on is None else going_on
        digest = None if kept_file is None else Digest(self.plain_setting("dtype"))
        with contextlib.nullcontext() if kept_file is None or going_on is None else kept_file.on_its_data():
            data, survey, labels_there = self._survey(batches, fitted, declared, digest)
        survey.settle(whole)
        if old is not None and not whole and not survey.weight:
            return self  # there is nothing to learn
        if kept_file is not None and digest is not None:
            kept_file.check_data({**digest.found(), "buffer": batches.buffer})
            if kept_file.has_ended:
                fitted = copy.deepcopy(going_on)  # what follows only finds out by what it was validated
        n = survey.rows if batches.rows is None else batches.rows
        batch_size = size_for(n, self.plain_setting("batch_size"))
        if fitted is None:
            encoder, rng = data.encoder(), own_generator(self.random_state)
            if beforehand:
                named = None if data.tokens or data.columns is not None else columns.kept(data.names)
                encoder = beforehand.encoder(self, encoder.kind, named, encoder.size)
            architecture = self.architecture_for(encoder.width, data.tokens, survey.task)
            backend = self.backend_for(architecture, n, None)
            names = columns.kept(data.names)
            fitted = self._new(survey.task, encoder, architecture, backend, data.columns, names, rng)
            fitted.answers_there = labels_there
        self._follow_settings(fitted)
        fitted.sides = None  # of the rows of batches nobody keeps fingerprints
        reading = self.reading()
        training = rows.source_of(batches, fitted, survey, reading, n, batch_size, whole)
        measured = None if validation is None else rows.validation_of(validation, fitted, survey, reading)
        return self._run(fitted, training, measured, n, whole, told, kept_file)

    def _survey(
        self, batches: Batches, fitted: Fitted | None, declared: Any, digest: Digest | None
    ) -> tuple[Survey, TaskSurvey, bool]:
        """The first pass: what it learned of X, and of y; and whether y lies on a GPU.

        Parameters
        ----------
        fitted
            The model that is to go on, which the batches have to be like. Its task follows the settings then.
        declared
            See `_train_on`.
        digest
            Takes note of all that comes.
        """
        gaps, reading = self.missing == "mask", self.reading()
        data = Survey(self.spelling(), bool(self.standardize), type(self).__name__, gaps)
        survey: TaskSurvey | None = None
        labels_there, unknown = False, np.zeros(2, dtype=np.int64)
        for given in first_pass(batches):
            with naming(given.name):
                some = rows.read(given, reading)
                if survey is None:
                    task = self._first_task(some, batches, declared) if fitted is None else fitted.task
                    task.follow(self)
                    survey, labels_there = task.survey(fitted is None and declared is None), ondevice.are_there(given.y)
                if fitted is None:
                    if isinstance(some.data, Texts):
                        some = some._replace(data=self.spelling().before_cutting(some.data))
                    data.add(some.data, some.own)
                else:
                    some = some._replace(data=fitted.matched(some.data))
                    if fitted.model.architecture.tokens:
                        unknown += fitted.unknown_of(fitted.encoded(some.data))
                survey.add(some.y, some.data.lengths, some.own)
                if digest is not None:
                    digest.add(some.data, some.y, some.own)
        if survey is None:
            raise ValueError("the batches gave nothing: expected (X, y) or (X, y, sample_weight), one or more.")
        if fitted is not None:
            fitted.warn_of_unknown(*unknown.tolist())
        return data, survey, labels_there

    def _first_task(self, some: rows.Rows, batches: Batches, declared: Any) -> Task:
        """What is learned of the first batch; what may have been meant otherwise is told.

        Whether y was, a few rows cannot say: in a batch of one every label is a class of its own.
        """
        task, targets = self._learn(some.y, len(some.own), declared)
        stands_for_all = batches.sample is not None
        guesses.warn(
            guesses.numbers_as_text(some.data),
            guesses.padding_as_gaps(some.data),
            guesses.channels_as_steps(some.data),
            *(task.doubts(some.data, targets, bool(self.fold_case)) if stands_for_all else ()),
        )
        return task
