"""The short form of each soak, in a process of its own: nothing fails, and a planted failure is found."""

import subprocess
import sys
from pathlib import Path

import pytest

from .__main__ import SOAKS


@pytest.mark.skipif(sys.platform != "linux", reason="they read /proc")
@pytest.mark.parametrize("name", SOAKS)
def test_short_form(name):
    command = [sys.executable, "-m", "tests.soak", name, "--alone", "--short"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a planted failure is found" in done.stdout
