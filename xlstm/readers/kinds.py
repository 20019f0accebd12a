"""What kind of file this is: by its ending, by what its user says, and by its first bytes, where these say another."""

from __future__ import annotations

import os
import zipfile

from ..lines import STANDARD_INPUT

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".npz": "npz",
    ".npy": "npy",
    ".ts": "ts",
}
"""The format that a file's ending stands for."""
FORMATS = ("csv", "tsv", "jsonl", "parquet", "npz", "npy", "ts")
TEXTS = ("csv", "tsv", "jsonl", "ts")
"""Formats of text: these may be compressed by gzip."""

TAGGED = (
    "Of a file with a token and its tag a line and blank lines between sentences make JSON lines, a sentence each: "
    '{"x": ["the", "cat"], "y": ["DT", "NN"]}'
)
_TAGGED = (".conll", ".conllu", ".iob", ".iob2", ".bio")

_STARTS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"RIFF": "a RIFF file, such as WAV",
    b"SQLite format 3\x00": "an SQLite database",
    b"ARROW1": "a Feather file",
    b"xlstm\x00": "a model file of xlstm",
    b"\xfd7zXZ\x00": "packed by xz",
    b"(\xb5/\xfd": "packed by zstd",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
}
_ADVICE = {
    "a Feather file": "read it with pandas or polars, and pass the frame to xlstm.from_long",
    "an HDF5 file": "read it with h5py or pandas, and pass the arrays or frames themselves",
    "an SQLite database": "read a table of it with pandas, and pass the frame to xlstm.from_long",
    "an old Excel workbook": "save its sheet as CSV",
    "an Excel workbook": "save its sheet as CSV",
    "packed by bzip2": "unpack it, or pack it by gzip",
    "packed by xz": "unpack it, or pack it by gzip",
    "packed by zstd": "unpack it, or pack it by gzip",
    "a zip archive": "unpack it, and read the files that it holds",
    "a pickle": "it executes what it holds and may do harm: ask for one of the formats " + ", ".join(FORMATS),
    "a model file of xlstm": "xlstm.load reads it",
}


def format_of(path: str, format: str | None) -> str:
    """In which format a file is to be read.

    Raises
    ------
    ValueError
        If nobody knows; or if its first bytes are those of another kind: what it is, and what to do.
    OSError
        If it cannot be opened.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(map(repr, FORMATS))}, got {format!r}.")
    ending = os.path.splitext(path.removesuffix(".gz"))[1].lower()
    if path != STANDARD_INPUT and os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: name a file in it.")
    kind = format or ENDINGS.get(ending)
    if path == STANDARD_INPUT:
        if kind not in TEXTS:
            raise ValueError(f"standard input needs a format: {', '.join(map(repr, TEXTS))}, got {format!r}.")
        return kind
    is_pipe = os.path.exists(path) and not os.path.isfile(path)  # its first bytes come once
    if is_pipe and kind is not None and kind not in TEXTS:
        raise ValueError(f"{path} is a pipe, from which {', '.join(TEXTS)} are read, not {kind}: write a file.")
    there = None if is_pipe else _by_start(path)
    if kind is None:
        known = there if there in FORMATS else None
        advice = f"its content says format={known!r}" if known else f"name it by format=, one of {', '.join(FORMATS)}"
        if there is not None and known is None and there != "gzip":
            raise ValueError(_no_data(path, there))
        what = f"the ending {ending!r}, which says no format" if ending else "no ending that says its format"
        tagged = f" {TAGGED}." if ending in _TAGGED and known is None else ""
        raise ValueError(f"{path} has {what}: {advice}.{tagged}")
    if there == "gzip" and kind not in TEXTS:
        raise ValueError(f"{path} is packed by gzip: unpack it first, {kind} files are packed inside.")
    binary = kind not in TEXTS
    if is_pipe:
        return kind
    if (there is not None and there not in ("gzip", kind)) or (binary and there != kind):
        if there is None:
            size = os.path.getsize(path)
            raise ValueError(f"{path} is {'no' if size else 'empty, no'} {kind} file: name its format by format=.")
        raise ValueError(_no_data(path, there, kind))
    return kind


def _no_data(path: str, there: str, kind: str | None = None) -> str:
    no = "" if kind is None else f", no {kind} file"
    if there in FORMATS:
        return f"{path} is of the format {there}{no}: say format={there!r}."
    advice = _ADVICE.get(there, "sequences are read from " + ", ".join(FORMATS))
    return f"{path} is {there}{no}: {advice}."


def _by_start(path: str) -> str | None:
    """The kind of a file by its first bytes; None where they say nothing, as those of texts."""
    with open(path, "rb") as file:
        start = file.read(64)
        file.seek(max(0, os.path.getsize(path) - 4))
        end = file.read(4)
    # Columns may be called PAR1 and BZh, too.
    if start.startswith(b"PAR1") and end == b"PAR1":
        return "parquet"
    if start.startswith(b"BZh") and start[4:7] == b"1AY":
        return "packed by bzip2"
    for first, kind in _STARTS.items():
        if start.startswith(first):
            return _of_zip(path) if kind == "zip" else kind
    return "a pickle" if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") else None


def _of_zip(path: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "an Excel workbook" if any(name.startswith("xl/") for name in names) else "a zip archive"
