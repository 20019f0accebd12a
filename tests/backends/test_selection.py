"""Which device is chosen, and what is said about it, in each state that a machine can be in."""

import copy
import importlib.metadata
import logging
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import xlstm
from xlstm import backends

from ..standin import Machine, machine

INSTALL = r"pip install 'cupy-cuda12x\[ctk\]>=14'"

# What a machine without a usable GPU is like, what the user reads, and whether "auto" says it.
STATES = {
    "no CuPy": (
        {"distributions": ()},
        rf"CuPy is not installed\. Install it with: {INSTALL}",
    ),
    "CuPy lacks a library": (
        {"import_error": ImportError("libcublas.so.12: cannot open shared object file: No such file or directory")},
        rf"importing CuPy failed \(libcublas\.so\.12: cannot open .*\)\. Reinstall it: {INSTALL}",
    ),
    "CuPy cannot be loaded": (
        {"import_error": OSError("[WinError 126] The specified module could not be found")},
        rf"importing CuPy failed \(\[WinError 126\].*\)\. Reinstall it: {INSTALL}",
    ),
    "no driver": (
        {"driver": False},
        r"CuPy 14\.2\.0 found no working NVIDIA driver\. Install the driver .*smi .* In a container, .*--gpus all",
    ),
    "no device": (
        {"devices": 0},
        r"CuPy 14\.2\.0 and the driver work, but there is no CUDA device\. Check nvidia-smi, .*CUDA_VISIBLE_DEVICES",
    ),
    "two CuPy packages": (
        {"distributions": ("cupy-cuda13x", "cupy-cuda12x")},
        r"cupy-cuda12x and cupy-cuda13x are installed together .*pip uninstall -y cupy-cuda12x cupy-cuda13x; "
        rf"then {INSTALL}",
    ),
    "no NVRTC": (
        {"launch_error": RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: cannot open\nHint: install it")},
        rf"cuda:0 is there, but a first operation on it failed \(CuPy failed to load libnvrtc\.so\.12: OSError: cannot "
        rf"open\)\. .*\(cuBLAS, NVRTC\): {INSTALL}",
    ),
}
state = pytest.mark.parametrize("state", STATES)
LARGE = 2.0 * backends.AUTO_MIN_FLOPS_PER_STEP


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


@pytest.fixture
def gpu():
    with machine(devices=2) as gpu:
        yield gpu


def said(caplog):
    return [(record.name, record.levelname, record.getMessage()) for record in caplog.records]


# ---------------------------------------------------------------- machines without a usable GPU


@state
def test_cpu_never_looks_for_a_gpu(state, caplog):
    with machine(**STATES[state][0]):
        assert backends.select("cpu").device == "cpu"
        assert xlstm.LSTM(2, 3).device == "cpu"  # the default of a layer
        assert sys.modules.get("cupy") is None
    assert not said(caplog)


@state
def test_cuda_says_what_is_missing_and_what_mends_it(state, caplog):
    arguments, sentence = STATES[state]
    with machine(**arguments):
        for use in (backends.select, lambda device: xlstm.LSTM(2, 3, device=device), xlstm.LSTM(2, 3).to):
            with pytest.raises(RuntimeError, match=sentence):
                use("cuda")
    assert not said(caplog)


@state
def test_auto_falls_back_and_says_so_once(state, caplog):
    arguments, sentence = STATES[state]
    with machine(**arguments):
        assert [backends.select("auto", flops_per_step=LARGE).device for _ in range(3)] == ["cpu"] * 3
        assert backends.select(None).device == "cpu"  # "auto" by default
    if state == "no CuPy":
        assert not said(caplog)  # nobody expects a GPU there
        return
    ((logger, level, message),) = said(caplog)
    assert (logger, level) == ("xlstm", "WARNING")
    assert message.startswith("using the CPU: ")
    with machine(**arguments), pytest.raises(RuntimeError, match=sentence) as refusal:
        backends.select("cuda")
    assert message.removeprefix("using the CPU: ") == str(refusal.value)


@state
def test_report_says_why_not(state, caplog):
    arguments, sentence = STATES[state]
    with machine(**arguments):
        cpu, cuda = backends.report()
        with pytest.raises(RuntimeError, match=sentence) as refusal:
            backends.select("cuda")
    assert (cpu.device, cpu.usable, cpu.library) == ("cpu", True, f"numpy {np.__version__}")
    assert cpu.detail
    assert cpu.kernels
    assert cuda.device in ("cuda", "cuda:0")  # with a number where the driver counts one
    assert (cuda.usable, cuda.detail) == (False, str(refusal.value))
    assert not said(caplog)


def test_devices_by_their_names_elsewhere(monkeypatch):
    for name, known in (("gpu", "cuda"), ("CUDA", "cuda"), ("CPU", "cpu")):
        for make in (
            lambda: xlstm.LSTM(2, 3, device=name),  # noqa: B023
            lambda: xlstm.SequenceClassifier(device=name).fit([[1.0], [2.0]], [0, 1]),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=f"got '{name}'\\. Did you mean '{known}'\\?$"):
                make()
        monkeypatch.setenv("XLSTM_DEVICE", name)
        with pytest.raises(ValueError, match=f"XLSTM_DEVICE must be .*Did you mean '{known}'"):
            xlstm.LSTM(2, 3)


def test_wrong_results_are_noticed():
    with machine():
        import cupy

        with (
            mock.patch.object(cupy, "tanh", cupy.zeros_like),
            pytest.raises(RuntimeError, match="computes wrong results"),
        ):
            backends.select("cuda")


def test_a_cupy_that_is_too_old_for_its_namespace_is_refused(caplog):
    with machine():
        import cupy

        del cupy.arccosh  # a name of array_api_compat's
        with pytest.raises(RuntimeError, match=f"cuda:0 is there, but .*arccosh.*{INSTALL}"):
            backends.select("cuda")
        assert backends.select("auto").device == "cpu"
    assert len(said(caplog)) == 1


def test_what_a_broken_uninstallation_left_behind_is_passed_over():
    nameless = [SimpleNamespace(metadata={}), SimpleNamespace(metadata=None)]
    with machine(), mock.patch.object(importlib.metadata, "distributions", return_value=nameless):
        assert backends.select("cuda").device == "cuda:0"


# ---------------------------------------------------------------- a usable GPU, and two


def test_a_usable_gpu_is_taken(gpu: Machine, caplog):
    assert backends.select("cuda").device == "cuda:0"
    assert backends.select("cuda") is backends.select("cuda:0") is backends.select("auto")
    assert backends.select("auto", flops_per_step=LARGE).device == "cuda:0"
    assert xlstm.LSTM(2, 3, device="cuda").device == "cuda:0"
    assert xlstm.LSTM(2, 3).device == "cpu"
    assert gpu.current == 0
    assert not said(caplog)


def test_the_second_gpu_is_taken_where_it_is_named(gpu: Machine):
    assert backends.select("cuda:1").device == "cuda:1"
    assert xlstm.RNN(2, 3, device="cuda:1").device == "cuda:1"
    assert gpu.current == 0, "the current device is the user's"


def test_a_gpu_that_is_not_there_is_refused_by_number(gpu: Machine):
    with pytest.raises(RuntimeError, match=r"no device cuda:7: this machine has cuda:0, cuda:1\."):
        backends.select("cuda:7")


def test_report_names_each_gpu(gpu: Machine):
    cpu, first, second = backends.report()
    assert cpu.device == "cpu"
    for number, row in enumerate((first, second)):
        assert (row.device, row.usable, row.library) == (f"cuda:{number}", True, "cupy 14.2.0")
        assert row.detail == "Stand-in GPU, 8 GiB"
        assert row.kernels


def test_report_keeps_the_gpu_that_works():
    with machine(devices=2) as gpu:
        backends.select("cuda:0")
        gpu.launch_error = RuntimeError("an ECC error")
        _, first, second = backends.report()
    assert (first.device, first.usable) == ("cuda:0", True)
    assert not second.usable
    assert "cuda:1 is there, but a first operation on it failed (an ECC error)" in second.detail


def test_a_copy_uses_the_same_device(gpu: Machine):
    for device in ("cpu", "cuda", "cuda:1"):
        backend = backends.select(device)
        assert copy.deepcopy(backend) is pickle.loads(pickle.dumps(backend)) is backend


# ---------------------------------------------------------------- "auto" and the size of the work


def test_auto_keeps_small_work_on_the_cpu_and_says_so(gpu: Machine, caplog):
    caplog.set_level(logging.INFO, logger="xlstm")
    small = backends.AUTO_MIN_FLOPS_PER_STEP - 1
    assert backends.select("auto", flops_per_step=small).device == "cpu"
    assert "cupy" not in sys.modules, "CuPy is not imported for work that it will not do"
    assert backends.select("auto", flops_per_step=small).device == "cpu"
    ((_, level, message),) = said(caplog)
    assert level == "INFO", "it is the usual choice"
    assert message.startswith("using the CPU: a step of this work is 10 million operations, and below 10 million ")
    assert "device='cuda' overrides" not in message, "nobody knows yet whether there is a GPU that works"
    assert backends.select("cuda", flops_per_step=small).device == "cuda:0"
    assert backends.select("auto", flops_per_step=small + 1).device == "cuda:0"


def test_auto_says_it_once_for_work_of_any_size(gpu: Machine, caplog):
    caplog.set_level(logging.INFO, logger="xlstm")
    for flops in (1e3, 2e3, 3e6):
        assert backends.select("auto", flops_per_step=flops).device == "cpu"
    assert len(said(caplog)) == 1


def test_auto_knows_the_size_of_a_layer(gpu: Machine):
    assert xlstm.LSTM(3, 4, device="auto").device == "cpu"
    wide = xlstm.LSTM(20_000, 8, device="auto")  # 32 rows · 2·4H·(D + H) = 41 million operations
    assert wide.device == "cuda:0"
    assert xlstm.LSTM(3, 4).to("auto").device == "cpu"
    assert wide.to("cpu").to("auto").device == "cuda:0"


def test_auto_knows_the_size_of_a_classifier(gpu: Machine, caplog):
    caplog.set_level(logging.INFO, logger="xlstm")
    X, y = np.random.default_rng(0).standard_normal((8, 3, 2)), [0, 1] * 4
    assert xlstm.SequenceClassifier(hidden_size=4, max_iter=1).fit(X, y).device_ == "cpu"
    small = [message for _, _, message in said(caplog) if "kernels" not in message]  # which may be missing, too
    assert len(small) == 1
    wide = np.random.default_rng(0).standard_normal((8, 2, 20_000))  # 8 rows · 2·4H·(D + H) = 10.2 million
    with pytest.warns(xlstm.AmbiguousDataWarning, match="from_channels_first"):
        clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=1, random_state=0).fit(wide, y)
    assert clf.device_ == "cuda:0"


