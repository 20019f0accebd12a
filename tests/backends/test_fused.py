"""The fused cells of `xlstm.backends.cuda`, against the array code in float64; see `tests/gpu.py` for the device.

What holds on a real GPU as well uses `device`; what only the stand-in can tell, launches, allocations and the order in
which threads run, uses `gpu`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlstm.backends.cuda import Unsupported, blas, module
from xlstm.backends.cuda.fused import LAYOUTS, FusedCell
from xlstm.backends.cuda.order import Order

import xlstm
from xlstm import backends, cells

from ..emulator.emulator import declared
from ..gpu import Gpu, gpu_or_standin
from ..measure import FORWARD, GRADIENTS, bounds_of, check, forward_errors, gradient_errors
from ..standin import Machine, machine


@pytest.fixture(scope="module")
def device() -> Iterator[Gpu]:
    """A real GPU where there is one, else the stand-in's; it is the current device of the whole file."""
    with gpu_or_standin("cuda") as gpu, backends.select("cuda").current():
        yield gpu


@pytest.fixture
def gpu() -> Iterator[Machine]:
    with machine() as gpu:
        yield gpu


@pytest.fixture(params=list(LAYOUTS))
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---------------------------------------------------------------- a call, in both implementations


class Case(NamedTuple):
    """The arguments of a forward and a backward call, on the host; None where one is left out."""

    cell: str
    params: dict[str, Any]
    x: Any
    tokens: Any  # (ids, table or None), in place of x
    state: tuple[Any, ...]
    lengths: Any
    d_outputs: Any
    d_state: tuple[Any, ...]
    reverse: bool

    @property
    def dtype(self) -> str:
        return str(self.params["bias"].dtype)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.x if self.tokens is None else self.tokens[0]).shape[:2]  # type: ignore[no-any-return]

    def padding(self) -> Any:
        """(N, T), which steps are padding."""
        N, T = self.shape
        return np.arange(T) >= np.c_[[T] * N if self.lengths is None else self.lengths]


RAGGED = {"full": None, "ragged": [6, 4, 4, 1, 1], "unsorted": [1, 6, 3, 6, 2], "short": [4, 2, 4, 3, 1]}
"""Lengths of five rows of six steps; those that are short leave the last two steps to nobody."""


def make(
    cell: str,
    dtype: str = "float64",
    lengths: Any = None,
    *,
    shape: tuple[int, int, int, int] = (5, 6, 3, 4),
    reverse: bool = False,
    tokens: int = 0,
    one_hot: int = 0,
    absent: str = "",
    seed: int = 0,
    scale: float = 0.5,
) -> Case:
    """A random case (N, T, D, H), rounded to `dtype`, with garbage in the padding.

    `tokens` is the size of an embedded vocabulary, `one_hot` that of one that is not; `absent` names what is None:
    h, c, d_outputs, dh, dc.
    """
    rng = np.random.default_rng(seed)
    N, T, D, H = shape
    record, missing = cells.by_name(cell), absent.split()
    D = one_hot or D

    def drawn(name: str, *sizes: int) -> Any:
        values = rng.normal(size=sizes).astype(dtype)
        return None if name in missing else values

    params = {name: drawn("", *sizes) * np.array(scale, dtype) for name, sizes in record.shapes(D, H).items()}
    state = tuple(drawn(name, N, H) for name in record.states)
    d_state = tuple(drawn(f"d{name}", N, H) for name in record.states)
    x, d_outputs = drawn("", N, T, D), drawn("d_outputs", N, T, H)
    ids = rng.integers(0, tokens or one_hot or 1, (N, T))
    case = Case(cell, params, x, None, state, lengths, d_outputs, d_state, reverse)
    for values in (x, d_outputs):
        if values is not None:
            values[case.padding()] = np.nan
    if tokens or one_hot:
        ids[case.padding()] = rng.integers(-(2**62), 2**62, case.padding().sum())
        table = drawn("", tokens, D) if tokens else None
        case = case._replace(x=None, tokens=(ids, table))
    return case


class Result(NamedTuple):
    """By name, on the host."""

    forward: dict[str, Any]
    gradients: dict[str, Any]


