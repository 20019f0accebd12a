"""Where cuDNN is found, which one is refused, and what its errors say: each in a new process, on the stub."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..emulator.emulator import COMPILER
from . import cudnn_stub

ROOT = Path(__file__).parents[2]
SIGNATURES = ROOT / "benchmarks" / "cudnn_signatures.py"

LOAD = """
import ctypes, os, sys
from types import SimpleNamespace
from xlstm.backends.cuda.cudnn import library
for path in filter(None, os.environ.get("BEFORE", "").split(":")):
    ctypes.CDLL(path)
cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(runtimeGetVersion=lambda: 12090)))
try:
    found = library.load(cupy)
except RuntimeError as error:
    print("RuntimeError:", error)
else:
    assert library.load(cupy) is found
    print(found.name, found.path)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stub is a library of Linux")
INSTALL = "Install a fitting one with: pip install 'nvidia-cudnn-cu12>=9,<10' (the extra cudnn12)."


def load(**environment: object) -> str:
    """What `load` says in a new process: the version and path, or the error."""
    clean = {key: value for key, value in os.environ.items() if key not in ("CONDA_PREFIX", "LD_LIBRARY_PATH")}
    clean |= {key: str(value) for key, value in environment.items()}
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wheel(site: Path, flavour: str = "cu12") -> Path:
    """pip's package in a folder of packages; returns the library's file."""
    info = site / f"nvidia_cudnn_{flavour}-9.28.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nvidia-cudnn-{flavour}\nVersion: 9.28.0\n")
    return cudnn_stub.copy(site / "nvidia" / "cudnn" / "lib")


