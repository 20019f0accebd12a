# Longer than 500 lines: the tests of one source file stand in one file.
"""Whole layers: against PyTorch, against plain loops in float64, and what they promise of tapes, copies and errors.

The environment variable XLSTM_RANDOM_LAYERS says how many random layers are compared with PyTorch in each dtype: 40
where it is not set; 300 is the slow check, of some ten seconds.
"""

import copy
import functools
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xlstm
from xlstm import backends, cells
from xlstm.layers import LAYERS as NAMED
from xlstm.recurrent import RecurrentLayer

from .. import oracle
from ..measure import (
    FORWARD,
    GRADIENTS,
    check,
    check_forward,
    check_gradients,
    forward_errors,
    gradient_errors,
    relative_error,
)
from ..peers import peer

RANDOM_LAYERS = int(os.environ.get("XLSTM_RANDOM_LAYERS", "40"))
RAGGED = [3, 5, 1, 4]
LAYERS: dict[str, Any] = {
    **{name: type(name, (RecurrentLayer,), {"cell": name}) for name in cells.CELLS},
    **NAMED,
    "gru_reset_before": functools.partial(xlstm.GRU, reset_after=False),
}


@pytest.fixture(params=list(cells.CELLS))
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def as_state(cell: str, state: Mapping[str, Any]) -> Any:
    """{"h": …, "c": …} in the form that the layer takes: a pair, or h alone."""
    return (state["h"], state["c"]) if cell == "lstm" else state["h"]


def by_name(cell: str, prefix: str, state: Any) -> dict[str, Any]:
    """The inverse of `as_state`, each name with a prefix."""
    values = state if cell == "lstm" else (state,)
    return {f"{prefix}{name}": value for name, value in zip(oracle.STATES[cell], values, strict=True)}


def randomise(layer: Any, seed: int = 0) -> Any:
    """Every parameter, the biases too, away from its start.

    Not so far that units saturate: the slope 1 - h² at h = 0.995 has lost two digits in float32, here as in PyTorch.
    """
    rng = np.random.default_rng(seed)
    for name, view in layer.parameters.items():
        view[...] = 0.6 * rng.normal(0, 0.5 if name.startswith("bias") else view.shape[1] ** -0.5, view.shape)
    return layer


class Example:
    """A layer with random parameters and the arguments of one forward and one backward call, NaN in the padding."""

    def __init__(
        self,
        cell: str,
        dtype: str = "float64",
        layers: int = 2,
        bidirectional: bool = True,
        shape: tuple[int, int, int, int] = (4, 6, 3, 2),
        lengths: Any = RAGGED,
        absent: Any = (),
        seed: int = 0,
        kernels: str = "reference",
        dropout: float = 0.0,
    ) -> None:
        N, T, D, H = shape
        S = 2 if bidirectional else 1
        rng = np.random.default_rng([seed, 1])
        self.cell, self.dtype, self.lengths, self.absent = cell, dtype, lengths, absent
        self.layer = randomise(
            LAYERS[cell](
                D, H, layers, bidirectional, dropout=dropout, dtype=dtype, seed=seed, kernels=kernels, device="cpu"
            ),
            seed,
        )
        self.valid = np.arange(T) < (np.full((N, 1), T) if lengths is None else np.c_[lengths])

        def drawn(name: str, *sizes: int) -> Any:
            values = rng.normal(size=sizes).astype(dtype)
            return None if name in absent else values

        self.x = np.where(self.valid[:, :, None], drawn("x", N, T, D), np.array(np.nan, dtype))
        self.state = {name: drawn(name, layers * S, N, H) for name in oracle.STATES[cell]}
        d_outputs = drawn("d_outputs", N, T, S * H)
        self.d_outputs = (
            None if d_outputs is None else np.where(self.valid[:, :, None], d_outputs, np.array(np.nan, dtype))
        )
        self.d_state = {name: drawn(f"d{name}", layers * S, N, H) for name in oracle.STATES[cell]}

    def __repr__(self) -> str:
        return f"{self.layer!r} x {self.x.shape} lengths {self.lengths} without {list(self.absent)}"

    def forward(self, **options: Any) -> Any:
        return self.layer.forward(self.x, as_state(self.cell, self.state), self.lengths, **options)

    def backward(self, tape: Any, **options: Any) -> Any:
        return self.layer.backward(tape, self.d_outputs, as_state(self.cell, self.d_state), **options)

    def results(self, outputs: Any, state: Any) -> dict[str, Any]:
        """Copies of what forward gave, by name."""
        return {name: np.array(v) for name, v in {"outputs": outputs, **by_name(self.cell, "", state)}.items()}

    def gradients(self, dx: Any, d_state: Any) -> dict[str, Any]:
        """Copies of what backward gave and wrote, by name."""
        found = {"dx": dx, **by_name(self.cell, "d", d_state), **self.layer.gradients}
        return {name: np.array(values) for name, values in found.items()}

    def truth(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both, as the oracle has them."""
        arguments = (self.cell, self.layer.parameters, np.nan_to_num(self.x), self.state, self.lengths)
        result = oracle.forward(*arguments)
        d_outputs = None if self.d_outputs is None else np.nan_to_num(self.d_outputs)
        gradients = oracle.backward(*arguments, d_outputs, self.d_state)
        d_state = {f"d{name}": values for name, values in gradients.state.items()}
        return {"outputs": result.outputs, **result.state}, {"dx": gradients.x, **d_state, **gradients.parameters}


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """To the last bit."""
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


# ---------------------------------------------------------------- against PyTorch


def random_example(dtype: str, seed: int, kernels: str, cell: str = "") -> Example:
    rng = np.random.default_rng([seed, 2])
    drawn = "rnn" if rng.random() < 0.3 else "lstm"
    shape = tuple(int(n) for n in rng.integers([1, 1, 1, 2], [9, 13, 9, 17]))
    N, T = shape[:2]
    lengths = None if rng.random() < 0.2 else rng.integers(1, T + 1, N)
    absent = [name for name in ("h", "c", "d_outputs", "dh", "dc") if rng.random() < 0.25]
    layers, bidirectional = int(rng.integers(1, 4)), bool(rng.random() < 0.5)
    return Example(cell or drawn, dtype, layers, bidirectional, shape, lengths, absent, seed, kernels)


def of_torch(torch: Any, example: Example) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a PyTorch layer with the same parameters makes of the same arguments, in float64."""
    layer, x = example.layer, np.nan_to_num(example.x)
    twin = {"lstm": torch.nn.LSTM, "rnn": torch.nn.RNN, "gru": torch.nn.GRU}[example.cell](
        layer.input_size, layer.hidden_size, layer.num_layers, batch_first=True, bidirectional=layer.bidirectional
    ).double()
    theirs = dict(twin.named_parameters())
    with torch.no_grad():
        for name, values in layer.parameters.items():
            if name.startswith("bias_hn"):  # of a GRU's candidate: PyTorch's second bias, by itself
                theirs[name.replace("bias_hn", "bias_hh")][-len(values) :] = torch.asarray(values)
            elif name.startswith("bias"):  # PyTorch has two; how they share the sum is of no matter
                part = np.full(len(values), 0.25)
                part[example.layer.sizes.record.biases_in_one * layer.hidden_size :] = 1
                theirs[name.replace("bias", "bias_ih")][...] = torch.asarray(values * part)
                theirs[name.replace("bias", "bias_hh")][...] = torch.asarray(values * (1 - part))
            else:
                theirs[name][...] = torch.asarray(values)

    def leaf(values: Any) -> Any:
        return torch.tensor(np.asarray(values, dtype=np.float64), requires_grad=True)

    N, T = x.shape[:2]
    K = layer.num_layers * layer.directions
    x = leaf(x)
    state = {
        name: leaf(np.zeros((K, N, layer.hidden_size)) if values is None else values)
        for name, values in example.state.items()
    }
    lengths = torch.full((N,), T) if example.lengths is None else torch.as_tensor(example.lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed, final = twin(packed, as_state(example.cell, state))
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=T)
    final = by_name(example.cell, "", final)
    loss = (outputs * 0).sum()
    if example.d_outputs is not None:
        loss = loss + (outputs * torch.tensor(np.nan_to_num(example.d_outputs))).sum()
    for name, values in example.d_state.items():
        if values is not None:
            loss = loss + (final[name] * torch.tensor(values)).sum()
    loss.backward()
    gradients = {"dx": x.grad, **{f"d{name}": values.grad for name, values in state.items()}}
    for name in layer.parameters:
        if name.startswith("bias_hn"):
            gradients[name] = theirs[name.replace("bias_hn", "bias_hh")].grad[-layer.hidden_size :]
        else:
            gradients[name] = theirs[name.replace("bias", "bias_ih")].grad
    results = {"outputs": outputs, **final}
    return tuple({name: values.detach().numpy() for name, values in d.items()} for d in (results, gradients))


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch on one thread: for layers as small as these, several only get into each other's way."""
    module = peer("torch")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(threads)


@pytest.mark.parametrize("kinds", ["lstm and rnn", "gru"])
def test_random_layers_are_those_of_pytorch(torch, dtype, kernels, kinds):
    """Shapes, layers, directions, lengths, states, absent gradients: all drawn; float32 too against float64."""
    worst = {"forward": 0.0, "gradients": 0.0}
    for seed in range(RANDOM_LAYERS):
        example = random_example(dtype, seed, kernels, "gru" if kinds == "gru" else "")
        outputs, state, tape = example.forward()
        results = example.results(outputs, state)
        gradients = example.gradients(*example.backward(tape))
        expected_results, expected_gradients = of_torch(torch, example)
        errors = forward_errors(results, expected_results)
        check(errors, FORWARD[dtype], example)
        worst["forward"] = max(worst["forward"], *errors.values())
        errors = gradient_errors(gradients, expected_gradients)
        check(errors, GRADIENTS[dtype], example)
        worst["gradients"] = max(worst["gradients"], *errors.values())
    print(f"{RANDOM_LAYERS} random layers of {kinds} in {dtype}: largest relative error {worst}")


# ---------------------------------------------------------------- against the oracle


def assert_true(example: Example, floor: float = 0.0) -> None:
    """Forward, inference and backward agree with the oracle; the padding of outputs and dx is zero."""
    outputs, state, tape = example.forward()
    results = example.results(outputs, state)
    gradients = example.gradients(*example.backward(tape))
    expected_results, expected_gradients = example.truth()
    check_forward(results, expected_results, example.dtype, floor)
    check_gradients(gradients, expected_gradients, example.dtype)
    assert {str(array.dtype) for array in [*results.values(), *gradients.values()]} == {example.dtype}
    assert not results["outputs"][~example.valid].any()
    assert not gradients["dx"][~example.valid].any()
    inference = example.results(*example.layer(example.x, as_state(example.cell, example.state), example.lengths))
    check_forward(inference, expected_results, example.dtype, floor)


@pytest.mark.parametrize("lengths", [None, RAGGED, [1, 2, 1, 2]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_and_directions(cell, dtype, layers, bidirectional, lengths, kernels):
    assert_true(Example(cell, dtype, layers, bidirectional, lengths=lengths, kernels=kernels))


def sizes(largest: int) -> st.SearchStrategy[int]:
    return st.one_of(st.just(1), st.integers(1, largest))


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_stack_shape_length_and_absence(cell, dtype, kernels, data):
    N, T, D, H, L = (data.draw(sizes(n)) for n in (4, 10, 4, 4, 3))
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(1, T), min_size=N, max_size=N)))
    absent = [name for name in ("h", "c", "d_outputs", "dh", "dc") if data.draw(st.booleans())]
    bidirectional, seed = data.draw(st.booleans()), data.draw(st.integers(0, 2**32 - 1))
    # A single number may be the small difference of terms of order 1: it is measured against a tenth.
    assert_true(Example(cell, dtype, L, bidirectional, (N, T, D, H), lengths, absent, seed, kernels), floor=0.1)


