# Longer than 500 lines: the tests of one extension module stand in one file.
"""The compiled kernels of the CPU, each instruction set that runs here, against the reference in float64.

What several threads, a fork or the environment decide is tried in processes of its own: the functions of the last
section, which the tests run there.
"""

import functools
import gc
import itertools
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xlstm.backends import cpu, numpy_arrays
from xlstm.backends.cpu import missing

import xlstm
from xlstm import backends, cells, check_gradients
from xlstm.layers import LAYERS

from .. import oracle
from ..conftest import COMPILED_CELLS, TARGETS, usable_target
from ..measure import FORWARD, GRADIENTS, check, check_forward, gradient_errors, relative_error
from ..measure import check_gradients as check_all_gradients

ROOT = Path(__file__).parents[2]
FREQUENT = [1, 15, 16, 17, 63, 64, 65]  # around the edges of tiles, panels and tasks
ARRAYS = 0.1
"""An array of few numbers may be the small difference of terms of order 1: it is measured against a tenth."""


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set, chosen while the test runs."""
    name = usable_target(request.param)
    monkeypatch.setattr(cpu, "target", name)
    return name


@pytest.fixture(params=COMPILED_CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _fresh_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kernels are to write holds NaN before: an element that they leave out is seen."""

    def empty(shape: Any, dtype: Any) -> Any:
        return np.full(shape, np.nan, dtype)

    monkeypatch.setattr(sys.modules[cpu.CompiledCell.__module__], "np", SimpleNamespace(**{**vars(np), "empty": empty}))


# ---------------------------------------------------------------- one call, on any path


class Case(NamedTuple):
    """The parameters of a layer, and the arguments of one forward and one backward call."""

    cell: str
    parameters: dict[str, Any]  # by the layer's names
    bidirectional: bool
    x: Any
    ids: Any  # tokens in place of x
    table: Any  # None for one-hot tokens
    state: dict[str, Any]
    lengths: Any
    d_outputs: Any
    d_state: dict[str, Any]
    input_gradient: bool

    @property
    def layers(self) -> int:
        return len(oracle.suffixes(self.parameters))


def random_case(
    rng: np.random.Generator,
    cell: str,
    dtype: str,
    shape: tuple[int, int, int, int],
    *,
    layers: int = 1,
    bidirectional: bool = False,
    lengths: Any = None,
    absent: Any = (),
    vocabulary: int = 0,
    one_hot: bool = False,
    input_gradient: bool = True,
) -> Case:
    """Numbers of `dtype`, NaN and useless tokens in the padding. With one-hot tokens D is the vocabulary."""
    N, T, D, H = shape
    S = 2 if bidirectional else 1
    parameters = oracle.random_parameters(rng, cell, D, H, layers, S, scale=0.6)
    padding = np.arange(T) >= (np.full((N, 1), T) if lengths is None else np.c_[lengths])

    def drawn(name: str, *sizes: int) -> Any:
        values = rng.normal(size=sizes).astype(dtype)
        return None if name in absent else values

    x = ids = table = None
    if vocabulary or one_hot:
        ids = rng.integers(0, D if one_hot else vocabulary, (N, T))
        ids[padding] = rng.choice([-7, 10**6], ids.shape)[padding]
        table = None if one_hot else drawn("table", vocabulary, D)
    else:
        x = drawn("x", N, T, D)
        x[padding] = np.nan
    d_outputs = drawn("d_outputs", N, T, S * H)
    if d_outputs is not None:
        d_outputs[padding] = np.nan
    return Case(
        cell,
        {name: values.astype(dtype) for name, values in parameters.items()},
        bidirectional,
        x,
        ids,
        table,
        {name: drawn(name, layers * S, N, H) for name in oracle.STATES[cell]},
        lengths,
        d_outputs,
        {f"d{name}": drawn(f"d{name}", layers * S, N, H) for name in oracle.STATES[cell]},
        input_gradient,
    )


def one_or_pair(state: Mapping[str, Any]) -> Any:
    """The state in the form that a layer takes."""
    values = tuple(state.values())
    return values if len(values) > 1 else values[0]


def named(names: Any, state: Any) -> dict[str, Any]:
    """The inverse of `one_or_pair`."""
    return dict(zip(names, state if isinstance(state, tuple) else (state,), strict=True))


def layer_of(case: Case, dtype: str, kernels: str) -> Any:
    D, H = case.parameters["weight_ih_l0"].shape[1], case.parameters["weight_hh_l0"].shape[1]
    layer = LAYERS[case.cell](D, H, case.layers, case.bidirectional, dtype=dtype, seed=0, device="cpu", kernels=kernels)
    for name, values in case.parameters.items():
        layer.parameters[name][...] = values
    return layer


