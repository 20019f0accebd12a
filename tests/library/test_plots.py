"""The displays: what they show is what the estimator says, and they say what they cannot show."""

import subprocess
import sys

import numpy as np
import pytest

import xlstm

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

from xlstm import inspection, plots  # noqa: E402

RNG = np.random.default_rng(0)
SERIES = [RNG.standard_normal((length, 2)) for length in (4, 7, 5, 9, 6, 3, 8, 4)]
TEXTS = ["aab", "ba", "abab", "bbba", "b", "aa", "$c b", "ccb"]
SETTINGS = {"hidden_size": 4, "max_iter": 3, "random_state": 0, "device": "cpu"}
SIDES = ["a", "b", "a", "b", "a", "b", "a", "b"]
KINDS = ["x", "y", "z", "x", "y", "z", "x", "y"]


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def two():
    return xlstm.SequenceClassifier(**SETTINGS).fit(TEXTS, SIDES, validation=(TEXTS[:3], SIDES[:3]))


@pytest.fixture(scope="module")
def three():
    return xlstm.SequenceClassifier(**SETTINGS).fit(SERIES, KINDS)


@pytest.fixture(scope="module")
def several():
    return xlstm.SequenceClassifier(**SETTINGS).fit(TEXTS, [["p"], ["q"], ["p", "q"], [], ["q"], ["p"], [], ["q"]])


@pytest.fixture(scope="module")
def labeler():
    return xlstm.SequenceLabeler(ignore="-", **SETTINGS).fit(TEXTS, [[*text.replace("c", "-")] for text in TEXTS])


def drawn(display):
    """The display, after it was really drawn."""
    display.figure_.canvas.draw()
    return display


def lines(ax):
    return [(line.get_xdata(), line.get_ydata()) for line in ax.get_lines()]


def test_learning_curves_are_the_history(two):
    shown = drawn(plots.LearningCurveDisplay.from_estimator(two))
    assert [ax.get_ylabel() for ax in shown.axes_] == ["loss", "accuracy"]
    for ax, name in zip(shown.axes_, ("loss", "accuracy"), strict=True):
        (epochs, trained), (_, validated) = lines(ax)
        np.testing.assert_array_equal(epochs, [1, 2, 3])
        np.testing.assert_array_equal(trained, two.history_[name])
        np.testing.assert_array_equal(validated, two.history_[f"validation_{name}"])


def test_a_confusion_matrix_counts_answers(three):
    shown = drawn(plots.ConfusionMatrixDisplay.from_estimator(three, SERIES, KINDS))
    answers = three.predict(SERIES)
    expected = [[sum((np.array(KINDS) == i) & (answers == j)) for j in "xyz"] for i in "xyz"]
    np.testing.assert_array_equal(shown.confusion_matrix, expected)
    assert [text.get_text() for text in shown.ax_.texts] == [str(n) for row in expected for n in row]
    of_labels = plots.ConfusionMatrixDisplay.from_predictions(KINDS, answers, normalize="true")
    np.testing.assert_array_equal(of_labels.confusion_matrix, expected)
    image = np.asarray(of_labels.ax_.images[0].get_array())
    np.testing.assert_allclose(image.sum(axis=1), 1)
    weights = np.arange(8.0)
    weighted = plots.ConfusionMatrixDisplay.from_estimator(three, SERIES, KINDS, sample_weight=weights)
    assert weighted.confusion_matrix.sum() == weights.sum()


def test_of_a_labeler_the_steps_whose_labels_count(labeler):
    y = [[*text.replace("c", "-")] for text in TEXTS]
    shown = plots.ConfusionMatrixDisplay.from_estimator(labeler, TEXTS, y)
    assert shown.confusion_matrix.sum() == sum(label != "-" for row in y for label in row)
    right = np.trace(shown.confusion_matrix) / shown.confusion_matrix.sum()
    assert right == pytest.approx(labeler.score(TEXTS, y))


