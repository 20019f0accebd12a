"""What all sequence estimators share: training, prediction, moving, saving.

Their settings are in `settings.py`, the one road of training is in `training.py`.

No mathematics here, and nothing of what y is: that is the task's. An estimator for another kind of answer is a subclass
that names its tasks, registered under its name:

    @ESTIMATORS.register("SequenceCounter")
    class SequenceCounter(SequenceEstimator):
        tasks = (Counts,)

It works the same without scikit-learn, and imports it only when scikit-learn itself asks for its tags, or a user for
what only scikit-learn has (`manners.py`).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .. import backends, batchwise, sources
from ..fitted import Fitted
from ..stream import Prepared, Stream
from . import state
from .batched import BatchTrainable
from .beforehand import Beforehand

Self = TypeVar("Self", bound="SequenceEstimator")


class SequenceEstimator(BatchTrainable):
    """The base of the estimators. For the parameters and attributes see `SequenceClassifier`, which has them all.

    Attributes
    ----------
    kind : str
        The name by which files know it: see `xlstm.registry`.
    tasks : tuple of Task classes
        The kinds of answers that it gives; the first is learned unless a subclass says otherwise.
    progress : callable or None
        Called after each epoch with its number, the number of epochs and the history, in place of the lines that
        `verbose` writes. No parameter: copies by scikit-learn and files have none.
    """

    # ------------------------------------------------------------ fit

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation: Any = None,
        callbacks: Any = None,
        resume: Any = None,
    ) -> Self:
        """Train on sequences X and their answers y, or on batches of both.

        Parameters
        ----------
        X
            See the class. Or, without y and sample_weight, what gives batches (X, y) or (X, y, sample_weight) each time
            that it is iterated over, for data that memory does not hold: see `xlstm.Batches`.
        y
            (n,) answers: for a classifier labels, strings or numbers; for a labeler the labels of each sequence.
        sample_weight
            (n,) weights of 0 or more, or None for 1. Of a row of weight 0 nothing is learned, neither vocabulary nor
            scaling.
        validation
            (X, y) or (X, y, sample_weight), a `Dataset`, or batches of them: rows that are measured after each epoch,
            in place of those that `early_stopping` sets aside of X. The weights of the best epoch are kept, with
            `early_stopping` or without; with it the training ends as it does there.
        callbacks
            What is to be called while it trains: a list of functions or objects, or one; see `xlstm.callbacks`.
        resume
            The path of a file in which the training is kept while it runs. Where the file is there, the training goes
            on from it, after a kill or Ctrl-C, with the same settings, data and start; on a CPU it ends with the same
            bits as one that was never stopped. Not each of many short epochs is written, so that it costs little time.
            `xlstm.load` reads the file at any time: its model is the one that the training would have had, had it
            ended there, and in the end the one that it gave. A training that has ended is not begun again: its model is
            the answer, and no callback is called. Batches have to come as they came, so a source that shuffles them
            has to do so in the same way; they are read once more, to be compared.

        Raises
        ------
        ValueError
            If a sequence is empty, holds NaN or has other features than the rest (the row is named); if there are not
            as many answers; if a classifier is given but one class; if a parameter is out of range; if the file of
            `resume` holds anything but a training with these settings, on these rows: what differs is said.
        OSError
            If the file of `resume` cannot be read or written.
        TypeError
            If X is of a type that cannot be read, or a callback is none.
        FloatingPointError
            If training diverges.
        KeyboardInterrupt
            By Ctrl-C before the first epoch has ended, or by the second one in the same run of a script, cell or line.

        None of these changes the estimator; nor does an exception of a callback, which ends the training too.

        Warns
        -----
        xlstm.InterruptedFit
            If Ctrl-C ended the training early: the model of the last whole epoch is kept, or of the best validated one.
        """
        old = self._fitted if self.warm_start and self.__sklearn_is_fitted__() else None
        how = {"validation": validation, "callbacks": callbacks, "resume": resume}
        return self._train_on(X, y, sample_weight, old, whole=True, **how)

    def partial_fit(
        self: Self, X: Any, y: Any = None, sample_weight: Any = None, *, vocabulary: Any = None, scale_from: Any = None
    ) -> Self:
        """One more epoch, on these rows alone, with the optimiser where it was.

        A warm-up goes on over the calls; after it the learning rate is constant, for nobody knows how many calls there
        will be.

        Parameters
        ----------
        X, y
            As for `fit`.
        sample_weight
            (n,) weights of 0 or more, which count as they are given, and are not brought to mean 1. Rows that all have
            weight 0 change nothing; in the first call they are an error.
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
            As `fit`; if `vocabulary` or `scale_from` do not go with X, or differ from what the first call settled.
        """
        old = self._fitted if self.__sklearn_is_fitted__() else None
        told = Beforehand(vocabulary, scale_from)
        return self._train_on(X, y, sample_weight, old, whole=False, beforehand=told)

    # ------------------------------------------------------------ predict

    def fitted_state(self) -> Fitted:
        """All that training made: model, task, encoder, optimiser. It belongs to the estimator: not to be changed.

        Raises
        ------
        ValueError
            If the estimator is not fitted; where scikit-learn is loaded it is also its NotFittedError.
        """
        if not self.__sklearn_is_fitted__():
            message = (
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments first."
            )
            if "sklearn" in sys.modules:
                from sklearn.exceptions import NotFittedError

                raise NotFittedError(message)
            raise ValueError(message)
        return self._fitted

    def predict(self, X: Any) -> Any:
        """The answer for each sequence, (n,): for a classifier its most probable class. On a GPU if y was, and X is.

        X may give batches each time that it is iterated over, X or (X, y) as `xlstm.Batches` says: the answers for all
        of them then come together. So it is with all that is asked of an X.
        """
        fitted, reading = self.fitted_state(), self.reading()
        return self._for_each_batch(lambda X: fitted.predict(X, reading), X)

    def predict_batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """What `predict` gives for each batch, one after another: for more answers than are wanted in memory.

        Parameters
        ----------
        batches
            Anything that gives them, once is enough: X, or a tuple that begins with it. What `predict` takes as
            batches is understood as there.
        """
        fitted, reading = self.fitted_state(), self.reading()
        return batchwise.each(lambda X: fitted.predict(X, reading), batches)

    def _for_each_batch(self, answer: Callable[[Any], Any], X: Any) -> Any:
        """What a function gives for X; or for each of its batches, together."""
        batches = sources.to_predict(X)
        return answer(X) if batches is None else batchwise.together(batchwise.each(answer, batches))

    def _made(self, name: str, X: Any) -> Any:
        """What the task makes of the outputs for X under this name, where X lies."""
        fitted, reading = self.fitted_state(), self.reading()
        make = fitted.task.offered(name)
        return self._for_each_batch(lambda X: fitted.made(make, fitted.outputs(X, reading)), X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """How good the answers for X are beside y, weighted by `sample_weight`: for a classifier, accuracy.

        Of batches (X, y) or (X, y, sample_weight), as `fit` takes them, the score of all rows together.

        Raises
        ------
        ValueError
            If y is not like that of the training, a label not one of `classes_`: the row is named.
        """
        fitted, batches = self.fitted_state(), sources.labelled(X, y, sample_weight)
        if batches is not None:
            return batchwise.score(fitted, batches, self.reading())
        return fitted.score(X, y, sample_weight, self.reading())

    # ------------------------------------------------------------ elsewhere

    def to(self: Self, device: str | None) -> Self:
        """A copy of the fitted estimator on another device, its optimiser included; the original stays.

        Raises
        ------
        RuntimeError
            If that device cannot be used; the message says what is missing.
        """
        fitted = self.fitted_state()
        backend = backends.select(device, "auto", fitted.model.architecture.flops_per_step())
        other = copy.copy(self)
        other.device = backend.device
        other.take_over(fitted.to(backend))
        return other

    def stream(self) -> Stream:
        """Feed one sequence in parts and read, after each, what a classifier gives as probabilities: see `Stream`.

        Raises
        ------
        ValueError
            If the model is bidirectional: its second direction begins at the end.
        """
        return Stream(self.fitted_state(), self.reading())

    def prepare(self, precision: str | None = None) -> Prepared:
        """A frozen copy for inference, its parameters packed once: `probabilities = call(X)`; see `Prepared`.

        Parameters
        ----------
        precision
            What the weights of the cells are stored in: None for the model's dtype, or as in a layer's `prepare`.

        Raises
        ------
        ValueError, RuntimeError
            As there.
        """
        return Prepared(self.fitted_state(), self.reading(), precision)

    def save(self, path: Any) -> None:
        """Write the estimator to one file, whole or not at all: `xlstm.load` reads it.

        It holds the vocabulary or scaling, the classes and the names of features, but no row of the training. After a
        training with early stopping it also holds a hash of 8 bytes of each row, so that parts stay apart in a warm
        start: whoever has a row can tell from it whether it was trained on. `early_stopping=False` keeps none.

        Parameters
        ----------
        path
            The file; an older one of the name is replaced.

        Raises
        ------
        OSError
            If it cannot be written. The older file is then untouched.
        """
        state.save(self, path)
