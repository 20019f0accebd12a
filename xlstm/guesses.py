"""Data that may be read in two ways: warnings that say how they were understood, and what was probably meant.

Nothing here changes what is done. Each function returns what there is to say of a fit, or None.
"""

from __future__ import annotations

import warnings
from itertools import islice

import numpy as np

from .host import HostArray
from .labels import callers_level
from .series import Series, Texts, take
from .spelling import Spelling
from .steplabels import IGNORED

LOOKED_AT = 1000
"""The number of tokens or texts that are looked at: they are alike, or the warning would be wrong."""


ROWS_LOOKED_AT = 10_000
"""The number of rows of a table that are looked at."""


class AmbiguousDataWarning(UserWarning):
    """The data were understood in one way, and probably meant in another.

    To silence it: `warnings.filterwarnings("ignore", category=xlstm.AmbiguousDataWarning)`.
    """


def warn(*doubts: str | None) -> None:
    """Say what there is to say, naming the line from which this library was called."""
    for doubt in doubts:
        if doubt is not None:
            warnings.warn(doubt, AmbiguousDataWarning, stacklevel=callers_level())


def numbers_as_text(data: Series | Texts) -> str | None:
    """Tokens that are all numbers written as text, or texts that are rows of such."""
    if not isinstance(data, Texts) or data.kind == "integers":
        return None
    if data.kind == "words":
        if not all(map(_is_number, islice(data.tokens, LOOKED_AT))):
            return None
        example, taken = repr(data.tokens[0]), "each is taken for a word of its own, with no size or order"
    else:
        ends = np.cumsum(data.lengths)[:LOOKED_AT].tolist()
        rows = [data.tokens[end - length : end] for end, length in zip(ends, data.lengths.tolist(), strict=False)]
        parts = [str(row).replace(",", " ").replace(";", " ").split() for row in rows]
        # A text like "0110" may well be one of characters: there has to be a point, or something between two numbers.
        if not all(all(map(_is_number, row)) and row for row in parts):
            return None
        if max(map(len, parts)) == 1 and not any("." in row[0] for row in parts):
            return None
        example, taken = repr(rows[0][:40]), "each character is taken for a token"
    return (
        f"X holds numbers written as text, such as {example}: {taken}. For series pass numbers, such as "
        "[[1.0, 2.0], [0.5, 1.5, 2.5]] or a list of arrays; for tokens, integers with encoding='tokens'."
    )


def padding_as_gaps(data: Series | Texts) -> str | None:
    """Sequences of one length in which numbers are missing at the ends alone, all features at once."""
    if not isinstance(data, Series) or data.place is not None or (data.lengths != data.lengths[0]).any():
        return None
    if not any(np.isnan(values).any() for values in data.blocks()):
        return None
    n, time = len(data.lengths), int(data.lengths[0])
    of_steps = [(some.all(axis=1), some.any(axis=1)) for some in map(np.isnan, data.blocks())]
    steps, touched = (np.concatenate(parts).reshape(n, time) for parts in zip(*of_steps, strict=True))
    ends = np.logical_and.accumulate(steps[:, ::-1], axis=1)[:, ::-1]  # (n, time): true from the last number on
    if not np.array_equal(touched, ends):
        return None
    return (
        f"NaN stands at the ends of {int(ends.any(axis=1).sum())} of the {n} sequences of X, and nowhere else: it was "
        "taken for steps of which nothing is known. Where it pads short sequences, pass a list of arrays of their own "
        "lengths."
    )


def tokens_alone(data: Series | Texts) -> str | None:
    """Sequences of one token each: rows of a table in which each is a step of a longer sequence."""
    if not isinstance(data, Texts) or len(data.lengths) < 20 or (data.lengths != 1).any():
        return None
    return (
        f"each of the {len(data.lengths)} sequences of X is one token alone, so there is no order to learn from. Where "
        "a row is a step of a longer sequence, make sequences of them: X, y, ids = xlstm.from_long(table, id=..., "
        "text=..., label=...); of a file, xlstm train --id COLUMN."
    )


FAR_MORE = 5
"""So many times as many features as steps are taken for steps, in sequences that all have one length."""


