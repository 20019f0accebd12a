"""Where random numbers come from: one generator, the same for the same seed."""

import numpy as np
import pytest

import xlstm
from xlstm.seeds import generator


@pytest.mark.parametrize("seed", [0, 7, 2**70, np.int32(7), np.uint64(7), True.__index__()])
def test_an_integer_gives_the_generator_that_numpy_gives(seed):
    expected = np.random.default_rng(int(seed)).random(5)
    np.testing.assert_array_equal(generator(seed).random(5), expected)


def test_a_generator_is_itself():
    rng = np.random.default_rng(3)
    assert generator(rng) is rng


def test_none_is_fresh_each_time():
    assert generator(None).integers(2**62) != generator(None).integers(2**62)


def test_scikit_learns_random_state_is_drawn_from():
    one, other = np.random.RandomState(5), np.random.RandomState(5)
    first = generator(one).random(4)
    np.testing.assert_array_equal(first, generator(other).random(4))
    assert not np.array_equal(first, generator(one).random(4)), "it was not advanced"
    assert not np.array_equal(first, generator(np.random.RandomState(6)).random(4))


@pytest.mark.parametrize("seed", [-1, 1.0, "7", True, np.True_, [1], np.array([1]), float("nan"), object])
def test_other_things_are_refused(seed):
    with pytest.raises(ValueError, match="a seed must be None, an integer of 0 or more, or a NumPy random generator"):
        generator(seed)


def test_numpys_own_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    generator(3).random(10)
    generator(None).random(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_the_seed_of_numpys_global_generator_is_of_no_effect():
    """As the docstring says of random_state=None: neither is it drawn from."""
    X, y = ["ab", "ba"] * 4, [0, 1] * 4
    found = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        found.append(xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cpu").fit(X, y).predict_proba(X))
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert not np.array_equal(*found)
    assert "`numpy.random.seed` is of no effect" in " ".join((xlstm.SequenceClassifier.__doc__ or "").split())
