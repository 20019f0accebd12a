# ruff: noqa: E501 - the table of wrong calls is read by the line
"""The losses of numbers: by their definitions, against the complex step, PyTorch and the constants that they are least
for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlstm import losses

from ..measure import check_forward, check_gradients
from ..peers import peer
from ..standin import machine

LEVELS = (0.2, 0.5, 0.9)
LOSSES = {
    "squared": (losses.squared_error, {}),
    "absolute": (losses.absolute_error, {}),
    "huber": (losses.huber, {"delta": 0.7}),
    "quantile": (losses.quantile, {"levels": 0.3}),
    "quantiles": (losses.quantile, {"levels": LEVELS}),
}


@pytest.fixture(params=LOSSES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def example(dtype, N=6, K=3, seed=0):
    """Outputs and targets (N, K), weights (N,)."""
    rng = np.random.default_rng([seed, N, K])
    outputs, targets = rng.normal(0, 1.5, (2, N, K)).astype(dtype)
    return outputs, targets, rng.uniform(0.1, 2, N).astype(dtype)


def of_one(name, r, k):
    """The loss of one residual of the output k, by its definition; complex numbers too."""
    if name == "squared":
        return r**2
    magnitude = r if r.real > 0 else -r
    if name == "absolute":
        return magnitude
    if name == "huber":
        return r**2 / 2 if magnitude.real <= 0.7 else 0.7 * (magnitude - 0.35)
    level = 0.3 if name == "quantile" else LEVELS[k]
    return (1 - level) * r if r.real > 0 else -level * r


def true_loss(name, outputs, targets, weights):
    """Σ weight · mean over the outputs / N, number by number."""
    total = 0
    for row, target, weight in zip(outputs, np.broadcast_to(targets, outputs.shape), weights, strict=True):
        each = [of_one(name, output - wanted, k) for k, (output, wanted) in enumerate(zip(row, target, strict=True))]
        total += weight * sum(each) / len(each)
    return total / len(outputs)


def true_gradient(name, outputs, targets, weights):
    """The complex step."""
    gradient = np.zeros(outputs.shape)
    for index in np.ndindex(*outputs.shape):
        moved = outputs.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = np.imag(true_loss(name, moved, targets, weights)) / 1e-30
    return gradient


def run(name, xp, outputs, targets, *weights, **options):
    """Loss and gradient on the host, their kind checked."""
    loss_of, own = LOSSES[name]
    given = xp.asarray(outputs)
    loss, d_outputs = loss_of(given, xp.asarray(targets), *map(xp.asarray, weights), **own, **options)
    assert tuple(loss.shape) == ()
    assert d_outputs.shape == given.shape
    for result in (loss, d_outputs):
        assert result.dtype == given.dtype
        assert getattr(result, "device", "cpu") == given.device  # NumPy 2.0's scalars do not say where they are
    return xp.to_host(loss), xp.to_host(d_outputs)


# ---------------------------------------------------------------- value and gradient


@pytest.mark.parametrize("N", [1, 6])
@pytest.mark.parametrize("columns", [1, 3])
def test_value_and_gradient(name, xp, dtype, N, columns):
    outputs, targets, weights = example(dtype, N)
    targets = targets[:, :columns]  # one for all outputs, or each its own
    loss, d_outputs = run(name, xp, outputs, targets, weights)
    wide = outputs.astype(float), targets.astype(float), weights.astype(float)
    check_forward({"loss": loss}, {"loss": true_loss(name, *wide)}, dtype, floor=0.1)
    check_gradients({"d_outputs": d_outputs}, {"d_outputs": true_gradient(name, *wide)}, dtype)


@given(st.sampled_from(sorted(LOSSES)), st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_rows(name, N, seed):
    outputs, targets, weights = example("float64", N, seed=seed)
    loss_of, own = LOSSES[name]
    loss, d_outputs = loss_of(outputs, targets, weights, **own)
    check_forward({"loss": loss}, {"loss": true_loss(name, outputs, targets, weights)}, "float64", floor=1.0)
    expected = true_gradient(name, outputs, targets, weights)
    np.testing.assert_allclose(d_outputs, expected, rtol=1e-11, atol=1e-14)


def test_as_pytorchs(dtype):
    torch = peer("torch")
    outputs, targets, _ = example(dtype, 20)
    z, t = torch.tensor(outputs.astype(float), requires_grad=True), torch.tensor(targets.astype(float))
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    F = torch.nn.functional
    theirs = {
        "squared": F.mse_loss(z, t),
        "absolute": F.l1_loss(z, t),
        "huber": F.huber_loss(z, t, delta=0.7),
        "quantiles": torch.mean(torch.maximum(levels * (t - z), (levels - 1) * (t - z))),
    }
    for name, expected in theirs.items():
        (gradient,) = torch.autograd.grad(expected, z)
        loss_of, own = LOSSES[name]
        loss, d_outputs = loss_of(outputs, targets, **own)
        check_forward({"loss": loss}, {"loss": expected.item()}, dtype, floor=0.1)
        check_gradients({"d_outputs": d_outputs}, {"d_outputs": gradient.numpy()}, dtype)


@pytest.mark.parametrize(
    ("name", "constant"), [("squared", 4.0), ("absolute", 2.0), ("quantile", 1.0), ("huber", None)]
)
def test_what_each_is_least_for(name, constant):
    """Of the numbers 0, 1, 2, 3, 14: the mean 4, the median 2, the quantile 0.3, which is 1; a Huber mean between."""
    y = np.array([0.0, 1.0, 2.0, 3.0, 14.0])[:, None]
    loss_of, own = LOSSES[name]
    grid = np.linspace(-1, 15, 1601)
    found = grid[np.argmin([float(loss_of(np.full((5, 1), c), y, **own)[0]) for c in grid])]
    assert found == pytest.approx(constant) if constant is not None else 1.5 < found < 3


def test_where_a_residual_is_nothing():
    y = np.ones((2, 3))
    for name, (loss_of, own) in LOSSES.items():
        loss, d_outputs = loss_of(y, y, **own)
        assert loss == 0
        slopes = 0.5 - np.array({"quantile": 0.3, "quantiles": LEVELS}.get(name, 0.5))  # the mean of both sides'
        np.testing.assert_allclose(d_outputs, np.broadcast_to(slopes / 6, (2, 3)), atol=1e-15)


def test_enormous_residuals_are_no_matter_to_huber(xp):
    outputs, targets = np.array([[1e30, -1e30]], "float32"), np.zeros((1, 2), "float32")
    with np.errstate(over="raise", invalid="raise"):
        loss, d_outputs = run("huber", xp, outputs, targets, np.ones(1, "float32"))
    assert loss == pytest.approx(0.7e30)
    np.testing.assert_allclose(d_outputs, [[0.35, -0.35]], rtol=1e-6)


# ---------------------------------------------------------------- targets for every step


def steps(dtype, N=4, T=5, K=3):
    """Outputs and targets (N, T, K), weights (N, T), lengths; the padding holds NaN."""
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(0, 1.5, (2, N, T, K)).astype(dtype)
    weights, lengths = rng.uniform(0.1, 2, (N, T)).astype(dtype), [T, 2, 1, 4]
    valid = np.arange(T) < np.array(lengths)[:, None]
    outputs[~valid], targets[~valid], weights[~valid] = np.nan, np.nan, np.nan
    return outputs, targets, weights, lengths, valid


@pytest.mark.parametrize("form", ["lengths", "mask", "all"])
def test_every_step_has_targets(name, xp, dtype, form):
    outputs, targets, weights, lengths, valid = steps(dtype)
    given = {"lengths": lengths} if form == "lengths" else {"mask": xp.asarray(valid)}
    if form == "all":
        outputs, targets, weights, valid, given = outputs[:1], targets[:1], weights[:1], valid[:1], {}
    loss, d_outputs = run(name, xp, outputs, targets, weights, **given)
    rows = outputs[valid].astype(float), targets[valid].astype(float), weights[valid].astype(float)
    check_forward({"loss": loss}, {"loss": true_loss(name, *rows)}, dtype, floor=0.1)
    check_gradients({"d_outputs": d_outputs[valid]}, {"d_outputs": true_gradient(name, *rows)}, dtype)
    assert (d_outputs[~valid] == 0).all()


def test_a_weight_of_a_row_is_that_of_its_steps(name, dtype):
    outputs, targets, _, lengths, valid = steps(dtype)
    rows = np.array([0.5, 2.0, 0.0, 1.0], dtype)
    loss_of, own = LOSSES[name]
    one = loss_of(outputs, targets, rows, lengths=lengths, **own)
    other = loss_of(outputs, targets, np.where(valid, rows[:, None], np.nan).astype(dtype), lengths=lengths, **own)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-6)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-6)


def test_one_target_a_step_goes_for_all_outputs(name, xp):
    outputs, targets, weights, lengths, valid = steps("float64")
    targets = targets[:, :, :1]
    loss, d_outputs = run(name, xp, outputs, targets, weights, lengths=lengths)
    rows = outputs[valid], targets[valid], weights[valid]
    check_forward({"loss": loss}, {"loss": true_loss(name, *rows)}, "float64", floor=0.1)
    check_gradients({"d_outputs": d_outputs[valid]}, {"d_outputs": true_gradient(name, *rows)}, "float64")


@pytest.mark.parametrize("form", [{"lengths": [5, 5, 5, 5]}, {"mask": np.ones((4, 5), bool)}, {}])
def test_steps_that_are_all_valid_are_rows(name, form):
    outputs, targets, weights = (array.reshape(20, -1) for array in np.random.default_rng(1).normal(size=(3, 4, 5, 3)))
    weights = np.abs(weights[:, 0])
    loss_of, own = LOSSES[name]
    steps_of = (outputs.reshape(4, 5, 3), targets.reshape(4, 5, 3), weights.reshape(4, 5))
    loss, d_outputs = loss_of(*steps_of, **form, **own)
    check_forward({"loss": loss}, {"loss": true_loss(name, outputs, targets, weights)}, "float64")
    expected = true_gradient(name, outputs, targets, weights)
    check_gradients({"d_outputs": d_outputs.reshape(20, 3)}, {"d_outputs": expected}, "float64")


def test_a_single_step_with_a_mask():
    one = np.array([[[2.0]]])
    loss, d_outputs = losses.squared_error(one, one - 3, mask=np.array([[True]]))
    assert (float(loss), d_outputs.item()) == (9.0, 6.0)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
def test_weights_may_be_of_another_type(xp, dtype, kind):
    """The results are of the type of the outputs."""
    name = "squared"
    outputs, targets, _ = example(dtype)
    weights = np.array([1, 2, 0, 3, 1, 1], kind)
    loss, d_outputs = run(name, xp, outputs, targets, weights)
    wide = outputs.astype(float), targets.astype(float), weights.astype(float)
    check_forward({"loss": loss}, {"loss": true_loss(name, *wide)}, dtype, floor=0.1)
    check_gradients({"d_outputs": d_outputs}, {"d_outputs": true_gradient(name, *wide)}, dtype)


@pytest.mark.parametrize("levels", [(0.2, 0.9), (0.5,)])
def test_as_many_levels_as_outputs(levels, xp):
    """The mean over the outputs of what each level says of its own."""
    outputs, targets, weights = example("float64", K=len(levels))
    arguments = [xp.asarray(values) for values in (outputs, targets, weights)]
    loss, d_outputs = losses.quantile(*arguments, levels=levels)
    each = [
        losses.quantile(outputs[:, k : k + 1], targets[:, k : k + 1], weights, levels=level)
        for k, level in enumerate(levels)
    ]
    check_forward({"loss": xp.to_host(loss)}, {"loss": np.mean([value for value, _ in each])}, "float64")
    expected = np.concatenate([gradient for _, gradient in each], axis=1) / len(levels)
    check_gradients({"d": xp.to_host(d_outputs)}, {"d": expected}, "float64")


def test_what_they_are_where_nothing_is_said():
    """Huber's delta is 1, and the quantile the median: half the absolute error."""
    torch = peer("torch")
    outputs, targets, _ = example("float64", 20)
    expected = torch.nn.functional.huber_loss(torch.tensor(outputs), torch.tensor(targets))
    assert float(losses.huber(outputs, targets)[0]) == pytest.approx(expected.item(), rel=1e-12)
    half = losses.absolute_error(outputs, targets)[0] / 2
    assert float(losses.quantile(outputs, targets)[0]) == pytest.approx(float(half), rel=1e-12)


