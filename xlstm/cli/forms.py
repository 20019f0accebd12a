"""In which forms `predict` writes its answers: text for people, JSON lines, tables, one JSON object.

A form takes blocks of answers as they come and gives pieces of text, all of a block before it waits for the next: the
rows of a sequence are one piece, so that no more text is made at once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..messages import visible
from .answers import Answers

NOTHING_KNOWN = "no token of it is known"
WIDEST = 60
"""The most characters to which the names of a block are padded: a longer one stands out, and widens no other line."""


class Answered(NamedTuple):
    """Some sequences, and the answers for those of them that have one."""

    key: str  # what `names` are: "text", "id" or "sequence"
    names: list[str]
    rows: range | list[int]  # from 1 on, as they are told in messages
    wrong: dict[int, str]  # by places in these lists, in their order: why one has no answer
    answers: Answers  # for the others, in their order
    unknown: list[bool] | None  # of them, if they are texts: whether no token of one is known: it rests on nothing

    def right(self) -> list[str]:
        """The names of those that have an answer."""
        return [name for place, name in enumerate(self.names) if place not in self.wrong] if self.wrong else self.names

    def notes(self, note: str, otherwise: str) -> list[str]:
        """Of those with an answer: what is noted of a text that rests on nothing, and of others; nothing of series."""
        if self.unknown is None:
            return [""] * (len(self.names) - len(self.wrong))
        return [note if unknown else otherwise for unknown in self.unknown]

    def woven(self, right: Iterable[Any], wrong: Iterable[Any]) -> Iterator[Any]:
        """In the order of the names: what there is for those that have an answer, and what for the others."""
        if not self.wrong:
            yield from right
            return
        these, others = iter(right), iter(wrong)
        for place in range(len(self.names)):
            yield next(others if place in self.wrong else these)


def text(blocks: Iterable[Answered]) -> Iterator[str]:
    """For people; what has no answer is named on stderr alone."""
    for block in blocks:
        names = [visible(name) for name in block.right()]
        width = min(WIDEST, max(map(len, names), default=0))
        told = zip(names, block.answers.texts(), block.notes(f"  ({NOTHING_KNOWN})", ""), strict=True)
        yield from (f"{name:<{width}}  {visible(answer)}{note}\n" for name, answer, note in told)


def json_lines(blocks: Iterable[Answered]) -> Iterator[str]:
    """An object for each sequence, in order, those without an answer too."""
    for block in blocks:
        yield from (f"{line}\n" for line in block.woven(_objects(block), _errors(block)))


def one_object(blocks: Iterable[Answered], more: Callable[[], dict[str, Any]]) -> Iterator[str]:
    """One line with one object of all answers, and of what `more` gives at the end."""
    right: list[str] = []
    wrong: list[str] = []
    for block in blocks:
        right += _objects(block)
        wrong += _errors(block)
    last = json.dumps(more())
    yield f'{{"predictions": [{", ".join(right)}], "errors": [{", ".join(wrong)}], {last[1:]}\n'


def _objects(block: Answered) -> Iterator[str]:
    key = json.dumps(block.key)
    notes = block.notes(', "unknown": true', ', "unknown": false')
    told = zip(map(json.dumps, block.right()), block.answers.members(), notes, strict=True)
    return (f"{{{key}: {name}, {members}{note}}}" for name, members, note in told)


def _errors(block: Answered) -> Iterator[str]:
    return (
        json.dumps({"row": block.rows[place], block.key: block.names[place], "error": problem})
        for place, problem in block.wrong.items()
    )


def _without_tabs(field: Any) -> Any:
    """A field of a table that has no quoting: its tabs and ends of lines as \\t, \\r and \\n."""
    return field.translate(_BREAKS) if isinstance(field, str) else field


_BREAKS = {ord(character): repr(character)[1:-1] for character in "\t\r\n"}


def table(delimiter: str) -> Callable[[Iterable[Answered]], Iterator[str]]:
    """A table with a header: rows for each sequence, in order, one for each that has no answer too."""

    def written(blocks: Iterable[Answered]) -> Iterator[str]:
        first = True
        for block in blocks:
            columns = block.answers.columns
            lines = io.StringIO(newline="")
            tabs = delimiter == "\t"
            quoting: Any = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            mark = None if tabs else '"'
            writer = csv.writer(lines, delimiter=delimiter, lineterminator="\n", quoting=quoting, quotechar=mark)
            if first:
                writer.writerow((block.key, *columns, "note"))
                first = False
            told = zip(block.right(), block.answers.rows(), block.notes(NOTHING_KNOWN, ""), strict=True)
            right = ([(name, *fields, note) for fields in rows] for name, rows, note in told)
            empty = ("",) * len(columns)
            wrong = ([(block.names[place], *empty, problem)] for place, problem in block.wrong.items())
            for rows in block.woven(right, wrong):
                writer.writerows([[_without_tabs(field) for field in row] for row in rows] if tabs else rows)
                yield lines.getvalue()
                lines.seek(0)
                lines.truncate()

    return written


FORMS = {"text": text, "jsonl": json_lines, "tsv": table("\t"), "csv": table(",")}
"""By the names that --format has for them."""
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv", ".tab": "tsv", ".csv": "csv"}


def by_name(path: str | None) -> str:
    """The form that the name of a file asks for; that for people where it asks for none."""
    return "text" if path is None else _SUFFIXES.get(Path(path).suffix.lower(), "text")