def run(case: Case, dtype: str, kernels: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What forward gives and what backward gives, by name."""
    layer = layer_of(case, dtype, kernels)
    tokens = None if case.ids is None else (case.ids, wide(case.table, dtype))
    x, state = wide(case.x, dtype), one_or_pair(case.state)
    outputs, final, tape = layer.forward(x, state, case.lengths, tokens=tokens)
    results = {"outputs": outputs, **named(case.state, final)}
    dx, d_initial = layer.backward(tape, case.d_outputs, one_or_pair(case.d_state), case.input_gradient)
    gradients = {**named(case.d_state, d_initial), **{name: np.array(g) for name, g in layer.gradients.items()}}
    if dx is not None:
        gradients["dx"] = dx
    if x is not None:  # inference keeps other things than a forward call, and reads packed weights
        for name, call in (("called", layer), ("prepared", layer.prepare())):
            outputs, final = call(x, state, case.lengths)
            results |= {f"{name} outputs": outputs, **{f"{name} {k}": v for k, v in named(case.state, final).items()}}
    return results, gradients


def wide(values: Any, dtype: str) -> Any:
    """In `dtype`; an array that has it already stays as it lies in memory."""
    return values if values is None or values.dtype == dtype else values.astype(dtype)


def assert_true(case: Case, dtype: str) -> None:
    """Both passes on the compiled kernels are those of the reference in float64."""
    results, gradients = run(case, dtype, "compiled")
    expected_results, expected_gradients = run(case, "float64", "reference")
    assert {array.dtype.name for array in [*results.values(), *gradients.values()]} == {dtype}
    check_forward(results, expected_results, dtype, ARRAYS)
    errors = gradient_errors(gradients, expected_gradients)
    if max(errors.values()) > GRADIENTS[dtype]:  # a slope 1 - h² near 0, a sum near 0: the reference has it, too
        theirs = gradient_errors(run(case, dtype, "reference")[1], expected_gradients)
        errors = {name: error for name, error in errors.items() if error > 4 * theirs[name]}
    check(errors, GRADIENTS[dtype])
    if case.lengths is not None:
        padding = np.arange(results["outputs"].shape[1]) >= np.c_[case.lengths]
        assert not results["outputs"][padding].any()
        if case.x is not None and case.input_gradient:
            assert not gradients["dx"][padding].any()


# ---------------------------------------------------------------- every shape


def sizes(largest: int) -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from([n for n in FREQUENT if n <= largest]), st.integers(1, largest))


SEVERAL = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SEVERAL
@given(data=st.data())
def test_every_shape_length_and_absence(target, cell, dtype, data):
    N, D, H = (data.draw(sizes(67), label=name) for name in "NDH")
    T, layers, bidirectional = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 2)), data.draw(st.booleans())
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(1, T), min_size=N, max_size=N)))
    absent = [name for name in ("h", "c", "d_outputs", "dh", "dc") if data.draw(st.booleans())]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    case = random_case(
        rng, cell, dtype, (N, T, D, H), layers=layers, bidirectional=bidirectional, lengths=lengths, absent=absent,
        input_gradient=data.draw(st.booleans()),
    )  # fmt: skip
    assert_true(case, dtype)


@SEVERAL
@given(data=st.data())
def test_tokens_of_every_vocabulary(target, cell, dtype, data):
    """More tokens than the batch has places, of which the kernels see those in use, and fewer."""
    N, D, H = (data.draw(sizes(67), label=name) for name in "NDH")
    T, bidirectional, one_hot = data.draw(st.integers(1, 7)), data.draw(st.booleans()), data.draw(st.booleans())
    vocabulary = data.draw(st.one_of(sizes(67), st.integers(N * T, N * T + 70)))
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(1, T), min_size=N, max_size=N)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    case = random_case(
        rng, cell, dtype, (N, T, vocabulary if one_hot else D, H), bidirectional=bidirectional, lengths=lengths,
        absent=[name for name in ("h", "c", "d_outputs") if data.draw(st.booleans())], vocabulary=vocabulary,
        one_hot=one_hot, input_gradient=data.draw(st.booleans()),
    )  # fmt: skip
    assert_true(case, dtype)


# N, T, D, H beyond what is drawn above: several blocks of time and of gradient tiles, several tasks, one row, many.
LARGE = [(1, 70, 5, 33), (3, 400, 18, 20), (130, 9, 40, 70), (70, 33, 17, 18), (20, 4, 70, 290), (5, 6, 300, 40)]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_larger_shapes(target, cell, dtype, shape, ragged):
    rng = np.random.default_rng([*shape, 1])
    lengths = rng.integers(1, shape[1] + 1, shape[0]) if ragged else None
    assert_true(random_case(rng, cell, dtype, shape, lengths=lengths, bidirectional=ragged), dtype)


@pytest.mark.parametrize("input_gradient", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("vocabulary", [5, 300, 5000])
def test_tokens_of_larger_batches(target, cell, dtype, vocabulary, one_hot, input_gradient):
    rng = np.random.default_rng(vocabulary)
    case = random_case(
        rng, cell, dtype, (70, 30, vocabulary if one_hot else 21, 35), lengths=rng.integers(1, 31, 70),
        vocabulary=vocabulary, one_hot=one_hot, input_gradient=input_gradient,
    )  # fmt: skip
    assert_true(case, dtype)


@pytest.mark.parametrize(("places", "bad"), [((20, 3), -1), ((20, 3), 9), ((2, 3), 9), ((2, 3), 2**40)])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_token_outside_of_the_vocabulary_is_an_error(target, one_hot, places, bad):
    rng = np.random.default_rng(0)
    case = random_case(rng, "lstm", "float32", (*places, 9, 5), vocabulary=9, one_hot=one_hot)
    case.ids[1, 2] = bad
    with pytest.raises(ValueError, match=rf"token {bad} in row 1, step 2: expected 0 to 8"):
        run(case, "float32", "compiled")
    stack = layer_of(case, "float32", "compiled").stack  # which has no such check: the kernels have their own
    with pytest.raises(IndexError):
        stack.forward(None, [None] * len(stack.of_cells), case.lengths, (case.ids, wide(case.table, "float32")))


# ---------------------------------------------------------------- NaN and infinity


def assert_alike(got: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> None:
    """NaN and infinities in the same places, and the other numbers within the tolerance."""
    for name, truth in expected.items():
        finite = np.isfinite(truth)
        np.testing.assert_array_equal(got[name][~finite], truth[~finite], err_msg=name)
        assert np.isfinite(got[name][finite]).all(), name
        error = relative_error(got[name][finite], truth[finite], ARRAYS)
        assert error <= tolerance, (name, error)


def spoiled(cell: str, dtype: str, place: str, value: float, ragged: bool) -> Case:
    """A case with one such number in it, at a step that is neither the first nor the last."""
    rng = np.random.default_rng(5)
    lengths = [6, 4, 6, 1, 5, 3, 6] if ragged else None
    case = random_case(rng, cell, dtype, (7, 6, 18, 21), layers=2, bidirectional=True, lengths=lengths)
    array = {
        "x": case.x,
        "d_outputs": case.d_outputs,
        **case.state,
        **case.d_state,
        **{name.removesuffix("_l0"): values for name, values in case.parameters.items() if name.endswith("_l0")},
    }[place]
    array[{"x": (4, 2, 17), "d_outputs": (4, 2, 3)}.get(place, (0, 4, 17)[-array.ndim :])] = value
    return case


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("place", ["x", "h", "c", "weight_ih", "weight_hh", "bias", "bias_hn", "d_outputs", "dh", "dc"])
def test_nan_comes_out_where_the_reference_has_it(target, cell, dtype, place, ragged):
    if place in ("c", "dc") and "c" not in oracle.STATES[cell]:
        pytest.skip("the cell has no c")
    if place == "bias_hn" and cell != "gru":
        pytest.skip("the cell has one bias")
    case = spoiled(cell, dtype, place, np.nan, ragged)
    results, gradients = run(case, dtype, "compiled")
    expected, expected_gradients = run(case, "float64", "reference")
    assert_alike(results, expected, FORWARD[dtype])
    for name in [name for name in gradients if place.startswith("weight") and ragged and name == "dx"]:
        gradients.pop(name)  # the reference multiplies the padding with the weights, too
        expected_gradients.pop(name)
    assert_alike(gradients, expected_gradients, GRADIENTS[dtype])
    touched = np.isnan(expected["outputs"]).any(axis=(1, 2))
    if place in ("x", "h", "c"):
        np.testing.assert_array_equal(np.flatnonzero(touched), [4])  # the other rows never see it


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("place", ["x", "c", "bias"])
def test_infinity_comes_out_as_the_reference_has_it(target, cell, dtype, place, value, ragged):
    """Gates that are shut or wide open for good, a cell that stays infinite."""
    if place == "c" and "c" not in oracle.STATES[cell]:
        pytest.skip("the cell has no c")
    case = spoiled(cell, dtype, place, value, ragged)
    results, gradients = run(case, dtype, "compiled")
    expected, expected_gradients = run(case, "float64", "reference")
    assert_alike(results, expected, FORWARD[dtype])
    # A slope of 0 times infinity is NaN, a slope of 1e-39 times infinity is not: only what meets no infinity compares.
    if place != "c":
        for name in [name for name in gradients if name.startswith("weight_ih_l0")]:
            gradients.pop(name)
            expected_gradients.pop(name)
        assert_alike(gradients, expected_gradients, GRADIENTS[dtype])


@pytest.mark.parametrize("bias", [-95.0, -200.0, 200.0])
@pytest.mark.parametrize("gate", range(4))
def test_an_infinite_cell_behind_saturated_gates(target, dtype, gate, bias):
    """A gate that is shut is a small number, not 0: times an infinite cell it is infinite, not NaN."""
    case = spoiled("lstm", dtype, "c", np.inf, False)
    H = case.parameters["bias_l0"].shape[0] // 4
    case.parameters["bias_l0"][gate * H : (gate + 1) * H] = bias
    results, _ = run(case, dtype, "compiled")
    expected, _ = run(case, "float64", "reference")
    assert_alike(results, expected, FORWARD[dtype])


# ---------------------------------------------------------------- saturated gates


SATURATING = [-60.0, -16.0, -15.9, -5.0, 5.0, 15.9, 16.0, 60.0]


@pytest.mark.parametrize("bias", SATURATING)
@pytest.mark.parametrize("gate", range(4))
def test_saturated_gates(target, dtype, gate, bias):
    """Right in the relative sense, each gate's gradients by themselves, or about as near as the reference is."""
    H = 18
    rng = np.random.default_rng([gate, int(bias) + 100])
    case = random_case(rng, "lstm", dtype, (5, 7, 6, H), lengths=[7, 3, 7, 5, 1], absent=["dc"])
    case.parameters["bias_l0"][gate * H : (gate + 1) * H] += bias
    assert_as_near_as_the_reference(case, dtype)


@pytest.mark.parametrize("bias", SATURATING)
@pytest.mark.parametrize("gate", range(4))
def test_a_saturated_gru(target, dtype, gate, bias):
    """Its three gates, and the part of the candidate that the reset gate multiplies."""
    H = 18
    rng = np.random.default_rng([gate, int(bias) + 100])
    case = random_case(rng, "gru", dtype, (5, 7, 6, H), lengths=[7, 3, 7, 5, 1])
    if gate < 3:
        case.parameters["bias_l0"][gate * H : (gate + 1) * H] += bias
    else:
        case.parameters["bias_hn_l0"] += bias
    assert_as_near_as_the_reference(case, dtype)


@pytest.mark.parametrize("bias", SATURATING)
def test_a_saturated_rnn(target, dtype, bias):
    rng = np.random.default_rng(int(bias) + 100)
    case = random_case(rng, "rnn", dtype, (5, 7, 6, 18), lengths=[7, 3, 7, 5, 1])
    case.parameters["bias_l0"][...] += bias
    assert_as_near_as_the_reference(case, dtype)


def assert_as_near_as_the_reference(case: Case, dtype: str) -> None:
    """Within what is promised, or within ten times the error of the reference in the same dtype.

    The slope 1 - h² near h = ±1 has no more digits than h leaves it, and one in the last place of h is much of it.
    """
    expected = by_gate(case, *truth_of(case))
    ours, theirs = (by_gate(case, *run(case, dtype, kernels)) for kernels in ("compiled", "reference"))
    wrong = {}
    for name, truth in expected.items():
        promised = (FORWARD if name in ("outputs", "h", "c") else GRADIENTS)[dtype]
        error, bound = relative_error(ours[name], truth), max(promised, 10 * relative_error(theirs[name], truth))
        if not (error <= bound < np.inf):
            wrong[name] = (error, bound)
    assert not wrong


def truth_of(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both passes by the oracle's loops."""
    arguments = (case.cell, case.parameters, np.nan_to_num(case.x), case.state, case.lengths)
    result = oracle.forward(*arguments)
    gradients = oracle.backward(
        *arguments, np.nan_to_num(case.d_outputs), {name[1:]: values for name, values in case.d_state.items()}
    )
    d_state = {f"d{name}": values for name, values in gradients.state.items()}
    return {"outputs": result.outputs, **result.state}, {"dx": gradients.x, **d_state, **gradients.parameters}


def by_gate(case: Case, results: Mapping[str, Any], gradients: Mapping[str, Any]) -> dict[str, Any]:
    """Everything by name, but what has rows for the gates in blocks: a block of tiny numbers hides in no other."""
    found = {name: results[name] for name in case.state}
    found["outputs"] = results["outputs"]
    for name, values in gradients.items():
        blocks = np.split(values, oracle.GATES[case.cell]) if name.startswith(("weight", "bias")) else [values]
        found |= {f"{name} {number}": block for number, block in enumerate(blocks)}
    return found


# ---------------------------------------------------------------- arrays as they may lie in memory


def misplaced(array: Any) -> Any:
    """A copy 4 bytes after the start of a cache line: not even at a place of its own size in float64."""
    memory = np.zeros(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + 4
    copied = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    assert copied.ctypes.data % 64 == 4
    return copied


def strided(array: Any) -> Any:
    whole = np.zeros([3 * n for n in array.shape], array.dtype)
    copied = whole[tuple(slice(3 * n - 1, None, -3) for n in array.shape)]
    copied[...] = array
    return copied


def read_only(array: Any) -> Any:
    copied = array.copy()
    copied.setflags(write=False)
    return copied


def swapped(array: Any) -> Any:
    """In the other byte order."""
    return array.astype(array.dtype.newbyteorder())


@pytest.mark.parametrize("tokens", ["", "one-hot", "embedded", "a large vocabulary"])
@pytest.mark.parametrize("change", [misplaced, strided, np.asfortranarray, read_only, swapped])
def test_arrays_in_any_place_and_order(target, cell, dtype, change, tokens):
    """The same bits, and the arrays unchanged."""
    rng = np.random.default_rng(6)
    vocabulary = {"embedded": 9, "a large vocabulary": 90}.get(tokens, 0)
    case = random_case(
        rng, cell, dtype, (6, 5, 19, 18), lengths=[5, 1, 4, 5, 2, 3], vocabulary=vocabulary, one_hot=tokens == "one-hot"
    )

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(array) for name, array in value.items()}
        return change(value) if isinstance(value, np.ndarray) else value

    other = Case(*(changed(value) for value in case))
    assert_same(run(other, dtype, "compiled"), run(case, dtype, "compiled"))
    np.testing.assert_array_equal(other.d_outputs, case.d_outputs)


def assert_same(got: Any, expected: Any) -> None:
    """To the last bit."""
    for ours, theirs in zip(got, expected, strict=True):
        assert set(ours) == set(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


# ---------------------------------------------------------------- memory, and several at once


def big_case() -> Case:
    """Of a size that several threads share, its tape 2 MB."""
    return random_case(np.random.default_rng(7), "lstm", "float32", (70, 20, 16, 96), lengths=[20, 7] * 35)


def resident() -> int:
    """Bytes of the process's memory that are in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says how much memory is in use")
def test_tapes_give_their_memory_back():
    """Hundreds of them, one after another and many at once, take no more than a few."""
    usable_target(cpu.target or TARGETS[0])
    big = big_case()
    layer = layer_of(big, "float32", "compiled")

    def round_of(alive: int) -> None:
        tapes = [layer.forward(big.x, one_or_pair(big.state), big.lengths)[2] for _ in range(alive)]
        for tape in tapes:
            layer.backward(tape, big.d_outputs)

    def some_rounds() -> int:
        for _ in range(20):
            round_of(1)
        for _ in range(2):
            round_of(40)  # more than are kept for later
        gc.collect()
        return resident()

    some_rounds()
    before = some_rounds()
    assert some_rounds() - before < 64 * 2**20


def test_many_tapes_are_independent(target, cell, dtype):
    """40 of different sizes alive at once, gone through in another order."""
    rng = np.random.default_rng(8)
    layer = layer_of(random_case(rng, cell, dtype, (1, 1, 9, 18)), dtype, "compiled")
    calls, expected, tapes = [], [], []
    for number in range(40):
        N, T = 1 + number % 7, 1 + number % 5
        x, d_outputs = rng.normal(size=(N, T, 9)).astype(dtype), rng.normal(size=(N, T, 18)).astype(dtype)
        calls.append((x, d_outputs))
        tape = layer.forward(x)[2]
        dx, _ = layer.backward(tape, d_outputs)
        expected.append((dx, layer.gradients.flat.copy()))
    tapes = [layer.forward(x)[2] for x, _ in calls]
    for number in rng.permutation(40):
        dx, _ = layer.backward(tapes[number], calls[number][1])
        np.testing.assert_array_equal(dx, expected[number][0])
        np.testing.assert_array_equal(layer.gradients.flat, expected[number][1])
        tapes[number] = None


def test_a_tape_outlives_its_layer_and_a_refused_call(target):
    case = random_case(np.random.default_rng(9), "lstm", "float64", (3, 4, 5, 6))
    compiled = cpu.find_cell("lstm", "float64")
    params = oracle.of_cell(case.parameters, "l0")
    _, _, tape = compiled.forward(params, case.x)
    expected = cells.lstm.backward(params, cells.lstm.forward(params, case.x)[2], case.d_outputs)
    with pytest.raises(ValueError, match="d_outputs"):
        compiled.backward(params, tape, case.d_outputs[:, :2])
    del compiled
    gc.collect()
    dx, _, d_params = cpu.find_cell("lstm", "float64").backward(params, tape, case.d_outputs)
    check({"dx": relative_error(dx, expected[0])}, GRADIENTS["float64"])
    check_all_gradients(d_params, expected[2], "float64")


def test_several_python_threads_share_a_layer(target):
    """Each gets the bits that it gets alone."""
    big = big_case()
    layer = layer_of(big, "float32", "compiled")
    rng = np.random.default_rng(10)
    inputs = [rng.normal(size=big.x.shape).astype(np.float32) for _ in range(6)]
    together = threading.Barrier(3)

    def once(x: Any) -> list[Any]:
        outputs, _, tape = layer.forward(x, None, big.lengths)
        params, cell_tape = layer.stack.of_cells[0], tape.cell_tapes[0]
        dx, _, gradients = layer.stack.cell.backward(params, cell_tape, big.d_outputs)  # into arrays of its own
        return [outputs, layer(x)[0], dx, *gradients.values()]

    def several(x: Any) -> list[list[Any]]:
        together.wait(60)
        return [once(x) for _ in range(5)]

    expected = [once(x) for x in inputs]
    with ThreadPoolExecutor(3) as pool:
        for repeated, alone in zip(pool.map(several, inputs), expected, strict=True):
            for got in repeated:
                for ours, theirs in zip(got, alone, strict=True):
                    np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------------------------------- the order of a batch


def order_of(lengths: Any, rows: int, time: int) -> Any:
    """As every compiled cell makes it."""
    return cpu.find_cell("lstm", "float32").order(np, lengths, rows, time, "cpu")


@pytest.mark.parametrize("tokens", ["", "embedded", "a large vocabulary"])
def test_an_order_serves_as_the_lengths_that_it_was_made_of(target, cell, dtype, tokens):
    """The same bits in both directions and for cells of any size, whether or not the backward pass will follow."""
    rng = np.random.default_rng(13)
    N, T, lengths = 70, 6, [int(n) for n in rng.integers(1, 7, 70)]
    order = order_of(lengths, N, T)
    compiled = cpu.find_cell(cell, dtype)
    for H in (5, 18):
        vocabulary = {"": 0, "embedded": 9, "a large vocabulary": N * T + 5}[tokens]
        case = random_case(rng, cell, dtype, (N, T, 7, H), lengths=lengths, vocabulary=vocabulary)
        params = oracle.of_cell(case.parameters, "l0")
        state, d_state = (
            one_or_pair({name: values[0] for name, values in s.items()}) for s in (case.state, case.d_state)
        )
        for reverse in (False, True):
            found = []
            for given_as in (lengths, order):
                options = {"tokens": None if case.ids is None else (case.ids, case.table), "reverse": reverse}
                outputs, final, tape = compiled.forward(params, case.x, state, given_as, **options)
                dx, d_initial, gradients = compiled.backward(params, tape, case.d_outputs, d_state)
                called, called_final, _ = compiled.forward(params, case.x, state, given_as, keep=False, **options)
                found.append(
                    [{"outputs": outputs, "called": called, "dx": dx}, gradients]
                    + [named(case.state, values) for values in (final, called_final, d_initial)]
                )
            assert_same(found[1], found[0])


def test_an_order_of_a_full_batch_is_none(target):
    assert order_of(None, 3, 4) is None


def test_an_order_is_checked(target):
    for lengths in ([2, 3], (1, 1, 1), [1, 1, 1.5]):
        with pytest.raises(TypeError):
            order_of(lengths, 3, 4)
    for lengths in ([1, 1, 5], [0, 1, 1]):
        with pytest.raises(ValueError, match="outside 1 to T"):
            order_of(lengths, 3, 4)
    case = random_case(np.random.default_rng(0), "lstm", "float32", (3, 5, 2, 2))
    params = oracle.of_cell(case.parameters, "l0")
    for order in (order_of([1, 2, 3], 3, 4), order_of([1, 2], 2, 5)):
        with pytest.raises(ValueError, match="another batch than one of 3 rows and 5 steps"):
            cpu.find_cell("lstm", "float32").forward(params, case.x, None, order)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_gradient_check_passes(target, cell, bidirectional, monkeypatch):
    used = []
    backward = cpu.CompiledCell.backward
    monkeypatch.setattr(
        cpu.CompiledCell, "backward", lambda self, *a, **k: (used.append(self.dtype.name), backward(self, *a, **k))[1]
    )
    report = check_gradients(LAYERS[cell](5, 18, 2, bidirectional, seed=0, kernels="compiled", device="cpu"))
    assert report.passed
    assert set(used) == {"float64"}


def ids_written_meanwhile(precision: str) -> None:
    """Many calls on token ids that another thread of Python overwrites, with ones that are in no table, and back."""
    rng, V, H = np.random.default_rng(0), 50, 16
    compiled = xlstm.LSTM(V, H, device="cpu").stack.cell
    params = {
        name: rng.standard_normal(shape, dtype=np.float32) for name, shape in cells.by_name("lstm").shapes(V, H).items()
    }
    more = {} if precision == "kept" else {"packed": compiled.pack(params, precision or None)}
    ids, ended, refused = np.zeros((1, 20_000), dtype=np.int64), threading.Event(), 0

    def write() -> None:
        while not ended.is_set():
            ids[0, -10_000:] = 2**40
            ids[0, -10_000:] = 0

    writer = threading.Thread(target=write)
    writer.start()
    sys.setswitchinterval(1e-5)
    for _ in range(80):
        try:
            _, _, tape = compiled.forward(params, None, tokens=(ids, None), keep=precision == "kept", **more)
            if tape is not None:
                compiled.backward(params, tape, d_state=(np.ones((1, H), np.float32), None))
        except IndexError:
            refused += 1
    ended.set()
    writer.join()
    print("survived", refused)


@pytest.mark.parametrize("precision", ["", "int8", "kept"])
def test_token_ids_are_read_once(precision):
    if cpu._kernels is None:
        pytest.skip("there are no compiled kernels")
    if precision == "int8" and "avx2" not in cpu.targets():
        pytest.skip("weights of 8 bits need AVX2")
    assert printed_by(ids_written_meanwhile, precision).startswith("survived")


# ---------------------------------------------------------------- which are chosen


def process(code: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, on one thread unless told.

    With the environment variable XLSTM_PATIENCE it may take so many times the time: sanitizers are slow.
    """
    timeout *= float(os.environ.get("XLSTM_PATIENCE", "1"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if name not in ("XLSTM_CPU_TARGET", "XLSTM_DEVICE")}
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, check=False,
        env={**kept, **one_thread, "PYTHONPATH": path, **environment},
    )  # fmt: skip


def printed_by(function: Any, *arguments: str, **environment: str) -> str:
    """What a function of this file prints in a process of its own."""
    code = f"from tests.backends import test_cpu; test_cpu.{function.__name__}(*{arguments!r})"
    done = process(code, **environment)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# As in targets.h, best first, with the flags that Linux reports for a CPU that has each.
ORDER = {
    "avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq"},
    "avx2": {"avx2", "fma"},
    "sse2": {"sse2"},
    "neon": {"asimd"},
}


def test_the_best_comes_first(monkeypatch):
    usable_target(TARGETS[0])
    found = cpu.targets()
    assert list(found) == [name for name in ORDER if name in found] or set(found) == {"generic"}
    monkeypatch.delenv("XLSTM_CPU_TARGET", raising=False)
    assert cpu._choose() == (next(name for name, runs in found.items() if runs), None)
    if Path("/proc/cpuinfo").exists() and "generic" not in found:
        flags = set(Path("/proc/cpuinfo").read_text().split())
        assert found == {name: ORDER[name] <= flags for name in found}


def test_the_environment_forces_a_target(target):
    printed = printed_by(print_choice, XLSTM_CPU_TARGET=target)
    assert printed.split("\n")[0] == f"{target} {target} {target}"
    assert f"kernels: {target}" in printed
    assert '"kernels": "' + target in printed


@pytest.mark.parametrize("wanted", ["avx1024", "AVX2", "reference"])
def test_an_unknown_target_is_an_error_once_kernels_are_wanted(wanted):
    """One sentence; importing the package, asking for its devices and array code go on."""
    usable = [name for name, runs in cpu.targets().items() if runs]
    usable_target((usable or TARGETS)[0])
    done = process("from tests.backends import test_cpu; test_cpu.use_array_code()", XLSTM_CPU_TARGET=wanted)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    message = (
        f"the environment variable XLSTM_CPU_TARGET is {wanted!r}: expected one of {', '.join(usable)}, the "
        "instruction sets that were compiled and that this CPU has. Set it to one of them, or unset it."
    )
    for use in (
        "xlstm.LSTM(2, 3)",
        "xlstm.RNN(2, 3, kernels='compiled')",
        "xlstm.SequenceClassifier(max_iter=1, device='cpu').fit(['a', 'b'], [0, 1])",
        "xlstm.SequenceClassifier(max_iter=1, device='cpu', cell='gru').fit(['a', 'b'], [0, 1])",  # the optimiser
    ):
        done = process(f"import xlstm; {use}", XLSTM_CPU_TARGET=wanted)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"ValueError: {message}"
    done = process("from xlstm.cli import main; main(['devices'])", XLSTM_CPU_TARGET=wanted)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kernels: reference  <- used" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == f"    {message} Until then only kernels='reference' works."
    done = process("import sys; from xlstm.cli import main; sys.exit(main(['bench']))", XLSTM_CPU_TARGET=wanted)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"xlstm: error: {message}\n")


def use_array_code() -> None:
    layer = xlstm.LSTM(2, 3, kernels="reference")
    outputs, _, tape = layer.forward(np.ones((2, 4, 2), np.float32))
    layer.backward(tape, outputs)
    clf = xlstm.SequenceClassifier(max_iter=1, device="cpu", kernels="reference").fit(["a", "b"], [0, 1])
    assert (layer.kernels, clf.kernels_, xlstm.GRU(2, 3, reset_after=False).kernels) == (
        "reference",
    ) * 3  # it has no others
    xlstm.set_threads(1)
    print("done")


def test_a_target_that_this_cpu_lacks_is_an_error(monkeypatch):
    monkeypatch.setattr(cpu, "targets", lambda: {"best": False, "fair": True, "poor": True})
    monkeypatch.setenv("XLSTM_CPU_TARGET", "")
    assert cpu._choose() == ("fair", None)
    monkeypatch.setenv("XLSTM_CPU_TARGET", "poor")
    assert cpu._choose() == ("poor", None)
    monkeypatch.setenv("XLSTM_CPU_TARGET", "best")
    chosen, refusal = cpu._choose()
    assert chosen is None
    assert "XLSTM_CPU_TARGET is 'best': expected one of fair, poor," in refusal
    monkeypatch.setattr(cpu, "targets", dict)  # where there are no kernels at all, that is what is said
    assert cpu._choose() == (None, None)


def test_the_report_names_the_target(target, cell, dtype):
    choice = backends.find(cell, numpy_arrays.BACKEND, dtype, "auto")
    assert choice.kernels == target
    assert choice.implementation is not None
    assert LAYERS[cell](2, 3, dtype=dtype, device="cpu").kernels == target
    assert {entry.kernels for entry in backends.report() if entry.device == "cpu"} == {target}
    assert backends.find(cell, numpy_arrays.BACKEND, dtype, "reference").implementation is None


def test_what_was_compiled_is_found_by_its_names(target, cell, dtype):
    assert (target, dtype, cell) in cpu.compiled()
    for names in cpu.compiled():
        assert names[0] in cpu.targets()
        if names[0] == target:
            assert cpu.find_cell(names[2], names[1]) is not None
            assert cpu.find_step(names[1]) is not None


def test_a_cell_without_kernels_runs_on_the_reference(target):
    for cell, dtype in (("perceptron", "float32"), ("lstm", "float16")):
        assert cpu.find_cell(cell, dtype) is None
        choice = backends.find(cell, numpy_arrays.BACKEND, dtype, "auto")
        assert (choice.implementation, choice.kernels) == (None, "reference")
        assert choice.reason.startswith(f"no compiled kernels of the {cell} cell in {dtype} come with this version")
        with pytest.raises(RuntimeError, match=f"{cell} cell in {dtype}.*kernels='auto'"):
            backends.find(cell, numpy_arrays.BACKEND, dtype, "compiled")
    assert cpu.find_step("float16") is None


MISSING = r"the compiled kernels are missing in .*, the reference path runs: .*install it: pip install"


def test_without_the_extension(monkeypatch, tmp_path, cell, dtype):
    """The reference runs, and it is said why; demanding the kernels says what to install. More: test_missing.py."""
    monkeypatch.setattr(cpu, "target", None)
    monkeypatch.setattr(cpu, "_explained", None)
    monkeypatch.setattr(missing, "explain", functools.partial(missing.explain, folder=tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    choice = backends.find(cell, numpy_arrays.BACKEND, dtype, "auto")
    assert (choice.implementation, choice.kernels) == (None, "reference")
    assert re.search(MISSING, choice.reason)
    layer = LAYERS[cell](2, 3, dtype=dtype, device="cpu")
    assert layer.kernels == "reference"
    assert layer(np.ones((2, 4, 2)))[0].shape == (2, 4, 3)
    with pytest.raises(RuntimeError, match=MISSING):
        LAYERS[cell](2, 3, dtype=dtype, device="cpu", kernels="compiled")
    assert {entry.kernels for entry in backends.report() if entry.device == "cpu"} == {"reference"}


def test_a_system_that_has_no_kernels_is_not_told_to_install_any(monkeypatch):
    monkeypatch.setattr(cpu, "target", None)
    monkeypatch.setattr(sys, "platform", "win32")
    choice = backends.find("lstm", numpy_arrays.BACKEND, "float32", "auto")
    assert choice.reason == "this version has no compiled kernels for this system, the reference path runs"
    assert not choice.mendable


# ---------------------------------------------------------------- where memory ends


SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")


@pytest.mark.skipif(sys.platform != "linux" or SANITIZED, reason="memory is limited as Linux does it")
@pytest.mark.parametrize("kernels", ["compiled", "reference"])
def test_a_call_that_runs_out_of_memory_changes_nothing(cell, kernels):
    """Wherever it happens: a MemoryError, the parameters as they were, and the next call is right."""
    usable_target(TARGETS[0])
    # Blocks of 64 KiB and more come from the system, and go back to it, so that they count against the limit.
    assert printed_by(limit_memory, cell, kernels, MALLOC_MMAP_THRESHOLD_="65536") == "right after each\n"


@pytest.mark.skipif(sys.platform != "linux" or SANITIZED, reason="memory is limited as Linux does it")
def test_memory_that_is_kept_for_later_calls_is_there_for_this_one(cell):
    usable_target(TARGETS[0])
    assert printed_by(need_what_is_kept, cell) == "enough\n"


@pytest.mark.parametrize("what", ["call", "forward", "backward", "strided", "prepared", "order"])
def test_an_allocation_that_fails_is_a_memory_error(cell, what):
    """Each single one that the kernels' module asks Python for, in turn."""
    pytest.importorskip("_testcapi", reason="this Python has no allocations that fail")
    usable_target(TARGETS[0])
    assert int(printed_by(fail_each_allocation, cell, what)) >= 1


# ---------------------------------------------------------------- threads and processes


def test_the_same_bits_on_any_number_of_threads(target):
    printed = printed_by(compare_numbers_of_threads, target, OMP_NUM_THREADS="8", OMP_DYNAMIC="false")
    if "no threads" in printed:
        pytest.skip("the kernels were compiled without OpenMP")
    assert "cases alike" in printed


def test_the_same_bits_where_the_system_gives_fewer_threads(target):
    """Fewer than were asked for: the work is then divided otherwise."""
    printed = printed_by(compare_numbers_of_threads, target, OMP_NUM_THREADS="8", OMP_THREAD_LIMIT="3")
    assert "cases alike" in printed or "no threads" in printed


def test_the_same_bits_whether_or_not_threads_share_steps(target):
    """Both answers of near_cores.h, forced and then measured: each is really taken."""
    printed = printed_by(compare_near_and_apart, target, OMP_NUM_THREADS="4", OMP_DYNAMIC="false")
    if "no threads" in printed:
        pytest.skip("the kernels were compiled without OpenMP")
    assert "cases alike" in printed


def test_only_three_answers_can_be_forced():
    usable_target(cpu.target or TARGETS[0])
    with pytest.raises(ValueError, match="expected near, apart or measured, got far"):
        cpu.force_cores("far")


def test_threads_are_as_many_as_the_environment_says(target):
    assert printed_by(print_threads, OMP_NUM_THREADS="1") == "1\n"
    several = printed_by(print_threads, OMP_NUM_THREADS="3")
    assert several in ("1\n", "3\n")  # 1 without OpenMP


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_runs_on(target):
    """Forked after, and while, several threads worked: it gets the same bits, and its own child does."""
    assert printed_by(fork_and_compare, target, OMP_NUM_THREADS="4") == "same in the child\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere limits are others, and so is OpenMP")
@pytest.mark.parametrize(
    ("limit", "stack"),
    [("processes", {}), ("memory", {}), ("stacks", {"OMP_STACKSIZE": "64 M"}), ("stacks", {"GOMP_STACKSIZE": "65536"})],
)
def test_where_no_thread_can_start_calls_run_on_one(target, limit, stack):
    """GNU's OpenMP would end the process. One notice, the same bits; and several threads when they can start again.

    With "stacks" there is memory for threads with the stacks that the system gives, not for those that OpenMP does."""
    code = f"from tests.backends import test_cpu; test_cpu.without_threads({target!r}, {limit!r})"
    done = process(code, OMP_NUM_THREADS="4", **stack)
    assert done.returncode == 0, done.stderr
    assert done.stdout in ("same without threads\n", "no threads\n")
    assert done.stderr.count("starts no more threads") == done.stdout.count("same")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not say which processors there are")
def test_more_threads_than_processors_are_told_of_once(target):
    done = process("from tests.backends import test_cpu; test_cpu.one_processor()", OMP_NUM_THREADS="3")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("3 threads share the 1 processor that") == 1


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2)])
def test_the_number_of_threads_may_be_one_of_numpy(number):
    cpu.set_threads(number)
    assert cpu.threads() <= 2
    cpu.set_threads(None)


