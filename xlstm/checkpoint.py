"""Save and load: one file, no pickle, every byte under a checksum.

Layout, all integers little-endian:

    8 bytes   b"xlstm\\x00\\r\\n"      a text-mode copy destroys the end of it, and is noticed
    4 bytes   format version
    8 bytes   length of the header, n
    8 bytes   length of the arrays, m
    n bytes   header: JSON, UTF-8
    m bytes   the arrays, one after another, C order, little-endian
    32 bytes  SHA-256 of all bytes before

The header names the arrays with dtype and shape; nothing in it is executed. A reader compares the lengths with the
file's size before it takes memory for them, and the checksum before it believes a word of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import struct
from typing import Any

import numpy as np

from . import backends, encode, layers, train
from .cells import CELLS
from .estimator import SequenceClassifier, flops_per_step
from .files import write_whole
from .fitted import Fitted
from .model import Architecture, Model
from .sequences import HostArray

MAGIC = b"xlstm\x00\r\n"
VERSION = 1
_PREFIX = struct.Struct("<8sIQQ")
_CHECKSUM = 32
_DTYPES = {"float32": "<f4", "float64": "<f8"}
_HEADER_KEYS = {"kind", "settings", "architecture", "encoder", "classes", "columns", "feature_names", "history",
                "updates", "solver", "generator", "arrays"}  # fmt: skip


# ---------------------------------------------------------------- the file


def write_file(path: Any, header: dict[str, Any], arrays: list[HostArray]) -> None:
    """Write the file whole or not at all: to a temporary file beside it, synced, then renamed over it.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then untouched.
    """
    text = json.dumps(header, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
    blocks = [np.ascontiguousarray(array, dtype=_DTYPES[str(array.dtype)]).tobytes() for array in arrays]
    parts = [_PREFIX.pack(MAGIC, VERSION, len(text), sum(map(len, blocks))), text, *blocks]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_whole(path, [*parts, digest.digest()])


def read_file(path: Any) -> tuple[dict[str, Any], list[HostArray]]:
    """The header and the arrays of a file.

    Raises
    ------
    ValueError
        If it is foreign, newer, truncated or damaged.
    OSError
        If it cannot be read.
    """
    path = os.fsdecode(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "this is no regular file", path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(_PREFIX.size)
        if prefix[: len(MAGIC)] != MAGIC[: len(prefix)] or not prefix:
            raise ValueError(f"{path} is not a model file of xlstm: it begins with {prefix[:8]!r}.")
        if len(prefix) < _PREFIX.size:
            raise ValueError(f"{path} is truncated: it has {len(prefix)} bytes.")
        _, version, header_size, arrays_size = _PREFIX.unpack(prefix)
        expected = _PREFIX.size + header_size + arrays_size + _CHECKSUM
        if version > VERSION:
            raise ValueError(
                f"{path} has format version {version}; this version of xlstm reads up to {VERSION}. Upgrade xp-lstm "
                "(or the file is damaged)."
            )
        if version != VERSION or size > expected:
            raise ValueError(f"{path} is damaged: it has {size} bytes where {expected} are announced.")
        if size < expected:
            raise ValueError(f"{path} is truncated: it has {size} bytes of {expected}.")
        content = file.read(header_size + arrays_size)
        checksum = file.read(_CHECKSUM)
    if hashlib.sha256(prefix + content).digest() != checksum:
        raise ValueError(f"{path} is damaged: its checksum does not fit its content.")
    try:
        header = json.loads(content[:header_size].decode())
        if not isinstance(header, dict) or not isinstance(header.get("arrays"), list):
            raise ValueError("the header is no object with arrays")
        arrays, start = [], header_size
        for entry in header["arrays"]:
            shape = tuple(entry["shape"])
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            if any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"an array has shape {shape}")
            end = start + math.prod(shape) * dtype.itemsize
            if end > len(content):
                raise ValueError("the arrays are longer than announced")
            block = np.frombuffer(content[start:end], dtype=dtype).reshape(shape)
            arrays.append(block.astype(dtype.newbyteorder("=")))
            start = end
        if start != len(content):
            raise ValueError("the arrays are shorter than announced")
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} cannot be understood: {error!r}.") from error
    return header, arrays


# ---------------------------------------------------------------- the classifier


def save(classifier: SequenceClassifier, path: Any) -> None:
    """Write a fitted classifier, with what exact resumption needs: see `SequenceClassifier.save`."""
    fitted = classifier._state()
    classifier._check_parameters()  # what cannot be loaded is not saved
    trainer, model = fitted.trainer, fitted.model
    arrays = [model.read(), *(model.backend.to_host(moment) for moment in trainer.optimizer.moments)]
    header = {
        "kind": "SequenceClassifier",
        "settings": _plain_settings(classifier),
        "architecture": model.architecture._asdict(),
        "encoder": fitted.encoder.state(),
        "classes": _plain_classes(fitted.classes),
        "columns": fitted.columns,
        "feature_names": None if fitted.feature_names is None else fitted.feature_names.tolist(),
        "history": vars(trainer.history),
        "updates": trainer.optimizer.updates,
        "solver": trainer.optimizer.solver,
        "generator": dict(trainer.rng.bit_generator.state),
        "arrays": [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in arrays],
    }
    write_file(path, header, arrays)


def load(path: Any, device: str | None = None) -> SequenceClassifier:
    """Read a classifier that `SequenceClassifier.save` wrote, on whatever device.

    Parameters
    ----------
    path
        The file.
    device
        Where it shall live: "auto", "cpu", "cuda", "cuda:N"; None is the environment variable XLSTM_DEVICE, else
        "auto".

    Raises
    ------
    ValueError
        If the file is damaged, truncated, foreign, or of a newer version: the message says which.
    OSError
        If it cannot be read.
    RuntimeError
        If a device was asked for that cannot be used.
    """
    header, arrays = read_file(path)
    try:
        classifier, architecture = _understood(header)
        flops = flops_per_step(architecture, layers.TYPICAL_ROWS)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{os.fsdecode(path)} cannot be understood: {error}") from error
    backend = backends.select(device, "auto", flops)
    try:
        fitted = _fitted(header, arrays, classifier, architecture, backend)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{os.fsdecode(path)} cannot be understood: {error}") from error
    classifier.device = device
    classifier._take_over(fitted)
    return classifier


def _understood(header: dict[str, Any]) -> tuple[SequenceClassifier, Architecture]:
    if header.get("kind") != "SequenceClassifier" or header.keys() != _HEADER_KEYS:
        raise ValueError(f"it holds {header.get('kind')!r} with {sorted(header)}, expected a SequenceClassifier")
    architecture = Architecture(**header["architecture"])
    expected = {"cell": str, "input_size": int, "tokens": bool, "hidden_size": int, "num_layers": int,
                "bidirectional": bool, "outputs": int, "dtype": str, "init": str}  # fmt: skip
    for name, kind in expected.items():
        if type(getattr(architecture, name)) is not kind:
            raise ValueError(f"{name} is {getattr(architecture, name)!r}")
    if type(architecture.embedding_size) not in (int, type(None)) or type(architecture.dropout) not in (int, float):
        raise ValueError(f"embedding_size is {architecture.embedding_size!r}, dropout {architecture.dropout!r}")
    if architecture.cell not in CELLS:
        raise ValueError(f"it has the cell {architecture.cell!r}; this version knows {', '.join(CELLS)}")
    settings = dict(header["settings"])
    known = set(SequenceClassifier().get_params()) - {"device"}
    if settings.keys() != known:
        raise ValueError(f"its settings are not those of this version: {sorted(settings.keys() ^ known)}")
    weight = settings.get("class_weight")
    if isinstance(weight, list):
        settings["class_weight"] = {label: value for label, value in weight}
    classifier = SequenceClassifier(**settings)
    classifier._check_parameters()
    return classifier, architecture


def _fitted(
    header: dict[str, Any],
    arrays: list[HostArray],
    classifier: SequenceClassifier,
    architecture: Architecture,
    backend: backends.Backend,
) -> Fitted:
    encoder = encode.from_state(header["encoder"])
    classes = _classes(header["classes"])
    tokens = isinstance(encoder, encode.TokenEncoder)
    if encoder.size != architecture.input_size or tokens != architecture.tokens:
        raise ValueError("the encoder does not fit the model")
    if architecture.outputs != (1 if len(classes) == 2 else len(classes)):
        raise ValueError(f"the model has {architecture.outputs} outputs for {len(classes)} classes")
    # The size that the architecture asks for is compared before a model of that size is built.
    wanted = parameter_count(architecture)
    if any(array.shape != (wanted,) or str(array.dtype) != architecture.dtype for array in arrays):
        raise ValueError(f"the arrays are {[array.shape for array in arrays]}, expected ({wanted},) each")
    moments = 1 if header["solver"] == "sgd" else 2
    if len(arrays) != 1 + moments:
        raise ValueError(f"there are {len(arrays)} arrays for the solver {header['solver']!r}, expected {1 + moments}")
    if not all(np.isfinite(array).all() for array in arrays) or (moments == 2 and (arrays[2] < 0).any()):
        raise ValueError("it holds numbers that no training leaves: NaN, infinity or a negative second moment")
    rng = np.random.default_rng(0)
    rng.bit_generator.state = header["generator"]
    # Compiled kernels that the other machine had may be missing here: the numbers are the same without them.
    kernels = "reference" if classifier.kernels == "reference" else "auto"
    model = Model(architecture, backend, kernels, None)
    model.write(arrays[0])
    optimizer = train.optimizer_for(model, header["solver"], **classifier._optimizer_numbers())
    with backend.current():
        optimizer.moments = [backend.from_host(array) for array in arrays[1:]]
    trainer = train.Trainer(model, optimizer, rng)
    trainer.optimizer.updates = _count(header["updates"])
    trainer.history = train.History(**{name: [float(v) for v in values] for name, values in header["history"].items()})
    names = header["feature_names"]
    if names is not None and not (isinstance(names, list) and all(type(name) is str for name in names)):
        raise ValueError("the names of the features are no strings")
    columns = None if header["columns"] is None else _count(header["columns"])
    if columns is not None and (tokens or encoder.size != 1 or columns < 1):
        raise ValueError(f"it has {columns} columns, which do not go with its encoder")
    if names is not None and len(names) != columns:
        raise ValueError(f"it has {len(names)} names for {columns} columns")
    return Fitted(trainer, encoder, classes, columns, None if names is None else np.array(names, dtype=object))


def parameter_count(architecture: Architecture) -> int:
    """How many parameters a model of this architecture has."""
    a = architecture
    if min(a.input_size, a.hidden_size, a.num_layers, a.outputs, a.embedding_size or 1) < 1:
        raise ValueError("a size is below 1")
    S, H, G = 2 if a.bidirectional else 1, a.hidden_size, int(CELLS[a.cell].GATES) * a.hidden_size
    D = a.embedding_size or a.input_size
    embedding = a.input_size * a.embedding_size if a.embedding_size else 0
    first, each_other = S * G * (D + H + 1), S * G * (S * H + H + 1)
    return embedding + first + (a.num_layers - 1) * each_other + a.outputs * (S * H + 1)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no count")
    return value


def _plain_settings(classifier: SequenceClassifier) -> dict[str, Any]:
    """The constructor's parameters as JSON has them. The device stays behind: it is the machine's, not the model's."""
    plain: dict[str, Any] = {}
    for name, value in classifier.get_params().items():
        if name == "device":
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if name == "random_state" and not (value is None or isinstance(value, int)):
            value = None  # what was drawn from it goes on under "generator"
        if name == "max_grad_norm" and value == math.inf:
            value = None  # which never clips either, and is known to JSON
        if name == "dtype":
            value = str(np.dtype(value))
        if isinstance(value, dict):
            value = [[_plain(label), float(weight)] for label, weight in value.items()]
        plain[name] = value
    return plain


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _plain_classes(classes: HostArray) -> dict[str, Any]:
    return {"dtype": classes.dtype.str.lstrip("<>=|"), "values": classes.tolist()}


def _classes(state: dict[str, Any]) -> HostArray:
    kinds = {"b": bool, "i": int, "u": int, "f": float, "U": str}
    code, values = state["dtype"], state["values"]
    if not re.fullmatch("b1|[iuf][1248]|U[0-9]+", code):
        raise ValueError(f"the classes are of dtype {code!r}")
    if not isinstance(values, list) or any(type(v) is not kinds[code[:1]] for v in values):
        raise ValueError(f"the classes are {values!r} of dtype {code!r}")
    classes = np.array(values) if code[0] == "U" else np.array(values, dtype=code)
    if len(classes) < 2 or not np.array_equal(np.unique(classes), classes):
        raise ValueError("the classes must be two or more, sorted")
    return classes
