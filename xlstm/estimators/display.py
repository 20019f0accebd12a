"""How an estimator shows itself: as a line of Python, or as HTML with what it is and how it was trained."""

from __future__ import annotations

import html
import inspect
import math
import sys
from typing import Any

from ..encode import TokenEncoder


def changed(estimator: Any) -> dict[str, str]:
    """Of each setting that is not its default, the value as Python writes it."""
    defaults = {name: p.default for name, p in inspect.signature(type(estimator)).parameters.items()}
    written = {name: repr(value) for name, value in estimator.get_params().items()}
    return {name: value for name, value in written.items() if value != repr(defaults[name])}


def as_text(estimator: Any) -> str:
    """A call that makes such an estimator."""
    settings = ", ".join(f"{name}={value}" for name, value in changed(estimator).items())
    return f"{type(estimator).__name__}({settings})"


def as_html(estimator: Any) -> str | None:
    """scikit-learn's diagram where that is loaded, else a small table; None where only the text is to be shown.

    Of a fitted one a table below tells how it was trained. Never an error: whoever looks at an estimator in a notebook
    wants to see it, not what its display ran into.
    """
    try:
        if "sklearn" in sys.modules:
            from sklearn import get_config
            from sklearn.utils import estimator_html_repr

            if get_config()["display"] != "diagram":
                return None  # its users turn diagrams off there
            return f"{estimator_html_repr(estimator)}{_trained(estimator)}"
    except Exception:  # another scikit-learn than was known here: the table does without it
        pass
    try:
        settings = changed(estimator) or None
    except Exception:  # a setting that cannot be shown
        return None
    return _table(type(estimator).__name__, settings, "all settings are the defaults") + _trained(estimator)


def _trained(estimator: Any) -> str:
    """A table with what the training made of the estimator; nothing of one that is not fitted."""
    try:
        return _table("trained", told(estimator.fitted_state())) if estimator.__sklearn_is_fitted__() else ""
    except Exception:  # a task or a cell of a user's own
        return ""


def told(fitted: Any) -> dict[str, str]:
    """What it reads and answers, how large it is, how long it learned, and what that gave."""
    model, encoder, history = fitted.model, fitted.encoder, fitted.trainer.history
    a = model.architecture
    reads = f"{encoder.size} feature{'s' * (encoder.size != 1)} a step"
    if isinstance(encoder, TokenEncoder):
        reads = f"{encoder.kind}, {len(encoder.vocabulary)} known"
    rows = {"reads": reads}
    classes = getattr(fitted.task, "classes", None)
    if classes is not None:
        some = ", ".join(map(repr, classes[:6].tolist()))
        rows["answers"] = f"{len(classes)} classes: {some}{', …' * (len(classes) > 6)}"
    else:
        rows["answers"] = f"{a.outputs} number{'s' * (a.outputs != 1)}"
    layers = (
        f"{a.num_layers} layer{'s' * (a.num_layers != 1)} of {a.hidden_size}{' in both directions' * a.bidirectional}"
    )
    rows["network"] = f"{a.cell}, {layers}; {a.parameter_count():,} parameters, {a.dtype}"
    rows["epochs"] = str(len(history.loss))
    last = {name: number for name, number in history.last().items() if not math.isnan(number)}
    rows |= {name.replace("_", " "): f"{number:.4g}" for name, number in last.items()}
    rows["computed on"] = f"{model.backend.device}, {model.kernels}"
    return rows


def _table(title: str, rows: dict[str, str] | None, nothing: str = "") -> str:
    written = [
        f"<tr><th>{html.escape(name)}</th><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in (rows or {}).items()
    ]
    written = written or [f"<tr><td>{nothing}</td></tr>"]
    return f"<table><caption>{html.escape(title)}</caption>{''.join(written)}</table>"
