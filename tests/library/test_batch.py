"""Batches: every row once, of like lengths, in an order that the seed gives; and parts in the classes' proportions."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xlstm.batch import MAX_STEPS, MOST_STEPS, Encoded, by_length, pieces, shuffled, stratified_split

from ..peers import peer

LENGTHS = st.lists(st.sampled_from([1, 1, 2, 3, 7, 40]), min_size=1, max_size=60)


def ragged_lengths(n=2000, seed=0):
    """Lengths with a long tail, as those of texts."""
    return np.ceil(np.random.default_rng(seed).lognormal(3, 0.8, n)).astype(np.int64)


def padding(lengths, batches):
    """The fraction of the steps of these batches that is padding."""
    steps = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - lengths.sum() / steps


# ---------------------------------------------------------------- one block


def test_padded():
    encoded = Encoded.of(np.arange(12.0).reshape(6, 2), np.array([1, 3, 2]))
    assert encoded.starts.tolist() == [0, 1, 4]
    block, lengths = encoded.padded(np.array([2, 0, 1]))
    assert block.shape == (3, 3, 2)
    assert lengths == [2, 1, 3]
    np.testing.assert_array_equal(block[0, :2], [[8, 9], [10, 11]])
    np.testing.assert_array_equal(block[1, :1], [[0, 1]])
    np.testing.assert_array_equal(block[2], [[2, 3], [4, 5], [6, 7]])


def test_padded_tokens_and_no_more_steps_than_needed():
    encoded = Encoded.of(np.arange(6), np.array([1, 3, 2]))
    block, lengths = encoded.padded(np.array([0, 2]))
    assert block.shape == (2, 2)
    assert lengths == [1, 2]
    assert block[0, 0] == 0
    assert block[1].tolist() == [4, 5]


def test_padded_is_a_copy():
    encoded = Encoded.of(np.arange(6.0), np.array([1, 3, 2]))
    block, _ = encoded.padded(np.array([1]))
    block[...] = -1
    assert encoded.steps.tolist() == [0, 1, 2, 3, 4, 5]


# ---------------------------------------------------------------- pieces


MANY = st.lists(st.sampled_from([1, 10, 300, 4000, 70_000, 3 * MOST_STEPS]), min_size=1, max_size=300)


@given(MANY)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_part_of_a_batch_is_not_mostly_padding(lengths):
    lengths = np.sort(lengths)
    rows = np.random.default_rng(0).permutation(len(lengths))
    in_place = np.empty_like(lengths)
    in_place[rows] = lengths  # so that row numbers are not places in the batch
    found = pieces(in_place, rows)
    assert np.concatenate(found).tolist() == rows.tolist()
    for part in found:
        padded = len(part) * int(in_place[part].max())
        assert len(part) == 1 or padded <= max(MAX_STEPS, min(2 * in_place[part].sum(), MOST_STEPS))


@pytest.mark.parametrize(
    "lengths", [[10] * 256, [4096] * 256, [1] * 15 + [4096], [5 * MOST_STEPS], [40_000, 40_000, 70_000]]
)
def test_a_batch_of_little_padding_stays_whole(lengths):
    rows = np.arange(len(lengths))
    (only,) = pieces(np.array(lengths), rows)
    assert only.tolist() == rows.tolist()


def test_one_long_row_is_computed_alone():
    lengths = np.array([10] * 255 + [10**6])
    assert [part.tolist() for part in pieces(lengths, np.arange(256))] == [list(range(255)), [255]]


# ---------------------------------------------------------------- shuffled


@given(LENGTHS, st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_row_once(lengths, batch_size, seed):
    lengths = np.array(lengths)
    batches = shuffled(lengths, batch_size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert min(map(len, batches)) >= 1
    assert len(batches) == -(-len(lengths) // batch_size)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 256, 5000])
def test_padding_costs_little(batch_size):
    lengths = ragged_lengths()
    rng = np.random.default_rng(0)
    at_random = np.array_split(rng.permutation(len(lengths)), -(-len(lengths) // batch_size))
    found = padding(lengths, shuffled(lengths, batch_size, rng))
    if batch_size == 1:
        assert found == 0
    elif batch_size < 100:
        assert found < 0.75 * padding(lengths, at_random)
    else:
        assert found <= padding(lengths, at_random)


def test_padding_of_even_lengths():
    """Batches at random are padded to nearly the longest of all: half of their steps."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 61, 4000)
    assert padding(lengths, np.split(rng.permutation(4000), 125)) > 0.45
    assert padding(lengths, shuffled(lengths, 32, rng)) < 0.25


