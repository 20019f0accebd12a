# ruff: noqa: E501 - a case is a line
"""The command line on all kinds of data and answers: what is read, learned, written and told; what is wrong, in one line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import batch, cli
from xlstm.lines import Lines

from .command import call, run, write_rows

__all__ = ["run"]  # a fixture

QUICK = ("--hidden-size", "4", "--epochs", "2", "--device", "cpu")
LONG = ("--id", "run", "--time", "at")


# ---------------------------------------------------------------- data


def recordings(n: int = 24, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Sequences of two features and their ids, of 2 to 6 steps."""
    rng = np.random.default_rng(seed)
    return [(f"r{k:02}", rng.standard_normal((int(rng.integers(2, 7)), 2)).round(3)) for k in range(n)]


def up(x: np.ndarray) -> str:
    return "up" if x[:, 0].sum() > 0 else "down"


def amount(x: np.ndarray) -> float:
    return round(float(x[:, 0].sum()), 3)


def phases(x: np.ndarray) -> list[str]:
    return ["high" if value > 0 else "low" for value in np.cumsum(x[:, 0])]


LABELS = {"classes": up, "number": amount, "steps": phases}


def write_long(name: str, task: str = "classes", data: Any = None, shuffled: bool = False) -> str:
    rows = []
    for ran, x in recordings() if data is None else data:
        label = LABELS[task](x)
        for t, (speed, load) in enumerate(x.tolist()):
            rows.append((ran, t / 2, speed, load, label[t] if isinstance(label, list) else label))
    if shuffled:
        rows = [rows[k] for k in np.random.default_rng(1).permutation(len(rows))]
    return write_rows(name, ("run", "at", "speed", "load", "label"), rows)


def write_wide(name: str) -> str:
    rows = [(up(x), *x[:, 0].tolist(), *[""] * (6 - len(x))) for _, x in recordings()]
    return write_rows(name, ("label", *[f"t{k}" for k in range(6)]), rows)


def write_lines(name: str, task: str = "classes") -> str:
    rows = ({"x": x.tolist(), "y": LABELS[task](x)} for _, x in recordings())
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def write_arrays(name: str, task: str = "classes", channels_first: bool = False) -> str:
    X = np.stack([np.resize(x, (4, 2)) for _, x in recordings()])
    y = np.array([LABELS[task](x) for x in X])
    np.savez(name, X=X.transpose(0, 2, 1) if channels_first else X, y=y)
    return name


def write_ts(name: str) -> str:
    head = "@problemName a\n@timeStamps false\n@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true down up\n@data\n"
    rows = [":".join(",".join(map(str, x[:, d].tolist())) for d in range(2)) + f":{up(x)}\n" for _, x in recordings()]
    Path(name).write_text(head + "".join(rows))
    return name


def flags_of(name: str) -> tuple[str, ...]:
    return LONG if name.startswith("long") else ("--wide",) if name.startswith("wide") else ()


def write(name: str, task: str = "classes") -> str:
    kind = Path(name.removesuffix(".gz")).suffix
    writers = {".jsonl": write_lines, ".npz": write_arrays, ".ts": lambda name, task: write_ts(name)}
    if name.startswith("wide"):
        return write_wide(name)
    return writers.get(kind, write_long)(name, task)


# ---------------------------------------------------------------- what is read, learned and written


@pytest.mark.parametrize("name", ["long.csv", "wide.csv", "data.jsonl", "data.npz", "data.ts"])
def test_every_form_is_trained_on_measured_and_predicted(run, name):
    write(name)
    values = run("train", name, *flags_of(name), *QUICK, "--json").json
    assert (values["task"], values["n_test"]) == ("classes", 5)
    model = xlstm.load(values["model"])
    X, y, ids = xlstm.read(name, **({"id": "run", "time": "at"} if name == "long.csv" else {}))
    # What was held out: rows of the file, or a list of ids; the same scores, and the same labels by Python.
    held_out = values["held_out"]
    assert held_out == values["model"].replace(
        ".xlstm",
        {"data.jsonl": ".held-out.jsonl", "data.npz": ".held-out-ids.csv", "data.ts": ".held-out-ids.csv"}.get(
            name, ".held-out.csv"
        ),
    )
    listed = "ids" in held_out
    again = run(
        "evaluate", values["model"], name if listed else held_out, *(["--only", held_out] if listed else []), "--json"
    ).json
    for score in ("accuracy", "balanced_accuracy", "recall", "n_test"):
        assert again[score] == values[score]
    whole = run("evaluate", values["model"], name, "--json").json
    assert whole["accuracy"] == model.score(X, list(map(str, y)))
    predicted = run("predict", values["model"], name, "--json").json["predictions"]
    assert [row["label"] for row in predicted] == model.predict(X).tolist()
    key = "id" if ids is not None else "sequence"
    assert [row[key] for row in predicted] == (
        list(map(str, ids)) if ids is not None else [str(k + 1) for k in range(24)]
    )
    expected = model.predict_proba(X).tolist()
    assert [list(row["probabilities"].values()) for row in predicted] == expected


