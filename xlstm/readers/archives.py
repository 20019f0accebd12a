"""NumPy's files: `.npz` with arrays by name, `.npy` with one. Nothing in them is executed."""

from __future__ import annotations

import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from ..channels import from_channels_first
from ..dataset import Dataset, Sequences
from ..host import HostArray
from . import fields
from .columns import Asked, listed

_X, _Y = ("X", "x"), ("y", "label", "labels")


def read(path: str, asked: Asked, channels_first: bool) -> Dataset:
    """The arrays of a file: `X`, `lengths`, `y`, `names` and `ids`, of which X alone has to be there.

    X is (n, time, D), (n, time), or with `lengths` (n,) the steps of all sequences one after another, (S, D). Lengths
    that do not sum up to S say how many steps of each row count. X of strings (n,) are texts.
    """
    arrays = _arrays(path)
    key = next((name for name in _X if name in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if key is None:
        raise ValueError(f"{path} has no array 'X': it has {listed(list(arrays))}.")
    label = None
    if asked.labelled:
        label = asked.label or next((name for name in _Y if name in arrays), None)
    if label is not None and label not in arrays:
        raise ValueError(f"{path} has no array {label!r} (label=): it has {listed(list(arrays))}.")
    X: Any
    if arrays[key].dtype.kind in "UT":
        X = _texts(path, key, arrays[key])
    else:
        X = _sequences(path, key, arrays, channels_first)
        if asked.features is not None:
            X = _chosen(path, X, asked.features)
    y: Any = None if label is None else arrays[label]
    if asked.label_each_step:
        y = _each_step(path, label, y, X)
    elif y is not None and y.shape[:1] != (len(X),):
        raise ValueError(
            f"{path} has {len(X)} sequences, but {label!r} is of the shape {y.shape}: expected ({len(X)},), or with "
            "label_each_step=True a label a step."
        )
    if asked.separator is not None and y is not None and y.ndim == 1:
        y = [fields.several(str(one), asked.separator) for one in y.tolist()]
    ids = arrays.get("ids")
    if ids is not None and ids.shape != (len(X),):
        raise ValueError(f"{path} has {len(X)} sequences, but 'ids' is of shape {ids.shape}: expected ({len(X)},).")
    return Dataset(X, y, None if ids is None else ids.tolist())


_DAMAGE = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, OSError, SyntaxError, TypeError, LookupError,
           ArithmeticError, RuntimeError, MemoryError)  # fmt: skip
"""What NumPy raises of a damaged file beside a ValueError."""


def _arrays(path: str) -> dict[str, HostArray]:
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                _check_size(file, os.fstat(file.fileno()).st_size)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"X": loaded}
        with loaded:
            names, arrays = list(loaded.files), {}
            members = {info.filename.removesuffix(".npy"): info for info in loaded.zip.infolist()}
            for name in names:
                with loaded.zip.open(members[name]) as file:
                    _check_size(file, members[name].file_size)
                try:
                    arrays[name] = loaded[name]
                except ValueError as error:
                    if "allow_pickle" in str(error):
                        raise ValueError(_objects(path, name)) from None
                    raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is damaged, NumPy cannot read it ({error}): write it anew.") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(_objects(path, "X")) from None
        if path in str(error):
            raise
        raise ValueError(f"{path} is damaged, NumPy cannot read it ({error}): write it anew.") from None
    if not arrays:
        raise ValueError(f"{path} holds no arrays.")
    return arrays


