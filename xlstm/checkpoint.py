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
file's size before it takes memory for them, the checksum before it believes a word of it, and what the header would
take as objects before it makes them: loading costs at most three times the file and 16 MB (`headers.py`). A header of
very many tiny words or epochs, beside next to no arrays, therefore ends with spaces.

What the header says of an estimator is the matter of `estimators/state.py`, of a layer that of `layerfile.py`; its
`kind` says which it is, and `state.load` asks it. This file knows the format, and what older versions wrote. Files live
for ever:

- A change of the header's form is a new version; `READERS` makes of an older header one of today.
- A setting that came later stands in its estimator's `settings_before`, a part of the header in `state.PARTS_BEFORE`, a
  part of an architecture has a default in `Architecture`, layers have `layerfile.SETTINGS_BEFORE`: what a file without
  it stands for. They never change.
- What a file names and this version does not know is refused by name: a newer version wrote it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import foreign, headers
from .files import write_whole
from .host import HostArray
from .labels import bytes_of_state
from .messages import told
from .registry import Registry

MAGIC = b"xlstm\x00\r\n"
VERSION = 2
_PREFIX = struct.Struct("<8sIQQ")
_CHECKSUM = 32
_DTYPES = {"float32": "<f4", "float64": "<f8"}


class NotUnderstood(ValueError):
    """What a file holds is not the state of an estimator or a layer of this version."""


# ---------------------------------------------------------------- the file