def test_roc_and_calibration(two, three, several):
    curve = drawn(plots.RocCurveDisplay.from_estimator(two, TEXTS, SIDES)).curves
    assert list(curve) == ["b"]
    p = two.predict_proba(TEXTS)[:, 1]
    pairs = [(p[i] > p[j]) + (p[i] == p[j]) / 2 for i in range(1, 8, 2) for j in range(0, 8, 2)]
    assert curve["b"].area == pytest.approx(np.mean(pairs))
    assert list(plots.RocCurveDisplay.from_estimator(two, TEXTS, SIDES, label="a").curves) == ["a"]
    assert list(drawn(plots.RocCurveDisplay.from_estimator(three, SERIES, KINDS)).curves) == ["x", "y", "z"]
    y = [["p"], ["q"], ["p"], [], ["q"], ["p"], [], ["q"]]
    assert list(plots.RocCurveDisplay.from_estimator(several, TEXTS, y).curves) == ["p", "q"]
    bins = drawn(plots.CalibrationDisplay.from_estimator(two, TEXTS, SIDES, n_bins=5)).curves["b"]
    assert np.average(bins.predicted, weights=bins.weights) == pytest.approx(p.mean())
    assert np.average(bins.observed, weights=bins.weights) == pytest.approx(0.5)


def test_residuals():
    y = np.arange(8.0)
    regressor = xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, y)
    shown = drawn(plots.ResidualsDisplay.from_estimator(regressor, SERIES, y))
    answers = regressor.predict(SERIES)
    np.testing.assert_allclose(shown.axes_[0].collections[0].get_offsets(), np.stack([y, answers], axis=1))
    np.testing.assert_allclose(shown.axes_[1].collections[0].get_offsets(), np.stack([answers, answers - y], axis=1))
    regressor = xlstm.SequenceRegressor(loss="quantile", quantile=[0.1, 0.9], **SETTINGS).fit(SERIES, y)
    assert plots.ResidualsDisplay.from_estimator(regressor, SERIES, y).names == ["quantile 0.1", "quantile 0.9"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_trace_is_drawn_over_tokens_and_signals(cell):
    clf = xlstm.SequenceClassifier(cell=cell, **SETTINGS).fit(SERIES, KINDS)
    shown = drawn(plots.TraceDisplay.from_estimator(clf, SERIES[3]))
    found = inspection.trace(clf, SERIES[3])
    assert len(shown.axes_) == len({**found.gates, **found.states}) + 1
    np.testing.assert_array_equal(np.asarray(shown.axes_[0].images[0].get_array()).T, next(iter(found.gates.values())))
    texts = xlstm.SequenceClassifier(cell=cell, **SETTINGS).fit(TEXTS, SIDES)
    shown = drawn(plots.TraceDisplay.from_estimator(texts, "$c b", parts=["h"]))
    assert [label.get_text() for label in shown.ax_.get_xticklabels()] == ["$", "c", "␣", "b"]


def test_long_tokens_leave_room_for_what_is_drawn_above_them():
    long = "incomprehensibilities" * 3
    words = xlstm.SequenceClassifier(**SETTINGS).fit([["so", long], ["no", "yes"]] * 4, [0, 1] * 4)
    for sequence in (["so", "no"], ["so", long]):
        shown = drawn(plots.TraceDisplay.from_estimator(words, sequence, parts=["h"]))
        shown.figure_.canvas.draw()
        inches = shown.ax_.get_position().height * shown.figure_.get_size_inches()[1]
        assert inches > 0.8
    assert shown.ax_.get_xticklabels()[1].get_text() == "incomprehensibiliti…"


def test_answers_after_each_step(two, three, labeler):
    shown = drawn(plots.EachStepDisplay.from_estimator(three, SERIES[1]))
    expected = three.predict_proba([SERIES[1][: t + 1] for t in range(7)])
    for (_, values), column in zip(lines(shown.axes_[0]), expected.T, strict=True):
        np.testing.assert_allclose(values, column, atol=1e-6)
    drawn(plots.EachStepDisplay.from_estimator(two, TEXTS[0]))
    drawn(plots.EachStepDisplay.from_estimator(labeler, TEXTS[0]))
    drawn(plots.EachStepDisplay.from_estimator(xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, range(8)), SERIES[0]))


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_importance(method, two, three):
    shown = drawn(plots.ImportanceDisplay.from_estimator(two, "abab", method=method))
    heights = [bar.get_height() for bar in shown.ax_.patches]
    np.testing.assert_allclose(heights, inspection.importance(two, "abab", method))
    assert shown.ax_.get_title() == f"what speaks for {str(two.predict(['abab'])[0])!r}"
    shown = drawn(plots.ImportanceDisplay.from_estimator(three, SERIES[1], method=method, target="z"))
    assert shown.ax_.get_title() == "what speaks for 'z'"
    numbers = xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, [[k, -k] for k in range(8)])
    shown = drawn(plots.ImportanceDisplay.from_estimator(numbers, SERIES[1], method=method, target=1))
    assert shown.ax_.get_title() == "what raises number 1"


