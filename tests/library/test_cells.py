# Longer than 500 lines: the tests of one source file stand in one file.
"""The pure functions of the cells, on every array library, against plain loops in float64 (`tests/oracle.py`)."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlstm import cells
from xlstm.batch import Lengths
from xlstm.cells.sequence import Order, check_lengths
from xlstm.namespace import array_namespace

from .. import oracle
from ..conftest import Library
from ..measure import FORWARD, check, check_forward, check_gradients, gradient_errors, relative_error
from ..peers import peer

NUMPY = Library("numpy")
RAGGED = [3, 5, 1, 4]


@pytest.fixture(params=list(cells.CELLS))
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["numpy", "strict", "torch"])
def writable(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each array library, its arrays writable."""
    library = Library(request.param)
    library.asarray(0.0)  # skips where it is missing
    with library.strictest():
        yield library


class Case(NamedTuple):
    """The arguments of one forward and one backward call, on the host; None where one is left out."""

    cell: str
    params: dict[str, Any]
    x: Any
    state: dict[str, Any]
    lengths: Any
    d_outputs: Any
    d_state: dict[str, Any]

    @property
    def dtype(self) -> str:
        return str(self.x.dtype)

    def valid(self) -> Any:
        """(N, T), which steps are not padding."""
        N, T = self.x.shape[:2]
        return np.arange(T) < np.full((N, 1), T) if self.lengths is None else np.arange(T) < np.c_[self.lengths]


def make(
    cell: str,
    dtype: str = "float64",
    shape: tuple[int, int, int, int] = (4, 6, 3, 2),
    lengths: Any = RAGGED,
    absent: str = "",
    seed: int = 0,
    scale: float = 0.5,
) -> Case:
    """A random case (N, T, D, H), rounded to `dtype`. `absent` names what is None: h, c, d_outputs, dh, dc."""
    rng = np.random.default_rng(seed)
    N, T, D, H = shape
    missing = absent.split()
    params = oracle.of_cell(oracle.random_parameters(rng, cell, D, H, scale=scale), "l0")

    def drawn(name: str, *sizes: int) -> Any:
        values = rng.normal(size=sizes).astype(dtype)
        return None if name in missing else values

    return Case(
        cell,
        {name: values.astype(dtype) for name, values in params.items()},
        drawn("x", N, T, D),
        {name: drawn(name, N, H) for name in oracle.STATES[cell]},
        lengths,
        drawn("d_outputs", N, T, H),
        {name: drawn(f"d{name}", N, H) for name in oracle.STATES[cell]},
    )


class Given(NamedTuple):
    """A case in an array library, as the cells take it."""

    params: dict[str, Any]
    x: Any
    state: Any
    d_outputs: Any
    d_state: Any

    def arrays(self) -> list[Any]:
        """Everything but the parameters."""
        return [
            array for array in (self.x, *flat(self.state), self.d_outputs, *flat(self.d_state)) if array is not None
        ]


