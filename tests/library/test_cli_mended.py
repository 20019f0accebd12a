"""The command line on data as people have it: labels with odd names, ids that repeat, flags that say nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

import xlstm

from .test_cli_data import LONG, QUICK, call, recordings, write_long, write_rows


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
