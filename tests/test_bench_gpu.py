"""The benchmark of GPUs, without a GPU: all of it on the stand-in, parts that fail, what it reads, and its model."""

import ast
import importlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm

from .backends.cudnn_stub import built
from .measure import bounds_of
from .on_standin import complete
from .peers import peer
from .standin import machine

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
COMMAND = [sys.executable, str(ROOT / "tests" / "on_standin.py"), str(BENCHMARKS / "bench_gpu.py"), "--quick"]
PARTS = ["device", "right", "tests", "times", "epochs", "usage", "sanitizer"]


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports modules of benchmarks/lib, and of benchmarks; nothing of them stays."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("lib", "gpu_tables", "bench_gpu"):
            del sys.modules[name]


@pytest.fixture
def gpu() -> Iterator[Any]:
    """The stand-in, with all that the benchmark asks of CuPy."""
    with machine() as gpu:
        import cupy

        complete(cupy)
        yield gpu


def command(folder: Path, *options: str, timeout: float = 240, **environment: str) -> tuple[dict[str, Any], str, int]:
    """What it writes, what it prints, and its exit code."""
    out = folder / "results" / "found.json"
    done = subprocess.run(
        [*COMMAND, "--out", str(out), *options],
        capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert out.exists(), done.stderr
    return json.loads(out.read_text(encoding="utf-8")), done.stdout, done.returncode


# ---------------------------------------------------------------- all of it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, int]:
    return command(tmp_path_factory.mktemp("whole"), "--levels", "reference")


def rows(results: dict[str, Any], part: str, **asked: Any) -> list[dict[str, Any]]:
    return [row for row in results["parts"][part]["rows"] if asked.items() <= row.items()]


def test_every_part_is_walked_and_written(whole: Any) -> None:
    results, printed, _ = whole
    assert list(results["parts"]) == PARTS
    assert not [name for name, part in results["parts"].items() if "error" in part or not part["rows"]]
    (gpu,) = rows(results, "device", what="gpu")
    assert (gpu["name"], gpu["device"]) == ("Stand-in GPU", "cuda:0")
    assert gpu["cuda_of_the_driver"]["version"] >= 12000
    assert results["machine"]["processor"]
    for title in ("Is each level right?", "Times of a layer", "Epochs of a training", "compute-sanitizer"):
        assert title in printed


def test_correctness_comes_with_its_errors_and_bounds(whole: Any) -> None:
    found = rows(whole[0], "right")
    assert [(row["dtype"], row["cell"]) for row in found] == [
        (dtype, cell) for dtype in ("float32", "float64") for cell in ("lstm", "gru", "rnn")
    ]
    for row in found:
        assert row["right"]
        assert row["kernels"] == "reference"
        assert all(row["errors"][kind] <= row["bounds"][kind] for kind in ("forward", "gradient"))
        assert row["dtype"] == "float64" or row["errors"]["forward"] > 1e-9  # of float32, and not of nothing


def test_layers_are_timed_on_device_and_host_data_full_and_ragged(whole: Any) -> None:
    found = rows(whole[0], "times")
    assert {row["kind"] for row in found} == {"full", "ragged", "host"}
    for row in rows(whole[0], "times", precision="highest"):
        assert row["errors"]["reference"]["forward"] < 1e-6
        assert row["wrong"] == []
        assert row["ran"]["reference"] == "reference"
        for what in ("infer", "train"):
            assert 3 <= row[what]["reference"]["n"] <= 25
            assert row[what]["reference"]["median"] > 0


def test_whole_epochs_and_usage_are_measured(whole: Any) -> None:
    cpu, reference = (rows(whole[0], "epochs", job="first names", side=side)[0] for side in ("cpu", "reference"))
    assert cpu["loss"] == pytest.approx(reference["loss"], rel=1e-4)  # the same training
    assert cpu["seconds"] > 0
    host, device = (rows(whole[0], "epochs", job="series", data=data)[0] for data in ("host", "device"))
    assert host["loss"] == device["loss"]
    (memory,) = rows(whole[0], "usage", what="memory", side="reference")
    assert "peak_bytes" in memory
    (bits,) = rows(whole[0], "usage", what="bits", side="reference")
    assert (bits["runs"], bits["equal"], bits["differ"]) == (3, True, [])
    assert "3 equal steps, reference highest: the same bits" in whole[1]
    (host,) = rows(whole[0], "usage", what="host", side="reference")
    assert host["returned"]["median"] <= host["done"]["median"]


def test_what_is_not_there_is_said(whole: Any) -> None:
    results, printed, code = whole
    missing = rows(results, "device", what="torch")[0]["error"]
    assert "CUDA" in missing or missing == "ModuleNotFoundError: No module named 'torch'"
    torch = [row["failed"]["torch"] for row in rows(results, "times")]
    assert all("CUDA" in why or "torch" in why for why in torch)
    assert missing in printed
    for row in rows(results, "usage", what="launches", data="host"):
        assert row["error"].startswith("RuntimeError: not counted")
    for row in rows(results, "sanitizer"):
        assert row["error"] == "compute-sanitizer is not installed"
    (tests,) = rows(results, "tests")
    assert tests["counts"].get("PASSED", 0) == 0  # XLSTM_REQUIRE_GPU=1: the stand-in of the tests does not count
    assert "deselected" in tests["closing_line"]
    assert tests["failed"]
    assert code == 1  # for the tests failed


def test_the_file_is_in_the_form_of_all_results(whole: Any, lib: Any) -> None:
    text = lib("lib.command").as_text(whole[0])
    assert json.loads(text) == whole[0]
    assert (whole[0]["benchmark"], whole[0]["settings"]["quick"]) == ("bench_gpu", True)


def test_a_level_that_is_not_there_is_recorded_and_not_measured(tmp_path: Path) -> None:
    results, _, code = command(tmp_path, "--levels", "cudnn", "--parts", "right,sanitizer")
    found = rows(results, "right")
    if any("error" not in row for row in found):
        pytest.skip("there is a cuDNN on this machine")
    assert len(found) == 3 * 5  # cells; precisions, and float64
    assert rows(results, "sanitizer") == []
    assert code == 0  # nothing is wrong


def test_cudnn_is_measured_where_it_is_found(tmp_path: Path) -> None:
    """By the library of the tests that has its functions."""
    options = ["--levels", "cudnn", "--parts", "right,times,usage"]
    results, printed, code = command(tmp_path, *options, XLSTM_STUB_OF_CUDNN=str(built()))
    found = rows(results, "right")
    assert {(row["precision"], row["dtype"]) for row in found if row["right"]} == {
        ("highest", "float32"), ("high", "float32"), ("bfloat16", "float32"), ("float16", "float32"),
        ("highest", "float64"),
    }  # fmt: skip
    assert all(row["kernels"].startswith("cudnn 9") for row in found)
    errors = {row["precision"]: row["errors"]["forward"] for row in found if row["dtype"] == "float32"}
    assert errors["highest"] < 1e-5 < errors["float16"] < errors["bfloat16"]
    for row in rows(results, "times"):
        assert row["wrong"] == []
        assert row["train"]["cudnn"]["median"] > 0
        equal = row["kind"] != "ragged" and row["precision"] in ("highest", "high")
        assert row["algorithms"] == {"cudnn": "persistent, few hidden units" if equal else "standard"}
    assert "cuDNN's algorithm, tiny full float16, cudnn: standard" in printed
    assert {row["precision"] for row in rows(results, "usage", what="bits", side="cudnn") if row["equal"]} == {
        "highest", "high", "bfloat16", "float16",
    }  # fmt: skip
    assert code == 0


def test_a_step_that_gives_other_bits_is_seen(lib: Any, gpu: Any) -> None:
    usage, sides = lib("lib.gpu_usage"), lib("lib.gpu_sides")
    side = sides.Ours(sides.given_of((2, 3, 4, 5), False), "cuda", "reference", "highest")
    assert usage.same_bits(side)["equal"]
    plain, calls = side.train, []

    def train(k: int) -> Any:
        calls.append(k)
        outputs, dx = plain(k)
        return outputs, dx if len(calls) < 3 else dx * np.float32(1 + 2**-23)

    side.train = train
    found = usage.same_bits(side)
    assert (found["equal"], found["differ"], found["runs"]) == (False, ["dx"], 3)


def test_precisions_are_judged_as_the_tests_judge_them(lib: Any) -> None:
    errors, right = lib("lib.errors"), lib("lib.gpu_right")
    for dtype, precision in [("float64", "highest"), *(("float32", each) for each in xlstm.backends.PRECISIONS)]:
        bounds = errors.bounds_of(dtype, precision)
        assert tuple(bounds.values()) == bounds_of(dtype, precision)
        case = {"level": "reference", "precision": precision, "dtype": dtype, "cell": "rnn"}
        with pytest.MonkeyPatch.context() as patch:
            for kind, share in (("forward", 0.9), ("forward", 1.1), ("gradient", 0.9), ("gradient", 1.1)):
                found = {"forward": 0.0, "gradient": 0.0, kind: share * bounds[kind]}
                patch.setattr(right, "compared", lambda *given, found=found: (found, "fused"))
                assert right.measure(case, {"device": "cuda", "quick": True}, 1.0)["right"] == (share < 1)
    assert errors.bounds_of("float32", "bfloat16") == {"forward": 1e-2, "gradient": 3e-2}
    assert errors.bounds_of("float32", "float16") == errors.bounds_of("float32", "high")


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([{"error": "RuntimeError: no GPU can be used: CuPy is not installed"}], None, "there is no GPU"),
        ([{"error": "its process was killed by SIGSEGV"}], None, "there is no GPU"),
        ([{"error": "killed: it took more than 60 seconds"}], None, "not answered in time (killed: it took more than"),
        ([{"error": "killed: the time of its part was over"}], "its 24 seconds were over", "not answered in time"),
        ([{"error": "no time was left"}], "its 24 seconds were over", "not answered in time (no time was left"),
        ([], "killed: it took more than 90 seconds", "not answered in time (killed: it took more than 90"),
        ([], "its 24 seconds were over", "not answered in time (its 24 seconds were over"),
    ],
)
def test_a_gpu_that_is_late_is_no_gpu_that_is_not_there(
    rows: list[dict[str, Any]], error: str | None, said: str, lib: Any
) -> None:
    part = {"rows": [{"what": "gpu", **row} for row in rows], **({} if error is None else {"error": error})}
    assert said in lib("bench_gpu").why_no_gpu({"parts": {"device": part}})


