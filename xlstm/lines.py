"""The lines of a file, or of standard input, as they come: decoded, and unpacked where gzip compressed them.

A source is the path of a file, or `-` for standard input.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import sys
import zlib
from collections import deque
from typing import Any

STANDARD_INPUT = "-"
_CHUNK = 65536
_GZIP = b"\x1f\x8b"  # no text in UTF-8 begins with it

LONGEST_LINE = 200_000_000
"""Characters. A longer line is none, but a device without an end, or another kind of file."""


class Lines:
    """The lines of a source, decoded, each with its end as it stands there.

    Parameters
    ----------
    source
        A path, or `-` for standard input.
    encoding
        As Python names it. A byte order mark of UTF-8 is left out.
    option
        How a user names another encoding, for messages.

    Attributes
    ----------
    name : str
        The source, for messages.
    count : int
        The lines that were given so far: the number of the last of them.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        While reading, where a byte is no text in this encoding, gzip's data is damaged, or a line does not end.
    """

    def __init__(self, source: str, encoding: str = "utf-8", option: str = "--encoding") -> None:
        self._option = option
        self.name, self.count = ("standard input" if source == STANDARD_INPUT else source), 0
        self._encoding = codecs.lookup(encoding).name
        decoder = codecs.getincrementaldecoder("utf-8-sig" if self._encoding == "utf-8" else self._encoding)()
        # It holds a \r back until it is known whether a \n follows.
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=False)
        self._whole: deque[str] = deque()
        self._rest: list[str] = []  # the pieces of a line whose end has not come
        self._length = 0  # of these
        self._ended = False
        self._closing = contextlib.ExitStack()
        self._stream = self._opened(source)

    def _opened(self, source: str) -> Any:
        if source != STANDARD_INPUT:
            stream: Any = self._closing.enter_context(open(source, "rb"))  # noqa: SIM115
        elif hasattr(sys.stdin, "buffer"):
            stream = sys.stdin.buffer
            if not hasattr(stream, "peek"):
                stream = io.BufferedReader(stream)
        else:  # there is none, or what stands for it gives text alone
            text = sys.stdin.read() if sys.stdin is not None else ""
            stream = io.BufferedReader(io.BytesIO(text.encode(self._encoding)))  # type: ignore[arg-type]
        if stream.peek(len(_GZIP)).startswith(_GZIP):
            return self._closing.enter_context(gzip.GzipFile(fileobj=stream))
        return stream

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        while not self.ready():
            self._read()
        if not self._whole:
            raise StopIteration
        self.count += 1
        return self._whole.popleft()

    def _not_text(self, why: str) -> ValueError:
        what = "UTF-8" if self._encoding == "utf-8" else self._encoding
        return ValueError(
            f"{self.name} is not {what} text: {why}: save the file as UTF-8, or name its encoding by "
            f"{self._option} (for example cp1252 or utf-16)"
        )

    def ready(self) -> bool:
        """Whether the next line, or the end, is here already: asking for it then waits for nobody."""
        return bool(self._whole) or self._ended

    def here(self) -> list[str]:
        """All lines that are here, waiting for the next where none is; none at the end."""
        while not self.ready():
            self._read()
        lines = list(self._whole)
        self._whole.clear()
        self.count += len(lines)
        return lines

    def put_back(self, lines: list[str]) -> None:
        """The last lines that were given are to be given again."""
        self._whole.extendleft(reversed(lines))
        self.count -= len(lines)

    def _read(self) -> None:
        """What has come, and where nothing has, what comes next."""
        try:
            data = self._stream.read1(_CHUNK)
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = self.count + 1 + error.object.count(b"\n", 0, error.start)
            raise self._not_text(f"byte 0x{error.object[error.start]:02x} in line {line}") from None
        except UnicodeError as error:
            raise self._not_text(str(error)) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{self.name} is damaged, it cannot be unpacked by gzip: {error}") from None
        self._ended = not data
        pieces = io.StringIO(text, newline="").readlines()
        # All but the last are ends of lines or whole ones.
        rest = [] if self._ended or not pieces or pieces[-1].endswith(("\n", "\r")) else [pieces.pop()]
        if self._rest and (pieces or self._ended):
            pieces[:1] = ["".join([*self._rest, *pieces[:1]])]
            self._rest, self._length = [], 0
        self._whole.extend(pieces)
        self._rest += rest
        self._length += sum(map(len, rest))
        if self._length > LONGEST_LINE:
            raise ValueError(
                f"line {self.count + len(self._whole) + 1} of {self.name} has more than {LONGEST_LINE:,} characters, "
                "and no end: is this a file of lines?"
            )