def test_the_held_out_rows_of_a_long_table_are_whole_sequences(run):
    write_long("long.csv", shuffled=True)
    values = run("train", "long.csv", *LONG, *QUICK, "--json").json
    with open(values["held_out"], newline="") as file:
        header, *rows = csv.reader(file)
    with open("long.csv", newline="") as file:
        _, *every = csv.reader(file)
    assert header == ["run", "at", "speed", "load", "label"]
    ids = {row[0] for row in rows}
    _, y, order = xlstm.read("long.csv", id="run", time="at")
    _, aside = batch.stratified_split(np.unique(y, return_inverse=True)[1], 0.2, np.random.default_rng(0))
    assert ids == {order[k] for k in aside}
    assert rows == [row for row in every if row[0] in ids]


@pytest.mark.parametrize("task", ["number", "steps"])
@pytest.mark.parametrize("name", ["long.csv", "data.jsonl"])
def test_numbers_and_steps(run, name, task):
    write(name, task)
    values = run("train", name, *flags_of(name), "--task", task, *QUICK, "--json").json
    model = xlstm.load(values["model"])
    assert type(model).__name__ == {"number": "SequenceRegressor", "steps": "SequenceLabeler"}[task]
    data: Any = [x for _, x in recordings()]
    truth = [LABELS[task](x) for x in data]
    if name == "long.csv":
        data = xlstm.Sequences(np.concatenate(data), list(map(len, data)), ["speed", "load"])
    whole = run("evaluate", values["model"], name, "--json").json
    if task == "number":
        errors = model.errors(data, truth)
        assert {score: whole[score] for score in errors} == pytest.approx(errors, rel=1e-6)
    else:
        assert whole["accuracy"] == pytest.approx(model.score(data, truth))
        assert whole["n_steps"] == sum(map(len, data))
    again = run("evaluate", values["model"], values["held_out"], "--json").json
    first = "r2" if task == "number" else "accuracy"
    assert again[first] == values[first]
    predicted = run("predict", values["model"], name, "--json").json["predictions"]
    answers = [row["value"] if task == "number" else row["labels"] for row in predicted]
    expected = model.predict(data)
    if task == "number":
        assert answers == pytest.approx(expected.tolist())
        rows = list(csv.DictReader(io.StringIO(run("predict", values["model"], name, "--format", "csv").out)))
        assert [float(row["value"]) for row in rows] == pytest.approx(answers, rel=1e-5)
        assert f"R² {values['r2']:.4g}" in run("evaluate", values["model"], values["held_out"]).out
    else:
        assert answers == [row.tolist() for row in expected]
        rows = list(csv.DictReader(io.StringIO(run("predict", values["model"], name, "--format", "csv").out)))
        assert [row["label"] for row in rows] == [label for row in answers for label in row]
        assert [row["step"] for row in rows[: len(data[0])]] == [str(k + 1) for k in range(len(data[0]))]


def test_texts_with_numbers_steps_and_several_labels(run):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abc"), int(rng.integers(1, 6)))) for _ in range(40)]
    truths = {
        "number": [str(text.count("a") / 2) for text in texts],
        "steps": ["".join("01"[letter == "a"] for letter in text) for text in texts],
        "labels": ["; ".join(sorted(set(text) & set("ab"))) for text in texts],  # the empty field is none of them
    }
    for task, labels in truths.items():
        write_rows("data.csv", ("text", "label"), zip(texts, labels, strict=True))
        values = run("train", "data.csv", "--task", task, *QUICK, "--force", "--json").json
        model = xlstm.load("data.xlstm")
        again = run("evaluate", "data.xlstm", "data.held-out.csv", "--json").json
        assert {name: again[name] for name in again if name in values} == {
            name: values[name] for name in again if name in values
        }
        predicted = run("predict", "data.xlstm", *texts[:3], "--json").json["predictions"]
        expected = model.predict(texts[:3])
        if task == "number":
            assert [row["value"] for row in predicted] == pytest.approx(expected.tolist())
        else:
            assert [row["labels"] for row in predicted] == [list(row) for row in expected]
    whole = run("evaluate", "data.xlstm", "data.csv", "--json").json
    sets = [[part for part in label.split("; ") if part] for label in truths["labels"]]
    assert whole["subset_accuracy"] == pytest.approx(model.score(texts, sets))
    peers = pytest.importorskip("sklearn.metrics")
    indicator = [[name in row for name in "ab"] for row in sets]
    found = [[name in row for name in "ab"] for row in model.predict(texts)]
    for average in ("micro", "macro"):
        assert whole[f"f1_{average}"] == pytest.approx(peers.f1_score(indicator, found, average=average))


