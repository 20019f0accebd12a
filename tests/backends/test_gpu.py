"""The library on a GPU: a real one where there is one, else the stand-in for CuPy (`tests/standin.py`).

The stand-in refuses whatever would bring an array to the host unasked, so that every test here also shows that nothing
does. What only it can tell, counts and broken machines, is in test_standin.py.
"""

import copy
import pickle

import numpy as np
import pytest

import xlstm
from xlstm import backends, cells, convert, head, losses, optim
from xlstm.namespace import array_namespace, sigmoid

from .. import gpu
from ..gpu import VARIANTS, D, Gpu, H, N, T, classifier, current_device, labelled, relative
from ..standin import machine

WHERE = {
    "reference": ("cuda",),
    "fused": ("cuda", "fused"),
    "cudnn": ("cuda", "cudnn"),
    "second": ("cuda:1", "cudnn", "fused"),
}
"""A device, and the levels that are there."""


@pytest.fixture(params=WHERE)
def device(request, monkeypatch):
    """The first GPU with each level alone, and the second with all: every test here is the same on each."""
    name, *levels = WHERE[request.param]
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with gpu.gpu_or_standin(name) as device, device.only(*levels):
        yield device


# ---------------------------------------------------------------- layers

SHAPES = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "all at once": {"num_layers": 3, "bidirectional": True, "dropout": 0.4},
}


def problem(layer, ragged, given_states):
    """x, state, lengths, and gradients for all outputs; NaN in the padding."""
    rng = np.random.default_rng(7)
    K, width = layer.num_layers * layer.directions, layer.directions * H
    lengths = [3, 6, 1, 5] if ragged else None
    x, d_outputs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, width))
    for row, length in enumerate(lengths or []):
        x[row, length:] = np.nan
    halves = [rng.standard_normal((K, N, H)) for _ in range(4)]
    record, count = layer.sizes.record, len(layer.sizes.record.states)
    state = record.join(tuple(halves[:count])) if given_states else None
    return x, state, lengths, d_outputs, record.join((halves[2], *[None] * (count - 1)))


def on(move, value):
    """A state, moved."""
    if value is None:
        return None
    return tuple(on(move, half) for half in value) if isinstance(value, tuple) else move(value)


@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_a_layer_gives_the_same_as_on_the_cpu(cls, ragged, options, device: Gpu):
    options = {"dtype": "float64", "seed": 3, **SHAPES[options]}
    on_cpu, on_gpu = (cls(D, H, device=name, **options) for name in ("cpu", device.name))
    for given_states in (False, True):
        results = []
        for layer, move, back in ((on_cpu, np.array, np.asarray), (on_gpu, device.asarray, device.get)):
            x, state, lengths, d_outputs, d_state = problem(layer, ragged, given_states)
            x, state, d_outputs, d_state = move(x), on(move, state), move(d_outputs), on(move, d_state)
            with device.nothing_comes_to_the_host():
                inference = layer(x, state, lengths)
                outputs, final, tape = layer.forward(x, state, lengths, seed=5)
                dx, d_initial = layer.backward(tape, d_outputs, d_state)
                nothing, _ = layer.backward(tape, None, d_state, input_gradient=False)
                layer.backward(tape, d_outputs, None)
            assert nothing is None
            arrays = [inference[0], outputs, dx, *layer.gradients.values()]
            for several in (inference[1], final, d_initial):
                arrays += several if isinstance(several, tuple) else [several]
            results.append([back(array) for array in arrays])  # device.get refuses the arrays of others
        for ours, theirs in zip(*results, strict=True):
            assert relative(theirs, ours) < 1e-12


def test_a_layer_moves_both_ways(device: Gpu):
    layer = xlstm.LSTM(D, H, num_layers=2, dropout=0.3, seed=1)
    there = layer.to(device.name)
    back = there.to("cpu")
    assert [layer.device, there.device, back.device] == ["cpu", device.device, "cpu"]
    for name, values in layer.parameters.items():
        np.testing.assert_array_equal(device.get(there.parameters[name]), values)
        np.testing.assert_array_equal(back.parameters[name], values)
    back.parameters["bias_l0"] = 9.0
    assert not np.any(layer.parameters["bias_l0"] == 9), "a copy"
    x = np.ones((N, T, D), np.float32)
    expected, _, _ = layer.forward(x)  # with dropout: the copy's generator goes on as the original's
    np.testing.assert_allclose(device.get(there.forward(device.asarray(x))[0]), expected, rtol=1e-6, atol=1e-6)