def test_a_cold_start_has_time(lib: Any) -> None:
    """Of eight minutes, and of one case."""
    parts = lib("bench_gpu").PARTS
    share = parts["device"].share / sum(part.share for part in parts.values())
    assert share * (8 * 60 - 8) > 80
    assert parts["device"].longest > 80


def test_without_a_gpu_it_ends_with_the_reason(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "bench_gpu.py"), "--quick", "--out", str(out)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 1
    results = json.loads(out.read_text(encoding="utf-8"))
    assert list(results["parts"]) == ["device"]
    assert rows(results, "device", what="gpu")[0]["error"].startswith("RuntimeError: no GPU can be used")
    assert "there is no GPU that can be used" in done.stderr


@pytest.mark.parametrize(
    ("part", "row", "code"),
    [
        ("right", {"right": True}, 0),
        ("right", {"right": False}, 1),
        ("right", {"error": "there is no such level"}, 0),
        ("times", {"wrong": ["torch", "jax"]}, 0),
        ("times", {"wrong": ["fused"]}, 1),
        ("tests", {"failed": [], "code": None}, 0),
        ("tests", {"failed": [], "code": 4}, 1),
        ("tests", {"failed": ["a test"], "code": 1}, 1),
        ("sanitizer", {"clean": False}, 1),
        ("sanitizer", {"error": "it is not installed"}, 0),
        ("device", {"what": "gpu", "error": "there is none"}, 1),
    ],
)
def test_the_exit_code_tells_what_is_wrong(part: str, row: dict[str, Any], code: int, lib: Any) -> None:
    assert lib("lib.gpu_report").code({"parts": {part: {"rows": [row]}}}) == code