def flat(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def hand_over(case: Case, library: Library, padding: float = np.nan) -> Given:
    """The case's arrays in `library`, with `padding` wherever a row has ended."""

    def put(values: Any, padded: bool = False) -> Any:
        if values is None:
            return None
        return library.asarray(np.where(case.valid()[:, :, None], values, padding) if padded else values, case.dtype)

    def put_state(state: dict[str, Any]) -> Any:
        return cells.CELLS[case.cell].join(tuple(put(values) for values in state.values()))

    params = {name: put(values) for name, values in case.params.items()}
    return Given(params, put(case.x, True), put_state(case.state), put(case.d_outputs, True), put_state(case.d_state))


def forward(case: Case, arrays: Given, **options: Any) -> Any:
    return cells.CELLS[case.cell].forward(arrays.params, arrays.x, arrays.state, case.lengths, **options)


def backward(case: Case, arrays: Given, tape: Any, *options: Any, **named: Any) -> Any:
    return cells.CELLS[case.cell].backward(arrays.params, tape, arrays.d_outputs, arrays.d_state, *options, **named)


def named(cell: str, prefix: str, state: Any) -> dict[str, Any]:
    return {f"{prefix}{name}": values for name, values in zip(oracle.STATES[cell], flat(state), strict=True)}


def forward_arrays(case: Case, outputs: Any, state: Any) -> dict[str, Any]:
    return {"outputs": outputs, **named(case.cell, "", state)}


def gradient_arrays(case: Case, dx: Any, d_state: Any, d_params: Any) -> dict[str, Any]:
    return {"dx": dx, **named(case.cell, "d", d_state), **d_params}


def truth(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the oracle says: the results of forward, and all gradients, by the names of the functions above."""

    def stacked(state: dict[str, Any]) -> dict[str, Any]:
        return {name: None if values is None else values[None] for name, values in state.items()}

    arguments = (case.cell, oracle.as_layer(case.params), case.x, stacked(case.state), case.lengths)
    result = oracle.forward(*arguments)
    gradients = oracle.backward(*arguments, case.d_outputs, stacked(case.d_state))
    return (
        {"outputs": result.outputs, **{name: values[0] for name, values in result.state.items()}},
        {
            "dx": gradients.x,
            **{f"d{name}": values[0] for name, values in gradients.state.items()},
            **{name.removesuffix("_l0"): values for name, values in gradients.parameters.items()},
        },
    )


def on_host(library: Library, arrays: dict[str, Any]) -> dict[str, Any]:
    """Copies."""
    return {name: np.array(library.to_host(array)) for name, array in arrays.items()}


def assert_like(arrays: dict[str, Any], example: Any) -> None:
    """Of the same library and dtype, on the same device."""
    for name, array in arrays.items():
        assert type(array) is type(example), name
        assert array.dtype == example.dtype, name
        assert array.device == example.device, name


def assert_case(case: Case, library: Library, floor: float = 0.0) -> None:
    """Forward and backward of this case in this library agree with the oracle."""
    arrays = hand_over(case, library)
    outputs, state, tape = forward(case, arrays)
    dx, d_state, d_params = backward(case, arrays, tape)
    results, gradients = forward_arrays(case, outputs, state), gradient_arrays(case, dx, d_state, d_params)
    assert_like(results, arrays.x)
    assert_like(gradients, arrays.x)
    results, gradients = on_host(library, results), on_host(library, gradients)
    expected_results, expected_gradients = truth(case)
    check_forward(results, expected_results, case.dtype, floor)
    check_gradients(gradients, expected_gradients, case.dtype)
    assert not results["outputs"][~case.valid()].any()
    assert not gradients["dx"][~case.valid()].any()


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """To the last bit."""
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


# ---------------------------------------------------------------- the cells' own equations, by complex steps


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 5, 1]])
def test_backward_is_the_derivative_of_forward_to_1e_12(cell, lengths, reverse, monkeypatch):
    """The imaginary part of f(p + ih) / h, which has no difference to lose digits in: of every number that enters.

    Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions" (1998). `forward` runs as it
    is, on complex numbers; only the check that refuses them is left out.
    """

    def unchecked(xp: Any, cell: Any, params: Any, x: Any, lengths: Any, *_: Any) -> Order:
        return Order(xp, check_lengths(lengths, *x.shape[:2]), *x.shape[:2], x.device)

    case = make(cell, shape=(3, 5, 2, 3), lengths=lengths, scale=1.0)
    arrays = hand_over(case, NUMPY, padding=0.0)
    _, _, tape = forward(case, arrays, reverse=reverse)
    gradients = gradient_arrays(case, *backward(case, arrays, tape))
    monkeypatch.setattr(cells.walk, "check_input", unchecked)

    given = {"dx": case.x, **{f"d{name}": values for name, values in case.state.items()}, **case.params}
    given = {name: values.astype(complex) for name, values in given.items()}
    states, step = tuple(given[f"d{name}"] for name in case.state), 1e-30

    def loss() -> Any:
        state = states if len(states) > 1 else states[0]
        outputs, final, _ = cells.CELLS[cell].forward(given, given["dx"], state, lengths, reverse=reverse)
        by_state = zip(flat(final), case.d_state.values(), strict=True)
        return np.sum(outputs * case.d_outputs) + sum(np.sum(values * d) for values, d in by_state)

    expected = {}
    for name, values in given.items():
        expected[name] = np.zeros(values.shape)
        for index in np.ndindex(values.shape):
            real = values[index]
            values[index] += 1j * step
            expected[name][index] = loss().imag / step
            values[index] = real
    check(gradient_errors(gradients, expected), 1e-12)


# ---------------------------------------------------------------- the oracle itself


@pytest.mark.parametrize("directions", [1, 2])
def test_the_oracles_backward_is_the_derivative_of_its_forward(cell, directions):
    """Complex steps need no backward pass: to the last digits, for every parameter, input and state."""
    rng = np.random.default_rng(5)
    parameters = oracle.random_parameters(rng, cell, D=2, H=2, layers=2, directions=directions)
    shape = (2 * directions, 3, 2)
    state = {name: rng.normal(size=shape) for name in oracle.STATES[cell]}
    d_state = {name: rng.normal(size=shape) for name in oracle.STATES[cell]}
    x, d_outputs = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2 * directions))
    arguments = (cell, parameters, x, state, [4, 1, 3], d_outputs, d_state)
    by_hand, by_steps = oracle.backward(*arguments), oracle.complex_step_gradients(*arguments)
    assert relative_error(by_hand.x, by_steps.x) < 1e-14
    for name in parameters:
        assert relative_error(by_hand.parameters[name], by_steps.parameters[name]) < 1e-14, name
    for name in state:
        assert relative_error(by_hand.state[name], by_steps.state[name]) < 1e-14, name


def test_the_cell_is_not_the_one_with_tanh_of_the_old_cell_state(dtype):
    """A common fault, h = o * tanh(c_old), is differentiable and learns a little: only a comparison finds it."""
    case = make("lstm", dtype, lengths=None)
    faulty = np.zeros((4, 6, 2))
    for n in range(4):
        h, c = case.state["h"][n].astype(float), case.state["c"][n].astype(float)
        for t in range(6):
            c_old = c
            _, c = oracle.lstm_step(case.params, case.x[n, t], h, c)
            o = oracle.sigmoid(oracle.gate_inputs(case.params, case.x[n, t], h, 3))
            h = o * np.tanh(c_old)
            faulty[n, t] = h
    outputs, _, _ = forward(case, hand_over(case, NUMPY))
    assert relative_error(outputs, faulty) > 0.1

    # After one step from zero the faulty cell answers 0 whatever the input is; the true one does not.
    outputs, _, _ = cells.lstm.forward(case.params, case.x[:, :1])
    assert np.abs(outputs).min() > 1e-4


# ---------------------------------------------------------------- against the oracle


def sizes(largest: int) -> st.SearchStrategy[int]:
    """1 is where shapes go wrong: as frequent as all the others together."""
    return st.one_of(st.just(1), st.integers(1, largest))


@st.composite
def cases(draw: Any, cell: str, dtype: str) -> Case:
    N, T, D, H = draw(sizes(5)), draw(sizes(12)), draw(sizes(4)), draw(sizes(4))
    lengths = draw(st.one_of(st.none(), st.just([T] * N), st.lists(st.integers(1, T), min_size=N, max_size=N)))
    absent = [name for name in ("h", "c", "d_outputs", "dh", "dc") if draw(st.booleans())]
    return make(cell, dtype, (N, T, D, H), lengths, " ".join(absent), seed=draw(st.integers(0, 2**32 - 1)))


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_shape_length_and_absence_agrees_with_the_oracle(xp, cell, dtype, data):
    # A single number may be the small difference of terms of order 1: it is measured against a tenth.
    assert_case(data.draw(cases(cell, dtype)), xp, floor=0.1)


@pytest.mark.parametrize("lengths", [None, RAGGED, [6, 6, 6, 6], [1, 1, 1, 1], [2, 2, 1, 2], [6, 1, 1, 1]])
def test_every_kind_of_length(xp, cell, dtype, lengths):
    assert_case(make(cell, dtype, lengths=lengths), xp)


@pytest.mark.parametrize("shape", [(6, 12, 7, 5), (3, 8, 1, 1), (1, 30, 2, 3)])
def test_more_steps_and_features(xp, cell, dtype, shape):
    lengths = np.random.default_rng(1).integers(1, shape[1] + 1, size=shape[0])
    for row_lengths in (lengths, None):
        assert_case(make(cell, dtype, shape, row_lengths), xp)


@pytest.mark.parametrize("device", ["strict-no-float64", "strict-no-x64"])
def test_float32_needs_nothing_of_64_bits(cell, device):
    library = Library(device)
    try:
        library.asarray(0, "float32")
    except ValueError:
        pytest.skip(f"this version of array-api-strict has no device for {device}")
    with library.strictest():
        assert_case(make(cell, "float32"), library)


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda n: np.array(n, np.uint8), lambda n: map(int, n)])
def test_lengths_are_any_sequence_of_integers(cell, kind):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    outputs, state, _ = forward(case._replace(lengths=kind(RAGGED)), arrays)
    check_forward(forward_arrays(case, outputs, state), truth(case)[0], "float64")


def test_any_memory_layout_is_fine(cell):
    """Strides of every kind: transposed, reversed, every second."""
    case = make(cell)

    def strided(array: Any) -> Any:
        if array is None:
            return None
        larger = np.full(tuple(2 * n for n in array.shape[::-1]), np.nan)
        view = larger[(slice(None, None, -2),) * array.ndim].T
        view[...] = array
        return view

    plain = hand_over(case, NUMPY)
    arrays = Given(
        {name: strided(array) for name, array in plain.params.items()},
        strided(plain.x),
        tuple(map(strided, plain.state)) if cell == "lstm" else strided(plain.state),
        strided(plain.d_outputs),
        tuple(map(strided, plain.d_state)) if cell == "lstm" else strided(plain.d_state),
    )
    outputs, state, tape = forward(case, arrays)
    expected_results, expected_gradients = truth(case)
    check_forward(forward_arrays(case, outputs, state), expected_results, "float64")
    check_gradients(gradient_arrays(case, *backward(case, arrays, tape)), expected_gradients, "float64")


@pytest.mark.parametrize("column", [None, 0, 1, 2])
@pytest.mark.parametrize("lengths", [None, RAGGED])
def test_columns_of_wider_arrays(cell, lengths, column):
    """As two directions share them: nothing else is written, and nothing else is read."""
    case = make(cell, lengths=lengths)
    arrays = hand_over(case, NUMPY)
    begin = {} if column is None else {"column": column}
    here = slice(column or 0, (column or 0) + 2)  # of H = 2
    wide = np.zeros((4, 6, 4))
    outputs, state, tape = forward(case, arrays, out=wide, **begin)
    assert outputs is wide
    expected, gradients = truth(case)
    check_forward(forward_arrays(case, wide[:, :, here], state), expected, "float64")
    assert not np.delete(wide, here, axis=2).any()
    d_wide = np.full((4, 6, 4), np.nan)
    d_wide[:, :, here] = arrays.d_outputs
    found = backward(case, arrays._replace(d_outputs=d_wide), tape, column=column or 0)
    check_gradients(gradient_arrays(case, *found), gradients, "float64")


@pytest.mark.parametrize("absent", ["", "h c"])
def test_what_is_left_out_changes_nothing_else(cell, absent):
    case = make(cell, absent=absent)
    arrays = hand_over(case, NUMPY)
    none, state, tape = forward(case, arrays, outputs=False)
    expected, gradients = truth(case)
    assert none is None
    check_forward(named(cell, "", state), named(cell, "", tuple(expected[s] for s in oracle.STATES[cell])), "float64")
    dx, d_state, d_params = backward(case, arrays, tape, state_gradient=False)
    assert d_state is None
    found = {"dx": dx, **d_params}
    check_gradients(found, {name: gradients[name] for name in found}, "float64")
    dx, d_state, d_params = backward(case, arrays, tape, input_gradient=False)
    assert dx is None
    found = {**named(cell, "d", d_state), **d_params}
    check_gradients(found, {name: gradients[name] for name in found}, "float64")


def test_torch_tensors_that_require_a_gradient(cell):
    """Parameters of a torch module come so; autograd must neither be needed nor be in the way."""
    torch = peer("torch")
    case = make(cell)
    arrays = hand_over(case, Library("torch"))
    with torch.no_grad():
        params = {name: torch.nn.Parameter(values) for name, values in arrays.params.items()}
        outputs, state, tape = forward(case, arrays._replace(params=params))
        gradients = backward(case, arrays._replace(params=params), tape)
    expected_results, expected_gradients = truth(case)
    check_forward(forward_arrays(case, outputs, state), expected_results, "float64")
    check_gradients(gradient_arrays(case, *gradients), expected_gradients, "float64")


# ---------------------------------------------------------------- what comes out


def test_the_final_state_is_the_output_of_the_last_valid_step(xp, cell):
    case = make(cell, "float32")
    outputs, state, _ = forward(case, hand_over(case, xp))
    outputs, h = xp.to_host(outputs), xp.to_host(flat(state)[0])
    for row, length in enumerate(RAGGED):
        np.testing.assert_array_equal(h[row], outputs[row, length - 1])
        assert not outputs[row, length:].any()


def test_padding_never_matters(xp, cell, dtype):
    """Not even in the last bit: whatever stands there gives the same results."""
    case = make(cell, dtype)
    results = []
    for padding in (0.0, 1e30, np.inf, np.nan):
        arrays = hand_over(case, xp, padding)
        outputs, state, tape = forward(case, arrays)
        gradients = gradient_arrays(case, *backward(case, arrays, tape))
        results.append(on_host(xp, {**forward_arrays(case, outputs, state), **gradients}))
    for other in results[1:]:
        assert_same(other, results[0])


def test_padding_may_be_as_long_as_it_likes(cell):
    """Steps after the longest row's end change nothing but the shape."""
    case = make(cell, shape=(4, 5, 3, 2))
    arrays = hand_over(case, NUMPY)
    outputs, state, tape = forward(case, arrays)
    dx, d_state, d_params = backward(case, arrays, tape)

    def longer(array: Any) -> Any:
        return np.concatenate([array, np.full((4, 9, array.shape[2]), np.nan)], axis=1)

    arrays = arrays._replace(x=longer(arrays.x), d_outputs=longer(arrays.d_outputs))
    longer_outputs, longer_state, tape = forward(case, arrays)
    longer_dx, longer_d_state, longer_d_params = backward(case, arrays, tape)
    assert longer_outputs.shape == (4, 14, 2)
    assert not longer_outputs[:, 5:].any()
    assert not longer_dx[:, 5:].any()
    assert_same(forward_arrays(case, longer_outputs[:, :5], longer_state), forward_arrays(case, outputs, state))
    assert_same(
        gradient_arrays(case, longer_dx[:, :5], longer_d_state, longer_d_params),
        gradient_arrays(case, dx, d_state, d_params),
    )


def test_without_a_gradient_of_the_results_all_gradients_are_zero(xp, cell):
    case = make(cell, absent="d_outputs dh dc")
    arrays = hand_over(case, xp)
    _, _, tape = forward(case, arrays)
    for d_state in (arrays.d_state, None):
        gradients = gradient_arrays(case, *backward(case, arrays._replace(d_state=d_state), tape))
        assert_like(gradients, arrays.x)
        for name, values in on_host(xp, gradients).items():
            assert not values.any(), name


def test_many_to_one_is_many_to_many_with_one_gradient(xp, cell):
    """dh of the final state is the gradient of the output at each row's last valid step."""
    case = make(cell, absent="dc")
    arrays = hand_over(case, xp)
    at_last_step = np.zeros((4, 6, 2))
    for row, length in enumerate(RAGGED):
        at_last_step[row, length - 1] = case.d_state["h"][row]
    _, _, tape = forward(case, arrays)
    one = backward(case, arrays._replace(d_outputs=None), tape)
    many = backward(case, arrays._replace(d_outputs=xp.asarray(at_last_step), d_state=None), tape)
    check_gradients(on_host(xp, gradient_arrays(case, *one)), on_host(xp, gradient_arrays(case, *many)), "float64")


def test_no_input_gradient_is_None_and_changes_no_other(xp, cell):
    case = make(cell)
    arrays = hand_over(case, xp)
    _, _, tape = forward(case, arrays)
    _, d_state, d_params = backward(case, arrays, tape)
    dx, d_state_without, d_params_without = backward(case, arrays, tape, False)
    assert dx is None
    assert_same(
        on_host(xp, {**named(cell, "d", d_state_without), **d_params_without}),
        on_host(xp, {**named(cell, "d", d_state), **d_params}),
    )


def test_keep_false_keeps_nothing_and_gives_the_same(xp, cell):
    case = make(cell, "float32")
    arrays = hand_over(case, xp)
    outputs, state, _ = forward(case, arrays)
    light_outputs, light_state, tape = forward(case, arrays, keep=False)
    assert tape is None
    none, lightest_state, _ = forward(case, arrays, keep=False, outputs=False)
    assert none is None
    assert_same(on_host(xp, named(cell, "", lightest_state)), on_host(xp, named(cell, "", state)))
    assert_same(
        on_host(xp, forward_arrays(case, light_outputs, light_state)),
        on_host(xp, forward_arrays(case, outputs, state)),
    )


def test_into_is_added_to_or_overwritten_and_returned(xp, cell, dtype):
    case = make(cell, dtype)
    arrays = hand_over(case, xp)
    start = {name: np.full(values.shape, 0.5, dtype) for name, values in case.params.items()}
    into = {name: (NUMPY if xp.name.startswith("numpy") else xp).asarray(values) for name, values in start.items()}
    _, _, tape = forward(case, arrays)
    _, _, d_params = backward(case, arrays, tape)
    for times in (1, 2):
        _, _, returned = backward(case, arrays, tape, into=into)
        assert returned == into or all(returned[name] is into[name] for name in into)
        for name, values in into.items():
            expected = start[name] + times * xp.to_host(d_params[name]).astype(np.float64)
            assert relative_error(xp.to_host(values), expected) < FORWARD[dtype], name
    for values in into.values():
        values[...] = float("nan")
    backward(case, arrays, tape, into=into, accumulate=False)
    for name, values in into.items():
        np.testing.assert_array_equal(xp.to_host(values), xp.to_host(d_params[name]))


# ---------------------------------------------------------------- nothing disturbs a tape, or what was handed out


def spoil(arrays: Any) -> None:
    for array in arrays:
        array[...] = float("nan")


def test_arguments_are_left_as_they_were(xp, cell):
    case = make(cell, "float32")
    arrays = hand_over(case, xp)
    before = [np.array(xp.to_host(array)) for array in [*arrays.arrays(), *arrays.params.values()]]
    _, _, tape = forward(case, arrays)
    backward(case, arrays, tape)
    after = [xp.to_host(array) for array in [*arrays.arrays(), *arrays.params.values()]]
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(now, was)


@pytest.mark.parametrize(("shape", "lengths"), [((4, 6, 3, 2), RAGGED), ((4, 6, 3, 2), None), ((1, 1, 1, 1), None)])
def test_a_tape_is_not_disturbed_by_anything_that_follows(writable, cell, shape, lengths):
    """Another forward call, the same backward call before, and writes to every array that went in or came out."""
    case = make(cell, shape=shape, lengths=lengths)
    arrays = hand_over(case, writable)
    outputs, state, tape = forward(case, arrays)
    first = backward(case, arrays, tape)
    expected = on_host(writable, gradient_arrays(case, *first))

    other = make(cell, shape=shape, lengths=lengths, seed=7)
    _, _, other_tape = forward(other, hand_over(other, writable)._replace(params=arrays.params))
    assert_same(on_host(writable, gradient_arrays(case, *backward(case, arrays, tape))), expected)

    spoil([outputs, *flat(state), arrays.x, *flat(arrays.state)])
    dx, d_state, d_params = first
    spoil([dx, *flat(d_state), *d_params.values()])
    assert_same(on_host(writable, gradient_arrays(case, *backward(case, arrays, tape))), expected)
    assert other_tape is not tape


def test_what_was_handed_out_never_changes(writable, cell):
    case = make(cell)
    arrays = hand_over(case, writable)
    outputs, state, tape = forward(case, arrays)
    results = forward_arrays(case, outputs, state)
    handed_out = on_host(writable, results)
    gradients = gradient_arrays(case, *backward(case, arrays, tape))
    handed_gradients = on_host(writable, gradients)
    _, _, second_tape = forward(case._replace(lengths=None), arrays._replace(x=writable.asarray(case.x[:, ::-1])))
    backward(case, arrays._replace(d_outputs=writable.asarray(case.x[:, :, :2])), second_tape)
    spoil([*arrays.arrays(), *arrays.params.values()])
    assert_same(on_host(writable, results), handed_out)
    assert_same(on_host(writable, gradients), handed_gradients)


def test_parameters_written_between_two_calls_are_seen(writable, cell):
    case, other = make(cell), make(cell, seed=3)
    arrays = hand_over(case, writable)
    forward(case, arrays)
    for name, values in other.params.items():
        arrays.params[name][...] = writable.asarray(values)
    outputs, state, tape = forward(case, arrays)
    gradients = backward(case, arrays, tape)
    expected_results, expected_gradients = truth(case._replace(params=other.params))
    check_forward(on_host(writable, forward_arrays(case, outputs, state)), expected_results, "float64")
    check_gradients(on_host(writable, gradient_arrays(case, *gradients)), expected_gradients, "float64")


# ---------------------------------------------------------------- tokens


def add_rows(target: Any, ids: Any, rows: Any) -> None:
    """One row at a time, in any library: what each backend brings in a faster form."""
    for k in range(ids.shape[0]):
        target[int(ids[k]), :] += rows[k, :]


@pytest.mark.parametrize("lengths", [RAGGED, None])
@pytest.mark.parametrize("one_hot", [False, True])
def test_tokens_are_the_rows_of_their_table(xp, cell, dtype, one_hot, lengths):
    """Equal to the dense features in everything, the table's gradient included; ids in the padding may be anything."""
    vocabulary = 3 if one_hot else 5
    case = make(cell, dtype, lengths=lengths)
    rng = np.random.default_rng(2)
    ids = rng.integers(0, vocabulary, (4, 6))
    table = np.eye(3, dtype=dtype) if one_hot else rng.normal(size=(vocabulary, 3)).astype(dtype)
    dense = case._replace(x=table[ids])
    given_ids = xp.asarray(np.where(case.valid(), ids, rng.choice([-5, 10**6], (4, 6))))
    tokens = (given_ids, None if one_hot else xp.asarray(table))
    arrays = hand_over(dense, xp)._replace(x=None)
    outputs, state, tape = forward(dense, arrays, tokens=tokens)
    if xp.name != "numpy-readonly":
        given_ids[...] = 0  # the tape is not to change with the caller's array
    d_table, d_state, d_params = backward(dense, arrays, tape, add_rows=add_rows)

    results = forward_arrays(case, outputs, state)
    assert_like(results, arrays.params["bias"])
    expected_results, expected = truth(dense)
    check_forward(on_host(xp, results), expected_results, dtype)
    dx = expected.pop("dx")
    gradients = {**named(cell, "d", d_state), **d_params}
    if one_hot:
        assert d_table is None
    else:
        gradients["table"] = d_table
        expected["table"] = np.zeros((vocabulary, 3))
        np.add.at(expected["table"], ids, dx)
    assert_like(gradients, arrays.params["bias"])
    check_gradients(on_host(xp, gradients), expected, dtype)

    without = backward(dense, arrays, tape, False, add_rows=add_rows)
    assert without[0] is None
    assert_same(
        on_host(xp, {**named(cell, "d", without[1]), **without[2]}),
        on_host(xp, {**named(cell, "d", d_state), **d_params}),
    )


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (3, 4)])
def test_token_ids_may_be_written_to_after_the_call(writable, cell, shape):
    """With one row, or one step, the ids need no reordering: they have to be copied all the same."""
    params = {name: writable.asarray(values) for name, values in make(cell).params.items()}
    ids = writable.asarray(np.random.default_rng(0).integers(0, 3, shape))
    outputs, _, tape = cells.CELLS[cell].forward(params, None, tokens=(ids, None))
    found = []
    for _ in range(2):
        _, _, d_params = cells.CELLS[cell].backward(params, tape, outputs, add_rows=add_rows)
        found.append(on_host(writable, d_params))
        ids[...] = 0
    assert_same(found[1], found[0])


