"""The step that count for some answers, shown: marked tokens, or the signal with a bar for each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import inspection
from ..host import HostArray
from ..inspection import Explanation
from .charts import COLOURS, MOST_POINTS, Curve, signal
from .found import SHOWN_STEPS, Found, tokens_of
from .page import Html, cut, joined, number, paragraph, tag

NAMED = 3
"""So many steps are named that speak for an answer, and as many against it."""
METHOD = (
    "By gradient × input: what the logit of the answer (of a number, itself) would change per share by which the input "
    "of a step were larger. It says where to look, not why."
)


def explained(found: Found, k: int, target: Any, step: int = -1) -> Html:
    """Which steps of a sequence speak for an answer, and which against it.

    Parameters
    ----------
    found
        The report's data.
    k
        Which sequence.
    target
        The answer, as `xlstm.inspection.importance` takes it.
    step
        Of a labeler, that of the answer.
    """
    known = inspection.explanation(found.estimator, found.one(k), target=target, step=step)
    of_steps = known.importance if known.importance.ndim == 1 else known.importance.sum(axis=1)
    if isinstance(known.steps, list):
        tokens = tokens_of(known.steps)
        return joined([_marked(tokens, of_steps, found), _words(of_steps, tokens)])
    return joined([_drawn(found, known, known.steps, of_steps), _words(of_steps, None)])


def _marked(tokens: list[str], importance: HostArray, found: Found) -> Html:
    """The tokens, or those around the one that counts most."""
    begin = 0
    if len(tokens) > SHOWN_STEPS:
        begin = min(max(int(np.argmax(np.abs(importance))) - SHOWN_STEPS // 2, 0), len(tokens) - SHOWN_STEPS)
    end = min(begin + SHOWN_STEPS, len(tokens))
    limit = float(np.abs(importance).max()) or 1.0
    parts: list[Any] = [] if begin == 0 else [f"… (from step {begin}) "]
    for token, value in zip(tokens[begin:end], importance[begin:end].tolist(), strict=True):
        part = abs(value) / limit
        side = None if part < 0.05 else "plus" if value > 0 else "minus"
        style = None if side is None else f"--a:{0.5 * part:.2f};--b:{min(1.0, 0.2 + part):.2f}"
        parts.append(tag("span", cut(token, 40), class_=side, style=style))
    if end < len(tokens):
        parts.append(f" … (to step {len(tokens) - 1})")
    apart = any(len(token) > 1 for token in tokens)
    return paragraph(*parts, class_="tokens apart" if apart else "tokens")


def _words(importance: HostArray, tokens: list[str] | None) -> Html:
    """The steps that count most, in words."""

    def some(order: HostArray) -> str:
        told = []
        for step in order[:NAMED].tolist():
            name = "" if tokens is None else f" “{cut(tokens[step], 40)}”"
            told.append(f"step {step}{name} ({number(importance[step], 2)})")
        return ", ".join(told) or "none"

    up, down = np.argsort(-importance, kind="stable"), np.argsort(importance, kind="stable")
    return paragraph(
        f"For it: {some(up[importance[up] > 0])}. Against it: {some(down[importance[down] < 0])}.", class_="soft"
    )


def _drawn(found: Found, known: Explanation, steps: HostArray, of_steps: HostArray) -> Html:
    """The features that count most, over the importance of each step."""
    T = len(steps)
    names = found.feature_names()
    weight = np.abs(known.importance).sum(axis=0) if known.importance.ndim == 2 else np.zeros(steps.shape[1])
    order = np.argsort(-weight, kind="stable")[:COLOURS]
    at = np.unique(np.linspace(0, T - 1, min(T, MOST_POINTS)).round().astype(np.int64))
    lines = [Curve(names[d], at, np.asarray(steps[at, d], dtype=np.float64)) for d in sorted(order.tolist())]
    starts = np.unique(np.linspace(0, T, min(T, MOST_POINTS), endpoint=False).astype(np.int64))
    bars = np.add.reduceat(of_steps, starts)
    shown = (
        "the features, each over its own range" if len(names) <= COLOURS else f"the {COLOURS} features that count most"
    )
    told = f"{shown}, above a bar for each step: upwards where it speaks for the answer"
    caption = f"{shown[0].upper()}{shown[1:]}; below, what each step counts"
    return signal(lines, bars, caption, told, starts, T)