def channels_as_steps(data: Series | Texts) -> str | None:
    """Arrays (n, steps, features) of few steps and many features: as those that have their channels first."""
    if not isinstance(data, Series) or data.columns is not None or data.names is not None or len(data.lengths) < 2:
        return None
    steps, features = int(data.lengths[0]), data.features
    if (data.lengths != steps).any() or features <= FAR_MORE * steps or features < 10:
        return None
    many = "" if steps == 1 else "s"
    return (
        f"each sequence of X was taken for {steps} step{many} of {features} features, (n, time, features). If it is "
        f"{steps} channel{many} of {features} steps, (n, channels, time), pass xlstm.from_channels_first(X)."
    )


def steps_as_rows(data: Series | Texts, targets: HostArray, classes: int) -> str | None:
    """A table in long form, one time step a row: its labels stand in runs, or each row follows from the one before."""
    if not isinstance(data, Series) or data.columns is None or not data.table:
        return None
    n, columns = len(data.lengths), data.columns
    if n < 20 or columns > 64 or n < 2 * columns:
        return None
    runs = 1 + int(np.count_nonzero(targets[1:] != targets[:-1]))
    by_chance = n - np.square(np.bincount(targets, minlength=classes).astype(np.float64)).sum() / n
    # Names without a number in them are those of things that are measured: columns of time steps count or date them.
    of_things = data.names is not None and not any(character.isdigit() for name in data.names for character in name)
    in_runs = classes < runs <= by_chance / 3 - 2  # less 2: in small tables chance makes few runs, too
    # Of a table on a GPU the labels alone are looked at: its values stay where they are.
    smooth = data.place is None and _is_smooth(_first_rows(data, columns), targets)
    if not (of_things or in_runs or smooth):
        return None
    names = "" if data.names is None else f" ({', '.join(data.names[:5])}{', …' if columns > 5 else ''})"
    return (
        f"each of the {n} rows of X was taken for a sequence of {columns} steps with one feature: its columns{names} "
        "are the steps. If a row is one step of a longer sequence, and its columns are features, "
        "X, y, ids = xlstm.from_long(table, id=..., time=..., label=...) makes sequences of it, each in the order of "
        "its times, with one label for each."
    )


def _first_rows(data: Series, columns: int) -> HostArray:
    """Of a table, those that are looked at."""
    some = take(data, np.arange(min(len(data.lengths), ROWS_LOOKED_AT)))
    values: HostArray = some.values  # type: ignore[union-attr]  # of a Series
    return values.reshape(-1, columns)


def _is_smooth(table: HostArray, targets: HostArray) -> bool:
    """Whether consecutive rows are far more alike than any two of their class: as time steps are, not sequences."""
    largest = np.abs(table).max(axis=0).astype(np.float64)
    table, targets = table / np.where(largest > 0, largest, 1), targets[: len(table)]  # so that no square overflows
    order = np.argsort(targets, kind="stable")
    present, first, counts = np.unique(targets[order], return_index=True, return_counts=True)
    means = np.add.reduceat(table[order], first, axis=0) / counts[:, None]
    within = table - means[np.searchsorted(present, targets)]
    variance = within.var(axis=0)
    changing = variance > 1e-12
    if not changing.any():
        return False
    steps = np.square(np.diff(within[:, changing], axis=0)).mean(axis=0)
    return bool((steps / (2 * variance[changing])).mean() < 0.25)  # about 1 for rows in random order


def one_sequence_as_many(data: Series | Texts, trained_columns: int | None) -> str | None:
    """An array (time, 1) for a model of sequences of one feature: many sequences of one step, or one of many?"""
    if (
        not isinstance(data, Series)
        or not data.table
        or data.columns != 1
        or trained_columns == 1
        or len(data.lengths) < 2
    ):
        return None
    n = len(data.lengths)
    return f"X of shape ({n}, 1) was taken for {n} sequences of one step. If it is one sequence of {n} steps, pass [X]."


def numbers_as_classes(labels: HostArray, classes: HostArray) -> str | None:
    """Integers of which nearly every row has its own."""
    if classes.dtype.kind not in "iuf" or len(labels) <= 20 or len(classes) <= len(labels) / 2:
        return None
    return (
        f"y holds {len(classes)} different numbers in {len(labels)} rows: each was taken for a class. If they are "
        "numbers to be predicted, SequenceRegressor learns them; np.digitize(y, bins) makes classes of ranges."
    )


def one_hot_as_several(targets: HostArray, labels: HostArray) -> str | None:
    """An indicator matrix with a single 1 in every row."""
    if not (targets.sum(axis=1) == 1).all():
        return None
    return (
        f"every row of y has exactly one of its {len(labels)} labels: they were taken for labels of which a sequence "
        "may have several or none. For one class each pass y.argmax(axis=1)."
    )


