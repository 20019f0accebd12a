# Longer than 500 lines: the tests of one source file stand in one file.
"""The command line: what each command prints, where, and with which exit code; errors in one line, no traceback."""

import contextlib
import csv
import gzip
import importlib.util
import io
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends, bench, cli, gradcheck, trusted
from xlstm.cells import rnn

from .. import classifier as truth
from ..backends.planted import Planted, off_by, planted, right
from ..standin import machine
from .command import Done, run, write_rows

__all__ = ["run"]  # a fixture

COMMANDS = ("train", "predict", "evaluate", "show", "bench", "devices", "check")
QUICK = ("--hidden-size", "8", "--epochs", "3", "--device", "cpu")


def write(name: str, rows: Any, header: tuple[str, ...] = ("text", "label"), delimiter: str = ",") -> str:
    return write_rows(name, header, rows, delimiter)


def rows_of(name: str) -> list[list[str]]:
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def table(n: int = 120) -> list[tuple[str, str]]:
    """Texts, a comma, a quote and a line break among them, and their last letter."""
    texts, labels = truth.last_letter(n)
    texts[:4] = ["a, b", 'say "a"a', "two\nlinesc", "ünïcödé b"]
    labels[:4] = ["b", "a", "c", "b"]
    return list(zip(texts, labels, strict=True))


def on_a_line(rows: Any) -> list[list[str]]:
    """Such rows as a table of tabs can hold them."""
    return [[re.sub("[\\t\\r\\n]+", " ", field) for field in row] for row in rows]