def named(record: cells.Cell, prefix: str, state: Any) -> dict[str, Any]:
    """The parts of a state by their names."""
    return {
        prefix + name: part
        for name, part in zip(record.states, record.split("state", state), strict=True)
        if part is not None
    }


def expected(case: Case) -> Result:
    """What the array code makes of a case in float64."""

    def wide(values: Any) -> Any:
        return None if values is None else values.astype(np.float64)

    record = cells.by_name(case.cell)
    tokens = case.tokens and (np.where(case.padding(), 0, case.tokens[0]), wide(case.tokens[1]))
    outputs, state, tape = record.forward(
        {name: wide(value) for name, value in case.params.items()},
        wide(case.x),
        record.join(tuple(map(wide, case.state))),
        case.lengths,
        tokens=tokens,
        reverse=case.reverse,
    )
    d_input, d_state, d_params = record.backward(
        {name: wide(value) for name, value in case.params.items()},
        tape,
        wide(case.d_outputs),
        record.join(tuple(map(wide, case.d_state))),
        add_rows=np.add.at,
    )
    gradients = {**d_params, **named(record, "d", d_state)}
    return Result(
        {"outputs": outputs, **named(record, "", state)},
        gradients if d_input is None else {**gradients, "input": d_input},
    )


class Fused:
    """A fused cell on a device, as `expected` has the array code."""

    def __init__(self, device: Gpu, case: Case, precision: str = "highest", move: Any = None) -> None:
        import cupy

        self.cupy, self.device, self.case = cupy, device, case
        self.record, self.cell = cells.by_name(case.cell), FusedCell(cupy, case.cell, case.dtype, precision)
        self._move = move or device.asarray
        # Views of one buffer at an odd offset, as in a model.
        sizes = [value.size for value in case.params.values()]
        flat = device.asarray(np.concatenate([[0.0], *map(np.ravel, case.params.values())]).astype(case.dtype))
        ends = np.cumsum([1, *sizes]).tolist()
        self.params = {
            name: flat[end : end + size].reshape(value.shape)
            for (name, value), end, size in zip(case.params.items(), ends, sizes, strict=False)
        }

    def put(self, values: Any) -> Any:
        return None if values is None else self._move(values)

    def forward(self, **options: Any) -> tuple[Any, Any, Any]:
        case, xp = self.case, self.cupy
        N, T = case.shape
        order = None if case.lengths is None else self.cell.order(xp, case.lengths, N, T, None)
        arguments = {"lengths": order, "reverse": case.reverse, **options}
        if case.tokens is not None:
            arguments["tokens"] = tuple(map(self.put, case.tokens))
        state = self.record.join(tuple(map(self.put, case.state)))
        return self.cell.forward(self.params, self.put(case.x), state, **arguments)  # type: ignore[no-any-return]

    def backward(self, tape: Any, **options: Any) -> tuple[Any, Any, Any]:
        case = self.case
        d_state = self.record.join(tuple(map(self.put, case.d_state)))
        arguments = {"d_outputs": self.put(case.d_outputs), "d_state": d_state, **options}
        if case.tokens is not None:
            arguments["add_rows"] = backends.select(self.device.name).add_rows
        return self.cell.backward(self.params, tape, **arguments)  # type: ignore[no-any-return]

    def get(self, outputs: Any, state: Any, d_input: Any, d_state: Any, d_params: Any) -> Result:
        forward = {"outputs": outputs, **named(self.record, "", state)}
        gradients = {**d_params, **named(self.record, "d", d_state), "input": d_input}
        host = [
            {name: self.device.get(value) for name, value in arrays.items() if value is not None}
            for arrays in (forward, gradients)
        ]
        return Result(*host)

    def run(self) -> Result:
        outputs, state, tape = self.forward()
        return self.get(outputs, state, *self.backward(tape))


def compare(got: Result, truth: Result, dtype: str, tolerances: tuple[float, float] | None = None) -> None:
    forward, gradients = tolerances or (FORWARD[dtype], GRADIENTS[dtype])
    check(forward_errors(got.forward, truth.forward), forward)
    check(gradient_errors(got.gradients, truth.gradients), gradients)


def same_bits(a: Result, b: Result) -> None:
    for ours, theirs in zip(a, b, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], name)


