"""Labels and weights of rows, read and checked: what y, sample_weight and class_weight may be."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .host import HostArray, is_missing, on_host
from .messages import told
from .ondevice import brought


def classes_of(y: Any, rows: int | None = None) -> tuple[HostArray, HostArray]:
    """The classes, sorted, and the number of each row's class."""
    labels = column(y, rows)
    classes, numbers = np.unique(labels, return_inverse=True)
    return classes, numbers.astype(np.int64)


def known(y: Any, classes: HostArray, rows: int | None = None) -> HostArray:
    """The number of each row's class among `classes`; a ValueError that names the row of one that is not there."""
    return numbers_among(column(y, rows), classes, lambda row: f"row {row}")


def numbers_among(labels: HostArray, classes: HostArray, told: Callable[[int], str]) -> HostArray:
    """The number of each label among `classes`; a ValueError for one that is not there, with what is `told` of it."""
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    found = np.array([numbers.get(label, -1) for label in labels.tolist()], dtype=np.int64)
    if (found < 0).any():
        k = int(np.argmin(found))
        raise ValueError(
            f"{told(k)} has the label {labels.tolist()[k]!r:.80}, which is none of the classes {listed(classes)}."
        )
    return found


LISTED = 20
"""The number of labels that a message lists."""


def listed(classes: HostArray) -> str:
    """The labels for a message, which has an end however many they are, or long."""
    names = [f"{name!r:.80}" for name in classes[:LISTED].tolist()]
    others = len(classes) - len(names)
    return f"[{', '.join(names)}{f', … and {others} others' if others else ''}]"


def to_state(labels: HostArray) -> dict[str, Any]:
    """What a file keeps of labels."""
    return {"dtype": labels.dtype.str.lstrip("<>=|"), "values": labels.tolist()}


def bytes_of_state(state: Any) -> int:
    """Bytes that the strings of a file's `state` take as an array, all as long as the longest; 0 of all else."""
    values = state.get("values") if isinstance(state, dict) else None
    if not isinstance(values, list):
        return 0
    return 4 * len(values) * max((len(value) for value in values if isinstance(value, str)), default=0)


def from_state(state: Any) -> HostArray:
    """The labels of a file's `state`, in their order; ValueError where it is none, or no y could hold them."""
    kinds = {"b": bool, "i": int, "u": int, "f": float, "U": str}
    code, values = state["dtype"], state["values"]
    if not isinstance(code, str) or not re.fullmatch("b1|[iuf][1248]|U[0-9]{1,9}", code):
        raise ValueError(f"the classes are of dtype {told(code)}")
    if not isinstance(values, list) or any(type(v) is not kinds[code[:1]] for v in values):
        raise ValueError(f"the classes are {told(values)} of dtype {code!r}")
    if code[0] == "U":
        if any(value.endswith("\0") for value in values):
            raise ValueError("a class ends with a null character")
        labels = np.array(values, dtype=str)
        kept = labels.dtype.str.lstrip("<>=|")
        if code != kept:
            raise ValueError(f"the classes are of dtype {code!r}, expected {kept!r}")
    else:
        labels = np.array(values, dtype=code)
    return checked(labels, lambda row: f"the class {row}")


def of_all_labels(classes: HostArray, labels: HostArray) -> HostArray:
    """Sorted, these classes and those of further labels, as `column` gives them. Of none nobody knows the type."""
    if not len(classes) or not len(labels):
        return np.unique(labels) if not len(classes) else classes
    kinds = {"U": "strings", "b": "booleans"}
    known, new = (kinds.get(array.dtype.kind, "numbers") for array in (classes, labels))
    if known != new:
        raise ValueError(f"Unknown label type: y holds {new}, before there were {known}.")
    found: HostArray = np.union1d(classes, labels)
    return found


def column(y: Any, rows: int | None) -> HostArray:
    """y as a one-dimensional array of labels, checked."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None.")
    # A list is looked at label by label: NumPy would make strings of ["a", 1].
    labels = np.asarray(y, dtype=object) if isinstance(y, (list, tuple)) else on_host("y", y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), "
            "for example using ravel().",
            category=_column_vector_warning(),
            stacklevel=callers_level(),
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        hint = _of_several(labels) if labels.ndim == 2 else ""
        raise ValueError(f"y should be a 1d array of labels (n,), got an array of shape {labels.shape} instead.{hint}")
    if rows is not None and len(labels) != rows:
        hint = " One sequence is [X], its label [y]." if len(labels) == 1 else ""
        raise ValueError(
            f"X has {rows} sequences, but y has {len(labels)} labels: inconsistent numbers of samples.{hint}"
        )
    return checked(labels, lambda row: f"y[{row}]")


def checked(labels: HostArray, told: Callable[[int], str]) -> HostArray:
    """(n,) labels as strings, booleans or numbers; `told` of a label's place says where the user has it."""
    if labels.dtype.kind in "OT":
        labels = _of_objects(labels.tolist(), told)
    if labels.dtype.kind == "U":
        _check_unicode(labels, told)
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: y holds complex numbers.")
    if labels.dtype.kind not in "biufU" or (labels.dtype.itemsize > 8 and labels.dtype.kind == "f"):
        raise ValueError(f"Unknown label type: y must hold strings or numbers, got {labels.dtype}.")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            row = int(np.argmin(np.isfinite(labels)))
            raise ValueError(f"{told(row)} is {labels[row]}: Input contains NaN or infinity.")
        if (labels != np.floor(labels)).any():
            raise ValueError(
                "Unknown label type: continuous. y must hold classes, got numbers with fractions: numbers "
                "are learned by SequenceRegressor; np.digitize makes classes of ranges."
            )
    return labels


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def holds_pair(text: str) -> bool:
    """Whether a text holds a pair of surrogates: JSON, and so a file, gives back the character that they stand for."""
    return not text.isascii() and _PAIR.search(text) is not None


