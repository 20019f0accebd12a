"""Which level of a GPU does a call, what becomes of one that is wrong, and what is said of it: with planted levels."""

import logging
import pickle
from unittest import mock

import numpy as np
import pytest
from xlstm.backends.cuda.cudnn.library import CudnnError
from xlstm.backends.cuda.errors import DeviceLost
from xlstm.backends.cuda.levels import FEW_STEPS, Level, LevelledCell, Work, in_order, precision_of

import xlstm
from xlstm import backends, bench, cells, trusted

from ..standin import machine
from .planted import Planted, as_tf32, off_by, planted, right

N, T, D, H = 3, 8, 4, 5


PROBLEMS = list(trusted.problems())
FEW = [problem for problem in PROBLEMS if problem.shape == (4, 6, 5, 7) and not problem.reverse]


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A machine on which the check is short, where it is not what is tested: a stand-in is slow."""
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    monkeypatch.setattr(trusted, "problems", lambda: FEW)
    with machine(devices=2) as gpu:
        yield gpu


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def makes(**options):
    """Makes levels with these faults."""
    return lambda cell, dtype, precision: Planted(cell, **options)


def series(rows=N, time=T):
    x = np.random.default_rng(0).standard_normal((rows, time, D)).astype(np.float32)
    return backends.select("cuda").from_host(x)


# ---------------------------------------------------------------- the order of levels


@pytest.mark.parametrize(
    ("time", "one_hot", "first"),
    [(100, False, "cudnn"), (FEW_STEPS, False, "cudnn"), (FEW_STEPS - 1, False, "fused"), (1, False, "fused"),
     (100, True, "fused")],
)  # fmt: skip
def test_the_rule(time, one_hot, first):
    both = in_order(Work(time, one_hot), backends.LEVELS)
    assert both[0] == first
    assert sorted(both) == ["cudnn", "fused"], "the other one is tried next"
    for only in backends.LEVELS:
        assert in_order(Work(time, one_hot), (only,)) == (only,)


def test_a_level_computes_at_least_as_precisely_as_it_is_allowed():
    for precision in backends.PRECISIONS:
        assert precision_of("cudnn", "float32", precision) == precision
        assert precision_of("cudnn", "float64", precision) == precision_of("fused", "float64", precision) == "highest"
    found = [precision_of("fused", "float32", precision) for precision in backends.PRECISIONS]
    assert found == ["highest", "high", "high", "high"]


# ---------------------------------------------------------------- each call by its level


def test_each_call_has_its_level_and_the_tape_remembers_it():
    with planted(cudnn=right, fused=right) as made:
        layer = xlstm.LSTM(D, H, device="cuda", seed=0)
        (cudnn,), (fused,) = made["cudnn"], made["fused"]
        for level in (cudnn, fused):
            level.calls.clear()
            level.backward_calls = 0
        assert layer.kernels == "cudnn 9.1"
        _, _, long_tape = layer.forward(series())
        _, _, short_tape = layer.forward(series(time=2))
        assert (cudnn.calls, fused.calls) == ([(N, T)], [(N, 2)])
        for tape, calls in ((short_tape, (0, 1)), (long_tape, (1, 1))):
            layer.backward(tape, None, (layer.backend.from_host(np.ones((1, N, H), np.float32)), None))
            assert (cudnn.backward_calls, fused.backward_calls) == calls
        call = layer.prepare()
        call(series(time=1))
        call(series())
        layer.prepare()(series(), lengths=[8, 3, 1])
    copies = made["cudnn"][1:], made["fused"][1:]
    assert copies == ([], []), "what was checked once is made once"
    assert cudnn.calls[1:] == [(N, T), (N, T)]
    assert fused.calls[1:] == [(N, 1)]


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
@pytest.mark.parametrize("levels", [("cudnn", "fused"), ("cudnn",), ("fused",)])
def test_whoever_does_it_the_results_are_those_of_the_cpu(cell, levels):
    cls = {"lstm": xlstm.LSTM, "rnn": xlstm.RNN, "gru": xlstm.GRU}[cell]
    rng = np.random.default_rng(2)
    x, d = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, 2 * H))
    with planted(**dict.fromkeys(levels, right)):
        on_gpu = cls(D, H, num_layers=2, bidirectional=True, dtype="float64", device="cuda", seed=1)
        on_cpu = on_gpu.to("cpu")
        assert (on_gpu.kernels == "fused") == (levels == ("fused",))
        results = []
        for layer in (on_cpu, on_gpu):
            move, back = layer.backend.from_host, layer.backend.to_host
            outputs, _, tape = layer.forward(move(x), lengths=[3, 8, 5])
            dx, _ = layer.backward(tape, move(d))
            results.append([back(array) for array in (outputs, dx, *layer.gradients.values())])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-12)


def test_what_one_level_cannot_do_the_next_does_and_that_is_said_once(caplog):
    refuses = makes(refuses=7)
    with planted(cudnn=refuses, fused=right) as made:
        layer = xlstm.LSTM(D, H, device="cuda", seed=0)
        assert layer.kernels == "cudnn 9.1"
        (fused,) = made["fused"]
        fused.calls.clear()
        for _ in range(3):
            _, _, tape = layer.forward(series(), lengths=[8, 2, 1])
            layer.backward(tape, None, None)
        assert fused.calls == [(N, T)] * 3
    assert said(caplog) == ["cudnn 9.1 leaves a call to others: 8 steps are too many"]


def test_what_no_level_can_do_the_array_code_does():
    refuses = makes(refuses=7)
    with planted(cudnn=refuses, fused=refuses):
        layer = xlstm.GRU(D, H, device="cuda", seed=0)
        reference = xlstm.GRU(D, H, device="cuda", seed=0, kernels="reference")
        results = []
        for one in (layer, reference):
            outputs, _, tape = one.forward(series(), lengths=[8, 2, 1])
            dx, _ = one.backward(tape, outputs, None)
            results.append([one.backend.to_host(array) for array in (outputs, dx, one.gradients.flat)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_level_by_name_does_every_call_or_raises():
    with planted(cudnn=makes(refuses=7), fused=right) as made:
        layer = xlstm.LSTM(D, H, device="cuda", kernels="cudnn")
        assert not made["fused"], "nobody asked for it"
        layer(series(time=1))
        with pytest.raises(
            RuntimeError, match=r"kernels='cudnn' cannot do this call: 8 steps are too many\. Use .*auto"
        ):
            layer(series())
        assert xlstm.LSTM(D, H, device="cuda", kernels="fused").kernels == "fused"
        assert xlstm.LSTM(D, H, device="cuda", kernels="compiled").kernels == "cudnn 9.1"
        assert xlstm.LSTM(D, H, device="cuda", kernels="reference").kernels == "reference"


def test_cells_of_ones_own_run_as_array_code():
    with planted(cudnn=right, fused=right) as made:
        assert xlstm.GRU(D, H, device="cuda", reset_after=False).kernels == "reference"
        with pytest.raises(RuntimeError, match="fused has no kernels of the gru_reset_before cell"):
            xlstm.GRU(D, H, device="cuda", reset_after=False, kernels="fused")
    assert made == {"cudnn": [], "fused": []}


def test_the_cpu_has_no_levels_of_a_gpu():
    for name in ("fused", "cudnn"):
        for make in (
            lambda: xlstm.LSTM(D, H, kernels=name),  # noqa: B023
            lambda: xlstm.SequenceClassifier(device="cpu", kernels=name).fit([[1.0], [2.0]], [0, 1]),  # noqa: B023
            lambda: backends.find_step(backends.select("cpu"), "float32", name),  # noqa: B023
        ):
            with pytest.raises(RuntimeError, match=f"kernels='{name}' is for CUDA GPUs, and this is the CPU.*'auto'"):
                make()


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ({"distributions": ()}, r"no GPU can be used: CuPy is not installed\. .*"),
        ({"driver": False}, r"no GPU can be used: CuPy 14\.2\.0 found no working NVIDIA driver\. .*"),
        ({}, "a step of this work is .* million operations, and below 10 million the CPU is expected to be faster"),
    ],
)
def test_a_level_where_auto_took_the_cpu_says_why(there, reason):
    told = f"^kernels='fused' is for CUDA GPUs, and device='auto' took the CPU: {reason}"
    with planted(fused=right), machine(**there):
        with pytest.raises(RuntimeError, match=rf"{told}\. Use device='cuda', or kernels='auto'\.$"):
            xlstm.LSTM(D, H, device="auto", kernels="fused")
        clf = xlstm.SequenceClassifier(kernels="fused")
        with pytest.raises(RuntimeError, match=told):
            clf.fit([[1.0], [2.0]], [0, 1])


def test_a_level_on_a_layer_that_names_no_device_says_which_one_to_name():
    with pytest.raises(RuntimeError, match=r"unless device= or XLSTM_DEVICE names another\. Use device='cuda', ker"):
        xlstm.LSTM(D, H, kernels="cudnn")


def test_the_other_form_of_the_gru_has_no_compiled_kernels():
    told = "^no compiled kernels of the gru_reset_before cell in float32 come with this version for a CPU"
    with pytest.raises(RuntimeError, match=rf"{told}\. Use kernels='auto' or kernels='reference'\.$"):
        xlstm.GRU(D, H, device="cpu", kernels="compiled", reset_after=False)


@pytest.mark.parametrize(
    ("given", "known"),
    [("tf32", "high"), ("half", "float16"), ("fp16", "float16"), ("bf16", "bfloat16"), ("float32", "highest")],
)
def test_precisions_by_their_names_elsewhere(given, known):
    for make in (
        lambda: xlstm.LSTM(D, H, device="cpu", precision=given),
        lambda: xlstm.SequenceClassifier(precision=given).fit([[1.0], [2.0]], [0, 1]),
    ):
        with pytest.raises(ValueError, match=f"got '{given}'\\. Did you mean '{known}'\\?$"):
            make()
    with pytest.raises(ValueError, match=r"got 'low'\.$"):
        xlstm.LSTM(D, H, device="cpu", precision="low")


def test_the_precision_of_a_layer_is_read_only(tmp_path):
    layer = xlstm.LSTM(D, H, device="cpu", precision="high")
    with pytest.raises(AttributeError, match="precision"):
        layer.precision = "half"
    layer.save(tmp_path / "layer.xlstm")
    for copied in (layer.to("cpu"), pickle.loads(pickle.dumps(layer)), xlstm.load(tmp_path / "layer.xlstm")):
        assert copied.precision == "high"
    older = pickle.loads(pickle.dumps(layer))
    del older.__dict__["precision"]  # as in a pickle from before there was one
    assert pickle.loads(pickle.dumps(older)).precision == "highest"


def test_bfloat16_where_there_is_none_says_what_to_do():
    told = (
        r"needs compiled kernels on a CPU; here run array code on the CPU \(asked for\)\. Leave precision out; on a "
        r"GPU give it to the layer or the estimator, when it is made"
    )
    with pytest.raises(RuntimeError, match=told):
        xlstm.LSTM(D, H, device="cpu", kernels="reference").prepare(precision="bfloat16")
    with (
        planted(fused=right),
        pytest.raises(RuntimeError, match="here run fused kernels on cuda:0"),
    ):
        xlstm.LSTM(D, H, device="cuda").prepare(precision="bfloat16")


def test_copies_on_a_gpu_keep_their_level_and_files_ask_for_none(tmp_path):
    with planted(fused=right):
        layer = xlstm.LSTM(D, H, device="cuda", kernels="fused", precision="high", seed=0)
        assert (layer.to("cpu").requested_kernels, layer.to("cpu").precision) == ("auto", "high")
        for gpu in ("cuda", "cuda:1"):
            assert layer.to(gpu).requested_kernels == layer.to(gpu).kernels == "fused"
        layer.save(tmp_path / "layer.xlstm")
        loaded = xlstm.LSTM.load(tmp_path / "layer.xlstm")
        assert (loaded.device, loaded.requested_kernels, loaded.precision) == ("cpu", "auto", "high")
        X, y = [[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]] * 3, [0, 1] * 3
        clf = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, device="cuda", kernels="fused", precision="bfloat16")
        clf.fit(X, y)
        assert clf.kernels_ == "fused"
        assert clf.to("cpu").fitted_state().model.precision == "bfloat16"
        assert clf.to("cpu").predict(X).tolist() == clf.predict(X).tolist()
        clf.save(tmp_path / "clf.xlstm")
    loaded = xlstm.load(tmp_path / "clf.xlstm", device="cpu")
    assert (loaded.kernels, loaded.precision) == ("fused", "bfloat16"), "as it was set"
    np.testing.assert_allclose(loaded.predict_proba(X), clf.predict_proba(X), rtol=1e-5)


# ---------------------------------------------------------------- trusted only after it was seen to work


@pytest.mark.parametrize(
    ("wrong", "dtype", "precision", "sentence"),
    [
        ({"wrong": off_by(1e-4)}, "float32", "highest", r"\w+ \(N=4, .*\) differs by \S+e-04 from the array code"),
        ({"wrong": off_by(1e-9)}, "float64", "highest", r"differs by \S+e-(09|10) from the array code, where 1e-12 is"),
        ({"wrong": as_tf32}, "float32", "highest", r"differs by \S+e-0[34] from the array code, where 1e-05"),
        ({"wrong": off_by(float("nan"))}, "float32", "bfloat16", "differs by inf from the array code, where 6e-02 is"),
        ({"error": RuntimeError("no image\nof it")}, "float32", "highest", r"check \(RuntimeError: no image\)"),
        ({"error": ZeroDivisionError()}, "float32", "highest", r"check \(ZeroDivisionError: ZeroDivisionError\)"),
        ({"refuses": 1}, "float32", "highest", "it can do none of the problems of its check"),
    ],
    ids=["1e-4", "1e-9 in float64", "TF32", "NaN", "raises", "raises nothing to say", "can do nothing"],
)  # fmt: skip
def test_a_level_that_is_wrong_is_not_used(wrong, dtype, precision, sentence, caplog):
    with planted(cudnn=makes(**wrong), fused=right):
        for _ in range(2):
            layer = xlstm.LSTM(D, H, device="cuda", dtype=dtype, precision=precision)
            assert layer.kernels == "fused"
        (message,) = said(caplog)
        start = f"cudnn 9.1 is not used for the lstm cell in {dtype} (precision '{precision}') on cuda:0: "
        assert message.startswith(start)
        assert message.endswith("; fused is used instead")
        with pytest.raises(RuntimeError, match=f"{sentence}.*Use kernels='auto' or kernels='reference'"):
            xlstm.LSTM(D, H, device="cuda", dtype=dtype, precision=precision, kernels="cudnn")
    assert len(said(caplog)) == 1


def test_without_any_trusted_level_the_array_code_runs(caplog):
    with planted(cudnn=makes(wrong=off_by(1e-3)), fused=makes(wrong=off_by(1e-2))):
        layer = xlstm.RNN(D, H, device="cuda", seed=0)
        assert layer.kernels == "reference"
        layer(series())
        with pytest.raises(RuntimeError, match=r"cudnn 9\.1 is not used .*; fused is not used .*"):
            xlstm.RNN(D, H, device="cuda", kernels="compiled")
    assert [message.endswith("the array code is used instead") for message in said(caplog)] == [True, True]


@pytest.mark.parametrize("kernels", ["auto", "cudnn"])
def test_an_algorithm_that_is_wrong_is_done_without(kernels, caplog):
    """What keeps the weights on the chip is tried first; without it the level is right."""

    class Persistent(Planted):
        persistent = True

        def _params(self, params):
            return {name: array * (1 + 1e-3 * self.persistent) for name, array in params.items()}

    with planted(cudnn=lambda cell, dtype, precision: Persistent(cell), fused=right) as made:
        for _ in range(2):
            layer = xlstm.LSTM(D, H, device="cuda", kernels=kernels)
            assert layer.kernels == "cudnn 9.1"
    (level,) = made["cudnn"]
    assert level.persistent is False
    (message,) = said(caplog)
    assert message.startswith(
        "cudnn 9.1 does without its persistent algorithms for the lstm cell in float32 (precision"
    )
    assert message.endswith("; its plain algorithm is used instead")


def test_a_level_that_is_wrong_with_and_without_them_is_not_used(caplog):
    class Persistent(Planted):
        persistent = True

    with planted(cudnn=lambda cell, dtype, precision: Persistent(cell, wrong=off_by(1e-3)), fused=right):
        assert xlstm.LSTM(D, H, device="cuda").kernels == "fused"
    (message,) = said(caplog)
    assert message.startswith("cudnn 9.1 is not used for the lstm cell")


def test_tf32_is_right_where_it_is_allowed(caplog):
    with planted(cudnn=makes(wrong=as_tf32), fused=right):
        assert xlstm.LSTM(D, H, device="cuda", precision="high").kernels == "cudnn 9.1"
        assert xlstm.LSTM(D, H, device="cuda", precision="bfloat16").kernels == "cudnn 9.1"
        assert xlstm.LSTM(D, H, device="cuda").kernels == "fused"
    assert len(said(caplog)) == 1


def test_each_question_is_asked_once_a_device_cell_dtype_and_precision():
    with planted(cudnn=right, fused=right) as made:
        for device in ("cuda", "cuda:1"):
            for _ in range(2):
                for cls in (xlstm.LSTM, xlstm.RNN):
                    cls(D, H, device=device)
                    cls(D, H, device=device, dtype="float64", precision="high")
                    cls(D, H, device=device, precision="bfloat16")
                    cls(D, H, device=device, precision="float16")
    assert len(made["cudnn"]) == 2 * 2 * 4
    assert len(made["fused"]) == 2 * 2 * 3, "both kinds of 16 bits are TF32 there"


def test_the_check_disturbs_nobody(gpu):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002  # the one that all share
    layer_before = xlstm.LSTM(D, H, seed=4).parameters.flat
    with planted(cudnn=right):
        layer = xlstm.LSTM(D, H, device="cuda:1", seed=4)
        assert layer.kernels == "cudnn 9.1"
        np.testing.assert_array_equal(layer.backend.to_host(layer.parameters.flat), layer_before)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert gpu.current == 0


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`."""


