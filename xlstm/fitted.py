"""All that training made, in one object: so that it is replaced, moved, copied and saved as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import backends, batch, blocks, columns, encode, feed, guesses, ondevice, sequences, series, train
from .backends import Backend, numpy_arrays
from .batch import Encoded
from .host import HostArray
from .labels import weights_of
from .model import Batch, Model
from .names import are_numbers
from .namespace import Array
from .series import Series, Texts
from .sides import Sides
from .tasks import Task

PART = 2**22
"""How many numbers or tokens of host data are encoded at once to be answered on the CPU: a part of the memory of all,
and so many batches that it matters little where a part ends."""


class Table(NamedTuple):
    """The file that the command line trained a model on: so that it reads others like it without being told how.

    What a file of a model without one of the parts stands for is that part's default, which never changes.
    """

    text: str  # the name of the column of the texts
    label: str  # and of the labels
    delimiter: str  # what separates the columns, one character
    held_out: str | None  # SHA-256 of the file of held-out rows that was last written for a model of its name
    rows: int | None = None  # how many sequences trained the model
    device: str | None = None  # where
    scores: dict[str, float] | None = None  # of the model on the held-out sequences, and how many these were
    form: str = "text"  # a row is a "text", a step ("long") or a series ("wide"); or it is a "file" of another kind
    id: str | None = None  # the name of the column that says to which sequence a step belongs
    time: str | None = None  # of that which orders the steps
    delta: str | None = None  # the name of the feature made of it
    features: list[str] | None = None  # the names of the columns of features, where they were named
    steps: list[str] | None = None  # of a wide table where they were not: the names of its columns, step by step
    separator: str | None = None  # what stands between several labels
    channels_first: bool = False  # whether arrays are (n, features, time)


Outputs = Any
"""Of a model, (n, K) for n sequences; where every step has an answer, those of all steps as `Encoded`."""


class Fitted:
    """A trained model and what belongs to it. An estimator has one; a fit that fails leaves the old one in place."""

    answers_there: bool = False  # of pickles from before there was one
    start: dict[str, Any] = {}  # noqa: RUF012  # likewise
    told_of_unknown = False  # whether it was said that most tokens of a part are unknown

    def __init__(
        self,
        trainer: train.Trainer,
        encoder: encode.Encoder,
        columns: int | None,  # of a two-dimensional X
        feature_names: HostArray | None,
        owner: str,  # the name of the estimator's class, for messages
        table: Table | None = None,  # where the command line trained it on a table; of no effect in Python
        sides: Sides | None = None,  # where rows were ever set aside: which they were
        answers_there: bool = False,  # whether answers lie where X does, as the first y did on a GPU
        start: dict[str, Any] | None = None,  # settings that made the model, and that nothing else in it tells
    ) -> None:
        self.trainer, self.encoder, self.sides, self.answers_there = trainer, encoder, sides, answers_there
        self.columns, self.feature_names, self.owner = columns, feature_names, owner
        self.table, self.start = table, start or {}

    @property
    def model(self) -> Model:
        return self.trainer.model

    @property
    def task(self) -> Task:
        return self.trainer.task

    @property
    def _task_is_anywhere(self) -> bool:
        return bool(vars(type(self.task)).get("anywhere", False))  # not what it inherits: see `Task`

    def attributes(self) -> dict[str, Any]:
        """What an estimator says of its training, by the names of its attributes."""
        history, model, task = self.trainer.history, self.model, self.task
        found: dict[str, Any] = {
            "n_iter_": len(history.loss),
            "loss_curve_": list(history.loss),
            "history_": history.columns(),
            "loss_": history.loss[-1] if history.loss else float("nan"),
            "n_features_in_": self.columns if self.columns is not None else self.encoder.size,
            "device_": model.backend.device,
            "kernels_": model.kernels,
        }
        found |= {f"{name}_curve_": list(history.scores.get(name, ())) for name in task.score_names}
        if history.validation_loss:
            found["validation_loss_curve_"] = list(history.validation_loss)
            found["validation_scores_"] = list(task.decisive(history.validation_scores))
            found["best_validation_score_"] = task.best(found["validation_scores_"])
        if self.feature_names is not None and not are_numbers(self.feature_names):
            found["feature_names_in_"] = self.feature_names
        return found

    def may_have_met(self, prints: HostArray) -> bool:
        """Whether a row with one of these fingerprints trained it, or that is not known."""
        return self.sides is None or bool(np.isin(prints, self.sides.trained).any())

    @property
    def summary(self) -> str:
        """Whose model it is, and its cell: for those that are made of it to say what they are."""
        part = self.model.architecture
        return f"{self.owner}(cell={part.cell!r}, hidden_size={part.hidden_size}, num_layers={part.num_layers})"

    def matched(self, data: Series | Texts, quiet: bool = False) -> Series | Texts:
        """`data` as the encoder reads it: features in the order of the training, texts in one spelling.

        Raises where it is not like what was trained on. `quiet` does not warn where one of the two has names of
        features and the other has none.
        """
        ondevice.check_model(data.place, self.model.backend)
        encode.check_kind(self.encoder, data)
        if self.encoder.size == 1:
            guesses.warn(guesses.one_sequence_as_many(data, self.columns))
        if isinstance(self.encoder, encode.TokenEncoder) and not quiet:
            guesses.warn(guesses.characters_that_compose(data, self.encoder.spelling))
        data = encode.spelled(self.encoder, data)
        return columns.check(data, self.columns, self.feature_names, self.owner, quiet)

    def encoded(self, data: Series | Texts, first: int = 0) -> Encoded:
        """`data` as the model reads it, where it lies; its first row is called `first` where one is wrong."""
        dtype, place = self.model.architecture.dtype, data.place
        with np.errstate(over="ignore"):  # said below, with the row
            steps = encode.encode(self.encoder, data, dtype)
        if not self.model.architecture.tokens and not self._all_finite(steps, place):
            host = steps if place is None else place.to_host(steps)
            step = int(np.argmin(np.isfinite(host).all(axis=1)))
            row = first + int(np.searchsorted(np.cumsum(data.lengths), step, side="right"))
            if np.isnan(host[step]).any():  # read with a setting that was changed since the training
                raise ValueError(
                    f"row {row} of X holds NaN, but this model was trained with missing='error': remove or replace it, "
                    "or train a model with missing='mask'."
                )
            raise ValueError(
                f"row {row} of X holds numbers too large for {dtype}: rescale them, or use dtype='float64'."
            )
        return Encoded.of(steps, data.lengths)

    def encoded_near(self, data: Series | Texts) -> Encoded:
        """`encoded`, on the model's device where that has room for it."""
        backend = self.model.backend
        gaps = self.encoder.width > self.encoder.size
        return feed.steps_near(self.encoded(feed.near(data, backend, self.model.architecture.dtype, gaps)), backend)

    def unknown_of(self, encoded: Encoded) -> tuple[int, int]:
        """How many of the encoded tokens the model does not know, and how many there are; of numbers 0 and 0."""
        if not self.model.architecture.tokens:
            return 0, 0
        home = backends.owner(encoded.steps) or numpy_arrays.BACKEND
        with home.current():
            count = home.namespace.count_nonzero(encoded.steps == encode.UNKNOWN)
            return int(home.to_host(count)), int(encoded.steps.shape[0])

    def warn_of_unknown(self, unknown: int, tokens: int) -> None:
        """Say once of a model that goes on if most tokens of what it is given are unknown to it."""
        if self.told_of_unknown or 2 * unknown <= tokens:
            return
        guesses.warn(guesses.mostly_unknown(unknown, tokens, self.encoder.size - 1))
        self.told_of_unknown = True

    def _all_finite(self, steps: Array, place: Backend | None) -> bool:
        if place is None:
            return blocks.all_finite(steps)
        with place.current():
            return ondevice.true_of_all(place, place.namespace.isfinite(steps))

    def outputs(self, X: Any, reading: sequences.Reading) -> Outputs:
        """(n, K) for the sequences X, where X lies, in the model's dtype: what the task makes its answers of."""
        return self._of_each(X, reading, self.model.logits, self.model.architecture.outputs)

    def features(self, X: Any, reading: sequences.Reading) -> Outputs:
        """(n, width) for the sequences X, where X lies, in the model's dtype: what the head sees."""
        return self._of_each(X, reading, self.model.features, self.model.width)

    def _of_each(self, X: Any, reading: sequences.Reading, make: Callable[[Batch], Array], width: int) -> Outputs:
        """What the model makes of each sequence, so many numbers, or of each of their steps."""
        model, backend = self.model, self.model.backend
        data = self.matched(sequences.read(X, *reading))
        xp, each_step = backend.namespace, model.readout.each_step
        n, steps = len(data.lengths), int(data.lengths.sum())
        # A device has room for all, or brings them there itself.
        parts = series.parts(data, PART) if backend.on_host else [(slice(0, n), data)]
        # Numbers near the end of the range saturate the gates.
        with backend.current(), np.errstate(over="ignore", invalid="ignore"):
            outputs = xp.empty((steps if each_step else n, width), dtype=getattr(xp, model.architecture.dtype))
            begin = 0  # the first of these outputs that is the part's
            for of_part, part in parts:
                encoded = self.encoded(part, of_part.start) if backend.on_host else self.encoded_near(part)
                end = begin + (len(encoded.steps) if each_step else len(encoded.lengths))
                here = outputs[begin:end, :]
                for rows, places, inputs in feed.Feed(model, encoded).batches(list(batch.by_length(encoded.lengths))):
                    made = make(inputs)
                    if each_step:
                        places, made = self._steps_of(made, rows, encoded)
                    here[rows if places is None else places] = made
                begin = end
        if data.place is None:
            outputs = backend.to_host(outputs)
        return Encoded.of(outputs, data.lengths) if each_step else outputs

    def _steps_of(self, logits: Array, rows: HostArray, encoded: Encoded) -> tuple[Array, Array]:
        """Where the valid steps of a batch stand among the steps of all rows, and their outputs, (·, K)."""
        backend, (N, T, K) = self.model.backend, logits.shape
        lengths = encoded.lengths[rows]
        there = ondevice.steps_of(backend, encoded.starts[rows], lengths)
        here = ondevice.steps_of(backend, np.arange(N) * T, lengths)
        return there, backend.namespace.take(backend.namespace.reshape(logits, (N * T, K)), here, axis=0)

    def of_part(self, outputs: Array) -> Outputs:
        """Outputs of one sequence or of a part of it, (1, K) or (1, T, K), as the task is given them."""
        if not self.model.readout.each_step:
            return outputs
        return Encoded.of(outputs[0, ...], np.array([outputs.shape[1]]))

    def made(self, make: Callable[[Any], Any], outputs: Outputs) -> Any:
        """What a function of the task's gives for outputs (n, K), where these lie."""
        home = backends.owner(_array_of(outputs))
        if home is None or home.on_host:
            return make(outputs)
        with home.current():
            if self._task_is_anywhere:
                return make(outputs)
            made = make(_to_host(outputs, home))
            return [_numbers_on(home, each) for each in made] if isinstance(made, list) else _numbers_on(home, made)

    def answers(self, outputs: Outputs) -> Any:
        """The answers for outputs (n, K), (n,), on the host; on a GPU where these outputs are and y was in training."""
        home = backends.owner(_array_of(outputs))
        if home is None or home.on_host:
            return self.task.answers(outputs)
        with home.current():
            answers = self.task.answers(outputs if self._task_is_anywhere else _to_host(outputs, home))
            if not self.answers_there:
                return answers
            return list(map(home.from_host, answers)) if isinstance(answers, list) else home.from_host(answers)

    def predict(self, X: Any, reading: sequences.Reading) -> Any:
        """The answer for each sequence, (n,)."""
        return self.answers(self.outputs(X, reading))

    def score(self, X: Any, y: Any, sample_weight: Any, reading: sequences.Reading) -> float:
        """How good the answers for X are beside y, weighted by `sample_weight`."""
        return self.task.score(*self.beside(X, y, sample_weight, reading))

    def beside(self, X: Any, y: Any, sample_weight: Any, reading: sequences.Reading) -> tuple[Any, Any, HostArray]:
        """On the host: the outputs for X, the targets and the weights."""
        outputs = self.outputs(X, reading)
        home, lengths = backends.owner(_array_of(outputs)), outputs.lengths if isinstance(outputs, Encoded) else None
        n = len(outputs) if lengths is None else len(lengths)
        targets = self.task.read(ondevice.brought("y", y), n)
        if lengths is not None:
            self.task.check_lengths(targets, lengths)
        return _to_host(outputs, home), targets, weights_of(sample_weight, n)

    def to(self, backend: Backend) -> Fitted:
        """A copy on another device, the optimiser included."""
        trainer = self.trainer.to(backend)
        kept = (self.columns, self.feature_names, self.owner, self.table, self.sides, self.answers_there, self.start)
        return Fitted(trainer, self.encoder, *kept)


def _array_of(outputs: Outputs) -> Array:
    return outputs.steps if isinstance(outputs, Encoded) else outputs


def _to_host(outputs: Outputs, home: Backend | None) -> Outputs:
    """Outputs that lie there, on the host."""
    if home is None or home.on_host:
        return outputs
    if isinstance(outputs, Encoded):
        return outputs._replace(steps=home.to_host(outputs.steps))
    return home.to_host(outputs)


def _numbers_on(home: Backend, made: Any) -> Any:
    """Numbers on a device; anything else as it is."""
    numeric = isinstance(made, np.ndarray) and made.dtype.kind in "biufc"
    return home.from_host(made) if numeric else made
