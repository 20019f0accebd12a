"""How what somebody gave is told in messages: bounded, whatever it is."""

from __future__ import annotations

import re
import reprlib
from typing import Any


class _Beginning(reprlib.Repr):
    def repr_int(self, number: int, level: int) -> str:
        bits = number.bit_length()
        return super().repr_int(number, level) if bits <= 10_000 else f"an integer of {bits} bits"


_BEGINNING = _Beginning()
_BEGINNING.maxstring = _BEGINNING.maxother = _BEGINNING.maxlong = 80
_BEGINNING.maxlist = _BEGINNING.maxtuple = _BEGINNING.maxdict = 20


_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Text for a terminal, with control characters but the tab as they are written in Python: they do nothing there."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def told(found: Any) -> str:
    """Whatever somebody gave, for a message: its beginning, made at the cost of the beginning."""
    return f"{_BEGINNING.repr(found):.80}"
