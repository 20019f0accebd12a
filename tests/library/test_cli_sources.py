"""The command line on files that are not quite tidy: white space in ids, pipes, labels that `predict` does not need."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

import xlstm

from .command import run, write_rows
from .test_cli_data import QUICK

__all__ = ["run"]  # a fixture

LONG = ("--id", "id", "--time", "t")
HEADER = ("id", "t", "x", "label")


def rows(blank: str = "") -> list[tuple[str, int, float, str]]:
    return [(f"s{k:02}{blank * (t % 2)}", t, k % 2 + t / 10, "ab"[k % 2]) for k in range(12) for t in range(3)]


def test_white_space_in_ids_parts_no_rows(run):
    """What is held out are whole sequences, none of which trained; a stream answers each once."""
    tidy, untidy = write_rows("tidy.csv", HEADER, rows()), write_rows("l.csv", HEADER, rows(" "))
    held_out = []
    for data in (tidy, untidy):
        with open(run("train", data, *LONG, *QUICK, "--json").json["held_out"], newline="") as file:
            held_out.append([[field.strip() for field in row] for row in csv.reader(file)])
    assert held_out[0] == held_out[1]
    assert 1 < len(held_out[0]) < 30
    answers = [run("predict", "tidy.xlstm", stdin=Path(data).read_text()) for data in (tidy, untidy)]
    assert answers[0].out == answers[1].out
    assert answers[1].code == 0
    assert len(xlstm.read(untidy, id="id").X) == 12


def test_a_pipe_is_trained_on(run):
    expected = run("train", write_rows("l.csv", HEADER, rows()), *LONG, *QUICK, "--json").json
    reading, writing = os.pipe()
    try:
        os.write(writing, Path("l.csv").read_bytes())
        os.close(writing)
        found = run("train", f"/dev/fd/{reading}", *LONG, *QUICK, "--out", "p.xlstm", "--json").json
    finally:
        os.close(reading)
    assert found["accuracy"] == expected["accuracy"]
    with open(found["held_out"], newline="") as ids, open(expected["held_out"], newline="") as whole:
        assert {row[0] for row in csv.reader(ids)} == {row[0] for row in csv.reader(whole)}


LINES = [{"x": [1, 2, k % 2], "y": "ab"[k % 2]} for k in range(12)]


@pytest.mark.parametrize(
    "lines",
    [
        [{"x": [1, 2, 3], "y": None}, {"x": [3, 2]}],
        [{"x": [1, 2, 3]}, {"x": [3, 2], "y": "a"}],
        [{"x": [1, 2, 3], "y": ["a", "b", "c"]}, {"x": [3, 2], "y": {}}],
    ],
    ids=["null", "for some", "lists and objects"],
)
def test_answers_need_no_labels(run, lines):
    for name, objects in (("a.jsonl", LINES), ("b.jsonl", lines)):
        Path(name).write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    assert run("train", "a.jsonl", *QUICK).code == 0
    done = run("predict", "a.xlstm", "b.jsonl", "--format", "jsonl")
    assert (done.code, done.err) == (0, "")
    model = xlstm.load("a.xlstm")
    expected = model.predict([np.array(each["x"], float)[:, None] for each in lines]).tolist()
    assert [json.loads(line)["label"] for line in done.out.splitlines()] == expected
    np.savez("c.npz", X=np.array([1.0, 2, 3, 3, 2]), lengths=[3, 2], y=[0, 1, 0, 1, 0])
    assert run("predict", "a.xlstm", "c.npz", "--format", "jsonl").out == done.out