# ---------------------------------------------------------------- the ends of the number range


@pytest.mark.parametrize("bias", [-60.0, -30.0, -5.0, 5.0, 30.0, 60.0])
@pytest.mark.parametrize("gate", range(4))
def test_a_gate_that_is_shut_or_wide_open(gate, bias):
    case = make("lstm")
    case.params["bias"][2 * gate : 2 * gate + 2] = bias
    assert_case(case, NUMPY)  # relative to each array, however small: an output of 1e-26 has all its digits


@pytest.mark.parametrize("bias", [-60.0, 60.0])
def test_all_gates_shut_or_wide_open(xp, dtype, bias):
    case = make("lstm", dtype)
    case.params["bias"][...] = bias
    arrays = hand_over(case, xp)
    outputs, state, tape = forward(case, arrays)
    gradients = gradient_arrays(case, *backward(case, arrays, tape))
    for name, values in on_host(xp, {**forward_arrays(case, outputs, state), **gradients}).items():
        assert np.isfinite(values).all(), name
    check_gradients(on_host(xp, gradients), truth(case)[1], dtype)


def test_a_nearly_shut_output_gate_keeps_its_digits_in_float32(xp):
    """1 - sigmoid(-z), or tanh for sigmoid, would leave none of them at -20."""
    case = make("lstm", "float32", lengths=None)
    case.params["bias"][6:] = -20
    outputs, _, _ = forward(case, hand_over(case, xp))
    expected = truth(case)[0]["outputs"]
    assert 0 < np.abs(expected).max() < 1e-7
    assert relative_error(xp.to_host(outputs), expected) < FORWARD["float32"]