def _check_size(file: IO[bytes], size: int) -> None:
    """Raise a ValueError where the array of a file of so many bytes announces more, before memory is taken for it."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy says it when the array is read
        shape, _, dtype = read(file)
    count: int = math.prod(shape)
    announced, there = count * dtype.itemsize, size - file.tell()
    if not dtype.hasobject and (announced > there or (count and not dtype.itemsize)):
        raise ValueError(f"an array of shape {shape} of {dtype} has {announced} bytes, and {there} are there")


def _objects(path: str, name: str) -> str:
    return (
        f"the array {name!r} of {path} holds Python objects, which are a pickle and not read, for it may do harm: "
        "write all steps as one array X (S, D), and `lengths`."
    )


def _texts(path: str, key: str, array: HostArray) -> list[str]:
    if array.ndim != 1:
        raise ValueError(f"the array {key!r} of {path} holds strings of shape {array.shape}: texts are (n,).")
    return [str(text) for text in array]


def _sequences(path: str, key: str, arrays: dict[str, HostArray], channels_first: bool) -> Sequences:
    X, names = arrays[key], arrays.get("names")
    if X.dtype.kind not in "fiub":
        raise ValueError(f"the array {key!r} of {path} holds {X.dtype}: sequences are real numbers, or strings (n,).")
    if channels_first:
        if X.ndim != 3:
            raise ValueError(f"channels_first=True, but {key!r} of {path} is of shape {X.shape}: (n, channels, time).")
        X = from_channels_first(X)
    called = None if names is None else [str(name) for name in names.ravel()]
    lengths = arrays.get("lengths")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu"):
        raise ValueError(f"'lengths' of {path} must be integers (n,), got {lengths.dtype} of shape {lengths.shape}.")
    if X.ndim not in (2, 3) and not (X.ndim == 1 and lengths is not None):
        raise ValueError(
            f"the array {key!r} of {path} has the shape {X.shape}: expected (n, time, features), (n, time), or with "
            "'lengths' all steps (S, features)."
        )
    if 0 in X.shape:
        raise ValueError(f"the array {key!r} of {path} has the shape {X.shape}: it holds no steps.")
    try:
        if lengths is not None and X.ndim < 3 and int(lengths.sum()) == len(X):
            return Sequences(X, lengths, called)
        n, time = X.shape[:2]
        steps = X.reshape(n * time, -1)
        if lengths is None:
            return Sequences(steps, np.full(n, time), called)
        if len(lengths) != n or lengths.min() < 1 or lengths.max() > time:
            raise ValueError(
                f"'lengths' of {path} are {len(lengths)} from {lengths.min()} to {lengths.max()}, X is of shape "
                f"{X.shape}: expected {n} from 1 to {time}, or such that sum up to the steps of X (S, features)."
            )
        kept = (np.arange(time)[None, :] < lengths[:, None]).reshape(-1)
        return Sequences(steps[kept], lengths, called)
    except ValueError as error:
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from None


def _chosen(path: str, X: Sequences, features: Sequence[str]) -> Sequences:
    if isinstance(features, str):
        raise TypeError(f"features must be a list of names, got the string {features!r}: [{features!r}].")
    if X.names is None:
        raise ValueError(f"{path} has no array 'names', by which features= could choose features.")
    missing = [name for name in features if name not in X.names]
    if missing:
        raise ValueError(f"{path} has no feature {missing[0]!r} (features=): it has {listed(X.names)}.")
    return Sequences(X.values[:, [X.names.index(name) for name in features]], X.lengths, list(features))


def _each_step(path: str, label: str | None, y: HostArray | None, X: Any) -> list[HostArray]:
    """Labels (n, time), or those of all steps one after another, as one array for each sequence.

    The steps of a text are its characters, or where so many labels are not there, its words.
    """
    if y is None:
        raise ValueError(f"label_each_step=True, but {path} has no array 'y' of labels: name it by label=.")
    if isinstance(X, Sequences):
        counted = [X.lengths]
    else:
        counted = [np.array([len(text) for text in X]), np.array([len(text.split()) for text in X])]
    for lengths in counted:
        if y.ndim == 1 and len(y) == lengths.sum():
            return np.split(y, np.cumsum(lengths)[:-1])
        if y.ndim == 2 and len(y) == len(lengths) and y.shape[1] >= lengths.max():
            return [row[:length] for row, length in zip(y, lengths.tolist(), strict=True)]
    lengths = counted[0]
    raise ValueError(
        f"{label!r} of {path} has the shape {y.shape}, for {len(lengths)} sequences of {lengths.sum()} steps in all: "
        f"expected ({lengths.sum()},) or ({len(lengths)}, {lengths.max()} or more)."
    )
