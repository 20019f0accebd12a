"""cuDNN's cells against the array code in float64, through a library with its functions that computes on the host."""

import gc
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlstm.backends.cuda import Unsupported
from xlstm.backends.cuda.cudnn import cell as cudnn_cell
from xlstm.backends.cuda.cudnn import plan as cudnn_plan
from xlstm.backends.cuda.cudnn.cell import CudnnCell
from xlstm.backends.cuda.cudnn.library import CudnnError, Library
from xlstm.backends.cuda.cudnn.storage import Storage
from xlstm.backends.cuda.fused import FusedCell
from xlstm.backends.cuda.order import Order

from xlstm import cells

from ..measure import bounds_of
from ..standin import Machine, machine
from .cudnn_stub import Stub, built

CELLS = ("lstm", "rnn", "gru")
PRECISIONS = (
    ("float64", "highest"),
    ("float32", "highest"),
    ("float32", "high"),
    ("float32", "bfloat16"),
    ("float32", "float16"),
)
BOUNDS = {pair: bounds_of(*pair) for pair in PRECISIONS}
"""The relative error of outputs and of gradients, as the project states them for each precision."""


class Gpu:
    """A machine with the stand-in for CuPy and that for cuDNN."""

    def __init__(self, standin: Machine, stub: Stub) -> None:
        import cupy

        self.cupy, self.standin, self.stub = cupy, standin, stub
        self.library = Library(str(built()), 12)

    def cell(self, name: str, dtype: str = "float64", precision: str = "highest") -> CudnnCell:
        return CudnnCell(self.library, self.cupy, name, dtype, precision)

    def put(self, values: Any, dtype: Any = None) -> Any:
        return None if values is None else self.cupy.asarray(np.asarray(values), dtype=dtype)

    def add_rows(self, target: Any, ids: Any, rows: Any) -> None:
        self.cupy.add.at(target, ids, rows)


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    gc.collect()  # what other tests made is not to be counted
    stub = Stub(built())
    with machine(devices=2) as standin:
        yield Gpu(standin, stub)
        stub.reset()


class Case:
    """One call of a cell: its parameters, inputs and gradients on the host, and the truth in float64."""

    def __init__(
        self, cell: str, dtype: str, N: int, T: int, D: int, H: int, *, seed: int = 0, ragged: bool = True,
        states: bool = True, tokens: str = "", reverse: bool = False, outputs: bool = True,
    ) -> None:  # fmt: skip
        self.record, self.name, self.dtype, self.reverse = cells.by_name(cell), cell, dtype, reverse
        self.rng = rng = np.random.default_rng(seed)
        self.N, self.T, self.D, self.H = N, T, D, H
        drawn = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
        shapes = self.record.shapes(D, H)
        self.params = {name: drawn(*shape) * np.array(0.6, dtype) for name, shape in shapes.items()}
        self.lengths = [int(v) for v in rng.integers(1, T + 1, N)] if ragged else None
        if ragged and T > 1 and min(self.lengths) == T:
            self.lengths[int(rng.integers(N))] = T - 1
        if self.lengths and min(self.lengths) == T:
            self.lengths = None
        self.padding = np.arange(T) >= np.array(self.lengths or [T] * N)[:, None]  # (N, T)
        K = len(self.record.states)
        self.state = self.join(tuple(drawn(N, H) for _ in range(K))) if states else None
        self.d_state = self.join(tuple(drawn(N, H) for _ in range(K))) if states or not outputs else None
        self.x, self.tokens = drawn(N, T, D), None
        if tokens:
            V = 5 if tokens == "table" else D
            table = drawn(V, D) if tokens == "table" else None
            self.x, self.tokens = None, (rng.integers(0, V, (N, T)), table)
        self.d_outputs = drawn(N, T, H) if outputs else None

    def join(self, states: tuple[Any, ...]) -> Any:
        return self.record.join(states)

    def split(self, state: Any) -> tuple[Any, ...]:
        return self.record.split("state", state)

    def truth(self) -> tuple[list[Any], list[Any]]:
        """Outputs and final states; the gradients of x or the table, of the states and of the parameters."""
        wide = lambda a: None if a is None else a.astype(np.float64)  # noqa: E731
        params = {name: wide(value) for name, value in self.params.items()}
        state = self.join(tuple(map(wide, self.split(self.state))))
        tokens = self.tokens and (self.tokens[0], wide(self.tokens[1]))
        all_h, final, tape = self.record.forward(
            params, wide(self.x), state, self.lengths, tokens=tokens, reverse=self.reverse
        )
        d_state = self.join(tuple(map(wide, self.split(self.d_state))))
        add_rows = lambda target, ids, rows: np.add.at(target, ids, rows)  # noqa: E731
        dx, d_first, d_params = self.record.backward(params, tape, wide(self.d_outputs), d_state, add_rows=add_rows)
        return [all_h, *self.split(final)], [dx, *self.split(d_first), *(d_params[name] for name in params)]

    def on(self, gpu: Gpu, strided: bool = False, section: int | None = None) -> SimpleNamespace:
        """The arrays on the device: NaN in the padding; with gaps; the parameters in one buffer, at `section` bytes."""

        def put(values: Any, padded: bool = False) -> Any:
            if values is None:
                return None
            values = values.copy()
            if padded and values.dtype.kind == "f":
                values[self.padding] = np.nan
            elif padded:
                values[self.padding] = -(2**40)
            if not strided:
                return gpu.put(values)
            wide = np.full([2 * size for size in values.shape], 7, values.dtype)
            within = tuple(slice(1, None, 2) for _ in values.shape)
            wide[within] = values
            return gpu.put(wide)[within]

        params = {name: gpu.put(value) for name, value in self.params.items()}
        if section is not None:
            params = in_one_buffer(gpu, self.params, section)
        return SimpleNamespace(
            params=params,
            x=put(self.x, padded=True),
            state=None if self.state is None else self.join(tuple(map(put, self.split(self.state)))),
            tokens=self.tokens and (put(self.tokens[0], padded=True), gpu.put(self.tokens[1])),
            d_outputs=put(self.d_outputs, padded=True),
            d_state=None if self.d_state is None else self.join(tuple(map(put, self.split(self.d_state)))),
        )

    def forward(self, cell: CudnnCell, on: SimpleNamespace, **options: Any) -> tuple[Any, Any, Any]:
        options = {"tokens": on.tokens, "reverse": self.reverse, **options}
        return cell.forward(on.params, on.x, on.state, self.lengths, **options)

    def backward(self, gpu: Gpu, cell: CudnnCell, on: SimpleNamespace, tape: Any, **options: Any) -> list[Any]:
        options = {"add_rows": gpu.add_rows, **options}
        dx, d_first, d_params = cell.backward(on.params, tape, on.d_outputs, on.d_state, **options)
        return [dx, *self.split(d_first), *(d_params[name] for name in on.params)]