@pytest.mark.parametrize("size", [100.0, 1000.0, 1e30])
def test_extreme_inputs_saturate_without_a_warning(xp, cell, dtype, size):
    """Closed form: with all gates open each step adds 1 to an LSTM's cell, with all shut nothing is left of it.

    An open update gate keeps a GRU's state, here 0; a shut one lets the candidate through, here -1.
    """
    rows = oracle.GATES[cell]
    params = {
        "weight_ih": xp.asarray(np.ones((rows, 1)), dtype),
        "weight_hh": xp.asarray(np.zeros((rows, 1)), dtype),
        "bias": xp.asarray(np.zeros(rows), dtype),
        **{name: xp.asarray(np.zeros(1), dtype) for name in oracle.OWN_PARAMETERS.get(cell, ())},
    }
    x = xp.asarray(np.array([[[size]] * 3, [[-size]] * 3]), dtype)
    module = cells.CELLS[cell]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(over="warn", invalid="warn", divide="warn"):
            outputs, _, tape = module.forward(params, x)
            dx, d_state, d_params = module.backward(params, tape, xp.asarray(np.ones((2, 3, 1)), dtype))
    outputs = xp.to_host(outputs)
    if cell == "lstm":
        np.testing.assert_allclose(outputs[0, :, 0], np.tanh([1, 2, 3]), rtol=1e-6)
        np.testing.assert_allclose(outputs[1, :, 0], 0, atol=1e-37)
    else:
        high = 0 if cell.startswith("gru") else 1
        np.testing.assert_allclose(outputs[:, :, 0], [[high] * 3, [-1, -1, -1]], atol=1e-37)
    for values in (dx, *flat(d_state), *d_params.values()):
        assert np.isfinite(xp.to_host(values)).all()


