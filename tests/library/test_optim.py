"""Optimisers against their formulas one number at a time, against PyTorch, and against closed forms."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm import backends, head, optim
from xlstm.optim import Optimizer, clip_by_global_norm, learning_rate_at
from xlstm.params import Parameters

from ..conftest import Library
from ..measure import check_forward
from ..peers import peer
from ..standin import machine

P = 9
DECAYED = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0])  # six weights, three biases
STEPS = 20
RATES = [0.05 * (0.5 + 0.5 * math.cos(step)) + 0.001 for step in range(STEPS)]  # a rate that moves


def start(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=P).astype(dtype), rng.normal(0, 0.5, (STEPS, P)).astype(dtype)


def writable(xp):
    """The same library with arrays that may be written: an optimiser's own buffers."""
    return Library("numpy") if xp.name == "numpy-readonly" else xp


def run(xp, solver, parameters, gradients, rates, **options):
    """Where the parameters end, and the optimiser."""
    buffer = writable(xp).asarray(parameters)
    optimizer = Optimizer(buffer, xp.asarray(DECAYED.astype(parameters.dtype)), solver, **options)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.step(buffer, xp.asarray(gradient), rate)
    return buffer, optimizer


def textbook(solver, p, gradients, rates, decayed, alpha=0.0, momentum=0.9, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """One parameter: the formulas of the papers, in Python's numbers."""
    m = v = velocity = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        penalty = alpha * p if decayed else 0.0
        if solver == "sgd":
            velocity = momentum * velocity - rate * (g + penalty)
            p = p + velocity
            continue
        g = g + penalty if solver == "adam" else g
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        p = p - rate * m_hat / (math.sqrt(v_hat) + epsilon) - (rate * penalty if solver == "adamw" else 0.0)
    return p


# ---------------------------------------------------------------- against the formulas and PyTorch


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_as_the_papers_have_it(xp, dtype, solver, alpha):
    parameters, gradients = start(dtype)
    buffer, optimizer = run(xp, solver, parameters, gradients, RATES, alpha=alpha)
    expected = [
        textbook(solver, float(parameters[k]), gradients[:, k].astype(float), RATES, DECAYED[k], alpha)
        for k in range(P)
    ]
    check_forward({"parameters": xp.to_host(buffer)}, {"parameters": np.array(expected)}, dtype)
    assert optimizer.updates == STEPS


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_other_settings(xp, solver):
    settings_ = {"momentum": 0.5, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "alpha": 0.02}
    parameters, gradients = start("float64", seed=1)
    buffer, _ = run(xp, solver, parameters, gradients, RATES, **settings_)
    expected = [textbook(solver, parameters[k], gradients[:, k], RATES, DECAYED[k], **settings_) for k in range(P)]
    check_forward({"parameters": xp.to_host(buffer)}, {"parameters": np.array(expected)}, "float64")


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_as_pytorch_at_every_step(dtype, solver, alpha):
    """Weights and biases in two groups, the second without decay."""
    torch = peer("torch")
    parameters, gradients = start(dtype, seed=2)
    groups = [torch.nn.Parameter(torch.tensor(part.astype(float))) for part in (parameters[:6], parameters[6:])]
    options = [{"params": [groups[0]], "weight_decay": alpha}, {"params": [groups[1]], "weight_decay": 0.0}]
    theirs = {
        "sgd": lambda: torch.optim.SGD(options, lr=0.03, momentum=0.9),
        "adam": lambda: torch.optim.Adam(options, lr=0.03),
        "adamw": lambda: torch.optim.AdamW(options, lr=0.03),
    }[solver]()
    ours = Optimizer(parameters, DECAYED.astype(dtype), solver, alpha=alpha)
    for gradient in gradients:
        groups[0].grad, groups[1].grad = (torch.tensor(g.astype(float)) for g in (gradient[:6], gradient[6:]))
        theirs.step()
        ours.step(parameters, gradient, 0.03)
        expected = np.concatenate([group.detach().numpy() for group in groups])
        check_forward({"parameters": parameters}, {"parameters": expected}, dtype)


# ---------------------------------------------------------------- closed forms


def test_adams_first_step_is_the_rate(xp, dtype):
    """However large the gradient: both moments are corrected for their start at zero."""
    gradients = np.array([[1e-3, -1e-3, 1, -1, 7, -7, 1e4, -1e4, 5]], dtype)
    for solver in ("adam", "adamw"):
        buffer, _ = run(xp, solver, np.zeros(P, dtype), gradients, [0.01], epsilon=1e-30)
        check_forward({"step": xp.to_host(buffer)}, {"step": -0.01 * np.sign(gradients[0])}, dtype)


def test_adam_under_a_constant_gradient_goes_on_at_the_rate(dtype):
    """Corrected moments are then the gradient and its square at every step, not only at the first."""
    gradient = np.array([1e-2, -1e-2, 1, -1, 7, -7, 30, -30, 5], dtype)
    parameters = np.zeros(P, dtype)
    optimizer = Optimizer(parameters, np.ones(P, dtype), "adam", epsilon=1e-30)
    for step in range(1, 31):
        optimizer.step(parameters, gradient, 0.01)
        check_forward({"p": parameters}, {"p": -0.01 * step * np.sign(gradient)}, dtype)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_under_a_constant_gradient(xp, dtype, momentum):
    """v after n steps is a geometric series, p the sum of those."""
    parameters, gradients = start(dtype)
    n = 12
    buffer, _ = run(xp, "sgd", parameters, [gradients[0]] * n, [0.1] * n, momentum=momentum)
    travelled = sum((1 - momentum**k) / (1 - momentum) for k in range(1, n + 1))
    check_forward({"p": xp.to_host(buffer)}, {"p": parameters - 0.1 * travelled * gradients[0].astype(float)}, dtype)


def test_adamw_shrinks_weights_by_its_factor_and_biases_never(xp, dtype):
    parameters, _ = start(dtype)
    buffer, _ = run(xp, "adamw", parameters, np.zeros((10, P), dtype), [0.2] * 10, alpha=0.5)
    after = xp.to_host(buffer)
    check_forward({"weights": after[:6]}, {"weights": parameters[:6].astype(float) * (1 - 0.2 * 0.5) ** 10}, dtype)
    np.testing.assert_array_equal(after[6:], parameters[6:])


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_the_penalty_leaves_biases_alone(xp, dtype, solver):
    parameters, gradients = start(dtype)
    plain = xp.to_host(run(xp, solver, parameters, gradients, RATES)[0])
    penalised = xp.to_host(run(xp, solver, parameters, gradients, RATES, alpha=0.3)[0])
    np.testing.assert_array_equal(penalised[6:], plain[6:])
    assert (penalised[:6] != plain[:6]).all()


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_without_gradients_nothing_moves(xp, dtype, solver):
    parameters, _ = start(dtype)
    buffer, _ = run(xp, solver, parameters, np.zeros((3, P), dtype), [0.1] * 3)
    np.testing.assert_array_equal(xp.to_host(buffer), parameters)


# ---------------------------------------------------------------- what it keeps


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_moments_are_like_the_buffer(xp, dtype, solver):
    parameters, gradients = start(dtype)
    buffer, optimizer = run(xp, solver, parameters, gradients[:0], [])
    assert len(optimizer.moments) == (1 if solver == "sgd" else 2)
    assert optimizer.updates == 0
    kept = list(optimizer.moments)
    optimizer.step(buffer, xp.asarray(gradients[0]), 0.1)
    for moment, before in zip(optimizer.moments, kept, strict=True):
        assert moment is before, "moments are stepped in place"
        assert tuple(moment.shape) == (P,)
        assert moment.dtype == buffer.dtype
        assert moment.device == buffer.device


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_a_step_writes_to_the_buffer_alone(solver):
    parameters, gradients = start("float64")
    whole = np.concatenate([parameters, [7.0]])
    optimizer = Optimizer(whole[:P], DECAYED.astype(float), solver, alpha=0.1)
    gradient, decayed = gradients[0].copy(), optimizer.decayed.copy()
    optimizer.step(whole[:P], gradient, 0.1)
    assert whole[P] == 7
    assert (whole[:P] != parameters).all()
    np.testing.assert_array_equal(gradient, gradients[0])
    np.testing.assert_array_equal(optimizer.decayed, decayed)


def test_an_unknown_solver_is_refused():
    with pytest.raises(ValueError, match=r"solver must be one of .*adamw.*, got 'rmsprop'"):
        Optimizer(np.zeros(1), np.ones(1), "rmsprop")


# ---------------------------------------------------------------- clipping


def clipped(xp, gradients, max_norm):
    """The gradients after, and the norm that was returned."""
    array = writable(xp).asarray(gradients)
    norm = clip_by_global_norm(array, max_norm)
    assert tuple(norm.shape) == ()
    assert norm.dtype == array.dtype
    assert getattr(norm, "device", "cpu") == array.device  # NumPy 2.0's scalars do not say where they are
    return xp.to_host(array), xp.to_host(norm)


def test_a_large_gradient_is_scaled_to_the_norm(xp, dtype):
    gradients = np.random.default_rng(0).normal(0, 10, 50).astype(dtype)
    norm = math.sqrt(sum(float(g) ** 2 for g in gradients))
    after, before = clipped(xp, gradients, 2.5)
    check_forward({"norm": before}, {"norm": norm}, dtype)
    check_forward({"after": after}, {"after": gradients.astype(float) * 2.5 / norm}, dtype)
    assert float(np.linalg.norm(after.astype(float))) == pytest.approx(2.5, rel=5e-7 if dtype == "float32" else 1e-14)


def test_a_small_gradient_is_not_scaled_up(xp, dtype):
    gradients = np.random.default_rng(0).normal(0, 0.1, 10).astype(dtype)
    after, _ = clipped(xp, gradients, 100.0)
    np.testing.assert_array_equal(after, gradients)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e10, 1e30, math.inf])
