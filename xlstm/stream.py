"""A fitted estimator at work: one sequence, fed in parts; and a frozen copy that answers faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import encode, feed, ondevice, sequences
from .backends import is_on_gpu
from .fitted import Fitted
from .host import HostArray, away_from_host
from .series import Series


class Stream:
    """One sequence, fed in parts; the state is carried from part to part.

    What it gives after all parts is what the whole sequence has: a classifier's, the probabilities of the classes.
    """

    def __init__(self, fitted: Fitted, reading: sequences.Reading) -> None:
        if fitted.model.architecture.bidirectional:
            raise ValueError("a bidirectional model cannot stream: its second direction begins at the end.")
        self._fitted = fitted  # a later fit puts another in its place: this one stays as it is
        self._reading = reading
        self._state: Any = None
        self._outputs: Any = None  # (1, K) after all that was fed, or of the last part's steps, where that lay
        self._steps = 0

    def feed(self, part: Any) -> Any:
        """The next steps: a string, a list of tokens, or an array (time, D) or (time,), on the host or the model's GPU.

        The end of a part is the end of a token: where strings are cut into words, a part holds whole words, and an
        accent stands in the part of its letter.

        Returns
        -------
        (K,)
            The probability of each class, given all that was fed, where the part lies; of other tasks, what their
            `details` are. Of a labeler (time, K): the probabilities at each step of the part.

        Raises
        ------
        ValueError, TypeError
            If the part is empty, or not of the kind that the model was trained on; it then counts as not fed.
        """
        fitted = self._fitted
        if is_on_gpu(part):
            _, part = ondevice.taken("part", part)
        advice = away_from_host("part", part)
        if advice is not None:
            raise TypeError(advice)
        data = sequences.read([part], *self._reading)
        if isinstance(data, Series) and data.columns is not None:
            D = fitted.encoder.size
            if D > 1 and isinstance(fitted.encoder, encode.Scaler):
                step = "step.to_frame().T" if hasattr(part, "to_frame") else "step[None]"
                raise ValueError(
                    f"a part of shape ({data.columns},) has one feature a step, but this model was trained on {D}: one "
                    f"step of a sequence is (1, {D}), {step}."
                )
            data = data._replace(columns=None)  # a part has any number of steps
        data = fitted.matched(data, quiet=self._state is not None)
        piece = feed.whole(fitted.model, fitted.encoded(data))
        outputs, state = fitted.model.continued(piece, self._state)
        if data.place is None:
            outputs = fitted.model.backend.to_host(outputs)
        outputs = fitted.of_part(outputs)
        details, steps = fitted.made(fitted.task.details, outputs)[0], self._steps + int(data.lengths[0])
        self._state, self._outputs, self._steps = state, outputs, steps  # at once: Ctrl-C comes before it or after it
        return details

    def predict(self) -> Any:
        """The answer, given all that was fed: what the estimator's `predict` gives for it, a classifier's label.

        A labeler's are those of the steps of the last part, (time,).

        Raises
        ------
        ValueError
            If nothing was fed yet.
        """
        if self._outputs is None:
            raise ValueError("this stream was fed nothing yet: there is no answer before the first feed.")
        return self._fitted.answers(self._outputs)[0]

    @property
    def classes_(self) -> HostArray:
        """Of a classifier the labels (K,), in the order of the probabilities; others have none: AttributeError."""
        classes: HostArray = self._fitted.task.offered("classes_")
        return classes

    def __repr__(self) -> str:
        return f"<Stream of {self._fitted.summary}: {self._steps} step{'' if self._steps == 1 else 's'} fed>"


class Prepared:
    """A frozen copy of a fitted estimator, for inference: later fits and writes do not change it.

    Its parameters are packed once, in the order in which the kernels read them: each call, and each part of a stream,
    then costs little more than its arithmetic. Without compiled kernels it is a plain copy, and a precision of the
    weights an error.

    It answers as the estimator does. What only a classifier has – `predict_proba`, `predict_log_proba`,
    `decision_function`, `classes_` – is an AttributeError where the answers are no classes.
    """

    def __init__(self, fitted: Fitted, reading: sequences.Reading, precision: str | None = None) -> None:
        self._fitted, self._reading, self._precision = fitted.to(fitted.model.backend), reading, precision
        self._fitted.model.pack(precision)

    def __call__(self, X: Any) -> Any:
        """The probability of each class, (n, K), as `predict_proba` gives it; of other tasks, their `details`."""
        return self._fitted.made(self._fitted.task.details, self._fitted.outputs(X, self._reading))

    def predict(self, X: Any) -> Any:
        """The answer for each sequence, (n,), as the estimator's `predict` gives it."""
        return self._fitted.predict(X, self._reading)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How good the answers for X are beside y, as the estimator's `score` gives it: for a classifier, accuracy.

        Raises
        ------
        ValueError
            If y is not like that of the training, a label not one of `classes_`: the row is named.
        """
        return self._fitted.score(X, y, sample_weight, self._reading)

    @property
    def predict_proba(self) -> Callable[[Any], Any]:
        """Of sequences X, the probability of each class, (n, K)."""
        return self._made("predict_proba")

    @property
    def predict_log_proba(self) -> Callable[[Any], Any]:
        """Of sequences X, the logarithm of the probability of each class, (n, K)."""
        return self._made("predict_log_proba")

    @property
    def decision_function(self) -> Callable[[Any], Any]:
        """Of sequences X, logits: (n, K), or for two classes (n,), above 0 where the second is more probable."""
        return self._made("decision_function")

    @property
    def classes_(self) -> HostArray:
        """The labels, (K,), sorted."""
        classes: HostArray = self._fitted.task.offered("classes_")
        return classes

    def _made(self, name: str) -> Callable[[Any], Any]:
        """The function of X for which the task has this name."""
        make = self._fitted.task.offered(name)

        def of(X: Any) -> Any:
            return self._fitted.made(make, self._fitted.outputs(X, self._reading))

        return of

    def stream(self) -> Stream:
        """As the estimator's `stream`."""
        return Stream(self._fitted, self._reading)

    def __repr__(self) -> str:
        precision = "" if self._precision is None else f", weights in {self._precision}"
        return f"<Prepared {self._fitted.summary} on {self._fitted.model.backend.device}{precision}>"
