"""PyTorch: a module, its `state_dict`, a file of either kind; and a module from a layer."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from .. import convert, extras, packed
from ..cells import CELLS, Cell
from ..host import HostArray
from ..stack import Sizes
from . import safetensors
from .arrays import Taken, check_shape, in_one, listed, named_by, of_floats

NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l(0|[1-9]\d{0,3})(_reverse)?")
MODES = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn"}
PICKLES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
"""How files of `torch.save` begin: today's, and those of PyTorch before 1.6."""
MOST_NAMES = 1_000_000
"""In a state_dict: mappings that hold one another twice and twice again would have more than can be gone through."""


def library() -> Any:
    """The module torch, or an ImportError that says how to install it."""
    return extras.imported("torch", "this needs PyTorch", "torch")


def taken(source: Any, cells: Sequence[str], prefix: str = "", dtype: Any = None) -> Taken:
    """What a layer of one of these cells is made of, from a module, its `state_dict`, or a file: see `from_torch`."""
    module, dropout, expected = source, 0.0, None
    if isinstance(source, (str, bytes, os.PathLike)):
        return of_file(source, read(source), cells, prefix, dtype)
    if not isinstance(source, Mapping):
        if not hasattr(source, "state_dict"):
            raise TypeError(
                "expected a torch.nn.LSTM, GRU or RNN, its state_dict() or a path of a file, got "
                f"{type(source).__name__}."
            )
        if prefix:
            raise ValueError(f"a module has no prefix: pass its part, module.{prefix.rstrip('.')}.")
        expected = _cell_of_module(module, cells)
        dropout, source = float(module.dropout) if module.num_layers > 1 else 0.0, module.state_dict()
    return _of_state(source, [expected] if expected else cells, prefix, dtype)._replace(dropout=dropout)


def of_file(path: Any, state: Any, cells: Sequence[str], prefix: str = "", dtype: Any = None) -> Taken:
    """What a layer is made of, from what a file held: what is wrong with it is said with the file's path."""
    with named_by(path):
        return _of_state(state, cells, prefix, dtype)


def read(path: Any) -> Any:
    """What a file of `torch.save` or of safetensors holds. No code in it is run; the latter needs no PyTorch.

    Raises
    ------
    ValueError
        If it holds more than arrays, is damaged, or of another kind; if its archive or its tensors, which may show one
        number in many places, would take memory out of proportion to its size (`xlstm/packed.py`).
    ImportError
        If it is a file of `torch.save` and PyTorch is not there.
    OSError
        If it cannot be read.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        start = file.read(16)
    if not start.startswith(PICKLES):
        if start[8:9] == b"{":
            return safetensors.read(path)
        raise ValueError(
            f"{path} is no file of torch.save or safetensors, or is truncated: it begins with {start[:8]!r}."
        )
    size = os.path.getsize(path)
    with named_by(path):
        _check_archive(path, size)
    try:
        found = library().load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds objects beside arrays, which only running code in it would restore, and that is not done: "
            "where you trust it, load it in PyTorch, and torch.save(module.state_dict(), path)."
        ) from None
    except (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise ValueError(f"{path} is damaged or truncated: PyTorch cannot read it ({_one_line(error)}).") from None
    if not isinstance(found, Mapping):
        raise ValueError(
            f"{path} holds a {type(found).__name__}, expected a state_dict: torch.save(m.state_dict(), …)."
        )
    with named_by(path):
        packed.check(sum(_bytes_of(each) for each in _flat(found).values()), size)
    return found


def _check_archive(path: str, size: int) -> None:
    """Raise where the members of a zip announce too much; what is no whole zip, PyTorch has words for."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed.check_archive(archive, size)
    except (zipfile.BadZipFile, NotImplementedError):
        return


def _bytes_of(value: Any) -> int:
    """Bytes of a tensor as an array, however few of them are stored."""
    return value.numel() * value.element_size() if hasattr(value, "element_size") else 0


def module_of(cell: str, sizes: Sizes, dropout: float, dtype: str, parameters: Mapping[str, Any]) -> Any:
    """A torch.nn.LSTM, GRU or RNN with these parameters: see `to_torch`."""
    if not CELLS[cell].in_torch:
        raise ValueError(f"PyTorch has no layer of the cell {cell!r}{_why_not(cell)}.")
    torch = library()
    kind = {of: getattr(torch.nn, mode.partition("_")[0]) for mode, of in MODES.items()}[cell]
    with torch.device("meta"):  # nothing is drawn from PyTorch's generator
        module = kind(
            sizes.input_size,
            sizes.hidden_size,
            sizes.num_layers,
            batch_first=True,
            bidirectional=sizes.bidirectional,
            dropout=dropout if sizes.num_layers > 1 else 0.0,
            dtype=getattr(torch, dtype),
        )
    module = module.to_empty(device="cpu")
    module.load_state_dict({name: torch.from_numpy(values) for name, values in convert.to_torch(parameters).items()})
    return module


def _why_not(cell: str) -> str:
    return ": there the reset gate acts after the product (reset_after=True)" if cell == "gru_reset_before" else ""


