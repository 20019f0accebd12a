"""The command `predict`: texts from the arguments, from lines or from a column, answered as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import tables
from ..encode import TokenEncoder
from ..estimators.classifier import SequenceClassifier
from ..files import check_target, write_whole
from . import forms
from .answers import OfClasses
from .common import Failure, empties, is_same_file, tell, text_classifier
from .forms import Answered


class Block(NamedTuple):
    """Texts to classify that are here together."""

    texts: list[str]
    rows: range | list[int]  # of each, from 1 on: the argument, the line or the row of the table
    where: Callable[[int], str]  # the same for messages, by the place in these lists
    wrong: dict[int, str] = {}  # noqa: RUF012 - why some cannot be classified, by their places; nobody writes to it


def run(options: Any) -> int:
    """Answer each text that can be answered, name the others. Exit code 1 where there are others."""
    _check_call(options)
    classifier, encoder = text_classifier(options.model, options.device)
    if options.out is not None:
        check_target(options.out)
    failed = 0

    def answered() -> Iterator[Answered]:
        nonlocal failed
        nothing = True
        for block in _asked(options, classifier):
            found = _answered(classifier, encoder, block)
            for problem in found.wrong.values():
                tell("error", problem)
            failed += len(found.wrong)
            nothing = False
            yield found
        if nothing:
            raise Failure(
                "there is nothing to classify: give texts as arguments, as lines on standard input or in a file "
                "(--lines), or by --data"
            )

    if options.json:  # one object holds all answers; the other forms are written as the texts come
        parts = forms.one_object(answered(), lambda: {"device": classifier.device_, "kernels": classifier.kernels_})
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
    sources = {"texts among the arguments": options.texts, "--lines": options.lines, "--data": options.data}
    if len(given := [name for name, value in sources.items() if value not in (None, [])]) > 1:
        options.parser.error(f"what to classify comes from one place, got {' and '.join(given)}")
    if options.data is None and (options.text is not None or options.delimiter is not None):
        options.parser.error("--text and --delimiter go with --data")
    if options.json and options.format is not None:
        options.parser.error("--json prints one object; --format jsonl prints one for each text")
    if options.out is not None:
        for source in (options.model, options.data, options.lines):
            if source is not None and is_same_file(options.out, source):
                raise Failure(f"the answers would overwrite {source}: name another file by --out")


# ---------------------------------------------------------------- texts


def _asked(options: Any, classifier: SequenceClassifier) -> Iterator[Block]:
    """All texts; those that are here together in one block, so that none waits for one that is still to come."""
    if options.texts:
        yield Block(options.texts, range(1, len(options.texts) + 1), lambda place: f"text {place + 1}")
        return
    source = options.data or options.lines or tables.STANDARD_INPUT
    with tables.Lines(source, options.encoding) as lines:
        yield from _of_lines(lines) if options.data is None else _of_table(lines, options, classifier)


def _of_lines(lines: tables.Lines) -> Iterator[Block]:
    while here := lines.here():
        first = lines.count - len(here) + 1
        texts = [line.rstrip("\r\n") for line in here]
        yield Block(
            texts, range(first, lines.count + 1), lambda place, first=first: f"line {first + place} of {lines.name}"
        )


def _of_table(lines: tables.Lines, options: Any, classifier: SequenceClassifier) -> Iterator[Block]:
    remembered = classifier.fitted_state().table
    text = options.text or (remembered.text if remembered else "text")
    likely = [remembered.delimiter] if remembered else []
    table = tables.Table(lines, {"--text": text}, options.delimiter, likely)
    for rows in tables.together(table.rows(), lines.ready):
        wrong = {place: problem for place, row in enumerate(rows) if (problem := table.excess(row)) is not None}
        texts = [table.value(row, text) for row in rows]
        numbers = [row.number for row in rows]
        yield Block(texts, numbers, lambda place, rows=rows: table.where(rows[place]), wrong)


def _answered(classifier: SequenceClassifier, encoder: TokenEncoder, block: Block) -> Answered:
    """The answers for a block, by one pass of the model."""
    wrong = {place: f"{block.where(place)} is empty" for place in empties(block.texts, encoder.kind)} | block.wrong
    good = block.texts
    if wrong:
        wrong = dict(sorted(wrong.items()))
        good = [text for place, text in enumerate(good) if place not in wrong]
    unknown = _nothing_known(encoder, good)
    return Answered("text", block.texts, block.rows, wrong, OfClasses(classifier, good), unknown)


def _nothing_known(encoder: TokenEncoder, texts: list[str]) -> list[bool]:
    """Of each text, whether it has no token that the model was trained on."""
    if encoder.kind == "characters":
        unknown = "".join(encoder.unknown("".join(texts)))
        return [not text.strip(unknown) for text in texts] if unknown else [False] * len(texts)
    cut = [text.split() for text in texts]
    strange = encoder.unknown(token for tokens in cut for token in tokens)
    return [strange.issuperset(tokens) for tokens in cut]
