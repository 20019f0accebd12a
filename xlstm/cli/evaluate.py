"""The command `evaluate`: a model measured on labelled texts."""

from __future__ import annotations

from typing import Any

from ..tables import counted
from . import labelled
from .common import show, text_classifier


def run(options: Any) -> int:
    """Read, predict, compare."""
    classifier, encoder = text_classifier(options.model, options.device)
    known = [str(label) for label in classifier.classes_]
    found = labelled.read(options, encoder.kind, classifier.fitted_state().table, known)
    scores = labelled.scores(found.labels, classifier.predict(found.texts))
    text = (
        f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}, on "
        f"{counted(len(found.texts), 'text')}\n"
        + labelled.told_of(found.skipped, options)
        + "".join(f"  {label}: {recall:.4f} right\n" for label, recall in scores["recall"].items())
        + f"device: {classifier.device_}, kernels: {classifier.kernels_}"
    )
    values = {
        **scores,
        "n_test": len(found.texts),
        "skipped": found.skipped,
        "device": classifier.device_,
        "kernels": classifier.kernels_,
    }
    return show(options, text, values)