def test_tokens_with_a_label_each(run):
    rng = np.random.default_rng(0)
    rows = [
        (f"s{k}", word, "N" if word in ("cat", "dog") else "O")
        for k in range(20)
        for word in rng.choice(["the", "cat", "dog", "sat"], 4)
    ]
    write_rows("words.csv", ("sentence", "word", "tag"), rows)
    flags = ("--id", "sentence", "--text", "word", "--label", "tag", "--task", "steps")
    values = run(
        "train",
        "words.csv",
        *flags,
        "--hidden-size",
        8,
        "--epochs",
        40,
        "--device",
        "cpu",
        "--learning-rate",
        0.05,
        "--json",
    ).json
    assert values["accuracy"] == 1
    assert run("evaluate", "words.xlstm", "words.held-out.csv", "--json").json["accuracy"] == 1
    predicted = run("predict", "words.xlstm", "--data", "words.csv", "--json").json["predictions"]
    assert [label for row in predicted for label in row["labels"]] == [tag for _, _, tag in rows]


def test_settings_reach_the_estimator(run):
    write_long("long.csv", "number")
    run(
        "train",
        "long.csv",
        *LONG,
        "--task",
        "number",
        "--loss",
        "huber",
        "--readout",
        "mean",
        "--cell",
        "gru",
        "--delta",
        "dt",
        *QUICK,
    )
    model = xlstm.load("long.xlstm")
    assert (model.loss, model.readout, model.cell) == ("huber", "mean", "gru")
    assert model.feature_names_in_.tolist() == ["speed", "load", "dt"]
    X, _, _ = xlstm.read("long.csv", id="run", time="at", label="label", delta="dt")
    predicted = run("predict", "long.xlstm", "long.csv", "--json").json["predictions"]
    assert [row["value"] for row in predicted] == pytest.approx(model.predict(X).tolist())
    write_long("steps.csv", "steps")
    run("train", "steps.csv", *LONG, "--task", "steps", "--ignore", "-100", *QUICK)
    assert xlstm.load("steps.xlstm").ignore == "-100"


def test_named_features_are_the_only_ones(run):
    write_long("long.csv")
    assert run("train", "long.csv", *LONG, "--features", "load", *QUICK).code == 0
    assert xlstm.load("long.xlstm").feature_names_in_.tolist() == ["load"]
    # Another table may have more columns, and these in another order.
    rows = [(t, "new", load, run) for run, x in recordings(3) for t, (_, load) in enumerate(x.tolist())]
    write_rows("other.csv", ("at", "more", "load", "run"), rows)
    predicted = run("predict", "long.xlstm", "other.csv", "--json").json["predictions"]
    X = xlstm.Sequences(
        np.concatenate([x[:, 1:] for _, x in recordings(3)]), [len(x) for _, x in recordings(3)], ["load"]
    )
    expected = xlstm.load("long.xlstm").predict_proba(X)
    assert [list(row["probabilities"].values()) for row in predicted] == expected.tolist()


def test_gaps_are_read_where_it_is_asked_for(run):
    data = recordings()
    data[3][1][1, 0] = np.nan
    rows = [
        (run, t, "" if np.isnan(speed) else speed, load, up(x))
        for run, x in data
        for t, (speed, load) in enumerate(x.tolist())
    ]
    write_rows("long.csv", ("run", "at", "speed", "load", "label"), rows)
    assert run("train", "long.csv", *LONG, "--missing", "mask", *QUICK).code == 0
    assert run("predict", "long.xlstm", "long.csv").out.count("\n") == 24
    # A model that reads none answers for the others.
    write_long("whole.csv")
    assert run("train", "whole.csv", *LONG, *QUICK).code == 0
    done = run("predict", "whole.xlstm", "long.csv", "--format", "jsonl")
    assert done.code == 1
    assert done.err == "xlstm: error: the sequence 'r03' of long.csv has no value in step 2, feature 'speed'\n"
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert answers[3] == {"row": 4, "id": "r03", "error": done.err[len("xlstm: error: ") : -1]}
    assert sum("label" in answer for answer in answers) == 23


def test_a_long_table_from_a_pipe_is_answered_sequence_by_sequence(run):
    write_long("long.csv")
    assert run("train", "long.csv", *LONG, *QUICK).code == 0
    expected = run("predict", "long.xlstm", "long.csv", "--format", "jsonl").out
    assert run("predict", "long.xlstm", "--format", "jsonl", stdin=Path("long.csv").read_text()).out == expected
    done = run("predict", "long.xlstm", stdin="run,at,speed,load\na,0,1,2\nb,0,1,2\na,1,3,4\n")
    assert (done.code, done.err) == (
        1,
        "xlstm: error: the rows of the sequence 'a' of standard input do not stand together: sort them, or give the table as a file\n",
    )