def test_full_lengths_are_no_lengths(cell, dtype, kernels):
    """To the last bit."""
    without = Example(cell, dtype, lengths=None, kernels=kernels)
    full = Example(cell, dtype, lengths=[6] * 4, kernels=kernels)
    found = []
    for example in (without, full):
        outputs, state, tape = example.forward()
        results = example.results(outputs, state)
        found.append({**results, **example.gradients(*example.backward(tape))})
    assert_same(found[1], found[0])


def test_padding_never_matters(cell, dtype, kernels):
    """Not in the last bit, in either direction: zeros, infinities and NaN there give the same."""
    found = []
    for padding in (0.0, np.inf, np.nan):
        example = Example(cell, dtype, kernels=kernels)
        example.x[~example.valid] = padding
        example.d_outputs[~example.valid] = padding
        outputs, state, tape = example.forward()
        results = example.results(outputs, state)
        found.append({**results, **example.gradients(*example.backward(tape))})
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_the_final_states_stand_in_the_outputs(cell, kernels):
    """Forward at each row's last valid step, backward at its first."""
    example = Example(cell, kernels=kernels)
    results = example.results(*example.forward()[:2])
    for row, length in enumerate(RAGGED):
        np.testing.assert_array_equal(results["h"][2, row], results["outputs"][row, length - 1, :2])
        np.testing.assert_array_equal(results["h"][3, row], results["outputs"][row, 0, 2:])


def test_read_only_arguments(cell, kernels):
    example = Example(cell, kernels=kernels)
    given_arrays = [example.x, example.d_outputs, *example.state.values(), *example.d_state.values()]
    before = [array.copy() for array in given_arrays]
    for array in given_arrays:
        array.setflags(write=False)
    assert_true(example)
    for was, now in zip(before, given_arrays, strict=True):
        np.testing.assert_array_equal(now, was)


def test_any_memory_layout_is_fine(cell, kernels):
    example = Example(cell, kernels=kernels)

    def strided(array: Any) -> Any:
        view = np.full(tuple(2 * n for n in array.shape[::-1]), np.nan)[(slice(None, None, -2),) * array.ndim].T
        view[...] = array
        return view

    example.x, example.d_outputs = strided(example.x), strided(example.d_outputs)
    example.state = {name: strided(values) for name, values in example.state.items()}
    example.d_state = {name: strided(values) for name, values in example.d_state.items()}
    assert_true(example)


def test_the_same_call_gives_the_same_bits(cell, kernels):
    example = Example(cell, "float32", shape=(7, 9, 5, 16), lengths=[9, 1, 4, 4, 8, 2, 9], kernels=kernels)
    outputs, state, tape = example.forward()
    first = {**example.results(outputs, state), **example.gradients(*example.backward(tape))}
    outputs, state, tape = example.forward()
    assert_same({**example.results(outputs, state), **example.gradients(*example.backward(tape))}, first)


def test_without_input_gradient_dx_is_None_and_nothing_else_changes(cell, kernels):
    example = Example(cell, kernels=kernels)
    _, _, tape = example.forward()
    expected = example.gradients(*example.backward(tape))
    dx, d_state = example.backward(tape, input_gradient=False)
    assert dx is None
    got = example.gradients(np.array(0), d_state)
    assert_same({**got, "dx": expected["dx"]}, expected)


