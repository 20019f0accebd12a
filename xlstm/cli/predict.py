"""The command `predict`: texts from the arguments, from lines or from a column, answered as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import sequences, tables
from ..encode import UNKNOWN, TokenEncoder
from ..estimators.classifier import SequenceClassifier
from .common import Failure, is_empty, tell, text_classifier


class Asked(NamedTuple):
    """One text to classify."""

    row: int  # from 1 on: the argument, the line or the row of the table
    where: str  # the same for messages
    text: str
    problem: str | None = None  # why it cannot be classified


class Answer(NamedTuple):
    """A text, and the answer if there is one."""

    asked: Asked
    problem: str | None
    label: str = ""
    probability: float = 0.0
    probabilities: dict[str, float] | None = None
    unknown: bool = False  # no token of it is known: the answer rests on nothing


def run(options: Any) -> int:
    """Answer each text that can be answered, name the others. Exit code 1 where there are others."""
    if options.texts and options.data is not None:
        options.parser.error("texts stand among the arguments or in a table (--data), not in both")
    if options.data is None and (options.text is not None or options.delimiter is not None):
        options.parser.error("--text and --delimiter go with --data")
    if options.json and options.format is not None:
        options.parser.error("--json prints one object; --format jsonl prints one for each text")
    classifier, encoder = text_classifier(options.model, options.device)
    # One JSON object holds all answers; the other forms are printed as the texts come.
    collected: list[Answer] = []
    count = failed = 0
    for asked in _asked(options, classifier):
        answers = _answers(classifier, encoder, asked)
        for answer in answers:
            if answer.problem is not None:
                failed += 1
                tell("error", answer.problem)
        if options.json:
            collected += answers
        else:
            FORMATS[options.format or "text"](answers, count == 0)
            sys.stdout.flush()
        count += len(answers)
    if not count:
        raise Failure("there is nothing to classify: give texts as arguments, as lines on standard input, or by --data")
    if options.json:
        values = {
            "predictions": [_plain(answer) for answer in collected if answer.problem is None],
            "errors": [_plain(answer) for answer in collected if answer.problem is not None],
            "device": classifier.device_,
            "kernels": classifier.kernels_,
        }
        print(json.dumps(values), flush=True)
    return int(failed > 0)


# ---------------------------------------------------------------- texts


def _asked(options: Any, classifier: SequenceClassifier) -> Iterator[list[Asked]]:
    """All texts; those that are here together in one list, so that none waits for one that is still to come."""
    if options.texts:
        yield [Asked(row, f"text {row}", text) for row, text in enumerate(options.texts, start=1)]
        return
    with tables.Lines(options.data or tables.STANDARD_INPUT, options.encoding) as lines:
        asked = _of_lines(lines) if options.data is None else _of_table(lines, options, classifier)
        yield from tables.together(asked, lines.ready)


def _of_lines(lines: tables.Lines) -> Iterator[Asked]:
    for line in lines:
        yield Asked(lines.count, f"line {lines.count} of {lines.name}", line.rstrip("\r\n"))


def _of_table(lines: tables.Lines, options: Any, classifier: SequenceClassifier) -> Iterator[Asked | None]:
    remembered = classifier.fitted_state().table
    text = options.text or (remembered.text if remembered else "text")
    likely = [remembered.delimiter] if remembered else []
    table = tables.Table(lines, {"--text": text}, options.delimiter, likely)
    for row in table.rows():
        yield row and Asked(row.number, table.where(row), table.value(row, text), table.excess(row))


def _answers(classifier: SequenceClassifier, encoder: TokenEncoder, asked: list[Asked]) -> list[Answer]:
    """In the order of the texts."""

    def problem(one: Asked) -> str | None:
        return one.problem or (f"{one.where} is empty" if is_empty(one.text, encoder.kind) else None)

    answers = [Answer(one, problem(one)) for one in asked]
    good = [k for k, answer in enumerate(answers) if answer.problem is None]
    if good:
        X = [asked[k].text for k in good]
        data = sequences.read(X, *classifier.reading())
        numbers = encoder.encode(data)  # type: ignore[arg-type]  # strings are Texts
        largest = np.maximum.reduceat(numbers, np.cumsum(data.lengths) - data.lengths)
        classes = [str(label) for label in classifier.classes_]
        for k, row, known in zip(good, classifier.predict_proba(X), largest != UNKNOWN, strict=True):
            best, probabilities = int(row.argmax()), dict(zip(classes, map(float, row), strict=True))
            answers[k] = Answer(asked[k], None, classes[best], float(row[best]), probabilities, not known)
    return answers


# ---------------------------------------------------------------- forms


def _print_text(answers: list[Answer], first: bool) -> None:
    """For people; what has no answer is named on stderr alone."""
    good = [(_on_one_line(answer.asked.text), answer) for answer in answers if answer.problem is None]
    width = max((len(text) for text, _ in good), default=0)
    for text, answer in good:
        note = "  (no token of it is known)" if answer.unknown else ""
        print(f"{text:<{width}}  {answer.label}  {answer.probability:.3f}{note}")


def _on_one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _print_json_lines(answers: list[Answer], first: bool) -> None:
    """A line for each text, in order, those without an answer too."""
    for answer in answers:
        print(json.dumps(_plain(answer)))


def _plain(answer: Answer) -> dict[str, Any]:
    if answer.problem is not None:
        return {"row": answer.asked.row, "text": answer.asked.text, "error": answer.problem}
    return {
        "text": answer.asked.text,
        "label": answer.label,
        "probabilities": answer.probabilities,
        "unknown": answer.unknown,
    }


def _print_tsv(answers: list[Answer], first: bool) -> None:
    """A row for each text, in order, those without an answer too."""
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    if first:
        writer.writerow(("text", "label", "probability", "note"))
    for answer in answers:
        if answer.problem is not None:
            writer.writerow((answer.asked.text, "", "", answer.problem))
        else:
            note = "no token of it is known" if answer.unknown else ""
            writer.writerow((answer.asked.text, answer.label, f"{answer.probability:.6g}", note))


FORMATS = {"text": _print_text, "jsonl": _print_json_lines, "tsv": _print_tsv}
"""How the answers may be printed."""
