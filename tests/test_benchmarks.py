"""The benchmarks: each starts, a checkout can be measured against another one, and the kept results are in order."""

import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .peers import peer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMMANDS = sorted(BENCHMARKS.glob("*.py"))
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/lib/command.py; nothing of that folder stays on the path or among the modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module("lib.command")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "lib":
            del sys.modules[name]


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.name)
def test_each_command_starts_and_tells_its_options(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(file), "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    missing = re.search("ModuleNotFoundError: No module named '(torch|onnxruntime|onnx|jax|thinc)'", done.stderr)
    if missing:
        peer(missing[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {file.name}")


def test_the_readme_of_the_benchmarks_names_each_command() -> None:
    readme = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in COMMANDS if f"python benchmarks/{file.name}" not in readme] == []


def test_a_checkout_against_itself_gives_the_same_bits() -> None:
    arguments = ["--json", "--only", "train,stream,rnn", "--shapes", "tiny,H 64", "--rounds", "1", "--seconds", "0.001"]
    run = [sys.executable, str(BENCHMARKS / "against.py"), sys.executable, *arguments]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["what"] for row in rows] == ["train, tiny", "stream, H 64", "rnn, tiny"]
    for row in rows:
        assert row["same_bits"]
        assert row["ratio"]["lowest"] <= row["ratio"]["median"] <= row["ratio"]["highest"]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_a_kept_result_is_in_the_form_that_is_written(file: Path, command: Any) -> None:
    """Medians and quartiles: so long a list of numbers would be single calls."""
    text = file.read_text(encoding="utf-8")
    assert text == command.as_text(json.loads(text)) + "\n"

    def longest(value: Any) -> int:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        own = len(inner) if isinstance(value, list) and all(isinstance(each, float) for each in inner) else 0
        return max([own, *map(longest, inner)])

    assert longest(json.loads(text)) <= 5


def test_one_result_of_each_command_for_each_machine_is_kept(command: Any) -> None:
    """CPUs of one name may be of several kinds: the kind is in the file's name too."""
    machine, kinds = importlib.import_module("lib.machine"), Counter()
    for file in RESULTS:
        result = json.loads(file.read_text(encoding="utf-8"))
        assert file.name.startswith(f"{result['benchmark']}-")
        assert (BENCHMARKS / f"{result['benchmark']}.py").exists()
        # A GPU's results are of the GPU, whose name is in the file's, and not of the processor beside it.
        if result["benchmark"] != "bench_gpu":
            of, kind = result["machine"]["processor"], command.kind_of(file)
            assert file.stem == f"{result['benchmark']}-{machine.slug(f'{of} {kind}')}"
            assert result.get("kernels", kind) == (kind.partition("-as-")[2] or kind)
            assert result["machine"].get("kind", kind) == kind
        kinds[file.stem] += 1
    assert set(kinds.values()) == {1}


def test_results_are_written_as_json_that_says_the_same(command: Any) -> None:
    value = {"a": [1, 2.5, None, True, "ä"], "b": {"c": 1 / 3, "d": [[0.1] * 40] * 2}, "e": 1e-9, "f": [], "g": {}}
    text = command.as_text(value)
    assert json.loads(text) == {**value, "b": {"c": 0.3333333, "d": value["b"]["d"]}}
    assert max(map(len, text.splitlines())) <= 120


def test_the_warped_distance_is_that_of_plain_loops(command: Any) -> None:
    beside = importlib.import_module("lib.beside")
    del sys.modules["datasets"]  # a command of that folder, which the sets are read with
    rng, ends = np.random.default_rng(0), [4, 1, 6]
    rows, series = rng.standard_normal((3, 7, 2)).astype("float32"), rng.standard_normal((5, 2)).astype("float32")

    def distance(row: Any) -> float:
        best = {(-1, -1): 0.0}
        for i, j in np.ndindex(len(row), len(series)):
            cheapest = min(best.get(cell, np.inf) for cell in ((i - 1, j), (i, j - 1), (i - 1, j - 1)))
            best[i, j] = cheapest + float(np.sum((row[i] - series[j]) ** 2))
        return best[len(row) - 1, len(series) - 1]

    found = beside.warped_distances(rows, np.array(ends), series)
    np.testing.assert_allclose(
        found, [distance(row[: end + 1]) for row, end in zip(rows, ends, strict=True)], rtol=1e-5
    )