def test_without_a_gradient_of_the_results_all_gradients_are_zero(cell, kernels):
    example = Example(cell, kernels=kernels)
    _, _, tape = example.forward()
    example.backward(tape)
    for d_state in (None, as_state(cell, {"h": None, "c": None})):
        for values in example.gradients(*example.layer.backward(tape, None, d_state)).values():
            assert not values.any()


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [RAGGED, None])
def test_NaN_of_a_single_step_is_in_no_gradient_of_weight_hh(cell, dtype, kernels, lengths, bidirectional, layers):
    """Row 2 has one step, and no state was given: weight_hh has no part in it, whichever implementation runs."""
    H = 18
    layer = randomise(LAYERS[cell](3, H, layers, bidirectional, dtype=dtype, kernels=kernels, device="cpu"))
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 6 if lengths else 1, 3)).astype(dtype)
    x[2, 0, 1] = np.nan
    d_outputs = rng.normal(size=(*x.shape[:2], layer.directions * H)).astype(dtype)

    def gradients(rows: list[int], state: Any = None) -> dict[str, Any]:
        _, _, tape = layer.forward(x[rows], state, None if lengths is None else [lengths[row] for row in rows])
        layer.backward(tape, d_outputs[rows])
        return {name: view.copy() for name, view in layer.gradients.items()}

    every, others = [0, 1, 2, 3], [0, 1, 3]
    got, alone = gradients(every), gradients(others)
    for name in got:
        if not name.startswith("weight_hh"):
            assert np.isnan(got[name]).any(), name
        else:
            assert np.isfinite(got[name]).all(), name
            assert relative_error(got[name], alone[name].astype("float64")) <= GRADIENTS[dtype], name
            assert lengths is not None or not got[name].any(), name
    K = layers * layer.directions
    zeros = as_state(cell, {name: np.zeros((K, 4, H), dtype) for name in oracle.STATES[cell]})
    for name, values in gradients(every, zeros).items():  # a state that was given is multiplied, zero or not
        assert np.isnan(values).any(), name
    if cell == "lstm":
        for name, values in gradients(every, (None, zeros[1])).items():
            assert np.isfinite(values).all() == name.startswith("weight_hh"), name


@pytest.mark.parametrize("lengths", [RAGGED, None])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_tokens_are_the_rows_of_their_table(cell, dtype, kernels, one_hot, bidirectional, lengths):
    """The gradient of the table is the sum over all places, and both directions, where its rows were read."""
    dense = Example(cell, dtype, 2, bidirectional, lengths=lengths, kernels=kernels)
    rng = np.random.default_rng(4)
    table = np.eye(3, dtype=dtype) if one_hot else rng.normal(size=(5, 3)).astype(dtype)
    ids = rng.integers(0, len(table), (4, 6))
    dense.x = table[ids]
    padded = np.where(dense.valid, ids, rng.choice([-7, 10**6], (4, 6)))
    outputs, state, tape = dense.layer.forward(
        None, as_state(cell, dense.state), lengths, tokens=(padded, None if one_hot else table)
    )
    results = dense.results(outputs, state)
    padded[...] = 0
    d_table, d_state = dense.backward(tape)
    expected_results, expected = dense.truth()
    check_forward(results, expected_results, dtype)
    gradients = dense.gradients(0 if d_table is None else d_table, d_state)
    if one_hot:
        assert d_table is None
        gradients.pop("dx")
        expected.pop("dx")
    else:
        d_table = np.zeros((5, 3))
        np.add.at(d_table, ids, expected["dx"])
        expected["dx"] = d_table
    check_gradients(gradients, expected, dtype)


# ---------------------------------------------------------------- tapes, gradients, what was handed out


def spoil(arrays: Any) -> None:
    for array in arrays:
        array[...] = np.nan


@pytest.mark.parametrize("lengths", [RAGGED, None])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])
def test_a_tape_is_not_disturbed_by_anything_that_follows(cell, kernels, layers, bidirectional, lengths):
    example = Example(cell, layers=layers, bidirectional=bidirectional, lengths=lengths, kernels=kernels)
    given_lengths = example.lengths = None if lengths is None else np.array(lengths)
    outputs, state, tape = example.forward()
    first = example.backward(tape)
    expected = example.gradients(*first)

    example.layer.forward(np.ones((2, 9, 3)))
    _, _, other = example.layer.forward(example.x[:, ::-1], None, None)
    example.layer(np.ones((3, 2, 3)))
    example.layer.backward(other, np.ones(outputs.shape))
    spoil([outputs, *by_name(cell, "", state).values(), example.x, *example.state.values()])
    dx, d_state = first
    spoil([dx, *by_name(cell, "", d_state).values()])
    if given_lengths is not None:
        given_lengths[...] = 1
    assert_same(example.gradients(*example.backward(tape)), expected)


def test_what_was_handed_out_never_changes(cell, kernels):
    example = Example(cell, kernels=kernels)
    outputs, state, tape = example.forward()
    dx, d_state = example.backward(tape)
    handed_out = {"outputs": outputs, **by_name(cell, "", state), "dx": dx, **by_name(cell, "d", d_state)}
    before = {name: values.copy() for name, values in handed_out.items()}
    _, _, tape = example.layer.forward(np.ones((4, 6, 3)))
    example.layer.backward(tape, np.ones((4, 6, 4)))
    example.layer(np.ones((4, 6, 3)))
    spoil([example.x, example.d_outputs, *example.state.values(), *example.d_state.values()])
    spoil(example.layer.parameters.values())
    assert_same(handed_out, before)
    for name, values in handed_out.items():
        for other in [*example.layer.parameters.values(), *example.layer.gradients.values(), example.x]:
            assert not np.shares_memory(values, other), name


def test_gradients_are_those_of_the_last_call_not_a_sum(cell, kernels):
    example = Example(cell, kernels=kernels)
    buffer = example.layer.gradients.flat
    _, _, tape = example.forward()
    expected = example.gradients(*example.backward(tape))
    assert_same(example.gradients(*example.backward(tape)), expected)
    assert example.layer.gradients.flat is buffer  # an optimiser may hold it
    assert all(np.shares_memory(view, buffer) for view in example.layer.gradients.values())


def test_backward_reads_the_parameters_as_they_are(cell, kernels):
    """Written to zero after the forward call: nothing flows back through them, as the contract says."""
    example = Example(cell, layers=1, bidirectional=False, kernels=kernels)
    _, _, tape = example.forward()
    example.layer.parameters["weight_hh_l0"][...] = 0
    dx, d_state = example.backward(tape)
    if not cell.startswith("gru"):  # whose state has a second way
        assert not by_name(cell, "", d_state)["h"].any()
    assert dx.any()
    example.layer.parameters["weight_ih_l0"][...] = 0
    dx, _ = example.backward(tape)
    assert not dx.any()


def test_parameters_written_between_two_calls_are_seen(cell, kernels):
    example = Example(cell, kernels=kernels)
    example.forward()
    example.layer(example.x, None, example.lengths)
    randomise(example.layer, seed=9)
    assert_true(example)
    example.layer.parameters.flat[...] *= 0.5
    assert_true(example)


def test_a_tape_of_something_else_is_refused(cell):
    example = Example(cell)
    _, _, tape = example.forward()
    twin = example.layer.to("cpu")
    other = Example("rnn" if cell == "lstm" else "lstm").layer
    for layer in (twin, other):
        with pytest.raises(ValueError, match="belongs to another layer"):
            layer.backward(tape, example.d_outputs)
    for wrong in (None, "tape", tape.cell_tapes[0]):
        with pytest.raises(TypeError, match="tape must be what forward returned"):
            example.layer.backward(wrong, example.d_outputs)


