"""The letters of arguments and results: UTF-8, whatever the locale is."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator


def typed(argument: str) -> str:
    """An argument of the process as it was typed.

    Python decodes the bytes by the locale: of one that is not UTF-8 other letters come, and no error.

    Raises
    ------
    UnicodeError
        If its bytes are no UTF-8.
    """
    return _bytes_of(argument).decode()


def readable(argument: str) -> str:
    """The same where the bytes are UTF-8; those that are not as \\xff. A path, say, which may hold any."""
    return _bytes_of(argument).decode(errors="backslashreplace")


def _bytes_of(argument: str) -> bytes:
    try:
        return os.fsencode(argument)
    except UnicodeError:  # it has letters that came from somewhere else
        return argument.encode(errors="backslashreplace")


def without_surrogates(text: str) -> str:
    """Text that may hold a path, with its bytes that Python could not decode as UTF-8 where they are that."""
    if text.isascii():
        return text
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeError:
        return text.encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def out_as_utf8() -> Iterator[None]:
    """What is written to stdout and stderr is UTF-8, as what is written to files, as long as this lasts."""
    with contextlib.ExitStack() as before:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
                before.callback(_reconfigured, stream, stream.encoding)
                _reconfigured(stream, "utf-8")
        yield


def _reconfigured(stream: io.TextIOWrapper, encoding: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # it is closed, or whoever read has gone
        stream.reconfigure(encoding=encoding, errors=stream.errors)
