"""Draw how fast the sides of peers.py are, from its newest file of each kind of CPU in results/: docs/peers.svg.

Usage::

    python benchmarks/chart.py
    python benchmarks/chart.py --results FILE [FILE ...] --out FILE

Each bar is a speed as a multiple of the fastest peer's, whose results are right: a bar of ours that ends left of the
line at 1 has lost. The colours can be read on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from lib.checkout import ROOT
from lib.command import of_each_kind

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
MOST = 4.0
"""Longer bars are cut here; their number stands beside them."""
PANEL, MARGIN, BAR, STEP, LABEL = 400, 20, 8, 10, 18  # pixels


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="default: the newest of each kind of CPU")
    made.add_argument("--out", type=Path, default=OUT, help="default: docs/peers.svg")
    options = made.parse_args()
    given = [json.loads(path.read_text(encoding="utf-8")) for path in options.results or []]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(drawing(given or of_each_kind("peers")), encoding="utf-8")
    print(f"written: {options.out}", file=sys.stderr)
    return 0


def drawing(results: list[dict[str, Any]]) -> str:
    """A picture with a block for each result, one under the other."""
    blocks, top, sides = [], 68, set()
    for result in results:
        made, top, seen = block(result, top)
        blocks += made
        sides |= seen
    width, height = MARGIN * 3 + PANEL * 2, top
    title = "Speed, as a multiple of the fastest peer's"
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
    groups = {part: [speeds(row) for row in result.get(part, []) if drawn(row)] for part in PANELS}
    heights = [sum(LABEL + STEP * len(bars) + 8 for _, bars in part) for part in groups.values()]
    parts = [text(MARGIN, top, caption(result))]
    for number, (part, rows) in enumerate(groups.items()):
        if rows:
            parts += panel(MARGIN + number * (PANEL + MARGIN), top + 24, PANELS[part], rows)
    end = top + 48 + max(heights, default=0) + 36
    wrong = sorted({f"{side} ({PANELS[part].lower()})" for part in PANELS for row in result.get(part, [])
                    for side in row["wrong"]})  # fmt: skip
    if wrong:
        parts.append(text(MARGIN, end - 14, f"Not shown, for the results are wrong: {', '.join(wrong)}."))
    return parts, end, {side for part in groups.values() for _, bars in part for side in bars}


def drawn(row: dict[str, Any]) -> bool:
    return row["fastest_peer"] is not None and not row["shape"].startswith("batch")


def speeds(row: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """The label, and of each side how many times as fast as the fastest peer it is."""
    bars = {}
    for side in NAMES:
        timed = row["ours"] if side == "xlstm" else side
        if timed in row["against_fastest"] and timed not in row["wrong"]:
            bars[side] = row["against_fastest"][timed]
    prepared = ", prepared" if row["ours"] == "xlstm prepared" else ""
    N, T, D, H = row["size"]
    return f"{N} × {T} steps, {D} features, {H} hidden{prepared}", bars


def panel(left: float, top: float, title: str, rows: list[tuple[str, dict[str, float]]]) -> list[str]:
    scale = (PANEL - 70) / MOST  # the numbers stand right of the bars
    parts, x, y = [text(left, top + 8, title, size=13, weight=600)], left + scale, top + 24.0
    for label, bars in rows:
        parts.append(text(left, y + 9, label, size=11))
        y += LABEL - 4
        begin = y - 1
        for side, value in bars.items():
            parts.append(rectangle(left, y, max(min(value, MOST) * scale, 1), BAR, COLOURS[side]))
            if side == "xlstm":
                cut = " →" if value > MOST else ""
                parts.append(text(left + min(value, MOST) * scale + 5, y + BAR, f"{value:.2f}{cut}", weight=600))
            y += STEP
        parts.append(f'<line x1="{x:.1f}" y1="{begin}" x2="{x:.1f}" y2="{y}" stroke="{TEXT}" stroke-dasharray="3 2"/>')
        y += 12
    return [*parts, text(x, y + 6, "1: the fastest peer", size=11, anchor="middle")]


def caption(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{NAMES[name]} {number}" for name, number in result["peers"].items() if name in NAMES)
    return (
        f"One LSTM layer, float32, {result['machine']['processor']}, {result['threads']} threads, "
        f"{result['kernels']}; {versions}; {result['date']}"
    )


def text(x: float, y: float, words: str, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="1" fill="{colour}"/>'


if __name__ == "__main__":
    sys.exit(main())
