"""A classifier made of parts that another library trained: recurrent layers, a linear head, a table of tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import encode
from ..arrays import brought_to_host
from ..cells import CELLS
from ..exchange import torch
from ..exchange.arrays import Taken, check_shape, listed, of_floats
from ..host import HostArray
from ..labels import classes_of
from ..readout import READOUTS
from ..recurrent import RecurrentLayer
from ..spelling import FORMS, Spelling


class Parts(NamedTuple):
    """What becomes a classifier."""

    settings: dict[str, Any]
    encoder: encode.Encoder
    classes: HostArray  # sorted
    values: dict[str, HostArray]  # of its model, by name


def parts(
    recurrent: Any, linear: Any, classes: Any, embedding: Any, vocabulary: Any, unknown: Any, mean: Any, scale: Any,
    readout: str, split: str, fold_case: bool, normalize: str | None, dtype: Any, prefix: str,
) -> Parts:  # fmt: skip
    """All of it, checked: see `SequenceClassifier.from_torch`."""
    found = _recurrent(recurrent, prefix, dtype)
    sizes = found.sizes
    values = {f"recurrent.{name}": array for name, array in _by_name(found).items()}
    _check_readout(readout)
    labels, order = _classes(classes)
    values |= _head(_linear(linear, recurrent), labels, order, READOUTS[readout].width(sizes.output_size), found.dtype)
    settings = {
        "cell": sizes.cell, "hidden_size": sizes.hidden_size, "num_layers": sizes.num_layers, "readout": readout,
        "bidirectional": sizes.bidirectional, "dropout": found.dropout, "dtype": found.dtype,
    }  # fmt: skip
    encoder: encode.Encoder
    if vocabulary is None:
        if embedding is not None or unknown is not None:
            raise ValueError("an embedding belongs to tokens: pass their vocabulary, too.")
        encoder = _scaler(mean, scale, sizes.input_size)
        return Parts({**settings, "standardize": mean is not None or scale is not None}, encoder, labels, values)
    if mean is not None or scale is not None:
        raise ValueError("mean and scale are of numbers, and a vocabulary is of tokens: pass one of them.")
    if normalize is not None and normalize not in FORMS:
        raise ValueError(f"normalize must be None or one of {FORMS}, got {normalize!r:.80}.")
    spelling = Spelling(bool(fold_case), normalize, apart=False)
    kind, tokens, rows = _tokens(vocabulary, split, spelling)
    if embedding is None:
        if unknown is not None:
            raise ValueError("unknown is a row of the embedding: without one, unknown tokens are zero vectors.")
        name = "recurrent.weight_ih_l0{}"
        for each in ("", "_reverse")[: sizes.directions]:
            values[name.format(each)] = _rows(values[name.format(each)].T, rows, None, "weight_ih_l0, transposed,").T
        settings["embedding_size"] = None
    else:
        table = _table(embedding, found.dtype)
        check_shape("the embedding", table, ("V", sizes.input_size), "as many columns as the recurrent layer reads")
        values["embedding.weight"] = _rows(table, rows, unknown, "the embedding")
        settings["embedding_size"] = sizes.input_size
    settings |= {"encoding": "tokens" if kind == "integers" else "auto", "split": split}
    settings |= {"fold_case": spelling.fold_case, "normalize": normalize}
    return Parts(settings, encode.TokenEncoder(kind, spelling, tokens), labels, values)


def _recurrent(recurrent: Any, prefix: str, dtype: Any) -> Taken:
    if not isinstance(recurrent, RecurrentLayer):
        return torch.taken(recurrent, [name for name, cell in CELLS.items() if cell.in_torch], prefix, dtype)
    if prefix or dtype is not None:
        raise ValueError("prefix and dtype are for state_dicts and files: a layer of xlstm is taken as it is.")
    values = recurrent.backend.to_host(recurrent.parameters.flat)
    return Taken(recurrent.sizes, recurrent.dtype, np.array(values), recurrent.dropout)


def _by_name(found: Taken) -> dict[str, HostArray]:
    values, start = {}, 0
    for name, shape in found.sizes.shapes().items():
        end = start + int(np.prod(shape))
        values[name], start = found.values[start:end].reshape(shape), end
    return values


def _check_readout(readout: str) -> None:
    known = [name for name, each in READOUTS.items() if not each.each_step and not each.shapes(1)]
    if readout not in known:
        raise ValueError(f"readout must be one without weights of its own, {listed(known)}; got {readout!r:.80}.")


def _classes(classes: Any) -> tuple[HostArray, HostArray]:
    """The classes, sorted, and the place there of each as it was given."""
    labels, order = classes_of(classes)
    if len(labels) < len(order) or len(labels) < 2:
        raise ValueError(
            f"classes must be two labels or more, all different, in the order of the head; got {classes!r:.200}."
        )
    return labels, order


def _linear(linear: Any, recurrent: Any) -> Mapping[str, Any]:
    """The weight, and the bias where there is one."""
    state: Mapping[str, Any]
    if isinstance(linear, str):
        if not isinstance(recurrent, (Mapping, str, bytes, os.PathLike)):
            raise ValueError(
                f"linear={linear!r:.80} is where the head stands in a state_dict or its file, and recurrent is none: "
                "pass the torch.nn.Linear."
            )
        state = torch.part_below(recurrent if isinstance(recurrent, Mapping) else torch.read(recurrent), linear)
    elif isinstance(linear, Mapping):
        state = linear
    elif type(linear).__name__ in ("Linear", "NonDynamicallyQuantizableLinear"):
        state = linear.state_dict()
    else:
        raise TypeError(
            "linear must be a torch.nn.Linear, its state_dict, or where it stands in that of recurrent, such as 'fc'; "
            f"got {type(linear).__name__}."
        )
    if not {"weight"} <= set(state) <= {"weight", "bias"}:
        heads = [name.removesuffix(".weight") for name, each in state.items() if _may_be_a_head(name, each)]
        hint = f" Pass where the head stands in it, linear={heads[0]!r}." if heads else ""
        raise ValueError(f"linear must have weight and bias, it has {listed(state)}.{hint}")
    return state


def _may_be_a_head(name: Any, values: Any) -> bool:
    return isinstance(name, str) and name.endswith(".weight") and getattr(values, "ndim", 0) == 2


def _head(state: Mapping[str, Any], labels: HostArray, order: HostArray, F: int, dtype: str) -> dict[str, HostArray]:
    """The head in the order of our classes; of two classes the logit of the second, whether there were one or two."""
    arrays = of_floats({f"{name} of linear": array for name, array in state.items()}, dtype)
    weight, K = arrays["weight of linear"], len(labels)
    rows = 1 if K == 2 and weight.shape[:1] == (1,) else K
    check_shape("weight of linear", weight, (rows, F), f"{K} classes, and {F} features that the readout gives")
    bias = arrays.get("bias of linear", np.zeros(rows, dtype))
    check_shape("bias of linear", bias, (rows,), "one for each row of the weight")
    if rows == 1:
        sign = 1 if order[0] == 0 else -1
        return {"head.weight": sign * weight, "head.bias": sign * bias}
    weight, bias = weight[np.argsort(order)], bias[np.argsort(order)]
    if K == 2:  # softmax of two logits: sigmoid of their difference
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return {"head.weight": weight, "head.bias": bias}


def _scaler(mean: Any, scale: Any, D: int) -> encode.Scaler:
    given = {"mean": np.zeros(D) if mean is None else mean, "scale": np.ones(D) if scale is None else scale}
    found = {name: brought_to_host(name, values) for name, values in given.items()}
    for name, array in found.items():
        check_shape(name, array, (D,), "one number for each feature of the recurrent layer's input")
        if not np.isfinite(array).all() or (name == "scale" and (array <= 0).any()):
            raise ValueError(f"{name} must be finite{', and above 0' if name == 'scale' else ''}.")
    return encode.Scaler(found["mean"].astype(np.float64), found["scale"].astype(np.float64))


def _tokens(vocabulary: Any, split: str, spelling: Spelling) -> tuple[str, list[Any], list[int]]:
    """The kind of the tokens, the tokens sorted, as ours are, and the row of each in their table."""
    if isinstance(vocabulary, Mapping):
        given = {_plain(token): row for token, row in vocabulary.items()}
        if any(type(_plain(row)) is not int or _plain(row) < 0 for row in given.values()):
            raise ValueError("vocabulary must map each token to its row, an integer of 0 or more.")
        if len(set(given.values())) < len(given):
            raise ValueError("vocabulary has two tokens with the same row.")
    else:
        tokens = [_plain(token) for token in vocabulary]
        given = {token: row for row, token in enumerate(tokens) if token is not None}
        if len(given) < len(tokens) - tokens.count(None):
            raise ValueError("vocabulary holds a token twice.")
    kinds = {type(token) for token in given}
    if kinds not in ({int}, {str}):
        raise ValueError(f"vocabulary must hold strings, or integers; got {listed(kind.__name__ for kind in kinds)}.")
    others = [token for token in given if isinstance(token, str) and token != spelling.of(token)]
    if others:
        raise ValueError(
            f"vocabulary holds {others[0]!r:.80}, which no token is with fold_case={spelling.fold_case} and "
            f"normalize={spelling.normalize!r}: pass False, or None."
        )
    characters = kinds == {str} and split == "characters" and all(len(token) == 1 for token in given)
    kind = "integers" if kinds == {int} else "characters" if characters else "words"
    return kind, sorted(given), [int(given[token]) for token in sorted(given)]


def _plain(token: Any) -> Any:
    return token.item() if isinstance(token, np.generic) else token


def _table(embedding: Any, dtype: str) -> HostArray:
    if hasattr(embedding, "state_dict"):
        if getattr(embedding, "max_norm", None) is not None:
            raise ValueError(f"the embedding has max_norm={embedding.max_norm}, which the one here does not have.")
        embedding = embedding.state_dict()
    if isinstance(embedding, Mapping):
        if set(embedding) != {"weight"}:
            raise ValueError(f"embedding must have a weight alone, it has {listed(embedding)}.")
        embedding = embedding["weight"]
    return of_floats({"the embedding": embedding}, dtype)["the embedding"]


def _rows(table: HostArray, rows: list[int], unknown: Any, told: str) -> HostArray:
    """The rows of our tokens, after that of the unknown one: zero, or the row that is named."""
    if max(rows) >= len(table):
        raise ValueError(f"vocabulary has a token of row {max(rows)}, but {told} has {len(table)} rows.")
    first = np.zeros_like(table[:1])
    if unknown is not None:
        if type(_plain(unknown)) is not int or not 0 <= unknown < len(table):
            raise ValueError(f"unknown must be a row of the embedding, 0 to {len(table) - 1}; got {unknown!r:.80}.")
        first = table[unknown : unknown + 1]
    return np.concatenate([first, table[rows]])
