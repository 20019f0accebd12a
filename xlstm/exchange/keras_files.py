"""Files of Keras 3, read with h5py and without Keras: `.keras`, a model, and `.weights.h5`, its weights alone.

Nothing in them is executed, and what is read goes with the file's size: an archive may become what `xlstm/packed.py`
allows, its configuration as objects what `xlstm/headers.py` does for a text of the file's size, and the arrays are no
larger than the HDF5 file that holds them: they are stored whole, as Keras writes them, and not packed.

Keras names the group of a layer's arrays after its class, `lstm`, `lstm_1`, and so on in the order of the model
(`keras/src/saving/saving_lib.py`).
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import extras, headers, packed
from .arrays import listed

CLASSES = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN", "bidirectional": "Bidirectional"}
"""The recurrent layers by the names that their groups begin with."""
WITHOUT_WEIGHTS = ("InputLayer", "Dropout", "SpatialDropout1D", "ActivityRegularization")
"""What does nothing at inference, and may stand between recurrent layers."""


class Described(NamedTuple):
    """A layer as a file or Keras tells of it."""

    name: str
    kind: str  # its class
    config: Mapping[str, Any] | None  # None where there are weights alone
    weights: list[list[Any]]  # of one direction, or of two


def library() -> Any:
    """The module h5py, or an ImportError that says how to install it."""
    return extras.imported("h5py", "files of Keras are read by h5py", "'xp-lstm[keras]'")


def read(path: Any) -> list[Described]:
    """The recurrent layers of a file, in the order of its model.

    Raises
    ------
    ValueError
        If it holds other layers, too, is damaged, or of another kind; if it would take memory out of proportion to its
        size, or its arrays are packed.
    ImportError
        If h5py is missing.
    OSError
        If it cannot be read.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if start[:4] == b"PK\x03\x04":
        return _of_archive(path)
    if start == b"\x89HDF\r\n\x1a\n":
        return _of_weights(path, path)
    raise ValueError(f"{path} is no .keras or .weights.h5 file, or is truncated: it begins with {start!r}.")


def _of_archive(path: str) -> list[Described]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = os.path.getsize(path)
            packed.check_archive(archive, size)
            text, weights = (packed.member(archive, name) for name in ("config.json", "model.weights.h5"))
        headers.check(headers.claim(text), size)
        config = json.loads(text.decode())
        kind, layers = config["class_name"], config["config"].get("layers")
    except KeyError as error:
        raise ValueError(f"{path} is no file of Keras 3: {str(error)[1:-1]}.") from None
    except (ValueError, TypeError, AttributeError, EOFError, RecursionError, RuntimeError, MemoryError, zlib.error,
            zipfile.BadZipFile, NotImplementedError) as error:  # fmt: skip
        raise ValueError(f"{path} is damaged, or no file of Keras: {str(error)[:200].rstrip('.')}.") from None
    if kind not in ("Sequential", "Functional") or not isinstance(layers, list):
        raise ValueError(f"{path} holds a {kind!r:.80}, expected a Sequential model of recurrent layers alone.")
    groups, configs = _groups(path, kind, layers)
    return _of_weights(path, io.BytesIO(weights), groups, configs)


def check_chain(told: str, layers: list[Any]) -> None:
    """Raise where one of a functional model's layers does not read the one before it, and nothing else."""
    last: list[str] = []
    for layer in layers:
        read = re.findall(r"'keras_history': [\[(]'([^']*)'", str(layer["inbound_nodes"]))
        if read != last:
            name = layer["config"]["name"]
            raise ValueError(f"{told} is no chain of layers: {name!r} reads {listed(read)}, not {listed(last)}.")
        last = [layer["config"]["name"]]


def _groups(path: str, kind: str, layers: list[Any]) -> tuple[list[str], dict[str, Mapping[str, Any]]]:
    """The names of the groups of the recurrent layers, in their order, and the layers' configurations."""
    counts: dict[str, int] = {}
    groups: list[str] = []
    configs: dict[str, Mapping[str, Any]] = {}
    try:
        if kind == "Functional":
            check_chain(path, layers)
        for layer in layers:
            of_class, config, name = layer["class_name"], layer["config"], layer["config"]["name"]
            snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", of_class)).lower()
            counts[snake] = counts.get(snake, -1) + 1
            if of_class in WITHOUT_WEIGHTS:
                continue
            if of_class not in CLASSES.values():
                raise ValueError(
                    f"{path} has the layer {name!r}, a {of_class}; expected recurrent layers alone: take them from the "
                    "model, from_keras([model.layers[1], …])."
                )
            groups.append(f"{snake}_{counts[snake]}" if counts[snake] else snake)
            configs[groups[-1]] = config
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its configuration has a layer without {error!s:.80}.") from None
    return groups, configs