def test_zero_gradients_stay_zero(xp, dtype, max_norm):
    after, norm = clipped(xp, np.zeros(5, dtype), max_norm)
    assert norm == 0
    np.testing.assert_array_equal(after, np.zeros(5))


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_squares_neither_overflow_nor_vanish(xp, dtype, size):
    """1e30 is a number of float32, its square is not; nor is that of 1e-30."""
    gradients = np.array([3 * size, -4 * size], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        after, norm = clipped(xp, gradients, 1.0)
    check_forward({"norm": norm}, {"norm": 5 * size}, dtype)
    expected = [0.6, -0.8] if size > 1 else gradients
    check_forward({"after": after}, {"after": np.array(expected, float)}, dtype)


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_norm_is_the_smaller_of_two(values, max_norm):
    gradients = np.array(values)
    true_norm = math.hypot(*values)
    norm = clip_by_global_norm(gradients, max_norm)
    assert float(norm) == pytest.approx(true_norm, rel=1e-12, abs=1e-300)
    assert math.hypot(*gradients) == pytest.approx(min(true_norm, max_norm), rel=1e-12, abs=1e-300)
    for before, after in zip(values, gradients, strict=True):
        assert abs(after) <= abs(before)
        assert before * after >= 0


@pytest.mark.parametrize("scale", [0.001, 0.1, 10.0])
def test_clipping_as_pytorchs(scale):
    """Theirs adds 1e-6 to the norm."""
    torch = peer("torch")
    gradients = np.random.default_rng(1).normal(0, scale, 30)
    parameter = torch.nn.Parameter(torch.zeros(30, dtype=torch.float64))
    parameter.grad = torch.tensor(gradients)
    expected = torch.nn.utils.clip_grad_norm_([parameter], 0.5)
    norm = clip_by_global_norm(gradients, 0.5)
    assert float(norm) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradients, parameter.grad.numpy(), rtol=1e-4)


