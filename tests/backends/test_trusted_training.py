"""What trains on a GPU beside the cells is used once it was seen to work: planted faults are seen and done without."""

import re
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from xlstm.backends import cupy_arrays
from xlstm.backends.cuda.checked import DTYPES_OF, ArrayRows
from xlstm.backends.cuda.loss import CudaLoss
from xlstm.backends.cuda.optimiser import CudaStep
from xlstm.backends.cuda.rows import Rows

from xlstm import backends, optim, trials, trusted

from ..gpu import Gpu, classifier, labelled
from ..standin import machine

ARRAY_CODE = "; the array code is used instead"


@pytest.fixture(autouse=True)
def gpu(request, monkeypatch):
    """The stand-in; none for a test of `device`, which may be a real GPU."""
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with nullcontext() if "device" in request.fixturenames else machine(devices=2) as gpu:
        yield gpu


def said(caplog):
    return [record.getMessage() for record in caplog.records]


# ---------------------------------------------------------------- what is planted


class Uncorrected(CudaStep):
    """Adam's moments as if they had not started at zero."""

    def __call__(self, optimizer, *arguments):
        super().__call__(SimpleNamespace(**{**vars(optimizer), "updates": 10**9}), *arguments)


class Unclipped(CudaStep):
    def __call__(self, optimizer, parameters, gradients, learning_rate, max_norm):
        super().__call__(optimizer, parameters, gradients, learning_rate, None)


class AlwaysClipped(CudaStep):
    """To the norm that is allowed, where it is smaller too."""

    def __call__(self, optimizer, parameters, gradients, learning_rate, max_norm):
        if max_norm is not None:
            gradients = gradients * (max_norm / float(np.linalg.norm(gradients.get())))
        super().__call__(optimizer, parameters, gradients, learning_rate, None)


class Undecayed(CudaStep):
    def __call__(self, optimizer, *arguments):
        super().__call__(SimpleNamespace(**{**vars(optimizer), "alpha": 0.0}), *arguments)


class PartlyStepped(CudaStep):
    """The last of the parameters stays as it was."""

    def __call__(self, optimizer, parameters, *arguments):
        last = parameters[-1:].copy()
        super().__call__(optimizer, parameters, *arguments)
        parameters[-1:] = last


class Unweighted(CudaLoss):
    def add(self, outputs, targets, weights, *rest):
        import cupy

        return super().add(outputs, targets, cupy.ones_like(weights), *rest)


class Miscounted(CudaLoss):
    """One row too many is right."""

    def add(self, outputs, targets, weights, sums, gradient=True):
        result = super().add(outputs, targets, weights, sums, gradient)
        sums[0, 1] += 1
        return result


class LastRowAlone(Rows):
    """Of an id that comes again its last row alone is added, as where sums race."""

    def add(self, target, ids, rows, **options):
        import cupy

        host = ids.get()
        keep = cupy.asarray(np.array([k for k in range(len(host)) if host[k] not in host[k + 1 :]]))
        super().add(target, ids[keep], rows[keep], **options)


class Wrapped(Rows):
    """An id below 0 counts from the end."""

    def add(self, target, ids, rows, **options):
        super().add(target, ids % target.shape[0], rows, **options)


class Unpadded(Rows):
    def gather(self, steps, starts, lengths, time):
        return super().gather(steps, starts, lengths * 0 + time, time)


class Shifted(Rows):
    """Bits of the wrong order."""

    def masks(self, kept, scale, dtype):
        return super().masks([np.roll(mask, 1) for mask in kept], scale, dtype)

    def put(self, ids, where, value):
        super().put(ids, np.roll(where, 1), value)


class NaN(CudaStep):
    def __call__(self, optimizer, parameters, *arguments):
        super().__call__(optimizer, parameters, *arguments)
        parameters[3:4] = float("nan")


def raising(kind, error):
    """A class like it of which every method that computes raises."""

    def fail(*_, **__):
        raise error

    names = ("__call__",) if kind is CudaStep else ("add",) if kind is CudaLoss else ("add", "gather", "masks", "put")
    return type("Raising", (kind,), {**dict.fromkeys(names, fail), "__module__": __name__})


def plant(monkeypatch, planted):
    (kind,) = planted.__bases__
    monkeypatch.setattr(cupy_arrays, kind.__name__, planted)


