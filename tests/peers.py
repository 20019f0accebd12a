"""Other libraries that tests compare with: a missing one skips the test, or fails it where all were promised."""

import importlib
import os
import sys
import warnings
from typing import Any

import pytest

REQUIRE_PEERS = "XLSTM_REQUIRE_PEERS"
"""Set to 1 (as .ci/run does), a missing peer is a failure: a comparison that never runs guards nothing."""


def peer(name: str) -> Any:
    """The module `name`, or a skip that says what was not compared: of a test, or of a file that asks at its top."""
    try:
        return importlib.import_module(name)
    except ImportError:
        there_is_none = sys.platform == "darwin" and name.partition(".")[0] == "cupy"
        if os.environ.get(REQUIRE_PEERS) == "1" and not there_is_none:
            pytest.fail(f"{name} is not installed, and {REQUIRE_PEERS}=1 asks for every comparison")
        pytest.skip(
            f"{name} is not installed: the comparison with it was skipped (pip install -e '.[dev]')",
            allow_module_level=True,
        )


REPEATED = {"check_sample_weight_equivalence_on_dense_data": "repeated rows make other batches, in another order"}
"""The check of scikit-learn that no estimator here can pass, and why."""


def checked_by_sklearn(estimator: Any, expected_to_fail: dict[str, str]) -> list[dict[str, Any]]:
    """The results of every check of scikit-learn for an estimator, of which these alone fail, all of them."""
    checks = peer("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the base class is not scikit-learn's; what sklearn itself deprecates
        results: list[dict[str, Any]] = checks.check_estimator(
            estimator, expected_failed_checks=expected_to_fail, on_fail=None, on_skip=None
        )
    failed = [f"{result['check_name']}: {result['exception']!r}" for result in results if result["status"] == "failed"]
    assert not failed, "\n".join(failed)
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(expected_to_fail)
    return results
