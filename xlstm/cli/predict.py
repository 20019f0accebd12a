"""The command `predict`: an answer for each sequence, as they come, in the form that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import sequences
from ..encode import UNKNOWN
from ..files import check_target, write_whole
from ..lines import STANDARD_INPUT
from . import asked, forms, given, kinds, reading
from .answers import Answers
from .asked import Block
from .common import Failure, is_same_file, tell, trained
from .forms import Answered


def run(options: Any) -> int:
    """Answer each sequence that can be answered, name the others. Exit code 1 where there are others."""
    _check_call(options)
    model = trained(options.model, options.device)
    answers = kinds.answers_of(model)
    if not reading.reads_texts(model):
        _take_file(options)
    _check_target(options)
    separator = getattr(model.fitted_state().table, "separator", None) or reading.SEPARATOR
    failed = 0

    def answered() -> Iterator[Answered]:
        nonlocal failed
        nothing = True
        for block in _blocks(options, model):
            found = _answered(model, answers, block, separator)
            for problem in found.wrong.values():
                tell("error", problem)
            failed += len(found.wrong)
            nothing = False
            yield found
            if options.out is None:  # before the next is waited for
                sys.stdout.flush()
        if nothing:
            raise Failure(
                "there is nothing to classify: give texts as arguments, as lines on standard input or in a file "
                "(--lines), or sequences by --data"
            )

    if options.json:  # one object holds all answers; the other forms are written as they come
        parts = forms.one_object(answered(), lambda: {"device": model.device_, "kernels": model.kernels_})
    else:
        parts = forms.FORMS[options.format or forms.by_name(options.out)](answered())
    if options.out is not None:
        write_whole(options.out, (part.encode() for part in parts))
    else:
        for part in parts:
            sys.stdout.write(part)
        sys.stdout.flush()
    if len(options.texts) == 1 and os.path.isfile(options.texts[0]):
        tell(
            "note",
            f"{options.texts[0]!r} is the text that was classified, not the file of that name: see --lines and --data",
        )
    return int(failed > 0)


def _check_call(options: Any) -> None:
    """End a call whose arguments do not go together."""
    wrong = options.parser.error
    sources = {"texts among the arguments": options.texts, "--lines": options.lines, "--data": options.data}
    if len(named := [name for name, value in sources.items() if value not in (None, [])]) > 1:
        wrong(f"what to classify comes from one place, got {' and '.join(named)}")
    if options.lines is not None and (options.id is not None or options.wide or options.time is not None):
        wrong("--id, --time and --wide are of tables: name one by --data")
    if options.id is not None and options.wide:
        wrong("a row is a step (--id) or a series (--wide), not both")
    if options.json and options.format is not None:
        wrong("--json prints one object; --format jsonl prints one for each text")


def _take_file(options: Any) -> None:
    """Of a model of numbers an argument is the file that holds them; where there is none, that is standard input."""
    if options.lines is not None:
        raise Failure("this model reads numbers, not texts: name the file that holds them by --data")
    if len(options.texts) > 1:
        raise Failure("this model reads numbers, not texts: name one file that holds them")
    if options.texts and not os.path.exists(options.texts[0]):
        raise Failure(f"this model reads numbers, not texts: there is no file {options.texts[0]!r} that holds them")
    if options.data is None:
        options.data = options.texts[0] if options.texts else STANDARD_INPUT
    options.texts = []


def _check_target(options: Any) -> None:
    """Raise where the answers cannot be written, or would overwrite what they are made of."""
    of_a_table = ("text", "label", "delimiter", "id", "time", "wide", "features")
    if options.data is None and any(getattr(options, flag) for flag in of_a_table):
        flags = [f"--{flag}" for flag in of_a_table]
        options.parser.error(f"{', '.join(flags[:-1])} and {flags[-1]} go with --data")
    if options.out is None:
        if sys.stdout is None:
            raise Failure("standard output is closed, so there is nowhere to write: name a file by --out")
        return
    for source in (options.model, options.data, options.lines):
        if source is not None and is_same_file(options.out, source):
            raise Failure(f"the answers would overwrite {source}: name another file by --out")
    check_target(options.out)


def _blocks(options: Any, model: Any) -> Iterator[Block]:
    """What is to be answered."""
    fitted = model.fitted_state()
    if options.data is None:
        split = fitted.encoder.kind
        if options.texts:
            return asked.of_arguments(options.texts, split)
        return asked.of_lines(options.lines or STANDARD_INPUT, options.encoding, split)
    numbers = not reading.reads_texts(model)
    form = reading.form_of(options, options.data, fitted.table, numbers)
    reading.refuse_what_says_nothing(options, form, numbers, labelled=False)
    if form == "text":
        return asked.of_table(options, fitted.table, fitted.encoder.kind)
    return asked.of_file(options, model, form)


def _answered(model: Any, kind: type[Answers], block: Block, separator: str) -> Answered:
    """The answers for a block, by one pass of the model."""
    wrong, X = dict(sorted(block.wrong.items())), block.X
    if wrong:
        X = given.chosen(X, [place for place in range(len(block.names)) if place not in wrong])
    try:
        answers = kind(model, X, separator)
    except (ValueError, TypeError) as error:
        raise Failure(
            str(error) if block.key == "text" else f"{block.where(0).rpartition(' of ')[2]}: {error}"
        ) from None
    unknown = _nothing_known(model, X) if reading.reads_texts(model) else None
    return Answered(block.key, block.names, block.rows, wrong, answers, unknown)


def _nothing_known(model: Any, X: Any) -> list[bool]:
    """Of each text, or list of words, whether it has no token that the model was trained on."""
    if not len(X):
        return []
    fitted = model.fitted_state()
    encoded = fitted.encoded(fitted.matched(sequences.read(X, *model.reading()), quiet=True))
    known: list[bool] = np.logical_or.reduceat(encoded.steps != UNKNOWN, encoded.starts).tolist()
    return [not any_known for any_known in known]
