"""Sampling: against a softmax written out, the frequencies of many draws, and what each setting is to leave."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import sampling

LOGITS = np.log([0.5, 0.25, 0.15, 0.1])


def softmax(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def test_by_hand():
    np.testing.assert_allclose(sampling.probabilities(LOGITS), [0.5, 0.25, 0.15, 0.1], rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, 0.5), np.array([25, 6.25, 2.25, 1]) / 34.5, rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_k=2), [2 / 3, 1 / 3, 0, 0], rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_p=0.7), [2 / 3, 1 / 3, 0, 0], rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_p=0.76), np.array([10, 5, 3, 0]) / 18, rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_p=1), [0.5, 0.25, 0.15, 0.1], rtol=1e-14)
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_p=1e-9), [1, 0, 0, 0])
    # top_p is of what top_k has left: of 2/3 and 1/3 the first is enough.
    np.testing.assert_allclose(sampling.probabilities(LOGITS, top_k=2, top_p=0.6), [1, 0, 0, 0])


def test_the_coldest_takes_the_first_of_the_most_probable():
    rows = np.array([[1.0, 3.0, 3.0], [2.0, -np.inf, 1.0]])
    np.testing.assert_array_equal(sampling.probabilities(rows, 0), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(sampling.draw(rows, np.random.default_rng(0), temperature=0), [1, 0])
    np.testing.assert_array_equal(sampling.probabilities([1.0, 1.0, 1.0], top_k=2), [0.5, 0.5, 0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.05, 20),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.none() | st.floats(0.01, 1),
)
def test_what_is_left(seed, temperature, top_k, top_p):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3, (4, 9))
    p, all_of_them = sampling.probabilities(z, temperature, top_k, top_p), softmax(z / temperature)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    for row, whole in zip(p, all_of_them, strict=True):
        left = row > 0
        if top_k is not None:
            assert left.sum() <= top_k
        assert whole[left].min() >= whole[~left].max(initial=0)  # the most probable
        np.testing.assert_allclose(row[left], whole[left] / whole[left].sum(), rtol=1e-9)
        if top_p is not None:
            among = np.sort(whole)[::-1][:top_k]
            enough = among / among.sum()
            assert enough[: left.sum()].sum() >= top_p - 1e-9
            assert enough[: left.sum() - 1].sum() < top_p + 1e-9  # the fewest


def test_draws_are_as_frequent_as_they_are_probable():
    n = 40_000
    drawn = sampling.draw(np.tile(LOGITS, (n, 1)), np.random.default_rng(0), temperature=0.7, top_k=3)
    p = sampling.probabilities(LOGITS, 0.7, 3)
    frequencies = np.bincount(drawn, minlength=4) / n
    assert (np.abs(frequencies - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()
    assert frequencies[3] == 0


def test_a_generator_goes_on_and_begins_anew_with_its_seed():
    z = np.zeros((3, 50))
    rng = np.random.default_rng(1)
    first, second = sampling.draw(z, rng), sampling.draw(z, rng)
    assert (first != second).any()
    np.testing.assert_array_equal(sampling.draw(z, np.random.default_rng(1)), first)
    np.testing.assert_array_equal(sampling.draw(z.astype("float32"), np.random.default_rng(1)), first)
    one = sampling.draw(z[0], np.random.default_rng(1))
    assert one.shape == ()
    assert one.dtype == first.dtype == np.int64
    assert one == first[0]


def test_the_ends_of_what_is_drawn_are_tokens_that_may_come(monkeypatch):
    class Ends(np.random.Generator):
        drawn = 0.0

        def random(self, shape: Any) -> Any:
            return np.full(shape, self.drawn)

    rng = Ends(np.random.PCG64(0))
    z = np.array([[-np.inf, 0.1, 0.3, -np.inf]])
    assert sampling.draw(z, rng) == [1]
    rng.drawn = 1 - 2.0**-53
    assert sampling.draw(z, rng) == [2]


def test_large_logits_are_no_matter():
    np.testing.assert_allclose(sampling.probabilities([1e300, 1e300, -1e300]), [0.5, 0.5, 0])
    np.testing.assert_allclose(sampling.probabilities(np.float32([1e38, 0.0]), temperature=1e-30), [1, 0])


RNG = np.random.default_rng(0)
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a seed": ({"rng": 0}, TypeError, "rng must be a generator that goes on from call to call, "
               "numpy.random.default_rng(seed); got 0."),
    "a cold below zero": ({"temperature": -1}, ValueError, "temperature must be a finite number of 0 or more, got -1."),
    "an endless heat": ({"temperature": np.inf}, ValueError, "temperature must be a finite number of 0 or more, "
                        "got inf."),
    "a word": ({"temperature": "hot"}, ValueError, "temperature must be a finite number of 0 or more, got 'hot'."),
    "none of the best": ({"top_k": 0}, ValueError, "top_k must be an integer of 1 or more, or None, got 0."),
    "half a token": ({"top_k": 1.5}, ValueError, "top_k must be an integer of 1 or more, or None, got 1.5."),
    "yes": ({"top_k": True}, ValueError, "top_k must be an integer of 1 or more, or None, got True."),
    "no probability": ({"top_p": 0.0}, ValueError, "top_p must be above 0 and at most 1, or None, got 0.0."),
    "more than all": ({"top_p": 1.5}, ValueError, "top_p must be above 0 and at most 1, or None, got 1.5."),
    "NaN": ({"logits": [[0.0, 1.0], [np.nan, 1.0]]}, ValueError, "row 1 of the logits holds nan for token 0."),
    "infinity": ({"logits": [0.0, np.inf]}, ValueError, "row 0 of the logits holds inf for token 1."),
    "nothing left": ({"logits": [[0.0, 1.0], [-np.inf, -np.inf]]}, ValueError, "row 1 of the logits is minus infinity "
                     "for every token: none is left."),
    "a step too many": ({"logits": np.zeros((2, 3, 4))}, ValueError, "logits must be (V,) or (N, V), one for each "
                        "token; got shape (2, 3, 4)."),
    "no logits": ({"logits": np.zeros((0, 4))}, ValueError, "logits must be (V,) or (N, V), one for each token; got "
                  "shape (0, 4)."),
    "letters": ({"logits": ["a"]}, TypeError, "logits must be an array of real numbers, got list of dtype <U1."),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_what_is_refused(which):
    given, kind, message = WRONG[which]
    arguments = {"logits": LOGITS, "rng": RNG, **given}
    with pytest.raises(kind) as raised:
        sampling.draw(arguments.pop("logits"), **arguments)
    assert str(raised.value) == message
