"""How an estimator shows itself: the settings that differ from their defaults, as a line of Python or as HTML."""

from __future__ import annotations

import html
import inspect
import sys
from typing import Any


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

    Never an error: whoever looks at an estimator in a notebook wants to see it, not what its display ran into.
    """
    try:
        if "sklearn" in sys.modules:
            from sklearn import get_config
            from sklearn.utils import estimator_html_repr

            if get_config()["display"] != "diagram":
                return None  # its users turn diagrams off there
            diagram: str = estimator_html_repr(estimator)
            return diagram
    except Exception:  # another scikit-learn than was known here: the table does without it
        pass
    try:
        return _table(type(estimator).__name__, changed(estimator))
    except Exception:  # a setting that cannot be shown
        return None


def _table(title: str, settings: dict[str, str]) -> str:
    rows = [
        f"<tr><th>{html.escape(name)}</th><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in settings.items()
    ]
    rows = rows or ["<tr><td>all settings are the defaults</td></tr>"]
    return f"<table><caption>{html.escape(title)}</caption>{''.join(rows)}</table>"