class CUBLASError(RuntimeError):
    """As `cupy_backends.cuda.libs.cublas.CUBLASError`."""

    def __init__(self, status):
        super().__init__(f"CUBLAS_STATUS_{status}")
        self.status = status


def greedy(errors):
    """Makes a level that raises each of these errors once."""

    class Greedy(Planted):
        def forward(self, *args, **options):
            if errors:
                raise errors.pop()
            return super().forward(*args, **options)

    return lambda cell, dtype, precision: Greedy(cell)


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("Out of memory allocating 512 bytes"), CUBLASError(3), CUBLASError(1)], ids=repr
)
def test_memory_that_ends_in_the_check_is_no_verdict(error, gpu):
    import cupy

    errors, full = [error] * 2, (2**20, 2**34)
    with planted(cudnn=greedy(errors)), mock.patch.object(cupy.cuda.runtime, "memGetInfo", return_value=full):
        with pytest.raises(MemoryError, match="cuda:0 has no memory left"):
            xlstm.LSTM(D, H, device="cuda")
        assert xlstm.LSTM(D, H, device="cuda").kernels == "cudnn 9.1"


def test_the_check_gives_back_what_the_pool_keeps_and_tries_again():
    """cuBLAS allocates past CuPy's pool, which keeps all that was ever used."""
    import cupy

    pool, kept, errors = cupy.get_default_memory_pool(), [], [CUBLASError(3)]

    class Greedy(Planted):
        def forward(self, *args, **options):
            kept.append(pool.free_bytes())
            if errors:
                raise errors.pop()
            return super().forward(*args, **options)

    backends.select("cuda").from_host(np.zeros(2**20))
    with planted(cudnn=lambda cell, dtype, precision: Greedy(cell)):
        assert xlstm.LSTM(D, H, device="cuda").kernels == "cudnn 9.1"
    assert kept[0] > 2**22 > kept[1]


