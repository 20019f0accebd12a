"""Kill a process while it saves, again and again: the file must be the older or the newer model, whole, every time.

    python -m tests.kill_while_saving 100

A child saves two models in turn over one file, without a pause; it is killed (SIGKILL; on Windows TerminateProcess) at
a random moment. A temporary file left behind shows that the kill struck in the middle of a save.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import xlstm

CHILD = """
import sys, xlstm
first, second, target = sys.argv[1:]
models = [xlstm.load(first, "cpu"), xlstm.load(second, "cpu")]
print("saving", flush=True)
while True:
    for model in models:
        model.save(target)
"""


def run(count: int, folder: Path, seed: int = 0) -> dict[str, int]:
    """Kill `count` children in `folder`. How often the first model was found, the second, and a save was cut off.

    Raises
    ------
    AssertionError
        If the file was found to be neither of the two models; ValueError or OSError where it cannot be loaded.
    """
    target = folder / "model.xlstm"
    contents = {}
    for name in ("first", "second"):
        model = xlstm.SequenceClassifier(
            hidden_size=8, encoding="tokens", max_iter=1, random_state=len(contents), device="cpu"
        )
        model.fit(np.arange(10_000).reshape(500, 20), np.arange(500) % 2).save(folder / name)  # a large vocabulary
        contents[name] = (folder / name).read_bytes()
    target.write_bytes(contents["first"])
    found = {"first": 0, "second": 0, "cut off": 0}
    moments = random.Random(seed)
    for _ in range(count):
        arguments = [sys.executable, "-c", CHILD, str(folder / "first"), str(folder / "second"), str(target)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "saving\n"
            time.sleep(moments.uniform(0, 0.05))
            child.kill()
        assert np.isfinite(xlstm.load(target, "cpu").predict_proba([[1, 2, 3]])).all()
        content = target.read_bytes()
        assert content in contents.values(), f"{target} is neither of the two models"
        found["first" if content == contents["first"] else "second"] += 1
        left = [file for file in folder.iterdir() if file.name not in ("first", "second", "model.xlstm")]
        found["cut off"] += bool(left)
        for file in left:
            file.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=100, help="how many processes to kill (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(options.count, Path(folder), options.seed)
    print(
        f"{options.count} processes killed, {found['cut off']} in the middle of a save: the file was the first model "
        f"{found['first']} times, the second {found['second']} times, damaged never"
    )


if __name__ == "__main__":
    main()