def test_copies_and_pickles_of_a_layer(device: Gpu):
    layer = xlstm.RNN(D, H, device=device.name, seed=1)
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.device == layer.device
        assert other.parameters.flat is not layer.parameters.flat
        np.testing.assert_array_equal(device.get(other.parameters.flat), device.get(layer.parameters.flat))


def test_arrays_that_live_elsewhere_are_refused(device: Gpu):
    x, state = np.ones((N, T, D), np.float32), np.ones((1, N, H), np.float32)
    on_cpu, on_gpu = xlstm.RNN(D, H, seed=0), xlstm.RNN(D, H, device=device.name, seed=0)
    tapes = {on_cpu: on_cpu.forward(x)[2], on_gpu: on_gpu.forward(device.asarray(x))[2]}
    other = device.other()
    for layer, strangers, theirs in (
        (on_cpu, [device.asarray(x)], device.asarray),
        (on_gpu, [x, *([other.asarray(x)] if other else [])], np.asarray),
    ):
        for stranger in strangers:
            for call in (layer, layer.forward):
                with pytest.raises(TypeError, match=r"x is a (numpy|cupy) array on .* layer\.to\("):
                    call(stranger)
        own = x if layer is on_cpu else device.asarray(x)
        with pytest.raises(TypeError, match=r"state.* is a .*layer\.to\("):
            layer(own, theirs(state))
        with pytest.raises(TypeError, match=r"d_outputs is a .*layer\.to\("):
            layer.backward(tapes[layer], theirs(np.ones((N, T, H), np.float32)))
        with pytest.raises(TypeError, match=r"d_state.* is a .*layer\.to\("):
            layer.backward(tapes[layer], None, theirs(state))


def test_lists_are_no_arrays_of_a_gpu(device: Gpu):
    with pytest.raises(TypeError, match="list"):
        xlstm.RNN(D, H, device=device.name)([[[1.0] * D]])


def test_lengths_are_of_the_host(device: Gpu):
    layer, x = xlstm.RNN(D, H, device=device.name), device.asarray(np.ones((2, T, D)))
    with pytest.raises(TypeError, match="lengths must be integers on the host"):
        layer(x, lengths=device.asarray([1, 2]))


def test_input_of_another_dtype_is_converted_once(device: Gpu):
    layer = xlstm.LSTM(D, H, device=device.name, seed=0)
    for dtype in ("float64", "float16", "int64", "bool"):
        outputs, _ = layer(device.asarray(np.ones((N, T, D), dtype=dtype)))
        assert outputs.dtype == np.float32


@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_the_users_current_device_stays(cls, device: Gpu):
    before = current_device()
    layer = cls(D, H, num_layers=2, bidirectional=True, dropout=0.2, dtype="float64", device=device.name, seed=3)
    twin = layer.to("cpu")
    x = device.asarray(np.random.default_rng(0).standard_normal((N, T, D)))
    outputs, final, tape = layer.forward(x, lengths=[6, 2, 3, 1])
    dx, _ = layer.backward(tape, outputs, final)
    assert current_device() == before
    expected, expected_final, twin_tape = twin.forward(device.get(x), lengths=[6, 2, 3, 1])
    expected_dx, _ = twin.backward(twin_tape, expected, expected_final)
    assert relative(device.get(outputs), expected) < 1e-12
    assert relative(device.get(dx), expected_dx) < 1e-12
    for name, gradient in layer.gradients.items():
        assert relative(device.get(gradient), twin.gradients[name]) < 1e-12


