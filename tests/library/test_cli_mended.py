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
