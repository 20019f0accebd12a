"""Data that lies on a GPU, as X, y and weights of an estimator: read, scaled, cut into batches and answered there.

What only the stand-in can tell, how much crosses between GPU and host, is in the second half.
"""

import pickle
from typing import Any

import numpy as np
import pytest
from xlstm.backends import conveyor

import xlstm
from xlstm import backends, batch, channels, encode, feed, moments, ondevice, sequences, series
from xlstm.tasks import Classes, Task

from .. import gpu as work
from ..gpu import Gpu, labelled
from ..library.test_trial_task import Counts, SequenceCounter
from ..standin import CUDARuntimeError, Machine, machine

n = 24
RNG = np.random.default_rng(4)
LENGTHS = RNG.integers(2, 9, n)


DATA: dict[str, tuple[Any, dict[str, Any]]] = {
    "series": (RNG.standard_normal((n, 6, 3)) * 5 + 2, {}),
    "series of float32": (RNG.standard_normal((n, 6, 3)).astype(np.float32), {"num_layers": 2, "dropout": 0.3}),
    "series of integers": (RNG.integers(-5, 9, (n, 6, 2)), {"dtype": "float32"}),
    "a table": (RNG.standard_normal((n, 7)), {"bidirectional": True}),
    "ragged": ([RNG.standard_normal((t, 3)) for t in LENGTHS], {"bidirectional": True, "readout": "mean"}),
    "ragged, of one feature": (
        [RNG.standard_normal(t).astype(np.float32) for t in LENGTHS],
        {"standardize": False, "num_layers": 2, "dropout": 0.3},
    ),
    "ragged, with gaps": (
        [np.where(RNG.random((t, 3)) < 0.3, np.nan, RNG.standard_normal((t, 3)) * 5 + 2) for t in LENGTHS],
        {"missing": "mask", "dtype": "float32"},
    ),
    "tokens": (RNG.integers(-3, 9, (n, 6)), {"encoding": "tokens", "embedding_size": 3}),
    "ragged tokens": (
        [RNG.integers(0, 9, t).astype(np.uint8) for t in LENGTHS],
        {"encoding": "tokens", "token_dropout": 0.3},
    ),
}
Y = RNG.permutation([0, 1, 2] * 8)


def classifier(device: Any, **options: Any) -> xlstm.SequenceClassifier:
    """Two epochs in array code, unless a test asks for more: where data lie is no matter of the kernels."""
    return work.classifier(device, **{"kernels": "reference", "max_iter": 2, **options})


def on(device: Gpu, X: Any) -> Any:
    """X, copied to a device: an array, or a list of them."""
    return [device.asarray(row) for row in X] if isinstance(X, list) else device.asarray(X)


def parameters(clf: Any) -> np.ndarray:
    return clf.fitted_state().model.read()


# ---------------------------------------------------------------- every entry point


@pytest.mark.parametrize("kind", ["series", "ragged, with gaps", "ragged tokens"])
def test_batches_on_a_gpu_give_the_bits_of_batches_on_the_host(kind, device: Gpu):
    X, options = DATA[kind]
    options = {**options, "batch_size": 4}
    fits = []
    for move in (lambda part: part, lambda part: on(device, part)):
        parts = [(move(X[k : k + 5]), Y[k : k + 5]) for k in range(0, n, 5)]
        source = xlstm.Batches(parts, buffer=10)
        clf = classifier(device.name, **options).fit(source, validation=source)
        fits.append((clf.loss_curve_, clf.validation_loss_curve_, parameters(clf).tobytes(), clf.score(source)))
    assert fits[0] == fits[1]
    assert fits[0][3] == clf.score(on(device, X), Y)


@pytest.mark.parametrize("kind", DATA)
def test_data_on_a_gpu_gives_the_bits_of_host_data(kind, device: Gpu):
    X, options = DATA[kind]
    there = on(device, X)
    of_host, of_gpu = classifier(device.name, **options).fit(X, Y), classifier(device.name, **options).fit(there, Y)
    assert of_gpu.device_ == device.device
    assert of_gpu.loss_curve_ == of_host.loss_curve_
    assert of_gpu.accuracy_curve_ == of_host.accuracy_curve_
    np.testing.assert_array_equal(parameters(of_gpu), parameters(of_host))
    assert of_gpu.n_features_in_ == of_host.n_features_in_
    for calls in (of_gpu, of_gpu.prepare()):
        for name in ("predict_proba", "predict_log_proba", "decision_function"):
            expected = getattr(of_host, name)(X)
            assert type(expected) is np.ndarray
            np.testing.assert_array_equal(device.get(getattr(calls, name)(there)), expected)
        assert type(calls.predict(there)) is np.ndarray
        np.testing.assert_array_equal(calls.predict(there), of_host.predict(X))
        assert calls.score(there, Y) == of_host.score(X, Y)
        np.testing.assert_array_equal(calls.predict_proba(X), of_host.predict_proba(X))  # the one takes both
    np.testing.assert_array_equal(device.get(of_gpu.prepare()(there)), of_host.predict_proba(X))
    of_host.partial_fit(X, Y)
    of_gpu.partial_fit(there, Y)
    np.testing.assert_array_equal(parameters(of_gpu), parameters(of_host))


@pytest.mark.parametrize("kind", DATA)
def test_training_on_it_is_that_of_the_cpu(kind, device: Gpu):
    """Among others: each sequence has the same masks, though a GPU has the rows of a batch in another order."""
    X, options = DATA[kind]
    options = {**options, "dtype": "float64"}
    on_cpu, on_gpu = classifier("cpu", **options).fit(X, Y), classifier(device.name, **options).fit(on(device, X), Y)
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    expected = on_cpu.predict_proba(X)
    np.testing.assert_allclose(device.get(on_gpu.predict_proba(on(device, X))), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["ragged", "ragged, of one feature", "ragged tokens"])
