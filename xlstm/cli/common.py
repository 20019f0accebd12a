"""What the commands share: failures, answers, models of texts."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..encode import TokenEncoder
from ..estimators.classifier import SequenceClassifier
from ..estimators.state import load
from ..tables import STANDARD_INPUT


class Failure(Exception):
    """Something to tell, with exit code 1: in one line, or in one for each problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def tell(kind: str, message: object) -> None:
    """One line on stderr, where anybody reads it."""
    line = " ".join(str(message).split()) or type(message).__name__
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # whoever read has gone
            print(f"xlstm: {kind}: {line}", file=sys.stderr, flush=True)


def show(options: Any, text: str, values: dict[str, Any], exit_code: int = 0) -> int:
    """The result on stdout, for people or as JSON. Returns the exit code."""
    print(json.dumps(values) if options.json else text, flush=True)
    return exit_code


def text_classifier(path: str, device: str | None) -> tuple[SequenceClassifier, TokenEncoder]:
    """The classifier of a file, ready for strings, and its vocabulary.

    Raises
    ------
    Failure
        If it is no classifier, or one of numbers.
    """
    classifier = load(path, device)
    if not isinstance(classifier, SequenceClassifier):
        raise Failure(f"{path} is a {type(classifier).__name__}; the command line has texts classified: use Python")
    encoder = classifier.fitted_state().encoder
    if not isinstance(encoder, TokenEncoder) or encoder.kind == "integers":
        raise Failure("this model reads numbers, not texts: load it in Python with xlstm.load")
    # A model of lists of words, or of a version that cut strings only here, does not say that it has words.
    return classifier.set_params(split=encoder.kind), encoder


def is_empty(text: str, split: str) -> bool:
    """Whether a text has no token."""
    return not text or (split == "words" and text.isspace())


def empties(texts: Sequence[str], split: str) -> list[int]:
    """The places of the texts that have no token."""
    return [place for place, text in enumerate(texts) if is_empty(text, split)]


def is_same_file(path: Any, source: str) -> bool:
    """Whether a path leads to the file that a source is: the path of a file, or `-` for standard input."""
    if source == STANDARD_INPUT:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there is no such file, or no such input
            return os.path.samestat(os.stat(path), os.fstat(sys.stdin.fileno()))
        return False
    return Path(path).resolve() == Path(source).resolve()


def listed(problems: Sequence[str], hint: str, at_most: int = 10) -> Failure:
    """All problems in one failure: the first of them, and how many more; the hint ends the last line."""
    lines = list(problems[:at_most])
    if len(problems) > at_most:
        lines.append(f"and {len(problems) - at_most} more")
    lines[-1] += f"; {hint}" if hint else ""
    return Failure(*lines)
