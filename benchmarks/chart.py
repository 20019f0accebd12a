"""Draw the charts of docs/ from the files in results/: how fast the sides of peers.py, epochs.py and serving.py are.

Usage::

    python benchmarks/chart.py                                        writes all of them
    python benchmarks/chart.py --results FILE [FILE ...] --out FILE   draws these results of peers.py

Of peers.py the newest result of each kind of CPU is taken, of the others the newest. The tests compare the charts with
what is drawn.

Each bar is a speed as a multiple of the fastest peer's, whose results are right: a bar of ours that ends left of the
line at 1 has lost. Where the kernels were held to a lower instruction set than the CPU has, the peers were not, and a
bar is our share of the peak of that instruction set. The colours can be read on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from lib.checkout import ROOT
from lib.command import Row, held_to, newest, of_each_kind
from lib.pages import in_order, measured_on
from lib.peer_tables import drawn

DOCS = ROOT / "docs"
NAMES = {
    "xlstm": "xlstm",
    "reference": "xlstm, array code",
    "torch": "PyTorch",
    "packed": "PyTorch, packed",
    "gathered": "PyTorch, gathered",
    "onnxruntime": "onnxruntime",
    "onnxruntime-web": "onnxruntime-web",
    "jax": "JAX",
    "thinc": "thinc",
}
COLOURS = {
    "xlstm": "#e8590c",
    "reference": "#c99a7b",
    "torch": "#4c8bf5",
    "packed": "#86aef7",
    "gathered": "#4c8bf5",
    "onnxruntime": "#2b9f7d",
    "onnxruntime-web": "#7a9e2e",
    "jax": "#9a6dd7",
    "thinc": "#b08c00",
}
TEXT = "#737d87"  # between black and white: as far from the one as from the other
WHOLE = {"train": "A training step", "inference": "Inference, the outputs of all steps"}
LENGTHS = {"stream": "One step of a stream", "ragged": "A training step, sequences of different lengths"}
"""Parts of a result of peers.py, two a chart."""
MOST = {False: 4.0, True: 1.0}
"""Longer bars are cut here, their number beside them: multiples of the fastest peer's speed, and shares of a peak."""
PANEL, MARGIN, BAR, STEP, LABEL = 400, 20, 8, 10, 18  # pixels

Bars = tuple[str, dict[str, float]]
"""What a group of bars is of, and how long that of each side is."""


class Block(NamedTuple):
    """What was measured in one run, as panels side by side."""

    title: str
    caption: str
    panels: dict[str, list[Bars]]
    held: bool = False  # the bars are shares of a peak
    note: str = ""


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="of peers.py, to be drawn to --out")
    made.add_argument("--out", type=Path, help="the file to write")
    options = made.parse_args()
    if (options.results is None) != (options.out is None):
        made.error("--results and --out go together: which results, and where the chart of them goes")
    if options.results is None:
        charts = {DOCS / name: chart() for name, chart in CHARTS.items()}
    else:
        results = [json.loads(path.read_text(encoding="utf-8")) for path in options.results]
        charts = {options.out: layer(results)}
    for path, picture in charts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(picture, encoding="utf-8")
        print(f"written: {path}", file=sys.stderr)
    return 0


# ---------------------------------------------------------------- what is drawn


def layer(results: list[Row]) -> str:
    """Of peers.py: whole batches through one layer."""
    return drawing(f"How fast is one {results[0]['cell'].upper()} layer?", [of_peers(each, WHOLE) for each in results])


def streams_and_lengths(results: Iterable[Row]) -> str:
    """Of peers.py, of a CPU's own kernels: one step at a time, and sequences that PyTorch packs."""
    own = [result for result in results if held_to(result) is None]
    return drawing(
        "How fast are streams, and sequences of different lengths?", [of_peers(each, LENGTHS) for each in own]
    )


def of_peers(result: Row, parts: dict[str, str]) -> Block:
    target = held_to(result)
    panels = {title: [bars_of(row, part, target is not None) for row in in_order_drawn(result.get(part, []), part)]
              for part, title in parts.items()}  # fmt: skip
    cell, versions = result["cell"].upper(), result["peers"].items()
    if target is not None:
        title = f"{cell}, the kernels held to {target}: share of the peak of its multiply-adds"
        return Block(title, f"float32, {measured_on(result)}", panels, held=True)
    wrong = sorted({f"{side} ({title.lower()})" for part, title in parts.items() for row in result.get(part, [])
                    for side in row["wrong"]})  # fmt: skip
    told = [f"float32, {measured_on(result)}", ", ".join(f"{NAMES[name]} {n}" for name, n in versions if name in NAMES)]
    note = f"Not shown, for the results are wrong: {', '.join(wrong)}." if wrong else ""
    return Block(f"{cell} on {result['kernels']}: {MULTIPLE}", "; ".join(filter(None, told)), panels, note=note)


MULTIPLE = "speed as a multiple of the fastest peer's"


def in_order_drawn(rows: list[Row], part: str) -> list[Row]:
    return list(filter(drawn, rows)) if part in WHOLE else in_order(rows)


