"""The command line on data as people have it: labels with odd names, ids that repeat, flags that say nothing."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import cli

from .command import call, write_rows
from .test_cli_data import LONG, QUICK, recordings, write_long, write_wide


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    return call(monkeypatch, capsys)


def steps_called(*names: str) -> list[tuple[Any, ...]]:
    """A long table whose steps have these labels in turn."""
    return [
        (run, t, *step, names[(k + t) % len(names)])
        for k, (run, x) in enumerate(recordings())
        for t, step in enumerate(x.tolist())
    ]


HEADER = ("run", "at", "speed", "load", "label")


def test_a_class_may_be_called_none(run):
    """Where nothing is ignored every step counts, whatever its label is called."""
    rows = steps_called("None", "B")
    write_rows("steps.csv", HEADER, rows)
    run("train", "steps.csv", *LONG, "--task", "steps", *QUICK)
    scores = run("evaluate", "steps.xlstm", "steps.csv", "--json").json
    assert scores["n_steps"] == len(rows)
    assert scores["recall"].keys() == {"None", "B"}
    write_rows("known.csv", HEADER, steps_called("A", "B"))
    run("train", "known.csv", *LONG, "--task", "steps", *QUICK)
    done = run("evaluate", "known.xlstm", "steps.csv")
    assert (done.code, "has the label 'None', which the model does not know: A, B" in done.err) == (1, True)


@pytest.mark.parametrize("words", [False, True])
def test_a_model_that_ignores_a_label_of_texts_is_measured(run, words):
    between = " " if words else ""
    texts = [between.join("ab"[(k + t) % 2] for t in range(4)) for k in range(40)]
    labels = [text.replace("a", "O").replace("b", "XY"[k // 2 % 2]) for k, text in enumerate(texts)]
    write_rows("texts.csv", ("text", "label"), zip(texts, labels, strict=True))
    flags = ("--words",) if words else ()
    values = run("train", "texts.csv", "--task", "steps", "--ignore", "O", *flags, *QUICK, "--json").json
    scores = run("evaluate", values["model"], values["held_out"], "--json").json
    assert {name: scores[name] for name in ("accuracy", "n_steps")} == {
        name: values[name] for name in ("accuracy", "n_steps")
    }
    write_rows("other.csv", ("text", "label"), [("a" + between + "b", "O" + between + "Z")])
    done = run("evaluate", values["model"], "other.csv")
    assert (done.code, "has the label 'Z', which the model does not know" in done.err) == (1, True)


def test_a_list_of_sequences_whose_ids_repeat_has_their_numbers(run):
    rng = np.random.default_rng(0)
    lines = [
        {"id": f"r{k // 4}", "x": rng.standard_normal((3, 2)).tolist(), "y": "ab"[k % 2]} for k in range(24)
    ]  # of each id two labels
    np.savez(
        "data.npz",
        X=np.array([line["x"] for line in lines]),
        y=np.array([line["y"] for line in lines]),
        ids=np.array([line["id"] for line in lines]),
    )
    values = run("train", "data.npz", *QUICK, "--json").json
    with open(values["held_out"], newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sequence"]
    X, y, _ = xlstm.read("data.npz")
    aside = [int(number) - 1 for (number,) in rows]
    model = xlstm.load("data.xlstm")
    again = run("evaluate", "data.xlstm", "data.npz", "--only", values["held_out"], "--json").json
    assert (again["n_test"], again["accuracy"]) == (len(aside), values["accuracy"])
    assert again["accuracy"] == pytest.approx(model.score(X[np.array(aside)], y[aside]))
    write_rows("ids.csv", ("id",), [("r1",)])
    done = run("evaluate", "data.xlstm", "data.npz", "--only", "ids.csv")
    assert (done.code, "ids.csv lists 'r1', but data.npz has 4 sequences of this id" in done.err) == (1, True)


def test_a_sequence_counts_once_however_often_it_is_listed(run):
    write_long("long.csv")
    values = run("train", "long.csv", *LONG, *QUICK, "--json").json
    held_out = Path(values["held_out"])
    assert held_out.read_text().startswith("run,")  # steps, each with the id of its sequence
    held_out.write_text(held_out.read_text().replace("run,", "id,", 1))
    again = run("evaluate", "long.xlstm", "long.csv", "--only", str(held_out), "--json").json
    assert (again["n_test"], again["accuracy"]) == (values["n_test"], values["accuracy"])


def test_what_is_wrong_with_a_listed_sequence_names_that_one(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    write_rows("gap.csv", HEADER, [("a", 0, 1, 2, "up"), ("b", 0, "", 1, "up")])
    write_rows("ids.csv", ("id",), [("b",)])
    done = run("evaluate", "long.xlstm", "gap.csv", "--only", "ids.csv")
    assert "the sequence 'b' of gap.csv has no value in step 1" in done.err


def test_a_bad_field_costs_a_stream_one_sequence(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    rows = "run,at,speed,load\na,0,1,2\na,1,1,2\nb,0,q,2\nc,0,1,2\nd,0,1\ne,0,1,1\n"
    done = run("predict", "long.xlstm", "--format", "jsonl", stdin=rows)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [answer["id"] for answer in answers] == ["a", "b", "c", "d", "e"]
    assert [answer["id"] for answer in answers if "label" in answer] == ["a", "c", "e"]
    assert answers[1]["row"] == 2
    assert "line 4 of standard input holds 'q'" in answers[1]["error"]
    assert "line 6 of standard input has 3 fields" in answers[3]["error"]
    # What is wrong with all of them is told once.
    done = run("predict", "long.xlstm", "--format", "jsonl", stdin="run,at,speed\na,0,1\nb,0,1\n")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)


def test_numbers_are_written_in_full(run):
    rows = [(run, t, *step, 1234000 + x[:, 0].sum()) for run, x in recordings() for t, step in enumerate(x.tolist())]
    write_rows("price.csv", HEADER, rows)
    run("train", "price.csv", *LONG, "--task", "number", *QUICK)
    X, _, _ = xlstm.read("price.csv", id="run", time="at")
    expected = xlstm.load("price.xlstm").predict(X)
    table = list(csv.DictReader(io.StringIO(run("predict", "price.xlstm", "price.csv", "--format", "csv").out)))
    told = [line.split()[1] for line in run("predict", "price.xlstm", "price.csv").out.splitlines()]
    for written in ([row["value"] for row in table], told):
        assert np.array_equal(np.array(written, dtype=expected.dtype), expected)


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_table_is_cut_by_what_its_name_says(run, form):
    """A model that was trained on commas reads tabs, and one trained on semicolons goes on with them."""
    if form == "long":
        write, flags = write_long, LONG
    else:
        write, flags = write_wide, ("--wide",)
    write("commas.csv")
    run("train", "commas.csv", *flags, *QUICK)
    expected = run("predict", "commas.xlstm", "commas.csv", "--format", "csv").out
    Path("tabs.tsv").write_text(Path("commas.csv").read_text().replace(",", "\t"))
    assert run("predict", "commas.xlstm", "tabs.tsv", "--format", "csv").out == expected
    assert run("evaluate", "commas.xlstm", "tabs.tsv").code == 0
    Path("other.csv").write_text(Path("commas.csv").read_text().replace(",", ";"))
    run("train", "other.csv", *flags, "--delimiter", ";", *QUICK)
    assert run("predict", "other.xlstm", "other.csv", "--format", "csv").out == expected
    assert run("predict", "other.xlstm", "commas.csv", "--format", "csv").out == expected


def test_a_wide_table_whose_steps_nobody_remembers_is_cut_as_before(run):
    """A delimiter that leaves the header in one piece does not cut it."""
    write_wide("commas.csv")
    Path("other.csv").write_text(Path("commas.csv").read_text().replace(",", ";"))
    run("train", "other.csv", "--wide", "--delimiter", ";", *QUICK)
    expected = run("predict", "other.xlstm", "other.csv", "--format", "csv").out
    model = xlstm.load("other.xlstm")
    fitted = model.fitted_state()
    fitted.table = fitted.table._replace(steps=None)
    model.save("other.xlstm")
    assert xlstm.load("other.xlstm").fitted_state().table.steps is None
    assert run("predict", "other.xlstm", "other.csv", "--format", "csv").out == expected
    assert run("predict", "other.xlstm", "commas.csv", "--format", "csv").out == expected


def test_a_long_table_may_have_more_columns_than_the_model_knows(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, "--delta", "dt", *QUICK)
    expected = run("predict", "long.xlstm", "long.csv", "--format", "csv").out
    rows = [(load, "new", t / 2, run, speed) for run, x in recordings() for t, (speed, load) in enumerate(x.tolist())]
    name = write_rows("more.csv", ("load", "note", "at", "run", "speed"), rows)
    assert run("predict", "long.xlstm", name, "--format", "csv").out == expected
    assert run("predict", "long.xlstm", "--format", "csv", stdin=Path(name).read_text()).out == expected


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_sequence_in_a_table_may_have_none_of_the_labels(run, form):
    rng = np.random.default_rng(0)
    names = ["", "a", "a; b", "b", " "]
    data = [(f"r{k:02}", names[k % 5], rng.standard_normal(3).tolist()) for k in range(25)]
    if form == "long":
        rows: Any = [(run, t, label, value) for run, label, x in data for t, value in enumerate(x)]
        write_rows("data.csv", ("run", "at", "label", "x"), rows)
    else:
        write_rows("data.csv", ("label", "t0", "t1", "t2"), [(label, *x) for _, label, x in data])
    flags = LONG if form == "long" else ("--wide",)
    values = run("train", "data.csv", *flags, "--task", "labels", *QUICK, "--json").json
    model = xlstm.load("data.xlstm")
    assert model.classes_.tolist() == ["a", "b"]
    X = xlstm.Sequences(
        np.concatenate([np.array(x)[:, None] for *_, x in data]), [3] * 25, ["x"] if form == "long" else None
    )
    truth = [[part.strip() for part in label.split(";") if part.strip()] for _, label, _ in data]
    whole = run("evaluate", "data.xlstm", "data.csv", "--json").json
    assert whole["subset_accuracy"] == pytest.approx(model.score(X, truth))
    again = run("evaluate", "data.xlstm", values["held_out"], "--json").json
    assert again["subset_accuracy"] == values["subset_accuracy"]


def test_arrays_have_a_label_for_each_step(run):
    data = [x for _, x in recordings()]
    lengths = list(map(len, data))
    steps = np.concatenate(data)
    truth = np.where(steps[:, 0] > 0, "high", "low")
    np.savez("flat.npz", X=steps, lengths=lengths, y=truth)
    run("train", "flat.npz", "--task", "steps", *QUICK)
    model = xlstm.load("flat.xlstm")
    scores = run("evaluate", "flat.xlstm", "flat.npz", "--json").json
    assert scores["n_steps"] == len(steps)
    assert scores["accuracy"] == pytest.approx(
        model.score(xlstm.Sequences(steps, lengths), np.split(truth, np.cumsum(lengths)[:-1]))
    )
    np.savez("bare.npz", X=steps, lengths=lengths)
    assert len(run("predict", "flat.xlstm", "bare.npz", "--json").json["predictions"]) == len(data)


SAYS_NOTHING = {
    "empty rows of arrays": (("evaluate", "reg.xlstm", "reg.npz", "--skip-empty"), "--skip-empty", "of the format npz"),
    "cuts of arrays": (("evaluate", "reg.xlstm", "reg.npz", "--delimiter", ";"), "--delimiter", "of the format npz"),
    "series of arrays": (("evaluate", "reg.xlstm", "reg.npz", "--wide"), "--wide", "of the format npz"),
    "texts of arrays": (("evaluate", "reg.xlstm", "reg.npz", "--text", "x"), "--text", "of the format npz"),
    "a delimiter of lines": (("train", "x.jsonl", "--delimiter", ";"), "--delimiter", "of the format jsonl"),
    "series of lines": (("train", "x.jsonl", "--wide"), "--wide", "of the format jsonl"),
    "channels of lines": (("train", "x.jsonl", "--channels-first"), "--channels-first", "of the format jsonl"),
    "features of texts": (("train", "texts.csv", "--features", "a,b"), "--features", "a table of texts"),
    "a time of texts": (("predict", "texts.xlstm", "--data", "texts.csv", "--time", "x"), "--time", "a table of texts"),
    "texts of series": (("train", "texts.csv", "--wide", "--text", "text"), "--text", "a row is a series"),
    "texts for numbers": (("predict", "long.xlstm", "long.csv", "--text", "x"), "--text", "this model reads numbers"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of arrays, one of a long table, one of texts, and their data."""
    folder = tmp_path_factory.mktemp("flags")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("XLSTM_DEVICE", raising=False)
        np.savez("reg.npz", X=np.arange(40.0).reshape(10, 2, 2), y=np.arange(10) / 2)
        write_long("long.csv")
        write_rows("texts.csv", ("text", "label"), [("ab", "a"), ("ba", "b")] * 5)
        Path("x.jsonl").write_text('{"x": [1, 2], "y": "a"}\n{"x": [2, 1], "y": "b"}\n' * 5)
        for arguments in (("reg.npz", "--task", "number"), ("long.csv", *LONG), ("texts.csv",)):
            assert cli.main(["train", *arguments, *QUICK[:2], "--epochs", "1", *QUICK[4:], "--test-fraction", "0"]) == 0
    return folder


@pytest.mark.parametrize("name", SAYS_NOTHING)
def test_flags_that_say_nothing_are_named(place, monkeypatch, capsys, name):
    monkeypatch.chdir(place)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    arguments, flag, what = SAYS_NOTHING[name]
    before = sorted(path.name for path in place.iterdir())
    done = call(monkeypatch, capsys)(*arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith(f"xlstm: error: {flag} ")
    assert what in done.err
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_closed_standard_output_is_one_line(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdout", None)
    for arguments in (["long.xlstm", "long.csv"], ["texts.xlstm", "ab"]):
        assert cli.main(["predict", *arguments]) == 1
    before = sorted(path.name for path in place.iterdir())
    for arguments in (
        ["evaluate", "long.xlstm", "long.csv"],
        ["show", "long.xlstm"],
        ["devices"],
        ["train", "long.csv", *LONG, "--out", "new.xlstm"],
    ):
        assert cli.main(arguments) == 1
    assert sorted(path.name for path in place.iterdir()) == before
    monkeypatch.undo()
    start = "xlstm: error: standard output is closed, so there is nowhere to write"
    assert capsys.readouterr().err == f"{start}: name a file by --out\n" * 2 + f"{start} the result\n" * 4
