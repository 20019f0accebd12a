"""`fit(resume=path)`: trainings that are stopped at any time end with the bits of those that never were."""

import json
import os
import pickle
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import callbacks, checkpoint, files, interrupts, optim, train
from xlstm.callbacks import JSONLines, Progress
from xlstm.estimators import resume as resuming
from xlstm.estimators import training

from .. import classifier as truth
from .test_train import Interrupting

TEXTS, LETTERS = truth.last_letter(40)
SERIES, SIGNS = truth.sign_of_sum(40)
WEIGHTS = np.random.default_rng(5).uniform(0.5, 2.0, 40)


FIXED = {"readout": "final", "bidirectional": False, "warmup": 0, "random_state": 0, "device": "cpu"}


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(
        **{"hidden_size": 3, "batch_size": 8, "max_iter": 9, "learning_rate": "constant", **FIXED, **settings}
    )


class Stopped(Exception):
    """As sudden as an exception can be."""


def stopping(*epochs: int) -> Callable[[Progress], None]:
    """A callback that stops the training when the next of these epochs has ended."""
    to_come = list(epochs)

    def stop(progress: Progress) -> None:
        if to_come and progress.epoch == to_come[0]:
            to_come.pop(0)
            raise Stopped

    return stop


def stopped(make: Callable[[], Any], X: Any, y: Any, path: Any, epochs: Any, **more: Any) -> Any:
    """A training that is stopped at these epochs, each time gone on with by a new estimator, and then ends."""
    stop = stopping(*epochs)
    for _ in epochs:
        with pytest.raises(Stopped):
            make().fit(X, y, **more, callbacks=stop, resume=path)
    return make().fit(X, y, **more, callbacks=stop, resume=path)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "validation": {"early_stopping": True, "n_iter_no_change": 20, "learning_rate_init": 0.1},
    "patience": {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 40, "learning_rate_init": 0.1},
    "schedule": {"learning_rate": "cosine", "warmup": 7},
    "drawn": {"dropout": 0.3, "token_dropout": 0.2, "embedding_size": 3, "num_layers": 2},
    "weights": {"class_weight": {"a": 2.0, "b": 1.0, "c": 0.5}, "early_stopping": True, "learning_rate_init": 0.4},
    "solver": {"solver": "sgd", "alpha": 0.01, "dtype": "float64", "bidirectional": True, "cell": "gru"},
    "readout": {"readout": "attention", "solver": "adamw", "alpha": 0.1, "cell": "rnn"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(case, tmp_path):
    settings, y = CASES[case], np.random.default_rng(0).permutation(LETTERS)  # what is validated soon gets worse
    whole = make(**settings).fit(TEXTS, y)
    last = whole.n_iter_  # after which nothing is left to do but to end
    if settings.get("early_stopping"):
        assert whole.validation_loss_curve_[-1] > min(whole.validation_loss_curve_)
        assert (last < make(**settings).max_iter) == (case == "patience")
    again = stopped(lambda: make(**settings), TEXTS, y, tmp_path / "run.xlstm", (1, 2, last - 1, last))
    assert truth.whole_state(again) == truth.whole_state(whole)
    found = xlstm.load(tmp_path / "run.xlstm", "cpu")
    assert truth.whole_state(found) == truth.whole_state(whole)


def test_the_same_bits_of_series_with_weights(tmp_path):
    settings = {"early_stopping": True, "class_weight": "balanced"}
    whole = make(**settings).fit(SERIES, SIGNS, WEIGHTS)
    again = stopped(lambda: make(**settings), SERIES, SIGNS, tmp_path / "run", (1, 8), sample_weight=WEIGHTS)
    assert truth.whole_state(again) == truth.whole_state(whole)


def test_the_same_bits_of_a_warm_start(tmp_path):
    """With another part of the rows than it began with: both sides stay apart, over the file too."""
    settings = {"early_stopping": True, "warm_start": True, "max_iter": 5, "learning_rate": "cosine"}
    start = pickle.dumps(make(**settings).fit(TEXTS[:25], LETTERS[:25]))
    whole = pickle.loads(start).fit(TEXTS[5:], LETTERS[5:])
    again = stopped(lambda: pickle.loads(start), TEXTS[5:], LETTERS[5:], tmp_path / "run", (1, 4))
    assert truth.whole_state(again) == truth.whole_state(whole)


@pytest.mark.parametrize(
    ("kind", "y", "settings"),
    [
        (xlstm.SequenceRegressor, [row.sum() for row in SERIES], {"loss": "huber"}),
        (xlstm.SequenceLabeler, [np.cumsum(row[:, 0]) > 0 for row in SERIES], {"bidirectional": True}),
        (xlstm.SequenceClassifier, np.array([row.sum(axis=0) > 0 for row in SERIES]), {}),
    ],
    ids=["a number", "a label a step", "several labels"],
)
def test_the_same_bits_of_other_answers(kind, y, settings, tmp_path):
    def other() -> Any:
        return kind(hidden_size=3, max_iter=6, random_state=0, early_stopping=True, device="cpu", **settings)

    whole, again = other().fit(SERIES, y), stopped(other, SERIES, y, tmp_path / "run", (2, 5))
    assert truth.whole_state(again) == truth.whole_state(whole)


@pytest.mark.parametrize("validation", [None, (TEXTS[:9], LETTERS[:9])], ids=["alone", "validated"])
def test_the_same_bits_of_batches(validation, tmp_path):
    """Through a buffer that does not hold them all. Batches in another order make another training."""

    def batches() -> Any:
        yield from ((TEXTS[k : k + 10], LETTERS[k : k + 10]) for k in range(0, 40, 10))

    source, path = xlstm.Batches(batches, buffer=24), tmp_path / "run"
    whole = make().fit(source, validation=validation)
    again = stopped(make, source, None, path, (1, 4, 9), validation=validation)
    assert truth.whole_state(again) == truth.whole_state(whole)
    for others in (lambda: iter(list(batches())[::-1]), lambda: iter([([*TEXTS[1:], "a"], LETTERS)])):
        with pytest.raises(ValueError, match="holds a training on another X and another y: pass the same"):
            make().fit(xlstm.Batches(others, buffer=24), resume=path)


def test_other_rows_to_validate_with_are_refused(tmp_path):
    path, rows = tmp_path / "run", (TEXTS[:9], LETTERS[:9])
    with pytest.raises(Stopped):
        make().fit(TEXTS, LETTERS, validation=rows, callbacks=stopping(3), resume=path)
    for other in (None, (TEXTS[:9], LETTERS[1:10]), (TEXTS[1:10], LETTERS[:9]), (*rows, np.arange(9))):
        with pytest.raises(ValueError, match="was validated on other rows, or on none: pass the same"):
            make().fit(TEXTS, LETTERS, validation=other, resume=path)
    clf = make().fit(TEXTS, LETTERS, validation=rows, resume=path)
    assert truth.whole_state(clf) == truth.whole_state(make().fit(TEXTS, LETTERS, validation=rows))


VALIDATIONS: dict[str, Any] = {
    "rows": lambda: (TEXTS[:9], LETTERS[:9]),
    "other rows": lambda: (TEXTS[:9], LETTERS[1:10]),
    "batches": lambda: xlstm.Batches(lambda: iter([(TEXTS[:9], LETTERS[:9])])),
    "none": lambda: None,
}


@pytest.mark.parametrize("of", ["rows", "batches", "none"])
@pytest.mark.parametrize("kind", ["arrays", "batches"])
def test_a_training_that_has_ended_is_not_taken_for_one_that_was_validated_otherwise(kind, of, tmp_path):
    path, whole = tmp_path / "run", {"X": TEXTS, "y": LETTERS}
    if kind == "batches":
        whole = {"X": xlstm.Batches(lambda: iter([(TEXTS, LETTERS)]))}
    clf = make().fit(**whole, validation=VALIDATIONS[of](), resume=path)
    content = path.read_bytes()
    for name, validation in VALIDATIONS.items():
        if name == of:
            again = make().fit(**whole, validation=validation(), resume=path)
            assert truth.whole_state(again) == truth.whole_state(clf)
            continue
        with pytest.raises(ValueError, match="was validated on other rows, or on none: pass the same as validation"):
            make().fit(**whole, validation=validation(), resume=path)
    assert path.read_bytes() == content


def test_a_training_that_has_ended_validated_on_the_rows_that_it_set_aside(tmp_path):
    path, settings = tmp_path / "run", {"early_stopping": True, "n_iter_no_change": 20}
    clf = make(**settings).fit(TEXTS, LETTERS, resume=path)
    assert truth.whole_state(make(**settings).fit(TEXTS, LETTERS, resume=path)) == truth.whole_state(clf)
    with pytest.raises(ValueError, match="was validated on other rows, or on none"):
        make(**settings).fit(TEXTS, LETTERS, validation=(TEXTS[:9], LETTERS[:9]), resume=path)


@pytest.mark.parametrize("ended", [True, False])
def test_another_buffer_is_another_training(ended, tmp_path):
    """Other rows meet in its batches: the file of it says so."""

    def source(**more: Any) -> Any:
        return xlstm.Batches(lambda: iter([(TEXTS[:20], LETTERS[:20]), (TEXTS[20:], LETTERS[20:])]), **more)

    path = tmp_path / "run"
    if ended:
        make().fit(source(buffer=24), resume=path)
    else:
        with pytest.raises(Stopped):
            make().fit(source(buffer=24), callbacks=stopping(3), resume=path)
    told = f"{path} holds a training with another buffer: buffer was 24 and is 30. Use the same, or name another file."
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        make().fit(source(buffer=30), resume=path)
    assert truth.whole_state(make().fit(source(buffer=24), resume=path)) == truth.whole_state(
        make().fit(source(buffer=24))
    )


def test_rows_that_are_told_belong_to_the_training(tmp_path):
    """Of batches with a sample nobody counts them: the schedule goes by the number that is told."""

    def source(rows: int) -> Any:
        return xlstm.Batches(lambda: iter([(TEXTS, LETTERS)]), sample=(TEXTS, LETTERS), rows=rows)

    path = tmp_path / "run"
    make().fit(source(40), resume=path)
    with pytest.raises(ValueError, match="holds a training on 40 rows, and these are 80: pass the same"):
        make().fit(source(80), resume=path)


def test_within_an_epoch_what_was_noted_of_the_last_is_kept(tmp_path, monkeypatch):
    """Though it was not yet written, and though the moments and the generator have gone on since."""
    monkeypatch.setattr(resuming, "SHARE_OF_TIME", 1e-9)  # the first epoch is written, and then nothing
    settings = {"early_stopping": True, "dropout": 0.2}
    whole = make(**settings).fit(TEXTS, LETTERS)
    step, updates = optim.Optimizer.step, []

    def interrupted(*given: Any) -> None:
        step(*given)
        updates.append(1)
        if len(updates) == 3 * 5 + 2:  # of 36 rows, batches of 8
            raise Stopped

    monkeypatch.setattr(optim.Optimizer, "step", interrupted)
    with pytest.raises(Stopped):
        make(**settings).fit(TEXTS, LETTERS, resume=tmp_path / "run")
    assert xlstm.load(tmp_path / "run", "cpu").n_iter_ == 3
    again = make(**settings).fit(TEXTS, LETTERS, resume=tmp_path / "run")
    assert truth.whole_state(again) == truth.whole_state(whole)


def test_without_a_seed_the_file_has_all_that_was_drawn(tmp_path):
    """Which rows validate, too: gone on with twice from one file, both are the same."""
    settings = {"random_state": None, "early_stopping": True, "dropout": 0.2}
    with pytest.raises(Stopped):
        make(**settings).fit(TEXTS, LETTERS, callbacks=stopping(4), resume=tmp_path / "one")
    (tmp_path / "two").write_bytes((tmp_path / "one").read_bytes())
    first = xlstm.load(tmp_path / "one", "cpu")
    one, two = (make(**settings).fit(TEXTS, LETTERS, resume=tmp_path / name) for name in ("one", "two"))
    assert truth.whole_state(one) == truth.whole_state(two)
    assert one.loss_curve_[:4] == first.loss_curve_
    aside = [set(clf.fitted_state().sides.aside) for clf in (first, one)]
    assert aside[0] == aside[1]
    assert len(aside[0]) > 0


def test_a_file_that_is_kept_does_not_change_the_training(tmp_path):
    settings = {"early_stopping": True, "dropout": 0.2}
    clf = make(**settings).fit(TEXTS, LETTERS, resume=tmp_path / "run")
    assert truth.whole_state(clf) == truth.whole_state(make(**settings).fit(TEXTS, LETTERS))


def test_at_any_time_the_file_is_the_model_that_an_end_there_would_have_had(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "SHARE_OF_TIME", 1e9)  # each epoch is written
    path, y = tmp_path / "run.xlstm", np.random.default_rng(0).permutation(LETTERS)  # it soon gets worse
    found = {}

    def look(progress: Progress) -> None:
        if progress.epoch > 1:
            found[progress.epoch - 1] = xlstm.load(path, "cpu")

    settings = {"early_stopping": True, "n_iter_no_change": 50, "learning_rate_init": 0.1}
    make(**settings).fit(TEXTS, y, callbacks=look, resume=path)
    for epoch, model in found.items():
        short = make(**settings, max_iter=epoch).fit(TEXTS, y)
        np.testing.assert_array_equal(model.predict_proba(TEXTS), short.predict_proba(TEXTS))
        assert model.history_ == short.history_
    assert len(found) == 8


def test_a_training_that_has_ended_is_not_begun_again(tmp_path):
    path = tmp_path / "run.xlstm"
    clf = make().fit(TEXTS, LETTERS, resume=path)
    content, called = path.read_bytes(), []
    again = make(verbose=True)  # which is of no effect on a training
    again.progress = lambda *_: called.append(1)
    assert again.fit(TEXTS, LETTERS, callbacks=called.append, resume=path) is again
    np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    assert (called, path.read_bytes()) == ([], content)
    again.partial_fit(TEXTS, LETTERS)
    assert again.n_iter_ == 10


def test_callbacks_are_told_that_it_goes_on(tmp_path):
    seen: list[tuple[int, float, Any]] = []
    callbacks = [JSONLines(tmp_path / "history.jsonl"), lambda progress: seen.append(progress)]
    with pytest.raises(Stopped):
        make().fit(TEXTS, LETTERS, callbacks=[*callbacks, stopping(6)], resume=tmp_path / "run")
    with open(tmp_path / "history.jsonl", encoding="utf-8") as file:
        assert len(file.readlines()) == 6
    before = seen[5].seconds
    (tmp_path / "history.jsonl").write_bytes((tmp_path / "history.jsonl").read_bytes()[:-9])  # as a kill may leave it
    clf = make().fit(TEXTS, LETTERS, callbacks=callbacks, resume=tmp_path / "run")
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert seen[6].seconds > before
    with open(tmp_path / "history.jsonl", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert [line["epoch"] for line in found] == list(range(1, 10))
    assert [line["loss"] for line in found] == clf.loss_curve_
    seconds = [line["seconds"] for line in found]
    assert seconds.pop(5) is None
    assert seconds == sorted(seconds)


# ---------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("warm", [False, True])
def test_after_ctrl_c_it_goes_on(warm, tmp_path):
    """In the same session, with the estimator that has the model of the whole epochs; in a warm start too."""
    start = pickle.dumps(make(warm_start=warm, early_stopping=True).fit(TEXTS[:20], LETTERS[:20]))
    path = tmp_path / "run.xlstm"

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 4:
            raise KeyboardInterrupt

    clf = pickle.loads(start)
    code = compile("clf.fit(X, y, callbacks=[interrupt], resume=path)", "<cell>", "exec")  # a run of its own
    with pytest.warns(xlstm.InterruptedFit):
        exec(code, {"clf": clf, "X": TEXTS, "y": LETTERS, "interrupt": interrupt, "path": path})
    assert clf.n_iter_ == 4
    assert xlstm.load(path, "cpu").n_iter_ == 4
    exec(code, {"clf": clf, "X": TEXTS, "y": LETTERS, "interrupt": lambda _: None, "path": path})
    whole = pickle.loads(start).fit(TEXTS, LETTERS)
    assert truth.whole_state(clf) == truth.whole_state(whole)


# ---------------------------------------------------------------- what does not fit


def other_settings(path: Path) -> None:
    make(hidden_size=4, alpha=0.5).fit(TEXTS, LETTERS, resume=path)


def other_rows(path: Path) -> None:
    make().fit(TEXTS[1:], LETTERS[1:], resume=path)


def another_order(path: Path) -> None:
    make().fit(TEXTS[::-1], LETTERS[::-1], resume=path)


def another_y(path: Path) -> None:
    make().fit(TEXTS, [LETTERS[-1], *LETTERS[1:]], resume=path)


def other_weights(path: Path) -> None:
    make().fit(TEXTS, LETTERS, WEIGHTS, resume=path)


def another_label(path: Path) -> None:
    make().fit(TEXTS, ["d", *LETTERS[1:]], resume=path)


def other_features(path: Path) -> None:
    make().fit(SERIES, LETTERS, resume=path)


def another_start(path: Path) -> None:
    clf = make(warm_start=True)
    clf.fit(TEXTS, LETTERS, resume=path.with_name("warm"))
    path.write_bytes(path.with_name("warm").read_bytes())
    path.with_name("warm").unlink()
    clf.fit(TEXTS, LETTERS, resume=path)


def a_model(path: Path) -> None:
    make().fit(TEXTS, LETTERS).save(path)
    make().fit(TEXTS, LETTERS, resume=path)


def a_layer(path: Path) -> None:
    xlstm.LSTM(2, 3).save(path)
    make().fit(TEXTS, LETTERS, resume=path)


def half_a_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])
    make().fit(TEXTS, LETTERS, resume=path)