def test_the_order_is_the_seeds():
    lengths = ragged_lengths(300)

    def order(seed):
        return [rows.tolist() for rows in shuffled(lengths, 8, np.random.default_rng(seed))]

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_epochs_differ_in_their_batches_and_not_only_in_their_order():
    lengths = ragged_lengths(600)
    rng = np.random.default_rng(0)
    first, second = ({frozenset(rows.tolist()) for rows in shuffled(lengths, 8, rng)} for _ in range(2))
    assert len(first & second) < 0.1 * len(first)


def test_batches_do_not_come_in_the_order_of_their_lengths():
    """The next batch is as often of longer sequences as of shorter ones, and any may come first."""
    lengths = ragged_lengths()
    rises, first = [], set()
    for seed in range(20):
        longest = [int(lengths[rows].max()) for rows in shuffled(lengths, 32, np.random.default_rng(seed))]
        rises += [after > before for before, after in itertools.pairwise(longest) if after != before]
        first.add(longest[0])
    assert 0.4 < np.mean(rises) < 0.6
    assert min(first) < np.median(lengths) < max(first)


def test_rows_of_equal_length_are_mixed_too():
    lengths = np.full(64, 5)
    rng = np.random.default_rng(0)
    assert [rows.tolist() for rows in shuffled(lengths, 8, rng)] != [
        rows.tolist() for rows in shuffled(lengths, 8, rng)
    ]
    first, second = ({frozenset(rows.tolist()) for rows in shuffled(lengths, 8, rng)} for _ in range(2))
    assert not first & second


# ---------------------------------------------------------------- for prediction


@given(LENGTHS, st.integers(1, 100))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_by_length(lengths, max_steps):
    lengths = np.array(lengths)
    batches = list(by_length(lengths, max_steps))
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= max_steps
    # And none of them could have taken the next row too.
    for rows in batches[:-1]:
        assert (len(rows) + 1) * lengths[rows].max() > max_steps


# ---------------------------------------------------------------- two parts


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.75, 0.9]),
    st.integers(0, 1000),
)
@example([0, 1] + [2] * 10, 0.75, 0)  # two of the classes can give nothing
@example([0] * 7 + [1] * 7 + [2] * 7, 0.5, 0)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_stratified_split(labels, fraction, seed):
    labels = np.array(labels)
    n, counts = len(labels), np.bincount(labels)
    wanted = int(np.ceil(n * fraction))
    if n - wanted < np.count_nonzero(counts):
        with pytest.raises(ValueError, match="too few"):
            stratified_split(labels, fraction, np.random.default_rng(seed))
        return
    first, second = stratified_split(labels, fraction, np.random.default_rng(seed))
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(n))
    assert len(second) == wanted
    assert set(labels[first].tolist()) == set(labels.tolist()), "a class lost its last row"
    share, taken = counts * wanted / n, np.bincount(labels[second], minlength=len(counts))
    if (np.ceil(share) <= np.maximum(counts - 1, 0)).all():  # no class must be spared
        assert (np.abs(taken - share) < 1).all()


def test_the_split_of_the_names():
    """A fifth of 4832: 967."""
    labels = np.repeat([0, 1], [3944, 888])
    first, second = stratified_split(labels, 0.2, np.random.default_rng(0))
    assert (len(first), len(second)) == (3865, 967)
    assert abs(labels[second].sum() - 888 / 5) < 1


def test_the_split_is_the_seeds():
    labels = np.random.default_rng(0).integers(0, 3, 90)
    one, same, other = (stratified_split(labels, 0.3, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_every_row_may_be_set_aside():
    labels = np.array([0] * 10 + [1] * 5)
    rng = np.random.default_rng(0)
    seen = {row for _ in range(60) for row in stratified_split(labels, 0.2, rng)[1].tolist()}
    assert seen == set(range(15))


@pytest.mark.parametrize(
    ("labels", "fraction"),
    [([0, 1], 0.5), ([0], 0.1), ([0, 0, 1, 2], 0.5), ([0] * 10 + [1] * 10, 0.95), ([0] * 9, 1.0)],
)
def test_too_few_rows(labels, fraction):
    with pytest.raises(ValueError, match=rf"{len(labels)} rows of {len(set(labels))} classes are too few"):
        stratified_split(np.array(labels), fraction, np.random.default_rng(0))


def test_proportions_as_scikit_learns():
    train_test_split = peer("sklearn.model_selection").train_test_split
    rng = np.random.default_rng(0)
    for n in (60, 101, 400):
        labels = rng.choice(4, n, p=[0.55, 0.25, 0.15, 0.05])
        assert np.bincount(labels, minlength=4).min() >= 2, "theirs asks for it"
        for fraction in (0.1, 0.2, 0.37):
            _, theirs = train_test_split(np.arange(n), test_size=fraction, stratify=labels, random_state=0)
            _, ours = stratified_split(labels, fraction, rng)
            assert len(ours) == len(theirs)
            counts = [np.bincount(labels[part], minlength=4) for part in (ours, theirs)]
            assert np.abs(counts[0] - counts[1]).max() <= 1