# ---------------------------------------------------------------- parts that fail


def test_cases_that_fail_leave_all_others(tmp_path: Path) -> None:
    options = ["--levels", "reference", "--parts", "right,sanitizer", "--longest", "5"]
    results, printed, _ = command(tmp_path, *options, XLSTM_PLANT="right raise hang die")
    first, raised, hung, died, *others = rows(results, "right")
    assert raised["error"] == "ValueError: planted"
    assert hung["error"] == "killed: it took more than 5 seconds"
    assert died["error"] == "its process was killed by SIGKILL"
    assert all(row["error"] in printed for row in (raised, hung, died))
    assert [row["right"] for row in (first, *others)] == [True] * 3
    assert len(rows(results, "sanitizer")) == 2  # the next part came after it


WORK = """
    import os, sys, time
    from pathlib import Path
    sys.path.insert(0, {path!r})
    from lib.parts import Part, work

    def measure(case, given, seconds):
        {body}
        return {{"process": os.getpid()}}

    part = Part("", 1, 1, lambda given: [{{"k": k}} for k in range(4)], measure)
    sys.exit(work(part, Path(sys.argv[1]), int(sys.argv[2]), lambda given: {usable}))
"""


def run(lib: Any, body: str, usable: bool = True, seconds: float = 60, longest: float = 60) -> Any:
    code = textwrap.dedent(WORK).format(path=str(BENCHMARKS), body=body, usable=usable)
    return lib("lib.parts").run([sys.executable, "-c", code], {}, seconds, longest)


