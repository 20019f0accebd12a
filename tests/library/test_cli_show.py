"""The command `show`: what it says of a model is what the model is, and what its training was."""

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

from .. import classifier as truth

OLD = Path(__file__).parents[1] / "files" / "v1"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)

    def command(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return command


def test_a_model_that_was_trained_here(run):
    texts, labels = truth.last_letter(120)
    with open("data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("said", "letter"), *zip(texts, labels, strict=True)])
    settings = ("--text", "said", "--label", "letter", "--hidden-size", "8", "--epochs", "2", "--device", "cpu")
    trained = json.loads(run("train", "data.csv", *settings, "--json")[1])
    model = xlstm.load("data.xlstm")
    code, out, _ = run("show", "data.xlstm", "--json")
    shown = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0
    assert (shown["kind"], shown["task"]) == ("SequenceClassifier", "classes")
    assert shown["answers"] == {"classes": ["a", "b", "c"]}
    assert shown["reads"] == {
        "tokens": "characters",
        "fold_case": True,
        "normalize": "NFC",
        "vocabulary_size": 3,
        "vocabulary": ["a", "b", "c"],
    }
    assert (shown["table"]["text"], shown["table"]["label"]) == ("said", "letter")
    assert shown["settings"] == {"hidden_size": 8, "max_iter": 2, "random_state": 0}
    assert shown["network"]["parameters"] == len(model.fitted_state().model.read())
    assert shown["trained"]["epochs"] == 2
    assert shown["trained"]["sequences"] == 96
    assert shown["trained"]["device"] == trained["device"] == "cpu"
    assert shown["trained"]["loss"] == model.loss_
    assert shown["trained"]["scores"] == {"accuracy": model.accuracy_curve_[-1]}
    scores = {name: trained[name] for name in ("accuracy", "balanced_accuracy")}
    assert shown["held_out"] == {**scores, "sequences": 24}

    told = run("show", "data.xlstm")[1]
    parts = ("one of 3 classes: a, b, c", "texts, by characters", "3 known: a, b, c", "text 'said'", "hidden_size=8")
    for part in (*parts, "2 epochs on 96 sequences on cpu", f"accuracy {trained['accuracy']:.4f}, "):
        assert part in told, part


def test_features_in_their_order(run):
    names = ["speed", "height", "load"]
    X = xlstm.Sequences(np.random.default_rng(0).standard_normal((20, 3)), [5] * 4, names)
    xlstm.SequenceClassifier(hidden_size=2, max_iter=1, early_stopping=False).fit(X, [0, 1, 0, 1]).save("m.xlstm")
    shown = json.loads(run("show", "m.xlstm", "--json")[1])
    assert shown["reads"] == {"features": names, "n_features": 3, "steps": None}
    assert (shown["table"], shown["held_out"], shown["trained"]["sequences"]) == (None, None, None)
    assert "series of 3 features, in this order: speed, height, load" in run("show", "m.xlstm")[1]
    X = np.random.default_rng(0).standard_normal((4, 7))
    xlstm.SequenceClassifier(hidden_size=2, max_iter=1).fit(X, [0, 1, 0, 1]).save("m.xlstm")
    assert "series of 7 steps of one feature" in run("show", "m.xlstm")[1]


def test_long_lists_are_cut_for_people(run):
    texts = [2 * chr(0x4E00 + k) for k in range(60)]
    labels = [f"class {k:02}" for k in range(60)]
    xlstm.SequenceClassifier(hidden_size=2, max_iter=1).fit(texts, labels).save("m.xlstm")
    told = run("show", "m.xlstm")[1]
    assert told.count("and 40 more") == 2
    assert "19 and 40 more" in told
    assert json.loads(run("show", "m.xlstm", "--json")[1])["answers"]["classes"] == labels


def test_other_tasks(run):
    X = truth.sign_of_sum(12)[0]
    xlstm.SequenceRegressor(hidden_size=2, max_iter=1).fit(X, np.arange(24.0).reshape(12, 2)).save("m.xlstm")
    shown = json.loads(run("show", "m.xlstm", "--json")[1])
    assert (shown["kind"], shown["answers"]) == ("SequenceRegressor", {"numbers": 2})
    assert "2 numbers" in run("show", "m.xlstm")[1]
    xlstm.SequenceLabeler(hidden_size=2, max_iter=1).fit(["ab", "b"], ["XY", "Y"]).save("m.xlstm")
    shown = json.loads(run("show", "m.xlstm", "--json")[1])
    assert (shown["kind"], shown["answers"]) == ("SequenceLabeler", {"classes": ["X", "Y"]})
    assert "at each step one of 2 classes: X, Y" in run("show", "m.xlstm")[1]


def test_a_layer(run):
    layer = xlstm.GRU(3, 4, bidirectional=True, seed=0)
    layer.save("layer")
    shown = json.loads(run("show", "layer", "--json")[1])
    assert shown["kind"] == "GRU"
    assert shown["network"]["parameters"] == sum(values.size for values in layer.parameters.values())
    assert (shown["network"]["input_size"], shown["network"]["bidirectional"]) == (3, True)
    assert "GRU" in run("show", "layer")[1]


@pytest.mark.parametrize("file", sorted(OLD.glob("*.xlstm")), ids=lambda file: file.stem)
def test_models_of_older_versions(run, file):
    code, out, _ = run("show", file, "--json")
    assert code == 0
    assert json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["trained"]["epochs"] > 0
    assert run("show", file)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "not a model file"),
        (b"text,label\na,b\n", "not a model file"),
    ],
)
def test_what_is_no_model(run, content, message):
    if content is not None:
        Path("m.xlstm").write_bytes(content)
    for form in ([], ["--json"]):
        code, out, err = run("show", "m.xlstm", *form)
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 1
        assert "m.xlstm" in err
        assert message in err
