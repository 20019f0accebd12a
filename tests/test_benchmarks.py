"""The benchmarks: each starts, a checkout can be measured against another one, and the kept results are in order."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .peers import peer

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
COMMANDS = sorted(BENCHMARKS.glob("*.py"))
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/lib/command.py; nothing of that folder stays on the path or among the modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module("lib.command")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("lib", "chart", "datasets", "performance_tables", "kernel_parts"):
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
    """CPUs of one name may be of several kinds: the kind is in the file's name too. peers.py has a file a cell."""
    machine, kinds = importlib.import_module("lib.machine"), Counter()
    for file in RESULTS:
        result = json.loads(file.read_text(encoding="utf-8"))
        assert file.name.startswith(f"{result['benchmark']}-")
        assert (BENCHMARKS / f"{result['benchmark']}.py").exists()
        # A GPU's results are of the GPU, whose name is in the file's, and not of the processor beside it.
        if result["benchmark"] != "bench_gpu":
            of, kind = result["machine"]["processor"], command.kind_of(file)
            parts = [result["benchmark"], *([result["cell"]] if result["benchmark"] == "peers" else [])]
            assert file.stem == "-".join([*parts, machine.slug(f"{of} {kind}")])
            assert result.get("kernels", kind) == (kind.partition("-as-")[2] or kind)
            assert result["machine"].get("kind", kind) == kind
        kinds[file.stem] += 1
    assert set(kinds.values()) == {1}


def test_the_pages_have_the_tables_of_the_results(command: Any) -> None:
    tables = importlib.import_module("performance_tables")
    for name in tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        told = f"{name}: write the tables again: python benchmarks/performance_tables.py --write"
        assert tables.page_with(name, tables.made_for(name)) == page, told


def test_the_charts_are_those_of_the_results(command: Any) -> None:
    chart = importlib.import_module("chart")
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for name, drawn in chart.CHARTS.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == drawn(), "draw again: python benchmarks/chart.py"
        assert f"]({name})" in pages


def test_in_a_chart_the_fastest_way_of_a_peer_counts_and_wrong_ones_do_not(command: Any) -> None:
    chart = importlib.import_module("chart")
    speeds = {"xlstm": 2.0, "torch": 0.5, "onnxruntime run, 1 thread": 0.25, "onnxruntime binding, 1 thread": 1.0,
              "onnxruntime run, 2 threads": 3.0, "jax": 4.0, "torch, full batch": 5.0}  # fmt: skip
    row = {"size": [1, 1, 16, 64], "ours": "xlstm", "against_fastest": speeds,
           "wrong": ["onnxruntime run, 2 threads", "jax"]}  # fmt: skip
    label, bars = chart.bars_of(row, "stream", held=False)
    assert (label, bars) == ("One step, 16 features, 64 hidden", {"xlstm": 2.0, "torch": 0.5, "onnxruntime": 1.0})


