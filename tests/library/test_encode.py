"""Encoders: vocabularies that depend on nothing but their tokens, features at unit scale, and both through a file."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import encode
from xlstm.encode import UNKNOWN
from xlstm.sequences import read
from xlstm.spelling import Spelling

from ..peers import peer

FOLDED, PLAIN = Spelling(True, "NFC", False), Spelling(False, None, False)
APART = Spelling(True, None, True)  # as older files have it


def numbers(X, texts=None, spelling=FOLDED, encoding="auto"):
    """The token numbers of `texts` (X itself where None) by the vocabulary of X."""
    encoder = encode.fit(read(X, encoding), spelling, True)
    return encoded(encoder, read(X if texts is None else texts, encoding)).tolist()


def encoded(encoder, data):
    return encode.encode(encoder, encode.spelled(encoder, data))


def scaled(X, other=None, standardize=True):
    encoder = encode.fit(read(X), FOLDED, standardize)
    return encode.encode(encoder, read(X if other is None else other))


def through_a_file(encoder):
    return encode.from_state(json.loads(json.dumps(encoder.state())))


# ---------------------------------------------------------------- tokens


def test_numbers_begin_at_one_in_sorted_order():
    assert UNKNOWN == 0
    assert numbers(["cab", "b"]) == [3, 1, 2, 2]
    assert numbers([["cat", "a"], ["bat"]]) == [3, 1, 2]
    assert numbers([[30, 10], [20]], encoding="tokens") == [3, 1, 2]


@pytest.mark.parametrize(
    ("X", "encoding"),
    [
        (["cab", "bd", "Zé", "\U0001f600"], "auto"),
        ([["the", "cat"], ["sat", "The"], ["on"]], "auto"),
        ([[5, -3], [2**40], [0, 5]], "tokens"),
    ],
)
def test_the_order_of_the_texts_is_no_matter(X, encoding):
    first = encode.fit(read(X, encoding), FOLDED, True)
    again = encode.fit(read([row[::-1] for row in X[::-1]], encoding), FOLDED, True)
    assert first.state() == again.state()
    assert first.size == again.size


def test_what_was_not_seen_is_unknown():
    assert numbers(["ab"], ["axb\U0001f600"]) == [1, UNKNOWN, 2, UNKNOWN]
    assert numbers([["a", "b"]], [["c", "b"]]) == [UNKNOWN, 2]
    assert numbers([[5, 7]], [[7, 6, -1, 99, 5]], encoding="tokens") == [2, UNKNOWN, UNKNOWN, UNKNOWN, 1]


@given(st.text(st.characters(), min_size=1), st.text(st.characters(), min_size=1), st.booleans())
@settings(max_examples=200, deadline=None)
def test_characters_are_looked_up_one_by_one(seen, text, fold_case):
    """Whatever they are, surrogates that stand alone too."""
    encoder = encode.fit(read([seen]), APART._replace(fold_case=fold_case), True)

    def folded(character):
        return character.casefold() if fold_case else character

    vocabulary = sorted({folded(character) for character in seen})
    expected = [vocabulary.index(folded(c)) + 1 if folded(c) in vocabulary else UNKNOWN for c in text]
    found = encode.encode(encoder, read([text]))
    assert (found.dtype, found.tolist()) == (np.int64, expected)


def test_the_size_counts_the_unknown_token():
    assert encode.fit(read(["abba"]), FOLDED, True).size == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "A"),
        ("σ", "Σ"),
        ("σ", "ς"),
        ("ö", "Ö"),
        ("ǆ", "ǅ"),
        ("\u212a", "k"),
    ],  # the last is the sign of the kelvin
)
def test_case_is_folded(one, other):
    assert numbers([one, "1"], [other]) == numbers([one, "1"], [one]) != [UNKNOWN]
    assert numbers([[one], ["1"]], [[other]]) != [UNKNOWN]
    assert numbers([one, "1"], [other], spelling=PLAIN) == [UNKNOWN]
    assert numbers([one + other]) == [1, 1]
    assert sorted(numbers([one + other], spelling=PLAIN)) == [1, 2]


@pytest.mark.parametrize(("one", "other"), [("STRASSE", "Straße"), ("ﬁx", "fi\u0078"), ("ŉ", "ʼn"), ("İ", "i̇")])
def test_what_folds_to_several_letters_is_those_letters_among_characters_as_among_words(one, other):
    assert numbers([one, "zq"], [other]) == numbers([one, "zq"], [one])
    assert UNKNOWN not in numbers([one, "zq"], [other])
    assert numbers([[one], ["zq"]], [[other]]) == numbers([[one], ["zq"]], [[one]]) != [UNKNOWN]
    assert numbers(["ss"], ["ß"]) == [1, 1]


def test_characters_that_are_folded_apart_stay_one_step_each():
    """ß folds to ss and İ to i with a dot: one token, and another than s or i."""
    first, second, third = numbers(["ßsS"], spelling=APART)
    assert first != second == third
    dotted, plain = numbers(["İi"], spelling=APART)
    assert dotted != plain
    assert numbers([["STRASSE"]], [["straße"]], spelling=APART) == [1]  # as words they are one


@pytest.mark.parametrize("text", ["\U0001f600", "\U0001f468\u200d\U0001f469", "\ud83d", "\udc00x", "\0", "\u0301e"])
def test_any_character_is_a_token(text):
    encoder = encode.fit(read([text, "ab"]), FOLDED, True)
    found = encoded(encoder, read([text]))
    assert len(found) == len(text)
    assert (found > 0).all()
    np.testing.assert_array_equal(encoded(through_a_file(encoder), read([text])), found)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6), st.booleans())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_same_number_means_the_same_token(X, fold_case):
    found = numbers(X, spelling=APART._replace(fold_case=fold_case))
    tokens = [character.casefold() if fold_case else character for text in X for character in text]
    assert len(found) == len(tokens)
    assert all(number > 0 for number in found)
    assert len(set(zip(tokens, found, strict=True))) == len(set(tokens)) == len(set(found)) == max(found)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_integers(X):
    arrays = [np.array(row, dtype=np.int64) for row in X]
    found = numbers(arrays, encoding="tokens")
    tokens = sorted({token for row in X for token in row})
    assert found == [1 + tokens.index(token) for row in X for token in row]


def test_integers_at_both_ends_of_the_vocabulary():
    X = [np.array([-(2**63), 2**63 - 1])]
    assert numbers(X, [np.array([2**63 - 1, 0, -(2**63)])], encoding="tokens") == [2, UNKNOWN, 1]


# ---------------------------------------------------------------- scaling


def test_each_feature_has_mean_zero_and_deviation_one():
    rng = np.random.default_rng(0)
    X = [rng.normal([1000, -5, 1e-8], [0.1, 3, 1e-9], (length, 3)) for length in (3, 50, 1, 20)]
    values = scaled(X)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-9)


def test_steps_count_alike_whatever_their_sequence():
    """Over all valid steps, not over means of sequences, nor over padding."""
    values = scaled([[0.0], [3.0, 3.0, 3.0]])
    np.testing.assert_allclose(values.ravel(), np.array([-2.25, 0.75, 0.75, 0.75]) / math.sqrt(27 / 16))


def test_as_scikit_learns_standard_scaler():
    preprocessing = peer("sklearn.preprocessing")
    rng = np.random.default_rng(1)
    X = [rng.normal(7, 3, (length, 4)) for length in (5, 2, 9)]
    other = rng.normal(0, 9, (6, 4))
    scaler = preprocessing.StandardScaler().fit(np.concatenate(X))
    encoder = encode.fit(read(X), FOLDED, True)
    np.testing.assert_allclose(encoder.mean, scaler.mean_, rtol=1e-13)
    np.testing.assert_allclose(encoder.scale, scaler.scale_, rtol=1e-13)
    np.testing.assert_allclose(encode.encode(encoder, read([other])), scaler.transform(other), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("value", [0.0, 1.0, -7.3, 0.1, 1e-300, 1e300, -1e-30, 123456.789])
def test_a_constant_feature_is_only_shifted(value):
    X = np.full((3, 7, 2), value)
    X[:, :, 1] = np.arange(21).reshape(3, 7)
    encoder = encode.fit(read(X), FOLDED, True)
    assert encoder.scale[0] == pytest.approx(1, rel=1e-14)
    values = encode.encode(encoder, read(X))
    np.testing.assert_allclose(values[:, 0], 0, atol=1e-9 * abs(value) + 1e-300)


def test_a_feature_far_from_zero_keeps_what_it_says():
    """Times in nanoseconds, within a second of each other: apart by 1e-10 and less of what they are."""
    rng = np.random.default_rng(0)
    for width in (1e9, 1e5):
        X = [1.7e18 + rng.uniform(0, width, (length, 1)) for length in (50, 70)]
        values = scaled(X)
        exact = np.concatenate(X)[:, 0] - 1.7e18  # without rounding
        np.testing.assert_allclose(
            values[:, 0], (exact - exact.mean()) / exact.std(), atol=1e-2 if width < 1e6 else 1e-5
        )


@pytest.mark.parametrize("value", [0.3, 1.7e18, -1e300, 1e-300])
def test_what_rounding_makes_of_a_feature_says_nothing(value):
    X = np.full((4, 5, 1), value)
    X[1, 2], X[3, 0] = np.nextafter(value, math.inf), np.nextafter(value, -math.inf)
    assert (np.abs(scaled(X)) < 1e-14).all()


@pytest.mark.parametrize(
    "values",
    [
        [-1.7e308] * 9 + [1.7e308],  # their difference is beyond float64
        [1.7e308, 1.6e308, 1.7e308],
        [1e200, -1e200, 3e200],  # their squares are
        [1e-200, 3e-200],  # and these vanish
        [1e-310, 2e-310, 4e-310],
        [0.0, 0.0, 0.0, 5e-324],
        [5e-324, 5e-324],
    ],
)
def test_the_ends_of_the_number_range(values):
    """Whatever is finite stays finite, without a warning."""
    X = [np.array(values)]
    encoder = encode.fit(read(X), FOLDED, True)
    assert np.isfinite(encoder.mean).all()
    assert np.isfinite(encoder.scale).all()
    assert (encoder.scale > 0).all()
    found = encode.encode(encoder, read(X)).ravel()
    assert np.isfinite(found).all()
    if min(map(abs, values)) > 1e-300:
        size = max(map(abs, values))
        shrunk = np.array([value / size for value in values])
        np.testing.assert_allclose(found, (shrunk - shrunk.mean()) / shrunk.std(), rtol=1e-9, atol=1e-12)
    assert through_a_file(encoder).state() == encoder.state()


ENDS = [-1.7e308, 1.7e308, 1e-308, 5e-324, -5e-324, 0.0, 1.0, 1e16, 1e16 + 2]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(ENDS), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_finite_values(values):
    assert np.isfinite(scaled([np.array(values)])).all()


def test_float32():
    rng = np.random.default_rng(0)
    X = rng.normal(1e4, 1, (50, 4, 1)).astype(np.float32)
    values = scaled(X)
    wide = X.astype(float).ravel()
    np.testing.assert_allclose(values.ravel(), (wide - wide.mean()) / wide.std(), rtol=1e-9, atol=1e-9)
    largest = np.finfo(np.float32).max
    assert np.isfinite(scaled(np.array([[largest, -largest]], np.float32))).all()


def test_without_scaling_values_stay():
    X = np.random.default_rng(0).normal(5, 3, (2, 3, 2))
    np.testing.assert_array_equal(scaled(X, standardize=False), X.reshape(6, 2))


def test_what_comes_later_does_not_move_the_scale():
    X = [[0.0, 2.0]]
    np.testing.assert_allclose(scaled(X, [[5.0, 100.0]]).ravel(), [4, 99])


def test_another_number_of_features_is_refused():
    encoder = encode.fit(read(np.zeros((2, 3, 2))), FOLDED, True)
    assert encoder.size == 2
    with pytest.raises(ValueError, match="X has 3 features a step, but this model was trained on 2"):
        encode.encode(encoder, read(np.zeros((2, 3, 3))))


@pytest.mark.parametrize("one", ["characters", "words", "integers", "series"])
@pytest.mark.parametrize("other", ["characters", "words", "integers", "series"])
def test_data_of_another_kind_is_refused(one, other):
    data = {
        "characters": read(["ab"]),
        "words": read([["a", "b"]]),
        "integers": read([[1, 2]], "tokens"),
        "series": read([[1, 2]]),
    }
    encoder = encode.fit(data[one], FOLDED, True)
    if one == other:
        assert len(encode.encode(encoder, data[other])) == 2
        return
    with pytest.raises(ValueError, match=f"this model was trained on {one}, got {other}"):
        encode.encode(encoder, data[other])


# ---------------------------------------------------------------- kept in a file


@pytest.mark.parametrize(
    ("X", "encoding", "fold_case"),
    [
        (["ab", "Zé\U0001f600"], "auto", True),
        (["ab", "Zé\U0001f600"], "auto", False),
        ([["the", "Cat"], [""]], "auto", True),
        ([[5, -3], [2**62]], "tokens", True),
        ([[0.1, 1 / 3], [1e300, -1e-300]], "auto", True),
    ],
)
def test_state_and_back(X, encoding, fold_case):
    data = read(X, encoding)
    encoder = encode.fit(data, FOLDED._replace(fold_case=fold_case), True)
    again = through_a_file(encoder)
    assert type(again) is type(encoder)
    assert again.state() == encoder.state()
    assert again.size == encoder.size
    np.testing.assert_array_equal(encode.encode(again, data), encode.encode(encoder, data))


SPELLING = {"fold_case": True, "normalize": "NFC", "apart": False}
TOKENS = {"kind": "characters", **SPELLING, "vocabulary": ["a", "b"]}
INTEGERS = {"kind": "integers", **SPELLING, "vocabulary": [1, 2]}
SERIES = {"kind": "series", "mean": [0.0, 1.0], "scale": [1.0, 2.0]}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"kind": "images"},
        {"kind": None},
        {**TOKENS, "kind": ["characters"]},
        {"kind": "characters", "fold_case": True},
        {**TOKENS, "more": 1},
        {**SERIES, "more": 1},
        {**TOKENS, "kind": "series"},
        {**SERIES, "kind": "words"},
        {**TOKENS, "vocabulary": []},
        {**TOKENS, "vocabulary": "ab"},
        {**TOKENS, "vocabulary": ["b", "a"]},
        {**TOKENS, "vocabulary": ["a", "a"]},
        {**TOKENS, "vocabulary": ["a", 1]},
        {**TOKENS, "vocabulary": [["a"]]},
        {**TOKENS, "vocabulary": None},
        {**TOKENS, "fold_case": 1},
        {**TOKENS, "apart": 1},
        {**TOKENS, "normalize": "NFX"},
        {**TOKENS, "normalize": ["NFC"]},
        {**TOKENS, "kind": "words", "vocabulary": ["\ud83d\ude00"]},
        {**INTEGERS, "vocabulary": [1, True]},
        {**INTEGERS, "vocabulary": [1, 2.0]},
        {**INTEGERS, "vocabulary": ["1"]},
        {**INTEGERS, "vocabulary": [1, 2**70]},
        {**INTEGERS, "vocabulary": [-(2**63) - 1, 0]},
        {**SERIES, "mean": [0.0]},
        {**SERIES, "mean": []},
        {**SERIES, "mean": [], "scale": []},
        {**SERIES, "mean": 0.0, "scale": 1.0},
        {**SERIES, "mean": [[0.0, 1.0]], "scale": [[1.0, 2.0]]},
        {**SERIES, "mean": [0.0, float("nan")]},
        {**SERIES, "mean": [0.0, float("inf")]},
        {**SERIES, "scale": [1.0, float("inf")]},
        {**SERIES, "scale": [1.0, float("nan")]},
        {**SERIES, "scale": [1.0, 0.0]},
        {**SERIES, "scale": [1.0, -1.0]},
        {**SERIES, "mean": ["a", "b"]},
        {**SERIES, "mean": None},
        {**SERIES, "mean": {"a": 1.0}},
        {**SERIES, "mean": [0.0, None]},
    ],
)
def test_other_states_are_refused(state):
    with pytest.raises(ValueError, match=r"."):
        encode.from_state(state)


@pytest.mark.parametrize("state", [TOKENS, INTEGERS, SERIES])
def test_those_states_were_refused_for_their_fault(state):
    assert encode.from_state(state).state() == state


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_state_without_a_normal_form_is_that_of_a_model_that_folds_each_character_by_itself(kind):
    encoder = encode.from_state({"kind": kind, "fold_case": True, "vocabulary": ["e", "ss", "é"]})
    assert encoder.spelling == APART
    X = ["ẞéẞ"] if kind == "characters" else [["ẞ", "É", "ß"]]
    assert encoded(encoder, read(X)).tolist() == [2, 3, 2]
    X = ["se\u0301"] if kind == "characters" else [["e\u0301", "e"]]
    assert encoded(encoder, read(X)).tolist() == ([UNKNOWN, 1, UNKNOWN] if kind == "characters" else [UNKNOWN, 1])


def test_a_pair_of_surrogates_is_refused_in_words_and_kept_among_characters():
    """As JSON has it, a pair would be read as the one character that it stands for."""
    pair, character = "\ud83d\ude00", "\U0001f600"
    with pytest.raises(ValueError, match=r"the word '\\ud83d\\ude00' holds a pair of surrogates.*utf-16"):
        encode.fit(read([["a", pair]]), FOLDED, True)
    assert numbers([[character]]) == [1]
    assert numbers([["\ud83d", "\ude00"]]) == [1, 2]  # halves of their own
    encoder = encode.fit(read([pair, character]), FOLDED, True)
    assert encoded(through_a_file(encoder), read([pair + character])).tolist() == [1, 2, 3]
