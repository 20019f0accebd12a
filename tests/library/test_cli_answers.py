"""What the command line writes beside classes: features that the head sees; scores that are no numbers."""

import csv
import io
import json
import os

import numpy as np
import pytest

import xlstm

from .command import run, write_rows
from .test_cli_data import LONG, QUICK, recordings, up, write_long

__all__ = ["run"]  # a fixture


def sequences() -> xlstm.Sequences:
    data = [x for _, x in recordings()]
    return xlstm.Sequences(np.concatenate(data), list(map(len, data)), ["speed", "load"])


@pytest.mark.parametrize("of", ["classes", "number", "fitted"])
def test_predict_writes_the_features_of_a_transformer(run, of):
    X = sequences()
    y = [up(x) if of == "classes" else float(x[:, 0].sum()) for x in X]
    model = xlstm.SequenceFeatures(hidden_size=3, max_iter=2, random_state=0, device="cpu")
    if of == "fitted":
        other = xlstm.SequenceRegressor(hidden_size=3, max_iter=2, random_state=0, device="cpu").fit(X, y)
        model = xlstm.SequenceFeatures.of(other)
    else:
        model.fit(X, y)
    model.save("features.xlstm")
    expected = model.transform(X)
    flags = ("features.xlstm", write_long("long.csv"), *LONG)
    found = run("predict", *flags, "--json").json["predictions"]
    assert [row["id"] for row in found] == [name for name, _ in recordings()]
    assert [row["features"] for row in found] == expected.tolist()
    lines = run("predict", *flags, "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["features"] for line in lines] == expected.tolist()
    header, *rows = csv.reader(io.StringIO(run("predict", *flags, "--format", "csv").out))
    assert header == ["id", *model.get_feature_names_out().tolist(), "note"]
    assert np.array_equal(np.array([row[1:-1] for row in rows], dtype=expected.dtype), expected)
    told = [line.split()[1:] for line in run("predict", *flags).out.splitlines()]
    assert np.array_equal(np.array(told, dtype=expected.dtype), expected)


def test_features_of_texts(run):
    model = xlstm.SequenceFeatures(hidden_size=3, max_iter=2, random_state=0, device="cpu")
    model.fit(["ab", "ba"] * 5, ["a", "b"] * 5).save("features.xlstm")
    found = run("predict", "features.xlstm", "ab", "bba", "zz", "--json").json["predictions"]
    assert [row["features"] for row in found] == model.transform(["ab", "bba", "zz"]).tolist()
    assert [row["unknown"] for row in found] == [False, False, True]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the working folder cannot be deleted")
def test_in_a_deleted_folder_each_command_names_what_cannot_be_written(run, tmp_path, monkeypatch):
    model = xlstm.SequenceClassifier(hidden_size=3, max_iter=2, random_state=0, device="cpu")
    model.fit(["ab", "ba"] * 5, ["a", "b"] * 5).save(tmp_path / "model.xlstm")
    write_rows(tmp_path / "data.csv", ("text", "label"), [("ab", "a"), ("ba", "b")])
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for name, arguments in {
        "report.html": ("report", tmp_path / "model.xlstm", tmp_path / "data.csv"),
        "found.tsv": ("predict", tmp_path / "model.xlstm", "ab", "--out", "found.tsv"),
        "data.xlstm": ("train", tmp_path / "data.csv"),
    }.items():
        done = run(*arguments)
        assert done.code == 1
        assert f"the working folder was deleted: name a path that is whole: '{name}'" in done.err
    monkeypatch.chdir(tmp_path)


def test_control_characters_do_nothing_to_a_terminal(run):
    """Of a model file or a table that somebody else made; where programs read, all is as it was."""
    label, text = "\x1b[31mred\x9b", "a\x1b]0;title\x07b"
    model = xlstm.SequenceClassifier(hidden_size=3, max_iter=2, random_state=0, device="cpu")
    model.fit([text, "ba"] * 5, [label, "b"] * 5).save("model.xlstm")
    write_rows("data.csv", ("text", "label"), [(text, label), ("ba", "b")])
    told = [
        run("predict", "model.xlstm", "--lines", "-", stdin=f"{text}\n"),
        run("evaluate", "model.xlstm", "data.csv"),
    ]
    told += [run("show", "model.xlstm"), run("predict", "model.xlstm", "--data", text)]
    for done in told:
        assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in done.out + done.err)
    assert r"\x1b]0;title\x07" in told[0].out
    assert r"\x1b[31mred\x9b" in told[1].out
    assert run("predict", "model.xlstm", text, "--json").json["predictions"][0]["text"] == text
    assert text in run("predict", "model.xlstm", text, "--format", "csv").out


def test_a_score_that_is_no_number_loses_no_training(run):
    """Beside the numbers that are held out the answers are so large that their R² is -inf."""
    held_out = np.random.default_rng(0).permutation(40)[:8].tolist()  # as the command draws them
    numbers = [1e-300 * (k % 3) if k in held_out else k % 3 for k in range(40)]
    write_rows("data.csv", ("text", "label"), [("ab" * (1 + k % 3), numbers[k]) for k in range(40)])
    values = run("train", "data.csv", "--task", "number", *QUICK, "--json").json
    assert values["r2"] is None
    assert xlstm.load("data.xlstm").fitted_state().table.scores["r2"] == -np.inf
    shown = run("show", "data.xlstm", "--json").json["held_out"]
    assert (shown["r2"], shown["sequences"]) == (None, 8)
    assert "r2 -inf" in run("show", "data.xlstm").out
    assert "sequences 8" in run("show", "data.xlstm").out
    assert run("evaluate", "data.xlstm", "data.held-out.csv", "--json").json["r2"] is None


def test_what_stands_for_a_missing_label_is_one_list(run):
    """The same fields in tables of texts as in all others."""
    for mark in ("N/A", "none", "?"):
        write_rows("data.csv", ("text", "label"), [("ab", "a"), ("ba", mark), ("aab", "b")] * 6)
        told = run("train", "data.csv", *QUICK, "--force").err
        assert f"6 rows with the label {mark!r}, which often stands for a missing one" in told
        with pytest.warns(xlstm.AmbiguousDataWarning, match="often stands for one that is missing"):
            xlstm.read("data.csv")
