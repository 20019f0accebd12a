"""Of labels: how well they are told from the others, and curves of that and of how far to trust their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .. import measures
from ..host import HostArray
from . import charts
from .charts import COLOURS, Curve
from .page import Html, grid, joined, number, paragraph


def area(positive: HostArray, scores: HostArray) -> float:
    """Under the ROC curve; NaN where there are no positives or no negatives."""
    if positive.all() or not positive.any():
        return float("nan")
    return measures.roc(positive, scores).area


def most_frequent(there: HostArray, count: int) -> HostArray:
    """The numbers of so many labels, of which there are most, in their own order."""
    return np.sort(np.argsort(-there, kind="stable")[:count])


def of_each(
    names: Sequence[str], there: HostArray, by_label: measures.ByClass, areas: Mapping[int, float]
) -> dict[str, dict[str, float]]:
    """The measures by the label's name, of those whose area is given."""
    return {
        names[k]: {
            "n": int(there[k]),
            "precision": float(by_label.precision[k]),
            "recall": float(by_label.recall[k]),
            "f1": float(by_label.f1[k]),
            "roc_auc": each,
        }
        for k, each in areas.items()
    }


def of_labels(labels: Mapping[int, tuple[HostArray, HostArray]], names: Sequence[str]) -> Html:
    """ROC and calibration of the most frequent labels.

    Parameters
    ----------
    labels
        By the number of the label: whose it is, (n,) bool, and its probabilities (n,).
    names
        Of all labels.
    """
    both = {k: each for k, each in labels.items() if each[0].any() and not each[0].all()}
    chosen = sorted(sorted(both, key=lambda k: -int(both[k][0].sum()))[:COLOURS])
    if not chosen:
        return paragraph("There is no ROC curve: every answer, or none, has the label that it would be of.")
    rocs = {k: measures.roc(*both[k]) for k in chosen}
    bins = {k: measures.calibration(*both[k]) for k in chosen}
    said = ", ".join(f"{names[k]} has an area of {number(curve.area)}" for k, curve in rocs.items())
    roc = charts.curves(
        [
            Curve(f"{names[k]} (area {number(curve.area)})", curve.false_positive_rate, curve.true_positive_rate)
            for k, curve in rocs.items()
        ],
        "ROC: how many of a label are found, against how many others are taken for it",
        "false positive rate",
        "true positive rate",
        said,
        square=True,
    )
    erring = ", ".join(f"{names[k]} is off by {number(curve.error)}" for k, curve in bins.items())
    calibration = charts.curves(
        [
            Curve(f"{names[k]} (error {number(curve.error)})", curve.predicted, curve.observed)
            for k, curve in bins.items()
        ],
        "Calibration: the share that came true, against the probability that was given",
        "probability",
        "share that came true",
        erring,
        square=True,
        marked=True,
    )
    left = len(labels) - len(chosen)
    note = f"The curves are of the {len(chosen)} most frequent labels." if left and len(labels) > COLOURS else ""
    return joined([grid([roc, calibration]), paragraph(note, class_="soft") if note else Html()])
