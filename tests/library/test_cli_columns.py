"""The command line on tables whose columns are others, or in another order, than those of the training."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import xlstm

from ..peers import peer
from .command import run, write_rows
from .test_cli_data import LONG, QUICK, recordings, up, write_long, write_wide

__all__ = ["run"]  # a fixture


def reordered(source: str, target: str, columns: list[str], renamed: dict[str, str] | None = None) -> str:
    """The table with these columns in this order; what it does not have is 0."""
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    header = [(renamed or {}).get(name, name) for name in columns]
    return write_rows(target, header, [[row.get(name, "0") for name in columns] for row in rows])


STEPS = [f"t{k}" for k in range(6)]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_steps_of_a_wide_table_are_matched_by_name(run, command):
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    expected = run(command, "wide.xlstm", "wide.csv", "--json").json
    backwards = reordered("wide.csv", "backwards.csv", [*STEPS[::-1], "label"])
    assert run(command, "wide.xlstm", backwards, "--json").json == expected
    lacking = run(command, "wide.xlstm", reordered("wide.csv", "lacking.csv", ["label", *STEPS[:2], *STEPS[3:]]))
    assert lacking.code == 1
    assert "lacking.csv lacks the columns 't2', beside the table that the model was trained on" in lacking.err
    assert "in order by --features" in lacking.err
    more = run(command, "wide.xlstm", reordered("wide.csv", "more.csv", ["label", "age", *STEPS]))
    assert more.code == 1
    assert "more.csv has the columns 'age' too many" in more.err


def test_a_wide_table_may_hold_shorter_and_longer_series(run):
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    model = xlstm.load("wide.xlstm")
    for name, columns in (("short.csv", STEPS[:2]), ("long.csv", [*STEPS, "t6"])):
        table = [[row / 7 + k for k in range(len(columns))] for row in range(9)]
        write_rows(name, columns, table)
        found = run("predict", "wide.xlstm", name, "--json").json["predictions"]
        expected = model.predict_proba(xlstm.read(name).X)
        assert [list(row["probabilities"].values()) for row in found] == expected.tolist()


def test_named_steps_are_taken_as_they_are_named(run):
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    expected = run("predict", "wide.xlstm", "wide.csv", "--format", "csv").out
    other = reordered("wide.csv", "other.csv", ["label", "age", *STEPS[::-1]], {name: f"c{name[1]}" for name in STEPS})
    flags = ("--features", ",".join(f"c{k}" for k in range(6)))
    assert run("predict", "wide.xlstm", other, *flags, "--format", "csv").out == expected
    assert run("evaluate", "wide.xlstm", other, *flags).code == 0


def test_a_model_of_an_older_version_knows_no_names_of_steps(run):
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    model = xlstm.load("wide.xlstm")
    model.fitted_state().table = model.fitted_state().table._replace(steps=None)
    model.save("older.xlstm")
    backwards = write_rows("backwards.csv", STEPS[::-1], [[row / 7 + k for k in range(6)] for row in range(9)])
    found = run("predict", "older.xlstm", backwards, "--json").json["predictions"]
    expected = model.predict_proba(xlstm.read(backwards).X)
    assert [list(row["probabilities"].values()) for row in found] == expected.tolist()


def test_show_names_the_steps(run):
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    assert run("show", "wide.xlstm", "--json").json["table"]["steps"] == STEPS
    assert "steps t0, t1, t2, t3, t4, t5" in run("show", "wide.xlstm").out


def test_the_columns_of_a_model_of_arrays_are_named(run):
    """It knows neither names nor a table: all is said by flags, and a message that asks for one finds it."""
    data = recordings()
    X = [x for _, x in data]
    model = xlstm.SequenceClassifier(hidden_size=4, max_iter=2, random_state=0, device="cpu")
    model.fit(X, [up(x) for x in X]).save("arrays.xlstm")
    rows = [(name, t, "new", *step, up(x)) for name, x in data for t, step in enumerate(x.tolist())]
    write_rows("long.csv", ("run", "at", "note", "speed", "load", "kind"), rows)
    refused = run("predict", "arrays.xlstm", "long.csv", *LONG)
    assert refused.code == 1
    assert "--features" in refused.err
    expected = model.predict_proba(X).tolist()
    for flags in (("--features", "speed,load"), ("--features", "speed,load", "--label", "kind")):
        found = run("predict", "arrays.xlstm", "long.csv", *LONG, *flags, "--json").json["predictions"]
        assert [list(row["probabilities"].values()) for row in found] == expected
    scores = run("evaluate", "arrays.xlstm", "long.csv", *LONG, *flags, "--json").json
    assert scores["accuracy"] == model.score(X, [up(x) for x in X])


def test_labels_under_another_name_are_no_feature(run):
    run("train", write_long("long.csv"), *LONG, *QUICK)
    run("train", write_wide("wide.csv"), "--wide", *QUICK)
    for data, model in (("long.csv", "long.xlstm"), ("wide.csv", "wide.xlstm")):
        expected = run("predict", model, data, "--format", "csv").out
        Path("other.csv").write_text(Path(data).read_text().replace("label", "kind"))
        assert run("predict", model, "other.csv", "--label", "kind", "--format", "csv").out == expected


@pytest.mark.parametrize(("data", "flags"), [("texts.csv", ("--label", "kind")), ("a.npz", ("--label", "y"))])
def test_labels_that_nobody_reads_need_no_name(run, data, flags):
    write_rows("texts.csv", ("text", "kind"), [("ab"[k % 2] * 3, k % 2) for k in range(20)])
    np.savez("a.npz", X=np.ones((20, 3, 1)) * np.arange(20)[:, None, None], y=np.arange(20) % 2)
    run("train", data, *(flags if data == "texts.csv" else ()), *QUICK, "--out", "m.xlstm")
    refused = run("predict", "m.xlstm", "--data", data, *flags)
    assert (refused.code, refused.out) == (1, "")
    assert "--label says nothing of" in refused.err


# ---------------------------------------------------------------- several labels, and none


SEVERAL = ["", "a", "a; b", "b", "b;a;b"]
LISTS = [[], ["a"], ["a", "b"], ["b"], ["b", "a"]]


def several(form: str) -> tuple[str, dict[str, str]]:
    """A file of 25 sequences with these labels, and how it is read."""
    rows = [(f"r{k:02}", t, SEVERAL[k % 5], t + k / 7) for k in range(25) for t in range(3)]
    header = ("run", "at", "label", "x")
    if form == "csv":
        return write_rows("data.csv", header, rows), {"id": "run", "time": "at"}
    if form == "jsonl":
        objects = (dict(zip(header, row, strict=True)) | ({} if row[2] else {"label": None}) for row in rows)
        Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
        return "data.jsonl", {"id": "run", "time": "at"}
    if form == "parquet":
        pyarrow, parquet = peer("pyarrow"), peer("pyarrow.parquet")
        columns = {name: [row[k] for row in rows] for k, name in enumerate(header)}
        parquet.write_table(
            pyarrow.table(columns | {"label": [name or None for name in columns["label"]]}), "data.parquet"
        )
        return "data.parquet", {"id": "run", "time": "at"}
    if form == "whole.jsonl":
        objects = ({"x": [k / 7, 1 + k / 7], "y": SEVERAL[k % 5] or None} for k in range(25))
        Path("whole.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
        return "whole.jsonl", {}
    if form == "npz":
        np.savez("data.npz", X=np.arange(75.0).reshape(25, 3, 1), y=np.array(SEVERAL * 5))
        return "data.npz", {}
    return write_rows("wide.csv", ("label", "t0", "t1"), [(SEVERAL[k % 5], k / 7, 1 + k / 7) for k in range(25)]), {}


@pytest.mark.parametrize("form", ["csv", "wide", "jsonl", "parquet", "whole.jsonl", "npz"])
def test_sequences_have_several_labels_or_none(run, form):
    name, how = several(form)
    X, y, _ = xlstm.read(name, separator=";", **how)
    assert y == LISTS * 5
    flags = [part for key, value in how.items() for part in (f"--{key}", value)]
    flags += ["--wide"] if form == "wide" else []
    values = run("train", name, *flags, "--task", "labels", *QUICK, "--json").json
    model = xlstm.load(values["model"])
    assert model.classes_.tolist() == ["a", "b"]
    scores = run("evaluate", values["model"], name, "--json").json
    assert scores["subset_accuracy"] == pytest.approx(model.score(X, y))
    batches = [batch.y for batch in xlstm.from_files(name, separator=";", block=9, **how)]
    assert [row for part in batches for row in part] == y


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"separator": " "}, "separator must be a character or more, and no white space alone, such as ';', got ' '."),
        ({"separator": 3}, "separator must be a character or more, and no white space alone, such as ';', got 3."),
        (
            {"separator": ";", "label_each_step": True, "id": "run"},
            "separator= is for several labels of a whole sequence",
        ),
        ({"separator": ";", "id": "run", "label": "label"}, "the id 'r00' has two labels in the column 'label', '' in"),
    ],
)
def test_what_separates_labels_is_checked(run, arguments, message):
    write_rows("data.csv", ("run", "label", "x"), [("r00", "", 1), ("r00", "a", 2)])
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        xlstm.read("data.csv", **arguments)
    table = {"run": ["r00", "r00"], "label": ["", "a"], "x": [1, 2]}
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        xlstm.from_long(table, **{"id": "run", **arguments})


def test_a_format_without_such_labels_has_no_separator(tmp_path):
    path = tmp_path / "a.ts"
    path.write_text("@problemName p\n@classLabel true x y\n@data\n1,2:x\n")
    with pytest.raises(ValueError, match="separator= says nothing of a file of the format ts: leave it out"):
        xlstm.read(path, separator=";")


# ---------------------------------------------------------------- labels of words


@pytest.mark.parametrize("form", ["flat", "rows"])
def test_texts_of_an_array_have_a_label_for_each_word(run, form):
    rng = np.random.default_rng(0)
    words = [list(rng.choice(["the", "cat", "sat"], int(rng.integers(1, 5)))) for _ in range(30)]
    tags = [["N" if word == "cat" else "O" for word in row] for row in words]
    if form == "flat":
        y = np.array([tag for row in tags for tag in row])
    else:
        y = np.array([row + [""] * (4 - len(row)) for row in tags])
    np.savez("words.npz", X=np.array([" ".join(row) for row in words]), y=y)
    X, found, _ = xlstm.read("words.npz", label_each_step=True)
    assert [row.tolist() for row in found] == tags
    values = run("train", "words.npz", "--words", "--task", "steps", *QUICK, "--json").json
    model = xlstm.load("words.xlstm")
    assert run("evaluate", "words.xlstm", "words.npz", "--json").json["accuracy"] == pytest.approx(model.score(X, tags))
    assert values["n_test"] == 6
