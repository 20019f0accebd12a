"""A report on numbers, one or several of each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..host import HostArray
from ..tasks.numbers import Quantiles
from ..tasks.pinball import pinball
from .charts import cloud, histogram
from .counting import METHOD, explained
from .found import Found
from .labels import EXPLAINED, MISTAKES, Answers
from .page import Html, counted, grid, number, paragraph, quoted, share, table, tag

MOST_NUMBERS = 4
"""Of so many there are pictures."""
TOLD = {
    "r2": "R²", "d2": "D²", "mae": "mean absolute error", "rmse": "root mean squared error",
    "median_absolute_error": "median absolute error", "max_error": "largest error", "pinball": "pinball loss",
    "coverage": "share not above the answer",
}  # fmt: skip
SHARES = ("coverage",)


def report(found: Found) -> Answers:
    """What is said of numbers."""
    task, y = found.task, found.targets  # (n, C)
    answers = np.asarray(task.details(found.outputs.astype(np.float64)), dtype=np.float64).reshape(
        found.n, -1
    )  # (n, K)
    ones = np.ones(found.n)
    # Several quantiles stand beside the one number that they are of.
    truth = np.broadcast_to(y, answers.shape)
    names = _names(found, y.shape[1], answers.shape[1])
    values: dict[str, Any] = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in task.form.errors(answers, y, ones).items()
    }
    each = [_errors(task, k, answers[:, [k]], truth[:, [k]]) for k in range(answers.shape[1])]
    if not isinstance(task.form, Quantiles):
        values["median_absolute_error"] = float(np.mean([of_one["median_absolute_error"] for of_one in each]))
        values["max_error"] = max(of_one["max_error"] for of_one in each)
    if len(each) > 1:
        values["numbers"] = dict(zip(names, each, strict=True))
    return Answers(
        [(TOLD[name], _shown(name, values[name])) for name in _chief(values)],
        values,
        _truth(found, y, names),
        [
            table(
                ("number", *(TOLD[name] for name in each[0])),
                [
                    (name, *(_shown(what, value) for what, value in of_one.items()))
                    for name, of_one in zip(names, each, strict=True)
                ],
                _meaning(found),
            ),
            *_pictures(answers, truth, names),
        ],
        _mistakes(found, answers, y, names),
    )


def _names(found: Found, C: int, K: int) -> list[str]:
    levels = getattr(found.task.form, "levels", None)
    if isinstance(levels, list):  # several quantiles of one number
        return [f"quantile {level:g}" for level in levels]
    return [found.label] if K == 1 else [f"number {k}" for k in range(C)]


def _chief(values: dict[str, Any]) -> list[str]:
    return [name for name in ("r2", "d2", "rmse", "mae", "pinball", "coverage") if isinstance(values.get(name), float)]


def _shown(name: str, value: float) -> str:
    return share(value) if name in SHARES else number(value)


def _meaning(found: Found) -> str:
    y = found.label
    if isinstance(found.task.form, Quantiles):
        return (
            f"D² is 1 where every answer is right, 0 where they are no better than the quantile of {y} itself; the "
            f"share of {y} that is not above the answer should be the quantile"
        )
    return (
        f"R² is 1 where all answers are right, 0 where they are no better than the mean of {y}; errors are in its unit"
    )


def _errors(task: Any, k: int, answers: HostArray, y: HostArray) -> dict[str, float]:
    """Of one of the numbers, or of one quantile: (n, 1) beside (n, 1)."""
    form = task.form
    if isinstance(form, Quantiles):
        level = form.levels[k] if isinstance(form.levels, list) else form.levels
        found = Quantiles(level).errors(answers, y, np.ones(len(y)))
        return {name: float(value) for name, value in found.items()}
    found = form.errors(answers, y, np.ones(len(y)))
    away = np.abs(answers - y)
    return {**found, "median_absolute_error": float(np.median(away)), "max_error": float(away.max())}


def _truth(found: Found, y: HostArray, names: list[str]) -> list[Html]:
    C = y.shape[1]
    named = names if len(names) == C > 1 else [found.label]
    quarters = np.quantile(y, [0, 0.25, 0.5, 0.75, 1], axis=0)
    rows = [
        (named[c], *(number(value) for value in (y[:, c].mean(), y[:, c].std(), *quarters[:, c]))) for c in range(C)
    ]
    head = ("number", "mean", "standard deviation", "lowest", "lower quartile", "median", "upper quartile", "highest")
    pictures = [
        histogram(
            y[:, c],
            f"{named[c]}: how it is spread",
            named[c],
            f"from {number(quarters[0, c])} to {number(quarters[4, c])}",
        )
        for c in range(min(C, MOST_NUMBERS))
    ]
    return [table(head, rows, "What is to be answered"), grid(pictures)]


def _pictures(answers: HostArray, truth: HostArray, names: list[str]) -> list[Html]:
    pictures = []
    for k, name in enumerate(names[:MOST_NUMBERS]):
        left = answers[:, k] - truth[:, k]
        far = f"the answers are off by {number(np.abs(left).mean())} in the mean"
        pictures += [
            cloud(truth[:, k], answers[:, k], f"{name}: answers against the truth", "true", "answer", far, "x"),
            cloud(answers[:, k], left, f"{name}: residuals", "answer", "answer − true", far, "0"),
            histogram(left, f"{name}: how the residuals are spread", "answer − true", far),
        ]
    more = len(names) - MOST_NUMBERS
    note = paragraph(f"The pictures are of the first {MOST_NUMBERS} of {len(names)} numbers.", class_="soft")
    return [grid(pictures), note if more > 0 else Html()]


def _mistakes(found: Found, answers: HostArray, y: HostArray, names: list[str]) -> list[Html]:
    form, scale = found.task.form, found.task.scale  # (C,)
    far = (
        pinball(answers - y, np.broadcast_to(form.levels, answers.shape[1])) / scale
        if isinstance(form, Quantiles)
        else (np.abs(answers - y) / scale)
    )  # (n, K)
    order = np.argsort(-far.max(axis=1), kind="stable")
    order = order[far.max(axis=1)[order] > 0]
    if not len(order):
        return [paragraph("There is none: every answer is exactly right.")]
    rows: list[list[Any]] = []
    cases: list[Html] = []
    for k in order[:MISTAKES].tolist():
        which = int(np.argmax(far[k]))
        true, answer = float(y[k, which if y.shape[1] > 1 else 0]), float(answers[k, which])
        row: list[Any] = [quoted(found.name(k), 60), found.shown(k)]
        row += [names[which]] if len(names) > 1 else []
        rows.append([*row, number(true), number(answer), number(answer - true), number(far[k, which], 3)])
        if len(cases) < EXPLAINED:
            title = tag("h3", quoted(found.name(k), 60), f": right is {number(true)}, answered was {number(answer)}")
            cases.append(tag("article", title, explained(found, k, which), class_="case"))
    measure = "pinball loss" if isinstance(form, Quantiles) else "error"
    head = ["name", "text" if found.texts else "sequence", *(["number"] if len(names) > 1 else [])]
    words = tuple(range(1, len(head)))
    return [
        table(
            [*head, "right", "answer", "answer − right", f"{measure} in deviations of {found.label}"],
            rows,
            f"The {len(rows)} worst of {counted(found.n, 'answer')}, by the {measure} in standard deviations of "
            f"{found.label} in training",
            words=words,
        ),
        paragraph(f"Which steps raise the answer (“for it”), and which lower it. {METHOD}"),
        *cases,
    ]
