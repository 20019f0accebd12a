"""Other libraries that tests compare with: a missing one skips the test, or fails it where all were promised."""

import importlib
import os
from typing import Any

import pytest

REQUIRE_PEERS = "XLSTM_REQUIRE_PEERS"
"""Set to 1 (as .ci/run does), a missing peer is a failure: a comparison that never runs guards nothing."""


def peer(name: str) -> Any:
    """The module `name`, or a skip that says what was not compared."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get(REQUIRE_PEERS) == "1":
            pytest.fail(f"{name} is not installed, and {REQUIRE_PEERS}=1 asks for every comparison")
        pytest.skip(f"{name} is not installed: the comparison with it was skipped (pip install -e '.[dev]')")
