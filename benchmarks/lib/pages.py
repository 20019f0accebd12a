"""Pages with parts that a command makes: each stands between two lines of comment that name it and the command."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from .command import Row

NOTHING = "–"
SHAPE = "batch, time, features, hidden"


def between(page: str, name: str, command: str, text: str) -> str:
    """The page with this text between the markers of a name; an error where the page has them not just once."""
    begin, end = f"<!-- {name}: made by benchmarks/{command} --write -->", f"<!-- end of {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        sys.exit(f"the page has to have the lines {begin!r} and {end!r}, once, in this order")
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


def heading(title: str, cells: list[str], words: int = 1) -> Iterator[str]:
    """A line of text, and the head of a table of which so many columns hold words."""
    yield from ("", *paragraph(f"{title}:"), "", line(cells), f"|{'---|' * words}{'---:|' * (len(cells) - words)}")


def paragraph(text: str) -> list[str]:
    """Its lines, as long as those of the pages."""
    return textwrap.wrap(text, 128, break_long_words=False, break_on_hyphens=False)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def size(row: Row) -> str:
    return ", ".join(map(str, row["size"]))


def in_order(rows: list[Row]) -> list[Row]:
    """By the hidden units, then by the batch, then by the rest."""
    return sorted(rows, key=lambda row: (row["size"][3], row["size"][0], row["size"]))


def measured_on(result: Row) -> str:
    """Where and when: the processor, its threads if they are known, the date."""
    threads = result.get("threads") or result.get("torch_threads")
    counted = [f"{threads} threads"] if threads else []
    return ", ".join([result["machine"]["processor"], *counted, result["date"]])