# ---------------------------------------------------------------- names, and the environment


@pytest.mark.parametrize(
    "name", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cuda:²", "cuda0", "cpu:0", "", 0]
)
def test_other_names_are_refused(name, gpu: Machine):
    with pytest.raises(ValueError, match=r"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got"):
        backends.select(name)


def test_the_environment_stands_for_a_device_that_is_not_given(gpu: Machine, monkeypatch, caplog):
    monkeypatch.setenv("XLSTM_DEVICE", "cuda:1")
    assert backends.select(None).device == "cuda:1"
    assert xlstm.LSTM(2, 3).device == "cuda:1"
    assert xlstm.LSTM(2, 3, device="cpu").device == "cpu"
    monkeypatch.setenv("XLSTM_DEVICE", "cpu")
    assert backends.select(None).device == "cpu"
    monkeypatch.setenv("XLSTM_DEVICE", "")
    assert backends.select(None).device == "cuda:0"
    assert backends.select(None, default="cpu").device == "cpu"
    assert not said(caplog)


def test_a_wrong_name_in_the_environment_is_said_to_be_there(monkeypatch):
    monkeypatch.setenv("XLSTM_DEVICE", "tpu")
    with pytest.raises(ValueError, match=r"the environment variable XLSTM_DEVICE must be .* got 'tpu'"):
        xlstm.LSTM(2, 3)


