"""How many threads take part in a call, how they divide it, and that its results do not depend on that.

Each case runs in a process of its own that may use 64 threads, however many processors there are: threads are counted,
not timed.
"""

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xlstm.backends import cpu

from xlstm.optim import Optimizer

from .. import oracle
from ..conftest import TARGETS, usable_target
from .test_cpu import assert_same, process, random_case

LEAST = 4e5
"""Operations: a thread that has fewer waits longer for the others than it works."""


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    """Each instruction set."""
    return usable_target(request.param)


@pytest.fixture
def best() -> str:
    """The instruction set in use: how threads are counted is the same in all."""
    return usable_target(cpu.target or TARGETS[0])


def printed_by(function: Any, target: str, **environment: str) -> str:
    """What a function of this file prints, on up to 64 threads."""
    threads = {"OMP_NUM_THREADS": "64", "OMP_DYNAMIC": "false", **environment}
    done = process(f"from tests.backends import test_cores; test_cores.{function.__name__}({target!r})", **threads)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    if "no threads" in done.stdout:
        pytest.skip("the kernels were compiled without OpenMP")
    return done.stdout


def test_as_many_threads_take_part_as_the_work_is_worth(best):
    assert printed_by(count_by_size, best) == "counted\n"


def test_a_small_call_does_not_wake_what_a_large_one_started(best):
    assert printed_by(count_after_a_large_call, best) == "counted\n"


def test_an_optimiser_wakes_as_many_as_its_numbers_are_worth(best):
    assert printed_by(count_of_the_optimiser, best) == "counted\n"


def test_no_more_threads_take_part_than_the_process_may_use(best):
    assert printed_by(count_where_three_are_allowed, best, OMP_NUM_THREADS="3") == "counted\n"


def test_no_more_threads_are_started_than_the_system_gives(best):
    limits = {"OMP_NUM_THREADS": "8", "OMP_THREAD_LIMIT": "3"}
    assert printed_by(count_where_three_are_allowed, best, **limits) == "counted\n"


def test_a_lower_limit_leaves_other_processors_alone(best):
    assert printed_by(count_below_what_was_started, best) == "counted\n"


def test_weight_gradients_of_small_layers_are_divided_among_all(best):
    assert printed_by(count_weight_gradients, best) == "counted\n"


def test_the_same_bits_for_tasks_in_whole_and_in_parts(target):
    assert printed_by(compare_divisions, target) == "12 cases alike\n"


def test_the_same_bits_from_teams_of_many(target):
    """More members than wait for each other without a tree."""
    assert printed_by(compare_large_teams, target) == "2 cases alike\n"


# ---------------------------------------------------------------- what runs in those processes


def no_threads(target: str) -> bool:
    cpu.target = target
    if cpu.threads() > 1:
        return False
    print("no threads")
    return True


def started() -> int | None:
    """How many threads this process has; None where the system does not tell."""
    tasks = Path("/proc/self/task")
    return len(os.listdir(tasks)) if tasks.exists() else None


def made(shape: tuple[int, int, int, int], cell: str = "lstm", dtype: str = "float32", **options: Any) -> Any:
    """A case, and the call of its forward walk."""
    case = random_case(np.random.default_rng(20), cell, dtype, shape, **options)
    params, kernels = oracle.of_cell(case.parameters, "l0"), cpu.find_cell(cell, dtype)
    return case, params, kernels


def count_by_size(target: str) -> None:
    """Sizes that rise: the threads never have too little to do, and rise to all."""
    if no_threads(target):
        return
    shapes = [(1, 1, 4, 8), (16, 4, 8, 16), (16, 10, 16, 32), (64, 10, 16, 32), (64, 20, 32, 64), (128, 20, 64, 256)]
    before, counts = started(), []
    for shape in shapes:
        N, T, D, H = shape
        case, params, kernels = made(shape)
        flops = 2.0 * N * T * 4 * H * (D + H)
        cpu.set_threads(None)  # nothing is known of calls before
        cpu.force_cores("near")
        tape = kernels.forward(params, case.x)[2]
        forward = cpu.crew()
        kernels.backward(params, tape, case.d_outputs)
        backward = cpu.crew()
        for crew, work in ((forward, flops), (backward, 2 * flops)):
            assert 1 <= crew.teams * crew.members == crew.threads <= 64
            assert crew.threads == 1 or crew.threads * LEAST / 2 <= work, (shape, crew)
            assert 1 / crew.threads - 1e-9 <= crew.walk <= 1, (shape, crew)
        if before is not None:
            most = max([1, *(each.woken for each in (forward, backward))])
            assert started() <= before - 1 + max(most, *counts, 1), "more threads were started than had work"
        assert forward.woken == max([forward.threads, *(count for count in counts if forward.threads > 1)])
        counts += [forward.threads, backward.threads]
    assert counts[0] == 1
    assert all(first <= second for first, second in pairwise(counts[::2]))
    assert counts[-2] > 32
    print("counted")


