"""safetensors files, read and written with NumPy alone.

Layout (https://huggingface.co/docs/safetensors): 8 bytes, the length of the header, little-endian; the header, JSON, of
each array its dtype, shape and place; the bytes of the arrays, little-endian, C order, without gaps.

The format has no checksum, and most damage loads unseen. `write` puts one into the header's metadata, a text that other
readers leave alone; `read` compares it where it is there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import headers
from ..files import write_whole
from ..host import HostArray

CHECKSUM = "xlstm.sha256"
"""Its name in the metadata."""
LARGEST_HEADER = 100_000_000
"""Bytes; the reference implementation refuses longer ones, too."""
MOST_AXES = 32
"""Of an array; NumPy 1 has no more. The product of so many sizes is a number of bounded length."""
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}  # fmt: skip


def write(path: Any, arrays: Mapping[str, HostArray]) -> None:
    """Write float32 and float64 arrays by their names, whole or not at all, with a checksum.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then untouched.
    """
    names = {"float32": "F32", "float64": "F64"}
    header: dict[str, Any] = {}
    blocks, start = [], 0
    for name, array in sorted(arrays.items()):
        code = names[str(array.dtype)]
        blocks.append(np.ascontiguousarray(array, DTYPES[code]).tobytes())
        end = start + len(blocks[-1])
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    content = b"".join(blocks)
    header["__metadata__"] = {"format": "pt", CHECKSUM: _checksum(header, content)}
    text = headers.filled(json.dumps(header, separators=(",", ":")).encode(), arrays=len(content))
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    write_whole(path, [struct.pack("<Q", len(text)), text, content])


def read(path: Any) -> dict[str, HostArray]:
    """The arrays of a file by their names. bfloat16, which NumPy lacks, comes as float32, to which it widens exactly.

    Raises
    ------
    ValueError
        If it is no such file, is cut off or damaged, does not fit the checksum that our `write` put there, or has a
        header that would take more memory than its size allows (`xlstm/headers.py`).
    OSError
        If it cannot be read.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ValueError(f"{path} is truncated, or no safetensors file: it has {size} bytes.")
        if length > LARGEST_HEADER:
            raise ValueError(f"{path} is damaged: its header has {length} bytes.")
        text, content = file.read(length), file.read()
    try:
        letters = headers.decoded(text, len(content))
        del text
        header = json.loads(letters, object_pairs_hook=_once)
        metadata = header.pop("__metadata__", {})
        ends = sorted(_checked(name, entry, len(content)) for name, entry in header.items())
        place = 0
        for begin, end in ends:
            if begin != place:
                raise ValueError("its arrays overlap, or leave a gap")
            place = end
        if place != len(content):
            raise ValueError(f"it has {len(content)} bytes of arrays where {place} are announced")
        arrays = {name: _array(entry, content) for name, entry in header.items()}
        expected = metadata.get(CHECKSUM)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} is damaged, or no safetensors file: {_one_line(error)}.") from None
    if expected is not None and expected != _checksum(header, content):
        raise ValueError(f"{path} is damaged: its checksum does not fit its content.")
    return arrays


def _checked(name: str, entry: Any, size: int) -> tuple[int, int]:
    """Where the array of an entry of the header begins and ends in so many bytes; whatever does not fit is an error."""
    code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if code not in DTYPES:
        raise ValueError(f"{name:.80} is of the dtype {code!r:.80}, which is not read")
    if len(shape) > MOST_AXES:  # before they are multiplied, which takes the square of their number
        raise ValueError(f"{name:.80} has {len(shape)} axes, expected {MOST_AXES} at most")
    if any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
        raise ValueError(f"{name:.80} has the shape {shape!r:.80} from {begin!r:.40} to {end!r:.40}")
    if math.prod(shape) * np.dtype(DTYPES[code]).itemsize != end - begin or end > size:
        raise ValueError(f"{name:.80} of shape {tuple(shape)} does not fit the bytes {begin} to {end}")
    return begin, end


def _array(entry: Any, content: bytes) -> HostArray:
    """The array of a checked entry of the header."""
    code, (begin, end) = entry["dtype"], entry["data_offsets"]
    values = np.frombuffer(content, np.uint8, end - begin, begin).view(DTYPES[code]).reshape(entry["shape"])
    if code == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands in its header twice")
    return made


def _checksum(header: Mapping[str, Any], content: bytes) -> str:
    """SHA-256 of what the header says of the arrays, in a form of its own, and of their bytes."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text + b"\n" + content).hexdigest()


def _one_line(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0][:200]
