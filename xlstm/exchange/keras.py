"""Keras 3: layers, models of nothing but recurrent layers, and their files; and such a model from a layer.

A layer of ours is several of theirs, one for each of `num_layers`. Keras has the matrices transposed, (D, G), (H, G),
other orders of the gates, and one bias, or of a GRU with `reset_after` two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import extras
from ..cells import CELLS, Cell
from ..convert import one_bias, two_biases
from ..host import HostArray
from ..stack import Sizes
from . import keras_files
from .arrays import Taken, check_shape, in_one, named_by, of_floats, reordered
from .keras_files import Described

GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("u", "r", "n"), "gru_reset_before": ("u", "r", "n"), "rnn": ("h",)}
"""The order of Keras's gates, by the names of our records: its c is our g, its z and h our u and n."""
KINDS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
REFUSED = {
    "go_backwards": "a second direction is Bidirectional",
    "stateful": "pass the state that a call returned to the next",
    "time_major": "put the batch first",
    "return_state": "the state is returned always; make the layer without it",
}
"""What a layer here does not do; and what to do instead."""


class One(NamedTuple):
    """A layer of theirs: its name for messages, its cell, whether it answers at each step, its weights by direction."""

    name: str
    cell: str | None  # None: a file does not tell which of the two GRUs it is
    each_step: bool
    weights: list[list[Any]]


def library() -> Any:
    """The module keras, or an ImportError that says how to install it."""
    backends = ("torch", "jax", "tensorflow")
    use = "this needs Keras with one of its backends"
    return extras.imported("keras", use, "keras, and torch, jax or tensorflow", also=backends)


def taken(source: Any, cells: Sequence[str], dtype: Any = None) -> Taken:
    """What a layer of one of these cells is made of, from layers, a model or a file: see `from_keras`."""
    if isinstance(source, (str, bytes, os.PathLike)):
        described = keras_files.read(source)
        with named_by(source):
            return _of_described(described, cells, dtype)
    layers = list(source) if isinstance(source, (list, tuple)) else getattr(source, "layers", [source])
    if type(source).__name__ == "Functional":
        keras_files.check_chain(source.name, source.get_config()["layers"])
    found = [_described(each) for each in layers if type(each).__name__ not in keras_files.WITHOUT_WEIGHTS]
    return _of_described(found, cells, dtype)


def _of_described(described: list[Described], cells: Sequence[str], dtype: Any) -> Taken:
    found = [_one(each) for each in described]
    if not found:
        raise ValueError("there is no layer: expected keras.layers.LSTM, GRU, SimpleRNN or Bidirectional of them.")
    for one in found[:-1]:
        if not one.each_step:
            raise ValueError(f"{one.name} has return_sequences=False, but another layer reads its outputs.")
    return _joined(found, cells, dtype)