@pytest.mark.parametrize("number", [0, -1, True, np.bool_(True), 2.0, "2", np.array([2, 2])], ids=repr)
def test_what_is_no_number_of_threads_is_refused(number):
    with pytest.raises(ValueError, match="must be an integer, 1 or more, or None; got "):
        cpu.set_threads(number)


# Files by their names, the file that names the process's own groups, and how many processors' time that is.
GROUPS: list[tuple[dict[str, str], str, int | None]] = [
    ({"cpu.max": "250000 100000"}, "0::/", 3),
    ({"cpu.max": "max 100000"}, "0::/", None),
    ({"cpu.max": "250000 100000"}, "0::/a/b", 3),  # of a container that sees its own group alone
    ({"a/b/cpu.max": "100000 100000", "a/cpu.max": "max 100000"}, "0::/a/b", 1),
    ({"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, "0::/a/b", 2),
    ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, "0::/a/b", 2),
    ({"c/cpu.max": "100000 100000"}, "0::/a", None),
    ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, "", 2),
    ({"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu:/a\n2:memory:/b", 2),
    ({"cpu,cpuacct/a/cpu.cfs_quota_us": "1", "cpu,cpuacct/a/cpu.cfs_period_us": "9"}, "3:cpu,cpuacct:/a", 1),
    ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu:/a", None),
    ({"cpu.max": "nonsense", "a/cpu.max": "100000 0"}, "no groups at all", None),
]


@pytest.mark.parametrize(("files", "own", "share"), GROUPS)
def test_the_share_of_a_control_group_and_of_those_around_it(monkeypatch, tmp_path, files, own, share):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert cpu._share_of_control_group(str(tmp_path), str(tmp_path / "own")) == share
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert cpu._share_of_control_group(str(tmp_path), str(tmp_path / "own")) is None


# ---------------------------------------------------------------- memory that is kept


def test_memory_is_released_when_it_is_asked_for(target):
    layer, x = xlstm.LSTM(8, 64, seed=0), np.ones((64, 100, 8), np.float32)
    layer.forward(x)
    assert cpu.release_memory() >= 64 * 100 * 64 * 4  # the tape at least
    assert cpu.release_memory() == 0
    outputs, _, tape = layer.forward(x)
    cpu.release_memory()  # what is in use stays
    layer.backward(tape, outputs)
    del tape
    assert xlstm.release_memory() > 0


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_inference_takes_no_more_memory_for_more_steps(target, precision):
    """Few rows, whose input is projected before the steps: as many steps at a time as the product wants."""
    layer = xlstm.GRU(1, 32, seed=0)
    call = layer.prepare() if precision is None else layer.prepare(precision)
    cpu.release_memory()
    for N in (1, 3):
        call(np.ones((N, 100_000, 1), np.float32))
        assert cpu.release_memory() < 2**20  # the gates alone of all steps: 38 MB a row


def test_what_no_call_takes_goes_with_a_later_one(target):
    small, large = np.ones((1, 1, 8), np.float32), np.ones((64, 100, 8), np.float32)
    layer = xlstm.LSTM(8, 64, seed=0)
    cpu.release_memory()
    usual = cpu._kernels.keep_for(1e-3)
    try:
        layer.forward(large)
        layer(small)
        time.sleep(0.01)
        layer(small)
        assert cpu.release_memory() < 2**20
        cpu._kernels.keep_for(1e6)
        layer.forward(large)
        layer(small)
        assert cpu.release_memory() > 2**20
    finally:
        cpu._kernels.keep_for(usual)


# ---------------------------------------------------------------- what runs in those processes


def without_threads(target: str, limit: str) -> None:
    import resource

    cpu.target = target
    if cpu.threads() == 1:
        print("no threads")
        return
    logging.basicConfig()
    case = random_case(np.random.default_rng(11), "lstm", "float32", (70, 20, 16, 96))
    cpu.set_threads(1)
    expected = run(case, "float32", "compiled")  # what it allocates is kept
    assert_same(expected, expected)  # what it imports may be out of reach below
    cpu.set_threads(None)
    kind = resource.RLIMIT_NPROC if limit == "processes" else resource.RLIMIT_AS
    before = resource.getrlimit(kind)
    if limit == "processes":
        if os.geteuid() == 0:  # to whom the limit does not apply
            os.setgid(65534)
            os.setuid(65534)
        resource.setrlimit(kind, (1, before[1]))
    else:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        more = (50 if limit == "stacks" else 12) << 20
        resource.setrlimit(kind, (pages * resource.getpagesize() + more, before[1]))
    for _ in range(3):
        assert_same(run(case, "float32", "compiled"), expected)
        assert cpu.crew().threads == 1
    resource.setrlimit(kind, before)
    time.sleep(1.1)  # for so long it is not tried again
    cpu.set_threads(4)
    assert_same(run(case, "float32", "compiled"), expected)
    assert cpu.crew().woken > 1
    print("same without threads")


def one_processor() -> None:
    logging.basicConfig()
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    for number in (1, 3, 3):
        cpu.set_threads(number)


def print_choice() -> None:
    from xlstm import cli

    layer = LAYERS["lstm"](2, 3, device="cpu", kernels="compiled")
    print(cpu.target, layer.kernels, *(entry.kernels for entry in backends.report() if entry.device == "cpu"))
    cli.main(["devices"])
    cli.main(["devices", "--json"])


def print_threads() -> None:
    print(cpu.threads())


def fork_and_compare(target: str) -> None:
    cpu.target = target
    case = random_case(np.random.default_rng(11), "lstm", "float32", (70, 20, 16, 96))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            run(case, "float32", "compiled")

    def child_is_right(generations: int) -> bool:
        child = os.fork()
        if child == 0:
            try:
                assert_same(run(case, "float32", "compiled"), expected)
                right = generations == 1 or child_is_right(generations - 1)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                right = False
            os._exit(0 if right else 1)
        return os.waitpid(child, 0)[1] == 0

    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on: a fork of a process with threads
    child = os.fork()  # another library may have started threads, also where these kernels did not yet
    if child == 0:
        os._exit(cpu.threads())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    expected = run(case, "float32", "compiled")
    assert child_is_right(2)
    assert_same(run(case, "float32", "compiled"), expected)
    worker = threading.Thread(target=work)
    worker.start()
    right = [child_is_right(1) for _ in range(5)]
    stop.set()
    worker.join()
    assert all(right)
    print("same in the child")


def compare_numbers_of_threads(target: str) -> None:
    cpu.target = target
    if cpu.threads() == 1:
        print("no threads")
        return
    alike = 0
    for cell, dtype, options in threaded_cases():
        for ragged in (False, True):
            rng = np.random.default_rng(12)
            N, T = options["shape"][:2]
            case = random_case(rng, cell, dtype, lengths=rng.integers(1, T + 1, N) if ragged else None, **options)
            tokens = None if case.ids is None else (case.ids, case.table)
            params = oracle.of_cell(case.parameters, "l0")
            state = {name: values[0] for name, values in case.state.items()}
            d_state = {name: values[0] for name, values in case.d_state.items()}
            found = []
            for threads in (1, 2, 3, 5, 8, None):  # None adapts to how long they wait for each other
                cpu.set_threads(threads)
                assert cpu.threads() == min(threads or 8, int(os.environ.get("OMP_THREAD_LIMIT", "8")))
                layer = cpu.find_cell(cell, dtype)
                results = []
                for keep in (True, False):
                    outputs, final, tape = layer.forward(
                        params, case.x, one_or_pair(state), None if case.lengths is None else case.lengths.tolist(),
                        tokens=tokens, keep=keep, reverse=ragged,
                    )  # fmt: skip
                    results.append({"outputs": outputs, **named(state, final)})
                    if keep:
                        dx, d_initial, gradients = layer.backward(params, tape, case.d_outputs, one_or_pair(d_state))
                        results.append({**named(d_state, d_initial), **gradients, **({} if dx is None else {"dx": dx})})
                found.append(results)
            for results in found[1:]:
                assert_same(results, found[0])
            alike += 1
    limit = int(os.environ.get("OMP_THREAD_LIMIT", "8"))
    kept = "plain_threads" not in os.environ.get("LD_PRELOAD", "")  # those of sanitized.py end with each region
    if kept and Path("/proc/self/task").exists():
        assert len(os.listdir("/proc/self/task")) >= limit, "several threads were to run"
    print(alike, "cases alike")


def compare_near_and_apart(target: str) -> None:
    cpu.target = target
    if cpu.threads() == 1:
        print("no threads")
        return
    alike = 0
    cases = (
        ("lstm", "float32", (1, 9, 150, 260)),
        ("rnn", "float64", (2, 12, 20, 330)),
        ("gru", "float32", (2, 7, 60, 340)),
    )
    for cell, dtype, shape in cases:
        case = random_case(np.random.default_rng(14), cell, dtype, shape)
        params, compiled = oracle.of_cell(case.parameters, "l0"), cpu.find_cell(cell, dtype)
        cpu.set_threads(1)
        expected = compiled.forward(params, case.x)
        expected_gradients = compiled.backward(params, expected[2], case.d_outputs)[2]
        assert cpu.cores_found() == (0, 0)
        cpu.set_threads(None)
        for answer in ("near", "apart", "measured"):
            cpu.force_cores(answer)  # what was learnt before counts no more: the next call makes teams
            outputs, _, tape = compiled.forward(params, case.x)
            after_forward = cpu.cores_found()
            cpu.force_cores(answer)
            gradients = compiled.backward(params, tape, case.d_outputs)[2]
            for near, apart in (after_forward, cpu.cores_found()):
                assert (near, apart) in {"near": [(1, 0)], "apart": [(0, 1)]}.get(answer, [(1, 0), (0, 1)])
            assert_same([{"outputs": outputs}, gradients], [{"outputs": expected[0]}, expected_gradients])
            alike += 1
        cpu.force_cores("apart")  # and after such an answer calls make no teams for a time
        for _ in range(3):
            compiled.forward(params, case.x, keep=False)
        near, apart = cpu.cores_found()
        assert near == 0
        assert 1 <= apart <= 3
        cpu.force_cores("measured")
    print(alike, "cases alike")


def threaded_cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Sizes that are worth several threads: many tasks, few tasks of many members, the few rows of one task."""
    shapes = [(140, 9, 33, 70), (40, 5, 20, 170), (40, 50, 20, 100), (2, 12, 20, 330), (1, 9, 150, 260)]
    for cell, dtype in itertools.product(COMPILED_CELLS, ("float32", "float64")):
        for shape in shapes:
            yield cell, dtype, {"shape": shape}
        yield cell, dtype, {"shape": (70, 6, 130, 130), "vocabulary": 130, "one_hot": True}
        yield cell, dtype, {"shape": (70, 6, 33, 130), "vocabulary": 90}


def limit_memory(cell: str, kernels: str) -> None:
    """Calls of a layer, each in a child process that may have so much more memory, from none to enough."""
    import resource

    N, T, D, H = 32, 50, 40, 48
    rng = np.random.default_rng(15)
    layer, reference = (LAYERS[cell](D, H, 2, True, seed=0, device="cpu", kernels=k) for k in (kernels, "reference"))
    x, d_outputs = (rng.standard_normal((N, T, width)).astype(np.float32) for width in (D, 2 * H))
    lengths = rng.integers(1, T + 1, N).tolist()
    expected, _, tape = reference.forward(x, None, lengths)
    dx, _ = reference.backward(tape, d_outputs)
    expected_gradients = {"dx": dx, **reference.gradients}
    parameters, gradients = layer.parameters.flat.copy(), layer.gradients.flat.copy()

    def gradients_are_right(tape: Any) -> None:
        dx, _ = layer.backward(tape, d_outputs)
        for name, values in {"dx": dx, **layer.gradients}.items():
            assert relative_error(values, wide(expected_gradients[name], "float64")) <= GRADIENTS["float32"], name

    def ends(what: str, more: int) -> bool:
        tape = layer.forward(x, None, lengths)[2] if what == "backward" else None
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        ended = False
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))
        try:
            if what == "backward":
                layer.backward(tape, d_outputs)
            else:
                (layer if what == "call" else layer.forward)(x, None, lengths)
        except MemoryError:
            ended = True
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        np.testing.assert_array_equal(layer.parameters.flat, parameters)
        if what != "backward":
            np.testing.assert_array_equal(layer.gradients.flat, gradients)
            outputs, _, tape = layer.forward(x, None, lengths)
            assert relative_error(outputs, wide(expected, "float64")) <= FORWARD["float32"]
        gradients_are_right(tape)
        return ended

    def in_a_child(what: str, more: int) -> bool:
        child = os.fork()
        if child == 0:
            code = 2
            try:
                code = int(ends(what, more))
            except BaseException as error:
                print(what, more, repr(error), file=sys.stderr, flush=True)
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 1), (what, more, code)
        return code == 1

    amounts = [0, *(int(2 ** (k / 2)) for k in range(32, 54))]  # from 64 KiB to 64 MiB
    for what in ("call", "forward", "backward"):
        ended = [in_a_child(what, more) for more in amounts]
        assert any(ended), (what, ended)  # from which amount on it is enough, the allocator decides
        assert not ended[-1], (what, ended)
    print("right after each")


def need_what_is_kept(cell: str) -> None:
    """Blocks of several sizes are kept. Then one is needed that fits none of them, and little else is left."""
    import resource

    N, D, H = 64, 8, 64
    layer = LAYERS[cell](D, H, seed=0, device="cpu", kernels="compiled")
    numbers = N * (D + H * {"lstm": 6, "gru": 5, "rnn": 2}[cell])  # about as many as a tape keeps of a step

    def inputs(megabytes: int) -> Any:
        return np.zeros((N, megabytes * 2**20 // (4 * numbers), D), np.float32)

    tapes = [layer.forward(inputs(megabytes))[2] for megabytes in (24, 20, 16, 12)]
    del tapes
    x = inputs(60)
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    more = 4 * N * x.shape[1] * H + 30 * 2**20  # the outputs, and half of the tape
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))
    layer.forward(x)
    print("enough")


def fail_each_allocation(cell: str, what: str) -> None:
    import _testcapi

    layer = LAYERS[cell](4, 5, *((1, False) if what == "prepared" else (2, True)), seed=0, device="cpu")
    rng = np.random.default_rng(16)
    x = rng.standard_normal((3, 6, 4)).astype(np.float32)
    lengths = None if what == "prepared" else [6, 3, 1]
    expected, _ = layer(x, None, lengths)
    _, _, tape = layer.forward(x, None, lengths)
    d_outputs = rng.standard_normal(expected.shape).astype(np.float32)
    layer.backward(tape, d_outputs)
    parameters, gradients, prepared = layer.parameters.flat.copy(), layer.gradients.flat.copy(), layer.prepare()
    call = {
        "call": lambda: layer(x, None, lengths),
        "forward": lambda: layer.forward(x, None, lengths),
        "backward": lambda: layer.backward(tape, d_outputs),
        "strided": lambda: layer(x[:, ::-1], None, lengths),
        "prepared": lambda: prepared(x),
        "order": lambda: layer.stack.cell.order(np, lengths, 3, 6, "cpu"),
    }[what]
    failed = 0
    for number in range(250):
        try:
            _testcapi.set_nomemory(number, number + 1)
            call()
        except MemoryError:
            failed += 1
        finally:
            _testcapi.remove_mem_hooks()
        np.testing.assert_array_equal(layer.parameters.flat, parameters)
        np.testing.assert_array_equal(layer(x, None, lengths)[0], expected)
        layer.backward(tape, d_outputs)
        np.testing.assert_array_equal(layer.gradients.flat, gradients)
    print(failed)