def test_nothing_comes_to_the_host(name):
    outputs, targets, weights, _, valid = steps("float32")
    loss_of, own = LOSSES[name]
    expected, d_expected = loss_of(outputs, targets, weights, mask=valid, **own)
    with machine() as gpu:
        import cupy

        arguments = [cupy.asarray(values) for values in (outputs, targets, weights)]
        mask = cupy.asarray(valid)
        with gpu.counting() as seen:
            loss, d_outputs = loss_of(*arguments, mask=mask, **own)
        assert seen.to_host == seen.to_device == 0
        np.testing.assert_allclose(cupy.asnumpy(loss), expected, rtol=1e-6)
        np.testing.assert_allclose(cupy.asnumpy(d_outputs), d_expected, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------- wrong calls

Z, Z3 = np.zeros((4, 3)), np.zeros((4, 5, 3))
WRONG_CALLS = {
    "targets (N,)": (losses.squared_error, (Z[:, :1], Z[:, 0]), {}, "targets must be (4, 1) like the outputs, or of one column for all of them; got shape (4,). Of one number a row, pass targets[..., None]."),
    "targets (N, T)": (losses.squared_error, (Z3, Z3[:, :, 0]), {}, "targets must be (4, 5, 3) like the outputs, or of one column for all of them; got shape (4, 5). Of one number a row, pass targets[..., None]."),
    "targets (N, 1) for steps": (losses.squared_error, (Z3, Z[:, :1]), {}, "targets must be (4, 5, 3) like the outputs, or of one column for all of them; got shape (4, 1)."),
    "targets (N,) for steps": (losses.squared_error, (Z3, Z[:, 0]), {}, "targets must be (4, 5, 3) like the outputs, or of one column for all of them; got shape (4,)."),
    "targets of other rows": (losses.huber, (Z, Z[:3]), {}, "targets must be (4, 3) like the outputs, or of one column for all of them; got shape (3, 3)."),
    "outputs (N,)": (losses.absolute_error, (Z[:, 0], Z[:, 0]), {}, "outputs must be (N, K), or (N, T, K) with a target for every step; got shape (4,)."),
    "whole outputs": (losses.squared_error, (Z.astype(int), Z), {}, "outputs must be real numbers of a floating type, got dtype int64."),
    "whole targets": (losses.squared_error, (Z, Z.astype(int)), {}, "targets must be of the dtype float64 of the outputs, got int64, which holds no real numbers."),
    "another precision": (losses.quantile, (Z, Z.astype("f4")), {}, "targets must be of the dtype float64 of the outputs, got float32."),
    "a list": (losses.squared_error, (Z, [0.0]), {}, "targets must be a NumPy array like the outputs, got list."),
    "weights of another batch": (losses.squared_error, (Z, Z, np.ones(3)), {}, "weights must be (4,); got shape (3,)."),
    "lengths of rows": (losses.squared_error, (Z, Z), {"lengths": [1] * 4}, "lengths and mask go with outputs (N, T, K); these are (4, 3), one a row. Leave them out."),
    "both": (losses.huber, (Z3, Z3), {"lengths": [1] * 4, "mask": np.ones((4, 5), bool)}, "give lengths or mask, not both."),
    "no delta": (losses.huber, (Z, Z), {"delta": 0}, "delta must be a number above 0, got 0."),
    "a level of 1": (losses.quantile, (Z, Z), {"levels": [0.5, 1, 0.2]}, "levels must be numbers between 0 and 1, got 1."),
    "too few levels": (losses.quantile, (Z, Z), {"levels": [0.5, 0.2]}, "levels must be one number, or one for each of the 3 outputs; got 2 of them."),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_CALLS)
def test_wrong_calls_say_what_to_pass(kind):
    loss_of, arguments, options, message = WRONG_CALLS[kind]
    with pytest.raises((ValueError, TypeError)) as raised:
        loss_of(*arguments, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "levels",
    [
        np.float32(0.25),
        np.float64(0.25),
        np.array(0.25),
        [np.float32(0.25)],
        np.array([0.25]),
        (level for level in [0.25]),
    ],
)
def test_a_level_may_be_whatever_holds_a_number(levels):
    outputs, targets = np.array([[1.0], [2.0]]), np.array([[2.0], [1.0]])
    loss, gradient = losses.quantile(outputs, targets, levels=levels)
    assert loss == (0.25 + 0.75) / 2
    np.testing.assert_array_equal(gradient, [[-0.125], [0.375]])


@pytest.mark.parametrize("levels", [np.float32(1.5), np.array(0.0), None, "0.5", [0.5, None]])
def test_a_level_that_is_none(levels):
    with pytest.raises(ValueError, match=r"^levels must be numbers between 0 and 1, got "):
        losses.quantile(np.zeros((2, 2)), np.zeros((2, 2)), levels=levels)
