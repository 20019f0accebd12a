"""From what the readout gives to the numbers that the answer is made of: logits, one for each output.

Equation: logits = features · weightᵀ + bias. Shapes: N batch, F features, K outputs: weight (K, F), bias (K,). Features
and logits may have a time T too: (N, T, F) and (N, T, K).

In a training loop of one's own:

    head = xlstm.head.parameters(F, K, like=layer.parameters, seed=0)
    logits = xlstm.head.forward(head, features)
    d_features, d_head = xlstm.head.backward(head, features, d_logits)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from . import backends, params
from .checks import checked, positive
from .namespace import Array, array_namespace
from .seeds import generator


def parameters(
    features: int, outputs: int, like: params.Parameters | Array, seed: Any = None, init: str = "orthogonal"
) -> params.Parameters:
    """A new head's parameters: `weight` (K, F) and `bias` (K,), views of one buffer.

    Parameters
    ----------
    features, outputs
        F, for a layer its hidden size times its directions, and K.
    like
        The parameters of the layer whose outputs it is to read, or an array: the head is of their library, device and
        dtype.
    seed
        None, an integer or a generator: where the weight is drawn from.
    init
        As for a layer: `"orthogonal"` (the weight uniform as Glorot and Bengio have it, the bias zero) or `"pytorch"`
        (both uniform in ±1/√F).

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of 1 or more, if `init` is neither, if `like` is no array.
    """
    F, K = positive("features", features), positive("outputs", outputs)
    checked(0.0, init)
    array: Any = like.flat if isinstance(like, params.Parameters) else like
    if isinstance(like, Mapping) and array is like:
        raise TypeError(
            f"like must be layer.parameters or an array, got {type(like).__name__}: pass one of its arrays."
        )
    xp, rng = array_namespace(array, anywhere=True), generator(seed)
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(f"like must be of a floating type, which the head is to have too; got dtype {array.dtype}.")
    backend = backends.owner(array)
    with nullcontext() if backend is None else backend.current():
        made = params.zeros({"weight": (K, F), "bias": (K,)}, array)
        for name, values in start(made.shapes["weight"], init, rng).items():
            made[name] = xp.asarray(values, dtype=array.dtype, device=array.device)
    return made


def start(shape: tuple[int, ...], init: str, rng: Any) -> dict[str, Any]:
    """Where training begins: host values of a weight of shape (K, F), and of a bias that is not zero."""
    K, F = shape
    limit = (6 / (F + K)) ** 0.5 if init == "orthogonal" else F**-0.5
    drawn = {"weight": rng.uniform(-limit, limit, (K, F))}
    if init == "pytorch":
        drawn["bias"] = rng.uniform(-limit, limit, (K,))
    return drawn


def forward(params: Mapping[str, Array], features: Array) -> Array:
    """Logits (N, K) from features (N, F); with a time, one for each step.

    Raises
    ------
    ValueError
        If the last axis of the features is not F.
    TypeError
        If the arrays are of different libraries.
    """
    weight, bias = _of(params)
    if type(features) is not type(weight) or features.device != "cpu":
        array_namespace(features, weight)  # which says so, where they are of different libraries, or of another GPU
    _check_features(features, weight)
    return features @ weight.T + bias


def backward(
    params: Mapping[str, Array], features: Array, d_logits: Array, *, into: Mapping[str, Array] | None = None
) -> tuple[Array, dict[str, Array]]:
    """d_features like the features, and the gradients of the parameters, from d_logits like the logits.

    `into` holds contiguous arrays of NumPy, CuPy or PyTorch, with the parameters' names, shapes and dtype: gradients
    are written there, in place of what they hold, and those arrays returned.

    Raises
    ------
    ValueError
        If d_logits are not as `forward` gives the logits of these features, or an array of `into` has not the shape of
        its parameter.
    TypeError
        If the arrays are of different libraries, or those of `into` have other names than the parameters, or another
        dtype than theirs.
    """
    weight, bias = _of(params)
    xp = array_namespace(features, d_logits)
    _check_features(features, weight)
    if d_logits.shape != (*features.shape[:-1], weight.shape[0]):
        raise ValueError(
            f"d_logits must be {(*features.shape[:-1], weight.shape[0])}, like the logits of features "
            f"{tuple(features.shape)}; got shape {tuple(d_logits.shape)}."
        )
    if into is not None:
        _check_into(into, {"weight": weight, "bias": bias})
    d_features = d_logits @ weight
    features = xp.reshape(features, (-1, features.shape[-1]))  # (N, F) or (N·T, F)
    d_logits = xp.reshape(d_logits, (-1, d_logits.shape[-1]))
    if into is None:
        return d_features, {"weight": d_logits.T @ features, "bias": xp.sum(d_logits, axis=0)}
    xp.matmul(d_logits.T, features, out=into["weight"])
    xp.sum(d_logits, axis=0, out=into["bias"])
    return d_features, {"weight": into["weight"], "bias": into["bias"]}


def _check_features(features: Array, weight: Array) -> None:
    if features.ndim < 1 or features.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"features must be (N, {weight.shape[1]}) or (N, T, {weight.shape[1]}) for a head with a weight of shape "
            f"{tuple(weight.shape)}; got shape {tuple(features.shape)}."
        )


def _check_into(into: Mapping[str, Array], params: Mapping[str, Array]) -> None:
    """Raise where gradients of these parameters cannot be written there."""
    if not isinstance(into, Mapping) or into.keys() != params.keys():
        got = ", ".join(map(str, into)) or "nothing" if isinstance(into, Mapping) else type(into).__name__
        raise TypeError(f"into must hold arrays for the gradients of weight and bias, by these names; got {got}.")
    for name, like in params.items():
        array = into[name]
        if type(array) is not type(like):
            array_namespace(array, like)  # which says so, where they are of different libraries
        if tuple(array.shape) != tuple(like.shape):
            raise ValueError(
                f"into[{name!r}] must have the shape {tuple(like.shape)} of its parameter; got {tuple(array.shape)}."
            )
        if array.dtype != like.dtype:
            raise TypeError(f"into[{name!r}] must have the dtype {like.dtype} of its parameter; got {array.dtype}.")


def _of(params: Mapping[str, Array]) -> tuple[Array, Array]:
    """The weight and the bias."""
    try:
        return params["weight"], params["bias"]
    except (KeyError, TypeError, IndexError):
        got = ", ".join(map(str, params)) if isinstance(params, Mapping) else type(params).__name__
        raise TypeError(
            "params must hold the weight (K, F) and the bias (K,) of a head, as xlstm.head.parameters makes them; "
            f"got {got}."
        ) from None