def in_one_buffer(gpu: Gpu, params: dict[str, Any], offset: int, fill: float = 0.0) -> dict[str, Any]:
    """The parameters one after the other, the first at an address of `offset` bytes beyond a multiple of 256."""
    values = np.concatenate([value.ravel() for value in params.values()])
    spare = 256 // values.itemsize + offset // values.itemsize
    flat = gpu.put(np.full(len(values) + spare, fill, values.dtype))
    start = (offset - flat.data.ptr) % 256 // values.itemsize
    assert (flat.data.ptr + start * values.itemsize) % 256 == offset
    flat[start : start + len(values)] = gpu.put(values)
    views = {}
    for name, value in params.items():
        views[name] = flat[start : start + value.size].reshape(value.shape)
        start += value.size
    return views


def get(array: Any) -> Any:
    array._block.check_guards()  # cuDNN wrote nothing beside it either
    return array.get()


def agree(actual: list[Any], expected: list[Any], bound: float) -> None:
    """Each array, in the relative norm; one that is small by cancellation against a tenth of what all are."""
    assert [a is None for a in actual] == [e is None for e in expected]
    actual = [get(a).astype(np.float64) for a in actual if a is not None]
    expected = [e for e in expected if e is not None]
    typical = np.sqrt(sum(np.sum(e**2) for e in expected) / sum(e.size for e in expected))
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        error = np.linalg.norm(a - e) / max(np.linalg.norm(e), 0.1 * typical * e.size**0.5, 1e-300)
        assert error <= bound, f"an array {a.shape} differs by {error:.2g}"


def check(
    gpu: Gpu, case: Case, precision: str, *, strided: bool = False, section: int | None = None, slack: float = 1.0
) -> None:
    cell, on = gpu.cell(case.name, case.dtype, precision), case.on(gpu, strided, section)
    results, gradients = case.truth()
    forward, backward = (slack * bound for bound in BOUNDS[case.dtype, precision])
    all_h, final, tape = case.forward(cell, on)
    agree([all_h, *case.split(final)], results, forward)
    assert (get(all_h)[case.padding] == 0).all()
    found = case.backward(gpu, cell, on, tape)
    if case.state is None:  # no initial state: its gradient is that of zeros
        assert len(found) == len(gradients)
    agree(found, gradients, backward)
    if case.x is not None:
        assert (get(found[0])[case.padding] == 0).all()


# ---------------------------------------------------------------- right values


@pytest.mark.parametrize("padding", [0, 1], ids=["fills", "leaves and reads"])
@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients(name: str, dtype: str, precision: str, padding: int, gpu: Gpu) -> None:
    gpu.stub["padding"] = padding
    for seed, (N, T, D, H) in enumerate(((1, 1, 1, 1), (4, 6, 3, 5), (3, 5, 4, 8))):
        for ragged in (False, True):
            for reverse in (False, True):
                states = (seed + ragged + reverse) % 2 == 0
                check(
                    gpu,
                    Case(name, dtype, N, T, D, H, seed=seed, ragged=ragged, reverse=reverse, states=states),
                    precision,
                )


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_random_shapes(data: st.DataObject) -> None:
    with machine() as standin:
        stub = Stub(built())
        try:
            gpu = Gpu(standin, stub)
            stub["padding"] = data.draw(st.integers(0, 1))
            standin.schedule = data.draw(st.integers(0, 5))
            N, T, D, H = (data.draw(st.integers(1, most)) for most in (5, 7, 6, 9))
            dtype, precision = data.draw(st.sampled_from(PRECISIONS))
            flags = {name: data.draw(st.booleans()) for name in ("ragged", "reverse", "states")}
            tokens = data.draw(st.sampled_from(["", "table", "one-hot"]))
            case = Case(data.draw(st.sampled_from(CELLS)), dtype, N, T, D, H, seed=data.draw(st.integers(0, 99)),
                        tokens=tokens, outputs=data.draw(st.booleans()), **flags)  # fmt: skip
            section = data.draw(st.sampled_from([None, 0, 8, 40]))
            # The norm of few numbers is no average: reduced precision is given more room there, most where an array may
            # be a single one, in which the terms of z nearly cancel.
            slack = 1.0 if precision == "highest" else 8.0 if N * H >= 8 else 32.0
            check(gpu, case, precision, strided=data.draw(st.booleans()), section=section, slack=slack)
        finally:
            stub.reset()


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("tokens", ["table", "one-hot"])
@pytest.mark.parametrize("name", CELLS)
def test_tokens(name: str, tokens: str, dtype: str, precision: str, gpu: Gpu) -> None:
    for ragged in (False, True):
        for reverse in (False, True):
            case = Case(name, dtype, 4, 6, 5, 3, seed=3, ragged=ragged, reverse=reverse, tokens=tokens)
            check(gpu, case, precision)