def test_answers_come_before_the_next_sequence_ends(run):
    """Of what is there, each sequence is answered as soon as another has begun."""
    from xlstm import tables
    from xlstm.cli import asked

    class Slow(Lines):
        """Lines that come one by one."""

        def __init__(self, *_: Any) -> None:
            self.name, self.count = "standard input", 0
            self._lines = iter(["run,at,speed,load\n", "a,0,1,2\n", "a,1,1,2\n", "b,0,1,2\n", "c,0,1,2\n"])
            self.given: list[str] = []

        def __next__(self) -> str:
            line = self.given.pop() if self.given else next(self._lines)
            self.count += 1
            return line

        def put_back(self, lines: list[str]) -> None:
            self.given += reversed(lines)
            self.count -= len(lines)

        def ready(self) -> bool:
            return False

        def __exit__(self, *_: object) -> None: ...

    lines = Slow()
    counts = []
    for name, group in (whole for whole in asked._whole(tables.Table(lines, {}), "run") if whole is not None):
        counts.append((name, len(group), lines.count))
    assert counts == [("a", 2, 4), ("b", 1, 5), ("c", 1, 5)]


def test_a_training_goes_on_from_its_file(run):
    write_long("long.csv")
    first = run("train", "long.csv", *LONG, *QUICK, "--resume", "run.xlstm", "--json").json
    content = Path("long.xlstm").read_bytes()
    again = run("train", "long.csv", *LONG, *QUICK, "--resume", "run.xlstm", "--json").json
    assert Path("long.xlstm").read_bytes() == content
    assert (again["epochs"], again["accuracy"]) == (first["epochs"], first["accuracy"])
    done = run("train", "long.csv", *LONG, *QUICK, "--seed", "5", "--resume", "run.xlstm")
    assert done.err.startswith("xlstm: error: run.xlstm holds a training with other settings: --seed was 0 and is 5.")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert Path("long.xlstm").read_bytes() == content


def test_a_file_that_is_no_model_is_replaced_by_force_alone(run):
    """Which is also where a model, or an empty file, needs none."""
    write_long("long.csv")
    for before, force in ((b"a thesis", True), (b"", False), (b"xlstm\x00\r\n and what was a model", False)):
        Path("m.xlstm").write_bytes(before)
        if force:
            assert run("train", "long.csv", *LONG, *QUICK, "--out", "m.xlstm").code == 1
            assert Path("m.xlstm").read_bytes() == before
        done = run("train", "long.csv", *LONG, *QUICK, "--out", "m.xlstm", *(["--force"] if force else []))
        assert done.code == 0, done.err
        assert xlstm.load("m.xlstm", device="cpu").classes_.tolist() == ["down", "up"]


def test_a_model_shows_how_it_reads(run):
    write_long("long.csv")
    run("train", "long.csv", *LONG, *QUICK)
    shown = run("show", "long.xlstm", "--json").json
    assert shown["reads"]["features"] == ["speed", "load"]
    assert {name: shown["table"][name] for name in ("form", "id", "time", "label")} == {
        "form": "long",
        "id": "run",
        "time": "at",
        "label": "label",
    }
    told = run("show", "long.xlstm").out
    for part in (
        "in this order: speed, load",
        "a row is a step; label 'label', delimiter ',', id 'run', time 'at'",
        "held out",
    ):
        assert part in told


