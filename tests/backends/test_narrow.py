"""Weights of fewer bits: each step is that of float64 with weights and activations rounded as the format says.

The rounding here is NumPy's, on its own. What rounding may cost is bounded by the steps of the formats.
"""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from xlstm.backends import cpu
from xlstm.backends.cpu import cell as compiled

import xlstm
from xlstm.prepared import PRECISIONS

from ..conftest import COMPILED_CELLS, TARGETS, usable_target
from ..measure import relative_error

Host = Any
FORMATS = {name: precision for precision, names in compiled.FORMATS.items() for name in names}
LAYERS = {"lstm": xlstm.LSTM, "rnn": xlstm.RNN, "gru": xlstm.GRU}
SHAPES = [(1, 6, 3, 5), (1, 5, 33, 48), (3, 4, 17, 70), (7, 3, 64, 16), (45, 6, 5, 31)]
UNEQUAL = pytest.mark.parametrize("shape", SHAPES)
Size = tuple[int, int, int, int]
"""N, T, D and H."""


@pytest.fixture(params=COMPILED_CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


OF_TARGET = {"avx512": tuple(FORMATS), "avx2": tuple(name for name in FORMATS if name != "bfloat16-pairs")}
"""What is compiled; others have bfloat16 alone."""


@pytest.fixture(params=[(each, name) for each in TARGETS for name in OF_TARGET.get(each, ("bfloat16",))], ids="-".join)
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each format of each instruction set that runs here: it is then the one of its precision."""
    target, name = request.param
    monkeypatch.setattr(cpu, "target", usable_target(target))
    if name not in cpu.find_cell("rnn", "float32").formats:
        pytest.skip(f"this CPU has no instructions for {name}")
    monkeypatch.setitem(compiled.FORMATS, FORMATS[name], (name,))
    monkeypatch.setattr(compiled, "AS_FLOAT32", {})
    return name


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    cpu.set_threads(None)
    cpu.force_cores("measured")


# ---------------------------------------------------------------- the formats, by NumPy


def bfloat16(a: Host) -> Host:
    """To the nearest of the numbers with 8 bits, ties to even."""
    words = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((words + 0x7FFF + (words >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def in_pairs(a: Host) -> Host:
    """Rows 0, 2, … of a matrix (columns, rows) so; each other one the nearest float32 that ends in those bits."""
    found = bfloat16(a).astype(np.float32)
    a = np.ascontiguousarray(a, np.float32)
    lower = np.ascontiguousarray(found[:, : a.shape[1] // 2 * 2 : 2]).view(np.uint32) >> 16
    odd = a[:, 1::2]
    upper = np.ascontiguousarray(odd).view(np.uint32) & 0xFFFF0000
    candidates = np.stack([(upper + np.uint32(step * 0x10000 & 0xFFFFFFFF) | lower) for step in (-1, 0, 1)])
    values = candidates.astype(np.uint32).view(np.float32).astype(np.float64)
    nearest = np.nan_to_num(np.abs(values - odd), nan=np.inf).argmin(axis=0)
    found[:, 1::2] = np.take_along_axis(values, nearest[None], axis=0)[0]
    return found.astype(np.float64)


def eight_bits(a: Host, largest: int = 127) -> Host:
    """Each row to whole numbers from -largest to largest, times a scale."""
    a = np.asarray(a, np.float32)
    most = abs(a).max(axis=1, keepdims=True)
    scale = np.where(most < 1e-30, np.float32(0), most / np.float32(largest)).astype(np.float32)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale > 0, np.float32(1) / scale, np.float32(0)).astype(np.float64)
    return np.rint(a * inverse) * scale


def seven_bits(a: Host) -> Host:
    """Of weights, where two products have to fit into 16 bits."""
    return eight_bits(a, 64)


WEIGHTS = {
    "bfloat16": in_pairs,
    "bfloat16-pairs": bfloat16,
    "float16": lambda a: a.astype(np.float16).astype(np.float64),
    "int8": seven_bits,
    "int8-vnni": eight_bits,
}
ACTIVATIONS = {"bfloat16-pairs": bfloat16, "int8": eight_bits, "int8-vnni": eight_bits}


def balanced(stored: str, weights: Host, x: Host) -> tuple[Host, Host]:
    """Weights of the input and its features, with a power of two moved from one to the other in eight bits."""
    most = abs(weights).max(axis=0)
    factor = 2.0 ** np.floor(np.log2(np.where(most > 0, most, 1))) if stored.startswith("int8") else np.ones_like(most)
    return weights / factor, x * factor


def sigmoid(z: Host) -> Host:
    return (1 + np.tanh(z / 2)) / 2


def next_state(cell: str, params: dict[str, Host], stored: str, x: Host, state: tuple[Host, ...]) -> tuple[Host, ...]:
    """One step in float64: only what enters the products is rounded."""
    weights, activations = WEIGHTS[stored], ACTIVATIONS.get(stored, np.float64)
    h = state[0].astype(np.float64)
    weight_ih, x = balanced(stored, params["weight_ih"], x)
    z_x = activations(x) @ weights(weight_ih).T + params["bias"]
    z_h = activations(state[0]) @ weights(params["weight_hh"]).T
    if cell == "gru":
        (r, u), n = (sigmoid(a + b) for a, b in zip(np.split(z_x, 3, 1)[:2], np.split(z_h, 3, 1)[:2], strict=True)), 2
        n = np.tanh(np.split(z_x, 3, 1)[2] + r * (np.split(z_h, 3, 1)[2] + params["bias_hn"]))
        return ((1 - u) * n + u * h,)
    if cell == "rnn":
        return (np.tanh(z_x + z_h),)
    i, f, g, o = np.split(z_x + z_h, 4, axis=1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


# ---------------------------------------------------------------- cases


def layer_of(cell: str, D: int, H: int, seed: int = 0, **options: Any) -> Any:
    """Its parameters are of all sizes, biases too."""
    layer = LAYERS[cell](D, H, device="cpu", **options)
    rng = np.random.default_rng(seed)
    for name, values in layer.parameters.items():
        layer.parameters[name] = rng.standard_normal(values.shape) * rng.uniform(0.1, 1.5) / values.shape[-1] ** 0.5
    return layer


def parameters_of(layer: Any) -> dict[str, Host]:
    return {name.removesuffix("_l0"): np.array(values) for name, values in layer.parameters.items()}


def draw(cell: str, shape: Size, seed: int = 0) -> tuple[Host, Any]:
    """x and a state."""
    N, T, D, H = shape
    rng = np.random.default_rng(seed)
    x, h, c = (rng.standard_normal(size, dtype=np.float32) for size in ((N, T, D), (1, N, H), (1, N, H)))
    return x, (h, c) if cell == "lstm" else h


def halves(state: Any) -> tuple[Host, ...]:
    return tuple(part[0] for part in (state if isinstance(state, tuple) else (state,)))


def states(state: Any) -> tuple[Host, ...]:
    return state if isinstance(state, tuple) else (state,)


def as_state(parts: tuple[Host, ...]) -> Any:
    whole = tuple(part[None] for part in parts)
    return whole if len(whole) == 2 else whole[0]


def check_steps(cell: str, stored: str, shape: Size, seed: int = 0, with_state: bool = True) -> None:
    """Each step is the right one from the state that the step before returned, and a chunk is its steps."""
    layer = layer_of(cell, shape[2], shape[3], seed)
    call, params = layer.prepare(FORMATS[stored]), parameters_of(layer)
    x, first = draw(cell, shape, seed)
    first = first if with_state else None
    zeros = tuple(np.zeros((shape[0], shape[3]), np.float32) for _ in range(2 if cell == "lstm" else 1))
    state, steps = first, []
    for t in range(shape[1]):
        before = zeros if state is None else halves(state)
        outputs, state = call(x[:, t : t + 1], state)
        expected = next_state(cell, params, stored, x[:, t], before)
        for found, right in zip(halves(state), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-5, atol=5e-6)
        np.testing.assert_array_equal(outputs[:, 0], halves(state)[0])
        steps.append(outputs)
    outputs, final = call(x, first)
    # A sum in another order may turn the rounding of an activation, where activations are rounded.
    bound = 1e-2 if stored in ACTIVATIONS else 5e-6
    assert relative_error(outputs, np.concatenate(steps, axis=1)) < bound
    assert all(relative_error(a, b) < bound for a, b in zip(halves(final), halves(state), strict=True))


# ---------------------------------------------------------------- each step, whole sequences


@UNEQUAL
def test_a_step_is_that_of_rounded_weights(cell, stored, shape):
    check_steps(cell, stored, shape)


def test_without_a_state_it_begins_with_zeros(cell, stored):
    check_steps(cell, stored, (2, 3, 4, 9), with_state=False)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape(cell, stored, data):
    size = st.integers(1, 40)
    shape = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 4), size, size))
    seed = data.draw(st.integers(0, 9))
    # A weight halfway between two whole numbers may become either of them: its product with a scale is rounded, or not.
    assume(stored not in LARGEST or not halfway(parameters_of(layer_of(cell, *shape[2:], seed)), LARGEST[stored]))
    check_steps(cell, stored, shape, seed)


LARGEST = {"int8": 64, "int8-vnni": 127}


def halfway(params: dict[str, Host], largest: int) -> bool:
    pair = balanced("int8", params["weight_ih"], np.zeros(1))[0], params["weight_hh"].astype(np.float64)
    whole = [abs(w) / abs(w).max(axis=1, keepdims=True) * largest for w in pair]
    return any(np.any(abs(w % 1 - 0.5) < 1e-5) for w in whole)


BOUNDS = {"float16": 2e-3, "bfloat16": 1e-2, "bfloat16-pairs": 1e-2, "int8": 4e-2, "int8-vnni": 4e-2}
"""Of whole sequences against float64. In int8, a rounding of 1/254 of the largest number of a row, which is some three
times the root mean square: 3 / 254 / sqrt(3), by the weights and by the activations, times sqrt(2)."""


@pytest.mark.parametrize("lengths", [None, [5, 2, 6, 1, 3]])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_sequences_are_near_to_float64(cell, stored, layers, bidirectional, lengths):
    options = {"num_layers": layers, "bidirectional": bidirectional}
    layer = layer_of(cell, 6, 40, **options)
    true = LAYERS[cell](6, 40, device="cpu", dtype="float64", kernels="reference", **options)
    for name, values in layer.parameters.items():
        true.parameters[name] = values
    x, _ = draw(cell, (5, 6, 6, 40))
    expected, last = true(x.astype(np.float64), lengths=lengths)
    if lengths is not None:
        for row, length in enumerate(lengths):
            x[row, length:] = np.nan  # never read
    outputs, final = layer.prepare(FORMATS[stored])(x, lengths=lengths)
    assert 1e-6 < relative_error(outputs, expected) < BOUNDS[stored]
    for found, right in zip(halves((final,)), halves((last,)), strict=True):
        assert relative_error(found, right) < BOUNDS[stored]
    if lengths is not None:
        assert not any(outputs[row, length:].any() for row, length in enumerate(lengths))


@pytest.mark.parametrize("lengths", [[1100], [400, 130, 390]], ids=str)
def test_long_sequences_are_as_in_pieces(cell, stored, lengths):
    """The input of few rows is projected for some hundreds of steps at a time: long calls are those of short ones."""
    N, T = len(lengths), max(lengths)
    prepared = layer_of(cell, 5, 20).prepare(FORMATS[stored])
    x = np.random.default_rng(T).standard_normal((N, T, 5)).astype(np.float32)
    outputs, final = prepared(x, lengths=lengths)
    for row, length in enumerate(lengths):
        state, pieces = None, []
        for begin in range(0, length, 90):
            piece, state = prepared(x[row : row + 1, begin : min(begin + 90, length)], state)
            pieces.append(piece[0])
        np.testing.assert_allclose(outputs[row, :length], np.concatenate(pieces), rtol=2e-5, atol=2e-6)
        for found, right in zip(states(final), states(state), strict=True):
            np.testing.assert_allclose(found[:, row], right[:, 0], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize(("N", "lengths"), [(1, None), (5, [4, 1, 3, 4, 2])])
def test_tokens_are_the_rows_of_their_table(cell, stored, embedded, reverse, N, lengths):
    V, H = 11, 20
    layer = layer_of(cell, 6 if embedded else V, H)
    params, implementation = parameters_of(layer), layer.stack.cell
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, (N, 4))
    table = rng.standard_normal((V, 6), dtype=np.float32) if embedded else None
    x = (np.eye(V, dtype=np.float32) if table is None else table)[ids]
    packed = implementation.pack(params, FORMATS[stored])
    options = {"keep": False, "reverse": reverse, "packed": packed}
    expected, _, _ = implementation.forward(params, x, None, lengths, **options)
    found, _, _ = implementation.forward(params, None, None, lengths, tokens=(ids, table), **options)
    assert relative_error(found, expected) < (1e-2 if stored in ACTIVATIONS else 5e-6)


# ---------------------------------------------------------------- the steps of the formats


@UNEQUAL
def test_a_rounding_costs_no_more_than_half_a_step(stored, shape):
    """Of an RNN, whose tanh does not grow differences: z is off by no more than what its factors may be off."""
    layer = layer_of("rnn", shape[2], shape[3])
    x, h = draw("rnn", shape)
    params, x = {name: a.astype(np.float64) for name, a in parameters_of(layer).items()}, x[:, :1]
    allowed, z = np.full((shape[0], shape[3]), 1e-5), params["bias"]
    for weights, a in (balanced(stored, params["weight_ih"], x[:, 0]), (params["weight_hh"], h[0])):
        a = a.astype(np.float64)
        off = half_step(WEIGHTS[stored], weights), half_step(ACTIVATIONS.get(stored), a)
        allowed += (abs(a) + off[1]) @ off[0].T + off[1] @ abs(weights).T
        z = z + a @ weights.T
    outputs, _ = layer.prepare(FORMATS[stored])(x, h)
    assert np.all(abs(outputs[:, 0] - np.tanh(z)) <= allowed)


def half_step(rounding: Any, a: Host) -> Host:
    """The most by which a rounding to the nearest may change each number."""
    if rounding is None:
        return np.zeros_like(a)
    if rounding in (eight_bits, seven_bits):
        steps = 254 if rounding is eight_bits else 128
        return np.broadcast_to(abs(a).max(axis=1, keepdims=True) / steps, a.shape) * 1.001
    # 2^-25: below float16's normal numbers
    return abs(a) * 2.0 ** (-8 if rounding in (bfloat16, in_pairs) else -11) + 2.0**-25


@pytest.mark.parametrize("signs", ["alike", "apart", "of weights", "of inputs"])
@pytest.mark.parametrize("D", [1, 3, 64, 257])
def test_no_sum_of_products_saturates(stored, signs, D):
    """The largest whole numbers of all: in 16 bits, two products without a sign would not fit."""
    layer = layer_of("rnn", D, 17)
    weights, x = np.ones((17, D)), np.ones((3, 1, D), np.float32)
    if signs != "alike":
        rng = np.random.default_rng(0)
        weights *= 1 if signs == "of inputs" else rng.choice([-1, 1], weights.shape)
        x *= 1 if signs == "of weights" else rng.choice([-1, 1], x.shape)
    layer.parameters["weight_ih_l0"], layer.parameters["bias_l0"] = weights * 2.0**-10, np.zeros(17)
    outputs, _ = layer.prepare(FORMATS[stored])(x)
    expected = np.tanh(x[:, 0] @ WEIGHTS[stored](weights * 2.0**-10).T)
    np.testing.assert_allclose(outputs[:, 0], expected, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- what is not usual


@pytest.mark.parametrize("shape", [(1, 9, 8, 64), (1, 1, 64, 256), (3, 20, 64, 130), (40, 7, 20, 96)])
def test_the_same_bits_on_any_number_of_threads(cell, stored, shape, threads):
    layer = layer_of(cell, shape[2], shape[3])
    call, (x, state) = layer.prepare(FORMATS[stored]), draw(cell, shape)
    found = []
    for number in (1, 2, 5):
        for cores in ("near", "apart"):
            cpu.set_threads(number)
            cpu.force_cores(cores)
            outputs, final = call(x, state)
            found.append([outputs, *halves(final)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("N", [1, 8])
def test_what_is_not_finite_stays_in_its_row(cell, stored, N):
    layer = layer_of(cell, 6, 21)
    call, (x, state) = layer.prepare(FORMATS[stored]), draw(cell, (N, 5, 6, 21))
    expected, _ = call(x, state)
    x[0, 2, 3] = np.nan
    outputs, _ = call(x, state)
    np.testing.assert_array_equal(outputs[1:], expected[1:])
    np.testing.assert_array_equal(outputs[0, :2], expected[0, :2])
    assert np.isnan(outputs[0, 2:]).all()


def test_int8_makes_NaN_of_infinity(cell, stored):
    """There is no scale for it."""
    if FORMATS[stored] != "int8":
        pytest.skip("of int8 alone")
    layer = layer_of(cell, 6, 21)
    x, state = draw(cell, (2, 5, 6, 21))
    x[1, 3, 2] = -np.inf
    outputs, _ = layer.prepare("int8")(x, state)
    assert np.isnan(outputs[1, 3:]).all()
    assert np.isfinite(outputs[0]).all()


@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-20, 1e4])
def test_inputs_of_any_size(cell, stored, size):
    layer = layer_of(cell, 5, 12)
    x, state = draw(cell, (3, 1, 5, 12))
    x *= np.float32(size)
    _, final = layer.prepare(FORMATS[stored])(x, state)
    expected = next_state(cell, parameters_of(layer), stored, x[:, 0], halves(state))
    for found, right in zip(halves(final), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=5e-6)


def test_rows_of_zeros_in_the_weights(cell, stored):
    layer = layer_of(cell, 5, 12)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        values = np.array(layer.parameters[name])
        values[::2] = 0
        layer.parameters[name] = values
    x, state = draw(cell, (3, 1, 5, 12))
    _, final = layer.prepare(FORMATS[stored])(x, state)
    expected = next_state(cell, parameters_of(layer), stored, x[:, 0], halves(state))
    for found, right in zip(halves(final), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0, 1e3])
def test_a_feature_in_other_units_costs_nothing(cell, stored, size):
    """Its weights make up for it: in float32 nothing changes."""
    layer = layer_of(cell, 8, 32)
    x, _ = draw(cell, (4, 6, 8, 32))
    true = LAYERS[cell](8, 32, device="cpu", dtype="float64", kernels="reference")
    for name, values in layer.parameters.items():
        true.parameters[name] = values
    expected, _ = true(x.astype(np.float64))
    weights = np.array(layer.parameters["weight_ih_l0"])
    weights[:, 3] /= np.float32(size)
    layer.parameters["weight_ih_l0"] = weights
    x[:, :, 3] *= np.float32(size)
    assert relative_error(layer.prepare(FORMATS[stored])(x)[0], expected) < BOUNDS[stored]


def test_a_pair_has_no_denormal_numbers(monkeypatch):
    """Some CPUs multiply slowly with them, and rows of zeros are what pruning makes."""
    for target in TARGETS:
        monkeypatch.setattr(cpu, "target", usable_target(target))
        monkeypatch.setitem(compiled.FORMATS, "bfloat16", ("bfloat16",))
        monkeypatch.setattr(compiled, "AS_FLOAT32", {})
        layer = xlstm.RNN(2, 16, device="cpu")
        for name, values in layer.parameters.items():
            layer.parameters[name] = np.zeros(values.shape)
        layer.parameters["weight_ih_l0"] = np.tile([1.7, 0.0], (16, 1))
        outputs, _ = layer.prepare("bfloat16")(np.array([[[0.0, 1.0]]], np.float32))
        assert np.all((outputs == 0) | (outputs >= np.finfo(np.float32).tiny))
        assert np.all(outputs < 1e-37)


# ---------------------------------------------------------------- what stays float32


@pytest.mark.parametrize(("target", "name"), [(t, name) for t, most in compiled.AS_FLOAT32.items() for name in most])
def test_small_weights_are_float32_of_rounded_values(cell, target, name, monkeypatch):
    monkeypatch.setattr(cpu, "target", usable_target(target))
    if name not in cpu.find_cell(cell, "float32").formats:
        pytest.skip(f"this CPU has no instructions for {name}")
    monkeypatch.setitem(compiled.FORMATS, FORMATS[name], (name,))
    layer = layer_of(cell, 6, 21)
    x, state = draw(cell, (3, 5, 6, 21))
    found, _ = layer.prepare(FORMATS[name])(x, state)
    rounding = {"bfloat16": bfloat16, "float16": WEIGHTS["float16"]}.get(name, eight_bits)
    for weights in ("weight_ih_l0", "weight_hh_l0"):
        layer.parameters[weights] = rounding(np.array(layer.parameters[weights]))
    expected, _ = layer.prepare()(x, state)
    assert relative_error(found, expected) < 1e-6


# ---------------------------------------------------------------- what users see


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    """Each precision, where the CPU has it."""
    usable_target(cpu.target or "compiled")
    if cpu.find_cell("lstm", "float32").format_of(request.param) is None:
        pytest.skip(f"this CPU has no {request.param}")
    return str(request.param)


def test_a_prepared_layer_travels_with_its_precision(precision):
    layer = layer_of("lstm", 4, 8)
    call, (x, state) = layer.prepare(precision), draw("lstm", (2, 3, 4, 8))
    again = pickle.loads(pickle.dumps(call))
    assert repr(again) == repr(call)
    assert precision in repr(call)
    np.testing.assert_array_equal(again(x, state)[0], call(x, state)[0])


@pytest.mark.parametrize("kind", ["texts", "series"])
def test_a_prepared_estimator_answers_nearly_as_it_does(precision, kind):
    rng = np.random.default_rng(0)
    if kind == "texts":
        X = ["".join(rng.choice(list("abc") if k % 2 else list("cde"), rng.integers(3, 9))) for k in range(40)]
    else:
        X = [rng.standard_normal((rng.integers(3, 9), 2)) + k % 2 for k in range(40)]
    y = ["odd" if k % 2 else "even" for k in range(40)]
    clf = xlstm.SequenceClassifier(hidden_size=16, max_iter=20, device="cpu", random_state=0).fit(X, y)
    prepared, usual = clf.prepare(precision), clf.predict_proba(X)
    assert f"weights in {precision}" in repr(prepared)
    assert 0 < abs(prepared(X) - usual).max() < 0.05
    stream = prepared.stream()
    for part in (X[0][:2], X[0][2:]):
        probabilities = stream.feed(part)
    np.testing.assert_allclose(probabilities, prepared(X[:1])[0], atol=0.02)


def test_what_cannot_be_stored_is_refused(precision):
    with pytest.raises(ValueError, match=r"precision='\w+' is for float32, this is float64"):
        xlstm.LSTM(3, 4, dtype="float64", device="cpu").prepare(precision)
    with pytest.raises(RuntimeError, match=rf"precision='{precision}' needs compiled kernels .* array code on the CPU"):
        xlstm.LSTM(3, 4, device="cpu", kernels="reference").prepare(precision)
    clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cpu", kernels="reference")
    with pytest.raises(RuntimeError, match=f"precision='{precision}' needs compiled kernels"):
        clf.fit(["ab", "cd", "ab", "cd"], [0, 1, 0, 1]).prepare(precision)
    with pytest.raises(ValueError, match="one of 'bfloat16', 'float16', 'int8'; got 'int4'"):
        clf.prepare("int4")


def test_weights_that_float16_does_not_reach_are_refused(precision):
    layer = xlstm.LSTM(3, 4, device="cpu")
    layer.parameters["weight_hh_l0"] = np.full((16, 4), 7e4)
    if precision == "float16":
        with pytest.raises(ValueError, match="a weight is above 65504"):
            layer.prepare(precision)
    else:
        assert np.isfinite(layer.prepare(precision)(np.zeros((1, 2, 3), np.float32))[0]).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(precision, value):
    layer = xlstm.GRU(3, 4, device="cpu")
    layer.parameters["weight_ih_l0"] = np.full((12, 3), value)
    with pytest.raises(ValueError, match=f"a weight is not finite, and precision='{precision}'"):
        layer.prepare(precision)


def test_weights_that_bfloat16_does_not_reach_are_refused(precision):
    layer = xlstm.LSTM(3, 4, device="cpu")
    layer.parameters["weight_hh_l0"] = np.full((16, 4), 3.4e38)
    if precision == "int8":
        layer.prepare(precision)
    else:
        with pytest.raises(ValueError, match=f"the largest of {precision}"):
            layer.prepare(precision)


def test_a_form_without_kernels_says_so(precision):
    with pytest.raises(RuntimeError, match="no compiled kernels of the gru_reset_before cell"):
        xlstm.GRU(3, 4, reset_after=False, device="cpu").prepare(precision)


def test_sse2_has_no_int8(monkeypatch):
    monkeypatch.setattr(cpu, "target", usable_target("sse2"))
    for precision in ("int8", "float16"):
        with pytest.raises(RuntimeError, match=r"on a CPU with AVX2.*sse2 kernels on the CPU"):
            xlstm.LSTM(3, 4, device="cpu").prepare(precision)
