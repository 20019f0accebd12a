"""`train` that is interrupted, or cannot write: the older model stays, and rows stand beside their own."""

import hashlib
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import xlstm
from xlstm import checkpoint, interrupts, optim
from xlstm.cli import train
from xlstm.files import alone_beside

from .. import classifier as truth
from .command import Done, run, write_rows

__all__ = ["run"]  # a fixture

QUICK = ("--hidden-size", "8", "--epochs", "3", "--device", "cpu")
ROWS = list(zip(*truth.last_letter(120), strict=True))


def contents() -> dict[str, bytes]:
    """Of all files in the folder."""
    return {file.name: file.read_bytes() for file in Path().iterdir()}


def held_out_is_of(model: str, rows: str) -> bool:
    """Whether rows, where there are any, were held out from the training of the model."""
    if not Path(rows).exists():
        return True
    return xlstm.load(model).fitted_state().table.held_out == hashlib.sha256(Path(rows).read_bytes()).hexdigest()


# ---------------------------------------------------------------- Ctrl-C and SIGTERM


@pytest.fixture
def interrupted(run, monkeypatch):
    """`train` on a table in the folder, in which a signal comes after so many whole epochs."""

    def command(whole_epochs: int, *arguments: Any, by: signal.Signals = signal.SIGINT) -> Done:
        updates, right = [0], optim.Optimizer.step

        def step(*arguments: Any) -> None:
            right(*arguments)
            updates[0] += 1
            if updates[0] == 6 * whole_epochs + 2:  # of 96 rows in batches of 16
                signal.raise_signal(by)

        write_rows("data.csv", ("text", "label"), ROWS)
        with monkeypatch.context() as patch:
            patch.setattr("xlstm.backends.find_step", lambda *_: None)
            patch.setattr(optim.Optimizer, "step", step)
            patch.setattr(interrupts, "_kept_in", interrupts._nowhere)
            done = run("train", "data.csv", *QUICK, "--batch-size", 16, *arguments)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        return done

    return command


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("by", SIGNALS)
@pytest.mark.parametrize("whole_epochs", [0, 1])
def test_an_interrupted_training_leaves_the_older_model(run, interrupted, whole_epochs, by):
    write_rows("data.csv", ("text", "label"), ROWS)
    assert run("train", "data.csv", *QUICK, "--seed", 5, "--json").json["interrupted"] is False
    before = contents()
    done = interrupted(whole_epochs, "--json", by=by)
    assert (done.code, done.out, contents()) == (SIGNALS[by], "", before)
    told = done.err.splitlines()[-1].rpartition("\r")[2]
    if whole_epochs:
        assert told.endswith(
            "xlstm: error: interrupted after 1 whole epoch, so data.xlstm is as it was: --keep-interrupted writes the "
            "model of the whole epochs, --resume FILE keeps a training that can go on"
        )
    else:
        assert told.endswith("xlstm: interrupted")


@pytest.mark.parametrize("by", SIGNALS)
def test_an_interrupted_training_writes_no_first_model(interrupted, by):
    done = interrupted(1, by=by)
    assert (done.code, done.out, list(contents())) == (SIGNALS[by], "", ["data.csv"])
    assert "so there is no model: --keep-interrupted" in done.err


@pytest.mark.parametrize("by", SIGNALS)
def test_keep_interrupted_writes_the_whole_epochs(run, interrupted, by):
    write_rows("data.csv", ("text", "label"), ROWS)
    assert run("train", "data.csv", *QUICK, "--seed", 5).code == 0
    done = interrupted(1, "--keep-interrupted", "--json", by=by)
    assert done.code == SIGNALS[by]
    values = json.loads(done.out)
    assert (values["interrupted"], values["epochs"], xlstm.load("data.xlstm").n_iter_) == (True, 1, 1)
    assert "interrupted" not in done.err
    assert held_out_is_of("data.xlstm", "data.held-out.csv")


def test_an_interrupted_training_that_is_kept_goes_on(run, interrupted, monkeypatch):
    monkeypatch.setattr("xlstm.backends.find_step", lambda *_: None)  # the interrupted one's: others round differently
    done = interrupted(1, "--resume", "kept.xlstm")
    assert (done.code, sorted(contents())) == (130, ["data.csv", "kept.xlstm"])
    assert "so there is no model: the same command goes on from kept.xlstm" in done.err
    assert run("train", "data.csv", *QUICK, "--batch-size", 16, "--resume", "kept.xlstm").code == 0
    assert run("train", "data.csv", *QUICK, "--batch-size", 16, "--out", "whole.xlstm").code == 0
    assert xlstm.load("data.xlstm").loss_curve_ == xlstm.load("whole.xlstm").loss_curve_


# ---------------------------------------------------------------- the model and its held-out rows