# ---------------------------------------------------------------- schedules


def rates(total, schedule, rate=0.1, warmup=0):
    return [learning_rate_at(update, total, schedule, rate, warmup) for update in range(total + 1)]


def test_constant_is_constant():
    assert rates(10, "constant") == [0.1] * 11


def test_cosine_ends():
    found = rates(10, "cosine")
    assert found[0] == 0.1
    assert found[5] == pytest.approx(0.05)
    assert found[10] == pytest.approx(0, abs=1e-17)
    assert found == sorted(found, reverse=True)
    assert learning_rate_at(15, 10, "cosine", 0.1, 0) == pytest.approx(0, abs=1e-17)
    assert learning_rate_at(1, 1, "cosine", 0.1, 0) == pytest.approx(0, abs=1e-17)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_warmup_rises_in_equal_steps(schedule):
    found = rates(20, schedule, warmup=4)
    assert found[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert found[4] == pytest.approx(0.1)
    assert max(found) == pytest.approx(0.1)
    assert (found[-1] == 0.1) if schedule == "constant" else found[-1] == pytest.approx(0, abs=1e-17)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
@pytest.mark.parametrize("warmup", [1, 5, 6, 100])
def test_few_updates(schedule, warmup):
    found = rates(5, schedule, warmup=warmup)
    assert all(0 <= rate <= 0.1 * (1 + 1e-12) for rate in found)
    assert found[0] == pytest.approx(0.1 / warmup)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_a_single_update(schedule):
    assert learning_rate_at(0, 1, schedule, 0.1, 0) == 0.1


def test_schedules_as_pytorchs():
    torch = peer("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))

    def theirs(scheduler_of, steps):
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        scheduler = scheduler_of(optimizer)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    warmup, total = 5, 17
    rise = theirs(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / warmup, 1.0, warmup - 1), warmup)
    fall = theirs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, total - warmup), total - warmup)
    found = [learning_rate_at(update, total, "cosine", 0.1, warmup) for update in range(total)]
    assert found == pytest.approx(rise + fall, rel=1e-12)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"learning_rate must be one of .*cosine.*, got 'adaptive'"):
        learning_rate_at(0, 1, "adaptive", 0.1, 0)