def test_cublas_that_does_not_begin_for_another_reason_is_a_fault():
    with planted(cudnn=greedy([CUBLASError(1)]), fused=right):
        assert xlstm.LSTM(D, H, device="cuda").kernels == "fused"


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""

    def __init__(self, status):
        super().__init__(f"cudaErrorOfNumber{status}: what CUDA says")
        self.status = status


DIED = CudnnError("cudnnRNNForward", 5003, "CUDNN_STATUS_EXECUTION_FAILED_CUDART", "")


@pytest.mark.parametrize("error", [CUDARuntimeError(700), DIED], ids=["CUDA's", "cuDNN's"])
def test_a_device_that_is_lost_in_the_check_is_no_verdict(error, caplog):
    with planted(cudnn=makes(error=error), fused=right) as made:
        with pytest.raises(DeviceLost, match=r"cuda:0 was lost .*start the process again") as raised:
            xlstm.LSTM(D, H, device="cuda")
        assert raised.value.__cause__ is error
        assert not made["fused"], "nothing works on it any more"
    assert not said(caplog)


def test_a_level_is_made_on_its_own_device(gpu):
    """Else a model on the second GPU would make a context, and compile, on the first."""
    seen = []

    def make(cell, dtype, precision):
        seen.append(gpu.current)
        return right(cell, dtype, precision)

    with planted(cudnn=make):
        xlstm.LSTM(D, H, device="cuda:1")
    assert seen == [1]
    assert gpu.current == 0