@pytest.mark.parametrize("where", ["data.held-out.csv", "rows/held.csv"])
def test_no_moment_has_rows_beside_a_model_that_they_are_not_of(run, monkeypatch, where):
    """Looked at before and after whatever changes a folder: what a kill in between leaves."""
    write_rows("data.csv", ("text", "label"), ROWS)
    Path("rows").mkdir()
    arguments = ("train", "data.csv", *QUICK, "--held-out", where)
    assert run(*arguments, "--seed", 5).code == 0
    before, seen = xlstm.load("data.xlstm").fitted_state().table.held_out, set()
    os.chmod(where, 0o600)

    def looked_at(function: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            look()
            try:
                return function(*given, **more)
            finally:
                look()

        return call

    def look() -> None:
        assert held_out_is_of("data.xlstm", where)
        seen.add((xlstm.load("data.xlstm").fitted_state().table.held_out == before, Path(where).exists()))
        assert all(path.stat().st_mode & 0o077 == 0 for path in Path(where).parent.glob(".*.csv.*"))

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "rename"):
            patch.setattr(os, name, looked_at(getattr(os, name)))
        done = run(*arguments, "--seed", 6)
    assert done.code == 0, done.err
    assert seen == {(True, True), (True, False), (False, False), (False, True)}
    assert Path(where).stat().st_mode & 0o777 == 0o600
    assert not [path for path in Path().rglob(".*")]


def test_of_two_trainings_at_once_the_last_pair_stays(run, monkeypatch):
    """Both write to one file, and began before the other was done: one ends while the other trains."""
    write_rows("data.csv", ("text", "label"), ROWS)
    fit, inner = train._fit, []

    def fit_beside_another(*given: Any) -> None:
        fit(*given)
        if not inner:
            inner.append(None)
            inner[0] = run("train", "data.csv", *QUICK, "--seed", 6)

    monkeypatch.setattr(train, "_fit", fit_beside_another)
    outer = run("train", "data.csv", *QUICK, "--seed", 5)
    assert (outer.code, inner[0].code) == (0, 0), (outer.err, inner[0].err)
    assert held_out_is_of("data.xlstm", "data.held-out.csv")
    assert xlstm.load("data.xlstm").random_state == 5


@pytest.mark.skipif(os.name != "posix", reason="folders have no locks there")
def test_a_training_waits_until_another_has_replaced_its_pair(tmp_path):
    entered, left = threading.Event(), []

    def other() -> None:
        with alone_beside(tmp_path / "model"):
            entered.set()
            left.append("waited")

    thread = threading.Thread(target=other)
    with alone_beside(tmp_path / "model"):
        thread.start()
        assert not entered.wait(0.2)
        left.append("first")
    thread.join(10)
    assert left == ["first", "waited"]


@pytest.mark.skipif(os.name != "posix", reason="folders have no locks there")
def test_nobody_waits_for_a_folder_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("xlstm.files.PATIENCE", 0.1)
    with alone_beside(tmp_path / "model"), alone_beside(tmp_path / "model"):
        pass


def test_a_file_holds_either_held_out_rows_or_a_training(run):
    write_rows("data.csv", ("text", "label"), ROWS)
    done = run("train", "data.csv", *QUICK, "--held-out", "kept", "--resume", "./kept")
    assert done.code == 1
    assert "kept cannot hold both the training and the held-out rows: name two files" in done.err
    assert not Path("kept").exists()


def test_what_a_killed_training_left_goes_with_the_next(run):
    """Killed as its last step: the next has the same rows, which need not be written again."""
    write_rows("data.csv", ("text", "label"), ROWS)
    assert run("train", "data.csv", *QUICK).code == 0
    for which in ("new", "old"):
        Path(f".data.held-out.csv.{which}").write_text("of a model that is no more", encoding="utf-8")
    assert run("train", "data.csv", *QUICK).code == 0
    assert not [path for path in Path().rglob(".*")]


@pytest.mark.parametrize("when", [0, 1, 2, 3])
@pytest.mark.parametrize("was_there", [True, False])
def test_what_cannot_be_replaced_leaves_model_and_rows_together(run, monkeypatch, was_there, when):
    write_rows("data.csv", ("text", "label"), ROWS)
    assert run("train", "data.csv", *QUICK, "--seed", 5).code == 0
    if not was_there:
        Path("data.held-out.csv").unlink()
    before, right, calls = contents(), os.replace, [0]

    def replace(*given: Any) -> None:
        calls[0] += 1
        if calls[0] == when + 1:
            raise OSError(28, "No space left on device")
        right(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        done = run("train", "data.csv", *QUICK, "--seed", 6)
    model_is_old = contents()["data.xlstm"] == before["data.xlstm"]
    assert done.code == int(when < (4 if was_there else 3))
    assert held_out_is_of("data.xlstm", "data.held-out.csv")
    if model_is_old:
        assert contents() == before
        assert done.code == 1


def test_an_error_after_the_model_was_replaced(run, monkeypatch):
    """As where its folder cannot be synced: the new one is there, so that its rows have to be."""
    write_rows("data.csv", ("text", "label"), ROWS)
    assert run("train", "data.csv", *QUICK, "--seed", 5).code == 0
    before, right = contents(), checkpoint.write_whole

    def unsynced(*given: Any) -> None:
        right(*given)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_whole", unsynced)
        done = run("train", "data.csv", *QUICK, "--seed", 6)
    assert (done.code, sorted(contents())) == (1, sorted(before))
    assert contents()["data.xlstm"] != before["data.xlstm"]
    assert held_out_is_of("data.xlstm", "data.held-out.csv")