@pytest.mark.parametrize("fails", ["raise RuntimeError('lost')", "return {'failed': {'a side': 'lost'}}"])
def test_a_process_goes_on_after_an_error_and_another_one_where_the_device_is_lost(fails: str, lib: Any) -> None:
    for usable, processes in ((True, 1), (False, 2)):
        found = run(lib, f"if case['k'] == 1: {fails}", usable)["rows"]
        assert found[1].get("error") == "RuntimeError: lost" or found[1]["failed"] == {"a side": "lost"}
        assert len({row["process"] for row in found if "process" in row}) == processes
        assert [row["k"] for row in found] == [0, 1, 2, 3]


def test_half_a_line_of_a_process_that_died_is_forgotten(lib: Any) -> None:
    half = "Path(sys.argv[1], 'lines').open('ab', buffering=0).write(b'{half')"
    found = run(lib, f"case['k'] == 1 and ({half}, os._exit(3))")["rows"]
    assert found[1]["error"] == "its process ended with code 3"
    assert ["process" in row for row in found] == [True, False, True, True]


def test_the_time_of_a_part_ends_it_and_what_it_has_is_kept(lib: Any) -> None:
    hangs = "if case['k'] == 2: time.sleep(600)"
    found = run(lib, hangs, seconds=3)
    assert "seconds were over" in found["error"]
    done = ["process" in row for row in found["rows"]]
    assert done == [True, True, False, False]
    assert found["rows"][2]["error"] == "killed: the time of its part was over"
    assert found["rows"][3]["error"] == "no time was left"


def ends(process: str) -> bool:
    """Whether a killed process is gone, or a zombie for whose end nobody has asked: soon, on a busy machine."""
    stat, limit = Path(f"/proc/{process}/stat"), time.monotonic() + 30
    while time.monotonic() < limit:
        try:
            if stat.read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_what_a_killed_process_has_started_ends_too(lib: Any, tmp_path: Path) -> None:
    file = tmp_path / "child"
    body = (
        "import subprocess; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"Path({str(file)!r}).write_text(str(child.pid)); time.sleep(600)"
    )
    found = run(lib, body, seconds=3, longest=2)
    assert "killed" in found["rows"][0]["error"]
    assert ends(file.read_text())


def test_a_process_that_never_tells_its_cases_is_an_error(lib: Any) -> None:
    found = lib("lib.parts").run([sys.executable, "-c", "import sys; sys.exit(3)"], {}, 60, 60)
    assert found["rows"] == []
    assert found["error"] == "its process ended with code 3"