def test_tokens_outside_of_the_table_are_seen(gpu: Gpu) -> None:
    case = Case("lstm", "float64", 2, 3, 4, 3, tokens="table", ragged=False)
    case.tokens[0][1, 1] = 5
    all_h, _, _ = case.forward(gpu.cell("lstm"), case.on(gpu))
    assert np.isfinite(get(all_h)[0]).all()
    assert np.isnan(get(all_h)[1, 1:]).all()


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
def test_nothing_is_added_to_a_row_for_what_is_no_token(dtype: str, precision: str, gpu: Gpu) -> None:
    """The ids that a sum of rows gets are -1 in the padding and for what is no token, and it leaves those out."""
    for reverse in (False, True):
        case = Case("lstm", dtype, 3, 4, 4, 3, tokens="table", reverse=reverse)
        case.lengths, ids = [4, 1, 3], case.tokens[0]
        case.padding = np.arange(4) >= np.array(case.lengths)[:, None]
        cell, on = gpu.cell("lstm", dtype, precision), case.on(gpu)
        _, _, tape = case.forward(cell, on)
        expected = np.full((3, 4), -1)
        for n, length in enumerate(case.lengths):
            expected[n, :length] = ids[n, :length][:: -1 if reverse else 1]
        seen = []
        case.backward(gpu, cell, on, tape, add_rows=lambda target, ids, rows, seen=seen: seen.append(ids))
        np.testing.assert_array_equal(get(seen[0]).reshape(3, 4), expected)
    storage = Storage(gpu.cupy, "float64", None)
    ids = gpu.put(np.array([[0, 5, -1, 2**40, 4]]))
    _, kept = storage.tokens(ids, gpu.put(np.ones((5, 2))), 2, 5, None, False, True)
    np.testing.assert_array_equal(get(kept), [0, -1, -1, -1, 4])


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_arrays_with_gaps(name: str, dtype: str, precision: str, gpu: Gpu) -> None:
    for ragged in (False, True):
        check(gpu, Case(name, dtype, 4, 6, 3, 5, ragged=ragged), precision, strided=True)


