"""What a file keeps of the table that its model was trained on."""

from __future__ import annotations

from typing import Any

from ..checkpoint import number_of_json, number_to_json, same_names
from ..fitted import Table
from ..messages import told

FORMS = ("text", "long", "wide", "file")


def to_json(table: Table) -> dict[str, Any]:
    if table.scores is None:
        return table._asdict()
    scores = {name: score if type(score) is int else number_to_json(score) for name, score in table.scores.items()}
    return {**table._asdict(), "scores": scores}


def of_json(found: Any) -> Table | None:
    if found is None:
        return None
    same_names(found, Table._fields, "part of the table", Table._field_defaults)
    table = Table(**found)
    if table.scores is not None:
        table = table._replace(scores=_scores(table.scores))
    for name in ("text", "label", "delimiter", "form"):
        if type(getattr(table, name)) is not str:
            raise ValueError(f"its table is {told(found)}")
    for name in ("held_out", "device", "id", "time", "delta", "separator"):
        if type(getattr(table, name)) not in (str, type(None)):
            raise ValueError(f"the {name} of its table is {told(getattr(table, name))}")
    if len(table.delimiter) != 1 or table.form not in FORMS or type(table.channels_first) is not bool:
        raise ValueError(f"its table is {told(found)}")
    for name in ("features", "steps"):
        names = getattr(table, name)
        if not (names is None or (isinstance(names, list) and all(type(each) is str for each in names))):
            raise ValueError(f"the {name} of its table are {told(names)}")
    if table.rows is not None and not (type(table.rows) is int and 0 <= table.rows < 2**53):
        raise ValueError(f"{told(table.rows)} is no count")
    return table


def _scores(found: Any) -> dict[str, float]:
    if not isinstance(found, dict):
        raise ValueError(f"the scores of its table are {told(found)}")
    return {name: score if type(score) is int else number_of_json(score) for name, score in found.items()}