# ---------------------------------------------------------------- what goes wrong


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data and models of every kind, made once."""
    place = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("XLSTM_DEVICE", raising=False)
        quick = ("--hidden-size", "2", "--epochs", "1", "--device", "cpu", "--test-fraction", "0")
        for task in ("classes", "number", "steps"):
            write_long(f"{task}.csv", task)
            assert cli.main(["train", f"{task}.csv", *LONG, "--task", task, *quick]) == 0
        write_wide("wide.csv")
        assert cli.main(["train", "wide.csv", "--wide", *quick]) == 0
        write_arrays("arrays.npz")
        assert cli.main(["train", "arrays.npz", *quick]) == 0
        write_rows("texts.csv", ("text", "label"), [("ab", "a"), ("ba", "b")] * 5)
        assert cli.main(["train", "texts.csv", *quick]) == 0
        write_rows("labels.csv", ("text", "label"), [("ab", "a;b"), ("ba", "b")] * 5)
        assert cli.main(["train", "labels.csv", "--task", "labels", *quick]) == 0
        xlstm.SequenceFeatures(hidden_size=2, max_iter=1).fit(["ab", "ba"], ["a", "b"]).save("features.xlstm")
        write_rows("hole.csv", ("run", "at", "speed", "label"), [("a", 0, 1, 0.5), ("b", 0, 1, "NA")])
        write_rows("index.csv", ("", "run", "speed", "label"), [(0, "a", 1, "x"), (1, "b", 1, "y")])
        write_rows("fractions.csv", ("text", "label"), [("ab", "0.5"), ("ba", "1.5")] * 5)
        write_rows(
            "single.csv",
            ("run", "at", "speed", "load", "label"),
            [("a", 0, 1, 2, "up"), ("a", 1, 1, 2, "up"), ("b", 0, 1, 2, "up"), ("b", 1, 1, 2, "up")],
        )
        write_rows("two.csv", ("run", "at", "speed", "load", "label"), [("a", 0, 1, 2, "up"), ("a", 1, 1, 2, "down")])
        write_rows("twice.csv", ("run", "at", "speed", "load", "label"), [("a", 0, 1, 2, "up"), ("a", 0, 3, 4, "up")])
        write_rows(
            "word.csv", ("run", "at", "speed", "load", "label"), [("a", 0, 1, 2, "up"), ("a", 1, "fast", 4, "up")]
        )
        write_rows(
            "gap.csv",
            ("run", "at", "speed", "load", "label"),
            [("a", 0, 1, 2, "up"), ("a", 1, "", 4, "up"), ("b", 0, 1, 1, "up")],
        )
        write_rows(
            "infinite.csv", ("run", "at", "speed", "load", "label"), [("a", 0, 1, 2, "up"), ("a", 1, "inf", 4, "up")]
        )
        write_rows("fewer.csv", ("run", "at", "speed", "label"), [("a", 0, 1, "up"), ("a", 1, 3, "up")])
        write_rows(
            "more.csv",
            ("run", "at", "speed", "load", "heat", "label"),
            [("a", 0, 1, 2, 3, "up"), ("a", 1, 3, 4, 5, "up")],
        )
        write_rows(
            "strange.csv",
            ("run", "at", "speed", "load", "label"),
            [("a", 0, 1, 2, "sideways"), ("a", 1, 3, 4, "sideways")],
        )
        write_rows("short.csv", ("text", "label"), [("ab", "01"), ("abc", "01")])
        write_rows("names.csv", ("text", "label"), [("ab", "a"), ("ba", "b")])
        write_rows("unknown.csv", ("text", "label"), [("ab", "a;z"), ("ba", "b")])
        write_rows("ids.csv", ("id",), [("r01",), ("nobody",)])
        write_rows("none.csv", ("id",), [])
        write_rows("columns.csv", ("who",), [("r01",)])
        Path("empty.csv").write_text("")
        Path("header.csv").write_text("run,at,speed,load,label\n")
        Path("long.txt").write_text("x" * 1_000_000)
        Path("row.csv").write_text("text,label\nab,a\n" + "x" * 1_000_000 + "\n")
        Path("binary.csv").write_bytes(bytes(range(256)))
        Path("broken.npz").write_bytes(b"PK\x03\x04" + bytes(50))
        Path("no.ts").write_text("@problemName a\n")
        Path("bad.jsonl").write_text('{"x": [1, 2], "y": "a"}\n{"x": [1, 2\n')
        np.savez("unlabelled.npz", X=np.zeros((4, 3, 2)))
        xlstm.LSTM(2, 3).save("layer.xlstm")
    return place


# Name: (the call, the exit code, the last line of stderr without what is in front; in order all parts of it).
TRAIN_LONG = ("train", "classes.csv", *LONG)
CASES: dict[str, tuple[tuple[Any, ...], int, tuple[str, ...]]] = {
    # Calls that make no sense: exit code 2.
    "an unknown task": (("train", "classes.csv", "--task", "poetry"), 2, ("argument --task", "'poetry'", "labels")),
    "step and series": ((*TRAIN_LONG, "--wide"), 2, ("a row is a step (--id) or a series (--wide), not both",)),
    "a time without an id": (("train", "classes.csv", "--time", "at"), 2, ("--time goes with --id",)),
    "a delta without a time": (("train", "classes.csv", "--id", "run", "--delta", "dt"), 2, ("name the column of times by --time",)),
    "a loss of classes": ((*TRAIN_LONG, "--loss", "huber"), 2, ("--loss goes with --task number",)),
    "an unknown loss": ((*TRAIN_LONG, "--task", "number", "--loss", "cube"), 2, ("--loss", "'cube'")),
    "a readout of steps": ((*TRAIN_LONG, "--task", "steps", "--readout", "mean"), 2, ("--readout goes with --task classes or number or labels",)),
    "an unknown readout": ((*TRAIN_LONG, "--readout", "steps"), 2, ("--readout", "'steps'")),
    "weights of numbers": ((*TRAIN_LONG, "--task", "number", "--class-weight", "balanced"), 2, ("--class-weight goes with --task classes or steps or labels",)),
    "a label to ignore among classes": ((*TRAIN_LONG, "--ignore", "x"), 2, ("--ignore goes with --task steps",)),
    "a separator of classes": (("train", "texts.csv", "--separator", "|"), 2, ("--separator goes with --task labels",)),
    "a separator that is white space": (("train", "texts.csv", "--task", "labels", "--separator", " "), 2, ("--separator", "no white space")),
    "a feature twice": ((*TRAIN_LONG, "--features", "speed,speed"), 2, ("--features", "twice")),
    "features without names": ((*TRAIN_LONG, "--features", ""), 2, ("--features", "names of columns")),
    "a task without a file": (("train", "--task", "number"), 2, ("go with a file: name it",)),
    "columns without a file": (("train", "--id", "run"), 2, ("go with a file: name it",)),
    "an unknown way with gaps": ((*TRAIN_LONG, "--missing", "guess"), 2, ("--missing", "'guess'")),
    "lines of a table": (("predict", "texts.xlstm", "--lines", "texts.csv", "--wide"), 2, ("are of tables: name one by --data",)),
    "a table without a file": (("predict", "texts.xlstm", "ab", "--id", "run"), 2, ("go with --data",)),
    "both forms to predict": (("predict", "classes.xlstm", "classes.csv", "--id", "run", "--wide"), 2, ("not both",)),
    "an unknown form of answers": (("predict", "classes.xlstm", "classes.csv", "--format", "xml"), 2, ("--format", "'xml'")),
    # Data that cannot be trained on.
    "no such file": (("train", "missing.npz"), 1, ("missing.npz",)),
    "a folder": (("train", "."), 1, ("'.'", "is a folder")),
    "an empty file": (("train", "empty.csv", *LONG), 1, ("empty.csv is empty",)),
    "a header alone": (("train", "header.csv", *LONG), 1, ("header.csv has a header but no rows",)),
    "no such column": (("train", "classes.csv", "--id", "runn"), 1, ("classes.csv has no column 'runn'", "--id", "'run'")),
    "no column of times": (("train", "classes.csv", "--id", "run", "--time", "when"), 1, ("no column 'when'", "--time")),
    "no column of labels": ((*TRAIN_LONG, "--label", "kind"), 1, ("no column 'kind'", "--label")),
    "no column of features": ((*TRAIN_LONG, "--features", "speed,colour"), 1, ("no column 'colour'", "--features")),
    "two roles of a column": ((*TRAIN_LONG, "--label", "at"), 1, ("'at'", "both")),
    "two labels of an id": (("train", "two.csv", *LONG), 1, ("the id 'a' has two labels", "'up' in line 2", "'down' in line 3", "--task steps")),
    "a time twice": (("train", "twice.csv", *LONG), 1, ("the id 'a' has the time 0 twice", "line 2", "line 3")),
    "a word among numbers": (("train", "word.csv", *LONG), 1, ("line 3 of word.csv", "'fast'", "'speed'", "--features")),
    "a gap": (("train", "gap.csv", *LONG), 1, ("the sequence 'a' of gap.csv has no value in step 2, feature 'speed'; --missing mask reads gaps",)),
    "infinity": (("train", "infinite.csv", *LONG, "--missing", "mask"), 1, ("the sequence 'a' of infinite.csv has infinity in step 2",)),
    "a single class": (("train", "single.csv", *LONG, "--test-fraction", 0), 1, ("single.csv", "a single class, 'up'")),
    "too few to hold some out": (("train", "two.csv", *LONG, "--task", "steps"), 1, ("two.csv: 1 row are too few",)),
    "fractions as classes": (("train", "number.csv", *LONG), 1, ("the labels of number.csv are numbers with fractions", "--task number", "--task classes")),
    "fractions as classes of texts": (("train", "fractions.csv"), 1, ("fractions.csv", "0.5", "--task number", "--task classes")),
    "classes as numbers": ((*TRAIN_LONG, "--task", "number"), 1, ("the sequence 'r00' of classes.csv has the label", "no number")),
    "classes of texts as numbers": (("train", "names.csv", "--task", "number"), 1, ("row 2 of names.csv", "'b', which is no number")),
    "too few labels of a text": (("train", "short.csv", "--task", "steps"), 1, ("row 2 of short.csv", "2 labels for 3 characters")),
    "too few labels of words": (("train", "short.csv", "--task", "steps", "--words"), 1, ()),
    "one label as many": (("train", "arrays.npz", "--task", "steps"), 1, ("'y' of arrays.npz has the shape (24,)", "24 sequences of 96 steps")),
    "no labels": (("train", "unlabelled.npz"), 1, ("unlabelled.npz has no labels", "--label")),
    "words of numbers": ((*TRAIN_LONG, "--words"), 1, ("--words is for texts, but classes.csv holds numbers",)),
    "an embedding of numbers": (("train", "arrays.npz", "--embedding-size", 3), 1, ("--embedding-size is for texts",)),
    "gaps of texts": (("train", "texts.csv", "--missing", "mask"), 1, ("--missing is for numbers",)),
    "empty rows of numbers": ((*TRAIN_LONG, "--skip-empty"), 1, ("--skip-empty says nothing of a table in which a row is a step",)),
    "a column of arrays": (("train", "arrays.npz", "--id", "run"), 1, ("--id", "npz")),
    "a damaged archive": (("train", "broken.npz"), 1, ("broken.npz",)),
    "no data in ts": (("train", "no.ts"), 1, ("no.ts",)),
    "a damaged line": (("train", "bad.jsonl"), 1, ("line 2 of bad.jsonl",)),
    "a binary file": (("train", "binary.csv", *LONG), 1, ("binary.csv",)),
    "a line of a million characters": (("train", "long.txt", *LONG), 1, ("long.txt",)),
    "a text table of a million characters": (("train", "long.txt"), 1, ("long.txt has no column 'text'",)),
    "a row of a million characters": (("train", "row.csv"), 1, ("row 2 of row.csv", "'label'")),
    "a model over its data": ((*TRAIN_LONG, "--out", "classes.csv"), 1, ("would overwrite the data classes.csv",)),
    "a run over its data": ((*TRAIN_LONG, "--resume", "classes.csv"), 1, ("would overwrite the data classes.csv", "--resume")),
    "a run in its model": ((*TRAIN_LONG, "--out", "m.xlstm", "--resume", "m.xlstm"), 1, ("cannot hold both the model and the training",)),
    "a run that is none": ((*TRAIN_LONG, "--out", "m.xlstm", "--resume", "texts.csv"), 1, ("texts.csv",)),
    "no place for the model": ((*TRAIN_LONG, "--out", "no/m.xlstm"), 1, ("no/m.xlstm",)),
    # What does not fit the model.
    "a text for numbers": (("predict", "classes.xlstm", "hello"), 1, ("reads numbers, not texts", "no file 'hello'")),
    "texts for numbers": (("predict", "classes.xlstm", "classes.csv", "two.csv"), 1, ("reads numbers, not texts: name one file",)),
    "lines for numbers": (("predict", "classes.xlstm", "--lines", "texts.csv"), 1, ("reads numbers, not texts", "--data")),
    "a table that nobody explained": (("evaluate", "arrays.xlstm", "classes.csv"), 1, ("reads numbers", "--id COLUMN", "--wide")),
    "a feature that vanished": (("predict", "classes.xlstm", "fewer.csv"), 1, ("fewer.csv", "'load'")),
    "a feature that vanished, measured": (("evaluate", "classes.xlstm", "fewer.csv"), 1, ("fewer.csv", "'load'")),
    "a column of the model is missing": (("predict", "classes.xlstm", "texts.csv"), 1, ("texts.csv has no column 'run'", "--id")),
    "an unknown class": (("evaluate", "classes.xlstm", "strange.csv"), 1, ("the sequence 'a' of strange.csv has the label 'sideways', which the model does not know: down, up",)),
    "an unknown class of a step": (("evaluate", "steps.xlstm", "strange.csv"), 1, ("the sequence 'a' of strange.csv has the label 'sideways'", "high, low")),
    "an unknown label among several": (("evaluate", "labels.xlstm", "unknown.csv"), 1, ("row 1 of unknown.csv", "'z'", "a, b")),
    "no number to measure with": (("evaluate", "number.xlstm", "classes.csv"), 1, ("the sequence 'r00' of classes.csv has the label", "no number")),
    "a number for a class": (("evaluate", "classes.xlstm", "number.csv"), 1, ("the sequence 'r00' of number.csv has the label", "does not know")),
    "one label for the steps": (("evaluate", "steps.xlstm", "number.csv"), 1, ("the sequence 'r00' of number.csv", "does not know")),
    "other arrays": (("predict", "classes.xlstm", "wide.csv", "--wide"), 1, ("wide.csv",)),
    "texts for a model of series": (("predict", "classes.xlstm", "bad.jsonl"), 1, ("bad.jsonl",)),
    "nothing on standard input": (("predict", "classes.xlstm"), 1, ("standard input is empty",)),
    "an empty table to predict": (("predict", "classes.xlstm", "header.csv"), 1, ("header.csv has a header but no rows",)),
    "gaps that the model does not read": (("evaluate", "classes.xlstm", "gap.csv"), 1, ("the sequence 'a' of gap.csv has no value in step 2",)),
    "an id that is not there": (("evaluate", "classes.xlstm", "classes.csv", "--only", "ids.csv"), 1, ("ids.csv lists 'nobody', which classes.csv does not have",)),
    "no ids": (("evaluate", "classes.xlstm", "classes.csv", "--only", "none.csv"), 1, ("none.csv lists no sequence",)),
    "no column of ids": (("evaluate", "classes.xlstm", "classes.csv", "--only", "columns.csv"), 1, ("columns.csv has no column 'id'",)),
    "a layer to predict with": (("predict", "layer.xlstm", "ab"), 1, ("layer.xlstm is a LSTM, which gives no answers",)),
    "a layer to measure": (("evaluate", "layer.xlstm", "texts.csv"), 1, ("layer.xlstm is a LSTM",)),
    "features to measure": (("evaluate", "features.xlstm", "texts.csv"), 1, ("makes features of sequences, which predict writes: it gives no answers to be measured",)),
    "a table of numbers without a word": (("train", "classes.csv", "--label", "speed"), 1, ("has no column 'text'", "a row is a step: --id COLUMN, or a series: --wide")),
    "another file in place of the model": ((*TRAIN_LONG, "--out", "texts.csv"), 1, ("texts.csv is there already, and is no file of xlstm: name another by --out FILE, or add --force",)),
    "a number that is missing": (("train", "hole.csv", *LONG, "--task", "number"), 1, ("line 3 of hole.csv has the label 'NA' in the column 'label', others have numbers: fill it",)),
    "an index that pandas wrote": (("train", "index.csv", "--id", "run"), 1, ("column 1 of index.csv has no name", "by --features")),
    "data for a model": (("predict", "classes.csv", "ab"), 1, ("classes.csv", "not a model file")),
    "answers over the data": (("predict", "classes.xlstm", "classes.csv", "--out", "classes.csv"), 1, ("would overwrite classes.csv",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told_in_one_line(folder, monkeypatch, capsys, name):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    arguments, code, parts = CASES[name]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = call(monkeypatch, capsys)(*arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if not line.startswith("xlstm: warning: ")]
    line = lines[-1]
    assert "error: " in line
    assert len(line) < 700, f"{line:.700}"
    if code == 1:
        assert all(line.startswith("xlstm: error: ") for line in lines), done.err
    place = 0
    for part in parts:
        assert part in line[place:], line
        place = line.index(part, place)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_features_that_were_learned_of_are_told(run):
    rows = [(f"r{k}", step, k % 2 + step, k, "ab"[k % 2]) for k in range(20) for step in range(3)]
    write_rows("sensors.csv", ("id", "time", "speed", "hours", "label"), rows)
    told = run("train", "sensors.csv", "--id", "id", "--time", "time", "--epochs", 1, "--hidden-size", 2)
    assert "\nfeatures: speed, hours\n" in told.out


def test_numbers_where_classes_are_meant(run):
    rows = [(f"r{k}", step, 0.5, 100 + k) for k in range(20) for step in range(2)]
    write_rows("hours.csv", ("id", "time", "speed", "hours"), rows)
    told = run("train", "hours.csv", "--id", "id", "--time", "time", "--label", "hours")
    assert told.code == 1
    assert "Is 'hours' the column of the labels? If they are numbers to be learned, say --task number." in told.err


def test_tokens_and_tags_in_lists(run):
    rows = [{"tokens": ["the", "cat", "sat"][: 2 + k % 2], "tags": ["D", "N", "V"][: 2 + k % 2]} for k in range(20)]
    Path("lists.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    flags = ("--text", "tokens", "--label", "tags", "--task", "steps")
    assert run("train", "lists.jsonl", *flags, *QUICK).code == 0
    assert "n_steps" in run("evaluate", "lists.xlstm", "lists.held-out.jsonl", "--json").json
    predicted = run("predict", "lists.xlstm", "--data", "lists.jsonl", "--json").json["predictions"]
    assert [len(row["labels"]) for row in predicted] == [len(row["tags"]) for row in rows]


@pytest.mark.parametrize(
    ("rows", "flags", "told"),
    [
        (["the cat sat,D N V"], (), "has 5 labels for 11 characters: each needs one; as many as there are words: say --words"),
        (["the,D"], (), "has 1 label for 3 characters: each needs one; if a row is a token, name the column of its sentence by --id"),
        (["the cat sat,D N"], (), "has 3 labels for 11 characters: each needs one\n"),
        (["the cat sat,D|N|V"], ("--words",), "has 1 label for 3 words: each needs one, white space between them"),
        (["the cat sat,D N"], ("--words",), "has 2 labels for 3 words: each needs one\n"),
    ],
)  # fmt: skip
def test_labels_that_do_not_go_with_their_text(run, rows, flags, told):
    Path("tags.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    done = run("train", "tags.csv", "--task", "steps", *flags)
    assert done.code == 1
    assert told in done.err


def test_one_label_where_a_list_is_needed(run):
    Path("tags.jsonl").write_text('{"text": "the cat", "label": "D N"}\n' * 4, encoding="utf-8")
    done = run("train", "tags.jsonl", "--task", "steps", "--words")
    assert done.code == 1
    assert "has one label, 'D N': --task steps needs a list of them, one for each step; for one class" in done.err


@pytest.mark.parametrize("name", ["tagged.conll", "tagged.tsv", "tagged.txt"])
def test_a_token_and_its_tag_a_line(run, name):
    Path(name).write_text("the\tDT\ncat\tNN\n\na\tDT\n", encoding="utf-8")
    done = run("train", name, "--task", "steps", "--words")
    assert done.code == 1
    assert 'make JSON lines, a sentence each: {"x": ["the", "cat"], "y": ["DT", "NN"]}' in done.err


def test_a_report_calls_the_number_as_the_label_is_called(run):
    rows = [(f"r{k}", step + k, k / 2) for k in range(20) for step in range(3)]
    write_rows("heat.csv", ("run", "heat", "degrees"), rows)
    run("train", "heat.csv", "--id", "run", "--label", "degrees", "--task", "number", *QUICK)
    run("report", "heat.xlstm", "heat.csv", "--out", "heat.html")
    page = Path("heat.html").read_text(encoding="utf-8")
    assert "degrees: residuals" in page
    assert "the mean of degrees" in page