def _described(layer: Any) -> Described:
    if not (hasattr(layer, "get_config") and hasattr(layer, "get_weights")):
        raise TypeError(f"expected layers of Keras, a model or a path of a file, got {type(layer).__name__}.")
    kind, config = type(layer).__name__, layer.get_config()
    if kind != "Bidirectional":
        _check_kind(layer.name, kind)
    weights = layer.get_weights()
    if not weights:
        raise ValueError(f"{layer.name} has no weights yet: build it, or call it once.")
    parts = [weights] if kind != "Bidirectional" else [weights[: len(weights) // 2], weights[len(weights) // 2 :]]
    return Described(layer.name, kind, config, parts)


def _one(described: Described) -> One:
    """A layer of theirs that can be one of ours; what cannot be expressed is refused by name."""
    name, kind, config, weights = described
    if config is None:  # a file of weights alone
        return One(name, _cell_by_weights(name, kind, weights[0]), True, weights)
    if kind == "Bidirectional":
        if config.get("merge_mode") != "concat":
            raise ValueError(f"{name} has merge_mode={config.get('merge_mode')!r}, and directions stand side by side.")
        halves = [config.get("layer"), config.get("backward_layer") or config.get("layer")]
        try:
            (kind, inner), (other, second) = [(half["class_name"], half["config"]) for half in halves]  # type: ignore[index]
            backwards = config.get("backward_layer") is not None
            second = {**second, "go_backwards": not second["go_backwards"]} if backwards else second
        except (TypeError, KeyError):
            raise ValueError(f"{name} is damaged: its configuration has no layer.") from None
        if other != kind or any(inner.get(key) != second.get(key) for key in (*_EQUAL, "units")):
            raise ValueError(f"{name} has two directions that are not alike.")
        config = inner
        _check(name, kind, second)
    _check(name, kind, config)
    cell = KINDS[kind]
    if cell == "gru" and not config.get("reset_after", True):
        cell = "gru_reset_before"
    return One(name, cell, bool(config.get("return_sequences")), weights)


_EQUAL = ("activation", "recurrent_activation", "use_bias", "reset_after")


def _check_kind(name: str, kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"{name} is a {kind}, expected LSTM, GRU, SimpleRNN or Bidirectional of one of them.")


def _check(name: str, kind: str, config: Mapping[str, Any]) -> None:
    _check_kind(name, kind)
    activations = {"activation": "tanh", **({} if kind == "SimpleRNN" else {"recurrent_activation": "sigmoid"})}
    for setting, wanted in activations.items():
        if config.get(setting) != wanted:
            raise ValueError(f"{name} has {setting}={config.get(setting)!r:.80}, and layers here have {wanted!r}.")
    for setting, advice in REFUSED.items():
        if config.get(setting):
            raise ValueError(f"{name} has {setting}={config[setting]!r:.80}, which no layer here does: {advice}.")


def _cell_by_weights(name: str, kind: str, weights: list[Any]) -> str | None:
    """The cell of weights without a configuration, whose biases tell one GRU from the other."""
    _check_kind(name, kind)
    if kind != "GRU":
        return KINDS[kind]
    if len(weights) < 3:
        return None
    return "gru" if np.ndim(weights[2]) == 2 else "gru_reset_before"


def _joined(found: list[One], cells: Sequence[str], dtype: Any) -> Taken:
    first = found[0]
    if first.cell is None:
        raise ValueError(
            f"{first.name} has no bias, so its weights do not tell whether reset_after is set: pass the .keras file or "
            "the layer."
        )
    for one in found:
        if one.cell != first.cell or len(one.weights) != len(first.weights):
            raise ValueError(
                f"{one.name} is of another kind than {first.name}: one layer here has one cell and as many directions "
                "in all its layers. Make one of each."
            )
    if first.cell not in cells:
        raise ValueError(f"{first.name} is of the cell {first.cell!r}, expected {' or '.join(cells)}.")
    cell = CELLS[first.cell]
    parts = ("kernel", "recurrent_kernel", "bias")
    given: dict[str, Any] = {}
    places: list[tuple[str, str]] = []  # our ending and their name, of each layer and direction
    for layer, one in enumerate(found):
        for direction, weights in enumerate(one.weights):
            told = one.name if len(one.weights) == 1 else f"{one.name}, {('forward', 'backward')[direction]}"
            if len(weights) not in (2, 3):
                raise ValueError(f"{told} has {len(weights)} arrays, expected kernel, recurrent_kernel and maybe bias.")
            given |= {f"{part} of {told}": array for part, array in zip(parts, weights, strict=False)}
            places.append((f"l{layer}{('', '_reverse')[direction]}", told))
    arrays = of_floats(given, dtype)
    recurrent = arrays[f"recurrent_kernel of {places[0][1]}"]
    H, S = (recurrent.shape[0] if recurrent.ndim == 2 else 0), len(first.weights)
    D = first_kernel.shape[0] if (first_kernel := arrays[f"kernel of {places[0][1]}"]).ndim == 2 else 0
    ours: dict[str, HostArray] = {}
    for k, (suffix, told) in enumerate(places):
        ours |= {
            f"{name}_{suffix}": array for name, array in _of_cell(cell, told, arrays, D if k < S else S * H, H).items()
        }
    return in_one(Sizes(cell.name, D, H, len(found), S == 2), str(recurrent.dtype), ours)


def _of_cell(cell: Cell, told: str, arrays: Mapping[str, HostArray], D: int, H: int) -> dict[str, HostArray]:
    """The parameters of one layer in one direction by our names."""
    G, theirs = len(cell.gates) * H, GATES[cell.name]
    why = f"{len(theirs)} gates of {H} units" if len(theirs) > 1 else f"{H} units"
    kernel, recurrent = arrays[f"kernel of {told}"], arrays[f"recurrent_kernel of {told}"]
    check_shape(f"recurrent_kernel of {told}", recurrent, (H or "H", G or f"{len(theirs)}·H"), why)
    check_shape(f"kernel of {told}", kernel, (D or "D", G), why)
    bias = arrays.get(f"bias of {told}")
    if bias is None:
        bias = np.zeros((2, G) if cell.second_bias else (G,), kernel.dtype)
    check_shape(f"bias of {told}", bias, (2, G) if cell.second_bias else (G,), why)
    both = [reordered(part, theirs, cell.gates) for part in np.atleast_2d(bias)]
    return {
        "weight_ih": reordered(kernel.T, theirs, cell.gates),
        "weight_hh": reordered(recurrent.T, theirs, cell.gates),
        **one_bias(cell, both[0], both[1] if len(both) == 2 else np.zeros_like(both[0])),
    }


def model_of(sizes: Sizes, dtype: str, parameters: Mapping[str, HostArray], return_sequences: bool) -> Any:
    """A keras.Sequential with these parameters: see `to_keras`."""
    cell = sizes.record
    if cell.name not in GATES:
        raise ValueError(f"Keras has no layer of the cell {cell.name!r}.")
    keras = library()
    kind = getattr(keras.layers, {of: name for name, of in KINDS.items()}[cell.name.removesuffix("_reset_before")])
    more = {"reset_after": cell.name == "gru"} if cell.name.startswith("gru") else {}
    model = keras.Sequential([keras.Input((None, sizes.input_size), dtype=dtype)])
    for layer in range(sizes.num_layers):
        each_step = return_sequences or layer < sizes.num_layers - 1
        made = kind(sizes.hidden_size, return_sequences=each_step, dtype=dtype, **more)
        model.add(keras.layers.Bidirectional(made, dtype=dtype) if sizes.bidirectional else made)
    weights: list[HostArray] = []
    for suffix in sizes.suffixes():
        of_cell = {name: parameters[f"{name}_{suffix}"] for name in cell.parameter_names}
        own = of_cell.get(cell.second_bias) if cell.second_bias else None
        both = [reordered(bias, cell.gates, GATES[cell.name]) for bias in two_biases(of_cell["bias"], own)]
        matrices = (reordered(of_cell[name], cell.gates, GATES[cell.name]).T for name in ("weight_ih", "weight_hh"))
        weights += [*matrices, np.stack(both) if cell.second_bias else both[0]]
    model.set_weights(weights)
    return model