def test_cuda_in_the_environment_does_not_fall_back(monkeypatch):
    monkeypatch.setenv("XLSTM_DEVICE", "cuda")
    with machine(driver=False), pytest.raises(RuntimeError, match="no working NVIDIA driver"):
        xlstm.LSTM(2, 3)


# ---------------------------------------------------------------- which implementation


def test_kernels_are_found_or_refused(gpu: Machine):
    for device in ("cpu", "cuda"):
        backend = backends.select(device)
        choice = backends.find("lstm", backend, "float32", "reference")
        assert (choice.implementation, choice.kernels) == (None, "reference")
        assert backends.find("lstm", backend, "float32", "auto").reason
        known = "'auto', 'reference', 'compiled', 'fused' or 'cudnn'"
        with pytest.raises(ValueError, match=f"kernels must be {known}, got 'fast'"):
            backends.find("lstm", backend, "float32", "fast")


# ---------------------------------------------------------------- nothing is imported before it is asked for

HEAVY = ("array_api_compat", "cupy", "torch", "sklearn", "tqdm")


@pytest.fixture
def python(tmp_path):
    """Runs code where importing any of the heavy packages is fatal; returns what it wrote to stderr."""
    for name in HEAVY:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"import os; print('{name} was imported', flush=True); os._exit(3)"
        )

    def run(code: str) -> str:
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        code += f"\nimport sys; assert not set({HEAVY}) & set(sys.modules)"
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    return run


def test_import_is_light(python):
    assert python("import xlstm") == ""
    assert python("import sys, numpy, xlstm\nassert 'json' not in sys.modules") == "", "what only files need"


def test_work_on_the_cpu_imports_no_gpu_package(python):
    code = """
import numpy as np, xlstm
layer = xlstm.LSTM(2, 3, device="cpu", bidirectional=True)
outputs, state, tape = layer.forward(np.ones((2, 4, 2), np.float32), lengths=[4, 2])
layer.backward(tape, outputs, state)
clf = xlstm.SequenceClassifier(hidden_size=4, max_iter=2, device="cpu").fit(["ab", "ba", "aab"], [0, 1, 0])
clf.predict(["ab"])
"""
    said = [line for line in python(code).splitlines() if "the reference path runs" not in line]
    assert not said


def test_auto_says_to_who_asks_for_information_that_small_work_stays_on_the_cpu(python):
    code = "import xlstm\nfor _ in range(2): assert xlstm.LSTM(2, 3, device='auto').device == 'cpu'"
    assert "using the CPU: " not in python(code)
    told = python(f"import logging\nlogging.basicConfig(level=logging.INFO)\n{code}")
    assert told.count("INFO:xlstm:using the CPU: ") == 1


def test_the_log_can_be_silenced(gpu: Machine, caplog):
    with caplog.at_level(logging.ERROR, logger="xlstm"):
        backends.select("auto", flops_per_step=1.0)
    assert not said(caplog)
