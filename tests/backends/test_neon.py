"""The kernels of the NEON instruction set on any machine: cross-compiled, run under an emulator, against the reference.

The driver, neon_driver.cpp, makes one forward and one backward call from a description that it reads.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xlstm.backends import numpy_arrays

from xlstm import cells

from .. import oracle
from ..conftest import COMPILED_CELLS
from ..measure import check_forward, check_gradients

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "backends" / "cpu"
SOURCES = [str(FOLDER / "kernels" / "kernels.cpp"), str(HERE / "neon_driver.cpp")]
COMPILERS = ["aarch64-linux-gnu-g++"]
EMULATORS = ["qemu-aarch64-static", "qemu-aarch64"]
INSTALL = "apt-get install g++-aarch64-linux-gnu qemu-user-static"


def tool(names: list[str]) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed: the NEON kernels were not tested ({INSTALL})")
    return found


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """For each dtype the command that runs the driver."""
    compiler, emulator = tool(COMPILERS), tool(EMULATORS)
    folder = tmp_path_factory.mktemp("neon")
    commands = {}
    for dtype, real in (("float32", "float"), ("float64", "double")):
        program = folder / real
        command = [compiler, "-std=c++17", "-O2", "-static",
                   "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
                   "-DXLSTM_TARGET=neon", f"-DXLSTM_REAL={real}", f"-I{FOLDER}", *SOURCES,
                   "-o", str(program)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        commands[dtype] = [emulator, str(program)]
    return commands


# N, T, D, H; V tokens or 0; one-hot. Edges of tiles and panels, one row, few rows, several tasks.
SHAPES = [
    ((1, 1, 1, 1), 0, False),
    ((1, 9, 17, 16), 0, False),
    ((3, 6, 16, 33), 0, False),
    ((5, 7, 15, 65), 0, False),
    ((17, 4, 65, 17), 0, False),
    ((40, 30, 3, 20), 0, False),  # more steps than a block of time has room for
    ((6, 5, 63, 64), 0, False),
    ((7, 6, 19, 31), 23, False),
    ((9, 5, 40, 18), 40, True),
    ((2, 3, 5, 270), 0, False),  # more tiles than one pass over the gates' gradients
]


@pytest.mark.parametrize(("shape", "vocabulary", "one_hot"), SHAPES)
@pytest.mark.parametrize("cell", COMPILED_CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neon(drivers, cell, dtype, shape, vocabulary, one_hot):
    rng = np.random.default_rng([*shape, 3])
    N, T, D, H = shape
    names = oracle.STATES[cell]
    lengths = rng.integers(1, T + 1, N)
    reverse, has_lengths, has_state, has_d_outputs, input_gradient = (bool(n) for n in rng.integers(0, 2, 5))

    def drawn(*sizes: int) -> Any:
        return rng.normal(size=sizes).astype(dtype)

    parameters = oracle.random_parameters(rng, cell, D, H, scale=0.6)
    params = {name: values.astype(dtype) for name, values in oracle.of_cell(parameters, "l0").items()}
    ids = rng.integers(0, max(vocabulary, 1), (N, T))
    x, table = (None, drawn(vocabulary, D)) if vocabulary else (drawn(N, T, D), None)
    table = None if one_hot else table
    state = [drawn(N, H) for _ in names] if has_state else []
    d_outputs = drawn(N, T, H) if has_d_outputs else None
    d_state = [drawn(N, H) for _ in names]

    numbers = [N, T, D, H, vocabulary, one_hot, reverse]
    numbers += [has_lengths, has_state, has_d_outputs, input_gradient]
    whole = [np.array(numbers, np.int64), lengths if has_lengths else None, ids if vocabulary else None, x, table]
    whole += [*params.values(), *state, d_outputs, *d_state]
    described = b"".join(array.tobytes() for array in whole if array is not None)
    done = subprocess.run([*drivers[dtype], cell], input=described, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

    def single(values: list[Any]) -> Any:
        return None if not values else tuple(values) if len(names) > 1 else values[0]

    def exact(values: Any) -> Any:
        return None if values is None else np.asarray(values, np.float64)

    reference, exact_params = cells.CELLS[cell], {name: exact(values) for name, values in params.items()}
    outputs, final, tape = reference.forward(
        exact_params, exact(x), single([exact(values) for values in state]), lengths.tolist() if has_lengths else None,
        tokens=(ids, exact(table)) if vocabulary else None, reverse=reverse,
    )  # fmt: skip
    dx, d_initial, d_params = reference.backward(
        exact_params, tape, exact(d_outputs), single([exact(values) for values in d_state]), input_gradient,
        add_rows=numpy_arrays.BACKEND.add_rows,
    )  # fmt: skip
    results = {"outputs": outputs, **dict(zip(names, final if len(names) > 1 else [final], strict=True))}
    results |= {f"{name} without a tape": values for name, values in results.items()}
    d_initial = dict(zip((f"d{name}" for name in names), d_initial if len(names) > 1 else [d_initial], strict=True))
    gradients = {**d_initial, **{name: d_params[name] for name in params}, **({} if dx is None else {"dx": dx})}

    assert len(done.stdout) == np.dtype(dtype).itemsize * sum(a.size for a in [*results.values(), *gradients.values()])
    got, at = {}, 0
    numbers_out = np.frombuffer(done.stdout, dtype)
    for name, values in {**results, **gradients}.items():
        got[name] = numbers_out[at : at + values.size].reshape(values.shape)
        at += values.size
    check_forward({name: got[name] for name in results}, results, dtype, 0.1)
    check_gradients({name: got[name] for name in gradients}, gradients, dtype)
