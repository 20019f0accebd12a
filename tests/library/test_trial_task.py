"""A kind of answer that the library does not have, on trial: counts, with a Poisson loss, and nothing but a task and
an estimator of a few lines. What works for it works for every other: training, score, early stopping, streams, files.
"""

import copy
import itertools
import json
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.estimators import state
from xlstm.estimators.base import SequenceEstimator
from xlstm.estimators.constraints import OneOf
from xlstm.estimators.settings import Configured
from xlstm.namespace import array_namespace
from xlstm.registry import ESTIMATORS, TASKS
from xlstm.tasks import Classes, Task


class Counts(Task):
    """Counts, 0 or more: the output is the logarithm of their mean, over that of the training part."""

    score_names = ("deviance", "error")
    higher_is_better = False
    settings = ("link",)

    def __init__(self, base: float = 0.0) -> None:
        self.base = base

    @classmethod
    def learn(cls, y, rows, declared=None):
        task = cls()
        return task, task.read(y, rows)

    def read(self, y, rows):
        counts = np.asarray(y, dtype=np.float64)
        if counts.shape != (rows,) or (counts < 0).any():
            raise ValueError(f"y must hold {rows} counts of 0 or more.")
        return counts

    def measure(self, targets):
        self.base = float(np.log(targets.mean())) if self.link == "log" else 0.0

    @property
    def outputs(self):
        return 1

    def loss(self, outputs, targets, weights):
        xp = array_namespace(outputs)
        z = outputs[:, 0] + self.base
        scale = weights / z.shape[0]
        return xp.sum(scale * (xp.exp(z) - targets * z)), (scale * (xp.exp(z) - targets))[:, None]

    def score_sums(self, outputs, targets):
        xp = array_namespace(outputs)
        z = outputs[:, 0] + self.base
        return xp.sum(xp.exp(z) - targets * z), xp.sum(xp.abs(xp.exp(z) - targets))

    def scores(self, sums, rows):
        return {"deviance": sums[0] / rows, "error": sums[1] / rows}

    def score(self, outputs, targets, weights):
        z = outputs[:, 0] + self.base
        return float(np.average(np.exp(z) - targets * z, weights=weights))

    def answers(self, outputs):
        return np.exp(outputs[:, 0] + self.base)

    def details(self, outputs):
        return self.answers(outputs)

    def random_targets(self, n, rng):
        return rng.poisson(2.0, n).astype(np.float64)

    def state(self):
        return {"base": self.base}

    @classmethod
    def from_state(cls, state):
        if state.keys() != {"base"} or type(state["base"]) is not float:
            raise ValueError("the base must be a number")
        return cls(state["base"])