class CompileException(Exception):
    """As `cupy.cuda.compiler.CompileException`, which is no RuntimeError."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CompileException("nvrtc: error: no such architecture\nmore"), "cudnn: nvrtc: error: no such architecture"),
        (OSError("libcublas.so: no such file"), "cudnn: libcublas.so: no such file"),
    ],
)
def test_a_level_that_cannot_be_made_is_not_there(error, told):
    def fails(cell, dtype, precision):
        raise error

    with planted(cudnn=fails, fused=right):
        assert xlstm.LSTM(D, H, device="cuda").kernels == "fused"
        with pytest.raises(RuntimeError, match=f"^{told}. Use kernels='auto'"):
            xlstm.LSTM(D, H, device="cuda", kernels="cudnn")


@pytest.mark.parametrize("error", [OutOfMemoryError("Out of memory"), CUDARuntimeError(719)])
def test_memory_or_a_device_that_ends_while_a_level_is_made_is_no_verdict(error):
    errors = [error]

    def fails(cell, dtype, precision):
        if errors:
            raise errors.pop()
        return right(cell, dtype, precision)

    with planted(cudnn=fails, fused=right):
        with pytest.raises((MemoryError, DeviceLost), match=r"cuda:0 (has no memory left|was lost)"):
            xlstm.LSTM(D, H, device="cuda")
        assert xlstm.LSTM(D, H, device="cuda").kernels == "cudnn 9.1"


def test_rows_of_full_length_have_no_order():
    """cuDNN's algorithms for equal lengths are for those whose lengths are not given."""
    seen = []

    class Seeing(Planted):
        def forward(self, params, x, state=None, lengths=None, **options):
            seen.append(lengths)
            return super().forward(params, x, state, lengths, **options)

    import cupy

    backend = backends.select("cuda")
    layer = xlstm.RNN(D, H, device="cuda", kernels="reference", seed=0)
    whole = LevelledCell(cupy, "rnn", [Level("cudnn", "cudnn", Seeing("rnn"))], None)
    with backend.current():
        for lengths in ([T] * N, [T] * (N - 1) + [1]):
            whole.forward(layer.stack.of_cells[0], series(), None, lengths, keep=False, outputs=False, tokens=None)
    assert seen[0] is None
    assert seen[1].lengths == [T] * (N - 1) + [1]
    assert whole.order(None, [T] * N, N, T, None) is None