def test_bad_input_changes_nothing(cell, kernels):
    """Neither gradients nor the generator of the dropout masks."""
    example = Example(cell, kernels=kernels, dropout=0.5)
    twin = example.layer.to("cpu")
    for arguments in [
        (example.x[:, :, :2],),
        (example.x, example.x, RAGGED),
        (example.x, None, [7, 1, 1, 1]),
        (example.x.astype(complex),),
    ]:
        with pytest.raises((ValueError, TypeError)):
            example.layer.forward(*arguments)
    outputs, _, tape = example.forward()
    expected, _, _ = twin.forward(example.x, as_state(cell, example.state), RAGGED)
    np.testing.assert_array_equal(outputs, expected)
    example.backward(tape)
    before = example.layer.gradients.flat.copy()
    for arguments in [
        (example.d_outputs[:, :, :2],),
        (example.d_outputs, example.x),
        (example.d_outputs.astype(complex),),
        (None, as_state(cell, {"h": example.d_state["h"][:, :2], "c": None})),
    ]:
        with pytest.raises((ValueError, TypeError)):
            example.layer.backward(tape, *arguments)
    np.testing.assert_array_equal(example.layer.gradients.flat, before)


# ---------------------------------------------------------------- dropout


def revealing_rnn(p: float, dtype: str = "float64", seed: int = 0) -> tuple[Any, Any]:
    """Two layers of which the second is so small a tanh that it shows its input; and the first layer's outputs."""
    layer = xlstm.RNN(3, 8, 2, dropout=p, dtype=dtype, seed=seed, device="cpu")
    layer.parameters["weight_ih_l1"][...] = 1e-6 * np.eye(8)
    layer.parameters["weight_hh_l1"][...] = 0
    layer.parameters["bias_l1"][...] = 0
    first = xlstm.RNN(3, 8, dtype=dtype, device="cpu")
    for name, view in first.parameters.items():
        view[...] = layer.parameters[name]
    return layer, lambda x: first(x)[0]


def test_dropout_sets_a_fraction_to_zero_and_scales_up_the_rest():
    layer, first = revealing_rnn(0.3)
    x = np.random.default_rng(0).normal(size=(20, 50, 3))
    outputs, _, _ = layer.forward(x, seed=1)
    kept = outputs / (1e-6 * first(x))
    dropped = outputs == 0
    fraction = round(0.3 * 2**16) / 2**16
    np.testing.assert_allclose(kept[~dropped], 1 / (1 - fraction), rtol=1e-6)  # so that the mean stays
    assert abs(dropped.mean() - 0.3) < 0.02  # 8,000 draws: four standard deviations
    for axis in (0, 1, 2):  # drawn for every number, not once for a row, a step or a unit
        assert dropped.any(axis).all() or axis == 2
        assert not dropped.all(axis).any() or axis == 2