def write_file(path: Any, header: dict[str, Any], arrays: list[HostArray]) -> None:
    """Write the file whole or not at all: to a temporary file beside it, synced, then renamed over it.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then untouched.
    """
    blocks = [np.ascontiguousarray(array, dtype=_DTYPES[str(array.dtype)]).tobytes() for array in arrays]
    size = sum(map(len, blocks))
    text = json.dumps(header, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
    text = headers.filled(text, _labels(header), size)
    parts = [_PREFIX.pack(MAGIC, VERSION, len(text), size), text, *blocks]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_whole(path, [*parts, digest.digest()])


class Content(NamedTuple):
    """What a file holds."""

    version: int
    header: dict[str, Any]
    arrays: list[HostArray]  # read-only
    text: int  # bytes of the header


def read_file(path: Any) -> Content:
    """The version, the header and the arrays of a file, in as much memory as it has bytes, and what its header takes.

    Raises
    ------
    ValueError
        If it is foreign, newer, truncated or damaged, or its header would take more memory than `headers.allowed`.
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
            kind = foreign.told(path, file)
            raise ValueError(f"{path} is not a model file of xlstm: it begins with {prefix[:8]!r}.{kind}")
        if len(prefix) < _PREFIX.size:
            raise ValueError(f"{path} is truncated: it has {len(prefix)} bytes.")
        _, version, header_size, arrays_size = _PREFIX.unpack(prefix)
        expected = _PREFIX.size + header_size + arrays_size + _CHECKSUM
        if version > VERSION:
            raise ValueError(
                f"{path} has format version {version}; this version of xlstm reads up to {VERSION}. Upgrade xp-lstm "
                "(or the file is damaged)."
            )
        if version not in READERS or size > expected:
            raise ValueError(f"{path} is damaged: it has {size} bytes where {expected} are announced.")
        if size < expected:
            raise ValueError(f"{path} is truncated: it has {size} bytes of {expected}.")
        text, block = file.read(header_size), np.empty(arrays_size, dtype=np.uint8)
        read = file.readinto(block)  # type: ignore[arg-type]  # an array is a buffer
        checksum = file.read(_CHECKSUM)
    digest = hashlib.sha256(prefix)
    digest.update(text)
    digest.update(block)  # type: ignore[arg-type]  # as above
    if read != arrays_size or digest.digest() != checksum:
        raise ValueError(f"{path} is damaged: its checksum does not fit its content.")
    block.flags.writeable = False
    try:
        letters = headers.decoded(text, arrays_size)
        del text
        header = headers.parsed(letters)
        del letters
        if not isinstance(header, dict) or not isinstance(header.get("arrays"), list):
            raise ValueError("the header is no object with arrays")
        arrays = _arrays(header["arrays"], block)
    except headers.TooLarge as error:
        raise ValueError(f"{path} cannot be understood: {error}.") from error
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} cannot be understood: {error!r:.400}.") from error
    return Content(version, header, arrays, header_size)


def _arrays(entries: list[Any], block: HostArray) -> list[HostArray]:
    """The arrays that a header names, as views of the bytes that hold them."""
    arrays, start = [], 0
    for entry in entries:
        shape = tuple(entry["shape"])
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"an array has shape {told(shape)}")
        end = start + math.prod(shape) * dtype.itemsize
        if end > len(block):
            raise ValueError("the arrays are longer than announced")
        array = np.frombuffer(block[start:end], dtype=dtype).reshape(shape)
        # One of doubles after one of an odd number of singles does not begin where it has to.
        arrays.append(array.astype(dtype.newbyteorder("="), copy=not array.flags.aligned))
        start = end
    if start != len(block):
        raise ValueError("the arrays are shorter than announced")
    return arrays


def is_free_for_a_model(path: Any) -> bool:
    """Whether a model may be written there without a loss of anything else: no file, an empty one, or one of ours."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(MAGIC))
    except FileNotFoundError:
        return True
    return start == MAGIC[: len(start)]


def write_header(path: Any, header: dict[str, Any], arrays: list[HostArray]) -> None:
    """`write_file`, with what the header has to say of the arrays."""
    entries = [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in arrays]
    write_file(path, {**header, "arrays": entries}, arrays)


def read_state(path: Any) -> tuple[dict[str, Any], list[HostArray]]:
    """The header of a file of any version as one of today, without what describes the arrays, and the arrays.

    Raises
    ------
    ValueError, OSError
        As `read_file`; a ValueError too if the header cannot be made one of today.
    """
    version, header, arrays, text = read_file(path)
    size = sum(array.nbytes for array in arrays)
    with understood(path), understanding():
        header = READERS[version](header)
        headers.check(_labels(header), text, size)
        del header["arrays"]  # the arrays themselves have been read
    return header, arrays


def _labels(header: Mapping[str, Any]) -> int:
    """Bytes that the labels of the header's task take, where it has some: as strings all are as long as the longest."""
    task = header.get("task")
    return sum(map(bytes_of_state, task.values())) if isinstance(task, dict) else 0


# ---------------------------------------------------------------- what a header may hold


@contextlib.contextmanager
def understood(path: Any) -> Iterator[None]:
    """What is a `NotUnderstood` inside is a ValueError that names the file."""
    try:
        yield
    except NotUnderstood as error:
        raise ValueError(f"{os.fsdecode(path)} cannot be understood: {error}") from error


@contextlib.contextmanager
def understanding() -> Iterator[None]:
    """Whatever a header that may hold anything runs into is a `NotUnderstood`."""
    try:
        yield
    except NotUnderstood:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise NotUnderstood(f"{error!s:.400}") from error


def same_names(found: Any, known: Collection[str], what: str, before: Mapping[str, Any] | None = None) -> None:
    """Raise where a name is not known, or one that has no value from `before` is missing."""
    if not isinstance(found, dict):
        raise ValueError(f"its {what}s are {told(found)}")
    for name in found:
        if name not in known:
            raise ValueError(
                f"it holds the {what} {told(name)}, which this version of xlstm does not know: it was written by a "
                "newer xlstm (upgrade xp-lstm), or is damaged"
            )
    for name in known:
        if name not in found and name not in (before or {}):
            raise ValueError(f"it lacks the {what} {name!r}")


def named(registry: Registry, name: object) -> Any:
    """The class of a name that a file holds.

    Raises
    ------
    NotUnderstood
        If there is none.
    """
    try:
        return registry.find(name)
    except LookupError as error:
        raise NotUnderstood(
            f"it holds the {registry.what} {told(name)}, which this version of xlstm does not know (it knows "
            f"{', '.join(registry.names)}): it was written by a newer xlstm (upgrade xp-lstm), or is damaged"
        ) from error


def number_to_json(number: float) -> float | str:
    """A measured number as a header may hold it: JSON has neither infinity nor NaN, which are written as strings."""
    return float(number) if math.isfinite(number) else str(float(number))


def number_of_json(found: Any) -> float:
    """The contrary of `number_to_json`; a ValueError where it is no number."""
    if type(found) not in (int, float) and found not in ("inf", "-inf", "nan"):
        raise ValueError(f"{told(found)} is no number")
    return float(found)


# ---------------------------------------------------------------- older versions


def _version_1(header: dict[str, Any]) -> dict[str, Any]:
    """It knew classifiers alone: their classes stood by themselves, and the scores were called accuracy."""
    classes, history = header.pop("classes"), dict(header["history"])
    names = {"loss", "accuracy", "validation_loss", "validation_accuracy"}
    if history.keys() != names:
        raise ValueError(f"its history has {sorted(history)}, expected {sorted(names)}")
    validated = history["validation_accuracy"]
    return {
        **header,
        "task": {"kind": "classes", "classes": classes},
        "history": {
            "loss": history["loss"],
            "scores": {"accuracy": history["accuracy"]},
            "validation_loss": history["validation_loss"],
            "validation_scores": {"accuracy": validated} if validated else {},
        },
    }


READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _version_1, 2: dict}
"""Of each version, what makes of its header one of today."""