def test_a_prepared_layer(device: Gpu):
    layer = xlstm.LSTM(D, H, device=device.name, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((N, T, D))
    steps = [device.asarray(x[:, t : t + 1]) for t in range(T)]
    call = layer.prepare()
    expected, (h, c) = layer(device.asarray(x))
    state, parts = None, []
    with device.nothing_comes_to_the_host():
        for step in steps:
            part, state = call(step, state)
            parts.append(part)
    assert relative(np.concatenate([device.get(part) for part in parts], axis=1), device.get(expected)) < 1e-12
    assert relative(device.get(state[0]), device.get(h)) < 1e-12
    assert relative(device.get(state[1]), device.get(c)) < 1e-12


def test_layers_from_matrices(device: Gpu):
    rng = np.random.default_rng(0)
    gates = {f"W_{gate}": rng.standard_normal((H, H + D)) for gate in "figo"}
    gates |= {f"b_{gate}": rng.standard_normal(H) for gate in "figo"}
    lstm = xlstm.LSTM.from_gate_matrices(**gates, device=device.name)
    np.testing.assert_array_equal(device.get(lstm.parameters["weight_hh_l0"])[:H], gates["W_i"][:, :H])
    U, V, b_h = rng.standard_normal((H, D)), rng.standard_normal((H, H)), rng.standard_normal((H, 1))
    rnn = xlstm.RNN.from_matrices(U=U, V=V, b_h=b_h, device=device.name)
    np.testing.assert_array_equal(device.get(rnn.parameters["bias_l0"]), b_h[:, 0])


@pytest.mark.parametrize("cls", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_gradients_are_right(cls, device: Gpu):
    assert xlstm.check_gradients(cls(2, 2, bidirectional=True, device=device.name, seed=0)).passed


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru", "gru_reset_before"])
@pytest.mark.parametrize("embedded", [False, True], ids=["one-hot", "embedded"])
def test_tokens_are_rows_of_a_table(cell, embedded, device: Gpu):
    module, rng, V = cells.CELLS[cell], np.random.default_rng(0), 7
    width = D if embedded else V
    host = {name: rng.standard_normal(shape) for name, shape in module.shapes(width, H).items()}
    ids, table = rng.integers(0, V, (N, T)), rng.standard_normal((V, D)) if embedded else None
    d_outputs, results = rng.standard_normal((N, T, H)), []
    for name in ("cpu", device.name):
        backend = backends.select(name)
        move, back = backend.from_host, backend.to_host
        params = {name: move(values) for name, values in host.items()}
        tokens, d = (move(ids), None if table is None else move(table)), move(d_outputs)
        with device.nothing_comes_to_the_host(), backend.current():
            outputs, _, tape = module.forward(params, None, None, [2, 6, 6, 1], tokens=tokens)
            d_table, _, d_params = module.backward(params, tape, d, add_rows=backend.add_rows)
        results.append([back(array) for array in (outputs, *d_params.values(), *([d_table] if embedded else []))])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert relative(on_gpu, on_cpu) < 1e-12


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru", "gru_reset_before"])
def test_pure_functions_want_the_device_of_their_arrays_to_be_current(cell, device: Gpu):
    """CuPy computes on the current device, whatever its arrays are on: results would land there, or fail somewhere."""
    import cupy

    module, rng, K, number = cells.CELLS[cell], np.random.default_rng(0), 2, int(device.device.partition(":")[2])
    params = {name: device.asarray(rng.standard_normal(shape)) for name, shape in module.shapes(D, H).items()}
    x, d = device.asarray(rng.standard_normal((N, T, D))), device.asarray(rng.standard_normal((N, T, H)))
    features, targets = device.asarray(rng.standard_normal((N, K))), device.asarray(np.zeros(N, np.int64))
    top = xlstm.params.Parameters({"weight": (K, K), "bias": (K,)}, device.asarray(np.ones(K * K + K)))
    flat, gradients = device.asarray(np.ones(4)), device.asarray(np.ones(4))
    with cupy.cuda.Device(number):
        outputs, _, tape = module.forward(params, x)
        module.backward(params, tape, d)
        head.forward(top, features)
        losses.softmax_cross_entropy(features, targets)
        optimiser = optim.Optimizer(flat)
    other = device.other()
    if other is None:
        pytest.skip("this machine has one GPU")
    elsewhere = int(other.device.partition(":")[2])
    with cupy.cuda.Device(elsewhere):
        for call in (
            lambda: module.forward(params, x),
            lambda: module.forward(params, x, lengths=[1] * N),
            lambda: module.backward(params, tape, d),
            lambda: head.forward(top, features),
            lambda: head.backward(top, features, features),
            lambda: losses.softmax_cross_entropy(features, targets),
            lambda: optimiser.step(flat, gradients, 0.1),
            lambda: optim.clip_by_global_norm(gradients, 1.0),
        ):
            with pytest.raises(ValueError, match=rf"cuda:{number}, .*inside `with cupy\.cuda\.Device\({number}\):`"):
                call()
        assert current_device() == elsewhere
    assert optimiser.updates == 0
    assert device.owns(outputs)


def test_sigmoid_keeps_its_relative_accuracy_down_to_the_smallest_numbers(device: Gpu):
    """Below these it is zero in float32, since CuPy's kernels flush subnormal numbers."""
    for dtype, lowest in (("float32", -86.0), ("float64", -700.0)):
        z = np.linspace(lowest, 40, 1001).astype(dtype)
        ends = np.array([-np.inf, -1e30, -1000, -100, -88, 1000, np.inf, np.nan, 0], dtype)
        with backends.select(device.name).current():
            there, at_ends = (device.asarray(values) for values in (z, ends))
            result = device.get(sigmoid(array_namespace(there), there))
            at_ends = device.get(sigmoid(array_namespace(at_ends), at_ends))
        wide = z.astype(float)
        assert np.abs(result / (1 / (1 + np.exp(-wide))) - 1).max() < 8 * np.finfo(dtype).eps
        assert ((at_ends[:5] >= 0) & (at_ends[:5] <= [1e-38, 1e-38, 1e-38, 1e-38, 1e-37])).all()
        np.testing.assert_array_equal(at_ends[5:], [1, 1, np.nan, 0.5])


def test_parameters_go_to_pytorchs_names_and_come_from_their_own_device(device: Gpu):
    layer = xlstm.GRU(D, H, device=device.name, seed=0)
    theirs = convert.to_torch(layer.parameters)
    assert all(type(values) is np.ndarray for values in theirs.values())
    np.testing.assert_array_equal(theirs["weight_hh_l0"], device.get(layer.parameters["weight_hh_l0"]))
    before = device.get(layer.parameters.flat)
    with pytest.raises(TypeError, match=r"weight_hh_l0 .*NumPy array .*cupy\.asarray\(values\)"):
        layer.parameters["weight_hh_l0"] = np.ones((3 * H, H))
    np.testing.assert_array_equal(device.get(layer.parameters.flat), before)


# ---------------------------------------------------------------- a classifier that trains on it


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_classifier_learns_the_same_as_on_the_cpu(variant, device: Gpu):
    kind, options = VARIANTS[variant]
    X, y = labelled(kind)
    before = current_device()
    on_cpu, on_gpu = (classifier(where, **options).fit(X, y) for where in ("cpu", device.name))
    assert on_gpu.device_ == device.device
    assert current_device() == before
    assert all(type(loss) is float for loss in on_gpu.loss_curve_)
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    np.testing.assert_array_equal(on_gpu.accuracy_curve_, on_cpu.accuracy_curve_)
    if "early_stopping" in options:
        np.testing.assert_allclose(on_gpu.validation_loss_curve_, on_cpu.validation_loss_curve_, rtol=1e-10)
    for method in ("predict_proba", "decision_function"):
        there = getattr(on_gpu, method)(X)
        assert type(there) is np.ndarray
        np.testing.assert_allclose(there, getattr(on_cpu, method)(X), rtol=1e-9)
    predicted = on_gpu.predict(X)
    assert type(predicted) is np.ndarray
    np.testing.assert_array_equal(predicted, on_cpu.predict(X))
    assert on_gpu.score(X, y) == on_cpu.score(X, y)


def test_it_learns(device: Gpu):
    X, y = labelled("texts")
    clf = classifier(device.name, max_iter=15, learning_rate_init=0.08, dtype="float32").fit(X, y)
    assert clf.score(X, y) == 1
    assert clf.loss_ < 0.1 < clf.loss_curve_[0]


@pytest.mark.parametrize("variant", ["texts", "dropout"])
def test_a_classifier_moves_and_is_saved(variant, device: Gpu, tmp_path):
    kind, options = VARIANTS[variant]
    X, y = labelled(kind)
    clf = classifier(device.name, **options).fit(X, y)
    probabilities = clf.predict_proba(X)
    clf.save(tmp_path / "model.xlstm")
    other = device.other()
    places = {"cpu": "cpu", device.name: device.device, **({other.name: other.device} if other else {})}
    for name, there in places.items():
        for moved in (xlstm.load(tmp_path / "model.xlstm", device=name), clf.to(name), clf.to("cpu").to(name)):
            assert moved.device_ == there
            np.testing.assert_allclose(moved.predict_proba(X), probabilities, rtol=1e-9)
    assert clf.device_ == device.device
    np.testing.assert_array_equal(clf.predict_proba(X), probabilities)
    clf.to("cpu").save(tmp_path / "again.xlstm")
    assert (tmp_path / "again.xlstm").read_bytes() == (tmp_path / "model.xlstm").read_bytes()


def test_training_goes_on_as_on_the_cpu(device: Gpu):
    X, y = labelled("texts")
    options = {"embedding_size": 4, "warm_start": True}
    on_cpu, on_gpu = (classifier(where, **options).fit(X, y).fit(X, y) for where in ("cpu", device.name))
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    before = on_gpu.predict_proba(X)
    for _ in range(3):
        on_cpu.partial_fit(X, y)
        on_gpu.partial_fit(X, y)
    assert relative(on_gpu.predict_proba(X), before) > 1e-3
    np.testing.assert_allclose(on_gpu.predict_proba(X), on_cpu.predict_proba(X), rtol=1e-9)
    assert on_gpu.device_ == device.device


@pytest.mark.parametrize("on_cpu", [True, False], ids=["cpu", "gpu"])
def test_a_copy_of_a_classifier_is_whole(on_cpu, device: Gpu):
    X, y = labelled("texts")
    clf = classifier("cpu" if on_cpu else device.name, embedding_size=4).fit(X, y)
    probabilities = clf.predict_proba(X)
    for copied in (copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))):
        other = copied(clf)
        assert other.device_ == clf.device_
        np.testing.assert_array_equal(other.predict_proba(X), probabilities)
        other.partial_fit(X, y)
        assert relative(other.predict_proba(X), probabilities) > 1e-3, "it trains"
        np.testing.assert_array_equal(clf.predict_proba(X), probabilities)