def count_after_a_large_call(target: str) -> None:
    """At first they are all kept ready; once a second has gone without such a call, a small one wakes its own alone."""
    if no_threads(target):
        return
    large, small = (made(shape) for shape in ((128, 20, 64, 256), (16, 10, 16, 32)))

    def call(case: Any, params: Any, kernels: Any) -> cpu.Crew:
        cpu.set_threads(64)
        kernels.forward(params, case.x, keep=False)
        return cpu.crew()

    everyone = call(*large)
    assert everyone.threads > 32
    few = call(*small)
    assert 1 < few.threads < 8
    time.sleep(1.1)
    few = call(*small)
    assert few.threads == few.woken < 8
    until = time.monotonic() + 30
    while (started() or 0) > few.woken + 1 and time.monotonic() < until:
        time.sleep(0.01)  # they end by themselves
    assert (started() or 0) <= few.woken + 1
    assert call(*large).threads == everyone.threads
    print("counted")


def count_of_the_optimiser(target: str) -> None:
    """And its step is the same whatever their number: the norm is summed in pieces that do not depend on it."""
    if no_threads(target):
        return
    rng = np.random.default_rng(21)
    for count, threads in ((1000, 1), (40_000, 2), (3_000_000, 64)):
        start, gradients = rng.standard_normal((2, count)).astype(np.float32)
        results = []
        for limit in (1, 3, 64):
            cpu.set_threads(limit)
            parameters = start.copy()
            optimizer = Optimizer(parameters, solver="adam")
            optimizer.updates = 1  # as `step` counts them
            cpu.find_step("float32")(optimizer, parameters, gradients, 0.01, 0.5)
            assert cpu.crew().threads == min(limit, threads)
            results.append(parameters)
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])
    print("counted")


def count_where_three_are_allowed(target: str) -> None:
    if no_threads(target):
        return
    case, params, kernels = made((64, 20, 32, 128))
    kernels.forward(params, case.x, keep=False)
    assert cpu.crew().threads == cpu.crew().woken == 3 == cpu.threads()
    print("counted")


def count_below_what_was_started(target: str) -> None:
    if no_threads(target):
        return
    case, params, kernels = made((128, 20, 64, 256))
    for limit in (64, 2, 3):
        cpu.set_threads(limit)
        kernels.forward(params, case.x, keep=False)
        assert cpu.crew().woken == cpu.crew().threads <= limit, (limit, cpu.crew())
        assert cpu.crew().threads > limit / 2
    print("counted")


def count_weight_gradients(target: str) -> None:
    """Layers of one or two tiles of units: nobody has much more than an even part."""
    if no_threads(target):
        return
    for cell in ("lstm", "gru", "rnn"):
        for H in (16, 32):
            case, params, kernels = made((512, 40, 8, H), cell)
            cpu.set_threads(8)
            kernels.backward(params, kernels.forward(params, case.x)[2], case.d_outputs)
            crew = cpu.crew()
            assert crew.threads > 2
            assert crew.gradients <= 2 / crew.threads, (cell, H, crew)
    print("counted")


def results_of(case: Any, params: Any, kernels: Any, reverse: bool) -> tuple[list[dict[str, Any]], list[cpu.Crew]]:
    """All that a training step gives, and who did it."""
    lengths = None if case.lengths is None else case.lengths.tolist()
    outputs, state, tape = kernels.forward(params, case.x, None, lengths, reverse=reverse)
    crews = [cpu.crew()]
    dx, d_state, gradients = kernels.backward(params, tape, case.d_outputs)
    crews.append(cpu.crew())
    states, d_states = ([each] if isinstance(each, np.ndarray) else list(each) for each in (state, d_state))
    arrays = {f"state {k}": each for k, each in enumerate(states)} | {f"d {k}": each for k, each in enumerate(d_states)}
    return [{"outputs": outputs, "dx": dx, **arrays, **gradients}], crews


def compare_divisions(target: str) -> None:
    """Two tasks of 32 rows, which few threads share in whole and many in parts, forward and backward."""
    if no_threads(target):
        return
    alike = 0
    for cell in ("lstm", "gru", "rnn"):
        for dtype in ("float32", "float64"):
            for ragged in (False, True):
                lengths = np.random.default_rng(22).integers(1, 41, 64) if ragged else None
                case, params, kernels = made((64, 40, 10, 40), cell, dtype, lengths=lengths)
                found, tasks = [], set()
                for threads in (1, 2, 5, 16, 64):
                    cpu.set_threads(threads)
                    results, crews = results_of(case, params, kernels, ragged)
                    found.append(results)
                    tasks |= {crew.tasks for crew in crews}
                for results in found[1:]:
                    assert_same(results, found[0])
                assert min(tasks) == 2, tasks
                assert max(tasks) >= 8, tasks
                alike += 1
    print(alike, "cases alike")


def compare_large_teams(target: str) -> None:
    if no_threads(target):
        return
    alike = 0
    for shape in ((1, 60, 8, 520), (33, 12, 20, 330)):
        case, params, kernels = made(shape)
        cpu.set_threads(1)
        expected, _ = results_of(case, params, kernels, False)
        cpu.set_threads(64)
        for _ in range(3):
            found, crews = results_of(case, params, kernels, False)
            assert_same(found, expected)
            assert max(crew.members for crew in crews) > 8, crews
        alike += 1
    print(alike, "cases alike")