def test_long_sequences_and_many_classes_stay_readable():
    series = [RNG.standard_normal((300, 1)) for _ in range(12)]
    clf = xlstm.SequenceClassifier(**SETTINGS).fit(series, range(12))
    assert len(lines(drawn(plots.EachStepDisplay.from_estimator(clf, series[0])).axes_[0])) == 8


def test_what_bench_measured():
    sizes = [(1, 20, 8, 32), (32, 28, 28, 128)]
    rows = [
        {"size": list(size), "device": "cpu", "kernels": kernels, "forward_ms": 1.0 + k, "training_step_ms": 2.0 + k}
        for size in sizes
        for k, kernels in enumerate(("avx2", "reference"))
    ]
    shown = drawn(plots.BenchDisplay({"machine": {"processor": "some"}, "rows": rows}).plot())
    assert [bar.get_height() for bar in shown.axes_[1].patches] == [2.0, 2.0, 3.0, 3.0]


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, three):
    shown = plots.TraceDisplay.from_estimator(three, SERIES[0])
    for ending, begin in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        shown.save(str(tmp_path / f"trace.{ending}"))
        assert (tmp_path / f"trace.{ending}").read_bytes().startswith(begin)
    with pytest.raises(ValueError, match="name ends with"):
        shown.save(str(tmp_path / "trace.gif"))
    with pytest.raises(FileNotFoundError):
        shown.save(str(tmp_path / "no folder" / "trace.png"))
    assert len(list(tmp_path.iterdir())) == 3


def test_axes_that_are_given_are_drawn_into(two, three):
    figure, ax = plt.subplots()
    assert plots.RocCurveDisplay.from_estimator(two, TEXTS, SIDES, ax=ax).ax_ is ax
    assert plots.ConfusionMatrixDisplay.from_estimator(two, TEXTS, SIDES, ax=ax).figure_ is figure
    _, axes = plt.subplots(2)
    assert plots.EachStepDisplay.from_estimator(three, SERIES[0], ax=axes).axes_ == list(axes)
    with pytest.raises(ValueError, match="axes must be 2 here"):
        plots.EachStepDisplay.from_estimator(three, SERIES[0], ax=ax)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda two, _: plots.ResidualsDisplay.from_estimator(two, TEXTS, SIDES), "residuals are of numbers"),
        (lambda two, _: plots.ConfusionMatrixDisplay.from_predictions(["a"], ["a", "b"]), "of one length"),
        (lambda two, _: plots.ConfusionMatrixDisplay.from_estimator(two, TEXTS, SIDES, normalize="rows"), "normalize"),
        (lambda _, several: plots.ConfusionMatrixDisplay.from_estimator(several, TEXTS, [[]] * 8), "of one class each"),
        (lambda two, _: plots.RocCurveDisplay.from_estimator(two, TEXTS, SIDES, label="c"), "label must be one of"),
        (
            lambda two, _: plots.RocCurveDisplay.from_estimator(two, TEXTS[:1], ["a"]),
            "no row is positive",
        ),
        (lambda two, _: plots.CalibrationDisplay.from_estimator(two, TEXTS, SIDES, n_bins=0), "n_bins must be"),
        (lambda two, _: plots.TraceDisplay.from_estimator(two, "ab", parts=["x"]), "parts must be some of"),
        (lambda two, _: plots.LearningCurveDisplay.from_estimator(xlstm.SequenceClassifier()), "not fitted"),
    ],
)
def test_what_cannot_be_shown_is_said(draw, message, two, several):
    with pytest.raises(ValueError, match=message):
        draw(two, several)
    assert not plt.get_fignums()


def test_matplotlib_comes_late_and_its_absence_is_told():
    script = """
import sys
import xlstm
from xlstm import plots
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    plots.LearningCurveDisplay({"loss": [1.0]}).plot()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'xp-lstm[plots]'" in done.stdout