def test_NaN_in_a_valid_step_is_seen_in_its_row_and_in_no_other(xp, cell):
    case = make(cell)
    clean = hand_over(case, xp)
    spoiled = np.array(xp.to_host(clean.x))
    spoiled[1, 2, 0] = np.nan  # row 1 has 5 steps
    arrays = clean._replace(x=xp.asarray(spoiled))
    outputs, state, tape = forward(case, clean)
    dx, d_state, _ = backward(case, clean, tape)
    expected = on_host(xp, {**forward_arrays(case, outputs, state), "dx": dx, **named(cell, "d", d_state)})
    outputs, state, tape = forward(case, arrays)
    dx, d_state, d_params = backward(case, arrays, tape)
    got = on_host(xp, {**forward_arrays(case, outputs, state), "dx": dx, **named(cell, "d", d_state)})
    assert np.isnan(got["outputs"][1, 2:5]).all()
    assert np.isnan(got["h"][1]).all()
    np.testing.assert_array_equal(got["outputs"][1, :2], expected["outputs"][1, :2])
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name][[0, 2, 3]], values[[0, 2, 3]], err_msg=name)
    assert np.isnan(xp.to_host(d_params["bias"])).any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[3, 5, 1, 4], None])
def test_NaN_of_a_single_step_has_no_product_with_a_state_that_nobody_gave(xp, cell, lengths, reverse):
    """Row 2 has one step, and weight_hh no part in it: what is NaN there is in no gradient of weight_hh."""
    shape = (4, 6, 3, 2) if lengths else (4, 1, 3, 2)
    others = [0, 1, 3]

    def d_weight_hh(rows: list[int] | None, absent: str, zeros: bool = False) -> Any:
        case = make(cell, shape=shape, lengths=lengths, absent=absent)
        case.x[2, 0, :] = np.nan
        if zeros:
            case = case._replace(state={name: np.zeros_like(values) for name, values in case.state.items()})
        if rows is not None:
            case = case._replace(
                x=case.x[rows],
                lengths=None if lengths is None else [lengths[row] for row in rows],
                state={name: None if v is None else v[rows] for name, v in case.state.items()},
                d_outputs=case.d_outputs[rows],
                d_state={name: values[rows] for name, values in case.d_state.items()},
            )
        arrays = hand_over(case, xp)
        tape = forward(case, arrays, reverse=reverse)[2]
        return xp.to_host(backward(case, arrays, tape)[2]["weight_hh"])

    for absent in ["h c"] + ["h"] * (cell == "lstm"):
        alone = d_weight_hh(others, absent)
        assert np.isfinite(alone).all()
        np.testing.assert_allclose(d_weight_hh(None, absent), alone, rtol=1e-12, atol=1e-14)
        if lengths is None:
            np.testing.assert_array_equal(alone, 0)
    assert np.isnan(d_weight_hh(None, "", zeros=True)).all()  # a state that was given is multiplied, zero or not