def test_a_command_that_is_told_to_end_takes_its_parts_along(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    options = ["--levels", "reference", "--parts", "right", "--out", str(tmp_path / "found.json")]
    environment = {**os.environ, "XLSTM_PLANT": "right hang", "XLSTM_PLANT_PID": str(file)}
    process = subprocess.Popen([*COMMAND, *options], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for _ in iter(process.stderr.readline, ""):
        if file.exists():
            break
    process.terminate()
    process.communicate(timeout=60)
    assert ends(file.read_text())


# ---------------------------------------------------------------- the sides


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("side", ["torch", "torch from the host", "jax", "ours", "ours from the host"])
def test_each_side_is_right(side: str, ragged: bool, lib: Any) -> None:
    sides, errors = lib("lib.gpu_sides"), lib("lib.errors")
    given = sides.given_of((4, 6, 3, 5), ragged)
    truth = sides.Ours(given, "cpu", "reference", "highest", dtype="float64")
    if side.startswith("torch"):
        peer("torch")
        made = sides.Torch(given, "highest", device="cpu", host=side.endswith("host"))
    elif side == "jax":
        if ragged:
            pytest.skip("JAX takes no part in ragged batches")
        pytest.importorskip("jax")
        made = sides.Jax(given, "highest", platform="cpu")
    else:
        made = sides.Ours(given, "cpu", "reference", "highest", host=side.endswith("host"))
    made.train(1)  # of another input: it leaves nothing behind
    found = errors.errors_of(made.results(made.train()), truth.results(truth.train()))
    assert errors.within(found)
    assert made.infer().shape[2] == 5


def test_over_the_padding_is_something_else(lib: Any) -> None:
    peer("torch")
    sides, errors = lib("lib.gpu_sides"), lib("lib.errors")
    given = sides.given_of((4, 6, 3, 5), True)
    packed, padded = (sides.Torch(given, "highest", device="cpu", packed=packed) for packed in (True, False))
    assert not errors.within(errors.errors_of(padded.results(padded.train()), packed.results(packed.train())))


def test_a_result_that_was_not_written_is_seen(lib: Any, gpu: Any) -> None:
    """Memory holds NaN before a side is compared, and a wrong number is told by its size."""
    import cupy

    times = lib("lib.gpu_times")
    true = {"outputs": cupy.ones((2, 3)), "dx": cupy.ones((4,))}

    class Side:
        def __init__(self, outputs: Any) -> None:
            self.outputs = outputs

        def train(self) -> Any:
            return cupy.empty((2, 3), "float32") if self.outputs is None else self.outputs

        def results(self, returned: Any) -> Any:
            return {"outputs": returned, "dx": cupy.ones((4,), "float32")}

    assert times.compared(cupy, Side(None), true) == {"forward": float("inf"), "gradient": 0.0}
    near = times.compared(cupy, Side(cupy.full((2, 3), 1.001, "float32")), true)
    assert near["forward"] == pytest.approx(1e-3, rel=1e-3)


# ---------------------------------------------------------------- what other programs tell


def test_a_trace_is_counted_by_kind(lib: Any) -> None:
    trace = lib("lib.gpu_trace")
    events = [("gates", True)] * 3 + [("Memcpy HtoD (Pinned -> Device)", True), ("Memset (Device)", True)]
    events += [
        ("cudaStreamSynchronize", False),
        ("cudaMalloc", False),
        ("aten::add", False),
        ("cudaLaunchKernel", False),
    ]
    found = trace.of_events(events)
    assert found.counts() == {"launches": 3, "copies_to_device": 1, "copies_to_host": 0, "synchronisations": 1,
                              "allocations": 1}  # fmt: skip
    assert trace.names_of(found) == {"launches": 3, "names": {"gates": 3}}


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}", encoding="utf-8")
    file.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the programs are scripts")
def test_launches_are_counted_by_nsys_and_the_sanitizer_is_run(tmp_path: Path) -> None:
    """Stand-ins for both: nsys "sees" 7 kernels and as many more as there are rows, and two copies."""
    program(tmp_path, "nsys", """
        import sys
        from pathlib import Path
        if sys.argv[1] == "profile":
            report = Path(sys.argv[sys.argv.index("--output") + 1] + ".nsys-rep")
            report.write_text(sys.argv[-2])
        else:
            print("Processing ...")
            print("Start (ns),Duration (ns),Name")
            for k in range(7 + int(Path(sys.argv[-1]).read_text())):
                print(f'{k},5,"steps<float, {k % 2}>(int)"')
            print("0,1,[CUDA memcpy Host-to-Device]")
            print("0,1,[CUDA memset]")
    """)  # fmt: skip
    program(tmp_path, "compute-sanitizer", """
        import sys
        assert sys.argv[1:3] in (["--tool", "memcheck"], ["--tool", "racecheck"])
        print("========= COMPUTE-SANITIZER")
        print("========= ERROR SUMMARY: 1 error" if "racecheck" in sys.argv else "========= ERROR SUMMARY: 0 errors")
        sys.exit(9 if "racecheck" in sys.argv else 0)
    """)  # fmt: skip
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    options = ["--levels", "reference", "--parts", "usage,sanitizer"]
    results, _, code = command(tmp_path, *options, PATH=path)
    (found,) = rows(results, "usage", what="launches", data="host")
    assert (found["by"], found["step"]["launches"], found["fit_of_one"]["launches"]) == ("nsys", 2, 9)
    assert (found["step"]["copies_to_device"], found["fit_of_one"]["copies_to_device"]) == (0, 1)
    clean = {row["tool"]: (row["clean"], row["closing_line"]) for row in rows(results, "sanitizer")}
    assert clean == {"memcheck": (True, "ERROR SUMMARY: 0 errors"), "racecheck": (False, "ERROR SUMMARY: 1 error")}
    assert code == 1  # for the sanitizer found something


@pytest.mark.parametrize("module", ["gpu_programs", "gpu_usage"])
def test_what_other_programs_watch_runs(module: str, lib: Any, gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {
        "gpu_programs": ["cuda", "reference"],
        "gpu_usage": ["cuda", "reference", "highest", "2", "3", "4", "5", "4", "host"],
    }
    with gpu.counting() as seen:
        lib(f"lib.{module}").main(arguments[module])
    assert seen.launches > 100
    if module == "gpu_programs":
        cells = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert cells == ["lstm", "lstm", "gru", "gru", "rnn", "rnn"]


def test_tests_are_counted_by_their_outcome_though_they_were_stopped(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = lib("lib.gpu_programs")
    told = "tests/a.py::test_a[cuda-x y] PASSED [ 1%]\ntests/a.py::test_b FAILED [ 2%]\ntests/a.py::test_c "
    monkeypatch.setattr(programs, "output_within", lambda *arguments: (told, None))
    found = programs.run_tests({}, {"quick": False}, 9)
    assert found["counts"] == {"PASSED": 1, "FAILED": 1}
    assert (found["failed"], found["stopped"]) == (["tests/a.py::test_b"], "its 9 seconds were over")


def test_output_until_the_end_of_the_time_is_kept(lib: Any) -> None:
    code = "import time; print('so far', flush=True); time.sleep(600)"
    text, ended = lib("lib.gpu_programs").output_within([sys.executable, "-c", code], ROOT, os.environ, 2)
    assert (text, ended) == ("so far\n", None)


def test_every_name_of_cupy_is_one_of_the_real_cupy() -> None:
    """Chains of names that begin with `cupy`, in the files of the benchmark; and the methods of what they give."""
    cupy = peer("cupy")
    used = set()
    for file in (*BENCHMARKS.glob("lib/gpu_*.py"), BENCHMARKS / "bench_gpu.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("cupy."):
                used.add(ast.unparse(node))
    assert {"cupy.cuda.Event", "cupy.cuda.get_elapsed_time", "cupy.get_default_memory_pool"} <= used
    for chain in used:
        value = cupy
        for name in chain.split(".")[1:]:
            if "(" not in chain:
                value = getattr(value, name)
    methods = {
        cupy.cuda.Event: ["record", "synchronize"],
        cupy.cuda.MemoryPool: ["free_all_blocks", "used_bytes", "total_bytes"],
        cupy.cuda.MemoryHook: ["malloc_postprocess", "free_postprocess", "alloc_postprocess", "__enter__"],
        cupy.ndarray: ["fill", "astype"],
        cupy.cuda.runtime: ["driverGetVersion", "runtimeGetVersion", "profilerStart", "profilerStop"],
    }
    for owner, names in methods.items():
        assert [name for name in names if not hasattr(owner, name)] == []


# ---------------------------------------------------------------- the model of cost, and the page


def test_operations_are_those_of_the_products(lib: Any) -> None:
    cost, shapes = lib("lib.gpu_cost"), lib("lib.shapes")
    for size in ((64, 100, 256, 256), (3, 5, 7, 11)):
        for level in cost.LEVELS:
            there, back = cost.forward(level, size), cost.backward(level, size)
            assert there.operations == shapes.inference_flops(size)
            assert there.operations + back.operations == shapes.training_flops(size, input_gradient=True)


def test_bytes_are_those_of_the_arrays(lib: Any) -> None:
    """By hand, for N = 1, T = 1, D = 1, H = 1 in float32, and in numbers of two bytes in products."""
    cost = lib("lib.gpu_cost")
    there = 4 * (1 + 4) + 4 * 4 + (4 * (1 + 4) + 2 * 4 * 4) + 4 * (2 * 4 + 4)
    assert cost.forward("fused", (1, 1, 1, 1)).bytes == there
    assert cost.forward("fused", (1, 1, 1, 1), "float16").bytes == there - 2 * (1 + 4) - 2 * (1 + 4)
    step = 4 * (4 + 4) + 2 * 4 + 4 * (2 * 4 + 6)
    assert cost.backward("fused", (1, 1, 1, 1)).bytes == step + 4 * (3 * 4 + 1 + 1) + 2 * 4 * 4 * (1 + 1) + 4


@pytest.mark.parametrize("level", ["reference", "fused"])
def test_launches_of_a_step_are_those_that_the_stand_in_counts(level: str, lib: Any, gpu: Any) -> None:
    cost = lib("lib.gpu_cost").LEVELS[level]

    def launches(steps: int) -> tuple[int, int]:
        layer = xlstm.LSTM(2, 3, device="cuda", kernels=level)
        x = layer.backend.from_host(np.ones((4, steps, 2), np.float32))
        with gpu.counting() as forward:
            outputs, _, tape = layer.forward(x)
        with gpu.counting() as backward:
            layer.backward(tape, outputs)
        return forward.launches, backward.launches

    few, many = launches(10), launches(30)
    per_step = [(b - a) / 20 for a, b in zip(few, many, strict=True)]
    assert per_step[0] == cost.forward
    assert per_step[1] == pytest.approx(cost.backward, abs=1)
    if level == "fused":
        assert few[0] - 10 * cost.forward <= cost.forward_once + 3
        assert few[1] - 10 * cost.backward <= cost.backward_once + 3


def test_times_follow_the_assumptions(lib: Any) -> None:
    cost = lib("lib.gpu_cost")
    size, T = (64, 100, 256, 256), 100
    fused = cost.forward("fused", size)
    assert fused.host == pytest.approx((201 * 5e-6, 201 * 12e-6))
    assert fused.seconds[0] == fused.host[0] > fused.device[0]  # narrow: Python is what it waits for
    wide = cost.forward("fused", (128, T, 1024, 1024))
    assert wide.seconds == wide.device
    assert wide.device[0] >= wide.operations / 67e12 + 201 * 2e-6
    assert cost.forward("fused", (128, T, 1024, 1024), "high").device[1] < wide.device[0]
    at_once = cost.forward("cudnn, persistent", (16, 1024, 768, 768), "float16")
    assert at_once.launches == 6
    assert at_once.device[0] <= 2.0e-3 <= at_once.device[1]  # what others have measured of it, on an H100
    for level, precision in cost.ROWS:
        for function in (cost.forward, cost.backward):
            for span in (found := function(level, size, precision)).device, found.host, found.seconds:
                assert 0 < span[0] <= span[1]


def test_the_page_has_the_tables_of_now(lib: Any) -> None:
    tables = lib("gpu_tables")
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    result = tables.newest_result()
    for name, text in (("measured", tables.measured(result)), ("computed", tables.computed(result))):
        page = tables.between(page, name, "gpu_tables.py", "\n".join(text))
    told = "write the tables again: python benchmarks/gpu_tables.py --write"
    assert page == (ROOT / "docs" / "devices.md").read_text(encoding="utf-8"), told
    assert result is not None or "Not measured yet." in page
    assert "COMPUTED for H100 SXM, NOT MEASURED" in page


def test_tables_are_made_of_results_and_stand_between_their_markers(whole: Any, tmp_path: Path) -> None:
    results, page = tmp_path / "found.json", tmp_path / "page.md"
    results.write_text(json.dumps(whole[0]), encoding="utf-8")
    page.write_text((ROOT / "docs" / "devices.md").read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    write = [
        sys.executable,
        str(BENCHMARKS / "gpu_tables.py"),
        "--results",
        str(results),
        "--page",
        str(page),
        "--write",
    ]
    for _ in range(2):  # a second time changes nothing
        subprocess.run(write, check=True, timeout=120)
    text = page.read_text(encoding="utf-8")
    assert "Measured: Stand-in GPU, CuPy 14.2.0" in text
    assert "A QUICK TEST: these figures mean nothing." in text
    assert text.count("| reference | highest | float32 |") == 1
    assert "Not measured yet." not in text
    head, tail = before.split("<!-- measured")[0], before.split("<!-- end of computed -->")[1]
    assert text.startswith(head)
    assert text.endswith(tail)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        ("{}", "it lacks date, machine, settings, parts"),
        ("[]", "it lacks date"),
        ("no JSON", "Expecting value"),
    ],
)
def test_tables_of_what_is_no_result_are_an_error(content: Any, told: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    if content is not None:
        found.write_text(content, encoding="utf-8")
    command = [sys.executable, str(BENCHMARKS / "gpu_tables.py"), "--results", str(found)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{found} is no result of bench_gpu.py: ")
    assert told in done.stderr


def test_a_quick_result_is_not_written_to_the_page(whole: Any, tmp_path: Path) -> None:
    before = (ROOT / "docs" / "devices.md").read_bytes()
    results = tmp_path / "found.json"
    results.write_text(json.dumps(whole[0]), encoding="utf-8")
    command = [sys.executable, str(BENCHMARKS / "gpu_tables.py"), "--results", str(results), "--write"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "a quick result" in done.stderr
    assert (ROOT / "docs" / "devices.md").read_bytes() == before


def test_published_figures_stand_where_they_apply(lib: Any) -> None:
    last = {tuple(row[:3]): row[-1] for row in lib("lib.gpu_cost").table()}
    assert last["H 1024, N 128", "cudnn", "highest"] == last["H 1024, N 128", "fused", "highest"] == "–"
    assert last["H 1024, N 128", "cudnn", "high"] == "12–16"
    assert list(last.values()).count("–") == 2


def test_measured_microseconds_stand_beside_the_computed_ones(lib: Any) -> None:
    tables, times = lib("gpu_tables"), lib("lib.gpu_times")
    cost = lib("lib.gpu_cost")
    assert {name.partition(",")[0]: size for name, size in cost.TABLE.items()}.items() <= times.SIZES.items()
    row = {"shape": "H 256", "kind": "full", "precision": "high", "size": [64, 100, 256, 256],
           "infer": {"fused": {"median": 1.5e-3}}, "train": {"fused": {"median": 4e-3}}}  # fmt: skip
    lines = list(tables.computed({"parts": {"times": {"rows": [row, {**row, "error": "none"}]}}}))
    (line,) = [line for line in lines if line.startswith("| H 256, N 64 | fused | high |")]
    assert line.endswith("| 15 | 40 |")
    assert sum(line.endswith("| – | – |") for line in lines) == len(cost.table()) - 1


def test_a_page_without_its_markers_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n", encoding="utf-8")
    write = [sys.executable, str(BENCHMARKS / "gpu_tables.py"), "--page", str(page), "--write"]
    done = subprocess.run(write, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "once, in this order" in done.stderr
    assert page.read_text(encoding="utf-8") == "# A page\n"
