# ruff: noqa: E501 - the tables of bad input are read by the line
"""The regressor as users meet it, and its task by hand: what y may be, its scaling, its losses, its errors, its files."""

import copy
import json
import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import backends, quantities
from xlstm.estimators import state
from xlstm.tasks import Numbers
from xlstm.tasks.numbers import LOSSES

from .. import classifier as truth
from ..peers import REPEATED, checked_by_sklearn, peer
from ..standin import machine

CPU = backends.select("cpu")
QUICK = {"hidden_size": 4, "max_iter": 2, "random_state": 0, "device": "cpu"}
LEARNER = {"hidden_size": 12, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0, "device": "cpu"}
SEVERAL = {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]}


def make(**settings: Any) -> xlstm.SequenceRegressor:
    return xlstm.SequenceRegressor(**{**QUICK, **settings})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


def sums(n: int = 60, seed: int = 0, columns: int | None = None) -> tuple[list[Any], Any]:
    """Ragged series of two features, and the sum of each feature far from 0; of the first alone for no columns."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((rng.integers(2, 7), 2)) for _ in range(n)]
    y = np.array([100 * x.sum(axis=0) + 5000 for x in X])
    return X, y[:, 0] if columns is None else y[:, :columns]


# ---------------------------------------------------------------- what it learns


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber"])
def test_it_learns(loss):
    model = make(**LEARNER, loss=loss).fit(*sums(200))
    X, y = sums(100, seed=1)
    assert model.score(X, y) > 0.9
    assert model.r2_curve_[-1] > 0.9


def test_it_learns_several_numbers_and_from_texts():
    X, y = sums(200, columns=2)
    assert make(**LEARNER).fit(X, y).score(*sums(100, seed=1, columns=2)) > 0.85
    texts = truth.random_texts(200)
    counts = [text.count("a") for text in texts]
    assert make(**LEARNER, cell="gru", readout="mean").fit(texts, counts).score(texts, counts) > 0.9


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [("squared", 4.0), ("absolute", 2.0), ({"quantile": 0.7}, 3.0), (SEVERAL, [0.0, 2.0, 14.0])],
)
def test_what_a_loss_asks_for(loss, wanted):
    """Of sequences that are all alike with the numbers 0, 1, 2, 3, 14: the mean, the median, the quantiles."""
    X, y = np.ones((50, 3)), np.tile([0.0, 1.0, 2.0, 3.0, 14.0], 10)
    settings = {"loss": loss} if isinstance(loss, str) else {"loss": "quantile", **loss}
    model = make(max_iter=400, learning_rate_init=0.02, learning_rate="cosine", batch_size=50, **settings).fit(X, y)
    np.testing.assert_allclose(model.predict(X[:1])[0], wanted, atol=0.12)


def test_weights_move_what_is_asked_for():
    X, y = np.ones((40, 3)), np.tile([0.0, 10.0], 20)
    weights = np.tile([3.0, 1.0], 20)
    settings = {"max_iter": 300, "learning_rate_init": 0.02, "learning_rate": "cosine", "batch_size": 40}
    model = make(**settings).fit(X, y, sample_weight=weights)
    assert model.predict(X[:1])[0] == pytest.approx(2.5, abs=0.05)
    assert make(**settings, loss="absolute").fit(X, y, weights).predict(X[:1])[0] == pytest.approx(0, abs=0.1)


def test_the_unit_of_y_does_not_matter():
    X, y = sums()
    model, other = make(dtype="float64").fit(X, y), make(dtype="float64").fit(X, 1e-6 * y + 3)
    np.testing.assert_allclose(other.predict(X), 1e-6 * model.predict(X) + 3, rtol=1e-9)
    np.testing.assert_allclose(other.loss_curve_, model.loss_curve_, rtol=1e-6)
    huge = make(dtype="float64").fit(X, (y - 5000) * 1e300)
    np.testing.assert_allclose(huge.predict(X), (model.predict(X) - 5000) * 1e300, rtol=1e-9)


def test_a_large_offset_is_kept_in_float32():
    """Scaled in float64: 1e9 and the third digit behind the point are both there."""
    X, y = sums()
    model, other = make().fit(X, y), make().fit(X, y + 1e9)
    np.testing.assert_allclose(other.predict(X) - 1e9, model.predict(X), atol=1e-3)


@pytest.mark.parametrize("y", [np.full(12, 0.1), np.full((12, 2), 1e300), [7] * 12, [0.0] * 12])
def test_numbers_that_are_all_alike(y):
    X = [np.ones((3, 1)) * k for k in range(12)]
    model = make(max_iter=300, learning_rate_init=0.02, readout="final", early_stopping=True).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, rtol=0.1, atol=0.1 if np.all(y == np.zeros(1)) else 0)
    assert model.score(X, y) in (0, 1)
    assert np.isfinite([*model.loss_curve_, *model.validation_scores_]).all()


# ---------------------------------------------------------------- y

FORMS = {
    "a list": [1.5, 2.0, 3.0, 4.0],
    "whole numbers": [1, 2, 3, 4],
    "large whole numbers": [2**70, 1, 2, 3],
    "a tuple": (1.0, 2, 3.5, np.float32(4)),
    "rows": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], (7, 8)],
    "one column": [[1.0], [2.0], [3.0], [4.0]],
    "float32": np.array([1, 2, 3, 4], "float32"),
    "float16": np.array([[1, 2], [2, 1], [3, 4], [4, 3]], "float16"),
    "long": np.array([1, 2, 3, 4], "longdouble"),
    "unsigned": np.array([1, 2, 3, 4], "u1"),
    "booleans": [True, False, True, False],
    "objects": np.array([1, 2.5, np.float32(3), 4], dtype=object),
}


@pytest.mark.parametrize("form", FORMS)
def test_predictions_have_the_form_of_y(form):
    y = FORMS[form]
    values = np.asarray(y)
    model = make().fit(["a", "ab", "b", "ba"], y)
    predicted = model.predict(["a", "b", "c"])
    assert predicted.shape == (3, *values.shape[1:])
    assert predicted.dtype == (np.float32 if values.dtype in ("float16", "float32") else np.float64)
    np.testing.assert_array_equal(model.prepare()(["a", "b", "c"]), predicted)
    wide = np.array(values, dtype=np.float64)
    assert model.fitted_state().task.center == pytest.approx(wide.reshape(4, -1).mean(axis=0))
    assert model.fitted_state().task.scale == pytest.approx(wide.reshape(4, -1).std(axis=0))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_columns_of_frames(kind):
    frames = peer(kind)
    frame = frames.DataFrame({"u": [1.0, 2.0, 3.5], "v": [4, 5, 6]})
    assert quantities.read(frame["v"], 3).tolist() == [4, 5, 6]
    assert quantities.read(frame, 3).tolist() == [[1, 4], [2, 5], [3.5, 6]]
    if kind == "pandas":
        with pytest.raises(ValueError, match=r"y\[1\] is (nan|<NA>): Input contains NaN"):
            quantities.read(frames.array([1, None, 2], dtype="Int64"), 3)


BAD_NUMBERS = {
    "nothing": (None, "requires y to be passed, but the target y is None."),
    "a string": ([1.0, "high", 2.0], "y[1] is 'high': expected a number. For classes, strings among them, there is SequenceClassifier."),
    "strings": (np.array(["a", "b", "c"]), "y[0] is np.str_('a'): expected a number. For classes, strings among them, there is SequenceClassifier."),
    "numbers as text": (["1", "2", "3"], "y[0] is '1': expected a number. For classes, strings among them, there is SequenceClassifier."),
    "a missing one": ([1.0, None, 2.0], "y[1] is None: Input contains NaN or nothing, every row needs a number."),
    "NaN": ([1.0, 2.0, np.nan], "y[2] is nan: Input contains NaN or infinity."),
    "infinity in a column": ([[1.0, 2.0], [1.0, -np.inf], [0, 0]], "y[1, 1] is -inf: Input contains NaN or infinity."),
    "one too few": ([1.0, 2.0], "X has 3 sequences, but y has 2 rows: inconsistent numbers of samples."),
    "one alone": ([1.0], "X has 3 sequences, but y has 1 rows: inconsistent numbers of samples. One sequence is [X], its number [y]."),
    "a number": (np.array(3.0), "y should be an array (n,), or (n, K) of K numbers for each sequence; got an array of shape (). Numbers for each step a regressor of sequences does not learn."),
    "no column": (np.zeros((3, 0)), "y should be an array (n,), or (n, K) of K numbers for each sequence; got an array of shape (3, 0). Numbers for each step a regressor of sequences does not learn."),
    "of steps": (np.zeros((3, 2, 1)), "y should be an array (n,), or (n, K) of K numbers for each sequence; got an array of shape (3, 2, 1). Numbers for each step a regressor of sequences does not learn."),
    "ragged": ([[1.0, 2.0], [1.0], [2.0, 3.0]], "y[1] holds 1 numbers, y[0] 2: each sequence needs as many as the others."),
    "ragged with a number": ([[1.0, 2.0], [1.0, 2.0], 3.0], "y[2] holds 1 numbers, y[0] 2: each sequence needs as many as the others."),
    "complex": (np.array([1j, 2, 3]), "Complex data not supported: y holds complex numbers."),
    "dates": (np.array(["2026-01-01"] * 3, "M8[D]"), "y[0] is np.datetime64('2026-01-01'): expected a number. For classes, strings among them, there is SequenceClassifier."),
    "objects": ([1.0, 2.0, object], "y[2] is <class 'object'>: expected a number. For classes, strings among them, there is SequenceClassifier."),
    "too large": ([1, 2, 10**400], "y[2] is too large a number: 64 bits hold up to about 1.8e308."),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_NUMBERS)
def test_bad_numbers_are_named_by_their_row_and_change_nothing(kind):
    y, message = BAD_NUMBERS[kind]
    model = make().fit(["a", "b", "ab"], [1.0, 2.0, 4.0])
    before = truth.whole_state(model)
    for refused in (lambda: model.fit(["a", "b", "ab"], y), lambda: model.score(["a", "b", "ab"], y)):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            refused()
    assert truth.whole_state(model) == before


def test_later_numbers_are_like_the_first():
    model = make().fit(["a", "b", "ab"], [1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match=r"y has 2 numbers for each sequence, but this model was trained on 1\."):
        model.score(["a"], [[1.0, 2.0]])
    assert model.score(["a", "b"], [[1.0], [2.0]]) == model.score(["a", "b"], [1.0, 2.0])


BAD_SETTINGS = {
    "loss": ("cubic", "loss must be one of ('squared', 'absolute', 'huber', 'quantile'), got 'cubic'."),
    "huber_delta": (0, "huber_delta must be a number in (0, inf), got 0."),
    "quantile": (1.0, "quantile must be a number in (0, 1), or a list of them, got 1.0."),
    "quantile ": ([], "quantile must be a number in (0, 1), or a list of them, got []."),
    "quantile  ": ([0.5, True], "quantile must be a number in (0, 1), or a list of them, got [0.5, True]."),
    "quantile   ": ("0.5", "quantile must be a number in (0, 1), or a list of them, got '0.5'."),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_named(name):
    value, message = BAD_SETTINGS[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(**{name.strip(): value}).fit(["a", "b"], [1.0, 2.0])


def test_several_quantiles_are_of_one_number():
    X, y = sums(columns=2)
    with pytest.raises(
        ValueError, match="several quantiles are of one number for each sequence, but y has 2: pass one"
    ):
        make(**SEVERAL).fit(X, y)
    assert make(**SEVERAL).fit(X, y[:, :1]).predict(X).shape == (60, 3)
    assert make(loss="quantile", quantile=0.3).fit(X, y).predict(X).shape == (60, 2)
    assert make(loss="quantile", quantile=(0.3,)).fit(X, y[:, 0]).predict(X).shape == (60, 1)


def test_a_table_in_long_form_is_doubted():
    table = np.cumsum(np.random.default_rng(0).standard_normal((200, 3)), axis=0)
    with pytest.warns(
        xlstm.AmbiguousDataWarning, match="each of the 200 rows of X was taken for a sequence of 3 steps"
    ):
        make(max_iter=1).fit(table, table[:, 0])


# ---------------------------------------------------------------- scores and errors


def test_errors_are_scikit_learns():
    metrics = peer("sklearn.metrics")
    X, y = sums(columns=2)
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    model = make(max_iter=10).fit(X, y)
    predicted = model.predict(X)
    for given in (None, weights):
        expected = {
            "r2": metrics.r2_score(y, predicted, sample_weight=given),
            "mae": metrics.mean_absolute_error(y, predicted, sample_weight=given),
            "rmse": metrics.root_mean_squared_error(y, predicted, sample_weight=given),
        }
        assert model.errors(X, y, given) == pytest.approx(expected)
        assert model.score(X, y, given) == pytest.approx(expected["r2"])
        assert model.prepare().score(X, y, given) == pytest.approx(expected["r2"])
    assert model.score(X, predicted) == pytest.approx(1)


def test_weights_of_a_score():
    """A weight of 2 is that of a row that comes twice."""
    X, y = sums(20)
    model = make().fit(X, y)
    weights = np.where(y > 5000, 2.0, 1.0)
    twice = [*range(20), *np.flatnonzero(weights == 2)]
    assert model.score(X, y, weights) == pytest.approx(model.score([X[k] for k in twice], y[twice]))


def test_errors_of_quantiles():
    metrics = peer("sklearn.metrics")
    X, y = sums()
    weights = np.random.default_rng(0).uniform(0.1, 2, len(X))
    model = make(max_iter=10, **SEVERAL).fit(X, y)
    predicted = model.predict(X)
    for given in (None, weights):
        each = [
            (
                metrics.d2_pinball_score(y, predicted[:, k], alpha=level, sample_weight=given),
                metrics.mean_pinball_loss(y, predicted[:, k], alpha=level, sample_weight=given),
                np.average(predicted[:, k] >= y, weights=given),
            )
            for k, level in enumerate(SEVERAL["quantile"])
        ]
        errors = model.errors(X, y, given)
        assert errors["pinball"] == pytest.approx(np.mean([loss for _, loss, _ in each]))
        np.testing.assert_allclose(errors["coverage"], [below for *_, below in each])
        # The quantile of a weighted sample is taken differently here and there, between two of its numbers.
        assert errors["d2"] == pytest.approx(np.mean([d2 for d2, *_ in each]), abs=0.01)
        assert model.score(X, y, given) == errors["d2"]
    single = make(max_iter=2, loss="quantile", quantile=0.9).fit(X, y)
    assert isinstance(single.errors(X, y)["coverage"], float)


def test_numbers_that_are_all_alike_have_a_score():
    task, targets = Numbers.learn([0.1] * 10, 10)
    for outputs, expected in ((np.full((10, 1), 0.1), 1.0), (np.full((10, 1), 0.2), 0.0)):
        assert task.score(outputs, targets, np.ones(10)) == expected
    assert task.scores([3.6, 3.0, 2.0, 0.4], 10) == {"r2": 0.0, "mae": 0.3, "rmse": 0.6}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_history_is_of_these_errors(loss):
    """With a learning rate of next to nothing each epoch measures one and the same model."""
    X, y = sums(columns=2)
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    settings = {"learning_rate_init": 1e-30, "batch_size": 16, "dtype": "float64", "loss": loss}
    model = make(**settings).fit(X, y, weights)
    errors, scale = model.errors(X, y), y.std(axis=0)
    for name in ("r2", "mae", "rmse") if loss != "quantile" else ():
        assert getattr(model, f"{name}_curve_") == pytest.approx([errors[name]] * 2)
    r = np.abs(model.predict(X) - y) / scale
    each = {
        "squared": r**2,
        "absolute": r,
        "huber": np.where(r < 1, r**2 / 2, r - 0.5),
        "quantile": r / 2,
    }[loss].mean(axis=1)
    assert model.loss_curve_ == pytest.approx([np.average(each, weights=weights)] * 2)
    assert hasattr(model, "error_curve_") == (loss != "squared")
    if loss != "squared":
        assert model.error_curve_ == pytest.approx([each.mean()] * 2)


@pytest.mark.parametrize(("loss", "best"), [("squared", max), ("absolute", min), ("quantile", min)])
def test_early_stopping(loss, best, monkeypatch):
    parts = []
    split = Numbers.split
    monkeypatch.setattr(Numbers, "split", lambda *arguments: (parts.append(split(*arguments)), parts[-1])[1])
    X, _ = sums(80)
    noise = np.random.default_rng(0).normal(1e6, 1e4, 80)  # nothing to learn
    settings = {"early_stopping": True, "max_iter": 300, "n_iter_no_change": 4, "learning_rate_init": 0.02}
    model = make(**settings, loss=loss, validation_fraction=0.25).fit(X, noise)
    assert model.best_validation_score_ == best(model.validation_scores_)
    assert model.n_iter_ < 100
    kept, aside = parts[0]
    task = model.fitted_state().task
    assert (task.center, task.scale) == (pytest.approx(noise[kept].mean()), pytest.approx(noise[kept].std()))
    predicted = model.predict([X[k] for k in aside])
    if loss == "squared":
        assert model.score([X[k] for k in aside], noise[aside]) == pytest.approx(model.best_validation_score_, abs=1e-5)
    else:
        error = np.abs(predicted - noise[aside]).mean() / noise[kept].std() / (2 if loss == "quantile" else 1)
        assert model.best_validation_score_ == pytest.approx(error, rel=1e-4)


# ---------------------------------------------------------------- going on, files, copies


@pytest.mark.parametrize("settings", [{"loss": loss} for loss in LOSSES] + [SEVERAL], ids=str)
def test_it_is_saved_and_goes_on_just_there(settings, tmp_path):
    X, y = sums(40)
    model = make(early_stopping=True, batch_size=8, **settings).fit(X, y.astype("float32"))
    model.save(tmp_path / "model.xlstm")
    again = xlstm.load(tmp_path / "model.xlstm", "cpu")
    assert type(again) is xlstm.SequenceRegressor
    assert again.predict(X).dtype == np.float32
    assert again.get_params() == model.get_params()
    for each in (model, again):
        each.partial_fit(X[:9], y[:9])
    for other in (again, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to("cpu")):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        assert other.errors(X, y).keys() == model.errors(X, y).keys()
    assert again.best_validation_score_ == model.best_validation_score_


def test_levels_of_any_kind_are_saved(tmp_path):
    X, y = sums(20)
    for quantile in (np.array([0.2, 0.8]), (0.2, np.float64(0.8)), np.float32(0.5)):
        make(loss="quantile", quantile=quantile).fit(X, y).save(tmp_path / "model.xlstm")
        again = xlstm.load(tmp_path / "model.xlstm", "cpu")
        np.testing.assert_array_equal(again.quantile, np.asarray(quantile, float))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "absolute"}, "loss is 'absolute', but the model to go on from has 'squared': set it back"),
        ({"huber_delta": 2.0}, "huber_delta is 2.0, but the model to go on from has 1.0"),
        ({"quantile": [0.1, 0.9]}, r"quantile is \[0.1, 0.9\], but the model to go on from has 0.5"),
        ({"hidden_size": 5}, "hidden_size is 5, but the model to go on from has 4"),
    ],
)
def test_another_loss_is_another_model(settings, message, tmp_path):
    X, y = sums(20)
    model = make(warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(**settings)
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            go_on(X, y)
    np.testing.assert_array_equal(model.predict(X), before)
    model.save(tmp_path / "model.xlstm")  # what was trained, with the settings for the next training
    again = xlstm.load(tmp_path / "model.xlstm", "cpu")
    np.testing.assert_array_equal(again.predict(X), before)
    assert again.set_params(warm_start=False).fit(X, y).n_iter_ == 2


WRONG_STATES = {
    "a name": {"more": 1},
    "the dtype": {"dtype": "int8"},
    "the loss": {"loss": "cubic"},
    "columns": {"columns": 0},
    "the center": {"center": [1.0, 2.0]},
    "no number": {"center": [None]},
    "the scale": {"scale": [0.0]},
    "a level": {"quantile": [0.5, 1.5]},
    "no level": {"quantile": []},
    "delta": {"huber_delta": -1.0},
    "outputs": {"loss": "quantile", "quantile": [0.1, 0.9]},
}


@pytest.mark.parametrize("kind", WRONG_STATES)
def test_a_wrong_state_is_refused(kind):
    model = make().fit(["a", "ab"], [1.0, 2.0])
    header, arrays = state.of(model)
    wrong = json.loads(json.dumps(header))
    wrong["task"] |= WRONG_STATES[kind]
    with pytest.raises(ValueError, match=r"the task has|it[s ]|outputs"):
        state.restored(wrong, arrays)


def test_parts_and_warm_starts():
    X, y = sums()
    parts = make()
    for _ in range(2):
        parts.partial_fit(X, y)
    assert parts.n_iter_ == 2
    scale = parts.fitted_state().task.scale
    parts.partial_fit(X[:5], 100 * y[:5])
    assert (parts.fitted_state().task.scale == scale).all()  # as the first part was
    warm = make(warm_start=True).fit(X, y)
    assert warm.fit(X, y).r2_curve_[0] > make().fit(X, y).r2_curve_[0]


@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("readout", ["final", "mean", "attention", "final+max"])
def test_a_stream_gives_the_numbers_so_far(columns, readout):
    X, y = sums(30, columns=columns)
    model = make(readout=readout, dtype="float64").fit(X, y)
    for stream in (model.stream(), model.prepare().stream()):
        for t in range(len(X[0])):
            so_far = stream.feed(X[0][t : t + 1])
            np.testing.assert_allclose(so_far, model.predict([X[0][: t + 1]])[0], rtol=1e-9)
        np.testing.assert_allclose(stream.predict(), model.predict(X[:1])[0], rtol=1e-9)
    with pytest.raises(AttributeError, match="there is no classes_ for answers of the kind 'numbers'"):
        stream.classes_  # noqa: B018


def test_the_gradient_check():
    X, y = sums(8, columns=2)
    for loss in LOSSES:
        model = make(loss=loss).fit(X, y)
        assert xlstm.check_gradients(model).passed
        assert xlstm.check_gradients(model, (X, y)).passed
    assert xlstm.check_gradients(make(**SEVERAL).fit(X, y[:, 0])).passed


# ---------------------------------------------------------------- on a GPU


def test_numbers_on_a_gpu():
    X, y = sums(6, columns=2)
    expected = make(max_iter=1, loss="huber").fit(X, y)
    with machine():
        import cupy

        there = [cupy.asarray(row) for row in X]
        model = make(max_iter=1, loss="huber", device="cuda").fit(there, y)
        assert type(model.predict(there)) is np.ndarray
        np.testing.assert_allclose(model.predict(there), expected.predict(X), rtol=1e-5)
        assert model.score(there, y) == pytest.approx(expected.score(X, y), abs=1e-4)
        assert isinstance(model.prepare()(there), cupy.ndarray)
        of_there = make(max_iter=1, loss="huber", device="cuda").fit(there, cupy.asarray(y))
        predicted = of_there.predict(there)
        assert isinstance(predicted, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(predicted), model.predict(there))
        assert type(of_there.predict(X)) is np.ndarray


# ---------------------------------------------------------------- scikit-learn


def test_check_estimator():
    """Every check of scikit-learn; all that fail are listed."""
    settings = {"hidden_size": 16, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0, "device": "cpu"}
    results = checked_by_sklearn(xlstm.SequenceRegressor(**settings), REPEATED)
    assert sum(result["status"] == "passed" for result in results) >= 50


def test_cross_validation_and_searches():
    base, selection = peer("sklearn.base"), peer("sklearn.model_selection")
    X, y = sums(30, columns=2)
    model = make(max_iter=1)
    assert base.is_regressor(model)
    assert selection.cross_val_score(model, X, y, cv=2).shape == (2,)
    search = selection.GridSearchCV(model, {"loss": ["squared", "huber"]}, cv=2, scoring="neg_mean_absolute_error")
    assert search.fit(X, y).best_estimator_.predict(X).shape == y.shape
    assert selection.cross_val_predict(make(max_iter=1, **SEVERAL), X, y[:, 0], cv=2).shape == (30, 3)


def test_numbers_that_are_far_off_are_measured_kept_and_gone_on_from(tmp_path):
    X, y = sums(20)
    far = X[:5], y[:5] * 1e30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make().fit(X, y, validation=far)
    assert model.history_["validation_loss"] == [np.inf, np.inf]
    assert model.history_["validation_rmse"] == [np.inf, np.inf]
    assert model.history_["validation_r2"] == [-np.inf, -np.inf]  # and not 0, as of a mean
    assert model.best_validation_score_ == -np.inf
    model.save(tmp_path / "model.xlstm")
    assert xlstm.load(tmp_path / "model.xlstm", "cpu").history_ == model.history_
    file = tmp_path / "training.xlstm"

    def stop(progress: Any) -> None:
        if progress.epoch == 1:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        make().fit(X, y, validation=far, resume=file, callbacks=stop)
    again = make().fit(X, y, validation=far, resume=file)
    assert again.history_ == model.history_
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_a_score_that_is_no_number_is_the_worst():
    task = Numbers(None, "float64")
    task.follow(make())
    assert task.goodness({"r2": np.nan}) == -np.inf
    assert task.best([np.nan, -3.0, np.nan]) == -3.0