def another_file(path: Path) -> None:
    path.write_text("a,b\n1,2\n")
    make().fit(TEXTS, LETTERS, resume=path)


def no_path(path: Path) -> None:
    make().fit(TEXTS, LETTERS, resume=True)


def no_folder(path: Path) -> None:
    make().fit(TEXTS, LETTERS, resume=path / "missing" / "run")


REFUSED: dict[Callable[[Path], None], str] = {
    other_settings: "FILE holds a training with other settings: hidden_size was 3 and is 4, alpha was 0.0 and is 0.5. "
                    "Use the same, or name another file.",
    other_rows: "FILE holds a training on 40 rows, and these are 39: pass the same, in the same order, or name another "
                "file.",
    another_order: "FILE holds a training on another X and another y: pass the same, in the same order, or name "
                   "another file.",
    another_y: "FILE holds a training on another y: pass the same, in the same order, or name another file.",
    other_weights: "FILE holds a training on another sample_weight: pass the same, in the same order, or name another "
                   "file.",
    another_label: "FILE holds a training on other data: row 0 has the label 'd', which is none of the classes "
                   "['a', 'b', 'c'].",
    other_features: "FILE holds a training on other data: ",
    another_start: "FILE holds a training that began anew, and this one would begin from a fitted model: name another "
                   "file, or delete it.",
    a_model: "FILE holds no training that could go on: resume needs a file of its own. Name another.",
    a_layer: "FILE holds no training that could go on: resume needs a file of its own. Name another.",
    half_a_file: "FILE is truncated: it has",
    another_file: "FILE is not a model file of xlstm: it begins with b'a,b\\n1,2\\n'",
    no_path: "resume must be the path of a file, got True.",
    no_folder: "the folder of the file does not exist",
}  # fmt: skip


