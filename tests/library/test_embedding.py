"""Tokens at a layer: the same as their vectors given as x, forward and backward, and what is refused."""

from typing import Any

import numpy as np
import pytest

import xlstm

V, D, H = 5, 3, 4
LENGTHS = [4, 2, 3]
IDS = np.random.default_rng(0).integers(0, V, (3, 4))


def layer(features: int, **settings: Any) -> xlstm.LSTM:
    return xlstm.LSTM(features, H, dtype="float64", seed=0, **settings)


def test_a_table_is_drawn_as_a_normal_distribution_and_is_one_buffer():
    table = xlstm.embedding.parameters(2000, 8, like=layer(8).parameters, seed=1)
    assert table["weight"].shape == (2000, 8)
    assert table.flat.dtype == np.float64
    assert abs(table["weight"].mean()) < 0.03
    assert abs(table["weight"].std() - 1) < 0.03
    again = xlstm.embedding.parameters(2000, 8, like=np.zeros(1), seed=1)
    np.testing.assert_array_equal(again["weight"], table["weight"])
    assert xlstm.embedding.parameters(2, 2, like=np.zeros(1, "float32"), seed=1)["weight"].dtype == np.float32
    table.flat[0] = 7
    assert table["weight"][0, 0] == 7


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("settings", [{}, {"bidirectional": True, "num_layers": 2}], ids=["plain", "both ways"])
def test_tokens_are_their_vectors(kernels, one_hot, settings):
    """Of which the layer is given the product with its weights alone: values, gradients, and the table's by the sum."""
    rng = np.random.default_rng(1)
    ours = layer(V if one_hot else D, kernels=kernels, **settings)
    table = None if one_hot else xlstm.embedding.parameters(V, D, like=ours.parameters, seed=2)["weight"]
    x = (np.eye(V) if one_hot else table)[IDS]
    outputs, state, tape = ours.forward(x, lengths=LENGTHS)
    d_outputs = rng.normal(size=outputs.shape)
    dx, _ = ours.backward(tape, d_outputs)
    gradients = np.array(ours.gradients.flat)
    found, its_state, tape = ours.forward(None, tokens=(IDS, table), lengths=LENGTHS)
    np.testing.assert_allclose(found, outputs, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(its_state[1], state[1], rtol=1e-12)
    d_table, _ = ours.backward(tape, d_outputs)
    np.testing.assert_allclose(ours.gradients.flat, gradients, rtol=1e-10, atol=1e-13)
    if one_hot:
        assert d_table is None
    else:
        summed = np.zeros((V, D))
        np.add.at(summed, IDS, dx)
        np.testing.assert_allclose(d_table, summed, rtol=1e-10, atol=1e-13)
    inferred, _ = ours(None, tokens=(IDS.tolist(), table), lengths=LENGTHS)
    np.testing.assert_allclose(inferred, found, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("padding", [-1, 10**6])
def test_what_stands_after_a_row_is_no_token(kernels, padding):
    ours, ids = layer(V, kernels=kernels), IDS.copy()
    before = ours.forward(None, tokens=(ids, None), lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = padding
    after = ours.forward(None, tokens=(ids, None), lengths=LENGTHS)
    np.testing.assert_array_equal(after[0], before[0])
    for tape in (before[2], after[2]):
        ours.backward(tape, np.ones_like(before[0]))
    assert ids[1, -1] == padding  # the caller's array stays as it is


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "ids alone": (IDS, TypeError, "tokens must be a pair (ids, table), or (ids, None) for one-hot; got ndarray."),
    "three parts": ((IDS, None, 1), TypeError, "tokens must be a pair (ids, table), or (ids, None) for one-hot; got "
                    "tuple."),
    "numbers": ((IDS * 1.0, None), TypeError, "the ids of tokens must be integers, got dtype float64."),
    "letters": ((["ab"], None), TypeError, "the ids of tokens must be integers, got dtype <U2."),
    "one row": ((IDS[0], None), ValueError, "the ids of tokens must be (N, T), a row or more and a step or more; got "
                "(4,)."),
    "no step": ((IDS[:, :0], None), ValueError, "the ids of tokens must be (N, T), a row or more and a step or more; "
                "got (3, 0)."),
    "a token too many": ((np.where(IDS[1, 1] == IDS, 5, IDS % 4), None), ValueError, "token 5 in row "),
    "below zero": ((np.array([[0, 1], [2, -1]]), None), ValueError, "token -1 in row 1, step 1: expected 0 to 4."),
    "a narrow table": ((IDS, np.zeros((9, 4))), ValueError, "the table of tokens must be (V, 5), a row for each; got "
                       "shape (9, 4)."),
    "a short table": ((IDS * 0 + 2, np.zeros((2, 5))), ValueError, "token 2 in row 0, step 0: expected 0 to 1."),
    "a table of letters": ((IDS, np.array([["a"] * 5])), TypeError, "the table of tokens must hold real numbers, got "
                           "dtype <U1."),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_what_is_refused(which):
    tokens, kind, message = WRONG[which]
    ours = layer(V)
    for call in (ours, ours.forward):
        with pytest.raises(kind) as raised:
            call(None, tokens=tokens)
        assert str(raised.value).startswith(message)
    with pytest.raises(ValueError, match="give x or tokens, not both"):
        ours(np.zeros((3, 4, V)), tokens=(IDS, None))


@pytest.mark.parametrize(("sizes", "name"), [((0, 3), "tokens"), ((3, -1), "size"), ((3, 1.5), "size")])
def test_a_table_of_no_size_is_refused(sizes, name):
    with pytest.raises((ValueError, TypeError), match=name):
        xlstm.embedding.parameters(*sizes, like=np.zeros(1))
    with pytest.raises(TypeError, match="floating type"):
        xlstm.embedding.parameters(3, 3, like=np.zeros(1, int))


def test_the_table_learns_with_the_layer():
    """The sum of the numbers that stand in a row, from ids alone."""
    ours = layer(D)
    table = xlstm.embedding.parameters(V, D, like=ours.parameters, seed=1)
    head = xlstm.head.parameters(H, 2, like=ours.parameters, seed=2)
    optimizer = xlstm.optim.Optimizer([table, ours.parameters, head], solver="adam")
    ids = np.random.default_rng(3).integers(0, V, (64, 6))
    labels, before = (ids == 2).any(axis=1).astype(int), table["weight"].copy()
    losses = []
    for _ in range(60):
        _, (h, _), tape = ours.forward(None, tokens=(ids, table["weight"]))
        loss, d_logits = xlstm.losses.softmax_cross_entropy(xlstm.head.forward(head, h[-1]), labels)
        d_h, d_head = xlstm.head.backward(head, h[-1], d_logits)
        d_table, _ = ours.backward(tape, d_state=(d_h[None], None))
        sets = [table, ours.parameters, head]
        optimizer.step(sets, [{"weight": d_table}, ours.gradients, d_head], learning_rate=0.05)
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    assert (table["weight"] != before).all()
