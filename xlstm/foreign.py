"""What kind of file is this, if it is none of ours? Recognised by its content, for a message that helps."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

from . import headers

_MOST = 500_000
"""Bytes of a file that are read at once: what is to be known of it stands in fewer."""


def told(path: str, file: BinaryIO) -> str:
    """A sentence on what the open file is, and what to do with it; empty where it is not known.

    Nothing in the file is executed, and little of it is read.
    """
    try:
        kind = _kind(path, file)
    except Exception:  # whatever a file holds that is damaged or only looks like one of these: it is not known
        return ""
    return _SAYS.get(kind, "").format(path=path)


def _kind(path: str, file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(64)
    size = os.fstat(file.fileno()).st_size
    if start.startswith(b"PK\x03\x04"):
        return _of_zip(file)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    # PyTorch before 1.6: pickles, of which the first is a number that it knows them by.
    if start.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        return "torch"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if start.startswith(b"\x93NUMPY"):
        return "numpy"
    if start.startswith(b"GGUF"):
        return "gguf"
    if len(start) > 8 and start[8:9] == b"{":
        (length,) = struct.unpack("<Q", start[:8])
        if length <= min(size - 8, _MOST):
            file.seek(8)
            header = headers.parsed(headers.decoded(file.read(length)))  # an object, for it begins with a brace
            # A dict of dicts, each of them an array; the metadata alone are no arrays to be read.
            arrays = [entry for name, entry in header.items() if name != "__metadata__"]
            if arrays and all(isinstance(entry, dict) and "dtype" in entry for entry in arrays):
                return "safetensors"
    # A protobuf message whose first field is the version of its format, and whose next are texts.
    if start[:1] == b"\x08" and (start[2:3] in b"\x12\x1a\x22" or path.lower().endswith(".onnx")) and len(start) > 2:
        return "onnx"
    return ""


class _Sparing:
    """A file of which nobody reads much at once: the list of an archive's files may be all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size > _MOST:
            raise ValueError(f"{size} bytes are asked for at once")
        return self._file.read(_MOST if size < 0 else size)

    def seekable(self) -> bool:
        return True


def _of_zip(file: BinaryIO) -> str:
    with zipfile.ZipFile(_Sparing(file)) as archive:  # type: ignore[call-overload]  # a file as far as it is read
        names = archive.namelist()
    last = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in last:
        return "torchscript" if "constants.pkl" in last else "torch"
    if "config.json" in last and any(name.endswith(".weights.h5") for name in names):
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    return ""


# One statement, and no line breaks: the command line prints a message on one line.
_LAYER = " xlstm takes the weights of its LSTM, GRU or RNN: {call}"
_PREFIX = ", prefix='the.name.of.the.layer') for a part of a larger module."
_NOT_YET = (
    " xlstm does not read this format yet: parameters that you read with {library} are written to a layer by name, "
)
_BY_NAME = "layer.parameters[name] = array."
_KERAS = _LAYER.format(call="xlstm.LSTM.from_keras({path!r}), and GRU and RNN alike, where it holds nothing else.")

_SAYS = {
    "torch": " It is a file of PyTorch (torch.save)."
    + _LAYER.format(call="xlstm.LSTM.from_torch({path!r}), or from_torch({path!r}" + _PREFIX),
    "torchscript": " It is a TorchScript file of PyTorch (torch.jit.save)."
    + _LAYER.format(call="xlstm.LSTM.from_torch(torch.jit.load({path!r}, map_location='cpu').state_dict())."),
    "safetensors": " It is a safetensors file."
    + _LAYER.format(call="xlstm.LSTM.from_safetensors({path!r}), or from_safetensors({path!r}" + _PREFIX),
    "keras": " It is a model file of Keras." + _KERAS,
    "hdf5": " It is an HDF5 file, as Keras and others write them." + _KERAS,
    "onnx": " It is an ONNX model: xlstm.from_onnx({path!r}) reads its LSTM, GRU or RNN, with their head.",
    "gguf": " It is a GGUF file." + _NOT_YET.format(library="gguf") + _BY_NAME,
    "numpy": " It is a file of NumPy arrays: read it with numpy.load, and write them to a layer by name, " + _BY_NAME,
    "pickle": " It is a pickle, which executes what it holds and may do harm: xlstm does not open it. Ask who wrote it"
    " for a file that the save of a layer or an estimator wrote.",
}