def test_dropout_is_drawn_from_the_seed():
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    layer, _ = revealing_rnn(0.5)
    once, again, other = (layer.forward(x, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    from_generator, _, _ = layer.forward(x, seed=np.random.default_rng(1))
    np.testing.assert_array_equal(from_generator, once)
    # Without a seed the layer goes on with its own generator: each call other masks, each layer of one seed the same.
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert (first != second).any()
    twin, _ = revealing_rnn(0.5)
    np.testing.assert_array_equal(twin.forward(x)[0], first)
    np.testing.assert_array_equal(twin.forward(x)[0], second)
    # The masks do not depend on the dtype.
    single, _ = revealing_rnn(0.5, "float32")
    np.testing.assert_array_equal(single.forward(x, seed=1)[0] == 0, once == 0)
    with pytest.raises(ValueError, match="seed"):
        layer.forward(x, seed=-1)


def test_dropout_is_active_in_forward_alone(cell, kernels):
    example = Example(cell, kernels=kernels, dropout=0.5)
    plain = Example(cell, kernels=kernels)
    arguments = (example.x, as_state(cell, example.state), RAGGED)
    expected = plain.results(*plain.layer(*arguments))
    assert_same(example.results(*example.layer(*arguments)), expected)
    assert_same(example.results(*example.layer.prepare()(*arguments)), expected)
    assert (example.forward()[0] != expected["outputs"]).any()


def test_dropout_of_one_layer_has_nothing_to_drop(cell, kernels):
    example = Example(cell, layers=1, kernels=kernels, dropout=0.5)
    plain = Example(cell, layers=1, kernels=kernels)
    assert_same(example.results(*example.forward()[:2]), plain.results(*plain.forward()[:2]))
    assert_true(example)


def test_dropout_gradients_are_right(cell, kernels):
    """Central differences of every parameter and of x, the masks held by their seed."""
    example = Example(cell, layers=3, shape=(2, 3, 2, 2), lengths=[3, 2], kernels=kernels, dropout=0.4)
    weights = np.nan_to_num(example.d_outputs)
    state = as_state(cell, example.state)
    d_final = as_state(cell, example.d_state)

    def loss() -> float:
        outputs, final, _ = example.forward(seed=5)
        final, upstream = by_name(cell, "", final), by_name(cell, "", d_final)
        return float(np.sum(outputs * weights) + sum(np.sum(final[name] * upstream[name]) for name in final))

    _, _, tape = example.layer.forward(example.x, state, example.lengths, seed=5)
    assert any((mask == 0).any() and (mask != 0).any() for mask in tape.dropout_masks)
    gradients = example.gradients(*example.backward(tape))
    moving = {"dx": example.x, **example.layer.parameters}
    expected = {}
    for name, values in moving.items():
        expected[name] = np.zeros(values.shape)
        for index in np.ndindex(*values.shape):
            start, ends = values[index], []
            for sign in (1, -1):
                values[index] = start + sign * 1e-5
                ends.append(loss())
            values[index] = start
            expected[name][index] = (ends[0] - ends[1]) / 2e-5
    check(gradient_errors({name: gradients[name] for name in expected}, expected), 1e-6)


# ---------------------------------------------------------------- copies


def assert_independent(copied: Any, layer: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    before, _ = layer(x)
    np.testing.assert_array_equal(copied(x)[0], before)
    # The generator was copied with its position, and is no longer shared.
    np.testing.assert_array_equal(copied.forward(x)[0], layer.forward(x)[0])
    copied.forward(x)
    for mapping in (copied.parameters, copied.gradients):
        assert all(np.shares_memory(view, mapping.flat) for view in mapping.values())
        assert mapping.flat.flags.writeable
    for name, view in copied.parameters.items():
        assert not np.shares_memory(view, layer.parameters[name])
        assert not np.shares_memory(copied.gradients[name], layer.gradients[name])
    copied.parameters.flat[...] = 0.25
    assert (copied.parameters["weight_hh_l0"] == 0.25).all()
    np.testing.assert_array_equal(layer(x)[0], before)
    kept = layer.gradients.flat.copy()
    outputs, _, tape = copied.forward(x)
    copied.backward(tape, np.ones_like(outputs))
    assert copied.gradients.flat.any()
    np.testing.assert_array_equal(layer.gradients.flat, kept)


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda layer: layer.to("cpu"),
        copy.deepcopy,
        lambda layer: copy.deepcopy({"a": [layer]})["a"][0],
        lambda layer: pickle.loads(pickle.dumps(layer)),
    ],
    ids=["to", "deepcopy", "deepcopy inside", "pickle"],
)
def test_a_copy_is_equal_and_independent(cell, dtype, duplicate):
    layer = randomise(LAYERS[cell](3, 4, 2, bidirectional=True, dropout=0.5, dtype=dtype, seed=3, device="cpu"))
    copied = duplicate(layer)
    assert type(copied) is type(layer)
    assert repr(copied) == repr(layer)
    assert_independent(copied, layer)


# ---------------------------------------------------------------- prepared, streaming


@pytest.mark.parametrize("layers", [1, 3])
def test_a_prepared_layer_is_frozen(cell, kernels, layers):
    example = Example(cell, layers=layers, kernels=kernels)
    arguments = (example.x, as_state(cell, example.state), RAGGED)
    call = example.layer.prepare()
    before = example.results(*call(*arguments))
    assert_same(before, example.results(*example.layer(*arguments)))
    example.layer.parameters.flat[...] = 0
    assert_same(example.results(*call(*arguments)), before)
    np.testing.assert_array_equal(call(example.x[:1, :3])[0], call(x=example.x[:1, :3], state=None, lengths=None)[0])
    with pytest.raises(ValueError, match="precision"):
        example.layer.prepare(precision="int4")


CHANGES: dict[str, Any] = {
    "as it is": lambda a: a,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "Fortran order": np.asfortranarray,
    "read-only": lambda a: (a.setflags(write=False), a)[1],
    "the other dtype": lambda a: a.astype("float64" if a.dtype == np.float32 else "float32"),
    "the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "a subclass": lambda a: a.view(type("Subclass", (np.ndarray,), {})),
    "a list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_prepared_layer_takes_whatever_the_layer_takes(cell, dtype, kernels, change):
    example = Example(cell, dtype, 1, False, lengths=None, kernels=kernels)
    call, state = example.layer.prepare(), as_state(cell, example.state)
    x = CHANGES[change](np.array(example.x))
    changed = tuple(CHANGES[change](np.array(half)) for half in state) if cell == "lstm" else CHANGES[change](state)
    states = [None, state] if cell != "lstm" and change == "a list" else [None, state, changed]
    if cell == "lstm":
        states += [(None, changed[1]), (changed[0], None), list(changed)]
    for one in states:
        for argument in (example.x, x):
            assert_same(example.results(*call(argument, one)), example.results(*example.layer(argument, one)))
    if kernels != "reference":  # which of these need no conversion
        cell_of = example.layer.stack.cell
        quick = cell_of.frozen(cell_of.pack(example.layer.stack.of_cells[0]))
        direct = change in ("as it is", "read-only")
        assert (quick(x, None) is not None) == direct
        if one is not None and change != "a list":
            assert (quick(example.x, changed) is not None) == direct


@pytest.mark.parametrize("layers", [1, 2])
def test_a_prepared_layer_is_pickled(cell, kernels, layers):
    example = Example(cell, "float32", layers, False, lengths=None, kernels=kernels)
    call = example.layer.prepare()
    again = pickle.loads(pickle.dumps(call))
    assert_same(example.results(*again(example.x)), example.results(*call(example.x)))
    assert repr(again) == repr(call) == f"{example.layer!r}.prepare()"


def test_a_prepared_layer_reports_that_memory_ended(cell, dtype, kernels):
    if kernels == "reference":
        pytest.skip("it allocates nothing itself")
    example = Example(cell, dtype, 1, False, lengths=None, kernels=kernels)
    layer = example.layer.stack.cell
    for last in range(len(oracle.STATES[cell]) + 1):
        left = iter(range(last))

        def empty(shape, dtype, left=left):
            if next(left, None) is None:
                raise MemoryError("no more")
            return np.empty(shape, dtype)

        call = layer._frozen(
            layer._kernels, layer.pack(example.layer.stack.of_cells[0]), np.ndarray, empty, layer.dtype
        )
        with pytest.raises(MemoryError, match="no more"):
            call(example.x, None)


def test_a_prepared_layer_refuses_what_the_layer_refuses(cell, kernels):
    example = Example(cell, "float64", 1, False, lengths=None, kernels=kernels)
    call, state = example.layer.prepare(), as_state(cell, example.state)
    short = tuple(half[:, 1:] for half in state) if cell == "lstm" else state[:, 1:]
    x = example.x
    for arguments in [
        (x[:, :, :-1],), (x[:0],), (x[:, :0],), (x[0],), (x[None],), (None,), (x, short), (x, 3), (x, (1, 2, 3)),
        (x.astype(complex),), (x, "h"), (x, x),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError)) as expected:
            example.layer(*arguments)
        with pytest.raises(expected.type, match=re.escape(str(expected.value))):
            call(*arguments)


@pytest.mark.parametrize("chunks", [[1] * 11, [4, 1, 6], [10, 1]])
def test_a_sequence_streams_in_steps_and_chunks(cell, dtype, kernels, chunks):
    """Each call is given the state that the one before returned: equal to the whole sequence at once."""
    example = Example(cell, dtype, 2, False, (3, 11, 4, 5), None, kernels=kernels)
    expected = example.results(*example.forward()[:2])
    for call in (example.layer.prepare(), example.layer):
        state, parts, start = as_state(cell, example.state), [], 0
        for steps in chunks:
            part, state = call(example.x[:, start : start + steps], state)
            parts.append(part)
            start += steps
        check_forward(example.results(np.concatenate(parts, axis=1), state), expected, dtype)


@pytest.mark.parametrize("lengths", [None, RAGGED])
@pytest.mark.parametrize("size", [(3, 2), (17, 33), (31, 64)])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_weights_of_fewer_bits_are_near(cell, kernels, size, lengths, precision):
    """And not equal to float32, or they were never used; what each step is, tests/backends/test_narrow.py knows."""
    example = Example(cell, "float32", shape=(4, 6, *size), lengths=lengths, kernels=kernels)
    arguments = (example.x, as_state(cell, example.state), lengths)
    format_of = getattr(example.layer.stack.cell, "format_of", None)
    if format_of is None or format_of(precision) is None:
        with pytest.raises(RuntimeError, match=f"precision='{precision}' needs compiled kernels"):
            example.layer.prepare(precision=precision)
        return
    got = example.results(*example.layer.prepare(precision=precision)(*arguments))
    errors = forward_errors(got, example.truth()[0])
    least, most = {"bfloat16": (1e-4, 1e-2), "float16": (1e-5, 2e-3), "int8": (1e-4, 4e-2)}[precision]
    assert all(least < error < most for error in errors.values()), errors
    assert not got["outputs"][~example.valid].any()


# ---------------------------------------------------------------- parameters and their start


def test_parameters_are_named_views_of_one_buffer(dtype):
    layer = xlstm.LSTM(3, 4, 2, bidirectional=True, dtype=dtype, seed=0, device="cpu")
    shapes = {
        "weight_ih_l0": (16, 3),
        "weight_hh_l0": (16, 4),
        "bias_l0": (16,),
        "weight_ih_l0_reverse": (16, 3),
        "weight_hh_l0_reverse": (16, 4),
        "bias_l0_reverse": (16,),
        "weight_ih_l1": (16, 8),
        "weight_hh_l1": (16, 4),
        "bias_l1": (16,),
        "weight_ih_l1_reverse": (16, 8),
        "weight_hh_l1_reverse": (16, 4),
        "bias_l1_reverse": (16,),
    }
    for mapping in (layer.parameters, layer.gradients):
        assert [(name, view.shape) for name, view in mapping.items()] == list(shapes.items())
        assert all(np.shares_memory(view, mapping.flat) and view.flags.writeable for view in mapping.values())
        assert {str(view.dtype) for view in mapping.values()} == {dtype}
        joined = np.concatenate([view.ravel() for view in mapping.values()])
        np.testing.assert_array_equal(mapping.flat, joined)  # in this order, nothing between
    assert not np.shares_memory(layer.parameters.flat, layer.gradients.flat)
    x = np.ones((1, 2, 3))
    before, _ = layer(x)
    layer.parameters["bias_l1"] = np.full(16, 0.5)
    layer.parameters["weight_hh_l0"][0, 0] += 1
    assert (layer.parameters.flat == 0.5).sum() >= 16
    assert (layer(x)[0] != before).any()
    assert [view.shape for view in xlstm.RNN(3, 4, device="cpu").parameters.values()] == [(4, 3), (4, 4), (4,)]


def test_orthogonal_start(dtype):
    layer = xlstm.LSTM(5, 6, 2, bidirectional=True, dtype=dtype, seed=0, device="cpu")
    for name, view in layer.parameters.items():
        values = view.astype(float)
        if name.startswith("weight_hh"):
            blocks = values.reshape(4, 6, 6)
            for block in blocks:
                np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-6 if dtype == "float32" else 1e-14)
            for one in range(4):  # four draws, not one four times
                assert all(np.abs(blocks[one] - blocks[two]).max() > 0.1 for two in range(one))
        elif name.startswith("weight_ih"):
            limit = (6 / (view.shape[1] + 6)) ** 0.5
            assert 0.8 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
        else:
            np.testing.assert_array_equal(values, [0] * 6 + [1] * 6 + [0] * 12)
    rnn = xlstm.RNN(3, 7, dtype=dtype, seed=0, device="cpu").parameters
    recurrent = rnn["weight_hh_l0"].astype(float)
    np.testing.assert_allclose(recurrent.T @ recurrent, np.eye(7), atol=1e-6)
    assert not rnn["bias_l0"].any()


