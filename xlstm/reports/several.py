"""A report on several labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import measures
from ..host import HostArray
from . import curves
from .counting import METHOD, explained
from .found import Found
from .labels import EXPLAINED, MISTAKES, MOST_CLASSES, Answers
from .page import Html, counted, cut, number, paragraph, probability, quoted, share, table, tag


def report(found: Found) -> Answers:
    """What is said of labels of which each sequence has some, or none."""
    task, names = found.task, [str(label) for label in found.task.classes.tolist()]
    true, outputs = found.targets != 0, found.outputs.astype(np.float64)
    p, said = task.details(outputs), np.asarray(task.predicted(found.outputs))
    # Minus the logarithm of what the truth was given, of each label.
    loss = np.where(true, -task.log_probabilities(outputs), -task.log_probabilities(-outputs))
    both, there, answered = (true & said).sum(axis=0), true.sum(axis=0), said.sum(axis=0)
    by_label = measures.by_class(both, answered, there)
    total = int(there.sum() + answered.sum())
    shown = curves.most_frequent(there, MOST_CLASSES)
    areas = {k: curves.area(true[:, k], outputs[:, k]) for k in shown.tolist()}
    whole = (true == said).all(axis=1)
    values: dict[str, Any] = {
        "f1_micro": float(2 * both.sum() / total) if total else 1.0,
        "f1_macro": float(np.nan_to_num(by_label.f1, nan=1.0).mean()),
        "subset_accuracy": float(whole.mean()),
        "hamming_loss": float((true != said).mean()),
        "log_loss": float(loss.mean()),
        "labels": curves.of_each(names, there, by_label, areas),
    }
    rows = [
        (
            quoted(names[k], 60), number(there[k]), number(task.thresholds[k], 3), share(by_label.precision[k]),
            share(by_label.recall[k]), share(by_label.f1[k]), number(areas[k]),
        )
        for k in shown.tolist()
    ]  # fmt: skip
    left = len(names) - len(shown)
    note = f"These are the {len(shown)} most frequent of {len(names)} labels." if left else ""
    return Answers(
        [
            ("F1 of all labels", share(values["f1_micro"])),
            ("mean F1", share(values["f1_macro"])),
            ("all labels right", share(values["subset_accuracy"])),
            ("log loss", number(values["log_loss"])),
        ],
        values,
        _truth(names, true, there, shown),
        [
            paragraph(
                f"Of {counted(found.n, 'sequence')} {int(whole.sum()):,} have all labels right, "
                f"{share(values['subset_accuracy'])}. Of all pairs of a sequence and a label "
                f"{share(values['hamming_loss'])} are wrong."
            ),
            table(
                ("label", "sequences", "threshold", "precision", "recall", "F1", "area under ROC"),
                rows,
                "Each label: of the answers that have it the share that is right (precision), of the sequences that "
                "have it the share that is found (recall), and the harmonic mean of both (F1)",
            ),
            paragraph(note, class_="soft") if note else Html(),
            curves.of_labels({k: (true[:, k], p[:, k]) for k in shown.tolist()}, names),
        ],
        _mistakes(found, names, true, said, p, loss),
    )


def _truth(names: list[str], true: HostArray, there: HostArray, shown: HostArray) -> list[Html]:
    each = true.sum(axis=1)
    rows = [(quoted(names[k], 60), number(there[k]), share(there[k] / len(true))) for k in shown.tolist()]
    return [
        paragraph(
            f"A sequence has {number(each.mean(), 3)} labels in the mean, at most {int(each.max())}; "
            f"{int((each == 0).sum()):,} have none."
        ),
        table(("label", "sequences", "share of the sequences"), rows, f"The {counted(len(names), 'label')}"),
    ]


def _set(names: list[str], row: HostArray) -> Html:
    there = [names[k] for k in np.flatnonzero(row).tolist()]
    return tag("bdi", cut(", ".join(there), 120) or "none", class_="short")


def _mistakes(
    found: Found, names: list[str], true: HostArray, said: HostArray, p: HostArray, loss: HostArray
) -> list[Html]:
    wrong = np.flatnonzero((true != said).any(axis=1))
    if not len(wrong):
        return [paragraph("There is none: every label of every sequence is right.")]
    worst = wrong[np.argsort(-loss[wrong].sum(axis=1), kind="stable")][:MISTAKES]
    labels = found.task.classes.tolist()
    rows: list[Sequence[Any]] = []
    cases: list[Html] = []
    for k in worst.tolist():
        label = int(np.argmax(np.where(true[k] != said[k], loss[k], -1.0)))
        what = "was missed" if true[k, label] else "was answered"
        rows.append(
            (
                quoted(found.name(k), 60), found.shown(k), _set(names, true[k]), _set(names, said[k]),
                tag("bdi", f"{cut(names[label], 60)} {what}", class_="short"), probability(p[k, label]),
            )
        )  # fmt: skip
        if len(cases) < EXPLAINED:
            title = tag("h3", quoted(found.name(k), 60), ": ", quoted(names[label], 60), f" {what}")
            cases.append(tag("article", title, explained(found, k, labels[label]), class_="case"))
    of_all = f"The {len(worst)} worst of {len(wrong):,}" if len(worst) < len(wrong) else f"The {len(wrong)}"
    head = ("name", "text" if found.texts else "sequence", "right", "answer", "worst label", "its probability")
    return [
        table(head, rows, f"{of_all} sequences with a wrong label, by the log loss of all labels", words=(1, 2, 3, 4)),
        paragraph(f"Which steps speak for the worst label, and which against it. {METHOD}"),
        *cases,
    ]