# ---------------------------------------------------------------- against the array code


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", RAGGED)
def test_a_call_is_that_of_the_array_code(cell, dtype, lengths, reverse, device):
    case = make(cell, dtype, RAGGED[lengths], reverse=reverse)
    compare(Fused(device, case).run(), expected(case), dtype)


ABSENT = ["h", "c", "h c", "d_outputs", "dh", "dc", "dh dc", "d_outputs dh dc", "h c d_outputs dh dc"]


@pytest.mark.parametrize("lengths", ["full", "unsorted"])
@pytest.mark.parametrize("absent", ABSENT)
def test_what_is_not_given_is_zero(cell, absent, lengths, dtype, device):
    case = make(cell, dtype, RAGGED[lengths], absent=absent)
    compare(Fused(device, case).run(), expected(case), dtype)


TOKENS = {
    "embedded": {"tokens": 7},
    "embedded, many": {"tokens": 50},
    "one-hot": {"one_hot": 7},
    "one-hot, many": {"one_hot": 50},
}


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", ["full", "unsorted"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_tokens_are_the_rows_of_their_table(cell, dtype, tokens, lengths, reverse, device):
    case = make(cell, dtype, RAGGED[lengths], reverse=reverse, absent="h c", **TOKENS[tokens])
    compare(Fused(device, case).run(), expected(case), dtype)


def test_tokens_may_be_of_any_integers(cell, device):
    case = make(cell, tokens=7)
    narrow = case._replace(tokens=(case.tokens[0].astype(np.int32), case.tokens[1]))
    same_bits(Fused(device, narrow).run(), Fused(device, case).run())


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("wrong", [-1, 50, -(2**40), 2**40])
def test_a_token_that_is_none_gives_nan_and_reads_no_other_memory(cell, tokens, wrong, device):
    """From its step on in its own row, as by the other levels of a GPU; all else is what it would be without."""
    case = make(cell, absent="h c", **TOKENS[tokens])
    ids = case.tokens[0].copy()
    ids[1, 2] = wrong
    found = Fused(device, case._replace(tokens=(ids, case.tokens[1]))).run().forward["outputs"]
    right = Fused(device, case).run().forward["outputs"].copy()
    right[1, 2:] = np.nan
    np.testing.assert_array_equal(found, right)


def test_an_order_of_full_rows_is_none(cell, gpu):
    """No index is read and no padding zeroed where there is none."""
    case = make(cell)
    fused, launches = fused_on(gpu, case), []
    x = fused.put(case.x)
    for lengths in (None, [case.x.shape[1]] * len(case.x)):
        with gpu.counting() as seen:
            fused.cell.forward(fused.params, x, lengths=lengths)
        launches.append((seen.launches, seen.to_device))
    assert launches[0] == launches[1]


def test_a_step_takes_few_numbers():
    """CuPy converts each of them at each launch."""
    known = {kernel.name: kernel for kernel in declared(module.source("steps.cu"), "float")}
    for name in ("step", "step_backward"):
        assert sum(not parameter.pointer for parameter in known[name].parameters) <= 9


@pytest.mark.parametrize("one_hot", [False, True])
def test_the_gradient_of_tokens_needs_add_rows(cell, one_hot, device):
    fused = Fused(device, make(cell, **({"one_hot": 7} if one_hot else {"tokens": 7})))
    _, _, tape = fused.forward()
    into = {name: device.asarray(np.full(value.shape, 3.0)) for name, value in fused.case.params.items()}
    with pytest.raises(ValueError, match="needs add_rows"):
        fused.cell.backward(fused.params, tape, None, None, into=into, accumulate=False)
    assert all((device.get(array) == 3).all() for array in into.values())


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_outputs_go_to_columns_of_a_wider_array(cell, lengths, reverse, device):
    """And their gradient comes from such ones: what stands beside them is of no concern."""
    case = make(cell, lengths=RAGGED[lengths], reverse=reverse)
    fused, truth, (N, T) = Fused(device, case), expected(case), case.shape
    out = np.zeros((N, T, 11))
    out[:, :, :3], out[:, :, 7:] = 5, 6
    given = fused.put(out)
    outputs, state, tape = fused.forward(out=given, column=3)
    assert outputs is given
    wide = np.full((N, T, 9), np.nan)
    wide[:, :, 2:6] = case.d_outputs
    result = fused.get(outputs, state, *fused.backward(tape, d_outputs=fused.put(wide), column=2))
    out[:, :, 3:7] = truth.forward["outputs"]
    compare(result, truth._replace(forward={**truth.forward, "outputs": out}), "float64")
    assert (result.forward["outputs"][:, :, :3] == 5).all()
    assert (result.forward["outputs"][:, :, 7:] == 6).all()