# ---------------------------------------------------------------- wrong arguments


def call(cell: str, **changes: Any) -> Any:
    """A forward call of a plain case with some arguments exchanged."""
    case = make(cell, lengths=None)
    arguments = {
        "params": dict(case.params),
        "x": case.x,
        "state": cells.CELLS[cell].join(tuple(case.state.values())),
        "lengths": None,
    }
    changed = {name: value(arguments[name]) if callable(value) else value for name, value in changes.items()}
    return cells.CELLS[cell].forward(**{**arguments, **changed})


def swapped(**arrays: Any) -> Any:
    return lambda params: {**params, **{name: change(params[name]) for name, change in arrays.items()}}


def in_state(cell: str, change: Any) -> Any:
    return (lambda state: (state[0], change(state[1]))) if cell == "lstm" else change


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([0, 1, 1, 1], ValueError, r"lengths\[0\] is 0: expected 1 to 6"),
        ([1, 1, 7, 1], ValueError, r"lengths\[2\] is 7: expected 1 to 6"),
        ([1, -1, 1, 1], ValueError, r"lengths\[1\] is -1"),
        ([1, 2, 3], ValueError, "each of the 4 rows, got 3"),
        ([1, 2, 3, 4, 5], ValueError, "each of the 4 rows, got 5"),
        ([1.0, 2.0, 3.0, 4.0], TypeError, "lengths must be integers"),
        (np.array([1.0, 2.0, 3.0, 4.0]), TypeError, "lengths must be integers"),
        (["1", "2", "3", "4"], TypeError, "lengths must be integers"),
        ([None] * 4, TypeError, "lengths must be integers"),
        (5, TypeError, "lengths must be integers"),
        (np.array([True] * 4), TypeError, "lengths must be integers"),
        ([True] * 4, TypeError, "lengths must be integers"),
        ([1, 1, np.True_, 1], TypeError, "lengths must be integers"),
        ([1, True, 1, 1], TypeError, "lengths must be integers"),
        (b"\1\2\3\4", TypeError, "lengths must be integers"),
        ("1234", TypeError, "lengths must be integers"),
        ({1: 6, 2: 6, 3: 6, 4: 6}, TypeError, "lengths must be integers"),
        ({1, 2, 3, 4}, TypeError, "lengths must be integers"),
        (frozenset({1, 2, 3, 4}), TypeError, "lengths must be integers"),
        (np.ones((4, 1), int), ValueError, r"one-dimensional, \(4,\), got shape \(4, 1\)"),
        (np.ones((4, 6), bool), ValueError, r"one-dimensional, \(4,\), got shape \(4, 6\)"),
        (np.array(3), ValueError, "one-dimensional"),
    ],
)
def test_wrong_lengths_are_named(cell, lengths, error, message):
    with pytest.raises(error, match=message):
        call(cell, lengths=lengths)


def test_lengths_that_are_all_full_are_no_lengths():
    assert check_lengths([5, 5], 2, 5) is None
    assert check_lengths(None, 2, 5) is None
    assert check_lengths(np.array([5, 4]), 2, 5) == [5, 4]


