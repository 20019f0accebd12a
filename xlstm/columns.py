"""The columns of a two-dimensional X: their number and names, in training and after it, as scikit-learn has them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .labels import callers_level
from .sequences import HostArray, Series, Texts


def names_of(X: Any) -> HostArray | None:
    """The names of a data frame's columns, where all are strings."""
    columns = getattr(X, "columns", None)
    if columns is None:
        return None
    names = np.asarray(columns, dtype=object)
    return names if len(names) and all(isinstance(name, str) for name in names) else None


def check(
    data: Series | Texts, X: Any, trained_columns: int | None, trained_names: HostArray | None, owner: str
) -> None:
    """A two-dimensional X has as many columns, of the same names, as the one that `owner` was trained on."""
    columns = data.columns if isinstance(data, Series) else None
    if columns is not None and trained_columns is not None and columns != trained_columns:
        raise ValueError(
            f"X has {columns} features, but {owner} is expecting {trained_columns} features as input. "
            "For series of another length pass (n, time, 1), or a list of (time_i, 1)."
        )
    names = names_of(X)
    if trained_names is None and names is not None and trained_columns is not None:
        warnings.warn(f"X has feature names, but {owner} was fitted without feature names", stacklevel=callers_level())
    if trained_names is not None and names is None and isinstance(X, np.ndarray):
        warnings.warn(
            f"X does not have valid feature names, but {owner} was fitted with feature names",
            stacklevel=callers_level(),
        )
    if names is not None and trained_names is not None and not np.array_equal(names, trained_names):
        raise ValueError(
            "The feature names should match those that were passed during fit.\n" + _difference(names, trained_names)
        )


def _difference(names: HostArray, expected: HostArray) -> str:
    unexpected, missing = sorted(set(names) - set(expected)), sorted(set(expected) - set(names))
    text = ""
    if unexpected:
        text += "Feature names unseen at fit time:\n" + "".join(f"- {name}\n" for name in unexpected[:5])
    if missing:
        text += "Feature names seen at fit time, yet now missing:\n" + "".join(f"- {name}\n" for name in missing[:5])
    if not unexpected and not missing:
        text += "Feature names must be in the same order as they were in fit.\n"
    return text
