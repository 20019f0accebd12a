"""Charts as SVG, small enough to stand in the page itself, in colours that its style sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..host import HostArray
from .page import Html, cut, escaped, number, tag

COLOURS = 6
"""So many curves can be told apart in one chart."""
MOST_POINTS = 240
"""Of a curve."""
MOST_DOTS = 800
"""Of a cloud."""
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 40


class Curve(NamedTuple):
    """Points that are joined in their order; NaN is a gap."""

    name: str
    x: HostArray
    y: HostArray


class _Frame:
    """The axes of a chart, and where its numbers lie in it."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: int = 380, height: int = 250) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Places in the picture, of numbers or arrays."""
        across, up = self.width - LEFT - RIGHT, self.height - TOP - BOTTOM
        return (
            LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * across,
            TOP + (self.y[1] - y) / (self.y[1] - self.y[0]) * up,
        )

    def axes(self, x: str, y: str, whole: bool = False) -> str:
        """Lines and numbers; `whole` where x counts something."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        parts = []
        for tick in ticks(*self.y):
            _, at = self.at(0.0, tick)
            parts.append(f'<path class="rule" d="M{LEFT} {at:.1f}H{right}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>')
        for tick in ticks(*self.x, whole=whole):
            at, _ = self.at(tick, 0.0)
            parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{number(tick)}</text>')
        middle = TOP + (bottom - TOP) / 2
        parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
        parts.append(f'<text x="{(LEFT + right) / 2}" y="{self.height - 6}" text-anchor="middle">{escaped(x)}</text>')
        parts.append(
            f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escaped(y)}</text>'
        )
        return "".join(parts)

    def picture(self, inside: str, told: str, caption: str, legend: Html | None = None, wide: bool = False) -> Html:
        """The chart with its caption; `told` is what is said of it to those who do not see it."""
        drawn = tag(
            "svg", Html(inside), viewBox=f"0 0 {self.width} {self.height}", role="img", aria_label=f"{caption}: {told}"
        )
        return tag("figure", tag("figcaption", caption), drawn, legend or Html(), class_="wide" if wide else None)


def ticks(low: float, high: float, at_most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers from low to high."""
    step = 10.0 ** math.floor(math.log10(max((high - low) / at_most, 1e-307)))
    while (high - low) / step > at_most:
        step *= 2 if round(math.log10(step), 6) % 1 != 0.30103 else 2.5
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(*values: HostArray) -> tuple[float, float]:
    """From the lowest to the highest number, with some room."""
    finite = [each[np.isfinite(each)] for each in values]
    every = np.concatenate(finite) if finite else np.zeros(0)
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 0.5
    return low - room, high + room


