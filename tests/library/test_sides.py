"""Which rows trained and which validated: fingerprints, and the parts of rows that were met before."""

import numpy as np
import pytest

from xlstm import sequences
from xlstm.sides import Sides, fingerprints
from xlstm.spelling import Spelling
from xlstm.tasks import Task


def prints(X, y=None, fold_case=False, dtype="float64", **reading):
    data = sequences.read(X, **reading)
    n = len(data.lengths)
    marks = Task().marks(np.zeros(n, dtype=int) if y is None else np.asarray(y), n)
    return fingerprints(data, marks, Spelling(fold_case, None, False), dtype).tolist()


DIFFERENT = {
    "characters": ["ab", "a", "b", "ba", "aab", "Ab", "\ud800", "ä", "a\0"],
    "words": [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab c"], ["ab", "c", "c"], ['ab", "c'], ["ab', 'c"]],
    "series": [[1.0], [2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [1e-300], [0.0], [0.0, 0.0]],
    "features": [np.ones((1, 2)), np.ones((2, 2)), np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_rows_that_differ_have_other_fingerprints(kind):
    X = DIFFERENT[kind]
    found = prints(X)
    assert len(set(found)) == len(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert prints([X[k] for k in order]) == [found[k] for k in order]
    assert not set(prints(X, np.ones(len(X), dtype=int))) & set(found)


def test_integers_are_told_from_each_other():
    found = prints([[1, 2], [3], [1], [2, 1], [2**62]], encoding="tokens")
    assert len(set(found)) == 5


def test_the_same_in_another_form_has_the_same_fingerprint():
    values = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
    expected = prints(values)
    assert prints(values.astype(np.float64)) == expected
    assert prints(list(values)) == expected
    assert prints(np.asfortranarray(values)) == expected
    assert prints([[0.0, -0.0]]) == prints([[-0.0, 0.0]])
    assert prints(["to be"], split="words") == prints([["to", "be"]])
    assert prints(["a", "b"], [1.0, 2.0]) == prints(["a", "b"], np.array([1, 2], dtype=np.float32))


def test_the_same_row_again_has_another_fingerprint_each_time():
    three = prints(["a", "b", "a", "a"])
    assert len(set(three)) == 4
    assert prints(["a", "a", "b", "a"]) == [three[0], three[2], three[1], three[3]]
    assert prints(["b", "a", "a"]) == [three[1], three[0], three[2]]


def halves(rows):
    """The first half trains."""
    if len(rows) < 2:
        raise ValueError("too few")
    n = len(rows) // 2
    return np.arange(n), np.arange(n, len(rows))


def rows(*numbers):
    return np.array(numbers, dtype=np.uint64)


def parts(sides, *numbers):
    return tuple(part.tolist() for part in sides.parts(rows(*numbers), halves))


def test_parts_of_rows_that_were_met():
    sides = Sides(rows(1, 2, 3), rows(8, 9))
    assert parts(sides, 9, 1, 2, 8) == ([1, 2], [0, 3])
    assert parts(sides, 9, 20, 21, 22, 23, 1) == ([1, 2, 5], [0, 3, 4])
    assert parts(sides, 9, 1, 20) == ([1, 2], [0])  # too few are new: they train
    assert parts(sides, 20, 21, 22, 23) == ([0, 1], [2, 3])  # all are new
    assert parts(sides, 1, 2) == ([0], [1])  # nothing validates
    assert parts(sides, 1, 2, 20) == ([0], [1, 2])
    assert parts(sides, 8, 9) == ([0], [1])  # nothing trains
    assert parts(Sides(), 5, 6) == ([0], [1])
    with pytest.raises(ValueError, match="too few"):
        parts(sides, 20)


def test_after_a_training_no_row_is_on_both_sides():
    sides = Sides().after(rows(5, 1), rows(9, 7))
    assert (sides.trained.tolist(), sides.aside.tolist()) == ([1, 5], [7, 9])
    later = sides.after(rows(7, 2), rows(1, 2**64 - 1))
    assert (later.trained.tolist(), later.aside.tolist()) == ([2, 5, 7], [1, 9, 2**64 - 1])
    assert (sides.trained.tolist(), sides.aside.tolist()) == ([1, 5], [7, 9])
    again = Sides.from_state(later.state())
    assert (again.trained.tolist(), again.aside.tolist()) == (later.trained.tolist(), later.aside.tolist())


def test_what_a_model_cannot_tell_apart_is_alike():
    numbers = [np.array([[0.1, 1 / 3]]), np.array([[0.2, 0.7]])]
    narrow = [row.astype(np.float32) for row in numbers]
    assert prints(numbers, dtype="float32") == prints(narrow, dtype="float32")
    assert prints(numbers) != prints(narrow)
    assert prints(["AB", "ab"], fold_case=True) == prints(["ab", "aB"], fold_case=True)
    assert prints([["AB"], ["c"]], fold_case=True) == prints([["ab"], ["C"]], fold_case=True)
    assert len(set(prints(["AB", "ab"], fold_case=True))) == 2  # alike, and yet two rows