def one_error(done: Done, *parts: str, code: int = 1) -> None:
    """Exit code, nothing on stdout, one line on stderr that says it."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    lines = done.err.splitlines()
    if code == 1:
        assert len(lines) == 1, done.err
        assert lines[0].startswith("xlstm: error: ")
    for part in parts:
        assert part in lines[-1], lines[-1]


# ---------------------------------------------------------------- train


def test_train_json(run):
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK, "--json")
    values = done.json
    assert set(values) >= {
        "accuracy", "balanced_accuracy", "n_test", "seconds", "device", "kernels", "model", "held_out",
    }  # fmt: skip
    assert values["n_test"] == 24  # a fifth
    assert 0 <= values["accuracy"] <= 1
    assert values["accuracy"] * 24 == pytest.approx(round(values["accuracy"] * 24))
    assert values["device"] == "cpu"
    assert values["seconds"] > 0
    assert (values["model"], values["held_out"]) == ("data.xlstm", "data.held-out.csv")
    assert sorted(file.name for file in Path().iterdir()) == ["data.csv", "data.held-out.csv", "data.xlstm"]


def test_the_accuracy_is_that_of_the_model_on_the_held_out_part(run):
    write("data.csv", table())
    values = run("train", "data.csv", *QUICK, "--json").json
    header, *held_out = rows_of(values["held_out"])
    assert header == ["text", "label"]
    assert len(held_out) == 24
    left = table()
    for text, label in held_out:
        left.remove((text, label))  # each is a row of the data, none twice

    clf = xlstm.load(values["model"])
    truths, predicted = np.array([label for _, label in held_out]), clf.predict([text for text, _ in held_out])
    assert values["accuracy"] == (predicted == truths).mean()
    recalls = [(predicted == truths)[truths == label].mean() for label in sorted(set(truths))]
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls), rel=1e-12)
    again = run("evaluate", values["model"], values["held_out"], "--json").json
    for name in ("accuracy", "balanced_accuracy", "n_test"):
        assert again[name] == values[name]
    # Each class is held out in its proportion.
    for label in "abc":
        share = sum(other == label for _, other in table()) / 120
        assert np.mean(truths == label) == pytest.approx(share, abs=1.01 / 24)


def test_train_for_people(run):
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK)
    assert done.code == 0
    values = run("train", "data.csv", *QUICK, "--json").json
    assert f"accuracy {values['accuracy']:.4f}" in done.out
    assert f"balanced {values['balanced_accuracy']:.4f}" in done.out
    for part in ("24", "data.xlstm", "data.held-out.csv", "cpu", values["kernels"], "xlstm predict data.xlstm"):
        assert part in done.out
    assert "loss" not in done.out


def test_train_on_the_embedded_names(run):
    done = run("train", "--json", "--epochs", "1", "--hidden-size", "4", "--device", "cpu")
    values = done.json
    assert values["n_test"] == 967
    assert (values["model"], values["held_out"]) == ("names.xlstm", "names.held-out.csv")
    assert xlstm.load("names.xlstm").classes_.tolist() == ["female", "male"]
    assert len(rows_of("names.held-out.csv")) == 968


def test_the_first_command_of_all():
    """The process itself: `python -m xlstm train` for one epoch, whatever its settings."""
    with TemporaryDirectory() as folder:
        arguments = [sys.executable, "-m", "xlstm", "train", "--json", "--epochs", "1"]
        # On a machine that is busy with other things, threads that wait for each other take many times as long.
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(arguments, cwd=folder, env=alone, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout)
        assert values["n_test"] == 967
        assert values["accuracy"] > 0.7
        assert (Path(folder) / values["model"]).is_file()
        assert done.stderr


def test_columns_tabs_and_words(run):
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["good", "bad", "film", "very"], 4)) for _ in range(80)]
    rows = [(k, "yes" if text.endswith("good") else "no", text) for k, text in enumerate(words)]
    write("reviews.tsv", rows, ("id", "liked", "review"), "\t")
    values = run("train", "reviews.tsv", "--text", "review", "--label", "liked", "--words", *QUICK, "--json").json
    assert values["n_test"] == 16
    clf = xlstm.load(values["model"])
    assert clf.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(clf.predict_proba([["unheard"]]), clf.predict_proba([["unseen"]]))
    assert values["held_out"] == "reviews.held-out.tsv"
    again = run("evaluate", values["model"], "reviews.held-out.tsv", "--json").json
    assert again["accuracy"] == values["accuracy"]
    whole = run("evaluate", values["model"], "reviews.tsv", "--text", "review", "--label", "liked", "--json").json
    assert whole == run("evaluate", values["model"], "reviews.tsv", "--json").json
    assert whole["n_test"] == 80
    predicted = run("predict", values["model"], "very good", "a bad film", "--json").json["predictions"]
    expected = clf.predict_proba([["very", "good"], ["a", "bad", "film"]])
    assert [row["probabilities"]["yes"] for row in predicted] == pytest.approx(expected[:, 1].tolist())


def test_a_byte_order_mark_is_no_part_of_the_first_column(run):
    Path("data.csv").write_text("\ufefftext,label\n" + "ab,x\nba,y\n" * 5, encoding="utf-8")
    assert run("train", "data.csv", *QUICK, "--json").json["n_test"] == 2


def test_options_reach_the_classifier(run):
    write("data.csv", table())
    options = (
        "--cell", "rnn", "--hidden-size", 5, "--num-layers", 2, "--bidirectional", "--embedding-size", 3, "--dropout",
        0.25, "--epochs", 2, "--batch-size", 16, "--learning-rate", 0.05, "--class-weight", "balanced", "--seed", 7,
    )  # fmt: skip
    values = run("train", "data.csv", *options, "--test-fraction", 0.5, "--out", "other.model", "--json").json
    assert values["n_test"] == 60
    assert (values["model"], values["held_out"]) == ("other.model", "other.model.held-out.csv")
    clf = xlstm.load("other.model")
    given = clf.get_params()
    expected = {
        "cell": "rnn", "hidden_size": 5, "num_layers": 2, "bidirectional": True, "embedding_size": 3, "dropout": 0.25,
        "max_iter": 2, "batch_size": 16, "learning_rate_init": 0.05, "class_weight": "balanced", "random_state": 7,
    }  # fmt: skip
    assert {name: given[name] for name in expected} == expected
    assert clf.n_iter_ == 2


def test_the_seed_decides_everything(run):
    write("data.csv", table())
    results, files = [], []
    for seed in (0, 0, 1):
        values = run("train", "data.csv", *QUICK, "--seed", seed, "--json").json
        values.pop("seconds")
        results.append(values)
        files.append((Path("data.xlstm").read_bytes(), Path("data.held-out.csv").read_bytes()))
    assert results[0] == results[1]
    assert files[0] == files[1]
    assert files[0][0] != files[2][0]
    assert files[0][1] != files[2][1]
    run("train", "data.csv", *QUICK)  # 0 where none is given
    assert Path("data.xlstm").read_bytes() == files[0][0]


def test_training_again_replaces_the_files_whole(run):
    write("data.csv", table())
    Path("data.xlstm").write_text("older")
    Path("data.held-out.csv").write_text("older")
    assert run("train", "data.csv", *QUICK, "--force", "--json").json
    assert xlstm.load("data.xlstm").classes_.tolist() == ["a", "b", "c"]
    assert rows_of("data.held-out.csv")[0] == ["text", "label"]


def test_it_learns(run):
    write("data.csv", table(300)[4:])
    values = run("train", "data.csv", "--hidden-size", 12, "--epochs", 25, "--learning-rate", 0.02, "--json").json
    assert values["accuracy"] >= 0.95


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize("as_json", [True, False])
def test_progress_goes_to_stderr(run, as_json):
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK, *(["--json"] if as_json else []))
    assert done.code == 0
    assert "loss" in done.err
    assert "loss" not in done.out
    assert [line.split(":")[0] for line in done.err.splitlines()] == [f"epoch {k}/3" for k in (1, 2, 3)]
    assert all(line.endswith(" left") for line in done.err.splitlines())
    if as_json:
        assert done.json["n_test"] == 24


def test_nothing_stays_attached_to_the_log(run):
    before = list(logging.getLogger("xlstm").handlers)
    run("devices")
    run("predict", "missing.xlstm", "text")
    assert logging.getLogger("xlstm").handlers == before


# ---------------------------------------------------------------- predict and evaluate


@pytest.fixture
def model(run):
    """A model of last letters, and its data."""
    write("data.csv", table())
    assert run("train", "data.csv", *QUICK, "--json").json
    return "data.xlstm"


def test_predict(run, model):
    texts = ["abc", "ca", "b"]
    done = run("predict", model, *texts)
    clf = xlstm.load(model)
    p = clf.predict_proba(texts)
    assert done.code == 0
    for line, text, label, row in zip(done.out.splitlines(), texts, clf.predict(texts), p, strict=True):
        assert line.split() == [text, label, f"{row.max():.3f}"]

    values = run("predict", model, *texts, "--json").json
    assert [row["text"] for row in values["predictions"]] == texts
    assert [row["label"] for row in values["predictions"]] == clf.predict(texts).tolist()
    for row, expected in zip(values["predictions"], p, strict=True):
        assert list(row["probabilities"]) == ["a", "b", "c"]
        assert list(row["probabilities"].values()) == pytest.approx(expected.tolist())
    assert values["device"] == "cpu"


@pytest.mark.parametrize(
    "arguments",
    [["--json", "MODEL", "ab", "c"], ["MODEL", "--json", "ab", "c"], ["MODEL", "ab", "--device", "cpu", "c", "--json"]],
)
def test_options_of_predict_stand_anywhere(run, model, arguments):
    values = run("predict", *(model if a == "MODEL" else a for a in arguments)).json
    assert [row["text"] for row in values["predictions"]] == ["ab", "c"]


def test_a_text_may_begin_with_a_dash(run, model):
    values = run("predict", "--json", model, "--", "-ab").json
    assert [row["text"] for row in values["predictions"]] == ["-ab"]
    assert "after a --" in run("predict", model, "-ab").err
    assert "unrecognized arguments: ab" in run("devices", "ab").err


@pytest.mark.parametrize("lines", ["abc\nca\n", "abc\r\nca", "abc\nca"])
def test_predict_reads_the_lines_of_stdin(run, model, lines):
    values, expected = (
        run("predict", model, "--json", stdin=lines).json,
        run("predict", model, "abc", "ca", "--json").json,
    )
    for row, other in zip(values["predictions"], expected["predictions"], strict=True):
        assert row.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-6)
    assert values == expected


def test_predict_needs_texts(run, model):
    one_error(run("predict", model, stdin=""), "nothing to classify")
    one_error(run("predict", model, ""), "text 1 is empty")


def test_evaluate(run, model):
    truths = [label for _, label in table()]
    predicted = xlstm.load(model).predict([text for text, _ in table()])
    expected = float(np.mean(predicted == np.array(truths)))
    values = run("evaluate", model, "data.csv", "--json").json
    assert values["accuracy"] == expected
    assert values["n_test"] == 120
    done = run("evaluate", model, "data.csv")
    assert done.code == 0
    assert f"accuracy {expected:.4f}" in done.out
    assert "120" in done.out


def test_labels_that_are_numbers_are_read_as_they_are_written(run):
    texts, letters = truth.last_letter(30, letters="ab")
    y = [int(letter == "b") for letter in letters]
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, random_state=0).fit(texts, y)
    clf.save("numbers.xlstm")
    write("data.csv", zip(texts, y, strict=True))
    assert run("evaluate", "numbers.xlstm", "data.csv", "--json").json["accuracy"] == clf.score(texts, y)
    assert run("predict", "numbers.xlstm", "ab", "--json").json["predictions"][0]["label"] in ("0", "1")


# ---------------------------------------------------------------- what goes wrong


def test_bad_data_is_named(run, model):
    for command in (("train",), ("evaluate", model)):
        one_error(run(*command, "missing.csv"), "missing.csv")
        one_error(run(*command, "."), "'.'")
        one_error(run(*command, "data.csv", "--text", "name"), "'name'", "text, label", "--text")
        one_error(run(*command, "data.csv", "--label", "sex"), "'sex'", "text, label", "--label")
        one_error(run(*command, "data.csv", "--device", "cuda"), "no GPU can be used")
        for content, part in (
            ("", "is empty"),
            ("text,label\n", "no rows"),
            ("text,label\nab,a\n,b\n", "row 2"),
            ("text,label\nab,a\nb\n", "row 2"),
            ("text,label\nab,a\nb,\n", "row 2"),
            ("text;label\nab;a\n", "'text'"),
            ("text;label\nab;a\n", "--delimiter ';'"),
            ("text\tlabel\nab\ta\n", "--delimiter tab"),
            ("x" * 200_000, "bad.csv"),
            ('text,label\n"ab,a\n', "bad.csv"),
        ):
            Path("bad.csv").write_text(content, encoding="utf-8")
            one_error(run(*command, "bad.csv"), part)
        Path("bad.csv").write_bytes(b"text,label\n\xff\xfe,a\n")
        one_error(run(*command, "bad.csv"), "bad.csv", "UTF-8")
        Path("bad.csv").write_bytes(b"text,label\na\0b,a\n" * 5)
        assert run(*command, "bad.csv", "--json").code in (0, 1)  # NUL is text or an error, never a traceback


def test_training_needs_two_classes_and_enough_rows(run):
    write("data.csv", [("ab", "x")] * 10)
    one_error(run("train", "data.csv", *QUICK), "single class, 'x'")
    write("data.csv", [("ab", "x"), ("b", "y")])
    one_error(run("train", "data.csv", *QUICK), "2 rows")
    write("data.csv", [("ab", "x"), ("   ", "y")] * 5)
    done = run("train", "data.csv", "--words", *QUICK)
    assert (done.code, done.out) == (1, "")
    assert [line.split(" of ")[0] for line in done.err.splitlines()] == [
        f"xlstm: error: row {row}" for row in (2, 4, 6, 8, 10)
    ]
    assert [file.name for file in Path().iterdir()] == ["data.csv"]


def test_bad_options_are_named(run):
    write("data.csv", table())
    for option, value, part, code in (
        ("--out", "missing/model.xlstm", "missing", 1),
        ("--test-fraction", -0.1, "--test-fraction", 2),
        ("--test-fraction", "nan", "--test-fraction", 2),
        ("--delimiter", "", "--delimiter", 2),
        ("--delimiter", ";;", "--delimiter", 2),
        ("--delimiter", '"', "--delimiter", 2),
        ("--encoding", "klingon", "klingon", 2),
        ("--encoding", "hex", "hex", 2),
        ("--test-fraction", 1.5, "--test-fraction", 2),
        ("--hidden-size", 0, "--hidden-size", 2),
        ("--epochs", 0, "--epochs", 2),
        ("--batch-size", -1, "--batch-size", 2),
        ("--learning-rate", -1, "--learning-rate", 2),
        ("--dropout", 1, "--dropout", 2),
        ("--device", "tpu", "tpu", 2),
        ("--device", "cuda", "no GPU can be used", 1),
        ("--device", "cuda:1", "no GPU can be used", 1),
    ):
        one_error(run("train", "data.csv", option, value), part, code=code)
        one_error(run("train", "data.csv", option, value, "--json"), part, code=code)
    assert [file.name for file in Path().iterdir()] == ["data.csv"]


def test_what_cannot_be_written_is_said_before_training(run):
    write("data.csv", table())
    Path("folder").mkdir()
    one_error(run("train", "data.csv", *QUICK, "--out", "folder"), "folder")
    assert sorted(file.name for file in Path().iterdir()) == ["data.csv", "folder"]


@pytest.mark.parametrize(("data", "out"), [("data.csv", "data.csv"), ("data.held-out.csv", "data.xlstm")])
def test_the_data_is_never_overwritten(run, data, out):
    """Neither by the model nor by its held-out part."""
    write(data, table())
    before = Path(data).read_bytes()
    done = run("train", data, *QUICK, "--out", out)
    assert Path(data).read_bytes() == before
    one_error(done, data)


def test_wrong_calls_have_exit_code_2(run):
    for arguments, part in (
        ((), "COMMAND"),
        (("fly",), "fly"),
        (("train", "--seed", "-1"), "--seed"),
        (("train", "--seed", "1.5"), "--seed"),
        (("train", "--seed", "x"), "--seed"),
        (("check", "--seed", "x"), "--seed"),
        (("train", "--cell", "transformer"), "transformer"),
        (("train", "--epochs", "many"), "many"),
        (("train", "--unknown"), "--unknown"),
        (("predict",), "model"),
        (("evaluate", "model"), "data"),
        (("devices", "more"), "more"),
    ):
        one_error(run(*arguments), part, code=2)


def test_bad_models_are_named(run, model):
    Path("foreign.xlstm").write_text("text,label\n")
    content = Path(model).read_bytes()
    Path("cut.xlstm").write_bytes(content[:-1])
    Path("damaged.xlstm").write_bytes(content[:200] + b"?" + content[201:])
    for command, after in (("predict", ("ab",)), ("evaluate", ("data.csv",))):
        one_error(run(command, "missing.xlstm", *after), "missing.xlstm")
        one_error(run(command, ".", *after), "'.'")
        one_error(run(command, "foreign.xlstm", *after), "foreign.xlstm", "not a model file")
        one_error(run(command, "cut.xlstm", *after), "cut.xlstm", "truncated")
        one_error(run(command, "damaged.xlstm", *after), "damaged.xlstm", "damaged")
        one_error(run(command, model, *after, "--device", "cuda"), "no GPU can be used")
        one_error(run(command, model, *after, "--device", "gpu"), "gpu", code=2)


def test_labels_the_model_does_not_know_are_named(run, model):
    write("strange.csv", [("ab", "a"), ("b", "zebra")])
    one_error(run("evaluate", model, "strange.csv"), "row 2", "'zebra'")


def test_a_model_of_numbers_is_not_for_texts(run):
    xlstm.SequenceClassifier(hidden_size=2, max_iter=1).fit(*truth.sign_of_sum(10)).save("series.xlstm")
    one_error(run("predict", "series.xlstm", "ab"), "numbers")
    write("data.csv", [("ab", "0"), ("b", "1")])
    one_error(run("evaluate", "series.xlstm", "data.csv"), "numbers")


def test_a_failed_save_leaves_the_older_model(run, model, monkeypatch):
    before = Path(model).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    done = run("train", "data.csv", *QUICK, "--seed", 5)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith("xlstm: error: ")
    assert Path(model).read_bytes() == before


def test_the_text_of_a_long_line_widens_no_other(run, model):
    long = "ab" * 5000
    lines = run("predict", model, "ab", long, "ba").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ab", long, "ba"]
    assert len(lines[0]) < 100 > len(lines[2])
    assert lines[0].rindex("  ") == lines[2].rindex("  ")


def test_the_environment_says_where(run, model, monkeypatch):
    monkeypatch.setenv("XLSTM_DEVICE", "cuda")
    one_error(run("predict", model, "ab"), "no GPU can be used")
    monkeypatch.setenv("XLSTM_DEVICE", "abacus")
    one_error(run("predict", model, "ab"), "XLSTM_DEVICE", "abacus")
    assert run("predict", model, "ab", "--device", "cpu").code == 0


# ---------------------------------------------------------------- words, case, models of older versions


def reviews(n: int = 80) -> list[tuple[str, str]]:
    """Texts of words, and whether the last is good."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["Good", "bad", "film", "very"], 4)) for _ in range(n)]
    return [(text, "yes" if text.endswith("Good") else "no") for text in texts]


