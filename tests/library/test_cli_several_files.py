"""`xlstm train FILE FILE...`: files that are read again in every pass, and what is held out of them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm

from .command import run, write_rows
from .test_cli_data import LONG, QUICK, amount, phases, recordings, up, write_long

__all__ = ["run"]  # a fixture


def texts(n: int = 60, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    made = ["".join(rng.choice(list("abc"), int(rng.integers(1, 6)))) for _ in range(n)]
    return [(text, text[-1]) for text in made]


def held_out(path: str) -> list[list[str]]:
    with open(path, newline="") as file:
        _, *rows = csv.reader(file)
    return rows


def test_texts_of_several_tables_train_as_in_memory(run):
    rows = texts()
    write_rows("a.csv", ("text", "label"), rows[:25])
    write_rows("b.tsv", ("label", "text"), [row[::-1] for row in rows[25:]], "\t")
    values = run("train", "a.csv", "b.tsv", *QUICK, "--json").json
    assert (values["model"], values["held_out"]) == ("a.xlstm", "a.held-out-ids.csv")
    aside = held_out(values["held_out"])
    assert 0 < values["n_test"] == len(aside) < 30
    places = [int(number) - 1 + 25 * (file == "b.tsv") for file, number in aside]
    kept = [row for k, row in enumerate(rows) if k not in places]
    expected = xlstm.SequenceClassifier(hidden_size=4, max_iter=2, device="cpu", random_state=0)
    expected.fit(*zip(*kept, strict=True))
    model = xlstm.load("a.xlstm")
    X = [text for text, _ in rows]
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-5)
    measured = [rows[k] for k in places]
    assert values["accuracy"] == pytest.approx(expected.score(*zip(*measured, strict=True)))
    # Each file is measured on what of it was held out.
    right = 0.0
    for file in ("a.csv", "b.tsv"):
        found = run("evaluate", "a.xlstm", file, "--only", values["held_out"], "--json").json
        right += found["accuracy"] * found["n_test"]
    assert right / values["n_test"] == pytest.approx(values["accuracy"])
    shown = run("show", "a.xlstm", "--json").json
    assert (shown["trained"]["sequences"], shown["held_out"]["sequences"]) == (len(kept), len(aside))


TASKS: dict[str, Any] = {"classes": up, "number": amount, "steps": phases}


@pytest.mark.parametrize("task", TASKS)
def test_long_tables_of_all_kinds_of_answers(run, task):
    data = recordings(40)
    write_long("a.csv", task, data[:15])
    write_long("b.csv", task, data[15:])
    values = run("train", "a.csv", "b.csv", *LONG, "--task", task, *QUICK, "--json").json
    aside = held_out(values["held_out"])
    assert [file for file, _ in aside] == sorted(file for file, _ in aside)
    ids = {name for _, name in aside}
    assert ids < {name for name, _ in data}
    chosen = [x for name, x in data if name in ids]
    X = xlstm.Sequences(np.concatenate(chosen), list(map(len, chosen)), ["speed", "load"])
    model, y = xlstm.load("a.xlstm"), [TASKS[task](x) for x in chosen]
    assert values["r2" if task == "number" else "accuracy"] == pytest.approx(model.score(X, y), rel=1e-5)
    found = run("predict", "a.xlstm", "b.csv", "--json").json["predictions"]
    assert [row["id"] for row in found] == [name for name, _ in data[15:]]


def test_wide_tables_lines_and_arrays(run):
    data = [(up(x), *np.resize(x[:, 0], 3).tolist()) for _, x in recordings(40)]
    for k, part in enumerate((data[:20], data[20:])):
        write_rows(f"w{k}.csv", ("label", "t0", "t1", "t2"), part)
        Path(f"l{k}.jsonl").write_text("".join(json.dumps({"x": row[1:], "y": row[0]}) + "\n" for row in part))
        np.savez(f"n{k}.npz", X=np.array([row[1:] for row in part])[..., None], y=np.array([row[0] for row in part]))
    answers = []
    for first, second, *flags in (("w0.csv", "w1.csv", "--wide"), ("l0.jsonl", "l1.jsonl"), ("n0.npz", "n1.npz")):
        values = run("train", first, second, *flags, *QUICK, "--json").json
        answers.append((values["accuracy"], values["n_test"]))
        assert held_out(values["held_out"])[0][0] == first
        assert run("predict", values["model"], second).code == 0
    assert len(set(answers)) == 1
    assert run("show", "w0.xlstm", "--json").json["table"]["steps"] == ["t0", "t1", "t2"]


def test_several_labels_and_labels_of_words(run):
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["the", "cat", "sat"], int(rng.integers(1, 4)))) for _ in range(40)]
    tags = [" ".join("N" if word == "cat" else "O" for word in text.split()) for text in words]
    some = [";".join(sorted(set(text.split()) & {"cat", "sat"})) for text in words]
    for task, labels, flags in (("steps", tags, ("--words",)), ("labels", some, ("--words",))):
        for name, part in (("a.csv", slice(20)), ("b.csv", slice(20, None))):
            write_rows(name, ("text", "label"), zip(words[part], labels[part], strict=True))
        values = run("train", "a.csv", "b.csv", "--task", task, *flags, *QUICK, "--force", "--json").json
        places = [int(number) - 1 + 20 * (file == "b.csv") for file, number in held_out(values["held_out"])]
        model, X = xlstm.load("a.xlstm"), [words[k] for k in places]
        if task == "steps":
            assert values["accuracy"] == pytest.approx(model.score(X, [tags[k].split() for k in places]))
        else:
            truth = [[label for label in some[k].split(";") if label] for k in places]
            assert values["subset_accuracy"] == pytest.approx(model.score(X, truth))


def test_nothing_is_held_out_where_nothing_shall_be(run):
    write_rows("a.csv", ("text", "label"), texts(20))
    write_rows("b.csv", ("text", "label"), texts(20, 1))
    values = run("train", "a.csv", "b.csv", "--test-fraction", "0", *QUICK, "--json").json
    assert (values["n_test"], values["held_out"], values["accuracy"]) == (0, None, None)


def test_what_is_doubted_is_told_once(run):
    write_rows("a.csv", ("text", "label"), texts(20))
    write_rows("b.csv", ("text", "label"), [*texts(20, 1), ("ab", "NA"), ("ba", "NA")])
    told = run("train", "a.csv", "b.csv", "--test-fraction", "0", *QUICK).err
    assert told.count("xlstm: warning: line 22 of b.csv has the label 'NA' in the column 'label'") == 1


def test_it_goes_on_after_a_kill(run):
    write_rows("a.csv", ("text", "label"), texts(30))
    write_rows("b.csv", ("text", "label"), texts(30, 1))
    flags = ("train", "a.csv", "b.csv", *QUICK, "--resume", "run.xlstm", "--json")
    first = run(*flags).json
    content = Path("a.xlstm").read_bytes()
    assert run(*flags).json["accuracy"] == first["accuracy"]
    assert Path("a.xlstm").read_bytes() == content


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "another column": (("a.csv", "other.csv"), 1, "other.csv has no column 'text' (--text)"),
    "a bad row": (("a.csv", "bad.csv"), 1, "line 3 of bad.csv has no text in the column 'text'"),
    "another kind of file": (
        ("a.csv", "a.npz"),
        1,
        "a.csv and a.npz are files of different kinds: train on those of one",
    ),
    "a file twice": (("a.csv", "b.csv", "./a.csv"), 1, "./a.csv is named twice: what is held out of it would train"),
    "early stopping": (("a.csv", "b.csv", "--early-stopping"), 2, "--early-stopping goes with one file"),
    "skipped rows": (("a.csv", "b.csv", "--skip-empty"), 2, "--skip-empty goes with one file"),
    "standard input": (("-", "a.csv"), 1, "standard input can be read once"),
    "no such file": (("a.csv", "nowhere.csv"), 1, "nowhere.csv"),
    "too few": (("one.csv", "two.csv"), 1, "too few to hold some of them out"),
    "its own data": (("a.csv", "b.csv", "--out", "b.csv"), 1, "would overwrite the data b.csv"),
    "numbers to labels": (("a.csv", "b.csv", "--task", "number"), 1, "of a.csv has the label"),
    "labels of steps": (("a.csv", "b.csv", "--task", "steps"), 1, "sequence 1 of a.csv has 1 label for"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_before_anything_is_trained(run, name):
    write_rows("a.csv", ("text", "label"), [("abc", "x"), *texts(20)])
    write_rows("b.csv", ("text", "label"), texts(20, 1))
    write_rows("other.csv", ("texts", "label"), texts(20, 1))
    write_rows("bad.csv", ("text", "label"), [("a", "b"), ("", "a")])
    write_rows("one.csv", ("text", "label"), [("a", "b")])
    write_rows("two.csv", ("text", "label"), [("b", "b")])
    arguments, code, what = WRONG[name]
    before = sorted(path.name for path in Path(".").iterdir())
    done = run("train", *arguments, *QUICK)
    assert (done.code, done.out) == (code, "")
    assert what in done.err
    assert sorted(path.name for path in Path(".").iterdir()) == before
