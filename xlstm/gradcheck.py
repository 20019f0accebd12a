"""Is a backward pass right? Its gradients beside central differences of its forward pass, in float64.

The check sees the outputs through one number, their sum weighted at random: L = Σ r·output. A backward pass that is
given r as the gradient of the outputs must return the gradient of L, and that is also measured: (L(p + εv) -
L(p - εv)) / 2ε for a direction v. For small arrays v is each element in turn; for large ones it is random signs.
(The method of Chainer's and Theano's gradient checkers; the error is of the order ε² + 1e-16/ε, here about 1e-10.)

A gradient check compares a backward pass with its own forward pass. A wrong forward pass with the backward pass that
belongs to it passes: only a comparison with another implementation finds that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import backends, feed, gradpair, ondevice
from .batch import Encoded
from .estimators.base import SequenceEstimator
from .host import HostArray
from .recurrent import RecurrentLayer
from .seeds import generator

EPSILON = 1e-5
"""The step of the differences, for values of the order of 1."""
TOLERANCE = 1e-6
"""The largest relative error that passes, in the Frobenius norm."""
ELEMENTWISE = 128
"""The most elements of an array that is checked element by element; larger ones are checked along random directions."""
DIRECTIONS = 24
"""The number of random directions for a larger array."""


@dataclass(frozen=True)
class Entry:
    """The check of one array."""

    name: str
    shape: tuple[int, ...]
    method: str  # "each element" or "24 directions"
    error: float  # relative; NaN where a gradient is not finite
    norm: float  # of the measured gradient
    note: str  # where a wrong gradient differs most

    @property
    def passed(self) -> bool:
        return self.error <= TOLERANCE  # NaN is not


class GradientReport:
    """What `check_gradients` found, to be read: `print(report)`.

    Attributes
    ----------
    entries : list of Entry
        One for each array.
    passed : bool
        Whether all are right.
    unchecked : list of str
        Inputs of a floating type for which the backward pass returned None.
    """

    def __init__(self, what: str, seed: Any, entries: list[Entry], unchecked: Sequence[str] = ()) -> None:
        self.what, self.seed, self.entries, self.unchecked = what, seed, entries, list(unchecked)

    @property
    def passed(self) -> bool:
        return all(entry.passed for entry in self.entries)

    def __str__(self) -> str:
        verdict = "all gradients are right" if self.passed else "WRONG GRADIENTS"
        width = max(len(entry.name) for entry in self.entries)
        lines = [f"gradient check of {self.what} in float64, seed {self.seed}: {verdict} (tolerance {TOLERANCE:g})"]
        for entry in self.entries:
            mark = "ok   " if entry.passed else "WRONG"
            lines.append(
                f"  {mark} {entry.name:<{width}}  {entry.shape!s:<14} relative error {entry.error:.1e}  "
                f"norm {entry.norm:.2e}  by {entry.method}{entry.note}"
            )
        lines += [f"  --    {name:<{width}}  no gradient was returned: not checked" for name in self.unchecked]
        return "\n".join(lines)


def check_gradients(target: Any, inputs: Any = None, params: Any = None, seed: Any = 0) -> GradientReport:
    """Compare the gradients of `target` with central differences, in float64, on a copy.

    Parameters
    ----------
    target
        - A layer (`LSTM`, `GRU`, `RNN`): checked are its parameters, the input and the initial states; dropout is off.
        - A fitted estimator, such as `SequenceClassifier`: every parameter, through head and loss; dropout is off.
        - A pair (forward, backward) of functions, for a cell of one's own:
          `forward(params, *inputs)` returns (outputs, tape), `backward(tape, d_outputs)` returns (d_params, d_inputs).
          `outputs` is an array or a tuple of them, and `d_outputs` then has the same form; `d_params` is a mapping with
          the names of `params`; `d_inputs` is a sequence as long as `inputs`, with None for what has no gradient, or
          the array itself where there is but one input. An attribute `input_names` of `forward`, a list, names the
          inputs in the report.
    inputs
        For a layer: (x, state, lengths), of which the last or the last two may be left out; None draws a small ragged
        batch with states. For a classifier: (X, y); None draws a batch. For a pair: the sequence of its input arrays
        (NumPy arrays; those that are not of a floating type are passed on unchanged).
    params
        For a pair: mapping of names to arrays. For layers and classifiers: values in place of their own, by name.
    seed
        What the random weights, directions and inputs are drawn from.

    Returns
    -------
    GradientReport

    Raises
    ------
    AssertionError
        If a gradient is wrong, NaN included; the message is the report.
    ValueError, TypeError
        If `target` is none of these; if a pair of functions does not take or return what is said above; if a gradient
        is missing, too many or of another shape than its array: the message says what it did instead; if what was given
        holds NaN or infinity, and so outputs or gradients do.
    """
    rng = generator(seed)
    if isinstance(target, RecurrentLayer):
        what, forward, backward, values, given = _of_layer(target, inputs, params, rng)
    elif isinstance(target, SequenceEstimator):
        what, forward, backward, values, given = _of_estimator(target, inputs, params, rng)
    elif isinstance(target, (tuple, list)) and len(target) == 2 and all(map(callable, target)):
        forward, backward = target
        what = getattr(forward, "__name__", type(forward).__name__)
        if params is not None and not isinstance(params, Mapping):
            raise TypeError(f"params must be a mapping of names to arrays, got {type(params).__name__}.")
        values = {name: _float64(array) for name, array in (params or {}).items()}
        for name, array in values.items():
            if getattr(array, "dtype", None) != np.float64:
                raise TypeError(f"the parameter {name!r} is not of a floating type: pass it among the inputs.")
        if inputs is not None and hasattr(inputs, "dtype"):
            raise TypeError("inputs must be a sequence of arrays, got one array: write (x,).")
        given = [_float64(array) for array in (() if inputs is None else inputs)]
    else:
        raise TypeError(
            "target must be a layer, a fitted SequenceClassifier or a pair (forward, backward) of functions, "
            f"got {_told(target)}."
        )
    report = GradientReport(what, seed, *_entries(forward, backward, values, given, rng))
    if not report.passed:
        raise AssertionError(str(report))
    return report


def _told(target: Any) -> str:
    if callable(target) and not isinstance(target, type):
        return f"{type(target).__name__} alone: pass (forward, backward)"
    inside = f" of {', '.join(type(one).__name__ for one in target)}" if isinstance(target, (tuple, list)) else ""
    return f"{type(target).__name__}{inside}"


def _entries(
    forward: Callable[..., Any], backward: Callable[..., Any], params: dict[str, Any], inputs: list[Any], rng: Any
) -> tuple[list[Entry], list[str]]:
    gradpair.check_order(forward, backward)
    told = " and ".join(["the params", *([f"{len(inputs)} inputs"] if inputs else [])])
    outputs, tape = gradpair.pair(
        gradpair.called(forward, "forward", (params, *inputs), told), gradpair.FORWARD, forward
    )
    outputs, several = gradpair.outputs_of(outputs, forward)
    weights = [rng.standard_normal(np.shape(output)) for output in outputs]
    d_given = tuple(weights) if several else weights[0]
    returned = gradpair.called(backward, "backward", (tape, d_given), "the tape and d_outputs")
    d_params, d_inputs = gradpair.pair(returned, gradpair.BACKWARD, backward)
    d_params = gradpair.gradients_of_params(d_params, params)
    d_inputs = gradpair.gradients_of_inputs(d_inputs, inputs)

    def loss() -> float:
        again, _ = forward(params, *inputs)
        again = again if several else [again]
        return float(sum(np.sum(w * np.asarray(output)) for w, output in zip(weights, again, strict=True)))

    pairs: list[tuple[str, HostArray, HostArray]] = []
    pairs += [(name, array, d_params[name]) for name, array in params.items() if array.size]
    names = getattr(forward, "input_names", None) or [f"input {k}" for k in range(len(inputs))]
    unchecked = []
    for name, array, gradient in zip(names, inputs, d_inputs, strict=True):
        if isinstance(array, np.ndarray) and array.dtype == np.float64 and array.size:
            if gradient is None:
                unchecked.append(name)
            else:
                pairs.append((name, array, gradient))
    if not pairs:
        raise ValueError("there is no array to check: give params, or inputs of a floating type.")

    measured = []
    for name, array, gradient in pairs:
        gradient = gradpair.gradient_like(name, array, gradient)
        measured.append((name, array, *_measure(loss, array, gradient, rng)))
    # A gradient that is small by cancellation is measured against a tenth of the usual size.
    size = sum(len(numeric) for _, _, _, numeric, _ in measured)
    usual = np.sqrt(sum(float(numeric @ numeric) for _, _, _, numeric, _ in measured) / size)
    entries = []
    for name, array, analytic, numeric, elementwise in measured:
        norm = float(np.linalg.norm(numeric))
        scale = max(norm, 0.1 * usual * np.sqrt(len(numeric)), 1e-300)
        error = float(np.linalg.norm(analytic - numeric)) / scale
        if not np.isfinite(error):
            gradpair.check_finite([*params.items(), *zip(names, inputs, strict=True)])
        note = ""
        if not error <= TOLERANCE:
            k = int(np.argmax(np.where(np.isnan(analytic), np.inf, np.abs(analytic - numeric))))
            place = (
                f"[{', '.join(map(str, np.unravel_index(k, array.shape)))}]" if elementwise else f" along direction {k}"
            )
            note = f"; most at {name}{place}: {analytic[k]:.6g}, measured {numeric[k]:.6g}"
        method = "each element" if elementwise else f"{DIRECTIONS} directions"
        entries.append(Entry(name, tuple(array.shape), method, error, norm, note))
    return entries, unchecked


def _measure(
    loss: Callable[[], float], array: HostArray, gradient: HostArray, rng: Any
) -> tuple[HostArray, HostArray, bool]:
    """The gradient as given and as measured, by element or by direction; `array` is moved and put back."""
    elementwise = array.size <= ELEMENTWISE
    analytic, numeric = [], []
    original = array.copy()
    for k in range(array.size if elementwise else DIRECTIONS):
        if elementwise:
            direction = np.zeros(array.size)
            direction[k] = 1.0
            direction = direction.reshape(array.shape)
        else:
            direction = rng.choice([-1.0, 1.0], size=array.shape)
        array[...] = original + EPSILON * direction
        above = loss()
        array[...] = original - EPSILON * direction
        below = loss()
        array[...] = original
        if elementwise:
            analytic.append(float(gradient.flat[k]))
        else:
            with np.errstate(invalid="ignore"):  # a gradient of infinity or NaN is reported, not warned of
                analytic.append(float(np.sum(gradient * direction)))
        numeric.append((above - below) / (2 * EPSILON))
    return np.array(analytic), np.array(numeric), elementwise


def _float64(array: Any) -> Any:
    """A float64 copy of what is floating; anything else as it is."""
    values = np.asarray(array)
    return np.array(values, dtype=np.float64) if values.dtype.kind == "f" else array


# ---------------------------------------------------------------- layers and classifiers as pairs


Problem = tuple[str, Callable[..., Any], Callable[..., Any], dict[str, HostArray], list[Any]]


def _of_layer(
    layer: RecurrentLayer, inputs: Any, params: Mapping[str, Any] | None, rng: np.random.Generator
) -> Problem:
    values = _host_values(layer.parameters, layer.backend.to_host, params)
    # The same layer in float64, on its own device and path, without dropout.
    twin = layer.twin("float64", dropout=0.0)
    backend, record = twin.backend, twin.sizes.record
    K, widths = layer.num_layers * layer.directions, record.state_sizes(layer.hidden_size)
    if inputs is None:
        N, T = 3, 5
        x: Any = rng.standard_normal((N, T, layer.input_size))
        initial: Any = [rng.standard_normal((K, N, width)) for width in widths]
        lengths: Any = [T, 2, 1]
    else:
        x, state, lengths = (*_as_inputs(inputs), None, None)[:3]
        x = np.array(_on_host(layer, x), dtype=np.float64)
        initial = [
            np.zeros((K, len(x), width)) if part is None else _float64(_on_host(layer, part))
            for part, width in zip(record.split("the state", state), widths, strict=True)
        ]

    def joined(parts: Sequence[Any]) -> Any:
        return record.join(tuple(backend.from_host(part) for part in parts))

    def forward(values: Mapping[str, HostArray], x: HostArray, *initial: HostArray) -> tuple[Any, Any]:
        with backend.current():
            for name, value in values.items():
                twin.parameters[name] = backend.from_host(value)
        outputs, final, tape = twin.forward(backend.from_host(x), joined(initial), lengths)
        return tuple(backend.to_host(array) for array in (outputs, *record.split("the state", final))), tape

    def backward(tape: Any, d_outputs: Any) -> tuple[Any, Any]:
        d_first, *d_finals = d_outputs
        dx, d_initial = twin.backward(tape, backend.from_host(d_first), joined(d_finals))
        gradients = {name: backend.to_host(gradient) for name, gradient in twin.gradients.items()}
        return gradients, [backend.to_host(array) for array in (dx, *record.split("d_state", d_initial))]

    forward.input_names = ["x", *(f"{state}0" for state in record.states)]  # type: ignore[attr-defined]
    return f"{layer!r}", forward, backward, values, [x, *initial]


def _on_host(layer: RecurrentLayer, array: Any) -> Any:
    return layer.backend.to_host(array) if layer.backend.owns(array) else array


def _as_inputs(inputs: Any) -> tuple[Any, ...]:
    if not isinstance(inputs, (tuple, list)) or not 1 <= len(inputs) <= 3:
        raise TypeError("the inputs of a layer are (x,), (x, state) or (x, state, lengths).")
    return tuple(inputs)


def _of_estimator(
    estimator: SequenceEstimator, inputs: Any, params: Mapping[str, Any] | None, rng: np.random.Generator
) -> Problem:
    from . import encode, sequences
    from .model import Model

    fitted = estimator.fitted_state()
    old, task = fitted.model, fitted.task
    architecture = old.architecture._replace(dtype="float64", dropout=0.0)
    model = Model(architecture, old.backend, backends.portable(estimator.kernels), None, estimator.precision)
    values = _host_values(old.parameters, old.backend.to_host, params)
    if inputs is None:
        lengths = np.array([4, 3, 1, 4])
        size = architecture.input_size
        steps: Any = rng.integers(0, size, 12) if architecture.tokens else rng.standard_normal((12, size))
        targets = task.random_targets_of(lengths, rng)
    else:
        if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
            raise TypeError("the inputs of a classifier are (X, y).")
        data = sequences.read(inputs[0], *estimator.reading())
        ondevice.check_model(data.place, old.backend)
        data = encode.spelled(fitted.encoder, data)
        lengths, targets = data.lengths, task.read(ondevice.brought("y", inputs[1]), len(data.lengths))
        task.check_lengths(targets, lengths)
        steps = encode.encode(fitted.encoder, data)
    encoded, rows = Encoded.of(steps, lengths), np.arange(len(lengths))
    backend = model.backend
    batch = feed.whole(model, encoded)
    targets, weights = (
        task.batch(targets, rows, backend, "float64"),
        backend.from_host(np.linspace(0.5, 1.5, len(rows))),
    )
    quiet = np.random.default_rng(0)  # there is no dropout to draw

    def forward(values: Mapping[str, HostArray]) -> tuple[Any, Any]:
        with backend.current():
            for name, value in values.items():
                model.parameters[name] = backend.from_host(value)
            model.silence_unknown(model.parameters)  # held at zero, it has no gradient
            logits, tape = model.forward(batch, quiet)
            loss, d_logits = task.loss(logits, targets, weights)
        return backend.to_host(loss), (tape, d_logits)

    def backward(kept: Any, d_loss: Any) -> tuple[Any, Any]:
        tape, d_logits = kept
        with backend.current():
            model.backward(tape, d_logits * float(d_loss))
        return {name: backend.to_host(gradient) for name, gradient in model.gradients.items()}, []

    return f"{estimator!r}", forward, backward, values, []


def _host_values(own: Mapping[str, Any], to_host: Any, given: Mapping[str, Any] | None) -> dict[str, HostArray]:
    values = {name: np.array(to_host(array), dtype=np.float64) for name, array in own.items()}
    for name, array in (given or {}).items():
        if name not in values:
            raise ValueError(f"there is no parameter {name!r}; there are: {', '.join(values)}.")
        if np.shape(array) != values[name].shape:
            raise ValueError(f"{name} has shape {values[name].shape}, got {np.shape(array)}.")
        values[name] = np.array(array, dtype=np.float64)
    return values