def test_a_model_of_words_takes_strings_in_python(run):
    write("data.csv", reviews())
    assert run("train", "data.csv", "--words", *QUICK, "--json").json
    clf = xlstm.load("data.xlstm")
    assert (clf.split, clf.fold_case) == ("words", True)
    texts = ["a Good  film", "very\tbad", "film"]
    expected = xlstm.load("data.xlstm").predict_proba([text.split() for text in texts])
    np.testing.assert_array_equal(clf.predict_proba(texts), expected)
    predicted = run("predict", "data.xlstm", *texts, "--json").json["predictions"]
    assert [list(row["probabilities"].values()) for row in predicted] == expected.tolist()


@pytest.mark.parametrize("words", [True, False])
def test_case_is_kept_where_it_is_asked_for(run, words):
    write("data.csv", reviews())
    options = [*QUICK, "--json", *(["--words"] if words else [])]
    for more, folded in (([], True), (["--keep-case"], False)):
        assert run("train", "data.csv", *options, *more).json
        clf = xlstm.load("data.xlstm")
        assert clf.fold_case is folded
        upper, lower = clf.predict_proba(["Good film", "good film"])
        assert (upper == lower).all() == folded


@pytest.mark.parametrize("name", ["text", "text-cased-rnn-float64", "words-both-directions"])
def test_models_of_older_versions_predict_and_evaluate(run, name):
    """Of words too, though nothing in the file says that strings are cut into words."""
    folder = Path(__file__).parents[1] / "files" / "v1"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]
    texts = [text if isinstance(text, str) else " ".join(text) for text in expected["X"]]
    labels = [str(label) for label in expected["predicted"]]
    predicted = run("predict", folder / f"{name}.xlstm", "--json", "--", *texts).json["predictions"]
    assert [row["label"] for row in predicted] == labels
    p = [[float.fromhex(value) for value in row] for row in expected["probabilities"]["reference"]]
    found = [list(row["probabilities"].values()) for row in predicted]
    np.testing.assert_allclose(found, p, rtol=1e-4)
    write("data.csv", zip(texts, labels, strict=True))
    assert run("evaluate", folder / f"{name}.xlstm", "data.csv", "--json").json["accuracy"] == 1


# ---------------------------------------------------------------- bad rows


BAD = 'text,label\nab,a\n,b\nb,\nc,a,b\n\n"x\ny"\n,,,\nca,c\n'
"""Rows 2 to 6 are bad: in lines 3, 4, 5, 8 (it begins in 7, after a blank line), 9."""


def test_all_bad_rows_are_listed(run, model):
    Path("bad.csv").write_text(BAD)
    for command in (("train",), ("evaluate", model)):
        done = run(*command, "bad.csv", "--json")
        assert (done.code, done.out) == (1, "")
        lines = done.err.splitlines()
        assert len(lines) == 5
        for line, start, part in zip(
            lines,
            ("row 2", "row 3", "row 4", "row 5", "row 6"),
            ("line 3) has an empty 'text'", "line 4) has an empty 'label'", "line 5) has 3 fields, the header 2",
             "line 8) has an empty 'label': it has 1 field,", "line 9) has 4 fields"),
            strict=True,
        ):  # fmt: skip
            assert line.startswith(f"xlstm: error: {start} of bad.csv")
            assert part in line
        assert lines[-1].endswith("--skip-empty leaves rows without a text or a label out")
    assert not Path("bad.xlstm").exists()


@pytest.mark.parametrize("bad", [9, 10, 11, 25])
def test_ten_bad_rows_are_shown_and_the_rest_counted(run, model, bad):
    write("bad.csv", [*table(20), *[("zebra", "zoo")] * bad])
    lines = run("evaluate", model, "bad.csv").err.splitlines()
    assert len(lines) == min(bad, 10) + (bad > 10)
    assert all(
        f"row {row} of bad.csv" in line and "'zoo'" in line for row, line in zip(range(21, 31), lines, strict=False)
    )
    if bad > 10:
        assert lines[-1] == f"xlstm: error: and {bad - 10} more"


def test_empty_rows_are_skipped_and_counted(run):
    good = table()
    write("data.csv", [*good[:50], ("", "a"), ("ab", ""), ("ab", " "), *good[50:], ("", "")])
    write("good.csv", good)
    values = run("train", "data.csv", *QUICK, "--skip-empty", "--json").json
    expected = run("train", "good.csv", *QUICK, "--json").json
    assert (values["skipped"], expected["skipped"]) == (4, 0)
    for name in ("accuracy", "balanced_accuracy", "n_test"):
        assert values[name] == expected[name]
    assert Path("data.xlstm").read_bytes() == Path("good.xlstm").read_bytes()
    assert Path("data.held-out.csv").read_bytes() == Path("good.held-out.csv").read_bytes()
    assert "skipped 4 rows" in run("train", "data.csv", *QUICK, "--skip-empty").out
    assert "skipped" not in run("train", "good.csv", *QUICK).out

    values = run("evaluate", "data.xlstm", "data.csv", "--skip-empty", "--json").json
    expected = run("evaluate", "data.xlstm", "good.csv", "--json").json
    assert (values.pop("skipped"), expected.pop("skipped")) == (4, 0)
    assert values == expected
    assert "skipped 4 rows" in run("evaluate", "data.xlstm", "data.csv", "--skip-empty").out


def test_rows_with_too_many_fields_are_never_skipped(run):
    Path("data.csv").write_text("text,label\n,b\nc,a,b\n")
    one_error(run("train", "data.csv", "--skip-empty"), "row 2", "3 fields")
    write("data.csv", [("", "a")] * 3)
    one_error(run("train", "data.csv", "--skip-empty"), "no rows", "3 without a text or a label")


def test_blank_texts_have_no_words(run):
    write("data.csv", [*reviews(), ("  ", "yes")])
    one_error(run("train", "data.csv", "--words", *QUICK), "row 81", "empty 'text'")
    assert run("train", "data.csv", "--words", "--skip-empty", *QUICK, "--json").json["skipped"] == 1
    assert run("train", "data.csv", "--force", *QUICK, "--json").json["skipped"] == 0  # two spaces are two characters


def test_predict_names_empty_texts_and_goes_on(run, model):
    good = run("predict", model, "ab", "b", "--json").json["predictions"]
    done = run("predict", model, "--json", stdin="ab\n\nb\n\n")
    assert done.code == 1
    assert done.err.splitlines() == [f"xlstm: error: line {k} of standard input is empty" for k in (2, 4)]
    values = json.loads(done.out)
    assert values["predictions"] == good
    assert values["errors"] == [{"row": k, "text": "", "error": f"line {k} of standard input is empty"} for k in (2, 4)]
    assert run("predict", model, "ab", "--json").json["errors"] == []

    done = run("predict", model, "ab", "", "b")
    assert (done.code, done.err) == (1, "xlstm: error: text 2 is empty\n")
    assert [line.split()[:2] for line in done.out.splitlines()] == [[row["text"], row["label"]] for row in good]

    done = run("predict", model, "--format", "jsonl", stdin="ab\n\nb\n")
    assert done.code == 1
    first, second, third = map(json.loads, done.out.splitlines())
    assert [first, third] == good
    assert second == {"row": 2, "text": "", "error": "line 2 of standard input is empty"}

    done = run("predict", model, "--format", "tsv", stdin="ab\n\nb\n")
    assert done.code == 1
    rows = list(csv.reader(io.StringIO(done.out), delimiter="\t"))
    assert rows[2] == ["", "", "", "line 2 of standard input is empty"]
    assert [row[:2] for row in rows[1::2]] == [[row["text"], row["label"]] for row in good]


