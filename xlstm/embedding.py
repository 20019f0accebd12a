"""A vector for each token: a table, and the layer that reads its rows.

In a training loop of one's own:

    table = xlstm.embedding.parameters(V, D, like=layer.parameters, seed=0)          # weight (V, D)
    outputs, state, tape = layer.forward(None, tokens=(ids, table["weight"]))        # ids (N, T), from 0 to V - 1
    d_weight, _ = layer.backward(tape, d_outputs)                                    # (V, D), like the table
    optimizer.step([table, layer.parameters], [{"weight": d_weight}, layer.gradients], learning_rate=0.01)

Without a table, `tokens=(ids, None)`, each token is its one-hot vector, and V the input size of the layer. In both
cases the features (N, T, D) are never built: the layer looks up the rows of the product of table and weights.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from . import backends, params
from .arrays import accepted
from .cells.sequence import check_lengths
from .checks import positive
from .namespace import Array, array_namespace
from .seeds import generator


def parameters(tokens: int, size: int, like: params.Parameters | Array, seed: Any = None) -> params.Parameters:
    """A new table: `weight` (V, D), drawn from a standard normal distribution, as PyTorch's Embedding is.

    Parameters
    ----------
    tokens, size
        V, and D: the input size of the layer.
    like
        The parameters of the layer that is to read it, or an array: the table is of their library, device and dtype.
    seed
        None, an integer or a generator: where it is drawn from.

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of 1 or more; if `like` is no array of a floating type.
    """
    V, D = positive("tokens", tokens), positive("size", size)
    array: Any = like.flat if isinstance(like, params.Parameters) else like
    xp, rng = array_namespace(array, anywhere=True), generator(seed)
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(f"like must be of a floating type, which the table is to have too; got dtype {array.dtype}.")
    backend = backends.owner(array)
    with nullcontext() if backend is None else backend.current():
        made = params.zeros({"weight": (V, D)}, array)
        made["weight"] = xp.asarray(rng.standard_normal((V, D)), dtype=array.dtype, device=array.device)
    return made


def accepted_tokens(
    backend: backends.Backend, like: Array, tokens: Any, D: int, lengths: Any
) -> tuple[Array, Array | None]:
    """`tokens` as a layer with D features takes them: ids (N, T), and the table (V, D), or None for one-hot tokens.

    Parameters
    ----------
    lengths
        What stands after them is no token, and may be any integer.

    Raises
    ------
    TypeError
        If they are no pair, the ids no integers, or an array lives elsewhere than the parameters.
    ValueError
        If a shape does not fit; on the host, if an id is not from 0 to V - 1.
    """
    if not isinstance(tokens, (tuple, list)) or len(tokens) != 2:
        raise TypeError(f"tokens must be a pair (ids, table), or (ids, None) for one-hot; got {type(tokens).__name__}.")
    ids, table = tokens
    if backend.on_host and isinstance(ids, list):
        ids = np.asarray(ids)
    if not backend.owns(ids):
        raise TypeError(
            f"the ids of tokens must be an array of {backend.library} on {backend.device}, as the parameters are; got "
            f"{type(ids).__module__}.{type(ids).__qualname__}."
        )
    if ids.dtype.kind not in "iu":
        raise TypeError(f"the ids of tokens must be integers, got dtype {ids.dtype}.")
    if ids.ndim != 2 or 0 in ids.shape:
        raise ValueError(f"the ids of tokens must be (N, T), a row or more and a step or more; got {tuple(ids.shape)}.")
    if table is not None:
        table = accepted(backend, like, "the table of tokens", table, ("V", D))
        if table.ndim != 2 or table.shape[1] != D:
            raise ValueError(f"the table of tokens must be (V, {D}), a row for each; got shape {tuple(table.shape)}.")
    if backend.on_host:
        ids = _known_ids(ids, D if table is None else table.shape[0], check_lengths(lengths, *ids.shape))
    return ids, table


def _known_ids(ids: Any, V: int, lengths: list[int] | None) -> Any:
    """`ids` with nothing but tokens; those after a row's length are no matter."""
    wrong = (ids < 0) | (ids >= V)
    if not wrong.any():
        return ids
    if lengths is not None:
        valid = np.arange(ids.shape[1])[None, :] < np.array(lengths)[:, None]
        ids, wrong = np.where(valid, ids, 0), wrong & valid
    if wrong.any():
        row, step = (int(place) for place in np.argwhere(wrong)[0])
        raise ValueError(f"token {ids[row, step]} in row {row}, step {step}: expected 0 to {V - 1}.")
    return ids