@pytest.mark.parametrize("lengths", ["full", "unsorted"])
def test_nothing_is_made_that_nobody_wants(cell, lengths, device):
    case = make(cell, lengths=RAGGED[lengths])
    fused, truth = Fused(device, case), expected(case)
    outputs, state, tape = fused.forward(outputs=False)
    assert outputs is None
    dx, d_state, d_params = fused.backward(tape, input_gradient=False, state_gradient=False)
    assert dx is None
    assert d_state is None
    compare(fused.get(None, state, None, None, d_params), wanted(truth, "outputs", "input", "dh", "dc"), "float64")
    again, state, nothing = fused.forward(keep=False)
    assert nothing is None
    check(forward_errors(fused.get(again, state, None, None, {}).forward, truth.forward), FORWARD["float64"])


def wanted(truth: Result, *without: str) -> Result:
    return Result(*[{name: value for name, value in part.items() if name not in without} for part in truth])


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("options", [{}, {"tokens": 7}, {"one_hot": 7}, {"absent": "h c"}], ids=str)
@pytest.mark.parametrize("lengths", ["full", "short"])
def test_gradients_are_written_or_added_to_what_is_given(cell, dtype, accumulate, options, lengths, device):
    case = make(cell, dtype, RAGGED[lengths], **options)
    rng = np.random.default_rng(5)
    before = {name: rng.normal(size=value.shape).astype(dtype) for name, value in case.params.items()}
    # Views of one buffer: what a product writes beyond its own, its neighbour has wrong.
    fused, into = Fused(device, case), Fused(device, case._replace(params=before)).params
    outputs, state, tape = fused.forward()
    d_input, d_state, d_params = fused.backward(tape, into=into, accumulate=accumulate)
    assert all(d_params[name] is into[name] for name in into)
    truth = expected(case)
    added = {name: truth.gradients[name] + accumulate * before[name].astype(float) for name in before}
    truth = truth._replace(gradients={**truth.gradients, **added})
    compare(fused.get(outputs, state, d_input, d_state, d_params), truth, dtype)


@pytest.mark.parametrize("accumulate", [False, True])
def test_one_step_without_a_state_gives_no_gradient_to_the_recurrent_weights(cell, accumulate, device):
    case = make(cell, shape=(5, 1, 3, 4), absent="h c")
    fused = Fused(device, case)
    into = {name: device.asarray(np.full(value.shape, 3.0)) for name, value in case.params.items()}
    _, _, tape = fused.forward()
    fused.backward(tape, into=into, accumulate=accumulate)
    np.testing.assert_array_equal(device.get(into["weight_hh"]), 3.0 if accumulate else 0.0)


def strided(device: Gpu) -> Any:
    """Moves values to a device as views that are contiguous in no axis, some of which run backwards."""

    def move(values: Any) -> Any:
        if values.ndim == 1:
            return device.asarray(values)
        axes = tuple(reversed(range(values.ndim)))
        wide = np.full([2 * size for size in np.transpose(values, axes).shape], 77, dtype=values.dtype)
        view = tuple(slice(1, None, 2) if k else slice(-1, None, -2) for k in range(values.ndim))
        wide[view] = np.transpose(values, axes)
        return device.asarray(wide)[view].transpose(axes)

    return move


@pytest.mark.parametrize("options", [{}, {"tokens": 7}], ids=str)
@pytest.mark.parametrize("lengths", ["full", "unsorted"])
def test_arrays_may_have_any_strides(cell, lengths, options, device):
    case = make(cell, lengths=RAGGED[lengths], **options)
    fused = Fused(device, case, move=strided(device))  # but for the parameters
    compare(fused.run(), expected(case), "float64")


