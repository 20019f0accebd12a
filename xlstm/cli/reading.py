"""How a file that is no table of texts is read: its form, the flags that say so, and what is told in their words.

The only place of the command line that calls `xlstm.read`.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import readers, tables
from ..dataset import Dataset
from ..encode import TokenEncoder
from ..fitted import Fitted, Table
from ..lines import Lines
from ..readers import columns, forms
from ..readers.delimited import Delimited
from ..readers.kinds import ENDINGS, format_of
from .common import Failure, tell

NOT_TABLES = tuple(suffix for suffix, kind in ENDINGS.items() if kind not in ("csv", "tsv"))
LINES = tuple(suffix for suffix, kind in ENDINGS.items() if kind == "jsonl")
"""Of them, those in which a line is a sequence, or with an id a step."""
TEXT, LABEL = "text", "label"
"""The columns where none are named."""
SEPARATOR = ";"


def ending(path: str) -> str:
    """What a file's name ends in, without what says that it is packed."""
    return Path(path.removesuffix(".gz")).suffix.lower()


def usual_delimiter(data: str) -> str:
    return "\t" if ending(data) in (".tsv", ".tab") else ","


def form_of(options: Any, data: str, remembered: Table | None = None, numbers: bool = False) -> str:
    """In which form a source is: "text" (a table of them), "long", "wide" or "file" (neither).

    Parameters
    ----------
    remembered
        What the model knows of the table that it was trained on.
    numbers
        Whether the model reads numbers, so that it is no table of texts.

    Raises
    ------
    Failure
        If it is a table of numbers, of which nobody has said how it holds them.
    """
    if ending(data) in NOT_TABLES:
        return "file"
    if options.id is not None:
        return "long"
    if options.wide:
        return "wide"
    form = "text" if remembered is None else remembered.form
    if form in ("long", "wide"):
        return form
    if numbers:
        raise Failure(
            f"this model reads numbers, not texts: say how {data} holds them, --id COLUMN where a row is a step of a "
            "sequence, --wide where it is a series"
        )
    return "text"


_OF_ROWS = ("text", "label", "id", "time", "features", "delta")
MEANT: dict[str, tuple[str, ...]] = {
    "text": ("text", "label", "delimiter", "skip_empty", "only"),
    "long": (*_OF_ROWS, "delimiter", "only"),
    "wide": ("wide", "label", "features", "delimiter", "only"),
    "jsonl": (*_OF_ROWS, "only"),
    "parquet": (*_OF_ROWS, "only"),
    "npz": ("label", "features", "channels_first", "only"),
    "npy": ("channels_first", "only"),
    "ts": ("only",),
}
"""The flags that say something of a table in this form, or of another file of this format."""
_WHAT = {
    "text": "a table of texts",
    "long": "a table in which a row is a step",
    "wide": "a table in which a row is a series",
}


def refuse_what_says_nothing(options: Any, form: str, numbers: bool = False, labelled: bool = True) -> None:
    """Raise where a flag says nothing of a file in this form.

    Parameters
    ----------
    numbers
        Whether a model is to read it that reads numbers.
    labelled
        Whether labels are read of it: of those that are not it matters which columns they are, and where there are
        columns of features alone.

    Raises
    ------
    Failure
        Which flag, of what.
    """
    kind = ENDINGS[ending(options.data)] if form == "file" else form
    for flag in dict.fromkeys(flag for flags in MEANT.values() for flag in flags):
        if getattr(options, flag, None) in (None, False):
            continue
        name = f"--{flag.replace('_', '-')}"
        if flag not in MEANT[kind] or (flag == "label" and not labelled and kind in ("text", "npz")):
            what = _WHAT.get(kind, f"a file of the format {kind}")
            raise Failure(f"{name} says nothing of {what}, as which {options.data} is read: leave it out")
        if flag == "text" and numbers:
            raise Failure(f"{name} is for texts, but this model reads numbers: leave it out")


def reads_texts(model: Any) -> bool:
    """Whether what a model reads are texts or lists of words."""
    encoder = model.fitted_state().encoder
    return isinstance(encoder, TokenEncoder) and encoder.kind != "integers"


def told(options: Any, fitted: Fitted, form: str) -> Table:
    """How a file is to be read: as said, else as the one that the model was trained on."""
    remembered, usual = fitted.table, usual_delimiter(options.data)
    before = Table(TEXT, LABEL, usual, None, form=form)
    if remembered is not None and remembered.form == form:
        before = remembered
    own = {name: getattr(options, name, None) for name in ("text", "label", "delimiter", "id", "time", "features")}
    table = before._replace(**{name: value for name, value in own.items() if value is not None})
    if form == "long" and table.features is None and fitted.feature_names is not None:
        # Other columns may be there, and the features in another order.
        table = table._replace(features=[name for name in fitted.feature_names.tolist() if name != table.delta])
    if options.delimiter is None and usual != table.delimiter and _cuts(options, usual, table):
        table = table._replace(delimiter=usual)
    return table


def _cuts(options: Any, delimiter: str, table: Table) -> bool:
    """Whether the header of a table has by this delimiter the columns that it has to have."""
    if table.form not in ("long", "wide") or not os.path.isfile(options.data):
        return False
    wanted = [name for name in (table.id, table.time, *(table.features or table.steps or ())) if name is not None]
    with contextlib.suppress(ValueError), Lines(options.data, options.encoding) as lines:
        found = tables.Table(lines, {}, delimiter).columns
        return len(found) > 1 and set(wanted) <= set(found)
    return False