@pytest.fixture
def results(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Another folder of results; a function that puts one there, of two shapes, whose figures can be foretold."""
    monkeypatch.setattr(command, "RESULTS", tmp_path)

    def row(shape: str, size: list[int], ratio: float, share: float) -> dict[str, Any]:
        times = {"xlstm": {"median": 1e-3}, "torch": {"median": ratio * 1e-3}}
        return {"shape": shape, "size": size, "ours": "xlstm", "wrong": [], "seconds": times, "fastest_peer": "torch",
                "times_as_fast": {"torch": {"median": ratio}}, "against_fastest": {"xlstm": ratio, "torch": 1.0},
                "share_of_peak": {"xlstm": share, "torch": share / ratio}}  # fmt: skip

    def keep(kind: str, date: str, share: float, cell: str = "gru") -> None:
        rows = [row("row", [32, 28, 28, 128], 3.0, share), row("mid", [64, 100, 64, 256], 1.5, share)]
        told = {"processor": "A CPU", "kind": kind, "versions": {"numpy": "2.0"}}
        value = {"date": date, "machine": told, "cell": cell, "threads": 2, "peers": {}, "settings": {"rounds": 5},
                 "kernels": kind.split("-")[-1], "train": rows, "inference": rows[:1]}  # fmt: skip
        command.write(tmp_path / f"peers-{cell}-{date}-{kind}.json", value)

    return keep


def test_each_kind_of_cpu_has_its_newest_result_and_its_own_before_one_that_was_forced(
    command: Any, results: Any
) -> None:
    assert command.of_each_kind("peers-gru") == []
    results("avx512-as-avx2", "2030-01-01", 0.5)
    results("avx512", "2030-01-01", 0.5)
    results("avx512", "2030-01-03", 0.5)
    results("avx512", "2030-01-02", 0.5)
    results("avx512", "2030-01-09", 0.5, cell="lstm")

    def found() -> list[tuple[str, str, Any]]:
        each = command.of_each_kind("peers-gru")
        return [(result["machine"]["kind"], result["date"], command.held_to(result)) for result in each]

    assert found() == [("avx512", "2030-01-03", None), ("avx512-as-avx2", "2030-01-01", "avx2")]
    results("avx2", "2029-01-01", 0.5)  # older, but of a CPU that has no more
    assert found() == [("avx512", "2030-01-03", None), ("avx2", "2029-01-01", None)]


def test_kernels_held_to_less_are_told_by_their_share_of_that_peak(command: Any, results: Any) -> None:
    results("avx512", "2030-01-01", 0.875)
    results("avx512-as-avx2", "2030-01-01", 0.625)
    tables, chart = importlib.import_module("lib.peer_tables"), importlib.import_module("chart")
    lines = list(tables.beside_others("gru"))
    assert "| 64, 100, 64, 256 | **1** | 1.5 | 1.50 × torch | 0.88 |" in lines
    assert "| 32, 28, 28, 128 | 1 | 0.62 | 3.00 × torch | 1 | 0.62 | 3.00 × torch |" in lines
    assert "| 64, 100, 64, 256 | 1 | 0.62 | 1.50 × torch | – | – | – |" in lines
    text = " ".join(lines)
    assert text.index("kernels: avx512") < text.index("The kernels held to avx2 (`XLSTM_CPU_TARGET=avx2`)")
    own, held = command.of_each_kind("peers-gru")
    assert chart.bars_of(own["train"][1], "train", held=False)[1] == {"xlstm": 1.5, "torch": 1.0}
    assert chart.bars_of(held["train"][1], "train", held=True)[1] == {"xlstm": 0.625}
    drawn = chart.layer([own, held])
    assert drawn.count("1: the fastest peer") == drawn.count("1: the peak") == 2
    assert "How fast is one GRU layer?" in drawn


def test_a_cell_that_was_not_measured_is_said_to_be_so(results: Any) -> None:
    tables = importlib.import_module("lib.peer_tables")
    assert list(tables.beside_others("rnn")) == [
        "**Not measured yet**: `python benchmarks/peers.py --cell rnn --out`."
    ]  # fmt: skip


def test_parts_of_the_kernels_are_told_by_their_share_or_their_percentage(
    command: Any, results: Any, tmp_path: Path
) -> None:
    tables = importlib.import_module("performance_tables")
    assert "**Not measured yet**" in " ".join(tables.parts())
    parts = {"inference": {"share_of_peak": 0.75, "flops_at_peak": 4.0}, "inference, gates": {"flops_at_peak": 1.0},
             "forward": {"share_of_peak": 0.5, "flops_at_peak": 4.0},
             "backward": {"share_of_peak": 0.7, "flops_at_peak": 8.0}}  # fmt: skip
    rows = [{"shape": "mid", "size": [64, 100, 64, 256], "target": "avx2", "parts": parts, "training_share": 0.625,
             "inference_share": 0.75}]  # fmt: skip
    value = {"date": "2030-01-01", "machine": {"processor": "A CPU"}, "threads": 2, "rows": rows}
    command.write(tmp_path / "kernel_parts-a-cpu-avx512.json", value)
    lines = list(tables.parts())
    assert "LSTM on avx2, its parts alone (A CPU, 2 threads, 2030-01-01):" in lines
    assert lines[-5:] == [
        "| inference | 0.75 |",
        "| inference, gates | 25 % |",
        "| forward | 0.50 |",
        "| backward | 0.70 |",
        "| training | 0.62 |",
    ]


def test_the_program_of_parts_goes_with_the_kernels(command: Any) -> None:
    module = importlib.import_module("kernel_parts")
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
    flags = module.build()["TARGETS"].get(module.architecture(), {})
    if compiler is None or not flags:
        pytest.skip("no compiler, or no kernels of this processor")
    target = "avx2" if "avx2" in flags else next(iter(flags))
    wanted = ["-std=c++17", "-fopenmp", "-fno-exceptions", *(flag for flag in flags[target] if "vnni" not in flag)]
    source = [f"-I{ROOT / 'backends' / 'cpu'}", str(BENCHMARKS / "lib" / "kernel_parts.cpp")]
    done = subprocess.run([compiler, "-fsyntax-only", *wanted, *source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


def test_a_quick_look_is_not_kept_among_the_results() -> None:
    quick = [sys.executable, str(BENCHMARKS / "peers.py"), "--quick", "--out"]
    done = subprocess.run(quick, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "mean nothing" in done.stderr


def test_results_are_written_as_json_that_says_the_same(command: Any) -> None:
    value = {"a": [1, 2.5, None, True, "ä"], "b": {"c": 1 / 3, "d": [[0.1] * 40] * 2}, "e": 1e-9, "f": [], "g": {}}
    text = command.as_text(value)
    assert json.loads(text) == {**value, "b": {"c": 0.3333333, "d": value["b"]["d"]}}
    assert max(map(len, text.splitlines())) <= 120


def test_the_warped_distance_is_that_of_plain_loops(command: Any) -> None:
    beside = importlib.import_module("lib.beside")
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


def test_the_lines_for_a_browser_answer_as_the_library(tmp_path: Path) -> None:
    """Those of docs/serving.md, in Node.js. XLSTM_NODE names a folder in which npm installed onnxruntime-web."""
    node = os.environ.get("XLSTM_NODE")
    if not node:
        pytest.skip("XLSTM_NODE names no folder with onnxruntime-web")
    quick = [sys.executable, "benchmarks/serving.py", "--rounds", "10", "--node", node]
    done = subprocess.run(quick, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime-web" in done.stdout
