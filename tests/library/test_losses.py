"""The losses: against the complex step, against PyTorch, and where the numbers are large."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import losses

from ..measure import check_forward, check_gradients
from ..peers import peer
from ..standin import machine


def example(dtype, N=6, K=4, seed=0, scale=3.0):
    """Logits (N, K), labels (N,), weights (N,); for K = 1 the labels are 0 and 1."""
    rng = np.random.default_rng([seed, N, K])
    logits = rng.normal(0, scale, (N, K)).astype(dtype)
    return logits, rng.integers(0, max(K, 2), N), rng.uniform(0.1, 2, N).astype(dtype)


def true_loss(logits, labels, weights):
    """Σ weight · -log p(label) / N, by its definition: for small logits, complex or real."""
    total = 0
    for row, label, weight in zip(logits, labels, weights, strict=True):
        row = np.array([0 * row[0], row[0]]) if len(row) == 1 else row
        total -= weight * np.log(np.exp(row[label]) / np.sum(np.exp(row)))
    return total / len(logits)


def true_gradient(logits, labels, weights):
    """The complex step."""
    gradient = np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        moved = logits.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = np.imag(true_loss(moved, labels, weights)) / 1e-30
    return gradient


def loss_of(K):
    return losses.logistic_cross_entropy if K == 1 else losses.softmax_cross_entropy


def run(xp, logits, labels, weights):
    """Loss and gradient on the host, their kind checked."""
    given = xp.asarray(logits)
    loss, d_logits = loss_of(logits.shape[1])(given, xp.asarray(labels), xp.asarray(weights))
    assert tuple(loss.shape) == ()
    for result in (loss, d_logits):
        assert result.dtype == given.dtype
        assert getattr(result, "device", "cpu") == given.device  # NumPy 2.0's scalars do not say where they are
    return xp.to_host(loss), xp.to_host(d_logits)


@pytest.mark.parametrize("K", [1, 2, 5])
def test_the_logarithm_of_the_softmax(xp, dtype, K):
    """In wide numbers by its definition, also where probabilities are too small for a number, or next to 1."""
    logits, _, _ = example(dtype, N=20, K=K, scale=5.0)
    logits[0], logits[1] = 0.0, np.arange(K)  # all alike
    logits[2:, 0] *= 300  # the others underflow, or the first
    logits[3, 0] = 20.0  # next to 1
    given = xp.asarray(logits)
    log_p = losses.log_softmax(given)
    assert log_p.dtype == given.dtype
    wide = logits.astype(np.longdouble)
    top = wide.max(axis=1, keepdims=True)
    others = np.sort(np.exp(wide - top), axis=1)[:, :-1].sum(axis=1, keepdims=True)
    expected = (wide - top - np.log1p(others)).astype(float)
    # Of what is next to 0, exp(-d) for a difference d, the rounding of d is felt d times.
    smallest = np.finfo(dtype)
    felt = 1 + np.abs(np.log(np.maximum(np.abs(expected), 1e-300)))
    wrong = np.abs(xp.to_host(log_p) - expected)
    assert (wrong <= 4 * float(smallest.eps) * felt * np.abs(expected) + 4 * float(smallest.tiny)).all()
    assert (expected < -700).any() == (K > 1)


# ---------------------------------------------------------------- value and gradient


@pytest.mark.parametrize("K", [1, 2, 3, 7])
@pytest.mark.parametrize("N", [1, 6])
def test_value_and_gradient(xp, dtype, N, K):
    logits, labels, weights = example(dtype, N, K)
    loss, d_logits = run(xp, logits, labels, weights)
    wide = logits.astype(float), labels, weights.astype(float)
    check_forward({"loss": loss}, {"loss": true_loss(*wide)}, dtype, floor=0.1)
    check_gradients({"d_logits": d_logits}, {"d_logits": true_gradient(*wide)}, dtype)


@pytest.mark.parametrize("K", [1, 3])
def test_labels_of_another_integer_type(xp, K):
    logits, labels, weights = example("float64", K=K)
    for kind in ("int32", "uint8", "int64"):
        loss, d_logits = run(xp, logits, labels.astype(kind), weights)
        check_forward({"loss": loss}, {"loss": true_loss(logits, labels, weights)}, "float64")
        check_gradients({"d": d_logits}, {"d": true_gradient(logits, labels, weights)}, "float64")


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 10_000),
    st.sampled_from([0.01, 1.0, 10.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_shapes(N, K, seed, scale):
    logits, labels, weights = example("float64", N, K, seed, scale)
    loss, d_logits = loss_of(K)(logits, labels, weights)
    check_forward({"loss": loss}, {"loss": true_loss(logits, labels, weights)}, "float64", floor=1.0)
    # The complex step itself divides: near 0 it is good to the last digits of 1.
    np.testing.assert_allclose(d_logits, true_gradient(logits, labels, weights), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_as_pytorch(dtype, K, scale):
    torch = peer("torch")
    logits, labels, weights = example(dtype, 20, K, seed=3, scale=scale)
    z = torch.tensor(logits.astype(float), requires_grad=True)
    if K == 1:
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            z[:, 0], torch.tensor(labels.astype(float)), reduction="none"
        )
    else:
        each = torch.nn.functional.cross_entropy(z, torch.tensor(labels), reduction="none")
    expected = torch.sum(each * torch.tensor(weights.astype(float))) / len(labels)
    expected.backward()
    loss, d_logits = loss_of(K)(logits, labels, weights)
    check_forward({"loss": loss}, {"loss": expected.item()}, dtype)
    check_gradients({"d_logits": d_logits}, {"d_logits": z.grad.numpy()}, dtype)


def test_class_weights_as_pytorchs(dtype):
    """A weight for each class is a weight for each row; PyTorch divides by their sum, this library by N."""
    torch = peer("torch")
    logits, labels, _ = example(dtype, 30, 4)
    of_class = np.array([0.5, 2.0, 0.0, 1.5])
    weights = of_class[labels]
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits.astype(float)), torch.tensor(labels), weight=torch.tensor(of_class)
    )
    loss, _ = losses.softmax_cross_entropy(logits, labels, (weights / weights.mean()).astype(dtype))
    check_forward({"loss": loss}, {"loss": expected.item()}, dtype)


# ---------------------------------------------------------------- properties


def test_each_row_of_the_softmax_gradient_sums_to_zero(xp, dtype):
    logits, labels, weights = example(dtype, 40, 6)
    _, d_logits = run(xp, logits, labels, weights)
    assert np.abs(d_logits).max() > 0.01
    assert np.abs(d_logits.sum(axis=1)).max() < 4 * np.finfo(dtype).eps


def test_one_logit_is_a_softmax_of_two_classes(xp, dtype):
    logits, labels, weights = example(dtype, 30, 1)
    loss, d_logits = run(xp, logits, labels, weights)
    two, d_two = run(xp, np.concatenate([np.zeros_like(logits), logits], axis=1), labels, weights)
    check_forward({"loss": loss}, {"loss": two}, dtype)
    check_gradients({"d_logits": d_logits[:, 0]}, {"d_logits": d_two[:, 1]}, dtype)


@pytest.mark.parametrize("K", [1, 2, 5])
def test_a_zero_weight_removes_its_row(xp, dtype, K):
    logits, labels, weights = example(dtype, 6, K)
    weights[2] = 0
    logits[2] = 1000 * (1 - 2 * labels[2])  # as wrong as can be
    loss, d_logits = run(xp, logits, labels, weights)
    rest = [0, 1, 3, 4, 5]
    loss_of_rest, d_rest = run(xp, logits[rest], labels[rest], weights[rest])
    check_forward({"loss": loss * 6}, {"loss": loss_of_rest * 5}, dtype)
    check_gradients({"d_logits": d_logits[rest] * 6}, {"d_logits": d_rest * 5}, dtype)
    assert (d_logits[2] == 0).all()


@pytest.mark.parametrize("K", [1, 3])
def test_both_are_linear_in_the_weights(dtype, K):
    logits, labels, weights = example(dtype, 8, K)
    loss, d_logits = loss_of(K)(logits, labels, weights)
    twice, d_twice = loss_of(K)(logits, labels, 2 * weights)
    np.testing.assert_array_equal(twice, 2 * loss)
    np.testing.assert_array_equal(d_twice, 2 * d_logits)


# ---------------------------------------------------------------- large logits


def test_softmax_at_a_thousand(xp, dtype):
    """By hand: -log p is the distance from the largest, and p is 1, 0 or a half."""
    logits = np.array(
        [[1000, -1000, 0], [1000, -1000, 0], [1000, -1000, 0], [-1000, -1000, -3000], [0, 1000, 1000]], dtype
    )
    labels, weights = np.array([0, 1, 2, 0, 2]), np.array([1, 1, 2, 1, 1], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        loss, d_logits = run(xp, logits, labels, weights)
    expected = (0 + 2000 + 2 * 1000 + np.log(2) + np.log(2)) / 5
    check_forward({"loss": loss}, {"loss": expected}, dtype)
    p = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]])
    np.testing.assert_allclose(d_logits, weights[:, None] * (p - np.eye(3)[labels]) / 5, rtol=1e-6, atol=1e-30)


def test_one_logit_at_a_thousand(xp, dtype):
    logits = np.array([[1000], [1000], [-1000], [-1000], [0]], dtype)
    labels, weights = np.array([1, 0, 0, 1, 1]), np.array([1, 1, 1, 3, 1], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        loss, d_logits = run(xp, logits, labels, weights)
    check_forward({"loss": loss}, {"loss": (1000 + 3 * 1000 + np.log(2)) / 5}, dtype)
    np.testing.assert_allclose(d_logits[:, 0], np.array([0, 1, 0, -3, -0.5]) / 5, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("K", [1, 2])
def test_a_confident_right_answer_keeps_its_small_loss(K):
    """-log p = log(1 + exp(-30)) is about exp(-30): it must not be lost beside 1."""
    z = np.array([[30.0]]) if K == 1 else np.array([[30.0, 0.0]])
    label = np.array([1]) if K == 1 else np.array([0])
    loss, d_logits = loss_of(K)(z, label, np.ones(1))
    # One logit keeps every digit; the softmax sums 1 + exp(-30) first.
    tolerance = 1e-12 if K == 1 else 3e-3
    assert loss == pytest.approx(np.log1p(np.exp(-30)), rel=tolerance, abs=0)
    assert d_logits.ravel()[0] == pytest.approx(-np.exp(-30), rel=3e-3, abs=0)


# ---------------------------------------------------------------- softmax itself


def test_softmax(xp, dtype):
    logits = np.random.default_rng(0).normal(0, 4, (20, 5)).astype(dtype)
    p = losses.softmax(xp.asarray(logits))
    assert p.dtype == xp.asarray(logits).dtype
    e = np.exp(logits.astype(np.longdouble))
    check_forward({"p": xp.to_host(p)}, {"p": (e / e.sum(axis=1, keepdims=True)).astype(float)}, dtype)


def test_softmax_at_the_ends(xp, dtype):
    logits = np.array([[1000, -1000], [-1000, -1000], [1e30, 0], [3, 3]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        p = xp.to_host(losses.softmax(xp.asarray(logits)))
    np.testing.assert_array_equal(p, [[1, 0], [0.5, 0.5], [1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("shape", [(4,), (1,), (3, 1), (2, 3, 1), (2, 1, 3), (2, 3, 4)])
def test_softmax_and_its_logarithm_go_along_the_last_axis(xp, shape):
    """Whatever stands before it: nothing, a batch, or batch and time. Of one class the probability is 1."""
    logits = np.random.default_rng(len(shape)).normal(0, 3, shape)
    e = np.exp(logits)
    expected = e / e.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(xp.to_host(losses.softmax(xp.asarray(logits))), expected, rtol=1e-13)
    log_p = xp.to_host(losses.log_softmax(xp.asarray(logits)))
    np.testing.assert_allclose(log_p, np.log(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(), (3, 0)])
def test_a_softmax_of_nothing_is_refused(shape):
    with pytest.raises(ValueError, match=r"logits must be \(N, K\) or \(N, T, K\), with K classes; got shape"):
        losses.softmax(np.zeros(shape))


# ---------------------------------------------------------------- on a GPU


@pytest.mark.parametrize("K", [1, 3])
def test_nothing_comes_to_the_host(K):
    logits, labels, weights = example("float32", K=K)
    expected, d_expected = loss_of(K)(logits, labels, weights)
    with machine() as gpu:
        import cupy

        arguments = [cupy.asarray(values) for values in (logits, labels, weights)]
        with gpu.counting() as seen:
            loss, d_logits = loss_of(K)(*arguments)
        assert seen.to_host == seen.to_device == 0
        np.testing.assert_allclose(cupy.asnumpy(loss), expected, rtol=1e-6)
        np.testing.assert_allclose(cupy.asnumpy(d_logits), d_expected, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------- a label for every step


def steps(dtype, K, N=4, T=5, seed=0):
    """Logits (N, T, K), labels and weights (N, T), lengths; the padding holds NaN and impossible labels."""
    rng = np.random.default_rng([seed, K])
    logits = rng.normal(0, 2, (N, T, K)).astype(dtype)
    labels, weights = rng.integers(0, max(K, 2), (N, T)), rng.uniform(0.1, 2, (N, T)).astype(dtype)
    lengths = [T, 2, 1, 4]
    valid = np.arange(T) < np.array(lengths)[:, None]
    logits[~valid], labels[~valid], weights[~valid] = np.nan, -7, np.nan
    return logits, labels, weights, lengths, valid


def of_steps(logits, labels, weights, valid):
    """The mean over the valid steps, as if each were a row."""
    return true_loss(logits[valid], labels[valid], weights[valid])


@pytest.mark.parametrize("form", ["lengths", "mask"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("K", [1, 2, 5])
def test_every_step_has_a_label(xp, dtype, K, weighted, form):
    logits, labels, weights, lengths, valid = steps(dtype, K)
    given = {"lengths": lengths} if form == "lengths" else {"mask": xp.asarray(valid)}
    own = xp.asarray(weights) if weighted else None
    loss, d_logits = loss_of(K)(xp.asarray(logits), xp.asarray(labels), own, **given)
    assert tuple(loss.shape) == ()
    assert tuple(d_logits.shape) == logits.shape
    assert loss.dtype == d_logits.dtype == xp.asarray(logits).dtype
    loss, d_logits = xp.to_host(loss), xp.to_host(d_logits)
    wide = weights.astype(float) if weighted else np.ones(valid.shape)
    check_forward({"loss": loss}, {"loss": of_steps(logits.astype(float), labels, wide, valid)}, dtype)
    expected = true_gradient(logits[valid].astype(float), labels[valid], wide[valid])
    check_gradients({"d_logits": d_logits[valid]}, {"d_logits": expected}, dtype)
    assert (d_logits[~valid] == 0).all()


@pytest.mark.parametrize("K", [1, 3])
def test_the_gradient_is_the_slope(K):
    """Finite differences, in float64, at every logit of a padded batch."""
    logits, labels, weights, lengths, _ = steps("float64", K)
    _, d_logits = loss_of(K)(logits, labels, weights, lengths=lengths)
    for index in np.ndindex(*logits.shape):
        moved = [logits.copy(), logits.copy()]
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        above, below = (float(loss_of(K)(z, labels, weights, lengths=lengths)[0]) for z in moved)
        assert d_logits[index] == pytest.approx((above - below) / 2e-6, abs=1e-9)


@pytest.mark.parametrize("K", [1, 3])
def test_a_weight_of_a_row_is_that_of_its_steps(dtype, K):
    logits, labels, _, lengths, valid = steps(dtype, K)
    rows = np.array([0.5, 2.0, 0.0, 1.0], dtype)
    one = loss_of(K)(logits, labels, rows, lengths=lengths)
    other = loss_of(K)(logits, labels, np.where(valid, rows[:, None], np.nan).astype(dtype), lengths=lengths)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-6)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)


def test_as_pytorchs_over_all_steps(dtype):
    torch = peer("torch")
    logits, labels, _, lengths, valid = steps(dtype, 4)
    z = torch.tensor(np.where(valid[..., None], logits, 0).astype(float), requires_grad=True)
    target = torch.tensor(np.where(valid, labels, -100))
    expected = torch.nn.functional.cross_entropy(z.reshape(-1, 4), target.reshape(-1), ignore_index=-100)
    expected.backward()
    loss, d_logits = losses.softmax_cross_entropy(logits, labels, lengths=lengths)
    check_forward({"loss": loss}, {"loss": expected.item()}, dtype)
    check_gradients({"d_logits": d_logits}, {"d_logits": z.grad.numpy()}, dtype)


def test_a_mask_of_nothing_gives_nothing():
    loss, d_logits = losses.softmax_cross_entropy(
        np.ones((2, 3, 4)), np.zeros((2, 3), int), mask=np.zeros((2, 3), bool)
    )
    assert loss == 0
    assert not d_logits.any()


def test_steps_on_a_gpu_stay_there():
    logits, labels, weights, lengths, valid = steps("float32", 3)
    expected, d_expected = losses.softmax_cross_entropy(logits, labels, weights, lengths=lengths)
    with machine() as gpu:
        import cupy

        arguments = [cupy.asarray(values) for values in (logits, labels, weights)]
        mask = cupy.asarray(valid)
        with gpu.counting() as seen:
            loss, d_logits = losses.softmax_cross_entropy(*arguments, mask=mask)
        assert seen.to_host == seen.to_device == 0
        np.testing.assert_allclose(cupy.asnumpy(loss), expected, rtol=1e-6)
        np.testing.assert_allclose(cupy.asnumpy(d_logits), d_expected, rtol=1e-6, atol=1e-8)
        by_lengths, _ = losses.softmax_cross_entropy(*arguments, lengths=lengths)
        np.testing.assert_allclose(cupy.asnumpy(by_lengths), expected, rtol=1e-6)


def test_softmax_of_every_step(xp, dtype):
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(dtype)
    p = xp.to_host(losses.softmax(xp.asarray(logits)))
    flat = xp.to_host(losses.softmax(xp.asarray(logits.reshape(6, 4))))
    np.testing.assert_array_equal(p.reshape(6, 4), flat)


@pytest.mark.parametrize("K", [256, 257, 300])
def test_more_classes_than_the_labels_type_can_count(K):
    logits, labels = np.random.default_rng(0).normal(size=(3, K)), np.array([0, 255, 100], np.uint8)
    loss, _ = losses.softmax_cross_entropy(logits, labels)
    assert loss == pytest.approx(true_loss(logits, labels, np.ones(3)))


def test_labels_of_a_small_type_at_steps_of_many_classes():
    """Fewer steps than classes, and more classes than the type of the labels can count."""
    logits, labels = np.random.default_rng(1).normal(size=(2, 1, 300)), np.array([[3], [127]], np.int8)
    loss, _ = losses.softmax_cross_entropy(logits, labels)
    assert loss == pytest.approx(true_loss(logits[:, 0], labels[:, 0], np.ones(2)))


def test_the_first_label_that_is_wrong_is_named():
    """Not one after a row's length, and with the number of classes, which is not that of the steps."""
    labels = np.array([[0, 9, 9, 9, 9], [1, 2, 3, 0, 0]])
    with pytest.raises(ValueError, match=r"labels\[1, 2\] is 3: expected 0 to 2: the logits have K = 3"):
        losses.softmax_cross_entropy(np.zeros((2, 5, 3)), labels, lengths=[1, 4])