BEGIN = (other_features, half_a_file, another_file, no_folder)
"""Of which the rest of the message is another file's matter."""


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_what_does_not_fit_is_said_and_nothing_changed(case, tmp_path):
    path = tmp_path / "run.xlstm"
    with pytest.raises(Stopped):
        make().fit(TEXTS, LETTERS, callbacks=stopping(4), resume=path)
    with pytest.raises((ValueError, TypeError, OSError)) as raised:
        case(path)
    told = str(raised.value).replace(str(path), "FILE")
    assert told == REFUSED[case] or (case in BEGIN and REFUSED[case] in told)
    assert [file.name for file in tmp_path.iterdir()] == ["run.xlstm"]


def test_another_estimators_training_is_refused(tmp_path):
    from xlstm.estimators.base import SequenceEstimator
    from xlstm.registry import ESTIMATORS
    from xlstm.tasks.classes import Classes

    @ESTIMATORS.register("OfResume")
    class OfResume(SequenceEstimator):
        tasks = (Classes,)
        class_weight = None

    try:
        make().fit(TEXTS, LETTERS, resume=tmp_path / "run")
        with pytest.raises(ValueError, match="holds the training of a SequenceClassifier, and this is a OfResume"):
            OfResume(max_iter=1).fit(TEXTS, LETTERS, resume=tmp_path / "run")
    finally:
        ESTIMATORS.unregister("OfResume")


