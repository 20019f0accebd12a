"""What a later X has to be like: as many columns or features as in training, and of the same names, matched by name."""

from __future__ import annotations

import warnings

import numpy as np

from .host import HostArray
from .labels import callers_level, holds_pair
from .names import Names, given, matched
from .series import Series, Texts


def check(
    data: Series | Texts, trained_columns: int | None, trained_names: HostArray | None, owner: str, quiet: bool = False
) -> Series | Texts:
    """`data` with its features in the order of the training of `owner`.

    The columns of a two-dimensional X are the time steps of its rows. As scikit-learn has it, they are not reordered:
    names in another order are an error.

    Parameters
    ----------
    trained_columns, trained_names
        The columns of a two-dimensional X in training, else None; their names, or else those of the features.
    quiet
        True does not warn where one of the two has names and the other has none.

    Raises
    ------
    ValueError
        If there are more or fewer columns, or a name is missing, unknown or there twice.
    """
    if not isinstance(data, Series):
        return data
    names, columns = data.names, data.columns
    if columns is not None and trained_columns is not None and columns != trained_columns:
        raise ValueError(
            f"X has {columns} features, but {owner} is expecting {trained_columns} features as input. "
            "For series of another length pass (n, time, 1), or a list of (time_i, 1)."
        )
    if (columns is None) != (trained_columns is None):
        return data  # names of time steps on one side, of features on the other: there is nothing to compare
    expected: Names | None = None if trained_names is None else tuple(trained_names.tolist())
    names, expected = given(names, expected or ()), given(expected, names or ())
    if not quiet and expected is None and names is not None:
        warnings.warn(f"X has feature names, but {owner} was fitted without feature names", stacklevel=callers_level())
    if not quiet and expected is not None and names is None:
        warnings.warn(
            f"X does not have valid feature names, but {owner} was fitted with feature names",
            stacklevel=callers_level(),
        )
    if names is None or expected is None:
        return data
    if columns is None:
        order = matched(names, expected, "X", f"those of the training, {', '.join(map(repr, expected[:20]))}")
        return data if order is None else data.reordered(order, expected)
    if names != expected:
        raise ValueError(
            "The feature names should match those that were passed during fit.\n" + _difference(names, expected)
        )
    return data


def _difference(names: Names, expected: Names) -> str:
    unexpected, missing = sorted(set(names) - set(expected)), sorted(set(expected) - set(names))
    text = ""
    if unexpected:
        text += "Feature names unseen at fit time:\n" + "".join(f"- {name}\n" for name in unexpected[:5])
    if missing:
        text += "Feature names seen at fit time, yet now missing:\n" + "".join(f"- {name}\n" for name in missing[:5])
    if not unexpected and not missing:
        text += "Feature names must be in the same order as they were in fit.\n"
    return text


def kept(names: Names | None) -> HostArray | None:
    """Names as scikit-learn keeps them.

    Raises
    ------
    ValueError
        If a file would give one back as another.
    """
    for name in names or ():
        if holds_pair(name):
            raise ValueError(f"the feature {name!r:.80} has a pair of surrogates in its name: make it one character.")
    return None if names is None else np.array(names, dtype=object)