# ---------------------------------------------------------------- the held-out file


def wide(n: int = 120) -> list[list[str]]:
    """Rows of four columns, with all that makes CSV hard."""
    hard = ["", "a;b,c\td", 'say "x"', "two\nlines", "two\r\nlines", " padded ", "ünï", "'"]
    return [[str(k), label, hard[k % len(hard)], text] for k, (text, label) in enumerate(table(n))]


@pytest.mark.parametrize(
    ("delimiter", "flag", "data", "held_out"),
    [
        (",", [], "data.csv", "data.held-out.csv"),
        (";", ["--delimiter", ";"], "data.csv", "data.held-out.csv"),
        ("|", ["--delimiter", "|"], "data.txt", "data.held-out.csv"),
        ("\t", [], "data.tsv", "data.held-out.tsv"),
        ("\t", ["--delimiter", "tab"], "data.csv", "data.held-out.tsv"),
        ("\t", ["--delimiter", "\\t"], "data.txt", "data.held-out.tsv"),
    ],
)
def test_the_held_out_file_is_rows_of_the_data(run, delimiter, flag, data, held_out):
    header = ("id", "the label", "more", "the text")
    written = on_a_line(wide()) if delimiter == "\t" else wide()
    write(data, written, header, delimiter)
    columns = ("--text", "the text", "--label", "the label")
    values = run("train", data, *columns, *flag, *QUICK, "--json").json
    assert values["held_out"] == held_out
    with open(held_out, encoding="utf-8", newline="") as file:
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        found, *rows = csv.reader(file, delimiter=delimiter, quoting=quoting)
    assert tuple(found) == header
    assert len(rows) == 24
    numbers = [int(row[0]) for row in rows]
    assert numbers == sorted(numbers)  # in the order of the data
    assert rows == [written[k] for k in numbers]
    # Without flags it is read as the data was; so are other files like it.
    again = run("evaluate", values["model"], held_out, "--json").json
    for name in ("accuracy", "balanced_accuracy", "recall", "n_test"):
        assert again[name] == values[name]
    assert run("evaluate", values["model"], data, "--json").json["n_test"] == 120
    predicted = run("predict", values["model"], "--data", data, "--json").json["predictions"]
    assert [row["text"] for row in predicted] == [row[3] for row in written]
    # What is named counts more than what is remembered.
    one_error(run("evaluate", values["model"], data, "--text", "other"), "'other'")


def test_a_model_that_remembers_other_columns_says_so(run, model):
    write("other.csv", table(), ("review", "liked"))
    one_error(run("evaluate", model, "other.csv"), "'text'", "review, liked", "--text")
    assert run("evaluate", model, "other.csv", "--text", "review", "--label", "liked", "--json").json["n_test"] == 120


def test_a_model_remembers_its_table_on_every_road(run, model, tmp_path):
    clf = xlstm.load(model)
    expected = clf.fitted_state().table
    assert expected[:3] == ("text", "label", ",")
    clf.partial_fit(["ab"], ["b"]).to("cpu").save("again.xlstm")
    assert xlstm.load("again.xlstm").fitted_state().table == expected
    assert xlstm.SequenceClassifier(max_iter=1).fit(["a", "b"], ["x", "y"]).fitted_state().table is None


def test_training_again_needs_no_flags(run):
    """With other settings, another seed, more data: it replaces what it wrote itself."""
    for n, *options in ((120,), (120,), (120, "--seed", 1), (90, "--test-fraction", 0.5), (90, "--seed", 3)):
        write("data.csv", table(n))
        values = run("train", "data.csv", *QUICK, *options, "--json").json
        assert len(rows_of("data.held-out.csv")) == 1 + values["n_test"]
    assert run("train", "data.csv", *QUICK, "--test-fraction", 0).code == 0
    assert len(rows_of("data.held-out.csv")) == 1 + values["n_test"]
    assert run("train", "data.csv", *QUICK, "--seed", 4).code == 0
    assert run("train", "data.csv", *QUICK, "--seed", 3).code == 0
    Path("data.xlstm").unlink()  # nothing is known of the file then; but the rows are the same
    assert run("train", "data.csv", *QUICK, "--seed", 3, "--json").code == 0
    assert run("train", *QUICK).code == 0
    assert run("train", *QUICK, "--seed", 1).code == 0


@pytest.mark.parametrize("changed", [True, False])
def test_a_held_out_file_of_the_users_is_never_replaced(run, changed):
    write("data.csv", table())
    if changed:  # by the user, since xlstm wrote it
        assert run("train", "data.csv", *QUICK).code == 0
        with open("data.held-out.csv", "a") as file:
            file.write("mine,a\n")
    else:
        Path("data.held-out.csv").write_text("mine")
    before = {file.name: file.read_bytes() for file in Path().iterdir()}
    done = run("train", "data.csv", *QUICK, "--seed", 1)
    one_error(done, "data.held-out.csv", "--held-out FILE", "--force")
    assert {file.name: file.read_bytes() for file in Path().iterdir()} == before

    values = run("train", "data.csv", *QUICK, "--held-out", "other.csv", "--json").json
    assert values["held_out"] == "other.csv"
    assert Path("data.held-out.csv").read_bytes() == before["data.held-out.csv"]
    assert run("evaluate", "data.xlstm", "other.csv", "--json").json["accuracy"] == values["accuracy"]
    assert run("train", "data.csv", *QUICK, "--held-out", "other.csv", "--seed", 1).code == 0
    one_error(run("train", "data.csv", *QUICK), "data.held-out.csv")
    assert run("train", "data.csv", *QUICK, "--force").code == 0
    assert rows_of("data.held-out.csv")[0] == ["text", "label"]
    assert run("train", "data.csv", *QUICK, "--seed", 4).code == 0


def test_the_held_out_file_is_none_of_the_others(run):
    write("data.csv", table())
    before = Path("data.csv").read_bytes()
    for held_out, part in (
        ("data.csv", "overwrite the data"), ("data.xlstm", "two files"), ("missing/held-out.csv", "missing"),
        (".", "'"),
    ):  # fmt: skip
        one_error(run("train", "data.csv", *QUICK, "--held-out", held_out, "--force"), part)
    assert [file.name for file in Path().iterdir()] == ["data.csv"]
    assert Path("data.csv").read_bytes() == before


def test_training_on_all_rows(run):
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK, "--test-fraction", 0, "--json")
    values = done.json
    assert (values["n_test"], values["held_out"], values["accuracy"], values["recall"]) == (0, None, None, None)
    assert sorted(file.name for file in Path().iterdir()) == ["data.csv", "data.xlstm"]
    texts, labels = zip(*table(), strict=True)
    clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=3, random_state=0).fit(list(texts), list(labels))
    np.testing.assert_array_equal(xlstm.load("data.xlstm").predict_proba(list(texts)), clf.predict_proba(list(texts)))
    done = run("train", "data.csv", *QUICK, "--test-fraction", 0)
    assert "all rows" in done.out
    assert "accuracy" not in done.out
    assert "on 120 texts" in done.out
    one_error(run("train", "data.csv", "--test-fraction", 0, "--held-out", "x.csv"), "--held-out", code=2)


# ---------------------------------------------------------------- where texts come from


def test_the_data_may_come_from_standard_input(run):
    write("data.csv", table())
    content = Path("data.csv").read_bytes()
    expected = run("train", "data.csv", *QUICK, "--json").json
    values = run("train", "-", *QUICK, "--json", stdin=content).json
    assert (values["model"], values["held_out"]) == ("stdin.xlstm", "stdin.held-out.csv")
    assert Path("stdin.held-out.csv").read_bytes() == Path("data.held-out.csv").read_bytes()
    assert values["accuracy"] == expected["accuracy"]
    whole = run("evaluate", "data.xlstm", "data.csv", "--json").json
    assert run("evaluate", "stdin.xlstm", "-", "--json", stdin=gzip.compress(content)).json == whole
    one_error(run("train", "-", stdin=b"text,label\nab\n"), "row 1 of standard input")
    one_error(run("train", "-"), "standard input is empty")


@pytest.mark.parametrize(("name", "delimiter"), [("data.csv.gz", ","), ("data.tsv.gz", "\t")])
def test_packed_data(run, name, delimiter):
    suffix = name.split(".")[1]
    write("plain", on_a_line(table()) if delimiter == "\t" else table(), delimiter=delimiter)
    Path(name).write_bytes(gzip.compress(Path("plain").read_bytes()))
    values = run("train", name, *QUICK, "--json").json
    assert (values["model"], values["held_out"]) == ("data.xlstm", f"data.held-out.{suffix}")
    assert run("evaluate", "data.xlstm", name, "--json").json["n_test"] == 120
    assert run("evaluate", "data.xlstm", values["held_out"], "--json").json["accuracy"] == values["accuracy"]
    Path(name).write_bytes(Path(name).read_bytes()[:-9])
    one_error(run("train", name, *QUICK), name, "damaged")