def test_pytorch_start(cell, dtype):
    layer = LAYERS[cell](30, 100, 2, dtype=dtype, seed=0, init="pytorch", device="cpu")
    for name, view in layer.parameters.items():
        draws = 2 if name.startswith("bias_l") else 1
        if draws == 2:  # the bias of a GRU's candidate is the first of PyTorch's two alone
            view, single = np.split(view, [100 * layer.sizes.record.biases_in_one])
            assert np.abs(single).max(initial=0.0) <= 0.1 * (1 + 1e-6)
        assert 0.08 * draws < np.abs(view).max() <= 0.1 * draws * (1 + 1e-6), name
        deviation = 0.1 * (draws / 3) ** 0.5  # of one uniform draw from ±limit: limit/√3
        assert abs(view.std() / deviation - 1) < 0.2, name
        assert abs(view.mean()) < 5 * deviation / view.size**0.5, name


@pytest.mark.parametrize("init", ["orthogonal", "pytorch"])
def test_the_start_is_drawn_from_the_seed(cell, init):
    def start(seed: Any, dtype: str = "float64") -> Any:
        return LAYERS[cell](3, 4, 2, dtype=dtype, seed=seed, init=init, device="cpu").parameters.flat

    np.testing.assert_array_equal(start(1), start(1))
    np.testing.assert_array_equal(start(1), start(np.random.default_rng(1)))
    assert (start(1) != start(2)).any()
    assert (start(None) != start(None)).any()
    np.testing.assert_array_equal(start(1, "float32"), start(1).astype("float32"))  # drawn once, rounded once
    shared = np.random.default_rng(1)
    assert (start(shared) != start(shared)).any()


# ---------------------------------------------------------------- arguments


def test_real_input_of_any_kind_is_converted_once(cell, dtype, kernels):
    layer = randomise(LAYERS[cell](2, 3, dtype=dtype, device="cpu", kernels=kernels))
    integers = np.array([[[1, 0], [2, 3]], [[0, 1], [1, 1]]])
    expected, _ = layer(integers.astype(dtype))
    assert str(expected.dtype) == dtype
    same = [
        integers,
        integers.astype(np.uint8),
        integers.tolist(),
        tuple(map(tuple, integers.astype(float).tolist())),
        integers.astype(np.float16),
        integers.astype(">f8"),
        integers.astype(np.longdouble),
    ]
    for x in same:
        np.testing.assert_array_equal(layer(x)[0], expected)
    np.testing.assert_array_equal(layer(integers > 0)[0], layer((integers > 0).astype(dtype))[0])
    zeros = as_state(cell, {"h": np.zeros((1, 2, 3), int), "c": np.zeros((1, 2, 3)).tolist()})
    outputs, _, tape = layer.forward(integers, zeros)
    # Without a tape other roundings are allowed.
    np.testing.assert_allclose(outputs, expected, rtol={"float32": 1e-5, "float64": 1e-13}[dtype])
    dx, _ = layer.backward(tape, np.ones((2, 2, 3), int), as_state(cell, {"h": None, "c": np.zeros((1, 2, 3), bool)}))
    assert str(dx.dtype) == dtype


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3, 2), complex),
        np.zeros((2, 3, 2), object),
        np.full((2, 3, 2), "a"),
        [["ab", "cd"]],
        np.zeros((2, 3, 2), "datetime64[s]"),
        np.zeros((2, 3, 2), "timedelta64[s]"),
        None,
        "text",
    ],
    ids=lambda x: getattr(getattr(x, "dtype", None), "str", repr(x)),
)
def test_what_is_no_real_number_is_refused(cell, x):
    layer = LAYERS[cell](2, 3, device="cpu")
    with pytest.raises(TypeError, match="x must hold real numbers"):
        layer(x)


def test_arrays_of_other_libraries_are_sent_to_layer_to(cell):
    strict = peer("array_api_strict")
    layer = LAYERS[cell](2, 3, device="cpu")
    with pytest.raises(TypeError, match=r"x is a array_api_strict array.*layer\.to"):
        layer(strict.zeros((2, 3, 2)))


def test_torch_tensors_are_sent_to_numpy(cell):
    torch = peer("torch")
    layer = LAYERS[cell](2, 3, device="cpu")
    with pytest.raises(TypeError, match=r"^x is a torch tensor: pass x\.numpy\(\)\.$"):
        layer(torch.zeros((2, 3, 2)))
    with pytest.raises(TypeError, match=r"^x is a torch tensor: pass x\.detach\(\)\.numpy\(\)\.$"):
        layer(torch.zeros((2, 3, 2), requires_grad=True))
    state = as_state(cell, {"h": torch.zeros((1, 2, 3)), "c": None})
    with pytest.raises(TypeError, match=r"state('s h)? is a torch tensor: pass"):
        layer(np.zeros((2, 3, 2)), state)
    _, _, tape = layer.forward(np.zeros((2, 3, 2)))
    with pytest.raises(TypeError, match=r"d_outputs is a torch tensor: pass d_outputs\.numpy"):
        layer.backward(tape, torch.zeros((2, 3, 3)))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype_given", ["float32", "float64", "int64"])
def test_masked_arrays_are_refused(cell, kernels, bidirectional, dtype_given):
    """Their masks would be lost without a word."""
    layer = LAYERS[cell](2, 3, bidirectional=bidirectional, device="cpu", kernels=kernels)
    x = np.ma.masked_equal(np.arange(12).reshape(2, 3, 2), 3).astype(dtype_given)
    with pytest.raises(TypeError, match="MaskedArray"):
        layer(x)
    with pytest.raises(TypeError, match="MaskedArray"):
        layer(x, lengths=[3, 2])