RUNS: dict[str, Any] = {
    "no object": 3,
    "a part that is missing": lambda run: run.pop("start"),
    "a part that is not known": lambda run: run.update(more=1),
    "a negative epoch": lambda run: run.update(epoch=-1),
    "an epoch of half": lambda run: run.update(epoch=1.5),
    "an end that is no answer": lambda run: run.update(finished="yes"),
    "a score that is none": lambda run: run.update(best_score=[1.0]),
    "a start that is none": lambda run: run.update(start=5),
    "data without rows": lambda run: run["data"].pop("rows"),
}


@pytest.mark.parametrize("wrong", RUNS)
def test_a_wrong_state_of_a_training_is_refused(wrong, tmp_path):
    path, change = tmp_path / "run.xlstm", RUNS[wrong]
    with pytest.raises(Stopped):
        make().fit(TEXTS, LETTERS, callbacks=stopping(3), resume=path)
    header, arrays = checkpoint.read_state(path)
    header["run"] = change if not callable(change) else header["run"]
    if callable(change):
        change(header["run"])
    checkpoint.write_header(path, header, arrays)
    for read in (lambda: make().fit(TEXTS, LETTERS, resume=path), lambda: xlstm.load(path, "cpu")):
        with pytest.raises(ValueError, match=r"run\.xlstm cannot be understood: "):
            read()


