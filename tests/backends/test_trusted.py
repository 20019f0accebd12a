"""The check that a level of a GPU has to pass: are its problems such that whoever is right passes?"""

import numpy as np
import pytest
from xlstm.backends.cuda.fused import FusedCell

from xlstm import backends, cells, trusted

from ..standin import machine


@pytest.mark.parametrize("cell", ["lstm", "rnn", "gru"])
def test_what_is_right_is_well_within_the_bound_in_every_problem(cell):
    """The array code in float32 beside itself in float64: a third of the bound is left for a level that sums in another
    order, though no problem is so unkind that rounding alone grows to an error."""
    record, cpu = cells.by_name(cell), backends.select("cpu")
    worst = (0.0, "")
    for problem in trusted.problems_at_length():
        single, double = (trusted._results(cell, record, cpu, dtype, problem) for dtype in ("float32", "float64"))
        floor = trusted._floor_of_gradients(double)
        for name, expected in double.items():
            error = trusted._error(single[name], expected, floor if name.startswith("d") else 0.0)
            worst = max(worst, (error, f"{name} ({problem})"))
    assert 0 < worst[0] < trusted.BOUNDS["highest"] / 3, worst


def test_a_fused_cell_of_many_hidden_units_passes_the_check_at_length():
    """Where weights as wide as those of small cells would make it chaotic."""
    problem = next(one for one in trusted.problems_at_length() if one.shape == (33, 20, 64, 128) and one.states)
    with machine():
        import cupy

        backend = backends.select("cuda")
        with backend.current():
            fused = FusedCell(cupy, "rnn", "float32")
        found = trusted.agreement("rnn", fused, backend, "float32", "highest", [problem])
    assert found is not None
    assert found.problems == 1
    assert found.error < trusted.BOUNDS["highest"] / 2, found


def test_a_gradient_that_cancels_is_measured_beside_the_others():
    double = {"outputs": np.full(4, 1e-6), "dx": np.ones((3, 3)), "d_bias": np.full(1, 1e-6)}
    floor = trusted._floor_of_gradients(double)
    assert floor == pytest.approx(0.1 * (9 / 10) ** 0.5)
    assert trusted._error(np.full(1, 2e-6), double["d_bias"], floor) == pytest.approx(1e-6 / floor)
    assert trusted._error(np.full(4, 2e-6), double["outputs"]) == pytest.approx(1), "nothing else is"
    assert trusted._error(np.full(1, np.nan), double["d_bias"], floor) == np.inf
    assert trusted._floor_of_gradients({"outputs": np.ones(2)}) == 0