class SequenceCounter(SequenceEstimator):
    """How many there are."""

    tasks = (Counts,)
    constraints = {**SequenceEstimator.constraints, "link": OneOf(("log", "none"))}  # noqa: RUF012

    def __init__(
        self,
        hidden_size: int = 8,
        link: str = "log",
        early_stopping: bool = False,
        warm_start: bool = False,
        max_iter: int | None = 60,
        n_iter_no_change: int = 10,
        batch_size: int | str = "auto",
        random_state: Any = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(
            hidden_size=hidden_size,
            early_stopping=early_stopping,
            warm_start=warm_start,
            max_iter=max_iter,
            n_iter_no_change=n_iter_no_change,
            batch_size=batch_size,
            random_state=random_state,
            dtype=dtype,
            learning_rate_init=0.02,
            validation_fraction=0.25,
            device="cpu",
        )
        self.link = link


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """As an application that brings its own would do once."""
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    TASKS.register("counts")(Counts)
    ESTIMATORS.register("SequenceCounter")(SequenceCounter)
    yield
    TASKS.unregister("counts")
    for name in ("SequenceCounter", "Louder", "Briefer"):
        ESTIMATORS.unregister(name)


def data(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and how often each has an a."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("abc"), rng.integers(1, 9))) for _ in range(n)]
    return texts, np.array([text.count("a") for text in texts])


def test_it_learns_and_is_scored():
    X, y = data(200)
    counter = SequenceCounter().fit(X, y)
    new, counts = data(100, seed=1)
    predicted = counter.predict(new)
    assert np.abs(predicted - counts).mean() < 0.5
    assert np.abs(counts.mean() - counts).mean() > 1
    expected = np.average(predicted - counts * np.log(predicted), weights=np.arange(1, 101))
    assert counter.score(new, counts, sample_weight=np.arange(1, 101)) == pytest.approx(expected, rel=1e-5)
    assert counter.loss_ == counter.loss_curve_[-1] < counter.loss_curve_[0]
    assert counter.error_curve_[-1] < 0.5 * counter.error_curve_[0]
    # Without weights and dropout the loss is the first score.
    np.testing.assert_allclose(counter.deviance_curve_, counter.loss_curve_, rtol=1e-5)
    assert not hasattr(counter, "classes_")
    assert not hasattr(counter, "accuracy_curve_")


def test_its_gradients_are_right():
    X, y = data(12)
    counter = SequenceCounter(hidden_size=2, max_iter=2).fit(X, y)
    assert xlstm.check_gradients(counter).passed
    assert xlstm.check_gradients(counter, (X, y)).passed


def test_early_stopping_goes_by_the_first_score_downwards(monkeypatch):
    parts = []
    split = Counts.split
    monkeypatch.setattr(Counts, "split", lambda *arguments: (parts.append(split(*arguments)), parts[-1])[1])
    X, y = data(60)
    noise = np.random.default_rng(3).poisson(3.0, 60)  # nothing to learn: it soon gets worse
    counter = SequenceCounter(early_stopping=True, max_iter=300, n_iter_no_change=5, hidden_size=16).fit(X, noise)
    scores = counter.validation_scores_
    assert counter.best_validation_score_ == min(scores) < scores[-1]
    assert counter.n_iter_ == int(np.argmin(scores)) + 1 + 5
    aside = parts[0][1]
    assert len(aside) == 15
    assert counter.score([X[k] for k in aside], noise[aside]) == pytest.approx(min(scores), rel=1e-5)
    better = SequenceCounter(early_stopping=True, n_iter_no_change=60).fit(X, y)
    assert better.validation_scores_[-1] < better.validation_scores_[0]
    history = better.fitted_state().trainer.history
    assert history.validation_scores.keys() == history.scores.keys() == {"deviance", "error"}


def test_what_it_measured_is_of_the_training_part():
    X, y = data(40)
    counter = SequenceCounter(max_iter=1).fit(X, y)
    assert counter.fitted_state().task.base == pytest.approx(np.log(y.mean()))
    assert SequenceCounter(max_iter=1, link="none").fit(X, y).fitted_state().task.base == 0
    stopping = SequenceCounter(max_iter=1, early_stopping=True).fit(X, y)
    assert stopping.fitted_state().task.base != pytest.approx(np.log(y.mean()), abs=1e-6)


def test_it_is_saved_and_goes_on_just_there(tmp_path):
    X, y = data(40)
    counter = SequenceCounter(max_iter=3, early_stopping=True, batch_size=8).fit(X, y)
    counter.save(tmp_path / "counter.xlstm")
    again = xlstm.load(tmp_path / "counter.xlstm", "cpu")
    assert type(again) is SequenceCounter
    assert again.get_params() == counter.get_params()
    np.testing.assert_array_equal(again.predict(X), counter.predict(X))
    assert again.best_validation_score_ == counter.best_validation_score_
    assert again.error_curve_ == counter.error_curve_
    for each in (counter, again):
        each.partial_fit(X, y)
        each.partial_fit(X[:9], y[:9])
    np.testing.assert_array_equal(again.predict(X), counter.predict(X))
    assert again.n_iter_ == counter.n_iter_ == 5


def test_a_wrong_state_of_it_is_refused():
    X, y = data(20)
    counter = SequenceCounter(max_iter=1).fit(X, y)
    header, arrays = state.of(counter)
    wrong = json.loads(json.dumps(header))
    wrong["task"]["base"] = "low"
    with pytest.raises(ValueError, match="the base must be a number"):
        state.restored(wrong, arrays)
    header["kind"] = "SequenceClassifier"
    header["settings"] = {**xlstm.SequenceClassifier().get_params(), "hidden_size": 8}
    del header["settings"]["device"]
    with pytest.raises(ValueError, match="does not have the task 'counts'"):
        state.restored(header, arrays)


def test_a_file_of_one_that_is_not_registered_is_of_a_newer_version(tmp_path):
    X, y = data(20)
    SequenceCounter(max_iter=1).fit(X, y).save(tmp_path / "counter.xlstm")
    ESTIMATORS.unregister("SequenceCounter")
    with pytest.raises(
        ValueError, match=r"the estimator 'SequenceCounter'.*\(it knows SequenceClassifier, .*\).*newer"
    ):
        xlstm.load(tmp_path / "counter.xlstm")


@pytest.mark.parametrize(
    ("registry", "name", "thing"), [(ESTIMATORS, "SequenceCounter", "SequenceCounter"), (TASKS, "counts", "Counts")]
)
def test_one_that_is_not_registered_is_not_saved(registry, name, thing, tmp_path):
    X, y = data(20)
    counter = SequenceCounter(max_iter=1).fit(X, y)
    registry.unregister(name)
    with pytest.raises(
        ValueError, match=rf"{thing} is no registered {registry.what}.*register it under a name of its own"
    ):
        counter.save(tmp_path / "counter.xlstm")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("registry", "name"), [(ESTIMATORS, "SequenceCounter"), (ESTIMATORS, "SequenceClassifier"), (TASKS, "classes")]
)
def test_a_name_has_one_class(registry, name):
    class Other:
        pass

    with pytest.raises(ValueError, match=f"the name '{name}' of Other is that of another {registry.what} already"):
        registry.register(name)(Other)
    assert registry.find(name) is not Other
    with pytest.raises(LookupError, match=f"there is no {registry.what} 'other'; there are: .*{name}"):
        registry.find("other")


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    class Louder(SequenceCounter):
        def __init__(self, volume: int = 3) -> None:
            super().__init__(max_iter=1)
            self.volume = volume

    X, y = data(20)
    with pytest.raises(ValueError, match="Louder has other settings than SequenceCounter"):
        Louder().fit(X, y).save(tmp_path / "louder.xlstm")
    assert not list(tmp_path.iterdir())
    ESTIMATORS.register("Louder")(Louder)
    Louder(volume=4).fit(X, y).save(tmp_path / "louder.xlstm")
    assert xlstm.load(tmp_path / "louder.xlstm").volume == 4


def test_an_estimator_with_one_more_setting_is_two_lines(tmp_path):
    @ESTIMATORS.register("Briefer")
    @dataclass(eq=False, repr=False)
    class Briefer(SequenceEstimator):
        tasks = (Counts,)
        max_iter: int | None = 3
        link: str = "log"

    assert list(Briefer().get_params()) == [*Configured().get_params(), "link"]
    assert (Briefer().max_iter, Briefer(max_iter=1, cell="rnn").get_params()["max_iter"]) == (3, 1)
    assert repr(Briefer(link="none", max_iter=3)) == "Briefer(link='none')"
    assert Briefer() != Briefer()  # as estimators are compared, not as data
    X, y = data(20)
    counter = Briefer(link="none", random_state=0).fit(X, y)
    assert counter.n_iter_ == 3
    counter.save(tmp_path / "counter.xlstm")
    again = xlstm.load(tmp_path / "counter.xlstm", "cpu")
    assert (type(again), again.link) == (Briefer, "none")
    np.testing.assert_array_equal(again.predict(X), counter.predict(X))


def test_a_setting_that_its_task_needs_is_missed_by_name():
    class WithoutLink(SequenceEstimator):
        tasks = (Counts,)

    with pytest.raises(TypeError, match="WithoutLink lacks the setting 'link', which its task Counts goes by"):
        WithoutLink(max_iter=1).fit(*data(20))


def test_parts_streams_copies_and_warm_starts(monkeypatch):
    X, y = data(60)
    parts = SequenceCounter()
    for _ in range(30):
        parts.partial_fit(X, y)
    assert parts.error_curve_[-1] < 0.5 * parts.error_curve_[0]
    stream = parts.stream()
    for letter in X[0]:
        so_far = stream.feed(letter)
    np.testing.assert_allclose(so_far, parts.predict(X[:1])[0], rtol=1e-5)
    prepared = parts.prepare()
    np.testing.assert_allclose(prepared.predict(X), parts.predict(X), rtol=1e-5)
    np.testing.assert_allclose(prepared(X), parts.predict(X), rtol=1e-5)
    assert prepared.score(X, y) == pytest.approx(parts.score(X, y), rel=1e-5)
    assert stream.predict() == pytest.approx(parts.predict(X[:1])[0], rel=1e-5)
    for one, name in itertools.product((prepared, stream, prepared.stream()), Classes.offers):
        assert not hasattr(one, name)
    for one in (prepared, stream):
        with pytest.raises(AttributeError, match="there is no classes_ for answers of the kind 'counts'"):
            one.classes_  # noqa: B018
    with pytest.raises(AttributeError, match="there is no predict_proba for answers of the kind 'counts'"):
        prepared.predict_proba(X)
    assert repr(stream).startswith("<Stream of SequenceCounter(")
    for other in (copy.deepcopy(parts), pickle.loads(pickle.dumps(parts)), parts.to("cpu")):
        np.testing.assert_array_equal(other.predict(X), parts.predict(X))
    warm = SequenceCounter(warm_start=True, max_iter=5).fit(X, y)
    first = warm.loss_
    assert warm.fit(X, y).loss_ < first
    split = []
    monkeypatch.setattr(Counts, "split", lambda *given: (split.append(Task.split(*given)), split[-1])[1])
    stopping = SequenceCounter(warm_start=True, early_stopping=True, max_iter=2).fit(X, y)
    best = stopping.best_validation_score_
    order = np.random.default_rng(0).permutation(60)
    stopping.set_params(max_iter=1).fit([X[k] for k in order], y[order])
    (aside,) = (aside for _, aside in split)
    assert stopping.best_validation_score_ == pytest.approx(stopping.score([X[k] for k in aside], y[aside]), rel=1e-5)
    assert stopping.best_validation_score_ != best


def test_bad_input_changes_nothing():
    X, y = data(20)
    counter = SequenceCounter(max_iter=2).fit(X, y)
    before = counter.predict(X)
    for wrong in (-y - 1, y[:5]):
        with pytest.raises(ValueError, match="20 counts of 0 or more"):
            counter.fit(X, wrong)
    with pytest.raises(ValueError, match=r"link must be one of \('log', 'none'\), got 'logit'"):
        counter.set_params(link="logit").fit(X, y)
    np.testing.assert_array_equal(counter.predict(X), before)
    with pytest.raises(ValueError, match="sample_weight is zero"):
        SequenceCounter().fit(X, y, sample_weight=np.zeros(20))


def test_progress_is_told_of_its_scores(capsys):
    X, y = data(20)
    counter, seen = SequenceCounter(max_iter=2, early_stopping=True), []
    counter.progress = lambda epoch, epochs, history: seen.append((epoch, epochs, sorted(history.scores)))
    counter.fit(X, y)
    assert seen == [(1, 2, ["deviance", "error"]), (2, 2, ["deviance", "error"])]
    counter.progress = None
    counter.verbose = True
    counter.fit(X, y)
    assert "epoch 2/2: loss " in capsys.readouterr().err
