# Longer than 500 lines: the tests of one source file stand in one file.
"""The gradient check itself: what is right passes, and each kind of wrong gradient is caught and named."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm import cells, check_gradients
from xlstm.layers import LAYERS

from .. import oracle
from ..peers import peer

# ---------------------------------------------------------------- a cell of one's own, as users write them


def forward(params, x, h):
    """A tanh RNN over x (T, D) from h (H,): every h, and the last one by itself."""
    hs = [h]
    for step in x:
        hs.append(np.tanh(params["W"] @ step + params["U"] @ hs[-1] + params["b"]))
    return (np.array(hs[1:]), hs[-1]), (params, x, hs)


def backward(tape, d_outputs):
    params, x, hs = tape
    d_hs, d_last = d_outputs
    grads = {name: np.zeros_like(values) for name, values in params.items()}
    dx, dh = np.zeros_like(x), np.array(d_last)
    for t in reversed(range(len(x))):
        d_gate = (dh + d_hs[t]) * (1 - hs[t + 1] ** 2)
        grads["W"] += np.outer(d_gate, x[t])
        grads["U"] += np.outer(d_gate, hs[t])
        grads["b"] += d_gate
        dx[t] = params["W"].T @ d_gate
        dh = params["U"].T @ d_gate
    return grads, [dx, dh]


def example(T=4, D=3, H=3):
    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(H, D)), "U": rng.normal(size=(H, H)), "b": rng.normal(size=H)}
    return {"params": params, "inputs": [rng.normal(size=(T, D)), rng.normal(size=H)]}


def spoiled(change):
    """The pair with a backward pass whose gradients `change` alters: one dict, inputs under "x" and "h"."""

    def wrong(tape, d_outputs):
        grads, (dx, dh) = backward(tape, d_outputs)
        changed = change({**grads, "x": dx, "h": dh})
        return {name: changed[name] for name in grads if name in changed}, [changed["x"], changed["h"]]

    return forward, wrong


def test_a_right_pair_passes():
    report = check_gradients((forward, backward), **example())
    assert report.passed
    assert [entry.name for entry in report.entries] == ["W", "U", "b", "input 0", "input 1"]
    assert [entry.shape for entry in report.entries] == [(3, 3), (3, 3), (3,), (4, 3), (3,)]
    assert all(entry.passed and entry.error < 1e-8 for entry in report.entries)


def test_float32_values_are_checked_in_float64():
    given_ = example()
    given_["params"] = {name: values.astype(np.float32) for name, values in given_["params"].items()}
    given_["inputs"] = [values.astype(np.float32) for values in given_["inputs"]]
    report = check_gradients([forward, backward], **given_)
    assert all(entry.error < 1e-8 for entry in report.entries)


NAMES = {"W": "W", "U": "U", "b": "b", "x": "input 0", "h": "input 1"}


def scaled(array):
    return array * 1.001


def one_element(array):
    array = array.copy()
    array.flat[-1] += 1e-3
    return array


def one_nan(array):
    array = array.copy()
    array.flat[0] = np.nan
    return array


def one_infinity(array):
    array = array.copy()
    array.flat[0] = np.inf
    return array


@pytest.mark.parametrize(
    "change", [scaled, one_element, one_nan, one_infinity, np.negative, np.zeros_like, lambda array: 2 * array]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_gradient_is_caught_and_named(name, change):
    with pytest.raises(AssertionError, match="WRONG GRADIENTS") as caught:
        check_gradients(spoiled(lambda grads: {**grads, name: change(grads[name])}), **example())
    lines = [line.split() for line in str(caught.value).splitlines()]
    wrong = [" ".join(line[1:]) for line in lines if line[0] == "WRONG"]
    assert len(wrong) == 1
    assert wrong[0].startswith(NAMES[name])


@pytest.mark.parametrize("value", [7.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [(0, 0), (1, 2), (2, 2)])
def test_the_place_of_the_wrong_element_is_named(value, index):
    def change(grads):
        grads["W"][index] = value
        return grads

    with pytest.raises(AssertionError, match=rf"most at W\[{index[0]}, {index[1]}\]: {value:.6g}, measured "):
        check_gradients(spoiled(change), **example())


@pytest.mark.parametrize("name", ["W", "U"])
def test_a_transposed_gradient_is_caught(name):
    with pytest.raises(AssertionError, match=f"WRONG {name} "):
        check_gradients(spoiled(lambda grads: {**grads, name: grads[name].T}), **example())


def test_two_gradients_swapped_are_caught():
    with pytest.raises(AssertionError, match=r"WRONG W .*\n.*WRONG U "):
        check_gradients(spoiled(lambda grads: {**grads, "W": grads["U"], "U": grads["W"]}), **example())


def test_the_parameters_themselves_are_no_gradients():
    """Returned by mistake, they are the very arrays that the check moves."""

    def wrong(tape, d_outputs):
        return tape[0], backward(tape, d_outputs)[1]

    with pytest.raises(AssertionError, match=r"WRONG W .*\n.*WRONG U .*\n.*WRONG b "):
        check_gradients((forward, wrong), **example())


def test_a_gradient_lost_over_time_is_caught():
    """dh is not passed on: the classic."""

    def wrong(tape, d_outputs):
        params, x, hs = tape
        d_hs, d_last = d_outputs
        d_hs = d_hs.copy()
        d_hs[-1] += d_last
        d_gates = d_hs * (1 - np.array(hs[1:]) ** 2)
        grads = {"W": d_gates.T @ x, "U": d_gates.T @ np.array(hs[:-1]), "b": d_gates.sum(axis=0)}
        return grads, [d_gates @ params["W"], params["U"].T @ d_gates[0]]

    with pytest.raises(AssertionError, match="WRONG W"):
        check_gradients((forward, wrong), **example())


@pytest.mark.parametrize("name", ["W", "U", "b"])
def test_a_missing_gradient_is_named(name):
    def without(grads):
        del grads[name]
        return grads

    with pytest.raises(ValueError, match=f"no gradient for the parameters {name}"):
        check_gradients(spoiled(without), **example())


@pytest.mark.parametrize(("name", "shape"), [("W", (1, 3, 3)), ("b", (3, 1)), ("x", (3, 4)), ("h", ()), ("U", (9,))])
def test_a_gradient_of_another_shape_is_named(name, shape):
    with pytest.raises(
        ValueError,
        match=rf"{NAMES[name]} has shape .*, but its gradient {np.zeros(shape).shape}".replace("(", r"\(").replace(
            ")", r"\)"
        ),
    ):
        check_gradients(spoiled(lambda grads: {**grads, name: np.zeros(shape)}), **example())


def test_a_parameters_gradient_that_is_none_is_refused():
    with pytest.raises((ValueError, TypeError), match="b"):
        check_gradients(spoiled(lambda grads: {**grads, "b": None}), **example())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_input_gradients_is_refused(count):
    def wrong(tape, d_outputs):
        grads, (dx, _) = backward(tape, d_outputs)
        return grads, [dx] * count

    with pytest.raises(ValueError, match=f"{count} gradients for 2 inputs"):
        check_gradients((forward, wrong), **example())


# ---------------------------------------------------------------- a pair that is none: said what it did instead


def returning(d_params=None, d_inputs=None):
    """The pair with a backward pass that returns this, each made from what is right."""

    def wrong(tape, d_outputs):
        grads, dxs = backward(tape, d_outputs)
        return (grads if d_params is None else d_params(grads)), (dxs if d_inputs is None else d_inputs(dxs))

    return forward, wrong


def no_return(tape, d_outputs):
    backward(tape, d_outputs)


PAIRS = {
    "swapped": ((backward, forward), "pair is .forward, backward., got .backward, forward.: are they swapped"),
    "swapped, by their arguments": (
        (lambda t, d: None, lambda p, x, h: None),
        r"forward is called with the params and 2 inputs, 3 arguments, but <lambda>\(t, d\) .*swapped",
    ),
    "too few arguments of backward": (
        (forward, lambda tape: None),
        r"backward is called with the tape and d_outputs, 2 arguments, but <lambda>\(tape\)",
    ),
    "nothing returned": ((forward, no_return), "no_return returned NoneType. Is its return statement missing"),
    "gradients alone": (
        (forward, lambda tape, d: backward(tape, d)[0]),
        r"returned dict. For a function without inputs of its own, return \(gradients, None\)",
    ),
    "inputs not in one": (
        (forward, lambda tape, d: (backward(tape, d)[0], *backward(tape, d)[1])),
        "returned tuple of 3. Several gradients of the inputs are one tuple inside the pair",
    ),
    "outputs not in one": (
        (lambda p, x, h: (*forward(p, x, h)[0], None), backward),
        "returned tuple of 3. Several outputs are one tuple inside the pair",
    ),
    "tape and outputs swapped": (
        (lambda p, x, h: forward(p, x, h)[::-1], backward),
        "the output 0 is dict. Are tape and outputs swapped",
    ),
    "outputs of NaN": (
        (lambda p, x, h: (x * np.nan, None), backward),
        "the outputs of <lambda> holds NaN or infinity: nothing can be measured",
    ),
    "the order of the gradients": (
        (forward, lambda tape, d: backward(tape, d)[::-1]),
        r"must be a mapping with the names of params \(W, U, b\); got list. Is the order \(d_inputs, d_params\)",
    ),
    "unknown gradients": (
        returning(d_params=lambda g: {**g, "V": g["W"]}),
        r"gradients for V, which params do not have \(they have W, U, b\): pass these arrays in params=",
    ),
    "names of one's own": (
        returning(d_params=lambda g: {f"d{name}": value for name, value in g.items()}),
        "no gradient for the parameters W, U, b. It returned others that are no parameters: dW, dU, db",
    ),
    "inputs by name": (
        returning(d_inputs=lambda d: dict(zip("xh", d, strict=True))),
        "must be a sequence in the order of the inputs, got a mapping",
    ),
    "one array for two inputs": (returning(d_inputs=lambda d: d[0]), "a sequence of 2 gradients.*got ndarray"),
    "a transposed gradient": (
        returning(d_inputs=lambda d: [d[0].T, d[1]]),
        r"input 0 has shape \(4, 3\), but its gradient \(3, 4\). It is transposed: return gradient.T",
    ),
    "a sum that is missing": (
        returning(d_params=lambda g: {**g, "b": np.ones((4, 3))}),
        r"b has shape \(3,\), but its gradient \(4, 3\). It has an axis too many in front: sum over it",
    ),
    "another form": (returning(d_params=lambda g: {**g, "b": np.ones((3, 1))}), "as many elements: reshape it"),
    "None": (
        returning(d_params=lambda g: {**g, "U": None}),
        "gradient of U is None: return an array of shape",
    ),
    "a ragged list": (
        returning(d_params=lambda g: {**g, "U": [[1.0], [1.0, 2.0]]}),
        r"the gradient of U must be an array of real numbers of shape \(3, 3\), got list",
    ),
    "one function": (forward, r"got function alone: pass \(forward, backward\)"),
    "no functions": ((forward, None), "got tuple of function, NoneType"),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_wrong_with_a_pair_is_said(kind):
    target, message = PAIRS[kind]
    with pytest.raises((TypeError, ValueError), match=message):
        check_gradients(target, **example())


@pytest.mark.parametrize("values", [np.inf, np.nan])
def test_what_is_not_finite_is_no_wrong_gradient(values):
    """Behind a gate that is shut for good outputs are finite, and gradients are not."""
    layer = xlstm.LSTM(2, 3, seed=0)
    x = np.zeros((1, 2, 2))
    x[0, 0, 1] = values
    with pytest.raises(ValueError, match=r"(^x|^the output 0 of forward) holds NaN or infinity.*nothing can"):
        check_gradients(layer, (x,))
    with pytest.raises(ValueError, match=r"^(weight_ih_l0|the output 0 of forward) holds NaN or infinity"):
        check_gradients(layer, params={"weight_ih_l0": np.full((12, 2), values)})


def test_a_gradient_of_nan_is_wrong_where_all_that_was_given_is_finite():
    with pytest.raises(AssertionError, match="WRONG GRADIENTS"):
        check_gradients((lambda p, x: (x * 2, None), lambda tape, d: ({}, d * np.nan)), [np.ones(3)])


# ---------------------------------------------------------------- the forms of a pair


def test_an_input_without_a_gradient_is_left_out():
    def without(tape, d_outputs):
        grads, (dx, _) = backward(tape, d_outputs)
        return grads, [dx, None]

    report = check_gradients((forward, without), **example())
    assert [entry.name for entry in report.entries] == ["W", "U", "b", "input 0"]


def embed(params, ids):
    return params["table"][ids], (params["table"], ids)


def embed_backward(tape, d_rows):
    table, ids = tape
    d_table = np.zeros_like(table)
    np.add.at(d_table, ids, d_rows)
    return {"table": d_table}, None


def test_integer_inputs_are_passed_on_unchanged():
    ids = np.array([[2, 0], [2, 1]])
    seen = []

    def watched(params, ids):
        seen.append(ids)
        return embed(params, ids)

    report = check_gradients((watched, embed_backward), inputs=[ids], params={"table": np.ones((4, 3))})
    assert [entry.name for entry in report.entries] == ["table"]
    assert all(given_.dtype == ids.dtype and (given_ == ids).all() for given_ in seen)


def test_one_input_and_its_gradient_not_in_a_list():
    def square(params, x):
        return params["a"] * x**2, (params["a"], x)

    def right(tape, d):
        a, x = tape
        return {"a": np.sum(d * x**2)}, 2 * a * x * d

    def wrong(tape, d):
        a, x = tape
        return {"a": np.sum(d * x**2)}, a * x * d

    given_ = {"inputs": [np.array([1.0, -2.0, 0.5])], "params": {"a": 3.0}}
    report = check_gradients((square, right), **given_)
    assert [entry.shape for entry in report.entries] == [(), (3,)]
    with pytest.raises(AssertionError, match="WRONG input 0"):
        check_gradients((square, wrong), **given_)


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_outputs_have_several_gradients(kind):
    """Each with its own weights: a backward that mixes two of them up is caught."""

    def both(params, x):
        return kind([np.sin(x), x**3]), x

    def right(x, d_outputs):
        d_sin, d_cube = d_outputs
        return {}, [d_sin * np.cos(x) + d_cube * 3 * x**2]

    def wrong(x, d_outputs):
        return right(x, d_outputs[::-1])

    x = np.array([[0.3, -1.2]])
    assert check_gradients((both, right), inputs=[x]).passed
    with pytest.raises(AssertionError):
        check_gradients((both, wrong), inputs=[x])


def test_a_single_number_as_output():
    def norm(params, x):
        return np.sum(x**2), x

    assert check_gradients((norm, lambda x, d: ({}, [2 * x * d])), inputs=[np.ones((2, 2))]).passed


def test_parameters_alone():
    pair = (lambda p: (p["a"] ** 2, p["a"]), lambda a, d: ({"a": 2 * a * d}, []))
    assert check_gradients(pair, params={"a": np.array([1.0, -3.0])}).passed


def test_the_measured_norm_is_that_of_the_true_gradient():
    weights = []

    def cube_backward(x, d):
        weights.append(d)
        return {}, [3 * x**2 * d]

    x = np.array([0.5, -1.0, 2.0])
    report = check_gradients((lambda params, x: (x**3, x), cube_backward), inputs=[x])
    assert report.entries[0].norm == pytest.approx(np.linalg.norm(3 * x**2 * weights[0]), rel=1e-8)


def test_what_was_passed_is_not_changed():
    given_ = example()
    before = copy.deepcopy(given_)
    for array in (*given_["params"].values(), *given_["inputs"]):
        array.setflags(write=False)
    check_gradients((forward, backward), **given_)
    with pytest.raises(AssertionError):
        check_gradients(spoiled(lambda grads: {**grads, "b": 2 * grads["b"]}), **given_)
    for name, values in before["params"].items():
        np.testing.assert_array_equal(given_["params"][name], values)
    for array, values in zip(given_["inputs"], before["inputs"], strict=True):
        np.testing.assert_array_equal(array, values)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_shape_and_seed(T, D, H, seed):
    assert check_gradients((forward, backward), **example(T, D, H), seed=seed).passed
    for name in ("U", "h"):
        with pytest.raises(AssertionError):
            check_gradients(
                spoiled(lambda grads, name=name: {**grads, name: scaled(grads[name])}), **example(T, D, H), seed=seed
            )


# ---------------------------------------------------------------- large arrays


def affine(params, x):
    return np.tanh(x @ params["W"]), (params["W"], x)


def affine_backward(tape, d):
    W, x = tape
    d = d * (1 - np.tanh(x @ W) ** 2)
    return {"W": x.T @ d}, [d @ W.T]


LARGE = {
    "params": {"W": np.random.default_rng(0).normal(0, 0.1, (60, 50))},
    "inputs": [np.random.default_rng(1).normal(size=(4, 60))],
}


def test_a_large_array_is_checked_along_directions():
    report = check_gradients((affine, affine_backward), **LARGE)
    assert all("directions" in entry.method for entry in report.entries)
    assert report.entries[0].error < 1e-8
    small = check_gradients((forward, backward), **example())
    assert {entry.method for entry in small.entries} == {"each element"}


@pytest.mark.parametrize("index", [(0, 0), (59, 49), (0, 49), (30, 7)])
@pytest.mark.parametrize(
    "change", [lambda value: 1.01 * value, lambda value: 0.0, lambda value: np.nan, lambda value: np.inf]
)
def test_one_wrong_element_of_a_large_array_is_caught(index, change):
    def wrong(tape, d):
        grads, d_inputs = affine_backward(tape, d)
        grads["W"][index] = change(grads["W"][index])
        return grads, d_inputs

    with pytest.raises(AssertionError, match=r"WRONG W .* directions; most at W along direction \d+"):
        check_gradients((affine, wrong), **LARGE)


def test_a_permuted_large_gradient_is_caught():
    def wrong(tape, d):
        grads, (dx,) = affine_backward(tape, d)
        return grads, [dx[:, ::-1]]

    with pytest.raises(AssertionError, match="WRONG input 0"):
        check_gradients((affine, wrong), **LARGE)


# ---------------------------------------------------------------- what it cannot see


def test_a_wrong_forward_with_its_own_backward_passes():
    """As documented: only a comparison with another implementation finds it."""

    def forgot_the_bias(params, x):
        return np.tanh(x @ params["W"]), (params["W"], x)

    def its_backward(tape, d):
        grads, d_inputs = affine_backward(tape, d)
        return {**grads, "b": np.zeros(2)}, d_inputs

    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(3, 2)), "b": np.ones(2)}
    assert check_gradients((forgot_the_bias, its_backward), params=params, inputs=[rng.normal(size=(4, 3))]).passed


# ---------------------------------------------------------------- the report


def test_the_report_reads_well():
    text = str(check_gradients((forward, backward), **example(), seed=7))
    first, *lines = text.splitlines()
    assert "forward" in first
    assert "float64, seed 7: all gradients are right" in first
    assert len(lines) == 5
    for line, name in zip(lines, NAMES.values(), strict=True):
        assert line.split()[0] == "ok"
        assert name in line
        assert "relative error" in line


def test_the_error_is_the_report():
    with pytest.raises(AssertionError) as caught:
        check_gradients(spoiled(lambda grads: {**grads, "b": -grads["b"]}), **example())
    text = str(caught.value)
    assert text.startswith("gradient check of forward in float64, seed 0: WRONG GRADIENTS")
    assert text.count("WRONG ") == 2
    assert text.count("  ok ") == 4
    assert "relative error 2.0e+00" in text
    assert "measured" in text


def test_the_same_seed_gives_the_same_report():
    reports = [str(check_gradients((forward, backward), **example(), seed=seed)) for seed in (3, 3, 4)]
    assert reports[0] == reports[1] != reports[2]


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("layer", [xlstm.LSTM, xlstm.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_pass(layer, options, dtype):
    layer = layer(2, 3, seed=1, dtype=dtype, **options)
    report = check_gradients(layer)
    names = [entry.name for entry in report.entries]
    states = ["h0", "c0"] if isinstance(layer, xlstm.LSTM) else ["h0"]
    assert names == [*layer.parameters, "x", *states]
    assert all(entry.error < 1e-7 for entry in report.entries), "float32 would not reach this"
    assert all(entry.norm > 0 for entry in report.entries)
    assert type(layer).__name__ in str(report)


def test_a_layer_on_arguments_of_ones_own():
    layer = xlstm.LSTM(2, 3, seed=1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 2)).astype(np.float32)
    x[1, 2:] = np.nan  # padding
    h = rng.normal(size=(1, 2, 3))
    for inputs in ((x, None, [4, 2]), (x, (h, None), [4, 2]), (x, (h, h), np.array([4, 2])), (x[:1],)):
        report = check_gradients(layer, inputs=inputs)
        assert {entry.name for entry in report.entries} >= {"x", "h0", "c0"}
        assert next(entry.shape for entry in report.entries if entry.name == "x") == inputs[0].shape
    assert check_gradients(xlstm.RNN(2, 3, seed=1), inputs=(x, h, [4, 2])).passed


@pytest.mark.parametrize("x", [np.ones((2, 3, 2), int), [[[1, 0], [2, 1]]], [[[1.0, 0.5], [2.0, 1.0]]]])
def test_a_layers_x_is_checked_whatever_its_type(x):
    report = check_gradients(xlstm.LSTM(2, 3, seed=1), inputs=(x,))
    assert "x" in [entry.name for entry in report.entries]


def test_a_layer_with_values_of_ones_own():
    layer = xlstm.RNN(2, 3, seed=1)
    closed = check_gradients(layer, params={"bias_l0": np.full(3, 40.0)})  # tanh is 1: all slopes are 0
    assert [entry.norm for entry in closed.entries] == [0] * len(closed.entries)
    with pytest.raises(ValueError, match="there is no parameter 'bias'; there are: weight_ih_l0"):
        check_gradients(layer, params={"bias": np.zeros(3)})
    with pytest.raises(ValueError, match=r"bias_l0 has shape \(3,\), got \(4,\)"):
        check_gradients(layer, params={"bias_l0": np.zeros(4)})


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
@pytest.mark.parametrize("fault", ["bias", "weight_hh", "dx", "state"])
def test_a_fault_in_the_cell_is_caught_through_the_layer(monkeypatch, cell, fault):
    module = cells.CELLS[cell]
    right = module.backward

    def wrong(*arguments, **options):
        dx, d_state, d_params = right(*arguments, **options)
        if fault == "dx":
            dx = dx * 1.001
        elif fault == "state":
            d_state = tuple(half * 1.001 for half in d_state) if isinstance(d_state, tuple) else d_state * 1.001
        else:
            d_params[fault][...] *= 1.001
        return dx, d_state, d_params

    layer = LAYERS[cell](2, 3, seed=0, kernels="reference")
    assert check_gradients(layer).passed
    monkeypatch.setattr(module, "backward", wrong)
    name = {"dx": "x", "state": "h0"}.get(fault, f"{fault}_l0")
    with pytest.raises(AssertionError, match=f"WRONG {name} "):
        check_gradients(layer)


def test_a_layer_is_left_as_it_was():
    layer = xlstm.LSTM(2, 3, num_layers=2, dropout=0.5, seed=3)
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    outputs, _, tape = layer.forward(x)
    layer.backward(tape, np.ones_like(outputs))
    other = copy.deepcopy(layer)
    parameters, gradients = layer.parameters.flat.copy(), layer.gradients.flat.copy()
    check_gradients(layer)
    check_gradients(layer, inputs=(x,), params={"bias_l0": np.ones(12)})
    np.testing.assert_array_equal(layer.parameters.flat, parameters)
    np.testing.assert_array_equal(layer.gradients.flat, gradients)
    # The dropout masks that come next are those that would have come.
    np.testing.assert_array_equal(layer.forward(x)[0], other.forward(x)[0])
    # And the tape is still good.
    layer.backward(tape, np.ones_like(outputs))
    np.testing.assert_array_equal(layer.gradients.flat, gradients)


# ---------------------------------------------------------------- classifiers


def classifier(X, y, **options):
    options = {"hidden_size": 3, "max_iter": 1, "random_state": 0, **options}
    return xlstm.SequenceClassifier(**options).fit(X, y)


TEXTS = ["ab", "b", "bca", "cc", "a", "ab"]
SERIES = [np.random.default_rng(n).normal(size=(n % 3 + 1, 2)) for n in range(6)]
BINARY, THREE = [0, 1, 0, 1, 1, 0], ["x", "y", "z", "x", "y", "z"]


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
@pytest.mark.parametrize(
    ("X", "options"),
    [(TEXTS, {}), (TEXTS, {"embedding_size": 2, "bidirectional": True}), (SERIES, {"num_layers": 2, "dropout": 0.5})],
    ids=["one-hot", "embedding", "series"],
)
@pytest.mark.parametrize("y", [BINARY, THREE], ids=["binary", "multi-class"])
def test_classifiers_pass(cell, X, options, y):
    clf = classifier(X, y, cell=cell, **options)
    drawn, own = check_gradients(clf), check_gradients(clf, inputs=(X, y), seed=2)
    for report in (drawn, own):
        names = {entry.name for entry in report.entries}
        assert {"head.weight", "head.bias", "recurrent.weight_ih_l0", "recurrent.bias_l0"} <= names
        assert ("embedding.weight" in names) == ("embedding_size" in options)
        assert all(entry.error < 1e-7 and entry.norm > 0 for entry in report.entries)
    outputs = 1 if y is BINARY else 3
    assert {entry.shape for entry in own.entries if entry.name == "head.bias"} == {(outputs,)}


def test_texts_with_unknown_tokens_pass():
    for options in ({}, {"embedding_size": 2}):
        assert check_gradients(classifier(TEXTS, BINARY, **options), inputs=(["zaz", "z"], [0, 1])).passed


def test_a_fault_in_the_loss_is_caught_through_the_classifier(monkeypatch):
    from xlstm import losses

    right = losses.softmax_cross_entropy

    def wrong(logits, labels, weights):
        loss, d_logits = right(logits, labels, weights)
        return loss, d_logits / weights[:, None]  # the rows' weights forgotten

    clf = classifier(SERIES, THREE)
    monkeypatch.setattr(losses, "softmax_cross_entropy", wrong)
    with pytest.raises(AssertionError, match=r"WRONG head\.bias"):
        check_gradients(clf)


def test_a_classifier_is_left_as_it_was():
    clf = classifier(SERIES, THREE, dropout=0.5)
    other = copy.deepcopy(clf)
    before = clf.predict_proba(SERIES)
    check_gradients(clf)
    check_gradients(clf, inputs=(SERIES, THREE))
    np.testing.assert_array_equal(clf.predict_proba(SERIES), before)
    # Its generator, its optimiser and its gradients too: training goes on as it would have.
    for each in (clf, other):
        each.partial_fit(SERIES, THREE)
    np.testing.assert_array_equal(clf.predict_proba(SERIES), other.predict_proba(SERIES))


def test_a_classifier_must_be_fitted_and_know_the_labels():
    with pytest.raises(ValueError, match="not fitted"):
        check_gradients(xlstm.SequenceClassifier())
    with pytest.raises(ValueError, match="row 1 has the label"):
        check_gradients(classifier(TEXTS, BINARY), inputs=(["a", "b"], [0, 7]))


# ---------------------------------------------------------------- other libraries' cells


def test_the_oracle_of_these_tests_passes():
    """And so the two agree on what a gradient is: nothing of the library is in it."""
    rng = np.random.default_rng(0)
    params = oracle.random_parameters(rng, "lstm", 2, 3, layers=2, directions=2)
    lengths = [3, 1]

    def run(params, x, h, c):
        result = oracle.forward("lstm", params, x, {"h": h, "c": c}, lengths)
        return (result.outputs, result.state["h"], result.state["c"]), (params, x, h, c)

    def run_back(tape, d_outputs):
        params, x, h, c = tape
        d, dh, dc = d_outputs
        grads = oracle.backward("lstm", params, x, {"h": h, "c": c}, lengths, d, {"h": dh, "c": dc})
        return grads.parameters, [grads.x, grads.state["h"], grads.state["c"]]

    inputs = [rng.normal(size=shape) for shape in ((2, 3, 2), (4, 2, 3), (4, 2, 3))]
    few = {name: values for name, values in params.items() if name.startswith("bias")}
    rest = {name: values for name, values in params.items() if name not in few}

    def run_few(few, *inputs):
        return run({**rest, **few}, *inputs)

    def back_few(tape, d_outputs):
        grads, d_inputs = run_back(tape, d_outputs)
        return {name: grads[name] for name in few}, d_inputs

    assert check_gradients((run_few, back_few), params=few, inputs=inputs).passed


def test_pytorchs_lstm_passes():
    """Through the adapter that any autograd library needs."""
    torch = peer("torch")
    torch.manual_seed(0)
    module = torch.nn.LSTM(2, 3, num_layers=2, bidirectional=True, batch_first=True).double()
    params = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}

    def run(params, x, h, c):
        leaves = {name: torch.tensor(values, requires_grad=True) for name, values in params.items()}
        inputs = [torch.tensor(values, requires_grad=True) for values in (x, h, c)]
        outputs, state = torch.func.functional_call(module, leaves, (inputs[0], tuple(inputs[1:])))
        every = (outputs, *state)
        return tuple(output.detach().numpy() for output in every), (leaves, inputs, every)

    def run_back(tape, d_outputs):
        leaves, inputs, every = tape
        grads = torch.autograd.grad(every, [*leaves.values(), *inputs], [torch.tensor(d) for d in d_outputs])
        grads = [gradient.numpy() for gradient in grads]
        return dict(zip(leaves, grads, strict=False)), grads[len(leaves) :]

    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape) for shape in ((2, 3, 2), (4, 2, 3), (4, 2, 3))]
    report = check_gradients((run, run_back), params=params, inputs=inputs)
    assert len(report.entries) == 16 + 3
    assert all(entry.error < 1e-7 for entry in report.entries)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("target", [None, 3, "lstm", forward, (forward,), (forward, 3), xlstm.LSTM])
def test_other_targets_are_refused(target):
    with pytest.raises(TypeError, match=r"target must be a layer, a fitted SequenceClassifier or a pair"):
        check_gradients(target)


def test_one_array_is_no_sequence_of_inputs():
    with pytest.raises(TypeError, match=r"inputs must be a sequence of arrays, got one array: write \(x,\)"):
        check_gradients((affine, affine_backward), inputs=np.ones((2, 2)), params=LARGE["params"])


def test_a_layers_inputs_are_a_tuple():
    for inputs in (np.ones((2, 3, 2)), (), (1, 2, 3, 4)):
        with pytest.raises(TypeError, match="the inputs of a layer are"):
            check_gradients(xlstm.LSTM(2, 3), inputs=inputs)


def test_nothing_to_check_is_no_pass():
    with pytest.raises(ValueError, match="no array to check"):
        check_gradients((lambda params, ids: (ids * 1.0, None), lambda tape, d: ({}, [None])), inputs=[np.arange(3)])
    with pytest.raises(ValueError, match="no array to check"):
        check_gradients((lambda params, x: (x, None), lambda tape, d: ({}, [d])), inputs=[np.zeros((0, 2))])


def test_an_integer_parameter_is_named():
    """It has no gradient: it belongs in the closure, or among the inputs."""
    pair = (lambda p: (p["a"] * p["n"], p), lambda p, d: ({"a": d * p["n"], "n": None}, []))
    for number in (2, np.array([2, 3])):
        with pytest.raises((TypeError, ValueError), match="n"):
            check_gradients(pair, params={"a": np.ones(2), "n": number})