def test_lengths_may_be_a_list(cell, device):
    case = make(cell, lengths=RAGGED["unsorted"])
    fused = Fused(device, case)
    outputs, state, tape = fused.forward(lengths=case.lengths)
    same_bits(fused.get(outputs, state, *fused.backward(tape)), fused.run())


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_shapes_lengths_and_states(data, device):
    draw = data.draw
    N, T = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    D, H = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    lengths = draw(st.none() | st.lists(st.integers(1, T), min_size=N, max_size=N))
    lengths = None if lengths is None or min(lengths) == T else lengths
    absent = " ".join(draw(st.lists(st.sampled_from(["h", "c", "d_outputs", "dh", "dc"]), unique=True)))
    kind = draw(st.sampled_from([{}, {"tokens": 5}, {"tokens": 60}, {"one_hot": 6}]))
    cell, dtype = draw(st.sampled_from(list(LAYOUTS))), draw(st.sampled_from(["float32", "float64"]))
    reverse, seed = draw(st.booleans()), draw(st.integers(0, 99))
    # Wider weights saturate a unit, whose slope then has fewer digits than float32, in whatever way it is computed.
    scale = min(0.5, (D + H) ** -0.5)
    sizes = (N, T, D, H)
    case = make(cell, dtype, lengths, shape=sizes, reverse=reverse, absent=absent, seed=seed, scale=scale, **kind)
    compare(Fused(device, case).run(), expected(case), dtype)


def test_a_long_sum_of_many_columns(cell, device):
    """Of more steps than one block sums, and of more columns than a block has."""
    case = make(cell, "float32", shape=(35, 60, 2, 40), absent="h c dh dc", scale=0.1)
    compare(Fused(device, case).run(), expected(case), "float32")


def test_high_precision_is_that_of_tf32(cell, device):
    case = make(cell, "float32", RAGGED["unsorted"], shape=(5, 6, 30, 40))
    truth, got = expected(case), Fused(device, case, "high").run()
    compare(got, truth, "float32", bounds_of("float32", "high"))
    exact = Fused(device, case, "highest").run()
    assert (got.forward["outputs"] != exact.forward["outputs"]).any()


def test_high_precision_changes_nothing_in_float64(cell, device):
    case = make(cell, lengths=RAGGED["unsorted"])
    same_bits(Fused(device, case, "high").run(), Fused(device, case).run())


# ---------------------------------------------------------------- tapes


def test_tapes_stand_by_themselves(cell, device):
    """Calls in between change nothing, nor does a second use, nor what the caller does with what was handed out."""
    one = make(cell, lengths=RAGGED["unsorted"])
    other = make(cell, lengths=RAGGED["ragged"], seed=1, reverse=True)
    first, second = Fused(device, one), Fused(device, other)
    alone, too = first.run(), second.run()
    forwards = [fused.forward() for fused in (first, second)]
    seen = [
        fused.get(outputs, state, None, None, {}).forward
        for fused, (outputs, state, _) in zip((first, second), forwards, strict=True)
    ]
    for outputs, state, _ in forwards:
        outputs[...] = 9
        for part in state if isinstance(state, tuple) else (state,):
            part[...] = 9
    for _ in range(2):
        for k, (fused, before) in enumerate(((first, alone), (second, too))):
            gradients = fused.get(None, None, *fused.backward(forwards[k][2])).gradients
            same_bits(Result(seen[k], gradients), before)


def test_what_was_given_may_be_written_afterwards(cell, device):
    case = make(cell, lengths=RAGGED["unsorted"])
    given: list[Any] = []

    def move(values: Any) -> Any:
        given.append(device.asarray(values))
        return given[-1]

    fused = Fused(device, case, move=move)
    outputs, state, tape = fused.forward()
    for array in given:
        array[...] = 9
    got = fused.get(outputs, state, *fused.backward(tape))
    compare(got, expected(case), "float64")


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_gradients_of_a_layer_are_its_differences(cls, options, device):
    layer = cls(2, 2, device=device.name, kernels="fused", dtype="float64", seed=0, **options)
    assert layer.kernels == "fused"
    rng = np.random.default_rng(0)
    assert xlstm.check_gradients(layer, (rng.standard_normal((2, 3, 2)),)).passed