def _thinned(n: int, at_most: int) -> HostArray:
    """At most so many of n places, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int64))


def _path(frame: _Frame, x: HostArray, y: HostArray) -> str:
    """A line through points, with gaps where one is not finite."""
    across, down = frame.at(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    pen, parts = "M", []
    for left, top in zip(across.tolist(), down.tolist(), strict=True):
        if not math.isfinite(left) or not math.isfinite(top):
            pen = "M"
            continue
        parts.append(f"{pen}{left:.1f} {top:.1f}{'h0' * (pen == 'M')}")  # a point between gaps is a dot
        pen = "L"
    return "".join(parts)


def curves(
    given: Sequence[Curve],
    caption: str,
    x: str,
    y: str,
    told: str,
    *,
    square: bool = False,
    marked: bool = False,
    whole: bool = False,
) -> Html:
    """A chart of at most `COLOURS` curves.

    Parameters
    ----------
    given
        The curves.
    caption, x, y
        What it shows, and its axes.
    told
        What is said of it to those who do not see it.
    square
        Whether both axes are from 0 to 1, with the diagonal.
    marked
        Whether each point has a mark.
    whole
        Whether x counts something.
    """
    thin = [(each, _thinned(len(each.x), MOST_POINTS)) for each in given[:COLOURS]]
    if square:
        frame = _Frame((0.0, 1.0), (0.0, 1.0), 380, 330)
    else:
        low, high = float(min(each.x[0] for each in given)), float(max(each.x[-1] for each in given))
        frame = _Frame((low, high) if high > low else (low - 0.5, high + 0.5), _range(*(each.y for each in given)))
    inside = [frame.axes(x, y, whole)]
    if square:
        inside.append(f'<path class="chance" d="{_path(frame, np.array([0.0, 1.0]), np.array([0.0, 1.0]))}"/>')
    for k, (curve, places) in enumerate(thin):
        across, up = np.asarray(curve.x)[places], np.asarray(curve.y, dtype=np.float64)[places]
        inside.append(f'<path class="c c{k}" d="{_path(frame, across, up)}"/>')
        if marked or len(places) == 1:
            left, top = frame.at(across, up)
            inside += [
                f'<circle class="m{k}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>'
                for a, b in zip(left.tolist(), top.tolist(), strict=True)
                if math.isfinite(a) and math.isfinite(b)
            ]
    return frame.picture("".join(inside), told, caption, _legend([each.name for each in given[:COLOURS]]))


def _legend(names: Sequence[str]) -> Html | None:
    if len(names) < 2 and not any(names):
        return None
    swatch = '<svg viewBox="0 0 28 8" aria-hidden="true"><path class="c c{}" d="M0 4H28"/></svg>'
    items = [tag("li", Html(swatch.format(k)), tag("bdi", cut(name, 60))) for k, name in enumerate(names)]
    return tag("ul", *items, class_="legend")


def cloud(x: HostArray, y: HostArray, caption: str, across: str, up: str, told: str, line: str) -> Html:
    """A chart of points, at most `MOST_DOTS` of them, with the line that they should lie on: "x" or "0"."""
    places = _thinned(len(x), MOST_DOTS)
    both = _range(x, y)
    frame = _Frame(both, both, 380, 330) if line == "x" else _Frame(_range(x), _range(y, np.zeros(1)))
    ends = np.array(frame.x)
    inside = frame.axes(across, up)
    inside += f'<path class="chance" d="{_path(frame, ends, ends if line == "x" else np.zeros(2))}"/>'
    left, top = frame.at(x[places], y[places])
    inside += "".join(
        f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
        for a, b in zip(left.tolist(), top.tolist(), strict=True)
        if math.isfinite(a) and math.isfinite(b)
    )
    if len(places) < len(x):
        caption += f" ({len(places):,} of {len(x):,} points)"
    return frame.picture(inside, told, caption)


def histogram(values: HostArray, caption: str, x: str, told: str, whole: bool = False) -> Html:
    """How many of the values lie where; `whole` where they count something."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if whole:
        width = max(1.0, math.ceil((high - low + 1) / 24))
        edges = np.arange(low - 0.5, high + width + 0.5, width)
    else:
        room = 0.0 if high > low else abs(high) * 0.1 or 0.5
        edges = np.linspace(low - room, high + room, min(24, max(5, math.ceil(math.sqrt(len(values))))) + 1)
    counts, edges = np.histogram(values, edges)
    frame = _Frame((float(edges[0]), float(edges[-1])), (0.0, float(counts.max()) * 1.05 or 1.0))
    inside = frame.axes(x, "number", whole)
    for count, begin, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            (left, top), (right, bottom) = frame.at(begin, count), frame.at(end, 0.0)
            inside += (
                f'<rect class="bar" x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
                f'height="{bottom - top:.1f}"/>'
            )
    return frame.picture(inside, told, caption)


def signal(
    lines: Sequence[Curve], importance: HostArray, caption: str, told: str, starts: HostArray, steps: int
) -> Html:
    """A series and, below it, what its steps count: each line over its own range, a bar for each step or some of them.

    Parameters
    ----------
    lines
        Features, over the numbers of their steps.
    importance
        Of the steps that begin at `starts`, above 0 or below.
    caption, told
        As for `curves`.
    starts
        The first step of each bar.
    steps
        How many there are.
    """
    width, height, split = 560, 250, 120
    limit = float(np.abs(importance).max()) or 1.0
    frame = _Frame((-0.5, steps - 0.5), (-limit * 1.05, limit * 1.05), width, height)
    upper = _Frame(frame.x, (0.0, 1.0), width, split + BOTTOM)
    lower = height - BOTTOM

    def level(value: float) -> float:
        return split + 10 + (lower - split - 10) * (1 - value / limit) / 2

    inside = []
    for k, curve in enumerate(lines[:COLOURS]):
        low, high = _range(curve.y)
        inside.append(f'<path class="c c{k}" d="{_path(upper, curve.x, (curve.y - low) / (high - low))}"/>')
    for begin, end, value in zip(starts, [*starts[1:], steps], importance.tolist(), strict=True):
        left, _ = frame.at(begin - 0.5, 0.0)
        right, _ = frame.at(end - 0.5, 0.0)
        top, bottom = sorted((level(value), level(0.0)))
        inside.append(
            f'<rect class="{"up" if value > 0 else "down"}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 0.5, 0.5):.1f}" height="{max(bottom - top, 0.3):.1f}"/>'
        )
    inside.append(f'<path class="axis" d="M{LEFT} {level(0.0):.1f}H{width - RIGHT}"/>')
    for tick in ticks(*frame.x, 10, whole=True):
        if 0 <= tick < steps:
            at, _ = frame.at(tick, 0.0)
            inside.append(f'<text x="{at:.1f}" y="{lower + 17}" text-anchor="middle">{number(tick)}</text>')
    inside.append(f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 6}" text-anchor="middle">step</text>')
    for value in (limit, -limit):
        inside.append(f'<text x="{LEFT - 6}" y="{level(value) + 4:.1f}" text-anchor="end">{number(value, 2)}</text>')
    return frame.picture("".join(inside), told, caption, _legend([each.name for each in lines[:COLOURS]]), wide=True)