def _check_unicode(labels: HostArray, told: Callable[[int], str]) -> None:
    """Raise where a label holds half of a surrogate pair, which a file would not give back as it was."""
    try:
        "".join(labels.tolist()).encode()
        return
    except UnicodeEncodeError:
        row = next(k for k, label in enumerate(labels.tolist()) if any("\ud800" <= c <= "\udfff" for c in label))
    raise ValueError(
        f"{told(row)} is {str(labels[row])!r:.80}, which holds a surrogate and so is no text: decode the labels "
        "with errors='replace', or as UTF-16."
    )


def _of_several(labels: HostArray) -> str:
    """What to do with labels (n, several)."""
    flags = labels.astype(np.float64) if labels.dtype.kind in "biuf" else np.zeros(0)
    if flags.size and np.isin(flags, (0, 1)).all() and (flags.sum(axis=1) == 1).all():
        return " The class of each row of a one-hot y is y.argmax(axis=1)."
    return " Several labels of each sequence are for a model that was trained on them."


def _of_objects(values: list[Any], told: Callable[[int], str]) -> HostArray:
    """Python's labels as an array of strings, booleans or numbers."""
    kinds = set()
    for row, label in enumerate(values):
        if is_missing(label):
            raise ValueError(f"{told(row)} is {label!r}: Input contains NaN or nothing, every row needs a label.")
        if isinstance(label, str):
            if label.endswith("\0"):
                raise ValueError(
                    f"{told(row)} is {label!r:.80}, which ends with a null character: NumPy's strings lose it, so that "
                    "two labels could become one. Strip it from the labels."
                )
            kinds.add("strings")
        elif isinstance(label, (bool, np.bool_)):
            kinds.add("booleans")
        elif isinstance(label, (int, float, complex, np.number)):
            kinds.add("numbers")
        else:
            raise ValueError(
                f"Unknown label type: {told(row)} is {type(label).__name__}; expected strings or numbers, one for each "
                "whole sequence. For several labels of each, y is an indicator matrix or lists of labels."
            )
    if "strings" in kinds and len(kinds) > 1:
        raise ValueError(f"Unknown label type: y mixes {' and '.join(sorted(kinds))}.")
    labels = np.array(values)
    if labels.dtype.kind == "O" or (labels.dtype.kind == "f" and labels.tolist() != values):
        raise ValueError("Unknown label type: y holds integers of more than 64 bits; make strings of them.")
    return labels


def callers_level() -> int:
    """The `stacklevel` of a warning that names the line from which this library was called."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "xlstm":
        frame, level = frame.f_back, level + 1
    return level


def _column_vector_warning() -> type[Warning]:
    if "sklearn" in sys.modules:
        from sklearn.exceptions import DataConversionWarning

        kind: type[Warning] = DataConversionWarning
        return kind
    return UserWarning


class Ids(list[Any]):
    """What a file calls its sequences: a list that nobody takes for weights, though both are third after X and y."""


LARGE_WEIGHT = 1e150
"""The largest weight of which many can be added up and multiplied."""


def weights_of(sample_weight: Any, n: int) -> HostArray:
    """(n,) float64: each row's own weight, 1 where none are given."""
    weights = _checked_weights(sample_weight, n)
    if not weights.any():
        raise ValueError("sample_weight is zero for every row: nothing could be learned.")
    largest = weights.max()
    return weights / largest if largest > LARGE_WEIGHT else weights  # only proportions matter; sums must not overflow


def weights_of_part(sample_weight: Any, n: int) -> HostArray:
    """(n,) float64: those of some rows of many, which may all be zero, and cannot be brought to another scale."""
    weights = _checked_weights(sample_weight, n)
    if weights.max() > LARGE_WEIGHT:
        row = int(weights.argmax())
        raise ValueError(f"sample_weight[{row}] is {weights[row]}: divide all weights by their largest.")
    return weights