def shifted(gpu: Gpu, array: Any) -> Any:
    """The same numbers one number beyond what CuPy's own arrays are aligned to."""
    flat = gpu.cupy.empty(array.size + 1, array.dtype)[1:]
    flat[...] = array.reshape(array.size)
    return flat.reshape(array.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_arrays_at_any_address(name: str, keep: bool, dtype: str, gpu: Gpu) -> None:
    """The stand-in for cuDNN takes none that does not begin at 16 bytes."""
    case, cell = Case(name, dtype, 4, 6, 3, 5, ragged=False), gpu.cell(name, dtype)
    on, (results, gradients) = case.on(gpu), case.truth()
    on.x, on.d_outputs = shifted(gpu, on.x), shifted(gpu, on.d_outputs)
    on.state, on.d_state = (
        case.join(tuple(shifted(gpu, part) for part in case.split(state))) for state in (on.state, on.d_state)
    )
    all_h, final, tape = case.forward(cell, on, keep=keep)
    agree([all_h, *case.split(final)], results, BOUNDS[dtype, "highest"][0])
    if keep:
        agree(case.backward(gpu, cell, on, tape), gradients, BOUNDS[dtype, "highest"][1])


def test_arrays_that_stand_well_are_read_where_they_are(gpu: Gpu) -> None:
    storage, x = Storage(gpu.cupy, "float32", None), gpu.put(np.ones((4, 3, 2), np.float32))
    assert storage.batch(x, 3, None, False, copy=False) is x
    assert storage.state(x[:, 0, :].copy(), copy=False) is not None
    assert storage.batch(shifted(gpu, x), 3, None, False, copy=False).data.ptr % 16 == 0


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_the_weights_where_they_stand_and_elsewhere(name: str, dtype: str, precision: str, gpu: Gpu) -> None:
    for section in (0, 8, 136):
        check(gpu, Case(name, dtype, 3, 4, 3, 5), precision, section=section)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("section", [None, 0, 8])
@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_added_or_written(
    name: str, dtype: str, precision: str, section: int | None, accumulate: bool, gpu: Gpu
) -> None:
    case, cell = Case(name, dtype, 4, 5, 3, 4, states=False), gpu.cell(name, dtype, precision)
    on = case.on(gpu)
    before = {key: np.full_like(value, 2) for key, value in case.params.items()}
    into = {key: gpu.put(value) for key, value in before.items()}
    if section is not None:
        into = in_one_buffer(gpu, before, section)
    _, _, tape = case.forward(cell, on)
    _, _, d_params = cell.backward(on.params, tape, on.d_outputs, None, into=into, accumulate=accumulate)
    assert all(d_params[key] is into[key] for key in into)
    _, truth = case.truth()
    expected = [gradient + 2 * accumulate for gradient in truth[-len(into) :]]
    agree([into[key] for key in into], expected, BOUNDS[dtype, precision][1])


def test_what_is_not_asked_for(gpu: Gpu) -> None:
    for name in CELLS:
        case, cell = Case(name, "float64", 4, 5, 3, 4), gpu.cell(name)
        on, (results, gradients) = case.on(gpu), case.truth()
        all_h, final, tape = case.forward(cell, on, outputs=False)
        assert all_h is None
        agree(list(case.split(final)), results[1:], 1e-12)
        found = case.backward(gpu, cell, on, tape, input_gradient=False, state_gradient=False)
        K = len(case.record.states)
        assert found[: K + 1] == [None] * (K + 1)
        agree(found[K + 1 :], gradients[K + 1 :], 1e-11)


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
def test_a_part_of_the_state_and_of_its_gradient(dtype: str, precision: str, gpu: Gpu) -> None:
    case, cell = Case("lstm", dtype, 4, 5, 3, 4, states=True), gpu.cell("lstm", dtype, precision)
    case.state, case.d_state = (None, case.state[1]), (case.d_state[0], None)
    on, (results, gradients) = case.on(gpu), case.truth()
    all_h, final, tape = case.forward(cell, on)
    agree([all_h, *final], results, BOUNDS[dtype, precision][0])
    agree(case.backward(gpu, cell, on, tape), gradients, BOUNDS[dtype, precision][1])


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_inference_and_packed_parameters(name: str, ragged: bool, dtype: str, precision: str, gpu: Gpu) -> None:
    for reverse in (False, True):
        case = Case(name, dtype, 4, 5, 3, 4, ragged=ragged, reverse=reverse)
        cell, on = gpu.cell(name, dtype, precision), case.on(gpu)
        results, _ = case.truth()
        packed = cell.pack(on.params)
        plain = case.forward(cell, on, keep=False)
        for value in on.params.values():
            value[...] = np.nan  # the packed ones are a copy
        for all_h, final, tape in (plain, case.forward(cell, on, keep=False, packed=packed)):
            assert tape is None
            agree([all_h, *case.split(final)], results, BOUNDS[dtype, precision][0])
            assert (get(all_h)[case.padding] == 0).all()


def test_columns_of_a_wider_array(gpu: Gpu) -> None:
    for dtype, precision in PRECISIONS:
        case, cell = Case("gru", dtype, 4, 5, 3, 4), gpu.cell("gru", dtype, precision)
        on, (results, gradients) = case.on(gpu), case.truth()
        out = gpu.put(np.full((4, 5, 10), 3, dtype))
        all_h, _, tape = case.forward(cell, on, out=out, column=5)
        assert all_h is out
        host = get(out)
        assert (host[:, :, :5] == 3).all()
        assert (host[:, :, 9:] == 3).all()
        agree([out[:, :, 5:9]], results[:1], BOUNDS[dtype, precision][0])
        wide = gpu.put(np.full((4, 5, 10), np.nan, dtype))
        wide[:, :, 5:9] = on.d_outputs
        on.d_outputs = wide
        agree(case.backward(gpu, cell, on, tape, column=5), gradients, BOUNDS[dtype, precision][1])


def test_more_time_than_the_longest_row_has(gpu: Gpu) -> None:
    """Steps that no row has are not computed; they are zero in outputs and gradients."""
    for reverse in (False, True):
        case = Case("lstm", "float64", 3, 9, 2, 4, reverse=reverse)
        case.lengths = [2, 4, 1]
        case.padding = np.arange(9) >= np.array(case.lengths)[:, None]
        check(gpu, case, "highest")


def test_small_and_large_gradients_in_float16(gpu: Gpu) -> None:
    """What would vanish or overflow in 16 bits is scaled, and comes back as it is."""
    for size in (1e-8, 1e-3, 1e5):
        for outputs in (False, True):
            case = Case("lstm", "float32", 4, 5, 3, 4, outputs=outputs)
            scaled = lambda a, size=size: None if a is None else a * np.float32(size)  # noqa: E731
            case.d_outputs, case.d_state = scaled(case.d_outputs), tuple(map(scaled, case.d_state))
            check(gpu, case, "float16")


@pytest.mark.parametrize("where", ["d_outputs", "dh", "dc"])
def test_the_scale_of_float16_is_that_of_the_greatest_of_all_gradients(where: str, gpu: Gpu) -> None:
    """Of more numbers than all blocks have threads, wherever it stands; NaN is left out."""
    N, T, H = 8, 100, 330
    rng, storage = np.random.default_rng(0), Storage(gpu.cupy, "float32", "float16")
    arrays = {name: rng.random(shape).astype(np.float32) for name, shape in
              (("d_outputs", (N, T, H)), ("dh", (N, H)), ("dc", (N, H)))}  # fmt: skip
    for place in (0, arrays[where].size // 2, arrays[where].size - 1):
        largest = {name: value.copy() for name, value in arrays.items()}
        largest[where].flat[place] = -900.0
        largest["d_outputs"].flat[17] = np.nan
        on = {name: gpu.put(value) for name, value in largest.items()}
        with gpu.standin.counting() as seen:
            scale = storage.scale(on["d_outputs"], (on["dh"], on["dc"]), T, None, (N, H))
        assert get(scale)[0] == 2.0**-10  # times 900 it is below 1, and twice that is not
        assert seen.launched == {"greatest_gradients": 1, "gradient_scale": 1}


def test_sixteen_bits_of_all_numbers(gpu: Gpu) -> None:
    """Each number of 16 bits and back; and numbers between them, each to the nearest, of two the even one."""
    words = np.arange(2**16, dtype=np.uint16)
    random = np.random.default_rng(0).integers(0, 2**32, 2**14, dtype=np.uint32)
    for kind, wide, narrow in (
        ("float16", words.view(np.float16).astype(np.float32), lambda a: a.astype(np.float16).view(np.uint16)),
        ("bfloat16", (words.astype(np.uint32) << 16).view(np.float32), nearest_bfloat16),
    ):
        storage = Storage(gpu.cupy, "float32", kind)
        bits = wide.view(np.uint32)[np.isfinite(wide)]
        near = [(bits + step).view(np.float32) for step in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFF, 0x1000, 0x1001)]
        values = np.concatenate([wide, random.view(np.float32), *near])
        values[np.abs(values) < 2.0**-126] = 0  # which a GPU takes for zero
        with np.errstate(over="ignore"):
            expected = narrow(values)
        there = storage.batch(gpu.put(values[None, None]), 1, None, False)
        found = get(there).view(np.uint16)[: len(values)]
        is_nan = np.isnan(values)
        np.testing.assert_array_equal(found[~is_nan], expected[~is_nan])
        back = get(storage.result(there, 1, len(values)))[0]
        assert np.isnan(back[is_nan]).all()
        as_wide = wide[found[~is_nan]]
        as_wide[np.abs(as_wide) < 2.0**-126] = 0
        np.testing.assert_array_equal(back[~is_nan], as_wide)


def nearest_bfloat16(values: Any) -> Any:
    """The upper half of the bits of whichever of the two neighbours is nearer, in exact arithmetic."""
    low = values.view(np.uint32) >> 16
    with np.errstate(invalid="ignore"):
        below, above = (half.view(np.float32).astype(np.float64) for half in (low << 16, (low + 1) << 16))
        largest = np.abs(below) >= float(np.uint32(0x7F7F0000).view(np.float32))
        above[largest] = np.copysign(2.0**128, below[largest])
        first, second = np.abs(values - below), np.abs(above - values)
    up = (second < first) | ((second == first) & (low % 2 == 1))
    return (low + (up & np.isfinite(values))).astype(np.uint16)


def test_no_gradient_at_all_is_a_zero_one(gpu: Gpu) -> None:
    for dtype, precision in PRECISIONS:
        case, cell = Case("lstm", dtype, 3, 4, 2, 3), gpu.cell("lstm", dtype, precision)
        on = case.on(gpu)
        _, _, tape = case.forward(cell, on)
        dx, d_first, d_params = cell.backward(on.params, tape)
        assert all((get(array) == 0).all() for array in (dx, *d_first, *d_params.values()))


def test_ieee_is_not_tf32(gpu: Gpu) -> None:
    """The two precisions of float32 differ, so that one is not taken for the other."""
    case = Case("lstm", "float32", 4, 6, 3, 5)
    on, (results, _) = case.on(gpu), case.truth()
    all_h, _, _ = case.forward(gpu.cell("lstm", "float32", "high"), on)
    with pytest.raises(AssertionError):
        agree([all_h], results[:1], 5e-6)


# ---------------------------------------------------------------- tapes, calls and threads


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_a_tape_serves_as_often_as_it_is_asked(name: str, dtype: str, precision: str, gpu: Gpu) -> None:
    case, cell = Case(name, dtype, 4, 5, 3, 4), gpu.cell(name, dtype, precision)
    on, (_, gradients) = case.on(gpu), case.truth()
    _, _, tape = case.forward(cell, on)
    before = gpu.stub.calls()
    first = case.backward(gpu, cell, on, tape)
    assert gpu.stub.calls() == (before[0], before[1] + 1, before[2] + 1)  # the reserve space is used where it is fresh
    for _ in range(2):
        again = case.backward(gpu, cell, on, tape)
        for a, b in zip(first, again, strict=True):
            assert (get(a) == get(b)).all()
    agree(again, gradients, BOUNDS[dtype, precision][1])


def test_tapes_of_many_calls_do_not_meet(gpu: Gpu) -> None:
    cases = [Case("gru", "float64", 4, 5, 3, 4, seed=seed, ragged=bool(seed % 2)) for seed in range(6)]
    cell, kept = gpu.cell("gru"), []
    for case in cases:
        on = case.on(gpu)
        all_h, _, tape = case.forward(cell, on)
        # The caller may write to what it gave and got.
        for array in (all_h, on.x, on.state):
            array[...] = np.nan
        kept.append((on, tape))
    for case, (on, tape) in [*zip(cases, kept, strict=True)][::-1] * 2:
        agree(case.backward(gpu, cell, on, tape), case.truth()[1], 1e-11)


def test_a_tape_of_another_cell_is_refused(gpu: Gpu) -> None:
    case = Case("lstm", "float64", 3, 4, 2, 3)
    on = case.on(gpu)
    _, _, tape = case.forward(gpu.cell("lstm"), on)
    for wrong in (tape, None):
        with pytest.raises(TypeError, match="tape must be what forward of this cell returned"):
            gpu.cell("lstm").backward(on.params, wrong)


def test_the_gradient_of_tokens_needs_add_rows(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3, tokens="table"), gpu.cell("lstm")
    on = case.on(gpu)
    _, _, tape = case.forward(cell, on)
    with pytest.raises(ValueError, match="add_rows"):
        case.backward(gpu, cell, on, tape, add_rows=None)
    agree(case.backward(gpu, cell, on, tape), case.truth()[1], 1e-11)


def test_threads_have_handles_of_their_own(gpu: Gpu) -> None:
    cell, wrong = gpu.cell("lstm"), []
    before = gpu.stub["handles"]
    seen = []

    def work(seed: int) -> None:
        try:
            for ragged in (False, True):
                case = Case("lstm", "float64", 4, 5, 3, 4, seed=seed, ragged=ragged)
                on = case.on(gpu)
                all_h, final, tape = case.forward(cell, on)
                agree([all_h, *final], case.truth()[0], 1e-12)
                agree(case.backward(gpu, cell, on, tape), case.truth()[1], 1e-11)
            seen.append(gpu.stub["handles"])
        except BaseException as error:  # told by the thread that waits
            wrong.append(error)

    for seed in range(3):
        thread = threading.Thread(target=work, args=(seed,))
        thread.start()
        thread.join()
    assert not wrong
    gc.collect()
    assert len(seen) == 3
    assert max(seen) > before
    assert gpu.stub["handles"] == before  # those of threads that have ended are gone


def test_each_device_has_its_handle_and_each_call_the_current_stream(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    handles = gpu.stub["handles"]
    for number in (0, 1):
        with gpu.cupy.cuda.Device(number):
            on = case.on(gpu)
            monkeypatch.setattr(gpu.cupy.cuda, "get_current_stream", lambda ptr=77 + number: SimpleNamespace(ptr=ptr))
            all_h, final, tape = case.forward(cell, on)
            agree([all_h, *final], case.truth()[0], 1e-12)
            agree(case.backward(gpu, cell, on, tape), case.truth()[1], 1e-11)
            assert gpu.stub["stream"] == 77 + number
    assert gpu.stub["handles"] == handles + 2


def test_plans_are_kept_and_the_oldest_forgotten(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn_plan, "PLANS", 3)
    cell = gpu.cell("rnn")
    cell.persistent = False
    case = Case("rnn", "float64", 4, 6, 2, 3)
    on = case.on(gpu)
    case.forward(cell, on)
    made, living = gpu.stub["data descriptors set"], gpu.stub["living"]
    tapes = [case.forward(cell, on)[2] for _ in range(4)]
    assert (gpu.stub["data descriptors set"], gpu.stub["living"]) == (made, living)
    for length in range(1, 6):
        other = Case("rnn", "float64", 4, 6, 2, 3)
        other.lengths = [length, 6, 1, 2]
        other.padding = np.arange(6) >= np.array(other.lengths)[:, None]
        check_on = other.on(gpu)
        all_h, final, _ = other.forward(cell, check_on)
        agree([all_h, final], other.truth()[0], 1e-12)
    gc.collect()
    assert gpu.stub["living"] <= living + 2 * 4  # three plans of four descriptors
    agree(case.backward(gpu, cell, on, tapes[0]), case.truth()[1], 1e-11)  # whose plan is made again


def test_nothing_is_left_of_a_cell(gpu: Gpu) -> None:
    gc.collect()
    before = gpu.stub["living"]
    cell, case = gpu.cell("lstm"), Case("lstm", "float64", 4, 6, 2, 3)
    on = case.on(gpu)
    tape = case.forward(cell, on)[2]
    case.backward(gpu, cell, on, tape)
    del cell, tape
    gc.collect()
    assert gpu.stub["living"] == before + 1  # the thread's handle, which is the library's


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_process_is_told_so(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    on = case.on(gpu)
    case.forward(cell, on)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            case.forward(cell, on)
            told = "nothing"
        except BaseException as error:  # the parent reads it
            told = str(error)
        os.write(write, told.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    told = os.read(read, 4096).decode()
    os.close(read)
    assert "CUDA was used before this process was forked" in told
    assert "spawn" in told


# ---------------------------------------------------------------- launches


@pytest.mark.parametrize(("precision", "most"), [("highest", 4), ("high", 4), ("bfloat16", 9), ("float16", 11)])
@pytest.mark.parametrize("name", CELLS)
def test_the_launches_of_a_training_step(name: str, precision: str, most: int, gpu: Gpu) -> None:
    """Those of a model's only layer with full rows, from its final state: no transfer, whatever T is."""
    seen = []
    for T in (5, 9):
        case = Case(name, "float32", 4, T, 3, 4, ragged=False, states=False, outputs=False)
        cell, on = gpu.cell(name, "float32", precision), case.on(gpu, section=0)
        into = in_one_buffer(gpu, case.params, 0)
        d_state = (on.d_state[0], None) if name == "lstm" else on.d_state
        cell.forward(on.params, on.x)
        with gpu.standin.counting() as counts:
            _, _, tape = cell.forward(on.params, on.x, outputs=False)
            cell.backward(on.params, tape, None, d_state, False, into=into, accumulate=False, state_gradient=False)
        assert counts.to_device == counts.to_host == 0
        seen.append(counts.launches)
    assert seen[0] == seen[1] <= most + (2 if name == "gru" and precision in ("highest", "high") else 0)


@pytest.mark.parametrize("precision", ["highest", "bfloat16", "float16"])
def test_a_cell_compiles_nothing_before_its_first_call(
    precision: str, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is made, another device may be the current one; and a compiler that fails is the call's matter."""
    asked: list[str] = []
    own = gpu.cupy.RawModule.get_function
    monkeypatch.setattr(gpu.cupy.RawModule, "get_function", lambda self, name: asked.append(name) or own(self, name))
    cell = gpu.cell("lstm", "float32", precision)
    FusedCell(gpu.cupy, "lstm", "float32")
    assert asked == []
    case = Case("lstm", "float32", 3, 4, 2, 3)
    case.forward(cell, case.on(gpu))
    assert "take" in asked


# ---------------------------------------------------------------- algorithms, and what is refused


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[5, 5, 5], [3, 3, 3]], ids=["full", "shorter than T"])
def test_rows_of_one_length_are_full_rows_of_fewer_steps(lengths: list[int], reverse: bool, gpu: Gpu) -> None:
    for make in (list, lambda given: Order(gpu.cupy, given, 5)):
        before = gpu.stub["small"]
        case = Case("lstm", "float32", 3, 5, 2, 3, reverse=reverse)
        case.lengths, case.padding = lengths, np.arange(5) >= np.array(lengths)[:, None]
        results, gradients = case.truth()
        case.lengths = make(lengths)
        cell, on = gpu.cell("lstm", "float32"), case.on(gpu)
        all_h, final, tape = case.forward(cell, on)
        agree([all_h, *final], results, 5e-6)
        agree(case.backward(gpu, cell, on, tape), gradients, 1e-5)
        assert gpu.stub["small"] > before
        assert (tape.order is None) == (lengths[0] == 5)


def test_packed_parameters_that_are_too_small_are_not_used(gpu: Gpu) -> None:
    """Another call may want a larger space than that which was packed for."""
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    on, (results, _) = case.on(gpu), case.truth()
    packed = cell.pack(on.params)
    gpu.stub["more weights"] = 32
    packed.space[...] = np.nan
    all_h, final, _ = case.forward(cell, on, keep=False, packed=packed)
    agree([all_h, *final], results, 1e-12)


def test_the_persistent_algorithm_for_few_units_in_rows_of_one_length(gpu: Gpu) -> None:
    before = gpu.stub["small"]
    for ragged, dtype, expected in ((True, "float32", False), (False, "float64", False), (False, "float32", True)):
        case = Case("lstm", dtype, 3, 4, 2, 3, ragged=ragged)
        if ragged:
            case.lengths = [4, 1, 3]
            case.padding = np.arange(4) >= np.array(case.lengths)[:, None]
        check(gpu, case, "highest")
        assert (gpu.stub["small"] > before) == expected
    before = gpu.stub["small"]
    cell, case = gpu.cell("lstm", "float32"), Case("lstm", "float32", 3, 4, 2, 3, ragged=False)
    cell.persistent = False
    case.forward(cell, case.on(gpu))
    assert gpu.stub["small"] == before


@pytest.mark.parametrize(
    ("H", "keep", "expected"), [(128, True, True), (129, True, False), (192, False, True), (193, False, False)]
)
def test_the_bound_of_few_units(H: int, keep: bool, expected: bool, gpu: Gpu) -> None:
    before = gpu.stub["small"]
    case = Case("lstm", "float32", 1, 1, 1, H, ragged=False)
    all_h, *_ = case.forward(gpu.cell("lstm", "float32"), case.on(gpu), keep=keep)
    agree([all_h], case.truth()[0][:1], 5e-6)
    assert (gpu.stub["small"] > before) == expected


@pytest.mark.parametrize("place", [1, 2, 3], ids=["sizes", "forward", "backward"])
def test_a_refused_algorithm_gives_way_to_the_plain_one(place: int, gpu: Gpu) -> None:
    gpu.stub["refuses persistent algorithms"] = place
    cell, case = gpu.cell("lstm", "float32"), Case("lstm", "float32", 3, 4, 2, 3, ragged=False)
    for _ in range(2):
        on, (results, gradients) = case.on(gpu), case.truth()
        all_h, final, tape = case.forward(cell, on)
        agree([all_h, *final], results, 5e-6)
        agree(case.backward(gpu, cell, on, tape), gradients, 1e-5)
        before = gpu.stub["small"]
    case.forward(cell, on)
    assert gpu.stub["small"] == before  # it is not asked again


def test_the_persistent_algorithm_of_float16(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def uses(D: int, H: int, N: int, **properties: int) -> bool:
        told = {"major": 9, "minor": 0, "multiProcessorCount": 132, **properties}
        monkeypatch.setattr(gpu.cupy.cuda.runtime, "getDeviceProperties", lambda number: told)
        before = gpu.stub["persistent"]
        case, cell = Case("lstm", "float32", N, 1, D, H, ragged=False), gpu.cell("lstm", "float32", "float16")
        all_h, *_ = case.forward(cell, case.on(gpu))
        agree([all_h], case.truth()[0][:1], 2e-3)
        return bool(gpu.stub["persistent"] > before)

    assert uses(128, 128, 8)
    assert not uses(128, 128, 7)
    assert not uses(64, 128, 8)
    assert not uses(128, 128, 8, multiProcessorCount=80)
    assert not uses(128, 128, 8, major=8, minor=6)


def test_what_cudnn_cannot_do_is_left_to_another_level(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3, ragged=False), gpu.cell("lstm")
    on = case.on(gpu)
    out = gpu.put(np.full((3, 4, 3), 5.0))
    gpu.stub["supports nothing"] = 1
    with pytest.raises(Unsupported, match=r"cudnn.*CUDNN_STATUS_NOT_SUPPORTED.*supports nothing"):
        case.forward(cell, on, out=out)
    assert (get(out) == 5).all()
    gpu.stub["supports nothing"] = 0
    case.forward(cell, on, out=out)
    monkeypatch.setattr(cudnn_cell, "MOST_STEPS", 2)
    with pytest.raises(Unsupported, match="up to 2 steps, these have"):
        case.forward(cell, on)
    monkeypatch.setattr(cudnn_cell, "MOST_STEPS", 65535)
    monkeypatch.setattr(cudnn_cell, "MOST", 8)
    with pytest.raises(Unsupported, match="sizes of up to 8"):
        case.forward(cell, on)
    monkeypatch.setattr(cudnn_cell, "MOST", 3 * 4 * 3)
    case.forward(cell, on)
    monkeypatch.setattr(cudnn_cell, "MOST", 3 * 4 * 3 - 1)  # the numbers of y
    with pytest.raises(Unsupported, match=r"sizes of up to 35, .*\(3, 4, 2, 3\)"):
        case.forward(cell, on)


def test_one_hot_tokens_of_a_large_vocabulary_are_left_to_another_level(gpu: Gpu) -> None:
    case = Case("lstm", "float32", 1, 2, cudnn_cell.MOST_ONE_HOT + 1, 1, tokens="one-hot")
    with pytest.raises(Unsupported, match="one-hot tokens become features for up to 256 tokens, there are 257"):
        case.forward(gpu.cell("lstm", "float32"), case.on(gpu))


def test_more_steps_than_cudnn_takes(gpu: Gpu) -> None:
    params = {name: gpu.put(np.zeros(shape)) for name, shape in cells.by_name("rnn").shapes(1, 1).items()}
    x = gpu.put(np.zeros((1, 65536, 1)))
    with pytest.raises(Unsupported, match="65536"):
        gpu.cell("rnn").forward(params, x)
    gpu.cell("rnn").forward(params, x[:, :9, :])


def test_another_layout_of_the_weights_is_refused(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    gpu.stub["another layout"] = 1
    for _ in range(2):
        with pytest.raises(Unsupported, match="the weights of its gate 0 do not stand where they are expected"):
            case.forward(cell, case.on(gpu))
        with pytest.raises(Unsupported):
            cell.pack(case.on(gpu).params)


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS, ids=lambda value: value)
@pytest.mark.parametrize("name", CELLS)
def test_a_larger_weight_space_than_ours(name: str, dtype: str, precision: str, gpu: Gpu) -> None:
    gpu.stub["more weights"] = 32
    check(gpu, Case(name, dtype, 3, 4, 2, 3), precision, section=0)


def test_a_device_that_died_is_an_error(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    on = case.on(gpu)
    _, _, tape = case.forward(cell, on)
    gpu.stub["dies"] = 1
    for call in (lambda: case.forward(cell, on), lambda: case.backward(gpu, cell, on, tape)):
        with pytest.raises(CudnnError, match=r"EXECUTION_FAILED: a kernel failed .*start it again") as told:
            call()
        assert told.value.status == 5000
        assert not told.value.not_supported
    gpu.stub["dies"] = 0
    agree(case.backward(gpu, cell, on, tape), case.truth()[1], 1e-11)  # the tape is whole


def test_a_device_without_memory_is_a_memory_error(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    on = case.on(gpu)
    gpu.stub["no memory"] = 1
    with pytest.raises(MemoryError, match=r"cudnnRNNForward .*no memory is left .*use a smaller batch"):
        case.forward(cell, on)


def test_a_backward_call_that_is_not_supported_is_an_error(gpu: Gpu) -> None:
    case, cell = Case("lstm", "float64", 3, 4, 2, 3), gpu.cell("lstm")
    on = case.on(gpu)
    _, _, tape = case.forward(cell, on)
    gpu.stub["supports nothing"] = 1
    with pytest.raises(CudnnError, match="NOT_SUPPORTED"):
        case.backward(gpu, cell, on, tape)