def bars_of(row: Row, part: str, held: bool) -> Bars:
    """The label, and how many times as fast as the fastest peer each side is; or, held, our share of the peak.

    Of a side that was run in several ways, as onnxruntime is in a stream, the fastest counts.
    """
    bars, values = {}, row["share_of_peak" if held else "against_fastest"]
    for side in NAMES:
        ways = [row["ours"]] if side == "xlstm" else [name for name in values if name.partition(" ")[0] == side]
        right = [values[way] for way in ways if way in values and way not in row["wrong"]]
        if right and (side == "xlstm" or not held):
            bars[side] = max(right)
    N, T, D, H = row["size"]
    steps = {"stream": "One step", "ragged": f"{N} sequences of up to {T} steps"}.get(part, f"{N} × {T} steps")
    prepared = ", prepared" if row["ours"] == "xlstm prepared" else ""
    return f"{steps}, {D} features, {H} hidden{prepared}", bars


def whole_jobs(epochs: Row, serving: Row) -> str:
    """Of epochs.py and serving.py, each the newest."""
    training = []
    for row in epochs["rows"]:
        seconds = {side: found["median"] for side, found in row["seconds"].items()}
        bars = {side: seconds[row["against"]] / seconds[side] for side in ("packed", "gathered")}
        training.append((row["job"], {"xlstm": row["got"], **bars}))
    sides = {
        "prepared": "xlstm",
        "array": "reference",
        "onnxruntime": "onnxruntime",
        "onnxruntime-web": "onnxruntime-web",
    }
    calls = []
    for count, label in (("1", "1 name"), ("32", "32 names")):
        seconds = {sides[key]: found[count]["median"] for key, found in serving["seconds"].items() if key in sides}
        fastest = min(value for side, value in seconds.items() if side not in ("xlstm", "reference"))
        calls.append((label, {side: fastest / value for side, value in seconds.items()}))
    panels = {"Training, an epoch": training, "Serving, a prepared call on one thread": calls}
    caption = f"float32; training: {measured_on(epochs)}; serving: {measured_on(serving)}"
    return drawing("How fast are whole jobs?", [Block(MULTIPLE.capitalize(), caption, panels)])


CHARTS: dict[str, Callable[[], str]] = {
    "peers.svg": lambda: layer(of_each_kind("peers-lstm")),
    "peers-gru.svg": lambda: layer(of_each_kind("peers-gru")),
    "streams.svg": lambda: streams_and_lengths(of_each_kind("peers-lstm") + of_each_kind("peers-gru")),
    "jobs.svg": lambda: whole_jobs(newest("epochs"), newest("serving")),
}
"""By its file in docs/."""


# ---------------------------------------------------------------- how it is drawn


def drawing(title: str, blocks: list[Block]) -> str:
    """A picture with the blocks one under the other."""
    parts, top = [], 78.0
    for each in blocks:
        made, top = block(each, top)
        parts += made
    width, height = MARGIN * 3 + PANEL * 2, top
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        f'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12" '
        f'fill="{TEXT}">',
        f"<title>{escape(title)}</title>",
        text(MARGIN, 24, title, size=16, weight=600),
    ]
    sides = {side for each in blocks for rows in each.panels.values() for _, bars in rows for side in bars}
    x = MARGIN
    for side in (side for side in NAMES if side in sides):
        head += [rectangle(x, 38, 12, 12, COLOURS[side]), text(x + 17, 48, NAMES[side])]
        x += 35 + 7 * len(NAMES[side])
    return "\n".join([*head, *parts, "</svg>\n"])


def block(made: Block, top: float) -> tuple[list[str], float]:
    """One block from `top` downwards: its lines, and where it ends."""
    heights = [sum(LABEL + STEP * len(bars) + 8 for _, bars in rows) for rows in made.panels.values()]
    parts = [text(MARGIN, top, made.title, size=13, weight=600), text(MARGIN, top + 17, made.caption, size=11)]
    for number, (title, rows) in enumerate(made.panels.items()):
        if rows:
            parts += panel(MARGIN + number * (PANEL + MARGIN), top + 38, title, rows, made.held)
    end = top + 62 + max(heights, default=0) + 56
    if made.note:
        parts.append(text(MARGIN, end - 34, made.note))
    return parts, end


def panel(left: float, top: float, title: str, rows: list[Bars], held: bool) -> list[str]:
    most = MOST[held]
    scale = (PANEL - 70) / most  # the numbers stand right of the bars
    parts, x, y = [text(left, top + 8, title, size=13, weight=600)], left + scale, top + 24.0
    for label, bars in rows:
        parts.append(text(left, y + 9, label, size=11))
        y += LABEL - 4
        begin = y - 1
        for side in (side for side in NAMES if side in bars):
            value = bars[side]
            parts.append(rectangle(left, y, max(min(value, most) * scale, 1), BAR, COLOURS[side]))
            if side == "xlstm":
                cut = " →" if value > most else ""
                end = max(min(value, most), 1.0) * scale  # a number stands right of the line, too
                parts.append(text(left + end + 5, y + BAR, f"{value:.2f}{cut}", weight=600))
            y += STEP
        parts.append(f'<line x1="{x:.1f}" y1="{begin}" x2="{x:.1f}" y2="{y}" stroke="{TEXT}" stroke-dasharray="3 2"/>')
        y += 12
    return [*parts, text(x, y + 6, f"1: {'the peak' if held else 'the fastest peer'}", size=11, anchor="middle")]


def text(x: float, y: float, words: str, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="1" fill="{colour}"/>'


if __name__ == "__main__":
    sys.exit(main())
