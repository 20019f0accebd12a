"""The data set that comes with the package: first names of the US Census of 1990. See README.md beside it."""

from __future__ import annotations

import csv
from importlib.resources import files

LABELS = ("female", "male")


def first_names() -> tuple[list[str], list[str]]:
    """The 4832 names that the census lists for one sex alone, upper case, and that sex: `"female"` or `"male"`.

    The other 331 of the file's 5163 names are in both lists and are left out.
    """
    texts, labels = [], []
    content = files(__package__).joinpath("census-first-names-1990.csv").read_text(encoding="ascii")
    for row in csv.DictReader(content.splitlines()):
        male, female = float(row["male_percent"]) > 0, float(row["female_percent"]) > 0
        if male != female:
            texts.append(row["name"])
            labels.append("male" if male else "female")
    return texts, labels
