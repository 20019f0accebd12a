"""What a network saw in one sequence, against its equations, its own answers and finite differences."""

import numpy as np
import pytest

import xlstm
from xlstm import inspection

LETTERS = ["aab", "ba", "abab", "bbba", "b", "aa", "cab", "ccb"]
BY_LAST = [text[-1] for text in LETTERS]
CELLS = ("lstm", "gru", "gru_reset_before", "rnn")
SETTINGS = {"hidden_size": 5, "max_iter": 3, "random_state": 0, "device": "cpu", "dtype": "float64"}
RNG = np.random.default_rng(3)
SERIES = [RNG.standard_normal((length, 2)) * [3, 1] + [10, 0] for length in (4, 7, 5, 9, 6, 3)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.fixture(scope="module", params=CELLS)
def classifier(request):
    return xlstm.SequenceClassifier(cell=request.param, **SETTINGS).fit(SERIES, [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("bidirectional", "direction"), [(False, "forward"), (True, "forward"), (True, "reverse")])
@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("cell", CELLS)
def test_gates_and_states_fulfil_the_equations_of_the_cell(cell, layer, bidirectional, direction):
    settings = {"cell": cell, "num_layers": 2, "bidirectional": bidirectional, **SETTINGS}
    clf = xlstm.SequenceClassifier(**settings).fit(SERIES, [0, 1, 0, 1, 0, 1])
    gates, states, steps = inspection.trace(clf, SERIES[3], layer, direction)
    np.testing.assert_array_equal(steps, SERIES[3])
    turn = -1 if direction == "reverse" else 1
    h = states["h"][::turn]
    before = np.vstack([np.zeros(5), h[:-1]])
    g = {name: values[::turn] for name, values in gates.items()}
    if cell == "lstm":
        c = states["c"][::turn]
        np.testing.assert_allclose(c, g["f"] * np.vstack([np.zeros(5), c[:-1]]) + g["i"] * g["g"], atol=1e-12)
        np.testing.assert_allclose(h, g["o"] * np.tanh(c), atol=1e-12)
    elif cell == "rnn":
        np.testing.assert_array_equal(g["h"], h)
    else:
        np.testing.assert_allclose(h, (1 - g["u"]) * g["n"] + g["u"] * before, atol=1e-12)


@pytest.mark.parametrize("embedding_size", [None, 3])
def test_gates_of_tokens_are_those_of_the_weights(embedding_size):
    clf = xlstm.SequenceClassifier(embedding_size=embedding_size, **SETTINGS).fit(LETTERS, BY_LAST)
    p, vocabulary = clf.fitted_state().model.parameters, clf.fitted_state().encoder.vocabulary
    x = np.zeros((3, len(vocabulary) + 1))
    for t, letter in enumerate("ab?"):
        if letter in vocabulary:
            x[t, vocabulary.index(letter) + 1] = 1
    x = x @ p["embedding.weight"] if embedding_size else x
    gates, states, steps = inspection.trace(clf, "ab?")
    assert steps == ["a", "b", "?"]
    before = np.vstack([np.zeros(5), states["h"][:-1]])
    z = x @ p["recurrent.weight_ih_l0"].T + before @ p["recurrent.weight_hh_l0"].T + p["recurrent.bias_l0"]
    expected = np.split(z, 4, axis=1)
    for name, part in zip("ifgo", expected, strict=True):
        np.testing.assert_allclose(gates[name], np.tanh(part) if name == "g" else sigmoid(part), atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", ["final", "mean", "max", "attention", "final+max"])
def test_after_each_step_stands_the_answer_for_what_came_so_far(readout, bidirectional):
    clf = xlstm.SequenceClassifier(readout=readout, bidirectional=bidirectional, **SETTINGS).fit(LETTERS, BY_LAST)
    expected = clf.predict_proba(["abcab"[: t + 1] for t in range(5)])
    np.testing.assert_allclose(inspection.after_each_step(clf, "abcab"), expected, atol=1e-12)


def test_after_each_step_of_numbers_words_and_steps():
    y = np.arange(6.0)
    for columns in (y, np.stack([y, -y], axis=1)):
        regressor = xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, columns)
        found = inspection.after_each_step(regressor, SERIES[1])
        expected = regressor.predict([SERIES[1][: t + 1] for t in range(7)])
        np.testing.assert_allclose(found, expected.reshape(7, -1), atol=1e-12)
    words = ["good day", "bad day", "so good it is", "so bad it is"]
    clf = xlstm.SequenceClassifier(split="words", **SETTINGS).fit(words, [1, 0, 1, 0])
    expected = clf.predict_proba(["so", "so good", "so good day"])
    np.testing.assert_allclose(inspection.after_each_step(clf, "so good day"), expected, atol=1e-12)
    assert inspection.trace(clf, "so good day").steps == ["so", "good", "day"]
    for both in (False, True):
        labeler = xlstm.SequenceLabeler(bidirectional=both, **SETTINGS).fit(LETTERS, [list(text) for text in LETTERS])
        expected = [labeler.predict_proba(["bcab"[: t + 1]])[0][-1] for t in range(4)]
        np.testing.assert_allclose(inspection.after_each_step(labeler, "bcab"), expected, atol=1e-12)


def log_odds(clf, x, k):
    p = clf.predict_proba([x])[0][k]
    return np.log(p / (1 - p))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_times_input_is_the_slope_along_each_input(cell, classes, bidirectional):
    clf = xlstm.SequenceClassifier(cell=cell, bidirectional=bidirectional, **SETTINGS)
    clf.fit(SERIES, [k % classes for k in range(6)])
    x, mean = SERIES[4], clf.fitted_state().encoder.mean
    for k in range(classes):
        found = inspection.importance(clf, x, target=k)
        assert found.shape == x.shape
        expected, eps = np.empty_like(x), 1e-5
        for t, d in np.ndindex(*x.shape):  # the input is scaled: it is the distance from the mean that grows
            more, less = x.copy(), x.copy()
            more[t, d] += eps * (x[t, d] - mean[d])
            less[t, d] -= eps * (x[t, d] - mean[d])
            expected[t, d] = (log_odds(clf, more, k) - log_odds(clf, less, k)) / (2 * eps)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_occlusion_is_what_the_answer_loses_without_a_step(classifier):
    x, mean = SERIES[3], classifier.fitted_state().encoder.mean
    likeliest = int(classifier.predict_proba([x])[0].argmax())
    for target, k in ((None, likeliest), (0, 0), (2, 2)):
        expected = []
        for t in range(len(x)):
            without = x.copy()
            without[t] = mean
            expected.append(log_odds(classifier, x, k) - log_odds(classifier, without, k))
        np.testing.assert_allclose(
            inspection.importance(classifier, x, "occlusion", target=target), expected, atol=1e-9
        )


def test_occlusion_of_tokens_puts_an_unknown_one_in_their_place():
    clf = xlstm.SequenceClassifier(embedding_size=2, **SETTINGS).fit(LETTERS, BY_LAST)
    k = int(clf.predict_proba(["abca"])[0].argmax())
    expected = [log_odds(clf, "abca", k) - log_odds(clf, text, k) for text in ("?bca", "a?ca", "ab?a", "abc?")]
    np.testing.assert_allclose(inspection.importance(clf, "abca", "occlusion"), expected, atol=1e-9)
    assert inspection.importance(clf, "abca").shape == (4,)
    of_pairs = [log_odds(clf, "abca", k) - log_odds(clf, text, k) for text in ("??ca", "a??a", "ab??")]
    means = [of_pairs[0], np.mean(of_pairs[:2]), np.mean(of_pairs[1:]), of_pairs[2]]
    np.testing.assert_allclose(inspection.importance(clf, "abca", "occlusion", width=2), means, atol=1e-9)


def test_importance_for_numbers_several_labels_and_each_step():
    y = np.arange(6.0) * 100
    regressor = xlstm.SequenceRegressor(**SETTINGS).fit(SERIES, y)
    x, mean = SERIES[0], regressor.fitted_state().encoder.mean
    eps = 1e-5
    slope = np.diff(regressor.predict([mean + (x - mean) * (1 + sign * eps) for sign in (-1, 1)]))[0] / (2 * eps)
    assert inspection.importance(regressor, x).sum() == pytest.approx(slope, abs=1e-5)
    several = xlstm.SequenceClassifier(**SETTINGS).fit(SERIES, [["a"], ["b"], ["a", "b"], [], ["b"], ["a"]])
    mean = several.fitted_state().encoder.mean
    ends = [mean + (x - mean) * (1 + sign * eps) for sign in (-1, 1)]
    slope = (log_odds(several, ends[1], 1) - log_odds(several, ends[0], 1)) / (2 * eps)
    assert inspection.importance(several, x, target="b").sum() == pytest.approx(slope, abs=1e-6)
    labeler = xlstm.SequenceLabeler(**SETTINGS).fit(SERIES, [["p" if v > 0 else "n" for v in s[:, 1]] for s in SERIES])
    of_second = inspection.importance(labeler, x, step=1, target="p")
    assert not of_second[2:].any()  # what comes later is not seen in one direction
    assert of_second[:2].any()


def test_what_is_missing_counts_with_its_feature():
    gaps = [series.copy() for series in SERIES]
    gaps[0][1, 0] = np.nan
    clf = xlstm.SequenceClassifier(missing="mask", **SETTINGS).fit(gaps, [0, 1, 0, 1, 0, 1])
    found = inspection.importance(clf, gaps[0])
    assert found.shape == gaps[0].shape
    assert np.isfinite(found).all()
    assert np.isnan(inspection.trace(clf, gaps[0]).steps[1, 0])


def test_a_row_of_a_table_is_steps_of_one_feature():
    X = np.random.default_rng(0).standard_normal((8, 6))
    clf = xlstm.SequenceClassifier(**SETTINGS).fit(X, [0, 1] * 4)
    assert inspection.importance(clf, X[2]).shape == (6, 1)
    np.testing.assert_allclose(inspection.after_each_step(clf, X[2])[-1], clf.predict_proba(X)[2], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda clf: inspection.trace(clf, SERIES[0], layer=1), "layer must be a whole number from -1 to 0"),
        (lambda clf: inspection.trace(clf, SERIES[0], layer=True), "layer must be"),
        (lambda clf: inspection.trace(clf, SERIES[0], direction="reverse"), "direction must be one of"),
        (lambda clf: inspection.importance(clf, SERIES[0], "shap"), "method must be one of"),
        (lambda clf: inspection.importance(clf, SERIES[0], target=7), "target must be one of the labels"),
        (lambda clf: inspection.importance(clf, SERIES[0], step=4), "step must be a whole number from -4 to 3"),
        (lambda clf: inspection.importance(clf, SERIES[0], "occlusion", width=0), "width must be a whole number"),
        (lambda clf: inspection.importance(clf, SERIES[0], width=2), "width is of occlusion alone"),
        (lambda clf: inspection.trace(clf, SERIES[0][:, :1]), "feature"),
        (lambda clf: inspection.trace(clf, np.empty((0, 2))), "row 0"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    clf = xlstm.SequenceClassifier(**SETTINGS).fit(SERIES, [0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match=message):
        call(clf)


def test_not_fitted_is_said_and_nothing_is_changed():
    with pytest.raises(ValueError, match="not fitted"):
        inspection.trace(xlstm.SequenceClassifier(), "ab")
    clf = xlstm.SequenceClassifier(dropout=0.5, **SETTINGS).fit(SERIES, [0, 1, 0, 1, 0, 1])
    model = clf.fitted_state().model
    before = model.read(), np.array(model.gradients.flat)
    found = inspection.importance(clf, SERIES[0])
    np.testing.assert_array_equal(found, inspection.importance(clf, SERIES[0]))  # dropout is off
    np.testing.assert_array_equal(before[0], model.read())
    np.testing.assert_array_equal(before[1], model.gradients.flat)
