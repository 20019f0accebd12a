"""A report on classes: of each sequence, or of each step of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import measures
from ..batch import Encoded
from ..host import HostArray
from ..steplabels import IGNORED
from ..tasks.classes import predicted
from . import curves
from .counting import METHOD, explained
from .found import Found, tokens_of
from .page import Html, counted, cut, joined, number, paragraph, probability, quoted, shaded, share, table, tag

MOST_CLASSES = 30
"""Of more classes the most frequent are shown."""
MISTAKES = 20
"""So many mistakes are listed."""
EXPLAINED = 4
"""And so many of them explained."""


class Answers(NamedTuple):
    """What is said of answers, by kinds of answers."""

    chief: list[tuple[str, str]]  # the measures at the top of the page
    measures: dict[str, Any]  # all of them, by name
    truth: list[Html]  # what y is like
    measured: list[Html]  # how good the answers are
    mistakes: list[Html]  # the worst of them


class Judged(NamedTuple):
    """Each answer beside the truth: of m sequences or steps."""

    true: HostArray  # (m,) numbers of classes
    said: HostArray  # (m,)
    logs: HostArray  # (m, K) the logarithms of the probabilities, float64
    rows: HostArray  # (m,) of which sequence each is
    steps: HostArray | None  # (m,) and of which of its steps


def judged(found: Found) -> Judged:
    """The answers that count."""
    outputs, targets, form = found.outputs, found.targets, found.task.form
    rows, steps = np.arange(found.n), None
    if isinstance(outputs, Encoded):
        counts = np.flatnonzero(targets.steps != IGNORED)
        if not len(counts):
            raise ValueError("no label of y counts: there is nothing to report on.")
        rows = np.repeat(rows, outputs.lengths)[counts]
        steps = counts - outputs.starts[rows]
        outputs, targets = outputs.steps[counts], targets.steps[counts]
    logs = np.asarray(form.log_probabilities(outputs.astype(np.float64)))
    return Judged(targets, np.asarray(predicted(form, outputs)), logs, rows, steps)


def report(found: Found) -> Answers:
    """What is said of classes."""
    it, names = judged(found), [str(label) for label in found.task.classes.tolist()]
    K, m = len(names), len(it.true)
    there, said = np.bincount(it.true, minlength=K), np.bincount(it.said, minlength=K)
    right = it.true == it.said
    by_class = measures.by_class(np.bincount(it.true[right], minlength=K), said, there)
    shown = curves.most_frequent(there, MOST_CLASSES)
    areas = {k: curves.area(it.true == k, it.logs[:, k]) for k in shown.tolist()}
    common = int(np.argmax(there))
    values: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.nanmean(by_class.recall)),
        "f1_macro": float(np.nanmean(by_class.f1)),
        "log_loss": measures.log_loss(it.logs, it.true),
        "accuracy_of_the_most_frequent": float(there[common] / m),
    }
    if K == 2:
        values["roc_auc"] = areas[1]
    if it.steps is not None:
        values["n_steps"] = m
    values["classes"] = curves.of_each(names, there, by_class, areas)
    unit = "sequence" if it.steps is None else "step"
    return Answers(
        [
            ("accuracy", share(values["accuracy"])),
            ("balanced accuracy", share(values["balanced_accuracy"])),
            ("log loss", number(values["log_loss"])),
            *([("area under ROC", number(values["roc_auc"]))] if K == 2 else []),
        ],
        values,
        _truth(names, there, shown, unit),
        [
            _accuracy(values, names[common], right, unit),
            table(
                ("class", f"{unit}s", "precision", "recall", "F1", "area under ROC"),
                [
                    (
                        quoted(names[k], 60), number(there[k]), share(by_class.precision[k]), share(by_class.recall[k]),
                        share(by_class.f1[k]), number(areas[k]),
                    )
                    for k in shown.tolist()
                ],
                "Each class: of the answers that name it the share that is right (precision), of those that have it "
                "the share that is found (recall), and the harmonic mean of both (F1)",
            ),
            _others(K, shown, there, unit),
            confusion(it, names, shown),
            curves.of_labels(
                {k: (it.true == k, np.exp(it.logs[:, k])) for k in ([1] if K == 2 else shown.tolist())}, names
            ),
        ],
        _mistakes(found, it, names),
    )  # fmt: skip


def _accuracy(values: dict[str, Any], common: str, right: HostArray, unit: str) -> Html:
    return paragraph(
        f"{int(right.sum()):,} of {counted(len(right), unit)} are answered right, {share(values['accuracy'])}; "
        f"{share(values['balanced_accuracy'])} as the mean over the classes. To answer always ",
        quoted(common, 60),
        f" would be right in {share(values['accuracy_of_the_most_frequent'])}.",
    )


def _truth(names: list[str], there: HostArray, shown: HostArray, unit: str) -> list[Html]:
    total = int(there.sum())
    rows = [(quoted(names[k], 60), number(there[k]), tag("span", share(there[k] / total))) for k in shown.tolist()]
    found = table(("class", f"{unit}s", "share"), rows, f"The {len(names):,} classes")
    return [found, _others(len(names), shown, there, unit)]


def _others(K: int, shown: HostArray, there: HostArray, unit: str) -> Html:
    """What is said where not all classes are shown."""
    if len(shown) == K:
        return Html()
    left = int(there.sum() - there[shown].sum())
    return paragraph(
        f"These are the {len(shown)} most frequent of {K} classes; the other {K - len(shown)} have "
        f"{counted(left, unit)}.",
        class_="soft",
    )


def confusion(it: Judged, names: list[str], shown: HostArray) -> Html:
    """Which class was taken for which, among those that are shown."""
    place = np.full(len(names), -1)
    place[shown] = np.arange(len(shown))
    both = (place[it.true] >= 0) & (place[it.said] >= 0)
    counts = measures.confusion(place[it.true[both]], place[it.said[both]], len(shown))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    named = [names[k] for k in shown.tolist()]
    rows = [
        [(number(count), dark) for count, dark in zip(line, of_line, strict=True)]
        for line, of_line in zip(counts.tolist(), shares.tolist(), strict=True)
    ]
    caption = "Confusion: rows are the true classes, columns the answers, shaded where more of the row are there"
    return shaded(["true, answered", *named], named, rows, caption)


def _mistakes(found: Found, it: Judged, names: list[str]) -> list[Html]:
    wrong = np.flatnonzero(it.true != it.said)
    if not len(wrong):
        return [paragraph("There is none: every answer is right.")]
    if it.steps is not None:
        return _wrong_steps(found, it, wrong, names)
    of_truth = it.logs[wrong, it.true[wrong]]
    worst = wrong[np.argsort(of_truth, kind="stable")][:MISTAKES]
    head = [
        "name",
        "text" if found.texts else "sequence",
        "right",
        "answer",
        "probability of the answer",
        "of the right one",
    ]
    rows = [
        (
            quoted(found.name(k), 60), found.shown(k), _label(names[it.true[k]]), _label(names[it.said[k]]),
            probability(np.exp(it.logs[k, it.said[k]])), probability(np.exp(it.logs[k, it.true[k]])),
        )
        for k in worst.tolist()
    ]  # fmt: skip
    caption = f"{_of_all(len(worst), len(wrong))}, the least likely truth first"
    labels = found.task.classes.tolist()
    cases = [
        tag(
            "article",
            tag("h3", quoted(found.name(k), 60), ": right is ", _label(names[it.true[k]]), ", answered was ",
                _label(names[it.said[k]])),
            explained(found, k, labels[it.said[k]]),
            class_="case",
        )
        for k in worst[:EXPLAINED].tolist()
    ]  # fmt: skip
    return [
        table(head, rows, caption, words=(1, 2, 3)),
        paragraph(f"Which steps speak for the wrong answer, and which against it. {METHOD}"),
        *cases,
    ]


def _label(name: str) -> Html:
    return tag("bdi", cut(name, 60), class_="short")


def _of_all(shown: int, wrong: int) -> str:
    if shown == wrong:
        return f"The {wrong} mistakes" if wrong > 1 else "The one mistake"
    return f"The {shown} worst of {wrong:,} mistakes"


def _wrong_steps(found: Found, it: Judged, wrong: HostArray, names: list[str]) -> list[Html]:
    """Of a labeler: the sequences whose labels are the least likely, each with its worst step."""
    assert it.steps is not None
    m = len(it.true)
    loss = -it.logs[np.arange(m), it.true]
    of_rows, counts = np.bincount(it.rows, loss, found.n), np.bincount(it.rows, minlength=found.n)
    bad = np.bincount(it.rows[wrong], minlength=found.n)
    mean = of_rows / np.maximum(counts, 1)
    order = np.argsort(-mean, kind="stable")
    order = order[bad[order] > 0]
    worst = order[:MISTAKES]
    rows: list[Sequence[Any]] = []
    cases: list[Html] = []
    labels = found.task.classes.tolist()
    for k in worst.tolist():
        here = wrong[it.rows[wrong] == k]
        at = int(here[np.argmax(loss[here])])
        step, true, said = int(it.steps[at]), int(it.true[at]), int(it.said[at])
        rows.append(
            (
                quoted(found.name(k), 60), found.shown(k), f"{bad[k]} of {counts[k]}", _step(found, k, step),
                _label(names[true]), _label(names[said]), probability(np.exp(it.logs[at, said])),
            )
        )  # fmt: skip
        if len(cases) < EXPLAINED:
            title = tag("h3", quoted(found.name(k), 60), f", step {step}: right is ", _label(names[true]),
                        ", answered was ", _label(names[said]))  # fmt: skip
            every = _sequence(found, it, k, names)
            cases.append(tag("article", title, every, explained(found, k, labels[said], step), class_="case"))
    caption = f"{_of_all(len(worst), len(order)).replace('mistakes', 'sequences with mistakes')}, by the mean log loss"
    head = (
        "name",
        "text" if found.texts else "sequence",
        "wrong steps",
        "worst step",
        "right",
        "answer",
        "probability",
    )
    return [
        table(head, rows, caption, words=(1, 3, 4, 5)),
        paragraph(f"Which steps speak for the answer at the worst step, and which against it. {METHOD}"),
        *cases,
    ]


def _step(found: Found, k: int, step: int) -> Html:
    token = f" “{cut(tokens_of([str(found.one(k)[step])])[0], 40)}”" if found.texts else ""
    return tag("bdi", f"{step}{token}", class_="short")


def _sequence(found: Found, it: Judged, k: int, names: list[str], at_most: int = 12) -> Html:
    """The wrong steps of a sequence, in words."""
    assert it.steps is not None
    here = np.flatnonzero((it.rows == k) & (it.true != it.said))
    told: list[Any] = []
    for at in here[:at_most].tolist():
        told += ["; " if told else "Wrong: ", "step ", _step(found, k, int(it.steps[at])), ": "]
        told += [_label(names[it.said[at]]), " for ", _label(names[it.true[at]])]
    more = len(here) - at_most
    return paragraph(joined(told), f", and {more} more." if more > 0 else ".")