def test_batches_in_pieces_are_those_of_the_cpu(kind, device: Gpu, monkeypatch):
    monkeypatch.setattr(batch, "MAX_STEPS", 5)
    monkeypatch.setattr(batch, "MOST_STEPS", 5)
    X, options = DATA[kind]
    options = {**options, "dtype": "float64"}
    on_cpu, on_gpu = classifier("cpu", **options).fit(X, Y), classifier(device.name, **options).fit(on(device, X), Y)
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(device.get(on_gpu.predict_proba(on(device, X))), on_cpu.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("kind", ["series", "ragged", "tokens"])
def test_a_stream_is_fed_there(kind, device: Gpu):
    X, options = DATA[kind]
    clf = classifier(device.name, **{**options, "bidirectional": False, "readout": "final"}).fit(X, Y)
    row, expected = np.asarray(X[0]), clf.predict_proba(X[:1])[0]
    there, of_host = clf.stream(), clf.prepare().stream()
    for part in (row[:1], row[1:]):
        found, host = there.feed(device.asarray(part)), of_host.feed(part)
        assert type(host) is np.ndarray
        np.testing.assert_allclose(device.get(found), host, rtol=1e-12)
    np.testing.assert_allclose(device.get(found), expected, rtol=1e-9)
    assert there.predict() == clf.predict(X[:1])[0]
    assert type(of_host.feed(row[:1])) is np.ndarray
    device.get(of_host.feed(device.asarray(row[:1])))  # each answer where its part lies


def test_rows_that_early_stopping_set_aside_are_the_same(device: Gpu):
    X, _ = DATA["ragged"]
    there, options = on(device, X), {"early_stopping": True, "warm_start": True, "validation_fraction": 0.25}
    of_host, of_gpu = classifier(device.name, **options).fit(X, Y), classifier(device.name, **options).fit(there, Y)
    for _ in range(2):
        assert of_gpu.validation_loss_curve_ == of_host.validation_loss_curve_
        sides = [clf.fitted_state().sides for clf in (of_host, of_gpu)]
        assert sides[0].state() == sides[1].state()
        of_host.fit(there, Y)  # the same rows, from the other place
        of_gpu.fit(X, Y)


def test_gradients_are_right_on_it(device: Gpu):
    for kind in ("ragged", "tokens"):
        X, options = DATA[kind]
        clf = classifier(device.name, **{**options, "max_iter": 1, "hidden_size": 2}).fit(X, Y)
        few = [row[:4] for row in X[:4]]  # at most so many steps: other rows have fewer
        assert xlstm.check_gradients(clf, (on(device, few), Y[:4])).passed


# ---------------------------------------------------------------- whose arrays


class Interface:
    """An array of nobody we know, which tells where it lies."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__

    def __len__(self) -> int:
        return len(self._array)


class Exporter:
    """One that is handed over by DLPack."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)


class Place(str):
    """As PyTorch has a device."""

    type = "cuda"


class Tensor(Exporter):
    """As PyTorch has it on a GPU."""

    __module__ = "torch"

    def __init__(self, array: Any, dtype: str = "torch.float32", requires_grad: bool = False) -> None:
        super().__init__(array)
        self.device, self.dtype, self.requires_grad = Place(f"cuda:{array.device.id}"), dtype, requires_grad

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("not to be asked")


class ReadOnly(Interface):
    """One whose DLPack CuPy refuses."""

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("read-only")


FOREIGN = {"interface": Interface, "DLPack": Exporter, "PyTorch": Tensor, "read-only": ReadOnly}


@pytest.mark.parametrize("kind", FOREIGN)
def test_arrays_of_other_libraries_are_taken_without_a_copy(kind, device: Gpu):
    X, _ = DATA["series"]
    array = device.asarray(X)
    foreign = FOREIGN[kind](array)
    assert backends.is_on_gpu(foreign)
    place, taken = ondevice.taken("X", foreign)
    assert place.device == device.device
    assert (taken.data.ptr, taken.shape, taken.dtype) == (array.data.ptr, array.shape, array.dtype)
    clf = classifier(device.name).fit(foreign, Y)
    np.testing.assert_array_equal(parameters(clf), parameters(classifier(device.name).fit(X, Y)))
    np.testing.assert_array_equal(device.get(clf.predict_proba(foreign)), clf.predict_proba(X))
    rows = [FOREIGN[kind](array[k]) for k in range(n)]
    np.testing.assert_array_equal(device.get(clf.predict_proba(rows)), clf.predict_proba(X))
    labels, weights = FOREIGN[kind](device.asarray(Y)), FOREIGN[kind](device.asarray(np.ones(n)))
    assert clf.score(foreign, labels, weights) == clf.score(X, Y)
    np.testing.assert_allclose(device.get(clf.stream().feed(rows[0])), clf.predict_proba(X[:1])[0], rtol=1e-9)


def test_what_lies_on_the_host_is_not_taken_for_it():
    class HostExporter:
        def __dlpack_device__(self) -> Any:
            return (1, 0)

    class Broken:
        def __dlpack_device__(self) -> Any:
            raise RuntimeError

    for values in (np.ones(3), [1.0], "ab", None, 3, np.float64(1), HostExporter(), Broken(), object()):
        assert not backends.is_on_gpu(values)


def test_views_and_other_orders_of_the_axes(device: Gpu):
    X, _ = DATA["series"]
    clf = classifier(device.name).fit(X, Y)
    expected = clf.predict_proba(X[::2])
    np.testing.assert_array_equal(device.get(clf.predict_proba(device.asarray(X)[::2])), expected)
    turned = device.asarray(np.ascontiguousarray(np.swapaxes(X, 1, 2)))  # (n, features, time)
    np.testing.assert_array_equal(device.get(clf.predict_proba(turned.swapaxes(1, 2)[::2])), expected)
    np.testing.assert_array_equal(device.get(clf.predict_proba(channels.from_channels_first(turned)[::2])), expected)


# ---------------------------------------------------------------- where the model is


@pytest.mark.parametrize("name", [None, "auto"])
def test_the_model_goes_where_the_data_lie(name, device: Gpu):
    X, _ = DATA["series"]
    small = classifier(name, hidden_size=2)  # work that "auto" would leave on the CPU
    assert small.fit(device.asarray(X), Y).device_ == device.device
    assert small.fit(X, Y).device_ == "cpu"


def test_a_device_that_was_chosen_is_no_other(device: Gpu, monkeypatch):
    there = device.asarray(DATA["series"][0])
    other = device.other()
    places = ["cpu"] + ([other.device] if other else [])
    for place in places:
        message = rf"X lies on {device.device}, but the model is to be on {place}.*set device='{device.device}'"
        for clf in (classifier(place), classifier(None)):
            monkeypatch.setenv("XLSTM_DEVICE", place)
            with pytest.raises(ValueError, match=message) as caught:
                clf.fit(there, Y)
            monkeypatch.delenv("XLSTM_DEVICE")
            assert ("cupy.asnumpy(X)" if place == "cpu" else "cupy.asarray(X)") in str(caught.value)
            assert not hasattr(clf, "classes_")


def test_a_model_that_is_elsewhere_says_how_to_move_it(device: Gpu):
    X, _ = DATA["series"]
    there, own = device.asarray(X), "cuda" if device.device == "cuda:0" else device.device
    models = [classifier("cpu").fit(X, Y)]
    other = device.other()
    if other:
        models.append(models[0].to(other.device))
    for clf in models:
        prepared, stream = clf.prepare(), clf.stream()
        calls = (
            lambda clf=clf: clf.predict(there),
            lambda clf=clf: clf.predict_proba(list(there[k] for k in range(2))),
            lambda clf=clf: clf.score(there, Y),
            lambda clf=clf: clf.partial_fit(there, Y),
            lambda clf=clf: clf.set_params(warm_start=True).fit(there, Y),
            lambda prepared=prepared: prepared(there),
            lambda stream=stream: stream.feed(there[0]),
            lambda clf=clf: xlstm.check_gradients(clf, (there, Y)),
        )
        before = parameters(clf)
        for call in calls:
            expected = f"X lies on {device.device}, but this model is on {clf.device_}"
            with pytest.raises(ValueError, match=expected) as caught:
                call()
            message = str(caught.value)
            assert f'.to("{own}")' in message
            assert ("cupy.asnumpy(X)" if clf.device_ == "cpu" else "X = cupy.asarray(X)") in message
        np.testing.assert_array_equal(parameters(clf), before)
    moved = models[0].to(own)
    np.testing.assert_allclose(device.get(moved.predict_proba(there)), models[0].predict_proba(X), rtol=1e-9)


def test_rows_have_to_lie_in_one_place(device: Gpu):
    X, _ = DATA["ragged"]
    rows = on(device, X)
    clf = classifier(device.name).fit(rows, Y)
    with pytest.raises(TypeError, match=r"row 1 of X lies on the host, row 0 on a GPU.*cupy\.asarray\(row\)"):
        clf.predict([rows[0], X[1]])
    with pytest.raises(TypeError, match=r"row 0 of X is a list of arrays on a GPU.*cupy\.stack\(row\)"):
        clf.predict([[rows[0][0], rows[0][1]], rows[1]])
    other = device.other()
    if other:
        elsewhere = [rows[0], other.asarray(X[1])]
        with pytest.raises(TypeError, match=rf"row 1 of X lies on {other.device}, row 0 on {device.device}"):
            clf.predict(elsewhere)


# ---------------------------------------------------------------- what is wrong with it


def test_what_is_no_number_is_named_by_its_row(device: Gpu):
    X, _ = DATA["ragged"]
    for value, what in ((np.nan, "NaN"), (np.inf, r"infinity \(inf\)"), (-np.inf, "minus infinity")):
        rows = [row.copy() for row in X]
        rows[5][1, 2] = value
        clf = classifier(device.name)
        with pytest.raises(ValueError, match=rf"row 5 of X holds {what}.* in step 1, feature 2"):
            clf.fit(on(device, rows), Y)
        assert not hasattr(clf, "classes_")
    table = DATA["a table"][0].copy()
    table[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"row 3 of X holds NaN in step 4: .*pads short sequences"):
        classifier(device.name).fit(device.asarray(table), Y)


def test_numbers_too_large_for_the_dtype(device: Gpu):
    X = DATA["series"][0].copy()
    clf = classifier(device.name, dtype="float32", standardize=False).fit(device.asarray(X), Y)
    X[7, 2, 1] = 1e200
    with pytest.raises(ValueError, match="row 7 of X holds numbers too large for float32"):
        clf.predict(device.asarray(X))


WRONG = {
    "a vector": (np.ones(3), {}, ValueError, r"Expected 2D array .* got an array of shape \(3,\)"),
    "no rows": (np.ones((0, 3, 2)), {}, ValueError, r"X is empty: Found array with 0 sample\(s\)"),
    "no steps": (np.ones((3, 0, 2)), {}, ValueError, r"X has no steps or features"),
    "complex": (np.ones((3, 2), complex), {}, ValueError, "Complex data not supported: X has dtype"),
    "fractions for tokens": (np.ones((3, 2)), {"encoding": "tokens"}, TypeError, r"must hold integers \(n, time\)"),
    "a token too large": (
        np.full((3, 2), 2**63, np.uint64),
        {"encoding": "tokens"},
        ValueError,
        "does not fit 64 bits",
    ),
    "an empty row": ([np.ones((2, 1)), np.ones((0, 1))], {}, ValueError, r"row 1 of X is an empty sequence"),
    "other features": ([np.ones((2, 1)), np.ones((2, 2))], {}, ValueError, r"row 1 of X has shape \(2, 2\), but row 0"),
    "a number for a row": ([np.ones((2, 1)), np.float64(1)], {}, TypeError, r"row 1 of X is one float64"),
    "rows of three dimensions": ([np.ones((2, 1, 1))], {}, ValueError, r"row 0 of X has shape \(2, 1, 1\)"),
    "tokens of two": (
        [np.ones((2, 2), int)],
        {"encoding": "tokens"},
        TypeError,
        r"row 0 of X has dtype int64 and shape",
    ),
    "an empty row of tokens": (
        [np.ones(0, int)],
        {"encoding": "tokens"},
        ValueError,
        "row 0 of X is an empty sequence",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read(case, device: Gpu):
    X, options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        classifier(device.name, **options).fit(on(device, X), [0, 1, 0][: len(X)])


def test_what_is_not_like_the_training(device: Gpu):
    clf = classifier(device.name).fit(device.asarray(DATA["series"][0]), Y)
    with pytest.raises(ValueError, match="X has 2 features a step, but this model was trained on 3"):
        clf.predict(device.asarray(np.ones((2, 3, 2))))
    table = classifier(device.name).fit(device.asarray(DATA["a table"][0]), Y)
    with pytest.raises(ValueError, match="X has 3 features, but SequenceClassifier is expecting 7"):
        table.predict(device.asarray(np.ones((2, 3))))
    with pytest.raises(ValueError, match="this model was trained on series, got integers"):
        clf.set_params(encoding="tokens").predict(device.asarray(np.ones((2, 3), int)))
    tokens = classifier(device.name, encoding="tokens").fit(device.asarray(DATA["tokens"][0]), Y)
    unknown = np.array([[100, -100, 3]])
    np.testing.assert_array_equal(
        device.get(tokens.predict_proba(device.asarray(unknown))), tokens.predict_proba(unknown)
    )


def test_tensors_that_have_to_be_changed_first(device: Gpu):
    array = device.asarray(DATA["series"][0])
    for options, advice in (
        ({"requires_grad": True}, r"that requires gradients: pass X\.detach\(\)\."),
        ({"dtype": "torch.bfloat16"}, r"of the dtype torch\.bfloat16: pass X\.float\(\)\."),
    ):
        with pytest.raises(TypeError, match=rf"X is a torch tensor on {device.device} {advice}"):
            classifier(device.name).fit(Tensor(array, **options), Y)


def test_arrays_that_cupy_refuses(device: Gpu):
    class Odd(Exporter):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("strides of no use")

    with pytest.raises(TypeError, match=r"X is of the type Odd and lies on a GPU, but CuPy cannot take it \(strides"):
        classifier(device.name).fit(Odd(device.asarray(DATA["series"][0])), Y)


# ---------------------------------------------------------------- y, weights and labels


def test_labels_lie_there_where_y_did(device: Gpu, tmp_path):
    X, _ = DATA["series"]
    there = device.asarray(X)
    for y in (Y, Y.astype(np.float32), Y == 1, (Y + 7).astype(np.uint8)):
        of_host, of_gpu = classifier(device.name).fit(X, y), classifier(device.name).fit(there, device.asarray(y))
        np.testing.assert_array_equal(parameters(of_gpu), parameters(of_host))
        assert of_gpu.classes_.dtype == of_host.classes_.dtype
        of_gpu.save(tmp_path / "model.xlstm")
        loaded = xlstm.load(tmp_path / "model.xlstm", device=device.name)
        for clf in (of_gpu, loaded, of_gpu.prepare(), pickle.loads(pickle.dumps(of_gpu)), of_gpu.to(device.name)):
            labels = device.get(clf.predict(there))
            assert labels.dtype == y.dtype
            np.testing.assert_array_equal(labels, of_host.predict(X))
            assert type(clf.predict(X)) is np.ndarray, "host data are answered on the host"
        assert of_gpu.score(there, device.asarray(y)) == of_host.score(X, y)
        stream = of_gpu.stream()
        stream.feed(there[0])
        assert device.get(stream.predict()) == of_host.predict(X[:1])[0]


def test_a_column_of_labels_and_one_that_is_wrong(device: Gpu):
    there = device.asarray(DATA["series"][0])
    clf = classifier(device.name)
    with pytest.raises(ValueError, match="X has 24 sequences, but y has 3 labels"):
        clf.fit(there, device.asarray(Y[:3]))
    with pytest.raises(ValueError, match=r"y\[2\] is nan"):
        clf.fit(there, device.asarray(np.where(np.arange(n) == 2, np.nan, Y)))
    clf.partial_fit(there, device.asarray(Y[:24]), classes=device.asarray(np.arange(4)))
    assert clf.classes_.tolist() == [0, 1, 2, 3]
    clf.partial_fit(there, Y, classes=device.asarray(np.arange(4)))
    with pytest.raises(ValueError, match="row 1 has the label 9"):
        clf.score(there, device.asarray(np.where(np.arange(n) == 1, 9, Y)))


def test_a_list_of_values_there_is_no_array(device: Gpu):
    """Each of them would be a transfer; the message says what to pass."""
    there, y = device.asarray(DATA["series"][0]), device.asarray(Y)
    values = [y[row] for row in range(n)]
    clf = classifier(device.name).fit(there, y)
    before = parameters(clf)
    for name, call in {
        "y": lambda: clf.fit(there, values),
        "sample_weight": lambda: clf.fit(there, y, sample_weight=tuple(values)),
        "classes": lambda: clf.partial_fit(there, y, classes=values[:3]),
    }.items():
        with pytest.raises(
            TypeError, match=rf"{name} is a list of values on a GPU: pass the array itself, or cupy\.stack\({name}\)\."
        ):
            call()
    with pytest.raises(TypeError, match="y is a list of values on a GPU"):
        clf.score(there, values)
    np.testing.assert_array_equal(parameters(clf), before)
    assert clf.fit(there, Y.tolist()).classes_.tolist() == [0, 1, 2]


def test_a_pickle_of_before_there_were_gpus(device: Gpu):
    """It lacks what later versions gave to estimators and encoders."""
    for kind in ("series", "tokens"):
        X, options = DATA[kind]
        clf = classifier("cpu", **options).fit(X, Y)
        fitted = clf.fitted_state()
        for made, name in ((fitted, "answers_there"), (fitted.encoder, "_there")):
            vars(made).pop(name, None)
        old = pickle.loads(pickle.dumps(clf))
        np.testing.assert_array_equal(old.predict(X), clf.predict(X))
        moved, expected = old.to(device.name), clf.predict_proba(X)
        np.testing.assert_allclose(device.get(moved.predict_proba(on(device, X))), expected, rtol=1e-9)
        assert type(moved.predict(on(device, X))) is np.ndarray
        old.partial_fit(X, Y)
        again = pickle.loads(pickle.dumps(moved))
        np.testing.assert_allclose(device.get(again.predict_proba(on(device, X))), expected, rtol=1e-9)


def test_weights_lie_there(device: Gpu):
    X, _ = DATA["series"]
    weights = np.random.default_rng(0).random(n)
    there, heavy = device.asarray(X), device.asarray(weights)
    of_host = classifier(device.name).fit(X, Y, sample_weight=weights)
    of_gpu = classifier(device.name).fit(there, Y, sample_weight=heavy)
    np.testing.assert_array_equal(parameters(of_gpu), parameters(of_host))
    assert of_gpu.score(there, Y, heavy) == of_host.score(X, Y, weights)
    with pytest.raises(ValueError, match=r"sample_weight\[3\] is -1\.0"):
        of_gpu.fit(there, Y, device.asarray(np.where(np.arange(n) == 3, -1.0, 1.0)))


def test_host_data_is_answered_on_the_host(device: Gpu):
    X, _ = DATA["series"]
    clf = classifier(device.name).fit(X, [("a", "b", "c")[k] for k in Y])
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert type(getattr(clf, name)(X)) is np.ndarray
    labels = clf.predict(device.asarray(X))
    assert type(labels) is np.ndarray, "strings are no matter of a GPU"
    assert labels.tolist() == clf.predict(X).tolist()


# ---------------------------------------------------------------- a task that knows nothing of GPUs


class OnHost(Counts):
    """Functions of NumPy, given outputs of the host; batches that it makes itself."""

    asked: list[Any] = []  # noqa: RUF012

    def answers(self, outputs):
        assert type(outputs) is np.ndarray
        return super().answers(outputs)

    def batch(self, targets, rows, backend, dtype):
        assert type(rows) is np.ndarray
        OnHost.asked.append(rows)
        return super().batch(targets, rows, backend, dtype)


class Counter(SequenceCounter):
    tasks = (OnHost,)


@pytest.mark.parametrize("task", [Counts, OnHost])
def test_a_task_of_a_user_works_there(task, device: Gpu, monkeypatch):
    monkeypatch.setattr(Counter, "tasks", (task,))
    X, _ = DATA["ragged"]
    y, OnHost.asked = Y.astype(float), []
    of_gpu, of_cpu = (Counter(max_iter=3, batch_size=8, dtype="float64") for _ in range(2))
    of_gpu.device = device.name
    of_cpu.fit(X, y)
    OnHost.asked.clear()
    of_gpu.fit(on(device, X), device.asarray(y))
    np.testing.assert_allclose(of_gpu.loss_curve_, of_cpu.loss_curve_, rtol=1e-10)
    assert len(OnHost.asked) == (9 if task is OnHost else 0), "one that overrides batch is asked for each"
    assert all(
        sorted(np.concatenate(OnHost.asked[k : k + 3])) == list(range(n)) for k in range(0, len(OnHost.asked), 3)
    )
    found = of_gpu.predict(on(device, X))
    np.testing.assert_allclose(device.get(found), of_cpu.predict(X), rtol=1e-9)
    np.testing.assert_allclose(device.get(of_gpu.prepare()(on(device, X))), of_cpu.predict(X), rtol=1e-9)


class InNumPy(Classes):
    """Of a user who knows NumPy alone: the first class, unless another is nearly certain."""

    def answers(self, outputs):
        return self.classes[np.where(self.details(outputs).max(axis=1) > 0.36, outputs.argmax(axis=1), 0)]

    def details(self, outputs):
        assert type(outputs) is np.ndarray
        return np.asarray(super().details(outputs))


class InCuPyToo(InNumPy):
    anywhere = True
    answers = Classes.answers

    def details(self, outputs):
        assert type(outputs) is not np.ndarray
        return Classes.details(self, outputs)


@pytest.mark.parametrize("task", [InNumPy, InCuPyToo])
def test_a_users_classes_are_given_numpys_arrays_unless_they_say_that_they_take_others(task, device: Gpu):
    class Own(xlstm.SequenceClassifier):
        tasks = (task,)

    X, _ = DATA["series"]
    there = device.asarray(X)
    settings = {"hidden_size": 6, "max_iter": 4, "dtype": "float64", "random_state": 2, "kernels": "reference"}
    clf = Own(device=device.name, **settings).fit(there, Y)
    expected = xlstm.SequenceClassifier(device="cpu", **settings).fit(X, Y)
    np.testing.assert_allclose(device.get(clf.predict_proba(there)), expected.predict_proba(X), rtol=1e-9)
    p = expected.predict_proba(X)
    own = np.where(p.max(axis=1) > 0.36, p.argmax(axis=1), 0)
    np.testing.assert_array_equal(clf.predict(there), own if task is InNumPy else expected.predict(X))


def test_targets_lie_on_the_device_unless_a_task_has_its_own_way(device: Gpu):
    backend = backends.select(device.name)

    class Own(Counts):
        def take(self, targets, rows):
            return targets[rows]

    targets = np.arange(3.0)
    placed = Counts().placed(targets, backend, "float32")
    assert placed.dtype == np.float32
    np.testing.assert_array_equal(device.get(placed), targets)
    assert Own().placed(targets, backend, "float32") is None
    assert Counts().placed(list(targets), backend, "float32") is None
    assert Task.anywhere is False


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize("chunk", [1, 7, 2**22])
def test_scaling_in_pieces(chunk, device: Gpu, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", chunk)
    X = np.random.default_rng(0).standard_normal((9, 5, 3)) * [1e-3, 1e3, 0] + [1, -1, 5]
    data, there = sequences.read(X), sequences.read(device.asarray(X))
    expected, found = encode.Scaler.fit(data, True), encode.Scaler.fit(there, True)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-13)
    for dtype in ("float32", "float64"):
        steps = encode.encode(expected, there, dtype)
        assert str(steps.dtype) == dtype
        np.testing.assert_array_equal(device.get(steps), encode.encode(expected, data, dtype))
    large = np.random.default_rng(0).uniform(-1, 1, (9, 5, 1)) * 1.7e308
    np.testing.assert_allclose(
        encode.Scaler.fit(sequences.read(device.asarray(large)), True).scale,
        encode.Scaler.fit(sequences.read(large), True).scale,
        rtol=1e-13,
    )


def test_rows_are_taken_where_they_lie(device: Gpu):
    rows = np.array([5, 0, 3])
    for kind in ("ragged", "ragged tokens"):
        X, options = DATA[kind]
        encoding = options.get("encoding", "auto")
        expected = series.take(sequences.read(X, encoding), rows)
        found = series.to_host(series.take(sequences.read(on(device, X), encoding), rows))
        values, wanted = (data.values if kind == "ragged" else data.tokens for data in (found, expected))
        np.testing.assert_array_equal(values, wanted)
        np.testing.assert_array_equal(found.lengths, expected.lengths)


def test_the_lengths_of_a_batch_are_on_the_device_and_longest_first(device: Gpu):
    X, _ = DATA["ragged"]
    fitted = classifier(device.name).fit(X, Y).fitted_state()
    encoded = fitted.encoded_near(fitted.matched(sequences.read(X)))
    rows = np.array([4, 0, 7, 2])
    with backends.select(device.name).current():
        ((order, places, batch),) = feed.Feed(fitted.model, encoded).batches([rows])
        assert sorted(order.tolist()) == [0, 2, 4, 7]
        assert batch.lengths == sorted(LENGTHS[rows].tolist(), reverse=True) == LENGTHS[order].tolist()
        np.testing.assert_array_equal(device.get(batch.lengths.on_device), batch.lengths)
        assert batch.lengths.on_device.dtype == np.int64
        np.testing.assert_array_equal(device.get(places), order)
        np.testing.assert_array_equal(rows[batch.drawn], order)
        block = device.get(batch.x)
    for k, row in enumerate(order):
        expected = encode.encode(fitted.encoder, sequences.read([X[row]]))
        np.testing.assert_allclose(block[k, : LENGTHS[row]], expected, rtol=1e-12)


def test_several_labels_there(device: Gpu):
    X, _ = DATA["ragged"]
    y = np.random.default_rng(0).integers(0, 2, (n, 3))
    options = {"class_weight": "balanced", "dtype": "float64"}
    of_host = classifier("cpu", **options).fit(X, y)
    of_gpu = classifier(device.name, **options).fit(on(device, X), device.asarray(y))
    np.testing.assert_allclose(of_gpu.loss_curve_, of_host.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(of_gpu.f1_micro_curve_, of_host.f1_micro_curve_, rtol=1e-12)
    there = of_gpu.predict(on(device, X))
    np.testing.assert_array_equal(device.get(there), of_host.predict(X))
    np.testing.assert_allclose(device.get(of_gpu.predict_proba(on(device, X))), of_host.predict_proba(X), rtol=1e-9)
    assert of_gpu.score(on(device, X), device.asarray(y)) == of_host.score(X, y)
    of_gpu.tune_thresholds(on(device, X), device.asarray(y))
    np.testing.assert_allclose(of_gpu.thresholds_, of_host.tune_thresholds(X, y).thresholds_, rtol=1e-9)
    by_lists = classifier(device.name, **options).fit(on(device, X), [np.flatnonzero(row).tolist() for row in y])
    assert by_lists.predict(on(device, X)) == [np.flatnonzero(row).tolist() for row in device.get(there)]


# ---------------------------------------------------------------- host data that does not fit


@pytest.mark.parametrize("kind", DATA)
def test_host_data_that_does_not_fit_comes_block_by_block(kind, device: Gpu, monkeypatch):
    X, options = DATA[kind]
    options = {**options, "max_iter": 2}
    clf = classifier(device.name, **options).fit(X, Y)
    sent = []
    send = conveyor.Conveyor.send
    monkeypatch.setattr(conveyor.Conveyor, "send", lambda self, *rest: sent.append(rest[0]) or send(self, *rest))
    expected = clf.predict_proba(X)
    assert not sent
    monkeypatch.setattr(feed, "SHARE_OF_FREE_MEMORY", 0)
    by_blocks = classifier(device.name, **options).fit(X, Y)
    assert len(sent) == 2 * n / 8
    assert all(shape[0] == 8 for shape in sent)
    np.testing.assert_allclose(by_blocks.loss_curve_, clf.loss_curve_, rtol=1e-6 if clf.dtype == "float32" else 1e-10)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-12)
    there = on(device, X)
    before = len(sent)
    np.testing.assert_array_equal(device.get(clf.predict_proba(there)), expected)
    assert len(sent) == before, "what lies there fits"


def test_a_block_of_nothing_is_sent(device: Gpu):
    """Whichever place in pinned memory it gets, that has none yet."""
    backend = backends.select(device.name)
    with backend.current():
        belt = backend.conveyor()
        sent = [belt.send(shape, np.float32, lambda block: None) for shape in ((0, 3), (2, 0))]
        assert [belt.arrived(each).shape for each in sent] == [(0, 3), (2, 0)]
        belt.finish()


def test_rows_are_gathered_on_their_own_device_whichever_is_current(device: Gpu):
    backend = backends.select(device.name)
    steps = backend.from_host(np.arange(12.0, dtype=np.float32).reshape(6, 2))
    starts, lengths = (backend.from_host(np.array(values)) for values in ([3, 0], [3, 2]))
    block = backend.to_host(backend.gather(steps, starts, lengths, 3))  # outside of `current`
    np.testing.assert_array_equal(block[0], [[6, 7], [8, 9], [10, 11]])
    np.testing.assert_array_equal(block[1, :2], [[0, 1], [2, 3]])


def test_blocks_of_any_sizes_take_turns(device: Gpu):
    """The next one sets out before this one is used, and each holds what it was given."""
    backend = backends.select(device.name)
    belt = backend.conveyor()
    host = [np.full((k + 1, 3), k, dtype) for k, dtype in enumerate(["float32", "int64", "float64"] * 3)]
    with backend.current():

        def send(values):
            def fill(block):
                block[...] = values

            return belt.send(values.shape, values.dtype, fill)

        waiting, found = send(host[0]), []
        for following in host[1:]:
            ahead = send(following)
            found.append(belt.arrived(waiting) + 0)
            waiting = ahead
        found.append(belt.arrived(waiting) + 0)
        belt.finish()
        hasty = [send(np.full((2, 3), k)) for k in range(4)]  # before anybody has waited for the first
        found += [belt.arrived(sent) + 0 for sent in hasty]
    for array, expected in zip(found, [*host, *(np.full((2, 3), k) for k in range(4))], strict=True):
        np.testing.assert_array_equal(device.get(array), expected)


@pytest.mark.parametrize("piece", [1, 100, 3000])
def test_large_arrays_are_uploaded_in_pieces(piece, device: Gpu, monkeypatch):
    backend = backends.select(device.name)
    monkeypatch.setattr(conveyor, "PIECE", piece)
    for X in (RNG.standard_normal((50, 7)), np.arange(40), np.asfortranarray(RNG.standard_normal((9, 5))).T):
        np.testing.assert_array_equal(device.get(backend.upload(X)), X)


# ---------------------------------------------------------------- seen by the stand-in alone


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with machine(devices=2) as gpu:
        backends.select("cuda")  # tries the device once
        yield gpu


def crossing(gpu: Machine, work: Any) -> tuple[int, int, int, int]:
    """How often and with how many bytes something came to the host, and went to the device."""
    with gpu.counting() as seen:
        work()
    return seen.to_host, seen.to_host_bytes, seen.to_device, seen.to_device_bytes


ENTRIES = {
    "fit": lambda clf, X, y: clf.fit(X, y),
    "partial_fit": lambda clf, X, y: clf.partial_fit(X, y),
    "predict": lambda clf, X, y: clf.predict(X),
    "predict_proba": lambda clf, X, y: clf.predict_proba(X),
    "predict_log_proba": lambda clf, X, y: clf.predict_log_proba(X),
    "decision_function": lambda clf, X, y: clf.decision_function(X),
    "score": lambda clf, X, y: clf.score(X, y),
    "prepare": lambda clf, X, y: clf.prepare()(X),
    "stream": lambda clf, X, y: clf.stream().feed(X[0]),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ["series", "ragged", "tokens", "ragged tokens"])
def test_no_x_crosses(kind, entry, gpu: Machine):
    """What crosses is the same for sequences of any length: flags, tables of rows, labels, weights of the model."""
    import cupy

    options = {"encoding": "tokens"} if "tokens" in kind else {}

    def seen(time):
        rng = np.random.default_rng(0)
        if "tokens" in kind:
            X = rng.integers(0, 5, (16, time))
            X[:, 0] = np.arange(16) % 5
        else:
            X = rng.standard_normal((16, time, 2)).astype(np.float32)
        there = [cupy.asarray(row[: time - k % 3]) for k, row in enumerate(X)] if "ragged" in kind else cupy.asarray(X)
        y = [0, 1] * 8
        clf = classifier("cuda", max_iter=2 if entry == "fit" else 1, **options).fit(there, y)
        ENTRIES[entry](clf, there, y)  # what is brought to a device once is there
        return crossing(gpu, lambda: ENTRIES[entry](clf, there, y))

    short, long = seen(5), seen(20)
    assert short == long
    to_host, to_host_bytes, to_device, to_device_bytes = long
    if entry.startswith(("predict_", "decision")):
        # A flag that all numbers are finite, and one that they are in the range of the dtype; of tokens none.
        assert (to_host, to_host_bytes) == ((0, 0) if options else (2, 2))
        # A table of rows, starts and lengths; and what CuPy joins the rows of a list by, their addresses and shapes.
        joins = (3, 32 * 16) if "ragged" in kind else (0, 0)
        assert (to_device, to_device_bytes) <= (1 + joins[0], 3 * 16 * 8 + joins[1])
    if entry == "predict":
        assert to_host_bytes <= 2 + 16 * 8  # the numbers of the classes
    if entry == "stream":
        assert (to_device, to_host_bytes) == (0, 0 if options else 2)


@pytest.mark.parametrize("kind", ["ragged", "tokens"])
def test_kernels_take_it_too(kind, gpu: Machine):
    """Those of the level that is chosen without a word, full batches and ragged ones."""
    import cupy

    X, options = DATA[kind]
    options = {**options, "kernels": "auto", "max_iter": 2, "dtype": "float64"}
    there = [cupy.asarray(row) for row in X] if kind == "ragged" else cupy.asarray(X)
    of_host, of_gpu = classifier("cuda", **options).fit(X, Y), classifier("cuda", **options).fit(there, Y)
    np.testing.assert_array_equal(parameters(of_gpu), parameters(of_host))
    on_cpu = classifier("cpu", **options).fit(X, Y)
    np.testing.assert_allclose(of_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(of_gpu.predict_proba(there).get(), on_cpu.predict_proba(X), rtol=1e-9)

    def transfers(batch_size):
        clf = classifier("cuda", **options).set_params(batch_size=batch_size, max_iter=1, token_dropout=0)
        to_host, _, to_device, _ = crossing(gpu, lambda: clf.fit(there, Y))
        return to_host, to_device

    assert transfers(6) == transfers(n)


STEPS = {
    "plain": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True, "cell": "gru"},
    "mean": {"readout": "mean"},
    "attention": {"readout": "attention"},
    "tokens": {"encoding": "tokens", "embedding_size": 3},
    "one-hot": {"encoding": "tokens"},
}


@pytest.mark.parametrize("host", [False, True], ids=["on the device", "on the host"])
@pytest.mark.parametrize("variant", STEPS)
def test_a_training_step_has_no_transfer(variant, host, gpu: Machine):
    """Eight batches an epoch take as many as one, full or ragged: those of the epoch, one to the device, two back."""
    import cupy

    options = STEPS[variant]
    lengths = np.arange(16) % 5 + 2
    rows = [
        np.random.default_rng(k).integers(0, 5, t) if "encoding" in options else np.random.default_rng(k).random((t, 2))
        for k, t in enumerate(lengths)
    ]
    X = rows if host else [cupy.asarray(row) for row in rows]

    def transfers(batch_size, epochs):
        clf = classifier("cuda", max_iter=epochs, batch_size=batch_size, **options)
        to_host, _, to_device, _ = crossing(gpu, lambda: clf.fit(X, [0, 1] * 8))
        return np.array([to_host, to_device])

    assert (transfers(2, 1) == transfers(16, 1)).all()
    assert (transfers(2, 3) - transfers(2, 2)).tolist() == [2, 1]


def test_dropout_brings_its_masks_alone(gpu: Machine):
    X, y = labelled("texts", n=16)

    def to_device(**options):
        clf = classifier("cuda", max_iter=1, batch_size=4, **options)
        return crossing(gpu, lambda: clf.fit(X, y))[2]

    plain = to_device()
    assert to_device(token_dropout=0.2) == plain + 4
    assert to_device(dropout=0.2) == plain + 4
    assert to_device(dropout=0.2, num_layers=3) == plain + 4, "all masks of a step at once"


def test_early_stopping_brings_x_to_the_host_once(gpu: Machine):
    """For the fingerprints of the rows, which are made there."""
    import cupy

    X = np.random.default_rng(0).standard_normal((40, 50, 4))
    there, y = cupy.asarray(X), [0, 1] * 20

    def to_host(**options):
        clf = classifier("cuda", max_iter=2, n_iter_no_change=9, **options)
        return crossing(gpu, lambda: clf.fit(there, y))[1]

    assert X.nbytes <= to_host(early_stopping=True) - to_host() < X.nbytes + 1000


def test_host_data_is_uploaded_once(gpu: Machine):
    X, y = np.random.default_rng(0).standard_normal((40, 50, 4)), [0, 1] * 20
    clf = classifier("cuda", max_iter=3)
    bytes_there = crossing(gpu, lambda: clf.fit(X, y))[3]
    assert X.nbytes <= bytes_there < 1.2 * X.nbytes
    for name in ("predict", "predict_proba", "decision_function"):
        _, back, _, there = crossing(gpu, lambda name=name: getattr(clf, name)(X))
        assert X.nbytes <= there < 1.05 * X.nbytes
        assert back <= 40 * 2 * 8 + 2


def test_the_share_of_the_memory_decides(gpu: Machine, monkeypatch):
    X, y = np.random.default_rng(0).standard_normal((40, 50, 4)).astype(np.float32), [0, 1] * 20
    data, backend = sequences.read(X), backends.select("cuda")
    needed = X.nbytes + 2 * X.nbytes  # as it is, and as steps in float64
    before, kept = backend.free_bytes(), backend.from_host(X)
    assert 0 <= before - backend.free_bytes() - kept.nbytes < 1000
    del kept
    assert backend.free_bytes() == before, "what the pool has free counts"
    free = [int(needed / feed.SHARE_OF_FREE_MEMORY) - 1]
    monkeypatch.setattr(type(backend), "free_bytes", lambda self: free[0])
    assert feed.near(data, backend, "float64").place is None
    free[0] += 2
    assert feed.near(data, backend, "float64").place is backend
    assert feed.near(data, backends.select("cpu"), "float64") is data
    free[0] = int(2 * X.nbytes / feed.SHARE_OF_FREE_MEMORY) + 1  # not for both, but for the steps
    clf = classifier("cuda", max_iter=2).fit(X, y)
    steps = clf.fitted_state().encoded_near(data).steps
    assert backend.owns(steps)


def test_the_limit_of_the_pool_counts(gpu: Machine):
    import cupy

    backend, pool = backends.select("cuda"), cupy.get_default_memory_pool()
    kept = backend.from_host(np.zeros(1000))
    everything = backend.free_bytes()
    for limit in (10**6, gpu.memory * 2, kept.nbytes // 2):
        pool.set_limit(size=limit)
        room = limit - pool.used_bytes()
        assert backend.free_bytes() == min(everything, max(0, room))
    pool.set_limit(size=0)
    assert backend.free_bytes() == everything
    del kept


def test_pinned_memory_that_cannot_be_had(gpu: Machine, monkeypatch):
    """It is the host's: the message says so, and the next call works, with memory of the right size."""
    import cupy

    belt = backends.select("cuda").conveyor()
    have = cupy.cuda.alloc_pinned_memory

    def none_left(size):
        raise CUDARuntimeError(2)

    def sent(count):
        return belt.arrived(belt.send((count,), np.float64, lambda host: host.fill(count)))

    with backends.select("cuda").current():
        monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", none_left)
        for _ in range(2):  # both pieces
            with pytest.raises(MemoryError, match=r"the host has no pinned memory left, .*\(800 bytes; .*batch_size"):
                sent(100)
        monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", have)
        for count in (100, 50, 200, 100):
            np.testing.assert_array_equal(sent(count).get(), np.full(count, float(count)))
        belt.finish()


def test_an_error_in_mid_epoch_leaves_nothing_on_its_way(gpu: Machine, monkeypatch):
    monkeypatch.setattr(feed, "SHARE_OF_FREE_MEMORY", 0)
    X, y = labelled("series")
    clf = classifier("cuda", solver="sgd", max_grad_norm=None, learning_rate_init=1e308)
    with pytest.raises(FloatingPointError):
        clf.fit(X, y)
    finished = []
    finish = conveyor.Conveyor.finish
    monkeypatch.setattr(conveyor.Conveyor, "finish", lambda self: finished.append(finish(self)))
    monkeypatch.setattr(xlstm.model.Model, "forward", lambda *rest: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        classifier("cuda").fit(X, y)
    import gc

    gc.collect()
    assert finished == [None]


def test_what_has_no_gpu_to_go_to():
    class OnAGPU:
        __cuda_array_interface__ = {"shape": (4,), "typestr": "<f8", "data": (0, False), "version": 3}  # noqa: RUF012

        def __len__(self):
            return 4

    with machine(driver=False), pytest.raises(TypeError, match=r"X lies on a GPU, but no GPU can be used: .*driver.*"):
        classifier("cpu").fit(OnAGPU(), Y)
