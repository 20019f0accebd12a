"""Parameters from other layouts to ours and back: four gate matrices on [h; x], an Elman cell's U and V, PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import brought_to_host
from .cells import CELLS, Cell

HostArray = np.ndarray[Any, Any]
_THEIRS = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")


def from_gate_matrices(matrices: Mapping[str, Any], biases: Mapping[str, Any]) -> dict[str, HostArray]:
    """weight_ih (4H, D), weight_hh (4H, H) and bias (4H,) from four matrices (H, H+D) on [h; x], and their biases."""
    arrays = _floats({**matrices, **biases})
    H = arrays["W_i"].shape[0] if arrays["W_i"].ndim == 2 else 0
    for name in matrices:
        shape = arrays[name].shape
        if len(shape) != 2 or shape[1] <= shape[0] or shape[0] < 1:
            raise ValueError(f"{name} must be (H, H+D) and act on [h; x], with D of 1 or more; got shape {shape}.")
        if shape != arrays["W_i"].shape:
            raise ValueError(f"{name} has shape {shape}, but W_i has {arrays['W_i'].shape}: all four must be (H, H+D).")
    stacked = np.concatenate([arrays[name] for name in ("W_i", "W_f", "W_g", "W_o")], axis=0)
    bias = np.concatenate([_column(name, arrays[name], H) for name in ("b_i", "b_f", "b_g", "b_o")])
    return {"weight_ih": stacked[:, H:], "weight_hh": stacked[:, :H], "bias": bias}


def from_elman_matrices(U: Any, V: Any, b_h: Any) -> dict[str, HostArray]:
    """weight_ih (H, D), weight_hh (H, H) and bias (H,) from h = tanh(U·x + V·h + b_h)."""
    arrays = _floats({"U": U, "V": V, "b_h": b_h})
    U, V = arrays["U"], arrays["V"]
    if V.ndim != 2 or V.shape[0] != V.shape[1] or V.shape[0] < 1:
        raise ValueError(f"V must be (H, H), hidden to hidden; got shape {V.shape}.")
    if U.ndim != 2 or U.shape[0] != V.shape[0] or U.shape[1] < 1:
        raise ValueError(f"U must be ({V.shape[0]}, D), input to hidden, to go with V {V.shape}; got shape {U.shape}.")
    return {"weight_ih": U, "weight_hh": V, "bias": _column("b_h", arrays["b_h"], V.shape[0])}


def from_torch(state_dict: Mapping[str, Any]) -> dict[str, HostArray]:
    """Our parameters, host arrays, from the `state_dict()` of a torch.nn.LSTM, GRU or RNN.

    Its values may be tensors or arrays of any supported library, on any device. PyTorch's two biases are added, but for
    the candidate of a GRU, where the reset gate comes between them.

    Raises
    ------
    ValueError
        If there are names that we have no place for (a projection, `weight_hr_…`), or one of two biases is missing.
    TypeError
        If it is no mapping, or a value is no array of real numbers.
    """
    if not isinstance(state_dict, Mapping):
        hint = ": pass its state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise TypeError(f"a state_dict maps names to arrays, got {type(state_dict).__name__}{hint}.")
    for name in state_dict:
        if not str(name).startswith(_THEIRS):
            raise ValueError(
                f"{name} is no parameter of a plain LSTM, GRU or RNN; expected weight_ih_l0, bias_ih_l0 and so on."
                f"{_of_a_part(state_dict)}"
            )
    theirs = {name: brought_to_host(name, tensor) for name, tensor in state_dict.items()}
    ours: dict[str, HostArray] = {}
    biased = any(name.startswith("bias_") for name in theirs)
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if biased else ("weight_ih", "weight_hh")
    suffixes = list(dict.fromkeys(name.rpartition("_l")[2] for name in theirs))
    for suffix in suffixes:
        for kind in kinds:
            if f"{kind}_l{suffix}" not in theirs:
                raise ValueError(f"the state has no {kind}_l{suffix}; it has: {', '.join(theirs)}.")
        weight_ih, weight_hh = theirs.pop(f"weight_ih_l{suffix}"), theirs.pop(f"weight_hh_l{suffix}")
        G, H = weight_hh.shape
        cell = _of_torch(G, H)
        bias = second = np.zeros(G, weight_hh.dtype)  # torch.nn.LSTM(bias=False)
        if biased:
            bias, second = theirs.pop(f"bias_ih_l{suffix}"), theirs.pop(f"bias_hh_l{suffix}")
        ours |= {f"weight_ih_l{suffix}": weight_ih, f"weight_hh_l{suffix}": weight_hh}
        ours |= {f"{kind}_l{suffix}": values for kind, values in one_bias(cell, bias, second).items()}
    return ours


def to_torch(parameters: Mapping[str, Any]) -> dict[str, HostArray]:
    """The names and values of a PyTorch `state_dict` from ours, as NumPy arrays, wherever ours live.

    The first of PyTorch's biases is ours, the second zero, but for the candidate of a GRU: there it is `bias_hn`.

    Raises
    ------
    ValueError
        If PyTorch has no layer with such parameters: a GRU whose reset gate acts before the product, for one.
    """
    kinds = list(dict.fromkeys(name.rpartition("_l")[0] for name in parameters))
    weight_hh = parameters.get("weight_hh_l0")
    cell = None if weight_hh is None else _of_torch(*weight_hh.shape)
    if cell is None or set(kinds) != set(cell.parameter_names):
        raise ValueError(f"PyTorch has no recurrent layer with the parameters {', '.join(kinds)}.")
    ours = {name: brought_to_host(name, values) for name, values in parameters.items()}
    theirs: dict[str, HostArray] = {}
    for name, values in ours.items():
        kind, _, suffix = name.rpartition("_l")
        if kind == "bias":
            both = two_biases(values, ours.get(f"{cell.second_bias}_l{suffix}"))
            theirs |= dict(zip((f"bias_ih_l{suffix}", f"bias_hh_l{suffix}"), both, strict=True))
        elif kind != cell.second_bias:
            theirs[name] = values
    return theirs


def one_bias(cell: Cell, first: HostArray, second: HostArray) -> dict[str, HostArray]:
    """A cell's own biases, from one beside the product with x and one beside that with h (G,): their sum.

    But for the candidate of a GRU, where the reset gate comes between them.
    """
    apart = cell.biases_in_one * (len(first) // len(cell.gates))
    found = {"bias": np.concatenate([first[:apart] + second[:apart], first[apart:]])}
    return found if cell.second_bias is None else {**found, cell.second_bias: second[apart:]}


def two_biases(bias: HostArray, own: HostArray | None) -> tuple[HostArray, HostArray]:
    """The contrary of `one_bias`: the bias and zero, which ends with the cell's second bias where it has one."""
    second = np.zeros_like(bias)
    if own is not None:
        second[-len(own) :] = own
    return bias, second