# ---------------------------------------------------------------- writing


class Clock:
    """Time that goes on by what is done: `perf_counter` of the module under test."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_not_more_than_a_share_of_the_time_goes_into_writing(tmp_path, monkeypatch):
    clock, written = Clock(), []
    write = checkpoint.write_header

    def slowly(path: Any, header: Any, arrays: Any) -> None:
        written.append(header["run"]["epoch"])
        clock.now += 1.0
        write(path, header, arrays)

    monkeypatch.setattr(resuming, "time", clock)
    monkeypatch.setattr(checkpoint, "write_header", slowly)

    def epoch(_: Progress) -> None:
        clock.now += 4.0

    make(max_iter=12).fit(TEXTS, LETTERS, callbacks=epoch, resume=tmp_path / "run")
    assert written == [1, 6, 11, 12]  # of each 20 seconds one; and the end


def test_where_it_cannot_be_written_nothing_changes(tmp_path, monkeypatch):
    path, clf = tmp_path / "run.xlstm", make()
    with pytest.raises(Stopped):
        clf.fit(TEXTS, LETTERS, callbacks=stopping(3), resume=path)
    content = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_header", full)
    with pytest.raises(OSError, match="No space left"):
        clf.fit(TEXTS, LETTERS, resume=path)
    assert path.read_bytes() == content
    assert not hasattr(clf, "classes_")


# ---------------------------------------------------------------- kill -9

PROGRAM = """
import sys, time, xlstm
from tests.library.test_resume import LETTERS, TEXTS, make

