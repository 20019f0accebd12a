"""Run a script as it would run on a machine with a GPU, on the stand-in for CuPy; for tests of benchmarks/bench_gpu.py.

    python tests/on_standin.py benchmarks/bench_gpu.py --quick

XLSTM_PLANT="part fault fault" plants faults into that part of it, from its second case on: "raise", "hang" or "die".
The process that hangs writes its number into the file XLSTM_PLANT_PID, where that is set. XLSTM_STUB_OF_CUDNN is the
file of the library of tests/backends/cudnn_stub, where there is to be a cuDNN.
"""

import importlib.metadata
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from xlstm.backends.cuda.cudnn import library  # noqa: E402

from tests.standin import machine  # noqa: E402


class MemoryHook:
    """`cupy.cuda.MemoryHook`: the pool of the stand-in tells it nothing."""

    def __enter__(self) -> "MemoryHook":
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def complete(cupy: Any) -> None:
    """What the benchmark uses of CuPy, and the tests of the library do not."""
    given = {
        (cupy.cuda, "MemoryHook"): MemoryHook,
        (cupy.cuda, "set_allocator"): lambda allocator=None: None,
        (cupy.cuda.runtime, "profilerStart"): lambda: None,
        (cupy.cuda.runtime, "profilerStop"): lambda: None,
    }
    for (module, name), value in given.items():
        assert not hasattr(module, name), f"the stand-in has {name}: this one is dead"
        setattr(module, name, value)


def plant(parts: dict[str, Any], part: str, *faults: str) -> None:
    """Make cases of a part fail, from the second on."""
    measure = parts[part].measure

    def faulty(case: Any, given: Any, seconds: float) -> Any:
        number = parts[part].cases(given).index(case) - 1
        fault = faults[number] if 0 <= number < len(faults) else ""
        if fault == "raise":
            raise ValueError("planted")
        if fault == "hang":
            if "XLSTM_PLANT_PID" in os.environ:
                Path(os.environ["XLSTM_PLANT_PID"]).write_text(str(os.getpid()), encoding="ascii")
                print("planted", file=sys.stderr, flush=True)
            time.sleep(600)
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(case, given, seconds)

    parts[part] = parts[part]._replace(measure=faulty)


def main() -> None:
    script = Path(sys.argv[1])
    sys.path.insert(0, str(script.parent))
    sys.argv = sys.argv[1:]
    real = importlib.metadata.distributions
    with machine():
        import cupy

        complete(cupy)
        importlib.metadata.distributions = real  # PyTorch reads them when it is imported
        if stub := os.environ.get("XLSTM_STUB_OF_CUDNN"):
            library.load = lambda cupy: library.Library(stub, int(cupy.cuda.runtime.runtimeGetVersion()) // 1000)
        if "XLSTM_PLANT" not in os.environ:
            runpy.run_path(str(script), run_name="__main__")
        else:
            import bench_gpu

            plant(bench_gpu.PARTS, *os.environ["XLSTM_PLANT"].split())
            sys.exit(bench_gpu.main())


if __name__ == "__main__":
    main()
