"""Fixtures that every test may use: the array libraries, and the dtypes."""

from typing import Any

import numpy as np
import pytest

from .peers import peer


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
        device = strict.Device("device1") if self.name == "strict-device1" else strict.Device("CPU_DEVICE")
        return strict.asarray(host, device=device)

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        if self.name.startswith("strict"):
            strict = peer("array_api_strict")
            array = strict.asarray(array, device=strict.Device("CPU_DEVICE"), copy=True)
        return np.asarray(array)


@pytest.fixture(params=["numpy", "numpy-readonly", "strict", "strict-device1", "torch"])
def xp(request: pytest.FixtureRequest) -> Library:
    """Each array library that the pure functions support and that runs here; inputs of one of them are read-only."""
    library = Library(request.param)
    if library.name.startswith("strict"):
        peer("array_api_strict")
    if library.name == "torch":
        peer("torch")
    return library


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)
