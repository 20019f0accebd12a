# Longer than 500 lines: the tests of one source file stand in one file.
"""The library on a GPU that is none: the stand-in for CuPy, layers on it, and a classifier that trains on it.

The stand-in refuses whatever would bring an array to the host unasked (`tests/standin.py`), so that every test here
also shows that nothing does.
"""

import copy
import inspect
import operator
import pickle
import sys

import numpy as np
import pytest

import xlstm
from xlstm import backends, cells

from ..standin import FUNCTIONS, METHODS, SAME_AS_NUMPY, UFUNCS, CUDARuntimeError, Machine, machine


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine(devices=2) as gpu:
        yield gpu


@pytest.fixture
def cupy(gpu):
    import cupy

    return cupy


def relative(actual, expected):
    """The norm of the difference, relative; NaN where there is one."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300))


# ---------------------------------------------------------------- the stand-in itself


@pytest.mark.parametrize(
    "to_host",
    [float, int, bool, complex, operator.index, iter, list, np.asarray, np.array]
    + [operator.methodcaller(name) for name in ("item", "tolist", "tobytes")],
)
def test_it_refuses_to_go_to_the_host_unasked(to_host, cupy):
    with pytest.raises(
        TypeError, match=r"implicit conversion to a NumPy array is not allowed|interpreted as an integer"
    ):
        to_host(cupy.ones(()))


@pytest.mark.parametrize("operation", [operator.add, operator.matmul, operator.lt, operator.imul, operator.pow])
@pytest.mark.parametrize("other", [np.ones((2, 2)), [[1.0, 2.0], [3.0, 4.0]]])
def test_it_refuses_operands_of_the_host(operation, other, cupy):
    with pytest.raises(TypeError, match="Unsupported type"):
        operation(cupy.ones((2, 2)), other)
    with pytest.raises(TypeError, match="Unsupported type"):
        operation(other, cupy.ones((2, 2)))


def test_it_refuses_arrays_of_the_host_in_functions_and_assignments(cupy):
    a, host = cupy.ones((2, 2)), np.ones((2, 2))
    for call in (
        lambda: cupy.where(a > 0, a, host),
        lambda: cupy.concatenate([a, host]),
        lambda: cupy.exp(host),
        lambda: cupy.exp(a, out=host),
        lambda: cupy.take(a, [0, 1], axis=0),
        lambda: cupy.add.at(a, np.array([0]), cupy.ones((1, 2))),
        lambda: np.add(host, 1, out=a),
        lambda: np.concatenate([a, a]),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match=r"non-scalar numpy\.ndarray cannot be used for fill"):
        a[...] = host


def test_scalars_of_the_host_are_welcome(cupy):
    a = cupy.full((3,), 2.0, dtype="float32")
    for b in (a * 3, 3 * a, np.float32(3) * a, a * np.float32(3)):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(b.get(), 6)
    a[1] = np.float64(7)
    a[2:] = 5
    np.testing.assert_array_equal(a.get(), [2, 7, 5])


def test_it_computes_as_numpy_does(cupy):
    rng = np.random.default_rng(0)
    host, other = rng.standard_normal((3, 4)), rng.standard_normal((4, 3))
    a, b = cupy.asarray(host), cupy.asarray(other)
    for result, expected in (
        (a @ b, host @ other),
        (1 / a - a.T.T % 2, 1 / host - host % 2),
        (cupy.exp(-abs(a)), np.exp(-abs(host))),
        (a.sum(axis=0, keepdims=True), host.sum(axis=0, keepdims=True)),
        (cupy.stack([a, a + 1], axis=1), np.stack([host, host + 1], axis=1)),
        (a.transpose(1, 0).reshape(2, -1), host.T.reshape(2, -1)),
        (a[:, None, ::2], host[:, None, ::2]),
        (a[cupy.asarray([2, 0])], host[[2, 0]]),
        (cupy.take(a, cupy.asarray([3, 3]), axis=1), host[:, [3, 3]]),
        (a.max(), host.max()),
        (a > 0, host > 0),
    ):
        assert type(result) is cupy.ndarray
        assert result.shape == np.shape(expected)
        np.testing.assert_array_equal(cupy.asnumpy(result), expected)


def test_slices_are_views_and_operators_work_in_place(cupy):
    a = cupy.zeros((3, 4))
    a[1][2:] += 1
    a[:, 0] = cupy.asarray([1.0, 2.0, 3.0])
    first = a.reshape(12)[:4]
    first *= 10
    a.T[3, 0] = 5
    np.testing.assert_array_equal(a.get(), [[10, 0, 0, 5], [2, 0, 1, 1], [3, 0, 0, 0]])
    with pytest.raises(ValueError, match="overlapping"):
        a[1:] = a[:-1]
    with pytest.raises(ValueError, match="overlapping"):
        a[1:] += a[:-1]


def test_it_counts(gpu: Machine, cupy):
    a = cupy.zeros((2, 3), dtype="float32")
    with gpu.counting() as views:
        a[0], a.T, a[:, None], a.reshape(3, 2), cupy.flip(a, axis=1), a.view(), cupy.transpose(a), a.shape, len(a)
    assert not any(vars(views).values())
    for work, launches, allocations, allocated_bytes in (
        (lambda: a + 1, 1, 1, 24),
        (lambda: a @ a.T, 1, 1, 16),
        (lambda: a.copy(), 1, 1, 24),
        (lambda: operator.iadd(a, 1), 1, 0, 0),
        (lambda: operator.setitem(a, 0, a[1]), 1, 0, 0),
        (lambda: operator.setitem(a, 0, 3.0), 1, 0, 0),
        (lambda: cupy.sum(a, axis=0), 1, 1, 12),
        (lambda: cupy.concatenate([a, a]), 1, 1, 48),
        (lambda: cupy.exp(a, out=a), 1, 0, 0),
        (lambda: cupy.empty((2, 3)), 0, 1, 48),
    ):
        with gpu.counting() as seen:
            work()
        assert (seen.launches, seen.allocations, seen.allocated_bytes) == (launches, allocations, allocated_bytes)
        assert (seen.to_device, seen.to_host) == (0, 0)
    with gpu.counting() as there:
        cupy.asarray([1, 2])
        a.set(np.zeros((2, 3), "float32"))
    assert (there.to_device, there.to_host, there.launches) == (2, 0, 0)
    with gpu.counting() as back:
        a.get()
        cupy.asnumpy(a)
        cupy.nonzero(a)  # its size is read
        a[a > 0]
    assert (back.to_device, back.to_host) == (0, 4)


def test_uninitialised_memory_is_not_zero(cupy):
    assert np.isnan(cupy.empty((2,)).get()).all()
    assert np.isnan(cupy.ndarray((2,), "float32").get()).all()


def test_an_array_is_used_on_its_own_device(gpu: Machine, cupy):
    a = cupy.ones((2,))
    with cupy.cuda.Device(1):
        b = cupy.ones((2,))
        assert (b.device.id, a.device.id, gpu.current) == (1, 0, 1)
        for work in (lambda: a + 1, lambda: a + b, lambda: operator.setitem(a, 0, 1), lambda: cupy.stack([b, a])):
            with pytest.raises(ValueError, match="Array device must be same as the current device"):
                work()
        assert a[1:].get().shape == (1,)  # views, and copies to the host, may be taken
    assert gpu.current == 0
    with pytest.raises(CUDARuntimeError, match="cudaErrorInvalidDevice"), cupy.cuda.Device(2):
        pass
    assert gpu.current == 0


def test_signatures_are_those_of_cupy(cupy):
    a = cupy.ones((2, 2))
    for call in (
        lambda: cupy.sum(a, where=a > 0),
        lambda: cupy.max(a, initial=0),
        lambda: cupy.zeros((2,), device="cpu"),
        lambda: cupy.stack([a], 0, None, "float32"),
    ):
        with pytest.raises(TypeError):
            call()
    assert not hasattr(cupy, "vecdot")  # array_api_compat has it, CuPy 14.2 has not


def test_its_names_are_those_of_cupy():
    if not backends.cupy_arrays.installed():
        pytest.skip("CuPy is not installed: the stand-in's names were not compared with it")
    import cupy

    for name in (*SAME_AS_NUMPY.split(), *UFUNCS.split()):
        assert hasattr(cupy, name)
    for name in METHODS.split():
        assert hasattr(cupy.ndarray, name)
    for name, *parameters in map(str.split, FUNCTIONS.strip().splitlines()):
        known = inspect.signature(getattr(cupy, name)).parameters
        assert "args" in known or set(parameters) <= set(known), name


def test_it_goes_without_a_trace():
    before = {
        name for name in sys.modules if name.partition(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")
    }
    path, known = list(sys.meta_path), dict(backends.cupy_arrays._backends)
    with machine():
        xlstm.LSTM(2, 3, device="cuda")
        assert "array_api_compat.cupy" in sys.modules
        inner_before = backends.select("cuda")
        with machine(driver=False), pytest.raises(RuntimeError, match="driver"):
            backends.select("cuda")
        assert backends.select("cuda") is inner_before
    after = {
        name for name in sys.modules if name.partition(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")
    }
    assert after == before
    assert sys.meta_path == path
    assert backends.cupy_arrays._backends == known
    import array_api_compat

    assert hasattr(array_api_compat, "cupy") == ("array_api_compat.cupy" in before)


# ---------------------------------------------------------------- layers on it

SHAPES = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "all at once": {"num_layers": 3, "bidirectional": True, "dropout": 0.4},
}
N, T, D, H = 4, 6, 3, 5


def problem(layer, ragged, given_states):
    """x, state, lengths, and gradients for all outputs; NaN in the padding."""
    rng = np.random.default_rng(7)
    K, width = layer.num_layers * layer.directions, layer.directions * H
    lengths = [3, 6, 1, 5] if ragged else None
    x, d_outputs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, width))
    for row, length in enumerate(lengths or []):
        x[row, length:] = np.nan
    halves = [rng.standard_normal((K, N, H)) for _ in range(4)]
    if isinstance(layer, xlstm.RNN):
        return x, halves[0] if given_states else None, lengths, d_outputs, halves[1]
    return x, (halves[0], halves[1]) if given_states else None, lengths, d_outputs, (halves[2], None)


def on(move, value):
    """A state, moved."""
    if value is None:
        return None
    return tuple(on(move, half) for half in value) if isinstance(value, tuple) else move(value)


@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN])
def test_a_layer_gives_the_same_as_on_the_cpu(cls, ragged, options, gpu: Machine, cupy):
    made = {device: cls(D, H, dtype="float64", device=device, seed=3, **SHAPES[options]) for device in ("cpu", "cuda")}
    for given_states in (False, True):
        results = {}
        for device, layer in made.items():
            move, back = (cupy.asarray, cupy.asnumpy) if device == "cuda" else (np.array, np.asarray)
            x, state, lengths, d_outputs, d_state = problem(layer, ragged, given_states)
            x, state, d_outputs, d_state = move(x), on(move, state), move(d_outputs), on(move, d_state)
            with gpu.counting() as seen:
                inference = layer(x, state, lengths)
                outputs, final, tape = layer.forward(x, state, lengths, seed=5)
                dx, d_initial = layer.backward(tape, d_outputs, d_state)
                nothing, _ = layer.backward(tape, None, d_state, input_gradient=False)
                layer.backward(tape, d_outputs, None)
            assert seen.to_host == 0
            assert nothing is None
            arrays = [inference[0], outputs, dx, *layer.gradients.values()]
            for several in (inference[1], final, d_initial):
                arrays += several if isinstance(several, tuple) else [several]
            if device == "cuda":
                assert all(type(array) is cupy.ndarray and array.device.id == 0 for array in arrays)
                assert seen.launches > 0
            else:
                assert not any(vars(seen).values())
            results[device] = [back(array) for array in arrays]
        for on_cpu, on_cuda in zip(results["cpu"], results["cuda"], strict=True):
            assert relative(on_cuda, on_cpu) < 1e-12


@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN])
def test_launches_of_a_step_are_few(cls, gpu: Machine, cupy):
    layer = cls(D, H, device="cuda", seed=0)

    def launches(steps):
        x = cupy.ones((N, steps, D), dtype="float32")
        with gpu.counting() as forward:
            outputs, _, tape = layer.forward(x)
        with gpu.counting() as backward:
            layer.backward(tape, outputs)
        assert (forward.to_host, backward.to_host, forward.to_device, backward.to_device) == (0, 0, 0, 0)
        return np.array([forward.launches, backward.launches])

    few, many = launches(10), launches(50)
    per_step = (many - few) / 40
    # Seen: 23 forward and 25 backward for an LSTM, 4 and 7 for an RNN.
    assert (per_step <= ([23, 25] if cls is xlstm.LSTM else [4, 7])).all(), f"{per_step} launches a step"
    assert (few - 10 * per_step <= 30).all(), f"{few - 10 * per_step} for the whole sequence"


def test_launches_do_not_grow_with_the_rows(gpu: Machine, cupy):
    layer = xlstm.LSTM(D, H, device="cuda", bidirectional=True, seed=0)

    def work(rows):
        x = cupy.ones((rows, T, D), dtype="float32")
        with gpu.counting() as seen:
            outputs, state, tape = layer.forward(x, lengths=[T] + [2] * (rows - 1))
            layer.backward(tape, outputs, state)
        return seen.launches, seen.to_device, seen.to_host

    assert work(2) == work(40)
    assert work(2)[2] == 0


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_layer_moves_both_ways(device, gpu: Machine, cupy):
    layer = xlstm.LSTM(D, H, num_layers=2, dropout=0.3, seed=1)
    there = layer.to(device)
    back = there.to("cpu")
    assert [layer.device, there.device, back.device] == ["cpu", "cuda:0" if device == "cuda" else device, "cpu"]
    for name, values in layer.parameters.items():
        assert type(there.parameters[name]) is cupy.ndarray
        np.testing.assert_array_equal(there.parameters[name].get(), values)
        np.testing.assert_array_equal(back.parameters[name], values)
    back.parameters["bias_l0"] = 9.0
    assert not np.any(layer.parameters["bias_l0"] == 9), "a copy"
    x = np.ones((N, T, D), np.float32)
    with there._backend.current():
        moved = cupy.asarray(x)
    expected, _, _ = layer.forward(x)  # with dropout: the copy's generator goes on as the original's
    np.testing.assert_allclose(there.forward(moved)[0].get(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_copies_and_pickles_of_a_layer(device, gpu: Machine, cupy):
    layer = xlstm.RNN(D, H, device=device, seed=1)
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.device == layer.device
        assert other.parameters.flat is not layer.parameters.flat
        np.testing.assert_array_equal(other.parameters.flat.get(), layer.parameters.flat.get())


def test_arrays_that_live_elsewhere_are_refused(gpu: Machine, cupy):
    x, state = np.ones((N, T, D), np.float32), np.ones((1, N, H), np.float32)
    with cupy.cuda.Device(1):
        on_second = cupy.asarray(x)
    on_cpu, on_cuda = xlstm.RNN(D, H, seed=0), xlstm.RNN(D, H, device="cuda", seed=0)
    tapes = {on_cpu: on_cpu.forward(x)[2], on_cuda: on_cuda.forward(cupy.asarray(x))[2]}
    for layer, strangers, theirs in (
        (on_cpu, [cupy.asarray(x)], cupy.asarray),
        (on_cuda, [x, on_second], np.asarray),
    ):
        for stranger in strangers:
            for call in (layer, layer.forward):
                with pytest.raises(TypeError, match=r"x is a (numpy|cupy) array on .* layer\.to\("):
                    call(stranger)
        own = x if layer is on_cpu else cupy.asarray(x)
        with pytest.raises(TypeError, match=r"state.* is a .*layer\.to\("):
            layer(own, theirs(state))
        with pytest.raises(TypeError, match=r"d_outputs is a .*layer\.to\("):
            layer.backward(tapes[layer], theirs(np.ones((N, T, H), np.float32)))
        with pytest.raises(TypeError, match=r"d_state.* is a .*layer\.to\("):
            layer.backward(tapes[layer], None, theirs(state))


def test_lists_are_no_arrays_of_a_gpu(gpu: Machine):
    with pytest.raises(TypeError, match="list"):
        xlstm.RNN(D, H, device="cuda")([[[1.0] * D]])


def test_lengths_are_of_the_host(gpu: Machine, cupy):
    with pytest.raises(TypeError, match="lengths must be integers on the host"):
        xlstm.RNN(D, H, device="cuda")(cupy.ones((2, T, D)), lengths=cupy.asarray([1, 2]))


def test_input_of_another_dtype_is_converted_once(gpu: Machine, cupy):
    layer = xlstm.LSTM(D, H, device="cuda", seed=0)
    for dtype in ("float64", "float16", "int64", "bool"):
        outputs, _ = layer(cupy.ones((N, T, D), dtype=dtype))
        assert outputs.dtype == np.float32


@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN])
def test_the_second_gpu_works_while_the_first_is_current(cls, gpu: Machine, cupy):
    layer = cls(D, H, num_layers=2, bidirectional=True, dropout=0.2, dtype="float64", device="cuda:1", seed=3)
    twin = layer.to("cpu")
    with cupy.cuda.Device(1):
        x = cupy.asarray(np.random.default_rng(0).standard_normal((N, T, D)))
    outputs, final, tape = layer.forward(x, lengths=[6, 2, 3, 1])
    dx, _ = layer.backward(tape, outputs, final)
    assert gpu.current == 0
    expected, expected_final, twin_tape = twin.forward(x.get(), lengths=[6, 2, 3, 1])
    expected_dx, _ = twin.backward(twin_tape, expected, expected_final)
    assert relative(outputs.get(), expected) < 1e-12
    assert relative(dx.get(), expected_dx) < 1e-12
    for name, gradient in layer.gradients.items():
        assert gradient.device.id == 1
        assert relative(gradient.get(), twin.gradients[name]) < 1e-12


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_prepared_layer(device, gpu: Machine, cupy):
    layer = xlstm.LSTM(D, H, device=device, dtype="float64", seed=0)
    with layer._backend.current():
        x = cupy.asarray(np.random.default_rng(0).standard_normal((N, T, D)))
    call = layer.prepare()
    expected, (h, c) = layer(x)
    state, parts = None, []
    with gpu.counting() as seen:
        for t in range(T):
            part, state = call(x[:, t : t + 1], state)
            parts.append(part)
    assert seen.to_host == 0
    assert relative(np.concatenate([part.get() for part in parts], axis=1), expected.get()) < 1e-12
    assert relative(state[0].get(), h.get()) < 1e-12
    assert relative(state[1].get(), c.get()) < 1e-12


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_layers_from_matrices(device, gpu: Machine):
    rng = np.random.default_rng(0)
    gates = {f"W_{gate}": rng.standard_normal((H, H + D)) for gate in "figo"}
    gates |= {f"b_{gate}": rng.standard_normal(H) for gate in "figo"}
    lstm = xlstm.LSTM.from_gate_matrices(**gates, device=device)
    np.testing.assert_array_equal(lstm.parameters["weight_hh_l0"].get()[:H], gates["W_i"][:, :H])
    U, V, b_h = rng.standard_normal((H, D)), rng.standard_normal((H, H)), rng.standard_normal((H, 1))
    rnn = xlstm.RNN.from_matrices(U=U, V=V, b_h=b_h, device=device)
    np.testing.assert_array_equal(rnn.parameters["bias_l0"].get(), b_h[:, 0])


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN])
def test_gradients_are_right(cls, device, gpu: Machine):
    assert xlstm.check_gradients(cls(2, 2, bidirectional=True, device=device, seed=0)).passed


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("embedded", [False, True], ids=["one-hot", "embedded"])
def test_tokens_are_rows_of_a_table(cell, embedded, gpu: Machine, cupy):
    module, rng, V = cells.CELLS[cell], np.random.default_rng(0), 7
    width = D if embedded else V
    host = {
        "weight_ih": rng.standard_normal((module.GATES * H, width)),
        "weight_hh": rng.standard_normal((module.GATES * H, H)),
        "bias": rng.standard_normal(module.GATES * H),
    }
    ids, table = rng.integers(0, V, (N, T)), rng.standard_normal((V, D)) if embedded else None
    d_outputs, results = rng.standard_normal((N, T, H)), {}
    for device in ("cpu", "cuda"):
        backend = backends.select(device)
        move, back = backend.from_host, backend.to_host
        params = {name: move(values) for name, values in host.items()}
        tokens, d = (move(ids), None if table is None else move(table)), move(d_outputs)
        with gpu.counting() as seen:
            outputs, _, tape = module.forward(params, None, None, [2, 6, 6, 1], tokens=tokens)
            d_table, _, d_params = module.backward(params, tape, d, add_rows=backend.add_rows)
        assert seen.to_host == 0
        results[device] = [back(array) for array in (outputs, *d_params.values(), *([d_table] if embedded else []))]
    for on_cpu, on_cuda in zip(results["cpu"], results["cuda"], strict=True):
        assert relative(on_cuda, on_cpu) < 1e-12


# ---------------------------------------------------------------- a classifier that trains on it


def labelled(kind, n=40):
    """Sequences with a label that depends on what was seen early on."""
    rng = np.random.default_rng(11)
    if kind == "texts":
        X = ["".join(rng.choice(list("abcde"), rng.integers(2, 9))) for _ in range(n)]
        return X, [("low", "mid", "high")["abcde".index(text[0]) % 3] for text in X]
    X = [rng.standard_normal((rng.integers(2, 9), 2)) for _ in range(n)]
    return X, [int(x[0, 0] > 0) for x in X]


VARIANTS = {
    "series": ("series", {}),
    "texts": ("texts", {"embedding_size": 4, "class_weight": "balanced"}),
    "one-hot": ("texts", {"cell": "rnn", "solver": "sgd", "num_layers": 2}),
    "dropout": ("series", {"dropout": 0.3, "bidirectional": True, "solver": "adamw", "alpha": 0.01}),
    "early stopping": ("series", {"early_stopping": True, "learning_rate": "cosine", "warmup": 3}),
}


def classifier(device, **options):
    settings = {"hidden_size": 6, "max_iter": 4, "batch_size": 8, "dtype": "float64", "random_state": 2, **options}
    return xlstm.SequenceClassifier(device=device, **settings)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_classifier_learns_the_same_as_on_the_cpu(variant, device, gpu: Machine):
    kind, options = VARIANTS[variant]
    X, y = labelled(kind)
    on_cpu, on_cuda = (classifier(where, **options).fit(X, y) for where in ("cpu", device))
    assert on_cuda.device_ == ("cuda:0" if device == "cuda" else device)
    assert gpu.current == 0
    assert all(type(loss) is float for loss in on_cuda.loss_curve_)
    np.testing.assert_allclose(on_cuda.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    np.testing.assert_array_equal(on_cuda.accuracy_curve_, on_cpu.accuracy_curve_)
    if "early_stopping" in options:
        np.testing.assert_allclose(on_cuda.validation_loss_curve_, on_cpu.validation_loss_curve_, rtol=1e-10)
    for method in ("predict_proba", "decision_function"):
        there = getattr(on_cuda, method)(X)
        assert type(there) is np.ndarray
        np.testing.assert_allclose(there, getattr(on_cpu, method)(X), rtol=1e-9)
    predicted = on_cuda.predict(X)
    assert type(predicted) is np.ndarray
    np.testing.assert_array_equal(predicted, on_cpu.predict(X))
    assert on_cuda.score(X, y) == on_cpu.score(X, y)


def test_it_learns(gpu: Machine):
    X, y = labelled("texts")
    clf = classifier("cuda", max_iter=60, learning_rate_init=0.02, dtype="float32").fit(X, y)
    assert clf.score(X, y) == 1
    assert clf.loss_ < 0.1 < clf.loss_curve_[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_within_an_epoch_nothing_comes_to_the_host(variant, gpu: Machine):
    """Transfers do not grow with the batches: ten of them bring no more to the host than one."""
    kind, options = VARIANTS[variant]
    X, y = labelled(kind, n=20)
    backends.select("cuda")  # tries the device once

    def to_host(batch_size, epochs):
        clf = classifier("cuda", **options, n_iter_no_change=99)
        clf.set_params(batch_size=batch_size, max_iter=epochs)
        with gpu.counting() as seen:
            clf.fit(X, y)
        return seen.to_host

    one, two, three = (to_host(2, epochs) for epochs in (1, 2, 3))
    assert one == to_host(20, 1)
    # One for loss and accuracy, one for the weights that Ctrl-C falls back to, and one for the validation part.
    assert two - one == three - two == (3 if "early_stopping" in options else 2)


def test_a_batch_is_the_same_launches_whatever_its_rows(gpu: Machine):
    X, y = np.random.default_rng(0).standard_normal((64, 5, 2)), [0, 1] * 32
    backends.select("cuda")  # tries the device once

    def launches(n, batch_size):
        clf = classifier("cuda", max_iter=1, batch_size=batch_size)
        with gpu.counting() as one:
            clf.fit(X[:n], y[:n])
        return one.launches

    assert launches(16, 16) == launches(64, 64)


@pytest.mark.parametrize("variant", ["texts", "dropout"])
def test_a_classifier_moves_and_is_saved(variant, gpu: Machine, tmp_path):
    kind, options = VARIANTS[variant]
    X, y = labelled(kind)
    clf = classifier("cuda", **options).fit(X, y)
    probabilities = clf.predict_proba(X)
    clf.save(tmp_path / "model.xlstm")
    others = {
        "cpu": [xlstm.load(tmp_path / "model.xlstm", device="cpu"), clf.to("cpu")],
        "cuda:1": [xlstm.load(tmp_path / "model.xlstm", device="cuda:1"), clf.to("cuda:1"), clf.to("cpu").to("cuda:1")],
        "cuda:0": [xlstm.load(tmp_path / "model.xlstm", device="cuda"), clf.to("cuda")],
    }
    for device, loaded in others.items():
        for other in loaded:
            assert other.device_ == device
            np.testing.assert_allclose(other.predict_proba(X), probabilities, rtol=1e-9)
    assert clf.device_ == "cuda:0"
    np.testing.assert_array_equal(clf.predict_proba(X), probabilities)
    others["cpu"][0].save(tmp_path / "again.xlstm")
    assert (tmp_path / "again.xlstm").read_bytes() == (tmp_path / "model.xlstm").read_bytes()


def test_a_file_from_a_gpu_opens_where_there_is_none(gpu: Machine, tmp_path):
    X, y = labelled("series")
    clf = classifier("cuda").fit(X, y)
    clf.save(tmp_path / "model.xlstm")
    probabilities = clf.predict_proba(X)
    with machine(distributions=()):
        loaded = xlstm.load(tmp_path / "model.xlstm")
        assert loaded.device_ == "cpu"
        np.testing.assert_allclose(loaded.predict_proba(X), probabilities, rtol=1e-9)
        with pytest.raises(RuntimeError, match="CuPy is not installed"):
            xlstm.load(tmp_path / "model.xlstm", device="cuda")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_training_goes_on_as_on_the_cpu(device, gpu: Machine):
    X, y = labelled("texts")
    options = {"embedding_size": 4, "warm_start": True}
    on_cpu, on_cuda = (classifier(where, **options).fit(X, y).fit(X, y) for where in ("cpu", device))
    np.testing.assert_allclose(on_cuda.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    before = on_cuda.predict_proba(X)
    for _ in range(3):
        on_cpu.partial_fit(X, y)
        on_cuda.partial_fit(X, y)
    assert relative(on_cuda.predict_proba(X), before) > 1e-3
    np.testing.assert_allclose(on_cuda.predict_proba(X), on_cpu.predict_proba(X), rtol=1e-9)
    assert on_cuda.device_ == ("cuda:0" if device == "cuda" else device)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_copy_of_a_classifier_is_whole(device, gpu: Machine):
    X, y = labelled("texts")
    clf = classifier(device, embedding_size=4).fit(X, y)
    probabilities = clf.predict_proba(X)
    for copied in (copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))):
        other = copied(clf)
        assert other.device_ == clf.device_
        np.testing.assert_array_equal(other.predict_proba(X), probabilities)
        other.partial_fit(X, y)
        assert relative(other.predict_proba(X), probabilities) > 1e-3, "it trains"
        np.testing.assert_array_equal(clf.predict_proba(X), probabilities)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_stream_ends_where_the_whole_sequence_does(device, gpu: Machine):
    X, y = labelled("texts")
    clf = classifier(device).fit(X, y)
    stream = clf.stream()
    for character in X[0]:
        so_far = stream.feed(character)
    assert type(so_far) is np.ndarray
    np.testing.assert_allclose(so_far, clf.predict_proba(X[:1])[0], rtol=1e-9)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_gradients_of_a_classifier_are_right(device, gpu: Machine):
    X, y = labelled("texts", n=9)
    clf = classifier(device, max_iter=1, hidden_size=2, embedding_size=2).fit(X, y)
    assert xlstm.check_gradients(clf).passed


def test_host_data_alone_is_read(gpu: Machine, cupy):
    with pytest.raises(TypeError):
        classifier("cuda").fit(cupy.ones((4, 3, 2)), [0, 1, 0, 1])


def test_training_that_fails_leaves_the_device_as_it_was(gpu: Machine):
    X, y = labelled("series")
    clf = classifier("cuda:1", solver="sgd", max_grad_norm=None, learning_rate_init=1e308)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        clf.fit(X, y)
    assert gpu.current == 0
    assert not hasattr(clf, "classes_")
