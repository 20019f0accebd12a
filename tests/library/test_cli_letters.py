"""The letters of the command line: bytes are UTF-8 in and out, whatever the locale is; what is not is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import xlstm

from .command import run, write_rows

__all__ = ["run"]  # a fixture

pytestmark = pytest.mark.skipif(os.name != "posix", reason="arguments are letters there, no bytes")
LOCALES: dict[str, dict[str, str]] = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # as any locale without UTF-8
    "output alone": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "cp1252"},
}
ROWS = [("äää", "ü"), ("ööö", "ß"), ("ää", "ü"), ("öö", "ß")] * 6


@pytest.fixture
def model(tmp_path: Path) -> xlstm.SequenceClassifier:
    """Which of two letters a text has, whose bytes in UTF-8 begin alike."""
    texts, labels = zip(*ROWS, strict=True)
    model = xlstm.SequenceClassifier(hidden_size=4, max_iter=60, learning_rate_init=0.05, random_state=0, device="cpu")
    model.fit(list(texts), list(labels)).save(tmp_path / "größe.xlstm")
    return model


def called(folder: Path, locale: str, *arguments: Any, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """A command in a process of its own, with arguments of bytes."""
    there = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    command = [sys.executable, "-m", "xlstm", *arguments, "--device", "cpu"]
    done = subprocess.run(command, cwd=folder, env={**there, **LOCALES[locale]}, input=stdin, capture_output=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("locale", LOCALES)
def test_texts_of_arguments_and_answers(locale, tmp_path, model):
    file = "größe.xlstm".encode()
    texts = ["äÄ", "ö", "a"]
    code, out, err = called(tmp_path, locale, b"predict", file, *map(str.encode, texts), b"--json")
    assert (code, err) == (0, b"")
    found = json.loads(out)["predictions"]
    assert [each["text"] for each in found] == texts
    assert [each["label"] for each in found] == model.predict(texts).tolist() == ["ü", "ß", *model.predict(["a"])]
    assert [list(each["probabilities"].values()) for each in found] == model.predict_proba(texts).tolist()
    assert [each["unknown"] for each in found] == [False, False, True]

    code, out, err = called(tmp_path, locale, b"predict", file, b"--format", b"csv", stdin="äÄ\nö\n".encode())
    assert (code, err) == (0, b"")
    assert [line.split(",")[:2] for line in out.decode().splitlines()] == [["text", "label"], ["äÄ", "ü"], ["ö", "ß"]]


@pytest.mark.parametrize("locale", LOCALES)
def test_what_is_not_utf_8_is_refused_in_its_place(locale, tmp_path, model):
    code, out, err = called(tmp_path, locale, b"predict", "größe.xlstm".encode(), "ä".encode(), b"\xe4\xff", b"--json")
    assert code == 1
    values = json.loads(out)
    assert [each["text"] for each in values["predictions"]] == ["ä"]
    (wrong,) = values["errors"]
    assert (wrong["row"], wrong["text"]) == (2, "\\xe4\\xff")
    assert wrong["error"].startswith("text 2, '\\\\xe4\\\\xff', is not UTF-8: give it as a line of a file by --lines")
    assert err.decode() == f"xlstm: error: {wrong['error']}\n"

    code, out, err = called(tmp_path, locale, b"predict", "größe.xlstm".encode(), stdin="ä\n".encode("latin-1"))
    assert (code, out) == (1, b"")
    assert err.decode().startswith("xlstm: error: standard input is not UTF-8 text: byte 0xe4 in line 1")


def test_names_of_columns_and_labels(tmp_path):
    write_rows(str(tmp_path / "größe.csv"), ("wört", "schlüssel"), ROWS)
    flags = ("--text", "wört", "--label", "schlüssel", "--class-weight", "ß=2", "--out", "größe.xlstm", "--epochs", "1")
    code, out, err = called(
        tmp_path, "ASCII", *map(str.encode, ("train", "größe.csv", *flags, "--test-fraction", "0", "--json"))
    )
    assert code == 0, err.decode()
    assert json.loads(out)["model"] == "größe.xlstm"
    found = xlstm.load(tmp_path / "größe.xlstm")
    table = found.fitted_state().table
    assert (table.text, table.label, found.class_weight) == ("wört", "schlüssel", {"ß": 2.0})
    code, _, err = called(tmp_path, "ASCII", b"train", b"none.csv", b"--text", b"\xf6")
    assert code == 2
    assert err.decode().splitlines()[-1].endswith("argument --text: must be UTF-8 text, got '\\\\xf6'")