def test_other_encodings(run):
    rows = [(text.replace("a", "é"), label) for text, label in table() if text.isascii()]
    write("utf8.csv", rows)
    text = Path("utf8.csv").read_bytes().decode()
    Path("data.csv").write_bytes(text.encode("latin-1"))
    one_error(
        run("train", "data.csv", *QUICK), "data.csv is not UTF-8", "line ", "save the file as UTF-8", "--encoding"
    )
    expected = run("train", "utf8.csv", *QUICK, "--json").json
    values = run("train", "data.csv", "--encoding", "latin-1", *QUICK, "--json").json
    assert values["accuracy"] == expected["accuracy"]
    assert Path("data.xlstm").read_bytes() == Path("utf8.xlstm").read_bytes()
    assert run("evaluate", "data.xlstm", "data.held-out.csv", "--json").json["accuracy"] == values["accuracy"]
    whole = run("evaluate", "data.xlstm", "utf8.csv", "--json").json
    assert run("evaluate", "data.xlstm", "data.csv", "--encoding", "ISO-8859-1", "--json").json == whole
    assert (
        run("evaluate", "data.xlstm", "-", "--encoding", "utf-16", "--json", stdin=text.encode("utf-16")).json == whole
    )
    one_error(run("train", "data.csv", "--encoding", "utf-16"), "data.csv is not utf-16", "BOM", "--encoding")
    predicted = run("predict", "data.xlstm", "é", "--json").json
    assert run("predict", "data.xlstm", "--encoding", "latin-1", "--json", stdin=b"\xe9\n").json == predicted
    one_error(run("predict", "data.xlstm", stdin=b"\xe9\n"), "standard input is not UTF-8", "line 1", "--encoding")
    assert run("predict", "data.xlstm", "--json", stdin="\ufeffé\n").json == predicted  # a byte order mark is no text
    Path("lines.txt").write_text("\ufeffé\n", encoding="utf-8")
    assert run("predict", "data.xlstm", "--lines", "lines.txt", "--json").json == predicted
    assert run("predict", "data.xlstm", "--encoding", "UTF8", "--json", stdin="\ufeffé\n").json == predicted
    assert (
        run("predict", "data.xlstm", "--encoding", "utf-16", "--json", stdin="é\n".encode("utf-16")).json == predicted
    )
    assert run("predict", "data.xlstm", "--data", "-", "--json", stdin="\ufefftext\né\n").json == predicted


def test_a_column_may_be_predicted(run, model):
    texts = ["ab", "two\nlinesc", "", "b", 'say "a"']
    expected = run("predict", model, *[text for text in texts if text], "--json").json["predictions"]
    write("new.csv", [(k, text) for k, text in enumerate(texts)], ("id", "text"))
    done = run("predict", model, "--data", "new.csv", "--json")
    assert (done.code, done.err) == (1, "xlstm: error: row 3 of new.csv (it ends in line 5) is empty\n")
    values = json.loads(done.out)
    assert values["predictions"] == expected
    assert values["errors"] == [{"row": 3, "text": "", "error": "row 3 of new.csv (it ends in line 5) is empty"}]
    assert "two\\nlinesc" in run("predict", model, "--data", "new.csv").out
    written = [text.replace("\n", " ") for text in texts if text]
    expected = run("predict", model, *written, "--json").json["predictions"]
    write("other.tsv", [(text, k) for k, text in enumerate(written)], ("review", "id"), "\t")
    assert run("predict", model, "--data", "other.tsv", "--text", "review", "--json").json["predictions"] == expected
    piped = run("predict", model, "--data", "-", "--text", "review", "--delimiter", "tab", "--json",
                stdin=Path("other.tsv").read_bytes())  # fmt: skip
    assert piped.json["predictions"] == expected
    one_error(run("predict", model, "--data", "other.tsv"), "no column 'text'", "review, id", "--text")
    one_error(run("predict", model, "--data", "missing.csv"), "missing.csv")
    Path("bad.csv").write_text("text,label\nab\nb,a,c\nca,x\n")
    done = run("predict", model, "--data", "bad.csv")
    assert done.code == 1
    assert "row 2 of bad.csv (it ends in line 3) has 3 fields" in done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["ab", "ca"]


def test_wrong_ways_to_say_what_is_predicted(run, model):
    for arguments, part in (
        (("ab", "--data", "data.csv"), "texts among the arguments and --data"),
        (("--lines", "a.txt", "--data", "data.csv"), "--lines and --data"),
        (("ab", "--lines", "a.txt"), "texts among the arguments and --lines"),
        (("ab", "--text", "review"), "--data"),
        (("--delimiter", ";"), "--data"),
        (("ab", "--json", "--format", "jsonl"), "--format"),
        (("ab", "--format", "xml"), "xml"),
    ):
        one_error(run("predict", model, *arguments), part, code=2)
    one_error(run("train", "--text", "review"), "--text", code=2)
    one_error(run("train", "--skip-empty"), "--skip-empty", code=2)


