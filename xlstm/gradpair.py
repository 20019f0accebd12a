"""What a pair of functions of one's own gives the gradient check: asked for, and what is wrong with it said.

`check_gradients` expects forward(params, *inputs) → (outputs, tape) and backward(tape, d_outputs) → (d_params,
d_inputs). What a pair does instead is named here: what was given, what was expected, what to do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

FORWARD = "forward(params, *inputs) must return a pair (outputs, tape)"
BACKWARD = "backward(tape, d_outputs) must return a pair (d_params, d_inputs)"


def check_order(forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Raise where the names of both say that they are swapped: one alone may mean something else."""
    first, second = _name(forward).lower(), _name(backward).lower()
    if ("backward" in first or "bwd" in first) and ("forward" in second or "fwd" in second):
        raise TypeError(
            f"the pair is (forward, backward), got ({_name(forward)}, {_name(backward)}): are they swapped?"
        )


def called(function: Callable[..., Any], what: str, arguments: Sequence[Any], told: str) -> Any:
    """What a function returns for these arguments; TypeError where it does not take as many.

    Parameters
    ----------
    what
        "forward" or "backward".
    told
        What the arguments are, for the message.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some built-in functions have none
        return function(*arguments)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"{what} is called with {told}, {len(arguments)} arguments, but {_name(function)}{signature} does not take "
            f"these ({error}). The pair is (forward, backward) with forward(params, *inputs) and backward(tape, "
            "d_outputs): are the two swapped, or is an input missing in inputs=?"
        ) from None
    return function(*arguments)


def pair(returned: Any, rule: str, function: Callable[..., Any]) -> tuple[Any, Any]:
    """The two things that a function has to return; TypeError where it returned anything else."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        many = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
        hint = ""
        if returned is None:
            hint = " Is its return statement missing?"
        elif isinstance(returned, Mapping) and rule == BACKWARD:
            hint = " For a function without inputs of its own, return (gradients, None)."
        elif many and len(returned) > 2:
            last = "outputs" if rule == FORWARD else "gradients of the inputs"
            hint = f" Several {last} are one tuple inside the pair."
        raise TypeError(f"{rule}; {_name(function)} returned {type(returned).__name__}{many}.{hint}")
    return returned[0], returned[1]


def outputs_of(outputs: Any, function: Callable[..., Any]) -> tuple[list[Any], bool]:
    """The outputs of a forward pass as a list, and whether they were several."""
    several = isinstance(outputs, (tuple, list))
    found = list(outputs) if several else [outputs]
    for k, output in enumerate(found):
        which = f"output {k}" if several else "outputs"
        if output is None or isinstance(output, (Mapping, str)) or np.asarray(output).dtype.kind not in "fiub":
            raise TypeError(
                f"{FORWARD}, the outputs an array or a tuple of arrays; of {_name(function)} the {which} is "
                f"{type(output).__name__}. Are tape and outputs swapped, or forward and backward?"
            )
        if not np.isfinite(np.asarray(output, dtype=np.float64)).all():
            raise ValueError(
                f"the {which} of {_name(function)} holds NaN or infinity: nothing can be measured there. Give params "
                "and inputs for which the outputs are finite."
            )
    return found, several


def check_finite(arrays: Iterable[tuple[str, Any]]) -> None:
    """Raise where what was given is why a gradient is not finite."""
    for name, array in arrays:
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{name} holds NaN or infinity, and a gradient is not finite: nothing can be measured there. Give "
                "params and inputs that are finite."
            )


def gradients_of_params(given: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The gradients of the parameters by their names, one for each."""
    names = ", ".join(params) or "none, for there are no params"
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        hint = ""
        if isinstance(given, (list, tuple)) or hasattr(given, "shape"):
            hint = " Is the order (d_inputs, d_params)? It is (d_params, d_inputs)."
        raise TypeError(
            f"d_params, the first that backward returns, must be a mapping with the names of params ({names}); got "
            f"{type(given).__name__}.{hint}"
        )
    missing, more = [name for name in params if name not in given], [str(name) for name in given if name not in params]
    if missing:
        also = f" It returned others that are no parameters: {', '.join(more)}." if more else ""
        raise ValueError(
            f"backward returned no gradient for the parameters {', '.join(missing)}.{also} Give each the name that it "
            "has in params."
        )
    if more:
        raise ValueError(
            f"backward returned gradients for {', '.join(more)}, which params do not have (they have {names}): pass "
            "these arrays in params=, or leave their gradients out."
        )
    return given


def gradients_of_inputs(given: Any, inputs: Sequence[Any]) -> list[Any]:
    """The gradients of the inputs in their order, None for those that have none."""
    if given is None:
        return [None] * len(inputs)
    if isinstance(given, Mapping):
        raise TypeError(
            "d_inputs, the second that backward returns, must be a sequence in the order of the inputs, got a mapping. "
            "The order is (d_params, d_inputs)."
        )
    if len(inputs) == 1 and hasattr(given, "shape"):
        return [given]
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"d_inputs, the second that backward returns, must be a sequence of {len(inputs)} gradients, one for each "
            f"of the inputs (None where there is none); got {type(given).__name__}."
        )
    if len(given) != len(inputs):
        raise ValueError(
            f"backward returned {len(given)} gradients for {len(inputs)} inputs: return one for each, in their order, "
            "None where there is none."
        )
    return list(given)


def gradient_like(name: str, array: Any, gradient: Any) -> np.ndarray[Any, Any]:
    """A gradient as a float64 copy, of the shape of its array."""
    if gradient is None:
        raise ValueError(
            f"the gradient of {name} is None: return an array of shape {array.shape}, zeros where the outputs do not "
            "depend on it."
        )
    try:
        values = np.array(gradient, dtype=np.float64)  # a copy: it may be a view of a workspace
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the gradient of {name} must be an array of real numbers of shape {array.shape}, got "
            f"{type(gradient).__name__} ({error})."
        ) from None
    if values.shape != array.shape:
        hint = ""
        if values.ndim > 1 and values.shape == array.shape[::-1]:
            hint = " It is transposed: return gradient.T."
        elif values.ndim == array.ndim + 1 and values.shape[1:] == array.shape:
            hint = " It has an axis too many in front: sum over it, gradient.sum(axis=0)."
        elif values.size == array.size:
            hint = " It has as many elements: reshape it."
        raise ValueError(f"{name} has shape {array.shape}, but its gradient {values.shape}.{hint}")
    return values


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
