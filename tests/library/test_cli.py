# Longer than 500 lines: the tests of one source file stand in one file.
"""The command line: what each command prints, where, and with which exit code; errors in one line, no traceback."""

import csv
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import xlstm
from xlstm import backends, bench, cli, gradcheck, optim
from xlstm.cells import rnn

from .. import classifier as truth
from ..peers import peer
from ..standin import machine

COMMANDS = ("train", "predict", "evaluate", "bench", "devices", "check")
QUICK = ("--hidden-size", "8", "--epochs", "3", "--device", "cpu")


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on the one line of stdout."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, self.out
        assert self.out.endswith("\n")
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)

    def command(*arguments: Any, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse ends a wrong call itself
            code = stop.code
        return Done(int(code or 0), *capsys.readouterr())

    return command


def write(name: str, rows: Any, header: tuple[str, ...] = ("text", "label"), delimiter: str = ",") -> str:
    with open(name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return name


def rows_of(name: str) -> list[list[str]]:
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def table(n: int = 120) -> list[tuple[str, str]]:
    """Texts, a comma, a quote and a line break among them, and their last letter."""
    texts, labels = truth.last_letter(n)
    texts[:4] = ["a, b", 'say "a"a', "two\nlinesc", "ünïcödé b"]
    labels[:4] = ["b", "a", "c", "b"]
    return list(zip(texts, labels, strict=True))


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
    assert {text for text, _ in rows_of("reviews.held-out.csv")[1:]} <= set(words)
    again = run("evaluate", values["model"], "reviews.held-out.csv", "--json").json
    assert again["accuracy"] == values["accuracy"]
    whole = run("evaluate", values["model"], "reviews.tsv", "--text", "review", "--label", "liked", "--json").json
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
    assert run("train", "data.csv", *QUICK, "--json").json
    assert xlstm.load("data.xlstm").classes_.tolist() == ["a", "b", "c"]
    assert rows_of("data.held-out.csv")[0] == ["text", "label"]


def test_it_learns(run):
    write("data.csv", table(300)[4:])
    values = run("train", "data.csv", "--hidden-size", 12, "--epochs", 25, "--learning-rate", 0.02, "--json").json
    assert values["accuracy"] >= 0.95


# ---------------------------------------------------------------- progress


def block_tqdm(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an ImportError for whoever asks


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("with_tqdm", [True, False])
def test_progress_goes_to_stderr(run, monkeypatch, with_tqdm, as_json):
    if with_tqdm:
        peer("tqdm")
    else:
        block_tqdm(monkeypatch)
    write("data.csv", table())
    done = run("train", "data.csv", *QUICK, *(["--json"] if as_json else []))
    assert done.code == 0
    assert "loss" in done.err
    assert "loss" not in done.out
    if with_tqdm:
        assert "3/3" in done.err
    else:
        assert [line.split(":")[0] for line in done.err.splitlines()] == [f"epoch {k}/3" for k in (1, 2, 3)]
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
    texts = ["abc", "ca", "ü"]
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
    values = run("predict", model, "--json", stdin=lines).json
    assert values == run("predict", model, "abc", "ca", "--json").json


def test_predict_needs_texts(run, model):
    one_error(run("predict", model, stdin=""), "nothing to classify")
    one_error(run("predict", model, "ab", ""), "empty")
    one_error(run("predict", model, "--json", stdin="ab\n\nb\n"), "empty")


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
        one_error(run(*command, "data.csv", "--device", "cuda"), "pip install")
        for content, part in (
            ("", "is empty"),
            ("text,label\n", "no rows"),
            ("text,label\nab,x\n,y\n", "row 2"),
            ("text,label\nab,a\nb\n", "row 2"),
            ("text,label\nab,a\nb,\n", "row 2"),
            ("text;label\nab;a\n", "'text'"),
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
    one_error(run("train", "data.csv", "--words", *QUICK), "row 2", "empty")
    assert [file.name for file in Path().iterdir()] == ["data.csv"]


def test_bad_options_are_named(run):
    write("data.csv", table())
    for option, value, part, code in (
        ("--out", "missing/model.xlstm", "missing", 1),
        ("--test-fraction", 0, "--test-fraction", 2),
        ("--test-fraction", 1.5, "--test-fraction", 2),
        ("--hidden-size", 0, "--hidden-size", 2),
        ("--epochs", 0, "--epochs", 2),
        ("--batch-size", -1, "--batch-size", 2),
        ("--learning-rate", -1, "--learning-rate", 2),
        ("--dropout", 1, "--dropout", 2),
        ("--device", "tpu", "tpu", 2),
        ("--device", "cuda", "pip install", 1),
        ("--device", "cuda:1", "pip install", 1),
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
        one_error(run(command, model, *after, "--device", "cuda"), "pip install")
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


@pytest.mark.parametrize("whole_epochs", [0, 1])
def test_ctrl_c_saves_what_whole_epochs_there_were(run, monkeypatch, whole_epochs):
    updates, right = [0], optim.Optimizer.step

    def step(*arguments: Any) -> None:
        right(*arguments)
        updates[0] += 1
        if updates[0] == 6 * whole_epochs + 2:  # of 96 rows in batches of 16
            raise KeyboardInterrupt

    write("data.csv", table())
    monkeypatch.setattr("xlstm.backends.find_step", lambda *_: None)
    monkeypatch.setattr(optim.Optimizer, "step", step)
    done = run("train", "data.csv", *QUICK, "--batch-size", 16)
    assert done.code != 2
    assert "Traceback" not in done.err
    assert "interrupted" in done.err
    if whole_epochs:
        assert xlstm.load("data.xlstm").n_iter_ == 1
        told = [line for line in done.err.splitlines() if "interrupted" in line]
        assert len(told) == 1
        assert "xlstm: training interrupted after 1 epoch: their model is kept" in told[0]  # perhaps after a bar
    else:
        assert done.code == 1
        assert [file.name for file in Path().iterdir()] == ["data.csv"]


def test_the_environment_says_where(run, model, monkeypatch):
    monkeypatch.setenv("XLSTM_DEVICE", "cuda")
    one_error(run("predict", model, "ab"), "pip install")
    monkeypatch.setenv("XLSTM_DEVICE", "abacus")
    one_error(run("predict", model, "ab"), "XLSTM_DEVICE", "abacus")
    assert run("predict", model, "ab", "--device", "cpu").code == 0


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


def test_check(run):
    values = run("check", "--json", "--device", "cpu", "--seed", 3).json
    assert values["passed"] is True
    assert len(values["checks"]) >= 4
    assert all(row["passed"] and row["error"] < 1e-6 for row in values["checks"])
    assert {row["device"] for row in values["checks"]} == {"cpu"}
    one_error(run("check", "--device", "cuda"), "pip install")


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
    monkeypatch.setattr(backends, "_said", {"no kernels"})
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
    one_error(run("bench", "--device", "cuda"), "pip install")


def test_bench_names_the_device_that_auto_stands_for(run, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", ((2, 3, 4, 5),))
    monkeypatch.setattr(bench, "interleaved", lambda functions: {name: [1e-3] for name in functions})
    assert run("bench", "--json", "--device", "auto").json["rows"][0]["device"] == "cpu"


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run, command):
    done = run(command, "--help")
    assert (done.code, done.err) == (0, "")
    for option in ("--help", "--device", "--json"):
        assert option in done.out
    if command in ("train", "check"):
        assert "--seed" in done.out


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
    def full(*arguments):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(xlstm.SequenceClassifier, "fit", full)
    write("data.csv", table())
    one_error(run("train", "data.csv"), "Unable to allocate")
