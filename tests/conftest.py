"""Fixtures that every test may use: the array libraries, the dtypes, the implementations of the layers, and the GPU."""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from xlstm.backends import cpu, hand_in
from xlstm.backends.cuda.array_code import array_code

from xlstm import trusted

from . import standin_machine
from .gpu import Gpu, gpu_or_standin
from .peers import peer

TARGETS = list(cpu.targets()) or ["compiled"]
"""The instruction sets that were compiled; one name that is none of them where nothing was."""

COMPILED_CELLS = ("lstm", "rnn", "gru")
"""The cells that have compiled kernels wherever anything was compiled."""

# Started in the background by a shell, a process ignores Ctrl-C, and so do those that it starts: some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# For runs that ask only whether a test fails: the first counterexample will do, it need not be the simplest.
settings.register_profile("first-failure", phases=(Phase.explicit, Phase.generate))

STRICT_DEVICES = {
    "strict": "CPU_DEVICE",
    "strict-device1": "device1",
    "strict-no-float64": "no_float64",  # float32 only
    "strict-no-x64": "no_x64",  # float32 and int32 only, as on some GPUs
}


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What is there before a file's tests stays out of the garbage collector's sight.

    It looked through everything that all tests and their libraries hold, a quarter of a second each time; tests that
    count what is still there call it often.
    """
    gc.collect()
    gc.freeze()


class Library:
    """One array library under test: how arrays get there and back."""

    def __init__(self, name: str) -> None:
        self.name = name

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        host = np.array(values, dtype=dtype)
        if self.name == "numpy-readonly":
            host.setflags(write=False)
        if self.name.startswith("numpy"):
            return host
        if self.name == "torch":
            return peer("torch").asarray(host)
        strict = peer("array_api_strict")
        return strict.asarray(host, device=strict.Device(STRICT_DEVICES[self.name]))

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        if self.name.startswith("strict"):
            strict = peer("array_api_strict")
            array = strict.asarray(array, device=strict.Device("CPU_DEVICE"), copy=True)
        return np.asarray(array)

    def strictest(self) -> Any:
        """A context in which array-api-strict refuses whatever the standard leaves to a library's choice."""
        if not self.name.startswith("strict"):
            return nullcontext()
        return peer("array_api_strict").ArrayAPIStrictFlags(
            api_version="2024.12", boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
        )


@pytest.fixture(params=["numpy", "numpy-readonly", "strict", "strict-device1", "torch"])
def xp(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each array library that the pure functions support and that runs here; inputs of one of them are read-only."""
    library = Library(request.param)
    if library.name.startswith("strict"):
        peer("array_api_strict")
    if library.name == "torch":
        peer("torch")
    with library.strictest():
        yield library


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["reference", *TARGETS])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each implementation of the layers that runs here, by the name that a layer's `kernels` takes.

    For the compiled ones it is "compiled", and the instruction set is the chosen one while the test runs.
    """
    if request.param == "reference":
        return "reference"
    monkeypatch.setattr(cpu, "target", usable_target(request.param))
    if "cell" in request.fixturenames:
        expect_kernels_of(request.getfixturevalue("cell"))
    return "compiled"


def expect_kernels_of(cell: str) -> None:
    """Skip the test of a cell that is known to have no compiled kernels; fail where those of another are gone."""
    there = all(cpu.find_cell(cell, dtype) is not None for dtype in ("float32", "float64"))
    if cell not in COMPILED_CELLS:
        assert not there, f"the {cell} cell has compiled kernels: name it in COMPILED_CELLS"
        pytest.skip(f"there are no compiled kernels of the {cell} cell")
    assert there, f"the compiled kernels of the {cell} cell are gone: {cpu.why_not(cell, 'float32')}"


def usable_target(name: str) -> str:
    """The name of an instruction set; the test is skipped where it was not compiled or this CPU has it not.

    With XLSTM_REQUIRE_PEERS=1 the former is a failure: somebody wants to know that the kernels were tested.
    """
    if name not in cpu.targets():
        reason = f"no compiled kernels of {name}: {cpu.why_not()}"
        if os.environ.get("XLSTM_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    if not cpu.targets()[name]:
        pytest.skip(f"this CPU has no {name}")
    return name


@pytest.fixture(scope="session", autouse=True)
def _no_configuration_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What whoever runs the tests has measured and kept is neither read nor written, by child processes neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _levels_are_checked_once() -> Iterator[None]:
    """The check of a level at its first use is done once for each cell, dtype and precision, not for each stand-in.

    A stand-in forgets what was checked on the one before, and its emulator takes a second for what a GPU does in some
    hundredths of one. Levels of the tests' own are checked each time, against what the array code gave once.
    """
    real, seen, known, trained = array_code(), {}, {}, {}

    def agreement(cell: str, implementation: Any, backend: Any, dtype: str, precision: str) -> Any:
        kind = type(implementation)
        key = (kind, cell, dtype, precision)
        if not kind.__module__.startswith("xlstm.") or key not in seen:
            seen[key] = trusted.agreement(cell, implementation, backend, dtype, precision, known=known)
        return seen[key]

    def training(what: str, implementation: Any, backend: Any, dtype: str) -> Any:
        kind = type(implementation)
        if not kind.__module__.startswith("xlstm."):
            return trusted.training(what, implementation, backend, dtype)
        if (what, dtype) not in trained:
            counts = [(gpu, gpu.counts.copy()) for gpu in standin_machine.machines]
            found = trusted.training(what, implementation, backend, dtype)
            # Right or not, the library's own are used: array code in their place would hide their faults from tests.
            trained[what, dtype] = found._replace(error=min(found.error, found.bound))
            for gpu, before in counts:  # whichever test comes first does not see it
                vars(gpu.counts).update(vars(before))
        return trained[what, dtype]

    hand_in(real._replace(agreement=agreement, training=training))
    yield
    hand_in(real)


@pytest.fixture(params=["cuda", "cuda:1"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """The first and the second GPU, by the names that users type: real ones where there are any, else the stand-in's.

    A test that uses it is the same on both. A second real GPU that is missing is skipped.
    """
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    with gpu_or_standin(request.param) as gpu:
        yield gpu


@pytest.fixture(params=["reference", "fused", "cudnn"])
def level(request: pytest.FixtureRequest, device: Gpu) -> Iterator[str]:
    """Each level of the GPU `device`, alone: what `kernels="auto"` takes there. The reference is the array code."""
    with device.only(*{request.param} - {"reference"}):
        yield request.param