def _checked_weights(sample_weight: Any, n: int) -> HostArray:
    if isinstance(sample_weight, Ids):
        raise TypeError("sample_weight got the ids of a Dataset: pass its X and y alone, data.X, data.y.")
    weights = np.ones(n) if sample_weight is None else _reals(sample_weight)
    if weights.ndim == 0:
        weights = np.full(n, float(weights))
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected ({n},): one weight for each row.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        row = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise ValueError(f"sample_weight[{row}] is {weights[row]}: weights must be finite and 0 or more.")
    return weights


def row_weights(
    sample_weight: Any, class_weight: Any, classes: HostArray, labels: HostArray, whole: bool = True
) -> HostArray:
    """(n,) float64: each row's own weight times that of its class; `whole` as in `class_factors`."""
    weights = weights_of(sample_weight, len(labels)) if whole else weights_of_part(sample_weight, len(labels))
    if class_weight is None:
        return weights
    counts = np.bincount(labels, weights=weights, minlength=len(classes))
    weighted: HostArray = weights * class_factors(class_weight, classes, counts, whole)[labels]
    return weighted


def check_known_of_parts(class_weight: Any) -> None:
    """Raise where class weights follow from all rows, of which only a part is there."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' is not known of a part of the rows, as partial_fit has it: pass a dict of the "
            "classes' weights, n / (K * count) each, of the counts of all rows."
        )


def class_factors(class_weight: Any, classes: HostArray, counts: HostArray, whole: bool = True) -> HostArray:
    """(C,) float64: the weight of each class, of whose rows the weights add up to `counts` (C,).

    As scikit-learn has it, a dict may name classes that are not there if it names all that are: so it serves parts of
    the data too. Otherwise a wrong name would be a weight of 1 for a class that was to have another.

    Parameters
    ----------
    whole
        Whether these are all rows. Of a part "balanced" is not known, and the classes that are in it may have weight 0.
    """
    if not whole:
        check_known_of_parts(class_weight)
    if isinstance(class_weight, str) and class_weight == "balanced":
        present = counts > 0
        factors = np.ones(len(classes))
        factors[present] = counts.sum() / (present.sum() * counts[present])
    elif isinstance(class_weight, dict):
        check_named("class_weight", class_weight, classes, "class")
        try:
            values = {name: float(value) for name, value in class_weight.items()}
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"class_weight must hold a number for each class, got {class_weight!r:.400}.") from error
        factors = np.array([values.get(name, 1.0) for name in classes.tolist()])
        given = np.array(list(values.values()))
        some = factors[counts > 0] if whole else factors
        if not np.isfinite(given).all() or (given < 0).any() or not some.any():
            raise ValueError(
                f"class_weight must hold finite weights of 0 or more, not all 0, got {class_weight!r:.400}."
            )
    else:
        raise ValueError(f"class_weight must be None, 'balanced' or a dict, got {class_weight!r}.")
    return factors


def check_named(setting: str, values: dict[Any, Any], classes: HostArray, what: str) -> None:
    """Raise where a dict names labels that are not there, and not all that are."""
    names = dict.fromkeys(classes.tolist())
    unknown = [name for name in values if name not in names]
    unnamed = [name for name in names if name not in values]
    if unknown and unnamed:
        raise ValueError(
            f"{setting} names {unknown[0]!r:.80}, which is no {what} of y: {listed(classes)}, of which "
            f"{unnamed[0]!r:.80} is not named."
        )


def _reals(sample_weight: Any) -> HostArray:
    weights = on_host("sample_weight", brought("sample_weight", sample_weight))
    if weights.dtype.kind not in "biufO":
        raise ValueError(f"sample_weight must hold real numbers, got {weights.dtype}.")
    try:
        return weights.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"sample_weight must hold real numbers: {error}.") from None


def mean_one(weights: HostArray, terms: HostArray | None = None) -> HostArray:
    """The weights of rows (n,), scaled to mean 1; where each row has several `terms` (n,), to mean 1 over those."""
    largest = weights.max()  # divided first: a sum of large weights could overflow
    weights = weights / (largest if largest > 0 else 1)
    mean = weights.mean() if terms is None else (weights * terms).sum() / max(1, terms.sum())
    if mean == 0:
        raise ValueError("all rows of the training part have weight zero: nothing could be learned.")
    scaled: HostArray = weights / mean
    return scaled


def in_dtype(weights: HostArray, dtype: str) -> HostArray:
    """Weights (n,) in the dtype of the model; a ValueError where one is too large for it."""
    with np.errstate(over="ignore"):
        cast: HostArray = weights.astype(dtype)
    if not np.isfinite(cast).all():
        row = int(np.argmin(np.isfinite(cast)))
        raise ValueError(
            f"row {row} has the weight {weights[row]:g} (its own, times that of its class), which is too large for "
            f"{dtype}: partial_fit takes weights as they are given."
        )
    return cast