@pytest.mark.parametrize("lengths", [None, [4, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_a_layer_gives_what_the_cpu_gives(cls, lengths, device):
    rng = np.random.default_rng(0)
    x, d_outputs = rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 4, 6))
    results = []
    for name, kernels, move, back in (
        ("cpu", "reference", np.array, np.asarray),
        (device.name, "fused", device.asarray, device.get),
    ):
        layer = cls(2, 3, 2, True, device=name, kernels=kernels, dtype="float64", seed=0)
        with device.nothing_comes_to_the_host():
            outputs, _, tape = layer.forward(move(x), lengths=lengths)
            dx, _ = layer.backward(tape, move(d_outputs))
        prepared, _ = layer.prepare()(move(x), lengths=lengths)
        results.append([back(array) for array in (outputs, dx, prepared, *layer.gradients.values())])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- launches, memory and the order of threads


def fused_on(gpu: Machine, case: Case, **options: Any) -> Fused:
    return Fused(Gpu("cuda", gpu), case, **options)


def test_a_step_is_two_launches_each_way(cell, gpu):
    T = 100
    case = make(cell, "float32", shape=(64, T, 2, 4), absent="h c d_outputs dc")
    fused = fused_on(gpu, case)
    x, dh = fused.put(case.x), fused.put(case.d_state[0])
    with gpu.counting() as forward:
        _, _, tape = fused.cell.forward(fused.params, x, outputs=False)
    assert (forward.launches, forward.products) == (2 * T + 1, T)  # packing, the input product; no product at step 0
    into = {name: fused.cupy.empty_like(value) for name, value in fused.params.items()}
    d_state = fused.record.join((dh, *[None] * (len(fused.record.states) - 1)))
    apart = cell == "gru"  # its input has two products, since the gate of its candidate stands apart
    with gpu.counting() as backward:
        fused.cell.backward(fused.params, tape, None, d_state, into=into, accumulate=False)
    assert backward.launches == 2 * T + 6 + 2 * apart  # weights 2, biases 2, the input 2
    with gpu.counting() as training:  # as the first layer of a model
        options = {"input_gradient": False, "state_gradient": False}
        fused.cell.backward(fused.params, tape, None, d_state, into=into, accumulate=False, **options)
    assert training.launches == 2 * T + 3 + apart
    for seen in (forward, backward, training):
        assert (seen.to_host, seen.to_device) == (0, 0)


@pytest.mark.parametrize("lengths", ["full", "unsorted"])
def test_in_the_steps_nothing_is_allocated(cell, lengths, gpu):
    def allocations(steps: int) -> tuple[int, int]:
        case = make(cell, lengths=None if lengths == "full" else [steps, 3, 2, steps - 1, 1], shape=(5, steps, 3, 4))
        fused = fused_on(gpu, case)
        x = fused.put(case.x)
        order = None if case.lengths is None else Order(fused.cupy, case.lengths, steps)
        with gpu.counting() as forward:
            _, _, tape = fused.cell.forward(fused.params, x, lengths=order)
        with gpu.counting() as backward:
            fused.cell.backward(fused.params, tape)
        return forward.allocations, backward.allocations

    assert allocations(5) == allocations(40)


def test_without_a_tape_states_are_not_kept(cell, gpu):
    case = make(cell, shape=(4, 50, 1, 8), absent="h c")
    fused = fused_on(gpu, case)
    x, states = fused.put(case.x), len(fused.record.states)

    def allocated(keep: bool) -> int:
        with gpu.counting() as seen:
            fused.cell.forward(fused.params, x, outputs=False, keep=keep)
        return seen.allocated_bytes

    assert allocated(True) - allocated(False) == states * 4 * 49 * 8 * 8


def test_the_order_of_threads_changes_no_bit(cell, gpu):
    case = make(cell, "float32", RAGGED["unsorted"], shape=(5, 6, 3, 40))
    long = make(cell, "float32", shape=(30, 20, 2, 10))
    plain = [fused_on(gpu, each).run() for each in (case, long)]
    for seed in (1, 2, 3, 99):
        gpu.schedule = seed
        for each, before in zip((case, long), plain, strict=True):
            same_bits(fused_on(gpu, each).run(), before)


def test_what_is_too_large_is_left_to_others(cell, gpu, monkeypatch):
    case = make(cell, lengths=RAGGED["unsorted"])
    fused = fused_on(gpu, case)
    x, order = fused.put(case.x), Order(fused.cupy, case.lengths, 6)
    fused.cell.forward(fused.params, x, lengths=order)
    monkeypatch.setattr(blas, "LARGEST", sum(case.lengths) - 1)
    with gpu.counting() as seen, pytest.raises(Unsupported, match="a size of this call is 18"):
        fused.cell.forward(fused.params, x, lengths=order)
    assert not any(vars(seen).values())


def test_the_second_gpu_computes_on_itself(cell):
    with machine(devices=2) as gpu:
        case = make(cell, lengths=RAGGED["unsorted"])
        with backends.select("cuda:1").current():
            compare(Fused(Gpu("cuda:1", gpu), case).run(), expected(case), "float64")


# ---------------------------------------------------------------- the order of a batch


def test_the_steps_of_an_order_stand_one_after_another(gpu):
    import cupy

    order = Order(cupy, [1, 6, 3, 6, 2], 7)
    assert order.active == [5, 4, 3, 2, 2, 2]
    assert order.starts == [0, 5, 9, 12, 14, 16, 18]
    np.testing.assert_array_equal(order.starts_on_device.get(), order.starts)
    np.testing.assert_array_equal(order.sorted_rows.get(), [1, 3, 2, 4, 0])
    np.testing.assert_array_equal(order.sorted_lengths.get(), [6, 6, 3, 2, 1])


def test_lengths_that_are_on_the_device_are_not_sent_there(gpu):
    import cupy

    class Lengths(list[int]):
        on_device = cupy.asarray(np.array([5, 4, 1]))

    with gpu.counting() as seen:
        order = Order(cupy, Lengths([5, 4, 1]), 5)
        assert order.sorted_rows is None
        np.testing.assert_array_equal(order.starts_on_device._host, [0, 3, 5, 7, 9, 10])
        assert order.sorted_lengths is Lengths.on_device
    assert seen.to_device == 0


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_products_of_parts_of_matrices(a_turned, b_turned, add, dtype, device):
    import cupy

    multiply = blas.Products(cupy, dtype, "highest").multiply
    rng = np.random.default_rng(0)
    for m, n, k in ((1, 1, 1), (3, 4, 5), (1, 7, 2), (6, 1, 9), (8, 8, 8)):
        shapes = (k, m) if a_turned else (m, k), (n, k) if b_turned else (k, n), (m, n)
        # Each is a part of a wider matrix, from its second row and column on.
        host = [rng.standard_normal((rows + 2, columns + 3)).astype(dtype) for rows, columns in shapes]
        arrays = [device.asarray(whole) for whole in host]
        places = [array.data.ptr + (array.shape[1] + 1) * array.itemsize for array in arrays]
        widths = [array.shape[1] for array in arrays]
        a, b, out = (whole[1 : 1 + rows, 1 : 1 + columns] for whole, (rows, columns) in zip(host, shapes, strict=True))
        where = [number for pair in zip(places, widths, strict=True) for number in pair]
        multiply(m, n, k, *where, a_turned=a_turned, b_turned=b_turned, add=add)
        product = (a.T if a_turned else a).astype(float) @ (b.T if b_turned else b).astype(float)
        out[...] = product + add * out.astype(float)
        tolerance = 1e-6 if dtype == "float32" else 1e-15
        np.testing.assert_allclose(device.get(arrays[2]), host[2], rtol=tolerance, atol=10 * tolerance)


def test_a_product_of_nothing_does_nothing(gpu):
    import cupy

    with gpu.counting() as seen:
        multiply = blas.Products(cupy, "float32", "highest").multiply
        for sizes in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            multiply(*sizes, 0, 1, 0, 1, 0, 1)
    assert seen.launches == 0


def test_a_machine_without_cublas_has_no_products(gpu, monkeypatch):
    import cupy

    class WithoutCublas:
        @property
        def cublas(self) -> Any:
            raise ImportError("no libcublas.so")

    monkeypatch.setattr(cupy, "cuda", WithoutCublas())
    with pytest.raises(Unsupported, match=r"CuPy cannot load cuBLAS \(no libcublas\.so\)"):
        blas.Products(cupy, "float32", "highest")