# ---------------------------------------------------------------- the check itself


def agreement(level, cell):
    """Of a level with the array code, in all problems."""
    import cupy

    whole = LevelledCell(cupy, cell, [Level("fused", "fused", level)], None)
    return trusted.agreement(cell, whole, backends.select("cuda"), "float64", "highest", PROBLEMS, KNOWN)


KNOWN = {}


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
def test_the_check_sees_each_parameter(cell):
    """A level that reads one parameter a little wrong differs."""
    for name in cells.by_name(cell).shapes(1, 1):
        level = Planted(cell)
        level._params = lambda params, name=name: {**params, name: params[name] * 1.001}
        assert agreement(level, cell).error > 1e-6
    assert agreement(Planted(cell), cell).error < 1e-14


@pytest.mark.parametrize("fault", ["lengths", "reverse", "state", "d_state", "out", "accumulate"])
def test_the_check_sees_what_is_left_out(fault):
    class Faulty(Planted):
        def forward(self, params, x, state=None, lengths=None, **options):
            if fault == "lengths" and lengths is not None:
                lengths.lengths = [min(length + 1, lengths.time) for length in lengths.lengths]
            if fault == "reverse":
                options["reverse"] = False
            if fault == "out":
                options["column"] = 0
            return super().forward(params, x, None if fault == "state" else state, lengths, **options)

        def backward(self, params, tape, d_outputs=None, d_state=None, *rest, **options):
            if fault == "accumulate":
                options["accumulate"] = True
            return super().backward(params, tape, d_outputs, None if fault == "d_state" else d_state, *rest, **options)

    assert not agreement(Faulty("lstm"), "lstm").good


