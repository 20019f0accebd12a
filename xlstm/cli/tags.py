"""Labels of each step in one field of a table of texts: as many as the text has tokens, and what to do where not."""

from __future__ import annotations

from collections.abc import Sequence

from ..tables import counted


def cut(text: str, split: str) -> Sequence[str]:
    """The tokens of a text, or the labels of a field."""
    return text.split() if split == "words" else text


def mismatch(label: str, text: str, split: str) -> str | None:
    """What is wrong where a text and its field of labels are not of one length, and what to do; None where they are."""
    labels, steps = cut(label, split), cut(text, split)
    if len(labels) == len(steps):
        return None
    what, advice = "character", ""
    if split == "words":
        what = "word"
        if len(labels) == 1:
            advice = ", white space between them"
    elif len(label.split()) == len(text.split()):
        advice = "; as many as there are words: say --words"
        if len(text.split()) == 1:
            advice = "; if a row is a token, name the column of its sentence by --id"
    return f"has {counted(len(labels), 'label')} for {counted(len(steps), what)}: each needs one{advice}"
