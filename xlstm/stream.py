"""A fitted estimator at work: one sequence, fed in parts; and a frozen copy that answers faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import encode, sequences, train
from .fitted import Fitted
from .host import HostArray, away_from_host


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

    def feed(self, part: Any) -> HostArray:
        """The next steps: a string, a list of tokens, or an array (time, D) or (time,).

        Returns
        -------
        (K,)
            The probability of each class, given all that was fed; of other tasks, what their `details` are.

        Raises
        ------
        ValueError, TypeError
            If the part is empty, or not of the kind that the model was trained on; it then counts as not fed.
        """
        fitted = self._fitted
        advice = away_from_host("part", part)
        if advice is not None:
            raise TypeError(advice)
        data = sequences.read([part], *self._reading)
        encode.check_kind(fitted.encoder, data)
        D = fitted.encoder.size
        if isinstance(data, sequences.Series) and data.columns is not None:
            if D > 1:
                raise ValueError(
                    f"a part of shape ({data.columns},) has one feature a step, but this model was trained on {D}: one "
                    f"step of a sequence is (1, {D}), step[None]."
                )
            data = data._replace(columns=None)  # a part has any number of steps
        data = fitted.matched(data, quiet=self._state is not None)
        encoded = fitted.encoded(data)
        piece = train.on_device(fitted.model, encoded, np.zeros(1, np.int64))
        outputs, self._state = fitted.model.continued(piece, self._state)
        details: HostArray = fitted.task.details(fitted.model.backend.to_host(outputs))[0]
        return details


class Prepared:
    """A frozen copy of a fitted estimator, for inference: later fits and writes do not change it.

    Its parameters are packed once, in the order in which the kernels read them: each call, and each part of a stream,
    then costs little more than its arithmetic. Without compiled kernels it is a plain copy.
    """

    def __init__(self, fitted: Fitted, reading: sequences.Reading) -> None:
        self._fitted, self._reading = fitted.to(fitted.model.backend), reading
        self._fitted.model.pack()

    def __call__(self, X: Any) -> HostArray:
        """The probability of each class, (n, K), as `predict_proba` gives it; of other tasks, their `details`."""
        return self._fitted.task.details(self._fitted.outputs(X, self._reading))

    def predict(self, X: Any) -> HostArray:
        """The answer for each sequence, (n,), as the estimator's `predict` gives it."""
        return self._fitted.task.answers(self._fitted.outputs(X, self._reading))

    def stream(self) -> Stream:
        """As the estimator's `stream`."""
        return Stream(self._fitted, self._reading)