def steps_as_several(data: Series | Texts, targets: HostArray, matrix: bool) -> str | None:
    """As many columns, or labels in every list, as the sequence has steps."""
    many = np.full(len(targets), targets.shape[1]) if matrix else targets.sum(axis=1, dtype=np.int64)
    if not np.array_equal(many, data.lengths) or many.max() < 2:
        return None
    as_many = "columns as the sequences have" if matrix else "labels in each row as its sequence has"
    return (
        f"y has as many {as_many} steps: they were taken for labels of the whole sequence. Labels of the steps are "
        "learned by SequenceLabeler."
    )


def case_that_matters(data: Series | Texts, targets: HostArray, fold_case: bool) -> str | None:
    """Texts that are alike but for upper and lower case, and have other labels: to the model they are one."""
    if not fold_case or not isinstance(data, Texts) or data.kind == "integers":
        return None
    ends = np.cumsum(data.lengths).tolist()
    rows = [data.tokens[end - length : end] for end, length in zip(ends, data.lengths.tolist(), strict=True)]
    texts: list[str] = rows if data.kind == "characters" else [" ".join(row) for row in rows]  # type: ignore[assignment]
    folded = list(map(str.casefold, texts))
    if len(set(folded)) == len(set(texts)):
        return None  # none is alike another but for case
    seen: dict[str, tuple[str, int]] = {}
    for text, alike, target in zip(texts, folded, targets.tolist(), strict=True):
        other, label = seen.setdefault(alike, (text, target))
        if other != text and label != target:
            return (
                f"{other!r} and {text!r} have different labels, but upper and lower case are one to the model: where "
                "case means something, set fold_case=False."
            )
    return None


def characters_that_compose(data: Series | Texts, spelling: Spelling) -> str | None:
    """Characters that would be others in the normal form of their text, but each has an answer of its own."""
    if not spelling.apart or spelling.normalize is None or not isinstance(data, Texts) or data.kind != "characters":
        return None
    assert isinstance(data.tokens, str)
    if not spelling.is_changed_by_composing(data.tokens):
        return None
    ends = np.cumsum(data.lengths).tolist()
    for k, (end, length) in enumerate(zip(ends, data.lengths.tolist(), strict=True)):
        if spelling.is_changed_by_composing(text := data.tokens[end - length : end]):
            return (
                f"row {k} of X, {text!r:.80}, has another number of characters in the form {spelling.normalize}: since "
                "each has an answer of its own, they were taken as they stand, and letters written in another way are "
                f"unknown. Pass unicodedata.normalize({spelling.normalize!r}, text), and where there are labels, those "
                "of its characters; or set normalize=None."
            )
    return None


def tags_as_classes(data: Series | Texts, targets: HostArray, classes: HostArray) -> str | None:
    """Strings as long as their sequences, such as "NVN" for three words."""
    if classes.dtype.kind != "U":
        return None
    lengths = np.char.str_len(classes)[targets]
    if not np.array_equal(lengths, data.lengths) or lengths.max() < 2:
        return None
    if (lengths == lengths[0]).all() and len(classes) <= len(targets) / 2:
        return None  # such as "up" and "no" for sequences of two steps
    return (
        f"each label is as long as its sequence, such as {classes[targets[0]].item()!r}: it was taken for one class of "
        "the whole sequence. If its characters are labels of the steps, xlstm.SequenceLabeler learns them."
    )


def ignored_nowhere(numbers: HostArray, ignore: object, classes: HostArray) -> str | None:
    """A label that is not to count, and that no step has: it may be written otherwise. `numbers` are those of y."""
    if ignore is None or not len(numbers) or (numbers == IGNORED).any():
        return None
    some = ", ".join(map(repr, classes[:5].tolist())) + (", …" if len(classes) > 5 else "")
    return (
        f"no label of y is {ignore!r}, the one that `ignore` names, so every label counts. They are {some}: write "
        "`ignore` as y has it, or leave it out."
    )


def mostly_unknown(unknown: int, tokens: int, known: int) -> str:
    """More than half of the tokens of a part are none that the model knows."""
    return (
        f"{unknown} of the {tokens} tokens of X are none of the {known} that the model has known since its first "
        "training, which settled its vocabulary: they were taken for one unknown token, of which nothing is learned. A "
        "new model is told all tokens by vocabulary= in the first call of partial_fit, or learns them by fit on all."
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return any(character.isdigit() for character in text)  # "nan" and "inf" are words too
