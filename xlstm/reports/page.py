"""The page of a report as HTML: the one place where text is escaped, and where a page gets its order."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .style import STYLE

LONGEST = 160
"""So many characters of a text, a label or a name are shown; the rest is cut off."""
_UNSEEN = {code: "\ufffd" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}
"""Control characters, which HTML does not have."""


class Html(str):
    """Markup, written as it stands. Any other string is text, and is escaped where it becomes a part of a page."""

    __slots__ = ()


def escaped(text: Any) -> str:
    """A text as it may stand in an element or an attribute."""
    return html.escape(str(text).translate(_UNSEEN).encode("utf-8", "replace").decode())


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element. Children that are no `Html` are escaped; of attributes those that are None are left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child if isinstance(child, Html) else escaped(child) for child in children)
    return Html(f"<{name}{written}>{inside}</{name}>")


def joined(parts: Iterable[Any], between: str = "") -> Html:
    """Several parts one after another."""
    return Html(escaped(between).join(part if isinstance(part, Html) else escaped(part) for part in parts))


def cut(text: Any, longest: int = LONGEST) -> str:
    """The beginning of a text, with what was cut off said by an ellipsis."""
    text = str(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def quoted(text: Any, longest: int = LONGEST) -> Html:
    """A user's text, cut; isolated, so that its direction of writing does not reach beyond it."""
    return tag("bdi", cut(text, longest))


def number(value: Any, digits: int = 4) -> str:
    """A number for people: whole ones with commas, others with so many significant digits, a dash for NaN."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def counted(how_many: int, what: str) -> str:
    """A number and what it counts, as 1 step and 2,000 steps."""
    return f"{how_many:,} {what}{'' if how_many == 1 else 's'}"


def share(value: Any) -> str:
    """A share for people, in percent."""
    value = float(value)
    return "–" if math.isnan(value) else f"{100 * value:.1f}%"


def probability(value: Any) -> str:
    """A probability for people: two that are shown alike may differ, one that is shown as 1 or 0 is near it."""
    return f"{float(value):.3f}"


def paragraph(*children: Any, **attributes: Any) -> Html:
    """A paragraph."""
    return tag("p", *children, **attributes)


def pairs(rows: Iterable[tuple[str, Any]], caption: str) -> Html:
    """A table of names and what each is."""
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    return _boxed(tag("table", tag("caption", caption), tag("tbody", *lines), class_="pairs"), caption)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str, words: Sequence[int] = ()) -> Html:
    """A table whose rows are named by their first cells.

    Parameters
    ----------
    head
        The names of the columns.
    rows
        Texts, or `Html`.
    caption
        What it is a table of.
    words
        Which columns beside the first hold words; the others hold numbers.
    """
    kinds = [None if k in {0, *words} else "n" for k in range(len(head))]
    top = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(head, kinds, strict=True)))
    lines = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *lines))
    return _boxed(whole, caption)


def shaded(
    head: Sequence[str], names: Sequence[str], rows: Iterable[Iterable[tuple[Any, float]]], caption: str
) -> Html:
    """A table whose cells are shaded: each row is what its cells say, and how much each is shaded, from 0 to 1."""
    top = tag(
        "tr", *(tag("th", quoted(name, 24), scope="col", class_="n" if k else None) for k, name in enumerate(head))
    )
    lines = [
        tag(
            "tr",
            tag("th", quoted(name, 24), scope="row"),
            *(tag("td", said, class_="n", style=f"--a:{0.5 * dark:.2f}") for said, dark in cells),
        )
        for name, cells in zip(names, rows, strict=True)
    ]
    whole = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *lines), class_="shaded")
    return _boxed(whole, caption)


def _boxed(inside: Html, label: str) -> Html:
    """What may be wider than the page scrolls in a box of its own, by keys as well."""
    return tag("div", inside, class_="scroll", tabindex="0", role="group", aria_label=label)


def aside(title: str, *children: Any) -> Html:
    """What is folded away until somebody asks for it."""
    return tag("details", tag("summary", title), *children)


def grid(figures: Iterable[Html]) -> Html:
    """Figures side by side where there is room."""
    return tag("div", *figures, class_="grid")


GENERATOR = '<meta name="generator" content="xlstm report">'


def is_free_for_a_report(path: Any) -> bool:
    """Whether a report may be written there without a loss of anything else: no file, an empty one, or a report."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            start = file.read(2000)
    except FileNotFoundError:
        return True
    return not start or GENERATOR in start


class Section(NamedTuple):
    """A chapter of the page."""

    name: str  # in the address, after #
    title: str
    parts: Sequence[Html]


def written(
    title: str, notes: Sequence[str], chief: Sequence[tuple[str, str]], sections: Sequence[Section], foot: str
) -> str:
    """The whole page.

    Parameters
    ----------
    title
        Of the page, and its first heading.
    notes
        Sentences under it.
    chief
        The measures that stand at the top: names and values.
    sections
        Its chapters.
    foot
        Its last line.
    """
    links = [tag("li", tag("a", section.title, href=f"#{section.name}")) for section in sections]
    chapters = [
        tag("section", tag("h2", section.title, id=section.name), *section.parts, aria_labelledby=section.name)
        for section in sections
    ]
    cards = [tag("div", tag("dt", name), tag("dd", value)) for name, value in chief]
    body = tag(
        "body",
        tag("header", tag("h1", quoted(title)), *map(paragraph, notes), tag("dl", *cards, class_="chief")),
        tag("nav", tag("ul", *links), aria_label="Contents"),
        tag("main", *chapters),
        tag("footer", paragraph(foot)),
    )
    # The policy has a browser load nothing and run nothing, whatever a text of the data holds.
    head = f"""<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{GENERATOR}
<title>{escaped(cut(title))}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>"""
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'