def test_wrong_shapes_are_named():
    layer = xlstm.LSTM(3, 4, 2, bidirectional=True, device="cpu")
    x = np.zeros((2, 5, 3))
    with pytest.raises(ValueError, match=r"x must be \(N, T, 3\).*got shape \(5, 3\)"):
        layer(x[0])
    with pytest.raises(ValueError, match=r"x must be \(N, T, 3\).*got shape \(2, 3, 5\)"):
        layer(x.transpose(0, 2, 1))
    with pytest.raises(ValueError, match=r"at least one row and one step, got shape \(0, 5\)"):
        layer(x[:0])
    with pytest.raises(ValueError, match=r"at least one row and one step, got shape \(2, 0\)"):
        layer(x[:, :0])
    with pytest.raises(ValueError, match=r"lengths\[1\] is 6: expected 1 to 5"):
        layer(x, lengths=[5, 6])
    with pytest.raises(ValueError, match="each of the 2 rows, got 1"):
        layer(x, lengths=[5])
    with pytest.raises(TypeError, match="lengths must be integers"):
        layer(x, lengths=[5.0, 3.0])
    h = np.zeros((4, 2, 4))
    with pytest.raises(ValueError, match=r"state's h must be \(4, 2, 4\).*got shape \(1, 2, 4\)"):
        layer(x, (h[:1], h))
    with pytest.raises(ValueError, match=r"state's c must be \(4, 2, 4\).*got shape \(4, 1, 4\)"):
        layer(x, (h, h[:, :1]))
    with pytest.raises(ValueError, match="state of an LSTM must be a pair"):
        layer(x, h)
    with pytest.raises(ValueError, match="state of an LSTM must be a pair"):
        layer(x, (h, h, h))
    with pytest.raises(ValueError, match="state of an RNN is one array"):
        xlstm.RNN(3, 4, device="cpu")(x, (h, None))
    with pytest.raises(ValueError, match=r"state must be \(1, 2, 4\).*got shape \(4, 2, 4\)"):
        xlstm.RNN(3, 4, device="cpu")(x, h)
    outputs, _, tape = layer.forward(x)
    with pytest.raises(ValueError, match=r"d_outputs must be \(2, 5, 8\), got shape \(2, 5, 4\)"):
        layer.backward(tape, outputs[:, :, :4])
    with pytest.raises(ValueError, match=r"d_state's dh must be \(4, 2, 4\)"):
        layer.backward(tape, None, (h[:, 0], None))
    with pytest.raises(ValueError, match="d_state of an LSTM must be a pair"):
        layer.backward(tape, None, h)


def test_a_ragged_list_is_told_what_a_layer_takes(cell):
    """The likeliest mistake: NumPy's own message of "inhomogeneous shapes" helps nobody."""
    layer = LAYERS[cell](3, 4, device="cpu")
    with pytest.raises((ValueError, TypeError), match=r"\(N, T, 3\)"):
        layer([np.zeros((5, 3)), np.zeros((2, 3))])


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("input_size", 0, ValueError),
        ("input_size", -3, ValueError),
        ("input_size", 2.0, TypeError),
        ("input_size", None, TypeError),
        ("hidden_size", 0, ValueError),
        ("hidden_size", "4", TypeError),
        ("num_layers", 0, ValueError),
        ("num_layers", 1.5, TypeError),
        ("dropout", 1.0, ValueError),
        ("dropout", -0.1, ValueError),
        ("dropout", float("nan"), ValueError),
        ("dtype", "float16", ValueError),
        ("dtype", "int32", ValueError),
        ("dtype", "complex128", ValueError),
        ("dtype", "double precision", ValueError),
        ("dtype", None, ValueError),
        ("init", "zeros", ValueError),
        ("init", np.array("orthogonal"), ValueError),
        ("kernels", "fast", ValueError),
        ("kernels", np.array("auto"), ValueError),
        ("device", "gpu", ValueError),
        ("device", "cuda:x", ValueError),
        ("device", "cuda:-1", ValueError),
        ("device", "cuda:", ValueError),
        ("device", 0, ValueError),
        ("seed", -1, ValueError),
        ("seed", 1.5, ValueError),
        ("seed", "1", ValueError),
        ("seed", True, ValueError),
    ],
)
def test_bad_constructor_arguments_are_named(cell, argument, value, error):
    arguments = {"input_size": 3, "hidden_size": 4, "device": "cpu", argument: value}
    with pytest.raises(error, match=argument):
        LAYERS[cell](**arguments)


def test_an_array_that_says_it_is_on_a_gpu_is_named_as_one():
    class OnGPU:
        __cuda_array_interface__ = {"shape": (2, 3, 4), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012

    with pytest.raises(TypeError, match=r"x is a .*OnGPU on a GPU, but the parameters are numpy .* on cpu.*layer\.to"):
        xlstm.LSTM(4, 2, device="cpu")(OnGPU())


def test_dtypes_may_be_given_as_numpy_has_them():
    for dtype in ("float64", np.float64, np.dtype("float64"), "f8", float):
        assert xlstm.LSTM(2, 2, dtype=dtype, device="cpu").dtype == "float64"
    assert xlstm.LSTM(2, 2, device="cpu").dtype == "float32"


def test_compiled_kernels_are_there_or_said_to_be_missing(cell, dtype):
    if LAYERS[cell](3, 4, dtype=dtype, device="cpu").kernels == "reference":
        reason = f"no compiled kernels of the {cell} cell" if backends.cpu.targets() else "compiled kernels"
        with pytest.raises(RuntimeError, match=f"{reason}.*kernels='auto'"):
            LAYERS[cell](3, 4, dtype=dtype, device="cpu", kernels="compiled")
    else:
        assert LAYERS[cell](3, 4, dtype=dtype, device="cpu", kernels="compiled").kernels != "reference"
    assert LAYERS[cell](3, 4, dtype=dtype, device="cpu", kernels="reference").kernels == "reference"


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(backends.cupy_arrays, "installed", lambda: False)
    monkeypatch.setattr(backends.cupy_arrays, "_backends", {})
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    return monkeypatch


def test_cuda_without_cupy_names_the_command_that_mends_it(cell, no_cupy):
    for device in ("cuda", "cuda:1"):
        with pytest.raises(RuntimeError, match=r"CuPy is not installed.*pip install"):
            LAYERS[cell](3, 4, device=device)
    layer = LAYERS[cell](3, 4)
    with pytest.raises(RuntimeError, match="pip install"):
        layer.to("cuda")
    assert layer.device == "cpu"
    assert LAYERS[cell](3, 4, device="auto").device == "cpu"


def test_the_environment_variable_stands_for_no_device(cell, no_cupy):
    no_cupy.setenv("XLSTM_DEVICE", "cuda")
    with pytest.raises(RuntimeError, match="pip install"):
        LAYERS[cell](3, 4)
    assert LAYERS[cell](3, 4, device="cpu").device == "cpu"  # what is asked for in words comes first
    copied = copy.deepcopy(LAYERS[cell](3, 4, device="cpu"))
    assert copied.device == "cpu"
    no_cupy.setenv("XLSTM_DEVICE", "toaster")
    with pytest.raises(ValueError, match=r"XLSTM_DEVICE must be .* got 'toaster'"):
        LAYERS[cell](3, 4)
    for value in ("cpu", "auto", ""):
        no_cupy.setenv("XLSTM_DEVICE", value)
        assert LAYERS[cell](3, 4).device == "cpu"
    assert backends.select(None).device == "cpu"


# ---------------------------------------------------------------- matrices as textbooks have them


def textbook(dtype: str, H: int = 5, D: int = 4, column: bool = True) -> dict[str, Any]:
    """Unscaled matrices on z = [h; x] and their biases, columns or not."""
    rng = np.random.default_rng(8)
    shape = (H, 1) if column else (H,)
    matrices = {f"W_{gate}": rng.standard_normal((H, H + D)).astype(dtype) for gate in "figo"}
    return {**matrices, **{f"b_{gate}": rng.standard_normal(shape).astype(dtype) for gate in "figo"}}


@pytest.mark.parametrize("column", [True, False])
def test_four_gate_matrices_give_the_textbook_cell(dtype, kernels, column):
    """Step by step on columns, h above x, to the last digits."""
    m = textbook(dtype, column=column)
    layer = xlstm.LSTM.from_gate_matrices(**m, device="cpu", kernels=kernels)
    assert (layer.input_size, layer.hidden_size, layer.num_layers, layer.dtype) == (4, 5, 1, dtype)
    sequence = [np.eye(4)[:, [k]] for k in (2, 0, 3, 3, 1, 2)]  # one-hot columns
    m = {name: values.astype(float).reshape(5, -1) for name, values in m.items()}
    h = c = np.zeros((5, 1))
    expected = []
    for x in sequence:
        z = np.vstack([h, x])
        f, i, o = (1 / (1 + np.exp(-(m[f"W_{gate}"] @ z + m[f"b_{gate}"]))) for gate in "fio")
        g = np.tanh(m["W_g"] @ z + m["b_g"])
        c = f * c + i * g
        h = o * np.tanh(c)
        expected.append(h[:, 0])
    outputs, (final_h, final_c) = layer(np.hstack(sequence).T[None])
    tolerance = {"float64": 1e-15, "float32": 5e-7}[dtype]
    assert relative_error(outputs[0], np.array(expected)) < tolerance
    assert relative_error(final_h[0, 0], h[:, 0]) < tolerance
    assert relative_error(final_c[0, 0], c[:, 0]) < tolerance


def test_two_matrices_give_the_textbook_rnn(dtype, kernels):
    rng = np.random.default_rng(8)
    U, V, b_h = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 4), (5, 5), (5, 1)))
    layer = xlstm.RNN.from_matrices(U=U, V=V, b_h=b_h, device="cpu", kernels=kernels)
    x = rng.standard_normal((6, 4, 1))
    h = np.zeros((5, 1))
    for step in x:
        h = np.tanh(U.astype(float) @ step + V.astype(float) @ h + b_h.astype(float))
    outputs, final = layer(x[None, :, :, 0])
    tolerance = {"float64": 2e-15, "float32": 1e-6}[dtype]
    assert relative_error(final[0, 0], h[:, 0]) < tolerance
    np.testing.assert_array_equal(outputs[0, -1], final[0, 0])
    flat_bias = xlstm.RNN.from_matrices(U=U, V=V, b_h=b_h[:, 0], device="cpu", kernels=kernels)
    np.testing.assert_array_equal(flat_bias.parameters.flat, layer.parameters.flat)