@pytest.mark.parametrize(
    ("logits", "labels", "hint"),
    [
        ((4, 3), (3,), ""),
        ((4, 1), (4, 1), ""),
        ((4, 5, 1), (4, 5, 1), ""),
        ((4, 2), (4, 2), "Of one column a class, pass xp.argmax(labels, axis=-1)."),
        ((4, 1, 3), (4, 1, 3), "Of one column a class, pass xp.argmax(labels, axis=-1)."),
        ((4, 5, 3), (5,), ""),
        ((4, 5, 3), (4,), "For one label a row, pass the logits of its last valid step, (N, K)."),
    ],
)
def test_what_is_said_of_labels_of_a_wrong_shape(logits, labels, hint):
    loss = losses.logistic_cross_entropy if logits[-1] == 1 else losses.softmax_cross_entropy
    with pytest.raises(ValueError, match=r"^labels must be \(4") as raised:
        loss(np.zeros(logits), np.zeros(labels, int))
    assert str(raised.value).partition("got shape")[2] == f" {labels}.{' ' * bool(hint)}{hint}"


Z2, Z3, Y2, Y3 = np.zeros((4, 3)), np.zeros((4, 5, 3)), np.zeros(4, int), np.zeros((4, 5), int)
WRONG_CALLS = {
    "one-hot labels": ((Z2, np.eye(3, dtype=int)[Y2]), {}, r"labels must be \(4,\).*pass xp.argmax"),
    "labels of rows for steps": ((Z3, Y2), {}, r"labels must be \(4, 5\).*the logits of its last valid step"),
    "real labels": ((Z2, Y2.astype(float)), {}, "labels must be integers, the numbers of the classes.*float64"),
    "a class too high": ((Z2, np.array([0, 1, 3, 2])), {}, r"labels\[2\] is 3: expected 0 to 2: the logits have K = 3"),
    "a negative class": ((Z3, np.full((4, 5), -1)), {"lengths": [5, 1, 1, 1]}, r"labels\[0, 0\] is -1: expected"),
    "a list of labels": ((Z2, [0, 1, 2, 0]), {}, "labels must be a NumPy array like the logits, got list"),
    "one logit": ((Z2[:, :1], Y2), {}, "there is logistic_cross_entropy"),
    "logits (N,)": ((Z2[:, 0], Y2), {}, r"logits must be \(N, K\), or \(N, T, K\)"),
    "whole logits": ((Z2.astype(int), Y2), {}, "logits must be real numbers of a floating type, got dtype int64"),
    "weights of another batch": ((Z2, Y2, np.ones(3)), {}, r"weights must be \(4,\); got shape \(3,\)"),
    "weights of other steps": ((Z3, Y3, np.ones((5, 4))), {}, r"\(4, 5\), of each step, or \(4,\), of rows; got"),
    "a mask for weights": ((Z3, Y3, np.ones((4, 5), bool)), {}, "a mask of the valid steps goes as mask="),
    "complex weights": ((Z2, Y2, np.ones(4, complex)), {}, "weights must be real numbers, got dtype complex128"),
    "lengths of rows": ((Z2, Y2), {"lengths": [1, 1, 1, 1]}, r"lengths and mask go with logits \(N, T, K\)"),
    "both": ((Z3, Y3), {"lengths": [1] * 4, "mask": Y3 == 0}, "give lengths or mask, not both"),
    "a mask of numbers": ((Z3, Y3), {"mask": Y3}, r"mask must hold booleans.*\(mask != 0\); got dtype int64"),
    "another mask": ((Z3, Y3), {"mask": Y2 == 0}, r"mask must be \(4, 5\).*got shape \(4,\)"),
    "a length of 0": ((Z3, Y3), {"lengths": [1, 0, 1, 1]}, r"lengths\[1\] is 0: expected 1 to 5"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_CALLS)
def test_wrong_calls_say_what_to_pass(kind):
    arguments, options, message = WRONG_CALLS[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        losses.softmax_cross_entropy(*arguments, **options)


def test_wrong_calls_of_the_logistic_loss():
    with pytest.raises(ValueError, match=r"labels\[1\] is 2: expected 0 or 1"):
        losses.logistic_cross_entropy(Z2[:, :1], np.array([0, 2, 1, 1]))
    with pytest.raises(ValueError, match="For a logit of each class there is softmax_cross_entropy"):
        losses.logistic_cross_entropy(Z2, Y2)


def test_arrays_of_another_library_are_named():
    torch = peer("torch")
    with pytest.raises(TypeError, match="labels is a PyTorch array, but the logits are a NumPy array: convert one"):
        losses.softmax_cross_entropy(Z2, torch.zeros(4, dtype=torch.int64))
