"""What a fitted network saw in one sequence: gates and states, the answer after each step, which steps count.

All of it is computed on the CPU, from a copy of the model, and comes as NumPy arrays: `xlstm.plots` draws it. The
sequence is read as `predict` reads each of its rows.

Shapes: T steps, D features, H hidden, K classes or other outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import backends, feed, sequences, series
from .batch import Encoded
from .cells import walk
from .encode import TokenEncoder
from .fitted import Fitted
from .host import HostArray
from .model import Batch, Model
from .series import Texts
from .tasks.classes import Binary, Classes
from .tasks.numbers import Numbers
from .tasks.several import SeveralLabels
from .tasks.steps import StepClasses

METHODS = ("gradient", "occlusion")
ROWS = 64
"""How many sequences go through the model at once where each step of one is left out, or is the last: memory for some,
and products that are large enough."""


class Trace(NamedTuple):
    """What one layer, in one direction, computed at each step of a sequence.

    Attributes
    ----------
    gates : dict of str to (T, H)
        By the names of the cell's equations: an LSTM's i, f and o after the sigmoid, g after tanh; a GRU's r, u and n;
        of an RNN, its state.
    states : dict of str to (T, H)
        h after each step, and an LSTM's c.
    steps : list of str or (T, D)
        The tokens of the sequence, or its numbers as they were given, NaN where one is missing.
    """

    gates: dict[str, HostArray]
    states: dict[str, HostArray]
    steps: list[str] | HostArray


class Explanation(NamedTuple):
    """Which steps of a sequence count for which answer.

    Attributes
    ----------
    importance : (T,) or (T, D)
        As `importance` gives it.
    steps : list of str or (T, D)
        As in `Trace`.
    answer
        What is explained: a label, or of numbers which of them, from 0 on.
    """

    importance: HostArray
    steps: list[str] | HostArray
    answer: Any


class _One:
    """A sequence as a copy of the model on the CPU reads it."""

    def __init__(self, estimator: Any, sequence: Any) -> None:
        fitted = estimator.fitted_state()
        reading = estimator.reading()
        fitted = fitted.to(backends.select("cpu"))
        data = series.to_host(fitted.matched(_read(fitted, sequence, reading), quiet=True))
        encoded = fitted.encoded(data)
        self.fitted: Fitted = fitted
        self.model: Model = fitted.model
        self.batch = feed.whole(self.model, encoded)
        self.T = int(encoded.lengths[0])
        self.steps: list[str] | HostArray = (
            [str(token) for token in data.tokens] if isinstance(data, Texts) else np.asarray(data.values)
        )

    def rows(self, x: HostArray, lengths: list[int]) -> HostArray:
        """Outputs of the model for dense steps (n, T, ·): (n, K), or of a model of every step (n, T, K)."""
        model = self.model
        made: HostArray = model.backend.to_host(model.logits(Batch(model.backend.adopt(x), None, lengths)))
        return made


def _read(fitted: Fitted, sequence: Any, reading: sequences.Reading) -> Any:
    data = sequences.read([sequence], *reading)
    if not isinstance(data, Texts) and data.columns is not None:  # a row of numbers: steps of one feature
        data = data._replace(columns=fitted.columns)
    return data


def trace(estimator: Any, sequence: Any, layer: int = -1, direction: str = "forward") -> Trace:
    """What a layer computed at each step of one sequence.

    Parameters
    ----------
    estimator
        A fitted estimator.
    sequence
        One sequence, of the kind that it was trained on: a string, a list of tokens, an array (T, D) or (T,).
    layer
        Which of its `num_layers`: from 0 on, or from the last, -1, backwards.
    direction : {"forward", "reverse"}
        Of a bidirectional model. What is given stands in the order of the sequence in both.

    Raises
    ------
    ValueError
        If the estimator is not fitted; if it has no such layer or direction; if its cell is no loop over steps; or as
        `predict`.
    TypeError
        As `predict`.
    """
    one = _One(estimator, sequence)
    stack, sizes, record = one.model.stack, one.model.stack.sizes, one.model.stack.record
    L, S = sizes.num_layers, sizes.directions
    layer = _whole_number("layer", layer, -L, L - 1) % L
    directions = ("forward", "reverse")[:S]
    if direction not in directions:
        raise ValueError(f"direction must be one of {directions} of this model, got {direction!r}.")
    reverse = direction == "reverse"
    x: Any = one.model.dense(one.batch).x
    tape: Any = None
    with stack.backend.quiet():
        for k in range(layer + 1):
            sides = [record.forward(stack.of_cells[k * S + d], x, keep=k == layer, reverse=d == 1) for d in range(S)]
            x = sides[0][0] if S == 1 else np.concatenate([side[0] for side in sides], axis=2)
            tape = sides[int(reverse)][2]
    if not isinstance(tape, walk.Tape):
        raise ValueError(f"the cell {record.name!r} is no loop over steps: it has no gates to look at.")
    turned = slice(None, None, -1 if reverse else 1)
    z, H = np.asarray(tape.z)[turned, 0, :], sizes.hidden_size
    gates = {name: z[:, k * H : (k + 1) * H].copy() for k, name in enumerate(record.gates)}
    after = [np.asarray(values)[1:, 0, :][turned].copy() for values in tape.states]
    states = dict(zip(record.states, after, strict=True))
    if len(record.gates) == 1:  # an RNN's only one is its state: the walk keeps what goes into tanh
        gates = {name: after[0].copy() for name in gates}
    return Trace(gates, states, one.steps)


def steps_of(estimator: Any, sequence: Any) -> list[str] | HostArray:
    """The tokens of a sequence, or its numbers (T, D) as they were given: what the rows of the others belong to."""
    return _One(estimator, sequence).steps


def after_each_step(estimator: Any, sequence: Any) -> HostArray:
    """What the model would answer, had the sequence ended with each of its steps: a classifier's probabilities.

    Row t is what the model gives for the first t + 1 steps. Of a model in one direction this is what `stream` tells.

    Parameters
    ----------
    estimator, sequence
        As for `trace`.

    Returns
    -------
    (T, K)
        The probability of each class; a regressor's numbers. Of a labeler, whose every step has an answer, the
        probabilities at the last step of each beginning.

    Raises
    ------
    ValueError, TypeError
        As `trace`.
    """
    one = _One(estimator, sequence)
    model, task, parts = one.model, one.fitted.task, []
    if model.architecture.bidirectional:
        dense = np.asarray(model.dense(one.batch).x)[0]  # (T, ·)
        for begin in range(0, one.T, ROWS):
            lengths = list(range(begin + 1, min(begin + ROWS, one.T) + 1))
            x = np.broadcast_to(dense[: lengths[-1]], (len(lengths), lengths[-1], dense.shape[1])).copy()
            made: Any = one.rows(x, lengths)
            if model.readout.each_step:
                made = made[np.arange(len(lengths)), np.array(lengths) - 1]
            parts.append(made)
    else:
        progress = None
        whole = one.batch.x if one.batch.ids is None else one.batch.ids
        for t in range(one.T):
            step = whole[:, t : t + 1]
            piece = Batch(step, None, [1]) if one.batch.ids is None else Batch(None, step, [1])
            outputs, progress = model.continued(piece, progress)
            parts.append(outputs[:, 0] if model.readout.each_step else outputs)
    outputs = np.concatenate(parts)  # (T, K)
    if model.readout.each_step:
        details: HostArray = np.asarray(task.details(Encoded.of(outputs, np.array([len(outputs)])))[0])
        return details
    details = np.asarray(task.details(outputs))
    return details[:, None] if details.ndim == 1 else details


def importance(
    estimator: Any,
    sequence: Any,
    method: str = "gradient",
    *,
    target: Any = None,
    step: int = -1,
    width: int = 1,
) -> HostArray:
    """How much each step of a sequence counts for one answer: above 0 where it speaks for it, below 0 against it.

    What is explained is the logit of a class, that is the logarithm of its odds, ln(p / (1 - p)); of a regressor, the
    number itself, in its unit.

    Parameters
    ----------
    estimator, sequence
        As for `trace`.
    method : {"gradient", "occlusion"}
        "gradient": gradient × input (Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
        Activation Differences", 2017, section 2), from one pass forward and one backward: what the answer would change
        per share by which a step's input were larger. "occlusion" (Zeiler and Fergus, 2014): by how much the answer is
        lower without a step, from T passes: slower, and not misled by gates that are saturated. The input of a step
        that is left out is zero: the mean of the training for numbers (their zero where they were not standardised), an
        unknown token for tokens.
    target
        Which answer: a label of `classes_`, for a regressor the number of a column or quantile. None is the most
        probable class, the first number; of several labels the most probable.
    step
        Of a labeler: the answer at which step, from 0 on or from the last, -1, backwards.
    width : int
        With "occlusion": how many steps are left out together; a step then has the mean of all windows that hold it.

    Returns
    -------
    (T,) or (T, D)
        Of numbers with "gradient" what each feature counts, else one number a step. The gradient's sum over all is the
        derivative of the answer when the whole input is scaled.

    Raises
    ------
    ValueError
        As `trace`; if there is no such method, target or step.
    TypeError
        As `predict`.
    """
    return explanation(estimator, sequence, method, target=target, step=step, width=width).importance


def explanation(
    estimator: Any,
    sequence: Any,
    method: str = "gradient",
    *,
    target: Any = None,
    step: int = -1,
    width: int = 1,
) -> Explanation:
    """`importance`, with the steps that it is of and the answer that it explains: for who shows it."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    one = _One(estimator, sequence)
    step = _whole_number("step", step, -one.T, one.T - 1) % one.T
    width = _whole_number("width", width, 1, one.T)
    if width > 1 and method != "occlusion":
        raise ValueError(f"width is of occlusion alone: method is {method!r}, so leave it at 1; got {width}.")
    outputs = _at(one, np.asarray(one.model.logits(one.batch)), step)
    column = _column(one, outputs, target)
    found = (
        _by_gradient(one, column, step) if method == "gradient" else _by_occlusion(one, outputs, column, step, width)
    )
    classes = getattr(one.fitted.task, "classes", None)
    return Explanation(found, one.steps, column if classes is None else classes.tolist()[column])


def _at(one: _One, outputs: HostArray, step: int) -> HostArray:
    """(n, K): of a model of every step the outputs at that step."""
    return outputs[:, step] if one.model.readout.each_step else outputs


def _by_gradient(one: _One, column: int, step: int) -> HostArray:
    """Gradient × input: (T,) of tokens, (T, D) of numbers."""
    dense = one.model.dense(one.batch)
    logits, tape = one.model.forward(dense, None)
    d_logits = np.zeros_like(logits)
    _at(one, d_logits, step)[...] = _explained(one, _at(one, np.asarray(logits), step), column)[1]
    gradient = one.model.backward(tape, d_logits, input_gradient=True)
    counted: HostArray = (np.asarray(gradient) * np.asarray(dense.x))[0]  # (T, ·)
    if isinstance(one.fitted.encoder, TokenEncoder):
        counted = counted.sum(axis=1)
        return counted
    D = one.fitted.encoder.size
    if counted.shape[1] > D:  # a missing number, and whether it is there, are one feature's matter
        counted = counted[:, :D] + counted[:, D:]
    return counted


def _by_occlusion(one: _One, outputs: HostArray, column: int, step: int, width: int) -> HostArray:
    """By how much the answer is lower without a step, (T,); `outputs` (1, K) are those with all of them."""
    x = np.asarray(one.model.dense(one.batch).x)[0]
    without = np.empty(one.T - width + 1)
    for begin in range(0, len(without), ROWS):
        first = np.arange(begin, min(begin + ROWS, len(without)))
        rows = np.repeat(x[None], len(first), axis=0)
        rows[np.arange(len(first))[:, None], first[:, None] + np.arange(width)] = 0
        without[first] = _explained(one, _at(one, one.rows(rows, [one.T] * len(first)), step), column)[0]
    lower = _explained(one, outputs, column)[0][0] - without  # of the window that begins there
    windows = np.convolve(np.ones(len(lower)), np.ones(width))  # how many hold each step
    return np.convolve(lower, np.ones(width)) / windows


def _column(one: _One, outputs: HostArray, target: Any) -> int:
    """The number of the answer that is explained, of outputs (1, K)."""
    task = one.fitted.task
    if isinstance(task, Numbers):
        return 0 if target is None else _whole_number("target", target, 0, outputs.shape[1] - 1)
    if not isinstance(task, (Classes, StepClasses, SeveralLabels)):
        raise ValueError(f"answers of the kind {task.kind!r} cannot be explained: they are neither labels nor numbers.")
    if target is None:
        likeliest = outputs if isinstance(task, SeveralLabels) else task.form.probabilities(outputs)
        return int(np.argmax(likeliest[0]))
    found = [k for k, label in enumerate(task.classes.tolist()) if label == target]
    if not found:
        raise ValueError(f"target must be one of the labels {task.classes.tolist()!r:.200}, got {target!r:.80}.")
    return found[0]


def _explained(one: _One, outputs: HostArray, column: int) -> tuple[HostArray, HostArray]:
    """Of outputs (n, K): the number that is explained, (n,), and its slope, (n, K)."""
    task = one.fitted.task
    outputs = outputs.astype(np.float64)
    slope = np.zeros_like(outputs)
    slope[:, column if outputs.shape[1] > 1 else 0] = 1
    if isinstance(task, Numbers):
        slope *= task.scale[column if len(task.scale) > 1 else 0]
    elif isinstance(task, (Classes, StepClasses)) and isinstance(task.form, Binary):
        slope *= 1 if column == 1 else -1  # the output is the logit of the second class
    elif isinstance(task, (Classes, StepClasses)):  # ln(p / (1 - p)) = z - ln Σ exp(z of the others)
        others = np.arange(outputs.shape[1]) != column
        highest = outputs[:, others].max(axis=1, keepdims=True)
        weights = np.exp(outputs[:, others] - highest)
        total = weights.sum(axis=1, keepdims=True)
        slope[:, others] = -weights / total
        return outputs[:, column] - (highest + np.log(total))[:, 0], slope
    return (outputs * slope).sum(axis=1), slope


def _whole_number(name: str, value: Any, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not lowest <= value <= highest:
        raise ValueError(f"{name} must be a whole number from {lowest} to {highest} here, got {value!r}.")
    return int(value)