def _of_weights(
    path: str, file: Any, groups: list[str] | None = None, configs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Described]:
    h5py = library()
    try:
        with h5py.File(file, "r") as opened:
            if not isinstance(opened.get("layers"), h5py.Group):
                legacy = "model_weights" in opened or "layer_names" in opened.attrs
                raise ValueError(
                    "it was written by Keras 2 (.h5): load it in Keras, and save it as .keras"
                    if legacy
                    else f"it has no group 'layers', but {listed(opened)}"
                )
            layers = opened["layers"]
            names = groups if groups is not None else _ordered(layers)
            size = opened.id.get_filesize()
            found = [_layer(h5py, layers, name, (configs or {}).get(name)) for name in names]
            _check_sizes(found, size)
            return [one._replace(weights=[[array[()] for array in half] for half in one.weights]) for one in found]
    except (ValueError, KeyError, OSError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is damaged, or holds no such weights: {_one_line(error)}.") from None


def _check_sizes(found: list[Described], size: int) -> None:
    """Raise where arrays announce more than the file holds: also together, for several names may stand for one."""
    announced = sum(array.nbytes for one in found for half in one.weights for array in half)
    if announced > size:
        raise ValueError(f"its arrays announce {announced} bytes, and the HDF5 file has {size}")


def _ordered(layers: Any) -> list[str]:
    """The groups of layers with arrays in the order of the model, which names alone tell where all are of one class."""
    found = [name for name in layers if re.sub(r"_\d+$", "", name) in CLASSES or _holds_arrays(layers[name])]
    matches = {name: re.fullmatch(r"([a-z_0-9]*?)(?:_(\d+))?", name) for name in found}
    classes = {match[1] for match in matches.values() if match}
    for name in found:
        if not (match := matches[name]) or match[1] not in CLASSES:
            raise ValueError(f"it has the layer {name!r}, expected recurrent layers alone: {listed(CLASSES)}")
    if len(classes) > 1:
        raise ValueError(f"weights alone do not tell the order of {listed(found)}: pass the .keras file")
    return sorted(found, key=lambda name: int((matches[name] or [None, None, None])[2] or 0))


def _holds_arrays(group: Any) -> bool:
    found: list[str] = []
    group.visit(found.append)
    arrays = [name for name in found if name.rpartition("/")[2].isdigit() and "seed_generator" not in name]
    return bool(arrays)


def _layer(h5py: Any, layers: Any, name: str, config: Mapping[str, Any] | None) -> Described:
    if name not in layers:
        raise ValueError(f"there are no weights of the layer {name!r} beside {listed(layers)}")
    group, kind = layers[name], CLASSES[re.sub(r"_\d+$", "", name)]
    if kind != "Bidirectional":
        return Described(name, kind, config, [_arrays(h5py, group, f"{name}/cell/vars")])
    both = []
    for half in ("forward_layer", "backward_layer"):
        if half not in group:
            raise ValueError(f"the layer {name!r} has no {half}")
        both.append(_arrays(h5py, group[half], f"{name}/{half}/cell/vars", "cell/vars"))
    if config is None:  # the class within is told by nothing but its arrays' shapes
        H, G = both[0][1].shape if both[0][1].ndim == 2 else (1, 0)
        kind = {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}.get(G // H if H and G % H == 0 else 0, kind)
    return Described(name, kind, config, both)


def _arrays(h5py: Any, group: Any, told: str, inside: str = "cell/vars") -> list[Any]:
    """The datasets of a cell, which are not read yet."""
    if inside not in group:
        raise ValueError(f"it has no {told}")
    found, arrays = group[inside], []
    if sorted(found) not in (["0", "1"], ["0", "1", "2"]):
        raise ValueError(f"{told} has {listed(found)}, expected 0, 1 and maybe 2")
    for key in sorted(found):
        link, dataset = found.get(key, getlink=True), found[key]
        if not isinstance(link, h5py.HardLink) or not isinstance(dataset, h5py.Dataset) or dataset.external:
            raise ValueError(f"{told}/{key} is no array in this file")
        if dataset.dtype.kind != "f" or dataset.shape is None:
            raise ValueError(f"{told}/{key} holds no floating-point numbers, but {dataset.dtype}")
        if dataset.id.get_create_plist().get_nfilters():  # HDF5 unpacks a chunk whole, however large it becomes
            raise ValueError(f"{told}/{key} is packed, which Keras does not write: unpack it, h5repack -f NONE")
        if dataset.id.get_storage_size() < dataset.nbytes:
            raise ValueError(f"{told}/{key} lacks a part of its numbers")
        arrays.append(dataset)
    return arrays


def _one_line(error: Exception) -> str:
    return (str(error).strip("'\" \n").splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
