"""The bench: what it counts, how it takes turns, what it calls the crossing point. No test of speed."""

import time
from typing import Any

import pytest

from xlstm import backends, bench

from ..standin import machine

SIZES = ((1, 2, 3, 4), (2, 3, 4, 8), (4, 3, 4, 16))


@pytest.fixture
def times(monkeypatch):
    """Small sizes, no compiled kernels; what each device is said to take for a training step, size by size, in ms."""
    monkeypatch.setattr(bench, "SIZES", SIZES)
    monkeypatch.setattr(backends.cpu, "target", None)
    given: dict[str, list[float]] = {}
    calls = [0]

    def measured(functions: Any) -> dict[str, list[float]]:
        for function in functions.values():
            function()  # it works
        size, training = divmod(calls[0], 2)
        calls[0] += 1
        return {name: [1e-3 * given.get(name[0], [5.0] * 3)[size] / (1 if training else 4)] * 3 for name in functions}

    monkeypatch.setattr(bench, "interleaved", measured)
    return given


def test_interleaved_takes_turns():
    order: list[str] = []
    functions = {"one": lambda: order.append("one"), "two": lambda: order.append("two")}
    found = bench.interleaved(functions, seconds=0.0, rounds=3, pause=0.0)
    # A call that is not counted and two that are, from each in turn.
    assert order == (["one"] * 3 + ["two"] * 3) * 3
    assert {name: len(seconds) for name, seconds in found.items()} == {"one": 6, "two": 6}


def test_interleaved_measures_seconds_a_call():
    found = bench.interleaved({"nap": lambda: time.sleep(0.003)}, seconds=0.0, rounds=1, pause=0.0)["nap"]
    assert all(seconds >= 0.003 for seconds in found)


def test_flops_of_a_training_step_are_counted_by_hand():
    N, T, D, H = 2, 3, 4, 5
    forward = 0
    for _ in range(N * T):
        for _ in range(4 * H):
            forward += 2 * (D + H)  # a multiplication and an addition for each input of each gate
    assert bench.training_flops((N, T, D, H)) == 3 * forward


def test_the_rows_say_what_was_measured(times):
    times["cpu"] = [4.0, 8.0, 16.0]
    results = bench.run("cpu")
    assert results["crossing"] is None
    for row, size, milliseconds in zip(results["rows"], SIZES, times["cpu"], strict=True):
        N, _, D, H = size
        assert row["size"] == list(size)
        assert row["device"] == "cpu"
        assert row["kernels"] == backends.find("lstm", backends.select("cpu"), "float32", "auto").kernels
        assert row["training_step_ms"] == pytest.approx(milliseconds)
        assert row["forward_ms"] == pytest.approx(milliseconds / 4)
        assert row["training_gflops"] == pytest.approx(bench.training_flops(size, False) / milliseconds / 1e6)
        assert row["flops_per_step"] == 2 * N * 4 * H * (D + H)
        assert 0 < row["error"] < 5e-6
    text = bench.table(results)
    for size in SIZES:
        assert ", ".join(map(str, size)) in text
    assert "16.00 ms" in text
    assert "no crossing point" in text


def test_compiled_kernels_are_measured_beside_the_reference(monkeypatch, kernels):
    monkeypatch.setattr(bench, "SIZES", SIZES[:1])
    monkeypatch.setattr(
        bench, "interleaved", lambda functions: {name: [1.0] for name in functions if not functions[name]()}
    )
    chosen = backends.find("lstm", backends.select("cpu"), "float32", "auto").kernels
    assert [row["kernels"] for row in bench.run("cpu")["rows"]] == list(dict.fromkeys([chosen, "reference"]))


def test_progress_is_told_of_each_size(times):
    lines: list[str] = []
    bench.run("cpu", lines.append)
    assert len(lines) == 3
    assert all(str(size) in line for size, line in zip(SIZES, lines, strict=True))


CROSSINGS = {
    "from the second on": ([1, 2, 4], [2, 1, 1], 1),
    "everywhere": ([2, 2, 4], [1, 1, 1], 0),
    "only the largest": ([1, 1, 4], [2, 2, 1], 2),
    "back again in between": ([2, 1, 4], [1, 2, 1], 2),
    "nowhere": ([1, 1, 1], [2, 2, 2], None),
    "not at the largest": ([2, 2, 1], [1, 1, 2], None),
}


@pytest.mark.parametrize("name", CROSSINGS)
def test_the_crossing_point_is_where_the_gpu_stays_ahead(times, name):
    times["cpu"], times["cuda:0"], first = CROSSINGS[name]
    with machine(devices=1):
        results = bench.run()
        paths = [(device, kernels) for device in ("cpu", "cuda:0") for kernels in bench.paths(device)]
    assert [(row["device"], tuple(row["size"])) for row in results["rows"]] == [
        (device, size) for size in SIZES for device, _ in paths
    ]
    assert all(row["error"] < 5e-6 for row in results["rows"])
    crossing, text = results["crossing"], bench.table(results)
    assert crossing["device"] == "cuda:0"
    if first is None:
        assert crossing["size"] is None
        assert crossing["flops_per_step"] is None
        assert "CPU trains faster at every size" in text or "largest" in text
        return
    N, _, D, H = SIZES[first]
    assert crossing["size"] == list(SIZES[first])
    assert crossing["flops_per_step"] == 2 * N * 4 * H * (D + H)
    assert str(SIZES[first]) in text


def test_the_crossing_point_is_that_of_the_fastest_path_of_the_first_gpu():
    work = {(1, 1, 1, 1): 1e6, (2, 1, 1, 1): 2e6, (4, 1, 1, 1): 4e6}
    times = {
        ("cpu", "avx2"): (3, 3, 3),
        ("cpu", "reference"): (9, 9, 9),
        ("cuda:0", "cudnn 9.1"): (4, 2, 4),  # the fused kernels are ahead at the largest
        ("cuda:0", "fused"): (5, 5, 2),
        ("cuda:0", "reference"): (8, 8, 8),
        ("cuda:1", "fused"): (1, 1, 1),
    }
    rows = [
        {"device": device, "size": list(size), "flops_per_step": flops, "training_step_ms": milliseconds[k]}
        for (device, _), milliseconds in times.items()
        for k, (size, flops) in enumerate(work.items())
    ]
    assert bench.crossing_point(rows) == {"flops_per_step": 2e6, "size": [2, 1, 1, 1], "device": "cuda:0"}


def test_one_gpu_alone_has_no_crossing_point(times):
    with machine(devices=2):
        results = bench.run("cuda:1")
    assert {row["device"] for row in results["rows"]} == {"cuda:1"}
    assert results["crossing"] is None


def test_the_sizes_go_from_overhead_to_arithmetic():
    work = [bench.training_flops(size) for size in bench.SIZES]
    assert len(work) >= 4
    assert work[0] < 1e8
    assert work[-1] > 1e9
    per_step = [2 * N * 4 * H * (D + H) for N, _, D, H in bench.SIZES]
    assert per_step == sorted(per_step)
    assert per_step[0] < backends.AUTO_MIN_FLOPS_PER_STEP < per_step[-1], (
        "the rule of 'auto' is within what is measured"
    )
