"""The embedded first names: what is said of them is so, and their origin is shipped with them."""

from collections import Counter
from importlib.resources import files

import pytest

from xlstm import data


@pytest.fixture(scope="module")
def rows():
    """The file, read by hand: (name, male percent, female percent)."""
    header, *lines = files("xlstm.data").joinpath("census-first-names-1990.csv").read_bytes().decode("ascii").split()
    assert header == "name,male_percent,female_percent"
    return [(name, float(male), float(female)) for name, male, female in (line.split(",") for line in lines)]


def test_the_counts():
    names, labels = data.first_names()
    assert len(names) == len(labels) == len(set(names)) == 4832
    assert Counter(labels) == {"female": 3944, "male": 888}
    assert tuple(sorted(set(labels))) == data.LABELS


def test_the_file_holds_what_its_readme_says(rows):
    assert len(rows) == len({name for name, _, _ in rows}) == 5163
    assert sum(male > 0 and female > 0 for _, male, female in rows) == 331
    assert all(male > 0 or female > 0 for _, male, female in rows)


def test_names_of_both_lists_are_left_out():
    names = set(data.first_names()[0])
    assert not names & {"MARIA", "JOHN", "ROBIN"}
    assert {"OLGA", "IVAN"} <= names


def test_each_name_has_the_sex_of_its_list(rows):
    expected = {name: "male" if male > 0 else "female" for name, male, female in rows if (male > 0) != (female > 0)}
    assert dict(zip(*data.first_names(), strict=True)) == expected
    assert expected["OLGA"] == "female"
    assert expected["IVAN"] == "male"


def test_names_are_plain_capital_letters():
    names, _ = data.first_names()
    assert set("".join(names)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert {len(name) for name in names} == set(range(2, 12))


def test_each_call_gives_lists_of_its_own():
    names, labels = data.first_names()
    names.clear()
    labels.clear()
    assert len(data.first_names()[0]) == 4832


def test_the_origin_is_shipped():
    text = files("xlstm.data").joinpath("README.md").read_text(encoding="utf-8")
    for said in ("1990 Census", "United States Census Bureau", "public domain", "5163", "331", "4832", "3944", "888"):
        assert said in text, said