# ---------------------------------------------------------------- on a GPU


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_no_array_becomes_a_number(solver):
    parameters, gradients = start("float32")
    expected = parameters.copy()
    host = Optimizer(expected, DECAYED.astype("float32"), solver, alpha=0.1)
    with machine() as gpu:
        import cupy

        buffer, decayed = cupy.asarray(parameters), cupy.asarray(DECAYED.astype("float32"))
        optimizer = Optimizer(buffer, decayed, solver, alpha=0.1)
        for gradient in gradients[:3]:
            on_device, on_host = cupy.asarray(gradient), gradient.copy()
            with gpu.counting() as seen:
                clip_by_global_norm(on_device, 1.0)
                optimizer.step(buffer, on_device, 0.1)
            assert seen.to_host == seen.to_device == 0
            clip_by_global_norm(on_host, 1.0)
            host.step(expected, on_host, 0.1)
        np.testing.assert_allclose(cupy.asnumpy(buffer), expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- clipping and a faster step, by one road


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_a_step_clips_first(xp, dtype, solver):
    parameters, gradients = start(dtype)
    buffers = [writable(xp).asarray(parameters) for _ in range(2)]
    one, other = (Optimizer(buffer, xp.asarray(DECAYED.astype(dtype)), solver, alpha=0.1) for buffer in buffers)
    for gradient in gradients:
        clipped = writable(xp).asarray(gradient)
        clip_by_global_norm(clipped, 0.3)
        one.step(buffers[0], clipped, 0.1)
        other.step(buffers[1], writable(xp).asarray(gradient), 0.1, 0.3)
    np.testing.assert_array_equal(xp.to_host(buffers[0]), xp.to_host(buffers[1]))


def test_a_faster_step_is_given_the_whole_of_it():
    parameters, gradients = start("float64")
    seen = []

    def fast(optimizer, *arguments):
        seen.append((optimizer.updates, *arguments))

    buffer, before = parameters.copy(), gradients[0].copy()
    optimizer = Optimizer(buffer, DECAYED, "adam")
    assert optimizer.fast is None
    optimizer.fast = fast
    optimizer.step(buffer, gradients[0], 0.1, 1e-3)
    optimizer.step(buffer, gradients[1], 0.2)
    assert [(entry[0], entry[3], entry[4]) for entry in seen] == [(1, 0.1, 1e-3), (2, 0.2, None)]
    assert seen[0][1] is buffer
    np.testing.assert_array_equal(buffer, parameters)
    np.testing.assert_array_equal(gradients[0], before)


def test_a_faster_step_is_given_pythons_floats():
    """Whatever numbers a call has: NumPy's, whole ones, arrays of no axis. What is no number never gets there."""
    buffer, gradient, seen = np.ones(P), np.ones(P), []
    optimizer = Optimizer(buffer)
    optimizer.fast = lambda optimizer, parameters, gradients, *numbers_: seen.append(numbers_)
    right = [(0.0, 1e-3), (0, 2), (np.float32(0.5), np.float64(2)), (np.array(0.5), np.array(2)), (1.0, math.inf)]
    for numbers_ in right:
        optimizer.step(buffer, gradient, *numbers_)
    assert seen == [(float(rate), float(norm)) for rate, norm in right]
    assert {type(number) for numbers_ in seen for number in numbers_} == {float}
    rates_ = [-1e-300, math.inf, math.nan, -1, 10**400, "0.1", np.array("x"), np.array([0.1]), 1j, None]
    norms = [0.0, -1.0, math.nan, 0, "0.1", np.array("x"), np.array([0.1]), 1j]
    for name, wrong in [("learning_rate", each) for each in rates_] + [("max_norm", each) for each in norms]:
        with pytest.raises(ValueError, match=f"{name} must be "):
            optimizer.step(buffer, gradient, **{"learning_rate": 0.1, name: wrong})
    assert optimizer.updates == len(seen) == len(right)


def test_a_faster_step_that_fails_is_not_counted():
    buffer = np.ones(P)
    optimizer = Optimizer(buffer)
    optimizer.step(buffer, np.ones(P), 0.1)

    def fast(*_):
        raise ValueError("not contiguous")

    optimizer.fast = fast
    with pytest.raises(ValueError, match="not contiguous"):
        optimizer.step(buffer, np.ones(P), 0.1)
    assert optimizer.updates == 1


def test_the_step_of_the_backend_is_taken_and_found_again_by_a_copy(monkeypatch):
    """It is a function of this machine: no copy carries it along."""
    asked, backend = [], backends.select("cpu")
    monkeypatch.setattr(backends, "find_step", lambda *given_: asked.append(given_) or (lambda *_: None))
    optimizer = Optimizer(np.ones(P, "float32"), backend=backend)
    others = [optimizer, *(how(optimizer) for how in COPIES.values())]
    assert [kernels for _, _, kernels in asked] == ["auto"] * 4
    assert {(type(where), kind) for where, kind, _ in asked} == {(type(backend), "float32")}
    assert all(callable(each.fast) for each in others)
    assert len({id(each.fast) for each in others}) == 4


# ---------------------------------------------------------------- pickles, copies, devices

COPIES = {
    "copied": copy.deepcopy,
    "pickled": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
    "moved": lambda optimizer: optimizer.to(backends.select("cpu")),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_a_copy_goes_on_just_there_by_itself(how, solver, kernels):
    backend = backends.select("cpu")
    parameters, gradients = start("float64")
    options = {"alpha": 0.1, "backend": backend, "kernels": kernels}
    one = Optimizer(parameters, DECAYED.astype(float), solver, **options)
    one.step(parameters, gradients[0].copy(), 0.1, 0.5)
    others = parameters.copy()
    other = COPIES[how](one)
    assert (other.fast is None) == (one.fast is None) == (kernels == "reference")
    for gradient in gradients[1:]:
        one.step(parameters, gradient.copy(), 0.1, 0.5)
        other.step(others, gradient.copy(), 0.1, 0.5)
    np.testing.assert_array_equal(others, parameters)
    assert other.updates == one.updates == len(gradients)
    for mine, yours in zip(one.moments, other.moments, strict=True):
        assert not np.shares_memory(mine, yours)
    again = Optimizer(parameters, DECAYED.astype(float), solver, **options)
    again.resume(one.updates, one.host_moments())
    for optimizer, buffer in ((one, parameters), (again, others)):
        optimizer.step(buffer, gradients[0].copy(), 0.1, 0.5)
    np.testing.assert_array_equal(others, parameters)
    np.testing.assert_array_equal(again.host_moments(), one.host_moments())


def test_an_optimiser_without_a_backend_is_copied_too():
    parameters, gradients = start("float64")
    one = Optimizer(parameters, DECAYED.astype(float), "adam")
    other, others = copy.deepcopy(one), parameters.copy()
    for optimizer, buffer in ((one, parameters), (other, others)):
        optimizer.step(buffer, gradients[0].copy(), 0.1)
    np.testing.assert_array_equal(others, parameters)


@pytest.mark.parametrize("asked", ["reference", "auto"])
def test_an_optimiser_without_a_backend_gets_one_by_a_move(asked):
    """What was asked of kernels holds there."""
    parameters, gradients = start("float64")
    one = Optimizer(parameters, DECAYED.astype(float), "adam", kernels=asked)
    other, others = one.to(backends.select("cpu")), parameters.copy()
    assert (one.backend, other.kernels) == (None, asked)
    assert asked == "auto" or other.fast is None
    for optimizer, buffer in ((one, parameters), (other, others)):
        optimizer.step(buffer, gradients[0].copy(), 0.1)
    np.testing.assert_allclose(others, parameters, rtol=1e-12)
    assert len(other.host_moments()) == 2


def test_a_level_of_gpus_is_not_asked_of_a_cpu():
    """A copy from a GPU takes whatever the CPU has."""
    with machine():
        import cupy

        there = Optimizer(cupy.zeros(3, "float32"), backend=backends.select("cuda"), kernels="cudnn")
        assert there.to(backends.select("cpu")).kernels == "auto"


# ---------------------------------------------------------------- the parameters of layers and heads, as they are


def layer_and_head(dtype="float64", device="cpu"):
    """A layer and a head with gradients in their arrays: of the layer its own, of the head a dict."""
    layer = xlstm.LSTM(2, 3, seed=0, dtype=dtype, device=device)
    own = head.parameters(3, 2, like=layer.parameters, seed=1)
    rng = np.random.default_rng(2)
    layer.gradients.flat[...] = rng.normal(size=layer.gradients.flat.shape)
    return layer, own, {name: rng.normal(size=shape).astype(dtype) for name, shape in own.shapes.items()}


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_several_sets_are_stepped_as_one_buffer(solver, max_norm, dtype, kernels):
    layer, own, d_own = layer_and_head(dtype)
    buffer = np.concatenate([layer.parameters.flat, own.flat])
    decayed = np.array(
        [float("bias" not in name) for one in (layer.parameters, own) for name, view in one.items() for _ in view.flat]
    )
    expected = Optimizer(buffer, decayed.astype(dtype), solver, alpha=0.1)
    optimizer = Optimizer([layer.parameters, own], solver=solver, alpha=0.1, kernels=kernels)
    assert (optimizer.fast is None) == (kernels == "reference")
    np.testing.assert_array_equal(optimizer.decayed, decayed)
    gradients = np.concatenate([layer.gradients.flat, *(d_own[name].ravel() for name in own)])
    for rate in RATES[:3]:
        expected.step(buffer, gradients.copy(), rate, max_norm)
        optimizer.step([layer.parameters, own], [layer.gradients, d_own], rate, max_norm)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(np.concatenate([layer.parameters.flat, own.flat]), buffer, rtol=tolerance)
    assert optimizer.updates == 3


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_one_set_is_its_own_buffer(solver, dtype):
    layer, _, _ = layer_and_head(dtype)
    other = copy.deepcopy(layer)
    optimizer = Optimizer(layer.parameters, solver=solver)
    flat = Optimizer(other.parameters.flat, solver=solver, backend=backends.select("cpu"))
    optimizer.step(layer.parameters, layer.gradients, 0.1)
    flat.step(other.parameters.flat, layer.gradients.flat, 0.1)
    np.testing.assert_array_equal(layer.parameters.flat, other.parameters.flat)
    # Gradients by name, and in another order, are the same.
    optimizer.step(layer.parameters, dict(list(layer.gradients.items())[::-1]), 0.1)
    flat.step(other.parameters, layer.gradients, 0.1)
    np.testing.assert_array_equal(layer.parameters.flat, other.parameters.flat)
    optimizer.step(layer.parameters.flat, layer.gradients, 0.1)
    flat.step(other.parameters, layer.gradients.flat, 0.1)
    np.testing.assert_array_equal(layer.parameters.flat, other.parameters.flat)


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_gradients_of_another_floating_type_are_their_numbers(solver, kernels):
    """They are taken as numbers of the parameters' type, before anything is computed."""
    gradient = np.random.default_rng(0).normal(size=P).astype("float32")
    buffers = [np.ones(P), np.ones(P)]
    for buffer, given_ in zip(buffers, (gradient, gradient.astype("float64")), strict=True):
        optimizer = Optimizer(buffer, solver=solver, backend=backends.select("cpu"), kernels=kernels)
        optimizer.step(buffer, given_, 0.1)
    np.testing.assert_array_equal(*buffers)


def test_other_libraries_parameters(xp, dtype):
    shapes = {"weight": (2, 3), "bias": (3,)}
    parameters, gradients = start(dtype)
    one = Parameters(shapes, writable(xp).asarray(parameters))
    optimizer = Optimizer(one, solver="adamw", alpha=0.1)
    by_hand, reference = run(xp, "adamw", parameters, gradients[:2], RATES[:2], alpha=0.1)
    assert optimizer.alpha == reference.alpha
    for gradient, rate in zip(gradients[:2], RATES, strict=False):
        named = {"weight": xp.asarray(gradient[:6].reshape(2, 3)), "bias": xp.asarray(gradient[6:])}
        optimizer.step(one, named, rate)
    np.testing.assert_allclose(xp.to_host(one.flat), xp.to_host(by_hand), rtol=1e-5)


def test_on_the_second_gpu():
    layer, own, d_own = layer_and_head("float32")
    optimizer = Optimizer([layer.parameters, own], alpha=0.1)
    with machine(devices=2):
        import cupy

        there = layer.to("cuda:1")
        there_own = head.parameters(3, 2, like=there.parameters, seed=1)
        with cupy.cuda.Device(1):
            there.gradients.flat[...] = cupy.asarray(layer.gradients.flat)
            d_there = {name: cupy.asarray(values) for name, values in d_own.items()}
        other = Optimizer([there.parameters, there_own], alpha=0.1)
        for _ in range(2):
            optimizer.step([layer.parameters, own], [layer.gradients, d_own], 0.1, 1.0)
            other.step([there.parameters, there_own], [there.gradients, d_there], 0.1, 1.0)
        with cupy.cuda.Device(1):
            np.testing.assert_allclose(there.parameters.flat.get(), layer.parameters.flat, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(there_own.flat.get(), own.flat, rtol=1e-5, atol=1e-7)


def test_it_stops_and_goes_on():
    layer, own, d_own = layer_and_head("float32")
    sets, gradients = [layer.parameters, own], [layer.gradients, d_own]
    optimizer = Optimizer(sets)
    optimizer.step(sets, gradients, 0.1)
    before = [one.flat.copy() for one in sets]
    other = Optimizer(sets)
    other.resume(optimizer.updates, optimizer.host_moments())
    optimizer.step(sets, gradients, 0.1)
    after = [one.flat.copy() for one in sets]
    for one, values in zip(sets, before, strict=True):
        one.flat[...] = values
    other.step(sets, gradients, 0.1)
    for one, values in zip(sets, after, strict=True):
        np.testing.assert_array_equal(one.flat, values)
    with pytest.raises(ValueError, match=r"'adam' goes on with 2 moments of shape \(80,\) and dtype float32, as host_"):
        other.resume(1, optimizer.host_moments()[:1])
    kept, moments = other.updates, other.host_moments()
    with pytest.raises(ValueError, match="updates must be 0 or more, the steps taken so far; got -5"):
        other.resume(-5, moments)
    with pytest.raises(TypeError, match="updates must be an integer"):
        other.resume(1.5, moments)
    with pytest.raises(ValueError, match=r"moments of shape .* and dtype float32, as .* got .* of float64"):
        other.resume(1, [moment.astype("float64") for moment in moments])
    with pytest.raises(ValueError, match="updates must be 0 or more, the steps taken so far; got -1"):
        other.resume(-1, moments)
    assert other.updates == kept
    other.step(sets, gradients, 0.1)
    fresh, own_moments = Optimizer(sets), list(other.moments)
    other.resume(0, fresh.host_moments())
    assert other.updates == 0
    assert all(mine is before for mine, before in zip(other.moments, own_moments, strict=True)), "each is large"
    assert not any(moment.any() for moment in other.moments)
    with pytest.raises(ValueError, match="this optimiser only computes"):
        Optimizer(np.zeros(3)).host_moments()


def test_wrong_constructions_say_what_to_pass():
    layer, own, _ = layer_and_head()
    for given_, message in (
        ((dict(layer.parameters),), "parameters is a dict, which has not the one buffer.*pass layer.parameters"),
        (
            (layer,),
            r"parameters is a layer, LSTM: pass layer.parameters, a list of several \(\[layer.parameters, head\]",
        ),
        (([layer.parameters, dict(own)],), "parameters is a list of Parameters, dict: pass"),
        (([layer.parameters["bias_l0"]],), "parameters is a list of ndarray: pass"),
        (([],), "parameters is a list of nothing"),
        ((None,), "parameters is of type NoneType: pass"),
        ((np.zeros((2, 3)),), r"a flat buffer of parameters is \(P,\), got shape \(2, 3\)"),
        ((layer.parameters, "adam"), "decayed, the second argument, is 'adam': name the solver, solver='adam'"),
        (([own, own],), "the same parameters are given twice"),
        (([own, layer_and_head("float32")[1]],), "of one dtype and device, got float32 on cpu and float64 on cpu"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Optimizer(*given_)
    out_of_range = {
        "alpha": (-1, -0.1, math.inf),
        "momentum": (2, -0.1, 1.1),
        "beta_1": (1, -0.1),
        "beta_2": (1, -0.1),
        "epsilon": (0, -0.1, math.inf),
    }
    for name, values in out_of_range.items():
        for solver, wrong in itertools.product(optim.SOLVERS, (*values, "x", math.nan, None)):
            with pytest.raises(ValueError, match=f"{name} must be .*got {wrong!r}"):
                Optimizer(own, solver=solver, **{name: wrong})
    ends_of = {"alpha": (0, 1e300), "momentum": (0, 1), "beta_1": (0,), "beta_2": (0,), "epsilon": (1e300,)}
    for name, ends in ends_of.items():
        for end in ends:
            assert getattr(Optimizer(own, **{name: end}), name) == end


@pytest.mark.parametrize("solver", optim.SOLVERS)
def test_wrong_steps_say_what_to_pass_and_change_nothing(kernels, solver):
    layer, own, d_own = layer_and_head()
    sets, right = [layer.parameters, own], [layer.gradients, d_own]
    optimizer = Optimizer(sets, solver=solver, alpha=0.1, kernels=kernels)
    flat, frozen = np.ones(80), np.ones(80)
    frozen.flags.writeable = False
    torch = peer("torch")
    before = [layer.parameters.flat.copy(), own.flat.copy()]
    for arguments, message in (
        ((layer.parameters, layer.gradients, 0.1), "made for 80 parameters, got 72: .*Pass the same parameters"),
        ((sets, layer.gradients, 0.1), "gradients of 1 sets for the parameters of 2"),
        ((sets, right[::-1], 0.1), r"gradients of other parameters \(weight_ih_l0, .* missing; weight, bias unknown\)"),
        (
            (sets, [layer.gradients, {"weight": d_own["weight"]}], 0.1),
            r"other parameters \(bias missing\): expected those",
        ),
        (
            (sets, [layer.gradients, {**d_own, "bias": np.ones(3)}], 0.1),
            r"of bias must have the shape \(2,\), got \(3,\)",
        ),
        (
            (sets, [layer.gradients, {**d_own, "bias": None}], 0.1),
            r"of bias must be an array of shape \(2,\), got None",
        ),
        (
            (sets, [layer.gradients, {**d_own, "bias": torch.ones(2)}], 0.1),
            "of bias: all arrays must be of one library",
        ),
        ((sets, [layer.gradients, {**d_own, "bias": np.ones(2, int)}], 0.1), "of bias must be of a floating type, got"),
        ((sets, 0.01, 0.1), r"gradients must be an array of shape \(80,\), got float: pass layer.gradients"),
        ((sets, [layer.gradients, None], 0.1), r"gradients must be an array of shape \(8,\), got NoneType"),
        ((sets, right, -1), "learning_rate must be a finite number of 0 or more, got -1"),
        ((sets, right, float("nan")), "learning_rate must be a finite number"),
        ((sets, right, "fast"), "learning_rate must be a finite number of 0 or more, got 'fast'"),
        ((sets, right, 0.1, 0), "max_norm must be a number above 0, or None, got 0"),
        ((dict(own), d_own, 0.1), "parameters is a dict"),
        (
            (layer.parameters.flat, layer.gradients.flat, 0.1),
            "made for 80 parameters, got 72",
        ),
        ((np.ones(72), np.ones(80), 0.1), "made for 80 parameters, got 72"),
        ((flat, np.ones(72), 0.1), r"gradients must have the shape \(80,\), got \(72,\)"),
        (
            (sets[::-1], right[::-1], 0.1),
            r"made for the parameters \(weight_ih_l0.*in this order, got others: .*\(weight ",
        ),
        (
            (np.zeros(80, "float32"), np.ones(80, "float32"), 0.1),
            "made for parameters of float64 on cpu, got float32 on cpu",
        ),
        ((flat, np.ones(80), float("nan")), "learning_rate must be a finite number"),
        ((flat, np.ones(80), 0.1, -1), "max_norm must be a number above 0, or None, got -1"),
        ((flat, np.ones(80), "x"), "learning_rate must be a finite number of 0 or more, got 'x'"),
        ((flat, np.ones(80), 0.1, "x"), "max_norm must be a number above 0, or None, got 'x'"),
        ((flat, np.ones(80, int), 0.1), "gradients must be of a floating type"),
        ((frozen, np.ones(80), 0.1), "read-only|writ"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            optimizer.step(*arguments)
    assert optimizer.updates == 0
    assert not any(moment.any() for moment in optimizer.moments)
    for one, values in zip(sets, before, strict=True):
        np.testing.assert_array_equal(one.flat, values)
    assert (flat == 1).all()
    optimizer.step(sets, right, 0.1)  # and a right step goes on from there
    assert optimizer.updates == 1


def test_sets_of_another_dtype_are_refused(kernels):
    layer, own, _ = layer_and_head("float32")
    wide, wide_own, d_wide = layer_and_head("float64")
    optimizer = Optimizer([layer.parameters, own], kernels=kernels)
    before = wide.parameters.flat.copy()
    with pytest.raises(ValueError, match="made for parameters of float32 on cpu, got float64 on cpu"):
        optimizer.step([wide.parameters, wide_own], [wide.gradients, d_wide], 0.1)
    assert optimizer.updates == 0
    np.testing.assert_array_equal(wide.parameters.flat, before)


def test_a_set_and_a_part_of_it_are_given_twice(xp):
    whole = Parameters({"head.weight": (2, 3), "bias": (3,)}, writable(xp).asarray(np.zeros(9)))
    if "strict" not in xp.name:  # whose arrays do not say where they are
        for sets in ([whole, whole.section("head.")], [whole.section("bias"), whole]):
            with pytest.raises(ValueError, match="given twice, or a set and a part of it"):
                Optimizer(sets)
    parts = [whole.section("head."), whole.section("bias")]
    Optimizer(parts).step(parts, [{"weight": whole["head.weight"] + 1}, {"": whole["bias"] + 1}], 0.1)
    assert (xp.to_host(whole.flat) < 0).all()


def test_an_optimiser_of_before_the_shapes_goes_on():
    """A pickle of an older version does not have them: the size is what is compared."""
    layer, _, _ = layer_and_head()
    optimizer = Optimizer(layer.parameters)
    state = optimizer.__getstate__()
    older = object.__new__(Optimizer)
    older.__setstate__({name: value for name, value in state.items() if name != "_shapes"})
    older.step(layer.parameters, layer.gradients, 0.1)
    assert older.updates == 1


def test_what_is_decayed_has_the_form_of_the_parameters():
    for wrong, message in ((np.ones(4), r"decayed must have the shape \(3,\), got \(4,\)"), ([1], "decayed")):
        with pytest.raises((TypeError, ValueError), match=message):
            Optimizer(np.zeros(3), wrong, alpha=0.1)
    for right in (np.array([1, 0, 1]), np.array([True, False, True])):
        optimizer = Optimizer(np.zeros(3), right, alpha=0.1)
        assert optimizer.decayed.dtype == np.float64
        np.testing.assert_array_equal(optimizer.decayed, [1, 0, 1])


def test_whole_numbers_are_no_parameters():
    with pytest.raises(TypeError, match="parameters must be real numbers of a floating type, got dtype int64"):
        Optimizer(np.zeros(3, "int64"))


@pytest.mark.parametrize("max_norm", [-1, 0, math.nan, "x", None])
def test_clipping_to_no_norm_is_refused(max_norm):
    gradients = np.array([3.0, 4.0])
    with pytest.raises(ValueError, match="max_norm must be a number above 0"):
        clip_by_global_norm(gradients, max_norm)
    np.testing.assert_array_equal(gradients, [3, 4])


def test_clipping_infinity_and_nothing(xp, dtype):
    for wrong in (math.inf, math.nan):
        with np.errstate(invalid="ignore"):
            after, norm = clipped(xp, np.array([3.0, wrong], dtype), 1.0)
        assert np.isnan(norm)
        np.testing.assert_array_equal(after, np.array([3.0, wrong], dtype))
    after, norm = clipped(xp, np.zeros(0, dtype), 1.0)
    assert norm == 0
    assert after.shape == (0,)


def test_no_norm_is_above_infinity():
    """Not even one for which the dtype has no room."""
    gradients = np.full(2, 3e38, "float32")
    with np.errstate(over="ignore"):
        assert clip_by_global_norm(gradients, math.inf) == math.inf
    np.testing.assert_array_equal(gradients, np.full(2, 3e38, "float32"))


def test_a_layers_gradients_are_clipped_as_they_are():
    layer, _, _ = layer_and_head()
    assert float(clip_by_global_norm(layer.gradients, 0.5)) > 1
    assert np.linalg.norm(layer.gradients.flat) == pytest.approx(0.5)


def test_an_epsilon_that_is_nothing_in_the_dtype_is_refused():
    """In float32 1e-300 is 0, and 0 / 0 no update. SGD has no epsilon; float64 has this one."""
    for dtype, epsilon, holds in [("float32", 1e-300, False), ("float32", 1e-37, True), ("float64", 1e-300, True)]:
        parameters = np.ones(3, dtype)
        Optimizer(parameters, solver="sgd", epsilon=epsilon)
        for solver in ("adam", "adamw"):
            if not holds:
                with pytest.raises(ValueError, match=r"epsilon must be 1.2e-38 or more for .*float32, got 1e-300: "):
                    Optimizer(parameters, solver=solver, epsilon=epsilon)
                continue
            optimizer = Optimizer(parameters, solver=solver, epsilon=epsilon)
            optimizer.step(parameters, np.array([0, 1, -1], dtype), learning_rate=0.1)
            np.testing.assert_allclose(parameters, [1, 0.9, 1.1], rtol=1e-6)
            parameters[...] = 1


def test_a_training_that_goes_on_refuses_it_too():
    model = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, random_state=0)
    model.partial_fit(["ab", "b"], ["x", "y"])
    before = model.predict_proba(["ab"])
    with pytest.raises(ValueError, match="epsilon must be "):
        model.set_params(epsilon=1e-300).partial_fit(["ab", "b"], ["x", "y"])
    np.testing.assert_array_equal(model.predict_proba(["ab"]), before)