def _of_a_part(state_dict: Mapping[str, Any]) -> str:
    """What to type where the layer is a part of a larger module."""
    for name in map(str, state_dict):
        part, dot, rest = name.rpartition(".")
        if dot and rest.startswith(_THEIRS):
            return (
                f" Of a larger module take the layer's part: {{name.removeprefix('{part}.'): value for name, value in "
                f"state_dict.items() if name.startswith('{part}.')}}."
            )
    return ""


def _of_torch(G: int, H: int) -> Cell:
    """The cell of a PyTorch layer with a recurrent matrix (G, H)."""
    for cell in CELLS.values():
        if cell.in_torch and len(cell.gates) * H == G:
            return cell
    raise ValueError(f"PyTorch has no recurrent layer with a weight_hh of shape {(G, H)}.")


def _floats(given: Mapping[str, Any]) -> dict[str, HostArray]:
    arrays = {
        name: value if isinstance(value, np.ndarray) else brought_to_host(name, value) for name, value in given.items()
    }
    kinds = {name: str(array.dtype) for name, array in arrays.items()}
    if set(kinds.values()) not in ({"float32"}, {"float64"}):
        told = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise TypeError(f"all matrices must be float32, or all float64; got {told}.")
    return arrays


def _column(name: str, array: HostArray, H: int) -> HostArray:
    if array.shape not in ((H,), (H, 1)):
        raise ValueError(f"{name} must be ({H},) or ({H}, 1), got shape {array.shape}.")
    return array.reshape(H)