def test_a_stream_ends_where_the_whole_sequence_does(device: Gpu):
    X, y = labelled("texts")
    clf = classifier(device.name).fit(X, y)
    stream = clf.stream()
    for character in X[0]:
        so_far = stream.feed(character)
    assert type(so_far) is np.ndarray
    np.testing.assert_allclose(so_far, clf.predict_proba(X[:1])[0], rtol=1e-9)


def test_gradients_of_a_classifier_are_right(device: Gpu):
    X, y = labelled("texts", n=9)
    clf = classifier(device.name, max_iter=1, hidden_size=2, embedding_size=2).fit(X, y)
    assert xlstm.check_gradients(clf).passed


def test_training_that_fails_leaves_the_device_as_it_was(device: Gpu):
    X, y = labelled("series")
    before = current_device()
    clf = classifier(device.name, solver="sgd", max_grad_norm=None, learning_rate_init=1e308)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        clf.fit(X, y)
    assert current_device() == before
    assert not hasattr(clf, "classes_")


# ---------------------------------------------------------------- the fixture itself


def test_a_real_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(gpu, "_real_gpus", gpu._gpus)  # asks anew
    with machine(devices=1):  # passes for the real one
        with gpu.gpu_or_standin("cuda") as device:
            assert (device.device, device.other()) == ("cuda:0", None)
            with device.nothing_comes_to_the_host():
                device.get(device.asarray([1.0]))  # a real one does not see it
        with pytest.raises(pytest.skip.Exception, match="this machine has cuda:0"), gpu.gpu_or_standin("cuda:1"):
            pass


def test_a_real_gpu_that_was_asked_for_and_is_missing_is_a_failure(monkeypatch):
    monkeypatch.setattr(gpu, "_real_gpus", list)
    monkeypatch.setenv(gpu.REQUIRE_GPU, "1")
    with pytest.raises(pytest.fail.Exception, match="asks for a real GPU"), gpu.gpu_or_standin("cuda"):
        pass