def test_a_layer_from_matrices_does_not_hold_on_to_them():
    m = textbook("float32")
    layer = xlstm.LSTM.from_gate_matrices(**m, device="cpu")
    before = layer.parameters.flat.copy()
    spoil(m.values())
    np.testing.assert_array_equal(layer.parameters.flat, before)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("W_f", lambda W: W.T, r"W_f must be \(H, H\+D\).*got shape \(9, 5\)"),
        ("W_i", lambda W: W[:, :5], r"W_i must be \(H, H\+D\).*got shape \(5, 5\)"),
        ("W_g", lambda W: W[0], r"W_g must be \(H, H\+D\).*got shape \(9,\)"),
        ("W_i", lambda W: W[0], r"W_i must be \(H, H\+D\).*got shape \(9,\)"),
        ("W_o", lambda W: W[:4], r"W_o has shape \(4, 9\), but W_i has \(5, 9\)"),
        ("W_o", lambda W: W[:, 1:], r"W_o has shape \(5, 8\), but W_i has \(5, 9\)"),
        ("b_f", lambda b: b.T, r"b_f must be \(5,\) or \(5, 1\), got shape \(1, 5\)"),
        ("b_i", lambda b: b[:4], r"b_i must be \(5,\) or \(5, 1\), got shape \(4, 1\)"),
        ("b_o", lambda b: b[0, 0], r"b_o must be \(5,\) or \(5, 1\), got shape \(\)"),
    ],
)
def test_gate_matrices_that_do_not_fit_are_named(name, change, message):
    m = textbook("float64")
    with pytest.raises(ValueError, match=message):
        xlstm.LSTM.from_gate_matrices(**{**m, name: change(m[name])}, device="cpu")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("U", lambda U: U[:4], r"U must be \(5, D\).*got shape \(4, 4\)"),
        ("U", lambda U: U[0], r"U must be \(5, D\).*got shape \(4,\)"),
        ("U", lambda U: U[:, :0], r"U must be \(5, D\).*got shape \(5, 0\)"),
        ("V", lambda V: V[:, :4], r"V must be \(H, H\).*got shape \(5, 4\)"),
        ("b_h", lambda b: b[:2], r"b_h must be \(5,\) or \(5, 1\), got shape \(2, 1\)"),
    ],
)
def test_elman_matrices_that_do_not_fit_are_named(name, change, message):
    m = {"U": np.ones((5, 4)), "V": np.ones((5, 5)), "b_h": np.ones((5, 1))}
    with pytest.raises(ValueError, match=message):
        xlstm.RNN.from_matrices(**{**m, name: change(m[name])}, device="cpu")


def test_values_take_kernels_by_position():
    made = xlstm.RNN(3, 2, seed=0)
    values = {name.removesuffix("_l0"): value for name, value in made.parameters.items()}
    layer = xlstm.RNN.of_values(values, "cpu", "reference")
    assert (layer.kernels, layer.precision) == ("reference", "highest")
    assert xlstm.RNN.of_values(values, "cpu", precision="high").precision == "high"
    x = np.ones((2, 4, 3), np.float32)
    np.testing.assert_allclose(layer(x)[0], made(x)[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "int64", "float16", "complex128"])
def test_matrices_of_mixed_or_other_dtypes_are_refused(kind):
    m = textbook("float64")
    with pytest.raises(TypeError, match=f"W_g {kind}"):
        xlstm.LSTM.from_gate_matrices(**{**m, "W_g": m["W_g"].astype(kind)}, device="cpu")
    if kind != "float32":
        with pytest.raises(TypeError, match=f"W_g {kind}"):
            xlstm.LSTM.from_gate_matrices(**{name: values.astype(kind) for name, values in m.items()}, device="cpu")
    with pytest.raises(TypeError, match=f"b_h {kind}"):
        xlstm.RNN.from_matrices(U=np.ones((2, 3)), V=np.ones((2, 2)), b_h=np.ones(2, kind), device="cpu")


def test_precision_is_a_setting_that_shows_where_it_is_set():
    for cls in (xlstm.LSTM, xlstm.GRU, xlstm.RNN):
        assert "precision" not in repr(cls(2, 3))
        layer = cls(2, 3, precision="high", seed=0)
        assert "precision='high'" in repr(layer)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.to("cpu")):
            assert other.precision == "high"
        with pytest.raises(ValueError, match="'bfloat16' or 'float16', got 'tf32'"):
            cls(2, 3, precision="tf32")
    matrices = {"U": np.ones((2, 3)), "V": np.ones((2, 2)), "b_h": np.ones(2)}
    assert xlstm.RNN.from_matrices(**matrices, precision="high").precision == "high"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 2**31), "hidden_size must be 2147483647 or less, got 2147483648"),
        ((2**40, 3), "input_size must be 2147483647 or less, got 1099511627776"),
        ((3, 4, 10**6), "num_layers must be 1000 or less, got 1000000"),
        ((3, 4, 0), "num_layers must be 1 or more, got 0"),
    ],
)
def test_sizes_that_nobody_means_are_refused_before_they_take_memory(sizes, message):
    with pytest.raises(ValueError, match=message):
        xlstm.LSTM(*sizes)