def told(progress):
    print(progress.epoch, flush=True)
    time.sleep(0.01)

make(dropout=0.2, early_stopping=True, max_iter=40, n_iter_no_change=40, learning_rate="cosine").fit(
    TEXTS, LETTERS, callbacks=told, resume=sys.argv[1])
"""


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    """By SIGKILL: soon after an epoch, so that it is often struck while the file is written."""
    path, rng, kills = tmp_path / "run.xlstm", random.Random(0), 0
    command = [sys.executable, "-c", PROGRAM, str(path)]
    root = Path(__file__).parents[2]
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ}) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(3, 9)):
                told = child.stdout.readline()
            if kills < 4:
                until = rng.uniform(0, 0.02)
                with pytest.raises(subprocess.TimeoutExpired):
                    child.wait(until)
                child.kill()
                kills += 1
            child.stdout.read()
        if child.returncode == 0:
            break
        assert told, "the process ended by itself"
        if path.exists():
            assert xlstm.load(path, "cpu").n_iter_ >= 1
    assert kills == 4
    whole = make(dropout=0.2, early_stopping=True, max_iter=40, n_iter_no_change=40, learning_rate="cosine")
    whole.fit(TEXTS, LETTERS)
    assert truth.whole_state(xlstm.load(path, "cpu")) == truth.whole_state(whole)


# ---------------------------------------------------------------- Ctrl-C at any line


def test_ctrl_c_at_any_line_leaves_a_file_to_go_on_from(tmp_path, monkeypatch):
    """And an estimator that is old or new; wherever it was, the next call ends with the bits of an undisturbed one."""
    monkeypatch.setattr(resuming, "SHARE_OF_TIME", 1e9)
    settings = {"early_stopping": True, "dropout": 0.2, "max_iter": 2, "batch_size": 40}
    modules = (train, training, resuming, callbacks, files)
    whole = truth.whole_state(make(**settings).fit(TEXTS, LETTERS))
    with Interrupting(None, *modules) as counting:
        make(**settings).fit(TEXTS, LETTERS, resume=tmp_path / "counting")
    ends = set()
    for k in range(1, counting.lines + 1, max(1, counting.lines // 25)):
        path, clf = tmp_path / f"run{k}", make(**settings)
        monkeypatch.setattr(interrupts, "_kept_in", interrupts._nowhere)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xlstm.InterruptedFit)
            try:
                with Interrupting(k, *modules):
                    clf.fit(TEXTS, LETTERS, resume=path)
            except KeyboardInterrupt:
                ends.add("raised")
                assert not hasattr(clf, "classes_") or clf.n_iter_ == 2  # in the last line of all
            else:
                ends.add("kept")
                assert clf.n_iter_ >= 1
        if path.exists():
            ends.add("a file")
            assert xlstm.load(path, "cpu").n_iter_ >= 1
        assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
        assert truth.whole_state(clf.fit(TEXTS, LETTERS, resume=path)) == whole
    assert ends == {"kept", "raised", "a file"}