def test_problems_are_those_that_were_agreed_on():
    assert {problem.shape for problem in PROBLEMS} == {(4, 6, 5, 7), (4, 6, 8, 32)}
    for shape in {problem.shape for problem in PROBLEMS}:
        found = {problem[1:4] for problem in PROBLEMS if problem.shape == shape}
        assert found >= {(reverse, True, states) for reverse in (False, True) for states in (False, True)}
        # Rows of one length, for which alone cuDNN has algorithms that keep the weights on the chip.
        assert (False, False, True) in found
    assert [trusted.bound_for("float32", precision) for precision in ("highest", "high")] == [1e-5, 1e-2]
    assert trusted.bound_for("float64", "high") == 1e-12


def test_what_is_checked_before_use_is_all_that_a_level_has():
    """Inference has plans and limits of its own; float16 an algorithm for sizes of which no other problem is."""
    for precision in ("highest", "float16"):
        shapes = {(problem.shape, problem.ragged) for problem in asked(precision)}
        assert (((8, 6, 128, 128), False) in shapes) == (precision == "float16")
        inference = {(problem.shape[3], problem.ragged) for problem in asked(precision) if problem.inference}
        assert inference >= {(H, ragged) for H in (7, 32) for ragged in (False, True)}
        assert any(problem.tokens and problem.table for problem in asked(precision))


