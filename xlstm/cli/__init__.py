"""The command line: train, predict, evaluate, report, show, bench, devices, check.

Progress, notices and warnings go to stderr, results to stdout; with --json exactly one line there, one JSON object.
Exit codes: 0 for success, 1 for what failed while running (one line on stderr for each problem, no traceback), 2 for a
wrong call, 130 and 143 where Ctrl-C or SIGTERM ended it.

A command is a function of the parsed arguments that returns the exit code; `parser.py` says which arguments there are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from . import signals
from .common import Failure, tell
from .letters import out_as_utf8
from .parser import parsed
from .train import NAMES_SETTINGS

__all__ = ["NAMES_SETTINGS", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's arguments where none are given. Returns the exit code."""
    options = parsed(arguments)
    with out_as_utf8():
        return _ended(options)


def _ended(options: Any) -> int:
    """Run the command, and tell why it ended early. Returns the exit code."""
    try:
        with signals.alike(), _notices():
            code: int = options.run(options)
            return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("xlstm: interrupted", file=sys.stderr)
        return signals.exit_code()
    except Failure as failure:
        for line in failure.lines:
            tell("error", line)
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError) as error:
        tell("error", error)
    return 1


@contextlib.contextmanager
def _notices() -> Iterator[None]:
    """What the library logs or warns of is one line each on stderr, as long as this lasts."""

    def warned(message: Warning | str, *_: Any, **__: Any) -> None:
        tell("warning", message)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("xlstm: %(message)s"))
    logger = logging.getLogger("xlstm")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = warned
            warnings.simplefilter("default", UserWarning)  # whatever the environment says of it
            yield
    finally:
        logger.removeHandler(handler)