def _cell_of_module(module: Any, cells: Sequence[str]) -> str:
    name = type(module).__name__
    mode = getattr(module, "mode", None)
    if mode is None or not hasattr(module, "proj_size"):
        parts = [part for part, each in module.named_modules() if getattr(each, "mode", None) in (*MODES, "RNN_RELU")]
        advice = f": pass its part, {listed(f'module.{part}' for part in parts)}" if parts else ""
        raise TypeError(f"{name} is no torch.nn.LSTM, GRU or RNN{advice}.")
    if mode == "RNN_RELU":
        raise ValueError("the module has nonlinearity='relu', and the layers here have tanh.")
    if module.proj_size:
        raise ValueError(f"the module has a projection (proj_size={module.proj_size}), which no layer here has.")
    if MODES.get(mode) not in cells:
        raise ValueError(f"the module is a torch.nn.{name}, expected one of the cell {' or '.join(cells)}.")
    return MODES[mode]


def _of_state(state: Mapping[str, Any], cells: Sequence[str], prefix: str, dtype: Any) -> Taken:
    own = part_below(state, prefix)
    parts: dict[tuple[int, str], set[str]] = {}
    for name in own:
        match = NAME.fullmatch(name)
        if match is None:
            raise ValueError(_told_of_name(name, own, prefix))
        parts.setdefault((int(match[2]), match[3] or ""), set()).add(match[1])
    arrays = of_floats(own, dtype)
    layers, directions = 1 + max(layer for layer, _ in parts), sorted({direction for _, direction in parts})
    kinds = {"weight_ih", "weight_hh", *(name.partition("_l")[0] for name in arrays)}
    kinds |= {"bias_ih", "bias_hh"} if kinds & {"bias_ih", "bias_hh"} else set()
    for layer in range(layers):
        for direction in sorted({"", *directions}):
            for kind in sorted(kinds):
                name = f"{kind}_l{layer}{direction}"
                if name not in arrays:
                    raise ValueError(
                        f"there is no {prefix and prefix.rstrip('.') + '.'}{name} beside {listed(arrays)}."
                    )
    cell, H = _cell_of(arrays["weight_hh_l0"], cells)
    G, D = len(cell.gates) * H, arrays["weight_ih_l0"].shape[1] if arrays["weight_ih_l0"].ndim == 2 else 0
    why = f"{len(cell.gates)} gates of {H} hidden units" if len(cell.gates) > 1 else f"{H} hidden units"
    for name, array in arrays.items():
        kind, _, layer_name = name.partition("_l")
        if kind == "weight_ih":
            below = "D" if layer_name == "0" else D if layer_name == "0_reverse" else H * len(directions)
            check_shape(name, array, (G, below), why)
        else:
            check_shape(name, array, (G, H) if kind == "weight_hh" else (G,), why)
    sizes = Sizes(cell.name, D, H, layers, len(directions) == 2)
    found = convert.from_torch(arrays)
    return in_one(sizes, str(arrays["weight_hh_l0"].dtype), found)


def part_below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The part of a state below a prefix; mappings in it, as training scripts save them, are gone through."""
    flat = _flat(state)
    begin = f"{prefix.rstrip('.')}." if prefix else ""
    own: dict[str, HostArray] = {
        name.removeprefix(begin): value for name, value in flat.items() if name.startswith(begin)
    }
    if not own:
        raise ValueError(f"there is nothing below the prefix {prefix!r}; there is {listed(flat)}." if prefix else
                         "the state_dict is empty: expected weight_ih_l0, weight_hh_l0 and so on.")  # fmt: skip
    return own


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """All values of mappings in mappings by their names, with points between."""
    flat: dict[str, Any] = {}
    seen = 0

    def visit(values: Mapping[Any, Any], before: str) -> None:
        nonlocal seen
        for name, value in values.items():
            seen += 1
            if seen > MOST_NAMES:
                raise ValueError(f"it holds more than {MOST_NAMES} names, which no state_dict does.")
            if isinstance(value, Mapping):
                visit(value, f"{before}{name}.")
            else:
                flat[f"{before}{name}"] = value

    visit(state, "")
    return flat


def _told_of_name(name: str, own: Mapping[str, Any], prefix: str) -> str:
    if name.startswith("weight_hr_l"):
        return f"{name} is a projection (proj_size), which no layer here has."
    parts = [other.rpartition(".")[0] for other in own if NAME.fullmatch(other.rpartition(".")[2]) and "." in other]
    before = f"{prefix.rstrip('.')}." if prefix else ""
    advice = " or ".join(f"prefix={before + part!r}" for part in dict.fromkeys(parts))
    return (
        f"{before}{name:.80} is no parameter of an LSTM, GRU or RNN, which are weight_ih_l0, weight_hh_l0 and so on"
        + (f": pass {advice} for the layer that is a part of it." if advice else ".")
    )


def _cell_of(weight_hh: HostArray, cells: Sequence[str]) -> tuple[Cell, int]:
    """The cell that has so many gates, and H."""
    known = [CELLS[name] for name in cells if CELLS[name].in_torch]
    if not known:
        raise ValueError(f"PyTorch has no layer of the cell {' or '.join(cells)}.")
    if weight_hh.ndim == 2 and weight_hh.shape[1] >= 1:
        for cell in known:
            if weight_hh.shape[0] == len(cell.gates) * weight_hh.shape[1]:
                return cell, weight_hh.shape[1]
    told = " or ".join(f"({len(cell.gates)}·H, H) for {cell.name}" for cell in known)
    raise ValueError(f"weight_hh_l0 has shape {weight_hh.shape}, expected {told}: a wrong number of gates.")


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
