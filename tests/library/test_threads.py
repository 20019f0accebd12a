"""What threads of Python do at the same time keeps out of each other's way; more in tests/soak/threads.py."""

import subprocess
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import LogRecord

import numpy as np
import pytest
from xlstm.backends import cpu

import xlstm
from xlstm import backends
from xlstm.readers.fields import times

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@contextmanager
def turns_are_short() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(number: int, work: Callable[[int], None]) -> list[BaseException]:
    """Runs `work` on so many threads that begin at once; what they raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(number)

    def run(k: int) -> None:
        start.wait(60)
        try:
            work(k)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(number)]
    with turns_are_short():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return raised


def test_dates_that_are_read_change_no_warnings_of_other_threads():
    """Filters of warnings are of the whole process."""
    dates = ["2024-05-31T12:30", "2024-05-31 12:31:07.5"] * 1000
    read = threading.Event()

    def work(k: int) -> None:
        if k == 0:
            for _ in range(20):
                assert str(times(dates, "t", str)[0]) == "2024-05-31T12:30:00.000000"
            read.set()
        while not read.wait(0):
            warnings.warn("of another thread", RuntimeWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert together(3, work) == []


@pytest.mark.parametrize(
    "date", ["2024-05-31T123000", "2024-05-31T12:30:07,5", "2024-05-31T12:30+02:00", "+2024-05-31T1230"]
)
def test_numpy_is_asked_for_no_date_that_it_warns_of(date):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(ValueError):  # which no warning is
            assert times([date], "t", str).dtype.kind == "M"


def test_one_of_many_threads_says_what_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(backends.notices, "said", {})
    told: list[LogRecord] = caplog.records
    assert together(8, lambda k: [backends.notices.say_once(f"reason {n}", "") for n in range(50)] and None) == []
    assert len(told) == 50


@pytest.mark.skipif(cpu._kernels is None, reason="there are no compiled kernels")
def test_layers_of_many_threads_share_memory_and_settings():
    """What calls keep for each other, and how many threads they may use, is the process's."""
    layers = [xlstm.LSTM(3, 5 + 7 * k, seed=k, kernels="compiled", device="cpu") for k in range(6)]
    x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    expected = [layer(x)[0] for layer in layers]

    def work(k: int) -> None:
        for n in range(1000):
            if k < len(layers):
                np.testing.assert_array_equal(layers[k](x)[0], expected[k])
            elif k == len(layers):
                xlstm.set_threads(1 + n % 2)
                assert cpu.crew().threads >= 1
            else:
                assert xlstm.release_memory() >= 0

    try:
        assert together(len(layers) + 2, work) == []
    finally:
        xlstm.set_threads(None)


@pytest.mark.skipif(
    not FREE_THREADED or cpu._kernels is None, reason="this Python has its lock, or there are no kernels"
)
def test_free_threaded_python_stays_so():
    """A module that does not say that it can do without the interpreter's lock turns it on for all."""
    program = "import sys, numpy; before = sys._is_gil_enabled(); import xlstm; print(before, sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False False\n"
