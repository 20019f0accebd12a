"""What the commands share: failures, results, models."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..estimators.base import SequenceEstimator
from ..estimators.state import load
from ..lines import STANDARD_INPUT
from ..messages import visible
from ..sequences import SPLITS
from .letters import without_surrogates


class Failure(Exception):
    """Something to tell, with exit code 1: in one line, or in one for each problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def tell(kind: str, message: object) -> None:
    """One line on stderr, where anybody reads it."""
    line = visible(without_surrogates(" ".join(str(message).split()))) or type(message).__name__
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # whoever read has gone
            print(f"xlstm: {kind}: {line}", file=sys.stderr, flush=True)


def show(options: Any, text: str, values: dict[str, Any], exit_code: int = 0) -> int:
    """The result on stdout, for people or as JSON. Returns the exit code."""
    check_output()
    lines = "\n".join(map(visible, without_surrogates(text).split("\n")))
    print(json.dumps(_as_json_has(values)) if options.json else lines, flush=True)
    return exit_code


def _as_json_has(value: Any) -> Any:
    """The same with null for each number that JSON does not have, infinities and NaN, and with whole letters."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {name: _as_json_has(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json_has(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_output() -> None:
    """Raise a Failure where there is no stdout that a result could be written to."""
    if sys.stdout is None:
        raise Failure("standard output is closed, so there is nowhere to write the result")


def trained(path: str, device: str | None) -> Any:
    """The estimator of a file, ready for strings where it reads any.

    Raises
    ------
    Failure
        If the file holds a layer.
    """
    model = load(path, device)
    if not isinstance(model, SequenceEstimator):
        raise Failure(f"{path} is a {type(model).__name__}, which gives no answers: use Python")
    kind = model.fitted_state().encoder.kind
    # A model of lists of words, or of a version that cut strings only here, does not say that it has words.
    return model.set_params(split=kind) if kind in SPLITS else model


def is_empty(text: str, split: str) -> bool:
    """Whether a text has no token."""
    return not text or (split == "words" and text.isspace())


def is_same_file(path: Any, source: str) -> bool:
    """Whether a path leads to the file that a source is: the path of a file, or `-` for standard input."""
    if source == STANDARD_INPUT:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there is no such file, or no such input
            return os.path.samestat(os.stat(path), os.fstat(sys.stdin.fileno()))
        return False
    try:
        return Path(path).resolve() == Path(source).resolve()
    except FileNotFoundError:  # the working folder was deleted: whoever opens either says so, with its name
        return False


def listed(problems: Sequence[str], hint: str, at_most: int = 10) -> Failure:
    """All problems in one failure: the first of them, and how many more; the hint ends the last line."""
    lines = list(problems[:at_most])
    if len(problems) > at_most:
        lines.append(f"and {len(problems) - at_most} more")
    lines[-1] += f"; {hint}" if hint else ""
    return Failure(*lines)