STEP = r"the compiled step of the optimiser is not used in float64 on cuda:0: "
DIFFERS = r".* differs by \S+ from the array code, where 1e-12 is allowed"
LOSS = r"the compiled (logistic|softmax) loss is not used in float64 on cuda:0: "
ROWS = r"the kernel of {} is not used in {} on cuda:0: "
FAULTS = [
    (Uncorrected, "series", {}, [STEP + DIFFERS + ARRAY_CODE]),
    (Unclipped, "series", {"max_grad_norm": 0.1, "solver": "sgd"}, [STEP + DIFFERS + ARRAY_CODE]),
    (AlwaysClipped, "series", {"max_grad_norm": 0.1, "solver": "sgd"}, [STEP + DIFFERS + ARRAY_CODE]),
    (Undecayed, "series", {"solver": "adamw", "alpha": 0.1}, [STEP + DIFFERS + ARRAY_CODE]),
    (PartlyStepped, "series", {}, [STEP + DIFFERS + ARRAY_CODE]),
    (NaN, "series", {}, [STEP + ".* differs by inf .*" + ARRAY_CODE]),
    (Unweighted, "series", {"class_weight": "balanced"}, [LOSS + DIFFERS + ARRAY_CODE]),
    (Unweighted, "texts", {"class_weight": "balanced"}, [LOSS + DIFFERS + ARRAY_CODE]),
    (Miscounted, "texts", {}, [LOSS + "sums" + DIFFERS + ARRAY_CODE]),
    (LastRowAlone, "texts", {"embedding_size": 4},
     [ROWS.format("add_rows", "float64") + DIFFERS + r"; CuPy's add\.at, which .*, is used instead"]),
    (Wrapped, "texts", {"embedding_size": 4},
     [ROWS.format("add_rows", "float64") + DIFFERS + r"; CuPy's add\.at, which .*, is used instead"]),
    (Unpadded, "texts", {}, [ROWS.format("gather", "int64") + ".*, where 0e.00 is allowed" + ARRAY_CODE]),
    (Unpadded, "series", {}, [ROWS.format("gather", "float64") + DIFFERS + ARRAY_CODE]),
    (Shifted, "series", {"dropout": 0.4}, [ROWS.format("masks", "float64") + DIFFERS + ARRAY_CODE]),
    (Shifted, "texts", {"token_dropout": 0.3}, [ROWS.format("put", "int64") + ".*" + ARRAY_CODE]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("planted", "kind", "options", "sentences"), FAULTS, ids=[f"{fault[0].__name__}-{fault[1]}" for fault in FAULTS]
)
def test_what_is_wrong_is_not_used_and_training_is_that_of_the_cpu(
    planted, kind, options, sentences, caplog, monkeypatch
):
    plant(monkeypatch, planted)
    X, y = labelled(kind, 20)
    on_gpu, on_cpu = (classifier(device, max_iter=2, **options).fit(X, y) for device in ("cuda", "cpu"))
    assert len(said(caplog)) == len(sentences), said(caplog)
    for message, sentence in zip(said(caplog), sentences, strict=True):
        assert re.fullmatch(sentence, message), message
    np.testing.assert_allclose(on_gpu.predict_proba(X), on_cpu.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(on_gpu.loss_curve_, on_cpu.loss_curve_, rtol=1e-9)
    assert on_gpu.accuracy_curve_ == on_cpu.accuracy_curve_


@pytest.mark.parametrize("base", [CudaStep, CudaLoss, Rows])
def test_what_raises_is_not_used(base, caplog, monkeypatch):
    plant(monkeypatch, raising(base, RuntimeError("nvrtc: no such architecture\nmore")))
    X, y = labelled("texts", 20)
    settings = {"embedding_size": 4, "dropout": 0.3, "token_dropout": 0.2, "num_layers": 2, "max_iter": 2}
    on_gpu, on_cpu = (classifier(device, **settings).fit(X, y) for device in ("cuda", "cpu"))
    messages = said(caplog)
    assert len(messages) == len(set(messages)) == (4 if base is Rows else 1)
    for message in messages:
        assert "it failed its check (RuntimeError: nvrtc: no such architecture); " in message
        assert message.endswith(" is used instead")
    np.testing.assert_allclose(on_gpu.predict_proba(X), on_cpu.predict_proba(X), rtol=1e-9)


# ---------------------------------------------------------------- what is asked for by name


def test_a_step_that_is_asked_for_by_name_and_is_wrong_is_an_error(caplog, monkeypatch):
    plant(monkeypatch, Uncorrected)
    backend = backends.select("cuda")
    for kernels in ("compiled", "fused"):
        with pytest.raises(RuntimeError, match=f"(?s){STEP}.*array code.*Use kernels='auto' or kernels='reference'"):
            backends.find_step(backend, "float64", kernels)
    assert said(caplog) == [], "the error says it"
    assert backends.find_step(backend, "float64", "reference") is None
    assert backends.find_step(backend, "float64", "cudnn") is None, "a level of cells, which has no step"
    assert backends.find_step(backend, "float64", "auto") is None
    assert len(said(caplog)) == 1


# ---------------------------------------------------------------- the check


def test_each_is_checked_once_a_device_and_dtype(monkeypatch):
    asked = []

    class Counted(CudaStep):
        def __call__(self, *arguments):
            asked.append((self._backend.device, self._dtype.name))
            super().__call__(*arguments)

    plant(monkeypatch, Counted)
    for device in ("cuda", "cuda:1"):
        for dtype in ("float32", "float64"):
            first, *more = (backends.find_step(backends.select(device), dtype, "auto") for _ in range(3))
            assert all(one is first is not None for one in more)
    calls = 2 * len(optim.SOLVERS)
    assert asked == [
        (device, dtype) for device in ("cuda:0", "cuda:1") for dtype in ("float32", "float64") for _ in range(calls)
    ]


def test_threads_that_ask_at_once_share_a_check(monkeypatch):
    asked = []

    class Counted(Rows):
        def masks(self, *arguments):
            asked.append(len(arguments[0]))
            return super().masks(*arguments)

    plant(monkeypatch, Counted)
    backend = backends.select("cuda")
    threads = [threading.Thread(target=backend.masks, args=([np.ones(3, bool)], 2.0, "float32")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [1, 1, 1, 1, 3]


@pytest.mark.parametrize("base", [CudaStep, CudaLoss, Rows])
def test_memory_that_ends_in_the_check_is_no_verdict(base, caplog, monkeypatch):
    class OutOfMemoryError(MemoryError):
        pass

    def ask(backend):
        if base is CudaStep:
            return backends.find_step(backend, "float32", "auto")
        if base is CudaLoss:
            return backends.find_loss("softmax", backend, "float32", "auto")
        return backend.masks([np.ones(3, bool)], 2.0, "float32")

    right = raising(base, OutOfMemoryError("Out of memory allocating 512 bytes"))
    plant(monkeypatch, right)
    backend = backends.select("cuda")
    with pytest.raises(MemoryError, match="cuda:0 has no memory left"):
        ask(backend)
    for name in [name for name in vars(right) if name in ("__call__", "add", "gather", "masks", "put")]:
        delattr(right, name)
    assert ask(backend) is not None
    assert said(caplog) == []


def test_the_check_disturbs_nobody(gpu, monkeypatch):
    import cupy

    plant(monkeypatch, type("Own", (Rows,), {"__module__": __name__}))  # none that was checked before
    plant(monkeypatch, type("Own", (CudaStep,), {"__module__": __name__}))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002  # the one that all share
    backend = backends.select("cuda:1")
    with cupy.cuda.Device(0), cupy.cuda.Stream() as stream:
        assert backends.find_step(backend, "float32", "auto") is not None
        backend.masks([np.ones(3, bool)], 2.0, "float32")
        assert cupy.cuda.get_current_stream() == stream
        assert gpu.current == 0
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


WHAT = [
    *((what, dtype) for what in ("step", "logistic", "softmax") for dtype in ("float32", "float64")),
    *((what, dtype) for what, dtypes in DTYPES_OF.items() for dtype in dtypes),
]


def test_all_that_is_checked_is_known():
    assert {what for what, _ in WHAT} == set(trials.TRIALS)


@pytest.mark.parametrize(("what", "dtype"), WHAT)
def test_our_own_pass_with_room_to_spare(what, dtype, device: Gpu):
    import cupy

    backend = backends.select(device.name)
    if what == "step":
        ours = CudaStep(backend, cupy, dtype)
    else:
        ours = Rows(cupy) if what in DTYPES_OF else CudaLoss(cupy, what, dtype)
    found = trusted.training(what, ours, backend, dtype)
    assert found.good
    assert found.error <= found.bound / 10
    assert found.problems > 0


@pytest.mark.parametrize(("what", "dtype"), [pair for pair in WHAT if pair[0] in DTYPES_OF])
def test_what_runs_instead_of_the_kernels_for_rows_is_right(what, dtype, device: Gpu):
    import cupy

    class Instead(ArrayRows):
        def add(self, target, ids, rows, direct):
            super().add(target, ids, rows)

    assert trusted.training(what, Instead(cupy), backends.select(device.name), dtype).good
