"""The one road of training: from X and y to a fitted model, new or going on, whole or not at all.

It asks the settings (`settings.py`) and the task, and knows neither what a y is nor any mathematics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import backends, columns, encode, feed, guesses, interrupts, ondevice, optim, sequences, series, train
from ..batch import size_for
from ..callbacks import Watch, listed
from ..checks import check_epsilon
from ..fitted import Fitted
from ..history import History
from ..host import HostArray
from ..labels import in_dtype, mean_one, weights_of, weights_of_part
from ..model import Architecture, Model
from ..progress import print_progress
from ..readout import READOUTS
from ..seeds import own_generator
from ..sides import Sides, fingerprints, warn_of_rows_trained_on
from ..spelling import Spelling
from ..tasks import Task
from .beforehand import Beforehand, feature_names
from .going_on import check_same_model, start_of
from .manners import Mannered
from .resume import Resumable
from .rows import validation_of
from .run import digests
from .settings import Configured

Self = TypeVar("Self", bound="Trainable")


class Trainable(Mannered, Configured):
    """What can be trained. `SequenceEstimator` is its face."""

    kind: ClassVar[str] = ""
    tasks: ClassVar[tuple[type[Task], ...]] = ()
    progress: Callable[[int, int, History], Any] | None = None

    # What `attributes_of` gives, for those that read types; classes_ is a classifier's.
    n_iter_: int
    n_features_in_: int
    history_: dict[str, list[float]]
    loss_: float
    loss_curve_: list[float]
    device_: str
    kernels_: str
    classes_: HostArray
    _fitted: Fitted

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    # ------------------------------------------------------------ settings

    def check_parameters(self) -> None:
        """Raise where a setting is out of its range, or where a task needs a setting that the estimator does not have.

        Raises
        ------
        ValueError
            With the name of the setting, what was expected and what was given.
        TypeError
            If the class lacks a setting of its task's.
        """
        for task in self.tasks:
            for name in task.settings:
                if not hasattr(self, name):
                    raise TypeError(
                        f"{type(self).__name__} lacks the setting {name!r}, which its task {task.__name__} goes by: "
                        "give its constructor a parameter of that name."
                    )
        super().check_parameters()

    def reading(self) -> sequences.Reading:
        """How X is read."""
        return sequences.Reading(self.encoding, self.split, self.missing)

    def spelling(self) -> Spelling:
        """Which texts are one to a new model."""
        return Spelling(bool(self.fold_case), self.normalize, READOUTS[self.readout].each_step)

    def _training_settings(self, rows: int, whole: bool) -> train.Settings:
        """How to train on so many rows: the whole data, or one epoch of a part of it."""
        plain = self.plain_setting
        batch_size = size_for(rows, plain("batch_size"))
        epochs = plain("max_iter") or train.epochs_for(rows, batch_size)
        return train.Settings(
            epochs=epochs if whole else 1,
            batch_size=batch_size,
            learning_rate=plain("learning_rate_init"),
            schedule=plain("learning_rate") if whole else "constant",
            warmup=plain("warmup"),
            max_grad_norm=plain("max_grad_norm"),
            token_dropout=plain("token_dropout"),
            patience=plain("n_iter_no_change") if plain("early_stopping") else None,
            tol=plain("tol"),
            continued=not whole,
        )

    def architecture_for(self, size: int, tokens: bool, task: Task) -> Architecture:
        """What the settings ask for, for such data. A setting with the name of a part of an architecture is it."""
        chosen = {name: self.plain_setting(name) for name in Architecture._fields if hasattr(self, name)}
        if not tokens:
            chosen["embedding_size"] = None
        return Architecture(input_size=size, tokens=tokens, outputs=task.outputs, **chosen)

    def _check_same_model(self, fitted: Fitted) -> None:
        """Raise where the settings ask for another model than the one to go on from."""
        check_same_model(self, fitted)

    def _train_on(
        self: Self,
        X: Any,
        y: Any,
        sample_weight: Any,
        old: Fitted | None,
        *,
        whole: bool,
        declared: Any = None,
        validation: Any = None,
        callbacks: Any = None,
        resume: Any = None,
        beforehand: Beforehand = Beforehand(),  # noqa: B008  # never changed
    ) -> Self:
        """The one road of training.

        Parameters
        ----------
        old
            The model to go on from; it stays as it is. None builds a new one.
        whole
            Whether these rows are the whole data, for all epochs, or a part of it, for one more.
        declared
            For a new model, all answers that will ever come, where they are known: see `Task.learn`.
        validation
            Rows to validate with, (X, y) or (X, y, sample_weight) or batches of them. None sets some of the rows aside
            where the settings say so.
        callbacks
            See `xlstm.callbacks`.
        resume
            See `resume.py`.
        beforehand
            Vocabulary or scaling, where they are told.
        """
        self.check_parameters()
        told = self._told(callbacks)
        data, labels_there = sequences.read(X, *self.reading()), ondevice.are_there(y)
        rows, y = len(data.lengths), ondevice.brought("y", y)
        kept_file = None if resume is None else Resumable(resume, self, data.place, old)
        going_on = None if kept_file is None else kept_file.fitted
        if kept_file is not None and going_on is not None:
            fitted, task = going_on, going_on.task
            with kept_file.on_its_data():
                targets, data = task.read(y, rows), fitted.matched(data)
        elif old is None:
            fitted = None
            task, targets = self._learn(y, rows, declared)
            guesses.warn(
                guesses.numbers_as_text(data),
                guesses.padding_as_gaps(data),
                guesses.channels_as_steps(data),
                guesses.tokens_alone(data),
                *(task.doubts(data, targets, bool(self.fold_case)) if declared is None else ()),
                guesses.characters_that_compose(data, self.spelling()),
            )
            if isinstance(data, series.Texts):
                data = self.spelling().before_cutting(data)
        else:
            targets = old.task.read(y, rows)
            data = old.matched(data)
            self._check_same_model(old)
            beforehand.check_same(self, old)
            fitted = copy.deepcopy(old)
            task = fitted.task
        task.check_lengths(targets, data.lengths)
        task.follow(self)
        task.check_enough(targets, whole)
        if sample_weight is not None:
            sample_weight = weights_of(sample_weight, rows) if whole else weights_of_part(sample_weight, rows)
        weights = task.weights(targets, sample_weight, whole)
        if not whole and not task.total(targets, weights):
            if fitted is None:
                raise ValueError(
                    "all rows have weight zero: the first part needs others, for it settles vocabulary or scaling."
                )
            return self  # there is nothing to learn
        if kept_file is not None:
            kept_file.check_data(digests(data, task.marks(targets, rows), weights, self.plain_setting("dtype")))
            if kept_file.has_ended:
                fitted = copy.deepcopy(going_on)  # what follows only finds out by what it was validated
        rng = own_generator(self.random_state) if fitted is None else fitted.trainer.rng
        sides = None if fitted is None else fitted.sides
        if sides is None and self.early_stopping and validation is None:
            sides = Sides()
        known = np.zeros(0) if sides is None else self._fingerprints(data, task.marks(targets, rows))
        kept, aside = np.arange(rows), np.arange(0)
        if sides is not None and whole and self.early_stopping and validation is None:
            kept, aside = sides.parts(
                known, lambda some: task.split(task.take(targets, some), self.validation_fraction, rng)
            )
            if old is not None and going_on is None and old.may_have_met(known[aside]):
                warn_of_rows_trained_on()
        if fitted is None:
            # What nobody wants to learn of measures nothing: a wrong number of weight 0 would make a scale of its own.
            counted = kept if sample_weight is None else kept[sample_weight[kept] > 0]
            counted = counted if len(counted) else kept
            task.measure(task.take(targets, counted))
            fitted, data = self._build(task, data, counted, len(kept), rng, beforehand)
            fitted.answers_there = labels_there
        self._follow_settings(fitted)
        if sides is not None:
            fitted.sides = sides.after(known[kept], known[aside])
        encoded, dtype = fitted.encoded_near(data), fitted.model.architecture.dtype
        if old is not None or beforehand:
            fitted.warn_of_unknown(*fitted.unknown_of(encoded))
        del data  # on a GPU it makes room

        def labelled(part: HostArray, own: HostArray) -> train.Labelled:
            every = len(part) == rows
            data, chosen = (encoded, targets) if every else (encoded.rows(part), task.take(targets, part))
            scaled = mean_one(own, task.terms(chosen)) if whole else own
            return train.Labelled(data, chosen, in_dtype(scaled, dtype))

        training = labelled(kept, weights[kept])
        measured: train.Labelled | train.Source | None = None
        if validation is not None:
            survey = task.survey(False)
            survey.add(y, encoded.lengths, weights_of(sample_weight, rows))
            survey.settle(whole)
            measured = validation_of(validation, fitted, survey, self.reading())
        elif len(aside):
            # A validation part that chance gave no weight is measured as if it had no weights.
            measured = labelled(aside, weights[aside] if weights[aside].any() else np.ones(len(aside)))
        return self._run(fitted, training, measured, len(kept), whole, told, kept_file)

    def _run(
        self: Self,
        fitted: Fitted,
        training: train.Labelled | train.Source,
        validation: train.Labelled | train.Source | None,
        rows: int,
        whole: bool,
        told: list[Any],
        kept_file: Resumable | None = None,
    ) -> Self:
        """Train on so many rows, and take over what was made."""
        if kept_file is not None and kept_file.fitted is not None and kept_file.has_ended:
            kept_file.check_rows(fitted, rows, validation)
            self.take_over(kept_file.fitted)
            return self
        if whole and (kept_file is None or kept_file.fitted is None):
            fitted.trainer.history = History()
        settings = self._training_settings(rows, whole)
        if kept_file is None:
            watch = Watch(told, self, lambda: self._copy_with(fitted))
            interrupted = fitted.trainer.fit(training, validation, settings, watch)
        else:
            watch = Watch([*told, kept_file], self, lambda: self._copy_with(fitted), kept_file.seconds)
            standing = kept_file.standing
            with kept_file.begin(fitted, rows, validation, watch):
                interrupted = fitted.trainer.fit(training, validation, settings, watch, standing, kept_file.note)
                if not interrupted:
                    kept_file.finish()
        self.take_over(fitted)
        if interrupted:  # told at last, so that the model is kept where warnings are errors
            interrupts.warn(self.n_iter_, best=validation is not None)
        return self

    def _told(self, callbacks: Any) -> list[Any]:
        """The callbacks, and what shows its progress without being asked in `fit`: `progress`, or else `verbose`."""
        shown, told = self.progress, listed(callbacks)
        if shown is not None:
            return [*told, lambda progress: shown(progress.epoch, progress.epochs, progress.history)]
        return [*told, print_progress] if self.verbose else told

    def _copy_with(self: Self, fitted: Fitted) -> Self:
        """A copy of the estimator that has learned this, as it is now."""
        other = copy.copy(self)
        other.take_over(copy.deepcopy(fitted))
        return other

    def _fingerprints(self, data: series.Series | series.Texts, marks: list[bytes]) -> HostArray:
        data = series.to_host(data)  # a hash of a row is made on the host
        return fingerprints(data, marks, self.spelling(), self.plain_setting("dtype"))

    def _learn(self, y: Any, rows: int, declared: Any) -> tuple[Task, Any]:
        """A new task for such y, and y as its targets."""
        return self.tasks[0].learn(y, rows, declared)

    def _build(
        self,
        task: Task,
        data: Any,
        counted: HostArray,
        rows: int,
        rng: np.random.Generator,
        beforehand: Beforehand,
    ) -> tuple[Fitted, Any]:
        """A new model for data of which so many `rows` train it; and the data, on its device if it fits there.

        Of the rows `counted` it learns vocabulary or scaling, where they were not told beforehand.
        """

        def learnt(data: Any) -> encode.Encoder:
            if beforehand:
                size = 0 if tokens else data.features
                kind = data.kind if tokens else encode.Scaler.kind
                return beforehand.encoder(self, kind, None if tokens else feature_names(data), size)
            some = series.take(data, counted)
            return encode.fit(some, self.spelling(), bool(self.standardize), self.missing)

        tokens = isinstance(data, series.Texts)  # of which the vocabulary is needed first, of a series the device
        encoder, gaps = learnt(data) if tokens else None, not tokens and self.missing == "mask"
        width = data.features * (1 + gaps) if encoder is None else encoder.width
        architecture = self.architecture_for(width, tokens, task)
        backend = self.backend_for(architecture, rows, data.place)
        data = feed.near(data, backend, architecture.dtype, gaps)
        encoder = encoder or learnt(data)
        width, names = (None, None) if tokens else (data.columns, columns.kept(data.names))
        return self._new(task, encoder, architecture, backend, width, names, rng), data

    def _new(
        self,
        task: Task,
        encoder: encode.Encoder,
        architecture: Architecture,
        backend: backends.Backend,
        width: int | None,
        names: HostArray | None,
        rng: np.random.Generator,
    ) -> Fitted:
        """A new model and what belongs to it."""
        model = Model(architecture, backend, self.kernels, rng, self.precision)
        trainer = train.Trainer(model, task, self.optimizer_for(model, self.solver), rng)
        start = start_of(self, encoder)
        return Fitted(trainer, encoder, width, names, type(self).__name__, start=start)

    def backend_for(self, architecture: Architecture, rows: int, place: backends.Backend | None) -> backends.Backend:
        """Where a new model of this architecture is trained on so many rows, which lie at `place`."""
        flops = architecture.flops_per_step(size_for(rows, self.plain_setting("batch_size")))
        backend = backends.select(self.device, "auto", flops, place, self.kernels)
        ondevice.check_setting(place, backend)
        return backend

    def optimizer_for(self, model: Model, solver: str) -> optim.Optimizer:
        """A new optimiser of a model's parameters, which goes by the settings."""
        return optim.Optimizer(
            model.parameters.flat,
            model.decayed(),
            solver,
            backend=model.backend,
            kernels=model.requested_kernels,
            **self.optimizer_numbers(),
        )

    def _follow_settings(self, fitted: Fitted) -> None:
        """The optimiser goes by the settings of today, which may be others than when it was made."""
        optimizer = fitted.trainer.optimizer
        if optimizer.solver != self.solver:
            fitted.trainer.optimizer = self.optimizer_for(fitted.model, self.solver)
            return
        numbers = self.optimizer_numbers()
        check_epsilon(self.solver, numbers["epsilon"], optimizer.moments[0])
        for name, value in numbers.items():
            setattr(optimizer, name, value)

    def take_over(self, fitted: Fitted) -> None:
        """Make this the estimator's state, all of it in one statement: Ctrl-C comes before it or after it."""
        before = self.attributes_of(self._fitted) if self.__sklearn_is_fitted__() else {}  # this training may lack some
        kept = {name: value for name, value in self.__dict__.items() if name not in before}
        self.__dict__ = {**kept, "_fitted": fitted, **self.attributes_of(fitted)}

    def attributes_of(self, fitted: Fitted) -> dict[str, Any]:
        """The attributes that say what a training was: those whose names end in an underscore."""
        return fitted.attributes()
