"""What is written in several ways is one to a model: case, and the normal forms of Unicode."""

import pickle
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xlstm
from xlstm.guesses import AmbiguousDataWarning
from xlstm.inspection import trace
from xlstm.spelling import FORMS, Spelling

PRECOMPOSED = {"é": "acute", "è": "grave", "ê": "hat", "ë": "dots"}
CASES = [Spelling(fold, form, False) for fold in (False, True) for form in (None, *FORMS)]
EVERY = [  # that is written in several ways, and some more
    character
    for character in map(chr, range(0x30000))
    if character.casefold() != character or not unicodedata.is_normalized("NFKD", character) or character < "\u0400"
]
ODD = "\u0301\u0308\u0323\u0327\u0345\u030ceEaſßΑᾳᾼǰﬁ가"


def decomposed(text):
    return unicodedata.normalize("NFD", text)


# ---------------------------------------------------------------- the form


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_unicodes_canonical_caseless_one_for_every_character(form):
    """Definitions D145 and D146 of the Unicode standard: two texts match where these forms of both are the same."""
    apart = "NFKD" if "K" in form else "NFD"

    def folded(text):
        return unicodedata.normalize(apart, unicodedata.normalize(apart, text).casefold())

    spelling = Spelling(True, form, False)
    odd = [c for c in EVERY if unicodedata.normalize(apart, spelling.of(c)) != folded(c)]
    assert not odd
    assert not [c for c in EVERY if spelling.of(c) != spelling.of(folded(c))]
    assert not [c for c in EVERY if not unicodedata.is_normalized(form, spelling.of(c))]


def test_without_folding_it_is_the_normal_form_and_without_both_the_text_itself():
    for form in FORMS:
        assert [Spelling(False, form, False).of(c) for c in EVERY] == [unicodedata.normalize(form, c) for c in EVERY]
    assert [Spelling(False, None, False).of(c) for c in EVERY] == EVERY
    assert [Spelling(True, None, False).of(c) for c in EVERY] == [c.casefold() for c in EVERY]