def test_the_forms_of_answers(run, model):
    texts = ["ab", "bc", 'c "x"\tb']
    p = xlstm.load(model).predict_proba(texts)
    done = run("predict", model, *texts, "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows == run("predict", model, *texts, "--json").json["predictions"]
    assert [list(row["probabilities"].values()) for row in rows] == p.tolist()
    done = run("predict", model, *texts, "--format", "tsv")
    header, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert header == ["text", "label", "probability", "note"]
    assert [row[0] for row in rows] == [text.replace("\t", "\\t") for text in texts]
    assert [row[1] for row in rows] == xlstm.load(model).predict(texts).tolist()
    assert [float(row[2]) for row in rows] == pytest.approx(p.max(axis=1).tolist(), rel=1e-5)
    assert run("predict", model, *texts, "--format", "text").out == run("predict", model, *texts).out
    # It is a table that xlstm reads.
    Path("answers.tsv").write_text(done.out)
    assert run("evaluate", model, "answers.tsv", "--json").json["accuracy"] == 1


def test_lines_of_a_file_and_answers_in_a_file(run, model):
    texts = [f"{'abc' * (k % 5)}{'abc'[k % 3]}" for k in range(3000)]
    Path("lines.txt").write_text("\r\n".join(texts), encoding="utf-8")
    with gzip.open("lines.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(texts))
    for form in ("text", "jsonl", "tsv", "csv"):
        expected = run("predict", model, "--format", form, stdin="\n".join(texts)).out
        assert run("predict", model, "--lines", "lines.txt", "--format", form).out == expected
        packed = run("predict", model, "--lines", "lines.gz", "--format", form).out.splitlines()
        assert [line[:20] for line in packed] == [line[:20] for line in expected.splitlines()]  # blocks may be others
        # The form is that of the name, or as told; what was there is replaced.
        Path(f"answers.{form}").write_text("older")
        done = run("predict", model, "--lines", "lines.txt", "--out", f"answers.{form}")
        assert done == Done(0, "", "")
        assert Path(f"answers.{form}").read_bytes().decode() == expected
        assert run("predict", model, "--lines", "lines.txt", "--format", form, "--out", "answers").code == 0
        assert Path("answers").read_bytes().decode() == expected
    rows = list(csv.reader(io.StringIO(run("predict", model, "a,b", 'say "a', "--format", "csv").out)))
    assert [row[0] for row in rows] == ["text", "a,b", 'say "a']
    one_error(run("predict", model, "--lines", "missing.txt"), "missing.txt")
    before = Path("lines.txt").read_bytes()
    one_error(run("predict", model, "--lines", "lines.txt", "--out", "lines.txt"), "would overwrite lines.txt", "--out")
    one_error(run("predict", model, "ab", "--out", model), f"would overwrite {model}")
    one_error(run("predict", model, "--data", "data.csv", "--out", "data.csv"), "would overwrite data.csv")
    one_error(run("predict", model, "ab", "--out", "no/folder.csv"), "no/folder.csv")
    assert Path("lines.txt").read_bytes() == before


def test_no_answers_leave_the_older_file(run, model):
    Path("answers.csv").write_text("older")
    Path("latin.txt").write_bytes(b"ab\n" * 50_000 + b"\xe9\n")
    one_error(run("predict", model, "--lines", "latin.txt", "--out", "answers.csv"), "line 50001")
    one_error(run("predict", model, "--out", "answers.csv", stdin=""), "nothing to classify")
    assert Path("answers.csv").read_text() == "older"
    assert not list(Path().glob(".xlstm*"))


def test_a_text_that_is_the_name_of_a_file_is_a_text(run, model):
    done = run("predict", model, "data.csv")
    assert (done.code, done.out.split()[0]) == (0, "data.csv")
    assert done.err.startswith("xlstm: note: 'data.csv' is the text")


def test_a_line_of_a_million_characters(run, model):
    line = "abc" * 333_333 + "b"
    done = run("predict", model, "--format", "jsonl", stdin=f"ab\n{line}\nb")
    assert done.code == 0
    rows = [json.loads(row) for row in done.out.splitlines()]
    assert [row["text"] for row in rows] == ["ab", line, "b"]
    expected = run("predict", model, "--json", "ab", "b").json["predictions"]
    for row, alone in zip(rows[::2], expected, strict=True):
        assert row["label"] == alone["label"]


def test_memory_does_not_grow_with_the_lines(run, model):
    """What is held of all lines is what is held of the blocks in which they are answered."""
    program = (
        "import sys, tracemalloc; from xlstm.cli import main; tracemalloc.start(); "
        "code = main(['predict', sys.argv[1], '--lines', sys.argv[2], '--out', 'answers.jsonl']); "
        "print(tracemalloc.get_traced_memory()[1]); sys.exit(code)"
    )
    peaks = []
    for rows in (12_000, 36_000):
        Path("lines.txt").write_text("abcabcabcabcabcabc\n" * rows)
        done = subprocess.run(
            [sys.executable, "-c", program, model, "lines.txt"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_texts_of_which_nothing_is_known_are_marked(run):
    write("data.csv", reviews())
    assert run("train", "data.csv", "--words", *QUICK, "--json").json
    texts = ["GOOD film", "nothing of it", "an unknown film", "quite"]
    unknown = [False, True, False, True]
    values = run("predict", "data.xlstm", *texts, "--json").json
    assert [row["unknown"] for row in values["predictions"]] == unknown
    lines = run("predict", "data.xlstm", *texts).out.splitlines()
    assert [line.endswith("(no token of it is known)") for line in lines] == unknown
    rows = run("predict", "data.xlstm", *texts, "--format", "jsonl").out.splitlines()
    assert [json.loads(row)["unknown"] for row in rows] == unknown
    rows = run("predict", "data.xlstm", *texts, "--format", "tsv").out.splitlines()[1:]
    assert [bool(row.split("\t")[3]) for row in rows] == unknown
    assert run("train", "data.csv", "--words", "--keep-case", *QUICK, "--json").json
    predicted = run("predict", "data.xlstm", "Good", "GOOD", "--json").json["predictions"]
    assert [row["unknown"] for row in predicted] == [False, True]


# ---------------------------------------------------------------- pipes


@contextlib.contextmanager
def piped(*arguments: str) -> Any:
    """A process whose lines are written and read one by one."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("PYTHONUNBUFFERED", None)  # it would hide answers that are held back
    command = [sys.executable, "-m", "xlstm", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        watch = threading.Timer(60, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


@pytest.mark.parametrize("form", ["text", "jsonl", "tsv"])
@pytest.mark.parametrize("table_too", [False, True])
def test_a_line_is_answered_before_the_next_one_comes(run, model, form, table_too):
    expected = {
        row["text"]: row["label"] for row in run("predict", model, "ab", "bc", "cü", "--json").json["predictions"]
    }
    with piped(
        "predict", model, "--format", form, "--device", "cpu", *(["--data", "-"] if table_too else [])
    ) as process:
        if table_too:
            process.stdin.write(b"id,text\n")
            process.stdin.flush()
        for k, (text, label) in enumerate(expected.items()):
            process.stdin.write(f"{k},{text}\n".encode() if table_too else f"{text}\n".encode())
            process.stdin.flush()
            if form == "tsv" and k == 0:
                assert process.stdout.readline().split() == [b"text", b"label", b"probability", b"note"]
            line = process.stdout.readline().decode()
            if form == "jsonl":
                assert (json.loads(line)["text"], json.loads(line)["label"]) == (text, label)
            else:
                assert line.split()[:2] == [text, label]
        process.stdin.write(b'3,""\n' if table_too else b"\n")
        process.stdin.flush()
        where = "row 4 of standard input (it ends in line 5)" if table_too else "line 4 of standard input"
        assert process.stderr.readline().decode().rstrip() == f"xlstm: error: {where} is empty"
        process.stdin.close()
        assert process.wait(30) == 1


def test_many_lines_are_answered_in_their_order(run, model):
    """More than are read at a time."""
    texts = [f"{'abc' * (k % 5)}{'abc'[k % 3]}" for k in range(20_000)]
    lines = run("predict", model, "--format", "jsonl", stdin="\n".join(texts)).out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts
    labels = xlstm.load(model).predict(texts).tolist()
    assert [json.loads(line)["label"] for line in lines] == labels
    values = run("predict", model, "--json", stdin="\n".join(texts)).json
    assert [row["label"] for row in values["predictions"]] == labels


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
def test_a_broken_pipe_and_ctrl_c_end_a_prediction_without_a_traceback(run, model):
    with piped("predict", model, "--device", "cpu") as process:
        process.stdin.write(b"ab\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"ab")
        process.stdout.close()
        process.stdin.write(b"ab\n")
        process.stdin.flush()
        assert process.wait(30) == 1
        assert process.stderr.read() == b""
    with piped("predict", model, "--device", "cpu") as process:
        process.stdin.write(b"ab\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"ab")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"xlstm: interrupted\n"


# ---------------------------------------------------------------- early stopping and weights of classes


def test_early_stopping(run):
    write("data.csv", table())
    values = run("train", "data.csv", "--hidden-size", 4, "--epochs", 60, "--early-stopping", "--json").json
    clf = xlstm.load(values["model"])
    assert clf.early_stopping is True
    assert clf.n_iter_ == len(clf.validation_scores_) <= 60
    assert xlstm.load(run("train", "data.csv", *QUICK, "--json").json["model"]).early_stopping is False


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["balanced"], "balanced"),
        (["a=1.5"], {"a": 1.5}),
        (["a=1.5,b=0,c=1e-3"], {"a": 1.5, "b": 0.0, "c": 1e-3}),
        (["a=2", "c=3,b=1"], {"a": 2.0, "c": 3.0, "b": 1.0}),
    ],
)
def test_class_weights_reach_the_classifier(run, given, expected):
    write("data.csv", table())
    flags = [part for weight in given for part in ("--class-weight", weight)]
    assert run("train", "data.csv", *QUICK, *flags, "--json").json
    assert xlstm.load("data.xlstm").class_weight == expected
    texts, labels = zip(*table(), strict=True)
    run("train", "data.csv", *QUICK, *flags, "--test-fraction", 0)
    clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=3, random_state=0, class_weight=expected)
    clf.fit(list(texts), list(labels))
    np.testing.assert_array_equal(xlstm.load("data.xlstm").predict_proba(list(texts)), clf.predict_proba(list(texts)))


def test_labels_with_commas_and_equals_signs_have_weights(run):
    labels = {"a": "x,y", "b": "1=2", "c": "c=d,e"}
    write("data.csv", [(text, labels[label]) for text, label in table()])
    assert run("train", "data.csv", *QUICK, "--class-weight", "x,y=2,1=2=3,c=d,e=4", "--json").json
    assert xlstm.load("data.xlstm").class_weight == {"x,y": 2.0, "1=2": 3.0, "c=d,e": 4.0}


def test_wrong_class_weights_are_named(run):
    write("data.csv", table())
    for given, part in (
        (["a"], "'a'"), (["a="], "'a='"), (["=1"], "'=1'"), (["a=-1"], "'a=-1'"), (["a=nan"], "nan"),
        (["a=inf"], "inf"), (["a=1,b"], "'a=1,b'"), (["a=1,a=2"], "two weights"),
        (["a=1", "a=2"], "two weights"), ([""], "LABEL=WEIGHT"),
        (["balanced", "a=1"], "alone"), (["a=1", "balanced"], "alone"), (["Balanced"], "LABEL=WEIGHT"),
    ):  # fmt: skip
        flags = [part for weight in given for part in ("--class-weight", weight)]
        one_error(run("train", "data.csv", *flags), "--class-weight", part, code=2)
    one_error(run("train", "data.csv", "--class-weight", "z=1"), "'z'", "'a', 'b', 'c'")  # no class of the data
    assert [file.name for file in Path().iterdir()] == ["data.csv"]


# ---------------------------------------------------------------- warnings


def test_warnings_of_the_library_are_one_line(run, monkeypatch):
    right = xlstm.SequenceClassifier.fit

    def fit(self: Any, *arguments: Any, **more: Any) -> Any:
        for _ in range(2):
            warnings.warn("the training did not\nconverge: more epochs", stacklevel=1)
        return right(self, *arguments, **more)

    monkeypatch.setattr(xlstm.SequenceClassifier, "fit", fit)
    write("data.csv", table())
    shown = warnings.showwarning
    done = run("train", "data.csv", *QUICK, "--json")
    assert done.json
    lines = [line for line in done.err.splitlines() if "converge" in line]
    assert lines == ["xlstm: warning: the training did not converge: more epochs"]
    assert "UserWarning" not in done.err
    assert warnings.showwarning is shown


# ---------------------------------------------------------------- devices, check, bench


def test_devices(run):
    with machine(distributions=()):
        values = run("devices", "--json").json
        done = run("devices")
    assert values["used"] == "cpu"
    assert [(entry["device"], entry["usable"]) for entry in values["devices"]] == [("cpu", True), ("cuda", False)]
    assert "numpy" in values["devices"][0]["library"]
    assert "pip install" in values["devices"][1]["detail"]
    assert done.code == 0
    assert any(line.startswith("cpu:") for line in done.out.splitlines())
    assert any(line.startswith("cuda:") and "pip install" in line for line in done.out.splitlines())


def test_devices_with_gpus(run):
    with machine(devices=2):
        values = run("devices", "--json").json
        assert [(entry["device"], entry["usable"]) for entry in values["devices"]] == [
            ("cpu", True), ("cuda:0", True), ("cuda:1", True),
        ]  # fmt: skip
        assert run("devices").code == 0


def test_devices_tell_a_device_that_cannot_be_used_from_one_that_is_none(run, monkeypatch):
    for wanted, told in (
        ("cuda", "which cannot be used here (see above)"),
        ("cuda:7", "which cannot be used here (see above)"),
        ("gpu", "which is none of these: set it to auto, cpu, cuda or cuda:N. Did you mean 'cuda'?"),
        ("abacus", "which is none of these: set it to auto, cpu, cuda or cuda:N"),
    ):
        with machine(driver=False), monkeypatch.context() as patch:
            patch.setenv("XLSTM_DEVICE", wanted)
            last = run("devices").out.splitlines()[-1]
        assert last.startswith(f"XLSTM_DEVICE is {wanted!r}, {told}")


def test_check_names_what_it_could_not_check(run, monkeypatch):
    report = SimpleNamespace(entries=[SimpleNamespace(error=1.5e-10)] * 3)
    monkeypatch.setattr(gradcheck, "check_gradients", lambda *_, **__: report)
    with machine(driver=False):
        done = run("check")
        values = run("check", "--json").json
    *_, left_out, last = done.out.splitlines()
    assert done.code == 0
    assert left_out.startswith("not checked: cuda: no GPU can be used: CuPy 14.2.0 found no working NVIDIA driver.")
    assert last == "all gradients on cpu agree with finite differences"
    ((device, reason),) = [tuple(entry.values()) for entry in values["not_checked"]]
    assert left_out == f"not checked: {device}: {reason}"
    with machine(distributions=()):  # nobody expects a GPU there
        assert "not checked" not in run("check").out
    with machine(driver=False):
        assert "not checked" not in run("check", "--device", "cpu").out
    assert "default: every device of this machine" in " ".join(run("check", "--help").out.split())


def test_small_work_on_the_cpu_is_no_notice(run):
    write("data.csv", table())
    with machine(devices=1):
        quick = [argument for argument in QUICK if argument not in ("--device", "cpu")]
        assert "using the CPU" not in run("train", "data.csv", *quick).err
        assert "using the CPU" not in run("predict", "data.xlstm", "abc").err


def test_train_tells_a_precision_that_is_not_the_usual_one(run):
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK, "--precision", "float16")
    assert "precision: float16" in done.out.splitlines()
    assert "precision:" not in run("train", "data.csv", *QUICK).out
    assert run("train", "data.csv", *QUICK, "--precision", "high", "--json").json["precision"] == "high"


def test_check(run):
    values = run("check", "--json", "--device", "cpu", "--seed", 3).json
    assert values["passed"] is True
    assert len(values["checks"]) >= 4
    assert all(row["passed"] and row["error"] < 1e-6 for row in values["checks"])
    assert {row["device"] for row in values["checks"]} == {"cpu"}
    one_error(run("check", "--device", "cuda"), "no GPU can be used")


def test_check_for_people(run, monkeypatch):
    report = SimpleNamespace(entries=[SimpleNamespace(error=1.5e-10)] * 3)
    monkeypatch.setattr(gradcheck, "check_gradients", lambda *_, **__: report)
    done = run("check", "--device", "cpu")
    assert done.code == 0
    assert "3 gradients, largest error 1.5e-10" in done.out
    assert "agree" in done.out.splitlines()[-1]


def test_check_fails_where_a_gradient_is_wrong(run, monkeypatch):
    right_backward, right_check = rnn.CELL.backward, gradcheck.check_gradients

    def wrong_backward(*arguments: Any, **options: Any) -> Any:
        dx, d_state, d_params = right_backward(*arguments, **options)
        d_params["bias"][...] *= 2
        return dx, d_state, d_params

    def check_rnns(layer: Any, **options: Any) -> Any:  # the others take seconds, and are checked above
        quick = SimpleNamespace(entries=[SimpleNamespace(error=0.0)])
        return right_check(layer, **options) if isinstance(layer, xlstm.RNN) else quick

    monkeypatch.setattr(backends.cpu, "target", None)  # the reference is what is made wrong
    monkeypatch.setattr(backends.notices, "said", {"no kernels": None})
    monkeypatch.setattr(rnn.CELL, "backward", wrong_backward)
    monkeypatch.setattr(gradcheck, "check_gradients", check_rnns)
    done = run("check", "--device", "cpu")
    assert done.code == 1
    assert "WRONG" in done.out
    assert "bias_l0" in done.out
    assert done.err == ""
    done = run("check", "--device", "cpu", "--json")
    assert done.code == 1
    values = json.loads(done.out)
    assert values["passed"] is False
    assert {row["passed"] for row in values["checks"]} == {True, False}


def test_bench(run, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", ((2, 3, 4, 5), (1, 2, 3, 4)))
    monkeypatch.setattr(bench, "interleaved", lambda functions: {name: [1e-3, 2e-3, 9.0] for name in functions})
    done = run("bench", "--json", "--device", "cpu")
    values = done.json
    paths = bench.paths("cpu")
    assert [row["size"] for row in values["rows"]] == [[2, 3, 4, 5]] * len(paths) + [[1, 2, 3, 4]] * len(paths)
    for row in values["rows"]:
        assert (row["device"], row["forward_ms"], row["training_step_ms"]) == ("cpu", 2.0, 2.0)
        assert row["kernels"]
        assert row["error"] < 5e-6
    assert values["machine"]["numpy"] == np.__version__
    assert values["crossing"] is None
    assert done.err
    done = run("bench", "--device", "cpu")
    assert "2, 3, 4, 5" in done.out
    assert "2.00 ms" in done.out
    one_error(run("bench", "--device", "cuda"), "no GPU can be used")
    one_error(run("bench", "--device", "cpu", "--plot", "times.gif"), "a picture's name ends with")
    if importlib.util.find_spec("matplotlib"):
        done = run("bench", "--device", "cpu", "--plot", "times.svg")
        assert done.out.rstrip().endswith("drawn: times.svg")
        assert Path("times.svg").read_bytes().startswith(b"<?xml")


def test_bench_names_the_device_that_auto_stands_for(run, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", ((2, 3, 4, 5),))
    monkeypatch.setattr(bench, "interleaved", lambda functions: {name: [1e-3] for name in functions})
    assert run("bench", "--json", "--device", "auto").json["rows"][0]["device"] == "cpu"


def test_bench_keeps_what_auto_goes_by(run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setattr(bench, "SIZES", ((2, 3, 4, 5), (4, 3, 4, 5)))
    milliseconds = {"cpu": 5.0, "cuda:0": 1.0}
    monkeypatch.setattr(
        bench, "interleaved", lambda functions: {name: [1e-3 * milliseconds[name[0]]] for name in functions}
    )
    assert run("bench", "--save", "--device", "cpu").code == 2
    with machine(distributions=()):
        one_error(run("bench", "--save"), "there is no crossing point to save: no GPU can be used")
    assert not (tmp_path / "configuration").exists()
    with machine(devices=1):
        values = run("bench", "--save", "--json").json
        kept = backends.crossing.path()
        assert values["saved"] == str(kept)
        assert values["crossing"]["flops_per_step"] == 2 * 2 * 4 * 5 * 9
        assert run("bench", "--save").out.splitlines()[-1] == f"saved: {kept}"
        assert run("devices", "--json").json["auto"] == {"flops_per_step": 720, "measured": True}
        assert (
            f"takes the GPU for work of 0.00072 million operations a step or more, the CPU for less (as measured here: "
            f"{kept})" in run("devices").out
        )
        milliseconds["cuda:0"] = 9.0
        assert run("bench", "--save", "--json").json["crossing"]["flops_per_step"] is None
        assert "'auto' takes the CPU for work of any size (as measured here" in run("devices").out
        assert run("devices", "--json").json["auto"] == {"flops_per_step": None, "measured": True}
        assert run("devices", "--json").json["used"] == "cpu"
        kept.unlink()
        assert (
            "10 million operations a step or more, the CPU for less (an estimate: see bench --save)"
            in run("devices").out
        )
    assert run("devices", "--json").json["auto"] is None or len(backends.report()) > 1


@pytest.fixture
def short_check(monkeypatch):
    """The check in two sizes, without finite differences, which are checked above."""
    quick = SimpleNamespace(entries=[SimpleNamespace(error=0.0)])
    monkeypatch.setattr(gradcheck, "check_gradients", lambda layer, **options: quick)
    monkeypatch.setattr(trusted, "AT_LENGTH", ((2, 3),))
    monkeypatch.setattr(trusted, "BATCHES_AT_LENGTH", ((3, 4), (1, 1)))


def test_check_compares_each_level_of_a_gpu(run, short_check):
    with machine(devices=1), planted(cudnn=right, fused=right):
        done = run("check", "--device", "cuda", "--json")
        text = run("check", "--device", "cuda").out
    assert done.code == 0
    rows = done.json["levels"]
    found = {(row["kernels"], row["cell"], row["dtype"], row["precision"]) for row in rows}
    assert len(found) == len(rows)
    float32 = {"cudnn 9.1": ("highest", "high", "bfloat16", "float16"), "fused": ("highest", "high")}
    assert found == {
        (level, cell, dtype, precision)
        for level in float32
        for cell in ("lstm", "rnn", "gru")
        for dtype, precision in [("float64", "highest"), *(("float32", each) for each in float32[level])]
    }
    for row in rows:
        assert (row["passed"], row["problems"], row["device"]) == (True, 22, "cuda:0")
        assert row["error"] < (1e-14 if row["dtype"] == "float64" else 5e-6)
        assert row["bound"] == trusted.bound_for(row["dtype"], row["precision"])
    assert text.splitlines()[-1] == "all levels agree with the array code"
    line = r"ok     cuda:0   cudnn 9\.1      gru   float32  bfloat16        22  \d\.\de-\d\d    6e-02"
    assert re.search(line, text)


def test_check_fails_where_a_level_is_wrong(run, short_check):
    def wrong(cell, dtype, precision):
        return Planted(cell, wrong=off_by(1e-4)) if cell == "rnn" else "it is not there"

    def broken(cell, dtype, precision):
        return Planted(cell, error=OSError("gone"))

    with machine(devices=1), planted(cudnn=broken, fused=wrong):
        done = run("check", "--device", "cuda")
        values = json.loads(run("check", "--device", "cuda", "--json").out)
    assert done.code == values["exit_code"] == 1
    assert not values["passed"]
    assert done.out.splitlines()[-1] == "some levels are WRONG"
    assert "WRONG  cuda:0   fused          rnn   float32  highest" in done.out
    assert "-      cuda:0   fused          lstm  float32  highest   it is not there" in done.out
    assert "WRONG  cuda:0   cudnn 9.1      lstm  float32  highest   OSError: gone" in done.out
    assert [row["passed"] for row in values["levels"] if row["kernels"] == "fused" and row["cell"] == "rnn"] == [
        False, False, True,
    ]  # fmt: skip


def test_devices_goes_on_where_the_first_gpu_is_broken(run, monkeypatch, tmp_path):
    """Though a figure was saved, to be compared with the first one's name."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    path = backends.crossing.path()
    path.parent.mkdir()
    path.write_bytes(backends.crossing.content(backends.crossing.Machine("a CPU", "a GPU"), 1e6))

    def broken(number):
        if number == 0:
            raise RuntimeError("no GPU can be used: cuda:0 has fallen off the bus")
        return processor(number)

    with machine(devices=2), planted(fused=right):
        processor = backends.cupy_arrays.processor
        monkeypatch.setattr(backends.cupy_arrays, "processor", broken)
        done = run("devices", "--json")
        text = run("devices").out
    assert [row["usable"] for row in done.json["devices"]] == [True, False, True]
    assert (done.json["used"], done.json["auto"]) == ("cpu", None)
    assert "fallen off the bus" in text


def test_that_no_level_could_be_compared_is_said(run, short_check):
    with machine(devices=1), planted():
        done = run("check", "--device", "cuda")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "no level could be compared"


def test_a_level_that_is_not_there_is_no_failure(run, short_check):
    with machine(devices=1), planted(fused=right):
        done = run("check", "--device", "cuda")
    assert done.code == 0
    assert "-      cuda:0   cudnn          lstm  float64  highest   cudnn is not installed" in done.out


def test_kernels_and_precision_reach_the_classifier(run):
    write("data.csv", table())
    run("train", "data.csv", *QUICK, "--kernels", "reference", "--precision", "high", "--device", "cpu")
    loaded = xlstm.load("data.xlstm")
    assert (loaded.kernels, loaded.precision, loaded.kernels_) == ("reference", "high", "reference")
    one_error(
        run("train", "data.csv", *QUICK, "--kernels", "cudnn", "--device", "cpu"),
        "kernels='cudnn' is for CUDA GPUs, and this is the CPU",
    )
    assert run("train", "data.csv", "--precision", "low").code == 2


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run, command):
    done = run(command, "--help")
    assert (done.code, done.err) == (0, "")
    for option in ("--help", "--device", "--json"):
        assert option in done.out
    if command in ("train", "check"):
        assert "--seed" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_the_defaults_of_all_flags(run, command):
    _, *flags = re.split(r"\n  (?=-)", run(command, "--help").out.partition("\n\n")[2].partition("options:")[2])
    assert len(flags) >= 3
    for flag in flags:
        assert "(default: " in " ".join(flag.split()) or flag.startswith("-h"), flag


def test_help_says_what_is_read(run):
    for command in ("train", "predict", "evaluate"):
        assert "series of numbers come from tables" in " ".join(run(command, "--help").out.replace("-\n", "-").split())
    about = run("train", "--help").out.replace("-\n", "-")
    assert "Upper and lower case are one unless" in " ".join(about.split())
    usual = xlstm.SequenceClassifier()
    for default in (usual.hidden_size, usual.num_layers, usual.learning_rate_init, usual.dropout, usual.cell):
        assert f"(default: {default})" in " ".join(about.split())


def test_help_names_every_command(run):
    done = run("--help")
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)
    assert xlstm.__version__ in run("--version").out


def test_no_command_loads_what_it_does_not_need():
    """`xlstm devices` on a machine without extras: neither torch, scikit-learn nor tqdm is imported."""
    program = (
        "import sys; from xlstm.cli import main; code = main(['devices', '--json']); "
        "assert not {'torch', 'sklearn', 'tqdm', 'pandas'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["used"]


# ---------------------------------------------------------------- what must not pass without a word


def test_rows_that_do_not_fit_the_header_are_named(run):
    for content, part in (
        ("text,label\nab,a\nhello, you,b\n", "row 2"),
        ("text,text,label\na,b,c\n", "2 columns 'text'"),
    ):
        Path("bad.csv").write_text(content)
        one_error(run("train", "bad.csv"), part)


def test_each_model_has_its_own_held_out_file(run):
    write("data.csv", table())
    held_out = [
        run("train", "data.csv", *QUICK, "--out", out, "--json").json["held_out"] for out in ("m.1", "m.2", "m.xlstm")
    ]
    assert held_out == ["m.1.held-out.csv", "m.2.held-out.csv", "m.held-out.csv"]


def test_a_lost_audience_does_not_stop_the_training(run, monkeypatch):
    write("data.csv", table())

    class Gone:
        def write(self, *text):
            raise BrokenPipeError

        flush = write

        def isatty(self):
            return False

    for stderr in (Gone(), None):
        Path("data.xlstm").unlink(missing_ok=True)
        monkeypatch.setattr(sys, "stderr", stderr)
        assert cli.main(["train", "data.csv", "--epochs", "3", "--hidden-size", "2"]) == 0
        assert Path("data.xlstm").is_file()


def test_too_little_memory_is_one_line(run, monkeypatch):
    def full(*arguments, **more):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(xlstm.SequenceClassifier, "fit", full)
    write("data.csv", table())
    one_error(run("train", "data.csv"), "Unable to allocate")


# ---------------------------------------------------------------- what a trial and an attack found


def noted(path: str, n: int = 40) -> None:
    rows = [
        ("good" if k % 2 else "bad") + f" {'xyz'[k % 3]}," + (" p" if k % 4 == 1 else "p" if k % 2 else "n")
        for k in range(n)
    ]
    Path(path).write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")


def test_white_space_around_labels_is_no_part_of_them(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted("d.csv")
    values = json.loads(run("train", "d.csv", *QUICK, "--json").out)
    assert xlstm.load("d.xlstm").classes_.tolist() == ["n", "p"]
    kept = Path("d.held-out.csv").read_text(encoding="utf-8").splitlines()
    assert set(kept) <= set(Path("d.csv").read_text(encoding="utf-8").splitlines())  # the cells as they were
    assert any(", p" in line for line in kept)
    assert json.loads(run("evaluate", "d.xlstm", "d.held-out.csv", "--json").out)["n_test"] == values["n_test"]
    assert values["interrupted"] is False
    assert values["epochs"] == xlstm.load("d.xlstm").n_iter_


def test_labels_that_seem_to_be_missing_are_told(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted("d.csv")
    with open("d.csv", "a", encoding="utf-8") as file:
        file.write("odd one,NaN\nodd two,NaN\nodd three,NA\nodd four,NA\n")
    done = run("train", "d.csv", *QUICK)
    assert "xlstm: warning: 4 rows with the label 'NA' or 'NaN', which often stands for a missing one" in done.err


def test_held_out_rows_of_an_earlier_model_are_told(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted("d.csv")
    assert json.loads(run("train", "d.csv", *QUICK, "--json").out)["stale_held_out"] is None
    for more in (("--test-fraction", 0), ("--seed", 7, "--held-out", "o.csv")):
        done = run("train", "d.csv", *QUICK, *more, "--json")
        assert json.loads(done.out)["stale_held_out"] == "d.held-out.csv"
    Path("d.held-out.csv").unlink()
    assert json.loads(run("train", "d.csv", *QUICK, "--test-fraction", 0, "--json").out)["stale_held_out"] is None


def test_a_file_that_comes_while_training_is_kept(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted("d.csv")
    fit = xlstm.SequenceClassifier.fit

    def meanwhile(self, X, y, **more):
        Path("d.held-out.csv").write_text("notes", encoding="utf-8")
        return fit(self, X, y, **more)

    monkeypatch.setattr(xlstm.SequenceClassifier, "fit", meanwhile)
    done = run("train", "d.csv", *QUICK)
    assert done.code == 1
    assert "d.xlstm is written, but its held-out rows are not: d.held-out.csv" in done.err.splitlines()[-1]
    assert Path("d.held-out.csv").read_text(encoding="utf-8") == "notes"
    assert xlstm.load("d.xlstm").classes_.tolist() == ["n", "p"]


def test_standard_input_is_not_overwritten(tmp_path):
    noted(str(tmp_path / "d.csv"))
    before = (tmp_path / "d.csv").read_bytes()
    command = [sys.executable, "-m", "xlstm", "train", "-", "--out", "d.csv", "--test-fraction", "0", "--epochs", "1"]
    with open(tmp_path / "d.csv", "rb") as file:
        done = subprocess.run(command, cwd=tmp_path, stdin=file, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "would overwrite the data" in done.stderr
    assert (tmp_path / "d.csv").read_bytes() == before


@pytest.mark.parametrize(("text", "told"), [("good", "d.xlstm good"), ("-good", "d.xlstm -- -good")])
def test_the_next_command_can_be_typed(run, tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("text,label\n" + f"{text},p\n{text},n\n" * 20, encoding="utf-8")
    last = run("train", "d.csv", *QUICK).out.splitlines()[-1]
    assert last == f"next: xlstm predict {told}"
    assert run(*shlex.split(last)[2:]).code == 0


def test_folders_and_columns_that_are_no_data(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted("d.csv")
    one_error(run("train", "."), "'.' is a folder")
    one_error(run("train", "d.csv", "--text", "text", "--label", "text"), "cannot both be the column 'text'")
