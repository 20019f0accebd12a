"""Ctrl-C and SIGTERM in a command: one ends it as the other does, and its exit code says which it was."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_came = signal.SIGINT


def exit_code() -> int:
    """Of a command that a signal has ended, as shells have it: 130 by Ctrl-C, 143 by SIGTERM."""
    return 128 + _came


@contextlib.contextmanager
def alike() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, unless somebody handles it already."""
    global _came
    _came = signal.SIGINT

    def ended(number: int, _: Any) -> None:
        global _came
        _came = signal.Signals(number)
        raise KeyboardInterrupt

    if not _is_main() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def held_off() -> Iterator[None]:
    """Neither has any effect: for a moment in which several files are replaced."""
    if not _is_main():  # where no signal is handled
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) is not None]  # others could not be set again
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
