"""Callbacks: when they are called and with what, how they end a training, and those that come with the library."""

import io
import itertools
import json
import sys
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import progress as shown
from xlstm.callbacks import Checkpoint, History, JSONLines, Progress, ProgressBar

from .. import classifier as truth
from ..peers import peer

X, Y = truth.last_letter(24)


FIXED = {"readout": "final", "bidirectional": False, "warmup": 0, "random_state": 0, "device": "cpu"}


def make(**settings: Any) -> xlstm.SequenceClassifier:
    return xlstm.SequenceClassifier(
        **{"hidden_size": 3, "batch_size": 8, "max_iter": 4, "learning_rate": "constant", **FIXED, **settings}
    )


class Watcher:
    """Notes each call."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Progress]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda progress: self.seen.append((name, progress))


# ---------------------------------------------------------------- when, and with what


def test_each_hook_has_its_time():
    watcher, clf = Watcher(), make(early_stopping=True)
    assert clf.fit(X, Y, callbacks=[watcher]) is clf
    names = [name for name, _ in watcher.seen]
    each = ["on_epoch_begin", "on_epoch_end"]
    assert names == ["on_train_begin", *4 * each, "on_train_end"]
    assert [progress.epoch for _, progress in watcher.seen] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for name, progress in watcher.seen:
        assert progress.epochs == 4
        assert progress.estimator is clf
        assert len(progress.history.loss) == len(progress.history.scores.get("accuracy", ())) == progress.epoch, name
        assert progress.history.loss == clf.loss_curve_[: progress.epoch]
        assert (progress.left is None) == (progress.epoch == 0)
    seconds = [progress.seconds for _, progress in watcher.seen]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    for progress in [progress for _, progress in watcher.seen][2:]:
        rate = progress.seconds / progress.epoch
        assert progress.left == pytest.approx(rate * (4 - progress.epoch), rel=0.05, abs=1e-4)


def test_a_function_is_called_after_each_epoch_and_a_list_is_no_must():
    seen: list[Any] = []
    make().fit(X, Y, callbacks=lambda progress: seen.append((progress.epoch, progress.history.last())))
    clf = make()
    watcher = Watcher()
    clf.fit(X, Y, callbacks=watcher)
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert [last["loss"] for _, last in seen] == clf.loss_curve_
    assert len(watcher.seen) == 10
    both: list[str] = []
    clf.fit(X, Y, callbacks=(lambda _: both.append("a"), lambda _: both.append("b")))  # in their order
    assert both == ["a", "b"] * 4
    assert "callbacks" not in clf.get_params()


def test_the_attribute_progress_and_verbose_are_called_too(capsys):
    clf, seen = make(verbose=True), []
    clf.progress = lambda epoch, epochs, history: seen.append((epoch, epochs, len(history.loss)))
    clf.fit(X, Y, callbacks=lambda progress: seen.append(progress.epoch))
    assert seen == [1, (1, 4, 1), 2, (2, 4, 2), 3, (3, 4, 3), 4, (4, 4, 4)]
    assert capsys.readouterr().err == ""  # in place of the lines
    make(verbose=True).fit(X, Y, callbacks=lambda _: None)
    assert capsys.readouterr().err.count("\n") == 4


WRONG = {
    "a number": (3, "callbacks must be a list of callbacks, got 3."),
    "a word": ("bar", f"callbacks[0] must be a function, or an object with a method on_train_begin, on_epoch_begin, "
                      f"on_epoch_end or on_train_end, got {'b'!r}."),
    "None in a list": ([print, None], "callbacks[1] must be a function, or an object with a method on_train_begin, "
                                      "on_epoch_begin, on_epoch_end or on_train_end, got None."),
    "a class": ([ProgressBar], "callbacks[0] is the class ProgressBar: pass an object of it, ProgressBar(...)."),
    "another one's": ([type("Other", (), {"on_batch_end": print, "__repr__": lambda _: "Other()"})()],
                      "callbacks[0] must be a function, or an object with a method on_train_begin, on_epoch_begin, "
                      "on_epoch_end or on_train_end, got Other()."),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_what_is_no_callback_is_refused_before_the_training(which):
    given, message = WRONG[which]
    clf = make()
    with pytest.raises(TypeError) as raised:
        clf.fit(X, Y, callbacks=given)
    assert str(raised.value) == message
    assert not hasattr(clf, "classes_")


def test_scikit_learn_routes_what_goes_with_the_rows_alone():
    peer("sklearn")
    routing = make().get_metadata_routing()
    assert sorted(routing.fit.requests) == ["sample_weight"]
    assert sorted(routing.partial_fit.requests) == ["classes", "sample_weight"]


# ---------------------------------------------------------------- the end


def test_what_a_callback_returns_does_not_end_the_training():
    assert make().fit(X, Y, callbacks=lambda _: True).n_iter_ == 4


@pytest.mark.parametrize(("hook", "epochs"), [("on_epoch_end", 2), ("on_epoch_begin", 3), ("on_train_begin", 1)])
def test_stop_ends_it_after_the_epoch(hook, epochs):
    watcher = Watcher()
    at = 0 if hook == "on_train_begin" else 2
    setattr(watcher, hook, lambda progress: progress.stop() if progress.epoch == at else None)
    clf = make().fit(X, Y, callbacks=watcher)
    assert clf.n_iter_ == epochs
    np.testing.assert_array_equal(clf.predict_proba(X), make(max_iter=epochs).fit(X, Y).predict_proba(X))
    assert watcher.seen[-1][0] == "on_train_end"


def test_stopped_with_a_validation_part_the_best_epoch_is_kept():
    settings = {"early_stopping": True, "learning_rate_init": 0.1, "max_iter": 12, "n_iter_no_change": 12}
    y = np.random.default_rng(0).permutation(Y)  # nothing to learn: it soon gets worse
    whole = make(**settings).fit(X, y)
    seen: dict[int, Any] = {}

    def note(progress: Progress) -> None:
        seen[progress.epoch] = progress.snapshot().predict_proba(X)
        if progress.epoch == 9:
            progress.stop()

    clf = make(**settings).fit(X, y, callbacks=note)
    assert clf.validation_scores_ == whole.validation_scores_[:9]
    scores = zip(clf.validation_scores_, [-loss for loss in clf.validation_loss_curve_], strict=True)
    best = max(enumerate(scores, 1), key=lambda each: each[1])[0]
    assert best < 9  # so that it is another than the last
    np.testing.assert_array_equal(clf.predict_proba(X), seen[best])


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end"])
def test_an_exception_changes_nothing(hook):
    watcher = Watcher()

    def fail(progress: Progress) -> None:
        raise RuntimeError("of mine")

    setattr(watcher, hook, fail)
    fresh, fitted = make(), make().fit(X, Y)
    before = truth.whole_state(fitted)
    for clf in (fresh, fitted, fitted.set_params(warm_start=True)):
        with pytest.raises(RuntimeError, match="of mine"):
            clf.fit(X[::-1], Y[::-1], callbacks=watcher)
    assert not hasattr(fresh, "classes_")
    assert truth.whole_state(fitted.set_params(warm_start=False)) == before


def test_ctrl_c_in_a_callback_keeps_the_model():
    watcher = Watcher()

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    clf = make()
    code = compile("clf.fit(X, y, callbacks=[interrupt, watcher])", "<cell>", "exec")  # a run of its own
    with pytest.warns(xlstm.InterruptedFit):
        exec(code, {"clf": clf, "X": X, "y": Y, "interrupt": interrupt, "watcher": watcher})
    assert clf.n_iter_ == 2
    assert [name for name, _ in watcher.seen][-2:] == ["on_epoch_begin", "on_train_end"]
    np.testing.assert_array_equal(clf.predict_proba(X), make(max_iter=2).fit(X, Y).predict_proba(X))


# ---------------------------------------------------------------- snapshots and the history


def test_a_snapshot_is_the_model_of_that_epoch_and_a_copy(tmp_path):
    snapshots = []
    clf = make(dropout=0.3).fit(X, Y, callbacks=lambda progress: snapshots.append(progress.snapshot()))
    for epoch, snapshot in enumerate(snapshots, 1):
        short = make(dropout=0.3, max_iter=epoch).fit(X, Y)
        np.testing.assert_array_equal(snapshot.predict_proba(X), short.predict_proba(X))
        assert (snapshot.n_iter_, snapshot.loss_curve_) == (epoch, short.loss_curve_)
    snapshots[1].save(tmp_path / "model.xlstm")
    np.testing.assert_array_equal(
        xlstm.load(tmp_path / "model.xlstm", "cpu").predict_proba(X), snapshots[1].predict_proba(X)
    )
    before = clf.predict_proba(X)
    snapshots[-1].partial_fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_the_history_is_a_table_by_name(tmp_path):
    clf = make(early_stopping=True).fit(X, Y)
    assert clf.history_ == {
        "loss": clf.loss_curve_,
        "accuracy": clf.accuracy_curve_,
        "validation_loss": clf.validation_loss_curve_,
        "validation_accuracy": clf.validation_scores_,
    }
    clf.save(tmp_path / "model.xlstm")
    assert xlstm.load(tmp_path / "model.xlstm", "cpu").history_ == clf.history_
    assert list(make().fit(X, Y).history_) == ["loss", "accuracy"]
    columns = clf.partial_fit(X, Y).history_
    assert [len(column) for column in columns.values()] == [5, 5, 5, 5]
    assert columns["validation_loss"][:4] == clf.validation_loss_curve_
    assert np.isnan([columns["validation_loss"][4], columns["validation_accuracy"][4]]).all()
    assert list(clf.fitted_state().trainer.history.last()) == ["loss", "accuracy"]
    told: list[Any] = []
    clf.progress = lambda epoch, epochs, history: told.append(history.last())
    clf.partial_fit(X, Y)  # what is shown is of this epoch
    assert [list(last) for last in told] == [["loss", "accuracy"]]
    clf.partial_fit(X, Y).save(tmp_path / "model.xlstm")
    np.testing.assert_equal(xlstm.load(tmp_path / "model.xlstm", "cpu").history_, clf.history_)
    clf.history_["loss"].clear()
    assert len(clf.fitted_state().trainer.history.loss) == 7


def test_each_number_of_a_validation_part_stays_beside_its_epoch():
    trained, measured = (0.5, {"accuracy": 1.0}), (0.25, {"accuracy": 0.75})
    history = History()
    for validation in (None, measured, None, measured):
        history = history.after(trained, validation)
    columns = history.columns()
    np.testing.assert_array_equal(columns["validation_loss"], [np.nan, 0.25, np.nan, 0.25])
    np.testing.assert_array_equal(columns["validation_accuracy"], [np.nan, 0.75, np.nan, 0.75])
    assert history.last() == {"loss": 0.5, "accuracy": 1.0, "validation_loss": 0.25, "validation_accuracy": 0.75}
    assert history.after(trained, None).last() == {"loss": 0.5, "accuracy": 1.0}  # nothing of the epoch before
    assert History().last() == {}


# ---------------------------------------------------------------- files


def lines(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    there = []
    clf = make(early_stopping=True).fit(X, Y, callbacks=[JSONLines(path), lambda _: there.append(len(lines(path)))])
    assert there == [1, 2, 3, 4]  # at once
    found = lines(path)
    assert [list(line) for line in found] == [["epoch", "epochs", "seconds", *clf.history_]] * 4
    assert [(line["epoch"], line["epochs"]) for line in found] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for name, column in clf.history_.items():
        assert [line[name] for line in found] == column
    make(max_iter=2).fit(X, Y, callbacks=JSONLines(path))
    assert [line["epoch"] for line in lines(path)] == [1, 2]  # another training begins it anew


def test_json_lines_have_no_numbers_that_JSON_has_not(tmp_path):
    history = History([0.5], {"accuracy": [1.0]}, [np.inf], {"accuracy": [np.nan]})
    writer = JSONLines(tmp_path / "history.jsonl")
    at = {"epochs": 3, "left": None, "estimator": None, "_snapshot": None, "_stop": None}
    writer.on_train_begin(Progress(0, history=History(), seconds=0.0, **at))
    writer.on_epoch_end(Progress(1, history=history, seconds=1.23456, **at))
    assert (tmp_path / "history.jsonl").read_text(encoding="utf-8") == (
        '{"epoch": 1, "epochs": 3, "seconds": 1.235, "loss": 0.5, "accuracy": 1.0, "validation_loss": null, '
        '"validation_accuracy": null}\n'
    )


def test_checkpoints(tmp_path):
    clf = make(max_iter=5).fit(
        X, Y, callbacks=[Checkpoint(tmp_path / "last.xlstm"), Checkpoint(tmp_path / "at-{epoch}.xlstm", every=2)]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"at-000{epoch}.xlstm" for epoch in (2, 4, 5)),
        "last.xlstm",
    ]
    np.testing.assert_array_equal(xlstm.load(tmp_path / "last.xlstm", "cpu").predict_proba(X), clf.predict_proba(X))
    second = xlstm.load(tmp_path / "at-0002.xlstm", "cpu")
    np.testing.assert_array_equal(second.predict_proba(X), make(max_iter=2).fit(X, Y).predict_proba(X))


def test_a_checkpoint_of_a_training_that_ends_early(tmp_path):
    saver = Checkpoint(tmp_path / "at-{epoch}.xlstm", every=10)

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            progress.stop()

    for _ in range(2):  # an object that was told another training before
        clf = make().fit(X, Y, callbacks=[saver, stop])
        assert [path.name for path in tmp_path.iterdir()] == ["at-0002.xlstm"]
        loaded = xlstm.load(tmp_path / "at-0002.xlstm", "cpu")
        np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
        (tmp_path / "at-0002.xlstm").unlink()
    best = make(early_stopping=True, n_iter_no_change=1, tol=10.0, max_iter=9)
    best.fit(X, Y, callbacks=saver)  # the second epoch is no better by 10
    assert best.n_iter_ == 2
    loaded = xlstm.load(tmp_path / "at-0002.xlstm", "cpu")
    np.testing.assert_array_equal(loaded.predict_proba(X), best.predict_proba(X))


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2", None])
def test_a_wrong_interval(every):
    with pytest.raises(ValueError, match=r"^every must be an integer of 1 or more, got ") as raised:
        Checkpoint("model.xlstm", every=every)
    assert str(raised.value).endswith(f"got {every!r}.")


@pytest.mark.parametrize("kind", [JSONLines, Checkpoint])
def test_a_file_that_cannot_be_written_is_told_before_the_training(kind, tmp_path):
    watcher, clf = Watcher(), make()
    for path in (tmp_path / "missing" / "file", tmp_path):
        with pytest.raises(OSError, match=r"the folder of the file does not exist|this is a folder"):
            clf.fit(X, Y, callbacks=[kind(path), watcher])
    assert not watcher.seen
    assert not hasattr(clf, "classes_")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what is shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(shown, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setenv("COLUMNS", "200")
    clf = make().fit(X, Y, callbacks=ProgressBar())
    drawn = terminal.getvalue()
    assert drawn.endswith("\n")
    assert drawn.count("\n") == 1
    texts = drawn.strip("\n").split("\r")[1:]
    assert [text.split(" [")[0] for text in texts] == [f"epoch {k}/4" for k in (0, 1, 2, 3, 4, 4)]
    assert [text.count("#") for text in texts] == [0, 6, 12, 18, 24, 24]
    assert all(text.count("#") + text.count("-") == 24 for text in texts)
    assert [" left" in text for text in texts] == [False, True, True, True, False, False]
    assert f"loss {clf.loss_:.4f}, accuracy {clf.accuracy_curve_[-1]:.4f}" in texts[-1]
    assert all(len(text) >= len(before.rstrip()) for before, text in itertools.pairwise(texts))


def test_a_bar_is_no_wider_than_the_terminal_and_drawn_no_oftener_than_it_can_be_seen(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(shown, "SECONDS_BETWEEN", 1000.0)
    monkeypatch.setenv("COLUMNS", "30")
    make().fit(X, Y, callbacks=ProgressBar())
    texts = terminal.getvalue().strip("\n").split("\r")[1:]
    assert [text.split(" [")[0] for text in texts] == ["epoch 0/4", "epoch 4/4"]
    assert {len(text) for text in texts} == {29}


def test_a_bar_leaves_its_line_after_an_error_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(ZeroDivisionError), ProgressBar() as bar:
        make().fit(X, Y, callbacks=[bar, lambda _: 1 / 0])
    assert terminal.getvalue().endswith("\n")


def test_lines_where_nothing_can_be_drawn_over(capsys):
    make(early_stopping=True).fit(X, Y, callbacks=ProgressBar())
    found = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in found] == [f"epoch {k}/4" for k in (1, 2, 3, 4)]
    for line in found:
        assert line.endswith(" left")
        for name in ("loss", "accuracy", "validation loss", "validation accuracy"):
            assert f"{name} " in line


@pytest.mark.parametrize("gone", ["closed", "none", "broken"])
def test_whoever_watched_may_go(gone, monkeypatch):
    stream: Any = Terminal()
    if gone == "closed":
        stream.close()
    elif gone == "broken":
        monkeypatch.setattr(stream, "write", lambda _: (_ for _ in ()).throw(BrokenPipeError))
    monkeypatch.setattr(sys, "stderr", None if gone == "none" else stream)
    assert make().fit(X, Y, callbacks=ProgressBar()).n_iter_ == 4


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.9, "1:00:00"), (36061, "10:01:01")]
)
def test_the_clock(seconds, text):
    assert shown._clock(seconds) == text


@pytest.mark.parametrize("name", ["{epok}.xlstm", "model-{epoch:03}.xlstm", "{}.xlstm"])
def test_a_field_that_nothing_fills_in_is_no_name_of_a_file(name):
    with pytest.raises(ValueError, match=r"has the field '\{.*\}': \{epoch\} alone is filled in\."):
        Checkpoint(name)