def asked(precision):
    """The problems of the check at first use, which a fixture shortens."""
    return [*PROBLEMS, *(problem for problem in trusted.at_first_use(precision) if problem not in FEW)]


@pytest.mark.parametrize("fault", ["packed", "embedded", "added", "odd offset"])
def test_the_check_sees_what_only_some_calls_do(fault):
    class Faulty(Planted):
        def pack(self, params, precision=None):
            return {name: array * 1.001 for name, array in params.items()} if fault == "packed" else None

        def forward(self, params, x, *rest, packed=None, tokens=None, **options):
            if tokens is not None and tokens[1] is not None and fault == "embedded":
                tokens = tokens[0], tokens[1] * 1.001
            if x is not None and x.data.ptr % 8 and fault == "odd offset":
                x = x * 1.001
            return super().forward(params if packed is None else packed, x, *rest, tokens=tokens, **options)

        def backward(self, *args, **options):
            if fault == "added":
                options["accumulate"] = False
            return super().backward(*args, **options)

    import cupy

    whole = LevelledCell(cupy, "rnn", [Level("fused", "fused", Faulty("rnn"))], None)
    found = trusted.agreement("rnn", whole, backends.select("cuda"), "float32", "highest", PROBLEMS, KNOWN)
    assert found.error > 1e-5