def read(
    options: Any, table: Table, *, with_text: bool, each_step: bool, several: bool = False
) -> tuple[Dataset, Table]:
    """A file that is no table of texts; and how it was read, which for a wide table names its steps.

    Parameters
    ----------
    with_text
        Whether it holds texts or words.
    each_step
        Whether each step has a label.
    several
        Whether a sequence may have several labels, or none.

    Raises
    ------
    Failure
        If it is a folder, or nothing can be read of it.
    """
    arguments = arguments_of(options, table, with_text=with_text, each_step=each_step, several=several)
    with told_in_flags():
        if table.form in ("long", "wide"):
            with _opened(options, table) as source:
                table = _with_steps(source, table, table.label)
                if table.form == "wide":
                    arguments["features"] = table.features or table.steps
                return forms.read(source, columns.Asked(**arguments)), table
        arguments |= {"encoding": options.encoding, "channels_first": table.channels_first}
        return readers.read(options.data, **arguments), table


def arguments_of(
    options: Any, table: Table, *, with_text: bool, each_step: bool, several: bool = False
) -> dict[str, Any]:
    """What `xlstm.read` is told of the columns. For the arguments see `read`."""
    rows = table.form != "file"
    arguments: dict[str, Any] = {
        "id": table.id,
        "time": table.time,
        "delta": table.delta,
        "features": table.features,
        "label": table.label if rows or table.label != LABEL else None,
        "text": table.text if with_text and (rows or table.text != TEXT) else None,
    }
    # A list of labels says that itself; those of an array do not.
    arguments["label_each_step"] = each_step and (table.id is not None or ending(options.data) == ".npz")
    if several and ending(options.data) != ".ts":  # which has one class a series
        arguments["separator"] = table.separator or SEPARATOR
    return arguments


def with_steps(options: Any, table: Table) -> Table:
    """How a table is read; a wide one with the names of its steps.

    Raises
    ------
    Failure
        If it is no table.
    """
    if table.form != "wide":
        return table
    with told_in_flags(quiet=True), _opened(options, table) as source:
        return _with_steps(source, table, table.label)


def _opened(options: Any, table: Table) -> Delimited:
    """A table of numbers.

    Raises
    ------
    ValueError
        If the file is none.
    """
    format_of(options.data, "csv")
    return Delimited(options.data, table.delimiter, options.encoding)


def _with_steps(source: Delimited, table: Table, label: str | None) -> Table:
    """How a table is to be read, where it is wide with the names of its steps in the order of the training.

    A series may be shorter or longer than those of the training: then the names that both have stand in one order, at
    the beginning.

    Raises
    ------
    ValueError
        If the columns are others: which.
    """
    if table.form != "wide" or table.features is not None:
        return table
    own, before = list(columns.roles(source, columns.Asked(label=label)).features), table.steps
    if before is None or own[: len(before)] == before[: len(own)]:
        return table._replace(steps=own or None)
    lacks = [name for name in before if name not in own]
    more = [name for name in own if name not in before]
    if lacks or more:
        told = [f"lacks the columns {columns.listed(lacks)}"] if lacks else []
        told += [f"has the columns {columns.listed(more)} too many"] if more else []
        raise ValueError(
            f"{source.name} {' and '.join(told)}, beside the table that the model was trained on: a row of it is a "
            f"series with the steps {columns.listed(before)}. Name the columns of the steps in order by features=."
        )
    return table


def read_unlabelled(options: Any, table: Table, *, with_text: bool) -> Dataset:
    """The same without labels, which may be there, and may be anything.

    Raises
    ------
    Failure
        If nothing can be read of it.
    """
    if table.form != "file":
        with told_in_flags(), _opened(options, table) as source:
            return unlabelled(source, table, with_text)
    asked = columns.Asked(
        table.id,
        table.time,
        table.features,
        None if table.label == LABEL else table.label,
        table.text if with_text and table.text != TEXT else None,
        table.delta,
        labelled=False,
    )
    with told_in_flags():
        return readers.read_as(
            options.data, asked, encoding=options.encoding, channels_first=bool(table.channels_first)
        )


def unlabelled(source: Delimited, table: Table, with_text: bool) -> Dataset:
    """The sequences of a table of numbers. A column of labels is no feature, whatever is in it."""
    asked, found = columns_of(source, table, with_text)
    if table.form == "wide":
        return forms.wide(source, asked, found)
    return forms.long(source, asked, found)


def columns_of(source: Delimited, table: Table, with_text: bool) -> tuple[columns.Asked, columns.Roles]:
    """Which columns of such a table are what, its labels left out."""
    label = table.label if table.label in source.columns else None
    if table.form == "wide":
        table = _with_steps(source, table, label)
        asked = columns.Asked(features=table.features or table.steps, label=label)
    else:
        text = table.text if with_text else None
        asked = columns.Asked(table.id, table.time, table.features, label, text, table.delta)
    return asked, columns.roles(source, asked)._replace(label=None)


@contextlib.contextmanager
def told_in_flags(quiet: bool = False) -> Iterator[None]:
    """Inside, errors become Failures, and these and warnings name flags in place of arguments.

    `quiet` tells no warnings.
    """
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", UserWarning)
            yield
    except (ValueError, TypeError) as error:
        raise Failure(in_flags(str(error))) from None
    for warning in () if quiet else noted:
        tell("warning", in_flags(str(warning.message)))


_FLAGS = "id|time|features|label|text|delta|delimiter|encoding|separator"


def in_flags(message: str) -> str:
    """A message that names arguments of Python, with the flags that stand for them."""
    message = message.replace("label_each_step=True", "--task steps").replace("channels_first=True", "--channels-first")
    message = re.sub(rf"\b({_FLAGS})=(?=['\w])", r"--\1 ", message)
    return re.sub(rf"\b({_FLAGS})=", r"--\1", message)