@pytest.mark.parametrize("lengths", [[5, 2, 6, 1], [6, 5, 2, 2], [3, 3, 3, 3], [6, 6, 6, 6]])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_that_are_an_array_already_are_no_others(xp, lengths, reverse):
    """Whether in the order in which the rows are walked, or in another."""
    case = make("lstm", lengths=lengths)
    arrays = hand_over(case, xp)
    known = check_lengths(Lengths(lengths, xp.asarray(np.array(lengths))), 4, 6)
    assert known is None if min(lengths) == 6 else isinstance(known, Lengths)
    results = []
    for each in (lengths, known):
        outputs, state, tape = forward(case._replace(lengths=each), arrays, reverse=reverse)
        results.append([outputs, *state, *backward(case, arrays, tape)[2].values()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(xp.to_host(one), xp.to_host(other))


def test_an_order_of_another_batch_is_refused(cell):
    case = make(cell)
    for rows, time in ((4, 5), (3, 6), (6, 4)):
        order = cells.CELLS[cell].order(np, None, rows, time, "cpu")
        with pytest.raises(ValueError, match=rf"of a batch \({rows}, {time}\), not of one \(4, 6\)"):
            call(cell, lengths=order)
    outputs, _, _ = call(cell, lengths=cells.CELLS[cell].order(np, RAGGED, 4, 6, "cpu"))
    np.testing.assert_array_equal(outputs, forward(case, hand_over(case, NUMPY, 0.0))[0])


def test_gradients_go_into_arrays_of_their_names_and_shapes(cell):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    _, _, tape = forward(case, arrays)
    _, _, expected = backward(case, arrays, tape)
    into = {name: np.ones_like(values) for name, values in arrays.params.items()}
    for name in arrays.params:
        with pytest.raises(ValueError, match=rf"into must hold weight_ih, weight_hh.* and \w+; missing: {name}\."):
            backward(case, arrays, tape, into={other: values for other, values in into.items() if other != name})
        with pytest.raises(ValueError, match=rf"into\['{name}'\] must have shape"):
            backward(case, arrays, tape, into={**into, name: into[name][:1]})
        with pytest.raises(TypeError, match=rf"into\['{name}'\] is float32"):
            backward(case, arrays, tape, into={**into, name: into[name].astype("float32")})
    assert all((values == 1).all() for values in into.values()), "nothing was written"
    for accumulate, begin in ((True, 1), (False, 0)):
        _, _, found = backward(case, arrays, tape, into=into, accumulate=accumulate)
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name] is into[name]
            np.testing.assert_allclose(into[name], begin + values, rtol=1e-12)


def test_wrong_gradients_are_named(cell):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    _, _, tape = forward(case, arrays)
    with pytest.raises(ValueError, match=r"d_outputs must have shape \(4, 6, 2\), got \(4, 6, 3\)"):
        backward(case, arrays._replace(d_outputs=np.ones((4, 6, 3))), tape)
    with pytest.raises(ValueError, match=r"d_outputs must have shape \(4, 6, 2\), got \(4, 6, 1\)"):
        backward(case, arrays, tape, column=1)
    names, each = oracle.STATES[cell], np.ones((4, 2))
    for k, name in enumerate(names):
        wrong = [np.ones((4, 3)) if place == k else each for place in range(len(names))]
        place = rf"\[{k}\]" if len(names) > 1 else ""
        with pytest.raises(ValueError, match=rf"^d_state{place} \(d{name}\) must have shape \(4, 2\), got \(4, 3\)"):
            backward(case, arrays._replace(d_state=cells.CELLS[cell].join(tuple(wrong))), tape)


def test_wrong_shapes_are_named(cell):
    with pytest.raises(ValueError, match=r"x must have shape \(4, 6, 3\), got \(4, 6, 2\)"):
        call(cell, x=lambda x: x[:, :, :2])
    with pytest.raises(ValueError, match=r"x must be \(N, T, D\).*got shape \(6, 3\)"):
        call(cell, x=lambda x: x[0])
    with pytest.raises(ValueError, match=r"x must be \(N, T, D\)"):
        call(cell, x=None)
    with pytest.raises(ValueError, match="at least one row and one step, got N = 0"):
        call(cell, x=lambda x: x[:0], state=None)
    with pytest.raises(ValueError, match="at least one row and one step, got N = 4 and T = 0"):
        call(cell, x=lambda x: x[:, :0])
    last = oracle.STATES[cell][-1]
    with pytest.raises(ValueError, match=rf"the initial {last} must have shape \(4, 2\), got \(1, 4, 2\)"):
        call(cell, state=in_state(cell, lambda values: values[None]))
    with pytest.raises(ValueError, match=rf"the initial {last} must have shape \(4, 2\), got \(3, 2\)"):
        call(cell, state=in_state(cell, lambda values: values[:3]))
    with pytest.raises(ValueError, match=r"bias must have shape"):
        call(cell, params=swapped(bias=lambda values: values[:, None]))
    with pytest.raises(ValueError, match="weight_hh"):
        call(cell, params=swapped(weight_hh=lambda values: values[:-1]))
    with pytest.raises(ValueError, match="weight_ih"):
        call(cell, params=swapped(weight_ih=lambda values: values[:-1]))
    rows = "H" if cell == "rnn" else f"{len(cells.CELLS[cell].gates)}H"
    for wrong in (swapped(weight_ih=lambda values: values[0]), swapped(weight_hh=lambda values: values[0])):
        with pytest.raises(ValueError, match=rf"weight_ih must be \({rows}, D\) and weight_hh \({rows}, H\)"):
            call(cell, params=wrong)
    with pytest.raises(ValueError, match="missing: weight_hh, bias"):
        call(cell, params=lambda params: {"weight_ih": params["weight_ih"]})
    with pytest.raises(ValueError, match="not both"):
        cells.CELLS[cell].forward(make(cell).params, make(cell).x, tokens=(np.zeros((4, 6), int), None))


def test_wrong_tokens_are_named(cell):
    params = make(cell).params
    with pytest.raises(ValueError, match=r"token ids must be \(N, T\), got shape \(4,\)"):
        cells.CELLS[cell].forward(params, None, tokens=(np.zeros(4, int), None))
    with pytest.raises(ValueError, match=r"table of the tokens must have shape \(5, 3\), got \(5, 4\)"):
        cells.CELLS[cell].forward(params, None, tokens=(np.zeros((4, 6), int), np.zeros((5, 4))))


def test_a_pair_that_is_no_pair_is_refused():
    with pytest.raises((TypeError, ValueError)):
        call("lstm", state=lambda state: state[0])


def test_dtypes_are_not_mixed(cell):
    single = lambda values: values.astype(np.float32)  # noqa: E731
    with pytest.raises(TypeError, match="x is float32 but the parameters are float64"):
        call(cell, x=single)
    with pytest.raises(TypeError, match="bias is float32 but the parameters are float64"):
        call(cell, params=swapped(bias=single))
    with pytest.raises(TypeError, match="weight_ih is float32"):
        call(cell, params=swapped(weight_ih=single))
    with pytest.raises(TypeError, match=f"the initial {oracle.STATES[cell][-1]} is float32"):
        call(cell, state=in_state(cell, single))
    with pytest.raises(TypeError, match="x is int64"):
        call(cell, x=lambda x: x.astype(np.int64))


@pytest.mark.parametrize("kind", ["int64", "bool", "complex128"])
def test_a_cell_of_integers_or_complex_numbers_is_refused(xp, cell, kind):
    """Slices of integer arrays would take the results, and round every one of them to 0."""
    case = make(cell, lengths=None)
    params = {name: xp.asarray(values, kind) for name, values in case.params.items()}
    with pytest.raises(TypeError, match=kind.rstrip("0123456789")):
        cells.CELLS[cell].forward(params, xp.asarray(case.x, kind))


def test_libraries_and_devices_are_not_mixed(cell):
    strict = peer("array_api_strict")
    with pytest.raises(TypeError, match="one library, got NumPy and array-api-strict"):
        call(cell, x=strict.asarray)
    with pytest.raises(TypeError, match="one library, got NumPy and array-api-strict"):
        call(cell, state=in_state(cell, strict.asarray))
    case = make(cell)
    here, there = hand_over(case, Library("strict")), hand_over(case, Library("strict-device1"))
    with pytest.raises(TypeError, match=r"x is on .*device1.* but the parameters are on .*CPU_DEVICE"):
        forward(case, here._replace(x=there.x))
    _, _, tape = forward(case, here)
    with pytest.raises(TypeError, match=r"d_outputs is on .*device1"):
        backward(case, here._replace(d_outputs=there.d_outputs), tape)
    with pytest.raises(TypeError, match="NumPy and array-api-strict"):
        backward(case, here._replace(d_outputs=case.d_outputs), tape)


@pytest.mark.parametrize("module", ["jax", "jaxlib._jax", "tensorflow.python.framework.ops", "mlx.core"])
def test_immutable_arrays_are_refused_by_name(cell, module):
    foreign = type("ArrayImpl", (), {"__module__": module})()
    with pytest.raises(TypeError, match=rf"{module}.ArrayImpl: .*immutable"):
        call(cell, x=foreign)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_arrays_that_are_no_plain_arrays_are_refused(cell):
    with pytest.raises(TypeError, match="matrix is not an array of a supported library"):
        call(cell, params=swapped(weight_hh=np.matrix))
    with pytest.raises(TypeError, match="MaskedArray is not an array of a supported library"):
        call(cell, x=np.ma.masked_invalid)
    with pytest.raises(TypeError, match="list is not an array"):
        call(cell, x=lambda x: x.tolist())
    with pytest.raises(TypeError, match="NumPy, CuPy, PyTorch, array-api-strict"):
        call(cell, x="text")


def test_subclasses_that_behave_as_arrays_are_accepted(cell, tmp_path):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    mapped = np.memmap(tmp_path / "x", dtype="float64", mode="w+", shape=case.x.shape)
    mapped[...] = arrays.x
    outputs, state, tape = forward(case, arrays._replace(x=mapped))
    expected_results, expected_gradients = truth(case)
    check_forward(forward_arrays(case, outputs, state), expected_results, "float64")
    check_gradients(gradient_arrays(case, *backward(case, arrays, tape)), expected_gradients, "float64")


def test_a_tape_of_something_else_is_refused(cell):
    case = make(cell)
    other = make("rnn" if cell == "lstm" else "lstm")
    _, _, tape = forward(other, hand_over(other, NUMPY))
    for wrong in (tape, None, (1, 2, 3)):
        with pytest.raises(TypeError, match=rf"tape must be what forward of the cell {cell!r} returned"):
            backward(case, hand_over(case, NUMPY), wrong)


def test_wrong_gradients_are_named_and_change_nothing(cell):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    _, _, tape = forward(case, arrays)
    into = {name: np.ones_like(values) for name, values in case.params.items()}
    last = oracle.STATES[cell][-1]
    with pytest.raises(ValueError, match=r"d_outputs must have shape \(4, 6, 2\), got \(4, 5, 2\)"):
        backward(case, arrays._replace(d_outputs=arrays.d_outputs[:, :5]), tape, into=into)
    change = in_state(cell, lambda values: values[:, :1])
    with pytest.raises(ValueError, match=rf"d_state.*d{last}.* must have shape \(4, 2\), got \(4, 1\)"):
        backward(case, arrays._replace(d_state=change(arrays.d_state)), tape, into=into)
    with pytest.raises(TypeError, match="d_outputs is float32"):
        backward(case, arrays._replace(d_outputs=arrays.d_outputs.astype("float32")), tape, into=into)
    for name, values in into.items():
        assert (values == 1).all(), name


def test_arrays_for_the_gradients_that_do_not_fit_are_refused_before_anything_is_added(cell):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    _, _, tape = forward(case, arrays)
    whole = {name: np.zeros_like(values) for name, values in case.params.items()}
    incomplete = {name: values for name, values in whole.items() if name != "bias"}
    with pytest.raises((KeyError, ValueError), match="bias"):
        backward(case, arrays, tape, into=incomplete)
    with pytest.raises(ValueError, match="bias"):
        backward(case, arrays, tape, into={**whole, "bias": np.zeros((3, *case.params["bias"].shape))})
    for name, values in whole.items():
        assert not values.any(), name


def test_tokens_without_add_rows_say_what_is_missing(cell):
    case = make(cell)
    arrays = hand_over(case, NUMPY)
    _, _, tape = cells.CELLS[cell].forward(arrays.params, None, tokens=(np.zeros((4, 6), int), None))
    with pytest.raises((TypeError, ValueError), match="add_rows"):
        backward(case, arrays._replace(d_outputs=case.d_outputs), tape)


# ---------------------------------------------------------------- parts


def test_the_bias_starts_with_an_open_forget_gate(xp):
    for module, expected in ((cells.lstm, [0, 0, 1, 1, 0, 0, 0, 0]), (cells.rnn, [0, 0]), (cells.gru, [0] * 6)):
        bias = (NUMPY if xp.name.startswith("numpy") else xp).asarray(np.full(len(expected), 9.0))
        module.CELL.start_bias(bias)
        np.testing.assert_array_equal(xp.to_host(bias), expected)


@pytest.mark.parametrize("lengths", [None, RAGGED])
def test_an_order_turns_each_row_round_and_is_its_own_inverse(xp, lengths):
    for shape in ((4, 6, 2), (4, 6)):
        host = np.arange(np.prod(shape)).reshape(shape).astype(float)
        expected = host.copy()
        for row, length in enumerate(lengths or [6] * 4):
            expected[row, :length] = host[row, :length][::-1]
        expected, host = expected[:, : max(lengths or [6])], host[:, : max(lengths or [6])]
        array = xp.asarray(host)
        order = Order(array_namespace(array), lengths, 4, 6, array.device)
        turned = order.turned(array)
        np.testing.assert_array_equal(xp.to_host(turned), expected)
        np.testing.assert_array_equal(xp.to_host(order.turned(turned)), host)


def test_a_tape_of_another_size_is_named(cell):
    module, H = cells.CELLS[cell], 3
    params = {size: {name: np.ones(shape) for name, shape in module.shapes(2, size).items()} for size in (H, 5)}
    _, _, tape = module.forward(params[H], np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="3 hidden units, the parameters of one with 5"):
        module.backward(params[5], tape)
