"""Draw how fast the sides of peers.py are, from its newest file of each kind of CPU in results/: docs/peers.svg.

Usage::

    python benchmarks/chart.py
    python benchmarks/chart.py --cell gru --out FILE
    python benchmarks/chart.py --results FILE [FILE ...] --out FILE

Each bar is a speed as a multiple of the fastest peer's, whose results are right: a bar of ours that ends left of the
line at 1 has lost. Where the kernels were held to a lower instruction set than the CPU has, the peers were not, and a
bar is our share of the peak of that instruction set. The colours can be read on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from lib.checkout import ROOT
from lib.command import held_to, of_each_kind
from lib.pages import measured_on
from lib.peer_tables import drawn

from xlstm.layers import LAYERS

OUT = ROOT / "docs" / "peers.svg"
NAMES = {
    "xlstm": "xlstm",
    "reference": "xlstm, array code",
    "torch": "PyTorch",
    "onnxruntime": "onnxruntime",
    "jax": "JAX",
    "thinc": "thinc",
}
COLOURS = {
    "xlstm": "#e8590c",
    "reference": "#c99a7b",
    "torch": "#4c8bf5",
    "onnxruntime": "#2b9f7d",
    "jax": "#9a6dd7",
    "thinc": "#b08c00",
}
TEXT = "#737d87"  # between black and white: as far from the one as from the other
PANELS = {"train": "A training step", "inference": "Inference, the outputs of all steps"}
MOST = {False: 4.0, True: 1.0}
"""Longer bars are cut here, their number beside them: multiples of the fastest peer's speed, and shares of a peak."""
PANEL, MARGIN, BAR, STEP, LABEL = 400, 20, 8, 10, 18  # pixels


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--cell", choices=list(LAYERS), default="lstm", help="default: lstm")
    made.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="default: the newest of each kind of CPU")
    made.add_argument("--out", type=Path, default=OUT, help="default: docs/peers.svg")
    options = made.parse_args()
    given = [json.loads(path.read_text(encoding="utf-8")) for path in options.results or []]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results = given or of_each_kind(f"peers-{options.cell}")
    if not results:
        sys.exit(f"there is no result of this cell: run benchmarks/peers.py --cell {options.cell} --out")
    options.out.write_text(drawing(results), encoding="utf-8")
    print(f"written: {options.out}", file=sys.stderr)
    return 0


def drawing(results: list[dict[str, Any]]) -> str:
    """A picture with a block for each result, one under the other."""
    blocks, top, sides = [], 78, set()
    for result in results:
        made, top, seen = block(result, top)
        blocks += made
        sides |= seen
    width, height = MARGIN * 3 + PANEL * 2, top
    title = f"How fast is one {results[0]['cell'].upper()} layer?"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12" '
        f'fill="{TEXT}">',
        f"<title>{escape(title)}</title>",
        text(MARGIN, 24, title, size=16, weight=600),
    ]
    x = MARGIN
    for side in (side for side in NAMES if side in sides):
        parts += [rectangle(x, 38, 12, 12, COLOURS[side]), text(x + 17, 48, NAMES[side])]
        x += 35 + 7 * len(NAMES[side])
    return "\n".join([*parts, *blocks, "</svg>\n"])


def block(result: dict[str, Any], top: float) -> tuple[list[str], float, set[str]]:
    """One result from `top` downwards: its lines, where it ends, and whose bars it has."""
    held = held_to(result) is not None
    groups = {part: [bars_of(row, held) for row in result.get(part, []) if drawn(row)] for part in PANELS}
    heights = [sum(LABEL + STEP * len(bars) + 8 for _, bars in part) for part in groups.values()]
    parts = [text(MARGIN, top, title_of(result), size=13, weight=600), text(MARGIN, top + 17, caption(result), size=11)]
    for number, (part, rows) in enumerate(groups.items()):
        if rows:
            parts += panel(MARGIN + number * (PANEL + MARGIN), top + 38, PANELS[part], rows, held)
    end = top + 62 + max(heights, default=0) + 56
    wrong = sorted({f"{side} ({PANELS[part].lower()})" for part in PANELS for row in result.get(part, [])
                    for side in row["wrong"]})  # fmt: skip
    if wrong and not held:
        parts.append(text(MARGIN, end - 34, f"Not shown, for the results are wrong: {', '.join(wrong)}."))
    return parts, end, {side for part in groups.values() for _, bars in part for side in bars}


def bars_of(row: dict[str, Any], held: bool) -> tuple[str, dict[str, float]]:
    """The label, and how many times as fast as the fastest peer each side is; or, held, our share of the peak."""
    bars, values = {}, row["share_of_peak" if held else "against_fastest"]
    for side in NAMES:
        timed = row["ours"] if side == "xlstm" else side
        if timed in values and timed not in row["wrong"] and (side == "xlstm" or not held):
            bars[side] = values[timed]
    prepared = ", prepared" if row["ours"] == "xlstm prepared" else ""
    N, T, D, H = row["size"]
    return f"{N} × {T} steps, {D} features, {H} hidden{prepared}", bars


def panel(left: float, top: float, title: str, rows: list[tuple[str, dict[str, float]]], held: bool) -> list[str]:
    most = MOST[held]
    scale = (PANEL - 70) / most  # the numbers stand right of the bars
    parts, x, y = [text(left, top + 8, title, size=13, weight=600)], left + scale, top + 24.0
    for label, bars in rows:
        parts.append(text(left, y + 9, label, size=11))
        y += LABEL - 4
        begin = y - 1
        for side, value in bars.items():
            parts.append(rectangle(left, y, max(min(value, most) * scale, 1), BAR, COLOURS[side]))
            if side == "xlstm":
                cut = " →" if value > most else ""
                parts.append(text(left + min(value, most) * scale + 5, y + BAR, f"{value:.2f}{cut}", weight=600))
            y += STEP
        parts.append(f'<line x1="{x:.1f}" y1="{begin}" x2="{x:.1f}" y2="{y}" stroke="{TEXT}" stroke-dasharray="3 2"/>')
        y += 12
    return [*parts, text(x, y + 6, f"1: {'the peak' if held else 'the fastest peer'}", size=11, anchor="middle")]


def title_of(result: dict[str, Any]) -> str:
    """What the bars of a result are."""
    target = held_to(result)
    if target is None:
        return f"Speed on {result['kernels']}, as a multiple of the fastest peer's"
    return f"The kernels held to {target}: share of the peak of its multiply-adds"


def caption(result: dict[str, Any]) -> str:
    told = [f"float32, {measured_on(result)}"]
    if held_to(result) is None:
        told.append(", ".join(f"{NAMES[name]} {number}" for name, number in result["peers"].items() if name in NAMES))
    return "; ".join(told)


def text(x: float, y: float, words: str, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="1" fill="{colour}"/>'


if __name__ == "__main__":
    sys.exit(main())