@given(st.text(st.one_of(st.characters(), st.sampled_from(ODD)), max_size=12), st.sampled_from(CASES))
def test_what_is_in_the_form_stays_as_it_is_and_other_ways_to_write_it_come_to_it(text, spelling):
    one = spelling.of(text)
    assert spelling.of(one) == one
    if spelling.normalize is not None:
        assert {spelling.of(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")} == {one}
    if spelling.fold_case:
        assert spelling.of(text.casefold()) == one


# ---------------------------------------------------------------- models


def classifier(**settings):
    fixed = {"hidden_size": 8, "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0, "device": "cpu"}
    return xlstm.SequenceClassifier(**fixed | settings)


def accents(n, seed, form, words=False):
    """Four letters that differ in their accents alone, in a text: which it is."""
    rng = np.random.default_rng(seed)
    marks = rng.choice(list(PRECOMPOSED), n)
    between = [" " if words else ""] * n
    X = [f"{'ab'[rng.integers(2)]}{s}{mark}{s}{'ba'[rng.integers(2)]}" for mark, s in zip(marks, between, strict=True)]
    return [unicodedata.normalize(form, x) for x in X], [PRECOMPOSED[mark] for mark in marks]


@pytest.mark.parametrize("split", ["characters", "words"])
@pytest.mark.parametrize(("learned", "met"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_texts_of_one_normal_form_are_recognised_in_the_other(learned, met, split, tmp_path):
    words = split == "words"
    clf = classifier(split=split).fit(*accents(80, 0, learned, words))
    X, y = accents(60, 1, met, words)
    clf.save(tmp_path / "model.xlstm")
    for model in (clf, xlstm.load(tmp_path / "model.xlstm"), pickle.loads(pickle.dumps(clf)), clf.prepare()):
        assert model.score(X, y) == 1
    assert xlstm.load(tmp_path / "model.xlstm").normalize == "NFC"
    other = classifier(split=split, normalize=None).fit(*accents(80, 0, learned, words))
    assert other.score(*accents(60, 1, learned, words)) == 1
    assert other.score(X, y) < 0.6  # told to, it takes them as they stand


@pytest.mark.parametrize(("learned", "met"), [("straße", "STRASSE"), ("ﬁn", "FIN"), ("ǰa", "J\u030cA")])
@pytest.mark.parametrize("split", ["characters", "words"])
def test_characters_fold_as_words_do(learned, met, split):
    X, y = [learned, "other"] * 9, ["a", "b"] * 9
    clf = classifier(split=split, max_iter=5).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba([met]), clf.predict_proba([learned]))
    assert clf.predict_proba([met]).tolist() != clf.predict_proba(["?"]).tolist()


def test_a_model_knows_characters_in_their_form_however_it_came_to_know_them():
    X, y = ["Éa", "e\u0301b", "aẞ", "b"] * 4, [0, 1, 0, 1] * 4
    whole = classifier(max_iter=1).fit(X, y)
    assert whole.fitted_state().encoder.vocabulary == ["a", "b", "s", "é"]
    batches = classifier(max_iter=1).fit(xlstm.Batches([(X[:6], y[:6]), (X[6:], y[6:])]))
    parts = classifier().partial_fit(X, y, vocabulary="abÉß")
    for model in (batches, parts):
        assert model.fitted_state().encoder.state() == whole.fitted_state().encoder.state()
    apart = classifier().partial_fit(X, y, vocabulary="abe\u0301ß")  # as in a text
    assert apart.fitted_state().encoder.vocabulary == ["a", "b", "e", "s", "é", "\u0301"]
    np.testing.assert_array_equal(apart.predict_proba(["E\u0301"]), apart.predict_proba(["é"]))
    assert apart.predict_proba(["é"]).tolist() != apart.predict_proba(["?"]).tolist()
    alone = classifier().partial_fit(X, y, vocabulary=["a", "b", "e", "\u0301", "s"])  # each is a character
    assert alone.fitted_state().encoder.vocabulary == ["a", "b", "e", "s", "\u0301"]


def test_a_text_that_begins_with_a_mark_leaves_the_one_before_as_it_is():
    X = ["ae", "\u0301b", "é", "b"]
    clf = classifier(max_iter=2).fit(X * 3, [0, 1, 0, 1] * 3)
    assert clf.fitted_state().encoder.vocabulary == ["a", "b", "e", "é", "\u0301"]
    np.testing.assert_allclose(clf.predict_proba(X), np.concatenate([clf.predict_proba([x]) for x in X]), rtol=1e-5)


def test_the_form_is_that_of_the_model_whatever_is_set_later(tmp_path):
    clf = classifier(max_iter=3, warm_start=True).fit(*accents(20, 0, "NFC"))
    X, y = accents(20, 1, "NFD")
    expected = clf.predict_proba(X)
    clf.set_params(normalize=None)
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    with pytest.raises(ValueError, match=r"normalize is None, but the model to go on from has 'NFC'"):
        clf.fit(X, y)
    with pytest.raises(ValueError, match=r"normalize must be None or one of .'NFC', 'NFD', 'NFKC', 'NFKD'., got 'nfc'"):
        classifier(normalize="nfc").fit(X, y)


def test_rows_that_were_set_aside_are_known_again_in_another_form():
    X, y = accents(40, 0, "NFC")
    clf = classifier(early_stopping=True, warm_start=True, max_iter=2, validation_fraction=0.3).fit(X, y)
    before = clf.fitted_state().sides
    clf.fit([decomposed(x) for x in X], y)
    np.testing.assert_array_equal(clf.fitted_state().sides.aside, before.aside)


def test_a_stream_and_what_is_seen_inside_are_of_the_characters_in_their_form():
    clf = classifier(max_iter=2).fit(*accents(40, 0, "NFC"))
    text = "ae\u0301b"
    stream = clf.stream()
    for part in ("a", "e\u0301", "b"):
        stream.feed(part)
    np.testing.assert_allclose(stream.feed("É"), clf.predict_proba([text + "É"])[0], rtol=1e-5)
    assert trace(clf, text).steps == ["a", "é", "b"]
    xlstm.check_gradients(clf, (["ae\u0301", "ß"], ["acute", "grave"]))


def test_letters_of_other_widths_are_one_with_nfkc():
    X, y = ["ｶﾞa", "ｂa"] * 8, [0, 1] * 8
    assert classifier(normalize="NFKC", max_iter=1).fit(X, y).fitted_state().encoder.vocabulary == ["a", "b", "ガ"]
    assert len(classifier(max_iter=1).fit(X, y).fitted_state().encoder.vocabulary) == 4


# ---------------------------------------------------------------- where each character has an answer


def labeler(**settings):
    return xlstm.SequenceLabeler(hidden_size=4, max_iter=2, random_state=0, device="cpu", **settings)


def test_a_labelers_characters_stay_as_many_as_its_answers():
    X = ["Straße", "éa"]
    y = ["abcabc", "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = labeler().fit(X, y)
        assert list(map(len, model.predict(X))) == [6, 2]
    assert "ss" in model.fitted_state().encoder.vocabulary
    with pytest.warns(AmbiguousDataWarning, match=r"row 1 of X, 'e.a', has another number of char.* in the form NFC"):
        answers = model.predict(["Straße", "e\u0301a"])
    assert list(map(len, answers)) == [6, 3]
    with pytest.warns(AmbiguousDataWarning, match=r"row 0 of X, .*set normalize=None"):
        labeler().fit(["e\u0301a", "b"], ["abc", "a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labeler(normalize=None).fit(["e\u0301a", "b"], ["abc", "a"])


def test_a_labelers_words_are_known_in_every_form():
    X, y = [["café", "a"], ["b", "STRASSE"]] * 4, [["x", "y"], ["y", "x"]] * 4
    model = labeler().fit(X, y)
    expected, found = model.predict_proba(X[:2]), model.predict_proba([["cafe\u0301", "A"], ["B", "straße"]])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
