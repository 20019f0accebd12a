"""How much memory a text of JSON takes as objects, known before they are made: so that no file is a bomb.

Three bytes, `{},`, make an object of 72. A file may therefore claim three times its size and `HEADROOM`, no more; where
what is saved takes more than that, which is next to never, the header is filled up with spaces: the file pays for it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

HEADROOM = 12 * 2**20
"""Bytes that any header may take; with what else loading needs they are less than 16 MB."""

_CHUNK = 2**18
"""Bytes of a text that are looked at at once."""


class TooLarge(ValueError):
    """A text would take more memory than its file may."""


def allowed(text: int, arrays: int = 0) -> int:
    """Bytes that the objects of a header may take, of which so many bytes are text, beside so many of arrays.

    A model is built of its arrays in 2.7 times their size at most: a quarter of that size is left.
    """
    return HEADROOM + 3 * text + arrays // 4


def claim(text: bytes) -> int:
    """Bytes that `parsed` takes at most, and the decoded text; as 64-bit CPython 3.10 and later have them."""
    text = marks = text.rstrip(b" ")
    if b"\\" in text:
        marks = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")  # now each quotation mark is one of a string
    count = _outside_of_strings(marks)
    strings, opened, names = count[ord('"')], count[ord("[")] + count[ord("{")], count[ord(":")]
    values = count[ord(",")] + opened
    return (
        2 * len(text) - sum(count) // 2 + 7 * _wide(marks)  # letters, those of strings once more, and long integers
        + 8 * values + 64 * strings + 32 * max(0, values - strings)  # items of lists, strings, numbers
        + 64 * opened + 128 * names  # lists and objects, and names in these
    )  # fmt: skip


def _outside_of_strings(marks: bytes) -> list[int]:
    """(256,) how often each byte stands outside of strings; the quotation mark that ends one is outside."""
    found, inside = np.zeros(256, dtype=np.int64), False
    for start in range(0, len(marks), _CHUNK):
        part = np.frombuffer(marks, np.uint8, min(_CHUNK, len(marks) - start), start)
        within = np.logical_xor.accumulate(part == ord('"')) ^ inside
        found += np.bincount(part[~within], minlength=256)
        inside = bool(within[-1])
    counts: list[int] = found.tolist()
    return counts


def _wide(marks: bytes) -> int:
    """Bytes of strings that hold a letter beyond ASCII, which may make all of their letters wide."""
    if not marks.isascii():
        return len(marks)
    wide, place = 0, marks.find(b"\\")
    while place >= 0:
        end = marks.find(b'"', place)
        if end < 0:
            break
        wide += end - marks.rfind(b'"', 0, place)
        place = marks.find(b"\\", end)
    return wide


def check(claimed: int, text: int, arrays: int = 0) -> None:
    """Raise a `TooLarge` where a header of so many bytes claims more than it may."""
    if claimed > allowed(text, arrays):
        raise TooLarge(
            f"its header would take {claimed / 1e6:.0f} MB of memory, where {allowed(text, arrays) / 1e6:.0f} MB are "
            "expected for its size: it is damaged, or made to do harm"
        )


def filled(text: bytes, more: int = 0, arrays: int = 0) -> bytes:
    """The text with so many spaces at its end that it may claim what it does, and `more`."""
    return text + b" " * max(0, -(-(claim(text) + more - allowed(len(text), arrays)) // 3))


def decoded(text: bytes, arrays: int = 0) -> str:
    """The text as it is to be `parsed`. The caller lets go of the bytes before that.

    Raises
    ------
    ValueError
        If it is no UTF-8, or would take more memory than it may (`TooLarge`).
    """
    check(claim(text), len(text), arrays)
    return text.rstrip(b" ").decode()


def parsed(letters: str) -> Any:
    """What a text says.

    Raises
    ------
    ValueError
        If it is no JSON, or holds a number that is not finite.
    RecursionError
        If it is nested too deeply.
    """
    return json.loads(letters, parse_float=_finite, parse_constant=_no_number)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"it holds the number {text:.80}, which is not finite")