def test_what_is_right_is_computed_on_the_host_once(gpu, monkeypatch):
    """In float64, whatever the level computes in: nothing of the GPU can make it wrong."""
    seen, results = [], trusted._results
    monkeypatch.setattr(
        trusted,
        "_results",
        lambda cell, implementation, backend, dtype, problem: (
            seen.append((backend.device, dtype)) or results(cell, implementation, backend, dtype, problem)
        ),
    )
    known = {}
    for dtype, precision in [("float32", "highest"), ("float32", "high"), ("float64", "highest")]:
        found = trusted.agreement("gru", Planted("gru"), backends.select("cuda"), dtype, precision, FEW, known)
        assert found.error < trusted.bound_for(dtype, precision)
        assert (found.error > 1e-9) == (dtype == "float32")
    assert seen.count(("cpu", "float64")) == len(FEW)
    assert {device for device, _ in seen} == {"cpu", "cuda:0"}
    assert len(seen) == 4 * len(FEW)


# ---------------------------------------------------------------- what is told


@pytest.mark.parametrize(("value", "is_said"), [(None, False), ("0", False), ("1", True)])
def test_report_names_what_makes_the_array_code_less_precise(value, is_said, monkeypatch):
    monkeypatch.delenv("CUPY_TF32", raising=False)
    if value is not None:
        monkeypatch.setenv("CUPY_TF32", value)
    with planted(fused=right):
        cpu, *gpus = backends.report()
    told = "; CUPY_TF32=1 is set: the array code multiplies float32 as TF32"
    assert [told in row.about_kernels for row in gpus] == [is_said] * 2
    assert "CUPY_TF32" not in cpu.about_kernels


def test_report_tells_of_levels():
    with planted(cudnn=makes(error=RuntimeError("boom")), fused=right):
        _, first, second = backends.report()
    for row in (first, second):
        assert row.kernels == "fused"
        assert "it failed its check (RuntimeError: boom); fused: planted" in row.about_kernels


def test_report_goes_on_where_a_gpu_has_no_memory_for_the_check():
    with planted(cudnn=makes(error=MemoryError("cuda:0 has no memory left")), fused=right):
        cpu, first, second = backends.report()
        assert bench.paths("cuda") == ["fused", "reference"]
    assert cpu.usable
    for row in (first, second):
        assert (row.usable, row.kernels) == (False, "")
        assert "no memory left" in row.detail


def test_paths_are_those_that_can_be_used():
    with planted(cudnn=right, fused=right):
        assert bench.paths("cuda") == ["cudnn", "fused", "reference"]
        assert bench.paths("cuda", "gru_reset_before") == ["reference"]
    with planted(fused=right):
        assert bench.paths("cuda:1") == ["fused", "reference"]


def test_the_log_is_the_loggers_own(caplog):
    with planted(fused=makes(wrong=off_by(1))), caplog.at_level(logging.ERROR, logger="xlstm"):
        xlstm.LSTM(D, H, device="cuda")
    assert not said(caplog)