def test_it_is_found_where_pip_put_it(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    assert load(PYTHONPATH=tmp_path) == f"9.28.0 {path}"


def test_a_wheel_for_another_cuda_is_not_taken(tmp_path: Path) -> None:
    wheel(tmp_path, "cu13")
    assert load(PYTHONPATH=tmp_path) == f"RuntimeError: cuDNN is not installed. {INSTALL}"


def test_it_is_found_where_conda_put_it(tmp_path: Path) -> None:
    path = cudnn_stub.copy(tmp_path / "lib")
    assert load(CONDA_PREFIX=tmp_path) == f"9.28.0 {path}"


def test_it_is_found_where_the_system_has_it(tmp_path: Path) -> None:
    cudnn_stub.copy(tmp_path)
    assert load(LD_LIBRARY_PATH=tmp_path) == "9.28.0 libcudnn.so.9"


def test_pip_comes_before_conda_and_that_before_the_system(tmp_path: Path) -> None:
    pip, conda = wheel(tmp_path / "site"), cudnn_stub.copy(tmp_path / "conda" / "lib")
    cudnn_stub.copy(tmp_path / "system")
    places = {"CONDA_PREFIX": tmp_path / "conda", "LD_LIBRARY_PATH": tmp_path / "system"}
    assert load(**places) == f"9.28.0 {conda}"
    assert load(**places, PYTHONPATH=tmp_path / "site") == f"9.28.0 {pip}"


def test_one_that_is_loaded_already_comes_first(tmp_path: Path) -> None:
    wheel(tmp_path / "site")
    torch = cudnn_stub.copy(tmp_path / "torch")
    assert load(BEFORE=torch, PYTHONPATH=tmp_path / "site") == f"9.28.0 {torch}"


def test_parts_of_two_copies_are_refused(tmp_path: Path) -> None:
    one, other = cudnn_stub.copy(tmp_path / "one"), cudnn_stub.copy(tmp_path / "other", "libcudnn_graph.so.9")
    told = load(BEFORE=f"{one}:{other}")
    assert told.startswith(f"RuntimeError: parts of cuDNN from {tmp_path / 'one'} and {tmp_path / 'other'} are loaded")
    assert "Uninstall all but one" in told
    beside = cudnn_stub.copy(tmp_path / "one", "libcudnn_graph.so.9")
    assert load(BEFORE=f"{one}:{beside}") == f"9.28.0 {one}"  # its own parts


@pytest.mark.parametrize(
    ("version", "told"),
    [(8907, "cuDNN 8.9.7 in {} is older than 9"), (100100, "cuDNN 10.1.0 in {} is newer than 9")],
)
def test_older_and_newer_versions_are_refused(version: int, told: str, tmp_path: Path) -> None:
    path = wheel(tmp_path)
    found = load(PYTHONPATH=tmp_path, STUB_VERSION=version)
    assert found == f"RuntimeError: {told.format(path)}, the version that is used. {INSTALL}"


def test_one_for_another_cuda_is_refused(tmp_path: Path) -> None:
    path = cudnn_stub.copy(tmp_path / "lib")
    told = load(CONDA_PREFIX=tmp_path, STUB_CUDART=13000)
    assert told == f"RuntimeError: cuDNN in {path} is for CUDA 13, but CuPy is for CUDA 12. {INSTALL}"


def test_a_missing_one_is_one_sentence_with_the_command() -> None:
    assert load() == f"RuntimeError: cuDNN is not installed. {INSTALL}"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    path.write_bytes(b"nothing of the kind")
    told = load(PYTHONPATH=tmp_path)
    assert told.startswith(f"RuntimeError: cuDNN could not be loaded from {path} (")
    assert told.endswith(INSTALL)


def test_a_library_without_the_functions_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    (tmp_path / "empty.c").write_text("int nothing;")
    subprocess.run([str(COMPILER), "-shared", "-fPIC", str(tmp_path / "empty.c"), "-o", str(path)], check=True)
    assert f"{path} is no cuDNN 9: it has no function cudnnGetVersion" in load(PYTHONPATH=tmp_path)


def test_a_device_that_cannot_be_used_is_told() -> None:
    """cudnnCreate fails where the driver does not work; the remedy is in the error, and the text of cuDNN itself."""
    script = """
from tests.backends.cudnn_stub import Stub, built
from xlstm.backends.cuda.cudnn.library import CudnnError, Library
stub = Stub(built())
stub["no device"] = 1
try:
    Library(str(built()), 12).handle(0, 0)
except CudnnError as error:
    print(error, error.function, error.status)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.startswith(
        "cudnnCreate failed with CUDNN_STATUS_OTHER: there is no device (status 1001); the GPU"
    )
    assert done.stdout.strip().endswith("cudnnCreate 1001"), done.stderr


# ---------------------------------------------------------------- the command for somebody who has the headers


def signatures(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SIGNATURES), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_signatures_are_those_of_a_header() -> None:
    done = signatures(cudnn_stub.FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 functions and 24 numbers agree" in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("size_t *bytes);", "int bytes);", "cudnnGetRNNWeightSpaceSize: the header has int(pointer, pointer, int)"),
        ("size_t work_bytes, void *work,\n    size_t", "int work_bytes, void *work,\n    size_t", "BackwardWeights_v8"),
        ("CUDNN_GRU = 3", "CUDNN_GRU = 4", "CUDNN_GRU: the header has 4, the library 3"),
        ("size_t cudnnGetVersion(void);", "", "cudnnGetVersion"),
    ],
    ids=["a pointer", "an integer", "a number", "a function that is gone"],
)  # fmt: skip
def test_a_signature_that_differs_is_told(right: str, wrong: str, told: str, tmp_path: Path) -> None:
    header = (cudnn_stub.FOLDER / "cudnn.h").read_text(encoding="utf-8")
    assert right in header
    (tmp_path / "cudnn.h").write_text(header.replace(right, wrong, 1), encoding="utf-8")
    done = signatures(tmp_path)
    assert done.returncode == 1
    assert told in done.stdout + done.stderr


def test_a_folder_without_the_header_is_told(tmp_path: Path) -> None:
    done = signatures(tmp_path)
    assert done.returncode == 2
    assert f"there is no cudnn.h in {tmp_path}" in done.stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_stub_has_all_functions() -> None:
    from xlstm.backends.cuda.cudnn.library import SIGNATURES as USED

    source = (cudnn_stub.FOLDER / "stub.cpp").read_text(encoding="utf-8")
    assert [name for name in USED if name not in source] == []
